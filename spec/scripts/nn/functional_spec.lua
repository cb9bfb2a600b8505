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
  w.grad = nil
  F.embedding(ids, w, { padding_idx = -2 }):sum():backward()
  assert.same({ { 2, 2 }, { 0, 0 }, { 0, 0 } }, w.grad:totable())
  fails("embedding: padding_idx is 4; expected an id from 1 to 3", F.embedding, ids, w, { padding_idx = 4 })
  fails('embedding: there is no option "padding"; the options are padding_idx', F.embedding, ids, w, { padding = 1 })
end)

describe("composed functions", function()
  local x = lurn.randn(4, 3) * 3

  it("logsigmoid and softmin", function()
    assert.is_true(distance(F.logsigmoid(x), x:sigmoid():log()) < 1e-5)
    assert.equal(-200, F.logsigmoid(lurn.tensor { -200 }):item())
    assert.equal(0, distance(F.softmin(x, 2), F.softmax(-x, 2)))
    fails("logsigmoid: x is nil; expected a tensor", F.logsigmoid)
    fails("softmin: x is 1; expected a tensor", F.softmin, 1)
  end)

  it("normalize gives length 1", function()
    assert.is_true(distance(F.normalize(x):square():sum(2), lurn.ones(4)) < 1e-5)
    assert.is_true(distance(F.normalize(x, { p = 1, dim = 1 }):abs():sum(1), lurn.ones(3)) < 1e-5)
    assert.equal(0, F.normalize(lurn.zeros(2, 2)):abs():sum():item())
    fails('normalize: there is no option "axis"; the options are p, dim, eps', F.normalize, x, { axis = 1 })
  end)

  it("one_hot counts from 1", function()
    local ids = lurn.tensor({ { 1, 3 }, { 2, 2 } }, { dtype = "int64" })
    assert.same({ { { 1, 0, 0 }, { 0, 0, 1 } }, { { 0, 1, 0 }, { 0, 1, 0 } } }, F.one_hot(ids):totable())
    assert.same({ 2, 2, 5 }, { table.unpack(F.one_hot(ids, 5).shape) })
    assert.same({ 0, 4 }, { table.unpack(F.one_hot(lurn.zeros(0, { dtype = "int64" }), 4).shape) })
    fails("one_hot: index 3; expected 1..2", F.one_hot, ids, 2)
    fails("one_hot: index 0; expected 1..3", F.one_hot, ids - ids, 3)
    fails("one_hot: indices are float32; expected int64 or another integer type", F.one_hot, x)
    fails("one_hot: classes is 0; expected at least 1", F.one_hot, ids, 0)
  end)

  it("scaled_dot_product_attention", function()
    local q, k, v = lurn.randn(2, 4, 6), lurn.randn(2, 5, 6), lurn.randn(2, 5, 3)
    local function by_hand(scores) return F.softmax(scores, -1):matmul(v) end
    local scores = q:matmul(k:transpose(2, 3)) / math.sqrt(6)
    local sdpa = F.scaled_dot_product_attention
    assert.is_true(distance(sdpa(q, k, v), by_hand(scores)) < 1e-5)
    assert.is_true(distance(sdpa(q, k, v, { scale = 1 }), by_hand(scores * math.sqrt(6))) < 1e-5)
    local allowed = lurn.arange(1, 5):unsqueeze(1):le(lurn.arange(1, 4):unsqueeze(2))
    local expected = by_hand(scores:masked_fill(allowed:logical_not(), -math.huge))
    assert.is_true(distance(sdpa(q, k, v, { attn_mask = allowed }), expected) < 1e-5)
    assert.is_true(distance(sdpa(q, k, v, { is_causal = true }), expected) < 1e-5)
    local added = lurn.randn(4, 5)
    assert.is_true(distance(sdpa(q, k, v, { attn_mask = added }), by_hand(scores + added)) < 1e-5)
    assert.equal(0, sdpa(q, k, v, { dropout_p = 1 }):abs():sum():item())
    fails("scaled_dot_product_attention: value is nil; expected a tensor", sdpa, q, k)
    fails("scaled_dot_product_attention: query has shape (4); expected at least 2 dimensions", sdpa, lurn.ones(4), k, v)
    fails("scaled_dot_product_attention: key is int64; expected float32 or float64", sdpa, q, k:to "int64", v)
    fails("; expected (..., L, d), (..., S, d) and (..., S, v)", sdpa, q, k:narrow(-1, 1, 1), v)
    fails("scaled_dot_product_attention: attn_mask is uint8; expected bool, or", sdpa, q, k, v,
      { attn_mask = allowed:to "uint8" })
    fails("scaled_dot_product_attention: attn_mask has shape (99, 1); expected one that broadcasts to ", sdpa, q, k, v,
      { attn_mask = lurn.ones(99, 1, { dtype = q.dtype }) })
    local never = lurn.full({ 1, 1 }, -math.huge, { dtype = q.dtype })
    assert.equal(0, sdpa(q, k, v, { attn_mask = never }):abs():sum():item())
    fails('scaled_dot_product_attention: there is no option "mask"', sdpa, q, k, v, { mask = allowed })
  end)
end)
