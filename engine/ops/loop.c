#include "ops/loop.h"

#include <string.h>

#include "core/threads.h"

/* Elements per task: large enough that starting a task costs little beside it. */
enum { TASK_ELEMENTS = 16384 };

void lurn__loop_begin(lurn__loop *loop, lurn_tensor *target) {
  loop->target = target;
  loop->shape = target->shape;
  loop->count = 1;
  loop->data[0] = lurn__tensor_ptr(target);
  loop->width[0] = lurn__tensor_width(target);
  memcpy(loop->stride[0], target->stride, sizeof loop->stride[0]);
}

static void add_constant(lurn__loop *loop, const lurn_tensor *t, lurn_dtype dtype) {
  int i = loop->count++; /* converted by the kernel that converts many, so that both agree on what does not fit */
  lurn__kernels_of(t->ctx)->elementwise->cast[t->dtype][dtype](1, lurn__tensor_ptr(t), 1, &loop->constant[i], 1);
  loop->data[i] = (char *)&loop->constant[i];
  loop->width[i] = lurn_dtype_size(dtype);
  memset(loop->stride[i], 0, sizeof loop->stride[i]);
}

lurn_status lurn__loop_add(lurn__loop *loop, lurn__temps *temps, lurn_tensor *t, lurn_dtype dtype) {
  if (lurn__numel(t) == 1) {
    add_constant(loop, t, dtype);
    return LURN_OK;
  }
  if (t->dtype != dtype) {
    lurn_tensor **converted = lurn__temp(temps);
    LURN__TRY(lurn__to(t->ctx, t, dtype, converted));
    t = *converted;
  } else if (lurn__tensor_overlaps(loop->target, t)) {
    lurn_tensor **copy = lurn__temp(temps);
    LURN__TRY(lurn__clone(t->ctx, t, copy));
    t = *copy;
  }
  int i = loop->count++, added = loop->shape.ndim - t->shape.ndim;
  loop->data[i] = lurn__tensor_ptr(t);
  loop->width[i] = lurn__tensor_width(t);
  for (int d = 0; d < loop->shape.ndim; d++)
    loop->stride[i][d] = d < added || t->shape.size[d - added] == 1 ? 0 : t->stride[d - added];
  return LURN_OK;
}

/* ---- Fewer and longer dimensions --------------------------------------------------------------------------- */

static void swap_dims(lurn__loop *loop, int a, int b) {
  int64_t size = loop->shape.size[a];
  loop->shape.size[a] = loop->shape.size[b];
  loop->shape.size[b] = size;
  for (int i = 0; i < loop->count; i++) {
    int64_t stride = loop->stride[i][a];
    loop->stride[i][a] = loop->stride[i][b];
    loop->stride[i][b] = stride;
  }
}

static void remove_dim(lurn__loop *loop, int dim) {
  for (int d = dim; d + 1 < loop->shape.ndim; d++) {
    loop->shape.size[d] = loop->shape.size[d + 1];
    for (int i = 0; i < loop->count; i++) loop->stride[i][d] = loop->stride[i][d + 1];
  }
  loop->shape.ndim--;
}

static bool mergeable(const lurn__loop *loop, int d) {
  for (int i = 0; i < loop->count; i++)
    if (loop->stride[i][d] != loop->stride[i][d + 1] * loop->shape.size[d + 1]) return false;
  return true;
}

