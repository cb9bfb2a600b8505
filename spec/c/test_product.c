/* Matrix products of the op layer: own kernels, the BLAS library, and any number of threads. */
#include "harness.h"
#include "ops/product.h"

/* A (m, k) and B (k, n) of small whole numbers, so that every order of the sum gives the same bits. */
static lurn_tensor *numbers(lurn_ctx *ctx, lurn_dtype dtype, int64_t rows, int64_t cols, int64_t seed) {
  lurn_tensor *t = NULL;
  if (lurn_empty(ctx, dtype, 2, (int64_t[]){rows, cols}, &t) != LURN_OK) return NULL;
  for (int64_t i = 0; i < rows * cols; i++)
    lurn__store(dtype, (char *)lurn__tensor_ptr(t) + i * (int64_t)lurn__tensor_width(t),
                (double)((i * 7 + seed) % 11 - 5));
  return t;
}

/* The product of a and b, either possibly transposed first, by a context's matmul. */
static bool same_as_naive(lurn_ctx *ctx, lurn_dtype dtype, int64_t m, int64_t n, int64_t k, bool turn_a, bool turn_b) {
  lurn_tensor *a = numbers(ctx, dtype, turn_a ? k : m, turn_a ? m : k, 1), *b;
  b = numbers(ctx, dtype, turn_b ? n : k, turn_b ? k : n, 2);
  lurn_tensor *at = NULL, *bt = NULL, *c = NULL;
  bool same = lurn_transpose(ctx, a, 0, turn_a ? 1 : 0, &at) == LURN_OK &&
              lurn_transpose(ctx, b, 0, turn_b ? 1 : 0, &bt) == LURN_OK && lurn_matmul(ctx, at, bt, &c) == LURN_OK;
  for (int64_t i = 0; same && i < m; i++)
    for (int64_t j = 0; same && j < n; j++) {
      double sum = 0, x, y, z;
      for (int64_t l = 0; l < k; l++) {
        same = same && lurn_tensor_get(at, (int64_t[]){i, l}, &x) == LURN_OK &&
               lurn_tensor_get(bt, (int64_t[]){l, j}, &y) == LURN_OK;
        sum += x * y;
      }
      same = same && lurn_tensor_get(c, (int64_t[]){i, j}, &z) == LURN_OK && z == sum;
    }
  lurn_release(a);
  lurn_release(b);
  lurn_release(at);
  lurn_release(bt);
  lurn_release(c);
  return same;
}

static void check_all(const lurn_config *config) {
  static const int64_t sizes[][3] = {{1, 1, 1},    {1, 5, 3},     {7, 1, 4}, {3, 4, 1},
                                     {130, 17, 9}, {300, 70, 40}, {4, 3, 0}};
  lurn_ctx *ctx;
  if (!CHECK_EQ(lurn_ctx_new(config, &ctx), LURN_OK)) return;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    for (int turns = 0; turns < 4; turns++)
      for (lurn_dtype dtype = LURN_FLOAT32; dtype <= LURN_FLOAT64; dtype++)
        CHECK(same_as_naive(ctx, dtype, sizes[i][0], sizes[i][1], sizes[i][2], (turns & 1) != 0, turns >= 2));
  lurn_ctx_free(ctx);
}

TEST(own_kernels) { check_all(&(lurn_config){.num_threads = 1}); }
TEST(own_kernels_on_threads) { check_all(&(lurn_config){.num_threads = 3}); }
TEST(scalar_kernels) { check_all(&(lurn_config){.num_threads = 1, .isa_set = true}); }
TEST(by_blas) { check_all(&(lurn_config){.num_threads = 1, .use_blas = true}); }
TEST(by_blas_on_threads) { check_all(&(lurn_config){.num_threads = 3, .use_blas = true}); }
