-- nn.init: fills tensors in place, outside the graph, and gives them back. PyTorch's names and formulas.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local options = require "lurn.nn.options"

local init = {}

local function in_place(name, t, fill)
  check.tensor("nn.init." .. name, "the argument", t)
  core.no_grad(fill)
  return t
end

-- A number that was given, or the preset.
local function number_or(preset, name, what, value)
  if value == nil then return preset end
  return check.number("nn.init." .. name, what, value)
end

local function two_dims(name, t)
  check.tensor("nn.init." .. name, "the argument", t)
  if #t.shape ~= 2 then
    core.raise(("nn.init.%s: the tensor has shape %s; expected 2 dimensions"):format(name, check.shape_text(t.shape)))
  end
end

-- ---- Plain ----

---Uniform on [low, high).
---@param t lurn.Tensor
---@param low? number (0)
---@param high? number (1)
---@return lurn.Tensor t
function init.uniform_(t, low, high)
  low, high = number_or(0, "uniform_", "low", low), number_or(1, "uniform_", "high", high)
  return in_place("uniform_", t, function() t:uniform_(low, high) end)
end

---Normal.
---@param t lurn.Tensor
---@param mean? number (0)
---@param std? number (1)
---@return lurn.Tensor t
function init.normal_(t, mean, std)
  mean, std = number_or(0, "normal_", "mean", mean), number_or(1, "normal_", "std", std)
  return in_place("normal_", t, function() t:normal_(mean, std) end)
end

-- Proposals for standard normal numbers of a..b, and which of them to take, as functions of a tensor to fill. Where
-- the interval is likely enough, normal ones; else uniform ones, taken with their density relative to the greatest one,
-- over what has more than 1e-17 of it (Robert: Simulation of truncated normal variables. Statistics and Computing 5,
-- 1995).
local function proposals(a, b)
  if b - a >= 1 and a < 1 and b > -1 then
    return function(z) z:normal_() end, function(z) return core.logical_and(core.ge(z, a), core.le(z, b)) end
  end
  local nearest = math.max(a, -b, 0)
  local reach = math.sqrt(nearest * nearest + 80)
  local from, to = math.max(a, -reach), math.min(b, reach)
  return function(z) z:uniform_(from, to) end, function(z)
    return core.lt(core.rand_like(z), core.exp((nearest * nearest - z:square()) / 2))
  end
end

---Normal, of what lies within low..high alone.
---@param t lurn.Tensor
---@param mean? number (0)
---@param std? number (1)
---@param low? number (-2)
---@param high? number (2)
---@return lurn.Tensor t
function init.trunc_normal_(t, mean, std, low, high)
  mean, std = number_or(0, "trunc_normal_", "mean", mean), number_or(1, "trunc_normal_", "std", std)
  low, high = number_or(-2, "trunc_normal_", "low", low), number_or(2, "trunc_normal_", "high", high)
  if not (std > 0 and low < high) then
    core.raise(("nn.init.trunc_normal_: std is %.14g, from %.14g to %.14g; expected std above 0 and low below high")
      :format(std, low, high))
  end
  return in_place("trunc_normal_", t, function()
    local fill, takes = proposals((low - mean) / std, (high - mean) / std)
    local z, new = core.empty(t.shape, { dtype = "float64" }), core.empty(t.shape, { dtype = "float64" })
    fill(z)
    local wanting = core.logical_not(takes(z))
    while wanting:sum():item() > 0 do
      fill(new)
      z:copy_(core.where(wanting, new, z))
      wanting = core.logical_and(wanting, core.logical_not(takes(new)))
    end
    t:copy_(core.clamp(z * std + mean, low, high))
  end)
end

---Normal with mean 0, but in each column the given share, rounded up, is 0. Martens: Deep learning via Hessian-free
---optimization. ICML 2010.
---@param t lurn.Tensor of two dimensions
---@param sparsity number from 0 to 1
---@param std? number (0.01)
---@return lurn.Tensor t
function init.sparse_(t, sparsity, std)
  two_dims("sparse_", t)
  if type(sparsity) ~= "number" or not (sparsity >= 0 and sparsity <= 1) then
    core.raise(("nn.init.sparse_: sparsity is %s; expected a number from 0 to 1"):format(check.describe(sparsity)))
  end
  std = number_or(0.01, "sparse_", "std", std)
  local rows, columns = t.shape[1], t.shape[2]
  return in_place("sparse_", t, function()
    t:normal_(0, std)
    for column = 1, rows > 0 and columns or 0 do
      local order = core.randperm(rows):totable()
      for i = 1, math.ceil(sparsity * rows) do t:set(0, order[i], column) end
    end
  end)
end

---@param t lurn.Tensor
---@param value number
---@return lurn.Tensor t
function init.constant_(t, value)
  check.number("nn.init.constant_", "value", value)
  return in_place("constant_", t, function() t:fill_(value) end)
