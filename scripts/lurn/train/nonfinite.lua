-- Where a nan or an infinity came from.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local slots = require "lurn.nn.slots"

-- How many elements are nan or infinite.
local function count(t)
  return core.no_grad(function() return t:numel() - t:detach():isfinite():sum():item() end)
end

local function describe(kind, name, tensor, n)
  return ("%s %s (%d of %d numbers)"):format(kind, name, n, tensor:numel())
end

---What of a model became non-finite first: the first of its parameters in the order of the forward pass, else the first
---gradient in the order of the backward pass.
---@param model lurn.nn.Module
---@return string? # "parameter rnn.weight_hh_l0 (12 of 65536 numbers)", or nil when all are finite
local function find(model)
  if not slots.is_module(model) then
    core.raise(("find_nonfinite: the model is %s; expected a module"):format(check.describe(model)))
  end
  local list = {}
  for name, parameter in model:named_parameters() do
    list[#list + 1] = { name, parameter }
    local n = count(parameter)
    if n > 0 then return describe("parameter", name, parameter, n) end
  end
  for i = #list, 1, -1 do
    local name, gradient = list[i][1], list[i][2].grad
    local n = gradient and count(gradient) or 0
    if n > 0 then return describe("gradient of", name, gradient, n) end
  end
  return nil
end

return find
