-- The tensor as a Lua value: fields, printing, elements, shapes, comparing, freeing, and what happens when it is
-- handled badly.

local lurn = require "lurn"

local methods = lurn.methods
local inf, nan = math.huge, 0 / 0
local dtypes = { "float32", "float64", "int64", "int32", "uint8", "bool" }

local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = tostring(text):match "^%S-tensor_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local function grid() return lurn.arange(12):view(3, 4):to "float32" end

describe("fields", function()
  it("tell shape, dtype and place in the graph", function()
    local x = lurn.zeros(3, 4)
    assert.same({ 3, 4 }, x.shape)
    assert.equal(2, #x.shape)
    assert.equal("{3, 4}", tostring(x.shape))
    assert.equal("{}", tostring(lurn.tensor(1).shape))
    assert.equal(2, x.ndim)
    assert.equal("float32", x.dtype)
    assert.is_false(x.requires_grad)
    assert.is_true(x.is_leaf)
    assert.is_nil(x.maker)
    assert.is_nil(x.grad)
    assert.equal(3, #x)
    assert.equal(12, x:numel())
    assert.same({ 3, 4 }, x:size())
    assert.equal(4, x:size(-1))
    assert.is_true(x:is_contiguous())
    assert.is_false(x:t():is_contiguous())
    x.requires_grad = true
    local y = x * 2
    assert.equal("mul", y.maker)
    assert.is_false(y.is_leaf)
    assert.is_true(y.requires_grad)
    x.shape[1] = 99
    assert.same({ 3, 4 }, x.shape)
  end)

  it("are set only where they may be", function()
    local x = lurn.zeros(2)
    local function set(t, name, value) t[name] = value end
    set(x, "requires_grad", true)
    set(x, "grad", lurn.ones(2))
    assert.same({ 1, 1 }, x.grad:totable())
    set(x, "grad", nil)
    assert.is_nil(x.grad)
    assert.equal(x, x:requires_grad_(false))
    assert.is_false(x.requires_grad)
    assert.is_true(x:requires_grad_().requires_grad)
    assert.equal('a tensor has no field "shape" to set', message(set, x, "shape", { 1 }))
    assert.equal('a tensor has no field "name" to set', message(set, x, "name", 1))
    assert.equal("requires_grad: value: expected true or false, got an integer", message(set, x, "requires_grad", 1))
    assert.equal("requires_grad: only float tensors have gradients, this is int64",
      message(set, lurn.zeros(2, { dtype = "int64" }), "requires_grad", true))
    assert.equal("requires_grad: only of a leaf can it be changed; this tensor was made by mul; use detach()",
      message(set, x * 2, "requires_grad", false))
    assert.equal("grad: expected float32 (2) like the tensor, got float32 (3)", message(set, x, "grad", lurn.ones(3)))
    assert.equal("grad: value: expected a tensor, got an integer", message(set, x, "grad", 5))
    assert.equal('a tensor has no field or method "colour"', message(function() return x.colour end))
    assert.equal("#: a tensor without dimensions has no length", message(function() return #lurn.tensor(1) end))
  end)

  it("size refuses a dimension that there is not", function()
    assert.equal("size: dimension 3 of a tensor with 2", message(methods.size, lurn.ones(2, 2), 3))
    assert.equal("size: dimension 0 of a tensor with 2", message(methods.size, lurn.ones(2, 2), 0))
    assert.equal("size: self: expected a tensor, got an integer; methods are called with a colon, x:size(...)",
      message(methods.size, 5, 1))
  end)
end)

describe("printing", function()
  it("shows elements, dtype and shape", function()
    assert.equal("5. [float32 {}]", tostring(lurn.tensor(5)))
    assert.equal("{1, 2, 3} [int64 {3}]", tostring(lurn.arange(3)))
    assert.equal("{        1.,     2.5000,        -3., 1.0000e-05} [float32 {4}]",
      tostring(lurn.tensor { 1, 2.5, -3, 1e-5 }))
    assert.equal("{{1., 2.},\n {3., 4.}}\n[float32 {2, 2}]", tostring(lurn.tensor { { 1, 2 }, { 3, 4 } }))
    assert.equal("{{{1},\n  {2}}}\n[int32 {1, 2, 1}]", tostring(lurn.tensor({ { { 1 }, { 2 } } }, { dtype = "int32" })))
    assert.equal("{ true, false} [bool {2}]", tostring(lurn.tensor({ true, false }, { dtype = "bool" })))
    assert.equal("{ nan,  inf, -inf} [float64 {3}]", tostring(lurn.tensor({ nan, inf, -inf }, { dtype = "float64" })))
    assert.equal("{} [float32 {0, 3}]", tostring(lurn.zeros(0, 3)))
    assert.equal("-9223372036854775808 [int64 {}]", tostring(lurn.tensor(math.mininteger, { dtype = "int64" })))
  end)

  it("leaves out the middle of what is long", function()
    assert.equal("{  1,   2,   3, ...,  98,  99, 100} [int64 {100}]", tostring(lurn.arange(100)))
    local text = tostring(lurn.zeros(1000, 1000))
    assert.is_true(#text < 400)
    assert.is_true(#tostring(lurn.zeros(9, 9, 9, 9)) < 20000)
    assert.is_true(#tostring(lurn.zeros(1):expand(1 << 20, 1 << 20)) < 1000)
  end)

  it("tells where a tensor stands in the graph", function()
    local x = lurn.ones(1, { requires_grad = true })
    assert.equal("{1.} [float32 {1} requires_grad]", tostring(x))
    assert.equal("{2.} [float32 {1} from mul]", tostring(x * 2))
  end)
end)

describe("elements", function()
  it("are read and set by positions, from either end", function()
    local x = grid()
    assert.equal(7, x:get(2, 3))
    assert.equal(12, x:get(-1, -1))
    assert.equal(x, x:set(0.5, 2, -2))
    assert.equal(0.5, x:get(2, 3))
    assert.equal(5, lurn.tensor(5):get())
    assert.equal(5, lurn.tensor({ { 5 } }):item())
    x:t():set(99, 4, 1)
    assert.equal(99, x:get(1, 4))
  end)

  it("have Lua's types", function()
    for _, dtype in ipairs(dtypes) do
      local x = lurn.ones(1, { dtype = dtype })
      local want = dtype == "bool" and true or 1
      local kind = dtype:find "float" and "float" or dtype ~= "bool" and "integer" or nil
      for _, v in ipairs { x:get(1), x:item(), x:totable()[1], x[1]:item() } do
        assert.equal(want, v)
        assert.equal(kind, math.type(v))
      end
      x:set(false, 1)
      assert.equal(0, x:sum():item())
      x:set(true, 1)
      assert.equal(want, x:item())
    end
  end)

  it("refuse wrong positions and values", function()
    local x = grid()
    assert.equal("get: index 4 in dimension 1 of size 3", message(x.get, x, 4, 1))
    assert.equal("get: index -5 in dimension 2 of size 4", message(x.get, x, 1, -5))
    assert.equal("get: index is 0; counting starts at 1, or at -1 from the end", message(x.get, x, 0, 1))
    assert.equal("get: 1 indices given for a tensor with 2 dimensions", message(x.get, x, 1))
    assert.equal("get: 9 indices given for a tensor with 2 dimensions", message(x.get, x, 1, 2, 3, 4, 5, 6, 7, 8, 9))
    assert.equal("get: index: expected a whole number, got 1.5", message(x.get, x, 1.5, 1))
    assert.equal("get: index: expected a whole number, got a string", message(x.get, x, "1", 1))
    assert.equal("set: value: expected a number, got a string", message(x.set, x, "1", 1, 1))
    assert.equal("set: value: expected a number, got nil", message(x.set, x, nil, 1, 1))
    assert.equal("set: index 4 in dimension 1 of size 3", message(x.set, x, 0, 4, 1))
    assert.equal("item: the tensor has 12 elements; expected one", message(x.item, x))
    assert.equal("item: the tensor has 0 elements; expected one", message(x.item, lurn.zeros(0)))
    assert.equal("get: index 1 in dimension 1 of size 0", message(x.get, lurn.zeros(0), 1))
    local w = lurn.ones(1, { requires_grad = true })
    assert.equal("set: a single element of a tensor that requires a gradient; use no_grad, "
      .. "or assign a tensor to a slice", message(w.set, w, 1, 1))
    lurn.no_grad(w.set, w, 5, 1)
    assert.equal(5, w:item())
  end)

  it("come as nested tables of the same shape", function()
    for _, dtype in ipairs(dtypes) do
      local x = lurn.randint(0, 1, 2, 3, 4):to(dtype)
      assert.same(x:totable(), lurn.tensor(x:totable(), { dtype = dtype }):totable())
      assert.equal(x:get(2, 3, 4), x:totable()[2][3][4])
      assert.equal(x:get(1, 2, 3), x:transpose(1, 3):totable()[3][2][1])
    end
    assert.equal(5, lurn.tensor(5):totable())
    assert.same({}, lurn.zeros(0):totable())
    assert.same({ {}, {} }, lurn.zeros(2, 0):totable())
    assert.same({ { 1, 1 }, { 1, 1 } }, lurn.ones(1):expand(2, 2):totable())
    local w = lurn.ones(2, { requires_grad = true })
    assert.same({ 2, 2 }, (w * 2):totable())
  end)
end)

describe("operators", function()
  it("are the ops", function()
    local x, y = lurn.tensor { 5, -7 }, lurn.tensor { 2, 3 }
    assert.same({ 7, -4 }, (x + y):totable())
    assert.same({ 3, -10 }, (x - y):totable())
    assert.same({ 10, -21 }, (x * y):totable())
    assert.same({ 2.5, -7 / 3 // 1 + 0.0 }, { (x / y):get(1), (x / y):floor():get(2) })
    assert.same({ 25, -343 }, (x ^ y):totable())
    assert.same({ 1, 2 }, (x % y):totable())
    assert.same({ 2, -3 }, (x // y):totable())
    assert.same({ -5, 7 }, (-x):totable())
    assert.same({ 6, -6 }, (1 + x):totable())
    assert.same({ -4, 8 }, (1 - x):totable())
    assert.same({ 10, -14 }, (2 * x):totable())
    assert.same({ 2, 10 / 3 // 1 + 0.0 }, { (10 / lurn.tensor(5)):item(), (10 // y):get(2) })
    assert.same({ 4, 8 }, (2 ^ y):totable())
    assert.same({ 1, 1 }, (7 % y):totable())
  end)

  it("leave == and < to Lua", function()
    local x = lurn.ones(2)
    assert.is_false(x == lurn.ones(2))
    assert.is_true(x == x) -- luacheck: ignore 143
    assert.is_false(pcall(function() return x < x end))
  end)

  it("refuse what is no operand", function()
    local x = lurn.ones(2)
    assert.equal("add: b: expected a tensor or a number, got a string", message(function() return x + "1" end))
    assert.equal("sub: a is missing", message(function() return nil - x end))
    assert.equal("mul: b: expected a tensor or a number, got a function", message(function() return x * print end))
    assert.equal("add: shapes (2) and (3) do not broadcast", message(function() return x + lurn.ones(3) end))
    assert.is_false(pcall(function() return x .. "a" end))
    assert.is_false(pcall(function() return x & 1 end))
    assert.is_false(pcall(function() return x() end))
  end)
end)

describe("arguments of ops", function()
  local x = grid()

  it("may be positional or named", function()
    assert.same(x:sum(2):totable(), x:sum({ dim = 2 }):totable())
    assert.same(x:sum(2, true):totable(), x:sum(2, { keepdim = true }):totable())
    assert.same({ 3, 1 }, x:mean({ dim = -1, keepdim = true }).shape)
    assert.same({ 1 }, x:sum({ dim = { 1, 2 }, keepdim = true }):view(1).shape)
    assert.same({ 4, 3 }, x:permute({ 2, 1 }).shape)
    assert.same({ 4, 3 }, x:transpose({ dim0 = 1, dim1 = 2 }).shape)
    assert.equal(78, x:sum({}):item())
    assert.equal(78, x:sum(nil):item())
  end)

  it("are refused by names that there are not, and by wrong types", function()
    assert.equal("sum: there is no option dims; known are: dim, keepdim", message(x.sum, x, { dims = 1 }))
    assert.equal("sum: there is no option x; known are: dim, keepdim",
      message(x.sum, x, { dim = 1, [true] = 2 }):gsub("%?", "x"))
    assert.equal("sum: there is no option base; known are: dim, keepdim", message(x.sum, x, { base = 0 }))
    assert.equal("argmax: there is no option base; known are: dim, keepdim", message(x.argmax, x, { base = 0 }))
    assert.equal("sum: dim: expected a whole number, got a string", message(x.sum, x, "1"))
    assert.equal("sum: dim: expected a whole number, got 1.5", message(x.sum, x, 1.5))
    assert.equal("sum: dim: expected a whole number, got inf", message(x.sum, x, inf))
    assert.equal("sum: keepdim: expected true or false, got an integer", message(x.sum, x, 1, 2))
    assert.equal("sum: too many arguments: 4 given, 3 used", message(x.sum, x, 1, true, 3))
    assert.equal("sum: dim: 9 numbers given; at most 8 are possible", message(x.sum, x, { 1, 1, 1, 1, 1, 1, 1, 1, 1 }))
    assert.equal("pow: b is missing", message(x.pow, x))
    assert.equal("topk: k: expected a whole number, got a string", message(x.topk, x, "2"))
  end)

  it("name the op that was called where a dimension comes twice", function()
    for _, name in ipairs { "any", "all", "count_nonzero", "sum", "mean", "prod", "var", "std", "amax", "amin",
      "argmax", "argmin", "flip" } do
      local option = name == "flip" and "dims" or "dim"
      assert.equal(name .. ": dimension 1 is named twice", message(lurn[name], x, { [option] = { 1, -2 } }))
    end
  end)

  it("refuse a wrong self", function()
    local in_lua = { "split", "chunk", "flatten", "t", "size", "squeeze", "zero_", "equal", "max", "min" }
    local expected = { scalar = "a tensor or a number", list = "a list of tensors", tensor = "a tensor" }
    local with_colon = "; methods are called with a colon, x:%s(...)"
    local call = "; call x:%s(...), with a colon, or lurn.%s(x, ...)"
    for _, op in ipairs(lurn.op_list()) do
      local first, f = op.params[1], methods[op.name]
      if f == lurn[op.name] and debug.getinfo(f, "S").what == "C" then
        assert.equal(("%s: %s: expected %s, got a string"):format(op.name, first.name, expected[first.kind]),
          message(f, "self"))
        local hint = first.kind == "list" and "" or call:format(op.name, op.name)
        assert.equal(("%s: %s is missing%s"):format(op.name, first.name, hint), message(f))
      end
    end
    for _, name in ipairs { "get", "set", "item", "numel", "is_contiguous", "totable", "tobytes", "detach",
      "requires_grad_", "same_as", "uniform_", "normal_", "bernoulli_", "backward" } do
      local text = name .. ": self: expected a tensor, got a table" .. with_colon:format(name)
      assert.equal(text, message(methods[name], {}))
      assert.truthy(message(methods[name]):find("^" .. name .. ": self: expected a tensor, got n"))
    end
    for _, name in ipairs(in_lua) do
      local text = name .. ": self: expected a tensor, got a table" .. with_colon:format(name)
      assert.equal(text, message(methods[name], {}))
      assert.equal(name .. ": self: expected a tensor, got nil" .. with_colon:format(name), message(methods[name]))
    end
  end)

  it("take options with a metatable, whose functions run before any tensor is looked at", function()
    local y, seen = lurn.ones(2, 2), 0
    local options = setmetatable({ dim = 1 }, { __index = function()
      seen = seen + 1
      y:free()
    end })
    assert.equal("this tensor was freed", message(y.sum, y, options))
    assert.is_true(seen > 0)
  end)
end)

describe("pieces and shapes", function()
  local x = grid()

  local function shapes(list)
    local out = {}
    for i, t in ipairs(list) do out[i] = tostring(t.shape) end
    return table.concat(out, " ")
  end

  it("split gives views of a size, or of the sizes of a list", function()
    assert.equal("{2, 4} {1, 4}", shapes(x:split(2)))
    assert.equal("{3, 2} {3, 2}", shapes(x:split(2, 2)))
    assert.equal("{3, 3} {3, 1}", shapes(x:split(3, -1)))
    assert.equal("{3, 4}", shapes(x:split(99)))
    assert.equal("{3, 1} {3, 0} {3, 3}", shapes(x:split({ 1, 0, 3 }, 2)))
    assert.equal("{0}", shapes(lurn.zeros(0):split(2)))
    local y = grid()
    y:split(2)[2]:zero_()
    assert.same({ 0, 0, 0, 0 }, y[3]:totable())
    local w = lurn.ones(4, { requires_grad = true })
    local a, b = table.unpack(w:split(2))
    local loss = (a * 2 + b * 3):sum()
    loss:backward()
    assert.same({ 2, 2, 3, 3 }, w.grad:totable())
  end)

  it("chunk gives at most n pieces", function()
    assert.equal("{2, 4} {1, 4}", shapes(x:chunk(2)))
    assert.equal("{3, 2} {3, 2}", shapes(x:chunk(2, 2)))
    assert.equal("{1, 4} {1, 4} {1, 4}", shapes(x:chunk(5)))
    assert.equal("{2} {2} {1}", shapes(lurn.zeros(5):chunk(3)))
    assert.equal("{2} {2} {2}", shapes(lurn.zeros(6):chunk(4)))
    assert.equal("{0}", shapes(lurn.zeros(0):chunk(3)))
  end)

  it("refuse wrong sizes", function()
    assert.equal("split: the sizes add up to 2; dimension 2 has 4", message(x.split, x, { 1, 1 }, 2))
    assert.equal("split: the sizes add up to 6; dimension 2 has 4", message(x.split, x, { 3, 3 }, 2))
    assert.equal("split: size 1 is -1; expected a whole number of at least 0", message(x.split, x, { -1, 5 }, 2))
    assert.equal("split: size 2 is b; expected a whole number of at least 0", message(x.split, x, { 1, "b" }, 2))
    assert.equal("split: size is not a whole number above 0", message(x.split, x, 0))
    assert.equal("split: size is not a whole number above 0", message(x.split, x))
    assert.equal("split: size is not a whole number above 0", message(x.split, x, 1.5))
    assert.equal("split: dimension 3 of a tensor with 2", message(x.split, x, 1, 3))
    assert.equal("split: dimension 1 of a tensor with 0", message(x.split, lurn.tensor(1), 1))
    assert.equal("chunk: n is not a whole number above 0", message(x.chunk, x, 0))
    assert.equal("chunk: n is not a whole number above 0", message(x.chunk, x, "2"))
  end)

  it("flatten joins dimensions", function()
    local y = lurn.zeros(2, 3, 4)
    assert.same({ 24 }, y:flatten().shape)
    assert.same({ 2, 12 }, y:flatten(2).shape)
    assert.same({ 6, 4 }, y:flatten(1, -2).shape)
    assert.same({ 2, 3, 4 }, y:flatten(2, 2).shape)
    assert.same({ 1 }, lurn.tensor(1):flatten().shape)
    assert.same({ 0 }, lurn.zeros(2, 0):flatten().shape)
    assert.equal("flatten: dimension 3 comes after 1", message(y.flatten, y, 3, 1))
    assert.equal("flatten: dimension 4 of a tensor with 3", message(y.flatten, y, 4))
  end)

  it("squeeze and t follow PyTorch", function()
    assert.same({ 2, 3 }, lurn.zeros(1, 2, 1, 3, 1):squeeze().shape)
    assert.same({ 2, 1, 3 }, lurn.zeros(1, 2, 1, 3):squeeze(1).shape)
    assert.same({}, lurn.zeros(1, 1):squeeze().shape)
    assert.same({ 4, 3 }, x:t().shape)
    assert.same({ 3 }, lurn.zeros(3):t().shape)
    assert.equal("t: a tensor with 3 dimensions; expected a matrix", message(x.t, lurn.zeros(1, 2, 3)))
  end)

  it("negative dimensions count from the end everywhere", function()
    local y = lurn.randn(2, 3, 4)
    for d = 1, 3 do
      local n = d - 4
      for _, f in ipairs { y.sum, y.mean, y.amax, y.argmax, y.softmax, y.logsumexp, y.sort } do
        local a = f == y.sort and (f(y, d)) or f(y, d)
        local b = f == y.sort and (f(y, n)) or f(y, n)
        assert.is_true(a:equal(b))
      end
      assert.is_true(y:narrow(d, 1, 2):equal(y:narrow(n, 1, 2)))
      assert.is_true(y:select(d, 2):equal(y:select(n, 2)))
      assert.is_true(y:transpose(d, 1):equal(y:transpose(n, 1)))
      assert.is_true(lurn.cat({ y, y }, d):equal(lurn.cat({ y, y }, n)))
      assert.is_true(lurn.stack({ y, y }, d + 1):equal(lurn.stack({ y, y }, n)))
      assert.is_true(y:unsqueeze(d + 1):equal(y:unsqueeze(n)))
    end
  end)

  it("max and min go over all, one or several dimensions", function()
    assert.equal(12, x:max():item())
    local values, positions = x:max(2)
    assert.same({ 4, 8, 12 }, values:totable())
    assert.same({ 4, 4, 4 }, positions:totable())
    values, positions = x:min({ dim = 1, keepdim = true })
    assert.same({ { 1, 2, 3, 4 } }, values:totable())
    assert.same({ 1, 4 }, positions.shape)
    assert.equal(12, x:max({ 1, 2 }):item())
    assert.equal(1, x:min({ dim = { 1, 2 } }):item())
    assert.equal(2, select("#", x:max(1.0)))
    assert.truthy(message(x.max, x, { dims = 1 }):find "there is no option dims")
    assert.truthy(message(x.max, x, 3):find "^max: dimension 3 ")
    assert.truthy(message(x.max, x, "1"):find "dim: expected a whole number, got a string")
  end)
end)

describe("comparing", function()
  it("equal wants the same shape and elements", function()
    local x = grid()
    assert.is_true(x:equal(x:clone()))
    assert.is_true(x:t():equal(x:t():clone()))
    assert.is_false(x:equal(x + 1))
    assert.is_false(x:equal(x:view(4, 3)))
    assert.is_true(lurn.equal(lurn.zeros(0), lurn.zeros(0)))
    assert.is_false(lurn.zeros(0):equal(lurn.zeros(0, 1)))
    assert.is_false(lurn.tensor(nan):equal(lurn.tensor(nan)))
    assert.is_true(lurn.tensor({ 1, 0 }):equal(lurn.tensor({ true, false }, { dtype = "bool" })))
    assert.equal("equal: other: expected a tensor, got an integer", message(x.equal, x, 5))
  end)

  it("allclose bounds the distance", function()
    local x = lurn.tensor { 1, 100, inf }
    assert.is_true(lurn.allclose(x, x))
    assert.is_true(x:allclose(x * (1 + 5e-6)))
    assert.is_false(lurn.allclose(x, x * 1.001))
    assert.is_true(lurn.allclose(x, x * 1.001, { rtol = 0.01 }))
    assert.is_true(lurn.allclose(lurn.tensor(0), lurn.tensor(0.5), { atol = 0.6 }))
    assert.is_false(lurn.allclose(lurn.tensor(inf), lurn.tensor(-inf)))
    assert.is_false(lurn.allclose(lurn.tensor(1), lurn.tensor(inf)))
    assert.is_false(lurn.allclose(lurn.tensor(nan), lurn.tensor(nan)))
    assert.is_true(lurn.allclose(lurn.tensor(nan), lurn.tensor(nan), { equal_nan = true }))
    assert.is_true(lurn.allclose(lurn.zeros(0), lurn.zeros(0)))
    assert.is_true(lurn.allclose(lurn.arange(3), lurn.tensor { 1, 2, 3 }))
    assert.equal("allclose: shapes {2} and {3} differ", message(lurn.allclose, lurn.ones(2), lurn.ones(3)))
    assert.equal("allclose: there is no option tol; known are: rtol, atol, equal_nan",
      message(lurn.allclose, x, x, { tol = 1 }))
    assert.equal("allclose: b: expected a tensor, got an integer", message(lurn.allclose, x, 5))
    assert.equal("allclose: a: expected a tensor, got nil", message(lurn.allclose))
  end)

  it("leaves no trace in the graph", function()
    local w = lurn.ones(2, { requires_grad = true })
    assert.is_true(w:equal(w * 1))
    assert.is_true(lurn.grad_enabled())
  end)
end)

describe("freeing", function()
  it("makes every use an error", function()
    local x = lurn.ones(2)
    x:free()
    x:free()
    for _, f in ipairs {
      function() return x:sum() end, function() return x + 1 end, function() return 1 + x end,
      function() return -x end, function() return x[1] end, function() return x.shape end, function() return #x end,
      function() return x:item() end, function() return x:totable() end,
      function() x[1] = 0 end, function() x.requires_grad = true end, function() return lurn.cat { x } end,
      function() return lurn.where(x, 1, 2) end, function() lurn.ones(2)[1] = x end, function() return x:add_(1) end,
      function() return lurn.ones(2)[x] end, function() return lurn.ones(2):add_(x) end,
        function() return x:uniform_() end,
      function() return lurn.ones(2):sum { dim = x } end, function() return x:split(1) end,
      function() return x:backward() end, function() return lurn.grad(x, x) end,
    } do
      local ok, text = pcall(f)
      assert.is_false(ok)
      assert.truthy(text:find "tensor_spec%.lua:%d+: ", text)
      assert.truthy(text:find "this tensor was freed" or text:find "expected a whole number", text)
    end
    assert.is_true(lurn.is_tensor(x))
    assert.is_false(lurn.is_tensor(5))
  end)

  it("gives memory back, but not what others still use", function()
    collectgarbage()
    local before = lurn.memory()
    local x = lurn.zeros(1000, 1000)
    assert.is_true(lurn.memory() - before >= 4000000)
    local y = x[1]
    x:free()
    assert.is_true(lurn.memory() - before >= 4000000)
    assert.equal(0, y:sum():item())
    y:free()
    collectgarbage()
    assert.is_true(lurn.memory() - before < 100000)
  end)

  it("comes with the end of a <close> variable, also by an error", function()
    local kept
    do
      local t <close> = lurn.zeros(9)
      kept = t
      assert.equal(9, t:numel())
    end
    assert.equal("this tensor was freed", message(function() return kept:sum() end))
    pcall(function()
      local t <close> = lurn.zeros(9)
      kept = t
      error "out"
    end)
    assert.equal("this tensor was freed", message(function() return kept:sum() end))
  end)

  it("keeps the graph of what was computed", function()
    local w = lurn.ones(3, { requires_grad = true })
    local y = w * 2
    local z = (y * y):sum()
    y:free()
    z:backward()
    assert.same({ 8, 8, 8 }, w.grad:totable())
  end)

  it("in a finalizer does no harm", function()
    local x = lurn.ones(100, 100)
    for _ = 1, 50 do
      setmetatable({}, { __gc = function() lurn.zeros(3):free() end })
      x = x + 1
      collectgarbage "step"
    end
    assert.equal(51, x:get(1, 1))
    -- a collection that frees the very tensor an op is called with
    local victim = lurn.ones(64, 64)
    setmetatable({}, { __gc = function() victim:free() end })
    local ok, results = true, {}
    while ok and #results < 5000 do ok, results[#results + 1] = pcall(victim.add, victim, 1) end
    assert.equal("this tensor was freed", tostring(results[#results]):match "this tensor was freed$")
  end)
end)

describe("tampering", function()
  it("with the metatable of something else does not make a tensor", function()
    local fake = setmetatable({}, lurn.metatable)
    assert.is_false(lurn.is_tensor(fake))
    assert.is_false(pcall(methods.sum, fake))
    assert.is_false(pcall(function() return fake:sum() end))
    assert.is_false(pcall(function() return fake.shape end))
    assert.is_false(pcall(function() return #fake end))
    assert.is_false(pcall(function() fake[1] = 1 end))
    assert.is_false(pcall(tostring, fake))
    assert.is_false(pcall(function() return fake + 1 end))
    assert.is_false(pcall(lurn.metatable.__gc, fake))
    assert.is_false(pcall(lurn.metatable.__gc, io.stdout))
    assert.is_false(pcall(lurn.metatable.__gc))
    assert.is_false(pcall(lurn.metatable.__index, io.stdout, "shape"))
    assert.is_false(pcall(lurn.metatable.__index))
    assert.is_false(pcall(lurn.metatable.__newindex))
    assert.is_false(pcall(lurn.metatable.__len))
    assert.equal("sum: x: expected a tensor, got FILE*", message(methods.sum, io.stdout))
    setmetatable(fake, nil)
  end)

  it("by calling metamethods twice frees once", function()
    local x = lurn.ones(2)
    lurn.metatable.__gc(x)
    lurn.metatable.__close(x)
    lurn.metatable.__gc(x)
    assert.equal("this tensor was freed", message(function() return x:sum() end))
  end)

  it("with lists changes nothing: they are read raw, and have no other fields", function()
    local x = lurn.ones(2, 3)
    assert.equal("sum: dim: expected a list of numbers, got a table with other fields",
      message(x.sum, x, { 1, keepdim = true }))
    assert.equal("view: sizes: expected a list of numbers, got a table with other fields",
      message(x.view, x, { 3, 2, n = 2 }))
    assert.equal("sum: there is no option ?; known are: dim, keepdim", message(x.sum, x, { [3] = 1 }))
    local endless = setmetatable({ 3, 2 }, { __len = function() return -1 end, __index = function() x:free() end })
    assert.same({ 3, 2 }, x:view(endless).shape)
  end)

  it("with the list of shapes changes no tensor", function()
    local x = lurn.ones(2, 3)
    local meta = getmetatable(x.shape)
    assert.is_false(pcall(meta.__tostring))
    assert.is_false(pcall(meta.__tostring, 5))
    assert.equal("{1, x}", meta.__tostring({ 1, "x" }))
    local shape = x.shape
    shape[3] = 4
    assert.same({ 2, 3, 4 }, lurn.zeros(shape).shape)
  end)
end)

describe("inside coroutines and callbacks", function()
  it("ops work and errors pass", function()
    local co = coroutine.wrap(function()
      local x = lurn.ones(2)
      coroutine.yield(x + 1)
      return x:view(3)
    end)
    assert.same({ 2, 2 }, co():totable())
    local ok, text = pcall(co)
    assert.is_false(ok)
    assert.truthy(text:find "view: %(2%) has 2 elements and cannot become %(3%)")
    assert.equal(2, lurn.ones(2):sum():item())
  end)

  it("nothing is left over by a thousand errors", function()
    collectgarbage()
    local before = lurn.memory()
    local x = lurn.ones(8, 8)
    for _ = 1, 1000 do
      pcall(x.matmul, x, lurn.ones(3, 3))
      pcall(x.view, x, 5)
      pcall(lurn.cat, { x, 5 })
      pcall(x.sum, x, { dim = 9 })
      pcall(x.add_, x, lurn.ones(2, 8, 8))
      pcall(lurn.tensor, { { 1, 2 }, { 3 } })
      pcall(x.set, x, 1, 99, 99)
    end
    x:free()
    collectgarbage()
    assert.is_true(lurn.memory() - before < 4096)
  end)
end)
