--- Activations with a parameter, running sums, statistics, rearranging, vector products.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan, inf = naive.nan, math.huge

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local x34 = lurn.zeros(3, 4)
local whole = lurn.ones(2, { dtype = "int64" })
local grid = { { 1, 5, 3 }, { 4, 2, 6 } }
local apart = f64 { { -2, -0.5, 0.25 }, { 0.5, 3, -0.75 } } -- far enough from where slopes jump
local with_zeros = f64 { { 0.5, 0, 2 }, { 0, -1.5, 0 }, { 3, 0.25, -1 } }
local to_int64 = { int64 = "int64", int32 = "int64", uint8 = "int64", bool = "int64" }
local bad_dim = "%s: dimension 3 of a tensor with 2; expected 1..2 or -2..-1"

local function not_float(name) return { { whole }, name .. ": x is int64; expected float32 or float64" } end
local function twice(name, ...) return { { x34, ... }, name .. ": dimension 1 is named twice" } end
local function large(random32) return { random32(300, 201) } end
local function large_dim(random32) return { random32(130, 40, 3), 2 } end

return {
  elu = {
    rest = {},
    samples = {
      { "floats", function(T) return { T { -1, 0, 2, -inf, nan } }, { math.exp(-1) - 1, 0, 2, -1, nan } end },
      { "floats", function(T) return { T { { -1 }, { 2 } }:t(), { alpha = 0.5 } },
        { { (math.exp(-1) - 1) / 2, 2 } } end },
    },
    errors = { not_float "elu" },
    grads = { { function(x) return x:elu() end, apart }, { function(x) return x:t():elu(0.5) * 2 end, apart } },
    large = large,
  },
  leaky_relu = {
    rest = {},
    samples = {
      { "floats", function(T) return { T { -1, 0, 2, -inf, nan } }, { -0.01, 0, 2, -inf, nan } end },
      { "floats", function(T) return { T { { -1 }, { 2 } }:t(), 0.5 }, { { -0.5, 2 } } end },
    },
    errors = { not_float "leaky_relu" },
    grads = { { function(x) return x:leaky_relu() end, apart },
      { function(x) return x:t():leaky_relu(0.5) * 2 end, apart } },
    large = large,
  },
  hardtanh = {
    rest = {},
    samples = {
      { "floats", function(T) return { T { -3, 0.5, 2, nan } }, { -1, 0.5, 1, nan } end },
      { "floats", function(T) return { T { -3, 0.5, 2 }, 0, 6 }, { 0, 0.5, 2 } end },
    },
    errors = { not_float "hardtanh",
      { { x34, 2, 1 }, "hardtanh: min_val is 2 and max_val 1; expected min_val <= max_val" } },
    grads = { { function(x) return x:hardtanh() end, apart },
      { function(x) return x:t():hardtanh(0, 2) * 2 end, apart } },
    large = large,
  },

  cumsum = {
    rest = { -1 },
    samples = {
      { "all", function(T) return { T { 1, 0, 1, 1 }, 1 }, { 1, 1, 2, 3 } end, to_int64 },
      { "numbers", function(T) return { T(grid), 1 }, { { 1, 5, 3 }, { 5, 7, 9 } } end, to_int64 },
      { "numbers", function(T) return { T(grid):t(), -2 }, { { 1, 4 }, { 6, 6 }, { 9, 12 } } end, to_int64 },
      { "floats", function(T) return { T { {}, {} }, 2 }, { {}, {} } end },
      { "floats", function(T) return { T(3), 1 }, 3 end },
    },
    errors = { { { x34, 3 }, bad_dim:format "cumsum" }, { { x34 }, "cumsum: dim is missing" } },
    grads = { { function(x) return x:cumsum(2) * x end, random(2, 3, 2) },
      { function(x) return x:t():cumsum(1) end, random(2, 3) } },
    large = large_dim,
  },
  cumprod = {
    rest = { -1 },
    samples = {
      { "all", function(T) return { T { 1, 1, 0, 1 }, 1 }, { 1, 1, 0, 0 } end, to_int64 },
      { "numbers", function(T) return { T(grid), 2 }, { { 1, 5, 15 }, { 4, 8, 48 } } end, to_int64 },
      { "numbers", function(T) return { T(grid):t(), 2 }, { { 1, 4 }, { 5, 10 }, { 3, 18 } } end, to_int64 },
      { "floats", function(T) return { T { {}, {} }, 1 }, { {}, {} } end },
    },
    errors = { { { x34, 3 }, bad_dim:format "cumprod" }, { { x34 }, "cumprod: dim is missing" } },
    grads = {
      { function(x) return x:cumprod(2) * 2 end, with_zeros }, { function(x) return x:cumprod(1) end, with_zeros },
      { function(x) return x:t():cumprod(1) end, random(2, 3) },
    },
    large = large_dim,
  },
  cummax = {
    samples = {
      { "numbers", function(T) return { T { 1, 3, 3, 2, 5, 5, 1 }, 1 }, { 1, 3, 3, 3, 5, 5, 5 },
        { 1, 2, 3, 3, 5, 6, 6 } end },
      { "all", function(T) return { T { 1, 0, 1 }, -1 }, { 1, 1, 1 }, { 1, 1, 3 } end },
      { "numbers", function(T) return { T(grid), 1 }, { { 1, 5, 3 }, { 4, 5, 6 } }, { { 1, 1, 1 }, { 2, 1, 2 } } end },
      { "numbers", function(T) return { T(grid):t(), 1 }, { { 1, 4 }, { 5, 4 }, { 5, 6 } },
        { { 1, 1 }, { 2, 1 }, { 2, 3 } } end },
      { "floats", function(T) return { T { -inf, 1, nan, 3, nan, inf }, 1 }, { -inf, 1, nan, nan, nan, nan },
        { 1, 2, 3, 3, 5, 5 } end },
      { "all", function(T) return { T(1), 1 }, 1, 1 end },
      { "floats", function(T) return { T { {}, {} }, 2 }, { {}, {} }, { {}, {} } end },
    },
    errors = { { { x34, 3 }, bad_dim:format "cummax" }, { { x34 }, "cummax: dim is missing" } },
    grads = { { function(x) return (x:cummax(2)) * x end, random(2, 5, 2) },
      { function(x) return (x:t():cummax(1)):square() end, random(2, 6) } },
    large = large_dim,
  },
  cummin = {
    samples = {
      { "numbers", function(T) return { T { 5, 3, 3, 4, 1, 1, 2 }, 1 }, { 5, 3, 3, 3, 1, 1, 1 },
        { 1, 2, 3, 3, 5, 6, 6 } end },
      { "all", function(T) return { T { 1, 0, 1 }, -1 }, { 1, 0, 0 }, { 1, 2, 2 } end },
      { "numbers", function(T) return { T(grid), 2 }, { { 1, 1, 1 }, { 4, 2, 2 } }, { { 1, 1, 1 }, { 1, 2, 2 } } end },
      { "floats", function(T) return { T { inf, 1, nan, 3, nan, -inf }, 1 }, { inf, 1, nan, nan, nan, nan },
        { 1, 2, 3, 3, 5, 5 } end },
      { "floats", function(T) return { T { {}, {} }, 1 }, { {}, {} }, { {}, {} } end },
    },
    errors = { { { x34, -3 }, "cummin: dimension -3 of a tensor with 2; expected 1..2 or -2..-1" },
      { { x34, 0 }, "cummin: dim is 0; counting starts at 1, or at -1 from the end" } },
    grads = { { function(x) return (x:cummin(2)) * x end, random(2, 5, 2) },
      { function(x) return (x:t():cummin(1)):square() end, random(2, 6) } },
    large = large_dim,
  },
  logcumsumexp = {
    rest = { -1 },
    samples = {
      { "floats", function(T) return { T { 0, 0, 0 }, 1 }, { 0, math.log(2), math.log(3) } end },
      { "floats", function(T) return { T { { 0, 1 }, { 0, 1 } }:t(), 2 },
        { { 0, math.log(2) }, { 1, 1 + math.log(2) } } end },
      { "floats", function(T) return { T { 1000, -1000, 1000 }, 1 }, { 1000, 1000, 1000 + math.log(2) } end },
      { "floats", function(T) return { T { -inf, -inf, 1, inf, 2 }, 1 }, { -inf, -inf, 1, inf, inf } end },
      { "floats", function(T) return { T { 1, nan, inf }, 1 }, { 1, nan, nan } end },
      { "floats", function(T) return { T { {}, {} }, 1 }, { {}, {} } end },
      { "floats", function(T) return { T(3), 1 }, 3 end },
    },
    errors = { { { x34, 3 }, bad_dim:format "logcumsumexp" }, { { x34 }, "logcumsumexp: dim is missing" },
      { { whole, 1 }, "logcumsumexp: x is int64; expected float32 or float64" } },
    grads = { { function(x) return x:logcumsumexp(2) * x end, random(2, 4, 2) },
      { function(x) return x:t():logcumsumexp(1):sin() end, random(2, 3) },
      { function(x) return x:logcumsumexp(1) end, f64 { 700, -700, 699, 701 } } },
    large = large_dim,
  },

  prod = {
    samples = {
      { "numbers", function(T) return { T { { 1, 2 }, { 3, 4 } } }, 24 end, to_int64 },
      { "numbers", function(T) return { T(grid), 1 }, { 4, 10, 18 } end, to_int64 },
      { "numbers", function(T) return { T(grid):t(), { dim = 1, keepdim = true } }, { { 15, 48 } } end, to_int64 },
      { "floats", function(T) return { T { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } } }, { 1, 3 } },
        { 60, 672 } end },
      { "all", function(T) return { T { 1, 0, 1 } }, 0 end, to_int64 },
      { "floats", function(T) return { T { {}, {} }, 2 }, { 1, 1 } end },
      { "floats", function(T) return { T(3) }, 3 end },
    },
    errors = { { { x34, 3 }, bad_dim:format "prod" }, twice("prod", { 1, -2 }) },
    grads = {
      { function(x) return x:prod(2) end, with_zeros }, { function(x) return x:prod(1, true) * x end, with_zeros },
      { function(x) return x:prod() end, f64 { 2, 0, 3 } }, { function(x) return x:prod() end, f64 { 0, 0, 3 } },
      { function(x) return x:transpose(1, 3):prod { 1, 3 } end, random(2, 2, 3) },
    },
    large = function(random32) return { random32(130, 40, 3), 2 } end,
  },
  var = {
    samples = {
      { "floats", function(T) return { T(grid) }, 3.5 end },
      { "floats", function(T) return { T(grid), 2 }, { 4, 4 } end },
      { "floats", function(T) return { T(grid):t(), { dim = 1, correction = 0, keepdim = true } },
        { { 8 / 3, 8 / 3 } } end },
      { "floats", function(T) return { T { 2 } }, nan end },
      { "floats", function(T) return { T {} }, nan end },
      { "floats", function(T) return { T { 1, 3 }, { correction = 3 } }, inf end },
    },
    errors = { { { x34, 3 }, bad_dim:format "var" }, twice("var", { 1, -2 }), not_float "var" },
    grads = { { function(x) return x:var(2) end, random(2, 3) }, { function(x) return x:t():var() end, random(2, 3) },
      { function(x) return x:var({ 1, 3 }, 0, true) end, random(2, 3, 2) } },
    large = large_dim,
  },
  std = {
    samples = {
      { "floats", function(T) return { T(grid) }, math.sqrt(3.5) end },
      { "floats", function(T) return { T(grid), 2 }, { 2, 2 } end },
      { "floats", function(T) return { T(grid):t(), { dim = 1, correction = 0, keepdim = true } },
        { { math.sqrt(8 / 3), math.sqrt(8 / 3) } } end },
      { "floats", function(T) return { T { 2 } }, nan end },
    },
    errors = { { { x34, 3 }, bad_dim:format "std" }, twice("std", { 1, -2 }), not_float "std" },
    grads = { { function(x) return x:std(2) end, random(2, 3) }, { function(x) return x:t():std() end, random(2, 3) },
      { function(x) return x:std({ 1, 3 }, 0, true) end, random(2, 3, 2) } },
    large = large_dim,
  },
  norm = {
    samples = {
      { "floats", function(T) return { T { { 3, 0 }, { 0, -4 } } }, 5 end },
      { "floats", function(T) return { T { { 3, 4 }, { 0, 0 } }, { dim = 2, keepdim = true } }, { { 5 }, { 0 } } end },
      { "floats", function(T) return { T { { 3, -4 }, { 1, -1 } }:t(), 1, 1 }, { 7, 2 } end },
      { "floats", function(T) return { T { 1, -2 }, 3 }, 9 ^ (1 / 3) end },
      { "floats", function(T) return { T { 1, -2 }, inf }, 2 end },
      { "floats", function(T) return { T { 1, -2 }, -inf }, 1 end },
      { "floats", function(T) return { T {} }, 0 end },
    },
    errors = {
      { { x34, 2, 3 }, bad_dim:format "norm" }, twice("norm", 2, { 1, -2 }), not_float "norm",
      { { lurn.zeros(0, 3), inf }, "norm: no elements to choose from in shape (0, 3)" },
    },
    grads = {
      { function(x) return x:norm() end, apart }, { function(x) return x:t():norm(2, 1, true) * x:t() end, apart },
      { function(x) return x:norm(1, 2) end, apart }, { function(x) return x:norm(3, 1) end, apart },
      { function(x) return x:norm(inf, 1) end, apart }, { function(x) return x:norm(-inf) end, apart },
    },
    large = function(random32) return { random32(130, 40, 3), 2, 2 } end,
  },

  flip = {
    samples = {
      { "numbers", function(T) return { T(grid), 2 }, { { 3, 5, 1 }, { 6, 2, 4 } } end },
      { "numbers", function(T) return { T(grid):t(), { 1, -1 } }, { { 6, 3 }, { 2, 5 }, { 4, 1 } } end },
      { "numbers", function(T) return { T(grid) }, { { 6, 2, 4 }, { 3, 5, 1 } } end },
      { "all", function(T) return { T {} }, {} end },
      { "all", function(T) return { T(1) }, 1 end },
    },
    errors = { { { x34, 3 }, bad_dim:format "flip" }, twice("flip", { 1, -2 }) },
    grads = { { function(x) return x:flip(2) * x end, random(2, 3) },
      { function(x) return x:t():flip() end, random(2, 3) } },
    large = large_dim,
  },
  roll = {
    samples = {
      { "numbers", function(T) return { T(grid), 1, 2 }, { { 3, 1, 5 }, { 6, 4, 2 } } end },
      { "numbers", function(T) return { T(grid):t(), -4, 1 }, { { 5, 2 }, { 3, 6 }, { 1, 4 } } end },
      { "numbers", function(T) return { T { 1, 2, 3 }, math.mininteger, -1 }, { 3, 1, 2 } end },
      { "all", function(T) return { T {}, 3, 1 }, {} end },
      { "all", function(T) return { T(1), 3, 1 }, 1 end },
    },
    errors = { { { x34, 1, 3 }, bad_dim:format "roll" }, { { x34 }, "roll: shift is missing" } },
    grads = { { function(x) return x:roll(1, 2) * x end, random(2, 3) },
      { function(x) return x:t():roll(-2, 1) end, random(2, 3) } },
    large = function(random32) return { random32(130, 40, 3), 7, 2 } end,
  },
  tile = {
    samples = {
      { "all", function(T) return { T { 1, 0 }, 2 }, { 1, 0, 1, 0 } end },
      { "numbers", function(T) return { T { { 1, 2 }, { 3, 4 } }:t(), 2, 1 },
        { { 1, 3 }, { 2, 4 }, { 1, 3 }, { 2, 4 } } end },
      { "numbers", function(T) return { T { 1, 2 }, 2, 2 }, { { 1, 2, 1, 2 }, { 1, 2, 1, 2 } } end },
      { "numbers", function(T) return { T { { 1 }, { 2 } }, 2 }, { { 1, 1 }, { 2, 2 } } end },
      { "all", function(T) return { T { 1 }, 0 }, {} end },
      { "all", function(T) return { T(1), 2 }, { 1, 1 } end },
    },
    errors = {
      { { x34, 2, -1 }, "tile: -1 copies; expected at least 0" },
      { { x34, math.maxinteger }, "tile: 9223372036854775807 copies are larger than memory can be" },
      { { x34, 1 << 40, 1 << 30 },
        "tile: a tensor of shape (3298534883328, 4294967296) is larger than memory can be" },
    },
    grads = {
      { function(x) return x:tile(2, 3) end, random(2, 3) },
      { function(x) return x:t():tile(2, 1, 2) end, random(2, 3) },
      { function(x) return x:tile(0, 2) end, random(2, 3) }, { function(x) return x:tile(3) end, f64(2) },
    },
    large = function(random32) return { random32(130, 40), 2, 3 } end,
  },
  pad = {
    samples = {
      { "numbers", function(T) return { T(grid), 2, 1, 2 }, { { 0, 1, 5, 3, 0, 0 }, { 0, 4, 2, 6, 0, 0 } } end },
      { "numbers", function(T) return { T(grid):t(), 1, 0, 1, 7 }, { { 1, 4 }, { 5, 2 }, { 3, 6 }, { 7, 7 } } end },
      { "all", function(T) return { T {}, -1, 1, 1, { value = 1 } }, { 1, 1 } end },
      { "floats", function(T) return { T { 1 }, 1, 1, 0, -inf }, { -inf, 1 } end },
    },
    errors = {
      { { x34, 3, 1, 1 }, bad_dim:format "pad" },
      { { x34, 1, -1, 0 }, "pad: before is -1 and after 0; expected at least 0" },
      { { x34, 1, math.maxinteger, 0 }, "pad: the result is larger than memory can be" },
      { { lurn.tensor(1), 1, 1, 1 }, "pad: a scalar has no ends" },
    },
    grads = { { function(x) return x:pad(2, 1, 2) * 2 end, random(2, 3) },
      { function(x) return x:t():pad(1, 0, 1, 3) end, random(2, 3) } },
    large = function(random32) return { random32(130, 40, 3), 2, 3, 4 } end,
  },

  dot = {
    samples = {
      { "floats", function(T) return { T { 1, 2, 3 }, T { 4, 5, 6 } }, 32 end },
      { "floats", function(T) return { T {}, T {} }, 0 end },
    },
    errors = {
      { { lurn.zeros(3), lurn.zeros(2) }, "dot: shapes are (3) and (2); expected two vectors of one length" },
      { { x34, x34 }, "dot: shapes are (3, 4) and (3, 4); expected two vectors of one length" },
      { { whole, whole }, "dot: a is int64; expected float32 or float64" },
    },
    grads = { { function(a, b) return a:dot(b) * 2 end, random(3), random(3) },
      { function(a) return a:dot(a) end, random(3) } },
    large = function(random32) return { random32(30000), random32(30000) } end,
  },
  cdist = {
    samples = {
      { "floats", function(T) return { T { { 0, 0 }, { 3, 4 } }, T { { 0, 0 }, { 3, 0 }, { 0, 1 } } },
        { { 0, 3, 1 }, { 5, 4, math.sqrt(18) } } end },
      { "floats", function(T) return { T { { 0, 3 }, { 0, 4 } }:t(), T { { 1, 1 } }, 1 }, { { 2 }, { 5 } } end },
      { "floats", function(T) return { T { { { 0, 0 } }, { { 3, 4 } } }, T { { 1, 1 } }, inf },
        { { { 1 } }, { { 3 } } } end },
      { "floats", function(T) return { T { { 1, 2, 3 } }, T { { 1, 0, 5 }, { 1, 2, 3 } }, { p = 0 } },
        { { 2, 0 } } end },
      { "floats", function(T) return { T { { 0, 0 } }, T { { 1, 4 } }, 0.5 }, { { 9 } } end },
      { "floats", function(T) return { T { { 0, nan } }, T { { 1, 4 } }, inf }, { { nan } } end },
      { "floats", function(T) return { T { { 1 } }, f64 { { 0.5 } } }, { { 0.5 } } end, "float64" },
      { "floats", function(T) return { T { {}, {} }, T { {} } }, { { 0 }, { 0 } } end },
      { "floats", function(T) return { T { { 1, 2 } }, T { { 1, 2 } }:narrow(1, 1, 0) }, { {} } end },
    },
    errors = {
      { { x34, lurn.zeros(2, 3) }, "cdist: shapes are (3, 4) and (2, 3); expected (..., P, D) and (..., R, D)" },
      { { lurn.zeros(4), x34 }, "cdist: shapes are (4) and (3, 4); expected (..., P, D) and (..., R, D)" },
      { { lurn.zeros(2, 3, 4), lurn.zeros(3, 3, 4) },
        "cdist: shapes are (2, 3, 4) and (3, 3, 4); expected (..., P, D) and (..., R, D)" },
      { { x34, x34, -1 }, "cdist: p is -1; expected at least 0" },
      { { x34, lurn.ones(3, 4, { dtype = "int64" }) }, "cdist: b is int64; expected float32 or float64" },
    },
    grads = {
      { function(a, b) return a:cdist(b) * 2 end, random(3, 4), random(2, 4) },
      { function(a, b) return a:cdist(b:t(), 3):sin() end, random(2, 1, 3, 2), random(2, 5) },
      { function(a, b) return a:cdist(b, 1) end, random(3, 4), random(2, 2, 4) },
      { function(a, b) return a:cdist(b, inf) end, random(3, 4), random(2, 4) },
      { function(a, b) return a:cdist(b, 1.5) end, random(3, 4), random(2, 4) },
      { function(a) return a:cdist(a):square() end, random(3, 2) },
    },
    large = function(random32) return { random32(2, 120, 9), random32(70, 9) } end,
  },
  outer = {
    samples = {
      { "numbers", function(T) return { T { 1, 2 }, T { 3, 4, 5 } }, { { 3, 4, 5 }, { 6, 8, 10 } } end },
      { "all", function(T) return { T { 1, 0 }, T { 1 } }, { { 1 }, { 0 } } end },
      { "numbers", function(T) return { T { 1, 2 }, f64 { 0.5 } }, { { 0.5 }, { 1 } } end, "float64" },
      { "all", function(T) return { T { 1, 0 }, T {} }, { {}, {} } end },
    },
    errors = { { { x34, lurn.zeros(2) }, "outer: shapes are (3, 4) and (2); expected two vectors" } },
    grads = { { function(a, b) return a:outer(b) end, random(3), random(2) },
      { function(a) return a:outer(whole) * 2 end, random(3) } },
    large = function(random32) return { random32(300), random32(201) } end,
  },
  addmm = {
    samples = {
      { "floats", function(T) return { T { 1, 2 }, T { { 1, 2 }, { 3, 4 } }, T { { 1, 0 }, { 0, 1 } } },
        { { 2, 4 }, { 4, 6 } } end },
      { "floats", function(T) return { T { { 1 }, { 2 } }, T { { 1, 2 }, { 3, 4 } }:t(), T { { 1 }, { 1 } }, 2, 0.5 },
        { { 4 }, { 7 } } end },
      { "floats", function(T) return { T(nan), T { { 2 } }, T { { 3 } }, { beta = 0 } }, { { 6 } } end },
    },
    errors = {
      { { x34, x34, x34 }, "addmm: a has shape (3, 4) and b (3, 4); expected (n, k) and (k, m)" },
      { { lurn.zeros(3), x34, x34:t():narrow(2, 1, 2) }, "addmm: input of shape (3) does not broadcast to (3, 2)" },
      { { lurn.zeros(2, 3, 3), x34, x34:t() }, "addmm: input of shape (2, 3, 3) does not broadcast to (3, 3)" },
      { { f64(1), x34, x34:t() }, "addmm: input is float64, a float32, b float32; expected all the same" },
      { { whole, whole, whole }, "addmm: a is int64; expected float32 or float64" },
    },
    grads = {
      { function(i, a, b) return lurn.addmm(i, a, b) end, random(2), random(3, 4), random(4, 2) },
      { function(i, a, b) return lurn.addmm(i, a:t(), b, 0.5, -2) end, random(3, 1), random(4, 3), random(4, 2) },
      { function(i, a, b) return lurn.addmm(i, a, b, 0) + i end, random(2), random(3, 4), random(4, 2) },
    },
    large = function(random32) return { random32(50), random32(130, 70), random32(70, 50), 0.5, 2 } end,
  },
}
