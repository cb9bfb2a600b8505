-- nn.functional: what needs no state. Most are ops of the engine, with its names and arguments.

local core = require "lurn.core"
local attend = require "lurn.nn.attend"
local check = require "lurn.nn.check"
local margin_losses = require "lurn.nn.margin_losses"
local more_activations = require "lurn.nn.more_activations"
local more_losses = require "lurn.nn.more_losses"
local options = require "lurn.nn.options"

local functional = {}

for _, part in ipairs { more_activations, more_losses, margin_losses } do
  for name, fn in pairs(part) do functional[name] = fn end
end

---`x W^T + b`: linear(x (..., D), weight (C, D), bias (C) or nil)
functional.linear = core.linear
---`max(x, 0)`
functional.relu = core.relu
---`x Phi(x)`, Phi the normal distribution function
functional.gelu = core.gelu
---`tanh(x)`
functional.tanh = core.tanh
---`1 / (1 + exp(-x))`
functional.sigmoid = core.sigmoid
---`log(1 + exp(x))`
functional.softplus = core.softplus
---`x sigmoid(x)`
functional.silu = core.silu
---elu(x, alpha = 1)
functional.elu = core.elu
---leaky_relu(x, negative_slope = 0.01)
functional.leaky_relu = core.leaky_relu
---hardtanh(x, min_val = -1, max_val = 1)
functional.hardtanh = core.hardtanh
---1 at the position that an id names, else 0, along a new last dimension; int64: one_hot(ids (...), classes).
functional.one_hot = core.one_hot
---cosine_similarity(a, b, {dim = 2, eps = 1e-8}); of vectors along 1
functional.cosine_similarity = core.cosine_similarity
---`|a - b + eps|_p` along the last dimension: pairwise_distance(a (..., D), b (..., D), {p = 2, eps = 1e-6, keepdim =
---false})
functional.pairwise_distance = core.pairwise_distance
---softmax(x, dim)
functional.softmax = core.softmax
---log_softmax(x, dim)
functional.log_softmax = core.log_softmax
---dropout(x, p, training) or dropout(x, {p = 0.5, training = true})
functional.dropout = core.dropout

-- ---- Losses ----

---`-log_probs[target]`: nll_loss(log_probs (..., C), targets (...), {weight, ignore_index = -100, reduction = "mean"}).
functional.nll_loss = core.nll_loss
---`(input - target)^2`: mse_loss(input, target, {reduction = "mean"}), equal shapes.
functional.mse_loss = core.mse_loss
---`|input - target|`: l1_loss(input, target, {reduction = "mean"}), equal shapes.
functional.l1_loss = core.l1_loss
---`d^2 / (2 beta)` where d = |input - target| is below beta, else `d - beta / 2`: smooth_l1_loss(input, target,
---{beta = 1, reduction = "mean"}), equal shapes. Girshick: Fast R-CNN. ICCV 2015.
functional.smooth_l1_loss = core.smooth_l1_loss
---`-weight (pos_weight target log p + (1 - target) log(1 - p))` with p = sigmoid(logits), exact for large logits too:
---binary_cross_entropy_with_logits(logits, target, {weight, pos_weight, reduction = "mean"}), equal shapes;
---target 0..1; the weights broadcast.
functional.binary_cross_entropy_with_logits = core.binary_cross_entropy_with_logits

-- ---- Normalization ----

-- The sizes that PyTorch's second argument names, as a list; nil for any other argument.
local function sizes_of(value)
  if math.type(value) == "integer" then return { value } end
  return type(value) == "table" and #value > 0 and value or nil
end

