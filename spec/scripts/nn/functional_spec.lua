-- nn.functional.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local F = lurn.nn.functional
local fails, distance = helper.fails, helper.distance

-- How each op of spec/reference/ops.safetensors is called: inputs and settings of a case.
local calls = {
  softmax = function(t, s) return F.softmax(t.x, s.dim < 0 and s.dim or s.dim + 1) end,
  log_softmax = function(t, s) return F.log_softmax(t.x, s.dim < 0 and s.dim or s.dim + 1) end,
  silu = function(t) return F.silu(t.x) end,
  gelu = function(t, s) return s.approximate == "none" and F.gelu(t.x) or nil end,
  softplus = function(t, s) return s.beta == 1 and F.softplus(t.x) or nil end,
  smooth_l1 = function(t, s) return F.smooth_l1_loss(t.x, t.target, { beta = s.beta, reduction = s.reduction }) end,
  bce_with_logits = function(t, s)
    return F.binary_cross_entropy_with_logits(t.x, t.target,
      { weight = t.weight, pos_weight = t.pos_weight, reduction = s.reduction })
  end,
  ctc_loss = function(t, s)
    return F.ctc_loss(F.log_softmax(t.logits, -1), t.targets + 1, t.input_lengths, t.target_lengths,
      { blank = s.blank + 1, reduction = s.reduction, zero_infinity = s.zero_infinity })
  end,
  cross_entropy = function(t, s)
    local ignored = s.ignore_index
    if ignored and ignored >= 0 then ignored = ignored + 1 end
    -- Targets count from 1 here; padding stays as it is.
    local targets = lurn.where(t.targets:lt(0), t.targets, t.targets + 1)
    return F.cross_entropy(t.logits, targets, { weight = t.weight, ignore_index = ignored,
      label_smoothing = s.label_smoothing, reduction = s.reduction })
  end,
}

-- The case's tensors with leaves in the place of those that have a recorded gradient.
local function inputs_of(case)
  local inputs = {}
  for name, t in pairs(case.tensors) do
    inputs[name] = case.tensors["grad." .. name] and helper.leaf(t) or t
  end
  return inputs
end

-- The largest |a - b| / max(1, |b|) of the finite ones; infinity unless the others are equal.
local function disagreement(a, b)
  local finite = lurn.isfinite(b)
  if lurn.where(finite, b, a):ne(b):to("int64"):sum():item() > 0 then return math.huge end
  local zero = lurn.zeros(b.shape)
  local expected = lurn.where(finite, b, zero)
  return distance(lurn.where(finite, a, zero), expected) / math.max(1, expected:abs():max():item())
end

describe("PyTorch's numbers", function()
  local found = {}
  for _, case in ipairs((helper.reference "ops")) do
    local op = case.settings.op
    if calls[op] then
      found[op] = true
      it("in case " .. case.name, function()
        local t = inputs_of(case)
        local y = calls[op](t, case.settings)
        if y == nil then return end -- a variant that is not in this version
        -- float32 on both sides: tens of roundings of 6e-8 each, so that 1e-5 leaves room for another order of sums.
        assert.is_true(disagreement(y, t.y) <= 1e-5)
        if t.gy == nil then return end -- an infinite loss, of which no gradient is recorded
        helper.inner({ y, t.gy }):backward()
        for name, input in pairs(t) do
          local expected = t["grad." .. name]
          if expected then assert.is_true(helper.relative(input.grad, expected) < 1e-4, "gradient of " .. name) end
        end
      end)
    end
  end

  it("are there for each of them", function()
    for op in pairs(calls) do assert.is_true(found[op], op) end
  end)
end)

describe("losses", function()
  local x, y = lurn.randn(3, 4), lurn.randn(3, 4)

  it("l1_loss is |x - y|", function()
    local d = (x - y):abs()
    assert.equal(0, distance(F.l1_loss(x, y), d:mean()))
    assert.equal(0, distance(F.l1_loss(x, y, { reduction = "sum" }), d:sum()))
    assert.equal(0, distance(F.l1_loss(x, y, { reduction = "none" }), d))
    assert.equal(0, distance(F.smooth_l1_loss(x, y, { beta = 0 }), d:mean()))
  end)

  it("mse_loss and nll_loss are ops", function()
    assert.is_true(distance(F.mse_loss(x, y), (x - y):square():mean()) < 1e-6)
    local ids = lurn.tensor({ 1, 4, 2 }, { dtype = "int64" })
    local lp = F.log_softmax(x, -1)
    assert.is_true(distance(F.nll_loss(lp, ids), F.cross_entropy(x, ids)) < 1e-6)
  end)

  it("stay finite for large logits, and so do gradients", function()
    local logits = helper.leaf(lurn.tensor { 500, -500, 500, -500 })
    local target = lurn.tensor { 1, 0, 0, 1 }
    local loss = F.binary_cross_entropy_with_logits(logits, target, { reduction = "none" })
    assert.same({ 0, 0, 500, 500 }, loss:totable())
    loss:sum():backward()
    assert.same({ 0, 0, 1, -1 }, logits.grad:totable())
  end)

  it("ctc_loss has no slope where nothing fits, and is left out with zero_infinity", function()
    local function grad(zero_infinity)
      local lp = helper.leaf(F.log_softmax(lurn.randn(3, 2, 3), -1))
      local ids = lurn.tensor({ { 2, 2 }, { 3, 2 } }, { dtype = "int64" })
      local two = lurn.tensor({ 2, 2 }, { dtype = "int64" })
      F.ctc_loss(lp, ids, two, two, { reduction = "sum", zero_infinity = zero_infinity }):backward()
      return lp.grad
    end
    local g = grad(false)
    assert.equal(6, lurn.isnan(g):to("int64"):sum():item())
    assert.equal(6, lurn.isnan(g:select(2, 1)):to("int64"):sum():item())
    assert.same({ 0, 0, 0 }, g[3][1]:totable())
    assert.same({ { 0, 0, -1 }, { 0, -1, 0 }, { 0, 0, 0 } }, g:select(2, 2):totable())
    assert.same({ { 0, 0, 0 }, { 0, 0, 0 }, { 0, 0, 0 } }, grad(true):select(2, 1):totable())
  end)

  it("check their arguments", function()
    fails("l1_loss: input has shape (3, 4) and target (4); expected the same", F.l1_loss, x, lurn.zeros(4))
    fails("l1_loss: target is missing", F.l1_loss, x)
    fails("smooth_l1_loss: there is no option delta", F.smooth_l1_loss, x, y,
      { delta = 1 })
    fails("smooth_l1_loss: beta is -1; expected a finite number of at least 0", F.smooth_l1_loss, x, y, { beta = -1 })
    fails('l1_loss: reduction: there is no "max"; expected one of: none, mean, sum', F.l1_loss, x, y,
      { reduction = "max" })
    fails("binary_cross_entropy_with_logits: weight: expected a tensor, got an integer",
      F.binary_cross_entropy_with_logits, x, y, { weight = 2 })
  end)
end)

it("embedding leaves the padding row without gradient", function()
  local w, ids = helper.leaf(lurn.randn(3, 2)), lurn.tensor({ 1, 2, 1 }, { dtype = "int64" })
  F.embedding(ids, w, { padding_idx = 1 }):sum():backward()
  assert.same({ { 0, 0 }, { 1, 1 }, { 0, 0 } }, w.grad:totable())
  fails('embedding: there is no option "padding"; the options are padding_idx', F.embedding, ids, w, { padding = 1 })
end)
