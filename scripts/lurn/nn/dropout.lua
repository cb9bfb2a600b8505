-- nn.Dropout

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"

---In training, 0 with probability p, else x / (1 - p), elementwise; x itself in evaluation.
---Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting. JMLR 15, 2014.
---@class lurn.nn.Dropout: lurn.nn.Module
---@field p number
---@overload fun(p?: number|{p: number}): lurn.nn.Dropout
local Dropout = Module:extend "Dropout"

---@param p? number|{p: number} (0.5) from 0 to 1
function Dropout:init(p, ...)
  if select("#", ...) > 0 then options.read("nn.Dropout", (...), {}) end
  if type(p) == "table" then p = options.read("nn.Dropout", p, { { name = "p", kind = "any" } }).p end
  if p == nil then p = 0.5 end
  if type(p) ~= "number" or not (p >= 0 and p <= 1) then
    core.raise(("nn.Dropout: p is %s; expected a number from 0 to 1"):format(check.describe(p)))
  end
  self.p = p
end

---@param x lurn.Tensor
---@return lurn.Tensor
function Dropout:forward(x)
  check.tensor(getmetatable(self).__name, "input", x)
  return core.dropout(x, self.p, self.training)
end

function Dropout:extra_repr() return ("p=%.14g"):format(self.p) end

return Dropout
