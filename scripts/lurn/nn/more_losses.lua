-- Losses that are made of ops, and the forms of losses that ops do not have.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local lengths_of = require "lurn.nn.lengths"
local options = require "lurn.nn.options"
local parts = require "lurn.nn.loss_parts"

local more = {}

local reduction, reduce, check_pair = parts.reduction, parts.reduce, parts.check_pair

-- ---- Probabilities ----

-- The logarithms are kept above -100 and the slope's denominator above 1e-12, as in PyTorch, so that a p of exactly 0
-- or 1 gives numbers.
local bce = core.custom_function {
  name = "binary_cross_entropy",
  forward = function(ctx, p, t)
    ctx:save_for_backward(p, t)
    return -(t * p:log():clamp(-100) + (1 - t) * (-p):log1p():clamp(-100))
  end,
  backward = function(ctx, gy)
    local p, t = ctx:saved_tensors()
    return gy * (p - t) / (p * (1 - p)):clamp(1e-12), nil
  end,
}

---`-weight (target log p + (1 - target) log(1 - p))`: binary_cross_entropy(p, target, {weight, reduction = "mean"}),
---equal shapes, p and target 0..1; the weight broadcasts, the target gets no gradient. From logits
---binary_cross_entropy_with_logits is more exact.
---@param p lurn.Tensor
---@param target lurn.Tensor
---@param given? {weight: lurn.Tensor, reduction: string}
---@return lurn.Tensor
function more.binary_cross_entropy(p, target, given)
  local who = "binary_cross_entropy"
  local chosen = options.read(who, given, { { name = "weight", kind = "tensor" }, reduction })
  check_pair(who, p, target)
  if p:numel() > 0 and not core.no_grad(function() return (p:ge(0) & p:le(1)):all():item() end) then
    core.raise(who .. ": input has elements outside 0..1; see binary_cross_entropy_with_logits")
  end
  local losses = bce(p, target:to(p.dtype))
  return reduce(chosen.weight and losses * chosen.weight or losses, chosen.reduction)
end

---`target (log target - input)`, where the input holds logarithms of probabilities: kl_div(input, target, {reduction =
---"mean", log_target = false}), equal shapes. "batchmean" divides the sum by the size of the first dimension, which is
---the divergence; "mean" by the number of elements.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param given? {reduction: "none"|"mean"|"batchmean"|"sum", log_target: boolean}
---@return lurn.Tensor
function more.kl_div(input, target, given)
  local chosen = options.read("kl_div", given, {
    { name = "reduction", kind = { "none", "mean", "batchmean", "sum" }, default = "mean" },
    { name = "log_target", kind = "flag", default = false },
  })
  check_pair("kl_div", input, target)
  local losses
  if chosen.log_target then
    losses = target:exp() * (target - input)
  else
    local none = target:le(0) -- 0 log 0 is 0
    losses = core.where(none, 0, target * core.where(none, 1, target):log()) - target * input
  end
  if chosen.reduction == "batchmean" then return losses:sum() / math.max(1, input.shape[1] or 1) end
  return reduce(losses, chosen.reduction)
end

-- ---- Distances ----

---`d^2 / 2` where d = |input - target| is below delta, else `delta (d - delta / 2)`: huber_loss(input, target, {delta =
---1, reduction = "mean"}), equal shapes. Huber: Robust estimation of a location parameter. 1964.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param given? {delta: number, reduction: string}
---@return lurn.Tensor
function more.huber_loss(input, target, given)
  local chosen = options.read("huber_loss", given, { { name = "delta", kind = "positive", default = 1 }, reduction })
  check_pair("huber_loss", input, target)
  return core.smooth_l1_loss(input, target, { beta = chosen.delta, reduction = chosen.reduction }) * chosen.delta
end

-- ---- Likelihoods ----

---`(log v + (input - target)^2 / v) / 2` with v = max(var, eps): the target under a normal distribution of which a
---model gives mean and variance: gaussian_nll_loss(input, target, var, {full = false, eps = 1e-6, reduction =
---"mean"}). input and target have equal shapes, var broadcasts to them; `full` adds log(2 pi) / 2.
---Nix, Weigend: Estimating the mean and variance of the target probability distribution. ICNN 1994.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param var lurn.Tensor
---@param given? {full: boolean, eps: number, reduction: string}
---@return lurn.Tensor
function more.gaussian_nll_loss(input, target, var, given)
  local who = "gaussian_nll_loss"
  local chosen = options.read(who, given, {
    { name = "full", kind = "flag", default = false }, { name = "eps", kind = "positive", default = 1e-6 }, reduction,
  })
  check_pair(who, input, target)
  check.tensor(who, "var", var)
  if var:numel() > 0 and var:detach():min():item() < 0 then core.raise(who .. ": var has negative elements") end
  local v = var + (var:detach():clamp(chosen.eps) - var:detach()) -- the slope passes the limit
  local losses = (v:log() + (input - target):square() / v) * 0.5
  if chosen.full then losses = losses + 0.5 * math.log(2 * math.pi) end
  return reduce(losses, chosen.reduction)
