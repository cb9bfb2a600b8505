-- Temporal order (Hochreiter and Schmidhuber 1997, experiments 6a and 6b): 100 to 110 symbols, B first and E last, the
-- others out of a b c d, but for two or three that are X or Y. Which they are, in order, is the answer after the last
-- step: one of 4 or 8 classes. The first of them lies at least 80 steps before
-- the end, the last 40 or 24.

local lurn = require "lurn"
local net = require "acceptance.net"
local F = lurn.nn.functional

local order = {}

local SYMBOLS = { a = 1, b = 2, c = 3, d = 4, X = 5, Y = 6, B = 7, E = 8 }
local SHORTEST, LONGEST = 100, 110

---Between which steps the relevant symbols stand, of the experiment with two and with three of them.
order.places = {
  ["6a"] = { { 10, 20 }, { 50, 60 } },
  ["6b"] = { { 10, 20 }, { 33, 43 }, { 66, 76 } },
}

---@type acceptance.Recipe
order.recipe = { kind = "LSTM", hidden = 16, max_time = LONGEST, lr = 1e-2, clip = 1, batch = 20, steps = 2000,
  seed = 1 }

---x (T, N), classes (N) and lengths (N); what stands after a sequence's end is not looked at.
---@param places integer[][] see order.places
---@param N integer
function order.batch(places, N)
  local time, lengths = lurn.arange(LONGEST):view(LONGEST, 1), lurn.randint(SHORTEST, LONGEST, N)
  local x, classes = lurn.randint(SYMBOLS.a, SYMBOLS.d, LONGEST, N), lurn.ones(N, { dtype = "int64" })
  for i, range in ipairs(places) do
    local place, is_y = lurn.randint(range[1], range[2], N), lurn.randint(0, 1, N)
    x = lurn.where(time:eq(place), is_y + SYMBOLS.X, x)
    classes = classes * 2 - 1 + is_y -- 1, then 1..2, 1..4, 1..8
  end
  x = lurn.where(time:eq(1), SYMBOLS.B, x)
  x = lurn.where(time:eq(lengths), SYMBOLS.E, x)
  return x, classes, lengths
end

-- The largest error of each sequence over the output units (N): |probability - (1 for its class, else 0)|.
local function errors(logits, classes)
  local wanted = net.one_hot(classes, logits.shape[2])
  return lurn.no_grad(function() return (logits:softmax(-1) - wanted):abs():amax(-1) end)
end

-- The paper's end of training: the last 2,000 sequences, as they came, had errors below 0.3, and below 0.1 on average.
local function judge()
  local streak, average = 0, 1
  return function(e)
    local all_right = e:amax():item() < 0.3
    streak = all_right and streak + e.shape[1] or 0
    average = 0.99 * average + 0.01 * e:mean():item()
    return streak >= 2000 and average < 0.1
  end
end

---Trains until the paper's criterion is met or the steps are over; then classifies 2,560 new sequences.
---@param experiment "6a"|"6b"
---@param recipe acceptance.Recipe
---@param tell? fun(step: integer, loss: number)
---@return integer? sequences seen when the criterion was met; nil when it was not
---@return integer wrong of the 2,560, those with an error of 0.3 or more
function order.run(experiment, recipe, tell)
  lurn.manual_seed(recipe.seed)
  local places = order.places[experiment]
  local model, met, done = net.Reader(recipe, 8, 1 << #places), judge(), false
  local function answer(N)
    local x, classes, lengths = order.batch(places, N)
    return model(net.one_hot(x, 8), lengths), classes
  end
  local steps = net.train(model, recipe, function()
    local logits, classes = answer(recipe.batch)
    done = met(errors(logits, classes))
    return F.cross_entropy(logits, classes)
  end, function(step, loss)
    if tell then tell(step, loss) end
    return done
  end)
  local wrong = lurn.no_grad(function() return errors(answer(2560)):ge(0.3):sum():item() end)
  return done and steps * recipe.batch or nil, wrong
end

return order
