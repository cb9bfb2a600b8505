#include "core/rng.h"

void lurn__philox(uint64_t seed, uint64_t block, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c0 = n0;
    c1 = (uint32_t)p1;
    c2 = n2;
    c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

uint64_t lurn__rng_take(lurn_ctx *ctx, uint64_t count) {
  uint64_t first = ctx->rng_block;
  ctx->rng_block += count;
  return first;
}

void lurn_manual_seed(lurn_ctx *ctx, uint64_t seed) {
  ctx->rng_seed = seed;
  ctx->rng_block = 0;
}

void lurn_rng_state(const lurn_ctx *ctx, uint64_t out[2]) {
  out[0] = ctx->rng_seed;
  out[1] = ctx->rng_block;
}

void lurn_set_rng_state(lurn_ctx *ctx, const uint64_t state[2]) {
  ctx->rng_seed = state[0];
  ctx->rng_block = state[1];
}
