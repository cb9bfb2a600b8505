/* Arithmetic of two operands: broadcasting, promotion, a number on either side. */
#include "ops/loop.h"

static lurn_status broadcast(lurn__call *call, lurn_tensor *a, lurn_tensor *b, lurn__shape *shape) {
  if (lurn__shape_broadcast(&a->shape, &b->shape, shape)) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "shapes %s and %s do not broadcast", LURN__SHAPE(a), LURN__SHAPE(b));
}

static lurn_status binary(lurn__call *call, lurn__binary kind, lurn_tensor *a, lurn_tensor *b, lurn_dtype dtype) {
  lurn__shape shape;
  lurn__loop loop;
  LURN__TRY(broadcast(call, a, b, &shape));
  lurn__binary_fn *fn = lurn__kernels_of(call->ctx)->elementwise->binary[kind][dtype];
  if (fn == NULL) return lurn__op_fail(call, LURN_EDTYPE, "not defined for %s", lurn_dtype_name(dtype));
  LURN__TRY(lurn__out(call, 0, dtype, &shape));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, a, dtype));
  LURN__TRY(lurn__loop_add(&loop, &call->temps, b, dtype));
  lurn__loop_binary(call->ctx, &loop, fn);
  return LURN_OK;
}

/* In place the result keeps the target's dtype, as long as no float is squeezed into integers. */
static lurn_dtype result_dtype(const lurn__call *call, const lurn_tensor *a, const lurn_tensor *b) {
  lurn_dtype dtype = lurn__common_dtype(a, b);
  bool same_kind = lurn_dtype_is_float(dtype) == lurn_dtype_is_float(a->dtype);
  return call->inplace && same_kind && a->dtype != LURN_BOOL ? a->dtype : dtype;
}

/* Multiplies *g by factor and gives it, summed to the shape of input i, as its gradient. */
static lurn_status give_product(lurn__grad_call *grad, int i, lurn_tensor *g, lurn_tensor *factor) {
  lurn_tensor **product = lurn__temp(&grad->temps);
  LURN__TRY(lurn__mul(grad->ctx, g, factor, product));
  return lurn__sum_to(grad->ctx, *product, &grad->in[i], &grad->grad_in[i]);
}

static lurn_status give(lurn__grad_call *grad, int i, lurn_tensor *g) {
  return lurn__sum_to(grad->ctx, g, &grad->in[i], &grad->grad_in[i]);
}

static lurn_status give_negative(lurn__grad_call *grad, int i, lurn_tensor *g) {
  lurn_tensor **negative = lurn__temp(&grad->temps);
  LURN__TRY(lurn__neg(grad->ctx, g, negative));
  return give(grad, i, *negative);
}

/* What most of these save: each operand where the other's gradient needs it. */
enum { SAVED_A = 0, SAVED_B = 1, SAVED_OUT = 2 };

/* ---- add --------------------------------------------------------------------------------------------------- */

static lurn_status add_forward(lurn__call *call) {
  const struct lurn__add_args *args = call->args;
  return binary(call, LURN__BINARY_ADD, args->a, args->b, result_dtype(call, args->a, args->b));
}

static lurn_status add_backward(lurn__grad_call *grad) {
  if (grad->need[0]) LURN__TRY(give(grad, 0, grad->grad_out[0]));
  if (grad->need[1]) LURN__TRY(give(grad, 1, grad->grad_out[0]));
  return LURN_OK;
}

const lurn__op lurn__op_add = {.forward = add_forward,
                               .backward = add_backward,
                               .doc = "a + b, elementwise.\n"
                                      "Shapes broadcast as in NumPy; dtypes promote as in PyTorch, and a plain number "
                                      "never changes a tensor's dtype except a float with integers: float32."};

/* ---- sub --------------------------------------------------------------------------------------------------- */

static lurn_status sub_forward(lurn__call *call) {
  const struct lurn__sub_args *args = call->args;
  if (args->a->dtype == LURN_BOOL || args->b->dtype == LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "not defined for bool; logical_not inverts a mask, to makes numbers of it");
  return binary(call, LURN__BINARY_SUB, args->a, args->b, result_dtype(call, args->a, args->b));
}

static lurn_status sub_backward(lurn__grad_call *grad) {
  if (grad->need[0]) LURN__TRY(give(grad, 0, grad->grad_out[0]));
  if (grad->need[1]) LURN__TRY(give_negative(grad, 1, grad->grad_out[0]));
  return LURN_OK;
}

