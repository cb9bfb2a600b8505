/* Ops that put elements in order: sorting, the largest, the middle, the different ones, searching, and drawing. */
#include <math.h>
#include <string.h>

#include "naive.h"

/* ---- Sorting ----------------------------------------------------------------------------------------------- */

/* Whether a comes before b; NaN counts as largest. */
static bool before(long double a, long double b, bool falling) {
  if (isnan(a) || isnan(b)) return falling ? isnan(a) && !isnan(b) : !isnan(a) && isnan(b);
  return falling ? a > b : a < b;
}

/* A line of x along dim. */
typedef struct line {
  int64_t n, start, step;
} line;

static line line_through(const naive *x, int dim, int64_t element) {
  line l = {.n = x->ndim > 0 ? x->size[dim] : 1, .step = 1};
  for (int d = dim + 1; d < x->ndim; d++) l.step *= x->size[d];
  l.start = element - element / l.step % l.n * l.step;
  return l;
}

/* How many elements of its line come before element i, equal ones in order of place. */
static int64_t rank_of(const naive *x, const line *l, int64_t i, bool falling) {
  int64_t rank = 0;
  for (int64_t j = l->start; j < l->start + l->n * l->step; j += l->step)
    rank += before(x->value[j], x->value[i], falling) || (j < i && !before(x->value[i], x->value[j], falling));
  return rank;
}

/* How many of the first k of a line stand before element i. */
static int64_t place_among(const naive *x, const line *l, int64_t i, int64_t k, bool falling) {
  int64_t place = 0;
  for (int64_t j = l->start; j < i; j += l->step) place += rank_of(x, l, j, falling) < k;
  return place;
}

/* The first k of each line, by size or in the order of their places. */
static naive_verdict sorted(naive_call *call, int64_t which, int64_t k, bool falling, bool by_place, int64_t base) {
  const naive *x = call->in[0];
  int dim = naive_dim(which, x->ndim);
  int64_t n = x->ndim > 0 ? x->size[dim] : 1, size[LURN_MAX_DIMS];
  if (k > n) return NAIVE_REFUSED;
  if (x->ndim == 0 && k != 1) return NAIVE_UNKNOWN; /* a tensor without dimensions stays one of one element */
  memcpy(size, x->size, sizeof size);
  if (x->ndim > 0) size[dim] = k;
  if (!naive_out(call, 0, x->dtype, x->ndim, size) || !naive_out(call, 1, LURN_INT64, x->ndim, size))
    return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    line l = line_through(x, dim, i);
    int64_t rank = rank_of(x, &l, i, falling), at[LURN_MAX_DIMS];
    if (rank >= k) continue;
    naive_position(x, i, at);
    if (x->ndim > 0) at[dim] = by_place ? place_among(x, &l, i, k, falling) : rank;
    int64_t to = naive_offset(&call->out[0], at);
    call->out[0].value[to] = x->value[i];
    call->out[1].value[to] = (long double)((i - l.start) / l.step + base);
  }
  return NAIVE_GIVEN;
}

/* Counting takes the square of the length. */
static bool too_long(const naive *x) { return x->n > 2000; }

static naive_verdict run_sort(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (dim < 0) return NAIVE_REFUSED;
  if (too_long(x)) return NAIVE_UNKNOWN;
  return sorted(call, dim, x->ndim > 0 ? x->size[dim] : 1, call->number[2], false, call->number[3]);
}

static naive_verdict run_topk(naive_call *call) {
  int dim = naive_dim(call->number[2], call->in[0]->ndim);
  bool by_place = !call->number[4];
  if (call->number[1] < 0 || dim < 0) return NAIVE_REFUSED;
  if (too_long(call->in[0]) || (by_place && call->in[0]->n > 200)) return NAIVE_UNKNOWN;
  return sorted(call, dim, call->number[1], call->number[3], by_place, call->number[5]);
}

/* The lower one of two in the middle; the first NaN where there is one. */
static naive_verdict run_median(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim), ndim = 0;
  int64_t size[LURN_MAX_DIMS];
  if (dim < 0 || (x->ndim > 0 && x->size[dim] == 0)) return NAIVE_REFUSED;
  if (too_long(x)) return NAIVE_UNKNOWN;
  for (int d = 0; d < x->ndim; d++)
    if (d != dim || call->number[2]) size[ndim++] = d == dim ? 1 : x->size[d];
  if (!naive_out(call, 0, x->dtype, ndim, size) || !naive_out(call, 1, LURN_INT64, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    line l = line_through(x, dim, i);
    int64_t numbers = 0, to = i / (l.n * l.step) * l.step + i % l.step;
    for (int64_t j = 0; j < l.n; j++) numbers += !isnan(x->value[l.start + j * l.step]);
    if (rank_of(x, &l, i, false) != (numbers < l.n ? numbers : (l.n - 1) / 2)) continue;
    call->out[0].value[to] = x->value[i];
    call->out[1].value[to] = (long double)((i - l.start) / l.step + call->number[3]);
  }
  return NAIVE_GIVEN;
}

