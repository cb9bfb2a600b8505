-- nn.utils.rnn: sequences of different lengths in one tensor, and back.
--
-- Layers take padded sequences and `lengths`. A PackedSequence is both in one object, for those who are used to it.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local lengths_of = require "lurn.nn.lengths"
local options = require "lurn.nn.options"

local rnn = {}

---@class lurn.nn.PadOptions
---@field batch_first? boolean (false) (N, T, ...) instead of (T, N, ...)
---@field padding_value? number (0)

local pad_schema = {
  { name = "batch_first", kind = "flag", default = false },
  { name = "padding_value", kind = "number", default = 0 },
}

-- Checks the list and gives the largest length.
local function check_sequences(who, list)
  if type(list) ~= "table" or #list == 0 then
    core.raise(("%s: the sequences are %s; expected a list of tensors"):format(who,
      type(list) == "table" and "an empty list" or check.describe(list)))
  end
  local longest, first = 0, list[1]
  for i, t in ipairs(list) do
    check.tensor(who, ("sequence %d"):format(i), t)
    if t.ndim == 0 then core.raise(("%s: sequence %d is a scalar; expected (T, ...)"):format(who, i)) end
    local a, b = { table.unpack(t.shape, 2) }, { table.unpack(first.shape, 2) }
    if not check.same_shape(a, b) or t.dtype ~= first.dtype then
      core.raise(("%s: sequence %d is %s %s, the first is %s %s; expected the same but for the first size"):format(who,
        i, t.dtype, check.shape_text(t.shape), first.dtype, check.shape_text(first.shape)))
    end
    longest = math.max(longest, t.shape[1])
  end
  return longest
end

---Sequences side by side, the shorter ones padded at their end, and their lengths: what layers take as `lengths`.
---Differentiable; any dtype.
---@param sequences lurn.Tensor[] N tensors (T_i, ...)
---@param given? lurn.nn.PadOptions
---@return lurn.Tensor padded (T, N, ...), T the largest T_i
---@return lurn.Tensor lengths int64 (N)
function rnn.pad_sequence(sequences, given)
  local chosen = options.read("pad_sequence", given, pad_schema)
  local longest = check_sequences("pad_sequence", sequences)
  local padded, sizes = {}, {}
  for i, t in ipairs(sequences) do
    sizes[i] = t.shape[1]
    padded[i] = sizes[i] == longest and t or core.pad(t, 1, 0, longest - sizes[i], chosen.padding_value)
  end
  return core.stack(padded, chosen.batch_first and 1 or 2), core.tensor(sizes, { dtype = "int64" })
end

---The inverse of pad_sequence: each sequence without its padding, as views.
---@param padded lurn.Tensor (T, N, ...)
---@param lengths lurn.Tensor|integer[] (N), 0 to T
---@param given? {batch_first: boolean}
---@return lurn.Tensor[] # N tensors (T_i, ...)
function rnn.unpad_sequence(padded, lengths, given)
  local who = "unpad_sequence"
  local batch_first = options.read(who, given, { pad_schema[1] }).batch_first
  check.tensor(who, "padded", padded)
  if padded.ndim < 2 then
    core.raise(("%s: padded has shape %s; expected (%s, ...)"):format(who, check.shape_text(padded.shape),
      batch_first and "N, T" or "T, N"))
  end
  if lengths == nil then core.raise(who .. ": lengths is nil; expected an int64 tensor or a list") end
  local batch = batch_first and 1 or 2
  local list = lengths_of.checked(who, lengths_of.read(who, lengths), padded.shape[3 - batch], padded.shape[batch])
  local sequences = {}
  for i, length in ipairs(list) do sequences[i] = padded:select(batch, i):narrow(1, 1, length) end
  return sequences
end

-- ---- Packed sequences ----

---Sequences with their lengths, which recurrent layers take as x; their y is packed then too. Made by
---pack_padded_sequence; needs no order.
---@class lurn.nn.PackedSequence
---@field padded lurn.Tensor (T, N, ...), T the largest length
---@field lengths lurn.Tensor int64 (N)
local PackedSequence = { __name = "PackedSequence" }
PackedSequence.__index = PackedSequence

