-- What is claimed of lurn on each task, beside what was published. Each claim trains some networks and gives what came
-- out, as text, and whether it passed; nil where the number is reported for comparison alone.

local adding = require "acceptance.adding"
local copy = require "acceptance.copy_memory"
local net = require "acceptance.net"
local order = require "acceptance.temporal_order"
local reber = require "acceptance.reber"

---@class acceptance.Claim
---@field task string
---@field setting string
---@field published string
---@field seeds integer
---@field recipe acceptance.Recipe
---@field train fun(recipe: acceptance.Recipe, tell: function): any ... with each of the seeds 1, 2, ...
---@field sum_up fun(results: any[][]): string, boolean? the results of `train` for every seed
---@field full? boolean only in the full run

---@type acceptance.Claim[]
local claims = {}

local function claim(task, setting, published, rest)
  rest.task, rest.setting, rest.published = task, setting, published
  claims[#claims + 1] = rest
end

-- The n-th results of all seeds, in rising order; math.huge for what is missing.
local function column(results, n)
  local list = {}
  for i, result in ipairs(results) do list[i] = result[n] or math.huge end
  table.sort(list)
  return list
end

local function median(list) return list[#list // 2 + 1] end

local function thousands(n) return (("%d"):format(n):reverse():gsub("(%d%d%d)(%d)", "%1,%2"):reverse()) end

-- ---- Embedded Reber grammar ----

local function reber_claim(setting, published, changes, required)
  claim("reber", setting, published, {
    seeds = required and 10 or 3,
    recipe = net.with(reber.recipe, changes),
    train = function(recipe, tell) return reber.run(3000, recipe, tell) end,
    sum_up = function(results)
      local perfect, worst = 0, column(results, 1)[1]
      for _, result in ipairs(results) do
        if result[1] == 256 then perfect = perfect + 1 end
      end
      local text = ("%d of %d seeds perfect, worst %d of 256 strings"):format(perfect, #results, worst)
      if not required then return text end
      return text, perfect == #results
    end,
  })
end

reber_claim("LSTM 16, 18,000 strings shown", "97-100% of trials, 8,440-39,740 shown [1]", {}, true)
reber_claim("GRU 16", "-", { kind = "GRU" })
reber_claim("RNN 16", "Elman net: 0%, 200,000 shown [1]", { kind = "RNN" })

-- ---- Adding problem ----

local function adding_claim(setting, T, published, changes, more)
  more = more or {}
  claim("adding", setting, published, {
    seeds = more.seeds or 1,
    full = more.full,
    recipe = net.with(adding.recipe, changes),
    train = function(recipe, tell) return adding.run(T, recipe, tell) end,
    sum_up = function(results)
      local errors = column(results, 1)
      local text = ("error %.1e"):format(median(errors))
      if #errors > 1 then text = text .. (" (%.1e to %.1e)"):format(errors[1], errors[#errors]) end
      if not more.below then return text end
      return text, median(errors) < more.below
    end,
  })
end

adding_claim("LSTM 64, T = 100", 100, "trivial answer 1.7e-1", {}, { seeds = 3, below = 1e-3 })
adding_claim("GRU 64, T = 100", 100, "trivial answer 1.7e-1", { kind = "GRU" }, { seeds = 3, below = 1e-3 })
adding_claim("RNN 64, T = 100", 100, "T = 600: 1.8e-1 [2]", { kind = "RNN" })
adding_claim("LSTM 64, chrono, T = 400", 400, "T = 600: 1.6e-1 [2]", { max_time = 400 })
adding_claim("GRU 64, T = 400", 400, "T = 600: 5.3e-5 [2]", { kind = "GRU" })
adding_claim("LSTM 64, T = 600", 600, "1.6e-1 [2]", {}, { full = true })
adding_claim("LSTM 64, chrono, T = 600", 600, "1.6e-1 [2]", { max_time = 600 }, { full = true })
adding_claim("GRU 64, T = 600", 600, "5.3e-5 [2]", { kind = "GRU" }, { full = true })

-- ---- Copy memory ----

local function copy_claim(setting, T, published, changes, more)
  more = more or {}
  claim("copy_memory", setting, published, {
    seeds = 1,
    full = more.full,
    recipe = net.with(copy.recipe, changes),
    train = function(recipe, tell) return copy.run(T, recipe, tell) end,
    sum_up = function(results)
      local loss, accuracy = table.unpack(results[1])
      local text = ("loss %.4f of %.4f, %.0f%% of the symbols"):format(loss, copy.memoryless(T), 100 * accuracy)
      if not more.share then return text end
      return text, loss < more.share * copy.memoryless(T)
    end,
  })
end

copy_claim("GRU 96, chrono, T = 100", 100, "-", { hidden = 96, max_time = 100 }, { share = 0.5 })
copy_claim("LSTM 64, chrono, T = 100", 100, "-", { kind = "LSTM", max_time = 100, steps = 4000 })
copy_claim("RNN 64, T = 100", 100, "-", { kind = "RNN", steps = 4000 })
copy_claim("LSTM 64, T = 500", 500, "-", { kind = "LSTM", steps = 2000 }, { full = true })
copy_claim("LSTM 64, T = 1000", 1000, "0.0204 of 0.0204 [2]", { kind = "LSTM", steps = 2000 }, { full = true })
copy_claim("GRU 64, T = 1000", 1000, "0.0197 of 0.0204 [2]", { steps = 2000 }, { full = true })

-- ---- Temporal order ----

local function order_claim(setting, experiment, published, changes, most)
  claim("temporal_order", setting, published, {
    seeds = most and 5 or 3,
    recipe = net.with(order.recipe, changes),
    train = function(recipe, tell) return order.run(experiment, recipe, tell) end,
    sum_up = function(results)
      local shown, wrong = median(column(results, 1)), median(column(results, 2))
      local learned = shown < math.huge and thousands(shown) .. " sequences" or "not learned"
      local text = ("%s, %s of 2,560 wrong"):format(learned, thousands(wrong))
      if not most then return text end
      return text, shown <= most and wrong <= 2
    end,
  })
end

local SIX_A, SIX_B = "31,390 sequences, 1 of 2,560 wrong [1]", "571,100 sequences, 2 of 2,560 wrong [1]"
order_claim("6a: LSTM 16, chrono", "6a", SIX_A, {}, 31390)
order_claim("6a: GRU 16, chrono", "6a", "-", { kind = "GRU" }, 31390)
order_claim("6a: LSTM 16", "6a", "-", { max_time = false })
order_claim("6a: RNN 16", "6a", "-", { kind = "RNN", max_time = false })
order_claim("6b: LSTM 16, chrono", "6b", SIX_B, {}, 571100)
order_claim("6b: GRU 16, chrono", "6b", "-", { kind = "GRU" }, 571100)

return claims
