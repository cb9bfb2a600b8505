/* Connectionist temporal classification (Graves et al., ICML 2006).
 *
 * A target of S classes is read as L = 2 S + 1 states, a blank before, between and after its classes.  A path through
 * the log_probs stays in its state, moves to the next, or passes over a blank between two different classes; the loss
 * is -log of the sum over all paths from one of the first two states to one of the last two.  alpha(t, s) is the log
 * of the sum over the beginnings of paths that are in s at t, beta(t, s) over their endings after t, both in double. */
#include <math.h>
#include <string.h>

#include "ops/loop.h"
#include "ops/loss.h"

enum { SAVED_LOG_PROBS = 0, SAVED_STATES, SAVED_INPUT_LENGTHS, SAVED_TARGET_LENGTHS, SAVED_ALPHA, SAVED_LOSSES };

/* The batch as forward and backward go over it.  Contiguous. */
typedef struct batch {
  lurn_dtype dtype;
  int64_t T, N, C, L;    /* L of the longest target */
  const void *log_probs; /* (T, N, C) */
  const int64_t *states; /* (N, L): the class of each state */
  const int64_t *input_lengths, *target_lengths;
  double *alpha;       /* (N, rows, L) */
  int64_t rows;        /* T, or 1 when only the last is of interest */
  double *losses;      /* (N), before reduction */
  double *scratch;     /* (N, L + C), backward only */
  const double *scale; /* (N), backward only: factor of each sequence's gradient */
  void *grad;          /* (T, N, C), backward only: zeros at first */
  bool zero_infinity;
} batch;

static double log_prob(const batch *b, int64_t t, int64_t n, int64_t class) {
  int64_t at = (t * b->N + n) * b->C + class;
  return b->dtype == LURN_FLOAT32 ? (double)((const float *)b->log_probs)[at] : ((const double *)b->log_probs)[at];
}

/* log(e^a + e^b + e^c).  The sum of -infinities, or of NaN, is just that. */
static double log_sum3(double a, double b, double c) {
  double top = fmax(fmax(a, b), c);
  return top == -INFINITY ? a + b + c : top + log(exp(a - top) + exp(b - top) + exp(c - top));
}

/* Whether a path may move from s - 2 to s.  Blanks are at even states, so that for those the classes are the same. */
static bool can_skip(const int64_t *states, int64_t s) { return s >= 2 && states[s] != states[s - 2]; }

/* ---- Checks ------------------------------------------------------------------------------------------------ */

static lurn_status read_integers(lurn__call *call, lurn_tensor *t, const char *what, lurn_tensor **out) {
  if (lurn_dtype_is_float(t->dtype) || t->dtype == LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "%s are %s; expected int64 or another integer type", what,
                         lurn_dtype_name(t->dtype));
  return lurn__as_contiguous(call->ctx, t, LURN_INT64, out);
}

static lurn_status read_lengths(lurn__call *call, lurn_tensor *t, const char *what, int64_t N, lurn_tensor **out) {
  if (t->shape.ndim != 1 || t->shape.size[0] != N)
    return lurn__op_fail(call, LURN_ESHAPE, "%s have shape %s; expected (%lld)", what, LURN__SHAPE(t), (long long)N);
  return read_integers(call, t, what, out);
}

static lurn_status check_lengths(lurn__call *call, const lurn_tensor *lengths, const char *what, int64_t most) {
  const struct lurn__ctc_loss_args *args = call->args;
  for (int64_t n = 0; n < lurn__numel(lengths); n++) {
    int64_t length = lurn__i64(lengths)[n];
    if (length < 0 || length > most)
      return lurn__op_fail(call, LURN_EVALUE, "sequence %lld has %s length %lld; expected 0..%lld",
                           (long long)n + args->base, what, (long long)length, (long long)most);
  }
  return LURN_OK;
}

/* Padded targets have shape (N, S); of those one after the other the lengths add up to their number. */
static lurn_status check_targets_shape(lurn__call *call, const lurn_tensor *targets, const lurn_tensor *lengths) {
  int64_t N = lengths->shape.size[0], sum = 0, most = targets->shape.ndim > 0 ? lurn__numel(targets) : 0;
  if (targets->shape.ndim == 2 && targets->shape.size[0] == N)
    return check_lengths(call, lengths, "target", targets->shape.size[1]);
  if (targets->shape.ndim != 1)
    return lurn__op_fail(call, LURN_ESHAPE,
                         "targets have shape %s; expected (%lld, S), or one dimension with all targets in turn",
                         LURN__SHAPE(targets), (long long)N);
  LURN__TRY(check_lengths(call, lengths, "target", most));
  for (int64_t n = 0; n < N && sum <= most; n++) sum += lurn__i64(lengths)[n];
  if (sum == most) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "there are %lld targets; expected as many as all target_lengths together",
                       (long long)most);
}

