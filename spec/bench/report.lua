-- The benchmark's results as tables for a terminal and as one value for JSON.

local cases = require "bench.cases"
local stats = require "bench.stats"

local report = {}

-- ---- Tables ----

-- Width on a terminal: characters, not bytes.
local function width_of(text) return utf8.len(text) or #text end

local function padded(text, width, right)
  local space = (" "):rep(width - width_of(text))
  return right and space .. text or text .. space
end

---Lines of a table: the first column to the left, the others to the right, two spaces between.
---@param rows string[][] the first is the head; rows may differ in length
---@param words? boolean all columns to the left
---@return string[]
function report.table(rows, words)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do widths[i] = math.max(widths[i] or 0, width_of(text)) end
  end
  local lines = {}
  for r, row in ipairs(rows) do
    local cells = {}
    for i, text in ipairs(row) do cells[i] = padded(text, widths[i], i > 1 and not words) end
    lines[#lines + 1] = (table.concat(cells, "  "):gsub("%s+$", ""))
    if r == 1 then
      local total = 2 * (#widths - 1)
      for _, width in ipairs(widths) do total = total + width end
      lines[#lines + 1] = ("-"):rep(total)
    end
  end
  return lines
end

-- ---- Peaks ----

---Operations per second of the machine: multiply-adds in registers, OpenBLAS's and lurn's products. A peak is the best
---of all rounds.
---@param run table runner
---@param list table[] cases
---@param fma_flops integer of one call of the kernel
---@return table<integer, {fma: number?, openblas: number?, lurn: number?}> by number of threads
function report.peaks(run, list, fma_flops)
  local peaks = {}
  for _, threads in ipairs(run.threads) do
    local peak = {}
    for _, case in ipairs(list) do
      if case.kind == "fma" then
        local seconds = run:least(case, 1, "machine")
        peak.fma = seconds and fma_flops / seconds * threads
      elseif case.kind == "matmul" then
        for name, id in pairs { openblas = "machine", lurn = "lurn" } do
          local seconds = run:least(case, threads, id)
          if seconds then peak[name] = math.max(peak[name] or 0, case.flops / seconds) end
        end
      end
    end
    peaks[threads] = peak
  end
  return peaks
end

local function percent(part, whole) return whole and ("%.0f%%"):format(100 * part / whole) or "" end

---Lines about the peaks.
function report.peak_lines(run, peaks)
  local rows = { { "GFLOP/s", "multiply-add", "OpenBLAS sgemm", "lurn matmul", "of OpenBLAS", "of multiply-add" } }
  for _, threads in ipairs(run.threads) do
    local p = peaks[threads]
    local function cell(x) return x and ("%.0f"):format(x / 1e9) or "-" end
    rows[#rows + 1] = { ("%d thread%s"):format(threads, threads == 1 and "" or "s"), cell(p.fma), cell(p.openblas),
      cell(p.lurn), p.lurn and percent(p.lurn, p.openblas) or "", p.lurn and percent(p.lurn, p.fma) or "" }
  end
  return report.table(rows)
end

-- ---- A group ----

-- What one group shows of lurn besides its time: heads, and a function of case, seconds and context that gives the
-- cells. The context has run, threads and peak.
local function shares(case, seconds, context)
  local speed, beside = case.flops / seconds, case.beside
  local product = beside and context.run:seconds(case, context.threads, "machine")
  return { ("%.1f"):format(speed / 1e9), percent(speed, product and beside.flops / product),
    percent(speed, context.peak.fma) }
end

local columns = {}
local DEFAULT = { heads = { "GF/s", "of sgemm", "of fma" }, cells = shares }

columns.charlm = { heads = { "steps/s", "GF/s", "of sgemm" }, cells = function(case, seconds, context)
  local cells = shares(case, seconds, context)
  return { stats.three(1 / seconds), cells[1], cells[2] }
end }

columns.stream = { heads = { "weights read", "of that" }, cells = function(case, seconds, context)
  local read = context.run:seconds(case.read, 1, "machine")
  return read and { stats.time_text(read), stats.ratio_text(seconds / read) } or { "-", "-" }
end }

columns.linear = { heads = { "per step, row", "GF/s", "of sgemm" }, cells = function(case, seconds, context)
  local cells = shares(case, seconds, context)
  return { stats.time_text(seconds / case.units), cells[1], cells[2] }
end }

-- Those who have a time at any of the cases.
local function present(run, list, threads)
  local there = {}
  for _, contestant in ipairs(run.found) do
    for _, case in ipairs(list) do
      if run:seconds(case, threads, contestant.id) then
        there[#there + 1] = contestant
        break
      end
    end
  end
  return there
end

local function of_group(list, group)
  local found = {}
  for _, case in ipairs(list) do
    if case.group == group and not case.hidden then found[#found + 1] = case end
  end
  return found
end

-- lurn's cells, then time and ratio of each other.
local function row_of(context, case, others)
  local run, threads = context.run, context.threads
  local shown = columns[case.group] or DEFAULT
  local seconds = run:seconds(case, threads, "lurn")
  local row = { case.name, seconds and stats.time_text(seconds) or "-" }
  local cells = seconds and shown.cells(case, seconds, context) or {}
  for i = 1, #shown.heads do row[#row + 1] = cells[i] or "" end
  for _, other in ipairs(others) do
    local theirs = run:seconds(case, threads, other.id)
    row[#row + 1] = theirs and seconds
      and ("%s %6s"):format(stats.time_text(theirs), stats.ratio_text(theirs / seconds)) or "-"
  end
  return row
end

-- The geometric mean of the ratios under each peer.
local function means_of(run, list, threads, others, skipped)
  local row = { "geometric mean" }
  for i = 2, skipped do row[i] = "" end
  for _, other in ipairs(others) do
    local ratios = {}
    for _, case in ipairs(list) do
      local mine, theirs = run:seconds(case, threads, "lurn"), run:seconds(case, threads, other.id)
      if mine and theirs then ratios[#ratios + 1] = theirs / mine end
    end
    local mean = stats.geometric_mean(ratios)
    row[#row + 1] = mean and stats.ratio_text(mean) or "-"
  end
  return row
end

---Lines of a group's table; none when nothing of it was measured.
function report.group_lines(run, list, group, threads, peaks)
  local mine = of_group(list, group)
  local there = present(run, mine, threads)
  if #mine == 0 or #there == 0 then return {} end
  local others = {}
  for _, contestant in ipairs(there) do
    if contestant.id ~= "lurn" then others[#others + 1] = contestant end
  end
  local shown = columns[group] or DEFAULT
  local head = { "", "lurn", table.unpack(shown.heads) }
  for _, other in ipairs(others) do head[#head + 1] = other.name end
  local rows = { head }
  local context = { run = run, threads = threads, peak = peaks[threads] }
  for _, case in ipairs(mine) do rows[#rows + 1] = row_of(context, case, others) end
  if #mine > 1 and #others > 0 then
    rows[#rows + 1] = means_of(run, mine, threads, others, 2 + #shown.heads)
  end
  return report.table(rows)
end

---Every group's table under its title.
function report.all_lines(run, list, peaks)
  local lines = {}
  for _, group in ipairs(cases.groups) do
    for _, threads in ipairs(run.threads) do
      local body = report.group_lines(run, list, group[1], threads, peaks)
      if #body > 0 then
        lines[#lines + 1] = ""
        lines[#lines + 1] = ("%s; %d thread%s"):format(group[2], threads, threads == 1 and "" or "s")
        table.move(body, 1, #body, #lines + 1, lines)
      end
    end
  end
  return lines
end

-- ---- Start and memory ----

function report.startup_lines(run, results)
  local rows = { { "start to first training step", "time", "lurn faster by", "peak memory" } }
  local mine = results.lurn and stats.median(results.lurn.seconds)
  for _, contestant in ipairs(run.found) do
    local result = results[contestant.id]
    if result then
      local seconds = stats.median(result.seconds)
      rows[#rows + 1] = { contestant.name, stats.time_text(seconds), mine and stats.ratio_text(seconds / mine) or "",
        stats.memory_text(result.peak_kib) }
    end
  end
  return report.table(rows)
end

function report.memory_lines(run, list, results)
  local there, head = {}, { "peak resident memory, over the idle process" }
  for _, contestant in ipairs(run.found) do
    for _, case in ipairs(list) do
      if results[case.name][contestant.id] then
        there[#there + 1] = contestant
        head[#head + 1] = contestant.name
        break
      end
    end
  end
  local rows = { head }
  for _, case in ipairs(list) do
    local row = { case.name }
    for _, contestant in ipairs(there) do
      local r = results[case.name][contestant.id]
      row[#row + 1] = r and ("%s +%s"):format(stats.memory_text(r.peak_kib),
        stats.memory_text(math.max(0, r.peak_kib - r.base_kib))) or "-"
    end
    rows[#rows + 1] = row
  end
  return report.table(rows)
end

-- ---- JSON ----

local function times_of(run, case, threads)
  local times = {}
  for id, samples in pairs((run.samples[case.key] or {})[threads] or {}) do
    local extra = (run.extra[case.key] or {})[threads] or {}
    times[id] = { seconds = stats.median(samples), samples = samples, spread = stats.spread(samples),
      setting = extra[id] }
  end
  return times
end

local function contestants_of(run)
  local list = {}
  for i, c in ipairs(run.found) do
    list[i] = { id = c.id, name = c.name, version = c.version, detail = c.detail, environment = c.env }
  end
  return list
end

---Everything that was measured, as a value that JSON can hold.
---@param facts table further fields of the result, taken as they are
function report.value(run, list, peaks, facts)
  local results = {}
  for _, case in ipairs(list) do
    for _, threads in ipairs(run.threads) do
      local times = times_of(run, case, threads)
      if next(times) then
        results[#results + 1] = { group = case.group, name = case.name, kind = case.kind, mode = case.mode, T = case.T,
          N = case.N, D = case.D, H = case.H, M = case.M, bytes = case.bytes, flops = case.flops, threads = threads,
          beside = case.beside and { M = case.beside.M, flops = case.beside.flops }, times = times }
      end
    end
  end
  local value = { results = results, contestants = contestants_of(run), failures = run.failures, peaks = {} }
  for threads, peak in pairs(peaks) do value.peaks[tostring(threads)] = peak end
  for name, fact in pairs(facts) do value[name] = fact end
  return value
end

return report
