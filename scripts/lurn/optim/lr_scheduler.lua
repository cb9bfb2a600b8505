-- Learning rate schedules, as in torch.optim.lr_scheduler: make one after the optimizer, call `step()` once per epoch
-- (or whatever the schedule counts) after the optimizer's steps. Each changes the rate that it finds, so several on one
-- optimizer multiply. A required option may stand before the table: `StepLR(opt, 30, {gamma = 0.5})`.

local core = require "lurn.core"
local methods = require "lurn.methods"

local lr_scheduler = {}

---@class lurn.optim.Scheduler
---@field kind string
---@field optimizer lurn.optim.Optimizer
---@field last_epoch integer calls of `step` so far
---@field base_lrs number[] the rates that it found at first, per group
local Scheduler = {}
Scheduler.__index = Scheduler

-- ---- Options ----

local function whole(v) return math.type(v) == "integer" or (math.type(v) == "float" and v == math.floor(v)) end
local function number(v) return type(v) == "number" and v == v end

local function list_of_rates(v, optimizer)
  if number(v) then return v >= 0 end
  if type(v) ~= "table" or #v ~= #optimizer.param_groups then return false end
  for _, item in ipairs(v) do if not (number(item) and item >= 0) then return false end end
  return true
end

-- What an option may be, in words and as a test.
local COUNT = { "a whole number of at least 1", function(v) return whole(v) and v >= 1 end }
local PATIENCE = { "a whole number of at least 0", function(v) return whole(v) and v >= 0 end }
local AT_LEAST_0 = { "at least 0", function(v) return number(v) and v >= 0 end }
local ABOVE_0 = { "above 0", function(v) return number(v) and v > 0 end }
local FACTOR = { "at least 0 and below 1", function(v) return number(v) and v >= 0 and v < 1 end }
local MIN_OR_MAX = { '"min" or "max"', function(v) return v == "min" or v == "max" end }
local REL_OR_ABS = { '"rel" or "abs"', function(v) return v == "rel" or v == "abs" end }
local SHARE = { "above 0 and below 1", function(v) return number(v) and v > 0 and v < 1 end }
local FLAG = { "true or false", function(v) return type(v) == "boolean" end }
local COS_OR_LINEAR = { '"cos" or "linear"', function(v) return v == "cos" or v == "linear" end }
local RATES = { "at least 0, or a list with one such number per group", list_of_rates }

local function show(value)
  if type(value) == "string" then return '"' .. value .. '"' end
  return (type(value) == "number" or value == nil) and tostring(value) or "a " .. type(value)
end

local function names_of(schema)
  local names = {}
  for i, option in ipairs(schema) do names[i] = option.name end
  return names
end

