/* What ops refuse, word for word, dimensions and positions counted from 0; most of it only a host in C can ask for.  Nothing is
 * left behind, and no output is touched. */
#include "counting.h"
#include "samples.h"

static const struct {
  const char *name, *words;
  lurn_status status;
  const char *message;
} refusals[] = {
    {"add", "- f3", LURN_EVALUE, "add: no tensor given for a"},
    {"add", "f3 f4", LURN_ESHAPE, "add: shapes (3) and (4) do not broadcast"},
    {"sub", "b3 b3", LURN_EDTYPE, "sub: not defined for bool; logical_not inverts a mask, to makes numbers of it"},
    {"eq", "f3 f4", LURN_ESHAPE, "eq: shapes (3) and (4) do not broadcast"},
    {"logical_or", "b3 b4", LURN_ESHAPE, "logical_or: shapes (3) and (4) do not broadcast"},
    {"atan2", "f3 f4", LURN_ESHAPE, "atan2: shapes (3) and (4) do not broadcast"},
    {"sqrt", "-", LURN_EVALUE, "sqrt: no tensor given for x"},
    {"abs", "b3", LURN_EDTYPE, "abs: not defined for bool"},
    {"sign", "b3", LURN_EDTYPE, "sign: not defined for bool"},
    {"trunc", "b3", LURN_EDTYPE, "trunc: not defined for bool"},
    {"frac", "l3", LURN_EDTYPE, "frac: x is int64; expected float32 or float64"},
    {"to", "f3 -1", LURN_EDTYPE, "to: there is no dtype number -1"},
    {"to", "f3 6", LURN_EDTYPE, "to: there is no dtype number 6"},
    {"copy", "f3 f4", LURN_ESHAPE, "copy: source of shape (4) does not broadcast to (3)"},
    {"copy", "f3 f2x3", LURN_ESHAPE, "copy: source of shape (2, 3) does not broadcast to (3)"},
    {"clamp", "f3 nan 1", LURN_EVALUE, "clamp: a limit is NaN"},
    {"clamp", "f3 0 nan", LURN_EVALUE, "clamp: a limit is NaN"},
    {"where", "b3 f4 f5", LURN_ESHAPE, "where: shapes (3), (4) and (5) do not broadcast"},
    {"where", "b3 f4 f4", LURN_ESHAPE, "where: shapes (3), (4) and (4) do not broadcast"},
    {"masked_fill", "f3 b3 f2", LURN_ESHAPE, "masked_fill: value has shape (2); expected a number"},
    {"view", "f4 1,1,1,1,1,1,1,1,4", LURN_ESHAPE, "view: 9 dimensions; a tensor has at most 8"},
    {"view", "f4 -1,-1", LURN_ESHAPE, "view: more than one size is -1"},
    {"view", "f4 -2,2", LURN_ESHAPE, "view: size -2 is not possible"},
    {"view", "f4 4611686018427387904,4", LURN_ESHAPE, "view: size 4 is not possible"},
    {"view", "f4 3,-1", LURN_ESHAPE, "view: (4) has 4 elements and cannot become (3, -1)"},
    {"view", "f4 0,-1", LURN_ESHAPE, "view: (4) has 4 elements and cannot become (0, 0)"},
    {"view", "f3x4:t 12", LURN_ESHAPE,
     "view: this (3, 4) lies in memory so that it cannot be seen as (12) without a copy; use reshape"},
    {"reshape", "f4 5", LURN_ESHAPE, "reshape: (4) has 4 elements and cannot become (5)"},
    {"transpose", "f3x4 2 0", LURN_EINDEX, "transpose: dimension 2 of a tensor with 2; expected 0..1 or -2..-1"},
    {"transpose", "f3x4 0 -3", LURN_EINDEX, "transpose: dimension -3 of a tensor with 2; expected 0..1 or -2..-1"},
    {"permute", "f3x4 0", LURN_ESHAPE, "permute: 1 dimensions given for a tensor with 2"},
    {"permute", "f3x4 1,1", LURN_EVALUE, "permute: dimension 1 is named twice"},
    {"permute", "f3x4 1,5", LURN_EINDEX, "permute: dimension 5 of a tensor with 2; expected 0..1 or -2..-1"},
    {"narrow", "f 0 0 1", LURN_ESHAPE, "narrow: a scalar has no range"},
    {"narrow", "f3 1 0 1", LURN_EINDEX, "narrow: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"narrow", "f3 0 2 2", LURN_EINDEX, "narrow: 2 elements from 2 in dimension 0 of size 3"},
    {"narrow", "f3 0 -4 1", LURN_EINDEX, "narrow: 1 elements from -4 in dimension 0 of size 3"},
    {"narrow", "f3 0 0 -1", LURN_EINDEX, "narrow: -1 elements from 0 in dimension 0 of size 3"},
    {"narrow", "f3 0 4 0", LURN_EINDEX, "narrow: 0 elements from 4 in dimension 0 of size 3"},
    {"slice", "f 0 0 0 1", LURN_ESHAPE, "slice: a scalar has no range"},
    {"slice", "f3 1 0 0 1", LURN_EINDEX, "slice: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"slice", "f3 0 0 3 2", LURN_EINDEX, "slice: from 0 to 3 in dimension 0 of size 3"},
    {"slice", "f3 0 4 3 2", LURN_EINDEX, "slice: from 4 to 3 in dimension 0 of size 3"},
    {"slice", "f3 0 -4 2 1", LURN_EINDEX, "slice: from -4 to 2 in dimension 0 of size 3"},
    {"slice", "f3 0 0 -5 1", LURN_EINDEX, "slice: from 0 to -5 in dimension 0 of size 3"},
    {"slice", "f3 0 2 0 1", LURN_EINDEX, "slice: from 2 to 0 in dimension 0 of size 3"},
    {"slice", "f3 0 0 2 0", LURN_EVALUE, "slice: step is 0; expected at least 1"},
    {"select", "f 0 0", LURN_ESHAPE, "select: a scalar cannot be indexed"},
    {"select", "f3 0 3", LURN_EINDEX, "select: index 3 in dimension 0 of size 3"},
    {"select", "f3 0 -4", LURN_EINDEX, "select: index -4 in dimension 0 of size 3"},
    {"select", "f3 2 0", LURN_EINDEX, "select: dimension 2 of a tensor with 1; expected 0..0 or -1..-1"},
    {"expand", "f3x4 4", LURN_ESHAPE, "expand: 1 sizes given for a tensor of shape (3, 4)"},
    {"expand", "f4 1,1,1,1,1,1,1,1,4", LURN_ESHAPE, "expand: 9 sizes given for a tensor of shape (4)"},
    {"expand", "f3 4", LURN_ESHAPE, "expand: (3) does not expand to 4 in dimension 0"},
    {"expand", "f3 -1,3", LURN_ESHAPE, "expand: negative size -1"},
    {"squeeze", "f3 1", LURN_EINDEX, "squeeze: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"unsqueeze", "f1x1x1x1x1x1x1x1 0", LURN_ESHAPE, "unsqueeze: a tensor has at most 8 dimensions"},
    {"unsqueeze", "f3 3", LURN_EINDEX, "unsqueeze: dimension 3 of a tensor with 2; expected 0..1 or -2..-1"},
    {"diagonal", "f3 0 0 1", LURN_ESHAPE,
     "diagonal: a tensor of shape (3) has no diagonal; expected at least 2 dimensions"},
    {"diagonal", "f3x4 0 1 1", LURN_EVALUE, "diagonal: dimension 1 is named twice"},
    {"diagonal", "f3x4 0 2 1", LURN_EINDEX, "diagonal: dimension 2 of a tensor with 2; expected 0..1 or -2..-1"},
    {"diagonal", "f3x4 0 1 2", LURN_EINDEX, "diagonal: dimension 2 of a tensor with 2; expected 0..1 or -2..-1"},
    {"diag", "f2x3x4 0", LURN_ESHAPE, "diag: x has shape (2, 3, 4); expected a vector or a matrix"},
    {"diag", "f3 9223372036854775807", LURN_ENOMEM, "diag: the result is larger than memory can be"},
    {"diag", "f3 -9223372036854775808", LURN_ENOMEM, "diag: the result is larger than memory can be"},
    {"diag", "f3 4611686018427387904", LURN_ENOMEM,
     "diag: a tensor of shape (4611686018427387907, 4611686018427387907) is larger than memory can be"},
    {"tril", "f3 0", LURN_ESHAPE, "tril: x has shape (3); expected at least 2 dimensions"},
    {"cat", ". 0", LURN_EVALUE, "cat: no tensors given"},
    {"cat", "f 0", LURN_ESHAPE, "cat: scalars cannot be joined; use stack"},
    {"cat", "f3;f3x4 0", LURN_ESHAPE, "cat: tensor 1 of shape (3, 4) does not join (3) along dimension 0"},
    {"cat", "f3x4;f3x5 0", LURN_ESHAPE, "cat: tensor 1 of shape (3, 5) does not join (3, 4) along dimension 0"},
    {"cat", "f3 1", LURN_EINDEX, "cat: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"stack", ". 0", LURN_EVALUE, "stack: no tensors given"},
    {"stack", "f3;f4 0", LURN_ESHAPE, "stack: tensor 1 has shape (4), the first has (3)"},
    {"stack", "f1x1x1x1x1x1x1x1 0", LURN_ESHAPE, "stack: a tensor has at most 8 dimensions"},
    {"stack", "f3;f3 2", LURN_EINDEX, "stack: dimension 2 of a tensor with 2; expected 0..1 or -2..-1"},
    {"index_select", "f3 0 l1x1 0", LURN_ESHAPE, "index_select: index has shape (1, 1); expected one dimension"},
    {"index_select", "f 0 l1 0", LURN_ESHAPE, "index_select: a scalar cannot be indexed"},
    {"index_select", "f3 0 f1 0", LURN_EDTYPE,
     "index_select: indices are float32; expected int64 or another integer type"},
    {"index_select", "f3 0 b1 0", LURN_EDTYPE,
     "index_select: indices are bool; expected int64 or another integer type"},
    {"index_select", "f3 0 l2:=3 0", LURN_EINDEX, "index_select: index 3; expected 0..2"},
    {"gather", "f3x4 0 l3 0", LURN_ESHAPE,
     "gather: index of shape (3) does not fit x of shape (3, 4): outside dimension 0 no size may be larger"},
    {"gather", "f 0 l 0", LURN_ESHAPE,
     "gather: index of shape () does not fit x of shape (): outside dimension 0 no size may be larger"},
    {"gather", "f3x4 0 l3x5 0", LURN_ESHAPE,
     "gather: index of shape (3, 5) does not fit x of shape (3, 4): outside dimension 0 no size may be larger"},
    {"sum", "f3x4 0,0 0", LURN_EVALUE, "sum: dimension 0 is named twice"},
    {"mean", "l3 . 0", LURN_EDTYPE, "mean: x is int64; expected float32 or float64"},
    {"mean", "f3 1 0", LURN_EINDEX, "mean: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"prod", "f3 1 0", LURN_EINDEX, "prod: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"amax", "f3x0 1 0", LURN_ESHAPE, "amax: no elements to choose from in shape (3, 0)"},
    {"amin", "f3 1 0", LURN_EINDEX, "amin: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"max", "f3x0 1 0 0", LURN_ESHAPE, "max: no elements to choose from in shape (3, 0)"},
    {"min", "f3 1 0 0", LURN_EINDEX, "min: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"argmin", "f3x0 1 0 0", LURN_ESHAPE, "argmin: no elements to choose from in shape (3, 0)"},
    {"argmax", "f3 1 0 0", LURN_EINDEX, "argmax: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"logsumexp", "f3 1 0", LURN_EINDEX, "logsumexp: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"logsumexp", "l3 0 0", LURN_EDTYPE, "logsumexp: x is int64; expected float32 or float64"},
    {"var", "f3 1 1 0", LURN_EINDEX, "var: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"var", "l3 . 1 0", LURN_EDTYPE, "var: x is int64; expected float32 or float64"},
    {"std", "f3 1 1 0", LURN_EINDEX, "std: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"norm", "f3 nan . 0", LURN_EVALUE, "norm: p is nan; expected a number but 0"},
    {"norm", "f3 0 . 0", LURN_EVALUE, "norm: p is 0; expected a number but 0"},
    {"norm", "f3 2 1 0", LURN_EINDEX, "norm: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"norm", "f0 inf . 0", LURN_ESHAPE, "norm: no elements to choose from in shape (0)"},
    {"topk", "f3 -1 0 1 1 0", LURN_EVALUE, "topk: k is -1; expected at least 0"},
    {"topk", "f3 4 0 1 1 0", LURN_EVALUE, "topk: k is 4, but dimension 0 has 3 elements"},
    {"sort", "f3 1 0 0", LURN_EINDEX, "sort: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"multinomial", "f 1 0 0", LURN_ESHAPE, "multinomial: p has shape (); expected (C) or (N, C)"},
    {"multinomial", "f2x2x2 1 0 0", LURN_ESHAPE, "multinomial: p has shape (2, 2, 2); expected (C) or (N, C)"},
    {"multinomial", "f3 0 0 0", LURN_EVALUE, "multinomial: n is 0; expected at least 1"},
    {"multinomial", "f3:=0 1 0 0", LURN_EVALUE, "multinomial: all weights of a row are 0"},
    {"multinomial", "f3:=-1 1 0 0", LURN_EVALUE, "multinomial: weight -1; expected finite numbers of at least 0"},
    {"multinomial", "f3 4 0 0", LURN_EVALUE,
     "multinomial: 4 draws without replacement from 3 classes of positive weight"},
    {"any", "f3 1 0", LURN_EINDEX, "any: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"all", "f3 0,0 0", LURN_EVALUE, "all: dimension 0 is named twice"},
    {"median", "f0 0 0 0", LURN_ESHAPE, "median: no elements to choose from in shape (0)"},
    {"searchsorted", "f2x2 f1 0 0", LURN_ESHAPE, "searchsorted: sorted has shape (2, 2); expected one dimension"},
    {"matmul", "f f3", LURN_ESHAPE, "matmul: () x (3): a scalar has no rows; use *"},
    {"matmul", "f2x3x4 f3x4x5", LURN_ESHAPE, "matmul: (2, 3, 4) x (3, 4, 5): the batches do not broadcast"},
    {"linear", "f4 f5 -", LURN_ESHAPE, "linear: weight has shape (5); expected (out, in)"},
    {"linear", "f f5x4 -", LURN_ESHAPE, "linear: x has shape (); expected (..., 4) for a weight of shape (5, 4)"},
    {"linear", "f3 f5x4 -", LURN_ESHAPE, "linear: x has shape (3); expected (..., 4) for a weight of shape (5, 4)"},
    {"linear", "f4 d5x4 -", LURN_EDTYPE, "linear: x is float32, weight float64, bias absent; expected all the same"},
    {"linear", "f4 f5x4 d5", LURN_EDTYPE, "linear: x is float32, weight float32, bias float64; expected all the same"},
    {"linear", "f4 f5x4 f4", LURN_ESHAPE, "linear: bias has shape (4); expected (5)"},
    {"linear", "f4 f5x4 f5x1", LURN_ESHAPE, "linear: bias has shape (5, 1); expected (5)"},
    {"softmax", "l3 0", LURN_EDTYPE, "softmax: x is int64; expected float32 or float64"},
    {"softmax", "f3 1", LURN_EINDEX, "softmax: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"dropout", "f3 -0.5 1", LURN_EVALUE, "dropout: p is -0.5; expected 0..1"},
    {"dropout", "f3 1.5 1", LURN_EVALUE, "dropout: p is 1.5; expected 0..1"},
    {"embedding", "l2:=0 f3 0", LURN_ESHAPE, "embedding: weight has shape (3); expected (classes, features)"},
    {"embedding", "l2:=0 l3x2 0", LURN_EDTYPE, "embedding: weight is int64; expected float32 or float64"},
    {"embedding", "l1x1x1x1x1x1x1x1:=0 f3x2 0", LURN_ESHAPE, "embedding: ids have 8 dimensions already"},
    {"embedding", "l2:=3 f3x2 0", LURN_EINDEX, "embedding: index 3; expected 0..2"},
    {"layer_norm", "f - - 1e-5 1", LURN_ESHAPE, "layer_norm: a scalar has no features"},
    {"layer_norm", "f3 - - -1 1", LURN_EVALUE, "layer_norm: eps is -1; expected at least 0"},
    {"layer_norm", "f3 - - 0 0", LURN_EVALUE, "layer_norm: dims is 0; expected 1..1"},
    {"layer_norm", "f3 - - 0 2", LURN_EVALUE, "layer_norm: dims is 2; expected 1..1"},
    {"layer_norm", "f3 d3 - 0 1", LURN_EDTYPE, "layer_norm: weight is float64, x is float32"},
    {"layer_norm", "f3 f3 f4 0 1", LURN_ESHAPE, "layer_norm: bias has shape (4); expected (3)"},
    {"cross_entropy", "f3x4 f3 - -100 0 1 0", LURN_EDTYPE,
     "cross_entropy: targets are float32; expected classes as int64 or another integer type"},
    {"cross_entropy", "f3x4 b3 - -100 0 1 0", LURN_EDTYPE,
     "cross_entropy: targets are bool; expected classes as int64 or another integer type"},
    {"cross_entropy", "f3x4 l3:=4 - -100 0 1 0", LURN_EINDEX, "cross_entropy: target 4; expected a class of 0..3"},
    {"cross_entropy", "f3x4 l4:=0 - -100 0 1 0", LURN_ESHAPE,
     "cross_entropy: logits have shape (3, 4) and targets (4); expected (..., C) and (...)"},
    {"cross_entropy", "f3x4 l3:=0 f3 -100 0 1 0", LURN_ESHAPE, "cross_entropy: weight has shape (3); expected (4)"},
    {"cross_entropy", "f3x4 l3:=0 f4x1 -100 0 1 0", LURN_ESHAPE,
     "cross_entropy: weight has shape (4, 1); expected (4)"},
    {"cross_entropy", "f3x4 l3:=0 d4 -100 0 1 0", LURN_EDTYPE,
     "cross_entropy: weight is float64; expected float32 like logits"},
    {"cross_entropy", "f3x4 l3:=0 - -100 -0.5 1 0", LURN_EVALUE,
     "cross_entropy: label_smoothing is -0.5; expected 0..1"},
    {"cross_entropy", "f3x4 l3:=0 - -100 2 1 0", LURN_EVALUE, "cross_entropy: label_smoothing is 2; expected 0..1"},
    {"cross_entropy", "f3x4 l3:=0 - -100 0 3 0", LURN_EVALUE,
     "cross_entropy: reduction 3; expected 0 (none), 1 (mean) or 2 (sum)"},
    {"nll_loss", "f3x4 l3:=0 - -100 -1 0", LURN_EVALUE,
     "nll_loss: reduction -1; expected 0 (none), 1 (mean) or 2 (sum)"},
    {"nll_loss", "f3x4 l3:=-1 - -100 1 0", LURN_EINDEX, "nll_loss: target -1; expected a class of 0..3"},
    {"nll_loss", "l3x4 l3:=0 - -100 1 0", LURN_EDTYPE, "nll_loss: log_probs is int64; expected float32 or float64"},
    {"mse_loss", "f3 f4 1", LURN_ESHAPE, "mse_loss: input has shape (3) and target (4); expected the same"},
    {"mse_loss", "f3 f3 5", LURN_EVALUE, "mse_loss: reduction 5; expected 0 (none), 1 (mean) or 2 (sum)"},
    {"mse_loss", "l3 f3 1", LURN_EDTYPE, "mse_loss: input is int64; expected float32 or float64"},
    {"l1_loss", "f3 f3 5", LURN_EVALUE, "l1_loss: reduction 5; expected 0 (none), 1 (mean) or 2 (sum)"},
    {"l1_loss", "l3 f3 1", LURN_EDTYPE, "l1_loss: input is int64; expected float32 or float64"},
    {"smooth_l1_loss", "f3 f3 1 -1", LURN_EVALUE, "smooth_l1_loss: beta is -1; expected a finite number of at least 0"},
    {"smooth_l1_loss", "f3 f3 1 inf", LURN_EVALUE,
     "smooth_l1_loss: beta is inf; expected a finite number of at least 0"},
    {"binary_cross_entropy_with_logits", "f3 f3 f2x3 - 1", LURN_ESHAPE,
     "binary_cross_entropy_with_logits: weight of shape (2, 3) does not broadcast to (3) of input"},
    {"binary_cross_entropy_with_logits", "f3 f3 - f2 1", LURN_ESHAPE,
     "binary_cross_entropy_with_logits: pos_weight of shape (2) does not broadcast to (3) of input"},
    {"ctc_loss", "f5x2 l2x2:=1 l2:=5 l2:=2 0 1 0 0", LURN_ESHAPE,
     "ctc_loss: log_probs have shape (5, 2); expected (T, N, C)"},
    {"ctc_loss", "f5x2x4 f2x2 l2:=5 l2:=2 0 1 0 0", LURN_EDTYPE,
     "ctc_loss: targets are float32; expected int64 or another integer type"},
    {"ctc_loss", "f5x2x4 l2x2:=1 b2 l2:=2 0 1 0 0", LURN_EDTYPE,
     "ctc_loss: input_lengths are bool; expected int64 or another integer type"},
    {"ctc_loss", "f5x2x4 l2x2:=1 l3:=5 l2:=2 0 1 0 0", LURN_ESHAPE,
     "ctc_loss: input_lengths have shape (3); expected (2)"},
    {"ctc_loss", "f5x2x4 l2x2:=1 l2:=5 l2x1:=2 0 1 0 0", LURN_ESHAPE,
     "ctc_loss: target_lengths have shape (2, 1); expected (2)"},
    {"ctc_loss", "f5x2x4 l2x2:=1 l2:=6 l2:=2 0 1 0 0", LURN_EVALUE,
     "ctc_loss: sequence 0 has input length 6; expected 0..5"},
    {"ctc_loss", "f5x2x4 l2x2:=1 l2:=5 l2:=-1 0 1 0 0", LURN_EVALUE,
     "ctc_loss: sequence 0 has target length -1; expected 0..2"},
    {"ctc_loss", "f5x2x4 l5:=1 l2:=5 l2:=2 0 1 0 0", LURN_ESHAPE,
     "ctc_loss: there are 5 targets; expected as many as all target_lengths together"},
    {"ctc_loss", "f5x2x4 l3x2:=1 l2:=5 l2:=2 0 1 0 0", LURN_ESHAPE,
     "ctc_loss: targets have shape (3, 2); expected (2, S), or one dimension with all targets in turn"},
    {"ctc_loss", "f5x2x4 l:=1 l2:=5 l2:=2 0 1 0 0", LURN_ESHAPE,
     "ctc_loss: targets have shape (); expected (2, S), or one dimension with all targets in turn"},
    {"ctc_loss", "f5x2x4 l2x2:=4 l2:=5 l2:=2 0 1 0 0", LURN_EINDEX,
     "ctc_loss: sequence 0 has target 4; expected a class of 0..3"},
    {"ctc_loss", "f5x2x4 l2x2:=0 l2:=5 l2:=2 0 1 0 0", LURN_EINDEX,
     "ctc_loss: sequence 0 has target 0, which is the blank"},
    {"ctc_loss", "f5x2x4 l2x2:=1 l2:=5 l2:=2 4 1 0 0", LURN_EINDEX, "ctc_loss: blank is 4; expected a class of 0..3"},
    {"ctc_loss", "f5x2x4 l2x2:=1 l2:=5 l2:=2 0 3 0 0", LURN_EVALUE,
     "ctc_loss: reduction 3; expected 0 (none), 1 (mean) or 2 (sum)"},
    {"elu", "l3 1", LURN_EDTYPE, "elu: x is int64; expected float32 or float64"},
    {"leaky_relu", "l3 1", LURN_EDTYPE, "leaky_relu: x is int64; expected float32 or float64"},
    {"hardtanh", "f3 nan 1", LURN_EVALUE, "hardtanh: min_val is nan and max_val 1; expected min_val <= max_val"},
    {"softplus", "f3 0 20", LURN_EVALUE, "softplus: beta is 0; expected a number above 0"},
    {"cumsum", "f3 1", LURN_EINDEX, "cumsum: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"cummax", "f3 1 0", LURN_EINDEX, "cummax: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"cummin", "f3 -2 0", LURN_EINDEX, "cummin: dimension -2 of a tensor with 1; expected 0..0 or -1..-1"},
    {"logcumsumexp", "l3 0", LURN_EDTYPE, "logcumsumexp: x is int64; expected float32 or float64"},
    {"cdist", "f3x4 f5x3 2", LURN_ESHAPE, "cdist: shapes are (3, 4) and (5, 3); expected (..., P, D) and (..., R, D)"},
    {"cdist", "f4 f3x4 2", LURN_ESHAPE, "cdist: shapes are (4) and (3, 4); expected (..., P, D) and (..., R, D)"},
    {"cdist", "f3x4 f3x4 nan", LURN_EVALUE, "cdist: p is nan; expected at least 0"},
    {"cdist", "f3x4 l3x4 2", LURN_EDTYPE, "cdist: b is int64; expected float32 or float64"},
    {"flip", "f3 0,0", LURN_EVALUE, "flip: dimension 0 is named twice"},
    {"roll", "f3 1 1", LURN_EINDEX, "roll: dimension 1 of a tensor with 1; expected 0..0 or -1..-1"},
    {"tile", "f3 1,1,1,1,1,1,1,1,1", LURN_ESHAPE, "tile: a tensor has at most 8 dimensions"},
    {"tile", "f3 -1", LURN_EVALUE, "tile: -1 copies; expected at least 0"},
    {"tile", "f3 9223372036854775807", LURN_ENOMEM, "tile: 9223372036854775807 copies are larger than memory can be"},
    {"pad", "f 0 1 1 0", LURN_ESHAPE, "pad: a scalar has no ends"},
    {"pad", "f3 0 -1 0 0", LURN_EVALUE, "pad: before is -1 and after 0; expected at least 0"},
    {"pad", "f3 0 0 -1 0", LURN_EVALUE, "pad: before is 0 and after -1; expected at least 0"},
    {"pad", "f3 0 9223372036854775807 0 0", LURN_ENOMEM, "pad: the result is larger than memory can be"},
    {"pad", "f3 0 0 9223372036854775807 0", LURN_ENOMEM, "pad: the result is larger than memory can be"},
    {"pad", "f3 0 0 4611686018427387904 0", LURN_ENOMEM,
     "pad: a tensor of shape (4611686018427387907) is larger than memory can be"},
    {"dot", "f3x1 f3", LURN_ESHAPE, "dot: shapes are (3, 1) and (3); expected two vectors of one length"},
    {"dot", "f3 f3x1", LURN_ESHAPE, "dot: shapes are (3) and (3, 1); expected two vectors of one length"},
    {"dot", "f3 f4", LURN_ESHAPE, "dot: shapes are (3) and (4); expected two vectors of one length"},
    {"dot", "f3 l3", LURN_EDTYPE, "dot: b is int64; expected float32 or float64"},
    {"outer", "f3x1 f3", LURN_ESHAPE, "outer: shapes are (3, 1) and (3); expected two vectors"},
    {"outer", "f3 f3x1", LURN_ESHAPE, "outer: shapes are (3) and (3, 1); expected two vectors"},
    {"addmm", "f3 f3 f3x2 1 1", LURN_ESHAPE, "addmm: a has shape (3) and b (3, 2); expected (n, k) and (k, m)"},
    {"addmm", "f3 f2x3 f3 1 1", LURN_ESHAPE, "addmm: a has shape (2, 3) and b (3); expected (n, k) and (k, m)"},
    {"addmm", "f3 f2x3 f2x3 1 1", LURN_ESHAPE, "addmm: a has shape (2, 3) and b (2, 3); expected (n, k) and (k, m)"},
    {"addmm", "d f2x3 f3x2 1 1", LURN_EDTYPE, "addmm: input is float64, a float32, b float32; expected all the same"},
    {"addmm", "f f2x3 d3x2 1 1", LURN_EDTYPE, "addmm: input is float32, a float32, b float64; expected all the same"},
    {"addmm", "f3 f2x3 f3x2 1 1", LURN_ESHAPE, "addmm: input of shape (3) does not broadcast to (2, 2)"},
    {"addmm", "f4x2x2 f2x3 f3x2 1 1", LURN_ESHAPE, "addmm: input of shape (4, 2, 2) does not broadcast to (2, 2)"},
    {"lerp", "f3 f4 f3", LURN_ESHAPE, "lerp: shapes (3), (4) and (3) do not broadcast"},
    {"lerp", "f3 f3 f4", LURN_ESHAPE, "lerp: shapes (3), (3) and (4) do not broadcast"},
    {"index", "f3 0 . 0", LURN_EVALUE, "index: 0 index tensors; expected 1..8"},
    {"one_hot", "l3 -2 0", LURN_EVALUE, "one_hot: classes is -2; expected at least 1"},
    {"one_hot", "l3 0 0", LURN_EVALUE, "one_hot: classes is 0; expected at least 1"},
    {"one_hot", "l1x1x1x1x1x1x1x1 3 0", LURN_ESHAPE, "one_hot: ids have 8 dimensions already"},
    {"masked_select", "f3 l3", LURN_EDTYPE, "masked_select: mask is int64; expected bool"},
    {"masked_select", "f3 b4", LURN_ESHAPE, "masked_select: shapes (3) and (4) do not broadcast"},
    {"masked_scatter", "f3 l3 f3", LURN_EDTYPE, "masked_scatter: mask is int64; expected bool"},
    {"masked_scatter", "f3 b2x3 f3", LURN_ESHAPE, "masked_scatter: mask of shape (2, 3) does not broadcast to (3)"},
    {"masked_scatter", "f3 b4 f3", LURN_ESHAPE, "masked_scatter: mask of shape (4) does not broadcast to (3)"},
    {"masked_scatter", "f3 b3 f1", LURN_ESHAPE, "masked_scatter: mask picks 2 elements, but source has 1"},
    {"repeat_interleave", "f3 f 0", LURN_EDTYPE, "repeat_interleave: repeats is float32; expected whole numbers"},
    {"repeat_interleave", "f3 l2 0", LURN_ESHAPE, "repeat_interleave: repeats has shape (2); expected a number or (3)"},
    {"repeat_interleave", "f3 l:=-1 0", LURN_EVALUE, "repeat_interleave: -1 copies; expected at least 0"},
};

/* recording: the first input asks for a gradient. */
static void refuse(lurn_ctx *ctx, size_t i, bool recording) {
  static char marker;
  lurn_tensor *untouched = (lurn_tensor *)(void *)&marker, *out[LURN__MAX_OUT];
  const lurn_op_info *op = lurn_op_find(refusals[i].name);
  arguments a = {0};
  fill_arguments(ctx, op, refusals[i].words, &a);
  if (recording && a.n_in > 0 && a.in[0] != NULL && lurn_dtype_is_float(a.in[0]->dtype))
    CHECK_EQ(lurn_tensor_set_requires_grad(a.in[0], true), LURN_OK);
  for (int k = 0; k < LURN__MAX_OUT; k++) out[k] = untouched;
  lurn_status status = lurn_op_call(ctx, op, a.args, out);
  if (CHECK_EQ(status, refusals[i].status)) CHECK_STR(lurn_error(ctx), refusals[i].message);
  else printf("     %s %s: %s\n", op->name, refusals[i].words, status == LURN_OK ? "accepted" : lurn_error(ctx));
  for (int k = 0; k < LURN__MAX_OUT; k++) CHECK(out[k] == untouched);
  for (int k = 0; k < a.n_in; k++) lurn_release(a.in[k]);
}

TEST(ops_refuse_in_words) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    refuse(ctx, i, false);
    refuse(ctx, i, true);
    CHECK_EQ(lurn_memory_live(ctx), 0);
  }
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(random_numbers_refuse_in_words) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *x = NULL, *whole = NULL, *out = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){3}, &x), LURN_OK);
  CHECK_EQ(lurn_zeros(ctx, LURN_INT64, 1, (int64_t[]){3}, &whole), LURN_OK);
  CHECK_EQ(lurn_uniform_(ctx, x, 1, 0), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "uniform_: from 1 to 0; expected a finite, rising range");
  CHECK_EQ(lurn_uniform_(ctx, x, -1e308, 1e308), LURN_EVALUE);
  CHECK_EQ(lurn_uniform_(ctx, whole, 0, 1), LURN_EDTYPE);
  CHECK_STR(lurn_error(ctx), "uniform_: the tensor is int64; expected float32 or float64");
  CHECK_EQ(lurn_normal_(ctx, x, 0, (double)NAN), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "normal_: std is nan; expected at least 0");
  CHECK_EQ(lurn_bernoulli_(ctx, whole, -0.5), LURN_EVALUE);
  CHECK_EQ(lurn_bernoulli_(ctx, whole, 1.5), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "bernoulli_: p is 1.5; expected 0..1");
  CHECK_EQ(lurn_randint(ctx, 2, 1, 1, (int64_t[]){3}, &out), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "randint: no whole number between 2 and 1");
  CHECK_EQ(lurn_randperm(ctx, -1, 0, &out), LURN_ESHAPE);
  CHECK(out == NULL);
  CHECK_EQ(lurn_tensor_set_requires_grad(x, true), LURN_OK);
  CHECK_EQ(lurn_normal_(ctx, x, 0, 1), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "normal_: the tensor requires a gradient; use no_grad");
  CHECK_EQ(lurn_randint(ctx, INT64_MIN, INT64_MAX, 1, (int64_t[]){3}, &out), LURN_OK); /* a range of 2^64 */
  lurn_release(out);
  lurn_release(x);
  lurn_release(whole);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}
