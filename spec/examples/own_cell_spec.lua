-- examples/own_cell.lua as its users run it.

local program = (os.getenv "LURN" or "build/bin/lurn") .. " examples/own_cell.lua "
local TINY = "--length 4 --iterations 2 --batch_size 8 --hidden_size 4 "

local function run(words)
  local pipe = assert(io.popen(program .. words .. " 2>&1 </dev/null"))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

-- The rows of the table, numbers by cell: gradient at 1, arrives, right, each with the worst; largest |h|; the same two
-- for longer sequences.
local function rows(output)
  local found = {}
  for _, name in ipairs { "before", "inside", "after" } do
    local line = assert(output:match("\n" .. name .. "( +[%d.e+-]+ [^\n]+)\n"), name)
    found[name] = {}
    for number in line:gmatch "[%d.]+e?[+-]?%d*" do table.insert(found[name], (tonumber(number))) end
    assert.equal(10, #found[name])
  end
  return found
end

describe("examples/own_cell.lua", function()
  it("compares three cells over several seeds", function()
    local output, status = run(TINY)
    assert.equal(0, status, output)
    assert.matches("^Remember the first of 4 symbols, one of 8; 2 batches of 8; 5 seeds, mean %(worst%)%.\n", output)
    local found = rows(output)
    -- |h| where the last thing is a gate times a tanh
    assert.is_true(found.inside[7] <= 1 and found.inside[10] <= 1 and found.before[7] <= 1)
    for _, r in pairs(found) do
      for _, k in ipairs { 1, 3, 5, 8 } do assert.is_true(r[k + 1] <= r[k]) end -- the worst is no better than the mean
    end
    assert.matches("may rank them differently%.\n$", output)
  end)

  it("gives the same numbers for the same seed", function()
    local first = run(TINY)
    assert.equal(first, (run(TINY)))
    assert.are_not.equal(first, (run(TINY .. "--seed 9")))
    assert.are_not.equal(first, (run(TINY .. "--seeds 2")))
  end)

  -- With f = 1 and no learning the three have the same weights and differ in the place of tanh alone.
  it("lets less of the gradient back through the tanh, and h grows without it", function()
    local found = rows((run "--length 60 --iterations 0 --batch_size 16 --forget_bias 30 --seeds 2"))
    assert.is_true(found.before[3] < found.inside[3] and found.before[4] < found.inside[4])
    assert.is_true(found.before[10] < 1 and found.inside[10] < 1)
    assert.is_true(found.after[7] > 2 and found.after[10] > 2 * found.after[7])
  end)

  it("has options, and says what is wrong with them", function()
    local output, status = run "--help"
    assert.equal(0, status)
    assert.matches("%-%-forget_bias N", output)
    output, status = run "--length 1"
    assert.equal(2, status)
    assert.matches("own_cell: %-%-length is '1'; expected a whole number from 2", output)
  end)
end)
