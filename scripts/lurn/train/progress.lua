-- What a long run tells: on a terminal one line that is rewritten, elsewhere a plain line every so often.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local clock = require "lurn.train.clock"
local methods = require "lurn.methods"

-- Seconds between two looks of the line on a terminal.
local INTERVAL = 0.1

---@class lurn.train.Progress
---@field terminal boolean whether a line can be rewritten
local Progress = {}
Progress.__index = Progress

local function is_terminal() return os.execute "test -t 1" == true end

local function terminal_width()
  local pipe = io.popen "stty size 2>/dev/null </dev/tty"
  local width = pipe and pipe:read "a":match "^%d+ (%d+)"
  if pipe then pipe:close() end
  width = tonumber(width) or 0
  return width > 0 and width or 80
end

---The line that tells where a run stands.
---@param options {every: integer, terminal: boolean?} off a terminal, a line at every so many steps; `terminal`
---overrides what standard output is
---@return lurn.train.Progress
local function new(options)
  if type(options) ~= "table" then
    core.raise(("progress: the options are %s; expected {every = number of steps}"):format(check.describe(options)))
  end
  if math.type(options.every) ~= "integer" then
    core.raise(("progress: every is %s; expected a whole number of steps"):format(check.describe(options.every)))
  end
  local terminal = options.terminal
  if terminal == nil then terminal = is_terminal() end
  return setmetatable({ every = options.every, terminal = terminal, width = terminal and terminal_width(),
    shown = false, last = -math.huge }, Progress)
end

---True when `show` would show something at this step, so that no text need be made otherwise.
---@param step integer
---@return boolean
function Progress:wants(step)
  if not self.terminal then return self.every > 0 and step % self.every == 0 end
  local now = clock.now()
  if now - self.last < INTERVAL then return false end
  self.last = now
  return true
end

---Shows where a run stands: on a terminal in place of what was shown before.
---@param text string one line
function Progress:show(text)
  if self.terminal then
    io.stdout:write("\r", text:sub(1, self.width - 1), "\27[K")
    self.shown = true
  else
    io.stdout:write(text, "\n")
  end
  io.stdout:flush()
end

---Ends the line that is rewritten, if there is one, so that other output may follow.
function Progress:clear()
  if not self.shown then return end
  io.stdout:write "\r\27[K"
  self.shown = false
end

---Prints lines that stay.
---@param text string
function Progress:say(text)
  self:clear()
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

methods.guard(Progress, "progress", function(value) return getmetatable(value) == Progress end)

return { new = new }
