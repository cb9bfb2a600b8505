--- Copies, views, joining and picking.
--
-- Here and in the files beside it:
--   samples  {which dtypes: "all" "numbers" "floats", f [, dtype of the first result]}: f(T) gives the list of
--            arguments and then what each result must be; T makes a tensor of the dtype under test from nested tables
--   errors   {arguments, message}
--   grads    {f, inputs...}: f of float64 tensors that require a gradient, checked against differences
--   rest     the arguments after x in the generic checks of in-place variants, or a function that gives them for x
--   large    arguments big enough for several threads and whole vectors, from a maker of random tensors

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan = naive.nan

local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end
local function bools(t) return lurn.tensor(t, { dtype = "bool" }) end
local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local x34 = lurn.zeros(3, 4)
local grid = { { 1, 2, 3 }, { 4, 5, 6 } }

return {
  to = {
    samples = {
      { "all", function(T) return { T { 0, 1, 1 }, "float64" }, { 0, 1, 1 } end, "float64" },
      { "all", function(T) return { T { { 0 }, { 1 } }, "int32" }, { { 0 }, { 1 } } end, "int32" },
      { "all", function(T) return { T { 0, 1, 3 }, "bool" }, { false, true, true } end, "bool" },
      { "floats", function(T) return { T { -2.7, 2.7, nan, 1e30 }, "int32" }, { -2, 2, 0, 2147483647 } end, "int32" },
      { "floats", function(T) return { T { -1e300, 1e30 }, "int64" }, { math.mininteger, math.maxinteger } end,
        "int64" },
      { "floats", function(T) return { T { 300 }, "uint8" }, { 255 } end, "uint8" },
      { "all", function(T) return { T {}, "float32" }, {} end, "float32" },
    },
    errors = {
      { { x34, "half" }, 'to: there is no dtype "half"; expected float32, float64, int64, int32, uint8 or bool' },
      { { x34, 3 }, "to: dtype: expected a string, got an integer" },
    },
    grads = {
      { function(x) return x:to("float32"):to "float64" * 2 end, f64 { 0.5, -1 } },
      { function(x) return x:t():to "float64" end, random(2, 3) },
    },
    -- float32 in between rounds the values, so the differences are taken over a longer way
    grad_options = { eps = 0.25, rtol = 1e-3, atol = 1e-3 },
    large = function(random32) return { random32(300, 200), "float64" } end,
  },
  copy = {
    rest = { 1.5 },
    samples = {
      { "all", function(T) return { T(grid), T { 1, 0, 1 } }, { { 1, 0, 1 }, { 1, 0, 1 } } end },
      { "numbers", function(T) return { T(grid), 7 }, { { 7, 7, 7 }, { 7, 7, 7 } } end },
      { "numbers", function(T) return { T { 1, 2 }, f64 { 3, 4 } }, { 3, 4 } end },
      { "all", function(T) return { T {}, 1 }, {} end },
    },
    errors = {
      { { x34, lurn.ones(3) }, "copy: source of shape (3) does not broadcast to (3, 4)" },
      { { x34, "a" }, "copy: source: expected a tensor or a number, got a string" },
    },
    grads = {
      { function(x, y) return (x * 1):copy_(y) end, random(2, 3), random(3) },
      { function(x, y) return lurn.copy(x, y) * y end, random(2, 3), random(2, 1) },
    },
    large = function(random32) return { random32(300, 200), random32(200) } end,
  },
  fill = {
    rest = { 1.5 },
    samples = {
      { "numbers", function(T) return { T(grid), 7 }, { { 7, 7, 7 }, { 7, 7, 7 } } end },
      { "all", function(T) return { T(0), 1 }, 1 end },
      { "floats", function(T) return { T { 1, 2 }, nan }, { nan, nan } end },
    },
    errors = {
      { { x34 }, "fill: value is missing" },
      { { x34, "1" }, "fill: value: expected a number, got a string" },
    },
    grads = { { function(x) return lurn.fill(x, 2) + x end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), 0.5 } end,
  },
  clamp = {
    rest = { -0.5, 0.5 },
    samples = {
      { "numbers", function(T) return { T { 1, 2, 3, 4 }, 2, 3 }, { 2, 2, 3, 3 } end },
      { "numbers", function(T) return { T { 1, 2, 3 }, nil, 2 }, { 1, 2, 2 } end },
      { "numbers", function(T) return { T { 1, 2, 3 }, { min = 2 } }, { 2, 2, 3 } end },
      { "numbers", function(T) return { T { 1, 2, 3 }, 3, 1 }, { 1, 1, 1 } end },
      { "floats", function(T) return { T { nan, math.huge, -math.huge }, -1, 1 }, { nan, 1, -1 } end },
      { "numbers", function(T) return { T { 0, 2, 4 }, 1.5, 3 }, { 1.5, 2, 3 } end,
        { int64 = "float32", int32 = "float32", uint8 = "float32" } },
    },
    errors = {
      { { x34, nan, 1 }, "clamp: a limit is NaN" },
      { { bools { true }, 0, 1 }, "clamp: not defined for bool" },
      { { x34, { low = 1 } }, "clamp: there is no option low; known are: min, max" },
    },
    grads = {
      { function(x) return x:clamp(-0.5, 0.5) end, f64 { -2, -0.4, 0.1, 0.45, 3 } },
      { function(x) return x:t():clamp(0) end, f64 { { -2, 0.4 }, { 1, -3 } } },
    },
    large = function(random32) return { random32(300, 200), -0.5, 0.7 } end,
  },
  where = {
    samples = {
      { "all", function(T) return { bools { true, false, true }, T { 1, 1, 0 }, T { 0, 0, 1 } }, { 1, 0, 0 } end },
      { "numbers", function(T) return { bools { { true }, { false } }, T { 1, 2 }, 9 }, { { 1, 2 }, { 9, 9 } } end },
      { "numbers", function(T) return { T { 0, 2 }, T { 1, 1 }, T { 3, 3 } }, { 3, 1 } end },
      { "all", function(T) return { bools {}, T {}, T {} }, {} end },
    },
    errors = {
      { { bools { true, false }, lurn.ones(3), 0 }, "where: shapes (2), (3) and () do not broadcast" },
      { { true, 1, 2 }, "where: condition: expected a tensor, got a boolean" },
    },
    grads = {
      { function(a, b) return lurn.where(bools { true, false, true }, a, b) end, random(2, 3), random(3) },
      { function(a) return lurn.where(a:gt(0), a * a, 0.5) end, random(2, 3) },
    },
    large = function(random32) return { random32(300, 200):gt(0), random32(300, 200), random32(200) } end,
  },
  masked_fill = {
    rest = { bools { true, false, true }, 2 },
    samples = {
      { "numbers", function(T) return { T(grid), bools { true, false, true }, 7 }, { { 7, 2, 7 }, { 7, 5, 7 } } end },
      { "all", function(T) return { T { 0, 1 }, T { 1, 0 }, 1 }, { 1, 1 } end },
      { "floats", function(T) return { T { 1, 2 }, bools { true, false }, -math.huge }, { -math.huge, 2 } end },
    },
    errors = {
      { { x34, bools { true, false }, 1 }, "masked_fill: shapes (2), () and (3, 4) do not broadcast" },
      { { x34, bools { true } }, "masked_fill: value is missing" },
      { { x34, bools { true }, lurn.ones(2) }, "masked_fill: value has shape (2); expected a number" },
    },
    grads = {
      { function(x) return x:masked_fill(bools { { true, false, true } }, 3) end, random(2, 3) },
      { function(x, v) return x:masked_fill(bools { { true, false, true } }, v) end, random(2, 3), random() },
    },
    large = function(random32) return { random32(300, 200), random32(200):gt(0), 0.5 } end,
  },

  view = {
    samples = {
      { "all", function(T) return { T { 1, 0, 1, 1 }, 2, 2 }, { { 1, 0 }, { 1, 1 } } end },
      { "all", function(T) return { T { 1, 0, 1, 1 }, { 2, -1 } }, { { 1, 0 }, { 1, 1 } } end },
      { "all", function(T) return { T { { { 1 } } }, {} }, 1 end },
      { "all", function(T) return { T { {}, {} }, 0, 5 }, {} end },
      { "numbers", function(T) return { T(grid):narrow(2, 1, 2), 2, 1, 2 }, { { { 1, 2 } }, { { 4, 5 } } } end },
    },
    errors = {
      { { x34, 5 }, "view: (3, 4) has 12 elements and cannot become (5)" },
      { { x34, -1, -1 }, "view: more than one size is -1" },
      { { x34, -2, 6 }, "view: size -2 is not possible" },
      { { x34, 1 << 40, 1 << 40 }, "view: size 1099511627776 is not possible" },
      { { x34, 1, 1, 1, 1, 1, 1, 1, 1, 12 }, "view: a tensor has at most 8 dimensions" },
      { { x34:t(), 12 },
        "view: this (4, 3) lies in memory so that it cannot be seen as (12) without a copy; use reshape" },
    },
    grads = { { function(x) return x:view(3, 2) * x:view(-1, 2) end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), 200, 300 } end,
  },
  reshape = {
    samples = {
      { "all", function(T) return { T { { 1, 0 }, { 0, 1 } }, 4 }, { 1, 0, 0, 1 } end },
      { "numbers", function(T) return { T(grid):t(), 6 }, { 1, 4, 2, 5, 3, 6 } end },
      { "numbers", function(T) return { T(grid):narrow(2, 2, 2), -1 }, { 2, 3, 5, 6 } end },
      { "numbers", function(T) return { T { 1, 2 }:expand(2, 2), 4 }, { 1, 2, 1, 2 } end },
    },
    errors = { { { x34, 5, -1 }, "reshape: (3, 4) has 12 elements and cannot become (5, -1)" } },
    grads = {
      { function(x) return x:t():reshape(6) * x:reshape(6) end, random(2, 3) },
      { function(x) return x:expand(2, 3):reshape(6) end, random(3) },
    },
    large = function(random32) return { random32(300, 200):t(), 300, 200 } end,
  },
  transpose = {
    samples = {
      { "numbers", function(T) return { T(grid), 1, 2 }, { { 1, 4 }, { 2, 5 }, { 3, 6 } } end },
      { "all", function(T) return { T { { 1, 0 } }, -1, -2 }, { { 1 }, { 0 } } end },
      { "all", function(T) return { T(1), 1, -1 }, 1 end },
    },
    errors = {
      { { x34, 1, 3 }, "transpose: dimension 3 of a tensor with 2; expected 1..2 or -2..-1" },
      { { x34, 0, 1 }, "transpose: dim0 is 0; counting starts at 1, or at -1 from the end" },
      { { x34, 1 }, "transpose: dim1 is missing" },
    },
    grads = { { function(x) return x:transpose(1, 3) * 2 end, random(2, 3, 2) } },
    large = function(random32) return { random32(300, 200), 1, 2 } end,
  },
  permute = {
    samples = {
      { "numbers", function(T) return { T { { { 1, 2 }, { 3, 4 } } }, 3, 1, 2 }, { { { 1, 3 } }, { { 2, 4 } } } end },
      { "numbers", function(T) return { T(grid), { -1, 1 } }, { { 1, 4 }, { 2, 5 }, { 3, 6 } } end },
    },
    errors = {
      { { x34, 1 }, "permute: 1 dimensions given for a tensor with 2" },
      { { x34, 1, 1 }, "permute: dimension 1 is named twice" },
      { { x34, 1, 3 }, "permute: dimension 3 of a tensor with 2; expected 1..2 or -2..-1" },
      { { x34 }, "permute: dims is missing" },
    },
    grads = { { function(x) return x:permute(3, 1, 2):reshape(12) end, random(2, 3, 2) } },
    large = function(random32) return { random32(30, 20, 50), 2, 3, 1 } end,
  },
  narrow = {
    samples = {
      { "numbers", function(T) return { T(grid), 2, 2, 2 }, { { 2, 3 }, { 5, 6 } } end },
      { "numbers", function(T) return { T(grid), -1, -1, 1 }, { { 3 }, { 6 } } end },
      { "all", function(T) return { T { 1, 0 }, 1, 3, 0 }, {} end },
    },
    errors = {
      { { x34, 2, 3, 3 }, "narrow: 3 elements from 3 in dimension 2 of size 4" },
      { { x34, 2, 1, -1 }, "narrow: -1 elements from 1 in dimension 2 of size 4" },
      { { x34, 2, -5, 1 }, "narrow: 1 elements from -5 in dimension 2 of size 4" },
      { { x34, 2, math.maxinteger, math.maxinteger },
        "narrow: 9223372036854775807 elements from 9223372036854775807 in dimension 2 of size 4" },
      { { x34, 1, 0, 1 }, "narrow: start is 0; counting starts at 1, or at -1 from the end" },
      { { lurn.tensor(1), 1, 1, 1 }, "narrow: a scalar has no range" },
    },
    grads = { { function(x) return x:narrow(2, -2, 2) * x:narrow(2, 1, 2) end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), 2, 11, 150 } end,
  },
  slice = {
    samples = {
      { "numbers", function(T) return { T(grid), 2, 1, 3, 2 }, { { 1, 3 }, { 4, 6 } } end },
      { "numbers", function(T) return { T(grid):t(), 1, -3, -1, { step = 2 } }, { { 1, 4 }, { 3, 6 } } end },
      { "numbers", function(T) return { T(grid), 2, 2, 3 }, { { 2, 3 }, { 5, 6 } } end },
      { "all", function(T) return { T { 1, 0, 1, 0, 0 }, 1, 1, 4, 2 }, { 1, 1 } end },
      { "all", function(T) return { T { 0, 1, 0 }, 1, 2, -1, math.maxinteger }, { 1 } end },
      { "all", function(T) return { T { 1, 0 }, 1, 3, 2, 5 }, {} end },
      { "all", function(T) return { T { 1, 0 }, 1, 1, -3 }, {} end },
      { "all", function(T) return { T { { 1 }, { 0 } }:expand(2, 5), 2, 2, 5, 3 }, { { 1, 1 }, { 0, 0 } } end },
    },
    errors = {
      { { x34, 2, 2, 5 }, "slice: from 2 to 5 in dimension 2 of size 4" },
      { { x34, 2, 3, 1, 2 }, "slice: from 3 to 1 in dimension 2 of size 4" },
      { { x34, 2, -5, -1, 2 }, "slice: from -5 to -1 in dimension 2 of size 4" },
      { { x34, 1, math.maxinteger, math.mininteger },
        "slice: from 9223372036854775807 to -9223372036854775808 in dimension 1 of size 3" },
      { { x34, 1, 1, 3, 0 }, "slice: step is 0; expected at least 1" },
      { { x34, 1, 1, 3, -1 }, "slice: step is -1; expected at least 1" },
      { { x34, 1, 1, 3, 0.5 }, "slice: step: expected a whole number, got 0.5" },
      { { x34, 1, 0, 1 }, "slice: first is 0; counting starts at 1, or at -1 from the end" },
      { { x34, 1, 1 }, "slice: last is missing" },
      { { lurn.tensor(1), 1, 1, 1 }, "slice: a scalar has no range" },
    },
    grads = {
      { function(x) return x:slice(2, 1, -1, 2) * x:slice(2, 2, 4, 2) end, random(2, 4) },
      { function(x) return x:t():slice(1, 2, 5, 3):sin() end, random(2, 5) },
      { function(x, y) return (x * 1):slice(1, 1, 3, 2):copy_(y) * y end, random(3, 2), random(2, 2) },
    },
    large = function(random32) return { random32(300, 200), 2, 11, -5, 3 } end,
  },
  select = {
    samples = {
      { "numbers", function(T) return { T(grid), 1, 2 }, { 4, 5, 6 } end },
      { "numbers", function(T) return { T(grid), 2, -1 }, { 3, 6 } end },
    },
    errors = {
      { { x34, 2, 5 }, "select: index 5 in dimension 2 of size 4" },
      { { x34, 2, -5 }, "select: index -5 in dimension 2 of size 4" },
      { { lurn.tensor(1), 1, 1 }, "select: a scalar cannot be indexed" },
      { { lurn.zeros(0), 1, 1 }, "select: index 1 in dimension 1 of size 0" },
    },
    grads = { { function(x) return x:select(2, 2) * x:select(-1, -1) end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), 2, 7 } end,
  },
  expand = {
    samples = {
      { "all", function(T) return { T { { 1 }, { 0 } }, 2, 3 }, { { 1, 1, 1 }, { 0, 0, 0 } } end },
      { "all", function(T) return { T { 1, 0 }, { 2, -1 } }, { { 1, 0 }, { 1, 0 } } end },
      { "all", function(T) return { T(1), 2 }, { 1, 1 } end },
      { "all", function(T) return { T { 1 }, 0 }, {} end },
    },
    errors = {
      { { x34, 4 }, "expand: 1 sizes given for a tensor of shape (3, 4)" },
      { { x34, 3, 5 }, "expand: (3, 4) does not expand to 5 in dimension 2" },
      { { x34, -1, 3, 4 }, "expand: negative size -1" },
      { { lurn.ones(1, 1), 1 << 40, 1 << 40 },
        "expand: a tensor of shape (1099511627776, 1099511627776) is larger than memory can be" },
    },
    grads = {
      { function(x) return x:expand(4, 2, 3) * 2 end, random(2, 1) },
      { function(x) return x:expand(2) end, f64(0.5) },
      { function(x) return x:expand(0, 3) end, random(3) },
    },
    large = function(random32) return { random32(200), 300, 200 } end,
  },
  squeeze = {
    samples = {
      { "all", function(T) return { T { { 1, 0 } }, 1 }, { 1, 0 } end },
      { "all", function(T) return { T { { 1, 0 } }, 2 }, { { 1, 0 } } end },
      { "all", function(T) return { T { { { 1 } }, { { 0 } } } }, { 1, 0 } end },
    },
    errors = { { { x34, 3 }, "squeeze: dimension 3 of a tensor with 2; expected 1..2 or -2..-1" } },
    grads = { { function(x) return x:squeeze(2) end, random(2, 1, 3) } },
    large = function(random32) return { random32(300, 1, 200), 2 } end,
  },
  unsqueeze = {
    samples = {
      { "all", function(T) return { T { 1, 0 }, 1 }, { { 1, 0 } } end },
      { "all", function(T) return { T { 1, 0 }, -1 }, { { 1 }, { 0 } } end },
      { "all", function(T) return { T(1), 1 }, { 1 } end },
    },
    errors = {
      { { x34, 4 }, "unsqueeze: dimension 4 of a tensor with 3; expected 1..3 or -3..-1" },
      { { lurn.zeros(1, 1, 1, 1, 1, 1, 1, 1), 1 }, "unsqueeze: a tensor has at most 8 dimensions" },
    },
    grads = { { function(x) return x:t():unsqueeze(2) end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), 2 } end,
  },

  cat = {
    samples = {
      { "all", function(T) return { { T { 1, 0 }, T { 0 }, T {} } }, { 1, 0, 0 } end },
      { "numbers", function(T) return { { T(grid), T { { 7 }, { 8 } } }, 2 }, { { 1, 2, 3, 7 }, { 4, 5, 6, 8 } } end },
      { "numbers", function(T) return { { T(grid):t(), T { { 7, 8 } } }, -2 },
        { { 1, 4 }, { 2, 5 }, { 3, 6 }, { 7, 8 } } end },
      { "all", function(T) return { { T { 1 }, f64 { 0.5 } } }, { 1, 0.5 } end, "float64" },
    },
    errors = {
      { { {} }, "cat: no tensors given" },
      { { { x34, lurn.zeros(3, 5) } }, "cat: tensor 2 of shape (3, 5) does not join (3, 4) along dimension 1" },
      { { { x34, 5 } }, "cat: tensors[2]: expected a tensor, got an integer" },
      { { x34 }, "cat: tensors: expected a list of tensors, got a tensor" },
      { { { lurn.tensor(1) } }, "cat: scalars cannot be joined; use stack" },
    },
    grads = {
      { function(a, b) return lurn.cat({ a, b, a:narrow(1, 1, 1) }, 1) * 3 end, random(2, 3), random(1, 3) },
      { function(a, b) return lurn.cat({ a:t(), b }, 2) end, random(2, 3), random(3, 0) },
    },
    large = function(random32) return { { random32(300, 200), random32(300, 100) }, 2 } end,
  },
  stack = {
    samples = {
      { "all", function(T) return { { T { 1, 0 }, T { 0, 0 } } }, { { 1, 0 }, { 0, 0 } } end },
      { "all", function(T) return { { T { 1, 0 }, T { 0, 0 } }, 2 }, { { 1, 0 }, { 0, 0 } } end },
      { "all", function(T) return { { T(1), T(0) }, -1 }, { 1, 0 } end },
      { "all", function(T) return { { T {} }, 1 }, { {} } end },
    },
    errors = {
      { { {} }, "stack: no tensors given" },
      { { { x34, lurn.zeros(3) } }, "stack: tensor 2 has shape (3), the first has (3, 4)" },
      { { { lurn.zeros(1, 1, 1, 1, 1, 1, 1, 1) } }, "stack: a tensor has at most 8 dimensions" },
    },
    grads = { { function(a, b) return lurn.stack({ a, b:t(), a }, 2) * 3 end, random(2, 3), random(3, 2) } },
    large = function(random32) return { { random32(300, 100), random32(300, 100) }, 3 } end,
  },
  index_select = {
    samples = {
      { "all", function(T) return { T { { 1, 0 }, { 0, 0 } }, 1, ids { 2, 1, 1 } },
        { { 0, 0 }, { 1, 0 }, { 1, 0 } } end },
      { "numbers", function(T) return { T(grid):t(), -1, ids { 2 } }, { { 4 }, { 5 }, { 6 } } end },
      { "all", function(T) return { T { 1, 0 }, 1, ids {} }, {} end },
    },
    errors = {
      { { x34, 2, ids { 5 } }, "index_select: index 5; expected 1..4" },
      { { x34, 2, ids { 0 } }, "index_select: index 0; expected 1..4" },
      { { x34, 2, ids { math.mininteger } }, "index_select: index -9223372036854775808; expected 1..4" },
      { { x34, 2, lurn.ones(1) }, "index_select: indices are float32; expected int64 or another integer type" },
      { { x34, 1, ids { { 1 } } }, "index_select: index has shape (1, 1); expected one dimension" },
    },
    grads = {
      { function(x) return x:index_select(2, ids { 3, 1, 3 }) * 2 end, random(2, 3) },
      { function(x) return x:t():index_select(1, ids { 3, 1, 3 }) end, random(2, 3) },
    },
    large = function(random32) return { random32(300, 200), 1, lurn.randint(1, 300, 500) } end,
  },
  gather = {
    samples = {
      { "numbers", function(T) return { T(grid), 2, ids { { 3, 1 }, { 2, 2 } } }, { { 3, 1 }, { 5, 5 } } end },
      { "numbers", function(T) return { T(grid):t(), 2, ids { { 2 } } }, { { 4 } } end },
      { "all", function(T) return { T { 1, 0 }, 1, ids {} }, {} end },
    },
    errors = {
      { { x34, 2, ids { { 5 } } }, "gather: index 5; expected 1..4" },
      { { x34, 2, ids { { 0 } } }, "gather: index 0; expected 1..4" },
      { { x34, 2, ids { 1 } },
        "gather: index of shape (1) does not fit x of shape (3, 4): outside dimension 2 no size may be larger" },
      { { x34, 2, bools { { true } } }, "gather: indices are bool; expected int64 or another integer type" },
    },
    grads = {
      { function(x) return x:gather(1, ids { { 2, 1, 2 }, { 2, 2, 1 }, { 1, 1, 1 } }) * 2 end, random(2, 3) },
      { function(x) return x:t():gather(2, ids { { 2 }, { 1 } }) end, random(2, 3) },
    },
    large = function(random32) return { random32(300, 200), 2, lurn.randint(1, 200, 300, 50) } end,
  },
}
