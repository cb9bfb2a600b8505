/* Matrix products over the context's threads: on the engine's packed kernels, or by the BLAS library where the context says so. */
#ifndef LURN_OPS_PRODUCT_H
#define LURN_OPS_PRODUCT_H

#include "ops/op.h"

static inline const lurn__gemm *lurn__gemm_of(const lurn_ctx *ctx, lurn_dtype dtype) {
  const lurn__gemm_kernels *kernels = lurn__kernels_of(ctx)->gemm;
  return dtype == LURN_FLOAT64 ? &kernels->f64 : &kernels->f32;
}

/* C (m, n) = A . B, or += when accumulate; dtype float32 or float64; C row-major with row stride ldc. The same bits for any number
 * of threads.  Fails only for memory. */
lurn_status lurn__product(lurn_ctx *ctx, lurn_dtype dtype, int64_t m, int64_t n, int64_t k, lurn__matrix a,
                          lurn__matrix b, void *c, int64_t ldc, bool accumulate);

/* Up to so many rows of A, packing B takes a third of a product or more. */
enum { LURN__FEW_ROWS = 16 };

/* B (k, n), which lies in this storage, packed by lurn__gemm_of and kept with the storage until its next write; NULL when it is not
 * kept (see lurn__storage_derive).  For products of few rows that no gradient is recorded of: training writes its weights at every
 * step, and would only hold a second copy. */
const void *lurn__product_kept(lurn_ctx *ctx, lurn_dtype dtype, int64_t n, int64_t k, lurn__storage *storage,
                               lurn__matrix b);
/* lurn__product, with B as lurn__product_kept returned it; never by the BLAS library. */
lurn_status lurn__product_packed(lurn_ctx *ctx, lurn_dtype dtype, int64_t m, int64_t n, int64_t k, lurn__matrix a,
                                 const void *b, void *c, int64_t ldc, bool accumulate);

#endif
