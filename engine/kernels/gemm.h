/* L1: general matrix product on packed panels.
 *
 *     C (m, n) = A (m, k) . B (k, n)      or      C += A . B
 *
 * C is row-major with row stride ldc.  A and B are given by a stride for each dimension, so that transposed and sliced views
 * need no copy of their own: packing reads them in any order.
 *
 * The order of the sum.  k is cut into blocks by a rule that knows k only.  Within a block each element of C is one chain of
 * multiply-adds in ascending order from zero; the blocks are then added to C in ascending order.  So an element's bits depend
 * on its row of A, its column of B and its former value alone: callers may split m at will and n at multiples of `panel`, over
 * any number of threads or calls, and packed and unpacked products agree.  They differ between instruction sets.
 *
 * NaN and infinity propagate as in the plain sum.  k = 0 gives zeros, or leaves C when accumulating.
 *
 * B packed, for reuse over many products: block after block of k; in each, panel after panel of `panel` columns (the last
 * padded with zeros); in each, rows of `panel` elements.  Only the table that packed it can read it. */
#ifndef LURN_KERNELS_GEMM_H
#define LURN_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Element (i, j) is data[i * row + j * col], in elements of the table's type; strides may be zero or negative. */
typedef struct lurn__matrix {
  const void *data;
  int64_t row, col;
} lurn__matrix;

/* A is read where it lies if its elements are contiguous along k or along m, unless the lines are a multiple of so many bytes
 * apart: then several would compete for the same few places of the first-level cache, and A is copied first. */
enum { LURN__GEMM_FAR = 2048 };
/* The least distance between lines of `length` elements that is good for an operand A: whole cache lines, and not far. */
static inline int64_t lurn__gemm_stride(int64_t length, size_t width) {
  int64_t line = 64 / (int64_t)width, stride = (length + line - 1) / line * line;
  return stride * (int64_t)width % LURN__GEMM_FAR == 0 ? stride + line : stride;
}

/* Modes, to be or-ed: add to C; take B's columns from the last to the first where that can matter.  Who multiplies with the same
 * large B again and again turns at each end, so that the part of it that is still in the cache comes first.  No bit depends on it. */
enum { LURN__GEMM_ACCUMULATE = 1, LURN__GEMM_BACKWARDS = 2 };

/* The products of one element type.  void * stands for that type.  Sizes and strides are in elements, all sizes >= 0. */
typedef struct lurn__gemm {
  int64_t panel; /* columns of a packed panel: n is split at its multiples only */
  int64_t tile;  /* rows of the largest register tile: a hint for splitting m */

  /* Elements of B (k, n) packed. */
  int64_t (*packed_size)(int64_t k, int64_t n);

  /* Packs the columns first <= j < last of B (k, n) into their place in packed, which has packed_size(k, n) elements, best
   * aligned to 64 bytes.  first is a multiple of panel, and so is last unless it is n: several calls, in any order or at
   * once, fill one B. */
  void (*pack)(int64_t k, int64_t n, lurn__matrix b, int64_t first, int64_t last, void *packed);

  /* Bytes of scratch for run_packed: at most 1 MiB, and no less for larger sizes. */
  size_t (*packed_scratch)(int64_t m, int64_t k);

  /* C = A . B, or C += A . B with LURN__GEMM_ACCUMULATE, for A (m, k), B (k, n) as packed by pack, and of C the columns
   * first <= j < last (split as in pack).  c points at C's element (0, 0) whatever first is.  C must not overlap A or B. */
  void (*run_packed)(int64_t m, int64_t n, int64_t k, lurn__matrix a, const void *packed, int64_t first, int64_t last,
                     void *c, int64_t ldc, int mode, void *scratch);

  /* Bytes of scratch for run: at most 2 MiB, and no less for larger sizes. */
  size_t (*scratch)(int64_t m, int64_t n, int64_t k);

  /* C = A . B, or C += A . B with LURN__GEMM_ACCUMULATE, with B (k, n) as it is.  C must not overlap A or B. */
  void (*run)(int64_t m, int64_t n, int64_t k, lurn__matrix a, lurn__matrix b, void *c, int64_t ldc, int mode,
              void *scratch);
} lurn__gemm;

typedef struct lurn__gemm_kernels {
  lurn__gemm f32, f64;
} lurn__gemm_kernels;

extern const lurn__gemm_kernels lurn__gemm_scalar;
#if defined(__x86_64__)
extern const lurn__gemm_kernels lurn__gemm_avx2;
extern const lurn__gemm_kernels lurn__gemm_avx512;
#endif

#endif
