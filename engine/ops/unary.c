/* Functions of one tensor.  Forward and gradient are kernels; what differs is the doc line and which value backward needs. */
#include "ops/loop.h"

static lurn_status unary(lurn__call *call, lurn__unary kind, lurn_tensor *x, bool integers) {
  lurn_dtype dtype = x->dtype;
  if (!lurn_dtype_is_float(dtype) && !integers) dtype = LURN_FLOAT32;
  lurn__unary_fn *fn = lurn__kernels_of(call->ctx)->elementwise->unary[kind][dtype];
  if (fn == NULL) return lurn__op_fail(call, LURN_EDTYPE, "not defined for %s", lurn_dtype_name(dtype));
  lurn__loop loop;
  LURN__TRY(lurn__out(call, 0, dtype, &x->shape));
  LURN__TRY(lurn__unary_grad_takes_output(kind) ? lurn__save_out(call, 0, call->out[0]) : lurn__save_in(call, 0, x));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, dtype));
  lurn__loop_unary(call->ctx, &loop, fn);
  return LURN_OK;
}

lurn_status lurn__unary_grad_of(lurn__grad_call *grad, lurn__unary kind) {
  lurn_tensor *gy = grad->grad_out[0];
  lurn__loop loop;
  LURN__TRY(lurn__tensor_new(grad->ctx, gy->dtype, &gy->shape, &grad->grad_in[0]));
  lurn__loop_begin(&loop, grad->grad_in[0]);
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, gy, gy->dtype));
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, grad->saved[0], gy->dtype));
  lurn__loop_binary(grad->ctx, &loop, lurn__kernels_of(grad->ctx)->elementwise->unary_grad[kind][gy->dtype]);
  return LURN_OK;
}

#define UNARY(name, NAME, text)                                                                                        \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    return unary(call, LURN__UNARY_##NAME, ((const struct lurn__##name##_args *)call->args)->x, false);                \
  }                                                                                                                    \
  static lurn_status name##_backward(lurn__grad_call *grad) { return lurn__unary_grad_of(grad, LURN__UNARY_##NAME); }  \
  const lurn__op lurn__op_##name = {                                                                                   \
      .forward = name##_forward, .backward = name##_backward, .doc = text "\nIntegers give float32."}

UNARY(sqrt, SQRT, "sqrt(x), elementwise.");
UNARY(rsqrt, RSQRT, "1 / sqrt(x), elementwise.");
UNARY(reciprocal, RECIPROCAL, "1 / x, elementwise.");
UNARY(exp, EXP, "e^x, elementwise.");
UNARY(expm1, EXPM1, "e^x - 1, elementwise, accurate near 0.");
UNARY(log, LOG, "The natural logarithm of x, elementwise.");
UNARY(log1p, LOG1P, "log(1 + x), elementwise, accurate near 0.");
UNARY(tanh, TANH, "tanh(x), elementwise.");
UNARY(sigmoid, SIGMOID, "1 / (1 + e^-x), elementwise.");
UNARY(silu, SILU, "x sigmoid(x), elementwise.");
UNARY(sin, SIN, "sin(x), elementwise, x in radians.");
UNARY(cos, COS, "cos(x), elementwise, x in radians.");

/* These keep integers. */
#define UNARY_ANY(name, NAME, text)                                                                                    \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    return unary(call, LURN__UNARY_##NAME, ((const struct lurn__##name##_args *)call->args)->x, true);                 \
  }                                                                                                                    \
  static lurn_status name##_backward(lurn__grad_call *grad) { return lurn__unary_grad_of(grad, LURN__UNARY_##NAME); }  \
  const lurn__op lurn__op_##name = {.forward = name##_forward, .backward = name##_backward, .doc = text}

UNARY_ANY(abs, ABS, "|x|, elementwise.\nSlope 0 at 0. Integers stay integers; not defined for bool.");
UNARY_ANY(square, SQUARE, "x^2, elementwise.\nIntegers stay integers; not defined for bool.");
UNARY_ANY(relu, RELU, "max(x, 0), elementwise.\nSlope 0 at 0. Integers stay integers; not defined for bool.");

/* ---- neg --------------------------------------------------------------------------------------------------- */

static lurn_status plain(lurn__call *call, lurn__unary kind, lurn_tensor *x) {
  lurn__loop loop;
  lurn__unary_fn *fn = lurn__kernels_of(call->ctx)->elementwise->unary[kind][x->dtype];
  if (fn == NULL) return lurn__op_fail(call, LURN_EDTYPE, "not defined for %s", lurn_dtype_name(x->dtype));
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, x->dtype));
  lurn__loop_unary(call->ctx, &loop, fn);
  return LURN_OK;
}

static lurn_status neg_forward(lurn__call *call) {
  return plain(call, LURN__UNARY_NEG, ((const struct lurn__neg_args *)call->args)->x);
}

static lurn_status neg_backward(lurn__grad_call *grad) {
  return lurn__neg(grad->ctx, grad->grad_out[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_neg = {
    .forward = neg_forward, .backward = neg_backward, .doc = "-x, elementwise.\nNot defined for bool."};

/* ---- Steps: slope 0 everywhere ----------------------------------------------------------------------------- */

static lurn_status flat_backward(lurn__grad_call *grad) {
  return lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]);
}

#define STEP(name, NAME, text)                                                                                         \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    return plain(call, LURN__UNARY_##NAME, ((const struct lurn__##name##_args *)call->args)->x);                       \
  }                                                                                                                    \
  const lurn__op lurn__op_##name = {.forward = name##_forward, .backward = flat_backward, .doc = text}

STEP(sign, SIGN, "-1, 0 or 1, elementwise; NaN gives 0.\nGradient 0. Integers stay integers; not defined for bool.");
STEP(floor, FLOOR, "The largest integer not above x, elementwise.\nGradient 0. Integers stay as they are.");
STEP(ceil, CEIL, "The smallest integer not below x, elementwise.\nGradient 0. Integers stay as they are.");
STEP(round, ROUND, "The nearest integer, halves to even, elementwise.\nGradient 0. Integers stay as they are.");
