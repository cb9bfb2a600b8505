/* Reductions, scans, and normalisations along dimensions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "naive.h"

/* The dimensions that are reduced, and the result's shape. */
typedef struct plan {
  bool reduced[LURN_MAX_DIMS];
  int ndim;
  int64_t size[LURN_MAX_DIMS], count; /* count: elements that go into one */
} plan;

static bool make_plan(const naive *x, lurn_ints dims, bool keepdim, plan *p) {
  *p = (plan){.count = 1};
  for (int d = 0; d < x->ndim; d++) p->reduced[d] = dims.count == 0;
  for (int64_t k = 0; k < dims.count; k++) {
    int dim = naive_dim(dims.values[k], x->ndim);
    if (dim < 0 || (x->ndim > 0 && p->reduced[dim])) return false;
    p->reduced[dim] = true;
  }
  for (int d = 0; d < x->ndim; d++) {
    if (p->reduced[d]) p->count *= x->size[d];
    if (!p->reduced[d] || keepdim) p->size[p->ndim++] = p->reduced[d] ? 1 : x->size[d];
  }
  return true;
}

/* Which result element i of x goes into, and the how-manieth it is there. */
static int64_t target(const naive *x, const plan *p, int64_t i, int64_t *place) {
  int64_t index[LURN_MAX_DIMS], to = 0, at = 0;
  naive_position(x, i, index);
  for (int d = 0; d < x->ndim; d++) {
    if (p->reduced[d]) at = at * x->size[d] + index[d];
    else to = to * x->size[d] + index[d];
  }
  *place = at;
  return to;
}

/* The elements of each result in turn: line(out, of x's elements, n). */
typedef void line_fn(naive_call *call, int64_t to, const long double *x, int64_t n);

static bool over_lines(naive_call *call, const plan *p, line_fn *line) {
  const naive *x = call->in[0];
  int64_t lines = call->out[0].n;
  long double *sorted = naive_alloc(lines * p->count, sizeof *sorted);
  if (sorted == NULL) return false;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t place, to = target(x, p, i, &place);
    sorted[to * p->count + place] = x->value[i];
  }
  for (int64_t to = 0; to < lines; to++) line(call, to, sorted + to * p->count, p->count);
  return true;
}

static naive_verdict reduce(naive_call *call, const plan *p, lurn_dtype dtype, line_fn *line) {
  if (!naive_out(call, 0, dtype, p->ndim, p->size)) return NAIVE_UNKNOWN;
  if (!naive_is_tame(call) && naive_is_float(call->in[0]->dtype)) call->ulps = INFINITY;
  return over_lines(call, p, line) ? NAIVE_GIVEN : NAIVE_UNKNOWN;
}

/* ---- Sums -------------------------------------------------------------------------------------------------- */

static void sum_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  uint64_t whole = 0;
  for (int64_t i = 0; i < n; i++) {
    call->out[0].value[to] += x[i];
    call->out[0].margin[to] += fabsl(x[i]);
    if (!naive_is_float(call->in[0]->dtype)) whole += (uint64_t)(int64_t)x[i];
  }
  if (!naive_is_float(call->in[0]->dtype)) call->out[0].value[to] = (long double)(int64_t)whole;
}

static void mean_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  sum_line(call, to, x, n);
  call->out[0].value[to] /= (long double)n;
  call->out[0].margin[to] /= (long double)n;
}

/* n - 1 roundings of partial sums, each no larger than the sum of sizes; float32 is summed in double or in short runs. */
static double sum_ulps(lurn_dtype dtype, int64_t n) {
  return dtype == LURN_FLOAT32 ? 4 + sqrt((double)n) : 2 + (double)n;
}

static naive_verdict run_sum(naive_call *call) {
  plan p;
  const naive *x = call->in[0];
  bool mean = strcmp(call->op->name, "mean") == 0;
  if (mean && !naive_is_float(x->dtype)) return NAIVE_REFUSED;
  if (!make_plan(x, call->ints[1], call->number[2], &p)) return NAIVE_REFUSED;
  call->ulps = sum_ulps(x->dtype, p.count) + mean;
  return reduce(call, &p, naive_is_float(x->dtype) ? x->dtype : LURN_INT64, mean ? mean_line : sum_line);
}

static void prod_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  uint64_t whole = 1;
  call->out[0].value[to] = 1;
  for (int64_t i = 0; i < n; i++) {
    call->out[0].value[to] *= x[i];
    if (!naive_is_float(call->in[0]->dtype)) whole *= (uint64_t)(int64_t)x[i];
  }
  if (!naive_is_float(call->in[0]->dtype)) call->out[0].value[to] = (long double)(int64_t)whole;
}

