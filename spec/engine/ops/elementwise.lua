--- Ops that treat every element alike: each is told by a Lua function of plain numbers.
--
-- of(x [, y])  the expected value; math types as Lua's, so that integers stay integers
-- integers     what integer operands give: "same" dtype, "float32", "bool", or false: an error
-- bools        the same for bool operands
-- bools_hint   what the message for bools ends in
-- takes        which of the sample values the function is defined for
-- smooth       which of them a gradient can be checked at by differences (default: all that `takes`)
-- rtol         of float32, relative; a few units in the last place (6e-8 each) unless told otherwise

local lurn = require "lurn"

local function sign(x) return x > 0 and 1 or x < 0 and -1 or 0 end

local function floor(x) return math.type(x) == "integer" and x or math.floor(x) + 0.0 end
local function ceil(x) return math.type(x) == "integer" and x or math.ceil(x) + 0.0 end

local function trunc(x) return math.type(x) == "integer" and x or (x < 0 and math.ceil(x) or math.floor(x)) + 0.0 end

local function round(x)
  if math.type(x) == "integer" then return x end
  local below = math.floor(x)
  if x - below ~= 0.5 then return math.floor(x + 0.5) end
  return below % 2 == 0 and below or below + 1
end

-- Abramowitz and Stegun 7.1.6, a series of erf without cancellation: enough terms for |x| < 6.
local function erf(x)
  if math.abs(x) > 6 then return sign(x) end
  local term, sum = x, x
  for n = 1, 200 do
    term = term * 2 * x * x / (2 * n + 1)
    sum = sum + term
  end
  return 2 / math.sqrt(math.pi) * math.exp(-x * x) * sum
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local function tanh(x) return 1 - 2 / (math.exp(2 * x) + 1) end
local function within_one(x) return math.abs(x) <= 1 end
local function below_one(x) return math.abs(x) < 1 end
local function angles(random) return { random(300, 201):tanh() * 0.99 } end
local function positive(x) return x > 0 end
local function not_zero(x) return x ~= 0 end
local function not_whole(x) return x ~= math.floor(x) end
local function not_half(x) return x * 2 ~= math.floor(x * 2) end
local function different(x, y) return x ~= y end

local function power(x, y)
  if math.type(x) ~= "integer" or math.type(y) ~= "integer" then return x ^ y end
  if y < 0 then return x == 1 and 1 or x == -1 and (y % 2 == 0 and 1 or -1) or 0 end
  local p = 1
  for _ = 1, y do p = p * x end
  return p
end

local unary = {
  neg = { of = function(x) return -x end, integers = "same", bools = false },
  abs = { of = math.abs, integers = "same", bools = false, smooth = not_zero },
  sign = { of = sign, integers = "same", bools = false, smooth = not_zero },
  square = { of = function(x) return x * x end, integers = "same", bools = false },
  sqrt = { of = math.sqrt, integers = "float32", bools = "float32", takes = positive },
  rsqrt = { of = function(x) return 1 / math.sqrt(x) end, integers = "float32", bools = "float32", takes = positive },
  reciprocal = { of = function(x) return 1 / x end, integers = "float32", bools = "float32", takes = not_zero },
  exp = { of = math.exp, integers = "float32", bools = "float32" },
  expm1 = { of = function(x) return math.exp(x) - 1 end, integers = "float32", bools = "float32" },
  log = { of = math.log, integers = "float32", bools = "float32", takes = positive },
  log1p = { of = function(x) return math.log(1 + x) end, integers = "float32", bools = "float32",
    takes = function(x) return x > -1 end },
  tanh = { of = tanh, integers = "float32", bools = "float32" },
  sigmoid = { of = sigmoid, integers = "float32", bools = "float32" },
  relu = { of = function(x) return x > 0 and x or 0 end, integers = "same", bools = false, smooth = not_zero },
  gelu = { of = function(x) return x * 0.5 * (1 + erf(x / math.sqrt(2))) end, integers = "float32", bools = "float32",
    rtol = 2e-6 }, -- the tail 1 + erf cancels
  softplus = { of = function(x) return math.log(1 + math.exp(x)) end, integers = "float32", bools = "float32" },
  silu = { of = function(x) return x * sigmoid(x) end, integers = "float32", bools = "float32" },
  sin = { of = math.sin, integers = "float32", bools = "float32" },
  cos = { of = math.cos, integers = "float32", bools = "float32" },
  floor = { of = floor, integers = "same", bools = false, smooth = not_whole },
  ceil = { of = ceil, integers = "same", bools = false, smooth = not_whole },
  round = { of = round, integers = "same", bools = false, smooth = not_half },
  logical_not = { of = function(x) return x == 0 or x == false end, result = "bool", integers = "bool",
    bools = "bool" },
  isnan = { of = function(x) return x ~= x end, result = "bool", integers = "bool", bools = "bool" },
  isfinite = { of = function() return true end, result = "bool", integers = "bool", bools = "bool" },
  tan = { of = math.tan, integers = "float32", bools = "float32" },
  asin = { of = math.asin, integers = "float32", bools = "float32", takes = within_one, smooth = below_one,
    large = angles },
  acos = { of = math.acos, integers = "float32", bools = "float32", takes = within_one, smooth = below_one,
    large = angles },
  atan = { of = function(x) return math.atan(x) end, integers = "float32", bools = "float32" },
  sinh = { of = function(x) return (math.exp(x) - math.exp(-x)) / 2 end, integers = "float32", bools = "float32" },
  cosh = { of = function(x) return (math.exp(x) + math.exp(-x)) / 2 end, integers = "float32", bools = "float32" },
  erf = { of = erf, integers = "float32", bools = "float32" },
  exp2 = { of = function(x) return 2.0 ^ x end, integers = "float32", bools = "float32" },
  log2 = { of = function(x) return math.log(x, 2) end, integers = "float32", bools = "float32", takes = positive },
  log10 = { of = function(x) return math.log(x, 10) end, integers = "float32", bools = "float32", takes = positive },
  trunc = { of = trunc, integers = "same", bools = false, smooth = not_whole },
  isinf = { of = function() return false end, result = "bool", integers = "bool", bools = "bool" },
  clone = { of = function(x) return x end, integers = "same", bools = "same" },
  contiguous = { of = function(x) return x end, integers = "same", bools = "same" },
}

