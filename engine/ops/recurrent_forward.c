/* Forward of recurrent layers: checks, memory, and the walk through time. */
#include <string.h>

#include "core/cpu.h"
#include "core/threads.h"
#include "ops/product.h"
#include "ops/record.h"
#include "ops/recurrent.h"

/* ---- Checks ------------------------------------------------------------------------------------------------ */

/* Fails unless t is absent, or has x's dtype and the shape (a, b), or (a) when b is negative. */
static lurn_status expect(lurn__call *call, const lurn__layer *layer, const lurn_tensor *t, const char *name, int64_t a,
                          int64_t b) {
  if (t == NULL) return LURN_OK;
  lurn__shape shape = {.ndim = b < 0 ? 1 : 2, .size = {a, b}};
  if (!lurn__shape_equal(&t->shape, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "%s has shape %s, expected %s", name, LURN__SHAPE(t),
                         lurn__shape_print(&shape, (char[LURN__SHAPE_TEXT]){0}));
  if (t->dtype != layer->x->dtype)
    return lurn__op_fail(call, LURN_EDTYPE, "%s is %s, expected %s like x", name, lurn_dtype_name(t->dtype),
                         lurn_dtype_name(layer->x->dtype));
  return LURN_OK;
}

static lurn_status check_lengths(lurn__call *call, const lurn_tensor *lengths, int64_t T, int64_t N) {
  lurn__shape shape = {.ndim = 1, .size = {N}};
  if (lurn_dtype_is_float(lengths->dtype) || lengths->dtype == LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "lengths is %s, expected int64", lurn_dtype_name(lengths->dtype));
  if (!lurn__shape_equal(&lengths->shape, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "lengths has shape %s, expected %s", LURN__SHAPE(lengths),
                         lurn__shape_print(&shape, (char[LURN__SHAPE_TEXT]){0}));
  for (int64_t n = 0; n < N; n++) {
    const char *at =
        (const char *)lurn__tensor_ptr(lengths) + n * lengths->stride[0] * (int64_t)lurn__tensor_width(lengths);
    int64_t length = lurn__load_int(lengths->dtype, at), position = n + call->ctx->index_base;
    if (length < 0 || length > T)
      return lurn__op_fail(call, LURN_EVALUE, "lengths[%lld] is %lld, expected 0..%lld", (long long)position,
                           (long long)length, (long long)T);
  }
  return LURN_OK;
}

/* What a layer may have besides: P, or 0 without a projection. */
static lurn_status check_variants(lurn__call *call, const lurn__layer *layer, int64_t H, int64_t *projection) {
  static const char *const names[] = {"w_ci", "w_cf", "w_co"};
  const lurn_tensor *w_hr = layer->w_hr;
  if (w_hr && (w_hr->shape.ndim != 2 || w_hr->shape.size[0] < 1 || w_hr->shape.size[1] != H))
    return lurn__op_fail(call, LURN_ESHAPE, "w_hr has shape %s, expected (P, %lld): the projection's size, hidden",
                         LURN__SHAPE(w_hr), (long long)H);
  if (w_hr) LURN__TRY(expect(call, layer, w_hr, "w_hr", w_hr->shape.size[0], H));
  for (int k = 0; k < LURN__PEEPHOLES; k++) {
    if (layer->peephole[k] && lurn__peephole_gate(layer->cell, k) < 0)
      return lurn__op_fail(call, LURN_EVALUE, "%s is given, but there is no input gate when gates are coupled",
                           names[k]);
    LURN__TRY(expect(call, layer, layer->peephole[k], names[k], H, -1));
  }
  *projection = w_hr ? w_hr->shape.size[0] : 0;
  return LURN_OK;
}

/* Shapes and dtypes of all inputs; H from w_ih. */
static lurn_status check(lurn__call *call, const lurn__layer *layer, int64_t *hidden, int64_t *projection) {
  const lurn_tensor *x = layer->x, *w_ih = layer->w_ih;
  int64_t gates = layer->cell->gates;
  LURN__TRY(lurn__need_float(call, x, "x"));
  if (x->shape.ndim != 3)
    return lurn__op_fail(call, LURN_ESHAPE, "x has shape %s, expected 3 dimensions: time, batch, input",
                         LURN__SHAPE(x));
  int64_t T = x->shape.size[0], N = x->shape.size[1], D = x->shape.size[2];
  if (w_ih->shape.ndim == 2 && w_ih->shape.size[0] == 0)
    return lurn__op_fail(call, LURN_ESHAPE, "w_ih has shape %s: hidden is 0, expected at least 1", LURN__SHAPE(w_ih));
  if (w_ih->shape.ndim != 2 || w_ih->shape.size[0] < gates || w_ih->shape.size[0] % gates != 0)
    return lurn__op_fail(call, LURN_ESHAPE, "w_ih has shape %s, expected (%lld * hidden, %lld)", LURN__SHAPE(w_ih),
                         (long long)gates, (long long)D);
  int64_t rows = w_ih->shape.size[0], H = rows / gates, P;
  LURN__TRY(expect(call, layer, w_ih, "w_ih", rows, D));
  LURN__TRY(check_variants(call, layer, H, projection));
  P = *projection > 0 ? *projection : H;
  LURN__TRY(expect(call, layer, layer->w_hh, "w_hh", rows, P));
  LURN__TRY(expect(call, layer, layer->b_ih, "b_ih", rows, -1));
  LURN__TRY(expect(call, layer, layer->b_hh, "b_hh", rows, -1));
  LURN__TRY(expect(call, layer, layer->h0, "h0", N, P));
  LURN__TRY(expect(call, layer, layer->c0, "c0", N, H));
  if (layer->lengths != NULL) LURN__TRY(check_lengths(call, layer->lengths, T, N));
  if (((double)rows + (double)D + (double)P) * ((double)D + (double)H + (double)P + 64) > 0x1p56)
    return lurn__op_fail(call, LURN_ENOMEM, "out of memory: the packed weights are too large");
  *hidden = H;
  return LURN_OK;
}

/* ---- A run ------------------------------------------------------------------------------------------------- */

typedef struct forward_run {
  lurn__sequence s;
  lurn__team team;
  lurn__weight w_ih, w_hh, w_recurrent; /* transposes: (D, rows), (P, split), (P, rows - split) */
  lurn__weight w_hr;                    /* (H, P), where projected */
  const char *x, *h0;                   /* contiguous; h0 NULL when it is zero */
  const char *peepholes;                /* or NULL */
  char *bias;
  lurn__track hidden, cell, recurrent;
  lurn__track unprojected; /* the hidden state before its projection, of one step */
  char *y;                 /* (T, N, P); the hidden track itself without lengths */
  char *gates;
  bool keeps_gates; /* gates holds all steps, else those of one chunk */
} forward_run;

/* Gates of the rows from `row` on at time t, in a chunk whose lowest time is t_low. */
static char *gates_at(const forward_run *r, int64_t t, int64_t t_low, int64_t row) {
  return r->gates + ((r->keeps_gates ? t : t - t_low) * r->s.N + row) * r->s.rows * r->s.width;
}

/* gates = x . w_ih^T for some rows from x and from gates on. */
static void multiply_input(const forward_run *r, int thread, int64_t rows, int64_t x_row, char *gates) {
  const lurn__sequence *s = &r->s;
  lurn__weight_product(&r->team, thread, &r->w_ih, rows, r->x + x_row * s->D * s->width, s->D, gates, s->rows, 0);
}

/* The input's part of `count` steps from the i-th, rows first..last. */
static void multiply_chunk(const forward_run *r, int thread, int64_t i, int64_t count, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  int64_t low = lurn__chunk_time(s, i, count);
  if (s->lengths == NULL && last - first == s->N) {
    multiply_input(r, thread, count * s->N, low * s->N, gates_at(r, low, low, 0));
    return;
  }
  for (int64_t t = low; t < low + count; t++)
    for (int64_t from, to = first; lurn__next_run(s, t, last, &from, &to);)
      multiply_input(r, thread, to - from, t * s->N + from, gates_at(r, t, low, from));
}

/* The i-th step of rows from..to, all active. */
static void take_step(const forward_run *r, int thread, int64_t i, int64_t low, int64_t from, int64_t to) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i), n = to - from;
  const char *before = lurn__track_before(s, &r->hidden, i, from);
  char *hidden = lurn__track_at(s, &r->hidden, t, from);
  lurn__step step = {.f = s->f, .n = n, .h = s->H, .bias = r->bias, .peepholes = r->peepholes};
  step.gates = gates_at(r, t, low, from);
  step.hidden = s->projected ? lurn__track_at(s, &r->unprojected, t, from) : hidden;
  step.hidden_before = s->projected ? NULL : before;
  if (s->cell->has_cell) {
    step.cell = lurn__track_at(s, &r->cell, t, from);
    step.cell_before = lurn__track_before(s, &r->cell, i, from);
  }
  bool zero = i == 0 && r->h0 == NULL;
  if (!zero)
    lurn__weight_product(&r->team, thread, &r->w_hh, n, before, s->P, step.gates, s->rows, lurn__step_mode(i, true));
  if (s->cell->has_recurrent) {
    step.recurrent = lurn__track_at(s, &r->recurrent, t, from);
    if (zero) memset(step.recurrent, 0, (size_t)(n * s->H * s->width));
    else
      lurn__weight_product(&r->team, thread, &r->w_recurrent, n, before, s->P, step.recurrent, s->H,
                           lurn__step_mode(i, false));
  }
  lurn__run_step(&r->team, s->cell->forward, &step);
  if (s->projected) lurn__weight_product(&r->team, thread, &r->w_hr, n, step.hidden, s->H, hidden, s->P, 0);
}

