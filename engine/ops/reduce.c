/* Reductions over any dimensions. */
#include <math.h>

#include "ops/index.h"
#include "ops/loop.h"

/* ---- Which dimensions -------------------------------------------------------------------------------------- */

typedef struct reduction {
  bool reduced[LURN_MAX_DIMS];
  lurn__shape kept;  /* sizes with 1 where reduced */
  lurn__shape shape; /* the result's: kept or without the reduced ones */
  int64_t count;     /* elements that go into one */
} reduction;

static lurn_status plan_reduction(lurn_ctx *ctx, const char *who, const lurn__shape *x, lurn_ints dims, bool keepdim,
                                  reduction *out) {
  *out = (reduction){.kept = *x, .count = 1};
  LURN__TRY(lurn__dims(ctx, who, dims, x->ndim, out->reduced));
  for (int i = 0; i < x->ndim; i++) {
    if (out->reduced[i]) {
      out->count *= x->size[i];
      out->kept.size[i] = 1;
    }
    if (!out->reduced[i] || keepdim) out->shape.size[out->shape.ndim++] = out->kept.size[i];
  }
  return LURN_OK;
}

/* x with the reduced dimensions last and contiguous, or as it is when they form one block: then reduce_axis does it. */
typedef struct arranged {
  lurn_tensor *x;
  int64_t order[LURN_MAX_DIMS]; /* of the dimensions of what x was */
  int64_t outer, n, inner;
} arranged;

