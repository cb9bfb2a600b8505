-- Losses with margins and distances: gradients, edges, modules and messages. Their numbers are compared with recorded
-- ones in spec/engine/functions_spec.lua.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn, F = lurn.nn, lurn.nn.functional
local fails, leaf = helper.fails, helper.leaf

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function i64(t) return lurn.tensor(t, { dtype = "int64" }) end

local x34, x35 = lurn.zeros(3, 4), lurn.zeros(3, 5)

describe("margin_ranking_loss", function()
  it("has gradients, which pass where the loss is just 0", function()
    local a, b = leaf(f64 { 1, 0, 2 }), leaf(f64 { 1, 3, -1 })
    F.margin_ranking_loss(a, b, i64 { 1, 1, 1 }, { reduction = "sum" }):backward()
    assert.same({ -1, -1, 0 }, a.grad:totable())
    assert.same({ 1, 1, 0 }, b.grad:totable())
    assert(lurn.gradcheck(function(x, y) return nn.MarginRankingLoss { margin = 0.3 }(x, y, f64 { 1, -1, 1 }) end,
      { leaf(f64 { 1, 0, 2 }), leaf(f64 { 0.9, 3, -1 }) }))
  end)

  it("broadcasts", function()
    local a, b, target = f64 { { 1 }, { 2 } }, f64 { { 1, 3 } }, f64 { { 1, -1 } }
    assert.same({ { 3, 1 }, { 2, 2 } },
      F.margin_ranking_loss(a, b, target, { margin = 3, reduction = "none" }):totable())
    assert.equal(2, F.margin_ranking_loss(a, b, target, { margin = 3 }):item())
  end)

  it("says what does not fit", function()
    fails("margin_ranking_loss: input2: shapes (3, 4) and (3, 5) do not broadcast", F.margin_ranking_loss, x34, x35,
      x34)
    fails("margin_ranking_loss: target: shapes (3, 4) and (3, 5) do not broadcast", F.margin_ranking_loss, x34, x34,
      x35)
    fails("margin_ranking_loss: input1 has shape (3, 4) and target (4); expected as many dimensions",
      F.margin_ranking_loss, x34, x34, lurn.ones(4))
    fails("margin_ranking_loss: input1 is int64; expected float32 or float64", F.margin_ranking_loss, i64 { 1 },
      i64 { 1 }, i64 { 1 })
    fails("margin_ranking_loss: target is nil; expected a tensor", F.margin_ranking_loss, x34, x34)
    fails('margin_ranking_loss: margin is "a"; expected a number', F.margin_ranking_loss, x34, x34, x34,
      { margin = "a" })
    fails('nn.MarginRankingLoss: there is no option "p"; the options are margin, reduction', nn.MarginRankingLoss,
      { p = 1 })
    assert.equal("MarginRankingLoss(margin=0.5)", tostring(nn.MarginRankingLoss { margin = 0.5 }))
  end)
end)

describe("hinge_embedding_loss", function()
  it("takes both kinds of targets, and adds both parts for any other, as PyTorch does", function()
    local x = f64 { 0.5, 0.25, 3, 0.25 }
    local y = F.hinge_embedding_loss(x, i64 { 1, -1, -1, 0 }, { reduction = "none" })
    assert.same({ 0.5, 0.75, 0, 1 }, y:totable())
    assert(lurn.gradcheck(function(t) return F.hinge_embedding_loss(t, i64 { 1, -1, -1, 0 }) end, { leaf(x) }))
    assert.equal(y:mean():item(), nn.HingeEmbeddingLoss()(x, i64 { 1, -1, -1, 0 }):item())
  end)

  it("broadcasts", function()
    local x, target = f64 { 0.5, 2 }, f64 { { 1, -1 }, { -1, 1 } }
    assert.same({ { 0.5, 0 }, { 0.5, 2 } }, F.hinge_embedding_loss(x, target, { reduction = "none" }):totable())
    assert.equal(0.75, F.hinge_embedding_loss(x, target):item())
  end)

  it("says what does not fit", function()
    fails("hinge_embedding_loss: target: shapes (3, 4) and (3, 5) do not broadcast", F.hinge_embedding_loss, x34, x35)
    fails("nn.HingeEmbeddingLoss: margin is true; expected a number", nn.HingeEmbeddingLoss, { margin = true })
  end)
end)

