-- Methods written in Lua: shapes, tensors like another, products; what tensors do as Lua values; einsum's errors.

local lurn = require "lurn"

local function message(f, ...)
  local args = table.pack(...)
  local ok, text = pcall(function() local r = f(table.unpack(args, 1, args.n)) return r end)
  assert.is_false(ok, "no error came")
  local rest = text:match "^%S-arrange_spec%.lua:%d+: (.*)$"
  assert.truthy(rest, "the message does not point to this file: " .. tostring(text))
  return rest
end

local function grid() return lurn.arange(6):view(2, 3) end
local function cube() return lurn.arange(24):view(2, 3, 4) end

describe("shapes", function()
  it("are split by unflatten", function()
    assert.same({ 2, 3, 2, 2 }, cube():unflatten(3, { 2, -1 }).shape)
    assert.same({ 1, 2, 3, 4 }, cube():unflatten(-3, { 1, 2 }).shape)
    assert.is_true(cube():unflatten(1, { 2, 1 }):flatten(1, 2):equal(cube()))
    assert.equal("unflatten: dimension 3 of size 4 does not split into {3, -1}",
      message(lurn.unflatten, cube(), 3, { 3, -1 }))
    assert.equal("unflatten: dimension 3 of size 4 does not split into {2}", message(lurn.unflatten, cube(), 3, { 2 }))
    for _, sizes in ipairs { { -1, -1 }, { -2, -2 }, { 0, -1 } } do
      assert.matches("^unflatten: dimension 3 of size 4 does not split into {",
        message(lurn.unflatten, cube(), 3, sizes))
    end
    assert.equal("unflatten: dimension 4 of a tensor with 3", message(lurn.unflatten, cube(), 4, { 2 }))
  end)

  it("are reordered by movedim", function()
    assert.same({ 3, 4, 2 }, cube():movedim(1, 3).shape)
    assert.same({ 4, 2, 3 }, cube():movedim(-1, 1).shape)
    assert.same({ 4, 3, 2 }, cube():movedim({ 1, 3 }, { 3, 1 }).shape)
    assert.is_true(cube():movedim(1, 3):equal(cube():permute(2, 3, 1)))
    assert.equal("movedim: dimension 1 is named twice", message(lurn.movedim, cube(), { 1, 1 }, { 1, 2 }))
    assert.equal("movedim: to: expected a whole number, got nil", message(lurn.movedim, cube(), 1))
    assert.equal("movedim: 1 dimensions to move to 2 places", message(lurn.movedim, cube(), 1, { 1, 2 }))
  end)

  it("come apart by unbind, as views", function()
    local x = grid()
    local rows, columns = x:unbind(), lurn.unbind(x, 2)
    assert.equal(2, #rows)
    assert.equal(3, #columns)
    assert.same({ 2, 5 }, columns[2]:totable())
    rows[1]:zero_()
    assert.same({ 0, 0, 0 }, x[1]:totable())
  end)

  it("are transposed by T and mT", function()
    assert.same({ 3, 2 }, grid().T.shape)
    assert.same({ 3 }, grid()[1].T.shape)
    assert.same({ 2, 4, 3 }, cube().mT.shape)
    assert.equal("T: a tensor with 3 dimensions; expected at most 2", message(function() return cube().T end))
    assert.equal("mT: a tensor with 1 dimensions; expected at least 2", message(function() return grid()[1].mT end))
    assert.equal(3, cube():dim())
    assert.equal(24, lurn.numel(cube()))
  end)
end)

describe("tensors like another", function()
  it("have its shape and dtype", function()
    local x = grid()
    assert.same({ { 7, 7, 7 }, { 7, 7, 7 } }, lurn.full_like(x, 7):totable())
    assert.equal("int64", lurn.full_like(x, 7).dtype)
    assert.equal("float64", lurn.empty_like(x, { dtype = "float64" }).dtype)
    assert.is_true(lurn.randint_like(x, 3, 4):ge(3):all():item())
    assert.equal("int64", x:new_zeros(2, 2).dtype)
    assert.same({ 1, 1 }, x:new_ones({ 2 }):totable())
    assert.same({ 2.5 }, x:new_full({ 1 }, 2.5, { dtype = "float32" }):totable())
    assert.same({ 1, 2 }, x:new_tensor({ 1, 2 }):totable())
    assert.same({ 4 }, x:new_empty(4).shape)
    assert.equal("full_like: there is no option like; known are: dtype, requires_grad",
      message(lurn.full_like, x, 1, { like = x }))
    assert.equal("new_zeros: there is no option like; known are: dtype, requires_grad",
      message(x.new_zeros, x, 2, { like = x }))
  end)
end)

describe("numbers beyond 2^53", function()
  local big = (1 << 53) + 1
  it("are filled in exactly", function()
    local x = lurn.zeros(2, { dtype = "int64" })
    assert.same({ big, big }, x:fill(big):totable())
    assert.same({ -big, -big }, x:fill_(-big):totable())
    local mask = lurn.tensor({ true, false }, { dtype = "bool" })
    assert.same({ big, -big }, x:masked_fill(mask, big):totable())
    assert.same({ big, -big }, x:masked_fill_(mask, big):totable())
    x[mask] = big + 2
    assert.same({ big + 2, -big }, x:totable())
    assert.same({ big, big }, lurn.full({ 2 }, big, { dtype = "int64" }):totable())
  end)
end)

describe("short forms", function()
  it("multiply", function()
    local a, b = lurn.randn(2, 3), lurn.randn(3, 4)
    assert.is_true(a:mm(b):equal(a:matmul(b)))
    assert.is_true(lurn.mv(a, b[{ {}, 1 }]):equal(a:matmul(b[{ {}, 1 }])))
    assert.same({ 5, 2, 4 }, lurn.bmm(lurn.randn(5, 2, 3), lurn.randn(5, 3, 4)).shape)
    assert.equal("mm: shapes {2, 3} and {3}; expected 2 and 2 dimensions", message(lurn.mm, a, b[{ {}, 1 }]))
    assert.equal("bmm: b: expected a tensor, got nil", message(lurn.bmm, a))
  end)

  it("reduce and repeat over all", function()
    local x = grid()
    assert.equal(3, x:median():item())
    assert.same({ 2, 5 }, (x:median(2)):totable())
    assert.same({ 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6 }, x:repeat_interleave(2):totable())
    assert.same({ { 1, 1 }, { 1, 1 } }, x:diff():totable())
    assert.same({ { 0 }, { 0 } }, lurn.diff(x, 2):totable())
    assert.same({ { 3, 3, 3 } }, x:diff(1, 1):totable())
    assert.same({ { 6, 4, 5 }, { 3, 1, 2 } }, x:roll({ 1, 1 }, { 1, 2 }):totable())
    assert.same({ 2, 3 }, lurn.bucketize(lurn.tensor { 2, 3 }, lurn.tensor { 1, 2 }):totable())
    assert.same({ 3, 3 }, lurn.bucketize(lurn.tensor { 2, 3 }, lurn.tensor { 1, 2 }, { right = true }):totable())
    assert.same({ { 6, 1, 2 }, { 3, 4, 5 } }, x:roll(1):totable())
    assert.equal("cosine_similarity: eps: expected a number, got string",
      message(lurn.cosine_similarity, x, x, { eps = "x" }))
    assert.equal("roll: 2 shifts; expected a list of as many dimensions", message(lurn.roll, x, { 1, 1 }, 1))
  end)

  it("pad the last dimensions", function()
    local F = lurn.nn.functional
    assert.same({ { 0, 1, 2, 3 }, { 0, 4, 5, 6 } }, F.pad(grid(), { 1, 0 }):totable())
    assert.same({ 5, 6 }, F.pad(grid(), { 1, 2, 3, 0 }, { value = 7 }).shape)
    assert.equal("pad: sizes is a list of 1; expected a list of pairs for at most 2 dimensions",
      message(F.pad, grid(), { 1 }))
    assert.equal("pad: sizes is nil; expected a list of pairs for at most 2 dimensions", message(F.pad, grid()))
    assert.same({ { 1, 0 }, { 0, 1 } }, F.one_hot(lurn.arange(2), 2):totable())
  end)
end)

describe("tensors as Lua values", function()
  it("iterate over their slices and stop", function()
    local sums = {}
    for i, row in ipairs(grid()) do sums[i] = row:sum():item() end
    assert.same({ 6, 15 }, sums)
    local count = 0
    for _ in ipairs(lurn.zeros(0, 2)) do count = count + 1 end
    assert.equal(0, count)
    assert.equal(2, #grid())
    assert.equal("select: index 3 in dimension 1 of size 2", message(function() return grid()[3] end))
  end)

  it("have no order", function()
    local words = "<: tensors are compared element by element with x:lt(y), x:le(y), x:gt(y), x:ge(y)"
    assert.equal(words, message(function() return grid() < grid() end))
    assert.equal(words, message(function() return grid() <= 1 end))
    assert.equal(words, message(function() return 1 > grid() end))
  end)

  it("print whatever they hold", function()
    assert.equal("{nan, inf, -inf, 0.} [float32 {4}]", tostring(lurn.tensor { 0 / 0, 1 / 0, -1 / 0, 0 }):gsub(" +", " ")
      :gsub("{ ", "{"))
    assert.equal("{} [float32 {0, 3}]", tostring(lurn.zeros(0, 3)))
    assert.equal("{ true, false} [bool {2}]", tostring(lurn.tensor({ true, false }, { dtype = "bool" })))
    assert.equal("9223372036854775807 [int64 {}]", tostring(lurn.tensor(math.maxinteger, { dtype = "int64" })))
    assert.equal("1.0000e+30 [float64 {}]", tostring(lurn.tensor(1e30, { dtype = "float64" })))
    assert.is_true(#tostring(lurn.zeros(1000, 1000)) < 500)
    local x = grid()
    x:free()
    assert.equal("[freed tensor]", tostring(x))
    assert.equal("this tensor was freed", message(x.sum, x))
    assert.equal("this tensor was freed", message(function() return x.shape end))
    assert.equal("this tensor was freed", message(function() return x[1] end))
  end)

  it("tell whether they were freed", function()
    local x = grid()
    assert.is_false(lurn.is_freed(x))
    local row = x[1]
    x:free()
    assert.is_true(lurn.is_freed(x))
    assert.is_false(lurn.is_freed(row))
    assert.same({ 1, 2, 3 }, row:totable())
    x:free()
    assert.is_true(lurn.is_freed(x))
    for _, other in ipairs { false, 1, "x", {}, io.stdout, lurn.record() } do
      assert.is_false(lurn.is_freed(other))
    end
    assert.is_false(lurn.is_freed(nil))
  end)

  it("name the function when there is no memory for them", function()
    for _, name in ipairs { "zeros", "ones", "empty", "rand", "randn" } do
      assert.equal(name .. ": a tensor of shape (1099511627776, 1099511627776) is larger than memory can be",
        message(lurn[name], 1 << 40, 1 << 40))
    end
    assert.truthy(message(lurn.zeros, 1 << 45):find "^zeros: out of memory: ")
    assert.equal("exp: there is no option base; it has none", message(lurn.exp, grid(), { base = 2 }))
  end)
end)

describe("einsum", function()
  local x, y = lurn.randn(2, 3, { dtype = "float64" }), lurn.randn(3, 4, { dtype = "float64" })

  it("takes operands one by one, as a list, and integers", function()
    assert.is_true(lurn.allclose(lurn.einsum("ij,jk", x, y), x:matmul(y)))
    assert.is_true(lurn.allclose(lurn.einsum(" i j , j k -> k i ", { x, y }), x:matmul(y):t()))
    assert.same({ { 14, 32 }, { 32, 77 } }, lurn.einsum("ij,kj->ik", grid(), grid()):totable())
    assert.same({ 0, 0 }, lurn.einsum("ij,jk->i", lurn.zeros(2, 0), lurn.zeros(0, 3)):totable())
  end)

  it("has gradients", function()
    local a, b = x:clone():requires_grad_(), y:clone():requires_grad_()
    assert(lurn.gradcheck(function(p, q)
      return (lurn.einsum("ij,jk->ki", p, q) ^ 2):sum() + lurn.einsum("ij,jk,ij->", p, q, p)
    end, { a, b }))
  end)

  it("says what is wrong", function()
    local function of(...) return message(lurn.einsum, ...) end
    assert.equal('einsum: operand 1 has shape (2, 3), but its term "i" names 1 dimensions', of("i", x))
    assert.equal('einsum: operand 1 has shape (2, 3), but its term "ijk..." names 3 dimensions', of("ijk...", x))
    assert.equal('einsum: "k" of the output is in no input', of("ij->ik", x))
    assert.equal('einsum: "i" is in the output twice', of("ij->ii", x))
    assert.equal('einsum: "1" in the equation; expected letters, "...", "," or "->"', of("i1", x))
    assert.equal("einsum: 2 terms in the equation for 1 tensors", of("ij,j", x))
    assert.equal('einsum: "j" has size 2 in operand 2 and 3 in another', of("ij,jk", x, x))
    assert.equal('einsum: operand 2 has size 3 where another has 2 under "..."', of("...j,...j", x, y))
    assert.equal('einsum: "i" has size 3 in operand 1 and 2 in another', of("ii", x))
    assert.equal('einsum: more follows the output "i"', of("ij->i->j", x))
    assert.equal("einsum: 0 tensors; expected 1..26", of("ij", {}))
    assert.equal("einsum: operands[1]: expected a tensor, got an integer", of("ij", 5))
    assert.equal("einsum: too many arguments: 3 given, 2 used", of("ij", { x }, 2))
    assert.equal("einsum: equation: expected a string, got a tensor", of(x, x))
  end)
end)
