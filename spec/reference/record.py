#!/usr/bin/python3
"""Record reference numbers from PyTorch for lurn's specs.

Usage: /usr/bin/python3 spec/reference/record.py [directory]

Writes the *.safetensors files next to this script (or into the directory given). Needs PyTorch only
(Debian: python3-torch, 1.13). Every recurrent case and every group of ops is seeded by its own name, so
that adding one does not change the others. Recorded values are computed in float32; each case is computed
a second time in float64, and the script stops when the two disagree.

Names of tensors and metadata are described in README.md.
"""

import functools
import json
import math
import os
import struct
import sys
import zlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FORMATS = {torch.float32: ("F32", "f", 4), torch.float64: ("F64", "d", 8), torch.int64: ("I64", "q", 8)}


# ---- files -----------------------------------------------------------------------------------------------

def write_safetensors(path, tensors, metadata):
    """8 bytes of header length, JSON header padded to a multiple of 8, then the tensors; all little-endian.

    Tensors with larger elements come first, so that every tensor is aligned.
    """
    header, chunks, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors, key=lambda name: (-FORMATS[tensors[name].dtype][2], name)):
        tensor = tensors[name].detach()
        dtype, code, _ = FORMATS[tensor.dtype]
        chunk = struct.pack("<%d%s" % (tensor.numel(), code), *tensor.flatten().tolist())
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


class Recording:
    """The cases of one file. `tolerance` bounds the relative distance of float32 from float64."""

    def __init__(self, name, note, tolerance=5e-6):
        self.name, self.tolerance = name, tolerance
        self.tensors, self.cases = {}, []
        self.metadata = {"note": note, "torch": torch.__version__}

    def put(self, name, tensor):
        assert name not in self.tensors, name
        self.tensors[name] = tensor

    def case(self, name, options, inputs, compute, prefix=None, store_inputs=True):
        """Record `inputs` and `compute(inputs)`, both tables of tensors, as `prefix` + their names."""
        prefix = name + "." if prefix is None else prefix
        results = compute(inputs)
        deviation = compare(results, compute({key: widen(value) for key, value in inputs.items()}))
        assert deviation < self.tolerance, "%s: %s is %g from float64" % (self.name, name, deviation)
        for key, value in list(inputs.items() if store_inputs else ()) + list(results.items()):
            self.put(prefix + key, value)
        self.cases.append(name)
        self.metadata[name] = json.dumps(dict(options, deviation=float("%.1e" % deviation)))

    def write(self, directory):
        self.metadata["cases"] = " ".join(self.cases)
        path = os.path.join(directory, self.name + ".safetensors")
        write_safetensors(path, self.tensors, self.metadata)
        print("%-24s %7d bytes, %3d cases" % (os.path.basename(path), os.path.getsize(path), len(self.cases)))


def widen(tensor):
    return tensor.double() if tensor.dtype == torch.float32 else tensor


def compare(results, exact):
    """The largest |float32 - float64| / max(1, |float64|) over all results; equal infinities count as 0."""
    worst = 0.0
    for name, value in results.items():
        wide, expected = value.double(), exact[name].double()
        distance = torch.where(wide == expected, 0.0, (wide - expected).abs() / expected.abs().clamp(min=1))
        if distance.numel():
            worst = max(worst, float("nan") if distance.isnan().any() else distance.max().item())
    return worst


def seed(*names):
    torch.manual_seed(zlib.crc32("/".join(names).encode()))


def leaf(tensor):
    return tensor.detach().clone().requires_grad_()


def gradients(loss, leaves):
    """{"grad.NAME": d loss / d NAME} for a table of leaves."""
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return {"grad." + name: grad for name, grad in zip(leaves, grads)}


# ---- recurrent layers and cells --------------------------------------------------------------------------

LAYER = dict(num_layers=1, bidirectional=False, bias=True, batch_first=False)

# name, then what differs from LAYER; "state" False leaves h0 and c0 out; "lengths" goes through a packed sequence;
# N = 0 is one sequence by itself, without the dimension of sequences.
LAYER_CASES = [
    ("basic", dict(input=3, hidden=4, T=5, N=2)),
    ("no_bias", dict(input=5, hidden=3, T=4, N=3, bias=False)),
    ("no_state", dict(input=3, hidden=5, T=4, N=2, state=False)),
    ("layers2", dict(input=4, hidden=5, T=6, N=3, num_layers=2)),
    ("bidirectional", dict(input=3, hidden=5, T=5, N=2, bidirectional=True)),
    ("layers3_bidirectional", dict(input=4, hidden=3, T=5, N=2, num_layers=3, bidirectional=True)),
    ("layers2_bidirectional_no_bias_batch_first",
     dict(input=2, hidden=3, T=4, N=3, num_layers=2, bidirectional=True, bias=False, batch_first=True)),
    ("lengths", dict(input=3, hidden=4, T=6, N=4, lengths=[3, 6, 1, 5])),
    ("lengths_below_T", dict(input=2, hidden=3, T=6, N=3, lengths=[2, 4, 1], state=False)),
    ("lengths_layers2_bidirectional",
     dict(input=3, hidden=4, T=5, N=4, num_layers=2, bidirectional=True, lengths=[1, 4, 5, 2])),
    ("lengths_layers3_batch_first",
     dict(input=3, hidden=2, T=4, N=3, num_layers=3, batch_first=True, lengths=[4, 1, 3])),
    ("input1_hidden1", dict(input=1, hidden=1, T=4, N=3)),
    ("hidden129", dict(input=2, hidden=129, T=3, N=2)),
    ("batch33", dict(input=3, hidden=4, T=3, N=33)),
    ("time1_batch1_layers2_bidirectional", dict(input=3, hidden=4, T=1, N=1, num_layers=2, bidirectional=True)),
    ("alone", dict(input=3, hidden=4, T=5, N=0)),
    ("alone_layers2_bidirectional_batch_first",
     dict(input=3, hidden=4, T=5, N=0, num_layers=2, bidirectional=True, batch_first=True)),
    ("alone_no_state", dict(input=2, hidden=3, T=4, N=0, state=False)),
]

