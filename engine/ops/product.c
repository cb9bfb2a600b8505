#include "ops/product.h"

#include <cblas.h>
#include <limits.h>

#include "core/threads.h"

/* Multiply-adds below which threads cost more than they bring. */
#define SMALL_PRODUCT ((int64_t)1 << 21)

typedef struct product {
  const lurn__gemm *gemm;
  int64_t m, n, k;
  lurn__matrix a, b;
  const void *kept; /* B, packed before */
  void *packed;
  char *c;
  int64_t ldc;
  size_t width;
  int mode;
  int64_t rows_per_task, columns_per_task, column_tasks;
  char *scratch;
  size_t scratch_bytes; /* per thread */
} product;

static void pack_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const product *p = arg;
  int64_t first = task * p->columns_per_task, last = first + p->columns_per_task;
  p->gemm->pack(p->k, p->n, p->b, first, last < p->n ? last : p->n, p->packed);
}

static void multiply_task(void *arg, int64_t task, int thread) {
  const product *p = arg;
  int64_t row = task / p->column_tasks * p->rows_per_task, column = task % p->column_tasks * p->columns_per_task;
  int64_t rows = p->m - row < p->rows_per_task ? p->m - row : p->rows_per_task;
  int64_t last = column + p->columns_per_task < p->n ? column + p->columns_per_task : p->n;
  lurn__matrix a = p->a;
  a.data = (const char *)a.data + row * a.row * (int64_t)p->width;
  p->gemm->run_packed(rows, p->n, p->k, a, p->kept ? p->kept : p->packed, column, last,
                      p->c + row * p->ldc * (int64_t)p->width, p->ldc, p->mode,
                      p->scratch + (size_t)thread * p->scratch_bytes);
}

static lurn_status run_alone(lurn_ctx *ctx, const product *p) {
  size_t bytes = p->kept ? p->gemm->packed_scratch(p->m, p->k) : p->gemm->scratch(p->m, p->n, p->k);
  void *scratch = lurn__alloc(ctx, bytes);
  if (scratch == NULL) return LURN_ENOMEM;
  if (p->kept) p->gemm->run_packed(p->m, p->n, p->k, p->a, p->kept, 0, p->n, p->c, p->ldc, p->mode, scratch);
  else p->gemm->run(p->m, p->n, p->k, p->a, p->b, p->c, p->ldc, p->mode, scratch);
  lurn__free(ctx, scratch, bytes);
  return LURN_OK;
}

static int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/* Packs B once, in parallel, then cuts C: into bands of rows when there are enough, else into panels of columns.  A few tasks for
 * each thread even out their pace; the cut does not change any element's bits. */
static lurn_status run_together(lurn_ctx *ctx, product *p) {
  int64_t tasks = 4 * (int64_t)ctx->num_threads;
  size_t packed_bytes = p->kept ? 0 : (size_t)p->gemm->packed_size(p->k, p->n) * p->width;
  p->columns_per_task = round_up((p->n + tasks - 1) / tasks, p->gemm->panel);
  p->packed = lurn__alloc(ctx, packed_bytes);
  if (p->packed == NULL) return LURN_ENOMEM;
  p->rows_per_task = round_up((p->m + tasks - 1) / tasks, p->gemm->tile);
  bool by_rows = p->m >= p->n || p->m >= tasks * p->gemm->tile;
  int64_t pack_tasks = (p->n + p->columns_per_task - 1) / p->columns_per_task;
  p->scratch_bytes = p->gemm->packed_scratch(p->m, p->k);
  size_t all_scratch = p->scratch_bytes * (size_t)ctx->num_threads;
  p->scratch = lurn__alloc(ctx, all_scratch);
  if (p->scratch == NULL) {
    lurn__free(ctx, p->packed, packed_bytes);
    return LURN_ENOMEM;
  }
  if (!p->kept) lurn__parallel(ctx, pack_tasks, pack_task, p);
  if (by_rows) p->columns_per_task = p->n;
  else p->rows_per_task = p->m;
  p->column_tasks = (p->n + p->columns_per_task - 1) / p->columns_per_task;
  int64_t row_tasks = (p->m + p->rows_per_task - 1) / p->rows_per_task;
  lurn__parallel(ctx, row_tasks * p->column_tasks, multiply_task, p);
  lurn__free(ctx, p->scratch, all_scratch);
  lurn__free(ctx, p->packed, packed_bytes);
  return LURN_OK;
}

/* ---- By the BLAS library ----------------------------------------------------------------------------------- */

/* Rows of C in one call: fixed, so that the cut does not depend on the number of threads. */
enum { BLAS_ROWS = 128 };

/* A matrix as BLAS takes it: one of its strides is 1, the other its leading dimension. */
static bool blas_layout(lurn__matrix m, int64_t rows, int64_t cols, CBLAS_TRANSPOSE *trans, int *ld) {
  bool plain = m.col == 1 || cols == 1, turned = m.row == 1 || rows == 1;
  int64_t stride = plain ? m.row : m.col, least = plain ? cols : rows;
  if (!plain && !turned) return false;
  if ((plain ? rows : cols) == 1 && stride < least) stride = least; /* never stepped */
  *trans = plain ? CblasNoTrans : CblasTrans;
  *ld = (int)stride;
  return stride >= least && stride > 0 && stride <= INT_MAX;
}

