/* Views: other shapes and strides over the same elements.  None of them copies, but reshape where it must. */
#include <string.h>

#include "ops/op.h"

static lurn_status make_view(lurn__call *call, lurn_tensor *x, const lurn__shape *shape, const int64_t *stride,
                             int64_t offset) {
  return lurn__tensor_view(x, shape, stride, offset, &call->out[0]);
}

/* ---- view, reshape ----------------------------------------------------------------------------------------- */

/* Resolves one -1 and checks the number of elements. */
static lurn_status resolve_sizes(lurn__call *call, const lurn_tensor *x, lurn_ints sizes, lurn__shape *out) {
  int64_t numel = lurn__numel(x), known = 1, resolved[LURN_MAX_DIMS];
  int unknown = -1;
  if (sizes.count > LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "%lld dimensions; a tensor has at most %d", (long long)sizes.count,
                         LURN_MAX_DIMS);
  for (int i = 0; i < (int)sizes.count; i++) {
    resolved[i] = sizes.values[i];
    if (resolved[i] == -1 && unknown >= 0) return lurn__op_fail(call, LURN_ESHAPE, "more than one size is -1");
    if (resolved[i] == -1) unknown = i;
    else if (resolved[i] < 0 || __builtin_mul_overflow(known, resolved[i], &known))
      return lurn__op_fail(call, LURN_ESHAPE, "size %lld is not possible", (long long)resolved[i]);
  }
  if (unknown >= 0 && known > 0 && numel % known == 0) resolved[unknown] = numel / known;
  if (unknown >= 0 && known == 0) resolved[unknown] = 0;
  for (int i = 0; i < (int)sizes.count; i++) out->size[i] = resolved[i];
  out->ndim = (int)sizes.count;
  bool fits = unknown >= 0 ? resolved[unknown] >= 0 && known * resolved[unknown] == numel : known == numel;
  if (fits) return lurn__shape_check(call->ctx, lurn__call_name(call), out);
  return lurn__op_fail(call, LURN_ESHAPE, "%s has %lld elements and cannot become %s", LURN__SHAPE(x), (long long)numel,
                       lurn__shape_print(out, (char[LURN__SHAPE_TEXT]){0}));
}

/* Strides of `shape` over x's elements in row-major order, without a copy; false when there are none.  Runs of x's dimensions that
 * lie evenly in memory are matched against runs of new ones of the same product. */
static bool view_strides(const lurn_tensor *x, const lurn__shape *shape, int64_t *stride) {
  if (lurn__numel(x) == 0 || lurn_tensor_is_contiguous(x)) {
    lurn__shape_strides(shape, stride);
    return true;
  }
  int to = shape->ndim - 1;
  int64_t run = 1, covered = 1, base = 0;
  for (int from = x->shape.ndim - 1; from >= 0; from--) {
    if (run == 1) base = x->stride[from];
    run *= x->shape.size[from];
    bool ends = from == 0 || (x->shape.size[from - 1] != 1 && x->stride[from - 1] != run * base);
    if (!ends) continue;
    while (to >= 0 && (covered < run || shape->size[to] == 1)) {
      stride[to] = covered * base;
      covered *= shape->size[to--];
    }
    if (covered != run) return false;
    run = covered = 1;
  }
  return to < 0;
}

static lurn_status give_reshaped(lurn__grad_call *grad) {
  return lurn__reshape(grad->ctx, grad->grad_out[0], grad->in[0].shape.size, grad->in[0].shape.ndim, &grad->grad_in[0]);
}

static lurn_status view_forward(lurn__call *call) {
  const struct lurn__view_args *args = call->args;
  lurn__shape shape;
  int64_t stride[LURN_MAX_DIMS] = {0};
  LURN__TRY(resolve_sizes(call, args->x, args->sizes, &shape));
  if (!view_strides(args->x, &shape, stride))
    return lurn__op_fail(call, LURN_ESHAPE,
                         "this %s lies in memory so that it cannot be seen as %s without a copy; use "
                         "reshape",
                         LURN__SHAPE(args->x), lurn__shape_print(&shape, (char[LURN__SHAPE_TEXT]){0}));
  return make_view(call, args->x, &shape, stride, args->x->offset);
}

const lurn__op lurn__op_view = {
    .forward = view_forward,
    .backward = give_reshaped,
    .view = true,
    .doc = "x with other sizes, row-major order kept, sharing memory.\nOne size may be -1. An error "
           "where the memory layout would need a copy: see reshape."};

