-- lurn.sample against models whose probabilities are known.

local lurn = require "lurn"
local nn, sample = lurn.nn, lurn.sample

-- The message that f raises, which has to be about this file.
local function failure(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.matches("sample_spec%.lua:%d+: ", message)
  return (message:gsub("^.-:%d+: ", ""))
end

local function ids(...) return lurn.tensor({ ... }, { dtype = "int64" }) end

-- A model that gives the same probabilities at every step.
local function constant(...)
  local logits = lurn.tensor({ ... }):log()
  return function(x) return logits:expand(x.shape[1], x.shape[2], #logits):contiguous() end
end

-- A model whose probabilities depend on the last id: one row for each. It counts its steps in its state.
local function markov(rows)
  local logits = lurn.tensor(rows):log()
  return function(x, state)
    local t, n = x.shape[1], x.shape[2]
    return logits:index_select(1, x:reshape(-1)):view(t, n, #rows), (state or 0) + t
  end
end

local function counts(list, classes)
  local n = {}
  for c = 1, classes do n[c] = 0 end
  for _, id in ipairs(list:reshape(-1):totable()) do n[id] = n[id] + 1 end
  return n
end

local CLASS = { lstm = "LSTM", gru = "GRU", rnn = "RNN" }

local Model = nn.Module:extend "Model"
function Model:init(kind, classes)
  self.embed = nn.Embedding(classes, 5)
  self.rnn = nn[CLASS[kind]](5, 7, { num_layers = 2, dropout = 0.5 })
  self.head = nn.Linear(7, classes)
end
function Model:forward(x, state)
  local y
  y, state = self.rnn(self.embed(x), state)
  return self.head(y) * 8, state
end

before_each(function() lurn.manual_seed(1) end)

describe("lurn.sample", function()
  it("draws with the model's probabilities", function()
    local drawn = sample { model = constant(0.5, 0.2, 0.3), prompt = lurn.ones(1, 4000, { dtype = "int64" }),
      length = 1, seed = 3 }
    local n = counts(drawn, 3)
    for c, p in ipairs { 0.5, 0.2, 0.3 } do
      assert.near(p, n[c] / 4000, 0.03) -- four standard deviations
    end
  end)

  it("returns ids without the prompt, and the state before the last of them", function()
    local model = markov { { 0, 1, 0 }, { 0, 0, 1 }, { 1, 0, 0 } }
    local drawn, state = sample { model = model, prompt = { 3, 1 }, length = 5 }
    assert.equal("int64", drawn.dtype)
    assert.same({ 2, 3, 1, 2, 3 }, drawn:totable())
    assert.equal(6, state) -- the prompt's 2 and the first 4
    local more
    more, state = sample { model = model, prompt = drawn:narrow(1, 5, 1), length = 2, state = state }
    assert.same({ 1, 2 }, more:totable())
    assert.equal(8, state)
  end)

  it("takes several sequences at once", function()
    local model = markov { { 0, 1, 0 }, { 0, 0, 1 }, { 1, 0, 0 } }
    local seen = {}
    local drawn = sample { model = model, prompt = lurn.tensor({ { 1, 2 } }, { dtype = "int64" }), length = 3,
      on_token = function(list, step) seen[step] = list end }
    assert.same({ { 2, 3 }, { 3, 1 }, { 1, 2 } }, drawn:totable())
    assert.same({ { 2, 3 }, { 3, 1 }, { 1, 2 } }, seen)
  end)

  it("draws nothing when length is 0", function()
    assert.same({ 0 }, { sample({ model = constant(1, 1), prompt = { 1 }, length = 0 }):numel() })
  end)

  it("takes the likeliest at temperature 0 and with top_k 1", function()
    local model = constant(0.3, 0.4, 0.3)
    assert.same({ 2, 2, 2, 2 }, sample({ model = model, prompt = { 1 }, length = 4, temperature = 0 }):totable())
    assert.same({ 2, 2, 2, 2 }, sample({ model = model, prompt = { 1 }, length = 4, top_k = 1 }):totable())
    assert.same({ 2, 2, 2, 2 }, sample({ model = model, prompt = { 1 }, length = 4, temperature = 1e-30 }):totable())
  end)

  it("sharpens and flattens with the temperature", function()
    local prompt = lurn.ones(1, 4000, { dtype = "int64" })
    local model = constant(0.2, 0.8)
    local cold = counts(sample { model = model, prompt = prompt, length = 1, temperature = 0.5 }, 2)
    assert.near(0.8 ^ 2 / (0.8 ^ 2 + 0.2 ^ 2), cold[2] / 4000, 0.02)
    local hot = counts(sample { model = model, prompt = prompt, length = 1, temperature = 1e6 }, 2)
    assert.near(0.5, hot[2] / 4000, 0.035)
  end)

  it("keeps to the top_k likeliest", function()
    local prompt = lurn.ones(1, 3000, { dtype = "int64" })
    local n = counts(sample { model = constant(0.1, 0.4, 0.2, 0.3), prompt = prompt, length = 1, top_k = 2 }, 4)
    assert.same({ 0, 0 }, { n[1], n[3] })
    assert.near(4 / 7, n[2] / 3000, 0.04)
    assert.equal(5, sample({ model = constant(1, 1), prompt = { 1 }, length = 5, top_k = 99 }):numel())
  end)

  it("keeps to the likeliest that make up top_p", function()
    local prompt = lurn.ones(1, 3000, { dtype = "int64" })
    local model = constant(0.1, 0.4, 0.2, 0.3)
    local n = counts(sample { model = model, prompt = prompt, length = 1, top_p = 0.65 }, 4)
    assert.same({ 0, 0 }, { n[1], n[3] })
    assert.near(4 / 7, n[2] / 3000, 0.04)
    n = counts(sample { model = model, prompt = prompt, length = 1, top_p = 0.75 }, 4)
    assert.equal(0, n[1])
    assert.truthy(n[3] > 500)
    assert.same({ 2, 2, 2 }, sample({ model = model, prompt = { 1 }, length = 3, top_p = 0.01 }):totable())
    n = counts(sample { model = model, prompt = prompt, length = 1, top_p = 0.65, top_k = 3 }, 4)
    assert.same({ 0, 0 }, { n[1], n[3] }) -- 0.4 + 0.3 of 0.9
  end)

  it("finds top_p among many classes, in each row by itself", function()
    local flat = lurn.zeros(1000)
    local peaked = lurn.zeros(1000)
    peaked:set(20, 7)
    local rows = lurn.stack { flat, peaked }
    local function model(x) return rows:expand(x.shape[1], 2, 1000):contiguous() end
    local drawn = sample { model = model, prompt = lurn.ones(1, 2, { dtype = "int64" }), length = 200, top_p = 0.9 }
    assert.equal(200, counts(drawn:select(2, 2), 1000)[7])
    local different = 0
    for _, n in ipairs(counts(drawn:select(2, 1), 1000)) do different = different + (n > 0 and 1 or 0) end
    assert.truthy(different > 130) -- about 900 * (1 - exp(-200 / 900)) = 179 are expected
  end)

  it("never draws what is excluded", function()
    local model = constant(0.5, 0.2, 0.3)
    local prompt = lurn.ones(1, 500, { dtype = "int64" })
    local n = counts(sample { model = model, prompt = prompt, length = 1, exclude = { 1, 3 } }, 3)
    assert.same({ 0, 500, 0 }, n)
    local drawn = sample { model = model, prompt = { 1 }, length = 2, temperature = 0, exclude = { 1 } }
    assert.same({ 3, 3 }, drawn:totable())
  end)

  it("ends when the callback says so, or at the stop id", function()
    local model = markov { { 0, 1, 0 }, { 0, 0, 1 }, { 1, 0, 0 } }
    local seen = {}
    local drawn = sample { model = model, prompt = { 1 }, length = 9, on_token = function(id, step)
      seen[step] = id
      return step < 2
    end }
    assert.same({ 2, 3 }, seen)
    assert.same({ 2, 3 }, drawn:totable())
    assert.same({ 2, 3, 1 }, sample({ model = model, prompt = { 1 }, length = 9, stop = 1 }):totable())
  end)

  it("with a seed repeats itself and leaves the global stream alone", function()
    local o = { model = constant(0.5, 0.5), prompt = { 1 }, length = 30, seed = 7 }
    local seed, block = lurn.rng_state()
    local first = sample(o)
    assert.same({ seed, block }, { lurn.rng_state() })
    assert.same(first:totable(), sample(o):totable())
    o.seed = 8
    assert.not_same(first:totable(), sample(o):totable())
    o.seed = nil
    assert.not_same(sample(o):totable(), sample(o):totable())
    assert.not_same({ seed, block }, { lurn.rng_state() })
  end)

  it("leaves everything as it was after an error", function()
    local seed, block = lurn.rng_state()
    local model = Model("lstm", 4)
    local after_model_seed, after_model_block = lurn.rng_state()
    assert.has_error(function()
      sample { model = model, prompt = { 1 }, length = 3, seed = 5, on_token = function() error "enough" end }
    end)
    assert.same({ after_model_seed, after_model_block }, { lurn.rng_state() })
    assert.is_true(model.training)
    local x = lurn.ones(2, { requires_grad = true })
    assert.is_true((x * 2).requires_grad)
    assert.equal(seed, after_model_seed)
    assert.truthy(block <= after_model_block)
  end)

  for kind in pairs(CLASS) do
    it("carries the state of a recurrent module: " .. kind, function()
      local model = Model(kind, 6)
      local prompt = ids(1, 2, 3)
      local drawn = sample { model = model, prompt = prompt, length = 8, temperature = 0 }
      assert.is_true(model.training) -- as before
      model:eval()
      local all = lurn.cat { prompt, drawn }
      local logits = model(all:view(-1, 1))
      assert.same(drawn:totable(), logits:argmax(3):view(-1):narrow(1, 3, 8):totable())
      assert.is_false(drawn.requires_grad)
    end)
  end

  it("evaluates all modules, and leaves each in the mode it had", function()
    local Spy = lurn.nn.Module:extend "Spy"
    function Spy:init() self.inner = lurn.nn.Dropout() end
    function Spy:forward(x)
      assert(not self.training and not self.inner.training)
      return lurn.zeros(x.shape[1], x.shape[2], 3)
    end
    for _, search in ipairs { sample, sample.beam } do
      for _, modes in ipairs { { true, true }, { true, false }, { false, true }, { false, false } } do
        local model = Spy()
        model.training, model.inner.training = modes[1], modes[2]
        search { model = model, prompt = { 1 }, length = 1 }
        assert.same(modes, { model.training, model.inner.training })
      end
    end
  end)

  it("puts everything back when an error ends its coroutine", function()
    local model = lurn.nn.Module:extend "Failing"()
    local doomed = coroutine.create(function() sample { model = model, prompt = { 1 }, length = 1, seed = 3 } end)
    lurn.manual_seed(5)
    assert.is_false(coroutine.resume(doomed))
    assert.is_true(model.training)
    assert.is_true(lurn.grad_enabled())
    assert.same({ 5, 0 }, { lurn.rng_state() })
  end)

  it("raises for wrong options", function()
    local model = constant(0.5, 0.5)
    assert.equal("sample: prompt is missing; expected ids: a tensor or a list", failure(sample, { model = model }))
    assert.equal("sample: length is -1; expected a whole number from 0",
      failure(sample, { model = model, prompt = { 1 }, length = -1 }))
    assert.equal("sample: top_p is 0; expected a number above 0, at most 1",
      failure(sample, { model = model, prompt = { 1 }, length = 1, top_p = 0 }))
    assert.matches('^sample: there is no option "topk"; the options are model, prompt',
      failure(sample, { model = model, prompt = { 1 }, length = 1, topk = 3 }))
    assert.equal("sample: prompt has ids that are not whole numbers",
      failure(sample, { model = model, prompt = { 1, 2.5 }, length = 1 }))
    assert.matches("^sample: prompt has shape {0, 1}; expected %(T%) or %(T, N%) with at least one id",
      failure(sample, { model = model, prompt = lurn.zeros(0, { dtype = "int64" }), length = 1 }))
    assert.equal("sample: exclude has 3; ids are 1 to 2",
      failure(sample, { model = model, prompt = { 1 }, length = 1, exclude = { 3 } }))
    assert.equal("sample: the model returned shape {2} for ids of shape {1, 1}; expected logits (T, N, C)",
      failure(sample, { model = function() return lurn.ones(2) end, prompt = { 1 }, length = 1 }))
    assert.equal("sample: expected a table of options, got a nil", failure(sample))
  end)

  it("says so when the model's numbers are no numbers", function()
    local function model(x) return lurn.full({ x.shape[1], x.shape[2], 3 }, 0 / 0) end
    for _, temperature in ipairs { 0, 1 } do
      assert.equal("sample: the model's logits are nan",
        failure(sample, { model = model, prompt = { 1 }, length = 1, temperature = temperature }))
    end
    local function infinite(x) return lurn.full({ x.shape[1], x.shape[2], 3 }, math.huge) end
    assert.equal("sample: the model's logits are inf",
      failure(sample, { model = infinite, prompt = { 1 }, length = 1 }))
  end)

  it("says so when there is nothing to draw", function()
    local model, text = constant(0.5, 0.5), ": there is no token to take: all are excluded, or their logits -inf"
    local options = { model = model, prompt = { 1 }, length = 1, exclude = { 1, 2 } }
    assert.equal("sample" .. text, failure(sample, options))
    assert.equal("beam" .. text, failure(sample.beam, options))
    options.temperature = 0
    assert.equal("sample" .. text, failure(sample, options))
    assert.equal("sample: model is 5; expected a module or a function",
      failure(sample, { model = 5, prompt = { 1 }, length = 1 }))
  end)
end)

describe("lurn.sample.beam", function()
  -- All sequences of a length with their log-probabilities, best first.
  local function all_sequences(rows, first, length)
    local list = { { ids = {}, log_prob = 0, last = first } }
    for _ = 1, length do
      local longer = {}
      for _, s in ipairs(list) do
        for c, p in ipairs(rows[s.last]) do
          local copy = table.move(s.ids, 1, #s.ids, 1, {})
          copy[#copy + 1] = c
          longer[#longer + 1] = { ids = copy, log_prob = s.log_prob + math.log(p), last = c }
        end
      end
      list = longer
    end
    table.sort(list, function(a, b) return a.log_prob > b.log_prob end)
    return list
  end

  local ROWS = { { 0.5, 0.3, 0.2 }, { 0.25, 0.35, 0.4 }, { 0.05, 0.9, 0.05 } }

  it("finds the best of all sequences when it is wide enough", function()
    local expected = all_sequences(ROWS, 1, 4)
    local found = sample.beam { model = markov(ROWS), prompt = { 2, 1 }, length = 4, width = 81 }
    assert.equal(81, #found)
    for i, hypothesis in ipairs(found) do
      assert.near(expected[i].log_prob, hypothesis.log_prob, 1e-5)
    end
    assert.same(expected[1].ids, found[1].ids:totable())
  end)

  it("is greedy with width 1 and better with more", function()
    local greedy = sample.beam { model = markov(ROWS), prompt = { 1 }, length = 3, width = 1 }
    assert.equal(1, #greedy)
    assert.same({ 1, 1, 1 }, greedy[1].ids:totable())
    assert.near(3 * math.log(0.5), greedy[1].log_prob, 1e-5)
    local wide = sample.beam { model = markov(ROWS), prompt = { 1 }, length = 3, width = 3 }
    assert.truthy(wide[1].log_prob >= greedy[1].log_prob)
    for i = 2, #wide do assert.truthy(wide[i].log_prob <= wide[i - 1].log_prob) end
  end)

  for kind in pairs(CLASS) do
    it("moves the rows of a recurrent state: " .. kind, function()
      local model = Model(kind, 5)
      local found = sample.beam { model = model, prompt = ids(3, 1), length = 5, width = 4 }
      assert.is_true(model.training)
      model:eval()
      for _, hypothesis in ipairs(found) do
        local all = lurn.cat { ids(3, 1), hypothesis.ids }
        local log_probs = model(all:view(-1, 1)):log_softmax(3)
        local sum = 0
        for i = 1, 5 do sum = sum + log_probs:get(i + 1, 1, hypothesis.ids:get(i)) end
        assert.near(sum, hypothesis.log_prob, 1e-4)
      end
    end)
  end

  it("moves states that are tables of tensors", function()
    local rows = lurn.tensor({ { 0.6, 0.4, 0 }, { 0, 0.1, 0.9 }, { 0, 0.2, 0.8 } }):log()
    local function model(x, state) -- whose state is the id fed last, (1, N)
      local last = x:select(1, -1)
      if state then -- the hypotheses' rows have moved as the ids have: each was an id that can lead to this one
        local from, to = state.nested.last:view(-1):totable(), last:totable()
        for i, id in ipairs(to) do assert(rows:get(from[i], id) > -math.huge) end
      end
      local logits = rows:index_select(1, x:reshape(-1)):view(x.shape[1], x.shape[2], 3)
      return logits, { nested = { last = last:unsqueeze(1) } }
    end
    local found = sample.beam { model = model, prompt = { 1 }, length = 3, width = 2 }
    assert.same({ 2, 3, 3 }, found[1].ids:totable()) -- 0.4 * 0.9 * 0.8 = 0.288, against 0.6 ^ 3 = 0.216
  end)

  it("ends sequences at the stop id", function()
    local found = sample.beam { model = markov(ROWS), prompt = { 1 }, length = 6, width = 3, stop = 2 }
    assert.same({ 2 }, found[1].ids:totable())
    assert.near(math.log(0.3), found[1].log_prob, 1e-5)
    assert.equal(3, #found)
    for _, hypothesis in ipairs(found) do
      local list = hypothesis.ids:totable()
      for i = 1, #list - 1 do assert.not_equal(2, list[i]) end
    end
  end)

  it("leaves impossible sequences out", function()
    local found = sample.beam { model = markov { { 0, 1 }, { 1, 0 } }, prompt = { 1 }, length = 3, width = 4 }
    assert.equal(1, #found)
    assert.same({ 2, 1, 2 }, found[1].ids:totable())
    assert.near(0, found[1].log_prob, 1e-6)
  end)

  it("is what `beam` asks for", function()
    local best, all = sample { model = markov(ROWS), prompt = { 1 }, length = 4, beam = 5 }
    assert.same(all[1].ids:totable(), best:totable())
    assert.equal(5, #all)
  end)

  it("raises for several sequences", function()
    assert.equal("beam: prompt has shape {1, 2}; expected one sequence, (T)",
      failure(sample.beam, { model = markov(ROWS), prompt = lurn.ones(1, 2, { dtype = "int64" }), length = 2 }))
  end)
end)
