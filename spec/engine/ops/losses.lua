--- Losses.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan = naive.nan

local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end
local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

local logits = { { 1, 2, 3 }, { -1, 0.5, 0.25 }, { 0, 0, 0 }, { 2, -1, 4 } }
local targets = { 3, 1, 2, 1 }
local x34 = lurn.zeros(3, 4)

local function log_softmax(line)
  local sum, out = 0, {}
  for _, v in ipairs(line) do sum = sum + math.exp(v) end
  for i, v in ipairs(line) do out[i] = v - math.log(sum) end
  return out
end

-- The loss of every row, and what the mean divides by, as PyTorch's documentation of cross_entropy has it.
local function losses_of(log_probs, o)
  local list, total = {}, 0
  for n, target in ipairs(o.targets or targets) do
    local p, w, s = log_probs[n], o.weight, o.label_smoothing or 0
    if target == o.ignore_index then
      list[n] = 0
    else
      local weight, smooth = w and w[target] or 1, 0
      for c, v in ipairs(p) do smooth = smooth - v * (w and w[c] or 1) end
      list[n] = (1 - s) * -p[target] * weight + s / #p * smooth
      total = total + weight
    end
  end
  return list, total
end

local function expected(log_probs, o)
  local list, total = losses_of(log_probs, o)
  if o.reduction == "none" then return list end
  return naive.sum(list) / (o.reduction == "sum" and 1 or total)
end

local function all_log_softmax()
  local out = {}
  for i, line in ipairs(logits) do out[i] = log_softmax(line) end
  return out
end

-- A sample from options told in plain Lua.
local function cross_entropy(o)
  return { "floats", function(T)
    local given = { weight = o.weight and T(o.weight), ignore_index = o.ignore_index,
      label_smoothing = o.label_smoothing, reduction = o.reduction }
    return { T(logits), ids(o.targets or targets), given }, expected(all_log_softmax(), o)
  end }
end

local function nll_loss(o)
  return { "floats", function(T)
    local given = { weight = o.weight and T(o.weight), ignore_index = o.ignore_index, reduction = o.reduction }
    return { T(logits), ids(o.targets or targets), given }, expected(logits, o)
  end }
end

local function errors_of(name, first)
  local whole = lurn.ones(3, 4, { dtype = "int64" })
  return {
    { { x34, ids { 1, 2 } }, ("%s: %s have shape (3, 4) and targets (2); expected (..., C) and (...)"):format(name,
      first) },
    { { x34, ids { 1, 0, 1 } }, name .. ": target 0; expected a class of 1..4" },
    { { x34, ids { 1, 5, 1 } }, name .. ": target 5; expected a class of 1..4" },
    { { x34, ids { 1, math.mininteger, 1 } }, name .. ": target -9223372036854775808; expected a class of 1..4" },
    { { x34, lurn.ones(3) }, name .. ": targets are float32; expected classes as int64 or another integer type" },
    { { x34, ids { 1, 1, 1 }, lurn.ones(3) }, name .. ": weight has shape (3); expected (4)" },
    { { x34, ids { 1, 1, 1 }, f64 { 1, 2, 3, 4 } },
      ("%s: weight is float64; expected float32 like %s"):format(name, first) },
    { { x34, ids { 1, 1, 1 }, { reduction = "all" } },
      name .. ': reduction: there is no "all"; expected one of: none, mean, sum' },
    { { x34, ids { 1, 1, 1 }, { ignore = 1 } }, function(text)
      return text:find(name .. ": there is no option ignore; known are: weight, ignore_index", 1, true)
    end },
    { { whole, ids { 1, 1, 1 } }, ("%s: %s is int64; expected float32 or float64"):format(name, first) },
    { { lurn.tensor(1), ids(1) }, ("%s: %s have shape () and targets (); expected (..., C) and (...)"):format(name,
      first) },
  }
end

local function large(random32) return { random32(300, 257), lurn.randint(1, 257, 300) } end
local function over(f, o, t)
  return function(x) return f(x, ids(t or { { 3, 1 }, { 2, 1 } }), o) end
end

