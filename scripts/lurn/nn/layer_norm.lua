-- nn.LayerNorm

local core = require "lurn.core"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---`y = (x - mean) / sqrt(var + eps) * weight + bias`, mean and (biased) variance over the last dimension of
---x (..., size).
---`weight` and `bias` (size) are ones and zeros at first.
---Options: `eps` (1e-5), `elementwise_affine` (true): with weight and bias.
---Errors: an input whose last dimension is not of that size.
---Ba, Kiros, Hinton: Layer normalization. arXiv 1607.06450, 2016.
---@class lurn.nn.LayerNorm: lurn.nn.Module
---@field normalized_shape integer[]
---@field eps number
---@field weight lurn.Tensor?
---@field bias lurn.Tensor?
---@overload fun(size: integer|integer[], options?: lurn.nn.LayerNormOptions): lurn.nn.LayerNorm
local LayerNorm = Module:extend "LayerNorm"

---@class lurn.nn.LayerNormOptions
---@field eps? number (1e-5)
---@field elementwise_affine? boolean (true)

local schema = {
  { name = "eps", kind = "number", default = 1e-5 },
  { name = "elementwise_affine", kind = "flag", default = true },
}

---@param size integer|integer[] of the last dimension, also as a list of one size
---@param given? lurn.nn.LayerNormOptions
function LayerNorm:init(size, given)
  if type(size) == "table" then
    if #size ~= 1 then
      core.raise(("nn.LayerNorm: the shape has %d dimensions; only the last one can be normalized"):format(#size))
    end
    size = size[1]
  end
  size = check.count("nn.LayerNorm", "size", size)
  local chosen = options.read("nn.LayerNorm", given, schema)
  self.normalized_shape, self.eps, self.elementwise_affine = { size }, chosen.eps, chosen.elementwise_affine
  local affine = chosen.elementwise_affine
  self:register_parameter("weight", affine and parameter.new(core.empty(size)) or nil)
  self:register_parameter("bias", affine and parameter.new(core.empty(size)) or nil)
  self:reset_parameters()
end

---Sets weight and bias to ones and zeros.
function LayerNorm:reset_parameters()
  if self.weight then initializers.ones_(self.weight) end
  if self.bias then initializers.zeros_(self.bias) end
end

---@param x lurn.Tensor (..., size)
---@return lurn.Tensor
function LayerNorm:forward(x)
  local who = getmetatable(self).__name
  check.tensor(who, "input", x)
  check.features(who, x.shape, self.normalized_shape[1])
  return core.layer_norm(x, self.weight, self.bias, self.eps)
end

function LayerNorm:extra_repr()
  return ("(%d,), eps=%.14g, elementwise_affine=%s"):format(self.normalized_shape[1], self.eps, self.elementwise_affine)
end

return LayerNorm
