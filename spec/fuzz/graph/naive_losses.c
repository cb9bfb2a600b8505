/* Losses. */
#include <math.h>
#include <string.h>

#include "naive.h"

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
  if ((w != NULL && (w->dtype != x->dtype || !naive_shaped(w, 1, n, 0, 0))) || !(smooth >= 0 && smooth <= 1))
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

/* ---- binary_cross_entropy_with_logits ---------------------------------------------------------------------- */

static bool broadcasts_to(const naive *t, const naive *x) {
  naive both;
  return t == NULL || (naive_broadcast(t, x, &both) && naive_same_shape(&both, x));
}

/* -w (k t log p + (1 - t) log(1 - p)) = w ((1 - t) x + (1 + (k - 1) t) log(1 + e^-x)). */
static long double binary_loss(long double x, long double t, long double k, long double w, long double *margin) {
  long double wrong = x < 0 ? -x + log1pl(expl(x)) : log1pl(expl(-x)), size = fabsl(x) + wrong;
  *margin = fabsl(w) * ((1 + fabsl(t)) * fabsl(x) + (1 + (fabsl(k) + 1) * fabsl(t)) * size);
  return w * ((1 - t) * x + (1 + (k - 1) * t) * wrong);
}

static naive_verdict run_binary_loss(naive_call *call) {
  const naive *x = call->in[0], *t = call->in[1], *w = call->in[2], *k = call->in[3];
  naive losses, shape = *x;
  if (!naive_is_float(x->dtype) || !naive_same_shape(x, t) || !broadcasts_to(w, x) || !broadcasts_to(k, x))
    return NAIVE_REFUSED;
  for (int i = 1; i < 4; i++)
    if (call->in[i] != NULL && !naive_meet(&shape, call->in[i], &shape)) return NAIVE_REFUSED;
  if (!naive_all_float(call)) return NAIVE_UNKNOWN; /* integers meet on the way, and in another order */
  if (!single(call, shape.dtype, x->ndim, x->size, &losses)) return NAIVE_UNKNOWN;
  call->ulps = naive_is_tame(call) ? 16 : INFINITY;
  if (x->dtype != t->dtype || (w != NULL && w->dtype != x->dtype) || (k != NULL && k->dtype != x->dtype))
    call->ulps = INFINITY; /* parts of it are rounded to float32 */
  for (int64_t i = 0; i < x->n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(x, i, at);
    losses.value[i] = binary_loss(x->value[i], t->value[i], k != NULL ? k->value[naive_under(k, x->ndim, at)] : 1,
                                  w != NULL ? w->value[naive_under(w, x->ndim, at)] : 1, &losses.margin[i]);
  }
  return reduced(call, &losses, call->number[4], (long double)x->n);
}

/* ---- ctc_loss ---------------------------------------------------------------------------------------------- */

/* One sequence: log_probs of T steps, each `step` elements after the one before, and a target of S classes from 0. */
typedef struct alignment {
  const long double *log_probs;
  int64_t T, step, S, blank;
  int64_t *classes;
} alignment;

/* The class of state s: blanks at even ones, the target's classes between. */
static int64_t class_at(const alignment *a, int64_t s) { return s % 2 == 0 ? a->blank : a->classes[s / 2]; }

/* The sum over all paths from state s at step t to the end, by sums of those that begin one step later. */
static bool path_sums(const alignment *a, long double *result) {
  int64_t L = 2 * a->S + 1;
  long double *sum = naive_alloc((a->T + 1) * L, sizeof *sum);
  if (sum == NULL) return false;
  for (int64_t t = a->T; t >= 0; t--)
    for (int64_t s = 0; s < L; s++) {
      long double *here = &sum[t * L + s];
      if (t == a->T) {
        *here = s >= L - 2;
        continue;
      }
      for (int64_t next = s; next < L && next <= s + 2 && t + 1 < a->T; next++) {
        bool skips_blank = next == s + 2 && (next % 2 == 0 || class_at(a, next) == class_at(a, s));
        if (!skips_blank) *here += sum[(t + 1) * L + next];
      }
      if (t + 1 == a->T) *here = sum[(t + 1) * L + s];
      *here *= expl(a->log_probs[t * a->step + class_at(a, s)]);
    }
  *result = a->T == 0 ? L == 1 : sum[0] + (L > 1 ? sum[1] : 0);
  return true;
}

