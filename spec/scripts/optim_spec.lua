-- lurn.optim against PyTorch's numbers (spec/reference), its state, its options and its errors.

local lurn = require "lurn"
local optim, lr_scheduler = lurn.optim, lurn.optim.lr_scheduler

-- ---- Helpers ----

-- A flat JSON object of numbers, strings and booleans, as the reference files hold them.
local function decode(json)
  local result, words = {}, { ["true"] = true, ["false"] = false }
  for key, text in json:gmatch '"([^"]+)":%s*"?([^",}]+)' do
    result[key] = tonumber(text) or words[text]
    if result[key] == nil then result[key] = text end
  end
  return result
end

local function reference(name)
  local tensors, metadata = assert(lurn.load("spec/reference/" .. name .. ".safetensors"))
  local cases = {}
  for case in metadata.cases:gmatch "%S+" do
    local settings = decode(metadata[case])
    local kind = settings.type
    settings.type, settings.deviation = nil, nil
    if settings.beta1 then
      settings.betas, settings.beta1, settings.beta2 = { settings.beta1, settings.beta2 }, nil, nil
    end
    cases[#cases + 1] = { name = case, kind = kind, options = settings }
  end
  return tensors, cases
end

local function leaf(t)
  local copy = t:clone()
  copy.requires_grad = true
  return copy
end

-- Leaves `grad` as the gradient of p.
local function give(p, grad) (p * grad):sum():backward() end

-- The largest |a - b| / max(1, |b|).
local function distance(a, b)
  local worst = 0
  local x, y = a:reshape(-1):totable(), b:reshape(-1):totable()
  assert.equal(#y, #x)
  for i = 1, #y do worst = math.max(worst, math.abs(x[i] - y[i]) / math.max(1, math.abs(y[i]))) end
  return worst
end

-- The message that f raises, which has to name this file and be about its caller's line.
local function failure(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  local where, text = message:match "^([^\n]-):%d+: (.*)$"
  assert.truthy(where and where:find "optim_spec%.lua$", message)
  return text
end

local function weights(n) return leaf(lurn.linspace(-1, 1, n or 4)) end

local kinds = { "SGD", "RMSprop", "Adagrad", "Adadelta", "Adam", "AdamW" }

-- Settings that use every kind of state.
local settings = {
  { "SGD", { lr = 0.1 } },
  { "SGD", { lr = 0.1, momentum = 0.9, nesterov = true } },
  { "RMSprop", { momentum = 0.5, centered = true } },
  { "Adagrad", { lr_decay = 0.1, initial_accumulator_value = 0.2 } },
  { "Adadelta", {} },
  { "Adam", { amsgrad = true, betas = { 0.8, 0.9 } } },
  { "AdamW", { maximize = true } },
}

-- ---- PyTorch's numbers ----

describe("optimizers give PyTorch's parameters", function()
  local tensors, cases = reference "optim"
  for _, case in ipairs(cases) do
    it("in case " .. case.name, function()
      local p = { a = leaf(tensors["param.a"]), b = leaf(tensors["param.b"]) }
      local opt = optim[case.kind]({ p.a, p.b }, case.options)
      for step = 1, 25 do
        opt:zero_grad()
        for name, param in pairs(p) do give(param, tensors["grads." .. name][step]) end
        opt:step()
        for name, param in pairs(p) do
          local expected = tensors[("%s.step%d.%s"):format(case.name, step, name)]
          -- 25 steps of float32 rounding; PyTorch's own float32 is as far from its float64
          if expected then assert.is_true(distance(param:detach(), expected) < 1e-5) end
        end
      end
    end)
  end
end)

describe("schedulers give PyTorch's rates", function()
  local tensors, cases = reference "schedulers"
  local metric = tensors.metric:totable()
  for _, case in ipairs(cases) do
    local lr = case.options.lr
    case.options.lr = nil

    it("in case " .. case.name, function()
      local opt = optim.SGD({ weights() }, { lr = lr })
      local expected = tensors[case.name .. ".lr"]:totable()
      local schedule = lr_scheduler[case.kind](opt, case.options)
      assert.is_near(expected[1], opt.lr, 1e-15)
      for step = 1, 30 do
        schedule:step(metric[step])
        assert.is_near(expected[step + 1], opt.lr, 1e-15)
        assert.same({ opt.lr }, schedule:get_last_lr())
        assert.equal(step, schedule.last_epoch)
      end
    end)

    it("going on from a state, in case " .. case.name, function()
      local opt = optim.SGD({ weights() }, { lr = lr })
      local expected = tensors[case.name .. ".lr"]:totable()
      local schedule = lr_scheduler[case.kind](opt, case.options)
      for step = 1, 30 do
        schedule:step(metric[step])
        if step % 7 == 0 then
          local state = schedule:state_dict()
          opt = optim.SGD({ weights() }, { lr = 77 })
          schedule = lr_scheduler[case.kind](opt, case.options)
          schedule:load_state_dict(state)
        end
        assert.is_near(expected[step + 1], opt.lr, 1e-15)
      end
    end)
  end
end)

-- ---- Options ----

describe("options", function()
  it("have PyTorch's defaults", function()
    local expected = {
      SGD = { lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0, nesterov = false, maximize = false },
      RMSprop = { lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0, centered = false,
        maximize = false },
      Adagrad = { lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10,
        maximize = false },
      Adadelta = { lr = 1, rho = 0.9, eps = 1e-6, weight_decay = 0, maximize = false },
      Adam = { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0, amsgrad = false, maximize = false },
      AdamW = { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 1e-2, amsgrad = false,
        maximize = false },
    }
    for kind, values in pairs(expected) do
      local opt = optim[kind] { weights() }
      for name, value in pairs(values) do
        assert.same(value, opt[name])
        assert.same(value, opt.param_groups[1][name])
      end
    end
  end)

  it("can be read and assigned for all groups or one", function()
    local a, b = weights(), weights()
    local opt = optim.Adam({ { params = { a }, lr = 1e-4 }, { params = { b } } }, { lr = 1e-3, eps = 1e-5 })
    local first, second = opt.param_groups[1], opt.param_groups[2]
    assert.equal(1e-4, first.lr)
    assert.equal(1e-3, second.lr)
    assert.equal(1e-5, first.eps)
    assert.equal(1e-4, opt.lr)
    opt.lr = 0.5
    assert.equal(0.5, first.lr)
    assert.equal(0.5, second.lr)
    second.betas = { 0.5, 0.75 }
    assert.same({ 0.9, 0.999 }, first.betas)
    assert.same({ 0.5, 0.75 }, second.betas)
    second.amsgrad = true
    assert.is_true(second.amsgrad)
    assert.is_false(opt.amsgrad)
    assert.equal(b, second.params[1])
    assert.is_nil(opt.momentum)
    assert.equal("Adam", opt.kind)
  end)

  it("of groups are obeyed", function()
    local a, b = weights(), weights()
    local opt = optim.SGD({ { params = { a }, lr = 0.5 }, { params = { b } } }, { lr = 0.25 })
    local before = a:totable()
    for _, p in ipairs { a, b } do give(p, lurn.ones(4)) end
    opt:step()
    opt.lr = 0
    opt:step()
    for i = 1, 4 do
      assert.is_near(before[i] - 0.5, a:get(i), 1e-6)
      assert.is_near(before[i] - 0.25, b:get(i), 1e-6)
    end
  end)

  it("print readably", function()
    local text = tostring(optim.Adam { weights(), weights() })
    assert.equal("Adam(\n  (1) params = 2, lr = 0.001, betas = {0.9, 0.999}, eps = 1e-08, weight_decay = 0, "
      .. "amsgrad = false, maximize = false\n)", text)
  end)
end)

describe("an optimizer", function()
  it("leaves parameters without a gradient alone", function()
    local a, b = weights(), weights()
    local opt = optim.AdamW({ a, b }, { lr = 0.1 })
    give(a, lurn.ones(4))
    opt:step()
    assert.is_true(b:equal(weights()))
    assert.is_false(a:equal(weights()))
    opt:zero_grad()
    assert.is_nil(a.grad)
    assert.is_nil(opt:state_dict()["state.1.step"])
  end)

  it("takes more groups later", function()
    local a, b = weights(), weights()
    local opt = optim.SGD({ a }, { lr = 0.5, momentum = 0.25 })
    opt:add_param_group { params = { b }, lr = 1 }
    assert.equal(2, #opt.param_groups)
    assert.equal(0.25, opt.param_groups[2].momentum)
    give(b, lurn.ones(4))
    opt:step()
    assert.is_near(-2, b:get(1), 1e-6)
  end)

  it("keeps its parameters when nobody else does", function()
    local opt = optim.Adam { weights() }
    collectgarbage()
    give(opt.param_groups[1].params[1], lurn.ones(4))
    opt:step()
    assert.is_near(-1.001, opt.param_groups[1].params[1]:get(1), 1e-6)
  end)

  it("trains", function()
    lurn.manual_seed(3)
    local x, true_w = lurn.randn(32, 3), lurn.tensor { { 1 }, { -2 }, { 0.5 } }
    local y, rates = x:matmul(true_w), { Adadelta = 10, Adagrad = 1 }
    for _, kind in ipairs(kinds) do
      local w = lurn.zeros(3, 1, { requires_grad = true })
      local opt = optim[kind]({ w }, { lr = rates[kind] or 0.1 })
      for _ = 1, 200 do
        opt:zero_grad();
        ((x:matmul(w) - y) ^ 2):mean():backward()
        opt:step()
      end
      assert.is_true(lurn.allclose(w:detach(), true_w, { rtol = 0, atol = 0.15 }), kind)
    end
  end)
end)

-- ---- State ----

-- Steps `from` to `to` on two parameters, of which the second starts late.
local function advance(opt, a, b, from, to)
  for step = from, to do
    opt:zero_grad()
    give(a, lurn.linspace(-step, 2, 4))
    if step > 2 then give(b, lurn.linspace(1, step, 3)) end
    opt:step()
  end
end

describe("state", function()
  for _, setting in ipairs(settings) do
    local kind, values = setting[1], setting[2]

    it("goes on with the same bits: " .. kind, function()
      local a, b = weights(4), weights(3)
      local opt = optim[kind]({ { params = { a }, lr = 0.05 }, { params = { b } } }, values)
      advance(opt, a, b, 1, 4)
      opt.param_groups[2].weight_decay = 0.125
      local state = opt:state_dict()
      local c, d = leaf(a:detach()), leaf(b:detach())
      local resumed = optim[kind] { { params = { c } }, { params = { d } } }
      advance(opt, a, b, 5, 8) -- the state is a copy: this does not change it
      resumed:load_state_dict(state)
      assert.equal(tostring(opt), tostring(resumed))
      advance(resumed, c, d, 5, 8)
      assert.is_true(a:equal(c) and b:equal(d))
    end)
  end

  it("goes through a file", function()
    local path = os.tmpname()
    local a, b = weights(4), weights(3)
    local opt = optim.Adam({ a, b }, { lr = 0.1 })
    advance(opt, a, b, 1, 4)
    assert(lurn.save(path, opt:state_dict()))
    local c, d = leaf(a:detach()), leaf(b:detach())
    local resumed = optim.Adam { c, d }
    resumed:load_state_dict(assert(lurn.load(path)))
    os.remove(path)
    advance(opt, a, b, 5, 8)
    advance(resumed, c, d, 5, 8)
    assert.is_true(a:equal(c) and b:equal(d))
  end)

  it("has PyTorch's names", function()
    local expected = {
      SGD = { "momentum_buffer" },
      RMSprop = { "square_avg", "momentum_buffer", "grad_avg" },
      Adagrad = { "sum" },
      Adadelta = { "square_avg", "acc_delta" },
      Adam = { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" },
      AdamW = { "exp_avg", "exp_avg_sq", "max_exp_avg_sq" },
    }
    for kind, names in pairs(expected) do
      local options = ({ SGD = { momentum = 0.5 }, RMSprop = { momentum = 0.5, centered = true } })[kind] or {}
      if kind:find "Adam" then options.amsgrad = true end
      local a = weights()
      local opt = optim[kind]({ a }, options)
      give(a, lurn.ones(4))
      opt:step()
      opt:step()
      local state, count = opt:state_dict(), 0
      for name in pairs(state) do
        if name:find "^state" then count = count + 1 end
      end
      assert.equal(#names + 1, count)
      assert.equal(2, state["state.0.step"]:item())
      assert.equal("int64", state["state.0.step"].dtype)
      for _, name in ipairs(names) do assert.same({ 4 }, { table.unpack(state["state.0." .. name].shape) }) end
      assert.same({ 0 }, state["param_groups.0.params"]:totable())
      assert.equal(opt.lr, state["param_groups.0.lr"]:item())
    end
  end)

  it("that does not fit is refused and changes nothing", function()
    local a, b = weights(4), weights(3)
    local opt = optim.Adam({ a, b }, { lr = 0.1 })
    advance(opt, a, b, 1, 4)
    local state = opt:state_dict()
    local function broken(change)
      local other = {}
      for name, tensor in pairs(state) do other[name] = tensor end
      change(other)
      local before, shown = opt:state_dict(), tostring(opt)
      local message = failure(function() opt:load_state_dict(other) end)
      assert.equal(shown, tostring(opt))
      for name, tensor in pairs(opt:state_dict()) do assert.is_true(tensor:equal(before[name])) end
      return message
    end
    local function set(name, tensor)
      return broken(function(other) other[name] = tensor end)
    end
    local number = lurn.tensor(1, { dtype = "float64" })
    local prefix = "Adam: load_state_dict: "
    assert.equal(prefix .. "param_groups.0.lr is missing", set("param_groups.0.lr", nil))
    assert.equal(prefix .. "state.1.step is missing", set("state.1.step", nil))
    assert.equal(prefix .. "state.0.exp_avg is missing", set("state.0.exp_avg", nil))
    assert.equal(prefix .. "there is no param_groups.1.lr in this optimizer", set("param_groups.1.lr", number))
    assert.equal(prefix .. "there is no extra in this optimizer", set("extra", number))
    assert.equal(prefix .. "param_groups.0.lr: expected a tensor, got a number", set("param_groups.0.lr", 3))
    assert.equal(prefix .. "param_groups.0.lr: expected float64, got float32",
      set("param_groups.0.lr", number:to "float32"))
    assert.equal("Adam: lr is -1; expected at least 0", set("param_groups.0.lr", -1 * number))
    assert.equal(prefix .. "param_groups.0.betas: expected 2 elements, got 1", set("param_groups.0.betas", number))
    assert.equal(prefix .. "param_groups.0.params: expected 2 parameters, got 1",
      set("param_groups.0.params", lurn.zeros(1, { dtype = "int64" })))
    assert.equal(prefix .. "param_groups.0.params: expected the parameters in order, got 0 as number 2",
      set("param_groups.0.params", lurn.zeros(2, { dtype = "int64" })))
    assert.equal("Adam: state.2.step: there is no such parameter",
      set("state.2.step", lurn.tensor(1, { dtype = "int64" })))
    assert.equal("Adam: state.0.exp_avg: expected float32 (4) like the parameter, got float32 (3)",
      set("state.0.exp_avg", lurn.zeros(3)))
    assert.equal("Adam: state.0.exp_avg: expected a tensor, got a boolean", set("state.0.exp_avg", true))
    assert.truthy(set("state.0.sum", lurn.zeros(4)):find(
      'Adam: "state.0.sum" is not the name of a state; expected state.N. and one of step, exp_avg', 1, true))
  end)
end)

-- ---- Errors ----

describe("mistakes are told", function()
  local p = weights()

  it("about options", function()
    assert.equal("Adam: there is no option momentum; known are: lr, betas, eps, weight_decay, amsgrad, maximize",
      failure(function() optim.Adam({ p }, { momentum = 0.9 }) end))
    assert.equal("Adam: lr: expected a number, got a string",
      failure(function() optim.Adam({ p }, { lr = "0.1" }) end))
    assert.equal("Adam: lr is -1; expected at least 0", failure(function() optim.Adam({ p }, { lr = -1 }) end))
    assert.equal("Adam: betas: expected two numbers {beta1, beta2}, got a number",
      failure(function() optim.Adam({ p }, { betas = 0.9 }) end))
    assert.equal("Adam: beta2 is 1; expected at least 0 and below 1",
      failure(function() optim.Adam({ p }, { betas = { 0.9, 1 } }) end))
    assert.equal("SGD: nesterov: expected true or false, got a number",
      failure(function() optim.SGD({ p }, { nesterov = 1 }) end))
    assert.equal("SGD: nesterov needs a momentum above 0 and dampening 0; they are 0 and 0",
      failure(function() optim.SGD({ p }, { nesterov = true }) end))
    assert.equal("SGD: options: expected a table, got a number", failure(function() optim.SGD({ p }, 0.1) end))
  end)

  it("about fields", function()
    local opt = optim.SGD({ p }, { lr = 0.1 })
    local message = "SGD: there is no option rate; known are: lr, momentum, dampening, weight_decay, nesterov, maximize"
    assert.equal(message, failure(function() opt.rate = 1 end))
    assert.equal(message, failure(function() opt.param_groups[1].rate = 1 end))
    assert.equal("SGD: lr: expected a number, got nil", failure(function() opt.lr = nil end))
    opt.lr = -2
    give(p, lurn.ones(4))
    assert.equal("SGD: lr is -2; expected at least 0", failure(function() opt:step() end))
    assert.is_true(p:equal(weights()))
    opt:zero_grad()
  end)

  it("about parameters", function()
    local list = "Adam: params: expected a list of tensors or of groups, got "
    assert.equal("Adam: the list of parameters is empty", failure(function() optim.Adam {} end))
    local no_list = "Adam: params is a table that is no list; expected a list of tensors, such as model:parameters(), "
      .. "or of groups"
    assert.equal(no_list, failure(function() optim.Adam(lurn.nn.Linear(1, 1)) end))
    assert.equal(no_list, failure(function() optim.Adam { params = {} } end))
    assert.equal(list .. "nil", failure(function() optim.Adam() end))
    assert.equal(list .. "a tensor", failure(function() optim.Adam(p) end))
    assert.equal("Adam: params[2]: expected a tensor, got an integer", failure(function() optim.Adam { p, 3 } end))
    assert.equal("Adam: parameter 2 is there already", failure(function() optim.Adam { p, p } end))
    assert.equal("Adam: parameter 1 is there already",
      failure(function() optim.Adam { { params = { p } }, { params = { p } } } end))
    assert.equal("Adam: parameter 1 was made by mul; expected a leaf", failure(function() optim.Adam { p * 2 } end))
    assert.equal("Adam: parameter 1 is int64; expected float32 or float64",
      failure(function() optim.Adam { lurn.zeros(2, { dtype = "int64" }) } end))
    assert.equal("Adam: group 2: expected {params = list of tensors, options}",
      failure(function() optim.Adam { { params = { p } }, {} } end))
  end)

  it("about schedules", function()
    local opt = optim.SGD({ p }, { lr = 0.1 })
    assert.equal("StepLR: expected an optimizer first, got 3", failure(function() lr_scheduler.StepLR(3, 1) end))
    assert.equal("StepLR: step_size: expected a whole number of at least 1, got nil",
      failure(function() lr_scheduler.StepLR(opt) end))
    assert.equal("StepLR: step_size: expected a whole number of at least 1, got 2.5",
      failure(function() lr_scheduler.StepLR(opt, 2.5) end))
    assert.equal("StepLR: there is no option gama; known are: step_size, gamma",
      failure(function() lr_scheduler.StepLR(opt, 2, { gama = 1 }) end))
    assert.equal("ReduceLROnPlateau: factor: expected at least 0 and below 1, got 1",
      failure(function() lr_scheduler.ReduceLROnPlateau(opt, { factor = 1 }) end))
    assert.equal("MultiStepLR: milestones: expected a rising list of epochs, whole numbers of at least 1, got a table",
      failure(function() lr_scheduler.MultiStepLR(opt, { 3, 2 }) end))
    assert.equal("LambdaLR: lr_lambda: expected a function, or a list with one per group, got 1",
      failure(function() lr_scheduler.LambdaLR(opt, 1) end))
    assert.equal("LambdaLR: the function gave nil in epoch 0; expected a number of at least 0",
      failure(function() lr_scheduler.LambdaLR(opt, function() end) end))
    assert.equal("OneCycleLR: total_steps: expected a whole number of at least 1, got nil",
      failure(function() lr_scheduler.OneCycleLR(opt, 1) end))
    assert.equal("OneCycleLR: Adadelta has no momentum; expected cycle_momentum = false",
      failure(function() lr_scheduler.OneCycleLR(optim.Adadelta { p }, 1, { total_steps = 3 }) end))
    local cycle = lr_scheduler.OneCycleLR(opt, 1, { total_steps = 2 })
    cycle:step()
    cycle:step()
    assert.equal("OneCycleLR: step 3; total_steps is 2", failure(function() cycle:step() end))
    local plateau = lr_scheduler.ReduceLROnPlateau(opt)
    assert.equal("ReduceLROnPlateau: metric: expected a number, got nil", failure(function() plateau:step() end))
    assert.equal("ReduceLROnPlateau: load_state_dict: last_epoch: expected a number, got nil",
      failure(function() plateau:load_state_dict {} end))
  end)
end)

-- ---- Schedules together ----

describe("schedules", function()
  it("multiply when there are several", function()
    local opt = optim.SGD({ weights() }, { lr = 0.8 })
    local warmup, decay = lr_scheduler.LinearWarmup(opt, 4), lr_scheduler.ExponentialLR(opt, 0.5)
    for epoch = 1, 6 do
      warmup:step()
      decay:step()
      assert.is_near(0.8 * math.min((epoch + 1) / 4, 1) * 0.5 ^ epoch, opt.lr, 1e-15)
    end
  end)

  it("take required options before or in the table, and a rate per group", function()
    local opt = optim.SGD({ { params = { weights() }, lr = 1 }, { params = { weights() }, lr = 2 } })
    local a, b = lr_scheduler.StepLR(opt, 1, { gamma = 0.5 }), lr_scheduler.StepLR(opt, { step_size = 2, gamma = 0.1 })
    a:step()
    b:step()
    assert.same({ 0.5, 1 }, a:get_last_lr())
    b:step()
    assert.is_near(0.05, opt.param_groups[1].lr, 1e-15)
    assert.is_near(0.1, opt.param_groups[2].lr, 1e-15)
  end)

  it("take a tensor as the metric", function()
    local opt = optim.SGD({ weights() }, { lr = 1 })
    local plateau = lr_scheduler.ReduceLROnPlateau(opt, { patience = 0, factor = 0.5 })
    plateau:step(lurn.tensor(2))
    plateau:step(lurn.tensor(2))
    assert.equal(0.5, opt.lr)
  end)
end)

-- ---- Schedules of functions and of one cycle ----

describe("MultiStepLR and LambdaLR", function()
  it("follow their lists and functions", function()
    local opt = optim.SGD({ weights() }, { lr = 1 })
    local schedule, rates = lr_scheduler.MultiStepLR(opt, { 2, 3 }, { gamma = 0.5 }), {}
    for epoch = 1, 4 do
      schedule:step()
      rates[epoch] = opt.lr
    end
    assert.same({ 1, 0.5, 0.25, 0.25 }, rates)
    opt = optim.SGD({ { params = { weights() }, lr = 1 }, { params = { weights() }, lr = 2 } })
    schedule = lr_scheduler.LambdaLR(opt, { function(e) return 0.5 ^ e end, function(e) return e + 1 end })
    schedule:step()
    assert.same({ 0.5, 4 }, schedule:get_last_lr())
    local same = optim.SGD({ weights() }, { lr = 3 })
    assert.equal(3, lr_scheduler.LambdaLR(same, function(e) return 1 / (e + 1) end):get_last_lr()[1])
    assert.equal(3, lr_scheduler.MultiStepLR(same, { milestones = { 1 } }):get_last_lr()[1])
  end)
end)

describe("OneCycleLR", function()
  -- PyTorch 1.13: rate, and beta1 or momentum, of each step
  local cases = {
    { "Adam", { max_lr = 1, total_steps = 6 },
      { { 0.040000000000000036, 0.95 }, { 0.9944154354509117, 0.8505584586887436 },
        { 0.811745653949763, 0.8688255099070633 }, { 0.46263710266697505, 0.9037365046793212 },
        { 0.1334775301888306, 0.9366525935914912 }, { 4e-06, 0.95 } } },
    { "SGD", { max_lr = 0.5, total_steps = 7, pct_start = 0.4, anneal_strategy = "linear", three_phase = true,
      div_factor = 10, final_div_factor = 100, base_momentum = 0.8, max_momentum = 0.9 },
      { { 0.05, 0.9 }, { 0.3, 0.8444444444444444 }, { 0.45000000000000007, 0.8111111111111111 },
        { 0.20000000000000012, 0.8666666666666667 }, { 0.04175000000000001, 0.9 }, { 0.021125000000000005, 0.9 },
        { 0.0005000000000000004, 0.9 } } },
    { "SGD", { max_lr = 0.5, total_steps = 4, cycle_momentum = false },
      { { 0.020000000000000018, 0.5 }, { 0.4058728269748815, 0.5 }, { 0.14153049910434962, 0.5 }, { 2e-06, 0.5 } } },
  }
  for i, case in ipairs(cases) do
    it("gives PyTorch's rates and momenta, also from a state, case " .. i, function()
      local kind, given, expected = table.unpack(case)
      local function new() return optim[kind]({ weights() }, kind == "SGD" and { momentum = 0.5 } or nil) end
      local opt = new()
      local schedule = lr_scheduler.OneCycleLR(opt, given)
      for step, row in ipairs(expected) do
        assert.is_near(row[1], opt.lr, 1e-15)
        assert.is_near(row[2], opt.betas and opt.betas[1] or opt.momentum, 1e-15)
        if step == 2 then
          local state, options = schedule:state_dict(), opt:state_dict()
          opt = new()
          schedule = lr_scheduler.OneCycleLR(opt, given)
          opt:load_state_dict(options)
          schedule:load_state_dict(state)
        end
        schedule:step()
      end
      assert.is_near(expected[#expected][1], opt.lr, 1e-15)
    end)
  end
end)

describe("step", function()
  it("calls a closure first, and passes on its loss", function()
    local a, b = weights(), weights()
    local one, other = optim.SGD({ a }, { lr = 0.1 }), optim.SGD({ b }, { lr = 0.1 })
    local loss = lurn.no_grad(function()
      return one:step(function()
        one:zero_grad()
        local value = a:square():sum()
        value:backward()
        return value
      end)
    end)
    assert.equal(b:square():sum():item(), loss:item())
    b:square():sum():backward()
    assert.is_nil(other:step())
    assert.is_true(a:equal(b))
    assert.equal("SGD: step: expected a function that computes the loss, got a number",
      failure(function() other:step(1) end))
    assert.has_error(function() other:step(function() error "no" end) end)
    assert.is_true(lurn.grad_enabled())
  end)
end)
