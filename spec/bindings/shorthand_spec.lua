-- Short forms and other names, and what PyTorch's functions take besides: against what they are short for.

local lurn = require "lurn"

local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = text:match "^%S-shorthand_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function i64(t) return lurn.tensor(t, { dtype = "int64" }) end
local function same(expected, t) assert.same(expected, t:totable()) end
local function shape(t) return tostring(t.shape) end

describe("conversions", function()
  it("are those of to", function()
    local x = lurn.tensor { 1.5, 0 }
    for name, dtype in pairs { float = "float32", double = "float64", long = "int64", int = "int32", bool = "bool" } do
      local y = x[name](x)
      assert.equal(dtype, y.dtype)
      assert.is_true(y:equal(x:to(dtype)))
    end
    assert.equal("int64", x:type_as(i64 { 1 }).dtype)
    assert.same({ 1.5, 0 }, x:tolist())
    local leaf = lurn.tensor({ 2 }, { requires_grad = true })
    leaf:double():square():sum():backward()
    same({ 4 }, leaf.grad)
    assert.equal("long: self: expected a tensor, got an integer; methods are called with a colon, x:long(...)",
      message(x.long, 1))
    assert.equal("type_as: other: expected a tensor, got a string", message(x.type_as, x, "int64"))
  end)
end)

describe("shapes", function()
  local x = lurn.arange(1, 6)

  it("like another's", function()
    local other = lurn.zeros(2, 3)
    same({ { 1, 2, 3 }, { 4, 5, 6 } }, x:view_as(other))
    same({ { 1, 2, 3 }, { 4, 5, 6 } }, x:reshape_as(other))
    same({ { 7, 7, 7 }, { 7, 7, 7 } }, i64 { 7 }:expand_as(other))
    same({ { 7, 7, 7 }, { 8, 8, 8 } }, i64 { { 7 }, { 8 } }:broadcast_to(2, 3))
    assert.equal("{2, 3}", shape(i64 { { 7 }, { 8 } }:broadcast_to { 2, 3 }))
    assert.equal("{6}", shape(other:ravel()))
    assert.equal("{12}", shape(lurn.concat { x, x }))
    assert.equal("view_as: (6) has 6 elements and cannot become (4)", message(x.view_as, x, lurn.zeros(4)))
    assert.truthy(message(x.expand_as, x, lurn.zeros(4)):find("expand_as: ", 1, true))
    assert.truthy(message(x.reshape_as, x, lurn.zeros(4)):find("reshape_as: ", 1, true))
  end)

  it("that several tensors have together", function()
    local a, b, c = lurn.broadcast_tensors(lurn.zeros(3, 1), lurn.ones(4), lurn.zeros(2, 1, 1))
    assert.same({ "{2, 3, 4}", "{2, 3, 4}", "{2, 3, 4}" }, { shape(a), shape(b), shape(c) })
    assert.equal("broadcast_tensors: shapes (3) and (4) do not broadcast",
      message(lurn.broadcast_tensors, lurn.zeros(3), lurn.zeros(4)))
    assert.equal("broadcast_tensors: tensor 2: expected a tensor, got an integer",
      message(lurn.broadcast_tensors, lurn.zeros(3), 4))
  end)

  it("of windows", function()
    same({ { 1, 2, 3 }, { 3, 4, 5 } }, x:unfold(1, 3, 2))
    same({ { { 1, 2 } }, { { 4, 5 } } }, x:view(2, 3):unfold(2, 2, 2))
    same({ { { 1, 4 }, { 2, 5 }, { 3, 6 } } }, x:view(2, 3):unfold(-2, 2, 1))
    assert.equal("{1, 6}", shape(x:unfold(1, 6, 4)))
    local leaf = f64 { 1, 2, 3, 4 }:requires_grad_()
    assert(lurn.gradcheck(function(t) return t:unfold(1, 2, 1):square():sum() end, { leaf }))
    assert.equal("unfold: size is 7; dimension 1 has 6", message(x.unfold, x, 1, 7, 1))
    assert.equal("unfold: step is 0; expected a whole number above 0", message(x.unfold, x, 1, 2, 0))
    assert.equal("unfold: size is nil; expected a whole number above 0", message(x.unfold, x, 1, nil, 1))
    assert.equal("unfold: dimension 2 of a tensor with 1", message(x.unfold, x, 2, 2, 1))
  end)
end)