RELU_CASES = [
    ("relu_" + name, dict(options, nonlinearity="relu")) for name, options in LAYER_CASES
    if name in ("basic", "no_bias", "layers3_bidirectional", "lengths_layers2_bidirectional", "batch33")
]

PROJECTION_CASES = [
    ("proj", dict(input=3, hidden=5, T=4, N=2, proj_size=2)),
    ("proj_alone", dict(input=3, hidden=5, T=4, N=0, proj_size=2)),
    ("proj_lengths_layers2_bidirectional",
     dict(input=3, hidden=4, T=5, N=3, num_layers=2, bidirectional=True, proj_size=3, lengths=[2, 5, 3])),
]


def make_layer(options, dtype=torch.float32):
    keys = ("num_layers", "bidirectional", "bias", "batch_first", "nonlinearity", "proj_size")
    keywords = {key: options[key] for key in keys if key in options}
    return getattr(nn, options["type"])(options["input"], options["hidden"], **keywords).to(dtype)


def layer_inputs(options):
    """Weights, x, initial states and upstream gradients of a layer case."""
    T, N, hidden = options["T"], options["N"], options["hidden"]
    directions = 2 if options["bidirectional"] else 1
    rows, output = options["num_layers"] * directions, options.get("proj_size", hidden)
    steps = (N, T) if options["batch_first"] else (T, N)
    steps, batch = ((T,), ()) if N == 0 else (steps, (N,))
    inputs = {name: value.detach() for name, value in make_layer(options).named_parameters()}
    inputs["x"] = torch.randn(*steps, options["input"])
    inputs["gy"] = torch.randn(*steps, output * directions)
    states = {"h": output, "c": hidden} if options["type"] == "LSTM" else {"h": output}
    for state, size in states.items():
        if options["state"]:
            inputs[state + "0"] = torch.randn(rows, *batch, size)
        inputs["g%s_n" % state] = torch.randn(rows, *batch, size)
    if options["lengths"]:
        inputs["lengths"] = torch.tensor(options["lengths"])
    return inputs


def run_layer(options, inputs):
    """y, h_n, c_n of a layer and the gradients of sum(y*gy) + sum(h_n*gh_n) + sum(c_n*gc_n)."""
    layer = make_layer(options, inputs["x"].dtype)
    layer.load_state_dict({name: inputs[name] for name in layer.state_dict()})
    leaves = {name: leaf(inputs[name]) for name in ("x", "h0", "c0") if name in inputs}
    x, state = leaves["x"], leaves.get("h0")
    if "c0" in leaves:
        state = (state, leaves["c0"])
    batch_first = options["batch_first"]
    if "lengths" in inputs:
        packed = pack_padded_sequence(x, inputs["lengths"], batch_first, enforce_sorted=False)
        packed, state = layer(packed, state)
        y, _ = pad_packed_sequence(packed, batch_first, total_length=options["T"])
    else:
        y, state = layer(x, state)
    states = dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,)))
    results = dict(states, y=y)
    loss = sum((value * inputs["g" + name]).sum() for name, value in results.items())
    return dict(results, **gradients(loss, dict(layer.named_parameters(), **leaves)))


def cell_inputs(options):
    batch, hidden = (options["N"],) if options["N"] else (), options["hidden"]
    cell = getattr(nn, options["type"])(options["input"], hidden)
    inputs = {name: value.detach() for name, value in cell.named_parameters()}
    inputs["x"] = torch.randn(*batch, options["input"])
    for state in ("h", "c") if options["type"] == "LSTMCell" else ("h",):
        inputs[state + "0"], inputs["g%s_n" % state] = torch.randn(*batch, hidden), torch.randn(*batch, hidden)
    return inputs


def run_cell(options, inputs):
    """One step of a cell: h_n, c_n and the gradients of sum(h_n*gh_n) + sum(c_n*gc_n)."""
    cell = getattr(nn, options["type"])(options["input"], options["hidden"]).to(inputs["x"].dtype)
    cell.load_state_dict({name: inputs[name] for name in cell.state_dict()})
    leaves = {name: leaf(inputs[name]) for name in ("x", "h0", "c0") if name in inputs}
    state = (leaves["h0"], leaves["c0"]) if "c0" in leaves else leaves["h0"]
    state = cell(leaves["x"], state)
    results = dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,)))
    loss = sum((value * inputs["g" + name]).sum() for name, value in results.items())
    return dict(results, **gradients(loss, dict(cell.named_parameters(), **leaves)))


def record_recurrent(kind, extra_cases):
    """All cases of one layer type (RNN, LSTM or GRU) and of its cell."""
    recording = Recording(kind.lower(), "nn.%s and nn.%sCell: forward and gradients" % (kind, kind))
    for name, changes in LAYER_CASES + extra_cases:
        options = dict(LAYER, type=kind, state=True, lengths=[], **({"nonlinearity": "tanh"} if kind == "RNN" else {}))
        options.update(changes)
        seed(kind, name)
        inputs = layer_inputs(options)
        described = dict(options, lengths=bool(options["lengths"]))
        recording.case(name, described, inputs, functools.partial(run_layer, options))
    for name, N in (("cell", 4), ("cell_alone", 0)):
        options = dict(type=kind + "Cell", input=3, hidden=5, N=N)
        seed(kind, name)
        recording.case(name, options, cell_inputs(options), functools.partial(run_cell, options))
    return recording


# ---- optimizers ------------------------------------------------------------------------------------------

OPTIMIZER_STEPS, OPTIMIZER_STORED = 25, (1, 5, 25)

