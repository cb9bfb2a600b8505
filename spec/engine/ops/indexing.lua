--- Picking and writing by tensors of positions and by masks.

local lurn = require "lurn"

local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end
local function bools(t) return lurn.tensor(t, { dtype = "bool" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local x34 = lurn.zeros(3, 4)
local grid = { { 1, 2, 3 }, { 4, 5, 6 } }
local cube = { { { 1, 2 }, { 3, 4 } }, { { 5, 6 }, { 7, 8 } } }
local wrong_ids = "indices are float32; expected int64 or another integer type"

local function out_of_range(name, rest)
  return { { x34, 2, ids { 5 }, rest }, name .. ": index 5; expected 1..4" },
    { { x34, 2, ids { 0 }, rest }, name .. ": index 0; expected 1..4" },
    { { x34, 1, ids { { 1 } }, rest }, name .. ": index has shape (1, 1); expected one dimension" },
    { { x34, 1, bools { true }, rest }, name .. ": indices are bool; expected int64 or another integer type" },
    { { lurn.tensor(1), 1, ids { 1 }, rest }, name .. ": a scalar cannot be indexed" }
end

local function sources_for(name)
  local a, b, c, d, e = out_of_range(name, lurn.ones(3, 1))
  return a, b, c, d, e,
    { { x34, 2, ids { 1, 2 }, lurn.ones(3, 1) }, name .. ": source has shape (3, 1); expected (3, 2)" }
end

-- A row of the same for each row of a matrix, or for a vector.
local function along_last(x, row)
  if x.ndim == 1 then return ids(row) end
  return ids(row):expand(x.shape[1], #row)
end

return {
  index = {
    samples = {
      { "all", function(T) return { T { 1, 0, 0 }, 1, { ids { { 1, 3 }, { 2, 2 } } } }, { { 1, 0 }, { 0, 0 } } end },
      { "numbers", function(T) return { T(grid):t(), 1, { ids { 3, 1 } } }, { { 3, 6 }, { 1, 4 } } end },
      { "numbers", function(T) return { T(grid), -1, { ids(2) } }, { 2, 5 } end },
      { "numbers", function(T) return { T(cube), 2, { ids { { 2 }, { 1 } } } },
        { { { { 3, 4 } }, { { 1, 2 } } }, { { { 7, 8 } }, { { 5, 6 } } } } end },
      { "numbers", function(T) return { T(grid), 1, { bools { { true, false, true }, { false, true, false } } } },
        { 1, 3, 5 } end },
      { "numbers", function(T) return { T(grid), 2, { bools { true, false, true } } }, { { 1, 3 }, { 4, 6 } } end },
      { "numbers", function(T) return { T(cube), 1, { bools { { false, true }, { true, false } } } },
        { { 3, 4 }, { 5, 6 } } end },
      { "numbers", function(T) return { T(grid), 1, { ids { 1, 2, 2 }, ids { 3, 1, 1 } } }, { 3, 4, 4 } end },
      { "numbers", function(T) return { T(grid), 1, { ids { { 1 }, { 2 } }, ids { 3, 1 } } },
        { { 3, 1 }, { 6, 4 } } end },
      { "numbers", function(T) return { T(cube), 2, { bools { true, true }, ids { 2, 1 } } },
        { { 2, 3 }, { 6, 7 } } end },
      { "all", function(T) return { T { 1, 0 }, 1, { bools { false, false } } }, {} end },
      { "all", function(T) return { T { 1, 0 }, 1, { ids {} } }, {} end },
      { "all", function(T) return { T(1), 1, { bools(true) } }, { 1 } end },
    },
    errors = {
      { { x34, 2, { ids { 5 } } }, "index: index 5; expected 1..4" },
      { { x34, 2, { ids { 0 } } }, "index: index 0; expected 1..4" },
      { { x34, 2, { ids { -1 } } }, "index: index -1; expected 1..4" },
      { { x34, 1, { lurn.ones(1) } }, "index: " .. wrong_ids },
      { { x34, 1, {}, {} }, "index: 0 index tensors; expected 1..8" },
      { { x34, 2, { ids { 1 }, ids { 1 } } }, "index: 2 index tensors from dimension 2 on; x has 2 dimensions" },
      { { x34, 1, { ids { 1, 2 }, ids { 1, 2, 3 } } },
        "index: index tensors of shapes (2) and (3) do not broadcast" },
      { { x34, 1, { bools { true, false, true }, ids { 1, 2, 3 } } },
        "index: index tensors that pick (2) and (3) do not broadcast" },
      { { x34, 1, { bools { true, false } } },
        "index: a mask of shape (2) does not fit x of shape (3, 4): its sizes must be those of x from dimension 1 on" },
      { { x34, 2, { bools { true, false, true } } },
        "index: a mask of shape (3) does not fit x of shape (3, 4): its sizes must be those of x from dimension 2 on" },
      { { x34, 1, ids { 1 } }, "index: index: expected a list of tensors, got a tensor" },
      { { x34, 3, { ids { 1 } } }, "index: dimension 3 of a tensor with 2; expected 1..2 or -2..-1" },
      { { x34, 1, { lurn.ones(1, 1, 1, 1, 1, 1, 1, 1, { dtype = "int64" }) } },
        "index: the result would have 9 dimensions; a tensor has at most 8" },
    },
    grads = {
      { function(x) return x:index(2, { ids { { 3, 1 }, { 3, 3 } } }) * 2 end, random(2, 3) },
      { function(x) return x:t():index(1, { ids { 3, 1, 3 }, ids { 2, 2, 2 } }) end, random(2, 3) },
      { function(x) return x:index(2, { bools { { true, false }, { true, true } } }) end, random(3, 2, 2) },
    },
    large = function(random32) return { random32(300, 200), 1, { lurn.randint(1, 300, 50, 10) } } end,
  },
  index_put = {
    rest = { -1, { ids { 3, 1 } }, 2 },
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, 1, { ids { 1, 3 } }, T { 1, 0 } }, { 1, 0, 0 } end },
      { "numbers", function(T) return { T(grid), 2, { ids { 3, 1 } }, T { { 7 }, { 8 } } },
        { { 7, 2, 7 }, { 8, 5, 8 } } end },
      { "numbers", function(T) return { T(grid), 1, { ids { 2, 2 } }, T { { 1, 1, 1 }, { 9, 8, 7 } } },
        { { 1, 2, 3 }, { 9, 8, 7 } } end },
      { "numbers", function(T) return { T(grid):t(), 1, { ids { 3, 1 }, ids { 1, 2 } }, T { 7, 9 } },
        { { 1, 9 }, { 2, 5 }, { 7, 6 } } end },
      { "numbers", function(T) return { T(grid), 1, { bools { { true, false, true }, { false, true, false } } },
        T { 7, 8, 9 } }, { { 7, 2, 8 }, { 4, 9, 6 } } end },
      { "numbers", function(T) return { T(grid), 1, { bools { false, true } }, T { 7, 8, 9 } },
        { { 1, 2, 3 }, { 7, 8, 9 } } end },
      { "numbers", function(T) return { T(grid), 1, { bools { true, false } }, 7 },
        { { 7, 7, 7 }, { 4, 5, 6 } } end },
      { "numbers", function(T) return { T(grid):t(), 2, { bools { true, false } }, T { 7 } },
        { { 7, 4 }, { 7, 5 }, { 7, 6 } } end },
      { "numbers", function(T) return { T(grid), 1, { ids {} }, 7 }, grid end },
      { "numbers", function(T) return { T(1), 1, { bools(true) }, 7 }, 7 end },
      { "floats", function(T) return { T { 1, 2 }, 1, { ids { 2 } }, ids { 5 } }, { 1, 5 } end },
    },
    errors = {
      { { x34, 2, { ids { 5 } }, 1 }, "index_put: index 5; expected 1..4" },
      { { x34, 1, { lurn.ones(1) }, 1 }, "index_put: " .. wrong_ids },
      { { x34, 1, { ids { 1, 2 } }, lurn.ones(3, 4) },
        "index_put: source of shape (3, 4) does not broadcast to (2, 4)" },
      { { x34, 1, { bools { true, false, true } }, lurn.ones(3, 4) },
        "index_put: source of shape (3, 4) does not broadcast to (2, 4)" },
      { { x34, 1, { bools { true, false } }, 1 },
        "index_put: a mask of shape (2) does not fit x of shape (3, 4): its sizes must be those of x from dimension 1 "
          .. "on" },
      { { x34, 1, { bools { true, false, true } }, lurn.ones(1, 1, 1) },
        "index_put: source of shape (1, 1, 1) has more dimensions than what the mask picks" },
      { { x34, 1, { ids { 1 } }, "a" }, "index_put: source: expected a tensor or a number, got a string" },
    },
    grads = {
      { function(x, y) return x:index_put(1, { ids { 2, 1, 2 } }, y) ^ 2 end, random(3, 2), random(3, 2) },
      { function(x, y) return x:t():index_put(2, { ids { { 2, 1 }, { 3, 2 } } }, y) ^ 2 end, random(3, 2),
        random(2, 1, 2) },
      { function(x, y) return x:index_put(1, { bools { true, false, true } }, y) ^ 2 end, random(3, 2), random(2, 2) },
      { function(x, y) return x:index_put(2, { bools { true, false } }, y) ^ 2 end, random(3, 2), random(1) },
    },
    large = function(random32)
      return { random32(300, 200), 1, { lurn.randint(1, 300, 500) }, random32(500, 200) }
    end,
  },
  masked_scatter = {
    rest = { bools { true, false, true }, lurn.tensor { 5, 6, 7, 8 } },
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, bools { true, false, true }, T { 1, 0 } }, { 1, 0, 0 } end },
      { "numbers", function(T) return { T(grid), bools { { true, false, true }, { false, true, false } },
        T { { 7, 8 }, { 9, 10 } } }, { { 7, 2, 8 }, { 4, 9, 6 } } end },
      { "numbers", function(T) return { T(grid):t(), bools { { true }, { false }, { true } }, T { 7, 8, 9, 10 } },
        { { 7, 8 }, { 2, 5 }, { 9, 10 } } end },
      { "numbers", function(T) return { T(grid), bools(true), T(grid):t() }, { { 1, 4, 2 }, { 5, 3, 6 } } end },
      { "all", function(T) return { T { 1, 0 }, bools { false, false }, T {} }, { 1, 0 } end },
      { "all", function(T) return { T(1), bools(true), T { 0, 1 } }, 0 end },
      { "floats", function(T) return { T { 1, 2 }, bools { false, true }, ids { 5 } }, { 1, 5 } end },
    },
    errors = {
      { { x34, lurn.ones(4), x34 }, "masked_scatter: mask is float32; expected bool" },
      { { x34, bools { true, false }, x34 }, "masked_scatter: mask of shape (2) does not broadcast to (3, 4)" },
      { { lurn.ones(4), lurn.ones(3, 4):gt(0), x34 },
        "masked_scatter: mask of shape (3, 4) does not broadcast to (4)" },
      { { x34, bools { true, false, true, true }, lurn.ones(8) },
        "masked_scatter: mask picks 9 elements, but source has 8" },
    },
    grads = {
      { function(x, y) return x:masked_scatter(bools { { true, false }, { true, true }, { false, true } }, y) ^ 2 end,
        random(3, 2), random(3, 2) },
      { function(x, y) return x:t():masked_scatter(bools { true, false, true }, y:t()) ^ 2 end, random(3, 2),
        random(3, 2) },
    },
    large = function(random32)
      return { random32(300, 200), lurn.randint(0, 1, 300, 200):gt(0), random32(200, 300) }
    end,
  },
  index_copy = {
    rest = function(x)
      return { -1, ids { 3, 1 }, lurn.ones(x.ndim == 1 and { 2 } or { x.shape[1], 2 }, { dtype = x.dtype }) }
    end,
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, 1, ids { 1, 3 }, T { 1, 0 } }, { 1, 0, 0 } end },
      { "numbers", function(T) return { T(grid):t(), -1, ids { 2 }, T { { 7 }, { 8 }, { 9 } } },
        { { 1, 7 }, { 2, 8 }, { 3, 9 } } end },
      { "numbers", function(T) return { T { 1, 2 }, 1, ids { 1, 1 }, T { 8, 9 } }, { 9, 2 } end },
    },
    errors = { sources_for "index_copy" },
    grads = {
      { function(x, y) return x:index_copy(2, ids { 3, 1, 3 }, y) ^ 2 end, random(2, 3), random(2, 3) },
    },
    large = function(random32) return { random32(300, 200), 1, lurn.randint(1, 300, 50), random32(50, 200) } end,
  },
  index_fill = {
    rest = { -1, ids { 3, 1 }, 2 },
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, 1, ids { 1, 2 }, 1 }, { 1, 1, 1 } end },
      { "numbers", function(T) return { T(grid):t(), 1, ids { 3, 1, 3 }, 7 }, { { 7, 7 }, { 2, 5 }, { 7, 7 } } end },
      { "numbers", function(T) return { T(grid), 1, ids { 2 }, lurn.tensor(7) }, { { 1, 2, 3 }, { 7, 7, 7 } } end },
    },
    errors = { { { x34, 1, ids { 1 }, lurn.ones(2) }, "index_fill: value has shape (2); expected a number" },
      out_of_range("index_fill", 1) },
    grads = {
      { function(x) return x:index_fill(2, ids { 3, 1 }, 2) ^ 2 end, random(2, 3) },
      { function(x, v) return x:index_fill(1, ids { 2, 2 }, v) ^ 2 end, random(2, 3), random() },
    },
    large = function(random32) return { random32(300, 200), 2, lurn.randint(1, 200, 50), 0.5 } end,
  },
  index_add = {
    rest = function(x)
      return { -1, ids { 3, 1 }, lurn.ones(x.ndim == 1 and { 2 } or { x.shape[1], 2 }, { dtype = x.dtype }), 2 }
    end,
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, 1, ids { 1, 2 }, T { 1, 0 } }, { 1, 0, 1 } end },
      { "numbers", function(T) return { T(grid):t(), 1, ids { 3, 1, 3 }, T { { 1, 1 }, { 2, 3 }, { 4, 5 } } },
        { { 3, 7 }, { 2, 5 }, { 8, 12 } } end },
      { "numbers", function(T) return { T { 1, 2 }, 1, ids { 2, 2 }, T { 1, 3 }, { alpha = 2 } }, { 1, 10 } end },
    },
    errors = { sources_for "index_add" },
    grads = {
      { function(x, y) return x:index_add(2, ids { 3, 1, 3 }, y, -2) ^ 2 end, random(2, 3), random(2, 3) },
      { function(x, y) return x:t():index_add(1, ids { 3, 3 }, y) ^ 2 end, random(2, 3), random(2, 2) },
    },
    large = function(random32) return { random32(300, 200), 1, lurn.randint(1, 300, 500), random32(500, 200) } end,
  },
  nonzero = {
    samples = {
      { "all", function(T) return { T { { 0, 1 }, { 1, 0 } } }, { { 1, 2 }, { 2, 1 } } end, "int64" },
      { "numbers", function(T) return { T(grid):t():narrow(1, 3, 1) }, { { 1, 1 }, { 1, 2 } } end, "int64" },
      { "all", function(T) return { T { 0 } }, {} end, "int64" },
      { "all", function(T) return { T(1) }, { {} } end, "int64" },
    },
    errors = {
      { { 1 }, "nonzero: x: expected a tensor, got an integer; methods are called with a colon, x:nonzero(...)" },
    },
    large = function(random32) return { random32(300, 200):gt(0.5) } end,
  },
  masked_select = {
    samples = {
      { "numbers", function(T) return { T(grid), bools { true, false, true } }, { 1, 3, 4, 6 } end },
      { "numbers", function(T) return { T { 1, 2 }, bools { { true, true }, { false, true } } }, { 1, 2, 2 } end },
      { "numbers", function(T) return { T(grid):t(), bools { { true, false }, { false, true }, { true, true } } },
        { 1, 5, 3, 6 } end },
      { "all", function(T) return { T { 1 }, bools { false } }, {} end },
    },
    errors = {
      { { x34, bools { true, false } }, "masked_select: shapes (3, 4) and (2) do not broadcast" },
      { { x34, x34 }, "masked_select: mask is float32; expected bool" },
    },
    grads = {
      { function(x) return x:masked_select(bools { true, false, true }) ^ 2 end, random(2, 3) },
      { function(x) return x:t():masked_select(bools { { { true } }, { { true } } }) ^ 2 end, random(2, 3) },
    },
    large = function(random32) return { random32(300, 200), random32(300, 200):gt(0.5) } end,
  },
  scatter = {
    rest = function(x) return { -1, along_last(x, { 3, 1 }), 2 } end,
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, 1, ids { 1, 3 }, T { 1, 0 } }, { 1, 0, 0 } end },
      { "numbers", function(T) return { T(grid), 1, ids { { 2, 1, 2 } }, T { { 7, 8, 9 } } },
        { { 1, 8, 3 }, { 7, 5, 9 } } end },
      { "numbers", function(T) return { T(grid):t(), 2, ids { { 2 }, { 1 } }, T { { 7, 0 }, { 8, 0 }, { 9, 0 } } },
        { { 1, 7 }, { 8, 5 }, { 3, 6 } } end },
      { "numbers", function(T) return { T(grid), 2, ids { { 1, 1 }, { 2, 3 } }, 7 }, { { 7, 2, 3 }, { 4, 7, 7 } } end },
      { "numbers", function(T) return { T { 1, 2 }, 1, ids { 2, 2 }, T { 8, 9 } }, { 1, 9 } end },
      { "all", function(T) return { T { 1, 0 }, 1, ids {}, 1 }, { 1, 0 } end },
    },
    errors = {
      { { x34, 2, ids { { 5 } }, 1 }, "scatter: index 5; expected 1..4" },
      { { x34, 2, ids { { 0 } }, 1 }, "scatter: index 0; expected 1..4" },
      { { x34, 2, ids { 1 }, 1 },
        "scatter: index of shape (1) does not fit x of shape (3, 4): outside dimension 2 no size may be larger" },
      { { x34, 2, ids { { 1, 2 } }, lurn.ones(1, 1) },
        "scatter: index of shape (1, 2) does not fit source of shape (1, 1): no size may be larger" },
      { { x34, 2, lurn.ones(1, 1), 1 }, "scatter: " .. wrong_ids },
    },
    grads = {
      { function(x, y) return x:scatter(2, ids { { 1, 1 }, { 2, 3 } }, y) ^ 2 end, random(2, 3), random(2, 3) },
      { function(x, y) return x:t():scatter(1, ids { { 3, 1 }, { 3, 1 } }, y) ^ 2 end, random(2, 3), random(2, 2) },
      { function(x, y) return x:scatter(1, ids { { 2, 1 } }, y) ^ 2 end, random(2, 3), random() },
    },
    large = function(random32)
      return { random32(300, 200), 2, lurn.randint(1, 200, 300, 50), random32(300, 50) }
    end,
  },
  scatter_add = {
    rest = function(x)
      local index = along_last(x, { 3, 3 })
      return { -1, index, lurn.ones(index.shape, { dtype = x.dtype }) }
    end,
    samples = {
      { "all", function(T) return { T { 0, 0, 1 }, 1, ids { 1, 2 }, T { 1, 0 } }, { 1, 0, 1 } end },
      { "numbers", function(T) return { T(grid), 2, ids { { 3, 3 }, { 1, 2 } }, T { { 1, 2 }, { 3, 4 } } },
        { { 1, 2, 6 }, { 7, 9, 6 } } end },
      { "numbers", function(T) return { T(grid):t(), 2, ids { { 2 } }, T { { 7 } } },
        { { 1, 11 }, { 2, 5 }, { 3, 6 } } end },
    },
    errors = {
      { { x34, 2, ids { { 5 } }, lurn.ones(1, 1) }, "scatter_add: index 5; expected 1..4" },
      { { x34, 1, ids { { 1, 2 } }, lurn.ones(1, 1) },
        "scatter_add: index of shape (1, 2) does not fit source of shape (1, 1): no size may be larger" },
    },
    grads = {
      { function(x, y) return x:scatter_add(2, ids { { 1, 1 }, { 2, 3 } }, y) ^ 2 end, random(2, 3), random(2, 3) },
      { function(x, y) return x:t():scatter_add(1, ids { { 3, 1 }, { 3, 1 } }, y) ^ 2 end, random(2, 3),
        random(2, 2) },
    },
    large = function(random32)
      return { random32(300, 200), 2, lurn.randint(1, 200, 300, 50), random32(300, 50) }
    end,
  },
  one_hot = {
    samples = {
      { "numbers", function() return { ids { 2, 1 }, 3 }, { { 0, 1, 0 }, { 1, 0, 0 } } end, "int64" },
      { "numbers", function() return { ids { { 2 }, { 1 } }:t() }, { { { 0, 1 }, { 1, 0 } } } end, "int64" },
      { "numbers", function() return { lurn.tensor(1, { dtype = "uint8" }), { classes = 2 } }, { 1, 0 } end, "int64" },
      { "numbers", function() return { ids {}, 2 }, {} end, "int64" },
    },
    errors = {
      { { ids { 3 }, 2 }, "one_hot: index 3; expected 1..2" },
      { { ids { 0 } }, "one_hot: index 0; expected 1..1" },
      { { ids { 1 }, 0 }, "one_hot: classes is 0; expected at least 1" },
      { { ids {} }, "one_hot: no ids to tell the number of classes from; give classes" },
      { { lurn.ones(2), 2 }, "one_hot: " .. wrong_ids },
      { { lurn.ones(2) }, "one_hot: " .. wrong_ids },
    },
    large = function() return { lurn.randint(1, 50, 300), 50 } end,
  },
  repeat_interleave = {
    samples = {
      { "numbers", function(T) return { T(grid), 2, 1 }, { { 1, 2, 3 }, { 1, 2, 3 }, { 4, 5, 6 }, { 4, 5, 6 } } end },
      { "numbers", function(T) return { T(grid):t(), ids { 2, 0, 1 }, -2 }, { { 1, 4 }, { 1, 4 }, { 3, 6 } } end },
      { "all", function(T) return { T { 1, 0 }, 0, 1 }, {} end },
    },
    errors = {
      { { x34, -1, 1 }, "repeat_interleave: -1 copies; expected at least 0" },
      { { x34, 1.5, 1 }, "repeat_interleave: repeats is a number with a fraction; expected whole numbers" },
      { { x34, ids { 1, 2 }, 1 }, "repeat_interleave: repeats has shape (2); expected a number or (3)" },
      { { lurn.tensor(1), 2, 1 }, "repeat_interleave: a scalar has no slices" },
      { { x34, math.maxinteger, 1 }, "repeat_interleave: 9223372036854775807 copies are larger than memory can be" },
    },
    grads = { { function(x) return x:repeat_interleave(ids { 2, 0, 1 }, 2) ^ 2 end, random(2, 3) } },
    large = function(random32) return { random32(300, 200), 3, 2 } end,
  },
}
