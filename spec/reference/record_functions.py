"""Losses with margins, likelihoods, distances, running extremes and ranges with a step; record.py writes them.

dim, targets and positions count from 0. `first`, `last` (included) and `step` are those of a range.
"""

import torch
import torch.nn.functional as F

from record import Recording, op_case, seed


def signs(*shape):
    return torch.randint(0, 2, shape).float() * 2 - 1


REDUCTIONS = ("mean", "sum", "none")


def each_reduction(recording, name, options, function, constants=None, **leaves):
    """One case for each reduction, which function takes by name."""
    for reduction in REDUCTIONS:
        op_case(recording, "%s_%s" % (name, reduction), dict(options, reduction=reduction),
                lambda **inputs: function(**inputs, reduction=reduction), constants, **leaves)


def record_margins(recording):
    seed("functions", "margins")
    for suffix, margin in (("", 0.0), ("_margin", 0.5)):
        each_reduction(recording, "margin_ranking_loss" + suffix, dict(op="margin_ranking_loss", margin=margin),
                       lambda a, b, target, reduction: F.margin_ranking_loss(a, b, target, margin, reduction=reduction),
                       dict(target=signs(3, 4)), a=torch.randn(3, 4), b=torch.randn(3, 4))
    for suffix, margin in (("", 1.0), ("_margin", 0.3)):
        each_reduction(recording, "hinge_embedding_loss" + suffix, dict(op="hinge_embedding_loss", margin=margin),
                       lambda a, target, reduction: F.hinge_embedding_loss(a, target, margin, reduction=reduction),
                       dict(target=signs(3, 4)), a=2 * torch.rand(3, 4))
    each_reduction(recording, "soft_margin_loss", dict(op="soft_margin_loss"),
                   lambda a, target, reduction: F.soft_margin_loss(a, target, reduction=reduction),
                   dict(target=signs(3, 4)), a=4 * torch.randn(3, 4))
    for suffix, p, margin, weighted in (("", 1, 1.0, False), ("_squared", 2, 0.7, True)):
        constants = dict(target=torch.tensor([0, 4, 2, 2]))
        if weighted:
            constants["weight"] = torch.rand(5) + 0.2

        def multi(a, target, reduction, weight=None):
            return F.multi_margin_loss(a, target, p, margin, weight, reduction=reduction)

        each_reduction(recording, "multi_margin_loss" + suffix, dict(op="multi_margin_loss", p=p, margin=margin), multi,
                       constants, a=torch.randn(4, 5))
    for suffix, margin, p, swap in (("", 1.0, 2.0, False), ("_swap", 2.0, 2.0, True), ("_p3", 0.5, 3.0, True),
                                    ("_p1", 1.0, 1.0, False)):
        each_reduction(recording, "triplet_margin_loss" + suffix,
                       dict(op="triplet_margin_loss", margin=margin, p=p, swap=swap),
                       lambda a, b, c, reduction: F.triplet_margin_loss(a, b, c, margin, p, swap=swap,
                                                                        reduction=reduction),
                       a=torch.randn(5, 4), b=torch.randn(5, 4), c=torch.randn(5, 4))
    for suffix, margin in (("", 0.0), ("_margin", 0.3)):
        each_reduction(recording, "cosine_embedding_loss" + suffix, dict(op="cosine_embedding_loss", margin=margin),
                       lambda a, b, target, reduction: F.cosine_embedding_loss(a, b, target, margin,
                                                                               reduction=reduction),
                       dict(target=signs(6)), a=torch.randn(6, 3), b=torch.randn(6, 3))


def record_likelihoods(recording):
    seed("functions", "likelihoods")
    for suffix, full, shape in (("", False, (3, 4)), ("_full", True, (3, 1))):
        each_reduction(recording, "gaussian_nll_loss" + suffix, dict(op="gaussian_nll_loss", full=full, eps=1e-2),
                       lambda a, b, c, reduction: F.gaussian_nll_loss(a, b, c, full=full, eps=1e-2,
                                                                      reduction=reduction),
                       a=torch.randn(3, 4), b=torch.randn(3, 4), c=torch.rand(shape) + 0.1)
    for suffix, log_input, full in (("", True, False), ("_full", True, True), ("_plain", False, True)):
        each_reduction(recording, "poisson_nll_loss" + suffix,
                       dict(op="poisson_nll_loss", log_input=log_input, full=full, eps=1e-3),
                       lambda a, target, reduction: F.poisson_nll_loss(a, target, log_input=log_input, full=full,
                                                                       eps=1e-3, reduction=reduction),
                       dict(target=torch.randint(0, 6, (3, 4)).float()), a=torch.rand(3, 4) + 0.1)


def record_distances(recording):
    seed("functions", "distances")
    for name, p, keepdim in (("", 2.0, False), ("_p1", 1.0, True), ("_p3", 3.0, False)):
        op_case(recording, "pairwise_distance" + name, dict(op="pairwise_distance", p=p, keepdim=keepdim),
                lambda a, b: F.pairwise_distance(a, b, p, 1e-6, keepdim), a=torch.randn(2, 3, 4), b=torch.randn(3, 4))
    for dim in (0, 2):
        op_case(recording, "cosine_similarity_dim%d" % dim, dict(op="cosine_similarity", dim=dim),
                lambda a, b: F.cosine_similarity(a, b, dim), a=torch.randn(3, 4, 5), b=torch.randn(3, 4, 5))
    for name, p in (("", 2.0), ("_p1", 1.0), ("_p3", 3.0), ("_max", float("inf"))):
        options = dict(op="cdist") if p == float("inf") else dict(op="cdist", p=p)
        op_case(recording, "cdist" + name, options,
                lambda a, b: torch.cdist(a, b, p, "donot_use_mm_for_euclid_dist"), a=torch.randn(2, 1, 3, 4),
                b=torch.randn(3, 5, 4))


def record_scans(recording):
    seed("functions", "scans")
    for dim in (0, 1, 2):
        op_case(recording, "logcumsumexp_dim%d" % dim, dict(op="logcumsumexp", dim=dim),
                lambda a: torch.logcumsumexp(a, dim), a=3 * torch.randn(3, 5, 4))
        for op in ("cummax", "cummin"):
            x = torch.randint(0, 4, (3, 5, 4)).float()  # equal ones among them
            positions = getattr(torch, op)(x, dim).indices
            op_case(recording, "%s_dim%d" % (op, dim), dict(op=op, dim=dim),
                    lambda a, positions: getattr(torch, op)(a, dim).values, dict(positions=positions), a=x)


def record_ranges(recording):
    seed("functions", "ranges")
    for name, dim, first, last, step in (("even", 0, 1, 6, 2), ("all", 1, 0, 4, 3), ("one", 0, 2, 3, 9)):
        place = (slice(None),) * dim + (slice(first, last + 1, step),)
        options = dict(dim=dim, first=first, last=last, step=step)
        x = torch.randn(7, 5)
        op_case(recording, "slice_" + name, dict(options, op="slice"), lambda a: a[place], a=x)

        def write(a, b):
            y = a * a
            y[place] = b * a[place]
            return y

        op_case(recording, "write_" + name, dict(options, op="write"), write, a=x, b=torch.randn(x[place].shape))


def record_functions():
    recording = Recording("functions", "losses with margins, likelihoods, distances, running extremes, ranges with a "
                          "step; dim, targets and positions count from 0")
    for record in (record_margins, record_likelihoods, record_distances, record_scans, record_ranges):
        record(recording)
    return recording
