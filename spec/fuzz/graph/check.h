/* What is checked about a program. */
#ifndef LURN_FUZZ_CHECK_H
#define LURN_FUZZ_CHECK_H

#include "program.h"

/* Says what is wrong, prints the program and ends. */
_Noreturn void wrong(const char *fmt, ...) LURN_PRINTF(1, 2);

/* An allocator that counts, checks sizes, has an end, and fails on command. */
typedef struct heap {
  int64_t blocks, bytes, calls, fail_at;
} heap;
void *heap_alloc(void *ud, void *ptr, size_t old_size, size_t new_size);
lurn_ctx *heap_ctx(heap *h, lurn_isa isa, int threads);
/* Gives the context back; nothing of it may be left. */
void heap_end(heap *h, lurn_ctx *ctx);

/* ---- Values, step by step (values.c) ----------------------------------------------------------------------- */

/* What the slots hold according to the naive interpreter: cells that views share. */
typedef struct model {
  naive shape; /* its values are not used */
  long double *cell;
  int64_t *at; /* the cell of each element */
} model;

typedef struct checker {
  model model[SLOTS];
  naive_call call;
  int64_t steps;
} checker;

void model_leaf(checker *c, const run *r, int slot);
/* Before the step: the naive results.  After: that the engine's are those and that nothing else changed. */
naive_verdict predict(checker *c, const step *s);
/* copies: of the inputs as they were, for an in-place op without a naive counterpart. */
void compare_step(checker *c, run *r, const step *s, naive_verdict verdict, lurn_status status,
                  lurn_tensor *const *copies);
void check_slots(checker *c, const run *r);

/* ---- Runs under other circumstances (replay.c) ------------------------------------------------------------- */

/* An op and its gradients in a context of another instruction set, from contiguous copies, give the same within a tolerance,
 * unless it is one that amplifies rounding. */
void check_twin(const run *r, const step *s, lurn_ctx *other, bool amplifies);
/* Adds up all that requires a gradient; NULL when nothing does.  LURN_OK or what backward may rightly refuse. */
lurn_status sum_of_all(const run *r, lurn_tensor **out);
void check_replays(const program *p, const run *r, lurn_isa isa, bool went_back, unsigned fail_at);
void check_differences(const program *p, const run *r, lurn_isa isa, uint32_t seed);

#endif
