/* Products and normalisation. */
#include <math.h>
#include <string.h>

#include "naive.h"

/* An error grows with every term of a product, and sums in the kernels are in the dtype itself. */
static double product_ulps(int64_t terms) { return 4 + (double)terms; }

/* ---- Products ---------------------------------------------------------------------------------------------- */

static naive_verdict run_matmul(naive_call *call) {
  const naive *a = call->in[0], *b = call->in[1];
  if (!naive_all_float(call) || a->ndim == 0 || b->ndim == 0) return NAIVE_REFUSED;
  bool row = a->ndim == 1, column = b->ndim == 1;
  int64_t m = row ? 1 : a->size[a->ndim - 2], k = a->size[a->ndim - 1], n = column ? 1 : b->size[b->ndim - 1];
  if ((column ? b->size[0] : b->size[b->ndim - 2]) != k) return NAIVE_REFUSED;
  naive a_batch = *a, b_batch = *b, shape;
  a_batch.ndim = row ? 0 : a->ndim - 2;
  b_batch.ndim = column ? 0 : b->ndim - 2;
  if (!naive_broadcast(&a_batch, &b_batch, &shape)) return NAIVE_REFUSED;
  int batch_dims = shape.ndim;
  if (!row) shape.size[shape.ndim++] = m;
  if (!column) shape.size[shape.ndim++] = n;
  if (!naive_out(call, 0, naive_promote_plain(a->dtype, b->dtype), shape.ndim, shape.size)) return NAIVE_UNKNOWN;
  call->ulps = naive_is_tame(call) ? product_ulps(k) : INFINITY;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    int64_t r = row ? 0 : index[batch_dims], c = column ? 0 : index[shape.ndim - 1];
    int64_t at_a = (naive_under(&a_batch, batch_dims, index) * m + r) * k;
    int64_t at_b = naive_under(&b_batch, batch_dims, index) * k * n + c;
    for (int64_t j = 0; j < k; j++) {
      long double term = a->value[at_a + j] * b->value[at_b + j * n];
      call->out[0].value[i] += term;
      call->out[0].margin[i] += fabsl(term);
    }
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_dot(naive_call *call) {
  if (call->in[0]->ndim != 1 || call->in[1]->ndim != 1) return NAIVE_REFUSED;
  return run_matmul(call);
}

static naive_verdict run_outer(naive_call *call) {
  const naive *a = call->in[0], *b = call->in[1];
  if (a->ndim != 1 || b->ndim != 1) return NAIVE_REFUSED;
  lurn_dtype dtype = naive_promote_plain(a->dtype, b->dtype);
  if (!naive_out(call, 0, dtype, 2, (int64_t[]){a->n, b->n})) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < a->n * b->n; i++) {
    long double x = naive_convert(a->value[i / b->n], a->dtype, dtype);
    long double y = naive_convert(b->value[i % b->n], b->dtype, dtype);
    call->out[0].value[i] =
        naive_is_float(dtype) ? x * y : naive_wrap(dtype, (uint64_t)(int64_t)x * (uint64_t)(int64_t)y);
  }
  return NAIVE_GIVEN;
}

static bool one_dtype(const naive_call *call) {
  for (int k = 1; k < call->n_in; k++)
    if (call->in[k] != NULL && call->in[k]->dtype != call->in[0]->dtype) return false;
  return true;
}

static naive_verdict run_linear(naive_call *call) {
  const naive *x = call->in[0], *w = call->in[1], *b = call->in[2];
  if (!naive_all_float(call) || !one_dtype(call) || w->ndim != 2 || x->ndim == 0) return NAIVE_REFUSED;
  int64_t in = w->size[1], out = w->size[0], size[LURN_MAX_DIMS];
  if (x->size[x->ndim - 1] != in || !naive_shaped(b, 1, out, 0, 0)) return NAIVE_REFUSED;
  memcpy(size, x->size, sizeof size);
  size[x->ndim - 1] = out;
  if (!naive_out(call, 0, x->dtype, x->ndim, size)) return NAIVE_UNKNOWN;
  call->ulps = naive_is_tame(call) ? product_ulps(in) : INFINITY;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    long double sum = b != NULL ? b->value[i % out] : 0, margin = fabsl(sum);
    for (int64_t j = 0; j < in; j++) {
      long double term = x->value[i / out * in + j] * w->value[i % out * in + j];
      sum += term;
      margin += fabsl(term);
    }
    call->out[0].value[i] = sum;
    call->out[0].margin[i] = margin;
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_addmm(naive_call *call) {
  const naive *c = call->in[0], *a = call->in[1], *b = call->in[2];
  long double beta = call->real[3], alpha = call->real[4];
  if (!naive_all_float(call) || !one_dtype(call) || a->ndim != 2 || b->ndim != 2 || a->size[1] != b->size[0])
    return NAIVE_REFUSED;
  naive shape = {.ndim = 2, .size = {a->size[0], b->size[1]}}, both;
  if (!naive_broadcast(c, &shape, &both) || !naive_same_shape(&both, &shape)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, a->dtype, 2, shape.size)) return NAIVE_UNKNOWN;
  int64_t inner = a->size[1], n = b->size[1];
  call->ulps = naive_is_tame(call) && fabsl(alpha) < 1e3L && fabsl(beta) < 1e3L ? product_ulps(inner) + 2 : INFINITY;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[2] = {i / n, i % n};
    long double sum = beta == 0 ? 0 : beta * c->value[naive_under(c, 2, index)], margin = fabsl(sum);
    for (int64_t j = 0; j < inner; j++) {
      long double term = alpha * a->value[index[0] * inner + j] * b->value[j * n + index[1]];
      sum += term;
      margin += fabsl(term);
    }
    call->out[0].value[i] = sum;
    call->out[0].margin[i] = margin;
  }
  return NAIVE_GIVEN;
}