static lurn_status check_log_probs(lurn__call *call) {
  const struct lurn__ctc_loss_args *args = call->args;
  const lurn_tensor *x = args->log_probs;
  LURN__TRY(lurn__check_reduction(call, args->reduction));
  LURN__TRY(lurn__need_float(call, x, "log_probs"));
  if (x->shape.ndim != 3)
    return lurn__op_fail(call, LURN_ESHAPE, "log_probs have shape %s; expected (T, N, C)", LURN__SHAPE(x));
  if ((uint64_t)args->blank - (uint64_t)args->base < (uint64_t)x->shape.size[2]) return LURN_OK;
  return lurn__op_fail(call, LURN_EINDEX, "blank is %lld; expected a class of %lld..%lld", (long long)args->blank,
                       (long long)args->base, (long long)x->shape.size[2] - 1 + args->base);
}

/* ---- States ------------------------------------------------------------------------------------------------ */

/* One sequence's target of S classes, counted from base, as 2 S + 1 states of classes counted from 0. */
static lurn_status fill_states(lurn__call *call, int64_t n, const int64_t *target, int64_t S, int64_t *states) {
  const struct lurn__ctc_loss_args *args = call->args;
  int64_t C = args->log_probs->shape.size[2];
  for (int64_t i = 0; i < S; i++) {
    if ((uint64_t)target[i] - (uint64_t)args->base >= (uint64_t)C)
      return lurn__op_fail(call, LURN_EINDEX, "sequence %lld has target %lld; expected a class of %lld..%lld",
                           (long long)n + args->base, (long long)target[i], (long long)args->base,
                           (long long)C - 1 + args->base);
    if (target[i] == args->blank)
      return lurn__op_fail(call, LURN_EINDEX, "sequence %lld has target %lld, which is the blank",
                           (long long)n + args->base, (long long)target[i]);
    states[2 * i + 1] = target[i] - args->base;
  }
  for (int64_t i = 0; i <= S; i++) states[2 * i] = args->blank - args->base;
  return LURN_OK;
}

/* (N, L) for the longest target; what lies behind shorter ones is not read. */
static lurn_status make_states(lurn__call *call, const lurn_tensor *targets, const lurn_tensor *lengths,
                               lurn_tensor **out) {
  int64_t N = lengths->shape.size[0], longest = 0;
  for (int64_t n = 0; n < N; n++)
    if (lurn__i64(lengths)[n] > longest) longest = lurn__i64(lengths)[n];
  int64_t sizes[] = {N, 2 * longest + 1};
  LURN__TRY(lurn_zeros(call->ctx, LURN_INT64, 2, sizes, out));
  const int64_t *target = lurn__i64(targets);
  for (int64_t n = 0; n < N; n++) {
    int64_t S = lurn__i64(lengths)[n];
    LURN__TRY(fill_states(call, n, target, S, lurn__i64(*out) + n * sizes[1]));
    target += targets->shape.ndim == 2 ? targets->shape.size[1] : S;
  }
  return LURN_OK;
}

/* ---- Forward ----------------------------------------------------------------------------------------------- */

/* From the row before, which may be the same memory: hence from the last state down. */
static void alpha_step(const batch *b, int64_t t, int64_t n, int64_t L, const double *before, double *alpha) {
  const int64_t *states = b->states + n * b->L;
  for (int64_t s = L - 1; s >= 0; s--) {
    double next = s > 0 ? before[s - 1] : -INFINITY, skipped = can_skip(states, s) ? before[s - 2] : -INFINITY;
    alpha[s] = log_sum3(before[s], next, skipped) + log_prob(b, t, n, states[s]);
  }
}

static double sequence_loss(const batch *b, int64_t n) {
  int64_t L = 2 * b->target_lengths[n] + 1, T = b->input_lengths[n];
  double *alpha = b->alpha + n * b->rows * b->L;
  if (T == 0) return L == 1 ? 0 : INFINITY;
  for (int64_t s = 0; s < L; s++) alpha[s] = s < 2 ? log_prob(b, 0, n, b->states[n * b->L + s]) : -INFINITY;
  for (int64_t t = 1; t < T; t++) {
    const double *before = alpha;
    if (b->rows > 1) alpha += b->L;
    alpha_step(b, t, n, L, before, alpha);
  }
  return -log_sum3(alpha[L - 1], L > 1 ? alpha[L - 2] : -INFINITY, -INFINITY);
}

static void run_losses(const void *arg, int64_t first, int64_t last) {
  const batch *b = arg;
  for (int64_t n = first; n < last; n++) b->losses[n] = sequence_loss(b, n);
}

