-- Numbers of a benchmark: their middle, and how they are written.

local stats = {}

---The middle of a list, which stays as it is; nil for an empty one.
---@param list number[]
---@return number?
function stats.median(list)
  local n = #list
  if n == 0 then return nil end
  local sorted = table.move(list, 1, n, 1, {})
  table.sort(sorted)
  return (sorted[(n + 1) // 2] + sorted[n // 2 + 1]) / 2
end

---Geometric mean of positive numbers; nil for an empty list.
---@param list number[]
---@return number?
function stats.geometric_mean(list)
  if #list == 0 then return nil end
  local sum = 0.0
  for _, x in ipairs(list) do sum = sum + math.log(x) end
  return math.exp(sum / #list)
end

---How far the samples lie apart: (largest - smallest) / median; 0 for fewer than two.
---@param list number[]
---@return number
function stats.spread(list)
  if #list < 2 then return 0.0 end
  return (math.max(table.unpack(list)) - math.min(table.unpack(list))) / stats.median(list)
end

---The largest difference of two lists of numbers; nil and a reason when they cannot be compared.
---@param a number[]
---@param b number[]
---@return number? difference
---@return string? reason
function stats.difference(a, b)
  if #a ~= #b then return nil, ("%d numbers instead of %d"):format(#b, #a) end
  local most = 0.0
  for i, x in ipairs(a) do
    local d = math.abs(x - b[i])
    if d ~= d or d == math.huge then return nil, ("number %d is not finite"):format(i) end
    if d > most then most = d end
  end
  return most
end

-- Three digits that count.
local function three(x) return x >= 99.95 and ("%.0f"):format(x) or ("%.3g"):format(x) end

---"12.3 ms"
---@param seconds number
---@return string
function stats.time_text(seconds)
  for _, unit in ipairs { { 1e-6, 1e9, "ns" }, { 1e-3, 1e6, "us" }, { 1, 1e3, "ms" } } do
    if seconds < unit[1] * 0.9995 then return three(seconds * unit[2]) .. " " .. unit[3] end
  end
  return three(seconds) .. " s"
end

---"1.42x"
---@param ratio number
---@return string
function stats.ratio_text(ratio) return (ratio < 9.995 and "%.2fx" or "%.1fx"):format(ratio) end

---"123 MiB"
---@param kib number
---@return string
function stats.memory_text(kib) return three(kib / 1024) .. " MiB" end

stats.three = three

return stats
