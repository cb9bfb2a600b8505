/* Clipping of gradients: norms of any size, strides, shared gradients, failures. */
#include <float.h>
#include <stdlib.h>

#include "core/tensor.h"
#include "harness.h"
#include "lurn.h"

static long allocations_left = -1; /* that still succeed; negative: no limit */

static void *limited_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  (void)ud;
  (void)old_size;
  if (new_size == 0) {
    free(ptr);
    return NULL;
  }
  if (allocations_left == 0) return NULL;
  if (allocations_left > 0) allocations_left--;
  return realloc(ptr, new_size);
}

static lurn_ctx *new_ctx(int threads) {
  lurn_config config = {.alloc = limited_alloc, .num_threads = threads, .index_base = 1};
  lurn_ctx *ctx = NULL;
  CHECK(lurn_ctx_new(&config, &ctx) == LURN_OK);
  return ctx;
}

static lurn_tensor *vector(lurn_ctx *ctx, lurn_dtype dtype, int64_t n, const double *values) {
  lurn_tensor *t = NULL;
  CHECK(lurn_zeros(ctx, dtype, 1, &n, &t) == LURN_OK);
  for (int64_t i = 0; i < n; i++) CHECK(lurn_tensor_set(t, &i, values[i]) == LURN_OK);
  return t;
}

/* A parameter of g's shape with g as its gradient; takes over the reference to g. */
static lurn_tensor *param_of(lurn_tensor *g) {
  lurn_tensor *p = NULL;
  CHECK(lurn_zeros(lurn_tensor_ctx(g), lurn_tensor_dtype(g), lurn_tensor_ndim(g), lurn_tensor_shape(g), &p) == LURN_OK);
  CHECK(lurn_tensor_set_requires_grad(p, true) == LURN_OK);
  CHECK(lurn_tensor_set_grad(p, g) == LURN_OK);
  lurn_release(g);
  return p;
}

static double grad_at(const lurn_tensor *p, int64_t i) {
  double v = NAN;
  CHECK(lurn_tensor_get(lurn_tensor_grad(p), &i, &v) == LURN_OK);
  return v;
}

static lurn_tensor *strided(lurn_tensor *t, int64_t n, int64_t stride) {
  lurn_tensor *view = NULL;
  lurn__shape shape = {.ndim = 1, .size = {n}};
  CHECK(lurn__tensor_view(t, &shape, (int64_t[LURN_MAX_DIMS]){stride}, 0, &view) == LURN_OK);
  return view;
}

static double clip(lurn_ctx *ctx, lurn_tensor *const *params, int64_t n, double max_norm) {
  double total = -1;
  CHECK(lurn_clip_grad_norm(ctx, params, n, max_norm, &total) == LURN_OK);
  return total;
}

TEST(norm_over_several_parameters) {
  lurn_ctx *ctx = new_ctx(1);
  lurn_tensor *p[3] = {param_of(vector(ctx, LURN_FLOAT32, 2, (double[]){3, 0})),
                       param_of(vector(ctx, LURN_FLOAT64, 1, (double[]){-4})),
                       param_of(vector(ctx, LURN_FLOAT32, 1, (double[]){9}))};
  CHECK(lurn_tensor_set_grad(p[2], NULL) == LURN_OK);
  CHECK_NEAR(clip(ctx, p, 3, 5.000001), 5, 0);
  CHECK_NEAR(grad_at(p[0], 0), 3, 0); /* the norm is not above */
  uint64_t version = lurn_tensor_version(lurn_tensor_grad(p[0]));
  CHECK_NEAR(clip(ctx, p, 3, 1), 5, 0);
  CHECK_NEAR(grad_at(p[0], 0), 3 / 5.000001, 1e-7);
  CHECK_NEAR(grad_at(p[1], 0), -4 / 5.000001, 1e-15);
  CHECK(lurn_tensor_version(lurn_tensor_grad(p[0])) > version);
  CHECK(lurn_tensor_grad(p[2]) == NULL);
  CHECK_NEAR(clip(ctx, p, 3, 0), 1, 1e-6);
  CHECK_NEAR(grad_at(p[1], 0), 0, 0);
  CHECK_NEAR(clip(ctx, p, 3, INFINITY), 0, 0);
  CHECK_NEAR(clip(ctx, NULL, 0, 1), 0, 0);
  CHECK(lurn_clip_grad_norm(ctx, p, 3, 1, NULL) == LURN_OK);
  for (int i = 0; i < 3; i++) lurn_release(p[i]);
  lurn_ctx_free(ctx);
}

