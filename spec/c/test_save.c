/* engine/io: lurn_save against the world; memory failing in turn. */
#include "faulty.h"
#include "io/sort.h"

TEST(save_cannot_write_there) {
  static const char *const names[] = {"a"};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_UINT8, 0, NULL);
  char path[PATH_SIZE + 32], expected[PATH_SIZE + 96];
  snprintf(path, sizeof path, "%s/no/m", place.directory);
  CHECK_EQ(lurn_save(ctx, path, names, &t, 1, NULL, 0), LURN_EIO);
  snprintf(expected, sizeof expected, "cannot write %s: No such file or directory", path);
  CHECK_STR(lurn_error(ctx), expected);
  CHECK_EQ(lurn_save(ctx, "", names, &t, 1, NULL, 0), LURN_EIO);
  CHECK_EQ(lurn_save(ctx, place.directory, names, &t, 1, NULL, 0), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), ": Is a directory");
  CHECK(mkfifo(place.path, 0600) == 0);
  CHECK_EQ(lurn_save(ctx, place.path, names, &t, 1, NULL, 0), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), ": Not a regular file");
  CHECK_EQ(lurn_save(ctx, "/dev/null", names, &t, 1, NULL, 0), LURN_EIO);
  CHECK_EQ(count_files(false), 1);
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}

/* A file of that path is asked for by saving and by loading; whether both end with the same path and reason. */
static bool both_say(lurn_ctx *ctx, const char *path, const char *expected) {
  char text[1024];
  lurn_archive *archive = NULL;
  CHECK_EQ(lurn_save(ctx, path, NULL, NULL, 0, NULL, 0), LURN_EIO);
  snprintf(text, sizeof text, "cannot write %s", expected);
  bool right = CHECK_STR(lurn_error(ctx), text);
  CHECK_EQ(lurn_archive_open(ctx, path, &archive), LURN_EIO);
  snprintf(text, sizeof text, "cannot read %s", expected);
  return CHECK_STR(lurn_error(ctx), text) && right;
}

/* Text of n times a piece of at most three bytes, on the heap. */
static char *repeat(const char *piece, size_t n) {
  size_t bytes = strlen(piece);
  char *text = malloc(n * bytes + 1);
  if (text == NULL) abort();
  for (size_t i = 0; i < n; i++) memcpy(text + i * bytes, piece, bytes);
  text[n * bytes] = '\0';
  return text;
}

/* Messages lose the middle of a long path, between two characters, and keep the reason. */
TEST(messages_shorten_long_paths) {
  static const struct {
    const char *piece;
    size_t n, kept;
  } cases[] = {{"a", 511, 511},       {"a", 512, 254},      {"a", 5000, 254},
               {"\u00e9", 1000, 127}, {"\u20ac", 3000, 84}, {"\x80", 1000, 251 /* not UTF-8 */}};
  lurn_ctx *ctx = new_ctx();
  both_say(ctx, "", "\"\": No such file or directory");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *path = repeat(cases[i].piece, cases[i].n), *part = repeat(cases[i].piece, cases[i].kept), expected[1024];
    bool whole = cases[i].kept == cases[i].n;
    snprintf(expected, sizeof expected, "%s%s%s: File name too long", part, whole ? "" : "...", whole ? "" : part);
    CHECK(both_say(ctx, path, expected));
    free(part);
    free(path);
  }
  lurn_ctx_free(ctx);
}

/* Also in what an archive says later. */
TEST(archives_shorten_long_names) {
  lurn_ctx *ctx = new_ctx();
  lurn_archive *archive = NULL;
  lurn_tensor *t = NULL;
  char *name = repeat("a", 5000), *part = repeat("a", 254), expected[1024];
  CHECK_EQ(lurn_archive_open_memory(ctx, name, "hello", 5, &archive), LURN_EFORMAT);
  snprintf(expected, sizeof expected, "%s...%s: 5 bytes are too few for a safetensors file", part, part);
  CHECK_STR(lurn_error(ctx), expected);
  CHECK_EQ(lurn_archive_open_memory(ctx, name, "\2\0\0\0\0\0\0\0{}", 10, &archive), LURN_OK);
  CHECK_EQ(lurn_archive_tensor(archive, 3, &t), LURN_EINDEX);
  snprintf(expected, sizeof expected, "%s...%s: tensor number 3 of 0", part, part);
  CHECK_STR(lurn_error(ctx), expected);
  lurn_archive_close(archive);
  free(part);
  free(name);
  lurn_ctx_free(ctx);
}

