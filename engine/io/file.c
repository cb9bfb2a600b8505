#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int real_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }
static int real_fstat(int fd, struct stat *out) { return fstat(fd, out); }
static int real_lstat(const char *path, struct stat *out) { return lstat(path, out); }

const lurn__sys lurn__sys_real = {
    .open = real_open,
    .close = close,
    .fstat = real_fstat,
    .lstat = real_lstat,
    .access = access,
    .realpath = realpath,
    .pread = pread,
    .write = write,
    .fchmod = fchmod,
    .fsync = fsync,
    .rename = rename,
    .unlink = unlink,
};

/* strerror is not for threads; strerror_r returns a text in one libc and a number in the other. */
static inline const char *text_of_text(const char *result, const char *buffer) {
  (void)buffer;
  return result;
}
static inline const char *text_of_number(int result, const char *buffer) {
  return result == 0 ? buffer : "unknown error";
}
#define ERROR_TEXT(result, buffer) _Generic((result), char * : text_of_text, int : text_of_number)(result, buffer)

static bool is_inside_character(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

const char *lurn__file_show(const char *path, char text[LURN__PATH_SHOW]) {
  static const char gap[] = "...";
  size_t bytes = strlen(path), half = (LURN__PATH_SHOW - sizeof gap) / 2;
  if (bytes == 0) return "\"\"";
  if (bytes < LURN__PATH_SHOW) return memcpy(text, path, bytes + 1);
  const char *head = path + half, *tail = path + bytes - half;
  for (int i = 0; i < 3 && is_inside_character(*head); i++) head--;
  for (int i = 0; i < 3 && is_inside_character(*tail); i++) tail++;
  snprintf(text, LURN__PATH_SHOW, "%.*s%s%s", (int)(head - path), path, gap, tail);
  return text;
}

static lurn_status fail_with(lurn_ctx *ctx, const char *verb, const char *path, int error) {
  char buffer[128], shown[LURN__PATH_SHOW];
  return lurn__fail(ctx, LURN_EIO, "cannot %s %s: %s", verb, lurn__file_show(path, shown),
                    ERROR_TEXT(strerror_r(error, buffer, sizeof buffer), buffer));
}

lurn_status lurn__file_fail(lurn_ctx *ctx, const char *verb, const char *path) {
  return fail_with(ctx, verb, path, errno);
}

/* Only regular files are read or replaced: a pipe has no size, and a rename over a device would remove the device. */
static lurn_status check_regular(lurn_ctx *ctx, const char *verb, const char *path, const struct stat *info) {
  char shown[LURN__PATH_SHOW];
  if (S_ISREG(info->st_mode)) return LURN_OK;
  if (S_ISDIR(info->st_mode)) return fail_with(ctx, verb, path, EISDIR);
  return lurn__fail(ctx, LURN_EIO, "cannot %s %s: Not a regular file", verb, lurn__file_show(path, shown));
}

/* ---- Reading ----------------------------------------------------------------------------------------------- */

static int open_retrying(const lurn__sys *sys, const char *path, int flags, mode_t mode) {
  int fd;
  do fd = sys->open(path, flags, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

lurn_status lurn__file_open(lurn_ctx *ctx, const lurn__sys *sys, const char *path, int *fd, uint64_t *bytes) {
  /* Without O_NONBLOCK opening a pipe waits for its writer. */
  int file = open_retrying(sys, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
  if (file < 0) return lurn__file_fail(ctx, "read", path);
  struct stat info;
  lurn_status status =
      sys->fstat(file, &info) == 0 ? check_regular(ctx, "read", path, &info) : lurn__file_fail(ctx, "read", path);
  if (status != LURN_OK) {
    sys->close(file);
    return status;
  }
  *fd = file;
  *bytes = (uint64_t)info.st_size;
  return LURN_OK;
}

lurn_status lurn__file_read(lurn_ctx *ctx, const lurn__sys *sys, const char *path, int fd, uint64_t offset, void *out,
                            size_t bytes) {
  unsigned char *p = out;
  while (bytes > 0) {
    ssize_t n = sys->pread(fd, p, bytes, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return lurn__file_fail(ctx, "read", path);
    if (n == 0)
      return lurn__fail(ctx, LURN_EFORMAT, "%s: ends at byte %llu: it became shorter while it was read", path,
                        (unsigned long long)offset);
    p += n;
    offset += (uint64_t)n;
    bytes -= (size_t)n;
  }
  return LURN_OK;
}

/* ---- Writing ----------------------------------------------------------------------------------------------- */

static lurn_status write_failed(lurn__file *file) { return lurn__file_fail(file->ctx, "write", file->path); }

static lurn_status leads_nowhere(const lurn__file *file) {
  char shown[LURN__PATH_SHOW];
  return lurn__fail(file->ctx, LURN_EIO, "cannot write %s: A symbolic link that leads to no file",
                    lurn__file_show(file->path, shown));
}

/* Finds what is to be replaced: nothing, a regular file, or the regular file behind a symbolic link. */
static lurn_status find_target(lurn__file *file) {
  const lurn__sys *sys = file->sys;
  char resolved[PATH_MAX];
  const char *target = file->path;
  struct stat info;
  bool exists = sys->lstat(target, &info) == 0;
  if (!exists && errno != ENOENT) return write_failed(file);
  if (exists && S_ISLNK(info.st_mode)) {
    target = sys->realpath(file->path, resolved);
    if (target == NULL && errno == ENOENT) return leads_nowhere(file);
    if (target == NULL || sys->lstat(target, &info) != 0) return write_failed(file);
  }
  if (exists) {
    LURN__TRY(check_regular(file->ctx, "write", file->path, &info));
    if (sys->access(target, W_OK) != 0) return write_failed(file);
    file->keep_mode = true;
    file->mode = info.st_mode & 0777;
  }
  file->target_bytes = strlen(target) + 1;
  file->target = lurn__alloc(file->ctx, file->target_bytes);
  if (file->target == NULL) return LURN_ENOMEM;
  memcpy(file->target, target, file->target_bytes);
  return LURN_OK;
}

/* A name that hardly any other process will choose; O_EXCL guards against one that does. */
static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

static uint64_t first_number(const lurn__file *file) {
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_REALTIME, &now);
  return mix((uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30) ^ mix((uint64_t)getpid()) ^
         mix((uintptr_t)file->buffer);
}

static lurn_status create_temporary(lurn__file *file) {
  static const char sample[] = ".lurn-0123456789abcdef.tmp";
  const char *slash = strrchr(file->target, '/');
  size_t directory = slash != NULL ? (size_t)(slash - file->target) + 1 : 0;
  file->temporary_bytes = directory + sizeof sample;
  file->temporary = lurn__alloc(file->ctx, file->temporary_bytes);
  if (file->temporary == NULL) return LURN_ENOMEM;
  memcpy(file->temporary, file->target, directory);
  uint64_t number = first_number(file);
  for (int tries = 0; tries < 100 && file->fd < 0; tries++, number++) {
    snprintf(file->temporary + directory, sizeof sample, ".lurn-%016llx.tmp", (unsigned long long)number);
    file->fd =
        open_retrying(file->sys, file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, file->mode);
    if (file->fd < 0 && errno != EEXIST) break;
  }
  if (file->fd < 0) return write_failed(file);
  file->created = true;
  if (file->keep_mode && file->sys->fchmod(file->fd, file->mode) != 0) return write_failed(file);
  return LURN_OK;
}

lurn_status lurn__file_begin(lurn_ctx *ctx, const lurn__sys *sys, const char *path, lurn__file *out) {
  *out = (lurn__file){.ctx = ctx, .sys = sys, .path = path, .mode = 0666, .fd = -1};
  out->buffer = lurn__alloc(ctx, LURN__FILE_BUFFER);
  if (out->buffer == NULL) return LURN_ENOMEM;
  LURN__TRY(find_target(out));
  return create_temporary(out);
}

static lurn_status write_all(lurn__file *file, const unsigned char *p, size_t bytes) {
  while (bytes > 0) {
    ssize_t n = file->sys->write(file->fd, p, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO; /* must not happen, and must not loop for ever */
    if (n <= 0) return write_failed(file);
    p += n;
    bytes -= (size_t)n;
  }
  return LURN_OK;
}

lurn_status lurn__file_reserve(lurn__file *file, size_t bytes) {
  if (LURN__FILE_BUFFER - file->used >= bytes) return LURN_OK;
  LURN__TRY(write_all(file, file->buffer, file->used));
  file->used = 0;
  return LURN_OK;
}

lurn_status lurn__file_write(lurn__file *file, const void *p, size_t bytes) {
  if (bytes >= LURN__FILE_BUFFER) {
    LURN__TRY(lurn__file_reserve(file, LURN__FILE_BUFFER));
    return write_all(file, p, bytes);
  }
  LURN__TRY(lurn__file_reserve(file, bytes));
  memcpy(file->buffer + file->used, p, bytes);
  file->used += bytes;
  return LURN_OK;
}

static int sync_all(const lurn__file *file, int fd) {
  int result;
  do result = file->sys->fsync(fd);
  while (result != 0 && errno == EINTR);
  return result;
}

/* Some file systems cannot sync a directory, and some users may write to one but not list it: that is no failure. */
static lurn_status sync_directory(lurn__file *file) {
  const char *slash = strrchr(file->target, '/');
  char *name = file->temporary; /* renamed away; its text is long enough for the directory's */
  size_t bytes = slash == NULL || slash == file->target ? 1 : (size_t)(slash - file->target);
  memcpy(name, slash != NULL ? file->target : ".", bytes);
  name[bytes] = '\0';
  int fd = open_retrying(file->sys, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) return errno == EACCES || errno == EPERM ? LURN_OK : write_failed(file);
  bool synced = sync_all(file, fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS;
  lurn_status status = synced ? LURN_OK : write_failed(file);
  file->sys->close(fd);
  return status;
}

lurn_status lurn__file_commit(lurn__file *file) {
  LURN__TRY(write_all(file, file->buffer, file->used));
  file->used = 0;
  if (sync_all(file, file->fd) != 0) return write_failed(file);
  int fd = file->fd;
  file->fd = -1;
  /* Where close reports EINTR the descriptor is gone all the same, and the data is on the disk. */
  if (file->sys->close(fd) != 0 && errno != EINTR) return write_failed(file);
  if (file->sys->rename(file->temporary, file->target) != 0) return write_failed(file);
  file->created = false;
  return sync_directory(file);
}

void lurn__file_end(lurn__file *file) {
  if (file->fd >= 0) file->sys->close(file->fd);
  if (file->created) file->sys->unlink(file->temporary);
  lurn__free(file->ctx, file->temporary, file->temporary_bytes);
  lurn__free(file->ctx, file->target, file->target_bytes);
  lurn__free(file->ctx, file->buffer, LURN__FILE_BUFFER);
}
