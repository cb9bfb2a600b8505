/* Backward of recurrent layers: through time chunk by chunk, last steps first.  In each chunk the recurrence gives the gradients
 * of the sums of all its steps; while they are in the cache, products over all its rows give those of input and weights. */
#include <string.h>

#include "core/threads.h"
#include "ops/product.h"
#include "ops/record.h"
#include "ops/recurrent.h"

typedef struct backward_run {
  lurn__sequence s;
  lurn__packed packed;
  lurn__track hidden, cell, gates, recurrent; /* as saved */
  bool has_h0;
  const char *dy;                    /* (T, N, H) or NULL */
  char *w_hh, *w_recurrent;          /* packed: (split, H), (rows - split, H) */
  char *dhidden, *dcell;             /* (N, H): of the state after the step at hand, then of the one before */
  char *dgates, *drecurrent;         /* (chunk, N, rows), (chunk, N, H): of the sums */
  char *dhidden_total, *dcell_total; /* (T, N, H): for a recording, or NULL */
  int64_t start, count;              /* steps of the chunk at hand */
} backward_run;

/* ---- The recurrence ---------------------------------------------------------------------------------------- */

static int64_t state_row(const lurn__sequence *s, int64_t t, int64_t row) { return (t * s->N + row) * s->H * s->width; }

/* The gradients of the gates' sums, rows from `row` on, at time t of the chunk. */
static char *dgates_at(const backward_run *r, int64_t t, int64_t row) {
  int64_t low = lurn__chunk_time(&r->s, r->start, r->count);
  return r->dgates + ((t - low) * r->s.N + row) * r->s.rows * r->s.width;
}
static char *drecurrent_at(const backward_run *r, int64_t t, int64_t row) {
  return r->drecurrent + state_row(&r->s, t - lurn__chunk_time(&r->s, r->start, r->count), row);
}

static void fill_step(const backward_run *r, int64_t i, int64_t from, int64_t to, lurn__step *step) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i);
  *step = (lurn__step){.f = s->f, .n = to - from, .h = s->H};
  step->hidden = lurn__track_at(s, &r->hidden, t, from);
  step->hidden_before = lurn__track_before(s, &r->hidden, i, from);
  if (s->cell->keeps_gates) step->gates = lurn__track_at(s, &r->gates, t, from);
  if (s->cell->has_recurrent) step->recurrent = lurn__track_at(s, &r->recurrent, t, from);
  if (s->cell->has_cell) {
    step->cell = lurn__track_at(s, &r->cell, t, from);
    step->cell_before = lurn__track_before(s, &r->cell, i, from);
    step->dcell = r->dcell + state_row(s, 0, from);
    if (r->dcell_total) step->dcell_total = r->dcell_total + state_row(s, t, from);
  }
  step->dhidden = r->dhidden + state_row(s, 0, from);
  step->dgates = dgates_at(r, t, from);
  if (s->cell->has_recurrent) step->drecurrent = drecurrent_at(r, t, from);
}

/* The i-th step of rows from..to, all active. */
static void take_step(const backward_run *r, int thread, int64_t i, int64_t from, int64_t to) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i), n = to - from;
  lurn__step step;
  fill_step(r, i, from, to, &step);
  if (r->dy) s->cells->add_rows(1, n * s->H, r->dy + state_row(s, t, from), 0, step.dhidden);
  if (r->dhidden_total) memcpy(r->dhidden_total + state_row(s, t, from), step.dhidden, (size_t)(n * s->H * s->width));
  s->cell->backward(s->cells, &step);
  lurn__packed_product(&r->packed, thread, n, s->H, s->split, step.dgates, s->rows, r->w_hh, step.dhidden, s->H,
                       s->cell->has_recurrent);
  if (s->cell->has_recurrent)
    lurn__packed_product(&r->packed, thread, n, s->H, s->rows - s->split, step.drecurrent, s->H, r->w_recurrent,
                         step.dhidden, s->H, true);
}

