-- nn.Module: what every layer and every model is.

local core = require "lurn.core"
local check = require "lurn.nn.check"
local class = require "lurn.nn.class"
local clone = require "lurn.nn.clone"
local hooks = require "lurn.nn.hooks"
local methods = require "lurn.methods"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"
local slots = require "lurn.nn.slots"
local state_dict = require "lurn.nn.state_dict"
local tree = require "lurn.nn.tree"

---The base of all layers and models. Derive a class, give it `init` and `forward`, make instances by calling it:
---
---    local CharLM = nn.Module:extend "CharLM"
---    function CharLM:init(vocab, hidden) self.embed = nn.Embedding(vocab, hidden) ... end
---    function CharLM:forward(ids, state) ... end
---    local model = CharLM(73, 128)
---    local logits, state = model(ids, state)
---
---Assigning an `nn.Parameter` or a module to a field registers it under that name, in the order of assignment (one per
---statement: Lua leaves the order within `self.a, self.b = x, y` open); inside a plain table nothing is registered (use
---nn.ModuleList and nn.ModuleDict). A registered field takes values of its kind and nil.
---@class lurn.nn.Module
---@field training boolean whether dropout and the like are active; set by `train` and `eval`
---@overload fun(...): any
local Module = class.new "Module"

Module.__index = slots.read
Module.__newindex = slots.assign
Module.__pairs = slots.pairs

local getmetatable = getmetatable
local plain, SLOTS <const> = class.plain, slots.KEY

-- Messages look on the stack for the path to a layer, also when the modules around it made tail calls. So this is none:
-- no call is where a variable waits to be closed.
function Module:__call(...)
  local own = self[SLOTS]
  local forward, _ <close> = own.values.forward, nil
  if forward == nil then forward = getmetatable(self).forward end
  if own.hooks then return hooks.call(plain[forward] or forward, self, ...) end
  return (plain[forward] or forward)(self, ...)
end

-- For messages: the path that leads from a module to one below it, "rnn" or "blocks.0.rnn".
function Module.__child_name(parent, child) return tree.path(parent, child) end

---A class derived from this one: `local Child = Parent:extend "Child"`. Methods are inherited; `Child.init` calls
---`Parent.init(self, ...)` itself where it wants to.
---@param name string what messages and `print` call it
---@return table # the class
function Module:extend(name) return class.new(name, self) end

---Called with the constructor's arguments when an instance is made. Override it.
---@param ... any
function Module:init(...) end -- luacheck: ignore 212

---What calling the instance computes. Override it.
---@param ... any
---@return any ...
function Module:forward(...) -- luacheck: ignore 212
  core.raise(("%s has no method forward"):format(getmetatable(self).__name))
end

-- ---- Registering ----

---Registers a parameter under a name, or reserves the name's place with nil.
---@param name string
---@param p lurn.Tensor? an nn.Parameter
function Module:register_parameter(name, p)
  if p ~= nil and not parameter.is(p) then
    core.raise(("%s: register_parameter: %s is %s; expected an nn.Parameter"):format(getmetatable(self).__name,
      tostring(name), check.describe(p)))
  end
  slots.check_free(self, "parameter", name)
  slots.register(self, "parameter", name, p)
end

---Registers a tensor that belongs to the state but is not trained, read as `self[name]`. Tensors assigned to that
---name later take its place.
---@param name string
---@param t lurn.Tensor? nil reserves the name
---@param given? {persistent: boolean} persistent (true): part of the state dict
function Module:register_buffer(name, t, given)
  if t ~= nil then check.tensor(getmetatable(self).__name .. ": register_buffer", tostring(name), t) end
  local chosen = options.read("register_buffer", given, { { name = "persistent", kind = "flag", default = true } })
  slots.check_free(self, "buffer", name)
  slots.register(self, "buffer", name, t)
  slots.of(self).transient[name] = not chosen.persistent or nil
end

---Registers a submodule, also under names that are not Lua identifiers: what `self[name] = module` does.
---@param name string
---@param module lurn.nn.Module
function Module:add_module(name, module)
  if not slots.is_module(module) then
    core.raise(("%s: add_module: %s is %s; expected a module"):format(getmetatable(self).__name, tostring(name),
      check.describe(module)))
  end
  slots.check_free(self, "module", name)
  slots.register(self, "module", name, module)