static naive_verdict run_prod(naive_call *call) {
  plan p;
  const naive *x = call->in[0];
  if (!make_plan(x, call->ints[1], call->number[2], &p)) return NAIVE_REFUSED;
  call->ulps = 2 + (double)p.count;
  return reduce(call, &p, naive_is_float(x->dtype) ? x->dtype : LURN_INT64, prod_line);
}

/* ---- Spread ------------------------------------------------------------------------------------------------ */

/* The mean's rounding, squared, is in every term. */
static void var_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  long double mean = 0, sum = 0, size = 0, left = (long double)n - call->real[2];
  long double eps = call->in[0]->dtype == LURN_FLOAT32 ? 0x1p-23L : 0x1p-52L;
  for (int64_t i = 0; i < n; i++) mean += x[i];
  mean /= (long double)n;
  for (int64_t i = 0; i < n; i++) {
    long double d = x[i] - mean, slip = eps * (fabsl(mean) * 4 + fabsl(x[i]) + fabsl(d));
    sum += d * d;
    size += d * d + (2 * fabsl(d) + slip) * slip / eps;
  }
  if (left < 0) left = 0;
  call->out[0].value[to] = sum / left;
  call->out[0].margin[to] = size / left;
}

static void std_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  var_line(call, to, x, n);
  long double *value = &call->out[0].value[to], *margin = &call->out[0].margin[to];
  long double eps = call->in[0]->dtype == LURN_FLOAT32 ? 0x1p-23L : 0x1p-52L, slip = *margin * eps * call->ulps;
  if (isfinite(*value)) *margin = (sqrtl(*value + slip) - sqrtl(*value > slip ? *value - slip : 0)) / eps;
  *value = sqrtl(*value);
  if (*margin < *value) *margin = *value;
}

static naive_verdict run_var(naive_call *call) {
  plan p;
  if (!naive_is_float(call->in[0]->dtype)) return NAIVE_REFUSED;
  if (!make_plan(call->in[0], call->ints[1], call->number[3], &p)) return NAIVE_REFUSED;
  if (!isfinite(call->real[2])) return NAIVE_UNKNOWN;
  call->ulps = 4 + (double)p.count;
  return reduce(call, &p, call->in[0]->dtype, strcmp(call->op->name, "var") == 0 ? var_line : std_line);
}

static void norm_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  long double p = call->real[1], sum = 0, most = 0, least = INFINITY;
  for (int64_t i = 0; i < n; i++) {
    sum += powl(fabsl(x[i]), p);
    most = fmaxl(most, fabsl(x[i]));
    least = fminl(least, fabsl(x[i]));
  }
  call->out[0].value[to] = isinf(p) ? (p > 0 ? most : least) : powl(sum, 1 / p);
  /* the root takes the relative error of the sum over p; powers that leave the range cannot be told */
  bool far = !isinf(p) && (sum > 1e30L || (sum != 0 && sum < 1e-30L));
  call->out[0].margin[to] = far ? INFINITY : 0;
}

static naive_verdict run_norm(naive_call *call) {
  plan p;
  double power = call->real[1];
  if (!naive_is_float(call->in[0]->dtype) || isnan(power) || power == 0) return NAIVE_REFUSED;
  if (!make_plan(call->in[0], call->ints[2], call->number[3], &p)) return NAIVE_REFUSED;
  if (isinf(power) && p.count == 0) return NAIVE_REFUSED;
  call->ulps = (8 + (double)p.count) * fmax(1, 4 / fabs(power));
  return reduce(call, &p, call->in[0]->dtype, norm_line);
}

/* ---- Counts ------------------------------------------------------------------------------------------------ */

static void count_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += x[i] != 0;
  const char *name = call->op->name;
  call->out[0].value[to] = strcmp(name, "any") == 0   ? count > 0
                           : strcmp(name, "all") == 0 ? count == n
                                                      : (long double)count;
}

static naive_verdict run_count(naive_call *call) {
  plan p;
  if (!make_plan(call->in[0], call->ints[1], call->number[2], &p)) return NAIVE_REFUSED;
  naive_verdict verdict = reduce(call, &p, call->op->name[0] == 'c' ? LURN_INT64 : LURN_BOOL, count_line);
  call->ulps = 1; /* nothing is rounded */
  return verdict;
}

