#include "core/storage.h"

#include <string.h>

lurn_status lurn__storage_new(lurn_ctx *ctx, size_t bytes, lurn__storage **out) {
  lurn__storage *storage = lurn__alloc(ctx, sizeof *storage);
  if (storage == NULL) return LURN_ENOMEM;
  void *data = lurn__alloc(ctx, bytes);
  if (data == NULL) {
    lurn__free(ctx, storage, sizeof *storage);
    return LURN_ENOMEM;
  }
  *storage = (lurn__storage){.refs = 1, .data = data, .bytes = bytes};
  *out = storage;
  return LURN_OK;
}

lurn_status lurn__storage_wrap(lurn_ctx *ctx, void *data, size_t bytes, void (*free_fn)(void *ud, void *data), void *ud,
                               lurn__storage **out) {
  lurn__storage *storage = lurn__alloc(ctx, sizeof *storage);
  if (storage == NULL) return LURN_ENOMEM;
  *storage =
      (lurn__storage){.refs = 1, .data = data, .bytes = bytes, .free_fn = free_fn, .free_ud = ud, .foreign = true};
  *out = storage;
  return LURN_OK;
}

void lurn__storage_release(lurn_ctx *ctx, lurn__storage *storage) {
  if (--storage->refs > 0) return;
  if (!storage->foreign) lurn__free(ctx, storage->data, storage->bytes);
  else if (storage->free_fn != NULL) storage->free_fn(storage->free_ud, storage->data);
  lurn__free(ctx, storage, sizeof *storage);
}
