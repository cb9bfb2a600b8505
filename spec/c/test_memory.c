/* Memory over a whole training step: none asked of the host once it runs, and every request failing in turn. */
#include "core/context.h"

#include "counting.h"
#include "training.h"

TEST(steady_training_asks_for_nothing) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 1)};
  double first = 0, last = 0;
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  CHECK_EQ(training_step(&m, &first), LURN_OK);
  CHECK_EQ(training_step(&m, &last), LURN_OK);
  uint64_t before = lurn_memory_allocations(m.ctx);
  int64_t calls = c.calls;
  size_t live = lurn_memory_live(m.ctx);
  for (int i = 0; i < 100; i++) {
    lurn_optim_zero_grad(m.opt);
    CHECK_EQ(training_step(&m, &last), LURN_OK);
  }
  CHECK_EQ(lurn_memory_allocations(m.ctx), before);
  CHECK_EQ(c.calls, calls);
  CHECK_EQ(lurn_memory_live(m.ctx), live);
  CHECK(last < first / 2);
  training_free(&m);
  CHECK_EQ(lurn_memory_live(m.ctx), 0);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
}

/* The whole run up to and including two steps; what failed is told by the status. */
static lurn_status whole_run(training *m, uint64_t *bits) {
  double loss;
  lurn_status status = training_build(m, 1);
  for (int i = 0; i < 2 && status == LURN_OK; i++) status = training_step(m, &loss);
  if (status == LURN_OK) *bits = training_bits(m);
  training_free(m);
  return status;
}

/* Fails the allocation number n of a fresh context, once or from then on; true when the run needed fewer. */
static bool run_with_failure(int64_t n, bool from_then_on, uint64_t expected) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 1)};
  uint64_t bits = 0;
  c.fail_at = c.calls + n;
  c.fail_on = from_then_on;
  lurn_status status = whole_run(&m, &bits);
  bool reached = c.calls >= c.fail_at;
  /* A single failure may be met by giving back the cache, which must not show in the result. */
  if (status == LURN_OK) CHECK_EQ(bits, expected);
  else CHECK(status == LURN_ENOMEM && strstr(lurn_error(m.ctx), "out of memory") != NULL);
  if (from_then_on && reached) CHECK_EQ(status, LURN_ENOMEM);
  CHECK_EQ(lurn_memory_live(m.ctx), 0);
  c.fail_at = 0;
  CHECK_EQ(whole_run(&m, &bits), LURN_OK);
  CHECK_EQ(bits, expected);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
  return !reached;
}

static uint64_t expected_bits(void) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 1)};
  uint64_t bits = 0;
  CHECK_EQ(whole_run(&m, &bits), LURN_OK);
  lurn_ctx_free(m.ctx);
  return bits;
}

TEST(every_allocation_fails_once) {
  uint64_t expected = expected_bits();
  int64_t n = 1;
  while (!run_with_failure(n, false, expected) && n < 10000) n++;
  CHECK(n > 50 && n < 10000);
}

TEST(every_allocation_fails_from_then_on) {
  uint64_t expected = expected_bits();
  int64_t n = 1;
  while (!run_with_failure(n, true, expected) && n < 10000) n++;
  CHECK(n > 50 && n < 10000);
}

/* Pooled memory hides requests from the host: with a pool that keeps nothing, every single one can fail. */
static lurn_ctx *uncached_ctx(counting *c) {
  lurn_config config = {.alloc = counting_alloc, .alloc_ud = c, .num_threads = 1, .cache_limit = 1};
  lurn_ctx *ctx = NULL;
  *c = (counting){0};
  CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
  return ctx;
}

/* A step that fails leaves parameters and optimizer as they were; gradients too when it was backward or before. */
TEST(a_failed_step_can_be_repeated) {
  counting c;
  training m = {.ctx = uncached_ctx(&c)};
  double loss = 0;
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  CHECK_EQ(training_step(&m, &loss), LURN_OK);
  lurn_optim_zero_grad(m.opt);
  CHECK_EQ(training_step(&m, &loss), LURN_OK);
  uint64_t expected = training_bits(&m), started = 0;
  training_free(&m);
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  CHECK_EQ(training_step(&m, &loss), LURN_OK);
  started = training_bits(&m);
  int64_t live = c.blocks, failures = 0;
  for (int64_t n = 1; n < 10000; n++) {
    lurn_optim_zero_grad(m.opt);
    c.fail_at = c.calls + n;
    lurn_status status = training_step(&m, &loss);
    c.fail_at = 0;
    if (status == LURN_OK) break;
    CHECK_EQ(status, LURN_ENOMEM);
    CHECK_EQ(training_bits(&m), started);
    lurn_optim_zero_grad(m.opt);
    CHECK(c.blocks <= live);
    failures++;
  }
  CHECK(failures > 100);
  CHECK_EQ(training_bits(&m), expected);
  training_free(&m);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
}

/* Backward that fails leaves every .grad, also one that was there before, bit for bit. */
TEST(a_failed_backward_changes_no_gradient) {
  counting c;
  training m = {.ctx = uncached_ctx(&c)};
  lurn_tensor *loss = NULL;
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  CHECK_EQ(training_forward(&m, &loss), LURN_OK);
  CHECK_EQ(lurn_backward(m.ctx, loss, NULL, false), LURN_OK);
  lurn_release(loss);
  CHECK_EQ(lurn_tensor_set_grad(m.p[6], NULL), LURN_OK); /* one that has none yet */
  float before[TRAIN_C * TRAIN_H];
  memcpy(before, lurn_tensor_data(lurn_tensor_grad(m.p[5])), sizeof before);
  int64_t failures = 0;
  for (int64_t n = 1; n < 10000; n++) {
    CHECK_EQ(training_forward(&m, &loss), LURN_OK);
    c.fail_at = c.calls + n;
    lurn_status status = lurn_backward(m.ctx, loss, NULL, false);
    c.fail_at = 0;
    lurn_release(loss);
    if (status == LURN_OK) break;
    CHECK(memcmp(before, lurn_tensor_data(lurn_tensor_grad(m.p[5])), sizeof before) == 0);
    CHECK(lurn_tensor_grad(m.p[6]) == NULL);
    CHECK(lurn_grad_enabled(m.ctx));
    failures++;
  }
  CHECK(failures > 30);
  CHECK(lurn_tensor_grad(m.p[6]) != NULL);
  const float *after = lurn_tensor_data(lurn_tensor_grad(m.p[5]));
  for (int i = 0; i < TRAIN_C * TRAIN_H; i++) CHECK_NEAR(after[i], 2 * before[i], 0);
  training_free(&m);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
}

TEST(forward_without_backward_frees_itself) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 1)};
  lurn_tensor *loss = NULL;
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  size_t live = lurn_memory_live(m.ctx);
  CHECK_EQ(training_forward(&m, &loss), LURN_OK);
  CHECK(lurn_memory_live(m.ctx) > live + 4096);
  lurn_release(loss);
  CHECK_EQ(lurn_memory_live(m.ctx), live);
  training_free(&m);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
}

/* Saved tensors go as backward passes, while the loss is still held. */
TEST(backward_frees_what_was_saved) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 1)};
  lurn_tensor *loss = NULL;
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  CHECK_EQ(training_forward(&m, &loss), LURN_OK);
  CHECK_EQ(lurn_backward(m.ctx, loss, NULL, false), LURN_OK);
  lurn_optim_zero_grad(m.opt);
  size_t live = lurn_memory_live(m.ctx);
  lurn_release(loss);
  CHECK(live - lurn_memory_live(m.ctx) < 4096); /* the loss and its node */
  training_free(&m);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
}
