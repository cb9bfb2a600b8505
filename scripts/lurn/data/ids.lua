-- Token ids in as few bytes as they need: a list of planes, uint8 tensors of n elements each. Plane k holds byte k
-- (the lowest first) of every id, counted from 0. One plane is enough for 256 tokens, two for 65536.

local core = require "lurn.core"

local ids = {}

---How many bytes an id takes.
---@param size integer number of tokens in the vocabulary
---@return integer
function ids.width(size)
  local width = 1
  while size > 1 << (8 * width) do width = width + 1 end
  return width
end

---The planes of ids that stand in a string, each as an unsigned little-endian number of `width` bytes.
---@param bytes string
---@param width integer
---@return lurn.Tensor[]
function ids.planes(bytes, width)
  local n = #bytes // width
  local all = core.frombytes(bytes, "uint8", { n, width })
  if width == 1 then return { all:view(n) } end
  local planes = {}
  for k = 1, width do planes[k] = all:select(2, k):contiguous() end
  return planes
end

---Ids counted from 1, int64, of views that were taken of each plane in the same way.
---@param views lurn.Tensor[]
---@return lurn.Tensor
function ids.widen(views)
  local result = views[1]:to "int64"
  for k = 2, #views do result:add_(views[k]:to "int64" * (1 << (8 * (k - 1)))) end
  return result:add_(1):contiguous()
end

return ids
