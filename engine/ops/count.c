/* Counting elements, and values in order: any, all, count_nonzero, median, unique, searchsorted. */
#include <math.h>
#include <string.h>

#include "ops/index.h"

/* ---- any, all, count_nonzero ------------------------------------------------------------------------------- */

/* How many elements are 0 (or are not) over the dimensions, as int64. */
static lurn_status count(lurn__call *call, lurn_tensor *x, bool zeros, lurn_ints dims, bool keepdim,
                         lurn_tensor **out) {
  lurn_tensor **is_zero = lurn__temp(&call->temps), **flags = lurn__temp(&call->temps);
  bool counted[LURN_MAX_DIMS]; /* read here so that errors name the op that was called */
  LURN__TRY(lurn__dims(call->ctx, call->info->name, dims, x->shape.ndim, counted));
  LURN__TRY(lurn__logical_not(call->ctx, x, is_zero));
  if (!zeros) LURN__TRY(lurn__logical_not(call->ctx, *is_zero, flags));
  return lurn__sum(call->ctx, zeros ? *is_zero : *flags, dims.values, dims.count, keepdim, out);
}

static lurn_status any_forward(lurn__call *call) {
  const struct lurn__any_args *args = call->args;
  lurn_tensor **n = lurn__temp(&call->temps);
  LURN__TRY(count(call, args->x, false, args->dim, args->keepdim, n));
  return lurn__to(call->ctx, *n, LURN_BOOL, &call->out[0]);
}

const lurn__op lurn__op_any = {.forward = any_forward,
                               .doc = "Whether an element is not 0, over the dimensions dim or over all, as bool.\n"
                                      "keepdim keeps them with size 1. Of no elements: false."};

static lurn_status all_forward(lurn__call *call) {
  const struct lurn__all_args *args = call->args;
  lurn_tensor **n = lurn__temp(&call->temps);
  LURN__TRY(count(call, args->x, true, args->dim, args->keepdim, n));
  return lurn__logical_not(call->ctx, *n, &call->out[0]);
}

const lurn__op lurn__op_all = {.forward = all_forward,
                               .doc = "Whether no element is 0, over the dimensions dim or over all, as bool.\n"
                                      "keepdim keeps them with size 1. Of no elements: true."};

static lurn_status count_nonzero_forward(lurn__call *call) {
  const struct lurn__count_nonzero_args *args = call->args;
  return count(call, args->x, false, args->dim, args->keepdim, &call->out[0]);
}

const lurn__op lurn__op_count_nonzero = {.forward = count_nonzero_forward,
                                         .doc = "How many elements are not 0, over the dimensions dim or over all; "
                                                "int64.\nkeepdim keeps them with size 1."};

/* ---- median ------------------------------------------------------------------------------------------------ */

enum { SAVED_POSITIONS = 0 };

/* Where the median stands among n sorted values: the lower one of two, or the first NaN. */
static lurn_status middle(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *sorted, int64_t dim, int64_t n,
                          lurn_tensor **out) {
  lurn_tensor **is_nan = lurn__temp(temps), **nans = lurn__temp(temps), **end = lurn__temp(temps),
              **half = lurn__temp(temps), **first = lurn__temp(temps);
  LURN__TRY(lurn__isnan(ctx, sorted, is_nan));
  LURN__TRY(lurn__sum(ctx, *is_nan, &dim, 1, true, nans));
  LURN__TRY(lurn_scalar_int(ctx, n, end));
  LURN__TRY(lurn_scalar_int(ctx, (n - 1) / 2, half));
  LURN__TRY(lurn__sub(ctx, *end, *nans, first));
  return lurn__where(ctx, *nans, *first, *half, out);
}

/* Without dimension dim of size 1, in memory of its own. */
static lurn_status finish_median(lurn__call *call, int i, lurn_tensor *t, int dim, bool keepdim) {
  if (keepdim) call->out[i] = lurn_retain(t);
  else LURN__TRY(lurn__squeeze(call->ctx, t, dim, &call->out[i]));
  return LURN_OK;
}

