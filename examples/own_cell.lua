-- A recurrent cell of one's own, from single ops, and three places for its memory.
--
--   lurn examples/own_cell.lua            trains three cells on one task, from several seeds; --help tells more
--
-- All three have the gates of an LSTM and differ in one line: whether the memory c is added before the nonlinearity,
-- inside of it, or after it.

local lurn = require "lurn"
local train = require "lurn.train"
local nn, F = lurn.nn, lurn.nn.functional

-- ---- The cell -------------------------------------------------------------------------------------------------

local Cell = nn.Module:extend "Cell"

function Cell:init(input_size, hidden_size, forget_bias)
  self.hidden_size = hidden_size
  self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)
  lurn.no_grad(function() self.gates.bias:narrow(1, hidden_size + 1, hidden_size):fill_(forget_bias) end)
end

-- x (N, input), state {h, c} of (N, H) each or nil; gives the new state. nn.Unroll runs it over time.
function Cell:forward(x, state)
  local zero = lurn.zeros(x.shape[1], self.hidden_size)
  local h, c = state and state.h or zero, state and state.c or zero
  local i, f, g, o = table.unpack(self.gates(lurn.cat({ x, h }, 2)):chunk(4, 2))
  return nn.State(self.combine(i:sigmoid(), f:sigmoid(), g, o:sigmoid(), c))
end

-- What tells the three apart: h and c from the gates, the candidate g and the memory c.
local PLACES = {
  { "before", "c = tanh(f c + i g), h = o c", function(i, f, g, o, c)
    c = (f * c + i * g):tanh()
    return o * c, c
  end },
  { "inside", "c = f c + i tanh(g), h = o tanh(c)", function(i, f, g, o, c)
    c = f * c + i * g:tanh()
    return o * c:tanh(), c
  end },
  { "after", "c = f c + i tanh(g), h = o c", function(i, f, g, o, c)
    c = f * c + i * g:tanh()
    return o * c, c
  end },
}

-- ---- The task -------------------------------------------------------------------------------------------------

local SYMBOLS = 8

-- N sequences of symbols at random; the answer is the first one, asked for at the end.
local function draw(o, length)
  local ids = lurn.randint(1, SYMBOLS, length, o.batch_size)
  return F.one_hot(ids, SYMBOLS):to "float32", ids[1] -- (T, N, SYMBOLS), (N)
end

local Model = nn.Module:extend "Model"

function Model:init(combine, o)
  local cell = Cell(SYMBOLS, o.hidden_size, o.forget_bias)
  cell.combine = combine
  self.rnn = nn.Unroll(cell)
  self.head = nn.Linear(o.hidden_size, SYMBOLS)
end

function Model:forward(x, state)
  local y, last = self.rnn(x, state)
  return self.head(last.h), y, last
end

-- ---- Measuring ------------------------------------------------------------------------------------------------

local function norm(t) return t:detach():square():sum():sqrt():item() end

