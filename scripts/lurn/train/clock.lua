-- Wall-clock time for progress lines and rates.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local methods = require "lurn.methods"

local clock = {}

---Seconds on a clock that only moves forward.
---@return number
clock.now = core.clock

---"1:05" or "2:01:05".
---@param seconds number
---@return string
function clock.format(seconds)
  local whole = type(seconds) == "number" and math.tointeger(math.floor(seconds + 0.5))
  if not whole then
    core.raise(("clock.format: the time is %s; expected a finite number of seconds"):format(check.describe(seconds)))
  end
  local h, m, s = whole // 3600, whole // 60 % 60, whole % 60
  return h > 0 and ("%d:%02d:%02d"):format(h, m, s) or ("%d:%02d"):format(m, s)
end

---@class lurn.train.Stopwatch
local Stopwatch = {}
Stopwatch.__index = Stopwatch

---A stopwatch that runs.
---@return lurn.train.Stopwatch
function clock.stopwatch() return setmetatable({ before = 0, since = clock.now() }, Stopwatch) end

---Seconds while it ran.
---@return number
function Stopwatch:elapsed() return self.before + (self.since and clock.now() - self.since or 0) end

---Stops it until `resume`.
function Stopwatch:pause() self.before, self.since = self:elapsed(), nil end

---Lets it run again.
function Stopwatch:resume() self.since = self.since or clock.now() end

methods.guard(Stopwatch, "stopwatch", function(value) return getmetatable(value) == Stopwatch end)

return clock
