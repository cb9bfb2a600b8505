-- nn.VariationalDropout, and the option variational of recurrent layers.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance = helper.fails, helper.distance

describe("VariationalDropout", function()
  it("takes one mask for all steps of a sequence, and new ones for each call", function()
    lurn.manual_seed(3)
    local m, x = nn.VariationalDropout(0.25), lurn.ones(7, 40, 50)
    local y = m(x)
    for t = 2, 7 do assert.equal(0, distance(y[t], y[1])) end
    local dropped = y[1]:eq(0):to("float32"):mean():item()
    assert.is_near(0.25, dropped, 0.04) -- 2000 draws: three standard deviations are 0.03
    assert.is_near(1 / 0.75, y:max():item(), 1e-6)
    assert.is_true(distance(y[1][1], y[1][2]) > 0)
    assert.is_true(distance(y, m(x)) > 0)
  end)

  it("takes the batch first", function()
    local y = nn.VariationalDropout(0.5, { batch_first = true })(lurn.ones(4, 6, 30))
    for t = 2, 6 do assert.equal(0, distance(y:select(2, t), y:select(2, 1))) end
    assert.is_true(distance(y[1], y[2]) > 0)
  end)

  it("drops everything, or nothing", function()
    local x = lurn.randn(3, 2, 4)
    assert.equal(0, nn.VariationalDropout(1)(x):abs():sum():item())
    assert.equal(0, distance(x, nn.VariationalDropout(0)(x)))
    assert.equal(0, distance(x, nn.VariationalDropout(0.9):eval()(x)))
    assert.equal(0.5, nn.VariationalDropout().p)
  end)

  it("has the mask as gradient, in the input's dtype", function()
    local x = helper.leaf(lurn.ones(3, 2, 8):to "float64")
    local y = nn.VariationalDropout(0.5)(x)
    y:sum():backward()
    assert.equal("float64", y.dtype)
    assert.equal(0, distance(x.grad, y))
  end)

  it("draws the same mask from the same seed", function()
    local m, x = nn.VariationalDropout(0.5), lurn.ones(3, 2, 8)
    lurn.manual_seed(5)
    local y = m(x)
    lurn.manual_seed(5)
    assert.equal(0, distance(y, m(x)))
  end)

  it("takes empty sequences and batches", function()
    for _, shape in ipairs { { 0, 2, 3 }, { 4, 0, 3 } } do
      assert.same(shape, { table.unpack(nn.VariationalDropout(0.5)(lurn.zeros(shape)).shape) })
    end
  end)

  it("prints itself", function()
    assert.equal("VariationalDropout(p=0.1)", tostring(nn.VariationalDropout(0.1)))
    assert.equal("VariationalDropout(p=0.5, batch_first=true)",
      tostring(nn.VariationalDropout(nil, { batch_first = true })))
  end)

  it("checks its arguments", function()
    local m = nn.VariationalDropout(0.5)
    fails("nn.VariationalDropout: p is 2; expected a number from 0 to 1", nn.VariationalDropout, 2)
    fails('nn.VariationalDropout: there is no option "dim"; the options are batch_first', nn.VariationalDropout, 0.5,
      { dim = 1 })
    fails("VariationalDropout: input has shape (2, 3); expected (T, N, D)", m, lurn.zeros(2, 3))
    fails("VariationalDropout: input has shape (2); expected (N, T, D)",
      nn.VariationalDropout(0.5, { batch_first = true }), lurn.zeros(2))
    fails("VariationalDropout: input is int64; expected float32 or float64", m, lurn.zeros(1, 2, 3):to "int64")
    fails("VariationalDropout: input is 5; expected a tensor", m, 5)
  end)
end)

for _, kind in ipairs { "RNN", "LSTM", "GRU" } do
  describe("variational " .. kind, function()
    it("drops the same features at all steps between its layers", function()
      lurn.manual_seed(6)
      local layer = nn[kind](2, 6, { num_layers = 2, dropout = 0.5, variational = true })
      -- The gradient of the second layer's input weights is 0 in the columns that were dropped at every step.
      local x = lurn.randn(9, 1, 2)
      layer(x):sum():backward()
      local columns = layer.weight_ih_l1.grad:abs():sum(1)
      local dropped = columns:eq(0):sum():item()
      assert.is_true(dropped > 0 and dropped < 6)
    end)

    it("drops other features at each step without it", function()
      lurn.manual_seed(6)
      local layer = nn[kind](2, 6, { num_layers = 2, dropout = 0.5 })
      layer(lurn.randn(40, 1, 2)):sum():backward()
      assert.equal(0, layer.weight_ih_l1.grad:abs():sum(1):eq(0):sum():item())
    end)

    it("equals the same layers with the module between them", function()
      local options = { num_layers = 2, dropout = 0.5, variational = true, batch_first = true }
      local layer = nn[kind](2, 6, options)
      local first, second = nn[kind](2, 6, { batch_first = true }), nn[kind](6, 6, { batch_first = true })
      for name, p in layer:named_parameters() do
        local target = name:find "_l0$" and first or second
        lurn.no_grad(function() target[name:gsub("_l1$", "_l0")]:copy_(p) end)
      end
      local x, drop = lurn.randn(3, 5, 2), nn.VariationalDropout(0.5, { batch_first = true })
      lurn.manual_seed(11)
      local y = layer(x)
      lurn.manual_seed(11)
      local z = second(drop((first(x))))
      assert.is_true(distance(y, z) < 1e-6)
    end)

    it("leaves evaluation and a single layer alone", function()
      local layer = nn[kind](2, 6, { num_layers = 2, dropout = 0.5, variational = true }):eval()
      local plain = nn[kind](2, 6, { num_layers = 2 })
      plain:load_state_dict(layer:state_dict())
      local x = lurn.randn(4, 3, 2)
      assert.equal(0, distance(layer(x), (plain(x))))
    end)

    it("is an option that is a flag", function()
      fails(("nn.%s: variational is 1; expected true or false"):format(kind), nn[kind], 2, 3, { variational = 1 })
      assert.equal(kind .. "(2, 3, variational=true)", tostring(nn[kind](2, 3, { variational = true })))
    end)
  end)
end
