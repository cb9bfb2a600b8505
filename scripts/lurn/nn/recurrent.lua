-- What nn.RNN, nn.LSTM and nn.GRU share: stacking, both directions, dropout between layers, states. Each layer and
-- direction is one fused op of the engine.

local getmetatable = getmetatable

local core = require "lurn.core"
local check = require "lurn.nn.check"
local checkpoint = require "lurn.nn.checkpoint"
local gates = require "lurn.nn.gates"
local initializers = require "lurn.nn.initializers"
local lengths_of = require "lurn.nn.lengths"
local Module = require "lurn.nn.module"
local noise = require "lurn.nn.noise"
local options = require "lurn.nn.options"
local padding = require "lurn.nn.padding"
local parameter = require "lurn.nn.parameter"
local slots = require "lurn.nn.slots"
local State = require "lurn.nn.state"
local StepRecord = require "lurn.nn.step_record"
local VariationalDropout = require "lurn.nn.variational_dropout"

local SLOTS <const> = slots.KEY

---@class lurn.nn.RecurrentOptions
---@field num_layers? integer (1)
---@field bias? boolean (true)
---@field dropout? number (0) probability, on the output of each layer but the last, in training
---@field variational? boolean (false) dropout takes one mask for all steps of a sequence, as nn.VariationalDropout does
---@field bidirectional? boolean (false) y has (..., 2 * hidden): forward, then reverse
---@field batch_first? boolean (false) x and y are (N, T, ...) instead of (T, N, ...); states are (L, N, H) all the same
---@field zoneout? number|{h: number?, c: number?} (0) probability that a unit keeps its former value at a step
---@field recurrent_dropout? number (0) probability, in training, on h_(t-1) in W_hh h_(t-1)
---@field checkpoint? boolean|integer (false) how many segments a sequence is cut into, true for sqrt(T), see below

---@class lurn.nn.RecurrentCallOptions
---@field lengths? lurn.Tensor|integer[] of each sequence (N), 0 to T: y is zero past it, and the state is the one at it
---@field record? table is given the recordings of this call, see lurn.nn.Recurrent
---@field checkpoint? boolean|integer instead of the layer's option

---Layers and directions are named as in PyTorch: weight_ih_l0 (G*H, D), weight_hh_l0 (G*H, H), bias_ih_l0 and
---bias_hh_l0 (G*H), then ..._l0_reverse, ..._l1 and so on; G is the number of gates. At first all are uniform on
---+-1/sqrt(H). What an LSTM may have besides is told there: with a projection to P, h_t has P columns instead of H, and
---D of the layers above is P times the number of directions.
---
---Noise: with `zoneout` each unit of h and of c keeps its former value with that probability, drawn for each step, unit
---and sequence in training; in evaluation it takes the expected value p old + (1 - p) new. {h = p, c = p} gives each
---its own. With `recurrent_dropout` the products W_hh h_(t-1) see h_(t-1) through one dropout mask per sequence for all
---steps of a call. Both make a layer go step by step, which is slower than the fused op.
---Krueger et al.: Zoneout: regularizing RNNs by randomly preserving hidden activations. ICLR 2017. Gal, Ghahramani: A
---theoretically grounded application of dropout in recurrent neural networks. NIPS 2016.
---
---Checkpoints: with `checkpoint` each layer and direction goes through the sequence in segments and keeps x, y and the
---states between segments, but none of the gates and cells within. Backward computes a segment anew when it comes to
---it. So training on T steps holds O(sqrt T) of them, for the time of one more forward pass. y, the state and, but for
---rounding, the gradients are those of the plain call; they have the bits of a layer that is called segment by segment.
---Such a call cannot be recorded. Chen, Xu, Zhang, Guestrin: Training deep nets with sublinear memory cost. 2016.
---
---Recordings: `local rec = {}; layer(x, state, {record = rec})` puts a record of layer l into `rec[l]`, and of its
---reverse direction into `rec.reverse[l]`. A record has, as tensors in time order whatever the direction,
---
---    gates        after their nonlinearity (T, N, G*H): LSTM i f g o, coupled f g o, GRU r z n, RNN h
---    hidden       h_t (T, N, H), with a projection (T, N, P)
---    cell         c_t (T, N, H), LSTM only
---    grad_hidden  after backward: the total gradient of h_t, from the output and from later steps, shaped as hidden
---    grad_cell    after backward: that of c_t, LSTM only
---
---and nil for what is not there, or not yet. With zoneout, hidden and cell are what it made of them. A table that is
---passed again gets new records; the old ones stay as they are.
---@class lurn.nn.Recurrent: lurn.nn.Module
---@field input_size integer
---@field hidden_size integer
---@field num_layers integer
---@field bias boolean
---@field dropout number
---@field variational boolean
---@field bidirectional boolean
---@field batch_first boolean
local Recurrent = Module:extend "Recurrent"