const lurn__op lurn__op_sub = {
    .forward = sub_forward,
    .backward = sub_backward,
    .doc = "a - b, elementwise.\nBroadcasting and dtypes as for add; not defined where one of them is "
           "bool, as in PyTorch: logical_not inverts a mask."};

/* ---- mul --------------------------------------------------------------------------------------------------- */

static lurn_status mul_forward(lurn__call *call) {
  const struct lurn__mul_args *args = call->args;
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_A, args->a));
  if (call->need[0]) LURN__TRY(lurn__save_in(call, SAVED_B, args->b));
  return binary(call, LURN__BINARY_MUL, args->a, args->b, result_dtype(call, args->a, args->b));
}

static lurn_status mul_backward(lurn__grad_call *grad) {
  if (grad->need[0]) LURN__TRY(give_product(grad, 0, grad->grad_out[0], grad->saved[SAVED_B]));
  if (grad->need[1]) LURN__TRY(give_product(grad, 1, grad->grad_out[0], grad->saved[SAVED_A]));
  return LURN_OK;
}

const lurn__op lurn__op_mul = {.forward = mul_forward,
                               .backward = mul_backward,
                               .doc = "a * b, elementwise.\nBroadcasting and dtypes as for add."};

/* ---- div --------------------------------------------------------------------------------------------------- */

static lurn_status div_forward(lurn__call *call) {
  const struct lurn__div_args *args = call->args;
  lurn_dtype dtype = result_dtype(call, args->a, args->b);
  if (!lurn_dtype_is_float(dtype)) dtype = LURN_FLOAT32;
  if (call->need[0] || call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_B, args->b));
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_A, args->a));
  return binary(call, LURN__BINARY_DIV, args->a, args->b, dtype);
}

static lurn_status div_backward(lurn__grad_call *grad) {
  lurn_tensor **quotient = lurn__temp(&grad->temps);
  LURN__TRY(lurn__div(grad->ctx, grad->grad_out[0], grad->saved[SAVED_B], quotient)); /* gy / b */
  if (grad->need[0]) LURN__TRY(give(grad, 0, *quotient));
  if (!grad->need[1]) return LURN_OK;
  lurn_tensor **ratio = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  LURN__TRY(lurn__div(grad->ctx, grad->saved[SAVED_A], grad->saved[SAVED_B], ratio));
  LURN__TRY(lurn__mul(grad->ctx, *quotient, *ratio, g)); /* gy a / b^2 */
  return give_negative(grad, 1, *g);
}

const lurn__op lurn__op_div = {.forward = div_forward,
                               .backward = div_backward,
                               .doc =
                                   "a / b, elementwise.\nBroadcasting and dtypes as for add; integers give float32."};

/* ---- pow --------------------------------------------------------------------------------------------------- */

/* The exponents that have kernels of their own. */
static bool is_number(const lurn_tensor *b, double value) {
  return lurn__numel(b) == 1 && lurn__load(b->dtype, lurn__tensor_ptr(b)) == value;
}

static lurn_status power_of_two(lurn__call *call, lurn_tensor *a, lurn_dtype dtype) {
  lurn__loop loop;
  LURN__TRY(lurn__out(call, 0, dtype, &a->shape));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, a, dtype));
  lurn__loop_unary(call->ctx, &loop, lurn__kernels_of(call->ctx)->elementwise->unary[LURN__UNARY_SQUARE][dtype]);
  return LURN_OK;
}

static lurn_status pow_forward(lurn__call *call) {
  const struct lurn__pow_args *args = call->args;
  lurn_dtype dtype = result_dtype(call, args->a, args->b);
  if (call->recording) LURN__TRY(lurn__save_in(call, SAVED_A, args->a));
  if (call->recording) LURN__TRY(lurn__save_in(call, SAVED_B, args->b));
  if (args->b->shape.ndim == 0 && dtype != LURN_BOOL && is_number(args->b, 2))
    return power_of_two(call, args->a, dtype);
  return binary(call, LURN__BINARY_POW, args->a, args->b, dtype);
}