end

---@param t lurn.Tensor
---@return lurn.Tensor t
function init.zeros_(t) return in_place("zeros_", t, function() t:fill_(0) end) end

---@param t lurn.Tensor
---@return lurn.Tensor t
function init.ones_(t) return in_place("ones_", t, function() t:fill_(1) end) end

---Ones on the diagonal, zeros elsewhere.
---@param t lurn.Tensor of two dimensions
---@return lurn.Tensor t
function init.eye_(t)
  two_dims("eye_", t)
  return in_place("eye_", t, function()
    t:fill_(0)
    for i = 1, math.min(t.shape[1], t.shape[2]) do t:set(1, i, i) end
  end)
end

-- ---- By the number of connections ----

-- Inputs and outputs of one unit: the sizes of dimensions 2 and 1 times the product of the others.
local function fans(name, t)
  check.tensor("nn.init." .. name, "the argument", t)
  local shape = t.shape
  if #shape < 2 then
    core.raise(("nn.init.%s: the tensor has shape %s; expected at least 2 dimensions"):format(name,
      check.shape_text(shape)))
  end
  local field = 1
  for i = 3, #shape do field = field * shape[i] end
  return shape[2] * field, shape[1] * field
end

local gains = { linear = 1, sigmoid = 1, tanh = 5 / 3, relu = math.sqrt(2), selu = 3 / 4 }

---What a nonlinearity multiplies the deviation of weights by: linear and sigmoid 1, tanh 5/3, relu sqrt(2), selu 3/4,
---leaky_relu sqrt(2 / (1 + slope^2)).
---@param nonlinearity "linear"|"sigmoid"|"tanh"|"relu"|"selu"|"leaky_relu"
---@param slope? number (0.01) of leaky_relu
---@return number
function init.calculate_gain(nonlinearity, slope)
  if nonlinearity == "leaky_relu" then
    return math.sqrt(2 / (1 + number_or(0.01, "calculate_gain", "slope", slope) ^ 2))
  end
  local gain = gains[nonlinearity]
  if not gain then
    core.raise(("nn.init.calculate_gain: nonlinearity is %s; expected one of linear, sigmoid, tanh, relu, selu, "
      .. "leaky_relu"):format(tostring(nonlinearity)))
  end
  return gain
end

local function xavier_std(name, t, gain)
  local fan_in, fan_out = fans(name, t)
  return number_or(1, name, "gain", gain) * math.sqrt(2 / (fan_in + fan_out))
end

---Uniform on +-gain sqrt(6 / (fan_in + fan_out)).
---Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks. AISTATS 2010.
---@param t lurn.Tensor of at least two dimensions (out, in, ...)
---@param gain? number (1)
---@return lurn.Tensor t
function init.xavier_uniform_(t, gain)
  local bound = math.sqrt(3) * xavier_std("xavier_uniform_", t, gain)
  return init.uniform_(t, -bound, bound)
end

---Normal with deviation gain sqrt(2 / (fan_in + fan_out)). Glorot, Bengio 2010.
---@param t lurn.Tensor of at least two dimensions (out, in, ...)
---@param gain? number (1)
---@return lurn.Tensor t
function init.xavier_normal_(t, gain) return init.normal_(t, 0, xavier_std("xavier_normal_", t, gain)) end

---@class lurn.nn.KaimingOptions
---@field a? number (0) slope of leaky_relu
---@field mode? "fan_in"|"fan_out" ("fan_in")
---@field nonlinearity? string ("leaky_relu") as in calculate_gain

local kaiming_schema = {
  { name = "a", kind = "number", default = 0 },
  { name = "mode", kind = { "fan_in", "fan_out" }, default = "fan_in" },
  { name = "nonlinearity", kind = { "linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu" },
    default = "leaky_relu" },
}

local function kaiming_std(name, t, given)
  local chosen = options.read("nn.init." .. name, given, kaiming_schema)
  local fan_in, fan_out = fans(name, t)
  return init.calculate_gain(chosen.nonlinearity, chosen.a) / math.sqrt(chosen.mode == "fan_in" and fan_in or fan_out)
end

---Uniform on +-gain sqrt(3 / fan).
---He et al.: Delving deep into rectifiers. ICCV 2015.
---@param t lurn.Tensor of at least two dimensions (out, in, ...)
---@param given? lurn.nn.KaimingOptions
---@return lurn.Tensor t
function init.kaiming_uniform_(t, given)
  local bound = math.sqrt(3) * kaiming_std("kaiming_uniform_", t, given)
  return init.uniform_(t, -bound, bound)
end

---Normal with deviation gain / sqrt(fan). He et al. 2015.
---@param t lurn.Tensor of at least two dimensions (out, in, ...)
---@param given? lurn.nn.KaimingOptions
---@return lurn.Tensor t
function init.kaiming_normal_(t, given) return init.normal_(t, 0, kaiming_std("kaiming_normal_", t, given)) end

