/* Gradients of input, weights and biases from those of the gates' sums, chunk by chunk. */
#include <string.h>

#include "core/threads.h"
#include "ops/recurrent_backward.h"

/* ---- The chunk at hand ------------------------------------------------------------------------------------- */

static int64_t chunk_rows(const lurn__backward *r) { return r->count * r->s.N; }
static int64_t first_time(const lurn__backward *r) { return lurn__chunk_time(&r->s, r->start, r->count); }

lurn_status lurn__chunk_allocate(lurn__backward *r, lurn__temps *temps) {
  const lurn__sequence *s = &r->s;
  const lurn__gemm *g = s->gemm;
  int64_t rows = s->chunk * s->N, longest = rows > s->rows ? rows : s->rows, tallest = longest > s->P ? longest : s->P;
  size_t scratch = g->packed_scratch(tallest, longest), dx_scratch = lurn__weight_scratch(s, &r->w_ih, rows);
  if (scratch < dx_scratch) scratch = dx_scratch;
  lurn__outer_product *input = &r->outer[LURN__OUTER_INPUT], *hidden = &r->outer[LURN__OUTER_HIDDEN];
  lurn__outer_product *first = &r->outer[LURN__OUTER_FIRST], *projection = &r->projection;
  *input = (lurn__outer_product){.columns = s->D, .dw = r->out.w_ih};
  *hidden = *first = (lurn__outer_product){.columns = s->P, .dw = r->out.w_hh, .recurrent = true};
  *projection = (lurn__outer_product){.columns = s->H, .dw = r->out.w_hr};
  if (scratch > r->team.scratch_bytes) r->team.scratch_bytes = scratch;
  const lurn__want wants[] = {
      {&input->packed, input->dw ? g->packed_size(rows, s->D) * s->width : 0},
      {&hidden->packed, hidden->dw ? g->packed_size(rows, s->P) * s->width : 0},
      {&first->packed, first->dw && r->has_h0 ? g->packed_size(s->N, s->P) * s->width : 0},
      {&projection->packed, projection->dw ? g->packed_size(rows, s->H) * s->width : 0},
      {&r->projected, s->projected ? rows * s->P * s->width : 0},
      {&r->unprojected, s->projected ? rows * s->H * s->width : 0},
      {&r->dgates, rows * s->dgates_stride * s->width},
      {&r->drecurrent, s->cell->has_recurrent ? rows * s->drecurrent_stride * s->width : 0},
      {&r->team.scratch, (int64_t)r->team.scratch_bytes * s->ctx->num_threads},
  };
  return lurn__workspace(s->ctx, temps, wants, sizeof wants / sizeof wants[0]);
}

static int mode_of(const lurn__outer_product *outer) { return outer->begun ? LURN__GEMM_ACCUMULATE : 0; }

/* The former states of all steps lie together but that of the sequence's first step, which is by itself. */
void lurn__chunk_begin(lurn__backward *r) {
  const lurn__sequence *s = &r->s;
  lurn__outer_product *input = &r->outer[LURN__OUTER_INPUT], *hidden = &r->outer[LURN__OUTER_HIDDEN];
  lurn__outer_product *first = &r->outer[LURN__OUTER_FIRST];
  int64_t i = r->start > 0 ? r->start : 1, count = r->start + r->count - i;
  input->t = first_time(r);
  input->n = chunk_rows(r);
  input->b = r->x + input->t * s->N * s->D * s->width;
  hidden->n = count * s->N;
  if (count > 0) {
    hidden->t = lurn__chunk_time(s, i, count);
    hidden->b = lurn__track_at(s, &r->hidden, s->reverse ? hidden->t + 1 : hidden->t - 1, 0);
  }
  first->n = r->start == 0 && r->has_h0 ? s->N : 0;
  first->t = lurn__step_time(s, 0);
  first->b = r->hidden.initial;
  r->projection.n = chunk_rows(r);
  r->projection.b = r->unprojected;
  input->mode = mode_of(input);
  hidden->mode = mode_of(hidden);
  first->begun = hidden->begun || hidden->n > 0; /* they share dw */
  first->mode = mode_of(first);
  r->projection.mode = mode_of(&r->projection);
}

/* ---- Packing ----------------------------------------------------------------------------------------------- */

int64_t lurn__chunk_tasks(const lurn__backward *r) { return LURN__OUTERS * r->team.threads; }

static void pack_part(const lurn__backward *r, const lurn__outer_product *outer, int64_t part) {
  int64_t first = lurn__part_column(&r->s, outer->columns, part, r->team.threads);
  int64_t last = lurn__part_column(&r->s, outer->columns, part + 1, r->team.threads);
  lurn__matrix b = {outer->b, outer->columns, 1};
  if (outer->dw && outer->n > 0) r->s.gemm->pack(outer->n, outer->columns, b, first, last, outer->packed);
}