/* ---- Extremes ---------------------------------------------------------------------------------------------- */

static bool is_minimum(const naive_call *call) { return strstr(call->op->name, "min") != NULL; }

static int64_t best_of(const naive_call *call, const long double *x, int64_t n) {
  int64_t best = 0;
  bool least = is_minimum(call);
  for (int64_t i = 1; i < n && !isnan(x[best]); i++)
    if (isnan(x[i]) || (least ? x[i] < x[best] : x[i] > x[best])) best = i;
  return best;
}

static void extreme_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  call->out[0].value[to] = x[best_of(call, x, n)];
}

static void position_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  call->out[0].value[to] = best_of(call, x, n) + call->number[3];
}

static void both_lines(naive_call *call, int64_t to, const long double *x, int64_t n) {
  extreme_line(call, to, x, n);
  call->out[1].value[to] = best_of(call, x, n) + call->number[3];
}

static naive_verdict run_extreme(naive_call *call) {
  plan p;
  bool position = strncmp(call->op->name, "arg", 3) == 0, both = call->op->n_outputs == 2;
  lurn_ints dims = both ? (lurn_ints){&call->number[1], 1} : call->ints[1];
  if (!make_plan(call->in[0], dims, call->number[2], &p) || p.count == 0) return NAIVE_REFUSED;
  if (both && !naive_out(call, 1, LURN_INT64, p.ndim, p.size)) return NAIVE_UNKNOWN;
  naive_verdict verdict = reduce(call, &p, position ? LURN_INT64 : call->in[0]->dtype,
                                 both       ? both_lines
                                 : position ? position_line
                                            : extreme_line);
  call->ulps = 1; /* nothing is rounded */
  return verdict;
}

/* ---- Exponentials ------------------------------------------------------------------------------------------ */

static long double lse(const long double *x, int64_t n) {
  long double most = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++) most = fmaxl(most, x[i]);
  for (int64_t i = 0; i < n; i++) sum += expl(x[i] - most);
  return n > 0 ? most + logl(sum) : -INFINITY;
}

static void lse_line(naive_call *call, int64_t to, const long double *x, int64_t n) {
  call->out[0].value[to] = lse(x, n);
  call->out[0].margin[to] = 1;
  for (int64_t i = 0; i < n; i++) call->out[0].margin[to] = fmaxl(call->out[0].margin[to], fabsl(x[i]));
}

static naive_verdict run_logsumexp(naive_call *call) {
  plan p;
  if (!naive_is_float(call->in[0]->dtype)) return NAIVE_REFUSED;
  if (!make_plan(call->in[0], (lurn_ints){&call->number[1], 1}, call->number[2], &p)) return NAIVE_REFUSED;
  call->ulps = 8 + sqrt((double)p.count);
  return reduce(call, &p, call->in[0]->dtype, lse_line);
}

/* Lines along one dimension, with results of the same shape: line(x, n, step, value, margin). */
typedef void along_fn(naive_call *call, const long double *x, int64_t n, int64_t step, long double *value,
                      long double *margin);

