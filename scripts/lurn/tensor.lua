--- Tensor methods that are written in Lua, and printing.

local core = require "lurn.core"

--- Read and written by index, `y = x[key]` and `x[key] = y`. A key is a position, a tensor, or a list of one part for
--- each dimension from the first on: `x[2]`, `x[{1, {2, 3}}]`. A part is
---
--- - a position, counted from 1, or from -1 at the end: the dimension disappears;
--- - a range `{first, last}`, both ends included, `{first, last, step}` with a step of at least 1, which need not meet
---   last, `{position}` for one place, or `{}` for all: `x[{{1, -1, 2}, {}}]` is every second row;
--- - a tensor of positions, whose elements are picked in its order, or a bool tensor: those where it is true.
---
--- A list is never a list of positions: `{1, 4, 2}` inside a key says from 1 to 4 by twos; rows 1, 4 and 2 are
--- `x[lurn.tensor({1, 4, 2}, {dtype = "int64"})]`. Positions and ranges give views, tensors copies. What is assigned
--- broadcasts to the part and is converted to the dtype of x; gradients flow both ways.
---@class lurn.Tensor
---@field shape integer[] sizes, a plain list
---@field dtype string "float32" "float64" "int64" "int32" "uint8" "bool"
---@field ndim integer number of dimensions
---@field requires_grad boolean may be assigned on a float leaf
---@field grad lurn.Tensor? accumulated gradient; may be assigned
---@field is_leaf boolean
---@field T lurn.Tensor the transpose of a matrix; a view
---@field mT lurn.Tensor the last two dimensions exchanged; a view
---@field maker string? name of the op that made it
---@field retains_grad boolean whether it is a result that keeps its gradient, see retain_grad
local methods = core.methods

-- What a value is, in the words of the C half's messages.
local function kind(value)
  local name = math.type(value) or type(value)
  if value == nil or name == "userdata" then return name end
  if name == "float" then return "a number" end
  return (name == "integer" and "an " or "a ") .. name
end

local function check_tensor(value, who, what)
  if not core.is_tensor(value) then
    local hint = what == "self" and ("; methods are called with a colon, x:%s(...)"):format(who) or ""
    core.raise(("%s: %s: expected a tensor, got %s%s"):format(who, what, kind(value), hint))
  end
end

local function check_options(options, who, known)
  if options == nil then return {} end
  if type(options) ~= "table" then
    core.raise(("%s: options: expected a table, got %s"):format(who, kind(options)))
  end
  local is_known = {}
  for _, name in ipairs(known) do is_known[name] = true end
  for name in pairs(options) do
    if not is_known[name] then
      core.raise(("%s: there is no option %s; known are: %s"):format(who, tostring(name), table.concat(known, ", ")))
    end
  end
  return options
end

-- ---- Printing ---------------------------------------------------------------------------------

-- Along a dimension longer than this only the ends are shown.
local SHOWN = 6
local ENDS = 3

local function number_text(value)
  if type(value) == "boolean" then return tostring(value) end
  if math.type(value) == "integer" then return tostring(value) end
  if value ~= value then return "nan" end
  if value == math.huge then return "inf" end
  if value == -math.huge then return "-inf" end
  local size = math.abs(value)
  if value == math.floor(value) and size < 1e6 then return ("%d."):format(value) end
  local text = (size >= 1e6 or size < 1e-4) and ("%.4e"):format(value) or ("%.4f"):format(value)
  return (text:gsub("[^%de+-]+", ".")) -- whatever point the locale has: commas part the elements
end

