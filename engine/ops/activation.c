/* Activations with parameters. */
#include <math.h>

#include "ops/loop.h"

/* ---- elu --------------------------------------------------------------------------------------------------- */

typedef struct elu_run {
  const lurn__elementwise *kernels;
  lurn_dtype dtype;
  double alpha;
} elu_run;

static void run_elu(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  const elu_run *run = arg;
  run->kernels->elu[run->dtype](n, run->alpha, data[1], stride[1], data[0], stride[0]);
}

static void run_elu_grad(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  const elu_run *run = arg;
  run->kernels->elu_grad[run->dtype](n, run->alpha, data[1], stride[1], data[2], stride[2], data[0], stride[0]);
}

static lurn_status elu_forward(lurn__call *call) {
  const struct lurn__elu_args *args = call->args;
  lurn_tensor *x = args->x;
  lurn__loop loop;
  LURN__TRY(lurn__need_float(call, x, "x"));
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  LURN__TRY(lurn__save_in(call, 0, x));
  elu_run run = {lurn__kernels_of(call->ctx)->elementwise, x->dtype, args->alpha};
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, x->dtype));
  lurn__loop_run(call->ctx, &loop, run_elu, &run);
  return LURN_OK;
}

static lurn_status elu_backward(lurn__grad_call *grad) {
  const struct lurn__elu_args *args = grad->args;
  lurn_tensor *gy = grad->grad_out[0];
  lurn__loop loop;
  LURN__TRY(lurn__tensor_new(grad->ctx, gy->dtype, &gy->shape, &grad->grad_in[0]));
  elu_run run = {lurn__kernels_of(grad->ctx)->elementwise, gy->dtype, args->alpha};
  lurn__loop_begin(&loop, grad->grad_in[0]);
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, gy, gy->dtype));
  LURN__TRY(lurn__loop_add(&loop, &grad->temps, grad->saved[0], gy->dtype));
  lurn__loop_run(grad->ctx, &loop, run_elu_grad, &run);
  return LURN_OK;
}

const lurn__op lurn__op_elu = {.forward = elu_forward,
                               .backward = elu_backward,
                               .doc = "x above 0, else alpha (e^x - 1), elementwise (Clevert et al. 2015).\n"
                                      "Float tensors only."};

/* ---- leaky_relu -------------------------------------------------------------------------------------------- */

/* v where x > 0, else slope v. */
static lurn_status leak(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, lurn_tensor *v, double slope,
                        lurn_tensor **out) {
  lurn_tensor **zero = lurn__temp(temps), **factor = lurn__temp(temps), **above = lurn__temp(temps),
              **scaled = lurn__temp(temps);
  LURN__TRY(lurn_scalar(ctx, 0, zero));
  LURN__TRY(lurn_scalar(ctx, slope, factor));
  LURN__TRY(lurn__gt(ctx, x, *zero, above));
  LURN__TRY(lurn__mul(ctx, v, *factor, scaled));
  return lurn__where(ctx, *above, v, *scaled, out);
}

static lurn_status leaky_relu_forward(lurn__call *call) {
  const struct lurn__leaky_relu_args *args = call->args;
  lurn_tensor **y = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  LURN__TRY(lurn__save_in(call, 0, args->x));
  LURN__TRY(leak(call->ctx, &call->temps, args->x, args->x, args->negative_slope, y));
  return lurn__give(call, *y);
}

static lurn_status leaky_relu_backward(lurn__grad_call *grad) {
  const struct lurn__leaky_relu_args *args = grad->args;
  return leak(grad->ctx, &grad->temps, grad->saved[0], grad->grad_out[0], args->negative_slope, &grad->grad_in[0]);
}

const lurn__op lurn__op_leaky_relu = {
    .forward = leaky_relu_forward,
    .backward = leaky_relu_backward,
    .doc = "x above 0, else negative_slope x, elementwise.\nSlope negative_slope at 0. Float tensors only."};

/* ---- hardtanh ---------------------------------------------------------------------------------------------- */

static lurn_status hardtanh_forward(lurn__call *call) {
  const struct lurn__hardtanh_args *args = call->args;
  lurn_tensor **y = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  if (!(args->min_val <= args->max_val))
    return lurn__op_fail(call, LURN_EVALUE, "min_val is %g and max_val %g; expected min_val <= max_val", args->min_val,
                         args->max_val);
  LURN__TRY(lurn__save_in(call, 0, args->x));
  LURN__TRY(lurn__clamp(call->ctx, args->x, args->min_val, args->max_val, y));
  return lurn__give(call, *y);
}

