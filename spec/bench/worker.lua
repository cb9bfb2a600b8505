-- The worker that runs lurn from Lua: layers, streaming, a character language model, matrix products.
-- Requests come on standard input, one a line, and answers go to standard output: see README.md here.

local lurn = require "lurn"
local clock = require "lurn.train.clock"
local nn, F = lurn.nn, lurn.nn.functional

local LAYERS = { lstm = nn.LSTM, gru = nn.GRU, rnn = nn.RNN }

-- ---- Protocol ----

-- "time\tkind=lstm\tT=50" -> {verb = "time", kind = "lstm", T = 50}
local function parse(line)
  local request = { verb = line:match "^[^\t]*", budget = 0.1 }
  for name, value in line:gmatch "\t([^=\t]+)=([^\t]*)" do
    request[name] = math.tointeger(tonumber(value)) or tonumber(value) or value
  end
  return request
end

local function answer(status, ...)
  io.write(table.concat({ status, ... }, "\t"), "\n")
  io.flush()
end

-- A field of /proc/self/status in KiB, 0 where there is none.
local function resident(field)
  local file <close> = io.open "/proc/self/status"
  return file and tonumber(file:read("a"):match(field .. ":%s*(%d+)")) or 0
end

-- ---- Measuring ----

local function median(list)
  table.sort(list)
  return (list[(#list + 1) // 2] + list[#list // 2 + 1]) / 2
end

-- Seconds per call: a quarter of the budget warms up, then samples of at least a millisecond fill the budget.
local function measure(step, budget)
  local warm, start = 0, clock.now()
  local elapsed
  repeat
    step()
    warm, elapsed = warm + 1, clock.now() - start
  until elapsed >= budget / 4
  local batch = math.max(1, 1e-3 * warm // elapsed)
  local samples, calls = {}, 0
  start = clock.now()
  repeat
    local before = clock.now()
    for _ = 1, batch do step() end
    samples[#samples + 1] = (clock.now() - before) / batch
    calls = calls + batch
  until clock.now() - start >= budget
  return median(samples), calls
end

-- Numbers that every worker makes alike: on +-scale, different for every seed.
local function filled(seed, scale, ...)
  local count, list = 1, {}
  for _, size in ipairs { ... } do count = count * size end
  for i = 1, count do
    list[i] = (((i * 2654435761 + seed * 40503) & 0xffffffff) / 4294967296 * 2 - 1) * scale
  end
  return lurn.tensor(list):reshape(...)
end

-- ---- Layers ----

local WEIGHTS = { "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0" }

local function uniform(_, scale, ...) return lurn.empty(...):uniform_(-scale, scale) end

-- Large ones are drawn, since only a check asks what the numbers are; the weights are then those of a new layer.
local function make_layer(r)
  local layer, is_check = LAYERS[r.kind](r.D, r.H), r.verb == "check"
  for i, name in ipairs(is_check and WEIGHTS or {}) do
    layer[name]:detach():copy_(filled(i + 1, 1 / math.sqrt(r.H), table.unpack(layer[name].shape)))
  end
  local draw = is_check and filled or uniform
  return layer, draw(1, 1, r.T, r.N, r.D), draw(6, 1, r.T, r.N, r.H)
end

local modes = {}

-- Forward, and backward from a gradient of y to x and all weights, whose old gradients are dropped first.
function modes.train(r)
  local layer, x, gy = make_layer(r)
  x.requires_grad = true
  local function step()
    layer:zero_grad()
    x.grad = nil
    local y = layer(x)
    y:backward(gy)
    return y
  end
  return step, function() return { step(), x.grad, layer.weight_ih_l0.grad, layer.weight_hh_l0.grad,
    layer.bias_ih_l0.grad } end
end

function modes.infer(r)
  local layer, x = make_layer(r)
  local function run() return (layer(x)) end
  local function step() return lurn.no_grad(run) end
  return step, function() return { step() } end
end

-- One step of time after another, the state carried; the whole loop is outside the graph, as a program would have it.
function modes.stream(r)
  local layer, x = make_layer(r)
  local one, state = x:narrow(1, 1, 1), nil
  local y
  local function step() y, state = layer(one, state) end
  return step, function()
    local all = {}
    for t = 1, r.T do
      one = x:narrow(1, t, 1)
      step()
      all[t] = y
    end
    return all
  end
end

-- ---- The language model ----

local CharLM = nn.Module:extend "CharLM"

function CharLM:init(r)
  self.embed = nn.Embedding(r.C, r.E)
  self.rnn = nn.LSTM(r.E, r.H, { num_layers = 2 })
  self.head = nn.Linear(r.H, r.C)
end

function CharLM:forward(ids, state) -- (T, N) -> (T, N, C)
  local y, after = self.rnn(self.embed(ids), state)
  return self.head(y), after
end

local function pattern(r, factor, offset)
  local ids = {}
  for i = 1, r.T * r.N do ids[i] = ((i - 1) * factor + offset) % r.C + 1 end
  return lurn.tensor(ids, { dtype = "int64" }):reshape(r.T, r.N)
end

local function make_model(r)
  local model = CharLM(r)
  if r.verb == "check" then
    for i, p in ipairs(model:parameters()) do
      p:detach():copy_(filled(i, i == 1 and 1 or 1 / math.sqrt(r.H), table.unpack(p.shape)))
    end
  end
  return model
end

-- Forward, loss, backward, clipping, Adam; the state goes on to the next step. Gives the loss as a number.
local function model_step(r)
  local model, ids, targets = make_model(r), pattern(r, 7, 3), pattern(r, 5, 1)
  local parameters, state = model:parameters(), nil
  local optimizer = lurn.optim.Adam(parameters, { lr = 2e-3 })
  return function()
    optimizer:zero_grad()
    local logits
    logits, state = model(ids, state)
    local loss = F.cross_entropy(logits, targets)
    local value = loss:item()
    loss:backward()
    nn.utils.clip_grad_norm_(parameters, 5)
    optimizer:step()
    state = state:detach()
    return value
  end
end

-- ---- Requests ----

-- What to time, and what to check it by; nil where lurn has nothing of the kind.
local function make(r)
  if LAYERS[r.kind] then return modes[r.mode](r) end
  if r.kind == "charlm" then
    local step = model_step(r)
    return step, function() return { lurn.tensor { step(), step(), step(), step() } } end
  end
  if r.kind == "matmul" then
    local a, b = lurn.rand(r.M, r.M) - 0.5, lurn.rand(r.M, r.M) - 0.5
    return function() return a:matmul(b) end
  end
end

local function values_of(tensors)
  local parts = {}
  for _, t in ipairs(tensors) do
    for _, v in ipairs(t:detach():reshape(-1):totable()) do parts[#parts + 1] = ("%.9g"):format(v) end
  end
  return "values=" .. table.concat(parts, " ")
end

local verbs = {}

function verbs.info()
  local config = lurn.config()
  answer("ok", "version=" .. config.version, ("detail=%s kernels, %s"):format(config.isa, config.lua))
end

verbs["time"] = function(r)
  local step = make(r)
  if not step then return answer("skip", "lurn has no " .. r.kind) end
  answer("ok", ("seconds=%.9g\tcalls=%d"):format(measure(step, r.budget)))
end

function verbs.check(r)
  local _, check = make(r)
  if not check then return answer("skip", "nothing to check") end
  answer("ok", values_of(check()))
end

function verbs.memory(r)
  local before = resident "VmRSS"
  local step = make(r)
  for _ = 1, 3 do step() end
  answer("ok", "base_kib=" .. before, "peak_kib=" .. resident "VmHWM")
end

local function serve(line)
  local request = parse(line)
  local verb = verbs[request.verb]
  if not verb then return answer("error", "no such verb: " .. request.verb) end
  local function run() verb(request) end
  if request.mode == "stream" then return lurn.no_grad(run) end
  run()
end

-- What the last case leaves is no part of the next.
local function tidy()
  collectgarbage()
  collectgarbage()
end

for line in io.lines() do
  local ok, message = pcall(serve, line)
  if not ok then answer("error", (tostring(message):gsub("%s+", " "))) end
  tidy()
end