OPTIMIZER_CASES = [
    ("sgd", "SGD", dict(lr=0.1)),
    ("sgd_momentum", "SGD", dict(lr=0.05, momentum=0.9)),
    ("sgd_dampening", "SGD", dict(lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.1)),
    ("sgd_nesterov", "SGD", dict(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01)),
    ("rmsprop", "RMSprop", dict(lr=0.01)),
    ("rmsprop_centered", "RMSprop", dict(lr=0.01, alpha=0.9, centered=True)),
    ("rmsprop_momentum", "RMSprop", dict(lr=0.01, momentum=0.9, weight_decay=0.05, eps=1e-4)),
    ("rmsprop_centered_momentum", "RMSprop", dict(lr=0.01, alpha=0.95, momentum=0.5, centered=True)),
    ("adam", "Adam", dict(lr=0.02)),
    ("adam_betas", "Adam", dict(lr=0.02, betas=(0.8, 0.95))),
    ("adam_weight_decay", "Adam", dict(lr=0.02, weight_decay=0.1)),
    ("adam_amsgrad", "Adam", dict(lr=0.02, betas=(0.9, 0.9), amsgrad=True)),
    ("adam_eps", "Adam", dict(lr=0.02, eps=0.5)),
    ("adamw", "AdamW", dict(lr=0.02)),
    ("adamw_weight_decay", "AdamW", dict(lr=0.02, weight_decay=0.3)),
    ("adamw_amsgrad", "AdamW", dict(lr=0.02, betas=(0.9, 0.9), amsgrad=True)),
    ("adagrad", "Adagrad", dict(lr=0.1)),
    ("adagrad_decay", "Adagrad", dict(lr=0.1, lr_decay=0.05, weight_decay=0.1, initial_accumulator_value=0.5)),
    ("adadelta", "Adadelta", dict(lr=1.0)),
    ("adadelta_weight_decay", "Adadelta", dict(lr=0.5, rho=0.8, eps=1e-4, weight_decay=0.1)),
]


def run_optimizer(kind, options, inputs):
    """The parameters after some of the steps, step k (from 1) taking row k-1 of the recorded gradients."""
    params = {name: leaf(inputs["param." + name]) for name in ("a", "b")}
    optimizer = getattr(torch.optim, kind)(params.values(), **options)
    results = {}
    for step in range(1, OPTIMIZER_STEPS + 1):
        for name, param in params.items():
            param.grad = inputs["grads." + name][step - 1].clone()
        optimizer.step()
        if step in OPTIMIZER_STORED:
            results.update(("step%d.%s" % (step, name), param.detach().clone()) for name, param in params.items())
    return results


def record_optimizers():
    """The size of the gradients varies from step to step, so that amsgrad's maximum matters."""
    recording = Recording("optim", "optimizers: parameters a and b after steps 1, 5 and 25", tolerance=1e-5)
    seed("optim")
    sizes = (2 * torch.rand(OPTIMIZER_STEPS) - 1).exp()
    inputs = {
        "param.a": torch.randn(5, 3), "param.b": torch.randn(4),
        "grads.a": torch.randn(OPTIMIZER_STEPS, 5, 3) * sizes.view(-1, 1, 1),
        "grads.b": torch.randn(OPTIMIZER_STEPS, 4) * sizes.view(-1, 1),
    }
    for name, tensor in inputs.items():
        recording.put(name, tensor)
    for name, kind, options in OPTIMIZER_CASES:
        described = {key: value for key, value in options.items() if key != "betas"}
        described.update(zip(("beta1", "beta2"), options.get("betas", ())))
        compute = functools.partial(run_optimizer, kind, options)
        recording.case(name, dict(type=kind, **described), inputs, compute, store_inputs=False)
    return recording


# ---- a language model in training ------------------------------------------------------------------------

LM = dict(V=20, embedding=12, hidden=16, num_layers=2, T=10, N=4, steps=40, lr=2e-3, clip=0.05)


class CharLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(LM["V"], LM["embedding"])
        self.rnn = nn.LSTM(LM["embedding"], LM["hidden"], LM["num_layers"])
        self.head = nn.Linear(LM["hidden"], LM["V"])

    def forward(self, ids, state):
        y, state = self.rnn(self.embed(ids), state)
        return self.head(y), state


def lm_tokens():
    """(steps*T + 1, N) ids, each column a stream: mostly 3*previous + 1 (mod V), now and then any id."""
    tokens = torch.randint(LM["V"], (LM["steps"] * LM["T"] + 1, LM["N"]))
    jump = torch.rand(tokens.shape) < 0.2
    for t in range(1, len(tokens)):
        tokens[t] = torch.where(jump[t], tokens[t], (3 * tokens[t - 1] + 1) % LM["V"])
    return tokens


def run_lm(inputs):
    """Loss and total gradient norm (before clipping) of each training step, and the weights at the end."""
    model = CharLM().to(inputs["init.embed.weight"].dtype)
    model.load_state_dict({name: inputs["init." + name] for name in model.state_dict()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LM["lr"])
    state, losses, norms = None, [], []
    for step in range(LM["steps"]):
        window = inputs["tokens"][step * LM["T"]:(step + 1) * LM["T"] + 1]
        optimizer.zero_grad()
        logits, state = model(window[:-1], state)
        loss = F.cross_entropy(logits.flatten(0, 1), window[1:].flatten())
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), LM["clip"])
        optimizer.step()
        state = tuple(part.detach() for part in state)
        losses.append(loss.detach())
        norms.append(norm)
    final = {"final." + name: value.detach() for name, value in model.state_dict().items()}
    return dict(final, loss=torch.stack(losses), total_norm=torch.stack(norms))


def record_lm():
    recording = Recording("lm", "a character model in training; token ids count from 0; batch k (from 0) is rows "
                          "k*T .. k*T+T-1 of tokens, its targets are one row later", tolerance=5e-4)
    seed("lm")
    inputs = {"init." + name: value.detach().clone() for name, value in CharLM().state_dict().items()}
    inputs["tokens"] = lm_tokens()
    recording.case("lm", LM, inputs, run_lm, prefix="")
    assert recording.tensors["total_norm"].min() > 1.2 * LM["clip"], "clipping is not active on every step"
    return recording


# ---- single ops ------------------------------------------------------------------------------------------

