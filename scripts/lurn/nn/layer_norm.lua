-- nn.LayerNorm

local core = require "lurn.core"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---`y = (x - mean) / sqrt(var + eps) * weight + bias`, mean and (biased) variance over the last dimension of
---x (..., size), or over the last ones for a list of sizes.
---`weight` and `bias` (of these sizes) are ones and zeros at first.
---Options: `eps` (1e-5), `elementwise_affine` (true): with weight and bias.
---Errors: an input whose last dimensions are not of these sizes.
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

---@param size integer|integer[] of the last dimension, or a list for as many last ones
---@param given? lurn.nn.LayerNormOptions
function LayerNorm:init(size, given)
  local sizes = type(size) == "table" and not getmetatable(size) and size or { size }
  if #sizes == 0 then core.raise "nn.LayerNorm: the shape has no dimensions; expected at least one size" end
  local shape = {}
  for i = 1, #sizes do shape[i] = check.count("nn.LayerNorm", "size", sizes[i]) end
  local chosen = options.read("nn.LayerNorm", given, schema)
  self.normalized_shape, self.eps, self.elementwise_affine = shape, chosen.eps, chosen.elementwise_affine
  local affine = chosen.elementwise_affine
  self:register_parameter("weight", affine and parameter.new(core.empty(shape)) or nil)
  self:register_parameter("bias", affine and parameter.new(core.empty(shape)) or nil)
  self:reset_parameters()
end

---Sets weight and bias to ones and zeros.
function LayerNorm:reset_parameters()
  if self.weight then initializers.ones_(self.weight) end
  if self.bias then initializers.zeros_(self.bias) end
end

-- Raises unless the input ends in these sizes.
local function check_last(who, shape, sizes)
  if #sizes == 1 then return check.features(who, shape, sizes[1]) end
  local fits = #shape >= #sizes
  for i = 1, fits and #sizes or 0 do fits = fits and shape[#shape - #sizes + i] == sizes[i] end
  if fits then return end
  core.raise(("%s: input has shape %s; expected (..., %s)"):format(who, check.shape_text(shape),
    table.concat(sizes, ", ")))
end

---@param x lurn.Tensor (..., size)
---@return lurn.Tensor
function LayerNorm:forward(x)
  local who, shape = getmetatable(self).__name, self.normalized_shape
  if #shape == 1 then
    check.last(who, x, shape[1])
  else
    check.tensor(who, "input", x)
    check_last(who, x.shape, shape)
  end
  return core.layer_norm(x, self.weight, self.bias, self.eps, #shape)
end

function LayerNorm:extra_repr()
  local sizes = table.concat(self.normalized_shape, ", ") .. (#self.normalized_shape == 1 and "," or "")
  return ("(%s), eps=%.14g, elementwise_affine=%s"):format(sizes, self.eps, self.elementwise_affine)
end

return LayerNorm
