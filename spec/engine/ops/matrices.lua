--- Diagonals and triangles, counting, values in order, and functions that are not defined for every dtype.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan, inf = naive.nan, math.huge

local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end
local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local x34 = lurn.zeros(3, 4)
local grid = { { 1, 2, 3 }, { 4, 5, 6 } }
local cube = { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } } }
local square = { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 } }

local function bad_dim(name, first)
  return { { x34, 3, first }, name .. ": dimension 3 of a tensor with 2; expected 1..2 or -2..-1" }
end
local function matrix(random32) return { random32(300, 201) } end
local function along(random32) return { random32(130, 40, 3), 2 } end

local flat_errors = { { { lurn.ones(3) }, "%s: x has shape (3); expected at least 2 dimensions" } }
local function triangle(samples, name)
  return {
    samples = samples,
    errors = { { flat_errors[1][1], flat_errors[1][2]:format(name) },
      { { x34, 1.5 }, name .. ": diagonal: expected a whole number, got 1.5" } },
    grads = { { function(x) return x:t()[name](x:t(), 1) ^ 2 end, random(3, 4) },
      { function(x) return x[name](x, -1) ^ 2 end, random(2, 3, 3) } },
    rest = function(x) return { x.shape[1] == 1 and 1 or 0 } end, -- row 2 of a matrix has this alone, too
    large = matrix,
  }
end