/* Rows of a track stay as they were. */
static void carry(const lurn__sequence *s, const lurn__track *track, int64_t i, int64_t row) {
  char *now = lurn__track_at(s, track, lurn__step_time(s, i), row);
  const char *before = lurn__track_before(s, track, i, row);
  if (now != before) memcpy(now, before, (size_t)(track->columns * s->width));
}

/* With lengths: y is the hidden state or zero, and the state of inactive rows is carried on. */
static void finish_step(const forward_run *r, int64_t i, int64_t low, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  int64_t t = lurn__step_time(s, i);
  size_t bytes = (size_t)(s->P * s->width);
  for (int64_t row = first; row < last; row++) {
    char *y = r->y + (t * s->N + row) * s->P * s->width;
    if (lurn__row_active(s, t, row)) {
      memcpy(y, lurn__track_at(s, &r->hidden, t, row), bytes);
      continue;
    }
    memset(y, 0, bytes);
    carry(s, &r->hidden, i, row);
    if (s->cell->has_cell) carry(s, &r->cell, i, row);
    if (r->keeps_gates) memset(gates_at(r, t, low, row), 0, (size_t)(s->rows * s->width));
    if (s->cell->has_recurrent) memset(lurn__track_at(s, &r->recurrent, t, row), 0, (size_t)(s->H * s->width));
  }
}

