/* Gradients of slices: many of them share one buffer, which nobody else sees while it is written. */
#include "graph.h"

/* A pool that keeps nothing: every request reaches the host and is counted. */
static void begin_uncached(void) {
  lurn_config config = {.alloc = counting_alloc, .alloc_ud = &memory, .num_threads = 1, .cache_limit = 1};
  memory = (counting){0};
  CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
}

/* Bytes asked for by forward and backward of a loop over the steps of x (T, 8): sum of them all, each from a slice; with `write`
 * each is also put into a slice of a second tensor. */
static int64_t bytes_of_loop(int64_t T, bool write) {
  begin_uncached();
  lurn_tensor *x = filled(2, T, 8, 0, 1, true), *h = NULL, *out = filled(2, T, 8, 0, 0, false);
  int64_t before = memory.taken;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT64, 1, (int64_t[]){8}, 0, &h), LURN_OK);
  for (int64_t t = 0; t < T; t++) {
    lurn_tensor *slice = NULL, *next = NULL, *row = NULL;
    CHECK_EQ(lurn_select(ctx, x, 0, t, &slice), LURN_OK);
    CHECK_EQ(lurn_add(ctx, h, slice, &next), LURN_OK);
    lurn_release(h);
    h = next;
    lurn_release(slice);
    if (!write) continue;
    CHECK_EQ(lurn_select(ctx, out, 0, t, &row), LURN_OK);
    CHECK_EQ(lurn_copy_(ctx, row, h), LURN_OK);
    lurn_release(row);
  }
  backward(sum(write ? out : h));
  for (int64_t t = 0; t < T; t++) CHECK_NEAR(lurn__f64(lurn_tensor_grad(x))[t * 8], write ? (double)(T - t) : 1, 0);
  int64_t bytes = memory.taken - before;
  lurn_release(h);
  drop_all();
  end();
  return bytes;
}

/* 16 times the steps take 16 times the bytes, up to what lists that double may leave unused. */
TEST(a_loop_over_slices_takes_linear_memory) {
  for (int write = 0; write <= 1; write++) {
    int64_t few = bytes_of_loop(64, write), many = bytes_of_loop(1024, write);
    CHECK(many < 20 * few);
  }
}

/* Slices that overlap, picked rows and the whole, in an order where each comes first and last. */
TEST(slices_and_the_whole_add_up) {
  for (int order = 0; order < 4; order++) {
    begin();
    lurn_tensor *x = vector(4, 1, true), *h = times(x, 1), *terms[4], *index = NULL, *picked = NULL;
    for (int i = 0; i < 4; i++) {
      int which = (i + order) % 4;
      if (which == 0) terms[i] = sum(times(narrow(h, 0, 3), 10));
      if (which == 1) terms[i] = sum(times(narrow(h, 2, 2), 100));
      if (which == 2) terms[i] = sum(mul(h, h));
      if (which != 3) continue;
      CHECK_EQ(lurn_from_data(ctx, LURN_INT64, 1, (int64_t[]){3}, (int64_t[]){3, 0, 3}, &index), LURN_OK);
      CHECK_EQ(lurn_index_select(ctx, h, 0, keep(index), 0, &picked), LURN_OK);
      terms[i] = sum(times(keep(picked), 1000));
    }
    lurn_tensor *y = add(add(terms[0], terms[1]), add(terms[2], terms[3]));
    CHECK_EQ(lurn_backward(ctx, y, NULL, true), LURN_OK);
    CHECK_VECTOR(lurn_tensor_grad(x), 1012, 14, 116, 2108);
    backward(y);
    CHECK_VECTOR(lurn_tensor_grad(x), 2024, 28, 232, 4216);
    drop_all();
    end();
  }
}

/* ---- Gradients that others hold ---------------------------------------------------------------------------- */

/* Gives the tensor that the test holds. */
static lurn_status give_held(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                             const bool *need, int n_in) {
  (void)c;
  (void)grad_out;
  (void)n_out;
  (void)need;
  (void)n_in;
  grad_in[0] = lurn_retain(ud);
  return LURN_OK;
}

TEST(what_others_hold_is_not_written) {
  begin();
  lurn_tensor *x = vector(3, 1, true), *held = vector(3, 10, false), *given = vector(3, 5, false), *first;
  lurn_tensor *early = sum(narrow(x, 0, 2)), *value = vector(3, 0, false), *last = NULL;
  CHECK_EQ(lurn_custom(ctx, "held", &x, 1, &value, 1, give_held, NULL, held, &last), LURN_OK);
  backward(add(early, sum(keep(last)))); /* the custom function comes first, then the slice */
  CHECK_VECTOR(lurn_tensor_grad(x), 11, 12, 12);
  CHECK_VECTOR(held, 10, 11, 12);
  /* a gradient given from outside, and one captured on the way */
  lurn_tensor *leaf = vector(3, 1, true), *h = times(leaf, 2), *part = narrow(h, 1, 1), *all[2] = {h, part};
  lurn_tensor *weights[2] = {given, NULL}, *wanted[2] = {h, leaf}, *grads[2] = {NULL};
  first = given;
  CHECK_EQ(lurn_grad(ctx, all, 2, weights, wanted, 2, true, grads), LURN_OK);
  CHECK_VECTOR(grads[0], 5, 7, 7);
  CHECK_VECTOR(grads[1], 10, 14, 14);
  CHECK_VECTOR(first, 5, 6, 7);
  lurn_release(grads[0]);
  lurn_release(grads[1]);
  drop_all();
  end();
}

/* A write passes the gradient of the whole on as it is where only the sweep has it; captured, it stays what it was. */
TEST(a_captured_gradient_survives_the_write) {
  begin();
  lurn_tensor *x = vector(3, 1, true), *base = times(x, 2), *wanted[2] = {base, x}, *grads[2] = {NULL}, *y;
  CHECK_EQ(lurn_fill_(ctx, narrow(base, 1, 1), 0), LURN_OK);
  y = sum(mul(base, vector(3, 5, false)));
  CHECK_EQ(lurn_grad(ctx, &y, 1, NULL, wanted, 2, false, grads), LURN_OK);
  CHECK_VECTOR(grads[0], 5, 6, 7);
  CHECK_VECTOR(grads[1], 10, 0, 14);
  lurn_release(grads[0]);
  lurn_release(grads[1]);
  drop_all();
  end();
}

/* ---- Failures ---------------------------------------------------------------------------------------------- */

TEST(a_failed_backward_through_slices_changes_nothing) {
  int64_t failures = 0;
  for (int64_t n = 1; n < 1000; n++) {
    begin_uncached();
    lurn_tensor *x = vector(4, 1, true), *h = times(x, 2);
    backward(sum(narrow(x, 0, 1)));
    lurn_tensor *y = add(sum(mul(narrow(h, 0, 2), narrow(h, 1, 2))), sum(narrow(x, 2, 2)));
    memory.fail_at = memory.calls + n;
    lurn_status status = lurn_backward(ctx, y, NULL, true);
    memory.fail_at = 0;
    if (status != LURN_OK) {
      CHECK_EQ(status, LURN_ENOMEM);
      CHECK_VECTOR(lurn_tensor_grad(x), 1, 0, 0, 0);
      backward(y);
      failures++;
    }
    CHECK_VECTOR(lurn_tensor_grad(x), 9, 16, 9, 1);
    drop_all();
    end();
    if (status == LURN_OK) break;
  }
  CHECK(failures > 20);
}
