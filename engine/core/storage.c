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
  lurn__storage_drop_derived(ctx, storage);
  if (!storage->foreign) lurn__free(ctx, storage->data, storage->bytes);
  else if (storage->free_fn != NULL) storage->free_fn(storage->free_ud, storage->data);
  lurn__free(ctx, storage, sizeof *storage);
}

/* ---- Derived data ------------------------------------------------------------------------------------------ */

struct lurn__derived {
  lurn__derived_key key;
  void *data; /* NULL: noted, not made */
  size_t bytes;
  lurn__derived *next;
};

static bool same_key(const lurn__derived_key *a, const lurn__derived_key *b) {
  return a->maker == b->maker && memcmp(a->number, b->number, sizeof a->number) == 0;
}

/* Adds an entry without data, if there is room and memory. */
static void note(lurn_ctx *ctx, lurn__storage *storage, const lurn__derived_key *key) {
  int count = 0;
  for (const lurn__derived *d = storage->derived; d != NULL; d = d->next) count++;
  if (count == LURN__DERIVED_MAX) return;
  lurn__derived *noted = lurn__alloc(ctx, sizeof *noted);
  if (noted == NULL) return;
  *noted = (lurn__derived){.key = *key, .next = storage->derived};
  storage->derived = noted;
}

void *lurn__storage_derive(lurn_ctx *ctx, lurn__storage *storage, const lurn__derived_key *key, size_t bytes,
                           bool *fresh) {
  lurn__derived *d = storage->derived;
  while (d != NULL && !same_key(&d->key, key)) d = d->next;
  *fresh = false;
  if (d == NULL) {
    note(ctx, storage, key);
    return NULL;
  }
  if (d->data == NULL) {
    d->data = lurn__alloc(ctx, bytes);
    d->bytes = bytes;
    *fresh = d->data != NULL;
  }
  return d->data;
}

void lurn__storage_drop_derived(lurn_ctx *ctx, lurn__storage *storage) {
  while (storage->derived != NULL) {
    lurn__derived *d = storage->derived;
    storage->derived = d->next;
    lurn__free(ctx, d->data, d->bytes);
    lurn__free(ctx, d, sizeof *d);
  }
}
