/* Losses. */
#include <string.h>

#include "ops/loop.h"
#include "ops/loss.h"

lurn_status lurn__check_reduction(lurn__call *call, int64_t reduction) {
  if (reduction >= LURN__LOSS_NONE && reduction <= LURN__LOSS_SUM) return LURN_OK;
  return lurn__op_fail(call, LURN_EVALUE, "reduction %lld; expected 0 (none), 1 (mean) or 2 (sum)",
                       (long long)reduction);
}

static lurn_status as_numbers(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **out) {
  if (t->dtype == LURN_BOOL) return lurn__to(ctx, t, LURN_FLOAT32, out); /* 0 and 1 are exact in any float */
  *out = lurn_retain(t);
  return LURN_OK;
}

lurn_status lurn__difference(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *a, lurn_tensor *b, lurn_tensor **out) {
  lurn_tensor **x = lurn__temp(temps), **y = lurn__temp(temps);
  LURN__TRY(as_numbers(ctx, a, x));
  LURN__TRY(as_numbers(ctx, b, y));
  return lurn__sub(ctx, *x, *y, out);
}

/* ---- Targets ----------------------------------------------------------------------------------------------- */

/* Classes counted from 0, -1 where ignored; and the total weight of those that are not. */
static lurn_status read_targets(lurn__call *call, lurn_tensor *targets, int64_t base, int64_t ignore, int64_t classes,
                                const lurn_tensor *weight, lurn_tensor **out, double *total) {
  if (lurn_dtype_is_float(targets->dtype) || targets->dtype == LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "targets are %s; expected classes as int64 or another integer type",
                         lurn_dtype_name(targets->dtype));
  LURN__TRY(lurn__to(call->ctx, targets, LURN_INT64, out));
  int64_t *class = lurn__i64(*out), n = lurn__numel(*out);
  *total = 0;
  for (int64_t i = 0; i < n; i++) {
    if (class[i] == ignore) {
      class[i] = -1;
      continue;
    }
    int64_t given = class[i];
    class[i] = (int64_t)((uint64_t)given - (uint64_t)base);
    if ((uint64_t) class[i] >= (uint64_t)classes)
      return lurn__op_fail(call, LURN_EINDEX, "target %lld; expected a class of %lld..%lld", (long long)given,
                           (long long)base, (long long)classes - 1 + base);
    *total += weight == NULL ? 1
                             : lurn__load(weight->dtype, (char *)lurn__tensor_ptr(weight) +
                                                             class[i] * (int64_t)lurn__tensor_width(weight));
  }
  return LURN_OK;
}

static lurn_status check_classes(lurn__call *call, const lurn_tensor *x, const lurn_tensor *targets,
                                 const lurn_tensor *weight) {
  LURN__TRY(lurn__need_float(call, x, call->info->params[0].name));
  bool fits = x->shape.ndim == targets->shape.ndim + 1;
  for (int i = 0; fits && i < targets->shape.ndim; i++) fits = x->shape.size[i] == targets->shape.size[i];
  if (!fits)
    return lurn__op_fail(call, LURN_ESHAPE, "%s have shape %s and targets %s; expected (..., C) and (...)",
                         call->info->params[0].name, LURN__SHAPE(x), LURN__SHAPE(targets));
  int64_t classes = x->shape.size[x->shape.ndim - 1];
  if (weight == NULL) return LURN_OK;
  if (call->need[2])
    return lurn__op_fail(call, LURN_ESTATE, "weight requires a gradient, which it does not get here; detach it");
  if (weight->shape.ndim != 1 || weight->shape.size[0] != classes)
    return lurn__op_fail(call, LURN_ESHAPE, "weight has shape %s; expected (%lld)", LURN__SHAPE(weight),
                         (long long)classes);
  return weight->dtype == x->dtype
             ? LURN_OK
             : lurn__op_fail(call, LURN_EDTYPE, "weight is %s; expected %s like %s", lurn_dtype_name(weight->dtype),
                             lurn_dtype_name(x->dtype), call->info->params[0].name);
}

lurn_status lurn__reduce_losses(lurn__call *call, lurn_tensor *losses, int64_t reduction, double total) {
  lurn_tensor **sum = lurn__temp(&call->temps), **divisor = lurn__temp(&call->temps);
  if (reduction == LURN__LOSS_NONE) {
    call->out[0] = lurn_retain(losses);
    return LURN_OK;
  }
  if (reduction == LURN__LOSS_SUM) return lurn__sum(call->ctx, losses, NULL, 0, false, &call->out[0]);
  LURN__TRY(lurn__sum(call->ctx, losses, NULL, 0, false, sum));
  LURN__TRY(lurn_scalar(call->ctx, total, divisor));
  return lurn__div(call->ctx, *sum, *divisor, &call->out[0]);
}

