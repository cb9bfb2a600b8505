/* Running sums and products along a dimension.  Floats are accumulated in float64, integers and bools in int64. */
#include "ops/loop.h"

typedef enum scan_kind { SCAN_SUM, SCAN_PRODUCT } scan_kind;

/* A contiguous tensor seen as (outer, n, inner). */
typedef struct scan_run {
  scan_kind kind;
  bool whole; /* int64, else float64 */
  void *data;
  const double *x, *gy; /* of the gradient of products */
  int64_t n, inner;
} scan_run;

static void scan_line(const scan_run *run, double *line) {
  for (int64_t i = 1; i < run->n; i++) {
    double before = line[(i - 1) * run->inner], *here = &line[i * run->inner];
    *here = run->kind == SCAN_SUM ? before + *here : before * *here;
  }
}

/* Wraps, so counted without sign. */
static void scan_whole_line(const scan_run *run, int64_t *line) {
  for (int64_t i = 1; i < run->n; i++) {
    uint64_t before = (uint64_t)line[(i - 1) * run->inner], here = (uint64_t)line[i * run->inner];
    line[i * run->inner] = (int64_t)(run->kind == SCAN_SUM ? before + here : before * here);
  }
}

static void run_scan(const void *arg, int64_t first, int64_t last) {
  const scan_run *run = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t k = 0; k < run->inner; k++) {
      int64_t at = o * run->n * run->inner + k;
      if (run->whole) scan_whole_line(run, (int64_t *)run->data + at);
      else scan_line(run, (double *)run->data + at);
    }
}

/* gx_i = gy_i + gx_{i+1}, in place. */
static void run_sum_back(const void *arg, int64_t first, int64_t last) {
  const scan_run *run = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t k = 0; k < run->inner; k++) {
      double *line = (double *)run->data + o * run->n * run->inner + k;
      for (int64_t i = run->n - 2; i >= 0; i--) line[i * run->inner] += line[(i + 1) * run->inner];
    }
}

/* gx_i = (x_1 .. x_{i-1}) S_i with S_i = gy_i + x_{i+1} S_{i+1}: no division, so zeros do no harm. */
static void run_product_back(const void *arg, int64_t first, int64_t last) {
  const scan_run *run = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t k = 0; k < run->inner; k++) {
      int64_t at = o * run->n * run->inner + k, step = run->inner;
      const double *x = run->x + at, *gy = run->gy + at;
      double *gx = (double *)run->data + at, tail = 0, head = 1;
      for (int64_t i = run->n - 1; i >= 0; i--) {
        tail = gy[i * step] + (i + 1 < run->n ? x[(i + 1) * step] * tail : 0);
        gx[i * step] = tail;
      }
      for (int64_t i = 0; i < run->n; i++) {
        gx[i * step] *= head;
        head *= x[i * step];
      }
    }
}

/* Runs fn over t, which the run's data belongs to. */
static void over_rows(lurn_ctx *ctx, scan_run *run, const lurn_tensor *t, int dim, lurn__rows_fn *fn) {
  int64_t outer = 1;
  run->n = run->inner = 1;
  run->data = lurn__tensor_ptr(t);
  for (int i = 0; i < t->shape.ndim; i++) {
    if (i < dim) outer *= t->shape.size[i];
    else if (i == dim) run->n = t->shape.size[i];
    else run->inner *= t->shape.size[i];
  }
  if (lurn__numel(t) > 0) lurn__for_rows(ctx, outer, run->n * run->inner, fn, run);
}

static lurn_status forward(lurn__call *call, lurn_tensor *x, int64_t which, scan_kind kind) {
  int dim;
  lurn_tensor **wide = lurn__temp(&call->temps), **y = lurn__temp(&call->temps);
  scan_run run = {.kind = kind, .whole = !lurn_dtype_is_float(x->dtype)};
  LURN__TRY(lurn__dim(call->ctx, lurn__call_name(call), which, x->shape.ndim, &dim));
  LURN__TRY(lurn__to(call->ctx, x, run.whole ? LURN_INT64 : LURN_FLOAT64, wide));
  over_rows(call->ctx, &run, *wide, dim, run_scan);
  LURN__TRY(lurn__to(call->ctx, *wide, run.whole ? LURN_INT64 : x->dtype, y));
  return lurn__give(call, *y);
}

/* ---- cumsum ------------------------------------------------------------------------------------------------ */

static lurn_status cumsum_forward(lurn__call *call) {
  const struct lurn__cumsum_args *args = call->args;
  return forward(call, args->x, args->dim, SCAN_SUM);
}

static lurn_status cumsum_backward(lurn__grad_call *grad) {
  const struct lurn__cumsum_args *args = grad->args;
  int dim;
  scan_run run = {.kind = SCAN_SUM};
  lurn_tensor **wide = lurn__temp(&grad->temps);
  LURN__TRY(lurn__dim(grad->ctx, "cumsum", args->dim, grad->in[0].shape.ndim, &dim));
  LURN__TRY(lurn__to(grad->ctx, grad->grad_out[0], LURN_FLOAT64, wide));
  over_rows(grad->ctx, &run, *wide, dim, run_sum_back);
  return lurn__to(grad->ctx, *wide, grad->in[0].dtype, &grad->grad_in[0]);
}

const lurn__op lurn__op_cumsum = {.forward = cumsum_forward,
                                  .backward = cumsum_backward,
                                  .doc = "The running sum along dimension dim: y_i = x_1 + ... + x_i.\n"
                                         "Integers and bools give int64."};

/* ---- cumprod ----------------------------------------------------------------------------------------------- */

static lurn_status cumprod_forward(lurn__call *call) {
  const struct lurn__cumprod_args *args = call->args;
  LURN__TRY(lurn__save_in(call, 0, args->x));
  return forward(call, args->x, args->dim, SCAN_PRODUCT);
}

static lurn_status cumprod_backward(lurn__grad_call *grad) {
  const struct lurn__cumprod_args *args = grad->args;
  int dim;
  lurn__temps *temps = &grad->temps;
  lurn_tensor **x = lurn__temp(temps), **gy = lurn__temp(temps), **gx = lurn__temp(temps);
  LURN__TRY(lurn__dim(grad->ctx, "cumprod", args->dim, grad->in[0].shape.ndim, &dim));
  LURN__TRY(lurn__to(grad->ctx, grad->saved[0], LURN_FLOAT64, x));
  LURN__TRY(lurn__to(grad->ctx, grad->grad_out[0], LURN_FLOAT64, gy));
  LURN__TRY(lurn__tensor_new(grad->ctx, LURN_FLOAT64, &(*x)->shape, gx));
  scan_run run = {.kind = SCAN_PRODUCT, .x = lurn__f64(*x), .gy = lurn__f64(*gy)};
  over_rows(grad->ctx, &run, *gx, dim, run_product_back);
  return lurn__to(grad->ctx, *gx, grad->in[0].dtype, &grad->grad_in[0]);
}

const lurn__op lurn__op_cumprod = {.forward = cumprod_forward,
                                   .backward = cumprod_backward,
                                   .doc = "The running product along dimension dim: y_i = x_1 ... x_i.\n"
                                          "Integers and bools give int64. The gradient holds where x is 0 too."};
