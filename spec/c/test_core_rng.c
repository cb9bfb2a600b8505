/* Philox4x32-10 against the vectors published with Random123, and the streams made from it. */
#include "core/rng.h"

#include "harness.h"

/* Written from the paper: any counter, any key. */
static void reference(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c[4], k[2] = {key[0], key[1]};
  memcpy(c, counter, sizeof c);
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
    memcpy(c, next, sizeof c);
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  memcpy(out, c, sizeof c);
}

static void check_words(const uint32_t a[4], const uint32_t b[4]) {
  for (int i = 0; i < 4; i++) CHECK_EQ(a[i], b[i]);
}

TEST(known_answers) {
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
    uint32_t out[4];
    reference(vectors[i].counter, vectors[i].key, out);
    check_words(out, vectors[i].out);
  }
  uint32_t ours[4];
  lurn__philox(0, 0, ours);
  check_words(ours, vectors[0].out);
}

/* The seed is the key, low word first; the block is the low half of the counter, low word first. */
TEST(seed_and_block_are_key_and_counter) {
  for (uint64_t i = 0; i < 1000; i++) {
    uint64_t seed = i * 0x9E3779B97F4A7C15u, block = i * 0xD1B54A32D192ED03u + i;
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0},
             key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t expected[4], ours[4];
    reference(counter, key, expected);
    lurn__philox(seed, block, ours);
    check_words(ours, expected);
  }
}

TEST(units_are_below_one) {
  CHECK(lurn__unit_float(0) == 0 && lurn__unit_float(~0u) < 1 && lurn__unit_float(~0u) > 0.9999999f);
  CHECK(lurn__unit_double(0, 0) == 0 && lurn__unit_double(~0u, ~0u) < 1 && lurn__unit_double(~0u, ~0u) > 1 - 0x1p-52);
}

static lurn_tensor *draw(lurn_ctx *ctx) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_empty(ctx, LURN_FLOAT32, 1, (int64_t[]){1001}, &t), LURN_OK);
  CHECK_EQ(lurn_normal_(ctx, t, 0, 1), LURN_OK);
  return t;
}

static void check_same(lurn_tensor *a, lurn_tensor *b, bool same) {
  CHECK_EQ(memcmp(lurn_tensor_data(a), lurn_tensor_data(b), 1001 * sizeof(float)) == 0, same);
  lurn_release(a);
  lurn_release(b);
}

TEST(state_can_be_taken_back) {
  lurn_ctx *ctx = NULL;
  uint64_t state[2];
  CHECK_EQ(lurn_ctx_new(&(lurn_config){.seed = 5}, &ctx), LURN_OK);
  lurn_release(draw(ctx));
  lurn_rng_state(ctx, state);
  CHECK_EQ(state[0], 5);
  CHECK(state[1] > 0);
  lurn_tensor *a = draw(ctx), *b = draw(ctx);
  lurn_set_rng_state(ctx, state);
  check_same(a, draw(ctx), true);
  check_same(b, draw(ctx), true);
  check_same(draw(ctx), draw(ctx), false);
  lurn_manual_seed(ctx, 5);
  a = draw(ctx);
  lurn_manual_seed(ctx, 6);
  b = draw(ctx);
  lurn_manual_seed(ctx, 5);
  check_same(lurn_retain(a), draw(ctx), true);
  check_same(a, b, false);
  lurn_ctx_free(ctx);
}

TEST(threads_do_not_change_the_stream) {
  enum { N = 100003 };
  lurn_tensor *t[3] = {NULL};
  lurn_ctx *ctx[3] = {NULL};
  for (int i = 0; i < 3; i++) {
    CHECK_EQ(lurn_ctx_new(&(lurn_config){.seed = 11, .num_threads = 1 << i}, &ctx[i]), LURN_OK);
    CHECK_EQ(lurn_empty(ctx[i], LURN_FLOAT64, 1, (int64_t[]){N}, &t[i]), LURN_OK);
    CHECK_EQ(lurn_normal_(ctx[i], t[i], 0, 1), LURN_OK);
    CHECK_EQ(memcmp(lurn_tensor_data(t[0]), lurn_tensor_data(t[i]), N * sizeof(double)), 0);
  }
  for (int i = 0; i < 3; i++) {
    lurn_release(t[i]);
    lurn_ctx_free(ctx[i]);
  }
}
