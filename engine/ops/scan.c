/* Running sums, products, extremes and log-sums along a dimension.  Floats are accumulated in float64, integers and bools in
 * int64. */
#include <math.h>

#include "ops/loop.h"

typedef enum scan_kind { SCAN_SUM, SCAN_PRODUCT, SCAN_MAX, SCAN_MIN, SCAN_LOGSUM } scan_kind;

/* A contiguous tensor seen as (outer, n, inner). */
typedef struct scan_run {
  scan_kind kind;
  bool whole; /* int64, else float64 */
  void *data;
  const double *x, *y, *gy; /* of the gradients of products and log-sums */
  int64_t *places;          /* of extremes, counted from base */
  int64_t n, inner, base;
} scan_run;

/* log(e^a + e^b). */
static double log_add(double a, double b) {
  double high = a > b ? a : b, low = a > b ? b : a;
  if (isnan(a) || isnan(b)) return a + b;
  return isinf(high) ? high : high + log1p(exp(low - high));
}

static void scan_line(const scan_run *run, double *line) {
  for (int64_t i = 1; i < run->n; i++) {
    double before = line[(i - 1) * run->inner], *here = &line[i * run->inner];
    *here = run->kind == SCAN_SUM       ? before + *here
            : run->kind == SCAN_PRODUCT ? before * *here
                                        : log_add(before, *here);
  }
}

/* Wraps, so counted without sign. */
static void scan_whole_line(const scan_run *run, int64_t *line) {
  for (int64_t i = 1; i < run->n; i++) {
    uint64_t before = (uint64_t)line[(i - 1) * run->inner], here = (uint64_t)line[i * run->inner];
    line[i * run->inner] = (int64_t)(run->kind == SCAN_SUM ? before + here : before * here);
  }
}

/* Whether `here` takes the place of the extreme so far: equal ones do, and the latest NaN stays. */
static bool takes_over(scan_kind kind, double here, double best) {
  if (isnan(here) || isnan(best)) return isnan(here);
  return kind == SCAN_MAX ? here >= best : here <= best;
}

static bool takes_over_whole(scan_kind kind, int64_t here, int64_t best) {
  return kind == SCAN_MAX ? here >= best : here <= best;
}

static void extreme_line(const scan_run *run, int64_t at) {
  double *line = run->whole ? NULL : (double *)run->data + at;
  int64_t *whole = run->whole ? (int64_t *)run->data + at : NULL, *places = run->places + at, best = 0;
  for (int64_t i = 0; i < run->n; i++) {
    int64_t here = i * run->inner, there = best * run->inner;
    bool better = run->whole ? takes_over_whole(run->kind, whole[here], whole[there])
                             : takes_over(run->kind, line[here], line[there]);
    if (better) best = i;
    places[here] = best + run->base;
  }
  for (int64_t i = run->n - 1; i >= 0; i--) { /* from the end, where nothing is read any more */
    int64_t from = (places[i * run->inner] - run->base) * run->inner;
    if (run->whole) whole[i * run->inner] = whole[from];
    else line[i * run->inner] = line[from];
  }
}

static void run_extremes(const void *arg, int64_t first, int64_t last) {
  const scan_run *run = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t k = 0; k < run->inner; k++) extreme_line(run, o * run->n * run->inner + k);
}

