/* Random programs of ops on random tensors.
 *
 * The input's bytes are read as a program: leaves of all dtypes, shapes and layouts, then ops of the registry with arguments that
 * mostly fit, in place and under no_grad now and then, and a backward at the end.  Every step's dtype, shape and values are
 * compared with a naive interpreter's, and everything else must stay as it was, bit for bit.  Then the same program runs on three
 * threads and under no_grad (the same bits), with an allocation that fails, every op on another instruction set, and float64
 * gradients are compared with differences.  Nothing may be left in memory. */
#include <math.h>
#include <stdarg.h>

#include "core/tensor.h"
#include "fuzz.h"
#include "graph/check.h"
#include "ops/op.h"

static program prog;
static checker check;
static lurn_isa isa;

_Noreturn void wrong(const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  fprintf(stderr, "the program, for the instruction set %d:\n", (int)isa);
  print_program(&prog);
  fprintf(stderr, "FAIL ");
  vfprintf(stderr, fmt, args);
  fprintf(stderr, "\n");
  va_end(args);
  abort();
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

enum { MOST_BYTES = 24 << 20 };

void *heap_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  heap *h = ud;
  if (new_size > 0) {
    h->calls++;
    if (h->calls == h->fail_at || new_size > MOST_BYTES - (size_t)h->bytes) return NULL;
    h->blocks++;
    h->bytes += (int64_t)new_size;
    return malloc(new_size);
  }
  if (ptr != NULL) {
    h->blocks--;
    h->bytes -= (int64_t)old_size;
  }
  free(ptr);
  return NULL;
}

