-- nn.utils: clipping of gradients, parameters as a vector.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local utils = {}

-- nn.utils.rnn
utils.rnn = require "lurn.nn.padding"

utils.checkpoint = require("lurn.nn.checkpoint").call

local function list_of(who, params)
  if core.is_tensor(params) then return { params } end
  if type(params) ~= "table" then
    core.raise(("%s: params is %s; expected a list of tensors"):format(who, check.describe(params)))
  end
  if #params == 0 and next(params) ~= nil then
    core.raise(who .. ": params is a table that is no list; expected a list of tensors, such as model:parameters()")
  end
  for i, p in ipairs(params) do
    if not core.is_tensor(p) then check.tensor(who, ("parameter %d"):format(i), p) end
  end
  return params
end

local function check_limit(who, what, value)
  if check.number(who, what, value) >= 0 then return end
  core.raise(("%s: %s is %.14g; expected at least 0"):format(who, what, value))
end

---Scales all gradients by the same factor so that the 2-norm of all of them together is at most `max_norm`;
---parameters without a gradient count for nothing. A norm that is not finite is returned and changes nothing.
---Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks. ICML 2013.
---@param params lurn.Tensor[]|lurn.Tensor
---@param max_norm number at least 0
---@return number # the norm before scaling
function utils.clip_grad_norm_(params, max_norm)
  local list = list_of("clip_grad_norm_", params)
  check_limit("clip_grad_norm_", "max_norm", max_norm)
  return core.clip_grad_norm(list, max_norm)
end

---Cuts every element of every gradient to -max_value..max_value.
---@param params lurn.Tensor[]|lurn.Tensor
---@param max_value number at least 0
function utils.clip_grad_value_(params, max_value)
  local list = list_of("clip_grad_value_", params)
  check_limit("clip_grad_value_", "max_value", max_value)
  core.clip_grad_value(list, max_value)
end

-- ---- Parameters as a vector ----

---The elements of all parameters in one vector, in order; differentiable.
---@param params lurn.Tensor[]|lurn.Tensor of one dtype
---@return lurn.Tensor # (total)
function utils.parameters_to_vector(params)
  local list = list_of("parameters_to_vector", params)
  if #list == 0 then core.raise "parameters_to_vector: there are no parameters" end
  local flat = {}
  for i, p in ipairs(list) do
    flat[i] = p:reshape(-1)
    if p.dtype ~= list[1].dtype then
      core.raise(("parameters_to_vector: parameter %d is %s, the first is %s; expected one dtype"):format(i, p.dtype,
        list[1].dtype))
    end
  end
  return core.cat(flat, 1)
end

---Copies the elements of a vector into the parameters, in place and outside the graph: the inverse of
---parameters_to_vector. When the number of elements does not fit, nothing has changed.
---@param vector lurn.Tensor (total)
---@param params lurn.Tensor[]|lurn.Tensor
function utils.vector_to_parameters(vector, params)
  check.tensor("vector_to_parameters", "vector", vector)
  local list, total = list_of("vector_to_parameters", params), 0
  for _, p in ipairs(list) do total = total + p:numel() end
  if not check.same_shape(vector.shape, { total }) then
    core.raise(("vector_to_parameters: the vector has shape %s; expected (%d)"):format(check.shape_text(vector.shape),
      total))
  end
  core.no_grad(function()
    local first = 1
    for _, p in ipairs(list) do
      p:copy_(vector:narrow(1, first, p:numel()):reshape(p.shape))
      first = first + p:numel()
    end
  end)
end

return utils
