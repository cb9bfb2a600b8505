/* The context: allocator, error text, random numbers, threads and settings.  There are no globals. */
#ifndef LURN_CORE_CONTEXT_H
#define LURN_CORE_CONTEXT_H

#include "core/pool.h"
#include "lurn.h"

typedef struct lurn__node lurn__node;
typedef struct lurn__threads lurn__threads;

struct lurn_ctx {
  lurn__pool pool;
  char error[1024]; /* fixed, so that it works when memory is out */
  uint64_t rng_seed;
  uint64_t rng_block; /* next unused 128-bit block of the Philox stream */
  lurn__threads *threads;
  int num_threads;
  lurn_isa isa;
  int index_base; /* what messages count from */
  bool use_blas;  /* for general products, see lurn_config */
  bool grad_enabled;
  uint64_t node_number; /* numbers graph nodes in order of creation */
  uint64_t backward_mark;
  lurn__node *dead; /* nodes waiting to be freed, see tensor.c */
  bool burying;
  int64_t objects; /* live tensors and other things that point here */
  bool closed;     /* lurn_ctx_free was called */
};

/* Formats the error text and returns status, so that a function can end with `return lurn__fail(...)`.  The arguments may
 * include the current text. */
#define lurn__fail lurn_fail

/* LURN_EVALUE and "WHO: no WHAT given" when p is NULL; without a text when there is no context to hold it. */
lurn_status lurn__need(lurn_ctx *ctx, const char *who, const char *what, const void *p);
/* The same for out-parameters: "WHO: no place for the result given". */
lurn_status lurn__need_place(lurn_ctx *ctx, const char *who, const void *out);

/* Memory from the context's pool.  NULL only when the host's allocator says no; the error text is then set.  Zero bytes give a
 * valid pointer.  Freeing takes the size that was asked for; NULL is fine. */
void *lurn__alloc(lurn_ctx *ctx, size_t bytes) LURN_CHECKED;
void *lurn__alloc_zeroed(lurn_ctx *ctx, size_t bytes) LURN_CHECKED;
void lurn__free(lurn_ctx *ctx, void *p, size_t bytes);
/* Not rounded up and not kept when freed, as a block from lurn__alloc may be. */
void *lurn__alloc_exact(lurn_ctx *ctx, size_t bytes) LURN_CHECKED;
void lurn__free_exact(lurn_ctx *ctx, void *p, size_t bytes);
/* count * size with an overflow check; NULL with the error set when it overflows. */
void *lurn__alloc_array(lurn_ctx *ctx, size_t count, size_t size) LURN_CHECKED;

/* Objects that need the context alive. */
void lurn__ctx_retain(lurn_ctx *ctx);
void lurn__ctx_release(lurn_ctx *ctx);

#define LURN__TRY(expr)                                                                                                \
  do {                                                                                                                 \
    lurn_status try_status_ = (expr);                                                                                  \
    if (try_status_ != LURN_OK) return try_status_;                                                                    \
  } while (0)

#endif
