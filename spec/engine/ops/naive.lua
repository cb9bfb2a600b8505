--- Naive counterparts of the ops: nested Lua tables and plain loops, and comparing tensors with them.

local lurn = require "lurn"

local naive = {}

naive.nan = 0 / 0

--- Whether two numbers agree: equal, both NaN, or |a - b| <= atol + rtol |b|.  Booleans count as 1 and 0.
function naive.near(a, b, rtol, atol)
  if type(a) == "boolean" then a = a and 1 or 0 end
  if type(b) == "boolean" then b = b and 1 or 0 end
  if a == b then return true end
  if a ~= a or b ~= b then return a ~= a and b ~= b end
  return math.abs(a - b) <= atol + rtol * math.abs(b)
end

local function differ(t, want, at, rtol, atol)
  if type(want) ~= "table" then
    if t.ndim ~= 0 then return ("element %s is no number"):format(at) end
    local have = t:item()
    if naive.near(have, want, rtol, atol) then return nil end
    return ("element %s is %s; expected %s"):format(at, have, want)
  end
  if t.ndim == 0 then return ("%s is a scalar; expected a list of %d"):format(at, #want) end
  if #t ~= #want then return ("%s has %d entries; expected %d"):format(at, #t, #want) end
  for i = 1, #want do
    local text = differ(t[i], want[i], at .. "[" .. i .. "]", rtol, atol)
    if text then return text end
  end
end

--- What differs first between a tensor and nested tables (or a number), or nil.
function naive.difference(t, want, rtol, atol) return differ(t:detach(), want, "result", rtol or 0, atol or 0) end

--- The shape of two broadcast together.
function naive.broadcast(a, b)
  local shape = {}
  for i = 1, math.max(#a, #b) do
    local x, y = a[#a - i + 1] or 1, b[#b - i + 1] or 1
    table.insert(shape, 1, x == 1 and y or x)
  end
  return shape
end

local function element(t, index)
  local at, added = {}, #index - t.ndim
  for i = 1, t.ndim do at[i] = t.shape[i] == 1 and 1 or index[added + i] end
  return t:get(table.unpack(at, 1, t.ndim))
end

local function fill(shape, index, f)
  if #index == #shape then return f(index) end
  local list = {}
  for i = 1, shape[#index + 1] do
    index[#index + 1] = i
    list[i] = fill(shape, index, f)
    index[#index] = nil
  end
  return list
end

--- Nested tables of f(index) over a shape.
function naive.build(shape, f) return fill(shape, {}, f) end

--- f over the elements of tensors and numbers, broadcast; nested tables.
function naive.map(f, ...)
  local operands, shape = { ... }, {}
  for _, t in ipairs(operands) do
    if lurn.is_tensor(t) then shape = naive.broadcast(shape, t.shape) end
  end
  return fill(shape, {}, function(index)
    local values = {}
    for i, t in ipairs(operands) do
      values[i] = t
      if lurn.is_tensor(t) then values[i] = element(t, index) end
    end
    return f(table.unpack(values))
  end)
end

--- Reduces dimension dim: f gets the list of elements along it.
function naive.reduce(t, dim, f)
  local shape = {}
  for i, n in ipairs(t.shape) do
    if i ~= dim then shape[#shape + 1] = n end
  end
  return fill(shape, {}, function(index)
    local line = {}
    for k = 1, t.shape[dim] do
      local at = { table.unpack(index) }
      table.insert(at, dim, k)
      line[k] = t:get(table.unpack(at))
    end
    return f(line)
  end)
end

function naive.sum(line)
  local sum = 0
  for _, v in ipairs(line) do sum = sum + v end
  return sum
end

--- Whole numbers of the dtype near `value`, as PyTorch wraps them.
function naive.wrap(value, dtype)
  local bits = ({ uint8 = 8, int32 = 32, int64 = 64 })[dtype]
  if bits == nil or bits == 64 then return value end
  value = value & ((1 << bits) - 1)
  if dtype == "int32" and value >= 1 << 31 then value = value - (1 << 32) end
  return value
end

return naive
