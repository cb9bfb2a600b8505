/* Refcounted bytes, from the pool or from the host. */
#ifndef LURN_CORE_STORAGE_H
#define LURN_CORE_STORAGE_H

#include "core/context.h"

/* What derived data is: who made it, which alone can read it, and from what, in numbers of the maker's choice. */
typedef struct lurn__derived_key {
  const void *maker;
  int64_t number[5];
} lurn__derived_key;

/* At most so many of one storage: two parts of a weight, or the weights of a layer in one storage. */
enum { LURN__DERIVED_MAX = 3 };

typedef struct lurn__derived lurn__derived;

typedef struct lurn__storage {
  int64_t refs;
  uint64_t version; /* grows with every write after the first filling */
  void *data;
  size_t bytes;
  void (*free_fn)(void *ud, void *data); /* of the host's buffer */
  void *free_ud;
  bool foreign;           /* the bytes are the host's */
  lurn__derived *derived; /* a list, see below */
} lurn__storage;

lurn_status lurn__storage_new(lurn_ctx *ctx, size_t bytes, lurn__storage **out);
lurn_status lurn__storage_wrap(lurn_ctx *ctx, void *data, size_t bytes, void (*free_fn)(void *ud, void *data), void *ud,
                               lurn__storage **out);
void lurn__storage_release(lurn_ctx *ctx, lurn__storage *storage);

/* Derived data: bytes that someone made from a storage's contents and would make again, such as packed weights.  They belong to
 * the storage, are live memory of the context, and go with the next write or with the storage.
 *
 * The first request for a key is only noted: what is read once is not worth keeping.  The second gets memory of `bytes`, aligned
 * to cache lines, and *fresh says that the caller has to fill it at once; later ones get it filled.  NULL when there is nothing:
 * noted just now, no memory (which is no error), or LURN__DERIVED_MAX others are there.  Those stay, so that what a caller got
 * holds until the next write. */
void *lurn__storage_derive(lurn_ctx *ctx, lurn__storage *storage, const lurn__derived_key *key, size_t bytes,
                           bool *fresh);
void lurn__storage_drop_derived(lurn_ctx *ctx, lurn__storage *storage);

/* To be called at every write after the first filling: the only place where the version grows. */
static inline void lurn__storage_written(lurn_ctx *ctx, lurn__storage *storage) {
  storage->version++;
  if (storage->derived != NULL) lurn__storage_drop_derived(ctx, storage);
}

#endif
