#include <limits.h>
#include <string.h>

#include "io/half.h"
#include "io/json.h"
#include "io/safetensors.h"

/* ---- Opening ----------------------------------------------------------------------------------------------- */

static lurn_status read_at(const lurn_archive *archive, uint64_t offset, void *out, size_t bytes) {
  if (archive->memory == NULL)
    return lurn__file_read(archive->ctx, archive->sys, archive->path, archive->fd, offset, out, bytes);
  memcpy(out, archive->memory + offset, bytes);
  return LURN_OK;
}

static lurn_status read_length(lurn_archive *archive, uint64_t file_bytes) {
  unsigned char bytes[8];
  uint64_t length = 0;
  if (file_bytes < sizeof bytes)
    return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: %llu bytes are too few for a safetensors file", archive->path,
                      (unsigned long long)file_bytes);
  LURN__TRY(read_at(archive, 0, bytes, sizeof bytes));
  for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
  unsigned long long shown = length, rest = file_bytes - sizeof bytes;
  if (length > rest)
    return lurn__fail(archive->ctx, LURN_EFORMAT,
                      "%s: the header should have %llu bytes, only %llu follow (is this a safetensors file?)",
                      archive->path, shown, rest);
  if (length > LURN__HEADER_LIMIT)
    return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: a header of %llu bytes; the format allows %u", archive->path,
                      shown, LURN__HEADER_LIMIT);
  if (length < 2)
    return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: a header of %llu bytes is too short", archive->path, shown);
  archive->header_bytes = (size_t)length;
  archive->data_start = sizeof bytes + length;
  archive->data_bytes = file_bytes - archive->data_start;
  return LURN_OK;
}

static lurn_status read_header(lurn_archive *archive, uint64_t file_bytes) {
  LURN__TRY(read_length(archive, file_bytes));
  archive->header = lurn__alloc_exact(archive->ctx, archive->header_bytes);
  if (archive->header == NULL) return LURN_ENOMEM;
  LURN__TRY(read_at(archive, 8, archive->header, archive->header_bytes));
  return lurn__header_parse(archive);
}

static lurn_archive *new_archive(lurn_ctx *ctx, const lurn__sys *sys, const char *path) {
  char text[LURN__PATH_SHOW];
  const char *shown = lurn__file_show(path, text);
  lurn_archive *archive = lurn__alloc_zeroed(ctx, sizeof *archive);
  if (archive == NULL) return NULL;
  archive->ctx = ctx;
  archive->sys = sys;
  archive->fd = -1;
  lurn__ctx_retain(ctx);
  archive->path_bytes = strlen(shown) + 1;
  archive->path = lurn__alloc(ctx, archive->path_bytes);
  if (archive->path == NULL) {
    lurn_archive_close(archive);
    return NULL;
  }
  memcpy(archive->path, shown, archive->path_bytes);
  return archive;
}

/* Gives the archive out, or closes it. */
static lurn_status opened(lurn_archive *archive, lurn_status status, lurn_archive **out) {
  if (status == LURN_OK) *out = archive;
  else lurn_archive_close(archive);
  return status;
}

lurn_status lurn__archive_open_with(lurn_ctx *ctx, const lurn__sys *sys, const char *path, lurn_archive **out) {
  uint64_t file_bytes;
  LURN__TRY(lurn__need(ctx, "load", "path", path));
  LURN__TRY(lurn__need_place(ctx, "load", out));
  lurn_archive *archive = new_archive(ctx, sys, path);
  if (archive == NULL) return LURN_ENOMEM;
  lurn_status status = lurn__file_open(ctx, sys, path, &archive->fd, &file_bytes);
  if (status == LURN_OK) status = read_header(archive, file_bytes);
  return opened(archive, status, out);
}

lurn_status lurn_archive_open(lurn_ctx *ctx, const char *path, lurn_archive **out) {
  return lurn__archive_open_with(ctx, &lurn__sys_real, path, out);
}

lurn_status lurn_archive_open_memory(lurn_ctx *ctx, const char *name, const void *p, size_t bytes, lurn_archive **out) {
  LURN__TRY(lurn__need(ctx, "load", "name", name));
  if (bytes > 0) LURN__TRY(lurn__need(ctx, "load", "bytes", p));
  LURN__TRY(lurn__need_place(ctx, "load", out));
  lurn_archive *archive = new_archive(ctx, &lurn__sys_real, name);
  if (archive == NULL) return LURN_ENOMEM;
  archive->memory = p;
  return opened(archive, read_header(archive, bytes), out);
}

void lurn_archive_close(lurn_archive *archive) {
  if (archive == NULL) return;
  lurn_ctx *ctx = archive->ctx;
  if (archive->fd >= 0) archive->sys->close(archive->fd);
  lurn__free(ctx, archive->sizes, (size_t)archive->n_sizes * sizeof *archive->sizes);
  lurn__free(ctx, archive->entries, (size_t)archive->n_entries * sizeof *archive->entries);
  lurn__free_exact(ctx, archive->header, archive->header_bytes);
  lurn__free(ctx, archive->path, archive->path_bytes);
  lurn__free(ctx, archive, sizeof *archive);
  lurn__ctx_release(ctx);
}

