-- Prints the installed lurn.h: the given header with every `#include "..."` replaced by the text
-- of that file, so that users need one file and no -I for the engine's directories.
--
--   lua header.lua engine/lurn.h > build/include/lurn.h

local root = arg[1]:match "^(.*)/" or "."

local function read(path)
  local file = assert(io.open(path, "r"))
  local text = file:read "a"
  file:close()
  return text
end

--- The file that `#include "name"` means in the file `includer`: beside it, or below the root.
local function resolve(name, includer)
  local beside = (includer:match "^(.*)/" or ".") .. "/" .. name
  local file = io.open(beside)
  if file then
    file:close()
    return beside
  end
  return root .. "/" .. name
end

--- The text of a file with its quoted includes inlined; `inside` holds the files being inlined.
local function inline(path, inside)
  assert(not inside[path], path .. " includes itself")
  inside[path] = true
  local lines = {}
  for line in read(path):gmatch "([^\n]*)\n?" do
    local name = line:match '^%s*#%s*include%s*"([^"]+)"'
    lines[#lines + 1] = name and inline(resolve(name, path), inside) or line
  end
  inside[path] = nil
  if lines[#lines] == "" then
    lines[#lines] = nil
  end
  return table.concat(lines, "\n")
end

io.write(inline(arg[1], {}), "\n")
