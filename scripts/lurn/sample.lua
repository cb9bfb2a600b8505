-- lurn.sample: sequences drawn from a model of the next token.
--
--   local ids, state = lurn.sample{model = model, prompt = corpus:encode "In the ", length = 200, temperature = 0.8}
--   local best = lurn.sample.beam{model = model, prompt = prompt, length = 50, width = 8}[1] -- .ids, .log_prob
--
-- The model is a module or a function f(ids (T, N), state) -> logits (T, N, C), state.

local core = require "lurn.core"
local evaluating = require "lurn.evaluating"
local guard = require "lurn.guard"

-- ---- Options ----

local function whole(v, least) return math.type(v) == "integer" and v >= least end
local function is_number(v) return type(v) == "number" and v == v end

local function is_callable(v) return type(v) == "function" or (getmetatable(v) or {}).__call ~= nil end

-- What each option may be, as a test and in words.
local checks = {
  model = { is_callable, "a module or a function" },
  prompt = { function(v) return type(v) == "table" or core.is_tensor(v) end, "ids: a tensor or a list" },
  length = { function(v) return whole(v, 0) end, "a whole number from 0" },
  temperature = { function(v) return is_number(v) and v >= 0 end, "a number from 0" },
  top_k = { function(v) return whole(v, 1) end, "a whole number from 1" },
  top_p = { function(v) return is_number(v) and v > 0 and v <= 1 end, "a number above 0, at most 1" },
  seed = { function(v) return whole(v, math.mininteger) end, "a whole number" },
  exclude = { function(v) return type(v) == "table" end, "a list of ids" },
  on_token = { function(v) return type(v) == "function" end, "a function" },
  state = { function() return true end, "a state" },
  beam = { function(v) return whole(v, 1) end, "a whole number from 1" },
  width = { function(v) return whole(v, 1) end, "a whole number from 1" },
  stop = { function(v) return whole(v, 1) end, "an id" },
}

local SAMPLE = { "model", "prompt", "length", "temperature", "top_k", "top_p", "seed", "exclude", "on_token", "state",
  "beam", "stop" }
local BEAM = { "model", "prompt", "length", "width", "stop", "exclude", "state" }
local REQUIRED = { model = true, prompt = true, length = true }

local function check_options(who, options, names)
  if type(options) ~= "table" then
    core.raise(("%s: expected a table of options, got a %s"):format(who, type(options)))
  end
  local known = {}
  for _, name in ipairs(names) do
    known[name] = true
    local value, check = options[name], checks[name]
    if value == nil and REQUIRED[name] then
      core.raise(("%s: %s is missing; expected %s"):format(who, name, check[2]))
    end
    if value ~= nil and not check[1](value) then
      core.raise(("%s: %s is %s; expected %s"):format(who, name, tostring(value), check[2]))
    end
  end
  for name in pairs(options) do
    if not known[name] then
      core.raise(('%s: there is no option "%s"; the options are %s'):format(who, tostring(name),
        table.concat(names, ", ")))
    end
  end
end

-- The prompt as (T, N) ids, and whether it was one sequence without a dimension N.
local function check_prompt(who, prompt)
  if not core.is_tensor(prompt) then
    local given = core.tensor(prompt, { dtype = "float64" })
    prompt = given:to "int64"
    if not prompt:to("float64"):equal(given) then core.raise(who .. ": prompt has ids that are not whole numbers") end
  end
  local single = prompt.ndim == 1
  if single then prompt = prompt:unsqueeze(2) end
  if prompt.ndim ~= 2 or prompt:numel() == 0 then
    core.raise(("%s: prompt has shape %s; expected (T) or (T, N) with at least one id"):format(who,
      tostring(prompt.shape)))
  end
  return prompt, single
end

-- ---- What holds while sampling ----