/* gy b a^(b-1) */
static lurn_status pow_grad_base(lurn__grad_call *grad) {
  lurn_ctx *ctx = grad->ctx;
  lurn_tensor *a = grad->saved[SAVED_A], *b = grad->saved[SAVED_B];
  lurn_tensor **minus_one = lurn__temp(&grad->temps), **less = lurn__temp(&grad->temps),
              **power = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  if (is_number(b, 2)) {
    LURN__TRY(lurn__mul(ctx, a, b, power));
    return give_product(grad, 0, grad->grad_out[0], *power);
  }
  LURN__TRY(lurn_scalar_int(ctx, -1, minus_one));
  LURN__TRY(lurn__add(ctx, b, *minus_one, less)); /* sub does not take a bool b */
  (*less)->weak = b->weak;
  LURN__TRY(lurn__pow(ctx, a, *less, power));
  LURN__TRY(lurn__mul(ctx, *power, b, g));
  lurn_tensor **zero = lurn__temp(&grad->temps), **is_zero = lurn__temp(&grad->temps),
              **safe = lurn__temp(&grad->temps);
  LURN__TRY(lurn_scalar_int(ctx, 0, zero)); /* a^0 is 1 everywhere, also at 0 and infinity: slope 0 */
  LURN__TRY(lurn__eq(ctx, b, *zero, is_zero));
  LURN__TRY(lurn__where(ctx, *is_zero, *zero, *g, safe));
  return give_product(grad, 0, grad->grad_out[0], *safe);
}

/* gy a^b log a, and 0 where a = 0 and b >= 0 */
static lurn_status pow_grad_exponent(lurn__grad_call *grad) {
  lurn_ctx *ctx = grad->ctx;
  lurn_tensor *a = grad->saved[SAVED_A], *b = grad->saved[SAVED_B];
  lurn_tensor **power = lurn__temp(&grad->temps), **logarithm = lurn__temp(&grad->temps),
              **g = lurn__temp(&grad->temps), **zero = lurn__temp(&grad->temps), **flat = lurn__temp(&grad->temps),
              **positive = lurn__temp(&grad->temps), **both = lurn__temp(&grad->temps),
              **real = lurn__temp(&grad->temps), **safe = lurn__temp(&grad->temps);
  LURN__TRY(lurn__pow(ctx, a, b, power));
  LURN__TRY(lurn__to(ctx, a, grad->grad_out[0]->dtype, real));
  LURN__TRY(lurn__log(ctx, *real, logarithm));
  LURN__TRY(lurn__mul(ctx, *power, *logarithm, g));
  LURN__TRY(lurn_scalar_int(ctx, 0, zero));
  LURN__TRY(lurn__eq(ctx, a, *zero, flat));
  LURN__TRY(lurn__ge(ctx, b, *zero, positive));
  LURN__TRY(lurn__logical_and(ctx, *flat, *positive, both));
  LURN__TRY(lurn__where(ctx, *both, *zero, *g, safe));
  return give_product(grad, 1, grad->grad_out[0], *safe);
}

static lurn_status pow_backward(lurn__grad_call *grad) {
  if (grad->need[0]) LURN__TRY(pow_grad_base(grad));
  if (grad->need[1]) LURN__TRY(pow_grad_exponent(grad));
  return LURN_OK;
}

const lurn__op lurn__op_pow = {.forward = pow_forward,
                               .backward = pow_backward,
                               .doc = "a ^ b, elementwise.\nBroadcasting and dtypes as for add; integers stay integers "
                                      "(a negative exponent gives 0)."};

/* ---- maximum, minimum -------------------------------------------------------------------------------------- */

static lurn_status extremum_forward(lurn__call *call, lurn__binary kind, lurn_tensor *a, lurn_tensor *b) {
  if (call->recording) LURN__TRY(lurn__save_in(call, SAVED_A, a));
  if (call->recording) LURN__TRY(lurn__save_in(call, SAVED_B, b));
  return binary(call, kind, a, b, result_dtype(call, a, b));
}

