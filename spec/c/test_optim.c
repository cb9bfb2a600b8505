/* Optimizers and clipping against naive formulas in double. */
#include <float.h>
#include <stdlib.h>

#include "core/tensor.h"
#include "harness.h"
#include "lurn.h"

/* ---- An allocator that can be told to fail ----------------------------------------------------------------- */

typedef struct budget {
  long left; /* allocations that still succeed; negative: no limit */
  long blocks;
} budget;

static void *limited_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  budget *b = ud;
  (void)old_size;
  if (new_size == 0) {
    if (ptr != NULL) b->blocks--;
    free(ptr);
    return NULL;
  }
  if (b->left == 0) return NULL;
  if (b->left > 0) b->left--;
  if (ptr == NULL) b->blocks++;
  return realloc(ptr, new_size);
}

static lurn_ctx *new_ctx(budget *b, int threads) {
  lurn_config config = {.alloc = limited_alloc, .alloc_ud = b, .num_threads = threads, .index_base = 1};
  lurn_ctx *ctx = NULL;
  b->left = -1;
  b->blocks = 0;
  CHECK(lurn_ctx_new(&config, &ctx) == LURN_OK);
  return ctx;
}

/* ---- Tensors ----------------------------------------------------------------------------------------------- */

/* Numbers between -1 and 1 that depend on their seed alone. */
static double noise(uint64_t seed, int64_t i) {
  uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u + (uint64_t)i * 0xbf58476d1ce4e5b9u;
  x ^= x >> 31;
  x *= 0x94d049bb133111ebu;
  x ^= x >> 29;
  return (double)(x >> 11) * 0x1p-52 - 1;
}

typedef enum layout { DENSE, TRANSPOSED, GAPPED, LAYOUTS } layout;

/* A tensor of shape (rows, cols) in one of three layouts. */
static lurn_tensor *make(lurn_ctx *ctx, lurn_dtype dtype, int64_t rows, int64_t cols, layout how) {
  lurn_tensor *base = NULL, *view = NULL;
  int64_t sizes[2] = {rows, cols}, strides[LURN_MAX_DIMS] = {cols, 1};
  if (how == TRANSPOSED) strides[0] = 1, strides[1] = rows;
  if (how == GAPPED) strides[0] = 2 * cols + 3, strides[1] = 2;
  int64_t room = how == GAPPED ? rows * (2 * cols + 3) : rows * cols;
  CHECK(lurn_zeros(ctx, dtype, 1, &room, &base) == LURN_OK);
  lurn__shape shape = {.ndim = 2, .size = {sizes[0], sizes[1]}};
  CHECK(lurn__tensor_view(base, &shape, strides, 0, &view) == LURN_OK);
  lurn_release(base);
  return view;
}

static double get(lurn_tensor *t, int64_t i) {
  int64_t cols = lurn_tensor_shape(t)[1], index[2] = {i / cols, i % cols};
  double v = NAN;
  CHECK(lurn_tensor_get(t, index, &v) == LURN_OK);
  return v;
}

static void put(lurn_tensor *t, int64_t i, double v) {
  int64_t cols = lurn_tensor_shape(t)[1], index[2] = {i / cols, i % cols};
  bool before = lurn_set_grad_enabled(lurn_tensor_ctx(t), false);
  CHECK(lurn_tensor_set(t, index, v) == LURN_OK);
  lurn_set_grad_enabled(lurn_tensor_ctx(t), before);
}

static void fill(lurn_tensor *t, uint64_t seed, double size) {
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++) put(t, i, size * noise(seed, i));
}

static lurn_tensor *make_param(lurn_ctx *ctx, lurn_dtype dtype, int64_t rows, int64_t cols, layout how, uint64_t seed) {
  lurn_tensor *p = make(ctx, dtype, rows, cols, how);
  fill(p, seed, 1);
  CHECK(lurn_tensor_set_requires_grad(p, true) == LURN_OK);
  return p;
}

static void give_grad(lurn_tensor *p, layout how, uint64_t seed, double size) {
  lurn_tensor *g =
      make(lurn_tensor_ctx(p), lurn_tensor_dtype(p), lurn_tensor_shape(p)[0], lurn_tensor_shape(p)[1], how);
  fill(g, seed, size);
  CHECK(lurn_tensor_set_grad(p, g) == LURN_OK);
  lurn_release(g);
}

/* A float32 vector's gradient with these elements, as a parameter of shape (1, n). */
static lurn_tensor *param_with_grad(lurn_ctx *ctx, lurn_dtype dtype, int64_t n, const double *grad) {
  lurn_tensor *p = make_param(ctx, dtype, 1, n, DENSE, 0);
  give_grad(p, DENSE, 0, 1);
  for (int64_t i = 0; i < n; i++) put(lurn_tensor_grad(p), i, grad[i]);
  return p;
}

