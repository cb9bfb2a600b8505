-- nn.ModuleList

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"
local slots = require "lurn.nn.slots"

---A list of modules that are registered: `list[1]`, `list[-1]`, `#list`, `ipairs(list)`. In state dicts they are
---named from 0.
---`list[i] = module` replaces one or, at #list + 1, appends. It has no forward of its own.
---@class lurn.nn.ModuleList: lurn.nn.Module
---@field [integer] lurn.nn.Module
---@overload fun(modules?: lurn.nn.Module[]): lurn.nn.ModuleList
local ModuleList = Module:extend "ModuleList"

-- The names of the modules in the list, in order.
local function names_of(list)
  local names = {}
  for name, _, kind in slots.each(list) do
    if kind == "module" then names[#names + 1] = name end
  end
  return names
end

-- A list of modules, or modules as several arguments.
local function modules_of(who, first, ...)
  if type(first) ~= "table" or slots.is_module(first) or rawget(first, "is_lurn_module") then
    return { first, ... }, select("#", first, ...)
  end
  if select("#", ...) > 0 then
    core.raise(("nn.%s: a list and %d more arguments; expected modules, or one list of them"):format(who,
      select("#", ...)))
  end
  local count = 0
  for key in pairs(first) do
    if math.type(key) ~= "integer" then
      core.raise(("nn.%s: the list has the field %s; expected modules only"):format(who, tostring(key)))
    end
    count = count + 1
  end
  for i = 1, count do
    if first[i] == nil then core.raise(("nn.%s: item %d is nil; expected a module"):format(who, i)) end
  end
  return first, count
end

local function check_module(list, position, value)
  if slots.is_module(value) then return end
  core.raise(("nn.%s: item %d is %s; expected a module"):format(getmetatable(list).__name, position,
    check.describe(value)))
end

---@param ... lurn.nn.Module|lurn.nn.Module[] modules, or one list of them
function ModuleList:init(...)
  if select("#", ...) == 0 then return end
  local modules, n = modules_of(getmetatable(self).__name, ...)
  for i = 1, n do
    check_module(self, i, modules[i])
    self:append(modules[i])
  end
end

---Adds a module at the end.
---@param module lurn.nn.Module
---@return self
function ModuleList:append(module)
  local n = #self
  check_module(self, n + 1, module)
  slots.register(self, "module", tostring(n), module)
  return self
end

---Puts a module before the one at `position`; it and those after it move up by one, in state dicts too.
---@param position integer 1 to #list + 1
---@param module lurn.nn.Module
---@return self
function ModuleList:insert(position, module)
  local n = #self
  if math.type(position) ~= "integer" or position < 1 or position > n + 1 then
    core.raise(("nn.%s: insert: position %s is not in 1..%d"):format(getmetatable(self).__name,
      check.describe(position), n + 1))
  end
  check_module(self, position, module)
  self:append(module)
  for i = n, position, -1 do self[i + 1] = self[i] end
  self[position] = module
  return self
end

function ModuleList:__len() return #names_of(self) end

-- A position, also where it was computed as a float, or nil.
local function position_of(key) return type(key) == "number" and math.tointeger(key) or nil end

function ModuleList:__index(key)
  local place = position_of(key)
  if not place then return slots.read(self, key) end
  local names = names_of(self)
  local name = names[place < 0 and #names + 1 + place or place]
  return name and slots.of(self).values[name]
end

function ModuleList:__newindex(key, value)
  local place = position_of(key)
  if not place then
    slots.assign(self, key, value)
    return
  end
  local names = names_of(self)
  local position = place < 0 and #names + 1 + place or place
  if value == nil and position == #names and position > 0 then
    slots.unregister(self, names[position])
    return
  end
  if position < 1 or position > #names + 1 then
    core.raise(("nn.%s: position %d is not in 1..%d"):format(getmetatable(self).__name, place, #names + 1))
  end
  check_module(self, position, value)
  slots.register(self, "module", names[position] or tostring(#names), value)
end

return ModuleList
