-- lurn.optim: optimizers with PyTorch's options, formulas and numbers.

local optimizer = require "lurn.optim.optimizer"

local optim = {}

---Learning rate schedulers.
optim.lr_scheduler = require "lurn.optim.lr_scheduler"

-- In the formulas p is a parameter, g its gradient (-g with `maximize`), plus weight_decay * p but for AdamW;
-- t counts the parameter's updates from 1. Each function takes a list of parameters, or of groups
-- {params = list, option = value, ...}, then options for all groups that do not say otherwise.

---@class lurn.optim.SGDOptions
---@field lr? number learning rate (1e-3)
---@field momentum? number (0)
---@field dampening? number (0)
---@field weight_decay? number (0)
---@field nesterov? boolean (false) needs momentum, and no dampening
---@field maximize? boolean (false)

---Stochastic gradient descent: `p = p - lr * g`; with momentum `b = momentum * b + (1 - dampening) * g` (at first
---`b = g`) and `p = p - lr * b`, with nesterov `p = p - lr * (g + momentum * b)`.
---Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum in deep learning. ICML 2013.
---@param params lurn.Tensor[]|table[]
---@param options? lurn.optim.SGDOptions
---@return lurn.optim.Optimizer
function optim.SGD(params, options) return optimizer.new("SGD", params, options) end

---@class lurn.optim.RMSpropOptions
---@field lr? number learning rate (1e-2)
---@field alpha? number (0.99) decay of the averages, per step
---@field eps? number (1e-8)
---@field weight_decay? number (0)
---@field momentum? number (0)
---@field centered? boolean (false)
---@field maximize? boolean (false)

---`v = alpha * v + (1 - alpha) * g^2`, `d = g / (sqrt(v) + eps)`, `p = p - lr * d`; with momentum
---`b = momentum * b + d`, `p = p - lr * b`; centered, `sqrt(v - a^2)` with a the average of g.
---Tieleman, Hinton: Lecture 6.5, rmsprop. 2012.
---Centered: Graves: Generating sequences with recurrent neural networks, eq. 38-45. arXiv 1308.0850, 2013.
---@param params lurn.Tensor[]|table[]
---@param options? lurn.optim.RMSpropOptions
---@return lurn.optim.Optimizer
function optim.RMSprop(params, options) return optimizer.new("RMSprop", params, options) end

---@class lurn.optim.AdagradOptions
---@field lr? number learning rate (1e-2)
---@field lr_decay? number (0)
---@field weight_decay? number (0)
---@field initial_accumulator_value? number (0)
---@field eps? number (1e-10)
---@field maximize? boolean (false)

---`s = s + g^2`, `p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)`.
---Duchi, Hazan, Singer: Adaptive subgradient methods for online learning and stochastic optimization. JMLR 12, 2011.
---@param params lurn.Tensor[]|table[]
---@param options? lurn.optim.AdagradOptions
---@return lurn.optim.Optimizer
function optim.Adagrad(params, options) return optimizer.new("Adagrad", params, options) end

---@class lurn.optim.AdadeltaOptions
---@field lr? number factor of the update (1.0)
---@field rho? number (0.9) decay of the averages, per step
---@field eps? number (1e-6)
---@field weight_decay? number (0)
---@field maximize? boolean (false)

---`v = rho * v + (1 - rho) * g^2`, `d = sqrt(u + eps) / sqrt(v + eps) * g`, `u = rho * u + (1 - rho) * d^2`,
---`p = p - lr * d`.
---Zeiler: ADADELTA: an adaptive learning rate method. arXiv 1212.5701, 2012.
---@param params lurn.Tensor[]|table[]
---@param options? lurn.optim.AdadeltaOptions
---@return lurn.optim.Optimizer
function optim.Adadelta(params, options) return optimizer.new("Adadelta", params, options) end

---@class lurn.optim.AdamOptions
---@field lr? number learning rate (1e-3)
---@field betas? number[] ({0.9, 0.999}) decay of the averages of g and g^2, per step
---@field eps? number (1e-8)
---@field weight_decay? number (0; AdamW 1e-2)
---@field amsgrad? boolean (false) divide by the largest v so far
---@field maximize? boolean (false)

---`m = beta1 * m + (1 - beta1) * g`, `v = beta2 * v + (1 - beta2) * g^2`,
---`p = p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)`.
---Kingma, Ba: Adam: a method for stochastic optimization. ICLR 2015.
---@param params lurn.Tensor[]|table[]
---@param options? lurn.optim.AdamOptions
---@return lurn.optim.Optimizer
function optim.Adam(params, options) return optimizer.new("Adam", params, options) end

---Adam with `p = p - lr * weight_decay * p` before each update instead of weight decay in the gradient.
---Loshchilov, Hutter: Decoupled weight decay regularization. ICLR 2019.
---@param params lurn.Tensor[]|table[]
---@param options? lurn.optim.AdamOptions
---@return lurn.optim.Optimizer
function optim.AdamW(params, options) return optimizer.new("AdamW", params, options) end

return optim
