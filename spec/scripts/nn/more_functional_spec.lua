-- Losses, activations and padding that are made of ops: values against plain Lua, gradients, modules, messages.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn, F = lurn.nn, lurn.nn.functional
local fails, leaf = helper.fails, helper.leaf

local EXACT = 1e-12 -- float64

local function f64(t) return lurn.tensor(t, { dtype = "float64" }) end
local function i64(t) return lurn.tensor(t, { dtype = "int64" }) end

local function near(want, got)
  local list = type(got) == "number" and { got } or got:reshape(-1):totable()
  want = type(want) == "table" and want or { want }
  assert.equal(#want, #list)
  for i, value in ipairs(want) do
    local close = math.abs(list[i] - value) <= EXACT * (1 + math.abs(value))
    assert.is_true(close, ("%d: %g, not %g"):format(i, list[i], value))
  end
end

local xs, ts = { 0.3, -1.2, 2.5, 0 }, { 0.9, 0.2, 0.5, 1 }

-- ---- Activations ----

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local function tanh(x) return 1 - 2 / (math.exp(2 * x) + 1) end
local function between(x, low, high) return math.max(low, math.min(high, x)) end
local scale, alpha = 1.0507009873554805, 1.6732632423543772

local activations = {
  { "selu", "SELU", function(x) return scale * (x > 0 and x or alpha * (math.exp(x) - 1)) end },
  { "celu", "CELU", function(x) return x > 0 and x or math.exp(x) - 1 end },
  { "mish", "Mish", function(x) return x * tanh(math.log(1 + math.exp(x))) end },
  { "softsign", "Softsign", function(x) return x / (1 + math.abs(x)) end },
  { "relu6", "ReLU6", function(x) return between(x, 0, 6) end },
  { "hardsigmoid", "Hardsigmoid", function(x) return between(x + 3, 0, 6) / 6 end },
  { "hardswish", "Hardswish", function(x) return x * between(x + 3, 0, 6) / 6 end },
  { "logsigmoid", "LogSigmoid", function(x) return math.log(sigmoid(x)) end },
}

describe("activations made of ops:", function()
  local points = { 0.3, -1.2, 7.5, -4 }
  for _, case in ipairs(activations) do
    local name, class, of = table.unpack(case)
    it(name, function()
      local x, want = f64(points), {}
      for i, v in ipairs(points) do want[i] = of(v) end
      near(want, F[name](x))
      near(want, nn[class]()(x))
      assert(lurn.gradcheck(function(t) return (F[name](t) * 3):sin():sum() end, { leaf(x) }))
      fails(name .. ": x is 1; expected a tensor", F[name], 1)
    end)
  end

  it("glu, and the numbers of celu", function()
    local x = f64 { { 1, 2, 3, -4 } }
    near({ sigmoid(3), 2 * sigmoid(-4) }, F.glu(x))
    near({ sigmoid(3), 2 * sigmoid(-4) }, nn.GLU()(x))
    near({ sigmoid(2), 3 * sigmoid(-4) }, F.glu(x:view(2, 2):t(), 1))
    assert(lurn.gradcheck(function(t) return F.glu(t):square():sum() end, { leaf(x) }))
    near({ 2, 2 * (math.exp(-0.5) - 1) }, F.celu(f64 { 2, -1 }, 2))
    assert.equal("CELU(alpha=2)", tostring(nn.CELU(2)))
    fails("glu: dimension -1 has 3; expected an even size", F.glu, lurn.zeros(3))
    fails("glu: dim is 2; x has 1 dimensions", F.glu, lurn.zeros(2), 2)
    fails("celu: alpha is 0; expected another number", F.celu, x, 0)
  end)
end)

describe("gumbel_softmax", function()
  local logits = f64 { 1, 2, 0.5 }

  it("draws each class with its probability", function()
    lurn.manual_seed(7)
    local y = F.gumbel_softmax(logits:expand(20000, 3), { hard = true })
    local share, want = y:mean(1):totable(), logits:softmax(1):totable()
    for i = 1, 3 do assert.near(want[i], share[i], 5 * math.sqrt(want[i] * (1 - want[i]) / 20000)) end
    assert.is_true(y:sum(2):eq(1):all():item())
    assert.is_true((y:eq(0) | y:eq(1)):all():item())
  end)

  it("is softer the warmer it is, along any dimension", function()
    lurn.manual_seed(7)
    local x = lurn.randn(3, 4)
    near({ 1, 1, 1, 1 }, F.gumbel_softmax(x:double(), { dim = 1 }):sum(1))
    assert.near(0.25, F.gumbel_softmax(x, { tau = 1e6 }):max():item(), 1e-3)
    assert.is_true(F.gumbel_softmax(x, { tau = 1e-3 }):max():item() > 0.99)
  end)

  it("passes the gradient of the soft sample", function()
    local function sample(x, hard)
      lurn.manual_seed(3)
      return F.gumbel_softmax(x, { tau = 0.7, hard = hard })
    end
    local weight, soft, hard = f64 { 1, -2, 3 }, leaf(logits), leaf(logits)
    assert(lurn.gradcheck(function(t) return (sample(t) * weight):sum() end, { leaf(logits) }))
    ;(sample(soft) * weight):sum():backward()
    ;(sample(hard, true) * weight):sum():backward()
    near(soft.grad:totable(), hard.grad)
  end)

  it("takes scalars, single classes and tensors without elements", function()
    for _, hard in ipairs { false, true } do
      assert.equal(1, F.gumbel_softmax(f64(3), { hard = hard }):item())
      assert.same({ 0, 3 }, F.gumbel_softmax(lurn.zeros(0, 3), { hard = hard }).shape)
      assert.same({ 3, 0 }, F.gumbel_softmax(lurn.zeros(3, 0), { hard = hard }).shape)
    end
    local never = f64 { -math.huge, 0, -math.huge }
    assert.same({ 0, 1, 0 }, F.gumbel_softmax(never, { hard = true }):totable())
  end)

  it("is finite where the random number is 0", function()
    local rand_like = lurn.rand_like
    lurn.rand_like = lurn.zeros_like
    finally(function() lurn.rand_like = rand_like end)
    near({ 1, 1 }, F.gumbel_softmax(f64 { { 1 }, { 2 } }):view(2))
    near({ 0.5, 0.5 }, F.gumbel_softmax(lurn.zeros(2)):double())
  end)

  it("says what does not fit", function()
    fails("gumbel_softmax: dimension 2 of a tensor with 1", F.gumbel_softmax, logits, { dim = 2 })
    fails("gumbel_softmax: logits is int64; expected float32 or float64", F.gumbel_softmax, i64 { 1 })
    fails("gumbel_softmax: tau is 0; expected a positive number", F.gumbel_softmax, logits, { tau = 0 })
    fails("gumbel_softmax: logits is nil; expected a tensor", F.gumbel_softmax)
  end)
end)

-- ---- Losses ----

local function xlogx(t) return t > 0 and t * math.log(t) or 0 end

-- Each: functional, module, arguments, the loss of each element by plain numbers, options.
local probabilities, logs = { 0.2, 0.7, 0.99, 0.5 }, { -0.5, -1, -2, -3 }
local losses = {
  { "binary_cross_entropy", "BCELoss", { probabilities, ts },
    function(p, t) return -(t * math.log(p) + (1 - t) * math.log(1 - p)) end },
  { "kl_div", "KLDivLoss", { logs, { 0.2, 0, 0.5, 1 } }, function(x, t) return xlogx(t) - t * x end },
  { "kl_div", "KLDivLoss", { logs, xs }, function(x, t) return math.exp(t) * (t - x) end, { log_target = true } },
  { "huber_loss", "HuberLoss", { xs, ts }, function(x, t)
    local d = math.abs(x - t)
    return d < 0.7 and d * d / 2 or 0.7 * (d - 0.35)
  end, { delta = 0.7 } },
  { "gaussian_nll_loss", "GaussianNLLLoss", { xs, ts, { 0.5, 1, 2, 0.1 } },
    function(x, t, v) return (math.log(v) + (x - t) ^ 2 / v) / 2 end },
  { "gaussian_nll_loss", "GaussianNLLLoss", { xs, ts, { 0.5, 1, 2, 0.1 } },
    function(x, t, v)
      v = math.max(v, 0.6)
      return (math.log(v) + (x - t) ^ 2 / v + math.log(2 * math.pi)) / 2
    end, { full = true, eps = 0.6 } },
  { "poisson_nll_loss", "PoissonNLLLoss", { xs, { 0, 1, 2, 5 } }, function(x, t) return math.exp(x) - t * x end },
  { "poisson_nll_loss", "PoissonNLLLoss", { probabilities, { 0, 1, 2, 5 } }, function(x, t)
    local stirling = t > 1 and t * math.log(t) - t + math.log(2 * math.pi * t) / 2 or 0
    return x - t * math.log(x + 1e-3) + stirling
  end, { log_input = false, full = true, eps = 1e-3 } },
}

describe("losses made of ops:", function()
  for _, case in ipairs(losses) do
    local name, class, args, of, given = table.unpack(case)
    it(name .. (given and " with options" or ""), function()
      local tensors, want, sum = {}, {}, 0
      for k, list in ipairs(args) do tensors[k] = f64(list):view(2, 2) end
      for i = 1, 4 do
        want[i] = of(args[1][i], args[2][i], args[3] and args[3][i])
        sum = sum + want[i]
      end
      local function call(reduction, f)
        local options = { reduction = reduction }
        for key, value in pairs(given or {}) do options[key] = value end
        if f then return f(options)(table.unpack(tensors)) end
        tensors[#args + 1] = options
        local result = F[name](table.unpack(tensors, 1, #args + 1))
        tensors[#args + 1] = nil
        return result
      end
      for reduction, value in pairs { none = want, sum = sum, mean = sum / 4 } do
        near(value, call(reduction))
        near(value, call(reduction, nn[class]))
      end
      near(sum / 4, given and call "mean" or F[name](table.unpack(tensors)))
      tensors[1] = leaf(tensors[1])
      if not (given and given.eps == 0.6) then -- below eps the slope is not that of the value
        assert(lurn.gradcheck(function(t)
          tensors[1] = t
          return call "sum"
        end, { tensors[1] }))
      end
      local third = args[3] and lurn.ones(1) or nil
      fails(name .. ": input has shape (2, 2) and target (3); expected the same", F[name], lurn.zeros(2, 2),
        lurn.zeros(3), third)
      fails(name .. ": input is int64; expected float32 or float64", F[name], i64 { 1 }, i64 { 1 }, third)
      fails(name .. ": input is 1; expected a tensor", F[name], 1, 2, third)
    end)
  end

  it("binary_cross_entropy at 0 and 1, with weights, and what it refuses", function()
    local p = leaf(f64 { 0, 1, 0 })
    local loss = F.binary_cross_entropy(p, f64 { 0, 0, 1 }, { reduction = "sum" })
    near(200, loss)
    loss:backward()
    near({ 0, 1e12, -1e12 }, p.grad)
    near(3, F.binary_cross_entropy(f64 { 0, 1 }, f64 { 0, 0 }, { weight = f64 { 5, 0.06 } }))
    near(0, F.binary_cross_entropy(f64 { 0, 1 }, lurn.tensor({ false, true }, { dtype = "bool" })))
    fails("binary_cross_entropy: input has elements outside 0..1", F.binary_cross_entropy, lurn.tensor { 2 },
      lurn.ones(1))
  end)

  it("kl_div over a batch", function()
    local x, t = f64 { { -1, -0.5 }, { -2, -0.2 } }, f64 { { 0.3, 0.7 }, { 0.1, 0.9 } }
    near(F.kl_div(x, t, { reduction = "sum" }):item() / 2, F.kl_div(x, t, { reduction = "batchmean" }))
    assert.equal("KLDivLoss(reduction=batchmean)", tostring(nn.KLDivLoss { reduction = "batchmean" }))
  end)

  it("gaussian_nll_loss passes the slope of var below eps, and refuses negative ones", function()
    local var = leaf(f64 { 1e-9 })
    F.gaussian_nll_loss(f64 { 1 }, f64 { 1 }, var, { eps = 0.5 }):backward()
    near({ 1 }, var.grad)
    fails("gaussian_nll_loss: var has negative elements", F.gaussian_nll_loss, f64 { 1 }, f64 { 1 }, f64 { -1 })
  end)

  it("cosine_embedding_loss", function()
    local a, b, t = f64 { { 3, 4 }, { 1, 0 }, { 1, 1 } }, f64 { { 4, 3 }, { 0, 1 }, { 2, 2 } }, i64 { 1, 1, -1 }
    near({ 0.04, 1, 0.5 }, F.cosine_embedding_loss(a, b, t, { margin = 0.5, reduction = "none" }))
    near(1.54, nn.CosineEmbeddingLoss { margin = 0.5, reduction = "sum" }(a, b, t))
    assert(lurn.gradcheck(function(x, y) return F.cosine_embedding_loss(x, y, t) end, { leaf(a), leaf(b) }))
    fails("cosine_embedding_loss: target has shape (2); expected (3)", F.cosine_embedding_loss, a, b, i64 { 1, 1 })
  end)

  it("cross_entropy of probabilities", function()
    lurn.manual_seed(3)
    local x, classes = lurn.randn(2, 3, 4):double(), i64 { { 1, 4, 2 }, { 3, 3, 1 } }
    local hot = F.one_hot(classes, 4):double()
    for _, given in ipairs { {}, { label_smoothing = 0.1 }, { reduction = "sum" }, { reduction = "none" } } do
      near(F.cross_entropy(x, classes, given):reshape(-1):totable(), F.cross_entropy(x, hot, given))
      near(F.cross_entropy(x, classes, given):reshape(-1):totable(), nn.CrossEntropyLoss(given)(x, hot))
    end
    local weight, soft = f64 { 1, 2, 0.5, 3 }, lurn.randn(2, 3, 4):double():softmax(-1)
    near((-(soft * x:log_softmax(-1) * weight)):sum(-1):mean():item(), F.cross_entropy(x, soft, { weight = weight }))
    assert(lurn.gradcheck(function(a, b) return F.cross_entropy(a, b) end, { leaf(x), leaf(soft) }))
    fails("cross_entropy: input has shape (2, 3, 4) and targets (2, 3, 3); expected the same", F.cross_entropy, x,
      lurn.zeros(2, 3, 3))
  end)

  it("ctc_loss takes lists of lengths", function()
    lurn.manual_seed(4)
    local x, targets = lurn.randn(6, 2, 4):log_softmax(-1), i64 { { 2, 3 }, { 4, 2 } }
    local want = F.ctc_loss(x, targets, i64 { 6, 4 }, i64 { 2, 1 })
    assert.is_true(want:equal(F.ctc_loss(x, targets, { 6, 4 }, { 2, 1 })))
    assert.is_true(want:equal(nn.CTCLoss()(x, targets, { 6, 4 }, { 2, 1 })))
    fails("ctc_loss: target_lengths[2] is a; expected an integer", F.ctc_loss, x, targets, { 6, 4 }, { 2, "a" })
    fails("ctc_loss: input_lengths is 6; expected an int64 tensor or a list", F.ctc_loss, x, targets, 6, { 2, 1 })
  end)
end)

-- ---- Normalization, padding ----

describe("layer_norm", function()
  it("takes the sizes second, as PyTorch does", function()
    lurn.manual_seed(5)
    local x, w, b = lurn.randn(2, 3, 4), lurn.randn(3, 4), lurn.randn(3, 4)
    local want = lurn.layer_norm(x, w, b, 1e-3, 2)
    for _, got in ipairs { F.layer_norm(x, { 3, 4 }, w, b, 1e-3), F.layer_norm(x, w, b, 1e-3, 2),
      F.layer_norm(x, { 3, 4 }, { weight = w, bias = b, eps = 1e-3 }),
      F.layer_norm(x, { weight = w, bias = b, eps = 1e-3, dims = 2 }) } do
      assert.is_true(got:equal(want))
    end
    assert.is_true(F.layer_norm(x, 4):equal(lurn.layer_norm(x)))
    assert.is_true(F.layer_norm(x, { 4 }, w[1]):equal(lurn.layer_norm(x, w[1])))
    assert.is_true(F.layer_norm(x, { 4 }, nil, b[1]):equal(lurn.layer_norm(x, nil, b[1])))
    assert.is_true(F.layer_norm(x):equal(lurn.layer_norm(x)))
    fails("layer_norm: x has shape (2, 3, 4); expected (..., 3)", F.layer_norm, x, { 3 })
    fails("layer_norm: x is nil; expected a tensor", F.layer_norm, nil, { 3 })
    fails("layer_norm: weight has shape (3, 4); expected (4)", F.layer_norm, x, 4, w)
  end)
end)

describe("pad", function()
  local x = f64 { { 1, 2, 3 }, { 4, 5, 6 } }

  it("takes elements of x, and cuts off", function()
    near({ 1, 1, 1, 2, 3, 3, 4, 4, 4, 5, 6, 6 }, F.pad(x, { 2, 1 }, { mode = "replicate" }))
    near({ 3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5 }, F.pad(x, { 2, 1 }, { mode = "reflect" }))
    near({ 2, 3, 1, 2, 3, 1, 5, 6, 4, 5, 6, 4 }, F.pad(x, { 2, 1 }, { mode = "circular" }))
    near({ 1, 2, 3, 1, 2, 3, 4, 5, 6 }, F.pad(x, { 0, 0, 1, 0 }, { mode = "replicate" }))
    near({ 2, 3, 9, 5, 6, 9 }, F.pad(x, { -1, 1 }, { value = 9 }))
    near({ 5 }, F.pad(x, { -1, -1, -1, 0 }))
    for _, mode in ipairs { "replicate", "reflect", "circular" } do
      assert(lurn.gradcheck(function(t) return F.pad(t, { 2, 1 }, { mode = mode }):square():sum() end, { leaf(x) }))
    end
  end)

  it("says what does not go", function()
    fails('pad: mode is "mirror"; expected one of "constant", "reflect", "replicate", "circular"', F.pad, x, { 1, 1 },
      { mode = "mirror" })
    fails("pad: 3 and 0 around a dimension of 3 are too many for mode reflect", F.pad, x, { 3, 0 },
      { mode = "reflect" })
    fails("pad: -2 and -2 take more than the 3 there are", F.pad, x, { -2, -2 })
    fails("pad: a size is 1.5; expected an integer", F.pad, x, { 1.5, 0 })
    fails("pad: sizes is a list of 1; expected a list of pairs for at most 2 dimensions", F.pad, x, { 1 })
    fails("pad: x is 1; expected a tensor", F.pad, 1, { 1, 1 })
  end)
end)
