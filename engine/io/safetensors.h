/* The safetensors format: 8 bytes of header length (little endian), a header in JSON, the tensors' bytes.
 *
 *     {"__metadata__": {"key": "value"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
 *
 * Offsets count from the end of the header; the tensors cover the rest of the file without holes.
 * Source: https://github.com/huggingface/safetensors, "Format". */
#ifndef LURN_IO_SAFETENSORS_H
#define LURN_IO_SAFETENSORS_H

#include "io/file.h"

#define LURN__METADATA_KEY "__metadata__"
#define LURN__HEADER_LIMIT 100000000u /* bytes; the format's own */

/* How numbers of the file become elements. */
typedef enum lurn__stored { LURN__AS_IS = 0, LURN__AS_F16, LURN__AS_BF16, LURN__AS_NOTHING } lurn__stored;

typedef struct lurn__file_type {
  const char *name;
  size_t bytes; /* per element in the file */
  lurn_dtype dtype;
  lurn__stored stored; /* AS_NOTHING: lurn has no such dtype, such tensors are listed but not read */
} lurn__file_type;

/* The types, ended by one without a name. */
extern const lurn__file_type lurn__file_types[];

typedef struct lurn__entry {
  const char *name;
  const int64_t *shape;
  uint64_t begin, end; /* bytes from the start of the data */
  const lurn__file_type *type;
  int ndim;
} lurn__entry;

/* Names and metadata are decoded in place, so the header's text is their storage.  The tensors stay in the file, which is read
 * with pread: a file that shrinks under a map would kill the process. */
struct lurn_archive {
  lurn_ctx *ctx;
  const lurn__sys *sys;
  char *path;
  char *header;
  lurn__entry *entries;
  int64_t *sizes;        /* the shapes of all entries */
  int64_t *by_name;      /* entries in the order of their names */
  const char **metadata; /* key, value, key, value ... */
  size_t path_bytes, header_bytes;
  int64_t n_entries, n_sizes, n_metadata;
  uint64_t data_start, data_bytes;
  int fd;
};

/* Checks archive->header (header_bytes long, with one byte of room after it) against data_bytes and fills the index:
 * LURN_EFORMAT says what is wrong and at which byte of the file. */
lurn_status lurn__header_parse(lurn_archive *archive);

/* lurn_archive_open and lurn_save on other system calls. */
lurn_status lurn__archive_open_with(lurn_ctx *ctx, const lurn__sys *sys, const char *path, lurn_archive **out);
lurn_status lurn__save_with(lurn_ctx *ctx, const lurn__sys *sys, const char *path, const char *const *names,
                            lurn_tensor *const *tensors, int64_t n, const char *const *metadata, int64_t n_metadata);

static inline bool lurn__little_endian(void) { return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__; }
/* Reverses the bytes of n elements. */
void lurn__swap_bytes(void *p, size_t n, size_t width);

#endif
