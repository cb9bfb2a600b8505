-- nn.MultiheadAttention

local core = require "lurn.core"
local attend = require "lurn.nn.attend"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local lengths_of = require "lurn.nn.lengths"
local Linear = require "lurn.nn.linear"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---`heads` dot products side by side: query, key and value are projected, cut into heads of d = embed_dim / num_heads
---features, `softmax(q k^T / sqrt(d)) v` is taken in each, and the results together are projected again.
---
---    local attn = nn.MultiheadAttention(64, 8)
---    local y, weights = attn(x, x, x, {causal = true})             -- x (T, N, 64), weights (N, T, T)
---    local y = attn(x, memory, memory, {lengths = lengths})        -- memory (S, N, 64)
---
---Parameters, names and first values are PyTorch's: `in_proj_weight` (3E, E) and `in_proj_bias` (3E) for query, key and
---value (`q_proj_weight`, `k_proj_weight`, `v_proj_weight` when kdim or vdim differ from E), `out_proj.weight` (E, E),
---`out_proj.bias`. Where everything is masked for a query its weights are 0, not NaN.
---
---Options: `bias` (true); `dropout` (0), on the weights, in training; `batch_first` (false): (N, T, E); `kdim`, `vdim`:
---features of key and value.
---Errors: embed_dim that num_heads does not divide; shapes that do not fit.
---Vaswani et al.: Attention is all you need. NIPS 2017.
---@class lurn.nn.MultiheadAttention: lurn.nn.Module
---@field embed_dim integer
---@field num_heads integer
---@overload fun(embed_dim: integer, num_heads: integer, options?: table): lurn.nn.MultiheadAttention
local MultiheadAttention = Module:extend "MultiheadAttention"

---@class lurn.nn.MultiheadAttentionCallOptions
---@field lengths? lurn.Tensor|integer[] of the keys of each sequence (N), 0 to S
---@field key_padding_mask? lurn.Tensor bool (N, S), true for keys that are left out
---@field attn_mask? lurn.Tensor (L, S) or (N * num_heads, L, S): bool, true for what is left out, or float, added
---@field causal? boolean (false) query t sees the keys up to t; L = S
---@field need_weights? boolean (true)
---@field average_attn_weights? boolean (true) weights (N, L, S), the mean over heads; else (N, num_heads, L, S)

local schema = {
  { name = "bias", kind = "flag", default = true },
  { name = "dropout", kind = "probability", default = 0 },
  { name = "batch_first", kind = "flag", default = false },
  { name = "kdim", kind = "count" },
  { name = "vdim", kind = "count" },
}
local call_schema = {
  { name = "lengths", kind = "any" },
  { name = "key_padding_mask", kind = "any" },
  { name = "attn_mask", kind = "tensor" },
  { name = "causal", kind = "flag", default = false },
  { name = "need_weights", kind = "flag", default = true },
  { name = "average_attn_weights", kind = "flag", default = true },
}

---@param embed_dim integer
---@param num_heads integer
---@param given? table
function MultiheadAttention:init(embed_dim, num_heads, given)
  local who = "nn.MultiheadAttention"
  self.embed_dim = check.count(who, "embed_dim", embed_dim)
  self.num_heads = check.count(who, "num_heads", num_heads)
  if self.embed_dim % self.num_heads ~= 0 then
    core.raise(("%s: embed_dim %d is no multiple of num_heads %d"):format(who, self.embed_dim, self.num_heads))
  end
  local chosen = options.read(who, given, schema)
  self.dropout, self.batch_first = chosen.dropout, chosen.batch_first
  self.kdim, self.vdim = chosen.kdim or self.embed_dim, chosen.vdim or self.embed_dim
  local e = self.embed_dim
  if self.kdim == e and self.vdim == e then
    self.in_proj_weight = parameter.new(core.empty(3 * e, e))
  else
    self.q_proj_weight = parameter.new(core.empty(e, e))
    self.k_proj_weight = parameter.new(core.empty(e, self.kdim))
    self.v_proj_weight = parameter.new(core.empty(e, self.vdim))
  end
  self:register_parameter("in_proj_bias", chosen.bias and parameter.new(core.empty(3 * e)) or nil)
  self.out_proj = Linear(e, e, { bias = chosen.bias })
  self:reset_parameters()
