-- Copies of modules.

local core = require "lurn.core"
local hooks = require "lurn.nn.hooks"
local parameter = require "lurn.nn.parameter"
local slots = require "lurn.nn.slots"

local copy_value

local function copy_tensor(t)
  local new = t:detach():clone()
  if parameter.is(t) then return parameter.new(new, t.requires_grad) end
  return t.requires_grad and new:requires_grad_() or new
end

local function copy_table(t, seen)
  local new = {}
  seen[t] = new
  for key, value in pairs(t) do new[key] = copy_value(value, seen) end
  return new
end

local function copy_module(module, seen)
  local new = setmetatable(slots.new_instance(), getmetatable(module))
  seen[module] = new
  local from, to = slots.of(module), slots.of(new)
  for _, part in ipairs { "kinds", "order", "transient" } do
    for key, value in pairs(from[part]) do to[part][key] = value end
  end
  for name, value in pairs(from.values) do to.values[name] = copy_value(value, seen) end
  hooks.copy(module, new)
  return new
end

-- What is shared stays shared, within the copy; what is neither tensor, module nor plain table is the same in both.
function copy_value(value, seen)
  if seen[value] ~= nil then return seen[value] end
  if core.is_tensor(value) then
    seen[value] = copy_tensor(value)
    return seen[value]
  end
  if slots.is_module(value) then return copy_module(value, seen) end
  if type(value) == "table" and getmetatable(value) == nil then return copy_table(value, seen) end
  return value
end

---@param module lurn.nn.Module
---@return lurn.nn.Module
return function(module) return copy_module(module, {}) end