/* ---- Naive formulas ---------------------------------------------------------------------------------------- */

/* State of one element; zero-initialised. */
typedef struct element {
  double a, b, c;
} element;

static double naive_sgd(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  if (o->weight_decay != 0) g += o->weight_decay * p;
  if (o->momentum != 0) {
    s->a = t == 1 ? g : o->momentum * s->a + (1 - o->dampening) * g;
    g = o->nesterov ? g + o->momentum * s->a : s->a;
  }
  return p - o->lr * g;
}

static double naive_rmsprop(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  (void)t;
  g += o->weight_decay * p;
  s->a = o->alpha * s->a + (1 - o->alpha) * g * g;
  double scale = s->a;
  if (o->centered) {
    s->b = o->alpha * s->b + (1 - o->alpha) * g;
    scale -= s->b * s->b;
  }
  g /= sqrt(scale) + o->eps;
  if (o->momentum > 0) g = s->c = o->momentum * s->c + g;
  return p - o->lr * g;
}

static double adam_any(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  s->a = o->beta1 * s->a + (1 - o->beta1) * g;
  s->b = o->beta2 * s->b + (1 - o->beta2) * g * g;
  s->c = fmax(s->c, s->b);
  double v = (o->amsgrad ? s->c : s->b) / (1 - pow(o->beta2, (double)t));
  return p - o->lr * s->a / (1 - pow(o->beta1, (double)t)) / (sqrt(v) + o->eps);
}

static double naive_adam(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  return adam_any(o, t, p, g + o->weight_decay * p, s);
}

static double naive_adamw(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  return adam_any(o, t, p - o->lr * o->weight_decay * p, g, s);
}

static double naive_adagrad(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  if (t == 1) s->a = o->initial_accumulator;
  g += o->weight_decay * p;
  s->a += g * g;
  return p - o->lr / (1 + (double)(t - 1) * o->lr_decay) * g / (sqrt(s->a) + o->eps);
}

static double naive_adadelta(const lurn_optim_options *o, int64_t t, double p, double g, element *s) {
  (void)t;
  g += o->weight_decay * p;
  s->a = o->rho * s->a + (1 - o->rho) * g * g;
  double d = sqrt(s->b + o->eps) / sqrt(s->a + o->eps) * g;
  s->b = o->rho * s->b + (1 - o->rho) * d * d;
  return p - o->lr * d;
}

typedef double naive_fn(const lurn_optim_options *o, int64_t t, double p, double g, element *s);
static naive_fn *const naive[LURN_OPTIM_KINDS] = {
    [LURN_SGD] = naive_sgd,     [LURN_RMSPROP] = naive_rmsprop, [LURN_ADAM] = naive_adam,
    [LURN_ADAMW] = naive_adamw, [LURN_ADAGRAD] = naive_adagrad, [LURN_ADADELTA] = naive_adadelta,
};

/* ---- Values ------------------------------------------------------------------------------------------------ */

typedef struct setting {
  lurn_optim_kind kind;
  lurn_optim_options options; /* fields that are not 0 replace the default */
} setting;

