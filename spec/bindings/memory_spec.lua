-- Memory as a Lua program sees it: what Lua's collector does not count, what errors leave behind, what closing leaves.

local lurn = require "lurn"

-- Live bytes after everything unreachable is gone: functions of the graph first, then what they held.
local function live()
  for _ = 1, 3 do collectgarbage() end
  return (lurn.memory())
end

-- Peak of resident memory, in MiB, since the last reset; nil where the system does not tell.
local function reset_peak()
  local file = io.open("/proc/self/clear_refs", "w")
  if file then
    file:write "5"
    file:close()
  end
end

local function resident(field)
  local file = io.open "/proc/self/status"
  if not file then return nil end
  local kilobytes = file:read("a"):match(field .. ":%s*(%d+) kB")
  file:close()
  return tonumber(kilobytes) / 1024
end

-- Sanitizers keep freed memory for a while.
local program = io.open(arg and arg[-1] or "", "rb")
local sanitized = program and program:read("a"):find("__asan_init", 1, true) ~= nil
if program then program:close() end

describe("memory()", function()
  it("counts live and held bytes, and requests", function()
    local before = live()
    local x = lurn.zeros(1 << 18)
    local now, held, requests = lurn.memory()
    assert.is_true(now - before >= 1 << 20 and now - before < (1 << 20) + 8192)
    assert.is_true(held >= now)
    assert.equal("integer", math.type(requests))
    x:free()
    assert.equal(before, live())
    lurn.memory_trim()
    local after, rest = lurn.memory()
    assert.equal(after, rest)
  end)

  it("goes back to the system, that of many small tensors too", function()
    collectgarbage()
    lurn.memory_trim()
    local before = resident "VmRSS"
    local rows = lurn.ones(1, 1):expand(1 << 18, 1):unbind(1)
    assert.equal(1 << 18, #rows)
    rows = nil -- luacheck: ignore 311
    collectgarbage() -- frees what tensors hold,
    collectgarbage() -- then what stood for them in Lua
    lurn.memory_trim()
    if before and not sanitized then assert.is_true(resident "VmRSS" - before < 32) end
  end)
end)

describe("garbage", function()
  -- The whole run is 20000 turns; the specs make fewer.
  for _, mode in ipairs { "incremental", "generational" } do
    it("is collected in time, " .. mode, function()
      local former = collectgarbage(mode)
      live()
      lurn.memory_trim()
      local x = lurn.ones(1 << 18)
      reset_peak()
      local before, most = resident "VmRSS", 0
      for i = 1, 600 do
        local y = (x * 2 + 1):tanh() -- luacheck: ignore 211
        if i % 50 == 0 then most = math.max(most, (select(2, lurn.memory()))) end
      end
      collectgarbage(former)
      assert.is_true(most < 128 << 20)
      local peak = resident "VmHWM"
      if peak and not sanitized then assert.is_true(peak - before < 224) end
    end)
  end

  -- Each turn drops what it makes; a collector that knew nothing of the engine's memory would wait for twice Lua's own.
  local function most_after(turns, size)
    local x, most = lurn.ones(size), 0
    for i = 1, 2 * turns do
      local y = x * 2 -- luacheck: ignore 211
      if i > turns then most = math.max(most, (lurn.memory())) end
    end
    return most
  end

  it("is found long before memory has doubled, in generational mode", function()
    local former = collectgarbage "generational"
    local before = live()
    assert.is_true(most_after(2000, 1024) - before < 8 << 20)
    assert.is_true(most_after(200, 1 << 20) - before < 64 << 20)
    collectgarbage(former)
  end)

  it("is looked for with a step only where the user has not stopped the collector", function()
    collectgarbage "stop"
    local before, x = live(), lurn.ones(1)
    for _ = 1, 5000 do local y = x * 2 end -- luacheck: ignore 211
    local now = lurn.memory()
    collectgarbage "restart"
    assert.is_true(now - before > 5000 * 64)
  end)

  it("is collected also while the user has stopped the collector", function()
    collectgarbage "stop"
    local x = lurn.ones(1 << 18)
    for _ = 1, 300 do local y = x * 2 end -- luacheck: ignore 211
    local now = lurn.memory()
    collectgarbage "restart"
    assert.is_true(now < 128 << 20)
  end)

  it("may be as much as what lives, and no more once that is gone", function()
    local x = lurn.ones(1 << 18)
    local function most_in(turns)
      local most = 0
      for _ = 1, turns do
        local y = x * 2 -- luacheck: ignore 211
        most = math.max(most, (lurn.memory()))
      end
      return most
    end
    local list = {}
    for i = 1, 200 do list[i] = lurn.zeros(1 << 18) end
    local most = most_in(500)
    assert.is_true(most >= 200 << 20 and most < 600 << 20)
    for _, t in ipairs(list) do t:free() end
    live()
    assert.is_true(most_in(500) < 128 << 20)
  end)

  it("goes with the loss", function()
    local w = lurn.randn(200, 200, { requires_grad = true })
    local before = live()
    local loss = w
    for _ = 1, 20 do loss = (loss * w):tanh() end
    loss = loss:sum() -- luacheck: ignore
    assert.is_true(lurn.memory() - before > 20 * 160000)
    loss = nil -- luacheck: ignore
    assert.equal(before, live())
  end)

  it("of the graph goes in backward, while the loss is held", function()
    local w = lurn.randn(200, 200, { requires_grad = true })
    local before, loss = live(), w
    for _ = 1, 20 do loss = (loss * w):tanh() end
    loss = loss:sum()
    assert.is_true(live() > before + 20 * 160000)
    loss:backward()
    w.grad = nil
    assert.is_true(live() < before + 8192)
    loss:free()
  end)
end)

describe("errors", function()
  it("in callbacks leave nothing, however many", function()
    local x = lurn.ones(3, { requires_grad = true })
    local f = lurn.custom_function {
      forward = function(ctx, a)
        ctx:save_for_backward(a)
        return a * 1
      end,
      backward = function(ctx) error(ctx) end,
    }
    local g = lurn.custom_function { forward = function() error {} end, backward = function() end }
    local function run()
      pcall(g, x)
      local y = f(x):sum()
      pcall(y.backward, y)
    end
    for _ = 1, 1000 do run() end
    local before, count, start = live(), collectgarbage "count", resident "VmRSS"
    for _ = 1, sanitized and 5000 or 20000 do run() end
    assert.equal(before, live())
    assert.is_true(collectgarbage "count" < count + 100)
    if start and not sanitized then assert.is_true(resident "VmRSS" < start + 16) end
  end)

  it("in ops leave nothing", function()
    local a, b = lurn.ones(100, 100), lurn.ones(99, 3)
    local function all()
      pcall(a.matmul, a, b)
      pcall(lurn.cat, { a, b })
      pcall(a.add_, a, b)
      pcall(a.view, a, 7)
      pcall(lurn.tensor, { { 1, 2 }, { 3 } })
      pcall(lurn.tensor, { 1, "x" })
      pcall(a.backward, a)
      pcall(lurn.grad, a, a)
      pcall(function() return a[{ 5, 200 }] end)
      pcall(function() a[1] = b end)
    end
    all()
    local before = live()
    for _ = 1, 1000 do all() end
    assert.equal(before, live())
  end)

  it("for lack of memory are ordinary ones", function()
    local before = live()
    local ok, message = pcall(lurn.zeros, 1 << 31, 1 << 31)
    assert.is_false(ok)
    assert.matches("a tensor of shape %(2147483648, 2147483648%) is larger than memory can be", message)
    local row = lurn.zeros(1):expand(1 << 40, 1)
    ok, message = pcall(function() return row + row:t() end)
    assert.is_false(ok)
    assert.matches("is larger than memory can be", message)
    row:free()
    assert.equal(before, live())
    assert.equal(6, lurn.ones(6):sum():item())
  end)
end)

describe("tensors and the collector", function()
  it("finalizers may use tensors, and free those in use", function()
    local ran = 0
    for _ = 1, 50 do
      local x, y = lurn.ones(1000), lurn.ones(1000)
      setmetatable({}, {
        __gc = function()
          ran = ran + 1
          assert((x + y):sum():item() == 2000)
          y:free()
        end,
      })
      x, y = nil, nil -- luacheck: ignore
      collectgarbage()
    end
    assert.equal(50, ran)
  end)

  it("finalizers may even run backward inside of one", function()
    local x = lurn.ones(3, { requires_grad = true })
    local f = lurn.custom_function {
      forward = function(_, a) return a * 1 end,
      backward = function(_, g)
        setmetatable({}, { __gc = function() lurn.enable_grad(function() (x * 2):sum():backward() end) end })
        collectgarbage()
        return g
      end,
    }
    f(x):sum():backward()
    assert.same({ 3, 3, 3 }, x.grad:totable())
  end)

  it("a callback holds what it refers to, and no longer than its node lives", function()
    local before = live()
    do
      local x = lurn.ones(100000, { requires_grad = true })
      local f = lurn.custom_function {
        forward = function(ctx, a)
          ctx.mine = a * 2 -- not by save_for_backward
          return a * 1
        end,
        backward = function(ctx, g) return g + ctx.mine end,
      }
      local y = f(x):sum()
      collectgarbage()
      y:backward()
      assert.equal(3, x.grad:get(1))
      f(x) -- never differentiated
    end
    assert.equal(before, live())
  end)
end)

describe("closing the Lua state", function()
  local lurn_program = os.getenv "LURN" or arg and arg[-1]

  -- Runs a script in a new process, which must end well; a leak checker speaks up in the status.
  local function run(script)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    local pipe = assert(io.popen(("'%s' '%s' 2>&1; echo status $?"):format(lurn_program, path)))
    local output = pipe:read "a"
    pipe:close()
    os.remove(path)
    return output
  end

  it("with graphs, tensors and callbacks alive is clean", function()
    assert.equal("done\nstatus 0\n", run [[
      local lurn = require "lurn"
      x = lurn.randn(10, 10, { requires_grad = true })
      f = lurn.custom_function {
        forward = function(ctx, a) ctx:save_for_backward(a) ctx.y = a * 2 return a * 1, a * 2 end,
        backward = function(ctx, g, h) kept = g return g + h end,
      }
      y, z = f(x)
      loss = (y * z):sum()
      part = x[1]
      record = lurn.record()
      opt = lurn.optim.Adam({ x }, { lr = 0.1 })
      local done, more = f(x * 2)
      ;(done + more):sum():backward { retain_graph = true }
      opt:step()
      lurn.set_num_threads(4)
      big = lurn.ones(300000) * 2
      local t <close> = lurn.ones(3)
      -- What is made while a state closes gets no finalizer from Lua any more.
      setmetatable({}, { __gc = function() local w <close> = x:sum() end })
      co = coroutine.wrap(function() local inside <close> = lurn.ones(5) coroutine.yield(f(x)) end)
      co()
      print "done"
    ]])
  end)

  it("gives back what finalizers make while it closes", function()
    local output = run [[
      local lurn = require "lurn"
      for i = 1, 3 do
        setmetatable({}, { __gc = function()
          local x = lurn.ones(100, 100, { requires_grad = true })
          kept = lurn.optim.Adam({ x }, { lr = 0.1 })
          recorded = lurn.record()
          local f = lurn.custom_function {
            forward = function(_, a) return a * 1 end,
            backward = function(_, g) return g end,
          }
          loss = f(x * x):sum()
          loss:backward { retain_graph = true }
          kept:step()
          print(i)
        end })
      end
    ]]
    assert.equal("3\n2\n1\nstatus 0\n", output)
  end)

  it("by an error, or by os.exit, is clean too", function()
    local script = [[
      local lurn = require "lurn"
      x = lurn.ones(10, { requires_grad = true })
      f = lurn.custom_function { forward = function(_, a) return a * 1 end, backward = function() error "mine" end }
      y = f(x):sum()
      lurn.no_grad(lurn.scope, function() z = lurn.ones(4) %s end)
    ]]
    assert.matches("mine.*status 1\n$", run(script:format "y:backward()"))
    assert.equal("status 3\n", run(script:format "os.exit(3, true)"))
  end)
end)
