-- Classes of modules. A class is the metatable of its instances; its own metatable finds what it inherits and makes
-- instances.

local core = require "lurn.core"
local slots = require "lurn.nn.slots"

local class = {}

---What `module(...)` runs in place of a forward that checks what it is called on.
---@type table<function, function>
class.plain = setmetatable({}, { __mode = "k" })

local function construct(self, ...)
  local instance = setmetatable(slots.new_instance(), self)
  instance:init(...)
  return instance
end

-- Metamethods are looked up without inheritance, so a class starts with those of its parent.
local function copy_metamethods(from, to)
  for name, value in pairs(from) do
    if type(name) == "string" and name:sub(1, 2) == "__" then to[name] = value end
  end
end

local function pass(...) return ... end

-- A forward that says so when it is called with a dot. No tail call: messages look on the stack for the path to a
-- layer.
local function checked(forward)
  local function check_first(self, ...)
    if not slots.is_module(self) then
      core.raise "forward: called without its module; write module:forward(...), with a colon, or module(...)"
    end
    return pass(forward(self, ...))
  end
  class.plain[check_first] = forward
  return check_first
end

local function assign(class_, name, value)
  if name == "forward" and type(value) == "function" then value = checked(value) end
  rawset(class_, name, value)
end

---A new class. Calling it makes an instance and runs the `init` that it defines or inherits.
---@param name string
---@param parent? table a class; none for the first
---@return table
function class.new(name, parent)
  if type(name) ~= "string" then
    core.raise(("extend: the class name is a %s; expected a string"):format(type(name)))
  end
  local new = {}
  copy_metamethods(parent or {}, new)
  new.__name, new.is_lurn_module = name, true
  return setmetatable(new, {
    __index = parent,
    __newindex = assign,
    __call = construct,
    __tostring = function(self) return "class " .. self.__name end,
  })
end

return class