def op_case(recording, name, options, function, constants=None, **leaves):
    """Record y = function(leaves and constants) and, through an upstream gradient gy, the gradients of the leaves."""
    constants = constants or {}
    inputs = dict(leaves, **constants)
    inputs["gy"] = torch.randn(function(**leaves, **constants).shape)

    def compute(inputs):
        variables = {key: leaf(inputs[key]) for key in leaves}
        y = function(**variables, **{key: inputs[key] for key in constants})
        return dict(gradients((y * inputs["gy"]).sum(), variables), y=y)

    recording.case(name, options, inputs, compute)


def record_normalisations(recording):
    """layer_norm, softmax, log_softmax, logsumexp, std, var. `dim` counts from 0."""
    seed("ops", "normalisations")
    for name, shape, affine, eps in (("layer_norm", (5,), True, 1e-5), ("layer_norm_plain", (5,), False, 1e-5),
                                     ("layer_norm_2d", (3, 5), True, 1e-2)):
        leaves = {"x": 2 * torch.randn(2, 3, 5) + 1}
        if affine:
            leaves.update(weight=torch.randn(shape), bias=torch.randn(shape))
        op_case(recording, name, dict(op="layer_norm", axes=len(shape), eps=eps),
                lambda x, weight=None, bias=None: F.layer_norm(x, shape, weight, bias, eps), **leaves)
    for op in ("softmax", "log_softmax", "logsumexp"):
        for dim in (0, 1, -1):
            name = "%s_dim%s" % (op, dim if dim >= 0 else "_last")
            op_case(recording, name, dict(op=op, dim=dim), lambda x: getattr(torch, op)(x, dim),
                    x=3 * torch.randn(3, 4, 2))
        large = torch.tensor([[1000.0, 1001.0, 999.5], [-1000.0, -1001.0, -999.5], [-80.0, 0.0, 80.0]])
        op_case(recording, op + "_large", dict(op=op, dim=-1), lambda x: getattr(torch, op)(x, -1), x=large)
    for op in ("std", "var"):
        for unbiased in (True, False):
            suffix = "" if unbiased else "_biased"
            op_case(recording, op + suffix, dict(op=op, dim=1, unbiased=unbiased),
                    lambda x: getattr(torch, op)(x, 1, unbiased), x=torch.randn(3, 5) + 2)
        op_case(recording, op + "_all", dict(op=op, unbiased=True), lambda x: getattr(torch, op)(x),
                x=torch.randn(3, 5) + 2)


def record_activations(recording):
    seed("ops", "activations")
    x = torch.cat([3 * torch.randn(14), torch.tensor([-25.0, -9.0, 0.0, 9.0, 19.5, 25.0])])
    for name, options, function in (
            ("gelu", dict(op="gelu", approximate="none"), F.gelu),
            ("gelu_tanh", dict(op="gelu", approximate="tanh"), functools.partial(F.gelu, approximate="tanh")),
            ("softplus", dict(op="softplus", beta=1, threshold=20), F.softplus),
            ("softplus_beta2", dict(op="softplus", beta=2, threshold=10),
             functools.partial(F.softplus, beta=2, threshold=10)),
            ("elu", dict(op="elu", alpha=1), F.elu),
            ("elu_alpha", dict(op="elu", alpha=0.5), functools.partial(F.elu, alpha=0.5)),
            ("silu", dict(op="silu"), F.silu)):
        op_case(recording, name, options, lambda x: function(x), x=x)


def record_embedding(recording):
    """Ids count from 0 and repeat, so that gradients add up."""
    seed("ops", "embedding")
    for name, padding in (("embedding", None), ("embedding_padding", 2)):
        options = dict(op="embedding") if padding is None else dict(op="embedding", padding_idx=padding)
        ids = torch.tensor([[0, 6, 2, 2], [3, 2, 0, 5], [2, 1, 3, 0]])
        op_case(recording, name, options, lambda weight, ids: F.embedding(ids, weight, padding),
                constants=dict(ids=ids), weight=torch.randn(7, 3))


CROSS_ENTROPY_CASES = [
    ("mean", {}), ("sum", dict(reduction="sum")), ("none", dict(reduction="none")),
    ("ignore", dict(ignore_index=-100)), ("ignore_class", dict(ignore_index=2)),
    ("ignore_none", dict(ignore_index=2, reduction="none")),
    ("smoothing", dict(label_smoothing=0.1)), ("smoothing_sum", dict(label_smoothing=0.3, reduction="sum")),
    ("weight", dict(weight=True)), ("weight_none", dict(weight=True, reduction="none")),
    ("all", dict(weight=True, ignore_index=2, label_smoothing=0.2)),
    ("all_none", dict(weight=True, ignore_index=2, label_smoothing=0.2, reduction="none")),
]


def record_cross_entropy(recording):
    """logits (T, N, C), targets (T, N) counting from 0; ignore_index is compared with these zero-based targets."""
    seed("ops", "cross_entropy")
    plain = torch.tensor([[0, 4, 2], [2, 1, 3]])
    padded = torch.tensor([[0, -100, 2], [2, 1, -100]])
    for name, options in CROSS_ENTROPY_CASES:
        keywords = {key: value for key, value in options.items() if key != "weight"}
        constants = dict(targets=padded if options.get("ignore_index") == -100 else plain)
        if options.get("weight"):
            constants["weight"] = torch.rand(5) + 0.2

        def function(logits, targets, weight=None):
            y = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), weight, **keywords)
            return y.view(targets.shape) if keywords.get("reduction") == "none" else y

        described = dict(dict(op="cross_entropy", reduction="mean", weight=False), **options)
        op_case(recording, "cross_entropy_" + name, described, function, constants, logits=2 * torch.randn(2, 3, 5))


