-- nn.AdditiveAttention, nn.DotAttention, nn.GeneralAttention, nn.MultiheadAttention. Recorded numbers are in
-- reference_spec.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance, leaf = helper.fails, helper.distance, helper.leaf

local EXACT = 1e-12 -- float64

local function randn(...) return lurn.randn(...):to "float64" end
local function shape_of(t) return { table.unpack(t.shape) } end

local T, N, Q, K, V = 6, 3, 4, 5, 2

-- Each kind: how it is made, its query size, and score(q, k) for two vectors.
local cases = {
  additive = { function(o) return nn.AdditiveAttention(Q, K, 7, o) end, Q, function(m, q, k)
    return m.score_weight:dot((m.query_weight:matmul(q) + m.key_weight:matmul(k)):tanh())
  end },
  dot = { nn.DotAttention, K, function(_, q, k) return q:dot(k) end },
  scaled = { function(o)
    return nn.DotAttention { scale = true, batch_first = o and o.batch_first }
  end, K, function(_, q, k) return q:dot(k) / math.sqrt(K) end },
  general = { function(o) return nn.GeneralAttention(Q, K, o) end, Q, function(m, q, k)
    return q:dot(m.weight:matmul(k))
  end },
}

-- The context of one sequence, from vectors.
local function by_hand(module, score, query, keys, values, length)
  local scores = {}
  for t = 1, length do scores[t] = score(module, query, keys[t]) end
  local weights = lurn.stack(scores, 1):softmax(1)
  return weights:unsqueeze(1):matmul(values:narrow(1, 1, length)):squeeze(1), weights
end

