/* Every op of the registry, forward, backward and in place, with each of its requests for memory failing in turn. */
#include "counting.h"
#include "samples.h"

enum { PLAIN = 0, GRAD = 1, INPLACE = 2, MODES = 4 };

typedef struct bench {
  lurn_ctx *ctx;
  counting memory;
  size_t idle; /* bytes the context itself holds: its threads, made when first needed */
  const lurn_op_info *op;
  const char *words;
  int uses; /* calls before the one that counts: weights are kept in other forms once they come again */
  arguments a;
} bench;

static void begin(bench *b, const lurn_op_info *op, const char *words, int threads) {
  *b = (bench){.op = op, .words = words};
  lurn_config config = {
      .alloc = counting_alloc, .alloc_ud = &b->memory, .num_threads = threads, .cache_limit = 1, .seed = 1};
  if (lurn_ctx_new(&config, &b->ctx) != LURN_OK) abort();
}

static void end(bench *b) {
  CHECK_EQ(lurn_memory_live(b->ctx), b->idle);
  lurn_ctx_free(b->ctx);
  check_all_freed(&b->memory);
}

/* ---- Bits -------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t bits, uint64_t more) { return (bits ^ more) * 0x100000001b3u; }

static uint64_t tensor_bits(uint64_t bits, const lurn_tensor *t) {
  if (t == NULL) return mix(bits, 1);
  size_t width = lurn_dtype_size(t->dtype);
  bits = mix(bits, (uint64_t)t->dtype);
  for (int d = 0; d < t->shape.ndim; d++) bits = mix(bits, (uint64_t)t->shape.size[d]);
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++) {
    int64_t rest = i, at = 0;
    for (int d = t->shape.ndim - 1; d >= 0; d--) {
      at += rest % t->shape.size[d] * t->stride[d];
      rest /= t->shape.size[d];
    }
    const unsigned char *byte = (const unsigned char *)lurn_tensor_data(t) + at * (int64_t)width;
    for (size_t k = 0; k < width; k++) bits = mix(bits, byte[k]);
  }
  return bits;
}

static uint64_t input_bits(const bench *b) {
  uint64_t bits = 0;
  for (int i = 0; i < b->a.n_in; i++) bits = tensor_bits(bits, b->a.in[i]);
  return bits;
}

static bool any_gradient(const bench *b) {
  for (int i = 0; i < b->a.n_in; i++)
    if (b->a.in[i] != NULL && lurn_tensor_grad(b->a.in[i]) != NULL) return true;
  return false;
}

/* ---- One run ----------------------------------------------------------------------------------------------- */

typedef struct outcome {
  lurn_status status;
  bool reached, went_back; /* the request that was to fail was made; there was something to differentiate */
  uint64_t bits;           /* of outputs and gradients */
} outcome;

static void require_gradients(bench *b) {
  for (int i = 0; i < b->a.n_in; i++) {
    if (b->a.in[i] == NULL || !lurn_dtype_is_float(b->a.in[i]->dtype) || b->a.no_grad[i]) continue;
    CHECK_EQ(lurn_tensor_set_requires_grad(b->a.in[i], true), LURN_OK);
  }
}

/* The sum of all outputs that were recorded, NULL when there are none. */
static lurn_status sum_of(lurn_ctx *ctx, lurn_tensor *const *out, int n, lurn_tensor **root) {
  lurn_tensor *total = NULL, *sum = NULL, *both = NULL;
  lurn_status status = LURN_OK;
  for (int k = 0; k < n && status == LURN_OK; k++) {
    if (!lurn_tensor_requires_grad(out[k])) continue;
    status = lurn_sum(ctx, out[k], NULL, 0, false, &sum);
    if (status != LURN_OK) break;
    if (total != NULL) status = lurn_add(ctx, total, sum, &both);
    lurn_tensor *next = total == NULL ? sum : status == LURN_OK ? both : NULL;
    if (next != sum) lurn_release(sum);
    lurn_release(total);
    total = next;
  }
  if (status == LURN_OK) *root = total;
  else lurn_release(total);
  return status;
}

static void go_back(bench *b, lurn_tensor *const *out, int n, outcome *o) {
  lurn_tensor *root = NULL;
  o->status = sum_of(b->ctx, out, n, &root);
  o->went_back = root != NULL;
  if (root != NULL) o->status = lurn_backward(b->ctx, root, NULL, false);
  lurn_release(root);
  if (o->status != LURN_OK) CHECK(!any_gradient(b));
}

/* The first input of the in-place variant: a leaf of its own, or what was computed from the leaf. */
static lurn_tensor *new_target(bench *b, bool grad) {
  lurn_tensor *target = NULL;
  if (!grad) return sample_tensor(b->ctx, b->words, 0, b->a.base, NULL);
  if (lurn_clone(b->ctx, b->a.in[0], &target) != LURN_OK) abort();
  return target;
}