end

---Draws new weights: those of the inputs by Glorot's formula, biases 0, out_proj as any nn.Linear.
function MultiheadAttention:reset_parameters()
  for _, name in ipairs { "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight" } do
    if self[name] then initializers.xavier_uniform_(self[name]) end
  end
  self.out_proj:reset_parameters()
  if self.in_proj_bias then
    initializers.zeros_(self.in_proj_bias)
    initializers.zeros_(self.out_proj.bias)
  end
end

-- ---- Inputs ----

local parts = { "q_proj_weight", "k_proj_weight", "v_proj_weight" }

-- Part 1, 2 or 3 of the input projection: query, key or value.
local function project(self, x, part)
  local e = self.embed_dim
  local first = (part - 1) * e + 1
  local weight = self.in_proj_weight and core.narrow(self.in_proj_weight, 1, first, e) or self[parts[part]]
  return core.linear(x, weight, self.in_proj_bias and core.narrow(self.in_proj_bias, 1, first, e))
end

-- (N, heads, T, d) of each of the three; self-attention has one product for all.
local function projected(self, query, key, value)
  local q, k, v
  if query == key and key == value and self.in_proj_weight then
    q, k, v = table.unpack(core.linear(query, self.in_proj_weight, self.in_proj_bias):chunk(3, 3))
  else
    q, k, v = project(self, query, 1), project(self, key, 2), project(self, value, 3)
  end
  local function heads(x)
    local d = self.embed_dim // self.num_heads
    return x:reshape(x.shape[1], x.shape[2], self.num_heads, d):permute(2, 3, 1, 4)
  end
  return heads(q), heads(k), heads(v)
end

local function check_inputs(self, who, query, key, value)
  local layout = self.batch_first and "(N, T, %s)" or "(T, N, %s)"
  attend.check_tensor(who, "query", query, 3, self.embed_dim, layout .. ", or (T, %s) of one sequence")
  attend.check_tensor(who, "key", key, 3, self.kdim, layout)
  attend.check_tensor(who, "value", value, 3, self.vdim, layout)
  local batch = self.batch_first and 1 or 2
  if query.shape[batch] ~= key.shape[batch] or key.shape[1] ~= value.shape[1] or key.shape[2] ~= value.shape[2] then
    core.raise(("%s: query %s, key %s and value %s do not go together"):format(who, check.shape_text(query.shape),
      check.shape_text(key.shape), check.shape_text(value.shape)))
  end
end

-- ---- Masks ----

-- Blocked keys (N, 1, 1, S), or nil.
local function blocked_keys(who, chosen, batch, keys)
  local lengths, padding = lengths_of.read(who, chosen.lengths), chosen.key_padding_mask
  local blocked
  if lengths then
    lengths_of.checked(who, lengths, keys, batch)
    blocked = lengths_of.past(lengths, keys):transpose(1, 2)
  end
  if padding ~= nil then
    attend.check_mask(who, "key_padding_mask", padding, { batch, keys })
    blocked = attend.either(blocked, padding)
  end
  return blocked and blocked:reshape(batch, 1, 1, keys)
end

-- The attn_mask as it is broadcast to (N, heads, L, S).
local function shaped_mask(self, who, mask, batch, queries, keys)
  local all = batch * self.num_heads
  if check.same_shape(mask.shape, { queries, keys }) then return mask:reshape(1, 1, queries, keys) end
  if check.same_shape(mask.shape, { all, queries, keys }) then
    return mask:reshape(batch, self.num_heads, queries, keys)
  end
  core.raise(("%s: attn_mask has shape %s; expected %s or %s"):format(who, check.shape_text(mask.shape),
    check.shape_text { queries, keys }, check.shape_text { all, queries, keys }))
end

local function causal_mask(who, queries, keys)
  if queries ~= keys then
    core.raise(("%s: causal needs as many keys as queries; there are %d and %d"):format(who, keys, queries))
  end
  return attend.causal(queries, keys)
end

