-- Parameters: tensors that a module trains. Which tensors are parameters is remembered here, beside the tensors.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local parameter = {}

-- The parameters that are alive. Weak, so that being remembered keeps none of them.
local marked = setmetatable({}, { __mode = "k" })

---Whether a value is a tensor that `nn.Parameter` made.
---@param value any
---@return boolean
function parameter.is(value) return value ~= nil and marked[value] == true end

---A tensor that becomes a parameter of the module it is assigned to: `self.scale = nn.Parameter(lurn.ones(8))`.
---It shares the elements of `t`, is a leaf and, unless told otherwise, requires a gradient; `t` stays what it was.
---@param t lurn.Tensor
---@param requires_grad? boolean (true; needs a float tensor)
---@return lurn.Tensor
function parameter.new(t, requires_grad)
  check.tensor("nn.Parameter", "the argument", t)
  local p = t:detach()
  if requires_grad ~= false then
    if not check.is_float(t) then
      core.raise(("nn.Parameter: the tensor is %s; only float32 and float64 can require a gradient"):format(t.dtype))
    end
    p.requires_grad = true
  end
  marked[p] = true
  return p
end

return parameter