/* Runs the op; the outputs, or the target in their place. */
static lurn_status call(bench *b, bool inplace, lurn_tensor **out, int *n) {
  static char marker;
  lurn_tensor *untouched = (lurn_tensor *)(void *)&marker;
  *n = inplace ? 1 : b->op->n_outputs;
  if (inplace) {
    uint64_t before = tensor_bits(0, out[0]);
    lurn_status status = lurn_op_call_inplace(b->ctx, b->op, b->a.args);
    if (status != LURN_OK) CHECK(tensor_bits(0, out[0]) == before);
    return status;
  }
  for (int k = 0; k < LURN__MAX_OUT; k++) out[k] = untouched;
  lurn_status status = lurn_op_call(b->ctx, b->op, b->a.args, out);
  for (int k = 0; k < LURN__MAX_OUT; k++)
    if (status != LURN_OK || k >= *n) {
      CHECK(out[k] == untouched);
      out[k] = NULL;
    }
  return status;
}

/* Calls that nothing disturbs, for the forms of weights that are kept with them; false when the op refuses its arguments. */
static bool use(bench *b) {
  for (int i = 0; i < b->uses; i++) {
    lurn_tensor *out[LURN__MAX_OUT];
    bool grad = lurn_set_grad_enabled(b->ctx, false);
    lurn_status status = lurn_op_call(b->ctx, b->op, b->a.args, out);
    lurn_set_grad_enabled(b->ctx, grad);
    if (status != LURN_OK) return false;
    for (int k = 0; k < b->op->n_outputs; k++) lurn_release(out[k]);
  }
  return true;
}

static lurn_record **record_of(bench *b) {
  return b->a.record_at < 0 ? NULL : (lurn_record **)(void *)(b->a.args + (size_t)b->a.record_at * LURN_ARG_STRIDE);
}

/* The call, and the way back, in which request number `fails` for memory fails (0: none), and those after it. */
static outcome disturbed(bench *b, int mode, int64_t fails, bool from_then_on, lurn_tensor **out) {
  bool grad = (mode & GRAD) != 0;
  uint64_t inputs = input_bits(b);
  outcome o = {0};
  int n = 0;
  b->memory.fail_at = fails > 0 ? b->memory.calls + fails : 0;
  b->memory.fail_on = from_then_on;
  o.status = call(b, (mode & INPLACE) != 0, out, &n);
  if (o.status == LURN_OK && grad) go_back(b, out, n, &o);
  o.reached = fails > 0 && b->memory.calls >= b->memory.fail_at;
  b->memory.fail_at = 0;
  if (o.status == LURN_OK) {
    for (int k = 0; k < n; k++) o.bits = tensor_bits(o.bits, out[k]);
    for (int i = 0; i < b->a.n_in; i++) o.bits = tensor_bits(o.bits, b->a.in[i] ? lurn_tensor_grad(b->a.in[i]) : NULL);
  }
  CHECK(input_bits(b) == inputs);
  return o;
}

/* A run on tensors of its own, which leaves nothing behind. */
static outcome attempt(bench *b, int mode, int64_t fails, bool from_then_on) {
  static const uint64_t state[2] = {1, 2};
  bool grad = (mode & GRAD) != 0, inplace = (mode & INPLACE) != 0;
  lurn_tensor *out[LURN__MAX_OUT] = {0};
  lurn_set_grad_enabled(b->ctx, grad);
  lurn_set_rng_state(b->ctx, state);
  fill_arguments(b->ctx, b->op, b->words, &b->a);
  lurn_record **record = record_of(b);
  outcome o = {.status = LURN_ESTATE};
  if (use(b)) {
    if (grad) require_gradients(b);
    if (inplace) out[0] = *(lurn_tensor **)(void *)b->a.args = new_target(b, grad);
    if (record != NULL) CHECK_EQ(lurn_record_new(b->ctx, record), LURN_OK);
    o = disturbed(b, mode, fails, from_then_on, out);
  }
  for (int k = 0; k < LURN__MAX_OUT; k++) lurn_release(out[k]);
  if (record != NULL) {
    lurn_record_release(*record);
    *record = NULL;
  }
  for (int i = 0; i < b->a.n_in; i++) lurn_release(b->a.in[i]);
  lurn_set_grad_enabled(b->ctx, true);
  CHECK_EQ(lurn_memory_live(b->ctx), b->idle);
  return o;
}

/* ---- All failures ------------------------------------------------------------------------------------------ */

enum { MOST = 2000 };