static const setting settings[] = {
    {LURN_SGD, {.lr = 0.1}},
    {LURN_SGD, {.lr = 0.05, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.1}},
    {LURN_SGD, {.lr = 0.05, .momentum = 0.8, .nesterov = true, .maximize = true}},
    {LURN_RMSPROP, {.lr = 0}},
    {LURN_RMSPROP, {.lr = 0.02, .alpha = 0.9, .centered = true, .momentum = 0.5, .weight_decay = 0.01}},
    {LURN_RMSPROP, {.momentum = 0.9, .maximize = true}},
    {LURN_ADAM, {.lr = 0.02}},
    {LURN_ADAM, {.lr = 0.02, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1, .maximize = true}},
    {LURN_ADAMW, {.lr = 0.02, .weight_decay = 0.3}},
    {LURN_ADAMW, {.lr = 0.02, .maximize = true}},
    {LURN_ADAGRAD, {.lr = 0.1}},
    {LURN_ADAGRAD, {.lr = 0.1, .lr_decay = 0.05, .weight_decay = 0.1, .initial_accumulator = 0.5, .maximize = true}},
    {LURN_ADADELTA, {.lr = 1}},
    {LURN_ADADELTA, {.lr = 0.5, .rho = 0.8, .eps = 1e-4, .weight_decay = 0.1, .maximize = true}},
    {LURN_ADAM, {.lr = 0.02, .beta2 = 0.9, .amsgrad = true}},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static lurn_optim_options options_of(const setting *s) {
  lurn_optim_options o = lurn_optim_defaults(s->kind);
#define TAKE(field) o.field = s->options.field != 0 ? s->options.field : o.field
  TAKE(lr);
  TAKE(weight_decay);
  TAKE(momentum);
  TAKE(dampening);
  TAKE(alpha);
  TAKE(eps);
  TAKE(beta1);
  TAKE(beta2);
  TAKE(rho);
  TAKE(lr_decay);
  TAKE(initial_accumulator);
#undef TAKE
  o.nesterov = s->options.nesterov;
  o.centered = s->options.centered;
  o.amsgrad = s->options.amsgrad;
  o.maximize = s->options.maximize;
  return o;
}

static lurn_optim *new_optim(lurn_ctx *ctx, const setting *s, lurn_tensor *const *params, int64_t n) {
  lurn_optim *opt = NULL;
  lurn_optim_options o = options_of(s);
  CHECK(lurn_optim_new(ctx, s->kind, &opt) == LURN_OK);
  CHECK(lurn_optim_add_group(opt, params, n, &o, NULL) == LURN_OK);
  return opt;
}

enum { ROWS = 5, COLS = 7, STEPS = 12 };

/* Runs a setting on one parameter and compares with the formulas after every step. */
static void compare(const setting *s, lurn_dtype dtype, layout param_how, layout grad_how, double tolerance) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  lurn_optim_options o = options_of(s);
  lurn_tensor *p = make_param(ctx, dtype, ROWS, COLS, param_how, 1);
  lurn_optim *opt = new_optim(ctx, s, &p, 1);
  double expected[ROWS * COLS], worst = 0;
  element state[ROWS * COLS] = {{0}};
  for (int64_t i = 0; i < ROWS * COLS; i++) expected[i] = get(p, i);
  for (int64_t t = 1; t <= STEPS; t++) {
    give_grad(p, grad_how, (uint64_t)t, 1.5 + noise(99, t));
    CHECK(lurn_optim_step(opt) == LURN_OK);
    for (int64_t i = 0; i < ROWS * COLS; i++) {
      double g = get(lurn_tensor_grad(p), i);
      expected[i] = naive[s->kind](&o, t, expected[i], o.maximize ? -g : g, &state[i]);
      worst = fmax(worst, fabs(get(p, i) - expected[i]));
    }
  }
  if (!CHECK(worst <= tolerance))
    printf("     setting %d, %s: off by %.3g\n", (int)(s - settings), lurn_dtype_name(dtype), worst);
  lurn_optim_free(opt);
  lurn_release(p);
  lurn_ctx_free(ctx);
  CHECK_EQ(b.blocks, 0);
}

/* The values are below 4; a step rounds a few times, relative to its size. */
TEST(formulas) {
  for (int i = 0; i < SETTINGS; i++) {
    compare(&settings[i], LURN_FLOAT64, DENSE, DENSE, 1e-13);
    compare(&settings[i], LURN_FLOAT32, DENSE, DENSE, 2e-5);
  }
}

TEST(formulas_strided) {
  for (int i = 0; i < SETTINGS; i++)
    for (layout p = DENSE; p < LAYOUTS; p++)
      for (layout g = DENSE; g < LAYOUTS; g++) compare(&settings[i], LURN_FLOAT64, p, g, 1e-13);
}

/* A strided parameter gets the very bits of a dense one, also across the pieces it is handled in. */
TEST(strided_bits) {
  enum { R = 61, C = 53 };
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  for (layout how = TRANSPOSED; how < LAYOUTS; how++) {
    lurn_tensor *pair[2] = {make_param(ctx, LURN_FLOAT32, R, C, DENSE, 3), make_param(ctx, LURN_FLOAT32, R, C, how, 3)};
    lurn_optim *opt = new_optim(ctx, &settings[6], pair, 2);
    for (uint64_t t = 0; t < 3; t++) {
      give_grad(pair[0], DENSE, t, 1);
      give_grad(pair[1], t == 1 ? DENSE : how, t, 1);
      CHECK(lurn_optim_step(opt) == LURN_OK);
    }
    bool same = true;
    for (int64_t i = 0; i < R * C; i++) same = same && get(pair[0], i) == get(pair[1], i);
    CHECK(same);
    lurn_optim_free(opt);
    lurn_release(pair[0]);
    lurn_release(pair[1]);
  }
  lurn_ctx_free(ctx);
}

