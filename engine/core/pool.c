#include "core/pool.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISONING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING 1
#endif
#endif
#ifdef POISONING
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

/* Lies in the first bytes of a cached block. */
struct lurn__block {
  lurn__block *next;
};

/* Size classes: multiples of 64 bytes up to 512, then eight steps to each doubling (at most 12.5 % waste). */
static int class_of(size_t bytes) {
  size_t units = bytes <= 1 ? 1 : (bytes - 1) / LURN__ALIGN + 1;
  if (units <= 8) return (int)units - 1;
  int log = 63 - __builtin_clzll((unsigned long long)(units - 1)); /* >= 3 */
  size_t step = (size_t)1 << (log - 3);
  return (log - 2) * 8 + (int)((units - 1 - ((size_t)1 << log)) / step);
}

static size_t class_bytes(int class) {
  if (class < 8) return (size_t)(class + 1) * LURN__ALIGN;
  int log = class / 8 + 2;
  size_t step = (size_t)1 << (log - 3);
  return (((size_t)1 << log) + step * (size_t)(class % 8 + 1)) * LURN__ALIGN;
}

void lurn__pool_init(lurn__pool *pool, lurn_alloc_fn alloc, void *ud, size_t cache_limit) {
  memset(pool, 0, sizeof *pool);
  pool->alloc = alloc;
  pool->alloc_ud = ud;
  pool->cache_limit = cache_limit != 0 ? cache_limit : (size_t)1 << 30;
}

/* The host aligns to 16 at best, so a block is LURN__ALIGN longer than its class; the byte before the aligned address holds
 * how far it was moved, less one. */
static void *host_take(lurn__pool *pool, size_t bytes) {
  unsigned char *raw = pool->alloc(pool->alloc_ud, NULL, 0, bytes + LURN__ALIGN);
  if (raw == NULL) return NULL;
  size_t shift = LURN__ALIGN - (uintptr_t)raw % LURN__ALIGN;
  raw[shift - 1] = (unsigned char)(shift - 1);
  pool->host_allocations++;
  return raw + shift;
}

static void host_give(lurn__pool *pool, void *p, size_t bytes) {
  unsigned char *aligned = p;
  size_t shift = (size_t)aligned[-1] + 1;
  pool->alloc(pool->alloc_ud, aligned - shift, bytes + LURN__ALIGN, 0);
}

/* A new block; when the host refuses, once more without the cache. */
static void *take_new(lurn__pool *pool, size_t bytes) {
  void *p = host_take(pool, bytes);
  if (p != NULL || pool->cached == 0) return p;
  lurn__pool_trim(pool);
  return host_take(pool, bytes);
}

/* Returns the first cached block of a class to the host. */
static void drop(lurn__pool *pool, int class) {
  lurn__block *block = pool->free_blocks[class];
  size_t size = class_bytes(class);
  ASAN_UNPOISON_MEMORY_REGION(block, size);
  pool->free_blocks[class] = block->next;
  pool->cached -= size;
  host_give(pool, block, size);
}

/* The class with cached blocks that was not used for longest, or -1. */
static int stalest(const lurn__pool *pool) {
  int found = -1;
  for (int class = 0; class < LURN__POOL_CLASSES; class ++)
    if (pool->free_blocks[class] != NULL && (found < 0 || pool->used[class] < pool->used[found])) found = class;
  return found;
}

/* Makes room in the cache for a block of a class just used; false if it does not fit. */
static bool make_room(lurn__pool *pool, int class) {
  size_t size = class_bytes(class);
  if (size > pool->cache_limit) return false;
  while (pool->cached + size > pool->cache_limit) {
    int stale = stalest(pool);
    if (stale == class) return false;
    while (pool->free_blocks[stale] != NULL && pool->cached + size > pool->cache_limit) drop(pool, stale);
  }
  return true;
}

static void count_live(lurn__pool *pool, size_t bytes) {
  pool->live += bytes;
  if (pool->live > pool->peak) pool->peak = pool->live;
}

void *lurn__pool_take(lurn__pool *pool, size_t bytes) {
  if (bytes > (size_t)PTRDIFF_MAX / 4) return NULL;
  int class = class_of(bytes);
  size_t size = class_bytes(class);
  lurn__block *block = pool->free_blocks[class];
  pool->used[class] = ++pool->uses;
  if (block != NULL) {
    ASAN_UNPOISON_MEMORY_REGION(block, size);
    pool->free_blocks[class] = block->next;
    pool->cached -= size;
  } else {
    block = take_new(pool, size);
    if (block == NULL) return NULL;
  }
  count_live(pool, size);
  ASAN_POISON_MEMORY_REGION((char *)block + bytes, size - bytes); /* what nobody asked for */
  return block;
}

void lurn__pool_give(lurn__pool *pool, void *p, size_t bytes) {
  if (p == NULL) return;
  int class = class_of(bytes);
  size_t size = class_bytes(class);
  pool->live -= size;
  ASAN_UNPOISON_MEMORY_REGION(p, size);
  pool->used[class] = ++pool->uses;
  if (!make_room(pool, class)) {
    host_give(pool, p, size);
    return;
  }
  lurn__block *block = p;
  block->next = pool->free_blocks[class];
  pool->free_blocks[class] = block;
  pool->cached += size;
  ASAN_POISON_MEMORY_REGION(block, size);
}

void *lurn__pool_take_exact(lurn__pool *pool, size_t bytes) {
  if (bytes > (size_t)PTRDIFF_MAX / 4) return NULL;
  void *p = take_new(pool, bytes);
  if (p != NULL) count_live(pool, bytes);
  return p;
}

void lurn__pool_give_exact(lurn__pool *pool, void *p, size_t bytes) {
  if (p == NULL) return;
  pool->live -= bytes;
  host_give(pool, p, bytes);
}

void lurn__pool_trim(lurn__pool *pool) {
  for (int class = 0; class < LURN__POOL_CLASSES; class ++)
    while (pool->free_blocks[class] != NULL) drop(pool, class);
}
