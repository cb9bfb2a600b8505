-- Gradients from Lua: backward, grad, switches, custom functions, scopes.

local lurn = require "lurn"

local function leaf(values) return lurn.tensor(values, { dtype = "float64", requires_grad = true }) end
local function plain(values) return lurn.tensor(values, { dtype = "float64" }) end
local function values(t) return t and t:totable() end

-- Runs fn and returns its error, which must come.
local function failure(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return message
end

-- Live bytes after everything unreachable is gone: functions of the graph first, then what they held.
local function live()
  for _ = 1, 3 do collectgarbage() end
  return (lurn.memory())
end

describe("backward", function()
  it("accumulates", function()
    local x = leaf { 1, 2 }
    local y = (x * x):sum()
    y:backward()
    assert.same({ 2, 4 }, values(x.grad));
    (x * 10):sum():backward()
    assert.same({ 12, 14 }, values(x.grad))
    x.grad = nil
    assert.is_nil(x.grad)
  end)

  it("takes a gradient", function()
    local x = leaf { 1, 2 };
    (x * x):backward(plain { 10, 100 })
    assert.same({ 20, 400 }, values(x.grad))
    assert.matches("only one of a single element needs no gradient given", failure(function() (x * x):backward() end))
    assert.matches("the gradient is float64 %(3%); expected float64 %(2%)",
      failure(function() (x * x):backward(plain { 1, 2, 3 }) end))
  end)

  it("goes twice only when told to", function()
    local x = leaf { 1, 2 }
    local y = (x * x):sum()
    y:backward { retain_graph = true }
    y:backward(nil, { retain_graph = false })
    assert.same({ 4, 8 }, values(x.grad))
    assert.matches("the graph was freed by an earlier backward through sum; pass retain_graph",
      failure(y.backward, y))
    assert.same({ 4, 8 }, values(x.grad))
    assert.equal(5, y:item())
  end)

  it("needs something that requires a gradient", function()
    assert.matches("does not depend on anything that requires a gradient", failure(function() plain(1):backward() end))
    assert.matches('there is no option retain; known are: retain_graph',
      failure(function() leaf(1):backward { retain = true } end))
  end)

  it("passes through one of several results", function()
    local x = leaf { { 1, 5, 3 }, { 9, 2, 4 } }
    local largest, places = x:max(2)
    assert.is_true(largest.requires_grad)
    assert.is_false(places.requires_grad)
    local top = x:topk(1);
    (largest:sum() + top:sum() * 10):backward()
    assert.same({ { 0, 11, 0 }, { 11, 0, 0 } }, values(x.grad))
  end)

  it("leaves .grad alone when it fails", function()
    local x = leaf { 1, 2 }
    local f = lurn.custom_function { forward = function(_, a) return a * 1 end, backward = function() error "no" end };
    (x * 3):sum():backward()
    assert.matches("no", failure(function() (f(x) + x * x):sum():backward() end))
    assert.same({ 3, 3 }, values(x.grad))
  end)

  it("gives gradients that lead nowhere back", function()
    local before = live()
    do
      local x = leaf { 1, 2 };
      (x * x):sum():backward()
      x.grad:add_(x * 0.1) -- forgot no_grad: would tie x to itself
      assert.is_false(x.grad.requires_grad)
      assert.same({ 2.1, 4.2 }, values(x.grad))
      x.grad.grad = x
      x.grad = x.grad
    end
    assert.equal(before, live())
  end)
end)

describe("lurn.grad", function()
  it("gives gradients of leaves and others, nil where there is none", function()
    local x, lone = leaf { 1, 2 }, leaf { 1 }
    local h = x * x
    local y = (h * h):sum()
    local gx, none, gh = lurn.grad(y, { x, lone, h })
    assert.same({ 4, 32 }, values(gx))
    assert.is_nil(none)
    assert.same({ 2, 8 }, values(gh))
    assert.is_nil(x.grad)
    assert.equal(3, select("#", lurn.grad((x * x):sum(), { lone, lone, lone })))
  end)

  it("weights several outputs", function()
    local x = leaf { 1, 2 }
    local g = lurn.grad({ x * x, x * 3 }, x, { grad_outputs = { plain { 10, 100 }, plain { 1, 1 } } })
    assert.same({ 23, 403 }, values(g))
    assert.matches("grad: 1 grad_outputs for 2 outputs",
      failure(lurn.grad, { x * x, x }, x, { grad_outputs = plain { 1, 1 } }))
  end)

  it("leaves the graph beyond its inputs", function()
    local x = leaf { 1, 2 }
    local h = x * x
    h:backward(lurn.grad((h * h):sum(), h))
    assert.same({ 4, 32 }, values(x.grad))
  end)

  it("says what is wrong", function()
    local x = leaf { 1, 2 }
    assert.matches("grad: input 2 does not require a gradient", failure(lurn.grad, x:sum(), { x, plain { 1 } }))
    assert.matches("grad: inputs%[2%]: expected a tensor, got an integer", failure(lurn.grad, x:sum(), { x, 1 }))
    assert.matches("grad: outputs: expected a tensor, got nil", failure(lurn.grad, nil, x))
    assert.matches("grad: there is no option create_graph", failure(lurn.grad, x:sum(), x, { create_graph = true }))
  end)

  it("takes as many inputs as Lua can return", function()
    local parts, n = {}, 100000
    for i = 1, n do parts[i] = lurn.full({ 1 }, i, { requires_grad = true }) end
    local whole = lurn.cat(parts)
    assert.same({ n }, whole.shape)
    local grads = table.pack(lurn.grad((whole * whole):sum(), parts))
    assert.equal(n, grads.n)
    for _, i in ipairs { 1, 201, n } do assert.equal(2 * i, grads[i]:item()) end
    assert.same({ n, 1 }, lurn.stack(parts).shape)
    for i = 1, 1000000 do parts[i] = parts[1] end
    assert.matches("stack overflow", failure(lurn.grad, whole:sum(), parts))
  end)

  it("takes as many inputs in a custom function", function()
    local parts, n = {}, 1000
    for i = 1, n do parts[i] = leaf { i } end
    local total = lurn.custom_function {
      forward = function(_, ...) return lurn.cat({ ... }):sum() end,
      backward = function(_, g)
        local grads = {}
        for i = 1, n do grads[i] = g:view(1) * i end
        return table.unpack(grads)
      end,
    }
    local y = total(table.unpack(parts))
    assert.equal(n * (n + 1) / 2, y:item())
    y:backward()
    assert.equal(n, parts[n].grad:item())
  end)
end)

describe("no_grad and enable_grad", function()
  it("switch and pass on results and arguments", function()
    local x = leaf { 1, 2 }
    local y, z, n = lurn.no_grad(function(a, b)
      return a * b, lurn.enable_grad(function() return a * b end), select("#", a, b)
    end, x, x)
    assert.is_false(y.requires_grad)
    assert.is_true(z.requires_grad)
    assert.equal(2, n)
    assert.is_true(lurn.grad_enabled())
  end)

  it("restore after an error, at any depth", function()
    local object = {}
    for _, switch in ipairs { lurn.no_grad, lurn.enable_grad } do
      assert.equal(object, failure(switch, function() lurn.no_grad(function() error(object) end) end))
      assert.is_true(lurn.grad_enabled())
    end
    lurn.no_grad(function()
      pcall(lurn.enable_grad, error, "x")
      assert.is_false(lurn.grad_enabled())
    end)
    assert.matches("no_grad: expected a function, got nil", failure(lurn.no_grad))
    assert.matches("enable_grad: expected a function, got table", failure(lurn.enable_grad, {}))
  end)

  it("cannot be left by a yield", function()
    local resume = coroutine.wrap(function()
      lurn.no_grad(function() coroutine.yield(1) end)
    end)
    assert.matches("attempt to yield across a C%-call boundary", failure(resume))
    assert.is_true(lurn.grad_enabled())
  end)

  it("are restored when an error ends a coroutine that nobody closes", function()
    local doomed = coroutine.create(function()
      lurn.no_grad(function() lurn.enable_grad(error, "oops", 0) end)
    end)
    assert.same({ false, "oops" }, { coroutine.resume(doomed) })
    assert.is_true(lurn.grad_enabled())
    lurn.no_grad(function()
      coroutine.close(doomed)
      assert.is_false(lurn.grad_enabled())
    end)
    local custom = lurn.custom_function { forward = function() error "oops" end, backward = function() end }
    assert.is_false(coroutine.resume(coroutine.create(custom), leaf { 1 }))
    assert.is_true(lurn.grad_enabled())
  end)

  it("hold inside a coroutine", function()
    local x, y = leaf { 1 }, nil
    local resume = coroutine.wrap(function()
      coroutine.yield()
      y = lurn.no_grad(function() return x * 2 end)
      coroutine.yield()
    end)
    resume()
    resume()
    assert.is_false(y.requires_grad)
    assert.is_true((x * 2).requires_grad)
  end)
end)

describe("writing in place", function()
  it("is refused where backward needs the former value", function()
    local x = leaf { 1, 2 }
    local h = x * 2
    local y = h:exp():sum()
    lurn.no_grad(function() x:add_(1) end) -- x itself is not needed
    y:backward()
    local e = (x * 2):exp()
    local z = e:sum()
    e:add_(1)
    assert.matches("a tensor of shape %(2%) that exp needs was changed in place after it was used",
      failure(z.backward, z))
  end)

  it("is refused for leaves", function()
    local x = leaf { 1, 2 }
    assert.matches("add_: a leaf that requires a gradient cannot be changed in place; use no_grad",
      failure(x.add_, x, 1))
    assert.matches("copy_: the tensor is a view of a leaf", failure(function() x[1] = leaf(5) end))
    assert.same({ 1, 2 }, values(x))
  end)

  it("through a view reaches the base", function()
    local x, w = leaf { 1, 2, 3, 4 }, leaf { 5, 6 }
    local base = x * 2
    base[{ { 2, 3 } }] = w * 10
    base[1] = base[4]
    assert.same({ 8, 50, 60, 8 }, values(base));
    (base * plain { 1, 2, 3, 4 }):sum():backward()
    assert.same({ 0, 0, 0, 10 }, values(x.grad))
    assert.same({ 20, 30 }, values(w.grad))
  end)

  it("fills a plain buffer that then has a gradient", function()
    local x, rows = leaf { 1, 2 }, lurn.zeros(3, 2, { dtype = "float64" })
    for i = 1, 3 do rows[i] = x * i end
    assert.is_true(rows.requires_grad);
    (rows * plain { { 1, 1 }, { 10, 10 }, { 100, 100 } }):sum():backward()
    assert.same({ 321, 321 }, values(x.grad))
  end)

  it("equals the same without writing", function()
    local a, b = leaf { 0.3, -0.7, 1.2, 0.1 }, leaf { 0.5, -1.5 }
    local function written(x, w)
      local h = x * x
      h[{ { 2, 3 } }]:mul_(w)
      h[{ { 1, 2 } }]:add_(w):tanh_()
      return (h * x):sum()
    end
    local function joined(x, w)
      local h = x * x
      h = lurn.cat { h[{ { 1, 1 } }], h[{ { 2, 3 } }] * w, h[{ { 4, 4 } }] }
      h = lurn.cat { (h[{ { 1, 2 } }] + w):tanh(), h[{ { 3, 4 } }] }
      return (h * x):sum()
    end
    assert(lurn.gradcheck(written, { a, b }))
    local ga, gb = lurn.grad(written(a, b), { a, b })
    local ha, hb = lurn.grad(joined(a, b), { a, b })
    assert.is_true(lurn.allclose(ga, ha, { rtol = 1e-14, atol = 1e-15 })) -- the same few sums in another order
    assert.is_true(lurn.allclose(gb, hb, { rtol = 1e-14, atol = 1e-15 }))
  end)

  it("makes other views and aliases stale", function()
    local x = leaf { 1, 2, 3, 4 }
    local base = x * 2
    local view = base[1]
    base:add_(1)
    assert.matches("made by select, was changed in place through another tensor", failure(view.exp, view))
    base:detach():add_(1)
    assert.matches("made by add, was changed in place", failure(base.exp, base))
  end)

  it("needs views made while recording", function()
    local x, buffer = leaf { 1, 2 }, plain { 0, 0, 0 }
    local view = lurn.no_grad(function() return buffer[{ { 1, 2 } }] end)
    assert.matches("copy_: the tensor shares memory with one that would not learn of the gradient",
      failure(view.copy_, view, x))
  end)

  it("into integers ends the gradient", function()
    local counts = lurn.zeros(3, { dtype = "int64" })
    counts[2] = leaf(5)
    assert.same({ 0, 5, 0 }, values(counts))
    assert.is_false(counts.requires_grad)
  end)
end)

describe("depth", function()
  it("does not matter", function()
    local x = leaf { 1 }
    local y = x
    for _ = 1, 200000 do y = y + 1 end
    y:backward()
    assert.same({ 1 }, values(x.grad))
    for _ = 1, 200000 do y = y + 1 end
    y = nil -- luacheck: ignore
    collectgarbage()
  end)
end)

describe("custom_function", function()
  local square = lurn.custom_function {
    name = "square",
    forward = function(ctx, x)
      ctx:save_for_backward(x)
      return x * x
    end,
    backward = function(ctx, gy) return gy * ctx:saved_tensors() * 2 end,
  }

  -- (a, k, b) -> a + k b, a b; k is a number
  local pair = lurn.custom_function {
    name = "pair",
    forward = function(ctx, a, k, b)
      ctx.k = k
      ctx:save_for_backward(a, b)
      return a + b * k, a * b
    end,
    backward = function(ctx, g_sum, g_product)
      local a, b = ctx:saved_tensors()
      local ga, gb
      if g_sum then ga, gb = g_sum, g_sum * ctx.k end
      if g_product then
        ga = ga and ga + g_product * b or g_product * b
        gb = gb and gb + g_product * a or g_product * a
      end
      return ga, nil, gb
    end,
  }

  it("is differentiated as its backward says", function()
    local x = leaf { 1, -2 }
    local y = square(x)
    assert.equal("square", y.maker)
    y:sum():backward()
    assert.same({ 2, -4 }, values(x.grad))
    assert(lurn.gradcheck(function(a) return square(a):tanh():sum() end, { leaf { 0.3, -1.2 } }))
  end)

  it("has several inputs and results, some unused", function()
    local a, b = leaf { 1, 2 }, leaf { 3, 4 }
    local s, p = pair(a, 10, b)
    s:sum():backward()
    assert.same({ { 1, 1 }, { 10, 10 } }, { values(a.grad), values(b.grad) })
    assert.same({ 3, 8 }, values(p))
    assert(lurn.gradcheck(function(x, y)
      local first, second = pair(x, 3, y)
      return (first * second):sum()
    end, { a, b }))
    assert(lurn.gradcheck(function(x) return (select(2, pair(x, 3, b:detach()))):sum() end, { a }))
  end)

  it("may give nil for what has no gradient", function()
    local f = lurn.custom_function {
      forward = function(_, a, b) return a * b end,
      backward = function(_, g) return g end,
    }
    local a, b = leaf { 1 }, leaf { 1 }
    f(a, b):backward()
    assert.same({ 1 }, values(a.grad))
    assert.is_nil(b.grad)
  end)

  it("stands inside another, and among ops", function()
    local quartic = lurn.custom_function {
      forward = function(ctx, x)
        ctx:save_for_backward(x)
        return square(square(x))
      end,
      backward = function(ctx, gy)
        local x = ctx:saved_tensors():requires_grad_()
        return lurn.enable_grad(function() return lurn.grad(square(square(x)), x, { grad_outputs = gy }) end)
      end,
    }
    assert(lurn.gradcheck(function(x) return (quartic(x * 2):sin() + x):sum() end, { leaf { 0.3, -0.6 } }))
  end)

  it("lets a backward run inside its own", function()
    local x, w = leaf { 1, 2 }, leaf { 3, 4 }
    local f = lurn.custom_function {
      forward = function(_, a) return a * 1 end,
      backward = function(_, gy)
        lurn.enable_grad(function() (w * w + x):sum():backward() end)
        return gy
      end,
    };
    (f(x) + f(x)):sum():backward()
    assert.same({ 4, 4 }, values(x.grad))
    assert.same({ 12, 16 }, values(w.grad))
  end)

  it("refuses a backward through what the outer one is at", function()
    local x = leaf { 1, 2 }
    local h = x * x
    local f = lurn.custom_function {
      forward = function(_, a) return a * 1 end,
      backward = function(_, gy)
        h:sum() -- not recorded: backward runs without
        lurn.enable_grad(function() return lurn.grad(h:sum(), x) end)
        return gy
      end,
    }
    assert.matches("grad: a backward through mul is running already; detach",
      failure(function() f(h):sum():backward() end))
    assert.is_nil(x.grad)
    assert.is_true(lurn.grad_enabled())
  end)

  it("keeps what it saved past the end of a scope", function()
    local f = lurn.custom_function {
      forward = function(ctx, x)
        ctx:save_for_backward(x)
        return x * x
      end,
      backward = function(ctx, gy) return gy * ctx:saved_tensors() * 2 end,
    }
    local x = leaf { 1, 2 }
    lurn.scope(function() return f(x * 3) end):sum():backward()
    assert.same({ 18, 36 }, values(x.grad))
  end)

  it("may collect garbage anywhere", function()
    local f = lurn.custom_function {
      forward = function(ctx, x)
        ctx:save_for_backward(x)
        collectgarbage()
        return x * x
      end,
      backward = function(ctx, gy)
        collectgarbage()
        local g = gy * ctx:saved_tensors() * 2
        collectgarbage()
        return g
      end,
    }
    local x = leaf { 1, 2 }
    for _ = 1, 3 do f(f(x)):sum():backward() end
    assert.same({ 12, 96 }, values(x.grad))
  end)

  it("survives tensors freed behind its back", function()
    local x = leaf { 1, 2 }
    local h = x * 2
    local f = lurn.custom_function {
      forward = function(_, a) return a * 1 end,
      backward = function(_, gy)
        h:free()
        return gy * 1
      end,
    }
    local y = f(h):sum()
    assert.same({ 1, 1 }, values((lurn.grad(y, { h }))))
  end)

  it("passes on errors as they were raised", function()
    local object = setmetatable({}, { __tostring = function() return "mine" end })
    for _, thrown in ipairs { object, 42, "text", true } do
      local bad_forward = lurn.custom_function { forward = function() error(thrown, 0) end, backward = function() end }
      local bad_backward = lurn.custom_function {
        forward = function(_, x) return x * 1 end,
        backward = function() error(thrown, 0) end,
      }
      local x = leaf { 1, 2 }
      assert.equal(thrown, failure(bad_forward, x))
      assert.equal(thrown, failure(function() bad_backward(x):sum():backward() end))
      assert.equal(thrown, failure(function() lurn.grad(bad_backward(square(x)):sum(), x) end))
      assert.equal(thrown, failure(lurn.gradcheck, function(a) return bad_backward(a):sum() end, { x }))
      assert.is_true(lurn.grad_enabled())
    end
  end)

  it("passes on errors through a backward inside", function()
    local object, x = {}, leaf { 1 }
    local function once(_, a) return a * 1 end
    local bad = lurn.custom_function { forward = once, backward = function() error(object) end }
    local outer = lurn.custom_function {
      forward = function(_, a) return a * 1 end,
      backward = function() lurn.enable_grad(function() bad(leaf { 1 }):backward() end) end,
    }
    assert.equal(object, failure(function() outer(x):backward() end))
    assert.matches("a Lua function failed", failure(function()
      lurn.custom_function { forward = once, backward = function() error(nil) end }(x):backward()
    end))
  end)

  it("leaks nothing, whatever fails", function()
    local x = leaf { 1, 2 }
    local bad = lurn.custom_function {
      forward = function(ctx, a)
        ctx:save_for_backward(a, a * 2)
        if a:get(1) > 5 then error "large" end
        return a * 1, a * 2
      end,
      backward = function(ctx, g)
        local a, b = ctx:saved_tensors()
        if a:get(1) > 2 then error "larger than 2" end
        return a:get(1) > 1 and "a string" or (g + b):sum()
      end,
    }
    local function run(factor)
      local y, z = bad(x * factor);
      (y:sum() + z:sum()):backward()
    end
    local before = live()
    for _ = 1, 20 do
      for _, factor in ipairs { 10, 3, 2, 1 } do pcall(run, factor) end
    end
    assert.equal(before, live())
  end)

  it("cannot be left by a yield", function()
    local x = leaf { 1 }
    local f = lurn.custom_function { forward = function(_, a) return a * 1 end, backward = coroutine.yield }
    local g = lurn.custom_function { forward = coroutine.yield, backward = function() end }
    for _, call in ipairs { function() f(x):backward() end, function() g(x) end } do
      assert.matches("attempt to yield across a C%-call boundary", failure(coroutine.wrap(call)))
      assert.is_true(lurn.grad_enabled())
    end
  end)

  it("runs in a coroutine", function()
    local x, seen = leaf { 3 }, nil
    local f = lurn.custom_function {
      forward = function(_, a) return a * 1 end,
      backward = function(_, g)
        seen = coroutine.running()
        return g
      end,
    }
    local thread = coroutine.create(function() f(x):backward() end)
    assert(coroutine.resume(thread))
    assert.equal(thread, seen)
    f(x):backward()
    assert.equal(coroutine.running(), seen)
    assert.same({ 2 }, values(x.grad))
  end)

  it("notices saved tensors that were changed", function()
    local h = leaf { 1, 2 } * 2
    local y = square(h):sum()
    h:add_(1)
    assert.matches("saved_tensors: tensor 1 was changed in place after it was saved", failure(y.backward, y))
  end)

  it("says what is wrong", function()
    local x = leaf { 1, 2 }
    local function with(definition)
      return failure(function() lurn.custom_function(definition)(x):sum():backward() end)
    end
    local function one(_, a) return a * 1 end
    assert.matches("custom_function: expected {forward = function, backward = function}", with {})
    assert.matches("custom_function: name: expected a string, got number",
      with { forward = one, backward = one, name = 5 })
    assert.matches("f: forward gave number as result 2; expected a tensor",
      with { name = "f", forward = function(_, a) return a, 5 end, backward = one })
    assert.matches("f: backward gave a string as gradient 1; expected a tensor or nil",
      with { name = "f", forward = one, backward = function() return "x" end })
    assert.matches("the backward of f gave a gradient of float64 %(3%) for an input of float64 %(2%)",
      with { name = "f", forward = one, backward = function() return plain { 1, 2, 3 } end })
    assert.matches("saved_tensors: nothing was saved for backward",
      with { forward = one, backward = function(ctx) return ctx:saved_tensors() end })
    local function many(_, a)
      local list = {}
      for i = 1, 17 do list[i] = a end
      return table.unpack(list)
    end
    assert.matches("f: 17 results; at most 16 are possible", with { name = "f", forward = many, backward = one })
  end)
end)

describe("gradcheck", function()
  it("finds a wrong gradient", function()
    local wrong = lurn.custom_function {
      forward = function(_, x) return x * x end,
      backward = function(_, g) return g end,
    }
    local ok, message = lurn.gradcheck(function(x) return wrong(x):sum() end, { leaf { 2, 0.5, 3 } })
    assert.is_nil(ok)
    assert.matches("^gradcheck: input 1, element 3: backward gives 1.0, differences give [56]", message)
    assert.is_true(lurn.gradcheck(function(x) return (x * x):sum() end, { leaf { 2, 0.5 } }))
  end)

  it("takes tolerances, and works under no_grad", function()
    local rough = lurn.custom_function {
      forward = function(_, x) return x * 1 end,
      backward = function(_, g) return g * 1.01 end,
    }
    local function total(x) return rough(x):sum() end
    local function check(options) return (lurn.gradcheck(total, { leaf { 2 } }, options)) end
    assert.is_nil(check())
    assert.is_true(check { rtol = 0.02 })
    assert.is_true(check { atol = 0.02, eps = 1e-4 })
    assert.is_true(lurn.no_grad(check, { rtol = 0.02 }))
  end)

  it("takes as many inputs as there are", function()
    local leaves = {}
    for i = 1, 200 do leaves[i] = leaf { i / 100 } end
    local function f(...)
      local y = 0
      for i, x in ipairs { ... } do y = y + (x * i):sin() end
      return y:sum()
    end
    assert.is_true(lurn.gradcheck(f, leaves))
    local wrong = lurn.custom_function {
      forward = function(_, x) return x * 1 end,
      backward = function(_, g) return g * 2 end,
    }
    local ok, message = lurn.gradcheck(function(...) return f(...) + wrong((select(150, ...))):sum() end, leaves)
    assert.is_nil(ok)
    assert.matches("^gradcheck: input 150, element 1: ", message)
  end)

  it("says what is wrong", function()
    assert.matches("gradcheck: expected a function, got nil", failure(lurn.gradcheck))
    assert.matches("gradcheck: inputs: expected a list of tensors, got nil", failure(lurn.gradcheck, print))
    assert.matches("gradcheck: input 1 must be a float64 leaf",
      failure(lurn.gradcheck, print, { lurn.ones(2, { requires_grad = true }) }))
    assert.matches("gradcheck: no input requires a gradient", failure(lurn.gradcheck, print, { plain { 1 } }))
    assert.matches("gradcheck: the function gave shape %(2%)",
      failure(lurn.gradcheck, function(x) return x * 2 end, { leaf { 1, 2 } }))
    assert.matches("gradcheck: result of the function: expected a tensor, got nil",
      failure(lurn.gradcheck, function() end, { leaf { 1, 2 } }))
    assert.matches("mine", failure(lurn.gradcheck, function() error "mine" end, { leaf { 1, 2 } }))
  end)
end)

describe("scope", function()
  it("ends with the coroutine that an error ends", function()
    local inner
    local doomed = coroutine.create(function()
      lurn.scope(function()
        inner = lurn.ones(2)
        error "oops"
      end)
    end)
    assert.is_false(coroutine.resume(doomed))
    assert.matches("this tensor was freed", failure(inner.sum, inner))
    lurn.scope(function() inner = lurn.ones(2) return inner end)
    assert.equal(2, inner:sum():item())
  end)

  it("frees what was made in it but results", function()
    local kept, inner, list
    local y, t = lurn.scope(function(a)
      inner = a * 2
      list = { inner + 1 }
      kept = { h = inner + 2 }
      return inner * 3, kept
    end, plain { 1 })
    assert.same({ 6 }, values(y))
    assert.same({ 4 }, values(t.h))
    assert.matches("this tensor was freed", failure(inner.sum, inner))
    assert.matches("this tensor was freed", failure(list[1].sum, list[1]))
  end)

  it("frees all on an error", function()
    local inner
    assert.matches("oops", failure(lurn.scope, function()
      inner = plain { 1 }
      error "oops"
    end))
    assert.matches("this tensor was freed", failure(inner.sum, inner))
    assert.matches("scope: expected a function, got nil", failure(lurn.scope))
  end)

  it("nests: results of an inner one belong to the outer", function()
    local middle, last
    lurn.scope(function()
      middle = lurn.scope(function() return plain { 1 } end)
      pcall(lurn.scope, error)
      last = plain { 2 }
      assert.same({ 1 }, values(middle))
    end)
    assert.matches("this tensor was freed", failure(middle.sum, middle))
    assert.matches("this tensor was freed", failure(last.sum, last))
    assert.same({ 3 }, values(plain { 3 }))
  end)

  it("cannot be left by a yield", function()
    assert.matches("attempt to yield", failure(coroutine.wrap(function() lurn.scope(coroutine.yield) end)))
  end)

  it("keeps gradients, which are no tensors of its own", function()
    local w = leaf { 1, 2 }
    lurn.scope(function()
      local loss = (w * w):sum()
      loss:backward()
    end)
    assert.same({ 2, 4 }, values(w.grad))
  end)

  it("<close> frees at the end of a block", function()
    local outside
    do
      local t <close> = plain { 1 }
      outside = t
    end
    assert.matches("this tensor was freed", failure(outside.sum, outside))
    outside:free() -- again: nothing
  end)
end)
