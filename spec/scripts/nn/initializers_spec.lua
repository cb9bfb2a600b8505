-- nn.init.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local init, fails, distance = nn.init, helper.fails, helper.distance

local function mean(t) return t:detach():mean():item() end
local function deviation(t) return math.sqrt(t:detach():square():mean():item() - mean(t) ^ 2) end
local function largest(t) return t:detach():abs():max():item() end

describe("initialisers", function()
  before_each(function() lurn.manual_seed(1) end)

  it("fill in place and give the tensor back, parameters too", function()
    local p = nn.Parameter(lurn.empty(3, 4))
    for _, name in ipairs { "uniform_", "normal_", "zeros_", "ones_", "eye_", "xavier_uniform_", "xavier_normal_",
      "kaiming_uniform_", "kaiming_normal_", "orthogonal_" } do
      assert.equal(p, init[name](p), name)
      assert.is_true(p.is_leaf and p.requires_grad)
    end
    assert.equal(p, init.constant_(p, 2))
    assert.equal(2, p:get(3, 4))
  end)

  it("draw from the ranges they are given", function()
    local t = lurn.empty(200, 100)
    assert.is_near(0.5, mean(init.uniform_(t)), 0.01)
    init.uniform_(t, -3, 1)
    assert.is_near(-1, mean(t), 0.05)
    assert.is_true(t:min():item() >= -3 and t:max():item() <= 1)
    init.normal_(t, 2, 0.5)
    assert.is_near(2, mean(t), 0.02)
    assert.is_near(0.5, deviation(t), 0.01)
    assert.equal(0, largest(init.zeros_(t)))
    assert.equal(1, mean(init.ones_(t)))
    assert.same({ { 1, 0, 0 }, { 0, 1, 0 } }, init.eye_(lurn.empty(2, 3)):totable())
  end)

  it("scale by the number of connections", function()
    local t = lurn.empty(100, 300)
    assert.is_near(math.sqrt(6 / 400), largest(init.xavier_uniform_(t)), 1e-3)
    assert.is_near(2 * math.sqrt(2 / 400), deviation(init.xavier_normal_(t, 2)), 3e-3)
    assert.is_near(math.sqrt(2) * math.sqrt(3 / 300), largest(init.kaiming_uniform_(t)), 1e-3)
    assert.is_near(1 / math.sqrt(300), largest(init.kaiming_uniform_(t, { a = math.sqrt(5) })), 1e-3)
    assert.is_near(5 / 3 / 10, deviation(init.kaiming_normal_(t, { mode = "fan_out", nonlinearity = "tanh" })), 3e-3)
    local deep = lurn.empty(4, 3, 50)
    assert.is_near(math.sqrt(6 / (150 + 200)), largest(init.xavier_uniform_(deep)), 5e-3)
  end)

  it("know the gains", function()
    assert.equal(1, init.calculate_gain "linear")
    assert.equal(5 / 3, init.calculate_gain "tanh")
    assert.equal(math.sqrt(2), init.calculate_gain "relu")
    assert.is_near(math.sqrt(2 / (1 + 0.04)), init.calculate_gain("leaky_relu", 0.2), 1e-12)
  end)

  it("make orthonormal rows or columns", function()
    for _, shape in ipairs { { 5, 5 }, { 20, 8 }, { 8, 20 }, { 1, 1 }, { 6, 2, 4 } } do
      local t = init.orthogonal_(lurn.empty(shape), 2)
      local m = t:reshape(shape[1], -1):to "float64"
      local product = shape[1] <= m.shape[2] and m:matmul(m:t()) or m:t():matmul(m)
      local n = product.shape[1]
      assert.is_true(distance(product, lurn.eye(n):to "float64" * 4) < 1e-5)
    end
    local a, b = init.orthogonal_(lurn.empty(4, 4)), init.orthogonal_(lurn.empty(4, 4))
    assert.is_true(distance(a, b) > 0.01)
  end)

  describe("chrono_", function()
    -- The parts of a bias of n parts, as lists.
    local function parts(bias, n)
      local list = {}
      for i, part in ipairs(bias:detach():chunk(n)) do list[i] = part:totable() end
      return list
    end

    it("sets the biases of LSTM and GRU by times up to the longest", function()
      local hidden, longest = 500, 200
      for _, made in ipairs { nn.LSTM(3, hidden, { num_layers = 2, bidirectional = true }), nn.GRU(3, hidden),
        nn.LSTMCell(3, hidden), nn.GRUCell(3, hidden), nn.LSTM(3, hidden, { coupled = true, bidirectional = true }),
        nn.LSTMCell(3, hidden, { coupled = true, peephole = true }), nn.LSTM(3, hidden, { proj_size = 2 }),
        nn.LayerNormLSTM(3, hidden), nn.LayerNormGRU(3, hidden), nn.LayerNormLSTMCell(3, hidden),
        nn.LayerNormGRUCell(3, hidden) } do
        local before = {}
        for name, p in made:named_parameters() do before[name] = p:detach():clone() end
        assert.equal(made, init.chrono_(made, longest))
        local n, biases = made.gates, 0
        local keep = made.coupled and 1 or 2
        for name, p in made:named_parameters() do
          if not name:find "^bias_[ih]h" then
            assert.is_true(p:equal(before[name]), name)
          else
            biases = biases + 1
            local now, old = parts(p, n), parts(before[name], n)
            for gate = 1, n do
              local is_set = gate == keep or (gate == 1 and n == 4)
              if not is_set then assert.same(old[gate], now[gate]) end
            end
            if name:find "^bias_hh" then
              assert.same(0, p:detach():narrow(1, (keep - 1) * hidden + 1, hidden):abs():max():item())
            else
              local times = p:detach():narrow(1, (keep - 1) * hidden + 1, hidden):exp()
              assert.is_true(times:min():item() >= 0.999 and times:max():item() <= longest - 0.99, name)
              assert.is_near(longest / 2, times:mean():item(), longest / 20)
            end
            if n == 4 then
              for i = 1, hidden do assert.equal(0, now[1][i] + (name:find "^bias_ih" and now[2][i] or 0)) end
            end
          end
        end
        assert.is_true(biases >= 2)
      end
    end)

    it("keeps what the unit holds for about that long", function()
      local layer = init.chrono_(nn.LSTM(1, 8), 2) -- all times are 1: f = i = 1/2
      lurn.no_grad(function()
        layer.weight_ih_l0:zero_()
        layer.weight_hh_l0:zero_()
      end)
      local recordings = {}
      layer(lurn.zeros(1, 1, 1), nil, { record = recordings })
      assert.same({ 0.5, 0.5 }, { recordings[1].gates:get(1, 1, 1), recordings[1].gates:get(1, 1, 9) })
    end)

    it("gives coupled gates the forget gate that others get", function()
      lurn.manual_seed(3)
      local coupled = init.chrono_(nn.LSTM(1, 50, { coupled = true }), 100)
      lurn.manual_seed(3)
      nn.LSTM(1, 50, { coupled = true })
      local bias = lurn.empty(50):uniform_(1, 99):log_()
      assert.same(bias:totable(), coupled.bias_ih_l0:detach():narrow(1, 1, 50):totable())
      lurn.no_grad(function()
        coupled.weight_ih_l0:zero_()
        coupled.weight_hh_l0:zero_()
        coupled.bias_ih_l0:narrow(1, 51, 50):fill_(20) -- g is 1
        coupled.bias_hh_l0:zero_()
      end)
      local _, state = coupled(lurn.zeros(1, 1, 1))
      assert.is_true((state.c * (bias:exp() + 1) - 1):abs():max():item() < 1e-5) -- i = 1 - f = 1 / (u + 1)
    end)

    it("refuses what has no such gates", function()
      fails("nn.init.chrono_: the argument is a module of class RNN; expected an LSTM or GRU layer or cell",
        init.chrono_, nn.RNN(2, 3), 10)
      fails("nn.init.chrono_: the argument is a tensor; expected an LSTM", init.chrono_, lurn.ones(2), 10)
      fails("nn.init.chrono_: the argument is the class GRU; expected an LSTM", init.chrono_, nn.GRU, 10)
      fails("nn.init.chrono_: the layer has no bias; expected bias = true", init.chrono_,
        nn.LSTM(2, 3, { bias = false }), 10)
      fails("nn.init.chrono_: max_time is nil; expected a number", init.chrono_, nn.GRU(2, 3))
      for _, time in ipairs { 1.9, 0 / 0, math.huge } do
        fails("expected a number of at least 2", init.chrono_, nn.GRU(2, 3), time)
      end
    end)
  end)

  it("check their arguments", function()
    fails("nn.init.uniform_: the argument is a table; expected a tensor", init.uniform_, {})
    fails("nn.init.constant_: value is nil; expected a number", init.constant_, lurn.empty(2))
    fails("nn.init.eye_: the tensor has shape (2); expected 2 dimensions", init.eye_, lurn.empty(2))
    fails("nn.init.xavier_uniform_: the tensor has shape (2); expected at least 2 dimensions", init.xavier_uniform_,
      lurn.empty(2))
    fails('nn.init.kaiming_normal_: mode is "in"; expected one of "fan_in", "fan_out"', init.kaiming_normal_,
      lurn.empty(2, 2), { mode = "in" })
    fails("nn.init.calculate_gain: nonlinearity is gelu", init.calculate_gain, "gelu")
  end)
end)

