/* The graph: functions of the host, and gradcheck. */
#include "graph.h"

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

/* ---- Chains ------------------------------------------------------------------------------------------------ */

/* What the function of one link keeps: its input, which is the former link's result. */
typedef struct link {
  lurn_tensor *saved;
  int64_t *frees;
} link;

static void link_free(void *ud) {
  link *l = ud;
  ++*l->frees;
  lurn_release(l->saved);
  free(l);
}

static lurn_status link_backward(lurn_ctx *c, void *ud, lurn_tensor *const *grad_out, int n_out, lurn_tensor **grad_in,
                                 const bool *need, int n_in) {
  (void)c;
  (void)n_out;
  (void)need;
  (void)n_in;
  CHECK(((link *)ud)->saved != NULL);
  grad_in[0] = lurn_retain(grad_out[0]);
  return LURN_OK;
}

/* The last of `length` links, the caller's. */
static lurn_tensor *linked(lurn_tensor *x, int64_t length, int64_t *frees) {
  lurn_tensor *t = lurn_retain(x), *value = vector(1, 1, false);
  for (int64_t i = 0; i < length; i++) {
    link *l = malloc(sizeof *l);
    lurn_tensor *next = NULL;
    if (!CHECK(l != NULL)) return t;
    *l = (link){t, frees};
    if (!CHECK_EQ(lurn_custom(ctx, "link", &t, 1, &value, 1, link_backward, link_free, l, &next), LURN_OK)) return NULL;
    t = next; /* the link keeps the former one */
  }
  return t;
}

/* Whatever hangs on a node goes without recursion: also what a host's function keeps. */
TEST(long_chains_of_custom_functions) {
  const int length = harness_length(300000);
  for (int backward_first = 0; backward_first < 2; backward_first++) {
    begin();
    int64_t frees = 0;
    lurn_tensor *x = vector(1, 1, true), *last = linked(x, length, &frees);
    CHECK_EQ(frees, 0);
    if (backward_first) {
      backward(last);
      CHECK_EQ(frees, length);
      CHECK_VECTOR(lurn_tensor_grad(x), 1);
    }
    lurn_release(last);
    CHECK_EQ(frees, length);
    drop_all();
    end();
  }
}

/* ---- Results that are inputs ------------------------------------------------------------------------------- */

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
