-- nn.Conv1d. PyTorch's numbers are checked in reference_spec.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn = lurn.nn
local fails, distance = helper.fails, helper.distance

-- Term by term.
local function naive(m, x, before)
  local batch, length = x.shape[1], x.shape[3]
  local inner, outer = m.in_channels // m.groups, m.out_channels // m.groups
  local steps = (length + 2 * before - m.dilation * (m.kernel_size - 1) - 1) // m.stride + 1
  local y = lurn.zeros(batch, m.out_channels, steps, { dtype = x.dtype })
  for n = 1, batch do
    for o = 1, m.out_channels do
      for t = 1, steps do
        local sum = m.bias and m.bias:get(o) or 0
        for c = 1, inner do
          for k = 1, m.kernel_size do
            local at = (t - 1) * m.stride + (k - 1) * m.dilation + 1 - before
            if at >= 1 and at <= length then
              sum = sum + m.weight:get(o, c, k) * x:get(n, (o - 1) // outer * inner + c, at)
            end
          end
        end
        y:set(sum, n, o, t)
      end
    end
  end
  return y
end

describe("nn.Conv1d", function()
  it("is its formula", function()
    lurn.manual_seed(51)
    for _, o in ipairs { {}, { stride = 3 }, { padding = 2, dilation = 2 }, { groups = 2, bias = false },
      { stride = 2, padding = 3, dilation = 3, groups = 4 } } do
      local m, x = nn.Conv1d(4, 8, 3, o):to "float64", lurn.randn(2, 4, 11):to "float64"
      assert.is_true(distance(m(x), naive(m, x, o.padding or 0)) < 1e-12)
    end
  end)

  it("keeps the length with padding same", function()
    for kernel = 1, 4 do
      assert.same({ 2, 3, 7 }, { table.unpack(nn.Conv1d(4, 3, kernel, { padding = "same", dilation = 2 })(
        lurn.randn(2, 4, 7)).shape) })
    end
    assert.same({ 2, 3, 5 }, { table.unpack(nn.Conv1d(4, 3, 3, { padding = "valid" })(lurn.randn(2, 4, 7)).shape) })
  end)

  it("has the gradient that differences have", function()
    local m = nn.Conv1d(2, 4, 2, { stride = 2, padding = 1, groups = 2 }):to "float64"
    local leaves = m:parameters()
    table.insert(leaves, 1, helper.leaf(lurn.randn(2, 2, 5):to "float64"))
    assert(lurn.gradcheck(function(x) return (m(x) * 2):sin():sum() end, leaves))
  end)

  it("has PyTorch's parameters", function()
    local m = nn.Conv1d(6, 8, 5, { groups = 2 })
    assert.same({ 8, 3, 5 }, { table.unpack(m.weight.shape) })
    local largest = m.weight:detach():abs():max():item()
    assert.is_true(largest <= 1 / math.sqrt(15) and largest > 0.2)
    assert.equal("Conv1d(6, 8, kernel_size=5, groups=2)", tostring(m))
    assert.equal("Conv1d(6, 8, kernel_size=5, padding=same, bias=false)",
      tostring(nn.Conv1d(6, 8, 5, { padding = "same", bias = false })))
    assert.equal("Conv1d(6, 8, kernel_size=5, padding=2)", tostring(nn.Conv1d(6, 8, 5, { padding = 2.0 })))
  end)

  it("checks what it gets", function()
    fails("nn.Conv1d: kernel_size is nil; expected a positive integer", nn.Conv1d, 1, 1)
    fails("nn.Conv1d: 2 groups do not divide 3 and 4 channels", nn.Conv1d, 3, 4, 1, { groups = 2 })
    fails('nn.Conv1d: padding is "full"; expected an integer of at least 0, "same" or "valid"', nn.Conv1d, 1, 1, 1,
      { padding = "full" })
    fails('nn.Conv1d: padding = "same" needs stride = 1', nn.Conv1d, 1, 1, 1, { padding = "same", stride = 2 })
    local m = nn.Conv1d(4, 2, 3)
    fails("Conv1d: input has shape (2, 5, 7); expected (N, 4, T)", m, lurn.zeros(2, 5, 7))
    fails("Conv1d: input has 2 steps with padding; the kernel spans 3", m, lurn.zeros(2, 4, 2))
    fails("Conv1d: input is float64; expected float32 like the weights", m, lurn.zeros(2, 4, 5):to "float64")
  end)
end)
