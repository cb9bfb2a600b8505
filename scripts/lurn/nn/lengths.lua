-- Lengths of the sequences of a padded batch, as layers and attention take them.

local core = require "lurn.core"
local check = require "lurn.nn.check"

local lengths = {}

---An int64 tensor of lengths, from one or from a list of integers; nil for nil.
---@param who string
---@param given lurn.Tensor|integer[]|nil
---@param what? string their name in messages, "lengths"
---@return lurn.Tensor? # (N)
function lengths.read(who, given, what)
  what = what or "lengths"
  if given == nil or core.is_tensor(given) then return given end
  if type(given) ~= "table" then
    core.raise(("%s: %s is %s; expected an int64 tensor or a list"):format(who, what, check.describe(given)))
  end
  local list = {}
  for i, length in ipairs(given) do
    list[i] = math.tointeger(length)
    if not list[i] then
      core.raise(("%s: %s[%d] is %s; expected an integer"):format(who, what, i, tostring(length)))
    end
  end
  return core.tensor(list, { dtype = "int64" })
end

---The lengths as a list of N integers from 0 to T; raises for anything else.
---@param who string
---@param t lurn.Tensor
---@param steps integer T
---@param batch integer N
---@return integer[]
function lengths.checked(who, t, steps, batch)
  if t.dtype ~= "int64" then core.raise(("%s: lengths is %s, expected int64"):format(who, t.dtype)) end
  if not check.same_shape(t.shape, { batch }) then
    core.raise(("%s: lengths has shape %s, expected %s"):format(who, check.shape_text(t.shape),
      check.shape_text { batch }))
  end
  local list = t:totable()
  for i, length in ipairs(list) do
    if length < 0 or length > steps then
      core.raise(("%s: lengths[%d] is %d, expected 0..%d"):format(who, i, length, steps))
    end
  end
  return list
end

---Which steps lie past the length of their sequence.
---@param t lurn.Tensor (N) lengths
---@param steps integer T
---@return lurn.Tensor # bool (T, N)
function lengths.past(t, steps)
  return core.gt(core.unsqueeze(core.arange(1, steps, { dtype = "int64" }), 2), core.unsqueeze(t, 1))
end

return lengths