void lurn__chunk_prepare(const lurn__backward *r, int64_t task) {
  pack_part(r, &r->outer[task / r->team.threads], task % r->team.threads);
}

static void pack_projection(void *arg, int64_t task, int thread) {
  (void)thread;
  const lurn__backward *r = arg;
  pack_part(r, &r->projection, task);
}

/* ---- Products ---------------------------------------------------------------------------------------------- */

/* Rows first..last of dw += d^T . b, d given from the column that row `first` takes. */
static void multiply_rows(const lurn__backward *r, const lurn__outer_product *outer, int64_t first, int64_t last,
                          const char *d, int64_t ldd, char *scratch) {
  const lurn__sequence *s = &r->s;
  char *dw = outer->dw + first * outer->columns * s->width;
  s->gemm->run_packed(last - first, outer->columns, outer->n, (lurn__matrix){d, 1, ldd}, outer->packed, 0,
                      outer->columns, dw, outer->columns, outer->mode, scratch);
}

/* Where rows first..last of the weights of the recurrent side part: below from dgates, from there on from drecurrent. */
static int64_t parting(const lurn__sequence *s, int64_t first, int64_t last) {
  return last < s->split ? last : first > s->split ? first : s->split;
}

static void outer_rows(const lurn__backward *r, const lurn__outer_product *outer, int64_t first, int64_t last,
                       char *scratch) {
  const lurn__sequence *s = &r->s;
  int64_t middle = outer->recurrent ? parting(s, first, last) : last;
  multiply_rows(r, outer, first, middle, lurn__dgates_at(r, outer->t, 0) + first * s->width, s->dgates_stride, scratch);
  if (middle < last)
    multiply_rows(r, outer, middle, last, lurn__drecurrent_at(r, outer->t, 0) + (middle - s->split) * s->width,
                  s->drecurrent_stride, scratch);
}

/* Sums over the chunk's rows.  Where both biases have the same gradient, that of the recurrent one is copied at the end. */
static void bias_rows(const lurn__backward *r, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  int64_t n = chunk_rows(r), middle = parting(s, first, last), both = r->out.b_ih ? last : middle;
  char *total = r->out.b_ih ? r->out.b_ih : r->out.b_hh;
  if (total)
    s->cells->add_rows(n, both - first, r->dgates + first * s->width, s->dgates_stride, total + first * s->width);
  if (r->out.b_hh && middle < last)
    s->cells->add_rows(n, last - middle, r->drecurrent + (middle - s->split) * s->width, s->drecurrent_stride,
                       r->out.b_hh + middle * s->width);
}

/* Rows first..last of one gate's sums, at time t and on, times n rows of cells. */
static void peephole_rows(const lurn__backward *r, int64_t n, int64_t t, int64_t first, int64_t last, const char *cells,
                          char *dw) {
  const lurn__sequence *s = &r->s;
  int64_t column = first % s->H * s->width;
  s->cells->add_products(n, last - first, lurn__dgates_at(r, t, 0) + first * s->width, s->dgates_stride, cells + column,
                         s->H, dw + column);
}

/* The output gate sees the cell of its own step, the others the former one's: see lurn__chunk_begin. */
static void peephole_sums(const lurn__backward *r, int which, int64_t first, int64_t last) {
  const lurn__sequence *s = &r->s;
  const lurn__outer_product *later = &r->outer[LURN__OUTER_HIDDEN], *initial = &r->outer[LURN__OUTER_FIRST];
  int64_t low = first_time(r), from = lurn__peephole_gate(s->cell, which) * s->H, to = from + s->H;
  char *dw = r->out.peephole[which];
  if (from < first) from = first;
  if (to > last) to = last;
  if (dw == NULL || from >= to) return;
  if (which == LURN__PEEPHOLES - 1) {
    peephole_rows(r, chunk_rows(r), low, from, to, lurn__track_at(s, &r->cell, low, 0), dw);
    return;
  }
  if (later->n > 0) {
    int64_t before = s->reverse ? later->t + 1 : later->t - 1;
    peephole_rows(r, later->n, later->t, from, to, lurn__track_at(s, &r->cell, before, 0), dw);
  }
  if (r->start == 0 && r->has_c0) peephole_rows(r, s->N, initial->t, from, to, r->cell.initial, dw);
}

