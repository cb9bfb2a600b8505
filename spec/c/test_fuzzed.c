/* Cases that spec/fuzz found. */
#include <math.h>

#include "graph.h"

/* A tensor of ones of the size of the gradient below, the caller's. */
static lurn_tensor *filled_memory(void) {
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_full(ctx, LURN_FLOAT64, 2, (int64_t[]){4, 3}, 1, &t), LURN_OK);
  return t;
}

/* No output features: the gradient of x is 0, not what its memory held before. */
TEST(linear_without_outputs) {
  begin();
  lurn_tensor *x = filled(2, 4, 3, 0, 1, true), *weight = filled(2, 0, 3, 0, 1, true), *y = NULL;
  lurn_release(filled_memory()); /* leaves other numbers in the pool */
  CHECK_EQ(lurn_linear(ctx, x, weight, NULL, &y), LURN_OK);
  keep(y);
  backward(sum(y));
  lurn_tensor *grad = lurn_tensor_grad(x);
  if (CHECK(grad != NULL))
    for (int64_t i = 0; i < 12; i++) CHECK_NEAR(lurn__f64(grad)[i], 0, 0);
  drop_all();
  end();
}

/* dropout that does nothing is a view: writing into it is told to the graph of what it shows. */
TEST(writing_into_an_idle_dropout) {
  begin();
  lurn_tensor *x = vector(3, 1, true), *a = times(x, 2), *d = NULL;
  CHECK_EQ(lurn_dropout(ctx, a, 0.5, false, &d), LURN_OK);
  CHECK_EQ(lurn_mul_(ctx, keep(d), vector(3, 3, false)), LURN_OK);
  CHECK_VECTOR(a, 6, 16, 30);
  backward(sum(a));
  CHECK_VECTOR(lurn_tensor_grad(x), 6, 8, 10);
  drop_all();
  end();
}

/* Class weights get no gradient: that is said, not left out. */
TEST(losses_refuse_weights_that_want_a_gradient) {
  begin();
  lurn_tensor *logits = filled(2, 2, 3, 0, 1, true), *weight = vector(3, 1, true), *targets = NULL, *loss = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_INT64, 1, (int64_t[]){2}, &targets), LURN_OK);
  keep(targets);
  CHECK_EQ(lurn_cross_entropy(ctx, logits, targets, weight, -100, 0, 1, 0, &loss), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "cross_entropy: weight requires a gradient, which it does not get here; detach it");
  CHECK_EQ(lurn_nll_loss(ctx, logits, targets, weight, -100, 1, 0, &loss), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "nll_loss: weight requires a gradient");
  lurn_set_grad_enabled(ctx, false);
  CHECK_EQ(lurn_cross_entropy(ctx, logits, targets, weight, -100, 0, 1, 0, &loss), LURN_OK);
  keep(loss);
  lurn_set_grad_enabled(ctx, true);
  drop_all();
  end();
}

/* A choice that there is not is told, not taken for another. */
TEST(choices_that_there_are_not) {
  begin();
  lurn_tensor *x = vector(3, 1, false), *cube = NULL, *w = filled(2, 1, 1, 0, 1, false), *y = NULL, *h = NULL;
  CHECK_EQ(lurn_gelu(ctx, x, 2, &y), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "gelu: approximate is 2; expected 0 (none) or 1 (tanh)");
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT64, 3, (int64_t[]){2, 1, 1}, &cube), LURN_OK);
  CHECK_EQ(lurn_rnn(ctx, keep(cube), w, w, NULL, NULL, NULL, NULL, 3, false, NULL, &y, &h), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "rnn: nonlinearity is 3; expected 0 (tanh), 1 (relu) or 2 (sigmoid)");
  drop_all();
  end();
}

/* Squares of integers do not fit their dtype, and flags cannot be negated. */
TEST(gradients_of_atan2_beside_integers) {
  static const lurn_dtype dtypes[] = {LURN_UINT8, LURN_INT32, LURN_BOOL};
  static const double values[] = {200, 65536, 1};
  begin();
  for (int i = 0; i < 3; i++) {
    double v = values[i], slope = 0;
    lurn_tensor *other = NULL, *x = NULL, *y = NULL;
    CHECK_EQ(lurn_full(ctx, dtypes[i], 0, NULL, v, &other), LURN_OK);
    CHECK_EQ(lurn_full(ctx, LURN_FLOAT64, 0, NULL, 3, &x), LURN_OK);
    CHECK_EQ(lurn_tensor_set_requires_grad(x, true), LURN_OK);
    CHECK_EQ(lurn_atan2(ctx, other, x, &y), LURN_OK);
    CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK);
    if (CHECK(lurn_tensor_grad(x) != NULL)) CHECK_EQ(lurn_tensor_get(lurn_tensor_grad(x), NULL, &slope), LURN_OK);
    CHECK(fabs(slope + v / (v * v + 9)) < 1e-12);
    lurn_release(y);
    CHECK_EQ(lurn_tensor_set_grad(x, NULL), LURN_OK);
    CHECK_EQ(lurn_atan2(ctx, x, other, &y), LURN_OK);
    CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK);
    if (CHECK(lurn_tensor_grad(x) != NULL)) CHECK_EQ(lurn_tensor_get(lurn_tensor_grad(x), NULL, &slope), LURN_OK);
    CHECK(fabs(slope - v / (v * v + 9)) < 1e-12);
    lurn_release(y);
    lurn_release(x);
    lurn_release(other);
  }
  end();
}

/* Sorting leaves NaN last: numbers belong before it, on either side of their equals. */
TEST(searchsorted_before_nan) {
  begin();
  lurn_tensor *sorted = vector(3, 1, false), *value = vector(1, 2, false), *place = NULL;
  lurn__f64(sorted)[2] = (double)NAN;
  for (int right = 0; right < 2; right++) {
    CHECK_EQ(lurn_searchsorted(ctx, sorted, value, right, 0, &place), LURN_OK);
    CHECK_EQ(lurn__i64(keep(place))[0], 1 + right);
  }
  lurn__f64(value)[0] = 5;
  for (int right = 0; right < 2; right++) {
    CHECK_EQ(lurn_searchsorted(ctx, sorted, value, right, 0, &place), LURN_OK);
    CHECK_EQ(lurn__i64(keep(place))[0], 2);
  }
  drop_all();
  end();
}
