-- nn.LSTM with projection, peepholes and coupled gates: against the cell from single ops, and what is composed around
-- it.

local lurn = require "lurn"
local cells = require "scripts.nn.cells_by_hand"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local D, H, P = 3, 5, 2

local function randn(...) return lurn.randn(...):to "float64" end

local function lstm(options) return nn.LSTM(D, H, options):to "float64" end

local function close(a, b, what) assert.is_true(distance(a, b) < 1e-12, what) end

local function random_state(rows, N, width)
  return { h = leaf(randn(rows, N, width)), c = leaf(randn(rows, N, H)) }
end

-- The sum of everything a layer gives, each element with a weight of its own.
local function weighted(y, state)
  lurn.manual_seed(77)
  return (y * randn(y.shape)):sum() + (state.h * randn(state.h.shape)):sum() + (state.c * randn(state.c.shape)):sum()
end

local variants = {
  { proj_size = P },
  { peephole = true },
  { coupled = true },
  { peephole = true, coupled = true },
  { proj_size = P, peephole = true, coupled = true },
  { proj_size = P, peephole = true, bias = false },
}

for _, options in ipairs(variants) do
  describe(tostring(nn.LSTM(D, H, options)), function()
    local width = options.proj_size or H
    before_each(function() lurn.manual_seed(4) end)

    it("equals its cell from single ops, with gradients", function()
      local layer, x, state = lstm(options), leaf(randn(6, 2, D)), random_state(1, 2, width)
      local inputs = layer:parameters()
      table.move({ x, state.h, state.c }, 1, 3, #inputs + 1, inputs)
      local y, last = layer(x, state)
      local fused = { lurn.grad(weighted(y, last), inputs) }
      local z, other = cells.run("LSTM", layer, x, state)
      close(y, z)
      close(last.h, other.h)
      close(last.c, other.c)
      for i, grad in ipairs { lurn.grad(weighted(z, other), inputs) } do
        assert.is_true(distance(fused[i], grad) < 1e-11)
      end
    end)

    it("stops each sequence at its length, as if it ran alone, in layers and directions", function()
      local lengths = { 3, 5, 0, 4 }
      local all = { num_layers = 2, bidirectional = true }
      for name, value in pairs(options) do all[name] = value end
      local layer, x = lstm(all), leaf(randn(5, 4, D))
      local state = random_state(4, 4, width)
      local inputs = layer:parameters()
      table.move({ x, state.h, state.c }, 1, 3, #inputs + 1, inputs)
      local y, last = layer(x, state, { lengths = lengths })
      assert.same({ 5, 4, 2 * width }, { table.unpack(y.shape) })
      local ys, hs, cs = {}, {}, {}
      for n, length in ipairs(lengths) do
        local alone = { h = state.h:narrow(2, n, 1), c = state.c:narrow(2, n, 1) }
        local part, at_end = layer(x:narrow(2, n, 1):narrow(1, 1, length), alone)
        ys[n] = lurn.cat { part, randn(5 - length, 1, 2 * width) * 0 }
        hs[n], cs[n] = at_end.h, at_end.c
      end
      local z, other = lurn.cat(ys, 2), { h = lurn.cat(hs, 2), c = lurn.cat(cs, 2) }
      close(y, z)
      close(last.h, other.h)
      close(last.c, other.c)
      local padded = { lurn.grad(weighted(y, last), inputs) }
      for i, grad in ipairs { lurn.grad(weighted(z, other), inputs) } do
        assert.is_true(distance(padded[i], grad) < 1e-11)
      end
    end)

    it("goes on from a state, batch first too", function()
      local layer, x = lstm(options), randn(6, 2, D)
      local y, state = layer(x)
      local y1, middle = layer(x:narrow(1, 1, 4))
      local y2, last = layer(x:narrow(1, 5, 2), middle)
      close(y, lurn.cat { y1, y2 })
      close(state.h, last.h)
      close(state.c, last.c)
      local first = { batch_first = true }
      for name, value in pairs(options) do first[name] = value end
      local other = lstm(first)
      other:load_state_dict(layer:state_dict())
      close(y, (other(x:transpose(1, 2))):transpose(1, 2))
    end)

    it("gives the same step by step in streaming, where weights are kept packed", function()
      local layer, x = lstm(options), randn(8, 1, D)
      lurn.no_grad(function()
        local y, state = layer(x), nil
        for t = 1, 8 do
          local z
          z, state = layer(x:narrow(1, t, 1), state)
          close(z, y:narrow(1, t, 1))
        end
      end)
    end)

    it("is recorded", function()
      local layer, x, rec = lstm(options), randn(5, 2, D), {}
      local y, state = layer(x, nil, { record = rec })
      assert.same({ 5, 2, (options.coupled and 3 or 4) * H }, { table.unpack(rec[1].gates.shape) })
      close(rec[1].hidden, y)
      close(rec[1].cell[5], state.c[1])
      weighted(y, state):backward()
      local steps = {}
      local z, other = cells.run("LSTM", layer, x, { h = randn(1, 2, width) * 0, c = randn(1, 2, H) * 0 }, nil, steps)
      close(rec[1].grad_hidden, lurn.stack({ lurn.grad(weighted(z, other), steps.h, { retain_graph = true }) }, 1))
      close(rec[1].grad_cell, lurn.stack({ lurn.grad(weighted(z, other), steps.c) }, 1))
    end)

    it("goes through a file", function()
      local layer, path = lstm(options), os.tmpname()
      assert(lurn.save(path, layer:state_dict()))
      local copy = lstm(options)
      copy:load_state_dict(assert(lurn.load(path)))
      os.remove(path)
      local x = randn(4, 2, D)
      assert.equal(0, distance(layer(x), (copy(x))))
    end)
  end)
end

describe("LSTM variants", function()
  it("name their weights, PyTorch's where it has them", function()
    local layer = nn.LSTM(D, H, { num_layers = 2, bidirectional = true, proj_size = P, peephole = true })
    local shapes = { weight_ih = { 4 * H, D }, weight_hh = { 4 * H, P }, bias_ih = { 4 * H }, bias_hh = { 4 * H },
      weight_hr = { P, H }, weight_ci = { H }, weight_cf = { H }, weight_co = { H } }
    local order = { "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ci", "weight_cf", "weight_co" }
    local expected = {}
    for _, suffix in ipairs { "_l0", "_l0_reverse", "_l1", "_l1_reverse" } do
      for _, part in ipairs(order) do expected[#expected + 1] = part .. suffix end
    end
    assert.same(expected, helper.names(layer:named_parameters()))
    for name, p in layer:named_parameters() do
      local shape = shapes[name:match "^%a+_%a+"]
      if name:find "^weight_ih_l1" then shape = { 4 * H, 2 * P } end
      assert.same(shape, { table.unpack(p.shape) })
    end
    local coupled = nn.LSTM(D, H, { peephole = true, coupled = true })
    assert.same({ "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_cf_l0", "weight_co_l0" },
      helper.names(coupled:named_parameters()))
    assert.same({ 3 * H, H }, { table.unpack(coupled.weight_hh_l0.shape) })
  end)

  it("begin uniform on +-1/sqrt(hidden)", function()
    local layer = nn.LSTM(20, 100, { proj_size = 30, peephole = true })
    for _, p in ipairs(layer:parameters()) do
      local largest = p:detach():abs():max():item()
      assert.is_true(largest <= 0.1 and largest > 0.08)
    end
  end)

  it("take the forget bias where the forget gate is", function()
    lurn.manual_seed(8)
    local plain = nn.LSTM(D, 4, { coupled = true, num_layers = 2 })
    lurn.manual_seed(8)
    local biased = nn.LSTM(D, 4, { coupled = true, num_layers = 2, forget_bias = 1.5 })
    for _, name in ipairs { "bias_ih_l0", "bias_ih_l1" } do
      for i, value in ipairs((biased[name] - plain[name]):totable()) do
        assert.is_near(i <= 4 and 1.5 or 0, value, 1e-6)
      end
    end
  end)

  it("are plain with all options off", function()
    local layer = nn.LSTM(D, H, { proj_size = 0, peephole = false, coupled = false })
    assert.equal("LSTM(3, 5)", tostring(layer))
    assert.equal(4, #layer:parameters())
    assert.equal(0, layer.proj_size)
  end)

  it("print their options", function()
    assert.equal("LSTM(3, 5, num_layers=2, dropout=0.25, variational=true, forget_bias=1, proj_size=2, peephole=true, "
      .. "coupled=true)", tostring(nn.LSTM(D, H, { num_layers = 2, dropout = 0.25, variational = true,
        forget_bias = 1, proj_size = 2.0, peephole = true, coupled = true })))
  end)

  it("check their options", function()
    fails("nn.LSTM: proj_size is 5; expected less than hidden_size, 5", nn.LSTM, D, H, { proj_size = 5 })
    fails("nn.LSTM: proj_size is -1; expected 0 or a positive integer", nn.LSTM, D, H, { proj_size = -1 })
    fails("nn.LSTM: proj_size is 1.5; expected 0 or a positive integer", nn.LSTM, D, H, { proj_size = 1.5 })
    fails("nn.LSTM: peephole is 1; expected true or false", nn.LSTM, D, H, { peephole = 1 })
    fails('nn.LSTM: coupled is "yes"; expected true or false', nn.LSTM, D, H, { coupled = "yes" })
    fails("nn.LSTM: forget_bias needs bias = true", nn.LSTM, D, H, { coupled = true, forget_bias = 1, bias = false })
  end)

  it("check the state", function()
    local layer, x = nn.LSTM(D, H, { proj_size = P }), lurn.zeros(4, 2, D)
    fails("LSTM: state.h has shape (1, 2, 5); expected (1, 2, 2)", layer, x,
      { h = lurn.zeros(1, 2, H), c = lurn.zeros(1, 2, H) })
    fails("LSTM: state.c has shape (1, 2, 2); expected (1, 2, 5)", layer, x,
      { h = lurn.zeros(1, 2, P), c = lurn.zeros(1, 2, P) })
  end)

  it("have weights that can be changed by hand", function()
    local layer, x = nn.LSTM(D, H, { peephole = true }), lurn.randn(4, 2, D)
    local plain = nn.LSTM(D, H)
    plain:load_state_dict(layer:state_dict(), { strict = false })
    for _, name in ipairs { "weight_ci_l0", "weight_cf_l0", "weight_co_l0" } do nn.init.zeros_(layer[name]) end
    assert.is_true(distance(layer(x), (plain(x))) < 1e-6)
  end)
end)

describe("the state of a projected LSTM", function()
  local layer = nn.LSTM(D, H, { num_layers = 2, bidirectional = true, proj_size = P })
  local x = lurn.randn(5, 3, D)

  it("has h as wide as the projection", function()
    local _, state = layer(x)
    assert.equal("State(h (4, 3, 2), c (4, 3, 5))", tostring(state))
  end)

  it("resets rows by list, by numbers and by mask", function()
    local _, state = layer(x)
    local mask = lurn.tensor({ 0, 1, 0 }):to "bool"
    for _, rows in ipairs { { 2 }, { -2 }, lurn.tensor({ 2 }, { dtype = "int64" }), mask } do
      local new = state:reset(rows)
      for part, columns in pairs { h = P, c = H } do
        assert.same({ 4, 3, columns }, { table.unpack(new[part].shape) })
        assert.equal(0, new[part]:select(2, 2):abs():sum():item())
        for _, row in ipairs { 1, 3 } do
          assert.equal(0, distance(new[part]:select(2, row), state[part]:select(2, row)))
        end
      end
      assert.truthy(layer(x, new))
    end
  end)

  it("lets gradients through the rows that go on", function()
    local h, c = leaf(lurn.randn(4, 3, P)), leaf(lurn.randn(4, 3, H))
    local state = nn.State(h, c):reset { 1 }
    local _, last = layer(x, state)
    last.h:sum():add(last.c:sum()):backward()
    assert.equal(0, h.grad:select(2, 1):abs():sum():item())
    assert.equal(0, c.grad:select(2, 1):abs():sum():item())
    assert.is_true(h.grad:select(2, 2):abs():sum():item() > 0)
  end)

  it("selects rows, detaches and clones", function()
    local _, state = layer(x)
    local chosen = state:index_select { 3, 1, 1, 3 }
    assert.equal("State(h (4, 4, 2), c (4, 4, 5))", tostring(chosen))
    for i, row in ipairs { 3, 1, 1, 3 } do
      assert.equal(0, distance(chosen.h:select(2, i), state.h:select(2, row)))
      assert.equal(0, distance(chosen.c:select(2, i), state.c:select(2, row)))
    end
    assert.truthy(layer(lurn.randn(2, 4, D), chosen))
    local cut = state:detach()
    assert.is_false(cut.h.requires_grad or cut.c.requires_grad)
    local copy = cut:clone()
    copy.h:fill_(0)
    assert.is_true(cut.h:abs():sum():item() > 0)
  end)
end)
