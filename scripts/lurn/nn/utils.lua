-- nn.utils: clipping of gradients.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local utils = {}

local function list_of(who, params)
  if core.is_tensor(params) then return { params } end
  if type(params) ~= "table" then
    core.raise(("%s: params is %s; expected a list of tensors"):format(who, check.describe(params)))
  end
  if #params == 0 and next(params) ~= nil then
    core.raise(who .. ": params is a table that is no list; expected a list of tensors, such as model:parameters()")
  end
  for i, p in ipairs(params) do check.tensor(who, ("parameter %d"):format(i), p) end
  return params
end

---Scales all gradients by the same factor so that the 2-norm of all of them together is at most `max_norm`;
---parameters without a gradient count for nothing. A norm that is not finite is returned and changes nothing.
---Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks. ICML 2013.
---@param params lurn.Tensor[]|lurn.Tensor
---@param max_norm number at least 0
---@return number # the norm before scaling
function utils.clip_grad_norm_(params, max_norm)
  local list = list_of("clip_grad_norm_", params)
  check.number("clip_grad_norm_", "max_norm", max_norm)
  return core.clip_grad_norm(list, max_norm)
end

---Cuts every element of every gradient to -max_value..max_value.
---@param params lurn.Tensor[]|lurn.Tensor
---@param max_value number at least 0
function utils.clip_grad_value_(params, max_value)
  local list = list_of("clip_grad_value_", params)
  check.number("clip_grad_value_", "max_value", max_value)
  core.clip_grad_value(list, max_value)
end

return utils
