-- zoneout and recurrent_dropout.

local lurn = require "lurn"
local by_hand = require "scripts.nn.cells_by_hand"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local EXACT = 1e-12 -- float64
local kinds = { "RNN", "LSTM", "GRU", "LayerNormLSTM", "LayerNormGRU" }

local function randn(...) return lurn.randn(...):to "float64" end
local function has_cell(kind) return kind:find "LSTM" ~= nil end

-- A layer with noise and one without, of the same weights.
local function pair(kind, options)
  local noisy, plain = nn[kind](3, 4, options):to "float64", nn[kind](3, 4):to "float64"
  plain:load_state_dict(noisy:state_dict())
  return noisy, plain
end

local function state_for(kind, n)
  return { h = randn(1, n, 4), c = has_cell(kind) and randn(1, n, 4) or nil }
end

-- Elementwise: 1 where a is b, 2 where a is c, 0 elsewhere.
local function which(a, b, c)
  local function near(x, y) return (x - y):abs():lt(1e-9):to "float64" end
  return near(a, b) + near(a, c) * (1 - near(a, b)) * 2
end

for _, kind in ipairs(kinds) do
  describe("zoneout of nn." .. kind, function()
    before_each(function() lurn.manual_seed(31) end)

    it("keeps units with the probability, each for itself, at each step", function()
      local layer, plain = pair(kind, { zoneout = 0.3 })
      local state, x = state_for(kind, 200), randn(5, 200, 3)
      local y = layer(x, state)
      local h = state.h[1]
      local first = plain(x:narrow(1, 1, 1), state)
      local choice = which(y[1], h, first[1])
      assert.equal(0, choice:eq(0):sum():item())
      local kept = choice:eq(1):to("float64"):mean():item()
      -- 800 draws: four deviations of sqrt(0.3 * 0.7 / 800)
      assert.is_near(0.3, kept, 0.065)
      for t = 2, 5 do
        assert.is_near(0.3, y[t]:eq(y[t - 1]):to("float64"):mean():item(), 0.065)
        assert.is_true(distance(y[t]:eq(y[t - 1]):to "float64", y[2]:eq(y[1]):to "float64") == (t == 2 and 0 or 1))
      end
    end)

    it("is the expected value in evaluation", function()
      local layer, plain = pair(kind, { zoneout = has_cell(kind) and { h = 0.3, c = 0.1 } or 0.3 })
      layer:eval()
      local x, state = randn(5, 2, 3), state_for(kind, 2)
      local y, last = layer(x, state)
      local h, c = state.h, state.c
      for t = 1, 5 do
        local _, new = plain(x:narrow(1, t, 1), { h = h, c = c })
        h = h * 0.3 + new.h * 0.7
        c = c and c * 0.1 + new.c * 0.9
        assert.is_true(distance(y[t], h[1]) < EXACT)
      end
      assert.is_true(distance(last.h, h) < EXACT)
      if c then assert.is_true(distance(last.c, c) < EXACT) end
    end)

    it("of 1 keeps the state, of 0 nothing", function()
      local layer, plain = pair(kind, { zoneout = 1 })
      local x, state = randn(5, 2, 3), state_for(kind, 2)
      local _, last = layer(x, state)
      assert.equal(0, distance(last.h, state.h))
      if last.c then assert.equal(0, distance(last.c, state.c)) end
      layer.zoneout = 0
      assert.equal(0, distance(layer(x, state), (plain(x, state))))
      assert.equal(0, nn[kind](3, 4, { zoneout = 1 })(lurn.randn(2, 2, 3)):abs():sum():item())
    end)

    it("goes with layers, directions and lengths", function()
      local layer = nn[kind](3, 4, { zoneout = 0.5, num_layers = 2, bidirectional = true, recurrent_dropout = 0.2 })
      local x = leaf(lurn.randn(5, 3, 3))
      local y, state = layer(x, nil, { lengths = { 2, 5, 0 } })
      y:sum():backward()
      assert.equal(0, y:narrow(2, 1, 1):narrow(1, 3, 3):abs():sum():item())
      assert.equal(0, x.grad:narrow(2, 1, 1):narrow(1, 3, 3):abs():sum():item())
      assert.equal(0, state.h:narrow(2, 3, 1):abs():sum():item())
      assert.same({ 4, 3, 4 }, { table.unpack(state.h.shape) })
    end)

    it("lets gradients through what is kept", function()
      local layer, x = nn[kind](3, 4, { zoneout = 1 }), lurn.randn(5, 2, 3)
      local h = leaf(lurn.randn(1, 2, 4))
      local _, last = layer(x, { h = h, c = has_cell(kind) and lurn.zeros(1, 2, 4) or nil })
      last.h:sum():backward()
      assert.equal(8, h.grad:sum():item())
    end)

    it("is an option of the cell too", function()
      local cell = nn[kind .. "Cell"](3, 4, { zoneout = 0.25 })
      cell:eval()
      local x, h, c = lurn.randn(2, 3), lurn.randn(2, 4), has_cell(kind) and lurn.randn(2, 4) or nil
      local zoned = cell(x, { h = h, c = c })
      cell.zoneout = 0
      local new = cell(x, { h = h, c = c })
      assert.is_true(distance(zoned.h, h * 0.25 + new.h * 0.75) < 1e-6)
      if c then assert.is_true(distance(zoned.c, c * 0.25 + new.c * 0.75) < 1e-6) end
      assert.is_true(distance(nn[kind .. "Cell"](3, 4, { zoneout = 1 })(x, { h = h, c = c }).h, h) == 0)
    end)
  end)

  describe("recurrent_dropout of nn." .. kind, function()
    before_each(function() lurn.manual_seed(32) end)

    it("acts in training only", function()
      local layer, plain = pair(kind, { recurrent_dropout = 0.5 })
      local x = randn(5, 2, 3)
      assert.is_true(distance(layer(x), (plain(x))) > 1e-3)
      layer:eval()
      assert.equal(0, distance(layer(x), (plain(x))))
    end)

    it("leaves a first step from nothing alone", function()
      local layer, plain = pair(kind, { recurrent_dropout = 0.5 })
      local x = randn(1, 2, 3)
      assert.is_true(distance(layer(x), (plain(x))) < EXACT)
    end)
  end)