local function grads_of(f, more)
  local list = {
    { over(f), random(2, 2, 3) },
    { over(f, { reduction = "sum", ignore_index = 1 }), random(2, 2, 3) },
    { over(f, { reduction = "none", weight = f64 { 1, 0.5, 2 } }), random(2, 2, 3) },
    { function(x) return f(x:transpose(1, 3), ids { { 3, 1 }, { 2, 1 } }, { weight = f64 { 1, 0.5, 2 } }) end,
      random(3, 2, 2) },
  }
  for _, g in ipairs(more or {}) do list[#list + 1] = g end
  return list
end

return {
  cross_entropy = {
    samples = {
      cross_entropy {},
      cross_entropy { reduction = "sum" },
      cross_entropy { reduction = "none" },
      cross_entropy { ignore_index = 1 },
      cross_entropy { ignore_index = -100, targets = { 3, -100, 2, 1 } },
      cross_entropy { weight = { 1, 0.5, 2 }, ignore_index = 2, label_smoothing = 0.2 },
      cross_entropy { weight = { 1, 0.5, 2 }, reduction = "none", label_smoothing = 0.3 },
      { "floats", function(T) return { T(logits), ids { -100, -100, -100, -100 } }, nan end },
      { "floats", function(T) return { T(logits), ids { -100, -100, -100, -100 }, { reduction = "sum" } }, 0 end },
      { "floats", function(T) return { T { { 1000, 0 } }, ids { 2 } }, 1000 end },
      { "floats", function(T) return { T { 1, 2, 3 }, ids(3) }, -log_softmax({ 1, 2, 3 })[3] end },
      { "floats", function(T) return { lurn.zeros({ 0, 3 }, { dtype = T({}).dtype }), ids {} }, nan end },
      { "floats", function(T) return { T(logits), lurn.tensor(targets, { dtype = "uint8" }) },
        expected(all_log_softmax(), {}) end },
    },
    errors = (function()
      local list = errors_of("cross_entropy", "logits")
      list[#list + 1] = { { x34, ids { 1, 1, 1 }, { label_smoothing = 1.5 } },
        "cross_entropy: label_smoothing is 1.5; expected 0..1" }
      return list
    end)(),
    grads = grads_of(lurn.cross_entropy, {
      { over(lurn.cross_entropy, { weight = f64 { 1, 0.5, 2 }, label_smoothing = 0.2, ignore_index = 2 }),
        random(2, 2, 3) },
    }),
    large = large,
  },
  nll_loss = {
    samples = {
      nll_loss {},
      nll_loss { reduction = "none", ignore_index = 1 },
      nll_loss { reduction = "sum", weight = { 1, 0.5, 2 } },
      nll_loss { weight = { 1, 0.5, 2 }, ignore_index = 3 },
      { "floats", function(T) return { T(logits), ids { -100, -100, -100, -100 } }, nan end },
    },
    errors = errors_of("nll_loss", "log_probs"),
    grads = grads_of(lurn.nll_loss),
    large = large,
  },
  mse_loss = {
    samples = {
      { "floats", function(T) return { T { 1, 2, 3 }, T { 1, 0, 7 } }, 20 / 3 end },
      { "floats", function(T) return { T { 1, 2, 3 }, T { 1, 0, 7 }, "sum" }, 20 end },
      { "floats", function(T) return { T { { 1, 2 }, { 3, 4 } }:t(), T { { 0, 0 }, { 0, 0 } }, { reduction = "none" } },
        { { 1, 9 }, { 4, 16 } } end },
      { "floats", function(T) return { T {}, T {} }, nan end },
    },
    errors = {
      { { x34, lurn.ones(4) }, "mse_loss: input has shape (3, 4) and target (4); expected the same" },
      { { lurn.ones(2, { dtype = "int64" }), lurn.ones(2) }, "mse_loss: input is int64; expected float32 or float64" },
    },
    grads = {
      { lurn.mse_loss, random(2, 3), random(2, 3) },
      { function(x, y) return lurn.mse_loss(x:t(), y, "none") end, random(3, 2), random(2, 3) },
      { function(x, y) return lurn.mse_loss(x, y, "sum") end, random(2), random(2) },
    },
    large = function(random32) return { random32(300, 257), random32(300, 257) } end,
  },
}
