--- Functions of elements and along dimensions that are made of several ops.

local core = require "lurn.core"
local check = require "lurn.tensor"

local methods = core.methods
local check_tensor, check_options, dim_of = check.tensor, check.options, check.dim_of

local function check_number(value, who, what)
  if type(value) ~= "number" then
    core.raise(("%s: %s: expected a number, got %s"):format(who, what, type(value)))
  end
end

local function check_float(x, who, what)
  check_tensor(x, who, what or "self")
  if x.dtype ~= "float32" and x.dtype ~= "float64" then
    core.raise(("%s: %s is %s; expected float32 or float64"):format(who, what or "x", x.dtype))
  end
end

-- ---- Elements ---------------------------------------------------------------------------------

--- 1 with the probability that each element gives, or p, else 0; for draws in place see x:bernoulli_(p).
---@param p number?
---@return lurn.Tensor
function methods:bernoulli(p)
  check_float(self, "bernoulli")
  local probabilities = self:detach()
  if p ~= nil then
    check_number(p, "bernoulli", "p")
    probabilities = core.full_like(probabilities, p)
  end
  if not probabilities:ge(0):logical_and(probabilities:le(1)):all():item() then
    core.raise "bernoulli: a probability is not 0..1"
  end
  return core.rand_like(probabilities):lt(probabilities):to(self.dtype)
end
core.bernoulli = methods.bernoulli

--- log(exp(a) + exp(b)), elementwise, without overflow: the sum of probabilities that are held as logarithms.
---@param a lurn.Tensor
---@param b lurn.Tensor
---@return lurn.Tensor
function core.logaddexp(a, b)
  check_float(a, "logaddexp", "a")
  check_float(b, "logaddexp", "b")
  return core.logsumexp(core.stack({ core.broadcast_tensors(a, b) }, -1), -1)
end
methods.logaddexp = core.logaddexp

-- self + value combine(a, b)
local function scaled(name, combine)
  return function(x, a, b, options)
    check_tensor(x, name, "self")
    check_tensor(a, name, "tensor1")
    check_tensor(b, name, "tensor2")
    local value = check_options(options, name, { "value" }).value
    if value == nil then return combine(a, b) end
    check_number(value, name, "value")
    return combine(a, b) * value
  end
end

-- Both forms of it.
local function scaled_sums(name, combine)
  local term, term_ = scaled(name, combine), scaled(name .. "_", combine)
  return function(x, ...) return core.add(x, term(x, ...)) end, function(x, ...) return x:add_(term_(x, ...)) end
end

local addcmul, addcmul_ = scaled_sums("addcmul", function(a, b) return a * b end)
local addcdiv, addcdiv_ = scaled_sums("addcdiv", function(a, b) return a / b end)

--- x + value a b, elementwise: x:addcmul(a, b, {value = 1}).
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {value: number?}?
---@return lurn.Tensor
methods.addcmul = addcmul
--- The same in place.
---@return lurn.Tensor self
methods.addcmul_ = addcmul_
--- x + value a / b, elementwise: x:addcdiv(a, b, {value = 1}).
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {value: number?}?
---@return lurn.Tensor
methods.addcdiv = addcdiv
--- The same in place.
---@return lurn.Tensor self
methods.addcdiv_ = addcdiv_
core.addcmul, core.addcdiv = methods.addcmul, methods.addcdiv

local LARGEST = { float32 = 3.4028234663852886e38, float64 = 1.7976931348623157e308 }

--- Finite numbers in the place of NaN (0) and of the infinities (the largest and smallest of the dtype):
--- x:nan_to_num{nan = 0, posinf = ..., neginf = ...}.
---@param options {nan: number?, posinf: number?, neginf: number?}?
---@return lurn.Tensor
function methods:nan_to_num(options)
  check_tensor(self, "nan_to_num", "self")
  options = check_options(options, "nan_to_num", { "nan", "posinf", "neginf" })
  local largest = LARGEST[self.dtype]
  if not largest then return self end
  local values = { nan = 0, posinf = largest, neginf = -largest }
  for name, value in pairs(options) do
    check_number(value, "nan_to_num", name)
    values[name] = value
  end
  local y = self:masked_fill(self:isnan(), values.nan)
  y = y:masked_fill(self:eq(math.huge), values.posinf)
  return y:masked_fill(self:eq(-math.huge), values.neginf)
