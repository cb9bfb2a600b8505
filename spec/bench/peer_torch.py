# The worker that runs PyTorch, 1.13 or newer.  Of the settings that differ in speed the fastest is found per case.

import math
import re
import sys

import torch

import protocol

LAYERS = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}
CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}
VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2] if part.isdigit())


def tensor(r, seed, scale, *shape):
    """Large ones are drawn, since only a check asks what the numbers are."""
    if r["verb"] == "check":
        return torch.tensor(protocol.filled(seed, scale, math.prod(shape))).reshape(shape)
    return torch.empty(shape).uniform_(-scale, scale)


class Model(torch.nn.Module):
    def __init__(self, r):
        super().__init__()
        self.embed = torch.nn.Embedding(r["C"], r["E"])
        self.rnn = torch.nn.LSTM(r["E"], r["H"], 2)
        self.head = torch.nn.Linear(r["H"], r["C"])

    def forward(self, ids, state):
        y, state = self.rnn(self.embed(ids), state)
        return self.head(y), state


def flat(tensors):
    return [v for t in tensors for v in t.detach().reshape(-1).tolist()]


class Torch(protocol.Worker):
    def info(self):
        capability = re.search(r"CPU capability usage: (\S+)", torch.__config__.show())
        return "version=" + torch.__version__, "detail=%s kernels" % (capability[1].lower() if capability else "unknown")

    def settings(self, r):
        kernels = ["oneDNN", "own"] if torch.backends.mkldnn.is_available() else ["own"]
        if r["kind"] not in LAYERS and r["kind"] != "charlm":
            return [None]
        if r["mode"] == "stream":
            return kernels + ["cell"]
        if r["kind"] == "charlm" and VERSION >= (2, 4):
            return kernels + [k + ", fused Adam" for k in kernels]
        return kernels

    def make(self, r, setting):
        torch._C._set_mkldnn_enabled("own" not in (setting or ""))  # for the whole process, from here on
        if r["kind"] in LAYERS:
            return getattr(self, r["mode"])(r, setting)
        if r["kind"] == "charlm":
            return self.char_lm(r, setting)
        if r["kind"] == "matmul":
            a, b = (torch.rand(r["M"], r["M"]) - 0.5 for _ in range(2))
            return (lambda: a @ b), None
        raise protocol.Skip("PyTorch has no " + r["kind"])

    def layer(self, r, factory):
        layer = factory(r["D"], r["H"])
        if r["verb"] == "check":
            with torch.no_grad():
                for i, p in enumerate(layer.parameters()):
                    p.copy_(tensor(r, i + 2, 1 / math.sqrt(r["H"]), *p.shape))
        return layer

    def train(self, r, setting):
        layer = self.layer(r, LAYERS[r["kind"]])
        x = tensor(r, 1, 1, r["T"], r["N"], r["D"]).requires_grad_()
        gy = tensor(r, 6, 1, r["T"], r["N"], r["H"])
        leaves = [x, *layer.parameters()]

        def step():
            for leaf in leaves:
                leaf.grad = None
            y, _ = layer(x)
            y.backward(gy)
            return y

        return step, lambda: flat([step(), *(leaf.grad for leaf in leaves[:4])])

    def infer(self, r, setting):
        layer = self.layer(r, LAYERS[r["kind"]]).eval()
        x = tensor(r, 1, 1, r["T"], r["N"], r["D"])

        def step():
            with torch.inference_mode():
                return layer(x)[0]

        return step, lambda: flat([step()])

    def stream(self, r, setting):
        cell = setting == "cell"
        layer = self.layer(r, (CELLS if cell else LAYERS)[r["kind"]]).eval()
        x = tensor(r, 1, 1, r["T"], r["N"], r["D"])
        state = None

        @torch.inference_mode()
        def step(t=0):
            nonlocal state
            if cell:
                state = layer(x[t], state)
                return state[0] if r["kind"] == "lstm" else state
            y, state = layer(x[t:t + 1], state)
            return y

        return step, lambda: flat([step(t) for t in range(r["T"])])

    def char_lm(self, r, setting):
        model = Model(r)
        if r["verb"] == "check":
            with torch.no_grad():
                for i, p in enumerate(model.parameters()):
                    p.copy_(tensor(r, i + 1, 1 if i == 0 else 1 / math.sqrt(r["H"]), *p.shape))
        index = torch.arange(r["T"] * r["N"]).reshape(r["T"], r["N"])
        ids, targets = (index * 7 + 3) % r["C"], (index * 5 + 1) % r["C"]
        fused = {"fused": True} if "fused" in setting else {}
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, **fused)
        state = None

        def step():
            nonlocal state
            optimizer.zero_grad(set_to_none=True)
            logits, after = model(ids, state)
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, r["C"]), targets.reshape(-1))
            value = loss.item()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
            optimizer.step()
            state = tuple(s.detach() for s in after)
            return value

        return step, lambda: [step() for _ in range(4)]


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    Torch().serve()
