/* Tensors: making, reading, writing, sharing; dtypes. */
#include "core/tensor.h"

#include "counting.h"

static counting memory;
static lurn_ctx *ctx;

static void begin(void) { ctx = counted_ctx(&memory, 1); }
static void end(void) {
  lurn_ctx_free(ctx);
  check_all_freed(&memory);
}

static double at(lurn_tensor *t, int64_t i, int64_t k) {
  double v = NAN;
  CHECK_EQ(lurn_tensor_get(t, (int64_t[]){i, k}, &v), LURN_OK);
  return v;
}

static lurn_tensor *new_zeros(lurn_dtype dtype, int ndim, int64_t n, int64_t m) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_zeros(ctx, dtype, ndim, (int64_t[]){n, m}, &t), LURN_OK);
  return t;
}

/* ---- Making ------------------------------------------------------------------------------------------------ */

TEST(constructors) {
  begin();
  for (int dtype = 0; dtype < LURN_DTYPE_COUNT; dtype++) {
    lurn_tensor *t = NULL;
    CHECK_EQ(lurn_full(ctx, (lurn_dtype)dtype, 2, (int64_t[]){5, 7}, 1, &t), LURN_OK);
    CHECK_EQ(lurn_tensor_dtype(t), dtype);
    CHECK_EQ(lurn_tensor_ndim(t), 2);
    CHECK_EQ(lurn_tensor_numel(t), 35);
    CHECK(lurn_tensor_is_contiguous(t) && lurn_tensor_is_leaf(t) && !lurn_tensor_requires_grad(t));
    CHECK(lurn_tensor_maker(t) == NULL && lurn_tensor_grad(t) == NULL && lurn_tensor_ctx(t) == ctx);
    for (int64_t i = 0; i < 35; i++) CHECK_NEAR(at(t, i / 7, i % 7), 1, 0);
    lurn_release(t);
  }
  end();
}

TEST(zero_sizes_and_scalars) {
  begin();
  lurn_tensor *none = new_zeros(LURN_FLOAT32, 2, 0, 3), *scalar = new_zeros(LURN_FLOAT64, 0, 0, 0);
  CHECK_EQ(lurn_tensor_numel(none), 0);
  CHECK(lurn_tensor_is_contiguous(none) && lurn_tensor_data(none) != NULL);
  CHECK_EQ(lurn_tensor_numel(scalar), 1);
  CHECK_NEAR(at(scalar, 0, 0), 0, 0);
  lurn_release(none);
  lurn_release(scalar);
  end();
}

TEST(constructor_errors) {
  begin();
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_empty(ctx, LURN_DTYPE_COUNT, 0, NULL, &t), LURN_EDTYPE);
  CHECK_STR(lurn_error(ctx), "empty: there is no dtype number 6");
  CHECK_EQ(lurn_empty(ctx, (lurn_dtype)-1, 0, NULL, &t), LURN_EDTYPE);
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){-1}, &t), LURN_ESHAPE);
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){INT64_MAX / 16}, &t), LURN_ENOMEM);
  CHECK_EQ(lurn_from_buffer(ctx, LURN_FLOAT32, 1, (int64_t[]){2}, NULL, NULL, NULL, &t), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "from_buffer: no buffer");
  _Alignas(8) char bytes[16] = {0};
  CHECK_EQ(lurn_from_buffer(ctx, LURN_FLOAT32, 1, (int64_t[]){2}, bytes + 1, NULL, NULL, &t), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "from_buffer: the buffer is not aligned to 4 bytes");
  CHECK(t == NULL);
  end();
}

static int frees;
static void count_free(void *ud, void *data) {
  CHECK(ud == &frees && data != NULL);
  frees++;
}

