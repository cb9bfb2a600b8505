-- lurn.train: the parts of training programs. The trainer itself is tested with examples/char_lm.lua.

local lurn = require "lurn"
local nn, train = lurn.nn, lurn.train

local function failure(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.matches("train_spec%.lua:%d+: ", message)
  return (message:gsub("^.-:%d+: ", ""))
end

describe("lurn.train.clock", function()
  it("tells times and stops while it pauses", function()
    assert.equal("0:00", train.clock.format(0.4))
    assert.equal("1:05", train.clock.format(64.6))
    assert.equal("2:01:05", train.clock.format(7265))
    local watch = train.clock.stopwatch()
    assert.equal("elapsed: called without its stopwatch; write stopwatch:elapsed(...), with a colon",
      failure(watch.elapsed))
    watch:pause()
    local elapsed = watch:elapsed()
    os.execute "sleep 0.2"
    assert.equal(elapsed, watch:elapsed())
    watch:resume()
    os.execute "sleep 0.2"
    assert.near(0.2, watch:elapsed() - elapsed, 0.199)
  end)
end)

describe("what programs get wrong", function()
  it("is named by each function", function()
    local model = nn.Linear(1, 1)
    local optimizer = lurn.optim.SGD(model:parameters(), { lr = 1 })
    local corpus = lurn.data.text { text = ("abc"):rep(100) }
    for expected, call in pairs {
      ["clock.format: the time is nil; expected a finite number of seconds"] = { train.clock.format },
      ["clock.format: the time is inf; expected a finite number of seconds"] = { train.clock.format, math.huge },
      ["find_nonfinite: the model is nil; expected a module"] = { train.find_nonfinite },
      ["progress: the options are 5; expected {every = number of steps}"] = { train.progress, 5 },
      ["progress: every is nil; expected a whole number of steps"] = { train.progress, {} },
      ["options.parse: the command line is nil; expected a table with groups of options"] = { train.options.parse },
      ["options.parse: the list of arguments is nil; expected a table"] = { train.options.parse, { groups = {} } },
      ["options.resolve: what was given is 5; expected a table"] = { train.options.resolve, { groups = {} }, 5 },
      ["checkpoint.prepare: the path is 5; expected a string"] = { train.checkpoint.prepare, 5 },
      ["checkpoint.save: the sections are nil; expected a table of tables"] = { train.checkpoint.save, "a" },
      ['checkpoint.prepare: the path has a zero byte after "a"'] = { train.checkpoint.prepare, "a\0b" },
      ['checkpoint.save: a section is named "a.b"; expected a string without dots'] = { train.checkpoint.save, "a",
        { ["a.b"] = {} } },
      ["checkpoint.save: section a is a tensor; expected a table of tensors"] = { train.checkpoint.save, "a",
        { a = lurn.ones(1) } },
      ["trainer: the argument is nil; expected a table with model, optimizer, corpus and options"] = { train.trainer },
      ["trainer: model is a function; expected a module"] = { train.trainer, { model = print } },
      ["trainer: optimizer is nil; expected an optimizer"] = { train.trainer, { model = model } },
      ["trainer: corpus is nil; expected what lurn.data.text gives"] = { train.trainer,
        { model = model, optimizer = optimizer } },
      ["trainer: option seq_length is nil; expected a number"] = { train.trainer,
        { model = model, optimizer = optimizer, corpus = corpus, options = {} } },
    } do
      assert.equal(expected, failure(table.unpack(call)))
    end
  end)
end)

describe("lurn.train.trainer", function()
  it("needs no more than model, optimizer, corpus and options", function()
    local Model = nn.Module:extend "Model"
    function Model:init(n) self.embed, self.drop = nn.Embedding(n, n), nn.Dropout(0.1) end
    function Model:forward(ids) return self.drop(self.embed(ids)), nn.State(lurn.zeros(1, ids.shape[2], 1)) end
    local corpus = lurn.data.text { text = ("abc"):rep(100) }
    local model = Model(corpus.vocab.size)
    model.drop:eval()
    local trainer = assert(train.trainer { model = model, optimizer = lurn.optim.Adam(model:parameters(), { lr = 0.1 }),
      corpus = corpus, prefix = os.tmpname(), options = { seq_length = 5, batch_size = 2, max_epochs = 2,
        learning_rate = 0.1, print_every = 0 } })
    local said = {}
    trainer.progress.say = function(_, text) said[#said + 1] = text end
    assert.equal("done", trainer:run())
    assert.matches("^epoch 1.00: train loss .* nats/token", said[1])
    assert.same({ true, false }, { model.training, model.drop.training })
    for _, name in ipairs { "best", "last" } do assert(os.remove(trainer:path(name))) end
    os.remove(trainer.prefix)
    assert.equal("run: called without its trainer; write trainer:run(...), with a colon", failure(trainer.run))
  end)
end)

describe("lurn.train.find_nonfinite", function()
  it("finds the first parameter, else the last gradient", function()
    local model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    assert.is_nil(train.find_nonfinite(model))
    model(lurn.ones(1, 2)):sum():backward()
    assert.is_nil(train.find_nonfinite(model))
    local list = {}
    for name, parameter in model:named_parameters() do list[name] = parameter end
    list["0.weight"].grad:set(0 / 0, 1, 1)
    list["1.weight"].grad:set(math.huge, 1, 2)
    list["1.weight"].grad:set(-math.huge, 2, 2)
    assert.equal("gradient of 1.weight (2 of 6 numbers)", train.find_nonfinite(model))
    lurn.no_grad(function() list["0.bias"]:fill_(0 / 0) end)
    assert.equal("parameter 0.bias (3 of 3 numbers)", train.find_nonfinite(model))
  end)
end)

describe("lurn.train.checkpoint", function()
  local directory

  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
  end)
  after_each(function() os.execute(("rm -rf '%s'"):format(directory)) end)

  it("keeps sections of tensors and metadata", function()
    assert.is_true(train.checkpoint.prepare(directory .. "/it's new/here"))
    local path = directory .. "/it's new/here/a.safetensors"
    assert.is_true(train.checkpoint.save(path, { model = { ["a.b"] = lurn.ones(2), c = lurn.zeros(1) }, empty = {} },
      { text = "as it is", table = { n = 3, x = 0.5 } }))
    local sections, metadata = train.checkpoint.load(path)
    assert.same({ 1, 1 }, sections.model["a.b"]:totable())
    assert.same({ 0 }, sections.model.c:totable())
    assert.is_nil(sections.empty)
    assert.same({ text = "as it is", table = '{"n":3,"x":0.5}' }, metadata)
  end)

  it("gives nil and a message for what the world does", function()
    local ok, message = train.checkpoint.prepare "/dev/null/x"
    assert.is_nil(ok)
    assert.matches("/dev/null", message)
    ok, message = train.checkpoint.prepare "/proc/self" -- is there and takes no files, not even root's
    assert.is_nil(ok)
    assert.matches("^/proc/self: %u", message)
    ok, message = train.checkpoint.save(directory .. "/no/such.safetensors", {}, {})
    assert.is_nil(ok)
    assert.is_string(message)
    ok, message = train.checkpoint.load(directory)
    assert.is_nil(ok)
    assert.is_string(message)
    assert(lurn.save(directory, { plain = lurn.ones(1) }))
    ok, message = train.checkpoint.load(directory)
    assert.is_nil(ok)
    assert.matches('no checkpoint: it has a tensor "plain"$', message)
  end)
end)

describe("lurn.train.options", function()
  local LINE = { name = "x", description = "does x", files = "files", groups = {
    { "Group", options = {
      { "rnn_size", 128, "units", min = 1, also = { "hidden" } },
      { "rate", 0.5, "a rate", max = 1 },
      { "kind", "a", "a kind", choices = { "a", "b" } },
      { "path", nil, "a path", kind = "string", short = "p" },
      { "flag", false, "a flag" },
    } },
  } }

  it("keeps what was given apart from the defaults", function()
    assert.same({ files = {} }, train.options.parse(LINE, {}))
    local given = train.options.parse(LINE, { "one", "--rnn_size", "3", "--flag", "-p", "x y", "two" })
    assert.same({ files = { "one", "two" }, rnn_size = 3, flag = true, path = "x y" }, given)
    assert.same({ rnn_size = 3, rate = 0.25, kind = "a", path = "x y", flag = true },
      train.options.resolve(LINE, given, { rate = 0.25, rnn_size = 7, other = 1 }))
  end)

  it("does not believe a checkpoint everything", function()
    for _, saved in ipairs { { rnn_size = 0 }, { rnn_size = "x" }, { kind = "c" }, { kind = 3 }, { path = {} },
      { flag = "yes" } } do
      local all, message = train.options.resolve(LINE, {}, saved)
      assert.is_nil(all)
      assert.matches("%-%-" .. next(saved), message)
    end
  end)

  it("understands all spellings", function()
    for _, word in ipairs { "--rnn_size", "--rnn-size", "-rnn_size", "-rnn-size", "--hidden", "-hidden" } do
      assert.same({ files = {}, rnn_size = 3 }, train.options.parse(LINE, { word, "3" }))
      assert.same({ files = {}, rnn_size = 3 }, train.options.parse(LINE, { word .. "=3" }))
    end
    assert.same({ files = {}, path = "-rnn_size" }, train.options.parse(LINE, { "--path=-rnn_size" }))
  end)

  it("keeps numbers to their kinds and ranges", function()
    assert.equal("float", math.type(train.options.parse(LINE, { "--rate", "1" }).rate))
    for word, message in pairs {
      ["--rnn_size=2.5"] = "--rnn_size is '2.5'; expected a whole number from 1",
      ["--rnn_size=0"] = "--rnn_size is '0'; expected a whole number from 1",
      ["--rate=2"] = "--rate is '2'; expected a number of at most 1",
      ["--rate=nan"] = "--rate is 'nan'; expected a number of at most 1",
      ["--kind=c"] = "argument for option '--kind' must be one of 'a', 'b'",
      ["--flag=1"] = "option '--flag' does not take arguments",
    } do
      local given, said = train.options.parse(LINE, { word })
      assert.is_nil(given)
      assert.equal(message, said)
    end
  end)
end)
