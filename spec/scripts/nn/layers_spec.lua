-- Linear, Embedding, Dropout, LayerNorm, activations and containers.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn, F = lurn.nn, lurn.nn.functional
local fails, distance, names = helper.fails, helper.distance, helper.names

-- The largest |x|.
local function largest(x) return x:detach():abs():max():item() end

describe("Linear", function()
  it("is x W^T + b", function()
    local m, x = nn.Linear(3, 4), lurn.randn(2, 5, 3)
    assert.is_true(distance(m(x), x:matmul(m.weight:t()) + m.bias) < 1e-6)
    local plain = nn.Linear(3, 4, { bias = false })
    assert.is_nil(plain.bias)
    assert.same({ "weight" }, names(plain:named_parameters()))
    assert.is_true(distance(plain(x), x:matmul(plain.weight:t())) < 1e-6)
  end)

  it("begins uniform on +-1/sqrt(in)", function()
    lurn.manual_seed(1)
    local m = nn.Linear(100, 300)
    assert.is_true(largest(m.weight) <= 0.1 and largest(m.weight) > 0.099)
    assert.is_true(largest(m.bias) <= 0.1 and largest(m.bias) > 0.095)
    assert.is_true(math.abs(m.weight:mean():item()) < 2e-3)
  end)

  it("checks its arguments and its input", function()
    fails("nn.Linear: in_features is 0; expected a positive integer", nn.Linear, 0, 4)
    fails("nn.Linear: out_features is nil; expected a positive integer", nn.Linear, 3)
    fails('nn.Linear: there is no option "bais"; the options are bias', nn.Linear, 3, 4, { bais = false })
    fails("nn.Linear: bias is 0; expected true or false", nn.Linear, 3, 4, { bias = 0 })
    fails("nn.Linear: the options are false; expected a table", nn.Linear, 3, 4, false)
    fails("Linear: input has 5 features; expected 3", nn.Linear(3, 4), lurn.zeros(2, 5))
    fails("Linear: input is a table; expected a tensor", nn.Linear(3, 4), {})
  end)
end)

describe("Embedding", function()
  local ids = lurn.tensor({ { 1, 3, 3 }, { 5, 2, 1 } }, { dtype = "int64" })

  it("gives rows, counting from 1", function()
    local m = nn.Embedding(5, 4)
    local y = m(ids)
    assert.same({ 2, 3, 4 }, { table.unpack(y.shape) })
    assert.equal(0, distance(y[2][1], m.weight[5]))
    y:sum():backward()
    assert.equal(2, m.weight.grad:get(3, 1))
    assert.equal(0, m.weight.grad:get(4, 1))
  end)

  it("begins normal", function()
    lurn.manual_seed(2)
    local w = nn.Embedding(200, 50).weight:detach()
    assert.is_true(math.abs(w:mean():item()) < 0.04)
    assert.is_true(math.abs((w * w):mean():item() - 1) < 0.04)
  end)

  it("leaves the padding row alone", function()
    local m = nn.Embedding(5, 4, { padding_idx = 3 })
    assert.equal(0, largest(m.weight[3]))
    m.weight:detach()[3]:fill_(2)
    local y = m(ids)
    assert.equal(2, y:get(1, 2, 1))
    y:sum():backward()
    assert.equal(0, m.weight.grad:get(3, 1))
    assert.equal(2, m.weight.grad:get(1, 1))
    assert.equal(5, nn.Embedding(5, 4, { padding_idx = -1 }).padding_idx)
    assert.equal("Embedding(5, 4, padding_idx=3)", tostring(m))
  end)

  it("checks its arguments and ids", function()
    fails("nn.Embedding: padding_idx is 6; expected an id from 1 to 5", nn.Embedding, 5, 4, { padding_idx = 6 })
    fails("nn.Embedding: padding_idx is 1.5; expected an integer", nn.Embedding, 5, 4, { padding_idx = 1.5 })
    assert.is_false(pcall(nn.Embedding(5, 4), lurn.zeros(2, { dtype = "int64" })))
    assert.is_false(pcall(nn.Embedding(5, 4), lurn.full({ 2 }, 6):to "int64"))
    fails("Embedding: input is 3; expected a tensor", nn.Embedding(5, 4), 3)
  end)

  for _, name in ipairs { "embedding", "embedding_padding" } do
    it("gives PyTorch's numbers in case " .. name, function()
      for _, case in ipairs((helper.reference "ops")) do
        if case.name == name then
          local t, padding = case.tensors, case.settings.padding_idx
          local m = nn.Embedding(7, 3, { padding_idx = padding and padding + 1 })
          m:load_state_dict { weight = t.weight }
          local y = m(t.ids + 1)
          assert.equal(0, distance(y, t.y))
          helper.inner({ y, t.gy }):backward()
          assert.is_true(distance(m.weight.grad, t["grad.weight"]) < 1e-6)
        end
      end
    end)
  end
end)