local function both(x, y) return x ~= 0 and x ~= false and y ~= 0 and y ~= false end
local function either(x, y) return x ~= 0 and x ~= false or y ~= 0 and y ~= false end
local function number(x) return x == true and 1 or x == false and 0 or x end

local function comparison(f)
  return { of = function(x, y) return f(number(x), number(y)) end, result = "bool", integers = "bool", bools = "bool" }
end

local binary = {
  add = { of = function(x, y) return x + y end, integers = "same", bools = "or" },
  sub = { of = function(x, y) return x - y end, integers = "same", bools = false,
    bools_hint = "; logical_not inverts a mask, to makes numbers of it" },
  mul = { of = function(x, y) return x * y end, integers = "same", bools = "and" },
  div = { of = function(x, y) return x / y end, integers = "float32", takes = function(_, y) return y ~= 0 end },
  pow = { of = power, integers = "same", bools = false, takes = function(x, y) return x > 0 and math.abs(y) < 5 end },
  maximum = { of = math.max, integers = "same", bools = "or", smooth = different },
  minimum = { of = math.min, integers = "same", bools = "and", smooth = different },
  remainder = { of = function(x, y) return x % y end, integers = "same", bools = false,
    takes = function(_, y) return y ~= 0 end,
    smooth = function(x, y) return not_whole(x / y) end },
  floor_divide = { of = function(x, y) return x // y end, integers = "same", bools = false,
    takes = function(_, y) return y ~= 0 end,
    smooth = function(x, y) return not_whole(x / y) end },
  atan2 = { of = math.atan, integers = "float32", takes = function(x, y) return x ~= 0 or y ~= 0 end,
    smooth = function(x) return x ~= 0 end },
  eq = comparison(function(x, y) return x == y end),
  ne = comparison(function(x, y) return x ~= y end),
  lt = comparison(function(x, y) return x < y end),
  le = comparison(function(x, y) return x <= y end),
  gt = comparison(function(x, y) return x > y end),
  ge = comparison(function(x, y) return x >= y end),
  logical_and = { of = both, result = "bool", integers = "bool", bools = "bool", tensors_only = true,
    rest = { lurn.ones(3) } },
  logical_or = { of = either, result = "bool", integers = "bool", bools = "bool", tensors_only = true,
    rest = { lurn.ones(3) } },
  logical_xor = { of = function(x, y) return both(x, x) ~= both(y, y) end, result = "bool", integers = "bool",
    bools = "bool", tensors_only = true,
    rest = { lurn.ones(3) } },
}

return { unary = unary, binary = binary }
