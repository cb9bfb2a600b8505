/* The graph: sweeps, nodes with several outputs, writing in place, views, failures, depth. */
#include "core/tensor.h"

#include "counting.h"

static counting memory;
static lurn_ctx *ctx;

static void begin(void) { ctx = counted_ctx(&memory, 1); }
static void end(void) {
  CHECK(lurn_grad_enabled(ctx));
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
  check_all_freed(&memory);
}

/* ---- Shorthand: tensors made by the test are released together --------------------------------------------- */

static lurn_tensor *pile[4096];
static int piled;

static lurn_tensor *keep(lurn_tensor *t) { return pile[piled++] = t; }
static void drop_all(void) {
  while (piled > 0) lurn_release(pile[--piled]);
}

static lurn_tensor *vector(int64_t n, double first, bool leaf) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_empty(ctx, LURN_FLOAT64, 1, &n, &t), LURN_OK);
  for (int64_t i = 0; i < n; i++) lurn__f64(t)[i] = first + (double)i;
  CHECK_EQ(lurn_tensor_set_requires_grad(t, leaf), LURN_OK);
  return keep(t);
}

static lurn_tensor *mul(lurn_tensor *a, lurn_tensor *b) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_mul(ctx, a, b, &y), LURN_OK);
  return keep(y);
}

static lurn_tensor *times(lurn_tensor *a, double factor) {
  lurn_tensor *number = NULL;
  CHECK_EQ(lurn_scalar(ctx, factor, &number), LURN_OK);
  return mul(a, keep(number));
}

static lurn_tensor *add(lurn_tensor *a, lurn_tensor *b) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_add(ctx, a, b, &y), LURN_OK);
  return keep(y);
}

static lurn_tensor *sum(lurn_tensor *a) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_sum(ctx, a, NULL, 0, false, &y), LURN_OK);
  return keep(y);
}

static lurn_tensor *narrow(lurn_tensor *a, int64_t start, int64_t n) {
  lurn_tensor *y = NULL;
  CHECK_EQ(lurn_narrow(ctx, a, 0, start, n, &y), LURN_OK);
  return keep(y);
}

static void check_vector(lurn_tensor *t, const double *expected) {
  if (!CHECK(t != NULL)) return;
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++) {
    double v = NAN;
    CHECK_EQ(lurn_tensor_get(t, &i, &v), LURN_OK);
    CHECK_NEAR(v, expected[i], 0);
  }
}
#define CHECK_VECTOR(t, ...) check_vector((t), (const double[]){__VA_ARGS__})

static void backward(lurn_tensor *y) { CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK); }

static void check_backward_fails(lurn_tensor *y, lurn_status status, const char *text) {
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), status);
  CHECK_HAS(lurn_error(ctx), text);
}

/* ---- Sweeps ------------------------------------------------------------------------------------------------ */

TEST(gradients_accumulate) {
  begin();
  lurn_tensor *x = vector(2, 3, true);
  backward(sum(mul(x, x)));
  CHECK_VECTOR(lurn_tensor_grad(x), 6, 8);
  lurn_tensor *grad = lurn_tensor_grad(x);
  backward(sum(times(x, 10)));
  CHECK_VECTOR(lurn_tensor_grad(x), 16, 18);
  CHECK(lurn_tensor_grad(x) == grad); /* in place */
  drop_all();
  end();
}

TEST(shared_subexpressions) {
  begin();
  lurn_tensor *x = vector(2, 3, true), *a = mul(x, x), *b = add(a, a);
  backward(sum(add(mul(a, b), add(b, x)))); /* 2 x^4 + 2 x^2 + x */
  CHECK_VECTOR(lurn_tensor_grad(x), 8 * 27 + 12 + 1, 8 * 64 + 16 + 1);
  drop_all();
  end();
}

/* One gradient tensor must not be added to in place while another slot holds it. */
TEST(gradients_shared_between_branches) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *y = vector(2, 1, true), *s = add(x, y);
  backward(sum(add(s, times(x, 5)))); /* x gets 1 + 5, y only 1 */
  CHECK_VECTOR(lurn_tensor_grad(x), 6, 6);
  CHECK_VECTOR(lurn_tensor_grad(y), 1, 1);
  CHECK(lurn_tensor_data(lurn_tensor_grad(x)) != lurn_tensor_data(lurn_tensor_grad(y)));
  drop_all();
  end();
}