end

-- ---- Hooks ----

---Calls `fn(module, args)` before every `module(...)`; args is `table.pack(...)`. What fn returns, unless that is nil,
---takes the place of all arguments. Hooks run in the order in which they were registered; `module:forward(...)` passes
---them by. They are no part of the state, and clones have them too.
---@param fn fun(module: lurn.nn.Module, args: table): any ...
---@return lurn.nn.Hook # `handle:remove()` ends it
function Module:register_forward_pre_hook(fn) return hooks.add("register_forward_pre_hook", self, "before", fn) end

---Calls `fn(module, args, results)` after every `module(...)`; args and results are as table.pack gives them. What fn
---returns, unless that is nil, takes the place of all results: `layer:register_forward_hook(function(_, _, r) return
---r[1] * 2, r[2] end)`. Otherwise as `register_forward_pre_hook`.
---@param fn fun(module: lurn.nn.Module, args: table, results: table): any ...
---@return lurn.nn.Hook
function Module:register_forward_hook(fn) return hooks.add("register_forward_hook", self, "after", fn) end

---Calls `fn(module, grad_inputs, grad_outputs)` in every backward through a call of the module, once the gradients of
---its arguments are there: both are lists with n, by the places of arguments and results, nil for what is no tensor or
---gets no gradient (tensors within states and tables are passed by). What fn returns, unless that is nil, takes the
---place of all gradients of the arguments. Where no argument requires a gradient it is called with those of the
---results, and what it returns goes nowhere. While there is such a hook, arguments and results cannot be changed in
---place. Otherwise as `register_forward_pre_hook` and `x:register_hook`.
---@param fn fun(module: lurn.nn.Module, grad_inputs: table, grad_outputs: table): lurn.Tensor? ...
---@return lurn.nn.Hook
function Module:register_full_backward_hook(fn)
  return hooks.add("register_full_backward_hook", self, "backward", fn)
end

-- ---- Looking through the tree ----

---@class lurn.nn.WalkOptions
---@field recurse? boolean (true) those of submodules too

local function recurse_of(given)
  if given == nil then return true end
  return options.read("parameters", given, { { name = "recurse", kind = "flag", default = true } }).recurse
end

-- An iterator over name and item of a list of both.
local function iterate(entries)
  local i = 0
  return function()
    i = i + 1
    local entry = entries[i]
    if entry then return entry.name, entry.value end
  end
end

local function values_of(entries)
  local list = {}
  for i, entry in ipairs(entries) do list[i] = entry.value end
  return list
end

---All parameters, in the order of assignment, each tensor once even when it has several names.
---@param given? lurn.nn.WalkOptions
---@return lurn.Tensor[]
function Module:parameters(given)
  if given == nil then return tree.parameters(self) end
  return tree.values(self, "parameter", recurse_of(given))
end

---Iterates over name and parameter: "rnn.weight_ih_l0", tensor. Names are PyTorch's.
---@param given? lurn.nn.WalkOptions
---@return fun(): string?, lurn.Tensor?
function Module:named_parameters(given) return iterate(tree.tensors(self, "parameter", recurse_of(given))) end

---@param given? lurn.nn.WalkOptions
---@return lurn.Tensor[]
function Module:buffers(given) return tree.values(self, "buffer", recurse_of(given)) end

---@param given? lurn.nn.WalkOptions
---@return fun(): string?, lurn.Tensor?
function Module:named_buffers(given) return iterate(tree.tensors(self, "buffer", recurse_of(given))) end

---The submodules directly below this one, each once.
---@return lurn.nn.Module[]
function Module:children() return values_of(tree.children(self)) end

---@return fun(): string?, lurn.nn.Module?
function Module:named_children() return iterate(tree.children(self)) end

---This module and all below it, each once, a module before its children.
---@return lurn.nn.Module[]
function Module:modules() return values_of(tree.modules(self)) end

---Iterates over name and module; this module's own name is "".
---@return fun(): string?, lurn.nn.Module?
function Module:named_modules() return iterate(tree.modules(self)) end

---The number of elements of all parameters.
---@return integer
function Module:num_parameters()
  local n = 0
  for _, p in ipairs(self:parameters()) do
    local size = 1
    for _, d in ipairs(p.shape) do size = size * d end
    n = n + size
  end
  return n