end
core.nan_to_num = methods.nan_to_num

-- Whether all are integers.
local function whole_numbers(list)
  for _, value in ipairs(list) do
    if math.type(value) ~= "integer" then return false end
  end
  return true
end

--- Whether each element is one of those of another tensor, or of a list of numbers or a number alone, which are taken
--- in the dtype of a float x; bool with the shape of x. With `invert`, whether it is none of them. NaN is never found.
---@param elements lurn.Tensor|number[]|number
---@param options {invert: boolean?}? default false
---@return lurn.Tensor
function methods:isin(elements, options)
  check_tensor(self, "isin", "self")
  if check_options(options, "isin", { "invert" }).invert then return self:isin(elements):logical_not() end
  if type(elements) == "number" then elements = { elements } end
  if type(elements) == "table" and not core.is_tensor(elements) then
    for i, value in ipairs(elements) do check_number(value, "isin", ("element %d"):format(i)) end
    local dtype = LARGEST[self.dtype] and self.dtype or whole_numbers(elements) and "int64" or "float64"
    elements = core.tensor(elements, { dtype = dtype })
  end
  check_tensor(elements, "isin", "elements")
  local n = elements:numel()
  if n == 0 then return core.zeros(self.shape, { dtype = "bool" }) end
  local x, sorted = self:detach(), elements:detach():reshape(-1):sort()
  local place = core.searchsorted(sorted, x):clamp(1, n)
  return sorted[place]:eq(x)
end
core.isin = methods.isin

-- ---- Distances --------------------------------------------------------------------------------

--- |a - b + eps|_p along the last dimension of a and b, which broadcast: the distances of rows that stand beside each
--- other; lurn.cdist gives those of all pairs.
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {p: number?, eps: number?, keepdim: boolean?}? default 2, 1e-6, false
---@return lurn.Tensor # one dimension less, or with keepdim a last one of size 1
function core.pairwise_distance(a, b, options)
  local who = "pairwise_distance"
  check_float(a, who, "a")
  check_float(b, who, "b")
  options = check_options(options, who, { "p", "eps", "keepdim" })
  for _, name in ipairs { "p", "eps" } do
    if options[name] ~= nil then check_number(options[name], who, name) end
  end
  if options.keepdim ~= nil and type(options.keepdim) ~= "boolean" then
    core.raise(("%s: keepdim: expected true or false, got a %s"):format(who, type(options.keepdim)))
  end
  if #check.common_shape(who, a.shape, b.shape) == 0 then
    core.raise(who .. ": shapes () and (); expected (..., D) of at least one")
  end
  return core.norm(a - b + (options.eps or 1e-6), { p = options.p or 2, dim = -1, keepdim = options.keepdim or false })
end
methods.pairwise_distance = core.pairwise_distance

-- ---- Products ---------------------------------------------------------------------------------

--- The sum of a matrix's diagonal.
---@return lurn.Tensor
function methods:trace()
  check_tensor(self, "trace", "self")
  if self.ndim ~= 2 then
    core.raise(("trace: shape (%s); expected two dimensions"):format(table.concat(self.shape, ", ")))
  end
  return self:diagonal():sum()
end
core.trace = methods.trace

--- beta x + alpha a b for as many matrices: baddbmm(x (N, m, n), a (N, m, k), b (N, k, n), {beta = 1, alpha = 1}).
---@param a lurn.Tensor
---@param b lurn.Tensor
---@param options {beta: number?, alpha: number?}?
---@return lurn.Tensor
function methods:baddbmm(a, b, options)
  check_tensor(self, "baddbmm", "self")
  check_tensor(a, "baddbmm", "a")
  check_tensor(b, "baddbmm", "b")
  options = check_options(options, "baddbmm", { "beta", "alpha" })
  if a.ndim ~= 3 or b.ndim ~= 3 then
    core.raise(("baddbmm: shapes %s and %s; expected 3 dimensions each"):format(tostring(a.shape), tostring(b.shape)))
  end
  local product = core.bmm(a, b)
  if options.alpha then product = product * options.alpha end
  return (options.beta and self * options.beta or self) + product
