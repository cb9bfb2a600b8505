-- Checkpoints: sections of named tensors in one safetensors file, "section.name", with metadata beside them.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local json = require "lurn.data.json"

local checkpoint = {}

local function check_sections(sections)
  if type(sections) ~= "table" then
    core.raise(("checkpoint.save: the sections are %s; expected a table of tables"):format(check.describe(sections)))
  end
  for section, content in pairs(sections) do
    if type(section) ~= "string" or section == "" or section:find(".", 1, true) then
      core.raise(("checkpoint.save: a section is named %s; expected a string without dots"):format(
        type(section) == "string" and ('"%s"'):format(section) or check.describe(section)))
    end
    if type(content) ~= "table" then
      core.raise(("checkpoint.save: section %s is %s; expected a table of tensors"):format(section,
        check.describe(content)))
    end
  end
end

---Writes a checkpoint; the file is replaced as a whole or not at all.
---@param path string
---@param sections table<string, table<string, lurn.Tensor>> such as {model = model:state_dict()}; no dots in the keys
---@param metadata? table<string, any> strings as they are, anything else as JSON
---@return true? ok, string? message # nil and a message when the disk says no
function checkpoint.save(path, sections, metadata)
  check_sections(sections)
  local tensors, strings = {}, {}
  for section, content in pairs(sections) do
    for name, tensor in pairs(content) do tensors[section .. "." .. name] = tensor end
  end
  for key, value in pairs(metadata or {}) do
    strings[key] = type(value) == "string" and value or json.encode(value)
  end
  return core.save(path, tensors, strings)
end

---Reads a checkpoint.
---@param path string
---@return table<string, table<string, lurn.Tensor>>? sections # nil and a message when the file cannot be read, is not
---sound or has a tensor that is in no section
---@return table<string, string>|string metadata
function checkpoint.load(path)
  local tensors, metadata = core.load(path)
  if not tensors then return nil, metadata end
  local sections = {}
  for key, tensor in pairs(tensors) do
    local section, name = key:match "^([^.]+)%.(.+)$"
    if not section then return nil, ("%s: no checkpoint: it has a tensor %q"):format(path, key) end
    sections[section] = sections[section] or {}
    sections[section][name] = tensor
  end
  return sections, metadata or {}
end

---Makes a directory, with those above it.
---@param path string
---@return true? ok, string? message # nil and a message when it cannot be made or nothing can be written there
function checkpoint.prepare(path)
  if type(path) ~= "string" then
    core.raise(("checkpoint.prepare: the path is %s; expected a string"):format(check.describe(path)))
  end
  if path:find("\0", 1, true) then
    core.raise(("checkpoint.prepare: the path has a zero byte after %q"):format(path:match "^[^\0]*"))
  end
  local quoted = "'" .. path:gsub("'", "'\\''") .. "'"
  local pipe <close>, why = io.popen(("mkdir -p -- %s 2>&1"):format(quoted))
  if not pipe then return nil, why end
  local said = pipe:read "a"
  if said ~= "" then return nil, (said:gsub("%s+$", "")) end
  local probe = ("%s/.lurn-%d"):format(path, os.time())
  local file, message = io.open(probe, "wb")
  if not file then return nil, path .. message:sub(#probe + 1) end
  file:close()
  os.remove(probe)
  return true
end

return checkpoint
