-- Every op of the registry: documented, its values against naive ones in every dtype, its errors word for word, its
-- gradient against differences, its in-place variant, and the same results on every instruction set and number of
-- threads.  An op without a case in spec/engine/ops fails here.

local lurn = require "lurn"
local naive = require "engine.ops.naive"
local all = require "engine.ops.all"

local program = os.getenv "LURN" or "build/bin/lurn"
local ops = lurn.op_list()

local dtypes = {
  all = { "float32", "float64", "int64", "int32", "uint8", "bool" },
  numbers = { "float32", "float64", "int64", "int32", "uint8" },
  floats = { "float32", "float64" },
}

-- A few units in the last place for functions of a few roundings each; sums here are short.
local function tolerance(dtype, case)
  if dtype == "float32" then return case and case.rtol or 1e-6, 1e-6 end
  return 1e-13, 1e-13
end

-- Differences (f(x + eps) - f(x - eps)) / 2 eps are good to about eps^2 f''' + 1e-16 / eps: 1e-10 here.
local near = { eps = 1e-6, rtol = 1e-6, atol = 1e-7 }

local function maker(dtype)
  return function(values) return lurn.tensor(values, { dtype = dtype }) end
end

-- ---- Messages ----

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok, "no error came")
  local line, text = message:match "^%S-ops_spec%.lua:(%d+): (.*)$"
  assert.truthy(line, "the message does not point to this file: " .. tostring(message))
  return text
end

-- All of a list that may have holes.
local function spread(list)
  local n = 0
  for k in pairs(list) do n = math.max(n, k) end
  return table.unpack(list, 1, n)
end

local function check_message(f, args, expected)
  local text = message_of(function() local r = f(spread(args)) return r end)
  if type(expected) == "string" then
    assert.equal(expected, text)
  else
    assert.truthy(expected(text), text)
  end
end

local function check_close(t, want, dtype, case)
  local text = naive.difference(t, want, tolerance(dtype, case))
  assert.is_nil(text, text)
end

-- ---- The list ----

describe("the registry of ops", function()
  it("has a case for every op, and no case for another", function()
    local known = {}
    for _, op in ipairs(ops) do
      known[op.name] = true
      assert.truthy(all.cases[op.name], op.name .. " has no case in spec/engine/ops")
    end
    for name in pairs(all.cases) do assert.truthy(known[name], name .. " is no op") end
  end)

  it("describes every op by its formula in one line", function()
    for _, op in ipairs(ops) do
      local first = op.doc:match "^[^\n]+"
      assert.truthy(first and #first > 4, op.name .. " has no doc")
      assert.truthy(op.doc:match "[%.\"]$", op.name .. ": the doc does not end in a full stop")
      for _, param in ipairs(op.params) do assert.truthy(param.name and param.kind, op.name) end
    end
  end)

  it("asks every op for values, errors and gradients", function()
    for _, op in ipairs(ops) do
      local case = all.cases[op.name]
      local generated = case.of ~= nil -- elementwise: the generic checks below make them
      assert.truthy(generated or #case.samples > 0, op.name .. " has no samples")
      assert.truthy(generated or #case.errors > 0, op.name .. " has no error case")
      assert.truthy(generated or not op.differentiable or #case.grads > 0, op.name .. " has no gradient check")
      assert.truthy(case.large, op.name .. " has no large inputs")
      assert.truthy(not op.inplace or case.rest or case.of, op.name .. " has no arguments for its in-place variant")
    end
  end)

  it("makes each a function and a method, in place where it says so", function()
    for _, op in ipairs(ops) do
      assert.is_function(lurn[op.name])
      assert.is_function(lurn.methods[op.name])
      assert.equal(op.inplace, lurn.methods[op.name .. "_"] ~= nil, op.name)
    end
  end)
end)

-- ---- Values, errors and gradients from the cases ----

local function check_sample(op, sample, dtype)
  local returned = table.pack(sample[2](maker(dtype)))
  local args, results = returned[1], table.pack(lurn[op.name](spread(returned[1])))
  local expected_dtype = type(sample[3]) == "table" and sample[3][dtype] or sample[3]
  if type(expected_dtype) ~= "string" then expected_dtype = dtype end
  assert.equal(expected_dtype, results[1].dtype)
  for i = 2, returned.n do
    if returned[i] then check_close(results[i - 1], returned[i], dtype) end
  end
  local x = args[1]
  if not op.inplace or expected_dtype ~= dtype or tostring(x.shape) ~= tostring(results[1].shape) then return end
  local copy = x:clone()
  args[1] = copy
  assert.equal(copy, copy[op.name .. "_"](spread(args)))
  assert.equal(results[1]:tobytes(), copy:tobytes())
end

local function gradcheck(f, inputs, options)
  local leaves = {}
  for i, x in ipairs(inputs) do leaves[i] = x:detach():clone():requires_grad_() end
  local weights
  assert(lurn.gradcheck(function(...)
    local y = f(...)
    weights = weights or lurn.linspace(-1, 2, y:numel(), { dtype = y.dtype }):view(y.shape)
    return (y * weights):sum()
  end, leaves, options or near))
end

for _, op in ipairs(ops) do
  local case = all.cases[op.name]
  if case and case.samples then
    describe(op.name, function()
      for i, sample in ipairs(case.samples) do
        it(("gives what the naive code does, sample %d"):format(i), function()
          for _, dtype in ipairs(dtypes[sample[1]]) do check_sample(op, sample, dtype) end
        end)
      end
      for i, e in ipairs(case.errors) do
        it(("refuses wrong arguments, case %d"):format(i), function() check_message(lurn[op.name], e[1], e[2]) end)
      end
      for i, g in ipairs(op.differentiable and case.grads or {}) do
        it(("has the gradient that differences have, case %d"):format(i), function()
          gradcheck(g[1], { table.unpack(g, 2) }, case.grad_options)
        end)
      end
    end)
  end
end

-- ---- Elementwise ----

local pool = {
  float32 = { -2.5, -1.25, -1, -0.5, -0.125, 0, 0.125, 0.5, 0.75, 1, 1.5, 2, 3.25, 4 },
  int64 = { -5, -3, -2, -1, 0, 1, 2, 3, 4, 7 },
  uint8 = { 0, 1, 2, 3, 4, 5, 9 },
  bool = { false, true },
}
pool.float64, pool.int32 = pool.float32, pool.int64

local function suitable(values, takes)
  local list = {}
  for _, v in ipairs(values) do
    if takes == nil or takes(type(v) == "boolean" and (v and 1 or 0) or v) then list[#list + 1] = v end
  end
  return list
end

-- A tensor of the shape with values taken in turn, in one of several layouts.
local layouts = {
  function(values, shape, dtype)
    local k = 0
    local nested = naive.build(shape, function()
      k = k + 1
      return values[(k * 5 + k // #values) % #values + 1]
    end)
    if shape[1] == 0 or shape[2] == 0 then return lurn.zeros(shape, { dtype = dtype }) end
    return lurn.tensor(nested, { dtype = dtype })
  end,
}
layouts[2] = function(values, shape, dtype) -- transposed
  if #shape < 2 then return layouts[1](values, shape, dtype) end
  return layouts[1](values, { shape[2], shape[1] }, dtype):t()
end
layouts[3] = function(values, shape, dtype) -- every second element of a wider one
  if #shape < 2 then return layouts[1](values, shape, dtype) end
  return layouts[1](values, { shape[1], shape[2] + 3, 2 }, dtype):narrow(2, 3, shape[2]):select(3, 2)
end

local function result_dtype(case, dtype)
  if case.result then return case.result end
  if dtype == "bool" then
    return (case.bools == "or" or case.bools == "and" or case.bools == "same") and "bool" or case.bools
  end
  if dtype:find "^float" or case.integers == "same" then return dtype end
  return case.integers
end

-- The naive function as it is for the dtype: bools, and integers that wrap.
local function naive_of(case, dtype)
  return function(x, y)
    if dtype == "bool" and case.bools == "or" then return x or y end
    if dtype == "bool" and case.bools == "and" then return x and y end
    if dtype == "bool" and case.bools == "same" then return x end
    if dtype == "bool" then x, y = x and 1 or 0, y and 1 or 0 end
    local value = case.of(x, y)
    if math.type(value) == "float" and result_dtype(case, dtype):find "int" then value = math.tointeger(value) end
    return math.type(value) == "integer" and naive.wrap(value, dtype) or value
  end
end

local function check_values(name, case, dtype, ...)
  local y = lurn[name](...)
  assert.equal(result_dtype(case, dtype), y.dtype)
  check_close(y, naive.map(naive_of(case, dtype), ...), y.dtype, case)
  return y
end

local function check_in_place(op, x, y, ...)
  if not op.inplace or y.dtype ~= x.dtype or tostring(x.shape) ~= tostring(y.shape) then return end
  local wide = lurn.zeros({ 2, table.unpack(x.shape) }, { dtype = x.dtype })
  for _, copy in ipairs { x:clone(), wide[2] } do
    copy:copy_(x)
    assert.equal(copy, copy[op.name .. "_"](copy, ...))
    assert.equal(y:tobytes(), copy:tobytes())
  end
  assert.equal(0, lurn.ne(wide[1], 0):sum():item())
end

local function describe_unary(op, case)
  describe(op.name, function()
    for _, dtype in ipairs(dtypes.all) do
      local values = suitable(pool[dtype], case.takes)
      local function defined() return dtype ~= "bool" or case.bools end
      it("gives what the naive code does in " .. dtype, function()
        if not defined() then
          local x = lurn.ones(2, { dtype = dtype })
          check_message(lurn[op.name], { x }, op.name .. ": not defined for bool")
          return
        end
        for _, layout in ipairs(layouts) do
          for _, shape in ipairs { {}, { 0, 3 }, { 5 }, { 4, 7 }, { 3, 301 } } do
            local x = layout(values, shape, dtype)
            check_in_place(op, x, check_values(op.name, case, dtype, x))
          end
        end
        check_values(op.name, case, dtype, layouts[1](values, { 1, 3 }, dtype):expand(4, 3))
      end)
    end

    it("refuses what is no tensor, and more arguments than it has", function()
      local what = op.params[1].name
      check_message(lurn[op.name], { "1" }, ("%s: %s: expected a tensor, got a string"):format(op.name, what))
      check_message(lurn[op.name], {}, ("%s: %s is missing; call x:%s(...), with a colon, or lurn.%s(x, ...)"):format(
        op.name, what, op.name, op.name))
      if #op.params > 2 then return end -- one input and one result: no options
      check_message(lurn[op.name], { lurn.ones(1), 2 }, op.name .. ": too many arguments: 2 given, 1 used")
    end)

    if op.differentiable then
      it("has the gradient that differences have", function()
        local values = suitable(suitable(pool.float64, case.takes), case.smooth)
        local f = lurn[op.name]
        gradcheck(f, { layouts[1](values, { 3, 5 }, "float64") })
        gradcheck(function(x) return f(x:t()) * 2 end, { layouts[1](values, { 3, 5 }, "float64") })
        gradcheck(f, { layouts[1](values, {}, "float64") })
        gradcheck(f, { lurn.zeros(0, 2, { dtype = "float64" }) })
      end)
    end
  end)
end

-- Shapes that broadcast, as pairs.
local pairs_of_shapes = {
  { {}, {} }, { { 3, 4 }, { 3, 4 } }, { { 3, 4 }, { 4 } }, { { 4 }, { 3, 4 } }, { { 3, 1 }, { 1, 4 } },
    { { 3, 4 }, {} },
  { { 0, 4 }, { 4 } }, { { 2, 301 }, { 2, 301 } }, { { 2, 301 }, { 2, 1 } }, { { 1 }, { 5 } },
}

-- y's values that fit all of x's for functions that are not defined everywhere.
local function operands(case, dtype, smooth)
  local xs, ys = {}, {}
  for _, x in ipairs(pool[dtype]) do
    for _, y in ipairs(pool[dtype]) do
      local a, b = x, y
      if dtype == "bool" then a, b = x and 1 or 0, y and 1 or 0 end
      if (not case.takes or case.takes(a, b)) and (not smooth or smooth(a, b)) then xs[#xs + 1], ys[#ys + 1] = x, y end
    end
  end
  return xs, ys
end

local function describe_binary(op, case)
  local f = lurn[op.name]

  local function check_dtype(dtype)
    local xs, ys = operands(case, dtype)
    for _, layout in ipairs(layouts) do
      for _, shapes in ipairs(pairs_of_shapes) do
        -- one of the pool's pairs at every place where both have the shape; otherwise values that go with all
        local same = tostring(table.concat(shapes[1], ",")) == table.concat(shapes[2], ",")
        local some = same and { xs, ys } or { suitable(pool[dtype], function(v) return v > 0 end) }
        local x = layout(some[1], shapes[1], dtype)
        local y = layout(some[2] or some[1], shapes[2], dtype)
        check_in_place(op, x, check_values(op.name, case, dtype, x, y), y)
        if not case.tensors_only and dtype ~= "bool" then
          check_in_place(op, x, check_values(op.name, case, dtype, x, 2), 2)
          check_values(op.name, case, dtype, 2, layout({ 1, 2, 3 }, shapes[1], dtype))
        end
      end
    end
  end

  describe(op.name, function()
    for _, dtype in ipairs(dtypes.all) do
      it("gives what the naive code does in " .. dtype, function()
        if dtype == "bool" and case.bools == false then
          local x = lurn.ones(2, { dtype = dtype })
          check_message(f, { x, x }, op.name .. ": not defined for bool" .. (case.bools_hint or ""))
        elseif dtype ~= "bool" or case.bools then
          check_dtype(dtype)
        end
      end)
    end

    it("refuses shapes that do not broadcast, and what is no operand", function()
      check_message(f, { lurn.ones(2, 3), lurn.ones(4) }, op.name .. ": shapes (2, 3) and (4) do not broadcast")
      check_message(f, { lurn.ones(2), lurn.ones(3) }, op.name .. ": shapes (2) and (3) do not broadcast")
      local expected = case.tensors_only and "a tensor" or "a tensor or a number"
      check_message(f, { lurn.ones(2), "3" }, ("%s: b: expected %s, got a string"):format(op.name, expected))
      check_message(f, { lurn.ones(2) }, op.name .. ": b is missing")
    end)

    if op.differentiable then
      it("has the gradient that differences have", function()
        local xs, ys = operands(case, "float64", case.smooth)
        gradcheck(f, { layouts[1](xs, { 7, 7 }, "float64"), layouts[1](ys, { 7, 7 }, "float64") })
        gradcheck(function(x, y) return f(x:t(), y:t()) * 2 end,
          { layouts[1](xs, { 7, 5 }, "float64"), layouts[1](ys, { 7, 5 }, "float64") })
        lurn.manual_seed(2)
        local a, b = lurn.rand({ 3, 1 }, { dtype = "float64" }) + 2.1, lurn.rand({ 4 }, { dtype = "float64" }) + 0.3
        if op.name == "remainder" or op.name == "floor_divide" then
          a, b = lurn.tensor({ { 2.3 }, { 5.1 }, { 4.7 } }, { dtype = "float64" }),
            lurn.tensor({ 1.1, 0.7, 3.1, -1.3 }, { dtype = "float64" })
        end
        gradcheck(f, { a, b })
        gradcheck(f, { b, a })
        gradcheck(f, { a, b[1] })
        gradcheck(function(x) return f(x, 2) end, { a - 1e-3 })
        gradcheck(function(x) return f(2, x) end, { a - 1e-3 })
        gradcheck(f, { lurn.zeros(0, 4, { dtype = "float64" }), b })
      end)
    end
  end)
end

for _, op in ipairs(ops) do
  if all.elementwise.unary[op.name] then describe_unary(op, all.elementwise.unary[op.name]) end
  if all.elementwise.binary[op.name] then describe_binary(op, all.elementwise.binary[op.name]) end
end

describe("elementwise functions at the ends of their range", function()
  local inf, nan = math.huge, naive.nan

  local function check(name, x, want)
    for _, dtype in ipairs(dtypes.floats) do
      check_close(lurn[name](lurn.tensor(x, { dtype = dtype })), want, dtype)
    end
  end

  it("keep NaN, but for sign", function()
    for name, case in pairs(all.elementwise.unary) do
      if not case.result then check(name, { nan, 1 }, { name == "sign" and 0 or nan, case.of(1.0) }) end
    end
  end)

  it("reach their limits without overflow", function()
    check("exp", { -inf, inf, 1000, -1000 }, { 0, inf, inf, 0 })
    check("log", { 0, -1, inf }, { -inf, nan, inf })
    check("log1p", { -1, -2, 0 }, { -inf, nan, 0 })
    check("tanh", { -inf, inf, 100, -100 }, { -1, 1, 1, -1 })
    check("sigmoid", { -inf, inf, 200, -1000 }, { 0, 1, 1, 0 })
    check("softplus", { -inf, inf, 100, 1000 }, { 0, inf, 100, 1000 })
    check("silu", { inf, 100, -1000 }, { inf, 100, 0 })
    check("gelu", { inf, 100, -100 }, { inf, 100, 0 })
    check("sqrt", { -1, 0, inf }, { nan, 0, inf })
    check("rsqrt", { 0, inf }, { inf, 0 })
    check("reciprocal", { 0, inf }, { inf, 0 })
    check("round", { 0.5, 1.5, 2.5, -0.5, inf }, { 0, 2, 2, 0, inf })
    check("isnan", { nan, inf, 0 }, { true, false, false })
    check("isfinite", { nan, inf, -inf, 0 }, { false, false, false, true })
  end)

  it("take options", function()
    for _, dtype in ipairs(dtypes.floats) do
      local x = lurn.tensor({ -inf, -1000, -2, 0, 3, 1000, inf, nan }, { dtype = dtype })
      check_close(x:softplus(2), { 0, 0, math.log(1 + math.exp(-4)) / 2, math.log(2) / 2,
        math.log(1 + math.exp(6)) / 2, 1000, inf, nan }, dtype)
      check_close(x:softplus { threshold = 2 }, { 0, 0, math.log(1 + math.exp(-2)), math.log(2), 3, 1000, inf, nan },
        dtype)
      local function tanh(v) return 1 - 2 / (math.exp(2 * v) + 1) end
      local function of(v) return v / 2 * (1 + tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v ^ 3))) end
      check_close(x:gelu "tanh", { 0, 0, of(-2), 0, of(3), 1000, inf, nan }, dtype)
    end
    local leaf = lurn.tensor({ -2, -0.3, 0.2, 4, 30 }, { dtype = "float64" })
    gradcheck(function(x) return x:softplus(2, 3) end, { leaf })
    gradcheck(function(x) return x:gelu "tanh" end, { leaf })
    assert.equal("float32", lurn.arange(3):gelu("tanh").dtype)
    check_message(lurn.softplus, { leaf, 0 }, "softplus: beta is 0; expected a number above 0")
    check_message(lurn.gelu, { leaf, "erf" }, 'gelu: approximate: there is no "erf"; expected one of: none, tanh')
  end)

  it("are accurate near 0", function()
    for _, dtype in ipairs(dtypes.floats) do
      local x = lurn.tensor(1e-10, { dtype = dtype })
      assert.is_true(naive.near(x:expm1():item(), 1e-10, 1e-6, 0))
      assert.is_true(naive.near(x:log1p():item(), 1e-10, 1e-6, 0))
    end
  end)

  it("wrap integers", function()
    local least = lurn.tensor({ math.mininteger }, { dtype = "int64" })
    assert.equal(math.mininteger, least:neg():item())
    assert.equal(math.mininteger, least:abs():item())
    assert.equal(0, least:square():item())
    assert.equal(math.maxinteger, (least - 1):item())
    assert.equal(math.mininteger, (least // -1):item())
    assert.equal(0, (least % -1):item())
    assert.equal(44, (lurn.tensor({ 200 }, { dtype = "uint8" }) + 100):item())
    assert.equal(-2147483648, (lurn.tensor({ 2147483647 }, { dtype = "int32" }) + 1):item())
  end)

  it("give 0 for integers by 0, and the limits for floats", function()
    for _, dtype in ipairs { "int64", "int32", "uint8" } do
      local x = lurn.tensor({ 5, 0 }, { dtype = dtype })
      assert.same({ 0, 0 }, (x // 0):totable())
      assert.same({ 0, 0 }, (x % 0):totable())
    end
    local y = lurn.tensor { 5, -5, 0 }
    check_close(y / 0, { inf, -inf, nan }, "float32")
    check_close(y // 0, { inf, -inf, nan }, "float32")
    check_close(y % 0, { nan, nan, nan }, "float32")
  end)

  it("take the sign of the divisor", function()
    for _, dtype in ipairs { "float32", "float64", "int64", "int32" } do
      local x, y = lurn.tensor({ 5, -5, 5, -5 }, { dtype = dtype }), lurn.tensor({ 3, 3, -3, -3 }, { dtype = dtype })
      check_close(x % y, { 2, 1, -1, -2 }, dtype)
      check_close(x // y, { 1, -2, -2, 1 }, dtype)
    end
  end)

  it("compare with numbers that the dtype cannot hold", function()
    local x = lurn.tensor({ 255, 44 }, { dtype = "uint8" })
    assert.same({ false, false }, x:eq(300):totable())
    assert.same({ true, true }, x:lt(300):totable())
    assert.same({ true, true }, x:gt(-1):totable())
    assert.same({ false, false }, lurn.eq(300, x):totable())
    assert.same({ true }, lurn.tensor({ 1 }, { dtype = "int32" }):lt(1 << 40):totable())
  end)

  it("convert one number as they convert many", function()
    for _, value in ipairs { 300, -1, 1 << 40 } do
      for _, dtype in ipairs { "uint8", "int32" } do
        local one = lurn.tensor({ value }, { dtype = "int64" })
        local many = one:expand(2):clone()
        assert.equal(one:to(dtype):item(), many:to(dtype)[1]:item())
        assert.equal(naive.wrap(value, dtype), one:to(dtype):item())
        assert.equal(naive.wrap(value, dtype), (lurn.zeros(3, { dtype = dtype }) + value)[1]:item())
      end
    end
  end)
end)

-- ---- Dtypes of two operands ----

describe("the dtype of two operands", function()
  -- PyTorch's table; rows and columns in this order.
  local order = { "bool", "uint8", "int32", "int64", "float32", "float64" }
  local promoted = {
    { "bool", "uint8", "int32", "int64", "float32", "float64" },
    { "uint8", "uint8", "int32", "int64", "float32", "float64" },
    { "int32", "int32", "int32", "int64", "float32", "float64" },
    { "int64", "int64", "int64", "int64", "float32", "float64" },
    { "float32", "float32", "float32", "float32", "float32", "float64" },
    { "float64", "float64", "float64", "float64", "float64", "float64" },
  }
  local kind = { bool = 0, uint8 = 1, int32 = 1, int64 = 1, float32 = 2, float64 = 2 }
  local function ones(dtype, ...) return lurn.ones({ ... }, { dtype = dtype }) end

  it("is PyTorch's", function()
    for i, a in ipairs(order) do
      for j, b in ipairs(order) do
        assert.equal(promoted[i][j], (ones(a, 2) + ones(b, 2)).dtype)
        assert.equal(promoted[i][j], lurn.where(ones("bool", 2), ones(a, 2), ones(b, 2)).dtype)
        assert.equal(promoted[i][j], lurn.cat({ ones(a, 2), ones(b, 2) }).dtype)
        assert.equal(promoted[i][j], lurn.stack({ ones(a, 2), ones(b, 2) }).dtype)
        assert.equal(promoted[i][j], (ones(a) * ones(b)).dtype)
        local quotient = kind[promoted[i][j]] == 2 and promoted[i][j] or "float32"
        assert.equal(quotient, (ones(a, 2) / ones(b, 2)).dtype)
        assert.equal("bool", ones(a, 2):eq(ones(b, 2)).dtype)
      end
    end
  end)

  it("follows a tensor without dimensions only to another kind", function()
    for i, a in ipairs(order) do
      for j, b in ipairs(order) do
        local want = kind[b] > kind[a] and promoted[i][j] or a
        assert.equal(want, (ones(a, 2) + ones(b)).dtype, a .. " + scalar " .. b)
        assert.equal(want, (ones(b) + ones(a, 2)).dtype, "scalar " .. b .. " + " .. a)
      end
    end
  end)

  it("is the tensor's beside a plain number, but float32 for a float with integers", function()
    for _, dtype in ipairs(order) do
      for _, x in ipairs { ones(dtype, 2), ones(dtype) } do
        local with_integer = dtype == "bool" and "int64" or dtype
        assert.equal(with_integer, (x + 1).dtype)
        assert.equal(with_integer, (1 + x).dtype)
        local with_float = kind[dtype] == 2 and dtype or "float32"
        assert.equal(with_float, (x + 0.5).dtype)
        assert.equal(with_float, (0.5 * x).dtype)
        assert.equal(with_float, lurn.where(ones("bool", 2), x, 0.5).dtype)
      end
    end
  end)
end)

-- ---- In place ----

describe("in place", function()
  for _, op in ipairs(ops) do
    local case = all.cases[op.name]
    if op.inplace and case then
      local name = op.name .. "_"
      local function rest_of(x) return type(case.rest) == "function" and case.rest(x) or case.rest or {} end
      local rest = rest_of(lurn.ones(2, 3))
      local function call(x) local r = x[name](x, table.unpack(rest_of(x))) return r end

      it(name .. " does not change an expanded tensor", function()
        check_message(call, { lurn.ones(1, 3):expand(2, 3) },
          name .. ": the tensor was expanded: several of its elements share memory; clone it first")
      end)

      it(name .. " does not change a leaf that requires a gradient", function()
        local leaf = lurn.ones(2, 3, { requires_grad = true })
        local words = name .. ": a leaf that requires a gradient cannot be changed in place; use no_grad"
        check_message(call, { leaf }, words)
        words = name .. ": the tensor is a view of a leaf that requires a gradient; use no_grad"
        check_message(call, { leaf[1] }, words)
        assert.is_true(leaf:detach():eq(1):sum():item() == 6)
        lurn.no_grad(call, leaf)
      end)

      it(name .. " needs a tensor to write into", function()
        check_message(lurn.methods[name], { 5, table.unpack(rest) },
          name .. ": self: expected a tensor, got an integer; methods are called with a colon, x:" .. name .. "(...)")
      end)

      it(name .. " has the gradient of " .. op.name, function()
        lurn.manual_seed(4)
        local x = (lurn.rand({ 2, 3 }, { dtype = "float64" }) + 0.25):requires_grad_()
        local plain = op.differentiable and lurn.grad(lurn[op.name](x, table.unpack(rest_of(x))):sum(), x) or nil
        local buffer = x * 1
        local inside = lurn.grad(call(buffer):sum(), x)
        if plain == nil then return assert.is_nil(inside) end
        check_close(inside, plain:totable(), "float64")
        local view = (x * 1)[{ { 2, 2 } }]
        call(view)
        check_close(lurn.grad(view:sum(), x)[2], plain[2]:totable(), "float64")
      end)
    end
  end

  it("keeps the target's shape", function()
    check_message(lurn.methods.add_, { lurn.ones(3), lurn.ones(2, 3) },
      "add_: the result of shape (2, 3) does not fit in place into (3)")
    check_message(lurn.methods.masked_fill_, { lurn.ones(3), lurn.ones(2, 3):gt(0), 1 },
      "masked_fill_: the result of shape (2, 3) does not fit in place into (3)")
    check_message(lurn.methods.copy_, { lurn.ones(3), lurn.ones(2, 3) },
      "copy_: source of shape (2, 3) does not broadcast to (3)")
  end)

  it("keeps the target's dtype", function()
    local whole = lurn.ones(2, { dtype = "int64" })
    check_message(lurn.methods.add_, { whole, 0.5 }, "add_: the result is float32 and does not fit in place into int64")
    check_message(lurn.methods.div_, { whole, 2 }, "div_: the result is float32 and does not fit in place into int64")
    check_message(lurn.methods.exp_, { whole }, "exp_: the result is float32 and does not fit in place into int64")
    check_message(lurn.methods.add_, { whole:to "bool", 1 },
      "add_: the result is int64 and does not fit in place into bool")
    assert.equal("float32", lurn.ones(2):add_(lurn.ones(2, { dtype = "float64" })).dtype)
    assert.equal("uint8", lurn.ones(2, { dtype = "uint8" }):add_(whole).dtype)
    assert.equal("int32", lurn.zeros(2, { dtype = "int32" }):copy_(lurn.tensor { 1.5, 2.5 }).dtype)
  end)

  it("writes comparisons as 1 and 0 of the target's dtype", function()
    local x = lurn.tensor { 1, 2, 3 }
    assert.same({ 0, 0, 1 }, x:gt_(2):totable())
    assert.same({ 1, 1, 0 }, x:logical_not_():totable())
    assert.same({ 1, 0, 1 }, x:logical_xor_(lurn.tensor { 0, 1, 1 }):totable())
    assert.equal("float32", x.dtype)
    assert.same({ 2, 6 }, lurn.tensor({ 2, 4 }, { dtype = "int32" }):cumsum_(1):totable())
  end)

  it("reads an operand that overlaps the target before it is written", function()
    local x = lurn.arange(6)
    x[{ { 2, 6 } }]:copy_(x[{ { 1, 5 } }])
    assert.same({ 1, 1, 2, 3, 4, 5 }, x:totable())
    local y = lurn.arange(9):view(3, 3)
    y:add_(y:t())
    assert.same({ { 2, 6, 10 }, { 6, 10, 14 }, { 10, 14, 18 } }, y:totable())
    y:sub_(y[1])
    assert.same({ { 0, 0, 0 }, { 4, 4, 4 }, { 8, 8, 8 } }, y:totable())
    y:mul_(y)
    assert.same({ 64, 64, 64 }, y[3]:totable())
    local z = lurn.arange(4)
    z:add_(z[4])
    assert.same({ 5, 6, 7, 8 }, z:totable())
  end)
end)

-- ---- Instruction sets and threads ----

-- Sums of up to a few hundred products in another order: some tens of units in the last place of the largest.
local across = { float32 = 3e-5, float64 = 1e-13 }

local function same_within(a, b, dtype)
  if not dtype:find "^float" then return a:tobytes() == b:tobytes(), "not the same integers" end
  if a:numel() == 0 then return true end
  local x, y = a:to "float64", b:to "float64"
  local distance, size = (x - y):abs():max():item(), math.max(1, y:abs():max():item())
  return distance <= across[dtype] * size, ("differs by %g of %g"):format(distance, size)
end

-- The results of all ops from a program of its own under an instruction set; nil where the machine has none such.
local function results_under(isa)
  local path = os.tmpname()
  local command = "LURN_ISA=%s LURN_NUM_THREADS=2 '%s' spec/engine/ops/child.lua '%s'"
  local ok = os.execute(command:format(isa, program, path))
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  os.remove(path)
  assert.truthy(ok, "the program failed under " .. isa)
  local used, at = string.unpack("s4", text)
  if used ~= isa then return nil end
  return function()
    local dtype, bytes
    dtype, bytes, at = string.unpack("s4s4", text, at)
    return dtype, bytes
  end
end

for _, isa in ipairs { "scalar", "avx2" } do
  it("gives the same under " .. isa .. " as under the best instruction set", function()
    local next_result = results_under(isa)
    if next_result == nil then return pending("this machine has no " .. isa) end
    for _, op in ipairs(ops) do
      for _, dtype in ipairs(dtypes.floats) do
        for i, t in ipairs(all.results(op, dtype)) do
          local stored, bytes = next_result()
          assert.equal(t.dtype, stored, op.name)
          local ok, how = same_within(lurn.frombytes(bytes, stored, t.shape), t, stored)
          assert.truthy(ok, ("%s, %s, result %d %s"):format(op.name, dtype, i, how or ""))
        end
      end
    end
  end)
end

it("gives the same bits with any number of threads", function()
  local before = lurn.get_num_threads()
  finally(function() lurn.set_num_threads(before) end)
  for _, op in ipairs(ops) do
    for _, dtype in ipairs(dtypes.floats) do
      local first
      for _, n in ipairs { 1, 2, 4 } do
        lurn.set_num_threads(n)
        local bytes = {}
        for i, t in ipairs(all.results(op, dtype)) do bytes[i] = t:tobytes() end
        first = first or bytes
        for i = 1, #first do assert.is_true(first[i] == bytes[i], ("%s, %s: %d threads"):format(op.name, dtype, n)) end
      end
    end
  end
end)

-- ---- PyTorch's numbers ----

describe("PyTorch's recorded numbers", function()
  local tensors, metadata
  lazy_setup(function() tensors, metadata = assert(lurn.load "spec/reference/ops.safetensors") end)

  local function option(case, key)
    local text = metadata[case]:match('"' .. key .. '": "?([^",}]+)')
    return tonumber(text) or text
  end

  local run = {}
  function run.softmax(x, o) local d = o "dim" return lurn.softmax(x.x, d < 0 and d or d + 1) end
  function run.log_softmax(x, o) local d = o "dim" return lurn.log_softmax(x.x, d < 0 and d or d + 1) end
  function run.logsumexp(x, o) local d = o "dim" return lurn.logsumexp(x.x, d < 0 and d or d + 1) end
  function run.layer_norm(x, o) return lurn.layer_norm(x.x, x.weight, x.bias, o "eps", o "axes") end
  function run.embedding(x) return lurn.embedding(x.ids + 1, x.weight) end
  function run.cross_entropy(x, o)
    -- targets in the file count from 0; those below 0 are to be ignored
    local given = o "ignore_index"
    local ignored = given and given >= 0 and given + 1 or given
    local targets = lurn.where(x.targets:lt(0), x.targets, x.targets + 1)
    return lurn.cross_entropy(x.logits, targets, { weight = x.weight, ignore_index = ignored,
      label_smoothing = o "label_smoothing", reduction = o "reduction" })
  end
  function run.gelu(x, o) return lurn.gelu(x.x, o "approximate") end
  function run.softplus(x, o) return lurn.softplus(x.x, o "beta", o "threshold") end
  function run.silu(x) return lurn.silu(x.x) end
  function run.elu(x, o) return lurn.elu(x.x, o "alpha") end
  local function spread_of(f, x, o)
    local d = o "dim"
    return f(x.x, { dim = d and d + 1, correction = o "unbiased" == "true" and 1 or 0 })
  end
  function run.std(x, o) return spread_of(lurn.std, x, o) end
  function run.var(x, o) return spread_of(lurn.var, x, o) end

  -- What the ops do not do: an id without gradient.
  local left_out = { embedding_padding = true }

  local function inputs_of(case)
    local x = {}
    for name, t in pairs(tensors) do
      local short = name:match("^" .. case .. "%.([%w_]+)$")
      if short then x[short] = t:clone():requires_grad_(tensors[case .. ".grad." .. short] ~= nil) end
    end
    return x
  end

  -- float32 on both sides: a few roundings each, the recorded ones are good to 3e-7
  local function check(t, name, case)
    local want = tensors[case .. "." .. name]
    local bound = 2e-6 * math.max(1, want:abs():max():item())
    local distance = (t:detach() - want):abs():max():item()
    assert.truthy(distance <= bound, ("%s.%s differs by %g"):format(case, name, distance))
  end

  it("are met by values and gradients", function()
    local count = 0
    for case in metadata.cases:gmatch "%S+" do
      local f = run[option(case, "op")]
      if f and not left_out[case] then
        local x = inputs_of(case)
        local y = f(x, function(key) return option(case, key) end)
        check(y, "y", case)
        y:backward(x.gy)
        for name in pairs(tensors) do
          local leaf = name:match("^" .. case .. "%.grad%.([%w_]+)$")
          if leaf then check(x[leaf].grad, "grad." .. leaf, case) end
        end
        count = count + 1
      end
    end
    assert.is_true(count > 25)
  end)
end)
