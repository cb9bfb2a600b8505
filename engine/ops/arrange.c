/* Elements in another order, repeated, or with room around them: always copies. */
#include "ops/op.h"

/* Elements start, start + step, ... along dim, `count` of them, taken round the end; nothing for a scalar or an empty dimension. */
static lurn_status pick(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, int dim, int64_t count, int64_t start,
                        int64_t step, lurn_tensor **out) {
  if (x->shape.ndim == 0 || x->shape.size[dim] == 0) return lurn__clone(ctx, x, out);
  int64_t n = x->shape.size[dim], at = start;
  lurn_tensor **index = lurn__temp(temps);
  lurn__shape shape = {.ndim = 1, .size = {count}};
  LURN__TRY(lurn__tensor_new(ctx, LURN_INT64, &shape, index));
  for (int64_t k = 0; k < count; k++) {
    lurn__i64(*index)[k] = at;
    at = (at + step + n) % n;
  }
  return lurn__index_select(ctx, x, dim, *index, 0, out);
}

/* ---- flip -------------------------------------------------------------------------------------------------- */

static lurn_status flip_all(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, lurn_ints dims, lurn_tensor **out) {
  bool flipped[LURN_MAX_DIMS];
  LURN__TRY(lurn__dims(ctx, "flip", dims, x->shape.ndim, flipped));
  for (int i = 0; i < x->shape.ndim; i++) {
    if (!flipped[i]) continue;
    lurn_tensor **next = lurn__temp(temps);
    int64_t n = x->shape.size[i];
    LURN__TRY(pick(ctx, temps, x, i, n, n - 1, -1, next));
    x = *next;
  }
  return lurn__clone(ctx, x, out);
}

static lurn_status flip_forward(lurn__call *call) {
  const struct lurn__flip_args *args = call->args;
  return flip_all(call->ctx, &call->temps, args->x, args->dims, &call->out[0]);
}

static lurn_status flip_backward(lurn__grad_call *grad) {
  const struct lurn__flip_args *args = grad->args;
  return flip_all(grad->ctx, &grad->temps, grad->grad_out[0], args->dims, &grad->grad_in[0]);
}

const lurn__op lurn__op_flip = {.forward = flip_forward,
                                .backward = flip_backward,
                                .doc =
                                    "x with the order of elements reversed along the dimensions dims, or all; a copy."};

/* ---- roll -------------------------------------------------------------------------------------------------- */

static lurn_status rolled(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, int64_t shift, int64_t which, bool back,
                          lurn_tensor **out) {
  int dim;
  LURN__TRY(lurn__dim(ctx, "roll", which, x->shape.ndim, &dim));
  int64_t n = x->shape.ndim > 0 ? x->shape.size[dim] : 1, by = n > 0 ? shift % n : 0;
  int64_t start = back ? by : -by;
  return pick(ctx, temps, x, dim, n, start < 0 ? start + n : start, 1, out);
}

static lurn_status roll_forward(lurn__call *call) {
  const struct lurn__roll_args *args = call->args;
  return rolled(call->ctx, &call->temps, args->x, args->shift, args->dim, false, &call->out[0]);
}

static lurn_status roll_backward(lurn__grad_call *grad) {
  const struct lurn__roll_args *args = grad->args;
  return rolled(grad->ctx, &grad->temps, grad->grad_out[0], args->shift, args->dim, true, &grad->grad_in[0]);
}

const lurn__op lurn__op_roll = {.forward = roll_forward,
                                .backward = roll_backward,
                                .doc = "x moved by shift places along dimension dim; what leaves one end enters at the "
                                       "other.\nA negative shift moves towards the front."};

/* ---- tile -------------------------------------------------------------------------------------------------- */

typedef struct tiling {
  int ndim;
  int64_t size[LURN_MAX_DIMS], times[LURN_MAX_DIMS]; /* of x and of its copies, aligned at the last dimension */
} tiling;

static void plan_tiling(const lurn__shape *x, lurn_ints sizes, tiling *out) {
  out->ndim = sizes.count > x->ndim ? (int)sizes.count : x->ndim;
  for (int i = 0; i < out->ndim; i++) {
    int of_x = i - (out->ndim - x->ndim), of_sizes = i - (out->ndim - (int)sizes.count);
    out->size[i] = of_x < 0 ? 1 : x->size[of_x];
    out->times[i] = of_sizes < 0 ? 1 : sizes.values[of_sizes];
  }
}

static lurn_status tiled_shape(lurn__call *call, const tiling *t, lurn__shape *shape) {
  int64_t sizes[LURN_MAX_DIMS];
  for (int i = 0; i < t->ndim; i++) {
    if (t->times[i] < 0)
      return lurn__op_fail(call, LURN_EVALUE, "%lld copies; expected at least 0", (long long)t->times[i]);
    if (__builtin_mul_overflow(t->size[i], t->times[i], &sizes[i]))
      return lurn__op_fail(call, LURN_ENOMEM, "%lld copies are larger than memory can be", (long long)t->times[i]);
  }
  return lurn__shape_make(call->ctx, "tile", t->ndim, sizes, shape);
}

