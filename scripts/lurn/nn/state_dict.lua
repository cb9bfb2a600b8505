-- A module's parameters and persistent buffers as a flat table of tensors, and back.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local slots = require "lurn.nn.slots"

local state_dict = {}

-- Unlike parameters(), every name counts, so shared tensors and shared modules come several times.
local function collect(module, prefix, list)
  local transient = slots.of(module).transient
  for name, value, kind in slots.each(module) do
    if kind == "module" then
      collect(value, prefix .. name .. ".", list)
    elseif not transient[name] then
      list[#list + 1] = { name = prefix .. name, value = value }
    end
  end
  return list
end

---@param module lurn.nn.Module
---@return table<string, lurn.Tensor>
function state_dict.dump(module)
  local dict = {}
  for _, entry in ipairs(collect(module, "", {})) do dict[entry.name] = entry.value:detach() end
  return dict
end

---@param module lurn.nn.Module
---@return string[]
function state_dict.names(module)
  local names = {}
  for i, entry in ipairs(collect(module, "", {})) do names[i] = entry.name end
  return names
end

-- ---- Loading ----

-- What the table has for an entry does not fit it: why, or nil.
local function misfit(entry, value)
  if not core.is_tensor(value) then return ("%s is %s"):format(entry.name, check.describe(value)) end
  if check.same_shape(entry.value.shape, value.shape) then return nil end
  local came, expected = check.shape_text(value.shape), check.shape_text(entry.value.shape)
  return ("%s is %s; expected %s"):format(entry.name, came, expected)
end

local function compare(entries, dict)
  local missing, unexpected, misfits, known = {}, {}, {}, {}
  for _, entry in ipairs(entries) do
    known[entry.name] = true
    local value = dict[entry.name]
    if value == nil then
      missing[#missing + 1] = entry.name
    else
      misfits[#misfits + 1] = misfit(entry, value)
    end
  end
  for name in pairs(dict) do
    if not known[name] then unexpected[#unexpected + 1] = tostring(name) end
  end
  table.sort(unexpected)
  return missing, unexpected, misfits
end

local function complain(module, missing, unexpected, misfits)
  local parts = {}
  local function add(title, list, separator)
    if #list > 0 then parts[#parts + 1] = title .. ": " .. table.concat(list, separator) end
  end
  add("missing", missing, ", ")
  add("unexpected", unexpected, ", ")
  add("other shape", misfits, ", ")
  if #parts == 0 then return end
  core.raise(("%s: load_state_dict: the names or shapes do not fit\n  %s"):format(getmetatable(module).__name,
    table.concat(parts, "\n  ")))
end

-- What can fail, converting, comes before the first change.
local function copy_all(entries, dict)
  local sources = {}
  for i, entry in ipairs(entries) do
    local source = dict[entry.name]
    if source and source.dtype ~= entry.value.dtype then source = source:to(entry.value.dtype) end
    sources[i] = source or false
  end
  for i, entry in ipairs(entries) do
    if sources[i] then entry.value:copy_(sources[i]) end
  end
end

-- The results of lurn.load may be passed on as they are, so what follows the state may also be a file's metadata, or
-- say why there is no state.
local function check_state(who, dict, given)
  if type(dict) == "table" then return end
  local reason = dict == nil and type(given) == "string" and (" (%s)"):format(given) or ""
  core.raise(("%s: the state is %s%s; expected a table of tensors by name"):format(who, check.describe(dict), reason))
end

---@param module lurn.nn.Module
---@param dict table<string, lurn.Tensor>
---@param given? {strict: boolean}
---@return {missing: string[], unexpected: string[]}
function state_dict.load(module, dict, given)
  check_state(getmetatable(module).__name .. ": load_state_dict", dict, given)
  local strict = not (type(given) == "table" and given.strict == false)
  local entries = collect(module, "", {})
  local missing, unexpected, misfits = compare(entries, dict)
  complain(module, strict and missing or {}, strict and unexpected or {}, misfits)
  core.no_grad(copy_all, entries, dict)
  return { missing = missing, unexpected = unexpected }
end

return state_dict
