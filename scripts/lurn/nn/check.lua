-- Checking of arguments, with messages that say what came and what was expected.

local core = require "lurn.core"

local check = {}

---"nil", "5", "a string", "a tensor": a value in a message.
---@param value any
---@return string
function check.describe(value)
  if value == nil or type(value) == "boolean" or type(value) == "number" then return tostring(value) end
  if type(value) == "table" and rawget(value, "is_lurn_module") then return "the " .. tostring(value) end
  return core.is_tensor(value) and "a tensor" or "a " .. type(value)
end

---"(2, 3)": a shape in a message.
---@param shape integer[]
---@return string
function check.shape_text(shape)
  local sizes = {}
  for i = 1, #shape do sizes[i] = tostring(shape[i]) end
  return "(" .. table.concat(sizes, ", ") .. ")"
end

---Whether both shapes are equal.
---@param a integer[]
---@param b integer[]
---@return boolean
function check.same_shape(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

---Whether a tensor is float32 or float64.
---@param t lurn.Tensor
---@return boolean
function check.is_float(t) return t.dtype == "float32" or t.dtype == "float64" end

---Raises unless `value` is a tensor.
---@param who string what the message begins with
---@param what string
---@param value any
function check.tensor(who, what, value)
  if core.is_tensor(value) then return end
  core.raise(("%s: %s is %s; expected a tensor"):format(who, what, check.describe(value)))
end

---A whole number of at least 1, as an integer; raises for anything else.
---@param who string
---@param what string
---@param value any
---@return integer
function check.count(who, what, value)
  local whole = type(value) == "number" and math.tointeger(value)
  if not whole or whole < 1 then
    core.raise(("%s: %s is %s; expected a positive integer"):format(who, what, check.describe(value)))
  end
  return whole
end

---An id from 1 to n, given so or counted from the end; raises for anything else.
---@param who string
---@param what string
---@param id integer
---@param n integer
---@return integer
function check.id(who, what, id, n)
  local counted = id < 0 and n + 1 + id or id
  if counted >= 1 and counted <= n then return counted end
  core.raise(("%s: %s is %d; expected an id from 1 to %d"):format(who, what, id, n))
end

---A number; raises for anything else.
---@param who string
---@param what string
---@param value any
---@return number
function check.number(who, what, value)
  if type(value) ~= "number" then
    core.raise(("%s: %s is %s; expected a number"):format(who, what, check.describe(value)))
  end
  return value
end

---Raises unless the last dimension of an input's shape has `features` elements.
---@param who string
---@param shape integer[]
---@param features integer
function check.features(who, shape, features)
  if #shape == 0 then core.raise(("%s: input is a scalar; expected %d features"):format(who, features)) end
  if shape[#shape] ~= features then
    core.raise(("%s: input has %d features; expected %d"):format(who, shape[#shape], features))
  end
end

---Raises unless an input is a tensor whose last dimension has `features` elements.
---@param who string
---@param input any
---@param features integer
function check.last(who, input, features)
  if core.last_size(input) == features then return end
  check.tensor(who, "input", input)
  check.features(who, input.shape, features)
end

---Raises unless the input has the dtype of the weights.
---@param who string
---@param input lurn.Tensor
---@param weight lurn.Tensor
function check.dtype(who, input, weight)
  local dtype = weight.dtype
  if input.dtype ~= dtype then
    core.raise(("%s: input is %s; expected %s like the weights"):format(who, input.dtype, dtype))
  end
end

return check
