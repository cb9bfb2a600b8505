-- nn.LayerNormLSTM, nn.LayerNormGRU and their cells.

local core = require "lurn.core"
local cells = require "lurn.nn.cells"
local gates = require "lurn.nn.gates"
local initializers = require "lurn.nn.initializers"
local noise = require "lurn.nn.noise"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"
local Recurrent = require "lurn.nn.recurrent"
local rnn = require "lurn.nn.rnn"
local walk = require "lurn.nn.walk"

local layer_norm_rnn = {}

local eps_option = { name = "eps", kind = "positive", default = 1e-5 }

-- ---- Equations ----

local function zeros(x, hidden) return core.zeros(x.shape[2], hidden, { dtype = x.dtype }) end

-- A gate before its nonlinearity, with the cell by a peephole weight, where there is one.
local function see(gate, weight, c) return weight and gate + weight * c or gate end

-- The step function of an LSTM; w has gain_ih, gain_hh, gain_c, bias_c beside the weights of every layer.
local function lstm_stepper(w, x, layer)
  local hidden, eps, coupled = layer.hidden_size, layer.eps, layer.coupled
  local slices = walk.unbind(core.layer_norm(core.linear(x, w.w_ih), w.gain_ih, w.b_ih, eps))
  return function(t, h, c, mask, recorder)
    h, c = h or zeros(x, w.w_hh.shape[2]), c or zeros(x, hidden)
    local products = core.layer_norm(core.linear(mask and h * mask or h, w.w_hh), w.gain_hh, w.b_hh, eps)
    local parts = (slices[t] + products):chunk(coupled and 3 or 4, 2)
    if coupled then table.insert(parts, 1, false) end
    local f, g = see(parts[2], w.w_cf, c):sigmoid(), parts[3]:tanh()
    local i = coupled and 1 - f or see(parts[1], w.w_ci, c):sigmoid()
    c = f * c + i * g
    if recorder then c = recorder:note_cell(t, c) end
    local o = see(parts[4], w.w_co, c):sigmoid()
    if recorder then recorder:note_gates(t, table.unpack({ i, f, g, o }, coupled and 2 or 1)) end
    h = o * core.layer_norm(c, w.gain_c, w.bias_c, eps):tanh()
    return w.w_hr and core.linear(h, w.w_hr) or h, c
  end
end

-- Rows first..last of the gates, of a weight vector too; nil for nil.
local function rows(t, first, n) return t and core.narrow(t, -1, first, n) end

-- The products of r and z are normalized together, those of n by themselves.
local function norm_rz_n(products, gain, bias, hidden, eps)
  local function part(first, n)
    return core.layer_norm(rows(products, first, n), rows(gain, first, n), rows(bias, first, n), eps)
  end
  return part(1, 2 * hidden), part(2 * hidden + 1, hidden)
end

local function gru_stepper(w, x, layer)
  local hidden, eps = layer.hidden_size, layer.eps
  local rz_all, n_all = norm_rz_n(core.linear(x, w.w_ih), w.gain_ih, w.b_ih, hidden, eps)
  local rz_of, n_of = walk.unbind(rz_all), walk.unbind(n_all)
  return function(t, h, _, mask, recorder)
    h = h or zeros(x, hidden)
    local rz, n = norm_rz_n(core.linear(mask and h * mask or h, w.w_hh), w.gain_hh, w.b_hh, hidden, eps)
    local r, z = table.unpack((rz_of[t] + rz):sigmoid():chunk(2, 2))
    n = (n_of[t] + r * n):tanh()
    if recorder then recorder:note_gates(t, r, z, n) end
    return n + z * (h - n)
  end
end

-- ---- Weights ----

local lstm_parts = { "gain_ih", "gain_hh", "gain_c", "bias_c" }
local gru_parts = { "gain_ih", "gain_hh" }

-- Registers what the norms have beside the biases, under names with a suffix; gives the full names by part.
local function add_norms(module, parts, suffix, hidden)
  local names = {}
  for _, part in ipairs(parts) do
    local size = part:find "_c$" and hidden or module.gates * hidden
    if module.bias or part ~= "bias_c" then
      names[part] = part .. suffix
      module[part .. suffix] = parameter.new(core.empty(size))
    end
  end
  return names
end

-- Weights as in every layer, gains 1, biases 0 and, for f, the forget bias.
local function reset(module)
  local bound = 1 / math.sqrt(module.hidden_size)
  for name, p in module:named_parameters() do
    if name:find "^weight" then
      initializers.uniform_(p, -bound, bound)
    else
      initializers.constant_(p, name:find "^gain" and 1 or 0)
    end
    if module.forget_bias and name:find "^bias_ih" then gates.add_forget_bias(p, module.forget_bias, module.coupled) end
  end
end

-- ---- Layers ----

-- What both kinds of layers share.
local function layer_class(name, stepper, parts)
  local class = Recurrent:extend(name)
  class.kind = name

  class._always_by_steps = true

  function class:_stepper(w, x) return stepper(w, x, self) end

  class._run = noise.by_steps

  function class:init(input_size, hidden_size, given)
    Recurrent.init(self, input_size, hidden_size, given)
    for _, names in ipairs(self._weights) do
      local suffix = names.w_ih:match "^weight_ih(.*)$"
      for part, full in pairs(add_norms(self, parts, suffix, self.hidden_size)) do names[part] = full end
    end
    self:reset_parameters()
  end

  function class:reset_parameters() reset(self) end

  return class
end

