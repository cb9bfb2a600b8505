-- What no script should do, and what it must not break: metatables of others, finalizers by hand, tables that change or
-- free things while they are read, absurd numbers.

local lurn = require "lurn"

local function failure(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return message
end

local function live()
  for _ = 1, 3 do collectgarbage() end
  return (lurn.memory())
end

-- Every object of the library that is a userdata, made anew.
local makers = {
  tensor = function() return lurn.ones(2, 2) end,
  record = function() return lurn.record() end,
  optim = function() return lurn.optim_new "Adam" end,
}

-- Methods of a userdata's metatable, by name.
local function methods_of(object)
  local meta, found = debug.getmetatable(object), {}
  for name, value in pairs(meta) do
    if type(value) == "function" then found[name] = value end
  end
  for name, value in pairs(type(meta.__index) == "table" and meta.__index or {}) do found[name] = value end
  if lurn.is_tensor(object) then
    for name, value in pairs(lurn.methods) do found[name] = value end
  end
  return found
end

local strangers = { false, 1, 2.5, "x", print, io.stdout, coroutine.create(print), {},
  setmetatable({}, lurn.metatable) }

describe("a metatable on something else", function()
  for kind, make in pairs(makers) do
    it("does not make it a " .. kind, function()
      local object, file = make(), assert(io.tmpfile())
      local former = debug.getmetatable(file)
      debug.setmetatable(file, debug.getmetatable(object))
      local wrong = {}
      for name, method in pairs(methods_of(object)) do
        if name ~= "__tostring" and pcall(method, file) then wrong[#wrong + 1] = name end
      end
      local closed = pcall(debug.getmetatable(object).__gc, file)
      debug.setmetatable(file, former)
      assert.same({}, wrong)
      assert.is_false(closed)
      assert.is_true(file:close())
    end)

    it("is not needed by a " .. kind .. ", which loses it unharmed", function()
      local object, other = make(), make()
      debug.setmetatable(object, nil)
      for _, method in pairs(methods_of(other)) do pcall(method, object) end
      debug.setmetatable(object, debug.getmetatable(other))
    end)
  end

  it("of a record does not make a tensor one", function()
    local tensor, record = lurn.ones(2), lurn.record()
    debug.setmetatable(tensor, debug.getmetatable(record))
    assert.is_false(pcall(function() return tensor.gates end))
    debug.setmetatable(tensor, lurn.metatable)
    assert.equal(2, tensor:sum():item())
  end)
end)

describe("methods", function()
  for kind, make in pairs(makers) do
    it("of a " .. kind .. " refuse everything else as self", function()
      local object = make()
      for name, method in pairs(methods_of(object)) do
        for _, stranger in ipairs(strangers) do
          -- With an operator, or a number in its place, a tensor may be the other operand.
          local ok, message = pcall(method, stranger)
          assert.is_false(ok and type(stranger) == "userdata", kind .. " " .. name)
          if not ok then assert.is_string(message) end
        end
      end
    end)

    it("of a collected " .. kind .. " raise", function()
      local object, wrong = make(), {}
      local meta = debug.getmetatable(object)
      for _ = 1, 2 do
        meta.__gc(object)
        if meta.__close then meta.__close(object) end
      end
      local harmless = { __gc = true, __close = true, free = true }
      if kind == "tensor" then -- what is printed while looking for a mistake should not be another one
        assert.equal("[freed tensor]", tostring(object))
        harmless.__tostring = true
      end
      for name, method in pairs(methods_of(object)) do
        if pcall(method, object) and not harmless[name] then wrong[#wrong + 1] = name end
      end
      assert.same({}, wrong)
    end)
  end

  it("that are C functions stay what they are when a script overwrites them", function()
    local sum = lurn.methods.sum
    lurn.methods.sum = function() return "mine" end
    assert.equal("mine", lurn.ones(2):sum())
    lurn.methods.sum = sum
    assert.equal(2, lurn.ones(2):sum():item())
  end)
end)

describe("numbers that are no sizes", function()
  local absurd = { 1 << 31, 1 << 53, 1 << 62, math.maxinteger, math.mininteger, -7, 0 / 0, 1 / 0, -1 / 0, 1e300, 2.5 }

  it("are errors wherever a size, dimension or position is asked for", function()
    local x = lurn.ones(2, 3)
    for _, n in ipairs(absurd) do
      failure(lurn.zeros, n, n)
      failure(lurn.randn, { n, n })
      failure(lurn.eye, n, 1 << 40)
      failure(x.view, x, n)
      failure(x.narrow, x, 1, n, n)
      failure(x.select, x, n, n)
      failure(x.permute, x, n, n)
      failure(function() return x[{ n, n }] end)
      failure(function() x[n == n and n or 9] = 1 end)
      failure(x.get, x, n, n)
      failure(x.split, x, { n, n })
      failure(x.topk, x, n)
      failure(lurn.frombytes, "abcd", "float32", { n, n })
    end
    assert.equal(6, x:sum():item())
  end)

  it("are no strings either", function()
    local x = lurn.ones(2, 3)
    assert.matches("expected a whole number, got a string", failure(x.sum, x, "1"))
    assert.matches("expected whole numbers or a table of them, got a string", failure(lurn.zeros, "2"))
    assert.matches("expected a tensor or a number, got a string", failure(x.add, x, "1"))
  end)
end)

describe("tables that are not what they seem", function()
  it("may have holes, cycles, depths and lying metamethods", function()
    local cycle = {}
    cycle[1] = cycle
    assert.matches("more than 8 levels", failure(lurn.tensor, cycle))
    assert.matches("element %[2%] is nil", failure(lurn.tensor, { 1, nil, 3 }))
    for _, n in ipairs { -1, 1 << 40, math.maxinteger, math.mininteger } do
      local liar = setmetatable({}, { __len = function() return n end, __index = function(_, i) return i end })
      failure(lurn.tensor, liar)
      failure(lurn.tensor, { liar, liar })
      failure(lurn.cat, liar)
      failure(lurn.grad, lurn.ones(1), liar)
    end
    assert.matches("object length is not an integer",
      failure(lurn.tensor, setmetatable({}, { __len = function() return {} end })))
    assert.matches("mine", failure(lurn.tensor, setmetatable({}, { __len = function() return 1 end,
      __index = function() error "mine" end })))
  end)

  it("may shrink and grow while they are read", function()
    local data = { 1, 2, 3, 4 }
    local row = setmetatable({}, {
      __len = function() return #data end,
      __index = function(_, i)
        local value = data[i]
        data[#data] = nil
        return value
      end,
    })
    assert.is_string(failure(lurn.tensor, row))
  end)

  it("cannot free the tensor that they fill", function()
    local list = {}
    lurn.scope_open(list)
    local ok, message = pcall(lurn.tensor, setmetatable({}, {
      __len = function() return 3 end,
      __index = function()
        for _, t in ipairs(list) do t:free() end
        return 1
      end,
    }))
    lurn.scope_close(list)
    assert.is_false(ok)
    assert.matches("tensor: it was freed while it was filled", message)
  end)

  it("cannot free a parameter between reading and use", function()
    local w = lurn.ones(3, { requires_grad = true })
    local options = setmetatable({}, { __index = function(_, name) if name == "lr" then w:free() end end })
    local optim = lurn.optim_new "SGD"
    assert.matches("this tensor was freed", failure(optim.add_group, optim, { w }, options))
  end)

  it("print though their length lies", function()
    local shape = lurn.ones(2).shape
    shape[2], shape.x, shape[1] = {}, 1, nil
    tostring(shape)
    local tostring_shape = debug.getmetatable(shape).__tostring
    assert.equal("{}", tostring_shape(setmetatable({}, { __len = function() return 1 << 40 end })))
    assert.is_false(pcall(tostring_shape, "x"))
    assert.same({ 2 }, lurn.ones(2).shape)
  end)
end)

describe("a finalizer", function()
  -- Runs body(later) often with a collector that is at work at nearly every allocation, so that finalizers come in the
  -- middle.
  local function in_the_middle(body)
    collectgarbage("incremental", 100, 1000, 1)
    for _ = 1, 300 do body(function(fn) setmetatable({}, { __gc = fn }) end) end
    collectgarbage("incremental", 200, 100, 13)
    collectgarbage "generational"
  end

  it("may change the lists that are read", function()
    in_the_middle(function(later)
      local x = lurn.ones(2, { requires_grad = true })
      local y, list = x:sum(), {}
      for i = 1, 20 do list[i] = x end
      later(function()
        for i = 21, 60 do list[i] = x end
      end)
      pcall(lurn.grad, y, list, { retain_graph = true })
      later(function()
        for i = 1, 60 do list[i] = nil end
      end)
      pcall(lurn.grad, y, list)
      pcall(lurn.cat, list)
    end)
    assert.equal(2, lurn.ones(2):sum():item())
  end)

  it("may free what is being saved", function()
    local path = os.tmpname()
    in_the_middle(function(later)
      local tensors = {}
      for i = 1, 10 do tensors["t" .. i] = lurn.ones(3) end
      later(function()
        for name, t in pairs(tensors) do
          t:free()
          tensors[name] = nil
        end
        for i = 1, 100 do tensors["new " .. i] = lurn.ones(1) end
      end)
      pcall(lurn.save, path, tensors, { note = "x" })
    end)
    os.remove(path)
  end)

  it("may free the results of forward and inputs of a custom function", function()
    in_the_middle(function(later)
      local x = lurn.ones(3, { requires_grad = true })
      local results = {}
      later(function()
        x:free()
        for _, t in ipairs(results) do t:free() end
      end)
      pcall(lurn.custom_function {
        forward = function(_, a)
          results = { a * 1, a * 2 }
          return table.unpack(results)
        end,
        backward = function(_, g) return g end,
      }, x)
    end)
  end)
end)

describe("tensors that are freed in a callback", function()
  local function custom(backward)
    return lurn.custom_function { forward = function(_, a) return a * 1 end, backward = backward }
  end

  it("of backward are still there for it", function()
    local before = live()
    do
      local x, y = lurn.ones(3, { requires_grad = true }), nil
      local f = custom(function(_, g)
        x:free()
        y:free()
        collectgarbage()
        return g
      end)
      y = f(x):sum()
      y:backward()
      assert.matches("freed", failure(function() return x.grad end))
    end
    assert.equal(before, live())
  end)

  it("of grad and gradcheck too", function()
    local before = live()
    do
      local x, y = lurn.ones(3, { dtype = "float64", requires_grad = true }), nil
      local f = custom(function(_, g)
        x:free()
        y:free()
        return g
      end)
      y = f(x):sum()
      pcall(lurn.grad, { y }, { x })
      local z = lurn.ones(3, { dtype = "float64", requires_grad = true })
      pcall(lurn.gradcheck, function(a)
        local result = (a * a):sum()
        a:free()
        return result
      end, { z })
      pcall(lurn.gradcheck, function(a)
        a.requires_grad = false
        return a
      end, { lurn.ones(2, { requires_grad = true }) })
    end
    assert.equal(before, live())
  end)
end)

describe("the module", function()
  it("is the same however often and whence it is required", function()
    local core, x = require "lurn.core", lurn.ones(2)
    local names = { "lurn", "lurn.core", "lurn.tensor", "lurn.autograd", "lurn.guard" }
    local kept = {}
    for _, name in ipairs(names) do kept[name], package.loaded[name] = package.loaded[name], nil end
    local again = require "lurn"
    assert.equal(core, require "lurn.core")
    assert.equal(2, again.ones(2):sum():item())
    assert.equal(4, (x + again.ones(2)):sum():item())
    assert.is_true(again.no_grad(function() return not again.grad_enabled() end))
    for _, name in ipairs(names) do package.loaded[name] = kept[name] end
  end)

  it("prints what a view of much shows", function()
    assert.equal("{1., 1., 1., ..., 1., 1., 1.} [float32 {9007199254740992}]", tostring(lurn.ones(1):expand(1 << 53)))
  end)
end)

describe("the robot", function()
  local sanitized = (function()
    local file = io.open(os.getenv "LURN" or arg and arg[-1] or "", "rb")
    local found = file and file:read("a"):find("__asan_init", 1, true) ~= nil
    if file then file:close() end
    return found
  end)()

  it("that calls everything with anything breaks nothing", function()
    local here = assert(io.popen "pwd"):read "l"
    local function absolute(path) return path:sub(1, 1) == "/" and path or here .. "/" .. path end
    local directory = os.tmpname()
    os.remove(directory)
    -- So that absurd sizes fail instead of filling the machine, whose memory then bounds what is resident on the way.
    local limit = sanitized and "ASAN_OPTIONS=$ASAN_OPTIONS:allocator_may_return_null=1:max_allocation_size_mb=1024"
      or "ulimit -v 3000000;"
    local words = "mkdir '%s' && cd '%s' && { %s '%s' '%s/spec/bindings/robot.lua' %d %d; } 2>&1; echo status $?"
    local command = words:format(directory, directory, limit, absolute(os.getenv "LURN" or arg[-1]), here,
      tonumber(os.getenv "LURN_SEED" or 1), tonumber(os.getenv "LURN_ROBOT" or 6))
    local pipe = assert(io.popen(command))
    local output = pipe:read "a"
    pipe:close()
    os.execute(("rm -rf '%s'"):format(directory))
    assert.matches("robot: %d+ functions, %d+ results, %d+ errors\nstatus 0\n$", output)
    local resident = tonumber(output:match "\nresident: (%d+) MB\n")
    if resident and not sanitized then assert.is_true(resident < 64) end
  end)
end)