/* Fails request 1, 2, 3 ... until the run needs fewer; how many there were. */
static int64_t fail_each(bench *b, int mode, bool from_then_on, uint64_t expected) {
  int64_t n = 1;
  for (; n < MOST; n++) {
    outcome o = attempt(b, mode, n, from_then_on);
    CHECK(o.status == LURN_OK || (o.status == LURN_ENOMEM && strstr(lurn_error(b->ctx), "out of memory") != NULL));
    if (o.status == LURN_OK) CHECK(o.bits == expected);
    if (from_then_on && o.reached) CHECK_EQ(o.status, LURN_ENOMEM);
    if (!o.reached) break;
    o = attempt(b, mode, 0, false);
    CHECK(o.status == LURN_OK && o.bits == expected);
  }
  CHECK(n < MOST);
  return n - 1;
}

static void print_where(const bench *b, int mode) {
  printf("     %s %s, %s%s, used %d times before\n", b->op->name, b->words, (mode & GRAD) ? "backward" : "forward",
         (mode & INPLACE) ? " in place" : "", b->uses);
}

/* Ops that keep a weight in another form with it. */
static bool keeps_forms(const char *name) {
  static const char *const list[] = {"matmul", "linear", "addmm", "rnn", "lstm", "gru"};
  for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
    if (strcmp(list[i], name) == 0) return true;
  return false;
}

static void start_threads(bench *b) {
  lurn_tensor *x = NULL, *y = NULL;
  if (lurn_full(b->ctx, LURN_FLOAT32, 1, (int64_t[]){1 << 20}, 1, &x) != LURN_OK) abort();
  if (lurn_exp(b->ctx, x, &y) != LURN_OK) abort();
  lurn_release(x);
  lurn_release(y);
  b->idle = lurn_memory_live(b->ctx);
  CHECK(b->idle > 0);
}

/* Which modes were accepted, as bits; GRAD only when there was something to differentiate. */
static unsigned survive(const lurn_op_info *op, const char *words, int threads) {
  unsigned accepted = 0;
  bench b;
  begin(&b, op, words, threads);
  if (threads > 1) start_threads(&b);
  for (int k = 0; k < MODES * (keeps_forms(op->name) ? 3 : 1); k++) {
    int mode = k % MODES, failed = harness.failed_checks;
    b.uses = k / MODES;
    if ((mode & INPLACE) != 0 && !op->has_inplace) continue;
    outcome o = attempt(&b, mode, 0, false);
    if (o.status != LURN_OK || ((mode & GRAD) != 0 && !o.went_back)) continue;
    accepted |= 1u << mode;
    fail_each(&b, mode, false, o.bits);
    fail_each(&b, mode, true, o.bits);
    if (harness.failed_checks > failed) print_where(&b, mode);
  }
  if (has_samples(op->name) && !CHECK(accepted & 1u << PLAIN))
    printf("     %s %s: %s\n", op->name, words, lurn_error(b.ctx));
  end(&b);
  return accepted;
}

TEST(every_request_of_every_op_fails) {
  for (int i = 0; i < lurn_op_count(); i++) {
    const lurn_op_info *op = lurn_op_at(i);
    char words[WORDS];
    unsigned accepted = 0;
    for (int v = 0; v < GENERIC && !has_samples(op->name); v++) {
      generic_words(op, v, words);
      accepted |= survive(op, words, 1);
    }
    for (int k = 0; samples[k].name != NULL; k++)
      if (strcmp(samples[k].name, op->name) == 0) accepted |= survive(op, samples[k].words, 1);
    for (int k = 0; further[k].name != NULL; k++)
      if (strcmp(further[k].name, op->name) == 0 && !CHECK(survive(op, further[k].words, 1) & 1u << PLAIN))
        printf("     %s %s: refused\n", op->name, further[k].words);
    bool all = (accepted & 1u << PLAIN) && (!lurn_op_is_differentiable(op) || (accepted & 1u << GRAD)) &&
               (!op->has_inplace || (accepted & 1u << INPLACE)) &&
               (!op->has_inplace || !lurn_op_is_differentiable(op) || (accepted & 1u << (GRAD | INPLACE)));
    if (!CHECK(all))
      printf("     %s: add arguments to spec/c/samples.h; modes accepted so far: %x\n", op->name, accepted);
  }
}

/* Enough elements that the work is shared. */
TEST(every_request_fails_with_three_threads) {
  static const struct {
    const char *name, *words;
  } large[] = {{"add", "f40x900 d900"},
               {"sum", "f100x400:t . 0"},
               {"softmax", "d100x40:t 0"},
               {"matmul", "f64x48 f48x64:t"},
               {"layer_norm", "f100x64:t f64 f64 1e-5 1"},
               {"index_add", "f100x64 0 l80:<100 f80x64:t 1 0"},
               {"lstm", "f3x8x16 f64x16 f64x16 f64 f64 - - - - - - - 0 0 -"},
               {"gru", "f3x8x16 f48x16 f48x16 f48 f48 - l8:<3 0 -"}};
  for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
    CHECK((survive(lurn_op_find(large[i].name), large[i].words, 3) & 3u) == 3u);
}