TEST(zero_size_and_scalar) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  lurn_tensor *empty = make_param(ctx, LURN_FLOAT32, 0, 3, DENSE, 1), *scalar = NULL, *grad = NULL;
  CHECK(lurn_full(ctx, LURN_FLOAT32, 0, NULL, 2, &scalar) == LURN_OK);
  CHECK(lurn_full(ctx, LURN_FLOAT32, 0, NULL, 4, &grad) == LURN_OK);
  CHECK(lurn_tensor_set_requires_grad(scalar, true) == LURN_OK);
  CHECK(lurn_tensor_set_grad(scalar, grad) == LURN_OK);
  give_grad(empty, DENSE, 1, 1);
  lurn_tensor *params[2] = {empty, scalar};
  lurn_optim *opt = new_optim(ctx, &settings[0], params, 2);
  CHECK(lurn_optim_step(opt) == LURN_OK);
  CHECK_NEAR(*(float *)lurn_tensor_data(scalar), 1.6, 1e-6);
  double total = -1;
  CHECK(lurn_clip_grad_norm(ctx, params, 2, 1, &total) == LURN_OK);
  CHECK_NEAR(total, 4, 0);
  CHECK_NEAR(*(float *)lurn_tensor_data(grad), 1, 1e-6);
  lurn_optim_free(opt);
  lurn_release(empty);
  lurn_release(scalar);
  lurn_release(grad);
  lurn_ctx_free(ctx);
  CHECK_EQ(b.blocks, 0);
}

static void large_run(int threads, lurn_optim_kind kind, float *values, int64_t n) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, threads);
  lurn_tensor *p = NULL, *g = NULL;
  lurn_optim *opt = NULL;
  CHECK(lurn_zeros(ctx, LURN_FLOAT32, 1, &n, &p) == LURN_OK);
  CHECK(lurn_zeros(ctx, LURN_FLOAT32, 1, &n, &g) == LURN_OK);
  for (int64_t i = 0; i < n; i++) lurn__f32(p)[i] = (float)noise(1, i), lurn__f32(g)[i] = (float)noise(2, i);
  CHECK(lurn_tensor_set_requires_grad(p, true) == LURN_OK);
  CHECK(lurn_tensor_set_grad(p, g) == LURN_OK);
  CHECK(lurn_optim_new(ctx, kind, &opt) == LURN_OK);
  CHECK(lurn_optim_add_group(opt, &p, 1, NULL, NULL) == LURN_OK);
  for (int t = 0; t < 3; t++) {
    double norm;
    CHECK(lurn_clip_grad_norm(ctx, &p, 1, 100 - 10 * t, &norm) == LURN_OK);
    values[n + t] = (float)norm;
    CHECK(lurn_optim_step(opt) == LURN_OK);
  }
  memcpy(values, lurn_tensor_data(p), (size_t)n * sizeof *values);
  lurn_optim_free(opt);
  lurn_release(p);
  lurn_release(g);
  lurn_ctx_free(ctx);
  CHECK_EQ(b.blocks, 0);
}

TEST(threads_do_not_matter) {
  enum { N = 400001 }; /* enough for several threads */
  float *one = calloc(N + 3, sizeof *one), *four = calloc(N + 3, sizeof *four);
  for (lurn_optim_kind kind = LURN_SGD; kind < LURN_OPTIM_KINDS; kind++) {
    large_run(1, kind, one, N);
    large_run(4, kind, four, N);
    CHECK(memcmp(one, four, (N + 3) * sizeof *one) == 0);
  }
  free(one);
  free(four);
}

/* ---- Groups, options, gradients ---------------------------------------------------------------------------- */

TEST(groups_and_options) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  const double grad[2] = {1, -2};
  lurn_tensor *p[3];
  for (int i = 0; i < 3; i++) p[i] = param_with_grad(ctx, LURN_FLOAT64, 2, grad);
  lurn_optim *opt = NULL;
  int group = -1;
  lurn_optim_options o = lurn_optim_defaults(LURN_SGD);
  CHECK(lurn_optim_new(ctx, LURN_SGD, &opt) == LURN_OK);
  o.lr = 0.5;
  CHECK(lurn_optim_add_group(opt, &p[0], 1, &o, &group) == LURN_OK);
  CHECK_EQ(group, 0);
  lurn_optim_options *first = lurn_optim_group_options(opt, 0);
  o.lr = 0.25;
  CHECK(lurn_optim_add_group(opt, &p[1], 2, &o, &group) == LURN_OK);
  CHECK(lurn_optim_add_group(opt, NULL, 0, NULL, NULL) == LURN_OK);
  CHECK_EQ(group, 1);
  CHECK_EQ(lurn_optim_groups(opt), 3);
  CHECK(first == lurn_optim_group_options(opt, 0));
  CHECK(lurn_optim_group_options(opt, 3) == NULL && lurn_optim_group_options(opt, -1) == NULL);
  double before[3] = {get(p[0], 1), get(p[1], 1), get(p[2], 1)};
  CHECK(lurn_tensor_set_grad(p[2], NULL) == LURN_OK);
  uint64_t version[3] = {lurn_tensor_version(p[0]), lurn_tensor_version(p[1]), lurn_tensor_version(p[2])};
  first->maximize = true;
  CHECK(lurn_optim_step(opt) == LURN_OK);
  CHECK_NEAR(get(p[0], 1), before[0] - 1, 1e-15);
  CHECK_NEAR(get(p[1], 1), before[1] + 0.5, 1e-15);
  CHECK_NEAR(get(p[2], 1), before[2], 0);
  CHECK(lurn_tensor_version(p[0]) > version[0] && lurn_tensor_version(p[1]) > version[1]);
  CHECK_EQ(lurn_tensor_version(p[2]), version[2]);
  lurn_optim_zero_grad(opt);
  for (int i = 0; i < 3; i++) CHECK(lurn_tensor_grad(p[i]) == NULL);
  CHECK(lurn_optim_step(opt) == LURN_OK);
  CHECK_NEAR(get(p[0], 1), before[0] - 1, 1e-15);
  for (int i = 0; i < 3; i++) lurn_release(p[i]);
  lurn_ctx_free(ctx); /* the optimizer keeps it, and the parameters, alive */
  CHECK(lurn_optim_step(opt) == LURN_OK);
  lurn_optim_free(opt);
  lurn_optim_free(NULL);
  CHECK_EQ(b.blocks, 0);
}

