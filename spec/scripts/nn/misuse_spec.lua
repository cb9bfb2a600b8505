-- What goes wrong in everyday use: methods called with a dot, modules within themselves, odd lists.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn, optim = lurn.nn, lurn.optim
local fails = helper.fails

describe("a dot instead of a colon", function()
  local Model = nn.Module:extend "Model"
  function Model:init() self.layer = nn.Linear(2, 3) end
  function Model:forward(x) return self.layer(x) end
  local model, x = Model(), lurn.ones(4, 2)

  it("is named for methods of modules", function()
    for _, name in ipairs { "parameters", "named_parameters", "state_dict", "train", "eval", "zero_grad", "children",
      "num_parameters", "apply", "to", "load_state_dict" } do
      local text = ("%s: called without its module; write module:%s(...), with a colon"):format(name, name)
      fails(text, model[name])
      fails(text, model[name], "float64")
      fails(text, nn.GRU(2, 3)[name])
    end
    fails("parameters: called without its module", function() return Model:parameters() end)
    assert.equal(2, #nn.Module.parameters(model))
  end)

  it("is named for forward, of one's own classes too", function()
    local text = "forward: called without its module; write module:forward(...), with a colon, or module(...)"
    for _, m in ipairs { model, nn.Linear(2, 3), nn.LSTM(2, 3), nn.Sequential(nn.Tanh()), nn.Tanh() } do
      fails(text, m.forward, x)
      fails(text, m.forward)
    end
    assert.equal(0, helper.distance(model:forward(x), model(x)))
    assert.equal(0, helper.distance(Model.forward(model, x), model(x)))
  end)

  it("is named for what layers and containers have of their own", function()
    local function named(name, m)
      local text = ("%s: called without its module; write module:%s(...), with a colon"):format(name, name)
      fails(text, m[name])
      fails(text, m[name], 5)
    end
    for _, m in ipairs { nn.Linear(2, 3), nn.Embedding(2, 3), nn.LayerNorm(3), nn.Conv1d(1, 1, 1), nn.LSTM(2, 3),
      nn.GRUCell(2, 3), nn.LayerNormGRU(2, 3), nn.LayerNormLSTMCell(2, 3), nn.MultiheadAttention(2, 1),
      nn.AdditiveAttention(1, 1, 1) } do
      named("reset_parameters", m)
    end
    named("prepare", nn.DotAttention())
    fails("index_select: called without its keys; write keys:index_select(...), with a colon",
      nn.DotAttention():prepare(lurn.ones(3, 2, 1)).index_select, { 1 })
    named("append", nn.ModuleList())
    named("insert", nn.Sequential())
    for _, name in ipairs { "keys", "items", "pop" } do named(name, nn.ModuleDict()) end
  end)

  it("is named for states", function()
    local _, state = nn.GRU(2, 3)(lurn.ones(1, 4, 2))
    fails("detach: called without its state; write state:detach(...), with a colon", state.detach)
    fails("reset: called without its state", state.reset, { 1 })
  end)

  it("is named for optimizers and schedulers", function()
    local opt = optim.SGD(model:parameters(), { lr = 0.1 })
    fails("step: called without its optimizer; write optimizer:step(...), with a colon", opt.step)
    fails("zero_grad: called without its optimizer", opt.zero_grad)
    for _, s in ipairs { optim.lr_scheduler.StepLR(opt, 1), optim.lr_scheduler.ReduceLROnPlateau(opt) } do
      fails("step: called without its scheduler; write scheduler:step(...), with a colon", s.step, 1)
      fails("state_dict: called without its scheduler", s.state_dict)
    end
  end)

  it("is named for tensors", function()
    fails("sum: x is missing; call x:sum(...), with a colon, or lurn.sum(x, ...)", x.sum)
    fails("sum: x: expected a tensor, got an integer; methods are called with a colon, x:sum(...)", x.sum, 1)
    fails("add: a is missing; call x:add(...), with a colon", x.add)
    for _, name in ipairs { "flip", "norm", "var", "std", "logsumexp", "sub" } do
      fails((": %s is missing; call x:%s(...), with a colon"):format(name == "sub" and "a" or "x", name), x[name])
    end
    fails("where: condition is missing; call x:where(...), with a colon", x.where)
    fails("add_: self: expected a tensor, got an integer; methods are called with a colon, x:add_(...)", x.add_, 1)
    fails("item: self: expected a tensor, got nothing; methods are called with a colon, x:item(...)", function()
      x.item()
    end)
    fails("flatten: self: expected a tensor, got nil; methods are called with a colon, x:flatten(...)", x.flatten)
    fails("backward: self: expected a tensor", x.backward)
  end)
end)

describe("a module within itself", function()
  it("is refused where it is assigned", function()
    local m = nn.Module()
    fails('Module: the module for "me" is the one it is to belong to; a module cannot contain itself',
      function() m.me = m end)
    m.child = nn.Sequential(nn.Linear(1, 1))
    local text = 'contains the one it is to belong to; a module cannot contain itself'
    fails('Sequential: the module for "1" ' .. text, function() m.child:append(m) end)
    fails('Linear: the module for "up" ' .. text, function() m.child[1].up = m end)
    fails('Sequential: the module for "0" ' .. text, function() m.child[1] = m end)
    fails('Linear: the module for "up" ' .. text, function() m.child[1]:add_module("up", m) end)
    local dict = nn.ModuleDict { a = m }
    fails('Module: the module for "dict" ' .. text, function() m.dict = dict end)
  end)

  it("leaves everything as it was", function()
    local m = nn.Module()
    m.child = nn.Linear(1, 1)
    pcall(function() m.child.up = m end)
    assert.same({ "child.weight", "child.bias" }, helper.names(m:named_parameters()))
    assert.equal(2, #m:state_names())
    assert.is_nil(m.child.up)
    assert.truthy(tostring(m))
    m:train(false):apply(function() end)
  end)

  it("is not the same module in several places", function()
    local shared, m = nn.Linear(1, 1), nn.Module()
    m.a, m.b = nn.Sequential(shared), nn.Sequential(shared)
    assert.equal(2, #m:parameters())
  end)
end)

it("a state has tensors", function()
  fails("nn.State: h is nil; expected a tensor", nn.State)
  fails("nn.State: c is 5; expected a tensor", nn.State, lurn.ones(1), 5)
  assert.is_nil(nn.State(lurn.ones(1)).c)
end)

describe("lists of modules", function()
  it("take one list or several modules, not both", function()
    fails("nn.ModuleList: a list and 1 more arguments; expected modules, or one list of them", nn.ModuleList,
      { nn.Tanh() }, nn.Tanh())
    fails("nn.Sequential: item 2 is nil; expected a module", nn.Sequential, { nn.Tanh(), nil, nn.Tanh() })
    fails("nn.ModuleList: item 1 is 5; expected a module", nn.ModuleList, 5)
    fails("nn.ModuleDict: a list with the field b; expected {name, module} only", nn.ModuleDict,
      { { "a", nn.Tanh() }, b = nn.Tanh() })
    local list = nn.ModuleList()
    fails("nn.ModuleList: insert: position a string is not in 1..1", list.insert, list, "x", nn.Tanh())
    fails("nn.ModuleList: insert: position nil is not in 1..1", list.insert, list)
    fails("nn.ModuleList: item 1 is nil; expected a module", list.insert, list, 1)
    fails("ModuleList: apply: fn is 5; expected a function", list.apply, list, 5)
  end)

  it("are indexed by computed numbers too", function()
    local list = nn.ModuleList { nn.Tanh(), nn.ReLU() }
    assert.equal(list[2], list[4 / 2])
    list[2.0] = nn.GELU()
    assert.equal("GELU()", tostring(list[2]))
    assert.equal(2, #list)
    fails("nn.ModuleList: position 4 is not in 1..3", function() list[4.0] = nn.Tanh() end)
  end)
end)