---@param padded lurn.Tensor (T, N, ...)
---@param lengths lurn.Tensor int64 (N)
---@return lurn.nn.PackedSequence
function rnn.packed(padded, lengths) return setmetatable({ padded = padded, lengths = lengths }, PackedSequence) end

---Whether a value is a PackedSequence.
---@param value any
---@return boolean
function rnn.is_packed(value) return getmetatable(value) == PackedSequence end

function PackedSequence:__tostring()
  return ("PackedSequence(%s, lengths {%s})"):format(check.shape_text(self.padded.shape),
    table.concat(self.lengths:totable(), ", "))
end

local pack_schema = { pad_schema[1], { name = "enforce_sorted", kind = "flag", default = false } }

---Padded sequences and their lengths as one object: x (T, N, ...) or, with batch_first, (N, T, ...). Steps past the
---largest length go. `enforce_sorted` is taken for the sake of old scripts: any order is right.
---@param padded lurn.Tensor
---@param lengths lurn.Tensor|integer[] (N), 0 to T
---@param given? {batch_first: boolean, enforce_sorted: boolean}
---@return lurn.nn.PackedSequence
function rnn.pack_padded_sequence(padded, lengths, given)
  local who = "pack_padded_sequence"
  local batch_first = options.read(who, given, pack_schema).batch_first
  check.tensor(who, "padded", padded)
  if padded.ndim < 2 then
    core.raise(("%s: padded has shape %s; expected (%s, ...)"):format(who, check.shape_text(padded.shape),
      batch_first and "N, T" or "T, N"))
  end
  if lengths == nil then core.raise(who .. ": lengths is nil; expected an int64 tensor or a list") end
  if batch_first then padded = padded:transpose(1, 2) end
  lengths = lengths_of.read(who, lengths)
  local list = lengths_of.checked(who, lengths, padded.shape[1], padded.shape[2])
  return rnn.packed(padded:narrow(1, 1, math.max(0, table.unpack(list))), lengths)
end

---A list of sequences as one PackedSequence.
---@param sequences lurn.Tensor[] N tensors (T_i, ...)
---@param given? {enforce_sorted: boolean}
---@return lurn.nn.PackedSequence
function rnn.pack_sequence(sequences, given)
  options.read("pack_sequence", given, { pack_schema[2] })
  check_sequences("pack_sequence", sequences)
  return rnn.packed(rnn.pad_sequence(sequences))
end

---What pack_padded_sequence took: the sequences, padded, and their lengths.
---@param packed lurn.nn.PackedSequence
---@param given? {batch_first: boolean, padding_value: number, total_length: integer}
---@return lurn.Tensor padded (T, N, ...), or batch first; T the largest length, or total_length
---@return lurn.Tensor lengths int64 (N)
function rnn.pad_packed_sequence(packed, given)
  local who = "pad_packed_sequence"
  local chosen = options.read(who, given, { pad_schema[1], pad_schema[2], { name = "total_length", kind = "size" } })
  if not rnn.is_packed(packed) then
    core.raise(("%s: packed is %s; expected a PackedSequence"):format(who, check.describe(packed)))
  end
  local padded, lengths = packed.padded, packed.lengths
  local steps = padded.shape[1]
  if chosen.total_length and chosen.total_length < steps then
    core.raise(("%s: total_length is %d; a sequence has %d"):format(who, chosen.total_length, steps))
  end
  local past = lengths_of.past(lengths, steps)
  for _ = 3, padded.ndim do past = core.unsqueeze(past, -1) end
  padded = core.masked_fill(padded, past, chosen.padding_value)
  if chosen.total_length then padded = core.pad(padded, 1, 0, chosen.total_length - steps, chosen.padding_value) end
  return chosen.batch_first and padded:transpose(1, 2) or padded, lengths
end

return rnn