TEST(save_checks_its_arguments) {
  static const struct {
    const char *names[2], *metadata[4], *message;
  } faults[] = {
      {{"a", ""}, {"", "", "k", ""}, "save: a tensor's name is empty"},
      {{"a", "__metadata__"}, {"", "", "k", ""}, "save: __metadata__ cannot be a tensor's name"},
      {{"a\n", "a\n"}, {"", "", "k", ""}, "save: two tensors are named \"a\\n\""},
      {{"a", "b\xFF"}, {"", "", "k", ""}, "save: name \"b?\" is not valid UTF-8"},
      {{"a", NULL}, {"", "", "k", ""}, "save: a name is missing"},
      {{"a", "b"}, {"k", "v", "k", "w"}, "save: two metadata values have the key \"k\""},
      {{"a", "b"}, {"\xC0", "v", "k", "w"}, "save: metadata key \"?\" is not valid UTF-8"},
      {{"a", "b"}, {"k", "\xED\xA0\x80", "l", "w"}, "save: metadata value \"???\" is not valid UTF-8"},
      {{"a", "b"}, {"k", NULL, "l", "w"}, "save: a metadata value is missing"},
  };
  enter_place();
  lurn_ctx *ctx = new_ctx(), *other = new_ctx();
  lurn_tensor *t[2] = {make(ctx, LURN_UINT8, 0, NULL), make(ctx, LURN_UINT8, 0, NULL)};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    CHECK_EQ(lurn_save(ctx, place.path, faults[i].names, t, 2, faults[i].metadata, 2), LURN_EVALUE);
    CHECK_STR(lurn_error(ctx), faults[i].message);
  }
  static const char *const names[] = {"a", "b"};
  lurn_tensor *gap[2] = {t[0], NULL}, *foreign[2] = {t[0], make(other, LURN_UINT8, 0, NULL)};
  CHECK_EQ(lurn_save(ctx, place.path, names, gap, 2, NULL, 0), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "save: tensor \"b\" is missing");
  CHECK_EQ(lurn_save(ctx, place.path, names, foreign, 2, NULL, 0), LURN_ESTATE);
  CHECK_STR(lurn_error(ctx), "save: tensor \"b\" belongs to another context");
  CHECK_EQ(lurn_save(ctx, place.path, names, t, -1, NULL, 0), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "save: -1 tensors; the format allows 0 to 100000000");
  CHECK_EQ(lurn_save(ctx, place.path, names, t, 2, NULL, LURN__HEADER_LIMIT + 1), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "save: 100000001 metadata entries; the format allows 0 to 100000000");
  lurn_tensor *huge[2] = {t[0], view(t[0], (lurn__shape){1, {INT64_MAX}}, (int64_t[]){0}, 0)};
  CHECK_EQ(lurn_save(ctx, place.path, names, huge, 2, NULL, 0), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "save: the tensors are larger than a file can be");
  static const char *const three[] = {"a", "b", "c"};
  lurn_tensor *sum[3] = {huge[1], huge[1], huge[1]};
  CHECK_EQ(lurn_save(ctx, place.path, three, sum, 3, NULL, 0), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "save: the tensors are larger than a file can be");
  CHECK_EQ(count_files(false), 0);
  release_all(t, 2);
  lurn_release(huge[1]);
  lurn_release(foreign[1]);
  lurn_ctx_free(other);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(save_keeps_to_the_limit_of_the_header) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  size_t n = LURN__HEADER_LIMIT / 6 + 1; /* each of these takes six bytes */
  char *value = malloc(n + 1);
  if (value == NULL) abort();
  memset(value, '\x01', n);
  value[n] = '\0';
  const char *metadata[] = {"k", value};
  CHECK_EQ(lurn_save(ctx, place.path, NULL, NULL, 0, metadata, 1), LURN_EVALUE);
  CHECK_STR(lurn_error(ctx), "save: names and metadata make a header of 100000032 bytes; the format allows 100000000");
  CHECK_EQ(count_files(false), 0);
  free(value);
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(save_keeps_mode_and_links) {
  static const char *const names[] = {"a"};
  enter_place();
  lurn_ctx *ctx = new_ctx();
  lurn_tensor *t = make(ctx, LURN_UINT8, 0, NULL);
  struct stat info;
  char link[PATH_SIZE + 32];
  mode_t mask = umask(027);
  CHECK_EQ(lurn_save(ctx, place.path, names, &t, 1, NULL, 0), LURN_OK);
  CHECK(stat(place.path, &info) == 0);
  CHECK_EQ(info.st_mode & 07777, 0640);
  CHECK(chmod(place.path, 0606) == 0);
  snprintf(link, sizeof link, "%s/link", place.directory);
  CHECK(symlink("m.safetensors", link) == 0);
  CHECK_EQ(lurn_save(ctx, link, names, &t, 1, NULL, 0), LURN_OK);
  CHECK(lstat(link, &info) == 0 && S_ISLNK(info.st_mode));
  CHECK(stat(place.path, &info) == 0);
  CHECK_EQ(info.st_mode & 07777, 0606);
  CHECK_EQ(read_all(ctx, &lurn__sys_real), LURN_OK);
  CHECK(unlink(place.path) == 0);
  CHECK_EQ(lurn_save(ctx, link, names, &t, 1, NULL, 0), LURN_EIO);
  CHECK_HAS(lurn_error(ctx), "/link: A symbolic link that leads to no file");
  CHECK_EQ(count_files(false), 1);
  umask(mask);
  lurn_release(t);
  lurn_ctx_free(ctx);
  leave_place();
}