/* Inactive rows change nothing, and their state's gradient goes on as it is. */
static void clear_inactive(const backward_run *r, int64_t i, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i);
  size_t state_bytes = (size_t)(s->H * s->width);
  for (int64_t row = first; row < last; row++) {
    if (lurn__row_active(s, t, row)) continue;
    memset(dgates_at(r, t, row), 0, (size_t)(s->rows * s->width));
    if (s->cell->has_recurrent) memset(drecurrent_at(r, t, row), 0, state_bytes);
    if (r->dhidden_total) memset(r->dhidden_total + state_row(s, t, row), 0, state_bytes);
    if (r->dcell_total) memset(r->dcell_total + state_row(s, t, row), 0, state_bytes);
  }
}

/* The chunk's steps of some rows. */
static void rows_task(void *arg, int64_t task, int thread) {
  const backward_run *r = arg;
  const lurn__sequence *s = &r->s;
  int64_t tasks = r->packed.cut.tasks, first = task * s->N / tasks, last = (task + 1) * s->N / tasks;
  for (int64_t i = r->start + r->count - 1; i >= r->start; i--) {
    for (int64_t from, to = first; lurn__next_run(s, lurn__step_time(s, i), last, &from, &to);)
      take_step(r, thread, i, from, to);
    if (s->lengths != NULL) clear_inactive(r, i, first, last);
  }
}

/* ---- Input and weights ------------------------------------------------------------------------------------- */

static void *data_or_null(const lurn_tensor *t) { return t ? lurn__tensor_ptr(t) : NULL; }

/* dw (rows first.., columns) += d^T . b, for d (n, rows of dw; row stride ldd) and b (n, columns), both contiguous in a row. */
static lurn_status add_outer(const backward_run *r, int64_t n, int64_t rows, const char *d, int64_t ldd, const char *b,
                             int64_t columns, char *dw) {
  const lurn__sequence *s = &r->s;
  return lurn__product(s->ctx, s->dtype, rows, columns, n, (lurn__matrix){d, 1, ldd}, (lurn__matrix){b, columns, 1}, dw,
                       columns, true);
}

/* dw_hh += (gradients of the sums)^T . hidden_before, over `count` time steps from t on, whose former states lie together. */
static lurn_status add_recurrent_weights(const backward_run *r, int64_t t, int64_t count, const char *hidden_before,
                                         char *dw_hh) {
  const lurn__sequence *s = &r->s;
  int64_t n = count * s->N;
  if (n <= 0) return LURN_OK;
  LURN__TRY(add_outer(r, n, s->split, dgates_at(r, t, 0), s->rows, hidden_before, s->H, dw_hh));
  if (!s->cell->has_recurrent) return LURN_OK;
  return add_outer(r, n, s->rows - s->split, drecurrent_at(r, t, 0), s->H, hidden_before, s->H,
                   dw_hh + s->split * s->H * s->width);
}

/* All steps of the chunk but the sequence's first, whose former state lies elsewhere, then that one. */
static lurn_status chunk_recurrent_weights(const backward_run *r, char *dw_hh) {
  const lurn__sequence *s = &r->s;
  int64_t i = r->start == 0 ? 1 : r->start, count = r->start + r->count - i;
  if (count > 0) {
    int64_t t = lurn__chunk_time(s, i, count), before = s->reverse ? t + 1 : t - 1;
    LURN__TRY(add_recurrent_weights(r, t, count, lurn__track_at(s, &r->hidden, before, 0), dw_hh));
  }
  if (r->start > 0 || !r->has_h0) return LURN_OK;
  return add_recurrent_weights(r, lurn__step_time(s, 0), 1, r->hidden.initial, dw_hh);
}

typedef struct bias_sums {
  const backward_run *r;
  char *db_ih, *db_hh;
  int64_t tasks;
} bias_sums;

