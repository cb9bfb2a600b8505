/* The graph: writing in place, into views, and what that makes stale. */
#include "graph.h"

/* ---- Writing in place -------------------------------------------------------------------------------------- */

TEST(a_stale_saved_tensor) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *h = times(x, 2), *y = sum(mul(h, h)), *one = vector(2, 1, false);
  CHECK_EQ(lurn_add_(ctx, h, one), LURN_OK);
  check_backward_fails(y, LURN_EVERSION,
                       "backward: a tensor of shape (2) that mul needs was changed in place after it was used");
  CHECK(lurn_tensor_grad(x) == NULL);
  drop_all();
  end();
}

TEST(leaves_are_not_written) {
  begin();
  lurn_tensor *x = vector(4, 1, true), *part = narrow(x, 0, 2), *one = vector(2, 1, false), *all = vector(4, 1, false);
  CHECK_EQ(lurn_add_(ctx, x, all), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "add_: a leaf that requires a gradient cannot be changed in place; use no_grad");
  CHECK_EQ(lurn_add_(ctx, part, one), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "add_: the tensor is a view of a leaf that requires a gradient; use no_grad");
  CHECK_VECTOR(x, 1, 2, 3, 4);
  CHECK_EQ(lurn_tensor_version(x), 0);
  drop_all();
  end();
}

TEST(a_chain_of_writes) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *w = vector(2, 3, true), *h = times(x, 2);
  CHECK_EQ(lurn_mul_(ctx, h, vector(2, 10, false)), LURN_OK); /* 2 x 10, 2 x 11 */
  CHECK_EQ(lurn_add_(ctx, h, w), LURN_OK);
  CHECK_STR(lurn_tensor_maker(h), "add");
  backward(sum(h));
  CHECK_VECTOR(lurn_tensor_grad(x), 20, 22);
  CHECK_VECTOR(lurn_tensor_grad(w), 1, 1);
  drop_all();
  end();
}

/* base[1..2] *= w, then base[1..2] += base[0..1]: the base learns of both. */
TEST(writes_into_a_view_reach_the_base) {
  begin();
  lurn_tensor *x = vector(4, 1, true), *w = vector(2, 5, true), *base = times(x, 2);
  lurn_tensor *view = narrow(base, 1, 2);
  CHECK_EQ(lurn_mul_(ctx, view, w), LURN_OK);
  CHECK_VECTOR(base, 2, 4 * 5, 6 * 6, 8);
  CHECK_STR(lurn_tensor_maker(base), "write into a view");
  lurn_tensor *again = narrow(base, 1, 2), *head = narrow(base, 0, 2), *copy = NULL;
  CHECK_EQ(lurn_clone(ctx, head, &copy), LURN_OK);
  CHECK_EQ(lurn_add_(ctx, again, keep(copy)), LURN_OK);
  CHECK_VECTOR(base, 2, 22, 56, 8);
  backward(sum(mul(base, vector(4, 1, false)))); /* weights 1 2 3 4 */
  CHECK_VECTOR(lurn_tensor_grad(x), 2 * (1 + 2), 2 * 5 * (2 + 3), 2 * 6 * 3, 8);
  CHECK_VECTOR(lurn_tensor_grad(w), 4 * (2 + 3), 6 * 3);
  drop_all();
  end();
}

/* Writing something that has a gradient into a plain tensor ties the plain tensor to it. */
TEST(filling_a_buffer_by_rows) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *buffer = vector(6, 0, false);
  for (int64_t i = 0; i < 3; i++)
    CHECK_EQ(lurn_copy_(ctx, narrow(buffer, 2 * i, 2), times(x, (double)(i + 1))), LURN_OK);
  backward(sum(mul(buffer, vector(6, 1, false))));
  CHECK_VECTOR(lurn_tensor_grad(x), 1 + 2 * 3 + 3 * 5, 2 + 2 * 4 + 3 * 6);
  drop_all();
  end();
}

