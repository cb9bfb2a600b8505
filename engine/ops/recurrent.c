/* What forward and backward of recurrent layers share. */
#include "ops/recurrent.h"

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
                         const int64_t x_size[3], int64_t hidden) {
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
                        .rows = layer->cell->gates * hidden,
                        .reverse = layer->reverse};
  s->split = layer->cell->has_recurrent ? s->rows - hidden : s->rows;
  s->chunk = chunk_steps(s);
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

/* ---- Threads ----------------------------------------------------------------------------------------------- */

/* Multiply-adds of a chunk below which one thread is quicker, and bytes of weights that pay for a meeting at every step. */
#define SMALL_CHUNK ((double)(1 << 18))
#define LARGE_WEIGHTS ((double)(1 << 19))

lurn__cut lurn__cut_rows(const lurn__sequence *s) {
  int64_t threads = s->ctx->num_threads;
  double weights = (double)s->rows * (double)s->H;
  if (threads == 1 || weights * (double)s->chunk * (double)s->N < SMALL_CHUNK) return (lurn__cut){1, false};
  if (s->N < 4 * threads && weights * (double)s->width >= LARGE_WEIGHTS) return (lurn__cut){1, true};
  int64_t tasks = s->N / 2 < threads ? s->N / 2 : threads; /* one row costs as much as two */
  return (lurn__cut){tasks > 1 ? tasks : 1, false};
}

typedef struct column_product {
  const lurn__packed *p;
  int64_t m, n, k;
  lurn__matrix a;
  const void *packed;
  void *c;
  int64_t ldc;
  bool accumulate;
  int64_t tasks;
} column_product;

static void run_columns(const column_product *q, int64_t first, int64_t last, int thread) {
  char *scratch = q->p->scratch + (size_t)thread * q->p->scratch_bytes;
  q->p->s->gemm->run_packed(q->m, q->n, q->k, q->a, q->packed, first, last, q->c, q->ldc, q->accumulate, scratch);
}

static void column_task(void *arg, int64_t task, int thread) {
  const column_product *q = arg;
  int64_t panel = q->p->s->gemm->panel, panels = (q->n + panel - 1) / panel;
  int64_t first = task * panels / q->tasks * panel, last = (task + 1) * panels / q->tasks * panel;
  run_columns(q, first, last < q->n ? last : q->n, thread);
}

void lurn__packed_product(const lurn__packed *p, int thread, int64_t m, int64_t n, int64_t k, const void *a,
                          int64_t lda, const void *packed, void *c, int64_t ldc, bool accumulate) {
  column_product q = {p, m, n, k, {a, lda, 1}, packed, c, ldc, accumulate, p->s->ctx->num_threads};
  if (p->cut.by_columns) lurn__parallel(p->s->ctx, q.tasks, column_task, &q);
  else run_columns(&q, 0, n, thread);
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
