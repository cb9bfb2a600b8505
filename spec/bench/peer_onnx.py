# The worker that runs ONNX Runtime: inference only.  A model is one recurrent node, written here in the wire format of
# protocol buffers (onnx.proto), so that nothing but onnxruntime and numpy is needed.

import math
import struct
import sys

import numpy
import onnxruntime

import protocol

NODES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
# The gates of ONNX by PyTorch's positions: LSTM i o f g, GRU z r n.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
FLOAT = 1

# ---- Protocol buffers ----


def varint(n):
    out = b""
    while n > 127:
        out += bytes((n & 127 | 128,))
        n >>= 7
    return out + bytes((n,))


def number(field, n):
    return varint(field << 3) + varint(n)


def chunk(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name, array):
    dims = b"".join(number(1, size) for size in array.shape)
    return dims + number(2, FLOAT) + chunk(8, name) + chunk(9, array.astype("<f4").tobytes())


def value_info(name, shape):
    dims = b"".join(chunk(1, number(1, size)) for size in shape)
    return chunk(1, name) + chunk(2, chunk(1, number(1, FLOAT) + chunk(2, dims)))


def attribute(name, value):
    return chunk(1, name) + number(3, value) + number(20, 2)


def model_bytes(r, weights):
    """A model with inputs x, h (and c for LSTM) and outputs y, h_n (and c_n)."""
    kind, T, N, D, H = (r[name] for name in ("kind", "T", "N", "D", "H"))
    states = ["h", "c"] if kind == "lstm" else ["h"]
    node = b"".join(chunk(1, name) for name in ["x", "w", "r", "b", "", *states])
    node += b"".join(chunk(2, name) for name in ["y", *(s + "_n" for s in states)])
    node += chunk(4, NODES[kind]) + chunk(5, attribute("hidden_size", H))
    if kind == "gru":
        node += chunk(5, attribute("linear_before_reset", 1))
    graph = chunk(1, node) + chunk(2, "one layer")
    graph += b"".join(chunk(5, tensor(name, array)) for name, array in weights.items())
    graph += chunk(11, value_info("x", (T, N, D)))
    graph += b"".join(chunk(11, value_info(s, (1, N, H))) for s in states)
    graph += chunk(12, value_info("y", (T, 1, N, H)))
    graph += b"".join(chunk(12, value_info(s + "_n", (1, N, H))) for s in states)
    return number(1, 8) + chunk(7, graph) + chunk(8, chunk(1, "") + number(2, 14))


# ---- The worker ----


def array(seed, scale, *shape):
    i = numpy.arange(1, math.prod(shape) + 1, dtype=numpy.uint64)
    u = (i * numpy.uint64(2654435761) + numpy.uint64(seed * 40503)) & numpy.uint64(0xFFFFFFFF)
    return ((u / 4294967296 * 2 - 1) * scale).astype(numpy.float32).reshape(shape)


class Onnx(protocol.Worker):
    def __init__(self, threads):
        super().__init__()
        self.threads = threads

    def info(self):
        return "version=" + onnxruntime.__version__, "detail=inference only"

    def settings(self, r):
        return ["spinning", "waiting"] if self.threads > 1 else [None]

    def session(self, r, setting):
        G, D, H, scale = len(GATES[r["kind"]]), r["D"], r["H"], 1 / math.sqrt(r["H"])

        def gates(seed, *columns):
            parts = array(seed, scale, G, H, *columns)
            return numpy.concatenate([parts[g] for g in GATES[r["kind"]]])

        weights = {"w": gates(2, D)[None], "r": gates(3, H)[None],
                   "b": numpy.concatenate([gates(4), gates(5)])[None]}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if setting == "spinning" else "0")
        return onnxruntime.InferenceSession(model_bytes(r, weights), options, providers=["CPUExecutionProvider"])

    def make(self, r, setting):
        if r["kind"] not in NODES or r["mode"] == "train":
            raise protocol.Skip("ONNX Runtime only infers" if r["kind"] in NODES else "no such node")
        stream = r["mode"] == "stream"
        steps, r = r["T"], dict(r, T=1) if stream else r
        session = self.session(r, setting)
        x = array(1, 1, steps, r["N"], r["D"])
        names = ["h", "c"] if r["kind"] == "lstm" else ["h"]
        state = {name: numpy.zeros((1, r["N"], r["H"]), numpy.float32) for name in names}

        def step(t=0):
            y, *after = session.run(None, {"x": x[t:t + 1] if stream else x, **state})
            if stream:
                state.update(zip(names, after))
            return y

        ticks = range(steps) if stream else range(1)
        return step, lambda: [float(v) for t in ticks for v in step(t).reshape(-1)]


if __name__ == "__main__":
    Onnx(int(sys.argv[1])).serve()
