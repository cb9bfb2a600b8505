/* Sorting along a dimension, the largest few, and drawing from weights. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "ops/index.h"

/* A value with its place.  Integers are compared exactly, floats as double with NaN above everything. */
typedef struct item {
  union {
    double real;
    int64_t integer;
  } key;
  int64_t place;
} item;

static bool comes_before(const item *a, const item *b, bool is_float, bool descending) {
  if (!is_float) return descending ? a->key.integer > b->key.integer : a->key.integer < b->key.integer;
  double x = a->key.real, y = b->key.real;
  if (isnan(x) || isnan(y)) return descending ? isnan(x) && !isnan(y) : !isnan(x) && isnan(y);
  return descending ? x > y : x < y;
}

/* Stable bottom-up merge sort; the result is left in items. */
static void sort_items(item *items, item *spare, int64_t n, bool is_float, bool descending) {
  item *from = items, *to = spare;
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t start = 0; start < n; start += 2 * width) {
      int64_t middle = start + width < n ? start + width : n, end = middle + width < n ? middle + width : n;
      int64_t left = start, right = middle;
      for (int64_t k = start; k < end; k++) {
        bool take_right =
            left == middle || (right < end && comes_before(&from[right], &from[left], is_float, descending));
        to[k] = take_right ? from[right++] : from[left++];
      }
    }
    item *swap = from;
    from = to;
    to = swap;
  }
  if (from != items) memcpy(items, from, (size_t)n * sizeof *items);
}

static void read_items(const lurn_tensor *row, int64_t n, item *items) {
  size_t width = lurn__tensor_width(row);
  const char *p = lurn__tensor_ptr(row);
  int64_t stride = row->stride[row->shape.ndim - 1];
  for (int64_t i = 0; i < n; i++, p += stride * (int64_t)width) {
    items[i].place = i;
    if (lurn_dtype_is_float(row->dtype)) items[i].key.real = lurn__load(row->dtype, p);
    else items[i].key.integer = lurn__load_int(row->dtype, p);
  }
}

static void write_items(const item *items, int64_t k, int64_t base, lurn_dtype dtype, char *values, int64_t *indices,
                        int64_t stride) {
  int64_t width = (int64_t)lurn_dtype_size(dtype);
  for (int64_t i = 0; i < k; i++) {
    if (lurn_dtype_is_float(dtype)) lurn__store(dtype, values + i * stride * width, items[i].key.real);
    else lurn__store_int(dtype, values + i * stride * width, items[i].key.integer);
    indices[i * stride] = items[i].place + base;
  }
}

/* The first k of n in the order of their places. */
static void order_by_place(item *items, item *spare, int64_t k, int64_t n) {
  for (int64_t i = 0; i < n; i++) spare[items[i].place] = (item){.key = items[i].key, .place = i < k ? i : -1};
  for (int64_t place = 0, at = 0; place < n; place++)
    if (spare[place].place >= 0) items[at++] = (item){.key = spare[place].key, .place = place};
}

enum { SAVED_INDICES = 0 };