/* Sums over the chunk's rows, for some columns. */
static void bias_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const bias_sums *sums = arg;
  const backward_run *r = sums->r;
  const lurn__sequence *s = &r->s;
  int64_t first = task * s->rows / sums->tasks, last = (task + 1) * s->rows / sums->tasks, n = r->count * s->N;
  int64_t middle = last < s->split ? last : first > s->split ? first : s->split; /* of first..last, for b_hh */
  const char *dgates = r->dgates + first * s->width;
  if (sums->db_ih) s->cells->add_rows(n, last - first, dgates, s->rows, sums->db_ih + first * s->width);
  if (sums->db_hh == NULL) return;
  s->cells->add_rows(n, middle - first, dgates, s->rows, sums->db_hh + first * s->width);
  if (middle < last)
    s->cells->add_rows(n, last - middle, r->drecurrent + (middle - s->split) * s->width, s->H,
                       sums->db_hh + middle * s->width);
}

typedef struct gradients {
  lurn_tensor *x, *w_ih, *w_hh, *b_ih, *b_hh, *h0, *c0; /* NULL where not wanted */
} gradients;

static void chunk_biases(const backward_run *r, const gradients *out) {
  bias_sums sums = {r, data_or_null(out->b_ih), data_or_null(out->b_hh), 1};
  if (sums.db_ih == NULL && sums.db_hh == NULL) return;
  int64_t most = r->s.rows / 64; /* whole cache lines for every task */
  sums.tasks = r->packed.cut.tasks < most ? r->packed.cut.tasks : most;
  if (sums.tasks < 1) sums.tasks = 1;
  lurn__parallel(r->s.ctx, sums.tasks, bias_task, &sums);
}

static lurn_status chunk_products(const backward_run *r, lurn__grad_call *grad, const gradients *out) {
  const lurn__sequence *s = &r->s;
  int64_t n = r->count * s->N, first_row = lurn__chunk_time(s, r->start, r->count) * s->N;
  const lurn_tensor *x = grad->saved[LURN__LAYER_SAVED_X], *w_ih = grad->saved[LURN__LAYER_SAVED_W_IH];
  if (out->x) {
    lurn__matrix dgates = {r->dgates, s->rows, 1}, w = {lurn__tensor_ptr(w_ih), w_ih->stride[0], w_ih->stride[1]};
    char *dx = (char *)lurn__tensor_ptr(out->x) + first_row * s->D * s->width;
    LURN__TRY(lurn__product(s->ctx, s->dtype, n, s->D, s->rows, dgates, w, dx, s->D, false));
  }
  if (out->w_ih) {
    const char *rows = (const char *)lurn__tensor_ptr(x) + first_row * s->D * s->width;
    LURN__TRY(add_outer(r, n, s->rows, r->dgates, s->rows, rows, s->D, lurn__tensor_ptr(out->w_ih)));
  }
  if (out->w_hh) LURN__TRY(chunk_recurrent_weights(r, lurn__tensor_ptr(out->w_hh)));
  chunk_biases(r, out);
  return LURN_OK;
}

/* ---- Preparation ------------------------------------------------------------------------------------------- */

/* Zeros of an input's shape, or NULL when its gradient is not wanted. */
static lurn_status wanted(lurn__grad_call *grad, int input, lurn_tensor **out) {
  if (!grad->need[input]) return LURN_OK;
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[input], &grad->grad_in[input]));
  *out = grad->grad_in[input];
  return LURN_OK;
}

