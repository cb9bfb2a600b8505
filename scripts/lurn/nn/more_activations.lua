-- Activation functions that are made of ops.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local options = require "lurn.nn.options"
local dim_of = require("lurn.tensor").dim_of

local more = {}

---The first half along dim, gated by the sigmoid of the second: glu(x, dim = -1). Dauphin et al.: Language modeling
---with gated convolutional networks. ICML 2017.
---@param x lurn.Tensor
---@param dim integer?
---@return lurn.Tensor
function more.glu(x, dim)
  check.tensor("glu", "x", x)
  dim = dim or -1
  if math.type(dim) ~= "integer" or dim == 0 or math.abs(dim) > x.ndim then
    core.raise(("glu: dim is %s; x has %d dimensions"):format(check.describe(dim), x.ndim))
  end
  local size = x.shape[dim < 0 and x.ndim + 1 + dim or dim]
  if size % 2 ~= 0 then core.raise(("glu: dimension %d has %d; expected an even size"):format(dim, size)) end
  return x:narrow(dim, 1, size // 2) * x:narrow(dim, size // 2 + 1, size // 2):sigmoid()
end

local SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

---`scale (x above 0, else alpha (exp(x) - 1))` with the numbers that keep mean 0 and variance 1: selu(x). Klambauer et
---al.: Self-normalizing neural networks. NIPS 2017.
---@param x lurn.Tensor
---@return lurn.Tensor
function more.selu(x)
  check.tensor("selu", "x", x)
  return core.elu(x, ALPHA) * SCALE
end

---`max(0, x) + min(0, alpha (exp(x / alpha) - 1))`: celu(x, alpha = 1). Barron: Continuously differentiable exponential
---linear units. arXiv 1704.07483, 2017.
---@param x lurn.Tensor
---@param alpha number?
---@return lurn.Tensor
function more.celu(x, alpha)
  check.tensor("celu", "x", x)
  alpha = check.number("celu", "alpha", alpha or 1)
  if alpha == 0 then core.raise "celu: alpha is 0; expected another number" end
  return core.elu(x / alpha, 1) * alpha
end

---`x tanh(softplus(x))`: mish(x). Misra: Mish: a self regularized non-monotonic activation function. BMVC 2020.
---@param x lurn.Tensor
---@return lurn.Tensor
function more.mish(x)
  check.tensor("mish", "x", x)
  return x * core.softplus(x):tanh()
end

---`x / (1 + |x|)`: softsign(x).
---@param x lurn.Tensor
---@return lurn.Tensor
function more.softsign(x)
  check.tensor("softsign", "x", x)
  return x / (x:abs() + 1)
end

---x cut to 0..6: relu6(x).
---@param x lurn.Tensor
---@return lurn.Tensor
function more.relu6(x)
  check.tensor("relu6", "x", x)
  return core.hardtanh(x, 0, 6)
end

---`min(max(x + 3, 0), 6) / 6`: hardsigmoid(x).
---@param x lurn.Tensor
---@return lurn.Tensor
function more.hardsigmoid(x)
  check.tensor("hardsigmoid", "x", x)
  return core.hardtanh(x + 3, 0, 6) / 6
end

---`x hardsigmoid(x)`: hardswish(x). Howard et al.: Searching for MobileNetV3. ICCV 2019.
---@param x lurn.Tensor
---@return lurn.Tensor
function more.hardswish(x)
  check.tensor("hardswish", "x", x)
  return x * more.hardsigmoid(x)
end

---`log(1 / (1 + exp(-x)))`, exact for any x.
---@param x lurn.Tensor
---@return lurn.Tensor
function more.logsigmoid(x)
  check.tensor("logsigmoid", "x", x)
  return -core.softplus(-x)
end

local gumbel_schema = {
  { name = "tau", kind = "positive", default = 1 }, { name = "hard", kind = "flag", default = false },
  { name = "dim", kind = "integer", default = -1 },
}

---A sample of classes that has a gradient: softmax((logits + g) / tau) with g drawn from the Gumbel distribution, whose
---largest entry is each class with its probability softmax(logits): gumbel_softmax(logits, {tau = 1, hard = false, dim
---= -1}). With `hard` the result is 1 at that entry, else 0, and the gradient that of the soft one. Jang, Gu, Poole:
---Categorical reparameterization with Gumbel-Softmax. ICLR 2017.
---@param logits lurn.Tensor
---@param given? {tau: number, hard: boolean, dim: integer}
---@return lurn.Tensor
function more.gumbel_softmax(logits, given)
  local who = "gumbel_softmax"
  check.tensor(who, "logits", logits)
  local chosen = options.read(who, given, gumbel_schema)
  if not check.is_float(logits) then
    core.raise(("%s: logits is %s; expected float32 or float64"):format(who, logits.dtype))
  end
  local dim = logits.ndim > 0 and dim_of(logits, chosen.dim, who) or chosen.dim
  -- rand may give 0, which is not to become a noise of -inf, but not 1.
  local noise = -(-core.rand_like(logits:detach()):clamp(1e-30):log()):log()
  local soft = core.softmax((logits + noise) / chosen.tau, dim)
  if not chosen.hard or soft.ndim == 0 or soft:numel() == 0 then return soft end
  local place = soft:detach():argmax { dim = dim, keepdim = true }
  local one = core.zeros_like(soft:detach()):scatter(dim, place, 1)
  return one + (soft - soft:detach())
end

return more
