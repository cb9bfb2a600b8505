-- Elementwise functions, and softmax, as modules without parameters.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"

local activations = {}

-- A class of modules that apply one op of one input.
local function of_op(name, op)
  local class = Module:extend(name)
  function class:forward(x)
    check.tensor(getmetatable(self).__name, "input", x)
    return op(x)
  end
  return class
end

---`tanh(x)`
activations.Tanh = of_op("Tanh", core.tanh)

---`1 / (1 + exp(-x))`
activations.Sigmoid = of_op("Sigmoid", core.sigmoid)

---`max(x, 0)`
activations.ReLU = of_op("ReLU", core.relu)

---`x Phi(x)`, Phi the normal distribution function. Hendrycks, Gimpel: Gaussian error linear units. arXiv 1606.08415,
---2016.
activations.GELU = of_op("GELU", core.gelu)

---`log(1 + exp(x))`
activations.Softplus = of_op("Softplus", core.softplus)

---`x sigmoid(x)`. Elfwing, Uchibe, Doya: Sigmoid-weighted linear units. Neural Networks 107, 2018.
activations.SiLU = of_op("SiLU", core.silu)

---x itself: takes any arguments, gives back its first input.
activations.Identity = Module:extend "Identity"
function activations.Identity:forward(x) return x end

-- A class of modules that apply an op along a dimension.
local function along_dim(name, op)
  local class = Module:extend(name)
  function class:init(dim)
    if dim == nil then dim = -1 end
    if math.type(dim) ~= "integer" or dim == 0 then
      core.raise(("nn.%s: dim is %s; expected a dimension from 1 or, from the end, -1 on"):format(name,
        check.describe(dim)))
    end
    self.dim = dim
  end
  function class:forward(x)
    check.tensor(getmetatable(self).__name, "input", x)
    return op(x, self.dim)
  end
  function class:extra_repr() return ("dim=%d"):format(self.dim) end
  return class
end

---`exp(x) / sum(exp(x))` along a dimension: `nn.Softmax(dim)`, -1 (the last) by default.
activations.Softmax = along_dim("Softmax", core.softmax)

---`log softmax(x)` along a dimension: `nn.LogSoftmax(dim)`, -1 (the last) by default.
activations.LogSoftmax = along_dim("LogSoftmax", core.log_softmax)

return activations