TEST(a_given_gradient_is_not_written) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *g = vector(2, 10, false);
  CHECK_EQ(lurn_backward(ctx, add(x, x), g, false), LURN_OK);
  CHECK_VECTOR(lurn_tensor_grad(x), 20, 22);
  CHECK_EQ(lurn_backward(ctx, x, g, false), LURN_OK); /* a leaf as root */
  CHECK_VECTOR(lurn_tensor_grad(x), 30, 33);
  CHECK_VECTOR(g, 10, 11);
  drop_all();
  end();
}

TEST(roots_that_do_not_fit) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *y = mul(x, x), *plain = vector(1, 1, false), *g = vector(3, 1, false);
  check_backward_fails(y, LURN_ESHAPE, "backward: the tensor has shape (2); only one of a single element");
  check_backward_fails(plain, LURN_ESTATE, "backward: the tensor does not depend on anything that requires a gradient");
  CHECK_EQ(lurn_backward(ctx, y, g, false), LURN_ESHAPE);
  CHECK_STR(lurn_error(ctx), "backward: the gradient is float64 (3); expected float64 (2) like the tensor");
  CHECK(lurn_tensor_grad(x) == NULL);
  drop_all();
  end();
}

TEST(second_backward) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *y = sum(mul(x, x));
  CHECK_EQ(lurn_backward(ctx, y, NULL, true), LURN_OK);
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK);
  CHECK_VECTOR(lurn_tensor_grad(x), 4, 8);
  check_backward_fails(y, LURN_ESTATE,
                       "backward: the graph was freed by an earlier backward through sum; pass retain_graph");
  lurn_tensor *z = times(y, 2); /* its value is still a tensor, but the way back is gone */
  check_backward_fails(z, LURN_ESTATE, "freed by an earlier backward through sum");
  CHECK_VECTOR(lurn_tensor_grad(x), 4, 8);
  drop_all();
  end();
}

static lurn_status grad_of(lurn_tensor *y, lurn_tensor *x, bool retain, lurn_tensor **out) {
  return lurn_grad(ctx, &y, 1, NULL, &x, 1, retain, out);
}

TEST(grad_of_leaves_and_others) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *h = mul(x, x), *y = sum(mul(h, h)), *lone = vector(2, 1, true), *out[4];
  lurn_tensor *inputs[4] = {x, h, lone, x};
  CHECK_EQ(lurn_grad(ctx, &y, 1, NULL, inputs, 4, false, out), LURN_OK);
  CHECK_VECTOR(keep(out[0]), 4, 32);
  CHECK_VECTOR(keep(out[1]), 2, 8);
  CHECK(out[2] == NULL);
  CHECK_VECTOR(keep(out[3]), 4, 32);
  CHECK(lurn_tensor_data(out[0]) != lurn_tensor_data(out[3])); /* each its own */
  CHECK(lurn_tensor_grad(x) == NULL && lurn_tensor_grad(h) == NULL);
  lurn_tensor *plain = vector(2, 1, false);
  CHECK_EQ(grad_of(y, plain, false, out), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "grad: input 0 does not require a gradient");
  drop_all();
  end();
}

TEST(grad_weights_several_outputs) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *a = mul(x, x), *b = times(x, 3), *out = NULL;
  lurn_tensor *outputs[3] = {a, b, b}, *weights[3] = {vector(2, 10, false), NULL, vector(2, 100, false)};
  CHECK_EQ(lurn_grad(ctx, outputs, 3, weights, &x, 1, false, &out), LURN_OK);
  CHECK_VECTOR(keep(out), 2 * 10 + 3 + 300, 4 * 11 + 3 + 303);
  drop_all();
  end();
}

/* What lies beyond the inputs was not used, and is not used up. */
TEST(grad_leaves_the_graph_beyond_its_inputs) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *h = mul(x, x), *y = sum(mul(h, h)), *g = NULL;
  CHECK_EQ(grad_of(y, h, false, &g), LURN_OK);
  CHECK_EQ(lurn_backward(ctx, h, keep(g), false), LURN_OK);
  CHECK_VECTOR(lurn_tensor_grad(x), 4, 32);
  drop_all();
  end();
}