-- What is blocked, or nil, and what is added to the scores, or nil.
local function masks(self, who, chosen, batch, queries, keys)
  local blocked, added = blocked_keys(who, chosen, batch, keys), nil
  if chosen.causal then blocked = attend.either(blocked, causal_mask(who, queries, keys)) end
  if chosen.attn_mask then
    local mask = shaped_mask(self, who, chosen.attn_mask, batch, queries, keys)
    if mask.dtype == "bool" then blocked = attend.either(blocked, mask) else added = mask end
  end
  return blocked, added
end

-- ---- Calling ----

-- One sequence by itself: a batch of one.
local function alone(self, who, query, key, value, given)
  local layout = "(T, %s) as the query is one sequence"
  attend.check_tensor(who, "query", query, 2, self.embed_dim, layout)
  attend.check_tensor(who, "key", key, 2, self.kdim, layout)
  attend.check_tensor(who, "value", value, 2, self.vdim, layout)
  if key.shape[1] ~= value.shape[1] then
    core.raise(("%s: key has shape %s and value %s; expected as many positions"):format(who,
      check.shape_text(key.shape), check.shape_text(value.shape)))
  end
  local chosen, dim = options.read(who, given, call_schema), self.batch_first and 1 or 2
  if chosen.lengths ~= nil then
    core.raise(("%s: lengths are those of a batch; the query is one sequence, of shape %s"):format(who,
      check.shape_text(query.shape)))
  end
  local padding = chosen.key_padding_mask
  if padding ~= nil then
    attend.check_mask(who, "key_padding_mask", padding, { key.shape[1] })
    chosen.key_padding_mask = core.unsqueeze(padding, 1)
  end
  local wide = core.unsqueeze(query, dim)
  local wide_key = key == query and wide or core.unsqueeze(key, dim)
  local y, weights = self:forward(wide, wide_key, value == key and wide_key or core.unsqueeze(value, dim), chosen)
  return core.select(y, dim, 1), weights and core.select(weights, 1, 1)
end

---One sequence may come by itself: query (L, embed_dim), key (S, kdim) and value (S, vdim), key_padding_mask (S),
---attn_mask (L, S) or (num_heads, L, S), no lengths; then y is (L, embed_dim) and weights are (L, S) or (num_heads, L,
---S).
---@param query lurn.Tensor (L, N, embed_dim)
---@param key? lurn.Tensor (S, N, kdim); nil: the query
---@param value? lurn.Tensor (S, N, vdim); nil: the key
---@param given? lurn.nn.MultiheadAttentionCallOptions
---@return lurn.Tensor y (L, N, embed_dim)
---@return lurn.Tensor? weights (N, L, S), after dropout
function MultiheadAttention:forward(query, key, value, given)
  local who = getmetatable(self).__name
  key = key == nil and query or key
  value = value == nil and key or value
  if core.is_tensor(query) and query.ndim == 2 then return alone(self, who, query, key, value, given) end
  local chosen = options.read(who, given, call_schema)
  check_inputs(self, who, query, key, value)
  if self.batch_first then
    local same_key, same_value = key == query, value == key
    query = query:transpose(1, 2)
    key = same_key and query or key:transpose(1, 2)
    value = same_value and key or value:transpose(1, 2)
  end
  local queries, batch, keys = query.shape[1], query.shape[2], key.shape[1]
  if chosen.attn_mask then attend.check_mask_dtype(who, chosen.attn_mask, query) end
  local blocked, added = masks(self, who, chosen, batch, queries, keys)
  local q, k, v = projected(self, query, key, value)
  local scores = core.matmul(q / math.sqrt(self.embed_dim // self.num_heads), k:transpose(3, 4))
  if added then scores, blocked = attend.add_mask(scores, added, blocked) end
  local weights = attend.weights(scores, blocked)
  if self.training and self.dropout > 0 then weights = core.dropout(weights, self.dropout, true) end
  local y = core.matmul(weights, v):permute(3, 1, 2, 4):reshape(queries, batch, self.embed_dim)
  y = self.out_proj(y)
  if self.batch_first then y = y:transpose(1, 2) end
  if not chosen.need_weights then return y end
  return y, chosen.average_attn_weights and weights:mean(2) or weights
end

function MultiheadAttention:extra_repr()
  return ("%d, %d%s"):format(self.embed_dim, self.num_heads,
    self.dropout > 0 and (", dropout=%.14g"):format(self.dropout) or "")
end

return MultiheadAttention
