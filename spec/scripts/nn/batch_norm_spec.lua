-- nn.BatchNorm1d, nn.MaxPool1d and nn.AvgPool1d: values against plain Lua, state dicts, messages.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local EXACT = 1e-12 -- float64

local function randn(...) return lurn.randn(...):to "float64" end

-- Mean and variance of feature c of x (N, C, T), by plain numbers; correction 0 or 1.
local function moments(x, c, correction)
  local values = x:select(2, c):reshape(-1):totable()
  local mean, square = 0, 0
  for _, v in ipairs(values) do mean = mean + v / #values end
  for _, v in ipairs(values) do square = square + (v - mean) ^ 2 end
  return mean, square / (#values - correction)
end

describe("nn.BatchNorm1d", function()
  before_each(function() lurn.manual_seed(41) end)

  it("normalizes a batch, and in evaluation by what it has seen", function()
    local norm, x = nn.BatchNorm1d(2, { eps = 1e-3, momentum = 0.3 }):to "float64", randn(3, 2, 4)
    lurn.no_grad(function()
      norm.weight:copy_(lurn.tensor { 2, -1 })
      norm.bias:copy_(lurn.tensor { 0.5, 3 })
    end)
    local y = norm(x)
    assert.equal("{3, 2, 4}", tostring(y.shape))
    local want, means, vars = {}, {}, {}
    for c = 1, 2 do
      local mean, var = moments(x, c, 0)
      local _, sample = moments(x, c, 1)
      means[c], vars[c] = 0.3 * mean, 0.7 + 0.3 * sample
      want[c] = (x:select(2, c) - mean) / math.sqrt(var + 1e-3) * norm.weight:get(c) + norm.bias:get(c)
    end
    assert.is_true(distance(y, lurn.stack(want, 2)) < EXACT)
    local function vector(list) return lurn.tensor(list, { dtype = "float64" }) end
    assert.is_true(distance(norm.running_mean, vector(means)) < EXACT)
    assert.is_true(distance(norm.running_var, vector(vars)) < EXACT)
    assert.equal(1, norm.num_batches_tracked:item())
    norm:eval()
    local function column(t) return t:view(1, 2, 1) end
    local by_running = (x - column(norm.running_mean)) / column(norm.running_var + 1e-3):sqrt()
      * column(norm.weight) + column(norm.bias)
    assert.is_true(distance(norm(x), by_running) < EXACT)
    assert.equal(1, norm.num_batches_tracked:item())
    assert.is_true(distance(norm(x[{ {}, {}, 1 }]), by_running[{ {}, {}, 1 }]) < EXACT)
  end)

  it("has the gradient that differences have", function()
    for _, shape in ipairs { { 3, 2, 4 }, { 5, 2 } } do
      local norm = nn.BatchNorm1d(2):to "float64"
      local leaves = { leaf(randn(shape)), norm.weight, norm.bias }
      assert(lurn.gradcheck(function(x) return (norm(x) * 2):sin():sum() end, leaves))
      norm:eval()
      assert(lurn.gradcheck(function(x) return (norm(x) * 2):sin():sum() end, leaves))
    end
  end)

  it("averages all batches without momentum, and may keep nothing", function()
    local norm, a, b = nn.BatchNorm1d(2, { momentum = false }):to "float64", randn(4, 2), randn(4, 2)
    norm(a)
    norm(b)
    assert.is_true(distance(norm.running_mean, (a:mean(1) + b:mean(1)) / 2) < EXACT)
    local plain = nn.BatchNorm1d(2, { affine = false, track_running_stats = false }):to "float64"
    assert.same({}, plain:state_dict())
    local y = plain(a)
    assert.is_true(distance(y, plain:eval()(a)) < EXACT)
  end)

  it("is saved with its statistics", function()
    local norm, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    norm(lurn.randn(5, 3))
    assert.same({ "weight", "bias", "running_mean", "running_var", "num_batches_tracked" }, norm:state_names())
    other:load_state_dict(norm:state_dict())
    local x = lurn.randn(2, 3)
    assert.is_true(norm:eval()(x):equal(other:eval()(x)))
    assert.equal("BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=true, track_running_stats=true)", tostring(norm))
  end)

  it("checks its arguments", function()
    local norm = nn.BatchNorm1d(3)
    fails("nn.BatchNorm1d: num_features is 0; expected a positive integer", nn.BatchNorm1d, 0)
    fails("nn.BatchNorm1d: momentum is 2; expected a number from 0 to 1, or false", nn.BatchNorm1d, 3,
      { momentum = 2 })
    fails('nn.BatchNorm1d: there is no option "epsilon"', nn.BatchNorm1d, 3, { epsilon = 1 })
    fails("BatchNorm1d: input has shape (2, 4); expected (N, 3) or (N, 3, T)", norm, lurn.zeros(2, 4))
    fails("BatchNorm1d: input has shape (1, 3), one value per feature; training needs more", norm, lurn.zeros(1, 3))
    fails("BatchNorm1d: input is nil; expected a tensor", norm)
  end)
end)

describe("pooling over time", function()
  local x = lurn.tensor { { { 1, 5, 2, 4, -3 }, { -1, -2, -3, -4, -5 } } }

  it("takes the largest, or the mean, of each window", function()
    assert.same({ { { 5, 4 }, { -1, -3 } } }, nn.MaxPool1d(2)(x):totable())
    assert.same({ { { 5, 5, 4 }, { -1, -2, -4 } } }, nn.MaxPool1d(3, { stride = 2, padding = 1 })(x):totable())
    assert.same({ { { 3, 3 }, { -1.5, -3.5 } } }, nn.AvgPool1d(2)(x):totable())
    assert.same({ { { 3, 3.5, 3, 0.5 }, { -1.5, -2.5, -3.5, -4.5 } } }, nn.AvgPool1d(2, { stride = 1 })(x):totable())
    assert.same({ { { 0.5, 3.5, 0.5 }, { -0.5, -2.5, -4.5 } } },
      nn.AvgPool1d(2, { padding = 1 })(x):narrow(3, 1, 3):totable())
    assert.equal("MaxPool1d(kernel_size=3, stride=2, padding=1)",
      tostring(nn.MaxPool1d(3, { stride = 2, padding = 1 })))
    local y = leaf(x:to "float64")
    for _, pool in ipairs { nn.MaxPool1d(3, { stride = 1, padding = 1 }), nn.AvgPool1d(3, { padding = 1 }) } do
      assert(lurn.gradcheck(function(t) return pool(t):square():sum() end, { y }))
    end
  end)

  it("checks its arguments", function()
    fails("nn.MaxPool1d: kernel_size is nil; expected a positive integer", nn.MaxPool1d)
    fails("nn.AvgPool1d: padding is 2; expected at most half of kernel_size, 1", nn.AvgPool1d, 3, { padding = 2 })
    fails("nn.MaxPool1d: the options are 2; expected a table", nn.MaxPool1d, 3, 2)
    fails("MaxPool1d: input has shape (1, 2, 5); expected (N, C, T), T at least 6", nn.MaxPool1d(6), x)
  end)
end)
