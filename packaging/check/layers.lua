-- Proves who may include whom.  In engine/ a file includes the public header, headers of its own directory and of
-- directories of lower layers; in bindings/ only the public header, its own directory's and the system's.
--
--   lua packaging/check/layers.lua FILES...

local layers = { core = 0, kernels = 1, ops = 2, autograd = 3, train = 4, io = 4, graph = 5 }
local public = { ["lurn.h"] = true }

--- Why a file of engine/`own` may not include `name`; nil when it may.
local function engine_fault(own, name)
  if public[name] then
    return nil
  end
  local directory = name:match "^([%w_]+)/"
  if not directory or directory == own then
    return nil -- beside the file
  end
  local level = layers[directory]
  if not level then
    return "there is no layer " .. directory
  elseif level >= layers[own] then
    return ("%s (layer %d) is not below %s (layer %d)"):format(directory, level, own, layers[own])
  end
end

--- Why `path` may not include `name` (quoted or in angle brackets); nil when it may.
local function fault(path, name, quoted)
  local own = path:match "engine/([%w_]+)/"
  if path:match "engine/lurn%.h$" then
    return quoted and not name:match "^ops/" and "the public header includes the op list only" or nil
  elseif own and not layers[own] then
    return "engine/" .. own .. " has no layer in packaging/check/layers.lua"
  elseif own and quoted then
    return engine_fault(own, name)
  elseif own then
    return name:match "^l[ua][%w]*%.h" and name:match "^lua" and "the engine knows nothing of Lua" or nil
  elseif quoted and not public[name] and name:find "/" then
    return "bindings include lurn.h and nothing else of the engine"
  end
end

--- Text without comments, its line breaks kept, so that an #include in prose does not count.
local function code_of(text)
  return (text:gsub("/%*.-%*/", function(comment)
    return (comment:gsub("[^\n]", ""))
  end):gsub("//[^\n]*", ""))
end

local faults = 0
for _, path in ipairs(arg) do
  local file = assert(io.open(path))
  local number = 0
  for line in (code_of(file:read "a") .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local open, name = line:match '^%s*#%s*include%s*(["<])([^">]+)[">]'
    local why = name and fault(path, name, open == '"')
    if why then
      faults = faults + 1
      print(("%s:%d: includes %s: %s"):format(path, number, name, why))
    end
  end
  file:close()
end
os.exit(faults == 0)