-- In PyTorch's order, where the sizes of the last dimensions come second.
local function layer_norm_by_sizes(x, sizes, weight, bias, eps, ...)
  check.tensor("layer_norm", "x", x)
  local shape = x.shape
  local fits = #sizes <= #shape
  for i = 1, fits and #sizes or 0 do fits = fits and sizes[i] == shape[#shape - #sizes + i] end
  if not fits then
    core.raise(("layer_norm: x has shape %s; expected (..., %s)"):format(check.shape_text(shape),
      table.concat(sizes, ", ")))
  end
  if type(weight) == "table" and bias == nil then
    local given = { dims = #sizes }
    for name, value in pairs(weight) do given[name] = value end
    return core.layer_norm(x, given)
  end
  return core.layer_norm(x, weight, bias, eps, #sizes, ...)
end

---x normalized over its last dimensions, `(x - mean) / sqrt(var + eps) weight + bias`: layer_norm(x, {weight, bias, eps
---= 1e-5, dims = 1}), or layer_norm(x, sizes, weight, bias, eps), where sizes are those of the last dimensions. weight
---and bias have these sizes.
---@param x lurn.Tensor
---@param ... any
---@return lurn.Tensor
function functional.layer_norm(x, ...)
  local sizes = sizes_of((...))
  if sizes then return layer_norm_by_sizes(x, sizes, select(2, ...)) end
  return core.layer_norm(x, ...)
end

-- ---- Padding ----

-- Which element of 1..n stands at place i of the padded dimension, where i may be below 1 or above n.
local sources = {
  replicate = function(i, n) return math.max(1, math.min(n, i)) end,
  reflect = function(i, n) return i < 1 and 2 - i or i > n and 2 * n - i or i end,
  circular = function(i, n) return (i - 1) % n + 1 end,
}

-- What the padding may be at most, beside an x of n.
local limits = { replicate = function() return math.huge end, reflect = function(n) return n - 1 end,
  circular = function(n) return n end }

-- One dimension padded with elements of x.
local function pad_by(mode, x, dim, before, after)
  local n, index = x.shape[x.ndim + 1 + dim], {}
  local most = limits[mode](n)
  if n == 0 or before > most or after > most then
    core.raise(("pad: %d and %d around a dimension of %d are too many for mode %s"):format(before, after, n, mode))
  end
  for i = 1 - before, n + after do index[#index + 1] = sources[mode](i, n) end
  return x:index_select(dim, core.tensor(index, { dtype = "int64" }))
end

local function crop(x, dim, before, after)
  local n = x.shape[x.ndim + 1 + dim]
  local cut_before, cut_after = math.max(0, -before), math.max(0, -after)
  if cut_before + cut_after == 0 then return x end
  if cut_before + cut_after > n then
    core.raise(("pad: %d and %d take more than the %d there are"):format(before, after, n))
  end
  return x:narrow(dim, cut_before + 1, n - cut_before - cut_after)
end

local function check_padding(x, sizes)
  check.tensor("pad", "x", x)
  if type(sizes) ~= "table" or #sizes % 2 ~= 0 or #sizes > 2 * x.ndim then
    core.raise(("pad: sizes is %s; expected a list of pairs for at most %d dimensions"):format(
      type(sizes) == "table" and ("a list of %d"):format(#sizes) or check.describe(sizes), x.ndim))
  end
  for _, size in ipairs(sizes) do
    if math.type(size) ~= "integer" then
      core.raise(("pad: a size is %s; expected an integer"):format(check.describe(size)))
    end
  end
end

local pad_schema = {
  { name = "mode", kind = { "constant", "reflect", "replicate", "circular" }, default = "constant" },
  { name = "value", kind = "number", default = 0 },
}

---x with elements put around it: pairs {before, after} of sizes for the last dimension, the one before it, and so on,
---one after another: pad(x (..., H, W), {left, right, top, bottom}, {mode = "constant", value = 0}). Other modes take
---elements of x: "replicate" the outermost, "reflect" those inside it in reverse, "circular" those of the other end.
---Negative sizes cut off.
---@param x lurn.Tensor
---@param sizes integer[]
---@param given? {mode: string, value: number}
---@return lurn.Tensor
function functional.pad(x, sizes, given)
  local chosen = options.read("pad", given, pad_schema)
  check_padding(x, sizes)
  for i = 1, #sizes, 2 do
    local dim, before, after = -(i + 1) // 2, sizes[i], sizes[i + 1]
    x = crop(x, dim, before, after)
    before, after = math.max(0, before), math.max(0, after)
    if before + after > 0 then
      if chosen.mode == "constant" then
        x = core.pad(x, dim, before, after, chosen.value)
      else
        x = pad_by(chosen.mode, x, dim, before, after)
      end
    end
  end
  return x
end

-- ---- Composed ----

---softmax of -x.
---@param x lurn.Tensor
---@param dim integer
---@return lurn.Tensor
function functional.softmin(x, dim)
  check.tensor("softmin", "x", x)
  if math.type(dim) ~= "integer" then
    core.raise(("softmin: dim is %s; expected a dimension"):format(check.describe(dim)))
  end
  return core.softmax(-x, dim)
end

---x with length 1 along a dimension: `x / max(|x|_p, eps)`.
---@param x lurn.Tensor
---@param given? {p: number, dim: integer, eps: number} p (2), dim (2), eps (1e-12)
---@return lurn.Tensor
function functional.normalize(x, given)
  check.tensor("normalize", "x", x)
  local chosen = options.read("normalize", given, {
    { name = "p", kind = "positive", default = 2 },
    { name = "dim", kind = "integer", default = 2 },
    { name = "eps", kind = "positive", default = 1e-12 },
  })
  return x / core.clamp(core.norm(x, { p = chosen.p, dim = chosen.dim, keepdim = true }), chosen.eps)
end

local sdpa_schema = {
  { name = "attn_mask", kind = "tensor" },
  { name = "dropout_p", kind = "probability", default = 0 },
  { name = "is_causal", kind = "flag", default = false },
  { name = "scale", kind = "number" },
}

local function check_sdpa(who, query, key, value)
  for i, t in ipairs { query, key, value } do
    local name = ({ "query", "key", "value" })[i]
    if t.ndim < 2 then
      core.raise(("%s: %s has shape %s; expected at least 2 dimensions"):format(who, name, check.shape_text(t.shape)))
    end
    if not check.is_float(t) then
      core.raise(("%s: %s is %s; expected float32 or float64"):format(who, name, t.dtype))
    end
  end
  if query:size(-1) ~= key:size(-1) or key:size(-2) ~= value:size(-2) then
    core.raise(("%s: query %s, key %s and value %s; expected (..., L, d), (..., S, d) and (..., S, v)"):format(who,
      check.shape_text(query.shape), check.shape_text(key.shape), check.shape_text(value.shape)))
  end
end

local function check_broadcast(who, mask, scores)
  local fits = mask.ndim <= scores.ndim
  for i = 1, fits and mask.ndim or 0 do
    local n = mask.shape[mask.ndim + 1 - i]
    fits = fits and (n == 1 or n == scores.shape[scores.ndim + 1 - i])
  end
  if fits then return end
  core.raise(("%s: attn_mask has shape %s; expected one that broadcasts to %s"):format(who,
    check.shape_text(mask.shape), check.shape_text(scores.shape)))
end

---`softmax(q k^T / sqrt(d)) v` over the last two dimensions. Options: `attn_mask`, bool, true for what may get weight,
---or float, added to the scores; `dropout_p` (0), which always applies; `is_causal` (false): query t sees the keys up
---to t; `scale` (1 / sqrt(d)). Where nothing may get weight, the result is 0.
---@param query lurn.Tensor (..., L, d)
---@param key lurn.Tensor (..., S, d)
---@param value lurn.Tensor (..., S, v)
---@param given? {attn_mask: lurn.Tensor, dropout_p: number, is_causal: boolean, scale: number}
---@return lurn.Tensor # (..., L, v)
function functional.scaled_dot_product_attention(query, key, value, given)
  local who = "scaled_dot_product_attention"
  check.tensor(who, "query", query)
  check.tensor(who, "key", key)
  check.tensor(who, "value", value)
  check_sdpa(who, query, key, value)
  local chosen = options.read(who, given, sdpa_schema)
  local scores = core.matmul(query * (chosen.scale or 1 / math.sqrt(query:size(-1))), key:transpose(-2, -1))
  local mask, blocked = chosen.attn_mask, nil
  if mask then
    attend.check_mask_dtype(who, mask, query)
    check_broadcast(who, mask, scores)
    if mask.dtype == "bool" then
      blocked = core.logical_not(mask)
    else
      scores, blocked = attend.add_mask(scores, mask)
    end
  end
  if chosen.is_causal then
    blocked = attend.either(blocked, attend.causal(scores:size(-2), scores:size(-1)))
  end
  local weights = attend.weights(scores, blocked)
  if chosen.dropout_p > 0 then weights = core.dropout(weights, chosen.dropout_p, true) end
  return core.matmul(weights, value)
end

-- ---- Embedding ----

---The rows of weight that ids name: ids (...), weight (classes, features), result (..., features).
---@param ids lurn.Tensor integers 1..classes
---@param weight lurn.Tensor
---@param given? {padding_idx: integer} an id (negative: from the end) whose row gets no gradient
---@return lurn.Tensor
function functional.embedding(ids, weight, given)
  if given == nil then return core.embedding(ids, weight) end
  local padding = options.read("embedding", given, { { name = "padding_idx", kind = "integer" } }).padding_idx
  local y = core.embedding(ids, weight)
  padding = padding and check.id("embedding", "padding_idx", padding, weight.shape[1])
  if not (padding and y.requires_grad) then return y end
  return core.where(core.unsqueeze(core.eq(ids, padding), -1), y:detach(), y)
end

return functional
