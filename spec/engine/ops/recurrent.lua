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

-- ---- Variants of the LSTM ----

local P = 1

-- Any of them: options are those of the op, coupled apart. Sums of gates i f g o, or f g o.
local function variant_step(o, w, x, h, c)
  local sums, G = {}, o.coupled and 3 or 4
  local gi, gh = affine(w.w_ih, x, w.b_ih), affine(w.w_hh, h, w.b_hh)
  for k = 1, G * H do sums[k] = gi[k] + gh[k] end
  local function gate(from_end, j) return sums[(G - from_end) * H + j] end
  local function seen(name, j, cell) return w[name] and w[name][j] * cell or 0 end
  local out, c_new = {}, {}
  for j = 1, H do
    local f = sigmoid(gate(3, j) + seen("w_cf", j, c[j]))
    local i = o.coupled and 1 - f or sigmoid(gate(4, j) + seen("w_ci", j, c[j]))
    c_new[j] = f * c[j] + i * tanh(gate(2, j))
    out[j] = sigmoid(gate(1, j) + seen("w_co", j, c_new[j])) * tanh(c_new[j])
  end
  if not w.w_hr then return out, c_new end
  local none = {}
  for p = 1, P do none[p] = 0 end
  return affine(w.w_hr, out, none), c_new
end

-- The tensors of a variant by name, and their order for a gradient check.
local function variant_inputs(o)
  local rows, width = (o.coupled and 3 or 4) * H, o.projected and P or H
  local t = { x = random(T, N, D), w_ih = random(rows, D), w_hh = random(rows, width), b_ih = random(rows),
    b_hh = random(rows), h0 = random(N, width), c0 = random(N, H) }
  if o.projected then t.w_hr = random(P, H) end
  for _, name in ipairs(o.peepholes or {}) do t[name] = random(H) end
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return t, names
end

local function call_variant(o, t)
  local options = { coupled = o.coupled, reverse = o.reverse, lengths = o.lengths }
  for name, value in pairs(t) do options[name] = value end
  options.x = nil
  return lurn.lstm(t.x, options)
end

local function variant_sample(o)
  return { "floats", function(make)
    lurn.manual_seed(5)
    local t, w, options = (variant_inputs(o)), {}, { coupled = o.coupled }
    for name, value in pairs(t) do
      t[name] = make(value:totable())
      w[name] = t[name]:totable()
      if name ~= "x" then options[name] = t[name] end
    end
    local h, c, y = w.h0, w.c0, {}
    for step = 1, T do
      y[step] = {}
      for n = 1, N do
        h[n], c[n] = variant_step(o, w, w.x[step][n], h[n], c[n])
        y[step][n] = h[n]
      end
    end
    return { t.x, options }, y, { table.unpack(h) }, c
  end }
end

local function variant_gradient(o)
  lurn.manual_seed(6)
  local inputs, names = variant_inputs(o)
  local list = {}
  for i, name in ipairs(names) do list[i] = inputs[name] end
  return { function(...)
    local t = {}
    for i, name in ipairs(names) do t[name] = (select(i, ...)) end
    local y, h, c = call_variant(o, t)
    return lurn.cat({ y:view(-1), h:view(-1), c:view(-1) }, 1)
  end, table.unpack(list) }
end

local all_peepholes, coupled_peepholes = { "w_ci", "w_cf", "w_co" }, { "w_cf", "w_co" }
local lengths = lurn.tensor({ 2, 3 }, { dtype = "int64" })
local variants = {
  { projected = true },
  { peepholes = all_peepholes },
  { peepholes = { "w_co" } },
  { coupled = true },
  { coupled = true, peepholes = coupled_peepholes },
  { projected = true, peepholes = all_peepholes },
  { projected = true, coupled = true, peepholes = coupled_peepholes },
}
-- Their gradients, walked backwards and with lengths too.
local differentiated = {
  { projected = true, lengths = lengths },
  { peepholes = all_peepholes, reverse = true },
  { projected = true, coupled = true, peepholes = coupled_peepholes, lengths = lengths, reverse = true },
}

local function variant_error(more, message)
  local options = { w_ih = lurn.zeros(4 * H, D), w_hh = lurn.zeros(4 * H, H) }
  for name, value in pairs(more) do options[name] = value end
  return { { lurn.zeros(T, N, D), options }, message }
end

local function lstm()
  local result = case("lstm", 4, { "h0", "c0" })
  for _, o in ipairs(variants) do
    table.insert(result.samples, variant_sample(o))
    table.insert(result.grads, variant_gradient(o))
  end
  for _, o in ipairs(differentiated) do table.insert(result.grads, variant_gradient(o)) end
  for _, e in ipairs {
    variant_error({ w_hr = lurn.zeros(3, 8) },
      "lstm: w_hr has shape (3, 8), expected (P, 2): the projection's size, hidden"),
    variant_error({ w_hr = lurn.zeros(1, 2) }, "lstm: w_hh has shape (8, 2), expected (8, 1)"),
    variant_error({ w_hr = lurn.zeros(1, 2), w_hh = lurn.zeros(8, 1), h0 = lurn.zeros(N, H) },
      "lstm: h0 has shape (2, 2), expected (2, 1)"),
    variant_error({ w_co = lurn.zeros(3) }, "lstm: w_co has shape (3), expected (2)"),
    variant_error({ w_cf = lurn.zeros(2, { dtype = "float64" }) }, "lstm: w_cf is float64, expected float32 like x"),
    variant_error({ coupled = true }, "lstm: w_ih has shape (8, 3), expected (3 * hidden, 3)"),
    variant_error({ coupled = true, w_ih = lurn.zeros(6, D), w_hh = lurn.zeros(6, H), w_ci = lurn.zeros(H) },
      "lstm: w_ci is given, but there is no input gate when gates are coupled"),
  } do table.insert(result.errors, e) end
  return result
end

return { rnn = case("rnn", 1, { "h0" }), lstm = lstm(), gru = case("gru", 3, { "h0" }) }