static lurn_status reshape_forward(lurn__call *call) {
  const struct lurn__reshape_args *args = call->args;
  lurn__shape shape;
  int64_t stride[LURN_MAX_DIMS] = {0};
  lurn_tensor *x = args->x;
  LURN__TRY(resolve_sizes(call, x, args->sizes, &shape));
  if (view_strides(x, &shape, stride)) return make_view(call, x, &shape, stride, x->offset);
  lurn_tensor **copy = lurn__temp(&call->temps);
  LURN__TRY(lurn__clone(call->ctx, x, copy));
  lurn__shape_strides(&shape, stride);
  return make_view(call, *copy, &shape, stride, 0);
}

const lurn__op lurn__op_reshape = {
    .forward = reshape_forward,
    .backward = give_reshaped,
    .view = true,
    .doc = "x with other sizes, row-major order kept; shares memory where it can, else a copy.\n"
           "One size may be -1."};

/* ---- transpose, permute ------------------------------------------------------------------------------------ */

static lurn_status permuted(lurn__call *call, lurn_tensor *x, const int *order) {
  lurn__shape shape = {.ndim = x->shape.ndim};
  int64_t stride[LURN_MAX_DIMS] = {0};
  for (int i = 0; i < shape.ndim; i++) {
    shape.size[i] = x->shape.size[order[i]];
    stride[i] = x->stride[order[i]];
  }
  return make_view(call, x, &shape, stride, x->offset);
}

static lurn_status transpose_forward(lurn__call *call) {
  const struct lurn__transpose_args *args = call->args;
  int a, b, order[LURN_MAX_DIMS];
  LURN__TRY(lurn__dim(call->ctx, "transpose", args->dim0, args->x->shape.ndim, &a));
  LURN__TRY(lurn__dim(call->ctx, "transpose", args->dim1, args->x->shape.ndim, &b));
  for (int i = 0; i < args->x->shape.ndim; i++) order[i] = i == a ? b : i == b ? a : i;
  return permuted(call, args->x, order);
}

static lurn_status transpose_backward(lurn__grad_call *grad) {
  const struct lurn__transpose_args *args = grad->args;
  return lurn__transpose(grad->ctx, grad->grad_out[0], args->dim0, args->dim1, &grad->grad_in[0]);
}

const lurn__op lurn__op_transpose = {.forward = transpose_forward,
                                     .backward = transpose_backward,
                                     .view = true,
                                     .doc = "x with two dimensions exchanged, sharing memory."};

static lurn_status read_order(lurn_ctx *ctx, const char *who, lurn_ints dims, int ndim, int *order) {
  bool seen[LURN_MAX_DIMS] = {false};
  if (dims.count != ndim)
    return lurn__fail(ctx, LURN_ESHAPE, "%s: %lld dimensions given for a tensor with %d", who, (long long)dims.count,
                      ndim);
  for (int i = 0; i < ndim; i++) {
    LURN__TRY(lurn__dim(ctx, who, dims.values[i], ndim, &order[i]));
    if (seen[order[i]])
      return lurn__fail(ctx, LURN_EVALUE, "%s: dimension %d is named twice", who, order[i] + ctx->index_base);
    seen[order[i]] = true;
  }
  return LURN_OK;
}

static lurn_status permute_forward(lurn__call *call) {
  const struct lurn__permute_args *args = call->args;
  int order[LURN_MAX_DIMS];
  LURN__TRY(read_order(call->ctx, "permute", args->dims, args->x->shape.ndim, order));
  return permuted(call, args->x, order);
}

static lurn_status permute_backward(lurn__grad_call *grad) {
  const struct lurn__permute_args *args = grad->args;
  int order[LURN_MAX_DIMS], ndim = grad->in[0].shape.ndim;
  int64_t inverse[LURN_MAX_DIMS];
  LURN__TRY(read_order(grad->ctx, "permute", args->dims, ndim, order));
  for (int i = 0; i < ndim; i++) inverse[order[i]] = i;
  return lurn__permute(grad->ctx, grad->grad_out[0], inverse, ndim, &grad->grad_in[0]);
}

const lurn__op lurn__op_permute = {
    .forward = permute_forward,
    .backward = permute_backward,
    .view = true,
    .doc = "x with its dimensions in another order, sharing memory.\nEvery dimension is named "
           "once."};

/* ---- narrow, slice, select --------------------------------------------------------------------------------- */

static lurn_status narrow_forward(lurn__call *call) {
  const struct lurn__narrow_args *args = call->args;
  lurn_tensor *x = args->x;
  int dim;
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar has no range");
  LURN__TRY(lurn__dim(call->ctx, "narrow", args->dim, x->shape.ndim, &dim));
  int64_t size = x->shape.size[dim], start = args->start < 0 ? args->start + size : args->start;
  if (start < 0 || args->length < 0 || start > size || args->length > size - start) {
    int64_t base = call->ctx->index_base, given = args->start < 0 ? args->start : args->start + base;
    return lurn__op_fail(call, LURN_EINDEX, "%lld elements from %lld in dimension %lld of size %lld",
                         (long long)args->length, (long long)given, (long long)dim + base, (long long)size);
  }
  lurn__shape shape = x->shape;
  shape.size[dim] = args->length;
  return make_view(call, x, &shape, x->stride, x->offset + start * x->stride[dim]);
}

