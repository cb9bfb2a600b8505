-- A chart of the results as SVG: groups of bars, one panel beside the other. It has no background and takes its colours
-- from what the reader prefers, light or dark.

local chart = {}

local COLORS = { "#2f7fd6", "#8db9e8", "#d9662b", "#e6a883", "#6b9e3a", "#b3cf96", "#8a63b8", "#c3aadd" }
local WIDTH, PANEL_TOP, PANEL_HEIGHT, LEFT, GAP, ROW = 880, 62, 190, 44, 26, 17

local STYLE = [[
<style>
text { font: 12px system-ui, sans-serif; fill: #333 }
.small { font-size: 11px; fill: #666 }
.title { font-size: 14px; font-weight: 600 }
.line { stroke: #888; stroke-opacity: 0.35 }
.mark { stroke: #c33; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .small { fill: #aaa } }
</style>]]

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local function escape(text) return (text:gsub('[&<>"]', ESCAPES)) end

local function put(out, template, ...) out[#out + 1] = template:format(...) end

local function text_at(out, x, y, class, anchor, text)
  put(out, '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>', x, y, class, anchor, escape(text))
end

-- A round number of at least x: 1, 2 or 5 times a power of ten.
local function round_up(x)
  local power = 10 ^ math.floor(math.log(x, 10))
  for _, factor in ipairs { 1, 2, 5, 10 } do
    if x <= factor * power * 1.0001 then return factor * power end
  end
end

local function highest(spec)
  local most = spec.mark and spec.mark.value or 0
  for _, panel in ipairs(spec.panels) do
    for _, group in ipairs(panel.groups) do
      for _, value in pairs(group.values) do most = math.max(most, value) end
    end
  end
  return most > 0 and most or 1
end

local function draw_scale(out, step, top, bottom, scale)
  local value = 0
  while value <= top * 1.0001 do
    local y = bottom - value * scale
    put(out, '<line class="line" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>', LEFT, WIDTH - 8, y, y)
    text_at(out, LEFT - 6, y + 4, "small", "end", ("%g"):format(value))
    value = value + step
  end
end

local function draw_group(out, group, series, x, width, bottom, scale)
  local bar = width * 0.84 / #series
  for i, name in ipairs(series) do
    local value = group.values[name]
    if value then
      local height = value * scale
      put(out, '<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s, %s: %.4g</title></rect>',
        x + width * 0.08 + (i - 1) * bar, bottom - height, math.max(bar - 0.6, 0.4), height,
        COLORS[(i - 1) % #COLORS + 1], escape(name), escape(group.label), value)
    end
  end
  text_at(out, x + width / 2, bottom + 15, "small", "middle", group.label)
end

local function draw_panels(out, spec, bottom, scale)
  local each = (WIDTH - 8 - LEFT - GAP * (#spec.panels - 1)) / #spec.panels
  for p, panel in ipairs(spec.panels) do
    local x = LEFT + (p - 1) * (each + GAP)
    text_at(out, x + each / 2, bottom + 32, "label", "middle", panel.label)
    local width = each / math.max(1, #panel.groups)
    for g, group in ipairs(panel.groups) do
      draw_group(out, group, spec.series, x + (g - 1) * width, width, bottom, scale)
    end
  end
end

local function draw_mark(out, mark, y)
  put(out, '<line class="mark" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>', LEFT, WIDTH - 8, y, y)
  text_at(out, WIDTH - 10, y - 5, "small", "end", mark.label)
end

-- Names are laid out in columns of equal width.
local function draw_legend(out, series, y)
  local per_row = math.max(1, math.min(4, #series))
  local width = (WIDTH - LEFT) / per_row
  for i, name in ipairs(series) do
    local x, row = LEFT + (i - 1) % per_row * width, (i - 1) // per_row
    put(out, '<rect x="%.1f" y="%.1f" width="11" height="11" rx="2" fill="%s"/>', x, y + row * ROW - 10,
      COLORS[(i - 1) % #COLORS + 1])
    text_at(out, x + 17, y + row * ROW, "label", "start", name)
  end
  return (#series + per_row - 1) // per_row
end

---@class bench.ChartGroup
---@field label string
---@field values table<string, number> heights by series

---@class bench.ChartSpec
---@field title string
---@field subtitle string
---@field series string[] names, in the order of their bars
---@field panels {label: string, groups: bench.ChartGroup[]}[]
---@field mark? {label: string, value: number} a height that all are seen against

---The SVG text of a chart.
---@param spec bench.ChartSpec
---@return string
function chart.svg(spec)
  local out, bottom = {}, PANEL_TOP + PANEL_HEIGHT
  local most = highest(spec)
  local step = round_up(most / 5)
  local top = math.ceil(most / step) * step
  local scale = PANEL_HEIGHT / top
  text_at(out, LEFT, 20, "title", "start", spec.title)
  text_at(out, LEFT, 38, "small", "start", spec.subtitle)
  draw_scale(out, step, top, bottom, scale)
  draw_panels(out, spec, bottom, scale)
  if spec.mark then draw_mark(out, spec.mark, bottom - spec.mark.value * scale) end
  local rows = draw_legend(out, spec.series, bottom + 58)
  local height = bottom + 58 + rows * ROW
  table.insert(out, 1, ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">%s')
    :format(WIDTH, height, escape(spec.title), STYLE))
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

-- ---- From results ----

-- The group that the chart shows: LSTM training, else the first with a time.
local function pick_group(value)
  local first
  for _, r in ipairs(value.results) do
    if r.group == "lstm" then return "lstm" end
    if not first and r.flops and r.N and r.group ~= "peaks" then first = r.group end
  end
  return first
end

---What `svg` draws of the benchmark's value: operations per second by batch (panels) and size (groups), one thread.
---@param value table of report.value
---@return table? spec nil when there is nothing to draw
function chart.spec(value)
  local group = pick_group(value)
  if not group then return nil end
  local threads, panels, by_batch, seen = math.huge, {}, {}, {}
  for _, r in ipairs(value.results) do threads = math.min(threads, r.threads) end
  for _, r in ipairs(value.results) do
    if r.group == group and r.threads == threads and r.flops and r.N then
      local panel = by_batch[r.N] or { label = ("batch %d"):format(r.N), groups = {} }
      if not by_batch[r.N] then
        by_batch[r.N] = panel
        panels[#panels + 1] = panel
      end
      local values = {}
      for _, c in ipairs(value.contestants) do
        local times = r.times[c.id]
        if times then values[c.name], seen[c.name] = r.flops / times.seconds / 1e9, true end
      end
      local label = group == "linear" and ("T %d"):format(r.T) or ("H %d"):format(r.H)
      table.insert(panel.groups, { label = label, values = values })
    end
  end
  local series = {}
  for _, c in ipairs(value.contestants) do
    if seen[c.name] then series[#series + 1] = c.name end
  end
  local peak = (value.peaks or {})[tostring(threads)] or {}
  local best = math.max(peak.openblas or 0, peak.lurn or 0)
  return {
    title = ("%s, GFLOP/s (higher is better)"):format(value.titles and value.titles[group] or group),
    subtitle = ("%s; float32, %d thread%s; %s"):format(value.machine or "", threads, threads == 1 and "" or "s",
      value.date or ""),
    series = series, panels = panels,
    mark = best > 0 and { label = "best sgemm", value = best / 1e9 } or nil,
  }
end

return chart