/* The gradient goes to the operand that was taken; in halves to both where they are equal, whole where one is NaN. */
static lurn_status give_where_taken(lurn__grad_call *grad, int i, lurn_tensor *taken, lurn_tensor *other,
                                    bool maximum) {
  lurn_ctx *ctx = grad->ctx;
  lurn_tensor **loses = lurn__temp(&grad->temps), **ties = lurn__temp(&grad->temps), **half = lurn__temp(&grad->temps),
              **zero = lurn__temp(&grad->temps), **share = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps),
              **halved = lurn__temp(&grad->temps);
  LURN__TRY(maximum ? lurn__lt(ctx, taken, other, loses) : lurn__gt(ctx, taken, other, loses));
  LURN__TRY(lurn__eq(ctx, taken, other, ties));
  LURN__TRY(lurn_scalar(ctx, 0.5, half));
  LURN__TRY(lurn_scalar(ctx, 0, zero));
  LURN__TRY(lurn__mul(ctx, grad->grad_out[0], *half, halved));
  LURN__TRY(lurn__where(ctx, *ties, *halved, grad->grad_out[0], share));
  LURN__TRY(lurn__where(ctx, *loses, *zero, *share, g));
  return give(grad, i, *g);
}

static lurn_status extremum_backward(lurn__grad_call *grad, bool maximum) {
  lurn_tensor *a = grad->saved[SAVED_A], *b = grad->saved[SAVED_B];
  if (grad->need[0]) LURN__TRY(give_where_taken(grad, 0, a, b, maximum));
  if (grad->need[1]) LURN__TRY(give_where_taken(grad, 1, b, a, maximum));
  return LURN_OK;
}

static lurn_status maximum_forward(lurn__call *call) {
  const struct lurn__maximum_args *args = call->args;
  return extremum_forward(call, LURN__BINARY_MAXIMUM, args->a, args->b);
}

static lurn_status maximum_backward(lurn__grad_call *grad) { return extremum_backward(grad, true); }

const lurn__op lurn__op_maximum = {
    .forward = maximum_forward,
    .backward = maximum_backward,
    .doc = "max(a, b), elementwise; NaN when either is.\nBroadcasting and dtypes as for add. Equal operands share the "
           "gradient in halves."};

static lurn_status minimum_forward(lurn__call *call) {
  const struct lurn__minimum_args *args = call->args;
  return extremum_forward(call, LURN__BINARY_MINIMUM, args->a, args->b);
}

static lurn_status minimum_backward(lurn__grad_call *grad) { return extremum_backward(grad, false); }

const lurn__op lurn__op_minimum = {
    .forward = minimum_forward,
    .backward = minimum_backward,
    .doc = "min(a, b), elementwise; NaN when either is.\nBroadcasting and dtypes as for add. Equal operands share the "
           "gradient in halves."};

/* ---- remainder, floor_divide ------------------------------------------------------------------------------- */

static lurn_status remainder_forward(lurn__call *call) {
  const struct lurn__remainder_args *args = call->args;
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_A, args->a));
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_B, args->b));
  return binary(call, LURN__BINARY_REMAINDER, args->a, args->b, result_dtype(call, args->a, args->b));
}

static lurn_status remainder_backward(lurn__grad_call *grad) {
  if (grad->need[0]) LURN__TRY(give(grad, 0, grad->grad_out[0]));
  if (!grad->need[1]) return LURN_OK;
  lurn_tensor **quotient = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  LURN__TRY(lurn__floor_divide(grad->ctx, grad->saved[SAVED_A], grad->saved[SAVED_B], quotient));
  LURN__TRY(lurn__mul(grad->ctx, grad->grad_out[0], *quotient, g));
  return give_negative(grad, 1, *g);
}

const lurn__op lurn__op_remainder = {.forward = remainder_forward,
                                     .backward = remainder_backward,
                                     .doc = "a - b floor(a / b), elementwise: the sign of b, as Lua's %.\nBroadcasting "
                                            "and dtypes as for add; integers by 0 "
                                            "give 0; not defined for bool."};

static lurn_status floor_divide_forward(lurn__call *call) {
  const struct lurn__floor_divide_args *args = call->args;
  return binary(call, LURN__BINARY_FLOOR_DIVIDE, args->a, args->b, result_dtype(call, args->a, args->b));
}

/* Flat between its steps.  Told to the graph, so that writing in place is refused where it must be. */
static lurn_status floor_divide_backward(lurn__grad_call *grad) {
  for (int i = 0; i < 2; i++)
    if (grad->need[i]) LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[i], &grad->grad_in[i]));
  return LURN_OK;
}

const lurn__op lurn__op_floor_divide = {.forward = floor_divide_forward,
                                        .backward = floor_divide_backward,
                                        .doc = "floor(a / b), elementwise, as Lua's //.\nBroadcasting and dtypes as "
                                               "for add; integers by 0 give 0; not defined "
                                               "for bool. Gradient 0."};
