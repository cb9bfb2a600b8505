-- Losses, distances, running extremes and ranges with a step against PyTorch's recorded numbers: values and gradients.

local lurn = require "lurn"
local nn, F = lurn.nn, lurn.nn.functional

local tensors, metadata = assert(lurn.load "spec/reference/functions.safetensors")

-- Inputs in the order of the arguments.
local function arguments(x)
  local list = { x.a }
  for _, name in ipairs { "b", "c", "target" } do list[#list + 1] = x[name] end
  return table.unpack(list)
end

local function options_of(case, x, names)
  local options = { weight = x.weight }
  for _, name in ipairs(names) do
    local text = case:match('"' .. name .. '": "?([%w_.+-]+)')
    if text == "true" or text == "false" then
      options[name] = text == "true"
    else
      options[name] = tonumber(text) or text
    end
  end
  return options
end

local losses = {
  margin_ranking_loss = "MarginRankingLoss", hinge_embedding_loss = "HingeEmbeddingLoss",
  soft_margin_loss = "SoftMarginLoss", multi_margin_loss = "MultiMarginLoss",
  triplet_margin_loss = "TripletMarginLoss", cosine_embedding_loss = "CosineEmbeddingLoss",
  gaussian_nll_loss = "GaussianNLLLoss", poisson_nll_loss = "PoissonNLLLoss",
}
local LOSS_OPTIONS = { "margin", "p", "swap", "full", "eps", "log_input", "reduction" }

-- By the function, and by the module where there is one.
local function run(op, case, x)
  if losses[op] then
    local options, args = options_of(case, x, LOSS_OPTIONS), table.pack(arguments(x))
    args[args.n + 1] = options
    return F[op](table.unpack(args, 1, args.n + 1)), nn[losses[op]](options)(arguments(x))
  elseif op == "pairwise_distance" then
    local options = options_of(case, {}, { "p", "keepdim" })
    return F.pairwise_distance(x.a, x.b, options), nn.PairwiseDistance(options)(x.a, x.b)
  elseif op == "cosine_similarity" then
    local options = { dim = options_of(case, {}, { "dim" }).dim + 1 }
    return F.cosine_similarity(x.a, x.b, options), nn.CosineSimilarity(options)(x.a, x.b)
  elseif op == "cdist" then
    return lurn.cdist(x.a, x.b, options_of(case, {}, { "p" }).p or math.huge)
  elseif op == "slice" or op == "write" then
    local s = options_of(case, {}, { "dim", "first", "last", "step" })
    local key = { {}, {} }
    key[s.dim + 1] = { s.first + 1, s.last + 1, s.step }
    if op == "slice" then return x.a[key], x.a:slice(s.dim + 1, s.first + 1, s.last + 1, s.step) end
    local y = x.a * x.a
    y[key] = x.b * x.a[key]
    return y
  end
  local y, positions = lurn[op](x.a, options_of(case, {}, { "dim" }).dim + 1)
  if x.positions then assert.is_true(positions:equal(x.positions)) end
  return y
end

-- Targets that are classes count from 1 here, and so do positions.
local function inputs_of(case)
  local x = {}
  for name, t in pairs(tensors) do
    local short = name:match("^" .. case .. "%.([%w_]+)$")
    if short and t.dtype == "int64" then
      x[short] = t + 1
    elseif short then
      x[short] = t:clone():requires_grad_(tensors[case .. ".grad." .. short] ~= nil)
    end
  end
  return x
end

-- float32 on both sides: a few roundings each.
local function check(t, name)
  local want = tensors[name]
  assert.same(want.shape, t.shape, name)
  local distance = (t:detach() - want):abs():max():item()
  assert.truthy(distance <= 2e-6 * math.max(1, want:abs():max():item()), ("%s differs by %g"):format(name, distance))
end

describe("PyTorch's recorded numbers are met by", function()
  for case in metadata.cases:gmatch "%S+" do
    it(case, function()
      local x = inputs_of(case)
      local y, again = run(metadata[case]:match '"op": "([%w_]+)"', metadata[case], x)
      check(y, case .. ".y")
      if again then assert.is_true(again:equal(y)) end
      y:backward(x.gy)
      for name in pairs(tensors) do
        local leaf = name:match("^" .. case .. "%.grad%.([%w_]+)$")
        if leaf then check(x[leaf].grad, name) end
      end
    end)
  end
end)