/* All steps of rows first..last. */
static void run_rows(const forward_run *r, int thread, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  for (int64_t start = 0; start < s->T; start += s->chunk) {
    int64_t count = s->T - start < s->chunk ? s->T - start : s->chunk;
    int64_t low = lurn__chunk_time(s, start, count);
    multiply_chunk(r, thread, start, count, first, last);
    for (int64_t i = start; i < start + count; i++) {
      for (int64_t from, to = first; lurn__next_run(s, lurn__step_time(s, i), last, &from, &to);)
        take_step(r, thread, i, low, from, to);
      if (s->lengths != NULL) finish_step(r, i, low, first, last);
    }
  }
}

static void rows_task(void *arg, int64_t task, int thread) {
  const forward_run *r = arg;
  run_rows(r, thread, lurn__team_row(&r->team, task), lurn__team_row(&r->team, task + 1));
}

/* ---- Preparation ------------------------------------------------------------------------------------------- */

static lurn_status contiguous(lurn__call *call, lurn_tensor *t, lurn_dtype dtype, lurn_tensor **out) {
  if (t == NULL) {
    *out = NULL;
    return LURN_OK;
  }
  lurn_tensor **slot = lurn__temp(&call->temps);
  LURN__TRY(lurn__as_contiguous(call->ctx, t, dtype, slot));
  *out = *slot;
  return LURN_OK;
}

/* Contiguous versions of the operands that are read as they lie; the weights are packed from any strides. */
static lurn_status lay_out(lurn__call *call, lurn__layer *layer) {
  lurn_dtype dtype = layer->x->dtype;
  LURN__TRY(contiguous(call, layer->x, dtype, &layer->x));
  LURN__TRY(contiguous(call, layer->b_ih, dtype, &layer->b_ih));
  LURN__TRY(contiguous(call, layer->b_hh, dtype, &layer->b_hh));
  LURN__TRY(contiguous(call, layer->h0, dtype, &layer->h0));
  LURN__TRY(contiguous(call, layer->c0, dtype, &layer->c0));
  for (int k = 0; k < LURN__PEEPHOLES; k++) LURN__TRY(contiguous(call, layer->peephole[k], dtype, &layer->peephole[k]));
  return contiguous(call, layer->lengths, LURN_INT64, &layer->lengths);
}

