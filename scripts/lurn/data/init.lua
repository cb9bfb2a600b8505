-- lurn.data: reading what models learn from.

local data = {}

---Files of text as batches of token ids.
data.text = require "lurn.data.text"

---Vocabularies: Vocab.build(text, options), Vocab.parse(json).
data.Vocab = require "lurn.data.vocab"

return data