/* Options may change between steps: a momentum that is switched on later starts with that step's gradient. */
TEST(momentum_switched_on) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  const double grad[1] = {1};
  lurn_tensor *p = param_with_grad(ctx, LURN_FLOAT64, 1, grad);
  lurn_optim *opt = new_optim(ctx, &settings[0], &p, 1);
  double start = get(p, 0);
  CHECK(lurn_optim_step(opt) == LURN_OK);
  lurn_optim_group_options(opt, 0)->momentum = 0.5;
  CHECK(lurn_optim_step(opt) == LURN_OK);
  CHECK_NEAR(get(p, 0), start - 0.2, 1e-15);
  CHECK(lurn_optim_step(opt) == LURN_OK);
  CHECK_NEAR(get(p, 0), start - 0.35, 1e-15);
  lurn_optim_free(opt);
  lurn_release(p);
  lurn_ctx_free(ctx);
}

/* Whatever a user takes for a gradient, every element counts as it was before the step. */
TEST(gradient_is_the_parameter) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 4);
  lurn_tensor *p = make_param(ctx, LURN_FLOAT32, 300, 301, DENSE, 1), *same = NULL;
  CHECK(lurn_detach(ctx, p, &same) == LURN_OK);
  CHECK(lurn_tensor_set_grad(p, same) == LURN_OK);
  double was = get(p, 70000);
  lurn_optim *opt = new_optim(ctx, &settings[0], &p, 1);
  CHECK(lurn_optim_step(opt) == LURN_OK);
  CHECK_NEAR(get(p, 70000), 0.9 * was, 1e-6);
  lurn_optim_free(opt);
  lurn_release(same);
  lurn_release(p);
  lurn_ctx_free(ctx);
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

static int64_t count_state(lurn_optim *opt) {
  for (int64_t i = 0;; i++) {
    char name[64];
    lurn_tensor *t = NULL;
    if (lurn_optim_state_at(opt, i, name, &t) != LURN_OK) return i;
    lurn_release(t);
  }
}

/* One step with each allocation failing in turn: it fails whole, and then succeeds with the same bits as ever. */
static void starve(const setting *s) {
  double expected[2][ROWS * COLS];
  for (long fail = -1, done = 0; !done && fail < 100; fail++) {
    budget b;
    lurn_ctx *ctx = new_ctx(&b, 1);
    lurn_tensor *p[2];
    for (uint64_t i = 0; i < 2; i++) {
      p[i] = make_param(ctx, LURN_FLOAT32, ROWS, COLS, i == 0 ? DENSE : TRANSPOSED, i);
      give_grad(p[i], DENSE, 7 + i, 1);
    }
    lurn_optim *opt = new_optim(ctx, s, p, 2);
    lurn_memory_trim(ctx);
    b.left = fail;
    lurn_status status = lurn_optim_step(opt);
    b.left = -1;
    if (status != LURN_OK) {
      CHECK_EQ(status, LURN_ENOMEM);
      CHECK_HAS(lurn_error(ctx), "out of memory");
      CHECK_EQ(count_state(opt), 0);
      for (uint64_t i = 0; i < 2; i++)
        for (int64_t j = 0; j < ROWS * COLS; j++) CHECK((float)get(p[i], j) == (float)noise(i, j));
      CHECK(lurn_optim_step(opt) == LURN_OK);
    }
    for (int i = 0; i < 2; i++)
      for (int64_t j = 0; j < ROWS * COLS; j++) {
        if (fail < 0) expected[i][j] = get(p[i], j);
        CHECK(get(p[i], j) == expected[i][j]);
      }
    done = fail >= 0 && status == LURN_OK;
    lurn_optim_free(opt);
    lurn_release(p[0]);
    lurn_release(p[1]);
    lurn_ctx_free(ctx);
    CHECK_EQ(b.blocks, 0);
  }
}

