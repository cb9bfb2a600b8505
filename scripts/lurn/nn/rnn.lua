-- nn.RNN, nn.LSTM, nn.GRU

local core = require "lurn.core"
local gates = require "lurn.nn.gates"
local options = require "lurn.nn.options"
local Recurrent = require "lurn.nn.recurrent"
local State = require "lurn.nn.state"
local walk = require "lurn.nn.walk"

local rnn = {}

-- ---- RNN ----

---`h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`.
---Elman: Finding structure in time. Cognitive Science 14, 1990.
---@class lurn.nn.RNN: lurn.nn.Recurrent
---@field nonlinearity "tanh"|"relu"|"sigmoid"
---@overload fun(input_size: integer, hidden_size: integer, options?: lurn.nn.RNNOptions): lurn.nn.RNN
local RNN = Recurrent:extend "RNN"
RNN.kind = "RNN"

---@class lurn.nn.RNNOptions: lurn.nn.RecurrentOptions
---@field nonlinearity? "tanh"|"relu"|"sigmoid" ("tanh")

RNN.schema = options.join(Recurrent.schema, { gates.nonlinearity, table.unpack(gates.lstm_only "nn.LSTM") })

---@param input_size integer
---@param hidden_size integer
---@param given? lurn.nn.RNNOptions
function RNN:init(input_size, hidden_size, given)
  Recurrent.init(self, input_size, hidden_size, given)
  self:reset_parameters()
end

function RNN:_run(w, x, h, _, lengths, reverse, record)
  return core.rnn(x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, h, lengths, self.nonlinearity, reverse, record)
end

function RNN:_prepare(w)
  return core.prepare_layer.rnn(State, self.input_size, self._columns, self.hidden_size, w.w_ih, w.w_hh, w.b_ih, w.b_hh,
    nil, nil, self.nonlinearity)
end

-- ---- LSTM ----

---`i, f, o = sigmoid(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`, `g = tanh(the same)`, `c_t = f c_(t-1) + i g`,
---`h_t = o tanh(c_t)`; the rows of the weights hold i, f, g, o.
---
---With proj_size = P, `h_t = W_hr (o tanh(c_t))` with weight_hr_l0 (P, H): y, state.h and weight_hh_l0 have P columns
---instead of H; state.c keeps H. With peephole, i and f have w c_(t-1) in their sums too and o has w c_t, elementwise,
---by weight_ci_l0, weight_cf_l0 and weight_co_l0 (H). With coupled, i = 1 - f: the rows of the weights hold f, g, o,
---and there is no weight_ci_l0.
---Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9, 1997.
---Forget gate: Gers, Schmidhuber, Cummins: Learning to forget. Neural Computation 12, 2000.
---peephole: Gers, Schraudolph, Schmidhuber: Learning precise timing with LSTM recurrent networks. JMLR 3, 2002.
---coupled: Greff et al.: LSTM: a search space odyssey. IEEE TNNLS 28, 2017.
---proj_size: Sak, Senior, Beaufays: Long short-term memory based recurrent neural network architectures. 2014.
---forget_bias: Jozefowicz, Zaremba, Sutskever: An empirical exploration of recurrent network architectures. ICML 2015.
---@class lurn.nn.LSTM: lurn.nn.Recurrent
---@field forget_bias number
---@field proj_size integer
---@field peephole boolean
---@field coupled boolean
---@overload fun(input_size: integer, hidden_size: integer, options?: lurn.nn.LSTMOptions): lurn.nn.LSTM
local LSTM = Recurrent:extend "LSTM"
LSTM.kind, LSTM.gates, LSTM.has_cell = "LSTM", 4, true

---@class lurn.nn.LSTMOptions: lurn.nn.RecurrentOptions
---@field forget_bias? number (0) added to the forget part of bias_ih at initialisation
---@field proj_size? integer (0) size that h_t is projected to, less than hidden_size; 0: none
---@field peephole? boolean (false) gates see the cell
---@field coupled? boolean (false) the input gate is 1 - f

LSTM.schema = options.join(Recurrent.schema, gates.of_lstm)

