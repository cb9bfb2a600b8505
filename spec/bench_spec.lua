-- The benchmark's own logic: statistics, tables, the chart, choosing cases, and workers that fail in every manner.
-- Nothing here depends on how fast anything is.

local cases = require "bench.cases"
local chart = require "bench.chart"
local json = require "lurn.data.json"
local peers = require "bench.peers"
local process = require "bench.process"
local report = require "bench.report"
local runner = require "bench.runner"
local stats = require "bench.stats"

local program = os.getenv "LURN" or "build/bin/lurn"

describe("statistics", function()
  it("give the median and leave the list alone", function()
    local list = { 5, 1, 3 }
    assert.equal(3, stats.median(list))
    assert.same({ 5, 1, 3 }, list)
    assert.equal(2.5, stats.median { 4, 1, 2, 3 })
    assert.equal(7, stats.median { 7 })
    assert.is_nil(stats.median {})
  end)

  it("give geometric mean and spread", function()
    assert.is_true(math.abs(stats.geometric_mean { 1, 4, 16 } - 4) < 1e-12)
    assert.is_nil(stats.geometric_mean {})
    assert.equal(1.5, stats.spread { 1, 2, 4 })
    assert.equal(0.0, stats.spread { 3 })
  end)

  it("compare lists of numbers", function()
    assert.equal(0.5, stats.difference({ 1, 2 }, { 1, 2.5 }))
    assert.same({ nil, "1 numbers instead of 2" }, { stats.difference({ 1, 2 }, { 1 }) })
    assert.same({ nil, "number 2 is not finite" }, { stats.difference({ 1, 2 }, { 1, 0 / 0 }) })
    assert.same({ nil, "number 1 is not finite" }, { stats.difference({ 1 }, { math.huge }) })
  end)

  it("write times, ratios and sizes with three digits", function()
    assert.equal("1.5 ns", stats.time_text(1.5e-9))
    assert.equal("12.3 us", stats.time_text(1.234e-5))
    assert.equal("457 ms", stats.time_text(0.4567))
    assert.equal("1 ms", stats.time_text(0.9999e-3))
    assert.equal("2.5 s", stats.time_text(2.5))
    assert.equal("1.42x", stats.ratio_text(1.4249))
    assert.equal("12.3x", stats.ratio_text(12.34))
    assert.equal("2.5 MiB", stats.memory_text(2560))
  end)
end)

describe("cases", function()
  it("are chosen by group", function()
    assert.same({ lstm = true, gru = true }, cases.choose "lstm, gru")
    assert.is_true(cases.choose("").memory)
    local none, message = cases.choose "lstm lsmt"
    assert.is_nil(none)
    assert.matches('^there is no group "lsmt"; expected some of: lstm gru rnn .* startup memory$', message)
  end)

  it("always have the peaks, and keys of their own", function()
    for _, quick in ipairs { true, false } do
      local seen = {}
      for _, case in ipairs(cases.list(cases.choose "", quick)) do
        assert.is_nil(seen[case.key], case.key)
        seen[case.key] = true
      end
      assert.is_true(seen["peaks/multiply-adds in registers"])
    end
    assert.equal("peaks", cases.list({ gru = true }, true)[1].group)
  end)

  it("count the operations of the products", function()
    local list = cases.list({ lstm = true, infer = true }, true)
    local found = {}
    for _, case in ipairs(list) do found[case.name] = case.flops end
    assert.equal(2 * 50 * 16 * 4 * 128 * 256, found["lstm infer T=50 B=16 H=128"])
    assert.equal(3 * 2 * 50 * 16 * 4 * 128 * 256, found["lstm train T=50 B=16 H=128"])
  end)

  it("become one line", function()
    local case = { kind = "lstm", mode = "train", T = 50, N = 16, D = 8, H = 8 }
    assert.equal("time\tkind=lstm\tmode=train\tT=50\tN=16\tD=8\tH=8\tbudget=0.15", cases.request("time", case, 0.15))
    assert.equal("check\tkind=lstm\tmode=train\tT=5\tN=3\tD=7\tH=8", cases.request("check", cases.small(case)))
  end)
end)