end

-- log target! by Stirling's formula, for targets above 1.
local function log_factorial(t)
  local safe = core.where(t:gt(1), t, 1)
  return core.where(t:gt(1), safe * safe:log() - safe + (safe * (2 * math.pi)):log() * 0.5, 0)
end

---`exp(input) - target input`, the target under a Poisson distribution whose mean's logarithm a model gives:
---poisson_nll_loss(input, target, {log_input = true, full = false, eps = 1e-8, reduction = "mean"}). Without log_input
---the input is the mean: `input - target log(input + eps)`. `full` adds Stirling's log target!.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param given? {log_input: boolean, full: boolean, eps: number, reduction: string}
---@return lurn.Tensor
function more.poisson_nll_loss(input, target, given)
  local chosen = options.read("poisson_nll_loss", given, {
    { name = "log_input", kind = "flag", default = true }, { name = "full", kind = "flag", default = false },
    { name = "eps", kind = "positive", default = 1e-8 }, reduction,
  })
  check_pair("poisson_nll_loss", input, target)
  local losses = chosen.log_input and input:exp() - target * input or input - target * (input + chosen.eps):log()
  if chosen.full then losses = losses + log_factorial(target:to(input.dtype)) end
  return reduce(losses, chosen.reduction)
end

---`1 - cos(a, b)` where the target is 1, `max(0, cos(a, b) - margin)` where it is -1: cosine_embedding_loss(a (N, D), b
---(N, D), target (N), {margin = 0, reduction = "mean"}).
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param target lurn.Tensor
---@param given? {margin: number, reduction: string}
---@return lurn.Tensor
function more.cosine_embedding_loss(a, b, target, given)
  local who = "cosine_embedding_loss"
  local chosen = options.read(who, given, { { name = "margin", kind = "number", default = 0 }, reduction })
  check_pair(who, a, b, "the other input")
  check.tensor(who, "target", target)
  local cosine = core.cosine_similarity(a, b, { dim = -1 })
  if not check.same_shape(target.shape, cosine.shape) then
    core.raise(("%s: target has shape %s; expected %s"):format(who, check.shape_text(target.shape),
      check.shape_text(cosine.shape)))
  end
  local alike, other = 1 - cosine, (cosine - chosen.margin):relu()
  return reduce(core.where(target:gt(0), alike, other), chosen.reduction)
end

-- ---- Forms of losses that are ops ----

-- Targets are probabilities over the classes, shaped as the logits.
local function soft_cross_entropy(logits, targets, given)
  local who = "cross_entropy"
  local chosen = options.read(who, given, {
    { name = "weight", kind = "tensor" }, { name = "ignore_index", kind = "integer", default = -100 },
    { name = "label_smoothing", kind = "probability", default = 0 }, reduction,
  })
  check_pair(who, logits, targets, "targets")
  local classes, smoothing = logits.shape[logits.ndim], chosen.label_smoothing
  if smoothing > 0 then targets = targets * (1 - smoothing) + smoothing / classes end
  local log_probs = core.log_softmax(logits, -1)
  if chosen.weight then log_probs = log_probs * chosen.weight end
  return reduce(-(targets * log_probs):sum(-1), chosen.reduction)
end

---`-log softmax(logits)[target]`, in nats: cross_entropy(logits (..., C), targets (...), {weight, ignore_index = -100,
---label_smoothing = 0, reduction = "mean"|"sum"|"none"}). Targets count from 1; ignore_index is compared with them as
---given. Targets of floats (..., C) are probabilities of all classes: `-sum over c of targets log softmax(logits)`.
---@param logits lurn.Tensor
---@param targets lurn.Tensor
---@param ... any
---@return lurn.Tensor
function more.cross_entropy(logits, targets, ...)
  if core.is_tensor(targets) and core.is_tensor(logits) and check.is_float(targets) and targets.ndim == logits.ndim
    and targets.ndim > 0 then
    return soft_cross_entropy(logits, targets, ...)
  end
  return core.cross_entropy(logits, targets, ...)
end

---`-log` of the probability of all alignments of targets to log_probs: ctc_loss(log_probs (T, N, C), targets (N, S),
---input_lengths (N), target_lengths (N), {blank = 1, reduction = "mean", zero_infinity = false}). Targets may also
---stand in one dimension, all in turn; lengths may be lists. "mean" divides each loss by its target length first.
---Graves et al.: Connectionist temporal classification. ICML 2006.
---@param log_probs lurn.Tensor
---@param targets lurn.Tensor
---@param input_lengths lurn.Tensor|integer[]
---@param target_lengths lurn.Tensor|integer[]
---@param ... any
---@return lurn.Tensor
function more.ctc_loss(log_probs, targets, input_lengths, target_lengths, ...)
  return core.ctc_loss(log_probs, targets, lengths_of.read("ctc_loss", input_lengths, "input_lengths"),
    lengths_of.read("ctc_loss", target_lengths, "target_lengths"), ...)
end

return more
