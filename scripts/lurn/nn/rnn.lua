-- nn.RNN, nn.LSTM, nn.GRU

local core = require "lurn.core"
local gates = require "lurn.nn.gates"
local Recurrent = require "lurn.nn.recurrent"

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

RNN.schema = Recurrent.schema_with { gates.nonlinearity }

---@param input_size integer
---@param hidden_size integer
---@param given? lurn.nn.RNNOptions
function RNN:init(input_size, hidden_size, given)
  self.nonlinearity = Recurrent.init(self, input_size, hidden_size, given).nonlinearity
  self:reset_parameters()
end

function RNN:_run(w, x, h, _, lengths, reverse, record)
  return core.rnn(x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, h, lengths, self.nonlinearity, reverse, record)
end

function RNN:extra_repr()
  local extra = Recurrent.extra_repr(self)
  return self.nonlinearity == "tanh" and extra or ("%s, nonlinearity=%s"):format(extra, self.nonlinearity)
end

-- ---- LSTM ----

---`i, f, o = sigmoid(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`, `g = tanh(the same)`, `c_t = f c_(t-1) + i g`,
---`h_t = o tanh(c_t)`; the rows of the weights hold i, f, g, o.
---Hochreiter, Schmidhuber: Long short-term memory. Neural Computation 9, 1997.
---Forget gate: Gers, Schmidhuber, Cummins: Learning to forget. Neural Computation 12, 2000.
---forget_bias: Jozefowicz, Zaremba, Sutskever: An empirical exploration of recurrent network architectures. ICML 2015.
---@class lurn.nn.LSTM: lurn.nn.Recurrent
---@field forget_bias number
---@overload fun(input_size: integer, hidden_size: integer, options?: lurn.nn.LSTMOptions): lurn.nn.LSTM
local LSTM = Recurrent:extend "LSTM"
LSTM.kind, LSTM.gates, LSTM.has_cell = "LSTM", 4, true

---@class lurn.nn.LSTMOptions: lurn.nn.RecurrentOptions
---@field forget_bias? number (0) added to the forget part of bias_ih at initialisation

LSTM.schema = Recurrent.schema_with {
  gates.forget_bias,
  { name = "proj_size", unavailable = true },
  { name = "peephole", unavailable = true },
  { name = "coupled", unavailable = true },
}

---@param input_size integer
---@param hidden_size integer
---@param given? lurn.nn.LSTMOptions
function LSTM:init(input_size, hidden_size, given)
  self.forget_bias = Recurrent.init(self, input_size, hidden_size, given).forget_bias
  gates.check_forget_bias("nn.LSTM", self.forget_bias, self.bias)
  self:reset_parameters()
end

function LSTM:reset_parameters()
  Recurrent.reset_parameters(self)
  for _, names in ipairs(self._weights) do gates.add_forget_bias(self[names.b_ih], self.forget_bias) end
end

function LSTM:_run(w, x, h, c, lengths, reverse, record)
  return core.lstm(x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, h, c, lengths, nil, nil, nil, nil, false, reverse, record)
end

-- ---- GRU ----

---`r, z = sigmoid(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`, `n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn))`,
---`h_t = (1 - z) n + z h_(t-1)`; the rows of the weights hold r, z, n. Cho et al.: Learning phrase representations
---using RNN encoder-decoder. EMNLP 2014; the reset gate after the product, as in cuDNN and PyTorch.
---@class lurn.nn.GRU: lurn.nn.Recurrent
---@overload fun(input_size: integer, hidden_size: integer, options?: lurn.nn.RecurrentOptions): lurn.nn.GRU
local GRU = Recurrent:extend "GRU"
GRU.kind, GRU.gates = "GRU", 3

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

rnn.RNN, rnn.LSTM, rnn.GRU = RNN, LSTM, GRU
return rnn
