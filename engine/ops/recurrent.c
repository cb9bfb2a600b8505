/* What forward and backward of recurrent layers share. */
#include "ops/recurrent.h"

#include <stdatomic.h>

#include "core/threads.h"
#include "ops/product.h"

/* ---- Sequences --------------------------------------------------------------------------------------------- */

/* Steps of a chunk hold about so many rows and bytes of gates: enough for a matrix product to be fast, and few enough to be
 * still in the cache when the recurrence comes to them. */
enum { CHUNK_ROWS_MIN = 512, CHUNK_ROWS_MAX = 1024, CHUNK_BYTES = 1 << 20 };

static int64_t chunk_steps(const lurn__sequence *s) {
  int64_t rows = CHUNK_BYTES / (s->rows * s->width);
  if (rows < CHUNK_ROWS_MIN) rows = CHUNK_ROWS_MIN;
  if (rows > CHUNK_ROWS_MAX) rows = CHUNK_ROWS_MAX;
  int64_t steps = s->N > 0 ? rows / s->N : s->T;
  if (steps > s->T) steps = s->T;
  return steps > 0 ? steps : 1;
}

void lurn__sequence_init(lurn__sequence *s, lurn_ctx *ctx, const lurn__layer *layer, lurn_dtype dtype,
                         const int64_t x_size[3], int64_t hidden, int64_t projection) {
  const lurn__recurrent *cells = lurn__kernels_of(ctx)->recurrent;
  *s = (lurn__sequence){.ctx = ctx,
                        .cell = layer->cell,
                        .gemm = lurn__gemm_of(ctx, dtype),
                        .cells = dtype == LURN_FLOAT64 ? &cells->f64 : &cells->f32,
                        .f = layer->f,
                        .dtype = dtype,
                        .width = (int64_t)lurn_dtype_size(dtype),
                        .T = x_size[0],
                        .N = x_size[1],
                        .D = x_size[2],
                        .H = hidden,
                        .P = projection > 0 ? projection : hidden,
                        .projected = projection > 0,
                        .rows = layer->cell->gates * hidden,
                        .reverse = layer->reverse};
  s->split = layer->cell->has_recurrent ? s->rows - hidden : s->rows;
  s->chunk = chunk_steps(s);
  s->dgates_stride = lurn__gemm_stride(s->rows, (size_t)s->width);
  s->drecurrent_stride = lurn__gemm_stride(s->H, (size_t)s->width);
}

bool lurn__next_run(const lurn__sequence *s, int64_t t, int64_t last, int64_t *from, int64_t *to) {
  int64_t row = *to;
  while (row < last && !lurn__row_active(s, t, row)) row++;
  *from = row;
  if (s->lengths == NULL) row = last;
  while (row < last && lurn__row_active(s, t, row)) row++;
  *to = row;
  return *from < *to;
}

/* ---- Teams ------------------------------------------------------------------------------------------------- */

/* Multiply-adds below which one thread is quicker than waking another; in one step, below which a meeting does not pay. */
#define SMALL_WALK 0x1p21
#define SMALL_STEP 0x1p17
/* Bytes of recurrent weights that stay in a core's second-level cache from step to step. */
#define CACHED_WEIGHTS 0x1p20
/* Bytes of all weights that do not stay there from call to call, while a part for each thread may: then even a single step is
 * worth waking one. */
#define FAR_WEIGHTS 0x1.4p20
/* Units of a step that one thread takes as fast as two. */
enum { FEW_UNITS = 4096 };

/* By rows, threads need not meet.  But where the weights of all rows exceed a core's cache, or there are too few rows for all
 * threads (one costs as much as four), a step is cut by columns of the product, and each thread keeps its part of the weights. */