static lurn_status tile_forward(lurn__call *call) {
  const struct lurn__tile_args *args = call->args;
  lurn_tensor *x, **start = lurn__temp(&call->temps);
  lurn__shape shape;
  tiling t;
  if (args->sizes.count > LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "a tensor has at most %d dimensions", LURN_MAX_DIMS);
  plan_tiling(&args->x->shape, args->sizes, &t);
  LURN__TRY(tiled_shape(call, &t, &shape));
  if (lurn__shape_numel(&shape) == 0) return lurn__out(call, 0, args->x->dtype, &shape);
  LURN__TRY(lurn__reshape(call->ctx, args->x, t.size, t.ndim, start));
  x = *start;
  for (int i = 0; i < t.ndim; i++) {
    if (t.times[i] == 1) continue;
    lurn_tensor **next = lurn__temp(&call->temps);
    LURN__TRY(pick(call->ctx, &call->temps, x, i, shape.size[i], 0, 1, next));
    x = *next;
  }
  return lurn__clone(call->ctx, x, &call->out[0]);
}

/* Sums over the copies, one dimension at a time: (before, times, size and what follows) loses its middle. */
static lurn_status tile_backward(lurn__grad_call *grad) {
  const struct lurn__tile_args *args = grad->args;
  const lurn__shape *shape = &grad->in[0].shape;
  lurn_tensor *g = grad->grad_out[0];
  int64_t before = 1, middle = 1;
  tiling t;
  plan_tiling(shape, args->sizes, &t);
  if (lurn__numel(g) == 0) return lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]);
  for (int i = 0; i < t.ndim; i++) {
    if (t.times[i] != 1) {
      lurn_tensor **split = lurn__temp(&grad->temps), **next = lurn__temp(&grad->temps);
      LURN__TRY(lurn__reshape(grad->ctx, g, (int64_t[]){before, t.times[i], -1}, 3, split));
      LURN__TRY(lurn__sum(grad->ctx, *split, &middle, 1, false, next));
      g = *next;
    }
    before *= t.size[i];
  }
  return lurn__reshape(grad->ctx, g, shape->size, shape->ndim, &grad->grad_in[0]);
}

const lurn__op lurn__op_tile = {.forward = tile_forward,
                                .backward = tile_backward,
                                .doc =
                                    "x repeated sizes[i] times along dimension i, sizes aligned at the last.\nMissing "
                                    "sizes and missing dimensions of x count as 1."};

/* ---- pad --------------------------------------------------------------------------------------------------- */

static lurn_status pad_forward(lurn__call *call) {
  const struct lurn__pad_args *args = call->args;
  lurn_tensor *x = args->x, **window = lurn__temp(&call->temps);
  int dim;
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar has no ends");
  LURN__TRY(lurn__dim(call->ctx, "pad", args->dim, x->shape.ndim, &dim));
  if (args->before < 0 || args->after < 0)
    return lurn__op_fail(call, LURN_EVALUE, "before is %lld and after %lld; expected at least 0",
                         (long long)args->before, (long long)args->after);
  lurn__shape shape = x->shape;
  int64_t n = shape.size[dim], *size = &shape.size[dim];
  if (__builtin_add_overflow(n, args->before, size) || __builtin_add_overflow(*size, args->after, size))
    return lurn__op_fail(call, LURN_ENOMEM, "the result is larger than memory can be");
  LURN__TRY(lurn__shape_make(call->ctx, "pad", shape.ndim, shape.size, &shape));
  LURN__TRY(lurn__out(call, 0, x->dtype, &shape));
  LURN__TRY(lurn__fill_(call->ctx, call->out[0], args->value));
  LURN__TRY(lurn__narrow(call->ctx, call->out[0], dim, args->before, n, window));
  return lurn__copy_(call->ctx, *window, x);
}

static lurn_status pad_backward(lurn__grad_call *grad) {
  const struct lurn__pad_args *args = grad->args;
  int dim;
  LURN__TRY(lurn__dim(grad->ctx, "pad", args->dim, grad->in[0].shape.ndim, &dim));
  return lurn__narrow(grad->ctx, grad->grad_out[0], dim, args->before, grad->in[0].shape.size[dim], &grad->grad_in[0]);
}

const lurn__op lurn__op_pad = {.forward = pad_forward,
                               .backward = pad_backward,
                               .doc =
                                   "x with `before` elements of the value put in front of it along dimension dim, and "
                                   "`after` behind.\nKeeps the dtype."};
