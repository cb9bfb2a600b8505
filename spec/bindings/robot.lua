-- Calls every public function of lurn with random arguments, among them the worst that a script can find.  Each call
-- must end, in a result or in an error; a crash shows in the status, what is worse under a sanitizer.
--
--   lurn spec/bindings/robot.lua SEED CALLS [trace]     CALLS of each function; trace: prints each before it is made
--
-- Run it in a directory of its own: it calls lurn.save.  The last line is "robot: F functions, R results,
-- E errors", before it "resident: M MB" where the system tells what the process still holds when all is dropped.

package.path = arg[0]:match "^(.*)bindings/robot%.lua$" .. "?.lua;" .. package.path
local lurn = require "lurn"
local cases = require("engine.ops.all").cases
local seed, calls, trace = tonumber(arg[1]), tonumber(arg[2]), arg[3] == "trace"
math.randomseed(seed)

-- Left out, and why.
local SKIP = {
  ["lurn.library"] = "changes whose lines errors point to",
  ["lurn.train.options.parse"] = "ends the process when it is asked for --help",
}

-- ---- Functions --------------------------------------------------------------------------------

-- Every function below a value, by name; tables are entered once.
local function collect(value, name, found, seen)
  if type(value) == "function" then
    if not SKIP[name] and not found[value] then
      found[value] = name
      found[#found + 1] = value
    end
    return
  end
  if type(value) ~= "table" or seen[value] then return end
  seen[value] = true
  local keys = {}
  for key in next, value do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do collect(rawget(value, key), name .. "." .. key, found, seen) end
  local meta = debug.getmetatable(value)
  if meta then collect(meta, name .. "<meta>", found, seen) end
end

local function instances()
  local corpus = assert(lurn.data.text { text = ("hello world "):rep(30), split = { 0.8, 0.1, 0.1 } })
  local weight = lurn.ones(2, { requires_grad = true })
  local adam = lurn.optim.Adam({ weight }, { lr = 0.1 })
  local state = select(2, lurn.nn.LSTM(2, 3)(lurn.ones(4, 1, 2)))
  return { lurn.record(), lurn.ones(2), lurn.optim_new "SGD", corpus, corpus.train, corpus.vocab, adam, state,
    lurn.nn.Sequential(lurn.nn.Linear(2, 2)), lurn.nn.ModuleList { lurn.nn.Linear(2, 2) }, lurn.nn.LSTM(2, 3),
    lurn.optim.lr_scheduler.StepLR(adam, { step_size = 2 }) }
end

local function functions()
  local found, seen = {}, {}
  for _, part in ipairs { "nn", "optim", "data", "sample", "train" } do assert(lurn[part]) end
  collect(lurn, "lurn", found, seen)
  for i, value in ipairs(instances()) do
    local meta = debug.getmetatable(value)
    if meta then collect(meta, ("instance %d<meta>"):format(i), found, seen) end
  end
  return found
end

-- ---- Arguments --------------------------------------------------------------------------------

local NUMBERS = { 0, 1, 2, 3, -1, -2, 8, 9, 0.5, -0.0, 1e-300, 1e300, 0 / 0, 1 / 0, -1 / 0, 1 << 31, -(1 << 31),
  1 << 53, 1 << 62, math.maxinteger, math.mininteger, 2.0 ^ 31, 2.0 ^ 53, 2.0 ^ 63, 65536, 100 }
local STRINGS = { "", "x", "1", "3.0", "0x10", "float32", "int64", "bool", "mean", "none", "\0", "a\0b",
  ("y"):rep(3000), "grad", "shape", "__gc", "%s%n%d", "\xff\xfe", "state.0.step", "hidden" }

local pick

local function list_of(n)
  local list = {}
  for i = 1, n do list[i] = pick() end
  return list
end

local function any(list) return list[math.random(#list)] end

local function cycle()
  local t = {}
  t[1], t.x = t, t
  return t
end

local function deep()
  local t = { 1 }
  for _ = 1, 1000 do t = { t } end
  return t
end

local function fail() error "from a metamethod" end

-- Elements and length that have nothing to do with each other.
local function liar()
  return setmetatable({}, { __len = function() return any(NUMBERS) end, __index = function() return pick() end })
end

local TABLES = {
  function() return {} end,
  function() return list_of(math.random(4)) end,
  function() return { any(NUMBERS), any(NUMBERS) } end,
  function() return { 1, nil, 3, nil, 5 } end,
  function() return { 2, 2 } end,
  function() return { { 1, 2 }, { 3 } } end,
  function() return { [1] = 1, x = 2, [2.5] = 3 } end,
  function() return { dtype = any(STRINGS), requires_grad = true } end,
  function() return { dim = any(NUMBERS), keepdim = true } end,
  function() return { [any(STRINGS)] = pick(), [any(STRINGS)] = pick() } end,
  cycle, deep, liar,
  function()
    return setmetatable({}, { __index = fail, __newindex = fail, __len = fail, __pairs = fail, __call = fail })
  end,
  function() return setmetatable({}, { __gc = fail, __close = fail, __name = ("n"):rep(2000) }) end,
  function() return setmetatable({}, lurn.metatable) end,
  function() return { lurn.ones(2), lurn.ones(2) } end,
  function() return { a = lurn.ones(2), b = lurn.ones(1) } end,
}

local FUNCTIONS = {
  function(...) return ... end,
  fail,
  function() collectgarbage() return lurn.ones(1) end,
  function() coroutine.yield() end,
  function(x) if lurn.is_tensor(x) then x:free() end return x end,
  function() return pick(), pick() end,
}

local function freed()
  local t = lurn.ones(3)
  t:free()
  return t
end

local TENSORS = {
  function() return lurn.ones(2, 3) end,
  function() return lurn.randn(3, { requires_grad = true }) end,
  function() return lurn.tensor(2.5) end,
  function() return lurn.zeros(0, 4) end,
  function() return lurn.ones(2, 2, { dtype = "float64" }) end,
  function() return lurn.tensor({ 0 / 0, 1 / 0, -1 / 0, 1e38, -0.0 }) end,
  function() return lurn.tensor({ 1, 2, -1, 1 << 62, math.mininteger }, { dtype = "int64" }) end,
  function() return lurn.tensor({ true, false }, { dtype = "bool" }) end,
  function() return lurn.ones(3, 3, { dtype = "uint8" }) end,
  function() return lurn.ones(4, 3):t() end,
  function() return lurn.ones(1):expand(1 << 20, 1) end,
  function() return lurn.ones(1, 1, 1, 1, 1, 1, 1, 1) end,
  function() return (lurn.ones(2, { requires_grad = true }) * 2) end,
  freed,
}

local function closed_file()
  local file = io.tmpfile()
  file:close()
  return file
end

local OTHERS = {
  function() return nil end,
  function() return math.random(2) == 1 end,
  function() return any { io.stdout, closed_file() } end,
  function() return coroutine.create(fail) end,
  function() return any(instances()) end,
  function() return lurn.nn.Linear(2, 2) end,
}

-- Arguments that fit together more often than not, one of another kind among them: with these a function comes further.
local TAME = {
  function() return lurn.randn(3, 3, { requires_grad = math.random(2) == 1 }) end,
  function() return lurn.ones(3, 3) end,
  function() return lurn.tensor({ 1, 2, 3 }, { dtype = "int64" }) end,
  function() return math.random(-1, 3) end,
  function() return math.random() end,
  function() return { dim = 1 } end,
  function() return { lurn.ones(3, 3), lurn.ones(3, 3) } end,
}
local tame = false

-- More often what a function may accept: then it comes further.
function pick()
  if tame and math.random(4) > 1 then return any(TAME)() end
  local kind = math.random(20)
  if kind <= 6 then return any(TENSORS)() end
  if kind <= 11 then return any(NUMBERS) end
  if kind <= 13 then return any(STRINGS) end
  if kind <= 17 then return any(TABLES)() end
  if kind <= 18 then return any(FUNCTIONS) end
  return any(OTHERS)()
end

-- ---- Calls ------------------------------------------------------------------------------------

local function describe(value)
  local ok, text = pcall(function()
    if lurn.is_tensor(value) then return ("tensor %s %s"):format(value.dtype, tostring(value.shape)) end
    return type(value) == "string" and ("%q"):format(value:sub(1, 20)) or type(value) == "number" and tostring(value)
      or type(value)
  end)
  return ok and text or "freed tensor"
end

local function show(name, args)
  local words = {}
  for i = 1, args.n do words[i] = describe(args[i]) end
  io.stderr:write(name, "(", table.concat(words, ", "), ")\n")
end

-- What a call may have switched.
local function reset()
  lurn.set_grad_enabled(true)
  lurn.set_num_threads(2)
  local list = {}
  lurn.scope_open(list)
  local open, outer = lurn.scope_close(list)
  while open and outer do open, outer = lurn.scope_close(outer) end
  collectgarbage "restart"
end

local found = functions()
local results, errors = 0, 0
for turn = 1, calls do
  for _, fn in ipairs(found) do
    tame = math.random(2) == 1
    local args = table.pack(tame and TAME[math.random(3)]() or any(TENSORS)())
    if math.random(4) == 1 then args = table.pack(pick()) end
    for i = 2, math.random(0, 5) do args[i], args.n = pick(), i end
    if trace then show(found[fn], args) end
    -- In a coroutine, so that a yield comes back here.
    local ok = coroutine.resume(coroutine.create(fn), table.unpack(args, 1, args.n))
    if ok then results = results + 1 else errors = errors + 1 end
  end
  reset()
  if turn % 10 == 0 then collectgarbage() end
end

-- ---- Ops --------------------------------------------------------------------------------------

-- What an argument of a call that is right turns into.
local function spoiled(value)
  if not lurn.is_tensor(value) or math.random(3) == 1 then return pick() end
  local t = value:detach():clone()
  local how = math.random(6)
  if how == 1 then return t:fill_(any { 0 / 0, 1 / 0, -1 / 0, 3e38, 0, -1, 255, 1 << 31 }) end
  if how == 2 then return t:to(any { "float32", "float64", "int64", "int32", "uint8", "bool" }) end
  if how == 3 then return t.ndim > 1 and t:transpose(1, 2) or t:expand(2, -1) end
  if how == 4 then return t.ndim > 0 and t:narrow(1, 1, #t - 1) or t:view(1) end
  if how == 5 then return t:reshape(-1) end
  if t.dtype:find "^float" then t:requires_grad_() end
  return t
end

local function run_op(name, args, n)
  local list = { lurn[name](table.unpack(args, 1, n)) }
  for _, t in ipairs(list) do
    tostring(t)
    if t.requires_grad and t:numel() > 0 and t:numel() < 1e5 then t:sum():backward { retain_graph = true } end
  end
end

local function largest(list)
  local n = 0
  for k in pairs(list) do n = math.max(n, k) end
  return n
end

local function spoil_op(name, sample, dtype)
  local args = sample[2](function(values) return lurn.tensor(values, { dtype = dtype }) end)
  local n = largest(args)
  for i = 1, n do
    if lurn.is_tensor(args[i]) and args[i].dtype:find "^float" and math.random(2) == 1 then args[i]:requires_grad_() end
  end
  for _ = 1, math.random(0, 2) do
    local i = math.random(1, n + (math.random(8) == 1 and 1 or 0))
    args[i], n = spoiled(args[i]), math.max(n, i)
  end
  if trace then
    args.n = n
    show("lurn." .. name, args)
  end
  if pcall(run_op, name, args, n) then results = results + 1 else errors = errors + 1 end
end

tame = false
for turn = 1, calls do
  for _, op in ipairs(lurn.op_list()) do
    local samples = cases[op.name].samples
    for _, sample in ipairs(samples or {}) do pcall(spoil_op, op.name, sample, any { "float32", "float64" }) end
  end
  if turn % 10 == 0 then collectgarbage() end
end

-- The library is as usable as it was.
local w = lurn.ones(3, { requires_grad = true });
(w * w):sum():backward()
assert(w.grad:sum():item() == 6)

local function resident()
  local file = io.open "/proc/self/status"
  local kilobytes = file and file:read("a"):match "VmRSS:%s*(%d+)"
  if file then file:close() end
  return kilobytes and kilobytes // 1024
end

collectgarbage()
collectgarbage()
lurn.memory_trim()
local megabytes = resident()
if megabytes then print(("resident: %d MB"):format(megabytes)) end
print(("robot: %d functions, %d results, %d errors"):format(#found, results, errors))
