/* Comparisons and logic: results are bool, none is differentiable.  In place the target keeps its dtype: 1 and 0. */
#include <math.h>

#include "ops/loop.h"

/* Where the bools go: the result, or in place into anything but bools a tensor of their own, which closing converts. */
static lurn_status open_flags(lurn__call *call, const lurn__shape *shape, lurn_tensor **out) {
  lurn_tensor **flags = lurn__temp(&call->temps);
  bool detour = call->inplace && call->in[0]->dtype != LURN_BOOL;
  if (detour) LURN__TRY(lurn__tensor_new(call->ctx, LURN_BOOL, shape, flags));
  else LURN__TRY(lurn__out(call, 0, LURN_BOOL, shape));
  *out = detour ? *flags : call->out[0];
  return LURN_OK;
}

static lurn_status close_flags(lurn__call *call, lurn_tensor *flags) {
  return flags == call->out[0] ? LURN_OK : lurn__give(call, flags);
}

static lurn_status run_binary(lurn__call *call, lurn__binary_fn *fn, lurn_tensor *a, lurn_tensor *b, lurn_dtype dtype) {
  lurn__shape shape;
  lurn__loop loop;
  lurn_tensor *flags;
  if (!lurn__shape_broadcast(&a->shape, &b->shape, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "shapes %s and %s do not broadcast", LURN__SHAPE(a), LURN__SHAPE(b));
  LURN__TRY(open_flags(call, &shape, &flags));
  lurn__loop_begin(&loop, flags);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, a, dtype));
  LURN__TRY(lurn__loop_add(&loop, &call->temps, b, dtype));
  lurn__loop_binary(call->ctx, &loop, fn);
  return close_flags(call, flags);
}

/* A plain number that the other side's integers cannot hold, such as 300 beside uint8. */
static bool is_too_large(const lurn_tensor *number, lurn_dtype dtype) {
  int64_t value, held;
  if (!number->weak || lurn_dtype_is_float(dtype)) return false;
  value = lurn__load_int(number->dtype, lurn__tensor_ptr(number));
  lurn__store_int(dtype, &held, value);
  return lurn__load_int(dtype, &held) != value;
}

static lurn_status compare(lurn__call *call, lurn__compare kind, lurn_tensor *a, lurn_tensor *b) {
  lurn_dtype dtype = lurn__common_dtype(a, b);
  if (is_too_large(a, dtype) || is_too_large(b, dtype)) dtype = LURN_INT64;
  return run_binary(call, lurn__kernels_of(call->ctx)->elementwise->compare[kind][dtype], a, b, dtype);
}

#define COMPARISON(name, NAME, formula)                                                                                \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    const struct lurn__##name##_args *args = call->args;                                                               \
    return compare(call, LURN__COMPARE_##NAME, args->a, args->b);                                                      \
  }                                                                                                                    \
  const lurn__op lurn__op_##name = {                                                                                   \
      .forward = name##_forward,                                                                                       \
      .doc = formula                                                                                                   \
      ", elementwise, as bool.\nShapes broadcast as in NumPy; both sides are first brought to their common dtype."}

COMPARISON(eq, EQ, "a == b");
COMPARISON(ne, NE, "a ~= b");
COMPARISON(lt, LT, "a < b");
COMPARISON(le, LE, "a <= b");
COMPARISON(gt, GT, "a > b");
COMPARISON(ge, GE, "a >= b");

/* ---- Logic ------------------------------------------------------------------------------------------------- */

static lurn_status logical(lurn__call *call, lurn__logical kind, lurn_tensor *a, lurn_tensor *b) {
  return run_binary(call, lurn__kernels_of(call->ctx)->elementwise->logical[kind], a, b, LURN_BOOL);
}

#define LOGIC(name, NAME, formula)                                                                                     \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    const struct lurn__##name##_args *args = call->args;                                                               \
    return logical(call, LURN__LOGICAL_##NAME, args->a, args->b);                                                      \
  }                                                                                                                    \
  const lurn__op lurn__op_##name = {                                                                                   \
      .forward = name##_forward,                                                                                       \
      .doc = formula ", elementwise, as bool.\nAnything but 0 counts as true; shapes broadcast as in NumPy."}

LOGIC(logical_and, AND, "a and b");
LOGIC(logical_or, OR, "a or b");
LOGIC(logical_xor, XOR, "Either a or b but not both");

/* ---- Tests of one tensor ----------------------------------------------------------------------------------- */

static lurn_status run_test(lurn__call *call, lurn__unary kind, lurn_tensor *x, lurn_dtype dtype) {
  lurn__loop loop;
  lurn_tensor *flags;
  LURN__TRY(open_flags(call, &x->shape, &flags));
  lurn__loop_begin(&loop, flags);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, dtype));
  lurn__loop_unary(call->ctx, &loop, lurn__kernels_of(call->ctx)->elementwise->unary[kind][dtype]);
  return close_flags(call, flags);
}

static lurn_status logical_not_forward(lurn__call *call) {
  const struct lurn__logical_not_args *args = call->args;
  return run_test(call, LURN__UNARY_LOGICAL_NOT, args->a, args->a->dtype);
}

const lurn__op lurn__op_logical_not = {.forward = logical_not_forward,
                                       .doc = "not a, elementwise, as bool.\nTrue where a is 0."};

/* Integers are read as floats: never NaN, always finite. */
static lurn_dtype float_of(const lurn_tensor *x) { return lurn_dtype_is_float(x->dtype) ? x->dtype : LURN_FLOAT32; }

static lurn_status isnan_forward(lurn__call *call) {
  const struct lurn__isnan_args *args = call->args;
  return run_test(call, LURN__UNARY_ISNAN, args->a, float_of(args->a));
}

const lurn__op lurn__op_isnan = {.forward = isnan_forward, .doc = "Whether a is NaN, elementwise, as bool."};

static lurn_status isfinite_forward(lurn__call *call) {
  const struct lurn__isfinite_args *args = call->args;
  return run_test(call, LURN__UNARY_ISFINITE, args->a, float_of(args->a));
}

const lurn__op lurn__op_isfinite = {.forward = isfinite_forward,
                                    .doc = "Whether a is neither NaN nor infinite, elementwise, as bool."};

static lurn_status isinf_forward(lurn__call *call) {
  lurn_tensor *a = ((const struct lurn__isinf_args *)call->args)->a, **size = lurn__temp(&call->temps),
              **infinity = lurn__temp(&call->temps), **wide = lurn__temp(&call->temps);
  LURN__TRY(lurn__to(call->ctx, a, float_of(a), wide));
  LURN__TRY(lurn__abs(call->ctx, *wide, size));
  LURN__TRY(lurn_scalar(call->ctx, (double)INFINITY, infinity));
  return lurn__eq(call->ctx, *size, *infinity, &call->out[0]);
}

const lurn__op lurn__op_isinf = {.forward = isinf_forward,
                                 .doc = "Whether a is infinite, of either sign, elementwise, as bool."};