-- Random numbers from this seed until the returned value is closed; then the former stream goes on.
local function seeded(seed)
  if not seed then return guard.new() end
  local former_seed, former_block = core.rng_state()
  local pending = guard.new(function() core.set_rng_state(former_seed, former_block) end)
  core.manual_seed(seed)
  return pending
end

-- ---- One step ----

-- Logits (N, C) after the last of the ids (T, N), and the state after them.
local function run(who, model, ids, state)
  local logits, after = model(ids, state)
  local shape = core.is_tensor(logits) and logits.shape or {}
  if #shape ~= 3 or shape[1] ~= ids.shape[1] or shape[2] ~= ids.shape[2] then
    core.raise(("%s: the model returned %s for ids of shape %s; expected logits (T, N, C)"):format(who,
      core.is_tensor(logits) and "shape " .. tostring(logits.shape) or type(logits), tostring(ids.shape)))
  end
  return logits:select(1, -1), after
end

-- What to add to logits (N, C) so that some ids are never drawn, or nil.
local function exclusion(who, exclude, logits)
  if not exclude or #exclude == 0 then return nil end
  local classes = logits.shape[2]
  local bias = core.zeros(classes, { dtype = logits.dtype })
  for _, id in ipairs(exclude) do
    if not whole(id, 1) or id > classes then
      core.raise(("%s: exclude has %s; ids are 1 to %d"):format(who, tostring(id), classes))
    end
    bias:set(-math.huge, id)
  end
  return bias
end

-- Raises unless each row of logits (N, C) has a token to draw.
local function check_logits(who, logits)
  for _, top in ipairs(logits:amax(2):totable()) do
    if top ~= top or top == math.huge then
      core.raise(("%s: the model's logits are %s"):format(who, top ~= top and "nan" or "inf"))
    elseif top == -math.huge then
      core.raise(who .. ": there is no token to take: all are excluded, or their logits -inf")
    end
  end
end

-- A function from the ids (T, N) and the state before them to logits (N, C), where what is excluded has -inf, and the
-- state after them.
local function stepper(who, o)
  local bias
  return function(ids, state)
    local logits, after = run(who, o.model, ids, state)
    bias = bias or exclusion(who, o.exclude, logits)
    if bias then logits = logits + bias end
    check_logits(who, logits)
    return logits, after
  end
end

-- How many of the values, which fall, make up the share p of all; nil when these do not.
local function nucleus_size(values, p)
  local sum = 0
  for i, value in ipairs(values) do
    sum = sum + value
    if sum >= p then return i end
  end
  return nil
end

-- The likeliest classes (N, K) whose probabilities make up p, their values falling and 0 past that, and their ids.
-- Few are needed as a rule, so a few are looked at first.
local function nucleus(probs, p, most)
  local classes = probs.shape[2]
  local k = math.min(64, most)
  while true do
    local values, ids = probs:topk(k)
    local sizes, whole_rows = {}, true
    for row, list in ipairs(values:totable()) do
      sizes[row] = nucleus_size(list, p)
      whole_rows = whole_rows and sizes[row] ~= nil
    end
    if whole_rows or k == most or k == classes then
      for row = 1, probs.shape[1] do
        local size = sizes[row] or k
        if size < k then values:select(1, row):narrow(1, size + 1, k - size):zero_() end
      end
      return values, ids
    end
    k = math.min(2 * k, most)
  end
end

-- Draws one id for each row of logits (N, C): (N) int64.
local function draw(logits, o)
  if o.temperature == 0 or o.top_k == 1 then return logits:argmax(2) end
  -- The largest becomes 0 first, so that no temperature overflows.
  local top = logits:amax { dim = 2, keepdim = true }
  local probs = ((logits - top) / (o.temperature or 1)):softmax(2)
  if not o.top_k and (not o.top_p or o.top_p == 1) then return probs:multinomial(1):select(2, 1) end
  local most = math.min(o.top_k or probs.shape[2], probs.shape[2])
  local values, ids
  if o.top_p and o.top_p < 1 then
    if o.top_k then -- top_p is a share of what top_k leaves
      local kept = probs:topk(most):sum { dim = 2, keepdim = true }
      probs = probs / kept
    end
    values, ids = nucleus(probs, o.top_p, most)
  else
    values, ids = probs:topk(most)
  end
  return ids:gather(2, values:multinomial(1)):select(2, 1)
