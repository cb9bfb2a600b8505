-- Prints a table of line and branch coverage per engine file from the counters of a `--coverage` build.
--
--   lua packaging/coverage.lua build/coverage/obj

local objects = arg[1]

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text:gmatch "[^\n]+"
end

--- Counts by source file.  A header or template appears under many objects: the best of them is kept, since no
--- one object sees all of its use.
local files = {}

local function note(path, kind, percent, total)
  local file = files[path] or {}
  files[path] = file
  local covered = percent / 100 * total
  if not file[kind] or covered > file[kind].covered then
    file[kind] = { covered = covered, total = total }
  end
end

for notes in lines_of(("find '%s/engine' -name '*.gcno' | sort"):format(objects)) do
  local path
  for line in lines_of(("gcov -b -n '%s' 2>/dev/null"):format(notes)) do
    path = line:match "^File '(.*)'" or path
    if path and path:match "^engine/" then
      local percent, total = line:match "^Lines executed:([%d.]+)%% of (%d+)"
      if percent then
        note(path, "lines", tonumber(percent), tonumber(total))
      end
      percent, total = line:match "^Taken at least once:([%d.]+)%% of (%d+)"
      if percent then
        note(path, "branches", tonumber(percent), tonumber(total))
      end
    end
  end
end

local sums = { lines = { covered = 0, total = 0 }, branches = { covered = 0, total = 0 } }

local function cell(count)
  if not count or count.total == 0 then
    return "      -       "
  end
  return ("%5.1f%% of %5d"):format(100 * count.covered / count.total, count.total)
end

local function row(name, file)
  print(("%-44s %s   %s"):format(name, cell(file.lines), cell(file.branches)))
end

local names = {}
for name, file in pairs(files) do
  names[#names + 1] = name
  for kind, sum in pairs(sums) do
    sum.covered = sum.covered + (file[kind] and file[kind].covered or 0)
    sum.total = sum.total + (file[kind] and file[kind].total or 0)
  end
end
table.sort(names)
print(("%-44s %-15s   %s"):format("file", "lines", "branches taken"))
for _, name in ipairs(names) do
  row(name, files[name])
end
row("all", sums)
