/* Training for a very long time: memory stays as it is.  A step of a small recurrent model, forward to update, again and again; 20000
 * times, or LURN_ENDURANCE times (`make endurance`: a million).  The program is linked so that it counts the calls of malloc and
 * its relatives in the engine. */
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "lurn.h"

/* ---- Counting ---------------------------------------------------------------------------------------------- */

static int64_t calls;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n) { return calls++, __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return calls++, __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return calls++, __real_realloc(p, n); }

/* Bytes of this process in memory, -1 where the system does not tell. */
static int64_t resident(void) {
  long long total, pages = -1;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL) return -1;
  if (fscanf(file, "%lld %lld", &total, &pages) != 2) pages = -1;
  fclose(file);
  return pages < 0 ? -1 : pages * (int64_t)sysconf(_SC_PAGESIZE);
}

/* ---- The model --------------------------------------------------------------------------------------------- */

enum { T = 3, N = 2, D = 2, H = 3, PARAMS = 6 };

typedef struct model {
  lurn_ctx *ctx;
  lurn_tensor *p[PARAMS], *x, *target;
  lurn_optim *opt;
} model;

static void build(model *m) {
  const int64_t sizes[PARAMS][3] = {{2, H, D}, {2, H, H}, {1, H, 0}, {1, H, 0}, {2, 1, H}, {1, 1, 0}};
  lurn_config config = {.num_threads = 1, .seed = 4};
  CHECK_EQ(lurn_ctx_new(&config, &m->ctx), LURN_OK);
  for (int i = 0; i < PARAMS; i++) {
    CHECK_EQ(lurn_empty(m->ctx, LURN_FLOAT32, (int)sizes[i][0], &sizes[i][1], &m->p[i]), LURN_OK);
    CHECK_EQ(lurn_uniform_(m->ctx, m->p[i], -0.5, 0.5), LURN_OK);
    CHECK_EQ(lurn_tensor_set_requires_grad(m->p[i], true), LURN_OK);
  }
  CHECK_EQ(lurn_empty(m->ctx, LURN_FLOAT32, 3, (int64_t[]){T, N, D}, &m->x), LURN_OK);
  CHECK_EQ(lurn_normal_(m->ctx, m->x, 0, 1), LURN_OK);
  CHECK_EQ(lurn_zeros(m->ctx, LURN_FLOAT32, 3, (int64_t[]){T, N, 1}, &m->target), LURN_OK);
  CHECK_EQ(lurn_uniform_(m->ctx, m->target, -1, 1), LURN_OK);
  CHECK_EQ(lurn_optim_new(m->ctx, LURN_ADAM, &m->opt), LURN_OK);
  lurn_optim_options options = lurn_optim_defaults(LURN_ADAM);
  CHECK_EQ(lurn_optim_add_group(m->opt, m->p, PARAMS, &options, NULL), LURN_OK);
}

static lurn_status forward(model *m, lurn_tensor **loss) {
  lurn_tensor *y = NULL, *h = NULL, *out = NULL;
  lurn_status status = lurn_rnn(m->ctx, m->x, m->p[0], m->p[1], m->p[2], m->p[3], NULL, NULL, 0, false, NULL, &y, &h);
  if (status == LURN_OK) status = lurn_linear(m->ctx, y, m->p[4], m->p[5], &out);
  if (status == LURN_OK) status = lurn_mse_loss(m->ctx, out, m->target, 1, loss);
  lurn_release(y);
  lurn_release(h);
  lurn_release(out);
  return status;
}

static lurn_status train(model *m, double *value) {
  lurn_tensor *loss = NULL;
  lurn_optim_zero_grad(m->opt);
  lurn_status status = forward(m, &loss);
  if (status == LURN_OK) status = lurn_tensor_get(loss, NULL, value);
  if (status == LURN_OK) status = lurn_backward(m->ctx, loss, NULL, false);
  if (status == LURN_OK) status = lurn_clip_grad_norm(m->ctx, m->p, PARAMS, 1, NULL);
  if (status == LURN_OK) status = lurn_optim_step(m->opt);
  lurn_release(loss);
  return status;
}

/* ---- The test ---------------------------------------------------------------------------------------------- */

TEST(memory_of_training_stays_as_it_is) {
  enum { WARM_UP = 100 };
  const char *text = getenv("LURN_ENDURANCE");
  long steps = text != NULL ? strtol(text, NULL, 10) : 20000;
  model m = {0};
  double value = 0, first = 0;
  int64_t calls_before = calls, resident_before = 0;
  uint64_t allocations = 0;
  size_t live = 0;
  build(&m);
  for (long i = 0; i < steps; i++) {
    if (i == WARM_UP) {
      resident_before = resident(); /* which allocates in the library of C */
      live = lurn_memory_live(m.ctx);
      allocations = lurn_memory_allocations(m.ctx);
      calls_before = calls;
      first = value;
    }
    if (!CHECK_EQ(train(&m, &value), LURN_OK)) break;
  }
  CHECK_EQ(calls, calls_before);
  CHECK_EQ(lurn_memory_allocations(m.ctx), allocations);
  CHECK_EQ(lurn_memory_live(m.ctx), live);
  CHECK(value < first);
  int64_t growth = resident() - resident_before;
#ifndef __SANITIZE_THREAD__ /* whose own memory grows with what it has seen */
  CHECK(growth < 256 << 10);
#endif
  if (text != NULL)
    printf("%ld steps: loss %.3g to %.3g, %lld calls of malloc, %lld bytes of growth, %zu live\n", steps, first, value,
           (long long)(calls - calls_before), (long long)growth, live);
  lurn_optim_free(m.opt);
  for (int i = 0; i < PARAMS; i++) lurn_release(m.p[i]);
  lurn_release(m.x);
  lurn_release(m.target);
  CHECK_EQ(lurn_memory_live(m.ctx), 0);
  lurn_ctx_free(m.ctx);
}