static lurn_status median_forward(lurn__call *call) {
  const struct lurn__median_args *args = call->args;
  lurn_ctx *ctx = call->ctx;
  lurn__temps *temps = &call->temps;
  lurn_tensor *x = args->x, **line = lurn__temp(temps), **values = lurn__temp(temps), **places = lurn__temp(temps),
              **at = lurn__temp(temps), **value = lurn__temp(temps), **place = lurn__temp(temps),
              **base = lurn__temp(temps);
  bool keepdim = args->keepdim && x->shape.ndim > 0;
  int dim;
  LURN__TRY(lurn__dim(ctx, "median", args->dim, x->shape.ndim, &dim));
  if (x->shape.ndim == 0) LURN__TRY(lurn__reshape(ctx, x, (int64_t[]){1}, 1, line));
  else *line = lurn_retain(x);
  int64_t n = (*line)->shape.size[dim];
  if (n == 0) return lurn__op_fail(call, LURN_ESHAPE, "no elements to choose from in shape %s", LURN__SHAPE(x));
  LURN__TRY(lurn__sort(ctx, *line, dim, false, 0, values, places));
  LURN__TRY(middle(ctx, temps, *values, dim, n, at));
  LURN__TRY(lurn__gather(ctx, *values, dim, *at, 0, value));
  LURN__TRY(lurn__gather(ctx, *places, dim, *at, 0, place));
  LURN__TRY(lurn_scalar_int(ctx, args->base, base));
  LURN__TRY(lurn__add_(ctx, *place, *base));
  LURN__TRY(lurn__save_in(call, SAVED_POSITIONS, *place));
  LURN__TRY(finish_median(call, 0, *value, dim, keepdim));
  return finish_median(call, 1, *place, dim, keepdim);
}

static lurn_status median_backward(lurn__grad_call *grad) {
  const struct lurn__median_args *args = grad->args;
  lurn_tensor *places = grad->saved[SAVED_POSITIONS], **g = lurn__temp(&grad->temps), **line = lurn__temp(&grad->temps);
  int dim;
  if (grad->grad_out[0] == NULL) return LURN_OK;
  LURN__TRY(lurn__dim(grad->ctx, "median", args->dim, places->shape.ndim, &dim));
  LURN__TRY(lurn__reshape(grad->ctx, grad->grad_out[0], places->shape.size, places->shape.ndim, g));
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  if (grad->in[0].shape.ndim == 0) LURN__TRY(lurn__reshape(grad->ctx, grad->grad_in[0], (int64_t[]){1}, 1, line));
  else *line = lurn_retain(grad->grad_in[0]);
  return lurn__add_at(grad->ctx, *line, dim, places, args->base, *g);
}

const lurn__op lurn__op_median = {
    .forward = median_forward,
    .backward = median_backward,
    .doc =
        "The middle elements along dimension dim, the lower one of two, and their positions (int64).\nNaN when there "
        "is one, the first. Among equals the position is that of a stable sort. keepdim keeps dim with size 1."};

/* ---- unique ------------------------------------------------------------------------------------------------ */

static double real_at(const lurn_tensor *t, int64_t i) {
  return lurn__load(t->dtype, (const char *)lurn__tensor_ptr(t) + (size_t)i * lurn__tensor_width(t));
}

static int64_t whole_at(const lurn_tensor *t, int64_t i) {
  return lurn__load_int(t->dtype, (const char *)lurn__tensor_ptr(t) + (size_t)i * lurn__tensor_width(t));
}

static bool equal_at(const lurn_tensor *t, int64_t i, int64_t k) {
  return lurn_dtype_is_float(t->dtype) ? real_at(t, i) == real_at(t, k) : whole_at(t, i) == whole_at(t, k);
}

