-- nn.Unroll: any cell over time.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local lengths_of = require "lurn.nn.lengths"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local slots = require "lurn.nn.slots"
local walk = require "lurn.nn.walk"

---Runs a cell over whole sequences, as nn.LSTM runs its own: `local y, state = nn.Unroll(cell)(x, state, {lengths =
---...})`. A cell is any module with `state = cell(x_t, state)`; its state is an nn.State, a table of tensors with h
---among them, or a tensor that is h itself, with N sequences in the first dimension. The cell is called without a state
---for the first step when there is none. y holds h of every step.
---
---    local Cell = nn.Module:extend "Cell"
---    function Cell:init(input, hidden) self.w, self.u = nn.Linear(input, hidden), nn.Linear(hidden, hidden) end
---    function Cell:forward(x, h) return (self.w(x) + (h and self.u(h) or 0)):tanh() end
---    local y, h = nn.Unroll(Cell(3, 8))(lurn.randn(20, 5, 3))     -- y (20, 5, 8), h (5, 8)
---
---For both directions take two, one of them with `reverse`, and join their outputs: `lurn.cat({a(x), b(x)}, 3)`.
---Torch's users know it as Sequencer. Where there is a fused layer of the same cell, that is faster.
---
---Options: `batch_first` (false): x and y are (N, T, ...); `reverse` (false): from the last step to the first.
---Errors: a cell that is no module, or that gives something else than a state of N rows; lengths that are not 0..T.
---@class lurn.nn.Unroll: lurn.nn.Module
---@field cell lurn.nn.Module
---@field batch_first boolean
---@field reverse boolean
---@overload fun(cell: lurn.nn.Module, options?: lurn.nn.UnrollOptions): lurn.nn.Unroll
local Unroll = Module:extend "Unroll"

---@class lurn.nn.UnrollOptions
---@field batch_first? boolean (false)
---@field reverse? boolean (false)

local schema = {
  { name = "batch_first", kind = "flag", default = false },
  { name = "reverse", kind = "flag", default = false },
}
local call_schema = { { name = "lengths", kind = "any" } }

---@param cell lurn.nn.Module
---@param given? lurn.nn.UnrollOptions
function Unroll:init(cell, given)
  if not slots.is_module(cell) then
    core.raise(("nn.Unroll: the cell is %s; expected a module"):format(check.describe(cell)))
  end
  local chosen = options.read("nn.Unroll", given, schema)
  self.cell, self.batch_first, self.reverse = cell, chosen.batch_first, chosen.reverse
end

-- The step function over the slices of x.
local function stepper(self, who, x, batch)
  local slices, cell = walk.unbind(x), self.cell
  return function(t, state)
    local new = cell(slices[t], state)
    local h = walk.output(new)
    if not core.is_tensor(h) then
      core.raise(("%s: the cell gave %s as its state; expected a tensor, or a table with the tensor h"):format(who,
        check.describe(new)))
    end
    if h.ndim == 0 or h.shape[1] ~= batch then
      core.raise(("%s: the cell gave h of shape %s; expected %d rows"):format(who, check.shape_text(h.shape), batch))
    end
    return new
  end
end

-- What a sequence without steps gives.
local function nothing(self, who, state)
  local h = walk.output(state)
  if not core.is_tensor(h) then
    core.raise(who .. ": there is no step and no state; expected at least one of them")
  end
  local y = core.zeros(0, table.unpack(h.shape)):to(h.dtype)
  return self.batch_first and y:transpose(1, 2) or y, state
end

---@param x lurn.Tensor (T, N, ...), or (N, T, ...) with batch_first: the cell gets (N, ...)
---@param state? any what the cell takes; nil is passed on
---@param given? {lengths: lurn.Tensor|integer[]} of each sequence (N), 0 to T: y is zero past it, the state that at it
---@return lurn.Tensor y (T, N, H), or (N, T, H) with batch_first: h of every step
---@return any state after the last step of each sequence, as the cell gives it
function Unroll:forward(x, state, given)
  local who = getmetatable(self).__name
  check.tensor(who, "input", x)
  if x.ndim < 2 then
    core.raise(("%s: input has shape %s; expected (%s, ...)"):format(who, check.shape_text(x.shape),
      self.batch_first and "N, T" or "T, N"))
  end
  if self.batch_first then x = x:transpose(1, 2) end
  local steps, batch = x.shape[1], x.shape[2]
  local lengths = lengths_of.read(who, options.read(who, given, call_schema).lengths)
  if lengths then lengths_of.checked(who, lengths, steps, batch) end
  if steps == 0 then return nothing(self, who, state) end
  local step = stepper(self, who, walk.without_padding(x, lengths), batch)
  local outputs, last = walk.run(step, steps, state, lengths, self.reverse)
  local y = walk.stack(outputs, steps)
  return self.batch_first and y:transpose(1, 2) or y, last
end

function Unroll:extra_repr()
  local parts = {}
  for _, option in ipairs(schema) do
    if self[option.name] then parts[#parts + 1] = option.name .. "=true" end
  end
  return table.concat(parts, ", ")
end

return Unroll
