-- nn.BatchNorm1d

local core = require "lurn.core"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---`(x - mean) / sqrt(var + eps) weight + bias` for each of the features of x (N, C) or (N, C, T), as nn.Conv1d gives
---it. In training mean and var (that of all, divided by their number) are those of the batch, over N and T, and move
---running_mean and running_var, that of the sample, by momentum; in evaluation they are these. Parameters `weight` and
---`bias` (C), at first 1 and 0; buffers `running_mean`, `running_var` (C) and `num_batches_tracked`, as in PyTorch.
---
---Options: `eps` (1e-5); `momentum` (0.1), false for the mean of all batches so far; `affine` (true): weight and bias;
---`track_running_stats` (true): without, mean and var are always those of the batch.
---Errors: other shapes; in training, one value per feature.
---Steps past a length count as any: for sequences of different lengths nn.LayerNorm is the better choice.
---Ioffe, Szegedy: Batch normalization: accelerating deep network training. ICML 2015.
---@class lurn.nn.BatchNorm1d: lurn.nn.Module
---@field num_features integer
---@field weight lurn.Tensor?
---@field bias lurn.Tensor?
---@field running_mean lurn.Tensor?
---@field running_var lurn.Tensor?
---@overload fun(num_features: integer, options?: lurn.nn.BatchNormOptions): lurn.nn.BatchNorm1d
local BatchNorm1d = Module:extend "BatchNorm1d"

---@class lurn.nn.BatchNormOptions
---@field eps? number (1e-5)
---@field momentum? number|false (0.1)
---@field affine? boolean (true)
---@field track_running_stats? boolean (true)

local schema = {
  { name = "eps", kind = "positive", default = 1e-5 },
  { name = "momentum", kind = "any", default = 0.1 },
  { name = "affine", kind = "flag", default = true },
  { name = "track_running_stats", kind = "flag", default = true },
}

local function check_momentum(momentum)
  if momentum == false or type(momentum) == "number" and momentum >= 0 and momentum <= 1 then return end
  core.raise(("nn.BatchNorm1d: momentum is %s; expected a number from 0 to 1, or false"):format(
    check.describe(momentum)))
end

---@param num_features integer
---@param given? lurn.nn.BatchNormOptions
function BatchNorm1d:init(num_features, given)
  local C = check.count("nn.BatchNorm1d", "num_features", num_features)
  local chosen = options.read("nn.BatchNorm1d", given, schema)
  check_momentum(chosen.momentum)
  for _, option in ipairs(schema) do self[option.name] = chosen[option.name] end
  self.num_features = C
  self:register_parameter("weight", chosen.affine and parameter.new(core.empty(C)) or nil)
  self:register_parameter("bias", chosen.affine and parameter.new(core.empty(C)) or nil)
  if chosen.track_running_stats then
    self:register_buffer("running_mean", core.zeros(C))
    self:register_buffer("running_var", core.ones(C))
    self:register_buffer("num_batches_tracked", core.zeros({ dtype = "int64" }))
  end
  self:reset_parameters()
end

---Sets weight and bias to ones and zeros.
function BatchNorm1d:reset_parameters()
  if self.weight then initializers.ones_(self.weight) end
  if self.bias then initializers.zeros_(self.bias) end
end

local function check_input(self, x)
  local who = getmetatable(self).__name
  check.tensor(who, "input", x)
  local shape = x.shape
  if #shape < 2 or #shape > 3 or shape[2] ~= self.num_features then
    core.raise(("%s: input has shape %s; expected (N, %d) or (N, %d, T)"):format(who, check.shape_text(shape),
      self.num_features, self.num_features))
  end
  return shape
end

-- The buffers take over their part of a batch's mean and variance.
local function track(self, mean, var, n)
  self.num_batches_tracked:add_(1)
  local share = self.momentum or 1 / self.num_batches_tracked:item()
  self.running_mean:mul_(1 - share):add_(mean * share)
  self.running_var:mul_(1 - share):add_(var * (share * n / (n - 1)))
end

-- Mean and variance of the batch (1, C) or (1, C, 1).
local function batch_statistics(self, x, shape)
  local dims, n = #shape == 3 and { 1, 3 } or { 1 }, shape[1] * (shape[3] or 1)
  if self.training and n < 2 then
    core.raise(("%s: input has shape %s, one value per feature; training needs more"):format(
      getmetatable(self).__name, check.shape_text(shape)))
  end
  local mean = core.mean(x, { dim = dims, keepdim = true })
  local var = core.square(x - mean):mean { dim = dims, keepdim = true }
  if self.training and self.running_mean then
    core.no_grad(track, self, mean:detach():reshape(-1), var:detach():reshape(-1), n)
  end
  return mean, var
end

---@param x lurn.Tensor (N, C) or (N, C, T)
---@return lurn.Tensor
function BatchNorm1d:forward(x)
  local shape = check_input(self, x)
  local as_column = #shape == 3 and { 1, -1, 1 } or { 1, -1 }
  local mean, var
  if self.training or not self.running_mean then
    mean, var = batch_statistics(self, x, shape)
  else
    mean, var = self.running_mean:view(as_column), self.running_var:view(as_column)
  end
  local y = (x - mean) * (var + self.eps):rsqrt()
  if not self.weight then return y end
  return y * self.weight:view(as_column) + self.bias:view(as_column)
end

function BatchNorm1d:extra_repr()
  local momentum = self.momentum and ("%.14g"):format(self.momentum) or "false"
  return ("%d, eps=%.14g, momentum=%s, affine=%s, track_running_stats=%s"):format(self.num_features, self.eps, momentum,
    self.affine, self.track_running_stats)
end

return BatchNorm1d
