-- nn.Embedding

local core = require "lurn.core"
local check = require "lurn.nn.check"
local functional = require "lurn.nn.functional"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---The rows of `weight` (num_embeddings, embedding_dim) that ids name: ids (...) of integers 1..num_embeddings give
---(..., embedding_dim). At first the weights are normal with mean 0 and deviation 1.
---Options: `padding_idx`, an id (negative: from the end) whose row is zero at first and never gets a gradient.
---Errors: ids out of range.
---@class lurn.nn.Embedding: lurn.nn.Module
---@field num_embeddings integer
---@field embedding_dim integer
---@field padding_idx integer?
---@field weight lurn.Tensor
---@overload fun(num_embeddings: integer, embedding_dim: integer, options?: {padding_idx: integer}): lurn.nn.Embedding
local Embedding = Module:extend "Embedding"

local schema = { { name = "padding_idx", kind = "integer" } }

---@param num_embeddings integer
---@param embedding_dim integer
---@param given? {padding_idx: integer}
function Embedding:init(num_embeddings, embedding_dim, given)
  self.num_embeddings = check.count("nn.Embedding", "num_embeddings", num_embeddings)
  self.embedding_dim = check.count("nn.Embedding", "embedding_dim", embedding_dim)
  local padding = options.read("nn.Embedding", given, schema).padding_idx
  self.padding_idx = padding and check.id("nn.Embedding", "padding_idx", padding, self.num_embeddings)
  self.weight = parameter.new(core.empty(self.num_embeddings, self.embedding_dim))
  self:reset_parameters()
end

---Draws new weights.
function Embedding:reset_parameters()
  initializers.normal_(self.weight)
  if self.padding_idx then initializers.zeros_(core.select(self.weight:detach(), 1, self.padding_idx)) end
end

---@param ids lurn.Tensor integers 1..num_embeddings
---@return lurn.Tensor # (..., embedding_dim)
function Embedding:forward(ids)
  check.tensor(getmetatable(self).__name, "input", ids)
  local padding = self.padding_idx
  return functional.embedding(ids, self.weight, padding and { padding_idx = padding })
end

function Embedding:extra_repr()
  local padding = self.padding_idx and (", padding_idx=%d"):format(self.padding_idx) or ""
  return ("%d, %d%s"):format(self.num_embeddings, self.embedding_dim, padding)
end

return Embedding
