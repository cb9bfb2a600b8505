-- Errors, yields and collections inside every function that lurn calls, a hundred thousand times each: the memory of
-- the process after ten thousand is what it is in the end, within a hundredth.
--
--   lurn spec/endurance/callbacks.lua [NAME...]

package.path = "./spec/?.lua;" .. package.path
local lurn = require "lurn"
local callbacks = require "bindings.callbacks"

local WARM, ALL = 10000, 100000

local function resident()
  for _ = 1, 3 do
    lurn.collect()
    lurn.ones(1):free() -- what finalizers made is kept until something is made outside of them
  end
  lurn.memory_trim()
  local file = io.open "/proc/self/status"
  if not file then return collectgarbage "count" end
  local kilobytes = file:read("a"):match "VmRSS:%s*(%d+) kB"
  file:close()
  return tonumber(kilobytes)
end

local function endure(run)
  for i = 1, WARM do callbacks.turn(run, i) end
  local before, live = resident(), lurn.memory()
  for i = WARM + 1, ALL do callbacks.turn(run, i) end
  collectgarbage "generational"
  callbacks.check()
  local after, left = resident(), lurn.memory()
  assert(after < before * 1.01, ("%d kB after %d turns, %d kB after %d"):format(before, WARM, after, ALL))
  assert(left == live, ("%d bytes of tensors after %d turns, %d after %d"):format(live, WARM, left, ALL))
end

-- The process has grown to its size before anything is measured, whichever comes first.
for _, name in ipairs(callbacks.names()) do
  for i = 1, WARM do callbacks.turn(callbacks[name], i) end
end

local passed, failed = 0, 0
for _, name in ipairs(#arg > 0 and arg or callbacks.names()) do
  local ok, message = pcall(endure, callbacks[name])
  if ok then passed = passed + 1 else failed = failed + 1 end
  print(ok and "ok " .. name or ("FAIL %s: %s"):format(name, message))
  io.stdout:flush()
end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0, true)
