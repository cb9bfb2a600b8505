/* Activations with a parameter. */
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
              **above = lurn__temp(temps), **below = lurn__temp(temps), **inside = lurn__temp(temps);
  LURN__TRY(lurn_scalar(ctx, args->min_val, min));
  LURN__TRY(lurn_scalar(ctx, args->max_val, max));
  LURN__TRY(lurn_scalar(ctx, 0, zero));
  LURN__TRY(lurn__gt(ctx, x, *min, above));
  LURN__TRY(lurn__lt(ctx, x, *max, below));
  LURN__TRY(lurn__logical_and(ctx, *above, *below, inside));
  return lurn__where(ctx, *inside, grad->grad_out[0], *zero, &grad->grad_in[0]);
}

const lurn__op lurn__op_hardtanh = {.forward = hardtanh_forward,
                                    .backward = hardtanh_backward,
                                    .doc = "x limited to min_val..max_val, elementwise.\nSlope 0 at the limits and "
                                           "beyond. Float tensors only."};