TEST(grad_of_an_output_itself) {
  begin();
  lurn_tensor *x = vector(1, 3, true), *y = mul(x, x), *g = NULL;
  CHECK_EQ(grad_of(y, y, false, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 1);
  CHECK_EQ(grad_of(x, x, false, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 1);
  backward(y);
  CHECK_VECTOR(lurn_tensor_grad(x), 6);
  drop_all();
  end();
}

TEST(recording_switched_off) {
  begin();
  lurn_tensor *x = vector(2, 1, true);
  CHECK(lurn_set_grad_enabled(ctx, false));
  lurn_tensor *y = mul(x, x);
  CHECK(!lurn_set_grad_enabled(ctx, true));
  CHECK(!lurn_tensor_requires_grad(y) && lurn_tensor_is_leaf(y));
  lurn_tensor *cut = NULL;
  CHECK_EQ(lurn_detach(ctx, mul(x, x), &cut), LURN_OK);
  CHECK(!lurn_tensor_requires_grad(keep(cut)));
  drop_all();
  end();
}

/* A gradient that is a window on a larger piece of memory would keep all of it. */
TEST(gradients_have_memory_of_their_own_size) {
  begin();
  lurn_tensor *small = vector(2, 1, true), *large = vector(100000, 1, true), *both = NULL;
  lurn_tensor *parts[2] = {small, large};
  CHECK_EQ(lurn_cat(ctx, parts, 2, 0, &both), LURN_OK);
  backward(sum(keep(both)));
  CHECK_EQ(lurn_tensor_grad(small)->storage->bytes, 16);
  drop_all();
  end();
}

/* ---- Several outputs --------------------------------------------------------------------------------------- */

TEST(one_of_two_outputs) {
  begin();
  lurn_tensor *x = vector(4, 1, true), *values = NULL, *indices = NULL, *top = NULL, *places = NULL;
  CHECK_EQ(lurn_max(ctx, x, 0, false, 0, &values, &indices), LURN_OK);
  CHECK(lurn_tensor_requires_grad(keep(values)) && !lurn_tensor_requires_grad(keep(indices)));
  CHECK_EQ(lurn_topk(ctx, x, 2, 0, true, 0, &top, &places), LURN_OK);
  keep(top);
  lurn_release(places);
  backward(add(sum(top), values));
  CHECK_VECTOR(lurn_tensor_grad(x), 0, 0, 1, 2);
  drop_all();
  end();
}

static lurn_tensor *filled(int ndim, int64_t a, int64_t b, int64_t c, double value, bool leaf) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT64, ndim, (int64_t[]){a, b, c}, value, &t), LURN_OK);
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++) lurn__f64(t)[i] += 0.01 * (double)(i * 7 % 13);
  CHECK_EQ(lurn_tensor_set_requires_grad(t, leaf), LURN_OK);
  return keep(t);
}

/* The gradient of a sum of some outputs is the sum of the gradients of each, whichever are left out. */
TEST(any_outputs_of_a_recurrent_node) {
  begin();
  double alone[3] = {0}, together;
  lurn_tensor *x = filled(3, 4, 2, 3, 0.1, true), *w = filled(2, 8, 3, 0, 0.2, true),
              *u = filled(2, 8, 2, 0, -0.1, true);
  for (int set = 1; set < 8; set++) {
    lurn_tensor *out[3], *total = vector(1, 0, false), *g = NULL;
    CHECK_EQ(lurn_lstm(ctx, x, w, u, NULL, NULL, NULL, NULL, NULL, false, NULL, &out[0], &out[1], &out[2]), LURN_OK);
    for (int i = 0; i < 3; i++) {
      if (set >> i & 1) total = add(total, sum(out[i]));
      lurn_release(out[i]); /* those left out are gone before backward */
    }
    CHECK_EQ(grad_of(total, x, false, &g), LURN_OK);
    together = lurn__f64(keep(g))[0];
    double expected = 0;
    for (int i = 0; i < 3; i++) {
      if (set == 1 << i) alone[i] = together;
      if (set >> i & 1) expected += alone[i];
    }
    CHECK(together != 0);
    if (set != 4) CHECK_NEAR(together, expected, 1e-15); /* sums of few doubles below 1 */
  }
  drop_all();
  end();
}

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

/* ---- Depth ------------------------------------------------------------------------------------------------- */

