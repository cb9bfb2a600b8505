/* Packed weights kept with their storage: the same bits with and without, no stale ones after any write, and no memory left. */
#include "counting.h"
#include "harness.h"

#include <stdlib.h>

#include "lurn.h"

/* ---- Layers ------------------------------------------------------------------------------------------------ */

enum { LSTM, GRU, RNN, PROJECTED, LINEAR, LAYERS }; /* PROJECTED: an LSTM with a projection as wide as it is */
enum { FEW = 16, CALLS = 4 };                       /* rows; calls: one notes, one packs, two read */

typedef struct layer {
  lurn_ctx *ctx;
  int kind;
  lurn_tensor *x, *w_ih, *w_hh, *h0, *w_hr;
} layer;

/* Where there are no vector kernels, BLAS does the products of linear: nothing is packed for it. */
static bool is_kept(int kind) { return kind != LINEAR || strcmp(lurn_cpu_isa_name(), "scalar") != 0; }

static lurn_ctx *context(int threads, lurn_isa isa) {
  lurn_ctx *ctx = NULL;
  lurn_config config = {.num_threads = threads, .max_isa = isa, .isa_set = isa != LURN_ISA_BEST, .seed = 7};
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

static lurn_tensor *random_tensor(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape) {
  lurn_tensor *t = NULL;
  if (lurn_empty(ctx, dtype, ndim, shape, &t) != LURN_OK || lurn_uniform_(ctx, t, -0.8, 0.8) != LURN_OK) abort();
  return t;
}

static layer new_layer(lurn_ctx *ctx, int kind, lurn_dtype dtype, int64_t T, int64_t N, int64_t H) {
  int64_t gates = kind == LSTM || kind == PROJECTED ? 4 : kind == GRU ? 3 : 1;
  layer l = {.ctx = ctx, .kind = kind};
  l.x = random_tensor(ctx, dtype, 3, (int64_t[]){T, N, H + 1});
  l.w_ih = random_tensor(ctx, dtype, 2, (int64_t[]){gates * H, H + 1});
  l.w_hh = random_tensor(ctx, dtype, 2, (int64_t[]){gates * H, H});
  l.h0 = random_tensor(ctx, dtype, 2, (int64_t[]){N, H});
  if (kind == PROJECTED) l.w_hr = random_tensor(ctx, dtype, 2, (int64_t[]){H, H});
  return l;
}

static void free_layer(layer *l) {
  lurn_release(l->x);
  lurn_release(l->w_ih);
  lurn_release(l->w_hh);
  lurn_release(l->h0);
  lurn_release(l->w_hr);
}

static lurn_status run(const layer *l, lurn_tensor **y) {
  lurn_tensor *h = NULL, *c = NULL;
  lurn_status status = LURN_OK;
  if (l->kind == LSTM || l->kind == PROJECTED)
    status = lurn_lstm(l->ctx, l->x, l->w_ih, l->w_hh, NULL, NULL, l->h0, l->h0, NULL, l->w_hr, NULL, NULL, NULL, false,
                       false, NULL, y, &h, &c);
  else if (l->kind == GRU)
    status = lurn_gru(l->ctx, l->x, l->w_ih, l->w_hh, NULL, NULL, l->h0, NULL, false, NULL, y, &h);
  else if (l->kind == RNN)
    status = lurn_rnn(l->ctx, l->x, l->w_ih, l->w_hh, NULL, NULL, l->h0, NULL, 0, false, NULL, y, &h);
  else status = lurn_linear(l->ctx, l->x, l->w_ih, NULL, y);
  lurn_release(h);
  lurn_release(c);
  return status;
}

static bool same_bits(const lurn_tensor *a, const lurn_tensor *b) {
  size_t bytes = (size_t)lurn_tensor_numel(a) * lurn_dtype_size(lurn_tensor_dtype(a));
  return lurn_tensor_numel(a) == lurn_tensor_numel(b) && memcmp(lurn_tensor_data(a), lurn_tensor_data(b), bytes) == 0;
}

/* The result with copies of the weights, which have nothing kept. */
static lurn_tensor *run_afresh(const layer *l) {
  layer copy = *l;
  lurn_tensor *y = NULL;
  copy.w_ih = copy.w_hh = copy.w_hr = NULL;
  CHECK(lurn_clone(l->ctx, l->w_ih, &copy.w_ih) == LURN_OK);
  CHECK(lurn_clone(l->ctx, l->w_hh, &copy.w_hh) == LURN_OK);
  if (l->w_hr) CHECK(lurn_clone(l->ctx, l->w_hr, &copy.w_hr) == LURN_OK);
  CHECK(run(&copy, &y) == LURN_OK);
  lurn_release(copy.w_ih);
  lurn_release(copy.w_hh);
  lurn_release(copy.w_hr);
  return y;
}

/* Several calls, each with the bits of one whose weights are not kept. */
static bool calls_agree(const layer *l) {
  lurn_tensor *expected = run_afresh(l);
  bool agree = expected != NULL;
  for (int i = 0; i < CALLS && agree; i++) {
    lurn_tensor *y = NULL;
    agree = run(l, &y) == LURN_OK && same_bits(y, expected);
    lurn_release(y);
  }
  lurn_release(expected);
  return agree;
}

/* ---- Values ------------------------------------------------------------------------------------------------ */

static void compare(int threads, lurn_isa isa, lurn_dtype dtype) {
  static const int64_t sizes[][3] = {{1, 1, 5},    {1, 1, 300},      {1, 3, 40},  {4, 2, 33},
                                     {FEW, 1, 16}, {FEW + 1, 1, 16}, {64, 4, 16}, {257, 1, 16}};
  lurn_ctx *ctx = context(threads, isa);
  for (int kind = 0; kind < LAYERS; kind++)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      layer l = new_layer(ctx, kind, dtype, sizes[i][0], sizes[i][1], sizes[i][2]);
      CHECK(calls_agree(&l));
      free_layer(&l);
    }
  if (threads == 1) CHECK_EQ(lurn_memory_live(ctx), 0); /* threads have memory of their own */
  lurn_ctx_free(ctx);
}

