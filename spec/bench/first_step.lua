-- The least a user can run: one training step of an LSTM, and the most memory that it took. Everything that
-- starting lurn costs is in the time until its line appears.

local lurn = require "lurn"

local layer = lurn.nn.LSTM(64, 128)
local optimizer = lurn.optim.Adam(layer:parameters(), { lr = 1e-3 })
local y = layer(lurn.randn(20, 16, 64))
local loss = (y ^ 2):mean()
loss:backward()
optimizer:step()

local file = io.open "/proc/self/status"
print(("ok\tpeak_kib=%s"):format(file and file:read("a"):match "VmHWM:%s*(%d+)" or 0))
