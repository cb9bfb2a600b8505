/* Products, layers, losses and recurrent steps. */
#include <math.h>
#include <string.h>

#include "naive.h"

static bool floats(const naive_call *call) {
  for (int k = 0; k < call->n_in; k++)
    if (call->in[k] != NULL && !naive_is_float(call->in[k]->dtype)) return false;
  return true;
}

static bool shaped(const naive *t, int ndim, int64_t a, int64_t b, int64_t c) {
  const int64_t want[] = {a, b, c};
  return t == NULL || (t->ndim == ndim && memcmp(t->size, want, (size_t)ndim * sizeof *want) == 0);
}

/* An error grows with every term of a product, and sums in the kernels are in the dtype itself. */
static double product_ulps(int64_t terms) { return 4 + (double)terms; }

/* ---- Products ---------------------------------------------------------------------------------------------- */

static naive_verdict run_matmul(naive_call *call) {
  const naive *a = call->in[0], *b = call->in[1];
  if (!floats(call) || a->ndim == 0 || b->ndim == 0) return NAIVE_REFUSED;
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
  if (!floats(call)) return NAIVE_UNKNOWN;
  lurn_dtype dtype = naive_promote_plain(a->dtype, b->dtype);
  if (!naive_out(call, 0, dtype, 2, (int64_t[]){a->n, b->n})) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < a->n * b->n; i++) call->out[0].value[i] = a->value[i / b->n] * b->value[i % b->n];
  return NAIVE_GIVEN;
}

static bool one_dtype(const naive_call *call) {
  for (int k = 1; k < call->n_in; k++)
    if (call->in[k] != NULL && call->in[k]->dtype != call->in[0]->dtype) return false;
  return true;
}

static naive_verdict run_linear(naive_call *call) {
  const naive *x = call->in[0], *w = call->in[1], *b = call->in[2];
  if (!floats(call) || !one_dtype(call) || w->ndim != 2 || x->ndim == 0) return NAIVE_REFUSED;
  int64_t in = w->size[1], out = w->size[0], size[LURN_MAX_DIMS];
  if (x->size[x->ndim - 1] != in || !shaped(b, 1, out, 0, 0)) return NAIVE_REFUSED;
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
  if (!floats(call) || !one_dtype(call) || a->ndim != 2 || b->ndim != 2 || a->size[1] != b->size[0])
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

/* ---- Losses ------------------------------------------------------------------------------------------------ */

/* losses: one each, of the sizes `size`; reduces them as asked.  total is the divisor of a mean. */
static naive_verdict reduced(naive_call *call, const naive *losses, int64_t reduction, long double total) {
  if (reduction < 0 || reduction > 2) return NAIVE_REFUSED;
  if (reduction == 0) {
    call->out[0] = *losses;
    return NAIVE_GIVEN;
  }
  if (!naive_out(call, 0, losses->dtype, 0, NULL)) return NAIVE_UNKNOWN;
  long double divisor = reduction == 1 ? total : 1;
  for (int64_t i = 0; i < losses->n; i++) {
    call->out[0].value[0] += losses->value[i] / divisor;
    call->out[0].margin[0] += (fabsl(losses->value[i]) + losses->margin[i]) / fabsl(divisor);
  }
  if (divisor == 0) call->out[0].margin[0] = INFINITY;
  call->ulps += losses->dtype == LURN_FLOAT32 ? sqrt((double)losses->n) : (double)losses->n;
  return NAIVE_GIVEN;
}

/* A place for the single losses that is no output yet. */
static bool single(naive_call *call, lurn_dtype dtype, int ndim, const int64_t *size, naive *out) {
  if (!naive_out(call, 0, dtype, ndim, size)) return false;
  *out = call->out[0];
  return true;
}

static int64_t choice_of(const naive_call *call) {
  for (int i = 0; i < call->op->n_params; i++)
    if (call->op->params[i].kind == LURN_PARAM_CHOICE) return call->number[i];
  return 0;
}

static naive_verdict run_distance(naive_call *call) {
  const naive *x = call->in[0], *y = call->in[1];
  naive losses;
  bool mse = call->op->name[0] == 'm', l1 = call->op->name[0] == 'l';
  if (!naive_is_float(x->dtype) || !naive_same_shape(x, y)) return NAIVE_REFUSED;
  if (x->dtype != y->dtype) return NAIVE_UNKNOWN;
  long double beta = l1 || mse ? 0 : call->real[3];
  if (!(beta >= 0)) return NAIVE_REFUSED;
  if (isinf(beta) || (beta != 0 && beta < 1e-6L) || !single(call, x->dtype, x->ndim, x->size, &losses))
    return NAIVE_UNKNOWN;
  call->ulps = naive_is_tame(call) ? 8 : INFINITY;
  for (int64_t i = 0; i < x->n; i++) {
    long double d = fabsl(x->value[i] - y->value[i]), size = fabsl(x->value[i]) + fabsl(y->value[i]);
    losses.value[i] = mse ? d * d : d < beta ? d * d / (2 * beta) : d - beta / 2;
    losses.margin[i] = mse ? d * size : size + beta;
  }
  return reduced(call, &losses, choice_of(call), (long double)x->n);
}

static bool classes_fit(const naive *x, const naive *targets) {
  if (x->ndim != targets->ndim + 1 || naive_is_float(targets->dtype) || targets->dtype == LURN_BOOL) return false;
  return memcmp(x->size, targets->size, (size_t)targets->ndim * sizeof *x->size) == 0;
}

static long double log_sum(const long double *x, int64_t n) {
  long double most = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++) most = fmaxl(most, x[i]);
  for (int64_t i = 0; i < n; i++) sum += expl(x[i] - most);
  return most + logl(sum);
}

