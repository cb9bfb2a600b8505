-- Making tensors: constants, ranges, Lua tables, strings of bytes, random numbers.

local lurn = require "lurn"

local dtypes = { "float32", "float64", "int64", "int32", "uint8", "bool" }
local inf, nan = math.huge, 0 / 0

-- The message of the error that f(...) raises at a line of this file.
local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = text:match "^%S-create_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local makers = { "zeros", "ones", "empty", "rand", "randn" }

describe("a shape", function()
  it("is numbers or one table", function()
    for _, name in ipairs(makers) do
      assert.same({ 2, 3 }, lurn[name](2, 3).shape)
      assert.same({ 2, 3 }, lurn[name]({ 2, 3 }).shape)
      assert.same({ 2, 3 }, lurn[name]({ 2, 3 }, { dtype = "float64" }).shape)
      assert.same({ 2 }, lurn[name](2, nil).shape)
      assert.same({ 0, 3 }, lurn[name](0, 3).shape)
      assert.same({}, lurn[name]().shape)
      assert.same({}, lurn[name]({}).shape)
      assert.same({}, lurn[name]({}, { dtype = "float64" }).shape)
      assert.same({ 1, 1, 1, 1, 1, 1, 1, 2 }, lurn[name](1, 1, 1, 1, 1, 1, 1, 2).shape)
      assert.same({ 3 }, lurn[name](3.0).shape)
    end
  end)

  it("is refused when it is none, by a message that names the function", function()
    for _, name in ipairs(makers) do
      local f = lurn[name]
      assert.equal(name .. ": shape: expected whole numbers or a table of them, got a string", message(f, "3"))
      assert.equal(name .. ": shape: expected whole numbers or a table of them, got nil", message(f, nil))
      assert.equal(name .. ": shape: expected whole numbers or a table of them, got a tensor", message(f, lurn.ones(1)))
      assert.equal(name .. ": negative size -1", message(f, 2, -1))
      assert.equal(name .. ": shape: expected a whole number, got 2.5", message(f, 2.5))
      assert.equal(name .. ": shape: expected a whole number, got inf", message(f, inf))
      assert.truthy(message(f, nan):find(name .. ": shape: expected a whole number, got %-?nan"))
      assert.equal(name .. ": shape: expected a whole number, got a string", message(f, { 2, "3" }))
      assert.equal(name .. ": shape: expected a whole number, got a boolean", message(f, { 2, true }))
      assert.equal(name .. ": options: expected a table, got a string", message(f, 2, "float64"))
      assert.equal(name .. ": too many arguments", message(f, 2, {}, 3))
      assert.equal(name .. ": a tensor has at most 8 dimensions", message(f, 1, 1, 1, 1, 1, 1, 1, 1, 1))
      assert.equal(name .. ": shape: 9 numbers given; at most 8 are possible",
        message(f, { 1, 1, 1, 1, 1, 1, 1, 1, 1 }))
    end
  end)

  it("larger than any memory is an error", function()
    assert.truthy(message(lurn.zeros, 1 << 40, 1 << 40):find "%(1099511627776, 1099511627776%) is larger than memory")
    assert.truthy(message(lurn.empty, math.maxinteger):find "larger than memory")
    assert.truthy(message(lurn.randn, { math.maxinteger, math.maxinteger, 0 }):find "larger than memory")
    assert.truthy(message(lurn.ones, 1 << 58, { dtype = "float64" }):find "^ones: out of memory: ")
    assert.truthy(message(lurn.arange, 1 << 60):find "elements")
    assert.same({ 2 }, lurn.zeros(2).shape)
  end)

  it("is read without running metamethods, which could free what was read before", function()
    local other = lurn.ones(2)
    local list = setmetatable({ other }, { __len = function() return 3 end, __index = function() other:free() end })
    assert.same({ 2 }, lurn.cat(list).shape)
    assert.same({ 2 }, other.shape)
    assert.same({}, lurn.zeros(setmetatable({}, { __len = function() return -1 end }), {}).shape)
  end)
end)