static naive_verdict along(naive_call *call, int64_t which, lurn_dtype dtype, along_fn *fn) {
  const naive *x = call->in[0];
  int dim = naive_dim(which, x->ndim);
  if (dim < 0) return NAIVE_REFUSED;
  if (!naive_out(call, 0, dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  if (!naive_is_tame(call) && naive_is_float(x->dtype)) call->ulps = INFINITY;
  int64_t n = x->ndim > 0 ? x->size[dim] : 1, step = 1;
  for (int d = dim + 1; d < x->ndim; d++) step *= x->size[d];
  for (int64_t i = 0; i < x->n; i++)
    if (i / step % n == 0) fn(call, x->value + i, n, step, call->out[0].value + i, call->out[0].margin + i);
  return NAIVE_GIVEN;
}

static void softmax_along(naive_call *call, const long double *x, int64_t n, int64_t step, long double *value,
                          long double *margin) {
  bool log = call->op->name[0] == 'l';
  long double most = -INFINITY, sum = 0, size = 1;
  for (int64_t i = 0; i < n; i++) {
    most = fmaxl(most, x[i * step]);
    size = fmaxl(size, fabsl(x[i * step]));
  }
  for (int64_t i = 0; i < n; i++) sum += expl(x[i * step] - most);
  for (int64_t i = 0; i < n; i++) {
    long double l = x[i * step] - most - logl(sum);
    value[i * step] = log ? l : expl(l);
    margin[i * step] = log ? size + fabsl(l) : expl(l) * (1 + fabsl(x[i * step] - most));
  }
}

static naive_verdict run_softmax(naive_call *call) {
  const naive *x = call->in[0];
  if (!naive_is_float(x->dtype)) return NAIVE_REFUSED;
  call->ulps = 12 + sqrt((double)x->n);
  return along(call, call->number[1], x->dtype, softmax_along);
}

static void scan_along(naive_call *call, const long double *x, int64_t n, int64_t step, long double *value,
                       long double *margin) {
  bool whole = !naive_is_float(call->in[0]->dtype), product = strcmp(call->op->name, "cumprod") == 0;
  uint64_t bits = product;
  long double so_far = product, size = 0;
  for (int64_t i = 0; i < n; i++) {
    so_far = product ? so_far * x[i * step] : so_far + x[i * step];
    size += fabsl(x[i * step]);
    if (whole) bits = product ? bits * (uint64_t)(int64_t)x[i * step] : bits + (uint64_t)(int64_t)x[i * step];
    value[i * step] = whole ? (long double)(int64_t)bits : so_far;
    margin[i * step] = product ? 0 : size;
  }
}

static naive_verdict run_scan(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  call->ulps = 2 + (double)(dim >= 0 && x->ndim > 0 ? x->size[dim] : 1);
  return along(call, call->number[1], naive_is_float(x->dtype) ? x->dtype : LURN_INT64, scan_along);
}

static void logsum_along(naive_call *call, const long double *x, int64_t n, int64_t step, long double *value,
                         long double *margin) {
  (void)call;
  for (int64_t i = 0; i < n; i++) {
    long double most = -INFINITY, sum = 0, size = 1;
    for (int64_t j = 0; j <= i; j++) {
      most = fmaxl(most, x[j * step]);
      size = fmaxl(size, fabsl(x[j * step]));
    }
    for (int64_t j = 0; j <= i; j++) sum += expl(x[j * step] - most);
    value[i * step] = most + logl(sum);
    margin[i * step] = size + logl((long double)i + 1);
  }
}

/* Summing anew for every element takes the square of the length. */
static naive_verdict run_logcumsumexp(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (dim < 0 || !naive_is_float(x->dtype)) return NAIVE_REFUSED;
  if (x->n > 2000) return NAIVE_UNKNOWN;
  call->ulps = 4 + (double)(x->ndim > 0 ? x->size[dim] : 1);
  return along(call, call->number[1], x->dtype, logsum_along);
}

/* The last of the best so far, and its place. */
static void best_along(naive_call *call, const long double *x, int64_t n, int64_t step, long double *value,
                       long double *margin) {
  bool least = is_minimum(call);
  int64_t best = 0;
  (void)margin;
  for (int64_t i = 0; i < n; i++) {
    long double here = x[i * step], so_far = x[best * step];
    if (isnan(here) || (!isnan(so_far) && (least ? here <= so_far : here >= so_far))) best = i;
    value[i * step] = x[best * step];
    call->out[1].value[value - call->out[0].value + i * step] = (long double)(best + call->number[2]);
  }
}

static naive_verdict run_best(naive_call *call) {
  const naive *x = call->in[0];
  if (naive_dim(call->number[1], x->ndim) < 0) return NAIVE_REFUSED;
  if (!naive_out(call, 1, LURN_INT64, x->ndim, x->size)) return NAIVE_UNKNOWN;
  naive_verdict verdict = along(call, call->number[1], x->dtype, best_along);
  call->ulps = 1; /* nothing is rounded */
  return verdict;
}

const naive_op naive_reductions[] = {{"sum", run_sum},
                                     {"mean", run_sum},
                                     {"prod", run_prod},
                                     {"var", run_var},
                                     {"std", run_var},
                                     {"norm", run_norm},
                                     {"any", run_count},
                                     {"all", run_count},
                                     {"count_nonzero", run_count},
                                     {"amax", run_extreme},
                                     {"amin", run_extreme},
                                     {"max", run_extreme},
                                     {"min", run_extreme},
                                     {"argmax", run_extreme},
                                     {"argmin", run_extreme},
                                     {"logsumexp", run_logsumexp},
                                     {"softmax", run_softmax},
                                     {"log_softmax", run_softmax},
                                     {"cumsum", run_scan},
                                     {"cumprod", run_scan},
                                     {"cummax", run_best},
                                     {"cummin", run_best},
                                     {"logcumsumexp", run_logcumsumexp},
                                     {NULL, NULL}};
