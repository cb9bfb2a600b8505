-- nn.functional: what needs no state. Most are ops of the engine, with its names and arguments.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local options = require "lurn.nn.options"

local functional = {}

---`x W^T + b`: linear(x (..., D), weight (C, D), bias (C) or nil)
functional.linear = core.linear
functional.relu = core.relu
functional.gelu = core.gelu
functional.tanh = core.tanh
functional.sigmoid = core.sigmoid
functional.softplus = core.softplus
functional.silu = core.silu
---softmax(x, dim)
functional.softmax = core.softmax
---log_softmax(x, dim)
functional.log_softmax = core.log_softmax
---dropout(x, p, training) or dropout(x, {p = 0.5, training = true})
functional.dropout = core.dropout
---layer_norm(x, weight, bias, eps): over the last dimension
functional.layer_norm = core.layer_norm

---`-log softmax(logits)[target]`, in nats: cross_entropy(logits (..., C), targets (...), {weight,
---ignore_index = -100, label_smoothing = 0, reduction = "mean"|"sum"|"none"}). Targets count from 1; ignore_index is
---compared with them as given.
functional.cross_entropy = core.cross_entropy
---`-log_probs[target]`: nll_loss(log_probs (..., C), targets (...), {weight, ignore_index = -100, reduction = "mean"}).
functional.nll_loss = core.nll_loss
---`(input - target)^2`: mse_loss(input, target, {reduction = "mean"}), equal shapes.
functional.mse_loss = core.mse_loss

-- ---- Embedding ----

---The rows of weight that ids name: ids (...), weight (classes, features), result (..., features).
---@param ids lurn.Tensor integers 1..classes
---@param weight lurn.Tensor
---@param given? {padding_idx: integer} an id whose row gets no gradient
---@return lurn.Tensor
function functional.embedding(ids, weight, given)
  local padding = options.read("embedding", given, { { name = "padding_idx", kind = "integer" } }).padding_idx
  local y = core.embedding(ids, weight)
  if not (padding and y.requires_grad) then return y end
  return core.where(core.unsqueeze(core.eq(ids, padding), -1), y:detach(), y)
end

-- ---- Losses ----

local reduction = { name = "reduction", kind = { "none", "mean", "sum" }, default = "mean" }

local function reduce(loss, how)
  if how == "mean" then return loss:mean() end
  return how == "sum" and loss:sum() or loss
end

local function check_pair(who, input, target)
  check.tensor(who, "input", input)
  check.tensor(who, "target", target)
  if not check.same_shape(input.shape, target.shape) then
    core.raise(("%s: input has shape %s, target %s; expected equal shapes"):format(who, check.shape_text(input.shape),
      check.shape_text(target.shape)))
  end
end

---`|input - target|`, elementwise, then reduced.
---@param input lurn.Tensor
---@param target lurn.Tensor of the same shape
---@param given? {reduction: "none"|"mean"|"sum"}
---@return lurn.Tensor
function functional.l1_loss(input, target, given)
  local chosen = options.read("l1_loss", given, { reduction })
  check_pair("l1_loss", input, target)
  return reduce((input - target):abs(), chosen.reduction)
end

---`0.5 d^2 / beta` where d = |input - target| is below beta, else `d - 0.5 beta`; then reduced.
---Girshick: Fast R-CNN. ICCV 2015.
---@param input lurn.Tensor
---@param target lurn.Tensor of the same shape
---@param given? {beta: number, reduction: "none"|"mean"|"sum"} beta (1)
---@return lurn.Tensor
function functional.smooth_l1_loss(input, target, given)
  local chosen = options.read("smooth_l1_loss", given, { { name = "beta", kind = "number", default = 1 }, reduction })
  local beta = chosen.beta
  if beta < 0 then core.raise(("smooth_l1_loss: beta is %s; expected at least 0"):format(beta)) end
  check_pair("smooth_l1_loss", input, target)
  local d = (input - target):abs()
  if beta > 0 then d = core.where(d:lt(beta), d:square() * (0.5 / beta), d - 0.5 * beta) end
  return reduce(d, chosen.reduction)
end

---`-weight (pos_weight target log p + (1 - target) log(1 - p))` with p = sigmoid(logits), then reduced. Computed as
---`(1 - target) x + (1 + (pos_weight - 1) target) softplus(-x)`, which is exact for large logits too.
---@param logits lurn.Tensor
---@param target lurn.Tensor of the same shape, 0 to 1
---@param given? {weight: lurn.Tensor, pos_weight: lurn.Tensor, reduction: "none"|"mean"|"sum"} weights broadcast
---@return lurn.Tensor
function functional.binary_cross_entropy_with_logits(logits, target, given)
  local who = "binary_cross_entropy_with_logits"
  local chosen = options.read(who, given,
    { { name = "weight", kind = "tensor" }, { name = "pos_weight", kind = "tensor" }, reduction })
  check_pair(who, logits, target)
  local wrong = core.softplus(-logits)
  if chosen.pos_weight then wrong = (1 + (chosen.pos_weight - 1) * target) * wrong end
  local loss = (1 - target) * logits + wrong
  if chosen.weight then loss = loss * chosen.weight end
  return reduce(loss, chosen.reduction)
end

return functional
