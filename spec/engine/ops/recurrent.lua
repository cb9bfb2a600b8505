--- One layer-direction of a recurrent network against its equations (Elman 1990; Hochreiter and Schmidhuber 1997
--- with the forget gate of Gers 2000; Cho 2014 with the reset gate after the product), step by step in plain Lua.

local lurn = require "lurn"

local T, N, D, H = 3, 2, 3, 2

local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end
local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local function tanh(x) return 2 * sigmoid(2 * x) - 1 end

local function weights(gates)
  return random(gates * H, D), random(gates * H, H), random(gates * H), random(gates * H)
end

-- W x + b for a row x.
local function affine(w, x, b)
  local out = {}
  for i, line in ipairs(w) do
    out[i] = b[i]
    for k, v in ipairs(line) do out[i] = out[i] + v * x[k] end
  end
  return out
end

local cells = {}

function cells.rnn(gi, gh)
  local h = {}
  for j = 1, H do h[j] = tanh(gi[j] + gh[j]) end
  return h
end

function cells.lstm(gi, gh, _, c)
  local h, c_new = {}, {}
  local function gate(k, j) return gi[k * H + j] + gh[k * H + j] end
  for j = 1, H do
    c_new[j] = sigmoid(gate(1, j)) * c[j] + sigmoid(gate(0, j)) * tanh(gate(2, j))
    h[j] = sigmoid(gate(3, j)) * tanh(c_new[j])
  end
  return h, c_new
end

function cells.gru(gi, gh, h)
  local out = {}
  for j = 1, H do
    local r, z = sigmoid(gi[j] + gh[j]), sigmoid(gi[H + j] + gh[H + j])
    out[j] = (1 - z) * tanh(gi[2 * H + j] + r * gh[2 * H + j]) + z * h[j]
  end
  return out
end

local function run(cell, x, w_ih, w_hh, b_ih, b_hh, h0, c0)
  local h, c, y = h0:totable(), c0:totable(), {}
  for t, step in ipairs(x:totable()) do
    y[t] = {}
    for n = 1, N do
      h[n], c[n] = cells[cell](affine(w_ih:totable(), step[n], b_ih:totable()),
        affine(w_hh:totable(), h[n], b_hh:totable()), h[n], c[n])
      y[t][n] = h[n]
    end
  end
  return y, { table.unpack(h) }, c
end

local function case(name, gates, state_names)
  local f = lurn[name]
  local function call(x, w_ih, w_hh, b_ih, b_hh, h0, c0)
    return f(x, w_ih, w_hh, b_ih, b_hh, { h0 = h0, c0 = c0 })
  end
  local function inputs()
    local list = { random(T, N, D), weights(gates) }
    for _ = 1, #state_names do list[#list + 1] = random(N, H) end
    return list
  end
  return {
    samples = { { "floats", function(make)
      lurn.manual_seed(3)
      local list = {}
      for i, t in ipairs(inputs()) do list[i] = make(t:totable()) end
      local h0, c0 = list[6], list[7] or list[6]
      local y, h, c = run(name, list[1], list[2], list[3], list[4], list[5], h0, c0)
      local options = { h0 = h0, c0 = list[7] }
      return { list[1], list[2], list[3], list[4], list[5], options }, y, h, list[7] and c
    end } },
    errors = {
      { { lurn.zeros(T, N, D), { w_ih = lurn.zeros(gates * H, D), w_hh = lurn.zeros(gates * H, H), record = 5 } },
        name .. ": record: expected a record, got an integer" },
      { { lurn.zeros(3, 4) }, name .. ": w_ih is missing" },
      { { lurn.zeros(T, N, D), lurn.zeros(gates * H, D + 1), lurn.zeros(gates * H, H) },
        function(text) return text:find("^" .. name .. ": ") and text:find "expected" end },
    },
    grads = {
      { function(...) return lurn.cat({ (call(...)), ({ call(...) })[2]:unsqueeze(1) }, 1) end,
        table.unpack(inputs()) },
    },
    large = function(random32)
      return { random32(20, 16, 40), random32(gates * 40, 40) * 0.1, random32(gates * 40, 40) * 0.1 }
    end,
  }
end

return { rnn = case("rnn", 1, { "h0" }), lstm = case("lstm", 4, { "h0", "c0" }), gru = case("gru", 3, { "h0" }) }