lurn_ctx *heap_ctx(heap *h, lurn_isa best, int threads) {
  lurn_config config = {
      .alloc = heap_alloc, .alloc_ud = h, .num_threads = threads, .isa_set = true, .max_isa = best, .seed = 7};
  lurn_ctx *ctx = NULL;
  *h = (heap){0};
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

void heap_end(heap *h, lurn_ctx *ctx) {
  /* threads that were started are the context's own */
  if (lurn_num_threads(ctx) == 1 && lurn_memory_live(ctx) != 0)
    wrong("%zu bytes are still live", lurn_memory_live(ctx));
  lurn_ctx_free(ctx);
  if (h->blocks != 0 || h->bytes != 0) wrong("%lld blocks were not given back", (long long)h->blocks);
}

/* ---- Steps ------------------------------------------------------------------------------------------------- */

static bool leaf_now(program *p, run *r, step *s) {
  (void)p;
  if (run_step(r, s) != LURN_OK) wrong("a leaf: %s", lurn_error(r->ctx));
  model_leaf(&check, r, s->slot[0]);
  return true;
}

/* Copies of what an in-place op without a naive counterpart reads. */
static void copy_inputs(const run *r, const step *s, lurn_tensor **copies) {
  bool grad = lurn_set_grad_enabled(r->ctx, false);
  for (int k = 0; k < s->n_in; k++) {
    copies[k] = NULL;
    if (s->in[k] < 0 || lurn_clone(r->ctx, r->slot[s->in[k]], &copies[k]) != LURN_OK) continue;
    copies[k]->weak = r->slot[s->in[k]]->weak;
  }
  lurn_set_grad_enabled(r->ctx, grad);
}

static void note(program *p, const run *r, const step *s) {
  p->has_no_grad |= s->no_grad;
  p->has_inplace |= s->inplace;
  for (int k = 0; k < s->n_in; k++) p->elements += s->in[k] < 0 ? 0 : lurn_tensor_numel(r->slot[s->in[k]]);
  for (int k = 0; k < s->op->n_outputs && !s->inplace; k++) {
    lurn_dtype dtype = lurn_tensor_dtype(r->slot[s->slot[k]]);
    p->elements += lurn_tensor_numel(r->slot[s->slot[k]]);
    p->has_float32 |= dtype == LURN_FLOAT32;
    /* floats without a gradient, such as those of unique, pass changes on all the same */
    p->has_no_grad |= naive_is_float(dtype) && lurn__op_of(s->op)->backward == NULL;
  }
}

/* ---- Which ops were reached -------------------------------------------------------------------------------- */

enum { MOST_OPS = 512 };
/* Runs of each op by what came of it: it ran and was compared, ran without a counterpart, or failed. */
static struct { int64_t compared, unknown, failed; } reached[MOST_OPS];

static void tell_reached(void) {
  for (int i = 0; i < lurn_op_count(); i++)
    fprintf(stderr, "%-34s %8lld compared %8lld not compared %8lld failed\n", lurn_op_at(i)->name,
            (long long)reached[i].compared, (long long)reached[i].unknown, (long long)reached[i].failed);
}

static void note_reached(const lurn_op_info *op, naive_verdict verdict, lurn_status status) {
  for (int i = 0; i < lurn_op_count() && i < MOST_OPS; i++) {
    if (lurn_op_at(i) != op) continue;
    reached[i].failed += status != LURN_OK;
    reached[i].compared += status == LURN_OK && verdict == NAIVE_GIVEN;
    reached[i].unknown += status == LURN_OK && verdict != NAIVE_GIVEN;
  }
}

/* Programs of random bytes, the same every time. */
static void write_seeds(const char *directory) {
  enum { SEEDS = 64, BYTES = 900 };
  uint8_t seed[BYTES];
  uint32_t state = 1;
  for (int i = 0; i < SEEDS; i++) {
    for (int k = 0; k < BYTES; k++) seed[k] = (uint8_t)draw(&state, 256);
    write_seed(directory, "random", i, seed, sizeof seed / (size_t)(1 + i % 3));
  }
}

/* With --count the end of a run tells how often each op was reached. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  seeds_asked(*argc, *argv, write_seeds);
  for (int i = 0; i < lurn_op_count(); i++)
    if (!naive_knows(lurn_op_at(i)->name))
      fprintf(stderr, "%s has no naive counterpart: its values are not compared\n", lurn_op_at(i)->name);
  for (int i = 1; i < *argc; i++)
    if (strcmp((*argv)[i], "--count") == 0) atexit(tell_reached);
  return 0;
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

/* A recurrence over many steps with large weights: the smallest difference grows beyond all bounds. */
static bool runs_away(const step *s) {
  const char *name = s->op->name;
  bool recurrent = strcmp(name, "rnn") == 0 || strcmp(name, "gru") == 0 || strcmp(name, "lstm") == 0;
  return recurrent && isinf(check.call.ulps);
}

static void op_now(program *p, run *r, step *s, lurn_ctx *other) {
  lurn_tensor *copies[NAIVE_IN] = {0};
  naive_verdict verdict = predict(&check, s);
  uint64_t state[2];
  lurn_rng_state(r->ctx, state);
  if (s->inplace && verdict == NAIVE_UNKNOWN) copy_inputs(r, s, copies);
  lurn_status status = run_step(r, s);
  note_reached(s->op, verdict, status);
  compare_step(&check, r, s, verdict, status, copies);
  for (int k = 0; k < NAIVE_IN; k++) lurn_release(copies[k]);
  if (status != LURN_OK) {
    p->n_steps--; /* replays leave it out */
    lurn_set_rng_state(r->ctx, state);
    return;
  }
  note(p, r, s);
  if (!s->inplace) check_twin(r, s, other, runs_away(s));
}

static bool go_back(program *p, run *r) {
  lurn_tensor *total = NULL;
  lurn_status status = sum_of_all(r, &total);
  if (status == LURN_OK && total == NULL) return false;
  if (status == LURN_OK) status = lurn_backward(r->ctx, total, NULL, false);
  lurn_release(total);
  if (status == LURN_OK) return true;
  bool history = (status == LURN_EVERSION || status == LURN_ESTATE) && p->has_inplace;
  if (!history && status != LURN_ENOMEM) wrong("backward: %s", lurn_error(r->ctx));
  for (int slot = 0; slot < SLOTS; slot++)
    if (r->slot[slot] != NULL && lurn_tensor_grad(r->slot[slot]) != NULL) wrong("a failed backward left a gradient");
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const lurn_isa isas[] = {LURN_ISA_SCALAR, LURN_ISA_AVX2, LURN_ISA_AVX512};
  bytes b = {data, size};
  heap h, twins;
  naive_reset();
  memset(&prog, 0, sizeof prog);
  memset(&check, 0, sizeof check);
  isa = isas[take(&b, 3)];
  unsigned seed = take(&b, 256), fail_at = take(&b, 256);
  prog.only_float64 = take(&b, 2);
  lurn_ctx *other = heap_ctx(&twins, isas[((unsigned)isa + 1 + seed % 2) % 3], 1);
  run r = {.ctx = heap_ctx(&h, isa, 1)};
  for (step *s = NULL; decode_step(&b, &prog, &r, leaf_now, &s); s = NULL) {
    if (s == NULL) continue;
    if (s->kind == STEP_OP) op_now(&prog, &r, s, other);
    else if (run_step(&r, s) != LURN_OK) wrong("dropping fails");
  }
  heap_end(&twins, other);
  for (int i = 0; i < prog.n_steps; i++)
    prog.has_float32 |= prog.steps[i].kind == STEP_LEAF && prog.steps[i].leaf.dtype == LURN_FLOAT32;
  bool went_back = go_back(&prog, &r);
  check_slots(&check, &r);
  check_replays(&prog, &r, isa, went_back, fail_at);
  if (went_back && !prog.has_no_grad && !prog.has_float32) check_differences(&prog, &r, isa, seed);
  run_clear(&r);
  heap_end(&h, r.ctx);
  return 0;
}
