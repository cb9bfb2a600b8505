/* What the tests of the graph share: one context with a counting allocator, and tensors that are released together. */
#ifndef LURN_SPEC_GRAPH_H
#define LURN_SPEC_GRAPH_H

#include "core/tensor.h"

#include "counting.h"

static counting memory;
static lurn_ctx *ctx;

static inline void begin(void) { ctx = counted_ctx(&memory, 1); }
static inline void end(void) {
  CHECK(lurn_grad_enabled(ctx));
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
  check_all_freed(&memory);
}

/* ---- Shorthand: tensors made by the test are released together --------------------------------------------- */

static lurn_tensor *pile[4096];
static int piled;

static inline lurn_tensor *keep(lurn_tensor *t) { return pile[piled++] = t; }
static inline void drop_all(void) {
  while (piled > 0) lurn_release(pile[--piled]);
}

static inline lurn_tensor *vector(int64_t n, double first, bool leaf) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_empty(ctx, LURN_FLOAT64, 1, &n, &t), LURN_OK);
  for (int64_t i = 0; i < n; i++) lurn__f64(t)[i] = first + (double)i;
  CHECK_EQ(lurn_tensor_set_requires_grad(t, leaf), LURN_OK);
  return keep(t);
}

static inline lurn_tensor *mul(lurn_tensor *a, lurn_tensor *b) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_mul(ctx, a, b, &y), LURN_OK);
  return keep(y);
}

static inline lurn_tensor *times(lurn_tensor *a, double factor) {
  lurn_tensor *number = NULL;
  CHECK_EQ(lurn_scalar(ctx, factor, &number), LURN_OK);
  return mul(a, keep(number));
}

static inline lurn_tensor *add(lurn_tensor *a, lurn_tensor *b) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_add(ctx, a, b, &y), LURN_OK);
  return keep(y);
}

static inline lurn_tensor *sum(lurn_tensor *a) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_sum(ctx, a, NULL, 0, false, &y), LURN_OK);
  return keep(y);
}

static inline lurn_tensor *narrow(lurn_tensor *a, int64_t start, int64_t n) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_narrow(ctx, a, 0, start, n, &y), LURN_OK);
  return keep(y);
}

static inline void check_vector(lurn_tensor *t, const double *expected) {
  if (!CHECK(t != NULL)) return;
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++) {
    double v = NAN;
    CHECK_EQ(lurn_tensor_get(t, &i, &v), LURN_OK);
    CHECK_NEAR(v, expected[i], 0);
  }
}
#define CHECK_VECTOR(t, ...) check_vector((t), (const double[]){__VA_ARGS__})

static inline void backward(lurn_tensor *y) { CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK); }

static inline void check_backward_fails(lurn_tensor *y, lurn_status status, const char *text) {
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), status);
  CHECK_HAS(lurn_error(ctx), text);
}

static inline lurn_status grad_of(lurn_tensor *y, lurn_tensor *x, bool retain, lurn_tensor **out) {
  return lurn_grad(ctx, &y, 1, NULL, &x, 1, retain, out);
}

static inline lurn_tensor *filled(int ndim, int64_t a, int64_t b, int64_t c, double value, bool leaf) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT64, ndim, (int64_t[]){a, b, c}, value, &t), LURN_OK);
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++) lurn__f64(t)[i] += 0.01 * (double)(i * 7 % 13);
  CHECK_EQ(lurn_tensor_set_requires_grad(t, leaf), LURN_OK);
  return keep(t);
}

#endif
