/* Joining tensors, and picking from them by index. */
#include <string.h>

#include "ops/index.h"
#include "ops/loop.h"

/* ---- cat --------------------------------------------------------------------------------------------------- */

/* Shape and dtype of the joined tensor; sizes along dim add up. */
static lurn_status joined(lurn__call *call, lurn_list list, int dim, lurn__shape *shape, lurn_dtype *dtype) {
  const lurn_tensor *first = list.items[0];
  *shape = first->shape;
  *dtype = first->dtype;
  for (int64_t k = 1; k < list.count; k++) {
    const lurn_tensor *t = list.items[k];
    bool fits = t->shape.ndim == shape->ndim;
    for (int i = 0; fits && i < shape->ndim; i++) fits = i == dim || t->shape.size[i] == shape->size[i];
    if (!fits)
      return lurn__op_fail(call, LURN_ESHAPE, "tensor %lld of shape %s does not join %s along dimension %d",
                           (long long)k + call->ctx->index_base, LURN__SHAPE(t), LURN__SHAPE(first),
                           dim + call->ctx->index_base);
    if (__builtin_add_overflow(shape->size[dim], t->shape.size[dim], &shape->size[dim]))
      return lurn__op_fail(call, LURN_ENOMEM, "the result is larger than memory can be");
    *dtype = lurn__promote(*dtype, false, t->dtype, false);
  }
  return LURN_OK;
}

static lurn_status cat_forward(lurn__call *call) {
  const struct lurn__cat_args *args = call->args;
  lurn_list list = args->tensors;
  lurn__shape shape;
  lurn_dtype dtype;
  int dim;
  if (list.count == 0) return lurn__op_fail(call, LURN_EVALUE, "no tensors given");
  if (list.items[0]->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "scalars cannot be joined; use stack");
  LURN__TRY(lurn__dim(call->ctx, "cat", args->dim, list.items[0]->shape.ndim, &dim));
  LURN__TRY(joined(call, list, dim, &shape, &dtype));
  LURN__TRY(lurn__shape_make(call->ctx, "cat", shape.ndim, shape.size, &shape));
  LURN__TRY(lurn__out(call, 0, dtype, &shape));
  int64_t at = 0;
  for (int64_t k = 0; k < list.count; k++) {
    lurn_tensor *window;
    int64_t length = list.items[k]->shape.size[dim];
    LURN__TRY(lurn__narrow(call->ctx, call->out[0], dim, at, length, &window));
    lurn_status status = lurn__copy_(call->ctx, window, list.items[k]);
    lurn_release(window);
    LURN__TRY(status);
    at += length;
  }
  return LURN_OK;
}

static lurn_status cat_backward(lurn__grad_call *grad) {
  const struct lurn__cat_args *args = grad->args;
  int dim;
  int64_t at = 0;
  LURN__TRY(lurn__dim(grad->ctx, "cat", args->dim, grad->in[0].shape.ndim, &dim));
  for (int64_t k = 0; k < grad->n_in; k++) {
    int64_t length = grad->in[k].shape.size[dim];
    if (grad->need[k]) {
      lurn_tensor *window;
      LURN__TRY(lurn__narrow(grad->ctx, grad->grad_out[0], dim, at, length, &window));
      LURN__TRY(lurn__give_sum_to(grad->ctx, window, &grad->in[k], &grad->grad_in[k]));
    }
    at += length;
  }
  return LURN_OK;
}

const lurn__op lurn__op_cat = {
    .forward = cat_forward,
    .backward = cat_backward,
    .doc = "The tensors one after another along dimension dim.\nAll other sizes are equal; dtypes "
           "promote."};

/* ---- stack ------------------------------------------------------------------------------------------------- */

static lurn_status stack_forward(lurn__call *call) {
  const struct lurn__stack_args *args = call->args;
  lurn_list list = args->tensors;
  int dim;
  if (list.count == 0) return lurn__op_fail(call, LURN_EVALUE, "no tensors given");
  lurn__shape shape = list.items[0]->shape;
  lurn_dtype dtype = list.items[0]->dtype;
  if (shape.ndim == LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "a tensor has at most %d dimensions", LURN_MAX_DIMS);
  LURN__TRY(lurn__dim(call->ctx, "stack", args->dim, shape.ndim + 1, &dim));
  for (int64_t k = 1; k < list.count; k++) {
    if (!lurn__shape_equal(&list.items[k]->shape, &shape))
      return lurn__op_fail(call, LURN_ESHAPE, "tensor %lld has shape %s, the first has %s",
                           (long long)k + call->ctx->index_base, LURN__SHAPE(list.items[k]),
                           LURN__SHAPE(list.items[0]));
    dtype = lurn__promote(dtype, false, list.items[k]->dtype, false);
  }
  memmove(shape.size + dim + 1, shape.size + dim, (size_t)(shape.ndim - dim) * sizeof *shape.size);
  shape.size[dim] = list.count;
  shape.ndim++;
  LURN__TRY(lurn__shape_make(call->ctx, "stack", shape.ndim, shape.size, &shape));
  LURN__TRY(lurn__out(call, 0, dtype, &shape));
  for (int64_t k = 0; k < list.count; k++) {
    lurn_tensor *slice;
    LURN__TRY(lurn__select(call->ctx, call->out[0], dim, k, &slice));
    lurn_status status = lurn__copy_(call->ctx, slice, list.items[k]);
    lurn_release(slice);
    LURN__TRY(status);
  }
  return LURN_OK;
}

