--- Writes the results of every op to the file that is named, as bytes.  ops_spec.lua runs this in a program of its
--- own, because the instruction set is chosen when a context is made.
---
---   LURN_ISA=scalar lurn spec/engine/ops/child.lua FILE

package.path = "./spec/?.lua;" .. package.path
local lurn = require "lurn"
local all = require "engine.ops.all"

local file = assert(io.open(arg[1], "wb"))
file:write(string.pack("s4", lurn.config().isa))
for _, op in ipairs(lurn.op_list()) do
  for _, dtype in ipairs { "float32", "float64" } do
    for _, t in ipairs(all.results(op, dtype)) do file:write(string.pack("s4s4", t.dtype, t:tobytes())) end
  end
end
assert(file:close())