static lurn_status narrow_backward(lurn__grad_call *grad) {
  const struct lurn__narrow_args *args = grad->args;
  lurn_tensor **window = lurn__temp(&grad->temps);
  LURN__TRY(lurn__grad_buffer(grad, 0));
  LURN__TRY(lurn__narrow(grad->ctx, grad->grad_in[0], args->dim, args->start, args->length, window));
  return lurn__add_(grad->ctx, *window, grad->grad_out[0]);
}

const lurn__op lurn__op_narrow = {
    .forward = narrow_forward,
    .backward = narrow_backward,
    .view = true,
    .adds_into = true,
    .doc = "length elements of dimension dim from position start on, sharing memory.\nA negative "
           "start counts from the end."};

/* Reads the range of a slice: from 0 to size - 1, or empty where last stands right before first. */
static lurn_status read_range(lurn__call *call, int64_t size, int dim, int64_t *from, int64_t *count) {
  const struct lurn__slice_args *args = call->args;
  int64_t to = args->last < 0 ? args->last + size : args->last;
  *from = args->first < 0 ? args->first + size : args->first;
  if (args->step < 1)
    return lurn__op_fail(call, LURN_EVALUE, "step is %lld; expected at least 1", (long long)args->step);
  if (*from < 0 || *from > size || to < -1 || to >= size || to - *from < -1) {
    int64_t base = call->ctx->index_base;
    return lurn__op_fail(call, LURN_EINDEX, "from %lld to %lld in dimension %lld of size %lld",
                         (long long)(args->first < 0 ? args->first : args->first + base),
                         (long long)(args->last < 0 ? args->last : args->last + base), (long long)dim + base,
                         (long long)size);
  }
  *count = to < *from ? 0 : (to - *from) / args->step + 1;
  return LURN_OK;
}

static lurn_status slice_forward(lurn__call *call) {
  const struct lurn__slice_args *args = call->args;
  lurn_tensor *x = args->x;
  int dim;
  int64_t from = 0, count = 0, stride[LURN_MAX_DIMS];
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar has no range");
  LURN__TRY(lurn__dim(call->ctx, "slice", args->dim, x->shape.ndim, &dim));
  LURN__TRY(read_range(call, x->shape.size[dim], dim, &from, &count));
  lurn__shape shape = x->shape;
  shape.size[dim] = count;
  memcpy(stride, x->stride, sizeof stride);
  if (count > 1) stride[dim] *= args->step; /* a step is below the size there, so that nothing overflows */
  return make_view(call, x, &shape, stride, x->offset + from * x->stride[dim]);
}

static lurn_status slice_backward(lurn__grad_call *grad) {
  const struct lurn__slice_args *args = grad->args;
  lurn_tensor **window = lurn__temp(&grad->temps);
  LURN__TRY(lurn__grad_buffer(grad, 0));
  LURN__TRY(lurn__slice(grad->ctx, grad->grad_in[0], args->dim, args->first, args->last, args->step, window));
  return lurn__add_(grad->ctx, *window, grad->grad_out[0]);
}

const lurn__op lurn__op_slice = {
    .forward = slice_forward,
    .backward = slice_backward,
    .view = true,
    .adds_into = true,
    .doc =
        "Every step-th element of dimension dim from position first on, none past last, sharing memory.\nBoth ends "
        "are included and may be negative, which counts from the end; the step is at least 1 and need not meet last. "
        "Empty where last stands right before first."};

static lurn_status select_forward(lurn__call *call) {
  const struct lurn__select_args *args = call->args;
  lurn_tensor *x = args->x;
  int dim;
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar cannot be indexed");
  LURN__TRY(lurn__dim(call->ctx, "select", args->dim, x->shape.ndim, &dim));
  int64_t size = x->shape.size[dim], at = args->index < 0 ? args->index + size : args->index;
  if (at < 0 || at >= size) {
    int64_t base = call->ctx->index_base, given = args->index < 0 ? args->index : args->index + base;
    return lurn__op_fail(call, LURN_EINDEX, "index %lld in dimension %lld of size %lld", (long long)given,
                         (long long)dim + base, (long long)size);
  }
  lurn__shape shape = {.ndim = x->shape.ndim - 1};
  int64_t stride[LURN_MAX_DIMS] = {0};
  for (int i = 0; i < shape.ndim; i++) {
    shape.size[i] = x->shape.size[i < dim ? i : i + 1];
    stride[i] = x->stride[i < dim ? i : i + 1];
  }
  return make_view(call, x, &shape, stride, x->offset + at * x->stride[dim]);
}