---`i, f, g, o = LN(W_ih x_t) gain_ih + bias_ih + LN(W_hh h_(t-1)) gain_hh + bias_hh`, `c_t = sigmoid(f) c_(t-1) +
---sigmoid(i) tanh(g)`, `h_t = sigmoid(o) tanh(LN(c_t) gain_c + bias_c)`; LN normalizes all four parts together.
---Parameters are those of nn.LSTM and gain_ih_l0, gain_hh_l0 (4H), gain_c_l0, bias_c_l0 (H) and so on. At first gains
---are 1, biases 0 (bias_ih with the forget bias), weights as in nn.LSTM. Options are those of nn.LSTM and `eps` (1e-5):
---peepholes see c as it is, coupled gates have gains of (3H), and with a projection `h_t = W_hr (sigmoid(o)
---tanh(LN(c_t) gain_c + bias_c))`. Calls, states and recordings are those of nn.LSTM; it goes step by step, which
---is slower.
---Ba, Kiros, Hinton: Layer normalization. arXiv 1607.06450, 2016, supplement; its b is in the two biases.
---@class lurn.nn.LayerNormLSTM: lurn.nn.Recurrent
---@field eps number
---@field forget_bias number
---@field proj_size integer
---@field peephole boolean
---@field coupled boolean
---@overload fun(input_size: integer, hidden_size: integer, options?: table): lurn.nn.LayerNormLSTM
local LayerNormLSTM = layer_class("LayerNormLSTM", lstm_stepper, lstm_parts)
LayerNormLSTM.gates, LayerNormLSTM.has_cell = 4, true
LayerNormLSTM.schema = options.join(Recurrent.schema, { eps_option, table.unpack(gates.of_lstm) })
LayerNormLSTM._choose, LayerNormLSTM._shapes = rnn.LSTM._choose, rnn.LSTM._shapes

---@class lurn.nn.LayerNormGRUOptions: lurn.nn.RecurrentOptions
---@field eps? number (1e-5) of LN

---@class lurn.nn.LayerNormLSTMOptions: lurn.nn.LSTMOptions
---@field eps? number (1e-5) of LN

---`r, z = sigmoid(LN(W_ih x_t) gain_ih + bias_ih + LN(W_hh h_(t-1)) gain_hh + bias_hh)`, `n = tanh(LN(W_in x_t)
---gain_in + bias_in + r (LN(W_hn h_(t-1)) gain_hn + bias_hn))`, `h_t = (1 - z) n + z h_(t-1)`: r and z are normalized
---together, n by itself. Parameters are those of nn.GRU and gain_ih_l0, gain_hh_l0 (3H) and so on. Options are those of
---nn.GRU and `eps` (1e-5). As in nn.GRU z is what is kept; in the paper it is what is renewed.
---Ba, Kiros, Hinton 2016, supplement.
---@class lurn.nn.LayerNormGRU: lurn.nn.Recurrent
---@field eps number
---@overload fun(input_size: integer, hidden_size: integer, options?: table): lurn.nn.LayerNormGRU
local LayerNormGRU = layer_class("LayerNormGRU", gru_stepper, gru_parts)
LayerNormGRU.gates = 3
LayerNormGRU.schema = options.join(Recurrent.schema, { eps_option, table.unpack(gates.lstm_only "nn.LayerNormLSTM") })

-- ---- Cells ----

local function cell_class(name, stepper, parts)
  local class = cells.Cell:extend(name)
  class.kind = name

  function class:init(input_size, hidden_size, given)
    cells.Cell.init(self, input_size, hidden_size, given)
    add_norms(self, parts, "", self.hidden_size)
    self:reset_parameters()
  end

  function class:reset_parameters() reset(self) end

  function class:_step(x, h, c)
    noise.check_state(getmetatable(self).__name, x, h, c)
    local w = { w_ih = self.weight_ih, w_hh = self.weight_hh, b_ih = self.bias_ih, b_hh = self.bias_hh,
      w_ci = self.weight_ci, w_cf = self.weight_cf, w_co = self.weight_co }
    for _, part in ipairs(parts) do w[part] = self[part] end
    return stepper(w, core.unsqueeze(x, 1), self)(1, h, c)
  end

  return class
end

---One step of nn.LayerNormLSTM. Options: those of nn.LSTMCell and `eps` (1e-5).
---@class lurn.nn.LayerNormLSTMCell: lurn.nn.Cell
---@overload fun(input_size: integer, hidden_size: integer, options?: table): lurn.nn.LayerNormLSTMCell
local LayerNormLSTMCell = cell_class("LayerNormLSTMCell", lstm_stepper, lstm_parts)
LayerNormLSTMCell.gates, LayerNormLSTMCell.has_cell = 4, true
LayerNormLSTMCell.schema = options.join(cells.Cell.schema, { eps_option, table.unpack(gates.of_lstm_cell) })
LayerNormLSTMCell._choose = cells.LSTMCell._choose

---One step of nn.LayerNormGRU. Options: `bias` (true), `zoneout` (0), `eps` (1e-5).
---@class lurn.nn.LayerNormGRUCell: lurn.nn.Cell
---@overload fun(input_size: integer, hidden_size: integer, options?: table): lurn.nn.LayerNormGRUCell
local LayerNormGRUCell = cell_class("LayerNormGRUCell", gru_stepper, gru_parts)
LayerNormGRUCell.gates = 3
LayerNormGRUCell.schema = options.join(cells.Cell.schema,
  { eps_option, table.unpack(gates.lstm_only "nn.LayerNormLSTMCell") })

layer_norm_rnn.LayerNormLSTM, layer_norm_rnn.LayerNormGRU = LayerNormLSTM, LayerNormGRU
layer_norm_rnn.LayerNormLSTMCell, layer_norm_rnn.LayerNormGRUCell = LayerNormLSTMCell, LayerNormGRUCell
return layer_norm_rnn
