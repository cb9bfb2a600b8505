-- One part of a corpus: a run of token ids, cut into batches for truncated back-propagation through time.

local core = require "lurn.core"
local ids = require "lurn.data.ids"
local methods = require "lurn.methods"

---@class lurn.Stream
---@field name string "train", "valid" or "test"
---@field planes lurn.Tensor[] see lurn.data.ids
---@field count integer tokens in it; `#stream` is the same
local Stream = {}
Stream.__index = Stream

function Stream:__len() return self.count end

function Stream:__tostring() return ("Stream(%s, %d tokens)"):format(self.name, self.count) end

---@class lurn.BatchOptions
---@field seq_len integer steps T in a batch
---@field batch_size integer streams N side by side
---@field first? integer number of the batch to begin with (1)
---@field partial? boolean whether a last batch with fewer steps comes too (false)

local KNOWN = { seq_len = true, batch_size = true, first = true, partial = true }

local function check(options)
  if type(options) ~= "table" then core.raise "batches: expected a table with seq_len and batch_size" end
  for name in pairs(options) do
    if not KNOWN[name] then
      core.raise(('batches: there is no option "%s"; the options are seq_len, batch_size, first, partial'):format(
        tostring(name)))
    end
  end
  for _, name in ipairs { "seq_len", "batch_size", "first" } do
    local value = options[name]
    if name == "first" and value == nil then value = 1 end
    if math.type(value) ~= "integer" or value < 1 then
      core.raise(("batches: %s is %s; expected a whole number from 1"):format(name, tostring(value)))
    end
  end
end

-- Steps in each of the N streams; the last token is only ever a target.
local function steps(self, options) return math.max(self.count - 1, 0) // options.batch_size end

---How many batches `batches` gives from the first on.
---@param options lurn.BatchOptions
---@return integer
function Stream:num_batches(options)
  check(options)
  local length = steps(self, options)
  local whole = length // options.seq_len
  return options.partial and length % options.seq_len > 0 and whole + 1 or whole
end

-- The planes as (N, L) views that begin at a token.
local function rows(self, first, n, length)
  local views = {}
  for k, plane in ipairs(self.planes) do views[k] = plane:narrow(1, first, n * length):view(n, length) end
  return views
end

-- Columns of (N, L) views as (T, N) ids.
local function columns(views, first, t)
  local cut = {}
  for k, view in ipairs(views) do cut[k] = view:narrow(2, first, t):transpose(1, 2) end
  return ids.widen(cut)
end

---Iterates over x, y and the batch's number: inputs and targets (T, N), int64, y one token ahead of x. The text is cut
---into N equal runs; sequence b of a batch goes on where sequence b of the batch before ended, so that a recurrent
---state can be carried over. Tokens at the end that fill no batch are left out.
---Raises when there are fewer than seq_len * batch_size + 1 tokens (with `partial`, batch_size + 1).
---@param options lurn.BatchOptions
---@return fun(): lurn.Tensor?, lurn.Tensor?, integer?
function Stream:batches(options)
  local last = self:num_batches(options)
  local t, n = options.seq_len, options.batch_size
  if last == 0 then
    core.raise(("batches: %s has %d tokens; one batch needs %.15g (seq_len %d x batch_size %d + 1)"):format(self.name,
      self.count, (options.partial and n or 1.0 * t * n) + 1, t, n)) -- a float: the product may be absurd
  end
  local length = steps(self, options)
  local inputs, targets = rows(self, 1, n, length), rows(self, 2, n, length)
  local i = (options.first or 1) - 1
  return function()
    if i >= last then return nil end
    local from = i * t + 1
    i = i + 1
    local here = math.min(t, length - from + 1)
    return columns(inputs, from, here), columns(targets, from, here), i
  end
end

---The ids of tokens first to last.
---@param first? integer (1)
---@param last? integer (the last token)
---@return lurn.Tensor ids (last - first + 1) int64
function Stream:ids(first, last)
  first, last = first or 1, last or self.count
  local whole = math.type(first) == "integer" and math.type(last) == "integer"
  if not whole or first < 1 or last > self.count or first > last then
    core.raise(("ids: %s to %s is not within the %d tokens of %s"):format(tostring(first), tostring(last), self.count,
      self.name))
  end
  local views = {}
  for k, plane in ipairs(self.planes) do views[k] = plane:narrow(1, first, last - first + 1) end
  return ids.widen(views)
end

methods.guard(Stream, "stream", function(value) return getmetatable(value) == Stream end)

---@param name string
---@param planes lurn.Tensor[] of the whole corpus
---@param first integer where this part begins
---@param count integer its tokens; may be 0
---@return lurn.Stream
local function new(name, planes, first, count)
  local views = {}
  for k, plane in ipairs(planes) do views[k] = count > 0 and plane:narrow(1, first, count) or plane end
  return setmetatable({ name = name, planes = views, count = count }, Stream)
end

return { new = new }