describe("trunc_normal_", function()
  before_each(function() lurn.manual_seed(2) end)

  it("stays within, and has the moments of what it draws from", function()
    local t = init.trunc_normal_(lurn.empty(300, 100))
    assert.is_true(largest(t) <= 2 and largest(t) > 1.95)
    -- the deviation of a normal distribution cut at 2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))
    assert.is_near(0.87963, deviation(t), 0.01)
    assert.is_near(0, mean(t), 0.02)
    init.trunc_normal_(t, 5, 2, 4, 9)
    assert.is_true(t:min():item() >= 4 and t:max():item() <= 9)
    assert.is_near(5.9046, mean(t), 0.03)
  end)

  it("knows intervals far from the mean, and narrow ones", function()
    local t = init.trunc_normal_(lurn.empty(2000), 0, 1, 5, math.huge)
    assert.is_true(t:min():item() >= 5)
    -- 1 / (5 - 1/5 + ...) above 5: phi(5) / (1 - Phi(5))
    assert.is_near(5.1865, mean(t), 0.03)
    init.trunc_normal_(t, 0, 1, -8.5, -8)
    assert.is_true(t:min():item() >= -8.5 and t:max():item() <= -8)
    init.trunc_normal_(t, 0, 1, 0.1, 0.2)
    assert.is_near(0.15, mean(t), 0.003)
  end)

  it("checks its arguments", function()
    fails("nn.init.trunc_normal_: std is 0, from -2 to 2; expected std above 0 and low below high",
      init.trunc_normal_, lurn.empty(2), 0, 0)
    fails("nn.init.trunc_normal_: the argument is 5; expected a tensor", init.trunc_normal_, 5)
  end)
