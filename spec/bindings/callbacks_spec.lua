-- Errors, yields and collections inside every function that lurn calls.

local lurn = require "lurn"
local callbacks = require "bindings.callbacks"

local function live()
  for _ = 1, 3 do
    lurn.collect()
    lurn.ones(1):free() -- what finalizers made is kept until something is made outside of them
  end
  return (lurn.memory())
end

describe("inside a callback, errors, yields and collections leave nothing behind:", function()
  for _, name in ipairs(callbacks.names()) do
    it(name, function()
      for i = 1, 20 do callbacks.turn(callbacks[name], i) end
      local before = live()
      local seed, block = lurn.rng_state()
      for i = 1, 300 do callbacks.turn(callbacks[name], i) end
      collectgarbage "generational"
      callbacks.check()
      assert.equal(before, live())
      -- What draws takes the stream further; a switch of the stream must not stay.
      local after_seed = lurn.rng_state()
      assert.equal(seed, after_seed)
      lurn.set_rng_state(seed, block)
    end)
  end
end)

describe("yielding", function()
  it("through the engine says that it cannot", function()
    for _, name in ipairs { "no_grad", "scope", "backward of a custom function", "gradcheck", "model of lurn.sample",
      "backward in lurn.grad", "backward hook of a module", "hook of a leaf", "hook of a result", "hook in lurn.grad",
      "metamethods of elements", "forward of a custom function" } do
      local ok, message = coroutine.resume(coroutine.create(function()
        return callbacks[name](function() return coroutine.yield() end)
      end))
      assert.is_false(ok, name)
      assert.matches("attempt to yield across a C%-call boundary", message, name)
    end
  end)

  it("works where only Lua is between", function()
    for _, name in ipairs { "forward of a module", "hooks of a module", "init of a module", "apply of a module",
      "__close" } do
      local thread = coroutine.create(function()
        callbacks[name](function() return coroutine.yield "inside" end)
        return "done"
      end)
      local _, what = coroutine.resume(thread)
      assert.equal("inside", what, name)
      local turns = 0
      while what == "inside" and turns < 10 do
        _, what = coroutine.resume(thread)
        turns = turns + 1
      end
      assert.equal("done", what, name)
    end
  end)
end)
