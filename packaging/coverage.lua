-- Prints tables of line and branch coverage of the engine, per file and directory, from the counters of a
-- `--coverage` build.
--
--   lua packaging/coverage.lua build/coverage/obj              the tables
--   lua packaging/coverage.lua build/coverage/obj engine/io    and what was not reached there: every line and branch

local objects, shown = arg[1], arg[2]

--- path -> { text, run, branches } by line.  A header or template is compiled into many objects, a macro makes
--- several functions of one line: what any of them reached counts, since no one of them sees all of its use.
local files = {}

local function file_at(path)
  if path:match "^engine/" and not files[path] then
    files[path] = {}
  end
  return files[path]
end

local function line_at(file, number, text)
  local line = file[number] or { text = text, branches = {} }
  file[number] = line
  return line
end

--- One object's listing, of the form of `gcov --branch-probabilities --branch-counts`.
local function read(notes)
  local pipe = assert(io.popen(("gcov -b -c -t '%s' 2>/dev/null"):format(notes)))
  local file, line, branches
  for row in pipe:lines() do
    local count, number, text = row:match "^%s*([^:]+):%s*(%d+):(.*)$"
    if number == "0" then
      local path = text:match "^Source:(.*)"
      if path then
        file, line = file_at(path), nil
      end
    elseif file and number then
      line, branches = nil, 0
      if count ~= "-" then
        line = line_at(file, tonumber(number), text)
        line.run = line.run or not count:match "^[#=]"
      end
    elseif file and line and row:match "^branch" then
      branches = branches + 1
      line.branches[branches] = line.branches[branches] or (tonumber(row:match "taken (%d+)") or 0) > 0
    end
  end
  pipe:close()
end

local list = assert(io.popen(("find '%s/engine' -name '*.gcno' | sort"):format(objects)))
for notes in list:lines() do
  read(notes)
end
list:close()

local function sums_of(file)
  local sums = { lines = 0, run = 0, branches = 0, taken = 0 }
  for _, line in pairs(file) do
    sums.lines = sums.lines + 1
    sums.run = sums.run + (line.run and 1 or 0)
    for _, taken in ipairs(line.branches) do
      sums.branches = sums.branches + 1
      sums.taken = sums.taken + (taken and 1 or 0)
    end
  end
  return sums
end

local function cell(part, total)
  return total == 0 and "      -       " or ("%5.1f%% of %5d"):format(100 * part / total, total)
end

local function row(name, sums)
  print(("%-44s %s   %s"):format(name, cell(sums.run, sums.lines), cell(sums.taken, sums.branches)))
end

local function add(groups, name, sums)
  local group = groups[name] or { lines = 0, run = 0, branches = 0, taken = 0 }
  groups[name] = group
  for key, n in pairs(sums) do
    group[key] = group[key] + n
  end
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

--- The lines that did not run, and of those that did the numbers of the branches not taken.
local function show(path)
  for _, number in ipairs(sorted_keys(files[path])) do
    local line, missed = files[path][number], {}
    for i, taken in ipairs(line.branches) do
      if not taken then
        missed[#missed + 1] = i
      end
    end
    if not line.run or #missed > 0 then
      local what = line.run and ("%s of %d"):format(table.concat(missed, ","), #line.branches) or "not run"
      print(("%s:%d: [%s] %s"):format(path, number, what, line.text))
    end
  end
end

local directories, all = {}, {}
print(("%-44s %-15s   %s"):format("file", "lines", "branches taken"))
for _, path in ipairs(sorted_keys(files)) do
  local sums = sums_of(files[path])
  row(path, sums)
  add(directories, path:match "^(.*)/", sums)
  add(all, "engine", sums)
end
print()
for _, name in ipairs(sorted_keys(directories)) do
  row(name, directories[name])
end
row("all", all.engine or sums_of {})
if shown then
  print()
  for _, path in ipairs(sorted_keys(files)) do
    if path:sub(1, #shown) == shown then
      show(path)
    end
  end
end