describe("soft_margin_loss", function()
  it("is exact for large inputs", function()
    local x = leaf(f64 { 800, -800, 30, 0 })
    local y = F.soft_margin_loss(x, i64 { 1, 1, 1, -1 }, { reduction = "none" })
    assert.equal(0, y:get(1))
    assert.equal(800, y:get(2))
    assert.near(math.exp(-30), y:get(3), 1e-26)
    assert.near(math.log(2), y:get(4), 1e-15)
    y:sum():backward()
    assert.near(-math.exp(-30), x.grad:get(3), 1e-26)
    assert.equal(-1, x.grad:get(2))
    assert(lurn.gradcheck(function(t) return nn.SoftMarginLoss()(t, f64 { 1, -1, 0.5 }) end,
      { leaf(f64 { 0.5, 2, -1 }) }))
  end)

  it("takes infinite inputs", function()
    local x = leaf(f64 { math.huge, -math.huge, 0 / 0 })
    local y = F.soft_margin_loss(x, lurn.ones(3, { dtype = "uint8" }), { reduction = "none" })
    assert.same({ 0, math.huge }, { y:get(1), y:get(2) })
    assert.is_true(y[3]:isnan():item())
    y[{ { 1, 2 } }]:sum():backward()
    assert.same({ 0, -1 }, { x.grad:get(1), x.grad:get(2) })
  end)

  it("broadcasts the target", function()
    local x, half = f64 { { 0.5, 2 }, { -1, 1 } }, { reduction = "none" }
    assert.is_true(F.soft_margin_loss(x, f64 { 1, -1 }, half):equal(
      F.soft_margin_loss(x, f64 { { 1, -1 }, { 1, -1 } }, half)))
    fails("soft_margin_loss: target of shape (2, 2) does not broadcast to the input's (2)", F.soft_margin_loss, x[1], x)
    fails("soft_margin_loss: target: shapes (3, 4) and (3, 5) do not broadcast", F.soft_margin_loss, x34, x35)
  end)

  it("says what does not fit", function()
    fails("soft_margin_loss: input is int64; expected float32 or float64", F.soft_margin_loss, i64 { 1 }, i64 { 1 })
    fails('soft_margin_loss: there is no option "margin"; the options are reduction', F.soft_margin_loss, x34, x34,
      { margin = 1 })
    assert.equal("SoftMarginLoss(reduction=sum)", tostring(nn.SoftMarginLoss { reduction = "sum" }))
  end)
end)

