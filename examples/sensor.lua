-- A forecaster of sensor readings: trained in Lua, run in Lua or by a C program without Lua, examples/sensor.c.
--
--   lurn examples/sensor.lua                               trains on readings made up here; writes sensor.safetensors,
--                                                          and sensor.txt with new readings, three of them faulty
--   lurn examples/sensor.lua readings.txt                  trains on your own readings, one number a line
--   lurn examples/sensor.lua --watch <sensor.txt           says which readings are far from what was forecast
--
-- The network reads one number at a time and forecasts the next: many to many, in step.

local lurn = require "lurn"
local train = require "lurn.train"
local nn, F = lurn.nn, lurn.nn.functional

-- ---- The model ------------------------------------------------------------------------------------------------

local Forecaster = nn.Module:extend "Forecaster"

function Forecaster:init(hidden_size)
  self.rnn = nn.LSTM(1, hidden_size)
  self.head = nn.Linear(hidden_size, 1)
end

-- x (T, N, 1): readings, less their mean, by their standard deviation. Gives the forecasts of the ones that follow.
function Forecaster:forward(x, state)
  local y, last = self.rnn(x, state)
  return self.head(y), last
end

-- ---- Readings -------------------------------------------------------------------------------------------------

local FAULTS = { [150] = 4, [321] = -5, [444] = 4.5 }

-- n readings of two waves and noise, from time `from` on.
local function invent(n, from)
  local t = lurn.arange(from, from + n - 1)
  return 20 + (t * (2 * math.pi / 50)):sin() * 3 + (t * (2 * math.pi / 17)):sin() * 1.5 + lurn.randn(n) * 0.1
end

-- The number in line i of a file.
local function to_number(line, path, i)
  local text = line:sub(1, 40):gsub("[^%g ]", "?")
  return tonumber(line) or error(("%s: line %d is '%s'; expected a number"):format(path, i, text), 0)
end

