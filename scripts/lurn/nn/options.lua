-- Trailing tables of options: names, defaults and types are declared in a schema and checked in one place.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local options = {}

---One option. `kind` is a key of the table below, or a list of words.
---@class lurn.nn.OptionSpec
---@field name string
---@field kind string|string[]
---@field default any
---@field only? string known by name, but there for that layer only: an error unless it is nil, false or 0

local function is_number(value) return type(value) == "number" and value == value end

-- What an option may be, in words and as a test.
local kinds = {
  flag = { "true or false", function(v) return type(v) == "boolean" end },
  size = { "0 or a positive integer", function(v) return is_number(v) and math.tointeger(v) ~= nil and v >= 0 end },
  count = { "a positive integer", function(v) return is_number(v) and math.tointeger(v) ~= nil and v >= 1 end },
  integer = { "an integer", function(v) return is_number(v) and math.tointeger(v) ~= nil end },
  number = { "a number", is_number },
  positive = { "a positive number", function(v) return is_number(v) and v > 0 end },
  probability = { "a number from 0 to 1", function(v) return is_number(v) and v >= 0 and v <= 1 end },
  tensor = { "a tensor", core.is_tensor },
  table = { "a table", function(v) return type(v) == "table" end },
  any = { "anything", function() return true end },
}

-- Kinds whose values become integers, also where they were given as 2.0.
local is_whole = { size = true, count = true, integer = true }

local function quoted(words)
  local list = {}
  for i, word in ipairs(words) do list[i] = ('"%s"'):format(word) end
  return table.concat(list, ", ")
end

local function is_one_of(words, value)
  for _, word in ipairs(words) do
    if word == value then return true end
  end
  return false
end

local function show(value) return type(value) == "string" and ('"%s"'):format(value) or check.describe(value) end

local function check_value(who, spec, value)
  local expected, holds
  if type(spec.kind) == "table" then
    expected, holds = "one of " .. quoted(spec.kind), is_one_of(spec.kind, value)
  else
    local kind = kinds[spec.kind]
    expected, holds = kind[1], kind[2](value)
  end
  if not holds then core.raise(("%s: %s is %s; expected %s"):format(who, spec.name, show(value), expected)) end
end

local function names_of(schema)
  local names = {}
  for _, spec in ipairs(schema) do
    if not spec.only then names[#names + 1] = spec.name end
  end
  return names
end

local function check_names(who, schema, given)
  local known, unknown = {}, {}
  for _, spec in ipairs(schema) do known[spec.name] = true end
  for name in pairs(given) do
    if not known[name] then unknown[#unknown + 1] = tostring(name) end
  end
  if #unknown == 0 then return end
  table.sort(unknown)
  local names = names_of(schema)
  local tail = #names == 0 and "it takes none" or "the options are " .. table.concat(names, ", ")
  core.raise(('%s: there is no option "%s"; %s'):format(who, unknown[1], tail))
end

local function check_available(who, schema, given)
  for _, spec in ipairs(schema) do
    local value = given[spec.name]
    if spec.only and value and value ~= 0 then
      core.raise(("%s: option %s is there for %s only"):format(who, spec.name, spec.only))
    end
  end
end

---The options with defaults filled in. Raises for names that the schema does not have and values of a wrong type.
---@param who string what messages begin with
---@param given table<string, any>? nil means no options
---@param schema lurn.nn.OptionSpec[]
---@return table<string, any> # a new table
function options.read(who, given, schema)
  given = given == nil and {} or given
  if type(given) ~= "table" then
    core.raise(("%s: the options are %s; expected a table"):format(who, check.describe(given)))
  end
  check_names(who, schema, given)
  check_available(who, schema, given)
  local values = {}
  for _, spec in ipairs(schema) do
    local value = given[spec.name]
    if value == nil then
      value = spec.default
    elseif not spec.only then
      check_value(who, spec, value)
      if is_whole[spec.kind] then value = math.tointeger(value) end
    end
    values[spec.name] = value
  end
  return values
end

---A schema and some more.
---@param schema lurn.nn.OptionSpec[]
---@param more lurn.nn.OptionSpec[]
---@return lurn.nn.OptionSpec[] # a new list
function options.join(schema, more)
  return table.move(more, 1, #more, #schema + 1, table.move(schema, 1, #schema, 1, {}))
end

return options
