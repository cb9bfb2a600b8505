/* What functions that compute a part of the graph anew need: the leaves below their results, and the most memory in use. */
#include "graph.h"

static lurn_status leaves_of(lurn_tensor *y, lurn_tensor *known, uint64_t since, int64_t room, lurn_tensor **out,
                             int64_t *n) {
  return lurn_graph_leaves(ctx, "anew", &y, 1, &known, known != NULL, since, room, out, n);
}

TEST(leaves_below_a_result) {
  begin();
  uint64_t since = lurn_graph_position(ctx);
  lurn_tensor *a = vector(2, 1, true), *b = vector(2, 3, true), *c = vector(2, 5, false), *found[4] = {NULL};
  lurn_tensor *y = sum(mul(add(mul(a, b), c), a));
  int64_t n = -1;
  CHECK_EQ(leaves_of(y, NULL, since, 0, NULL, &n), LURN_OK);
  CHECK_EQ(n, 2);
  CHECK_EQ(leaves_of(y, NULL, since, 4, found, &n), LURN_OK);
  CHECK_EQ(n, 2);
  CHECK((found[0] == a && found[1] == b) || (found[0] == b && found[1] == a));
  lurn_tensor *first = found[0];
  for (int i = 0; i < 2; i++) lurn_release(found[i]);
  CHECK_EQ(leaves_of(y, first, since, 4, found, &n), LURN_OK); /* all but that one */
  CHECK_EQ(n, 1);
  CHECK(found[0] == (first == a ? b : a));
  lurn_release(found[0]);
  CHECK_EQ(leaves_of(y, NULL, since, 1, found, &n), LURN_OK); /* as many as there is room for */
  CHECK(n == 2 && found[0] == first);
  lurn_release(found[0]);
  CHECK_EQ(leaves_of(c, NULL, since, 4, found, &n), LURN_OK);
  CHECK_EQ(n, 0);
  CHECK_EQ(leaves_of(b, NULL, since, 4, found, &n), LURN_OK); /* a leaf itself */
  CHECK(n == 1 && found[0] == b);
  lurn_release(found[0]);
  backward(y); /* nothing was used up */
  CHECK_VECTOR(lurn_tensor_grad(b), 1, 4);
  drop_all();
  end();
}

TEST(what_was_there_before_is_an_error) {
  begin();
  lurn_tensor *a = vector(2, 1, true), *h = mul(a, a), *found[4] = {NULL};
  uint64_t since = lurn_graph_position(ctx);
  int64_t n = -1;
  CHECK_EQ(leaves_of(add(h, a), NULL, since, 4, found, &n), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "anew: the function uses a tensor that depends on parameters and was computed outside of "
                             "it, by mul or after it; pass that tensor as an argument");
  CHECK(n == -1 && found[0] == NULL);
  backward(sum(h));
  CHECK_EQ(leaves_of(h, NULL, 0, 4, found, &n), LURN_ESTATE);
  CHECK_HAS(lurn_error(ctx), "the graph was freed");
  drop_all();
  end();
}

TEST(failures_while_leaves_are_collected) {
  int64_t failures = 0;
  for (int64_t at = 1; at < 100; at++) {
    lurn_config config = {.alloc = counting_alloc, .alloc_ud = &memory, .num_threads = 1, .cache_limit = 1};
    memory = (counting){0};
    CHECK_EQ(lurn_ctx_new(&config, &ctx), LURN_OK);
    lurn_tensor *a = vector(2, 1, true), *y = sum(mul(a, a)), *found[1] = {NULL};
    int64_t n = 0;
    memory.fail_at = memory.calls + at;
    lurn_status status = leaves_of(y, NULL, 0, 1, found, &n);
    memory.fail_at = 0;
    failures += status != LURN_OK;
    CHECK_EQ(status, n == 1 ? LURN_OK : LURN_ENOMEM);
    lurn_release(found[0]);
    backward(y);
    drop_all();
    end();
    if (status == LURN_OK) break;
  }
  CHECK(failures > 0);
}

TEST(the_peak_is_the_most_that_was_live) {
  begin();
  lurn_tensor *large = NULL;
  vector(16, 0, false);
  size_t before = lurn_memory_live(ctx);
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT64, 1, (int64_t[]){100000}, &large), LURN_OK);
  size_t high = lurn_memory_live(ctx);
  lurn_release(large);
  CHECK_EQ(lurn_memory_live(ctx), before);
  CHECK_EQ(lurn_memory_peak(ctx), high);
  lurn_memory_reset_peak(ctx);
  CHECK_EQ(lurn_memory_peak(ctx), before);
  drop_all();
  CHECK_EQ(lurn_memory_peak(ctx), before);
  end();
}