describe("options", function()
  it("give dtype and gradient", function()
    for _, dtype in ipairs(dtypes) do
      assert.equal(dtype, lurn.zeros(2, { dtype = dtype }).dtype)
      assert.equal(dtype, lurn.full({ 2 }, 1, { dtype = dtype }).dtype)
    end
    local x = lurn.randn(2, { dtype = "float64", requires_grad = true })
    assert.is_true(x.requires_grad)
    assert.is_true(x.is_leaf)
  end)

  it("with unknown names or wrong values are refused", function()
    assert.equal("zeros: there is no option dtyp; known are: dtype, requires_grad",
      message(lurn.zeros, 2, { dtyp = 1 }))
    assert.equal("zeros: there is no option 1; known are: dtype, requires_grad", message(lurn.zeros, 2, { "float32" }))
    assert.equal('zeros: there is no dtype "half"; expected float32, float64, int64, int32, uint8 or bool',
      message(lurn.zeros, 2, { dtype = "half" }))
    assert.equal("zeros: dtype: expected a string, got an integer", message(lurn.zeros, 2, { dtype = 1 }))
    assert.equal("ones: requires_grad: expected true or false, got an integer",
      message(lurn.ones, 2, { requires_grad = 1 }))
    assert.equal("requires_grad: only float tensors have gradients, this is int64",
      message(lurn.zeros, 2, { dtype = "int64", requires_grad = true }))
    assert.equal("requires_grad: only float tensors have gradients, this is bool",
      message(lurn.tensor, true, { dtype = "bool", requires_grad = true }))
  end)
end)

describe("constants", function()
  it("fill every element", function()
    for _, dtype in ipairs(dtypes) do
      local number = dtype ~= "bool"
      assert.same({ number and 0 or false, number and 0 or false }, lurn.zeros(2, { dtype = dtype }):totable())
      assert.same({ number and 1 or true }, lurn.ones(1, { dtype = dtype }):totable())
      assert.same({ { number and 3 or true } }, lurn.full({ 1, 1 }, 3, { dtype = dtype }):totable())
    end
    assert.equal(inf, lurn.full({}, inf):item())
    assert.equal(1, lurn.full({ 1 }, true):item())
    assert.equal((1 << 53) + 1, lurn.full({ 2 }, (1 << 53) + 1, { dtype = "int64" })[2]:item())
    assert.same({}, lurn.full({ 0 }, 1):totable())
  end)

  it("full wants a table and a number", function()
    assert.equal("full: shape: expected a table, got an integer", message(lurn.full, 2, 1))
    assert.equal("full: value: expected a number, got a string", message(lurn.full, { 2 }, "1"))
    assert.equal("full: value: expected a number, got nothing", message(lurn.full, { 2 }))
    assert.equal("full: negative size -2", message(lurn.full, { -2 }, 1))
  end)

  it("eye has ones where row and column are equal", function()
    assert.same({ { 1, 0 }, { 0, 1 } }, lurn.eye(2):totable())
    assert.same({ { 1, 0, 0 }, { 0, 1, 0 } }, lurn.eye(2, 3, { dtype = "int64" }):totable())
    assert.same({ { 1 }, { 0 } }, lurn.eye(2, 1):totable())
    assert.same({ 0, 0 }, lurn.eye(0).shape)
    assert.equal("eye: n is -1; expected at least 0", message(lurn.eye, -1))
    assert.equal("eye: m is -3; expected at least 0", message(lurn.eye, 2, -3))
    assert.equal("eye: n: expected a whole number, got nothing", message(lurn.eye))
  end)

  it("of another's shape take its dtype", function()
    local x = lurn.zeros(2, 3, { dtype = "int32" })
    assert.equal("int32", lurn.ones_like(x).dtype)
    assert.same({ 2, 3 }, lurn.ones_like(x).shape)
    assert.equal("float64", lurn.zeros_like(x, { dtype = "float64" }).dtype)
    assert.is_true(lurn.randn_like(lurn.zeros(2), { requires_grad = true }).requires_grad)
    assert.equal(1, lurn.ones_like(lurn.tensor(5)):item())
    assert.equal("ones_like: tensor: expected a tensor, got a table", message(lurn.ones_like, { 2 }))
    assert.equal("zeros_like: there is no option dtyp; known are: dtype, requires_grad",
      message(lurn.zeros_like, x, { dtyp = 1 }))
    assert.equal("zeros_like: options: expected a table, got a string", message(lurn.zeros_like, x, "int64"))
  end)
end)