def record_losses(recording):
    """smooth_l1 and binary cross entropy with logits."""
    seed("ops", "losses")
    for reduction in ("mean", "sum", "none"):
        for suffix, beta in (("", 1.0), ("_half", 0.5)):
            options = dict(op="smooth_l1", beta=beta, reduction=reduction)
            op_case(recording, "smooth_l1_%s%s" % (reduction, suffix), options,
                    lambda x, target: F.smooth_l1_loss(x, target, beta=beta, reduction=reduction),
                    x=2 * torch.randn(3, 4), target=torch.randn(3, 4))
    for reduction in ("mean", "sum", "none"):
        for suffix, names in (("", ()), ("_weight", ("weight",)), ("_pos_weight", ("weight", "pos_weight"))):
            constants = {"target": torch.rand(3, 4).round()}
            constants["target"][0, 0] = 0.3
            constants.update((name, torch.rand(4) + 0.5) for name in names)
            x = 3 * torch.randn(3, 4)
            x[0, 1], x[1, 0] = 60, -60

            def function(x, target, weight=None, pos_weight=None):
                return F.binary_cross_entropy_with_logits(x, target, weight, None, None, reduction, pos_weight)

            options = dict(op="bce_with_logits", reduction=reduction)
            op_case(recording, "bce_with_logits_%s%s" % (reduction, suffix), options, function, constants, x=x)


# reduction, blank, zero_infinity, whether the second target is longer than its input allows
CTC_CASES = [
    ("mean", "mean", 0, False, False), ("sum", "sum", 0, False, False), ("none", "none", 0, False, False),
    ("blank_last", "none", 4, False, False), ("impossible_zeroed", "none", 0, True, True),
    ("impossible_zeroed_mean", "mean", 0, True, True),
]


def record_ctc(recording):
    """log_probs = log_softmax(logits) (T, N, C), targets (N, S) padded and counting from 0, as is the blank.

    Gradients are those of the logits: what PyTorch returns for log_probs is already the gradient before the
    log_softmax and differs from the true one by a term that log_softmax's backward removes.
    """
    T, N, C = 8, 4, 5
    seed("ops", "ctc_loss")
    labels = torch.tensor([[1, 3, 2], [2, 2, 1], [3, 1, 1], [1, 2, 3]])  # repeats, padding, and an empty target
    target_lengths = torch.tensor([3, 3, 1, 0])
    for name, reduction, blank, zero_infinity, impossible in CTC_CASES:
        constants = dict(targets=labels if blank == 0 else labels - 1, target_lengths=target_lengths,
                         input_lengths=torch.tensor([8, 3 if impossible else 6, 4, 5]))

        def function(logits, targets, input_lengths, target_lengths):
            log_probs = logits.log_softmax(-1)
            return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)

        options = dict(op="ctc_loss", blank=blank, reduction=reduction, zero_infinity=zero_infinity)
        op_case(recording, "ctc_loss_" + name, options, function, constants, logits=torch.randn(T, N, C))

    def infinite(inputs):  # the gradient of an infinite loss means nothing and is not recorded
        log_probs = inputs["logits"].log_softmax(-1)
        lengths = inputs["input_lengths"], inputs["target_lengths"]
        return {"y": F.ctc_loss(log_probs, inputs["targets"], *lengths, blank=0, reduction="none")}

    inputs = dict(logits=torch.randn(T, N, C), targets=labels, target_lengths=target_lengths,
                  input_lengths=torch.tensor([8, 3, 4, 5]))
    options = dict(op="ctc_loss", blank=0, reduction="none", zero_infinity=False)
    recording.case("ctc_loss_impossible", options, inputs, infinite)


def record_ops():
    """The tolerance is that of logsumexp's gradient exp(x - y) where y is near 1000 and so rounded to 3e-5."""
    recording = Recording("ops", "single ops and losses; dim, ids, targets and blank count from 0", tolerance=2e-5)
    for record in (record_normalisations, record_activations, record_embedding, record_cross_entropy,
                   record_losses, record_ctc):
        record(recording)
    return recording


# ---- indexing, einsum and promotion ----------------------------------------------------------------------

EINSUM_CASES = [
    ("tnd,hd->tnh", (3, 2, 4), (5, 4)), ("ij,jk", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    ("...ij,...kj->...ik", (2, 1, 3, 4), (3, 2, 4)), ("i,j->ij", (3,), (4,)), ("ij,ij->i", (3, 4), (3, 4)),
    ("ii->i", (4, 4)), ("ii", (4, 4)), ("bii->b", (2, 3, 3)), ("ij->", (2, 3)), ("ba", (2, 3)), ("aB", (2, 3)),
    ("i...->...", (3, 2, 2)), ("...", (2, 3)), ("ij,kj->ik", (2, 3), (4, 1)), ("ijk,jk->", (2, 3, 4), (3, 4)),
    ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 2)), ("ab,ab,b->a", (2, 3), (2, 3), (3,)), ("iji,j->i", (3, 2, 3), (2,)),
    ("b...d,ed->b...e", (2, 3, 2, 4), (5, 4)), ("ij,k->ijk", (2, 3), (2,)), ("ijk,jil->kl", (2, 3, 4), (3, 2, 5)),
]


def record_einsum(recording):
    seed("indexing", "einsum")
    for number, (equation, *shapes) in enumerate(EINSUM_CASES):
        leaves = {"abc"[i]: torch.randn(shape) for i, shape in enumerate(shapes)}
        op_case(recording, "einsum_%d" % number, dict(op="einsum", equation=equation),
                lambda **operands: torch.einsum(equation, *operands.values()), **leaves)


def written(x, index, value):
    y = x.clone()
    y[index] = value
    return y


