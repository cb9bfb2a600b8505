-- einsum, indexing, functions and promotion against PyTorch's recorded numbers: values, gradients and dtypes.

local lurn = require "lurn"
local F = lurn.nn.functional

local tensors, metadata = assert(lurn.load "spec/reference/indexing.safetensors")

local function ones_from_zeros(t) return t + 1 end

local run = {}
function run.einsum(x, equation) return lurn.einsum(equation, { x.a, x.b, x.c }) end
function run.index(x) return x.x[x.ids] end
function run.index_dim(x) return x.x[{ {}, x.ids }] end
function run.index_pair(x) return x.x[{ x.ids, x.other }] end
function run.index_apart(x) return x.x[{ x.ids, {}, (x.other - 1) % 2 + 1 }] end
function run.index_mask(x) return x.x[x.mask] end
function run.index_rows(x) return x.x[{ x.mask, { 2, 3 } }] end
local function written(x, index, value)
  local y = x:clone()
  y[index] = value
  return y
end
function run.put(x) return written(x.x, (x.ids - 1) % 3 + 1, x.value) end
function run.put_mask(x) return written(x.x, x.mask, x.value) end
run.put_rows = run.put_mask
function run.masked_select(x) return x.x:masked_select(x.mask) end
function run.index_add(x) return x.x:index_add(1, x.ids, x.value, -2) end
function run.index_copy(x) return x.x:index_copy(2, x.ids, x.value) end
function run.index_fill(x) return x.x:index_fill(2, x.ids, 0.5) end
function run.scatter(x) return x.x:scatter(1, x.ids, x.value) end
function run.scatter_add(x) return x.x:scatter_add(2, x.ids, x.value) end
function run.repeat_interleave(x) return x.x:repeat_interleave(x.ids - 1, 1) end
function run.masked_scatter(x) return x.x:masked_scatter(x.mask, x.value) end
function run.clamp(x) return x.input:clamp(x.low, x.high) end
function run.var_mean(x)
  local var, mean = x.input:var_mean(2)
  return var + mean
end
function run.std_mean(x)
  local std, mean = x.input:std_mean(2)
  return std + mean
end
function run.lerp(x) return x.input:lerp(x.other, 0.3) end
function run.atan2(x) return x.input:atan2(x.other) end
function run.cosine_similarity(x) return F.cosine_similarity(x.input, x.other, { dim = 2 }) end
function run.tril(x) return x.input:tril(-1) end
function run.triu(x) return x.input:triu(1) end
function run.diagonal(x) return x.input:diagonal(1, 1, 3) end
function run.diff(x) return x.input:diff(2, 2) end
function run.median(x) return (x.input:median(3)) end
function run.roll(x) return x.input:roll({ 1, -1 }, { 1, 3 }) end
function run.pad(x) return F.pad(x.input, { 1, 0, 2, 1 }, { value = 0.5 }) end

-- Ids count from 1 here and masks are bools.
local function inputs_of(case)
  local x = {}
  for name, t in pairs(tensors) do
    local short = name:match("^" .. case .. "%.([%w_]+)$")
    if short == "mask" then
      x[short] = t:to "bool"
    elseif short and t.dtype == "int64" then
      x[short] = ones_from_zeros(t)
    elseif short then
      x[short] = t:clone():requires_grad_(tensors[case .. ".grad." .. short] ~= nil)
    end
  end
  return x
end

-- float32 on both sides: a few roundings each.
local function check(t, name)
  local want = tensors[name]
  assert.same(want.shape, t.shape, name)
  if want:numel() == 0 then return end
  local bound = 2e-6 * math.max(1, want:abs():max():item())
  local distance = (t:detach() - want):abs():max():item()
  assert.truthy(distance <= bound, ("%s differs by %g"):format(name, distance))
end

describe("PyTorch's recorded numbers are met by", function()
  for case in metadata.cases:gmatch "%S+" do
    it(case, function()
      local op = metadata[case]:match '"op": "([%w_]+)"'
      local f = run[op] or function(x) return lurn[op](x.input) end
      local x = inputs_of(case)
      local y = f(x, metadata[case]:match '"equation": "([^"]*)"')
      check(y, case .. ".y")
      y:backward(x.gy)
      for name in pairs(tensors) do
        local leaf = name:match("^" .. case .. "%.grad%.([%w_]+)$")
        if leaf then check(x[leaf].grad or lurn.zeros_like(x[leaf]), name) end
      end
    end)
  end
end)

describe("the dtype of two operands is PyTorch's for", function()
  local order = { "bool", "uint8", "int32", "int64", "float32", "float64" }
  local forms = { { { 2 }, { 2 } }, { { 2 }, {} }, { {}, { 2 } } }

  local function result(op, a, b)
    local ok, y
    if op == "where" then
      ok, y = pcall(lurn.where, lurn.ones(2):gt(0), a, b)
    else
      ok, y = pcall(lurn[op], a, b)
    end
    return ok and y.dtype or "error"
  end

  local function name_of(number) return number < 0 and "error" or order[number + 1] end

  for _, op in ipairs { "add", "sub", "mul", "div", "pow", "remainder", "floor_divide", "maximum", "minimum", "atan2",
    "eq", "where" } do
    it(op, function()
      local wanted, beside = tensors["promotion." .. op], tensors["promotion." .. op .. ".number"]
      for f, form in ipairs(forms) do
        for i, a in ipairs(order) do
          for k, b in ipairs(order) do
            local have = result(op, lurn.ones(form[1], { dtype = a }), lurn.ones(form[2], { dtype = b }))
            assert.equal(name_of(wanted:get(f, i, k)), have,
              ("%s of %s and %s, form %d"):format(op, a, b, f))
          end
        end
      end
      for n, number in ipairs(beside and { 1, 1.5 } or {}) do
        for i, a in ipairs(order) do
          local have = result(op, lurn.ones({ 2 }, { dtype = a }), number)
          assert.equal(name_of(beside:get(n, i)), have, ("%s of %s and %s"):format(op, a, number))
        end
      end
    end)
  end
end)
