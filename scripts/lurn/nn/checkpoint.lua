-- Checkpoints: parts of the graph that keep what went in and compute the rest anew in backward.
--
-- The first run of the function is recorded too, but only to find the parameters that it uses; its graph goes at once.
-- What stays is one node from the arguments and these parameters to the results, so that gradients of parameters take
-- the same way as any other: they are added to .grad when the whole backward has succeeded, and lurn.grad works.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local guard = require "lurn.guard"
local noise = require "lurn.nn.noise"
local State = require "lurn.nn.state"

local checkpoint = {}

-- ---- Tensors in arguments and results ----

local function is_structure(value)
  if type(value) ~= "table" then return false end
  local metatable = getmetatable(value)
  return metatable == nil or metatable == State
end

-- Keys in an order that is always the same.
local function keys_of(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if math.type(a) == "integer" and math.type(b) == "integer" then return a < b end
    return type(a) .. tostring(a) < type(b) .. tostring(b)
  end)
  return keys
end

-- A copy of plain tables and states with fn(tensor) for each tensor in them, in a fixed order; what else there is stays
-- as it is. A table that comes several times is copied once.
local function map(value, fn, copies)
  if core.is_tensor(value) then return fn(value) end
  if not is_structure(value) then return value end
  copies = copies or {}
  if copies[value] then return copies[value] end
  local copy = setmetatable({}, getmetatable(value))
  copies[value] = copy
  for _, key in ipairs(keys_of(value)) do copy[key] = map(value[key], fn, copies) end
  return copy
end

-- ---- Running ----

local NAME = "checkpoint"

---@class lurn.nn.Checkpoint
---@field fn function
---@field args table the packed arguments, with tensors outside the graph
---@field held lurn.Tensor[] these tensors, in order; freed with the node
---@field need boolean[] which of them want a gradient
---@field parameters lurn.Tensor[]
---@field versions integer[] of the tensors and the parameters
---@field seed integer
---@field block integer

