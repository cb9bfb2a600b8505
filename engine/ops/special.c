/* Functions that the C library computes one element at a time, in double also for float32. */
#include <math.h>

#include "ops/loop.h"

typedef struct function {
  double (*of)(double x);
  double (*slope)(double x); /* NULL where backward does not need x */
} function;

static void run_function32(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  double (*of)(double) = ((const function *)arg)->of;
  float *y = (float *)(void *)data[0];
  const float *x = (const float *)(void *)data[1];
  for (int64_t i = 0; i < n; i++) y[i * stride[0]] = (float)of((double)x[i * stride[1]]);
}

static void run_function64(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  double (*of)(double) = ((const function *)arg)->of;
  double *y = (double *)(void *)data[0];
  const double *x = (const double *)(void *)data[1];
  for (int64_t i = 0; i < n; i++) y[i * stride[0]] = of(x[i * stride[1]]);
}

/* gy times the slope at x, rounded once: the slope alone may be out of float32's range. */
static void run_slope32(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  double (*slope)(double) = ((const function *)arg)->slope;
  float *gx = (float *)(void *)data[0];
  const float *x = (const float *)(void *)data[1], *gy = (const float *)(void *)data[2];
  for (int64_t i = 0; i < n; i++)
    gx[i * stride[0]] = (float)(slope((double)x[i * stride[1]]) * (double)gy[i * stride[2]]);
}

static void run_slope64(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  double (*slope)(double) = ((const function *)arg)->slope;
  double *gx = (double *)(void *)data[0];
  const double *x = (const double *)(void *)data[1], *gy = (const double *)(void *)data[2];
  for (int64_t i = 0; i < n; i++) gx[i * stride[0]] = slope(x[i * stride[1]]) * gy[i * stride[2]];
}

static lurn_status forward(lurn__call *call, const function *f, lurn_tensor *x) {
  lurn_dtype dtype = lurn_dtype_is_float(x->dtype) ? x->dtype : LURN_FLOAT32;
  lurn__loop loop;
  LURN__TRY(lurn__out(call, 0, dtype, &x->shape));
  if (f->slope != NULL) LURN__TRY(lurn__save_in(call, 0, x));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, dtype));
  lurn__loop_run(call->ctx, &loop, dtype == LURN_FLOAT32 ? run_function32 : run_function64, f);
  return LURN_OK;
}

static lurn_status backward(lurn__grad_call *grad, const function *f) {
  lurn_tensor *x = grad->saved[0];
  lurn__loop loop;
  LURN__TRY(lurn__tensor_new(grad->ctx, x->dtype, &x->shape, &grad->grad_in[0]));
  lurn__loop_begin(&loop, grad->grad_in[0]);
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, x, x->dtype));
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, grad->grad_out[0], x->dtype));
  lurn__loop_run(grad->ctx, &loop, x->dtype == LURN_FLOAT32 ? run_slope32 : run_slope64, f);
  return LURN_OK;
}

/* ---- The functions ----------------------------------------------------------------------------------------- */

#define LN2 0.693147180559945309417
#define LN10 2.30258509299404568402
#define TWO_OVER_ROOT_PI 1.12837916709551257390

static double tan_slope(double x) { return 1 + tan(x) * tan(x); }
static double asin_slope(double x) { return 1 / sqrt(1 - x * x); }
static double acos_slope(double x) { return -1 / sqrt(1 - x * x); }
static double atan_slope(double x) { return 1 / (1 + x * x); }
static double erf_slope(double x) { return TWO_OVER_ROOT_PI * exp(-x * x); }
static double exp2_slope(double x) { return LN2 * exp2(x); }
static double log2_slope(double x) { return 1 / (LN2 * x); }
static double log10_slope(double x) { return 1 / (LN10 * x); }

#define FUNCTION(name, derivative, text)                                                                               \
  static const function name##_function = {name, derivative};                                                          \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    return forward(call, &name##_function, ((const struct lurn__##name##_args *)call->args)->x);                       \
  }                                                                                                                    \
  static lurn_status name##_backward(lurn__grad_call *grad) { return backward(grad, &name##_function); }               \
  const lurn__op lurn__op_##name = {                                                                                   \
      .forward = name##_forward, .backward = name##_backward, .doc = text "\nIntegers give float32."}

FUNCTION(tan, tan_slope, "tan(x), elementwise, x in radians.");
FUNCTION(asin, asin_slope, "The angle in -pi/2..pi/2 whose sine is x, elementwise; NaN outside -1..1.");
FUNCTION(acos, acos_slope, "The angle in 0..pi whose cosine is x, elementwise; NaN outside -1..1.");
FUNCTION(atan, atan_slope, "The angle in -pi/2..pi/2 whose tangent is x, elementwise.");
FUNCTION(sinh, cosh, "sinh(x) = (e^x - e^-x) / 2, elementwise.");
FUNCTION(cosh, sinh, "cosh(x) = (e^x + e^-x) / 2, elementwise.");
FUNCTION(erf, erf_slope, "erf(x) = 2/sqrt(pi) times the integral of e^(-t^2) from 0 to x, elementwise.");
FUNCTION(exp2, exp2_slope, "2^x, elementwise.");
FUNCTION(log2, log2_slope, "The logarithm of x to base 2, elementwise.");
FUNCTION(log10, log10_slope, "The logarithm of x to base 10, elementwise.");

