-- nn.Module: classes, registration, walking, modes, printing.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, names = helper.fails, helper.names

local function parameter(...) return nn.Parameter(lurn.zeros(...)) end

local CharLM = nn.Module:extend "CharLM"
function CharLM:init(vocab, hidden)
  self.embed = nn.Embedding(vocab, 8)
  self.rnn = nn.LSTM(8, hidden, { num_layers = 2, dropout = 0.2 })
  self.head = nn.Linear(hidden, vocab)
end
function CharLM:forward(ids, state)
  local y
  y, state = self.rnn(self.embed(ids), state)
  return self.head(y), state
end

describe("classes", function()
  it("make instances by a call that runs init", function()
    local Pair = nn.Module:extend "Pair"
    function Pair:init(a, b) self.a, self.b = a, b end
    local pair = Pair(1, "two")
    assert.equal(1, pair.a)
    assert.equal("two", pair.b)
    assert.is_true(pair.training)
    assert.is_nil(pair.c)
  end)

  it("call forward with all arguments and give back all results", function()
    local Echo = nn.Module:extend "Echo"
    function Echo:forward(...) return select("#", ...), ... end
    assert.same({ 3, 1, nil, 3 }, { Echo()(1, nil, 3) })
  end)

  it("inherit methods and initialisation", function()
    local Parent = nn.Module:extend "Parent"
    function Parent:init(n)
      self.n = n
      self.w = parameter(n)
    end
    function Parent:forward(x) return x + self.n end
    function Parent:name() return "parent" end
    function Parent:__len() return self.n end
    local Child = Parent:extend "Child"
    function Child:init(n, m)
      Parent.init(self, n)
      self.v = parameter(m)
    end
    function Child:name() return "child of " .. Parent.name(self) end
    local child = Child(2, 3)
    assert.equal(7, child(5))
    assert.equal("child of parent", child:name())
    assert.equal(2, #child)
    assert.same({ "w", "v" }, names(child:named_parameters()))
    assert.equal("parent", Parent(1):name())
    assert.equal("Child()", tostring(child))
    assert.equal("class Child", tostring(Child))
  end)

  it("derive from layers", function()
    local Loud = nn.Linear:extend "Loud"
    function Loud:forward(x) return nn.Linear.forward(self, x) * 2 end
    local loud, x = Loud(3, 2), lurn.randn(4, 3)
    local expected = nn.functional.linear(x, loud.weight, loud.bias) * 2
    assert.equal(0, helper.distance(loud(x), expected))
    assert.same({ "weight", "bias" }, names(loud:named_parameters()))
  end)

  it("use what a class holds until an instance has its own", function()
    local Class = nn.Module:extend "Class"
    Class.limit = 5
    local a, b = Class(), Class()
    a.limit = 6
    assert.equal(6, a.limit)
    assert.equal(5, b.limit)
  end)

  it("want a name", function()
    fails("extend: the class name is a nil; expected a string", function() return nn.Module:extend() end)
  end)

  it("without forward say so", function()
    local Empty = nn.Module:extend "Empty"
    fails("Empty has no method forward", function() Empty()(1) end)
  end)
end)

describe("fields", function()
  it("register parameters and modules in the order of assignment", function()
    local m = nn.Module()
    m.z = parameter(1)
    m.inner = nn.Linear(2, 3)
    m.a = parameter(2)
    m.note = "plain"
    assert.same({ "z", "inner.weight", "inner.bias", "a" }, names(m:named_parameters()))
    assert.equal("plain", m.note)
  end)

  it("keep plain tables plain", function()
    local m = nn.Module()
    local list = { nn.Linear(2, 2), parameter(3) }
    m.list = list
    assert.equal(list, m.list)
    assert.same({}, m:parameters())
    assert.same({}, m:children())
  end)

  it("keep plain tensors plain", function()
    local m = nn.Module()
    m.t = lurn.ones(2)
    assert.same({}, m:parameters())
    assert.same({}, m:state_dict())
  end)

  it("may change from plain to registered", function()
    local m = nn.Module()
    m.x = 5
    m.x = parameter(2)
    assert.same({ "x" }, names(m:named_parameters()))
  end)

  it("keep their place when assigned again or emptied", function()
    local m = nn.Module()
    m.a = parameter(1)
    m.b = parameter(2)
    local second = parameter(3)
    m.a = second
    assert.equal(second, m:parameters()[1])
    m.a = nil
    assert.is_nil(m.a)
    assert.same({ "b" }, names(m:named_parameters()))
    m.a = parameter(4)
    assert.same({ "a", "b" }, names(m:named_parameters()))
    m.a = nn.Linear(1, 1)
    assert.same({ "a.weight", "a.bias", "b" }, names(m:named_parameters()))
  end)

  it("take anything once emptied", function()
    local m = nn.Module()
    m.layer = nn.Linear(1, 1)
    m.layer = nil
    m.layer = "none"
    assert.equal("none", m.layer)
    assert.same({}, m:children())
  end)

  it("refuse a value of another kind", function()
    local m = CharLM(5, 4)
    fails("CharLM: cannot assign 5 to the module head; expected a module or nil", function() m.head = 5 end)
    fails("Linear: cannot assign a tensor to the parameter weight; expected an nn.Parameter or nil",
      function() m.head.weight = m.head.weight * 2 end)
    m:register_buffer("mask", lurn.ones(2))
    fails("CharLM: cannot assign a string to the buffer mask; expected a tensor or nil", function() m.mask = "x" end)
  end)

  it("refuse names that state dicts or methods need otherwise", function()
    local m = nn.Module()
    fails('Module: a parameter cannot be named "a.b"; expected a string without dots',
      function() m["a.b"] = parameter(1) end)
    fails("Module: a module cannot be named 1; expected a string without dots", function() m[1] = nn.Linear(1, 1) end)
    fails('Module: a module cannot be named "train", which is a method', function() m.train = nn.Linear(1, 1) end)
  end)

  it("are listed by pairs, the registered ones in order and first", function()
    local m = nn.Module()
    m.note = 1
    m.b = parameter(1)
    m.a = parameter(1)
    local list = {}
    for name in pairs(m) do list[#list + 1] = name end
    assert.same({ "b", "a" }, { list[1], list[2] })
    table.sort(list)
    assert.same({ "a", "b", "note", "training" }, list)
  end)
end)

describe("nn.Parameter", function()
  it("shares elements, is a leaf and requires a gradient", function()
    local t = lurn.randn(2, 3)
    local p = nn.Parameter(t)
    assert.is_true(p.requires_grad and p.is_leaf)
    assert.is_false(t.requires_grad)
    t:fill_(7)
    assert.equal(7, p:get(1, 1))
    assert.is_false(nn.Parameter(t, false).requires_grad)
    assert.is_false(nn.Parameter(lurn.zeros(2, { dtype = "int64" }), false).requires_grad)
  end)

  it("refuses what cannot be one", function()
    fails("nn.Parameter: the argument is a string; expected a tensor", nn.Parameter, "x")
    fails("nn.Parameter: the tensor is int64", nn.Parameter, lurn.zeros(2, { dtype = "int64" }))
  end)
end)

describe("registering by method", function()
  it("reserves places", function()
    local m = nn.Module()
    m:register_parameter("bias", nil)
    m:register_parameter("weight", parameter(1))
    m:register_buffer("mean", nil)
    assert.same({ "weight" }, names(m:named_parameters()))
    m.bias = parameter(1)
    m.mean = lurn.zeros(2)
    assert.same({ "bias", "weight" }, names(m:named_parameters()))
    assert.same({ "mean" }, names(m:named_buffers()))
  end)

  it("keeps buffers out of the parameters and, when asked, out of the state", function()
    local m = nn.Module()
    m:register_buffer("mean", lurn.ones(2))
    m:register_buffer("scratch", lurn.ones(3), { persistent = false })
    assert.same({}, m:parameters())
    assert.equal(2, #m:buffers())
    assert.same({ "mean" }, m:state_names())
    m.mean = lurn.zeros(4)
    assert.same({ 4 }, { table.unpack(m:buffers()[1].shape) })
  end)

  it("refuses what is there already, and other values", function()
    local m = nn.Module()
    m.x = 1
    fails('Module: there is a field "x" already', m.register_buffer, m, "x", lurn.ones(1))
    fails("register_buffer: y is 5; expected a tensor", m.register_buffer, m, "y", 5)
    fails("register_parameter: y is a tensor; expected an nn.Parameter", m.register_parameter, m, "y", lurn.ones(1))
    fails("add_module: y is nil; expected a module", m.add_module, m, "y", nil)
    fails('there is no option "keep"; the options are persistent', m.register_buffer, m, "y", lurn.ones(1),
      { keep = true })
  end)
end)

describe("walking", function()
  it("names parameters as PyTorch does", function()
    local expected = { "embed.weight" }
    for layer = 0, 1 do
      for _, part in ipairs { "weight_ih", "weight_hh", "bias_ih", "bias_hh" } do
        expected[#expected + 1] = ("rnn.%s_l%d"):format(part, layer)
      end
    end
    expected[#expected + 1], expected[#expected + 2] = "head.weight", "head.bias"
    local m = CharLM(11, 6)
    assert.same(expected, names(m:named_parameters()))
    assert.same(expected, m:state_names())
    assert.equal(#expected, #m:parameters())
    assert.equal(11 * 8 + 4 * 6 * (8 + 6 + 2 + 6 + 6 + 2) + 7 * 11, m:num_parameters())
  end)

  it("finds each tensor and each module once", function()
    local m = nn.Module()
    m.one = nn.Linear(3, 3)
    m.two = nn.Linear(3, 3)
    m.two.weight = m.one.weight
    m.again = m.one
    assert.same({ "one.weight", "one.bias", "two.bias" }, names(m:named_parameters()))
    assert.equal(3, #m:parameters())
    assert.same({ "one", "two" }, names(m:named_children()))
    assert.same({ "", "one", "two" }, names(m:named_modules()))
    assert.equal(7 * 3 - 6, m:num_parameters())
    assert.equal(6, #m:state_names())
  end)

  it("stays at the top when asked", function()
    local m = CharLM(5, 4)
    m.scale = parameter(1)
    assert.same({ "scale" }, names(m:named_parameters { recurse = false }))
    assert.equal(1, #m:parameters { recurse = false })
  end)

  it("visits modules from the top, and applies from the bottom", function()
    local m = CharLM(5, 4)
    local visited = {}
    assert.equal(m, m:apply(function(module) visited[#visited + 1] = module end))
    assert.same({ "", "embed", "rnn", "head" }, names(m:named_modules()))
    assert.equal(m, m:modules()[1])
    assert.equal(m, visited[4])
    assert.equal(m.embed, visited[1])
    assert.equal(m.rnn, m:children()[2])
  end)
end)

describe("modes", function()
  it("reach all modules", function()
    local m = CharLM(5, 4)
    assert.equal(m, m:eval())
    for _, module in ipairs(m:modules()) do assert.is_false(module.training) end
    m:train()
    for _, module in ipairs(m:modules()) do assert.is_true(module.training) end
    fails("train: the mode is a string; expected true or false", m.train, m, "yes")
  end)

  it("clear gradients and switch them", function()
    local m = nn.Linear(2, 2)
    m(lurn.ones(1, 2)):sum():backward()
    assert.truthy(m.weight.grad)
    m:zero_grad()
    assert.is_nil(m.weight.grad)
    assert.equal(m, m:requires_grad_(false))
    assert.is_false(m(lurn.ones(1, 2)).requires_grad)
    m:requires_grad_()
    assert.is_true(m(lurn.ones(1, 2)).requires_grad)
  end)

  it("convert to another dtype", function()
    local m = CharLM(5, 4)
    m.tied = m.head.weight
    m:register_buffer("count", lurn.zeros(1, { dtype = "int64" }))
    m:register_buffer("mean", lurn.zeros(1))
    m.head.bias.requires_grad = false
    local before = m.head.weight:detach():clone()
    assert.equal(m, m:to "float64")
    for _, p in ipairs(m:parameters()) do assert.equal("float64", p.dtype) end
    assert.equal(m.tied, m.head.weight)
    assert.equal(0, helper.distance(m.head.weight, before))
    assert.equal("int64", m.count.dtype)
    assert.equal("float64", m.mean.dtype)
    assert.is_false(m.head.bias.requires_grad)
    assert.is_true(m.head.weight.requires_grad)
    m(lurn.randint(1, 5, 3, 2)):sum():backward()
    assert.equal("float64", m.rnn.weight_ih_l0.grad.dtype)
    m:to "float32"
    assert.equal("float32", m.rnn.weight_ih_l0.grad.dtype)
    fails('CharLM: to: the dtype is "int64"; expected "float32" or "float64"', m.to, m, "int64")
  end)
end)

describe("printing", function()
  it("shows the tree", function()
    local m = CharLM(73, 128)
    m.blocks = nn.ModuleList { nn.Sequential(nn.Linear(2, 3, { bias = false }), nn.ReLU()), nn.Dropout(0.1) }
    assert.equal([[
CharLM(
  (embed): Embedding(73, 8)
  (rnn): LSTM(8, 128, num_layers=2, dropout=0.2)
  (head): Linear(in_features=128, out_features=73, bias=true)
  (blocks): ModuleList(
    (0): Sequential(
      (0): Linear(in_features=2, out_features=3, bias=false)
      (1): ReLU()
    )
    (1): Dropout(p=0.1)
  )
)]], tostring(m))
  end)

  it("shows extra_repr", function()
    local Scaled = nn.Linear:extend "Scaled"
    function Scaled:extra_repr() return "scale=2" end
    assert.equal("Scaled(scale=2)", tostring(Scaled(1, 1)))
    local s = Scaled(1, 1)
    s.inner = nn.Tanh()
    assert.equal("Scaled(\n  scale=2\n  (inner): Tanh()\n)", tostring(s))
  end)
end)

describe("messages", function()
  it("name the path to the layer", function()
    local Outer = nn.Module:extend "Outer"
    function Outer:init() self.blocks = nn.ModuleList { CharLM(5, 4) } end
    function Outer:forward(x) return self.blocks[1].rnn(x) end -- a tail call
    fails("blocks.0.rnn", Outer(), lurn.zeros(3, 2, 9))
    fails("input has 9 features; expected 8", Outer(), lurn.zeros(3, 2, 9))
    fails("embed", CharLM(5, 4), lurn.full({ 2, 2 }, 6):to "int64")
  end)
end)

describe("memory", function()
  it("comes back with the model", function()
    collectgarbage()
    collectgarbage()
    local before = (lurn.memory())
    local weak = setmetatable({}, { __mode = "v" })
    do
      local m = CharLM(11, 32)
      local _, state = m(lurn.randint(1, 11, 4, 2))
      state.h:sum():backward()
      weak[1] = m
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.equal(before, (lurn.memory()))
  end)
end)

describe("clone", function()
  it("is a module of its own with the same numbers", function()
    local Net = nn.Module:extend "Net"
    function Net:init()
      self.rnn = nn.LSTM(3, 4, { num_layers = 2, dropout = 0.5 })
      self.head = nn.Linear(4, 3)
      self.same = self.head
      self:register_buffer("mean", lurn.ones(3))
      self.notes = { count = 1, inner = { 2 } }
      self.fn = print
    end
    function Net:forward(x) return self.head((self.rnn(x - self.mean))) end
    local net = Net()
    net:eval()
    net.head.bias.requires_grad = false
    local copy, x = net:clone(), lurn.randn(5, 2, 3)
    assert.equal(getmetatable(net), getmetatable(copy))
    assert.same(net:state_names(), copy:state_names())
    assert.equal(tostring(net), tostring(copy))
    assert.is_true(net(x):equal(copy(x)))
    assert.is_true(rawequal(copy.same, copy.head))
    assert.is_false(rawequal(copy.head, net.head))
    assert.same({ false, false, true }, { copy.training, copy.head.bias.requires_grad, copy.head.weight.requires_grad })
    lurn.no_grad(function()
      for _, p in ipairs(copy:parameters()) do p:zero_() end
      copy.mean:zero_()
    end)
    copy.notes.inner[1] = 3
    assert.equal(0, copy(x):abs():sum():item())
    assert.is_true(net(x):abs():sum():item() > 0)
    assert.same({ 3, 2 }, { net.mean:sum():item(), net.notes.inner[1] })
    assert.equal(print, copy.fn)
    copy:train()(x):sum():backward()
    assert.is_nil(net.head.weight.grad)
    assert.is_not_nil(copy.head.weight.grad)
  end)

  it("copies containers, and float and double convert", function()
    local list = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.ModuleList { nn.Dropout(0.1) })
    assert.equal(tostring(list), tostring(list:clone()))
    assert.equal("float64", list:double()[1].weight.dtype)
    assert.equal("float32", list:float()[1].weight.dtype)
  end)
end)
