-- What losses that are made of ops have in common.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local common_shape = require("lurn.tensor").common_shape

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

---Raises unless all are tensors that broadcast, the first of floats.
---@param who string
---@param names string[] what they are called
---@param list lurn.Tensor[]
---@return integer[] shape that they have together
function parts.check_broadcast(who, names, list)
  local shape = {}
  for i, name in ipairs(names) do
    check.tensor(who, name, list[i])
    if i == 1 and not check.is_float(list[i]) then
      core.raise(("%s: %s is %s; expected float32 or float64"):format(who, name, list[i].dtype))
    end
    shape = common_shape(who .. ": " .. name, shape, list[i].shape)
  end
  return shape
end

---The same with as many dimensions each: where they differ, as in (N) and (N, 1), all pairs would come of it.
---@param who string
---@param names string[]
---@param list lurn.Tensor[]
---@return integer[]
function parts.check_aligned(who, names, list)
  local shape = parts.check_broadcast(who, names, list)
  for i, name in ipairs(names) do
    if list[i].ndim ~= list[1].ndim then
      core.raise(("%s: %s has shape %s and %s %s; expected as many dimensions"):format(who, names[1],
        check.shape_text(list[1].shape), name, check.shape_text(list[i].shape)))
    end
  end
  return shape
end

return parts
