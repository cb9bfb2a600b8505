-- lurn.nn: modules, layers and what belongs to them, with PyTorch's names and numbers.

local activations = require "lurn.nn.activations"
local attention = require "lurn.nn.attention"
local cells = require "lurn.nn.cells"
local check = require "lurn.nn.check"
local distance = require "lurn.nn.distance"
local layer_norm_rnn = require "lurn.nn.layer_norm_rnn"
local losses = require "lurn.nn.losses"
local methods = require "lurn.methods"
local pooling = require "lurn.nn.pooling"
local rnn = require "lurn.nn.rnn"
local slots = require "lurn.nn.slots"
local state = require "lurn.nn.state"

local nn = {
  Module = require "lurn.nn.module",
  ---A tensor that becomes a parameter of the module it is assigned to.
  Parameter = require("lurn.nn.parameter").new,

  Sequential = require "lurn.nn.sequential",
  ModuleList = require "lurn.nn.module_list",
  ModuleDict = require "lurn.nn.module_dict",

  Linear = require "lurn.nn.linear",
  Embedding = require "lurn.nn.embedding",
  Dropout = require "lurn.nn.dropout",
  VariationalDropout = require "lurn.nn.variational_dropout",
  LayerNorm = require "lurn.nn.layer_norm",
  Conv1d = require "lurn.nn.conv1d",
  BatchNorm1d = require "lurn.nn.batch_norm",
  MaxPool1d = pooling.MaxPool1d,
  AvgPool1d = pooling.AvgPool1d,
  CosineSimilarity = distance.CosineSimilarity,
  PairwiseDistance = distance.PairwiseDistance,

  RNN = rnn.RNN,
  LSTM = rnn.LSTM,
  GRU = rnn.GRU,
  RNNCell = cells.RNNCell,
  LSTMCell = cells.LSTMCell,
  GRUCell = cells.GRUCell,
  LayerNormLSTM = layer_norm_rnn.LayerNormLSTM,
  LayerNormGRU = layer_norm_rnn.LayerNormGRU,
  LayerNormLSTMCell = layer_norm_rnn.LayerNormLSTMCell,
  LayerNormGRUCell = layer_norm_rnn.LayerNormGRUCell,
  Unroll = require "lurn.nn.unroll",

  AdditiveAttention = attention.AdditiveAttention,
  DotAttention = attention.DotAttention,
  GeneralAttention = attention.GeneralAttention,
  MultiheadAttention = require "lurn.nn.multihead_attention",

  functional = require "lurn.nn.functional",
  init = require "lurn.nn.initializers",
  utils = require "lurn.nn.utils",
}

---The state of a recurrent layer or cell from its tensors: `nn.State(h, c)`; without c for RNN and GRU.
---@param h lurn.Tensor
---@param c? lurn.Tensor
---@return lurn.nn.State
function nn.State(h, c)
  check.tensor("nn.State", "h", h)
  if c ~= nil then check.tensor("nn.State", "c", c) end
  return state.new(h, c)
end

for name, class in pairs(activations) do nn[name] = class end
for name, class in pairs(losses) do nn[name] = class end

-- Methods of all classes but nn.Module, which sees to its own, say so when they are called with a dot. What a class
-- inherits from one that is not public is its own too.
local called_otherwise = { init = true, forward = true, extra_repr = true, drop = true }
local guarded = { [nn.Module] = true }
for _, class in pairs(nn) do
  while type(class) == "table" and rawget(class, "is_lurn_module") and not guarded[class] do
    guarded[class] = true
    methods.guard(class, "module", slots.is_module, called_otherwise)
    class = getmetatable(class).__index
  end
end

return nn