/* A tensor (T, N, columns) that is kept, as temporary. */
static lurn_status kept(lurn__call *call, const lurn__sequence *s, int64_t columns, lurn_tensor **out) {
  lurn__shape shape;
  lurn_tensor **slot = lurn__temp(&call->temps);
  LURN__TRY(lurn__shape_make(call->ctx, call->info->name, 3, (int64_t[]){s->T, s->N, columns}, &shape));
  LURN__TRY(lurn__tensor_new(call->ctx, s->dtype, &shape, slot));
  *out = *slot;
  return LURN_OK;
}

/* What forward computes besides its outputs, where it is kept for backward or a recording. */
typedef struct keepsakes {
  lurn_tensor *hidden, *cell, *gates, *recurrent; /* hidden: y without lengths */
  lurn_tensor *peepholes;
} keepsakes;

/* The peepholes as the cell takes them: one row of h for each gate that sees it.  Absent ones are zero; NULL when all are. */
static lurn_status gather_peepholes(lurn__call *call, const lurn__layer *layer, const lurn__sequence *s,
                                    lurn_tensor **out) {
  lurn__shape shape = {.ndim = 2, .size = {s->cell->gates - 1, s->H}};
  size_t bytes = (size_t)(s->H * s->width);
  *out = NULL;
  if (!layer->peephole[0] && !layer->peephole[1] && !layer->peephole[2]) return LURN_OK;
  lurn_tensor **slot = lurn__temp(&call->temps);
  LURN__TRY(lurn__tensor_new(call->ctx, s->dtype, &shape, slot));
  *out = *slot;
  char *row = lurn__tensor_ptr(*out);
  for (int k = 0; k < LURN__PEEPHOLES; k++) {
    if (lurn__peephole_gate(s->cell, k) < 0) continue;
    if (layer->peephole[k]) memcpy(row, lurn__tensor_ptr(layer->peephole[k]), bytes);
    else memset(row, 0, bytes);
    row += bytes;
  }
  return LURN_OK;
}

static lurn_status make_outputs(lurn__call *call, const lurn__layer *layer, const lurn__sequence *s, keepsakes *keep) {
  lurn__shape hidden = {.ndim = 2, .size = {s->N, s->P}}, cell = {.ndim = 2, .size = {s->N, s->H}}, y;
  bool gates = call->recording || layer->record != NULL;
  LURN__TRY(lurn__shape_make(call->ctx, call->info->name, 3, (int64_t[]){s->T, s->N, s->P}, &y));
  LURN__TRY(lurn__out(call, 0, s->dtype, &y));
  LURN__TRY(lurn__out(call, 1, s->dtype, &hidden));
  if (s->cell->has_cell) LURN__TRY(lurn__out(call, 2, s->dtype, &cell));
  if (s->lengths == NULL) keep->hidden = call->out[0];
  else if (call->recording) LURN__TRY(kept(call, s, s->P, &keep->hidden));
  if (gates && s->cell->keeps_gates) LURN__TRY(kept(call, s, s->rows, &keep->gates));
  if (gates && s->cell->has_cell) LURN__TRY(kept(call, s, s->H, &keep->cell));
  if (call->recording && s->cell->has_recurrent) LURN__TRY(kept(call, s, s->H, &keep->recurrent));
  return gather_peepholes(call, layer, s, &keep->peepholes);
}

static lurn_status save_all(lurn__call *call, const lurn__layer *layer, const keepsakes *keep) {
  lurn_tensor *const in[] = {layer->x, layer->w_ih, layer->w_hh, layer->h0, layer->c0, layer->lengths};
  lurn_tensor *const own[] = {keep->hidden, keep->cell, keep->gates, keep->recurrent};
  for (int i = 0; i < 6; i++)
    if (in[i] != NULL) LURN__TRY(lurn__save_in(call, LURN__LAYER_SAVED_X + i, in[i]));
  for (int i = 0; i < 4; i++)
    if (own[i] != NULL) LURN__TRY(lurn__save_out(call, LURN__LAYER_SAVED_HIDDEN + i, own[i]));
  if (layer->w_hr != NULL) LURN__TRY(lurn__save_in(call, LURN__LAYER_SAVED_W_HR, layer->w_hr));
  if (keep->peepholes != NULL) LURN__TRY(lurn__save_out(call, LURN__LAYER_SAVED_PEEPHOLES, keep->peepholes));
  return LURN_OK;
}

