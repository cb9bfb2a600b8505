/* gemm.h with AVX-512: tiles of 14 x 32 floats, 28 of 32 registers. */
#if defined(__x86_64__)
#define GEMM_TABLE lurn__gemm_avx512
#define VECTOR_BYTES 64
#define TILE_ROWS 14
#define TILE_ROW_LIST(X, W)                                                                                            \
  X(1, W) X(2, W) X(3, W) X(4, W) X(5, W) X(6, W) X(7, W) X(8, W) X(9, W) X(10, W) X(11, W) X(12, W) X(13, W) X(14, W)
#define A_BLOCK_BYTES (512 * 1024)
#define B_BLOCK_BYTES (1024 * 1024)
#include "kernels/gemm.inc"
#else
typedef int lurn__no_avx512; /* C wants a declaration in every file */
#endif
