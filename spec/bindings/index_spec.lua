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

  it("gives views, not copies", function()
    local y = grid()
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
    assert.equal("index_select: index 0; expected 1..3", message(read, x, ids { 0 }))
    assert.equal("index_select: index -1; expected 1..3", message(read, x, ids { -1 }))
    assert.equal("index_select: indices are float32; expected int64 or another integer type",
      message(read, x, lurn.ones(1)))
    assert.equal("index_select: index has shape (1, 1); expected one dimension", message(read, x, ids { { 1 } }))
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
    assert.equal("index: a range is {first, last}, {position} or {}", message(read, x, { { 1, 2, 3 } }))
    assert.equal("index: expected a list of positions, got a table with other keys",
      message(read, x, { { first = 1 } }))
    assert.equal("index: expected a list of positions, got a table with other keys", message(read, x, { row = 1 }))
    assert.equal("index: a mask of bools cannot be read with in this version", message(read, x, x:gt(2)))
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

  it("takes a part of itself", function()
    local x = lurn.arange(5)
    x[{ { 2, 5 } }] = x[{ { 1, 4 } }]
    assert.same({ 1, 1, 2, 3, 4 }, x:totable())
    local y = grid()[{ {}, { 1, 3 } }]
    y[{}] = y:t()
    assert.same({ { 1, 5, 9 }, { 2, 6, 10 }, { 3, 7, 11 } }, y:totable())
  end)

  it("sets what a mask is true for", function()
    local x = grid()
    x[x:gt(6)] = 0
    assert.same({ { 1, 2, 3, 4 }, { 5, 6, 0, 0 }, { 0, 0, 0, 0 } }, x:totable())
    x[lurn.tensor({ true, false, false, false }, { dtype = "bool" })] = -1
    assert.same({ -1, -1, -1 }, x[{ {}, 1 }]:totable())
    x[x:lt(0)] = true
    assert.same({ 1, 1, 0 }, { x:get(1, 1), x:get(2, 1), x:get(1, 1) - x:get(3, 1) })
    local b = lurn.zeros(2, { dtype = "bool" })
    b[b:logical_not()] = true
    assert.same({ true, true }, b:totable())
    x[x:isnan()] = 5
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
    assert.equal("index: a tensor to assign by is a mask of bools, this is int64", message(write, x, ids { 1 }, 0))
    assert.equal("index: only a number or a boolean can be assigned by a mask, not a tensor",
      message(write, x, x:gt(0), lurn.ones(1)))
    assert.equal("masked_fill_: shapes (2), () and (3, 4) do not broadcast",
      message(write, x, lurn.zeros(2, { dtype = "bool" }), 0))
    assert.equal("copy_: the tensor was expanded: several of its elements share memory; clone it first",
      message(write, lurn.ones(1, 3):expand(2, 3), { {}, 1 }, 0))
    assert.same(grid():totable(), x:totable())
  end)

  it("refuses a leaf that requires a gradient, but in no_grad", function()
    local w = lurn.ones(2, 2, { requires_grad = true })
    assert.equal("copy_: the tensor is a view of a leaf that requires a gradient; use no_grad", message(write, w, 1, 0))
    assert.equal("masked_fill_: a leaf that requires a gradient cannot be changed in place; use no_grad",
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
      buffer[2] = 0.5
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

  it("makes a backward through the former value an error", function()
    local x = lurn.ones(3, { requires_grad = true })
    local y = x * 2
    local z = (y * y):sum()
    y[1] = 0
    assert.truthy(message(z.backward, z):find "was changed in place after it was used")
  end)
end)