static lurn_status hardtanh_backward(lurn__grad_call *grad) {
  const struct lurn__hardtanh_args *args = grad->args;
  lurn_ctx *ctx = grad->ctx;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *x = grad->saved[0], **min = lurn__temp(temps), **max = lurn__temp(temps), **zero = lurn__temp(temps),
              **below = lurn__temp(temps), **above = lurn__temp(temps), **outside = lurn__temp(temps);
  LURN__TRY(lurn_scalar(ctx, args->min_val, min));
  LURN__TRY(lurn_scalar(ctx, args->max_val, max));
  LURN__TRY(lurn_scalar(ctx, 0, zero));
  LURN__TRY(lurn__le(ctx, x, *min, below));
  LURN__TRY(lurn__ge(ctx, x, *max, above));
  LURN__TRY(lurn__logical_or(ctx, *below, *above, outside));
  return lurn__where(ctx, *outside, *zero, grad->grad_out[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_hardtanh = {.forward = hardtanh_forward,
                                    .backward = hardtanh_backward,
                                    .doc = "x limited to min_val..max_val, elementwise.\nSlope 0 at the limits and "
                                           "beyond. Float tensors only."};

/* ---- gelu -------------------------------------------------------------------------------------------------- */

enum { EXACT = 0, BY_TANH = 1 };

static lurn_status float_copy(lurn__call *call, lurn_tensor *x, lurn_tensor **out) {
  if (lurn_dtype_is_float(x->dtype)) {
    *out = lurn_retain(x);
    return LURN_OK;
  }
  return lurn__to(call->ctx, x, LURN_FLOAT32, out);
}

/* A kernel of one input. */
static lurn_status apply(lurn__call *call, lurn__unary kind, lurn_tensor *x) {
  lurn__loop loop;
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  lurn__loop_begin(&loop, call->out[0]);
  LURN__TRY(lurn__loop_add(&loop, &call->temps, x, x->dtype));
  lurn__loop_unary(call->ctx, &loop, lurn__kernels_of(call->ctx)->elementwise->unary[kind][x->dtype]);
  return LURN_OK;
}

/* x / 2 (1 + tanh(u)), u = sqrt(2 / pi) (x + 0.044715 x^3), or its slope. */
static double gelu_tanh(double x) {
  double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
  return isinf(x) ? (x > 0 ? x : 0) : 0.5 * x * (1 + tanh(u));
}

static double gelu_tanh_slope(double x) {
  double u = 0.79788456080286535588 * (x + 0.044715 * x * x * x), t = tanh(u);
  double inner = 0.79788456080286535588 * (1 + 3 * 0.044715 * x * x);
  return 0.5 * (1 + t) + (t * t < 1 ? 0.5 * x * (1 - t * t) * inner : 0);
}

typedef struct curve {
  double (*of)(double);
} curve;

static void run_curve(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  const curve *c = arg;
  double *y = (double *)(void *)data[0];
  const double *x = (const double *)(void *)data[1];
  for (int64_t i = 0; i < n; i++) y[i * stride[0]] = c->of(x[i * stride[1]]);
}

/* In float64, which float32 is brought to and back. */
static lurn_status along_curve(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, double (*of)(double),
                               lurn_tensor **out) {
  lurn_tensor **wide = lurn__temp(temps);
  lurn__loop loop;
  LURN__TRY(lurn__tensor_new(ctx, LURN_FLOAT64, &x->shape, wide));
  lurn__loop_begin(&loop, *wide);
  LURN__TRY(lurn__loop_add(&loop, temps, x, LURN_FLOAT64));
  lurn__loop_run(ctx, &loop, run_curve, &(curve){of});
  return lurn__to(ctx, *wide, x->dtype, out);
}

static lurn_status gelu_forward(lurn__call *call) {
  const struct lurn__gelu_args *args = call->args;
  lurn_tensor **x = lurn__temp(&call->temps);
  if (args->approximate != EXACT && args->approximate != BY_TANH)
    return lurn__op_fail(call, LURN_EVALUE, "approximate is %lld; expected 0 (none) or 1 (tanh)",
                         (long long)args->approximate);
  LURN__TRY(float_copy(call, args->x, x));
  LURN__TRY(lurn__save_in(call, 0, *x));
  if (args->approximate == EXACT) return apply(call, LURN__UNARY_GELU, *x);
  return along_curve(call->ctx, &call->temps, *x, gelu_tanh, &call->out[0]);
}

static lurn_status gelu_backward(lurn__grad_call *grad) {
  const struct lurn__gelu_args *args = grad->args;
  lurn_tensor **slope = lurn__temp(&grad->temps);
  if (args->approximate == EXACT) return lurn__unary_grad_of(grad, LURN__UNARY_GELU);
  LURN__TRY(along_curve(grad->ctx, &grad->temps, grad->saved[0], gelu_tanh_slope, slope));
  return lurn__mul(grad->ctx, *slope, grad->grad_out[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_gelu = {
    .forward = gelu_forward,
    .backward = gelu_backward,
    .doc = "x Phi(x), elementwise, Phi the normal distribution function (Hendrycks and Gimpel 2016).\nWith approximate "
           "tanh: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). Integers give float32."};

/* ---- softplus ---------------------------------------------------------------------------------------------- */

/* log(1 + e^z) = max(z, 0) + log(1 + e^-|z|) for any z; out of temps. */
static lurn_status log_one_plus_exp(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *z, lurn_tensor **out) {
  lurn_tensor **size = lurn__temp(temps), **minus = lurn__temp(temps), **power = lurn__temp(temps),
              **tail = lurn__temp(temps), **head = lurn__temp(temps);
  LURN__TRY(lurn__abs(ctx, z, size));
  LURN__TRY(lurn__neg(ctx, *size, minus));
  LURN__TRY(lurn__exp(ctx, *minus, power));
  LURN__TRY(lurn__log1p(ctx, *power, tail));
  LURN__TRY(lurn__relu(ctx, z, head));
  return lurn__add(ctx, *head, *tail, out);
}

static bool is_plain(const struct lurn__softplus_args *args) { return args->beta == 1 && args->threshold == 20; }

/* z = beta x, and where it lies above the threshold. */
static lurn_status scale_and_test(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x,
                                  const struct lurn__softplus_args *args, lurn_tensor **z, lurn_tensor **above) {
  lurn_tensor **beta = lurn__temp(temps), **threshold = lurn__temp(temps);
  LURN__TRY(lurn_scalar(ctx, args->beta, beta));
  LURN__TRY(lurn_scalar(ctx, args->threshold, threshold));
  LURN__TRY(lurn__mul(ctx, x, *beta, z));
  return lurn__gt(ctx, *z, *threshold, above);
}

static lurn_status softplus_forward(lurn__call *call) {
  const struct lurn__softplus_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor **x = lurn__temp(temps), **z = lurn__temp(temps), **above = lurn__temp(temps),
              **curved = lurn__temp(temps), **beta = lurn__temp(temps), **y = lurn__temp(temps);
  if (!(args->beta > 0)) return lurn__op_fail(call, LURN_EVALUE, "beta is %g; expected a number above 0", args->beta);
  LURN__TRY(float_copy(call, args->x, x));
  LURN__TRY(lurn__save_in(call, 0, *x));
  if (is_plain(args)) return apply(call, LURN__UNARY_SOFTPLUS, *x);
  LURN__TRY(scale_and_test(call->ctx, temps, *x, args, z, above));
  LURN__TRY(log_one_plus_exp(call->ctx, temps, *z, curved));
  LURN__TRY(lurn_scalar(call->ctx, args->beta, beta));
  LURN__TRY(lurn__div(call->ctx, *curved, *beta, y));
  return lurn__where(call->ctx, *above, *x, *y, &call->out[0]);
}

static lurn_status softplus_backward(lurn__grad_call *grad) {
  const struct lurn__softplus_args *args = grad->args;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *gy = grad->grad_out[0], **z = lurn__temp(temps), **above = lurn__temp(temps),
              **slope = lurn__temp(temps), **g = lurn__temp(temps);
  if (is_plain(args)) return lurn__unary_grad_of(grad, LURN__UNARY_SOFTPLUS);
  LURN__TRY(scale_and_test(grad->ctx, temps, grad->saved[0], args, z, above));
  LURN__TRY(lurn__sigmoid(grad->ctx, *z, slope));
  LURN__TRY(lurn__mul(grad->ctx, gy, *slope, g));
  return lurn__where(grad->ctx, *above, gy, *g, &grad->grad_in[0]);
}

const lurn__op lurn__op_softplus = {
    .forward = softplus_forward,
    .backward = softplus_backward,
    .doc = "log(1 + e^(beta x)) / beta, elementwise; x itself where beta x is above threshold.\nIntegers give "
           "float32."};
