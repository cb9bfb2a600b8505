#include "core/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "core/cpu.h"
#include "core/rng.h"
#include "core/threads.h"

static void *default_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  (void)ud;
  (void)old_size;
  if (new_size != 0) return realloc(ptr, new_size);
  free(ptr);
  return NULL;
}

static int default_threads(void) {
  const char *text = getenv("LURN_NUM_THREADS");
  long n = text != NULL ? strtol(text, NULL, 10) : 0;
  return n >= 1 && n <= LURN__MAX_THREADS ? (int)n : lurn_cpu_cores();
}

/* LURN_ISA caps the instruction set, for tests and for comparing. */
static lurn_isa choose_isa(const lurn_config *config) {
  lurn_isa best = lurn__cpu_best_isa();
  if (config->isa_set) return config->max_isa < best ? config->max_isa : best;
  const char *text = getenv("LURN_ISA");
  if (text == NULL) return best;
  if (strcmp(text, "scalar") == 0) return LURN_ISA_SCALAR;
  if (strcmp(text, "avx2") == 0 && best > LURN_ISA_AVX2) return LURN_ISA_AVX2;
  return best;
}

lurn_status lurn_ctx_new(const lurn_config *config, lurn_ctx **out) {
  static const lurn_config defaults;
  if (config == NULL) config = &defaults;
  if (out == NULL || config->num_threads < 0 || config->num_threads > LURN__MAX_THREADS) return LURN_EVALUE;
  lurn_alloc_fn alloc = config->alloc != NULL ? config->alloc : default_alloc;
  lurn_ctx *ctx = alloc(config->alloc_ud, NULL, 0, sizeof *ctx);
  if (ctx == NULL) return LURN_ENOMEM;
  memset(ctx, 0, sizeof *ctx);
  lurn__pool_init(&ctx->pool, alloc, config->alloc_ud, config->cache_limit);
  ctx->num_threads = config->num_threads > 0 ? config->num_threads : default_threads();
  if (ctx->num_threads > LURN__MAX_THREADS) ctx->num_threads = LURN__MAX_THREADS;
  ctx->isa = choose_isa(config);
  ctx->use_blas = config->use_blas || lurn__cpu_best_isa() == LURN_ISA_SCALAR;
  ctx->index_base = config->index_base;
  ctx->grad_enabled = true;
  lurn_manual_seed(ctx, config->seed);
  ctx->objects = 1;
  *out = ctx;
  return LURN_OK;
}

void lurn__ctx_retain(lurn_ctx *ctx) { ctx->objects++; }

void lurn__ctx_release(lurn_ctx *ctx) {
  if (--ctx->objects > 0) return;
  lurn__threads_stop(ctx);
  lurn__pool_trim(&ctx->pool);
  ctx->pool.alloc(ctx->pool.alloc_ud, ctx, sizeof *ctx, 0);
}

void lurn_ctx_free(lurn_ctx *ctx) {
  if (ctx == NULL || ctx->closed) return;
  ctx->closed = true;
  lurn__threads_stop(ctx); /* also when tensors keep the context alive */
  lurn__ctx_release(ctx);
}

const char *lurn_error(const lurn_ctx *ctx) { return ctx != NULL ? ctx->error : "no context given"; }

lurn_status lurn_fail(lurn_ctx *ctx, lurn_status status, const char *fmt, ...) {
  if (ctx == NULL || fmt == NULL) return status;
  char text[sizeof ctx->error];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  memcpy(ctx->error, text, sizeof text);
  return status;
}

lurn_status lurn__need(lurn_ctx *ctx, const char *who, const char *what, const void *p) {
  if (ctx == NULL) return LURN_EVALUE;
  return p != NULL ? LURN_OK : lurn__fail(ctx, LURN_EVALUE, "%s: no %s given", who, what);
}

lurn_status lurn__need_place(lurn_ctx *ctx, const char *who, const void *out) {
  return lurn__need(ctx, who, "place for the result", out);
}

static void *taken(lurn_ctx *ctx, void *p, size_t bytes) {
  if (p == NULL) lurn__fail(ctx, LURN_ENOMEM, "out of memory: %zu bytes asked for, %zu in use", bytes, ctx->pool.live);
  return p;
}

void *lurn__alloc(lurn_ctx *ctx, size_t bytes) { return taken(ctx, lurn__pool_take(&ctx->pool, bytes), bytes); }

void *lurn__alloc_exact(lurn_ctx *ctx, size_t bytes) {
  return taken(ctx, lurn__pool_take_exact(&ctx->pool, bytes), bytes);
}

void *lurn__alloc_zeroed(lurn_ctx *ctx, size_t bytes) {
  void *p = lurn__alloc(ctx, bytes);
  if (p != NULL) memset(p, 0, bytes);
  return p;
}

void *lurn__alloc_array(lurn_ctx *ctx, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    lurn__fail(ctx, LURN_ENOMEM, "out of memory: %zu items of %zu bytes", count, size);
    return NULL;
  }
  return lurn__alloc(ctx, bytes);
}

void lurn__free(lurn_ctx *ctx, void *p, size_t bytes) { lurn__pool_give(&ctx->pool, p, bytes); }
void lurn__free_exact(lurn_ctx *ctx, void *p, size_t bytes) { lurn__pool_give_exact(&ctx->pool, p, bytes); }

size_t lurn_memory_live(const lurn_ctx *ctx) { return ctx->pool.live; }
size_t lurn_memory_held(const lurn_ctx *ctx) { return ctx->pool.live + ctx->pool.cached; }
size_t lurn_memory_peak(const lurn_ctx *ctx) { return ctx->pool.peak; }
void lurn_memory_reset_peak(lurn_ctx *ctx) { ctx->pool.peak = ctx->pool.live; }
uint64_t lurn_memory_allocations(const lurn_ctx *ctx) { return ctx->pool.host_allocations; }
/* glibc keeps small blocks that were freed, of this library and of all else in the process, until it is told. */
void lurn_memory_trim(lurn_ctx *ctx) {
  lurn__pool_trim(&ctx->pool);
#ifdef __GLIBC__
  if (ctx->pool.alloc == default_alloc) malloc_trim(0);
#endif
}

bool lurn_set_grad_enabled(lurn_ctx *ctx, bool on) {
  bool before = ctx->grad_enabled;
  ctx->grad_enabled = on;
  return before;
}

bool lurn_grad_enabled(const lurn_ctx *ctx) { return ctx->grad_enabled; }

const char *lurn_isa_name(const lurn_ctx *ctx) { return lurn__isa_name(ctx->isa); }
