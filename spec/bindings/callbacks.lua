-- Every kind of function that lurn calls, each as a function of what happens inside of it: for callbacks_spec.lua, and
-- spec/endurance/callbacks.lua, which does it a hundred thousand times.

local lurn = require "lurn"
local nn = lurn.nn

local function leaf() return lurn.ones(3, { requires_grad = true }) end

local callbacks = {}

function callbacks.no_grad(happen)
  return lurn.no_grad(function() return happen(lurn.ones(2)) end)
end

function callbacks.enable_grad(happen)
  return lurn.no_grad(lurn.enable_grad, function() return happen(leaf() * 2) end)
end

function callbacks.scope(happen)
  return lurn.scope(function() return happen(lurn.ones(2)) end)
end

callbacks["scopes in scopes"] = function(happen)
  return lurn.scope(function()
    local a = lurn.ones(4)
    return lurn.scope(function() return happen(a * 2) end)
  end)
end

callbacks["forward of a custom function"] = function(happen)
  return lurn.custom_function {
    forward = function(ctx, a)
      ctx:save_for_backward(a)
      happen(a)
      return a * 2
    end,
    backward = function(_, g) return g * 2 end,
  }(leaf())
end

callbacks["backward of a custom function"] = function(happen)
  local x = leaf()
  local y = lurn.custom_function {
    forward = function(ctx, a)
      ctx.kept = a * 3
      return a * 2
    end,
    backward = function(ctx, g)
      happen(ctx.kept)
      return g * 2
    end,
  }(x)
  y:sum():backward()
  return x.grad
end

callbacks["backward in lurn.grad"] = function(happen)
  local x = leaf()
  local y = lurn.custom_function {
    forward = function(_, a) return a * 2 end,
    backward = function(_, g)
      happen(g)
      return g * 2
    end,
  }(x)
  return lurn.grad(y:sum(), x)
end

callbacks["hook of a leaf"] = function(happen)
  local x = leaf()
  local y = x * 2
  x:register_hook(function(g)
    happen(g)
    return g * 2
  end)
  y:sum():backward()
  return x.grad
end

callbacks["hook of a result"] = function(happen)
  local x = leaf()
  local y = (x * 2):retain_grad()
  local handle
  handle = y:register_hook(function(g)
    handle:remove()
    happen(y)
    return g * 2
  end)
  y:sum():backward()
  return y.grad
end

callbacks["hook in lurn.grad"] = function(happen)
  local x = leaf()
  local y = x * 2
  local handle <close> = y:register_hook(function(g) -- luacheck: ignore handle
    happen(g)
    return g
  end)
  return lurn.grad(y:sum(), x)
end

-- Never run: the cycle of the hook and its tensor is dropped.
callbacks["hook that leads back"] = function(happen)
  local x = leaf()
  local y = x * 2
  local z = happen(y * 2)
  y:register_hook(function() return y and z end)
  x:register_hook(function() return x end)
  return z
end

function callbacks.gradcheck(happen)
  local x = lurn.ones(2, { dtype = "float64", requires_grad = true })
  return lurn.gradcheck(function(a)
    happen(a)
    return (a * a):sum()
  end, { x })
end

callbacks["forward of a module"] = function(happen)
  local Inner, Outer = nn.Module:extend "Inner", nn.Module:extend "Outer"
  function Inner:forward(x) happen(x) return x * 2 end -- luacheck: ignore 212
  function Outer:init() self.inner = Inner() end
  function Outer:forward(x) return self.inner(x) end
  return Outer()(lurn.ones(2))
end

callbacks["hooks of a module"] = function(happen)
  local linear = nn.Linear(2, 2)
  linear:register_forward_pre_hook(function(_, args) return args[1] * 2 end)
  linear:register_forward_hook(function(_, _, results) return happen(results[1]) end)
  return linear(lurn.ones(1, 2))
end

callbacks["backward hook of a module"] = function(happen)
  local linear = nn.Linear(2, 2)
  linear:register_full_backward_hook(function(_, inputs) return happen(inputs[1]) end)
  local x = lurn.ones(1, 2, { requires_grad = true })
  linear(x):sum():backward()
  return x.grad
end

callbacks["init of a module"] = function(happen)
  local Model = nn.Module:extend "Model"
  function Model:init()
    self.linear = nn.Linear(1, 1)
    happen(self.linear.weight)
  end
  return Model()
end

callbacks["apply of a module"] = function(happen)
  return nn.Linear(1, 1):apply(function(module) happen(module.weight) end)
end

-- With a seed, so that the random state is switched and put back too.
callbacks["model of lurn.sample"] = function(happen)
  return lurn.sample { seed = 3, prompt = { 1 }, length = 2, model = function(ids)
    happen(ids)
    return lurn.ones(1, 1, 4)
  end }
end

callbacks["on_token of lurn.sample"] = function(happen)
  return lurn.sample { seed = 3, prompt = { 1 }, length = 2, model = function() return lurn.ones(1, 1, 4) end,
    on_token = function() happen(lurn.ones(2)) end }
end

callbacks["metamethods of elements"] = function(happen)
  return lurn.tensor(setmetatable({}, { __len = function() return 2 end, __index = function(_, i)
    happen(lurn.ones(2))
    return i
  end }))
end

callbacks["metamethods of options"] = function(happen)
  return lurn.ones(2):sum(setmetatable({}, { __index = function() happen(lurn.ones(2)) end }))
end

callbacks["__close"] = function(happen)
  local t <close> = lurn.ones(3)
  local _ <close> = setmetatable({}, { __close = function() happen(t) end })
  return t:sum()
end

callbacks["__gc"] = function(happen)
  setmetatable({}, { __gc = function() happen(lurn.ones(2)) end })
  return lurn.ones(2)
end

-- ---- What happens -----------------------------------------------------------------------------

local mode = "generational"

local events = {
  function() error("mine", 0) end,
  function(t) error { t } end,
  function() coroutine.yield "yielded" end,
  function(t) return t end,
  function(t)
    t:free()
    error "freed"
  end,
}

--- Calls one callback for the i-th time, in a coroutine that is left where it yields; what happens inside goes round.
function callbacks.turn(run, i)
  local thread = coroutine.create(function()
    return run(function(t)
      if i % 100 == 0 then collectgarbage() end
      if i % 1000 == 7 then
        mode = mode == "generational" and "incremental" or "generational"
        collectgarbage(mode)
      end
      return events[i % #events + 1](t)
    end)
  end)
  if i % 3 == 0 then
    pcall(run, function(t) return events[i % #events + 1](t) end)
  else
    coroutine.resume(thread)
    if i % 2 == 0 then coroutine.close(thread) end
  end
end

--- Raises unless all that calls switch for their time is as it was before any.
function callbacks.check()
  assert(lurn.grad_enabled(), "gradients stayed off")
  local list = {}
  lurn.scope_open(list)
  local _, outer = lurn.scope_close(list)
  assert(outer == nil, "a scope stayed open")
  local w = leaf();
  (w * w):sum():backward()
  assert(w.grad:sum():item() == 6)
  local ok, message = pcall(nn.Sequential(nn.Linear(2, 2)), lurn.ones(3))
  assert(not ok and message:find(": 0: Linear: ", 1, true), message)
  ok, message = pcall(lurn.matmul, lurn.ones(2, 3), lurn.ones(2, 3))
  assert(not ok and not message:find("Linear", 1, true), message)
end

--- The names of all callbacks, in order.
function callbacks.names()
  local names = {}
  for name in pairs(callbacks) do
    if name ~= "turn" and name ~= "check" and name ~= "names" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return callbacks
