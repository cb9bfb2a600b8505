-- make bench: compares lurn with its peers on this machine, in one run.
--
--   lurn spec/bench/run.lua [group...]      see spec/bench/README.md for the environment variables

local here = arg[0]:match "^(.*)/[^/]*$" or "."
package.path = here .. "/../?.lua;" .. package.path

local lurn = require "lurn"
local cases = require "bench.cases"
local chart = require "bench.chart"
local clock = require "lurn.train.clock"
local json = require "lurn.data.json"
local peers = require "bench.peers"
local process = require "bench.process"
local report = require "bench.report"
local runner = require "bench.runner"

-- ---- Settings ----

local function fail(message)
  io.stderr:write("bench: ", message, "\n")
  os.exit(2, true)
end

-- A positive number of the environment, or the default.
local function number_of(name, default)
  local text = os.getenv(name)
  if not text or text == "" then return default end
  local n = tonumber(text)
  if not n or n <= 0 then fail(("%s is %q; expected a positive number"):format(name, text)) end
  return n
end

local function flag_of(name)
  local text = os.getenv(name)
  return text ~= nil and text ~= "" and text ~= "0"
end

-- 1 and the number of cores, or what BENCH_THREADS lists.
local function threads_of(cores)
  local list, given = {}, os.getenv "BENCH_THREADS"
  for word in (given and given ~= "" and given or ("1 " .. cores)):gmatch "[^%s,]+" do
    local n = math.tointeger(tonumber(word))
    if not n or n < 1 or n > 256 then fail(("BENCH_THREADS names %q; expected numbers of threads"):format(word)) end
    if list[#list] ~= n then list[#list + 1] = n end
  end
  return list
end

local function read_settings()
  local quick = flag_of "QUICK"
  local chosen, message = cases.choose(table.concat(arg, " "))
  if not chosen then fail(message) end
  local build, home = os.getenv "BUILD" or "build", os.getenv "HOME" or "."
  local config = lurn.config()
  return { quick = quick, chosen = chosen, here = here, save = flag_of "SAVE", config = config,
    rounds = math.ceil(number_of("ROUNDS", quick and 2 or 5)), budget = number_of("BUDGET", quick and 0.05 or 0.15),
    threads = threads_of(config.cores), lurn = build .. "/bin/lurn", programs = build .. "/bench",
    directory = build .. "/bench/workers", python = os.getenv "BENCH_PYTHON" or "", debian_python = "/usr/bin/python3",
    venv = os.getenv "BENCH_VENV" or home .. "/.cache/lurn-bench/venv" }
end

-- ---- Telling ----

local on_terminal = os.execute "test -t 2" == true
local started = clock.now()
local told_at = -math.huge

-- One line that changes on a terminal; elsewhere a line now and then.
local function progress(text)
  local now = clock.now()
  local line = ("%s  %s"):format(clock.format(now - started), text)
  if on_terminal then
    io.stderr:write("\r\27[K", line:sub(1, 110))
  elseif now - told_at > 10 then
    io.stderr:write(line, "\n")
    told_at = now
  end
end

local function clear_progress()
  if on_terminal then io.stderr:write "\r\27[K" end
end

local function show(lines)
  for _, line in ipairs(lines) do print(line) end
end

-- The first capture of the pattern in a file of the system, or "".
local function from_system(path, pattern)
  local file <close> = io.open(path)
  return file and (file:read(65536) or ""):match(pattern) or ""
end

local function machine_text(config)
  local cpu = from_system("/proc/cpuinfo", "model name%s*:%s*([^\n]+)")
  return ("%s, %d core%s"):format(cpu ~= "" and cpu or "unknown CPU", config.cores, config.cores == 1 and "" or "s")
end

-- The environment that one contestant has beyond the others'.
local function own_settings(contestant)
  local parts = {}
  for name, value in pairs(contestant.env) do parts[#parts + 1] = name .. "=" .. value end
  table.sort(parts)
  return table.concat(parts, " ")
end

local function introduce(run, missing, settings)
  print(("lurn's benchmark on %s"):format(machine_text(settings.config)))
  local rows = { { "contestant", "version", "remarks" } }
  for _, c in ipairs(run.found) do
    local own, detail = own_settings(c), c.detail or ""
    if own ~= "" then detail = detail .. (detail ~= "" and ", " or "") .. own end
    rows[#rows + 1] = { c.name, c.version or "", detail }
  end
  show(report.table(rows, true))
  for _, line in ipairs(missing) do print(line) end
end

local METHOD = [[

How it was measured: %s; in each, everybody has a turn at every case, in processes that live through the
whole run. A turn warms up, then measures for %g s. Shown are medians over the rounds, of peaks the best; float32.
A ratio above 1 means that lurn is faster. GF/s counts the products of the layer alone; shares are of sgemm (OpenBLAS
with its best kernel, 1024 x 1024 x 1024, in a turn of its own at every case) and of multiply-adds in registers (one
core's best, times threads).
PyTorch runs with oneDNN or with its own kernels, for a step of a stream with a cell, under inference_mode where nothing
is trained, with fused Adam where it has it: what is fastest is found per case. oneDNN packs its weights in every
training step, as an update forces; "bare" leaves that out. Debian's PyTorch is told the OpenBLAS kernel above where
OpenBLAS would take one for an older CPU. Waiting threads spin for a moment, then sleep (OMP_WAIT_POLICY=PASSIVE,
GOMP_SPINCOUNT=20000, but 0 for Debian's PyTorch, which is faster so); variables that slow a peer are unset.]]

-- ---- Checks ----

local function check_lines(run, checks)
  local rows = { { "largest difference from lurn" } }
  for _, c in ipairs(run.found) do
    if c.id ~= "lurn" then table.insert(rows[1], c.name) end
  end
  for _, check in ipairs(checks) do
    local row = { check.kind .. " " .. check.mode }
    for _, c in ipairs(run.found) do
      local d = check.differences[c.id]
      if c.id ~= "lurn" then row[#row + 1] = d and ("%.1e"):format(d) or "-" end
    end
    rows[#rows + 1] = row
  end
  return report.table(rows)
end

-- ---- Files ----

local function write_file(path, text)
  local file, message = io.open(path, "w")
  if not file then fail(message) end
  file:write(text)
  file:close()
  print("wrote " .. path)
end

local function write_results(value, settings)
  write_file(settings.programs .. "/bench.json", json.encode(value) .. "\n")
  local spec = chart.spec(value)
  if not spec then return end
  write_file(settings.programs .. "/bench.svg", chart.svg(spec))
  if settings.save then write_file(here .. "/../../docs/bench.svg", chart.svg(spec)) end
end

-- ---- Everything ----

local function titles_of()
  local titles = {}
  for _, group in ipairs(cases.groups) do titles[group[1]] = group[3] or group[2] end
  return titles
end

local function measure_special(run, settings, facts)
  if settings.chosen.startup then
    facts.startup = run:startup(clock.now, settings.rounds + 1)
    clear_progress()
    print()
    show(report.startup_lines(run, facts.startup))
  end
  if settings.chosen.memory then
    local list = cases.memory(settings.quick)
    facts.memory = run:memory(list)
    clear_progress()
    print()
    show(report.memory_lines(run, list, facts.memory))
  end
end

local function main()
  local settings = read_settings()
  assert(os.execute("mkdir -p " .. process.quote(settings.directory)))
  progress "looking for OpenBLAS's best kernel"
  local core, by_itself, fma_flops = runner.best_core(peers.cores(settings.config.cpu_isa), settings.programs,
    settings.directory)
  settings.blas_core = core
  progress "looking for peers"
  local found, missing = peers.find(settings)
  clear_progress()
  local run <close> = setmetatable({}, { __close = function(self) self.runner:close() end })
  run.runner = runner.new { found = found, machine = peers.machine(settings.programs, core), threads = settings.threads,
    rounds = settings.rounds, budget = settings.budget, directory = settings.directory, progress = progress }
  local r = run.runner
  r:introduce()
  introduce(r, missing, settings)
  print(("OpenBLAS takes its %s kernels by itself; its best here: %s"):format(by_itself,
    core ~= "" and core or by_itself))

  local list = cases.list(settings.chosen, settings.quick)
  local checks = r:check(list)
  if #checks > 0 then
    print()
    show(check_lines(r, checks))
  end
  r:run(list)
  clear_progress()
  local peaks = report.peaks(r, list, fma_flops)
  print()
  show(report.peak_lines(r, peaks))
  show(report.all_lines(r, list, peaks))
  local facts = { checks = checks, missing = missing, date = os.date "%Y-%m-%d", quick = settings.quick,
    rounds = settings.rounds, budget = settings.budget, threads = settings.threads, titles = titles_of(),
    machine = machine_text(settings.config), openblas = { core = core, by_itself = by_itself },
    lurn = settings.config }
  measure_special(r, settings, facts)
  print(METHOD:format(settings.rounds == 1 and "1 round" or settings.rounds .. " rounds", settings.budget))
  if #r.failures > 0 then print "\nwhat went wrong:" end
  show(r.failures)
  write_results(report.value(r, list, peaks, facts), settings)
end

main()
