-- The fields of module instances. Every field lives in a table of its own behind the instance, so that each assignment
-- passes through here, a second one to the same name as well, and parameters, buffers and submodules are noticed.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local parameter = require "lurn.nn.parameter"

local slots = {}

local getmetatable, rawget, type = getmetatable, rawget, type

---@alias lurn.nn.SlotKind "parameter"|"buffer"|"module"

---@class lurn.nn.Slots
---@field values table<any, any> every field
---@field kinds table<string, lurn.nn.SlotKind> of the registered ones
---@field order string[] names of the registered ones as they came; a registered name may be without a value
---@field transient table<string, boolean> buffers that stay out of the state dict
---@field derived table? what was made of registered fields; forgotten when one is assigned
---@field prepared function|false|nil what a module made of any of its fields to be called faster; forgotten when one is
---assigned
---@field hooks lurn.nn.Hooks? functions around forward, see nn/hooks.lua

-- The one raw key of an instance.
local SLOTS <const> = {}

---The same, for the few places that every call of a module passes: `instance[slots.KEY]` is `slots.of(instance)`.
slots.KEY = SLOTS

---A new instance, without a metatable yet.
---@return table
function slots.new_instance()
  return { [SLOTS] = { values = { training = true }, kinds = {}, order = {}, transient = {} } }
end

---@param instance lurn.nn.Module
---@return lurn.nn.Slots
function slots.of(instance) return rawget(instance, SLOTS) end

---The fields of an instance by name, without what its class has.
---@param instance lurn.nn.Module
---@return table<any, any>
function slots.values(instance) return rawget(instance, SLOTS).values end

---A table in which a module may keep what it makes of its registered fields, until one of them is assigned.
---@param instance lurn.nn.Module
---@return table
function slots.derived(instance)
  local own = rawget(instance, SLOTS)
  local derived = own.derived
  if derived == nil then
    derived = {}
    own.derived = derived
  end
  return derived
end

-- Grows with every assignment of a registered field of any module.
local changes = 0

local function note_change(own)
  own.derived, own.prepared = nil, nil
  changes = changes + 1
end

---A number that is the same as before only while no registered field of any module was assigned.
---@return integer
function slots.changes() return changes end

---Puts another value in the place of a registered one of the same kind.
---@param instance lurn.nn.Module
---@param name string
---@param value any
function slots.replace(instance, name, value)
  local own = rawget(instance, SLOTS)
  own.values[name] = value
  note_change(own)
end

---Whether a value is an instance of a module class.
---@param value any
---@return boolean
function slots.is_module(value) return type(value) == "table" and rawget(value, SLOTS) ~= nil end

---What assigning a value registers it as; nil for a plain value.
---@return lurn.nn.SlotKind?
local function kind_of(value)
  if parameter.is(value) then return "parameter" end
  return slots.is_module(value) and "module" or nil
end

local function class_name(instance) return getmetatable(instance).__name end

local function check_name(instance, kind, name)
  local class = getmetatable(instance)
  if type(name) ~= "string" or name == "" or name:find(".", 1, true) then
    core.raise(("%s: a %s cannot be named %s; expected a string without dots"):format(class.__name, kind,
      type(name) == "string" and ('"%s"'):format(name) or tostring(name)))
  end
  if type(class[name]) == "function" then
    core.raise(('%s: a %s cannot be named "%s", which is a method'):format(class.__name, kind, name))
  end
end

local function leads_to(module, target, seen)
  if module == target then return true end
  if seen[module] then return false end
  seen[module] = true
  for _, value, kind in slots.each(module) do
    if kind == "module" and leads_to(value, target, seen) then return true end
  end
  return false
end

-- Walks over the tree must come to an end.
local function check_no_cycle(instance, name, module)
  if not leads_to(module, instance, {}) then return end
  core.raise(('%s: the module for "%s" %s; a module cannot contain itself'):format(class_name(instance), tostring(name),
    module == instance and "is the one it is to belong to" or "contains the one it is to belong to"))
