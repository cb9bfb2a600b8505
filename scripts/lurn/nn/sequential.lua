-- nn.Sequential

local ModuleList = require "lurn.nn.module_list"
local slots = require "lurn.nn.slots"

---Calls its modules one after the other, each with the first result of the one before; gives back the first result of
---the last.
---`nn.Sequential(a, b, c)` or `nn.Sequential{a, b, c}`. A list too: `seq[1]`, `#seq`, `seq:append(module)`;
---`add_module` adds one under a name of its own.
---@class lurn.nn.Sequential: lurn.nn.ModuleList
---@overload fun(...: lurn.nn.Module|lurn.nn.Module[]): lurn.nn.Sequential
local Sequential = ModuleList:extend "Sequential"

---@param x any
---@return any
function Sequential:forward(x)
  for _, module, kind in slots.each(self) do
    if kind == "module" then x = module(x) end
  end
  return x
end

return Sequential
