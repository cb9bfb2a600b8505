-- Where errors point: the user's line, the layer; and what they say of wrong arguments.

local lurn = require "lurn"

local here = debug.getinfo(1, "S").short_src

local function line() return debug.getinfo(2, "l").currentline end

-- Runs fn, which must fail at the line `at` of this file, and gives the text behind the position.
local function failure_at(at, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  local position = ("%s:%d: "):format(here, at)
  assert.equal(position, message:sub(1, #position))
  return message:sub(#position + 1)
end

local a, b = lurn.ones(2, 3), lurn.ones(4, 5)

describe("the position of an error", function()
  it("is the user's line for ops and operators", function()
    local at
    assert.equal("add: shapes (2, 3) and (4, 5) do not broadcast", failure_at(line() + 1, function()
      return (a + b), 1
    end))
    assert.matches("^matmul: ", failure_at(line() + 1, function()
      local _ = a:matmul(b)
    end))
    at = line() + 1
    local function inner() local _ = lurn.cat({ a, b }, 1) end
    local function outer() inner() return 1 end
    assert.matches("^cat: ", failure_at(at, outer))
  end)

  it("is the user's line for fields, indexing and creation", function()
    assert.equal('a tensor has no field or method "shap"', failure_at(line() + 1, function()
      return a.shap, 1
    end))
    assert.equal('a tensor has no field "shape" to set', failure_at(line() + 1, function()
      a.shape = { 1 }
    end))
    assert.matches("^select: index 3 in dimension 1 of size 2", failure_at(line() + 1, function()
      return a[3], 1
    end))
    assert.matches("^requires_grad: only float tensors", failure_at(line() + 1, function()
      lurn.zeros(2, { dtype = "int64" }).requires_grad = true
    end))
    assert.matches("^zeros: ", failure_at(line() + 1, function()
      return lurn.zeros(-1), 1
    end))
  end)

  it("is the user's line whatever lies between in lurn's scripts", function()
    assert.matches("^chunk: dimension 7 of a tensor with 2", failure_at(line() + 1, function()
      return a:chunk(2, 7), 1
    end))
    assert.matches("^allclose: ", failure_at(line() + 1, function()
      return lurn.allclose(a, b), 1
    end))
    assert.matches("^no_grad: ", failure_at(line() + 1, function()
      lurn.no_grad(5)
    end))
    assert.matches("^custom_function: ", failure_at(line() + 1, function()
      lurn.custom_function {}
    end))
    assert.matches("^add: ", failure_at(line() + 2, function()
      lurn.no_grad(lurn.enable_grad, lurn.scope, function()
        local _ = a + b
      end)
    end))
  end)

  it("is the user's line in callbacks", function()
    local f = lurn.custom_function {
      forward = function(_, x) return x * 1 end,
      backward = function(_, g)
        local _ = g + b
      end,
    }
    local at = line() - 3
    local x = lurn.ones(2, 3, { requires_grad = true })
    assert.matches("^add: ", failure_at(at, function() f(x):sum():backward() end))
    local g = lurn.custom_function { forward = function(_, y) return y * 1 end, backward = function() return 5 end }
    assert.matches("^custom_function: backward gave an integer as gradient 1", failure_at(line() + 1, function()
      g(x):sum():backward()
    end))
  end)

  it("is in the coroutine that runs", function()
    local resume = coroutine.wrap(function()
      local _ = a + b
    end)
    assert.matches("^add: ", failure_at(line() - 2, resume))
  end)

  it("is left out where there is no script", function()
    local ok, message = pcall(lurn.add, a, b) -- pcall in between: the line of the call
    assert.is_false(ok)
    assert.matches("add: shapes", message)
    assert.matches("^add: shapes", select(2, coroutine.resume(coroutine.create(lurn.add), a, b)))
  end)
end)

describe("the layer of an error", function()
  local nn = lurn.nn
  local Inner = nn.Module:extend "Inner"
  function Inner:init() self.proj = nn.Linear(3, 2) end
  function Inner:forward(x) return self.proj(x) end
  local Outer = nn.Module:extend "Outer"
  function Outer:init() self.blocks = nn.Sequential(Inner(), Inner()) end
  function Outer:forward(x)
    local y = self.blocks(x)
    return y
  end

  it("is its path below the module that was called, and its class", function()
    -- Inner calls proj in tail position, so that its own line is gone; its name in the path is not.
    local model, at = Outer(), line() - 6
    assert.matches("^blocks%.0%.proj: Linear: input", failure_at(at, function()
      local _ = model(lurn.ones(1, 4))
    end))
  end)

  it("is told with every name on the way", function()
    local Deep = nn.Module:extend "Deep"
    function Deep:init() self.inside = nn.ModuleDict { first = nn.Linear(3, 2) } end
    function Deep:forward(x)
      local y = self.inside.first(x)
      return y
    end
    local Top = nn.Module:extend "Top"
    function Top:init() self.body = Deep() end
    function Top:forward(x)
      local y = self.body(x)
      return y
    end
    local model, at = Top(), line() - 9
    assert.matches("^body%.inside%.first: Linear: input", failure_at(at, function()
      local _ = model(lurn.ones(1, 4))
    end))
  end)

  it("is the module itself when its own code fails", function()
    local Own = nn.Module:extend "Own"
    function Own:forward(x) -- luacheck: ignore self
      local y = x + b
      return y
    end
    local at = line() - 3
    local holder = nn.Sequential(Own())
    assert.matches("^0 %(Own%): add: ", failure_at(at, function()
      local _ = holder(a)
    end))
    assert.matches("^Own: add: ", failure_at(at, function()
      local _ = Own()(a)
    end))
  end)
end)

describe("wrong arguments", function()
  it("are told as they were given", function()
    local optim = lurn.optim_new "SGD"
    local _, text = pcall(optim.get, optim, 2 ^ 32 + 1, "lr")
    assert.matches("SGD: there is no group 4294967297$", text)
  end)

  local x = lurn.ones(2, 3)

  local function message(fn, ...)
    local ok, text = pcall(fn, ...)
    assert.is_false(ok)
    return text
  end

  it("are named with op, parameter and what came", function()
    assert.matches("matmul: b is missing", message(x.matmul, x))
    assert.matches("matmul: b is missing", message(x.matmul, x, nil))
    assert.matches("matmul: b: expected a tensor, got a string", message(x.matmul, x, "y"))
    assert.matches("add: b: expected a tensor or a number, got a table", message(x.add, x, { 1 }))
    assert.matches("softmax: dim: expected a whole number, got 1.5", message(x.softmax, x, 1.5))
    assert.matches("softmax: dim is 0; counting starts at 1", message(x.softmax, x, 0))
    assert.matches("softmax: dimension 3 of a tensor with 2; expected 1%.%.2 or %-2%.%.%-1", message(x.softmax, x, 3))
    assert.matches('to: there is no dtype "float16"; expected float32', message(x.to, x, "float16"))
    assert.matches("topk: there is no option biggest", message(x.topk, x, 1, { biggest = true }))
    assert.matches("sum: keepdim: expected true or false, got an integer", message(x.sum, x, { keepdim = 1 }))
    assert.matches("matmul: too many arguments: 3 given, 2 used", message(x.matmul, x, x, 5))
    assert.matches("cat: tensors%[2%]: expected a tensor, got a string", message(lurn.cat, { x, "y" }))
  end)

  it("freed tensors are named as such, wherever they stand", function()
    local gone = lurn.ones(2, 3)
    gone:free()
    for _, use in ipairs {
      function() return gone + 1 end,
      function() return x + gone end,
      function() return gone.shape end,
      function() return gone[1] end,
      function() gone[1] = 5 end,
      function() x[1] = gone end,
      function() return gone:sum() end,
      function() return lurn.cat { x, gone } end,
      function() return #gone end,
      function() return -gone end,
      function() gone:backward() end,
      function() lurn.grad(gone, x) end,
      function() x.grad = gone end,
      function() gone.requires_grad = true end,
    } do
      assert.matches("^spec/bindings/errors_spec.lua:%d+: this tensor was freed$", message(use))
    end
    gone:free()
  end)

  it("settings are checked", function()
    assert.matches("set_num_threads: %-1 is not between 1 and 256", message(lurn.set_num_threads, -1))
    assert.matches("set_num_threads: 0 is not between 1 and 256", message(lurn.set_num_threads, 0))
    assert.matches("set_num_threads: 300 is not between 1 and 256", message(lurn.set_num_threads, 300))
    assert.matches("set_num_threads: n: expected a whole number, got a string", message(lurn.set_num_threads, "2"))
    assert.matches("manual_seed: seed: expected a whole number, got nothing", message(lurn.manual_seed))
    assert.matches("manual_seed: seed: expected a whole number, got 0.5", message(lurn.manual_seed, 0.5))
    assert.matches("set_rng_state: block: expected a whole number", message(lurn.set_rng_state, 1))
  end)

  it("records have the fields they have", function()
    local record = lurn.record()
    assert.is_nil(record.gates)
    assert.matches('a record has no field "gate"; it has gates, cell, hidden',
      message(function() return record.gate end))
    assert.matches("record: field: expected a string, got an integer", message(function() return record[1] end))
  end)
end)

describe("settings", function()
  it("are read back", function()
    local threads = lurn.get_num_threads()
    lurn.set_num_threads(3)
    assert.equal(3, lurn.get_num_threads())
    lurn.set_num_threads(threads)
    lurn.manual_seed(7)
    local seed, block = lurn.rng_state()
    assert.same({ 7, 0 }, { seed, block })
    local first = lurn.randn(5)
    seed, block = lurn.rng_state()
    assert.is_true(block > 0)
    local second = lurn.randn(5)
    lurn.set_rng_state(seed, block)
    assert.is_true(lurn.randn(5):equal(second))
    lurn.manual_seed(7)
    assert.is_true(lurn.randn(5):equal(first))
    lurn.manual_seed(-1)
    assert.equal(-1, (lurn.rng_state()))
  end)

  it("tell the machine", function()
    local config = lurn.config()
    assert.equal(lurn.version, config.version)
    for _, name in ipairs { "lua", "isa", "cpu_isa", "blas" } do assert.equal("string", type(config[name])) end
    for _, name in ipairs { "cores", "threads", "memory_live" } do assert.equal("integer", math.type(config[name])) end
  end)
end)

describe("the module", function()
  it("is one for a Lua state, however often it is loaded", function()
    local former = package.loaded["lurn.core"]
    package.loaded["lurn.core"] = nil
    assert.equal(former, require "lurn.core")
    package.loaded["lurn.core"] = former
  end)
end)