describe("Dropout", function()
  it("acts in training only", function()
    lurn.manual_seed(3)
    local m, x = nn.Dropout(0.25), lurn.ones(100, 100)
    local y = m(x)
    local kept = y:ne(0):to("float32"):mean():item()
    assert.is_true(math.abs(kept - 0.75) < 0.02)
    assert.is_true(math.abs(largest(y) - 4 / 3) < 1e-6)
    m:eval()
    assert.equal(0, distance(m(x), x))
    assert.equal(0.5, nn.Dropout().p)
  end)

  it("checks p", function()
    fails("nn.Dropout: p is 1.5; expected a number from 0 to 1", nn.Dropout, 1.5)
    fails("nn.Dropout: p is a string; expected a number from 0 to 1", nn.Dropout, { p = "a" })
  end)
end)

describe("LayerNorm", function()
  it("gives PyTorch's numbers", function()
    local found = 0
    for _, case in ipairs((helper.reference "ops")) do
      if case.settings.op == "layer_norm" then
        found = found + 1
        local t, affine = case.tensors, case.tensors.weight ~= nil
        local shape = case.settings.axes == 1 and 5 or { 3, 5 }
        local m = nn.LayerNorm(shape, { eps = case.settings.eps, elementwise_affine = affine })
        if affine then m:load_state_dict { weight = t.weight, bias = t.bias } end
        local x = helper.leaf(t.x)
        local y = m(x)
        assert.is_true(distance(y, t.y) < 1e-5)
        helper.inner({ y, t.gy }):backward()
        assert.is_true(helper.relative(x.grad, t["grad.x"]) < 1e-4)
        if affine then assert.is_true(helper.relative(m.weight.grad, t["grad.weight"]) < 1e-4) end
      end
    end
    assert.equal(3, found)
  end)

  it("begins as ones and zeros, or without", function()
    local m = nn.LayerNorm { 4 }
    assert.same({ "weight", "bias" }, names(m:named_parameters()))
    assert.equal(4, m.weight:sum():item())
    assert.equal(0, m.bias:sum():item())
    assert.same({}, nn.LayerNorm(4, { elementwise_affine = false }):parameters())
    assert.equal("LayerNorm((4,), eps=1e-05, elementwise_affine=true)", tostring(m))
  end)

  it("checks its arguments and its input", function()
    fails("nn.LayerNorm: the shape has no dimensions; expected at least one size", nn.LayerNorm, {})
    fails("nn.LayerNorm: size is 0; expected a positive integer", nn.LayerNorm, { 3, 0 })
    fails("LayerNorm: input has shape (2, 4, 3); expected (..., 3, 4)", nn.LayerNorm { 3, 4 }, lurn.zeros(2, 4, 3))
    fails("LayerNorm: input has shape (4); expected (..., 3, 4)", nn.LayerNorm { 3, 4 }, lurn.zeros(4))
    assert.equal("LayerNorm((3, 4), eps=1e-05, elementwise_affine=true)", tostring(nn.LayerNorm { 3, 4 }))
    fails("nn.LayerNorm: size is -1; expected a positive integer", nn.LayerNorm, -1)
    fails("LayerNorm: input has 5 features; expected 4", nn.LayerNorm(4), lurn.zeros(2, 5))
  end)
end)

describe("activations", function()
  it("are the ops of their names", function()
    local x = lurn.randn(3, 4)
    for class, op in pairs { Tanh = "tanh", Sigmoid = "sigmoid", ReLU = "relu", GELU = "gelu", Softplus = "softplus",
      SiLU = "silu" } do
      assert.equal(0, distance(nn[class]()(x), F[op](x)), class)
      assert.equal(class == "Softplus" and "Softplus(beta=1, threshold=20)" or class .. "()", tostring(nn[class]()))
      assert.same({}, nn[class]():parameters())
    end
    assert.equal(x, nn.Identity()(x))
    assert.equal(0, distance(nn.Softmax()(x), F.softmax(x, -1)))
    assert.equal(0, distance(nn.LogSoftmax(1)(x), F.log_softmax(x, 1)))
    assert.equal("Softmax(dim=1)", tostring(nn.Softmax(1)))
    fails("nn.Softmax: dim is 0", nn.Softmax, 0)
    fails("Tanh: input is nil; expected a tensor", nn.Tanh())
  end)
end)

