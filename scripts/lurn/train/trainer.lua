-- Trains a model of the next token on a corpus by truncated back-propagation through time: progress, validation,
-- checkpoints, and going on from one as if the run had never stopped.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local checkpoint = require "lurn.train.checkpoint"
local clock = require "lurn.train.clock"
local evaluating = require "lurn.evaluating"
local F = require "lurn.nn.functional"
local find_nonfinite = require "lurn.train.nonfinite"
local guard = require "lurn.guard"
local is_interrupt = require "lurn.train.interrupt"
local is_out_of_memory = require "lurn.train.out_of_memory"
local json = require "lurn.data.json"
local methods = require "lurn.methods"
local new_progress = require("lurn.train.progress").new
local nn_utils = require "lurn.nn.utils"
local slots = require "lurn.nn.slots"

---@class lurn.train.TrainerOptions
---@field seq_length integer steps T in a batch
---@field batch_size integer sequences N in a batch
---@field max_epochs number may be a fraction
---@field max_minutes? number stop after this time; 0: no limit (0)
---@field learning_rate number
---@field lr_decay? number factor of the learning rate (1) at every
---@field lr_decay_every? integer so many epochs (1)
---@field grad_clip? number largest joint norm of the gradients; 0: no limit (0)
---@field print_every? integer batches between two lines off a terminal; 0: none (100)
---@field eval_every? integer batches between two validations; 0: after each epoch (0)
---@field sample_every? integer batches between two calls of on_sample; 0: with each validation (0)
---@field checkpoint_every? integer batches between two savings beside those of the validations; 0: none (0)

---What a checkpoint needs beside the weights. Each batch makes a new one, so that an interrupt at any moment finds one
---that is whole.
---@class lurn.train.Standing
---@field step integer batches done
---@field state? table the recurrent state after them
---@field loss? number the last batch's loss
---@field smooth? number a running mean of the loss
---@field loss_sum number of this epoch's losses, loss_count of them
---@field seed integer random state, with `block`
---@field evaluated integer step of the last validation
---@field valid? number its loss
---@field best? number the best so far
---@field updates0 integer updates that the optimizer had made at step 0

---@class lurn.train.Trainer
---@field model lurn.nn.Module model(ids (T, N), state) -> logits (T, N, C), state
---@field optimizer lurn.optim.Optimizer
---@field corpus lurn.Corpus
---@field options lurn.train.TrainerOptions
---@field prefix string what the names of the files begin with: a directory and perhaps more ("")
---@field unit string what a token is called ("token")
---@field metadata table<string, any> for the checkpoints, beside `progress` ({})
---@field on_report? fun(fields: table) gets the numbers of each batch at print_every, each validation, and the end
---@field on_sample? fun(trainer: lurn.train.Trainer) when samples are due
---@field now lurn.train.Standing
---@field per_epoch integer batches in an epoch
---@field last_step integer batches until the end
---@field unsaved table<string, true> the checkpoints, "best" and "last", whose last attempt to be saved failed
local Trainer = {}
Trainer.__index = Trainer

local DEFAULTS = { max_minutes = 0, lr_decay = 1, lr_decay_every = 1, grad_clip = 0, print_every = 100, eval_every = 0,
  sample_every = 0, checkpoint_every = 0 }

local function finite(x) return x == x and x ~= math.huge and x ~= -math.huge end

local function changed(standing, fields)
  local copy = {}
  for key, value in pairs(standing) do copy[key] = value end
  for key, value in pairs(fields) do copy[key] = value end
  return copy
end

-- ---- Making ----

local function check_fields(given)
  local function expect(holds, name, value, expected)
    if holds then return end
    core.raise(("trainer: %s is %s; expected %s"):format(name, check.describe(value), expected))
  end
  expect(type(given) == "table", "the argument", given, "a table with model, optimizer, corpus and options")
  local model, optimizer, corpus, o = given.model, given.optimizer, given.corpus, given.options
  expect(slots.is_module(model), "model", model, "a module")
  expect(type(optimizer) == "table" and optimizer.param_groups, "optimizer", optimizer, "an optimizer")
  expect(type(corpus) == "table" and corpus.train and corpus.valid, "corpus", corpus, "what lurn.data.text gives")
  expect(type(o) == "table", "options", o, "a table")
  for _, name in ipairs { "seq_length", "batch_size", "max_epochs", "learning_rate" } do
    expect(type(o[name]) == "number", "option " .. name, o[name], "a number")
  end
