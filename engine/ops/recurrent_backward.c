/* The recurrence of backward, and what prepares and ends it. */
#include <string.h>

#include "core/cpu.h"
#include "core/threads.h"
#include "ops/record.h"
#include "ops/recurrent_backward.h"

/* ---- The recurrence ---------------------------------------------------------------------------------------- */

/* Bytes before a row at time t of hidden states and of cells. */
static int64_t hidden_row(const lurn__sequence *s, int64_t t, int64_t row) {
  return (t * s->N + row) * s->P * s->width;
}
static int64_t state_row(const lurn__sequence *s, int64_t t, int64_t row) { return (t * s->N + row) * s->H * s->width; }

static void fill_step(const lurn__backward *r, int64_t i, int64_t from, int64_t to, lurn__step *step) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i);
  *step = (lurn__step){.f = s->f, .n = to - from, .h = s->H, .peepholes = r->peepholes};
  step->dgates_stride = s->dgates_stride;
  step->drecurrent_stride = s->drecurrent_stride;
  if (s->projected) {
    step->hidden = lurn__chunk_at(r, r->unprojected, s->H, t, from);
    step->dhidden = r->dunprojected + state_row(s, 0, from);
  } else {
    if (!s->cell->has_variants) step->hidden = lurn__track_at(s, &r->hidden, t, from);
    step->hidden_before = lurn__track_before(s, &r->hidden, i, from);
    step->dhidden = r->dhidden + hidden_row(s, 0, from);
  }
  if (s->cell->keeps_gates) step->gates = lurn__track_at(s, &r->gates, t, from);
  if (s->cell->has_recurrent) step->recurrent = lurn__track_at(s, &r->recurrent, t, from);
  if (s->cell->has_cell) {
    step->cell = lurn__track_at(s, &r->cell, t, from);
    step->cell_before = lurn__track_before(s, &r->cell, i, from);
    step->dcell = r->dcell + state_row(s, 0, from);
    if (r->dcell_total) step->dcell_total = r->dcell_total + state_row(s, t, from);
  }
  step->dgates = lurn__dgates_at(r, t, from);
  if (s->cell->has_recurrent) step->drecurrent = lurn__drecurrent_at(r, t, from);
}

/* dunprojected = dhidden . w_hr; the gradient of w_hr waits for the chunk's end. */
static void unproject(const lurn__backward *r, int thread, int64_t t, int64_t from, int64_t n) {
  const lurn__sequence *s = &r->s;
  const char *dhidden = r->dhidden + hidden_row(s, 0, from);
  memcpy(lurn__chunk_at(r, r->projected, s->P, t, from), dhidden, (size_t)(n * s->P * s->width));
  lurn__weight_product(&r->team, thread, &r->w_hr, n, dhidden, s->P, r->dunprojected + state_row(s, 0, from), s->H, 0);
}

/* The i-th step of rows from..to, all active. */
static void take_step(const lurn__backward *r, int thread, int64_t i, int64_t from, int64_t to) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i), n = to - from;
  char *dhidden = r->dhidden + hidden_row(s, 0, from);
  lurn__step step;
  fill_step(r, i, from, to, &step);
  if (r->dy) s->cells->add_rows(1, n * s->P, r->dy + hidden_row(s, t, from), 0, dhidden);
  if (r->dhidden_total) memcpy(r->dhidden_total + hidden_row(s, t, from), dhidden, (size_t)(n * s->P * s->width));
  if (s->projected) unproject(r, thread, t, from, n);
  lurn__run_step(&r->team, s->cell->backward, &step);
  if (i == 0 && r->out.h0 == NULL) return;
  lurn__weight_product(&r->team, thread, &r->w_hh, n, step.dgates, s->dgates_stride, dhidden, s->P,
                       lurn__step_mode(i, s->cell->has_recurrent));
  if (s->cell->has_recurrent)
    lurn__weight_product(&r->team, thread, &r->w_recurrent, n, step.drecurrent, s->drecurrent_stride, dhidden, s->P,
                         lurn__step_mode(i, true));
}

