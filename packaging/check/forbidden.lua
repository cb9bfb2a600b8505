-- Finds calls that a library must not make: ending the process, printing, signals, FILE, hidden or unbounded state.
--
--   lua packaging/check/forbidden.lua FILES...

local reasons = {
  ["a library returns a status"] = "exit _exit _Exit quick_exit abort atexit",
  ["a library does not print"] = "printf fprintf vprintf vfprintf puts fputs putchar putc fputc perror",
  ["files are descriptors, and only in io/"] = "fopen fdopen freopen fread fwrite fclose tmpfile popen",
  ["signals belong to the program"] = "signal sigaction raise kill pthread_kill setjmp longjmp",
  ["the process's settings belong to the program"] = "setlocale setenv putenv unsetenv chdir umask system fork",
  ["random numbers come from the context"] = "rand srand random srandom drand48",
  ["writes without a bound"] = "gets strcpy strcat sprintf vsprintf",
  ["keeps hidden state"] = "strtok asctime ctime gmtime localtime strerror",
}
local forbidden = {}
for reason, names in pairs(reasons) do
  for name in names:gmatch "%S+" do
    forbidden[name] = reason
  end
end

--- Text without comments, strings and character constants, its line breaks kept.
local function code_of(text)
  local function blank(s)
    return (s:gsub("[^\n]", ""))
  end
  return (text:gsub("\\.", ""):gsub("'\"'", "''"):gsub("/%*.-%*/", blank):gsub("//[^\n]*", ""):gsub('"[^"\n]*"', '""'))
end

local faults = 0
for _, path in ipairs(arg) do
  local file = assert(io.open(path))
  local number = 0
  for line in (code_of(file:read "a") .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    -- A name after `.` or `->` is a member, whatever it is called.
    for before, name in line:gmatch "([^%w_]?[^%w_]?)%f[%w_]([%a_][%w_]*)%s*%(" do
      if forbidden[name] and not before:find "[.>]$" then
        faults = faults + 1
        print(("%s:%d: %s: %s"):format(path, number, name, forbidden[name]))
      end
    end
  end
  file:close()
end
os.exit(faults == 0)
