-- nn.functional: what needs no state. Most are ops of the engine, with its names and arguments.

local core = require "lurn.core"
local attend = require "lurn.nn.attend"
local check = require "lurn.nn.check"
local options = require "lurn.nn.options"

local functional = {}

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
---cosine_similarity(a, b, {dim = 1, eps = 1e-8})
functional.cosine_similarity = core.cosine_similarity
---softmax(x, dim)
functional.softmax = core.softmax
---log_softmax(x, dim)
functional.log_softmax = core.log_softmax
---dropout(x, p, training) or dropout(x, {p = 0.5, training = true})
functional.dropout = core.dropout
---layer_norm(x, {weight, bias, eps = 1e-5, dims = 1}): over the last `dims` dimensions, of which weight and bias have
---the sizes
functional.layer_norm = core.layer_norm

---`-log softmax(logits)[target]`, in nats: cross_entropy(logits (..., C), targets (...), {weight,
---ignore_index = -100, label_smoothing = 0, reduction = "mean"|"sum"|"none"}). Targets count from 1; ignore_index is
---compared with them as given.
functional.cross_entropy = core.cross_entropy
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
---`-log` of the probability of all alignments of targets to log_probs: ctc_loss(log_probs (T, N, C), targets (N, S),
---input_lengths (N), target_lengths (N), {blank = 1, reduction = "mean", zero_infinity = false}). Targets may also
---stand in one dimension, all in turn. "mean" divides each loss by its target length first.
---Graves et al.: Connectionist temporal classification. ICML 2006.
functional.ctc_loss = core.ctc_loss

-- ---- Padding ----

---x with elements of the value put around it: pairs {before, after} of sizes for the last dimension, the one before
---it, and so on, one after another: pad(x (..., H, W), {left, right, top, bottom}, {value = 0}).
---@param x lurn.Tensor
---@param sizes integer[]
---@param given? {value: number}
---@return lurn.Tensor
function functional.pad(x, sizes, given)
  local value = options.read("pad", given, { { name = "value", kind = "number", default = 0 } }).value
  check.tensor("pad", "x", x)
  if type(sizes) ~= "table" or #sizes % 2 ~= 0 or #sizes > 2 * x.ndim then
    core.raise(("pad: sizes is %s; expected a list of pairs for at most %d dimensions"):format(
      type(sizes) == "table" and ("a list of %d"):format(#sizes) or check.describe(sizes), x.ndim))
  end
  for i = 1, #sizes, 2 do
    if sizes[i] ~= 0 or sizes[i + 1] ~= 0 then x = core.pad(x, -(i + 1) // 2, sizes[i], sizes[i + 1], value) end
  end
  return x
end

-- ---- Composed ----

---`log(1 / (1 + exp(-x)))`, exact for any x.
---@param x lurn.Tensor
---@return lurn.Tensor
function functional.logsigmoid(x)
  check.tensor("logsigmoid", "x", x)
  return -core.softplus(-x)
end

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
