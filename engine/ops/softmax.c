/* Softmax and its logarithm along any dimension. */
#include "ops/loop.h"

typedef struct softmax_run {
  lurn__softmax_fn *fn;
  lurn__softmax_grad_fn *grad_fn;
  int64_t n;
  size_t width;
  const char *gy, *x;
  char *y;
} softmax_run;

static void run_rows(const void *arg, int64_t first, int64_t last) {
  const softmax_run *run = arg;
  size_t skip = (size_t)(first * run->n) * run->width;
  if (run->fn != NULL) run->fn(last - first, run->n, run->x + skip, run->n, run->y + skip, run->n);
  else run->grad_fn(last - first, run->n, run->gy + skip, run->n, run->x + skip, run->n, run->y + skip, run->n);
}

/* x with dimension dim last, contiguous. */
static lurn_status dim_last(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, int64_t dim, lurn_tensor **out) {
  lurn_tensor **moved = lurn__temp(temps), **flat = lurn__temp(temps);
  LURN__TRY(lurn__transpose(ctx, x, dim, -1, moved));
  LURN__TRY(lurn__as_contiguous(ctx, *moved, x->dtype, flat));
  *out = *flat;
  return LURN_OK;
}

/* Undoes dim_last: the rows in `flat`, laid out as (others..., dim), become *out in the original order. */
static lurn_status dim_back(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *flat, int64_t dim, lurn_tensor *out) {
  lurn_tensor **moved = lurn__temp(temps);
  LURN__TRY(lurn__transpose(ctx, flat, dim, -1, moved));
  return lurn__copy_(ctx, out, *moved);
}

static int64_t row_length(const lurn_tensor *t) { return t->shape.ndim > 0 ? t->shape.size[t->shape.ndim - 1] : 1; }

static void run(lurn_ctx *ctx, softmax_run *r, const lurn_tensor *x, const lurn_tensor *gy, lurn_tensor *y) {
  r->n = row_length(x);
  r->width = lurn__tensor_width(x);
  r->x = lurn__tensor_ptr(x);
  r->gy = gy != NULL ? lurn__tensor_ptr(gy) : NULL;
  r->y = lurn__tensor_ptr(y);
  if (r->n > 0) lurn__for_rows(ctx, lurn__numel(x) / r->n, r->n * 4, run_rows, r);
}

static lurn_status forward(lurn__call *call, lurn_tensor *x, int64_t which, lurn__softmax_fn *const *table) {
  int dim;
  lurn_tensor *rows, **result = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, x, "x"));
  LURN__TRY(lurn__dim(call->ctx, call->info->name, which, x->shape.ndim, &dim));
  LURN__TRY(dim_last(call->ctx, &call->temps, x, dim, &rows));
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  LURN__TRY(lurn__save_out(call, 0, call->out[0]));
  softmax_run r = {.fn = table[x->dtype]};
  if (dim >= x->shape.ndim - 1) {
    run(call->ctx, &r, rows, NULL, call->out[0]);
    return LURN_OK;
  }
  LURN__TRY(lurn__tensor_new(call->ctx, x->dtype, &rows->shape, result));
  run(call->ctx, &r, rows, NULL, *result);
  return dim_back(call->ctx, &call->temps, *result, dim, call->out[0]);
}

static lurn_status backward(lurn__grad_call *grad, int64_t which, lurn__softmax_grad_fn *const *table) {
  int dim;
  lurn_tensor *y = grad->saved[0], *y_rows, *gy_rows, **result = lurn__temp(&grad->temps);
  LURN__TRY(lurn__dim(grad->ctx, grad->info->name, which, y->shape.ndim, &dim));
  LURN__TRY(dim_last(grad->ctx, &grad->temps, y, dim, &y_rows));
  LURN__TRY(dim_last(grad->ctx, &grad->temps, grad->grad_out[0], dim, &gy_rows));
  LURN__TRY(lurn__tensor_new(grad->ctx, y->dtype, &y->shape, &grad->grad_in[0]));
  softmax_run r = {.grad_fn = table[y->dtype]};
  if (dim >= y->shape.ndim - 1) {
    run(grad->ctx, &r, y_rows, gy_rows, grad->grad_in[0]);
    return LURN_OK;
  }
  LURN__TRY(lurn__tensor_new(grad->ctx, y->dtype, &y_rows->shape, result));
  run(grad->ctx, &r, y_rows, gy_rows, *result);
  return dim_back(grad->ctx, &grad->temps, *result, dim, grad->grad_in[0]);
}

/* ---- softmax ----------------------------------------------------------------------------------------------- */

static lurn_status softmax_forward(lurn__call *call) {
  const struct lurn__softmax_args *args = call->args;
  return forward(call, args->x, args->dim, lurn__kernels_of(call->ctx)->rowwise->softmax);
}

static lurn_status softmax_backward(lurn__grad_call *grad) {
  const struct lurn__softmax_args *args = grad->args;
  return backward(grad, args->dim, lurn__kernels_of(grad->ctx)->rowwise->softmax_grad);
}

const lurn__op lurn__op_softmax = {.forward = softmax_forward,
                                   .backward = softmax_backward,
                                   .doc = "e^x / sum e^x along dimension dim, without overflow.\nFloat tensors only."};

/* ---- log_softmax ------------------------------------------------------------------------------------------- */

static lurn_status log_softmax_forward(lurn__call *call) {
  const struct lurn__log_softmax_args *args = call->args;
  return forward(call, args->x, args->dim, lurn__kernels_of(call->ctx)->rowwise->log_softmax);
}

static lurn_status log_softmax_backward(lurn__grad_call *grad) {
  const struct lurn__log_softmax_args *args = grad->args;
  return backward(grad, args->dim, lurn__kernels_of(grad->ctx)->rowwise->log_softmax_grad);
}

const lurn__op lurn__op_log_softmax = {
    .forward = log_softmax_forward,
    .backward = log_softmax_backward,
    .doc = "x - log sum e^x along dimension dim, without overflow.\nFloat tensors only."};
