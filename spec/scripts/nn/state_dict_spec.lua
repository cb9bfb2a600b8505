-- state_dict and load_state_dict.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local failure, fails = helper.failure, helper.fails

local function model()
  local m = nn.Module:extend "Model"()
  m.rnn = nn.GRU(3, 4)
  m:register_buffer("count", lurn.zeros(1, { dtype = "int64" }))
  m.seq = nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 2))
  return m
end

local function copies(dict)
  local result = {}
  for name, t in pairs(dict) do result[name] = t:clone() end
  return result
end

local function unchanged(m, before)
  for name, t in pairs(m:state_dict()) do
    if helper.distance(t, before[name]) ~= 0 then return false end
  end
  return true
end

describe("state_dict", function()
  it("has PyTorch's names, from zero", function()
    local m = model()
    assert.same({ "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0", "count",
      "seq.0.weight", "seq.0.bias", "seq.2.weight", "seq.2.bias" }, m:state_names())
    local dict, n = m:state_dict(), 0
    for name, t in pairs(dict) do
      n = n + 1
      assert.is_true(lurn.is_tensor(t), name)
    end
    assert.equal(9, n)
  end)

  it("shares memory and is outside the graph", function()
    local m = model()
    local t = m:state_dict()["seq.0.weight"]
    assert.is_false(t.requires_grad)
    t:fill_(3)
    assert.equal(3, m.seq[1].weight:get(1, 1))
  end)

  it("gives nothing else, so that it can be an argument", function()
    assert.equal(1, select("#", model():state_dict()))
  end)
end)

describe("load_state_dict", function()
  it("copies into the tensors that are there", function()
    local a, b = model(), model()
    local weight = b.seq[1].weight
    local result = b:load_state_dict(a:state_dict())
    assert.same({ missing = {}, unexpected = {} }, result)
    assert.equal(weight, b.seq[1].weight)
    assert.is_true(unchanged(b, a:state_dict()))
    assert.is_true(weight.requires_grad and weight.is_leaf)
    a.seq[1].weight:detach():fill_(9)
    assert.is_false(unchanged(b, a:state_dict()))
  end)

  it("converts dtypes", function()
    local a, b = model():to "float64", model()
    b:load_state_dict(a:state_dict())
    assert.equal("float32", b.rnn.weight_ih_l0.dtype)
    assert.is_true(helper.distance(b.rnn.weight_ih_l0, a.rnn.weight_ih_l0) < 1e-7)
  end)

  it("lists all that is missing, unexpected or of another shape, and changes nothing", function()
    local m = model()
    local before, dict = copies(m:state_dict()), copies(model():state_dict())
    dict["rnn.bias_hh_l0"], dict["seq.2.bias"] = nil, nil
    dict["seq.1.weight"], dict.extra = lurn.ones(1), lurn.ones(1)
    dict["seq.0.weight"], dict["rnn.weight_ih_l0"] = lurn.ones(4, 2), "text"
    assert.equal("Model: load_state_dict: the names or shapes do not fit\n"
      .. "  missing: rnn.bias_hh_l0, seq.2.bias\n"
      .. "  unexpected: extra, seq.1.weight\n"
      .. "  other shape: rnn.weight_ih_l0 is a string, seq.0.weight is (4, 2); expected (2, 4)",
      (failure(m.load_state_dict, m, dict):gsub("^%(Model%): ", "")))
    assert.is_true(unchanged(m, before))
  end)

  it("lets names go when not strict, but no shapes", function()
    local m, dict = model(), { extra = lurn.ones(1), ["seq.2.bias"] = lurn.full({ 2 }, 5) }
    local result = m:load_state_dict(dict, { strict = false })
    assert.equal(8, #result.missing)
    assert.same({ "extra" }, result.unexpected)
    assert.equal(5, m.seq[3].bias:get(1))
    dict["seq.0.bias"] = lurn.ones(3)
    dict["seq.2.bias"] = lurn.zeros(2)
    fails("other shape: seq.0.bias is (3); expected (2)", m.load_state_dict, m, dict, { strict = false })
    assert.equal(5, m.seq[3].bias:get(1))
  end)

  it("takes what lurn.load gives", function()
    local path = os.tmpname()
    local a, b = model(), model()
    assert(lurn.save(path, a:state_dict(), { note = "x" }))
    b:load_state_dict(lurn.load(path))
    os.remove(path)
    assert.is_true(unchanged(b, a:state_dict()))
    fails("Model: load_state_dict: the state is nil (", b.load_state_dict, b, lurn.load(path))
    fails("Model: load_state_dict: the state is 5; expected a table of tensors by name", b.load_state_dict, b, 5)
  end)

  it("wants tied tensors under each name", function()
    local m = nn.Module:extend "Tied"()
    m.a = nn.Linear(2, 2, { bias = false })
    m.b = nn.Linear(2, 2, { bias = false })
    m.b.weight = m.a.weight
    local dict = copies(m:state_dict())
    assert.same({ "a.weight", "b.weight" }, m:state_names())
    m:load_state_dict(dict)
    dict["b.weight"] = nil
    fails("missing: b.weight", m.load_state_dict, m, dict)
  end)
end)