static lurn_status stack_backward(lurn__grad_call *grad) {
  const struct lurn__stack_args *args = grad->args;
  for (int64_t k = 0; k < grad->n_in; k++) {
    if (!grad->need[k]) continue;
    lurn_tensor *slice;
    LURN__TRY(lurn__select(grad->ctx, grad->grad_out[0], args->dim, k, &slice));
    LURN__TRY(lurn__give_sum_to(grad->ctx, slice, &grad->in[k], &grad->grad_in[k]));
  }
  return LURN_OK;
}

const lurn__op lurn__op_stack = {.forward = stack_forward,
                                 .backward = stack_backward,
                                 .doc =
                                     "The tensors along a new dimension dim.\nAll shapes are equal; dtypes promote."};

/* ---- Indices ----------------------------------------------------------------------------------------------- */

lurn_status lurn__indices(lurn_ctx *ctx, const char *who, lurn_tensor *index, int64_t base, int64_t size,
                          lurn_tensor **out) {
  if (lurn_dtype_is_float(index->dtype) || index->dtype == LURN_BOOL)
    return lurn__fail(ctx, LURN_EDTYPE, "%s: indices are %s; expected int64 or another integer type", who,
                      lurn_dtype_name(index->dtype));
  lurn_tensor *result;
  LURN__TRY(lurn__to(ctx, index, LURN_INT64, &result));
  int64_t *values = lurn__i64(result), n = lurn__numel(result);
  for (int64_t i = 0; i < n; i++) {
    int64_t given = values[i];
    values[i] = (int64_t)((uint64_t)given - (uint64_t)base);
    if ((uint64_t)values[i] < (uint64_t)size) continue;
    lurn_release(result);
    return lurn__fail(ctx, LURN_EINDEX, "%s: index %lld; expected %lld..%lld", who, (long long)given, (long long)base,
                      (long long)size - 1 + base);
  }
  *out = result;
  return LURN_OK;
}

/* ---- index_select ------------------------------------------------------------------------------------------ */

enum { SAVED_INDEX = 0 };

static lurn_status index_select_forward(lurn__call *call) {
  const struct lurn__index_select_args *args = call->args;
  lurn_tensor *x = args->x, **index = lurn__temp(&call->temps), **rows = lurn__temp(&call->temps);
  int dim;
  if (args->index->shape.ndim != 1)
    return lurn__op_fail(call, LURN_ESHAPE, "index has shape %s; expected one dimension", LURN__SHAPE(args->index));
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar cannot be indexed");
  LURN__TRY(lurn__dim(call->ctx, "index_select", args->dim, x->shape.ndim, &dim));
  LURN__TRY(lurn__indices(call->ctx, "index_select", args->index, args->base, x->shape.size[dim], index));
  LURN__TRY(lurn__as_contiguous(call->ctx, x, x->dtype, rows));
  lurn__shape shape = x->shape;
  int64_t count = lurn__numel(*index), outer = 1, inner = 1;
  shape.size[dim] = count;
  LURN__TRY(lurn__shape_make(call->ctx, "index_select", shape.ndim, shape.size, &shape));
  LURN__TRY(lurn__out(call, 0, x->dtype, &shape));
  LURN__TRY(lurn__save_in(call, SAVED_INDEX, *index));
  for (int i = 0; i < dim; i++) outer *= shape.size[i];
  for (int i = dim + 1; i < shape.ndim; i++) inner *= shape.size[i];
  size_t bytes = (size_t)inner * lurn__tensor_width(x);
  char *to = lurn__tensor_ptr(call->out[0]);
  const char *from = lurn__tensor_ptr(*rows);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t k = 0; k < count; k++, to += bytes)
      memcpy(to, from + (size_t)(o * x->shape.size[dim] + lurn__i64(*index)[k]) * bytes, bytes);
  return LURN_OK;
}