void lurn__team_init(lurn__team *team, const lurn__sequence *s) {
  double projection = s->projected ? (double)s->P * (double)s->H : 0;
  double weights = (double)s->rows * (double)s->P + projection, step = weights * (double)s->N;
  double all = (double)s->rows * (double)s->D + weights, walk = all * (double)s->N * (double)s->T;
  int64_t threads = s->ctx->num_threads, tasks = s->N / 2 < threads ? s->N / 2 : threads;
  *team = (lurn__team){.s = s, .threads = 1, .tasks = 1};
  if (threads == 1 || (walk < SMALL_WALK && all * (double)s->width < FAR_WEIGHTS)) return;
  team->threads = threads;
  bool few_rows = s->N<4 * threads, large = weights * (double)s->width> CACHED_WEIGHTS;
  team->by_step = (few_rows || large) && step >= SMALL_STEP;
  if (!team->by_step && tasks > 1) team->tasks = tasks;
}

static void *moved(void *rows, int64_t bytes) { return rows ? (char *)rows + bytes : NULL; }
static const void *moved_const(const void *rows, int64_t bytes) { return rows ? (const char *)rows + bytes : NULL; }

typedef struct step_rows {
  const lurn__team *team;
  lurn__step_fn *fn;
  const lurn__step *step;
} step_rows;

static void step_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const step_rows *all = arg;
  const lurn__sequence *s = all->team->s;
  int64_t threads = s->ctx->num_threads, first = task * all->step->n / threads;
  int64_t state = first * s->H * s->width, gates = first * s->rows * s->width;
  lurn__step part = *all->step;
  part.n = (task + 1) * all->step->n / threads - first;
  part.gates = moved(part.gates, gates);
  part.recurrent = moved(part.recurrent, state);
  part.hidden_before = moved_const(part.hidden_before, state);
  part.cell_before = moved_const(part.cell_before, state);
  part.hidden = moved(part.hidden, state);
  part.cell = moved(part.cell, state);
  part.dhidden = moved(part.dhidden, state);
  part.dcell = moved(part.dcell, state);
  part.dcell_total = moved(part.dcell_total, state);
  part.dgates = moved(part.dgates, first * part.dgates_stride * s->width);
  part.drecurrent = moved(part.drecurrent, first * part.drecurrent_stride * s->width);
  if (part.n > 0) all->fn(s->cells, &part);
}

void lurn__run_step(const lurn__team *team, lurn__step_fn *fn, const lurn__step *step) {
  step_rows all = {team, fn, step};
  if (team->by_step && step->n * step->h > FEW_UNITS)
    lurn__parallel_again(team->s->ctx, team->s->ctx->num_threads, step_task, &all);
  else fn(team->s->cells, step);
}

/* ---- Weights ----------------------------------------------------------------------------------------------- */

/* Elements that one thread packs before another has begun. */
enum { FEW_ELEMENTS = 1 << 14 };

int64_t lurn__weight_init(const lurn__sequence *s, lurn__weight *w, int64_t k, int64_t n, lurn__matrix b, bool once) {
  *w = (lurn__weight){.k = k, .n = n, .b = b, .once = once};
  return once ? 0 : s->gemm->packed_size(k, n) * s->width;
}

int64_t lurn__weight_keep(const lurn__sequence *s, lurn__weight *w, lurn__storage *storage) {
  w->kept = lurn__product_kept(s->ctx, s->dtype, w->n, w->k, storage, w->b);
  if (w->kept) w->once = false;
  return w->once || w->kept ? 0 : s->gemm->packed_size(w->k, w->n) * s->width;
}

typedef struct packing {
  const lurn__sequence *s;
  const lurn__weight *w;
  int64_t tasks;
} packing;

int64_t lurn__part_column(const lurn__sequence *s, int64_t n, int64_t part, int64_t parts) {
  int64_t panel = s->gemm->panel, panels = (n + panel - 1) / panel, column = part * panels / parts * panel;
  return column < n ? column : n;
}

static void pack_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const packing *p = arg;
  const lurn__weight *w = p->w;
  int64_t first = lurn__part_column(p->s, w->n, task, p->tasks),
          last = lurn__part_column(p->s, w->n, task + 1, p->tasks);
  p->s->gemm->pack(w->k, w->n, w->b, first, last, w->packed);
}

