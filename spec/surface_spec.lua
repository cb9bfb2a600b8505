-- The whole surface: every public function of the Lua modules is documented and named in a spec, every function of the
-- C header is bound to Lua or has a reason not to be, is documented, and named in a test in C.

local lurn = require "lurn"

local program = os.getenv "LURN" or "build/bin/lurn"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local function contents(command)
  local texts = {}
  for i, path in ipairs(lines_of(command)) do texts[i] = read(path) end
  return table.concat(texts, "\n")
end

-- The words of a text as a set.
local function words_of(text)
  local words = {}
  for word in text:gmatch "[%a_][%w_]*" do words[word] = true end
  return words
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- ---- Lua ----

-- What lurn's own scripts need of its C half; no user calls it.
local INTERNAL = {
  raise = "errors of the scripts", library = "whose lines errors point to", custom = "under custom_function",
  held = "under save_for_backward", graph_position = "under nn.utils.checkpoint",
  graph_leaves = "under nn.utils.checkpoint", partial_grad = "under nn.utils.checkpoint",
  call_without_yield = "under no_grad and scope", shield = "under no_grad and scope",
  restore = "under no_grad and scope", scope_open = "under scope",
  scope_close = "under scope", version_of = "under save_for_backward", optim_new = "under lurn.optim",
  has_shape = "checks of nn", sizes_like = "checks of nn", last_size = "checks of nn",
  clip_grad_norm = "under nn.utils", clip_grad_value = "under nn.utils",
  op_as = "under functions made of ops", op_list = "for documentation and specs",
}

-- Functions with public names in a table and, for classes, in what they inherit; `path` as the reference calls it.
local function functions_in(t, path, mark, found)
  for name, value in pairs(t) do
    local callable = type(value) == "function"
    if type(name) == "string" and callable and not name:find "^_" then found[path .. mark .. name] = name end
  end
end

local function is_class(value) return type(value) == "table" and rawget(value, "is_lurn_module") == true end

local PARTS = { "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "optim", "optim.lr_scheduler", "data",
  "train", "train.checkpoint", "train.clock", "train.options" }

local function part_of(path)
  local t = lurn
  for step in path:gmatch "[^.]+" do t = t[step] end
  return t
end

local function public_functions()
  local found = {}
  functions_in(lurn, "lurn", ".", found)
  for name in pairs(INTERNAL) do found["lurn." .. name] = nil end
  for name in pairs(lurn.methods) do found["x:" .. name] = name end
  for _, part in ipairs(PARTS) do
    local t = part_of(part)
    functions_in(t, part, ".", found)
    for name, value in pairs(t) do
      if is_class(value) then
        found[part .. "." .. name] = name
        functions_in(value, part .. "." .. name, ":", found)
      end
    end
  end
  functions_in(lurn.data.Vocab, "data.Vocab", ":", found)
  functions_in(require "lurn.optim.optimizer", "Optimizer", ":", found)
  return found
end

-- The reference as it would be made of the sources now.
local function reference()
  local path = os.tmpname()
  assert(os.execute(("'%s' packaging/docs.lua reference '%s'"):format(program, path)))
  local text = read(path)
  os.remove(path)
  return text
end

-- Whatever has a text of its own in the reference, in the annotations for editors, or in a script.
local function documented_words()
  local words, text = {}, reference()
  for title in text:gmatch "\n### ([^\n]+)" do
    for word in title:gsub("%b()", ""):gmatch "[%a_][%w_]*" do words[word] = true end
  end
  for name in text:gmatch "In place: `x:([%w_]+)`" do words[name] = true end
  for _, script in ipairs(lines_of "find scripts/lurn -name '*.lua'") do
    local before = ""
    for line in io.lines(script) do
      local name = line:match "^function [%w_.]+[.:]([%w_]+)" or line:match "^local function ([%w_]+)"
        or line:match "^[%w_]+%.([%w_]+) =" or line:match "^  ([%w_]+) ="
      if name and before:find "^%s*%-%-%-" then words[name] = true end
      before = line
    end
  end
  return words
end

