-- Recordings of layers that go step by step, against those of the fused ops and against equations.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local EXACT = 1e-12 -- float64

local function randn(...) return lurn.randn(...):to "float64" end

-- A probability at which nothing is ever dropped: the layer goes step by step and computes the same.
local NEVER = 1e-300

local fields = { "gates", "hidden", "cell", "grad_hidden", "grad_cell" }

local function same_record(a, b, name)
  for _, field in ipairs(fields) do
    local x, y = a[field], b[field]
    assert.equal(x == nil, y == nil, name .. field)
    if x then assert.is_true(distance(x, y) < EXACT, name .. field) end
  end
end

local function copy_of(layer, more)
  local given = { recurrent_dropout = NEVER }
  for key, value in pairs(more) do given[key] = value end
  local other = nn[layer.kind](layer.input_size, layer.hidden_size, given):to(layer:parameters()[1].dtype)
  other:load_state_dict(layer:state_dict())
  return other
end

describe("recordings of a layer that goes step by step", function()
  before_each(function() lurn.manual_seed(31) end)

  local variants = {
    { "RNN", {} }, { "GRU", {} }, { "LSTM", {} }, { "LSTM", { proj_size = 2 } },
    { "LSTM", { peephole = true, coupled = true } }, { "GRU", { bias = false } },
  }
  for _, variant in ipairs(variants) do
    local kind, given = variant[1], variant[2]
    given.num_layers, given.bidirectional = 2, true
    local words = {}
    for key in pairs(given) do words[#words + 1] = key end
    table.sort(words)
    it(("are those of the fused op: %s with %s"):format(kind, table.concat(words, ", ")), function()
      local fused = nn[kind](3, 4, given):to "float64"
      local layer, x = copy_of(fused, given), randn(5, 3, 3)
      for _, lengths in ipairs { false, { 2, 5, 0 }, { 3, 1, 2 } } do
        local a, b, options = {}, {}, { lengths = lengths or nil }
        options.record = a
        local y, state = layer(leaf(x), nil, options)
        options.record = b
        local z, other = fused(leaf(x), nil, options)
        assert.is_nil(a[1].grad_hidden)
        assert.is_nil(a[1].grad_cell)
        for _, pair in ipairs { { y, state }, { z, other } } do
          local loss = (pair[1] * 3):sin():sum() + (pair[2].c and (pair[2].c * 2):cos():sum() or 0)
          loss:backward()
        end
        for l = 1, 2 do
          same_record(a[l], b[l], ("layer %d "):format(l))
          same_record(a.reverse[l], b.reverse[l], ("reverse layer %d "):format(l))
        end
      end
    end)
  end

  it("change nothing", function()
    for _, kind in ipairs { "LSTM", "GRU", "RNN", "LayerNormLSTM", "LayerNormGRU" } do
      local layer, x = nn[kind](3, 4, { zoneout = 0.3, recurrent_dropout = 0.2 }), lurn.randn(5, 2, 3)
      local found = {}
      for i, rec in ipairs { {}, false } do
        lurn.manual_seed(7)
        layer:zero_grad()
        local y = layer(x, nil, { record = rec or nil })
        y:square():sum():backward()
        found[i] = { y, layer.weight_hh_l0.grad:clone() }
      end
      assert.is_true(found[1][1]:equal(found[2][1]) and found[1][2]:equal(found[2][2]), kind)
    end
  end)

  it("have the total gradients of the latest backward", function()
    for _, kind in ipairs { "LSTM", "GRU" } do
      local fused = nn[kind](3, 4):to "float64"
      local a, b, x = {}, {}, randn(5, 2, 3)
      local y, z = copy_of(fused, {})(x, nil, { record = a }), fused(x, nil, { record = b })
      for _, steps in ipairs { 5, 3, 4 } do
        y:narrow(1, 1, steps):sum():backward(nil, { retain_graph = true })
        z:narrow(1, 1, steps):sum():backward(nil, { retain_graph = true })
        same_record(a[1], b[1], ("%s, loss of %d steps: "):format(kind, steps))
      end
    end
  end)

  it("are without gradients under no_grad", function()
    local layer, rec = nn.LayerNormLSTM(3, 4), {}
    lurn.no_grad(function() layer(lurn.randn(5, 2, 3), nil, { record = rec }) end)
    assert.equal("{5, 2, 16}", tostring(rec[1].gates.shape))
    assert.is_nil(rec[1].grad_hidden)
    assert.is_nil(rec[1].grad_cell)
  end)

  it("outlive a scope", function()
    local layer, rec = nn.LayerNormGRU(3, 4), {}
    lurn.scope(function() layer(lurn.randn(5, 2, 3), nil, { record = rec }):sum():backward() end)
    assert.is_true(rec[1].gates:isfinite():all():item() and rec[1].grad_hidden:isfinite():all():item())
  end)

  it("say which fields there are", function()
    local rec = {}
    nn.LayerNormGRU(3, 4)(lurn.randn(5, 2, 3), nil, { record = rec })
    fails('a record has no field "foo"; it has gates, cell, hidden, grad_hidden, grad_cell', function()
      return rec[1].foo
    end)
  end)

  it("are empty without steps", function()
    for _, class in ipairs { "LayerNormLSTM", "LSTM" } do
      local layer = nn[class](3, 4, { zoneout = 0.5, proj_size = 2 })
      local rec = {}
      layer(lurn.zeros(0, 2, 3), nil, { record = rec })
      assert.same({ "{0, 2, 16}", "{0, 2, 2}", "{0, 2, 4}" }, { tostring(rec[1].gates.shape),
        tostring(rec[1].hidden.shape), tostring(rec[1].cell.shape) })
    end
  end)
end)

-- c of a layer with zoneout is what later steps see, not what h is made from.
describe("recordings with zoneout", function()
  for _, kind in ipairs { "LSTM", "LayerNormLSTM", "GRU", "LayerNormGRU" } do
    it("hold the states that later steps see, and their gradients: " .. kind, function()
      lurn.manual_seed(33)
      local layer = nn[kind](3, 4, { zoneout = 0.4 }):to("float64"):eval()
      local cell = nn[kind .. "Cell"](3, 4, { zoneout = 0.4 }):to("float64"):eval()
      for full, p in layer:named_parameters() do
        lurn.no_grad(function() cell[full:gsub("_l0$", "")]:copy_(p) end)
      end
      local x, rec = randn(5, 2, 3), {}
      local y = layer(x, nil, { record = rec })
      y:mul(3):sin():sum():backward()
      local state, hs, cs = nil, {}, {}
      for t = 1, 5 do
        state = cell(x[t], state)
        hs[t], cs[t] = state.h, state.c
      end
      local loss = (lurn.stack(hs, 1) * 3):sin():sum()
      local of_h = lurn.stack({ lurn.grad(loss, hs, { retain_graph = true }) }, 1)
      assert.is_true(distance(rec[1].hidden, y) < EXACT and distance(rec[1].grad_hidden, of_h) < EXACT)
      if not layer.has_cell then return assert.is_nil(rec[1].cell) end
      assert.is_true(distance(rec[1].cell, lurn.stack(cs, 1)) < EXACT)
      cs[5] = nil -- no later step sees it
      local of_c = lurn.stack({ lurn.grad(loss, cs) }, 1)
      assert.is_true(distance(rec[1].grad_cell:narrow(1, 1, 4), of_c) < EXACT)
      assert.equal(0, rec[1].grad_cell[5]:abs():sum():item())
    end)
  end
end)

describe("recordings of normalized layers", function()
  it("have gates, and the total gradient of c", function()
    lurn.manual_seed(34)
    local layer, x, rec = nn.LayerNormLSTM(3, 4):to "float64", randn(3, 2, 3), {}
    local y, state = layer(x, nil, { record = rec })
    local i, f, g, o = table.unpack(rec[1].gates:chunk(4, 3))
    local before = lurn.cat({ lurn.zeros(1, 2, 4, { dtype = "float64" }), rec[1].cell:narrow(1, 1, 2) }, 1)
    assert.is_true(distance(f * before + i * g, rec[1].cell) < EXACT)
    local function normalized(c)
      return lurn.layer_norm(c, layer.gain_c_l0:detach(), layer.bias_c_l0:detach(), layer.eps)
    end
    assert.is_true(distance(o * normalized(rec[1].cell):tanh(), y) < EXACT)
    assert.is_true(distance(state.c[1], rec[1].cell[3]) < EXACT)
    y[3]:sum():backward()
    local c = leaf(rec[1].cell[3])
    local of_c = lurn.grad((o[3] * normalized(c):tanh()):sum(), { c })
    assert.is_true(distance(rec[1].grad_cell[3], of_c) < EXACT)
    assert.equal(8, rec[1].grad_hidden[3]:sum():item())
  end)
end)