end
core.baddbmm = methods.baddbmm

-- ---- Counts and quantiles ---------------------------------------------------------------------

--- How often each of 1..n stands in x, one dimension of integers; n is the largest of them, or minlength if that is
--- more. With weights, the sum of those: lurn.bincount(x, {weights, minlength = 0}).
---@param options {weights: lurn.Tensor?, minlength: integer?}?
---@return lurn.Tensor # int64, or the dtype of weights
function methods:bincount(options)
  check_tensor(self, "bincount", "self")
  options = check_options(options, "bincount", { "weights", "minlength" })
  if self.ndim ~= 1 or LARGEST[self.dtype] or self.dtype == "bool" then
    core.raise(("bincount: x is %s of shape %s; expected integers in one dimension"):format(self.dtype,
      tostring(self.shape)))
  end
  local length, weights = self:numel(), options.weights or core.ones(self:numel(), { dtype = "int64" })
  check_tensor(weights, "bincount", "weights")
  local classes = options.minlength or 0
  if math.type(classes) ~= "integer" or classes < 0 then
    core.raise(("bincount: minlength is %s; expected a whole number of at least 0"):format(tostring(classes)))
  end
  if length > 0 then
    if self:min():item() < 1 then
      core.raise(("bincount: x has %d; ids count from 1"):format(self:min():item()))
    end
    classes = math.max(classes, self:max():item())
  end
  return core.zeros(classes, { dtype = weights.dtype }):index_add(1, self:to "int64", weights)
end
core.bincount = methods.bincount

-- One quantile of what is sorted along the last dimension.
local function quantile_of(sorted, q)
  if type(q) ~= "number" or not (q >= 0 and q <= 1) then
    core.raise(("quantile: q is %s; expected 0..1"):format(tostring(q)))
  end
  local n = sorted.shape[sorted.ndim]
  local place = q * (n - 1)
  local below = math.floor(place)
  local low = sorted:select(-1, below + 1)
  if below == place then return low end
  return low:lerp(sorted:select(-1, below + 2), place - below)
end

--- The value below which a share q of the elements lies, over dim or over all, linear between neighbours: x:quantile(q,
--- dim, keepdim) or x:quantile(q, {dim = ..., keepdim = ...}). For a list of shares the results stand along a new first
--- dimension.
---@param q number|number[]
---@param dim integer|{dim: integer?, keepdim: boolean?}?
---@param keepdim boolean?
---@return lurn.Tensor
function methods:quantile(q, dim, keepdim)
  check_float(self, "quantile")
  if type(dim) == "table" then
    local options = check_options(dim, "quantile", { "dim", "keepdim" })
    dim, keepdim = options.dim, options.keepdim
  end
  local x = dim == nil and self:reshape(-1) or self:movedim(dim_of(self, dim, "quantile"), -1)
  if x.shape[x.ndim] == 0 then core.raise "quantile: there are no elements" end
  local sorted = x:sort(-1)
  local has_nan = sorted:select(-1, sorted.shape[sorted.ndim]):isnan() -- which sort puts last
  local function one(share)
    local y = quantile_of(sorted, share):masked_fill(has_nan, 0 / 0)
    if not keepdim then return y end
    return dim and y:unsqueeze(dim) or y:reshape(core.ones(self.ndim):totable())
  end
  if core.is_tensor(q) then q = q:totable() end
  if type(q) ~= "table" then return one(q) end
  local list = {}
  for i, share in ipairs(q) do list[i] = one(share) end
  return core.stack(list, 1)
end
core.quantile = methods.quantile