---@param input_size integer
---@param hidden_size integer
---@param given? lurn.nn.LSTMOptions
function LSTM:init(input_size, hidden_size, given)
  Recurrent.init(self, input_size, hidden_size, given)
  self:reset_parameters()
end

function LSTM:_choose()
  local who = "nn." .. self.kind
  gates.check_forget_bias(who, self.forget_bias, self.bias)
  if self.proj_size >= self.hidden_size then
    core.raise(("%s: proj_size is %d; expected less than hidden_size, %d"):format(who, self.proj_size,
      self.hidden_size))
  end
  if self.proj_size > 0 then self._columns = self.proj_size end
  if self.coupled then self.gates = 3 end
end

function LSTM:_shapes(input_size)
  local list, H = Recurrent._shapes(self, input_size), self.hidden_size
  if self.proj_size > 0 then table.insert(list, { name = "w_hr", shape = { self.proj_size, H } }) end
  for _, name in ipairs(gates.peepholes(self.peephole, self.coupled)) do
    table.insert(list, { name = name, shape = { H } })
  end
  return list
end

function LSTM:reset_parameters()
  Recurrent.reset_parameters(self)
  for _, names in ipairs(self._weights) do
    if names.b_ih then gates.add_forget_bias(self[names.b_ih], self.forget_bias, self.coupled) end
  end
end

function LSTM:_run(w, x, h, c, lengths, reverse, record)
  return core.lstm(x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, h, c, lengths, w.w_hr, w.w_ci, w.w_cf, w.w_co, self.coupled,
    reverse, record)
end

function LSTM:_prepare(w)
  return core.prepare_layer.lstm(State, self.input_size, self._columns, self.hidden_size, w.w_ih, w.w_hh, w.b_ih,
    w.b_hh, nil, nil, nil, w.w_hr, w.w_ci, w.w_cf, w.w_co, self.coupled)
end

-- ---- GRU ----

---`r, z = sigmoid(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`, `n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn))`,
---`h_t = (1 - z) n + z h_(t-1)`; the rows of the weights hold r, z, n. Cho et al.: Learning phrase representations
---using RNN encoder-decoder. EMNLP 2014; the reset gate after the product, as in cuDNN and PyTorch.
---@class lurn.nn.GRU: lurn.nn.Recurrent
---@overload fun(input_size: integer, hidden_size: integer, options?: lurn.nn.RecurrentOptions): lurn.nn.GRU
local GRU = Recurrent:extend "GRU"
GRU.kind, GRU.gates = "GRU", 3

GRU.schema = options.join(Recurrent.schema, gates.lstm_only "nn.LSTM")

---@param input_size integer
---@param hidden_size integer
---@param given? lurn.nn.RecurrentOptions
function GRU:init(input_size, hidden_size, given)
  Recurrent.init(self, input_size, hidden_size, given)
  self:reset_parameters()
end

function GRU:_run(w, x, h, _, lengths, reverse, record)
  return core.gru(x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, h, lengths, reverse, record)
end

function GRU:_prepare(w)
  return core.prepare_layer.gru(State, self.input_size, self._columns, self.hidden_size, w.w_ih, w.w_hh, w.b_ih, w.b_hh)
end

-- From single ops: with recurrent dropout the mask is for the products only, not for what z keeps of h.
function GRU:_stepper(w, x)
  local slices = walk.unbind(core.linear(x, w.w_ih, w.b_ih))
  return function(t, h, _, mask, recorder)
    h = h or core.zeros(x.shape[2], self.hidden_size, { dtype = x.dtype })
    local xr, xz, xn = table.unpack(slices[t]:chunk(3, 2))
    local hr, hz, hn = table.unpack(core.linear(mask and h * mask or h, w.w_hh, w.b_hh):chunk(3, 2))
    local r, z = (xr + hr):sigmoid(), (xz + hz):sigmoid()
    local n = (xn + r * hn):tanh()
    if recorder then recorder:note_gates(t, r, z, n) end
    return n + z * (h - n)
  end
end

rnn.RNN, rnn.LSTM, rnn.GRU = RNN, LSTM, GRU
return rnn
