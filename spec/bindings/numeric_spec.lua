-- Methods written in Lua: limits that are tensors, moments, sums in another dtype; names of in-place ops in errors.

local lurn = require "lurn"

local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = text:match "^%S-numeric_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function leaf(t) return f64(t):requires_grad_() end
local nan = 0 / 0

describe("clamp", function()
  local x = lurn.tensor { { -2, 0.5, 3 }, { 1, -1, 0 } }

  it("takes tensors as limits, one or both, beside numbers", function()
    assert.same({ { 0, 0.5, 1 }, { 1, -1, 0 } }, x:clamp(lurn.tensor { 0, -1, 0 }, lurn.tensor { 2, 2, 1 }):totable())
    assert.same({ { 0, 0.5, 3 }, { 1, 1, 1 } }, x:clamp(lurn.tensor { { 0 }, { 1 } }):totable())
    assert.same({ { -1, 0, 0 }, { 0, -1, 0 } }, x:clamp(-1, lurn.tensor(0)):totable())
    assert.same({ { -2, 0, 0 }, { 0, -1, 0 } }, lurn.clamp(x, { max = lurn.tensor(0) }):totable())
    assert.same({ { -1, 0, 0 }, { 0, -1, 0 } }, lurn.clamp(x, -1, { max = lurn.tensor(0) }):totable())
    assert.same({ { 3, 3, 3 }, { 3, 3, 3 } }, x:clip(lurn.tensor(5), lurn.tensor(3)):totable()) -- as PyTorch
    assert.same({ { 0, 0.5, 1 }, { 1, 0, 0 } }, lurn.clip(x, 0, 1):totable())
    assert.same({ 2, 3 }, lurn.zeros(1):clamp(lurn.tensor { 2, 3 }):totable())
    assert.equal("float64", x:clamp(f64 { 0 }).dtype)
    local odd = lurn.tensor { nan, 1 }:clamp(lurn.tensor { 0, nan })
    assert.is_true(odd:isnan():all():item())
  end)

  it("writes in place", function()
    local y = x:clone()
    assert.equal(y, y:clamp_(lurn.tensor { 0, 0, 0 }, 1))
    assert.same({ { 0, 0.5, 1 }, { 1, 0, 0 } }, y:totable())
    assert.same({ { 0, 0, 0 }, { 0, 0, 0 } }, y:clip_(nil, lurn.tensor(0)):totable())
    assert.same({ 1, 2 }, lurn.tensor({ 0, 3 }):clip_(1, 2):totable())
    assert.equal("clamp_: the result of shape (2) does not fit in place into (1)",
      message(y.clamp_, lurn.zeros(1), lurn.tensor { 2, 3 }))
    assert.equal("clamp_: the result is float32 and does not fit in place into int64",
      message(y.clamp_, lurn.ones(1, { dtype = "int64" }), lurn.tensor { 2.5 }))
  end)

  it("has the gradient that differences have, for limits too", function()
    local a, low, high = leaf { { -2, 0.5, 3 }, { 1, -1, 0.25 } }, leaf { -0.5, -0.75, 0 }, leaf { { 0.75 }, { 2 } }
    local weight = lurn.linspace(-1, 2, 6, { dtype = "float64" }):view(2, 3)
    assert(lurn.gradcheck(function(p, l, h) return (p:clamp(l, h) * weight):sum() end, { a, low, high }))
    assert(lurn.gradcheck(function(p, l) return ((p * 1):clamp_(l, 2.5) * weight):sum() end, { a, low }))
    -- at the limit itself the gradient is x's
    local p, l = leaf { 1 }, leaf { 1 }
    p:clamp(l):sum():backward()
    assert.same({ { 1 }, { 0 } }, { p.grad:totable(), l.grad:totable() })
  end)

  it("says what is wrong", function()
    assert.equal("clamp: shapes (2, 3) and (2) do not broadcast", message(x.clamp, x, lurn.ones(2)))
    assert.equal("clamp: max: expected a tensor or a number, got a string", message(x.clamp, x, lurn.ones(3), "1"))
    assert.equal("clamp: there is no option low; known are: min, max",
      message(x.clamp, x, { low = 1, max = lurn.ones(3) }))
    assert.equal("clamp: self: expected a tensor, got a string; methods are called with a colon, x:clamp(...)",
      message(x.clamp, "x", lurn.ones(3)))
  end)
end)

