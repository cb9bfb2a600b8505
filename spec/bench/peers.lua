-- Who takes part: lurn and what else is installed. What is missing is named, with what would bring it.

local process = require "bench.process"

local peers = {}

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

-- First line that a shell command prints, or nil.
local function output_of(command)
  local pipe = io.popen(command .. " 2>/dev/null </dev/null")
  local line = pipe and pipe:read "l"
  if pipe then pipe:close() end
  return line ~= "" and line or nil
end

-- The version of a Python module, where the interpreter has it.
local function version_of(python, module)
  return output_of(("%s -c 'import %s; print(%s.__version__)'"):format(process.quote(python), module, module))
end

-- ---- Environments ----

-- Thread pools of OpenMP sleep while they wait, after spinning for some tens of microseconds: a recurrent layer's steps
-- follow each other faster than a sleeper wakes, and a pool that went on spinning would take time from whoever runs
-- next.
local function waiting(threads)
  return { OMP_NUM_THREADS = tostring(threads), OPENBLAS_NUM_THREADS = tostring(threads),
    MKL_NUM_THREADS = tostring(threads), OMP_WAIT_POLICY = "PASSIVE", GOMP_SPINCOUNT = "20000", KMP_BLOCKTIME = "0",
    LURN_NUM_THREADS = tostring(threads), PYTHONDONTWRITEBYTECODE = "1" }
end

local NEW_CORES = { skylakex = true, cooperlake = true, sapphirerapids = true }
local AVX2_CORES = { haswell = true, zen = true, excavator = true }

---The core type that OpenBLAS should be told, because by itself it takes kernels for an older CPU; else nil.
---@param cpu_isa string "scalar", "avx2" or "avx512"
---@param kernel string what OpenBLAS chose
---@return string?
function peers.better_core(cpu_isa, kernel)
  kernel = kernel:lower()
  if kernel == "" or NEW_CORES[kernel] then return nil end
  if cpu_isa == "avx512" then return "SkylakeX" end
  if cpu_isa == "avx2" and not AVX2_CORES[kernel] then return "Haswell" end
end

---The core types that OpenBLAS's best sgemm is looked for among; "" leaves the choice to it.
---@param cpu_isa string
---@return string[]
function peers.cores(cpu_isa)
  if cpu_isa == "avx512" then return { "", "SkylakeX", "Cooperlake", "Sapphirerapids", "Haswell", "Zen" } end
  if cpu_isa == "avx2" then return { "", "Haswell", "Zen" } end
  return { "" }
end

-- ---- Finding ----

local function add(list, contestant)
  contestant.env = contestant.env or {}
  list[#list + 1] = contestant
end

-- PyTorch with an interpreter, unless it is not there or is one that we have already. `rest`: seconds until its waiting
-- threads sleep.
local function add_torch(found, python, here, extra, rest)
  local version = python and version_of(python, "torch")
  if not version then return false end
  local short = "PyTorch " .. (version:match "^%d+%.%d+" or version)
  add(found, { id = "torch-" .. version, name = short, version = version, env = extra, rest = rest,
    words = function(threads) return { python, here .. "/peer_torch.py", tostring(threads) } end,
    first_step = { python, here .. "/first_step.py" } })
  return true
end

local function add_onnx(found, python, here)
  local version = python and version_of(python, "onnxruntime")
  if not version then return false end
  add(found, { id = "onnx", name = "ONNX RT " .. (version:match "^%d+%.%d+" or version), version = version,
    words = function(threads) return { python, here .. "/peer_onnx.py", tostring(threads) } end })
  return true
end

local function add_onednn(found, programs)
  local program = programs .. "/dnnl"
  if not exists(program) then return false end
  add(found, { id = "onednn", name = "oneDNN", words = function() return { program } end })
  add(found, { id = "onednn-bare", name = "oneDNN bare", words = function() return { program, "bare" } end })
  return true
end

-- The interpreter given, else the one of the benchmark's own virtual environment.
local function newest_python(settings)
  if settings.python ~= "" then return settings.python end
  local path = settings.venv .. "/bin/python"
  return exists(path) and path or nil
end

---Finds all contestants; lurn comes first.
---@param settings table lurn, here, programs, python, venv, debian_python, config (what lurn.config() tells), blas_core
---(the one OpenBLAS is fastest with, "" for its own choice)
---@return table[] found id, name, version, words(threads), env
---@return string[] missing one line each
function peers.find(settings)
  local found, missing, here, programs = {}, {}, settings.here, settings.programs
  add(found, { id = "lurn", name = "lurn", words = function() return { settings.lurn, here .. "/worker.lua" } end,
    first_step = { settings.lurn, here .. "/first_step.lua" } })
  add(found, { id = "lurn-c", name = "lurn from C", words = function() return { programs .. "/lurn_c" } end })

  local python = newest_python(settings)
  if not add_torch(found, python, here) then
    missing[#missing + 1] = python and ("PyTorch: %s has none"):format(python)
      or "PyTorch 2: missing (make bench-peers, or BENCH_PYTHON=an interpreter that has it)"
  end
  local core = peers.better_core(settings.config.cpu_isa, settings.config.blas_kernel)
  if core and settings.blas_core ~= "" then core = settings.blas_core end
  local debian = settings.debian_python
  -- Its OpenBLAS has a pool of its own, which the spinning one of OpenMP slows down; and is slower if it spins less.
  local own_pool = { OPENBLAS_CORETYPE = core, GOMP_SPINCOUNT = "0" }
  if debian ~= python and not add_torch(found, debian, here, own_pool, 0.15) then
    missing[#missing + 1] = "PyTorch of Debian: missing (apt-get install python3-torch)"
  end
  if not add_onednn(found, programs) then missing[#missing + 1] = "oneDNN: missing (install libdnnl-dev, version 2)" end
  if not add_onnx(found, python, here) and not add_onnx(found, debian, here) then
    missing[#missing + 1] = "ONNX Runtime: missing (make bench-peers)"
  end
  return found, missing
end

---The worker that measures what the machine can do, with a core type for OpenBLAS, whose waiting threads would spin
---into the turn of whoever comes next.
---@param programs string directory
---@param core string "" leaves it to OpenBLAS
---@return table contestant
function peers.machine(programs, core)
  local env = { OPENBLAS_CORETYPE = core ~= "" and core or nil, OPENBLAS_THREAD_TIMEOUT = "16" }
  return { id = "machine", name = "OpenBLAS", env = env, words = function() return { programs .. "/peaks" } end }
end

---A contestant's whole environment for a number of threads.
---@param contestant table
---@param threads integer
---@return table<string, string>
function peers.environment(contestant, threads)
  local env = waiting(threads)
  for name, value in pairs(contestant.env) do env[name] = value end
  return env
end

return peers
