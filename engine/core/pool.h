/* A caching pool over the host's allocator: freed blocks wait in lists by size class, so that a steady training loop does not
 * call the host's allocator after its first steps.  When the cache is full, the classes that were not used for longest make
 * room, so sizes of the past do not keep it from those of the present. */
#ifndef LURN_CORE_POOL_H
#define LURN_CORE_POOL_H

#include "lurn.h"

/* Blocks are aligned to a cache line, which is also the widest vector. */
#define LURN__ALIGN 64

enum { LURN__POOL_CLASSES = 8 * 58 };

typedef struct lurn__block lurn__block;

typedef struct lurn__pool {
  lurn_alloc_fn alloc;
  void *alloc_ud;
  lurn__block *free_blocks[LURN__POOL_CLASSES];
  uint64_t used[LURN__POOL_CLASSES]; /* when a class was last taken from or given to, by `uses` */
  uint64_t uses;
  size_t live, cached; /* bytes, in whole blocks */
  size_t peak;         /* the most that was live */
  size_t cache_limit;
  uint64_t host_allocations;
} lurn__pool;

void lurn__pool_init(lurn__pool *pool, lurn_alloc_fn alloc, void *ud, size_t cache_limit);
void *lurn__pool_take(lurn__pool *pool, size_t bytes);
void lurn__pool_give(lurn__pool *pool, void *p, size_t bytes);
/* Past the size classes and the cache: for large blocks whose size hardly any other will have. */
void *lurn__pool_take_exact(lurn__pool *pool, size_t bytes);
void lurn__pool_give_exact(lurn__pool *pool, void *p, size_t bytes);
/* Returns all cached blocks to the host. */
void lurn__pool_trim(lurn__pool *pool);

#endif
