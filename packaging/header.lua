-- Prints the installed lurn.h: engine/lurn.h with the prototypes of all ops written out, each under its documentation.
--
--   lurn packaging/header.lua engine/lurn.h > build/include/lurn.h

local core = require "lurn.core"

-- How a parameter of each kind is declared.
local declarations = {
  tensor = "lurn_tensor *%s",
  scalar = "lurn_tensor *%s",
  optional = "lurn_tensor *%s",
  list = "lurn_tensor *const *%s, int64_t n_%s",
  int = "int64_t %s",
  real = "double %s",
  flag = "bool %s",
  dim = "int64_t %s",
  dims = "const int64_t *%s, int64_t n_%s",
  sizes = "const int64_t *%s, int64_t n_%s",
  position = "int64_t %s",
  base = "int64_t %s",
  choice = "int64_t %s",
  dtype = "int64_t %s",
  record = "lurn_record *%s",
  output = "lurn_tensor **%s",
}

local WIDTH = 118

--- Words of text broken into lines that start with `lead`.
local function wrap(text, lead)
  local lines, line = {}, lead
  for word in text:gmatch "%S+" do
    if #line + #word + 1 > WIDTH and line ~= lead then
      lines[#lines + 1] = line
      line = lead
    end
    line = line == lead and lead .. word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return lines
end

local function comment(op)
  local lines = {}
  for paragraph in op.doc:gmatch "[^\n]+" do
    for _, line in ipairs(wrap(paragraph, "   ")) do lines[#lines + 1] = line end
  end
  for _, param in ipairs(op.params) do
    if param.choices then
      local words, n = {}, 0
      for word in param.choices:gmatch "[^|]+" do
        words[#words + 1] = ("%d %s"):format(n, word)
        n = n + 1
      end
      lines[#lines + 1] = ("   %s: %s"):format(param.name, table.concat(words, ", "))
    end
  end
  lines[1] = "/*" .. lines[1]:sub(3)
  lines[#lines] = lines[#lines] .. " */"
  return table.concat(lines, "\n")
end

local function prototype(op, name, with_outputs)
  local parts = { "lurn_ctx *ctx" }
  for _, param in ipairs(op.params) do
    if with_outputs or param.kind ~= "output" then
      parts[#parts + 1] = declarations[param.kind]:format(param.name, param.name)
    end
  end
  local text = ("LURN_API LURN_CHECKED lurn_status %s(%s);"):format(name, table.concat(parts, ", "))
  local lines = wrap(text, "")
  for i = 2, #lines do lines[i] = "    " .. lines[i] end
  return table.concat(lines, "\n")
end

local function all_ops()
  local out = {}
  for _, op in ipairs(core.op_list()) do
    out[#out + 1] = comment(op)
    out[#out + 1] = prototype(op, "lurn_" .. op.name, true)
    if op.inplace then out[#out + 1] = prototype(op, "lurn_" .. op.name .. "_", false) end
    out[#out + 1] = ""
  end
  return table.concat(out, "\n")
end

local file = assert(io.open(arg[1]))
for line in file:lines() do
  if line:match '^#include "ops/ops_expand.h"' then
    io.write(all_ops())
  elseif line:match '^#include "' then
    error("unexpected include in " .. arg[1] .. ": " .. line)
  else
    io.write(line, "\n")
  end
end
file:close()
