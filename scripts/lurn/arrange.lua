--- More tensor methods written in Lua: shapes, pieces, tensors like another, and short forms.

local core = require "lurn.core"
local check = require "lurn.tensor"

local methods = core.methods
local check_tensor, check_options, dim_of, like = check.tensor, check.options, check.dim_of, check.like

local function check_whole(value, who, what)
  if math.type(value) ~= "integer" then
    core.raise(("%s: %s: expected a whole number, got %s"):format(who, what, tostring(value)))
  end
end

-- ---- Shapes -----------------------------------------------------------------------------------

--- Dimension dim split into the sizes, whose product it is; one may be -1.  The inverse of flatten; a view if possible.
---@param dim integer
---@param sizes integer[]
---@return lurn.Tensor
function methods:unflatten(dim, sizes)
  dim = dim_of(self, dim, "unflatten")
  if type(sizes) ~= "table" then core.raise("unflatten: sizes: expected a list, got " .. type(sizes)) end
  local known, unknown, unclear, all = 1, nil, false, {}
  for i, n in ipairs(sizes) do
    check_whole(n, "unflatten", "sizes")
    unclear = unclear or n < -1 or n == -1 and unknown ~= nil
    if n == -1 then unknown = i else known = known * n end
  end
  local length = self.shape[dim]
  if unclear or unknown and (known == 0 or length % known ~= 0) or not unknown and known ~= length then
    core.raise(("unflatten: dimension %d of size %d does not split into {%s}"):format(dim, length,
      table.concat(sizes, ", ")))
  end
  for i, n in ipairs(self.shape) do
    if i ~= dim then
      all[#all + 1] = n
    else
      for k, m in ipairs(sizes) do all[#all + 1] = k == unknown and length // known or m end
    end
  end
  return self:reshape(all)
end

local function list_of_dims(self, dims, what)
  if type(dims) ~= "table" then
    check_whole(dims, "movedim", what)
    dims = { dims }
  end
  local list, seen = {}, {}
  for i, dim in ipairs(dims) do
    list[i] = dim_of(self, dim, "movedim")
    if seen[list[i]] then core.raise(("movedim: dimension %d is named twice"):format(list[i])) end
    seen[list[i]] = true
  end
  return list, seen
end

--- Dimension `from` moved to place `to`, the others in their order; both may be lists.  A view.
---@param from integer|integer[]
---@param to integer|integer[]
---@return lurn.Tensor
function methods:movedim(from, to)
  check_tensor(self, "movedim", "self")
  local sources, moved = list_of_dims(self, from, "from")
  local targets = list_of_dims(self, to, "to")
  if #sources ~= #targets then
    core.raise(("movedim: %d dimensions to move to %d places"):format(#sources, #targets))
  end
  local order, next_dim = {}, 1
  for i, place in ipairs(targets) do order[place] = sources[i] end
  for place = 1, self.ndim do
    if not order[place] then
      while moved[next_dim] do next_dim = next_dim + 1 end
      order[place] = next_dim
      next_dim = next_dim + 1
    end
  end
  return self.ndim == 0 and self or self:permute(order)
end

--- The slices along dim, without that dimension; views.
---@param dim integer? default 1
---@return lurn.Tensor[]
function methods:unbind(dim)
  dim = dim_of(self, dim, "unbind")
  local slices = {}
  for i = 1, self.shape[dim] do slices[i] = self:select(dim, i) end
  return slices
end

--- The number of dimensions, as x.ndim.
---@return integer
function methods:dim()
  check_tensor(self, "dim", "self")
  return self.ndim
end

-- ---- Making like another ----------------------------------------------------------------------

--- All equal to value, with the shape and, but for options, the dtype of t.
---@param t lurn.Tensor
---@param value number|boolean
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.full_like(t, value, options)
  options = like(t, options, "full_like")
  if value == nil then core.raise "full_like: value: expected a number, got nil" end
  return core.full(t.shape, value, options)
end

--- Whole numbers of low..high, both included, with the shape and, but for options, the dtype of t.
---@param t lurn.Tensor
---@param low integer
---@param high integer
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.randint_like(t, low, high, options)
  options = like(t, options, "randint_like")
  return core.randint(low, high, t.shape, options)
end

-- x:new_zeros(...) and the like: arguments as for lurn.zeros, dtype of x unless the options tell another.
local function with_dtype(t, who, ...)
  check_tensor(t, who, "self")
  local args = table.pack(...)
  while args.n > 0 and args[args.n] == nil do args.n = args.n - 1 end
  local last = args[args.n]
  if args.n > 0 and type(last) == "table" and #last == 0 and next(last) ~= nil then
    args[args.n] = like(t, last, who)
  else
    args.n = args.n + 1
    args[args.n] = { dtype = t.dtype }
  end
  return table.unpack(args, 1, args.n)
end

--- lurn.zeros with x's dtype: x:new_zeros(3, 4).
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function methods:new_zeros(...) return core.zeros(with_dtype(self, "new_zeros", ...)) end

--- lurn.ones with x's dtype.
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function methods:new_ones(...) return core.ones(with_dtype(self, "new_ones", ...)) end

--- lurn.empty with x's dtype.
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function methods:new_empty(...) return core.empty(with_dtype(self, "new_empty", ...)) end

--- lurn.full with x's dtype: x:new_full({3, 4}, value).
---@param shape integer[]
---@param value number|boolean
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function methods:new_full(shape, value, options)
  return core.full(with_dtype(self, "new_full", shape, value, options))
end

--- lurn.tensor with x's dtype.
---@param value number|boolean|table
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function methods:new_tensor(value, options)
  options = like(self, options, "new_tensor")
  return core.tensor(value, options)
end

-- ---- Filling exactly --------------------------------------------------------------------------

-- The op takes a float64; integers that it cannot hold go as integers.
local function is_wide(value) return math.type(value) == "integer" and (value > 1 << 53 or value < -(1 << 53)) end

local fill, fill_ = methods.fill, methods.fill_

--- value everywhere, with the shape and dtype of x.
---@param value number|boolean
---@return lurn.Tensor
function methods:fill(value, ...)
  if is_wide(value) and select("#", ...) == 0 then return self:copy(value) end
  return fill(self, value, ...)
end
core.fill = methods.fill

--- The same in place.
---@param value number|boolean
---@return lurn.Tensor self
function methods:fill_(value, ...)
  if is_wide(value) and select("#", ...) == 0 then return self:copy_(value) end
  return fill_(self, value, ...)
end

-- ---- Products ---------------------------------------------------------------------------------

-- matmul of operands with so many dimensions and no others.
local function product(who, ndim_a, ndim_b)
  return function(a, b)
    check_tensor(a, who, "a")
    check_tensor(b, who, "b")
    if a.ndim ~= ndim_a or b.ndim ~= ndim_b then
      core.raise(("%s: shapes %s and %s; expected %d and %d dimensions"):format(who, tostring(a.shape),
        tostring(b.shape), ndim_a, ndim_b))
    end
    return core.matmul(a, b)
  end
end

--- The product of two matrices: mm(a (m, k), b (k, n)).
---@param b lurn.Tensor
---@return lurn.Tensor
methods.mm = product("mm", 2, 2)
core.mm = methods.mm
--- The product of a matrix and a vector: mv(a (m, k), b (k)).
---@param b lurn.Tensor
---@return lurn.Tensor
methods.mv = product("mv", 2, 1)
core.mv = methods.mv
--- Products of as many matrices: bmm(a (N, m, k), b (N, k, n)).
---@param b lurn.Tensor
---@return lurn.Tensor
methods.bmm = product("bmm", 3, 3)
core.bmm = methods.bmm

-- ---- Along a dimension, or over all -----------------------------------------------------------

local repeat_interleave, median, roll = methods.repeat_interleave, methods.median, methods.roll

--- Each slice along dim, `repeats` times in a row; without dim, each element, as one dimension.
---@param repeats integer|lurn.Tensor
---@param dim integer?
---@return lurn.Tensor
function methods:repeat_interleave(repeats, dim, ...)
  if dim == nil and core.is_tensor(self) then return repeat_interleave(self:reshape(-1), repeats, 1) end
  return repeat_interleave(self, repeats, dim, ...)
end

--- x:median() the middle element, the lower of two; x:median(dim [, keepdim]) values and positions.
---@param dim integer?
---@return lurn.Tensor values
---@return lurn.Tensor? indices
function methods:median(dim, ...)
  if dim == nil and core.is_tensor(self) then return (median(self:reshape(-1), 1)) end
  return median(self, dim, ...)
end

--- x moved by `shift` places along dim, or by several along as many dimensions: x:roll({1, -1}, {1, 2}); without dim,
--- all elements in turn.
---@param shift integer|integer[]
---@param dim integer|integer[]|nil
---@return lurn.Tensor
function methods:roll(shift, dim, ...)
  if dim == nil and math.type(shift) == "integer" and core.is_tensor(self) then
    return roll(self:reshape(-1), shift, 1):reshape(self.shape)
  end
  if type(shift) ~= "table" or #shift == 0 then return roll(self, shift, dim, ...) end
  check_tensor(self, "roll", "self")
  if type(dim) ~= "table" or #dim ~= #shift then
    core.raise(("roll: %d shifts; expected a list of as many dimensions"):format(#shift))
  end
  local y = self
  for i = 1, #shift do y = roll(y, shift[i], dim[i]) end
  return y
end

--- The n-th differences of neighbours along dim: y_i = x_(i+1) - x_i.
---@param n integer? default 1
---@param dim integer? default -1
---@return lurn.Tensor
function methods:diff(n, dim)
  dim = dim_of(self, dim or -1, "diff")
  n = n or 1
  if math.type(n) ~= "integer" or n < 0 then
    core.raise(("diff: n is %s; expected a whole number of at least 0"):format(tostring(n)))
  end
  local y = self
  for _ = 1, math.min(n, self.shape[dim]) do
    local length = y.shape[dim] - 1
    local after, before = y:narrow(dim, 2, length), y:narrow(dim, 1, length)
    y = y.dtype == "bool" and after:logical_xor(before) or after - before
  end
  return y
end

--- Which of the intervals between boundaries, one rising dimension, each of values lies in: as searchsorted, arguments
--- exchanged.
---@param values lurn.Tensor|number
---@param boundaries lurn.Tensor
---@param options {right: boolean?}?
---@return lurn.Tensor
function core.bucketize(values, boundaries, options)
  options = check_options(options, "bucketize", { "right" })
  return core.searchsorted(boundaries, values, { right = options.right or false })
end
methods.bucketize = core.bucketize

--- a . b / max(|a| |b|, eps) along dim; shapes broadcast.
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {dim: integer?, eps: number?}? default 2 (of vectors 1), 1e-8
---@return lurn.Tensor
function core.cosine_similarity(a, b, options)
  check_tensor(a, "cosine_similarity", "a")
  check_tensor(b, "cosine_similarity", "b")
  options = check_options(options, "cosine_similarity", { "dim", "eps" })
  local x = a * b
  local dim = dim_of(x, options.dim or math.min(2, x.ndim), "cosine_similarity")
  local function squares(t) return (t * t + x:detach() * 0):sum(dim) end
  local eps = options.eps or 1e-8
  if type(eps) ~= "number" then
    core.raise(("cosine_similarity: eps: expected a number, got %s"):format(type(eps)))
  end
  return x:sum(dim) / (squares(a) * squares(b)):clamp(eps * eps):sqrt()
end
methods.cosine_similarity = core.cosine_similarity

-- All that PyTorch has as functions too.
for _, name in ipairs { "split", "chunk", "flatten", "unflatten", "movedim", "unbind", "t", "numel", "diff", "median",
  "repeat_interleave", "roll" } do
  core[name] = methods[name]
end