/* A track on a kept tensor, or on a buffer of one step. */
static lurn__track track(const lurn_tensor *kept_in, char *buffer, const char *initial, int64_t columns) {
  if (kept_in == NULL) return (lurn__track){.data = buffer, .columns = columns, .one_step = true};
  return (lurn__track){.data = lurn__tensor_ptr(kept_in), .columns = columns, .initial = initial};
}

/* The transpose of rows first..last of a weight (rows, columns), or nothing; returns the bytes it takes packed. */
static int64_t transposed(const lurn__call *call, const lurn__sequence *s, const lurn_tensor *w, int64_t first,
                          int64_t last, lurn__weight *out) {
  *out = (lurn__weight){.once = true};
  if (w == NULL) return 0;
  const char *data = (const char *)lurn__tensor_ptr(w) + first * w->stride[0] * s->width;
  lurn__matrix turned = {data, w->stride[1], w->stride[0]};
  int64_t bytes = lurn__weight_init(s, out, w->shape.size[1], last - first, turned, s->T <= 1);
  return call->recording ? bytes : lurn__weight_keep(s, out, w->storage); /* what is trained changes anyway */
}

static size_t scratch_per_thread(const forward_run *r) {
  const lurn__sequence *s = &r->s;
  size_t input = lurn__weight_scratch(s, &r->w_ih, s->N * s->chunk), hidden = lurn__weight_scratch(s, &r->w_hh, s->N);
  size_t recurrent = lurn__weight_scratch(s, &r->w_recurrent, s->N);
  size_t projection = s->projected ? lurn__weight_scratch(s, &r->w_hr, s->N) : 0;
  if (hidden < recurrent) hidden = recurrent;
  if (hidden < projection) hidden = projection;
  return input > hidden ? input : hidden;
}

static lurn_status allocate(lurn__call *call, const lurn__layer *layer, const keepsakes *keep, forward_run *r) {
  const lurn__sequence *s = &r->s;
  int64_t state = s->N * s->H * s->width, hidden_state = s->N * s->P * s->width, rest = s->rows - s->split;
  int64_t zero_state = state > hidden_state ? state : hidden_state;
  char *zeros, *hidden, *cell, *recurrent, *unprojected;
  const lurn__want wants[] = {
      {&r->w_ih.packed, transposed(call, s, layer->w_ih, 0, s->rows, &r->w_ih)},
      {&r->w_hh.packed, transposed(call, s, layer->w_hh, 0, s->split, &r->w_hh)},
      {&r->w_recurrent.packed, transposed(call, s, layer->w_hh, s->split, s->rows, &r->w_recurrent)},
      {&r->w_hr.packed, transposed(call, s, layer->w_hr, 0, s->P, &r->w_hr)},
      {&r->bias, (s->rows + rest) * s->width},
      {&zeros, zero_state},
      {&hidden, keep->hidden ? 0 : hidden_state},
      {&unprojected, s->projected ? state : 0},
      {&cell, keep->cell || !s->cell->has_cell ? 0 : state},
      {&recurrent, keep->recurrent || !s->cell->has_recurrent ? 0 : state},
      {&r->gates, keep->gates ? 0 : s->chunk * s->N * s->rows * s->width},
  };
  LURN__TRY(lurn__workspace(call->ctx, &call->temps, wants, sizeof wants / sizeof wants[0]));
  lurn__team_init(&r->team, s);
  r->team.scratch_bytes = scratch_per_thread(r);
  const lurn__want scratch = {&r->team.scratch, (int64_t)r->team.scratch_bytes * call->ctx->num_threads};
  LURN__TRY(lurn__workspace(call->ctx, &call->temps, &scratch, 1));
  memset(zeros, 0, (size_t)zero_state);
  const char *h0 = layer->h0 ? lurn__tensor_ptr(layer->h0) : zeros,
             *c0 = layer->c0 ? lurn__tensor_ptr(layer->c0) : zeros;
  r->hidden = track(keep->hidden, hidden, h0, s->P);
  r->cell = track(keep->cell, cell, c0, s->H);
  r->recurrent = track(keep->recurrent, recurrent, NULL, s->H);
  r->unprojected = track(NULL, unprojected, NULL, s->H);
  if (r->hidden.one_step) memcpy(r->hidden.data, h0, (size_t)hidden_state);
  if (r->cell.one_step && s->cell->has_cell) memcpy(r->cell.data, c0, (size_t)state);
  r->x = lurn__tensor_ptr(layer->x);
  r->peepholes = keep->peepholes ? lurn__tensor_ptr(keep->peepholes) : NULL;
  r->h0 = layer->h0 ? h0 : NULL;
  r->y = lurn__tensor_ptr(call->out[0]);
  r->keeps_gates = keep->gates != NULL;
  if (keep->gates) r->gates = lurn__tensor_ptr(keep->gates);
  return LURN_OK;
}