typedef struct blas_run {
  const product *p;
  CBLAS_TRANSPOSE trans_a, trans_b;
  int lda, ldb;
} blas_run;

static void blas_task(void *arg, int64_t task, int thread) {
  (void)thread;
  const blas_run *r = arg;
  const product *p = r->p;
  int64_t row = task * BLAS_ROWS, rows = p->m - row < BLAS_ROWS ? p->m - row : BLAS_ROWS;
  const char *a = (const char *)p->a.data + row * p->a.row * (int64_t)p->width;
  char *c = p->c + row * p->ldc * (int64_t)p->width;
  if (p->width == sizeof(float))
    cblas_sgemm(CblasRowMajor, r->trans_a, r->trans_b, (int)rows, (int)p->n, (int)p->k, 1, (const void *)a, r->lda,
                p->b.data, r->ldb, p->mode == LURN__GEMM_ACCUMULATE, (void *)c, (int)p->ldc);
  else
    cblas_dgemm(CblasRowMajor, r->trans_a, r->trans_b, (int)rows, (int)p->n, (int)p->k, 1, (const void *)a, r->lda,
                p->b.data, r->ldb, p->mode == LURN__GEMM_ACCUMULATE, (void *)c, (int)p->ldc);
}

/* False when this product is not one for BLAS: then nothing was done. */
static bool run_blas(lurn_ctx *ctx, const product *p) {
  blas_run r = {.p = p};
  if (p->k == 0 || p->n > INT_MAX || p->k > INT_MAX || p->ldc > INT_MAX) return false;
  if (!blas_layout(p->a, p->m, p->k, &r.trans_a, &r.lda) || !blas_layout(p->b, p->k, p->n, &r.trans_b, &r.ldb))
    return false;
  lurn__parallel(ctx, (p->m + BLAS_ROWS - 1) / BLAS_ROWS, blas_task, &r);
  return true;
}

/* ---- Choice ------------------------------------------------------------------------------------------------ */

static lurn_status multiply(lurn_ctx *ctx, lurn_dtype dtype, product *p) {
  if (p->m == 0 || p->n == 0) return LURN_OK;
  p->gemm = lurn__gemm_of(ctx, dtype);
  p->width = lurn_dtype_size(dtype);
  if (ctx->use_blas && p->kept == NULL && run_blas(ctx, p)) return LURN_OK;
  bool small = ctx->num_threads == 1 || (double)p->m * (double)p->n * (double)p->k < (double)SMALL_PRODUCT;
  return small ? run_alone(ctx, p) : run_together(ctx, p);
}

static int mode_of(bool accumulate) { return accumulate ? LURN__GEMM_ACCUMULATE : 0; }

lurn_status lurn__product(lurn_ctx *ctx, lurn_dtype dtype, int64_t m, int64_t n, int64_t k, lurn__matrix a,
                          lurn__matrix b, void *c, int64_t ldc, bool accumulate) {
  product p = {.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = ldc, .mode = mode_of(accumulate)};
  return multiply(ctx, dtype, &p);
}

/* ---- Kept operands ----------------------------------------------------------------------------------------- */

/* Elements that one thread packs as fast as several. */
enum { FEW_ELEMENTS = 1 << 17 };

static void pack_all(lurn_ctx *ctx, product *p) {
  int64_t tasks = p->n * p->k > FEW_ELEMENTS ? ctx->num_threads : 1;
  p->columns_per_task = round_up((p->n + tasks - 1) / tasks, p->gemm->panel);
  lurn__parallel(ctx, (p->n + p->columns_per_task - 1) / p->columns_per_task, pack_task, p);
}

const void *lurn__product_kept(lurn_ctx *ctx, lurn_dtype dtype, int64_t n, int64_t k, lurn__storage *storage,
                               lurn__matrix b) {
  product p = {.gemm = lurn__gemm_of(ctx, dtype), .n = n, .k = k, .b = b};
  int64_t start = (const char *)b.data - (const char *)storage->data;
  lurn__derived_key key = {p.gemm, {start, k, n, b.row, b.col}};
  size_t bytes = (size_t)p.gemm->packed_size(k, n) * lurn_dtype_size(dtype);
  bool fresh = false;
  if (bytes == 0) return NULL;
  p.packed = lurn__storage_derive(ctx, storage, &key, bytes, &fresh);
  if (fresh) pack_all(ctx, &p);
  return p.packed;
}

lurn_status lurn__product_packed(lurn_ctx *ctx, lurn_dtype dtype, int64_t m, int64_t n, int64_t k, lurn__matrix a,
                                 const void *b, void *c, int64_t ldc, bool accumulate) {
  product p = {.m = m, .n = n, .k = k, .a = a, .kept = b, .c = c, .ldc = ldc, .mode = mode_of(accumulate)};
  return multiply(ctx, dtype, &p);
}
