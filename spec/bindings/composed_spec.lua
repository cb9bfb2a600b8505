-- Functions made of several ops: values against plain Lua, gradients, and what they refuse.

local lurn = require "lurn"

local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = text:match "^%S-composed_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function i64(t) return lurn.tensor(t, { dtype = "int64" }) end
local function same(expected, t) assert.same(expected, t:totable()) end
local function leaf(...) return lurn.randn(...):double():requires_grad_() end
local inf, nan = math.huge, 0 / 0

describe("bernoulli", function()
  it("draws 0 and 1 by the elements' probabilities", function()
    lurn.manual_seed(1)
    local p = lurn.tensor { 0, 1, 0.3 }:view(3, 1):expand(3, 20000)
    local x = p:bernoulli()
    assert.equal("float32", x.dtype)
    assert.is_true((x:eq(0) | x:eq(1)):all():item())
    local mean = x:mean(2):totable()
    assert.same({ 0, 1 }, { mean[1], mean[2] })
    assert.is_true(math.abs(mean[3] - 0.3) < 0.016) -- five standard deviations
    assert.is_true(math.abs(lurn.zeros(20000):bernoulli(0.7):mean():item() - 0.7) < 0.016)
    lurn.manual_seed(2)
    local a = lurn.bernoulli(p)
    lurn.manual_seed(2)
    assert.is_true(a:equal(p:bernoulli()))
    assert.equal("bernoulli: a probability is not 0..1", message(lurn.bernoulli, lurn.tensor { 1.5 }))
    assert.equal("bernoulli: a probability is not 0..1", message(lurn.bernoulli, lurn.tensor { nan }))
    assert.equal("bernoulli: x is int64; expected float32 or float64", message(lurn.bernoulli, i64 { 1 }))
  end)
end)

describe("logaddexp", function()
  it("adds probabilities that are logarithms", function()
    local a, b = f64 { 0, 1000, -inf, -inf, inf }, f64 { 0, 1001, 3, -inf, 1 }
    local y = a:logaddexp(b):totable()
    assert.is_true(math.abs(y[1] - math.log(2)) < 1e-15)
    assert.is_true(math.abs(y[2] - (1001 + math.log(1 + math.exp(-1)))) < 1e-9)
    assert.same({ 3, -inf, inf }, { y[3], y[4], y[5] })
    assert.equal("{2, 3}", tostring(lurn.logaddexp(lurn.zeros(2, 1), lurn.zeros(3)).shape))
    assert(lurn.gradcheck(function(p, q) return p:logaddexp(q):square():sum() end, { leaf(2, 3), leaf(3) }))
    assert.equal("logaddexp: a is int64; expected float32 or float64", message(lurn.logaddexp, i64 { 1 }, a))
    assert.equal("logaddexp: b: expected a tensor, got a number", message(lurn.logaddexp, a, 1.5))
  end)
end)

describe("addcmul, addcdiv and baddbmm", function()
  it("add scaled products", function()
    local x, a, b = f64 { 1, 2 }, f64 { 3, 4 }, f64 { 2, 8 }
    same({ 7, 34 }, x:addcmul(a, b))
    same({ 4, 18 }, lurn.addcmul(x, a, b, { value = 0.5 }))
    same({ 2.5, 2.5 }, x:addcdiv(a, b))
    same({ -2, 1 }, lurn.addcdiv(x, a, b, { value = -2 }))
    local y = x:clone()
    assert.equal(y, y:addcmul_(a, b, { value = 0.5 }))
    same({ 4, 18 }, y)
    same({ 2.5, 2.5 }, x:clone():addcdiv_(a, b))
    assert.equal("addcmul: value: expected a number, got string", message(x.addcmul, x, a, b, { value = "a" }))
    assert.equal("addcdiv_: there is no option alpha; known are: value", message(x.addcdiv_, x, a, b, { alpha = 1 }))
    local c, p, q = leaf(2, 2, 4), leaf(2, 2, 3), leaf(2, 3, 4)
    local want = c * 0.5 + p:bmm(q) * 2
    assert.is_true(lurn.allclose(c:baddbmm(p, q, { beta = 0.5, alpha = 2 }), want))
    assert.is_true(lurn.allclose(lurn.baddbmm(c, p, q), c + p:bmm(q)))
    assert.equal("baddbmm: shapes {2} and {2}; expected 3 dimensions each", message(lurn.baddbmm, x, a, b))
  end)
end)

describe("nan_to_num and isclose", function()
  it("treat what is no number", function()
    local x = lurn.tensor { nan, inf, -inf, 2 }
    local largest = 3.4028234663852886e38
    same({ 0, largest, -largest, 2 }, x:nan_to_num())
    same({ 1, 5, -6, 2 }, lurn.nan_to_num(x, { nan = 1, posinf = 5, neginf = -6 }))
    same({ 1 }, i64 { 1 }:nan_to_num())
    assert.equal("nan_to_num: there is no option inf; known are: nan, posinf, neginf",
      message(x.nan_to_num, x, { inf = 1 }))
    local y = lurn.tensor { nan, inf, inf, 2.00001 }
    same({ false, true, false, true }, lurn.isclose(x, y))
    same({ true, true, false, false }, x:isclose(y, { equal_nan = true, rtol = 1e-9, atol = 0 }))
    assert.equal("isclose: rtol: expected a number, got a string", message(x.isclose, x, y, { rtol = "a" }))
    assert.equal("allclose: atol: expected a number, got a boolean", message(x.allclose, x, y, { atol = true }))
  end)
end)