/* What PyTorch's mean divides a sequence's loss by, but for the number of sequences. */
static double divisor(int64_t target_length) { return target_length > 0 ? (double)target_length : 1; }

static void reduce(const batch *b, int64_t reduction, lurn_tensor *out) {
  char *to = lurn__tensor_ptr(out);
  double total = 0;
  for (int64_t n = 0; n < b->N; n++) {
    double loss = b->zero_infinity && b->losses[n] == INFINITY ? 0 : b->losses[n];
    total += reduction == LURN__LOSS_MEAN ? loss / divisor(b->target_lengths[n]) : loss;
    if (reduction == LURN__LOSS_NONE) lurn__store(out->dtype, to + (size_t)n * lurn__tensor_width(out), loss);
  }
  if (reduction == LURN__LOSS_MEAN) total /= (double)b->N;
  if (reduction != LURN__LOSS_NONE) lurn__store(out->dtype, to, total);
}

static int64_t row_work(const batch *b) { return 8 * b->T * b->L; }

static batch batch_of(const lurn_tensor *x, const lurn_tensor *states, const lurn_tensor *input_lengths,
                      const lurn_tensor *target_lengths, const lurn_tensor *alpha, const lurn_tensor *losses) {
  return (batch){.dtype = x->dtype,
                 .T = x->shape.size[0],
                 .N = x->shape.size[1],
                 .C = x->shape.size[2],
                 .L = states->shape.size[1],
                 .log_probs = lurn__tensor_ptr(x),
                 .states = lurn__i64(states),
                 .input_lengths = lurn__i64(input_lengths),
                 .target_lengths = lurn__i64(target_lengths),
                 .alpha = lurn__f64(alpha),
                 .rows = alpha->shape.size[1],
                 .losses = lurn__f64(losses)};
}

static lurn_status ctc_loss_forward(lurn__call *call) {
  const struct lurn__ctc_loss_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor **x = lurn__temp(temps), **targets = lurn__temp(temps), **states = lurn__temp(temps),
              **input_lengths = lurn__temp(temps), **target_lengths = lurn__temp(temps), **alpha = lurn__temp(temps),
              **losses = lurn__temp(temps);
  LURN__TRY(check_log_probs(call));
  int64_t T = args->log_probs->shape.size[0], N = args->log_probs->shape.size[1];
  LURN__TRY(read_integers(call, args->targets, "targets", targets));
  LURN__TRY(read_lengths(call, args->input_lengths, "input_lengths", N, input_lengths));
  LURN__TRY(read_lengths(call, args->target_lengths, "target_lengths", N, target_lengths));
  LURN__TRY(check_lengths(call, *input_lengths, "input", T));
  LURN__TRY(check_targets_shape(call, *targets, *target_lengths));
  LURN__TRY(make_states(call, *targets, *target_lengths, states));
  LURN__TRY(lurn__as_contiguous(call->ctx, args->log_probs, args->log_probs->dtype, x));
  int64_t alpha_sizes[] = {N, call->recording ? T : 1, (*states)->shape.size[1]};
  LURN__TRY(lurn_zeros(call->ctx, LURN_FLOAT64, 3, alpha_sizes, alpha));
  LURN__TRY(lurn_zeros(call->ctx, LURN_FLOAT64, 1, &N, losses));
  lurn_tensor *const saved[] = {*x, *states, *input_lengths, *target_lengths, *alpha, *losses};
  for (int i = 0; i <= SAVED_LOSSES; i++) LURN__TRY(lurn__save_in(call, i, saved[i]));
  lurn__shape shape = {.ndim = args->reduction == LURN__LOSS_NONE, .size = {N}};
  LURN__TRY(lurn__out(call, 0, (*x)->dtype, &shape));
  batch b = batch_of(*x, *states, *input_lengths, *target_lengths, *alpha, *losses);
  b.zero_infinity = args->zero_infinity;
  lurn__for_rows(call->ctx, N, row_work(&b), run_losses, &b);
  reduce(&b, args->reduction, call->out[0]);
  return LURN_OK;
}

/* ---- Backward ---------------------------------------------------------------------------------------------- */

static void store_row(const batch *b, int64_t t, int64_t n, double factor, const double *row) {
  int64_t at = (t * b->N + n) * b->C;
  for (int64_t c = 0; c < b->C; c++) {
    if (b->dtype == LURN_FLOAT32) ((float *)b->grad)[at + c] = (float)(factor * row[c]);
    else ((double *)b->grad)[at + c] = factor * row[c];
  }
}