/* Keeps a number for backward. */
static lurn_status save_number(lurn__call *call, int slot, double value) {
  lurn_tensor **number = lurn__temp(&call->temps);
  LURN__TRY(lurn_scalar(call->ctx, value, number));
  return lurn__save_in(call, slot, *number);
}

/* What each row's gradient is multiplied by: gy, over the total for a mean; contiguous, one for all or one per row. */
static lurn_status row_scale(lurn__grad_call *grad, int64_t reduction, lurn_tensor *total, lurn_tensor **out) {
  lurn_tensor *gy = grad->grad_out[0];
  if (reduction == LURN__LOSS_MEAN) return lurn__div(grad->ctx, gy, total, out);
  return lurn__as_contiguous(grad->ctx, gy, gy->dtype, out);
}

/* ---- cross_entropy ----------------------------------------------------------------------------------------- */

enum { SAVED_LOGITS = 0, SAVED_TARGETS, SAVED_WEIGHT, SAVED_LSE, SAVED_TOTAL };

typedef struct rows_run {
  const lurn__rowwise *kernels;
  lurn_dtype dtype;
  lurn__cross_entropy_rows rows;
  char *loss, *lse, *grad;
  const char *scale;
  int64_t scale_stride;
} rows_run;

static void run_rows(const void *arg, int64_t first, int64_t last) {
  const rows_run *run = arg;
  lurn__cross_entropy_rows rows = run->rows;
  size_t width = lurn_dtype_size(run->dtype), row_bytes = (size_t)rows.stride * width, at = (size_t)first;
  rows.rows = last - first;
  rows.logits = (const char *)rows.logits + at * row_bytes;
  rows.targets += first;
  if (run->grad == NULL)
    run->kernels->cross_entropy[run->dtype](&rows, run->loss + at * width,
                                            run->lse != NULL ? run->lse + at * width : NULL);
  else
    run->kernels->cross_entropy_grad[run->dtype](&rows, run->lse + at * width,
                                                 run->scale + (size_t)run->scale_stride * at * width, run->scale_stride,
                                                 run->grad + at * row_bytes, rows.stride);
}

static lurn_status cross_entropy_forward(lurn__call *call) {
  const struct lurn__cross_entropy_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor **logits = lurn__temp(temps), **targets = lurn__temp(temps), **weight = lurn__temp(temps),
              **losses = lurn__temp(temps), **lse = lurn__temp(temps);
  double total;
  LURN__TRY(check_classes(call, args->logits, args->targets, args->weight));
  LURN__TRY(lurn__check_reduction(call, args->reduction));
  if (!(args->label_smoothing >= 0 && args->label_smoothing <= 1))
    return lurn__op_fail(call, LURN_EVALUE, "label_smoothing is %g; expected 0..1", args->label_smoothing);
  lurn_dtype dtype = args->logits->dtype;
  int64_t classes = args->logits->shape.size[args->logits->shape.ndim - 1];
  LURN__TRY(lurn__as_contiguous(call->ctx, args->logits, dtype, logits));
  if (args->weight != NULL) LURN__TRY(lurn__as_contiguous(call->ctx, args->weight, dtype, weight));
  LURN__TRY(read_targets(call, args->targets, args->base, args->ignore_index, classes, *weight, targets, &total));
  LURN__TRY(lurn__tensor_new(call->ctx, dtype, &args->targets->shape, losses));
  if (call->recording) {
    LURN__TRY(lurn__tensor_new(call->ctx, dtype, &args->targets->shape, lse));
    LURN__TRY(lurn__save_in(call, SAVED_LOGITS, *logits));
    LURN__TRY(lurn__save_in(call, SAVED_TARGETS, *targets));
    if (*weight != NULL) LURN__TRY(lurn__save_in(call, SAVED_WEIGHT, *weight));
    LURN__TRY(lurn__save_in(call, SAVED_LSE, *lse));
    LURN__TRY(save_number(call, SAVED_TOTAL, total));
  }
  rows_run run = {.kernels = lurn__kernels_of(call->ctx)->rowwise,
                  .dtype = dtype,
                  .rows = {.classes = classes,
                           .logits = lurn__tensor_ptr(*logits),
                           .stride = classes,
                           .targets = lurn__i64(*targets),
                           .weight = *weight != NULL ? lurn__tensor_ptr(*weight) : NULL,
                           .smoothing = args->label_smoothing},
                  .loss = lurn__tensor_ptr(*losses),
                  .lse = *lse != NULL ? lurn__tensor_ptr(*lse) : NULL};
  lurn__for_rows(call->ctx, lurn__numel(*targets), classes * 4, run_rows, &run);
  return lurn__reduce_losses(call, *losses, args->reduction, total);
}

