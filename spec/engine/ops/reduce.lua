--- Reductions, sorting and drawing.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan = naive.nan

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local x34 = lurn.zeros(3, 4)
local grid = { { 1, 5, 3 }, { 4, 2, 6 } }
local distinct = f64 { { 0.5, -1.5, 2.25 }, { 3, -0.25, 1 } } -- far enough apart for differences
local bad_dim = "%s: dimension 3 of a tensor with 2; expected 1..2 or -2..-1"

local function errors_of(name, more)
  local list = {
    { { x34, 3 }, bad_dim:format(name) },
    { { x34, 0 }, name .. ": dim is 0; dimensions count from 1, or from -1 at the end" },
    { { x34, { 1, -2 } }, name .. ": dimension 1 is named twice" },
    { { x34, { dim = 1, keep = true } }, name .. ": there is no option keep; known are: dim, keepdim" },
  }
  for _, e in ipairs(more or {}) do list[#list + 1] = e end
  return list
end

local function nothing(name) return { { lurn.zeros(0, 3) }, name .. ": no elements to choose from in shape (0, 3)" } end

local function large(random32) return { random32(130, 300, 3), 2 } end

return {
  sum = {
    samples = {
      { "floats", function(T) return { T(grid) }, 21 end },
      { "floats", function(T) return { T(grid), 1 }, { 5, 7, 9 } end },
      { "floats", function(T) return { T(grid):t(), 1, true }, { { 9, 12 } } end },
      { "floats", function(T) return { T(grid), { dim = { 1, 2 }, keepdim = true } }, { { 21 } } end },
      { "floats", function(T) return { T { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } } }, { 1, 3 } },
        { 14, 22 } end },
      { "floats", function(T) return { T {} }, 0 end },
      { "floats", function(T) return { T { {}, {} }, 2 }, { 0, 0 } end },
      { "floats", function(T) return { T(3) }, 3 end },
      { "all", function(T) return { T { 1, 0, 1 } }, 2 end, { uint8 = "int64", int32 = "int64", bool = "int64" } },
    },
    errors = errors_of "sum",
    grads = {
      { function(x) return x:sum(2) * x:sum { dim = 1, keepdim = true }:sum() end, random(2, 3) },
      { function(x) return x:transpose(1, 3):sum { 1, 3 } end, random(2, 3, 2) },
      { function(x) return x:sum(1) end, random(0, 3) },
      { function(x) return x:sum() end, f64(2) },
    },
    large = large,
  },
  mean = {
    samples = {
      { "floats", function(T) return { T(grid) }, 3.5 end },
      { "floats", function(T) return { T(grid), { dim = -1, keepdim = true } }, { { 3 }, { 4 } } end },
      { "floats", function(T) return { T {} }, nan end },
    },
    errors = errors_of("mean", {
      { { lurn.ones(2, { dtype = "int64" }) }, "mean: x is int64; expected float32 or float64" },
    }),
    grads = { { function(x) return x:t():mean(1) * 3 end, random(2, 3) },
      { function(x) return x:mean() end, random(2, 3) } },
    large = large,
  },
  amax = {
    samples = {
      { "numbers", function(T) return { T(grid) }, 6 end },
      { "numbers", function(T) return { T(grid), 1 }, { 4, 5, 6 } end },
      { "all", function(T) return { T { { 0, 1 }, { 0, 0 } }, 2, true }, { { 1 }, { 0 } } end },
      { "floats", function(T) return { T { 1, nan, 2 } }, nan end },
    },
    errors = errors_of("amax", { nothing "amax" }),
    grads = { { function(x) return x:amax(2) end, distinct }, { function(x) return x:t():amax() end, distinct } },
    large = large,
  },
  amin = {
    samples = {
      { "numbers", function(T) return { T(grid) }, 1 end },
      { "numbers", function(T) return { T(grid), 2 }, { 1, 2 } end },
      { "all", function(T) return { T { { 0, 1 }, { 1, 1 } }, 2, true }, { { 0 }, { 1 } } end },
      { "floats", function(T) return { T { 1, nan, 2 } }, nan end },
    },
    errors = errors_of("amin", { nothing "amin" }),
    grads = { { function(x) return x:amin(2) end, distinct }, { function(x) return x:t():amin() end, distinct } },
    large = large,
  },
  max = {
    samples = {
      { "numbers", function(T) return { T(grid), 1 }, { 4, 5, 6 }, { 2, 1, 2 } end },
      { "numbers", function(T) return { T(grid):t(), { dim = 1, keepdim = true } }, { { 5, 6 } }, { { 2, 3 } } end },
      { "all", function(T) return { T { 1, 1, 0 }, -1 }, 1, 1 end },
      { "floats", function(T) return { T { 1, nan, nan }, 1 }, nan, 2 end },
      { "all", function(T) return { T { {}, {} }, 1 }, {}, {} end },
    },
    errors = {
      { { x34, 3 }, bad_dim:format "max" },
      { { lurn.zeros(0, 3), 1 }, "max: no elements to choose from in shape (0, 3)" },
    },
    grads = {
      { function(x) return (x:max(2)) end, distinct },
      { function(x) return (x:t():max(1, true)) * 2 end, distinct },
      { function(x) return (x:max(1)) end, f64(2) },
    },
    large = large,
  },
  min = {
    samples = {
      { "numbers", function(T) return { T(grid), 1 }, { 1, 2, 3 }, { 1, 2, 1 } end },
      { "numbers", function(T) return { T(grid):t(), { dim = 1, keepdim = true } }, { { 1, 2 } }, { { 1, 2 } } end },
      { "all", function(T) return { T { 1, 0, 0 }, -1 }, 0, 2 end },
      { "floats", function(T) return { T { 1, nan, 0 }, 1 }, nan, 2 end },
    },
    errors = {
      { { x34, 3 }, bad_dim:format "min" },
      { { lurn.zeros(0, 3), 1 }, "min: no elements to choose from in shape (0, 3)" },
    },
    grads = { { function(x) return (x:min(2)) end, distinct },
      { function(x) return (x:t():min(1, true)) * 2 end, distinct } },
    large = large,
  },
  argmax = {
    samples = {
      { "numbers", function(T) return { T(grid) }, 6 end, "int64" },
      { "numbers", function(T) return { T(grid), 1 }, { 2, 1, 2 } end, "int64" },
      { "numbers", function(T) return { T(grid):t(), 1, true }, { { 2, 3 } } end, "int64" },
      { "all", function(T) return { T { 0, 1, 1 } }, 2 end, "int64" },
      { "all", function(T) return { T(1) }, 1 end, "int64" },
    },
    errors = errors_of("argmax", { nothing "argmax" }),
    large = large,
  },
  argmin = {
    samples = {
      { "numbers", function(T) return { T(grid) }, 1 end, "int64" },
      { "numbers", function(T) return { T(grid), 2 }, { 1, 2 } end, "int64" },
      { "all", function(T) return { T { 1, 0, 0 } }, 2 end, "int64" },
      { "floats", function(T) return { T { 1, 0, nan } }, 3 end, "int64" },
    },
    errors = errors_of("argmin", { nothing "argmin" }),
    large = large,
  },
  logsumexp = {
    samples = {
      { "floats", function(T) return { T { { 0, 0 }, { 1, 1 } }, 2 }, { math.log(2), 1 + math.log(2) } end },
      { "floats", function(T) return { T { { 0, 0 }, { 1, 1 } }:t(), 1, true },
        { { math.log(2), 1 + math.log(2) } } end },
      { "floats", function(T) return { T { 1000, 1000 }, -1 }, 1000 + math.log(2) end },
      { "floats", function(T) return { T { -math.huge, -math.huge }, 1 }, -math.huge end },
      { "floats", function(T) return { T {}, 1 }, -math.huge end },
      { "floats", function(T) return { T(2), 1 }, 2 end },
    },
    errors = {
      { { x34, 3 }, bad_dim:format "logsumexp" },
      { { lurn.ones(2, { dtype = "int64" }), 1 }, "logsumexp: x is int64; expected float32 or float64" },
      { { x34 }, "logsumexp: dim is missing" },
    },
    grads = {
      { function(x) return x:logsumexp(1) end, random(3, 2) },
      { function(x) return x:t():logsumexp(2, true) end, random(3, 2) },
    },
    large = large,
  },

  topk = {
    samples = {
      { "numbers", function(T) return { T { 3, 1, 4, 1, 5 }, 2 }, { 5, 4 }, { 5, 3 } end },
      { "numbers", function(T) return { T { 3, 1, 4, 1, 5 }, 3, { largest = false } }, { 1, 1, 3 }, { 2, 4, 1 } end },
      { "numbers", function(T) return { T(grid), 1, 1 }, { { 4, 5, 6 } }, { { 2, 1, 2 } } end },
      { "numbers", function(T) return { T(grid):t(), 2, { dim = 1 } }, { { 5, 6 }, { 3, 4 } },
        { { 2, 3 }, { 3, 1 } } end },
      { "numbers", function(T) return { T { 3, 1, 4, 1, 5 }, 3, { sorted = false } }, { 3, 4, 5 }, { 1, 3, 5 } end },
      { "numbers", function(T) return { T { 3, 1, 4, 1, 5 }, 3, -1, false, false }, { 3, 1, 1 }, { 1, 2, 4 } end },
      { "numbers", function(T) return { T(grid):t(), 2, { dim = 1, sorted = false } }, { { 5, 4 }, { 3, 6 } },
        { { 2, 1 }, { 3, 3 } } end },
      { "all", function(T) return { T { 1, 0 }, 0 }, {}, {} end },
      { "floats", function(T) return { T { 1, nan, 2 }, 2 }, { nan, 2 }, { 2, 3 } end },
      { "all", function(T) return { T(1), 1 }, 1, 1 end },
    },
    errors = {
      { { x34, 5 }, "topk: k is 5, but dimension 2 has 4 elements" },
      { { x34, -1 }, "topk: k is -1; expected at least 0" },
      { { x34, 1, 3 }, bad_dim:format "topk" },
    },
    grads = {
      { function(x) return (x:topk(2)) end, distinct },
      { function(x) return (x:t():topk(2, 1, false)) end, distinct },
      { function(x) return (x:topk(2, { sorted = false })) end, distinct },
    },
    large = function(random32) return { random32(300, 100), 7 } end,
  },
  sort = {
    samples = {
      { "numbers", function(T) return { T { 3, 1, 4, 1, 5 } }, { 1, 1, 3, 4, 5 }, { 2, 4, 1, 3, 5 } end },
      { "numbers", function(T) return { T { 3, 1, 4, 1 }, -1, true }, { 4, 3, 1, 1 }, { 3, 1, 2, 4 } end },
      { "numbers", function(T) return { T(grid):t(), 1 }, { { 1, 2 }, { 3, 4 }, { 5, 6 } },
        { { 1, 2 }, { 3, 1 }, { 2, 3 } } end },
      { "all", function(T) return { T {} }, {}, {} end },
      { "floats", function(T) return { T { nan, -1, math.huge } }, { -1, math.huge, nan }, { 2, 3, 1 } end },
    },
    errors = { { { x34, 3 }, bad_dim:format "sort" },
      { { x34, 1, 1 }, "sort: descending: expected true or false, got an integer" } },
    grads = { { function(x) return (x:sort(1)) end, distinct },
      { function(x) return (x:t():sort(1, true)) end, distinct } },
    large = function(random32) return { random32(300, 100) } end,
  },
  multinomial = {
    samples = {
      { "floats", function(T) return { T { 0, 0, 1 } }, { 3 } end, "int64" },
      { "floats", function(T) return { T { { 0, 2 }, { 5, 0 } }, 3, true }, { { 2, 2, 2 }, { 1, 1, 1 } } end, "int64" },
      { "floats", function(T) return { T { { 0, 2, 0 }, { 5, 0, 0 } }:t():t(), { n = 1 } }, { { 2 }, { 1 } } end,
        "int64" },
    },
    errors = {
      { { lurn.ones(3), 4 }, "multinomial: 4 draws without replacement from 3 classes of positive weight" },
      { { lurn.zeros(3) }, "multinomial: all weights of a row are 0" },
      { { lurn.zeros(0) }, "multinomial: all weights of a row are 0" },
      { { lurn.tensor { 1, -1 } }, "multinomial: weight -1; expected finite numbers of at least 0" },
      { { lurn.tensor { 1, math.huge } }, "multinomial: weight inf; expected finite numbers of at least 0" },
      { { lurn.ones(2), 0 }, "multinomial: n is 0; expected at least 1" },
      { { lurn.ones(2, 2, 2) }, "multinomial: p has shape (2, 2, 2); expected (C) or (N, C)" },
      { { lurn.ones(2, { dtype = "int64" }) }, "multinomial: p is int64; expected float32 or float64" },
    },
    large = function(random32) return { random32(300, 40):abs() + 0.1, 5 } end,
  },
}