/* gx at the places += gy; data holds zeros. */
static void run_extremes_back(const void *arg, int64_t first, int64_t last) {
  const scan_run *run = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t k = 0; k < run->inner; k++) {
      int64_t at = o * run->n * run->inner + k, end = at + run->n * run->inner;
      double *gx = (double *)run->data + at;
      for (int64_t i = at; i < end; i += run->inner) gx[(run->places[i] - run->base) * run->inner] += run->gy[i];
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

/* gx_i = e^(x_i - y_i) S_i with S_i = gy_i + e^(y_i - y_{i+1}) S_{i+1}: y rises, so that no exponential exceeds 1. */
static void run_logsum_back(const void *arg, int64_t first, int64_t last) {
  const scan_run *run = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t k = 0; k < run->inner; k++) {
      int64_t at = o * run->n * run->inner + k, step = run->inner;
      const double *x = run->x + at, *y = run->y + at, *gy = run->gy + at;
      double *gx = (double *)run->data + at, tail = 0;
      for (int64_t i = run->n - 1; i >= 0; i--) {
        double share = i + 1 < run->n ? exp(y[i * step] - y[(i + 1) * step]) : 0;
        tail = gy[i * step] + (share == 0 ? 0 : share * tail);
        gx[i * step] = y[i * step] == -INFINITY ? 0 : exp(x[i * step] - y[i * step]) * tail;
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

/* ---- cummax, cummin ---------------------------------------------------------------------------------------- */

enum { SAVED_PLACES = 0 };

static lurn_status extremes(lurn__call *call, lurn_tensor *x, int64_t which, int64_t base, scan_kind kind) {
  int dim;
  bool whole = !lurn_dtype_is_float(x->dtype);
  lurn_tensor **wide = lurn__temp(&call->temps), **values = lurn__temp(&call->temps);
  LURN__TRY(lurn__dim(call->ctx, lurn__call_name(call), which, x->shape.ndim, &dim));
  LURN__TRY(lurn__out(call, 1, LURN_INT64, &x->shape));
  LURN__TRY(lurn__save_out(call, SAVED_PLACES, call->out[1]));
  LURN__TRY(lurn__to(call->ctx, x, whole ? LURN_INT64 : LURN_FLOAT64, wide));
  scan_run run = {.kind = kind, .whole = whole, .places = lurn__i64(call->out[1]), .base = base};
  over_rows(call->ctx, &run, *wide, dim, run_extremes);
  LURN__TRY(lurn__to(call->ctx, *wide, x->dtype, values));
  return lurn__give(call, *values);
}

static lurn_status extremes_backward(lurn__grad_call *grad, int64_t which, int64_t base) {
  int dim;
  const lurn__meta *in = &grad->in[0];
  lurn_tensor **gy = lurn__temp(&grad->temps), **gx = lurn__temp(&grad->temps);
  LURN__TRY(lurn__dim(grad->ctx, grad->info->name, which, in->shape.ndim, &dim));
  LURN__TRY(lurn__to(grad->ctx, grad->grad_out[0], LURN_FLOAT64, gy));
  LURN__TRY(lurn_zeros(grad->ctx, LURN_FLOAT64, in->shape.ndim, in->shape.size, gx));
  scan_run run = {.gy = lurn__f64(*gy), .places = lurn__i64(grad->saved[SAVED_PLACES]), .base = base};
  over_rows(grad->ctx, &run, *gx, dim, run_extremes_back);
  return lurn__to(grad->ctx, *gx, in->dtype, &grad->grad_in[0]);
}

#define EXTREME(name, kind, text)                                                                                      \
  static lurn_status name##_forward(lurn__call *call) {                                                                \
    const struct lurn__##name##_args *args = call->args;                                                               \
    return extremes(call, args->x, args->dim, args->base, kind);                                                       \
  }                                                                                                                    \
  static lurn_status name##_backward(lurn__grad_call *grad) {                                                          \
    const struct lurn__##name##_args *args = grad->args;                                                               \
    return extremes_backward(grad, args->dim, args->base);                                                             \
  }                                                                                                                    \
  const lurn__op lurn__op_##name = {                                                                                   \
      .forward = name##_forward,                                                                                       \
      .backward = name##_backward,                                                                                     \
      .doc = text ", and where it stands (int64).\nAmong equals the last so far counts; from the first NaN on the "    \
                  "values are NaN and the positions those of the latest NaN. The gradient goes to that position."}

EXTREME(cummax, SCAN_MAX, "The largest element so far along dimension dim, y_i = max(x_1, ..., x_i)");
EXTREME(cummin, SCAN_MIN, "The smallest element so far along dimension dim, y_i = min(x_1, ..., x_i)");

/* ---- logcumsumexp ------------------------------------------------------------------------------------------ */

enum { SAVED_X = 0 };

static lurn_status logcumsumexp_forward(lurn__call *call) {
  const struct lurn__logcumsumexp_args *args = call->args;
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  LURN__TRY(lurn__save_in(call, SAVED_X, args->x));
  return forward(call, args->x, args->dim, SCAN_LOGSUM);
}

/* y is computed anew from x, as float32 would not hold it well enough for e^(x - y). */
static lurn_status logcumsumexp_backward(lurn__grad_call *grad) {
  const struct lurn__logcumsumexp_args *args = grad->args;
  int dim;
  lurn__temps *temps = &grad->temps;
  lurn_tensor **x = lurn__temp(temps), **y = lurn__temp(temps), **gy = lurn__temp(temps), **gx = lurn__temp(temps);
  LURN__TRY(lurn__dim(grad->ctx, "logcumsumexp", args->dim, grad->in[0].shape.ndim, &dim));
  LURN__TRY(lurn__to(grad->ctx, grad->saved[SAVED_X], LURN_FLOAT64, x));
  LURN__TRY(lurn__to(grad->ctx, grad->grad_out[0], LURN_FLOAT64, gy));
  LURN__TRY(lurn__clone(grad->ctx, *x, y));
  LURN__TRY(lurn__tensor_new(grad->ctx, LURN_FLOAT64, &(*x)->shape, gx));
  scan_run sums = {.kind = SCAN_LOGSUM};
  over_rows(grad->ctx, &sums, *y, dim, run_scan);
  scan_run run = {.kind = SCAN_LOGSUM, .x = lurn__f64(*x), .y = lurn__f64(*y), .gy = lurn__f64(*gy)};
  over_rows(grad->ctx, &run, *gx, dim, run_logsum_back);
  return lurn__to(grad->ctx, *gx, grad->in[0].dtype, &grad->grad_in[0]);
}

const lurn__op lurn__op_logcumsumexp = {
    .forward = logcumsumexp_forward,
    .backward = logcumsumexp_backward,
    .doc =
        "The logarithm of the running sum of exponentials along dimension dim, y_i = log(e^x_1 + ... + e^x_i), without "
        "overflow.\nFloats only. Where all so far are -inf the result is too, and passes no gradient."};