describe("ranges", function()
  it("arange includes the last, as Lua's for does", function()
    assert.same({ 1, 2, 3 }, lurn.arange(3):totable())
    assert.same({ 2, 3, 4 }, lurn.arange(2, 4):totable())
    assert.same({ 1, 3, 5 }, lurn.arange(1, 5, 2):totable())
    assert.same({ 1, 3, 5 }, lurn.arange(1, 6, 2):totable())
    assert.same({ 5, 3, 1 }, lurn.arange(5, 1, -2):totable())
    assert.same({}, lurn.arange(0):totable())
    assert.same({}, lurn.arange(1, 5, -1):totable())
    assert.same({ 11 }, lurn.arange(0, 1, 0.1).shape)
    assert.same({ 101 }, lurn.arange(0, 10, 0.1).shape)
  end)

  it("arange gives integers for integers, floats otherwise, or what is asked for", function()
    assert.equal("int64", lurn.arange(3).dtype)
    assert.equal("float32", lurn.arange(3.0).dtype)
    assert.equal("float32", lurn.arange(1, 2, 0.5).dtype)
    assert.equal("int32", lurn.arange(3, { dtype = "int32" }).dtype)
    assert.is_true(lurn.arange(3, { dtype = "float64", requires_grad = true }).requires_grad)
  end)

  it("arange is exact to the ends of the integers", function()
    local most, least = math.maxinteger, math.mininteger
    assert.same({ most - 1, most }, lurn.arange(most - 1, most):totable())
    assert.same({ least + 1, least }, lurn.arange(least + 1, least, -1):totable())
    assert.same({ least, -1, most - 1 }, lurn.arange(least, most, most):totable())
    assert.same({ most, -1 }, lurn.arange(most, least, least):totable())
    assert.same({}, lurn.arange(most, most - 1):totable())
    assert.truthy(message(lurn.arange, least, most):find "^arange: 1.84467e%+19 elements$")
  end)

  it("refuse what has no end", function()
    assert.equal("arange: from 1 to 2 in steps of 0", message(lurn.arange, 1, 2, 0))
    assert.equal("arange: from 1 to inf in steps of 1", message(lurn.arange, inf))
    assert.truthy(message(lurn.arange, 1, nan):find "^arange: from 1 to %-?nan in steps of 1$")
    assert.equal("arange: expected a number, got a string", message(lurn.arange, "3"))
    assert.equal("arange: expected a number, got nothing", message(lurn.arange))
    assert.equal("arange: options: expected a table, got a string", message(lurn.arange, 1, "3"))
    assert.equal("linspace: n is -1; expected at least 0", message(lurn.linspace, 0, 1, -1))
    assert.equal("linspace: n: expected a whole number, got nothing", message(lurn.linspace, 0, 1))
  end)

  it("linspace has both ends, in equal steps", function()
    assert.same({ 0, 0.25, 0.5, 0.75, 1 }, lurn.linspace(0, 1, 5):totable())
    assert.same({ 3, 1 }, lurn.linspace(3, 1, 2):totable())
    assert.same({ 7 }, lurn.linspace(7, 9, 1):totable())
    assert.same({}, lurn.linspace(0, 1, 0):totable())
    local x = lurn.linspace(0, 0.3, 7, { dtype = "float64" })
    assert.equal(0.3, x:get(-1))
  end)
end)