TEST(allocation_failures_in_step) {
  for (int i = 0; i < SETTINGS; i++) starve(&settings[i]);
}

TEST(allocation_failures_when_made) {
  for (long fail = 0, done = 0; !done && fail < 100; fail++) {
    budget b;
    lurn_ctx *ctx = new_ctx(&b, 1);
    lurn_tensor *p[2] = {make_param(ctx, LURN_FLOAT32, 2, 2, DENSE, 0), make_param(ctx, LURN_FLOAT32, 2, 2, DENSE, 1)};
    lurn_memory_trim(ctx);
    lurn_optim *opt = NULL;
    b.left = fail;
    lurn_status status = lurn_optim_new(ctx, LURN_ADAM, &opt);
    if (status == LURN_OK) {
      status = lurn_optim_add_group(opt, p, 2, NULL, NULL);
      CHECK_EQ(lurn_optim_groups(opt), status == LURN_OK);
      if (status == LURN_OK) {
        status = lurn_optim_set_state(opt, "state.1.exp_avg", p[1]);
        b.left = -1;
        CHECK_EQ(count_state(opt), status == LURN_OK ? 2 : 0);
      }
    }
    done = status == LURN_OK;
    b.left = -1;
    lurn_optim_free(opt);
    lurn_release(p[0]);
    lurn_release(p[1]);
    lurn_ctx_free(ctx);
    CHECK_EQ(b.blocks, 0);
  }
}

/* After its first step an optimizer asks the host for no more memory. */
TEST(steady_state_does_not_allocate) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  lurn_tensor *p = make_param(ctx, LURN_FLOAT32, 20, 30, TRANSPOSED, 1);
  give_grad(p, GAPPED, 1, 1);
  lurn_optim *opt = new_optim(ctx, &settings[6], &p, 1);
  double norm;
  CHECK(lurn_optim_step(opt) == LURN_OK);
  uint64_t before = lurn_memory_allocations(ctx);
  for (int i = 0; i < 5; i++) {
    CHECK(lurn_clip_grad_norm(ctx, &p, 1, 0.1, &norm) == LURN_OK);
    CHECK(lurn_optim_step(opt) == LURN_OK);
  }
  CHECK_EQ(lurn_memory_allocations(ctx), before);
  lurn_optim_free(opt);
  lurn_release(p);
  lurn_ctx_free(ctx);
}

/* ---- State ------------------------------------------------------------------------------------------------- */

static void make_pair(lurn_ctx *ctx, lurn_tensor *p[2]) {
  p[0] = make_param(ctx, LURN_FLOAT32, ROWS, COLS, DENSE, 1);
  p[1] = make_param(ctx, LURN_FLOAT64, COLS, ROWS, TRANSPOSED, 2);
}

static void advance(lurn_optim *opt, lurn_tensor *p[2], uint64_t from, uint64_t to) {
  for (uint64_t t = from; t < to; t++) {
    give_grad(p[0], DENSE, t, 1);
    if (t >= 2) give_grad(p[1], DENSE, 100 + t, 1); /* the second starts later: its step count differs */
    CHECK(lurn_optim_step(opt) == LURN_OK);
  }
}

static void copy_state(lurn_optim *from, lurn_optim *to) {
  char name[64];
  for (int64_t i = count_state(from) - 1; i >= 0; i--) {
    lurn_tensor *t = NULL;
    CHECK(lurn_optim_state_at(from, i, name, &t) == LURN_OK);
    CHECK(lurn_optim_set_state(to, name, t) == LURN_OK);
    lurn_release(t);
  }
}

TEST(state_round_trip_gives_the_same_bits) {
  for (int s = 0; s < SETTINGS; s++) {
    budget b;
    lurn_ctx *ctx = new_ctx(&b, 1);
    lurn_tensor *p[2], *q[2];
    make_pair(ctx, p);
    make_pair(ctx, q);
    lurn_optim *opt = new_optim(ctx, &settings[s], p, 2), *resumed = new_optim(ctx, &settings[s], q, 2);
    advance(opt, p, 0, 5);
    for (int k = 0; k < 2; k++)
      for (int64_t i = 0; i < ROWS * COLS; i++) put(q[k], i, get(p[k], i));
    copy_state(opt, resumed);
    CHECK_EQ(count_state(opt), count_state(resumed));
    advance(opt, p, 5, 10);
    advance(resumed, q, 5, 10);
    for (int k = 0; k < 2; k++)
      for (int64_t i = 0; i < ROWS * COLS; i++) CHECK(get(p[k], i) == get(q[k], i));
    lurn_optim_free(opt);
    lurn_optim_free(resumed);
    for (int k = 0; k < 2; k++) lurn_release(p[k]), lurn_release(q[k]);
    lurn_ctx_free(ctx);
    CHECK_EQ(b.blocks, 0);
  }
}

