-- Lack of memory is most often the user's choice of sizes: a program tells it in a line, without a traceback.

local WORDS = { "out of memory", "not enough memory", "larger than memory can be" }

---Whether an error message tells of lack of memory, the engine's or Lua's.
---@param message any
---@return boolean
local function is_out_of_memory(message)
  if type(message) ~= "string" then return false end
  for _, words in ipairs(WORDS) do
    if message:find(words, 1, true) then return true end
  end
  return false
end

return is_out_of_memory
