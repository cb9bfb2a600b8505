-- What losses that are made of ops have in common.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local parts = {}

---The option that most losses have.
---@type lurn.nn.OptionSpec
parts.reduction = { name = "reduction", kind = { "none", "mean", "sum" }, default = "mean" }

---Losses of elements brought together.
---@param losses lurn.Tensor
---@param how "none"|"mean"|"sum"
---@return lurn.Tensor
function parts.reduce(losses, how)
  if how == "none" then return losses end
  return how == "sum" and losses:sum() or losses:mean()
end

---Raises unless both are tensors of equal shapes, the first of floats.
---@param who string
---@param input any
---@param target any
---@param what? string what the second is called; default "target"
---@param name? string what the first is called; default "input"
function parts.check_pair(who, input, target, what, name)
  name, what = name or "input", what or "target"
  check.tensor(who, name, input)
  check.tensor(who, what, target)
  if not check.is_float(input) then
    core.raise(("%s: %s is %s; expected float32 or float64"):format(who, name, input.dtype))
  end
  if check.same_shape(input.shape, target.shape) then return end
  core.raise(("%s: %s has shape %s and %s %s; expected the same"):format(who, name, check.shape_text(input.shape),
    what, check.shape_text(target.shape)))
end

return parts
