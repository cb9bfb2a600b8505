/* NULL where the header does not allow it: an error that says what is missing, nothing changed, nothing left behind. */
#include "graph.h"

#include "counting.h"

static void refused(lurn_status status, const char *message) {
  CHECK_EQ(status, LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), message);
}

static lurn_status square(lurn_ctx *c, void *ud, lurn_tensor *const *in, int n, lurn_tensor **out) {
  (void)ud;
  (void)n;
  return lurn_mul(c, in[0], in[0], out);
}

static lurn_status no_gradient(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                               const bool *need, int n_in) {
  (void)c, (void)ud, (void)grad_out, (void)n_out, (void)grad_in, (void)need, (void)n_in;
  return LURN_OK;
}

/* ---- Contexts and objects ---------------------------------------------------------------------------------- */

TEST(no_context) {
  lurn_tensor *t = NULL;
  lurn_archive *archive = NULL;
  lurn_optim *opt = NULL;
  lurn_record *record = NULL;
  CHECK_EQ(lurn_ctx_new(NULL, NULL), LURN_EVALUE);
  CHECK_STR(lurn_error(NULL), "no context given");
  CHECK_EQ(lurn_fail(NULL, LURN_EIO, "%s", "x"), LURN_EIO);
  CHECK_EQ(lurn_set_num_threads(NULL, 1), LURN_EVALUE);
  CHECK_EQ(lurn_zeros(NULL, LURN_FLOAT32, 0, NULL, &t), LURN_EVALUE);
  CHECK_EQ(lurn_scalar(NULL, 1, &t), LURN_EVALUE);
  CHECK_EQ(lurn_cat(NULL, NULL, 0, 0, &t), LURN_EVALUE);
  CHECK_EQ(lurn_randperm(NULL, 2, 0, &t), LURN_EVALUE);
  CHECK_EQ(lurn_backward(NULL, t, NULL, false), LURN_EVALUE);
  CHECK_EQ(lurn_grad(NULL, NULL, 0, NULL, NULL, 0, false, NULL), LURN_EVALUE);
  CHECK_EQ(lurn_record_new(NULL, &record), LURN_EVALUE);
  CHECK_EQ(lurn_optim_new(NULL, LURN_SGD, &opt), LURN_EVALUE);
  CHECK_EQ(lurn_save(NULL, "/nowhere", NULL, NULL, 0, NULL, 0), LURN_EVALUE);
  CHECK_EQ(lurn_archive_open(NULL, "/nowhere", &archive), LURN_EVALUE);
  CHECK(t == NULL && archive == NULL && opt == NULL && record == NULL);
  lurn_ctx_free(NULL);
}

TEST(no_object) {
  double x = 0;
  int64_t i = 0;
  char name[64];
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_tensor_get(NULL, NULL, &x), LURN_EVALUE);
  CHECK_EQ(lurn_tensor_get_int(NULL, NULL, &i), LURN_EVALUE);
  CHECK_EQ(lurn_tensor_set(NULL, NULL, 1), LURN_EVALUE);
  CHECK_EQ(lurn_tensor_set_int(NULL, NULL, 1), LURN_EVALUE);
  CHECK_EQ(lurn_tensor_set_requires_grad(NULL, true), LURN_EVALUE);
  CHECK_EQ(lurn_tensor_set_grad(NULL, NULL), LURN_EVALUE);
  CHECK_EQ(lurn_optim_add_group(NULL, NULL, 0, NULL, NULL), LURN_EVALUE);
  CHECK_EQ(lurn_optim_step(NULL), LURN_EVALUE);
  CHECK_EQ(lurn_optim_state_at(NULL, 0, name, &t), LURN_EVALUE);
  CHECK_EQ(lurn_optim_set_state(NULL, "state.0.step", NULL), LURN_EVALUE);
  CHECK_EQ(lurn_archive_tensor(NULL, 0, &t), LURN_EVALUE);
  CHECK(lurn_retain(NULL) == NULL && lurn_record_retain(NULL) == NULL && t == NULL);
  CHECK(lurn_record_get(NULL, LURN_RECORD_HIDDEN) == NULL);
  lurn_release(NULL);
  lurn_record_release(NULL);
  lurn_optim_free(NULL);
  lurn_archive_close(NULL);
}