static lurn_status arrange(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, const reduction *r, arranged *out) {
  int first = 0, last, ndim = x->shape.ndim;
  while (first < ndim && !r->reduced[first]) first++;
  last = first;
  while (last < ndim && r->reduced[last]) last++;
  bool block = true;
  for (int i = last; i < ndim; i++) block = block && !r->reduced[i];
  lurn_tensor **moved = lurn__temp(temps), **flat = lurn__temp(temps);
  *out = (arranged){.outer = 1, .n = r->count, .inner = 1};
  if (block) {
    for (int i = 0; i < ndim; i++) out->order[i] = i;
    for (int i = 0; i < first; i++) out->outer *= x->shape.size[i];
    for (int i = last; i < ndim; i++) out->inner *= x->shape.size[i];
    LURN__TRY(lurn__as_contiguous(ctx, x, x->dtype, flat));
    out->x = *flat;
    return LURN_OK;
  }
  int count = 0;
  for (int i = 0; i < ndim; i++)
    if (!r->reduced[i]) {
      out->order[count++] = i;
      out->outer *= x->shape.size[i];
    }
  for (int i = 0; i < ndim; i++)
    if (r->reduced[i]) out->order[count++] = i;
  LURN__TRY(lurn__permute(ctx, x, out->order, ndim, moved));
  LURN__TRY(lurn__as_contiguous(ctx, *moved, x->dtype, flat));
  out->x = *flat;
  return LURN_OK;
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

typedef struct reduce_run {
  const lurn__rowwise *kernels;
  lurn__reduction kind;
  lurn_dtype dtype;
  const char *x;
  char *y;
  size_t x_width, y_width;
  int64_t n, inner;
} reduce_run;

static void run_rows(const void *arg, int64_t first, int64_t last) {
  const reduce_run *run = arg;
  const char *x = run->x + (size_t)(first * run->n * run->inner) * run->x_width;
  char *y = run->y + (size_t)(first * run->inner) * run->y_width;
  if (run->inner == 1) run->kernels->reduce_rows[run->kind][run->dtype](last - first, run->n, x, run->n, y);
  else run->kernels->reduce_axis[run->kind][run->dtype](last - first, run->n, run->inner, x, y);
}

/* One long row: parts of fixed length, added in order. */
enum { PART = 65536 };

typedef struct total_run {
  lurn__total_fn *fn;
  const char *x;
  size_t width;
  int64_t n;
  double *parts;
} total_run;

static void run_total(const void *arg, int64_t first, int64_t last) {
  const total_run *run = arg;
  for (int64_t i = first; i < last; i++) {
    int64_t left = run->n - i * PART;
    run->parts[i] = run->fn(left < PART ? left : PART, run->x + (size_t)(i * PART) * run->width);
  }
}

static lurn_status sum_one_row(lurn_ctx *ctx, const lurn__kernels *kernels, const arranged *in, lurn_tensor *out) {
  int64_t count = (in->n + PART - 1) / PART;
  double *parts = lurn__alloc_array(ctx, (size_t)count, sizeof *parts), total = 0;
  if (parts == NULL) return LURN_ENOMEM;
  total_run run = {kernels->rowwise->sum[in->x->dtype], lurn__tensor_ptr(in->x), lurn__tensor_width(in->x), in->n,
                   parts};
  lurn__for_rows(ctx, count, PART, run_total, &run);
  for (int64_t i = 0; i < count; i++) total += parts[i];
  lurn__free(ctx, parts, (size_t)count * sizeof *parts);
  lurn__store(out->dtype, lurn__tensor_ptr(out), total);
  return LURN_OK;
}

static lurn_status reduce_into(lurn_ctx *ctx, const arranged *in, lurn__reduction kind, lurn_tensor *out) {
  const lurn__kernels *kernels = lurn__kernels_of(ctx);
  bool one_row = in->outer == 1 && in->inner == 1 && in->n > PART;
  if (one_row && kind == LURN__REDUCE_SUM && lurn_dtype_is_float(in->x->dtype))
    return sum_one_row(ctx, kernels, in, out);
  reduce_run run = {kernels->rowwise,
                    kind,
                    in->x->dtype,
                    lurn__tensor_ptr(in->x),
                    lurn__tensor_ptr(out),
                    lurn__tensor_width(in->x),
                    lurn__tensor_width(out),
                    in->n,
                    in->inner};
  lurn__for_rows(ctx, in->outer, in->n * in->inner, run_rows, &run);
  return LURN_OK;
}

static lurn_status reduce(lurn__call *call, lurn_tensor *x, const reduction *r, lurn__reduction kind,
                          lurn_dtype dtype) {
  arranged in;
  LURN__TRY(arrange(call->ctx, &call->temps, x, r, &in));
  LURN__TRY(lurn__out(call, 0, dtype, &r->shape));
  return reduce_into(call->ctx, &in, kind, call->out[0]);
}

/* The gradient of the result, seen with the reduced dimensions kept and stretched to x's shape. */
static lurn_status stretch(lurn__grad_call *grad, lurn_tensor *g, const reduction *r, lurn_tensor **out) {
  lurn_tensor **kept = lurn__temp(&grad->temps);
  LURN__TRY(lurn__reshape(grad->ctx, g, r->kept.size, r->kept.ndim, kept));
  return lurn__expand(grad->ctx, *kept, grad->in[0].shape.size, grad->in[0].shape.ndim, out);
}

/* ---- sum, mean --------------------------------------------------------------------------------------------- */

static lurn_status sum_forward(lurn__call *call) {
  const struct lurn__sum_args *args = call->args;
  reduction r;
  LURN__TRY(plan_reduction(call->ctx, "sum", &args->x->shape, args->dim, args->keepdim, &r));
  lurn_dtype dtype = lurn_dtype_is_float(args->x->dtype) ? args->x->dtype : LURN_INT64;
  return reduce(call, args->x, &r, LURN__REDUCE_SUM, dtype);
}

static lurn_status sum_backward(lurn__grad_call *grad) {
  const struct lurn__sum_args *args = grad->args;
  reduction r;
  LURN__TRY(plan_reduction(grad->ctx, "sum", &grad->in[0].shape, args->dim, args->keepdim, &r));
  return stretch(grad, grad->grad_out[0], &r, &grad->grad_in[0]);
}

const lurn__op lurn__op_sum = {
    .forward = sum_forward,
    .backward = sum_backward,
    .doc = "The sum over the dimensions dim, or over all.\nkeepdim keeps them with size 1. Integers "
           "and bools give int64. Of no elements: 0."};

static lurn_status mean_forward(lurn__call *call) {
  const struct lurn__mean_args *args = call->args;
  reduction r;
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  LURN__TRY(plan_reduction(call->ctx, "mean", &args->x->shape, args->dim, args->keepdim, &r));
  LURN__TRY(reduce(call, args->x, &r, LURN__REDUCE_SUM, args->x->dtype));
  lurn_tensor **count = lurn__temp(&call->temps);
  LURN__TRY(lurn_scalar(call->ctx, (double)r.count, count));
  return lurn__div_(call->ctx, call->out[0], *count);
}

static lurn_status mean_backward(lurn__grad_call *grad) {
  const struct lurn__mean_args *args = grad->args;
  reduction r;
  LURN__TRY(plan_reduction(grad->ctx, "mean", &grad->in[0].shape, args->dim, args->keepdim, &r));
  lurn_tensor **count = lurn__temp(&grad->temps), **share = lurn__temp(&grad->temps);
  LURN__TRY(lurn_scalar(grad->ctx, (double)r.count, count));
  LURN__TRY(lurn__div(grad->ctx, grad->grad_out[0], *count, share));
  return stretch(grad, *share, &r, &grad->grad_in[0]);
}

const lurn__op lurn__op_mean = {
    .forward = mean_forward,
    .backward = mean_backward,
    .doc = "The mean over the dimensions dim, or over all.\nkeepdim keeps them with size 1. Float "
           "tensors only. Of no elements: NaN."};

/* ---- prod -------------------------------------------------------------------------------------------------- */

static lurn_status prod_forward(lurn__call *call) {
  const struct lurn__prod_args *args = call->args;
  reduction r;
  LURN__TRY(plan_reduction(call->ctx, "prod", &args->x->shape, args->dim, args->keepdim, &r));
  LURN__TRY(lurn__save_in(call, 0, args->x));
  lurn_dtype dtype = lurn_dtype_is_float(args->x->dtype) ? args->x->dtype : LURN_INT64;
  return reduce(call, args->x, &r, LURN__REDUCE_PROD, dtype);
}

/* gx_i is gy times the product of all others, without a division: what comes before times what comes after. */
static void product_of_others(int64_t n, int64_t step, double gy, const double *x, double *gx) {
  double before = gy, after = 1;
  for (int64_t i = 0; i < n; i++) {
    gx[i * step] = before;
    before *= x[i * step];
  }
  for (int64_t i = n - 1; i >= 0; i--) {
    gx[i * step] *= after;
    after *= x[i * step];
  }
}

/* In double, so that float32 neither overflows nor underflows on the way. */
static lurn_status prod_backward(lurn__grad_call *grad) {
  const struct lurn__prod_args *args = grad->args;
  lurn_ctx *ctx = grad->ctx;
  lurn__temps *temps = &grad->temps;
  lurn_tensor **x = lurn__temp(temps), **gy = lurn__temp(temps), **gx = lurn__temp(temps), **moved = lurn__temp(temps);
  reduction r;
  arranged in;
  int64_t back[LURN_MAX_DIMS];
  LURN__TRY(plan_reduction(ctx, "prod", &grad->in[0].shape, args->dim, args->keepdim, &r));
  LURN__TRY(arrange(ctx, temps, grad->saved[0], &r, &in));
  LURN__TRY(lurn__as_contiguous(ctx, in.x, LURN_FLOAT64, x));
  LURN__TRY(lurn__as_contiguous(ctx, grad->grad_out[0], LURN_FLOAT64, gy));
  LURN__TRY(lurn__tensor_new(ctx, LURN_FLOAT64, &in.x->shape, gx));
  for (int64_t i = 0; i < in.outer * in.inner; i++) {
    int64_t at = i / in.inner * in.n * in.inner + i % in.inner;
    product_of_others(in.n, in.inner, lurn__f64(*gy)[i], lurn__f64(*x) + at, lurn__f64(*gx) + at);
  }
  for (int i = 0; i < in.x->shape.ndim; i++) back[in.order[i]] = i;
  LURN__TRY(lurn__permute(ctx, *gx, back, in.x->shape.ndim, moved));
  return lurn__to(ctx, *moved, grad->in[0].dtype, &grad->grad_in[0]);
}

const lurn__op lurn__op_prod = {
    .forward = prod_forward,
    .backward = prod_backward,
    .doc = "The product over the dimensions dim, or over all.\nkeepdim keeps them with size 1. Integers and bools give "
           "int64. Of no elements: 1. The gradient holds where x is 0 too."};

/* ---- amax, amin -------------------------------------------------------------------------------------------- */

enum { SAVED_X = 0, SAVED_RESULT = 1 };

static lurn_status extremum(lurn__call *call, lurn_tensor *x, lurn_ints dims, bool keepdim, lurn__reduction kind) {
  reduction r;
  LURN__TRY(plan_reduction(call->ctx, call->info->name, &x->shape, dims, keepdim, &r));
  if (r.count == 0) return lurn__op_fail(call, LURN_ESHAPE, "no elements to choose from in shape %s", LURN__SHAPE(x));
  LURN__TRY(lurn__save_in(call, SAVED_X, x));
  LURN__TRY(reduce(call, x, &r, kind, x->dtype));
  return lurn__save_out(call, SAVED_RESULT, call->out[0]);
}

/* Elements equal to the result share its gradient evenly. */
static lurn_status extremum_backward(lurn__grad_call *grad, lurn_ints dims, bool keepdim) {
  reduction r;
  lurn_ctx *ctx = grad->ctx;
  LURN__TRY(plan_reduction(ctx, grad->info->name, &grad->in[0].shape, dims, keepdim, &r));
  lurn__temps *temps = &grad->temps;
  lurn_tensor **best = lurn__temp(temps), **equal = lurn__temp(temps), **mask = lurn__temp(temps),
              **ties = lurn__temp(temps), **g = lurn__temp(temps), **share = lurn__temp(temps);
  LURN__TRY(stretch(grad, grad->saved[SAVED_RESULT], &r, best));
  LURN__TRY(lurn__eq(ctx, grad->saved[SAVED_X], *best, equal));
  LURN__TRY(lurn__to(ctx, *equal, grad->in[0].dtype, mask));
  LURN__TRY(lurn__sum(ctx, *mask, dims.values, dims.count, true, ties));
  LURN__TRY(stretch(grad, grad->grad_out[0], &r, g));
  LURN__TRY(lurn__mul(ctx, *g, *mask, share));
  return lurn__div(ctx, *share, *ties, &grad->grad_in[0]);
}

static lurn_status amax_forward(lurn__call *call) {
  const struct lurn__amax_args *args = call->args;
  return extremum(call, args->x, args->dim, args->keepdim, LURN__REDUCE_MAX);
}

static lurn_status amax_backward(lurn__grad_call *grad) {
  const struct lurn__amax_args *args = grad->args;
  return extremum_backward(grad, args->dim, args->keepdim);
}

const lurn__op lurn__op_amax = {.forward = amax_forward,
                                .backward = amax_backward,
                                .doc =
                                    "The largest element over the dimensions dim, or over all; NaN when there is one.\n"
                                    "keepdim keeps them with size 1. Equal largest elements share the gradient."};

static lurn_status amin_forward(lurn__call *call) {
  const struct lurn__amin_args *args = call->args;
  return extremum(call, args->x, args->dim, args->keepdim, LURN__REDUCE_MIN);
}

static lurn_status amin_backward(lurn__grad_call *grad) {
  const struct lurn__amin_args *args = grad->args;
  return extremum_backward(grad, args->dim, args->keepdim);
}

const lurn__op lurn__op_amin = {
    .forward = amin_forward,
    .backward = amin_backward,
    .doc = "The smallest element over the dimensions dim, or over all; NaN when there is one.\n"
           "keepdim keeps them with size 1. Equal smallest elements share the gradient."};

/* ---- max, min: with positions ------------------------------------------------------------------------------ */

enum { SAVED_POSITIONS = 0 };

static lurn_status positions_of(lurn__call *call, lurn_tensor *x, const reduction *r, lurn__reduction kind,
                                int64_t base, lurn_tensor *out) {
  arranged in;
  LURN__TRY(arrange(call->ctx, &call->temps, x, r, &in));
  LURN__TRY(reduce_into(call->ctx, &in, kind, out));
  int64_t n = lurn__numel(out);
  for (int64_t i = 0; i < n; i++) lurn__i64(out)[i] += base;
  return LURN_OK;
}

static lurn_status extremum_at(lurn__call *call, lurn_tensor *x, int64_t dim, bool keepdim, int64_t base,
                               lurn__reduction value_kind, lurn__reduction position_kind) {
  reduction r;
  LURN__TRY(plan_reduction(call->ctx, call->info->name, &x->shape, (lurn_ints){&dim, 1}, keepdim, &r));
  if (r.count == 0) return lurn__op_fail(call, LURN_ESHAPE, "no elements to choose from in shape %s", LURN__SHAPE(x));
  LURN__TRY(reduce(call, x, &r, value_kind, x->dtype));
  LURN__TRY(lurn__out(call, 1, LURN_INT64, &r.shape));
  LURN__TRY(positions_of(call, x, &r, position_kind, base, call->out[1]));
  return lurn__save_in(call, SAVED_POSITIONS, call->out[1]);
}

static lurn_status extremum_at_backward(lurn__grad_call *grad, int64_t dim, bool keepdim, int64_t base) {
  reduction r;
  LURN__TRY(plan_reduction(grad->ctx, grad->info->name, &grad->in[0].shape, (lurn_ints){&dim, 1}, keepdim, &r));
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  lurn_tensor **index = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  LURN__TRY(lurn__reshape(grad->ctx, grad->saved[SAVED_POSITIONS], r.kept.size, r.kept.ndim, index));
  LURN__TRY(lurn__reshape(grad->ctx, grad->grad_out[0], r.kept.size, r.kept.ndim, g));
  int along;
  LURN__TRY(lurn__dim(grad->ctx, grad->info->name, dim, r.kept.ndim, &along));
  return lurn__add_at(grad->ctx, grad->grad_in[0], along, *index, base, *g);
}

static lurn_status max_forward(lurn__call *call) {
  const struct lurn__max_args *args = call->args;
  return extremum_at(call, args->x, args->dim, args->keepdim, args->base, LURN__REDUCE_MAX, LURN__REDUCE_ARGMAX);
}

static lurn_status max_backward(lurn__grad_call *grad) {
  const struct lurn__max_args *args = grad->args;
  return grad->grad_out[0] == NULL ? LURN_OK : extremum_at_backward(grad, args->dim, args->keepdim, args->base);
}

const lurn__op lurn__op_max = {
    .forward = max_forward,
    .backward = max_backward,
    .doc = "The largest elements along dimension dim, and their positions (int64).\nAmong equals the "
           "first, which takes the gradient; NaN counts as largest. keepdim keeps dim with size 1."};

static lurn_status min_forward(lurn__call *call) {
  const struct lurn__min_args *args = call->args;
  return extremum_at(call, args->x, args->dim, args->keepdim, args->base, LURN__REDUCE_MIN, LURN__REDUCE_ARGMIN);
}

static lurn_status min_backward(lurn__grad_call *grad) {
  const struct lurn__min_args *args = grad->args;
  return grad->grad_out[0] == NULL ? LURN_OK : extremum_at_backward(grad, args->dim, args->keepdim, args->base);
}

const lurn__op lurn__op_min = {
    .forward = min_forward,
    .backward = min_backward,
    .doc = "The smallest elements along dimension dim, and their positions (int64).\nAmong equals "
           "the first, which takes the gradient; NaN counts as smallest. keepdim keeps dim with size "
           "1."};

/* ---- argmax, argmin ---------------------------------------------------------------------------------------- */

static lurn_status argument_of(lurn__call *call, lurn_tensor *x, lurn_ints dims, bool keepdim, int64_t base,
                               lurn__reduction kind) {
  reduction r;
  LURN__TRY(plan_reduction(call->ctx, call->info->name, &x->shape, dims, keepdim, &r));
  if (r.count == 0) return lurn__op_fail(call, LURN_ESHAPE, "no elements to choose from in shape %s", LURN__SHAPE(x));
  LURN__TRY(lurn__out(call, 0, LURN_INT64, &r.shape));
  return positions_of(call, x, &r, kind, base, call->out[0]);
}

static lurn_status argmax_forward(lurn__call *call) {
  const struct lurn__argmax_args *args = call->args;
  return argument_of(call, args->x, args->dim, args->keepdim, args->base, LURN__REDUCE_ARGMAX);
}

const lurn__op lurn__op_argmax = {
    .forward = argmax_forward,
    .doc = "Position of the largest element over the dimensions dim, or over all, counted in "
           "row-major order over them; int64.\nAmong equals the first; NaN counts as largest."};

static lurn_status argmin_forward(lurn__call *call) {
  const struct lurn__argmin_args *args = call->args;
  return argument_of(call, args->x, args->dim, args->keepdim, args->base, LURN__REDUCE_ARGMIN);
}

const lurn__op lurn__op_argmin = {
    .forward = argmin_forward,
    .doc = "Position of the smallest element over the dimensions dim, or over all, counted in "
           "row-major order over them; int64.\nAmong equals the first; NaN counts as smallest."};

/* ---- logsumexp --------------------------------------------------------------------------------------------- */

typedef struct lse_run {
  const lurn__rowwise *kernels;
  lurn_dtype dtype;
  const char *x, *gy; /* gy NULL: forward */
  char *lse, *gx;
  int64_t n;
} lse_run;

static void run_lse(const void *arg, int64_t first, int64_t last) {
  const lse_run *run = arg;
  size_t width = lurn_dtype_size(run->dtype), at = (size_t)first * width, row = at * (size_t)run->n;
  int64_t rows = last - first, n = run->n;
  if (run->gy == NULL) run->kernels->logsumexp[run->dtype](rows, n, run->x + row, n, run->lse + at);
  else
    run->kernels->logsumexp_grad[run->dtype](rows, n, run->gy + at, run->x + row, n, run->lse + at, run->gx + row, n);
}

/* x with dimension dim last, contiguous; order says where its dimensions came from. */
static lurn_status dim_last(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, const reduction *r, int64_t dim,
                            int64_t order[LURN_MAX_DIMS], lurn_tensor **out) {
  lurn_tensor **moved = lurn__temp(temps);
  int count = 0;
  for (int i = 0; i < x->shape.ndim; i++)
    if (!r->reduced[i]) order[count++] = i;
  if (x->shape.ndim > 0) order[count] = dim < 0 ? dim + x->shape.ndim : dim;
  LURN__TRY(lurn__permute(ctx, x, order, x->shape.ndim, moved));
  return lurn__as_contiguous(ctx, *moved, x->dtype, out);
}

static lurn_status logsumexp_forward(lurn__call *call) {
  const struct lurn__logsumexp_args *args = call->args;
  reduction r;
  int64_t order[LURN_MAX_DIMS];
  lurn_tensor *x = args->x, **rows = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, x, "x"));
  LURN__TRY(plan_reduction(call->ctx, "logsumexp", &x->shape, (lurn_ints){&args->dim, 1}, args->keepdim, &r));
  LURN__TRY(dim_last(call->ctx, &call->temps, x, &r, args->dim, order, rows));
  LURN__TRY(lurn__save_in(call, SAVED_X, x));
  LURN__TRY(lurn__out(call, 0, x->dtype, &r.shape));
  LURN__TRY(lurn__save_out(call, SAVED_RESULT, call->out[0]));
  lse_run run = {.kernels = lurn__kernels_of(call->ctx)->rowwise,
                 .dtype = x->dtype,
                 .x = lurn__tensor_ptr(*rows),
                 .lse = lurn__tensor_ptr(call->out[0]),
                 .n = r.count};
  lurn__for_rows(call->ctx, lurn__numel(call->out[0]), r.count * 4, run_lse, &run);
  return LURN_OK;
}

