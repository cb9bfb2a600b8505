/* System calls on one file in memory, so that a fuzz target reads and saves without a disk. */
#ifndef LURN_SPEC_MEMORY_SYS_H
#define LURN_SPEC_MEMORY_SYS_H

#include <errno.h>
#include <fcntl.h>

#include "fuzz.h"
#include "io/file.h"

enum { MEMORY_READ = 1000, MEMORY_WRITE, MEMORY_DIRECTORY }; /* descriptors */

static struct {
  const uint8_t *data; /* what reading finds */
  size_t size;
  uint8_t *saved; /* what saving wrote; the target frees it */
  size_t saved_bytes, room;
  int open, synced, renamed;
} memory;

static int memory_open(const char *path, int flags, mode_t mode) {
  (void)path, (void)mode;
  memory.open++;
  if ((flags & O_DIRECTORY) != 0) return MEMORY_DIRECTORY;
  if ((flags & O_CREAT) == 0) return MEMORY_READ;
  memory.saved_bytes = 0;
  return MEMORY_WRITE;
}

static int memory_close(int fd) {
  REQUIRE(fd >= MEMORY_READ && memory.open-- > 0);
  return 0;
}

static int memory_fstat(int fd, struct stat *out) {
  REQUIRE(fd == MEMORY_READ);
  *out = (struct stat){.st_mode = S_IFREG, .st_size = (off_t)memory.size};
  return 0;
}

static int memory_lstat(const char *path, struct stat *out) {
  (void)path, (void)out;
  errno = ENOENT;
  return -1;
}

static int memory_access(const char *path, int mode) { return (void)path, (void)mode, 0; }
static char *memory_realpath(const char *path, char *out) { return (void)path, out; }

static ssize_t memory_pread(int fd, void *p, size_t bytes, off_t offset) {
  REQUIRE(fd == MEMORY_READ && offset >= 0 && (size_t)offset <= memory.size && bytes <= memory.size - (size_t)offset);
  memcpy(p, memory.data + offset, bytes);
  return (ssize_t)bytes;
}

static ssize_t memory_write(int fd, const void *p, size_t bytes) {
  REQUIRE(fd == MEMORY_WRITE);
  if (memory.saved_bytes + bytes > memory.room) {
    memory.room = 2 * (memory.saved_bytes + bytes);
    memory.saved = realloc(memory.saved, memory.room);
    REQUIRE(memory.saved != NULL);
  }
  memcpy(memory.saved + memory.saved_bytes, p, bytes);
  memory.saved_bytes += bytes;
  return (ssize_t)bytes;
}

static int memory_fchmod(int fd, mode_t mode) { return (void)fd, (void)mode, 0; }
static int memory_fsync(int fd) { return memory.synced += fd == MEMORY_WRITE, 0; }
static int memory_rename(const char *from, const char *to) { return (void)from, (void)to, memory.renamed++, 0; }
static int memory_unlink(const char *path) { return (void)path, 0; }

static const lurn__sys memory_sys = {.open = memory_open,
                                     .close = memory_close,
                                     .fstat = memory_fstat,
                                     .lstat = memory_lstat,
                                     .access = memory_access,
                                     .realpath = memory_realpath,
                                     .pread = memory_pread,
                                     .write = memory_write,
                                     .fchmod = memory_fchmod,
                                     .fsync = memory_fsync,
                                     .rename = memory_rename,
                                     .unlink = memory_unlink};

#endif
