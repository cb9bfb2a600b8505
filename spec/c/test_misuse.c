/* Wrong arguments to the public functions: an error that says so, and nothing changed. */
#include "graph.h"

#include "counting.h"

static lurn_status square(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)ud;
  (void)n;
  return lurn_mul(c, in[0], in[0], out);
}

static lurn_status pass_on(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                           const bool *need, int n_in) {
  (void)c;
  (void)ud;
  (void)n_out;
  (void)n_in;
  if (need[0]) grad_in[0] = lurn_retain(grad_out[0]);
  return LURN_OK;
}

static void refused(lurn_status status, lurn_status expected, const char *message) {
  CHECK_EQ(status, expected);
  CHECK_STR(lurn_error(ctx), message);
}

/* ---- Tensors of another context, and none ------------------------------------------------------------------ */

/* In both contexts a sweep has the same number, and places in its lists mean nothing in the other. */
TEST(gradients_of_another_context) {
  counting other_memory;
  begin();
  lurn_ctx *mine = ctx, *other = counted_ctx(&other_memory, 1);
  lurn_tensor *x = vector(1, 3, true), *y = mul(x, x), *leaves[4], *total, *out[1] = {NULL};
  ctx = other;
  for (int i = 0; i < 4; i++) leaves[i] = vector(1, i, true);
  total = add(add(leaves[0], leaves[1]), add(leaves[2], leaves[3]));
  CHECK_EQ(lurn_backward(other, total, NULL, false), LURN_OK);
  ctx = mine;
  refused(lurn_grad(ctx, &y, 1, NULL, &leaves[3], 1, true, out), LURN_ESTATE,
          "grad: a tensor belongs to another context");
  refused(lurn_grad(ctx, &total, 1, NULL, &x, 1, true, out), LURN_ESTATE, "grad: a tensor belongs to another context");
  lurn_gradcheck_result result;
  refused(lurn_gradcheck(ctx, square, NULL, &leaves[3], 1, 1e-6, 1e-6, 1e-6, &result), LURN_ESTATE,
          "gradcheck: a tensor belongs to another context");
  int64_t n = 7;
  refused(lurn_graph_leaves(ctx, "anew", &total, 1, NULL, 0, 0, 1, out, &n), LURN_ESTATE,
          "anew: a tensor belongs to another context");
  CHECK(out[0] == NULL && n == 7);
  drop_all();
  lurn_ctx_free(other);
  check_all_freed(&other_memory);
  end();
}

TEST(gradients_of_nothing) {
  begin();
  lurn_tensor *x = vector(1, 3, true), *y = mul(x, x), *none = NULL, *out[1] = {NULL};
  refused(lurn_backward(ctx, NULL, NULL, false), LURN_EVALUE, "backward: a tensor is missing");
  refused(lurn_grad(ctx, &none, 1, NULL, &x, 1, true, out), LURN_EVALUE, "grad: a tensor is missing");
  refused(lurn_grad(ctx, &y, 1, NULL, &none, 1, true, out), LURN_EVALUE, "grad: a tensor is missing");
  refused(lurn_grad(ctx, &y, 1, NULL, &x, -1, true, out), LURN_EVALUE, "grad: -1 tensors");
  lurn_gradcheck_result result;
  refused(lurn_gradcheck(ctx, square, NULL, &none, 1, 1e-6, 1e-6, 1e-6, &result), LURN_EVALUE,
          "gradcheck: a tensor is missing");
  refused(lurn_custom(ctx, "own", &none, 1, &x, 1, pass_on, NULL, NULL, out), LURN_EVALUE, "own: a tensor is missing");
  refused(lurn_custom(ctx, "own", &x, 1, &none, 1, pass_on, NULL, NULL, out), LURN_EVALUE, "own: a tensor is missing");
  refused(lurn_custom(ctx, "own", &x, 1, &x, -1, pass_on, NULL, NULL, out), LURN_EVALUE, "own: -1 tensors");
  CHECK(out[0] == NULL);
  drop_all();
  end();
}

TEST(random_numbers_into_another_context) {
  counting other_memory;
  begin();
  lurn_ctx *mine = ctx, *other = counted_ctx(&other_memory, 1);
  ctx = other;
  lurn_tensor *t = vector(2, 5, false);
  ctx = mine;
  refused(lurn_uniform_(ctx, t, 0, 1), LURN_ESTATE, "uniform_: the tensor belongs to another context");
  refused(lurn_normal_(ctx, t, 0, 1), LURN_ESTATE, "normal_: the tensor belongs to another context");
  refused(lurn_bernoulli_(ctx, t, 0.5), LURN_ESTATE, "bernoulli_: the tensor belongs to another context");
  refused(lurn_uniform_(ctx, NULL, 0, 1), LURN_EVALUE, "uniform_: no tensor given");
  CHECK_VECTOR(t, 5, 6);
  drop_all();
  lurn_ctx_free(other);
  check_all_freed(&other_memory);
  end();
}

