--- The cases of all ops by name, and what each gives on inputs large enough for threads and whole vectors.

local lurn = require "lurn"
local elementwise = require "engine.ops.elementwise"

local all = { cases = {}, elementwise = elementwise }

for _, part in ipairs { "structure", "reduce", "products", "losses", "losses2", "recurrent", "more",
  "indexing", "matrices" } do
  for name, case in pairs(require("engine.ops." .. part)) do all.cases[name] = case end
end

-- Away from what the function does not take and from where it jumps.
local function positive(random) return random(300, 201):abs() + 0.125 end

for name, case in pairs(elementwise.unary) do
  case.large = case.large or function(random) return { case.takes and positive(random) or random(300, 201) } end
  all.cases[name] = case
end
for name, case in pairs(elementwise.binary) do
  case.rest = case.rest or { 2 }
  case.large = function(random) return { positive(random), positive(random)[1] } end
  all.cases[name] = case
end

local function with_gradients(args)
  local leaves = {}
  for i, value in ipairs(args) do
    if lurn.is_tensor(value) and value.dtype:find "^float" then
      args[i] = value:detach():clone():requires_grad_()
      leaves[#leaves + 1] = args[i]
    end
  end
  return leaves
end

--- The results of an op, and where it is differentiable the gradients of its inputs, as a list of tensors.
function all.results(op, dtype)
  lurn.manual_seed(7)
  local args = all.cases[op.name].large(function(...) return lurn.randn({ ... }, { dtype = dtype }) end)
  local leaves = op.differentiable and with_gradients(args) or {}
  local list = { lurn[op.name](table.unpack(args)) }
  if list[1].requires_grad then
    (list[1] * lurn.linspace(-1, 1, list[1]:numel(), { dtype = list[1].dtype }):view(list[1].shape)):sum():backward()
  end
  for _, leaf in ipairs(leaves) do list[#list + 1] = leaf.grad end
  for i, t in ipairs(list) do list[i] = t:detach() end
  return list
end

return all