describe("tensor from Lua values", function()
  it("takes numbers, booleans and nested tables of them", function()
    assert.same({}, lurn.tensor(3).shape)
    assert.equal(3, lurn.tensor(3):item())
    assert.same({ 1, 0 }, lurn.tensor({ true, false }):totable())
    assert.same({ true, false }, lurn.tensor({ 2, 0 }, { dtype = "bool" }):totable())
    assert.same({ { 1, 2 }, { 3, 4 } }, lurn.tensor({ { 1, 2 }, { 3, 4 } }):totable())
    assert.same({ 2, 0 }, lurn.tensor({ {}, {} }).shape)
    assert.same({ 0 }, lurn.tensor({}).shape)
    assert.same({ 1, 1, 1, 1, 1, 1, 1, 1 }, lurn.tensor({ { { { { { { { 5 } } } } } } } }).shape)
  end)

  it("is float32 unless told otherwise, whatever the numbers", function()
    assert.equal("float32", lurn.tensor({ 1, 2 }).dtype)
    assert.equal("float32", lurn.tensor(true).dtype)
    assert.equal("int64", lurn.tensor({ 1.5, 2 }, { dtype = "int64" }).dtype)
  end)

  it("keeps every digit the dtype can hold", function()
    local values = { math.maxinteger, math.mininteger, (1 << 53) + 1 }
    assert.same(values, lurn.tensor(values, { dtype = "int64" }):totable())
    assert.equal(0.1, lurn.tensor(0.1, { dtype = "float64" }):item())
    assert.equal(string.unpack("f", string.pack("f", 0.1)), lurn.tensor(0.1):item())
    assert.same({ -1, 1, 0 }, lurn.tensor({ -1.7, 1.7, nan }, { dtype = "int32" }):totable())
  end)

  it("refuses ragged tables and tells where", function()
    assert.equal("tensor: the tables are ragged: element [2] has 1 entries; expected 2",
      message(lurn.tensor, { { 1, 2 }, { 3 } }))
    assert.equal("tensor: the tables are ragged: element [2] is an integer; expected a table of 2",
      message(lurn.tensor, { { 1, 2 }, 3 }))
    assert.equal("tensor: element [2] is a table; expected a number or a boolean", message(lurn.tensor, { 1, { 2 } }))
    assert.equal("tensor: element [1][2] is a string; expected a number or a boolean",
      message(lurn.tensor, { { 1, "2" }, { 3, 4 } }))
    assert.equal("tensor: element [2] is nil; expected a number or a boolean", message(lurn.tensor, { 1, nil, 3 }))
    assert.equal("tensor: the tables are ragged: element [2][1] has 0 entries; expected 1",
      message(lurn.tensor, { { { 1 } }, { {} } }))
  end)

  it("refuses fields beside the elements", function()
    local expected = "tensor: a table of elements has the field %s; options are given after it"
    assert.equal(expected:format "dtype", message(lurn.tensor, { 1, 2, dtype = "int64" }))
    assert.equal(expected:format "a", message(lurn.tensor, { a = 1 }))
    assert.equal(expected:format "x", message(lurn.tensor, { { 1 }, { 2, x = 3 } }))
    assert.equal(expected:format "0", message(lurn.tensor, { [0] = 1, 2 }))
    assert.same({ 2, 3 }, lurn.tensor(lurn.zeros(2, 3).shape):totable())
  end)

  it("refuses what cannot be a tensor", function()
    local loop = {}
    loop[1] = loop
    assert.equal("tensor: more than 8 levels of tables", message(lurn.tensor, loop))
    assert.equal("tensor: expected a number or nested tables of numbers, got nothing", message(lurn.tensor))
    assert.equal("tensor: expected a number or nested tables of numbers, got a string", message(lurn.tensor, "1"))
    assert.equal("tensor: expected a number or nested tables of numbers, got a tensor",
      message(lurn.tensor, lurn.ones(1)))
    assert.truthy(message(lurn.tensor, setmetatable({},
      { __len = function() return 1 << 62 end })):find "larger than memory")
    assert.truthy(message(lurn.tensor, setmetatable({}, { __len = function() return -1 end })):find "negative size")
  end)

  it("passes on what a metamethod raises", function()
    local list = setmetatable({}, { __len = function() return 2 end, __index = function() error("mine", 0) end })
    local ok, text = pcall(lurn.tensor, list)
    assert.is_false(ok)
    assert.equal("mine", text)
  end)
end)