static lurn_tensor *chain(lurn_tensor *x, int length) {
  lurn_tensor *number = NULL, *y = lurn_retain(x);
  CHECK_EQ(lurn_scalar(ctx, 1, &number), LURN_OK);
  for (int i = 0; i < length; i++) {
    lurn_tensor *next = NULL;
    CHECK_EQ(lurn_add(ctx, y, number, &next), LURN_OK);
    lurn_release(y);
    y = next;
  }
  lurn_release(number);
  return y;
}

enum { DEEP = 1000000 };

TEST(a_million_nodes_are_freed) {
  begin();
  lurn_tensor *x = vector(1, 0, true);
  lurn_release(chain(x, DEEP));
  drop_all();
  end();
}

TEST(a_million_nodes_are_differentiated) {
  begin();
  lurn_tensor *x = vector(1, 0, true), *y = chain(x, DEEP);
  CHECK_NEAR(lurn__f64(y)[0], DEEP, 0);
  backward(y);
  CHECK_VECTOR(lurn_tensor_grad(x), 1);
  lurn_release(y);
  drop_all();
  end();
}

/* Sums of two earlier sums at random: the gradient is the number of ways, which is the value at 1. */
TEST(nodes_met_in_any_order) {
  begin();
  enum { NODES = 1500 };
  for (uint32_t seed = 1; seed <= 3; seed++) {
    lurn_tensor *x = vector(1, 1, true), *node[NODES] = {x}, *y;
    uint32_t state = seed * 2654435761u;
    for (int i = 1; i < NODES; i++) {
      int from[2];
      for (int k = 0; k < 2; k++) {
        state = state * 1664525u + 1013904223u;
        int reach = i < 200 ? i : 200;
        from[k] = i - 1 - (int)((state >> 8) % (uint32_t)reach);
      }
      node[i] = add(node[from[0]], node[from[1]]);
    }
    y = add(node[NODES - 1], add(node[NODES / 2], node[NODES / 3]));
    backward(y);
    CHECK_NEAR(lurn__f64(lurn_tensor_grad(x))[0], lurn__f64(y)[0], 0);
    drop_all();
  }
  end();
}

/* Views of views and writes into them make chains too. */
TEST(a_hundred_thousand_writes) {
  begin();
  lurn_tensor *x = vector(1, 0, true), *base = times(x, 1), *one = vector(1, 1, false), *view = NULL;
  for (int i = 0; i < 100000; i++) {
    CHECK_EQ(lurn_narrow(ctx, base, 0, 0, 1, &view), LURN_OK);
    CHECK_EQ(lurn_add_(ctx, view, one), LURN_OK);
    lurn_release(view);
  }
  backward(base);
  CHECK_VECTOR(lurn_tensor_grad(x), 1);
  drop_all();
  end();
}

/* ---- Functions of the host --------------------------------------------------------------------------------- */

typedef struct host {
  int calls, frees;
  lurn_status answer;
  lurn_status (*inside)(struct host *h); /* what else the callback does */
  lurn_tensor *give, *x, *y;
} host;

static void host_free(void *ud) { ((host *)ud)->frees++; }

/* (a, b) -> a b, a + b */
static lurn_status host_backward(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                                 const bool *need, int n_in) {
  host *h = ud;
  CHECK(n_out == 2 && n_in == 2);
  h->calls++;
  if (h->inside != NULL) {
    lurn_status status = h->inside(h);
    if (status != LURN_OK) return status;
  }
  if (h->answer != LURN_OK) return lurn_fail(c, h->answer, "the host does not want to");
  for (int i = 0; i < 2; i++)
    if (need[i] && grad_out[i] != NULL) grad_in[i] = lurn_retain(h->give != NULL ? h->give : grad_out[i]);
  return LURN_OK;
}

/* Two outputs, of which the first passes gradients to input 0 and the second to input 1. */
static lurn_status run_host(host *h, lurn_tensor *a, lurn_tensor *b, lurn_tensor *out[2]) {
  lurn_tensor *in[2] = {a, b}, *values[2] = {vector(2, 1, false), vector(2, 5, false)};
  return lurn_custom(ctx, "host's own", in, 2, values, 2, host_backward, host_free, h, out);
}