end

---A run on a corpus, with validation, checkpoints and samples:
---
---    local trainer = assert(lurn.train.trainer{model = model, optimizer = opt, corpus = corpus, prefix = "cv/",
---      options = {seq_length = 50, batch_size = 50, max_epochs = 10, learning_rate = 2e-3, grad_clip = 5}})
---    print(trainer:run())
---@param trainer table model, optimizer, corpus and options; what else lurn.train.Trainer has of the caller may be left
---out
---@return lurn.train.Trainer? # nil and a message when the text is too short for a batch
---@return string? message
local function new(trainer)
  check_fields(trainer)
  local self = setmetatable({ prefix = "", unit = "token", metadata = {} }, Trainer)
  for key, value in pairs(trainer) do self[key] = value end
  local o = changed(DEFAULTS, trainer.options)
  self.options = o
  self.per_epoch = self.corpus.train:num_batches { seq_len = o.seq_length, batch_size = o.batch_size }
  if self.per_epoch == 0 then
    return nil, ("the text to learn from has %d %ss; one batch needs %.15g (seq_length %d x batch_size %d + 1)"):format(
      #self.corpus.train, self.unit, 1.0 * o.seq_length * o.batch_size + 1, o.seq_length, o.batch_size)
  end
  self.last_step = math.floor(o.max_epochs * self.per_epoch + 0.5)
  self.parameters = self.model:parameters()
  self.progress = new_progress { every = o.print_every }
  self.now = { step = 0, loss_sum = 0.0, loss_count = 0, evaluated = 0, updates0 = 0 }
  self.now.seed, self.now.block = core.rng_state()
  self.tokens, self.unsaved = 0, {}
  return self
end

-- Updates that the optimizer has made.
local function updates(optimizer)
  local step = optimizer:state_dict()["state.0.step"]
  return step and step:item() or 0
end

-- Whether a checkpoint's `progress` has all that a run needs.
local function is_standing(saved)
  for _, name in ipairs { "step", "loss_count", "seed", "block", "evaluated", "updates0" } do
    if math.type(saved[name]) ~= "integer" then return false end
  end
  for _, name in ipairs { "loss", "loss_sum", "smooth", "valid", "best" } do
    if saved[name] ~= nil and type(saved[name]) ~= "number" then return false end
  end
  return saved.step >= 0 and saved.loss_sum ~= nil
end

---Goes on from a checkpoint. On another text or with batches of another size, epochs are counted anew.
---@param sections table<string, table<string, lurn.Tensor>> from checkpoint.load; model and optimizer must fit
---@param progress string the metadata's `progress`
---@return boolean? same whether it goes on in the middle; nil and a message when something does not fit
---@return string? message
function Trainer:restore(sections, progress)
  local saved, message = json.decode(progress or "")
  if type(saved) ~= "table" or not is_standing(saved) then return nil, message or "no progress" end
  local ok
  ok, message = pcall(function()
    self.model:load_state_dict(sections.model or {})
    self.optimizer:load_state_dict(sections.optimizer or {})
    core.set_rng_state(saved.seed, saved.block)
  end)
  if not ok then return nil, message end
  if saved.count ~= #self.corpus or saved.per_epoch ~= self.per_epoch then
    self.now = changed(self.now, { updates0 = updates(self.optimizer), seed = saved.seed, block = saved.block })
    return false
  end
  self.now = changed(saved, { state = sections.state })
  return true
end

-- ---- Telling ----

---Epochs done.
---@return number
function Trainer:epochs() return self.now.step / self.per_epoch end

---Tokens per second of training, without validation and samples.
---@return number
function Trainer:rate() return self.tokens / math.max(self.training:elapsed(), 1e-9) end

---Whether the run is over, by steps or by time.
---@return boolean
function Trainer:finished()
  if self.now.step >= self.last_step then return true end
  local minutes = self.options.max_minutes
  return minutes > 0 and self.time:elapsed() >= minutes * 60
end

function Trainer:report(fields)
  if not self.on_report then return end
  fields.step, fields.epoch, fields.tokens_per_second = self.now.step, self:epochs(), self:rate()
  self.on_report(fields)
end

function Trainer:time_left(rate)
  local o = self.options
  local left = (self.last_step - self.now.step) * o.seq_length * o.batch_size / rate
  if o.max_minutes > 0 then left = math.min(left, o.max_minutes * 60 - self.time:elapsed()) end
  return math.max(left, 0)
end

function Trainer:show()
  local step = self.now.step
  if not self.progress:wants(step) then return end
  local rate = self:rate()
  self.progress:show(("epoch %.2f/%g  batch %d/%d  loss %.4f  %.0f %ss/s  %s left"):format(self:epochs(),
    self.options.max_epochs, step, self.last_step, self.now.smooth, rate, self.unit,
    clock.format(self:time_left(rate))))
end

-- ---- Saving ----

---@param name string "best" or "last"
---@return string
function Trainer:path(name) return self.prefix .. name .. ".safetensors" end

---Writes a checkpoint. A failure is told, and the run can go on.
---@param name string "best" or "last"
---@return boolean
function Trainer:save(name)
  local now = self.now
  local standing = changed(now, { count = #self.corpus, per_epoch = self.per_epoch })
  standing.state = nil
  local ok, message = checkpoint.save(self:path(name), {
    model = self.model:state_dict(),
    optimizer = self.optimizer:state_dict(),
    state = now.state and { h = now.state.h, c = now.state.c },
  }, changed(self.metadata, { progress = standing }))
  self.unsaved[name] = not ok or nil
  if not ok then self.progress:say(("%s was not saved: %s"):format(self:path(name), message)) end
  return ok == true
end

-- ---- Learning ----

-- The next x, y; at the beginning of an epoch the state and the sums start afresh.
function Trainer:next_batch()
  local o, done = self.options, self.now.step % self.per_epoch
  if done == 0 then
    local fresh = changed(self.now, { loss_sum = 0.0, loss_count = 0 })
    fresh.state = nil
    self.now, self.batches = fresh, nil
  end
  if not self.batches then
    self.batches = self.corpus.train:batches { seq_len = o.seq_length, batch_size = o.batch_size, first = done + 1 }
    self.optimizer.lr = o.learning_rate * o.lr_decay ^ (self.now.step // self.per_epoch // o.lr_decay_every)
  end
  return self.batches()
end

-- The mean of the first fifty losses, then one that forgets.
local function smoothed(mean, value, step)
  local share = math.max(0.02, 1 / (step + 1))
  return (1 - share) * (mean or 0.0) + share * value
end

-- A number that is not finite, without the sign that a nan may have.
local function show(x) return x ~= x and "nan" or tostring(x) end

-- One step down the gradient. Returns nil and what was not finite when the run cannot go on.
function Trainer:train_batch(x, y)
  local now, clip = self.now, self.options.grad_clip
  self.optimizer:zero_grad()
  local logits, state = self.model(x, now.state)
  local loss = F.cross_entropy(logits, y)
  local value = loss:item()
  if not finite(value) then return nil, "the loss is " .. show(value) end
  loss:backward()
  local norm = nn_utils.clip_grad_norm_(self.parameters, clip > 0 and clip or math.huge)
  if not finite(norm) then return nil, "the norm of the gradients is " .. show(norm) end
  local seed, block = core.rng_state()
  -- Made before the step: an interrupt right after it finds here what belongs to the new weights, see `settle`.
  self.coming = changed(now, { step = now.step + 1, loss = value, loss_sum = now.loss_sum + value,
    loss_count = now.loss_count + 1, smooth = smoothed(now.smooth, value, now.step),
    seed = seed, block = block, state = state:detach() })
  self.optimizer:step()
  self.now = self.coming
  self.tokens = self.tokens + y:numel()
  return true
end

-- After an interrupt: whether the last step was made is told by the optimizer, whose step is one call of the engine.
function Trainer:settle()
  local coming = self.coming
  if coming and coming.step == self.now.step + 1 and updates(self.optimizer) == coming.updates0 + coming.step then
    self.now = coming
  end
end

-- The mean loss over a stream, in nats per token.
local function measure(model, stream, o)
  local sum, count, state, logits = 0.0, 0, nil, nil
  local n = math.max(1, math.min(o.batch_size, (#stream - 1) // o.seq_length))
  local mode <close> = evaluating(model)
  guard.call(mode, core.no_grad, function()
    for x, y in stream:batches { seq_len = o.seq_length, batch_size = n, partial = true } do
      logits, state = model(x, state)
      sum = sum + F.cross_entropy(logits, y):item() * y:numel()
      count = count + y:numel()
    end
  end)
  return sum / count
end

---Validates, saves "last" and perhaps "best", and tells.
function Trainer:evaluate()
  local now, valid = self.now, self.corpus.valid
  local train_loss = now.loss_sum / now.loss_count
  local valid_loss = #valid > 1 and measure(self.model, valid, self.options) or nil
  local score = valid_loss or train_loss
  local is_best = not now.best or score < now.best
  self.now = changed(now, { evaluated = now.step, valid = valid_loss, best = is_best and score or now.best })
  self.progress:say(("epoch %.2f: train loss %.4f%s nats/%s, %.0f %ss/s, %s%s"):format(self:epochs(), train_loss,
    valid_loss and (", valid loss %.4f"):format(valid_loss) or "", self.unit, self:rate(), self.unit,
    clock.format(self.time:elapsed()), is_best and ", best so far" or ""))
  self:report { event = "valid", train_loss = train_loss, valid_loss = valid_loss }
  if is_best and not self:save "best" then -- the best is the best that there is a file of
    self.now = changed(self.now, {})
    self.now.best = now.best
  end
  self:save "last"
end

function Trainer:is_due(every) return every > 0 and self.now.step % every == 0 end

-- What falls due between two batches. Returns whether the run is over.
function Trainer:between()
  local step, o, finished = self.now.step, self.options, self:finished()
  if step == 0 then return finished end
  local validates = finished or step % self.per_epoch == 0 or self:is_due(o.eval_every)
  if validates and self.now.evaluated ~= step then
    self:evaluate()
  elseif self:is_due(o.checkpoint_every) then
    self:save "last"
  end
  local samples = validates
  if o.sample_every > 0 then samples = self:is_due(o.sample_every) end
  if self.on_sample and samples and not finished then self.on_sample(self) end
  return finished
end

-- Once for each batch that is due.
function Trainer:report_batch()
  local step = self.now.step
  if step == self.reported or not self:is_due(self.options.print_every) then return end
  self:report { event = "batch", loss = self.now.loss }
  self.reported = step
end

local function loop(self)
  while true do
    self.training:pause()
    if self:between() then return true end
    self.training:resume()
    local ok, what = self:train_batch(self:next_batch())
    if not ok then return nil, what end
    self:report_batch()
    self:show()
  end
end

-- ---- Ends ----

local function add_traceback(message)
  if type(message) ~= "string" or is_interrupt(message) or is_out_of_memory(message) then return message end
  return debug.traceback(message, 2)
end

-- Where the numbers went wrong; the checkpoints stay what they were.
local function explain_nonfinite(self, what)
  local now, first = self.now, find_nonfinite(self.model)
  local where = first and "first to go: " .. first or "all parameters are finite, the forward pass overflowed"
  if first and first:find "^parameter" then where = where .. (", in the update of step %d"):format(now.step) end
  local file = io.open(self:path "last")
  if file then file:close() end
  return ("step %d (epoch %d, batch %d): %s; %s.\n%s A smaller learning rate or clipping may help."):format(
    now.step + 1, now.step // self.per_epoch + 1, now.step % self.per_epoch + 1, what, where,
    file and ("The last good checkpoint is %s."):format(self:path "last") or "No checkpoint was saved yet.")
end

---Trains until the end. An error of the program itself is raised; a failure to save is told, see `unsaved`.
---@return "done"|"interrupted"|nil how after Ctrl-C or SIGTERM the run is saved as "last"; nil and a message when
---a loss or a gradient was not finite
---@return string? message
function Trainer:run()
  self.time, self.training = clock.stopwatch(), clock.stopwatch()
  local ok, done, what = xpcall(loop, add_traceback, self)
  if not ok and is_interrupt(done) then
    self:settle()
    if self.now.step > 0 then
      if self.now == self.coming then self:report_batch() end
      self:save "last"
    end
    self.progress:clear()
    return "interrupted"
  end
  self.progress:clear()
  if not ok then error(done, 0) end
  if not done then return nil, explain_nonfinite(self, what) end
  self:report { event = "end", valid_loss = self.now.valid, seconds = self.time:elapsed() }
  return "done"
end

methods.guard(Trainer, "trainer", function(value) return getmetatable(value) == Trainer end)

return { new = new }
