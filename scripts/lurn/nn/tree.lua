-- Walks over a module and all below it.

local check = require "lurn.nn.check"
local parameter = require "lurn.nn.parameter"
local slots = require "lurn.nn.slots"

local tree = {}

---@class lurn.nn.Entry
---@field name string "rnn.weight_ih_l0"
---@field value any

local function join(prefix, name) return prefix == "" and name or prefix .. "." .. name end

local function collect_tensors(module, prefix, want, recurse, seen, list)
  if seen[module] then return end
  seen[module] = true
  for name, value, kind in slots.each(module) do
    if kind == want and not seen[value] then
      seen[value] = true
      list[#list + 1] = { name = join(prefix, name), value = value }
    elseif kind == "module" and recurse then
      collect_tensors(value, join(prefix, name), want, recurse, seen, list)
    end
  end
end

---Parameters or buffers in order, each tensor once.
---@param module lurn.nn.Module
---@param kind "parameter"|"buffer"
---@param recurse boolean those of submodules too
---@return lurn.nn.Entry[]
function tree.tensors(module, kind, recurse)
  local list = {}
  collect_tensors(module, "", kind, recurse, {}, list)
  return list
end

local function collect_values(module, want, recurse, seen, list)
  seen[module] = true
  local own = slots.of(module)
  local values, kinds = own.values, own.kinds
  for _, name in ipairs(own.order) do
    local value, kind = values[name], kinds[name]
    if value == nil or seen[value] then
      goto next
    elseif kind == want then
      seen[value] = true
      list[#list + 1] = value
    elseif kind == "module" and recurse then
      collect_values(value, want, recurse, seen, list)
    end
    ::next::
  end
end

---What `tensors` finds, without names.
---@param module lurn.nn.Module
---@param kind "parameter"|"buffer"
---@param recurse boolean
---@return lurn.Tensor[]
function tree.values(module, kind, recurse)
  local list = {}
  collect_values(module, kind, recurse, {}, list)
  return list
end

-- Being kept in a list keeps no tensor.
local weak = { __mode = "v" }

---All parameters of a module and those below it, as `values` finds them; every step of training asks for them, so the
---list is kept until a registered field of some module changes.
---@param module lurn.nn.Module
---@return lurn.Tensor[] # a new list
function tree.parameters(module)
  local derived, now = slots.derived(module), slots.changes()
  local kept = derived.parameters
  if kept == nil or kept.changes ~= now then
    kept = setmetatable(tree.values(module, "parameter", true), weak)
    kept.n, kept.changes = #kept, now
    derived.parameters = kept
  end
  return table.move(kept, 1, kept.n, 1, {})
end

---The submodules directly below a module, each once.
---@param module lurn.nn.Module
---@return lurn.nn.Entry[]
function tree.children(module)
  local list, seen = {}, {}
  for name, value, kind in slots.each(module) do
    if kind == "module" and not seen[value] then
      seen[value] = true
      list[#list + 1] = { name = name, value = value }
    end
  end
  return list
end

local function collect_modules(module, prefix, children_first, seen, list)
  if seen[module] then return end
  seen[module] = true
  local entry = { name = prefix, value = module }
  if not children_first then list[#list + 1] = entry end
  for _, child in ipairs(tree.children(module)) do
    collect_modules(child.value, join(prefix, child.name), children_first, seen, list)
  end
  if children_first then list[#list + 1] = entry end
end

---A module, named "", and all below it, each once.
---@param module lurn.nn.Module
---@param children_first? boolean (false) a module comes after its children
---@return lurn.nn.Entry[]
function tree.modules(module, children_first)
  local list = {}
  collect_modules(module, "", children_first, {}, list)
  return list
end

---The path that leads from a module to one below it, "blocks.0.rnn"; nil when it is not there.
---@param module lurn.nn.Module
---@param below lurn.nn.Module
---@return string?
function tree.path(module, below)
  for _, entry in ipairs(tree.modules(module)) do
    if entry.value == below and below ~= module then return entry.name end
  end
end

-- A parameter or buffer in another dtype; itself when there is nothing to convert.
local function converted(t, dtype)
  if t.dtype == dtype or not check.is_float(t) then return t end
  local new = t:detach():to(dtype)
  if not parameter.is(t) then return new end
  local p = parameter.new(new, t.requires_grad)
  if t.grad then p.grad = t.grad:to(dtype) end
  return p
end

---Puts converted tensors in the place of all float parameters and buffers. Shared tensors stay shared. When a
---conversion fails, nothing has changed.
---@param module lurn.nn.Module
---@param dtype "float32"|"float64"
function tree.convert(module, dtype)
  local new = {}
  for _, kind in ipairs { "parameter", "buffer" } do
    for _, entry in ipairs(tree.tensors(module, kind, true)) do new[entry.value] = converted(entry.value, dtype) end
  end
  for _, entry in ipairs(tree.modules(module)) do
    for name, value, kind in slots.each(entry.value) do
      if kind ~= "module" then slots.replace(entry.value, name, new[value]) end
    end
  end
end

return tree
