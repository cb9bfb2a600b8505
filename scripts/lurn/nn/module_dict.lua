-- nn.ModuleDict

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"
local slots = require "lurn.nn.slots"

---Modules by name, in order: `dict.name`, `dict[name]`, `#dict`, `for name, module in dict:items()`. Assigning adds
---one.
---
---    nn.ModuleDict{{"encoder", nn.GRU(8, 16)}, {"decoder", nn.GRU(16, 8)}}    -- in this order
---    nn.ModuleDict{encoder = nn.GRU(8, 16), decoder = nn.GRU(16, 8)}          -- sorted by name
---@class lurn.nn.ModuleDict: lurn.nn.Module
---@field [string] lurn.nn.Module
---@overload fun(modules?: table): lurn.nn.ModuleDict
local ModuleDict = Module:extend "ModuleDict"

-- A list of {name, module}: as given, or sorted where names are the keys.
local function entries_of(modules)
  local n = #modules
  if n > 0 then
    for key in pairs(modules) do
      if math.type(key) ~= "integer" or key < 1 or key > n then
        core.raise(("nn.ModuleDict: a list with the field %s; expected {name, module} only"):format(tostring(key)))
      end
    end
    return modules
  end
  local entries = {}
  for name, module in pairs(modules) do entries[#entries + 1] = { name, module } end
  table.sort(entries, function(a, b) return tostring(a[1]) < tostring(b[1]) end)
  return entries
end

---@param modules? table {name = module, ...} or a list of {name, module}
function ModuleDict:init(modules)
  if modules == nil then return end
  if type(modules) ~= "table" or slots.is_module(modules) then
    core.raise(("nn.ModuleDict: the argument is %s; expected a table of modules"):format(check.describe(modules)))
  end
  for i, entry in ipairs(entries_of(modules)) do
    if type(entry) ~= "table" or slots.is_module(entry) then
      core.raise(("nn.ModuleDict: item %d is %s; expected {name, module}"):format(i, check.describe(entry)))
    end
    self:add_module(entry[1], entry[2])
  end
end

---The names, in order.
---@return string[]
function ModuleDict:keys()
  local names = {}
  for name, _, kind in slots.each(self) do
    if kind == "module" then names[#names + 1] = name end
  end
  return names
end

---Iterates over name and module, in order.
---@return fun(): string?, lurn.nn.Module?
function ModuleDict:items() return self:named_children() end

---Takes a module out and gives it back; nil when there is none of that name.
---@param name string
---@return lurn.nn.Module?
function ModuleDict:pop(name)
  local module = slots.of(self).values[name]
  if module ~= nil then slots.unregister(self, name) end
  return module
end

function ModuleDict:__len() return #self:keys() end

return ModuleDict