end

-- Tells the callback; false when it wants no more.
local function tell(on_token, ids, single, step)
  if not on_token then return true end
  return on_token(single and ids:item() or ids:totable(), step) ~= false
end

local function continue(o)
  local ids, single = check_prompt("sample", o.prompt)
  local state, drawn, next_logits = o.state, {}, stepper("sample", o)
  local n = ids.shape[2]
  for step = 1, o.length do
    local logits
    logits, state = next_logits(ids, state)
    drawn[step] = draw(logits, o)
    ids = drawn[step]:view(1, n)
    if not tell(o.on_token, drawn[step], single, step) then break end
    if o.stop and single and drawn[step]:item() == o.stop then break end
  end
  local shape = single and { #drawn } or { #drawn, n }
  if #drawn == 0 then return core.zeros(shape, { dtype = "int64" }), state end
  return core.stack(drawn, 1):view(shape), state
end

-- ---- Beam search ----

-- The rows of a state, whatever it is: an object that knows, tensors (layers, N, H), or tables of such.
local function select_rows(state, rows)
  if core.is_tensor(state) then return state:index_select(2, rows) end
  if type(state) ~= "table" then return state end
  if state.index_select then return state:index_select(rows) end
  local selected = {}
  for key, value in pairs(state) do selected[key] = select_rows(value, rows) end
  return setmetatable(selected, getmetatable(state))
end

-- A hypothesis is its last token and the one before: {token, before, score}; score is the log-probability of all.
local function ids_of(hypothesis)
  local list, reversed = {}, {}
  while hypothesis.token do
    reversed[#reversed + 1] = hypothesis.token
    hypothesis = hypothesis.before
  end
  for i = #reversed, 1, -1 do list[#list + 1] = reversed[i] end
  return #list > 0 and core.tensor(list, { dtype = "int64" }) or core.zeros(0, { dtype = "int64" })
end

-- The best continuations of the live hypotheses by one token each, best first: at most `width` go on, those with the
-- stop token are added to `finished`. Returns them and the row each came from.
local function extend(live, logits, width, stop, finished)
  local classes, scores = logits.shape[2], {}
  for i, hypothesis in ipairs(live) do scores[i] = { hypothesis.score } end
  local all = logits:to("float64"):log_softmax(2) + core.tensor(scores, { dtype = "float64" })
  local wanted = math.min(stop and 2 * width or width, all:numel())
  local values, indices = all:reshape(-1):topk(wanted)
  values, indices = values:totable(), indices:totable()
  local next_live, rows = {}, {}
  for i, score in ipairs(values) do
    if #next_live == width or score == -math.huge then break end
    local row, token = (indices[i] - 1) // classes + 1, (indices[i] - 1) % classes + 1
    local hypothesis = { token = token, before = live[row], score = score }
    if token == stop then
      finished[#finished + 1] = hypothesis
    else
      next_live[#next_live + 1], rows[#rows + 1] = hypothesis, row
    end
  end
  return next_live, rows
end

local function by_score(a, b) return a.score > b.score end

-- True when no live hypothesis can get among the best `width` any more: going on only lowers a score.
local function is_decided(live, finished, width)
  if #live == 0 then return true end
  if #finished < width then return false end
  table.sort(finished, by_score)
  return finished[width].score >= live[1].score
end

local function search(o)
  local ids = check_prompt("beam", o.prompt)
  if ids.shape[2] ~= 1 then
    core.raise(("beam: prompt has shape %s; expected one sequence, (T)"):format(tostring(ids.shape)))
  end
  local width, state, next_logits = o.width or 4, o.state, stepper("beam", o)
  local live, finished = { { score = 0 } }, {}
  for _ = 1, o.length do
    local logits, rows
    logits, state = next_logits(ids, state)
    live, rows = extend(live, logits, width, o.stop, finished)
    if is_decided(live, finished, width) then break end
    state = select_rows(state, core.tensor(rows, { dtype = "int64" }))
    local last = {}
    for i, hypothesis in ipairs(live) do last[i] = hypothesis.token end
    ids = core.tensor({ last }, { dtype = "int64" })
  end
  table.move(live, 1, #live, #finished + 1, finished)
  table.sort(finished, by_score)
  local results = {}
  for i = 1, math.min(width, #finished) do
    results[i] = { ids = ids_of(finished[i]), log_prob = finished[i].score }
  end
  return results
end

-- ---- Public ----

---A module or a function: ids (T, N) int64 and a state (nil at first) -> logits (T, N, C) and the state after them.
---@alias lurn.LanguageModel lurn.nn.Module|fun(ids: lurn.Tensor, state: any): lurn.Tensor, any

---@class lurn.BeamOptions
---@field model lurn.LanguageModel
---@field prompt lurn.Tensor|integer[] ids (T), at least one
---@field length integer tokens to add at most
---@field width? integer hypotheses that are kept (4)
---@field stop? integer id that ends a sequence
---@field exclude? integer[] ids that are never taken
---@field state? any the model's state before the prompt

---@class lurn.Hypothesis
---@field ids lurn.Tensor (length) int64, without the prompt
---@field log_prob number natural logarithm of its probability after the prompt

local sample = {}

---Beam search: the likeliest continuations that are found by keeping the best `width` at each step. The model's state
---follows its hypotheses: it may be what has a method index_select(rows), such as nn.State, a tensor (layers, N, ...),
---or a table of these.
---@param options lurn.BeamOptions
---@return lurn.Hypothesis[] # at most `width`, best first
function sample.beam(options)
  check_options("beam", options, BEAM)
  local mode <close> = evaluating(options.model)
  return guard.call(mode, core.no_grad, search, options)
end

---@class lurn.SampleOptions
---@field model lurn.LanguageModel
---@field prompt lurn.Tensor|integer[] ids (T), or (T, N) for N sequences at once; at least one
---@field length integer tokens to draw for each
---@field temperature? number divides the logits; 0 takes the likeliest token (1)
---@field top_k? integer draws among the k likeliest only
---@field top_p? number draws among the likeliest that make up this share of the probability (of what top_k leaves)
---@field seed? integer draws from a stream of its own, leaving the global one alone
---@field exclude? integer[] ids that are never drawn
---@field on_token? fun(id: integer|integer[], step: integer): boolean? called at each step, with a list of N ids when
---the prompt is (T, N); returning false ends it
---@field stop? integer id that ends it (when the prompt is (T)); it is part of the result
---@field state? any the model's state before the prompt
---@field beam? integer search with this width instead, see lurn.BeamOptions; what is said of drawing does not matter
---then

---Draws a continuation of the prompt. A module is in evaluation mode meanwhile, with all below it, and nothing is
---recorded for backward.
---@param options lurn.SampleOptions
---@return lurn.Tensor ids (length) int64 without the prompt; (length, N) when the prompt is (T, N)
---@return any state before the last of these ids: to go on, give it back with that id as the prompt. With `beam`: all
---hypotheses.
local function sample_call(_, options)
  check_options("sample", options, SAMPLE)
  if options.beam then
    local results = sample.beam { model = options.model, prompt = options.prompt, length = options.length,
      width = options.beam, stop = options.stop, exclude = options.exclude, state = options.state }
    return results[1].ids, results
  end
  local mode <close> = evaluating(options.model)
  local stream <close> = seeded(options.seed)
  return guard.call(mode, guard.call, stream, core.no_grad, continue, options)
end

return setmetatable(sample, { __call = sample_call })
