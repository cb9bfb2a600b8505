--- Gradients: no_grad, functions of one's own, and freeing tensors early.

local core = require "lurn.core"

local restore_grad = setmetatable({}, { __mode = "k" })
local grad_guard = { __close = function(guard) core.set_grad_enabled(restore_grad[guard]) end }

--- Calls fn(...) with recording switched off, and returns what it returns.
---@generic T
---@param fn fun(...): T
---@return T
function core.no_grad(fn, ...)
  if type(fn) ~= "function" then core.raise("no_grad: expected a function, got " .. type(fn)) end
  local guard <close> = setmetatable({}, grad_guard)
  restore_grad[guard] = core.set_grad_enabled(false)
  return fn(...)
end

--- Calls fn(...) with recording switched on, also inside no_grad.
function core.enable_grad(fn, ...)
  local guard <close> = setmetatable({}, grad_guard)
  restore_grad[guard] = core.set_grad_enabled(true)
  return fn(...)
end

---@class lurn.FunctionContext what forward passes on to backward; any field may be set
local Context = {}
Context.__index = Context

--- Keeps tensors for backward.  Inputs and results are best kept this way: it makes no cycle that only a full collection
--- could free.
---@param ... lurn.Tensor
function Context:save_for_backward(...)
  self.saved = table.pack(...)
  for i = 1, self.saved.n do
    local t = self.saved[i]
    if core.is_tensor(t) then self.saved[i] = t:detach() end
  end
end

--- The tensors that were kept, in order.
---@return lurn.Tensor ...
function Context:saved_tensors()
  if self.saved == nil then core.raise("saved_tensors: nothing was saved for backward") end
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
--- forward(ctx, ...) gets the arguments, runs without recording, and returns tensors.  backward(ctx, ...) gets one gradient for
--- each result (nil where none arrives) and returns one for each argument (nil for none, and for what is no tensor).
---@param def {forward: function, backward: function, name: string?}
---@return fun(...): lurn.Tensor
function core.custom_function(def)
  if type(def) ~= "table" or type(def.forward) ~= "function" or type(def.backward) ~= "function" then
    core.raise "custom_function: expected {forward = function, backward = function}"
  end
  local copy = { forward = def.forward, backward = def.backward, name = def.name or "custom_function" }
  return function(...) return call_custom(copy, ...) end
end

local function keep(kept, value)
  if core.is_tensor(value) then
    kept[value] = true
  elseif type(value) == "table" then
    for _, v in pairs(value) do
      if core.is_tensor(v) then kept[v] = true end
    end
  end
end

local function free_all(list, kept)
  for _, t in ipairs(list) do
    if not kept[t] then t:free() end
  end
end

--- Calls fn(...) and frees every tensor made in it but those it returns, alone or in a table.  On an error all are freed.
---@generic T
---@param fn fun(...): T
---@return T
function core.scope(fn, ...)
  if type(fn) ~= "function" then core.raise("scope: expected a function, got " .. type(fn)) end
  local kept = {}
  local list = core.scope_open()
  local guard <close> = setmetatable({}, { -- luacheck: ignore guard
    __close = function()
      core.scope_close()
      free_all(list, kept)
    end,
  })
  local results = table.pack(fn(...))
  for i = 1, results.n do keep(kept, results[i]) end
  return table.unpack(results, 1, results.n)
end
