/* L1: pure functions on pointers and sizes, in one table per instruction set.
 *
 * No context, no allocation, no errors, no threads.  Each family of kernels (elementwise, rowwise, optim, gemm, recurrent) is
 * one header, one templated source FAMILY.inc, and three translation units FAMILY_scalar.c, FAMILY_avx2.c, FAMILY_avx512.c
 * that include the source under different compiler flags and define one constant table each.  On machines without those
 * instruction sets only the scalar unit is compiled. */
#ifndef LURN_KERNELS_H
#define LURN_KERNELS_H

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/optim.h"
#include "kernels/recurrent.h"
#include "kernels/rowwise.h"
#include "lurn.h"

typedef struct lurn__kernels {
  lurn_isa isa;
  const char *name; /* "scalar", "avx2", "avx512" */
  const lurn__elementwise *elementwise;
  const lurn__rowwise *rowwise;
  const lurn__optim_kernels *optim;
  const lurn__gemm_kernels *gemm;
  const lurn__recurrent *recurrent;
} lurn__kernels;

/* The table of an instruction set; falls back to the next lower one that was compiled in. */
const lurn__kernels *lurn__kernels_for(lurn_isa isa);

#endif