/* Inactive rows change nothing, and their state's gradient goes on as it is. */
static void clear_inactive(const lurn__backward *r, int64_t i, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i);
  size_t state_bytes = (size_t)(s->H * s->width), hidden_bytes = (size_t)(s->P * s->width);
  for (int64_t row = first; row < last; row++) {
    if (lurn__row_active(s, t, row)) continue;
    memset(lurn__dgates_at(r, t, row), 0, (size_t)(s->rows * s->width));
    if (s->cell->has_recurrent) memset(lurn__drecurrent_at(r, t, row), 0, state_bytes);
    if (s->projected) memset(lurn__chunk_at(r, r->projected, s->P, t, row), 0, hidden_bytes);
    if (s->projected) memset(lurn__chunk_at(r, r->unprojected, s->H, t, row), 0, state_bytes);
    if (r->dhidden_total) memset(r->dhidden_total + hidden_row(s, t, row), 0, hidden_bytes);
    if (r->dcell_total) memset(r->dcell_total + state_row(s, t, row), 0, state_bytes);
  }
}

/* The chunk's steps of rows first..last. */
static void walk_rows(const lurn__backward *r, int thread, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  for (int64_t i = r->start + r->count - 1; i >= r->start; i--) {
    for (int64_t from, to = first; lurn__next_run(s, lurn__step_time(s, i), last, &from, &to);)
      take_step(r, thread, i, from, to);
    if (s->lengths != NULL) clear_inactive(r, i, first, last);
  }
}

/* The first tasks are rows of the recurrence, the others prepare what does not wait for it. */
static void chunk_task(void *arg, int64_t task, int thread) {
  const lurn__backward *r = arg;
  if (task < r->team.tasks) walk_rows(r, thread, lurn__team_row(&r->team, task), lurn__team_row(&r->team, task + 1));
  else lurn__chunk_prepare(r, task - r->team.tasks);
}

static void prepare_task(void *arg, int64_t task, int thread) {
  (void)thread;
  lurn__chunk_prepare(arg, task);
}

static void run_chunk(lurn__backward *r) {
  lurn_ctx *ctx = r->s.ctx;
  lurn__chunk_begin(r);
  if (r->team.by_step) {
    walk_rows(r, 0, 0, r->s.N);
    lurn__parallel(ctx, lurn__chunk_tasks(r), prepare_task, r);
  } else {
    lurn__parallel(ctx, r->team.tasks + lurn__chunk_tasks(r), chunk_task, r);
  }
  lurn__chunk_products(r);
}

/* ---- Preparation ------------------------------------------------------------------------------------------- */

static char *data_or_null(const lurn_tensor *t) { return t ? lurn__tensor_ptr(t) : NULL; }

/* Zeros of an input's shape, or NULL where its gradient is not wanted. */
static lurn_status wanted(lurn__grad_call *grad, int input, char **out) {
  if (!grad->need[input]) return LURN_OK;
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[input], &grad->grad_in[input]));
  *out = lurn__tensor_ptr(grad->grad_in[input]);
  return LURN_OK;
}

/* The same for what is written whole: see lurn__chunk_products. */
static lurn_status wanted_unset(lurn__grad_call *grad, int input, char **out) {
  const lurn__meta *meta = &grad->in[input];
  if (!grad->need[input]) return LURN_OK;
  LURN__TRY(lurn__tensor_new(grad->ctx, meta->dtype, &meta->shape, &grad->grad_in[input]));
  *out = lurn__tensor_ptr(grad->grad_in[input]);
  return LURN_OK;
}

static lurn_status make_gradients(lurn__grad_call *grad, const lurn__cell *cell, lurn__layer_gradients *out) {
  LURN__TRY(wanted_unset(grad, LURN__LAYER_X, &out->x));
  LURN__TRY(wanted_unset(grad, LURN__LAYER_W_IH, &out->w_ih));
  LURN__TRY(wanted_unset(grad, LURN__LAYER_W_HH, &out->w_hh));
  LURN__TRY(wanted(grad, LURN__LAYER_B_IH, &out->b_ih));
  LURN__TRY(wanted(grad, LURN__LAYER_B_HH, &out->b_hh));
  LURN__TRY(wanted(grad, LURN__LAYER_H0, &out->h0));
  if (!cell->has_cell) return LURN_OK;
  LURN__TRY(wanted(grad, LURN__LAYER_C0, &out->c0));
  LURN__TRY(wanted_unset(grad, LURN__LAYER_W_HR, &out->w_hr));
  for (int k = 0; k < LURN__PEEPHOLES; k++) LURN__TRY(wanted(grad, LURN__LAYER_W_CI + k, &out->peephole[k]));
  return LURN_OK;
}

