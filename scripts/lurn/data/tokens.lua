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

local function replace(pattern)
  return function(piece, codes) return (piece:gsub(pattern, codes)) end
end

-- Replaces every token of a piece of text with what the table codes has for it, strings.
local translate = { bytes = replace ".", utf8 = replace(utf8.charpattern), word = words }

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

---What one token is called at a level: in "nats per char", "words/s".
---@param level lurn.Level
---@return string
function tokens.unit(level) return level == "utf8" and "char" or level == "bytes" and "byte" or "token" end

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

---How often each token occurs.
---@param text string
---@param level lurn.Level
---@return table<string, integer>
function tokens.count(text, level)
  local counts = {}
  if level == "word" then
    local count = setmetatable({}, { __index = function(_, token)
      counts[token] = (counts[token] or 0) + 1
      return ""
    end })
    tokens.translate(text, level, count)
    return counts
  end
  for token in text:gmatch(level == "bytes" and "." or utf8.charpattern) do
    counts[token] = (counts[token] or 0) + 1
  end
  return counts
end

return tokens