/* -log p of one class, with its weight; p from logits or as it is. */
static long double class_loss(const naive_call *call, const long double *row, int64_t n, int64_t class, double smooth) {
  const naive *w = call->in[2];
  long double norm = call->op->name[0] == 'c' ? log_sum(row, n) : 0;
  long double loss = (1 - (long double)smooth) * (norm - row[class]) * (w != NULL ? w->value[class] : 1);
  for (int64_t c = 0; c < n && smooth > 0; c++)
    loss += smooth / (long double)n * (norm - row[c]) * (w != NULL ? w->value[c] : 1);
  return loss;
}

static naive_verdict run_class_loss(naive_call *call) {
  const naive *x = call->in[0], *targets = call->in[1], *w = call->in[2];
  naive losses;
  bool cross = call->op->name[0] == 'c';
  double smooth = cross ? call->real[4] : 0;
  if (!naive_is_float(x->dtype) || !classes_fit(x, targets)) return NAIVE_REFUSED;
  int64_t n = x->size[x->ndim - 1], base = call->number[cross ? 6 : 5], ignore = call->number[3];
  if ((w != NULL && (w->dtype != x->dtype || !shaped(w, 1, n, 0, 0))) || !(smooth >= 0 && smooth <= 1))
    return NAIVE_REFUSED;
  if (!single(call, x->dtype, targets->ndim, targets->size, &losses)) return NAIVE_UNKNOWN;
  long double total = 0;
  call->ulps = naive_is_tame(call) ? 16 + (double)n : INFINITY;
  for (int64_t i = 0; i < targets->n; i++) {
    int64_t class = (int64_t)targets->value[i] - base;
    if ((int64_t)targets->value[i] == ignore) continue;
    if (class < 0 || class >= n) return NAIVE_REFUSED;
    losses.value[i] = class_loss(call, x->value + i * n, n, class, smooth);
    long double most = 1, heaviest = 1;
    for (int64_t c = 0; c < n; c++) {
      most = fmaxl(most, fabsl(x->value[i * n + c]));
      heaviest = fmaxl(heaviest, w != NULL ? fabsl(w->value[c]) : 1);
    }
    losses.margin[i] = most * heaviest * 2;
    total += w != NULL ? w->value[class] : 1;
  }
  if (w != NULL && fabsl(total) < 1e-3L) call->ulps = INFINITY;
  return reduced(call, &losses, choice_of(call), total);
}