describe("frombytes and tobytes", function()
  local samples = {
    float32 = { { 1.5, -2 }, { 0, 3 } },
    float64 = { { 0.1, -2 }, { 0, 1e300 } },
    int64 = { { math.mininteger, -2 }, { 0, math.maxinteger } },
    int32 = { { -2147483648, -2 }, { 0, 2147483647 } },
    uint8 = { { 0, 1 }, { 128, 255 } },
    bool = { { true, false }, { false, true } },
  }

  it("give back every dtype", function()
    for dtype, values in pairs(samples) do
      local x = lurn.tensor(values, { dtype = dtype })
      local y = lurn.frombytes(x:tobytes(), dtype, { 2, 2 })
      assert.same(values, y:totable())
      assert.equal(dtype, y.dtype)
      assert.same({ 4 }, lurn.frombytes(x:tobytes(), dtype).shape)
      assert.equal(lurn.tensor({ { values[1][1], values[2][1] }, { values[1][2], values[2][2] } },
        { dtype = dtype }):tobytes(), x:t():tobytes())
    end
    assert.equal(string.pack("<ff", 1, 2), lurn.tensor({ 1, 2 }):tobytes())
    assert.equal("", lurn.zeros(0, 3):tobytes())
    assert.same({ 0 }, lurn.frombytes("", "float32").shape)
    assert.same({ 2, 0 }, lurn.frombytes("", "float32", { 2, 0 }).shape)
  end)

  it("makes a copy", function()
    local bytes = string.pack("<f", 1)
    lurn.frombytes(bytes, "float32"):fill_(2)
    assert.equal(string.pack("<f", 1), bytes)
  end)

  it("refuses what does not fit", function()
    local f = lurn.frombytes
    assert.equal("frombytes: 7 bytes do not make a float32 tensor of that shape", message(f, "1234567", "float32"))
    assert.equal("frombytes: 8 bytes do not make a float32 tensor of that shape",
      message(f, "12345678", "float32", { 3 }))
    assert.equal("frombytes: 0 bytes do not make a uint8 tensor of that shape", message(f, "", "uint8", { 1 << 62, 8 }))
    assert.truthy(message(f, "12345678", "uint8", { -2, -4 }):find "negative size")
    assert.equal("frombytes: byte 2 is 2; a bool is 0 or 1", message(f, "\1\2", "bool"))
    assert.equal("frombytes: byte 1 is 255; a bool is 0 or 1", message(f, "\255", "bool"))
    assert.equal("frombytes: bytes: expected a string, got an integer", message(f, 5, "uint8"))
    assert.equal("frombytes: dtype: expected a string, got nothing", message(f, "12"))
  end)
end)

