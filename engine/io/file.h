/* Files: the system calls behind a table, so that tests can make each of them fail, exact reading, and atomic writing. */
#ifndef LURN_IO_FILE_H
#define LURN_IO_FILE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "core/context.h"

typedef struct lurn__sys {
  int (*open)(const char *path, int flags, mode_t mode);
  int (*close)(int fd);
  int (*fstat)(int fd, struct stat *out);
  int (*lstat)(const char *path, struct stat *out);
  int (*access)(const char *path, int mode);
  char *(*realpath)(const char *path, char *out);
  ssize_t (*pread)(int fd, void *p, size_t bytes, off_t offset);
  ssize_t (*write)(int fd, const void *p, size_t bytes);
  int (*fchmod)(int fd, mode_t mode);
  int (*fsync)(int fd);
  int (*rename)(const char *from, const char *to);
  int (*unlink)(const char *path);
} lurn__sys;

extern const lurn__sys lurn__sys_real;

/* A path as messages show it: "" in quotes, and a long one without its middle, so that the reason still finds room behind it.
 * Returns text or a constant. */
enum { LURN__PATH_SHOW = 512 };
const char *lurn__file_show(const char *path, char text[LURN__PATH_SHOW]);

/* "cannot read m.safetensors: No such file or directory", from errno; returns LURN_EIO. */
lurn_status lurn__file_fail(lurn_ctx *ctx, const char *verb, const char *path);

/* Opens a regular file for reading. */
lurn_status lurn__file_open(lurn_ctx *ctx, const lurn__sys *sys, const char *path, int *fd, uint64_t *bytes);
/* Reads bytes from offset; LURN_EFORMAT when the file ends before.  The path is for messages, as lurn__file_show gives it. */
lurn_status lurn__file_read(lurn_ctx *ctx, const lurn__sys *sys, const char *path, int fd, uint64_t offset, void *out,
                            size_t bytes);

enum { LURN__FILE_BUFFER = 1 << 16 };

/* A file being written.  What it will replace stays whole until lurn__file_commit renames the new one over it:
 *
 *     lurn_status status = lurn__file_begin(ctx, sys, path, &file);
 *     if (status == LURN_OK) status = ... lurn__file_write(&file, ...) ...
 *     if (status == LURN_OK) status = lurn__file_commit(&file);
 *     lurn__file_end(&file);
 *
 * After any failure lurn__file_end removes the temporary file. */
typedef struct lurn__file {
  lurn_ctx *ctx;
  const lurn__sys *sys;
  const char *path; /* as the caller calls it; must outlive the file */
  char *target;     /* the same with a symbolic link resolved */
  char *temporary;  /* in the target's directory */
  size_t target_bytes, temporary_bytes;
  unsigned char *buffer; /* LURN__FILE_BUFFER bytes, the first `used` not yet written */
  size_t used;
  mode_t mode;
  bool keep_mode; /* the target exists and its mode is kept */
  bool created;   /* the temporary file exists */
  int fd;
} lurn__file;

lurn_status lurn__file_begin(lurn_ctx *ctx, const lurn__sys *sys, const char *path, lurn__file *out);
lurn_status lurn__file_write(lurn__file *file, const void *p, size_t bytes);
/* Makes room for at least `bytes` (at most LURN__FILE_BUFFER) at buffer + used, for callers that fill the buffer themselves. */
lurn_status lurn__file_reserve(lurn__file *file, size_t bytes);
/* Everything to the disk, then the rename, then the directory to the disk.  Should the last step fail, the new file is in place
 * and whole, but a power cut may still bring the old one back. */
lurn_status lurn__file_commit(lurn__file *file);
void lurn__file_end(lurn__file *file);

#endif
