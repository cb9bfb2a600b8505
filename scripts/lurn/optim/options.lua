-- Which options each optimizer takes, and the checking of their names and types.
-- Ranges are the engine's to check: "Adam: lr is -1; expected at least 0".

local core = require "lurn.core"

local options = {}

---@alias lurn.optim.Kind "SGD"|"RMSprop"|"Adagrad"|"Adadelta"|"Adam"|"AdamW"

local adam = { "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize" }

---Option names of each kind, in the order in which they are documented and printed.
---@type table<lurn.optim.Kind, string[]>
options.names = {
  SGD = { "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize" },
  RMSprop = { "lr", "alpha", "eps", "weight_decay", "momentum", "centered", "maximize" },
  Adagrad = { "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps", "maximize" },
  Adadelta = { "lr", "rho", "eps", "weight_decay", "maximize" },
  Adam = adam,
  AdamW = adam,
}

local flags = { nesterov = true, maximize = true, centered = true, amsgrad = true }

---Whether an option is true or false rather than a number.
---@param name string
---@return boolean
function options.is_flag(name) return flags[name] == true end

local known = {}
for kind, names in pairs(options.names) do
  known[kind] = {}
  for _, name in ipairs(names) do known[kind][name] = true end
end

---Whether optimizers of this kind have an option of this name.
---@return boolean
function options.has(kind, name) return known[kind][name] == true end

---"a string", "nil", "a tensor": a value in a message.
---@return string
function options.describe(value)
  local meta = getmetatable(value)
  if type(value) == "userdata" and type(meta) == "table" and meta.__name == "lurn.Tensor" then return "a tensor" end
  return value == nil and "nil" or "a " .. type(value)
end

---Raises, at the user's line, unless the kind has an option of this name.
function options.check_name(kind, name)
  if known[kind][name] then return end
  core.raise(("%s: there is no option %s; known are: %s"):format(kind, tostring(name),
    table.concat(options.names[kind], ", ")))
end

---Raises unless `value` has the type that the option takes.
function options.check_type(kind, name, value)
  local expected, holds
  if name == "betas" then
    expected = "two numbers {beta1, beta2}"
    holds = type(value) == "table" and #value == 2 and type(value[1]) == "number" and type(value[2]) == "number"
  elseif flags[name] then
    expected, holds = "true or false", type(value) == "boolean"
  else
    expected, holds = "a number", type(value) == "number"
  end
  if not holds then
    core.raise(("%s: %s: expected %s, got %s"):format(kind, name, expected, options.describe(value)))
  end
end

---Checks names and types in a table of options; `besides` is one more name to let pass.
function options.check_all(kind, values, besides)
  local unknown = {}
  for name in pairs(values) do
    if name ~= besides and not known[kind][name] then unknown[#unknown + 1] = tostring(name) end
  end
  table.sort(unknown)
  if unknown[1] then options.check_name(kind, unknown[1]) end
  for _, name in ipairs(options.names[kind]) do
    if values[name] ~= nil then options.check_type(kind, name, values[name]) end
  end
end

---The same options as the engine names them: beta1 and beta2 for betas.
---@param values table<string, any>
---@return table<string, number|boolean>
function options.for_engine(values)
  local result = {}
  for name, value in pairs(values) do
    if name == "betas" then result.beta1, result.beta2 = value[1], value[2] else result[name] = value end
  end
  return result
end

---Reads an option of a group (counted from 1) of the engine's optimizer.
function options.read(engine, group, name)
  if name == "betas" then return { engine:get(group, "beta1"), engine:get(group, "beta2") } end
  return engine:get(group, name)
end

---Writes an option that was checked.
function options.write(engine, group, name, value)
  for key, item in pairs(options.for_engine { [name] = value }) do engine:set(group, key, item) end
end

return options