describe("multi_margin_loss", function()
  local x, ids = f64 { { 0.1, 0.6, 0.3 }, { 2, -1, 0.5 } }, i64 { 2, 3 }

  -- By the formula, of one row.
  local function by_hand(row, y, p, margin, weight)
    local sum = 0
    for c, v in ipairs(row) do
      if c ~= y then sum = sum + math.max(0, margin - row[y] + v) ^ p end
    end
    return sum * weight[y] / #row
  end

  it("is what its formula says, for any dimensions in front", function()
    local ones, weight = { 1, 1, 1 }, { 0.5, 2, 3 }
    local y = F.multi_margin_loss(x, ids, { reduction = "none" })
    for i = 1, 2 do
      assert.near(by_hand(x[i]:totable(), ids:get(i), 1, 1, ones), y:get(i), 1e-15)
      assert.near(by_hand(x[i]:totable(), ids:get(i), 2, 0.4, weight),
        F.multi_margin_loss(x[i], ids[i], { p = 2, margin = 0.4, weight = f64(weight) }):item(), 1e-15)
    end
    assert.same(y:view(1, 2):totable(), F.multi_margin_loss(x:view(1, 2, 3), ids:view(1, 2),
      { reduction = "none" }):totable())
    assert.same({ 0 }, F.multi_margin_loss(lurn.zeros(0, 3), i64 {}, { reduction = "none" }).shape)
  end)

  it("has gradients", function()
    for _, given in ipairs { {}, { p = 2, margin = 0.7, weight = f64 { 0.5, 2, 3 }, reduction = "sum" } } do
      assert(lurn.gradcheck(function(t) return F.multi_margin_loss(t, ids, given) end, { leaf(x) }))
      assert.equal(F.multi_margin_loss(x, ids, given):item(), nn.MultiMarginLoss(given)(x, ids):item())
    end
  end)

  it("says what does not fit", function()
    local f = F.multi_margin_loss
    fails("multi_margin_loss: p is 3; expected 1 or 2", f, x, ids, { p = 3 })
    fails("multi_margin_loss: target 4; expected a class of 1..3", f, x, i64 { 1, 4 })
    fails("multi_margin_loss: target 0; expected a class of 1..3", f, x, i64 { 0, 2 })
    fails("multi_margin_loss: target has shape (3); expected (2)", f, x, i64 { 1, 2, 3 })
    fails("multi_margin_loss: target is float64; expected int64 or another integer type", f, x, f64 { 1, 2 })
    fails("multi_margin_loss: input is float32 of shape (); expected floats (..., C)", f, lurn.tensor(1), i64(1))
    fails("multi_margin_loss: weight has shape (2); expected (3)", f, x, ids, { weight = f64 { 1, 2 } })
    fails("multi_margin_loss: target is 2; expected a tensor", f, x, 2)
    fails("nn.MultiMarginLoss: p is 0; expected a positive integer", nn.MultiMarginLoss, { p = 0 })
    assert.same({ "weight" }, nn.MultiMarginLoss({ weight = f64 { 1, 2 } }):state_names())
  end)
end)

describe("triplet_margin_loss", function()
  lurn.manual_seed(6)
  local function random() return leaf(lurn.randn(4, 3, { dtype = "float64" })) end

  it("has gradients, with swapped negatives and other norms", function()
    for _, given in ipairs { {}, { margin = 3, swap = true }, { p = 3, margin = 2, reduction = "sum" },
      { p = 1, eps = 1e-3 } } do
      assert(lurn.gradcheck(function(a, b, c) return F.triplet_margin_loss(a, b, c, given) end,
        { random(), random(), random() }))
    end
  end)

  it("counts the negative from the positive where that is nearer", function()
    local a, p, n = f64 { { 0, 0 } }, f64 { { 3, 0 } }, f64 { { 5, 0 } }
    assert.near(0, F.triplet_margin_loss(a, p, n):item(), 1e-5)
    assert.near(2, nn.TripletMarginLoss { swap = true }(a, p, n):item(), 1e-5)
    assert.near(2, F.triplet_margin_loss(a[1], p[1], n[1], { swap = true }):item(), 1e-5)
  end)

  it("broadcasts", function()
    local a, p, n = leaf(f64 { { 1, 2 } }), f64 { { 1, 2 }, { 3, 4 } }, f64 { { 1, 3 } }
    for _, given in ipairs { { reduction = "none" }, { swap = true, margin = 2, reduction = "sum" } } do
      assert.is_true(F.triplet_margin_loss(a, p, n, given):equal(
        F.triplet_margin_loss(a:expand(2, 2), p, n:expand(2, 2), given)))
    end
    local y = F.triplet_margin_loss(f64 { { 1 }, { 2 } }, p, n, { reduction = "none" })
    assert.near(0, y:get(1), 1e-12)
    assert.near(1 + math.sqrt(5) - math.sqrt(2), y:get(2), 1e-5) -- eps moves the distances
    assert(lurn.gradcheck(function(x) return F.triplet_margin_loss(x, p, n, { margin = 3 }) end,
      { leaf(f64 { { 0, 5 } }) }))
  end)

  it("says what does not fit", function()
    local f = F.triplet_margin_loss
    fails("triplet_margin_loss: positive: shapes (3, 4) and (3, 5) do not broadcast", f, x34, x35, x34)
    fails("triplet_margin_loss: negative: shapes (3, 4) and (3, 5) do not broadcast", f, x34, x34, x35)
    fails("triplet_margin_loss: anchor has shape (4) and positive (3, 4); expected as many dimensions", f,
      lurn.zeros(4), x34, x34)
    fails("triplet_margin_loss: anchor has shape (); expected (..., D)", f, lurn.tensor(1), lurn.tensor(1),
      lurn.tensor(2))
    fails("triplet_margin_loss: negative is nil; expected a tensor", f, x34, x34)
    fails("nn.TripletMarginLoss: swap is 1; expected true or false", nn.TripletMarginLoss, { swap = 1 })
    assert.equal("TripletMarginLoss(margin=2, swap=true)", tostring(nn.TripletMarginLoss { margin = 2, swap = true }))
  end)
end)

