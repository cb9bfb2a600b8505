--- Functions of elements and along dimensions that are made of others: limits that are tensors, moments, sums in
--- another dtype.

local core = require "lurn.core"
local check = require "lurn.tensor"

local methods = core.methods
local check_tensor, check_options = check.tensor, check.options

-- ---- clamp ------------------------------------------------------------------------------------

local clamp, clamp_ = methods.clamp, methods.clamp_

local function shape_text(t) return "(" .. table.concat(t.shape, ", ") .. ")" end

-- Both limits when one of them is a tensor, from the arguments of clamp, where they may stand in a table by name.
local function tensor_limits(who, low, high)
  local named = type(low) == "table" and low or type(high) == "table" and high or nil
  if named and not (core.is_tensor(named.min) or core.is_tensor(named.max)) then return nil end
  if named then
    check_options(named, who, { "min", "max" })
    if named ~= low then named = { min = named.min == nil and low or named.min, max = named.max } end
    low, high = named.min, named.max
  end
  if core.is_tensor(low) or core.is_tensor(high) then return { low = low, high = high } end
end

local function check_limit(who, what, limit, x)
  if limit == nil or type(limit) == "number" then return end
  if not core.is_tensor(limit) then
    core.raise(("%s: %s: expected a tensor or a number, got a %s"):format(who, what, type(limit)))
  end
  local ndim = math.max(limit.ndim, x.ndim)
  for i = 1, ndim do
    local a, b = x.shape[x.ndim - i + 1] or 1, limit.shape[limit.ndim - i + 1] or 1
    if a ~= b and a ~= 1 and b ~= 1 then
      core.raise(("%s: shapes %s and %s do not broadcast"):format(who, shape_text(x), shape_text(limit)))
    end
  end
end

-- An element that equals its limit counts as x's; NaN in either stays, which maximum and minimum see to.
local function clamp_between(who, x, limits)
  check_tensor(x, who, "self")
  check_limit(who, "min", limits.low, x)
  check_limit(who, "max", limits.high, x)
  if limits.low ~= nil then x = core.where(core.ge(x, limits.low), x, core.maximum(x, limits.low)) end
  if limits.high == nil then return x end
  check_limit(who, "max", limits.high, x)
  return core.where(core.le(x, limits.high), x, core.minimum(x, limits.high))
end

--- min(max(x, min), max), elementwise: x:clamp(min, max) or x:clamp{min = ..., max = ...}. Limits are numbers or, also
--- one of them, tensors that broadcast with x, and get the gradient where they are taken.
---@param min number|lurn.Tensor|nil
---@param max number|lurn.Tensor|nil
---@return lurn.Tensor
function methods:clamp(min, max, ...)
  local limits = select("#", ...) == 0 and tensor_limits("clamp", min, max)
  if limits then return clamp_between("clamp", self, limits) end
  if self == nil and min == nil then return clamp() end -- x.clamp(): the op says what is missing
  if max == nil and select("#", ...) == 0 then return clamp(self, min) end
  return clamp(self, min, max, ...)
end

--- The same in place.
---@param min number|lurn.Tensor|nil
---@param max number|lurn.Tensor|nil
---@return lurn.Tensor self
function methods:clamp_(min, max, ...)
  local limits = select("#", ...) == 0 and tensor_limits("clamp_", min, max)
  if not limits and max == nil and select("#", ...) == 0 then return clamp_(self, min) end
  if not limits then return clamp_(self, min, max, ...) end
  check_tensor(self, "clamp_", "self")
  local y = clamp_between("clamp_", self:clone(), limits) -- a copy: backward needs what is overwritten
  if shape_text(y) ~= shape_text(self) then
    core.raise(("clamp_: the result of shape %s does not fit in place into %s"):format(shape_text(y),
      shape_text(self)))
  end
  if y.dtype ~= self.dtype then
    core.raise(("clamp_: the result is %s and does not fit in place into %s"):format(y.dtype, self.dtype))
  end
  return self:copy_(y)
end

core.clamp = methods.clamp
--- clamp under its other name.
methods.clip = methods.clamp
--- clamp_ under its other name.
methods.clip_ = methods.clamp_
core.clip = methods.clip