TEST(nothing_to_find) {
  lurn_dtype dtype = LURN_BOOL;
  CHECK(!lurn_dtype_parse(NULL, &dtype) && dtype == LURN_BOOL);
  CHECK(lurn_dtype_parse("int32", NULL));
  CHECK(lurn_op_find(NULL) == NULL && lurn_op_doc(NULL) == NULL && !lurn_op_is_differentiable(NULL));
}

/* ---- Tensors ----------------------------------------------------------------------------------------------- */

TEST(no_shape_data_or_index) {
  begin();
  lurn_tensor *x = vector(2, 1, false), *t = NULL;
  float data[] = {1, 2};
  const int64_t *none = NULL, first[] = {0};
  double value = 0;
  int64_t number = 0;
  refused(lurn_empty(ctx, LURN_FLOAT32, 1, none, &t), "empty: no shape given");
  refused(lurn_zeros(ctx, LURN_FLOAT32, 1, none, &t), "zeros: no shape given");
  refused(lurn_full(ctx, LURN_FLOAT32, 1, none, 1, &t), "full: no shape given");
  refused(lurn_from_data(ctx, LURN_FLOAT32, 1, none, data, &t), "from_data: no shape given");
  refused(lurn_from_data(ctx, LURN_FLOAT32, 0, none, NULL, &t), "from_data: no data given");
  refused(lurn_from_buffer(ctx, LURN_FLOAT32, 1, none, data, NULL, NULL, &t), "from_buffer: no shape given");
  refused(lurn_from_buffer(ctx, LURN_FLOAT32, 0, none, NULL, NULL, NULL, &t), "from_buffer: no buffer");
  refused(lurn_randint(ctx, 0, 1, 1, none, &t), "randint: no shape given");
  refused(lurn_tensor_get(x, none, &value), "get: no index given");
  refused(lurn_tensor_get(x, first, NULL), "get: no place for the result given");
  refused(lurn_tensor_get_int(x, none, &number), "get: no index given");
  refused(lurn_tensor_get_int(x, first, NULL), "get: no place for the result given");
  refused(lurn_tensor_set(x, none, 1), "set: no index given");
  refused(lurn_tensor_set_int(x, none, 1), "set: no index given");
  CHECK(t == NULL);
  CHECK_EQ(lurn_from_data(ctx, LURN_FLOAT32, 1, (int64_t[]){0}, NULL, &t), LURN_OK); /* none is needed */
  lurn_release(t);
  drop_all();
  end();
}

TEST(no_place_for_a_tensor) {
  begin();
  lurn_tensor *x = vector(2, 1, false);
  float data = 1;
  const char *missing = "%s: no place for the result given";
  static const char *const names[] = {"empty",      "zeros",      "full",   "from_data", "from_buffer",
                                      "scalar",     "scalar_int", "detach", "randint",   "randperm",
                                      "record_new", "optim",      "einsum"};
  lurn_status statuses[sizeof names / sizeof *names];
  char texts[sizeof names / sizeof *names][64];
#define KEEP(i, call) statuses[i] = (call), snprintf(texts[i], sizeof texts[i], "%.63s", lurn_error(ctx))
  KEEP(0, lurn_empty(ctx, LURN_FLOAT32, 0, NULL, NULL));
  KEEP(1, lurn_zeros(ctx, LURN_FLOAT32, 0, NULL, NULL));
  KEEP(2, lurn_full(ctx, LURN_FLOAT32, 0, NULL, 1, NULL));
  KEEP(3, lurn_from_data(ctx, LURN_FLOAT32, 0, NULL, &data, NULL));
  KEEP(4, lurn_from_buffer(ctx, LURN_FLOAT32, 0, NULL, &data, NULL, NULL, NULL));
  KEEP(5, lurn_scalar(ctx, 1, NULL));
  KEEP(6, lurn_scalar_int(ctx, 1, NULL));
  KEEP(7, lurn_detach(ctx, x, NULL));
  KEEP(8, lurn_randint(ctx, 0, 1, 0, NULL, NULL));
  KEEP(9, lurn_randperm(ctx, 3, 0, NULL));
  KEEP(10, lurn_record_new(ctx, NULL));
  KEEP(11, lurn_optim_new(ctx, LURN_SGD, NULL));
  KEEP(12, lurn_einsum(ctx, "i", &x, 1, NULL));
#undef KEEP
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char expected[64];
    snprintf(expected, sizeof expected, missing, names[i]);
    CHECK_EQ(statuses[i], LURN_EVALUE);
    CHECK_STR(texts[i], expected);
  }
  drop_all();
  end();
}