end)

it("numbers are checked", function()
  local t = lurn.empty(2, 2)
  fails("nn.init.uniform_: high is a table; expected a number", init.uniform_, t, 0, {})
  fails("nn.init.normal_: std is a string; expected a number", init.normal_, t, 0, "x")
  fails("nn.init.trunc_normal_: mean is a string; expected a number", init.trunc_normal_, t, "x")
  fails("nn.init.sparse_: std is a table; expected a number", init.sparse_, t, 0.5, {})
  fails("nn.init.xavier_uniform_: gain is a table; expected a number", init.xavier_uniform_, t, {})
  fails("nn.init.xavier_normal_: gain is true; expected a number", init.xavier_normal_, t, true)
  fails("nn.init.orthogonal_: gain is a table; expected a number", init.orthogonal_, t, {})
  fails("nn.init.calculate_gain: slope is a table; expected a number", init.calculate_gain, "leaky_relu", {})
end)

it("sparse_ has zeros in each column", function()
  lurn.manual_seed(3)
  local t = init.sparse_(lurn.empty(10, 40), 0.25, 2)
  assert.same(lurn.full({ 40 }, 3):totable(), t:eq(0):to("float32"):sum(1):totable())
  assert.is_near(2, math.sqrt(t:square():sum():item() / 280), 0.3)
  fails("nn.init.sparse_: sparsity is 2; expected a number from 0 to 1", init.sparse_, t, 2)
  fails("nn.init.sparse_: the tensor has shape (3); expected 2 dimensions", init.sparse_, lurn.empty(3), 0.5)
end)