/* The gradient of output i, contiguous, or NULL. */
static lurn_status arriving(lurn__grad_call *grad, int i, lurn_dtype dtype, const char **out) {
  *out = NULL;
  if (grad->grad_out[i] == NULL) return LURN_OK;
  lurn_tensor **slot = lurn__temp(&grad->temps);
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->grad_out[i], dtype, slot));
  *out = lurn__tensor_ptr(*slot);
  return LURN_OK;
}

/* Gradients of the last state, or zeros, in states of their own. */
static lurn_status start_states(lurn__grad_call *grad, lurn__backward *r) {
  const char *dh_n, *dc_n = NULL;
  size_t hidden = (size_t)hidden_row(&r->s, 0, r->s.N), cell = (size_t)state_row(&r->s, 0, r->s.N);
  LURN__TRY(arriving(grad, 0, r->s.dtype, &r->dy));
  LURN__TRY(arriving(grad, 1, r->s.dtype, &dh_n));
  if (r->s.cell->has_cell) LURN__TRY(arriving(grad, 2, r->s.dtype, &dc_n));
  if (dh_n) memcpy(r->dhidden, dh_n, hidden);
  else memset(r->dhidden, 0, hidden);
  if (dc_n) memcpy(r->dcell, dc_n, cell);
  else memset(r->dcell, 0, cell);
  return LURN_OK;
}

/* Rows first..last of a weight, or nothing; returns the bytes they take packed. */
static int64_t weight_rows(const lurn__sequence *s, const lurn_tensor *w, int64_t first, int64_t last, bool once,
                           lurn__weight *out) {
  *out = (lurn__weight){.once = true};
  if (w == NULL) return 0;
  const char *data = (const char *)lurn__tensor_ptr(w) + first * w->stride[0] * s->width;
  lurn__matrix b = {data, w->stride[0], w->stride[1]};
  return lurn__weight_init(s, out, last - first, w->shape.size[1], b, once);
}

static lurn__track track(lurn__grad_call *grad, int slot, const char *initial, int64_t columns) {
  return (lurn__track){.data = data_or_null(grad->saved[slot]), .columns = columns, .initial = initial};
}

static lurn_status allocate(lurn__grad_call *grad, lurn__backward *r) {
  const lurn__sequence *s = &r->s;
  const lurn_tensor *w_ih = grad->need[LURN__LAYER_X] ? grad->saved[LURN__LAYER_SAVED_W_IH] : NULL; /* for x alone */
  const lurn_tensor *w_hh = grad->saved[LURN__LAYER_SAVED_W_HH];
  const lurn_tensor *w_hr = grad->saved[LURN__LAYER_SAVED_W_HR];
  const char *h0 = data_or_null(grad->saved[LURN__LAYER_SAVED_H0]);
  const char *c0 = data_or_null(grad->saved[LURN__LAYER_SAVED_C0]);
  int64_t state = state_row(s, 0, s->N), hidden_state = hidden_row(s, 0, s->N);
  int64_t zero_state = state > hidden_state ? state : hidden_state;
  bool once = s->T <= 1;
  char *zeros;
  const lurn__want wants[] = {
      {&r->w_ih.packed, weight_rows(s, w_ih, 0, s->rows, once && s->ctx->num_threads == 1, &r->w_ih)},
      {&r->w_hh.packed, weight_rows(s, w_hh, 0, s->split, once, &r->w_hh)},
      {&r->w_recurrent.packed, weight_rows(s, w_hh, s->split, s->rows, once, &r->w_recurrent)},
      {&r->w_hr.packed, weight_rows(s, w_hr, 0, s->P, once, &r->w_hr)},
      {&zeros, zero_state},
      {&r->dhidden, hidden_state},
      {&r->dcell, state},
      {&r->dunprojected, s->projected ? state : 0},
  };
  LURN__TRY(lurn__workspace(grad->ctx, &grad->temps, wants, sizeof wants / sizeof wants[0]));
  memset(zeros, 0, (size_t)zero_state);
  r->x = lurn__tensor_ptr(grad->saved[LURN__LAYER_SAVED_X]);
  r->has_h0 = h0 != NULL;
  r->has_c0 = c0 != NULL;
  r->peepholes = data_or_null(grad->saved[LURN__LAYER_SAVED_PEEPHOLES]);
  r->hidden = track(grad, LURN__LAYER_SAVED_HIDDEN, h0 ? h0 : zeros, s->P);
  r->cell = track(grad, LURN__LAYER_SAVED_CELL, c0 ? c0 : zeros, s->H);
  r->gates = track(grad, LURN__LAYER_SAVED_GATES, NULL, s->rows);
  r->recurrent = track(grad, LURN__LAYER_SAVED_RECURRENT, NULL, s->H);
  size_t hidden = lurn__weight_scratch(s, &r->w_hh, s->N), recurrent = lurn__weight_scratch(s, &r->w_recurrent, s->N);
  size_t projection = s->projected ? lurn__weight_scratch(s, &r->w_hr, s->N) : 0;
  lurn__team_init(&r->team, s);
  r->team.scratch_bytes = hidden > recurrent ? hidden : recurrent;
  if (r->team.scratch_bytes < projection) r->team.scratch_bytes = projection;
  return LURN_OK;
}