/* ---- Ops --------------------------------------------------------------------------------------------------- */

TEST(ops_of_nothing) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *none = NULL, *t = NULL;
  const lurn_op_info *mul = lurn_op_find("mul");
  struct lurn_list nothing = {0};
  refused(lurn_mul(ctx, NULL, x, &t), "mul: no tensor given for a");
  refused(lurn_mul(ctx, x, x, NULL), "mul: no place for the result given");
  refused(lurn_max(ctx, x, 0, false, 0, NULL, &t), "max: no place for the result given");
  refused(lurn_max(ctx, x, 0, false, 0, &t, NULL), "max: no place for the result given");
  refused(lurn_mul_(ctx, NULL, x), "mul: no tensor given for a");
  refused(lurn_op_call(ctx, NULL, &nothing, &t), "op_call: no op given");
  refused(lurn_op_call(ctx, mul, NULL, &t), "mul: no arguments given");
  refused(lurn_op_call(ctx, mul, &nothing, NULL), "mul: no place for the result given");
  refused(lurn_op_call_inplace(ctx, NULL, &nothing), "op_call_inplace: no op given");
  refused(lurn_op_call_inplace(ctx, mul, NULL), "mul: no arguments given");
  refused(lurn_einsum(ctx, NULL, &x, 1, &t), "einsum: no equation given");
  refused(lurn_einsum(ctx, "i", NULL, 1, &t), "einsum: no operands given");
  refused(lurn_einsum(ctx, "i", &none, 1, &t), "einsum: no tensor given for operand 0");
  refused(lurn_detach(ctx, NULL, &t), "detach: no tensor given");
  refused(lurn_uniform_(ctx, NULL, 0, 1), "uniform_: no tensor given");
  refused(lurn_normal_(ctx, NULL, 0, 1), "normal_: no tensor given");
  refused(lurn_bernoulli_(ctx, NULL, 0), "bernoulli_: no tensor given");
  CHECK(t == NULL);
  drop_all();
  end();
}

/* ---- Gradients --------------------------------------------------------------------------------------------- */

