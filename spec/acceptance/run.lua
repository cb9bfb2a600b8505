-- Trains recurrent networks on the published tasks and puts the results beside the published ones:
--
--   lurn spec/acceptance/run.lua [--full] [reber] [adding] [copy_memory] [temporal_order]
--
-- See docs/acceptance.md. The last line is "N passed, N failed"; the exit status is 1 when something failed.

package.path = arg[0]:match "^(.*)acceptance/run%.lua$" .. "?.lua;" .. package.path

local lurn = require "lurn"
local train = require "lurn.train"
local claims = require "acceptance.claims"

local SOURCES = {
  "[1] Hochreiter and Schmidhuber: Long short-term memory. Neural Computation 9, 1997",
  "[2] Bai, Kolter, Koltun: An empirical evaluation of generic convolutional and recurrent networks for sequence " ..
    "modeling. arXiv 1803.01271, 2018",
}

-- ---- What is asked for ----

local function usage(message)
  io.stderr:write("acceptance: ", message, "\nusage: lurn spec/acceptance/run.lua [--full] [task ...], the tasks: ")
  local names, seen = {}, {}
  for _, claim in ipairs(claims) do
    if not seen[claim.task] then names[#names + 1] = claim.task end
    seen[claim.task] = true
  end
  io.stderr:write(table.concat(names, " "), "\n")
  os.exit(2, true)
end

-- The claims that the command line names.
local function chosen(arguments)
  local full, wanted, any, list = false, {}, false, {}
  for _, word in ipairs(arguments) do
    if word == "--full" then full = true else wanted[word], any = false, true end
  end
  for _, claim in ipairs(claims) do
    local named = not any or wanted[claim.task] ~= nil
    if any and named then wanted[claim.task] = true end
    if named and (full or not claim.full) then list[#list + 1] = claim end
  end
  for word, known in pairs(wanted) do
    if not known then usage(("there is no task '%s'"):format(word)) end
  end
  return list
end

-- ---- Running ----

-- Trains with every seed, telling the mean loss of the last steps now and then.
local function run(claim, progress)
  local watch, results = train.clock.stopwatch(), {}
  for seed = 1, claim.seeds do
    claim.recipe.seed = seed
    local sum, n = 0, 0
    local function tell(step, loss)
      sum, n = sum + loss, n + 1
      if not progress:wants(step) then return end
      progress:show(("%s  %s  seed %d/%d  step %d/%d  loss %.5f  %s"):format(claim.task, claim.setting, seed,
        claim.seeds, step, claim.recipe.steps, sum / n, train.clock.format(watch:elapsed())))
      sum, n = 0, 0
    end
    results[seed] = table.pack(claim.train(claim.recipe, tell))
  end
  local text, passed = claim.sum_up(results)
  local verdict = passed == nil and "" or passed and "pass" or "FAIL"
  local row = { claim.task, claim.setting, claim.published, text, train.clock.format(watch:elapsed()), verdict }
  progress:say(("== %s  %s: %s  %s"):format(row[1], row[2], text, verdict))
  return row
end

local function print_table(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = cell .. (" "):rep(widths[i] - #cell) end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
end

local list, counts = chosen(arg), { pass = 0, FAIL = 0 }
local rows = { { "task", "setting", "published", "lurn", "time", "" } }
local progress = train.progress { every = 500 }
print(("lurn %s, %d threads"):format(lurn.version, lurn.get_num_threads()))
for _, claim in ipairs(list) do
  local row = run(claim, progress)
  local verdict = row[#row]
  counts[verdict], rows[#rows + 1] = (counts[verdict] or 0) + 1, row
end
print()
print_table(rows)
print("\n" .. table.concat(SOURCES, "\n"))
print(("\n%d passed, %d failed"):format(counts.pass, counts.FAIL))
os.exit(counts.FAIL == 0, true)
