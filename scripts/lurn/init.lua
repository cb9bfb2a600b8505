--- lurn: a neural-network engine for sequences.
--
-- The C half is lurn.core; this file adds the Lua half to the same table.

local core = require "lurn.core"

local source = debug.getinfo(1, "S").source
core.library((source:gsub("init%.lua$", "")))

require "lurn.tensor"
require "lurn.arrange"
require "lurn.numeric"
require "lurn.shorthand"
require "lurn.composed"
require "lurn.autograd"

---@class lurn
---@field nn table models: Module, layers, functional, init, utils
---@field optim table optimizers and learning-rate schedulers
---@field data table reading and batching data
---@field sample fun(options: table): lurn.Tensor drawing from a language model
local lurn = core

-- The parts are loaded when they are first used, so that a program pays for what it needs.
local parts = { nn = "lurn.nn", optim = "lurn.optim", data = "lurn.data", sample = "lurn.sample",
  train = "lurn.train" }

-- Where this file is loaded anew, they are too, so that all are of one piece.
for name in pairs(parts) do rawset(lurn, name, nil) end

return setmetatable(lurn, {
  __index = function(t, name)
    local module = parts[name]
    if module == nil then return nil end
    local part = require(module)
    rawset(t, name, part)
    return part
  end,
})