static lurn_status cross_entropy_backward(lurn__grad_call *grad) {
  const struct lurn__cross_entropy_args *args = grad->args;
  lurn_tensor *logits = grad->saved[SAVED_LOGITS], **scale = lurn__temp(&grad->temps);
  int64_t classes = logits->shape.size[logits->shape.ndim - 1];
  LURN__TRY(row_scale(grad, args->reduction, grad->saved[SAVED_TOTAL], scale));
  LURN__TRY(lurn__tensor_new(grad->ctx, logits->dtype, &logits->shape, &grad->grad_in[0]));
  const lurn_tensor *weight = grad->saved[SAVED_WEIGHT];
  rows_run run = {.kernels = lurn__kernels_of(grad->ctx)->rowwise,
                  .dtype = logits->dtype,
                  .rows = {.classes = classes,
                           .logits = lurn__tensor_ptr(logits),
                           .stride = classes,
                           .targets = lurn__i64(grad->saved[SAVED_TARGETS]),
                           .weight = weight != NULL ? lurn__tensor_ptr(weight) : NULL,
                           .smoothing = args->label_smoothing},
                  .lse = lurn__tensor_ptr(grad->saved[SAVED_LSE]),
                  .grad = lurn__tensor_ptr(grad->grad_in[0]),
                  .scale = lurn__tensor_ptr(*scale),
                  .scale_stride = args->reduction == LURN__LOSS_NONE};
  lurn__for_rows(grad->ctx, lurn__numel(grad->saved[SAVED_TARGETS]), classes * 4, run_rows, &run);
  return LURN_OK;
}

const lurn__op lurn__op_cross_entropy = {.forward = cross_entropy_forward,
                                         .backward = cross_entropy_backward,
                                         .doc = "-log softmax(logits)[target], in nats.\nlogits (..., C) with the "
                                                "classes last, targets (...) of integers, weight (C) "
                                                "or none. Targets equal to ignore_index, as given, count for nothing; "
                                                "label_smoothing s mixes in the mean over all "
                                                "classes with weight s. mean divides by the total weight of the "
                                                "targets; all ignored gives NaN. A weight that requires a gradient is "
                                                "an error. Source: Szegedy et al. "
                                                "2016 for the smoothing."};

/* ---- nll_loss ---------------------------------------------------------------------------------------------- */

enum { NLL_TARGETS = 0, NLL_WEIGHT, NLL_TOTAL };

static double class_weight(const lurn_tensor *weight, int64_t class) {
  return weight == NULL ? 1
                        : lurn__load(weight->dtype,
                                     (char *)lurn__tensor_ptr(weight) + class * (int64_t)lurn__tensor_width(weight));
}

static lurn_status nll_loss_forward(lurn__call *call) {
  const struct lurn__nll_loss_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor **x = lurn__temp(temps), **targets = lurn__temp(temps), **weight = lurn__temp(temps),
              **losses = lurn__temp(temps);
  double total;
  LURN__TRY(check_classes(call, args->log_probs, args->targets, args->weight));
  LURN__TRY(lurn__check_reduction(call, args->reduction));
  lurn_dtype dtype = args->log_probs->dtype;
  int64_t classes = args->log_probs->shape.size[args->log_probs->shape.ndim - 1];
  size_t width = lurn_dtype_size(dtype);
  LURN__TRY(lurn__as_contiguous(call->ctx, args->log_probs, dtype, x));
  if (args->weight != NULL) LURN__TRY(lurn__as_contiguous(call->ctx, args->weight, dtype, weight));
  LURN__TRY(read_targets(call, args->targets, args->base, args->ignore_index, classes, *weight, targets, &total));
  LURN__TRY(lurn__tensor_new(call->ctx, dtype, &args->targets->shape, losses));
  LURN__TRY(lurn__save_in(call, NLL_TARGETS, *targets));
  if (*weight != NULL) LURN__TRY(lurn__save_in(call, NLL_WEIGHT, *weight));
  LURN__TRY(save_number(call, NLL_TOTAL, total));
  int64_t n = lurn__numel(*targets);
  for (int64_t i = 0; i < n; i++) {
    int64_t class = lurn__i64(*targets)[i];
    const char *row = (const char *)lurn__tensor_ptr(*x) + (size_t)(i * classes) * width;
    double loss = class < 0 ? 0 : -class_weight(*weight, class) * lurn__load(dtype, row + (size_t) class * width);
    lurn__store(dtype, (char *)lurn__tensor_ptr(*losses) + (size_t)i * width, loss);
  }
  return lurn__reduce_losses(call, *losses, args->reduction, total);
}

