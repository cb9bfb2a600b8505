-- Noise within recurrent layers and cells in training: zoneout, and dropout of the hidden state.
--
-- Zoneout: each unit of h and of c keeps its former value with a probability, drawn for each step, sequence and unit;
-- in evaluation it takes the expected value. Krueger et al.: Zoneout: regularizing RNNs by randomly preserving hidden
-- activations. ICLR 2017.
-- Recurrent dropout: what the products W_hh h_(t-1) see of h_(t-1) is dropped out, by one mask per sequence for all
-- steps of a call. Gal, Ghahramani: A theoretically grounded application of dropout in recurrent neural networks. NIPS
-- 2016.
--
-- A layer with noise goes step by step, which is slower than the fused op.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local lengths_of = require "lurn.nn.lengths"
local slots = require "lurn.nn.slots"
local StepRecord = require "lurn.nn.step_record"
local walk = require "lurn.nn.walk"

local noise = {}

---@alias lurn.nn.Zoneout number|{h: number?, c: number?}

noise.zoneout_option = { name = "zoneout", kind = "any", default = 0 }
noise.recurrent_dropout_option = { name = "recurrent_dropout", kind = "probability", default = 0 }

-- ---- The option zoneout ----

local Rates = { __name = "Zoneout" }
function Rates:__tostring() return ("{h=%.14g, c=%.14g}"):format(self.h, self.c) end

local function check_rate(who, what, value)
  if value == nil then return 0 end
  if type(value) == "number" and value >= 0 and value <= 1 then return value end
  core.raise(("%s: %s is %s; expected a number from 0 to 1"):format(who, what, check.describe(value)))
end

---The option as a layer keeps it: one number, or h and c that differ.
---@param who string
---@param given lurn.nn.Zoneout
---@param has_cell boolean whether there is a c
---@return lurn.nn.Zoneout
function noise.read_zoneout(who, given, has_cell)
  if type(given) ~= "table" then
    if type(given) == "number" then return check_rate(who, "zoneout", given) end
    core.raise(("%s: zoneout is %s; expected a number or {h = ..., c = ...}"):format(who, check.describe(given)))
  end
  for name in pairs(given) do
    if name ~= "h" and not (name == "c" and has_cell) then
      core.raise(('%s: zoneout has the field "%s"; the state has %s'):format(who, tostring(name),
        has_cell and "h and c" or "only h"))
    end
  end
  local h, c = check_rate(who, "zoneout.h", given.h), check_rate(who, "zoneout.c", given.c)
  if h == c or not has_cell then return h end
  return setmetatable({ h = h, c = c }, Rates)
end

local function rates_of(zoneout)
  if type(zoneout) == "number" then return zoneout, zoneout end
  return zoneout.h, zoneout.c
end

-- ---- Steps ----

local function keep_some(old, new, p, training)
  if p == 0 or new == nil then return new end
  if old == nil then old = core.zeros_like(new) end
  if not training then return old * p + new * (1 - p) end
  return core.where(core.empty(new.shape, { dtype = "bool" }):bernoulli_(p), old, new)
end

---Zoneout of one step: the state that a module's units come to have.
---@param module lurn.nn.Module with the fields zoneout and training
---@param h lurn.Tensor? the former state; nil for zero
---@param c lurn.Tensor?
---@param new_h lurn.Tensor what the step computed
---@param new_c lurn.Tensor?
---@return lurn.Tensor h
---@return lurn.Tensor? c
function noise.zone_out(module, h, c, new_h, new_c)
  if module.zoneout == 0 then return new_h, new_c end
  local of_h, of_c = rates_of(module.zoneout)
  return keep_some(h, new_h, of_h, module.training), keep_some(c, new_c, of_c, module.training)
end

-- A step function from the layer's op, for layers whose step sees h_(t-1) in the product W_hh h_(t-1) only.
local function op_stepper(layer, w, x)
  local slices = walk.unbind(core.unsqueeze(x, 2)) -- T of (1, N, D)
  return function(t, h, c, mask, recorder)
    local record = recorder and core.record()
    local _, new_h, new_c = layer:_run(w, slices[t], mask and h and h * mask or h, c, nil, false, record)
    if recorder then recorder:note_op(t, record) end
    return new_h, new_c
  end
end

-- ---- Layers ----

---Whether a layer goes step by step.
---@param own table the layer's fields
---@return boolean
function noise.is_on(own)
  return own.zoneout ~= 0 or (own.training and own.recurrent_dropout > 0)
end

