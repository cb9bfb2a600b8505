-- Hooks of modules: functions around the forward of one instance.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local slots = require "lurn.nn.slots"

local hooks = {}

---@alias lurn.nn.HookKind "before"|"after"|"backward"

---@class lurn.nn.Hooks of one instance; the lists are replaced when they change, since calls may be going through them
---@field before {fn: function, removed: boolean?}[]
---@field after {fn: function, removed: boolean?}[]
---@field backward {fn: function, removed: boolean?}[]

local kinds = { "before", "after", "backward" }

---What registering a hook gives; a `<close>` variable of it removes the hook where it ends.
---@class lurn.nn.Hook
local Handle = { __name = "lurn.nn.Hook" }
Handle.__index = Handle

-- The lists with another one in place of one of them; nil when all are empty, so that calls pass by.
local function with(all, kind, list)
  local new, any = {}, false
  for _, name in ipairs(kinds) do
    new[name] = name == kind and list or all and all[name] or {}
    any = any or #new[name] > 0
  end
  return any and new or nil
end

---The hook is not called again.
function Handle:remove()
  if getmetatable(self) ~= Handle then core.raise "remove: called without its hook; write handle:remove()" end
  local own, entry, list = slots.of(self.module), self.entry, {}
  entry.removed = true
  for _, other in ipairs(own.hooks and own.hooks[self.kind] or {}) do
    if other ~= entry then list[#list + 1] = other end
  end
  own.hooks = with(own.hooks, self.kind, list)
end

Handle.__close = Handle.remove

---@param who string
---@param module lurn.nn.Module
---@param kind lurn.nn.HookKind
---@param fn function
---@return lurn.nn.Hook
function hooks.add(who, module, kind, fn)
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    core.raise(("%s: %s: fn is %s; expected a function"):format(getmetatable(module).__name, who, check.describe(fn)))
  end
  local own, entry = slots.of(module), { fn = fn }
  local former = own.hooks and own.hooks[kind] or {}
  local list = table.move(former, 1, #former, 1, {})
  list[#list + 1] = entry
  own.hooks = with(own.hooks, kind, list)
  return setmetatable({ module = module, kind = kind, entry = entry }, Handle)
end

-- Values that hooks of one kind may replace: each sees what the one before made of them.
local function replace(list, values, call)
  for _, entry in ipairs(list) do
    if not entry.removed then
      local given = table.pack(call(entry.fn, values))
      if given.n > 1 or given[1] ~= nil then values = given end
    end
  end
  return values
end

-- ---- Gradients of a call ----

-- Values with the tensors that require a gradient tied to themselves: in backward `see` gets their gradients, packed by
-- the places of the values, and returns those that go on. False when there is no such tensor. What is kept for backward
-- leads to none of the values.
local function tie(values, see)
  local tensors, places, n = {}, {}, values.n
  for i = 1, n do
    if core.is_tensor(values[i]) and values[i].requires_grad then
      tensors[#tensors + 1], places[#places + 1] = values[i], i
    end
  end
  if #places == 0 then return values, false end
  local tied = table.pack(core.custom("register_full_backward_hook", tensors, tensors, function(...)
    local grads, going = { n = n }, {}
    for k, place in ipairs(places) do grads[place] = (select(k, ...)) end
    grads = see(grads)
    for k, place in ipairs(places) do going[k] = grads[place] end
    return table.unpack(going, 1, #places)
  end))
  local new = table.move(values, 1, n, 1, { n = n })
  for k, place in ipairs(places) do new[place] = tied[k] end
  return new, true
end

-- One call: what is told of the gradients of its results, until those of its arguments are there.
local function watch(module, args, results_of)
  local of_results
  local function tell(grads)
    local own, out = slots.of(module), of_results or { n = 0 }
    of_results = nil
    local list = own.hooks and own.hooks.backward or {}
    return replace(list, grads, function(fn, values) return fn(module, values, out) end)
  end
  local n, passed, ends = args.n, tie(args, tell)
  return (tie(results_of(passed), function(grads)
    of_results = grads
    if not ends then tell { n = n } end
    return grads
  end))
end

---forward(module, ...) with the hooks around it.
---@param forward function
---@param module lurn.nn.Module
---@return any ...
function hooks.call(forward, module, ...)
  local own = slots.of(module)
  local args = replace(own.hooks.before, table.pack(...), function(fn, values) return fn(module, values) end)
  local function results_of(passed)
    local results = table.pack(forward(module, table.unpack(passed, 1, passed.n)))
    if not own.hooks then return results end
    return replace(own.hooks.after, results, function(fn, values) return fn(module, args, values) end)
  end
  local watched = own.hooks and #own.hooks.backward > 0 and core.grad_enabled()
  local results = watched and watch(module, args, results_of) or results_of(args)
  return table.unpack(results, 1, results.n)
end

---Gives a copy of a module the same hooks.
---@param from lurn.nn.Module
---@param to lurn.nn.Module
function hooks.copy(from, to)
  local own = slots.of(from)
  for _, kind in ipairs(kinds) do
    for _, entry in ipairs(own.hooks and own.hooks[kind] or {}) do hooks.add("clone", to, kind, entry.fn) end
  end
end

return hooks
