/* System calls that fail on command, and what the tests of saving share. */
#ifndef LURN_SPEC_FAULTY_H
#define LURN_SPEC_FAULTY_H

#include <errno.h>

#include "scratch.h"

static inline lurn_status save_two(lurn_ctx *ctx, const lurn__sys *sys, lurn_tensor *t) {
  static const char *const names[] = {"a", "b"}, *const metadata[] = {"k", "v"};
  lurn_tensor *tensors[] = {t, t};
  return lurn__save_with(ctx, sys, place.path, names, tensors, 2, metadata, 1);
}

static inline bool holds(const unsigned char *expected, size_t bytes) {
  size_t n;
  unsigned char *p = read_bytes(&n);
  bool equal = n == bytes && memcmp(p, expected, n) == 0;
  free(p);
  return equal;
}

/* The system calls of this program, of which the one with number `at` fails. */
static struct {
  int calls, at, error;
  int open; /* descriptors */
  bool renamed;
  size_t most;  /* bytes a write or pread takes */
  bool nervous; /* every other one is interrupted first */
} faulty;

static inline bool trips(void) {
  if (faulty.calls++ != faulty.at) return false;
  errno = faulty.error;
  return true;
}

static inline bool interrupted(void) {
  if (!faulty.nervous || faulty.calls % 2 == 0) return false;
  errno = EINTR;
  return true;
}

static inline int faulty_open(const char *path, int flags, mode_t mode) {
  int fd = trips() ? -1 : open(path, flags, mode);
  faulty.open += fd >= 0;
  return fd;
}
static inline int faulty_close(int fd) {
  faulty.open--;
  close(fd);
  return trips() ? -1 : 0;
}
static inline int faulty_fstat(int fd, struct stat *out) { return trips() ? -1 : fstat(fd, out); }
static inline int faulty_lstat(const char *path, struct stat *out) { return trips() ? -1 : lstat(path, out); }
static inline int faulty_access(const char *path, int mode) { return trips() ? -1 : access(path, mode); }
static inline char *faulty_realpath(const char *path, char *out) { return trips() ? NULL : realpath(path, out); }
static inline ssize_t faulty_pread(int fd, void *p, size_t bytes, off_t offset) {
  if (trips() || interrupted()) return -1;
  return pread(fd, p, bytes < faulty.most ? bytes : faulty.most, offset);
}
static inline ssize_t faulty_write(int fd, const void *p, size_t bytes) {
  if (trips() || interrupted()) return -1;
  return write(fd, p, bytes < faulty.most ? bytes : faulty.most);
}
static inline int faulty_fchmod(int fd, mode_t mode) { return trips() ? -1 : fchmod(fd, mode); }
static inline int faulty_fsync(int fd) { return trips() || interrupted() ? -1 : fsync(fd); }
static inline int faulty_rename(const char *from, const char *to) {
  if (trips()) return -1;
  faulty.renamed = true;
  return rename(from, to);
}
static inline int faulty_unlink(const char *path) { return trips() ? -1 : unlink(path); }

static const lurn__sys faulty_sys = {faulty_open,   faulty_close,    faulty_fstat,  faulty_lstat,
                                     faulty_access, faulty_realpath, faulty_pread,  faulty_write,
                                     faulty_fchmod, faulty_fsync,    faulty_rename, faulty_unlink};

static inline void arm(int at, int error, size_t most, bool nervous) {
  memset(&faulty, 0, sizeof faulty);
  faulty.at = at;
  faulty.error = error;
  faulty.most = most;
  faulty.nervous = nervous;
}

#endif
