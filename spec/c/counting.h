/* An allocator that counts, checks the sizes it is given back, and fails on command, and beyond 4 GiB. */
#ifndef LURN_SPEC_COUNTING_H
#define LURN_SPEC_COUNTING_H

#include <stdlib.h>

#include "harness.h"
#include "lurn.h"

typedef struct counting {
  int64_t blocks, bytes; /* alive */
  int64_t calls;         /* that asked for memory */
  int64_t taken;         /* bytes in all, also those given back since */
  int64_t fail_at;       /* number of the call that fails, from 1; 0: none */
  bool fail_on;          /* and all after it */
  bool wrong_size;       /* a block came back with another size than it was taken with */
} counting;

/* Every block is preceded by its size. */
enum { COUNTING_HEADER = 16 };

static inline void *counting_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  counting *c = ud;
  char *raw = ptr != NULL ? (char *)ptr - COUNTING_HEADER : NULL;
  if (raw != NULL && *(size_t *)(void *)raw != old_size) c->wrong_size = true;
  if (new_size > 0) {
    c->calls++;
    if (c->fail_at > 0 && (c->calls == c->fail_at || (c->fail_on && c->calls > c->fail_at))) return NULL;
    if (raw != NULL) abort(); /* the engine never resizes */
    raw = new_size < (size_t)1 << 32 ? malloc(new_size + COUNTING_HEADER) : NULL;
    if (raw == NULL) return NULL;
    *(size_t *)(void *)raw = new_size;
    c->blocks++;
    c->bytes += (int64_t)new_size;
    c->taken += (int64_t)new_size;
    return raw + COUNTING_HEADER;
  }
  if (raw != NULL) {
    c->blocks--;
    c->bytes -= (int64_t)old_size;
  }
  free(raw);
  return NULL;
}

static inline lurn_ctx *counted_ctx(counting *c, int threads) {
  lurn_config config = {.alloc = counting_alloc, .alloc_ud = c, .num_threads = threads, .seed = 1};
  lurn_ctx *ctx = NULL;
  *c = (counting){0};
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

/* Nothing of the context is left. */
static inline void check_all_freed(const counting *c) {
  CHECK_EQ(c->blocks, 0);
  CHECK_EQ(c->bytes, 0);
  CHECK(!c->wrong_size);
}

#endif