/* The first k of each line along dim by size, in that order or in the order of their places. */
static lurn_status sorted_lines(lurn__call *call, lurn_tensor *x, int64_t which_dim, int64_t k, bool descending,
                                bool by_place, int64_t base) {
  int dim;
  LURN__TRY(lurn__dim(call->ctx, call->info->name, which_dim, x->shape.ndim, &dim));
  lurn__shape shape = x->shape;
  int64_t n = shape.ndim > 0 ? shape.size[dim] : 1;
  if (k < 0) k = n;
  if (k > n)
    return lurn__op_fail(call, LURN_EVALUE, "k is %lld, but dimension %d has %lld elements", (long long)k,
                         dim + call->ctx->index_base, (long long)n);
  if (shape.ndim > 0) shape.size[dim] = k;
  lurn_tensor **line_view = lurn__temp(&call->temps);
  LURN__TRY(lurn__out(call, 0, x->dtype, &shape));
  LURN__TRY(lurn__out(call, 1, LURN_INT64, &shape));
  LURN__TRY(lurn__save_out(call, SAVED_INDICES, call->out[1]));
  if (shape.ndim == 0) {
    memcpy(lurn__tensor_ptr(call->out[0]), lurn__tensor_ptr(x), lurn__tensor_width(x));
    *lurn__i64(call->out[1]) = base;
    return LURN_OK;
  }
  item *items = lurn__alloc_array(call->ctx, (size_t)n * 2, sizeof *items);
  if (items == NULL) return LURN_ENOMEM;
  int64_t lines = n > 0 ? lurn__numel(x) / n : 0, inner = 1;
  lurn_status status = lurn__tensor_alias(x, line_view); /* moved along to look at one line after another */
  for (int i = dim + 1; i < shape.ndim; i++) inner *= shape.size[i];
  for (int64_t line = 0; status == LURN_OK && line < lines; line++) {
    int64_t rest = line, offset = x->offset;
    for (int i = x->shape.ndim - 1; i >= 0; i--) {
      if (i == dim) continue;
      offset += rest % x->shape.size[i] * x->stride[i];
      rest /= x->shape.size[i];
    }
    lurn_tensor *view = *line_view;
    view->offset = offset;
    view->shape = (lurn__shape){.ndim = 1, .size = {n}};
    view->stride[0] = x->stride[dim];
    read_items(view, n, items);
    sort_items(items, items + n, n, lurn_dtype_is_float(x->dtype), descending);
    if (by_place) order_by_place(items, items + n, k, n);
    int64_t at = line / inner * inner * k + line % inner;
    write_items(items, k, base, x->dtype, (char *)lurn__tensor_ptr(call->out[0]) + at * (int64_t)lurn__tensor_width(x),
                lurn__i64(call->out[1]) + at, inner);
  }
  lurn__free(call->ctx, items, (size_t)n * 2 * sizeof *items);
  return status;
}

static lurn_status sorted_backward(lurn__grad_call *grad, int64_t which_dim, int64_t base) {
  int dim;
  if (grad->grad_out[0] == NULL) return LURN_OK;
  LURN__TRY(lurn__dim(grad->ctx, grad->info->name, which_dim, grad->in[0].shape.ndim, &dim));
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  return lurn__add_at(grad->ctx, grad->grad_in[0], dim, grad->saved[SAVED_INDICES], base, grad->grad_out[0]);
}

/* ---- topk, sort -------------------------------------------------------------------------------------------- */

static lurn_status topk_forward(lurn__call *call) {
  const struct lurn__topk_args *args = call->args;
  if (args->k < 0) return lurn__op_fail(call, LURN_EVALUE, "k is %lld; expected at least 0", (long long)args->k);
  return sorted_lines(call, args->x, args->dim, args->k, args->largest, !args->sorted, args->base);
}

static lurn_status topk_backward(lurn__grad_call *grad) {
  const struct lurn__topk_args *args = grad->args;
  return sorted_backward(grad, args->dim, args->base);
}

const lurn__op lurn__op_topk = {
    .forward = topk_forward,
    .backward = topk_backward,
    .doc = "The k largest elements along dim in falling order, and their positions (int64).\nlargest "
           "false: the smallest, rising. sorted false: in the order in which they stand in x. Among equals the first "
           "comes first; NaN counts as largest."};

static lurn_status sort_forward(lurn__call *call) {
  const struct lurn__sort_args *args = call->args;
  return sorted_lines(call, args->x, args->dim, -1, args->descending, false, args->base);
}

static lurn_status sort_backward(lurn__grad_call *grad) {
  const struct lurn__sort_args *args = grad->args;
  return sorted_backward(grad, args->dim, args->base);
}

const lurn__op lurn__op_sort = {
    .forward = sort_forward,
    .backward = sort_backward,
    .doc = "x sorted along dim, and the positions its elements came from (int64).\nStable; NaN counts "
           "as largest."};

/* ---- multinomial ------------------------------------------------------------------------------------------- */

/* One draw by inverting the running sum: the first class whose sum exceeds u times the total. */
static int64_t draw(const double *weight, int64_t classes, double total, double u) {
  double target = u * total, sum = 0;
  int64_t last = -1;
  for (int64_t c = 0; c < classes; c++) {
    if (weight[c] <= 0) continue;
    sum += weight[c];
    last = c;
    if (sum > target) return c;
  }
  return last; /* rounding left the sum just short of the total */
}

