--- Losses of two equal shapes, and of sequences without alignment.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local nan, inf = naive.nan, math.huge

local function ids(t) return lurn.tensor(t, { dtype = "int64" }) end
local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function random(...) return lurn.randn({ ... }, { dtype = "float64" }) end

-- ---- Elementwise ----

local input = { { 1.5, -2, 0.25 }, { 0, 3, -0.5 } }
local target = { { 1, 0.5, 0 }, { 0, 1, 0.75 } }

-- The losses of all elements as PyTorch's documentation has them, and how they are reduced.
local function each(f)
  local out = {}
  for i, line in ipairs(input) do
    out[i] = {}
    for j, x in ipairs(line) do out[i][j] = f(x, target[i][j], j) end
  end
  return out
end

local function reduced(losses, reduction)
  if reduction == "none" then return losses end
  local sum = naive.sum(losses[1]) + naive.sum(losses[2])
  return reduction == "sum" and sum or sum / 6
end

local function sample(options, f)
  return { "floats", function(T)
    local given = {}
    for name, value in pairs(options) do given[name] = type(value) == "table" and T(value) or value end
    return { T(input), T(target), given }, reduced(each(f), options.reduction)
  end }
end

local function l1(x, t) return math.abs(x - t) end
local function smooth_l1(beta)
  return function(x, t)
    local d = math.abs(x - t)
    return d < beta and 0.5 * d * d / beta or d - 0.5 * beta
  end
end
local function entropy(weight, pos_weight)
  return function(x, t, j)
    local p = 1 / (1 + math.exp(-x))
    return -(weight and weight[j] or 1)
      * ((pos_weight and pos_weight[j] or 1) * t * math.log(p) + (1 - t) * math.log(1 - p))
  end
end

local x34, whole = lurn.zeros(3, 4), lurn.ones(3, 4, { dtype = "int64" })