-- What each kind of layer sets: its name in messages of the constructor, its number of gates, whether it has a cell
-- state c.
Recurrent.kind, Recurrent.gates, Recurrent.has_cell = "Recurrent", 1, false

---Options that all kinds of layers have.
---@type lurn.nn.OptionSpec[]
Recurrent.schema = {
  { name = "num_layers", kind = "count", default = 1 },
  { name = "bias", kind = "flag", default = true },
  { name = "dropout", kind = "probability", default = 0 },
  { name = "bidirectional", kind = "flag", default = false },
  { name = "batch_first", kind = "flag", default = false },
  { name = "variational", kind = "flag", default = false },
  noise.zoneout_option,
  noise.recurrent_dropout_option,
  checkpoint.option,
}

-- ---- Making ----

-- The weights of any layer and direction by the op's names, in the order in which they are made: "w_ih" is the
-- parameter weight_ih_l0, and so on.
---@return {name: string, shape: integer[]}[]
function Recurrent:_shapes(input_size)
  local rows = self.gates * self.hidden_size
  local list = { { name = "w_ih", shape = { rows, input_size } }, { name = "w_hh", shape = { rows, self._columns } } }
  if self.bias then
    table.insert(list, { name = "b_ih", shape = { rows } })
    table.insert(list, { name = "b_hh", shape = { rows } })
  end
  return list
end

local full_names = { w = "weight", b = "bias" }

-- Makes the weights of a layer and direction, both counted from 1; returns the parameters' names by the op's.
local function add_weights(self, layer, direction)
  local suffix = ("_l%d%s"):format(layer - 1, direction == 2 and "_reverse" or "")
  local names = {}
  for _, weight in ipairs(self:_shapes(layer == 1 and self.input_size or self._directions * self._columns)) do
    local kind, rest = weight.name:match "^(.)(.*)$"
    local name = full_names[kind] .. rest .. suffix
    names[weight.name] = name
    self[name] = parameter.new(core.empty(weight.shape))
  end
  return names
end

---What the options of one kind of layer, which are fields by now, change before there are weights.
function Recurrent:_choose() end

---@param input_size integer
---@param hidden_size integer
---@param given? lurn.nn.RecurrentOptions
---@return table # the options, defaults filled in
function Recurrent:init(input_size, hidden_size, given)
  local who = "nn." .. self.kind
  self.input_size = check.count(who, "input_size", input_size)
  self.hidden_size = check.count(who, "hidden_size", hidden_size)
  local chosen = options.read(who, given, self.schema)
  for _, option in ipairs(self.schema) do
    if not option.only then self[option.name] = chosen[option.name] end
  end
  self.zoneout = noise.read_zoneout(who, self.zoneout, self.has_cell)
  checkpoint.read(who, self.checkpoint)
  self._directions = self.bidirectional and 2 or 1
  self._columns = self.hidden_size -- of the hidden state
  self:_choose()
  self._weights = {}
  for layer = 1, self.num_layers do
    for direction = 1, self._directions do table.insert(self._weights, add_weights(self, layer, direction)) end
  end
  return chosen
end

---Draws new weights.
function Recurrent:reset_parameters()
  local bound = 1 / math.sqrt(self.hidden_size)
  for _, names in ipairs(self._weights) do
    for _, weight in ipairs(self:_shapes(0)) do initializers.uniform_(self[names[weight.name]], -bound, bound) end
  end
end

-- ---- Calling ----

local call_schema = {
  { name = "lengths", kind = "any" }, { name = "record", kind = "table" }, { name = "checkpoint", kind = "any" },
}

-- Checks the input and gives its number of sequences. What is right is found so without a list of its sizes.
local function check_input(self, own, who, x)
  local T, N, D, more = core.sizes_like(x, own.weight_ih_l0)
  if D == own.input_size and more == nil then return own.batch_first and T or N end
  check.tensor(who, "input", x)
  local shape = x.shape
  if #shape ~= 3 then
    core.raise(("%s: input has shape %s; expected (%s, %d), or (T, %d) of one sequence"):format(who,
      check.shape_text(shape), self.batch_first and "N, T" or "T, N", self.input_size, self.input_size))
  end
  check.features(who, shape, self.input_size)
  check.dtype(who, x, self.weight_ih_l0)
  return shape[self.batch_first and 1 or 2]