TEST(custom_outputs_and_needs) {
  begin();
  for (int used = 1; used <= 3; used++) {
    host h = {0};
    lurn_tensor *a = vector(2, 1, true), *b = vector(2, 1, used != 3), *out[2], *total = vector(2, 0, false);
    CHECK_EQ(run_host(&h, a, b, out), LURN_OK);
    for (int i = 0; i < 2; i++) keep(out[i]);
    for (int i = 0; i < 2; i++)
      if (used >> i & 1) total = add(total, times(out[i], i + 2));
    backward(sum(total));
    CHECK_EQ(lurn_tensor_grad(a) != NULL, used & 1);
    CHECK_EQ(lurn_tensor_grad(b) != NULL, used == 2);
    if (used & 1) CHECK_VECTOR(lurn_tensor_grad(a), 2, 2);
    if (used == 2) CHECK_VECTOR(lurn_tensor_grad(b), 3, 3);
    CHECK_EQ(h.calls, 1);
    CHECK_EQ(h.frees, 1); /* with the graph, while the outputs live */
    drop_all();
    CHECK_EQ(h.frees, 1);
  }
  end();
}

/* The last reference to a gradient with a history, given away. */
static lurn_status give_last(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                             const bool *need, int n_in) {
  (void)grad_out;
  (void)n_out;
  (void)need;
  (void)n_in;
  bool before = lurn_set_grad_enabled(c, true);
  lurn_status status = lurn_mul(c, ud, ud, &grad_in[0]);
  lurn_set_grad_enabled(c, before);
  return status;
}

/* Writing into a result that is the input would change the input unseen. */
TEST(custom_results_that_are_inputs) {
  begin();
  lurn_tensor *a = vector(2, 3, true), *out = NULL;
  CHECK_EQ(lurn_custom(ctx, "same", &a, 1, &a, 1, give_last, NULL, a, &out), LURN_OK);
  CHECK_EQ(lurn_mul_(ctx, keep(out), vector(2, 10, false)), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "mul_: the tensor shares memory with one that would not learn of the gradient");
  CHECK_VECTOR(a, 3, 4);
  drop_all();
  end();
}

TEST(custom_without_need) {
  begin();
  host h = {0};
  lurn_tensor *a = vector(2, 1, false), *out[20];
  CHECK_EQ(run_host(&h, a, a, out), LURN_OK);
  CHECK_EQ(h.frees, 1);
  CHECK(!lurn_tensor_requires_grad(keep(out[0])) && !lurn_tensor_requires_grad(keep(out[1])));
  lurn_tensor *values[20];
  for (int i = 0; i < 20; i++) values[i] = a;
  CHECK_EQ(lurn_custom(ctx, "wide", &a, 1, values, 20, host_backward, host_free, &h, out), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "wide: 20 outputs; at most 16 are possible");
  CHECK_EQ(h.frees, 2);
  drop_all();
  end();
}

TEST(custom_failures) {
  begin();
  host h = {.answer = LURN_ECALLBACK};
  lurn_tensor *a = vector(2, 1, true), *out[2];
  CHECK_EQ(run_host(&h, a, a, out), LURN_OK);
  lurn_tensor *y = sum(add(keep(out[0]), keep(out[1])));
  check_backward_fails(y, LURN_ECALLBACK, "the host does not want to");
  CHECK(lurn_tensor_grad(a) == NULL);
  h.answer = LURN_OK;
  h.give = vector(3, 1, false);
  y = sum(out[0]);
  check_backward_fails(
      y, LURN_ESHAPE,
      "backward: the backward of host's own gave a gradient of float64 (3) for an input of float64 (2)");
  drop_all();
  CHECK_EQ(h.frees, 1);
  end();
}

/* A gradient with a history must not come to hang on a leaf: it could lead back to it. */
TEST(custom_gradients_with_a_history) {
  begin();
  host h = {0};
  lurn_tensor *a = vector(2, 1, true), *out[2];
  CHECK_EQ(run_host(&h, a, a, out), LURN_OK);
  CHECK_EQ(lurn_mul(ctx, a, a, &h.give), LURN_OK);
  lurn_tensor *y = sum(keep(out[0]));
  keep(out[1]);
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK);
  lurn_release(h.give);
  CHECK(!lurn_tensor_requires_grad(lurn_tensor_grad(a)));
  CHECK_VECTOR(lurn_tensor_grad(a), 1, 4);
  drop_all();
  end();
}

