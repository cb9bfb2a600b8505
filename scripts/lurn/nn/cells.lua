-- nn.RNNCell, nn.LSTMCell, nn.GRUCell: one step of the layers, through the same fused ops with T = 1.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local gates = require "lurn.nn.gates"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local noise = require "lurn.nn.noise"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"
local slots = require "lurn.nn.slots"
local State = require "lurn.nn.state"

local SLOTS <const> = slots.KEY

local cells = {}

-- ---- What they share ----

---One step: `state = cell(x, state)`. Weights are weight_ih (G*H, D), weight_hh (G*H, H), bias_ih and bias_hh (G*H),
---and the peepholes of an LSTMCell, at first all uniform on +-1/sqrt(H); G is the number of gates. All take the options
---`bias` (true) and `zoneout` (0), a number or {h = ..., c = ...}, as layers do.
---@class lurn.nn.Cell: lurn.nn.Module
---@field input_size integer
---@field hidden_size integer
---@field bias boolean
---@field weight_ih lurn.Tensor
---@field weight_hh lurn.Tensor
---@field bias_ih lurn.Tensor?
---@field bias_hh lurn.Tensor?
local Cell = Module:extend "Cell"
Cell.kind, Cell.gates, Cell.has_cell = "Cell", 1, false

local bias_option = { name = "bias", kind = "flag", default = true }
Cell.schema = { bias_option, noise.zoneout_option }

---What the options of one kind of cell, which are fields by now, change before there are weights.
function Cell:_choose() end

---@param input_size integer
---@param hidden_size integer
---@param given? table
---@return table # the options, defaults filled in
function Cell:init(input_size, hidden_size, given)
  local who = "nn." .. self.kind
  self.input_size = check.count(who, "input_size", input_size)
  self.hidden_size = check.count(who, "hidden_size", hidden_size)
  local chosen = options.read(who, given, self.schema)
  for _, option in ipairs(self.schema) do
    if not option.only then self[option.name] = chosen[option.name] end
  end
  self:_choose()
  local rows, bias = self.gates * self.hidden_size, chosen.bias
  self.zoneout = noise.read_zoneout(who, chosen.zoneout, self.has_cell)
  self.weight_ih = parameter.new(core.empty(rows, self.input_size))
  self.weight_hh = parameter.new(core.empty(rows, self.hidden_size))
  self:register_parameter("bias_ih", bias and parameter.new(core.empty(rows)) or nil)
  self:register_parameter("bias_hh", bias and parameter.new(core.empty(rows)) or nil)
  for _, name in ipairs(gates.peepholes(self.peephole, self.coupled)) do
    self["weight" .. name:sub(2)] = parameter.new(core.empty(self.hidden_size))
  end
  return chosen
end

---Draws new weights.
function Cell:reset_parameters()
  local bound = 1 / math.sqrt(self.hidden_size)
  for _, p in ipairs(self:parameters()) do initializers.uniform_(p, -bound, bound) end
end

---The new h and c (or nil) of one step. What each kind of cell defines.
---@param x lurn.Tensor (N, D)
---@param h lurn.Tensor? (N, H)
---@param c lurn.Tensor? (N, H)
---@return lurn.Tensor h
---@return lurn.Tensor? c
function Cell:_step(x, h, c) -- luacheck: ignore 212
  core.raise "Cell: use nn.RNNCell, nn.LSTMCell or nn.GRUCell"
end

-- Checks the input and gives its number of sequences. What is right is found so without a list of its sizes.
local function check_input(self, own, who, x)
  local N, D, more = core.sizes_like(x, own.weight_ih)
  if D == own.input_size and more == nil then return N end
  check.tensor(who, "input", x)
  local shape = x.shape
  if #shape ~= 2 then
    core.raise(("%s: input has shape %s; expected (N, %d), or (%d) of one sequence"):format(who,
      check.shape_text(shape), self.input_size, self.input_size))
  end
  check.features(who, shape, self.input_size)
  check.dtype(who, x, self.weight_ih)
  return shape[1]
end

-- The state that the caller passed, checked.
local function read_state(class, own, who, state, N)
  if state == nil then return nil, nil end
  local has_cell, H = class.has_cell, own.hidden_size
  if getmetatable(state) == State and core.has_shape(state.h, N, H)
    and (not has_cell or core.has_shape(state.c, N, H)) then
    return state.h, has_cell and state.c or nil
  end
  local wanted = { N, H }
  return State.parts(who, state, wanted, has_cell and wanted)
end

-- Any call: says what is wrong with it, or computes it.
local function call(self, x, state)
  local class, own = getmetatable(self), slots.values(self)
  local who = class.__name
  local h, c = read_state(class, own, who, state, check_input(self, own, who, x))
  local new_h, new_c = self:_step(x, h, c)
  if own.zoneout == 0 then return State.new(new_h, new_c) end
  return State.new(noise.zone_out(self, h, c, new_h, new_c))
end

-- Any call for one sequence by itself, (D), and states (H): a batch of one.
local function call_alone(self, x, state)
  local class, H = getmetatable(self), self.hidden_size
  local who, wanted = class.__name, { H }
  check.features(who, x.shape, self.input_size)
  check.dtype(who, x, self.weight_ih)
  local h, c = State.parts(who, state, wanted, class.has_cell and wanted)
  return Cell.forward(self, core.unsqueeze(x, 1), h and State._of_batch(h, c)):_alone()
end

---What calls may try first, as the fields are now: `core.prepare_cell` of the cell's op. Only kinds that are one fused
---op have it.
---@type (fun(self: lurn.nn.Cell, own: table): fun(x: any, state: any): lurn.nn.State?)?
Cell._prepare = nil

