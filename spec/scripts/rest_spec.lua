-- Small public functions that no other spec calls by name.

local lurn = require "lurn"
local train = require "lurn.train"
local nn = lurn.nn

describe("rand_like", function()
  it("has the shape and dtype of its tensor, or the dtype asked for", function()
    local x = lurn.rand_like(lurn.zeros(3, 50, { dtype = "float64" }))
    assert.equal("float64", x.dtype)
    assert.same({ 3, 50 }, { x.shape[1], x.shape[2] })
    assert.is_true(x:min():item() >= 0 and x:max():item() < 1 and x:max():item() > x:min():item())
    assert.equal("float32", lurn.rand_like(x, { dtype = "float32" }).dtype)
  end)
end)

describe("reset_parameters", function()
  it("draws the weights anew, as a new layer with that seed has them", function()
    for _, make in ipairs {
      function() return nn.Linear(3, 4) end,
      function() return nn.Embedding(5, 3) end,
      function() return nn.LSTM(3, 4) end,
      function() return nn.LSTMCell(3, 4) end,
      function() return nn.LayerNorm(4) end,
    } do
      lurn.manual_seed(3)
      local fresh, layer = make(), make()
      lurn.no_grad(function()
        for _, p in ipairs(layer:parameters()) do p:fill_(9) end
      end)
      lurn.manual_seed(3)
      layer:reset_parameters()
      local expected = fresh:state_dict()
      for name, t in pairs(layer:state_dict()) do assert.equal(expected[name]:tobytes(), t:tobytes(), name) end
    end
  end)
end)

describe("CosineAnnealingLR", function()
  it("goes from the rate to the least along half a cosine", function()
    local opt = lurn.optim.SGD({ lurn.ones(1, { requires_grad = true }) }, { lr = 1 })
    local scheduler = lurn.optim.lr_scheduler.CosineAnnealingLR(opt, 10, { eta_min = 0.2 })
    for epoch = 1, 10 do
      scheduler:step()
      assert.near(0.2 + 0.8 * (1 + math.cos(math.pi * epoch / 10)) / 2, opt.lr, 1e-12)
    end
  end)
end)

describe("Vocab:add_unknown", function()
  it("makes room for one token, once", function()
    local vocab = assert(lurn.data.text { text = "abcab", split = { 1 } }).vocab
    assert.equal(3, vocab.size)
    assert.is_nil(vocab:encode "abx")
    vocab:add_unknown()
    vocab:add_unknown()
    assert.equal(4, vocab.size)
    assert.equal(vocab.unk, vocab:encode("abx"):get(3))
  end)
end)

describe("lurn.train", function()
  it("knows the error of Ctrl-C, is_interrupt, and of lack of memory, is_out_of_memory", function()
    assert.is_true(train.is_interrupt "x.lua:3: interrupted!")
    assert.is_false(train.is_interrupt {})
    local _, message = pcall(lurn.zeros, 1 << 31, 1 << 31)
    assert.is_true(train.is_out_of_memory(message))
    assert.is_true(train.is_out_of_memory "not enough memory")
    assert.is_false(train.is_out_of_memory "matmul: inner sizes differ")
    assert.is_false(train.is_out_of_memory(nil))
  end)

  it("progress wants a line at every so many steps off a terminal", function()
    local progress = train.progress { every = 5, terminal = false }
    assert.is_true(progress:wants(10))
    assert.is_false(progress:wants(11))
    assert.is_false(train.progress({ every = 0, terminal = false }):wants(10))
  end)
end)
