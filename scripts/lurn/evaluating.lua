-- Evaluation mode for the time of a call.

local guard = require "lurn.guard"
local slots = require "lurn.nn.slots"

---Puts a model into evaluation mode until the returned value is closed; then each of its modules has the mode it had,
---whatever that was. Does nothing for what is no module.
---@param model any
---@return table # for a `<close>` variable and guard.call
local function evaluating(model)
  if not slots.is_module(model) then return guard.new() end
  local modes = {}
  for _, module in ipairs(model:modules()) do modes[module] = module.training end
  local pending = guard.new(function()
    for module, mode in pairs(modes) do module.training = mode end
  end)
  model:eval()
  return pending
end

return evaluating