/* Squares that overflow or vanish do not spoil the norm of finite gradients. */
TEST(norms_of_any_size) {
  static const struct {
    lurn_dtype dtype;
    double unit;
  } cases[] = {{LURN_FLOAT32, 1e-38}, {LURN_FLOAT32, 1e-30}, {LURN_FLOAT32, 1e-12},  {LURN_FLOAT32, 1e30},
               {LURN_FLOAT32, 8e37},  {LURN_FLOAT64, 1e300}, {LURN_FLOAT64, 1e-300}, {LURN_FLOAT64, 1e9}};
  lurn_ctx *ctx = new_ctx(1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double unit = cases[i].unit;
    lurn_tensor *p = param_of(vector(ctx, cases[i].dtype, 3, (double[]){3 * unit, 0, -4 * unit}));
    double tolerance = cases[i].dtype == LURN_FLOAT32 ? 1e-6 : 1e-15;
    CHECK_NEAR(clip(ctx, &p, 1, 0.5) / (5 * unit), 1, tolerance);
    if (unit > 1) CHECK_NEAR(grad_at(p, 2), -0.4, 1e-6); /* the 1e-6 of the formula is PyTorch's */
    if (unit < 1) CHECK_NEAR(grad_at(p, 2) / (-4 * unit), 1, tolerance);
    lurn_release(p);
  }
  lurn_ctx_free(ctx);
}

TEST(norms_that_are_not_finite) {
  lurn_ctx *ctx = new_ctx(1);
  for (int which = 0; which < 2; which++) {
    lurn_tensor *p[2] = {param_of(vector(ctx, LURN_FLOAT32, 2, (double[]){3, which ? -INFINITY : NAN})),
                         param_of(vector(ctx, LURN_FLOAT64, 1, (double[]){1e200}))};
    double total = clip(ctx, p, 2, 1);
    CHECK(which ? isinf(total) : isnan(total));
    CHECK_NEAR(grad_at(p[0], 0), 3, 0);
    CHECK_NEAR(grad_at(p[1], 0), 1e200, 0);
    lurn_release(p[0]);
    lurn_release(p[1]);
  }
  lurn_ctx_free(ctx);
}

TEST(strides) {
  enum { N = 40000 };
  lurn_ctx *ctx = new_ctx(1);
  lurn_tensor *room = NULL;
  CHECK(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){3 * N}, &room) == LURN_OK);
  for (int64_t i = 0; i < 3 * N; i++) lurn__f32(room)[i] = i % 3 == 0 ? (float)(i % 5) : 100;
  lurn_tensor *p = param_of(strided(room, N, 3));
  double sum = 0;
  for (int64_t i = 0; i < N; i++) sum += (double)((3 * i) % 5 * ((3 * i) % 5));
  double total = clip(ctx, &p, 1, 1);
  CHECK_NEAR(total / sqrt(sum), 1, 1e-12);
  CHECK_NEAR(grad_at(p, N - 2), (3 * (N - 2)) % 5 / total, 1e-8);
  CHECK_NEAR(lurn__f32(room)[1], 100, 0);
  lurn_release(p);
  lurn_release(room);
  lurn_ctx_free(ctx);
}

/* However gradients share memory, each ends up scaled once. */
TEST(shared_gradients) {
  lurn_ctx *ctx = new_ctx(1);
  lurn_tensor *two = vector(ctx, LURN_FLOAT64, 1, (double[]){2}), *g = vector(ctx, LURN_FLOAT64, 1, (double[]){2});
  lurn_tensor *alias = NULL;
  CHECK(lurn_detach(ctx, g, &alias) == LURN_OK);
  lurn_tensor *p[4] = {param_of(strided(two, 4, 0)), param_of(lurn_retain(g)), param_of(g), param_of(alias)};
  lurn_tensor *list[5] = {p[0], p[1], p[2], p[3], p[1]};
  CHECK_NEAR(clip(ctx, list, 5, 1), sqrt(28), 1e-12);
  for (int i = 0; i < 4; i++) CHECK_NEAR(grad_at(p[i], 0), 2 / sqrt(28), 1e-6);
  CHECK_NEAR(grad_at(p[0], 3), 2 / sqrt(28), 1e-6);
  CHECK_NEAR(clip(ctx, list, 5, 2), 1, 1e-6);
  CHECK_NEAR(*lurn__f64(two), 2, 0);
  for (int i = 0; i < 4; i++) lurn_release(p[i]);
  lurn_release(two);
  lurn_ctx_free(ctx);
}

