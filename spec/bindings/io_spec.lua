-- lurn.save, lurn.load and core.archive_info.  The format itself: spec/c/test_safetensors.c and test_save.c.

local lurn = require "lurn"

describe("a file of tensors", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function bytes()
    local file = assert(io.open(path, "rb"))
    local text = file:read "a"
    file:close()
    return text
  end

  local function put(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end

  it("brings back every dtype, shape and stride", function()
    local given = { scalar = lurn.full({}, 2.5), empty = lurn.zeros(3, 0), turned = lurn.randn(3, 4):transpose(1, 2),
      part = lurn.randn(4, 6):narrow(2, 2, 3) }
    for _, dtype in ipairs { "float32", "float64", "int64", "int32", "uint8", "bool" } do
      given[dtype] = lurn.tensor({ { 0, 1, 2 }, { 3, 4, 5 } }, { dtype = dtype })
    end
    assert.is_true(lurn.save(path, given, { note = "two\nlines", [""] = "é" }))
    local tensors, metadata = lurn.load(path)
    for name, t in pairs(given) do
      assert.are.equal(t.dtype, tensors[name].dtype)
      assert.are.same({ table.unpack(t.shape) }, { table.unpack(tensors[name].shape) })
      assert.are.same(t:totable(), tensors[name]:totable())
      tensors[name] = nil
    end
    assert.is_nil(next(tensors))
    assert.are.same({ note = "two\nlines", [""] = "é" }, metadata)
  end)

  it("saves parameters and loads plain tensors", function()
    local w = lurn.ones(2, { requires_grad = true })
    assert(lurn.save(path, { w = w, doubled = w * 2 }))
    local tensors, metadata = lurn.load(path)
    assert.is_false(tensors.w.requires_grad or tensors.doubled.requires_grad)
    assert.are.same({ 2, 2 }, tensors.doubled:totable())
    assert.are.same({}, metadata)
  end)

  it("is the same in every run: names are sorted", function()
    local function save(names)
      local tensors, metadata = {}, {}
      for name in names:gmatch "%w+" do tensors[name], metadata[name] = lurn.ones(1), name end
      assert(lurn.save(path, tensors, metadata))
      return bytes()
    end
    local first = save "B a c10 c9 z"
    assert.are.equal(first, save "z c9 c10 a B")
    assert.is_truthy(first:find('"B":"B","a":"a","c10":"c10","c9":"c9","z":"z"', 1, true))
    assert.is_truthy(first:find '"B":{.*"a":{.*"c10":{.*"c9":{.*"z":{')
  end)

  it("is described without being loaded", function()
    assert(lurn.save(path, { w = lurn.zeros(2, 3), n = lurn.tensor(7, { dtype = "int64" }) }, { k = "v" }))
    assert.are.same({
      tensors = { { name = "n", dtype = "I64", shape = {} }, { name = "w", dtype = "F32", shape = { 2, 3 } } },
      metadata = { k = "v" },
    }, lurn.archive_info(path))
  end)

  it("that is missing or not sound gives nil and a message", function()
    put "hello, world"
    for _, read in ipairs { lurn.load, lurn.archive_info } do
      local result, message = read "/no/such/file"
      assert.is_nil(result)
      assert.are.equal("cannot read /no/such/file: No such file or directory", message)
      result, message = read(path)
      assert.is_nil(result)
      assert.are.equal(1, (message:find(path .. ": the header should have", 1, true)))
    end
  end)

  it("is loaded from a string as from the disk", function()
    local w, n = lurn.tensor { { 1, 2 }, { 3, 4 } }, lurn.tensor(7, { dtype = "int64" })
    assert(lurn.save(path, { w = w, n = n }, { k = "v" }))
    local tensors, metadata = lurn.load_string(bytes())
    assert.are.same({ { 1, 2 }, { 3, 4 } }, tensors.w:totable())
    assert.are.equal(7, tensors.n:item())
    assert.are.same({ k = "v" }, metadata)
    collectgarbage()
    assert.are.same({ { 1, 2 }, { 3, 4 } }, tensors.w:totable())
  end)

  it("in a string that is not sound gives nil and a message", function()
    for name, expected in pairs { [1] = "string: ", ["model 7"] = "model 7: " } do
      local tensors, message = lurn.load_string("hello, world", name ~= 1 and name or nil)
      assert.is_nil(tensors)
      assert.are.equal(1, (message:find(expected .. "the header should have", 1, true)))
    end
    local function raises(expected, ...)
      local ok, text = pcall(lurn.load_string, ...)
      assert.is_false(ok)
      assert.is_truthy(tostring(text):find(expected, 1, true), text)
    end
    raises "load_string: bytes: expected a string, got nothing"
    raises("load_string: name: expected a string", "", 3)
    raises('load_string: name: a zero byte after "a"', "", "a\0b")
  end)

  it("with a dtype that lurn does not have names the tensor", function()
    put(string.pack("<s8", '{"w":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}}') .. "\0\0")
    assert.are.equal("I16", lurn.archive_info(path).tensors[1].dtype)
    local tensors, message = lurn.load(path)
    assert.is_nil(tensors)
    assert.are.equal(path .. ': tensor "w" has dtype I16, which lurn does not have', message)
  end)

  it("that cannot be written gives nil and a message, and the old one stays", function()
    local ok, message = lurn.save("/no/such/directory/m", {})
    assert.is_nil(ok)
    assert.are.equal("cannot write /no/such/directory/m: No such file or directory", message)
    put "old"
    assert.is_false(pcall(lurn.save, path, { w = 1 }))
    assert.are.equal("old", bytes())
  end)

  it("raises for wrong arguments, naming the entry", function()
    local t = lurn.ones(1)
    local function raises(message, ...)
      local ok, text = pcall(lurn.save, ...)
      assert.is_false(ok)
      assert.is_truthy(tostring(text):find(message, 1, true), text)
    end
    raises('save: tensors["w"]: expected a tensor, got an integer', path, { w = 3 })
    raises("save: tensors: expected names as keys, got an integer (1)", path, { t })
    raises('save: tensors: a zero byte after "a"', path, { ["a\0b"] = t })
    raises('save: name "a?" is not valid UTF-8', path, { ["a\xFF"] = t })
    raises("save: a tensor's name is empty", path, { [""] = t })
    raises("save: __metadata__ cannot be a tensor's name", path, { __metadata__ = t })
    raises("save: tensors: expected a table, got nil", path)
    raises('save: metadata["epoch"]: expected a string, got an integer', path, {}, { epoch = 3 })
    raises('save: metadata["k"]: contains a zero byte', path, {}, { k = "v\0" })
    raises("save: metadata: expected a table, got a string", path, {}, "note")
    raises("save: path: expected a string, got a tensor", t, {})
    raises('save: path: a zero byte after "a"', "a\0b", {})
    assert.is_truthy(select(2, pcall(lurn.load)):find("load: path: expected a string, got nothing", 1, true))
  end)

  it("is one of those that were saved, whole, whoever is killed and however many save", function()
    local directory = path .. ".d"
    local script, target = directory .. "/script.lua", directory .. "/m"
    assert(os.execute("mkdir " .. directory))
    local file = assert(io.open(script, "w"))
    file:write [[
      local lurn = require "lurn"
      for i = 1, tonumber(arg[2]) do
        assert(lurn.save(arg[1], { w = lurn.full({ 1 << 18 }, i) }, { number = tostring(i) }))
      end
    ]]
    file:close()
    local save = ("%s %s %s"):format(os.getenv "LURN" or "build/bin/lurn", script, target)
    local function check()
      local tensors, metadata = lurn.load(target)
      assert.is_truthy(tensors, metadata)
      local number = tonumber(metadata.number)
      assert.is_true(tensors.w:eq(number):all():item())
      return number
    end
    assert.is_true(os.execute(save .. " 1"))
    for _, signal in ipairs { "KILL", "TERM", "INT" } do
      for _ = 1, 3 do
        os.execute(("%s 1000000 2>/dev/null & saver=$!; sleep 0.1; kill -s %s $saver; wait $saver 2>/dev/null"):format(
          save, signal))
        check()
      end
    end
    os.execute("rm -f " .. directory .. "/.lurn-*.tmp") -- what those left that were killed
    assert.is_true(os.execute(("%s 20 & %s 20; first=$?; wait $! && exit $first"):format(save, save)))
    assert.are.equal(20, check())
    local pipe = assert(io.popen("ls -A " .. directory))
    assert.are.equal("m\nscript.lua\n", pipe:read "a")
    pipe:close()
    os.execute("rm -rf " .. directory)
  end)
end)
