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

/* The types, ended by one without a name.  The first of a dtype is the one it is saved as. */
extern const lurn__file_type lurn__file_types[];

typedef struct lurn__entry {
  const char *name;
  const int64_t *shape;
  uint64_t begin, end; /* bytes from the start of the data */
  const lurn__file_type *type;
  int ndim;
} lurn__entry;

/* The header's text is turned into records where it stands (safetensors_index.c), which are the storage of names and metadata.  The
 * tensors stay in the file, which is read with pread: a file that shrinks under a map would kill the process. */
struct lurn_archive {
  lurn_ctx *ctx;
  const lurn__sys *sys;
  const unsigned char *memory; /* the host's, holding the whole file; NULL: it is read from fd */
  char *path;                  /* as messages show it, or what the host calls the memory */
  char *header;
  size_t packed; /* bytes of records in header */
  size_t metadata_begin, metadata_end;
  uint32_t *by_name;  /* in header: where each tensor's name lies, in the order of names */
  uint32_t *metadata; /* in header: where each key lies; its value follows */
  lurn__entry *entries;
  int64_t *sizes; /* the shapes of all entries */
  size_t path_bytes, header_bytes;
  int64_t n_entries, n_sizes, n_metadata;
  uint64_t data_start, data_bytes;
  int fd;
};

/* Checks archive->header against data_bytes, turns it into records and makes the index: LURN_EFORMAT says what is wrong and at which
 * byte of the file.  Until all is found sound no memory is taken. */
lurn_status lurn__header_parse(lurn_archive *archive);
/* The number, in the order of the file, of the tensor whose name lies at offset. */
int64_t lurn__header_number(const lurn_archive *archive, uint32_t offset);

/* lurn_archive_open and lurn_save on other system calls. */
lurn_status lurn__archive_open_with(lurn_ctx *ctx, const lurn__sys *sys, const char *path, lurn_archive **out);
lurn_status lurn__save_with(lurn_ctx *ctx, const lurn__sys *sys, const char *path, const char *const *names,
                            lurn_tensor *const *tensors, int64_t n, const char *const *metadata, int64_t n_metadata);

/* What the file is. */
enum { LURN__LITTLE_ENDIAN = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ };
/* Reverses the bytes of n elements. */
void lurn__swap_bytes(void *p, size_t n, size_t width);

#endif