/* A gradient that somebody holds is clipped under his eyes, as long as no other parameter has it too. */
TEST(in_place) {
  lurn_ctx *ctx = new_ctx(1);
  lurn_tensor *g = vector(ctx, LURN_FLOAT64, 1, (double[]){10}), *p = param_of(lurn_retain(g));
  clip(ctx, &p, 1, 1);
  CHECK(lurn_tensor_data(lurn_tensor_grad(p)) == lurn_tensor_data(g));
  CHECK_NEAR(*lurn__f64(g), 1, 1e-6);
  lurn_release(g);
  lurn_release(p);
  lurn_ctx_free(ctx);
}

TEST(clip_value) {
  lurn_ctx *ctx = new_ctx(1);
  lurn_tensor *one = vector(ctx, LURN_FLOAT32, 1, (double[]){7});
  lurn_tensor *p[3] = {param_of(vector(ctx, LURN_FLOAT32, 5, (double[]){-3, 0.25, 3, NAN, INFINITY})),
                       param_of(vector(ctx, LURN_FLOAT64, 2, (double[]){-0.1, 1e9})), param_of(strided(one, 3, 0))};
  CHECK(lurn_clip_grad_value(ctx, p, 3, 0.1) == LURN_OK);
  const double expected[] = {-0.1f, 0.1f, 0.1f, NAN, 0.1f};
  for (int64_t i = 0; i < 5; i++) CHECK_NEAR(grad_at(p[0], i), expected[i], 0);
  CHECK_NEAR(grad_at(p[1], 0), -0.1, 0);
  CHECK_NEAR(grad_at(p[1], 1), 0.1, 0);
  CHECK_NEAR(grad_at(p[2], 2), 0.1f, 0);
  CHECK_NEAR(*lurn__f32(one), 7, 0);
  for (int i = 0; i < 3; i++) lurn_release(p[i]);
  lurn_release(one);
  lurn_ctx_free(ctx);
}

TEST(errors) {
  lurn_ctx *ctx = new_ctx(1), *other = new_ctx(1);
  lurn_tensor *p[2] = {param_of(vector(ctx, LURN_FLOAT32, 1, (double[]){5})),
                       param_of(vector(other, LURN_FLOAT32, 1, (double[]){5}))};
  double total = 17;
  CHECK_EQ(lurn_clip_grad_norm(ctx, p, 1, -1, &total), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "clip_grad_norm: max_norm is -1; expected at least 0");
  CHECK_EQ(lurn_clip_grad_norm(ctx, p, 1, NAN, &total), LURN_EVALUE);
  CHECK_EQ(lurn_clip_grad_norm(ctx, p, 2, 1, &total), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "clip_grad_norm: parameter 2 is of another context");
  CHECK_EQ(lurn_clip_grad_value(ctx, p, 1, -2), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "clip_grad_value: max_value is -2; expected at least 0");
  CHECK_EQ(lurn_clip_grad_value(ctx, (lurn_tensor *[]){p[0], NULL}, 2, 1), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "clip_grad_value: parameter 2 is missing");
  CHECK_NEAR(total, 17, 0);
  CHECK_NEAR(grad_at(p[0], 0), 5, 0);
  lurn_release(p[0]);
  lurn_release(p[1]);
  lurn_ctx_free(ctx);
  lurn_ctx_free(other);
}

TEST(allocation_failures) {
  for (long fail = 0, done = 0; !done && fail < 20; fail++) {
    lurn_ctx *ctx = new_ctx(1);
    lurn_tensor *g = vector(ctx, LURN_FLOAT64, 1, (double[]){3});
    lurn_tensor *p[3] = {param_of(lurn_retain(g)), param_of(lurn_retain(g)), param_of(strided(g, 2, 0))};
    double total = 17;
    lurn_memory_trim(ctx);
    allocations_left = fail;
    lurn_status status = lurn_clip_grad_norm(ctx, p, 3, 1, &total);
    allocations_left = -1;
    done = status == LURN_OK;
    if (!done) {
      CHECK_EQ(status, LURN_ENOMEM);
      CHECK_NEAR(total, 17, 0);
      for (int i = 0; i < 3; i++) CHECK_NEAR(grad_at(p[i], 0), 3, 0);
      clip(ctx, p, 3, 1);
    }
    for (int i = 0; i < 3; i++) CHECK_NEAR(grad_at(p[i], 0), 0.5, 1e-6);
    CHECK_NEAR(grad_at(p[2], 1), 0.5, 1e-6);
    for (int i = 0; i < 3; i++) lurn_release(p[i]);
    lurn_release(g);
    lurn_ctx_free(ctx);
  }
}
