/* Shapes: checked sizes, broadcasting, dimensions, strides. */
#include "core/shape.h"

#include "counting.h"

static lurn_ctx *ctx_of_base(int base) {
  lurn_ctx *ctx = NULL;
  CHECK_EQ(lurn_ctx_new(&(lurn_config){.index_base = base, .num_threads = 1}, &ctx), LURN_OK);
  return ctx;
}

TEST(make_checks_sizes) {
  lurn_ctx *ctx = ctx_of_base(0);
  lurn__shape shape = {.ndim = 77};
  CHECK_EQ(lurn__shape_make(ctx, "who", 9, (int64_t[9]){0}, &shape), LURN_ESHAPE);
  CHECK_STR(lurn_error(ctx), "who: 9 dimensions; a tensor has at most 8");
  CHECK_EQ(lurn__shape_make(ctx, "who", -1, NULL, &shape), LURN_ESHAPE);
  CHECK_EQ(lurn__shape_make(ctx, "who", 2, (int64_t[]){3, -4}, &shape), LURN_ESHAPE);
  CHECK_STR(lurn_error(ctx), "who: negative size -4");
  CHECK_EQ(lurn__shape_make(ctx, "who", 3, (int64_t[]){1 << 30, 1 << 30, 1 << 30}, &shape), LURN_ENOMEM);
  CHECK_STR(lurn_error(ctx),
            "who: a tensor of shape (1073741824, 1073741824, 1073741824) is larger than memory can be");
  CHECK_EQ(shape.ndim, 77);
  lurn_ctx_free(ctx);
}

/* Sizes whose product wraps around to something small, with a 0 among them too. */
TEST(products_do_not_wrap) {
  lurn_ctx *ctx = ctx_of_base(0);
  lurn__shape shape;
  int64_t half = (int64_t)1 << 32;
  CHECK_EQ(lurn__shape_make(ctx, "who", 2, (int64_t[]){half, half}, &shape), LURN_ENOMEM);
  CHECK_EQ(lurn__shape_make(ctx, "who", 3, (int64_t[]){half, half, 0}, &shape), LURN_ENOMEM);
  CHECK_EQ(lurn__shape_make(ctx, "who", 3, (int64_t[]){INT64_MAX, INT64_MAX, 2}, &shape), LURN_ENOMEM);
  CHECK_EQ(lurn__shape_make(ctx, "who", 1, (int64_t[]){INT64_MAX}, &shape), LURN_ENOMEM);
  CHECK_EQ(lurn__shape_make(ctx, "who", 3, (int64_t[]){1 << 20, 0, 1 << 20}, &shape), LURN_OK);
  CHECK_EQ(lurn__shape_numel(&shape), 0);
  CHECK_EQ(lurn__shape_make(ctx, "who", 0, NULL, &shape), LURN_OK);
  CHECK_EQ(lurn__shape_numel(&shape), 1);
  lurn_ctx_free(ctx);
}

/* A huge tensor that does not exist can be made by expand: what is computed from it must not wrap around either. */
TEST(expanded_operands_do_not_wrap) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  lurn_tensor *one = NULL, *row = NULL, *column = NULL, *y = NULL;
  int64_t huge = (int64_t)1 << 40;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){1}, &one), LURN_OK);
  CHECK_EQ(lurn_expand(ctx, one, (int64_t[]){1, huge}, 2, &row), LURN_OK);
  CHECK_EQ(lurn_expand(ctx, one, (int64_t[]){huge, 1}, 2, &column), LURN_OK);
  CHECK_EQ(lurn_add(ctx, row, column, &y), LURN_ENOMEM);
  CHECK_HAS(lurn_error(ctx), "a tensor of shape (1099511627776, 1099511627776) is larger than memory can be");
  CHECK_EQ(lurn_matmul(ctx, column, row, &y), LURN_ENOMEM);
  CHECK_EQ(lurn_clone(ctx, row, &y), LURN_ENOMEM);
  CHECK(y == NULL);
  lurn_release(one);
  lurn_release(row);
  lurn_release(column);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(printing) {
  char text[LURN__SHAPE_TEXT];
  lurn__shape wide = {.ndim = 8};
  for (int i = 0; i < 8; i++) wide.size[i] = INT64_MIN + i;
  CHECK_STR(lurn__shape_print(&(lurn__shape){.ndim = 0}, text), "()");
  CHECK_STR(lurn__shape_print(&(lurn__shape){.ndim = 1, .size = {5}}, text), "(5)");
  CHECK_STR(lurn__shape_print(&(lurn__shape){.ndim = 2, .size = {2, 3}}, text), "(2, 3)");
  CHECK_EQ(strlen(lurn__shape_print(&wide, text)), 8 * 20 + 7 * 2 + 2);
}