describe("var_mean and std_mean", function()
  it("give both along the same dimensions", function()
    lurn.manual_seed(5)
    local x = lurn.randn(3, 4, 2)
    -- arguments, and what mean gets for them
    local calls = {
      { {}, {} }, { { 2 }, { dim = 2 } }, { { { 1, 3 } }, { dim = { 1, 3 } } }, { { 2, 0 }, { dim = 2 } },
      { { 2, 0, true }, { dim = 2, keepdim = true } }, { { { dim = 2, keepdim = true } }, { dim = 2, keepdim = true } },
      { { { dim = { 1, 3 }, correction = 0 } }, { dim = { 1, 3 } } },
      { { 1, { keepdim = true } }, { dim = 1, keepdim = true } },
      { { 2, 0, { keepdim = true } }, { dim = 2, keepdim = true } }, { { { keepdim = true } }, { keepdim = true } },
    }
    for _, name in ipairs { "var", "std" } do
      for _, call in ipairs(calls) do
        local spread, mean = x[name .. "_mean"](x, table.unpack(call[1]))
        local want = next(call[2]) and x:mean(call[2]) or x:mean()
        assert.same(want.shape, mean.shape)
        assert.is_true(mean:equal(want) and spread:equal(x[name](x, table.unpack(call[1]))))
      end
    end
    assert.equal("var_mean: x: expected a tensor, got a string", message(lurn.var_mean, "x"))
    assert.equal("std_mean: there is no option base; known are: dim, correction, keepdim",
      message(lurn.std_mean, x, { base = 1 }))
    assert.equal("var_mean: dimension 4 of a tensor with 3; expected 1..3 or -3..-1", message(x.var_mean, x, 4))
    assert.equal("var_mean: dim is 0; dimensions count from 1, or from -1 at the end", message(x.var_mean, x, 0))
    assert.equal("std_mean: x is int64; expected float32 or float64", message(lurn.std_mean, lurn.arange(3)))
    assert.equal("var: dimension 4 of a tensor with 3; expected 1..3 or -3..-1", message(x.var, x, 4))
  end)
end)

describe("sum, mean and prod", function()
  local whole = lurn.tensor({ { 1, 2 }, { 3, 4 } }, { dtype = "int64" })

  it("take a dtype", function()
    local mean = whole:mean { dtype = "float64" }
    assert.same({ 2.5, "float64" }, { mean:item(), mean.dtype })
    assert.same({ 1.5, 3.5 }, whole:mean(2, { dtype = "float32" }):totable())
    assert.same({ { 4, 6 } }, lurn.sum(whole, { dim = 1, keepdim = true, dtype = "int64" }):totable())
    assert.equal("float64", lurn.sum(whole, 1, true, { dtype = "float64" }).dtype)
    assert.equal("float32", lurn.prod(whole, { dtype = "float32" }).dtype)
    assert.equal(24, lurn.prod(whole, { dtype = "float32" }):item())
    assert.same({ 3, 8 }, whole:prod({ 1 }, { dtype = "float64" }):totable())
    -- more than float32 can count
    local many = lurn.tensor { 16777216, 1, 1 }
    assert.equal(16777218, many:sum { dtype = "float64" }:item())
  end)

  it("pass the gradient back in x's dtype", function()
    local x = lurn.tensor({ 1, 2 }, { requires_grad = true })
    x:sum({ dtype = "float64" }):backward()
    assert.same({ { 1, 1 }, "float32" }, { x.grad:totable(), x.grad.dtype })
  end)

  it("refuse what is no dtype", function()
    for _, name in ipairs { "sum", "mean", "prod" } do
      assert.equal(name .. ': there is no dtype "half"; expected float32, float64, int64, int32, uint8 or bool',
        message(lurn[name], whole, { dtype = "half" }))
    end
    assert.equal("sum: there is no option keep; known are: dim, keepdim",
      message(lurn.sum, whole, { keep = true, dtype = "float64" }))
  end)
end)