TEST(same_bits_as_without) {
  for (int threads = 1; threads <= 3; threads += 2)
    for (int dtype = 0; dtype < 2; dtype++) {
      compare(threads, LURN_ISA_SCALAR, dtype ? LURN_FLOAT64 : LURN_FLOAT32);
      compare(threads, LURN_ISA_AVX2, dtype ? LURN_FLOAT64 : LURN_FLOAT32);
      compare(threads, LURN_ISA_BEST, dtype ? LURN_FLOAT64 : LURN_FLOAT32);
    }
}

/* So large that threads share each product. */
TEST(same_bits_where_threads_share_a_product) {
  lurn_ctx *ctx = context(3, LURN_ISA_BEST);
  for (int kind = 0; kind < LAYERS; kind++) {
    layer l = new_layer(ctx, kind, LURN_FLOAT32, 4, 4, kind == LINEAR ? 700 : 400);
    CHECK(calls_agree(&l));
    free_layer(&l);
  }
  lurn_ctx_free(ctx);
}

TEST(empty_sizes) {
  static const int64_t sizes[][3] = {{0, 1, 4}, {1, 0, 4}};
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  for (int kind = 0; kind < LAYERS; kind++)
    for (int i = 0; i < 2; i++) {
      layer l = new_layer(ctx, kind, LURN_FLOAT32, sizes[i][0], sizes[i][1], sizes[i][2]);
      CHECK(calls_agree(&l));
      free_layer(&l);
    }
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
}

/* ---- Writes ------------------------------------------------------------------------------------------------ */

typedef lurn_status write_fn(lurn_ctx *ctx, lurn_tensor *w);

static lurn_status write_element(lurn_ctx *ctx, lurn_tensor *w) {
  (void)ctx;
  return lurn_tensor_set(w, (int64_t[]){1, 2}, 3.0);
}

