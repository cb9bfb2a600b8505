-- nn.RNN, nn.LSTM, nn.GRU: against the same cells from single ops, and what is composed around the fused ops.

local lurn = require "lurn"
local cells = require "scripts.nn.cells_by_hand"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local kinds = { "RNN", "LSTM", "GRU" }

-- float64: the two ways of adding up differ by rounding alone.
local EXACT = 1e-12

local function randn(...)
  return lurn.randn(...):to "float64"
end

local function layer64(kind, input, hidden, options) return nn[kind](input, hidden, options):to "float64" end

local function zero_state(kind, ...)
  return { h = lurn.zeros(...):to "float64", c = kind == "LSTM" and lurn.zeros(...):to "float64" or nil }
end

local function random_state(kind, ...)
  return { h = leaf(randn(...)), c = kind == "LSTM" and leaf(randn(...)) or nil }
end

-- The sum of everything a layer gives, each element with a weight of its own, so that every gradient counts.
local function weighted(y, state)
  lurn.manual_seed(77)
  local total = (y * randn(y.shape)):sum() + (state.h * randn(state.h.shape)):sum()
  return state.c and total + (state.c * randn(state.c.shape)):sum() or total
end

local function close(a, b, what) assert.is_true(distance(a, b) < EXACT, what) end

-- Gradients of all parameters by name, and of further leaves.
local function gradients(module, leaves)
  local result = {}
  for name, p in module:named_parameters() do result[name] = p.grad:clone() end
  for name, t in pairs(leaves or {}) do result[name] = t.grad:clone() end
  module:zero_grad()
  for _, t in pairs(leaves or {}) do t.grad = nil end
  return result
end

local function same_gradients(a, b)
  for name, grad in pairs(a) do
    assert.is_true(distance(grad, b[name]) < 1e-11, "gradient of " .. name)
  end
end

-- ---- Against single ops ----

describe("the fused layer equals its cell from single ops:", function()
  local cases = { { "LSTM" }, { "GRU" }, { "RNN", "tanh" }, { "RNN", "relu" }, { "RNN", "sigmoid" } }
  for _, case in ipairs(cases) do
    local kind, nonlinearity = table.unpack(case)
    for _, bias in ipairs { true, false } do
      it(("%s %s, bias %s"):format(kind, nonlinearity or "", bias), function()
        lurn.manual_seed(5)
        local layer = layer64(kind, 3, 4, { bias = bias, nonlinearity = nonlinearity })
        local x, state = leaf(randn(6, 2, 3)), random_state(kind, 1, 2, 4)
        local leaves = { x = x, h = state.h, c = state.c }
        local y, last = layer(x, state)
        weighted(y, last):backward()
        local fused = gradients(layer, leaves)
        local z, other = cells.run(kind, layer, x, state, nonlinearity)
        close(y, z)
        close(last.h, other.h)
        if last.c then close(last.c, other.c) end
        weighted(z, other):backward()
        same_gradients(fused, gradients(layer, leaves))
      end)
    end
  end
end)

-- ---- Composition ----

