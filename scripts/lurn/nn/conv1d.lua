-- nn.Conv1d

local core = require "lurn.core"
local check = require "lurn.nn.check"
local initializers = require "lurn.nn.initializers"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"
local parameter = require "lurn.nn.parameter"

---Convolution over time: `y[n, o, t] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, t stride + k dilation -
---padding]`, x (N, in_channels, T) with zeros around it, y (N, out_channels, T'),
---T' = (T + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1 rounded down. `weight` (out_channels, in_channels
---/ groups, kernel_size) and `bias` (out_channels) are PyTorch's, at first uniform on +-1/sqrt(in_channels / groups
---kernel_size). Note that time comes last: `x:permute(2, 3, 1)` brings (T, N, C) there, `y:permute(3, 1, 2)` back.
---
---Options: `stride` (1), `padding` (0): on both sides, or "same" for T' = T, or "valid" for 0; `dilation` (1); `groups`
---(1): channels in and out are cut into groups that do not see each other; `bias` (true).
---Errors: other channels; an input shorter than the kernel.
---@class lurn.nn.Conv1d: lurn.nn.Module
---@field in_channels integer
---@field out_channels integer
---@field kernel_size integer
---@field weight lurn.Tensor
---@field bias lurn.Tensor?
---@overload fun(in_channels: integer, out_channels: integer, kernel_size: integer, options?: table): lurn.nn.Conv1d
local Conv1d = Module:extend "Conv1d"

---@class lurn.nn.Conv1dOptions
---@field stride? integer (1)
---@field padding? integer|"same"|"valid" (0)
---@field dilation? integer (1)
---@field groups? integer (1)
---@field bias? boolean (true)

local schema = {
  { name = "stride", kind = "count", default = 1 },
  { name = "padding", kind = "any", default = 0 },
  { name = "dilation", kind = "count", default = 1 },
  { name = "groups", kind = "count", default = 1 },
  { name = "bias", kind = "flag", default = true },
}

-- The option, 1.0 as 1.
local function read_padding(padding)
  if padding == "valid" or padding == "same" then return padding end
  local whole = type(padding) == "number" and math.tointeger(padding)
  if not whole or whole < 0 then
    core.raise(('nn.Conv1d: padding is %s; expected an integer of at least 0, "same" or "valid"'):format(
      type(padding) == "string" and ('"%s"'):format(padding) or check.describe(padding)))
  end
  return whole
end

-- Zeros before and after.
local function sides(self)
  if self.padding == "valid" then return 0, 0 end
  if self.padding ~= "same" then return self.padding, self.padding end
  if self.stride ~= 1 then core.raise 'nn.Conv1d: padding = "same" needs stride = 1' end
  local total = self.dilation * (self.kernel_size - 1)
  return total // 2, total - total // 2
end

---@param in_channels integer
---@param out_channels integer
---@param kernel_size integer
---@param given? lurn.nn.Conv1dOptions
function Conv1d:init(in_channels, out_channels, kernel_size, given)
  local who = "nn.Conv1d"
  self.in_channels = check.count(who, "in_channels", in_channels)
  self.out_channels = check.count(who, "out_channels", out_channels)
  self.kernel_size = check.count(who, "kernel_size", kernel_size)
  local chosen = options.read(who, given, schema)
  self.stride, self.dilation, self.groups = chosen.stride, chosen.dilation, chosen.groups
  self.padding = read_padding(chosen.padding)
  self._before, self._after = sides(self)
  if self.in_channels % self.groups ~= 0 or self.out_channels % self.groups ~= 0 then
    core.raise(("%s: %d groups do not divide %d and %d channels"):format(who, self.groups, self.in_channels,
      self.out_channels))
  end
  self.weight = parameter.new(core.empty(self.out_channels, self.in_channels // self.groups, self.kernel_size))
  self:register_parameter("bias", chosen.bias and parameter.new(core.empty(self.out_channels)) or nil)
  self:reset_parameters()
end

---Draws new weights.
function Conv1d:reset_parameters()
  local bound = 1 / math.sqrt(self.in_channels // self.groups * self.kernel_size)
  initializers.uniform_(self.weight, -bound, bound)
  if self.bias then initializers.uniform_(self.bias, -bound, bound) end
end

-- What tap k of the kernel sees: (N, C, steps) of the padded x.
local function taken(self, x, k, steps)
  local first = (k - 1) * self.dilation + 1
  if self.stride == 1 then return core.narrow(x, 3, first, steps) end
  local span = core.narrow(x, 3, first, steps * self.stride)
  return core.select(span:reshape(span.shape[1], span.shape[2], steps, self.stride), 4, 1)
end

-- weight (O, C, K) as (O, K C), to go with the taps one after the other.
local function flat(weight)
  return core.permute(weight, 1, 3, 2):reshape(weight.shape[1], weight.shape[2] * weight.shape[3])
end

-- One group; the taps are stacked along the channels, so that it is one product.
local function convolve(self, x, weight, steps)
  local taps = {}
  for k = 1, self.kernel_size do taps[k] = taken(self, x, k, steps) end
  return core.matmul(flat(weight), #taps == 1 and taps[1] or core.cat(taps, 2))
end

---@param x lurn.Tensor (N, in_channels, T)
---@return lurn.Tensor # (N, out_channels, T')
function Conv1d:forward(x)
  local who = getmetatable(self).__name
  check.tensor(who, "input", x)
  if x.ndim ~= 3 or x.shape[2] ~= self.in_channels then
    core.raise(("%s: input has shape %s; expected (N, %d, T)"):format(who, check.shape_text(x.shape), self.in_channels))
  end
  check.dtype(who, x, self.weight)
  local length, reach = x.shape[3] + self._before + self._after, self.dilation * (self.kernel_size - 1) + 1
  if length < reach then
    core.raise(("%s: input has %d steps with padding; the kernel spans %d"):format(who, length, reach))
  end
  -- The last tap's stride may look past the end.
  x = core.pad(x, 3, self._before, self._after + self.stride - 1)
  local steps, outputs = (length - reach) // self.stride + 1, {}
  local inner, outer = self.in_channels // self.groups, self.out_channels // self.groups
  for g = 1, self.groups do
    local part = self.groups == 1 and x or core.narrow(x, 2, (g - 1) * inner + 1, inner)
    local weight = self.groups == 1 and self.weight or core.narrow(self.weight, 1, (g - 1) * outer + 1, outer)
    outputs[g] = convolve(self, part, weight, steps)
  end
  local y = #outputs == 1 and outputs[1] or core.cat(outputs, 2)
  return self.bias and y + core.unsqueeze(self.bias, 2) or y
end

function Conv1d:extra_repr()
  local parts = { ("%d, %d, kernel_size=%d"):format(self.in_channels, self.out_channels, self.kernel_size) }
  for _, option in ipairs(schema) do
    local value = self[option.name]
    if option.name == "bias" then value = self.bias ~= nil end
    if value ~= option.default then parts[#parts + 1] = ("%s=%s"):format(option.name, value) end
  end
  return table.concat(parts, ", ")
end

return Conv1d
