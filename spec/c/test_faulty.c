/* engine/io: system calls failing in turn, short and interrupted ones, crowded and unusual places. */
#include "faulty.h"

/* ---- Every system call failing in turn --------------------------------------------------------------------- */

/* A file whose header and pieces do not fit the buffer, so that each kind of writing fails in the middle as well. */
typedef struct large {
  lurn_tensor *tensors[4];
  char *note;
} large;

static large make_large(lurn_ctx *ctx) {
  static const int64_t plain[] = {12000}, flags[] = {40000}, square[] = {150, 150};
  large l = {.note = malloc(80001)};
  memset(l.note, 'n', 80000);
  l.note[80000] = '\0';
  l.tensors[0] = make(ctx, LURN_FLOAT32, 1, plain);
  l.tensors[1] = make(ctx, LURN_BOOL, 1, flags);
  lurn_tensor *base = make(ctx, LURN_FLOAT64, 2, square);
  l.tensors[2] = view(base, (lurn__shape){2, {150, 150}}, (int64_t[]){1, 150}, 0);
  l.tensors[3] = lurn_retain(l.tensors[0]);
  lurn_release(base);
  return l;
}

static void free_large(large *l) {
  release_all(l->tensors, 4);
  free(l->note);
}

static lurn_status save_large(lurn_ctx *ctx, const lurn__sys *sys, const char *path, const large *l) {
  static const char *const names[] = {"a", "b", "c", "d"};
  const char *metadata[] = {"note", l->note};
  return lurn__save_with(ctx, sys, path, names, l->tensors, 4, metadata, 1);
}

/* With every error that the calls know: the old file stays, or the new one is in place. */
TEST(save_survives_every_failing_call) {
  static const int errors[] = {ENOSPC, EIO, EDQUOT, EROFS};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  large l = make_large(ctx);
  CHECK_EQ(save_large(ctx, &lurn__sys_real, place.path, &l), LURN_OK);
  size_t n;
  unsigned char *expected = read_bytes(&n);
  char link[PATH_SIZE + 32];
  snprintf(link, sizeof link, "%s/link", place.directory);
  CHECK(symlink("m.safetensors", link) == 0);
  for (int e = 0; e < 4; e++)
    for (int linked = 0; linked < 2; linked++) {
      arm(-1, 0, 30000, false);
      CHECK_EQ(save_large(ctx, &faulty_sys, linked ? link : place.path, &l), LURN_OK);
      int at = 0, calls = faulty.calls;
      do {
        write_bytes("old", 3);
        arm(at, errors[e], 30000, false);
        lurn_status status = save_large(ctx, &faulty_sys, linked ? link : place.path, &l);
        /* The close of the directory tells nothing. */
        CHECK_EQ(status, at < calls - 1 ? LURN_EIO : LURN_OK);
        if (status != LURN_OK) CHECK_HAS(lurn_error(ctx), strerror(errors[e]));
        CHECK(faulty.renamed ? holds(expected, n) : holds((const unsigned char *)"old", 3));
        CHECK_EQ(count_files(false), 2);
        CHECK_EQ(faulty.open, 0);
      } while (faulty.calls > at++ && at < 200);
      CHECK(at > 18 && at < 200);
    }
  free(expected);
  free_large(&l);
  lurn_ctx_free(ctx);
  leave_place();
}

/* A signal interrupts calls that wait: they are made again, and close is not, since its descriptor is gone. */
TEST(save_and_load_bear_an_interruption_anywhere) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  large l = make_large(ctx);
  CHECK_EQ(save_large(ctx, &lurn__sys_real, place.path, &l), LURN_OK);
  size_t n;
  unsigned char *expected = read_bytes(&n);
  int at = 0, refused = 0;
  do {
    write_bytes("old", 3);
    arm(at, EINTR, 30000, false);
    lurn_status status = save_large(ctx, &faulty_sys, place.path, &l);
    refused += status != LURN_OK;
    CHECK(holds(status == LURN_OK ? expected : (const unsigned char *)"old", status == LURN_OK ? n : 3));
    CHECK_EQ(count_files(false), 1);
    CHECK_EQ(faulty.open, 0);
  } while (faulty.calls > at++ && at < 200);
  CHECK_EQ(refused, 4); /* lstat, access, fchmod and rename do not wait */
  write_bytes(expected, n);
  for (at = 0, refused = 0; at == 0 || faulty.calls >= at; at++) {
    arm(at, EINTR, 30000, false);
    refused += read_all(ctx, &faulty_sys) != LURN_OK;
    CHECK_EQ(faulty.open, 0);
  }
  CHECK_EQ(refused, 1); /* fstat */
  free(expected);
  free_large(&l);
  lurn_ctx_free(ctx);
  leave_place();
}

