-- nn.VariationalDropout

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"

---Dropout for sequences: in training, each feature of each sequence is 0 with probability p at all time steps alike, or
---x / (1 - p) at all of them; x itself in evaluation. The layers nn.RNN, nn.LSTM and nn.GRU use it between them with
---`variational = true`.
---Gal, Ghahramani: A theoretically grounded application of dropout in recurrent neural networks. NIPS 2016.
---@class lurn.nn.VariationalDropout: lurn.nn.Module
---@field p number
---@field batch_first boolean
---@overload fun(p?: number, options?: {batch_first: boolean}): lurn.nn.VariationalDropout
local VariationalDropout = Module:extend "VariationalDropout"

---@type lurn.nn.OptionSpec[]
local schema = { { name = "batch_first", kind = "flag", default = false } }

---@param p? number (0.5) from 0 to 1
---@param given? {batch_first: boolean} (false) x is (N, T, D) instead of (T, N, D)
function VariationalDropout:init(p, given)
  if p == nil then p = 0.5 end
  if type(p) ~= "number" or not (p >= 0 and p <= 1) then
    core.raise(("nn.VariationalDropout: p is %s; expected a number from 0 to 1"):format(check.describe(p)))
  end
  self.p = p
  self.batch_first = options.read("nn.VariationalDropout", given, schema).batch_first
end

---x (three dimensions) with one mask for all positions along its time dimension, as in training.
---@param x lurn.Tensor
---@param p number
---@param time_dim integer
---@return lurn.Tensor
function VariationalDropout.drop(x, p, time_dim)
  local shape = { table.unpack(x.shape) }
  shape[time_dim] = 1
  return x * core.dropout(core.ones(shape, { dtype = x.dtype }), p, true)
end

---@param x lurn.Tensor (T, N, D), or (N, T, D) with batch_first
---@return lurn.Tensor
function VariationalDropout:forward(x)
  local who = getmetatable(self).__name
  check.tensor(who, "input", x)
  if #x.shape ~= 3 then
    core.raise(("%s: input has shape %s; expected (%s, D)"):format(who, check.shape_text(x.shape),
      self.batch_first and "N, T" or "T, N"))
  end
  if not check.is_float(x) then
    core.raise(("%s: input is %s; expected float32 or float64"):format(who, x.dtype))
  end
  if not self.training or self.p == 0 then return x end
  return VariationalDropout.drop(x, self.p, self.batch_first and 2 or 1)
end

function VariationalDropout:extra_repr()
  return ("p=%.14g%s"):format(self.p, self.batch_first and ", batch_first=true" or "")
end

return VariationalDropout
