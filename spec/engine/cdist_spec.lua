-- Euclidean distances of many float32 rows, which go by products of matrices, against those of the same numbers as
-- float64, which do not.

local lurn = require "lurn"
local inf, nan = math.huge, 0 / 0

-- Of half a unit in the last place of float32 the roots and sums in float64 leave a little.
local ROUNDING <const> = 2 ^ -24 * 1.01

local function check(a, b)
  local y, want = lurn.cdist(a, b), lurn.cdist(a:double(), b:double())
  assert.same(want.shape, y.shape)
  assert.equal("float32", y.dtype)
  local off = (y:double() - want):abs():sub(want * ROUNDING)
  assert.is_true(off:le(0):all():item(), ("%g too far"):format(off:max():item()))
  return y
end

describe("cdist of many rows", function()
  lurn.manual_seed(4)

  it("is right to the last digit, of near rows too", function()
    local a, b = lurn.randn(40, 12), lurn.randn(33, 12)
    check(a, b)
    check(a + 1000, b + 1000)
    check(a * 1e-3 + 1000, b * 1e-3 + 1000) -- all near
    check(a * 1e-25, b * 1e18)
    check(lurn.randn(17, 300), lurn.randn(16, 300))
    for i = 1, 5 do b[{ 6 * i }] = a[i] + 1e-4 * i end -- some near
    check(a, b)
  end)

  it("is 0 of equal rows, which pass no gradient", function()
    local x = (lurn.randn(64, 16) * 100 + 7):requires_grad_()
    local y = check(x:detach(), x:detach())
    assert.is_true(y:diagonal():eq(0):all():item())
    lurn.cdist(x, x:detach()):diagonal():sum():backward()
    assert.is_true(x.grad:eq(0):all():item())
  end)

  it("keeps infinities and NaN where they are", function()
    local a, b = lurn.randn(20, 8), lurn.randn(24, 8)
    a[{ 3, 2 }], a[{ 5, 1 }], b[{ 7, 2 }] = inf, nan, inf
    local y = lurn.cdist(a, b)
    local want = lurn.cdist(a:double(), b:double())
    assert.is_true(y:isnan():equal(want:isnan()))
    assert.is_true(y:eq(inf):equal(want:eq(inf)))
    assert.equal(inf, y:get(3, 1))
    assert.is_true(y[{ 3, 7 }]:isnan():item())
  end)

  it("broadcasts what stands in front, from views too", function()
    local a, b = lurn.randn(2, 1, 9, 20), lurn.randn(3, 18, 9)
    local y = check(a:transpose(3, 4), b)
    assert.same({ 2, 3, 20, 18 }, y.shape)
    local one = lurn.cdist(a[{ 2, 1 }]:t(), b[3])
    assert.is_true(one:equal(y[{ 2, 3 }]))
    assert.same({ 0, 20, 18 }, lurn.cdist(lurn.zeros(0, 20, 9), b[1]).shape)
  end)

  it("has the gradients of float64, and the same bits on any threads", function()
    local a, b, weight = lurn.randn(64, 32), lurn.randn(50, 32), lurn.randn(64, 50)
    local function gradients(dtype)
      local x, y = a:to(dtype):requires_grad_(), b:to(dtype):requires_grad_()
      local distances = lurn.cdist(x, y)
      ;(distances * weight:to(dtype)):sum():backward()
      return distances:detach(), x.grad, y.grad
    end
    local before = lurn.get_num_threads()
    finally(function() lurn.set_num_threads(before) end)
    lurn.set_num_threads(1)
    local y, ga, gb = gradients "float32"
    local _, want_a, want_b = gradients "float64"
    assert.is_true((ga:double() - want_a):abs():max():item() < 1e-5)
    assert.is_true((gb:double() - want_b):abs():max():item() < 1e-5)
    lurn.set_num_threads(4)
    local again, again_a, again_b = gradients "float32"
    assert.is_true(again:equal(y) and again_a:equal(ga) and again_b:equal(gb))
  end)
end)
