/* Copies, conversions and choosing. */
#include <math.h>

#include "ops/loop.h"

/* Fills out[0] from x, broadcast and converted. */
static lurn_status fill_from(lurn__call *call, lurn_tensor *x) {
  lurn__loop loop;
  lurn_tensor *out = call->out[0];
  lurn__loop_begin(&loop, out);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, x->dtype));
  lurn__loop_unary(call->ctx, &loop, lurn__kernels_of(call->ctx)->elementwise->cast[x->dtype][out->dtype]);
  return LURN_OK;
}

static lurn_status give_as_is(lurn__grad_call *grad) {
  return lurn__sum_to(grad->ctx, grad->grad_out[0], &grad->in[0], &grad->grad_in[0]);
}

/* ---- clone, contiguous, to --------------------------------------------------------------------------------- */

static lurn_status clone_forward(lurn__call *call) {
  lurn_tensor *x = ((const struct lurn__clone_args *)call->args)->x;
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  return fill_from(call, x);
}

const lurn__op lurn__op_clone = {
    .forward = clone_forward, .backward = give_as_is, .doc = "A contiguous copy of x, in the graph."};

static lurn_status contiguous_forward(lurn__call *call) {
  lurn_tensor *x = ((const struct lurn__contiguous_args *)call->args)->x;
  if (lurn_tensor_is_contiguous(x)) return lurn__tensor_alias(x, &call->out[0]);
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  return fill_from(call, x);
}

const lurn__op lurn__op_contiguous = {
    .forward = contiguous_forward,
    .backward = give_as_is,
    .view = true,
    .doc = "x laid out in row-major order: x's own memory when it already is, else a copy."};

static lurn_status to_forward(lurn__call *call) {
  const struct lurn__to_args *args = call->args;
  if (args->dtype < 0 || args->dtype >= LURN_DTYPE_COUNT)
    return lurn__op_fail(call, LURN_EDTYPE, "there is no dtype number %lld", (long long)args->dtype);
  LURN__TRY(lurn__out(call, 0, (lurn_dtype)args->dtype, &args->x->shape));
  lurn__loop loop; /* not fill_from: the conversion itself must not ask for a conversion */
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, args->x, args->x->dtype));
  lurn__loop_unary(call->ctx, &loop, lurn__kernels_of(call->ctx)->elementwise->cast[args->x->dtype][args->dtype]);
  return LURN_OK;
}

const lurn__op lurn__op_to = {
    .forward = to_forward,
    .backward = give_as_is,
    .doc = "A copy of x converted to dtype.\nFloat to integer truncates towards zero, gives 0 for "
           "NaN and the nearest limit when out of range; to bool is x ~= 0."};

/* ---- copy, fill -------------------------------------------------------------------------------------------- */

static lurn_status copy_forward(lurn__call *call) {
  const struct lurn__copy_args *args = call->args;
  lurn__shape shape;
  if (!lurn__shape_broadcast(&args->x->shape, &args->source->shape, &shape) ||
      !lurn__shape_equal(&shape, &args->x->shape))
    return lurn__op_fail(call, LURN_ESHAPE, "source of shape %s does not broadcast to %s", LURN__SHAPE(args->source),
                         LURN__SHAPE(args->x));
  LURN__TRY(lurn__out(call, 0, args->x->dtype, &shape));
  return fill_from(call, args->source);
}

static lurn_status copy_backward(lurn__grad_call *grad) {
  if (!grad->need[1]) return LURN_OK;
  return lurn__sum_to(grad->ctx, grad->grad_out[0], &grad->in[1], &grad->grad_in[1]);
}

const lurn__op lurn__op_copy = {
    .forward = copy_forward,
    .backward = copy_backward,
    .doc = "source, broadcast to the shape of x and converted to its dtype.\nThe gradient goes to "
           "source alone."};

static lurn_status fill_forward(lurn__call *call) {
  const struct lurn__fill_args *args = call->args;
  lurn_tensor **value = lurn__temp(&call->temps);
  LURN__TRY(lurn_scalar(call->ctx, args->value, value));
  LURN__TRY(lurn__out(call, 0, args->x->dtype, &args->x->shape));
  return fill_from(call, *value);
}