TEST(state_names) {
  static const char *const expected[] = {"state.1.step", "state.1.exp_avg", "state.1.exp_avg_sq",
                                         "state.1.max_exp_avg_sq"};
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  lurn_tensor *p[2], *t = NULL;
  make_pair(ctx, p);
  give_grad(p[1], DENSE, 0, 1);
  lurn_optim *opt = new_optim(ctx, &settings[SETTINGS - 1], p, 2);
  char name[64] = "untouched";
  CHECK_EQ(lurn_optim_state_at(opt, 0, name, &t), LURN_EINDEX);
  CHECK(lurn_optim_step(opt) == LURN_OK && lurn_optim_step(opt) == LURN_OK);
  CHECK_EQ(lurn_optim_state_at(opt, -1, name, &t), LURN_EINDEX);
  CHECK_EQ(lurn_optim_state_at(opt, 4, name, &t), LURN_EINDEX);
  CHECK(t == NULL);
  CHECK_STR(name, "untouched");
  for (int64_t i = 0; i < 4; i++) {
    CHECK(lurn_optim_state_at(opt, i, name, &t) == LURN_OK);
    CHECK_STR(name, expected[i]);
    if (i == 0) CHECK(lurn_tensor_dtype(t) == LURN_INT64 && lurn_tensor_ndim(t) == 0 && *lurn__i64(t) == 2);
    if (i > 0) CHECK(lurn_tensor_dtype(t) == LURN_FLOAT64 && lurn_tensor_shape(t)[0] == COLS);
    lurn_release(t);
  }
  lurn_optim_free(opt);
  lurn_release(p[0]);
  lurn_release(p[1]);
  lurn_ctx_free(ctx);
}

static void check_set_state(lurn_optim *opt, const char *name, lurn_tensor *value, lurn_status status,
                            const char *message) {
  CHECK_EQ(lurn_optim_set_state(opt, name, value), status);
  CHECK_STR(lurn_error(lurn_tensor_ctx(value)), message);
}

TEST(set_state_errors) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  lurn_tensor *p[2], *step = NULL;
  make_pair(ctx, p);
  lurn_optim *opt = new_optim(ctx, &settings[6], p, 2);
  const char *bad[] = {"",
                       "state",
                       "state.",
                       "state.0",
                       "state.0.",
                       "state..step",
                       "state.00.step",
                       "state.-1.step",
                       "state.0.sum",
                       "State.0.step",
                       "state.0.step.",
                       "state.1234567890123456789012.step"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    CHECK_EQ(lurn_optim_set_state(opt, bad[i], p[0]), LURN_EVALUE);
    CHECK_HAS(lurn_error(ctx), "expected state.N. and one of step, exp_avg, exp_avg_sq, max_exp_avg_sq");
  }
  check_set_state(opt, "state.2.step", p[0], LURN_EINDEX, "Adam: state.2.step: there is no such parameter");
  check_set_state(opt, "state.0.step", p[0], LURN_EDTYPE, "Adam: state.0.step: expected one int64, got 35 float32");
  check_set_state(opt, "state.1.exp_avg", p[0], LURN_EDTYPE,
                  "Adam: state.1.exp_avg: expected float64 (7, 5) like the parameter, got float32 (5, 7)");
  CHECK(lurn_from_data(ctx, LURN_INT64, 0, NULL, &(int64_t){-3}, &step) == LURN_OK);
  check_set_state(opt, "state.0.step", step, LURN_EVALUE, "Adam: state.0.step is -3; expected a number of steps");
  CHECK_EQ(count_state(opt), 0);
  lurn_release(step);
  lurn_optim_free(opt);
  lurn_release(p[0]);
  lurn_release(p[1]);
  lurn_ctx_free(ctx);
}

/* ---- Errors ------------------------------------------------------------------------------------------------ */

static void check_options(lurn_optim_kind kind, lurn_optim_options options, const char *message) {
  budget b;
  lurn_ctx *ctx = new_ctx(&b, 1);
  lurn_tensor *p = param_with_grad(ctx, LURN_FLOAT32, 1, (double[]){1});
  double before = get(p, 0);
  lurn_optim *opt = NULL;
  CHECK(lurn_optim_new(ctx, kind, &opt) == LURN_OK);
  CHECK_EQ(lurn_optim_add_group(opt, &p, 1, &options, NULL), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), message);
  CHECK_EQ(lurn_optim_groups(opt), 0);
  CHECK(lurn_optim_add_group(opt, &p, 1, NULL, NULL) == LURN_OK);
  *lurn_optim_group_options(opt, 0) = options;
  CHECK_EQ(lurn_optim_step(opt), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), message);
  CHECK(get(p, 0) == before && count_state(opt) == 0);
  lurn_optim_free(opt);
  lurn_release(p);
  lurn_ctx_free(ctx);
}