/* ---- trunc, frac ------------------------------------------------------------------------------------------- */

static double fraction(double x) { return x - trunc(x); }

static lurn_status trunc_forward(lurn__call *call) {
  static const function truncation = {trunc, NULL};
  lurn_tensor *x = ((const struct lurn__trunc_args *)call->args)->x, **copy = lurn__temp(&call->temps);
  if (x->dtype == LURN_BOOL) return lurn__op_fail(call, LURN_EDTYPE, "not defined for bool");
  if (lurn_dtype_is_float(x->dtype)) return forward(call, &truncation, x);
  LURN__TRY(lurn__clone(call->ctx, x, copy));
  return lurn__give(call, *copy);
}

static lurn_status trunc_backward(lurn__grad_call *grad) {
  return lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_trunc = {.forward = trunc_forward,
                                 .backward = trunc_backward,
                                 .doc = "The integer next to x towards 0, elementwise.\nGradient 0. Integers stay as "
                                        "they are."};

static lurn_status frac_forward(lurn__call *call) {
  static const function fractions = {fraction, NULL};
  lurn_tensor *x = ((const struct lurn__frac_args *)call->args)->x;
  LURN__TRY(lurn__need_float(call, x, "x"));
  return forward(call, &fractions, x);
}

static lurn_status frac_backward(lurn__grad_call *grad) {
  return lurn__clone(grad->ctx, grad->grad_out[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_frac = {.forward = frac_forward,
                                .backward = frac_backward,
                                .doc = "x - trunc(x), elementwise: the fraction, with the sign of x.\nFloat tensors "
                                       "only."};

/* ---- atan2 ------------------------------------------------------------------------------------------------- */

static void run_atan2_32(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  (void)arg;
  float *y = (float *)(void *)data[0];
  const float *a = (const float *)(void *)data[1], *b = (const float *)(void *)data[2];
  for (int64_t i = 0; i < n; i++) y[i * stride[0]] = (float)atan2((double)a[i * stride[1]], (double)b[i * stride[2]]);
}

static void run_atan2_64(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  (void)arg;
  double *y = (double *)(void *)data[0];
  const double *a = (const double *)(void *)data[1], *b = (const double *)(void *)data[2];
  for (int64_t i = 0; i < n; i++) y[i * stride[0]] = atan2(a[i * stride[1]], b[i * stride[2]]);
}

static lurn_status atan2_forward(lurn__call *call) {
  const struct lurn__atan2_args *args = call->args;
  lurn_tensor *a = args->a, *b = args->b;
  lurn_dtype dtype = lurn__common_dtype(a, b);
  lurn__shape shape;
  lurn__loop loop;
  if (!lurn_dtype_is_float(dtype) || (a->weak && b->weak)) dtype = LURN_FLOAT32;
  if (call->inplace && lurn_dtype_is_float(a->dtype)) dtype = a->dtype;
  if (!lurn__shape_broadcast(&a->shape, &b->shape, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "shapes %s and %s do not broadcast", LURN__SHAPE(a), LURN__SHAPE(b));
  LURN__TRY(lurn__out(call, 0, dtype, &shape));
  LURN__TRY(lurn__save_in(call, 0, a));
  LURN__TRY(lurn__save_in(call, 1, b));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, a, dtype));
  LURN__TRY(lurn__loop_add(&loop, &call->temps, b, dtype));
  lurn__loop_run(call->ctx, &loop, dtype == LURN_FLOAT32 ? run_atan2_32 : run_atan2_64, NULL);
  return LURN_OK;
}

/* g other / (a^2 + b^2), for input i. */
static lurn_status give_atan2(lurn__grad_call *grad, int i, lurn_tensor *squares, lurn_tensor *other) {
  lurn_tensor **share = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  LURN__TRY(lurn__div(grad->ctx, other, squares, share));
  LURN__TRY(lurn__mul(grad->ctx, *share, grad->grad_out[0], g));
  return lurn__sum_to(grad->ctx, *g, &grad->in[i], &grad->grad_in[i]);
}

/* In the result's dtype: squares of integers may not fit theirs. */
static lurn_status atan2_backward(lurn__grad_call *grad) {
  lurn__temps *temps = &grad->temps;
  lurn_dtype dtype = grad->grad_out[0]->dtype;
  lurn_tensor **a = lurn__temp(temps), **b = lurn__temp(temps), **aa = lurn__temp(temps), **bb = lurn__temp(temps),
              **squares = lurn__temp(temps), **minus = lurn__temp(temps);
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->saved[0], dtype, a));
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->saved[1], dtype, b));
  LURN__TRY(lurn__square(grad->ctx, *a, aa));
  LURN__TRY(lurn__square(grad->ctx, *b, bb));
  LURN__TRY(lurn__add(grad->ctx, *aa, *bb, squares));
  if (grad->need[0]) LURN__TRY(give_atan2(grad, 0, *squares, *b));
  if (!grad->need[1]) return LURN_OK;
  LURN__TRY(lurn__neg(grad->ctx, *a, minus));
  return give_atan2(grad, 1, *squares, *minus);
}

const lurn__op lurn__op_atan2 = {.forward = atan2_forward,
                                 .backward = atan2_backward,
                                 .doc = "The angle in -pi..pi of the point (b, a) seen from (0, 0), whose tangent is "
                                        "a / b; elementwise.\nBroadcasting as for add; integers give float32."};
