-- The recurrent cells written from single ops, as a user would write one.

local lurn = require "lurn"

local cells = {}

-- W x + b, by single ops; b may be nil.
local function affine(x, w, b)
  local y = x:matmul(w:t())
  return b and y + b or y
end

---@param w table weight_ih, weight_hh, bias_ih, bias_hh
function cells.RNN(w, x, h, _, nonlinearity)
  local a = affine(x, w.weight_ih, w.bias_ih) + affine(h, w.weight_hh, w.bias_hh)
  return a[nonlinearity or "tanh"](a)
end

---Also with weight_hr, weight_ci, weight_cf, weight_co, and with three gates instead of four where they are coupled.
function cells.LSTM(w, x, h, c)
  local sums = affine(x, w.weight_ih, w.bias_ih) + affine(h, w.weight_hh, w.bias_hh)
  local coupled = sums.shape[2] == 3 * c.shape[2]
  local gates = sums:chunk(coupled and 3 or 4, 2)
  local f, g, o = table.unpack(gates, #gates - 2)
  local function seen(gate, peephole, cell) return peephole and gate + peephole * cell or gate end
  f = seen(f, w.weight_cf, c):sigmoid()
  local i = coupled and 1 - f or seen(gates[1], w.weight_ci, c):sigmoid()
  c = f * c + i * g:tanh()
  h = seen(o, w.weight_co, c):sigmoid() * c:tanh()
  return w.weight_hr and h:matmul(w.weight_hr:t()) or h, c
end

function cells.GRU(w, x, h)
  local xr, xz, xn = table.unpack(affine(x, w.weight_ih, w.bias_ih):chunk(3, 2))
  local hr, hz, hn = table.unpack(affine(h, w.weight_hh, w.bias_hh):chunk(3, 2))
  local r, z = (xr + hr):sigmoid(), (xz + hz):sigmoid()
  local n = (xn + r * hn):tanh()
  return (1 - z) * n + z * h
end

---Runs a cell over x (T, N, D) with the weights of a layer of one direction, from a state {h, c} of (1, N, H) each.
---Puts h_t and c_t of every step into `steps`, if given.
---@return lurn.Tensor y
---@return table state {h, c}, each (1, N, H)
function cells.run(kind, layer, x, state, nonlinearity, steps)
  local w = {}
  for name, p in layer:named_parameters() do w[name:gsub("_l0$", "")] = p end
  local h, c, hs, cs = state.h[1], state.c and state.c[1], {}, {}
  for t = 1, x.shape[1] do
    h, c = cells[kind](w, x[t], h, c, nonlinearity)
    hs[t], cs[t] = h, c
  end
  if steps then steps.h, steps.c = hs, cs end
  return lurn.stack(hs, 1), { h = h:unsqueeze(1), c = c and c:unsqueeze(1) }
end

return cells