static lurn_status write_copy(lurn_ctx *ctx, lurn_tensor *w) {
  lurn_tensor *source = random_tensor(ctx, lurn_tensor_dtype(w), 2, lurn_tensor_shape(w));
  lurn_status status = lurn_copy_(ctx, w, source);
  lurn_release(source);
  return status;
}

static lurn_status write_view(lurn_ctx *ctx, lurn_tensor *w) {
  lurn_tensor *turned = NULL, *part = NULL;
  lurn_status status = lurn_transpose(ctx, w, 0, 1, &turned);
  if (status == LURN_OK) status = lurn_narrow(ctx, turned, 0, 1, 1, &part);
  if (status == LURN_OK) status = lurn_fill_(ctx, part, 0.25);
  lurn_release(turned);
  lurn_release(part);
  return status;
}

static lurn_status write_alias(lurn_ctx *ctx, lurn_tensor *w) {
  lurn_tensor *alias = NULL;
  lurn_status status = lurn_detach(ctx, w, &alias);
  if (status == LURN_OK) status = lurn_fill_(ctx, alias, 0.125);
  lurn_release(alias);
  return status;
}

static lurn_status write_data(lurn_ctx *ctx, lurn_tensor *w) {
  (void)ctx;
  ((float *)lurn_tensor_data(w))[3] = 2;
  lurn_tensor_touch(w);
  return LURN_OK;
}

static lurn_status write_optimizer(lurn_ctx *ctx, lurn_tensor *w) {
  lurn_optim *opt = NULL;
  lurn_optim_options options = lurn_optim_defaults(LURN_SGD);
  lurn_tensor *grad = random_tensor(ctx, lurn_tensor_dtype(w), 2, lurn_tensor_shape(w));
  options.lr = 0.5;
  lurn_status status = lurn_tensor_set_grad(w, grad);
  if (status == LURN_OK) status = lurn_optim_new(ctx, LURN_SGD, &opt);
  if (status == LURN_OK) status = lurn_tensor_set_requires_grad(w, true);
  if (status == LURN_OK) status = lurn_optim_add_group(opt, &w, 1, &options, NULL);
  if (status == LURN_OK) status = lurn_optim_step(opt);
  if (status == LURN_OK) status = lurn_tensor_set_requires_grad(w, false);
  lurn_optim_free(opt);
  lurn_release(grad);
  return status == LURN_OK ? lurn_tensor_set_grad(w, NULL) : status;
}

static void check_write(const layer *l, lurn_tensor *w, write_fn *write) {
  lurn_tensor *before = NULL, *after = NULL;
  CHECK(calls_agree(l));
  CHECK(run(l, &before) == LURN_OK);
  CHECK(write(l->ctx, w) == LURN_OK);
  CHECK(run(l, &after) == LURN_OK);
  CHECK(!same_bits(before, after));
  lurn_release(before);
  lurn_release(after);
  CHECK(calls_agree(l));
}

TEST(every_write_is_seen) {
  static write_fn *const writes[] = {write_element, write_copy, write_view, write_alias, write_data, write_optimizer};
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  for (int kind = 0; kind < LAYERS; kind++)
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
      layer l = new_layer(ctx, kind, LURN_FLOAT32, 2, 1, 12);
      check_write(&l, l.w_ih, writes[i]);
      if (kind != LINEAR) check_write(&l, l.w_hh, writes[i]);
      if (l.w_hr) check_write(&l, l.w_hr, writes[i]);
      free_layer(&l);
    }
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
}

/* ---- Views ------------------------------------------------------------------------------------------------- */

