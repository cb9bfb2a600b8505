/* The thread pool, contexts on several threads at once, and results that do not depend on the number of threads. */
#include "core/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "counting.h"
#include "training.h"

/* ---- The pool ---------------------------------------------------------------------------------------------- */

enum { MAX_TASKS = 2000 };

typedef struct job {
  atomic_int runs[MAX_TASKS];
  atomic_int worst_thread;
  int threads;
} job;

static void count_task(void *arg, int64_t task, int thread) {
  job *j = arg;
  atomic_fetch_add_explicit(&j->runs[task], 1, memory_order_relaxed);
  if (thread < 0 || thread >= j->threads) atomic_store(&j->worst_thread, thread);
}

/* Every task runs once, on a thread number below the number of threads. */
static void check_job(lurn_ctx *ctx, int64_t tasks) {
  static job j;
  memset(&j, 0, sizeof j);
  j.threads = lurn_num_threads(ctx);
  lurn__parallel(ctx, tasks, count_task, &j);
  for (int64_t i = 0; i < MAX_TASKS; i++)
    if (atomic_load(&j.runs[i]) != (i < tasks)) CHECK_EQ(atomic_load(&j.runs[i]), i < tasks);
  CHECK_EQ(atomic_load(&j.worst_thread), 0);
}

TEST(every_task_runs_once) {
  for (int threads = 1; threads <= 8; threads *= 2) {
    counting c;
    lurn_ctx *ctx = counted_ctx(&c, threads);
    for (int64_t tasks = 0; tasks <= 20; tasks++) check_job(ctx, tasks);
    for (int i = 0; i < 300; i++) check_job(ctx, 1 + i * 7 % MAX_TASKS);
    lurn_ctx_free(ctx);
    check_all_freed(&c);
  }
}

/* More threads than any machine of the tests has cores: nobody starves. */
TEST(oversubscription) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 64);
  for (int i = 0; i < 50; i++) check_job(ctx, 100);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(changing_the_number_of_threads) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 1);
  for (int i = 0; i < 60; i++) {
    CHECK_EQ(lurn_set_num_threads(ctx, 1 + i * 5 % 9), LURN_OK);
    check_job(ctx, 40);
    check_job(ctx, 3);
  }
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(stopping_and_starting) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 4);
  lurn__threads_stop(ctx); /* before there are any */
  for (int i = 0; i < 40; i++) {
    check_job(ctx, 40);
    lurn__threads_stop(ctx);
    if (i % 3 == 0) lurn__threads_stop(ctx);
  }
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

/* Long enough between jobs for the workers to go to sleep. */
TEST(sleeping_workers_wake) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 3);
  for (int i = 0; i < 20; i++) {
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    check_job(ctx, 10);
  }
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

TEST(without_memory_the_caller_works) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 4);
  c.fail_at = c.calls + 1;
  c.fail_on = true;
  check_job(ctx, 40);
  c.fail_at = 0;
  check_job(ctx, 40);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

/* A context that was freed while tensors keep it has no threads left; what still computes starts new ones. */
TEST(threads_end_with_the_context) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 4);
  lurn_tensor *t = NULL;
  CHECK_EQ(lurn_zeros(ctx, LURN_FLOAT32, 0, NULL, &t), LURN_OK);
  check_job(ctx, 40);
  CHECK(ctx->threads != NULL);
  lurn_ctx_free(ctx);
  CHECK(ctx->threads == NULL);
  check_job(ctx, 40);
  lurn_release(t);
  check_all_freed(&c);
}

/* ---- Forking ----------------------------------------------------------------------------------------------- */

/* The thread sanitizer ends processes that start threads after such a fork. */
#if defined(__SANITIZE_THREAD__)
#define FORKS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FORKS 0
#endif
#endif
#ifndef FORKS
#define FORKS 1
#endif

/* Whether a child, which runs body on the context and frees it, finds nothing wrong and leaves no memory. */
static bool child_agrees(counting *c, lurn_ctx *ctx, void (*body)(lurn_ctx *ctx)) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(60); /* instead of waiting for ever */
    body(ctx);
    lurn_ctx_free(ctx);
    check_all_freed(c);
    fflush(stdout);
    _exit(harness.failed_checks > 0);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void do_nothing(lurn_ctx *ctx) { (void)ctx; }

static void compute(lurn_ctx *ctx) {
  const lurn__threads *of_parent = ctx->threads;
  for (int i = 0; i < 20; i++) check_job(ctx, 40);
  CHECK(ctx->threads != NULL && of_parent != NULL);
}

static void change_threads(lurn_ctx *ctx) {
  CHECK_EQ(lurn_set_num_threads(ctx, 2), LURN_OK);
  check_job(ctx, 40);
  lurn__threads_stop(ctx);
  check_job(ctx, 40);
}