end

---Registers a name, which keeps its place when it was registered before. The value may be nil.
---@param instance lurn.nn.Module
---@param kind lurn.nn.SlotKind
---@param name string
---@param value any
function slots.register(instance, kind, name, value)
  local own = slots.of(instance)
  if own.kinds[name] == nil then
    check_name(instance, kind, name)
  end
  if kind == "module" and value ~= nil then check_no_cycle(instance, name, value) end
  if own.kinds[name] == nil then
    own.order[#own.order + 1] = name
  end
  own.kinds[name], own.values[name], own.transient[name] = kind, value, nil
  note_change(own)
end

---Forgets a registered name and its value.
---@param instance lurn.nn.Module
---@param name string
function slots.unregister(instance, name)
  local own = slots.of(instance)
  for i, other in ipairs(own.order) do
    if other == name then
      table.remove(own.order, i)
      break
    end
  end
  own.kinds[name], own.values[name], own.transient[name] = nil, nil, nil
  note_change(own)
end

---Raises when a field of this name stands in the way of registering one of this kind.
---@param instance lurn.nn.Module
---@param kind lurn.nn.SlotKind
---@param name string
function slots.check_free(instance, kind, name)
  local own = slots.of(instance)
  if own.values[name] == nil or own.kinds[name] == kind then return end
  core.raise(('%s: there is a field "%s" already'):format(class_name(instance), name))
end

local expected = { parameter = "an nn.Parameter or nil", buffer = "a tensor or nil", module = "a module or nil" }

-- Assigns a value that registers nothing by itself to a registered name.
local function assign_registered(instance, own, name, value)
  local kind = own.kinds[name]
  if value == nil or (kind == "buffer" and core.is_tensor(value)) then
    own.values[name] = value
    note_change(own)
  elseif own.values[name] == nil then
    slots.unregister(instance, name)
    own.values[name] = value
  else
    core.raise(("%s: cannot assign %s to the %s %s; expected %s"):format(class_name(instance), check.describe(value),
      kind, name, expected[kind]))
  end
end

---`instance[name] = value`: parameters and modules are registered, in the order in which their names first come. A
---registered name keeps its kind of value: nil empties it without losing its place, and an emptied name takes
---anything.
---@param instance lurn.nn.Module
---@param name any
---@param value any
function slots.assign(instance, name, value)
  local own, kind = slots.of(instance), kind_of(value)
  if kind then
    slots.register(instance, kind, name, value)
  elseif own.kinds[name] then
    assign_registered(instance, own, name, value)
  else
    own.values[name], own.prepared = value, nil
  end
end

---`instance[name]`: a field, else what the class and its parents have.
---@param instance lurn.nn.Module
---@param name any
---@return any
function slots.read(instance, name)
  if name == SLOTS then return nil end -- the metatable was set on a table that is no instance
  local value = instance[SLOTS].values[name]
  if value ~= nil then return value end
  return getmetatable(instance)[name]
end

---Iterates over the registered fields that have a value: name, value, kind, in order.
---@param instance lurn.nn.Module
---@return fun(): string?, any, lurn.nn.SlotKind?
function slots.each(instance)
  local own, i = slots.of(instance), 0
  return function()
    while true do
      i = i + 1
      local name = own.order[i]
      if name == nil then return nil end
      if own.values[name] ~= nil then return name, own.values[name], own.kinds[name] end
    end
  end
end

---`pairs(instance)`: the registered fields in order, then the plain ones.
---@param instance lurn.nn.Module
---@return fun(): any, any
function slots.pairs(instance)
  local own = slots.of(instance)
  local registered, key = slots.each(instance), nil
  local in_plain = false
  return function()
    if not in_plain then
      local name, value = registered()
      if name ~= nil then return name, value end
      in_plain = true
    end
    local value
    repeat key, value = next(own.values, key) until key == nil or own.kinds[key] == nil
    return key, value
  end
end

return slots