local function read_numbers(path)
  local file, message = io.open(path)
  if not file then error(message, 0) end
  local readings = {}
  for line in file:lines() do readings[#readings + 1] = to_number(line, path, #readings + 1) end
  file:close()
  return lurn.tensor(readings)
end

local function write_numbers(path, readings)
  local file = assert(io.open(path, "w"))
  for _, reading in ipairs(readings:totable()) do assert(file:write(("%.4f\n"):format(reading))) end
  assert(file:close())
end

-- ---- Training -------------------------------------------------------------------------------------------------

-- Backpropagation through seq_len steps at a time; the state goes on from one part to the next.
local function learn_once(model, opt, x, target, o)
  local state, sum, parts = nil, 0, 0
  for first = 1, x.shape[1], o.seq_len do
    local count = math.min(o.seq_len, x.shape[1] - first + 1)
    opt:zero_grad()
    local forecast, last = model(x:narrow(1, first, count), state)
    local loss = F.mse_loss(forecast, target:narrow(1, first, count))
    loss:backward()
    nn.utils.clip_grad_norm_(model:parameters(), 1)
    opt:step()
    state, sum, parts = last:detach(), sum + loss:item(), parts + 1
  end
  return sum / parts
end

-- The standard deviation of the errors of forecasts, from the time on at which the state has come in.
local function error_of(model, z)
  return lurn.no_grad(function()
    local n, settle = #z, math.min(50, #z // 2)
    local forecast = model(z:view(n, 1, 1)):view(n)
    return (forecast:narrow(1, settle, n - settle) - z:narrow(1, settle + 1, n - settle)):square():mean():sqrt():item()
  end)
end

local function learn(readings, o)
  local length = (#readings * 9 // 10 - 1) // o.batch_size -- of each of batch_size stretches; a tenth is held out
  if length < 2 then error(("%d readings are too few for %d stretches"):format(#readings, o.batch_size), 0) end
  local mean, std = readings:mean():item(), readings:std():item()
  if not (std > 0 and std < math.huge) then error("the readings do not vary, or not all are numbers", 0) end
  local z = (readings - mean) / std
  local used = o.batch_size * length
  local x = z:narrow(1, 1, used):view(o.batch_size, length):t():contiguous():unsqueeze(3) -- (length, N, 1)
  local target = z:narrow(1, 2, used):view(o.batch_size, length):t():contiguous():unsqueeze(3)
  local model = Forecaster(o.hidden_size)
  local opt = lurn.optim.Adam(model:parameters(), { lr = o.learning_rate })
  for epoch = 1, o.max_epochs do
    local loss = learn_once(model, opt, x, target, o)
    if epoch % 10 == 0 then print(("epoch %d: loss %.5f"):format(epoch, loss)) end
  end
  local unseen = z:narrow(1, used + 1, #z - used)
  local n = #unseen
  local same = (unseen:narrow(1, 2, n - 1) - unseen:narrow(1, 1, n - 1)):square():mean():sqrt():item()
  local off = error_of(model, unseen)
  print(("root mean square error on unseen readings: %.3f; of \"the same again\": %.3f"):format(off * std,
    same * std))
  assert(lurn.save(o.model, model:state_dict(),
    { mean = ("%.9g"):format(mean), std = ("%.9g"):format(std), error = ("%.9g"):format(off) }))
  print("wrote " .. o.model)
end

-- ---- Watching -------------------------------------------------------------------------------------------------

-- Reading by reading; what is far off is replaced by its forecast, so that one fault does not spoil the next forecasts.
local function watch(o)
  local tensors, about = lurn.load(o.model)
  if not tensors then error(about, 0) end
  local mean, std, off, head = tonumber(about.mean), tonumber(about.std), tonumber(about.error), tensors["head.weight"]
  if not (mean and std and off and head) then error(o.model .. ": not a model of sensor.lua", 0) end
  local model, limit = Forecaster(head.shape[2]), o.sigmas * off
  model:load_state_dict(tensors)
  local state, forecast, n, unusual = nil, nil, 0, 0
  local x, out = lurn.zeros(1, 1, 1), nil
  lurn.no_grad(function()
    for line in io.lines() do
      n = n + 1
      local reading = to_number(line, "readings", n)
      local z = (reading - mean) / std
      if n > o.settle and math.abs(z - forecast) > limit then
        print(("reading %d is %.2f; %.2f was expected"):format(n, reading, forecast * std + mean))
        z, unusual = forecast, unusual + 1
      end
      x:fill_(z)
      out, state = model(x, state)
      forecast = out:item()
    end
  end)
  print(("%d readings, %d unusual"):format(n, unusual))
end

-- ---- Options --------------------------------------------------------------------------------------------------

local LINE = {
  name = "sensor.lua",
  description = "Learns to forecast the readings of a sensor, and tells which ones are unusual.",
  epilog = "The exit status is 0, 1 for an error, 2 for a wrong option, 130 after Ctrl-C or SIGTERM.",
  files = "readings to learn from, one number a line; without, some are made up",
  groups = {
    { "Learning", options = {
      { "hidden_size", 24, "units of the LSTM", min = 1 },
      { "batch_size", 8, "stretches of the readings that are read side by side", min = 1 },
      { "seq_len", 50, "steps that gradients go back", min = 1 },
      { "max_epochs", 60, "times through all readings", min = 0 },
      { "learning_rate", 1e-2, "Adam's", min = 0 },
      { "seed", 1, "of the first weights and the readings made up" },
    } },
    { "Watching", options = {
      { "watch", false, "read new readings from standard input instead of learning" },
      { "sigmas", 8.0, "how many times the usual error is unusual", min = 0 },
      { "settle", 50, "readings before the first is judged", min = 1 },
    } },
    { "Files", options = { { "model", "sensor.safetensors", "the trained model" } } },
  },
}

local function main()
  local o, message = train.options.parse(LINE, arg)
  if not o then
    io.stderr:write("sensor: ", message, "\n(--help lists the options)\n")
    os.exit(2, true)
  end
  local files = o.files or {}
  o = assert(train.options.resolve(LINE, o))
  lurn.set_num_threads(1) -- the products are small
  if o.watch then return watch(o) end
  lurn.manual_seed(o.seed)
  if #files > 0 then
    local parts = {}
    for i, path in ipairs(files) do parts[i] = read_numbers(path) end
    return learn(lurn.cat(parts, 1), o)
  end
  learn(invent(4000, 0), o)
  local new = invent(500, 10000)
  for at, by in pairs(FAULTS) do new[at] = new[at] + by end
  write_numbers("sensor.txt", new)
  print "wrote sensor.txt: new readings, 3 of them faulty"
end

local ok, message = xpcall(main, function(message)
  return type(message) == "string" and message:match "^[^\n]*" or message
end)
if ok then return end
if train.is_interrupt(message) then os.exit(130, true) end
io.stderr:write("sensor: ", tostring(message), "\n")
os.exit(1, true)