-- ---- Orthogonal ----

-- What is left of row v after its parts along the first k rows of q, which are orthonormal, are taken away. Twice is
-- enough (Giraud, Langou, Rozloznik 2005).
local function without_parts(v, q, k)
  if k == 0 then return v end
  local basis = q:narrow(1, 1, k)
  for _ = 1, 2 do v = v - basis:transpose(1, 2):matmul(basis:matmul(v)) end
  return v
end

-- Random orthonormal rows, as many as wished and at most as long, in float64: Gram and Schmidt on normal rows.
local function orthonormal_rows(rows, length)
  local q = core.randn(rows, length, { dtype = "float64" })
  for i = 1, rows do
    local v = without_parts(q:select(1, i), q, i - 1)
    q:select(1, i):copy_(v / v:square():sum():sqrt())
  end
  return q
end

---Orthonormal rows or columns, whichever are fewer, times gain; dimensions after the first are taken together.
---Saxe, McClelland, Ganguli: Exact solutions to the nonlinear dynamics of learning in deep linear networks. ICLR 2014.
---@param t lurn.Tensor of at least two dimensions
---@param gain? number (1)
---@return lurn.Tensor t
function init.orthogonal_(t, gain)
  local columns = fans("orthogonal_", t)
  gain = number_or(1, "orthogonal_", "gain", gain)
  local rows = t.shape[1]
  if rows == 0 or columns == 0 then return t end
  return in_place("orthogonal_", t, function()
    local q = orthonormal_rows(math.min(rows, columns), math.max(rows, columns))
    if rows > columns then q = q:transpose(1, 2) end
    t:copy_((q * gain):reshape(table.unpack(t.shape)))
  end)
end

-- ---- Recurrent ----

-- Where in the biases of a kind of layer or cell the gate stands that keeps the memory (f of LSTM, z of GRU), and the
-- one that writes it where it has weights of its own; `gates` is how many there are. Coupled, f is the first of three.
local memory_gates = {
  LSTM = { gates = 4, keep = 2, write = 1 },
  coupled = { gates = 3, keep = 1 },
  GRU = { gates = 3, keep = 2 },
}

-- The kind of a layer or cell among these; the layer-normalised ones have their biases after the normalisation.
local function memory_kind(layer)
  local kind = layer.kind and layer.kind:gsub("^LayerNorm", ""):gsub("Cell$", "")
  return kind == "LSTM" and layer.coupled and "coupled" or kind
end

-- Raises unless `layer` is a layer or cell with such gates and a bias.
local function memory_of(layer)
  local is_module = type(layer) == "table" and layer.is_lurn_module and not rawget(layer, "is_lurn_module")
  local found = is_module and memory_gates[memory_kind(layer)]
  if not found or layer.gates ~= found.gates then
    core.raise(("nn.init.chrono_: the argument is %s; expected an LSTM or GRU layer or cell"):format(
      is_module and "a module of class " .. getmetatable(layer).__name or check.describe(layer)))
  end
  if not layer.bias then core.raise "nn.init.chrono_: the layer has no bias; expected bias = true" end
  return found
end

---Biases with which the units of an LSTM or GRU remember for times of different length, up to about `max_time` steps:
---the bias of the gate that keeps, sigmoid(b) = 1 - 1/(u + 1), is b = log u with u uniform on [1, max_time - 1], and
---that of an LSTM's input gate is -b, which is what coupled gates do by themselves. For layers and cells, also the
---layer-normalised ones; all layers and directions of one get the same range.
---Tallec, Ollivier: Can recurrent neural networks warp time? ICLR 2018, eq. 15 and 16.
---@param layer lurn.nn.Module an LSTM or GRU, LayerNormLSTM or LayerNormGRU, or a cell of these
---@param max_time number at least 2: the longest dependence that is expected, in steps
---@return lurn.nn.Module layer
function init.chrono_(layer, max_time)
  local memory = memory_of(layer)
  check.number("nn.init.chrono_", "max_time", max_time)
  if not (max_time >= 2 and max_time < math.huge) then
    core.raise(("nn.init.chrono_: max_time is %s; expected a number of at least 2"):format(max_time))
  end
  local hidden = layer.hidden_size
  local function part(bias, gate) return bias:narrow(1, (gate - 1) * hidden + 1, hidden) end
  core.no_grad(function()
    for name, bias in layer:named_parameters { recurse = false } do
      if name:find "^bias_ih" then
        local keep = part(bias, memory.keep):uniform_(1, max_time - 1):log_()
        if memory.write then part(bias, memory.write):copy_(-keep) end
      elseif name:find "^bias_hh" then
        part(bias, memory.keep):fill_(0)
        if memory.write then part(bias, memory.write):fill_(0) end
      end
    end
  end)
  return layer
end

return init