TEST(custom_gradients_given_away_with_a_history) {
  begin();
  lurn_tensor *a = vector(2, 3, true), *out = NULL;
  CHECK_EQ(lurn_custom(ctx, "square", &a, 1, &a, 1, give_last, NULL, a, &out), LURN_OK);
  backward(sum(keep(out)));
  CHECK(!lurn_tensor_requires_grad(lurn_tensor_grad(a)));
  CHECK_VECTOR(lurn_tensor_grad(a), 9, 16);
  drop_all();
  end();
}

static lurn_status sweep_elsewhere(host *h) {
  bool before = lurn_set_grad_enabled(ctx, true);
  lurn_tensor *y = sum(mul(h->x, h->x));
  lurn_set_grad_enabled(ctx, before);
  return lurn_backward(ctx, y, NULL, false);
}

/* A backward inside a callback meets the same leaf, whose gradient both add to. */
TEST(backward_inside_a_callback) {
  begin();
  host h = {.inside = sweep_elsewhere};
  lurn_tensor *a = vector(2, 1, true), *b = vector(2, 1, true), *out[2];
  h.x = a;
  CHECK_EQ(run_host(&h, a, b, out), LURN_OK);
  backward(sum(add(times(keep(out[0]), 100), add(keep(out[1]), times(a, 1000)))));
  CHECK_VECTOR(lurn_tensor_grad(a), 1102, 1104);
  CHECK_VECTOR(lurn_tensor_grad(b), 1, 1);
  drop_all();
  end();
}

static lurn_status sweep_the_same(host *h) { return lurn_backward(ctx, h->y, NULL, true); }

/* A backward inside a callback through nodes that the outer one is at would mix up both. */
TEST(backward_inside_a_callback_through_the_same_graph) {
  begin();
  host h = {.inside = sweep_the_same};
  lurn_tensor *a = vector(2, 1, true), *inner = mul(a, a), *out[2];
  h.y = sum(inner);
  CHECK_EQ(run_host(&h, inner, inner, out), LURN_OK);
  lurn_tensor *y = sum(add(keep(out[0]), keep(out[1])));
  check_backward_fails(y, LURN_ESTATE, "backward: a backward through mul is running already");
  CHECK(lurn_tensor_grad(a) == NULL);
  CHECK_EQ(h.calls, 1);
  backward(h.y); /* afterwards it is free again */
  CHECK_VECTOR(lurn_tensor_grad(a), 2, 4);
  drop_all();
  end();
}

static lurn_status give_back_the_input(host *h) {
  lurn_release(h->x);
  h->x = NULL;
  return LURN_OK;
}

TEST(inputs_of_grad_given_back_by_a_callback) {
  begin();
  host h = {.inside = give_back_the_input};
  lurn_tensor *a = vector(2, 1, true), *out[2], *g = NULL;
  h.x = NULL;
  CHECK_EQ(lurn_mul(ctx, a, a, &h.x), LURN_OK);
  CHECK_EQ(run_host(&h, h.x, a, out), LURN_OK);
  CHECK_EQ(grad_of(sum(keep(out[0])), h.x, false, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 1, 1);
  lurn_release(out[1]);
  drop_all();
  end();
}

TEST(failures_of_custom) {
  int64_t failures = 0;
  for (int64_t n = 1; n < 100; n++) {
    lurn_config config = {.alloc = counting_alloc, .alloc_ud = &memory, .num_threads = 1, .cache_limit = 1};
    memory = (counting){0};
    CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
    host h = {0};
    lurn_tensor *a = vector(2, 1, true), *out[2], *values[2] = {vector(2, 1, false), vector(2, 1, false)},
                *in[2] = {a, a};
    memory.fail_at = memory.calls + n;
    lurn_status status = lurn_custom(ctx, "host's own", in, 2, values, 2, host_backward, host_free, &h, out);
    memory.fail_at = 0;
    CHECK_EQ(h.frees, status != LURN_OK);
    failures += status != LURN_OK;
    for (int i = 0; i < 2 && status == LURN_OK; i++) lurn_release(out[i]);
    CHECK_EQ(h.frees, 1);
    drop_all();
    end();
    if (status == LURN_OK) break;
  }
  CHECK(failures > 0 && failures < 90);
}

/* ---- gradcheck --------------------------------------------------------------------------------------------- */

static lurn_status wrong_backward(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                                  const bool *need, int n_in) {
  (void)ud;
  (void)n_out;
  (void)need;
  (void)n_in;
  lurn_status status = lurn_clone(c, grad_out[0], &grad_in[0]);
  if (status == LURN_OK) lurn__f64(grad_in[0])[2] = 1.5; /* one entry of identity's gradient */
  return status;
}

static lurn_status identity(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)ud;
  (void)n;
  lurn_tensor *y = NULL;
  lurn_status status = lurn_custom(c, "identity", in, 1, in, 1, wrong_backward, NULL, NULL, &y);
  if (status != LURN_OK) return status;
  status = lurn_sum(c, y, NULL, 0, false, out);
  lurn_release(y);
  return status;
}

