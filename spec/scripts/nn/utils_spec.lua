-- nn.utils.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local utils, fails = lurn.nn.utils, helper.fails

-- A leaf with this gradient.
local function with_grad(values)
  local t = helper.leaf(lurn.zeros(#values))
  t.grad = lurn.tensor(values)
  return t
end

describe("clip_grad_norm_", function()
  it("scales all gradients by one factor and gives the norm before", function()
    local a, b, none = with_grad { 3, 0 }, with_grad { 4 }, helper.leaf(lurn.zeros(2))
    assert.is_near(5, utils.clip_grad_norm_({ a, none, b }, 1), 1e-6)
    assert.is_near(0.6, a.grad:get(1), 1e-5)
    assert.is_near(0.8, b.grad:get(1), 1e-5)
    assert.is_nil(none.grad)
  end)

  it("leaves small gradients alone", function()
    local a = with_grad { 3, 4 }
    assert.is_near(5, utils.clip_grad_norm_({ a }, 10), 1e-6)
    assert.same({ 3, 4 }, a.grad:totable())
    assert.is_near(5, utils.clip_grad_norm_(a, 2.5), 1e-6)
    assert.is_near(1.5, a.grad:get(1), 1e-5)
    assert.equal(0, utils.clip_grad_norm_({}, 1))
  end)

  it("checks its arguments", function()
    fails("clip_grad_norm_: params is 5; expected a list of tensors", utils.clip_grad_norm_, 5, 1)
    fails("clip_grad_norm_: params is a table that is no list; expected a list of tensors, such as model:parameters()",
      utils.clip_grad_norm_, lurn.nn.Linear(1, 1), 1)
    assert.equal(0, utils.clip_grad_norm_({}, 1))
    fails("clip_grad_norm_: parameter 1 is a string; expected a tensor", utils.clip_grad_norm_, { "x" }, 1)
    fails("clip_grad_norm_: max_norm is nil; expected a number", utils.clip_grad_norm_, {})
  end)
end)

it("clip_grad_value_ cuts every element", function()
  local a, b = with_grad { 3, -4, 0.5 }, with_grad { 1 }
  utils.clip_grad_value_({ a, b }, 1)
  assert.same({ 1, -1, 0.5 }, a.grad:totable())
  utils.clip_grad_value_(b, 0.25)
  assert.same({ 0.25 }, b.grad:totable())
  fails("clip_grad_value_: max_value is a string; expected a number", utils.clip_grad_value_, a, "x")
end)
