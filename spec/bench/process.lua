-- Workers: processes that live as long as the benchmark and answer one line for each line they are sent, so that what
-- starting them costs is in no measurement. Answers are "ok", "skip" or "error" and fields, separated by tabs.
--
-- A worker's answers come through a named pipe. Around it stands a shell that outlives it, tells its exit status in the
-- same way, and goes on reading, so that writing to a dead worker is never an error here.

local process = {}

local function quote(word) return "'" .. word:gsub("'", [['\'']]) .. "'" end
process.quote = quote

---A list of words as a shell reads them.
---@param words string[]
---@return string
local function line_of(words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = quote(word) end
  return table.concat(quoted, " ")
end

-- Settings that a shell may carry and that would slow one side down.
local UNSET = { "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS",
  "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC", "GOMP_SPINCOUNT",
  "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_CBWR",
  "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_VERBOSE",
  "ONEDNN_VERBOSE", "LURN_NUM_THREADS", "LD_PRELOAD" }

-- `env` and its words: what is unset, then what is set, in a fixed order.
local function environment_of(env)
  local words, names = { "env" }, {}
  for _, name in ipairs(UNSET) do table.insert(words, "-u") table.insert(words, name) end
  for name in pairs(env) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do words[#words + 1] = name .. "=" .. env[name] end
  return words
end

-- ---- Answers ----

local STATUSES = { ok = true, skip = true, error = true }

---Reads an answer: "ok\tseconds=0.5" gives {status = "ok", seconds = 0.5}. nil and what is wrong for anything else.
---@param line string
---@return table? answer fields that look like numbers are numbers; `text` of skip and error
---@return string? message
function process.parse(line)
  local status, rest = line:match "^(%l+)(.*)$"
  if not STATUSES[status] then
    return nil, ("answered %q; expected ok, skip or error"):format(line:sub(1, 60))
  end
  local answer = { status = status }
  if status ~= "ok" then
    answer.text = rest:match "^\t(.*)$" or ""
    return answer
  end
  for name, value in rest:gmatch "\t([^=\t]+)=([^\t]*)" do
    local numeric = name ~= "version" and name ~= "values" and tonumber(value)
    answer[name] = numeric or value
  end
  return answer
end

-- ---- Workers ----

local Worker = {}
Worker.__index = Worker

local LOG_LENGTH = 2000
local count = 0

local function read_end(path)
  local file <close> = io.open(path)
  if not file then return "" end
  local size = file:seek "end"
  file:seek("set", math.max(0, size - LOG_LENGTH))
  return file:read "a"
end

-- The last line with something in it: what a program says when it dies.
local function last_line(text)
  local last
  for line in text:gmatch "[^\n]+" do
    if line:find "%S" then last = line end
  end
  return last
end

---Starts a worker.
---@param words string[] program and arguments
---@param env? table<string, string> its environment, over the benchmark's
---@param directory string for its pipe and its log; it exists
---@return table worker
function process.start(words, env, directory)
  count = count + 1
  local base = ("%s/worker-%d"):format(directory, count)
  local self = setmetatable({ pipe_path = base .. ".pipe", log = base .. ".log", name = words[#words] }, Worker)
  os.remove(self.pipe_path)
  assert(os.execute("mkfifo " .. quote(self.pipe_path)), "mkfifo failed")
  local script = ("{ %s %s 2>%s; printf 'exit\\t%%d\\n' $?; cat >/dev/null; } >%s"):format(
    line_of(environment_of(env or {})), line_of(words), quote(self.log), quote(self.pipe_path))
  self.input = assert(io.popen(script, "w"))
  self.output = assert(io.open(self.pipe_path)) -- waits until the shell has opened its end
  return self
end

---Ends the worker, which sees the end of its input. What a worker wrote to standard error stays where it died.
function Worker:close()
  if not self.input then return end
  self.output:close()
  self.input:close()
  os.remove(self.pipe_path)
  if not self.dead then os.remove(self.log) end
  self.input, self.output = nil, nil
end
Worker.__close = Worker.close

-- A dead worker says how it died.
local function died(self, status)
  local said = last_line(read_end(self.log))
  self.dead = ("died with status %s%s"):format(status, said and (": " .. said) or "")
  self:close()
  return nil, self.dead
end

---The next answer; nil and a message when the worker died or broke the protocol. Then it is closed.
---@return table? answer
---@return string? message
function Worker:read()
  if not self.input then return nil, self.dead or "is closed" end
  local line = self.output:read "l"
  local status = line and line:match "^exit\t(%d+)$"
  if not line or status then return died(self, status or "unknown") end
  local answer, message = process.parse(line)
  if not answer then
    self.dead = message
    self:close()
    return nil, message
  end
  return answer
end

---Sends a request and waits for the answer.
---@param line string
---@return table? answer
---@return string? message
function Worker:ask(line)
  if not self.input then return nil, self.dead or "is closed" end
  self.input:write(line, "\n")
  self.input:flush()
  return self:read()
end

return process