/* ---- Recurrent layers -------------------------------------------------------------------------------------- */

static long double sigma(long double x) { return 1 / (1 + expl(-x)); }

typedef struct cell {
  int gates; /* 1 RNN, 3 GRU, 4 LSTM */
  int64_t T, N, D, H;
  const naive *x, *w, *u, *b, *c;
  int64_t f;
} cell;

static long double input_part(const cell *l, int64_t t, int64_t n, int64_t row) {
  long double sum = l->b != NULL ? l->b->value[row] : 0;
  for (int64_t d = 0; d < l->D; d++) sum += l->w->value[row * l->D + d] * l->x->value[(t * l->N + n) * l->D + d];
  return sum;
}

static long double hidden_part(const cell *l, int64_t row, const long double *h) {
  long double sum = l->c != NULL ? l->c->value[row] : 0;
  for (int64_t j = 0; j < l->H; j++) sum += l->u->value[row * l->H + j] * h[j];
  return sum;
}

/* h and c of one sequence from step t; next gets the new h. */
static void advance(const cell *l, int64_t t, int64_t n, const long double *h, long double *c, long double *next) {
  for (int64_t j = 0; j < l->H; j++) {
    long double in[4], hid[4];
    for (int g = 0; g < l->gates; g++) {
      in[g] = input_part(l, t, n, g * l->H + j);
      hid[g] = hidden_part(l, g * l->H + j, h);
    }
    long double s = in[0] + hid[0];
    if (l->gates == 1) next[j] = l->f == 0 ? tanhl(s) : l->f == 1 ? fmaxl(s, 0) : sigma(s);
    if (l->gates == 3) {
      long double r = sigma(s), z = sigma(in[1] + hid[1]), candidate = tanhl(in[2] + r * hid[2]);
      next[j] = (1 - z) * candidate + z * h[j];
    }
    if (l->gates == 4) {
      c[j] = sigma(in[1] + hid[1]) * c[j] + sigma(s) * tanhl(in[2] + hid[2]);
      next[j] = sigma(in[3] + hid[3]) * tanhl(c[j]);
    }
  }
}

static void sequence(naive_call *call, const cell *l, int64_t n, int64_t length, bool reverse, long double *h,
                     long double *c, long double *next) {
  for (int64_t step = 0; step < length; step++) {
    int64_t t = reverse ? length - 1 - step : step;
    advance(l, t, n, h, c, next);
    memcpy(h, next, (size_t)l->H * sizeof *h);
    for (int64_t j = 0; j < l->H; j++) call->out[0].value[(t * l->N + n) * l->H + j] = h[j];
  }
  for (int64_t j = 0; j < l->H; j++) {
    call->out[1].value[n * l->H + j] = h[j];
    if (l->gates == 4) call->out[2].value[n * l->H + j] = c[j];
  }
}

static bool cell_fits(const naive_call *call, cell *l) {
  const naive *x = call->in[0], *u = call->in[2];
  if (x->ndim != 3 || u->ndim != 2 || !naive_is_float(x->dtype)) return false;
  l->T = x->size[0];
  l->N = x->size[1];
  l->D = x->size[2];
  l->H = u->size[1];
  int64_t rows = l->gates * l->H;
  int states = l->gates == 4 ? 2 : 1, lengths = 5 + states;
  for (int k = 1; k < lengths; k++)
    if (call->in[k] != NULL && call->in[k]->dtype != x->dtype) return false;
  bool fits = shaped(call->in[1], 2, rows, l->D, 0) && shaped(u, 2, rows, l->H, 0) &&
              shaped(call->in[3], 1, rows, 0, 0) && shaped(call->in[4], 1, rows, 0, 0);
  for (int k = 5; k < lengths; k++) fits = fits && shaped(call->in[k], 2, l->N, l->H, 0);
  const naive *len = call->in[lengths];
  if (!fits || l->H == 0 || !shaped(len, 1, l->N, 0, 0)) return false;
  if (len == NULL) return true;
  if (naive_is_float(len->dtype) || len->dtype == LURN_BOOL) return false;
  for (int64_t i = 0; i < len->n; i++)
    if (len->value[i] < 0 || len->value[i] > l->T) return false;
  return true;
}