TEST(strides) {
  int64_t stride[LURN_MAX_DIMS] = {0};
  lurn__shape_strides(&(lurn__shape){.ndim = 3, .size = {2, 3, 4}}, stride);
  CHECK(stride[0] == 12 && stride[1] == 4 && stride[2] == 1);
  lurn__shape_strides(&(lurn__shape){.ndim = 3, .size = {2, 0, 4}}, stride);
  CHECK(stride[0] == 4 && stride[1] == 4 && stride[2] == 1);
}

static void check_broadcast(lurn__shape a, lurn__shape b, const char *expected) {
  lurn__shape out = {.ndim = 0};
  char text[LURN__SHAPE_TEXT];
  bool fits = lurn__shape_broadcast(&a, &b, &out);
  CHECK_STR(fits ? lurn__shape_print(&out, text) : "no", expected);
  fits = lurn__shape_broadcast(&b, &a, &out);
  CHECK_STR(fits ? lurn__shape_print(&out, text) : "no", expected);
}

TEST(broadcasting) {
  check_broadcast((lurn__shape){3, {2, 3, 4}}, (lurn__shape){1, {4}}, "(2, 3, 4)");
  check_broadcast((lurn__shape){3, {2, 1, 4}}, (lurn__shape){2, {3, 1}}, "(2, 3, 4)");
  check_broadcast((lurn__shape){2, {2, 3}}, (lurn__shape){1, {2}}, "no");
  check_broadcast((lurn__shape){0, {0}}, (lurn__shape){2, {2, 3}}, "(2, 3)");
  check_broadcast((lurn__shape){1, {0}}, (lurn__shape){1, {1}}, "(0)");
  check_broadcast((lurn__shape){1, {0}}, (lurn__shape){1, {2}}, "no");
  check_broadcast((lurn__shape){0, {0}}, (lurn__shape){0, {0}}, "()");
}

TEST(dimensions) {
  lurn_ctx *zero = ctx_of_base(0), *one = ctx_of_base(1);
  int dim = -7;
  CHECK_EQ(lurn__dim(zero, "who", 1, 3, &dim), LURN_OK);
  CHECK_EQ(dim, 1);
  CHECK_EQ(lurn__dim(zero, "who", -3, 3, &dim), LURN_OK);
  CHECK_EQ(dim, 0);
  CHECK_EQ(lurn__dim(zero, "who", -1, 0, &dim), LURN_OK); /* a scalar counts as one dimension */
  CHECK_EQ(dim, 0);
  dim = -7;
  CHECK_EQ(lurn__dim(zero, "who", 3, 3, &dim), LURN_EINDEX);
  CHECK_STR(lurn_error(zero), "who: dimension 3 of a tensor with 3; expected 0..2 or -3..-1");
  CHECK_EQ(lurn__dim(one, "who", 3, 3, &dim), LURN_EINDEX);
  CHECK_STR(lurn_error(one), "who: dimension 4 of a tensor with 3; expected 1..3 or -3..-1");
  CHECK_EQ(lurn__dim(one, "who", -4, 3, &dim), LURN_EINDEX);
  CHECK_STR(lurn_error(one), "who: dimension -4 of a tensor with 3; expected 1..3 or -3..-1");
  CHECK_EQ(lurn__dim(one, "who", INT64_MIN, 3, &dim), LURN_EINDEX);
  CHECK_EQ(lurn__dim(one, "who", INT64_MAX - 1, 3, &dim), LURN_EINDEX);
  CHECK_EQ(dim, -7);
  lurn_ctx_free(zero);
  lurn_ctx_free(one);
}
