/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC11).
 * Block i of a seed's stream is a pure function of (seed, i), so results do not depend on the number of threads. */
#ifndef LURN_CORE_RNG_H
#define LURN_CORE_RNG_H

#include "core/context.h"

/* Four random 32-bit words: block number `block` of the stream `seed`. */
void lurn__philox(uint64_t seed, uint64_t block, uint32_t out[4]);
/* Takes `count` blocks of the context's stream and returns the number of the first. */
uint64_t lurn__rng_take(lurn_ctx *ctx, uint64_t count);
/* Uniform on [0, 1) with 24 and 53 random bits. */
static inline float lurn__unit_float(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }
static inline double lurn__unit_double(uint32_t high, uint32_t low) {
  return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

#endif