def record_indexing(recording):
    """ids count from 0, masks are int64."""
    seed("indexing", "index")
    ids, other = torch.tensor([[2, 0], [1, 1]]), torch.tensor([3, 1])
    mask, rows = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0], [1, 0, 0, 0]]), torch.tensor([1, 0, 1])
    places = torch.tensor([[0, 2, 2], [1, 1, 0]])
    x, y = (3, 4), (3, 4, 2)
    for name, shape, value, constants, function in (
            ("index", y, None, dict(ids=ids), lambda x, ids: x[ids]),
            ("index_dim", y, None, dict(ids=ids), lambda x, ids: x[:, ids]),
            ("index_pair", y, None, dict(ids=ids, other=other), lambda x, ids, other: x[ids, other]),
            ("index_apart", y, None, dict(ids=ids, other=other), lambda x, ids, other: x[ids, :, other % 2]),
            ("index_mask", y, None, dict(mask=mask), lambda x, mask: x[mask.bool()]),
            ("index_rows", y, None, dict(mask=rows), lambda x, mask: x[mask.bool(), 1:3]),
            ("put", y, (2, 4, 2), dict(ids=other % 3), lambda x, value, ids: written(x, ids, value)),
            ("put_mask", y, (5, 2), dict(mask=mask), lambda x, value, mask: written(x, mask.bool(), value)),
            ("put_rows", y, (4, 1), dict(mask=rows), lambda x, value, mask: written(x, mask.bool(), value)),
            ("masked_select", y, None, dict(mask=rows[:2]), lambda x, mask: x.masked_select(mask.bool())),
            ("index_add", x, (2, 4), dict(ids=ids[1]), lambda x, value, ids: x.index_add(0, ids, value, alpha=-2)),
            ("index_copy", x, (3, 2), dict(ids=other), lambda x, value, ids: x.index_copy(1, ids, value)),
            ("index_fill", x, None, dict(ids=other), lambda x, ids: x.index_fill(1, ids, 0.5)),
            ("scatter", x, (2, 3), dict(ids=places), lambda x, value, ids: x.scatter(0, ids, value)),
            ("scatter_add", x, (2, 3), dict(ids=places), lambda x, value, ids: x.scatter_add(1, ids, value)),
            ("repeat_interleave", x, None, dict(ids=rows + 1), lambda x, ids: x.repeat_interleave(ids, 0)),
            ("masked_scatter", x, (2, 4), dict(mask=mask), lambda x, value, mask: x.masked_scatter(mask.bool(), value))):
        leaves = {"x": torch.randn(shape)}
        if value is not None:
            leaves["value"] = torch.randn(value)
        op_case(recording, name, dict(op=name), function, constants, **leaves)


def record_functions(recording):
    seed("indexing", "functions")
    for name in ("tan", "atan", "sinh", "cosh", "erf", "exp2", "trunc", "frac"):
        op_case(recording, name, dict(op=name), getattr(torch, name), input=torch.randn(12))
    for name in ("log2", "log10"):
        op_case(recording, name, dict(op=name), getattr(torch, name), input=torch.rand(12) + 0.1)
    for name in ("asin", "acos"):
        op_case(recording, name, dict(op=name), getattr(torch, name), input=1.8 * torch.rand(12) - 0.9)
    for name, function in (("atan2", torch.atan2), ("lerp", lambda input, other: torch.lerp(input, other, 0.3)),
                           ("cosine_similarity", lambda input, other: F.cosine_similarity(input, other))):
        op_case(recording, name, dict(op=name), function, input=torch.randn(3, 4), other=torch.randn(3, 4))
    for name, function in (("tril", lambda input: input.tril(-1)), ("triu", lambda input: input.triu(1)),
                           ("diagonal", lambda input: input.diagonal(1, 0, 2)), ("diff", lambda input: input.diff(2, 1)),
                           ("median", lambda input: input.median(2)[0]), ("roll", lambda input: input.roll((1, -1), (0, 2))),
                           ("pad", lambda input: F.pad(input, (1, 0, 2, 1), value=0.5))):
        op_case(recording, name, dict(op=name), function, input=torch.randn(3, 4, 4))
    op_case(recording, "clamp", dict(op="clamp"), lambda input, low, high: torch.clamp(input, low, high),
            input=torch.randn(3, 4), low=torch.randn(4) - 0.5, high=torch.randn(3, 1) + 0.5)
    for name in ("var_mean", "std_mean"):
        op_case(recording, name, dict(op=name), lambda input: torch.add(*getattr(torch, name)(input, 1)),
                input=torch.randn(3, 4))


DTYPES = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64]
PAIRED = ["add", "sub", "mul", "div", "pow", "remainder", "floor_divide", "maximum", "minimum", "atan2", "eq", "where"]


def promoted(op, a, b):
    """Number of the result's dtype in DTYPES, or -1 when the two do not go together."""
    try:
        function = getattr(torch, op)
        return DTYPES.index((function(torch.ones(2) > 0, a, b) if op == "where" else function(a, b)).dtype)
    except RuntimeError:
        return -1


def record_promotion(recording):
    """promotion.OP (form, left, right): both with a dimension, right without, left without; promotion.OP.number (kind, dtype):
    beside an integer and a float."""
    forms = [((2,), (2,)), ((2,), ()), ((), (2,))]
    for op in PAIRED:
        recording.put("promotion." + op, torch.tensor([[[
            promoted(op, torch.ones(left, dtype=a), torch.ones(right, dtype=b)) for b in DTYPES] for a in DTYPES]
            for left, right in forms]))
        if op not in ("maximum", "minimum", "atan2", "where"):
            recording.put("promotion.%s.number" % op, torch.tensor([
                [promoted(op, torch.ones(2, dtype=a), number) for a in DTYPES] for number in (1, 1.5)]))


def record_index():
    recording = Recording("indexing", "einsum, reading and writing by index, and dtypes of two operands; all count from 0",
                          tolerance=2e-5)
    for record in (record_einsum, record_indexing, record_functions, record_promotion):
        record(recording)
    return recording


# ---- layer normalisation within cells, attention, convolution ---------------------------------------------

def layer_norm_lstm_step(w, x, state, eps):
    """Ba, Kiros, Hinton 2016, supplement, gates i f g o; both norms take all four parts together."""
    h, c = state
    hidden = h.shape[-1]
    gates = (F.layer_norm(x @ w["weight_ih"].t(), (4 * hidden,), w["gain_ih"], w["bias_ih"], eps)
             + F.layer_norm(h @ w["weight_hh"].t(), (4 * hidden,), w["gain_hh"], w["bias_hh"], eps))
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * F.layer_norm(c, (hidden,), w["gain_c"], w["bias_c"], eps).tanh(), c


