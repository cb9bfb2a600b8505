-- x[key] and x[key] = value: views, picking by tensors, masks, and gradients through what was written.

local lurn = require "lurn"

local inf, nan = math.huge, 0 / 0

local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = text:match "^%S-index_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local function read(x, key) local y = x[key] return y end
local function write(x, key, value) x[key] = value end
local function grid() return lurn.arange(12):view(3, 4):to "float32" end
local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end

describe("reading x[key]", function()
  local x = grid()

  it("selects by a position from either end", function()
    assert.same({ 1, 2, 3, 4 }, x[1]:totable())
    assert.same({ 9, 10, 11, 12 }, x[-1]:totable())
    assert.same({ 1, 2, 3, 4 }, x[-3]:totable())
    assert.same({ 5, 6, 7, 8 }, x[2.0]:totable())
    assert.equal(7, x[2][3]:item())
    assert.same({}, x[2][3].shape)
    assert.same({}, lurn.arange(3)[2].shape)
  end)

  it("takes ranges, both ends included", function()
    assert.same({ { 5, 6, 7, 8 }, { 9, 10, 11, 12 } }, x[{ { 2, 3 } }]:totable())
    assert.same({ { 5, 6, 7, 8 }, { 9, 10, 11, 12 } }, x[{ { -2, -1 } }]:totable())
    assert.same({ 2, 3 }, x[{ 1, { 2, 3 } }]:totable())
    assert.same({ 4, 8, 12 }, x[{ {}, 4 }]:totable())
    assert.same({ 4, 8, 12 }, x[{ {}, -1 }]:totable())
    assert.same({ { 5 }, { 9 } }, x[{ { 2, -1 }, { 1 } }]:totable())
    assert.same({ 0, 4 }, x[{ { 3, 2 } }].shape)
    assert.same({ 0, 4 }, x[{ { 1, -4 } }].shape)
    assert.same({ 3, 4 }, x[{}].shape)
    assert.same({ 3, 4 }, x[{ {}, {} }].shape)
    assert.equal(12, x[{ -1, -1 }]:item())
  end)

  it("takes ranges with a step, of which the last place need not be met", function()
    assert.same({ { 1, 2, 3, 4 }, { 9, 10, 11, 12 } }, x[{ { 1, 3, 2 } }]:totable())
    assert.same({ { 1, 4 }, { 5, 8 }, { 9, 12 } }, x[{ {}, { 1, -1, 3 } }]:totable())
    assert.same({ 2, 4 }, x[{ 1, { -3, -1, 2.0 } }]:totable())
    assert.same({ 5, 7 }, x[{ 2, { 1, 4, 2 } }]:totable())
    assert.same({ { 5 } }, x[{ { 2, 3, 2 }, { 1, 4, 9 } }]:totable())
    assert.same({ 1 }, x[{ 1, { 1, 4, math.maxinteger } }]:totable())
    assert.same({ 5, 6, 7 }, x[{ 2, { 1, 3, 1 } }]:totable())
    assert.same({ 0, 4 }, x[{ { 3, 2, 2 } }].shape)
    assert.same({ { 3, 1 }, { 11, 9 } }, x[{ { 1, 3, 2 }, ids { 3, 1 } }]:totable())
    assert.same({ { 1, 3 }, { 9, 11 } }, x[{ { 1, 3, 2 }, { 1, 4, 2 } }]:totable())
    assert.same({ 1, 1 }, lurn.ones(1):expand(5)[{ { 2, 5, 3 } }]:totable())
  end)

  it("gives views, not copies", function()
    local y = grid()
    y[{ { 1, 3, 2 }, { 2, 4, 2 } }]:mul_(0)
    assert.same({ { 1, 0, 3, 0 }, { 5, 6, 7, 8 }, { 9, 0, 11, 0 } }, y:totable())
    y = grid()
    y[2]:fill_(0)
    y[{ {}, { 4 } }]:fill_(-1)
    assert.same({ { 1, 2, 3, -1 }, { 0, 0, 0, -1 }, { 9, 10, 11, -1 } }, y:totable())
    y:t()[1]:mul_(10)
    assert.same({ 10, 0, 90 }, y[{ {}, 1 }]:totable())
    assert.is_true(y[1]:same_as(y[-3]))
    assert.is_false(y[1]:same_as(y[2]))
  end)

  it("picks slices by a tensor of positions, as a copy", function()
    local y = x[ids { 3, 1, 3 }]
    assert.same({ { 9, 10, 11, 12 }, { 1, 2, 3, 4 }, { 9, 10, 11, 12 } }, y:totable())
    y:zero_()
    assert.equal(78, x:sum():item())
    assert.same({ 0, 4 }, x[ids {}].shape)
    assert.equal("index: index 0; expected 1..3", message(read, x, ids { 0 }))
    assert.equal("index: index -1; expected 1..3", message(read, x, ids { -1 }))
    assert.equal("index: index 5; expected 1..4", message(read, x, { {}, ids { 5 } }))
    assert.equal("index: indices are float32; expected int64 or another integer type", message(read, x, lurn.ones(1)))
  end)

  it("picks by positions of any shape", function()
    assert.same({ { { 9, 10, 11, 12 } }, { { 1, 2, 3, 4 } } }, x[ids { { 3 }, { 1 } }]:totable())
    assert.same({ 5, 6, 7, 8 }, x[ids(2)]:totable())
    assert.same({ 2, 0, 4 }, x[lurn.zeros(2, 0, { dtype = "int64" })].shape)
    assert.same({ 5, 6, 7, 8 }, x[lurn.tensor(2, { dtype = "uint8" })]:totable())
  end)

  it("picks by a tensor beside numbers and ranges", function()
    assert.same({ { 10, 11 }, { 2, 3 } }, x[{ ids { 3, 1 }, { 2, 3 } }]:totable())
    assert.same({ { 4, 1 }, { 8, 5 }, { 12, 9 } }, x[{ {}, ids { 4, 1 } }]:totable())
    assert.same({ 12, 9 }, x[{ -1, ids { 4, 1 } }]:totable())
    assert.same({ 11, 3 }, x[{ ids { 3, 1 }, 3 }]:totable())
    assert.same({ { { 4, 1 } }, { { 8, 5 } } }, x[{ { 1, 2 }, ids { { 4, 1 } } }]:totable())
  end)

  it("picks by several tensors together", function()
    assert.same({ 10, 4 }, x[{ ids { 3, 1 }, ids { 2, 4 } }]:totable())
    assert.same({ { 10, 12 }, { 2, 4 } }, x[{ ids { { 3 }, { 1 } }, ids { 2, 4 } }]:totable())
    assert.same({ 2, 12 }, x[{ x[{ {}, 1 }]:ne(5), ids { 2, 4 } }]:totable())
    local y = lurn.arange(24):view(2, 3, 4) -- those apart come first
    assert.same({ { 1, 5, 9 }, { 16, 20, 24 } }, y[{ ids { 1, 2 }, {}, ids { 1, 4 } }]:totable())
  end)

  it("picks what a mask is true for", function()
    assert.same({ 11, 12 }, x[x:gt(10)]:totable())
    assert.same({ { 1, 2, 3, 4 }, { 9, 10, 11, 12 } }, x[x[{ {}, 1 }]:ne(5)]:totable())
    assert.same({ { 1, 3 }, { 5, 7 }, { 9, 11 } }, x[{ {}, (x[1] % 2):gt(0) }]:totable())
    assert.same({ { 10, 11 } }, x[{ x[{ {}, 1 }]:gt(5), { 2, 3 } }]:totable())
    assert.same({ 0 }, x[x:gt(12)].shape)
    assert.same({ 0, 4 }, x[x[{ {}, 1 }]:gt(12)].shape)
    local y = lurn.arange(12):view(3, 2, 2)
    assert.same({ { 3, 4 }, { 9, 10 } }, y[y[{ {}, {}, 1 }]:remainder(6):eq(3)]:totable())
    assert.same({ 3, 9 }, y[{ y[{ {}, {}, 1 }]:remainder(6):eq(3), 1 }]:totable())
    assert.equal("index: a mask of shape (4) does not fit x of shape (3, 4): its sizes must be those of x from "
      .. "dimension 1 on", message(read, x, x[1]:gt(2)))
    assert.equal("index: 3 positions for a tensor with 2 dimensions", message(read, x, { x:gt(2), 1 }))
  end)

  it("refuses what is out of range", function()
    assert.equal("select: index 4 in dimension 1 of size 3", message(read, x, 4))
    assert.equal("select: index -4 in dimension 1 of size 3", message(read, x, -4))
    assert.equal("select: index 5 in dimension 2 of size 4", message(read, x, { {}, 5 }))
    assert.equal("index: position is 0; counting starts at 1, or at -1 from the end", message(read, x, 0))
    assert.equal("index: position is 0; counting starts at 1, or at -1 from the end", message(read, x, { { 0, 1 } }))
    assert.equal("index: range {2, 9} in dimension 1 of size 3", message(read, x, { { 2, 9 } }))
    assert.equal("index: range {3, 1} in dimension 1 of size 3", message(read, x, { { 3, 1 } }))
    assert.equal("index: range {-9, 1} in dimension 2 of size 4", message(read, x, { {}, { -9, 1 } }))
    assert.equal("index: range {2, 9, 3} in dimension 1 of size 3", message(read, x, { { 2, 9, 3 } }))
    assert.equal("index: range {-1, 1, 2} in dimension 2 of size 4", message(read, x, { {}, { -1, 1, 2 } }))
    assert.equal(("index: range {%d, %d, %d} in dimension 1 of size 3"):format(math.mininteger, math.mininteger,
      math.maxinteger), message(read, x, { { math.mininteger, math.mininteger, math.maxinteger } }))
    assert.equal("index: 3 positions for a tensor with 2 dimensions", message(read, x, { 1, 2, 3 }))
    assert.equal("index: 9 positions; a tensor has at most 8 dimensions",
      message(read, x, { 1, 1, 1, 1, 1, 1, 1, 1, 1 }))
    assert.equal("index: 1 positions for a tensor with 0 dimensions", message(read, lurn.tensor(1), 1))
    assert.equal("select: index 1 in dimension 1 of size 0", message(read, lurn.zeros(0), 1))
  end)

  it("does not overflow at the ends of the integers", function()
    local most, least = math.maxinteger, math.mininteger
    for _, range in ipairs { { most, least }, { least, most }, { most, most }, { least, least }, { 1, most },
      { most, 1 } } do
      assert.equal(("index: range {%d, %d} in dimension 1 of size 3"):format(range[1], range[2]),
        message(read, x, { range }))
    end
    assert.truthy(message(read, x, most):find "^select: index ")
    assert.truthy(message(read, x, least):find "^select: index ")
  end)

  it("refuses what is no key", function()
    assert.equal("index: position: expected a whole number, got 1.5", message(read, x, 1.5))
    assert.equal("index: position: expected a whole number, got inf", message(read, x, inf))
    assert.truthy(message(read, x, nan):find "^index: position: expected a whole number, got %-?nan$")
    assert.equal("index: position: expected a whole number, got a boolean", message(read, x, true))
    assert.equal("index: position: expected a whole number, got a string", message(read, x, { "1" }))
    assert.equal("index: position: expected a whole number, got a function", message(read, x, print))
    assert.equal("index: a range is {first, last, step}, {first, last}, {position} or {}; other positions are named by "
      .. 'a tensor, such as lurn.tensor({1, 4, 2}, {dtype = "int64"})', message(read, x, { { 1, 2, 3, 4 } }))
    for _, step in ipairs { 0, -1, math.mininteger } do
      assert.equal(("index: the step of a range is %d; expected at least 1; flip turns x around"):format(step),
        message(read, x, { { 1, 3, step } }))
    end
    assert.equal("index: step of a range: expected a whole number, got 1.5", message(read, x, { { 1, 3, 1.5 } }))
    assert.equal("index: step of a range: expected a whole number, got a string", message(read, x, { { 1, 3, "2" } }))
    assert.equal("index: expected a list of positions, got a table with other keys",
      message(read, x, { { first = 1 } }))
    assert.equal("index: expected a list of positions, got a table with other keys", message(read, x, { row = 1 }))
    assert.equal('a tensor has no field or method "1"', message(read, x, "1"))
  end)

  it("reads lists raw", function()
    local list = setmetatable({}, { __len = function() return 2 end, __index = function() x:free() end })
    assert.same({ 3, 4 }, x[list].shape)
    assert.same({ 3, 4 }, x.shape)
  end)

  it("carries gradients", function()
    local y = lurn.randn(3, 4, { dtype = "float64", requires_grad = true })
    assert(lurn.gradcheck(function(t)
      return (t[2] * t[-1]):sum() + (t[{ { 1, 2 }, 3 }] ^ 2):sum() + (t[ids { 1, 1, 3 }] ^ 3):sum() + t[3][1] ^ 2
        + (t[{ {}, ids { { 2, 2 } } }] ^ 2):sum() + (t[t:detach():gt(0)] ^ 3):sum()
        + (t[{ ids { 1, 3, 3 }, ids { 2, 4, 4 } }] ^ 2):sum() + (t[{ { 1, 3, 2 }, { 2, 4, 2 } }] ^ 3):sum()
    end, { y }))
  end)
end)

