-- What all kinds of attention share: masks, weights, and the weighted sum.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local attend = {}

-- Below any score that means something, and finite: where all is blocked there is no 0 / 0, in backward too.
local BLOCKED = -1e30

---softmax over the last dimension with weight 0, exactly, where `blocked` is true; all 0 where everything is.
---@param scores lurn.Tensor (..., T)
---@param blocked lurn.Tensor? bool, broadcast to scores
---@return lurn.Tensor
function attend.weights(scores, blocked)
  if not blocked then return core.softmax(scores, -1) end
  blocked = blocked:expand(scores.shape)
  return core.masked_fill(core.softmax(core.masked_fill(scores, blocked, BLOCKED), -1), blocked, 0)
end

---Either mask, or nil; true blocks.
---@param a lurn.Tensor?
---@param b lurn.Tensor?
---@return lurn.Tensor?
function attend.either(a, b)
  if a and b then return core.logical_or(a, b) end
  return a or b
end

---Scores with a float mask added, and what is blocked: also where the mask is -inf, so that a query for which it is
----inf throughout gets weights of 0 and not NaN.
---@param scores lurn.Tensor (..., L, S)
---@param mask lurn.Tensor float, broadcast to scores
---@param blocked lurn.Tensor?
---@return lurn.Tensor scores
---@return lurn.Tensor? blocked
function attend.add_mask(scores, mask, blocked)
  local never = core.eq(mask, -math.huge)
  if core.any(never):item() then
    mask, blocked = core.masked_fill(mask, never, 0), attend.either(blocked, never)
  end
  return scores + mask, blocked
end

---What a query must not see when it sees the keys up to its own position, counted from the first of both.
---@param queries integer
---@param keys integer
---@return lurn.Tensor # bool (queries, keys)
function attend.causal(queries, keys)
  local columns, rows = core.arange(1, keys, { dtype = "int64" }), core.arange(1, queries, { dtype = "int64" })
  return core.gt(core.unsqueeze(columns, 1), core.unsqueeze(rows, 2))
end

---Raises unless a mask is bool, or of the dtype that it is added to.
---@param who string
---@param mask lurn.Tensor
---@param query lurn.Tensor
function attend.check_mask_dtype(who, mask, query)
  if mask.dtype == "bool" or (mask.dtype == query.dtype and check.is_float(mask)) then return end
  core.raise(("%s: attn_mask is %s; expected bool, or %s like the query"):format(who, mask.dtype, query.dtype))
end

---Raises unless a mask is bool and of this shape.
---@param who string
---@param name string
---@param mask any
---@param shape integer[]
function attend.check_mask(who, name, mask, shape)
  check.tensor(who, name, mask)
  if mask.dtype ~= "bool" then core.raise(("%s: %s is %s; expected bool"):format(who, name, mask.dtype)) end
  if not check.same_shape(mask.shape, shape) then
    core.raise(("%s: %s has shape %s; expected %s"):format(who, name, check.shape_text(mask.shape),
      check.shape_text(shape)))
  end
end

---Raises unless a tensor has that many dimensions and features.
---@param who string
---@param name string
---@param t any
---@param ndim integer
---@param features integer? nil: any
---@param layout string "(T, N, %s)" for the message
function attend.check_tensor(who, name, t, ndim, features, layout)
  check.tensor(who, name, t)
  if t.ndim == ndim and (not features or t.shape[ndim] == features) then return end
  core.raise(("%s: %s has shape %s; expected %s"):format(who, name, check.shape_text(t.shape),
    (layout:gsub("%%s", features or "features"))))
end

return attend
