# first_step.lua in PyTorch.
import torch

layer = torch.nn.LSTM(64, 128)
optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
y, _ = layer(torch.randn(20, 16, 64))
loss = (y ** 2).mean()
loss.backward()
optimizer.step()

with open("/proc/self/status") as status:
    peak = [line.split()[1] for line in status if line.startswith("VmHWM:")]
print("ok\tpeak_kib=%s" % (peak or ["0"])[0], flush=True)