static lurn_status read_weights(lurn__call *call, const lurn_tensor *p, int64_t row, int64_t classes, double *weight,
                                double *total, int64_t *positive) {
  int64_t row_stride = p->shape.ndim == 2 ? p->stride[0] : 0, stride = p->stride[p->shape.ndim - 1];
  *total = 0;
  *positive = 0;
  for (int64_t c = 0; c < classes; c++) {
    int64_t at = row * row_stride + c * stride;
    weight[c] = p->dtype == LURN_FLOAT64 ? lurn__f64(p)[at] : (double)lurn__f32(p)[at];
    if (!(weight[c] >= 0) || isinf(weight[c]))
      return lurn__op_fail(call, LURN_EVALUE, "weight %g; expected finite numbers of at least 0", weight[c]);
    *total += weight[c];
    *positive += weight[c] > 0;
  }
  if (*positive == 0) return lurn__op_fail(call, LURN_EVALUE, "all weights of a row are 0");
  return isfinite(*total) ? LURN_OK : lurn__op_fail(call, LURN_EVALUE, "the weights of a row add up to infinity");
}

static lurn_status multinomial_rows(lurn__call *call, double *weight, int64_t rows, int64_t classes) {
  const struct lurn__multinomial_args *args = call->args;
  int64_t *out = lurn__i64(call->out[0]), positive;
  double total;
  for (int64_t row = 0; row < rows; row++) {
    LURN__TRY(read_weights(call, args->p, row, classes, weight, &total, &positive));
    if (!args->replacement && args->n > positive)
      return lurn__op_fail(call, LURN_EVALUE, "%lld draws without replacement from %lld classes of positive weight",
                           (long long)args->n, (long long)positive);
    uint64_t block = lurn__rng_take(call->ctx, (uint64_t)args->n);
    for (int64_t k = 0; k < args->n; k++) {
      uint32_t word[4];
      lurn__philox(call->ctx->rng_seed, block + (uint64_t)k, word);
      int64_t class = draw(weight, classes, total, lurn__unit_double(word[0], word[1]));
      *out++ = class + args->base;
      if (args->replacement) continue;
      weight[class] = 0;
      total = 0;
      for (int64_t c = 0; c < classes; c++) total += weight[c];
    }
  }
  return LURN_OK;
}

static lurn_status multinomial_forward(lurn__call *call) {
  const struct lurn__multinomial_args *args = call->args;
  const lurn_tensor *p = args->p;
  LURN__TRY(lurn__need_float(call, p, "p"));
  if (p->shape.ndim < 1 || p->shape.ndim > 2)
    return lurn__op_fail(call, LURN_ESHAPE, "p has shape %s; expected (C) or (N, C)", LURN__SHAPE(p));
  if (args->n < 1) return lurn__op_fail(call, LURN_EVALUE, "n is %lld; expected at least 1", (long long)args->n);
  lurn__shape shape = p->shape;
  int64_t classes = shape.size[shape.ndim - 1], rows = shape.ndim == 2 ? shape.size[0] : 1;
  shape.size[shape.ndim - 1] = args->n;
  LURN__TRY(lurn__shape_make(call->ctx, "multinomial", shape.ndim, shape.size, &shape));
  LURN__TRY(lurn__out(call, 0, LURN_INT64, &shape));
  double *weight = lurn__alloc_array(call->ctx, (size_t)classes, sizeof *weight);
  if (weight == NULL) return LURN_ENOMEM;
  lurn_status status = multinomial_rows(call, weight, rows, classes);
  lurn__free(call->ctx, weight, (size_t)classes * sizeof *weight);
  return status;
}

const lurn__op lurn__op_multinomial = {
    .forward = multinomial_forward,
    .doc = "n classes drawn from each row of weights p, (C) or (N, C); int64 (n) or (N, n).\nWeights are at least 0 "
           "and need "
           "not add up to 1. Without replacement unless asked. Uses the context's random numbers."};
