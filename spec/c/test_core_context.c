/* Contexts: settings, error texts, lifetime. */
#include "core/context.h"

#include "counting.h"

TEST(defaults) {
  lurn_ctx *ctx = NULL;
  CHECK_EQ(lurn_ctx_new(NULL, &ctx), LURN_OK);
  CHECK_STR(lurn_error(ctx), "");
  CHECK(lurn_num_threads(ctx) >= 1);
  CHECK(lurn_grad_enabled(ctx));
  CHECK_EQ(lurn_memory_live(ctx), 0);
  CHECK_EQ(lurn_memory_held(ctx), 0);
  CHECK_EQ(lurn_memory_allocations(ctx), 0);
  lurn_ctx_free(ctx);
  lurn_ctx_free(NULL);
}

TEST(settings) {
  lurn_config config = {.num_threads = 3, .isa_set = true, .max_isa = LURN_ISA_SCALAR, .seed = 42};
  lurn_ctx *ctx = NULL;
  uint64_t state[2] = {0, 9};
  CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
  CHECK_EQ(lurn_num_threads(ctx), 3);
  CHECK_STR(lurn_isa_name(ctx), "scalar");
  lurn_rng_state(ctx, state);
  CHECK_EQ(state[0], 42);
  CHECK_EQ(state[1], 0);
  lurn_ctx_free(ctx);
}

TEST(best_isa_is_what_the_machine_has) {
  lurn_config config = {.isa_set = true, .max_isa = LURN_ISA_BEST};
  lurn_ctx *ctx = NULL;
  CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
  CHECK_STR(lurn_isa_name(ctx), lurn_cpu_isa_name());
  lurn_ctx_free(ctx);
}

TEST(wrong_settings) {
  lurn_ctx *untouched = (lurn_ctx *)&untouched, *ctx = untouched;
  CHECK_EQ(lurn_ctx_new(&(lurn_config){.num_threads = -1}, &ctx), LURN_EVALUE);
  CHECK_EQ(lurn_ctx_new(&(lurn_config){.num_threads = 257}, &ctx), LURN_EVALUE);
  CHECK(ctx == untouched);
}

TEST(no_memory_for_the_context) {
  counting c = {.fail_at = 1};
  lurn_ctx *ctx = NULL;
  CHECK_EQ(lurn_ctx_new(&(lurn_config){.alloc = counting_alloc, .alloc_ud = &c}, &ctx), LURN_ENOMEM);
  CHECK(ctx == NULL);
  check_all_freed(&c);
}

TEST(number_of_threads) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  CHECK_EQ(lurn_set_num_threads(ctx, 0), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "set_num_threads: 0 is not between 1 and 256");
  CHECK_EQ(lurn_set_num_threads(ctx, 257), LURN_EVALUE);
  CHECK_EQ(lurn_num_threads(ctx), 1);
  CHECK_EQ(lurn_set_num_threads(ctx, 5), LURN_OK);
  CHECK_EQ(lurn_num_threads(ctx), 5);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(error_text_may_hold_the_former_one) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  CHECK_EQ(lurn_fail(ctx, LURN_EVALUE, "first %d", 1), LURN_EVALUE);
  CHECK_EQ(lurn_fail(ctx, LURN_EIO, "second, after: %s", lurn_error(ctx)), LURN_EIO);
  CHECK_STR(lurn_error(ctx), "second, after: first 1");
  lurn_ctx_free(ctx);
}

TEST(error_text_is_cut) {
  static char text[5000];
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  memset(text, 'x', sizeof text - 1);
  CHECK_EQ(lurn_fail(ctx, LURN_EVALUE, "%s", text), LURN_EVALUE);
  CHECK_EQ(strlen(lurn_error(ctx)), 1023);
  lurn_ctx_free(ctx);
}

TEST(status_names) {
  for (int i = 0; i < LURN_STATUS_COUNT; i++) CHECK(strlen(lurn_status_name((lurn_status)i)) > 0);
  CHECK_STR(lurn_status_name(LURN_ENOMEM), "out of memory");
  CHECK_STR(lurn_status_name(LURN_STATUS_COUNT), "unknown");
  CHECK_STR(lurn_status_name((lurn_status)-1), "unknown");
}