end

-- ---- Acting on the tree ----

---Calls `fn(module)` for every module, children first, this one last.
---@param fn fun(module: lurn.nn.Module)
---@return self
function Module:apply(fn)
  if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
    core.raise(("%s: apply: fn is %s; expected a function"):format(getmetatable(self).__name, check.describe(fn)))
  end
  local modules = tree.modules(self, true)
  for _, entry in ipairs(modules) do fn(entry.value) end
  return self
end

---Sets `training` of this module and all below it.
---@param on? boolean (true)
---@return self
function Module:train(on)
  if on == nil then on = true end
  if type(on) ~= "boolean" then
    core.raise(("train: the mode is %s; expected true or false"):format(check.describe(on)))
  end
  for _, module in ipairs(self:modules()) do module.training = on end
  return self
end

---`train(false)`: no dropout.
---@return self
function Module:eval() return self:train(false) end

---Clears the gradients of all parameters.
function Module:zero_grad()
  for _, p in ipairs(tree.parameters(self)) do p.grad = nil end
end

---Sets `requires_grad` of all parameters.
---@param on? boolean (true)
---@return self
function Module:requires_grad_(on)
  for _, p in ipairs(self:parameters()) do p.requires_grad = on ~= false end
  return self
end

---Converts float parameters and buffers, and gradients, in place: the fields get new tensors, so make the optimizer
---afterwards. Tensors that have several names still are one.
---@param dtype "float32"|"float64"
---@return self
function Module:to(dtype)
  if dtype ~= "float32" and dtype ~= "float64" then
    core.raise(('%s: to: the dtype is %s; expected "float32" or "float64"'):format(getmetatable(self).__name,
      type(dtype) == "string" and ('"%s"'):format(dtype) or check.describe(dtype)))
  end
  tree.convert(self, dtype)
  return self
end

---All floats as float32: `to "float32"`.
---@return self
function Module:float() return self:to "float32" end

---All floats as float64: `to "float64"`.
---@return self
function Module:double() return self:to "float64" end

---A module of its own with the same fields: parameters, buffers, modules, other tensors and plain tables are copied,
---without gradients; anything else, and every hook, is the same in both. What has several names in the module has them
---in the copy. For the best model so far, or a running average of the weights: copy.deepcopy of PyTorch's users.
---@return self
function Module:clone() return clone(self) end

-- ---- State ----

---Parameters and buffers by name, flat, as lurn.save takes it: `lurn.save("m.safetensors", model:state_dict())`. The
---tensors share the model's memory and are outside the graph. Names are PyTorch's: "rnn.weight_ih_l0", "0.weight" for
---the first child of a Sequential. A tensor that has several names is there under each.
---@return table<string, lurn.Tensor>
function Module:state_dict() return state_dict.dump(self) end

---The names of `state_dict` in the order of assignment.
---@return string[]
function Module:state_names() return state_dict.names(self) end

---Copies tensors into parameters and buffers by name, converting dtypes. Raises when names are missing, unexpected or
---of other shapes, listing all of them; then nothing has changed. With `strict = false` missing and unexpected names
---are left alone. The results of lurn.load may be passed as they are: `model:load_state_dict(lurn.load
---"m.safetensors")`.
---@param dict table<string, lurn.Tensor>
---@param given? {strict: boolean} strict (true)
---@return {missing: string[], unexpected: string[]} # both empty when strict
function Module:load_state_dict(dict, given) return state_dict.load(self, dict, given) end

-- ---- Printing ----

---What `print` shows in parentheses after the class name. Override it.
---@return string
function Module:extra_repr() return "" end

local function indented(text) return (text:gsub("\n", "\n  ")) end

function Module:__tostring()
  local name, extra, lines = getmetatable(self).__name, self:extra_repr(), {}
  for child, module in slots.each(self) do
    if slots.is_module(module) then lines[#lines + 1] = ("  (%s): %s"):format(child, indented(tostring(module))) end
  end
  if #lines == 0 then return ("%s(%s)"):format(name, extra) end
  if extra ~= "" then table.insert(lines, 1, "  " .. indented(extra)) end
  return ("%s(\n%s\n)"):format(name, table.concat(lines, "\n"))
end

methods.guard(Module, "module", slots.is_module, { extend = true, init = true, forward = true })

return Module
