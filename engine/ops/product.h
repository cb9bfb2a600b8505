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

#endif