/* gy e^(x - lse) */
static lurn_status logsumexp_backward(lurn__grad_call *grad) {
  const struct lurn__logsumexp_args *args = grad->args;
  lurn_ctx *ctx = grad->ctx;
  reduction r;
  int64_t order[LURN_MAX_DIMS], back[LURN_MAX_DIMS];
  lurn_tensor *x = grad->saved[SAVED_X], **rows = lurn__temp(&grad->temps), **lse = lurn__temp(&grad->temps),
              **gy = lurn__temp(&grad->temps), **gx = lurn__temp(&grad->temps);
  LURN__TRY(plan_reduction(ctx, "logsumexp", &x->shape, (lurn_ints){&args->dim, 1}, args->keepdim, &r));
  LURN__TRY(dim_last(ctx, &grad->temps, x, &r, args->dim, order, rows));
  LURN__TRY(lurn__as_contiguous(ctx, grad->saved[SAVED_RESULT], x->dtype, lse));
  LURN__TRY(lurn__as_contiguous(ctx, grad->grad_out[0], x->dtype, gy));
  LURN__TRY(lurn__tensor_new(ctx, x->dtype, &(*rows)->shape, gx));
  lse_run run = {.kernels = lurn__kernels_of(ctx)->rowwise,
                 .dtype = x->dtype,
                 .x = lurn__tensor_ptr(*rows),
                 .gy = lurn__tensor_ptr(*gy),
                 .lse = lurn__tensor_ptr(*lse),
                 .gx = lurn__tensor_ptr(*gx),
                 .n = r.count};
  lurn__for_rows(ctx, lurn__numel(*lse), r.count * 4, run_lse, &run);
  for (int i = 0; i < x->shape.ndim; i++) back[order[i]] = i;
  return lurn__permute(ctx, *gx, back, x->shape.ndim, &grad->grad_in[0]);
}

const lurn__op lurn__op_logsumexp = {
    .forward = logsumexp_forward,
    .backward = logsumexp_backward,
    .doc = "log sum e^x along dimension dim, without overflow.\nkeepdim keeps dim with size 1. "
           "Of no elements: -inf. Where all are -inf the result is too, and passes no gradient."};
