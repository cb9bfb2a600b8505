-- Edges of ops: NaN, infinities, integers that floats cannot hold, sizes that no memory has, rounding.

local lurn = require "lurn"
local inf, nan = math.huge, 0 / 0

local function f64(values) return lurn.tensor(values, { dtype = "float64" }) end
local function i64(values) return lurn.tensor(values, { dtype = "int64" }) end
local function leaf(values, dtype) return lurn.tensor(values, { dtype = dtype, requires_grad = true }) end

local function fails(words, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok, "no error came")
  assert.truthy(message:find(words, 1, true), message)
end

local function check_list(want, t)
  local got = t:totable()
  assert.equal(#want, #got)
  for i, v in ipairs(want) do
    assert.truthy(v == got[i] or (v ~= v and got[i] ~= got[i]), ("%d: %s; expected %s"):format(i, got[i], v))
  end
end

describe("the gradient", function()
  -- as PyTorch 1.13: an element that is NaN lies neither inside nor outside, and passes what arrives
  it("passes NaN in activations", function()
    for _, dtype in ipairs { "float32", "float64" } do
      for _, f in ipairs { lurn.relu, lurn.elu, lurn.hardtanh } do
        local x = leaf({ nan, 0.5, nan }, dtype)
        f(x):backward(lurn.tensor({ 2, 3, -4 }, { dtype = dtype }))
        check_list({ 2, 3, -4 }, x.grad)
      end
    end
  end)

  it("passes NaN in maximum and minimum to both operands", function()
    for _, f in ipairs { lurn.maximum, lurn.minimum } do
      local a, b = leaf({ nan, 1, 3, nan }, "float64"), leaf({ 1, nan, 3, nan }, "float64")
      f(a, b):backward(f64 { 2, 3, 4, 5 })
      check_list({ 2, 3, 2, 5 }, a.grad)
      check_list({ 2, 3, 2, 5 }, b.grad)
    end
  end)

  it("of an operand stays in range where the slope alone would not", function()
    for _, f in ipairs { lurn.log10, lurn.log2 } do
      local x = leaf({ 0x1p-130, 2 }, "float32")
      f(x):backward(lurn.tensor { 0x1p-20, 1 })
      local slope = f == lurn.log10 and 1 / math.log(10) or 1 / math.log(2)
      local want = slope * 0x1p110
      assert.truthy(math.abs(x.grad:get(1) - want) <= 1e-6 * want, x.grad:get(1))
    end
  end)

  it("of atan2 holds beside integers, whose squares would wrap", function()
    local b = leaf({ 3 }, "float64")
    lurn.tensor({ 200 }, { dtype = "uint8" }):atan2(b):backward()
    assert.near(-200 / (200 ^ 2 + 9), b.grad:item(), 1e-15)
    b.grad = nil
    i64({ 1 << 40 }):atan2(b):backward()
    assert.near(-0x1p-40, b.grad:item(), 1e-25)
  end)

  it("of trunc and frac needs nothing of x, which may change", function()
    for _, f in ipairs { lurn.trunc, lurn.frac } do
      local x = leaf({ 1.5, -2.25 }, "float64")
      local h = x * 1
      local y = f(h)
      h:zero_()
      y:sum():backward()
      check_list(f == lurn.frac and { 1, 1 } or { 0, 0 }, x.grad)
    end
  end)

  it("of a median that is NaN goes to the first NaN", function()
    local x = leaf({ 1, nan, 2, nan, 0 }, "float32")
    local value, place = x:median(1)
    assert.truthy(value:item() ~= value:item())
    assert.equal(2, place:item())
    value:backward()
    check_list({ 0, 1, 0, 0, 0 }, x.grad)
  end)
end)

describe("rounding", function()
  it("leaves the variance right where the mean is far larger than the spread", function()
    local x = lurn.tensor { 1e7, 1e7 + 1 } -- the mean 1e7 + 0.5 is no float32
    assert.equal(0.5, x:var():item())
    assert.near(math.sqrt(0.5), x:std():item(), 1e-7)
    x:requires_grad_()
    x:var():backward()
    check_list({ -1, 1 }, x.grad)
  end)

  it("ends lerp at b", function()
    local a, b = lurn.tensor { 1e8, -3 }, lurn.tensor { 1, 0.1 }
    check_list(b:totable(), a:lerp(b, 1))
    check_list(a:totable(), a:lerp(b, 0))
    check_list(b:totable(), a:lerp(b, lurn.ones(2)))
    check_list({ 1e8, b:get(2) }, a:lerp(b, lurn.tensor { 0, 1 }))
    check_list({ 1, 7 }, f64({ 0, 4 }):lerp(f64 { 4, 8 }, f64 { 0.25, 0.75 }))
    check_list({ -1, 3 }, f64({ 0, 4 }):lerp_(f64 { 4, 3 }, f64 { -0.25, 1 }))
  end)

  it("keeps uniform numbers below their end", function()
    -- float32 has steps of 2 there: what is not the start would be the end
    local x = lurn.zeros(500):uniform_(2 ^ 24, 2 ^ 24 + 2)
    assert.equal(2 ^ 24, x:max():item())
    local y = lurn.zeros(500, { dtype = "float64" }):uniform_(2 ^ 53, 2 ^ 53 + 2)
    assert.equal(2 ^ 53, y:max():item())
    assert.equal(3, lurn.zeros(2):uniform_(3, 3):max():item())
  end)

  it("gives float64 its own 53 random bits", function()
    lurn.manual_seed(3)
    local x, fine = lurn.rand(1000, { dtype = "float64" }), 0
    for _, v in ipairs(x:totable()) do fine = fine + (v * 0x1p24 % 1 ~= 0 and 1 or 0) end
    assert.truthy(fine > 990, fine)
    assert.near(0.5, x:mean():item(), 0.03) -- 3 standard deviations
    assert.equal(1000, #(x:unique():totable()))
  end)

  it("does not touch integers that are searched for a float", function()
    local sorted = i64 { 1 << 24, (1 << 24) + 1, (1 << 24) + 2 }
    assert.equal(2, sorted:searchsorted(2 ^ 24 + 0.5):item())
    assert.equal(3, sorted:searchsorted(lurn.tensor { 2 ^ 24 + 2 }):item())
  end)
end)

describe("sizes", function()
  it("that no memory has are refused without elements too", function()
    local huge = 1 << 62
    fails("view: a tensor of shape (0, " .. huge .. ", " .. huge .. ") is larger than memory can be", lurn.view,
      lurn.zeros(0), { 0, huge, huge })
    fails("reshape: a tensor of shape (" .. huge .. ", 0, " .. huge .. ") is larger than memory can be", lurn.reshape,
      lurn.zeros(0), { huge, 0, huge })
  end)

  it("are added up with care", function()
    local many, x = {}, lurn.zeros(1):expand(1 << 58)
    for i = 1, 40 do many[i] = x end
    fails("cat: the result is larger than memory can be", lurn.cat, many, 1)
  end)
end)

describe("errors", function()
  it("of comparisons in place name what was called", function()
    for _, dtype in ipairs { "float32", "int64", "bool" } do
      for _, name in ipairs { "eq_", "ne_", "lt_", "le_", "gt_", "ge_", "logical_and_", "logical_or_",
        "logical_xor_" } do
        local x, y = lurn.zeros(2, { dtype = dtype }), lurn.zeros(3, { dtype = dtype })
        fails(name .. ": shapes (2) and (3) do not broadcast", lurn.methods[name], x, y)
        fails(name .. ": the result of shape (3, 2) does not fit in place into (2)", lurn.methods[name], x,
          lurn.zeros(3, 2))
      end
    end
  end)

  it("of random numbers name what was called", function()
    for _, name in ipairs { "uniform_", "normal_", "bernoulli_" } do
      local x = lurn.zeros(1):expand(3)
      fails(name .. ": the tensor was expanded: several of its elements share memory; clone it first",
        lurn.methods[name], x)
    end
  end)

  it("tell of weights whose sum is not finite", function()
    fails("multinomial: the weights of a row add up to infinity", lurn.multinomial, f64 { 1e308, 1e308, 1 })
    fails("multinomial: weight inf; expected finite numbers of at least 0", lurn.multinomial, f64 { 1, inf })
  end)
end)