TEST(host_buffers_are_shared_and_given_back) {
  begin();
  double buffer[6] = {0, 1, 2, 3, 4, 5};
  lurn_tensor *t = NULL, *row = NULL;
  frees = 0;
  CHECK_EQ(lurn_from_buffer(ctx, LURN_FLOAT64, 2, (int64_t[]){2, 3}, buffer, count_free, &frees, &t), LURN_OK);
  CHECK_EQ(lurn_select(ctx, t, 0, 1, &row), LURN_OK);
  buffer[4] = 40;
  CHECK_NEAR(at(row, 1, 0), 40, 0);
  lurn_release(t);
  CHECK_EQ(frees, 0);
  CHECK_EQ(lurn_tensor_set(row, (int64_t[]){0}, 30), LURN_OK);
  CHECK_NEAR(buffer[3], 30, 0);
  lurn_release(row);
  CHECK_EQ(frees, 1);
  for (int64_t fail = 1; fail <= 2; fail++) { /* when it fails, the buffer stays the caller's */
    lurn_memory_trim(ctx);
    memory.fail_at = memory.calls + fail;
    memory.fail_on = true;
    CHECK_EQ(lurn_from_buffer(ctx, LURN_FLOAT64, 1, (int64_t[]){6}, buffer, count_free, &frees, &t), LURN_ENOMEM);
    memory.fail_at = 0;
  }
  CHECK_EQ(frees, 1);
  end();
}

/* ---- Elements ---------------------------------------------------------------------------------------------- */

TEST(elements) {
  begin();
  lurn_tensor *t = new_zeros(LURN_INT64, 2, 2, 3);
  int64_t v = 0;
  CHECK_EQ(lurn_tensor_set_int(t, (int64_t[]){-1, -3}, INT64_MAX), LURN_OK);
  CHECK_EQ(lurn_tensor_get_int(t, (int64_t[]){1, 0}, &v), LURN_OK);
  CHECK_EQ(v, INT64_MAX);
  CHECK_EQ(lurn_tensor_get_int(t, (int64_t[]){1, 3}, &v), LURN_EINDEX);
  CHECK_STR(lurn_error(ctx), "get: index 3 in dimension 1 of size 3");
  CHECK_EQ(lurn_tensor_set_int(t, (int64_t[]){-3, 0}, 1), LURN_EINDEX);
  CHECK_STR(lurn_error(ctx), "set: index -3 in dimension 0 of size 2");
  CHECK_EQ(lurn_tensor_version(t), 1);
  lurn_release(t);
  end();
}

TEST(conversions_saturate) {
  union {
    float f32;
    double f64;
    int64_t i64;
    int32_t i32;
    uint8_t u8;
  } p;
  lurn__store(LURN_INT64, &p, 1e300);
  CHECK_EQ(p.i64, INT64_MAX);
  lurn__store(LURN_INT64, &p, -INFINITY);
  CHECK_EQ(p.i64, INT64_MIN);
  lurn__store(LURN_INT64, &p, NAN);
  CHECK_EQ(p.i64, 0);
  lurn__store(LURN_INT32, &p, 3e9);
  CHECK_EQ(p.i32, INT32_MAX);
  lurn__store_int(LURN_INT32, &p, INT64_MIN);
  CHECK_EQ(p.i32, INT32_MIN);
  lurn__store(LURN_UINT8, &p, -1);
  CHECK_EQ(p.u8, 0);
  lurn__store(LURN_UINT8, &p, 255.9);
  CHECK_EQ(p.u8, 255);
  lurn__store_int(LURN_UINT8, &p, 256);
  CHECK_EQ(p.u8, 255);
  lurn__store(LURN_BOOL, &p, 0.25);
  CHECK_EQ(p.u8, 1);
  lurn__store_int(LURN_BOOL, &p, 256);
  CHECK_EQ(p.u8, 1);
  lurn__store(LURN_FLOAT32, &p, 1e300);
  CHECK_EQ(lurn__load_int(LURN_FLOAT32, &p), INT64_MAX);
  lurn__store(LURN_INT64, &p, 9223372036854774784.0); /* the largest double below the limit */
  CHECK_EQ(p.i64, INT64_C(9223372036854774784));
}