/* More weights in one storage than it keeps things, of different places, shapes and strides. */
TEST(views_of_one_storage) {
  enum { VIEWS = 6, SIDE = 12 };
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  lurn_tensor *all = random_tensor(ctx, LURN_FLOAT32, 2, (int64_t[]){2 * SIDE, SIDE}), *view[VIEWS] = {0};
  lurn_tensor *x = random_tensor(ctx, LURN_FLOAT32, 3, (int64_t[]){1, 2, SIDE});
  CHECK(lurn_narrow(ctx, all, 0, 0, SIDE, &view[0]) == LURN_OK);
  CHECK(lurn_narrow(ctx, all, 0, SIDE, SIDE, &view[1]) == LURN_OK);
  CHECK(lurn_transpose(ctx, view[0], 0, 1, &view[2]) == LURN_OK);
  CHECK(lurn_narrow(ctx, all, 0, 0, 3, &view[3]) == LURN_OK);
  CHECK(lurn_detach(ctx, view[0], &view[4]) == LURN_OK);
  CHECK(lurn_detach(ctx, all, &view[5]) == LURN_OK);
  for (int pass = 0; pass < 2 * CALLS; pass++) {
    for (int i = 0; i < VIEWS; i++) {
      layer l = {ctx, LINEAR, x, view[i], view[i], NULL, NULL};
      lurn_tensor *y = NULL, *expected = run_afresh(&l);
      CHECK(run(&l, &y) == LURN_OK && same_bits(y, expected));
      lurn_release(y);
      lurn_release(expected);
    }
    if (pass == CALLS) CHECK(lurn_tensor_set(view[1], (int64_t[]){0, 0}, 9) == LURN_OK);
  }
  for (int i = 0; i < VIEWS; i++) lurn_release(view[i]);
  lurn_release(all);
  lurn_release(x);
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
}

/* Both weights of a layer in one storage: what the first gets must hold while the others come. */
TEST(weights_of_a_layer_in_one_storage) {
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  for (int kind = 0; kind < LINEAR; kind++) {
    layer l = new_layer(ctx, kind, LURN_FLOAT32, 1, 1, 8);
    const int64_t *rows = lurn_tensor_shape(l.w_hh);
    lurn_tensor *all = random_tensor(ctx, LURN_FLOAT32, 2, (int64_t[]){rows[0], 17});
    lurn_release(l.w_ih);
    lurn_release(l.w_hh);
    CHECK(lurn_narrow(ctx, all, 1, 0, 9, &l.w_ih) == LURN_OK);
    CHECK(lurn_narrow(ctx, all, 1, 9, 8, &l.w_hh) == LURN_OK);
    CHECK(calls_agree(&l));
    lurn_release(all);
    free_layer(&l);
  }
  lurn_ctx_free(ctx);
}

