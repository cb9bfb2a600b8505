-- What is measured: a list of cases, each one line to a worker, and what it computes.

local cases = {}

---Groups in the order they run, their titles, and what a chart calls them.
cases.groups = {
  { "lstm", "LSTM training: forward and backward with the gradients of x and all weights", "LSTM training" },
  { "gru", "GRU training" },
  { "rnn", "RNN (tanh) training" },
  { "infer", "LSTM inference: forward only, no gradient recorded" },
  { "stream", "LSTM streaming: one step of one sequence, state carried" },
  { "charlm", "character language model: 2 LSTM layers, vocabulary 65, 50 x 50, loss, backward, clip, Adam" },
  { "linear", "LSTM training, longer and wider: time per step and row" },
}

---Groups that need processes of their own.
cases.special = { "startup", "memory" }

local GATES = { lstm = 4, gru = 3, rnn = 1 }

-- Floating-point operations of the products of one layer; backward has two for each of forward.
local function layer_flops(c)
  return 2 * c.T * c.N * GATES[c.kind] * c.H * (c.D + c.H) * (c.mode == "train" and 3 or 1)
end

local function char_lm_flops(c)
  local layers = 4 * c.H * (c.E + c.H) + 4 * c.H * (c.H + c.H)
  return 3 * 2 * c.T * c.N * (layers + c.H * c.C)
end

local function layer(group, kind, mode, T, N, H)
  local c = { group = group, kind = kind, mode = mode, T = T, N = N, D = H, H = H }
  c.name = ("%s %s T=%d B=%d H=%d"):format(kind, mode, T, N, H)
  c.flops = layer_flops(c)
  return c
end