describe("errors of in-place ops", function()
  local x, one = lurn.zeros(3, 4), lurn.tensor({ 9 }, { dtype = "int64" })

  it("name what was called", function()
    assert.equal("index_put_: index 9; expected 1..4", message(x.index_put_, x, 2, { one }, 1))
    assert.equal("index_put_: dimension 3 of a tensor with 2; expected 1..2 or -2..-1",
      message(x.index_put_, x, 3, { one }, 1))
    assert.equal("index_fill_: index 9; expected 1..3", message(x.index_fill_, x, 1, one, 1))
    assert.equal("scatter_: index 9; expected 1..3", message(x.scatter_, x, 1, one:view(1, 1), 1))
    assert.equal("scatter_add: index 9; expected 1..3", message(x.scatter_add, x, 1, one:view(1, 1), lurn.ones(1, 1)))
    assert.equal("cumsum_: dimension 3 of a tensor with 2; expected 1..2 or -2..-1", message(x.cumsum_, x, 3))
    assert.equal("masked_scatter_: mask picks 12 elements, but source has 1",
      message(x.masked_scatter_, x, x:eq(0), lurn.ones(1)))
  end)
end)

describe("recurrent ops without hidden units", function()
  it("say that there must be some", function()
    local x, none = lurn.zeros(2, 1, 3), lurn.zeros(0, 3)
    for _, name in ipairs { "rnn", "lstm", "gru" } do
      assert.equal(name .. ": w_ih has shape (0, 3): hidden is 0, expected at least 1",
        message(lurn[name], x, none, lurn.zeros(0, 0)))
    end
  end)
end)

describe("bool operands", function()
  local mask, x = lurn.tensor({ true, false }, { dtype = "bool" }), lurn.tensor { 3, 4 }

  it("of sub are an error, as in PyTorch, also one of them", function()
    local text = "sub: not defined for bool; logical_not inverts a mask, to makes numbers of it"
    assert.equal(text, message(lurn.sub, mask, x))
    assert.equal(text, message(lurn.sub, x, mask))
    assert.equal(text, message(function() return 1 - mask end))
    assert.equal(text, message(function() return mask - 1.5 end))
    assert.equal("sub_: not defined for bool; logical_not inverts a mask, to makes numbers of it",
      message(function() return x:clone():sub_(mask) end))
    assert.equal("lerp: b is bool; expected numbers", message(lurn.lerp, x, mask, 0.5))
    assert.equal("lerp: weight is bool; expected numbers", message(lurn.lerp, x, x, mask))
    assert.same({ 4, 4 }, (x + mask):totable())
  end)

  it("are targets of losses, and exponents with a gradient", function()
    for _, name in ipairs { "mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits" } do
      local a, b = leaf { 0.5, -2 }, leaf { 0.5, -2 }
      local have, want = lurn[name](a, mask), lurn[name](b, mask:to "float64")
      assert.equal(want:item(), have:item())
      have:backward()
      want:backward()
      assert.same(b.grad:totable(), a.grad:totable())
    end
    local a = leaf { 0.5, -2 }
    a:pow(mask):sum():backward()
    assert.same({ 1, 0 }, a.grad:totable())
  end)

  it("combine by &, |, ~ of two and ~ of one", function()
    local other = lurn.tensor({ true, true }, { dtype = "bool" })
    assert.same({ true, false }, (mask & other):totable())
    assert.same({ true, true }, (mask | other):totable())
    assert.same({ false, true }, (mask ~ other):totable())
    assert.same({ false, true }, (~mask):totable())
    assert.equal("bool", (~mask).dtype)
    assert.equal("logical_and: expected bool tensors, got float32; compare first, as in x:gt(0) & x:lt(1)",
      message(function() return mask & x end))
    assert.equal("logical_or: expected bool tensors, got an integer", message(function() return mask | 1 end))
    assert.equal("logical_not: expected bool tensors, got float32; compare first, as in x:gt(0) & x:lt(1)",
      message(function() return ~x end))
  end)
end)
