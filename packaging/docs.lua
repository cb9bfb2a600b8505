-- Writes what is made from the sources:
--
--   lurn packaging/docs.lua reference docs/lua-reference.md     every op, and every documented function of scripts/lurn
--   lurn packaging/docs.lua types build/share/lurn/types.lua    annotations of the ops, for editors

local core = require "lurn.core"

local SCRIPTS = "scripts/lurn/"

-- Sections of the reference: title, files in order, and how the tables that files return are called.
local sections = {
  { "Making tensors, elements, settings", { "meta.lua", "tensor.lua" } },
  { "Ops" },
  { "Methods made of ops", { "arrange.lua", "numeric.lua", "shorthand.lua", "composed.lua" } },
  { "Gradients", { "autograd.lua" } },
  { "lurn.nn: modules",
    { "nn/module.lua", "nn/parameter.lua", "nn/sequential.lua", "nn/module_list.lua", "nn/module_dict.lua" } },
  { "lurn.nn: layers",
    { "nn/linear.lua", "nn/embedding.lua", "nn/dropout.lua", "nn/variational_dropout.lua",
      "nn/layer_norm.lua", "nn/batch_norm.lua", "nn/conv1d.lua", "nn/pooling.lua", "nn/distance.lua",
      "nn/activations.lua" } },
  { "lurn.nn: recurrent layers",
    { "nn/recurrent.lua", "nn/rnn.lua", "nn/layer_norm_rnn.lua", "nn/cells.lua", "nn/unroll.lua", "nn/state.lua" } },
  { "lurn.nn: attention", { "nn/attention.lua", "nn/multihead_attention.lua" } },
  { "lurn.nn: losses", { "nn/losses.lua" } },
  { "lurn.nn.functional",
    { "nn/functional.lua", "nn/more_losses.lua", "nn/margin_losses.lua", "nn/more_activations.lua" } },
  { "lurn.nn.init, lurn.nn.utils", { "nn/initializers.lua", "nn/utils.lua", "nn/padding.lua", "nn/checkpoint.lua" } },
  { "lurn.optim", { "optim/init.lua", "optim/optimizer.lua", "optim/lr_scheduler.lua" } },
  { "lurn.data", { "data/text.lua", "data/vocab.lua", "data/stream.lua" } },
  { "lurn.sample", { "sample.lua" } },
  { "lurn.train",
    { "train/trainer.lua", "train/checkpoint.lua", "train/options.lua", "train/progress.lua", "train/clock.lua",
      "train/nonfinite.lua", "train/interrupt.lua", "train/out_of_memory.lua" } },
}
local names = {
  core = "lurn",
  functional = "nn.functional",
  more = "nn.functional",
  init = "nn.init",
  utils = "nn.utils",
  rnn = "nn.utils.rnn",
  losses = "nn",
  activations = "nn",
  pooling = "nn",
  distance = "nn",
  optim = "optim",
  lr_scheduler = "optim.lr_scheduler",
  Tensor = "x",
  methods = "x",
  sample = "sample",
}
-- What is known under another name, by file: local functions and fields that it returns, and tables of that file alone;
-- false hides a function or class that is for lurn itself.
local renamed = {
  ["nn/parameter.lua"] = { ["parameter.new"] = "nn.Parameter" },
  ["nn/state.lua"] = { ["State.new"] = "nn.State", ["State.parts"] = false },
  ["nn/variational_dropout.lua"] = { ["VariationalDropout.drop"] = false },
  ["nn/recurrent.lua"] = { ["Recurrent.schema_with"] = false },
  ["nn/checkpoint.lua"] = { ["checkpoint.call"] = "nn.utils.checkpoint", ["lurn.nn.Checkpoint"] = false },
  ["data/text.lua"] = { text = "data.text" },
  ["sample.lua"] = { sample_call = "sample" },
  ["train/trainer.lua"] = { new = "train.trainer" },
  ["train/checkpoint.lua"] = { checkpoint = "train.checkpoint" },
  ["train/options.lua"] = { options = "train.options" },
  ["train/progress.lua"] = { new = "train.progress" },
  ["train/clock.lua"] = { clock = "train.clock" },
  ["train/nonfinite.lua"] = { find = "train.find_nonfinite" },
  ["train/interrupt.lua"] = { is_interrupt = "train.is_interrupt" },
  ["train/out_of_memory.lua"] = { is_out_of_memory = "train.is_out_of_memory" },
}

-- ---- Ops --------------------------------------------------------------------------------------

