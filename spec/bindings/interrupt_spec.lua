-- Ctrl-C at moments that nobody chose: an error that a script can catch, after which everything is as usable as before.

local program = os.getenv "LURN" or arg and arg[-1]

local function run(script, command)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(script)
  file:close()
  local pipe = assert(io.popen((command or "exec %s %s 2>&1"):format(program, path)))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  os.remove(path)
  return output, status
end

-- A second Ctrl-C ends a process, so each is interrupted once, by a process that it starts itself, some moments later.
local SCRIPT = [[
local lurn = require "lurn"
local nn, F = lurn.nn, lurn.nn.functional
lurn.set_num_threads(2)
local pid = io.open "/proc/self/stat":read "n"
lurn.manual_seed(1)
local corpus = lurn.data.text { text = ("the cat sat on the mat. "):rep(40), split = { 1 } }
local embed, rnn = nn.Embedding(corpus.vocab.size, 6), nn.LSTM(6, 8, { dropout = 0.1, num_layers = 2 })
local head = nn.Linear(8, corpus.vocab.size)
local params = {}
for _, m in ipairs { embed, rnn, head } do for _, p in ipairs(m:parameters()) do params[#params + 1] = p end end
local opt = lurn.optim.Adam(params, { lr = 0.001 })
local double = lurn.custom_function {
  forward = function(_, x) return x * 2 end,
  backward = function(_, g) return g * 2 end,
}

local function model(ids, state)
  local y, after = rnn(embed(ids), state)
  return head(y), after
end

local function work(turns)
  for _ = 1, turns do
    local state
    for x, y in corpus.train:batches { seq_len = 10, batch_size = 10 } do
      opt:zero_grad()
      local logits
      logits, state = model(x, state)
      F.cross_entropy(double(logits), y):backward()
      opt:step()
      state = state:detach()
      lurn.no_grad(lurn.scope, function() lurn.enable_grad(function() return (logits * 2):sum() end) end)
      coroutine.wrap(function() lurn.no_grad(function() return lurn.ones(3) end) end)()
      lurn.scope(function() local a = lurn.ones(5) lurn.scope(function() return a * 2 end) end)
    end
    lurn.sample { model = model, prompt = { 1 }, length = 5 }
  end
end

local function live()
  opt:zero_grad()
  for _ = 1, 3 do collectgarbage() end
  return (lurn.memory())
end

local function check()
  assert(lurn.grad_enabled(), "gradients stayed off")
  local list = {}
  lurn.scope_open(list)
  local _, outer = lurn.scope_close(list)
  assert(outer == nil, "a scope stayed open")
end

work(1)
local before = live()
local ok, message = pcall(function()
  sender = io.popen(("sleep 0.%%03d; kill -INT %%d"):format(%d, pid)) -- os.execute would ignore the signal
  work(1000000)
end)
assert(not ok and tostring(message):find("interrupted!", 1, true), message)
check()
work(1)
print(("%%d bytes more"):format(live() - before))
]]

-- Signals go to a process by its number, which only some systems tell a script.
local has_proc = io.open "/proc/self/stat"
if has_proc then has_proc:close() end

describe("Ctrl-C at any moment", function()
  if has_proc then
    it("is an error that leaves nothing behind", function()
      math.randomseed(tonumber(os.getenv "LURN_SEED" or 1))
      for _ = 1, tonumber(os.getenv "LURN_INTERRUPTS" or 12) do
        local moment = math.random(1, 60)
        assert.equal("0 bytes more\n", run(SCRIPT:format(moment)), ("after %d ms"):format(moment))
      end
    end)
  end

  it("waits while lurn switches back what a call had switched", function()
    -- The hook of the program, at every instruction from the end of the call on: the signal comes from within.
    local script = [[
      local lurn = require "lurn"
      local function work(n)
        local count = 0
        debug.sethook(function()
          count = count + 1
          if count < n then return end
          debug.sethook()
          local pid = io.open "/proc/self/stat":read "n"
          io.popen("kill -INT " .. pid):close() -- os.execute would ignore the signal
        end, "", 1)
        lurn.no_grad(lurn.scope, function() return lurn.ones(1) end)
        debug.sethook()
      end
      local function interrupted_at(n)
        local ok, message = pcall(work, n)
        if not ok then assert(tostring(message):find("interrupted!", 1, true), message) end
        assert(lurn.grad_enabled(), "gradients stayed off after instruction " .. n)
        local list = {}
        lurn.scope_open(list)
        local _, outer = lurn.scope_close(list)
        assert(outer == nil, "a scope stayed open after instruction " .. n)
        print(not ok)
      end
      interrupted_at(%d)
    ]]
    -- One process for each instruction: a second Ctrl-C would end it.
    local n, output = 0, "true\n"
    while output == "true\n" do
      n = n + 1
      output = run(script:format(n))
    end
    assert.equal("false\n", output)
    assert.is_true(n > 40)
  end)
end)