TEST(a_record_of_another_context) {
  counting other_memory;
  begin();
  lurn_ctx *other = counted_ctx(&other_memory, 1);
  lurn_record *record = NULL;
  CHECK_EQ(lurn_record_new(other, &record), LURN_OK);
  lurn_tensor *x = NULL, *h = NULL, *y = NULL, *last = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 3, (int64_t[]){2, 1, 1}, &x), LURN_OK);
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 2, (int64_t[]){1, 1}, &h), LURN_OK);
  refused(lurn_rnn(ctx, x, h, h, NULL, NULL, NULL, NULL, 0, false, record, &y, &last), LURN_ESTATE,
          "rnn: the record belongs to another context");
  CHECK(lurn_record_get(record, LURN_RECORD_HIDDEN) == NULL);
  CHECK(lurn_record_get(record, LURN_RECORD_FIELDS) == NULL);
  lurn_record_release(record);
  lurn_release(x);
  lurn_release(h);
  lurn_ctx_free(other);
  check_all_freed(&other_memory);
  end();
}

/* ---- Lists ------------------------------------------------------------------------------------------------- */

TEST(lists_of_no_size) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *y = NULL;
  refused(lurn_cat(ctx, &x, -1, 0, &y), LURN_EVALUE, "cat: no list of -1 given for tensors");
  refused(lurn_cat(ctx, NULL, 2, 0, &y), LURN_EVALUE, "cat: no list of 2 given for tensors");
  refused(lurn_sum(ctx, x, (int64_t[]){0}, -1, false, &y), LURN_EVALUE, "sum: no list of -1 given for dim");
  refused(lurn_reshape(ctx, x, NULL, 1, &y), LURN_EVALUE, "reshape: no list of 1 given for sizes");
  CHECK(y == NULL);
  drop_all();
  end();
}

TEST(bases_beyond_all_positions) {
  begin();
  lurn_tensor *x = vector(2, 1, false), *y = NULL;
  refused(lurn_nonzero(ctx, x, INT64_MAX, &y), LURN_EVALUE,
          "nonzero: base is 9223372036854775807; expected a number that indices can count from");
  CHECK(y == NULL);
  CHECK_EQ(lurn_nonzero(ctx, x, INT64_MAX / 2, &y), LURN_OK);
  CHECK_EQ(lurn__i64(y)[1], INT64_MAX / 2 + 1);
  lurn_release(y);
  drop_all();
  end();
}

/* Without elements too, strides are products of sizes. */
TEST(empty_tensors_of_sizes_without_bounds) {
  begin();
  lurn_tensor *x = vector(0, 0, false), *y = NULL;
  const int64_t sizes[] = {0, (int64_t)1 << 62, 3}, unknown[] = {-1, (int64_t)1 << 62, 3};
  refused(lurn_reshape(ctx, x, sizes, 3, &y), LURN_ENOMEM,
          "reshape: a tensor of shape (0, 4611686018427387904, 3) is larger than memory can be");
  refused(lurn_view(ctx, x, sizes, 3, &y), LURN_ENOMEM,
          "view: a tensor of shape (0, 4611686018427387904, 3) is larger than memory can be");
  CHECK_EQ(lurn_reshape(ctx, x, unknown, 3, &y), LURN_ESHAPE);
  CHECK(y == NULL);
  drop_all();
  end();
}

/* ---- Others ------------------------------------------------------------------------------------------------ */

TEST(permutations_end_with_the_numbers) {
  begin();
  lurn_tensor *t = NULL;
  refused(lurn_randperm(ctx, 2, INT64_MAX, &t), LURN_EVALUE, "randperm: 2 numbers from 9223372036854775807 on");
  refused(lurn_randperm(ctx, -2, 0, &t), LURN_ESHAPE, "randperm: negative size -2");
  CHECK(t == NULL);
  CHECK_EQ(lurn_randperm(ctx, 2, INT64_MAX - 1, &t), LURN_OK);
  int64_t a = lurn__i64(t)[0], b = lurn__i64(t)[1];
  CHECK((a == INT64_MAX && b == INT64_MAX - 1) || (b == INT64_MAX && a == INT64_MAX - 1));
  lurn_release(t);
  end();
}

TEST(a_state_of_nothing) {
  begin();
  lurn_optim *opt = NULL;
  CHECK_EQ(lurn_optim_new(ctx, LURN_ADAM, &opt), LURN_OK);
  refused(lurn_optim_set_state(opt, "state.0.step", NULL), LURN_EVALUE, "Adam: no tensor given for a state");
  lurn_optim_free(opt);
  end();
}

/* The name that a custom function is given may go once it is given. */
TEST(a_custom_function_keeps_its_name) {
  begin();
  char name[] = "first";
  lurn_tensor *x = vector(1, 3, true), *y = NULL;
  CHECK_EQ(lurn_custom(ctx, name, &x, 1, &x, 1, pass_on, NULL, NULL, &y), LURN_OK);
  memcpy(name, "other", sizeof name);
  CHECK_STR(lurn_tensor_maker(keep(y)), "first");
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_OK);
  CHECK_STR(lurn_tensor_maker(y), "first");
  CHECK_EQ(lurn_backward(ctx, y, NULL, false), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "through first;");
  drop_all();
  end();
}

TEST(saving_nothing_to_nowhere) {
  begin();
  lurn_tensor *x = vector(1, 3, false);
  const char *name = "x";
  refused(lurn_save(ctx, NULL, &name, &x, 1, NULL, 0), LURN_EVALUE, "save: no path given");
  refused(lurn_save(ctx, "/nowhere", NULL, &x, 1, NULL, 0), LURN_EVALUE, "save: no names given");
  refused(lurn_save(ctx, "/nowhere", &name, NULL, 1, NULL, 0), LURN_EVALUE, "save: no tensors given");
  refused(lurn_save(ctx, "/nowhere", &name, &x, 1, NULL, 1), LURN_EVALUE, "save: no metadata given");
  drop_all();
  end();
}