/* Some file systems cannot sync a directory, and some directories may be written but not listed. */
TEST(save_needs_no_sync_of_the_directory_where_there_is_none) {
  static const struct {
    int before_last, error;
    lurn_status status;
  } cases[] = {{2, EACCES, LURN_OK},  {2, EPERM, LURN_OK},  {2, EMFILE, LURN_EIO}, {1, EINVAL, LURN_OK},
               {1, ENOTSUP, LURN_OK}, {1, ENOSYS, LURN_OK}, {1, EIO, LURN_EIO}};
  static const int64_t shape[] = {50};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_FLOAT32, 1, shape);
  CHECK_EQ(save_two(ctx, &lurn__sys_real, t), LURN_OK);
  size_t n;
  unsigned char *expected = read_bytes(&n);
  arm(-1, 0, SIZE_MAX, false);
  CHECK_EQ(save_two(ctx, &faulty_sys, t), LURN_OK);
  int calls = faulty.calls;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_bytes("old", 3);
    arm(calls - 1 - cases[i].before_last, cases[i].error, SIZE_MAX, false);
    CHECK_EQ(save_two(ctx, &faulty_sys, t), cases[i].status);
    CHECK(faulty.renamed && holds(expected, n));
    CHECK_EQ(faulty.open, 0);
  }
  free(expected);
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_every_system_call_fails_while_reading) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  size_t n;
  free(sound_file(ctx, &n));
  int at = 0;
  lurn_status status;
  do {
    arm(at, EIO, 100, false);
    status = read_all(ctx, &faulty_sys);
    if (status != LURN_OK) CHECK_EQ(status, LURN_EIO);
    if (status != LURN_OK) CHECK_HAS(lurn_error(ctx), "m.safetensors: Input/output error");
    CHECK_EQ(faulty.open, 0);
  } while (status != LURN_OK && at++ < 100);
  CHECK(at > 5);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(safetensors_short_and_interrupted_calls) {
  static const int64_t shape[] = {30000};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_FLOAT64, 1, shape);
  CHECK_EQ(save_two(ctx, &lurn__sys_real, t), LURN_OK);
  size_t n;
  unsigned char *expected = read_bytes(&n);
  arm(-1, 0, 777, true);
  CHECK_EQ(save_two(ctx, &faulty_sys, t), LURN_OK);
  CHECK(holds(expected, n));
  arm(-1, 0, 777, true);
  CHECK_EQ(read_all(ctx, &faulty_sys), LURN_OK);
  CHECK(faulty.calls > 1000);
  arm(-1, 0, 0, false); /* a write that takes nothing must not go on for ever */
  CHECK_EQ(save_two(ctx, &faulty_sys, t), LURN_EIO);
  CHECK(holds(expected, n) && count_files(false) == 1);
  free(expected);
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}

/* ---- Names ------------------------------------------------------------------------------------------------- */

static int taken; /* names that another process has chosen before */

static int crowded_open(const char *path, int flags, mode_t mode) {
  if ((flags & O_CREAT) != 0 && taken-- > 0) {
    errno = EEXIST;
    return -1;
  }
  return open(path, flags, mode);
}

TEST(save_finds_a_free_name_for_the_temporary_file) {
  lurn__sys crowded = lurn__sys_real;
  crowded.open = crowded_open;
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_UINT8, 0, NULL);
  taken = 99;
  CHECK_EQ(save_two(ctx, &crowded, t), LURN_OK);
  CHECK_EQ(taken, -1);
  taken = 1000;
  CHECK_EQ(save_two(ctx, &crowded, t), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), "m.safetensors: File exists");
  CHECK_EQ(taken, 900);
  CHECK_EQ(count_files(false), 1);
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}

/* Paths seen from the test's directory, as a program in a chroot sees them. */
static char jailed[2 * PATH_SIZE + 64];
static int jailed_directories; /* opened, to be synced */
static const char *jail(const char *path) {
  snprintf(jailed, sizeof jailed, "%s/%s", place.directory, path);
  return jailed;
}
static int jailed_open(const char *path, int flags, mode_t mode) {
  if ((flags & O_DIRECTORY) != 0) jailed_directories += strcmp(path, "/") == 0 || strcmp(path, ".") == 0;
  return open(jail(path), flags, mode);
}
static int jailed_lstat(const char *path, struct stat *out) { return lstat(jail(path), out); }
static int jailed_unlink(const char *path) { return unlink(jail(path)); }
static int jailed_rename(const char *from, const char *to) {
  char kept[sizeof jailed];
  memcpy(kept, jail(from), sizeof kept);
  return rename(kept, jail(to));
}

TEST(save_into_the_root_and_the_working_directory) {
  static const char *const names[] = {"a"}, *const paths[] = {"/m.safetensors", "m.safetensors"};
  lurn__sys sys = lurn__sys_real;
  sys.open = jailed_open;
  sys.lstat = jailed_lstat;
  sys.rename = jailed_rename;
  sys.unlink = jailed_unlink;
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_UINT8, 0, NULL);
  jailed_directories = 0;
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(lurn__save_with(ctx, &sys, paths[i], names, &t, 1, NULL, 0), LURN_OK);
    CHECK_EQ(read_all(ctx, &lurn__sys_real), LURN_OK);
    CHECK_EQ(jailed_directories, i + 1);
    CHECK_EQ(count_files(true), 1);
  }
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(save_refuses_a_link_to_nothing) {
  static const char *const names[] = {"a"};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_UINT8, 0, NULL);
  CHECK(symlink("nothing", place.path) == 0);
  CHECK_EQ(lurn_save(ctx, place.path, names, &t, 1, NULL, 0), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), "m.safetensors: A symbolic link that leads to no file");
  CHECK_EQ(count_files(false), 1);
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}
