-- Copy memory (after Hochreiter and Schmidhuber 1997; in the form of Arjovsky, Shah and Bengio 2016): ten symbols out
-- of eight, T - 1 blanks, a mark, ten more blanks. The answer is T + 10 blanks and then the ten symbols in order.
-- Whoever knows when to answer, but not what, has a loss of 10 log 8 / (T + 20) nats per step.

local lurn = require "lurn"
local net = require "acceptance.net"
local F = lurn.nn.functional

local copy = {}

local LENGTH, SYMBOLS = 10, 8
local BLANK, MARK = 9, 10

---@type acceptance.Recipe
copy.recipe = { kind = "GRU", hidden = 64, lr = 1e-2, decay = true, clip = 1, batch = 20, steps = 8000, seed = 1 }

---The loss without any memory, in nats per step.
function copy.memoryless(T) return LENGTH * math.log(SYMBOLS) / (T + 2 * LENGTH) end

---Inputs and targets (T + 20, N).
function copy.batch(T, N)
  local symbols = lurn.randint(1, SYMBOLS, LENGTH, N)
  local function row(symbol, n) return lurn.full({ n, N }, symbol, { dtype = "int64" }) end
  local x = lurn.cat { symbols, row(BLANK, T - 1), row(MARK, 1), row(BLANK, LENGTH) }
  return x, lurn.cat { row(BLANK, T + LENGTH), symbols }
end

-- The share of the ten symbols that the likeliest answer gets right.
local function accuracy(logits, targets)
  local right = logits:argmax(-1):eq(targets)
  return right:narrow(1, right.shape[1] - LENGTH + 1, LENGTH):to("float32"):mean():item()
end

---Trains with a delay of T and gives the loss on 500 new sequences, and the share of the symbols that come back.
---@param T integer
---@param recipe acceptance.Recipe
---@param tell? fun(step: integer, loss: number)
---@return number loss nats per step
---@return number accuracy
function copy.run(T, recipe, tell)
  lurn.manual_seed(recipe.seed)
  local model = net.Tagger(recipe, MARK, BLANK)
  local function answer(N)
    local x, targets = copy.batch(T, N)
    return model(net.one_hot(x, MARK)), targets
  end
  net.train(model, recipe, function() return F.cross_entropy(answer(recipe.batch)) end, tell)
  return lurn.no_grad(function()
    local logits, targets = answer(500)
    return F.cross_entropy(logits, targets):item(), accuracy(logits, targets)
  end)
end

return copy
