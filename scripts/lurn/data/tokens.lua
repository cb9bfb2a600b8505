-- How a text falls into tokens at each level. Nothing is lost: the tokens joined are the text.
--
--   bytes  every byte
--   utf8   every code point of valid UTF-8
--   word   runs of letters, digits and all characters beyond ASCII, with apostrophes inside and a blank before, if
--          there is one (" don't"); any other character by itself. Valid UTF-8 as well.

local tokens = {}

---@alias lurn.Level "bytes"|"utf8"|"word"

-- About as much text as is looked at in one go, so that Ctrl-C need not wait long.
local PIECE = 1 << 20

local WORD = "()( ?[%w\x80-\xff][%w\x80-\xff']*)()"

local function words(piece, codes)
  local out, n, from = {}, 0, 1
  local function rest(last) -- what stands between two words
    for i = from, last do
      n = n + 1
      out[n] = codes[piece:sub(i, i)]
    end
  end
  for start, word, stop in piece:gmatch(WORD) do
    rest(start - 1)
    if word:byte(-1) == 39 then -- a closing quote, no apostrophe
      word = word:match "^(.-)'*$"
      stop = start + #word
    end
    n = n + 1
    out[n] = codes[word]
    from = stop
  end
  rest(#piece)
  return table.concat(out)
end

local function bytes(piece, codes) return (piece:gsub(".", codes)) end

-- Of valid UTF-8.
local function is_ascii(text) return utf8.len(text) == #text end

-- ASCII goes faster byte by byte.
local function characters(piece, codes)
  return (piece:gsub(is_ascii(piece) and "." or utf8.charpattern, codes))
end

-- Replaces every token of a piece of text with what the table codes has for it, strings.
local translate = { bytes = bytes, utf8 = characters, word = words }

-- The last byte of the piece that begins at `from` such that no token is cut.
local function piece_end(text, from, level)
  local stop = from + PIECE
  if stop > #text or level == "bytes" then return stop - 1 end
  if level == "utf8" then return utf8.offset(text, 0, stop) - 1 end
  return (text:find("%s", stop) or #text + 1) - 1
end

---True when there is such a level.
---@param level any
---@return boolean
function tokens.has_level(level) return translate[level] ~= nil end

---Whether a text can be read at this level: anything can at "bytes", the others need UTF-8.
---@param text string
---@param level lurn.Level
---@return true? ok, string? message
function tokens.check(text, level)
  if level == "bytes" then return true end
  local length, at = utf8.len(text)
  if length then return true end
  return nil, ("not valid UTF-8 at byte %d (0x%02X); convert it, or use level = \"bytes\""):format(at, text:byte(at))
end

---The text with every token replaced by codes[token], which may come from an __index metamethod.
---@param text string sound for the level
---@param level lurn.Level
---@param codes table<string, string>
---@return string
function tokens.translate(text, level, codes)
  local parts, from = {}, 1
  while from <= #text do
    local stop = piece_end(text, from, level)
    parts[#parts + 1] = translate[level](text:sub(from, stop), codes)
    from = stop + 1
  end
  return table.concat(parts)
end

-- Calls note(token) when translate asks for a token that the table does not have, and goes on without it.
local function asking(note)
  return setmetatable({}, { __index = function(codes, token) return note(token, codes) or "" end })
end

---How often each token occurs.
---@param text string
---@param level lurn.Level
---@return table<string, integer>
function tokens.count(text, level)
  local counts = {}
  tokens.translate(text, level, asking(function(token) counts[token] = (counts[token] or 0) + 1 end))
  return counts
end

---Which tokens occur; faster than counting them.
---@param text string
---@param level lurn.Level
---@return table<string, true>
function tokens.distinct(text, level)
  local set = {}
  if level == "bytes" or level == "utf8" and is_ascii(text) then
    for byte = 0, 255 do
      local token = string.char(byte)
      if text:find(token, 1, true) then set[token] = true end
    end
    return set
  end
  tokens.translate(text, level, asking(function(token, codes) set[token], codes[token] = true, "" end))
  return set
end

return tokens
