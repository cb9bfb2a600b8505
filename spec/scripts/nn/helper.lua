-- What the specs of lurn.nn share.

local lurn = require "lurn"

local helper = {}

-- ---- Reference files ----

-- A flat JSON object of numbers, strings and booleans, as the reference files hold them.
local function decode(json)
  local result, words = {}, { ["true"] = true, ["false"] = false }
  for key, text in json:gmatch '"([^"]+)":%s*"?([^",}]+)' do
    result[key] = tonumber(text) or words[text]
    if result[key] == nil then result[key] = text end
  end
  return result
end

---The cases of a file of spec/reference, in order: their names, settings and tensors by name.
---@param file string
---@return {name: string, settings: table, tensors: table<string, lurn.Tensor>}[]
---@return table<string, lurn.Tensor> # all tensors under their full names
function helper.reference(file)
  local tensors, metadata = assert(lurn.load("spec/reference/" .. file .. ".safetensors"))
  local cases, by_name = {}, {}
  for name in metadata.cases:gmatch "%S+" do
    cases[#cases + 1] = { name = name, settings = decode(metadata[name]), tensors = {} }
    by_name[name] = cases[#cases]
  end
  for full, t in pairs(tensors) do
    local case, name = full:match "^([^.]+)%.(.+)$"
    if by_name[case] then by_name[case].tensors[name] = t end
  end
  return cases, tensors
end

-- ---- Tensors ----

---A copy that collects gradients; nil for nil.
function helper.leaf(t)
  if t == nil then return nil end
  local copy = t:detach():clone()
  copy.requires_grad = true
  return copy
end

---The largest |a - b|; shapes must be equal.
function helper.distance(a, b)
  assert(tostring(a.shape) == tostring(b.shape), ("shapes %s and %s"):format(tostring(a.shape), tostring(b.shape)))
  if a:numel() == 0 then return 0 end
  return (a:detach():to "float64" - b:detach():to "float64"):abs():max():item()
end

---The largest |a - b| relative to the largest |b|.
function helper.relative(a, b)
  local size = b:detach():abs():max():item()
  local distance = helper.distance(a, b)
  return distance == 0 and 0 or distance / size
end

---sum(a * b) over pairs of tensors.
function helper.inner(...)
  local total
  for _, pair in ipairs { ... } do
    local product = (pair[1] * pair[2]):sum()
    total = total and total + product or product
  end
  return total
end

-- ---- Errors ----

---The message that f raises, without the position, which has to be in the specs.
function helper.failure(f, ...)
  local ok, message = pcall(f, ...)
  assert(not ok, "no error was raised")
  local text = tostring(message):match "^[^\n]-spec/scripts/nn/[%w_]+%.lua:%d+: (.*)$"
  assert(text, "not at the caller's line: " .. tostring(message))
  return text
end

---Asserts that f raises a message with this text in it.
function helper.fails(expected, f, ...)
  local text = helper.failure(f, ...)
  if not text:find(expected, 1, true) then error(("expected: %s\ngot: %s"):format(expected, text), 2) end
end

---The names of an iterator's first results.
function helper.names(iterator)
  local list = {}
  for name in iterator do list[#list + 1] = name end
  return list
end

return helper