TEST(gradients_of_and_to_nothing) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *none = NULL, *y = NULL, *g = NULL;
  lurn_gradcheck_result result;
  CHECK_EQ(lurn_mul(ctx, x, x, &y), LURN_OK);
  keep(y);
  refused(lurn_backward(ctx, NULL, NULL, false), "backward: a tensor is missing");
  refused(lurn_grad(ctx, NULL, 1, NULL, &x, 1, false, &g), "grad: no tensors given");
  refused(lurn_grad(ctx, &none, 1, NULL, &x, 1, false, &g), "grad: a tensor is missing");
  refused(lurn_grad(ctx, &y, 1, NULL, NULL, 1, false, &g), "grad: no tensors given");
  refused(lurn_grad(ctx, &y, 1, NULL, &none, 1, false, &g), "grad: a tensor is missing");
  refused(lurn_grad(ctx, &y, 1, NULL, &x, 1, false, NULL), "grad: no place for the result given");
  refused(lurn_gradcheck(ctx, NULL, NULL, &x, 1, 1e-6, 1e-4, 1e-4, &result), "gradcheck: no function given");
  refused(lurn_gradcheck(ctx, square, NULL, NULL, 1, 1e-6, 1e-4, 1e-4, &result), "gradcheck: no inputs given");
  refused(lurn_gradcheck(ctx, square, NULL, &none, 1, 1e-6, 1e-4, 1e-4, &result), "gradcheck: a tensor is missing");
  refused(lurn_gradcheck(ctx, square, NULL, &x, 1, 1e-6, 1e-4, 1e-4, NULL), "gradcheck: no place for the result given");
  refused(lurn_clip_grad_norm(ctx, NULL, 1, 1, NULL), "clip_grad_norm: no parameters given");
  refused(lurn_clip_grad_norm(ctx, &none, 1, 1, NULL), "clip_grad_norm: parameter 0 is missing");
  refused(lurn_clip_grad_value(ctx, NULL, 1, 1), "clip_grad_value: no parameters given");
  CHECK(g == NULL);
  drop_all();
  end();
}

static int freed;
static void count_freed(void *ud) { freed += ud != NULL; }

TEST(custom_functions_of_nothing) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *none = NULL, *y = NULL;
#define CUSTOM(name, in, values, backward, out)                                                                        \
  lurn_custom(ctx, name, in, 1, values, 1, backward, count_freed, &freed, out)
  freed = 0;
  refused(CUSTOM(NULL, &x, &x, no_gradient, &y), "custom: no name given");
  refused(CUSTOM("f", NULL, &x, no_gradient, &y), "f: no tensors given");
  refused(CUSTOM("f", &none, &x, no_gradient, &y), "f: a tensor is missing");
  refused(CUSTOM("f", &x, NULL, no_gradient, &y), "f: no tensors given");
  refused(CUSTOM("f", &x, &none, no_gradient, &y), "f: a tensor is missing");
  refused(CUSTOM("f", &x, &x, NULL, &y), "f: no backward function given");
  refused(CUSTOM("f", &x, &x, no_gradient, NULL), "f: no place for the result given");
#undef CUSTOM
  CHECK_EQ(freed, 7);
  CHECK(y == NULL);
  drop_all();
  end();
}

TEST(leaves_of_nothing) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *none = NULL, *leaf = NULL;
  int64_t n = -1;
  refused(lurn_graph_leaves(ctx, NULL, &x, 1, NULL, 0, 0, 1, &leaf, &n), "graph_leaves: no name given");
  refused(lurn_graph_leaves(ctx, "f", NULL, 1, NULL, 0, 0, 1, &leaf, &n), "f: no tensors given");
  refused(lurn_graph_leaves(ctx, "f", &none, 1, NULL, 0, 0, 1, &leaf, &n), "f: a tensor is missing");
  refused(lurn_graph_leaves(ctx, "f", &x, 1, NULL, 1, 0, 1, &leaf, &n), "f: no known tensors given");
  refused(lurn_graph_leaves(ctx, "f", &x, 1, NULL, 0, 0, 1, NULL, &n), "f: no place for the result given");
  refused(lurn_graph_leaves(ctx, "f", &x, 1, NULL, 0, 0, 1, &leaf, NULL), "f: no place for the result given");
  CHECK(leaf == NULL && n == -1);
  CHECK_EQ(lurn_graph_leaves(ctx, "f", &x, 1, NULL, 0, 0, 0, NULL, &n), LURN_OK); /* only counted */
  CHECK_EQ(n, 1);
  drop_all();
  end();
}

/* ---- Optimizers and files ---------------------------------------------------------------------------------- */

