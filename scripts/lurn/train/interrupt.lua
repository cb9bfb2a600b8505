-- Ctrl-C in a Lua program is an error like any other, raised wherever it happens to be.

---Whether an error message is that of Ctrl-C, as the programs `lurn` and `lua` raise it, or of SIGTERM, as `lurn` does.
---@param message any
---@return boolean
local function is_interrupt(message)
  return type(message) == "string" and message:find("interrupted!", 1, true) ~= nil
end

return is_interrupt
