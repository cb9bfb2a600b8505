-- examples/sensor.lua as its users run it; `make check ONLY=install` runs examples/sensor.c beside it.

local root = io.popen("pwd"):read "l"
local program = os.getenv "LURN" or "build/bin/lurn"
if program:sub(1, 1) ~= "/" then program = root .. "/" .. program end

describe("examples/sensor.lua", function()
  local directory

  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute("mkdir " .. directory))
  end)

  after_each(function() os.execute("rm -r " .. directory) end)

  local function write(name, text)
    local file = assert(io.open(directory .. "/" .. name, "w"))
    file:write(text)
    file:close()
  end

  -- It writes to the directory it runs in.
  local function run(words, input)
    local pipe = assert(io.popen(("cd %s && %s %s/examples/sensor.lua %s 2>&1 <%s"):format(directory, program, root,
      words, input or "/dev/null")))
    local output = pipe:read "a"
    local _, _, status = pipe:close()
    return output, status
  end

  it("learns to forecast, and finds the faults among new readings", function()
    local output, status = run ""
    assert.equal(0, status, output)
    local off, same = output:match 'unseen readings: ([%d.]+); of "the same again": ([%d.]+)\n'
    assert.is_true(tonumber(off) < tonumber(same) / 2)
    assert.matches("wrote sensor.safetensors\nwrote sensor.txt: new readings, 3 of them faulty\n$", output)
    output, status = run("--watch", "sensor.txt")
    assert.equal(0, status, output)
    local found = {}
    for at in output:gmatch "reading (%d+) is" do found[#found + 1] = tonumber(at) end
    assert.same({ 150, 321, 444 }, found)
    assert.matches("\n500 readings, 3 unusual\n$", output)
    output = run("--watch --sigmas 1000", "sensor.txt")
    assert.equal("500 readings, 0 unusual\n", output)
  end)

  it("learns from files", function()
    local lines = {}
    for t = 1, 120 do lines[t] = math.sin(t) .. "\n" end
    write("readings.txt", table.concat(lines))
    local output, status = run "--max_epochs 10 --model m readings.txt readings.txt"
    assert.equal(0, status, output)
    assert.matches("^epoch 10: loss 0%.%d+\n.*\nwrote m\n$", output)
    assert.equal("120 readings, 0 unusual\n", (run("--watch --model m --settle 120", "readings.txt")))
  end)

  it("says what is wrong", function()
    local function refused(message, words, input)
      local output, status = run(words, input)
      assert.equal("sensor: " .. message .. "\n", output)
      assert.equal(1, status)
    end
    refused("nowhere.txt: No such file or directory", "nowhere.txt")
    write("same.txt", ("3\n"):rep(100))
    write("few.txt", ("3\n"):rep(5))
    write("odd.txt", "1\n2\nthree\27" .. ("x"):rep(100))
    refused("the readings do not vary, or not all are numbers", "same.txt")
    refused("5 readings are too few for 8 stretches", "few.txt")
    refused("odd.txt: line 3 is 'three?" .. ("x"):rep(34) .. "'; expected a number", "odd.txt")
    refused("cannot read nowhere: No such file or directory", "--watch --model nowhere")
    assert(require "lurn".save(directory .. "/other", {}))
    refused("other: not a model of sensor.lua", "--watch --model other")
    local output, status = run "--sigmas many"
    assert.equal("sensor: --sigmas is 'many'; expected a number from 0\n(--help lists the options)\n", output)
    assert.equal(2, status)
  end)
end)