/* ---- What is in it ----------------------------------------------------------------------------------------- */

static const lurn__entry *entry_at(const lurn_archive *archive, int64_t i) {
  return i >= 0 && i < archive->n_entries ? &archive->entries[i] : NULL;
}

int64_t lurn_archive_count(const lurn_archive *archive) { return archive->n_entries; }

const char *lurn_archive_name(const lurn_archive *archive, int64_t i) {
  const lurn__entry *e = entry_at(archive, i);
  return e != NULL ? e->name : NULL;
}

const char *lurn_archive_dtype(const lurn_archive *archive, int64_t i) {
  const lurn__entry *e = entry_at(archive, i);
  return e != NULL ? e->type->name : NULL;
}

int lurn_archive_ndim(const lurn_archive *archive, int64_t i) {
  const lurn__entry *e = entry_at(archive, i);
  return e != NULL ? e->ndim : -1;
}

const int64_t *lurn_archive_shape(const lurn_archive *archive, int64_t i) {
  const lurn__entry *e = entry_at(archive, i);
  return e != NULL ? e->shape : NULL;
}

int64_t lurn_archive_find(const lurn_archive *archive, const char *name) {
  int64_t low = 0, high = name != NULL ? archive->n_entries : 0;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    int order = strcmp(archive->header + archive->by_name[middle], name);
    if (order == 0) return lurn__header_number(archive, archive->by_name[middle]);
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return -1;
}

int64_t lurn_archive_metadata_count(const lurn_archive *archive) { return archive->n_metadata; }

const char *lurn_archive_metadata_key(const lurn_archive *archive, int64_t i) {
  return i >= 0 && i < archive->n_metadata ? archive->header + archive->metadata[i] : NULL;
}

const char *lurn_archive_metadata_value(const lurn_archive *archive, int64_t i) {
  const char *key = lurn_archive_metadata_key(archive, i);
  return key != NULL ? key + strlen(key) + 1 : NULL;
}

/* ---- Tensors ----------------------------------------------------------------------------------------------- */

/* The halves lie in the second half of the memory they are widened into: element i is read at 2n + 2i before 4i is written. */
static void widen(unsigned char *p, size_t n, lurn__stored stored) {
  for (size_t i = 0; i < n; i++) {
    uint16_t half;
    memcpy(&half, p + 2 * (n + i), sizeof half);
    float value = stored == LURN__AS_BF16 ? lurn__from_bf16(half) : lurn__from_f16(half);
    memcpy(p + 4 * i, &value, sizeof value);
  }
}

static lurn_status check_bools(const lurn_archive *archive, const lurn__entry *e, const unsigned char *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] > 1) {
      char name[LURN__JSON_SHOW];
      return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: tensor %s: byte %zu is %d; a BOOL is 0 or 1", archive->path,
                        lurn__json_show(e->name, strlen(e->name), name), i, p[i]);
    }
  return LURN_OK;
}

static lurn_status fill(const lurn_archive *archive, const lurn__entry *e, lurn_tensor *t) {
  size_t bytes = (size_t)(e->end - e->begin), n = bytes / e->type->bytes;
  unsigned char *data = lurn_tensor_data(t), *place = e->type->stored == LURN__AS_IS ? data : data + bytes;
  if (n == 0) return LURN_OK;
  LURN__TRY(read_at(archive, archive->data_start + e->begin, place, bytes));
  if (!LURN__LITTLE_ENDIAN) lurn__swap_bytes(place, n, e->type->bytes);
  if (e->type->stored != LURN__AS_IS) widen(data, n, e->type->stored);
  return e->type->dtype == LURN_BOOL ? check_bools(archive, e, data, n) : LURN_OK;
}

lurn_status lurn_archive_tensor(lurn_archive *archive, int64_t i, lurn_tensor **out) {
  if (archive == NULL) return LURN_EVALUE;
  lurn_ctx *ctx = archive->ctx;
  const lurn__entry *e = entry_at(archive, i);
  LURN__TRY(lurn__need_place(ctx, archive->path, out));
  if (e == NULL)
    return lurn__fail(ctx, LURN_EINDEX, "%s: tensor number %lld of %lld", archive->path, (long long)i + ctx->index_base,
                      (long long)archive->n_entries);
  if (e->type->stored == LURN__AS_NOTHING) {
    char name[LURN__JSON_SHOW];
    return lurn__fail(ctx, LURN_EDTYPE, "%s: tensor %s has dtype %s, which lurn does not have", archive->path,
                      lurn__json_show(e->name, strlen(e->name), name), e->type->name);
  }
  lurn_tensor *t;
  LURN__TRY(lurn_empty(ctx, e->type->dtype, e->ndim, e->shape, &t));
  lurn_status status = fill(archive, e, t);
  if (status != LURN_OK) {
    lurn_release(t);
    return status;
  }
  *out = t;
  return LURN_OK;
}
