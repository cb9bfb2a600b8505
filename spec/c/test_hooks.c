/* Hooks on gradients, and results that keep theirs. */
#include "graph.h"

/* ---- What a hook does -------------------------------------------------------------------------------------- */

typedef struct spy {
  int calls, frees;
  double factor;      /* the gradient is changed by it, unless 0 */
  lurn_status answer; /* fails with it */
  lurn_tensor *give;  /* given as the gradient */
  lurn_tensor *held;  /* the gradient of the last call, where `holds` */
  bool holds;
  void (*inside)(struct spy *s);
  lurn_hook *handle, *other;
  lurn_tensor *x;
  double seen; /* first element of the last gradient */
} spy;

static void spy_free(void *ud) { ((spy *)ud)->frees++; }

static lurn_status spy_hook(lurn_ctx *c, void *ud, lurn_tensor *grad, lurn_tensor **out) {
  spy *s = ud;
  s->calls++;
  CHECK(!lurn_grad_enabled(c));
  s->seen = lurn__f64(grad)[0];
  if (s->holds) s->held = keep(lurn_retain(grad));
  if (s->inside != NULL) s->inside(s);
  if (s->answer != LURN_OK) return lurn_fail(c, s->answer, "the hook does not want to");
  if (s->give != NULL) *out = lurn_retain(s->give);
  if (s->factor == 0) return LURN_OK;
  lurn_tensor *number;
  lurn_status status = lurn_scalar(c, s->factor, &number);
  if (status != LURN_OK) return status;
  status = lurn_mul(c, grad, number, out);
  lurn_release(number);
  return status;
}

static void watch(lurn_tensor *t, spy *s) {
  CHECK_EQ(lurn_add_hook(ctx, t, spy_hook, spy_free, s, &s->handle), LURN_OK);
}

/* ---- Order and values -------------------------------------------------------------------------------------- */

/* x -> y = 2 x -> z = sum(3 y + y): the gradient of y comes on two ways. */
TEST(hooks_see_and_change_whole_gradients) {
  begin();
  spy on_x = {.factor = 10}, first = {.factor = 5}, second = {.factor = 7}, on_z = {0};
  lurn_tensor *x = vector(2, 1, true), *y = times(x, 2), *z = sum(add(times(y, 3), y));
  watch(x, &on_x);
  watch(y, &first);
  watch(y, &second);
  watch(z, &on_z);
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  CHECK_EQ(lurn_retain_grad(ctx, x), LURN_OK);
  CHECK(lurn_tensor_retains_grad(y) && !lurn_tensor_retains_grad(x) && !lurn_tensor_retains_grad(z));
  backward(z);
  CHECK_NEAR(on_z.seen, 1, 0);
  CHECK_NEAR(first.seen, 4, 0);
  CHECK_NEAR(second.seen, 20, 0);
  CHECK_NEAR(on_x.seen, 280, 0);
  CHECK_VECTOR(lurn_tensor_grad(x), 2800, 2800);
  CHECK_VECTOR(lurn_tensor_grad(y), 140, 140);
  CHECK(lurn_tensor_grad(z) == NULL);
  CHECK(first.calls == 1 && second.calls == 1 && on_x.calls == 1 && on_z.calls == 1);
  CHECK(first.frees == 1 && second.frees == 1 && on_z.frees == 1 && on_x.frees == 0); /* with the graph, and the leaf */
  lurn_hook_remove(first.handle);
  for (spy *const *s = (spy *const[]){&on_x, &first, &second, &on_z, NULL}; *s != NULL; s++)
    lurn_hook_release((*s)->handle);
  drop_all();
  CHECK_EQ(on_x.frees, 1);
  end();
}