static lurn_status make_gradients(lurn__grad_call *grad, const lurn__cell *cell, gradients *out) {
  if (grad->need[LURN__LAYER_X]) {
    const lurn__meta *x = &grad->in[LURN__LAYER_X];
    LURN__TRY(lurn__tensor_new(grad->ctx, x->dtype, &x->shape, &grad->grad_in[LURN__LAYER_X]));
    out->x = grad->grad_in[LURN__LAYER_X];
  }
  LURN__TRY(wanted(grad, LURN__LAYER_W_IH, &out->w_ih));
  LURN__TRY(wanted(grad, LURN__LAYER_W_HH, &out->w_hh));
  LURN__TRY(wanted(grad, LURN__LAYER_B_IH, &out->b_ih));
  LURN__TRY(wanted(grad, LURN__LAYER_B_HH, &out->b_hh));
  LURN__TRY(wanted(grad, LURN__LAYER_H0, &out->h0));
  if (cell->has_cell) LURN__TRY(wanted(grad, LURN__LAYER_C0, &out->c0));
  return LURN_OK;
}

static lurn_status contiguous_grad(lurn__grad_call *grad, int i, lurn_dtype dtype, const char **out) {
  *out = NULL;
  if (grad->grad_out[i] == NULL) return LURN_OK;
  lurn_tensor **slot = lurn__temp(&grad->temps);
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->grad_out[i], dtype, slot));
  *out = lurn__tensor_ptr(*slot);
  return LURN_OK;
}

static lurn__track track(lurn__grad_call *grad, int slot, const char *initial, int64_t columns) {
  lurn_tensor *saved = grad->saved[slot];
  return (lurn__track){.data = data_or_null(saved), .columns = columns, .initial = initial};
}

static void start_state(char *state, const char *given, int64_t bytes) {
  if (given) memcpy(state, given, (size_t)bytes);
  else memset(state, 0, (size_t)bytes);
}

static lurn_status allocate(lurn__grad_call *grad, backward_run *r) {
  const lurn__sequence *s = &r->s;
  const lurn__gemm *g = s->gemm;
  int64_t state = s->N * s->H * s->width, rest = s->rows - s->split, rows = s->chunk * s->N;
  const char *dh_n, *dc_n = NULL;
  char *zeros;
  size_t scratch[2] = {g->packed_scratch(s->N, s->split), g->packed_scratch(s->N, rest)};
  r->packed = (lurn__packed){.s = s, .cut = lurn__cut_rows(s)};
  r->packed.scratch_bytes = scratch[0] > scratch[1] ? scratch[0] : scratch[1];
  LURN__TRY(contiguous_grad(grad, 0, s->dtype, &r->dy));
  LURN__TRY(contiguous_grad(grad, 1, s->dtype, &dh_n));
  if (s->cell->has_cell) LURN__TRY(contiguous_grad(grad, 2, s->dtype, &dc_n));
  const lurn__want wants[] = {
      {&r->w_hh, g->packed_size(s->split, s->H) * s->width},
      {&r->w_recurrent, g->packed_size(rest, s->H) * s->width},
      {&r->packed.scratch, (int64_t)r->packed.scratch_bytes * grad->ctx->num_threads},
      {&zeros, state},
      {&r->dhidden, state},
      {&r->dcell, state},
      {&r->dgates, rows * s->rows * s->width},
      {&r->drecurrent, s->cell->has_recurrent ? rows * s->H * s->width : 0},
  };
  LURN__TRY(lurn__workspace(grad->ctx, &grad->temps, wants, sizeof wants / sizeof wants[0]));
  memset(zeros, 0, (size_t)state);
  start_state(r->dhidden, dh_n, state);
  start_state(r->dcell, dc_n, state);
  const char *h0 = data_or_null(grad->saved[LURN__LAYER_SAVED_H0]),
             *c0 = data_or_null(grad->saved[LURN__LAYER_SAVED_C0]);
  r->has_h0 = h0 != NULL;
  r->hidden = track(grad, LURN__LAYER_SAVED_HIDDEN, h0 ? h0 : zeros, s->H);
  r->cell = track(grad, LURN__LAYER_SAVED_CELL, c0 ? c0 : zeros, s->H);
  r->gates = track(grad, LURN__LAYER_SAVED_GATES, NULL, s->rows);
  r->recurrent = track(grad, LURN__LAYER_SAVED_RECURRENT, NULL, s->H);
  return LURN_OK;
}

