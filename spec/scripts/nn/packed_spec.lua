-- nn.utils.rnn's packed sequences: layers give with them what they give with lengths.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local rnn = nn.utils.rnn
local fails = helper.fails

describe("packed sequences", function()
  before_each(function() lurn.manual_seed(51) end)

  for _, batch_first in ipairs { false, true } do
    it(("are what layers take lengths from, batch_first %s"):format(batch_first), function()
      for _, kind in ipairs { "LSTM", "GRU", "RNN", "LayerNormLSTM" } do
        local layer = nn[kind](3, 4, { batch_first = batch_first, bidirectional = true, num_layers = 2 })
        local shape = batch_first and { 3, 6, 3 } or { 6, 3, 3 }
        local x, lengths = lurn.randn(shape), { 2, 5, 4 }
        local packed = rnn.pack_padded_sequence(x, lengths, { batch_first = batch_first, enforce_sorted = false })
        local y, state = layer(packed)
        local want, last = layer(x, nil, { lengths = lengths })
        local padded, sizes = rnn.pad_packed_sequence(y, { batch_first = batch_first })
        assert.is_true(padded:equal(want:narrow(batch_first and 2 or 1, 1, 5)))
        assert.is_true(state.h:equal(last.h))
        assert.same(lengths, sizes:totable())
        -- and on, with a state
        local again = layer(packed, state)
        local rest = layer(x, state, { lengths = lengths })
        assert.is_true(rnn.pad_packed_sequence(again, { batch_first = batch_first, total_length = 6 }):equal(rest))
        padded:sum():backward()
        assert.is_true(layer.weight_ih_l0.grad:isfinite():all():item())
      end
    end)
  end

  it("are made of lists, and padded with any value", function()
    local list = { lurn.tensor { 1, 2 }, lurn.tensor { 3, 4, 5 }, lurn.tensor {} }
    local packed = rnn.pack_sequence(list)
    assert.equal("PackedSequence((3, 3), lengths {2, 3, 0})", tostring(packed))
    assert.is_true(rnn.is_packed(packed))
    assert.is_false(rnn.is_packed(list))
    local padded, lengths = rnn.pad_packed_sequence(packed,
      { batch_first = true, padding_value = -1, total_length = 4 })
    assert.same({ { 1, 2, -1, -1 }, { 3, 4, 5, -1 }, { -1, -1, -1, -1 } }, padded:totable())
    assert.same({ 2, 3, 0 }, lengths:totable())
    assert.same({ { 1 }, { 3 } }, rnn.packed(lurn.tensor { { 1, 3 } }, lengths).padded:t():totable())
  end)

  it("are checked", function()
    local x = lurn.randn(6, 2, 3)
    local packed = rnn.pack_padded_sequence(x, { 4, 6 })
    fails("pack_padded_sequence: lengths[1] is 7, expected 0..6", rnn.pack_padded_sequence, x, { 7, 6 })
    fails("pack_padded_sequence: lengths is nil; expected an int64 tensor or a list", rnn.pack_padded_sequence, x)
    fails("pack_padded_sequence: padded has shape (3); expected (T, N, ...)", rnn.pack_padded_sequence, lurn.zeros(3),
      { 1 })
    fails("pad_packed_sequence: packed is a tensor; expected a PackedSequence", rnn.pad_packed_sequence, x)
    fails("pad_packed_sequence: total_length is 5; a sequence has 6", rnn.pad_packed_sequence, packed,
      { total_length = 5 })
    fails("pack_sequence: the sequences are an empty list; expected a list of tensors", rnn.pack_sequence, {})
    local layer = nn.GRU(3, 4)
    fails("GRU: a packed sequence has its lengths already", layer, packed, nil, { lengths = { 1, 2 } })
    fails("GRU: input has 3 features; expected 5", nn.GRU(5, 4), packed)
    fails("GRU: input is a table; expected a tensor", layer, {})
  end)
end)
