-- The tokens that a model knows, numbered from 1.

local core = require "lurn.core"
local ids = require "lurn.data.ids"
local json = require "lurn.data.json"
local methods = require "lurn.methods"
local tokens = require "lurn.data.tokens"

---@class lurn.Vocab
---@field level lurn.Level what a token is: a byte, a character or a word
---@field size integer number of tokens
---@field tokens string[] the token of each id
---@field ids table<string, integer> the id of each token
---@field unk? integer id that stands for every token that is not here; nil when there is none
local Vocab = {}
Vocab.__index = Vocab

-- What stands for unknown tokens: a word that no text falls into, or Unicode's replacement character.
local UNKNOWN = { word = "<unk>", utf8 = "\u{FFFD}" }

-- ---- Making ----

local function new(level, list, unk)
  local by_token = {}
  for id, token in ipairs(list) do by_token[token] = id end
  return setmetatable({ level = level, size = #list, tokens = list, ids = by_token, unk = unk }, Vocab)
end

local function check_text(who, text)
  if type(text) == "string" then return end
  core.raise(("%s: expected a string, got a %s"):format(who, type(text)))
end

local function check_options(options)
  if type(options) ~= "table" then core.raise("vocab: expected a table of options, got a " .. type(options)) end
  for name in pairs(options) do
    if name ~= "level" and name ~= "min_count" then
      core.raise(('vocab: there is no option "%s"; the options are level, min_count'):format(tostring(name)))
    end
  end
end

local function sorted_tokens(text, level, min_count)
  local list = {}
  if min_count == 1 then
    for token in pairs(tokens.distinct(text, level)) do list[#list + 1] = token end
  else
    for token, count in pairs(tokens.count(text, level)) do
      if count >= min_count then list[#list + 1] = token end
    end
  end
  table.sort(list)
  return list
end

---@class lurn.VocabOptions
---@field level? lurn.Level ("utf8")
---@field min_count? integer tokens that occur less often become one "unknown" token (1; 2 for words; not for bytes)

---The vocabulary of a text, in the order of the tokens' bytes.
---@param text string
---@param options? lurn.VocabOptions
---@return lurn.Vocab? # nil and a message when the text is empty, or not sound for the level
---@return string? message
function Vocab.build(text, options)
  check_text("vocab", text)
  options = options == nil and {} or options
  check_options(options)
  local level = options.level or "utf8"
  if not tokens.has_level(level) then
    core.raise(('vocab: there is no level %q; expected "bytes", "utf8" or "word"'):format(tostring(level)))
  end
  local min_count = options.min_count or (level == "word" and 2 or 1)
  if math.type(min_count) ~= "integer" or min_count < 1 then
    core.raise "vocab: min_count is not a whole number from 1"
  end
  if level == "bytes" and min_count > 1 then core.raise 'vocab: min_count has no meaning at level "bytes"' end
  local ok, message = tokens.check(text, level)
  if not ok then return nil, message end
  if text == "" then return nil, "the text is empty" end
  local vocab = new(level, sorted_tokens(text, level, min_count))
  if min_count > 1 then vocab:add_unknown() end
  return vocab
end

---Makes room for tokens that are not in the vocabulary: one more id, `unk`.
function Vocab:add_unknown()
  local token = UNKNOWN[self.level]
  if not self.ids[token] then
    self.size = self.size + 1
    self.tokens[self.size] = token
    self.ids[token] = self.size
  end
  self.unk = self.ids[token]
end

-- ---- Text to ids and back ----

-- "한" (U+D55C), or byte 0xE9
local function show(token, level)
  if level == "bytes" then return ("byte 0x%02X"):format(token:byte()) end
  local shown = ("%q"):format(token):gsub("\\\n", "\\n")
  return level == "utf8" and ("%s (U+%04X)"):format(shown, utf8.codepoint(token)) or shown
end

local function list_missing(missing, level)
  local shown = {}
  for i = 1, math.min(#missing, 5) do shown[i] = show(missing[i], level) end
  local more = #missing > 5 and (" and %d more"):format(#missing - 5) or ""
  return "not in the vocabulary: " .. table.concat(shown, ", ") .. more
end

-- The codes of all tokens, for tokens.translate. What is not there becomes unknown, or nothing and is added to missing.
local function code_table(vocab, missing)
  local format, codes = "<I" .. ids.width(vocab.size), {}
  for id, token in ipairs(vocab.tokens) do codes[token] = format:pack(id - 1) end
  local unknown = vocab.unk and codes[vocab.tokens[vocab.unk]]
  return setmetatable(codes, { __index = function(_, token)
    if unknown then return unknown end
    missing[#missing + 1] = token
    codes[token] = "" -- named once
    return ""
  end })
end

---The ids of a text as a string for lurn.data.ids, `ids.width(vocab.size)` bytes each.
---@param text string
---@return string? bytes
---@return string? message
function Vocab:pack(text)
  check_text("encode", text)
  local ok, message = tokens.check(text, self.level)
  if not ok then return nil, message end
  local missing = {}
  local bytes = tokens.translate(text, self.level, code_table(self, missing))
  if missing[1] then return nil, list_missing(missing, self.level) end
  return bytes
end

---The ids of a text.
---@param text string
---@return lurn.Tensor? ids (n) int64; nil and a message when the text is no valid UTF-8 (levels utf8 and word) or has
---tokens that are not in the vocabulary and the vocabulary has no `unk`
---@return string? message
function Vocab:encode(text)
  local bytes, message = self:pack(text)
  if not bytes then return nil, message end
  if bytes == "" then return core.zeros(0, { dtype = "int64" }) end
  return ids.widen(ids.planes(bytes, ids.width(self.size)))
end

---The text of ids.
---@param list lurn.Tensor|integer[]|integer ids counting from 1; a tensor of any shape is read in row-major order
---@return string
function Vocab:decode(list)
  if math.type(list) == "integer" then list = { list } end
  if core.is_tensor(list) then list = list:reshape(-1):totable() end
  if type(list) ~= "table" then core.raise("decode: expected ids, got a " .. type(list)) end
  local parts = {}
  for i, id in ipairs(list) do
    parts[i] = self.tokens[id] or core.raise(("decode: there is no token %s; ids are 1 to %d"):format(tostring(id),
      self.size))
  end
  return table.concat(parts)
end

function Vocab:__tostring() return ("Vocab(%d %s)"):format(self.size, self.level == "bytes" and "bytes" or
  self.level == "word" and "words" or "characters") end

-- ---- As text ----

---JSON text from which Vocab.parse makes the same vocabulary; for the metadata of files.
---@return string
function Vocab:serialize()
  local list = self.tokens
  if self.level == "bytes" then -- which need not be UTF-8 and go as numbers
    list = {}
    for id, token in ipairs(self.tokens) do list[id] = token:byte() end
  end
  return json.encode { level = self.level, tokens = list, unk = self.unk }
end

local function parse_token(item, level)
  if level == "bytes" then
    local is_byte = math.type(item) == "integer" and item >= 0 and item <= 255
    return is_byte and string.char(item) or nil
  end
  return type(item) == "string" and item ~= "" and utf8.len(item) and item or nil
end

---Reads what `serialize` wrote.
---@param text string
---@return lurn.Vocab? # nil and a message when the text is no vocabulary
---@return string? message
function Vocab.parse(text)
  check_text("Vocab.parse", text)
  local data, message = json.decode(text)
  if message then return nil, "vocabulary: " .. message end
  if type(data) ~= "table" or not tokens.has_level(data.level) or type(data.tokens) ~= "table" or
    data.tokens[1] == nil then
    return nil, "vocabulary: no level or no tokens"
  end
  local list, seen = {}, {}
  for id, item in ipairs(data.tokens) do
    local token = parse_token(item, data.level)
    if not token or seen[token] then return nil, ("vocabulary: token %d is not sound"):format(id) end
    list[id], seen[token] = token, true
  end
  if data.unk ~= nil and (math.type(data.unk) ~= "integer" or not list[data.unk]) then
    return nil, "vocabulary: unk is no id"
  end
  return new(data.level, list, data.unk)
end

methods.guard(Vocab, "vocab", function(value) return getmetatable(value) == Vocab end, { build = true, parse = true })

return Vocab
