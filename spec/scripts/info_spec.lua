-- `lurn info` as seen from a shell.

local lurn = require "lurn"

local program = os.getenv "LURN" or "build/bin/lurn"
local file

local function run(words, environment)
  local pipe = assert(io.popen(("%s %s info %s 2>&1 </dev/null"):format(environment or "", program, words)))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

describe("lurn info", function()
  before_each(function() file = os.tmpname() end)
  after_each(function() os.remove(file) end)

  it("tells about the installation", function()
    local output, status = run ""
    local config = lurn.config()
    assert.equal(0, status)
    assert.matches("^lurn           " .. config.version:gsub("%p", "%%%0") .. "\nLua            5%.4", output)
    assert.matches("\nkernels        " .. config.isa, output)
    assert.matches("\nthreads        %d+ on %d+ core", output)
    assert.matches("\nBLAS           %S", output)
    assert.matches("\nBLAS threads   1\n", output)
  end)

  it("warns of an old BLAS kernel", function()
    local output = run("", "OPENBLAS_CORETYPE=Prescott")
    if lurn.config().cpu_isa == "scalar" or not output:find "BLAS kernel    Prescott" then
      pending "this BLAS or CPU has no older kernel to choose"
      return
    end
    assert.matches("\nnote: OpenBLAS runs its Prescott kernel, which is older than this CPU", output)
    assert.matches("OPENBLAS_CORETYPE=Prescott asks for it; unset that", output)
  end)

  it("lists a file's tensors, totals and metadata", function()
    assert(lurn.save(file, { ["rnn.weight"] = lurn.zeros(12, 100), bias = lurn.zeros(3, { dtype = "float64" }),
      n = lurn.tensor(3, { dtype = "int64" }) }, { note = "two\nlines", long = ("한"):rep(100) }))
    local output, status = run(file)
    assert.equal(0, status)
    assert.matches("name        dtype    shape +bytes\n", output)
    assert.matches("\nrnn%.weight  F32      {12, 100} +4,800\n", output)
    assert.matches("\nbias        F64      {3} +24\n", output)
    assert.matches("\nn           I64      {} +8\n", output)
    assert.matches("\n\n3 tensors, 1,204 numbers, 4%.7 KiB\n", output)
    assert.matches("\n  note: two\\nlines\n", output)
    assert.matches("\n  long: " .. ("한"):rep(32) .. "%.%.%. %(300 bytes%)\n", output)
    assert.falsy(output:find "the model has")
  end)

  it("counts a checkpoint's parameters", function()
    assert(lurn.save(file, { ["model.w"] = lurn.zeros(40, 30), ["optimizer.x"] = lurn.zeros(7) }))
    assert.matches("\nthe model has 1,200 parameters %(model%.%*%)\n", (run(file)))
  end)

  it("shows a file without tensors", function()
    assert(lurn.save(file, {}))
    local output, status = run(file)
    assert.equal(0, status)
    assert.matches("0 tensors, 0 numbers, 0 bytes", output)
  end)

  it("fails for what it cannot read", function()
    local output, status = run "/nowhere.safetensors"
    assert.equal(1, status)
    assert.matches("^lurn info: .*/nowhere%.safetensors: No such file", output)
    output, status = run "README.md Makefile"
    assert.equal(1, status)
    assert.equal("lurn info: expected one file\n", output)
    output, status = run "Makefile"
    assert.equal(1, status)
    assert.matches("^lurn info: .*Makefile", output)
  end)
end)
