-- `lurn info [file.safetensors]`: about this installation, or about a file of tensors.

local core = require "lurn.core"

local function say(label, text, ...) print(("%-14s %s"):format(label, text:format(...))) end

-- 1536 -> "1.5 KiB"
local function bytes_text(n)
  if n < 1024 then return ("%d bytes"):format(n) end
  for _, unit in ipairs { "KiB", "MiB", "GiB" } do
    n = n / 1024
    if n < 1024 then return ("%.1f %s"):format(n, unit) end
  end
  return ("%.1f TiB"):format(n / 1024)
end

-- 1234567 -> "1,234,567"
local function grouped(n)
  local text = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

-- ---- The installation ----

-- The first capture of the pattern in a file of the system, or nil.
local function from_system(path, pattern)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read(65536)
  file:close()
  return text and text:match(pattern)
end

-- Cores that OpenBLAS has kernels for, by what they use; all others are older.
local BLAS_ISA = { haswell = "avx2", zen = "avx2", excavator = "avx2", skylakex = "avx512", cooperlake = "avx512",
  sapphirerapids = "avx512" }
local RANK = { scalar = 0, avx2 = 1, avx512 = 2 }
local ISA_NAME = { scalar = "no vector", avx2 = "AVX2", avx512 = "AVX-512" }

-- A warning when OpenBLAS runs a kernel for an older CPU than this one, or nil.
local function blas_warning(config)
  local kernel = config.blas_kernel
  if kernel == "" or not RANK[config.cpu_isa] then return nil end
  local isa = BLAS_ISA[kernel:lower()] or "scalar"
  if RANK[isa] >= RANK[config.cpu_isa] then return nil end
  local chosen = os.getenv "OPENBLAS_CORETYPE"
  local advice = chosen and ("OPENBLAS_CORETYPE=%s asks for it; unset that"):format(chosen)
    or "it does not know this CPU; OPENBLAS_CORETYPE=SKYLAKEX may help"
  if config.cpu_isa ~= "avx512" and not chosen then advice = "it does not know this CPU" end
  return ("OpenBLAS runs its %s kernel, which is older than this CPU with its %s\n" ..
    "  (%s). lurn does not need it here: it uses kernels of its own."):format(kernel, ISA_NAME[config.cpu_isa], advice)
end

local function about_installation()
  local config = core.config()
  say("lurn", "%s", config.version)
  say("Lua", "%s", (config.lua:gsub("^Lua ", "")))
  local cpu = from_system("/proc/cpuinfo", "model name%s*:%s*([^\n]+)")
  if cpu then say("CPU", "%s", cpu) end
  local capped = config.isa ~= config.cpu_isa and (" (the CPU could do %s)"):format(config.cpu_isa) or ""
  say("kernels", "%s%s", config.isa, capped)
  say("threads", "%d on %d core%s", config.threads, config.cores, config.cores == 1 and "" or "s")
  say("BLAS", "%s", config.blas ~= "" and config.blas or "unknown")
  if config.blas_kernel ~= "" then say("BLAS kernel", "%s", config.blas_kernel) end
  say("BLAS threads", "%d", config.blas_threads)
  local total = from_system("/proc/meminfo", "MemTotal:%s*(%d+) kB")
  local free = from_system("/proc/meminfo", "MemAvailable:%s*(%d+) kB")
  if total and free then say("memory", "%s, %s free", bytes_text(total * 1024), bytes_text(free * 1024)) end
  local warning = blas_warning(config)
  if warning then print("\nnote: " .. warning) end
end

-- ---- A file ----

local WIDTHS = { F64 = 8, F32 = 4, F16 = 2, BF16 = 2, I64 = 8, I32 = 4, I16 = 2, I8 = 1, U64 = 8, U32 = 4, U16 = 2,
  U8 = 1, BOOL = 1, float64 = 8, float32 = 4, int64 = 8, int32 = 4, uint8 = 1, bool = 1 }

local function numel(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

local function print_tensors(tensors)
  local widest = #"name"
  for _, tensor in ipairs(tensors) do widest = math.max(widest, #tensor.name) end
  local row = "%-" .. math.min(widest, 90) .. "s  %-7s  %-16s %12s" -- string.format knows widths of two digits
  print(row:format("name", "dtype", "shape", "bytes"))
  for _, tensor in ipairs(tensors) do
    local bytes = numel(tensor.shape) * (WIDTHS[tensor.dtype] or 0)
    print(row:format(tensor.name, tensor.dtype, "{" .. table.concat(tensor.shape, ", ") .. "}", grouped(bytes)))
  end
end

local function print_totals(tensors)
  local elements, bytes, model = 0, 0, 0
  for _, tensor in ipairs(tensors) do
    local n = numel(tensor.shape)
    elements, bytes = elements + n, bytes + n * (WIDTHS[tensor.dtype] or 0)
    if tensor.name:find "^model%." then model = model + n end
  end
  print(("\n%d tensor%s, %s numbers, %s"):format(#tensors, #tensors == 1 and "" or "s", grouped(elements),
    bytes_text(bytes)))
  if model > 0 then print(("the model has %s parameters (model.*)"):format(grouped(model))) end
end

local VALUE_LENGTH = 96

-- On one line and not too long, cut between characters.
local function shorten(value)
  local text = value:gsub("%c", function(c) return c == "\n" and "\\n" or ("\\%d"):format(c:byte()) end)
  if #text <= VALUE_LENGTH then return text end
  local stop = VALUE_LENGTH
  while text:byte(stop + 1) & 0xC0 == 0x80 do stop = stop - 1 end
  return ("%s... (%d bytes)"):format(text:sub(1, stop), #value)
end

local function print_metadata(metadata)
  local keys = {}
  for key in pairs(metadata) do keys[#keys + 1] = key end
  if #keys == 0 then return end
  table.sort(keys)
  print "\nmetadata"
  for _, key in ipairs(keys) do print(("  %s: %s"):format(shorten(key), shorten(metadata[key]))) end
end

local function about_file(path)
  local info, message = core.archive_info(path)
  if not info then return nil, message end
  if #info.tensors > 0 then print_tensors(info.tensors) end
  print_totals(info.tensors)
  print_metadata(info.metadata)
  return true
end

---Prints what `lurn info` shows.
---@param path? string a safetensors file; without it, about this installation
---@return true? ok, string? message # nil and a message when the file cannot be read or is not sound
return function(path, ...)
  if select("#", ...) > 0 then return nil, "expected one file" end
  if path then return about_file(path) end
  about_installation()
  return true
end
