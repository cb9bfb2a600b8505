-- nn.LayerNormLSTM, nn.LayerNormGRU and their cells. Their numbers are checked in reference_spec as well.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local EXACT = 1e-12 -- float64

local function randn(...) return lurn.randn(...):to "float64" end

-- (x - mean) / sqrt(var + eps) gain + bias, from single ops.
local function norm(x, gain, bias, eps)
  local d = x - x:mean { dim = -1, keepdim = true }
  local y = d / (d:square():mean { dim = -1, keepdim = true } + eps):sqrt() * gain
  return bias and y + bias or y
end

local by_hand = {}

function by_hand.LSTM(w, x, h, c)
  local a = norm(x:matmul(w.weight_ih:t()), w.gain_ih, w.bias_ih, w.eps)
    + norm(h:matmul(w.weight_hh:t()), w.gain_hh, w.bias_hh, w.eps)
  local i, f, g, o = table.unpack(a:chunk(4, 2))
  c = f:sigmoid() * c + i:sigmoid() * g:tanh()
  return o:sigmoid() * norm(c, w.gain_c, w.bias_c, w.eps):tanh(), c
end

function by_hand.GRU(w, x, h)
  local hidden = h.shape[2]
  local function parts(v, weight, gain, bias)
    local p = v:matmul(weight:t())
    return norm(p:narrow(2, 1, 2 * hidden), gain:narrow(1, 1, 2 * hidden), bias and bias:narrow(1, 1, 2 * hidden),
      w.eps), norm(p:narrow(2, 2 * hidden + 1, hidden), gain:narrow(1, 2 * hidden + 1, hidden),
        bias and bias:narrow(1, 2 * hidden + 1, hidden), w.eps)
  end
  local x_rz, x_n = parts(x, w.weight_ih, w.gain_ih, w.bias_ih)
  local h_rz, h_n = parts(h, w.weight_hh, w.gain_hh, w.bias_hh)
  local r, z = table.unpack((x_rz + h_rz):sigmoid():chunk(2, 2))
  return (1 - z) * (x_n + r * h_n):tanh() + z * h
end

-- The LSTM with what its options add; suffixes of the names are gone.
local function variant_by_hand(w, x, h, c, coupled)
  local a = norm(x:matmul(w.weight_ih:t()), w.gain_ih, w.bias_ih, w.eps)
    + norm(h:matmul(w.weight_hh:t()), w.gain_hh, w.bias_hh, w.eps)
  local p = a:chunk(coupled and 3 or 4, 2)
  if coupled then table.insert(p, 1, p[1]) end
  local function peep(weight, cell) return weight and weight * cell or 0 end
  local f = (p[2] + peep(w.weight_cf, c)):sigmoid()
  local i = coupled and 1 - f or (p[1] + peep(w.weight_ci, c)):sigmoid()
  c = f * c + i * p[3]:tanh()
  h = (p[4] + peep(w.weight_co, c)):sigmoid() * norm(c, w.gain_c, w.bias_c, w.eps):tanh()
  return w.weight_hr and h:matmul(w.weight_hr:t()) or h, c
end

-- Random gains and biases, so that each counts.
local function shake(module)
  for name, p in module:named_parameters() do
    lurn.no_grad(function() p:copy_(randn(p.shape) * 0.4 + (name:find "gain" and 1 or 0)) end)
  end
  return module
end