describe("random numbers", function()
  before_each(function() lurn.manual_seed(11) end)

  it("are the same from the same seed", function()
    local function draw()
      return table.concat {
        lurn.rand(5):tobytes(), lurn.randn(7):tobytes(), lurn.randint(1, 9, 5):tobytes(), lurn.randperm(9):tobytes(),
        lurn.zeros(6):bernoulli_(0.5):tobytes(), lurn.dropout(lurn.ones(9), 0.5):tobytes(),
        lurn.rand(3, 4):multinomial(2):tobytes(),
      }
    end
    lurn.manual_seed(3)
    local first = draw()
    local second = draw()
    lurn.manual_seed(3)
    assert.equal(first, draw())
    assert.not_equal(first, second)
    lurn.manual_seed(4)
    assert.not_equal(first, draw())
    lurn.manual_seed(-1)
    lurn.rand(1)
    assert.equal("manual_seed: seed: expected a whole number, got 1.5", message(lurn.manual_seed, 1.5))
  end)

  it("go on where a state was taken", function()
    lurn.randn(5)
    local seed, block = lurn.rng_state()
    local first = lurn.randn(5):tobytes()
    lurn.set_rng_state(seed, block)
    assert.equal(first, lurn.randn(5):tobytes())
  end)

  -- 40000 draws: means are within 5 standard errors of what they should be.
  local n = 40000

  it("rand is uniform on [0, 1)", function()
    for _, dtype in ipairs { "float32", "float64" } do
      local x = lurn.rand(n, { dtype = dtype })
      assert.is_true(x:amin():item() >= 0 and x:amax():item() < 1)
      assert.near(0.5, x:mean():item(), 5 * math.sqrt(1 / 12 / n))
      assert.near(1 / 12, ((x - 0.5) ^ 2):mean():item(), 5 * math.sqrt(1 / 180 / n))
      local y = lurn.zeros(n, { dtype = dtype }):uniform_(-3, 5)
      assert.is_true(y:amin():item() >= -3 and y:amax():item() < 5)
      assert.near(1, y:mean():item(), 5 * math.sqrt(64 / 12 / n))
    end
    assert.equal(2, lurn.zeros(3):uniform_(2, 2):mean():item())
  end)

  it("randn is normal", function()
    local x = lurn.randn(n)
    assert.near(0, x:mean():item(), 5 / math.sqrt(n))
    assert.near(1, (x ^ 2):mean():item(), 5 * math.sqrt(2 / n))
    assert.near(0, (x ^ 3):mean():item(), 5 * math.sqrt(15 / n))
    assert.near(3, (x ^ 4):mean():item(), 5 * math.sqrt(96 / n))
    assert.near(0, (x[{ { 1, n - 1 } }] * x[{ { 2, n } }]):mean():item(), 5 / math.sqrt(n))
    local y = lurn.zeros(n):normal_(4, 0.5)
    assert.near(4, y:mean():item(), 5 * 0.5 / math.sqrt(n))
    assert.equal(4, lurn.zeros(2):normal_(4, 0):mean():item())
  end)

  it("bernoulli_ gives 1 with probability p, in any dtype", function()
    for _, dtype in ipairs(dtypes) do
      local x = lurn.zeros(n, { dtype = dtype }):bernoulli_(0.3)
      assert.near(0.3, x:sum():item() / n, 5 * math.sqrt(0.21 / n))
      assert.is_true(x:eq(0):logical_or(x:eq(1)):sum():item() == n)
    end
    assert.equal(0, lurn.ones(100):bernoulli_(0):sum():item())
    assert.equal(100, lurn.zeros(100):bernoulli_(1):sum():item())
  end)

  it("randint gives all whole numbers of the range", function()
    local x = lurn.randint(-2, 3, n)
    assert.equal("int64", x.dtype)
    assert.equal(-2, x:amin():item())
    assert.equal(3, x:amax():item())
    for k = -2, 3 do assert.near(n / 6, x:eq(k):sum():item(), 5 * math.sqrt(n * 5 / 36)) end
    assert.same({ 2, 3 }, lurn.randint(1, 5, 2, 3).shape)
    assert.same({ 2, 3 }, lurn.randint(1, 5, { 2, 3 }).shape)
    assert.same({}, lurn.randint(7, 7).shape)
    assert.equal(7, lurn.randint(7, 7):item())
    assert.equal("int32", lurn.randint(1, 5, 3, { dtype = "int32" }).dtype)
    assert.equal("float32", lurn.randint(1, 5, { 3 }, { dtype = "float32" }).dtype)
    lurn.randint(math.mininteger, math.maxinteger, 5)
    assert.equal(math.maxinteger, lurn.randint(math.maxinteger, math.maxinteger, 1):item())
  end)

  it("randperm gives each of 1..n once, in every order", function()
    assert.same(lurn.arange(500):totable(), (lurn.randperm(500):sort()):totable())
    assert.same({}, lurn.randperm(0):totable())
    assert.same({ 1 }, lurn.randperm(1):totable())
    local first = {}
    for _ = 1, 600 do
      local p = lurn.randperm(3)
      local key = p:get(1) * 10 + p:get(2)
      first[key] = (first[key] or 0) + 1
    end
    for _, key in ipairs { 12, 13, 21, 23, 31, 32 } do assert.near(100, first[key], 5 * math.sqrt(600 * 5 / 36)) end
    assert.equal("int32", lurn.randperm(3, { dtype = "int32" }).dtype)
  end)

  it("multinomial draws by weight, without repeating unless asked", function()
    local p = lurn.tensor { 1, 0, 3 }
    local x = p:multinomial(n, true)
    assert.near(0.75, x:eq(3):sum():item() / n, 5 * math.sqrt(0.1875 / n))
    assert.equal(0, x:eq(2):sum():item())
    for _ = 1, 20 do assert.same({ 1, 2, 3 }, (lurn.rand(3):multinomial(3):sort()):totable()) end
  end)

  it("dropout keeps the mean", function()
    local y = lurn.dropout(lurn.ones(n), 0.3)
    assert.near(1, y:mean():item(), 5 * math.sqrt(0.3 / 0.7 / n))
    assert.equal(n, y:eq(0):logical_or((y - 1 / 0.7):abs():lt(1e-6)):sum():item())
  end)

  it("go into views and strided tensors alike", function()
    local wide = lurn.zeros(4, 6)
    wide:t()[{ { 2, 3 } }]:uniform_(1, 2)
    assert.equal(8, wide:ge(1):sum():item())
    assert.equal(0, wide[{ {}, 1 }]:sum():item())
  end)

  it("refuse wrong arguments", function()
    assert.equal("randint: no whole number between 5 and 1", message(lurn.randint, 5, 1, 3))
    assert.equal("randint: high: expected a whole number, got a string", message(lurn.randint, 1, "5", 3))
    assert.equal("randint: negative size -3", message(lurn.randint, 1, 5, -3))
    assert.equal("randint: there is no option seed; known are: dtype, requires_grad",
      message(lurn.randint, 1, 5, 3, { seed = 1 }))
    assert.equal("randperm: n is -1; expected at least 0", message(lurn.randperm, -1))
    assert.equal("uniform_: from 2 to 1; expected a finite, rising range",
      message(lurn.methods.uniform_, lurn.ones(2), 2, 1))
    assert.equal("uniform_: from 0 to inf; expected a finite, rising range",
      message(lurn.methods.uniform_, lurn.ones(2), 0, inf))
    assert.equal("uniform_: the tensor is int64; expected float32 or float64",
      message(lurn.methods.uniform_, lurn.zeros(2, { dtype = "int64" })))
    assert.equal("normal_: std is -1; expected at least 0", message(lurn.methods.normal_, lurn.ones(2), 0, -1))
    assert.equal("bernoulli_: p is 1.5; expected 0..1", message(lurn.methods.bernoulli_, lurn.ones(2), 1.5))
    assert.equal("bernoulli_: self: expected a tensor, got an integer; methods are called with a colon, "
      .. "x:bernoulli_(...)", message(lurn.methods.bernoulli_, 5))
    assert.equal("uniform_: the tensor requires a gradient; use no_grad",
      message(lurn.methods.uniform_, lurn.ones(2, { requires_grad = true })))
    assert.equal("randn: requires_grad: expected true or false, got a string",
      message(lurn.randn, 2, { requires_grad = "yes" }))
    assert.truthy(message(lurn.rand, 2, { dtype = "int64" }):find "is int64; expected float32 or float64")
    assert.truthy(message(lurn.methods.uniform_, lurn.ones(1, 3):expand(2, 3)):find "was expanded")
  end)
end)