static lurn_status fill_backward(lurn__grad_call *grad) {
  (void)grad; /* nothing of x is left in the result */
  return LURN_OK;
}

const lurn__op lurn__op_fill = {
    .forward = fill_forward, .backward = fill_backward, .doc = "value everywhere, with the shape and dtype of x."};

/* ---- clamp ------------------------------------------------------------------------------------------------- */

typedef struct clamp_run {
  lurn__clamp_fn *fn;
  lurn__clamp_grad_fn *grad_fn;
  union {
    float f32;
    double f64;
    int64_t i64;
  } low, high;
} clamp_run;

static void clamp_limits(clamp_run *run, lurn_dtype dtype, double min, double max) {
  lurn__store(dtype, &run->low, min);
  lurn__store(dtype, &run->high, max);
}

static void run_clamp(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  const clamp_run *run = arg;
  run->fn(n, data[1], stride[1], &run->low, &run->high, data[0], stride[0]);
}

static void run_clamp_grad(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  const clamp_run *run = arg;
  run->grad_fn(n, data[1], stride[1], data[2], stride[2], &run->low, &run->high, data[0], stride[0]);
}

static bool has_fraction(double v) { return isfinite(v) && v != trunc(v); }

/* Limits with a fraction make floats of integers, which could not hold them. */
static lurn_dtype clamp_dtype(const struct lurn__clamp_args *args) {
  lurn_dtype dtype = args->x->dtype;
  if (lurn_dtype_is_float(dtype) || dtype == LURN_BOOL) return dtype;
  return has_fraction(args->min) || has_fraction(args->max) ? LURN_FLOAT32 : dtype;
}

static lurn_status clamp_forward(lurn__call *call) {
  const struct lurn__clamp_args *args = call->args;
  lurn_dtype dtype = clamp_dtype(args);
  clamp_run run = {.fn = lurn__kernels_of(call->ctx)->elementwise->clamp[dtype]};
  if (run.fn == NULL) return lurn__op_fail(call, LURN_EDTYPE, "not defined for %s", lurn_dtype_name(args->x->dtype));
  if (isnan(args->min) || isnan(args->max)) return lurn__op_fail(call, LURN_EVALUE, "a limit is NaN");
  lurn__loop loop;
  LURN__TRY(lurn__save_in(call, 0, args->x));
  LURN__TRY(lurn__out(call, 0, dtype, &args->x->shape));
  clamp_limits(&run, dtype, args->min, args->max);
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, args->x, dtype));
  lurn__loop_run(call->ctx, &loop, run_clamp, &run);
  return LURN_OK;
}

static lurn_status clamp_backward(lurn__grad_call *grad) {
  const struct lurn__clamp_args *args = grad->args;
  lurn_dtype dtype = grad->in[0].dtype;
  clamp_run run = {.grad_fn = lurn__kernels_of(grad->ctx)->elementwise->clamp_grad[dtype]};
  lurn__loop loop;
  clamp_limits(&run, dtype, args->min, args->max);
  LURN__TRY(lurn__tensor_new(grad->ctx, dtype, &grad->in[0].shape, &grad->grad_in[0]));
  lurn__loop_begin(&loop, grad->grad_in[0]);
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, grad->grad_out[0], dtype));
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, grad->saved[0], dtype));
  lurn__loop_run(grad->ctx, &loop, run_clamp_grad, &run);
  return LURN_OK;
}

const lurn__op lurn__op_clamp = {
    .forward = clamp_forward,
    .backward = clamp_backward,
    .doc = "min(max(x, min), max), elementwise; NaN stays.\nGradient 0 where x lies outside; not "
           "defined for bool. Integers stay integers unless a limit has a fraction, which gives float32."};

/* ---- where, masked_fill ------------------------------------------------------------------------------------ */

