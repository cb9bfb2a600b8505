/* A small pool of threads per context.  Work is cut into tasks by the caller; which thread runs a task never changes what it
 * computes, so results do not depend on the number of threads. */
#ifndef LURN_CORE_THREADS_H
#define LURN_CORE_THREADS_H

#include "core/context.h"

enum { LURN__MAX_THREADS = 256 };

/* fn(arg, task, thread) for task = 0..n_tasks-1, on up to num_threads threads including the caller, and returns when all are done.
 * Tasks run in the caller's float mode (core/cpu.h).  thread is 0..num_threads-1, for per-thread scratch; the caller is thread 0.  The threads are started at the first call; when
 * the system refuses, the caller does the work.  Tasks must not call this themselves. */
typedef void lurn__task_fn(void *arg, int64_t task, int thread);
void lurn__parallel(lurn_ctx *ctx, int64_t n_tasks, lurn__task_fn *fn, void *arg);
/* The same without asking the system which process this is: for steps that take microseconds, after lurn__threads_check in the
 * same op. */
void lurn__parallel_again(lurn_ctx *ctx, int64_t n_tasks, lurn__task_fn *fn, void *arg);
/* In a child made by fork, lets go of the parent's threads. */
void lurn__threads_check(lurn_ctx *ctx);

/* Stops and joins the threads; the next lurn__parallel starts new ones.  In a child made by fork, which has no threads but the
 * one that forked, both let go of those of the parent, and lurn__parallel starts the child's own. */
void lurn__threads_stop(lurn_ctx *ctx);

#endif