def layer_norm_gru_step(w, x, state, eps):
    """The same supplement; r and z are normalised together, n by itself; z is the part that is kept."""
    h, = state
    hidden = h.shape[-1]

    def norms(value, side):
        gain, bias = w["gain_" + side], w["bias_" + side]
        products = value @ w["weight_" + side].t()
        cut = 2 * hidden
        return (F.layer_norm(products[:, :cut], (cut,), gain[:cut], bias[:cut], eps),
                F.layer_norm(products[:, cut:], (hidden,), gain[cut:], bias[cut:], eps))

    (x_rz, x_n), (h_rz, h_n) = norms(x, "ih"), norms(h, "hh")
    r, z = (x_rz + h_rz).sigmoid().chunk(2, -1)
    n = (x_n + r * h_n).tanh()
    return (1 - z) * n + z * h,


def layer_norm_sizes(kind, D, H):
    rows = (4 if kind == "LSTM" else 3) * H
    sizes = dict(weight_ih=(rows, D), weight_hh=(rows, H), bias_ih=(rows,), bias_hh=(rows,), gain_ih=(rows,),
                 gain_hh=(rows,))
    return dict(sizes, gain_c=(H,), bias_c=(H,)) if kind == "LSTM" else sizes


def run_layer_norm(kind, suffixes, inputs, eps=1e-5):
    """One layer, forward or in both directions: y, the last states, and all gradients."""
    leaves = {name: leaf(value) for name, value in inputs.items() if not name.startswith("g") or "gain" in name}
    x, outputs, last = leaves["x"], [], {"h_n": [], "c_n": []}
    for row, suffix in enumerate(suffixes):
        w = {name[:-len(suffix)]: value for name, value in leaves.items() if name.endswith(suffix)}
        state = tuple(leaves[name][row] for name in ("h0", "c0") if name in leaves)
        step, hs = layer_norm_lstm_step if kind == "LSTM" else layer_norm_gru_step, {}
        for t in range(len(x)) if row == 0 else reversed(range(len(x))):
            state = step(w, x[t], state, eps)
            hs[t] = state[0]
        outputs.append(torch.stack([hs[t] for t in range(len(x))]))
        for name, value in zip(last, state):
            last[name].append(value)
    results = {name: torch.stack(values) for name, values in last.items() if values}
    results["y"] = torch.cat(outputs, -1)
    loss = sum((value * inputs["g" + name]).sum() for name, value in results.items())
    return dict(results, **gradients(loss, leaves))


def record_layer_norm(recording):
    T, N, D, H = 5, 3, 3, 4
    for kind in ("LSTM", "GRU"):
        for suffixes in (("_l0",), ("_l0", "_l0_reverse")):
            name = "layer_norm_%s%s" % (kind.lower(), "_bidirectional" if len(suffixes) == 2 else "")
            seed("nn", name)
            inputs = {}
            for suffix in suffixes:
                for part, size in layer_norm_sizes(kind, D, H).items():
                    inputs[part + suffix] = 0.5 * torch.randn(size) + (1 if "gain" in part else 0)
            inputs["x"] = torch.randn(T, N, D)
            inputs["gy"] = torch.randn(T, N, H * len(suffixes))
            for state in ("h", "c") if kind == "LSTM" else ("h",):
                inputs[state + "0"], inputs["g%s_n" % state] = torch.randn(2, len(suffixes), N, H)
            options = dict(type="LayerNorm" + kind, input=D, hidden=H, bidirectional=len(suffixes) == 2)
            compute = functools.partial(run_layer_norm, kind, suffixes)
            recording.case(name, options, inputs, compute)


# name, then what differs: kdim and vdim, masks, options of the call
MULTIHEAD_CASES = [
    ("mha_self", dict(self_attention=True)), ("mha_cross", dict()), ("mha_no_bias", dict(bias=False)),
    ("mha_padding", dict(padding=True)), ("mha_causal", dict(self_attention=True, causal=True)),
    ("mha_float_mask", dict(float_mask=True, average=False)), ("mha_sizes", dict(kdim=5, vdim=3)),
    ("mha_batch_first", dict(batch_first=True, padding=True)),
    ("mha_alone", dict(alone=True)), ("mha_alone_self", dict(alone=True, self_attention=True, batch_first=True)),
    ("mha_alone_float_mask", dict(alone=True, float_mask=True, average=False)),
]


def multihead_module(options, dtype=torch.float32):
    keys = ("bias", "batch_first", "kdim", "vdim")
    return nn.MultiheadAttention(options["embed"], options["heads"],
                                 **{key: options[key] for key in keys if key in options}).to(dtype)


def run_multihead(options, inputs):
    module = multihead_module(options, inputs["query"].dtype)
    module.load_state_dict({name: inputs[name] for name in module.state_dict()})
    leaves = {name: leaf(inputs[name]) for name in ("query", "key", "value") if name in inputs}
    query = leaves["query"]
    key, value = leaves.get("key", query), leaves.get("value", query)
    mask = inputs.get("attn_mask")
    if options.get("causal"):
        mask = torch.ones(len(query), len(query), dtype=torch.bool).triu(1)
    padding = inputs["padding"].bool() if "padding" in inputs else None
    y, weights = module(query, key, value, key_padding_mask=padding, attn_mask=mask,
                        average_attn_weights=options.get("average", True))
    loss = (y * inputs["gy"]).sum() + (weights * inputs["gweights"]).sum()
    return dict(gradients(loss, dict(module.named_parameters(), **leaves)), y=y, weights=weights)


