--- Short forms and other names of what ops do: conversions, shapes like another's, limits, orders, windows.

local core = require "lurn.core"
local check = require "lurn.tensor"

local methods = core.methods
local check_tensor, check_options, dim_of = check.tensor, check.options, check.dim_of

-- ---- Conversions ------------------------------------------------------------------------------

local function to(name, dtype)
  return function(x)
    check_tensor(x, name, "self")
    return x:to(dtype)
  end
end

--- As float32; itself if it is that.
---@return lurn.Tensor
methods.float = to("float", "float32")
--- As float64.
---@return lurn.Tensor
methods.double = to("double", "float64")
--- As int64.
---@return lurn.Tensor
methods.long = to("long", "int64")
--- As int32.
---@return lurn.Tensor
methods.int = to("int", "int32")
--- As bool: true where it is not 0.
---@return lurn.Tensor
methods.bool = to("bool", "bool")

--- With the dtype of another.
---@param other lurn.Tensor
---@return lurn.Tensor
function methods:type_as(other)
  check_tensor(self, "type_as", "self")
  check_tensor(other, "type_as", "other")
  return self:to(other.dtype)
end

--- The elements as nested Lua tables, as x:totable().
---@return table|number|boolean
function methods:tolist()
  check_tensor(self, "tolist", "self")
  return self:totable()
end

-- ---- Shapes -----------------------------------------------------------------------------------

local function like_other(name, reshape)
  return function(x, other)
    check_tensor(x, name, "self")
    check_tensor(other, name, "other")
    return reshape(x, other.shape)
  end
end

--- A view with the shape of another.
---@param other lurn.Tensor
---@return lurn.Tensor
methods.view_as = like_other("view_as", core.op_as("view", "view_as"))
--- With the shape of another, a view where that is possible.
---@param other lurn.Tensor
---@return lurn.Tensor
methods.reshape_as = like_other("reshape_as", core.op_as("reshape", "reshape_as"))
--- Broadcast to the shape of another; a view.
---@param other lurn.Tensor
---@return lurn.Tensor
methods.expand_as = like_other("expand_as", core.op_as("expand", "expand_as"))
--- Broadcast to a shape: x:broadcast_to(3, 4) or x:broadcast_to{3, 4}; a view.
---@param ... integer|integer[]
---@return lurn.Tensor
methods.broadcast_to = core.op_as("expand", "broadcast_to")

--- All elements in one dimension.
---@return lurn.Tensor
function methods:ravel()
  check_tensor(self, "ravel", "self")
  return self:reshape(-1)
end

--- The tensors, each broadcast to the shape that all have together; views.
---@param ... lurn.Tensor
---@return lurn.Tensor ...
function core.broadcast_tensors(...)
  local list = table.pack(...)
  local shape = {}
  for i = 1, list.n do
    check_tensor(list[i], "broadcast_tensors", ("tensor %d"):format(i))
    shape = check.common_shape("broadcast_tensors", shape, list[i].shape)
  end
  for i = 1, list.n do list[i] = list[i]:expand(shape) end
  return table.unpack(list, 1, list.n)
end

--- cat under its other name.
core.concat = core.cat

--- Windows of `size` elements along dim, each `step` after the one before: dimension dim counts the windows, and a new
--- last dimension their elements. A copy.
---@param dim integer
---@param size integer
---@param step integer
---@return lurn.Tensor
function methods:unfold(dim, size, step)
  dim = dim_of(self, dim, "unfold")
  local length = self.shape[dim]
  for name, value in pairs { size = size or false, step = step or false } do
    if math.type(value) ~= "integer" or value < 1 then
      core.raise(("unfold: %s is %s; expected a whole number above 0"):format(name, tostring(value or nil)))
    end
  end
  if size > length then
    core.raise(("unfold: size is %d; dimension %d has %d"):format(size, dim, length))
  end
  local windows = (length - size) // step + 1
  local starts = core.arange(0, windows - 1):unsqueeze(2) * step
  local index = (starts + core.arange(1, size):unsqueeze(1)):reshape(-1)
  return self:index_select(dim, index):unflatten(dim, { windows, size }):movedim(dim + 1, -1)
end

-- ---- Limits and orders ------------------------------------------------------------------------

--- max(x, min), elementwise.
---@param min number|lurn.Tensor
---@return lurn.Tensor
function methods:clamp_min(min)
  check_tensor(self, "clamp_min", "self")
  return self:clamp { min = min }