return {
  frac = {
    rest = {},
    samples = { { "floats", function(T) return { T { -2.75, 0.5, 3, nan } }, { -0.75, 0.5, 0, nan } end } },
    errors = { { { ids { 1 } }, "frac: x is int64; expected float32 or float64" } },
    grads = { { function(x) return x:t():frac() * 2 end, f64 { { 0.3, -1.6 }, { 2.2, 0.7 } } } },
    large = matrix,
  },
  lerp = {
    rest = { 2, 0.25 },
    samples = {
      { "floats", function(T) return { T { 1, 2 }, T { 3, 6 }, 0.5 }, { 2, 4 } end },
      { "floats", function(T) return { T(grid), T { 0, 0, 0 }, T { { 1 }, { 0 } } }, { { 0, 0, 0 }, { 4, 5, 6 } } end },
      { "floats", function(T) return { T { 1, 2 }, 5, 0.25 }, { 2, 2.75 } end },
    },
    errors = {
      { { ids { 1 }, 2, 0.5 }, "lerp: a is int64; expected float32 or float64" },
      { { lurn.ones(2), lurn.ones(3), 0.5 }, "lerp: shapes (2), (3) and () do not broadcast" },
    },
    grads = { { function(a, b, w) return lurn.lerp(a:t(), b, w) end, random(2, 3), random(3, 2), random(2) } },
    large = function(random32) return { random32(300, 200), random32(200), 0.25 } end,
  },

  diagonal = {
    samples = {
      { "numbers", function(T) return { T(grid) }, { 1, 5 } end },
      { "numbers", function(T) return { T(grid), 1 }, { 2, 6 } end },
      { "numbers", function(T) return { T(grid):t(), -1 }, { 2, 6 } end },
      { "numbers", function(T) return { T(grid), 3 }, {} end },
      { "numbers", function(T) return { T(grid), math.mininteger }, {} end },
      { "numbers", function(T) return { T(cube), 0, 1, 3 }, { { 1, 6 }, { 3, 8 } } end },
      { "numbers", function(T) return { T(cube), { dim1 = -1, dim2 = -2 } }, { { 1, 4 }, { 5, 8 } } end },
    },
    errors = {
      { { lurn.ones(3) }, "diagonal: a tensor of shape (3) has no diagonal; expected at least 2 dimensions" },
      { { x34, 0, 1, -2 }, "diagonal: dimension 1 is named twice" },
      { { x34, 0, 1, 3 }, "diagonal: dimension 3 of a tensor with 2; expected 1..2 or -2..-1" },
    },
    grads = { { function(x) return x:t():diagonal(1) ^ 2 end, random(3, 4) },
      { function(x) return x:diagonal(0, 3, 1) ^ 2 end, random(2, 3, 2) } },
    large = function(random32) return { random32(40, 300, 200), 2, 2, 3 } end,
  },
  diag = {
    samples = {
      { "numbers", function(T) return { T { 1, 2 } }, { { 1, 0 }, { 0, 2 } } end },
      { "numbers", function(T) return { T { 1 }, -1 }, { { 0, 0 }, { 1, 0 } } end },
      { "numbers", function(T) return { T { 1 }, 1 }, { { 0, 1 }, { 0, 0 } } end },
      { "numbers", function(T) return { T(grid):t() }, { 1, 5 } end },
    },
    errors = {
      { { lurn.tensor(1) }, "diag: x has shape (); expected a vector or a matrix" },
      { { lurn.ones(2), math.mininteger }, "diag: the result is larger than memory can be" },
    },
    grads = { { function(x) return x:diag(-1) ^ 2 end, random(3) },
      { function(x) return x:diag(1) ^ 2 end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), -5 } end,
  },
  tril = triangle({
    { "numbers", function(T) return { T(square) }, { { 1, 0, 0 }, { 4, 5, 0 }, { 7, 8, 9 } } end },
    { "numbers", function(T) return { T(square):t(), 1 }, { { 1, 4, 0 }, { 2, 5, 8 }, { 3, 6, 9 } } end },
    { "numbers", function(T) return { T(square), -1 }, { { 0, 0, 0 }, { 4, 0, 0 }, { 7, 8, 0 } } end },
    { "numbers", function(T) return { T(cube), 0 }, { { { 1, 0 }, { 3, 4 } }, { { 5, 0 }, { 7, 8 } } } end },
    { "numbers", function(T) return { T(grid), math.maxinteger }, grid end },
    { "numbers", function(T) return { T(grid), math.mininteger }, { { 0, 0, 0 }, { 0, 0, 0 } } end },
    { "all", function(T) return { T { {}, {} } }, { {}, {} } end },
  }, "tril"),
  triu = triangle({
    { "numbers", function(T) return { T(square) }, { { 1, 2, 3 }, { 0, 5, 6 }, { 0, 0, 9 } } end },
    { "numbers", function(T) return { T(square):t(), 1 }, { { 0, 4, 7 }, { 0, 0, 8 }, { 0, 0, 0 } } end },
    { "numbers", function(T) return { T(grid), -1 }, grid end },
    { "numbers", function(T) return { T(grid), math.maxinteger }, { { 0, 0, 0 }, { 0, 0, 0 } } end },
    { "numbers", function(T) return { T(grid), math.mininteger }, grid end },
  }, "triu"),

  any = {
    samples = {
      { "all", function(T) return { T { { 0, 0 }, { 0, 1 } } }, true end, "bool" },
      { "all", function(T) return { T { { 0, 0 }, { 0, 1 } }, 2 }, { false, true } end, "bool" },
      { "all", function(T) return { T { { 0, 0 }, { 0, 1 } }:t(), { dim = 1, keepdim = true } },
        { { false, true } } end, "bool" },
      { "floats", function(T) return { T { 0, nan } }, true end, "bool" },
      { "all", function(T) return { T {} }, false end, "bool" },
    },
    errors = { bad_dim "any" },
    large = along,
  },
  all = {
    samples = {
      { "all", function(T) return { T { { 1, 1 }, { 0, 1 } } }, false end, "bool" },
      { "all", function(T) return { T { { 1, 1 }, { 0, 1 } }, 2 }, { true, false } end, "bool" },
      { "all", function(T) return { T { { 1, 1 }, { 0, 1 } }:t(), { dim = 1, keepdim = true } },
        { { true, false } } end, "bool" },
      { "all", function(T) return { T {} }, true end, "bool" },
    },
    errors = { bad_dim "all" },
    large = along,
  },
  count_nonzero = {
    samples = {
      { "all", function(T) return { T { { 1, 0 }, { 1, 1 } } }, 3 end, "int64" },
      { "all", function(T) return { T { { 1, 0 }, { 1, 1 } }, { 2 } }, { 1, 2 } end, "int64" },
      { "all", function(T) return { T {} }, 0 end, "int64" },
    },
    errors = { bad_dim "count_nonzero" },
    large = along,
  },
  median = {
    samples = {
      { "numbers", function(T) return { T { 3, 1, 2 }, 1 }, 2, 3 end },
      { "numbers", function(T) return { T { { 4, 1, 3, 2 }, { 5, 5, 5, 1 } }, 2 }, { 2, 5 }, { 4, 1 } end },
      { "numbers", function(T) return { T(grid):t(), { dim = 1, keepdim = true } }, { { 2, 5 } }, { { 2, 2 } } end },
      { "floats", function(T) return { T { 1, nan, 2 }, 1 }, nan, 2 end },
      { "all", function(T) return { T(1), 1 }, 1, 1 end },
    },
    errors = { bad_dim "median", { { lurn.zeros(0), 1 }, "median: no elements to choose from in shape (0)" } },
    grads = { { function(x) return x:median(2) ^ 2 end, random(3, 4) },
      { function(x) return x:t():median(1, true) end, random(3, 5) }, { function(x) return x:median(1) end, f64(2) } },
    large = along,
  },
  unique = {
    samples = {
      { "numbers", function(T) return { T { { 3, 1 }, { 3, 2 } } }, { 1, 2, 3 }, { { 3, 1 }, { 3, 2 } },
        { 1, 1, 2 } end },
      { "all", function(T) return { T { 1, 0, 1 } }, { 0, 1 }, { 2, 1, 2 }, { 1, 2 } end },
      { "floats", function(T) return { T { nan, 1, nan, -inf } }, { -inf, 1, nan, nan }, { 3, 2, 4, 1 },
        { 1, 1, 1, 1 } end },
      { "all", function(T) return { T {} }, {}, {}, {} end },
    },
    errors = {
      { { 1 }, "unique: x: expected a tensor, got an integer; methods are called with a colon, x:unique(...)" },
    },
    large = function(random32) return { (random32(300, 20) * 10):round() } end,
  },
  searchsorted = {
    samples = {
      { "numbers", function(T) return { T { 1, 3, 3, 5 }, T { 0, 3, 4, 9 } }, { 1, 2, 4, 5 } end, "int64" },
      { "numbers", function(T) return { T { 1, 3, 3, 5 }, T { { 3 }, { 5 } }, { right = true } }, { { 4 }, { 5 } } end,
        "int64" },
      { "floats", function(T) return { T { 1, 2, nan }, T { nan, 1.5 } }, { 3, 2 } end, "int64" },
      { "numbers", function(T) return { T { 1, 3 }, 2 }, 2 end, "int64" },
      { "all", function(T) return { T {}, T { 1 } }, { 1 } end, "int64" },
    },
    errors = { { { x34, 1 }, "searchsorted: sorted has shape (3, 4); expected one dimension" } },
    large = function(random32) return { lurn.linspace(-2, 2, 100), random32(300) } end,
  },
}