-- The positions that are shown along a dimension; false stands for the gap.
local function shown_positions(size)
  local list = {}
  for i = 1, size <= SHOWN and size or ENDS do list[i] = i end
  if size <= SHOWN then return list end
  list[ENDS + 1] = false
  for i = size - ENDS + 1, size do list[#list + 1] = i end
  return list
end

-- Texts of the shown elements as nested lists, and the widest of them.
local function collect(t)
  if t.ndim == 0 then
    local text = number_text(t:item())
    return text, #text
  end
  local rows, width = {}, 0
  for k, i in ipairs(shown_positions(#t)) do
    if i then
      local w
      rows[k], w = collect(t[i])
      width = math.max(width, w)
    else
      rows[k] = false
    end
  end
  return rows, width
end

local function pad(text, width) return (" "):rep(width - #text) .. text end

local function render(rows, ndim, width, indent)
  if ndim == 0 then return rows end
  local parts = {}
  for k = 1, #rows do
    if rows[k] == false then
      parts[k] = "..."
    elseif ndim == 1 then
      parts[k] = pad(rows[k], width)
    else
      parts[k] = render(rows[k], ndim - 1, width, indent .. " ")
    end
  end
  if ndim == 1 then return "{" .. table.concat(parts, ", ") .. "}" end
  return "{" .. table.concat(parts, "," .. ("\n"):rep(ndim - 1) .. indent .. " ") .. "}"
end

local function describe(t)
  local note = ("[%s %s]"):format(t.dtype, tostring(t.shape))
  if not t.requires_grad then return note end
  return note:sub(1, -2) .. (t.is_leaf and " requires_grad]" or (" from %s]"):format(t.maker))
end

--- The elements (long dimensions shortened), dtype and shape.
function core.metatable.__tostring(t)
  if core.is_freed(t) then return "[freed tensor]" end
  local plain = t:detach()
  if plain:numel() == 0 then return "{} " .. describe(t) end
  local rows, width = collect(plain)
  local text = render(rows, plain.ndim, width, "")
  return text .. (plain.ndim > 1 and "\n" or " ") .. describe(t)
end

-- ---- Reductions with and without a dimension --------------------------------------------------

local function extremum(who, with_positions, over_dims)
  return function(t, dim, ...)
    check_tensor(t, who, "self")
    local given = type(dim) == "table" and dim.dim or dim
    local reduce = type(given) == "number" and with_positions or over_dims
    return reduce(t, dim, ...)
  end
end

--- x:max() the largest element; x:max(dim [, keepdim]) values and positions; x:max{dim, dim} over several.
methods.max = extremum("max", methods.max, core.op_as("amax", "max"))
core.max = methods.max
--- x:min(), as max.
methods.min = extremum("min", methods.min, core.op_as("amin", "min"))
core.min = methods.min

-- ---- Shapes -----------------------------------------------------------------------------------

local function dim_of(t, dim, who)
  check_tensor(t, who, "self")
  dim = dim or 1
  if type(dim) ~= "number" then core.raise(("%s: dim: expected a whole number, got a %s"):format(who, type(dim))) end
  if math.type(dim) ~= "integer" or dim == 0 or dim > t.ndim or dim < -t.ndim then
    core.raise(("%s: dimension %s of a tensor with %d"):format(who, tostring(dim), t.ndim))
  end
  return dim < 0 and dim + t.ndim + 1 or dim
end

local function checked_sizes(sizes, length, dim)
  local sum = 0
  for i, n in ipairs(sizes) do
    if math.type(n) ~= "integer" or n < 0 then
      core.raise(("split: size %d is %s; expected a whole number of at least 0"):format(i, tostring(n)))
    end
    sum = sum + n
  end
  if sum ~= length then
    core.raise(("split: the sizes add up to %d; dimension %d has %d"):format(sum, dim, length))
  end
  return sizes
end

-- Nothing to split gives one empty piece.
local function equal_sizes(size, length)
  if math.type(size) ~= "integer" or size < 1 then core.raise "split: size is not a whole number above 0" end
  local sizes = { math.min(size, length) }
  for start = size, length - 1, size do sizes[#sizes + 1] = math.min(size, length - start) end
  return sizes
end

--- Pieces of `size` along dim (the last may be smaller), or of the sizes in a list; views.
---@param size integer|integer[]
---@param dim integer? default 1
---@return lurn.Tensor[]
function methods:split(size, dim)
  dim = dim_of(self, dim, "split")
  local sizes = type(size) == "table" and checked_sizes(size, self.shape[dim], dim)
    or equal_sizes(size, self.shape[dim])
  local pieces, start = {}, 1
  for i, n in ipairs(sizes) do
    pieces[i] = self:narrow(dim, start, n)
    start = start + n
  end
  return pieces
end

--- At most n pieces of equal size along dim (the last may be smaller); views.
---@param n integer
---@param dim integer? default 1
---@return lurn.Tensor[]
function methods:chunk(n, dim)
  dim = dim_of(self, dim, "chunk")
  if math.type(n) ~= "integer" or n < 1 then core.raise "chunk: n is not a whole number above 0" end
  return self:split(math.max(1, math.ceil(self.shape[dim] / n)), dim)
end

--- Dimensions first..last (default all) as one.
---@param first integer? default 1
---@param last integer? default -1
---@return lurn.Tensor
function methods:flatten(first, last)
  check_tensor(self, "flatten", "self")
  if self.ndim == 0 then return self:reshape(1) end
  first, last = dim_of(self, first, "flatten"), dim_of(self, last or -1, "flatten")
  if first > last then core.raise(("flatten: dimension %d comes after %d"):format(first, last)) end
  local sizes, product = {}, 1
  for i, n in ipairs(self.shape) do
    if i < first or i > last then
      sizes[#sizes + 1] = n
    else
      product = product * n
      if i == last then sizes[#sizes + 1] = product end
    end
  end
  return self:reshape(sizes)
end

--- The transpose of a matrix; a view.
---@return lurn.Tensor
function methods:t()
  check_tensor(self, "t", "self")
  if self.ndim > 2 then core.raise(("t: a tensor with %d dimensions; expected a matrix"):format(self.ndim)) end
  return self.ndim < 2 and self or self:transpose(1, 2)
end

--- The size of dimension dim, or all sizes.
---@param dim integer?
---@return integer|integer[]
function methods:size(dim)
  check_tensor(self, "size", "self")
  if dim == nil then return self.shape end
  return self.shape[dim_of(self, dim, "size")]
end

local squeeze_one = methods.squeeze
--- Without dimension dim when its size is 1; without dim: without all of them.
---@param dim integer?
---@return lurn.Tensor
function methods:squeeze(dim)
  check_tensor(self, "squeeze", "self")
  if dim ~= nil then return squeeze_one(self, dim) end
  local sizes = {}
  for _, n in ipairs(self.shape) do
    if n ~= 1 then sizes[#sizes + 1] = n end
  end
  return self:reshape(sizes)
end
core.squeeze = methods.squeeze

-- ---- Filling ----------------------------------------------------------------------------------

--- All elements 0, in place.
---@return lurn.Tensor
function methods:zero_()
  check_tensor(self, "zero_", "self")
  return self:fill_(0)
end

local creation = { "dtype", "requires_grad" }

-- The options of a tensor to be made, with the dtype of t unless they tell another.
local function like(t, options, who)
  check_tensor(t, who, "tensor")
  options = check_options(options, who, creation)
  return { dtype = options.dtype or t.dtype, requires_grad = options.requires_grad }
end

for _, name in ipairs { "zeros", "ones", "rand", "randn", "empty" } do
  --- A new tensor of the shape (and, but for options, the dtype) of t.
  local make, who = core[name], name .. "_like"
  core[who] = function(t, options) return make(t.shape, like(t, options, who)) end
end

-- ---- Comparing --------------------------------------------------------------------------------

local function same_shape(a, b)
  local x, y = a.shape, b.shape
  if #x ~= #y then return false end
  for i = 1, #x do
    if x[i] ~= y[i] then return false end
  end
  return true
end

--- Whether shapes and all elements are equal.
---@param other lurn.Tensor
---@return boolean
function methods:equal(other)
  check_tensor(self, "equal", "self")
  check_tensor(other, "equal", "other")
  if not same_shape(self, other) then return false end
  local count = self:numel()
  return count == 0 or core.no_grad(function() return self:eq(other):sum():item() == count end)
end
core.equal = methods.equal

-- Where a and b are close, as bool.
local function close_where(who, a, b, options)
  check_tensor(a, who, "a")
  check_tensor(b, who, "b")
  options = check_options(options, who, { "rtol", "atol", "equal_nan" })
  local rtol, atol = options.rtol or 1e-5, options.atol or 1e-8
  for name, value in pairs { rtol = rtol, atol = atol } do
    if type(value) ~= "number" then
      core.raise(("%s: %s: expected a number, got a %s"):format(who, name, type(value)))
    end
  end
  return core.no_grad(function()
    local x, y = a:to "float64", b:to "float64"
    local close = (x - y):abs():le(y:abs() * rtol + atol):logical_and(y:isfinite()):logical_or(x:eq(y))
    return options.equal_nan and close:logical_or(x:isnan():logical_and(y:isnan())) or close
  end)
end

--- Where |a - b| <= atol + rtol |b|, or both are the same infinity, as bool.
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {rtol: number?, atol: number?, equal_nan: boolean?}? default 1e-5, 1e-8, false
---@return lurn.Tensor
function core.isclose(a, b, options) return close_where("isclose", a, b, options) end
methods.isclose = core.isclose

--- Whether |a - b| <= atol + rtol |b| everywhere, or both are the same infinity; equal shapes.
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {rtol: number?, atol: number?, equal_nan: boolean?}? default 1e-5, 1e-8, false
---@return boolean
function core.allclose(a, b, options)
  check_tensor(a, "allclose", "a")
  check_tensor(b, "allclose", "b")
  if not same_shape(a, b) then
    core.raise(("allclose: shapes %s and %s differ"):format(tostring(a.shape), tostring(b.shape)))
  end
  return close_where("allclose", a, b, options):all():item()
end
methods.allclose = core.allclose

-- The shape that both broadcast to.
local function common_shape(who, a, b)
  local shape = {}
  for i = 1, math.max(#a, #b) do
    local x, y = a[#a + 1 - i] or 1, b[#b + 1 - i] or 1
    if x ~= y and x ~= 1 and y ~= 1 then
      core.raise(("%s: shapes (%s) and (%s) do not broadcast"):format(who, table.concat(a, ", "),
        table.concat(b, ", ")))
    end
    table.insert(shape, 1, x == 1 and y or x)
  end
  return shape
end

return { tensor = check_tensor, options = check_options, dim_of = dim_of, like = like, common_shape = common_shape }
