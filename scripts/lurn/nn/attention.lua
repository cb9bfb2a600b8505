-- nn.AdditiveAttention, nn.DotAttention, nn.GeneralAttention: attention of a decoder to the states of an encoder.

local core = require "lurn.core"
local attend = require "lurn.nn.attend"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local lengths_of = require "lurn.nn.lengths"
local methods = require "lurn.methods"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

local attention = {}

-- ---- Prepared keys ----

---Keys and values of `Attention:prepare`, for many queries.
---@class lurn.nn.PreparedKeys
---@field keys lurn.Tensor (N, T, features) as the scores need them
---@field values lurn.Tensor (N, T, V)
---@field blocked lurn.Tensor? bool (N, 1, T): what gets no weight
local PreparedKeys = { __name = "PreparedKeys" }
PreparedKeys.__index = PreparedKeys

---Those of the sequences in that order, each as often as it is named: for beam search, as `State:index_select`.
---@param rows integer[]|lurn.Tensor row numbers
---@return lurn.nn.PreparedKeys
function PreparedKeys:index_select(rows)
  if type(rows) == "table" then rows = core.tensor(rows, { dtype = "int64" }) end
  check.tensor("index_select", "rows", rows)
  local function pick(t) return t and core.index_select(t, 1, rows) end
  return setmetatable({ keys = pick(self.keys), values = pick(self.values), blocked = pick(self.blocked) },
    PreparedKeys)
end

methods.guard(PreparedKeys, "keys", function(value) return getmetatable(value) == PreparedKeys end)

-- ---- What they share ----

---`local context, weights = attn(query, keys, values, {lengths = ...})`: `weights = softmax(score(query, key_t))` over
---the steps t, `context = sum of weights_t values_t`. Values may be left out for the keys themselves. Steps past a
---sequence's length, or where `mask` is false, have weight 0 exactly and count for no gradient, whatever is in them;
---where no step is left, the context is 0.
---
---In a decoder, where the keys stay and queries come one by one, prepare them once:
---
---    local memory = attn:prepare(encoded, nil, {lengths = lengths})
---    for t = 1, steps do
---      local context = attn(state.h, memory)           -- (N, V)
---      state = cell(lurn.cat({x[t], context}, 2), state)
---    end
---
---With `batch_first` keys are (N, T, K), several queries (N, Tq, Q), their weights (N, Tq, T) and the mask (N, T).
---@class lurn.nn.Attention: lurn.nn.Module
---@field batch_first boolean
local Attention = Module:extend "Attention"

---@class lurn.nn.AttentionCallOptions
---@field lengths? lurn.Tensor|integer[] of the keys of each sequence (N), 0 to T
---@field mask? lurn.Tensor bool (T, N), true for the steps that may get weight: `ids:ne(padding)`

local batch_first_option = { name = "batch_first", kind = "flag", default = false }
local call_schema = { { name = "lengths", kind = "any" }, { name = "mask", kind = "any" } }

-- What each kind defines: keys as its scores need them, (N, T, F) from (N, T, K), and the scores (N, Tq, T).
function Attention:_project(keys) return keys end
function Attention:_score(query, keys) -- luacheck: ignore 212
  core.raise "Attention: use nn.AdditiveAttention, nn.DotAttention or nn.GeneralAttention"
end

-- The mask of blocked steps (N, T) that options ask for, or nil.
local function blocked_steps(self, who, chosen, batch, steps)
  if chosen.mask ~= nil and chosen.lengths ~= nil then core.raise(who .. ": give lengths or mask, not both") end
  local lengths = lengths_of.read(who, chosen.lengths)
  if lengths then
    lengths_of.checked(who, lengths, steps, batch)
    return lengths_of.past(lengths, steps):transpose(1, 2)
  end
  local mask = chosen.mask
  if mask == nil then return nil end
  attend.check_mask(who, "mask", mask, self.batch_first and { batch, steps } or { steps, batch })
  return core.logical_not(self.batch_first and mask or mask:transpose(1, 2))
end

-- (N, T, ...) from what the caller has.
local function batch_major(self, t) return self.batch_first and t or t:transpose(1, 2) end

