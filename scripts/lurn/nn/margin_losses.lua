-- Losses that ask for a margin between scores or distances, made of ops.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local options = require "lurn.nn.options"
local parts = require "lurn.nn.loss_parts"

local more = {}

local reduction, reduce = parts.reduction, parts.reduce

-- ---- Scores ----

---`max(0, margin - target (input1 - input2))`, where the target is 1 for an input1 that should be the larger one, -1
---for the other: margin_ranking_loss(input1, input2, target, {margin = 0, reduction = "mean"}). The shapes broadcast
---and have as many dimensions.
---@param input1 lurn.Tensor
---@param input2 lurn.Tensor
---@param target lurn.Tensor
---@param given? {margin: number, reduction: string}
---@return lurn.Tensor
function more.margin_ranking_loss(input1, input2, target, given)
  local who = "margin_ranking_loss"
  local chosen = options.read(who, given, { { name = "margin", kind = "number", default = 0 }, reduction })
  parts.check_aligned(who, { "input1", "input2", "target" }, { input1, input2, target })
  return reduce((target * (input2 - input1) + chosen.margin):clamp(0), chosen.reduction)
end

---The input where the target is 1, `max(0, margin - input)` where it is -1, for inputs that are distances:
---hinge_embedding_loss(input, target, {margin = 1, reduction = "mean"}); the shapes broadcast.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param given? {margin: number, reduction: string}
---@return lurn.Tensor
function more.hinge_embedding_loss(input, target, given)
  local who = "hinge_embedding_loss"
  local chosen = options.read(who, given, { { name = "margin", kind = "number", default = 1 }, reduction })
  parts.check_broadcast(who, { "input", "target" }, { input, target })
  local far = core.where(target:ne(1), (chosen.margin - input):clamp(0), 0)
  return reduce(far + core.where(target:ne(-1), input, 0), chosen.reduction)
end

---`log(1 + exp(-target input))`, the target 1 or -1: soft_margin_loss(input, target, {reduction = "mean"}), where
---the target broadcasts to the input; exact for large inputs too.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param given? {reduction: string}
---@return lurn.Tensor
function more.soft_margin_loss(input, target, given)
  local who = "soft_margin_loss"
  local chosen = options.read(who, given, { reduction })
  local shape = parts.check_broadcast(who, { "input", "target" }, { input, target })
  if not check.same_shape(shape, input.shape) then
    core.raise(("%s: target of shape %s does not broadcast to the input's %s"):format(who,
      check.shape_text(target.shape), check.shape_text(input.shape)))
  end
  -- Above a threshold of 40 log(1 + e^x) is x to the last digit of float64.
  return reduce(core.softplus(-(input * target), { threshold = 40 }), chosen.reduction)
end

-- Raises unless targets name a class for each row of the input.
local function check_classes(who, input, target)
  check.tensor(who, "input", input)
  check.tensor(who, "target", target)
  if not check.is_float(input) or input.ndim == 0 then
    core.raise(("%s: input is %s of shape %s; expected floats (..., C)"):format(who, input.dtype,
      check.shape_text(input.shape)))
  end
  local rows, classes = table.move(input.shape, 1, input.ndim - 1, 1, {}), input.shape[input.ndim]
  if not check.same_shape(target.shape, rows) then
    core.raise(("%s: target has shape %s; expected %s"):format(who, check.shape_text(target.shape),
      check.shape_text(rows)))
  end
  if check.is_float(target) or target.dtype == "bool" then
    core.raise(("%s: target is %s; expected int64 or another integer type"):format(who, target.dtype))
  end
  for _, extreme in ipairs(target:numel() > 0 and { target:min():item(), target:max():item() } or {}) do
    if extreme < 1 or extreme > classes then
      core.raise(("%s: target %d; expected a class of 1..%d"):format(who, extreme, classes))
    end
  end
end

local multi_margin_schema = {
  { name = "p", kind = "count", default = 1 }, { name = "margin", kind = "number", default = 1 },
  { name = "weight", kind = "tensor" }, reduction,
}

---`sum over c other than y of max(0, margin - input[y] + input[c])^p / C`, times weight[y], with the target y:
---multi_margin_loss(input (..., C), target (...), {p = 1, margin = 1, weight (C), reduction = "mean"}), p 1 or 2;
---targets count from 1. A mean is over the targets, whatever their weight.
---@param input lurn.Tensor
---@param target lurn.Tensor
---@param given? {p: integer, margin: number, weight: lurn.Tensor, reduction: string}
---@return lurn.Tensor
function more.multi_margin_loss(input, target, given)
  local who = "multi_margin_loss"
  local chosen = options.read(who, given, multi_margin_schema)
  if chosen.p > 2 then core.raise(("%s: p is %d; expected 1 or 2"):format(who, chosen.p)) end
  check_classes(who, input, target)
  local classes, place = input.shape[input.ndim], target:unsqueeze(-1)
  local excess = (input - input:gather(-1, place) + chosen.margin):relu():scatter(-1, place, 0)
  local losses = (chosen.p == 1 and excess or excess:square()):sum(-1) / classes
  if chosen.weight then
    if not check.same_shape(chosen.weight.shape, { classes }) then
      core.raise(("%s: weight has shape %s; expected (%d)"):format(who, check.shape_text(chosen.weight.shape), classes))
    end
    losses = losses * chosen.weight[target]
  end
  return reduce(losses, chosen.reduction)
end

-- ---- Distances ----

local triplet_schema = {
  { name = "margin", kind = "number", default = 1 }, { name = "p", kind = "number", default = 2 },
  { name = "eps", kind = "number", default = 1e-6 }, { name = "swap", kind = "flag", default = false }, reduction,
}

---`max(0, margin + d(anchor, positive) - d(anchor, negative))` with d = pairwise_distance: triplet_margin_loss(anchor
---(..., D), positive, negative, {margin = 1, p = 2, eps = 1e-6, swap = false, reduction = "mean"}). The shapes
---broadcast and have as many dimensions. With `swap` the negative counts from the positive where that is nearer.
---Balntas et al.: Learning local feature descriptors with triplets and shallow convolutional neural networks. BMVC
---2016.
---@param anchor lurn.Tensor
---@param positive lurn.Tensor
---@param negative lurn.Tensor
---@param given? {margin: number, p: number, eps: number, swap: boolean, reduction: string}
---@return lurn.Tensor
function more.triplet_margin_loss(anchor, positive, negative, given)
  local who = "triplet_margin_loss"
  local chosen = options.read(who, given, triplet_schema)
  parts.check_aligned(who, { "anchor", "positive", "negative" }, { anchor, positive, negative })
  if anchor.ndim == 0 then core.raise(who .. ": anchor has shape (); expected (..., D)") end
  local how = { p = chosen.p, eps = chosen.eps }
  local near, far = core.pairwise_distance(anchor, positive, how), core.pairwise_distance(anchor, negative, how)
  if chosen.swap then far = core.minimum(far, core.pairwise_distance(positive, negative, how)) end
  return reduce((near - far + chosen.margin):clamp(0), chosen.reduction)
end

return more