static lurn_status nll_loss_backward(lurn__grad_call *grad) {
  const struct lurn__nll_loss_args *args = grad->args;
  lurn_tensor **scale = lurn__temp(&grad->temps), *targets = grad->saved[NLL_TARGETS];
  LURN__TRY(row_scale(grad, args->reduction, grad->saved[NLL_TOTAL], scale));
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  lurn_tensor *g = grad->grad_in[0];
  int64_t n = lurn__numel(targets), classes = g->shape.size[g->shape.ndim - 1];
  size_t width = lurn__tensor_width(g);
  for (int64_t i = 0; i < n; i++) {
    int64_t class = lurn__i64(targets)[i], at = args->reduction == LURN__LOSS_NONE ? i : 0;
    if (class < 0) continue;
    double s = lurn__load(g->dtype, (char *)lurn__tensor_ptr(*scale) + (size_t)at * width);
    lurn__store(g->dtype, (char *)lurn__tensor_ptr(g) + (size_t)(i * classes + class) * width,
                -s * class_weight(grad->saved[NLL_WEIGHT], class));
  }
  return LURN_OK;
}

const lurn__op lurn__op_nll_loss = {
    .forward = nll_loss_forward,
    .backward = nll_loss_backward,
    .doc =
        "-log_probs[target], in nats.\nlog_probs (..., C) with the classes last, targets (...) of integers, weight (C) "
        "or none. "
        "Targets equal to ignore_index, as given, count for nothing. mean divides by the total weight of the targets. "
        "A weight that requires a gradient is an error."};

/* ---- mse_loss ---------------------------------------------------------------------------------------------- */

enum { SAVED_DIFFERENCE = 0 };

static lurn_status mse_loss_forward(lurn__call *call) {
  const struct lurn__mse_loss_args *args = call->args;
  lurn_tensor **difference = lurn__temp(&call->temps), **squared = lurn__temp(&call->temps);
  LURN__TRY(lurn__check_reduction(call, args->reduction));
  LURN__TRY(lurn__need_float(call, args->input, "input"));
  if (!lurn__shape_equal(&args->input->shape, &args->target->shape))
    return lurn__op_fail(call, LURN_ESHAPE, "input has shape %s and target %s; expected the same",
                         LURN__SHAPE(args->input), LURN__SHAPE(args->target));
  LURN__TRY(lurn__difference(call->ctx, &call->temps, args->input, args->target, difference));
  LURN__TRY(lurn__square(call->ctx, *difference, squared));
  LURN__TRY(lurn__save_in(call, SAVED_DIFFERENCE, *difference));
  return lurn__reduce_losses(call, *squared, args->reduction, (double)lurn__numel(*squared));
}

/* 2 (input - target) gy, over n for the mean; the target's is the negative. */
static lurn_status mse_loss_backward(lurn__grad_call *grad) {
  const struct lurn__mse_loss_args *args = grad->args;
  lurn_tensor *difference = grad->saved[SAVED_DIFFERENCE];
  lurn_tensor **factor = lurn__temp(&grad->temps), **scale = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  double n = args->reduction == LURN__LOSS_MEAN ? (double)lurn__numel(difference) : 1;
  LURN__TRY(lurn_scalar(grad->ctx, 2 / n, factor));
  LURN__TRY(lurn__mul(grad->ctx, grad->grad_out[0], *factor, scale));
  LURN__TRY(lurn__mul(grad->ctx, difference, *scale, g));
  if (grad->need[0]) LURN__TRY(lurn__sum_to(grad->ctx, *g, &grad->in[0], &grad->grad_in[0]));
  if (!grad->need[1]) return LURN_OK;
  lurn_tensor **negative = lurn__temp(&grad->temps);
  LURN__TRY(lurn__neg(grad->ctx, *g, negative));
  return lurn__sum_to(grad->ctx, *negative, &grad->in[1], &grad->grad_in[1]);
}

const lurn__op lurn__op_mse_loss = {
    .forward = mse_loss_forward,
    .backward = mse_loss_backward,
    .doc = "(input - target)^2.\nEqual shapes, no broadcasting. mean is over all elements."};
