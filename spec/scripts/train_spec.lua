-- lurn.train: the parts of training programs. The trainer itself is tested with examples/char_lm.lua.

local lurn = require "lurn"
local train = require "lurn.train"
local nn = lurn.nn

describe("lurn.train.clock", function()
  it("tells times and stops while it pauses", function()
    assert.equal("0:00", train.clock.format(0.4))
    assert.equal("1:05", train.clock.format(64.6))
    assert.equal("2:01:05", train.clock.format(7265))
    local watch = train.clock.stopwatch()
    watch:pause()
    local elapsed = watch:elapsed()
    os.execute "sleep 0.2"
    assert.equal(elapsed, watch:elapsed())
    watch:resume()
    os.execute "sleep 0.2"
    assert.near(0.2, watch:elapsed() - elapsed, 0.199)
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