-- |dL/dc_1| and |dL/dc_T|: the gradients of the loss for the memory of the first step and of the last.
local function gradients(model, x, target)
  local memory, state = {}, nil
  for t = 1, x.shape[1] do
    state = model.rnn.cell(x[t], state)
    memory[t] = state.c
  end
  local first, last = lurn.grad(F.cross_entropy(model.head(state.h), target), { memory[1], memory[#memory] })
  return norm(first), norm(last)
end

-- The share of right answers, and the largest |h|, on new sequences.
local function try(model, o, length)
  local x, target = draw(o, length)
  return lurn.no_grad(function()
    local logits, y = model(x)
    return logits:argmax(2):eq(target):to("float32"):mean():item(), y:abs():max():item()
  end)
end

local function learn(model, o)
  local opt = lurn.optim.Adam(model:parameters(), { lr = o.learning_rate })
  for _ = 1, o.iterations do
    local x, target = draw(o, o.length)
    opt:zero_grad()
    F.cross_entropy((model(x)), target):backward()
    nn.utils.clip_grad_norm_(model:parameters(), 1)
    opt:step()
  end
end

-- ---- Options --------------------------------------------------------------------------------------------------

local LINE = {
  name = "own_cell.lua",
  description = "Trains three recurrent cells that differ in where the memory is added, and compares them.",
  epilog = "The task: the first of many random symbols is asked for at the end. The exit status is 0, 2 for a wrong "
    .. "option, 130 after Ctrl-C or SIGTERM.",
  groups = { { "Options", options = {
    { "length", 30, "symbols in a sequence", min = 2 },
    { "iterations", 150, "batches to learn from", min = 0 },
    { "batch_size", 64, "sequences in a batch", min = 1 },
    { "hidden_size", 24, "units of the cell", min = 1 },
    { "learning_rate", 1e-2, "Adam's", min = 0 },
    { "forget_bias", 3.0, "of the gate f at first: f = sigmoid(3) = 0.95" },
    { "seeds", 5, "runs of each cell, which start from different weights", min = 1 },
    { "seed", 1, "of the first run; the next ones count up" },
    { "num_threads", 1, "threads; these products are small", min = 1, max = 256 },
  } } },
}

local function read_options()
  local given, message = train.options.parse(LINE, arg)
  if given then return train.options.resolve(LINE, given) end
  io.stderr:write("own_cell: ", message, "\n(--help lists the options)\n")
  os.exit(2, true)
end

-- ---- Main -----------------------------------------------------------------------------------------------------

-- Of one seed all cells start from the same weights and see the same sequences.
local function run(combine, o, seed)
  lurn.manual_seed(seed)
  local model, r = Model(combine, o), {}
  r.first, r.last = gradients(model, draw(o, o.length))
  r.arrives = r.first / r.last
  learn(model, o)
  r.right, r.largest = try(model, o, o.length)
  r.longer_right, r.longer_largest = try(model, o, 4 * o.length)
  return r
end

-- Mean, smallest and largest of one result over the runs.
local function over(runs, name)
  local sum, least, most = 0, math.huge, -math.huge
  for _, r in ipairs(runs) do
    sum, least, most = sum + r[name], math.min(least, r[name]), math.max(most, r[name])
  end
  return sum / #runs, least, most
end

local function percent(runs, name)
  local mean, worst = over(runs, name)
  return ("%d%% (%d%%)"):format(math.floor(100 * mean + 0.5), math.floor(100 * worst + 0.5))
end

local WHY = [[
gradient at 1: |dL/dc_1| before training. arrives: its ratio to that of the last step. right: after training, on new
sequences of the same length, then of four times that length, and the largest |h| of any run there. In brackets the
worst of the runs; all cells start from the same weights and see the same sequences.

Along the memory dc_t/dc_(t-1) is f (1 - c_t^2) where c is added before the nonlinearity: each step multiplies by the
slope of tanh as well, which is below 1 wherever the memory holds something. Inside and after it is f alone, whatever c
holds; the measured gradients have come by way of h and the gates too. h = o tanh(c) and h = o c with c = tanh(...) stay
within 1; h = o c with c added up is not bounded. Inside, the LSTM's place, is the one where both hold. Which cell
learns this task best is another question: a run of few batches tells what these seeds give, and --seeds 20 or another
--length may rank them differently.]]

local function main()
  local o = read_options()
  lurn.set_num_threads(o.num_threads)
  print(("Remember the first of %d symbols, one of %d; %d batches of %d; %d seeds, mean (worst)."):format(o.length,
    SYMBOLS, o.iterations, o.batch_size, o.seeds))
  for _, place in ipairs(PLACES) do print(("  %-7s %s"):format(place[1], place[2])) end
  print(("%-8s %20s %16s %13s %8s %14s %8s"):format("memory", "gradient at 1", "arrives", "right", "|h|",
    "right, longer", "|h|"))
  for _, place in ipairs(PLACES) do
    local runs = {}
    for k = 1, o.seeds do runs[k] = run(place[3], o, o.seed + k - 1) end
    print(("%-8s %10.1e (%.1e) %7.2f (%.2f) %13s %8.2f %14s %8.2f"):format(place[1], over(runs, "first"),
      select(2, over(runs, "first")), over(runs, "arrives"), select(2, over(runs, "arrives")), percent(runs, "right"),
      select(3, over(runs, "largest")), percent(runs, "longer_right"), select(3, over(runs, "longer_largest"))))
  end
  print(WHY)
end

local ok, message = xpcall(main, debug.traceback)
if ok then return end
if train.is_interrupt(message) then os.exit(130, true) end
io.stderr:write("own_cell: ", message, "\n")
os.exit(1, true)