void lurn__weight_pack(const lurn__team *team, const lurn__weight *w) {
  packing p = {team->s, w, w->k * w->n > FEW_ELEMENTS ? team->threads : 1};
  if (!w->once && !w->kept) lurn__parallel(team->s->ctx, p.tasks, pack_task, &p);
}

size_t lurn__weight_scratch(const lurn__sequence *s, const lurn__weight *w, int64_t m) {
  return w->once ? s->gemm->scratch(m, w->n, w->k) : s->gemm->packed_scratch(m, w->k);
}

void lurn__weight_multiply(const lurn__sequence *s, const lurn__weight *w, int64_t m, const void *a, int64_t lda,
                           int64_t first, int64_t last, void *c, int64_t ldc, int mode, void *scratch) {
  lurn__matrix left = {a, lda, 1};
  if (!w->once) {
    s->gemm->run_packed(m, w->n, w->k, left, w->kept ? w->kept : w->packed, first, last, c, ldc, mode, scratch);
  } else {
    lurn__matrix b = {(const char *)w->b.data + first * w->b.col * s->width, w->b.row, w->b.col};
    s->gemm->run(m, last - first, w->k, left, b, (char *)c + first * s->width, ldc, mode, scratch);
  }
}

typedef struct product {
  const lurn__team *team;
  const lurn__weight *w;
  int64_t m;
  const void *a;
  int64_t lda;
  void *c;
  int64_t ldc;
  int mode;
} product;

static void run_columns(const product *p, int64_t first, int64_t last, int thread) {
  char *scratch = p->team->scratch + (size_t)thread * p->team->scratch_bytes;
  lurn__weight_multiply(p->team->s, p->w, p->m, p->a, p->lda, first, last, p->c, p->ldc, p->mode, scratch);
}

typedef struct shared_product {
  const product *p;
  int64_t parts;
  atomic_bool taken[LURN__MAX_THREADS];
} shared_product;

/* A part that nobody has; the thread's own, which its cache may still hold, if possible. */
static int64_t take_part(shared_product *shared, int thread) {
  int64_t part = thread % shared->parts;
  while (atomic_exchange_explicit(&shared->taken[part], true, memory_order_relaxed)) part = (part + 1) % shared->parts;
  return part;
}

static void product_task(void *arg, int64_t task, int thread) {
  (void)task;
  shared_product *shared = arg;
  const product *p = shared->p;
  int64_t part = take_part(shared, thread);
  run_columns(p, lurn__part_column(p->team->s, p->w->n, part, shared->parts),
              lurn__part_column(p->team->s, p->w->n, part + 1, shared->parts), thread);
}

void lurn__weight_product(const lurn__team *team, int thread, const lurn__weight *w, int64_t m, const void *a,
                          int64_t lda, void *c, int64_t ldc, int mode) {
  product p = {team, w, m, a, lda, c, ldc, mode};
  if (!team->by_step) {
    run_columns(&p, 0, w->n, thread);
    return;
  }
  shared_product shared = {.p = &p, .parts = team->s->ctx->num_threads};
  lurn__parallel_again(team->s->ctx, shared.parts, product_task, &shared);
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

lurn_status lurn__workspace(lurn_ctx *ctx, lurn__temps *temps, const lurn__want *wants, int count) {
  int64_t total = 0;
  for (int i = 0; i < count; i++)
    if (__builtin_add_overflow(total, (wants[i].bytes + 63) / 64 * 64, &total))
      return lurn__fail(ctx, LURN_ENOMEM, "out of memory: the work space of a recurrent layer is too large");
  lurn__shape shape;
  LURN__TRY(lurn__shape_make(ctx, "recurrent layer", 1, &total, &shape));
  lurn_tensor **memory = lurn__temp(temps);
  LURN__TRY(lurn__tensor_new(ctx, LURN_UINT8, &shape, memory));
  char *next = lurn__tensor_ptr(*memory);
  for (int i = 0; i < count; i++) {
    *wants[i].slot = next;
    next += (wants[i].bytes + 63) / 64 * 64;
  }
  return LURN_OK;
}
