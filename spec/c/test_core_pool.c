/* The pool: sizes, alignment, reuse, limits. */
#include "core/pool.h"

#include "core/rng.h"
#include "counting.h"

/* Refuses everything, but notes what was asked for. */
static size_t asked;
static void *note(void *ud, void *ptr, size_t old_size, size_t new_size) {
  (void)ud;
  (void)ptr;
  (void)old_size;
  asked = new_size;
  return NULL;
}

static void check_class(size_t bytes) {
  lurn__pool pool;
  lurn__pool_init(&pool, note, NULL, 0);
  asked = 0;
  CHECK(lurn__pool_take(&pool, bytes) == NULL);
  size_t block = asked - LURN__ALIGN, waste = block - bytes;
  bool holds = block >= bytes && block % LURN__ALIGN == 0 && (waste < LURN__ALIGN || waste <= bytes / 8 || bytes == 0);
  if (!CHECK(holds)) printf("     %zu bytes in a block of %zu\n", bytes, block);
}

TEST(size_classes) {
  for (size_t bytes = 0; bytes < 20000; bytes++) check_class(bytes);
  for (int shift = 14; shift < 60; shift++)
    for (size_t around = 0; around < 5; around++) {
      check_class(((size_t)1 << shift) - 2 + around);
      check_class(((size_t)9 << (shift - 3)) - 2 + around);
      check_class(((size_t)15 << (shift - 3)) - 2 + around);
    }
  for (uint64_t i = 0; i < 20000; i++) {
    uint32_t word[4];
    lurn__philox(7, i, word);
    check_class((((size_t)word[0] << 32) | word[1]) >> (5 + word[2] % 50));
  }
}

TEST(too_large_is_never_asked_for) {
  lurn__pool pool;
  lurn__pool_init(&pool, note, NULL, 0);
  asked = 1;
  CHECK(lurn__pool_take(&pool, SIZE_MAX) == NULL);
  CHECK(lurn__pool_take(&pool, (size_t)PTRDIFF_MAX) == NULL);
  CHECK_EQ(asked, 1);
  CHECK_EQ(pool.live, 0);
}

/* Blocks past the classes: what was asked for and no more, aligned, gone when given back; the cache makes room for them. */
TEST(exact_blocks) {
  counting c = {0};
  lurn__pool pool;
  lurn__pool_init(&pool, counting_alloc, &c, 0);
  for (size_t bytes = 1; bytes < 3000000; bytes = bytes * 3 + 1) {
    unsigned char *p = lurn__pool_take_exact(&pool, bytes);
    if (!CHECK(p != NULL)) return;
    CHECK_EQ((uintptr_t)p % LURN__ALIGN, 0);
    memset(p, 7, bytes);
    CHECK_EQ(pool.live, bytes);
    CHECK_EQ(c.bytes, bytes + LURN__ALIGN);
    lurn__pool_give_exact(&pool, p, bytes);
    CHECK_EQ(pool.live + pool.cached, 0);
    CHECK_EQ(c.blocks, 0);
  }
  lurn__pool_give_exact(&pool, NULL, 9);
  CHECK(lurn__pool_take_exact(&pool, SIZE_MAX) == NULL);
  lurn__pool_give(&pool, lurn__pool_take(&pool, 100), 100);
  CHECK_EQ(c.blocks, 1);
  c.fail_at = c.calls + 1;
  void *p = lurn__pool_take_exact(&pool, 100);
  CHECK(p != NULL && pool.cached == 0);
  lurn__pool_give_exact(&pool, p, 100);
  check_all_freed(&c);
}

TEST(alignment_and_bounds) {
  counting c = {0};
  lurn__pool pool;
  void *p[64];
  size_t n[64];
  lurn__pool_init(&pool, counting_alloc, &c, 0);
  for (int round = 0; round < 20; round++) {
    for (size_t i = 0; i < 64; i++) {
      n[i] = i * i * 3 + (size_t)round;
      p[i] = lurn__pool_take(&pool, n[i]);
      CHECK_EQ((uintptr_t)p[i] % LURN__ALIGN, 0);
      memset(p[i], (int)i, n[i]);
    }
    for (size_t i = 0; i < 64; i++)
      for (size_t k = 0; k < n[i]; k++)
        if (((unsigned char *)p[i])[k] != i) CHECK(false);
    for (size_t i = 0; i < 64; i++)
      lurn__pool_give(&pool, p[(i * 37 + (size_t)round) % 64], n[(i * 37 + (size_t)round) % 64]);
  }
  CHECK_EQ(pool.live, 0);
  lurn__pool_trim(&pool);
  CHECK_EQ(pool.cached, 0);
  check_all_freed(&c);
}