static void fork_again(lurn_ctx *ctx) {
  check_job(ctx, 40);
  pid_t child = fork();
  if (child == 0) {
    check_job(ctx, 40);
    _exit(harness.failed_checks > 0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* With workers that spin, and with workers that sleep. */
TEST(a_child_goes_on_with_the_context) {
  void (*const bodies[])(lurn_ctx *) = {do_nothing, compute, change_threads, fork_again};
  for (int i = 0; FORKS && i < 24; i++) {
    counting c;
    lurn_ctx *ctx = counted_ctx(&c, 4);
    check_job(ctx, 40);
    if (i % 3 == 1) nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    CHECK(child_agrees(&c, ctx, bodies[i % 4]));
    check_job(ctx, 40); /* the parent has its workers still */
    lurn_ctx_free(ctx);
    check_all_freed(&c);
  }
}

static uint64_t trained_bits(int threads, int64_t scale, int steps);

static void train_on(lurn_ctx *ctx) {
  training m = {.ctx = ctx};
  double loss = 0;
  CHECK_EQ(training_build(&m, 8), LURN_OK);
  for (int i = 0; i < 3; i++) {
    lurn_optim_zero_grad(m.opt);
    CHECK_EQ(training_step(&m, &loss), LURN_OK);
  }
  uint64_t bits = training_bits(&m);
  training_free(&m);
  CHECK(bits == trained_bits(1, 8, 3));
}

TEST(a_child_trains_as_the_parent_does) {
  counting c;
  lurn_ctx *ctx = counted_ctx(&c, 3);
  check_job(ctx, 40);
  if (FORKS) CHECK(child_agrees(&c, ctx, train_on));
  train_on(ctx);
  lurn_ctx_free(ctx);
  check_all_freed(&c);
}

/* ---- Signals ----------------------------------------------------------------------------------------------- */

static void look_at_mask(void *arg, int64_t task, int thread) {
  atomic_int *open_masks = arg;
  sigset_t mask;
  (void)task;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  bool blocked = sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGINT) == 1;
  if (thread > 0 && (!blocked || sigismember(&mask, SIGSEGV) == 1)) atomic_fetch_add(open_masks, 1);
  if (thread == 0 && blocked) atomic_fetch_add(open_masks, 1);
}

/* Handlers of the host, who may call Lua, run on the host's threads alone. */
TEST(signals_stay_with_the_host) {
  counting c;
  atomic_int wrong = 0;
  lurn_ctx *ctx = counted_ctx(&c, 4);
  for (int i = 0; i < 100; i++) lurn__parallel(ctx, 100, look_at_mask, &wrong);
  CHECK_EQ(atomic_load(&wrong), 0);
  lurn_ctx_free(ctx);
}

/* ---- The number of threads does not show ------------------------------------------------------------------- */

static uint64_t trained_bits(int threads, int64_t scale, int steps) {
  counting c;
  training m = {.ctx = counted_ctx(&c, threads)};
  double loss = 0;
  CHECK_EQ(training_build(&m, scale), LURN_OK);
  for (int i = 0; i < steps; i++) {
    lurn_optim_zero_grad(m.opt);
    CHECK_EQ(training_step(&m, &loss), LURN_OK);
  }
  uint64_t bits = training_bits(&m);
  training_free(&m);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
  return bits;
}

TEST(training_is_the_same_on_any_number_of_threads) {
  uint64_t expected = trained_bits(1, 8, 3);
  for (int threads = 2; threads <= 8; threads *= 2) CHECK_EQ(trained_bits(threads, 8, 3), expected);
}

/* ---- Several contexts at once ------------------------------------------------------------------------------ */

typedef struct host_thread {
  pthread_t thread;
  int threads;
  uint64_t bits;
} host_thread;

static void *train_there(void *arg) {
  host_thread *h = arg;
  h->bits = trained_bits(h->threads, 2, 10);
  return NULL;
}

TEST(contexts_in_threads) {
  enum { HOSTS = 6 };
  host_thread hosts[HOSTS];
  uint64_t expected = trained_bits(1, 2, 10);
  for (int i = 0; i < HOSTS; i++) {
    hosts[i].threads = 1 + i % 3;
    CHECK_EQ(pthread_create(&hosts[i].thread, NULL, train_there, &hosts[i]), 0);
  }
  for (int i = 0; i < HOSTS; i++) {
    pthread_join(hosts[i].thread, NULL);
    CHECK_EQ(hosts[i].bits, expected);
  }
}

/* A context is used by one thread at a time, not always by the same. */
static void *step_there(void *arg) {
  double loss = 0;
  CHECK_EQ(training_step(arg, &loss), LURN_OK);
  return NULL;
}

TEST(a_context_may_move_between_threads) {
  counting c;
  training m = {.ctx = counted_ctx(&c, 2)};
  CHECK_EQ(training_build(&m, 2), LURN_OK);
  for (int i = 0; i < 5; i++) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, step_there, &m), 0);
    pthread_join(thread, NULL);
  }
  training_free(&m);
  lurn_ctx_free(m.ctx);
  check_all_freed(&c);
}