describe("answers", function()
  it("are read", function()
    assert.same({ status = "ok", seconds = 0.5, version = "2.10", values = "7", setting = "own kernels" },
      process.parse "ok\tseconds=0.5\tversion=2.10\tvalues=7\tsetting=own kernels")
    assert.same({ status = "ok" }, process.parse "ok")
    assert.same({ status = "skip", text = "not mine" }, process.parse "skip\tnot mine")
    assert.same({ status = "error", text = "" }, process.parse "error")
  end)

  it("that are none are errors", function()
    for _, line in ipairs { "", "fine\tseconds=1", "Segmentation fault", "OK" } do
      local none, message = process.parse(line)
      assert.is_nil(none)
      assert.matches('^answered ".*"; expected ok, skip or error$', message)
    end
  end)
end)

describe("environments", function()
  it("tell OpenBLAS its core only where it would take an old one", function()
    assert.equal("SkylakeX", peers.better_core("avx512", "Prescott"))
    assert.equal("SkylakeX", peers.better_core("avx512", "Haswell"))
    assert.equal("Haswell", peers.better_core("avx2", "Prescott"))
    assert.is_nil(peers.better_core("avx512", "SkylakeX"))
    assert.is_nil(peers.better_core("avx512", "Cooperlake"))
    assert.is_nil(peers.better_core("avx2", "Zen"))
    assert.is_nil(peers.better_core("scalar", "Prescott"))
    assert.is_nil(peers.better_core("avx512", ""))
  end)

  it("hold the number of threads and what is the contestant's own", function()
    local env = peers.environment({ env = { OPENBLAS_CORETYPE = "Zen" } }, 3)
    assert.equal("3", env.OMP_NUM_THREADS)
    assert.equal("PASSIVE", env.OMP_WAIT_POLICY)
    assert.equal("Zen", env.OPENBLAS_CORETYPE)
  end)

  it("name what is missing", function()
    local found, missing = peers.find { lurn = program, here = "spec/bench", programs = "no/such", python = "",
      venv = "no/such", debian_python = "no/such", blas_core = "", config = { cpu_isa = "avx2", blas_kernel = "Zen" } }
    assert.equal("lurn", found[1].id)
    assert.equal(2, #found)
    local text = table.concat(missing, "\n")
    for _, what in ipairs { "PyTorch 2: missing", "PyTorch of Debian: missing", "libdnnl%-dev", "ONNX Runtime: mis" } do
      assert.matches(what, text)
    end
  end)
end)

describe("a table", function()
  it("lines its columns up", function()
    assert.same({ "       lurn  other", "------------------", "µs        1     22", "long  12345" },
      report.table { { "", "lurn", "other" }, { "µs", "1", "22" }, { "long", "12345" } })
    assert.same({ "a   b", "-----", "cc  d" }, report.table({ { "a", "b" }, { "cc", "d" } }, true))
  end)
end)

-- ---- Workers ----

local directory

local function fake(manner, id)
  local words = { program, "spec/bench/fake_peer.lua", manner }
  return { id = id or manner, name = manner, env = {}, words = function() return words end,
    first_step = { program, "spec/bench/fake_peer.lua", "once" } }
end

local function with_directory()
  directory = os.tmpname()
  os.remove(directory)
  assert(os.execute("mkdir " .. directory))
end

local function without_directory() os.execute("rm -r " .. directory) end

describe("a worker", function()
  before_each(with_directory)
  after_each(without_directory)

  local function start(manner) return process.start(fake(manner).words(), {}, directory) end

  it("answers as long as it is asked", function()
    local worker <close> = start "plain"
    for _ = 1, 3 do assert.equal(0.002, worker:ask("time\tT=1").seconds) end
    assert.equal("1.0", worker:ask("info").version)
    assert.equal("no such verb", worker:ask("nonsense").text)
  end)

  it("that dies tells its status and last words, and may be asked again", function()
    local worker <close> = start "crash"
    assert.equal("ok", worker:ask("info").status)
    for _ = 1, 2 do
      assert.same({ nil, "died with status 7: the last words" }, { worker:ask "time" })
    end
  end)

  it("that cannot start tells so", function()
    local worker <close> = process.start({ "./no/such/program" }, {}, directory)
    local none, message = worker:ask "info"
    assert.is_nil(none)
    assert.matches("^died with status 127: .*no/such/program", message)
  end)

  it("that breaks the protocol is closed", function()
    local worker <close> = start "babble"
    local none, message = worker:ask "time"
    assert.is_nil(none)
    assert.matches('^answered "Segmentation fault, just kidding"; expected', message)
    assert.is_nil(worker.input)
  end)

  it("gets its environment, without what would slow it down", function()
    local script = "printf 'ok\\tone=%s\\ttwo=%s\\n' \"$A\" \"${OPENBLAS_CORETYPE-none}\""
    local worker <close> = process.start({ "sh", "-c", script }, { A = "it's" }, directory)
    assert.same({ status = "ok", one = "it's", two = "none" }, worker:read())
  end)

  it("leaves no pipe behind", function()
    local worker = start "plain"
    worker:close()
    worker:close()
    assert.is_nil(io.open(worker.pipe_path))
    assert.is_nil(io.open(worker.log))
    assert.same({ nil, "is closed" }, { worker:ask "info" })
  end)
end)

describe("the rounds", function()
  before_each(with_directory)
  after_each(without_directory)

  local machine = fake("plain", "machine")

  local function run_with(manners, rounds)
    local found = { fake("plain", "lurn") }
    for _, manner in ipairs(manners) do found[#found + 1] = fake(manner) end
    local turns = {}
    local run = runner.new { found = found, machine = machine, threads = { 1 }, rounds = rounds, budget = 0.01,
      directory = directory, progress = function(text) turns[#turns + 1] = text:match "[^,]+$" end }
    return run, turns
  end

  local list = { { group = "lstm", kind = "lstm", mode = "train", T = 50, N = 16, D = 8, H = 8, name = "a case",
    key = "lstm/a case", flops = 4e6, beside = { kind = "matmul", mode = "peak", M = 100, flops = 2e6 } } }

  it("give everybody a turn, another first each time", function()
    local run, turns = run_with({ "slow" }, 2)
    run:run(list)
    run:close()
    assert.same({ " plain", " slow", " plain", " slow", " plain", " plain" }, turns) -- the third is the machine
    assert.equal(0.002, run:seconds(list[1], 1, "lurn"))
    assert.equal(0.004, run:seconds(list[1], 1, "slow"))
    assert.equal(0.004, run:least(list[1], 1, "slow"))
    assert.equal(2, #run.samples["lstm/a case"][1].slow)
    assert.same({}, run.failures)
  end)

  it("wait until the threads of one that spins on have come to rest", function()
    local run = run_with({ "slow" }, 2)
    run.found[2].rest, run.threads = 0.01, { 1, 2 }
    local execute, commands = os.execute, {}
    os.execute = function(command) -- luacheck: ignore
      if not command:find "^sleep" then return execute(command) end
      commands[#commands + 1] = command
    end
    local ok, message = pcall(run.run, run, list)
    os.execute = execute -- luacheck: ignore
    run:close()
    assert(ok, message)
    assert.same({ "sleep 0.01", "sleep 0.01" }, commands)
  end)

  it("go on when a contestant dies, refuses, errs or lies, and tell it once", function()
    local run = run_with({ "crash", "error", "skip", "babble", "timeless" }, 5)
    run:run(list)
    run:close()
    assert.equal(5, #run.samples["lstm/a case"][1].lurn)
    for _, id in ipairs { "crash", "error", "skip", "babble", "timeless" } do
      assert.is_nil(run:seconds(list[1], 1, id))
    end
    table.sort(run.failures)
    assert.same({
      'babble, 1 thread, a case: answered "Segmentation fault, just kidding"; expected ok, skip or error',
      "crash, 1 thread, a case: died with status 7: the last words",
      "error, 1 thread, a case: out of luck",
      "timeless, 1 thread, a case: told no time",
    }, run.failures)
    assert.equal(3, run.deaths["crash/1"])
  end)

  it("leave out whose numbers are not lurn's", function()
    local run = run_with({ "slow", "wrong", "short", "nan", "skip" }, 1)
    local checks = run:check(list)
    run:run(list)
    run:close()
    assert.equal(1, #checks)
    assert.same({ slow = 0.0, wrong = 1.0 }, checks[1].differences)
    assert.equal(0.004, run:seconds(list[1], 1, "slow"))
    for _, id in ipairs { "wrong", "short", "nan" } do assert.is_nil(run:seconds(list[1], 1, id)) end
    local text = table.concat(run.failures, "\n")
    assert.matches("wrong, 1 thread, lstm train: left out, its numbers are not lurn's %(largest difference 1%)", text)
    assert.matches("short, .-2 numbers instead of 3", text)
    assert.matches("nan, .-number 2 is not finite", text)
  end)

  it("ask for versions, starts and memory", function()
    local run = run_with({ "slow" }, 1)
    run:introduce()
    assert.equal("1.0", run.found[2].version)
    local ticks = 0
    local started = run:startup(function() ticks = ticks + 1 return ticks / 4 end, 2)
    assert.same({ seconds = { 0.25, 0.25 }, peak_kib = 2048 }, started.slow)
    local memory = run:memory(list)
    run:close()
    assert.same({ base_kib = 1000, peak_kib = 3048 }, memory["a case"].slow)
    assert.matches("^slow +250 ms +1.00x +2 MiB$", report.startup_lines(run, started)[4])
    assert.matches("^a case +2.98 MiB %+2 MiB", report.memory_lines(run, list, memory)[3])
  end)

  it("become a table, JSON and a chart", function()
    local run = run_with({ "slow", "error" }, 3)
    run:run(list)
    run:close()
    local peaks = { { fma = 4e9, openblas = 2e9, lurn = 1e9 } }
    local lines = report.all_lines(run, list, peaks)
    assert.matches("^LSTM training.*; 1 thread$", lines[2])
    assert.matches("^ +lurn +GF/s +of sgemm +of fma +slow$", lines[3])
    assert.matches("^a case +2 ms +2.0 +200%% +50%% +4 ms +2.00x$", lines[5])

    local value = json.decode(json.encode(report.value(run, list, peaks, { date = "today" })))
    assert.equal("today", value.date)
    assert.equal(0.004, value.results[1].times.slow.seconds)
    assert.equal(3, #value.results[1].times.slow.samples)
    assert.equal("careful", value.results[1].times.slow.setting)
    assert.equal("error, 1 thread, a case: out of luck", value.failures[1])
    local spec = chart.spec(value)
    assert.same({ label = "best sgemm", value = 2.0 }, spec.mark)
    assert.same({ "plain", "slow" }, spec.series)
    assert.same({ { label = "H 8", values = { plain = 2.0, slow = 1.0 } } }, spec.panels[1].groups)
  end)
end)

-- ---- The chart ----

-- Every tag that opens closes in its turn, attributes are quoted, and no bare & is left. Gives the tags' counts.
local function well_formed(svg)
  local open, counts = {}, {}
  for close, name, rest in svg:gmatch "<(/?)(%a+)([^<>]*)>" do
    if close == "/" then
      assert.equal(table.remove(open), name)
    else
      counts[name] = (counts[name] or 0) + 1
      assert.equal("", (rest:gsub('%s[%w:-]+="[^"<]*"', ""):gsub("^%s*/?%s*$", "")))
      if not rest:find "/%s*$" then open[#open + 1] = name end
    end
  end
  assert.equal(0, #open)
  assert.is_nil(svg:gsub("&%a+;", ""):find "&")
  return counts
end

describe("the chart", function()
  local function spec_of(groups, series)
    return { title = "a & <b>", subtitle = 'said "so"', series = series, panels = { { label = "p", groups = groups } } }
  end

  it("is well-formed, with a bar for each value", function()
    local svg = chart.svg(spec_of({ { label = "1", values = { x = 3, y = 7 } }, { label = "2", values = { x = 1 } } },
      { "x", "y" }))
    local counts = well_formed(svg)
    assert.equal(3 + 2, counts.rect) -- and two of the legend
    assert.equal(3, counts.title)
    assert.matches("a &amp; &lt;b&gt;", svg)
    assert.matches("prefers%-color%-scheme: dark", svg)
  end)

  it("bears nothing, zero and many series", function()
    well_formed(chart.svg(spec_of({}, {})))
    local spec = spec_of({ { label = "1", values = { x = 0 } } }, { "x" })
    local plain = well_formed(chart.svg(spec))
    spec.mark = { label = "m", value = 0.5 }
    assert.equal(1, well_formed(chart.svg(spec)).line - plain.line)
    local series = {}
    for i = 1, 11 do series[i] = "s" .. i end
    assert.equal(11, well_formed(chart.svg(spec_of({}, series))).rect)
  end)

  it("leaves out what has no operations to count", function()
    local step = { group = "stream", N = 1, H = 8, T = 1, flops = 1e6, threads = 1, times = { a = { seconds = 1e-3 } } }
    local read = { group = "stream", bytes = 64, threads = 1, times = { machine = { seconds = 1e-6 } } }
    local spec = chart.spec { results = { read, step }, contestants = { { id = "a", name = "A" } } }
    assert.same({ { label = "batch 1", groups = { { label = "H 8", values = { A = 1.0 } } } } }, spec.panels)
    assert.is_nil(spec.mark)
  end)

  it("is none without results", function() assert.is_nil(chart.spec { results = {}, contestants = {} }) end)
end)
