-- The state of recurrent layers and cells between calls.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local methods = require "lurn.methods"

---`h` and, for LSTM, `c`: (num_layers * directions, N, hidden) for layers, layer by layer and in each forward before
---reverse; (N, hidden) for cells. Of a sequence by itself, without N; `reset` and `index_select` are for batches. With
---a projection h is as wide as that, and c as the hidden size.
---@class lurn.nn.State
---@field h lurn.Tensor
---@field c lurn.Tensor?
local State = { __name = "State" }
State.__index = State

---@param h lurn.Tensor
---@param c? lurn.Tensor
---@return lurn.nn.State
function State.new(h, c) return setmetatable({ h = h, c = c }, State) end

-- A state of fn(h) and fn(c).
local function map(state, fn, ...) return State.new(fn(state.h, ...), state.c and fn(state.c, ...)) end

---The same numbers outside the graph: where backpropagation through time stops. Shares memory.
---@return lurn.nn.State
function State:detach()
  return map(self, function(t) return t:detach() end)
end

---A copy with memory of its own, in the graph.
---@return lurn.nn.State
function State:clone()
  return map(self, function(t) return t:clone() end)
end

-- ---- Rows ----

-- The dimension that counts sequences, and their number.
local function batch_of(who, state)
  local shape = state.h.shape
  if #shape < 2 then
    core.raise(("%s: the state of one sequence, h of shape %s; rows are those of a batch"):format(who,
      check.shape_text(shape)))
  end
  return #shape - 1, shape[#shape - 1]
end

-- Row numbers 1..n as a list, from a list of numbers (negative: from the end) or a tensor of integers.
local function row_numbers(who, rows, n)
  if core.is_tensor(rows) then rows = rows:reshape(-1):totable() end
  if type(rows) ~= "table" then
    core.raise(("%s: rows is %s; expected a list or a tensor of row numbers"):format(who, check.describe(rows)))
  end
  local list = {}
  for i, row in ipairs(rows) do
    local number = math.tointeger(row)
    if number and number < 0 then number = n + 1 + number end
    if not number or number < 1 or number > n then
      core.raise(("%s: row %s is not in 1..%d"):format(who, tostring(row), n))
    end
    list[i] = number
  end
  return list
end

-- A bool tensor that is true at the given rows: (N, 1).
local function mask_of(who, rows, n)
  if core.is_tensor(rows) and rows.dtype == "bool" then
    if not check.same_shape(rows.shape, { n }) then
      core.raise(("%s: the mask has shape %s; expected %s"):format(who, check.shape_text(rows.shape),
        check.shape_text { n }))
    end
    return rows:reshape(n, 1)
  end
  local mask = core.zeros(n, 1, { dtype = "bool" })
  for _, row in ipairs(row_numbers(who, rows, n)) do mask:set(true, row, 1) end
  return mask
end

---A new state in which those sequences begin anew, from zero; the others go on, and gradients with them.
---@param rows integer[]|lurn.Tensor row numbers, or a bool tensor (N) that is true where a sequence begins anew
---@return lurn.nn.State
function State:reset(rows)
  local _, n = batch_of("reset", self)
  return map(self, core.masked_fill, mask_of("reset", rows, n), 0)
end

---A new state of those sequences in that order, each as often as it is named: for beam search, or to drop finished
---ones.
---@param rows integer[]|lurn.Tensor row numbers
---@return lurn.nn.State
function State:index_select(rows)
  local dim, n = batch_of("index_select", self)
  local index = core.tensor(row_numbers("index_select", rows, n), { dtype = "int64" })
  return map(self, core.index_select, dim, index)
end

function State:__tostring()
  local c = self.c and ", c " .. check.shape_text(self.c.shape) or ""
  return ("State(h %s%s)"):format(check.shape_text(self.h.shape), c)
end

-- ---- Arguments ----

local function check_part(who, part, t, shape)
  check.tensor(who, "state." .. part, t)
  if not check.same_shape(t.shape, shape) then
    core.raise(("%s: state.%s has shape %s; expected %s"):format(who, part, check.shape_text(t.shape),
      check.shape_text(shape)))
  end
end

---The state of a batch of one from h and c of a sequence by itself, which lack the dimension of sequences.
---@param h lurn.Tensor
---@param c? lurn.Tensor
---@return lurn.nn.State
function State._of_batch(h, c) return State.new(core.unsqueeze(h, -2), c and core.unsqueeze(c, -2)) end

---The state of the one sequence of a batch, without the dimension of sequences.
---@return lurn.nn.State
function State:_alone() return map(self, core.select, -2, 1) end

methods.guard(State, "state", function(value) return getmetatable(value) == State end, { new = true })

---The h and c of what a caller passed as a state: nil, a State or a table {h = ..., c = ...}. Raises when it does not
---fit.
---@param who string
---@param state lurn.nn.State|table|nil
---@param shape integer[] what h must have
---@param cell_shape? integer[] what c must have; nil where there is none
---@return lurn.Tensor? h
---@return lurn.Tensor? c
function State.parts(who, state, shape, cell_shape)
  if state == nil then return nil, nil end
  local expected = cell_shape and "{h = ..., c = ...}" or "{h = ...}"
  if type(state) ~= "table" then
    core.raise(("%s: the state is %s; expected a state or a table %s"):format(who, check.describe(state), expected))
  end
  if state.h == nil then
    core.raise(("%s: the state has no h; expected a state or a table %s; options come third"):format(who, expected))
  end
  check_part(who, "h", state.h, shape)
  if not cell_shape then return state.h, nil end
  check_part(who, "c", state.c, cell_shape)
  return state.h, state.c
end

return State
