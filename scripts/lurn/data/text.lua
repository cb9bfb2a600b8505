-- lurn.data.text: files of text as token ids, divided into train, valid and test.

local core = require "lurn.core"
local ids = require "lurn.data.ids"
local methods = require "lurn.methods"
local stream = require "lurn.data.stream"
local tokens = require "lurn.data.tokens"
local Vocab = require "lurn.data.vocab"

---@class lurn.Corpus
---@field vocab lurn.Vocab
---@field train lurn.Stream
---@field valid lurn.Stream
---@field test lurn.Stream
---@field count integer tokens in all; `#corpus` is the same
local Corpus = {}
Corpus.__index = Corpus

function Corpus:__len() return self.count end

function Corpus:__tostring()
  return ("Corpus(%d tokens: train %d, valid %d, test %d; %s)"):format(self.count, #self.train, #self.valid,
    #self.test, tostring(self.vocab))
end

---The ids of a text, see lurn.Vocab.encode.
---@param text string
---@return lurn.Tensor? ids (n) int64
---@return string? message
function Corpus:encode(text) return self.vocab:encode(text) end

---The text of ids, see lurn.Vocab.decode.
---@param list lurn.Tensor|integer[]|integer
---@return string
function Corpus:decode(list) return self.vocab:decode(list) end

methods.guard(Corpus, "corpus", function(value) return getmetatable(value) == Corpus end)

-- ---- Options ----

---@class lurn.TextOptions
---@field path? string a file of text
---@field paths? string[] or several, which are read one after the other
---@field text? string or the text itself
---@field level? lurn.Level what a token is: "bytes", "utf8" (code points) or "word" ("utf8")
---@field split? number[] shares of train, valid and test, from the beginning on; at most 1 in all ({0.9, 0.05, 0.05})
---@field vocab? lurn.Vocab the vocabulary to use, such as a checkpoint's (default: that of the text)
---@field min_count? integer see lurn.VocabOptions

local SPLIT = { 0.9, 0.05, 0.05 }
local OPTIONS = { "path", "paths", "text", "level", "split", "vocab", "min_count" }
local KNOWN = {}
for _, name in ipairs(OPTIONS) do KNOWN[name] = true end

local function fail(message, ...) core.raise("data.text: " .. message:format(...)) end

local function check_split(split)
  if type(split) ~= "table" or #split < 1 or #split > 3 then fail "split is not a list of one to three shares" end
  local sum = 0
  for i, share in ipairs(split) do
    if type(share) ~= "number" or not (share >= 0 and share <= 1) then
      fail("share %d of split is %s; expected 0 to 1", i, tostring(share))
    end
    sum = sum + share
  end
  if sum > 1 + 1e-9 then fail("the shares of split add up to %g, more than 1", sum) end
end

-- The functions of files would take the part before a zero byte for the whole.
local function check_zero(name, path)
  if path:find("\0", 1, true) then fail("%s has a zero byte after %q", name, path:match "^[^\0]*") end
end

local function check_paths(paths)
  if paths == nil then return end
  if type(paths) ~= "table" then fail("paths is a %s; expected a list of strings", type(paths)) end
  for i, path in ipairs(paths) do
    if type(path) ~= "string" then fail("paths[%d] is a %s; expected a string", i, type(path)) end
    check_zero(("paths[%d]"):format(i), path)
  end
end

local function check(options)
  if type(options) ~= "table" then fail("expected a table of options, got a %s", type(options)) end
  for name in pairs(options) do
    if not KNOWN[name] then
      fail('there is no option "%s"; the options are %s', tostring(name), table.concat(OPTIONS, ", "))
    end
  end
  local sources = (options.path and 1 or 0) + (options.paths and 1 or 0) + (options.text and 1 or 0)
  if sources ~= 1 then fail "expected one of path, paths and text" end
  for _, name in ipairs { "path", "text" } do
    local value = options[name]
    if value ~= nil and type(value) ~= "string" then fail("%s is a %s; expected a string", name, type(value)) end
  end
  if options.path then check_zero("path", options.path) end
  check_paths(options.paths)
  local vocab = options.vocab
  if vocab ~= nil and getmetatable(vocab) ~= Vocab then fail("vocab is a %s; expected a vocabulary", type(vocab)) end
  if vocab and options.level and options.level ~= vocab.level then
    fail('level is "%s", but the vocabulary\'s is "%s"', options.level, vocab.level)
  end
  check_split(options.split or SPLIT)
end

-- ---- Reading ----

local BOM = "\u{FEFF}"

local function read(path, level)
  local file, message = io.open(path, "rb")
  if not file then return nil, path == "" and '""' .. message or message end
  local text
  text, message = file:read "a"
  file:close()
  if not text then return nil, path .. ": " .. message end
  if text == "" then return nil, path .. ": the file is empty" end
  if level ~= "bytes" and text:sub(1, #BOM) == BOM then text = text:sub(#BOM + 1) end
  local ok
  ok, message = tokens.check(text, level)
  if not ok then return nil, path .. ": " .. message end
  return text
end

local function read_all(options, level)
  if options.text then return options.text end
  local parts = {}
  for i, path in ipairs(options.paths or { options.path }) do
    local text, message = read(path, level)
    if not text then return nil, message end
    parts[i] = text
  end
  if #parts == 0 then fail "paths is an empty list" end
  return table.concat(parts)
end

-- ---- Dividing ----

local NAMES = { "train", "valid", "test" }

local function divide(corpus, planes, split)
  local first, share = 1, 0
  for i, name in ipairs(NAMES) do
    share = share + (split[i] or 0)
    local last = math.min(math.floor(corpus.count * share + 0.5), corpus.count)
    corpus[name] = stream.new(name, planes, first, last - first + 1)
    first = last + 1
  end
end

---Reads text, numbers its tokens and divides it. The tokens are kept in as few bytes as they need: one each for up to
---256 different ones.
---@param options lurn.TextOptions
---@return lurn.Corpus? # nil and a message when a file cannot be read, is empty or no valid UTF-8 (but at level
---"bytes"), or has tokens that the given vocabulary lacks
---@return string? message
local function text(options)
  check(options)
  local level = options.vocab and options.vocab.level or options.level or "utf8"
  local content, message = read_all(options, level)
  if not content then return nil, message end
  local vocab = options.vocab
  if not vocab then
    vocab, message = Vocab.build(content, { level = level, min_count = options.min_count })
    if not vocab then return nil, message end
  end
  local bytes
  bytes, message = vocab:pack(content)
  if not bytes then return nil, message end
  if bytes == "" then return nil, "the text is empty" end
  local width = ids.width(vocab.size)
  local corpus = setmetatable({ vocab = vocab, count = #bytes // width }, Corpus)
  divide(corpus, ids.planes(bytes, width), options.split or SPLIT)
  return corpus
end

return text
