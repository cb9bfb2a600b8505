-- Options that layers and cells of one kind share.

local core = require "lurn.core"

local gates = {}

---@type lurn.nn.OptionSpec
gates.nonlinearity = { name = "nonlinearity", kind = { "tanh", "relu", "sigmoid" }, default = "tanh" }

---@type lurn.nn.OptionSpec
gates.forget_bias = { name = "forget_bias", kind = "number", default = 0 }

---Raises when there is a forget bias but no bias to add it to.
---@param who string
---@param forget_bias number
---@param bias boolean
function gates.check_forget_bias(who, forget_bias, bias)
  if forget_bias ~= 0 and not bias then core.raise(who .. ": forget_bias needs bias = true") end
end

---Adds to the forget part of an LSTM's bias, the second of its four parts.
---@param bias lurn.Tensor? (4H)
---@param forget_bias number
function gates.add_forget_bias(bias, forget_bias)
  if not bias or forget_bias == 0 then return end
  local hidden = bias.shape[1] // 4
  core.no_grad(function() bias:narrow(1, hidden + 1, hidden):add_(forget_bias) end)
end

return gates
