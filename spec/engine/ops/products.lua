--- Matrix products, softmax, layers with weights.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan, inf = naive.nan, math.huge

local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end
local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local x34 = lurn.zeros(3, 4)
local whole = lurn.ones(2, 2, { dtype = "int64" })

local function random_table(...)
  local t = lurn.randint(-8, 8, ...) -- eighths: every dtype holds them and small sums of products of them
  return (t:to "float64" / 8):totable()
end

-- a (..., m, k) x b (..., k, n) with plain loops; the batches are those of the longer.
local function product(a, b)
  local batch = naive.broadcast({ table.unpack(a.shape, 1, a.ndim - 2) }, { table.unpack(b.shape, 1, b.ndim - 2) })
  local shape = { table.unpack(batch) }
  shape[#shape + 1], shape[#shape + 2] = a.shape[a.ndim - 1], b.shape[b.ndim]
  local function at(t, index, row, column)
    local full, skip = {}, #batch - (t.ndim - 2)
    for i = 1, t.ndim - 2 do full[i] = t.shape[i] == 1 and 1 or index[skip + i] end
    full[#full + 1], full[#full + 2] = row, column
    return t:get(table.unpack(full))
  end
  return naive.build(shape, function(index)
    local sum, row, column = 0, index[#index - 1], index[#index]
    for k = 1, a.shape[a.ndim] do sum = sum + at(a, index, row, k) * at(b, index, k, column) end
    return sum
  end)
end

local function matrices(sa, sb, prepare)
  return { "floats", function(T)
    lurn.manual_seed(1)
    local a, b = T(random_table(sa)), T(random_table(sb))
    if prepare then a, b = prepare(a, b) end
    return { a, b }, product(a, b)
  end }
end

local function softmax_line(line)
  local top, sum, out = math.max(table.unpack(line)), 0, {}
  for i, v in ipairs(line) do out[i] = math.exp(v - top) end
  for _, v in ipairs(out) do sum = sum + v end
  for i, v in ipairs(out) do out[i] = v / sum end
  return out
end

local function rows(list, f)
  local out = {}
  for i, line in ipairs(list) do out[i] = f(line) end
  return out
end

local function log_line(line) return rows(softmax_line(line), math.log) end

local scores = { { 1, 2, 3 }, { -1, 0.5, 0.25 } }
local columns = { { 1, -1 }, { 2, 0.5 }, { 3, 0.25 } }
local function turned(list)
  local out = {}
  for k = 1, #list[1] do out[k] = rows(list, function(line) return line[k] end) end
  return out
end

local function softmax_case(name, of)
  local f = lurn[name]
  return {
    samples = {
      { "floats", function(T) return { T(scores), 2 }, rows(scores, of) end },
      { "floats", function(T) return { T(columns), 1 }, turned(rows(scores, of)) end },
      { "floats", function(T) return { T(columns):t(), -1 }, rows(scores, of) end },
      { "floats", function(T) return { T { 1000, 1000 }, 1 }, of { 0, 0 } end },
      { "floats", function(T) return { T { nan, 1 }, 1 }, { nan, nan } end },
      { "floats", function(T) return { T {}, 1 }, {} end },
      { "floats", function(T) return { T(5), -1 }, of({ 5 })[1] end },
    },
    errors = {
      { { x34, 3 }, name .. ": dimension 3 of a tensor with 2; expected 1..2 or -2..-1" },
      { { x34 }, name .. ": dim is missing" },
      { { whole, 1 }, name .. ": x is int64; expected float32 or float64" },
    },
    grads = {
      { function(x) return f(x, -1) end, random(3, 4) },
      { function(x) return f(x:t(), 1) end, random(3, 4) },
      { function(x) return f(x, 2) end, random(2, 3, 2) },
    },
    large = function(random32) return { random32(300, 257), -1 } end,
  }
end

local function mean_and_deviation(line, eps)
  local mean, square = naive.sum(line) / #line, 0
  for _, v in ipairs(line) do square = square + (v - mean) ^ 2 end
  return mean, math.sqrt(square / #line + eps)
end

local function norm_line(eps, weight, bias)
  return function(line)
    local mean, deviation = mean_and_deviation(line, eps)
    local out = {}
    for i, v in ipairs(line) do
      out[i] = (v - mean) / deviation * (weight and weight[i] or 1) + (bias and bias[i] or 0)
    end
    return out
  end
end

return {
  matmul = {
    samples = {
      { "floats", function(T) return { T { { 1, 2 }, { 3, 4 } }, T { { 5 }, { 6 } } }, { { 17 }, { 39 } } end },
      { "floats", function(T) return { T { 1, 2 }, T { 3, 4 } }, 11 end },
      { "floats", function(T) return { T { 1, 2 }, T { { 3, 4 }, { 5, 6 } } }, { 13, 16 } end },
      { "floats", function(T) return { T { { 1, 2 }, { 3, 4 } }, T { 5, 6 } }, { 17, 39 } end },
      { "floats", function(T) return { T { { {}, {} } }, lurn.zeros({ 0, 2 }, { dtype = T({}).dtype }) },
        { { { 0, 0 }, { 0, 0 } } } end },
      { "floats", function(T) return { T {}, T {} }, 0 end },
      { "floats", function(T) return { T { { 1, 2 } }, f64 { { 3 }, { 4 } } }, { { 11 } } end, "float64" },
      matrices({ 3, 5 }, { 5, 4 }),
      matrices({ 5, 3 }, { 4, 5 }, function(a, b) return a:t(), b:t() end),
      matrices({ 33, 70 }, { 70, 37 }),
      matrices({ 2, 1, 3, 5 }, { 4, 5, 2 }),
      matrices({ 2, 3, 5 }, { 5, 2 }),
      matrices({ 3, 2, 5 }, { 5, 2 }, function(a, b) return a:transpose(1, 2), b end),
      matrices({ 3, 8 }, { 4, 6 }, function(a, b) return a:narrow(2, 3, 4), b:narrow(2, 2, 3) end),
    },
    errors = {
      { { x34, x34 }, "matmul: (3, 4) x (3, 4): inner sizes 4 and 3 differ" },
      { { lurn.tensor(1), x34 }, "matmul: () x (3, 4): a scalar has no rows; use *" },
      { { lurn.ones(2, 1, 2), lurn.ones(3, 2, 1) }, "matmul: (2, 1, 2) x (3, 2, 1): the batches do not broadcast" },
      { { whole, whole }, "matmul: a is int64; expected float32 or float64" },
      { { x34, 2 }, "matmul: b: expected a tensor, got an integer" },
    },
    grads = {
      { lurn.matmul, random(2, 3), random(3, 2) },
      { function(a, b) return a:t():matmul(b:t()) end, random(3, 2), random(2, 3) },
      { lurn.matmul, random(3), random(3) },
      { lurn.matmul, random(3), random(3, 2) },
      { lurn.matmul, random(2, 3), random(3) },
      { lurn.matmul, random(2, 2, 3), random(3, 2) },
      { lurn.matmul, random(2, 2, 3), random(3) },
      { lurn.matmul, random(3), random(2, 3, 2) },
      { lurn.matmul, random(2, 1, 2, 3), random(2, 3, 1) },
      { lurn.matmul, random(2, 0), random(0, 2) },
    },
    large = function(random32) return { random32(150, 130), random32(130, 170) } end,
  },
  linear = {
    samples = {
      { "floats", function(T) return { T { 1, 2 }, T { { 3, 4 }, { 5, 6 }, { 7, 8 } } }, { 11, 17, 23 } end },
      { "floats", function(T) return { T { { { 1, 2 } } }, T { { 3, 4 }, { 5, 6 } }, T { 1, -1 } },
        { { { 12, 16 } } } end },
      { "floats", function(T) return { T { { 1, 5 }, { 2, 6 } }:t(), T { { 3, 5 }, { 4, 6 } }:t(),
        { bias = T { 1, -1 } } },
        { { 12, 16 }, { 5 * 3 + 6 * 4 + 1, 5 * 5 + 6 * 6 - 1 } } end },
      { "floats", function(T) return { T { {} }, T { {}, {} }, T { 1, 2 } }, { { 1, 2 } } end },
    },
    errors = {
      { { x34, lurn.ones(2, 3) }, "linear: x has shape (3, 4); expected (..., 3) for a weight of shape (2, 3)" },
      { { x34, lurn.ones(3) }, "linear: weight has shape (3); expected (out, in)" },
      { { x34, lurn.ones(2, 4), lurn.ones(3) }, "linear: bias has shape (3); expected (2)" },
      { { x34, f64 { { 1, 2, 3, 4 } } },
        "linear: x is float32, weight float64, bias absent; expected all the same" },
      { { x34 }, "linear: weight is missing" },
    },
    grads = {
      { lurn.linear, random(2, 3), random(4, 3), random(4) },
      { lurn.linear, random(3), random(2, 3) },
      { function(x, w, b) return lurn.linear(x:transpose(1, 3), w:t(), b) end, random(3, 2, 2), random(3, 2),
        random(2) },
      { lurn.linear, random(0, 3), random(2, 3), random(2) },
    },
    large = function(random32) return { random32(150, 130), random32(170, 130), random32(170) } end,
  },
  softmax = softmax_case("softmax", softmax_line),
  log_softmax = softmax_case("log_softmax", log_line),
  dropout = {
    samples = {
      { "floats", function(T) return { T(scores), 0 }, scores end },
      { "floats", function(T) return { T(scores), 0.5, false }, scores end },
      { "floats", function(T) return { T(scores), { p = 1 } }, { { 0, 0, 0 }, { 0, 0, 0 } } end },
      { "floats", function(T) return { T { inf, nan }, 1 }, { 0, 0 } end },
    },
    errors = {
      { { x34, 1.5 }, "dropout: p is 1.5; expected 0..1" },
      { { x34, nan }, function(text) return text:find "^dropout: p is %-?nan; expected 0%.%.1$" end },
      { { whole }, "dropout: x is int64; expected float32 or float64" },
    },
    grads = {
      { function(x) lurn.manual_seed(5); return lurn.dropout(x, 0.4) end, random(3, 4) },
      { function(x) lurn.manual_seed(5); return lurn.dropout(x:t(), 0.4) end, random(3, 4) },
    },
    large = function(random32) return { random32(300, 201), 0.3 } end,
  },
  embedding = {
    samples = {
      { "floats", function(T) return { ids { 2, 1, 2 }, T { { 1, 2 }, { 3, 4 } } },
        { { 3, 4 }, { 1, 2 }, { 3, 4 } } end },
      { "floats", function(T) return { ids { { 1 }, { 2 } }, T { { 1, 3 }, { 2, 4 } }:t() },
        { { { 1, 2 } }, { { 3, 4 } } } end },
      { "floats", function(T) return { ids(2), T { { 1 }, { 5 } } }, { 5 } end },
      { "floats", function(T) return { ids {}, T { { 1 }, { 5 } } }, {} end },
    },
    errors = {
      { { ids { 0 }, x34 }, "embedding: index 0; expected 1..3" },
      { { ids { 4 }, x34 }, "embedding: index 4; expected 1..3" },
      { { ids { -1 }, x34 }, "embedding: index -1; expected 1..3" },
      { { lurn.ones(1), x34 }, "embedding: indices are float32; expected int64 or another integer type" },
      { { ids { 1 }, lurn.ones(3) }, "embedding: weight has shape (3); expected (classes, features)" },
      { { ids { 1 }, whole }, "embedding: weight is int64; expected float32 or float64" },
    },
    grads = {
      { function(w) return lurn.embedding(ids { { 2, 1 }, { 2, 2 } }, w) end, random(3, 2) },
      { function(w) return lurn.embedding(ids { 1, 2 }, w:t()) end, random(3, 2) },
    },
    large = function(random32) return { lurn.randint(1, 300, 500), random32(300, 70) } end,
  },
  layer_norm = {
    samples = {
      { "floats", function(T) return { T(scores) }, rows(scores, norm_line(1e-5)) end },
      { "floats", function(T) return { T(columns):t(), T { 1, 2, 3 }, T { 0.5, 0, -1 }, 0.1 },
        rows(scores, norm_line(0.1, { 1, 2, 3 }, { 0.5, 0, -1 })) end },
      { "floats", function(T) return { T(scores), { bias = T { 1, 2, 3 } } },
        rows(scores, norm_line(1e-5, nil, { 1, 2, 3 })) end },
      { "floats", function(T) return { T { { 7 } } }, { { 0 } } end },
      { "floats", function(T) return { T { {} } }, { {} } end },
      { "floats", function(T) -- rows of 2 x 3 as lines of 6
        local lines = { norm_line(0.1, { 1, 2, 3, 4, 5, 6 }, { 0, 1, 0, 1, 0, 1 }) { 1, 2, 4, 8, 16, 32 },
          norm_line(0.1, { 1, 2, 3, 4, 5, 6 }, { 0, 1, 0, 1, 0, 1 }) { 3, -1, 0, 0, 2, 5 } }
        local want = {}
        for i, line in ipairs(lines) do want[i] = { { table.unpack(line, 1, 3) }, { table.unpack(line, 4, 6) } } end
        return { T { { { 1, 2, 4 }, { 8, 16, 32 } }, { { 3, -1, 0 }, { 0, 2, 5 } } }, T { { 1, 2, 3 }, { 4, 5, 6 } },
          T { { 0, 1, 0 }, { 1, 0, 1 } }, { eps = 0.1, dims = 2 } }, want
      end },
      { "floats", function(T) return { T { { 1, 3 } }, { dims = 2, eps = 0 } }, { { -1, 1 } } end },
    },
    errors = {
      { { x34, { dims = 3 } }, "layer_norm: dims is 3; expected 1..2" },
      { { x34, { dims = 0 } }, "layer_norm: dims is 0; expected 1..2" },
      { { x34, lurn.ones(4), { dims = 2 } }, "layer_norm: weight has shape (4); expected (3, 4)" },
      { { x34, lurn.ones(3) }, "layer_norm: weight has shape (3); expected (4)" },
      { { x34, nil, f64 { 1, 2, 3, 4 } }, "layer_norm: bias is float64, x is float32" },
      { { x34, { eps = -1 } }, "layer_norm: eps is -1; expected at least 0" },
      { { lurn.tensor(1) }, "layer_norm: a scalar has no features" },
      { { whole }, "layer_norm: x is int64; expected float32 or float64" },
    },
    grads = {
      { lurn.layer_norm, random(2, 3, 4), random(4), random(4) },
      { function(x, w, b) return lurn.layer_norm(x, w, b, { dims = 2 }) end, random(2, 3, 4), random(3, 4),
        random(3, 4) },
      { function(x, w) return lurn.layer_norm(x:transpose(1, 3), w:t(), { dims = 2 }) end, random(4, 3, 2),
        random(4, 3) },
      { function(x) return lurn.layer_norm(x:t()) end, random(4, 3) },
      { function(x, b) return lurn.layer_norm(x, { bias = b }) end, random(3, 4), random(4) },
    },
    large = function(random32) return { random32(300, 257), random32(257), random32(257) } end,
  },
}
