-- lurn.data: tokens, vocabularies, streams, and the JSON they are kept in.

local lurn = require "lurn"
local json = require "lurn.data.json"
local ids = require "lurn.data.ids"
local data, Vocab = lurn.data, lurn.data.Vocab

-- The message that f raises, which has to be about this file.
local function failure(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.matches("data_spec%.lua:%d+: ", message)
  return (message:gsub("^.-:%d+: ", ""))
end

local files = {}

local function file_with(content)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  assert(file:write(content))
  file:close()
  files[#files + 1] = name
  return name
end

after_each(function()
  for _, name in ipairs(files) do os.remove(name) end
  files = {}
end)

local KOREAN = "나는 학교에 간다. 나는 책을 읽는다.\n"

-- What a script prints where the decimal point is a comma; nil where no such locale can be made.
local function in_a_comma_locale(code)
  local directory = os.tmpname()
  os.remove(directory)
  local made = os.execute(("mkdir %s && localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1"):format(directory,
    directory))
  local output
  if made then
    local script = file_with('assert(os.setlocale "de_DE.UTF-8") assert(("%.1f"):format(0.5) == "0,5")\n' .. code)
    local lurn_program = os.getenv "LURN" or "build/bin/lurn"
    local pipe = assert(io.popen(("LOCPATH=%s %s %s 2>&1"):format(directory, lurn_program, script)))
    output = pipe:read "a"
    pipe:close()
  end
  os.execute("rm -rf " .. directory)
  return output
end

describe("lurn.data.json", function()
  it("has points in numbers wherever it is written and read", function()
    local output = in_a_comma_locale [[
      local lurn, json = require "lurn", require "lurn.data.json"
      local text = json.encode { 0.5, 1e300, -2.25e-300, 3, 4.0 }
      print(text)
      local list = json.decode(text)
      print(list[1] == 0.5, list[2] == 1e300, list[3] == -2.25e-300, math.type(list[4]), math.type(list[5]))
      print(lurn.tensor { 0.5, 2e7, 1e-5 })
    ]]
    if not output then return pending "there is no locale with a decimal comma here" end
    assert.equal("[0.5,1.0000000000000001e+300,-2.25e-300,3,4.0]\ntrue\ttrue\ttrue\tinteger\tfloat\n" ..
      "{    0.5000, 2.0000e+07, 1.0000e-05} [float32 {3}]\n", output)
  end)

  it("writes values in a fixed order", function()
    assert.equal('{"a":[1,2.5,true],"b":{"c":"x\\n\\"\\\\\\u0001"},"d":{}}',
      json.encode { b = { c = 'x\n"\\\1' }, a = { 1, 2.5, true }, d = {} })
  end)

  it("keeps integers, floats and text exactly", function()
    local values = { math.maxinteger, math.mininteger, 0.1, 1e300, 5e-324, 3.0, "한국어 😀", "\127\0" }
    for _, value in ipairs(values) do
      local back = json.decode(json.encode(value))
      assert.equal(value, back)
      assert.equal(math.type(value), math.type(back))
    end
  end)

  it("reads escapes and surrogate pairs", function()
    assert.equal("a/\"\\\n\t한😀", json.decode [["a\/\"\\\n\t\ud55c\ud83d\ude00"]])
    assert.same({ 1, { a = false } }, json.decode ' [ 1 , { "a" : false , "b" : null } ] ')
  end)

  it("refuses what is not sound", function()
    for _, text in ipairs { "", "{", "[1,", '{"a"}', '{"a":1,}', "[1 2]", '"a', '"\n"', '"\\x"', '"\\ud83d"', "nope",
      "01x", "1 2", '{1:2}', "os.exit()", ("["):rep(200) .. ("]"):rep(200) } do
      local value, message = json.decode(text)
      assert.is_nil(value, text)
      assert.matches("^not JSON: ", message)
    end
  end)

  it("refuses to write what JSON has no word for", function()
    assert.has_error(function() json.encode { 0 / 0 } end)
    assert.has_error(function() json.encode(print) end)
  end)

  it("writes bytes that are no UTF-8 as characters of the same numbers", function()
    assert.equal('"\\u00e9"', json.encode "\xe9")
  end)
end)

describe("a vocabulary", function()
  it("numbers the tokens in the order of their bytes", function()
    local vocab = assert(Vocab.build "hello")
    assert.same({ "e", "h", "l", "o" }, vocab.tokens)
    assert.equal(4, vocab.size)
    assert.equal(3, vocab.ids.l)
    assert.is_nil(vocab.unk)
    assert.same({ 2, 1, 3, 3, 4 }, vocab:encode("hello"):totable())
    assert.equal("int64", vocab:encode("hello").dtype)
  end)

  it("has bytes, characters or words", function()
    assert.equal(3, Vocab.build("한", { level = "bytes" }).size)
    assert.equal(1, Vocab.build("한", { level = "utf8" }).size)
    local words = Vocab.build("don't stop, don't 'stop'", { level = "word", min_count = 1 })
    assert.same({ " ", " don't", " stop", "'", ",", "don't", "stop" }, words.tokens)
  end)

  it("gives back what it encoded at every level", function()
    local text = KOREAN .. "It's 'so'  - é\t(x1)\r\n\n"
    for _, level in ipairs { "bytes", "utf8", "word" } do
      local vocab = assert(Vocab.build(text, { level = level, min_count = 1 }))
      assert.equal(text, vocab:decode(vocab:encode(text)))
    end
  end)

  it("decodes tensors, lists and single ids", function()
    local vocab = Vocab.build "abc"
    assert.equal("abca", vocab:decode(lurn.tensor({ { 1, 2 }, { 3, 1 } }, { dtype = "int64" })))
    assert.equal("cb", vocab:decode { 3, 2 })
    assert.equal("b", vocab:decode(2))
    assert.equal("", vocab:decode(vocab:encode ""))
    assert.equal("decode: there is no token 4; ids are 1 to 3", failure(vocab.decode, vocab, { 4 }))
  end)

  it("names what it does not know", function()
    local vocab = Vocab.build "abc"
    local encoded, message = vocab:encode "a한\nb한"
    assert.is_nil(encoded)
    assert.equal('not in the vocabulary: "한" (U+D55C), "\\n" (U+000A)', message)
    assert.matches("and 2 more$", select(2, vocab:encode "defghij"))
    assert.equal("not in the vocabulary: byte 0xFF", select(2, Vocab.build("a", { level = "bytes" }):encode "\xff"))
  end)

  it("has a token for rare ones when asked", function()
    local vocab = Vocab.build("the cat the dog the end", { level = "word" }) -- min_count 2
    assert.same({ " the", "<unk>" }, vocab.tokens)
    assert.equal(2, vocab.unk)
    assert.equal("<unk> the<unk>", vocab:decode(vocab:encode "a the b"))
    local characters = Vocab.build("aab", { min_count = 2 })
    assert.equal("a\u{FFFD}", characters:decode(characters:encode "a\u{AC00}"))
  end)

  it("refuses text that is no UTF-8", function()
    local vocab, message = Vocab.build "ab\xffc"
    assert.is_nil(vocab)
    assert.equal('not valid UTF-8 at byte 3 (0xFF); convert it, or use level = "bytes"', message)
    assert.is_nil((Vocab.build("ab"):encode "\xc0\x80"))
    assert.is_nil((Vocab.build ""))
  end)

  it("goes into metadata and back", function()
    for _, level in ipairs { "bytes", "utf8", "word" } do
      local vocab = Vocab.build(KOREAN .. KOREAN .. '"\\\0\127', { level = level })
      local text = vocab:serialize()
      assert.truthy(utf8.len(text))
      local back = assert(Vocab.parse(text))
      assert.same(vocab, back)
      assert.equal(text, back:serialize())
    end
  end)

  it("is not read from anything else", function()
    for _, text in ipairs { "", "{}", "3", "null", '{"level":"utf8","tokens":[]}', '{"level":"x","tokens":["a"]}',
      '{"level":"utf8","tokens":["a","a"]}', '{"level":"utf8","tokens":[1]}', '{"level":"bytes","tokens":[256]}',
      '{"level":"utf8","tokens":["a"],"unk":2}' } do
      local vocab, message = Vocab.parse(text)
      assert.is_nil(vocab)
      assert.matches("^vocabulary: ", message)
    end
  end)

  it("raises for wrong options", function()
    assert.equal('vocab: there is no level "char"; expected "bytes", "utf8" or "word"',
      failure(Vocab.build, "a", { level = "char" }))
    assert.equal('vocab: min_count has no meaning at level "bytes"',
      failure(Vocab.build, "a", { level = "bytes", min_count = 2 }))
    local vocab = Vocab.build "a"
    assert.equal("encode: expected a string, got a nil", failure(vocab.encode, vocab))
    assert.equal("encode: called without its vocab; write vocab:encode(...), with a colon", failure(vocab.encode, "a"))
    assert.equal("vocab: expected a string, got a number", failure(Vocab.build, 5))
    assert.equal('vocab: there is no option "levle"; the options are level, min_count',
      failure(Vocab.build, "a", { levle = "bytes" }))
    assert.equal("vocab: expected a table of options, got a string", failure(Vocab.build, "a", "bytes"))
    assert.equal("Vocab.parse: expected a string, got a nil", failure(Vocab.parse))
    assert.equal("decode: there is no token 1.5; ids are 1 to 1", failure(vocab.decode, vocab, { 1.5 }))
  end)
end)

describe("lurn.data.text", function()
  it("divides from the beginning on", function()
    local corpus = assert(data.text { text = ("0123456789"):rep(10), split = { 0.8, 0.1, 0.05 } })
    assert.equal(100, #corpus)
    assert.same({ 80, 10, 5 }, { #corpus.train, #corpus.valid, #corpus.test })
    assert.equal("0123", corpus:decode(corpus.valid:ids(1, 4)))
    assert.equal("56789", corpus:decode(corpus.valid:ids(6)))
    assert.equal("01234", corpus:decode(corpus.test:ids()))
    assert.equal("Corpus(100 tokens: train 80, valid 10, test 5; Vocab(10 characters))", tostring(corpus))
  end)

  it("has 90, 5 and 5 per cent unless told otherwise", function()
    local corpus = data.text { text = ("ab"):rep(500) }
    assert.same({ 900, 50, 50 }, { #corpus.train, #corpus.valid, #corpus.test })
    corpus = data.text { text = ("ab"):rep(500), split = { 0.95, 0.05 } }
    assert.same({ 950, 50, 0 }, { #corpus.train, #corpus.valid, #corpus.test })
  end)

  it("keeps ids in as few bytes as they need", function()
    assert.equal(1, ids.width(256))
    assert.equal(2, ids.width(257))
    assert.equal(3, ids.width(65537))
    local corpus = data.text { text = "abc" }
    assert.equal("uint8", corpus.train.planes[1].dtype)
    assert.equal(1, #corpus.train.planes)
  end)

  it("reads more than 256 and more than 65536 different characters", function()
    for _, n in ipairs { 300, 70000 } do
      local characters = {}
      for i = 1, n do characters[i] = utf8.char(0x10000 + i) end
      local text = table.concat(characters)
      local corpus = assert(data.text { text = text, split = { 1 } })
      assert.equal(n, corpus.vocab.size)
      assert.equal(n, corpus.train:ids(n):item())
      assert.equal(text, corpus:decode(corpus.train:ids()))
      local x, y = corpus.train:batches { seq_len = 2, batch_size = 3 }()
      local third = (n - 1) // 3
      assert.same({ { 1, third + 1, 2 * third + 1 }, { 2, third + 2, 2 * third + 2 } }, x:totable())
      assert.same({ { 2, third + 2, 2 * third + 2 }, { 3, third + 3, 2 * third + 3 } }, y:totable())
    end
  end)

  it("reads texts larger than it looks at in one go", function()
    local line = "나는 '책을' don't\n"
    local text = line:rep(70000)
    for _, level in ipairs { "bytes", "utf8", "word" } do
      local corpus = assert(data.text { text = text, level = level, split = { 1 } })
      local once = #corpus.vocab:encode(line)
      assert.equal(70000 * once, #corpus)
      assert.equal(line, corpus:decode(corpus.train:ids(#corpus - once + 1)))
    end
  end)

  it("reads one file or several, without a byte order mark", function()
    local a, b = file_with "\u{FEFF}ab", file_with "cd"
    assert.equal(2, #data.text { path = a, split = { 1 } })
    local corpus = data.text { paths = { a, b }, split = { 1 } }
    assert.equal("abcd", corpus:decode(corpus.train:ids()))
    assert.equal(5, #data.text { path = a, level = "bytes", split = { 1 } })
  end)

  it("uses a vocabulary that is there already", function()
    local vocab = Vocab.build "abcd"
    local corpus = assert(data.text { text = "dad", vocab = vocab, split = { 1 } })
    assert.same({ 4, 1, 4 }, corpus.train:ids():totable())
    local none, message = data.text { text = "dxd", vocab = vocab }
    assert.is_nil(none)
    assert.equal('not in the vocabulary: "x" (U+0078)', message)
  end)

  it("gives nil and a message for what the world does", function()
    local function message_of(options)
      local corpus, message = data.text(options)
      assert.is_nil(corpus)
      return message
    end
    assert.matches("^/nowhere/at%-all: No such file", message_of { path = "/nowhere/at-all" })
    assert.matches("^/tmp: ", message_of { path = "/tmp" })
    assert.equal('"": No such file or directory', message_of { path = "" })
    assert.matches(": the file is empty$", message_of { path = file_with "" })
    assert.matches("the text is empty", message_of { text = "" })
    local latin1 = file_with "caf\xe9"
    assert.equal(latin1 .. ': not valid UTF-8 at byte 4 (0xE9); convert it, or use level = "bytes"',
      message_of { path = latin1 })
    assert.truthy(data.text { path = latin1, level = "bytes" })
  end)

  it("raises for wrong options", function()
    assert.equal("data.text: expected one of path, paths and text", failure(data.text, {}))
    assert.equal("data.text: expected one of path, paths and text", failure(data.text, { path = "a", text = "b" }))
    assert.equal('data.text: path has a zero byte after "a"', failure(data.text, { path = "a\0b" }))
    assert.equal('data.text: paths[2] has a zero byte after "a"', failure(data.text, { paths = { "c", "a\0b" } }))
    assert.equal("data.text: path is a table; expected a string", failure(data.text, { path = { "a" } }))
    assert.equal("data.text: text is a number; expected a string", failure(data.text, { text = 5 }))
    assert.equal("data.text: paths is a string; expected a list of strings", failure(data.text, { paths = "a" }))
    assert.equal("data.text: paths[2] is a number; expected a string", failure(data.text, { paths = { "a", 2 } }))
    assert.equal("data.text: vocab is a string; expected a vocabulary", failure(data.text, { text = "a", vocab = "b" }))
    assert.matches('^data.text: there is no option "file"; the options are path, paths, text, level, split, vocab, min',
      failure(data.text, { file = "a" }))
    assert.equal("data.text: the shares of split add up to 1.5, more than 1",
      failure(data.text, { text = "a", split = { 1, 0.5 } }))
    assert.equal("data.text: share 1 of split is x; expected 0 to 1",
      failure(data.text, { text = "a", split = { "x" } }))
    assert.equal('data.text: level is "word", but the vocabulary\'s is "utf8"',
      failure(data.text, { text = "a", level = "word", vocab = Vocab.build "a" }))
    assert.equal("data.text: expected a table of options, got a string", failure(data.text, "a.txt"))
  end)
end)

describe("a stream's batches", function()
  local alphabet = "abcdefghijklmnopqrstuvwxyz"

  local function letters(text, options)
    local corpus = data.text { text = text, split = { 1 }, vocab = Vocab.build(alphabet) }
    local list = {}
    for x, y, i in corpus.train:batches(options) do
      assert.equal("int64", x.dtype)
      local streams = {}
      for n = 1, x.shape[2] do
        streams[n] = corpus:decode(x:select(2, n)) .. ">" .. corpus:decode(y:select(2, n))
      end
      list[#list + 1] = i .. ":" .. table.concat(streams, " ")
    end
    return list, corpus.train:num_batches(options)
  end

  it("go on where the ones before ended, y one ahead of x", function()
    local list, n = letters(alphabet, { seq_len = 4, batch_size = 2 }) -- 12 steps each
    assert.same({ "1:abcd>bcde mnop>nopq", "2:efgh>fghi qrst>rstu", "3:ijkl>jklm uvwx>vwxy" }, list)
    assert.equal(3, n)
  end)

  it("leave out or keep what is left", function()
    local list = letters("abcdefgh", { seq_len = 3, batch_size = 1 })
    assert.same({ "1:abc>bcd", "2:def>efg" }, list)
    local n
    list, n = letters("abcdefgh", { seq_len = 3, batch_size = 1, partial = true })
    assert.same({ "1:abc>bcd", "2:def>efg", "3:g>h" }, list)
    assert.equal(3, n)
    assert.same({ "1:ab>bc cd>de" }, (letters("abcde", { seq_len = 9, batch_size = 2, partial = true })))
  end)

  it("may begin later", function()
    local list, n = letters(alphabet, { seq_len = 4, batch_size = 2, first = 3 })
    assert.same({ "3:ijkl>jklm uvwx>vwxy" }, list)
    assert.equal(3, n)
    assert.same({}, (letters(alphabet, { seq_len = 4, batch_size = 2, first = 4 })))
  end)

  it("need enough text", function()
    local stream = data.text({ text = "abcdefgh", split = { 1 } }).train
    assert.equal(0, stream:num_batches { seq_len = 4, batch_size = 2 })
    assert.equal("batches: train has 8 tokens; one batch needs 9 (seq_len 4 x batch_size 2 + 1)",
      failure(stream.batches, stream, { seq_len = 4, batch_size = 2 }))
    local empty = data.text({ text = "abcdefgh", split = { 1 } }).test
    assert.equal(0, #empty)
    assert.matches("^batches: test has 0 tokens", failure(empty.batches, empty, { seq_len = 1, batch_size = 1 }))
  end)

  it("raise for wrong options", function()
    local stream = data.text({ text = alphabet }).train
    assert.equal("batches: seq_len is 0; expected a whole number from 1",
      failure(stream.batches, stream, { seq_len = 0, batch_size = 1 }))
    assert.equal("batches: batch_size is nil; expected a whole number from 1",
      failure(stream.batches, stream, { seq_len = 1 }))
    assert.equal("ids: x to 3 is not within the " .. #stream .. " tokens of " .. stream.name,
      failure(stream.ids, stream, "x", 3))
    assert.equal("batches: called without its stream; write stream:batches(...), with a colon",
      failure(stream.batches, { seq_len = 1, batch_size = 1 }))
    assert.matches('^batches: there is no option "batch"', failure(stream.batches, stream, { batch = 1 }))
    assert.equal("ids: 1 to 99 is not within the 23 tokens of train", failure(stream.ids, stream, 1, 99))
  end)
end)