/* ---- cdist ------------------------------------------------------------------------------------------------- */

static long double distance_of(const long double *a, const long double *b, int64_t n, long double p) {
  long double sum = 0;
  for (int64_t d = 0; d < n; d++) {
    long double apart = fabsl(a[d] - b[d]);
    if (isinf(p)) sum = apart > sum || isnan(apart) ? apart : sum;
    else sum += p == 0 ? a[d] != b[d] : p == 1 ? apart : powl(apart, p);
  }
  return p == 0 || p == 1 || isinf(p) ? sum : powl(sum, 1 / p);
}

static naive_verdict run_cdist(naive_call *call) {
  const naive *a = call->in[0], *b = call->in[1];
  long double p = call->real[2];
  if (!naive_all_float(call) || !(p >= 0) || a->ndim < 2 || b->ndim < 2) return NAIVE_REFUSED;
  naive lead_a = *a, lead_b = *b, lead;
  int64_t inner = a->size[a->ndim - 1], P = a->size[a->ndim - 2], R = b->size[b->ndim - 2];
  lead_a.ndim -= 2;
  lead_b.ndim -= 2;
  if (b->size[b->ndim - 1] != inner || !naive_broadcast(&lead_a, &lead_b, &lead)) return NAIVE_REFUSED;
  lead.size[lead.ndim] = P;
  lead.size[lead.ndim + 1] = R;
  if (!naive_out(call, 0, naive_promote(a, b), lead.ndim + 2, lead.size)) return NAIVE_UNKNOWN;
  /* a power near 0 makes errors larger by its reciprocal, and what it gives overflows */
  bool tame = naive_is_tame(call) && (p == 0 || (p >= 0.05L && p <= 20) || isinf(p));
  call->ulps = tame ? ((double)inner + 8) * (p > 0 && p < 1 ? 1 + (double)(1 / p) : 1) : INFINITY;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    const long double *row = a->value + (naive_under(&lead_a, lead.ndim, index) * P + i / R % P) * inner;
    const long double *other = b->value + (naive_under(&lead_b, lead.ndim, index) * R + i % R) * inner;
    call->out[0].value[i] = distance_of(row, other, inner, p);
  }
  return NAIVE_GIVEN;
}

/* ---- layer_norm -------------------------------------------------------------------------------------------- */

/* Nothing, or a tensor of x's last dims sizes. */
static bool has_last_sizes(const naive *t, const naive *x, int dims) {
  if (t == NULL) return true;
  return t->ndim == dims && memcmp(t->size, x->size + x->ndim - dims, (size_t)dims * sizeof *x->size) == 0;
}

static naive_verdict run_layer_norm(naive_call *call) {
  const naive *x = call->in[0], *w = call->in[1], *b = call->in[2];
  long double eps = call->real[3];
  if (!naive_is_float(x->dtype) || x->ndim == 0 || !(eps >= 0)) return NAIVE_REFUSED;
  if (call->number[4] < 1 || call->number[4] > x->ndim) return NAIVE_REFUSED;
  int dims = (int)call->number[4];
  int64_t n = 1;
  for (int d = x->ndim - dims; d < x->ndim; d++) n *= x->size[d];
  if (!has_last_sizes(w, x, dims) || !has_last_sizes(b, x, dims) || !one_dtype(call)) return NAIVE_REFUSED;
  if (!naive_out(call, 0, x->dtype, x->ndim, x->size)) return NAIVE_UNKNOWN;
  call->ulps = naive_is_tame(call) && eps < 1e6L ? 8 + 2 * sqrt((double)n) : INFINITY;
  for (int64_t first = 0; first < x->n; first += n) {
    long double mean = 0, var = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
      mean += x->value[first + i] / (long double)n;
      most = fmaxl(most, fabsl(x->value[first + i]));
    }
    for (int64_t i = 0; i < n; i++) {
      long double d = x->value[first + i] - mean;
      var += d * d / (long double)n;
    }
    long double scale = 1 / sqrtl(var + eps);
    for (int64_t i = 0; i < n; i++) {
      long double weight = w != NULL ? w->value[i] : 1, bias = b != NULL ? b->value[i] : 0;
      long double normal = (x->value[first + i] - mean) * scale;
      call->out[0].value[first + i] = normal * weight + bias;
      /* the mean's rounding goes into the difference, and through it into the scale */
      call->out[0].margin[first + i] =
          most * scale > 1e4L ? INFINITY : fabsl(weight) * (1 + fabsl(normal)) * (1 + most * scale) + fabsl(bias);
    }
  }
  return NAIVE_GIVEN;
}

const naive_op naive_layers[] = {{"matmul", run_matmul},         {"dot", run_dot},     {"outer", run_outer},
                                 {"linear", run_linear},         {"addmm", run_addmm}, {"cdist", run_cdist},
                                 {"layer_norm", run_layer_norm}, {NULL, NULL}};