def record_multihead(recording):
    L, S, N, E, heads = 4, 5, 3, 6, 2
    for name, changes in MULTIHEAD_CASES:
        seed("nn", name)
        options = dict(dict(embed=E, heads=heads), **changes)
        inputs = {key: value.detach() for key, value in multihead_module(options).named_parameters()}
        for key in inputs:
            if key.endswith("bias"):
                inputs[key] = 0.3 * torch.randn(inputs[key].shape)
        first = options.get("batch_first", False)

        alone = options.get("alone", False)

        def padded(steps, features):
            return torch.randn(*((steps,) if alone else (N, steps) if first else (steps, N)), features)

        inputs["query"] = padded(L, E)
        keys = L if options.get("self_attention") else S
        if keys == S:
            inputs["key"], inputs["value"] = padded(S, options.get("kdim", E)), padded(S, options.get("vdim", E))
        if options.get("padding"):
            inputs["padding"] = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [1, 0, 0, 0, 1]])
        if options.get("float_mask"):
            inputs["attn_mask"] = torch.randn(heads if alone else N * heads, L, S)
        inputs["gy"] = padded(L, E)
        weights = (L, keys) if options.get("average", True) else (heads, L, keys)
        inputs["gweights"] = torch.randn(*(weights if alone else (N,) + weights))
        recording.case(name, options, inputs, functools.partial(run_multihead, options))


def additive_attention(query, keys, values, w, u, v):
    scores = torch.tanh((query @ w.t()).unsqueeze(0) + keys @ u.t()) @ v  # (T, N)
    return (scores.softmax(0).unsqueeze(-1) * values).sum(0)


def record_attention(recording):
    """Bahdanau et al. 2015 and Luong et al. 2015, for one query (N, Q) over keys (T, N, K) and values (T, N, V)."""
    T, N, Q, K, V, H = 5, 3, 4, 6, 2, 7
    seed("nn", "attention")
    shared = dict(query=torch.randn(N, Q), keys=torch.randn(T, N, K), values=torch.randn(T, N, V))
    op_case(recording, "additive_attention", dict(type="AdditiveAttention", query=Q, key=K, hidden=H), additive_attention,
            w=torch.randn(H, Q), u=torch.randn(H, K), v=torch.randn(H), **shared)
    op_case(recording, "general_attention", dict(type="GeneralAttention", query=Q, key=K),
            lambda query, keys, values, w: torch.einsum(
                "tn,tnv->nv", torch.einsum("nq,qk,tnk->tn", query, w, keys).softmax(0), values),
            w=torch.randn(Q, K), **shared)


CONV_CASES = [
    ("conv1d", dict()), ("conv1d_stride", dict(stride=2, padding=1)), ("conv1d_dilation", dict(dilation=2, bias=False)),
    ("conv1d_groups", dict(groups=2, padding=2, stride=3)), ("conv1d_same", dict(padding="same", kernel=4)),
    ("conv1d_one", dict(kernel=1)),
]


def record_conv(recording):
    N, C, O, T = 2, 4, 6, 9
    for name, changes in CONV_CASES:
        seed("nn", name)
        options = dict(dict(kernel=3), **changes)
        keywords = {key: value for key, value in options.items() if key not in ("kernel", "bias")}
        leaves = dict(x=torch.randn(N, C, T),
                      weight=torch.randn(O, C // options.get("groups", 1), options["kernel"]))
        if options.get("bias", True):
            leaves["bias"] = torch.randn(O)
        op_case(recording, name, dict(options, type="Conv1d", channels=C, out=O),
                lambda x, weight, bias=None: F.conv1d(x, weight, bias, **keywords), **leaves)


def record_nn():
    recording = Recording("nn", "layers with normalisation inside, attention, convolution", tolerance=2e-5)
    for record in (record_layer_norm, record_multihead, record_attention, record_conv):
        record(recording)
    return recording


# ---- learning rate schedulers ----------------------------------------------------------------------------

SCHEDULER_STEPS = 30

SCHEDULER_CASES = [
    ("step", "StepLR", dict(step_size=7, gamma=0.5)),
    ("exponential", "ExponentialLR", dict(gamma=0.9)),
    ("cosine", "CosineAnnealingLR", dict(T_max=30, eta_min=0.01)),
    ("cosine_beyond", "CosineAnnealingLR", dict(T_max=12)),
    ("plateau", "ReduceLROnPlateau", dict(factor=0.5, patience=2)),
    ("plateau_abs", "ReduceLROnPlateau",
     dict(factor=0.3, patience=1, threshold=0.05, threshold_mode="abs", cooldown=2, min_lr=0.02)),
    ("plateau_max", "ReduceLROnPlateau", dict(mode="max", factor=0.5, patience=3)),
    ("warmup", "LinearWarmup", dict(steps=8)),
]


def run_scheduler(kind, options, metric):
    """31 learning rates: the one in force at first, then the one after each of 30 calls of step()."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    if kind == "LinearWarmup":
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / options["steps"], 1))
    else:
        scheduler = getattr(torch.optim.lr_scheduler, kind)(optimizer, **options)
    rates = [optimizer.param_groups[0]["lr"]]
    for step in range(SCHEDULER_STEPS):
        optimizer.step()
        scheduler.step(*([metric[step].item()] if kind == "ReduceLROnPlateau" else []))
        rates.append(optimizer.param_groups[0]["lr"])
    return torch.tensor(rates, dtype=torch.float64)


def record_schedulers():
    """`metric` falls, then wavers; ReduceLROnPlateau's k-th step() gets its k-th value."""
    recording = Recording("schedulers", "learning rates from 0.4: at first, then after each of 30 scheduler steps")
    seed("schedulers")
    steps = torch.arange(SCHEDULER_STEPS, dtype=torch.float64)
    metric = 1 + 2 * torch.exp(-steps / 5) + 0.05 * torch.randn(SCHEDULER_STEPS, dtype=torch.float64)
    recording.put("metric", metric)
    for name, kind, options in SCHEDULER_CASES:
        described = dict(type=kind, lr=0.4, **options)
        recording.case(name, described, {}, lambda _: {"lr": run_scheduler(kind, options, metric)})
    return recording


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    torch.set_num_threads(1)
    from record_functions import record_functions  # which imports this file
    for recording in (record_recurrent("RNN", RELU_CASES), record_recurrent("LSTM", PROJECTION_CASES),
                      record_recurrent("GRU", []), record_optimizers(), record_lm(), record_ops(), record_index(),
                      record_nn(), record_schedulers(), record_functions()):
        assert all(math.isfinite(json.loads(recording.metadata[name])["deviation"]) for name in recording.cases)
        recording.write(directory)


if __name__ == "__main__":
    main()