describe("limits and orders", function()
  local x = lurn.tensor { { 3, 1, 2 }, { -1, 5, 0 } }

  it("clamp_min, clamp_max", function()
    same({ { 3, 1, 2 }, { 1, 5, 1 } }, x:clamp_min(1))
    same({ { 2, 1, 2 }, { -1, 2, 0 } }, lurn.clamp_max(x, lurn.tensor(2)))
  end)

  it("argsort and kthvalue", function()
    same({ { 2, 3, 1 }, { 1, 3, 2 } }, x:argsort())
    same({ { 1, 3, 2 }, { 2, 3, 1 } }, x:argsort { descending = true })
    same({ { 2, 1, 2 }, { 1, 2, 1 } }, lurn.argsort(x, 1))
    same({ { 1, 2, 1 }, { 2, 1, 2 } }, x:argsort(1, true))
    local values, indices = x:kthvalue(2)
    same({ 2, 0 }, values)
    same({ 3, 3 }, indices)
    values, indices = lurn.kthvalue(x, 1, 1, true)
    same({ { -1, 1, 0 } }, values)
    same({ { 2, 1, 2 } }, indices)
    assert.equal("kthvalue: k is 4; expected 1..3", message(x.kthvalue, x, 4))
    assert.equal("argsort: dimension 3 of a tensor with 2; expected 1..2 or -2..-1", message(x.argsort, x, 3))
    assert.equal("argsort: there is no option reverse; known are: dim, descending",
      message(x.argsort, x, { reverse = true }))
  end)

  it("unique_consecutive", function()
    local values, inverse, counts = i64 { 2, 2, 1, 1, 1, 2 }:unique_consecutive()
    same({ 2, 1, 2 }, values)
    same({ 1, 1, 2, 2, 2, 3 }, inverse)
    same({ 2, 3, 1 }, counts)
    values, inverse, counts = lurn.unique_consecutive(lurn.zeros(0))
    assert.same({ 0, 0, 0 }, { values:numel(), inverse:numel(), counts:numel() })
    same({ 4 }, (lurn.tensor { 4 }:unique_consecutive()))
    assert.equal("unique_consecutive: shape {2, 3}; expected one dimension", message(x.unique_consecutive, x))
  end)
end)

describe("x:where", function()
  it("takes the condition first, and is a condition's too", function()
    local x, y = lurn.tensor { 1, 2 }, lurn.tensor { 3, 4 }
    local mask = x:gt(1)
    same({ 3, 2 }, x:where(mask, y))
    same({ 0, 2 }, x:where(mask, 0))
    same({ 3, 2 }, mask:where(x, y))
    same({ 3, 2 }, lurn.where(mask, x, y))
    assert.equal("where: both may be the condition, as both are bool; call lurn.where(condition, a, b)",
      message(mask.where, mask, mask, mask))
  end)
end)

describe("alpha", function()
  it("scales the second operand of add and sub", function()
    local x, y = lurn.tensor { 1, 2 }, lurn.tensor { 10, 20 }
    same({ 6, 12 }, x:add(y, { alpha = 0.5 }))
    same({ -19, -38 }, lurn.sub(x, y, { alpha = 2 }))
    same({ 7, 8 }, x:add(3, { alpha = 2 }))
    local p = x:clone()
    assert.equal(p, p:add_(y, { alpha = -0.1 }))
    assert.is_true(lurn.allclose(p, lurn.zeros(2), { atol = 1e-6 }))
    same({ -4, -8 }, x:clone():sub_(y, { alpha = 0.5 }))
    same({ 11, 22 }, lurn.add(x, y))
    assert.equal("add: alpha: expected a number, got a string", message(x.add, x, y, { alpha = "a" }))
    assert.equal("add: there is no option beta; known are: alpha", message(x.add, x, y, { alpha = 1, beta = 2 }))
    assert.equal("sub: there is no option beta; known are: alpha", message(x.sub, x, y, { beta = 2 }))
    same({ 3 + 6, 6 + 12 }, x:mul(3):add(y:mul(0.6), {})) -- no option is none
    assert.equal("add: b is missing", message(x.add, x))
    assert.equal("add: too many arguments: 3 given, 2 used", message(x.add, x, y, 2))
  end)
end)