for name, case in pairs(cases) do
  local make, query_size, score = table.unpack(case)
  describe(name .. " attention", function()
    local module, query, keys, values
    before_each(function()
      lurn.manual_seed(41)
      module = make():to "float64"
      query, keys, values = leaf(randn(N, query_size)), leaf(randn(T, N, K)), leaf(randn(T, N, V))
    end)

    it("is its formula, with gradients and lengths", function()
      local lengths = { 6, 2, 4 }
      local context, weights = module(query, keys, values, { lengths = lengths })
      assert.same({ N, V }, shape_of(context))
      assert.same({ N, T }, shape_of(weights))
      local expected = {}
      for n = 1, N do
        local w
        expected[n], w = by_hand(module, score, query[n], keys:select(2, n), values:select(2, n), lengths[n])
        assert.is_true(distance(weights[n]:narrow(1, 1, lengths[n]), w) < EXACT)
        if lengths[n] < T then
          assert.equal(0, weights[n]:narrow(1, lengths[n] + 1, T - lengths[n]):abs():sum():item())
        end
      end
      local by_vectors = lurn.stack(expected, 1)
      assert.is_true(distance(context, by_vectors) < EXACT)
      local leaves = { query, keys, values, table.unpack(module:parameters()) }
      local a, b = { lurn.grad((context * 3):sin():sum(), leaves) }, { lurn.grad((by_vectors * 3):sin():sum(), leaves) }
      for i, grad in ipairs(b) do assert.is_true(distance(a[i], grad) < EXACT) end
    end)

    it("has keys for values, and several queries", function()
      local queries = randn(7, N, query_size)
      local context, weights = module(queries, keys)
      assert.same({ 7, N, K }, shape_of(context))
      assert.same({ 7, N, T }, shape_of(weights))
      for i = 1, 7 do
        local one, w = module(queries[i], keys)
        assert.is_true(distance(context[i], one) < EXACT and distance(weights[i], w) < EXACT)
      end
    end)

    it("takes a mask for lengths", function()
      local mask = lurn.arange(1, T):unsqueeze(2):le(lurn.tensor({ 3, 2, 0 }):unsqueeze(1))
      local a, wa = module(query, keys, values, { lengths = { 3, 2, 0 } })
      local b, wb = module(query, keys, values, { mask = mask })
      assert.equal(0, distance(a, b) + distance(wa, wb))
      assert.equal(0, a[3]:abs():sum():item() + wa[3]:abs():sum():item())
    end)

    it("lets nothing of the padding through, whatever it is", function()
      local k, v = keys:detach():clone(), values:detach():clone()
      k:narrow(1, 3, 4):select(2, 2):fill_(0 / 0)
      v:narrow(1, 3, 4):select(2, 2):fill_(1 / 0)
      k, v = leaf(k), leaf(v)
      local context = module(query, k, v, { lengths = { 6, 2, 0 } })
      context:square():sum():backward()
      local all = { context, query.grad, k.grad, v.grad }
      for _, p in ipairs(module:parameters()) do all[#all + 1] = p.grad end
      for _, t in ipairs(all) do assert.equal(t:numel(), t:detach():isfinite():to("int64"):sum():item()) end
      assert.equal(0, k.grad:narrow(1, 3, 4):select(2, 2):abs():sum():item())
    end)

    it("prepares keys once, and picks sequences of them", function()
      local memory = module:prepare(keys, values, { lengths = { 6, 2, 4 } })
      local a, wa = module(query, keys, values, { lengths = { 6, 2, 4 } })
      local b, wb = module(query, memory)
      assert.equal(0, distance(a, b) + distance(wa, wb))
      local rows = { 2, 2, 3, 1 }
      local c = module(query:index_select(1, lurn.tensor(rows, { dtype = "int64" })), memory:index_select(rows))
      for i, row in ipairs(rows) do assert.is_true(distance(c[i], a[row]) < EXACT) end
      fails("prepared keys have their values and options already", module, query, memory, values)
    end)

    it("takes the batch first", function()
      local other = make { batch_first = true }:to "float64"
      other:load_state_dict(module:state_dict())
      local queries = randn(7, N, query_size)
      local mask = lurn.rand(T, N):gt(0.3)
      local a, wa = module(queries, keys, values, { mask = mask })
      local b, wb = other(queries:transpose(1, 2), keys:transpose(1, 2), values:transpose(1, 2),
        { mask = mask:transpose(1, 2) })
      assert.is_true(distance(a, b:transpose(1, 2)) < EXACT and distance(wa, wb:transpose(1, 2)) < EXACT)
    end)

    it("checks what it gets", function()
      local function expect(text, ...) fails(getmetatable(module).__name .. ": " .. text, module, ...) end
      expect("query is nil; expected a tensor", nil, keys)
      expect(("query has shape (3, 9); expected (N, %d)"):format(query_size), lurn.zeros(3, 9), keys)
      expect("the query has 2 sequences, the keys have 3", randn(2, query_size), keys)
      expect("the query has 6 sequences, the keys have 3; they are taken as (T, N, K), without batch_first",
        randn(6, query_size), keys)
      expect("keys has shape (3, 5); expected (T, N, ", query, randn(3, 5))
      expect("keys have 6 steps of 3 sequences, values 5 of 3; expected the same", query, keys, randn(5, 3, 2))
      expect("lengths[1] is 7, expected 0..6", query, keys, nil, { lengths = { 7, 1, 1 } })
      expect("mask is float64; expected bool", query, keys, nil, { mask = randn(T, N) })
      expect("mask has shape (3, 6); expected (6, 3)", query, keys, nil, { mask = lurn.ones(N, T):to "bool" })
      expect("give lengths or mask, not both", query, keys, nil, { mask = lurn.ones(T, N):to "bool", lengths = { 1 } })
      expect('there is no option "length"', query, keys, nil, { length = { 1 } })
    end)
  end)
end

it("attention is printed", function()
  assert.equal("AdditiveAttention(4, 5, 7)", tostring(nn.AdditiveAttention(4, 5, 7)))
  assert.equal("DotAttention(scale=true)", tostring(nn.DotAttention { scale = true }))
  assert.equal("GeneralAttention(4, 5)", tostring(nn.GeneralAttention(4, 5)))
  fails("nn.AdditiveAttention: hidden_size is nil; expected a positive integer", nn.AdditiveAttention, 4, 5)
end)

describe("nn.MultiheadAttention", function()
  local attn, x
  before_each(function()
    lurn.manual_seed(42)
    attn, x = nn.MultiheadAttention(8, 2):to "float64", randn(5, 3, 8)
  end)

  it("has PyTorch's parameters and first values", function()
    local names = { "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias" }
    assert.same(names, helper.names(attn:named_parameters()))
    assert.same({ 24, 8 }, shape_of(attn.in_proj_weight))
    local largest = attn.in_proj_weight:abs():max():item()
    assert.is_true(largest <= math.sqrt(6 / 32) and largest > 0.4)
    assert.equal(0, attn.in_proj_bias:abs():sum():item() + attn.out_proj.bias:abs():sum():item())
    assert.same({ "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight" },
      helper.names(nn.MultiheadAttention(8, 2, { kdim = 3, bias = false }):named_parameters()))
    assert.equal("MultiheadAttention(\n  8, 2, dropout=0.1\n  (out_proj): Linear(in_features=8, out_features=8, "
      .. "bias=true)\n)", tostring(nn.MultiheadAttention(8, 2, { dropout = 0.1 })))
  end)

  it("takes the query for keys and values", function()
    local a, wa = attn(x)
    local b, wb = attn(x, x:clone(), x:clone())
    assert.is_true(distance(a, b) < EXACT and distance(wa, wb) < EXACT)
  end)

  it("knows lengths, and leaves nothing where all is masked", function()
    local y, weights = attn(x, x, x, { lengths = { 5, 2, 0 } })
    local padding = lurn.arange(1, 5):unsqueeze(1):gt(lurn.tensor({ 5, 2, 0 }):unsqueeze(2))
    local z, others = attn(x, x, x, { key_padding_mask = padding })
    assert.equal(0, distance(y, z) + distance(weights, others))
    local alone = attn(x:narrow(2, 2, 1), x:narrow(2, 2, 1):narrow(1, 1, 2))
    assert.is_true(distance(y:narrow(2, 2, 1), alone) < EXACT)
    assert.equal(0, weights[3]:abs():sum():item())
  end)

  it("is causal when told", function()
    local y, weights = attn(x, x, x, { causal = true })
    assert.is_true(distance(y[1], attn(x:narrow(1, 1, 1))[1]) < EXACT)
    assert.is_true(distance(y:narrow(1, 1, 3), (attn(x:narrow(1, 1, 3), nil, nil, { causal = true }))) < EXACT)
    assert.equal(0, weights:select(2, 1):narrow(2, 2, 4):abs():sum():item())
    local mask = lurn.arange(1, 5):unsqueeze(1):gt(lurn.arange(1, 5):unsqueeze(2))
    assert.equal(0, distance(y, (attn(x, x, x, { attn_mask = mask }))))
  end)

  it("leaves nothing where a float mask is -inf throughout", function()
    local m = nn.MultiheadAttention(8, 2):to "float64"
    local q = randn(5, 3, 8)
    local blocked = lurn.zeros(5, 5):to "bool"
    blocked[2] = true
    blocked:set(true, 3, 4)
    local added = lurn.zeros(5, 5, { dtype = "float64" }):masked_fill(blocked, -math.huge)
    local y, weights = m(q, q, q, { attn_mask = added, lengths = { 5, 2, 0 } })
    local z, others = m(q, q, q, { attn_mask = blocked, lengths = { 5, 2, 0 } })
    assert.equal(0, distance(y, z) + distance(weights, others))
    assert.equal(0, weights:select(2, 2):abs():sum():item())
    y:sum():backward()
    assert.is_true(m.in_proj_weight.grad:isfinite():all():item())
    assert(lurn.gradcheck(function(a, mask) return (m(a, a, a, { attn_mask = mask }) * 2):sin():sum() end,
      { leaf(q), leaf(randn(5, 5)) }))
  end)

  it("gives weights of each head, or none", function()
    local _, all = attn(x, x, x, { average_attn_weights = false })
    local _, mean = attn(x)
    assert.same({ 3, 2, 5, 5 }, shape_of(all))
    assert.is_true(distance(all:mean(2), mean) < EXACT)
    assert.equal(1, select("#", attn(x, x, x, { need_weights = false })))
  end)

  it("drops weights in training", function()
    local dropping = nn.MultiheadAttention(8, 2, { dropout = 1, bias = false })
    assert.equal(0, dropping(lurn.randn(5, 3, 8)):abs():sum():item())
    dropping:eval()
    assert.is_true(dropping(lurn.randn(5, 3, 8)):abs():sum():item() > 0)
  end)

  it("has the gradient that differences have", function()
    local m = nn.MultiheadAttention(4, 2):to "float64"
    local leaves = m:parameters()
    table.insert(leaves, 1, leaf(randn(3, 2, 4)))
    assert(lurn.gradcheck(function(q) return (m(q, q, q, { causal = true }) * 2):sin():sum() end, leaves))
  end)

  it("takes one sequence by itself, as a batch of one", function()
    local query, key = randn(4, 8), randn(5, 8)
    local padding = lurn.tensor({ 0, 1, 0, 0, 1 }, { dtype = "bool" })
    for _, m in ipairs { attn, nn.MultiheadAttention(8, 2, { batch_first = true }):to(query.dtype) } do
      local dim = m.batch_first and 1 or 2
      local y, weights = m(query, key, nil, { key_padding_mask = padding })
      local wide, wide_weights = m(query:unsqueeze(dim), key:unsqueeze(dim), nil,
        { key_padding_mask = padding:unsqueeze(1) })
      assert.is_true(lurn.equal(wide:select(dim, 1), y))
      assert.is_true(lurn.equal(wide_weights[1], weights))
      assert.is_nil(select(2, m(query, nil, nil, { need_weights = false, causal = true })))
    end
  end)

  it("checks what it gets", function()
    fails("nn.MultiheadAttention: embed_dim 8 is no multiple of num_heads 3", nn.MultiheadAttention, 8, 3)
    fails('nn.MultiheadAttention: there is no option "head"', nn.MultiheadAttention, 8, 2, { head = 3 })
    fails("MultiheadAttention: query has shape (8); expected (T, N, 8), or (T, 8) of one sequence", attn, randn(8))
    fails("MultiheadAttention: key has shape (5, 3, 8); expected (T, 8) as the query is one sequence", attn,
      randn(5, 8), x)
    fails("MultiheadAttention: query has shape (5, 7); expected (T, 8) as the query is one sequence", attn, randn(5, 7))
    fails("MultiheadAttention: key has shape (5, 8) and value (4, 8); expected as many positions", attn, randn(5, 8),
      randn(5, 8), randn(4, 8))
    fails("MultiheadAttention: lengths are those of a batch; the query is one sequence, of shape (5, 8)", attn,
      randn(5, 8), nil, nil, { lengths = { 5 } })
    fails("MultiheadAttention: key_padding_mask has shape (1, 5); expected (5)", attn, randn(5, 8), nil, nil,
      { key_padding_mask = lurn.zeros(1, 5):to "bool" })
    fails("MultiheadAttention: key has shape (5, 3, 7); expected (T, N, 8)", attn, x, randn(5, 3, 7))
    fails("query (5, 3, 8), key (5, 2, 8) and value (5, 2, 8) do not go together", attn, x, randn(5, 2, 8))
    fails("MultiheadAttention: causal needs as many keys as queries; there are 4 and 5", attn, x, randn(4, 3, 8), nil,
      { causal = true })
    fails("MultiheadAttention: attn_mask has shape (4, 5); expected (5, 5) or (6, 5, 5)", attn, x, x, x,
      { attn_mask = randn(4, 5) })
    for _, dtype in ipairs { "int64", x.dtype == "float64" and "float32" or "float64" } do
      fails(("MultiheadAttention: attn_mask is %s; expected bool, or %s like the query"):format(dtype, x.dtype), attn,
        x, x, x, { attn_mask = lurn.zeros(5, 5, { dtype = dtype }) })
    end
    fails("MultiheadAttention: key_padding_mask has shape (5, 3); expected (3, 5)", attn, x, x, x,
      { key_padding_mask = lurn.zeros(5, 3):to "bool" })
  end)
end)
