local lurn = require "lurn"
local nn = lurn.nn
local checkpoint = nn.utils.checkpoint

local function raises(text, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  assert.truthy(tostring(message):find(text, 1, true), tostring(message))
end

local function clear(params)
  for _, p in ipairs(params) do p.grad = nil end
end

-- Gradients of all parameters as lists.
local function grads_of(params)
  local list = {}
  for i, p in ipairs(params) do list[i] = p.grad and p.grad:totable() or false end
  return list
end

-- Largest difference of gradients from those kept before, as a part of the largest number among these where that is
-- above 1: what is added up is as large.
local function furthest(expected, params)
  local most = 0
  for i, p in ipairs(params) do
    local size = math.max(1, expected[i]:abs():max():item())
    most = math.max(most, (p.grad - expected[i]):abs():max():item() / size)
  end
  return most
end

local function kept_grads(params)
  local list = {}
  for i, p in ipairs(params) do list[i] = p.grad:clone() end
  return list
end

describe("nn.utils.checkpoint", function()
  local function make()
    lurn.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))
  end

  -- The loss of a model behind a first layer, with or without checkpoint; random numbers are drawn after it too.
  local function run(model, first, x, fn)
    lurn.manual_seed(5)
    local h = first(x)
    local y = fn(model, h)
    return ((y * lurn.randn(y.shape)):sum() + h:sum()), y
  end

  it("gives the same bits as the function itself, with the same random numbers", function()
    local model, first = make(), nn.Linear(4, 4)
    local x = lurn.randn(5, 4, { requires_grad = true })
    local params = { x, table.unpack(first:parameters()) }
    table.move(model:parameters(), 1, 4, #params + 1, params)
    local plain, plain_y = run(model, first, x, function(m, h) return m(h) end)
    plain:backward()
    local expected = grads_of(params)
    clear(params)
    local loss, y = run(model, first, x, checkpoint)
    local seed, block = lurn.rng_state()
    loss:backward()
    assert.same({ seed, block }, { lurn.rng_state() })
    assert.same(plain_y:totable(), y:totable())
    assert.equal(plain:item(), loss:item())
    assert.same(expected, grads_of(params))
  end)

  it("passes tables and states in and out, and other values as they are", function()
    local cell = nn.LSTMCell(3, 2):to "float64"
    local function step(x, state, options)
      assert.equal("LSTM", options.name)
      local new = cell(x, state)
      return { new.h * options.factor, list = { new.c } }, new, nil, "text"
    end
    local x = lurn.randn(4, 3):to("float64"):requires_grad_()
    local h, c = lurn.randn(4, 2):to("float64"):requires_grad_(), lurn.randn(4, 2):to "float64"
    local params = { x, h, table.unpack(cell:parameters()) }
    local function total(call)
      clear(params)
      local parts, state, none, text = call(step, x, nn.State(h, c), { name = "LSTM", factor = 2 })
      assert.is_nil(none)
      assert.equal("text", text)
      assert.equal("State(h (4, 2), c (4, 2))", tostring(state))
      local loss = parts[1]:sum() + (parts.list[1] * state.h):sum() + state.c:sum()
      loss:backward()
      return { loss:item(), grads_of(params) }
    end
    assert.same(total(function(fn, ...) return fn(...) end), total(checkpoint))
    assert.is_nil(c.grad)
  end)

  it("agrees with differences", function()
    local w = lurn.randn(3, 3):to("float64"):requires_grad_()
    local x = lurn.randn(2, 3):to("float64"):requires_grad_()
    assert.is_true(lurn.gradcheck(function(a, b)
      return (checkpoint(function(u, v) return (u:matmul(v)):tanh() * u end, a, b)):sum()
    end, { x, w }))
  end)

  it("works within itself, with lurn.grad and with a graph that is kept", function()
    local linear = nn.Linear(3, 3):to "float64"
    local x = lurn.randn(2, 3):to("float64"):requires_grad_()
    local function inner(t) return linear(t):tanh() end
    local function outer(t) return checkpoint(inner, checkpoint(inner, t)) end
    local y = checkpoint(outer, x):sum()
    local dx, dw = lurn.grad({ y }, { x, linear.weight }, { retain_graph = true })
    assert.is_nil(linear.weight.grad)
    local ex, ew = lurn.grad({ inner(inner(x)):sum() }, { x, linear.weight })
    assert.same({ ex:totable(), ew:totable() }, { dx:totable(), dw:totable() })
    y:backward { retain_graph = true }
    y:backward()
    assert.same((ew * 2):totable(), linear.weight.grad:totable())
    raises("the graph was freed", function() y:backward() end)
  end)

  it("is the function itself under no_grad, and records nothing where nothing needs a gradient", function()
    local x = lurn.randn(3)
    local called = 0
    local function fn(t)
      called = called + 1
      return t * 2
    end
    assert.is_false(lurn.no_grad(checkpoint, fn, x).requires_grad)
    assert.is_false(checkpoint(fn, x).requires_grad)
    assert.equal(2, called)
  end)

  it("outlives the scope that it was called in", function()
    local x = lurn.randn(3, { requires_grad = true })
    local w = lurn.randn(3, { requires_grad = true })
    local y = lurn.scope(function()
      local h = x * 3
      return checkpoint(function(t) return t * t * w end, h)
    end)
    y:sum():backward()
    assert.is_true((x.grad - x * w * 18):abs():max():item() < 1e-5)
  end)

  it("keeps the arguments alone", function()
    local x = lurn.randn(100, 100, { requires_grad = true })
    local function deep(t)
      for _ = 1, 20 do t = t:tanh() end
      return t
    end
    collectgarbage()
    collectgarbage "stop"
    local before = lurn.memory()
    local y = checkpoint(deep, x)
    assert.is_true(lurn.memory() - before < 2 * 40000)
    y:sum():backward()
    assert.is_true(lurn.memory() - before < 3 * 40000) -- y and the gradient
    collectgarbage "restart"
  end)

  it("leaves every .grad as it was when the second run fails", function()
    local linear, before = nn.Linear(2, 2), nn.Linear(2, 2)
    local x, runs = lurn.randn(3, 2), 0
    local h = before(x)
    local y = checkpoint(function(t)
      runs = runs + 1
      if runs == 2 then error "not again" end
      return linear(t) + lurn.randn(3, 2)
    end, h)
    local loss = (y + linear(h)):sum()
    local seed, block = lurn.rng_state()
    raises("not again", function() loss:backward() end)
    assert.same({ seed, block }, { lurn.rng_state() })
    assert.is_true(lurn.grad_enabled())
    for _, p in ipairs { linear.weight, before.weight } do assert.is_nil(p.grad) end
  end)

  it("says what is wrong", function()
    local x, w = lurn.randn(2, { requires_grad = true }), lurn.randn(2, { requires_grad = true })
    raises("checkpoint: expected a function or module, got", checkpoint, 3)
    local h = x * 2
    raises("checkpoint: the function uses a tensor that depends on parameters and was computed outside of it, by mul",
      checkpoint, function(t) return t * h end, w)
    raises("checkpoint: 17 results; at most 16 are possible", checkpoint, function(t)
      local list = {}
      for i = 1, 17 do list[i] = t * i end
      return list
    end, w)
    local y = checkpoint(function(t) return t * w end, h)
    lurn.no_grad(function() w:add_(1) end)
    raises("checkpoint: a parameter was changed in place after the function used it", function() y:sum():backward() end)
    local a = lurn.randn(2)
    y = checkpoint(function(t) return t * w end, a)
    a:add_(1)
    raises("checkpoint: tensor 1 among the arguments was changed in place", function() y:sum():backward() end)
    local second = false
    y = checkpoint(function(t)
      local result = second and t * w * x or t * w
      second = true
      return result
    end, lurn.randn(2))
    raises("checkpoint: the function did something else the second time: 1 results from 2 parameters, at first 1 from "
      .. "1", function() y:sum():backward() end)
  end)
end)