---The mask of recurrent dropout for one call, one per sequence: 0 or 1 / (1 - p); nil where there is none.
---@param layer lurn.nn.Recurrent
---@param w table weights
---@param x lurn.Tensor (T, N, D)
---@return lurn.Tensor? # (N, H)
function noise.mask(layer, w, x)
  local p = layer.training and layer.recurrent_dropout or 0
  if p == 0 then return nil end
  return core.dropout(core.ones(x.shape[2], w.w_hh.shape[2], { dtype = x.dtype }), p, true)
end

-- A step function over x, T at least 1.
local function run_steps(step, x, h, c, lengths, reverse)
  local steps = x.shape[1]
  local outputs, last = walk.run(function(t, state)
    local new_h, new_c = step(t, state.h, state.c)
    return { h = new_h, c = new_c }
  end, steps, { h = h, c = c }, lengths, reverse)
  return walk.stack(outputs, steps), last.h, last.c
end

---Raises unless lengths are 0 to T for each sequence.
---@param who string
---@param lengths lurn.Tensor
---@param x lurn.Tensor (T, N, D)
function noise.check_lengths(who, lengths, x) lengths_of.checked(who, lengths, x.shape[1], x.shape[2]) end

---Raises unless a state has the dtype of the input.
---@param who string
---@param x lurn.Tensor
---@param h lurn.Tensor?
---@param c lurn.Tensor?
function noise.check_state(who, x, h, c)
  local misfit = h and h.dtype ~= x.dtype and "h" or c and c.dtype ~= x.dtype and "c"
  if not misfit then return end
  core.raise(("%s: state.%s is %s; expected %s like the input"):format(who, misfit, (misfit == "h" and h or c).dtype,
    x.dtype))
end

-- What a sequence without steps gives; in the graph, as with steps.
local function without_steps(layer, w, x, h, c, record)
  local like, batch, columns = { dtype = x.dtype }, x.shape[2], w.w_hh.shape[2]
  if record then StepRecord.fill_empty(record, layer, x, columns) end
  c = layer.has_cell and (c or core.zeros(batch, layer.hidden_size, like)) or nil
  return core.narrow(core.linear(x, w.w_ih), 3, 1, columns), h or core.zeros(batch, columns, like), c
end

-- What takes down the steps of a call; nil where nothing is recorded.
local function recorder_of(layer, record, reverse)
  if not record then return nil end
  local _, of_c = rates_of(layer.zoneout)
  return StepRecord.recorder(record, reverse, of_c > 0)
end

---One layer in one direction, step by step, with what noise it has. A layer may have a method `_stepper(w, x)` that
---gives `step(t, h, c, mask, recorder)`: h and c after step t, of which the products see h times mask. It tells the
---recorder, unless that is nil, its gates and the c that it computes h from.
---@param layer lurn.nn.Recurrent
---@param record? lurn.nn.StepRecord
---@param mask? lurn.Tensor that of recurrent dropout; drawn when not given
---@return lurn.Tensor y
---@return lurn.Tensor h_n
---@return lurn.Tensor? c_n
function noise.by_steps(layer, w, x, h, c, lengths, reverse, record, mask)
  local who = getmetatable(layer).__name
  noise.check_state(who, x, h, c)
  if lengths then noise.check_lengths(who, lengths, x) end
  if x.shape[1] == 0 then return without_steps(layer, w, x, h, c, record) end
  x = walk.without_padding(x, lengths)
  local step, recorder = (layer._stepper or op_stepper)(layer, w, x), recorder_of(layer, record, reverse)
  mask = mask or noise.mask(layer, w, x)
  local y, h_n, c_n = run_steps(function(t, old_h, old_c)
    local new_h, new_c = noise.zone_out(layer, old_h, old_c, step(t, old_h, old_c, mask, recorder))
    if recorder then return recorder:note_state(t, new_h, new_c) end
    return new_h, new_c
  end, x, h, c, lengths, reverse)
  if recorder then recorder:finish(record, x.shape[1], c, lengths) end
  return y, h_n, c_n
end

---Whether calls go step by step.
---@param layer lurn.nn.Recurrent
---@return boolean
function noise.goes_by_steps(layer) return layer._always_by_steps or noise.is_on(slots.values(layer)) end

---One layer in one direction: its `_run`, or step by step where there is noise.
---@param layer lurn.nn.Recurrent
---@return lurn.Tensor y
---@return lurn.Tensor h_n
---@return lurn.Tensor? c_n
function noise.run(layer, w, x, h, c, lengths, reverse, record, mask)
  local run = noise.goes_by_steps(layer) and noise.by_steps or layer._run
  return run(layer, w, x, h, c, lengths, reverse, record, mask)
end

return noise