static void pack_weights(lurn__grad_call *grad, const backward_run *r) {
  const lurn__sequence *s = &r->s;
  const lurn_tensor *w = grad->saved[LURN__LAYER_SAVED_W_HH];
  const char *data = lurn__tensor_ptr(w);
  int64_t rest = s->rows - s->split;
  s->gemm->pack(s->split, s->H, (lurn__matrix){data, w->stride[0], w->stride[1]}, 0, s->H, r->w_hh);
  data += s->split * w->stride[0] * s->width;
  s->gemm->pack(rest, s->H, (lurn__matrix){data, w->stride[0], w->stride[1]}, 0, s->H, r->w_recurrent);
}

/* Tensors (T, N, H) for what a recording wants of backward. */
static lurn_status prepare_record(lurn__grad_call *grad, backward_run *r, lurn_tensor **dhidden, lurn_tensor **dcell) {
  const lurn__sequence *s = &r->s;
  lurn__shape shape = {.ndim = 3, .size = {s->T, s->N, s->H}};
  lurn_tensor **slot = lurn__temp(&grad->temps);
  LURN__TRY(lurn__tensor_new(grad->ctx, s->dtype, &shape, slot));
  *dhidden = *slot;
  r->dhidden_total = lurn__tensor_ptr(*slot);
  if (!s->cell->has_cell) return LURN_OK;
  slot = lurn__temp(&grad->temps);
  LURN__TRY(lurn__tensor_new(grad->ctx, s->dtype, &shape, slot));
  *dcell = *slot;
  r->dcell_total = lurn__tensor_ptr(*slot);
  return LURN_OK;
}

/* ---- Backward ---------------------------------------------------------------------------------------------- */

static lurn_status run_chunks(lurn__grad_call *grad, backward_run *r, const gradients *out) {
  const lurn__sequence *s = &r->s;
  int64_t chunks = (s->T + s->chunk - 1) / s->chunk;
  for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
    r->start = chunk * s->chunk;
    r->count = s->T - r->start < s->chunk ? s->T - r->start : s->chunk;
    lurn__parallel(s->ctx, r->packed.cut.tasks, rows_task, r);
    LURN__TRY(chunk_products(r, grad, out));
  }
  return LURN_OK;
}

lurn_status lurn__layer_backward(lurn__grad_call *grad, const lurn__layer *layer) {
  backward_run r = {.dy = NULL};
  gradients out = {.x = NULL};
  lurn_tensor *dhidden = NULL, *dcell = NULL;
  const lurn__meta *x = &grad->in[LURN__LAYER_X];
  const lurn_tensor *lengths = grad->saved[LURN__LAYER_SAVED_LENGTHS];
  lurn__sequence_init(&r.s, grad->ctx, layer, x->dtype, x->shape.size,
                      grad->in[LURN__LAYER_W_IH].shape.size[0] / layer->cell->gates);
  if (lengths) r.s.lengths = lurn__i64(lengths);
  LURN__TRY(allocate(grad, &r));
  LURN__TRY(make_gradients(grad, layer->cell, &out));
  if (layer->record) LURN__TRY(prepare_record(grad, &r, &dhidden, &dcell));
  pack_weights(grad, &r);
  LURN__TRY(run_chunks(grad, &r, &out));
  size_t state = (size_t)(r.s.N * r.s.H * r.s.width);
  if (out.h0) memcpy(lurn__tensor_ptr(out.h0), r.dhidden, state);
  if (out.c0) memcpy(lurn__tensor_ptr(out.c0), r.dcell, state);
  if (layer->record) {
    lurn__record_put(layer->record, LURN_RECORD_GRAD_HIDDEN, lurn_retain(dhidden));
    lurn__record_put(layer->record, LURN_RECORD_GRAD_CELL, dcell ? lurn_retain(dcell) : NULL);
  }
  return LURN_OK;
}
