-- The two kinds of network that the acceptance tasks train, and the loop that trains them: Adam, a fresh batch at every
-- step, gradients clipped on their joint norm.

local lurn = require "lurn"
local nn = lurn.nn

local net = {}

---@class acceptance.Recipe
---@field kind "RNN"|"LSTM"|"GRU"
---@field hidden integer units H
---@field forget_bias? number of an LSTM
---@field max_time? integer biases by nn.init.chrono_, for dependences of up to so many steps
---@field lr number Adam's learning rate
---@field decay? boolean the learning rate falls to 0 along half a cosine over all steps
---@field clip number largest norm of the gradients
---@field batch integer sequences N at each step
---@field steps integer
---@field seed integer

local LAYERS = { RNN = nn.RNN, LSTM = nn.LSTM, GRU = nn.GRU }

local function recurrent(recipe, inputs)
  local options = recipe.forget_bias and { forget_bias = recipe.forget_bias }
  local layer = LAYERS[recipe.kind](inputs, recipe.hidden, options)
  if recipe.max_time then nn.init.chrono_(layer, recipe.max_time) end
  return layer
end

---Symbols 1..n as vectors with a single one: ids (...) give (..., n).
function net.one_hot(ids, n) return nn.functional.embedding(ids, lurn.eye(n)) end

---Answers once, after the last step: x (T, N, inputs) gives (N, outputs).
net.Reader = nn.Module:extend "Reader"

function net.Reader:init(recipe, inputs, outputs)
  self.rnn = recurrent(recipe, inputs)
  self.head = nn.Linear(recipe.hidden, outputs)
end

function net.Reader:forward(x, lengths)
  local _, state = self.rnn(x, nil, { lengths = lengths })
  return self.head(state.h[-1])
end

---Answers at every step: x (T, N, inputs) gives (T, N, outputs).
net.Tagger = nn.Module:extend "Tagger"
net.Tagger.init = net.Reader.init

function net.Tagger:forward(x, lengths)
  local y = self.rnn(x, nil, { lengths = lengths })
  return self.head(y)
end

---Trains on `loss_of(step)`, the loss of a batch. `after(step, loss)`, if given, is called with every loss, and ends
---the training by returning true.
---@param model lurn.nn.Module
---@param recipe acceptance.Recipe
---@param loss_of fun(step: integer): lurn.Tensor
---@param after? fun(step: integer, loss: number): boolean?
---@return integer # steps made
function net.train(model, recipe, loss_of, after)
  local opt = lurn.optim.Adam(model:parameters(), { lr = recipe.lr })
  local schedule = recipe.decay and lurn.optim.lr_scheduler.CosineAnnealingLR(opt, { T_max = recipe.steps })
  for step = 1, recipe.steps do
    opt:zero_grad()
    local loss = loss_of(step)
    loss:backward()
    nn.utils.clip_grad_norm_(model:parameters(), recipe.clip)
    opt:step()
    if schedule then schedule:step() end
    if after and after(step, loss:item()) then return step end
  end
  return recipe.steps
end

---A recipe with some fields set otherwise.
function net.with(recipe, changes)
  local made = {}
  for key, value in pairs(recipe) do made[key] = value end
  for key, value in pairs(changes) do made[key] = value end
  return made
end

return net