TEST(promotion) {
  for (int a = 0; a < LURN_DTYPE_COUNT; a++)
    for (int b = 0; b < LURN_DTYPE_COUNT; b++) {
      lurn_dtype x = (lurn_dtype)a, y = (lurn_dtype)b;
      CHECK_EQ(lurn__promote(x, false, y, false), lurn__promote(y, false, x, false));
      CHECK_EQ(lurn__promote(x, true, y, false), lurn__promote(y, false, x, true));
      if (a == b) CHECK_EQ(lurn__promote(x, false, y, false), a);
    }
  CHECK_EQ(lurn__promote(LURN_INT64, false, LURN_FLOAT32, false), LURN_FLOAT32);
  CHECK_EQ(lurn__promote(LURN_UINT8, false, LURN_INT32, false), LURN_INT32);
  CHECK_EQ(lurn__promote(LURN_BOOL, false, LURN_UINT8, false), LURN_UINT8);
  CHECK_EQ(lurn__promote(LURN_FLOAT32, false, LURN_FLOAT64, true), LURN_FLOAT32);
  CHECK_EQ(lurn__promote(LURN_UINT8, false, LURN_INT64, true), LURN_UINT8);
  CHECK_EQ(lurn__promote(LURN_INT64, false, LURN_FLOAT64, true), LURN_FLOAT32);
  CHECK_EQ(lurn__promote(LURN_BOOL, false, LURN_INT64, true), LURN_INT64);
}

TEST(dtype_names) {
  for (int i = 0; i < LURN_DTYPE_COUNT; i++) {
    lurn_dtype found = LURN_DTYPE_COUNT;
    CHECK(lurn_dtype_parse(lurn_dtype_name((lurn_dtype)i), &found));
    CHECK_EQ(found, i);
  }
  lurn_dtype untouched = LURN_BOOL;
  CHECK(!lurn_dtype_parse("float", &untouched) && untouched == LURN_BOOL);
  CHECK_STR(lurn_dtype_name(LURN_DTYPE_COUNT), "unknown");
  CHECK_EQ(lurn_dtype_size((lurn_dtype)-1), 0);
}

/* ---- Sharing ----------------------------------------------------------------------------------------------- */

TEST(views_share_and_versions_grow) {
  begin();
  lurn_tensor *t = new_zeros(LURN_FLOAT32, 2, 3, 4), *row = NULL, *alias = NULL, *turned = NULL;
  CHECK_EQ(lurn_select(ctx, t, 0, 1, &row), LURN_OK);
  CHECK_EQ(lurn_detach(ctx, t, &alias), LURN_OK);
  CHECK_EQ(lurn_transpose(ctx, t, 0, 1, &turned), LURN_OK);
  CHECK(lurn_tensor_same_view(t, alias) && !lurn_tensor_same_view(t, row) && !lurn_tensor_same_view(t, turned));
  CHECK(!lurn_tensor_is_contiguous(turned) && lurn_tensor_is_contiguous(row));
  CHECK(lurn__tensor_overlaps(t, row) && lurn__tensor_overlaps(t, turned) && !lurn__tensor_overlaps(t, alias));
  CHECK_EQ(lurn_tensor_set(row, (int64_t[]){2}, 5), LURN_OK);
  CHECK_EQ(lurn_tensor_version(t), 1);
  CHECK_NEAR(at(alias, 1, 2), 5, 0);
  CHECK_NEAR(at(turned, 2, 1), 5, 0);
  lurn_tensor_touch(alias);
  CHECK_EQ(lurn_tensor_version(row), 2);
  lurn_release(t);
  CHECK_NEAR(at(row, 2, 0), 5, 0);
  lurn_release(row);
  lurn_release(alias);
  lurn_release(turned);
  end();
}

TEST(references) {
  begin();
  lurn_tensor *t = new_zeros(LURN_FLOAT32, 1, 4, 0);
  CHECK(lurn_retain(t) == t);
  lurn_release(t);
  CHECK_NEAR(at(t, 0, 0), 0, 0);
  lurn_release(t);
  lurn_release(NULL);
  CHECK_EQ(lurn_memory_live(ctx), 0);
  end();
}

/* ---- Gradient fields --------------------------------------------------------------------------------------- */

