-- JSON text for what goes into the metadata of checkpoints: vocabularies, options, where training stands.
-- Reading treats the text as data from anywhere: it never runs code, and nesting is limited.

local json = {}

-- ---- Writing ----

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(byte) return ESCAPES[byte] or ("\\u%04x"):format(byte:byte()) end

local function encode_string(s)
  s = s:gsub('[%c"\\\127]', escape)
  -- JSON is UTF-8; other bytes become the characters of the same numbers.
  if not utf8.len(s) then s = s:gsub("[\x80-\xff]", escape) end
  return '"' .. s .. '"'
end

local function encode_number(n)
  if math.type(n) == "integer" then return ("%d"):format(n) end
  if n ~= n or n == math.huge or n == -math.huge then error("json: " .. n .. " cannot be written", 0) end
  local text = ("%.17g"):format(n):gsub("[^%de+-]+", ".") -- whatever point the locale has
  return text:find "[.e]" and text or text .. ".0" -- it stays a float
end

local encode

local function encode_list(list)
  local parts = {}
  for i, value in ipairs(list) do parts[i] = encode(value) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function encode_object(object)
  local keys, parts = {}, {}
  for key in pairs(object) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do parts[i] = encode_string(key) .. ":" .. encode(object[key]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

---JSON text of a value: strings, finite numbers, booleans, lists and tables with string keys (in sorted order).
---A table without elements becomes `{}`. Raises for anything else.
---@param value any
---@return string
function encode(value)
  local kind = type(value)
  if kind == "string" then return encode_string(value) end
  if kind == "number" then return encode_number(value) end
  if kind == "boolean" then return tostring(value) end
  if kind ~= "table" then error("json: a " .. kind .. " cannot be written", 0) end
  return value[1] ~= nil and encode_list(value) or encode_object(value)
end
json.encode = encode

-- ---- Reading ----

local MAX_DEPTH = 64
local UNESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local WORDS = { ["true"] = true, ["false"] = false }

local function fail(what, at) error({ message = ("%s at byte %d"):format(what, at) }, 0) end

local function skip(s, at) return s:match("^[ \t\r\n]*()", at) end

-- The character of \uXXXX, with the second half of a surrogate pair; returns it and the position after it.
local function decode_unicode(s, at)
  local hex, after = s:match("^\\u(%x%x%x%x)()", at)
  if not hex then fail("bad escape", at) end
  local code = tonumber(hex, 16)
  if code >= 0xD800 and code < 0xDC00 then
    local low, next = s:match("^\\u([dD][c-fC-F]%x%x)()", after)
    if not low then fail("half a surrogate pair", at) end
    return utf8.char(0x10000 + ((code - 0xD800) << 10) + (tonumber(low, 16) - 0xDC00)), next
  end
  if code >= 0xDC00 and code < 0xE000 then fail("half a surrogate pair", at) end
  return utf8.char(code), after
end

local function decode_string(s, at)
  local parts, from = {}, at + 1
  while true do
    local text, stop = s:match('^([^"\\%c]*)()', from)
    parts[#parts + 1] = text
    local byte = s:sub(stop, stop)
    if byte == '"' then return table.concat(parts), stop + 1 end
    if byte ~= "\\" then fail("a string that does not end", at) end
    local escaped = s:sub(stop + 1, stop + 1)
    if escaped == "u" then
      parts[#parts + 1], from = decode_unicode(s, stop)
    else
      parts[#parts + 1], from = UNESCAPES[escaped] or fail("bad escape", stop), stop + 2
    end
  end
end

local function decode_number(s, at)
  local text, stop = s:match("^(-?%d+%.?%d*[eE]?[+-]?%d*)()", at)
  local number = text and tonumber(text)
  if not number then fail("something that is no value", at) end
  return number, stop
end

local decode

local function decode_list(s, at, depth)
  local list = {}
  at = skip(s, at + 1)
  if s:sub(at, at) == "]" then return list, at + 1 end
  while true do
    local value
    value, at = decode(s, at, depth)
    list[#list + 1] = value
    at = skip(s, at)
    local byte = s:sub(at, at)
    if byte == "]" then return list, at + 1 end
    if byte ~= "," then fail("no , or ]", at) end
    at = skip(s, at + 1)
  end
end

local function decode_object(s, at, depth)
  local object = {}
  at = skip(s, at + 1)
  if s:sub(at, at) == "}" then return object, at + 1 end
  while true do
    if s:sub(at, at) ~= '"' then fail("no name", at) end
    local key, value
    key, at = decode_string(s, at)
    at = skip(s, at)
    if s:sub(at, at) ~= ":" then fail("no :", at) end
    value, at = decode(s, skip(s, at + 1), depth)
    object[key] = value
    at = skip(s, at)
    local byte = s:sub(at, at)
    if byte == "}" then return object, at + 1 end
    if byte ~= "," then fail("no , or }", at) end
    at = skip(s, at + 1)
  end
end

function decode(s, at, depth)
  if depth > MAX_DEPTH then fail("too deep a nesting", at) end
  local byte = s:sub(at, at)
  if byte == '"' then return decode_string(s, at) end
  if byte == "[" then return decode_list(s, at, depth + 1) end
  if byte == "{" then return decode_object(s, at, depth + 1) end
  local word = s:match("^%l+", at)
  if word == "null" then return nil, at + 4 end
  if WORDS[word] ~= nil then return WORDS[word], at + #word end
  return decode_number(s, at)
end

---The value of a JSON text. `null` becomes nil, and is left out of lists; numbers without point or exponent are
---integers.
---@param s string
---@return any value, string? message # nil and a message when it is not sound
function json.decode(s)
  local ok, value, stop = pcall(decode, s, skip(s, 1), 0)
  if not ok then
    if type(value) ~= "table" then error(value, 0) end -- none of fail's
    return nil, "not JSON: " .. value.message
  end
  stop = skip(s, stop)
  if stop <= #s then return nil, ("not JSON: something follows at byte %d"):format(stop) end
  return value
end

return json