TEST(kept_gradients_accumulate_and_follow_the_value) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *y = times(x, 2), *z = sum(y);
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  for (int i = 1; i <= 3; i++) {
    CHECK_EQ(lurn_backward(ctx, z, NULL, true), LURN_OK);
    CHECK_VECTOR(lurn_tensor_grad(y), i, i);
  }
  lurn_tensor *g = NULL;
  CHECK_EQ(grad_of(z, x, true, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 2, 2);
  CHECK_VECTOR(lurn_tensor_grad(y), 4, 4); /* lurn_grad passes through y */
  CHECK_VECTOR(lurn_tensor_grad(x), 6, 6);
  lurn_tensor *a = times(x, 1);
  spy of_former = {0};
  watch(a, &of_former);
  CHECK_EQ(lurn_retain_grad(ctx, a), LURN_OK);
  CHECK_EQ(lurn_mul_(ctx, a, vector(2, 3, false)), LURN_OK);
  backward(sum(times(a, 5)));
  CHECK_VECTOR(lurn_tensor_grad(a), 5, 5); /* of the new value */
  CHECK_NEAR(of_former.seen, 15, 0);
  lurn_hook_release(of_former.handle);
  drop_all();
  end();
}

static void change_in_place(spy *s) {
  lurn_set_grad_enabled(ctx, true);
  CHECK_EQ(lurn_mul_(ctx, s->x, vector(2, 3, false)), LURN_OK);
  lurn_set_grad_enabled(ctx, false);
}

/* By a hook that runs after y's gradient was there: it was that of the former value, and is given back. */
TEST(a_keeper_whose_tensor_is_changed_during_the_sweep) {
  begin();
  lurn_tensor *x = vector(2, 1, true), *y = times(x, 2);
  spy s = {.x = y, .inside = change_in_place};
  watch(x, &s);
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  CHECK_EQ(lurn_backward(ctx, sum(y), NULL, true), LURN_OK);
  CHECK(s.calls == 1 && lurn_tensor_grad(y) == NULL);
  lurn_hook_remove(s.handle);
  lurn_hook_release(s.handle);
  backward(sum(times(y, 5)));
  CHECK_VECTOR(lurn_tensor_grad(y), 5, 5);
  drop_all();
  end();
}

/* A kept gradient, a captured one and one that a hook holds are each on their own. */
TEST(gradients_that_are_held_are_not_written) {
  begin();
  spy s = {.holds = true};
  lurn_tensor *x = vector(2, 1, true), *y = times(x, 2), *g = NULL;
  watch(y, &s);
  lurn_hook_release(s.handle);
  watch(x, &s);
  lurn_hook_release(s.handle);
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  lurn_tensor *z = sum(y);
  CHECK_EQ(grad_of(z, y, true, &g), LURN_OK);
  keep(g);
  CHECK(g->storage != lurn_tensor_grad(y)->storage && g->storage != s.held->storage);
  CHECK_EQ(lurn_backward(ctx, z, NULL, true), LURN_OK);
  CHECK(s.held->storage != lurn_tensor_grad(x)->storage);
  CHECK_EQ(lurn_backward(ctx, z, NULL, false), LURN_OK);
  CHECK_VECTOR(s.held, 2, 2);
  CHECK_VECTOR(g, 1, 1);
  CHECK_VECTOR(lurn_tensor_grad(y), 3, 3);
  CHECK_VECTOR(lurn_tensor_grad(x), 4, 4);
  drop_all();
  end();
}

