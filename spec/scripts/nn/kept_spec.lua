-- What modules keep between calls (lists of parameters, the weights of a layer by the op's names) is never out of date,
-- and the short ways of layers and cells give what the ops give.

local lurn = require "lurn"
local nn = lurn.nn
local randn = lurn.randn

local function same(expected, actual)
  assert.same({ table.unpack(expected.shape) }, { table.unpack(actual.shape) })
  assert.is_true(lurn.equal(expected, actual))
end

local function raises(message, fn, ...)
  local ok, text = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(text:find(message, 1, true), text)
end

describe("the weights of a layer", function()
  local function output(layer, x) return (layer(x)) end

  it("are those assigned last", function()
    local layer, other, x = nn.LSTM(3, 4), nn.LSTM(3, 4), randn(5, 2, 3)
    local before = output(layer, x)
    layer.weight_hh_l0 = other.weight_hh_l0
    assert.is_false(lurn.equal(before, output(layer, x)))
    for name, p in other:named_parameters() do layer[name] = p end
    same(output(other, x), output(layer, x))
  end)

  it("are those registered last, or none", function()
    local layer, x = nn.GRU(3, 4), randn(5, 2, 3)
    layer(x)
    layer:register_parameter("bias_ih_l0", nn.Parameter(lurn.ones(12)))
    same((lurn.gru(x, layer.weight_ih_l0, layer.weight_hh_l0, lurn.ones(12), layer.bias_hh_l0)), output(layer, x))
    layer.bias_ih_l0, layer.bias_hh_l0 = nil, nil
    same((lurn.gru(x, layer.weight_ih_l0, layer.weight_hh_l0)), output(layer, x))
  end)

  it("are converted with the module", function()
    local layer, x = nn.RNN(3, 4), randn(5, 2, 3)
    layer(x)
    layer:to "float64"
    assert.equal("float64", layer(x:to "float64").dtype)
    raises("RNN: input is float32; expected float64 like the weights", layer, x)
  end)
end)

describe("parameters()", function()
  local function net() return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1))) end

  it("is a new list each time", function()
    local model = net()
    local list = model:parameters()
    list[1], list[5] = nil, "something"
    assert.equal(4, #model:parameters())
    assert.is_true(rawequal(model:parameters()[1], model[1].weight))
  end)

  it("sees what changes anywhere below", function()
    local model = net()
    assert.equal(4, #model:parameters())
    model[2]:append(nn.Linear(1, 1))
    assert.equal(6, #model:parameters())
    model[2][1].bias = nil
    assert.equal(5, #model:parameters())
    local weight = nn.Parameter(randn(3, 2))
    model[1].weight = weight
    assert.is_true(rawequal(weight, model:parameters()[1]))
    model[2][2].weight = weight -- shared: once
    assert.equal(4, #model:parameters())
    model:to "float64"
    for _, p in ipairs(model:parameters()) do assert.equal("float64", p.dtype) end
  end)

  it("is that of this module when asked not to recurse", function()
    local model = net()
    assert.equal(0, #model:parameters { recurse = false })
    assert.equal(2, #model[1]:parameters { recurse = false })
    assert.equal(4, #model:parameters { recurse = true })
  end)

  it("keeps no tensor alive", function()
    local model = net()
    local seen = setmetatable({ model:parameters()[4] }, { __mode = "v" })
    model[2] = nn.Linear(3, 1)
    collectgarbage()
    collectgarbage()
    assert.is_nil(seen[1])
    assert.equal(4, #model:parameters())
  end)
end)

describe("one layer and direction", function()
  local function weights(layer) return layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0 end

  -- A sum that tells all elements apart.
  local function total(...)
    local sum = 0
    for i, t in ipairs { ... } do
      sum = sum + (t * lurn.arange(1, t:numel()):reshape(t.shape):to "float32"):sum() * i
    end
    return sum
  end

  for _, kind in ipairs { "LSTM", "GRU", "RNN" } do
    local op, has_cell = lurn[kind:lower()], kind == "LSTM"

    -- The op as the layer or, with N alone in front, the cell calls it.
    local function call_op(x, layer, h, c)
      local w_ih, w_hh, b_ih, b_hh = weights(layer)
      if has_cell then return op(x, w_ih, w_hh, b_ih, b_hh, h, c) end
      return op(x, w_ih, w_hh, b_ih, b_hh, h)
    end

    it("as nn." .. kind .. " is the op, and so are its gradients", function()
      local layer, x = nn[kind](3, 4), randn(5, 2, 3):requires_grad_()
      local h, c = randn(1, 2, 4):requires_grad_(), has_cell and randn(1, 2, 4):requires_grad_() or nil
      local y, state = layer(x, { h = h, c = c })
      local y2, h2, c2 = call_op(x, layer, h[1], c and c[1])
      same(y2, y)
      same(h2:unsqueeze(1), state.h)
      if c then same(c2:unsqueeze(1), state.c) end
      assert.equal(c ~= nil, state.c ~= nil)
      local leaves = { x, h, layer.weight_hh_l0, c }
      local got = { lurn.grad(total(y, state.h, state.c), leaves) }
      local wanted = { lurn.grad(total(y2, h2, c2), leaves) }
      for i = 1, #leaves do same(wanted[i], got[i]) end
    end)

    it("as nn." .. kind .. "Cell is one step of it", function()
      local layer, cell, x = nn[kind](3, 4), nn[kind .. "Cell"](3, 4), randn(2, 3)
      for name, p in layer:named_parameters() do cell[name:gsub("_l0", "")] = p end
      local _, first = layer(x:unsqueeze(1))
      local state = cell(x)
      same(first.h[1], state.h)
      local _, second = layer(x:unsqueeze(1), first)
      state = cell(x, state)
      same(second.h[1], state.h)
      if has_cell then same(second.c[1], state.c) end
    end)
  end

  it("takes a sequence of no steps", function()
    local layer = nn.LSTM(3, 4)
    local _, state = layer(randn(2, 2, 3))
    local y, last = layer(lurn.zeros(0, 2, 3), state)
    assert.same({ 0, 2, 4 }, { table.unpack(y.shape) })
    same(state.h, last.h)
    same(state.c, last.c)
  end)

  it("says what is wrong with what it got", function()
    local layer, cell, x = nn.LSTM(3, 4), nn.LSTMCell(3, 4), randn(5, 2, 3)
    local _, state = layer(x)
    raises("LSTM: input is 5; expected a tensor", layer, 5)
    raises("LSTM: input has shape (3); expected (T, N, 3), or (T, 3) of one sequence", layer, x[{ 1, 1 }])
    raises("LSTM: input has shape (1, 5, 2, 3); expected (T, N, 3)", layer, x:unsqueeze(1))
    raises("LSTM: input has 4 features; expected 3", layer, randn(5, 2, 4))
    raises("LSTM: input is float64; expected float32 like the weights", layer, x:to "float64")
    raises("LSTM: state.h has shape (1, 2, 4); expected (1, 7, 4)", layer, randn(5, 7, 3), state)
    raises("LSTM: state.c is nil; expected a tensor", layer, x, { h = state.h })
    raises("LSTMCell: input has shape (5, 2, 3); expected (N, 3)", cell, x)
    raises("LSTMCell: state.h has shape (1, 2, 4); expected (2, 4)", cell, x[1], state)
    state.h:free()
    raises("this tensor was freed", layer, x, state)
  end)
end)

-- From their second call on, layers and cells have a short way.
describe("what a layer or cell is called with is seen in the second call too:", function()
  local x = randn(5, 2, 3)

  local function called(layer)
    layer(x)
    return layer
  end

  it("fields assigned in between", function()
    local layer = called(nn.LSTM(3, 4))
    local expected = layer(x)
    layer.batch_first = true
    same(expected:transpose(1, 2), (layer(x:transpose(1, 2))))
    layer.batch_first, layer.zoneout = false, 1
    layer:eval()
    same(lurn.zeros(5, 2, 4), (layer(x)))
    layer.zoneout, layer.recurrent_dropout = 0, 1
    same(expected, (layer(x)))
    layer:train()
    assert.is_false(lurn.equal(expected, (layer(x))))
    local cell = nn.GRUCell(3, 4)
    local state = cell(x[1])
    cell.zoneout = 1
    same(lurn.zeros(2, 4), cell:eval()(x[1]).h)
    cell.zoneout = 0
    same(state.h, cell(x[1]).h)
  end)

  it("a nonlinearity, and gates that are coupled", function()
    local layer = called(nn.RNN(3, 4))
    layer.nonlinearity = "relu"
    assert.is_true(layer(x):min():item() >= 0)
    local coupled = called(nn.LSTM(3, 4, { coupled = true, peephole = true, proj_size = 2 }))
    local y, state = coupled(x)
    assert.same({ 5, 2, 2 }, { table.unpack(y.shape) })
    assert.same({ 1, 2, 2 }, { table.unpack(state.h.shape) })
    assert.same({ 1, 2, 4 }, { table.unpack(state.c.shape) })
    local first, middle = coupled(x[{ { 1, 3 } }])
    same(y, lurn.cat({ first, (coupled(x[{ { 4, 5 } }], middle)) }, 1))
  end)

  it("methods of a class derived from it, and of the class itself", function()
    local Doubled = nn.GRU:extend "Doubled"
    function Doubled:forward(...)
      local y, state = nn.GRU.forward(self, ...)
      return y * 2, state
    end
    local layer = called(Doubled(3, 4))
    same(nn.GRU.forward(layer, x) * 2, (layer(x)))
    function Doubled:forward(...) return nn.GRU.forward(self, ...), "another" end
    assert.equal("another", select(2, layer(x)))
    layer.forward = function() return "its own" end
    assert.equal("its own", layer(x))
  end)

  it("states of every kind", function()
    local lstm, gru = called(nn.LSTM(3, 4)), called(nn.GRU(3, 4))
    local _, state = lstm(x)
    local expected = lstm(x, state)
    same(expected, (lstm(x, { h = state.h, c = state.c })))
    same(expected, (lstm(x, setmetatable({}, { __index = state }))))
    same((gru(x, { h = state.h })), (gru(x, state))) -- c is none of its business
    same((lstm(x)), (lstm(x, nil, {})))
    raises("state.c is nil", lstm, x, select(2, gru(x)))
    raises("the state is 5", lstm, x, 5)
  end)

  it("what is wrong with it", function()
    local layer, cell = called(nn.LSTM(3, 4)), nn.LSTMCell(3, 4)
    local _, state = layer(x)
    cell(x[1])
    raises("LSTM: input is 5; expected a tensor", layer, 5)
    raises("LSTM: input has 4 features; expected 3", layer, randn(5, 2, 4))
    raises("LSTM: input is float64; expected float32 like the weights", layer, x:to "float64")
    raises("LSTM: state.h has shape (1, 2, 4); expected (1, 7, 4)", layer, randn(5, 7, 3), state)
    raises("lstm: h0 is float64", layer, x, { h = state.h:to "float64", c = state.c })
    local _, double = nn.LSTM(3, 4):to "float64"(x:to "float64")
    raises("lstm: h0 is float64", layer, x, double)
    raises("LSTMCell: input has shape (5, 2, 3); expected (N, 3)", cell, x)
    raises("LSTMCell: state.h has shape (1, 2, 4); expected (2, 4)", cell, x[1], state)
    layer.weight_hh_l0:free()
    raises("this tensor was freed", layer, x)
  end)

  it("whether gradients are recorded", function()
    local layer = called(nn.LSTM(3, 4))
    local y, state = layer(x)
    assert.is_true(y.requires_grad and state.h.requires_grad and state.c.requires_grad)
    y, state = lurn.no_grad(function() return layer(x, state) end)
    assert.is_false(y.requires_grad or state.h.requires_grad or state.c.requires_grad)
  end)

  it("a scope, which frees all but what leaves it", function()
    local layer = called(nn.LSTM(3, 4))
    local inner
    local kept = lurn.scope(function()
      local y, state = layer(x)
      inner = y
      return state
    end)
    assert.is_true(lurn.is_freed(inner))
    same(select(2, layer(x)).h, kept.h)
  end)
end)

describe("the checks that scripts make", function()
  local x = randn(2, 3)

  it("has_shape", function()
    assert.is_true(lurn.has_shape(x, 2, 3))
    assert.is_true(lurn.has_shape(lurn.tensor(1)))
    for _, sizes in ipairs { {}, { 2 }, { 2, 4 }, { 2, 3, 1 } } do
      assert.is_false(lurn.has_shape(x, table.unpack(sizes)))
    end
    assert.is_false(lurn.has_shape(nil, 2, 3))
    assert.is_false(lurn.has_shape({}, 2, 3))
  end)

  it("sizes_like", function()
    assert.same({ 2, 3 }, { lurn.sizes_like(x, randn(1)) })
    assert.same({}, { lurn.sizes_like(x, lurn.arange(1, 2)) })
    assert.same({}, { lurn.sizes_like(x, nil) })
    assert.same({}, { lurn.sizes_like(1, x) })
  end)

  it("last_size", function()
    assert.equal(3, lurn.last_size(x))
    assert.is_nil(lurn.last_size(lurn.tensor(1)))
    assert.is_nil(lurn.last_size "text")
  end)
end)
