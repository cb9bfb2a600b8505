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

function cells.LSTM(w, x, h, c)
  local i, f, g, o = table.unpack((affine(x, w.weight_ih, w.bias_ih) + affine(h, w.weight_hh, w.bias_hh)):chunk(4, 2))
  c = f:sigmoid() * c + i:sigmoid() * g:tanh()
  return o:sigmoid() * c:tanh(), c
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
  local w = { weight_ih = layer.weight_ih_l0, weight_hh = layer.weight_hh_l0, bias_ih = layer.bias_ih_l0,
    bias_hh = layer.bias_hh_l0 }
  local h, c, hs, cs = state.h[1], state.c and state.c[1], {}, {}
  for t = 1, x.shape[1] do
    h, c = cells[kind](w, x[t], h, c, nonlinearity)
    hs[t], cs[t] = h, c
  end
  if steps then steps.h, steps.c = hs, cs end
  return lurn.stack(hs, 1), { h = h:unsqueeze(1), c = c and c:unsqueeze(1) }
end

return cells
