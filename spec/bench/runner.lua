-- Runs cases: in every round each contestant has its turn at each case, one after the other, so that what disturbs the
-- machine for a while disturbs all alike. Who comes first changes with the round.

local cases = require "bench.cases"
local peers = require "bench.peers"
local process = require "bench.process"
local stats = require "bench.stats"

local runner = {}

local Runner = {}
Runner.__index = Runner

---Results that differ by more are not compared.
runner.TOLERANCE = 1e-4

-- A contestant whose worker dies that often is asked no more.
local MOST_DEATHS = 3

---@param settings table found (contestants), machine (contestant), threads (list), rounds, budget (seconds), directory,
---progress (function of a line), say (function of a line)
---@return table
function runner.new(settings)
  local self = setmetatable({ workers = {}, deaths = {}, skips = {}, excluded = {}, samples = {}, extra = {},
    failures = {}, told = {} }, Runner)
  for name, value in pairs(settings) do self[name] = value end
  return self
end

-- ---- Workers ----

local function worker_key(contestant, threads) return contestant.id .. "/" .. threads end

---The long-lived worker of a contestant, started when it is first needed; nil when it died too often.
function Runner:worker(contestant, threads)
  local key = worker_key(contestant, threads)
  local worker = self.workers[key]
  if worker and worker.input then return worker end
  if (self.deaths[key] or 0) >= MOST_DEATHS then return nil end
  self.workers[key] = process.start(contestant.words(threads), peers.environment(contestant, threads), self.directory)
  return self.workers[key]
end