/* The host's weights in several contexts, whose instruction sets pack differently. */
TEST(contexts_of_different_isa) {
  enum { SIDE = 24 };
  static const lurn_isa isa[] = {LURN_ISA_SCALAR, LURN_ISA_AVX2, LURN_ISA_BEST};
  static float weights[SIDE * SIDE];
  layer l[3];
  for (int i = 0; i < SIDE * SIDE; i++) weights[i] = (float)(i % 17) * 0.125f - 1;
  for (int i = 0; i < 3; i++) {
    l[i] = (layer){.ctx = context(1, isa[i]), .kind = LINEAR};
    l[i].x = random_tensor(l[i].ctx, LURN_FLOAT32, 3, (int64_t[]){1, 2, SIDE});
    CHECK(lurn_from_buffer(l[i].ctx, LURN_FLOAT32, 2, (int64_t[]){SIDE, SIDE}, weights, NULL, NULL, &l[i].w_ih) ==
          LURN_OK);
    l[i].w_hh = lurn_retain(l[i].w_ih);
  }
  for (int pass = 0; pass < CALLS; pass++)
    for (int i = 0; i < 3; i++) CHECK(calls_agree(&l[i]));
  for (int i = 0; i < 3; i++) {
    weights[5] = (float)(40 + i);
    lurn_tensor_touch(l[i].w_ih);
    CHECK(calls_agree(&l[i]));
    free_layer(&l[i]);
    lurn_ctx_free(l[i].ctx);
  }
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

/* Live bytes that several calls leave behind, results aside. */
static size_t left_by_calls(const layer *l) {
  size_t before = lurn_memory_live(l->ctx);
  for (int i = 0; i < CALLS; i++) {
    lurn_tensor *y = NULL;
    CHECK(run(l, &y) == LURN_OK);
    lurn_release(y);
  }
  return lurn_memory_live(l->ctx) - before;
}

TEST(only_what_pays_is_kept_and_a_write_drops_it) {
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  for (int kind = 0; kind < LAYERS; kind++) {
    layer l = new_layer(ctx, kind, LURN_FLOAT32, FEW, 1, 32),
          many = new_layer(ctx, kind, LURN_FLOAT32, 30, FEW + 1, 32);
    CHECK(kind == LINEAR ? left_by_calls(&many) == 0 : left_by_calls(&many) > 0);
    size_t base = lurn_memory_live(ctx);
    CHECK(lurn_tensor_set_requires_grad(l.w_ih, true) == LURN_OK);
    CHECK_EQ(left_by_calls(&l), 0);
    CHECK(lurn_tensor_set_requires_grad(l.w_ih, false) == LURN_OK);
    size_t left = left_by_calls(&l);
    CHECK(is_kept(kind) ? left >= 32 * 33 * sizeof(float) : left == 0);
    CHECK_EQ(left_by_calls(&l), 0);
    lurn_tensor_touch(l.w_ih);
    lurn_tensor_touch(l.w_hh);
    if (l.w_hr) lurn_tensor_touch(l.w_hr);
    CHECK_EQ(lurn_memory_live(ctx), base);
    free_layer(&l);
    free_layer(&many);
  }
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
}

TEST(steady_loops_ask_the_host_for_nothing) {
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  layer l = new_layer(ctx, GRU, LURN_FLOAT32, 1, 1, 32);
  uint64_t warm = 0;
  for (int i = 0; i < 8; i++) {
    if (i == 2) warm = lurn_memory_allocations(ctx);
    CHECK(calls_agree(&l));
    lurn_tensor_touch(l.w_ih);
    lurn_tensor_touch(l.w_hh);
  }
  CHECK_EQ(lurn_memory_allocations(ctx), warm);
  free_layer(&l);
  lurn_ctx_free(ctx);
}

/* Without memory for what is kept, there is still the result. */
static int64_t fail_in_turn(int kind, int64_t fail_at) {
  counting c = {0};
  lurn_config config = {.alloc = counting_alloc, .alloc_ud = &c, .num_threads = 1, .seed = 1, .cache_limit = 1};
  lurn_ctx *ctx = NULL;
  int64_t fine = 0;
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  layer l = new_layer(ctx, kind, LURN_FLOAT32, 2, 1, 12);
  lurn_tensor *expected = run_afresh(&l);
  c.calls = 0;
  c.fail_at = fail_at;
  for (int i = 0; i < CALLS; i++) {
    lurn_tensor *y = NULL;
    lurn_status status = run(&l, &y);
    if (status == LURN_OK) CHECK(same_bits(y, expected));
    else CHECK(status == LURN_ENOMEM && y == NULL);
    fine += status == LURN_OK;
    lurn_release(y);
  }
  bool reached = c.calls >= fail_at;
  c.fail_at = 0;
  CHECK(calls_agree(&l));
  lurn_release(expected);
  free_layer(&l);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
  CHECK(fine >= CALLS - 1);
  return !reached ? -1 : fine == CALLS;
}

TEST(every_allocation_fails_in_turn) {
  for (int kind = 0; kind < LAYERS; kind++) {
    int64_t spared = 0, fail_at = 1;
    for (int64_t got = 0; got >= 0 && fail_at < 500; fail_at++) {
      got = fail_in_turn(kind, fail_at);
      if (got > 0) spared++;
    }
    CHECK(fail_at < 500);
    CHECK(spared >= 2 || !is_kept(kind)); /* a note and a packed weight at least */
  }
}
