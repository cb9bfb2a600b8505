-- nn.Linear

local core = require "lurn.core"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---`y = x W^T + b`, x (..., in_features), y (..., out_features). At first `weight` (out_features, in_features) and
---`bias` (out_features) are uniform on +-1/sqrt(in_features).
---Options: `bias` (true).
---Errors: an input whose last dimension is not in_features.
---@class lurn.nn.Linear: lurn.nn.Module
---@field in_features integer
---@field out_features integer
---@field weight lurn.Tensor
---@field bias lurn.Tensor?
---@overload fun(in_features: integer, out_features: integer, options?: {bias: boolean}): lurn.nn.Linear
local Linear = Module:extend "Linear"

local schema = { { name = "bias", kind = "flag", default = true } }

---@param in_features integer
---@param out_features integer
---@param given? {bias: boolean}
function Linear:init(in_features, out_features, given)
  self.in_features = check.count("nn.Linear", "in_features", in_features)
  self.out_features = check.count("nn.Linear", "out_features", out_features)
  local with_bias = options.read("nn.Linear", given, schema).bias
  self.weight = parameter.new(core.empty(self.out_features, self.in_features))
  self:register_parameter("bias", with_bias and parameter.new(core.empty(self.out_features)) or nil)
  self:reset_parameters()
end

---Draws new weights.
function Linear:reset_parameters()
  local bound = 1 / math.sqrt(self.in_features)
  initializers.uniform_(self.weight, -bound, bound)
  if self.bias then initializers.uniform_(self.bias, -bound, bound) end
end

---@param x lurn.Tensor (..., in_features)
---@return lurn.Tensor # (..., out_features)
function Linear:forward(x)
  check.last(getmetatable(self).__name, x, self.in_features)
  return core.linear(x, self.weight, self.bias)
end

function Linear:extra_repr()
  return ("in_features=%d, out_features=%d, bias=%s"):format(self.in_features, self.out_features, self.bias ~= nil)
end

return Linear