describe("what functions take besides", function()
  local x = f64 { { 3, 0, -4 }, { 1, 2, 0 } }

  it("norm: p of 0, fro, and by name", function()
    assert.equal(4, x:norm(0):item())
    same({ 2, 2 }, x:norm(0, 2))
    same({ { 4 } }, x:norm { p = 0, dim = { 1, 2 }, keepdim = true })
    assert.is_true(lurn.allclose(x:norm "fro", f64(math.sqrt(30))))
    same({ 7, 3 }, lurn.norm(x, 1, 2))
    same({ { 7 }, { 3 } }, x:norm(1, 2, true))
    same({ { 7 }, { 3 } }, x:norm(1, 2, { keepdim = true }))
    same({ { 5 } , { math.sqrt(5) } }, x:norm { dim = 2, keepdim = true })
    assert.equal("norm: there is no option q; known are: p, dim, keepdim", message(x.norm, x, { q = 1 }))
    assert.truthy(message(x.norm):find("norm: x is missing", 1, true))
  end)

  it("logsumexp: several dimensions", function()
    local y = lurn.randn(2, 3, 4):double():requires_grad_()
    local want = y:exp():sum({ 1, 3 }):log()
    assert.is_true(lurn.allclose(y:logsumexp { 1, 3 }, want))
    assert.equal("{1, 3, 1}", shape(lurn.logsumexp(y, { 1, -1 }, true)))
    assert.equal("{1, 3, 1}", shape(y:logsumexp({ 3, 1 }, { keepdim = true })))
    assert.equal("{2, 4}", shape(y:logsumexp(2)))
    assert(lurn.gradcheck(function(t) return t:logsumexp({ 1, 2 }):square():sum() end, { y }))
    assert.equal("logsumexp: dimension 1 is named twice", message(y.logsumexp, y, { 1, -3 }))
    assert.equal("logsumexp: dimension 4 of a tensor with 3", message(y.logsumexp, y, { 4 }))
  end)

  it("flip and roll: dimensions one by one, or none", function()
    same({ { 0, 2, 1 }, { -4, 0, 3 } }, x:flip(1, 2))
    same({ { 0, 2, 1 }, { -4, 0, 3 } }, lurn.flip(x, { 1, 2 }))
    same({ { -4, 0, 3 }, { 0, 2, 1 } }, x:flip(2))
    same({ { 0, 3, 0 }, { -4, 1, 2 } }, x:roll(1))
    same({ { -4, 3, 0 }, { 0, 1, 2 } }, x:roll(1, 2))
  end)

  it("var and std: unbiased", function()
    local want = x:var(2, 0)
    for _, got in ipairs { x:var(2, false), x:var(2, { unbiased = false }), x:var { dim = 2, unbiased = false },
      (x:var_mean(2, { unbiased = false })) } do
      assert.is_true(got:equal(want))
    end
    assert.is_true(x:std(false):equal(x:std { correction = 0 }))
    assert.is_true(x:std(true):equal(x:std()))
    assert.is_true(x:var(2, true, true):equal(x:var(2, 1, true)))
    assert.equal("std: unbiased: expected true or false, got a number", message(x.std, x, { unbiased = 1 }))
  end)

  it("max and min name themselves", function()
    assert.equal("max: no elements to choose from in shape (0)", message(function() return lurn.zeros(0):max() end))
    assert.equal("min: no elements to choose from in shape (0)", message(function() return lurn.zeros(0):min() end))
  end)
end)