TEST(requires_grad) {
  begin();
  lurn_tensor *t = new_zeros(LURN_FLOAT32, 1, 2, 0), *i = new_zeros(LURN_INT64, 1, 2, 0), *y = NULL;
  CHECK_EQ(lurn_tensor_set_requires_grad(i, true), LURN_EDTYPE);
  CHECK_STR(lurn_error(ctx), "requires_grad: only float tensors have gradients, this is int64");
  CHECK_EQ(lurn_tensor_set_requires_grad(i, false), LURN_OK);
  CHECK_EQ(lurn_tensor_set_requires_grad(t, true), LURN_OK);
  CHECK_EQ(lurn_exp(ctx, t, &y), LURN_OK);
  CHECK(lurn_tensor_requires_grad(y) && !lurn_tensor_is_leaf(y));
  CHECK_STR(lurn_tensor_maker(y), "exp");
  CHECK_EQ(lurn_tensor_set_requires_grad(y, true), LURN_OK);
  CHECK_EQ(lurn_tensor_set_requires_grad(y, false), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx),
            "requires_grad: only of a leaf can it be changed; this tensor was made by exp; use detach()");
  CHECK_EQ(lurn_tensor_set(t, (int64_t[]){0}, 1), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "set: a single element of a tensor that requires a gradient");
  lurn_set_grad_enabled(ctx, false);
  CHECK_EQ(lurn_tensor_set(y, (int64_t[]){0}, 1), LURN_OK);
  lurn_set_grad_enabled(ctx, true);
  lurn_tensor *sum = NULL; /* y was written through itself, knowingly: it stays usable */
  CHECK_EQ(lurn_sum(ctx, y, NULL, 0, false, &sum), LURN_OK);
  lurn_release(sum);
  lurn_release(t);
  lurn_release(i);
  lurn_release(y);
  end();
}

TEST(setting_a_gradient) {
  begin();
  lurn_tensor *t = new_zeros(LURN_FLOAT32, 1, 2, 0), *wide = new_zeros(LURN_FLOAT64, 1, 2, 0);
  lurn_tensor *g = new_zeros(LURN_FLOAT32, 1, 2, 0), *h = NULL;
  CHECK_EQ(lurn_tensor_set_grad(t, wide), LURN_ESHAPE);
  CHECK_STR(lurn_error(ctx), "grad: expected float32 (2) like the tensor, got float64 (2)");
  CHECK_EQ(lurn_tensor_set_requires_grad(g, true), LURN_OK);
  CHECK_EQ(lurn_exp(ctx, g, &h), LURN_OK);
  CHECK_EQ(lurn_tensor_set_grad(t, h), LURN_OK);
  CHECK(lurn_tensor_same_view(lurn_tensor_grad(t), h));
  CHECK(!lurn_tensor_requires_grad(lurn_tensor_grad(t))); /* outside the graph */
  CHECK_EQ(lurn_tensor_set_grad(t, NULL), LURN_OK);
  CHECK(lurn_tensor_grad(t) == NULL);
  lurn_release(h);
  lurn_release(t);
  lurn_release(wide);
  lurn_release(g);
  end();
}

/* t.grad = g while g.grad = t would never be freed. */
TEST(gradients_make_no_cycle) {
  begin();
  lurn_tensor *a = new_zeros(LURN_FLOAT32, 1, 2, 0), *b = new_zeros(LURN_FLOAT32, 1, 2, 0);
  CHECK_EQ(lurn_tensor_set_grad(a, b), LURN_OK);
  CHECK_EQ(lurn_tensor_set_grad(b, a), LURN_OK);
  CHECK_EQ(lurn_tensor_set_grad(a, a), LURN_OK);
  lurn_release(a);
  lurn_release(b);
  end();
}

TEST(gradients_of_gradients_are_freed_without_recursion) {
  begin();
  enum { DEPTH = 300000 };
  lurn_tensor *first = new_zeros(LURN_FLOAT32, 0, 0, 0), *last = first;
  for (int i = 0; i < DEPTH; i++) {
    CHECK_EQ(lurn_tensor_set_grad(last, first), LURN_OK);
    last = lurn_tensor_grad(last);
  }
  lurn_release(first);
  end();
}
