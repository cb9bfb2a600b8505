-- nn.Unroll.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

-- float64: the two ways of adding up differ by rounding alone.
local EXACT = 1e-12

local function randn(...) return lurn.randn(...):to "float64" end
local function shape_of(t) return { table.unpack(t.shape) } end

-- A layer and an unrolled cell with the same weights.
local function twins(kind, options)
  local layer, cell = nn[kind](3, 4, { batch_first = options and options.batch_first }), nn[kind .. "Cell"](3, 4)
  for name, p in layer:named_parameters() do
    lurn.no_grad(function() cell[name:gsub("_l0$", "")]:copy_(p) end)
  end
  return layer:to "float64", nn.Unroll(cell, options):to "float64"
end

local function total(y, state)
  local sum = (y * 3):sin():sum() + state.h:square():sum()
  return state.c and sum + (state.c * 2):cos():sum() or sum
end

local function gradients(module, loss, leaves)
  local inputs = module:parameters()
  for _, t in ipairs(leaves) do inputs[#inputs + 1] = t end
  return { lurn.grad(loss, inputs) }
end

for _, kind in ipairs { "RNN", "LSTM", "GRU" } do
  describe("nn.Unroll of " .. kind .. "Cell equals nn." .. kind, function()
    local function compare(lengths, with_state, options)
      lurn.manual_seed(11)
      local layer, unrolled = twins(kind, options)
      local x, h, c = leaf(randn(7, 3, 3)), leaf(randn(3, 4)), leaf(randn(3, 4))
      if options and options.batch_first then x = leaf(x:transpose(1, 2):contiguous()) end
      local of_layer = with_state and { h = h:unsqueeze(1), c = kind == "LSTM" and c:unsqueeze(1) or nil } or nil
      local of_cell = with_state and nn.State(h, kind == "LSTM" and c or nil) or nil
      local call = lengths and { lengths = lengths }
      local y, last = layer(x, of_layer, call)
      local z, state = unrolled(x, of_cell, call)
      assert.is_true(distance(y, z) < EXACT)
      assert.is_true(distance(last.h[1], state.h) < EXACT)
      if kind == "LSTM" then assert.is_true(distance(last.c[1], state.c) < EXACT) end
      local leaves = with_state and { x, h, kind == "LSTM" and c or nil } or { x }
      local a, b = gradients(layer, total(y, last), leaves), gradients(unrolled, total(z, state), leaves)
      assert.equal(#a, #b)
      for i, grad in ipairs(a) do assert.is_true(distance(grad, b[i]) < EXACT) end
    end

    it("plainly", function() compare(nil, false) end)
    it("from a state", function() compare(nil, true) end)
    it("with lengths", function() compare({ 7, 2, 5 }, false) end)
    it("with lengths below T, 0 among them, from a state", function() compare({ 0, 2, 5 }, true) end)
    it("with no step at all", function() compare({ 0, 0, 0 }, true) end)
    it("with the batch first", function() compare({ 1, 7, 5 }, false, { batch_first = true }) end)
  end)
end

it("nn.Unroll in reverse is the reverse half of a bidirectional layer", function()
  lurn.manual_seed(12)
  local layer = nn.LSTM(3, 4, { bidirectional = true }):to "float64"
  local cell = nn.LSTMCell(3, 4):to "float64"
  for name, p in cell:named_parameters() do
    lurn.no_grad(function() p:copy_(layer[name .. "_l0_reverse"]) end)
  end
  local x = randn(6, 4, 3)
  for _, call in ipairs { {}, { lengths = { 3, 6, 0, 1 } } } do
    local y, last = layer(x, nil, call)
    local z, state = nn.Unroll(cell, { reverse = true })(x, nil, call)
    assert.is_true(distance(y:narrow(3, 5, 4), z) < EXACT)
    assert.is_true(distance(last.h[2], state.h) < EXACT and distance(last.c[2], state.c) < EXACT)
  end
end)

describe("nn.Unroll of a cell of one's own", function()
  -- State: h itself.
  local Plain = nn.Module:extend "Plain"
  function Plain:init(input, hidden) self.w = nn.Linear(input + hidden, hidden) self.hidden = hidden end
  function Plain:forward(x, h)
    return self.w(lurn.cat({ x, h or lurn.zeros(x.shape[1], self.hidden) }, 2)):tanh()
  end

  -- State: a table with more than h, and something that is no tensor.
  local Counting = nn.Module:extend "Counting"
  function Counting:forward(x, state)
    local sum = state and state.sum + x or x
    return { h = sum:tanh(), sum = sum, steps = (state and state.steps or 0) + 1 }
  end

  it("takes a tensor for a state", function()
    local cell, x = Plain(3, 4), leaf(lurn.randn(5, 2, 3))
    local y, h = nn.Unroll(cell)(x)
    assert.same({ 5, 2, 4 }, shape_of(y))
    assert.equal(0, distance(y[5], h))
    y:sum():backward()
    assert.truthy(cell.w.weight.grad)
    local z, held = nn.Unroll(cell)(x, h, { lengths = { 2, 5 } })
    assert.equal(0, distance(held[1], z[2][1]))
    assert.equal(0, z:narrow(1, 3, 3):select(2, 1):abs():sum():item())
  end)

  it("keeps every tensor of a table at each length", function()
    local x = lurn.randn(5, 2, 3)
    local y, state = nn.Unroll(Counting())(x, nil, { lengths = { 2, 5 } })
    local sums = x:cumsum(1)
    assert.is_true(distance(state.sum[1], sums[2][1]) < 1e-6)
    assert.is_true(distance(state.sum[2], sums[5][2]) < 1e-6)
    assert.is_true(distance(y[5][2], sums[5][2]:tanh()) < 1e-6)
    assert.equal(5, state.steps)
  end)

  it("lets nothing of the padding through", function()
    local cell = Plain(3, 4)
    local x = lurn.randn(4, 2, 3)
    x:narrow(1, 3, 2):select(2, 1):fill_(0 / 0)
    x = leaf(x)
    local y = nn.Unroll(cell)(x, nil, { lengths = { 2, 4 } })
    y:square():sum():backward()
    for _, t in ipairs { y, x.grad, cell.w.weight.grad } do
      assert.equal(t:numel(), lurn.isfinite(t:detach()):to("int64"):sum():item())
    end
  end)

  it("sees ids too, and no steps from a state", function()
    local Embedded = nn.Module:extend "Embedded"
    function Embedded:init() self.e = nn.Embedding(5, 4) end
    function Embedded:forward(ids, h) return self.e(ids) + (h or 0) end
    local y = nn.Unroll(Embedded())(lurn.randint(1, 5, 3, 2))
    assert.same({ 3, 2, 4 }, shape_of(y))
    local none, h = nn.Unroll(Plain(3, 4))(lurn.zeros(0, 2, 3), lurn.ones(2, 4))
    assert.same({ 0, 2, 4 }, shape_of(none))
    assert.equal(8, h:sum():item())
  end)

  it("brings each step its gradient", function()
    local Same = nn.Module:extend "Same"
    function Same:forward(x) return x end
    for _, steps in ipairs { 1, 2, 3, 7, 100 } do
      local x, gy = leaf(lurn.randn(steps, 2, 3)), lurn.randn(steps, 2, 3)
      helper.inner({ nn.Unroll(Same())(x), gy }):backward()
      assert.equal(0, distance(x.grad, gy))
    end
  end)

  it("gives no steps for none, batch first too", function()
    local cell, start = nn.GRUCell(3, 4), nn.State(lurn.randn(5, 4))
    local y, state = nn.Unroll(cell, { batch_first = true })(lurn.zeros(5, 0, 3), start)
    assert.same({ 5, 0, 4 }, { table.unpack(y.shape) })
    assert.equal(0, helper.distance(start.h, state.h))
    assert.same({ 0, 5, 4 }, { table.unpack(nn.Unroll(cell)(lurn.zeros(0, 5, 3), start).shape) })
  end)

  it("prints, walks and saves as any module", function()
    local m = nn.Unroll(nn.GRUCell(3, 4), { reverse = true })
    assert.equal("Unroll(\n  reverse=true\n  (cell): GRUCell(3, 4)\n)", tostring(m))
    assert.same({ "cell.weight_ih", "cell.weight_hh", "cell.bias_ih", "cell.bias_hh" },
      helper.names(m:named_parameters()))
  end)

  it("checks what it gets", function()
    local Wrong = nn.Module:extend "Wrong"
    function Wrong:forward(x) return self.result and self.result(x) end
    local wrong = Wrong()
    local m = nn.Unroll(wrong)
    local x = lurn.randn(5, 2, 3)
    fails("nn.Unroll: the cell is a function; expected a module", nn.Unroll, print)
    fails("nn.Unroll: the cell is the class Plain; expected a module", nn.Unroll, Plain)
    fails('nn.Unroll: there is no option "reversed"; the options are batch_first, reverse', nn.Unroll, wrong,
      { reversed = true })
    fails("Unroll: the cell gave nil as its state; expected a tensor, or a table with the tensor h", m, x)
    wrong.result = function() return lurn.zeros(3, 4) end
    fails("Unroll: the cell gave h of shape (3, 4); expected 2 rows", m, x)
    fails("Unroll: input has shape (5); expected (T, N, ...)", m, lurn.zeros(5))
    fails("Unroll: input is nil; expected a tensor", m)
    fails("Unroll: lengths[2] is 6, expected 0..5", m, x, nil, { lengths = { 1, 6 } })
    fails("Unroll: lengths has shape (3), expected (2)", m, x, nil, { lengths = { 1, 2, 3 } })
    fails("Unroll: lengths is float32, expected int64", m, x, nil, { lengths = lurn.ones(2) })
    fails("Unroll: there is no step and no state; expected at least one of them", m, lurn.zeros(0, 2, 3))
    fails("cell.w: Linear: input has 7 features; expected 8", nn.Unroll(Plain(4, 4)), x)
  end)
end)