-- Remembers what went wrong, each thing once.
function Runner:failed(contestant, threads, what, message)
  local text = ("%s, %d thread%s, %s: %s"):format(contestant.name, threads, threads == 1 and "" or "s", what, message)
  if self.told[text] then return end
  self.told[text] = true
  self.failures[#self.failures + 1] = text
end

---An answer that is "ok"; nil when the contestant has nothing of the kind or failed, which is remembered.
function Runner:ask(contestant, threads, case, line)
  local kind = contestant.id .. "/" .. case.kind .. "/" .. case.mode
  if self.skips[kind] or self.excluded[kind] then return nil end
  local worker = self:worker(contestant, threads)
  if not worker then return nil end
  local answer, message = worker:ask(line)
  if not answer then
    local key = worker_key(contestant, threads)
    self.deaths[key] = (self.deaths[key] or 0) + 1
    self:failed(contestant, threads, case.name or case.kind, message)
    return nil
  end
  if answer.status == "skip" then self.skips[kind] = true end
  if answer.status == "error" then self:failed(contestant, threads, case.name or case.kind, answer.text) end
  return answer.status == "ok" and answer or nil
end

function Runner:close()
  for _, worker in pairs(self.workers) do worker:close() end
  self.workers = {}
end

---Asks every contestant what it is: sets version and detail where the worker tells them.
function Runner:introduce()
  for _, contestant in ipairs(self.found) do
    local answer = self:ask(contestant, 1, { kind = "info", mode = "" }, "info")
    if answer then
      contestant.version = answer.version ~= "" and answer.version or contestant.version
      contestant.detail = answer.detail
    end
  end
end

-- ---- Checking ----

local function numbers_of(text)
  local list = {}
  for word in tostring(text):gmatch "%S+" do list[#list + 1] = tonumber(word) or 0 / 0 end -- "nan" and "inf" too
  return list
end

-- One of each kind and mode among the cases, in their order.
local function kinds_of(list)
  local seen, kinds = {}, {}
  for _, case in ipairs(list) do
    local key = case.kind .. "/" .. case.mode
    if case.group ~= "peaks" and case.kind ~= "read" and not seen[key] then
      seen[key] = true
      kinds[#kinds + 1] = cases.small(case)
    end
  end
  return kinds
end

-- Compares a contestant's numbers with lurn's and shuts it out where they differ.
function Runner:check_one(contestant, threads, small, expected)
  local answer = self:ask(contestant, threads, small, cases.request("check", small))
  if not answer then return nil end
  local difference, reason = stats.difference(expected, numbers_of(answer.values))
  if not difference or difference > runner.TOLERANCE then
    self.excluded[contestant.id .. "/" .. small.kind .. "/" .. small.mode] = true
    self:failed(contestant, threads, small.kind .. " " .. small.mode, ("left out, its numbers are not lurn's (%s)")
      :format(reason or ("largest difference %.3g"):format(difference)))
  end
  return difference
end

---Lets everybody compute small cases and compares the numbers with lurn's.
---@return table[] checks kind, mode, differences (by contestant)
function Runner:check(list)
  local lurn, checks = self.found[1], {}
  for _, small in ipairs(kinds_of(list)) do
    local check = { kind = small.kind, mode = small.mode, differences = {} }
    local answer = self:ask(lurn, 1, small, cases.request("check", small))
    local expected = answer and numbers_of(answer.values)
    for _, threads in ipairs(expected and self.threads or {}) do
      for _, contestant in ipairs(self.found) do
        local difference = self:check_one(contestant, threads, small, expected)
        if difference and contestant ~= lurn then
          check.differences[contestant.id] = math.max(difference, check.differences[contestant.id] or 0.0)
        end
      end
    end
    checks[#checks + 1] = check
  end
  return checks
end

-- ---- Rounds ----

-- Two levels of tables, made as needed.
local function slot(results, key, threads)
  results[key] = results[key] or {}
  results[key][threads] = results[key][threads] or {}
  return results[key][threads]
end

function Runner:time_one(contestant, threads, case)
  local asked = contestant == self.machine and case.beside or case
  local answer = self:ask(contestant, threads, asked, cases.request("time", asked, self.budget))
  if not answer then return end
  if math.type(answer.seconds) ~= "float" or answer.seconds <= 0 then
    return self:failed(contestant, threads, case.name, "told no time")
  end
  local samples = slot(self.samples, case.key, threads)
  samples[contestant.id] = samples[contestant.id] or {}
  table.insert(samples[contestant.id], answer.seconds)
  if answer.setting then slot(self.extra, case.key, threads)[contestant.id] = answer.setting end
end

-- Reading and multiply-adds are one core's: more threads tell nothing new.
local function concerns(case, contestant, machine, threads)
  if case.kind == "read" or case.kind == "fma" then return contestant == machine and threads == 1 end
  return contestant ~= machine or case.kind == "matmul" or case.beside ~= nil
end

function Runner:run_case(case, threads, round)
  local all = table.move(self.found, 1, #self.found, 1, {})
  all[#all + 1] = self.machine
  for i = 1, #all do
    local contestant = all[(i + round - 2) % #all + 1]
    if concerns(case, contestant, self.machine, threads) then
      self.progress(("round %d of %d, %d thread%s: %s, %s"):format(round, self.rounds, threads,
        threads == 1 and "" or "s", case.name, contestant.name))
      self:time_one(contestant, threads, case)
      if contestant.rest and threads > 1 then os.execute("sleep " .. contestant.rest) end
    end
  end
end

---All rounds.
function Runner:run(list)
  for round = 1, self.rounds do
    for _, threads in ipairs(self.threads) do
      for _, case in ipairs(list) do self:run_case(case, threads, round) end
    end
  end
end

-- The samples of a contestant at a case, or nil.
local function samples_of(self, case, threads, id)
  local by_threads = self.samples[case.key]
  return by_threads and by_threads[threads] and by_threads[threads][id]
end

---Median seconds of a contestant at a case; nil when it has none.
function Runner:seconds(case, threads, id)
  local samples = samples_of(self, case, threads, id)
  return samples and stats.median(samples)
end

---The same of its best round.
function Runner:least(case, threads, id)
  local samples = samples_of(self, case, threads, id)
  return samples and math.min(table.unpack(samples))
end

-- ---- Start and memory ----

---Seconds from starting a process to the end of its first training step, and the most memory it took.
---@return table<string, {seconds: number[], peak_kib: number}> by contestant
function Runner:startup(now, rounds)
  local results = {}
  for round = 1, rounds do
    for _, contestant in ipairs(self.found) do
      if contestant.first_step then
        self.progress(("start %d of %d: %s"):format(round, rounds, contestant.name))
        local before = now()
        local env = peers.environment(contestant, self.threads[#self.threads])
        local worker <close> = process.start(contestant.first_step, env, self.directory)
        local answer, message = worker:read()
        local seconds = now() - before
        if answer and answer.status == "ok" then
          local result = results[contestant.id] or { seconds = {}, peak_kib = 0 }
          table.insert(result.seconds, seconds)
          result.peak_kib = math.max(result.peak_kib, answer.peak_kib or 0)
          results[contestant.id] = result
        else
          self:failed(contestant, 1, "start", message or answer.text)
        end
      end
    end
  end
  return results
end

---Resident memory of training, each case in a fresh process with one thread.
---@return table<string, table<string, {base_kib: number, peak_kib: number}>> by the case's name and contestant
function Runner:memory(list)
  local results = {}
  for _, case in ipairs(list) do
    results[case.name] = {}
    for _, contestant in ipairs(self.found) do
      local kind = contestant.id .. "/" .. case.kind .. "/" .. case.mode
      if not self.skips[kind] and not self.excluded[kind] then
        self.progress(("memory: %s, %s"):format(case.name, contestant.name))
        local worker <close> = process.start(contestant.words(1), peers.environment(contestant, 1), self.directory)
        local answer, message = worker:ask(cases.request("memory", case))
        if answer and answer.status == "ok" then
          results[case.name][contestant.id] = { base_kib = answer.base_kib, peak_kib = answer.peak_kib }
        elseif not answer or answer.status == "error" then
          self:failed(contestant, 1, "memory of " .. case.name, message or answer.text)
        end
      end
    end
  end
  return results
end

-- ---- The machine ----

---The core type with which OpenBLAS multiplies fastest, tried one after the other; "" leaves it to OpenBLAS.
---@param cores string[]
---@param programs string
---@return string core
---@return string chosen what OpenBLAS takes by itself
---@return integer fma_flops of one call of the worker's kernel for multiply-adds
function runner.best_core(cores, programs, directory)
  local best, least, by_itself, fma_flops = "", math.huge, "", 0
  for _, core in ipairs(cores) do
    local machine = peers.machine(programs, core)
    local worker <close> = process.start(machine.words(1), peers.environment(machine, 1), directory)
    local info = worker:ask "info"
    if info and info.status == "ok" then
      if core == "" then by_itself, fma_flops = info.core, info.fma_flops end
      for _ = 1, 3 do
        local answer = worker:ask "time\tkind=matmul\tM=512\tbudget=0.03"
        if answer and answer.seconds and answer.seconds < least then best, least = core, answer.seconds end
      end
    end
  end
  return best, by_itself, fma_flops
end

return runner
