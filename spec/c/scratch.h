/* What the tests of engine/io share: a directory of their own, files as bytes, tensors to save. */
#ifndef LURN_SPEC_SCRATCH_H
#define LURN_SPEC_SCRATCH_H

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/tensor.h"
#include "harness.h"
#include "io/safetensors.h"

/* ---- Files ------------------------------------------------------------------------------------------------- */

enum { PATH_SIZE = 128 };

/* A directory of its own for each test, with the path of m.safetensors in it. */
static struct { char directory[PATH_SIZE], path[PATH_SIZE + 32]; } place;

static inline void enter_place(void) {
  const char *base = getenv("TMPDIR");
  snprintf(place.directory, sizeof place.directory, "%.80s/lurn-test-XXXXXX", base != NULL ? base : "/tmp");
  if (mkdtemp(place.directory) == NULL) abort();
  snprintf(place.path, sizeof place.path, "%s/m.safetensors", place.directory);
}

static inline int count_files(bool remove) {
  DIR *directory = opendir(place.directory);
  int n = 0;
  for (struct dirent *e; directory != NULL && (e = readdir(directory)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    n++;
    if (remove) unlinkat(dirfd(directory), e->d_name, 0);
  }
  if (directory != NULL) closedir(directory);
  return n;
}

static inline void leave_place(void) {
  count_files(true);
  CHECK(rmdir(place.directory) == 0);
}

static inline void write_bytes(const void *p, size_t n) {
  FILE *file = fopen(place.path, "wb");
  if (file == NULL || fwrite(p, 1, n, file) != n || fclose(file) != 0) abort();
}

/* The whole file, on the heap. */
static inline unsigned char *read_bytes(size_t *n) {
  FILE *file = fopen(place.path, "rb");
  if (file == NULL) abort();
  fseek(file, 0, SEEK_END);
  *n = (size_t)ftell(file);
  rewind(file);
  unsigned char *p = malloc(*n + 1);
  if (p == NULL || fread(p, 1, *n, file) != *n) abort();
  fclose(file);
  return p;
}

static inline void write_parts(const char *header, size_t header_bytes, const void *data, size_t data_bytes) {
  unsigned char *p = calloc(1, 8 + header_bytes + data_bytes);
  for (int i = 0; i < 8; i++) p[i] = (unsigned char)((uint64_t)header_bytes >> 8 * i);
  memcpy(p + 8, header, header_bytes);
  if (data != NULL && data_bytes > 0) memcpy(p + 8 + header_bytes, data, data_bytes);
  write_bytes(p, 8 + header_bytes + data_bytes);
  free(p);
}

static inline lurn_ctx *new_ctx(void) {
  lurn_ctx *ctx = NULL;
  if (lurn_ctx_new(NULL, &ctx) != LURN_OK) abort();
  return ctx;
}

/* ---- Tensors ----------------------------------------------------------------------------------------------- */

/* Contents that tell each element of each dtype apart. */
static inline lurn_tensor *make(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape) {
  lurn_tensor *t = NULL;
  if (lurn_empty(ctx, dtype, ndim, shape, &t) != LURN_OK) abort();
  char *p = lurn_tensor_data(t);
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++, p += lurn_dtype_size(dtype)) {
    if (dtype == LURN_INT64) lurn__store_int(dtype, p, i % 2 == 0 ? INT64_MAX - i : INT64_MIN + i);
    else if (dtype == LURN_BOOL) lurn__store_int(dtype, p, i % 3 == 0);
    else if (lurn_dtype_is_float(dtype)) lurn__store(dtype, p, (double)i * 0.37 - 5.25);
    else lurn__store_int(dtype, p, i * 7 % 251);
  }
  return t;
}

static inline lurn_tensor *view(lurn_tensor *t, lurn__shape shape, const int64_t *strides, int64_t offset) {
  int64_t stride[LURN_MAX_DIMS] = {0};
  lurn_tensor *out = NULL;
  memcpy(stride, strides, (size_t)shape.ndim * sizeof *stride);
  if (lurn__tensor_view(t, &shape, stride, offset, &out) != LURN_OK) abort();
  return out;
}

static inline void release_all(lurn_tensor **tensors, int n) {
  for (int i = 0; i < n; i++) lurn_release(tensors[i]);
}

/* A sound file of 4 tensors with metadata; the caller frees it. */
static inline unsigned char *sound_file(lurn_ctx *ctx, size_t *n) {
  static const char *const names[] = {"w", "b\n", "flags", "none"}, *const metadata[] = {"note", "\xC3\xA9"};
  static const int64_t two[] = {2, 3}, one[] = {3}, none[] = {0};
  lurn_tensor *t[4] = {make(ctx, LURN_FLOAT32, 2, two), make(ctx, LURN_INT64, 1, one), make(ctx, LURN_BOOL, 1, one),
                       make(ctx, LURN_UINT8, 1, none)};
  CHECK_EQ(lurn_save(ctx, place.path, names, t, 4, metadata, 1), LURN_OK);
  release_all(t, 4);
  return read_bytes(n);
}

/* Opens the file and reads everything; what it held. */
static inline lurn_status read_all(lurn_ctx *ctx, const lurn__sys *sys) {
  lurn_archive *archive = NULL;
  lurn_status status = lurn__archive_open_with(ctx, sys, place.path, &archive);
  if (status != LURN_OK) return status;
  for (int64_t i = 0; i < lurn_archive_count(archive) && status == LURN_OK; i++) {
    lurn_tensor *t = NULL;
    status = lurn_archive_tensor(archive, i, &t);
    lurn_release(t);
  }
  lurn_archive_close(archive);
  return status;
}

#endif
