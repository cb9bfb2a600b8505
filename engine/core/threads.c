#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "core/cpu.h"

/* A worker waits a short while spinning, since recurrent steps follow each other within microseconds, then sleeps. */
enum { SPINS_BEFORE_SLEEP = 4000 };

typedef struct worker {
  lurn__threads *pool;
  pthread_t thread;
  int index;
} worker;

struct lurn__threads {
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  atomic_uint generation; /* counts jobs; a change wakes the workers */
  atomic_int sleeping;
  atomic_int busy; /* workers that have not finished the current job */
  atomic_bool stop;
  lurn__task_fn *fn;
  void *arg;
  int64_t n_tasks;
  atomic_llong next; /* next task nobody has taken */
  int n_workers;
  worker workers[];
};

static void run_tasks(lurn__threads *pool, int thread) {
  for (;;) {
    int64_t task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
    if (task >= pool->n_tasks) return;
    pool->fn(pool->arg, task, thread);
  }
}

static void wait_for_job(lurn__threads *pool, unsigned seen) {
  for (int i = 0; i < SPINS_BEFORE_SLEEP; i++) {
    if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen) return;
    lurn__cpu_relax();
  }
  pthread_mutex_lock(&pool->mutex);
  atomic_fetch_add(&pool->sleeping, 1);
  while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
  atomic_fetch_sub(&pool->sleeping, 1);
  pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg) {
  worker *self = arg;
  lurn__threads *pool = self->pool;
  for (unsigned seen = 0;; seen++) {
    wait_for_job(pool, seen);
    if (atomic_load(&pool->stop)) return NULL;
    run_tasks(pool, self->index);
    atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
  }
}

static size_t pool_bytes(int workers) { return sizeof(lurn__threads) + (size_t)workers * sizeof(worker); }

/* Announces a new generation.  The store and the reading of `sleeping` are sequentially consistent, as are their counterparts in
 * wait_for_job, so a worker that goes to sleep either sees the new generation or is seen sleeping. */
static void announce(lurn__threads *pool) {
  atomic_fetch_add(&pool->generation, 1);
  if (atomic_load(&pool->sleeping) == 0) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
}

static lurn__threads *start(lurn_ctx *ctx) {
  int want = ctx->num_threads - 1;
  lurn__threads *pool = lurn__alloc_zeroed(ctx, pool_bytes(want));
  if (pool == NULL) return NULL;
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  for (int i = 0; i < want; i++) {
    pool->workers[i] = (worker){.pool = pool, .index = i + 1};
    if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) break;
    pool->n_workers++;
  }
  return ctx->threads = pool;
}

void lurn__threads_stop(lurn_ctx *ctx) {
  lurn__threads *pool = ctx->threads;
  if (pool == NULL) return;
  atomic_store(&pool->stop, true);
  announce(pool);
  for (int i = 0; i < pool->n_workers; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
  lurn__free(ctx, pool, pool_bytes(ctx->num_threads - 1));
  ctx->threads = NULL;
}

/* Every worker has to come by, also one that finds no task left: with more threads than cores, give way to it. */
static void wait_for_workers(lurn__threads *pool) {
  for (int spins = 0; atomic_load_explicit(&pool->busy, memory_order_acquire) > 0; spins++) {
    if (spins < SPINS_BEFORE_SLEEP)
      lurn__cpu_relax();
    else
      sched_yield();
  }
}

void lurn__parallel(lurn_ctx *ctx, int64_t n_tasks, lurn__task_fn *fn, void *arg) {
  lurn__threads *pool = ctx->threads;
  if (n_tasks > 1 && ctx->num_threads > 1 && pool == NULL) pool = start(ctx);
  if (n_tasks <= 1 || pool == NULL || pool->n_workers == 0) {
    for (int64_t task = 0; task < n_tasks; task++) fn(arg, task, 0);
    return;
  }
  pool->fn = fn;
  pool->arg = arg;
  pool->n_tasks = n_tasks;
  atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->busy, pool->n_workers, memory_order_relaxed);
  announce(pool);
  run_tasks(pool, 0);
  wait_for_workers(pool);
}

lurn_status lurn_set_num_threads(lurn_ctx *ctx, int n) {
  if (n < 1 || n > LURN__MAX_THREADS)
    return lurn__fail(ctx, LURN_EVALUE, "set_num_threads: %d is not between 1 and %d", n, LURN__MAX_THREADS);
  if (n == ctx->num_threads) return LURN_OK;
  lurn__threads_stop(ctx);
  ctx->num_threads = n;
  return LURN_OK;
}

int lurn_num_threads(const lurn_ctx *ctx) { return ctx->num_threads; }
