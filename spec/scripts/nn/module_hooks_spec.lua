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