/* Rows first..last of dw_hr += dprojected^T . unprojected. */
static void projection_rows(const lurn__backward *r, int64_t first, int64_t last, char *scratch) {
  multiply_rows(r, &r->projection, first, last, r->projected + first * r->s.width, r->s.P, scratch);
}

static void input_rows(const lurn__backward *r, int64_t first, int64_t last, char *scratch) {
  const lurn__sequence *s = &r->s;
  char *dx = r->out.x + (first_time(r) * s->N + first) * s->D * s->width;
  lurn__weight_multiply(s, &r->w_ih, last - first, r->dgates + first * s->dgates_stride * s->width, s->dgates_stride, 0,
                        s->D, dx, s->D, 0, scratch);
}

/* Everything that rows first..last of the gates' sums give. */
static void weight_rows(const lurn__backward *r, int64_t first, int64_t last, char *scratch) {
  for (int i = 0; i < LURN__OUTERS; i++)
    if (r->outer[i].dw && r->outer[i].n > 0) outer_rows(r, &r->outer[i], first, last, scratch);
  bias_rows(r, first, last);
  for (int which = 0; r->peepholes && which < LURN__PEEPHOLES; which++) peephole_sums(r, which, first, last);
}

/* A kind of tasks: bands of so many rows. */
typedef void band_fn(const lurn__backward *r, int64_t first, int64_t last, char *scratch);
typedef struct band {
  band_fn *fn;
  int64_t rows, height, count;
} band;

enum { BAND_KINDS = 3 };

/* The tasks: bands of rows of the weights, then of the projection, then of the input. */
typedef struct bands {
  lurn__backward *r;
  band kind[BAND_KINDS];
} bands;

static void band_task(void *arg, int64_t task, int thread) {
  const bands *all = arg;
  const lurn__backward *r = all->r;
  const band *b = all->kind;
  while (task >= b->count) task -= b++->count;
  int64_t first = task * b->height, last = first + b->height < b->rows ? first + b->height : b->rows;
  b->fn(r, first, last, r->team.scratch + (size_t)thread * r->team.scratch_bytes);
}

/* Height of bands, some for each thread, so that threads of different pace end together. */
static int64_t band_height(const lurn__backward *r, int64_t rows, int64_t per_thread) {
  int64_t count = r->team.threads > 1 ? per_thread * r->team.threads : 1, tile = r->s.gemm->tile;
  int64_t height = (rows + count - 1) / count;
  return height > 0 ? (height + tile - 1) / tile * tile : tile;
}

static band make_band(const lurn__backward *r, band_fn *fn, bool wanted, int64_t rows, int64_t per_thread) {
  int64_t height = band_height(r, rows, per_thread);
  return (band){fn, rows, height, wanted ? (rows + height - 1) / height : 0};
}

void lurn__chunk_products(lurn__backward *r) {
  const lurn__layer_gradients *out = &r->out;
  bool peephole = out->peephole[0] || out->peephole[1] || out->peephole[2];
  bool weights = out->w_ih || out->w_hh || out->b_ih || out->b_hh || peephole;
  bool projection = out->w_hr && r->projection.n > 0;
  bands b = {r,
             {make_band(r, weight_rows, weights, r->s.rows, 2), make_band(r, projection_rows, projection, r->s.P, 1),
              make_band(r, input_rows, out->x, chunk_rows(r), 4)}};
  int64_t count = 0;
  for (int i = 0; i < BAND_KINDS; i++) count += b.kind[i].count;
  if (projection) lurn__parallel(r->s.ctx, r->team.threads, pack_projection, r);
  lurn__parallel(r->s.ctx, count, band_task, &b);
  lurn__outer_product *outer = r->outer;
  outer[LURN__OUTER_INPUT].begun |= outer[LURN__OUTER_INPUT].n > 0;
  outer[LURN__OUTER_HIDDEN].begun |= outer[LURN__OUTER_HIDDEN].n > 0 || outer[LURN__OUTER_FIRST].n > 0;
  r->projection.begun |= r->projection.n > 0;
}

static void clear_unless_begun(const lurn__outer_product *outer, int64_t rows, int64_t width) {
  if (outer->dw && !outer->begun) memset(outer->dw, 0, (size_t)(rows * outer->columns * width));
}

void lurn__chunks_end(lurn__backward *r) {
  const lurn__sequence *s = &r->s;
  clear_unless_begun(&r->outer[LURN__OUTER_INPUT], s->rows, s->width);
  clear_unless_begun(&r->outer[LURN__OUTER_HIDDEN], s->rows, s->width);
  clear_unless_begun(&r->projection, s->P, s->width);
  if (r->out.b_ih && r->out.b_hh) memcpy(r->out.b_hh, r->out.b_ih, (size_t)(s->split * s->width));
}
