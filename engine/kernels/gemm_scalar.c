/* gemm.h with the 16-byte vectors that every machine of interest has (SSE2, NEON), or that the compiler makes of scalars. */
#define GEMM_TABLE lurn__gemm_scalar
#define VECTOR_BYTES 16
#if defined(__aarch64__) /* 32 registers */
#define TILE_ROWS 8
#define TILE_ROW_LIST(X, W) X(1, W) X(2, W) X(3, W) X(4, W) X(5, W) X(6, W) X(7, W) X(8, W)
#else
#define TILE_ROWS 4
#define TILE_ROW_LIST(X, W) X(1, W) X(2, W) X(3, W) X(4, W)
#endif
#define A_BLOCK_BYTES (128 * 1024)
#define B_BLOCK_BYTES (512 * 1024)
#include "kernels/gemm.inc"
