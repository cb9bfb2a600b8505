-- Command lines of training programs, from a table of options, by way of lua-argparse.
--
-- An option may be spelled with _ or - between its words, and with one or two dashes in front, as Torch's programs had
-- it. What was not given stays apart from the defaults, because a checkpoint's options come in between.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local options = {}

---@class lurn.train.Option
---@field [1] string its name
---@field [2] string|number|boolean|nil its default, which tells its kind; false makes a flag
---@field [3] string what it is
---@field kind? "string"|"integer"|"float" when there is no default
---@field min? number smallest value
---@field max? number largest value
---@field choices? string[] all values
---@field also? string[] other names that are understood
---@field short? string a letter

-- ---- Values ----

local function kind_of(option)
  if option.kind then return option.kind end
  if type(option[2]) == "boolean" then return "flag" end
  return math.type(option[2]) or "string"
end

local function range_text(option, what)
  if option.min and option.max then return ("%s from %g to %g"):format(what, option.min, option.max) end
  if option.min then return ("%s from %g"):format(what, option.min) end
  if option.max then return ("%s of at most %g"):format(what, option.max) end
  return what
end

-- The number that a text or a number is for this option; nil and a message when it does not fit.
local function to_number(option, given)
  local kind, value = kind_of(option), tonumber(given)
  if value and kind == "integer" then value = math.tointeger(value) end
  if value and kind == "float" then value = value + 0.0 end
  local fits = value and value == value and value >= (option.min or -math.huge) and value <= (option.max or math.huge)
  if fits then return value end
  local expected = range_text(option, kind == "integer" and "a whole number" or "a number")
  return nil, ("--%s is '%s'; expected %s"):format(option[1], given, expected)
end

-- What was saved for this option, if it still is a value for it; nil and a message otherwise.
local function checked(option, value)
  local kind = kind_of(option)
  if kind == "flag" and type(value) == "boolean" then return value end
  if (kind == "integer" or kind == "float") and type(value) == "number" then return to_number(option, value) end
  if kind == "string" and type(value) == "string" then
    for _, choice in ipairs(option.choices or { value }) do
      if choice == value then return value end
    end
  end
  return nil, ("no value for --%s: %s"):format(option[1], tostring(value))
end

-- ---- The parser ----

local function default_text(option)
  local default = option[2]
  if default == nil or default == "" or type(default) == "boolean" then return "" end
  return (" (%s)"):format(math.type(default) == "float" and ("%g"):format(default) or default)
end

-- The option's name, and the other spellings, which --help does not show.
local function names_of(option)
  local hidden = { option.short and "-" .. option.short }
  for _, name in ipairs { option[1], table.unpack(option.also or {}) } do
    if name ~= option[1] then hidden[#hidden + 1] = "--" .. name end
    if name:find "_" then hidden[#hidden + 1] = "--" .. name:gsub("_", "-") end
  end
  return "--" .. option[1], table.concat(hidden, " ")
end

local function add(parser, option)
  local names, hidden = names_of(option)
  local kind = kind_of(option)
  local made = kind == "flag" and parser:flag(names) or parser:option(names):args(1)
  made:target(option[1]):description(option[3] .. default_text(option))
  if hidden ~= "" then made:hidden_name(hidden) end
  if option.choices then
    made:choices(option.choices):argname(table.concat(option.choices, "|"))
  elseif kind == "integer" or kind == "float" then
    made:argname("N"):convert(function(text) return to_number(option, text) end)
  elseif kind == "string" then
    made:argname(option.argname or "TEXT")
  end
  return made
end

-- Torch's single dash before a long name becomes two, for names that are known.
local function double_dashes(groups, arguments)
  local known, list = {}, {}
  for _, group in ipairs(groups) do
    for _, option in ipairs(group.options) do
      for _, name in ipairs { option[1], table.unpack(option.also or {}) } do known[name:gsub("_", "-")] = true end
    end
  end
  for i, argument in ipairs(arguments) do
    local name = argument:match "^%-(%a[%w_-]+)"
    local is_known = name and known[(name:gsub("_", "-"))]
    list[i] = is_known and "-" .. argument or argument
  end
  return list
end

---@class lurn.train.OptionGroup
---@field [1] string its heading
---@field options lurn.train.Option[]

---@class lurn.train.CommandLine
---@field name string the program
---@field description string
---@field epilog? string
---@field files? string what plain arguments are: they come as the list `files`
---@field groups lurn.train.OptionGroup[]

local function check_line(who, line)
  if type(line) == "table" and type(line.groups) == "table" then return end
  core.raise(("options.%s: the command line is %s; expected a table with groups of options"):format(who,
    check.describe(line)))
end

local function check_table(who, what, value)
  if type(value) == "table" then return end
  core.raise(("options.%s: %s is %s; expected a table"):format(who, what, check.describe(value)))
end

---Reads a command line. `--help` prints help and ends the program.
---@param line lurn.train.CommandLine
---@param arguments string[]
---@return table<string, any>? given the options that were given, by name; nil and a message when something is wrong
---@return string? message
function options.parse(line, arguments)
  check_line("parse", line)
  check_table("parse", "the list of arguments", arguments)
  local found, argparse = pcall(require, "argparse")
  if not found then return nil, "the Lua module argparse is missing (Debian: apt-get install lua-argparse)" end
  local parser = argparse(line.name):description(line.description):help_max_width(110):usage_max_width(110)
  if line.epilog then parser:epilog(line.epilog) end
  if line.files then parser:group("Arguments", parser:argument("files", line.files):args "*") end
  for _, group in ipairs(line.groups) do
    local made = {}
    for i, option in ipairs(group.options) do made[i] = add(parser, option) end
    parser:group(group[1], table.unpack(made))
  end
  parser:usage(("Usage: %s [options] %s"):format(line.name, line.files and "[FILE...]" or ""))
  local ok, result = parser:pparse(double_dashes(line.groups, arguments))
  if not ok then return nil, result end
  return result
end

---All options: those given, then those of `saved` (such as a checkpoint's), then the defaults.
---@param line lurn.train.CommandLine
---@param given table<string, any>
---@param saved? table<string, any>
---@return table<string, any>? # nil and a message when a saved value is none that its option can have
---@return string? message
function options.resolve(line, given, saved)
  check_line("resolve", line)
  check_table("resolve", "what was given", given)
  local all = {}
  for _, group in ipairs(line.groups) do
    for _, option in ipairs(group.options) do
      local name = option[1]
      local value = given[name]
      if value == nil and saved and saved[name] ~= nil then
        local message
        value, message = checked(option, saved[name])
        if value == nil then return nil, message end
      end
      if value == nil then value = option[2] end
      all[name] = value
    end
  end
  return all
end

return options
