-- nn.MaxPool1d, nn.AvgPool1d

local core = require "lurn.core"
local check = require "lurn.nn.check"
local Module = require "lurn.nn.module"
local options = require "lurn.nn.options"

local pooling = {}

local schema = { { name = "stride", kind = "count" }, { name = "padding", kind = "size", default = 0 } }

-- A class of modules that reduce windows over the last dimension of x (N, C, T), which is padded with a value.
local function pool_class(name, padding_value, reduce)
  local class, who = Module:extend(name), "nn." .. name

  function class:init(kernel_size, given)
    self.kernel_size = check.count(who, "kernel_size", kernel_size)
    local chosen = options.read(who, given, schema)
    self.stride, self.padding = chosen.stride or self.kernel_size, chosen.padding
    if self.padding > self.kernel_size // 2 then
      core.raise(("%s: padding is %d; expected at most half of kernel_size, %d"):format(who, self.padding,
        self.kernel_size // 2))
    end
  end

  function class:forward(x)
    check.tensor(name, "input", x)
    if x.ndim < 2 or x.shape[x.ndim] + 2 * self.padding < self.kernel_size then
      core.raise(("%s: input has shape %s; expected (N, C, T), T at least %d"):format(name, check.shape_text(x.shape),
        self.kernel_size - 2 * self.padding))
    end
    if self.padding > 0 then x = core.pad(x, -1, self.padding, self.padding, padding_value) end
    return reduce(x:unfold(-1, self.kernel_size, self.stride))
  end

  function class:extra_repr()
    return ("kernel_size=%d, stride=%d, padding=%d"):format(self.kernel_size, self.stride, self.padding)
  end

  return class
end

---The largest of each window over time: `nn.MaxPool1d(kernel_size, {stride = kernel_size, padding = 0})`, x (N, C, T)
---as nn.Conv1d gives it, y (N, C, T'), T' = (T + 2 padding - kernel_size) / stride + 1 rounded down. What is padded is
---never the largest.
pooling.MaxPool1d = pool_class("MaxPool1d", -math.huge, function(windows) return (core.max(windows, -1)) end)

---The mean of each window over time: `nn.AvgPool1d(kernel_size, {stride = kernel_size, padding = 0})`, shapes as for
---nn.MaxPool1d. Zeros that are padded count.
pooling.AvgPool1d = pool_class("AvgPool1d", 0, function(windows) return core.mean(windows, -1) end)

return pooling
