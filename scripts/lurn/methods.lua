-- Methods that say so when they are called with a dot instead of a colon.

local core = require "lurn.core"

local methods = {}

---Replaces the public functions of a table, but those of `except`, by ones that check what they are called on.
---@param class table
---@param what string "optimizer"
---@param is_self fun(value: any): boolean
---@param except? table<string, boolean>
function methods.guard(class, what, is_self, except)
  for name, method in pairs(class) do
    if type(method) == "function" and not name:find "^_" and not (except and except[name]) then
      class[name] = function(self, ...)
        if not is_self(self) then
          core.raise(("%s: called without its %s; write %s:%s(...), with a colon"):format(name, what, what, name))
        end
        return method(self, ...)
      end
    end
  end
end

return methods