TEST(optimizers_of_nothing) {
  begin();
  lurn_optim *opt = NULL;
  lurn_tensor *x = vector(2, 1, true), *none = NULL, *t = NULL;
  char name[64];
  CHECK_EQ(lurn_optim_new(ctx, LURN_ADAM, &opt), LURN_OK);
  refused(lurn_optim_add_group(opt, NULL, 1, NULL, NULL), "Adam: no parameters given");
  refused(lurn_optim_add_group(opt, &none, 1, NULL, NULL), "Adam: parameter 0 is missing");
  CHECK_EQ(lurn_optim_groups(opt), 0);
  CHECK_EQ(lurn_optim_add_group(opt, &x, 1, NULL, NULL), LURN_OK);
  refused(lurn_optim_state_at(opt, 0, NULL, &t), "Adam: no place for the name given");
  refused(lurn_optim_state_at(opt, 0, name, NULL), "Adam: no place for the result given");
  refused(lurn_optim_set_state(opt, NULL, x), "Adam: no name given");
  refused(lurn_optim_set_state(opt, "state.0.step", NULL), "Adam: no tensor given for a state");
  lurn_optim_free(opt);
  drop_all();
  end();
}

static lurn_status see_nothing(lurn_ctx *c, void *ud, lurn_tensor *grad, lurn_tensor **out) {
  (void)c, (void)ud, (void)grad, (void)out;
  return LURN_OK;
}

TEST(hooks_of_nothing) {
  begin();
  lurn_tensor *x = vector(2, 1, true);
  lurn_hook *hook = NULL;
  lurn_trace trace;
  int64_t count = 0;
  refused(lurn_add_hook(ctx, x, NULL, NULL, NULL, &hook), "register_hook: no function given");
  CHECK_EQ(lurn_add_hook(ctx, NULL, see_nothing, NULL, NULL, &hook), LURN_EVALUE);
  CHECK_EQ(lurn_retain_grad(ctx, NULL), LURN_EVALUE);
  CHECK_EQ(lurn_graph_trace(ctx, NULL, 1, 1, &trace, &count), LURN_EVALUE);
  refused(lurn_graph_trace(ctx, &x, 1, 1, NULL, &count), "graph_trace: no place for the result given");
  refused(lurn_graph_trace(ctx, &x, 1, 1, &trace, NULL), "graph_trace: no place for the result given");
  CHECK(hook == NULL && count == 0);
  lurn_hook_remove(NULL);
  lurn_hook_release(NULL);
  drop_all();
  end();
}

TEST(files_of_nothing) {
  static const char empty[] = "\2\0\0\0\0\0\0\0{}";
  begin();
  lurn_archive *archive = NULL;
  lurn_tensor *x = vector(2, 1, false), *none = NULL;
  const char *name = "x", *unnamed = NULL, *half[] = {"k", NULL};
  refused(lurn_save(ctx, "/nowhere", &name, &none, 1, NULL, 0), "save: tensor \"x\" is missing");
  refused(lurn_save(ctx, "/nowhere", &unnamed, &x, 1, NULL, 0), "save: a name is missing");
  refused(lurn_save(ctx, "/nowhere", &name, &x, 1, half, 1), "save: a metadata value is missing");
  refused(lurn_archive_open(ctx, NULL, &archive), "load: no path given");
  refused(lurn_archive_open(ctx, "/nowhere", NULL), "load: no place for the result given");
  refused(lurn_archive_open_memory(ctx, NULL, empty, 10, &archive), "load: no name given");
  refused(lurn_archive_open_memory(ctx, "m", NULL, 10, &archive), "load: no bytes given");
  refused(lurn_archive_open_memory(ctx, "m", empty, 10, NULL), "load: no place for the result given");
  CHECK(archive == NULL);
  CHECK_EQ(lurn_archive_open_memory(ctx, "m", empty, 10, &archive), LURN_OK);
  refused(lurn_archive_tensor(archive, 0, NULL), "m: no place for the result given");
  CHECK_EQ(lurn_archive_find(archive, NULL), -1);
  lurn_archive_close(archive);
  drop_all();
  end();
}