end

--- min(x, max), elementwise.
---@param max number|lurn.Tensor
---@return lurn.Tensor
function methods:clamp_max(max)
  check_tensor(self, "clamp_max", "self")
  return self:clamp { max = max }
end

local sort = core.op_as("sort", "argsort")
--- The positions that bring x into order along dim: x:argsort(dim = -1, descending = false).
---@param dim integer|{dim: integer?, descending: boolean?}?
---@param descending boolean?
---@return lurn.Tensor # int64
function methods:argsort(...) return (select(2, sort(self, ...))) end

--- The k-th smallest along dim, and its position.
---@param k integer
---@param dim integer? default -1
---@param keepdim boolean?
---@return lurn.Tensor values
---@return lurn.Tensor indices
function methods:kthvalue(k, dim, keepdim)
  dim = dim_of(self, dim or -1, "kthvalue")
  if math.type(k) ~= "integer" or k < 1 or k > self.shape[dim] then
    core.raise(("kthvalue: k is %s; expected 1..%d"):format(tostring(k), self.shape[dim]))
  end
  local values, indices = self:sort(dim)
  values, indices = values:narrow(dim, k, 1), indices:narrow(dim, k, 1)
  if keepdim then return values, indices end
  return values:squeeze(dim), indices:squeeze(dim)
end

--- Runs of equal neighbours in one dimension once each: values, the place of each element among them, and the lengths
--- of the runs.
---@return lurn.Tensor values
---@return lurn.Tensor inverse int64
---@return lurn.Tensor counts int64
function methods:unique_consecutive()
  check_tensor(self, "unique_consecutive", "self")
  if self.ndim ~= 1 then
    core.raise(("unique_consecutive: shape %s; expected one dimension"):format(tostring(self.shape)))
  end
  local x, n = self:detach(), self.shape[1]
  if n == 0 then return x, core.zeros(0, { dtype = "int64" }), core.zeros(0, { dtype = "int64" }) end
  local first = core.cat({ core.ones(1, { dtype = "bool" }), x:narrow(1, 2, n - 1):ne(x:narrow(1, 1, n - 1)) }, 1)
  local starts = core.cat({ first:nonzero():reshape(-1), core.tensor({ n + 1 }, { dtype = "int64" }) }, 1)
  return x[first], first:to("int64"):cumsum(1), starts:diff()
end

for _, name in ipairs { "clamp_min", "clamp_max", "argsort", "kthvalue", "unique_consecutive", "broadcast_to", "ravel" }
do
  core[name] = methods[name]
end

-- ---- Choosing ---------------------------------------------------------------------------------

local choose = methods.where

--- x:where(condition, other): x where condition is true, else other. On a condition, which is bool,
--- condition:where(a, b) is lurn.where(condition, a, b).
---@param condition lurn.Tensor bool
---@param other lurn.Tensor|number
---@return lurn.Tensor
function methods:where(condition, other, ...)
  if self == nil and condition == nil then return choose() end -- x.where(): the op says what is missing
  local is_condition = core.is_tensor(condition) and condition.dtype == "bool"
  if not (is_condition and core.is_tensor(self)) then return choose(self, condition, other, ...) end
  if self.dtype == "bool" then
    core.raise "where: both may be the condition, as both are bool; call lurn.where(condition, a, b)"
  end
  return choose(condition, self, other, ...)
end

-- ---- Scaled operands --------------------------------------------------------------------------

-- x:add(y, {alpha = 2}) is x + 2 y.
local function with_alpha(name)
  local op = methods[name]
  local who = name
  return function(x, y, options, ...)
    if x == nil and y == nil then return op() end -- x.add(): the op says what is missing
    if options == nil then return op(x, y) end
    if type(options) ~= "table" then return op(x, y, options, ...) end
    check_options(options, who, { "alpha" })
    if options.alpha == nil then return op(x, y) end
    if type(options.alpha) ~= "number" then
      core.raise(("%s: alpha: expected a number, got a %s"):format(who, type(options.alpha)))
    end
    if core.is_tensor(y) then return op(x, y * options.alpha) end
    return op(x, type(y) == "number" and y * options.alpha or y)
  end
end

for _, name in ipairs { "add", "sub", "add_", "sub_" } do methods[name] = with_alpha(name) end
core.add, core.sub = methods.add, methods.sub

return check
