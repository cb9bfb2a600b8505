-- Recordings of layers that go step by step: the same fields as the records of the fused ops, filled from Lua.
--
-- A tap is an identity in the graph: what arrives there in backward is the total gradient of the tensor that it passes
-- on, since all uses of the tensor come after it.

local core = require "lurn.core"
local lengths = require "lurn.nn.lengths"

---What one layer and direction records; fields as told at nn.Recurrent.
---@class lurn.nn.StepRecord
---@field gates lurn.Tensor (T, N, G*H)
---@field hidden lurn.Tensor (T, N, H)
---@field cell lurn.Tensor? (T, N, H)
---@field grad_hidden lurn.Tensor? after backward (T, N, H)
---@field grad_cell lurn.Tensor? after backward (T, N, H)
local StepRecord = { __name = "lurn.Record" }

-- The recorder behind each record.
local recorders = setmetatable({}, { __mode = "k" })

---An empty record.
---@return lurn.nn.StepRecord
function StepRecord.new() return setmetatable({}, StepRecord) end

-- ---- Gradients ----

-- The list of a sweep of backward as one tensor, 0 where nothing arrived; nil before any sweep.
local function stacked_grads(grads, like)
  if not like or next(grads) == nil then return nil end
  local list, none = {}, core.zeros_like(like:select(1, 1))
  for t = 1, like.shape[1] do list[t] = grads[t] or none end
  return core.no_grad(core.stack, list, 1)
end

-- A sweep goes from late to early steps in the order of walking, so a later step than the last one begins another.
local function note(recorder, kind, t, grad)
  local position = recorder.reverse and -t or t
  local grads = recorder[kind]
  if position > recorder.last or (position == recorder.last and grads[t]) then
    recorder.grad_hidden, recorder.grad_cell, recorder.visited = {}, {}, {}
  end
  recorder.last = position
  recorder[kind][t] = core.held(grad)
end

local function tap(recorder, kind, t, x)
  if not x.requires_grad then return x end
  return core.custom("record", { x }, { x:detach() }, function(grad)
    if grad then note(recorder, kind, t, grad) end
    return grad
  end)
end

-- Where a step is a fused op of its own, that knows the total gradient of its c, which h depends on as well.
local function gather_cell_grads(recorder)
  for t, record in pairs(recorder.inner) do
    local reached = recorder.visited[t] or recorder.grad_hidden[t]
    local grad = reached and record.grad_cell
    recorder.grad_cell[t] = grad and core.held(grad:select(1, 1)) or nil
  end
end

local readers = {
  grad_hidden = function(recorder, record) return stacked_grads(recorder.grad_hidden, record.hidden) end,
  grad_cell = function(recorder, record)
    gather_cell_grads(recorder)
    return stacked_grads(recorder.grad_cell, record.cell)
  end,
}

local others = { gates = true, hidden = true, cell = true }

function StepRecord.__index(record, name)
  local recorder, read = recorders[record], readers[name]
  if read then return recorder and read(recorder, record) or nil end
  if others[name] then return nil end
  core.raise(('a record has no field "%s"; it has gates, cell, hidden, grad_hidden, grad_cell'):format(tostring(name)))
end

-- ---- Recording ----

---Takes down the steps of one call.
---@class lurn.nn.Recorder
local Recorder = {}
Recorder.__index = Recorder

---@param record lurn.nn.StepRecord
---@param reverse boolean
---@param zoned boolean whether c is what zoneout made of it; else it is the c that h was computed from
---@return lurn.nn.Recorder
function StepRecord.recorder(record, reverse, zoned)
  local recorder = setmetatable({ reverse = reverse, zoned = zoned, last = -math.huge, gates = {}, hidden = {},
    cell = {}, inner = {}, grad_hidden = {}, grad_cell = {}, visited = {} }, Recorder)
  recorders[record] = recorder
  return recorder
end

---The gates of a step, after their nonlinearities, in the order of the weights.
---@param t integer
---@param ... lurn.Tensor (N, H) each, or one (N, G*H)
function Recorder:note_gates(t, ...)
  local gates = select("#", ...) == 1 and (...):detach() or core.no_grad(core.cat, { ... }, 2)
  self.gates[t] = core.held(gates)
end

---The record of a step that was an op of its own.
---@param t integer
---@param record any
function Recorder:note_op(t, record)
  self:note_gates(t, record.gates:select(1, 1))
  if not self.zoned then self.inner[t] = record end
end

---The c that a step computes h from; the step goes on with what this returns.
---@param t integer
---@param c lurn.Tensor (N, H)
---@return lurn.Tensor
function Recorder:note_cell(t, c) return self.zoned and c or tap(self, "grad_cell", t, c) end

---The state after a step; the walk goes on with what this returns.
---@param t integer
---@param h lurn.Tensor
---@param c lurn.Tensor?
---@return lurn.Tensor h
---@return lurn.Tensor? c
function Recorder:note_state(t, h, c)
  h = tap(self, "grad_hidden", t, h)
  if c then c = tap(self, self.zoned and "grad_cell" or "visited", t, c) end
  self.hidden[t], self.cell[t] = core.held(h:detach()), c and core.held(c:detach())
  return h, c
end

-- Steps first..last of the walk.
local function order(steps, reverse)
  if reverse then return steps, 1, -1 end
  return 1, steps, 1
end

-- c of every step: where a sequence is not live, the one it had before in the order of walking.
local function held_cells(self, live, steps, c)
  local list = {}
  local first, last, stride = order(steps, self.reverse)
  for t = first, last, stride do
    local new = self.cell[t]
    if live then new = new and core.where(live:select(1, t):unsqueeze(-1), new, c) or c end
    list[t], c = new, new
  end
  return core.stack(list, 1)
end

-- Values of every step, 0 past the lengths.
local function within(list, live, steps)
  local like
  for t = 1, steps do like = like or list[t] end
  local all = {}
  for t = 1, steps do all[t] = list[t] or core.zeros_like(like) end
  local stacked = core.stack(all, 1)
  return live and core.where(live:unsqueeze(-1), stacked, 0) or stacked
end

---Puts what was taken down into the record.
---@param record lurn.nn.StepRecord
---@param steps integer T, at least 1
---@param c lurn.Tensor? before the first step (N, H); nil for zero
---@param given lurn.Tensor? lengths (N)
function Recorder:finish(record, steps, c, given)
  core.no_grad(function()
    local live = given and core.logical_not(lengths.past(given, steps))
    record.gates = core.held(within(self.gates, live, steps))
    record.hidden = core.held(within(self.hidden, live, steps))
    local _, some = next(self.cell)
    if some then record.cell = core.held(held_cells(self, live, steps, c or core.zeros_like(some))) end
  end)
  self.gates, self.hidden, self.cell = {}, {}, {}
end

---The record of a call without steps.
---@param record lurn.nn.StepRecord
---@param layer lurn.nn.Recurrent
---@param x lurn.Tensor (0, N, D)
---@param columns integer of the hidden state
function StepRecord.fill_empty(record, layer, x, columns)
  local function none(n) return core.held(core.zeros(0, x.shape[2], n, { dtype = x.dtype })) end
  record.gates, record.hidden = none(layer.gates * layer.hidden_size), none(columns)
  if layer.has_cell then record.cell = none(layer.hidden_size) end
end

return StepRecord