/* A step's error grows through the next ones by at most the size of its recurrent weights. */
static double growth(const cell *l) {
  long double most = 0;
  for (int64_t row = 0; row < l->gates * l->H; row++) {
    long double sum = 0;
    for (int64_t j = 0; j < l->H; j++) sum += fabsl(l->u->value[row * l->H + j]);
    most = fmaxl(most, sum);
  }
  return pow(1 + (double)most, (double)l->T);
}

static void margins(naive_call *call, const cell *l) {
  long double inner = 1;
  for (int64_t i = 0; i < l->x->n; i++) inner = fmaxl(inner, fabsl(l->x->value[i]));
  for (int64_t i = 0; i < l->w->n; i++) inner = fmaxl(inner, fabsl(l->w->value[i]));
  for (int k = 0; k < call->op->n_outputs; k++)
    for (int64_t i = 0; i < call->out[k].n; i++)
      call->out[k].margin[i] = inner * inner * (long double)(1 + l->D) + fabsl(call->out[k].value[i]);
  double wide = growth(l);
  call->ulps = naive_is_tame(call) && wide < 1e4 ? 16 * wide * (double)(l->D + l->H + 1) : INFINITY;
}

static naive_verdict run_recurrent(naive_call *call) {
  bool lstm = call->op->name[0] == 'l', gru = call->op->name[0] == 'g';
  cell l = {.gates = lstm  ? 4
                     : gru ? 3
                           : 1,
            .x = call->in[0],
            .w = call->in[1],
            .u = call->in[2],
            .b = call->in[3],
            .c = call->in[4]};
  if (!cell_fits(call, &l)) return NAIVE_UNKNOWN;
  const naive *h0 = call->in[5], *c0 = lstm ? call->in[6] : NULL, *len = call->in[lstm ? 7 : 6];
  l.f = gru || lstm ? 0 : call->number[7];
  bool reverse = call->number[gru ? 7 : 8] != 0;
  if (l.f < 0 || l.f > 2) return NAIVE_UNKNOWN;
  int64_t y[3] = {l.T, l.N, l.H};
  for (int k = 0; k < call->op->n_outputs; k++)
    if (!naive_out(call, k, l.x->dtype, k == 0 ? 3 : 2, k == 0 ? y : y + 1)) return NAIVE_UNKNOWN;
  long double *h = naive_alloc(l.H * 3, sizeof *h), *c = h + l.H, *next = c + l.H;
  if (h == NULL) return NAIVE_UNKNOWN;
  for (int64_t n = 0; n < l.N; n++) {
    for (int64_t j = 0; j < l.H; j++) {
      h[j] = h0 != NULL ? h0->value[n * l.H + j] : 0;
      c[j] = c0 != NULL ? c0->value[n * l.H + j] : 0;
    }
    sequence(call, &l, n, len != NULL ? (int64_t)len->value[n] : l.T, reverse, h, c, next);
  }
  margins(call, &l);
  return NAIVE_GIVEN;
}

const naive_op naive_layers[] = {{"matmul", run_matmul},
                                 {"dot", run_dot},
                                 {"outer", run_outer},
                                 {"linear", run_linear},
                                 {"addmm", run_addmm},
                                 {"layer_norm", run_layer_norm},
                                 {"mse_loss", run_distance},
                                 {"l1_loss", run_distance},
                                 {"smooth_l1_loss", run_distance},
                                 {"cross_entropy", run_class_loss},
                                 {"nll_loss", run_class_loss},
                                 {"rnn", run_recurrent},
                                 {"lstm", run_recurrent},
                                 {"gru", run_recurrent},
                                 {NULL, NULL}};