/* Hooks of the inputs count, unless what comes is but a part; those beyond the inputs do not. */
TEST(hooks_in_grad) {
  begin();
  spy on_x = {.factor = 10}, on_y = {.factor = 5}, aside = {0};
  lurn_tensor *x = vector(1, 1, true), *other = vector(1, 1, true), *y = times(x, 2), *g = NULL;
  lurn_tensor *z = add(y, times(other, 4));
  watch(x, &on_x);
  watch(y, &on_y);
  watch(other, &aside);
  CHECK_EQ(grad_of(z, x, true, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 100);
  CHECK_EQ(grad_of(z, y, true, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 5);
  CHECK_EQ(lurn_partial_grad(ctx, &z, 1, NULL, &x, 1, true, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 10);
  CHECK_EQ(lurn_partial_grad(ctx, &z, 1, NULL, &y, 1, true, &g), LURN_OK);
  CHECK_VECTOR(keep(g), 1);
  CHECK(on_x.calls == 1 && on_y.calls == 3 && aside.calls == 0);
  lurn_hook_release(on_x.handle);
  lurn_hook_release(on_y.handle);
  lurn_hook_release(aside.handle);
  drop_all();
  end();
}

TEST(a_hook_outlives_its_tensor) {
  begin();
  spy on_y = {.factor = 3}, on_last = {0};
  lurn_tensor *x = vector(2, 1, true), *y = NULL, *z = NULL, *two = vector(2, 2, false), *last[2];
  CHECK_EQ(lurn_mul(ctx, x, two, &y), LURN_OK);
  watch(y, &on_y);
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  CHECK_EQ(lurn_sum(ctx, y, NULL, 0, false, &z), LURN_OK);
  lurn_release(y);
  backward(z);
  lurn_release(z);
  CHECK_VECTOR(lurn_tensor_grad(x), 6, 9);
  CHECK_EQ(on_y.frees, 1);
  lurn_hook_release(on_y.handle);
  /* Of two outputs, the second. */
  CHECK_EQ(lurn_max(ctx, times(vector(3, 1, true), 1), 0, false, 0, &last[0], &last[1]), LURN_OK);
  keep(last[0]);
  keep(last[1]);
  watch(last[0], &on_last);
  drop_all();
  CHECK_EQ(on_last.frees, 1); /* with the graph that was never differentiated */
  lurn_hook_remove(on_last.handle);
  lurn_hook_release(on_last.handle);
  end();
}

/* ---- Changes from within ----------------------------------------------------------------------------------- */

static void remove_self(spy *s) {
  lurn_hook_remove(s->handle);
  CHECK_EQ(s->frees, 0); /* not while it runs */
}
static void remove_other(spy *s) { lurn_hook_remove(s->other); }
static void add_another(spy *s) {
  CHECK_EQ(lurn_add_hook(ctx, s->x, spy_hook, spy_free, s, NULL), LURN_OK);
  s->inside = NULL;
}
static void give_back_root(spy *s) {
  lurn_release(s->x);
  s->x = NULL;
}

TEST(hooks_that_change_the_list) {
  begin();
  lurn_tensor *x = vector(1, 1, true);
  spy self = {.inside = remove_self}, other = {0}, remover = {.inside = remove_other}, adder = {.x = x};
  adder.inside = add_another;
  watch(x, &self);
  watch(x, &remover);
  watch(x, &other);
  watch(x, &adder);
  remover.other = other.handle;
  backward(sum(times(x, 2)));
  CHECK(self.calls == 1 && self.frees == 1);
  CHECK(other.calls == 0 && other.frees == 1);
  CHECK_EQ(adder.calls, 1); /* what was added meanwhile comes the next time */
  backward(sum(times(x, 2)));
  CHECK_EQ(self.calls, 1);
  CHECK_EQ(remover.calls, 2);
  CHECK_EQ(adder.calls, 3);
  lurn_hook_remove(adder.handle);
  lurn_hook_remove(adder.handle);
  CHECK_EQ(adder.frees, 1);
  lurn_hook_release(self.handle);
  lurn_hook_release(other.handle);
  lurn_hook_release(remover.handle);
  lurn_hook_release(adder.handle);
  drop_all();
  CHECK_EQ(adder.frees, 2);
  end();
}

static lurn_tensor *square(lurn_tensor *x) {
  lurn_tensor *y = NULL;
  bool before = lurn_set_grad_enabled(ctx, true);
  CHECK_EQ(lurn_mul(ctx, x, x, &y), LURN_OK);
  lurn_set_grad_enabled(ctx, before);
  return keep(y);
}
static void backward_again(spy *s) {
  s->inside = NULL;
  backward(square(s->x));
}
static void backward_through_the_same(spy *s) { check_backward_fails(square(s->x), LURN_ESTATE, "is running already"); }

TEST(backward_inside_a_hook) {
  begin();
  lurn_tensor *x = vector(1, 3, true), *y = times(x, 2);
  spy on_y = {.inside = backward_again, .x = x}, on_x = {.inside = backward_again, .x = x, .factor = 2};
  watch(y, &on_y);
  watch(x, &on_x);
  /* The one within the hook of y runs that of x, which runs another: 2 (2 x) each; then 2 * 2 from outside. */
  backward(y);
  CHECK_VECTOR(lurn_tensor_grad(x), 28);
  CHECK_EQ(on_x.calls, 3);
  /* Its own graph is in use. */
  lurn_tensor *again = times(x, 2);
  spy twice = {.x = again, .inside = backward_through_the_same};
  lurn_hook_release(on_y.handle);
  lurn_hook_release(on_x.handle);
  watch(again, &twice);
  CHECK_EQ(lurn_backward(ctx, again, NULL, true), LURN_OK);
  lurn_hook_release(twice.handle);
  drop_all();
  end();
}

TEST(hooks_that_give_back_the_root) {
  begin();
  lurn_tensor *x = vector(1, 3, true), *y = NULL;
  CHECK_EQ(lurn_mul(ctx, x, x, &y), LURN_OK);
  spy s = {.inside = give_back_root, .x = y};
  CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
  watch(y, &s);
  lurn_hook_release(s.handle);
  backward(y);
  CHECK_VECTOR(lurn_tensor_grad(x), 6);
  CHECK_EQ(s.frees, 1);
  drop_all();
  end();
}

/* ---- Failures ---------------------------------------------------------------------------------------------- */

TEST(refused_hooks) {
  begin();
  spy s = {0};
  lurn_hook *handle = NULL;
  lurn_tensor *plain = vector(2, 1, false), *y = times(vector(2, 1, true), 2);
  CHECK_EQ(lurn_add_hook(ctx, plain, spy_hook, spy_free, &s, &handle), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "register_hook: the tensor does not require a gradient");
  CHECK_EQ(lurn_retain_grad(ctx, plain), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "retain_grad: the tensor does not require a gradient");
  lurn_tensor *part = narrow(y, 0, 1);
  CHECK_EQ(lurn_mul_(ctx, y, y), LURN_OK);
  CHECK_EQ(lurn_add_hook(ctx, part, spy_hook, spy_free, &s, &handle), LURN_EVERSION);
  CHECK_EQ(lurn_add_hook(ctx, NULL, spy_hook, spy_free, &s, &handle), LURN_EVALUE);
  CHECK_EQ(s.frees, 3);
  CHECK(handle == NULL);
  lurn_hook_release(NULL);
  drop_all();
  end();
}

/* A failure changes no gradient, and the graph is what any failed backward leaves. */
TEST(failing_hooks) {
  for (int leaf = 0; leaf < 2; leaf++)
    for (int kind = 0; kind < 3; kind++) {
      begin();
      lurn_tensor *x = vector(2, 1, true), *w = vector(2, 1, true), *y = mul(x, w), *z = sum(mul(y, y));
      spy s = {.answer = kind == 0 ? LURN_ECALLBACK : LURN_OK};
      if (kind == 1) s.give = vector(3, 1, false);
      if (kind == 2) CHECK_EQ(lurn_full(ctx, LURN_FLOAT32, 1, (int64_t[]){2}, 1, &s.give), LURN_OK);
      if (kind == 2) keep(s.give);
      CHECK_EQ(lurn_retain_grad(ctx, y), LURN_OK);
      watch(leaf ? x : y, &s);
      CHECK_EQ(lurn_backward(ctx, z, NULL, true), kind == 0 ? LURN_ECALLBACK : LURN_ESHAPE);
      CHECK_HAS(lurn_error(ctx), kind == 0 ? "the hook does not want to"
                                 : kind == 1
                                     ? "backward: a hook gave a gradient of float64 (3) for a tensor of float64 (2)"
                                     : "a hook gave a gradient of float32 (2) for a tensor of float64 (2)");
      CHECK(lurn_tensor_grad(x) == NULL && lurn_tensor_grad(w) == NULL && lurn_tensor_grad(y) == NULL);
      lurn_hook_remove(s.handle);
      lurn_hook_release(s.handle);
      CHECK_EQ(s.frees, 1);
      CHECK_EQ(lurn_backward(ctx, z, NULL, false), LURN_OK);
      CHECK_VECTOR(lurn_tensor_grad(x), 2, 16);
      CHECK_VECTOR(lurn_tensor_grad(y), 2, 8);
      drop_all();
      end();
    }
}

/* A step with everything there is; what fails leaves the gradients of x and y as they were. */
static lurn_status hooked_step(lurn_tensor *x, spy *on_x, spy *on_y, lurn_tensor **y) {
  lurn_tensor *z = NULL;
  lurn_status status = lurn_mul(ctx, x, x, y);
  if (status == LURN_OK) status = lurn_retain_grad(ctx, *y);
  if (status == LURN_OK) status = lurn_add_hook(ctx, *y, spy_hook, spy_free, on_y, NULL);
  if (status == LURN_OK) status = lurn_add_hook(ctx, x, spy_hook, spy_free, on_x, &on_x->handle);
  if (status == LURN_OK) status = lurn_sum(ctx, *y, NULL, 0, false, &z);
  if (status == LURN_OK) status = lurn_backward(ctx, z, NULL, false);
  lurn_release(z);
  return status;
}

TEST(every_allocation_of_hooks_fails_in_turn) {
  int64_t at = 0;
  lurn_status status;
  do {
    begin();
    spy on_x = {.factor = 2}, on_y = {.factor = 3};
    lurn_tensor *x = vector(2, 1, true), *y = NULL;
    lurn_memory_trim(ctx);
    memory.fail_at = memory.calls + ++at;
    status = hooked_step(x, &on_x, &on_y, &y);
    memory.fail_at = 0;
    if (status == LURN_OK) {
      CHECK_VECTOR(lurn_tensor_grad(x), 12, 24);
      CHECK_VECTOR(lurn_tensor_grad(y), 3, 3);
    } else {
      CHECK_EQ(status, LURN_ENOMEM);
      CHECK(lurn_tensor_grad(x) == NULL && (y == NULL || lurn_tensor_grad(y) == NULL));
    }
    lurn_hook_release(on_x.handle);
    lurn_release(y);
    drop_all();
    CHECK(on_x.frees <= 1 && on_y.frees <= 1);
    if (status == LURN_OK) CHECK(on_x.frees == 1 && on_y.frees == 1);
    end();
  } while (status != LURN_OK && at < 100);
  CHECK(at > 10 && at < 100);
}

/* Freed in any number, without recursion. */
TEST(many_hooks) {
  begin();
  spy s = {0};
  const int n = harness_length(100000);
  lurn_tensor *x = vector(1, 1, true), *last = lurn_retain(x), *one = vector(1, 1, false);
  for (int i = 0; i < n; i++) {
    lurn_tensor *next = NULL;
    CHECK_EQ(lurn_mul(ctx, last, one, &next), LURN_OK);
    CHECK_EQ(lurn_add_hook(ctx, next, spy_hook, spy_free, &s, NULL), LURN_OK);
    lurn_release(last);
    last = next;
  }
  backward(last);
  CHECK(s.calls == n && s.frees == n);
  lurn_release(last);
  drop_all();
  end();
}

/* On one leaf, each added and removed without a look at the others. */
TEST(many_hooks_of_one_tensor) {
  begin();
  spy s = {0};
  const int n = harness_length(200000);
  lurn_tensor *x = vector(1, 1, true);
  lurn_hook **handles = malloc((size_t)n * sizeof(lurn_hook *));
  for (int i = 0; i < n; i++) CHECK_EQ(lurn_add_hook(ctx, x, spy_hook, spy_free, &s, &handles[i]), LURN_OK);
  backward(times(x, 1));
  CHECK_EQ(s.calls, n);
  for (int i = 0; i < n; i++) { /* from the middle, and both ends in turn */
    lurn_hook *hook = handles[(n / 2 + (i % 2 == 0 ? i / 2 : n - 1 - i / 2)) % n];
    lurn_hook_remove(hook);
    CHECK_EQ(s.frees, i + 1);
    lurn_hook_release(hook);
    if (i != n / 2) continue;
    backward(times(x, 1));
    CHECK_EQ(s.calls, 2 * n - i - 1);
  }
  backward(times(x, 1));
  CHECK_EQ(s.calls, 2 * n - n / 2 - 1);
  free(handles);
  drop_all();
  end();
}

/* ---- What keeps what alive --------------------------------------------------------------------------------- */

static bool told(const lurn_trace *list, int64_t n, lurn_trace_kind kind, const void *from, const void *to) {
  for (int64_t i = 0; i < n; i++)
    if (list[i].kind == kind && list[i].from == from && list[i].to == to) return true;
  return false;
}

/* How many of a kind there are. */
static int count_told(const lurn_trace *list, int64_t n, lurn_trace_kind kind) {
  int found = 0;
  for (int64_t i = 0; i < n; i++) found += list[i].kind == kind;
  return found;
}

/* x -> y -> z, with a hook on x and one on y. */
TEST(traces_of_the_graph) {
  enum { ROOM = 16 };
  begin();
  spy on_x = {0}, on_y = {0};
  lurn_trace list[ROOM];
  int64_t n = 0;
  lurn_tensor *x = vector(1, 1, true), *y = mul(x, x), *z = mul(y, y);
  watch(x, &on_x);
  watch(y, &on_y);
  lurn_tensor *all[] = {x, y, z, z};
  /* All that there is. */
  CHECK_EQ(lurn_graph_trace(ctx, all, 3, ROOM, list, &n), LURN_OK);
  CHECK_EQ(n, 8);
  CHECK(told(list, n, LURN_TRACE_HOOK, x, &on_x) && told(list, n, LURN_TRACE_HOOK, y->node, &on_y));
  CHECK(told(list, n, LURN_TRACE_LINK, z, z->node) && told(list, n, LURN_TRACE_LINK, z->node, y->node));
  CHECK(told(list, n, LURN_TRACE_LINK, y, y->node) && told(list, n, LURN_TRACE_LINK, y->node, x));
  CHECK_EQ(count_told(list, n, LURN_TRACE_HELD), 0);
  /* The list holds x and y as well. */
  CHECK_EQ(lurn_graph_trace(ctx, &z, 1, ROOM, list, &n), LURN_OK);
  CHECK(told(list, n, LURN_TRACE_HELD, NULL, x) && told(list, n, LURN_TRACE_HELD, NULL, y->node));
  CHECK_EQ(count_told(list, n, LURN_TRACE_HELD), 2);
  /* Two references where there is one, and room for none. */
  lurn_retain(z);
  CHECK_EQ(lurn_graph_trace(ctx, all, 4, 0, NULL, &n), LURN_OK);
  CHECK_EQ(n, 8);
  CHECK_EQ(lurn_graph_trace(ctx, all, 3, ROOM, list, &n), LURN_OK);
  CHECK(told(list, n, LURN_TRACE_HELD, NULL, z));
  lurn_release(z);
  /* A view keeps its base. */
  lurn_tensor *base = times(x, 2), *part = narrow(base, 0, 1);
  CHECK_EQ(lurn_graph_trace(ctx, &part, 1, ROOM, list, &n), LURN_OK);
  CHECK(told(list, n, LURN_TRACE_LINK, part, base) && told(list, n, LURN_TRACE_HELD, NULL, base));
  lurn_tensor *missing = NULL;
  CHECK_EQ(lurn_graph_trace(ctx, &missing, 1, 0, NULL, &n), LURN_EVALUE);
  lurn_memory_trim(ctx);
  memory.fail_at = memory.calls + 1;
  CHECK_EQ(lurn_graph_trace(ctx, all, 3, ROOM, list, &n), LURN_ENOMEM);
  memory.fail_at = 0;
  lurn_hook_release(on_x.handle);
  lurn_hook_release(on_y.handle);
  drop_all();
  end();
}