TEST(stale_views_and_aliases) {
  begin();
  lurn_tensor *x = vector(4, 1, true), *base = times(x, 2), *view = narrow(base, 0, 2), *one = vector(4, 1, false);
  lurn_tensor *alias = NULL, *y = NULL;
  CHECK_EQ(lurn_add_(ctx, base, one), LURN_OK);
  CHECK_EQ(lurn_exp(ctx, view, &y), LURN_EVERSION);
  CHECK_HAS(lurn_error(ctx), "exp: an input of shape (2), made by narrow, was changed in place through another tensor");
  CHECK_EQ(lurn_detach(ctx, base, &alias), LURN_OK);
  CHECK_EQ(lurn_add_(ctx, keep(alias), one), LURN_OK);
  CHECK_EQ(lurn_exp(ctx, base, &y), LURN_EVERSION);
  CHECK_HAS(lurn_error(ctx), "made by add, was changed in place");
  CHECK_EQ(lurn_backward(ctx, base, one, false), LURN_EVERSION);
  lurn_tensor *buffer = vector(4, 0, false), *left = narrow(buffer, 0, 2), *right = narrow(buffer, 2, 2);
  CHECK_EQ(lurn_copy_(ctx, left, narrow(x, 0, 2)), LURN_OK);
  CHECK_EQ(lurn_exp(ctx, right, &y), LURN_EVERSION); /* its base is in the graph now */
  CHECK_HAS(lurn_error(ctx), "exp: an input of shape (2), made by indexing, was changed in place");
  drop_all();
  end();
}

/* Made under no_grad a view does not know its base, which would silently miss the gradient. */
TEST(views_made_without_recording) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *buffer = vector(4, 0, false);
  lurn_set_grad_enabled(ctx, false);
  lurn_tensor *view = narrow(buffer, 0, 2);
  lurn_set_grad_enabled(ctx, true);
  lurn_tensor *inner = narrow(view, 0, 1);
  CHECK_EQ(lurn_copy_(ctx, view, x), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "copy_: the tensor shares memory with one that would not learn of the gradient");
  CHECK_EQ(lurn_copy_(ctx, inner, narrow(x, 0, 1)), LURN_ESTATE);
  CHECK_EQ(lurn_copy_(ctx, view, vector(2, 7, false)), LURN_OK); /* nothing to record: fine */
  CHECK_VECTOR(buffer, 7, 8, 2, 3);
  CHECK_EQ(lurn_copy_(ctx, narrow(buffer, 0, 2), x), LURN_OK);
  drop_all();
  end();
}

/* Numbers with a gradient into integers: the values go, the gradient ends. */
TEST(writing_into_integers) {
  begin();
  lurn_tensor *x = vector(2, 1.5, true), *whole = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_INT64, 1, (int64_t[]){4}, &whole), LURN_OK);
  keep(whole);
  CHECK_EQ(lurn_copy_(ctx, narrow(whole, 1, 2), x), LURN_OK);
  CHECK_VECTOR(whole, 0, 1, 2, 0);
  CHECK(!lurn_tensor_requires_grad(whole) && lurn_tensor_is_leaf(whole));
  CHECK_EQ(lurn_copy_(ctx, whole, vector(4, 2, true)), LURN_OK);
  CHECK(lurn_tensor_is_leaf(whole));
  drop_all();
  end();
}

TEST(views_of_what_is_not_contiguous) {
  begin();
  lurn_tensor *m = filled(2, 2, 3, 0, 1, true), *h = times(m, 2), *turned = NULL, *view = NULL;
  CHECK_EQ(lurn_transpose(ctx, h, 0, 1, &turned), LURN_OK);
  CHECK_EQ(lurn_select(ctx, keep(turned), 0, 1, &view), LURN_OK); /* a view of h, by way of its transpose */
  CHECK_EQ(lurn_mul_(ctx, keep(view), vector(2, 3, false)), LURN_OK);
  backward(sum(h));
  CHECK_NEAR(lurn__f64(lurn_tensor_grad(m))[1], 6, 0);
  CHECK_NEAR(lurn__f64(lurn_tensor_grad(m))[4], 8, 0);
  CHECK_NEAR(lurn__f64(lurn_tensor_grad(m))[0], 2, 0);
  drop_all();
  end();
}

