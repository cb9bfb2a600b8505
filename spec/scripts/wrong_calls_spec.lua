-- Every public function of the scripts, called with what it cannot take: the error is one that lurn raised on purpose
-- and never one of Lua itself from within.

local lurn = require "lurn"
local nn = lurn.nn

local function is_callable(value)
  return type(value) == "function" or type(value) == "table" and (getmetatable(value) or {}).__call ~= nil
end

-- ---- What is called ----

local targets = {}
local function add(name, fn) targets[#targets + 1] = { name = name, fn = fn } end

local function add_all(path, t)
  for name, value in pairs(t) do
    if type(name) == "string" and not name:find "^_" and is_callable(value) then add(path .. "." .. name, value) end
  end
end

-- Methods with a colon, and with a dot.
local function add_methods(path, object, names)
  for _, name in ipairs(names) do
    local method = object[name]
    if method then
      add(path .. ":" .. name, function(...) return method(object, ...) end)
      add(path .. "." .. name, method)
    end
  end
end

for _, path in ipairs { "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "optim", "optim.lr_scheduler",
  "data", "train", "train.clock", "train.options", "sample" } do
  local t = lurn
  for step in path:gmatch "[^.]+" do t = t[step] end
  add_all(path, t)
end
add("sample", lurn.sample)
add("train.checkpoint.load", lurn.train.checkpoint.load)
add("train.checkpoint.save", function(...) return lurn.train.checkpoint.save(nil, ...) end)

local instances = {
  nn.Linear(3, 2), nn.Embedding(5, 3), nn.Dropout(), nn.VariationalDropout(), nn.LayerNorm(3), nn.Conv1d(3, 2, 2),
  nn.LSTM(3, 2), nn.GRU(3, 2, { zoneout = 0.1 }), nn.RNN(3, 2, { checkpoint = true }), nn.LayerNormLSTM(3, 2),
  nn.LayerNormGRU(3, 2), nn.LSTMCell(3, 2), nn.GRUCell(3, 2), nn.RNNCell(3, 2), nn.LayerNormLSTMCell(3, 2),
  nn.LayerNormGRUCell(3, 2), nn.Unroll(nn.GRUCell(3, 2)), nn.AdditiveAttention(3, 3, 2), nn.DotAttention(),
  nn.GeneralAttention(3, 3), nn.MultiheadAttention(3, 1), nn.Sequential(nn.Linear(3, 2)), nn.ModuleList(),
  nn.ModuleDict(), nn.CrossEntropyLoss(), nn.MSELoss(), nn.CTCLoss(), nn.Tanh(), nn.ELU(), nn.Softmax(), nn.Flatten(),
}
for _, m in ipairs(instances) do
  add(tostring(m):match "^%w+", function(...) return m(...) end)
  add_methods(tostring(m):match "^%w+", m, { "load_state_dict", "register_buffer", "register_parameter", "add_module",
    "train", "to", "apply", "parameters", "named_parameters", "buffers", "prepare", "append", "insert", "pop", "items",
    "keys" })
end

local optimizer = lurn.optim.Adam(nn.Linear(2, 2):parameters())
add_methods("Optimizer", optimizer, { "zero_grad", "step", "state_dict", "load_state_dict", "add_param_group" })
local schedulers = lurn.optim.lr_scheduler
for _, s in ipairs { schedulers.StepLR(optimizer, 2), schedulers.ReduceLROnPlateau(optimizer) } do
  add_methods(s.kind, s, { "step", "state_dict", "load_state_dict" })
end
local corpus = lurn.data.text { text = ("abc "):rep(100) }
add_methods("Corpus", corpus, { "encode", "decode" })
add_methods("Stream", corpus.train, { "num_batches", "batches", "ids" })
add_methods("Vocab", corpus.vocab, { "encode", "decode", "pack", "serialize", "add_unknown" })
add_methods("State", nn.State(lurn.zeros(1, 4, 2)), { "detach", "clone", "reset", "index_select" })

-- ---- With what ----

local x = lurn.ones(4, 3, 3)
local values = {
  5, -1, 1.5, 0 / 0, math.huge, 2 ^ 53, "x", true, is_callable, {}, { 1, 2 }, { a = 1 }, { x }, { x, 5 }, x,
  lurn.tensor(1), lurn.zeros(0, 3), x:to "float64", x:to "int64", x:to "bool", nn.Linear(3, 2), nn.Linear, optimizer,
  corpus,
  { lengths = 5 }, { mask = 1 }, { weight = 5 }, { dim = "x" }, { path = 5 }, { text = 5 }, { paths = "x" },
  { text = "abc", vocab = "x" }, { model = 5, prompt = { 1 }, length = 3 }, { seq_len = 2, batch_size = "x" },
}

-- What Lua says by itself.
local LUA = { "attempt to ", "bad argument", "invalid order function", "has no integer representation" }

local function lua_error(target, ...)
  local ok, message = pcall(target.fn, ...)
  if ok then return nil end
  message = tostring(message)
  for _, words in ipairs(LUA) do
    if message:find(words, 1, true) then return target.name .. ": " .. message end
  end
end

describe("a wrong call of a public function", function()
  table.sort(targets, function(a, b) return a.name < b.name end)

  it("with one value is an error of lurn's", function()
    for _, target in ipairs(targets) do
      assert.is_nil(lua_error(target))
      for _, value in ipairs(values) do assert.is_nil(lua_error(target, value)) end
    end
  end)

  it("with several values too", function()
    local state = 1
    local function draw(n) -- 1..n, the same in every run
      state = (state * 48271) % 0x7fffffff
      return state % n + 1
    end
    for _, target in ipairs(targets) do
      for _ = 1, 40 do
        local list = { draw(2) == 1 and x or values[draw(#values)] }
        for i = 2, draw(3) + 1 do list[i] = values[draw(#values)] end
        assert.is_nil(lua_error(target, table.unpack(list)))
      end
    end
  end)
end)
