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
    fails("clip_grad_norm_: max_norm is -1; expected at least 0", utils.clip_grad_norm_, {}, -1)
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

describe("parameters as a vector", function()
  local model = lurn.nn.Sequential(lurn.nn.Linear(2, 3), lurn.nn.Linear(3, 1))

  it("go there and back", function()
    local vector = utils.parameters_to_vector(model:parameters())
    assert.equal(13, vector:numel())
    assert.equal(0, helper.distance(vector:narrow(1, 1, 6):reshape(3, 2), model[1].weight))
    local weight = model[1].weight
    utils.vector_to_parameters(lurn.arange(1, 13, { dtype = "float32" }), model:parameters())
    assert.same({ { 1, 2 }, { 3, 4 }, { 5, 6 } }, model[1].weight:totable())
    assert.same({ 13 }, model[2].bias:totable())
    assert.equal(weight, model[1].weight)
    assert.is_true(weight.is_leaf and weight.requires_grad)
    utils.vector_to_parameters(vector, model:parameters())
    assert.equal(0, helper.distance(utils.parameters_to_vector(model:parameters()), vector))
  end)

  it("are differentiable", function()
    utils.parameters_to_vector(model:parameters()):square():sum():backward()
    assert.is_true(helper.distance(model[2].weight.grad, model[2].weight * 2) < 1e-6)
  end)

  it("check their arguments", function()
    fails("parameters_to_vector: there are no parameters", utils.parameters_to_vector, {})
    fails("parameters_to_vector: params is nil; expected a list of tensors", utils.parameters_to_vector)
    fails("parameters_to_vector: parameter 2 is float64, the first is float32; expected one dtype",
      utils.parameters_to_vector, { lurn.zeros(1), lurn.zeros(1):to "float64" })
    fails("vector_to_parameters: the vector has shape (12); expected (13)", utils.vector_to_parameters, lurn.zeros(12),
      model:parameters())
    fails("vector_to_parameters: vector is a table; expected a tensor", utils.vector_to_parameters, model:parameters())
  end)
end)

describe("nn.utils.rnn", function()
  local rnn = utils.rnn

  it("pads sequences and takes them apart again", function()
    local list = { helper.leaf(lurn.randn(2, 3)), helper.leaf(lurn.randn(4, 3)), helper.leaf(lurn.randn(0, 3)) }
    local padded, lengths = rnn.pad_sequence(list)
    assert.same({ 4, 3, 3 }, { table.unpack(padded.shape) })
    assert.same({ 2, 4, 0 }, lengths:totable())
    assert.equal("int64", lengths.dtype)
    assert.equal(0, padded:narrow(1, 3, 2):select(2, 1):abs():sum():item())
    for i, t in ipairs(rnn.unpad_sequence(padded, lengths)) do assert.equal(0, helper.distance(t, list[i])) end
    padded:sum():backward()
    assert.equal(6, list[1].grad:sum():item())
    local y = lurn.nn.GRU(3, 4)(padded, nil, { lengths = lengths })
    assert.same({ 4, 3, 4 }, { table.unpack(y.shape) })
  end)

  it("takes other values, dtypes and the batch first", function()
    local list = { lurn.tensor({ 5, 6 }, { dtype = "int64" }), lurn.tensor({ 7 }, { dtype = "int64" }) }
    local padded = rnn.pad_sequence(list, { batch_first = true, padding_value = 1 })
    assert.same({ { 5, 6 }, { 7, 1 } }, padded:totable())
    assert.equal("int64", padded.dtype)
    assert.same({ 7 }, rnn.unpad_sequence(padded, { 2, 1 }, { batch_first = true })[2]:totable())
  end)

  it("checks its arguments", function()
    fails("pad_sequence: the sequences are nil; expected a list of tensors", rnn.pad_sequence)
    fails("pad_sequence: the sequences are an empty list; expected a list of tensors", rnn.pad_sequence, {})
    fails("pad_sequence: sequence 2 is 5; expected a tensor", rnn.pad_sequence, { lurn.zeros(1), 5 })
    fails("pad_sequence: sequence 1 is a scalar; expected (T, ...)", rnn.pad_sequence, { lurn.tensor(1) })
    fails("pad_sequence: sequence 2 is float32 (2, 4), the first is float32 (2, 3); expected the same but for the "
      .. "first size", rnn.pad_sequence, { lurn.zeros(2, 3), lurn.zeros(2, 4) })
    fails("unpad_sequence: lengths[2] is 4, expected 0..3", rnn.unpad_sequence, lurn.zeros(3, 2), { 1, 4 })
    fails("unpad_sequence: padded has shape (3); expected (T, N, ...)", rnn.unpad_sequence, lurn.zeros(3), { 1 })
    fails("unpad_sequence: lengths is nil; expected an int64 tensor or a list", rnn.unpad_sequence, lurn.zeros(3, 2))
  end)
end)