for _, kind in ipairs { "LSTM", "GRU" } do
  local name = "LayerNorm" .. kind
  describe("nn." .. name, function()
    before_each(function() lurn.manual_seed(21) end)

    local function weights_of(layer, suffix)
      local w = { eps = layer.eps }
      for full, p in layer:named_parameters() do w[full:gsub(suffix .. "$", "")] = p end
      return w
    end

    for _, bias in ipairs { true, false } do
      it(("equals its equations, with gradients, bias %s"):format(bias), function()
        local layer = shake(nn[name](3, 4, { bias = bias, eps = 1e-3 }):to "float64")
        local x, h0, c0 = leaf(randn(5, 2, 3)), leaf(randn(1, 2, 4)), kind == "LSTM" and leaf(randn(1, 2, 4)) or nil
        local y, state = layer(x, { h = h0, c = c0 })
        local w, h, c, hs = weights_of(layer, "_l0"), h0[1], c0 and c0[1], {}
        for t = 1, 5 do
          h, c = by_hand[kind](w, x[t], h, c)
          hs[t] = h
        end
        local z = lurn.stack(hs, 1)
        assert.is_true(distance(y, z) < EXACT and distance(state.h[1], h) < EXACT)
        local leaves = layer:parameters()
        table.move({ x, h0, c0 }, 1, 3, #leaves + 1, leaves)
        local function loss(out, last_c) return (out * 3):sin():sum() + (last_c and last_c:square():sum() or 0) end
        local a = { lurn.grad(loss(y, state.c), leaves) }
        local b = { lurn.grad(loss(z, c), leaves) }
        assert.equal(#leaves, #a)
        for i, grad in ipairs(a) do assert.is_true(distance(grad, b[i]) < 1e-11) end
      end)
    end

    it("has the gradient that differences have", function()
      local layer = shake(nn[name](2, 3):to "float64")
      local leaves = layer:parameters()
      table.insert(leaves, 1, leaf(randn(3, 2, 2)))
      assert(lurn.gradcheck(function(x) return (layer(x) * 2):sin():sum() end, leaves))
    end)

    it("equals its cell, step by step", function()
      local layer, cell = shake(nn[name](3, 4):to "float64"), nn[name .. "Cell"](3, 4):to "float64"
      for full, p in layer:named_parameters() do
        lurn.no_grad(function() cell[full:gsub("_l0$", "")]:copy_(p) end)
      end
      local x = randn(5, 2, 3)
      local y, last = layer(x)
      local state
      for t = 1, 5 do
        state = cell(x[t], state)
        assert.is_true(distance(y[t], state.h) < EXACT)
      end
      if kind == "LSTM" then assert.is_true(distance(last.c[1], state.c) < EXACT) else assert.is_nil(state.c) end
      local z = nn.Unroll(cell)(x)
      assert.is_true(distance(y, z) < EXACT)
    end)

    it("stops each sequence at its length, as if it ran alone", function()
      local layer = shake(nn[name](3, 4, { num_layers = 2, bidirectional = true }):to "float64")
      local x = randn(5, 3, 3)
      x:narrow(1, 3, 3):select(2, 1):fill_(0 / 0)
      local y, state = layer(x, nil, { lengths = { 2, 5, 0 } })
      local z, other = layer(x:narrow(2, 1, 1):narrow(1, 1, 2))
      assert.is_true(distance(y:narrow(2, 1, 1):narrow(1, 1, 2), z) < EXACT)
      assert.is_true(distance(state.h:narrow(2, 1, 1), other.h) < EXACT)
      assert.equal(0, y:narrow(2, 1, 1):narrow(1, 3, 3):abs():sum():item())
      assert.equal(0, y:narrow(2, 3, 1):abs():sum():item() + state.h:narrow(2, 3, 1):abs():sum():item())
    end)

    it("begins with gains of 1 and biases of 0, under names like nn." .. kind .. "'s", function()
      local layer = nn[name](20, 25, { num_layers = 2 })
      for full, p in layer:named_parameters() do
        if full:find "gain" then assert.equal(p:numel(), p:sum():item(), full) end
        if full:find "bias" then assert.equal(0, p:abs():sum():item(), full) end
        if full:find "weight" then
          local largest = p:detach():abs():max():item()
          assert.is_true(largest <= 0.2 and largest > 0.15)
        end
      end
      local plain = nn[kind](20, 25, { num_layers = 2 })
      for full, p in plain:named_parameters() do assert.same(p.shape, layer[full].shape) end
      local cell = nn[name .. "Cell"](3, 4, { bias = false })
      for _, full in ipairs(helper.names(cell:named_parameters())) do assert.is_nil(full:find "bias") end
    end)

    it("takes the batch first, empty batches and no steps", function()
      local layer = nn[name](3, 4, { batch_first = true })
      assert.same({ 2, 5, 4 }, { table.unpack(layer(lurn.randn(2, 5, 3)).shape) })
      assert.same({ 0, 5, 4 }, { table.unpack(layer(lurn.randn(0, 5, 3)).shape) })
      local y, state = layer(lurn.zeros(2, 0, 3))
      assert.same({ 2, 0, 4 }, { table.unpack(y.shape) })
      assert.equal(0, state.h:abs():sum():item())
      y:sum():backward()
      assert.equal(0, layer.weight_ih_l0.grad:abs():sum():item())
    end)

    it("checks its arguments", function()
      fails(("nn.%s: input_size is 0; expected a positive integer"):format(name), nn[name], 0, 1)
      fails(("nn.%s: eps is 0; expected a positive number"):format(name), nn[name], 1, 1, { eps = 0 })
      fails(('nn.%sCell: there is no option "dropout"'):format(name), nn[name .. "Cell"], 1, 1, { dropout = 1 })
      local layer = nn[name](3, 4)
      fails(name .. ": input has 5 features; expected 3", layer, lurn.zeros(2, 1, 5))
      fails(name .. ": lengths[1] is 3, expected 0..2", layer, lurn.zeros(2, 1, 3), nil, { lengths = { 3 } })
    end)
  end)
end

local function without_suffix(layer, suffix)
  local w = { eps = layer.eps }
  for full, p in layer:named_parameters() do w[full:gsub(suffix .. "$", "")] = p end
  return w
end

describe("nn.LayerNormLSTM with", function()
  local variants = {
    { "a projection", { proj_size = 2 } }, { "peepholes", { peephole = true } },
    { "coupled gates", { coupled = true } },
    { "all of them", { proj_size = 2, peephole = true, coupled = true } },
    { "all of them and no bias", { proj_size = 3, peephole = true, coupled = true, bias = false } },
  }
  for _, variant in ipairs(variants) do
    local name, given = variant[1], variant[2]
    it(name .. " equals its equations, with gradients", function()
      lurn.manual_seed(23)
      local layer = shake(nn.LayerNormLSTM(3, 4, given):to "float64")
      local P = given.proj_size or 4
      local x, h0, c0 = leaf(randn(5, 2, 3)), leaf(randn(1, 2, P)), leaf(randn(1, 2, 4))
      local y, state = layer(x, { h = h0, c = c0 })
      local w, h, c, hs = without_suffix(layer, "_l0"), h0[1], c0[1], {}
      for t = 1, 5 do
        h, c = variant_by_hand(w, x[t], h, c, given.coupled)
        hs[t] = h
      end
      local z = lurn.stack(hs, 1)
      assert.is_true(distance(y, z) < EXACT and distance(state.c[1], c) < EXACT)
      local leaves = layer:parameters()
      table.move({ x, h0, c0 }, 1, 3, #leaves + 1, leaves)
      local function loss(out, last) return (out * 3):sin():sum() + last:square():sum() end
      local have, want = { lurn.grad(loss(y, state.c), leaves) }, { lurn.grad(loss(z, c), leaves) }
      for i, grad in ipairs(have) do assert.is_true(distance(grad, want[i]) < 1e-11) end
      if given.proj_size then return end
      local cell = nn.LayerNormLSTMCell(3, 4, given):to "float64"
      for full, p in pairs(w) do
        if full ~= "eps" then lurn.no_grad(function() cell[full]:copy_(p) end) end
      end
      assert.is_true(distance(cell(x[1], { h = h0[1], c = c0[1] }).h, y[1]) < EXACT)
    end)
  end

  it("all of them begins as nn.LSTM, stacks and goes both ways", function()
    local given = { proj_size = 2, peephole = true, coupled = true, forget_bias = 1, num_layers = 2,
      bidirectional = true }
    local layer, plain = nn.LayerNormLSTM(3, 4, given), nn.LSTM(3, 4, given)
    for full, p in plain:named_parameters() do assert.same(p.shape, layer[full].shape) end
    assert.same({ 12 }, { table.unpack(layer.gain_hh_l1_reverse.shape) })
    assert.same({ 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0 }, layer.bias_ih_l1:totable())
    local y, state = layer(lurn.randn(5, 2, 3))
    assert.same({ "{5, 2, 4}", "{4, 2, 2}", "{4, 2, 4}" }, { tostring(y.shape), tostring(state.h.shape),
      tostring(state.c.shape) })
    y = layer(lurn.zeros(0, 2, 3))
    assert.equal("{0, 2, 4}", tostring(y.shape))
  end)
end)

it("LayerNormLSTM takes a forget bias", function()
  local layer = nn.LayerNormLSTM(2, 3, { forget_bias = 2, num_layers = 2 })
  for _, name in ipairs { "bias_ih_l0", "bias_ih_l1" } do
    assert.same({ 0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0 }, layer[name]:totable())
  end
  assert.equal(6, nn.LayerNormLSTMCell(2, 3, { forget_bias = 2 }).bias_ih:sum():item())
  fails("nn.LayerNormLSTM: forget_bias needs bias = true", nn.LayerNormLSTM, 2, 3, { forget_bias = 2, bias = false })
end)

describe("nn.LayerNormLSTMCell and nn.LayerNormGRUCell", function()
  before_each(function() lurn.manual_seed(22) end)

  for kind, class in pairs { LSTM = nn.LayerNormLSTMCell, GRU = nn.LayerNormGRUCell } do
    it(("take one step of the equations of %s from a given state, with gradients"):format(kind), function()
      local cell = shake(class(3, 4, { eps = 1e-3 }):to "float64")
      local x, h, c = leaf(randn(2, 3)), leaf(randn(2, 4)), kind == "LSTM" and leaf(randn(2, 4)) or nil
      local state, w = cell(x, { h = h, c = c }), { eps = 1e-3 }
      for name, p in cell:named_parameters() do w[name] = p end
      local next_h, next_c = by_hand[kind](w, x, h, c)
      assert.is_true(distance(state.h, next_h) < EXACT)
      if c then assert.is_true(distance(state.c, next_c) < EXACT) end
      local leaves = cell:parameters()
      table.move({ x, h, c }, 1, 3, #leaves + 1, leaves)
      local function loss(a, b) return (a * 3):sin():sum() + (b and b:square():sum() or 0) end
      local have, want = { lurn.grad(loss(state.h, state.c), leaves) }, { lurn.grad(loss(next_h, next_c), leaves) }
      for i, grad in ipairs(have) do assert.is_true(distance(grad, want[i]) < 1e-11) end
    end)
  end

  it("say what they are, and check what they get", function()
    local cell = nn.LayerNormGRUCell(3, 4)
    assert.equal("LayerNormGRUCell", getmetatable(cell).__name)
    assert.same({ 12, 12 }, { cell.gain_ih:numel(), cell.gain_hh:numel() })
    assert.is_nil(cell(lurn.randn(2, 3)).c)
    fails("LayerNormGRUCell: input has shape (2, 2, 3); expected (N, 3), or (3) of one sequence", cell,
      lurn.zeros(2, 2, 3))
    assert.same({ 4 }, { table.unpack(cell(lurn.randn(3)).h.shape) })
    fails("LayerNormGRUCell: state.h has shape (1, 4); expected (4)", cell, lurn.zeros(3), { h = lurn.zeros(1, 4) })
    fails("LayerNormGRUCell: input has 2 features; expected 3", cell, lurn.zeros(2))
    fails("LayerNormGRUCell: input has 4 features; expected 3", cell, lurn.zeros(2, 4))
    fails("LayerNormGRUCell: state.h is float64; expected float32 like the input", cell, lurn.zeros(2, 3),
      { h = lurn.zeros(2, 4):to "float64" })
    fails("nn.LayerNormGRUCell: option forget_bias is there for nn.LayerNormLSTMCell only", nn.LayerNormGRUCell, 3, 4,
      { forget_bias = 1 })
    fails("nn.LayerNormGRU: option proj_size is there for nn.LayerNormLSTM only", nn.LayerNormGRU, 3, 4,
      { proj_size = 1 })
    fails("nn.LayerNormLSTM: proj_size is 4; expected less than hidden_size, 4", nn.LayerNormLSTM, 3, 4,
      { proj_size = 4 })
    fails("nn.LayerNormGRUCell: eps is -1; expected a positive number", nn.LayerNormGRUCell, 3, 4, { eps = -1 })
  end)
end)