local function prepare(self)
  local class, own = getmetatable(self), slots.values(self)
  return own.zoneout == 0 and class._prepare and class._prepare(self, own) or false
end

---@param x lurn.Tensor (N, input_size); or (input_size), of one sequence by itself
---@param state? lurn.nn.State|table also {h = ..., c = ...}, each (N, hidden_size), or (hidden_size) by itself; nil
---means zero
---@return lurn.nn.State
function Cell:forward(x, state)
  local own = self[SLOTS]
  local prepared = own.prepared
  if prepared then
    local after = prepared(x, state)
    if after ~= nil then return after end
  end
  local after = (core.is_tensor(x) and x.ndim == 1 and call_alone or call)(self, x, state)
  if prepared == nil then own.prepared = prepare(self) end
  return after
end

function Cell:extra_repr()
  return ("%d, %d%s"):format(self.input_size, self.hidden_size, gates.describe(self, self.schema))
end

-- ---- RNNCell ----

---`h' = f(W_ih x + b_ih + W_hh h + b_hh)`. Options: `bias` (true), `nonlinearity` ("tanh"), also "relu" and "sigmoid".
---@class lurn.nn.RNNCell: lurn.nn.Cell
---@field nonlinearity "tanh"|"relu"|"sigmoid"
---@overload fun(input_size: integer, hidden_size: integer, options?: table): lurn.nn.RNNCell
local RNNCell = Cell:extend "RNNCell"
RNNCell.kind = "RNNCell"
RNNCell.schema = options.join(Cell.schema, { gates.nonlinearity, table.unpack(gates.lstm_only "nn.LSTMCell") })

function RNNCell:init(input_size, hidden_size, given)
  Cell.init(self, input_size, hidden_size, given)
  self:reset_parameters()
end

function RNNCell:_step(x, h)
  local own = slots.values(self)
  return core.cell_ops.rnn(x, own.weight_ih, own.weight_hh, own.bias_ih, own.bias_hh, h, nil, own.nonlinearity)
end

function RNNCell:_prepare(own)
  return core.prepare_cell.rnn(State, own.input_size, own.hidden_size, own.hidden_size, own.weight_ih, own.weight_hh,
    own.bias_ih, own.bias_hh, nil, nil, own.nonlinearity)
end

-- ---- LSTMCell ----

---One step of nn.LSTM; its state has h and c. Options: `bias` (true), `forget_bias` (0), `peephole` (false): weight_ci,
---weight_cf and weight_co (H), `coupled` (false): the weights hold f, g, o, and there is no weight_ci. There is no
---projection.
---@class lurn.nn.LSTMCell: lurn.nn.Cell
---@field forget_bias number
---@field peephole boolean
---@field coupled boolean
---@field weight_ci lurn.Tensor?
---@field weight_cf lurn.Tensor?
---@field weight_co lurn.Tensor?
---@overload fun(input_size: integer, hidden_size: integer, options?: table): lurn.nn.LSTMCell
local LSTMCell = Cell:extend "LSTMCell"
LSTMCell.kind, LSTMCell.gates, LSTMCell.has_cell = "LSTMCell", 4, true
LSTMCell.schema = options.join(Cell.schema, gates.of_lstm_cell)

function LSTMCell:init(input_size, hidden_size, given)
  Cell.init(self, input_size, hidden_size, given)
  self:reset_parameters()
end

function LSTMCell:_choose()
  gates.check_forget_bias("nn." .. self.kind, self.forget_bias, self.bias)
  if self.coupled then self.gates = 3 end
end

function LSTMCell:reset_parameters()
  Cell.reset_parameters(self)
  gates.add_forget_bias(self.bias_ih, self.forget_bias, self.coupled)
end

function LSTMCell:_step(x, h, c)
  local own = slots.values(self)
  return core.cell_ops.lstm(x, own.weight_ih, own.weight_hh, own.bias_ih, own.bias_hh, h, c, nil, nil, own.weight_ci,
    own.weight_cf, own.weight_co, own.coupled)
end

function LSTMCell:_prepare(own)
  return core.prepare_cell.lstm(State, own.input_size, own.hidden_size, own.hidden_size, own.weight_ih, own.weight_hh,
    own.bias_ih, own.bias_hh, nil, nil, nil, nil, own.weight_ci, own.weight_cf,
    own.weight_co, own.coupled)
end

-- ---- GRUCell ----

---One step of nn.GRU. Options: `bias` (true).
---@class lurn.nn.GRUCell: lurn.nn.Cell
---@overload fun(input_size: integer, hidden_size: integer, options?: {bias: boolean}): lurn.nn.GRUCell
local GRUCell = Cell:extend "GRUCell"
GRUCell.kind, GRUCell.gates = "GRUCell", 3
GRUCell.schema = options.join(Cell.schema, gates.lstm_only "nn.LSTMCell")

function GRUCell:init(input_size, hidden_size, given)
  Cell.init(self, input_size, hidden_size, given)
  self:reset_parameters()
end

function GRUCell:_step(x, h)
  local own = slots.values(self)
  return core.cell_ops.gru(x, own.weight_ih, own.weight_hh, own.bias_ih, own.bias_hh, h)
end

function GRUCell:_prepare(own)
  return core.prepare_cell.gru(State, own.input_size, own.hidden_size, own.hidden_size, own.weight_ih, own.weight_hh,
    own.bias_ih, own.bias_hh)
end

cells.Cell, cells.RNNCell, cells.LSTMCell, cells.GRUCell = Cell, RNNCell, LSTMCell, GRUCell
return cells