describe("every public Lua function", function()
  local public = public_functions()

  it("is documented", function()
    local documented, missing = documented_words(), {}
    for path, name in pairs(public) do
      if not documented[name] then missing[path] = true end
    end
    assert.same({}, sorted(missing))
  end)

  it("of nn, optim, data and train, and every class, has its full name in the reference", function()
    local titles, missing = {}, {}
    for title in reference():gmatch "\n### ([^\n]+)" do titles[title:match "^[%w_.]+"] = true end
    for _, part in ipairs(PARTS) do
      for name, value in pairs(part_of(part)) do
        local full = part .. "." .. name
        if (type(value) == "function" or is_class(value)) and not titles[full] then missing[full] = true end
      end
    end
    missing["data.Vocab"] = not titles["Vocab"] or nil -- a class of its own name
    assert.same({}, sorted(missing))
  end)

  it("has texts in the reference whose examples are code, and whose lines stay where they belong", function()
    local text = reference()
    assert.matches('\n    local model = CharLM%(73, 128%)\n', text)
    assert.matches("\n%- `trainer` table [^\n]* may be left out\n", text)
  end)

  it("is named in a spec", function()
    local tested, missing = words_of(contents "find spec -name '*.lua' ! -name surface_spec.lua"), {}
    for path, name in pairs(public) do
      local op = name:gsub("_$", "") -- the spec of the ops runs in-place variants by the registry
      if not tested[name] and not (lurn.methods[op] and tested[op]) then missing[path] = true end
    end
    assert.same({}, sorted(missing))
  end)

  it("that is internal is there, and has its reason", function()
    for name, reason in pairs(INTERNAL) do
      assert.is_function(lurn[name], name)
      assert.is_string(reason)
    end
  end)
end)

-- ---- C ----

-- Functions for programs that embed the engine: Lua reaches what they do in another way, or has no use for it.
local EMBEDDING = {
  lurn_from_buffer = "memory of the host",
  lurn_status_name = "Lua has the text of the error",
  lurn_archive_find = "lurn.load gives a table by name",
  lurn_record_retain = "a userdata holds its record alone",
  lurn_tensor_ctx = "a Lua state has one context",
  lurn_tensor_strides = "for hosts that read lurn_tensor_data",
  lurn_tensor_touch = "for hosts that write lurn_tensor_data",
}

local function header_functions()
  local found, header = {}, read "engine/lurn.h"
  for before, name in header:gmatch "\n([^\n]*LURN_API[^\n]-)(lurn_[%w_]+)%(" do found[name] = before end
  return found, header
end

-- Whether a comment stands on the declaration's lines, right before it, or before the group that it is in.
local function is_documented(header, name)
  local at = select(2, header:find("\nLURN_API[^\n]-[^%w_\n]" .. name .. "%("))
  local group = header:sub(1, at):match ".*\n\n(.*)$" or ""
  local rest = header:sub(at):match "^[^;]*;[^\n]*"
  return group:find "/%*" ~= nil or group:find "//" ~= nil or rest:find "/%*" ~= nil
end

describe("every function of the C header", function()
  local functions, header = header_functions()

  it("is found", function() assert.is_true(#sorted(functions) > 60) end)

  it("is bound to Lua, or has a reason not to be", function()
    local bound, missing, needless = words_of(contents "ls bindings/*.c"), {}, {}
    for name in pairs(functions) do
      if not bound[name] and not EMBEDDING[name] then missing[name] = true end
    end
    for name in pairs(EMBEDDING) do
      if bound[name] or not functions[name] then needless[name] = true end
    end
    assert.same({}, sorted(missing))
    assert.same({}, sorted(needless))
  end)

  it("is documented", function()
    local missing = {}
    for name in pairs(functions) do
      if not is_documented(header, name) then missing[name] = true end
    end
    assert.same({}, sorted(missing))
  end)

  it("is named in a test in C", function()
    local tested, missing = words_of(contents "find spec/c -name '*.[ch]'"), {}
    for name in pairs(functions) do
      if not tested[name] then missing[name] = true end
    end
    assert.same({}, sorted(missing))
  end)
end)
