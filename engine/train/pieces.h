/* Kernels want contiguous elements: these give any tensor's elements piece by piece, in row-major order. */
#ifndef LURN_TRAIN_PIECES_H
#define LURN_TRAIN_PIECES_H

#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* The most elements of one gathered piece, and room for them in either real type. */
enum { LURN__PIECE = 1024 };
typedef double lurn__piece[LURN__PIECE];

/* Work on long arrays is cut every LURN__CHUNK elements, whatever the number of threads.  Fewer than LURN__CHUNKS_FOR_THREADS are
 * done sooner than other threads are awake. */
enum { LURN__CHUNK = 1 << 15, LURN__CHUNKS_FOR_THREADS = 8 };

static inline int64_t lurn__chunks(int64_t n) { return n / LURN__CHUNK + (n % LURN__CHUNK != 0); }
static inline int64_t lurn__chunk_size(int64_t n, int64_t chunk) {
  int64_t rest = n - chunk * LURN__CHUNK;
  return rest < LURN__CHUNK ? rest : LURN__CHUNK;
}

static inline void lurn__for_chunks(lurn_ctx *ctx, int64_t chunks, lurn__task_fn *fn, void *arg) {
  if (chunks >= LURN__CHUNKS_FOR_THREADS) lurn__parallel(ctx, chunks, fn, arg);
  else
    for (int64_t chunk = 0; chunk < chunks; chunk++) fn(arg, chunk, 0);
}

/* Copies elements first..first+n-1 of t, counted in row-major order, to or from contiguous memory. */
void lurn__gather_values(const lurn__kernels *kernels, const lurn_tensor *t, int64_t first, int64_t n, void *to);
void lurn__scatter_pieces(const lurn__kernels *kernels, lurn_tensor *t, int64_t first, int64_t n, const void *from);

/* A contiguous copy of t outside the graph. */
lurn_status lurn__contiguous_copy(const lurn_tensor *t, lurn_tensor **out);

/* True when elements at different indices share memory, as in an expanded tensor. */
bool lurn__self_overlaps(const lurn_tensor *t);

#endif