#define WITH(kind, field, value, message)                                                                              \
  do {                                                                                                                 \
    lurn_optim_options o_ = lurn_optim_defaults(kind);                                                                 \
    o_.field = value;                                                                                                  \
    check_options(kind, o_, message);                                                                                  \
  } while (0)

TEST(option_errors) {
  WITH(LURN_ADAM, lr, -1, "Adam: lr is -1; expected at least 0");
  WITH(LURN_ADAM, lr, INFINITY, "Adam: lr is inf; expected a finite number");
  WITH(LURN_ADAMW, beta1, 1, "AdamW: beta1 is 1; expected at least 0 and below 1");
  WITH(LURN_ADAMW, beta2, -0.1, "AdamW: beta2 is -0.1; expected at least 0 and below 1");
  WITH(LURN_ADAM, eps, -1e-8, "Adam: eps is -1e-08; expected at least 0");
  WITH(LURN_SGD, momentum, -0.5, "SGD: momentum is -0.5; expected at least 0");
  WITH(LURN_SGD, weight_decay, -2, "SGD: weight_decay is -2; expected at least 0");
  WITH(LURN_SGD, nesterov, true, "SGD: nesterov needs a momentum above 0 and dampening 0; they are 0 and 0");
  WITH(LURN_RMSPROP, alpha, 1.5, "RMSprop: alpha is 1.5; expected 0 to 1");
  WITH(LURN_ADADELTA, rho, 1.5, "Adadelta: rho is 1.5; expected 0 to 1");
  WITH(LURN_ADAGRAD, lr_decay, -1, "Adagrad: lr_decay is -1; expected at least 0");
  WITH(LURN_ADAGRAD, initial_accumulator, -1, "Adagrad: initial_accumulator_value is -1; expected at least 0");
}

static void check_group(lurn_optim *opt, lurn_ctx *ctx, lurn_tensor *const *params, int64_t n, lurn_status status,
                        const char *message) {
  CHECK_EQ(lurn_optim_add_group(opt, params, n, NULL, NULL), status);
  CHECK_STR(lurn_error(ctx), message);
}

TEST(group_errors) {
  budget b, other_b;
  lurn_ctx *ctx = new_ctx(&b, 1), *other = new_ctx(&other_b, 1);
  lurn_tensor *p[2], *ids = NULL, *expanded = NULL, *foreign = make_param(other, LURN_FLOAT32, 1, 1, DENSE, 0);
  make_pair(ctx, p);
  CHECK(lurn_zeros(ctx, LURN_INT64, 0, NULL, &ids) == LURN_OK);
  lurn__shape shape = {.ndim = 2, .size = {3, ROWS}};
  CHECK(lurn__tensor_view(p[0], &shape, (int64_t[LURN_MAX_DIMS]){0, 1}, 0, &expanded) == LURN_OK);
  lurn_optim *opt = NULL;
  CHECK_EQ(lurn_optim_new(ctx, (lurn_optim_kind)17, &opt), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "optim: there is no optimizer number 17");
  CHECK(lurn_optim_new(ctx, LURN_ADAM, &opt) == LURN_OK);
  check_group(opt, ctx, (lurn_tensor *[]){p[0], ids}, 2, LURN_EDTYPE,
              "Adam: parameter 2 is int64; expected float32 or float64");
  check_group(opt, ctx, (lurn_tensor *[]){NULL}, 1, LURN_EVALUE, "Adam: parameter 1 is missing");
  check_group(opt, ctx, (lurn_tensor *[]){foreign}, 1, LURN_ESTATE, "Adam: parameter 1 is of another context");
  check_group(opt, ctx, (lurn_tensor *[]){expanded}, 1, LURN_EVALUE,
              "Adam: parameter 1 is an expanded tensor; clone it first");
  check_group(opt, ctx, (lurn_tensor *[]){p[0], p[1], p[0]}, 3, LURN_EVALUE, "Adam: parameter 3 is there already");
  CHECK(lurn_optim_add_group(opt, &p[1], 1, NULL, NULL) == LURN_OK);
  check_group(opt, ctx, p, 2, LURN_EVALUE, "Adam: parameter 2 is there already");
  CHECK_EQ(lurn_optim_groups(opt), 1);
  lurn_optim_free(opt);
  lurn_release(ids);
  lurn_release(expanded);
  lurn_release(foreign);
  lurn_release(p[0]);
  lurn_release(p[1]);
  lurn_ctx_free(ctx);
  lurn_ctx_free(other);
  CHECK_EQ(b.blocks + other_b.blocks, 0);
}