describe("bincount", function()
  it("counts ids, or adds their weights", function()
    same({ 1, 0, 2 }, i64 { 3, 1, 3 }:bincount())
    same({ 1, 0, 2, 0, 0 }, lurn.bincount(i64 { 3, 1, 3 }, { minlength = 5 }))
    same({ 0.5, 0, 3 }, i64 { 3, 1, 3 }:bincount { weights = f64 { 1, 0.5, 2 } })
    same({ 0, 0 }, lurn.zeros(0, { dtype = "int64" }):bincount { minlength = 2 })
    assert.equal("bincount: x has 0; ids count from 1", message(lurn.bincount, i64 { 0 }))
    assert.equal("bincount: x is float32 of shape {1}; expected integers in one dimension",
      message(lurn.bincount, lurn.zeros(1)))
    assert.equal("bincount: minlength is -1; expected a whole number of at least 0",
      message(lurn.bincount, i64 { 1 }, { minlength = -1 }))
  end)
end)

describe("quantile", function()
  it("is linear between neighbours", function()
    local x = f64 { { 4, 1, 3, 2 }, { 0, 10, 20, nan } }
    same(2.5, x[1]:quantile(0.5))
    assert.is_true(math.abs(lurn.quantile(x[1], 0.9):item() - 3.7) < 1e-12)
    local y = x:quantile(0.5, 2):totable()
    assert.equal(2.5, y[1])
    assert.is_true(y[2] ~= y[2])
    same({ { 4 }, { 1 } }, x[1]:view(1, 4):quantile({ 1, 0 }, 2))
    assert.equal("{3, 1, 4}", tostring(x:quantile(lurn.tensor { 0, 0.5, 1 }, 1, true).shape))
    assert.equal("{1, 1}", tostring(x:quantile(0.5, nil, true).shape))
    assert(lurn.gradcheck(function(t) return t:quantile(0.3, 1):square():sum() end, { leaf(5, 2) }))
    same({ { 2.5 } }, x[1]:view(1, 4):quantile(0.5, { dim = 2, keepdim = true }))
    assert.equal("quantile: there is no option dims; known are: dim, keepdim",
      message(x.quantile, x, 0.5, { dims = 1 }))
    assert.equal("kthvalue: dim: expected a whole number, got a table", message(x.kthvalue, x, 1, { dim = 1 }))
    assert.equal("quantile: q is 1.5; expected 0..1", message(x.quantile, x, 1.5))
    assert.equal("quantile: there are no elements", message(lurn.quantile, lurn.zeros(0), 0.5))
    assert.equal("quantile: x is int64; expected float32 or float64", message(lurn.quantile, i64 { 1 }, 0.5))
  end)
end)

describe("cosine_similarity", function()
  it("is along the second dimension unless told otherwise, of vectors along their own", function()
    local a, b = f64 { { 3, 4 }, { 1, 0 } }, f64 { { 3, 4 }, { 0, 2 } }
    same({ 1, 0 }, lurn.cosine_similarity(a, b))
    same(1, lurn.cosine_similarity(a[1], b[1]))
  end)
end)

describe("trace", function()
  it("sums the diagonal", function()
    same(6, f64({ { 1, 2, 3 }, { 4, 5, 6 } }):trace())
    same(0, lurn.trace(lurn.zeros(0, 2)))
    assert.equal("int64", i64({ { 1 } }):trace().dtype)
    assert(lurn.gradcheck(function(t) return t:trace():square() end, { leaf(3, 3) }))
    assert.equal("trace: shape (2); expected two dimensions", message(lurn.trace, f64 { 1, 2 }))
    assert.truthy(message(lurn.trace, 1):find "^trace: self: expected a tensor, got an integer")
  end)
end)

describe("isin", function()
  it("finds elements of a tensor or a list", function()
    local x = i64 { { 1, 5, 3 }, { 2, 2, 9 } }
    same({ { false, false, true }, { true, true, false } }, x:isin { 3, 2 })
    same({ { true, false, false }, { false, false, true } }, lurn.isin(x, i64 { { 9 }, { 1 } }))
    same({ { false, false, false }, { true, true, false } }, x:isin { 1.5, 2 })
    same({ { false, false, false }, { false, false, false } }, x:isin {})
    same({ true, false, true }, lurn.tensor({ 0.1, nan, inf }):isin { inf, 0.1, nan })
    same({ false, true }, i64({ 1 << 53, (1 << 53) + 1 }):isin { (1 << 53) + 1 })
    same({ true, false }, lurn.tensor({ true, false }, { dtype = "bool" }):isin { 1 })
    same(true, i64(3):isin { 3 })
    same({ { true, false, false }, { false, false, false } }, x:isin(1))
    same({ { true, true, false }, { false, false, true } }, x:isin({ 3, 2 }, { invert = true }))
    assert.same({ 0, 2 }, lurn.zeros(0, 2):isin({ 1 }).shape)
    assert.is_false(leaf(2):isin({ 1 }).requires_grad)
    assert.equal("isin: element 2: expected a number, got string", message(lurn.isin, x, { 1, "a" }))
    assert.equal("isin: elements: expected a tensor, got a boolean", message(lurn.isin, x, true))
  end)
end)
