-- Losses as modules.

local lurn = require "lurn"
local helper = require "scripts.nn.helper"
local nn, F = lurn.nn, lurn.nn.functional
local fails, distance = helper.fails, helper.distance

local x, y = lurn.randn(3, 4), lurn.rand(3, 4)
local ids = lurn.tensor({ 1, 4, 2 }, { dtype = "int64" })
local weight = lurn.rand(4) + 0.1

-- class, op, options, inputs
local cases = {
  { "CrossEntropyLoss", "cross_entropy", { weight = weight, label_smoothing = 0.2, ignore_index = 2 }, { x, ids } },
  { "NLLLoss", "nll_loss", { weight = weight, ignore_index = 2, reduction = "none" }, { F.log_softmax(x, 2), ids } },
  { "MSELoss", "mse_loss", { reduction = "sum" }, { x, y } },
  { "L1Loss", "l1_loss", { reduction = "none" }, { x, y } },
  { "SmoothL1Loss", "smooth_l1_loss", { beta = 0.3 }, { x, y } },
  { "BCEWithLogitsLoss", "binary_cross_entropy_with_logits", { weight = weight, pos_weight = weight * 2 }, { x, y } },
  { "CTCLoss", "ctc_loss", { blank = 4, reduction = "sum", zero_infinity = true },
    { F.log_softmax(lurn.randn(5, 2, 4), -1), lurn.tensor({ { 1, 2 }, { 3, 3 } }, { dtype = "int64" }),
      lurn.tensor({ 5, 2 }, { dtype = "int64" }), lurn.tensor({ 2, 2 }, { dtype = "int64" }) } },
}

for _, case in ipairs(cases) do
  local class, op, options, inputs = table.unpack(case)
  describe("nn." .. class, function()
    local function by_function(given)
      local arguments = { table.unpack(inputs) }
      arguments[#arguments + 1] = given
      return F[op](table.unpack(arguments))
    end

    it("is nn.functional." .. op, function()
      assert.equal(0, distance(nn[class](options)(table.unpack(inputs)), by_function(options)))
      if class ~= "CTCLoss" then assert.equal(0, distance(nn[class]()(table.unpack(inputs)), by_function {})) end
    end)

    it("checks its options and inputs", function()
      fails(('nn.%s: there is no option "size_average"'):format(class), nn[class], { size_average = true })
      fails(('nn.%s: reduction is "max"; expected one of "none", "mean", "sum"'):format(class), nn[class],
        { reduction = "max" })
      fails(class, nn[class](), inputs[1])
    end)
  end)
end

it("losses are printed, converted and saved like other modules", function()
  local loss = nn.CrossEntropyLoss { weight = weight, reduction = "sum", label_smoothing = 0.1 }
  assert.equal("CrossEntropyLoss(label_smoothing=0.1, reduction=sum)", tostring(loss))
  assert.equal("MSELoss()", tostring(nn.MSELoss()))
  assert.same({ "weight" }, loss:state_names())
  assert.same({}, loss:parameters())
  loss:to "float64"
  assert.equal("float64", loss.weight.dtype)
  assert.truthy(loss(x:to "float64", ids))
  fails("nn.CrossEntropyLoss: weight is 3; expected a tensor", nn.CrossEntropyLoss, { weight = 3 })
end)
