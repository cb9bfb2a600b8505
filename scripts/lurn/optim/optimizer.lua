-- The optimizer object: parameter groups with their options over one optimizer of the engine.

local core = require "lurn.core"
local guarded = require "lurn.methods"
local options = require "lurn.optim.options"
local state = require "lurn.optim.state"

---One set of parameters with options of its own. Every option of the optimizer is a field that can be read and
---assigned; `params` gives a list of the parameters.
---@class lurn.optim.Group
---@field params lurn.Tensor[]
---@field lr number learning rate: the factor of each update
---@field [string] any
local Group = {}

---Updates parameters from their gradients. Every option is a field too: reading gives that of the first group,
---assigning sets it for all groups.
---@class lurn.optim.Optimizer
---@field kind lurn.optim.Kind
---@field lr number learning rate: the factor of each update
---@field param_groups lurn.optim.Group[]
---@field [string] any
local Optimizer = {}

local function copy(list) return table.move(list, 1, #list, 1, {}) end

-- ---- Groups ----

-- The group's own fields: _optimizer, _index (from 1) and _params.
function Group:__index(name)
  if name == "params" then return copy(self._params) end
  if not options.has(self._optimizer.kind, name) then return nil end
  return options.read(self._optimizer._engine, self._index, name)
end

function Group:__newindex(name, value)
  local kind = self._optimizer.kind
  options.check_name(kind, name)
  options.check_type(kind, name, value)
  options.write(self._optimizer._engine, self._index, name, value)
end

local function show(value)
  if type(value) == "table" then return ("{%.14g, %.14g}"):format(value[1], value[2]) end
  return type(value) == "number" and ("%.14g"):format(value) or tostring(value)
end

function Group:__tostring()
  local parts = { ("params = %d"):format(#self._params) }
  for _, name in ipairs(options.names[self._optimizer.kind]) do
    parts[#parts + 1] = name .. " = " .. show(self[name])
  end
  return table.concat(parts, ", ")
end

-- ---- Methods ----

---Clears the gradients of all parameters.
function Optimizer:zero_grad() self._engine:zero_grad() end

---One update of every parameter that has a gradient. When it fails, nothing has changed. A closure is called before it,
---with gradients recorded, to compute the loss and them; its results are passed on.
---@param closure? fun(): lurn.Tensor
---@return lurn.Tensor? loss
function Optimizer:step(closure)
  if closure == nil then return self._engine:step() end
  if type(closure) ~= "function" then
    core.raise(("%s: step: expected a function that computes the loss, got %s"):format(self.kind,
      options.describe(closure)))
  end
  local results = table.pack(core.enable_grad(closure))
  self._engine:step()
  return table.unpack(results, 1, results.n)
end

---Everything needed to go on from here after `load_state_dict`: options, step counts and state, as copies.
---Names count from 0 like PyTorch's: `state.N.NAME` (parameters counted over all groups), `param_groups.G.OPTION`
---(float64, flags as 0 and 1) and `param_groups.G.params` (the numbers N of the group's parameters, int64).
---@return table<string, lurn.Tensor> # flat, as lurn.save takes it
function Optimizer:state_dict() return state.dump(self) end

---Takes over the options and the state of a `state_dict`: of the same kind of optimizer, over parameters of the same
---number, shapes and dtypes. Raises when names are missing, unknown or do not fit; then nothing has changed.
---@param dict table<string, lurn.Tensor>
function Optimizer:load_state_dict(dict) self._engine = state.load(self, dict) end

---Adds parameters with options of their own; what is not given is as it was given to the optimizer.
---@param group table {params = list of tensors, lr = ..., ...}
function Optimizer:add_param_group(group)
  local kind = self.kind
  if type(group) ~= "table" or type(group.params) ~= "table" then
    core.raise(("%s: group %d: expected {params = list of tensors, options}"):format(kind, #self.param_groups + 1))
  end
  options.check_all(kind, group, "params")
  local params, chosen = copy(group.params), {}
  for _, name in ipairs(options.names[kind]) do
    if group[name] ~= nil then chosen[name] = group[name] else chosen[name] = self._given[name] end
  end
  self._engine:add_group(params, options.for_engine(chosen))
  local index = #self.param_groups + 1
  self.param_groups[index] = setmetatable({ _optimizer = self, _index = index, _params = params }, Group)
end

-- ---- Fields ----

guarded.guard(Optimizer, "optimizer", function(value) return getmetatable(value) == Optimizer end)

local methods = {}
for name, method in pairs(Optimizer) do methods[name] = method end

-- The optimizer's own fields: kind, param_groups, _engine (the engine's object), _given (the options it was made with).
function Optimizer:__index(name)
  local method = methods[name]
  if method ~= nil then return method end
  if not options.has(rawget(self, "kind"), name) then return nil end
  return options.read(self._engine, 1, name)
end

function Optimizer:__newindex(name, value)
  options.check_name(self.kind, name)
  options.check_type(self.kind, name, value)
  for index = 1, #self.param_groups do options.write(self._engine, index, name, value) end
end

function Optimizer:__tostring()
  local lines = {}
  for index, group in ipairs(self.param_groups) do lines[index] = ("  (%d) %s"):format(index, tostring(group)) end
  return ("%s(\n%s\n)"):format(self.kind, table.concat(lines, "\n"))
end

-- ---- Making ----

local function check_arguments(kind, params, given)
  if type(given) ~= "table" then
    core.raise(("%s: options: expected a table, got %s"):format(kind, options.describe(given)))
  end
  options.check_all(kind, given)
  if type(params) ~= "table" then
    core.raise(("%s: params: expected a list of tensors or of groups, got %s"):format(kind, options.describe(params)))
  end
  if #params == 0 and next(params) ~= nil then
    core.raise(kind ..
      ": params is a table that is no list; expected a list of tensors, such as model:parameters(), or of groups")
  end
  if #params == 0 then core.raise(kind .. ": the list of parameters is empty") end
end

---@param kind lurn.optim.Kind
---@param params lurn.Tensor[]|table[] a list of parameters, or of groups {params = list, options}
---@param given? table<string, any> options of all groups that do not say otherwise
---@return lurn.optim.Optimizer
local function new(kind, params, given)
  given = given == nil and {} or given
  check_arguments(kind, params, given)
  local groups = type(params[1]) == "table" and params or { { params = params } }
  local own = {}
  for name, value in pairs(given) do own[name] = value end
  local self = setmetatable({ kind = kind, param_groups = {}, _engine = core.optim_new(kind), _given = own }, Optimizer)
  for _, group in ipairs(groups) do self:add_param_group(group) end
  return self
end

return { new = new }