/* The same by writing and by putting together, checked against differences. */
static lurn_status written(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)c;
  (void)ud;
  (void)n;
  int before = piled;
  lurn_tensor *base = mul(in[0], in[0]), *view = narrow(base, 1, 2), *y;
  CHECK_EQ(lurn_mul_(ctx, view, in[1]), LURN_OK);
  CHECK_EQ(lurn_add_(ctx, narrow(base, 0, 2), in[1]), LURN_OK);
  CHECK_EQ(lurn_sigmoid_(ctx, base), LURN_OK);
  y = sum(mul(base, in[0]));
  *out = lurn_retain(y);
  while (piled > before) lurn_release(pile[--piled]);
  return LURN_OK;
}

static lurn_status put_together(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)c;
  (void)ud;
  (void)n;
  int before = piled;
  lurn_tensor *base = mul(in[0], in[0]), *joined = NULL, *raised = NULL, *gate = NULL;
  lurn_tensor *parts[3] = {narrow(base, 0, 1), mul(narrow(base, 1, 2), in[1]), narrow(base, 3, 1)};
  CHECK_EQ(lurn_cat(ctx, parts, 3, 0, &joined), LURN_OK);
  lurn_tensor *halves[2] = {add(narrow(keep(joined), 0, 2), in[1]), narrow(joined, 2, 2)};
  CHECK_EQ(lurn_cat(ctx, halves, 2, 0, &raised), LURN_OK);
  CHECK_EQ(lurn_sigmoid(ctx, keep(raised), &gate), LURN_OK);
  *out = lurn_retain(sum(mul(keep(gate), in[0])));
  while (piled > before) lurn_release(pile[--piled]);
  return LURN_OK;
}

TEST(written_and_put_together_agree) {
  begin();
  lurn_tensor *in[2] = {vector(4, -0.7, true), vector(2, 0.4, true)}, *y = NULL, *g[2] = {NULL}, *h[2] = {NULL};
  lurn_gradcheck_result result = {.ok = false};
  CHECK_EQ(lurn_gradcheck(ctx, written, NULL, in, 2, 1e-6, 1e-6, 1e-8, &result), LURN_OK);
  CHECK(result.ok);
  CHECK_EQ(written(ctx, NULL, in, 2, &y), LURN_OK);
  CHECK_EQ(lurn_grad(ctx, &y, 1, NULL, in, 2, false, g), LURN_OK);
  keep(y);
  CHECK_EQ(put_together(ctx, NULL, in, 2, &y), LURN_OK);
  CHECK_EQ(lurn_grad(ctx, &y, 1, NULL, in, 2, false, h), LURN_OK);
  keep(y);
  for (int k = 0; k < 2; k++)
    for (int64_t i = 0; i < lurn_tensor_numel(in[k]); i++)
      CHECK_NEAR(lurn__f64(g[k])[i], lurn__f64(h[k])[i], 1e-15); /* the same sums, perhaps in another order */
  for (int k = 0; k < 2; k++) {
    keep(g[k]);
    keep(h[k]);
  }
  drop_all();
  end();
}

/* Every allocation of writing into a view and going back through it, failing in turn. */
TEST(failures_while_writing_into_views) {
  int64_t failures = 0;
  for (int64_t n = 1; n < 1000; n++) {
    lurn_config config = {.alloc = counting_alloc, .alloc_ud = &memory, .num_threads = 1, .cache_limit = 1};
    memory = (counting){0};
    CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
    lurn_tensor *x = vector(4, 1, true), *w = vector(2, 5, true), *base = times(x, 2), *view = narrow(base, 1, 2);
    lurn_tensor *ones = vector(4, 1, false);
    memory.fail_at = memory.calls + n;
    lurn_status status = lurn_mul_(ctx, view, w);
    if (status == LURN_OK) status = lurn_backward(ctx, base, ones, false);
    memory.fail_at = 0;
    if (status == LURN_OK) CHECK_VECTOR(lurn_tensor_grad(x), 2, 20, 36, 8);
    else CHECK(status == LURN_ENOMEM && lurn_tensor_grad(x) == NULL && lurn_tensor_grad(w) == NULL);
    failures += status != LURN_OK;
    drop_all();
    end();
    if (status == LURN_OK) break;
  }
  CHECK(failures > 10 && failures < 900);
}