local function check_names(kind, schema, given)
  local known, unknown = {}, {}
  for _, option in ipairs(schema) do known[option.name] = true end
  for name in pairs(given) do
    if not known[name] then unknown[#unknown + 1] = tostring(name) end
  end
  table.sort(unknown)
  if unknown[1] then
    core.raise(("%s: there is no option %s; known are: %s"):format(kind, unknown[1],
      table.concat(names_of(schema), ", ")))
  end
end

-- The options with their defaults. The schema's first option is required unless it has a default, and may stand alone.
local function resolve(kind, schema, optimizer, first, given)
  if type(first) == "table" or first == nil then first, given = nil, first or given end
  given = given == nil and {} or given
  if type(given) ~= "table" then
    core.raise(("%s: options: expected a table, got %s"):format(kind, show(given)))
  end
  check_names(kind, schema, given)
  local values = {}
  for i, option in ipairs(schema) do
    local name, value = option.name, given[option.name]
    if i == 1 and first ~= nil then value = first end
    if value == nil then value = option.default end
    if not option.is[2](value, optimizer) then
      core.raise(("%s: %s: expected %s, got %s"):format(kind, name, option.is[1], show(value)))
    end
    values[name] = value
  end
  return values
end

-- ---- What all have in common ----

local function rates(optimizer)
  local list = {}
  for i, group in ipairs(optimizer.param_groups) do list[i] = group.lr end
  return list
end

---The rates now in force, per group.
---@return number[]
function Scheduler:get_last_lr() return rates(self.optimizer) end

-- Brings all groups to the rates of the epoch just begun.
function Scheduler:apply()
  for i, group in ipairs(self.optimizer.param_groups) do
    self.base_lrs[i] = self.base_lrs[i] or group.lr -- a group that came later
    group.lr = self:rate(group.lr, self.last_epoch, i)
  end
end

---Ends an epoch: sets the rates of the next.
function Scheduler:step()
  self.last_epoch = self.last_epoch + 1
  self:apply()
end

-- Numbers that a schedule has gathered, beside last_epoch and the rates.
Scheduler.counters = {}

---Where the schedule stands, for `load_state_dict`. Options are not part of it.
---@return table # numbers and lists of numbers (rates per group)
function Scheduler:state_dict()
  local dict = { last_epoch = self.last_epoch, base_lrs = table.move(self.base_lrs, 1, #self.base_lrs, 1, {}),
    last_lr = rates(self.optimizer) }
  for _, name in ipairs(self.counters) do dict[name] = self[name] end
  return dict
end

local function check_rates(self, dict, name)
  local list, n = dict[name], #self.optimizer.param_groups
  local holds = type(list) == "table" and #list == n
  for i = 1, holds and n or 0 do holds = holds and number(list[i]) end
  if not holds then
    core.raise(("%s: load_state_dict: %s: expected a list of %d numbers"):format(self.kind, name, n))
  end
end

---Goes on from where `state_dict` was taken, also setting the optimizer's rates to those of that time.
---@param dict table
function Scheduler:load_state_dict(dict)
  if type(dict) ~= "table" then
    core.raise(("%s: load_state_dict: expected a table, got %s"):format(self.kind, show(dict)))
  end
  local counters = table.move(self.counters, 1, #self.counters, 2, { "last_epoch" })
  for _, name in ipairs(counters) do
    if not number(dict[name]) then
      core.raise(("%s: load_state_dict: %s: expected a number, got %s"):format(self.kind, name, show(dict[name])))
    end
  end
  check_rates(self, dict, "base_lrs")
  check_rates(self, dict, "last_lr")
  for _, name in ipairs(counters) do self[name] = dict[name] end
  self.base_lrs = table.move(dict.base_lrs, 1, #dict.base_lrs, 1, {})
  for i, group in ipairs(self.optimizer.param_groups) do group.lr = dict.last_lr[i] end
end

local function is_scheduler(value) return type(value) == "table" and value.optimizer ~= nil end
methods.guard(Scheduler, "scheduler", is_scheduler)

function Scheduler:__tostring() return ("%s(epoch %d)"):format(self.kind, self.last_epoch) end

-- A class of schedulers; its function `rate(self, lr, epoch, group)` gives the rate of an epoch from the one before.
local function define(kind, schema)
  local class = setmetatable({ kind = kind, __tostring = Scheduler.__tostring }, Scheduler)
  class.__index = class
  function class.new(optimizer, first, given)
    if type(optimizer) ~= "table" or type(optimizer.param_groups) ~= "table" then
      core.raise(("%s: expected an optimizer first, got %s"):format(kind, show(optimizer)))
    end
    local self = setmetatable(resolve(kind, schema, optimizer, first, given), class)
    self.optimizer, self.last_epoch, self.base_lrs = optimizer, 0, rates(optimizer)
    if self.begin then self:begin() else self:apply() end
    return self
  end
  return class
end

-- ---- StepLR ----

local StepLR = define("StepLR",
  { { name = "step_size", is = COUNT }, { name = "gamma", default = 0.1, is = AT_LEAST_0 } })

function StepLR:rate(lr, epoch)
  return epoch > 0 and epoch % self.step_size == 0 and lr * self.gamma or lr
end

---Multiplies the rate by gamma every step_size epochs.
---@param optimizer lurn.optim.Optimizer
---@param step_size integer|{step_size: integer, gamma: number?} in epochs
---@param options? {gamma: number?} gamma (0.1)
---@return lurn.optim.Scheduler
function lr_scheduler.StepLR(optimizer, step_size, options) return StepLR.new(optimizer, step_size, options) end

-- ---- ExponentialLR ----

local ExponentialLR = define("ExponentialLR", { { name = "gamma", is = AT_LEAST_0 } })

function ExponentialLR:rate(lr, epoch) return epoch > 0 and lr * self.gamma or lr end

---Multiplies the rate by gamma every epoch.
---@param optimizer lurn.optim.Optimizer
---@param gamma number|{gamma: number}
---@return lurn.optim.Scheduler
function lr_scheduler.ExponentialLR(optimizer, gamma) return ExponentialLR.new(optimizer, gamma) end

-- ---- CosineAnnealingLR ----

local CosineAnnealingLR = define("CosineAnnealingLR",
  { { name = "T_max", is = ABOVE_0 }, { name = "eta_min", default = 0, is = AT_LEAST_0 } })

-- lr(t) = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2, as a factor on what lr(t - 1) has above eta_min;
-- where that is nothing, from eta_min upwards.
function CosineAnnealingLR:rate(lr, epoch, group)
  local period, low = self.T_max, self.eta_min
  if epoch == 0 then return lr end
  if (epoch - 1 - period) % (2 * period) == 0 then
    return lr + (self.base_lrs[group] - low) * (1 - math.cos(math.pi / period)) / 2
  end
  local now, before = math.cos(math.pi * epoch / period), math.cos(math.pi * (epoch - 1) / period)
  return (1 + now) / (1 + before) * (lr - low) + low
end

---From the first rate down to eta_min along half a cosine of T_max epochs, and back up in as many:
---`eta_min + (lr - eta_min) * (1 + cos(pi * t / T_max)) / 2` in epoch t.
---Loshchilov, Hutter: SGDR: stochastic gradient descent with warm restarts, eq. 5 (without restarts). ICLR 2017.
---@param optimizer lurn.optim.Optimizer
---@param T_max number|{T_max: number, eta_min: number?} in epochs
---@param options? {eta_min: number?} eta_min (0)
---@return lurn.optim.Scheduler
function lr_scheduler.CosineAnnealingLR(optimizer, T_max, options)
  return CosineAnnealingLR.new(optimizer, T_max, options)
end

-- ---- MultiStepLR ----

local function epochs(v)
  if type(v) ~= "table" then return false end
  for i, epoch in ipairs(v) do
    if not (whole(epoch) and epoch >= 1 and (i == 1 or epoch > v[i - 1])) then return false end
  end
  return #v > 0
end

local MultiStepLR = define("MultiStepLR", {
  { name = "milestones", is = { "a rising list of epochs, whole numbers of at least 1", epochs } },
  { name = "gamma", default = 0.1, is = AT_LEAST_0 },
})

function MultiStepLR:rate(lr, epoch)
  for _, milestone in ipairs(self.milestones) do
    if milestone == epoch then return lr * self.gamma end
  end
  return lr
end

---Multiplies the rate by gamma at each milestone.
---@param optimizer lurn.optim.Optimizer
---@param milestones integer[]|{milestones: integer[], gamma: number?} epochs, rising
---@param options? {gamma: number?} gamma (0.1)
---@return lurn.optim.Scheduler
function lr_scheduler.MultiStepLR(optimizer, milestones, options)
  local is_list = type(milestones) == "table" and milestones.milestones == nil and #milestones > 0
  if not is_list then return MultiStepLR.new(optimizer, milestones, options) end
  local given = { milestones = milestones }
  for name, value in pairs(type(options) == "table" and options or {}) do given[name] = value end
  return MultiStepLR.new(optimizer, given)
end

-- ---- LambdaLR ----

local function functions(v, optimizer)
  if type(v) == "function" then return true end
  if type(v) ~= "table" or #v ~= #optimizer.param_groups then return false end
  for _, item in ipairs(v) do if type(item) ~= "function" then return false end end
  return true
end

local LambdaLR = define("LambdaLR",
  { { name = "lr_lambda", is = { "a function, or a list with one per group", functions } } })

function LambdaLR:rate(_, epoch, group)
  local fn = type(self.lr_lambda) == "table" and self.lr_lambda[group] or self.lr_lambda
  local factor = fn(epoch)
  if not number(factor) or factor < 0 then
    core.raise(("LambdaLR: the function gave %s in epoch %d; expected a number of at least 0"):format(show(factor),
      epoch))
  end
  return self.base_lrs[group] * factor
end

---Multiplies the first rate by a function of the epoch, which counts from 0.
---@param optimizer lurn.optim.Optimizer
---@param lr_lambda (fun(epoch: integer): number)|(fun(epoch: integer): number)[] or one function per group
---@return lurn.optim.Scheduler
function lr_scheduler.LambdaLR(optimizer, lr_lambda)
  local given = type(lr_lambda) == "table" and lr_lambda.lr_lambda or lr_lambda
  return LambdaLR.new(optimizer, { lr_lambda = given })
end

-- ---- OneCycleLR ----

local OneCycleLR = define("OneCycleLR", {
  { name = "max_lr", is = RATES },
  { name = "total_steps", is = COUNT },
  { name = "pct_start", default = 0.3, is = SHARE },
  { name = "anneal_strategy", default = "cos", is = COS_OR_LINEAR },
  { name = "cycle_momentum", default = true, is = FLAG },
  { name = "base_momentum", default = 0.85, is = FACTOR },
  { name = "max_momentum", default = 0.95, is = FACTOR },
  { name = "div_factor", default = 25, is = ABOVE_0 },
  { name = "final_div_factor", default = 1e4, is = ABOVE_0 },
  { name = "three_phase", default = false, is = FLAG },
})

-- From a to b by the share of the way.
local function anneal(strategy, a, b, share)
  if strategy == "linear" then return a + (b - a) * share end
  return b + (a - b) / 2 * (1 + math.cos(math.pi * share))
end

-- What lies between the ends of the phases that have begun: from the first value on, to the next ones, at this step.
local function phased(self, step, values)
  local total, share = self.total_steps, self.pct_start
  local ends = self.three_phase and { share * total - 1, 2 * share * total - 2, total - 1 }
    or { share * total - 1, total - 1 }
  local start = 0
  for i, last in ipairs(ends) do
    if step <= last or i == #ends then
      return anneal(self.anneal_strategy, values[i], values[i + 1], (step - start) / (last - start))
    end
    start = last
  end
end

-- SGD and RMSprop have momentum, Adam the first of its betas.
local function set_momentum(group, value)
  if group.betas then group.betas = { value, group.betas[2] } else group.momentum = value end
end

function OneCycleLR:begin()
  local group = self.optimizer.param_groups[1]
  if self.cycle_momentum and not (group.betas or group.momentum) then
    core.raise(("OneCycleLR: %s has no momentum; expected cycle_momentum = false"):format(self.optimizer.kind))
  end
  self:apply()
end

function OneCycleLR:rate(_, epoch, index)
  if epoch > self.total_steps then
    core.raise(("OneCycleLR: step %d; total_steps is %d"):format(epoch, self.total_steps))
  end
  epoch = math.min(epoch, self.total_steps - 1) -- step after the last update changes nothing
  local top = type(self.max_lr) == "table" and self.max_lr[index] or self.max_lr
  local first = top / self.div_factor
  local low = first / self.final_div_factor
  if self.cycle_momentum then
    local least, most = self.base_momentum, self.max_momentum
    set_momentum(self.optimizer.param_groups[index], phased(self, epoch, { most, least, most, most }))
  end
  return phased(self, epoch, self.three_phase and { first, top, first, low } or { first, top, low })
end

---@class lurn.optim.OneCycleOptions
---@field max_lr number|number[] for all groups or each
---@field total_steps integer steps that the schedule has; one more is an error
---@field pct_start? number (0.3) share of them in which the rate rises
---@field anneal_strategy? "cos"|"linear" ("cos")
---@field cycle_momentum? boolean (true) momentum, or the first beta, goes the other way
---@field base_momentum? number (0.85)
---@field max_momentum? number (0.95)
---@field div_factor? number (25) max_lr over the first rate
---@field final_div_factor? number (1e4) the first rate over the last
---@field three_phase? boolean (false) down to the first rate as fast as up, then on to the last

---Up from max_lr / div_factor to max_lr, then down to nearly nothing; the optimizer's own rate does not count. `step`
---is called after every step of the optimizer.
---Smith, Topin: Super-convergence: very fast training of neural networks using large learning rates. 2018.
---@param optimizer lurn.optim.Optimizer
---@param max_lr number|lurn.optim.OneCycleOptions
---@param options? lurn.optim.OneCycleOptions
---@return lurn.optim.Scheduler
function lr_scheduler.OneCycleLR(optimizer, max_lr, options) return OneCycleLR.new(optimizer, max_lr, options) end

-- ---- LinearWarmup ----

local LinearWarmup = define("LinearWarmup", { { name = "steps", is = COUNT } })

function LinearWarmup:rate(lr, epoch)
  if epoch == 0 then return lr / self.steps end
  return epoch < self.steps and lr * ((epoch + 1) / epoch) or lr
end

---Rises from lr / steps by as much at every step; the rate is whole before the optimizer's step number `steps`:
---`lr * min((t + 1) / steps, 1)` after t calls of `step`. PyTorch's LambdaLR with that function.
---@param optimizer lurn.optim.Optimizer
---@param steps integer|{steps: integer}
---@return lurn.optim.Scheduler
function lr_scheduler.LinearWarmup(optimizer, steps) return LinearWarmup.new(optimizer, steps) end

-- ---- ReduceLROnPlateau ----

local ReduceLROnPlateau = define("ReduceLROnPlateau", {
  { name = "mode", default = "min", is = MIN_OR_MAX },
  { name = "factor", default = 0.1, is = FACTOR },
  { name = "patience", default = 10, is = PATIENCE },
  { name = "threshold", default = 1e-4, is = AT_LEAST_0 },
  { name = "threshold_mode", default = "rel", is = REL_OR_ABS },
  { name = "cooldown", default = 0, is = PATIENCE },
  { name = "min_lr", default = 0, is = RATES },
  { name = "eps", default = 1e-8, is = AT_LEAST_0 },
})
ReduceLROnPlateau.counters = { "best", "num_bad_epochs", "cooldown_counter" }

function ReduceLROnPlateau:begin()
  self.best = self.mode == "min" and math.huge or -math.huge
  self.num_bad_epochs, self.cooldown_counter = 0, 0
end

-- Better than the best by more than the threshold.
function ReduceLROnPlateau:is_better(metric)
  local margin = self.mode == "min" and -self.threshold or self.threshold
  local bar = self.threshold_mode == "rel" and self.best * (1 + margin) or self.best + margin
  if self.mode == "min" then return metric < bar end
  return metric > bar
end

function ReduceLROnPlateau:reduce()
  for i, group in ipairs(self.optimizer.param_groups) do
    local least = type(self.min_lr) == "table" and self.min_lr[i] or self.min_lr
    local lr = math.max(group.lr * self.factor, least)
    if group.lr - lr > self.eps then group.lr = lr end
  end
end

---Ends an epoch with its metric.
---@param metric number|lurn.Tensor such as the validation loss
function ReduceLROnPlateau:step(metric)
  if type(metric) == "userdata" then metric = metric:item() end
  if type(metric) ~= "number" then
    core.raise(("ReduceLROnPlateau: metric: expected a number, got %s"):format(show(metric)))
  end
  self.last_epoch = self.last_epoch + 1
  if self:is_better(metric) then
    self.best, self.num_bad_epochs = metric, 0
  else
    self.num_bad_epochs = self.num_bad_epochs + 1
  end
  if self.cooldown_counter > 0 then
    self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
  end
  if self.num_bad_epochs > self.patience then
    self:reduce()
    self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
  end
end

methods.guard(ReduceLROnPlateau, "scheduler", is_scheduler, { new = true })

---@class lurn.optim.PlateauOptions
---@field mode? "min"|"max" ("min") whether the metric should fall or rise
---@field factor? number (0.1)
---@field patience? integer (10) epochs without improvement that are forgiven
---@field threshold? number (1e-4) improvement that counts
---@field threshold_mode? "rel"|"abs" ("rel") better is below best * (1 - threshold), or below best - threshold
---@field cooldown? integer (0) epochs after a reduction in which none is counted as bad
---@field min_lr? number|number[] (0) least rate, for all groups or each
---@field eps? number (1e-8) smaller changes of the rate are not made

---Multiplies the rate by factor when the metric given to `step` has not improved for more than patience epochs.
---@param optimizer lurn.optim.Optimizer
---@param options? lurn.optim.PlateauOptions
---@return lurn.optim.Scheduler # its `step` takes the metric
function lr_scheduler.ReduceLROnPlateau(optimizer, options) return ReduceLROnPlateau.new(optimizer, options) end

return lr_scheduler
