-- The adding problem (Hochreiter and Schmidhuber 1997, experiment 4, in the form of Le, Jaitly and Hinton 2015): T
-- pairs of a number, uniform on [0, 1), and a mark. Two numbers are marked, one in each half; their sum is the answer,
-- after the last step. Whoever always answers 1 has a mean squared error of 1/6 = 0.167.

local lurn = require "lurn"
local net = require "acceptance.net"
local F = lurn.nn.functional

local adding = {}

---The error of always answering 1: the variance of a sum of two uniform numbers.
adding.trivial = 1 / 6

---@type acceptance.Recipe
adding.recipe = { kind = "LSTM", hidden = 64, lr = 1e-2, clip = 1, batch = 50, steps = 2000, seed = 1 }

---x (T, N, 2) and the sums (N).
function adding.batch(T, N)
  local first, second = lurn.randint(1, T // 2, N), lurn.randint(T // 2 + 1, T, N)
  local time = lurn.arange(T):view(T, 1)
  local numbers = lurn.rand(T, N)
  local marks = time:eq(first):logical_or(time:eq(second)):to "float32"
  return lurn.stack({ numbers, marks }, 3), (numbers * marks):sum(1)
end

---Trains on sequences of T steps and gives the mean squared error on 2,000 new ones.
---@param T integer
---@param recipe acceptance.Recipe
---@param tell? fun(step: integer, loss: number)
---@return number
function adding.run(T, recipe, tell)
  lurn.manual_seed(recipe.seed)
  local model = net.Reader(recipe, 2, 1)
  local function loss_on(N)
    local x, sums = adding.batch(T, N)
    return F.mse_loss(model(x):view(N), sums)
  end
  net.train(model, recipe, function() return loss_on(recipe.batch) end, tell)
  return lurn.no_grad(function() return loss_on(2000):item() end)
end

return adding
