-- Elementwise functions, and softmax, as modules without parameters.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local more = require "lurn.nn.more_activations"

local activations = {}

-- A class of modules that apply one op of one input.
local function of_op(name, op)
  local class = Module:extend(name)
  function class:init(...) -- luacheck: ignore 212
    if select("#", ...) > 0 then options.read("nn." .. name, (...), {}) end
    if select("#", ...) > 1 then core.raise(("nn.%s: too many arguments; it takes none"):format(name)) end
  end
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

---`x Phi(x)`, Phi the normal distribution function: `nn.GELU()`; `nn.GELU{approximate = "tanh"}` takes a formula with
---tanh in its place. Hendrycks, Gimpel: Gaussian error linear units. arXiv 1606.08415, 2016.
activations.GELU = Module:extend "GELU"
function activations.GELU:init(given)
  self.approximate = options.read("nn.GELU", given,
    { { name = "approximate", kind = { "none", "tanh" }, default = "none" } }).approximate
end
function activations.GELU:forward(x)
  check.tensor(getmetatable(self).__name, "input", x)
  return core.gelu(x, self.approximate)
end
function activations.GELU:extra_repr() return self.approximate == "none" and "" or "approximate=tanh" end

---`x sigmoid(x)`. Elfwing, Uchibe, Doya: Sigmoid-weighted linear units. Neural Networks 107, 2018.
activations.SiLU = of_op("SiLU", core.silu)

---`scale (x above 0, else alpha (exp(x) - 1))`; see nn.functional.selu.
activations.SELU = of_op("SELU", more.selu)

---`x tanh(softplus(x))`; see nn.functional.mish.
activations.Mish = of_op("Mish", more.mish)

---`x / (1 + |x|)`
activations.Softsign = of_op("Softsign", more.softsign)

---`min(max(x, 0), 6)`
activations.ReLU6 = of_op("ReLU6", more.relu6)

---`min(max(x + 3, 0), 6) / 6`
activations.Hardsigmoid = of_op("Hardsigmoid", more.hardsigmoid)

---`x min(max(x + 3, 0), 6) / 6`; see nn.functional.hardswish.
activations.Hardswish = of_op("Hardswish", more.hardswish)

---`log(1 / (1 + exp(-x)))`
activations.LogSigmoid = of_op("LogSigmoid", more.logsigmoid)

---x itself: takes any arguments, gives back its first input.
activations.Identity = Module:extend "Identity"
function activations.Identity:forward(x) return x end

-- ---- With parameters of their own ----

-- Arguments in order from a table of options by name, or as they are.
local function in_order(who, names, kind, ...)
  local given = ...
  if type(given) ~= "table" or select("#", ...) > 1 then
    if select("#", ...) > #names then
      core.raise(("%s: too many arguments: %d given; it takes %s"):format(who, select("#", ...),
        table.concat(names, ", ")))
    end
    return ...
  end
  local schema, values = {}, {}
  for i, name in ipairs(names) do schema[i] = { name = name, kind = kind } end
  local chosen = options.read(who, given, schema)
  for i, name in ipairs(names) do values[i] = chosen[name] end
  return table.unpack(values, 1, #names)
end

-- A class of modules that apply an op with one or two numbers: `names` in order, with their defaults.
local function with_numbers(name, op, names, defaults)
  local class = Module:extend(name)
  function class:init(...)
    local values = { in_order("nn." .. name, names, "number", ...) }
    for i, field in ipairs(names) do
      local value = values[i]
      self[field] = value == nil and defaults[i] or check.number("nn." .. name, field, value)
    end
  end
  function class:forward(x)
    check.tensor(getmetatable(self).__name, "input", x)
    if #names == 1 then return op(x, self[names[1]]) end
    return op(x, self[names[1]], self[names[2]])
  end
  function class:extra_repr()
    local parts = {}
    for i, field in ipairs(names) do parts[i] = ("%s=%.14g"):format(field, self[field]) end
    return table.concat(parts, ", ")
  end
  return class
end

---x above 0, else `alpha (exp(x) - 1)`: `nn.ELU(alpha)`, 1 by default. Clevert, Unterthiner, Hochreiter: Fast and
---accurate deep network learning by exponential linear units. ICLR 2016.
activations.ELU = with_numbers("ELU", core.elu, { "alpha" }, { 1 })

---x above 0, else `negative_slope x`: `nn.LeakyReLU(negative_slope)`, 0.01 by default. Maas, Hannun, Ng: Rectifier
---nonlinearities improve neural network acoustic models. ICML 2013.
activations.LeakyReLU = with_numbers("LeakyReLU", core.leaky_relu, { "negative_slope" }, { 0.01 })

---`max(0, x) + min(0, alpha (exp(x / alpha) - 1))`: `nn.CELU(alpha)`, 1 by default; see nn.functional.celu.
activations.CELU = with_numbers("CELU", more.celu, { "alpha" }, { 1 })

---x cut to min_val..max_val: `nn.Hardtanh(min_val, max_val)`, -1 and 1 by default.
activations.Hardtanh = with_numbers("Hardtanh", core.hardtanh, { "min_val", "max_val" }, { -1, 1 })

---`log(1 + exp(beta x)) / beta`, x itself where beta x is above threshold: `nn.Softplus(beta, threshold)`, 1 and 20 by
---default.
activations.Softplus = with_numbers("Softplus", core.softplus, { "beta", "threshold" }, { 1, 20 })

---Dimensions first..last as one: `nn.Flatten(first, last)`, 2 and -1 by default, which keeps the first one.
activations.Flatten = Module:extend "Flatten"
function activations.Flatten:init(first, last)
  for _, dim in ipairs { first or 2, last or -1 } do
    if math.type(dim) ~= "integer" or dim == 0 then
      core.raise(("nn.Flatten: a dimension is %s; expected one from 1 or, from the end, -1 on"):format(
        check.describe(dim)))
    end
  end
  self.first, self.last = first or 2, last or -1
end
function activations.Flatten:forward(x)
  check.tensor(getmetatable(self).__name, "input", x)
  return x:flatten(self.first, self.last)
end
function activations.Flatten:extra_repr() return ("first=%d, last=%d"):format(self.first, self.last) end

-- A class of modules that apply an op along a dimension.
local function along_dim(name, op)
  local class = Module:extend(name)
  function class:init(...)
    local dim = in_order("nn." .. name, { "dim" }, "integer", ...)
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

---The first half along a dimension, gated by the sigmoid of the second: `nn.GLU(dim)`, -1 (the last) by default; see
---nn.functional.glu.
activations.GLU = along_dim("GLU", more.glu)

return activations