static bool lengths_fit(const naive *lengths, int64_t N, int64_t most) {
  if (lengths->ndim != 1 || lengths->n != N || !naive_is_index(lengths)) return false;
  for (int64_t n = 0; n < N; n++)
    if (lengths->value[n] < 0 || lengths->value[n] > (long double)most) return false;
  return true;
}

static bool ctc_fits(const naive_call *call) {
  const naive *x = call->in[0], *targets = call->in[1], *lengths = call->in[3];
  int64_t blank = call->number[4] - call->number[7];
  if (call->number[5] < 0 || call->number[5] > 2 || !naive_is_float(x->dtype) || x->ndim != 3) return false;
  if (blank < 0 || blank >= x->size[2] || !naive_is_index(targets)) return false;
  int64_t N = x->size[1], total = 0;
  bool padded = targets->ndim == 2 && targets->size[0] == N;
  if (!padded && targets->ndim != 1) return false;
  if (!lengths_fit(call->in[2], N, x->size[0]) || !lengths_fit(lengths, N, padded ? targets->size[1] : targets->n))
    return false;
  for (int64_t n = 0; n < N; n++) total += (int64_t)lengths->value[n];
  return padded || total == targets->n;
}

/* The n-th sequence of those whose targets begin at `first`; false when one of its targets is no class or the blank. */
static bool read_alignment(const naive_call *call, int64_t n, int64_t first, alignment *a) {
  const naive *x = call->in[0], *targets = call->in[1];
  int64_t base = call->number[7];
  *a = (alignment){.log_probs = x->value + n * x->size[2],
                   .T = (int64_t)call->in[2]->value[n],
                   .step = x->size[1] * x->size[2],
                   .S = (int64_t)call->in[3]->value[n],
                   .blank = call->number[4] - base};
  a->classes = naive_alloc(a->S, sizeof *a->classes);
  for (int64_t i = 0; a->classes != NULL && i < a->S; i++) {
    long double class = targets->value[first + i] - (long double)base;
    if (class < 0 || class >= (long double)x->size[2] || class == (long double)a->blank) return false;
    a->classes[i] = (int64_t) class;
  }
  return true;
}

static naive_verdict run_ctc_loss(naive_call *call) {
  const naive *x = call->in[0], *targets = call->in[1];
  naive losses;
  long double most = 1;
  if (!ctc_fits(call)) return NAIVE_REFUSED;
  int64_t N = x->size[1], first = 0;
  bool mean = call->number[5] == 1;
  if (!single(call, x->dtype, 1, &N, &losses)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) most = fmaxl(most, fabsl(x->value[i]));
  for (int64_t n = 0; n < N; n++) {
    alignment a;
    long double sum;
    if (targets->ndim == 2) first = n * targets->size[1];
    if (!read_alignment(call, n, first, &a)) return NAIVE_REFUSED;
    if (a.classes == NULL || !path_sums(&a, &sum)) return NAIVE_UNKNOWN;
    losses.value[n] = call->number[6] && sum == 0 ? 0 : -logl(sum);
    if (mean && a.S > 0) losses.value[n] /= (long double)a.S;
    losses.margin[n] = 1 + (long double)a.T * (most + 1);
    first += a.S;
  }
  call->ulps = most < 200 && naive_is_tame(call) ? 16 : INFINITY; /* larger ones leave the range of the sums */
  return reduced(call, &losses, call->number[5], (long double)N);
}

const naive_op naive_losses[] = {
    {"mse_loss", run_distance},       {"l1_loss", run_distance},
    {"smooth_l1_loss", run_distance}, {"cross_entropy", run_class_loss},
    {"nll_loss", run_class_loss},     {"binary_cross_entropy_with_logits", run_binary_loss},
    {"ctc_loss", run_ctc_loss},       {NULL, NULL}};