describe("writing x[key] = value", function()
  it("takes numbers and booleans", function()
    local x = grid()
    x[1] = 0
    x[{ {}, 4 }] = -1.5
    x[3][1] = 7
    x[{ { 2, 3 }, { 2, 3 } }] = true
    assert.same({ { 0, 0, 0, -1.5 }, { 5, 1, 1, -1.5 }, { 7, 1, 1, -1.5 } }, x:totable())
    local mask = lurn.zeros(3, { dtype = "bool" })
    mask[2] = true
    assert.same({ false, true, false }, mask:totable())
    local big = lurn.zeros(2, { dtype = "int64" })
    big[1] = (1 << 53) + 1
    assert.equal((1 << 53) + 1, big:get(1))
  end)

  it("takes tensors that broadcast, of any dtype", function()
    local x = grid()
    x[1] = lurn.tensor({ 1, 2, 3, 4 }, { dtype = "float64" }) * 10
    x[{ { 2, 3 } }] = lurn.tensor({ { 5 }, { 6 } }, { dtype = "int64" })
    x[{ {}, 1 }] = lurn.tensor(-1)
    assert.same({ { -1, 20, 30, 40 }, { -1, 5, 5, 5 }, { -1, 6, 6, 6 } }, x:totable())
    x[{}] = 0
    assert.equal(0, x:sum():item())
    x[{ { 3, 2 } }] = 5
    assert.equal(0, x:sum():item())
  end)

  it("fills a range with a step", function()
    local x = grid()
    x[{ { 1, 3, 2 } }] = 0
    x[{ 2, { 2, -1, 2 } }] = lurn.tensor { -1, -2 }
    assert.same({ { 0, 0, 0, 0 }, { 5, -1, 7, -2 }, { 0, 0, 0, 0 } }, x:totable())
    x[{ { 1, 3, 2 }, ids { 4 } }] = 9
    assert.same({ { 0, 0, 0, 9 }, { 5, -1, 7, -2 }, { 0, 0, 0, 9 } }, x:totable())
    assert.equal("copy_: source of shape (3) does not broadcast to (2)",
      message(write, x, { 1, { 1, 4, 2 } }, lurn.ones(3)))
  end)

  it("takes a part of itself", function()
    local x = lurn.arange(5)
    x[{ { 2, 5 } }] = x[{ { 1, 4 } }]
    assert.same({ 1, 1, 2, 3, 4 }, x:totable())
    x[{ { 2, 4, 2 } }] = x[{ { 3, 5, 2 } }]
    assert.same({ 1, 2, 2, 4, 4 }, x:totable())
    x = lurn.arange(5)
    x[{ { 1, 5, 2 } }] = x[{ { 1, 3 } }]
    assert.same({ 1, 2, 2, 4, 3 }, x:totable())
    x[{ { 1, 4, 3 } }]:add_(x[{ { 2, 4, 2 } }])
    assert.same({ 3, 2, 2, 8, 3 }, x:totable())
    local y = grid()[{ {}, { 1, 3 } }]
    y[{}] = y:t()
    assert.same({ { 1, 5, 9 }, { 2, 6, 10 }, { 3, 7, 11 } }, y:totable())
  end)

  it("sets what a mask is true for", function()
    local x = grid()
    x[x:gt(6)] = 0
    assert.same({ { 1, 2, 3, 4 }, { 5, 6, 0, 0 }, { 0, 0, 0, 0 } }, x:totable())
    x[lurn.tensor({ true, false, true }, { dtype = "bool" })] = -1
    assert.same({ -1, 5, -1 }, x[{ {}, 1 }]:totable())
    x[x:lt(0)] = true
    assert.same({ 1, 5, 0 }, { x:get(1, 1), x:get(2, 1), x:get(1, 1) - x:get(3, 1) })
    local b = lurn.zeros(2, { dtype = "bool" })
    b[b:logical_not()] = true
    assert.same({ true, true }, b:totable())
    x[x:isnan()] = 5
    local big = lurn.zeros(2, { dtype = "int64" })
    big[big:eq(0)] = (1 << 53) + 1
    assert.same({ (1 << 53) + 1, (1 << 53) + 1 }, big:totable())
  end)

  it("puts a tensor where a mask is true, in order", function()
    local x = grid()
    x[x:gt(10)] = lurn.tensor { -1, -2 }
    assert.same({ 9, 10, -1, -2 }, x[3]:totable())
    local mask = lurn.tensor({ true, false, true }, { dtype = "bool" })
    x[mask] = lurn.tensor { { 1 }, { 2 } }
    assert.same({ { 1, 1, 1, 1 }, { 5, 6, 7, 8 }, { 2, 2, 2, 2 } }, x:totable())
    x[mask] = lurn.tensor { 4, 3, 2, 1 }
    assert.same({ { 4, 3, 2, 1 }, { 5, 6, 7, 8 }, { 4, 3, 2, 1 } }, x:totable())
    x[{ mask, { 2, 3 } }] = 0
    assert.same({ { 4, 0, 0, 1 }, { 5, 6, 7, 8 }, { 4, 0, 0, 1 } }, x:totable())
    x[{ {}, x[2]:gt(6) }] = lurn.tensor { { 1 }, { 2 }, { 3 } }
    assert.same({ { 4, 0, 1, 1 }, { 5, 6, 2, 2 }, { 4, 0, 3, 3 } }, x:totable())
  end)

  it("puts numbers and tensors at positions; the last of equal ones stays", function()
    local x = grid()
    x[ids { 1, 3 }] = 0
    assert.same({ { 0, 0, 0, 0 }, { 5, 6, 7, 8 }, { 0, 0, 0, 0 } }, x:totable())
    x[{ {}, ids { 1, 4, 1 } }] = lurn.tensor { 1, 2, 3 }
    assert.same({ { 3, 0, 0, 2 }, { 3, 6, 7, 2 }, { 3, 0, 0, 2 } }, x:totable())
    x[{ ids { 1, 2 }, ids { 2, 3 } }] = lurn.tensor { 9, 8 }
    assert.same({ { 3, 9, 0, 2 }, { 3, 6, 8, 2 }, { 3, 0, 0, 2 } }, x:totable())
    x[{ 2, ids { 1, 2 } }] = x[{ 1, ids { 2, 1 } }]
    assert.same({ 9, 3, 8, 2 }, x[2]:totable())
    local y = lurn.zeros(2, 3, 2)
    y[{ ids { 1, 2 }, {}, ids { 1, 2 } }] = lurn.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    assert.same({ { { 1, 0 }, { 2, 0 }, { 3, 0 } }, { { 0, 4 }, { 0, 5 }, { 0, 6 } } }, y:totable())
  end)

  it("refuses what does not fit", function()
    local x = grid()
    assert.equal("copy_: source of shape (3) does not broadcast to (4)", message(write, x, 1, lurn.ones(3)))
    assert.equal("copy_: source of shape (2, 4) does not broadcast to (4)", message(write, x, 1, lurn.ones(2, 4)))
    assert.equal("index: cannot assign a string; expected a tensor or a number", message(write, x, 1, "5"))
    assert.equal("index: cannot assign nil; expected a tensor or a number", message(write, x, 1, nil))
    assert.equal("index: cannot assign a table; expected a tensor or a number", message(write, x, 1, { 1, 2, 3, 4 }))
    assert.equal("select: index 4 in dimension 1 of size 3", message(write, x, 4, 0))
    assert.equal("index: range {1, 9} in dimension 1 of size 3", message(write, x, { { 1, 9 } }, 0))
    assert.equal("index_put_: index 4; expected 1..3", message(write, x, ids { 1, 4 }, 0))
    assert.equal("index_put_: indices are float32; expected int64 or another integer type",
      message(write, x, lurn.ones(1), 0))
    assert.equal("index_put_: source of shape (2) does not broadcast to (12)",
      message(write, x, x:gt(0), lurn.ones(2)))
    assert.equal("index_put_: a mask of shape (2) does not fit x of shape (3, 4): its sizes must be those of x from "
      .. "dimension 1 on", message(write, x, lurn.zeros(2, { dtype = "bool" }), 0))
    assert.equal("index_put_: a mask of shape (4) does not fit x of shape (3, 4): its sizes must be those of x from "
      .. "dimension 1 on", message(write, x, x[1]:gt(0), 0))
    assert.equal("copy_: the tensor was expanded: several of its elements share memory; clone it first",
      message(write, lurn.ones(1, 3):expand(2, 3), { {}, 1 }, 0))
    assert.same(grid():totable(), x:totable())
  end)

  it("refuses a leaf that requires a gradient, but in no_grad", function()
    local w = lurn.ones(2, 2, { requires_grad = true })
    assert.equal("copy_: the tensor is a view of a leaf that requires a gradient; use no_grad", message(write, w, 1, 0))
    assert.equal("index_put_: a leaf that requires a gradient cannot be changed in place; use no_grad",
      message(write, w, w:gt(0), 0))
    lurn.no_grad(function()
      w[1] = 5
      w[w:eq(1)] = 2
    end)
    assert.same({ { 5, 5 }, { 2, 2 } }, w:totable())
  end)

  it("leads gradients back from a buffer to what was written into it", function()
    local h = lurn.randn(3, 2, { dtype = "float64", requires_grad = true })
    local w = lurn.randn(2, 2, { dtype = "float64", requires_grad = true })
    assert(lurn.gradcheck(function(a, b)
      local buffer = lurn.zeros(3, 2, { dtype = "float64" })
      local state = a[1]
      for t = 1, 3 do
        state = (state:matmul(b) + a[t]):tanh()
        buffer[t] = state
      end
      buffer[{ {}, 1 }] = buffer[{ {}, 1 }] * 2
      buffer[{ { 1, 3, 2 }, 2 }] = b[1] * a[{ { 1, 3, 2 }, 2 }]
      buffer[2] = 0.5
      buffer[ids { 1, 1 }] = buffer[ids { 3, 1 }] * 3
      buffer[{ 3, lurn.tensor({ true, false }, { dtype = "bool" }) }] = a[1][2]
      return (buffer ^ 2):sum()
    end, { h, w }))
    h.grad = nil
    local buffer = lurn.zeros(3, 2, { dtype = "float64" })
    buffer[2] = h[1] * 3
    assert.is_true(buffer.requires_grad)
    buffer:sum():backward()
    assert.same({ { 3, 3 }, { 0, 0 }, { 0, 0 } }, h.grad:totable())
  end)

  it("leads no gradient to what was overwritten", function()
    local x = lurn.ones(3, { requires_grad = true })
    local y = x * 2
    y[2] = 7
    y[y:gt(5)] = 1
    y:sum():backward()
    assert.same({ 2, 0, 2 }, x.grad:totable())
  end)

  it("adds multiples of integers exactly, and in the dtype of x", function()
    local one = lurn.tensor({ 1 }, { dtype = "int64" })
    local function add(x, source, alpha) return x:index_add(1, one, source, alpha) end
    local large = lurn.tensor({ 16777217 }, { dtype = "int64" })
    assert.equal(33554434, add(lurn.zeros(1, { dtype = "int64" }), large, 2):item())
    assert.equal(-33554434.0, add(lurn.zeros(1, { dtype = "float64" }), large, -2):item())
    assert.equal(0.1, add(lurn.zeros(1, { dtype = "float64" }), lurn.ones(1), 0.1):item())
    assert.equal("index_add: alpha is 0.5, expected a whole number for int64",
      message(add, lurn.zeros(1, { dtype = "int64" }), large, 0.5))
    assert.equal("one_hot: index -5; expected 1..1", message(lurn.one_hot, lurn.tensor({ -5 }, { dtype = "int64" })))
  end)

  it("makes a backward through the former value an error", function()
    local x = lurn.ones(3, { requires_grad = true })
    local y = x * 2
    local z = (y * y):sum()
    y[1] = 0
    assert.truthy(message(z.backward, z):find "was changed in place after it was used")
  end)
end)