static lurn_status unique_forward(lurn__call *call) {
  const struct lurn__unique_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor *x = args->x, **flat = lurn__temp(temps), **sorted = lurn__temp(temps), **places = lurn__temp(temps);
  LURN__TRY(lurn__reshape(call->ctx, x, (int64_t[]){-1}, 1, flat));
  LURN__TRY(lurn__sort(call->ctx, *flat, 0, false, 0, sorted, places));
  int64_t n = lurn__numel(x), at = -1;
  lurn__shape found = {.ndim = 1};
  for (int64_t i = 0; i < n; i++) found.size[0] += i == 0 || !equal_at(*sorted, i, i - 1);
  LURN__TRY(lurn__out(call, 0, x->dtype, &found));
  LURN__TRY(lurn__out(call, 1, LURN_INT64, &x->shape));
  LURN__TRY(lurn__out(call, 2, LURN_INT64, &found));
  size_t width = lurn__tensor_width(x);
  const char *from = lurn__tensor_ptr(*sorted);
  char *to = lurn__tensor_ptr(call->out[0]);
  for (int64_t i = 0; i < n; i++) {
    if (i == 0 || !equal_at(*sorted, i, i - 1)) {
      memcpy(to + (size_t)++at * width, from + (size_t)i * width, width);
      lurn__i64(call->out[2])[at] = 0;
    }
    lurn__i64(call->out[1])[lurn__i64(*places)[i]] = at + args->base;
    lurn__i64(call->out[2])[at]++;
  }
  return LURN_OK;
}

const lurn__op lurn__op_unique = {.forward = unique_forward,
                                  .doc = "The different elements of x in rising order, where in them each element of x "
                                         "is found, and how often each comes.\nEvery NaN counts as another one, last."};

/* ---- searchsorted ------------------------------------------------------------------------------------------ */

/* NaN stands last, as sort leaves it. */
static bool stands_before(const lurn_tensor *sorted, int64_t i, const lurn_tensor *values, int64_t k, bool right) {
  if (lurn_dtype_is_float(sorted->dtype)) {
    double a = real_at(sorted, i), b = real_at(values, k);
    return right ? a <= b || isnan(b) : a < b || (isnan(b) && !isnan(a));
  }
  int64_t a = whole_at(sorted, i), b = whole_at(values, k);
  return right ? a <= b : a < b;
}

static lurn_status searchsorted_forward(lurn__call *call) {
  const struct lurn__searchsorted_args *args = call->args;
  lurn_tensor **sorted = lurn__temp(&call->temps), **values = lurn__temp(&call->temps);
  if (args->sorted->shape.ndim != 1)
    return lurn__op_fail(call, LURN_ESHAPE, "sorted has shape %s; expected one dimension", LURN__SHAPE(args->sorted));
  lurn_dtype dtype = lurn__common_dtype(args->sorted, args->values);
  if (!lurn_dtype_is_float(args->sorted->dtype) && lurn_dtype_is_float(dtype)) dtype = LURN_FLOAT64;
  LURN__TRY(lurn__as_contiguous(call->ctx, args->sorted, dtype, sorted));
  LURN__TRY(lurn__as_contiguous(call->ctx, args->values, dtype, values));
  LURN__TRY(lurn__out(call, 0, LURN_INT64, &args->values->shape));
  int64_t n = lurn__numel(*values);
  for (int64_t k = 0; k < n; k++) {
    int64_t first = 0, last = lurn__numel(*sorted);
    while (first < last) {
      int64_t half = first + (last - first) / 2;
      if (stands_before(*sorted, half, *values, k, args->right)) first = half + 1;
      else last = half;
    }
    lurn__i64(call->out[0])[k] = first + args->base;
  }
  return LURN_OK;
}

const lurn__op lurn__op_searchsorted = {
    .forward = searchsorted_forward,
    .doc = "Where each of values would be put into sorted, one dimension in rising order, to keep it so; int64.\n"
           "Before equal elements, or after them with right. NaN counts as largest."};
