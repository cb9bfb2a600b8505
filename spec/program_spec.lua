-- The program `lurn` as seen from a shell.  Expectations are lua5.4's behaviour where the option is lua5.4's.

local lurn_program = os.getenv "LURN" or "build/bin/lurn"

local function quote(s)
  return "'" .. s:gsub("'", "'\\''") .. "'"
end

--- Runs the program with the given shell words; returns standard output and error together, and the exit status.
local function run(words, stdin)
  local input = stdin and ("printf '%s' " .. quote(stdin) .. " | ") or ""
  local redirect = stdin and "" or " </dev/null"
  local pipe = assert(io.popen(input .. lurn_program .. " " .. words .. " 2>&1" .. redirect))
  local output = pipe:read "a"
  local _, how, status = pipe:close()
  assert.equal("exit", how)
  return output, status
end

local function assert_runs(expected, words, stdin)
  local output, status = run(words, stdin)
  assert.equal(expected, output)
  assert.equal(0, status)
end

local function assert_fails(pattern, words, stdin)
  local output, status = run(words, stdin)
  assert.matches(pattern, output)
  assert.equal(1, status)
end

describe("the program lurn", function()
  local script

  --- Writes a script that is removed after the test; returns its quoted name.
  local function with_script(code)
    script = os.tmpname()
    local file = assert(io.open(script, "w"))
    assert(file:write(code))
    file:close()
    return quote(script)
  end

  after_each(function()
    if script then
      os.remove(script)
      script = nil
    end
  end)

  describe("scripts", function()
    it("get their arguments in `...` and `arg`", function()
      local name = with_script "print(select('#', ...), ..., arg[0], arg[1], arg[3], arg[-1])"
      local output = run(name .. " one 'two words' -v")
      assert.matches("^3\tone\t", output)
      name = with_script "print(#arg, arg[0] == SCRIPT, arg[1], arg[2], arg[-1], arg[-2])"
      assert_runs("2\tfalse\ta\t-e\tx = 1\t-e\n", "-e 'x = 1' " .. name .. " a -e")
    end)

    it("set the exit status", function()
      local _, status = run(with_script "os.exit(7)")
      assert.equal(7, status)
      _, status = run(with_script "os.exit(true, true)")
      assert.equal(0, status)
    end)

    it("report errors with a traceback and status 1", function()
      local name = with_script "local function f()\n  error 'broken'\nend\nf()\n"
      local output, status = run(name)
      assert.equal(1, status)
      assert.matches("^lurn: .-:2: broken\nstack traceback:\n", output)
      assert.matches(":4: in main chunk", output)
    end)

    it("write errors to standard error only", function()
      local pipe = assert(io.popen(lurn_program .. " -e 'error(1)' 2>/dev/null"))
      assert.equal("", pipe:read "a")
      pipe:close()
    end)

    it("may raise objects", function()
      assert_fails("^lurn: seven\n$", [[-e 'error(setmetatable({}, {__tostring = function() return "seven" end}))']])
      assert_fails("^lurn: %(error object is a table value%)", "-e 'error{}'")
      assert_fails("^lurn: nil\n", "-e 'error(setmetatable({}, {__tostring = function() return [[nil]] end}))'")
    end)

    it("that do not compile or exist are errors", function()
      assert_fails("^lurn: .*unexpected symbol", with_script "x = = 1")
      assert_fails("^lurn: cannot open .*no/such/file", "no/such/file.lua")
    end)

    it("come from standard input without a terminal, or with -", function()
      assert_runs("42\n", "", "print(6 * 7)")
      assert_runs("a\tb\n", "- a b", "print(...)")
      assert_fails("^lurn: stdin:1: oops\n", "", "error 'oops'")
    end)

    it("may begin with a line for the shell", function()
      assert_runs("fine\n", with_script "#!/usr/bin/env lurn\nprint 'fine'")
    end)

    it("run their finalizers and to-be-closed values at the end", function()
      local code = "setmetatable({}, {__gc = function() print 'collected' end}) print 'main'"
      assert_runs("main\ncollected\n", with_script(code))
    end)

    it("whose output reaches nobody fail, however they end", function()
      local full = io.open "/dev/full"
      if not full then return pending "there is no /dev/full here" end
      full:close()
      local function status_of(words)
        local pipe = assert(io.popen(("exec %s %s 2>&1 >/dev/full"):format(lurn_program, words)))
        local output = pipe:read "a"
        return output, select(3, pipe:close())
      end
      for _, words in ipairs { "--help", "-v", "-e 'print(1)'", "-e 'print(1) os.exit()'",
        "-e 'print(1) os.exit(true, true)'" } do
        local output, status = status_of(words)
        assert.matches("^lurn: cannot write to standard output[^\n]*\n$", output)
        assert.equal(1, status)
      end
      local output, status = status_of "-e 'io.stdout:setvbuf [[no]] print(1) io.stderr:write [[more]]'"
      assert.matches("^morelurn: cannot write to standard output[^\n]*\n$", output)
      assert.equal(1, status)
      for words, code in pairs { ["-e 'print(1) error [[x]]'"] = 1, ["-e 'print(1) os.exit(3)'"] = 3 } do
        output, status = status_of(words)
        assert.falsy(output:find("cannot write", 1, true)) -- has its own reason
        assert.equal(code, status)
      end
      output, status = status_of "-e 'x = 1'"
      assert.equal("", output)
      assert.equal(0, status)
    end)

    it("have their other files written all the same", function()
      local path = os.tmpname()
      local name = with_script "io.output(arg[1]) io.write 'kept' io.stdout:write 'lost' os.exit()"
      os.execute(("%s %s %s >/dev/full 2>&1"):format(lurn_program, name, quote(path)))
      local file <close> = assert(io.open(path))
      assert.equal("kept", file:read "a")
      os.remove(path)
    end)

    -- The signal comes from a process of its own: os.execute itself shields its caller from SIGINT.
    local interrupt_soon = [[
      local pid = io.open("/proc/self/stat"):read "n"
      os.execute("(sleep 0.2; kill -INT " .. pid .. ") &")
      local function work() while os.clock() < 20 do end end
    ]]
    local end_soon = interrupt_soon:gsub("INT", "TERM")

    it("may catch an interrupt", function()
      local output, status = run(with_script(interrupt_soon .. "print(pcall(work)) print 'saved'"))
      assert.matches("^false\t.-:3: interrupted!\nsaved\n$", output)
      assert.equal(0, status)
    end)

    it("may save when they are asked to end", function()
      local output, status = run(with_script(end_soon .. "print(pcall(work)) print 'saved'"))
      assert.matches("^false\t.-:3: interrupted!\nsaved\n$", output)
      assert.equal(0, status)
    end)

    it("end at the second signal, whatever they catch", function()
      local twice = end_soon .. "pcall(work) " .. end_soon .. "pcall(work) print 'not reached'"
      local output, status = run(with_script(twice))
      assert.equal("", (output:gsub("^Terminated\n", "")))
      assert.equal(128 + 15, status)
    end)

    it("end with an error when interrupted", function()
      assert_fails("^lurn: .-interrupted!\nstack traceback:", with_script(interrupt_soon .. "work()"))
    end)

    it("are interrupted while they wait for input", function()
      local pipe = assert(io.popen("sleep 2 | " .. lurn_program .. " " ..
        with_script(interrupt_soon .. "print(pcall(function() io.read() work() end))") .. " 2>&1"))
      assert.matches("^false\t.-interrupted!\n$", pipe:read "a")
      pipe:close()
    end)
  end)

  describe("options", function()
    it("-e runs statements in order", function()
      assert_runs("1\n2\n", "-e 'x = 1 print(x)' -e'print(x + 1)'")
      assert_fails("^lurn: %(command line%):1: no\n", "-e 'error [[no]]' -e 'print [[never]]'")
    end)

    it("-l requires a module into a global", function()
      assert_runs("true\n", "-l string -e 'print(string.rep ~= nil)'")
      assert_runs("true\n", "-l s=string -e 'print(s == string)'")
      assert_fails("module 'no.such.module' not found", "-l no.such.module")
    end)

    it("-v and --version print the version", function()
      local version = "^lurn %d+%.%d+%.%d+ %(Lua 5%.4%.%d+%)\n$"
      assert.matches(version, (run "--version"))
      assert.matches(version, (run "-v"))
    end)

    it("-i converses after the script", function()
      local typed = "y + 1\n=y + 2\nfor i = 1, 1 do\nprint('in', i) end\nerror 'e'\n'end'"
      local output = run("-i " .. with_script "y = 20", typed)
      assert.matches("> 21\n> 22\n> >> in\t1\n> lurn: stdin:1: e\nstack traceback:.-> end\n> \n$", output)
    end)

    it("-W turns warnings on", function()
      assert_runs("", "-e 'warn [[hush]]'")
      assert_runs("Lua warning: loud\n", "-W -e 'warn [[loud]]'")
    end)

    it("-E ignores the environment, which LUA_INIT belongs to", function()
      local function init(value, words)
        local pipe = assert(io.popen(("LUA_INIT=%s %s %s 2>&1"):format(quote(value), lurn_program, words)))
        local output = pipe:read "a"
        pipe:close()
        return output
      end
      assert.equal("init\nmain\n", init("print 'init'", "-e 'print [[main]]'"))
      assert.equal("main\n", init("print 'init'", "-E -e 'print [[main]]'"))
      assert.equal("from a file\n1\n", init("@" .. with_script("print 'from a file'"):sub(2, -2), "-e 'print(1)'"))
      assert.matches("^lurn: LUA_INIT:1: bad\n", init("error 'bad'", "-e 'print [[never]]'"))
    end)

    it("-- ends the options", function()
      assert_runs("-x\n", "-- " .. with_script "print(...)" .. " -x")
    end)

    it("--help tells them all", function()
      local output, status = run "--help"
      assert.equal(0, status)
      for _, option in ipairs { "-e", "-i", "-l", "-v", "-E", "-W", "--", "info" } do
        assert.is_truthy(output:find("\n  " .. option, 1, true) or output:find("lurn " .. option, 1, true), option)
      end
    end)

    it("that are unknown or lack their argument are errors with the usage", function()
      assert_fails("^lurn: unrecognized option '%-x'\nusage: ", "-x")
      assert_fails("^lurn: unrecognized option '%-%-frob'\nusage: ", "--frob")
      assert_fails("^lurn: '%-e' needs an argument\nusage: ", "-e")
    end)
  end)

  describe("the library", function()
    it("is found beside the program, whatever the directory and LUA_PATH", function()
      local here = io.popen("pwd"):read "l"
      local program = lurn_program:match "^/" and lurn_program or here .. "/" .. lurn_program
      local command = "cd / && LUA_PATH= LUA_CPATH= " .. quote(program) .. " -e 'print(type(require [[lurn]]))' 2>&1"
      local pipe = io.popen(command)
      assert.equal("table\n", pipe:read "a")
      pipe:close()
    end)

    it("has its C part built in", function()
      assert_runs("function\n", "-e 'print(type(package.preload[ [[lurn.core]] ]))'")
    end)

    it("is a global in a conversation only", function()
      assert_runs("nil\n", "-e 'print(lurn)'")
      assert.matches("> table\n", (run("-i", "type(lurn)\n")))
    end)
  end)

  describe("info", function()
    it("describes the installation", function()
      local output, status = run "info"
      assert.equal(0, status)
      assert.matches("lurn", output)
    end)

    it("says what is wrong with a file", function()
      assert_fails("no/such/file%.safetensors", "info no/such/file.safetensors")
    end)

    it("gives way to a script of that name", function()
      local directory = os.tmpname()
      os.remove(directory)
      assert(os.execute("mkdir " .. directory))
      local file = assert(io.open(directory .. "/info", "w"))
      file:write "print('a script', ...)"
      file:close()
      local here = io.popen("pwd"):read "l"
      local program = lurn_program:match "^/" and lurn_program or here .. "/" .. lurn_program
      local pipe = io.popen(("cd %s && %s info x </dev/null 2>&1"):format(directory, quote(program)))
      local output = pipe:read "a"
      pipe:close()
      os.execute("rm -r " .. directory)
      assert.equal("a script\tx\n", output)
    end)
  end)
end)