/* Makes the index look like gather's: its one dimension at dim, expanded to the shape of the gradient. */
static lurn_status index_select_backward(lurn__grad_call *grad) {
  const struct lurn__index_select_args *args = grad->args;
  lurn_tensor *index = grad->saved[SAVED_INDEX], *gy = grad->grad_out[0], **wide = lurn__temp(&grad->temps);
  int dim;
  LURN__TRY(lurn__dim(grad->ctx, "index_select", args->dim, grad->in[0].shape.ndim, &dim));
  int64_t stride[LURN_MAX_DIMS] = {0};
  stride[dim] = 1;
  LURN__TRY(lurn__tensor_view(index, &gy->shape, stride, index->offset, wide));
  LURN__TRY(lurn__grad_buffer(grad, 0));
  return lurn__add_at(grad->ctx, grad->grad_in[0], dim, *wide, 0, gy);
}

const lurn__op lurn__op_index_select = {.forward = index_select_forward,
                                        .backward = index_select_backward,
                                        .adds_into = true,
                                        .doc =
                                            "The slices of x at the positions index (one dimension) along dim, in that "
                                            "order.\nA position may come several times; its gradients add up."};

/* ---- gather ------------------------------------------------------------------------------------------------ */

/* Offset of element number `at` of the shape (row-major), leaving out dimension `skip`. */
static int64_t offset_of(const lurn__shape *shape, const int64_t *stride, int64_t at, int skip) {
  int64_t offset = 0;
  for (int d = shape->ndim - 1; d >= 0; d--) {
    if (d != skip) offset += at % shape->size[d] * stride[d];
    at /= shape->size[d];
  }
  return offset;
}

static lurn_status check_gather(lurn__call *call, const lurn_tensor *x, const lurn_tensor *index, int dim) {
  bool fits = x->shape.ndim == index->shape.ndim && x->shape.ndim > 0;
  for (int i = 0; fits && i < x->shape.ndim; i++) fits = i == dim || index->shape.size[i] <= x->shape.size[i];
  if (fits) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE,
                       "index of shape %s does not fit x of shape %s: outside dimension %d no size may be "
                       "larger",
                       LURN__SHAPE(index), LURN__SHAPE(x), dim + call->ctx->index_base);
}

static lurn_status gather_forward(lurn__call *call) {
  const struct lurn__gather_args *args = call->args;
  lurn_tensor *x = args->x, **index = lurn__temp(&call->temps);
  int dim;
  LURN__TRY(lurn__dim(call->ctx, "gather", args->dim, x->shape.ndim, &dim));
  LURN__TRY(check_gather(call, x, args->index, dim));
  LURN__TRY(lurn__indices(call->ctx, "gather", args->index, args->base, x->shape.size[dim], index));
  LURN__TRY(lurn__out(call, 0, x->dtype, &args->index->shape));
  LURN__TRY(lurn__save_in(call, SAVED_INDEX, *index));
  int64_t n = lurn__numel(*index);
  size_t width = lurn__tensor_width(x);
  char *to = lurn__tensor_ptr(call->out[0]);
  const char *from = lurn__tensor_ptr(x);
  for (int64_t i = 0; i < n; i++, to += width) {
    int64_t at = offset_of(&(*index)->shape, x->stride, i, dim) + lurn__i64(*index)[i] * x->stride[dim];
    memcpy(to, from + at * (int64_t)width, width);
  }
  return LURN_OK;
}

lurn_status lurn__add_at(lurn_ctx *ctx, lurn_tensor *target, int dim, lurn_tensor *index, int64_t base,
                         lurn_tensor *source) {
  (void)ctx;
  int64_t n = lurn__numel(source);
  bool wide = target->dtype == LURN_FLOAT64;
  for (int64_t i = 0; i < n; i++) {
    int64_t where = lurn__i64(index)[offset_of(&source->shape, index->stride, i, -1)] - base;
    int64_t to = offset_of(&source->shape, target->stride, i, dim) + where * target->stride[dim];
    int64_t from = offset_of(&source->shape, source->stride, i, -1);
    if (wide) lurn__f64(target)[to] += lurn__f64(source)[from];
    else lurn__f32(target)[to] += lurn__f32(source)[from];
  }
  return LURN_OK;
}

static lurn_status gather_backward(lurn__grad_call *grad) {
  const struct lurn__gather_args *args = grad->args;
  int dim;
  LURN__TRY(lurn__dim(grad->ctx, "gather", args->dim, grad->in[0].shape.ndim, &dim));
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  return lurn__add_at(grad->ctx, grad->grad_in[0], dim, grad->saved[SAVED_INDEX], 0, grad->grad_out[0]);
}

const lurn__op lurn__op_gather = {
    .forward = gather_forward,
    .backward = gather_backward,
    .doc =
        "out[i][j][k] = x[index[i][j][k]][j][k] for dim = 1, and likewise along other dimensions.\nindex has as many "
        "dimensions as x, no size but that of dim larger than x's. Gradients at equal positions add up."};