/* Biases are summed where the products are; the recurrent part that is kept apart has its own. */
static void prepare(const forward_run *r, const lurn__layer *layer) {
  const lurn__sequence *s = &r->s;
  int64_t rest = s->rows - s->split;
  lurn__weight_pack(&r->team, &r->w_ih);
  lurn__weight_pack(&r->team, &r->w_hh);
  lurn__weight_pack(&r->team, &r->w_recurrent);
  if (s->projected) lurn__weight_pack(&r->team, &r->w_hr);
  memset(r->bias, 0, (size_t)((s->rows + rest) * s->width));
  if (layer->b_ih) s->cells->add_rows(1, s->rows, lurn__tensor_ptr(layer->b_ih), 0, r->bias);
  if (layer->b_hh == NULL) return;
  const char *b_hh = lurn__tensor_ptr(layer->b_hh);
  s->cells->add_rows(1, s->split, b_hh, 0, r->bias);
  s->cells->add_rows(1, rest, b_hh + s->split * s->width, 0, r->bias + s->rows * s->width);
}

/* ---- Forward ----------------------------------------------------------------------------------------------- */

static void copy_last(const forward_run *r, const lurn__track *from, lurn_tensor *to) {
  const lurn__sequence *s = &r->s;
  memcpy(lurn__tensor_ptr(to), lurn__track_before(s, from, s->T, 0), (size_t)(s->N * from->columns * s->width));
}

static lurn_status record(lurn__call *call, lurn_record *into, const keepsakes *keep) {
  lurn_tensor *hidden, *gates = NULL, *cell = NULL;
  LURN__TRY(lurn__clone(call->ctx, call->out[0], &hidden));
  lurn_status status = lurn__tensor_alias(keep->gates ? keep->gates : hidden, &gates);
  if (status == LURN_OK && keep->cell) status = lurn__tensor_alias(keep->cell, &cell);
  if (status != LURN_OK) {
    lurn_release(hidden);
    lurn_release(gates);
    return status;
  }
  lurn__record_put(into, LURN_RECORD_HIDDEN, hidden);
  lurn__record_put(into, LURN_RECORD_GATES, gates);
  lurn__record_put(into, LURN_RECORD_CELL, cell);
  lurn__record_put(into, LURN_RECORD_GRAD_HIDDEN, NULL);
  lurn__record_put(into, LURN_RECORD_GRAD_CELL, NULL);
  return LURN_OK;
}

static void walk(forward_run *r, const lurn__layer *layer) {
  uint64_t mode = lurn__flush_subnormals();
  lurn__threads_check(r->s.ctx);
  prepare(r, layer);
  lurn__parallel(r->s.ctx, r->team.tasks, rows_task, r);
  lurn__set_float_mode(mode);
}

lurn_status lurn__layer_forward(lurn__call *call, const lurn__layer *given) {
  lurn__layer layer = *given;
  keepsakes keep = {.hidden = NULL};
  forward_run r;
  int64_t hidden = 0, projection = 0;
  LURN__TRY(check(call, &layer, &hidden, &projection));
  LURN__TRY(lay_out(call, &layer));
  lurn__sequence_init(&r.s, call->ctx, &layer, layer.x->dtype, layer.x->shape.size, hidden, projection);
  if (layer.lengths) r.s.lengths = lurn__i64(layer.lengths);
  LURN__TRY(make_outputs(call, &layer, &r.s, &keep));
  LURN__TRY(allocate(call, &layer, &keep, &r));
  LURN__TRY(save_all(call, &layer, &keep));
  walk(&r, &layer);
  copy_last(&r, &r.hidden, call->out[1]);
  if (r.s.cell->has_cell) copy_last(&r, &r.cell, call->out[2]);
  return layer.record ? record(call, layer.record, &keep) : LURN_OK;
}
