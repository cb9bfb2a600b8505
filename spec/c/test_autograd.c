/* The graph: sweeps, nodes with several outputs, depth. */
#include "graph.h"

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
  CHECK_EQ(lurn_topk(ctx, x, 2, 0, true, true, 0, &top, &places), LURN_OK);
  keep(top);
  lurn_release(places);
  backward(add(sum(top), values));
  CHECK_VECTOR(lurn_tensor_grad(x), 0, 0, 1, 2);
  drop_all();
  end();
}

/* The gradient of a sum of some outputs is the sum of the gradients of each, whichever are left out. */
TEST(any_outputs_of_a_recurrent_node) {
  begin();
  double alone[3] = {0}, together;
  lurn_tensor *x = filled(3, 4, 2, 3, 0.1, true), *w = filled(2, 8, 3, 0, 0.2, true),
              *u = filled(2, 8, 2, 0, -0.1, true);
  for (int set = 1; set < 8; set++) {
    lurn_tensor *out[3], *total = vector(1, 0, false), *g = NULL;
    CHECK_EQ(lurn_lstm(ctx, x, w, u, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, false, NULL, &out[0],
                       &out[1], &out[2]),
             LURN_OK);
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

enum { MILLION = 1000000 };

TEST(a_million_nodes_are_freed) {
  begin();
  lurn_tensor *x = vector(1, 0, true);
  lurn_release(chain(x, harness_length(MILLION)));
  drop_all();
  end();
}

TEST(a_million_nodes_are_differentiated) {
  begin();
  int length = harness_length(MILLION);
  lurn_tensor *x = vector(1, 0, true), *y = chain(x, length);
  CHECK_NEAR(lurn__f64(y)[0], length, 0);
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
  for (int i = harness_length(100000); i > 0; i--) {
    CHECK_EQ(lurn_narrow(ctx, base, 0, 0, 1, &view), LURN_OK);
    CHECK_EQ(lurn_add_(ctx, view, one), LURN_OK);
    lurn_release(view);
  }
  backward(base);
  CHECK_VECTOR(lurn_tensor_grad(x), 1);
  drop_all();
  end();
}
