-- An optimizer's options and state as a flat table of tensors, and back.
--
--   param_groups.G.OPTION  float64, flags as 0 and 1, betas as a pair
--   param_groups.G.params  the group's parameters by number, int64
--   state.N.NAME           of parameter N; state.N.step is an int64 scalar
--
-- G and N count from 0, N over all groups: PyTorch's names.

local core = require "lurn.core"
local options = require "lurn.optim.options"

local state = {}

-- What a parameter with any state always has, besides its step. The rest depends on options, which may change.
local always = {
  SGD = {},
  RMSprop = { "square_avg" },
  Adagrad = { "sum" },
  Adadelta = { "square_avg", "acc_delta" },
  Adam = { "exp_avg", "exp_avg_sq" },
  AdamW = { "exp_avg", "exp_avg_sq" },
}

local function option_key(group, name) return ("param_groups.%d.%s"):format(group - 1, name) end

-- ---- Writing ----

local function encode(name, value)
  if options.is_flag(name) then value = value and 1 or 0 end
  return core.tensor(value, { dtype = "float64" })
end

---@param optimizer lurn.optim.Optimizer
---@return table<string, lurn.Tensor>
function state.dump(optimizer)
  local dict, first = {}, 0
  for index, group in ipairs(optimizer.param_groups) do
    for _, name in ipairs(options.names[optimizer.kind]) do
      dict[option_key(index, name)] = encode(name, group[name])
    end
    local n = #group.params
    local numbers = core.zeros(n, { dtype = "int64" })
    for i = 1, n do numbers:set(first + i - 1, i) end
    dict[option_key(index, "params")] = numbers
    first = first + n
  end
  for name, tensor in pairs(optimizer._engine:state()) do dict[name] = tensor:clone() end
  return dict
end

-- ---- Reading ----

local function fail(kind, message, ...)
  core.raise(("%s: load_state_dict: " .. message):format(kind, ...))
end

-- The numbers of a tensor in a table, for a name that has to be there.
local function numbers_of(kind, dict, key, dtype)
  local tensor = dict[key]
  if tensor == nil then fail(kind, "%s is missing", key) end
  if type(tensor) ~= "userdata" then fail(kind, "%s: expected a tensor, got %s", key, options.describe(tensor)) end
  if tensor.dtype ~= dtype then fail(kind, "%s: expected %s, got %s", key, dtype, tensor.dtype) end
  if #tensor.shape > 1 then fail(kind, "%s: expected at most one dimension, got %d", key, #tensor.shape) end
  return #tensor.shape == 0 and { tensor:item() } or tensor:totable()
end

local function decode(kind, name, key, numbers)
  local expected = name == "betas" and 2 or 1
  if #numbers ~= expected then fail(kind, "%s: expected %d elements, got %d", key, expected, #numbers) end
  if name == "betas" then return numbers end
  if options.is_flag(name) then return numbers[1] ~= 0 end
  return numbers[1]
end

-- Adds one group of parameters with the table's options to a new engine object. first is the number of its first
-- parameter; the names used are marked in seen.
local function load_group(kind, dict, engine, index, params, first, seen)
  local values, key = {}, option_key(index, "params")
  local numbers = numbers_of(kind, dict, key, "int64")
  if #numbers ~= #params then
    fail(kind, "%s: expected %d parameters, got %d", key, #params, #numbers)
  end
  for i, number in ipairs(numbers) do
    if number ~= first + i - 1 then
      fail(kind, "%s: expected the parameters in order, got %d as number %d", key, number, i)
    end
  end
  seen[key] = true
  for _, name in ipairs(options.names[kind]) do
    key = option_key(index, name)
    values[name] = decode(kind, name, key, numbers_of(kind, dict, key, "float64"))
    seen[key] = true
  end
  engine:add_group(params, options.for_engine(values))
end

local function sorted_rest(kind, dict, seen)
  local rest = {}
  for name in pairs(dict) do
    if type(name) ~= "string" then fail(kind, "name: expected a string, got %s", options.describe(name)) end
    if not seen[name] then rest[#rest + 1] = name end
  end
  table.sort(rest)
  return rest
end

-- A parameter's state is whole or not there at all.
local function check_whole(kind, dict, names)
  for _, name in ipairs(names) do
    local prefix = name:match "^state%.%d+%."
    if dict[prefix .. "step"] == nil then fail(kind, "%sstep is missing", prefix) end
    for _, what in ipairs(always[kind]) do
      if dict[prefix .. what] == nil then fail(kind, "%s%s is missing", prefix, what) end
    end
  end
end

---Makes a new engine object from the optimizer's parameters and a `state_dict`, leaving the optimizer as it is.
---@param optimizer lurn.optim.Optimizer
---@param dict table<string, lurn.Tensor>
---@return userdata
function state.load(optimizer, dict)
  local kind, groups, first, seen = optimizer.kind, optimizer.param_groups, 0, {}
  if type(dict) ~= "table" then fail(kind, "expected a table of tensors, got %s", options.describe(dict)) end
  local engine = core.optim_new(kind)
  for index, group in ipairs(groups) do
    local params = group.params
    load_group(kind, dict, engine, index, params, first, seen)
    first = first + #params
  end
  local rest = sorted_rest(kind, dict, seen)
  for _, name in ipairs(rest) do
    if not name:find "^state%." then fail(kind, "there is no %s in this optimizer", name) end
    engine:set_state(name, dict[name])
  end
  check_whole(kind, dict, rest)
  return engine
end

return state