/* ---- Memory failing in turn -------------------------------------------------------------------------------- */

/* Counts what is out and, once armed, refuses the allocation number `left`. */
typedef struct scarce {
  bool armed;
  int left;
  size_t out;
} scarce;

static void *scarce_alloc(void *ud, void *p, size_t old_size, size_t new_size) {
  scarce *s = ud;
  if (new_size > 0 && s->armed && s->left-- == 0) return NULL;
  s->out += new_size - (p != NULL ? old_size : 0);
  if (new_size > 0) return realloc(p, new_size);
  free(p);
  return NULL;
}

static lurn_ctx *scarce_ctx(scarce *s) {
  lurn_ctx *ctx = NULL;
  lurn_config config = {.alloc = scarce_alloc, .alloc_ud = s, .cache_limit = 1};
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

TEST(safetensors_every_allocation_fails) {
  static const int64_t shape[] = {50};
  enter_place();
  for (int reading = 0; reading < 2; reading++) {
    lurn_status status = LURN_ENOMEM;
    int tries = 0;
    for (; status != LURN_OK && tries < 100; tries++) {
      scarce s = {false, tries, 0};
      lurn_ctx *ctx = scarce_ctx(&s);
      lurn_tensor *t = make(ctx, LURN_FLOAT32, 1, shape);
      if (!reading) write_bytes("old", 3);
      s.armed = true;
      status = reading ? read_all(ctx, &lurn__sys_real) : save_two(ctx, &lurn__sys_real, t);
      if (status != LURN_OK) CHECK_EQ(status, LURN_ENOMEM);
      if (status != LURN_OK) CHECK_HAS(lurn_error(ctx), "out of memory");
      if (status != LURN_OK && !reading) CHECK(holds((const unsigned char *)"old", 3));
      CHECK_EQ(count_files(false), 1);
      lurn_release(t);
      lurn_ctx_free(ctx);
      CHECK_EQ(s.out, 0);
    }
    CHECK(tries > 5 && status == LURN_OK);
  }
  leave_place();
}

/* What only a big-endian machine calls. */
TEST(save_swaps_bytes) {
  char eights[] = "abcdefghABCDEFGH", fours[] = "abcdABCD", ones[] = "ab";
  lurn__swap_bytes(eights, 2, 8);
  lurn__swap_bytes(fours, 2, 4);
  lurn__swap_bytes(ones, 2, 1);
  CHECK_STR(eights, "hgfedcbaHGFEDCBA");
  CHECK_STR(fours, "dcbaDCBA");
  CHECK_STR(ones, "ab");
}

/* ---- Sorting ----------------------------------------------------------------------------------------------- */

static int compare_ints(const void *items, uint32_t a, uint32_t b) {
  const int *values = items;
  return values[a] < values[b] ? -1 : values[a] > values[b];
}

TEST(sort_orders_and_finds_twins) {
  int values[200];
  uint32_t order[200];
  for (uint32_t n = 0; n <= 200; n++) {
    int wrong = 0;
    for (uint32_t i = 0; i < n; i++) values[order[i] = i] = (int)((i * 7919 + n) % 211); /* all different */
    lurn__sort_order(order, n, compare_ints, values);
    for (uint32_t i = 1; i < n; i++) wrong += values[order[i - 1]] >= values[order[i]];
    CHECK_EQ(wrong, 0);
    CHECK_EQ(lurn__sort_twin(order, n, compare_ints, values), -1);
    if (n < 2) continue;
    values[n - 1] = values[n / 3];
    lurn__sort_order(order, n, compare_ints, values);
    int64_t twin = lurn__sort_twin(order, n, compare_ints, values);
    if (CHECK(twin > 0 && twin < (int64_t)n)) CHECK_EQ(values[order[twin]], values[n - 1]);
  }
}