TEST(gradcheck_finds_a_wrong_entry) {
  begin();
  lurn_gradcheck_result result = {.ok = true};
  lurn_tensor *x = vector(4, 1, true);
  CHECK_EQ(lurn_gradcheck(ctx, identity, NULL, &x, 1, 1e-6, 1e-6, 1e-8, &result), LURN_OK);
  CHECK(!result.ok);
  CHECK_EQ(result.input, 0);
  CHECK_EQ(result.element, 2);
  CHECK_NEAR(result.analytic, 1.5, 0);
  CHECK_NEAR(result.numeric, 1, 1e-8); /* differences of doubles of size 10 over 2e-6 */
  CHECK_VECTOR(x, 1, 2, 3, 4);
  drop_all();
  end();
}

static lurn_status not_a_number(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)ud;
  (void)n;
  lurn_tensor *y = NULL;
  lurn_status status = lurn_log(c, in[0], &y); /* of negative numbers */
  if (status != LURN_OK) return status;
  status = lurn_sum(c, y, NULL, 0, false, out);
  lurn_release(y);
  return status;
}

static lurn_status whole_vector(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)ud;
  (void)n;
  return lurn_exp(c, in[0], out);
}

TEST(gradcheck_errors) {
  begin();
  lurn_gradcheck_result result = {.ok = true};
  lurn_tensor *x = vector(2, -5, true), *plain = vector(2, 1, false), *h = mul(x, x), *narrow_one = NULL;
  CHECK_EQ(lurn_gradcheck(ctx, not_a_number, NULL, &x, 1, 1e-6, 1e-6, 1e-8, &result), LURN_OK);
  CHECK(!result.ok);
  CHECK_EQ(lurn_gradcheck(ctx, identity, NULL, &plain, 1, 1e-6, 1e-6, 1e-8, &result), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "gradcheck: no input requires a gradient");
  CHECK_EQ(lurn_gradcheck(ctx, identity, NULL, &h, 1, 1e-6, 1e-6, 1e-8, &result), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "gradcheck: input 0 must be a float64 leaf");
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 1, (int64_t[]){2}, &narrow_one), LURN_OK);
  CHECK_EQ(lurn_tensor_set_requires_grad(keep(narrow_one), true), LURN_OK);
  CHECK_EQ(lurn_gradcheck(ctx, identity, NULL, &narrow_one, 1, 1e-6, 1e-6, 1e-8, &result), LURN_EVALUE);
  CHECK_EQ(lurn_gradcheck(ctx, whole_vector, NULL, &x, 1, 1e-6, 1e-6, 1e-8, &result), LURN_ESHAPE);
  CHECK_STR(lurn_error(ctx), "gradcheck: the function gave shape (2); expected a single number");
  drop_all();
  end();
}

/* Each evaluation sees a version of its own: what is cached by version would be stale otherwise. */
static uint64_t versions[16];
static int evaluations;
static lurn_status note_version(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)ud;
  (void)n;
  versions[evaluations++] = lurn_tensor_version(in[0]);
  return lurn_sum(c, in[0], NULL, 0, false, out);
}

TEST(gradcheck_touches_what_it_writes) {
  begin();
  lurn_gradcheck_result result = {.ok = false};
  lurn_tensor *x = vector(2, 1, true);
  evaluations = 0;
  lurn_set_grad_enabled(ctx, false); /* also inside no_grad */
  CHECK_EQ(lurn_gradcheck(ctx, note_version, NULL, &x, 1, 1e-6, 1e-6, 1e-8, &result), LURN_OK);
  lurn_set_grad_enabled(ctx, true);
  CHECK(result.ok);
  CHECK_EQ(evaluations, 5);
  for (int i = 1; i < evaluations; i++) CHECK(versions[i] != versions[i - 1]);
  drop_all();
  end();
}
