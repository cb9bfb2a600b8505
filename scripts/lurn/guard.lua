-- What is switched for the time of a call and switched back after it, however the call ends.

local core = require "lurn.core"

local guard = {}

local metatable = { __close = core.restore }

---A value for a `<close>` variable that calls restore once, or switches gradients to what a boolean says. It is made
---before anything is switched: from there on nothing can fail but the call itself. With the list of a scope that scope
---is closed first, and restore is called with the list of the scope around it, unless the scope was closed already.
---Neither gradients nor scopes need memory for it.
---@param restore? function|boolean
---@param scope? table
---@return table
function guard.new(restore, scope) return setmetatable({ restore = restore, scope = scope }, metatable) end

core.shield(metatable.__close)

local function settle(pending, ok, ...)
  if ok then return ... end
  metatable.__close(pending)
  error((...), 0)
end

---fn(...) with a guard pending. A coroutine cannot yield out of it. An error that ends a coroutine leaves its `<close>`
---variables open until somebody closes the coroutine, so there it is caught and raised again; in the main thread the
---traceback stays whole.
---@param pending table
---@param fn function
---@return any ...
function guard.call(pending, fn, ...)
  local _, is_main = coroutine.running()
  if is_main then return core.call_without_yield(fn, ...) end
  return settle(pending, pcall(core.call_without_yield, fn, ...))
end

return guard