describe("pairwise_distance", function()
  local a, b = f64 { { 3, 4 }, { 0, 1 } }, f64 { 0, 0 }

  it("is the norm of the difference, moved by eps", function()
    assert.same({ 5, 1 }, F.pairwise_distance(a, b, { eps = 0 }):totable())
    assert.same({ { 7 }, { 1 } }, nn.PairwiseDistance { p = 1, eps = 0, keepdim = true }(a, b):totable())
    assert.near(math.sqrt(3.5 ^ 2 + 4.5 ^ 2), a:pairwise_distance(b, { eps = 0.5 }):get(1), 1e-15)
    assert.is_true(lurn.pairwise_distance(a, b):equal(F.pairwise_distance(a, b)))
    assert.same({ 5, 1 }, F.pairwise_distance(a, f64(0), { eps = 0 }):totable())
    assert.same({ 5, 1 }, F.pairwise_distance(f64 { 0 }, a, { eps = 0 }):totable())
    assert(lurn.gradcheck(function(x, y) return F.pairwise_distance(x, y, { p = 3 }):sum() end, { leaf(a), leaf(b) }))
  end)

  it("says what does not fit", function()
    local f = F.pairwise_distance
    fails("pairwise_distance: shapes (2, 2) and (3) do not broadcast", f, a, f64 { 1, 2, 3 })
    fails("pairwise_distance: shapes (2, 2) and (3, 2) do not broadcast", f, a, f64 { { 1, 2 }, { 1, 2 }, { 1, 2 } })
    fails("pairwise_distance: shapes () and (); expected (..., D) of at least one", f, f64(1), f64(2))
    fails("pairwise_distance: keepdim: expected true or false, got a number", f, a, b, { keepdim = 1 })
    fails("pairwise_distance: b is int64; expected float32 or float64", f, a, i64 { 1, 2 })
    fails("pairwise_distance: p: expected a number, got string", f, a, b, { p = "2" })
    fails("pairwise_distance: there is no option norm", f, a, b, { norm = 2 })
    fails('nn.PairwiseDistance: there is no option "norm"; the options are p, eps, keepdim', nn.PairwiseDistance,
      { norm = 2 })
    assert.equal("PairwiseDistance(p=1, keepdim=true)", tostring(nn.PairwiseDistance { p = 1, keepdim = true }))
  end)
end)

describe("nn.CosineSimilarity", function()
  it("keeps its options", function()
    local a, b = f64 { { 3, 4 }, { 0, 1 } }, f64 { { 4, 3 }, { 0, -2 } }
    assert.same(F.cosine_similarity(a, b):totable(), nn.CosineSimilarity()(a, b):totable())
    assert.same(F.cosine_similarity(a, b, { dim = 1, eps = 100 }):totable(),
      nn.CosineSimilarity { dim = 1, eps = 100 }(a, b):totable())
    assert.near(0.96, nn.CosineSimilarity()(a[1], b[1]):item(), 1e-15)
    assert.equal("CosineSimilarity(dim=1)", tostring(nn.CosineSimilarity { dim = 1 }))
    fails("nn.CosineSimilarity: dim is 1.5; expected an integer", nn.CosineSimilarity, { dim = 1.5 })
    fails("cosine_similarity: b: expected a tensor", nn.CosineSimilarity(), a)
  end)
end)