-- Every H with every B.
local function grid(group, kind, mode, sizes, batches)
  local list = {}
  for _, H in ipairs(sizes) do
    for _, N in ipairs(batches) do list[#list + 1] = layer(group, kind, mode, 50, N, H) end
  end
  return list
end

-- A step, and beside it how long reading its weights takes.
local function streams(sizes)
  local list = {}
  for _, H in ipairs(sizes) do
    local step = layer("stream", "lstm", "stream", 1, 1, H)
    step.read = { group = "stream", kind = "read", mode = "read", bytes = 4 * 4 * H * (H + H), hidden = true,
      name = ("read the weights of H=%d"):format(H) }
    list[#list + 1] = step.read
    list[#list + 1] = step
  end
  return list
end

local function char_lms(sizes)
  local list = {}
  for _, H in ipairs(sizes) do
    local c = { group = "charlm", kind = "charlm", mode = "train", T = 50, N = 50, C = 65, E = 64, H = H,
      name = ("character model H=%d"):format(H) }
    c.flops = char_lm_flops(c)
    list[#list + 1] = c
  end
  return list
end

local function lines(lengths, batches)
  local list = {}
  for _, T in ipairs(lengths) do list[#list + 1] = layer("linear", "lstm", "train", T, 16, 128) end
  for _, N in ipairs(batches) do list[#list + 1] = layer("linear", "lstm", "train", 50, N, 128) end
  for _, c in ipairs(list) do c.units = c.T * c.N end
  return list
end

local function square_product(M)
  return { group = "peaks", kind = "matmul", mode = "peak", M = M, flops = 2 * M ^ 3, hidden = true,
    name = ("product %d x %d x %d"):format(M, M, M) }
end

-- What the machine can do at best.
local function peaks()
  return { { group = "peaks", kind = "fma", mode = "peak", name = "multiply-adds in registers", hidden = true },
    square_product(512), square_product(1024) }
end

-- The product that the machine multiplies in its turn at a case, which the case's share is of: a processor that is
-- shared or warm is slower for both.
local BESIDE = square_product(1024)

local FULL = {
  lstm = function() return grid("lstm", "lstm", "train", { 32, 128, 256, 512, 1024 }, { 1, 16, 64 }) end,
  gru = function() return grid("gru", "gru", "train", { 128, 512 }, { 1, 16, 64 }) end,
  rnn = function() return grid("rnn", "rnn", "train", { 128, 512 }, { 1, 16, 64 }) end,
  infer = function() return grid("infer", "lstm", "infer", { 32, 128, 256, 512, 1024 }, { 1, 16, 64 }) end,
  stream = function() return streams { 128, 256, 512 } end,
  charlm = function() return char_lms { 128, 512 } end,
  linear = function() return lines({ 50, 500, 5000 }, { 1, 2, 4, 8, 32, 64, 128, 256 }) end,
  peaks = peaks,
}

local QUICK = {
  lstm = function() return grid("lstm", "lstm", "train", { 128, 512 }, { 1, 16 }) end,
  gru = function() return grid("gru", "gru", "train", { 128 }, { 1, 16 }) end,
  rnn = function() return grid("rnn", "rnn", "train", { 128 }, { 1, 16 }) end,
  infer = function() return grid("infer", "lstm", "infer", { 128, 512 }, { 1, 16 }) end,
  stream = function() return streams { 128 } end,
  charlm = function() return char_lms { 128 } end,
  linear = function() return lines({ 50, 500 }, { 64 }) end,
  peaks = peaks,
}

---The cases of the chosen groups, peaks first, since they are what shares are of.
---@param chosen table<string, boolean>
---@param quick boolean
---@return table[]
function cases.list(chosen, quick)
  local makers, all = quick and QUICK or FULL, {}
  for _, c in ipairs(makers.peaks()) do all[#all + 1] = c end
  for _, group in ipairs(cases.groups) do
    if chosen[group[1]] then
      for _, c in ipairs(makers[group[1]]()) do all[#all + 1] = c end
    end
  end
  for _, c in ipairs(all) do
    c.key = c.group .. "/" .. c.name -- a case may be in two groups
    if c.flops and c.group ~= "peaks" and c.mode ~= "stream" then c.beside = BESIDE end
  end
  return all
end

---The cases whose memory is measured.
---@param quick boolean
---@return table[]
function cases.memory(quick)
  if quick then return grid("lstm", "lstm", "train", { 128 }, { 16 }) end
  return FULL.lstm()
end

---Groups named by the user, separated by spaces or commas; all when none is named. nil and a message for others.
---@param text string
---@return table<string, boolean>?
---@return string? message
function cases.choose(text)
  local known, names, chosen = {}, {}, {}
  for _, group in ipairs(cases.groups) do names[#names + 1] = group[1] end
  for _, name in ipairs(cases.special) do names[#names + 1] = name end
  for _, name in ipairs(names) do known[name] = true end
  for name in text:gmatch "[^%s,]+" do
    if not known[name] then
      return nil, ("there is no group %q; expected some of: %s"):format(name, table.concat(names, " "))
    end
    chosen[name] = true
  end
  return next(chosen) and chosen or known
end

local FIELDS = { "kind", "mode", "T", "N", "D", "H", "C", "E", "M", "bytes" }

---The line that asks a worker for a case.
---@param verb "time"|"check"|"memory"
---@param case table
---@param budget? number seconds
---@return string
function cases.request(verb, case, budget)
  local words = { verb }
  for _, name in ipairs(FIELDS) do
    if case[name] then words[#words + 1] = ("%s=%s"):format(name, case[name]) end
  end
  if budget then words[#words + 1] = ("budget=%.9g"):format(budget) end
  return table.concat(words, "\t")
end

---A small case of the same kind, whose numbers are compared.
---@param case table
---@return table
function cases.small(case)
  return { kind = case.kind, mode = case.mode, T = 5, N = case.mode == "stream" and 1 or 3, D = 7, H = 8,
    C = case.kind == "charlm" and 11 or nil, E = case.kind == "charlm" and 6 or nil }
end

return cases
