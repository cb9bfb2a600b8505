-- Recurrent layers, cells and a language model in training against PyTorch's numbers (spec/reference).

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn

-- Forward: float32 rounding over the steps. Gradients: relative to the largest entry of each.
local FORWARD, GRADIENT = 1e-5, 1e-4

local function close(name, actual, expected)
  local distance = helper.distance(actual, expected)
  assert.is_true(distance < FORWARD, ("%s is off by %g"):format(name, distance))
end

local function gradient_close(name, actual, expected)
  assert.truthy(actual, name .. " has no gradient")
  local distance = helper.relative(actual, expected)
  assert.is_true(distance < GRADIENT, ("the gradient of %s is off by %g, relatively"):format(name, distance))
end

local function weights_for(module, tensors)
  local dict = {}
  for _, name in ipairs(module:state_names()) do dict[name] = tensors[name] end
  return dict
end

-- Checks all gradients that the case has.
local function check_gradients(module, tensors, leaves)
  local parameters, count = {}, 0
  for name, p in module:named_parameters() do parameters[name] = p end
  for name, expected in pairs(tensors) do
    local of = name:match "^grad%.(.+)$"
    if of then
      count = count + 1
      gradient_close(of, (parameters[of] or leaves[of]).grad, expected)
    end
  end
  assert.is_true(count >= #module:parameters() + 1)
end

local function run_layer(case)
  local s, t = case.settings, case.tensors
  local options = { num_layers = s.num_layers, bidirectional = s.bidirectional, bias = s.bias,
    batch_first = s.batch_first, nonlinearity = s.nonlinearity, proj_size = s.proj_size }
  local layer = nn[s.type](s.input, s.hidden, options)
  layer:load_state_dict(weights_for(layer, t))
  local leaves = { x = helper.leaf(t.x), h0 = helper.leaf(t.h0), c0 = helper.leaf(t.c0) }
  local state = t.h0 and { h = leaves.h0, c = leaves.c0 }
  local y, last = layer(leaves.x, state, { lengths = t.lengths })
  close("y", y, t.y)
  close("h_n", last.h, t.h_n)
  local loss = helper.inner({ y, t.gy }, { last.h, t.gh_n })
  if t.c_n then
    close("c_n", last.c, t.c_n)
    loss = loss + helper.inner { last.c, t.gc_n }
  else
    assert.is_nil(last.c)
  end
  loss:backward()
  check_gradients(layer, t, leaves)
end

local function run_cell(case)
  local s, t = case.settings, case.tensors
  local cell = nn[s.type](s.input, s.hidden)
  cell:load_state_dict(weights_for(cell, t))
  local leaves = { x = helper.leaf(t.x), h0 = helper.leaf(t.h0), c0 = helper.leaf(t.c0) }
  local state = cell(leaves.x, { h = leaves.h0, c = leaves.c0 })
  close("h_n", state.h, t.h_n)
  local loss = helper.inner { state.h, t.gh_n }
  if t.c_n then
    close("c_n", state.c, t.c_n)
    loss = loss + helper.inner { state.c, t.gc_n }
  end
  loss:backward()
  check_gradients(cell, t, leaves)
end

for _, file in ipairs { "rnn", "lstm", "gru" } do
  describe(file .. " gives PyTorch's numbers", function()
    for _, case in ipairs((helper.reference(file))) do
      it("in case " .. case.name, function()
        local run = case.name:find "^cell" and run_cell or run_layer
        run(case)
      end)
    end
  end)
end

describe("a language model", function()
  local CharLM = nn.Module:extend "CharLM"
  function CharLM:init(vocab, embedding, hidden, layers)
    self.embed = nn.Embedding(vocab, embedding)
    self.rnn = nn.LSTM(embedding, hidden, { num_layers = layers })
    self.head = nn.Linear(hidden, vocab)
  end
  function CharLM:forward(ids, state)
    local y
    y, state = self.rnn(self.embed(ids), state)
    return self.head(y), state
  end

  it("follows PyTorch's training, step by step", function()
    local cases, tensors = helper.reference "lm"
    local s = cases[1].settings
    local model = CharLM(s.V, s.embedding, s.hidden, s.num_layers)
    local init = {}
    for _, name in ipairs(model:state_names()) do init[name] = tensors["init." .. name] end
    model:load_state_dict(init)
    local opt = lurn.optim.Adam(model:parameters(), { lr = s.lr })
    local losses, norms = tensors.loss:totable(), tensors.total_norm:totable()
    local tokens, state = tensors.tokens + 1, nil
    for step = 1, s.steps do
      local first = (step - 1) * s.T + 1
      local x, y = tokens:narrow(1, first, s.T), tokens:narrow(1, first + 1, s.T)
      opt:zero_grad()
      local logits
      logits, state = model(x, state)
      local loss = nn.functional.cross_entropy(logits, y)
      loss:backward()
      local norm = nn.utils.clip_grad_norm_(model:parameters(), s.clip)
      opt:step()
      state = state:detach()
      assert.is_near(losses[step], loss:item(), 1e-4)
      assert.is_near(norms[step], norm, 1e-4)
    end
    for name, t in pairs(model:state_dict()) do
      assert.is_true(helper.distance(t, tensors["final." .. name]) < 1e-4, name)
    end
  end)
end)