TEST(reuse) {
  counting c = {0};
  lurn__pool pool;
  lurn__pool_init(&pool, counting_alloc, &c, 0);
  void *p = lurn__pool_take(&pool, 1000);
  lurn__pool_give(&pool, p, 1000);
  CHECK(lurn__pool_take(&pool, 1020) == p); /* the same class, the last given back first */
  CHECK_EQ(pool.host_allocations, 1);
  void *q = lurn__pool_take(&pool, 1000);
  CHECK(q != p);
  CHECK_EQ(pool.host_allocations, 2);
  CHECK_EQ(pool.live, 2048);
  lurn__pool_give(&pool, p, 1020);
  lurn__pool_give(&pool, q, 1000);
  CHECK_EQ(pool.cached, 2048);
  lurn__pool_trim(&pool);
  check_all_freed(&c);
}

TEST(cache_limit) {
  counting c = {0};
  lurn__pool pool;
  void *p[10];
  lurn__pool_init(&pool, counting_alloc, &c, 4096);
  for (int i = 0; i < 10; i++) p[i] = lurn__pool_take(&pool, 1024);
  for (int i = 0; i < 10; i++) lurn__pool_give(&pool, p[i], 1024);
  CHECK_EQ(pool.cached, 4096);
  CHECK_EQ(c.blocks, 4);
  lurn__pool_trim(&pool);
  check_all_freed(&c);
}

/* Sizes that are no longer used do not keep the cache from those that are: a loop calls the host in its first round alone. */
TEST(cache_keeps_what_is_used) {
  counting c = {0};
  lurn__pool pool;
  lurn__pool_init(&pool, counting_alloc, &c, 4096);
  for (size_t bytes = 64; bytes <= 512; bytes += 64) {
    void *p = lurn__pool_take(&pool, bytes), *q = lurn__pool_take(&pool, bytes);
    lurn__pool_give(&pool, p, bytes);
    lurn__pool_give(&pool, q, bytes);
  }
  CHECK(pool.cached > 3000);
  for (int round = 0; round < 5; round++) {
    void *p = lurn__pool_take(&pool, 2048), *q = lurn__pool_take(&pool, 1024);
    lurn__pool_give(&pool, p, 2048);
    lurn__pool_give(&pool, q, 1024);
    if (round == 0) c.taken = 0;
    CHECK(pool.cached <= 4096);
  }
  CHECK_EQ(c.taken, 0);
  void *p = lurn__pool_take(&pool, 5000); /* more than the cache may hold */
  lurn__pool_give(&pool, p, 5000);
  CHECK_EQ(pool.cached, c.bytes - c.blocks * LURN__ALIGN);
  CHECK(pool.cached >= 3072);
  lurn__pool_trim(&pool);
  check_all_freed(&c);
}

TEST(cache_is_given_back_before_failing) {
  counting c = {0};
  lurn__pool pool;
  lurn__pool_init(&pool, counting_alloc, &c, 0);
  void *p = lurn__pool_take(&pool, 1000);
  lurn__pool_give(&pool, p, 1000);
  c.fail_at = c.calls + 1; /* the first answer to the next request is no */
  void *q = lurn__pool_take(&pool, 5000);
  CHECK(q != NULL);
  CHECK_EQ(pool.cached, 0);
  CHECK_EQ(c.blocks, 1);
  lurn__pool_give(&pool, q, 5000);
  lurn__pool_trim(&pool);
  check_all_freed(&c);
}

TEST(failure_changes_nothing) {
  counting c = {.fail_at = 1, .fail_on = true};
  lurn__pool pool;
  lurn__pool_init(&pool, counting_alloc, &c, 0);
  CHECK(lurn__pool_take(&pool, 1000) == NULL);
  CHECK_EQ(pool.live, 0);
  CHECK_EQ(pool.cached, 0);
  CHECK_EQ(pool.host_allocations, 0);
}

TEST(the_context_counts) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){1 << 16}, &t), LURN_OK);
  size_t live = lurn_memory_live(ctx);
  CHECK(live >= 4 << 16 && live < (4 << 16) + 4096);
  CHECK_EQ(lurn_memory_held(ctx), live);
  lurn_release(t);
  CHECK_EQ(lurn_memory_live(ctx), 0);
  CHECK_EQ(lurn_memory_held(ctx), live);
  lurn_memory_trim(ctx);
  CHECK_EQ(lurn_memory_held(ctx), 0);
  CHECK_EQ(c.blocks, 1); /* the context itself */
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}