describe("activations with numbers", function()
  local x = lurn.randn(3, 4) * 2

  it("pass them to their ops", function()
    assert.equal(0, distance(nn.ELU()(x), F.elu(x)))
    assert.equal(0, distance(nn.ELU(0.5)(x), F.elu(x, 0.5)))
    assert.equal(0, distance(nn.LeakyReLU()(x), x:relu() - (-x):relu() * 0.01))
    assert.equal(0, distance(nn.LeakyReLU(0.2)(x), F.leaky_relu(x, 0.2)))
    assert.equal(0, distance(nn.Hardtanh()(x), x:clamp(-1, 1)))
    assert.equal(0, distance(nn.Hardtanh(-2, 0.5)(x), F.hardtanh(x, -2, 0.5)))
    assert.equal("Hardtanh(min_val=-2, max_val=1)", tostring(nn.Hardtanh(-2)))
    assert.equal("ELU(alpha=1)", tostring(nn.ELU()))
  end)

  it("check them", function()
    fails("nn.ELU: alpha is a string; expected a number", nn.ELU, "1")
    fails("nn.Hardtanh: max_val is a table; expected a number", nn.Hardtanh, 1, {})
    fails("LeakyReLU: input is 5; expected a tensor", nn.LeakyReLU(), 5)
  end)
end)

describe("Flatten", function()
  it("makes one of several dimensions", function()
    local x = lurn.randn(2, 3, 4, 5)
    assert.same({ 2, 60 }, { table.unpack(nn.Flatten()(x).shape) })
    assert.same({ 6, 4, 5 }, { table.unpack(nn.Flatten(1, 2)(x).shape) })
    assert.same({ 2, 3, 20 }, { table.unpack(nn.Flatten(-2)(x).shape) })
    assert.equal("Flatten(first=2, last=-1)", tostring(nn.Flatten()))
    fails("nn.Flatten: a dimension is 0; expected one from 1 or, from the end, -1 on", nn.Flatten, 0)
    fails("Flatten: input is nil; expected a tensor", nn.Flatten())
    fails("flatten: dimension 2 of a tensor with 1", nn.Flatten(), lurn.zeros(3))
  end)
end)