/* Drops sizes of 1, orders the dimensions by the output's strides, and merges neighbours that all operands pass in one stride. */
static void simplify(lurn__loop *loop) {
  for (int d = loop->shape.ndim - 1; d >= 0; d--)
    if (loop->shape.size[d] == 1) remove_dim(loop, d);
  for (int i = 1; i < loop->shape.ndim; i++)
    for (int d = i; d > 0 && loop->stride[0][d - 1] < loop->stride[0][d]; d--) swap_dims(loop, d - 1, d);
  for (int d = loop->shape.ndim - 2; d >= 0; d--) {
    if (!mergeable(loop, d)) continue;
    loop->shape.size[d + 1] *= loop->shape.size[d];
    remove_dim(loop, d);
  }
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

typedef struct plan {
  const lurn__loop *loop;
  lurn__run_fn *fn;
  const void *arg;
  int64_t inner, outer;  /* elements of a run, number of runs */
  int64_t pieces, piece; /* each run is cut in pieces of so many elements */
  int64_t runs_per_task; /* 1 when runs are cut */
} plan;

static void run_at(const plan *p, int64_t index, int64_t first, int64_t n) {
  const lurn__loop *loop = p->loop;
  int last = loop->shape.ndim - 1;
  char *data[LURN__LOOP_OPERANDS];
  int64_t offset[LURN__LOOP_OPERANDS] = {0}, stride[LURN__LOOP_OPERANDS];
  for (int d = last - 1; d >= 0; d--) {
    int64_t at = index % loop->shape.size[d];
    index /= loop->shape.size[d];
    for (int i = 0; i < loop->count; i++) offset[i] += at * loop->stride[i][d];
  }
  for (int i = 0; i < loop->count; i++) {
    stride[i] = last >= 0 ? loop->stride[i][last] : 0;
    data[i] = loop->data[i] + (offset[i] + first * stride[i]) * (int64_t)loop->width[i];
  }
  if (last < 0) stride[0] = 1;
  p->fn(p->arg, n, data, stride);
}

static void run_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const plan *p = arg;
  if (p->pieces > 1) {
    int64_t first = task % p->pieces * p->piece, left = p->inner - first;
    run_at(p, task / p->pieces, first, left < p->piece ? left : p->piece);
    return;
  }
  int64_t first = task * p->runs_per_task, last = first + p->runs_per_task;
  if (last > p->outer) last = p->outer;
  for (int64_t run = first; run < last; run++) run_at(p, run, 0, p->inner);
}

void lurn__loop_run(lurn_ctx *ctx, lurn__loop *loop, lurn__run_fn *fn, const void *arg) {
  int64_t total = lurn__shape_numel(&loop->shape);
  if (total == 0) return;
  simplify(loop);
  int64_t inner = loop->shape.ndim > 0 ? loop->shape.size[loop->shape.ndim - 1] : 1;
  plan p = {.loop = loop, .fn = fn, .arg = arg, .inner = inner, .outer = total / inner, .pieces = 1, .piece = inner};
  if (inner >= 2 * TASK_ELEMENTS) {
    p.piece = TASK_ELEMENTS;
    p.pieces = (inner + TASK_ELEMENTS - 1) / TASK_ELEMENTS;
  }
  p.runs_per_task = inner >= TASK_ELEMENTS ? 1 : TASK_ELEMENTS / inner;
  int64_t tasks = p.pieces > 1 ? p.pieces * p.outer : (p.outer + p.runs_per_task - 1) / p.runs_per_task;
  lurn__parallel(ctx, tasks, run_task, &p);
}

typedef struct unary_run {
  lurn__unary_fn *fn;
} unary_run;
typedef struct binary_run {
  lurn__binary_fn *fn;
} binary_run;
typedef struct where_run {
  lurn__where_fn *fn;
} where_run;

static void run_unary(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  ((const unary_run *)arg)->fn(n, data[1], stride[1], data[0], stride[0]);
}

static void run_binary(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  ((const binary_run *)arg)->fn(n, data[1], stride[1], data[2], stride[2], data[0], stride[0]);
}

static void run_where(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  ((const where_run *)arg)->fn(n, data[1], stride[1], data[2], stride[2], data[3], stride[3], data[0], stride[0]);
}

void lurn__loop_unary(lurn_ctx *ctx, lurn__loop *loop, lurn__unary_fn *fn) {
  lurn__loop_run(ctx, loop, run_unary, &(unary_run){fn});
}

void lurn__loop_binary(lurn_ctx *ctx, lurn__loop *loop, lurn__binary_fn *fn) {
  lurn__loop_run(ctx, loop, run_binary, &(binary_run){fn});
}

void lurn__loop_where(lurn_ctx *ctx, lurn__loop *loop, lurn__where_fn *fn) {
  lurn__loop_run(ctx, loop, run_where, &(where_run){fn});
}

/* ---- Rows -------------------------------------------------------------------------------------------------- */

typedef struct rows_plan {
  lurn__rows_fn *fn;
  const void *arg;
  int64_t rows, per_task;
} rows_plan;

static void rows_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const rows_plan *p = arg;
  int64_t first = task * p->per_task, last = first + p->per_task;
  p->fn(p->arg, first, last < p->rows ? last : p->rows);
}

void lurn__for_rows(lurn_ctx *ctx, int64_t rows, int64_t row_work, lurn__rows_fn *fn, const void *arg) {
  if (rows == 0) return;
  int64_t per_task = row_work >= TASK_ELEMENTS ? 1 : TASK_ELEMENTS / (row_work > 0 ? row_work : 1);
  rows_plan p = {.fn = fn, .arg = arg, .rows = rows, .per_task = per_task};
  lurn__parallel(ctx, (rows + per_task - 1) / per_task, rows_task, &p);
}
