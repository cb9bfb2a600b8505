-- nn.RNNCell, nn.LSTMCell, nn.GRUCell. Their numbers are checked in parity_spec as well.

local lurn = require "lurn"
local by_hand = require "scripts.nn.cells_by_hand"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance = helper.fails, helper.distance

for _, kind in ipairs { "RNN", "LSTM", "GRU" } do
  describe(kind .. "Cell", function()
    it("called step by step equals the layer", function()
      lurn.manual_seed(3)
      local layer, cell, x = nn[kind](3, 4), nn[kind .. "Cell"](3, 4), lurn.randn(5, 2, 3)
      for name, p in layer:named_parameters() do
        lurn.no_grad(function() cell[name:gsub("_l0$", "")]:copy_(p) end)
      end
      local y, last = layer(x)
      local state
      for t = 1, 5 do
        state = cell(x[t], state)
        assert.is_true(distance(state.h, y[t]) < 1e-6)
      end
      assert.same({ 2, 4 }, { table.unpack(state.h.shape) })
      if kind == "LSTM" then
        assert.is_true(distance(state.c, last.c[1]) < 1e-6)
      else
        assert.is_nil(state.c)
      end
    end)

    it("equals its equations, with gradients", function()
      lurn.manual_seed(2)
      local cell = nn[kind .. "Cell"](3, 4):to "float64"
      local function leaf(...) return helper.leaf(lurn.randn(...):to "float64") end
      local x, h, c = leaf(2, 3), leaf(2, 4), leaf(2, 4)
      local function grads(new_h, new_c)
        local loss = new_h:square():sum()
        if new_c then loss = loss + (new_c * 3):sin():sum() end
        local inputs = cell:parameters()
        table.move({ x, h, kind == "LSTM" and c or nil }, 1, 3, #inputs + 1, inputs)
        return { lurn.grad(loss, inputs) }
      end
      local state = cell(x, { h = h, c = c })
      local fused = grads(state.h, state.c)
      local new_h, new_c = by_hand[kind](cell, x, h, c)
      assert.is_true(distance(state.h, new_h) < 1e-12)
      for i, grad in ipairs(grads(new_h, new_c)) do assert.is_true(distance(fused[i], grad) < 1e-12) end
    end)

    it("may have no bias", function()
      local cell = nn[kind .. "Cell"](3, 4, { bias = false })
      assert.same({ "weight_ih", "weight_hh" }, helper.names(cell:named_parameters()))
      assert.equal(kind .. "Cell(3, 4, bias=false)", tostring(cell))
      assert.truthy(cell(lurn.randn(2, 3)).h)
    end)

    it("checks its arguments", function()
      local cell = nn[kind .. "Cell"](3, 4)
      fails(kind .. "Cell: input has 5 features; expected 3", cell, lurn.zeros(2, 5))
      fails(kind .. "Cell: input is int64; expected float32 like the weights", cell, lurn.ones(2, 3):to "int64")
      fails(kind .. "Cell: input has shape (1, 2, 3); expected (N, 3)", cell, lurn.zeros(1, 2, 3))
      fails(kind .. "Cell: state.h has shape (1, 4); expected (2, 4)", cell, lurn.zeros(2, 3), { h = lurn.zeros(1, 4) })
      fails(("nn.%sCell: input_size is 0; expected a positive integer"):format(kind), nn[kind .. "Cell"], 0, 1)
      fails(('nn.%sCell: there is no option "dropout"'):format(kind), nn[kind .. "Cell"], 1, 1, { dropout = 1 })
    end)
  end)
end

it("RNNCell takes other nonlinearities", function()
  for _, nonlinearity in ipairs { "relu", "sigmoid" } do
    local cell = nn.RNNCell(3, 4, { nonlinearity = nonlinearity })
    local x, h = lurn.randn(2, 3), lurn.randn(2, 4)
    local expected = by_hand.RNN(cell, x, h, nil, nonlinearity)
    assert.is_true(distance(cell(x, { h = h }).h, expected) < 1e-6)
  end
end)

it("LSTMCell takes a forget bias", function()
  local mean = nn.LSTMCell(3, 400, { forget_bias = 2 }).bias_ih:narrow(1, 401, 400):mean():item()
  assert.is_near(2, mean, 0.05)
end)

describe("LSTMCell", function()
  for _, options in ipairs {
    { peephole = true },
    { coupled = true },
    { peephole = true, coupled = true, bias = false },
  } do
    local text = tostring(nn.LSTMCell(3, 4, options)):match ", (%a.*)%)$"

    it("equals its equations, with gradients: " .. text, function()
      lurn.manual_seed(2)
      local cell = nn.LSTMCell(3, 4, options):to "float64"
      local function leaf(...) return helper.leaf(lurn.randn(...):to "float64") end
      local x, h, c = leaf(2, 3), leaf(2, 4), leaf(2, 4)
      local inputs = cell:parameters()
      table.move({ x, h, c }, 1, 3, #inputs + 1, inputs)
      local function grads(new_h, new_c)
        return { lurn.grad(new_h:square():sum() + (new_c * 3):sin():sum(), inputs) }
      end
      local state = cell(x, { h = h, c = c })
      local new_h, new_c = by_hand.LSTM(cell, x, h, c)
      assert.is_true(distance(state.h, new_h) < 1e-12 and distance(state.c, new_c) < 1e-12)
      local fused = grads(state.h, state.c)
      for i, grad in ipairs(grads(new_h, new_c)) do assert.is_true(distance(fused[i], grad) < 1e-12) end
    end)

    it("called step by step equals the layer: " .. text, function()
      local layer, cell, x = nn.LSTM(3, 4, options), nn.LSTMCell(3, 4, options), lurn.randn(5, 2, 3)
      for name, p in layer:named_parameters() do
        lurn.no_grad(function() cell[name:gsub("_l0$", "")]:copy_(p) end)
      end
      local y, state = layer(x), nil
      for t = 1, 5 do
        state = cell(x[t], state)
        assert.is_true(distance(state.h, y[t]) < 1e-6)
      end
    end)
  end

  it("names its weights as the layer does", function()
    local names = { "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ci", "weight_cf", "weight_co" }
    local cell = nn.LSTMCell(3, 4, { peephole = true })
    assert.same(names, helper.names(cell:named_parameters()))
    local coupled = nn.LSTMCell(3, 4, { peephole = true, coupled = true })
    table.remove(names, 5)
    assert.same(names, helper.names(coupled:named_parameters()))
    assert.same({ 12, 3 }, { table.unpack(coupled.weight_ih.shape) })
    assert.same({ 4 }, { table.unpack(coupled.weight_co.shape) })
    local copy = nn.LSTMCell(3, 4, { peephole = true })
    copy:load_state_dict(cell:state_dict())
    assert.equal(0, distance(copy.weight_ci, cell.weight_ci))
  end)

  it("adds the forget bias where the forget gate is", function()
    local bias = nn.LSTMCell(3, 400, { forget_bias = 2, coupled = true }).bias_ih:detach()
    assert.is_near(2, bias:narrow(1, 1, 400):mean():item(), 0.05)
    assert.is_near(0, bias:narrow(1, 401, 800):mean():item(), 0.05)
  end)

  it("prints its options", function()
    assert.equal("LSTMCell(3, 4, forget_bias=1.5, peephole=true, coupled=true)",
      tostring(nn.LSTMCell(3, 4, { peephole = true, coupled = true, forget_bias = 1.5 })))
    assert.equal("LSTMCell(3, 4)", tostring(nn.LSTMCell(3, 4)))
  end)

  it("has no projection", function()
    fails("nn.LSTMCell: option proj_size is there for nn.LSTM only", nn.LSTMCell, 3, 4, { proj_size = 2 })
    fails("nn.LSTMCell: peephole is 1; expected true or false", nn.LSTMCell, 3, 4, { peephole = 1 })
    fails("nn.LSTMCell: forget_bias needs bias = true", nn.LSTMCell, 3, 4, { forget_bias = 1, bias = false })
    for _, name in ipairs { "peephole", "coupled" } do
      fails(("nn.GRUCell: option %s is there for nn.LSTMCell only"):format(name), nn.GRUCell, 3, 4, { [name] = true })
      fails(("nn.RNNCell: option %s is there for nn.LSTMCell only"):format(name), nn.RNNCell, 3, 4, { [name] = true })
    end
  end)
end)