-- ---- Moments ----------------------------------------------------------------------------------

-- x:var(dim, false), x:var{unbiased = false}: PyTorch's older word for correction.
local function with_unbiased(op, who)
  local function correction_of(unbiased)
    if type(unbiased) ~= "boolean" then
      core.raise(("%s: unbiased: expected true or false, got a %s"):format(who, type(unbiased)))
    end
    return unbiased and 1 or 0
  end
  return function(x, ...)
    local n = select("#", ...)
    if n == 0 and x == nil then return op() end -- x.var(): the op says what is missing
    if n == 0 then return op(x) end
    local args = { ... }
    local last = args[n]
    if type(last) == "table" and last.unbiased ~= nil then
      local options = { correction = correction_of(last.unbiased) }
      for name, value in pairs(last) do
        if name ~= "unbiased" then options[name] = value end
      end
      args[n] = options
    end
    if type(args[1]) == "boolean" then
      table.insert(args, 1, nil)
      n = n + 1
    end
    if type(args[2]) == "boolean" then args[2] = correction_of(args[2]) end
    return op(x, table.unpack(args, 1, n))
  end
end

--- sum (x - mean)^2 / (n - correction) over the dimensions dim, or over all: x:var(dim, correction = 1, keepdim), also
--- by name; `unbiased = false` is correction = 0.
---@param dim integer|integer[]|nil
---@param correction number|boolean|nil
---@param keepdim boolean?
---@return lurn.Tensor
methods.var = with_unbiased(methods.var, "var")
--- The square root of var, with the same arguments.
---@return lurn.Tensor
methods.std = with_unbiased(methods.std, "std")
core.var, core.std = methods.var, methods.std

-- dim and keepdim of var's arguments, as options of mean.
local function along(dim, correction, keepdim)
  local named = type(dim) == "table" and dim[1] == nil and dim or type(correction) == "table" and correction
    or type(keepdim) == "table" and keepdim or {}
  if dim == named then dim = nil end
  if type(keepdim) == "table" then keepdim = nil end
  if named.keepdim ~= nil then keepdim = named.keepdim end
  return { dim = named.dim or dim, keepdim = keepdim or false }
end

-- A spread and the mean along the same dimensions.
local function with_mean(name)
  local who = name .. "_mean"
  local spread_of = with_unbiased(core.op_as(name, who), who)
  return function(x, ...)
    check_tensor(x, who, "x")
    local spread = spread_of(x, ...)
    return spread, x:mean(along(...))
  end
end

--- x:var(dim, correction, keepdim) and the mean along the same dimensions.
---@param dim integer|integer[]|nil
---@param correction number? default 1
---@param keepdim boolean?
---@return lurn.Tensor var
---@return lurn.Tensor mean
methods.var_mean = with_mean "var"
core.var_mean = methods.var_mean

--- x:std(dim, correction, keepdim) and the mean along the same dimensions.
---@param dim integer|integer[]|nil
---@param correction number? default 1
---@param keepdim boolean?
---@return lurn.Tensor std
---@return lurn.Tensor mean
methods.std_mean = with_mean "std"
core.std_mean = methods.std_mean

-- ---- What PyTorch's functions take besides --------------------------------------------------

local norm, logsumexp, flip = methods.norm, methods.logsumexp, methods.flip

-- Elements that are not 0, in the dtype of x: what norm tends to for p towards 0.
local function count_norm(x, options)
  check_tensor(x, "norm", "x")
  local dims = options.dim
  local count = core.no_grad(core.count_nonzero, x, { dim = dims, keepdim = options.keepdim })
  return count:to(x.dtype)
end