end

-- Lengths, the table for recordings and the choice of checkpoints; most calls have none.
local function read_options(who, given)
  if given == nil then return nil, nil, nil end
  local chosen = options.read(who, given, call_schema)
  return lengths_of.read(who, chosen.lengths), chosen.record, checkpoint.read(who, chosen.checkpoint)
end

-- A new record for a layer and direction in the caller's table, or nil where nothing is recorded.
local function new_record(self, recordings, layer, direction)
  if not recordings then return nil end
  local record = noise.goes_by_steps(self) and StepRecord.new() or core.record()
  local list = direction == 1 and recordings or recordings.reverse
  list[layer] = record
  return record
end

local function prepare_recordings(self, recordings)
  if not recordings then return end
  for layer = 1, math.max(#recordings, self.num_layers) do recordings[layer] = nil end
  recordings.reverse = self.bidirectional and {} or nil
end

---One layer in one direction: y, h_n and c_n (or nil). What each kind of layer defines.
---@param w table weights: w_ih, w_hh, b_ih, b_hh, and what _shapes has besides
---@param x lurn.Tensor (T, N, D)
---@param h lurn.Tensor? (N, H)
---@param c lurn.Tensor? (N, H)
---@param lengths lurn.Tensor?
---@param reverse boolean
---@param record any
---@return lurn.Tensor y
---@return lurn.Tensor h_n
---@return lurn.Tensor? c_n
function Recurrent:_run(w, x, h, c, lengths, reverse, record) -- luacheck: ignore 212
  core.raise "Recurrent: use nn.RNN, nn.LSTM or nn.GRU"
end

-- The weights of a layer and direction by the op's names.
local function weights_of(self, row)
  local derived = slots.derived(self)
  local weights = derived[row]
  if weights == nil then
    weights = {}
    for part, name in pairs(self._weights[row]) do weights[part] = self[name] end
    derived[row] = weights
  end
  return weights
end

-- The states that the caller passed, checked.
local function read_state(class, own, who, state, rows, N)
  if state == nil then return nil, nil end
  local has_cell = class.has_cell
  local columns, hidden = own._columns, own.hidden_size
  if getmetatable(state) == State and core.has_shape(state.h, rows, N, columns)
    and (not has_cell or core.has_shape(state.c, rows, N, hidden)) then
    return state.h, has_cell and state.c or nil
  end
  return State.parts(who, state, { rows, N, columns }, has_cell and { rows, N, hidden })
end

---For a layer of one direction that is not stacked: `core.prepare_layer` of its op. Only kinds that are one fused op
---have it.
---@type (fun(self: lurn.nn.Recurrent, w: table): fun(x: any, state: any): lurn.Tensor?, lurn.nn.State?)?
Recurrent._prepare = nil

-- One layer in one direction; `call` holds what is the same for all and collects the states.
local function run_row(self, call, x, layer, direction)
  local row = (layer - 1) * call.directions + direction
  local h, c = call.h and core.select(call.h, 1, row), call.c and core.select(call.c, 1, row)
  local record = new_record(self, call.record, layer, direction)
  local y
  y, call.h_n[row], call.c_n[row] =
    call.run(self, weights_of(self, row), x, h, c, call.lengths, direction == 2, record)
  return y
end

-- One layer in all its directions.
local function run_layer(self, call, x, layer)
  if call.directions == 1 then return run_row(self, call, x, layer, 1) end
  return core.cat({ run_row(self, call, x, layer, 1), run_row(self, call, x, layer, 2) }, 3)
end

-- What one layer hands to the next.
local function between_layers(own, x)
  if not own.training or own.dropout == 0 then return x end
  return own.variational and VariationalDropout.drop(x, own.dropout, 1) or core.dropout(x, own.dropout, true)
end

-- A new first dimension that counts layers and directions.
local function stacked(list)
  return #list == 1 and core.unsqueeze(list[1], 1) or core.stack(list, 1)
end

-- All layers: y, h_n and c_n (or nil).
local function run_layers(self, own, call, x)
  prepare_recordings(self, call.record)
  for layer = 1, own.num_layers do
    x = run_layer(self, call, x, layer)
    if layer < own.num_layers then x = between_layers(own, x) end
  end
  return x, stacked(call.h_n), self.has_cell and stacked(call.c_n) or nil
end

-- Any call: says what is wrong with it, or computes it.
local function call(self, x, state, given)
  local class, own = getmetatable(self), slots.values(self)
  local who = class.__name
  local lengths, recordings, segments = read_options(who, given)
  local rows, N = own.num_layers * own._directions, check_input(self, own, who, x)
  local h, c = read_state(class, own, who, state, rows, N)
  if own.batch_first then x = core.transpose(x, 1, 2) end
  x, h, c = run_layers(self, own, {
    run = checkpoint.runner(segments, own.checkpoint),
    directions = own._directions, lengths = lengths, record = recordings,
    h = h, c = c, h_n = {}, c_n = {},
  }, x)
  if own.batch_first then x = core.transpose(x, 1, 2) end
  return x, State.new(h, c)
end

-- Any call with one sequence by itself, (T, D), and states (rows, H): a batch of one.
local function call_alone(self, x, state, given)
  local class, own = getmetatable(self), slots.values(self)
  local who, dim = class.__name, own.batch_first and 1 or 2
  check.features(who, x.shape, self.input_size)
  check.dtype(who, x, self.weight_ih_l0)
  if read_options(who, given) then
    core.raise(("%s: lengths are those of a batch; the input is one sequence, of shape %s"):format(who,
      check.shape_text(x.shape)))
  end
  local rows = own.num_layers * own._directions
  local h, c = State.parts(who, state, { rows, own._columns }, class.has_cell and { rows, own.hidden_size })
  local y, after = Recurrent.forward(self, core.unsqueeze(x, dim), h and State._of_batch(h, c), given)
  return core.select(y, dim, 1), after:_alone()
end

-- What calls without options may try first, as the fields are now; false where there is nothing of the kind.
local function prepare(self)
  local class, own = getmetatable(self), slots.values(self)
  local alone = own.num_layers * own._directions == 1 and not own.batch_first and not own.checkpoint
  if not alone or noise.is_on(own) or not class._prepare then return false end
  return class._prepare(self, weights_of(self, 1))
end

-- The same for a PackedSequence, which has the lengths.
local function forward_packed(self, packed, state, given)
  local chosen = { lengths = packed.lengths }
  for name, value in pairs(given or {}) do
    if name == "lengths" then core.raise(getmetatable(self).__name .. ": a packed sequence has its lengths already") end
    chosen[name] = value
  end
  local batch_first = self.batch_first
  local y, last = self:forward(batch_first and packed.padded:transpose(1, 2) or packed.padded, state, chosen)
  return padding.packed(batch_first and y:transpose(1, 2) or y, packed.lengths), last
end

---`local y, state = layer(x, state, options)`; state and options may be left out, and state may be nil with options
---following.
---
---One sequence may come by itself, (T, input_size) with batch_first too: then y is (T, directions * hidden_size), and
---the states that come and go are (num_layers * directions, hidden_size). There are no lengths then; recordings are
---those of a batch of one.
---@param x lurn.Tensor|lurn.nn.PackedSequence (T, N, input_size), or (N, T, input_size) with batch_first
---@param state? lurn.nn.State|table also {h = ..., c = ...}; nil means zero
---@param given? lurn.nn.RecurrentCallOptions
---@return lurn.Tensor|lurn.nn.PackedSequence y (T, N, directions * hidden_size), or batch first: h_t of the last layer
---@return lurn.nn.State state after the last step: .h and, for LSTM, .c, (num_layers * directions, N, hidden_size);
---with a projection y and .h have proj_size instead of hidden_size
function Recurrent:forward(x, state, given)
  local own = self[SLOTS]
  local prepared = own.prepared
  if prepared and given == nil then
    local y, after = prepared(x, state)
    if y ~= nil then return y, after end
  end
  if type(x) == "table" and padding.is_packed(x) then return forward_packed(self, x, state, given) end
  local way = core.is_tensor(x) and x.ndim == 2 and call_alone or call
  local y, after = way(self, x, state, given)
  if prepared == nil then own.prepared = prepare(self) end
  return y, after
end

-- ---- Printing ----

function Recurrent:extra_repr()
  return ("%d, %d%s"):format(self.input_size, self.hidden_size, gates.describe(self, self.schema))
end

return Recurrent