describe("Sequential", function()
  it("passes on the first result of each module", function()
    local m = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    local x = lurn.randn(5, 3)
    local expected = m[3](m[1](x):tanh())
    assert.equal(0, distance(m(x), expected))
    local r = nn.Sequential { nn.GRU(3, 4), nn.Linear(4, 2) }
    local y, more = r(lurn.randn(6, 2, 3))
    assert.same({ 6, 2, 2 }, { table.unpack(y.shape) })
    assert.is_nil(more)
    assert.equal(x, nn.Sequential()(x))
  end)

  it("names its modules from 0, or as told", function()
    local m = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    m:add_module("head", nn.Linear(4, 2))
    m:append(nn.Tanh())
    assert.same({ "0", "1", "head", "3" }, names(m:named_children()))
    assert.equal(4, #m)
    assert.equal(m.head, m[3])
    assert.equal(m[4], m[-1])
  end)
end)

describe("ModuleList", function()
  it("is a list", function()
    local a, b, c = nn.Linear(1, 1), nn.Linear(1, 2), nn.Linear(1, 3)
    local list = nn.ModuleList { a, b }
    list[#list + 1] = c
    assert.equal(3, #list)
    assert.equal(b, list[2])
    assert.equal(c, list[-1])
    assert.is_nil(list[4])
    assert.is_nil(list[0])
    local seen = {}
    for i, m in ipairs(list) do seen[i] = m.out_features end
    assert.same({ 1, 2, 3 }, seen)
    list[2] = a
    assert.equal(a, list[2])
    list[3] = nil
    assert.equal(2, #list)
    assert.same({ "0.weight", "0.bias" }, names(list:named_parameters()))
    list[2] = b
    list:insert(1, c)
    assert.same({ 3, 1, 2 }, { list[1].out_features, list[2].out_features, list[3].out_features })
    assert.same({ "0", "1", "2" }, names(list:named_children()))
    assert.equal(0, #nn.ModuleList())
  end)

  it("takes modules only, without gaps", function()
    local list = nn.ModuleList { nn.Tanh() }
    fails("nn.ModuleList: item 2 is 5; expected a module", list.append, list, 5)
    fails("nn.ModuleList: item 1 is a string; expected a module", nn.ModuleList, { "x" })
    fails("nn.Sequential: item 2 is the class Tanh; expected a module", nn.Sequential, nn.Tanh(), nn.Tanh)
    fails("nn.Sequential: item 1 is the class Tanh; expected a module", nn.Sequential, nn.Tanh)
    fails("nn.ModuleList: the list has the field a; expected modules only", nn.ModuleList, { a = nn.Tanh() })
    fails("nn.ModuleList: position 3 is not in 1..2", function() list[3] = nn.Tanh() end)
    fails("nn.ModuleList: item 1 is 7; expected a module", function() list[1] = 7 end)
    fails("ModuleList has no method forward", list, 1)
  end)
end)

describe("ModuleDict", function()
  it("keeps its order", function()
    local dict = nn.ModuleDict { { "z", nn.Tanh() }, { "a", nn.Linear(1, 1) } }
    assert.same({ "z", "a" }, dict:keys())
    dict.m = nn.ReLU()
    assert.same({ "z", "a", "m" }, names(dict:items()))
    assert.equal(3, #dict)
    assert.same({ "a.weight", "a.bias" }, names(dict:named_parameters()))
    local z = dict.z
    assert.equal(z, dict:pop "z")
    assert.is_nil(dict:pop "z")
    assert.same({ "a", "m" }, dict:keys())
    assert.same({ "a", "b", "c" }, nn.ModuleDict({ c = nn.Tanh(), a = nn.Tanh(), b = nn.Tanh() }):keys())
  end)

  it("takes modules only", function()
    fails("add_module: a is 5; expected a module", nn.ModuleDict, { a = 5 })
    fails('a module cannot be named "keys", which is a method', nn.ModuleDict, { keys = nn.Tanh() })
    fails("nn.ModuleDict: item 1 is a table; expected {name, module}", nn.ModuleDict, { nn.Tanh() })
  end)
end)

describe("modules of functions", function()
  it("take their numbers in order or by name", function()
    local x = lurn.tensor { -2, 0.5, 30 }
    assert.is_true(nn.Softplus(2, 3)(x):equal(F.softplus(x, 2, 3)))
    assert.is_true(nn.Softplus { threshold = 3, beta = 2 }(x):equal(F.softplus(x, 2, 3)))
    assert.is_true(nn.GELU { approximate = "tanh" }(x):equal(F.gelu(x, "tanh")))
    assert.is_true(nn.ELU { alpha = 0.5 }(x):equal(F.elu(x, 0.5)))
    assert.is_true(nn.Hardtanh { max_val = 0 }(x):equal(F.hardtanh(x, -1, 0)))
    assert.is_true(nn.Softmax { dim = 1 }(x):equal(x:softmax(1)))
    assert.same({ "GELU(approximate=tanh)", "GELU()", "Softplus(beta=2, threshold=20)", "Dropout(p=0.25)" },
      { tostring(nn.GELU { approximate = "tanh" }), tostring(nn.GELU()), tostring(nn.Softplus(2)),
        tostring(nn.Dropout { p = 0.25 }) })
  end)

  it("refuse what they do not know", function()
    fails('nn.ReLU: there is no option "inplace"; it takes none', nn.ReLU, { inplace = true })
    fails("nn.Tanh: the options are 1; expected a table", nn.Tanh, 1)
    fails('nn.GELU: approximate is "yes"; expected one of "none", "tanh"', nn.GELU, { approximate = "yes" })
    fails('nn.ELU: there is no option "beta"; the options are alpha', nn.ELU, { beta = 1 })
    fails("nn.Softplus: too many arguments: 3 given; it takes beta, threshold", nn.Softplus, 1, 2, 3)
    fails('nn.Dropout: there is no option "inplace"; it takes none', nn.Dropout, 0.5, { inplace = true })
    fails('nn.Dropout: there is no option "q"; the options are p', nn.Dropout, { q = 0.5 })
    fails('nn.Softmax: there is no option "axis"; the options are dim', nn.Softmax, { axis = 1 })
  end)
end)
