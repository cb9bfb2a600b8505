/* What no other test names: the registry and calls through it, what the library tells of itself, and the rest of the small functions. */
#include "counting.h"

TEST(the_library_tells_what_it_is) {
  CHECK_STR(lurn_version(), LURN_VERSION);
  CHECK(lurn_cpu_cores() >= 1);
  CHECK(lurn_blas_config() != NULL);
  CHECK(lurn_blas_kernel() != NULL);
  int threads = lurn_blas_threads();
  lurn_blas_set_threads(1);
  CHECK_EQ(lurn_blas_threads(), 1);
  lurn_blas_set_threads(threads);
}

TEST(the_registry_finds_every_op) {
  CHECK(lurn_op_count() > 100);
  for (int i = 0; i < lurn_op_count(); i++) {
    const lurn_op_info *op = lurn_op_at(i);
    CHECK(lurn_op_find(op->name) == op);
    CHECK(strlen(lurn_op_doc(op)) > 10);
  }
  CHECK(lurn_op_at(-1) == NULL);
  CHECK(lurn_op_at(lurn_op_count()) == NULL);
  CHECK(lurn_op_find("nothing") == NULL);
  CHECK(lurn_op_is_differentiable(lurn_op_find("add")));
  CHECK(!lurn_op_is_differentiable(lurn_op_find("eq")));
}

TEST(ops_are_called_through_the_registry) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *x = NULL, *two = NULL, *y = NULL;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT32, 1, (int64_t[]){3}, 5, &x), LURN_OK);
  CHECK_EQ(lurn_scalar_int(ctx, 2, &two), LURN_OK);
  _Alignas(LURN_ARG_STRIDE) char args[2 * LURN_ARG_STRIDE] = {0};
  *(lurn_tensor **)(void *)args = x;
  *(lurn_tensor **)(void *)(args + LURN_ARG_STRIDE) = two;
  double value = 0;
  CHECK_EQ(lurn_op_call(ctx, lurn_op_find("mul"), args, &y), LURN_OK);
  CHECK_EQ(lurn_tensor_dtype(y), LURN_FLOAT32);
  CHECK_EQ(lurn_tensor_get(y, (int64_t[]){2}, &value), LURN_OK);
  CHECK_NEAR(value, 10, 0);
  CHECK_EQ(lurn_op_call_inplace(ctx, lurn_op_find("sub"), args), LURN_OK);
  CHECK_EQ(lurn_tensor_get(x, (int64_t[]){0}, &value), LURN_OK);
  CHECK_NEAR(value, 3, 0);
  lurn_release(x);
  lurn_release(two);
  lurn_release(y);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(strides_are_those_of_the_view) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *x = NULL, *t = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT64, 2, (int64_t[]){3, 4}, &x), LURN_OK);
  CHECK_EQ(lurn_transpose(ctx, x, 0, 1, &t), LURN_OK);
  CHECK_EQ(lurn_tensor_strides(x)[0], 4);
  CHECK_EQ(lurn_tensor_strides(x)[1], 1);
  CHECK_EQ(lurn_tensor_strides(t)[0], 1);
  CHECK_EQ(lurn_tensor_strides(t)[1], 4);
  lurn_release(x);
  lurn_release(t);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(a_record_lives_until_its_last_reference) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_record *record = NULL;
  CHECK_EQ(lurn_record_new(ctx, &record), LURN_OK);
  CHECK(lurn_record_retain(record) == record);
  lurn_record_release(record);
  CHECK(lurn_record_get(record, LURN_RECORD_GATES) == NULL);
  lurn_record_release(record);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(random_zeros_and_ones_and_orders) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *x = NULL, *order = NULL;
  bool seen[50] = {false};
  CHECK_EQ(lurn_zeros(ctx, LURN_UINT8, 1, (int64_t[]){1000}, &x), LURN_OK);
  CHECK_EQ(lurn_bernoulli_(ctx, x, 0.25), LURN_OK);
  int ones = 0;
  for (int i = 0; i < 1000; i++) ones += ((const uint8_t *)lurn_tensor_data(x))[i];
  CHECK(ones > 190 && ones < 310); /* 250 and more than four times the deviation sqrt(1000 / 4 * 3 / 4) = 14 */
  CHECK_EQ(lurn_bernoulli_(ctx, x, 1.5), LURN_EVALUE);
  CHECK_EQ(lurn_randperm(ctx, 50, 7, &order), LURN_OK);
  const int64_t *values = lurn_tensor_data(order);
  for (int i = 0; i < 50; i++) {
    if (CHECK(values[i] >= 7 && values[i] < 57)) seen[values[i] - 7] = true;
  }
  for (int i = 0; i < 50; i++) CHECK(seen[i]);
  lurn_release(x);
  lurn_release(order);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}