for _, kind in ipairs(kinds) do
  describe(kind, function()
    before_each(function() lurn.manual_seed(9) end)

    it("names its weights as PyTorch does", function()
      local layer = nn[kind](3, 4, { num_layers = 2, bidirectional = true })
      local rows = ({ RNN = 1, LSTM = 4, GRU = 3 })[kind] * 4
      local expected, columns = {}, { weight_ih_l0 = 3, weight_ih_l0_reverse = 3, weight_ih_l1 = 8,
        weight_ih_l1_reverse = 8 }
      for _, suffix in ipairs { "l0", "l0_reverse", "l1", "l1_reverse" } do
        for _, part in ipairs { "weight_ih_", "weight_hh_", "bias_ih_", "bias_hh_" } do
          expected[#expected + 1] = part .. suffix
        end
      end
      assert.same(expected, helper.names(layer:named_parameters()))
      for name, p in layer:named_parameters() do
        local bias = name:find "bias"
        assert.same(bias and { rows } or { rows, columns[name] or 4 }, { table.unpack(p.shape) })
      end
    end)

    it("begins uniform on +-1/sqrt(hidden)", function()
      local layer = nn[kind](20, 25)
      for _, p in ipairs(layer:parameters()) do
        local largest = p:detach():abs():max():item()
        assert.is_true(largest <= 0.2 and largest > 0.15)
      end
    end)

    it("stacks layers", function()
      local layer, x = layer64(kind, 3, 4, { num_layers = 2 }), randn(5, 2, 3)
      local first, second = layer64(kind, 3, 4), layer64(kind, 4, 4)
      for name, p in layer:named_parameters() do
        local target = name:find "_l0$" and first or second
        lurn.no_grad(function() target[name:gsub("_l1$", "_l0")]:copy_(p) end)
      end
      local y, state = layer(x)
      local middle, state1 = first(x)
      local z, state2 = second(middle)
      close(y, z)
      close(state.h, lurn.cat { state1.h, state2.h })
      assert.same({ 2, 2, 4 }, { table.unpack(state.h.shape) })
    end)

    it("runs in both directions", function()
      local layer, x = layer64(kind, 3, 4, { bidirectional = true }), randn(5, 2, 3)
      local forward, reverse = layer64(kind, 3, 4), layer64(kind, 3, 4)
      for name, p in layer:named_parameters() do
        local target = name:find "_reverse$" and reverse or forward
        lurn.no_grad(function() target[name:gsub("_reverse$", "")]:copy_(p) end)
      end
      local y, state = layer(x)
      local backwards = lurn.arange(5, 1, -1):to "int64"
      local y1, state1 = forward(x)
      local y2, state2 = reverse(x:index_select(1, backwards))
      close(y, lurn.cat({ y1, y2:index_select(1, backwards) }, 3))
      close(state.h, lurn.cat { state1.h, state2.h })
    end)

    it("takes the batch first", function()
      local options = { num_layers = 2, bidirectional = true }
      local layer, x = layer64(kind, 3, 4, options), randn(5, 2, 3)
      options.batch_first = true
      local other = layer64(kind, 3, 4, options)
      other:load_state_dict(layer:state_dict())
      local state0 = random_state(kind, 4, 2, 4)
      local y, state = layer(x, state0)
      local z, last = other(x:transpose(1, 2), state0)
      assert.same({ 2, 5, 8 }, { table.unpack(z.shape) })
      close(y, z:transpose(1, 2))
      close(state.h, last.h)
    end)

    it("goes on from a state", function()
      local layer, x = layer64(kind, 3, 4, { num_layers = 2 }), randn(6, 2, 3)
      local y, state = layer(x)
      local y1, middle = layer(x:narrow(1, 1, 4))
      local y2, last = layer(x:narrow(1, 5, 2), middle)
      close(y, lurn.cat { y1, y2 })
      close(state.h, last.h)
      if kind == "LSTM" then close(state.c, last.c) else assert.is_nil(state.c) end
      local y0 = layer(x, zero_state(kind, 2, 2, 4))
      close(y, y0)
    end)

    it("stops each sequence at its length, as if it ran alone", function()
      local layer = layer64(kind, 3, 4, { num_layers = 2, bidirectional = true })
      local x, lengths = leaf(randn(5, 4, 3)), { 3, 5, 1, 4 }
      local state0 = random_state(kind, 4, 4, 4)
      local y, state = layer(x, state0, { lengths = lengths })
      local ys, hs, cs = {}, {}, {}
      for n, length in ipairs(lengths) do
        local alone = { h = state0.h:narrow(2, n, 1), c = state0.c and state0.c:narrow(2, n, 1) }
        local part, last = layer(x:narrow(2, n, 1):narrow(1, 1, length), alone)
        ys[n] = length < 5 and lurn.cat { part, lurn.zeros(5 - length, 1, 8):to "float64" } or part
        hs[n], cs[n] = last.h, last.c
      end
      local z, other = lurn.cat(ys, 2), { h = lurn.cat(hs, 2), c = cs[1] and lurn.cat(cs, 2) }
      close(y, z)
      close(state.h, other.h)
      local leaves = { x = x, h = state0.h, c = state0.c }
      weighted(y, state):backward()
      local padded = gradients(layer, leaves)
      weighted(z, other):backward()
      same_gradients(padded, gradients(layer, leaves))
    end)

    it("takes lengths as a tensor too, and 0 among them", function()
      local layer, x = layer64(kind, 3, 4), randn(3, 2, 3)
      local lengths = lurn.tensor({ 0, 2 }, { dtype = "int64" })
      local state0 = random_state(kind, 1, 2, 4)
      local y, state = layer(x, state0, { lengths = lengths })
      local z = layer(x, state0, { lengths = { 0, 2 } })
      assert.equal(0, distance(y, z))
      assert.equal(0, y:narrow(2, 1, 1):abs():sum():item())
      close(state.h:narrow(2, 1, 1), state0.h:narrow(2, 1, 1))
    end)

    it("drops out between layers, in training only", function()
      local layer, x = layer64(kind, 3, 4, { num_layers = 2, dropout = 1 }), randn(5, 2, 3)
      local plain = layer64(kind, 3, 4, { num_layers = 2 })
      plain:load_state_dict(layer:state_dict())
      local top = layer64(kind, 4, 4)
      for name, p in top:named_parameters() do
        lurn.no_grad(function() p:copy_(layer[name:gsub("_l0$", "_l1")]) end)
      end
      -- Everything dropped, the second layer sees zeros; its own output is left as it is.
      close(layer(x), (top(lurn.zeros(5, 2, 4):to "float64")))
      layer:eval()
      close(layer(x), (plain(x)))
    end)

    it("keeps no more memory from step to step", function()
      local layer = nn[kind](3, 4, { num_layers = 2 })
      local function step(state)
        local y, last = layer(lurn.randn(4, 2, 3), state)
        y:sum():backward()
        return last:detach()
      end
      local state = step()
      local function live()
        collectgarbage()
        collectgarbage()
        return (lurn.memory())
      end
      state = step(state)
      local before = live()
      for _ = 1, 5 do state = step(state) end
      assert.equal(before, live())
    end)
  end)
end

-- ---- States ----

describe("states", function()
  local layer = nn.LSTM(3, 4, { num_layers = 2 })
  local x = lurn.randn(5, 3, 3)

  it("detach", function()
    local _, state = layer(x)
    assert.is_true(state.h.requires_grad and state.c.requires_grad)
    local cut = state:detach()
    assert.is_false(cut.h.requires_grad or cut.c.requires_grad)
    assert.equal(0, distance(cut.c, state.c))
    assert.is_true(state.h.requires_grad)
  end)

  it("clone", function()
    local _, state = layer(x)
    local copy = state:clone()
    assert.is_true(copy.h.requires_grad)
    copy = state:detach():clone()
    copy.h:fill_(0)
    assert.is_true(state.h:abs():sum():item() > 0)
  end)

  it("have no rows where they are of one sequence and a cell", function()
    local after = nn.LSTMCell(3, 4)(lurn.randn(3))
    fails("reset: the state of one sequence, h of shape (4); rows are those of a batch", after.reset, after, { 1 })
    fails("index_select: the state of one sequence, h of shape (4); rows are those of a batch", after.index_select,
      after, { 1 })
  end)

  it("reset some rows and let gradients through the others", function()
    local _, state = layer(x)
    local mask = lurn.tensor({ 0, 1, 0 }):to "bool"
    for _, rows in ipairs { { 2 }, { -2 }, lurn.tensor({ 2 }, { dtype = "int64" }), mask } do
      local new = state:reset(rows)
      for _, part in ipairs { "h", "c" } do
        assert.equal(0, new[part]:select(2, 2):abs():sum():item())
        assert.equal(0, distance(new[part]:select(2, 1), state[part]:select(2, 1)))
        assert.equal(0, distance(new[part]:select(2, 3), state[part]:select(2, 3)))
      end
    end
    local h = leaf(lurn.randn(2, 3, 4))
    nn.State(h):reset({ 1, 3 }).h:sum():backward()
    assert.equal(8, h.grad:sum():item())
    assert.equal(8, h.grad:select(2, 2):sum():item())
    assert.equal(0, distance(state:reset({}).h, state.h))
  end)

  it("reset what is not a number", function()
    local h = lurn.full({ 1, 2, 3 }, 0 / 0)
    assert.equal(0, nn.State(h):reset({ 1, 2 }).h:abs():sum():item())
  end)

  it("select rows", function()
    local _, state = layer(x)
    for _, rows in ipairs { { 3, 1, 1, 3 }, lurn.tensor({ 3, 1, 1, -1 }, { dtype = "int64" }) } do
      local new = state:index_select(rows)
      assert.same({ 2, 4, 4 }, { table.unpack(new.c.shape) })
      for i, row in ipairs { 3, 1, 1, 3 } do
        assert.equal(0, distance(new.c:select(2, i), state.c:select(2, row)))
      end
    end
    assert.is_true(state:index_select({ 1 }).h.requires_grad)
  end)

  it("of cells count rows in the first dimension", function()
    local state = nn.GRUCell(2, 3)(lurn.randn(4, 2))
    local new = state:reset { 4 }
    assert.equal(0, new.h[4]:abs():sum():item())
    assert.equal(0, distance(new.h[1], state.h[1]))
    assert.same({ 2, 3 }, { table.unpack(state:index_select({ 1, 4 }).h.shape) })
  end)

  it("print their shapes", function()
    local _, state = layer(x)
    assert.equal("State(h (2, 3, 4), c (2, 3, 4))", tostring(state))
    assert.equal("State(h (3, 4))", tostring(nn.State(lurn.zeros(3, 4))))
  end)

  it("check rows", function()
    local _, state = layer(x)
    fails("reset: row 4 is not in 1..3", state.reset, state, { 1, 4 })
    fails("index_select: row 0 is not in 1..3", state.index_select, state, { 0 })
    fails("reset: rows is 5; expected a list or a tensor of row numbers", state.reset, state, 5)
    fails("reset: the mask has shape (2); expected (3)", state.reset, state, lurn.zeros(2, { dtype = "bool" }))
  end)
end)

-- ---- Recordings ----

describe("recordings", function()
  it("hold every step of a call", function()
    lurn.manual_seed(4)
    local layer = layer64("LSTM", 3, 4, { num_layers = 2, bidirectional = true })
    local x, rec = randn(5, 2, 3), {}
    local y, state = layer(x, nil, { record = rec })
    assert.equal(2, #rec)
    assert.equal(2, #rec.reverse)
    assert.same({ 5, 2, 16 }, { table.unpack(rec[1].gates.shape) })
    close(lurn.cat({ rec[2].hidden, rec.reverse[2].hidden }, 3), y)
    close(rec[1].cell[5], state.c[1])
    close(rec.reverse[1].cell[1], state.c[2])
    assert.is_nil(rec[1].grad_hidden)
    y:sum():backward()
    assert.same({ 5, 2, 4 }, { table.unpack(rec.reverse[1].grad_cell.shape) })
  end)

  it("have the total gradients of h and c", function()
    for _, kind in ipairs(kinds) do
      lurn.manual_seed(6)
      local layer, x, rec = layer64(kind, 3, 4), randn(5, 2, 3), {}
      local y, state = layer(x, nil, { record = rec })
      weighted(y, state):backward()
      local steps = {}
      local z, other = cells.run(kind, layer, x, zero_state(kind, 1, 2, 4), nil, steps)
      local expected = { lurn.grad(weighted(z, other), steps.h, { retain_graph = true }) }
      close(rec[1].grad_hidden, lurn.stack(expected, 1), kind)
      if kind == "LSTM" then
        local of_cell = { lurn.grad(weighted(z, other), steps.c) }
        close(rec[1].grad_cell, lurn.stack(of_cell, 1))
      else
        assert.is_nil(rec[1].cell)
        assert.is_nil(rec[1].grad_cell)
      end
      assert.is_nil(rec.reverse)
    end
  end)

  it("are new for each call", function()
    local layer, rec = nn.GRU(3, 4), { "old", "older", reverse = 1 }
    layer(lurn.randn(5, 2, 3), nil, { record = rec })
    assert.equal(1, #rec)
    assert.is_nil(rec.reverse)
    local first, gates = rec[1], rec[1].gates
    layer(lurn.randn(5, 2, 3), nil, { record = rec })
    assert.are_not.equal(first, rec[1])
    assert.is_true(distance(gates, rec[1].gates) > 0)
    assert.equal(0, distance(gates, first.gates))
  end)
end)

-- ---- Arguments ----

describe("options", function()
  it("have defaults and are fields", function()
    local layer = nn.RNN(3, 4)
    assert.same({ 3, 4, 1, true, 0, false, false, "tanh" }, { layer.input_size, layer.hidden_size, layer.num_layers,
      layer.bias, layer.dropout, layer.bidirectional, layer.batch_first, layer.nonlinearity })
    assert.equal("RNN(3, 4)", tostring(layer))
    assert.equal("RNN(3, 4, bias=false, batch_first=true, nonlinearity=relu)",
      tostring(nn.RNN(3, 4, { bias = false, batch_first = true, nonlinearity = "relu" })))
  end)

  it("of the LSTM alone say so", function()
    for _, name in ipairs { "proj_size", "peephole", "coupled", "forget_bias" } do
      fails(("nn.GRU: option %s is there for nn.LSTM only"):format(name), nn.GRU, 3, 4, { [name] = 2 })
      fails(("nn.RNN: option %s is there for nn.LSTM only"):format(name), nn.RNN, 3, 4, { [name] = 2 })
    end
    assert.truthy(nn.GRU(3, 4, { proj_size = 0, peephole = false }))
  end)

  it("that are unknown or wrong say so", function()
    fails('nn.GRU: there is no option "layers"; the options are num_layers, bias, dropout, bidirectional, batch_first',
      nn.GRU, 3, 4, { layers = 2 })
    fails('nn.LSTM: there is no option "1"', nn.LSTM, 3, 4, { 2 })
    fails("nn.RNN: num_layers is 0; expected a positive integer", nn.RNN, 3, 4, { num_layers = 0 })
    fails("nn.RNN: dropout is 2; expected a number from 0 to 1", nn.RNN, 3, 4, { dropout = 2 })
    fails("nn.RNN: bidirectional is 1; expected true or false", nn.RNN, 3, 4, { bidirectional = 1 })
    fails('nn.RNN: nonlinearity is "gelu"; expected one of "tanh", "relu", "sigmoid"', nn.RNN, 3, 4,
      { nonlinearity = "gelu" })
    fails("nn.LSTM: input_size is nil; expected a positive integer", nn.LSTM)
    fails("nn.LSTM: hidden_size is 2.5; expected a positive integer", nn.LSTM, 3, 2.5)
  end)

  it("forget_bias raises the forget part of bias_ih", function()
    lurn.manual_seed(8)
    local plain = nn.LSTM(3, 4, { num_layers = 2 })
    lurn.manual_seed(8)
    local biased = nn.LSTM(3, 4, { num_layers = 2, forget_bias = 1.5 })
    for _, name in ipairs { "bias_ih_l0", "bias_ih_l1" } do
      local difference = (biased[name] - plain[name]):totable()
      for i, value in ipairs(difference) do assert.is_near(i > 4 and i <= 8 and 1.5 or 0, value, 1e-6) end
    end
    assert.equal(0, distance(biased.bias_hh_l0, plain.bias_hh_l0))
    assert.is_true(biased.bias_ih_l0.is_leaf and biased.bias_ih_l0.requires_grad)
    fails("nn.LSTM: forget_bias needs bias = true", nn.LSTM, 3, 4, { forget_bias = 1, bias = false })
  end)
end)

describe("calls", function()
  local lstm, gru = nn.LSTM(64, 5), nn.GRU(3, 5, { batch_first = true, num_layers = 2 })
  local x = lurn.zeros(4, 2, 64)

  it("check the input", function()
    fails("LSTM: input has 65 features; expected 64", lstm, lurn.zeros(4, 2, 65))
    fails("LSTM: input is float64; expected float32 like the weights", lstm, lurn.zeros(4, 2, 64):to "float64")
    fails("LSTM: input has shape (4, 3, 2, 64); expected (T, N, 64), or (T, 64) of one sequence", lstm,
      lurn.zeros(4, 3, 2, 64))
    fails("GRU: input has shape (4); expected (N, T, 3), or (T, 3) of one sequence", gru, lurn.zeros(4))
    fails("LSTM: input is a table; expected a tensor", lstm, {})
  end)

  it("check the state", function()
    fails("GRU: state.h has shape (2, 4, 5); expected (2, 2, 5)", gru, lurn.zeros(2, 4, 3), { h = lurn.zeros(2, 4, 5) })
    fails("LSTM: state.c is nil; expected a tensor", lstm, x, { h = lurn.zeros(1, 2, 5) })
    fails("LSTM: the state is a tensor; expected a state or a table {h = ..., c = ...}", lstm, x, lurn.zeros(1, 2, 5))
    fails("LSTM: the state has no h; expected a state or a table {h = ..., c = ...}; options come third", lstm, x,
      { lengths = { 1, 2 } })
  end)

  it("check the options", function()
    fails('LSTM: there is no option "length"; the options are lengths, record', lstm, x, nil, { length = { 1, 2 } })
    fails("LSTM: lengths is 3; expected an int64 tensor or a list", lstm, x, nil, { lengths = 3 })
    fails("LSTM: lengths[2] is 1.5; expected an integer", lstm, x, nil, { lengths = { 1, 1.5 } })
    fails("LSTM: record is true; expected a table", lstm, x, nil, { record = true })
    assert.is_false(pcall(lstm, x, nil, { lengths = { 1, 2, 3 } }))
    assert.is_false(pcall(lstm, x, nil, { lengths = { 1, 5 } }))
  end)

  it("take one sequence by itself, as a batch of one", function()
    for _, kind in ipairs { "RNN", "LSTM", "GRU", "LayerNormLSTM", "LayerNormGRU" } do
      for _, options in ipairs { {}, { num_layers = 2, bidirectional = true, batch_first = true },
        { zoneout = 0.5, checkpoint = true } } do
        local layer = nn[kind](3, 4, options):eval()
        local alone, dim = lurn.randn(5, 3), layer.batch_first and 1 or 2
        local expected, wide = layer(alone:unsqueeze(dim))
        for _ = 1, 2 do -- also the way that later calls take
          local y, state = layer(alone)
          assert.is_true(lurn.equal(expected:select(dim, 1), y))
          assert.is_true(lurn.equal(wide.h:select(2, 1), state.h))
          local again, last = layer(alone, state)
          local expected_again, wide_last = layer(alone:unsqueeze(dim), wide)
          assert.is_true(lurn.equal(expected_again:select(dim, 1), again))
          if state.c then assert.is_true(lurn.equal(wide_last.c:select(2, 1), last.c)) end
        end
      end
    end
    local recorded = {}
    lstm(lurn.zeros(4, 64), nil, { record = recorded })
    assert.same({ 4, 1, 20 }, { table.unpack(recorded[1].gates.shape) })
    local y, state = lstm(lurn.zeros(0, 64))
    assert.same({ { 0, 5 }, { 1, 5 } }, { { table.unpack(y.shape) }, { table.unpack(state.h.shape) } })
  end)

  it("check what comes with one sequence", function()
    fails("LSTM: input has 3 features; expected 64", lstm, lurn.zeros(4, 3))
    fails("LSTM: input is float64; expected float32 like the weights", lstm, lurn.zeros(4, 64):to "float64")
    fails("GRU: state.h has shape (2, 1, 5); expected (2, 5)", gru, lurn.zeros(4, 3), { h = lurn.zeros(2, 1, 5) })
    fails("GRU: state.h has shape (2, 5); expected (2, 2, 5)", gru, lurn.zeros(2, 4, 3), { h = lurn.zeros(2, 5) })
    fails("LSTM: state.c has shape (1, 1, 5); expected (1, 5)", lstm, lurn.zeros(4, 64),
      { h = lurn.zeros(1, 5), c = lurn.zeros(1, 1, 5) })
    fails("LSTM: lengths are those of a batch; the input is one sequence, of shape (4, 64)", lstm, lurn.zeros(4, 64),
      nil, { lengths = { 4 } })
  end)

  it("take empty batches", function()
    local y, state = lstm(lurn.zeros(4, 0, 64))
    assert.same({ 4, 0, 5 }, { table.unpack(y.shape) })
    assert.same({ 1, 0, 5 }, { table.unpack(state.h.shape) })
  end)
end)