/* A tensor (T, N, columns) for what a recording wants of backward, as temporary. */
static lurn_status recorded(lurn__grad_call *grad, const lurn__sequence *s, int64_t columns, lurn_tensor **out,
                            char **data) {
  lurn__shape shape = {.ndim = 3, .size = {s->T, s->N, columns}};
  lurn_tensor **slot = lurn__temp(&grad->temps);
  LURN__TRY(lurn__tensor_new(grad->ctx, s->dtype, &shape, slot));
  *out = *slot;
  *data = lurn__tensor_ptr(*slot);
  return LURN_OK;
}

/* ---- Backward ---------------------------------------------------------------------------------------------- */

static void run_chunks(lurn__backward *r) {
  const lurn__sequence *s = &r->s;
  uint64_t mode = lurn__flush_subnormals();
  lurn__threads_check(s->ctx);
  if (r->out.x) lurn__weight_pack(&r->team, &r->w_ih);
  lurn__weight_pack(&r->team, &r->w_hh);
  lurn__weight_pack(&r->team, &r->w_recurrent);
  if (s->projected) lurn__weight_pack(&r->team, &r->w_hr);
  for (int64_t chunk = (s->T + s->chunk - 1) / s->chunk - 1; chunk >= 0; chunk--) {
    r->start = chunk * s->chunk;
    r->count = s->T - r->start < s->chunk ? s->T - r->start : s->chunk;
    run_chunk(r);
  }
  lurn__chunks_end(r);
  lurn__set_float_mode(mode);
}

lurn_status lurn__layer_backward(lurn__grad_call *grad, const lurn__layer *layer) {
  lurn__backward r = {.dy = NULL};
  lurn_tensor *dhidden = NULL, *dcell = NULL;
  const lurn__meta *x = &grad->in[LURN__LAYER_X];
  const lurn_tensor *lengths = grad->saved[LURN__LAYER_SAVED_LENGTHS], *w_hr = grad->saved[LURN__LAYER_SAVED_W_HR];
  lurn__sequence_init(&r.s, grad->ctx, layer, x->dtype, x->shape.size,
                      grad->in[LURN__LAYER_W_IH].shape.size[0] / layer->cell->gates, w_hr ? w_hr->shape.size[0] : 0);
  if (lengths) r.s.lengths = lurn__i64(lengths);
  LURN__TRY(allocate(grad, &r));
  LURN__TRY(start_states(grad, &r));
  LURN__TRY(make_gradients(grad, layer->cell, &r.out));
  LURN__TRY(lurn__chunk_allocate(&r, &grad->temps));
  if (layer->record) LURN__TRY(recorded(grad, &r.s, r.s.P, &dhidden, &r.dhidden_total));
  if (layer->record && layer->cell->has_cell) LURN__TRY(recorded(grad, &r.s, r.s.H, &dcell, &r.dcell_total));
  run_chunks(&r);
  if (r.out.h0) memcpy(r.out.h0, r.dhidden, (size_t)hidden_row(&r.s, 0, r.s.N));
  if (r.out.c0) memcpy(r.out.c0, r.dcell, (size_t)state_row(&r.s, 0, r.s.N));
  if (layer->record) {
    lurn__record_put(layer->record, LURN_RECORD_GRAD_HIDDEN, lurn_retain(dhidden));
    lurn__record_put(layer->record, LURN_RECORD_GRAD_CELL, dcell ? lurn_retain(dcell) : NULL);
  }
  return LURN_OK;
}