local lua_types = {
  tensor = "lurn.Tensor",
  scalar = "lurn.Tensor|number",
  optional = "lurn.Tensor",
  list = "lurn.Tensor[]",
  int = "integer",
  real = "number",
  flag = "boolean",
  dim = "integer",
  dims = "integer|integer[]",
  sizes = "integer|integer[]",
  position = "integer",
  dtype = "lurn.dtype",
  record = "lurn.Record",
}

local function type_of(param)
  if param.kind ~= "choice" then return lua_types[param.kind] end
  local words = {}
  for word in param.choices:gmatch "[^|]+" do words[#words + 1] = '"' .. word .. '"' end
  return table.concat(words, "|")
end

local without_preset = { optional = true, record = true, dims = true }

local function preset_of(param)
  if param.required or without_preset[param.kind] then return nil end
  if param.kind == "flag" then return tostring(param.preset ~= 0) end
  if param.kind == "choice" then
    local n = 0
    for word in param.choices:gmatch "[^|]+" do
      if n == param.preset then return '"' .. word .. '"' end
      n = n + 1
    end
  end
  local base = param.kind == "dim" and param.preset >= 0 and 1 or 0
  return ("%.14g"):format(param.preset + base)
end

--- Parameters as Lua sees them, and names of the results.
local function split_params(op)
  local inputs, outputs = {}, {}
  for _, param in ipairs(op.params) do
    if param.kind == "output" then
      outputs[#outputs + 1] = param.name
    elseif param.kind ~= "base" then
      inputs[#inputs + 1] = param
    end
  end
  return inputs, outputs
end

local function op_signature(op)
  local inputs, outputs = split_params(op)
  local list = {}
  for i, param in ipairs(inputs) do
    local preset = preset_of(param)
    list[i] = preset and ("%s = %s"):format(param.name, preset) or param.required and param.name or param.name .. "?"
  end
  return ("lurn.%s(%s)"):format(op.name, table.concat(list, ", ")), table.concat(outputs, ", ")
end

local function write_ops(out)
  out:write [[
Each op is a function `lurn.NAME(x, …)` and a method `x:NAME(…)`. Arguments are positional; a trailing table gives
them by name: `x:sum{dim = 1, keepdim = true}`. Dimensions and positions count from 1, or from -1 at the end. Where it
says so, `x:NAME_(…)` writes the result into x.

]]
  for _, op in ipairs(core.op_list()) do
    local signature, outputs = op_signature(op)
    out:write(("### %s → %s\n\n%s"):format(signature, outputs, op.doc:gsub("\n", "\n\n"):gsub("\n\n", "  \n")))
    local notes = {}
    if op.inplace then notes[#notes + 1] = ("In place: `x:%s_`."):format(op.name) end
    if not op.differentiable then notes[#notes + 1] = "Not differentiable." end
    if #notes > 0 then out:write("  \n", table.concat(notes, " ")) end
    out:write "\n\n"
  end
end

local function write_types(out)
  out:write "---@meta\n-- Made by packaging/docs.lua from the registry of ops.\n\n---@class lurn\nlocal lurn = {}\n"
  out:write "---@class lurn.Tensor\nlocal Tensor = {}\n\n"
  for _, op in ipairs(core.op_list()) do
    local inputs, outputs = split_params(op)
    local annotations, list = {}, {}
    for _, param in ipairs(inputs) do
      local mark = param.required and "" or "?"
      annotations[#annotations + 1] = ("---@param %s%s %s"):format(param.name, mark, type_of(param))
      list[#list + 1] = param.name
    end
    local returns = {}
    for _, name in ipairs(outputs) do returns[#returns + 1] = "---@return lurn.Tensor " .. name end
    local doc = "---" .. op.doc:gsub("\n", "\n---")
    local function emit(target, skip)
      out:write(doc, "\n", table.concat(annotations, "\n", 1 + skip), #annotations > skip and "\n" or "",
        table.concat(returns, "\n"), "\nfunction ", target, "(", table.concat(list, ", ", 1 + skip), ") end\n\n")
    end
    emit("lurn." .. op.name, 0)
    if #inputs > 0 and inputs[1].kind ~= "list" then emit("Tensor:" .. op.name, 1) end
    if op.inplace then emit(("Tensor:%s_"):format(op.name), 1) end
  end
  out:write "return lurn\n"
end

-- ---- Scripts ----------------------------------------------------------------------------------

--- Takes the blank away that stands between the dashes and the text, where there is one on every line.
local function unindent(text)
  for _, line in ipairs(text) do
    if line:find "^%S" then return end
  end
  for i, line in ipairs(text) do text[i] = line:gsub("^ ", "") end
end

--- Sorts the lines of a comment block into text, parameters, results, fields, class and overload. What follows a tag
--- goes on with it.
local function read_block(lines)
  local block = { text = {}, params = {}, returns = {}, fields = {}, overloads = {} }
  local lists = { param = block.params, ["return"] = block.returns, field = block.fields, overload = block.overloads }
  local open
  for _, line in ipairs(lines) do
    local tag, rest = line:match "^@(%a+)%s*(.*)"
    if tag then
      open = lists[tag]
      if open then open[#open + 1] = rest end
      if tag == "class" then block.class = rest:match "^[%w_.]+" end
    elseif open then
      open[#open] = open[#open] .. " " .. line
    else
      block.text[#block.text + 1] = line
    end
  end
  unindent(block.text)
  return block
end

--- What a function or field is called; nil when it is not public.
local function public_name(path, file_names, owner, mark, name)
  local own = renamed[path] or {}
  local given = own[owner .. "." .. name]
  if given ~= nil then return given or nil end
  local of_owner = file_names[owner] or own[owner] or names[owner]
  if not of_owner or name:match "^_" or name == "init" then return nil end
  return of_owner .. mark .. name
end

local function write_list(out, items, format)
  for _, item in ipairs(items) do out:write(format:format(item), "\n") end
end

--- "x integer text" and "integer # text" as "`x` (integer): text".
local function param_line(rest)
  local name, tail = rest:match "^([%w_.]+%??)%s+(.*)"
  if not name then return rest end
  return ("`%s` %s"):format(name, tail)
end

local function write_entry(out, title, block)
  out:write("### ", title, "\n\n")
  if #block.text > 0 then out:write(table.concat(block.text, "\n"), "\n\n") end
  local lines = {}
  for _, p in ipairs(block.params) do lines[#lines + 1] = "- " .. param_line(p) end
  for _, r in ipairs(block.returns) do lines[#lines + 1] = "- returns " .. r end
  for _, f in ipairs(block.fields) do lines[#lines + 1] = "- field " .. param_line(f) end
  write_list(out, lines, "%s")
  if #lines > 0 then out:write "\n" end
end

--- What a documented line declares: owner, separator, name, arguments.
local function declaration(line)
  local owner, mark, name, args = line:match "^function ([%w_]+)([.:])([%w_]+)(%b())"
  if owner then return owner, mark, name, args end
  owner, name = line:match "^([%w_]+)%.([%w_]+)%s*="
  if owner then return owner, owner == "methods" and ":" or ".", name, nil end
end

local function class_title(block)
  local name = block.class:gsub("^lurn%.", "")
  local args = block.overloads[1] and block.overloads[1]:match "^fun(%b())"
  if not args then return name end
  local list = {}
  for part in args:sub(2, -2):gsub("%b{}", ""):gmatch "[^,]+" do list[#list + 1] = part:match "^%s*([%w_.?]+)" end
  return ("%s(%s)"):format(name, table.concat(list, ", "))
end

local function write_file(out, path)
  local file = io.open(SCRIPTS .. path)
  if not file then return end
  local lines, file_names, locals = {}, {}, renamed[path] or {}
  for line in file:lines() do
    local comment = line:match "^%-%-%-(.*)"
    if comment and not comment:match "^%-" or (comment and comment:match "^%-%d") then
      lines[#lines + 1] = comment
    elseif #lines > 0 then
      local block = read_block(lines)
      local owner, mark, name, args = declaration(line)
      if block.class then
        local variable = line:match "^local ([%w_]+)"
        if variable then file_names[variable] = block.class:gsub("^lurn%.", "") end
        if variable == "methods" then file_names[variable] = nil end
        local is_shown = locals[block.class] ~= false and (#block.text > 0 or #block.fields > 0)
        if is_shown then write_entry(out, class_title(block), block) end
      elseif locals[line:match "^local function ([%w_]+)"] then
        local as, arguments = line:match "^local function ([%w_]+)(%b())"
        write_entry(out, locals[as] .. arguments:gsub("%(_, ", "("), block)
      elseif owner then
        local title = public_name(path, file_names, owner, mark, name)
        if title then write_entry(out, title .. (args or ""), block) end
      end
      lines = {}
    end
  end
  file:close()
end

local function write_reference(out)
  out:write("# lurn from Lua\n\nMade from the sources by `make docs`. ",
    "N, T, D, H, C are batch, time, input, hidden and classes.\n")
  for _, section in ipairs(sections) do
    out:write("\n## ", section[1], "\n\n")
    if section[2] then
      for _, path in ipairs(section[2]) do write_file(out, path) end
    else
      write_ops(out)
    end
  end
end

local writers = { reference = write_reference, types = write_types }
local out = assert(io.open(arg[2], "w"))
writers[arg[1]](out)
assert(out:close())
