--- Gradients: no_grad, functions of one's own, and freeing tensors early.

local core = require "lurn.core"
local guard = require "lurn.guard"

local function with_grad(on, who, fn, ...)
  if type(fn) ~= "function" then core.raise(("%s: expected a function, got %s"):format(who, type(fn))) end
  local pending <close> = guard.new(core.grad_enabled())
  core.set_grad_enabled(on)
  return guard.call(pending, fn, ...)
end

--- Calls fn(...) with recording switched off, and returns what it returns.  A coroutine cannot yield out of it: the
--- switch is one for all of them.
---@generic T
---@param fn fun(...): T
---@return T
function core.no_grad(fn, ...) return with_grad(false, "no_grad", fn, ...) end

--- Calls fn(...) with recording switched on, also inside no_grad.
---@generic T
---@param fn fun(...): T
---@return T
function core.enable_grad(fn, ...) return with_grad(true, "enable_grad", fn, ...) end

---@class lurn.FunctionContext what forward passes on to backward; any field may be set
local Context = {}
Context.__index = Context

--- Keeps tensors for backward, outside the graph and past the end of a scope, and has backward check that none was
--- changed in place.
---@param ... any tensors, and other values as they are
function Context:save_for_backward(...)
  self.saved = table.pack(...)
  self.versions = {}
  for i = 1, self.saved.n do
    local t = self.saved[i]
    if core.is_tensor(t) then self.saved[i], self.versions[i] = core.held(t), core.version_of(t) end
  end
end

--- What was kept, in order.
---@return lurn.Tensor ...
function Context:saved_tensors()
  if self.saved == nil then core.raise "saved_tensors: nothing was saved for backward" end
  for i, version in pairs(self.versions) do
    if core.version_of(self.saved[i]) ~= version then
      core.raise(("saved_tensors: tensor %d was changed in place after it was saved"):format(i))
    end
  end
  return table.unpack(self.saved, 1, self.saved.n)
end

local function tensors_among(args)
  local tensors, places = {}, {}
  for i = 1, args.n do
    if core.is_tensor(args[i]) then
      tensors[#tensors + 1] = args[i]
      places[#places + 1] = i
    end
  end
  return tensors, places
end

local function call_custom(def, ...)
  local args = table.pack(...)
  local tensors, places = tensors_among(args)
  local context = setmetatable({}, Context)
  local results = table.pack(core.no_grad(def.forward, context, ...))
  for i = 1, results.n do
    if not core.is_tensor(results[i]) then
      core.raise(("%s: forward gave %s as result %d; expected a tensor"):format(def.name, type(results[i]), i))
    end
  end
  return core.custom(def.name, tensors, results, function(...)
    local grads = table.pack(def.backward(context, ...))
    if #places == args.n then return table.unpack(grads, 1, args.n) end
    local picked = {}
    for k, place in ipairs(places) do picked[k] = grads[place] end
    return table.unpack(picked, 1, #places)
  end)
end

--- A differentiable function from a pair of Lua functions.
---
--- forward(ctx, ...) gets the arguments, runs without recording, and returns tensors.  backward(ctx, ...) gets one
--- gradient for each result (nil where none arrives), which it must not change in place, and returns one for each
--- argument (nil for none, and for what is no tensor).  What it differentiates itself, with enable_grad, starts from
--- tensors it detached.
---@param def {forward: function, backward: function, name: string?}
---@return fun(...): lurn.Tensor
function core.custom_function(def)
  if type(def) ~= "table" or type(def.forward) ~= "function" or type(def.backward) ~= "function" then
    core.raise "custom_function: expected {forward = function, backward = function}"
  end
  if def.name ~= nil and type(def.name) ~= "string" then
    core.raise(("custom_function: name: expected a string, got %s"):format(type(def.name)))
  end
  local copy = { forward = def.forward, backward = def.backward, name = def.name or "custom_function" }
  return function(...) return call_custom(copy, ...) end
end

-- ---- Scopes -----------------------------------------------------------------------------------

local function keep(kept, value)
  if core.is_tensor(value) then
    kept[value] = true
  elseif type(value) == "table" then
    for _, v in pairs(value) do
      if core.is_tensor(v) then kept[v] = true end
    end
  end
end

-- What leaves an inner scope belongs to the outer one.
local function leave(list, kept, outer)
  for _, t in ipairs(list) do
    if not kept[t] then
      t:free()
    elseif outer then
      outer[#outer + 1] = t
    end
  end
end

--- Calls fn(...) and frees every tensor made in it but those it returns, alone or in a table.  On an error all are
--- freed.  A coroutine cannot yield out of it.
---@generic T
---@param fn fun(...): T
---@return T
function core.scope(fn, ...)
  if type(fn) ~= "function" then core.raise("scope: expected a function, got " .. type(fn)) end
  local list, kept = {}, {}
  local pending <close> = guard.new(function(outer) leave(list, kept, outer) end, list)
  core.scope_open(list)
  local results = table.pack(guard.call(pending, fn, ...))
  for i = 1, results.n do keep(kept, results[i]) end
  return table.unpack(results, 1, results.n)
end