TEST(out_of_memory_tells_how_much) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *t = NULL;
  c.fail_at = c.calls + 1;
  c.fail_on = true;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){1000}, &t), LURN_ENOMEM);
  CHECK(t == NULL);
  CHECK_HAS(lurn_error(ctx), "out of memory: ");
  c.fail_at = 0;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){1000}, &t), LURN_OK);
  lurn_release(t);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(arrays_are_checked) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  CHECK(lurn__alloc_array(ctx, SIZE_MAX / 2, 4) == NULL);
  CHECK_HAS(lurn_error(ctx), "out of memory: ");
  CHECK(lurn__alloc(ctx, SIZE_MAX) == NULL);
  CHECK(lurn__alloc(ctx, SIZE_MAX - 40) == NULL); /* with the alignment it would wrap around */
  CHECK_EQ(c.calls, 1);                           /* the context alone: the host was not asked */
  lurn__free(ctx, NULL, 100);
  void *p = lurn__alloc(ctx, 0);
  CHECK(p != NULL);
  lurn__free(ctx, p, 0);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(tensors_outlive_their_context) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 2);
  lurn_tensor *t = NULL, *y = NULL;
  double v = 0;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT32, 2, (int64_t[]){300, 400}, 3, &t), LURN_OK);
  lurn_ctx_free(ctx);
  lurn_ctx_free(ctx); /* a second time: nothing */
  CHECK_EQ(lurn_tensor_get(t, (int64_t[]){1, 2}, &v), LURN_OK);
  CHECK_NEAR(v, 3, 0);
  CHECK_EQ(lurn_add(lurn_tensor_ctx(t), t, t, &y), LURN_OK); /* and can be computed with, also on threads */
  CHECK_EQ(lurn_tensor_get(y, (int64_t[]){299, 399}, &v), LURN_OK);
  CHECK_NEAR(v, 6, 0);
  lurn_release(t);
  CHECK(c.blocks > 0);
  lurn_release(y);
  check_all_freed(&c);
}

TEST(graphs_and_records_outlive_their_context) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *x = NULL, *y = NULL;
  lurn_record *record = NULL;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT32, 0, NULL, 3, &x), LURN_OK);
  CHECK_EQ(lurn_tensor_set_requires_grad(x, true), LURN_OK);
  CHECK_EQ(lurn_mul(ctx, x, x, &y), LURN_OK);
  CHECK_EQ(lurn_record_new(ctx, &record), LURN_OK);
  lurn_ctx_free(ctx);
  lurn_release(x);
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK);
  lurn_release(y);
  CHECK(c.blocks > 0);
  lurn_record_release(record);
  check_all_freed(&c);
}

TEST(contexts_do_not_mix) {
  counting c, d;
  lurn_ctx *one = counted_ctx(&c, 1), *two = counted_ctx(&d, 1);
  lurn_tensor *a = NULL, *b = NULL, *y = NULL;
  CHECK_EQ(lurn_zeros(one, LURN_FLOAT32, 0, NULL, &a), LURN_OK);
  CHECK_EQ(lurn_zeros(two, LURN_FLOAT32, 0, NULL, &b), LURN_OK);
  CHECK_EQ(lurn_add(one, a, b, &y), LURN_ESTATE);
  CHECK_STR(lurn_error(one), "add: b belongs to another context");
  CHECK_EQ(lurn_tensor_set_grad(a, b), LURN_ESTATE);
  CHECK_STR(lurn_error(one), "grad: the gradient belongs to another context");
  CHECK_EQ(lurn_tensor_set_requires_grad(b, true), LURN_OK);
  CHECK_EQ(lurn_backward(one, b, NULL, false), LURN_ESTATE);
  CHECK_STR(lurn_error(one), "backward: a tensor belongs to another context");
  CHECK_STR(lurn_error(two), "");
  lurn_release(a);
  lurn_release(b);
  lurn_ctx_free(one);
  lurn_ctx_free(two);
  check_all_freed(&c);
  check_all_freed(&d);
}
