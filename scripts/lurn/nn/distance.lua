-- nn.CosineSimilarity, nn.PairwiseDistance

local core = require "lurn.core"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"

local distance = {}

-- A class of modules that call a function of two tensors with the options of their schema.
local function of_pairs(name, fn, schema)
  local class = Module:extend(name)
  function class:init(given)
    for option, value in pairs(options.read("nn." .. name, given, schema)) do self[option] = value end
  end
  function class:forward(a, b)
    local chosen = {}
    for _, option in ipairs(schema) do chosen[option.name] = self[option.name] end
    return fn(a, b, chosen)
  end
  function class:extra_repr()
    local parts = {}
    for _, option in ipairs(schema) do
      local value = self[option.name]
      if value ~= option.default then parts[#parts + 1] = ("%s=%s"):format(option.name, value) end
    end
    return table.concat(parts, ", ")
  end
  return class
end

---`a . b / max(|a| |b|, eps)` along a dimension: `nn.CosineSimilarity{dim = 2, eps = 1e-8}`, then `similarity(a, b)`;
---shapes broadcast. dim is that of (N, D); vectors have it at 1.
distance.CosineSimilarity = of_pairs("CosineSimilarity", core.cosine_similarity, {
  { name = "dim", kind = "integer" },
  { name = "eps", kind = "number", default = 1e-8 },
})

---`|a - b + eps|_p` along the last dimension: `nn.PairwiseDistance{p = 2, eps = 1e-6, keepdim = false}`, then
---`distance(a (..., D), b (..., D))`; shapes broadcast, D too.
distance.PairwiseDistance = of_pairs("PairwiseDistance", core.pairwise_distance, {
  { name = "p", kind = "number", default = 2 },
  { name = "eps", kind = "number", default = 1e-6 },
  { name = "keepdim", kind = "flag", default = false },
})

return distance