-- Calls the function, recorded, on tensors of its own: the packed results, and the tensors.
local function call(self)
  local leaves = {}
  local args = map(self.args, function(t)
    local leaf = t:detach()
    leaves[#leaves + 1] = leaf
    return self.need[#leaves] and leaf:requires_grad_() or leaf
  end)
  local since = core.graph_position()
  local results = table.pack(core.enable_grad(self.fn, table.unpack(args, 1, args.n)))
  local tensors = {}
  map(results, function(t) tensors[#tensors + 1] = t end)
  return results, tensors, leaves, core.graph_leaves(NAME, tensors, leaves, since)
end

local function versions_of(self)
  local versions = {}
  for i, t in ipairs(self.held) do versions[i] = core.version_of(t) end
  for i, p in ipairs(self.parameters) do versions[#self.held + i] = core.version_of(p) end
  return versions
end

local function check_unchanged(self)
  for i, version in ipairs(versions_of(self)) do
    if version ~= self.versions[i] then
      core.raise(("%s: %s was changed in place after the function used it"):format(NAME,
        i <= #self.held and ("tensor %d among the arguments"):format(i) or "a parameter"))
    end
  end
end

-- The results of the second run that a gradient arrives for, with that gradient.
local function weighted(outputs, grads)
  local chosen, weights = {}, {}
  for i, t in ipairs(outputs) do
    if grads[i] and t.requires_grad then
      chosen[#chosen + 1], weights[#weights + 1] = t, grads[i]
    end
  end
  return chosen, weights
end

-- What gradients are wanted of: the tensors, and the place of each among all arguments and parameters.
local function targets_of(self, leaves)
  local targets, places = {}, {}
  for i, leaf in ipairs(leaves) do
    if self.need[i] then targets[#targets + 1], places[#places + 1] = leaf, i end
  end
  for i, p in ipairs(self.parameters) do targets[#targets + 1], places[#places + 1] = p, #leaves + i end
  return targets, places
end

-- Gradients by place, from those of the results.
local function differentiate(self, grads)
  local _, outputs, leaves, parameters = call(self)
  if #outputs ~= grads.n or #parameters ~= #self.parameters then
    core.raise(("%s: the function did something else the second time: %d results from %d parameters, at first %d from "
      .. "%d"):format(NAME, #outputs, #parameters, grads.n, #self.parameters))
  end
  local chosen, weights = weighted(outputs, grads)
  local targets, places = targets_of(self, leaves)
  local found = {}
  if #chosen == 0 or #targets == 0 then return found end
  local list = table.pack(core.partial_grad(chosen, targets, { grad_outputs = weights }))
  for i, place in ipairs(places) do found[place] = list[i] end
  return found
end

-- fn(...) with the random numbers of the first run.
local function replay(self, fn, ...)
  local seed, block = core.rng_state()
  local pending <close> = guard.new(function() core.set_rng_state(seed, block) end)
  core.set_rng_state(self.seed, self.block)
  return guard.call(pending, fn, ...)
end

local function backward(self, ...)
  local grads = table.pack(...)
  check_unchanged(self)
  local found = replay(self, core.scope, differentiate, self, grads)
  for i = 1, grads.n do
    if grads[i] then grads[i]:free() end
  end
  return table.unpack(found, 1, #self.held + #self.parameters)
end

-- The first run: the packed results with tensors outside the graph, and these.
local function first_run(self)
  local values = {}
  local results = core.scope(function()
    local packed, _, _, parameters = call(self)
    self.parameters = parameters
    return map(packed, function(t)
      local value = core.held(t)
      values[#values + 1] = value
      return value
    end)
  end)
  return results, values
end

-- The packed results, tied to the arguments and parameters.
local function tie(self, inputs, results, values)
  table.move(self.parameters, 1, #self.parameters, #inputs + 1, inputs)
  local tied = table.pack(core.custom(NAME, inputs, values, function(...) return backward(self, ...) end, self.held))
  local i = 0
  local out = map(results, function()
    i = i + 1
    return tied[i]
  end)
  for _, value in ipairs(values) do value:free() end
  return out
end

local function is_callable(value)
  return type(value) == "function" or (getmetatable(value) or {}).__call ~= nil
end

---fn(...), of which only the arguments are kept for backward, which calls fn again to have the rest: less memory for
---time. Results and gradients have the same bits as without.
---
---Tensors may stand among the arguments and results, and in plain tables and states there, at most 16 in the results.
---Parameters that fn uses get their gradients as always; other tensors of the graph, those that were computed outside,
---have to be arguments. fn must do the same both times: it draws the same random numbers (lurn's, not math.random), and
---an argument or parameter that is changed in place in between is an error. It runs as in lurn.scope: tensors that it
---makes and does not return are freed. Under no_grad this is fn(...).
---
---An error in the second run leaves every .grad as it was.
---Chen, Xu, Zhang, Guestrin: Training deep nets with sublinear memory cost. arXiv 1604.06174, 2016.
---@generic T
---@param fn fun(...): T or a module
---@return T
function checkpoint.call(fn, ...)
  if not is_callable(fn) then
    core.raise(("%s: expected a function or module, got %s"):format(NAME, check.describe(fn)))
  end
  if not core.grad_enabled() then return fn(...) end
  local self = { fn = function(...) return fn(...) end, held = {}, need = {} }
  local inputs = {}
  self.args = map(table.pack(...), function(t)
    local held = core.held(t)
    inputs[#inputs + 1], self.held[#inputs + 1], self.need[#inputs + 1] = t, held, t.requires_grad
    return held
  end)
  self.seed, self.block = core.rng_state()
  local results, values = first_run(self)
  self.versions = versions_of(self)
  local out = tie(self, inputs, results, values)
  return table.unpack(out, 1, out.n)
end

-- ---- Sequences in segments ----

---@type lurn.nn.OptionSpec
checkpoint.option = { name = "checkpoint", kind = "any", default = false }

---Raises unless the option is true, false, or a number of segments.
---@param who string
---@param given any
---@return boolean|integer|nil
function checkpoint.read(who, given)
  if given == nil or type(given) == "boolean" then return given end
  local count = type(given) == "number" and math.tointeger(given)
  if count and count >= 1 then return count end
  core.raise(("%s: checkpoint is %s; expected true, false or a number of segments"):format(who, check.describe(given)))
end

-- Lengths of sequences within steps first..last of them.
local function lengths_within(lengths, first, last)
  if not lengths then return nil end
  return core.no_grad(core.clamp, lengths - (first - 1), 0, last - first + 1)
end

-- First and last steps of about `count` segments in the order of walking; true means the square root of T.
local function segments_of(steps, count, reverse)
  if count == true then count = math.ceil(math.sqrt(steps)) end
  local size, list = math.ceil(steps / count), {}
  for first = 1, steps, size do
    table.insert(list, reverse and 1 or #list + 1, { first, math.min(first + size - 1, steps) })
  end
  return list
end

-- Joins the outputs of segments in the order of time, and frees them.
local function join(outputs, reverse)
  if #outputs == 1 then return outputs[1] end
  local list = {}
  for i, y in ipairs(outputs) do list[reverse and #outputs + 1 - i or i] = y end
  local joined = core.cat(list, 1)
  for _, y in ipairs(list) do y:free() end
  return joined
end

---What runs one layer in one direction: noise.run, or in segments as the call or else the layer says.
---@param of_call boolean|integer|nil
---@param of_layer boolean|integer
---@return function
function checkpoint.runner(of_call, of_layer)
  local count = of_layer
  if of_call ~= nil then count = of_call end
  if not count then return noise.run end
  return function(...) return checkpoint.run(count, ...) end
end

---One layer in one direction as noise.run gives it, in segments of which only the states between them are kept; in
---backward each segment is computed anew, so that activations of one segment at a time are in memory.
---@param count true|integer number of segments; true means the square root of T
---@param layer lurn.nn.Recurrent
---@return lurn.Tensor y
---@return lurn.Tensor h_n
---@return lurn.Tensor? c_n
function checkpoint.run(count, layer, w, x, h, c, lengths, reverse, record)
  local who, steps = getmetatable(layer).__name, x.shape[1]
  if record then core.raise(who .. ": a call in checkpointed segments cannot be recorded") end
  if not core.grad_enabled() or steps == 0 then return noise.run(layer, w, x, h, c, lengths, reverse) end
  if lengths then noise.check_lengths(who, lengths, x) end
  local mask, outputs = noise.mask(layer, w, x), {}
  local function segment(weights, slice, old_h, old_c, within, of_h)
    return noise.run(layer, weights, slice, old_h, old_c, within, reverse, nil, of_h)
  end
  for i, ends in ipairs(segments_of(steps, count, reverse)) do
    local first, last = ends[1], ends[2]
    outputs[i], h, c = checkpoint.call(segment, w, core.narrow(x, 1, first, last - first + 1), h, c,
      lengths_within(lengths, first, last), mask)
  end
  return join(outputs, reverse), h, c
end

return checkpoint
