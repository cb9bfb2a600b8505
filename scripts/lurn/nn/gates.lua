-- Options that layers and cells of one kind share.

local core = require "lurn.core"

local gates = {}

---@type lurn.nn.OptionSpec
gates.nonlinearity = { name = "nonlinearity", kind = { "tanh", "relu", "sigmoid" }, default = "tanh" }

---@type lurn.nn.OptionSpec
gates.forget_bias = { name = "forget_bias", kind = "number", default = 0 }

---@type lurn.nn.OptionSpec
gates.peephole = { name = "peephole", kind = "flag", default = false }

---@type lurn.nn.OptionSpec
gates.coupled = { name = "coupled", kind = "flag", default = false }

---The options of layers of LSTM cells.
---@type lurn.nn.OptionSpec[]
gates.of_lstm = {
  gates.forget_bias,
  { name = "proj_size", kind = "size", default = 0 },
  gates.peephole,
  gates.coupled,
}

---The options of LSTM cells for one step.
---@type lurn.nn.OptionSpec[]
gates.of_lstm_cell = {
  gates.forget_bias,
  gates.peephole,
  gates.coupled,
  { name = "proj_size", only = "nn.LSTM" },
}

---The options that change an LSTM's cell, as others know them: by name, to say where they belong.
---@param owner string
---@return lurn.nn.OptionSpec[]
function gates.lstm_only(owner)
  return {
    { name = "proj_size", only = (owner:gsub("Cell$", "")) }, -- cells have no projection
    { name = "peephole", only = owner },
    { name = "coupled", only = owner },
    { name = "forget_bias", only = owner },
  }
end

---Raises when there is a forget bias but no bias to add it to.
---@param who string
---@param forget_bias number
---@param bias boolean
function gates.check_forget_bias(who, forget_bias, bias)
  if forget_bias ~= 0 and not bias then core.raise(who .. ": forget_bias needs bias = true") end
end

---Adds to the forget part of an LSTM's bias: the second of its four parts, or the first of three where gates are
---coupled.
---@param bias lurn.Tensor? (4H), or (3H) where coupled
---@param forget_bias number
---@param coupled boolean
function gates.add_forget_bias(bias, forget_bias, coupled)
  if not bias or forget_bias == 0 then return end
  local hidden = bias.shape[1] // (coupled and 3 or 4)
  core.no_grad(function() bias:narrow(1, coupled and 1 or hidden + 1, hidden):add_(forget_bias) end)
end

---Names of the peephole weights among an op's arguments, as far as the cell has them: i, f and o see the cell, and
---coupled there is no i.
---@param peephole boolean
---@param coupled boolean
---@return string[]
function gates.peepholes(peephole, coupled)
  if not peephole then return {} end
  return coupled and { "w_cf", "w_co" } or { "w_ci", "w_cf", "w_co" }
end

---", bias=false, dropout=0.5": the options of a layer or cell that are not at their default, for printing.
---@param owner table has a field for each option
---@param schema lurn.nn.OptionSpec[]
---@return string
function gates.describe(owner, schema)
  local parts = {}
  for _, option in ipairs(schema) do
    local value = owner[option.name]
    if not option.only and value ~= option.default then
      if math.type(value) == "float" then value = ("%.14g"):format(value) end
      parts[#parts + 1] = (", %s=%s"):format(option.name, value)
    end
  end
  return table.concat(parts)
end

return gates
