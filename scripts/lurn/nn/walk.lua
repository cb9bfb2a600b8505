-- Walks a step function over a sequence: what runs cells that are no fused op of the engine over time.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local lengths = require "lurn.nn.lengths"

local walk = {}

---The slices of the first dimension, as views.
---@param x lurn.Tensor (T, ...)
---@return lurn.Tensor[] # T tensors (...)
function walk.unbind(x)
  local list = {}
  for t = 1, x.shape[1] do list[t] = core.select(x, 1, t) end
  return list
end

---x with 0 past the lengths, so that whatever a caller padded with, not-a-number too, reaches no result and no
---gradient.
---@param x lurn.Tensor (T, N, ...)
---@param t lurn.Tensor? lengths (N)
---@return lurn.Tensor
function walk.without_padding(x, t)
  if not t or not check.is_float(x) then return x end
  local past = lengths.past(t, x.shape[1])
  for _ = 3, x.ndim do past = core.unsqueeze(past, -1) end
  return core.masked_fill(x, past, 0)
end

-- ---- States ----

-- Names of the tensors in a state, in an order that is always the same.
local function names_of(state)
  local names = {}
  for name, value in pairs(state) do
    if core.is_tensor(value) then names[#names + 1] = name end
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  return names
end

-- `new` for the sequences that are live, (N), and `old` for the others; old may be nil for zeros.
local function choose(live, new, old)
  for _ = 2, new.ndim do live = core.unsqueeze(live, -1) end
  return core.where(live, new, old or 0)
end

-- A state of the same kind as `new`, with the former numbers for the sequences that are not live.
local function hold(live, new, old)
  if core.is_tensor(new) then return choose(live, new, old) end
  local state = setmetatable({}, getmetatable(new))
  for name, value in pairs(new) do state[name] = value end
  for _, name in ipairs(names_of(new)) do state[name] = choose(live, new[name], old and old[name]) end
  return state
end

---What a state shows to the outside: itself, or its h.
---@param state lurn.Tensor|table
---@return any
function walk.output(state)
  if core.is_tensor(state) then return state end
  return type(state) == "table" and state.h or nil
end

-- ---- Walking ----

-- The first and the last step in the order of walking, and the stride.
local function order(steps, reverse)
  if reverse then return steps, 1, -1 end
  return 1, steps, 1
end

-- The shortest and the longest length, all steps without lengths.
local function extent(steps, given)
  if not given or given:numel() == 0 then return steps, steps end
  local shortest, longest = steps, 0
  for _, length in ipairs(given:totable()) do
    shortest, longest = math.min(shortest, length), math.max(longest, length)
  end
  return shortest, longest
end

---Calls `step(t, state)`, which gives the new state, for each step in order. A sequence keeps its state past its
---length, so that in reverse it begins at its own end. Steps past all lengths are left out, but one, which tells what
---the results look like.
---@param step fun(t: integer, state: any): any
---@param steps integer T, at least 1
---@param state any nil means zero; a tensor (N, ...), or a table of tensors with h among them
---@param given? lurn.Tensor lengths (N)
---@param reverse boolean
---@return lurn.Tensor[] outputs what the state shows at each step, 0 past a length; none where a step was left out
---@return any state
function walk.run(step, steps, state, given, reverse)
  local shortest, longest = extent(steps, given)
  local outputs = {}
  local first, last, stride = order(math.max(longest, 1), reverse)
  for t = first, last, stride do
    local new = step(t, state)
    outputs[t] = walk.output(new)
    if t > shortest then
      local live = core.ge(given, t)
      outputs[t] = choose(live, outputs[t])
      new = hold(live, new, state)
    end
    state = new
  end
  return outputs, state
end

---The outputs of `run` as one tensor.
---@param outputs lurn.Tensor[]
---@param steps integer T
---@return lurn.Tensor # (T, ...)
function walk.stack(outputs, steps)
  local zeros = #outputs < steps and core.zeros_like(outputs[1])
  for t = #outputs + 1, steps do outputs[t] = zeros end
  return core.stack(outputs, 1)
end

return walk