---Projects and masks keys once, for many calls `attn(query, prepared)`.
---@param keys lurn.Tensor (T, N, K)
---@param values? lurn.Tensor (T, N, V); nil: the keys
---@param given? lurn.nn.AttentionCallOptions
---@return lurn.nn.PreparedKeys
function Attention:prepare(keys, values, given)
  local who = getmetatable(self).__name
  local layout = self.batch_first and "(N, T, %s)" or "(T, N, %s)"
  attend.check_tensor(who, "keys", keys, 3, self.key_size, layout)
  keys = batch_major(self, keys)
  local shape = keys.shape
  if values == nil then
    values = keys
  else
    attend.check_tensor(who, "values", values, 3, nil, layout)
    values = batch_major(self, values)
    if values.shape[1] ~= shape[1] or values.shape[2] ~= shape[2] then
      core.raise(("%s: keys have %d steps of %d sequences, values %d of %d; expected the same"):format(who, shape[2],
        shape[1], values.shape[2], values.shape[1]))
    end
  end
  local blocked = blocked_steps(self, who, options.read(who, given, call_schema), shape[1], shape[2])
  if blocked then
    local column = core.unsqueeze(blocked, 3)
    keys, values = core.masked_fill(keys, column, 0), core.masked_fill(values, column, 0)
    blocked = core.unsqueeze(blocked, 2)
  end
  return setmetatable({ keys = self:_project(keys), values = values, blocked = blocked }, PreparedKeys)
end

-- The query as (N, Tq, Q).
local function read_query(self, who, query, memory)
  check.tensor(who, "query", query)
  local several, features = query.ndim == 3, self.query_size or memory.keys.shape[3]
  attend.check_tensor(who, "query", query, several and 3 or 2, features,
    several and (self.batch_first and "(N, Tq, %s)" or "(Tq, N, %s)") or "(N, %s)")
  query = several and batch_major(self, query) or core.unsqueeze(query, 2)
  local batch, keys = query.shape[1], memory.keys.shape
  if batch ~= keys[1] then
    local layout = self.batch_first and "(N, T, K), with batch_first" or "(T, N, K), without batch_first"
    local hint = batch == keys[2] and "; they are taken as " .. layout or ""
    core.raise(("%s: the query has %d sequences, the keys have %d%s"):format(who, batch, keys[1], hint))
  end
  return query, several
end

---@param query lurn.Tensor (N, Q), or (Tq, N, Q) for several at once
---@param keys lurn.Tensor|lurn.nn.PreparedKeys (T, N, K), or what `prepare` gave
---@param values? lurn.Tensor (T, N, V); nil: the keys
---@param given? lurn.nn.AttentionCallOptions
---@return lurn.Tensor context (N, V), or (Tq, N, V)
---@return lurn.Tensor weights (N, T), or (Tq, N, T)
function Attention:forward(query, keys, values, given)
  local who = getmetatable(self).__name
  local memory = keys
  if getmetatable(keys) ~= PreparedKeys then
    memory = self:prepare(keys, values, given)
  elseif values ~= nil or given ~= nil then
    core.raise(who .. ": prepared keys have their values and options already")
  end
  local queries, several = read_query(self, who, query, memory)
  local weights = attend.weights(self:_score(queries, memory.keys), memory.blocked)
  local context = core.matmul(weights, memory.values)
  if not several then return core.squeeze(context, 2), core.squeeze(weights, 2) end
  return batch_major(self, context), batch_major(self, weights)
end

local function new_weight(...) return parameter.new(core.empty(...)) end