local function errors_of(name, more)
  local list = {
    { { x34, lurn.ones(4) }, name .. ": input has shape (3, 4) and target (4); expected the same" },
    { { whole, x34 }, name .. ": input is int64; expected float32 or float64" },
    { { x34, x34, { reduction = "all" } },
      name .. ': reduction: there is no "all"; expected one of: none, mean, sum' },
    { { x34 }, name .. ": target is missing" },
  }
  for _, e in ipairs(more or {}) do list[#list + 1] = e end
  return list
end

-- Random numbers come no closer to where the slope jumps than the step of the differences.
local function grads_of(f, options)
  local list = {}
  for _, reduction in ipairs { "mean", "sum", "none" } do
    local o = { reduction = reduction }
    for name, value in pairs(options or {}) do o[name] = value end
    list[#list + 1] = { function(x, t) return f(x, t, o) end, random(2, 3), random(2, 3) }
  end
  list[#list + 1] = { function(x, t) return f(x:t(), t) end, random(3, 2), random(2, 3) }
  list[#list + 1] = { f, random(), random() }
  return list
end

local function large(random32) return { random32(300, 257), random32(300, 257) } end

local function with(list, more)
  for _, value in ipairs(more) do list[#list + 1] = value end
  return list
end

local function shared_samples(name)
  return {
    { "floats", function(T) return { T {}, T {} }, nan end },
    { "floats", function(T) return { T {}, T {}, { reduction = "sum" } }, 0 end },
    { "floats", function(T)
      local x = T(input):t()
      return { x, T(target):t(), { reduction = "none" } }, lurn[name](x:clone(), T(target):t():clone(),
        { reduction = "none" }):totable()
    end },
  }
end

-- ---- Entropy ----

local bce = lurn.binary_cross_entropy_with_logits
local weight, pos_weight = { 0.5, 2, 1 }, { 3, 1, 0.25 }

local function bce_of(o)
  return function(x, t, w, p) return bce(x, t, { weight = w, pos_weight = p, reduction = o }) end
end

local entropy_case = {
  samples = with({
    sample({}, entropy()),
    sample({ reduction = "sum", weight = weight }, entropy(weight)),
    sample({ reduction = "none", pos_weight = pos_weight }, entropy(nil, pos_weight)),
    sample({ weight = weight, pos_weight = pos_weight }, entropy(weight, pos_weight)),
    { "floats", function(T)
      return { T { 500, -500, 500, -500 }, T { 1, 0, 0, 1 }, { reduction = "none" } }, { 0, 0, 500, 500 }
    end },
    { "floats", function(T) return { T { -30, 30 }, T { 0, 1 }, { reduction = "sum" } }, 2 * math.exp(-30) end },
  }, shared_samples "binary_cross_entropy_with_logits"),
  errors = errors_of("binary_cross_entropy_with_logits", {
    { { x34, x34, lurn.ones(3) },
      "binary_cross_entropy_with_logits: weight of shape (3) does not broadcast to (3, 4) of input" },
    { { x34, x34, { pos_weight = lurn.ones(2, 3, 4) } },
      "binary_cross_entropy_with_logits: pos_weight of shape (2, 3, 4) does not broadcast to (3, 4) of input" },
    { { x34, x34, { weight = 2 } }, "binary_cross_entropy_with_logits: weight: expected a tensor, got an integer" },
  }),
  grads = with(grads_of(bce), {
    { bce_of "mean", random(2, 3), random(2, 3), random(3), random(3) },
    { bce_of "none", random(2, 3), random(2, 3), random(2, 1), random(1, 3) },
    { bce_of "sum", random(2, 3), random(2, 3), random(), random(2, 3) },
    { function(x) return bce(x, f64 { 0, 1, 0, 1 }, { pos_weight = f64(2) }) end, f64 { 40, 40, -40, -40 } },
  }),
  large = function(random32)
    return { random32(300, 257), random32(300, 257):sigmoid(), random32(257), random32(300, 1) }
  end,
}

-- ---- CTC ----

-- The sum over all paths, one by one: every sequence of classes that is the target once repeats and then blanks are
-- left out.  Graves et al. 2006, equation 3.
local function collapse(path, blank)
  local out, last = {}, nil
  for _, class in ipairs(path) do
    if class ~= last and class ~= blank then out[#out + 1] = class end
    last = class
  end
  return table.concat(out, " ")
end

local function path_sum(log_probs, path, T, wanted, blank, so_far)
  if #path == T then return collapse(path, blank) == wanted and math.exp(so_far) or 0 end
  local sum, line = 0, log_probs[#path + 1]
  for class, lp in ipairs(line) do
    path[#path + 1] = class
    sum = sum + path_sum(log_probs, path, T, wanted, blank, so_far + lp)
    path[#path] = nil
  end
  return sum
end

-- Made once: not log_softmax, as the loss takes any numbers.
local function table_of(T, N, C)
  local t = {}
  for i = 1, T do
    t[i] = {}
    for n = 1, N do
      t[i][n] = {}
      for c = 1, C do t[i][n][c] = -((i * 7 + n * 5 + c * 11 + i * c) % 13) / 8 end
    end
  end
  return t
end

local log_probs = table_of(5, 4, 3)
local targets = { { 2, 3 }, { 3, 3 }, { 2, 9 }, { 7, 8 } } -- padded with what is no class
local target_lengths, input_lengths = { 2, 2, 1, 0 }, { 5, 4, 3, 2 }

local function ctc_expected(o)
  local list, mean = {}, 0
  for n = 1, 4 do
    local line, T, S = {}, (o.input_lengths or input_lengths)[n], target_lengths[n]
    for t = 1, T do line[t] = log_probs[t][n] end
    local wanted = table.concat({ table.unpack((o.targets or targets)[n], 1, S) }, " ")
    list[n] = -math.log(path_sum(line, {}, T, wanted, o.blank or 1, 0))
    if o.zero_infinity and list[n] == inf then list[n] = 0 end
    mean = mean + list[n] / math.max(1, S) / 4
  end
  if o.reduction == "none" then return list end
  return o.reduction == "sum" and naive.sum(list) or mean
end

local function ctc(o)
  return { "floats", function(T)
    return { T(log_probs), ids(o.given or o.targets or targets), ids(o.input_lengths or input_lengths),
      ids(target_lengths), { blank = o.blank, reduction = o.reduction, zero_infinity = o.zero_infinity } },
      ctc_expected(o)
  end }
end

local with_blank_3 = { { 2, 1 }, { 1, 1 }, { 2, 9 }, { 7, 8 } }
local impossible = { 5, 2, 0, 0 } -- 3 3 needs three steps, 2 needs one

local zeros = lurn.zeros(5, 4, 3)
local lengths = ids(target_lengths)
local function ctc_error(changes, text)
  return { { changes[1] or zeros, changes[2] or ids(targets), changes[3] or ids(input_lengths),
    changes[4] or lengths, changes[5] }, "ctc_loss: " .. text }
end

local function ctc_grad(o, ...)
  return { function(x)
    return lurn.ctc_loss(x, ids(o.targets or targets), ids(o.input_lengths or input_lengths), lengths,
      { blank = o.blank, reduction = o.reduction, zero_infinity = o.zero_infinity })
  end, ... }
end

local ctc_case = {
  samples = {
    ctc {},
    ctc { reduction = "sum" },
    ctc { reduction = "none" },
    ctc { reduction = "none", given = { 2, 3, 3, 3, 2 } },
    ctc { reduction = "none", blank = 3, targets = with_blank_3 },
    ctc { reduction = "none", input_lengths = impossible },
    ctc { reduction = "none", input_lengths = impossible, zero_infinity = true },
    ctc { input_lengths = impossible, zero_infinity = true },
    { "floats", function(T)
      return { T(table_of(2, 1, 3)), lurn.tensor({ 2 }, { dtype = "uint8" }), lurn.tensor({ 2 }, { dtype = "int32" }),
        ids { 1 }, { reduction = "sum" } },
        lurn.ctc_loss(f64(table_of(2, 1, 3)), ids { { 2 } }, ids { 2 }, ids { 1 }):item()
    end },
    { "floats", function(T)
      return { lurn.zeros({ 3, 0, 2 }, { dtype = T({}).dtype }), ids {}, ids {}, ids {} }, nan
    end },
    { "floats", function(T)
      return { lurn.zeros({ 0, 1, 2 }, { dtype = T({}).dtype }), ids {}, ids { 0 }, ids { 0 } }, 0
    end },
    { "floats", function(T)
      return { T { { { nan, 0 } } }, ids { { 2 } }, ids { 1 }, ids { 1 }, { zero_infinity = true } }, 0
    end },
    { "floats", function(T)
      return { T { { { 0, nan } } }, ids { { 2 } }, ids { 1 }, ids { 1 }, { zero_infinity = true } }, nan
    end },
    { "floats", function(T)
      return { T { { { 0, -inf } }, { { 0, -2000 } } }, ids { { 2 } }, ids { 2 }, ids { 1 } }, 2000
    end },
  },
  errors = {
    ctc_error({ lurn.zeros(5, 3) }, "log_probs have shape (5, 3); expected (T, N, C)"),
    ctc_error({ lurn.ones(5, 4, 3, { dtype = "int64" }) }, "log_probs is int64; expected float32 or float64"),
    ctc_error({ nil, nil, nil, nil, { blank = 4 } }, "blank is 4; expected a class of 1..3"),
    ctc_error({ nil, nil, nil, nil, { blank = 0 } }, "blank is 0; expected a class of 1..3"),
    ctc_error({ lurn.zeros(5, 4, 0) }, "blank is 1; expected a class of 1..0"),
    ctc_error({ nil, lurn.ones(4, 2) }, "targets are float32; expected int64 or another integer type"),
    ctc_error({ nil, nil, lurn.ones(4) }, "input_lengths are float32; expected int64 or another integer type"),
    ctc_error({ nil, nil, ids { 5, 5 } }, "input_lengths have shape (2); expected (4)"),
    ctc_error({ nil, nil, nil, ids { { 1 }, { 2 }, { 1 }, { 1 } } },
      "target_lengths have shape (4, 1); expected (4)"),
    ctc_error({ nil, nil, ids { 5, 6, 3, 2 } }, "sequence 2 has input length 6; expected 0..5"),
    ctc_error({ nil, nil, ids { 5, 4, -1, 2 } }, "sequence 3 has input length -1; expected 0..5"),
    ctc_error({ nil, nil, nil, ids { 2, 2, 3, 0 } }, "sequence 3 has target length 3; expected 0..2"),
    ctc_error({ nil, nil, nil, ids { -1, 2, 3, 0 } }, "sequence 1 has target length -1; expected 0..2"),
    ctc_error({ nil, ids { { 2, 3 } } },
      "targets have shape (1, 2); expected (4, S), or one dimension with all targets in turn"),
    ctc_error({ nil, ids { 2, 3, 3 } }, "there are 3 targets; expected as many as all target_lengths together"),
    ctc_error({ nil, ids { 2, 3, 3, 3, 2, 2 } },
      "there are 6 targets; expected as many as all target_lengths together"),
    ctc_error({ nil, ids { { 2, 3 }, { 3, 4 }, { 2, 9 }, { 7, 8 } } },
      "sequence 2 has target 4; expected a class of 1..3"),
    ctc_error({ nil, ids { { 2, 3 }, { 3, 3 }, { math.mininteger, 9 }, { 7, 8 } } },
      "sequence 3 has target -9223372036854775808; expected a class of 1..3"),
    ctc_error({ nil, ids { { 2, 1 }, { 3, 3 }, { 2, 9 }, { 7, 8 } } }, "sequence 1 has target 1, which is the blank"),
    ctc_error({ nil, nil, nil, nil, { reduction = "all" } },
      'reduction: there is no "all"; expected one of: none, mean, sum'),
  },
  grads = {
    ctc_grad({}, random(5, 4, 3)),
    ctc_grad({ reduction = "sum" }, random(5, 4, 3)),
    ctc_grad({ reduction = "none" }, random(5, 4, 3)),
    ctc_grad({ reduction = "none", targets = { 2, 3, 3, 3, 2 } }, random(5, 4, 3)),
    ctc_grad({ reduction = "none", blank = 3, targets = with_blank_3 }, random(5, 4, 3)),
    ctc_grad({ zero_infinity = true, input_lengths = impossible }, random(5, 4, 3)),
    { function(x) return lurn.ctc_loss(x:transpose(1, 3), ids(targets), ids(input_lengths), lengths) end,
      random(3, 4, 5) },
    { function(x) return lurn.ctc_loss(x:log_softmax(-1), ids { { 2, 3 } }, ids { 5 }, ids { 2 }) end,
      random(5, 1, 3) },
  },
  large = function(random32)
    local classes = lurn.randint(2, 30, { 9, 20 })
    return { random32(80, 9, 30), classes, lurn.full({ 9 }, 80, { dtype = "int64" }),
      ids { 20, 19, 0, 1, 20, 7, 12, 3, 20 }, { reduction = "none" } }
  end,
}

return {
  l1_loss = {
    samples = with({ sample({}, l1), sample({ reduction = "sum" }, l1), sample({ reduction = "none" }, l1) },
      shared_samples "l1_loss"),
    errors = errors_of "l1_loss",
    grads = grads_of(lurn.l1_loss),
    large = large,
  },
  smooth_l1_loss = {
    samples = with({
      sample({}, smooth_l1(1)),
      sample({ beta = 0.5, reduction = "sum" }, smooth_l1(0.5)),
      sample({ beta = 2, reduction = "none" }, smooth_l1(2)),
      sample({ beta = 0, reduction = "none" }, l1),
      { "floats", function(T) return { T { inf, nan }, T { 0, 0 }, { reduction = "none" } }, { inf, nan } end },
    }, shared_samples "smooth_l1_loss"),
    errors = errors_of("smooth_l1_loss", {
      { { x34, x34, { beta = -1 } }, "smooth_l1_loss: beta is -1; expected a finite number of at least 0" },
      { { x34, x34, { beta = inf } }, "smooth_l1_loss: beta is inf; expected a finite number of at least 0" },
      { { x34, x34, { delta = 1 } }, "smooth_l1_loss: there is no option delta; known are: reduction, beta" },
    }),
    grads = with(grads_of(lurn.smooth_l1_loss), with(grads_of(lurn.smooth_l1_loss, { beta = 0.5 }),
      grads_of(lurn.smooth_l1_loss, { beta = 0 }))),
    large = large,
  },
  binary_cross_entropy_with_logits = entropy_case,
  ctc_loss = ctc_case,
}