static lurn_status choose(lurn__call *call, lurn_tensor *condition, lurn_tensor *a, lurn_tensor *b, lurn_dtype dtype) {
  lurn__shape shape, both;
  if (!lurn__shape_broadcast(&a->shape, &b->shape, &both) || !lurn__shape_broadcast(&condition->shape, &both, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "shapes %s, %s and %s do not broadcast", LURN__SHAPE(condition),
                         LURN__SHAPE(a), LURN__SHAPE(b));
  lurn__loop loop;
  LURN__TRY(lurn__out(call, 0, dtype, &shape));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, condition, LURN_BOOL));
  LURN__TRY(lurn__loop_add(&loop, &call->temps, a, dtype));
  LURN__TRY(lurn__loop_add(&loop, &call->temps, b, dtype));
  lurn__loop_where(call->ctx, &loop, lurn__kernels_of(call->ctx)->elementwise->where[dtype]);
  return LURN_OK;
}

static lurn_status where_forward(lurn__call *call) {
  const struct lurn__where_args *args = call->args;
  lurn_dtype dtype = lurn__common_dtype(args->a, args->b);
  if (args->a->weak && args->b->weak && lurn_dtype_is_float(dtype)) dtype = LURN_FLOAT32;
  LURN__TRY(lurn__save_in(call, 0, args->condition));
  return choose(call, args->condition, args->a, args->b, dtype);
}

static lurn_status where_backward(lurn__grad_call *grad) {
  lurn_tensor **zero = lurn__temp(&grad->temps), **a = lurn__temp(&grad->temps), **b = lurn__temp(&grad->temps);
  lurn_tensor *gy = grad->grad_out[0], *condition = grad->saved[0];
  LURN__TRY(lurn_scalar(grad->ctx, 0, zero));
  if (grad->need[1]) {
    LURN__TRY(lurn__where(grad->ctx, condition, gy, *zero, a));
    LURN__TRY(lurn__sum_to(grad->ctx, *a, &grad->in[1], &grad->grad_in[1]));
  }
  if (grad->need[2]) {
    LURN__TRY(lurn__where(grad->ctx, condition, *zero, gy, b));
    LURN__TRY(lurn__sum_to(grad->ctx, *b, &grad->in[2], &grad->grad_in[2]));
  }
  return LURN_OK;
}

const lurn__op lurn__op_where = {
    .forward = where_forward,
    .backward = where_backward,
    .doc = "a where condition is true (not 0), else b, elementwise.\nAll three broadcast; a and b "
           "promote as in add."};

static lurn_status masked_fill_forward(lurn__call *call) {
  const struct lurn__masked_fill_args *args = call->args;
  if (args->value->shape.ndim > 0)
    return lurn__op_fail(call, LURN_ESHAPE, "value has shape %s; expected a number", LURN__SHAPE(args->value));
  LURN__TRY(lurn__save_in(call, 0, args->mask));
  return choose(call, args->mask, args->value, args->x, args->x->dtype);
}

static lurn_status masked_fill_backward(lurn__grad_call *grad) {
  lurn_tensor **zero = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps), **v = lurn__temp(&grad->temps);
  lurn_tensor *gy = grad->grad_out[0], *mask = grad->saved[0];
  LURN__TRY(lurn_scalar(grad->ctx, 0, zero));
  if (grad->need[0]) {
    LURN__TRY(lurn__where(grad->ctx, mask, *zero, gy, g));
    LURN__TRY(lurn__sum_to(grad->ctx, *g, &grad->in[0], &grad->grad_in[0]));
  }
  if (!grad->need[2]) return LURN_OK;
  LURN__TRY(lurn__where(grad->ctx, mask, gy, *zero, v));
  return lurn__sum_to(grad->ctx, *v, &grad->in[2], &grad->grad_in[2]);
}

const lurn__op lurn__op_masked_fill = {
    .forward = masked_fill_forward,
    .backward = masked_fill_backward,
    .doc = "value where mask is true (not 0), else x, elementwise.\nmask broadcasts with x, aligned at the last "
           "dimension; the result keeps x's dtype. value is a number or a tensor without dimensions."};
