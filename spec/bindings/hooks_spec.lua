-- Hooks on gradients, and results that keep theirs.

local lurn = require "lurn"
local nn = lurn.nn

local function leaf(values) return lurn.tensor(values, { dtype = "float64", requires_grad = true }) end
local function values(t) return t and t:totable() end

local function failure(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return message
end

describe("retain_grad", function()
  it("keeps and accumulates the gradient of a result", function()
    local x = leaf { 1, 2 }
    local y = (x * 2):retain_grad()
    assert.is_true(y.retains_grad)
    assert.is_false(x:retain_grad().retains_grad)
    local z = (y * 3):sum()
    z:backward { retain_graph = true }
    assert.same({ 3, 3 }, values(y.grad))
    assert.is_nil(z.grad)
    lurn.grad(z, x, { retain_graph = true })
    assert.same({ 6, 6 }, values(y.grad))
    assert.same({ 6, 6 }, values(x.grad))
    y.grad = nil
    z:backward()
    assert.same({ 3, 3 }, values(y.grad))
  end)

  it("keeps what hooks made of it, and of the value in the end", function()
    local x = leaf { 1, 2 }
    local y = (x * 2):retain_grad()
    y:register_hook(function(g) return g * 10 end)
    y:mul_(4)
    y:sum():backward()
    assert.same({ 1, 1 }, values(y.grad))
    assert.same({ 80, 80 }, values(x.grad))
  end)

  it("needs a tensor that a gradient comes to", function()
    assert.matches("retain_grad: the tensor does not require a gradient",
      failure(lurn.ones(2).retain_grad, lurn.ones(2)))
    assert.matches("retain_grad: self: expected a tensor, got an integer; methods are called with a colon",
      failure(lurn.ones(1).retain_grad, 3))
  end)
end)

describe("register_hook", function()
  it("sees the whole gradient once, in the order of registration", function()
    local x, seen = leaf { 1, 2 }, {}
    local y = x * 2
    local function note(name, factor)
      return function(g)
        seen[#seen + 1] = { name, g:reshape(-1)[1]:item(), lurn.grad_enabled() }
        return factor and g * factor
      end
    end
    x:register_hook(note("x", 2))
    y:register_hook(note("first", 5))
    y:register_hook(note "second")
    local z = (y * 3 + y * y):sum()
    z:register_hook(note "z")
    z:backward()
    assert.same({ { "z", 1, false }, { "first", 7, false }, { "second", 35, false }, { "x", 70, false } }, seen)
    assert.same({ 140, 220 }, values(x.grad))
  end)

  it("takes anything that can be called", function()
    local x = leaf { 1 }
    x:register_hook(setmetatable({}, { __call = function(_, g) return g + 4 end }))
    x:sum():backward()
    assert.same({ 5 }, values(x.grad))
  end)

  it("ends with its handle", function()
    local x, n = leaf { 1 }, 0
    local handle = x:register_hook(function() n = n + 1 end)
    x:sum():backward()
    handle:remove()
    handle:remove()
    x:sum():backward()
    assert.equal(1, n)
    do
      local inside <close> = x:register_hook(function() n = n + 10 end) -- luacheck: ignore inside
      x:sum():backward()
    end
    x:sum():backward()
    assert.equal(11, n)
  end)

  it("runs without its tensor and its handle", function()
    local x, n = leaf { 1 }, 0
    local last
    do
      local y = x * 2
      y:register_hook(function(g) n = n + g:item() end)
      last = y * 3
    end
    for _ = 1, 3 do collectgarbage() end
    last:backward()
    assert.equal(3, n)
  end)

  it("runs in lurn.grad, also on its inputs", function()
    local x, other = leaf { 1 }, leaf { 1 }
    local y = x * 2
    x:register_hook(function(g) return g * 10 end)
    y:register_hook(function(g) return g * 5 end)
    other:register_hook(function() error "not on the way" end)
    local z = y + other
    assert.same({ 100 }, values((lurn.grad(z, x, { retain_graph = true }))))
    assert.same({ 5 }, values((lurn.grad(z, y))))
  end)

  it("may change the list and go backward itself", function()
    local x, n, inner = leaf { 3 }, 0, nil
    local handle
    handle = x:register_hook(function()
      handle:remove()
      x:register_hook(function() n = n + 1 end)
      inner = lurn.enable_grad(function() return lurn.grad(x * x, x) end)
    end)
    x:sum():backward()
    assert.equal(1, n) -- by the backward inside
    assert.same({ 6 }, values(inner))
    assert.same({ 1 }, values(x.grad))
    local y = x * 2
    y:register_hook(function() lurn.enable_grad(function() (y * 1):backward() end) end)
    assert.matches("a backward through mul is running already", failure(y.backward, y))
  end)

  it("says what it cannot take", function()
    assert.matches("register_hook: the tensor does not require a gradient",
      failure(lurn.ones(2).register_hook, lurn.ones(2), print))
    assert.matches("register_hook: expected a function, got an integer", failure(leaf(1).register_hook, leaf(1), 3))
    local function with(fn)
      local y = leaf { 1, 2 } * 2
      y:register_hook(fn)
      return failure(function() y:sum():backward() end)
    end
    assert.matches("register_hook: the function gave a string; expected a tensor or nil",
      with(function() return "x" end))
    assert.matches("backward: a hook gave a gradient of float64 %(3%) for a tensor of float64 %(2%)",
      with(function() return lurn.ones(3, { dtype = "float64" }) end))
    assert.matches("a hook gave a gradient of float32 %(2%) for a tensor of float64 %(2%)",
      with(function() return lurn.ones(2) end))
    assert.matches("remove: self: expected a lurn.Hook, got nothing", failure(leaf(1):register_hook(print).remove))
  end)

  it("changes no gradient when it fails, and can be tried again", function()
    local x, w = leaf { 1, 2 }, leaf { 3, 4 }
    local y = (x * w):retain_grad()
    local z, mine = (y * y):sum(), {}
    for _, t in ipairs { x, y } do
      local handle = t:register_hook(function() error(mine) end)
      assert.equal(mine, failure(z.backward, z, { retain_graph = true }))
      assert.is_nil(x.grad or w.grad or y.grad)
      handle:remove()
    end
    z:backward()
    assert.same({ 18, 64 }, values(x.grad))
  end)

  it("counts once for parameters in checkpoints", function()
    local layer, n = nn.Linear(2, 2):double(), 0
    layer.weight:register_hook(function(g)
      n = n + 1
      return g * 2
    end)
    local x = lurn.ones(1, 2, { dtype = "float64" });
    (layer(layer(x))):sum():backward()
    local plain = layer.weight.grad
    layer:zero_grad()
    nn.utils.checkpoint(layer, (nn.utils.checkpoint(layer, x))):sum():backward()
    assert.is_true(lurn.allclose(plain, layer.weight.grad))
    assert.equal(2, n)
  end)

  it("sees what a function in a checkpoint computes anew", function()
    local x, seen = leaf { 2 }, {}
    nn.utils.checkpoint(function(a)
      local y = a * 3
      y:register_hook(function(g) seen[#seen + 1] = g:item() end)
      return y * y
    end, x):sum():backward()
    assert.same({ 12 }, seen)
    assert.same({ 36 }, values(x.grad))
  end)
end)

describe("functions of hooks", function()
  local function count(weak)
    local n = 0
    for _ in pairs(weak) do n = n + 1 end
    return n
  end

  it("go with the graph", function()
    local weak = setmetatable({}, { __mode = "k" })
    local x = leaf { 1 }
    for i = 1, 20 do
      local y, token = x * 2, {}
      weak[token] = true
      y:register_hook(function() return token and y end)
      if i % 2 == 0 then y:backward() else y:free() end
    end
    for _ = 1, 3 do collectgarbage() end
    assert.equal(0, count(weak))
  end)

  it("do not keep the cycles that they are part of", function()
    local weak = setmetatable({}, { __mode = "k" })
    local kept = leaf { 1 }
    for _ = 1, 2000 do
      local x, token = leaf { 1 }, {}
      local y = x * kept
      local z = (y * 2):sum()
      weak[token] = true
      y:register_hook(function() return { token, y, function() return z end } end)
      x:register_hook(setmetatable({ x }, { __call = function() return token end }))
    end
    assert.is_true(count(weak) <= 256)
    lurn.collect()
    assert.equal(0, count(weak))
  end)

  it("live as long as a gradient may come, whatever holds the graph", function()
    local x, seen, roots = leaf { 1 }, {}, {}
    local function add(name, hold)
      local y, object = x * 2, setmetatable({}, { __gc = function() seen[name .. " gone"] = true end })
      y:register_hook(function(g) seen[name] = object and y:item() + g:item() end)
      hold(y * 3)
    end
    add("held by a table", function(z) roots[1] = z end)
    add("held by a closure", function(z) roots[2] = function() return z end end)
    add("held by a later result", function(z) roots[3] = (z * 1):exp() end)
    add("held by a custom function", function(z)
      local same = { forward = function(_, a) return a * 1 end, backward = function(_, g) return g end }
      roots[4] = lurn.custom_function(same)(z)
    end)
    add("held by another hook", function(z)
      local w = x * 1
      w:register_hook(function() lurn.enable_grad(function() (z * 1):backward() end) end)
      roots[5] = w * 1
    end)
    add("held by a base", function(z) roots[6] = z[1] end)
    for _ = 1, 300 do -- dropped ones, so that cycles are looked for
      local y = x * 2
      y:register_hook(function() return y end)
    end
    for _ = 1, 3 do collectgarbage() end
    for i, root in pairs(roots) do
      root = type(root) == "function" and root() or root
      root:backward()
      assert.is_nil(seen[i])
    end
    for _, name in ipairs { "table", "closure", "custom function", "another hook", "base" } do
      name = name:find "^another" and "held by " .. name or "held by a " .. name
      assert.equal(5, seen[name], name)
      assert.is_nil(seen[name .. " gone"], name)
    end
    assert.is_true(seen["held by a later result"] > 5)
  end)

  it("are called in finalizers of what goes with them", function()
    local n = 0
    for i = 1, 3 do
      local x = leaf { 1 }
      local y = x * 2
      y:register_hook(function() n = n + (y and 1) end)
      setmetatable({}, { __gc = function() (y * i):backward() end })
    end
    lurn.collect()
    assert.equal(3, n)
  end)

  it("live when finalizers of an earlier collection register them", function()
    local former = collectgarbage "incremental"
    local x, y, hooks, calls, finalized = leaf { 1 }, leaf { 1 } * 2, 0, 0, 0
    y:register_hook(function() return y end)
    collectgarbage()
    collectgarbage "stop"
    for _ = 1, 2000 do
      setmetatable({}, { __gc = function()
        finalized, hooks = finalized + 1, hooks + 1
        x:register_hook(function() calls = calls + 1 end)
      end })
    end
    while finalized == 0 do collectgarbage("step", 0) end
    assert.is_true(finalized < 2000)
    lurn.collect()
    collectgarbage "restart"
    collectgarbage(former)
    x:sum():backward()
    assert.equal(2000, hooks)
    assert.equal(2000, calls)
  end)

  it("are found in long chains", function()
    local weak = setmetatable({}, { __mode = "k" })
    local first = leaf { 1 } * 1
    local last = first
    for _ = 1, 20000 do
      local y, token = leaf { 1 } * 2, {}
      weak[token] = true
      last:register_hook(function() return token, y end)
      last = y
    end
    last = nil -- luacheck: ignore last
    lurn.collect()
    assert.equal(20000, count(weak))
    first = nil -- luacheck: ignore first
    lurn.collect()
    assert.equal(0, count(weak))
  end)
end)
