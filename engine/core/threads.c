#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/cpu.h"

/* A worker waits a short while spinning, since recurrent steps follow each other within microseconds, then sleeps. */
enum { SPINS_BEFORE_SLEEP = 4000 };

typedef struct worker {
  lurn__threads *pool;
  pthread_t thread;
  int index;
} worker;

/* A worker takes part in a job only by taking a task of it, and a job ends when its tasks are done.  So nobody waits for a worker
 * that the system keeps from running, and such a worker finds its job gone and does nothing. */
struct lurn__threads {
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  atomic_uint generation; /* number of the current job; a change wakes the workers */
  atomic_int sleeping;
  atomic_bool stop;
  /* Of the current job; read only by who has taken one of its tasks. */
  lurn__task_fn *fn;
  void *arg;
  int64_t n_tasks;
  uint64_t float_mode;
  atomic_uint_least64_t ticket; /* generation << 32 | tasks that nobody has taken */
  atomic_llong done;            /* tasks finished */
  pid_t owner;                  /* the process that has the workers: a child by fork has none */
  int n_workers;
  worker workers[];
};

static bool take_task(lurn__threads *pool, uint32_t generation, int64_t *task) {
  uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_relaxed);
  do {
    if ((uint32_t)(ticket >> 32) != generation || (uint32_t)ticket == 0) return false;
  } while (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket - 1, memory_order_acquire,
                                                  memory_order_relaxed));
  *task = pool->n_tasks - (int64_t)(uint32_t)ticket;
  return true;
}

static void run_tasks(lurn__threads *pool, uint32_t generation, int thread) {
  for (int64_t task; take_task(pool, generation, &task);) {
    if (thread > 0) lurn__set_float_mode(pool->float_mode);
    pool->fn(pool->arg, task, thread);
    atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
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
  for (unsigned seen = 0;;) {
    wait_for_job(pool, seen);
    seen = atomic_load(&pool->generation);
    if (atomic_load(&pool->stop)) return NULL;
    run_tasks(pool, seen, self->index);
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

static void start_workers(lurn__threads *pool, int want) {
  for (int i = 0; i < want; i++) {
    pool->workers[i] = (worker){.pool = pool, .index = i + 1};
    if (pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) != 0) break;
    pool->n_workers++;
  }
}

/* The host's signal handlers run in the host's threads: workers are born with signals blocked, but for those that tell of a
 * fault of their own. */
static void block_signals(sigset_t *before) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  sigset_t blocked;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, before);
}

static lurn__threads *start(lurn_ctx *ctx) {
  int want = ctx->num_threads - 1;
  sigset_t before;
  lurn__threads *pool = lurn__alloc_zeroed(ctx, pool_bytes(want));
  if (pool == NULL) return NULL;
  pool->owner = getpid();
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  block_signals(&before);
  start_workers(pool, want);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return ctx->threads = pool;
}

static void join(lurn__threads *pool) {
  atomic_store(&pool->stop, true);
  announce(pool);
  for (int i = 0; i < pool->n_workers; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
}

/* After a fork there is nobody to join, and a worker may have held the mutex when it vanished: only the memory is left. */
void lurn__threads_stop(lurn_ctx *ctx) {
  lurn__threads *pool = ctx->threads;
  if (pool == NULL) return;
  if (pool->owner == getpid()) join(pool);
  lurn__free(ctx, pool, pool_bytes(ctx->num_threads - 1));
  ctx->threads = NULL;
}

/* Tasks that others have taken: with more threads than cores, give way to them. */
static void wait_for_tasks(lurn__threads *pool, int64_t n_tasks) {
  for (int spins = 0; atomic_load_explicit(&pool->done, memory_order_acquire) < n_tasks; spins++) {
    if (spins < SPINS_BEFORE_SLEEP) lurn__cpu_relax();
    else sched_yield();
  }
}

void lurn__threads_check(lurn_ctx *ctx) {
  if (ctx->threads != NULL && ctx->threads->owner != getpid()) lurn__threads_stop(ctx);
}

void lurn__parallel(lurn_ctx *ctx, int64_t n_tasks, lurn__task_fn *fn, void *arg) {
  if (n_tasks > 1) lurn__threads_check(ctx);
  lurn__parallel_again(ctx, n_tasks, fn, arg);
}

void lurn__parallel_again(lurn_ctx *ctx, int64_t n_tasks, lurn__task_fn *fn, void *arg) {
  lurn__threads *pool = ctx->threads;
  if (n_tasks > 1 && ctx->num_threads > 1 && pool == NULL) pool = start(ctx);
  if (n_tasks <= 1 || n_tasks > UINT32_MAX || pool == NULL || pool->n_workers == 0) {
    for (int64_t task = 0; task < n_tasks; task++) fn(arg, task, 0);
    return;
  }
  uint32_t generation = atomic_load_explicit(&pool->generation, memory_order_relaxed) + 1;
  pool->fn = fn;
  pool->arg = arg;
  pool->n_tasks = n_tasks;
  pool->float_mode = lurn__float_mode();
  atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->ticket, (uint64_t)generation << 32 | (uint64_t)n_tasks, memory_order_release);
  announce(pool);
  run_tasks(pool, generation, 0);
  wait_for_tasks(pool, n_tasks);
}

lurn_status lurn_set_num_threads(lurn_ctx *ctx, int n) {
  if (ctx == NULL) return LURN_EVALUE;
  if (n < 1 || n > LURN__MAX_THREADS)
    return lurn__fail(ctx, LURN_EVALUE, "set_num_threads: %d is not between 1 and %d", n, LURN__MAX_THREADS);
  if (n == ctx->num_threads) return LURN_OK;
  lurn__threads_stop(ctx);
  ctx->num_threads = n;
  return LURN_OK;
}

int lurn_num_threads(const lurn_ctx *ctx) { return ctx->num_threads; }
