-- Losses as modules: their options are kept, their numbers are those of nn.functional.

local core = require "lurn.core"
local Module = require "lurn.nn.module"
local margin = require "lurn.nn.margin_losses"
local more = require "lurn.nn.more_losses"
local options = require "lurn.nn.options"

local losses = {}

local reduction = require("lurn.nn.loss_parts").reduction

-- ---- What they share ----

-- Tensors among the options are buffers, so that `to` converts them and state dicts have them, as in PyTorch.
local function keep(module, schema, chosen)
  for _, option in ipairs(schema) do
    if option.kind == "tensor" then
      module:register_buffer(option.name, chosen[option.name])
    else
      module[option.name] = chosen[option.name]
    end
  end
end

local function describe(module, schema)
  local parts = {}
  for _, option in ipairs(schema) do
    local value = module[option.name]
    if option.kind ~= "tensor" and value ~= option.default then
      parts[#parts + 1] = ("%s=%s"):format(option.name, value)
    end
  end
  return table.concat(parts, ", ")
end

-- op(..., last)
local function with_last(op, last, ...)
  local n = select("#", ...)
  if n == 2 then
    local input, target = ...
    return op(input, target, last)
  end
  local inputs = table.pack(...)
  inputs[n + 1] = last
  return op(table.unpack(inputs, 1, n + 1))
end

-- A class of modules that call an op with the options of their schema.
local function of_op(name, op, schema)
  local class = Module:extend(name)
  function class:init(given) keep(self, schema, options.read("nn." .. name, given, schema)) end
  function class:forward(...)
    local chosen = {}
    for i = 1, #schema do
      local option = schema[i].name
      chosen[option] = self[option]
    end
    return with_last(op, chosen, ...)
  end
  function class:extra_repr() return describe(self, schema) end
  return class
end

-- ---- Classes ----

---`-log softmax(logits)[target]`: `nn.CrossEntropyLoss{weight, ignore_index = -100, label_smoothing = 0, reduction =
---"mean"}`, then `loss(logits (..., C), targets (...))`; see nn.functional.cross_entropy. Classes are in the last
---dimension and count from 1.
losses.CrossEntropyLoss = of_op("CrossEntropyLoss", more.cross_entropy, {
  { name = "weight", kind = "tensor" },
  { name = "ignore_index", kind = "integer", default = -100 },
  { name = "label_smoothing", kind = "probability", default = 0 },
  reduction,
})

---`-log_probs[target]`: `nn.NLLLoss{weight, ignore_index = -100, reduction = "mean"}`, then `loss(log_probs (..., C),
---targets (...))`.
losses.NLLLoss = of_op("NLLLoss", core.nll_loss, {
  { name = "weight", kind = "tensor" },
  { name = "ignore_index", kind = "integer", default = -100 },
  reduction,
})

---`(input - target)^2`: `nn.MSELoss{reduction = "mean"}`, then `loss(input, target)`.
losses.MSELoss = of_op("MSELoss", core.mse_loss, { reduction })

---`|input - target|`: `nn.L1Loss{reduction = "mean"}`, then `loss(input, target)`.
losses.L1Loss = of_op("L1Loss", core.l1_loss, { reduction })

---Quadratic below beta, linear above: `nn.SmoothL1Loss{beta = 1, reduction = "mean"}`, then `loss(input, target)`; see
---nn.functional.smooth_l1_loss.
losses.SmoothL1Loss = of_op("SmoothL1Loss", core.smooth_l1_loss, {
  { name = "beta", kind = "number", default = 1 },
  reduction,
})

---`nn.BCEWithLogitsLoss{weight, pos_weight, reduction = "mean"}`, then `loss(logits, target)`; see
---nn.functional.binary_cross_entropy_with_logits.
losses.BCEWithLogitsLoss = of_op("BCEWithLogitsLoss", core.binary_cross_entropy_with_logits, {
  { name = "weight", kind = "tensor" },
  { name = "pos_weight", kind = "tensor" },
  reduction,
})

---`nn.CTCLoss{blank = 1, reduction = "mean", zero_infinity = false}`, then `loss(log_probs (T, N, C), targets (N, S),
---input_lengths (N), target_lengths (N))`; see nn.functional.ctc_loss. Graves et al. 2006.
losses.CTCLoss = of_op("CTCLoss", more.ctc_loss, {
  { name = "blank", kind = "count", default = 1 },
  { name = "zero_infinity", kind = "flag", default = false },
  reduction,
})

---`-weight (target log p + (1 - target) log(1 - p))`: `nn.BCELoss{weight, reduction = "mean"}`, then `loss(p, target)`.
losses.BCELoss = of_op("BCELoss", more.binary_cross_entropy, { { name = "weight", kind = "tensor" }, reduction })

---`target (log target - input)`: `nn.KLDivLoss{reduction = "mean"|"batchmean"|"sum"|"none", log_target = false}`, then
---`loss(log_probs, target)`; see nn.functional.kl_div.
losses.KLDivLoss = of_op("KLDivLoss", more.kl_div, {
  { name = "reduction", kind = { "none", "mean", "batchmean", "sum" }, default = "mean" },
  { name = "log_target", kind = "flag", default = false },
})

---Quadratic below delta, linear above: `nn.HuberLoss{delta = 1, reduction = "mean"}`, then `loss(input, target)`.
losses.HuberLoss = of_op("HuberLoss", more.huber_loss, {
  { name = "delta", kind = "positive", default = 1 },
  reduction,
})

---`nn.GaussianNLLLoss{full = false, eps = 1e-6, reduction = "mean"}`, then `loss(mean, target, var)`; see
---nn.functional.gaussian_nll_loss.
losses.GaussianNLLLoss = of_op("GaussianNLLLoss", more.gaussian_nll_loss, {
  { name = "full", kind = "flag", default = false },
  { name = "eps", kind = "positive", default = 1e-6 },
  reduction,
})

---`nn.PoissonNLLLoss{log_input = true, full = false, eps = 1e-8, reduction = "mean"}`, then `loss(input, target)`; see
---nn.functional.poisson_nll_loss.
losses.PoissonNLLLoss = of_op("PoissonNLLLoss", more.poisson_nll_loss, {
  { name = "log_input", kind = "flag", default = true },
  { name = "full", kind = "flag", default = false },
  { name = "eps", kind = "positive", default = 1e-8 },
  reduction,
})

---`nn.CosineEmbeddingLoss{margin = 0, reduction = "mean"}`, then `loss(a, b, target)`, the target 1 or -1; see
---nn.functional.cosine_embedding_loss.
losses.CosineEmbeddingLoss = of_op("CosineEmbeddingLoss", more.cosine_embedding_loss, {
  { name = "margin", kind = "number", default = 0 },
  reduction,
})

-- ---- Margins ----

---`max(0, margin - target (input1 - input2))`: `nn.MarginRankingLoss{margin = 0, reduction = "mean"}`, then
---`loss(input1, input2, target)`, the target 1 or -1; see nn.functional.margin_ranking_loss.
losses.MarginRankingLoss = of_op("MarginRankingLoss", margin.margin_ranking_loss, {
  { name = "margin", kind = "number", default = 0 },
  reduction,
})

---The input where the target is 1, `max(0, margin - input)` where it is -1: `nn.HingeEmbeddingLoss{margin = 1,
---reduction = "mean"}`, then `loss(input, target)`.
losses.HingeEmbeddingLoss = of_op("HingeEmbeddingLoss", margin.hinge_embedding_loss, {
  { name = "margin", kind = "number", default = 1 },
  reduction,
})

---`log(1 + exp(-target input))`: `nn.SoftMarginLoss{reduction = "mean"}`, then `loss(input, target)`; the target is 1
---or -1.
losses.SoftMarginLoss = of_op("SoftMarginLoss", margin.soft_margin_loss, { reduction })

---`nn.MultiMarginLoss{p = 1, margin = 1, weight, reduction = "mean"}`, then `loss(input (..., C), target (...))`; see
---nn.functional.multi_margin_loss.
losses.MultiMarginLoss = of_op("MultiMarginLoss", margin.multi_margin_loss, {
  { name = "p", kind = "count", default = 1 },
  { name = "margin", kind = "number", default = 1 },
  { name = "weight", kind = "tensor" },
  reduction,
})

---`max(0, margin + d(anchor, positive) - d(anchor, negative))`: `nn.TripletMarginLoss{margin = 1, p = 2, eps = 1e-6,
---swap = false, reduction = "mean"}`, then `loss(anchor (..., D), positive, negative)`; see
---nn.functional.triplet_margin_loss.
losses.TripletMarginLoss = of_op("TripletMarginLoss", margin.triplet_margin_loss, {
  { name = "margin", kind = "number", default = 1 },
  { name = "p", kind = "number", default = 2 },
  { name = "eps", kind = "number", default = 1e-6 },
  { name = "swap", kind = "flag", default = false },
  reduction,
})

return losses
