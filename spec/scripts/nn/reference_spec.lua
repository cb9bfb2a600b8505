-- Layer normalisation within cells, attention and convolution against recorded numbers (spec/reference/nn).

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn

-- float32 on both sides, over a handful of steps; gradients relative to the largest entry of each.
local FORWARD, GRADIENT = 1e-5, 1e-4

local function close(name, actual, expected)
  assert.is_true(helper.distance(actual, expected) < FORWARD, name)
end

local function gradient_close(name, actual, expected)
  assert.truthy(actual, name .. " has no gradient")
  -- What shifts all scores of a softmax alike has no gradient but rounding.
  if expected:abs():max():item() < 1e-5 then
    assert.is_true(actual:abs():max():item() < 1e-5, name)
  else
    assert.is_true(helper.relative(actual, expected) < GRADIENT, "gradient of " .. name)
  end
end

-- Loads what the case has for a module's names.
local function load(module, tensors)
  local dict = {}
  for _, name in ipairs(module:state_names()) do dict[name] = tensors[name] end
  module:load_state_dict(dict)
  return module
end

-- Compares all recorded gradients; `found` gives the leaf of a recorded name.
local function check_gradients(case, found)
  local count = 0
  for name, expected in pairs(case.tensors) do
    local of = name:match "^grad%.(.+)$"
    if of then
      count = count + 1
      gradient_close(of, assert(found[of], of).grad, expected)
    end
  end
  assert.is_true(count > 0)
end

local function by_name(module, leaves)
  for name, p in module:named_parameters() do leaves[name] = p end
  return leaves
end

local run = {}

function run.layer_norm(case)
  local s, t = case.settings, case.tensors
  local layer = load(nn[s.type](s.input, s.hidden, { bidirectional = s.bidirectional }), t)
  local leaves = { x = helper.leaf(t.x), h0 = helper.leaf(t.h0), c0 = helper.leaf(t.c0) }
  local y, last = layer(leaves.x, { h = leaves.h0, c = leaves.c0 })
  close("y", y, t.y)
  close("h_n", last.h, t.h_n)
  local loss = helper.inner({ y, t.gy }, { last.h, t.gh_n })
  if t.c_n then
    close("c_n", last.c, t.c_n)
    loss = loss + helper.inner { last.c, t.gc_n }
  end
  loss:backward()
  check_gradients(case, by_name(layer, leaves))
end

function run.mha(case)
  local s, t = case.settings, case.tensors
  local options = { bias = s.bias, batch_first = s.batch_first, kdim = s.kdim, vdim = s.vdim }
  local attn = load(nn.MultiheadAttention(s.embed, s.heads, options), t)
  local leaves = { query = helper.leaf(t.query), key = helper.leaf(t.key), value = helper.leaf(t.value) }
  local y, weights = attn(leaves.query, leaves.key, leaves.value, { causal = s.causal, attn_mask = t.attn_mask,
    key_padding_mask = t.padding and t.padding:to "bool", average_attn_weights = s.average })
  close("y", y, t.y)
  close("weights", weights, t.weights)
  helper.inner({ y, t.gy }, { weights, t.gweights }):backward()
  check_gradients(case, by_name(attn, leaves))
end

-- Modules that are called with leaves of the case: constructor, names of parameters, inputs in order.
local plain = {
  AdditiveAttention = {
    function(s) return nn.AdditiveAttention(s.query, s.key, s.hidden) end,
    { w = "query_weight", u = "key_weight", v = "score_weight" }, { "query", "keys", "values" },
  },
  GeneralAttention = {
    function(s) return nn.GeneralAttention(s.query, s.key) end, { w = "weight" }, { "query", "keys", "values" },
  },
  Conv1d = {
    function(s)
      return nn.Conv1d(s.channels, s.out, s.kernel, { stride = s.stride, padding = s.padding, dilation = s.dilation,
        groups = s.groups, bias = s.bias })
    end,
    { weight = "weight", bias = "bias" }, { "x" },
  },
}

function run.plain(case)
  local t = case.tensors
  local make, names, inputs = table.unpack(plain[case.settings.type])
  local module, dict, leaves, arguments = make(case.settings), {}, {}, {}
  for recorded, name in pairs(names) do dict[name] = t[recorded] end
  module:load_state_dict(dict)
  for recorded, name in pairs(names) do leaves[recorded] = module[name] end
  for i, name in ipairs(inputs) do
    leaves[name] = helper.leaf(t[name])
    arguments[i] = leaves[name]
  end
  local y = module(table.unpack(arguments))
  close("y", y, t.y)
  helper.inner({ y, t.gy }):backward()
  check_gradients(case, leaves)
end

describe("recorded numbers of", function()
  for _, case in ipairs((helper.reference "nn")) do
    local kind = case.name:match "^layer_norm" or case.name:match "^mha" or "plain"
    it(case.name, function() run[kind](case) end)
  end
end)
