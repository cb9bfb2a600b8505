/* Refcounted bytes, from the pool or from the host. */
#ifndef LURN_CORE_STORAGE_H
#define LURN_CORE_STORAGE_H

#include "core/context.h"

typedef struct lurn__storage {
  int64_t refs;
  uint64_t version; /* grows with every write after the first filling */
  void *data;
  size_t bytes;
  void (*free_fn)(void *ud, void *data); /* of the host's buffer */
  void *free_ud;
  bool foreign; /* the bytes are the host's */
} lurn__storage;

lurn_status lurn__storage_new(lurn_ctx *ctx, size_t bytes, lurn__storage **out);
lurn_status lurn__storage_wrap(lurn_ctx *ctx, void *data, size_t bytes, void (*free_fn)(void *ud, void *data), void *ud,
                               lurn__storage **out);
void lurn__storage_release(lurn_ctx *ctx, lurn__storage *storage);

#endif
