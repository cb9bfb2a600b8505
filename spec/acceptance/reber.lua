-- The embedded Reber grammar (Cleeremans, Servan-Schreiber and McClelland 1989; Hochreiter and Schmidhuber 1997,
-- experiment 1). A string is B, T or P, a word of Reber's grammar, the same T or P again, E. At every step the network
-- says what may come next; near the end that hangs on the second symbol, as many steps back as the word is long.

local lurn = require "lurn"
local net = require "acceptance.net"
local F = lurn.nn.functional

local reber = {}

local SYMBOLS = "BTPSXVE"
local PADDING = 1 -- an input past the end of a string
local NO_TARGET = 0

-- Reber's automaton: what may follow in each state, and the state it leads to. State 6 has only the E.
local ARCS = {
  { T = 2, P = 3 },
  { S = 2, X = 4 },
  { T = 3, V = 5 },
  { X = 3, S = 6 },
  { P = 4, V = 6 },
}
local BRANCHES = { "TP", "SX", "TV", "XS", "PV" }

---@type acceptance.Recipe
reber.recipe = { kind = "LSTM", hidden = 16, lr = 1e-2, decay = true, clip = 1, batch = 10, steps = 1800, seed = 1 }

-- One of two symbols.
local function either(pair)
  local i = lurn.randint(1, 2, 1):item()
  return pair:sub(i, i)
end

---A string, and for each of its symbols but the last those that may follow it.
---@return string text
---@return string[] legal
function reber.draw()
  local outer, state = either "TP", 1
  local text, legal = "B" .. outer .. "B", { "TP", "B", BRANCHES[1] }
  while state ~= 6 do
    local symbol = either(BRANCHES[state])
    state = ARCS[state][symbol]
    text, legal[#legal + 1] = text .. symbol, BRANCHES[state] or "E"
  end
  legal[#legal + 1], legal[#legal + 2] = outer, "E"
  return text .. "E" .. outer .. "E", legal
end

---Draws n strings.
---@param n integer
---@param unseen? table<string, boolean> strings that are passed over; those drawn are added, so that all are different
function reber.strings(n, unseen)
  local list = {}
  while #list < n do
    local text, legal = reber.draw()
    if not (unseen and unseen[text]) then list[#list + 1] = { text = text, legal = legal } end
    if unseen then unseen[text] = true end
  end
  return list
end

local function symbol_at(string, t) return SYMBOLS:find(string.text:sub(t, t), 1, true) end

-- For each symbol whether it may follow the t-th.
local function legal_at(string, t)
  local flags, legal = {}, string.legal[t] or ""
  for i = 1, #SYMBOLS do flags[i] = legal:find(SYMBOLS:sub(i, i), 1, true) ~= nil end
  return flags
end

---Strings side by side, as long as the longest: inputs and targets (T, N), lengths (N), legal successors (T, N, 7).
function reber.batch(strings)
  local x, targets, legal, lengths = {}, {}, {}, {}
  for n, string in ipairs(strings) do lengths[n] = #string.text - 1 end
  for t = 1, math.max(table.unpack(lengths)) do
    x[t], targets[t], legal[t] = {}, {}, {}
    for n, string in ipairs(strings) do
      local inside = t <= lengths[n]
      x[t][n] = inside and symbol_at(string, t) or PADDING
      targets[t][n] = inside and symbol_at(string, t + 1) or NO_TARGET
      legal[t][n] = legal_at(string, t)
    end
  end
  local function ids(list) return lurn.tensor(list, { dtype = "int64" }) end
  return { x = ids(x), targets = ids(targets), lengths = ids(lengths), legal = lurn.tensor(legal, { dtype = "bool" }) }
end

-- Some strings of a batch, cut off where the longest of them ends.
local function pick(batch, which)
  local lengths = batch.lengths:index_select(1, which)
  local T = lengths:max():item()
  local function columns(t) return t:narrow(1, 1, T):index_select(2, which) end
  return { x = columns(batch.x), targets = columns(batch.targets), lengths = lengths }
end

local function answer(model, batch) return model(net.one_hot(batch.x, #SYMBOLS), batch.lengths) end

---In how many strings every legal successor has a larger logit than every illegal one, at every step.
function reber.perfect(model, strings)
  local batch = reber.batch(strings)
  local logits = lurn.no_grad(answer, model, batch)
  local least_legal = lurn.where(batch.legal, logits, math.huge):amin(-1)
  local best_illegal = lurn.where(batch.legal, -math.huge, logits):amax(-1)
  local right = least_legal:gt(best_illegal):logical_or(batch.targets:eq(NO_TARGET)) -- (T, N)
  return right:to("int64"):amin(1):sum():item()
end

---Trains on `known` strings, again and again in new orders, and gives the number of perfect ones among 256 that are
---different from each other and from all of those.
---@param known integer
---@param recipe acceptance.Recipe
---@param tell? fun(step: integer, loss: number)
---@return integer
function reber.run(known, recipe, tell)
  lurn.manual_seed(recipe.seed)
  local strings, seen = reber.strings(known), {}
  for _, string in ipairs(strings) do seen[string.text] = true end
  local unknown = reber.strings(256, seen)
  local model, all, order = net.Tagger(recipe, #SYMBOLS, #SYMBOLS), reber.batch(strings), nil
  local per_pass = known // recipe.batch
  net.train(model, recipe, function(step)
    local place = (step - 1) % per_pass
    if place == 0 then order = lurn.randperm(known) end
    local batch = pick(all, order:narrow(1, place * recipe.batch + 1, recipe.batch))
    return F.cross_entropy(answer(model, batch), batch.targets, { ignore_index = NO_TARGET })
  end, tell)
  return reber.perfect(model, unknown)
end

return reber