--- (sum |x|^p)^(1/p) over the dimensions dim, or over all: x:norm(p = 2, dim, keepdim) or x:norm{p = ..., dim = ...}. p
--- may be infinite, or 0: the number of elements that are not 0; "fro" is 2.
---@param p number|"fro"|nil
---@param dim integer|integer[]|nil
---@param keepdim boolean?
---@return lurn.Tensor
function methods:norm(p, dim, keepdim, ...)
  if self == nil and p == nil then return norm() end -- x.norm(): the op says what is missing
  if select("#", ...) > 0 or self == nil then return norm(self, p, dim, keepdim, ...) end
  local options = { p = p, dim = dim, keepdim = keepdim }
  for _, given in pairs { p or false, dim or false, keepdim or false } do
    if type(given) == "table" and #given == 0 then
      for name, value in pairs(given) do options[name] = value end
    end
  end
  for _, name in ipairs { "p", "dim", "keepdim" } do
    local value = options[name]
    if type(value) == "table" and #value == 0 then options[name] = nil end
  end
  if options.p == "fro" then options.p = 2 end
  if options.p == 0 and (self.dtype == "float32" or self.dtype == "float64") then return count_norm(self, options) end
  return norm(self, options)
end
core.norm = methods.norm

--- log(sum(exp(x))) along dim, or along the dimensions of a list.
---@param dim integer|integer[]
---@param keepdim boolean?
---@return lurn.Tensor
function methods:logsumexp(dim, keepdim, ...)
  if self == nil and dim == nil then return logsumexp() end
  if type(dim) ~= "table" or #dim == 0 then return logsumexp(self, dim, keepdim, ...) end
  check_tensor(self, "logsumexp", "self")
  if type(keepdim) == "table" then keepdim = keepdim.keepdim end
  local order, sizes, y = {}, self.shape, self
  for i, d in ipairs(dim) do
    order[i] = check.dim_of(self, d, "logsumexp")
    sizes[order[i]] = 1
  end
  table.sort(order)
  for i = #order, 1, -1 do
    if order[i] == order[i + 1] then
      core.raise(("logsumexp: dimension %d is named twice"):format(order[i]))
    end
    y = logsumexp(y, order[i])
  end
  return keepdim and y:reshape(sizes) or y
end
core.logsumexp = methods.logsumexp

--- x with the order reversed along dimensions: x:flip(1, 2) or x:flip{1, 2}; along all without any.
---@param ... integer|integer[]
---@return lurn.Tensor
function methods:flip(...)
  if self == nil and select("#", ...) == 0 then return flip() end
  if select("#", ...) > 1 and math.type((...)) == "integer" then return flip(self, { ... }) end
  return flip(self, ...)
end
core.flip = methods.flip

-- ---- Sums in another dtype --------------------------------------------------------------------

local dtypes = { float32 = true, float64 = true, int64 = true, int32 = true, uint8 = true, bool = true }

-- A reduction with the option dtype, which x is converted to first.
local function with_dtype(name)
  local reduce = methods[name]
  return function(x, ...)
    local n = select("#", ...)
    if x == nil and n == 0 then return reduce() end -- x.sum(): the op says what is missing
    local given = n > 0 and select(n, ...) or nil
    if type(given) ~= "table" or given.dtype == nil or not core.is_tensor(x) then return reduce(x, ...) end
    if not dtypes[given.dtype] then
      core.raise(("%s: there is no dtype %q; expected float32, float64, int64, int32, uint8 or bool"):format(name,
        tostring(given.dtype)))
    end
    local args, rest = { ... }, {}
    for key, value in pairs(given) do
      if key ~= "dtype" then rest[key] = value end
    end
    args[n] = next(rest) and rest or nil
    return reduce(x.dtype == given.dtype and x or x:to(given.dtype), table.unpack(args, 1, args[n] and n or n - 1))
  end
end

--- The sum over the dimensions dim, or over all: x:sum(dim, keepdim) or x:sum{dim = 1, keepdim = true, dtype =
--- "float64"}; x is converted to the dtype first.
---@param dim integer|integer[]|nil
---@param keepdim boolean?
---@return lurn.Tensor
methods.sum = with_dtype "sum"

--- The mean, with dim, keepdim and dtype as for sum; integers need a dtype.
---@param dim integer|integer[]|nil
---@param keepdim boolean?
---@return lurn.Tensor
methods.mean = with_dtype "mean"

--- The product, with dim, keepdim and dtype as for sum.
---@param dim integer|integer[]|nil
---@param keepdim boolean?
---@return lurn.Tensor
methods.prod = with_dtype "prod"

core.sum, core.mean, core.prod = methods.sum, methods.mean, methods.prod