/* To the row for t - 1, in place: hence from the first state up. */
static void beta_step(const batch *b, int64_t t, int64_t n, int64_t L, double *beta) {
  const int64_t *states = b->states + n * b->L;
  for (int64_t s = 0; s < L; s++) {
    double stay = beta[s] + log_prob(b, t, n, states[s]), next = -INFINITY, skipped = -INFINITY;
    if (s + 1 < L) next = beta[s + 1] + log_prob(b, t, n, states[s + 1]);
    if (s + 2 < L && can_skip(states, s + 2)) skipped = beta[s + 2] + log_prob(b, t, n, states[s + 2]);
    beta[s] = log_sum3(stay, next, skipped);
  }
}

/* d loss / d log_probs[t, c] = -(probability of the paths that are in a state of class c at t) / (that of all). */
static void sequence_grad(const batch *b, int64_t n) {
  int64_t L = 2 * b->target_lengths[n] + 1;
  const int64_t *states = b->states + n * b->L;
  double *beta = b->scratch + n * (b->L + b->C), *row = beta + b->L;
  for (int64_t s = 0; s < L; s++) beta[s] = s >= L - 2 ? 0 : -INFINITY;
  for (int64_t t = b->input_lengths[n] - 1; t >= 0; t--) {
    const double *alpha = b->alpha + (n * b->rows + t) * b->L;
    for (int64_t c = 0; c < b->C; c++) row[c] = 0;
    for (int64_t s = 0; s < L; s++) row[states[s]] += exp(alpha[s] + beta[s] + b->losses[n]);
    store_row(b, t, n, -b->scale[n], row);
    beta_step(b, t, n, L, beta);
  }
}

/* No path: there is no slope. */
static void fill_impossible(const batch *b, int64_t n) {
  double *row = b->scratch + n * (b->L + b->C) + b->L;
  for (int64_t c = 0; c < b->C; c++) row[c] = (double)NAN;
  for (int64_t t = 0; t < b->input_lengths[n]; t++) store_row(b, t, n, 1, row);
}

static void run_grads(const void *arg, int64_t first, int64_t last) {
  const batch *b = arg;
  for (int64_t n = first; n < last; n++) {
    if (b->losses[n] != INFINITY) sequence_grad(b, n);
    else if (!b->zero_infinity) fill_impossible(b, n);
  }
}

static void fill_scale(const batch *b, const lurn_tensor *gy, int64_t reduction, double *scale) {
  for (int64_t n = 0; n < b->N; n++) {
    int64_t at = reduction == LURN__LOSS_NONE ? n : 0;
    scale[n] = lurn__load(gy->dtype, (char *)lurn__tensor_ptr(gy) + (size_t)at * lurn__tensor_width(gy));
    if (reduction == LURN__LOSS_MEAN) scale[n] /= (double)b->N * divisor(b->target_lengths[n]);
  }
}

static lurn_status ctc_loss_backward(lurn__grad_call *grad) {
  const struct lurn__ctc_loss_args *args = grad->args;
  lurn_tensor *const *saved = grad->saved, *gy = grad->grad_out[0];
  lurn_tensor **scratch = lurn__temp(&grad->temps), **scale = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  batch b = batch_of(saved[SAVED_LOG_PROBS], saved[SAVED_STATES], saved[SAVED_INPUT_LENGTHS],
                     saved[SAVED_TARGET_LENGTHS], saved[SAVED_ALPHA], saved[SAVED_LOSSES]);
  int64_t sizes[] = {b.N, b.L + b.C};
  LURN__TRY(lurn__as_contiguous(grad->ctx, gy, gy->dtype, g));
  LURN__TRY(lurn_zeros(grad->ctx, LURN_FLOAT64, 2, sizes, scratch));
  LURN__TRY(lurn_zeros(grad->ctx, LURN_FLOAT64, 1, &b.N, scale));
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  fill_scale(&b, *g, args->reduction, lurn__f64(*scale));
  b.zero_infinity = args->zero_infinity;
  b.scratch = lurn__f64(*scratch);
  b.scale = lurn__f64(*scale);
  b.grad = lurn__tensor_ptr(grad->grad_in[0]);
  lurn__for_rows(grad->ctx, b.N, row_work(&b), run_grads, &b);
  return LURN_OK;
}

const lurn__op lurn__op_ctc_loss = {
    .forward = ctc_loss_forward,
    .backward = ctc_loss_backward,
    .doc = "-log of the probability of all alignments of targets to the steps of log_probs, in nats.\n"
           "log_probs (T, N, C); targets (N, S) padded, or in one dimension all in turn, of classes other than blank; "
           "input_lengths (N) of 0..T and target_lengths (N) of 0..S, all integers. blank counts as the targets do. "
           "none gives (N); mean divides each loss by its target length (at least 1), then by N. A target that does "
           "not fit its input (equal neighbours need a blank between) has loss inf and gradients NaN, or both 0 with "
           "zero_infinity. The gradient is that of log_probs themselves, minus the probability of each class at each "
           "step; sums are in float64. Source: Graves et al., ICML 2006."};