local function fill_uniform(weight)
  local shape = weight.shape
  local bound = 1 / math.sqrt(shape[#shape])
  initializers.uniform_(weight, -bound, bound)
end

---Draws new weights, uniform on +-1/sqrt(inputs).
function Attention:reset_parameters()
  for _, p in ipairs(self:parameters()) do fill_uniform(p) end
end

-- ---- Additive ----

---`score(q, k) = v . tanh(W q + U k)`: W is `query_weight` (hidden, Q), U `key_weight` (hidden, K), v `score_weight`
---(hidden), at first uniform on +-1/sqrt(inputs). Calls as in nn.Attention. Options: `batch_first` (false).
---Bahdanau, Cho, Bengio: Neural machine translation by jointly learning to align and translate. ICLR 2015.
---@class lurn.nn.AdditiveAttention: lurn.nn.Attention
---@field query_size integer
---@field key_size integer
---@field hidden_size integer
---@overload fun(query_size: integer, key_size: integer, hidden_size: integer, opts?: table): lurn.nn.AdditiveAttention
local AdditiveAttention = Attention:extend "AdditiveAttention"

---@param query_size integer
---@param key_size integer
---@param hidden_size integer
---@param given? {batch_first: boolean}
function AdditiveAttention:init(query_size, key_size, hidden_size, given)
  local who = "nn.AdditiveAttention"
  self.query_size = check.count(who, "query_size", query_size)
  self.key_size = check.count(who, "key_size", key_size)
  self.hidden_size = check.count(who, "hidden_size", hidden_size)
  self.batch_first = options.read(who, given, { batch_first_option }).batch_first
  self.query_weight = new_weight(self.hidden_size, self.query_size)
  self.key_weight = new_weight(self.hidden_size, self.key_size)
  self.score_weight = new_weight(self.hidden_size)
  self:reset_parameters()
end

function AdditiveAttention:_project(keys) return core.linear(keys, self.key_weight) end

function AdditiveAttention:_score(query, keys)
  local q = core.linear(query, self.query_weight)
  local hidden = core.tanh(core.unsqueeze(q, 3) + core.unsqueeze(keys, 2)) -- (N, Tq, T, H)
  return core.matmul(hidden, self.score_weight)
end

function AdditiveAttention:extra_repr()
  return ("%d, %d, %d"):format(self.query_size, self.key_size, self.hidden_size)
end

-- ---- Dot and general ----

local function dot(query, keys, scale)
  local scores = core.matmul(query, keys:transpose(2, 3))
  return scale and scores / math.sqrt(keys.shape[3]) or scores
end

local dot_schema = { { name = "scale", kind = "flag", default = false }, batch_first_option }

---`score(q, k) = q . k`, of the same size; no parameters. Calls as in nn.Attention. Options: `scale` (false): divided
---by the square root of the size (Vaswani et al. 2017); `batch_first` (false).
---Luong, Pham, Manning: Effective approaches to attention-based neural machine translation. EMNLP 2015.
---@class lurn.nn.DotAttention: lurn.nn.Attention
---@field scale boolean
---@overload fun(options?: {scale: boolean, batch_first: boolean}): lurn.nn.DotAttention
local DotAttention = Attention:extend "DotAttention"

---@param given? {scale: boolean, batch_first: boolean}
function DotAttention:init(given)
  local chosen = options.read("nn.DotAttention", given, dot_schema)
  self.scale, self.batch_first = chosen.scale, chosen.batch_first
end

function DotAttention:_score(query, keys) return dot(query, keys, self.scale) end

function DotAttention:extra_repr() return self.scale and "scale=true" or "" end

---`score(q, k) = q . W k`: `weight` (Q, K), at first uniform on +-1/sqrt(K). Calls as in nn.Attention. Options:
---`scale` (false): divided by sqrt(Q); `batch_first` (false). Luong, Pham, Manning 2015: general.
---@class lurn.nn.GeneralAttention: lurn.nn.Attention
---@field query_size integer
---@field key_size integer
---@field scale boolean
---@overload fun(query_size: integer, key_size: integer, options?: table): lurn.nn.GeneralAttention
local GeneralAttention = Attention:extend "GeneralAttention"

---@param query_size integer
---@param key_size integer
---@param given? {scale: boolean, batch_first: boolean}
function GeneralAttention:init(query_size, key_size, given)
  local who = "nn.GeneralAttention"
  self.query_size = check.count(who, "query_size", query_size)
  self.key_size = check.count(who, "key_size", key_size)
  local chosen = options.read(who, given, dot_schema)
  self.scale, self.batch_first = chosen.scale, chosen.batch_first
  self.weight = new_weight(self.query_size, self.key_size)
  self:reset_parameters()
end

function GeneralAttention:_project(keys) return core.linear(keys, self.weight) end

function GeneralAttention:_score(query, keys) return dot(query, keys, self.scale) end

function GeneralAttention:extra_repr()
  return ("%d, %d%s"):format(self.query_size, self.key_size, self.scale and ", scale=true" or "")
end

attention.AdditiveAttention, attention.DotAttention = AdditiveAttention, DotAttention
attention.GeneralAttention = GeneralAttention
return attention