static lurn_status select_backward(lurn__grad_call *grad) {
  const struct lurn__select_args *args = grad->args;
  lurn_tensor **window = lurn__temp(&grad->temps);
  LURN__TRY(lurn__grad_buffer(grad, 0));
  LURN__TRY(lurn__select(grad->ctx, grad->grad_in[0], args->dim, args->index, window));
  return lurn__add_(grad->ctx, *window, grad->grad_out[0]);
}

const lurn__op lurn__op_select = {
    .forward = select_forward,
    .backward = select_backward,
    .view = true,
    .adds_into = true,
    .doc = "The slice at position index of dimension dim, which disappears; shares memory.\nA "
           "negative index counts from the end."};

/* ---- expand ------------------------------------------------------------------------------------------------ */

static lurn_status expand_forward(lurn__call *call) {
  const struct lurn__expand_args *args = call->args;
  lurn_tensor *x = args->x;
  lurn__shape shape;
  int64_t stride[LURN_MAX_DIMS] = {0}, sizes[LURN_MAX_DIMS];
  if (args->sizes.count < x->shape.ndim || args->sizes.count > LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "%lld sizes given for a tensor of shape %s", (long long)args->sizes.count,
                         LURN__SHAPE(x));
  int ndim = (int)args->sizes.count, added = ndim - x->shape.ndim;
  for (int i = 0; i < ndim; i++) {
    int64_t have = i < added ? 1 : x->shape.size[i - added], want = args->sizes.values[i];
    sizes[i] = want == -1 && i >= added ? have : want;
    if (have != 1 && sizes[i] != have)
      return lurn__op_fail(call, LURN_ESHAPE, "%s does not expand to %lld in dimension %d", LURN__SHAPE(x),
                           (long long)want, i + call->ctx->index_base);
    stride[i] = i < added || (have == 1 && sizes[i] != 1) ? 0 : x->stride[i - added];
  }
  LURN__TRY(lurn__shape_make(call->ctx, "expand", ndim, sizes, &shape));
  return make_view(call, x, &shape, stride, x->offset);
}

static lurn_status expand_backward(lurn__grad_call *grad) {
  return lurn__sum_to(grad->ctx, grad->grad_out[0], &grad->in[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_expand = {
    .forward = expand_forward,
    .backward = expand_backward,
    .view = true,
    .doc = "x repeated along dimensions of size 1 and along new ones in front, sharing memory.\n"
           "A size of -1 keeps the dimension as it is."};

/* ---- squeeze, unsqueeze ------------------------------------------------------------------------------------ */

static lurn_status squeeze_forward(lurn__call *call) {
  const struct lurn__squeeze_args *args = call->args;
  lurn_tensor *x = args->x;
  int dim;
  LURN__TRY(lurn__dim(call->ctx, "squeeze", args->dim, x->shape.ndim, &dim));
  lurn__shape shape = {.ndim = 0};
  int64_t stride[LURN_MAX_DIMS] = {0};
  for (int i = 0; i < x->shape.ndim; i++) {
    if (i == dim && x->shape.size[i] == 1) continue;
    shape.size[shape.ndim] = x->shape.size[i];
    stride[shape.ndim++] = x->stride[i];
  }
  return make_view(call, x, &shape, stride, x->offset);
}

const lurn__op lurn__op_squeeze = {.forward = squeeze_forward,
                                   .backward = give_reshaped,
                                   .view = true,
                                   .doc =
                                       "x without dimension dim when its size is 1, else x as it is; shares memory."};

static lurn_status unsqueeze_forward(lurn__call *call) {
  const struct lurn__unsqueeze_args *args = call->args;
  lurn_tensor *x = args->x;
  int dim;
  if (x->shape.ndim == LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "a tensor has at most %d dimensions", LURN_MAX_DIMS);
  LURN__TRY(lurn__dim(call->ctx, "unsqueeze", args->dim, x->shape.ndim + 1, &dim));
  lurn__shape shape = {.ndim = x->shape.ndim + 1};
  int64_t stride[LURN_MAX_DIMS] = {0};
  for (int i = 0; i < shape.ndim; i++) {
    int from = i < dim ? i : i - 1;
    shape.size[i] = i == dim ? 1 : x->shape.size[from];
    stride[i] = i != dim ? x->stride[from] : i < x->shape.ndim ? x->stride[i] * x->shape.size[i] : 1;
  }
  return make_view(call, x, &shape, stride, x->offset);
}

const lurn__op lurn__op_unsqueeze = {
    .forward = unsqueeze_forward,
    .backward = give_reshaped,
    .view = true,
    .doc = "x with a new dimension of size 1 at dim, sharing memory.\nA negative dim counts from "
           "the end of the result."};