end

describe("recurrent_dropout", function()
  -- With everything dropped the products see zeros, but what z keeps and what f keeps is whole.
  it("of 1 takes h from the products alone", function()
    for _, kind in ipairs { "RNN", "LSTM", "GRU" } do
      local layer = nn[kind](3, 4, { recurrent_dropout = 1 }):to "float64"
      local w = { weight_ih = layer.weight_ih_l0, weight_hh = layer.weight_hh_l0 * 0, bias_ih = layer.bias_ih_l0,
        bias_hh = layer.bias_hh_l0 }
      local x, h, c = randn(5, 2, 3), lurn.zeros(2, 4):to "float64", lurn.zeros(2, 4):to "float64"
      local y = layer(x)
      for t = 1, 5 do
        h, c = by_hand[kind](w, x[t], h, c)
        assert.is_true(distance(y[t], h) < EXACT, kind)
      end
    end
  end)

  it("has one mask per sequence for all steps", function()
    lurn.manual_seed(33)
    -- h stays constant: relu(h U + x) with U = I, x = 0 multiplies by the mask at each step.
    local layer = nn.RNN(1, 50, { nonlinearity = "relu", bias = false, recurrent_dropout = 0.5 })
    nn.init.eye_(layer.weight_hh_l0)
    local y = layer(lurn.zeros(3, 4, 1), { h = lurn.ones(1, 4, 50) })
    assert.is_true(distance(y[2], y[1]:square()) < 1e-6 and distance(y[3], y[1]:pow(3)) < 1e-6)
    assert.is_near(0.5, y[1]:gt(0):to("float32"):mean():item(), 0.15)
    assert.equal(2, y[1]:max():item())
    assert.is_true(distance(y[1][1], y[1][2]) > 0)
  end)
end)

describe("options of noise", function()
  it("are fields, and are printed", function()
    assert.equal("LSTM(3, 4, zoneout={h=0.1, c=0.5}, recurrent_dropout=0.2)",
      tostring(nn.LSTM(3, 4, { zoneout = { h = 0.1, c = 0.5 }, recurrent_dropout = 0.2 })))
    assert.equal("GRUCell(3, 4, zoneout=0.1)", tostring(nn.GRUCell(3, 4, { zoneout = { h = 0.1 } })))
    assert.equal(0, nn.LSTM(3, 4).zoneout)
    assert.equal("LSTMCell(3, 4)", tostring(nn.LSTMCell(3, 4, { zoneout = { h = 0, c = 0 } })))
  end)

  it("are checked", function()
    fails("nn.LSTM: zoneout is 1.5; expected a number from 0 to 1", nn.LSTM, 3, 4, { zoneout = 1.5 })
    fails("nn.LSTM: zoneout is true; expected a number or {h = ..., c = ...}", nn.LSTM, 3, 4, { zoneout = true })
    fails("nn.LSTM: zoneout.c is -1; expected a number from 0 to 1", nn.LSTM, 3, 4, { zoneout = { c = -1 } })
    fails('nn.GRU: zoneout has the field "c"; the state has only h', nn.GRU, 3, 4, { zoneout = { c = 0.5 } })
    fails('nn.LSTMCell: zoneout has the field "x"; the state has h and c', nn.LSTMCell, 3, 4, { zoneout = { x = 0.5 } })
    fails("nn.RNN: recurrent_dropout is 2; expected a number from 0 to 1", nn.RNN, 3, 4, { recurrent_dropout = 2 })
    fails("LSTM: lengths[1] is 3, expected 0..2", nn.LSTM(3, 4, { zoneout = 0.5 }), lurn.zeros(2, 1, 3), nil,
      { lengths = { 3 } })
    local c = lurn.zeros(1, 1, 4)
    fails("LSTM: state.c is float64; expected float32 like the input", nn.LSTM(3, 4, { zoneout = 0.5 }),
      lurn.zeros(2, 1, 3), { h = c, c = c:to "float64" })
  end)

  it("bear no steps, and check their arguments all the same", function()
    for _, layer in ipairs { nn.LSTM(3, 4, { zoneout = 0.5, proj_size = 2 }), nn.LayerNormLSTM(3, 4) } do
      local none, name = lurn.zeros(0, 2, 3), getmetatable(layer).__name
      local columns = layer.proj_size > 0 and layer.proj_size or 4
      local y, state = layer(none, nil, { lengths = { 0, 0 } })
      assert.same({ 0, 2, columns }, { table.unpack(y.shape) })
      assert.same({ 1, 2, columns }, { table.unpack(state.h.shape) })
      assert.same({ 1, 2, 4 }, { table.unpack(state.c.shape) })
      fails(name .. ": lengths[2] is 1, expected 0..0", layer, none, nil, { lengths = { 0, 1 } })
      local record = {}
      layer(none, nil, { record = record })
      assert.same({ 0, 2, 16 }, { table.unpack(record[1].gates.shape) })
      assert.same({ 0, 2, columns }, { table.unpack(record[1].hidden.shape) })
    end
  end)
end)