/* ---- Different ones ---------------------------------------------------------------------------------------- */

static bool is_first(const naive *x, int64_t i) {
  for (int64_t j = 0; j < i; j++)
    if (x->value[j] == x->value[i]) return false;
  return true; /* every NaN is one of its own */
}

static bool both_nan(const naive *x, int64_t i, int64_t j) { return isnan(x->value[i]) && isnan(x->value[j]); }

static naive_verdict run_unique(naive_call *call) {
  const naive *x = call->in[0];
  int64_t count = 0;
  bool *first = naive_alloc(x->n, sizeof *first);
  if (too_long(x) || first == NULL) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) count += first[i] = is_first(x, i);
  if (!naive_out(call, 0, x->dtype, 1, &count) || !naive_out(call, 1, LURN_INT64, x->ndim, x->size) ||
      !naive_out(call, 2, LURN_INT64, 1, &count))
    return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t below = 0;
    for (int64_t j = 0; j < x->n; j++)
      below += first[j] && (before(x->value[j], x->value[i], false) || (both_nan(x, i, j) && j < i));
    call->out[0].value[below] = x->value[i];
    call->out[1].value[i] = (long double)(below + call->number[1]);
    call->out[2].value[below]++;
  }
  return NAIVE_GIVEN;
}

/* ---- Searching --------------------------------------------------------------------------------------------- */

static naive_verdict run_searchsorted(naive_call *call) {
  const naive *in_order = call->in[0], *values = call->in[1];
  lurn_dtype dtype = naive_promote(in_order, values);
  bool right = call->number[2];
  if (in_order->ndim != 1) return NAIVE_REFUSED;
  if (!naive_out(call, 0, LURN_INT64, values->ndim, values->size)) return NAIVE_UNKNOWN;
  for (int64_t k = 0; k < values->n; k++) {
    long double v = naive_convert(values->value[k], values->dtype, dtype), last = 0;
    int64_t place = 0;
    for (int64_t i = 0; i < in_order->n; i++) {
      long double x = naive_convert(in_order->value[i], in_order->dtype, dtype);
      if (i > 0 && before(x, last, false)) call->ulps = INFINITY; /* not in order */
      place += before(x, v, false) || (right && !before(v, x, false));
      last = x;
    }
    call->out[0].value[k] = (long double)(place + call->number[3]);
  }
  return NAIVE_GIVEN;
}

/* ---- Drawing ----------------------------------------------------------------------------------------------- */

/* Draws have a weight, and without replacement each row's are different. */
static const char *judge_draws(const naive_call *call, const long double *have) {
  const naive *p = call->in[0];
  int64_t n = call->number[1], classes = p->size[p->ndim - 1], base = call->number[3];
  for (int64_t i = 0; i < call->out[0].n; i++) {
    long double class = have[i] - (long double)base;
    if (!(class >= 0 && class < (long double)classes)) return "a draw is no class";
    if (!(p->value[i / n * classes + (int64_t) class] > 0)) return "a draw has no weight";
    for (int64_t j = i / n * n; j < i && !call->number[2]; j++)
      if (have[j] == have[i]) return "a class was drawn twice without replacement";
  }
  return NULL;
}

static naive_verdict run_multinomial(naive_call *call) {
  const naive *p = call->in[0];
  int64_t n = call->number[1], size[2];
  if (!naive_is_float(p->dtype) || p->ndim < 1 || p->ndim > 2 || n < 1) return NAIVE_REFUSED;
  int64_t classes = p->size[p->ndim - 1], rows = p->ndim == 2 ? p->size[0] : 1;
  for (int64_t row = 0; row < rows; row++) {
    int64_t positive = 0;
    for (int64_t c = 0; c < classes; c++) {
      long double weight = p->value[row * classes + c];
      if (!(weight >= 0) || isinf(weight)) return NAIVE_REFUSED;
      positive += weight > 0;
    }
    if (positive == 0 || (!call->number[2] && n > positive)) return NAIVE_REFUSED;
  }
  size[0] = rows;
  size[p->ndim - 1] = n;
  if (!naive_out(call, 0, LURN_INT64, p->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) call->out[0].margin[i] = INFINITY;
  call->judge = judge_draws;
  return NAIVE_GIVEN;
}

const naive_op naive_sorts[] = {{"sort", run_sort},
                                {"topk", run_topk},
                                {"median", run_median},
                                {"unique", run_unique},
                                {"searchsorted", run_searchsorted},
                                {"multinomial", run_multinomial},
                                {NULL, NULL}};
