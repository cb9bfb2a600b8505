/* Build, train, save, load into a fresh model, train on: the same bits as without the detour, with every allocation failing in turn. */
#include "counting.h"
#include "scratch.h"
#include "training.h"

enum { ENTRIES = 64 };

/* ---- A checkpoint: parameters and the optimizer's state ------------------------------------------------------ */

typedef struct checkpoint {
  char text[ENTRIES][64];
  const char *names[ENTRIES];
  lurn_tensor *tensors[ENTRIES];
  int64_t n;
} checkpoint;

static lurn_tensor **next_entry(checkpoint *c) {
  if (c->n == ENTRIES) abort();
  c->names[c->n] = c->text[c->n];
  return &c->tensors[c->n];
}

static lurn_status collect(const training *m, checkpoint *c) {
  for (int i = 0; i < TRAIN_PARAMS; i++, c->n++) {
    *next_entry(c) = lurn_retain(m->p[i]);
    snprintf(c->text[c->n], 64, "p.%d", i);
  }
  for (int64_t i = 0;; i++, c->n++) {
    lurn_tensor **slot = next_entry(c);
    lurn_status status = lurn_optim_state_at(m->opt, i, c->text[c->n], slot);
    if (status != LURN_OK) return status == LURN_EINDEX ? LURN_OK : status;
  }
}

static lurn_status save_training(const training *m) {
  static const char *const metadata[] = {"step", "2"};
  checkpoint c = {.n = 0};
  lurn_status status = collect(m, &c);
  if (status == LURN_OK) status = lurn_save(m->ctx, place.path, c.names, c.tensors, c.n, metadata, 1);
  release_all(c.tensors, (int)c.n);
  return status;
}

static lurn_status take_entry(training *m, lurn_archive *archive, int64_t i) {
  const char *name = lurn_archive_name(archive, i);
  lurn_tensor *t = NULL;
  lurn_status status = lurn_archive_tensor(archive, i, &t);
  if (status != LURN_OK) return status;
  if (strncmp(name, "p.", 2) != 0) status = lurn_optim_set_state(m->opt, name, t);
  else memcpy(lurn_tensor_data(m->p[name[2] - '0']), lurn_tensor_data(t), (size_t)lurn_tensor_numel(t) * 4);
  lurn_release(t);
  return status;
}

static lurn_status load_training(training *m) {
  lurn_archive *archive = NULL;
  lurn_status status = lurn_archive_open(m->ctx, place.path, &archive);
  for (int64_t i = 0; status == LURN_OK && i < lurn_archive_count(archive); i++) status = take_entry(m, archive, i);
  if (archive != NULL) CHECK_STR(lurn_archive_metadata_value(archive, 0), "2");
  lurn_archive_close(archive);
  return status;
}

/* ---- The chain --------------------------------------------------------------------------------------------- */

static lurn_status steps(training *m, int n) {
  lurn_status status = LURN_OK;
  double loss;
  for (int i = 0; i < n && status == LURN_OK; i++) {
    lurn_optim_zero_grad(m->opt);
    status = training_step(m, &loss);
  }
  return status;
}

/* Two steps, saved; a model with other numbers takes them up and makes one more. */
static lurn_status chain(lurn_ctx *ctx, uint64_t *bits) {
  training first = {.ctx = ctx}, second = {.ctx = ctx};
  lurn_status status = training_build(&first, 1);
  if (status == LURN_OK) status = steps(&first, 2);
  if (status == LURN_OK) status = save_training(&first);
  training_free(&first);
  if (status == LURN_OK) status = training_build(&second, 1);
  for (int i = 0; i < TRAIN_PARAMS && status == LURN_OK; i++)
    memset(lurn_tensor_data(second.p[i]), 0, (size_t)lurn_tensor_numel(second.p[i]) * 4);
  if (status == LURN_OK) status = load_training(&second);
  if (status == LURN_OK) status = steps(&second, 1);
  if (status == LURN_OK) *bits = training_bits(&second);
  training_free(&second);
  return status;
}

static uint64_t uninterrupted(void) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 1)};
  CHECK_EQ(training_build(&m, 1), LURN_OK);
  CHECK_EQ(steps(&m, 3), LURN_OK);
  uint64_t bits = training_bits(&m);
  training_free(&m);
  lurn_ctx_free(m.ctx);
  return bits;
}

TEST(a_checkpoint_changes_no_bit) {
  enter_place();
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  uint64_t bits = 0;
  CHECK_EQ(chain(ctx, &bits), LURN_OK);
  CHECK_EQ(bits, uninterrupted());
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
  leave_place();
}

/* A pool that keeps nothing, so that every request of the engine reaches the allocator. */
static lurn_ctx *bare_ctx(counting *c) {
  lurn_config config = {.alloc = counting_alloc, .alloc_ud = c, .num_threads = 1, .seed = 1, .cache_limit = 1};
  lurn_ctx *ctx = NULL;
  *c = (counting){0};
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

/* The file is there whole or not at all, and nothing beside it. */
static void check_file(lurn_ctx *ctx) {
  int files = count_files(false);
  CHECK(files <= 1);
  if (files == 1) CHECK_EQ(read_all(ctx, &lurn__sys_real), LURN_OK);
}

/* Fails the allocation number n, once or from then on; true when the chain needed fewer. */
static bool chain_with_failure(int64_t n, bool from_then_on, uint64_t expected) {
  counting c;
  lurn_ctx *ctx = bare_ctx(&c);
  uint64_t bits = 0;
  c.fail_at = c.calls + n;
  c.fail_on = from_then_on;
  lurn_status status = chain(ctx, &bits);
  bool reached = c.calls >= c.fail_at;
  c.fail_at = 0;
  CHECK_EQ(status, reached ? LURN_ENOMEM : LURN_OK);
  if (reached) CHECK_HAS(lurn_error(ctx), "out of memory");
  CHECK_EQ(lurn_memory_live(ctx), 0);
  check_file(ctx);
  bits = 0;
  CHECK_EQ(chain(ctx, &bits), LURN_OK);
  CHECK_EQ(bits, expected);
  CHECK_EQ(count_files(true), 1);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
  return !reached;
}

static void every_failure(bool from_then_on) {
  enter_place();
  uint64_t expected = uninterrupted();
  int64_t n = 1;
  while (!chain_with_failure(n, from_then_on, expected) && n < 10000) n++;
  CHECK(n > 500 && n < 10000);
  leave_place();
}

TEST(every_allocation_of_the_chain_fails_once) { every_failure(false); }
TEST(every_allocation_of_the_chain_fails_from_then_on) { every_failure(true); }
