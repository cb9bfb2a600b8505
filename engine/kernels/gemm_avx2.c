/* gemm.h with AVX2 and FMA: tiles of 6 x 16 floats, 12 of 16 registers. */
#if defined(__x86_64__)
#define GEMM_TABLE lurn__gemm_avx2
#define VECTOR_BYTES 32
#define TILE_ROWS 6
#define TILE_ROW_LIST(X, W) X(1, W) X(2, W) X(3, W) X(4, W) X(5, W) X(6, W)
#define A_BLOCK_BYTES (192 * 1024)
#define B_BLOCK_BYTES (768 * 1024)
#include "kernels/gemm.inc"
#else
typedef int lurn__no_avx2; /* C wants a declaration in every file */
#endif
