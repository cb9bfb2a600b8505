-- Hooks around the forward of modules.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails = helper.fails

-- Gives back how many arguments there were, and these.
local Echo = nn.Module:extend "Echo"
function Echo:forward(...) return select("#", ...), ... end -- luacheck: ignore 212

describe("forward hooks", function()
  it("see and replace arguments and results, in the order of registration", function()
    local echo, seen = Echo(), {}
    echo:register_forward_pre_hook(function(module, args)
      seen[#seen + 1] = { "before", module == echo, args.n, args[1], args[3] }
      return args[1] + 1, nil, nil
    end)
    echo:register_forward_pre_hook(function(_, args) seen[#seen + 1] = { "again", args.n, args[1] } end)
    echo:register_forward_hook(function(module, args, results)
      seen[#seen + 1] = { "after", module == echo, args.n, args[1], results.n, results[1] }
      return results[1] * 10, "more"
    end)
    echo:register_forward_hook(function(_, _, results) seen[#seen + 1] = { "last", results.n, results[1] } end)
    assert.same({ 30, "more" }, { echo(1, nil, "c") })
    assert.same({ { "before", true, 3, 1, "c" }, { "again", 3, 2 }, { "after", true, 3, 2, 4, 3 }, { "last", 2, 30 } },
      seen)
    assert.equal(1, (echo:forward(5))) -- passes them by
    assert.same({ 30, "more" }, { echo(7) })
  end)

  it("run for modules in others, layers that keep a short way included", function()
    local lstm, n = nn.LSTM(3, 4), 0
    local model = nn.Sequential(nn.Linear(2, 3), lstm)
    local x = lurn.randn(5, 2, 2)
    for _ = 1, 3 do model(x) end
    local expected = model(x)
    local handle = lstm:register_forward_hook(function(_, _, results)
      n = n + 1
      assert.same({ 1, 2, 4 }, { table.unpack(results[2].h.shape) })
      return results[1] * 2, results[2]
    end)
    for _ = 1, 2 do assert.is_true(lurn.equal(expected * 2, model(x))) end
    handle:remove()
    assert.is_true(lurn.equal(expected, model(x)))
    assert.equal(2, n)
  end)

  it("end with their handles, also while they run", function()
    local echo, seen = Echo(), {}
    local first, second
    first = echo:register_forward_hook(function()
      seen[#seen + 1] = "first"
      first:remove()
      second:remove()
      echo:register_forward_hook(function() seen[#seen + 1] = "new" end)
    end)
    second = echo:register_forward_hook(function() seen[#seen + 1] = "second" end)
    echo()
    assert.same({ "first" }, seen)
    echo()
    assert.same({ "first", "new" }, seen)
    first:remove()
    do
      local inside <close> = echo:register_forward_pre_hook(function() seen[#seen + 1] = "inside" end) -- luacheck: ignore
      echo()
    end
    echo()
    assert.same({ "first", "new", "inside", "new", "new" }, seen)
  end)

  it("are no part of the state, and clones have them", function()
    local model, n = nn.Sequential(nn.Linear(2, 2)), 0
    local names = model:state_names()
    local handle = model[1]:register_forward_hook(function() n = n + 1 end)
    assert.same(names, model:state_names())
    local copy = model:clone()
    copy(lurn.ones(1, 2))
    assert.equal(1, n)
    handle:remove()
    model(lurn.ones(1, 2))
    assert.equal(1, n)
    copy(lurn.ones(1, 2))
    assert.equal(2, n)
  end)

  it("raise with the path of the module, and leave it as it was", function()
    local model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    local handle = model[2]:register_forward_pre_hook(function(_, args) lurn.matmul(args[1], lurn.ones(5, 5)) end)
    local ok, message = pcall(model, lurn.ones(1, 2))
    assert.is_false(ok)
    assert.matches(": 1 %(Tanh%): matmul: ", message)
    handle:remove()
    model(lurn.ones(1, 2))
    fails("Linear: register_forward_hook: fn is 3; expected a function", model[1].register_forward_hook, model[1], 3)
    fails("Linear: register_forward_pre_hook: fn is nil; expected a function", model[1].register_forward_pre_hook,
      model[1])
    fails("register_forward_hook: called without its module", model[1].register_forward_hook, 3)
    fails("remove: called without its hook", handle.remove)
  end)

  it("may yield", function()
    local echo = Echo()
    echo:register_forward_hook(function() coroutine.yield "inside" end)
    local thread = coroutine.wrap(function() return (echo(1, 2)) end)
    assert.equal("inside", thread())
    assert.equal(2, thread())
  end)
end)

describe("backward hooks", function()
  local function texts(list)
    local out = {}
    for i = 1, list.n do out[i] = list[i] and list[i]:totable() or "none" end
    return out
  end

  local Product = nn.Module:extend "Product"
  function Product:init(value) self.factor = nn.Parameter(lurn.full({ 2 }, value)) end
  function Product:forward(a, b) return a * b * self.factor, a:sum() end

  it("see the gradients of arguments and results, and replace the former", function()
    local product, seen = Product(3), {}
    local a, b = lurn.tensor({ 1, 2 }, { requires_grad = true }), lurn.tensor { 4, 5 }
    product:register_full_backward_hook(function(module, inputs, outputs)
      seen[#seen + 1] = { module == product, texts(inputs), texts(outputs) }
      return inputs[1] * 10, nil
    end)
    local handle = product:register_full_backward_hook(function(_, inputs) seen[#seen + 1] = inputs[1]:totable() end)
    local y, total = product(a, b);
    (y * 2 + total):sum():backward()
    assert.same({ { true, { { 26, 32 }, "none" }, { { 2, 2 }, 2 } }, { 260, 320 } }, seen)
    assert.same({ 260, 320 }, a.grad:totable())
    assert.same({ 8, 20 }, product.factor.grad:totable())
    handle:remove()
    product(a, b):sum():backward()
    assert.same({ { 12, 15 }, "none" }, seen[3][2])
    assert.same({ { 1, 1 }, "none" }, seen[3][3])
    assert.equal(3, #seen)
  end)

  -- Numbers of PyTorch 1.13.
  it("give what PyTorch's give, in models too", function()
    local model = nn.Sequential(nn.Linear(2, 2, { bias = false }), nn.Tanh())
    lurn.no_grad(function() model[1].weight:copy_(lurn.tensor { { 0.1, 0.2 }, { 0.3, 0.4 } }) end)
    local seen
    model[2]:register_full_backward_hook(function(_, inputs, outputs) seen = { inputs[1], outputs[1] } end)
    model(lurn.tensor { { 1, 2 } }):sum():backward()
    assert.is_true(lurn.allclose(lurn.tensor { { 0.7864, 0.3592 } }, seen[1], { atol = 1e-4 }))
    assert.same({ { 1, 1 } }, seen[2]:totable())
    assert.is_true(lurn.allclose(lurn.tensor { { 0.7864, 1.5729 }, { 0.3592, 0.7184 } }, model[1].weight.grad,
      { atol = 1e-4 }))
  end)

  it("are called with the results' gradients where no argument has one", function()
    local embed, seen = nn.Embedding(3, 2), {}
    embed:register_full_backward_hook(function(_, inputs, outputs) seen = { texts(inputs), texts(outputs) } end)
    embed(lurn.tensor({ 2, 3 }, { dtype = "int64" })):sum():backward()
    assert.same({ { "none" }, { { { 1, 1 }, { 1, 1 } } } }, seen)
    seen = nil
    lurn.no_grad(function() return embed(lurn.tensor({ 1 }, { dtype = "int64" })) end)
    assert.is_nil(seen)
  end)

  it("leave the numbers of layers as they are, and nothing behind", function()
    local layer, x = nn.LSTM(3, 4), lurn.randn(5, 2, 3, { requires_grad = true })
    layer(x):sum():backward()
    local of_x, of_w = x.grad, layer.weight_hh_l0.grad
    local n, weak = 0, setmetatable({}, { __mode = "k" })
    layer:register_full_backward_hook(function(_, inputs, outputs)
      n = n + inputs.n + outputs.n
      weak[inputs] = true
    end)
    x.grad = nil
    layer:zero_grad()
    layer(x):sum():backward()
    assert.is_true(lurn.equal(of_x, x.grad))
    assert.is_true(lurn.equal(of_w, layer.weight_hh_l0.grad))
    assert.equal(3, n)
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(next(weak))
    local copy = layer:clone()
    copy(x):sum():backward()
    assert.equal(6, n)
  end)

  it("raise out of backward", function()
    local model = nn.Linear(2, 2)
    local handle = model:register_full_backward_hook(function() return 3 end)
    local x = lurn.ones(1, 2, { requires_grad = true })
    fails("register_full_backward_hook: backward gave an integer as gradient 1; expected a tensor or nil", function()
      model(x):sum():backward()
    end)
    assert.is_nil(x.grad)
    handle:remove()
    model(x):sum():backward()
    assert.equal(2, x.grad:numel())
  end)
end)