describe("a recurrent layer in checkpointed segments", function()
  local T, N = 11, 3

  local function loss_of(y, state)
    local loss = (y * y):sum() + (state.h * state.h * state.h):sum()
    return state.c and loss + (state.c * state.c):sum() or loss
  end

  -- y, the state and gradients of a layer called plainly and with `segments`.
  local function compare(layer, x, lengths, segments, state)
    local params = { x, table.unpack(layer:parameters()) }
    for _, t in pairs(state or {}) do params[#params + 1] = t end
    local function run(choice)
      clear(params)
      lurn.manual_seed(9)
      local y, last = layer(x, state, { checkpoint = choice, lengths = lengths })
      loss_of(y, last):backward()
      return { y:totable(), last.h:totable(), last.c and last.c:totable() }
    end
    local plain = run(false)
    local expected = kept_grads(params)
    assert.same(plain, run(segments))
    -- sums over steps in another order; float64
    local most = furthest(expected, params)
    assert.is_true(most < 1e-13, tostring(most))
  end

  for _, kind in ipairs { "RNN", "LSTM", "GRU", "LayerNormLSTM" } do
    for name, options in pairs {
      plain = {},
      ["deep and bidirectional"] = { num_layers = 2, bidirectional = true },
      ["batch first with dropout"] = { num_layers = 2, dropout = 0.5, batch_first = true },
      ["with variational dropout"] = { num_layers = 2, dropout = 0.5, variational = true },
      ["with noise"] = { zoneout = 0.2, recurrent_dropout = 0.3 },
    } do
      it(("gives what nn.%s gives, %s"):format(kind, name), function()
        lurn.manual_seed(2)
        local layer = nn[kind](4, 3, options):to "float64"
        local x = lurn.randn(options.batch_first and { N, T, 4 } or { T, N, 4 }):to("float64"):requires_grad_()
        compare(layer, x, nil, true)
        compare(layer, x, { T, 5, 0 }, 4)
      end)
    end
  end

  it("takes LSTM's variants, states and any number of segments", function()
    lurn.manual_seed(3)
    local x = lurn.randn(T, N, 4):to("float64"):requires_grad_()
    local state = { h = lurn.randn(1, N, 2):to("float64"):requires_grad_(),
      c = lurn.randn(1, N, 3):to("float64"):requires_grad_() }
    local layer = nn.LSTM(4, 3, { proj_size = 2, peephole = true, coupled = true }):to "float64"
    for _, segments in ipairs { 1, 2, T, 100 } do compare(layer, x, nil, segments, state) end
  end)

  it("has the bits of a layer that is called segment by segment", function()
    lurn.manual_seed(4)
    local layer, x = nn.LSTM(4, 8), lurn.randn(10, N, 4, { requires_grad = true })
    local params = { x, table.unpack(layer:parameters()) }
    loss_of(layer(x, nil, { checkpoint = 3 })):backward()
    local grads = grads_of(params)
    clear(params)
    local outputs, state = {}, nil
    for i, first in ipairs { 1, 5, 9 } do
      outputs[i], state = layer(x[{ { first, math.min(first + 3, 10) } }], state)
    end
    loss_of(lurn.cat(outputs, 1), state):backward()
    assert.same(grads_of(params), grads)
  end)

  it("is an option of the layer too", function()
    local layer = nn.GRU(4, 3, { checkpoint = 2 })
    assert.equal("GRU(4, 3, checkpoint=2)", tostring(layer))
    assert.equal(2, layer.checkpoint)
    local x = lurn.randn(T, N, 4)
    assert.same({ T, N, 3 }, { table.unpack(layer(x).shape) })
    assert.same({ 0, N, 3 }, { table.unpack(layer(lurn.randn(0, N, 4)).shape) })
    raises("GRU: a call in checkpointed segments cannot be recorded", layer, x, nil, { record = {} })
    layer(x, nil, { record = {}, checkpoint = false })
  end)

  it("says what is wrong", function()
    raises("nn.GRU: checkpoint is 0; expected true, false or a number of segments", nn.GRU, 4, 3, { checkpoint = 0 })
    local layer = nn.GRU(4, 3)
    raises('GRU: checkpoint is a string; expected true, false or a number of segments', layer, lurn.randn(T, N, 4), nil,
      { checkpoint = "yes" })
    raises("GRU: lengths[2] is 12, expected 0..11", layer, lurn.randn(T, N, 4), nil,
      { checkpoint = true, lengths = { 1, 12, 3 } })
  end)

  -- Bytes at the highest moment of a training step, less those of y and its gradient, which grow with T in any case.
  local function peak_beyond(layer, steps, choice)
    local x = lurn.randn(steps, 16, 8)
    collectgarbage()
    local before = lurn.memory()
    local y = layer(x, nil, { checkpoint = choice })
    lurn.memory_reset_peak()
    y:sum():backward()
    local peak = select(4, lurn.memory())
    return peak - before - 2 * y:numel() * 4
  end

  it("holds the activations of one segment at a time", function()
    local layer = nn.LSTM(8, 32)
    lurn.scope(peak_beyond, layer, 16, true) -- makes the gradients of the weights
    local few, many = lurn.scope(peak_beyond, layer, 256, true), lurn.scope(peak_beyond, layer, 4096, true)
    assert.is_true(many < 5 * few, ("%d bytes for 256 steps, %d for 4096"):format(few, many))
    assert.is_true(lurn.scope(peak_beyond, layer, 4096, false) > 10 * many)
  end)
end)
