/* engine/io: how much memory opening a file takes, and files that are in memory. */
#include "counting.h"
#include "scratch.h"

/* ---- Headers that are nearly the whole file ---------------------------------------------------------------- */

typedef struct text {
  char *p;
  size_t used, room;
} text;

static void add(text *t, const char *piece) {
  size_t n = strlen(piece);
  if (t->used + n > t->room) {
    t->room = 2 * (t->used + n);
    t->p = realloc(t->p, t->room);
    if (t->p == NULL) abort();
  }
  memcpy(t->p + t->used, piece, n);
  t->used += n;
}

enum { CASES = 5, ITEMS = 300000 };

/* Each kind is the shortest text for what an index has to hold: tensors, sizes, pairs, characters. */
static void add_item(text *t, int kind, int i) {
  char piece[256];
  static const char *const forms[CASES] = {
      "\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
      "\"%x\":{\"dtype\":\"U8\",\"shape\":[0,1,1,1,1,1,1,1],\"data_offsets\":[0,0]}",
      "\"%x\":\"\"",
      "\"%x\":\"\\u00e9\"",
      "\"%x\":{\"data_offsets\":[0,0],\"shape\":[9223372036854775807,0],\"dtype\":\"BOOL\"}",
  };
  snprintf(piece, sizeof piece, forms[kind], (unsigned)i);
  if (i > 0) add(t, ",");
  add(t, piece);
}

/* twin: the last name comes twice, which is the last thing that can be found wrong. */
static text header_of(int kind, int n, bool twin) {
  text t = {0};
  bool pairs = kind == 2 || kind == 3;
  add(&t, pairs ? "{\"__metadata__\":{" : "{");
  for (int i = 0; i < n; i++) add_item(&t, kind, i);
  if (twin) {
    add(&t, ",");
    char piece[2] = "";
    size_t from = t.used - 1;
    /* The last item again, without the comma that came before it. */
    while (from-- > 0 && !(t.p[from] == ',' && t.p[from + 1] == '"' && (pairs || t.p[from - 1] == '}'))) continue;
    for (size_t i = from + 1, end = t.used - 1; i < end; i++) add(&t, (piece[0] = t.p[i], piece));
  }
  add(&t, pairs ? "}}" : "}");
  return t;
}

/* An allocator that remembers the most that was out. */
typedef struct peak {
  size_t now, most;
} peak;

static void *peak_alloc(void *ud, void *p, size_t old_size, size_t new_size) {
  peak *m = ud;
  m->now += new_size - (p != NULL ? old_size : 0);
  if (m->now > m->most) m->most = m->now;
  if (new_size > 0) return realloc(p, new_size);
  free(p);
  return NULL;
}

static lurn_ctx *peak_ctx(peak *m) {
  lurn_config config = {.alloc = peak_alloc, .alloc_ud = m};
  lurn_ctx *ctx = NULL;
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

/* A file that turns out to be wrong at the very end took no more than its size and a megabyte. */
TEST(checking_takes_no_more_than_the_file) {
  static const char *const messages[CASES] = {"comes twice", "comes twice", "comes twice", "comes twice",
                                              "larger than"};
  enter_place();
  for (int kind = 0; kind < CASES; kind++) {
    peak m = {0};
    lurn_ctx *ctx = peak_ctx(&m);
    text t = header_of(kind, ITEMS, true);
    write_parts(t.p, t.used, NULL, 0);
    size_t before = m.now;
    lurn_archive *archive = NULL;
    m.most = m.now;
    CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_EFORMAT);
    CHECK_HAS(lurn_error(ctx), messages[kind]);
    if (!CHECK(m.most - before <= 8 + t.used + (1 << 20)))
      printf("     kind %d: a file of %zu bytes, %zu bytes taken\n", kind, 8 + t.used, m.most - before);
    lurn_ctx_free(ctx);
    CHECK_EQ(m.now, 0);
    free(t.p);
  }
  leave_place();
}

/* What is kept of a sound file grows with its header and with nothing else. */
TEST(an_open_file_takes_a_few_times_its_header) {
  enter_place();
  for (int kind = 0; kind < CASES - 1; kind++) {
    peak m = {0};
    lurn_ctx *ctx = peak_ctx(&m);
    text t = header_of(kind, ITEMS, false);
    write_parts(t.p, t.used, NULL, 0);
    size_t before = m.now;
    lurn_archive *archive = NULL;
    m.most = m.now;
    if (CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK)) {
      bool pairs = kind == 2 || kind == 3;
      CHECK_EQ(lurn_archive_count(archive), pairs ? 0 : ITEMS);
      CHECK_EQ(lurn_archive_metadata_count(archive), pairs ? ITEMS : 0);
      CHECK_EQ(lurn_archive_find(archive, "493df"), pairs ? -1 : 0x493df);
    } else printf("     %s\n", lurn_error(ctx));
    CHECK(m.most - before <= 3 * t.used + (1 << 20));
    lurn_archive_close(archive);
    lurn_ctx_free(ctx);
    CHECK_EQ(m.now, 0);
    free(t.p);
  }
  leave_place();
}

/* The header's memory goes back to the host: its size is like no other's. */
TEST(a_closed_file_leaves_no_header_in_the_cache) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  text t = header_of(2, ITEMS, false);
  write_parts(t.p, t.used, NULL, 0);
  lurn_archive *archive = NULL;
  CHECK_EQ(lurn_archive_open(ctx, place.path, &archive), LURN_OK);
  CHECK(lurn_memory_live(ctx) >= t.used);
  lurn_archive_close(archive);
  CHECK_EQ(lurn_memory_live(ctx), 0);
  CHECK(lurn_memory_held(ctx) < 4096);
  free(t.p);
  lurn_ctx_free(ctx);
  leave_place();
}

/* ---- Records ----------------------------------------------------------------------------------------------- */

/* Metadata before, between and after the tensors; sizes of one to nine groups of bits; escapes that shrink. */
TEST(records_hold_what_the_text_said) {
  static const char *const headers[] = {
      "{\"__metadata__\":{\"k\":\"v\",\"a\":\"\"},%s,%s}",
      "{%s,\"__metadata__\":{\"k\":\"v\",\"a\":\"\"},%s}",
      "{%s,%s,\"__metadata__\":{\"k\":\"v\",\"a\":\"\"}}",
  };
  static const char first[] =
      "\"\\u0062\\u00e9\":{\"dtype\":\"U8\",\"shape\":[1,127,0,128,16383,16384],\"data_offsets\":[2,2]}";
  static const char second[] = "\"a\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}";
  static const int64_t shape[] = {1, 127, 0, 128, 16383, 16384};
  lurn_ctx *ctx = new_ctx();
  for (int i = 0; i < 3; i++) {
    unsigned char file[512] = {0};
    int n = snprintf((char *)file + 8, sizeof file - 8, headers[i], first, second);
    file[0] = (unsigned char)n, file[1] = (unsigned char)(n >> 8);
    lurn_archive *archive = NULL;
    if (!CHECK_EQ(lurn_archive_open_memory(ctx, "m", file, (size_t)n + 10, &archive), LURN_OK)) {
      printf("     %s\n", lurn_error(ctx));
      continue;
    }
    CHECK_EQ(lurn_archive_count(archive), 2);
    CHECK_STR(lurn_archive_name(archive, 0), "b\xC3\xA9");
    CHECK_STR(lurn_archive_dtype(archive, 1), "BF16");
    CHECK_EQ(lurn_archive_ndim(archive, 0), 6);
    CHECK(memcmp(lurn_archive_shape(archive, 0), shape, sizeof shape) == 0);
    CHECK_EQ(lurn_archive_shape(archive, 1)[0], 1);
    CHECK_EQ(lurn_archive_find(archive, "a"), 1);
    CHECK_EQ(lurn_archive_find(archive, "b\xC3\xA9"), 0);
    CHECK_EQ(lurn_archive_metadata_count(archive), 2);
    CHECK_STR(lurn_archive_metadata_key(archive, 0), "k");
    CHECK_STR(lurn_archive_metadata_value(archive, 0), "v");
    CHECK_STR(lurn_archive_metadata_key(archive, 1), "a");
    CHECK_STR(lurn_archive_metadata_value(archive, 1), "");
    lurn_archive_close(archive);
  }
  lurn_ctx_free(ctx);
}

/* Sorting reads no name for where its tensor lies: every comparison with the long one would go through all of it. */
TEST(a_long_name_among_many) {
  enum { LONG = 16 << 20 };
  char *name = malloc(LONG + 1);
  if (name == NULL) abort();
  memset(name, 'g', LONG);
  name[LONG] = '\0';
  text t = {0};
  add(&t, "12345678{\"");
  add(&t, name);
  add(&t, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
  for (int i = 1; i <= ITEMS; i++) {
    char piece[256];
    snprintf(piece, sizeof piece, ",\"%x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", (unsigned)i,
             i - 1, i);
    add(&t, piece);
  }
  add(&t, "}");
  for (int i = 0; i < 8; i++) t.p[i] = (char)((uint64_t)(t.used - 8) >> 8 * i);
  for (int i = 0; i < ITEMS; i += 100)
    add(&t, "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789");
  lurn_ctx *ctx = new_ctx();
  lurn_archive *archive = NULL;
  if (CHECK_EQ(lurn_archive_open_memory(ctx, "m", t.p, t.used, &archive), LURN_OK)) {
    CHECK_EQ(lurn_archive_count(archive), ITEMS + 1);
    CHECK_STR(lurn_archive_name(archive, 0), name);
    CHECK_EQ(lurn_archive_find(archive, name), 0);
    CHECK_EQ(lurn_archive_find(archive, "493df"), 0x493df);
  } else printf("     %s\n", lurn_error(ctx));
  lurn_archive_close(archive);
  lurn_ctx_free(ctx);
  free(t.p);
  free(name);
}

/* ---- Files in memory --------------------------------------------------------------------------------------- */

TEST(memory_reads_as_the_file_does) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  size_t n;
  unsigned char *sound = sound_file(ctx, &n), *odd = malloc(n + 1);
  memcpy(odd + 1, sound, n);
  lurn_archive *file = NULL, *memory = NULL;
  CHECK_EQ(lurn_archive_open(ctx, place.path, &file), LURN_OK);
  if (CHECK_EQ(lurn_archive_open_memory(ctx, "m", odd + 1, n, &memory), LURN_OK)) {
    CHECK_EQ(lurn_archive_count(memory), lurn_archive_count(file));
    for (int64_t i = 0; i < lurn_archive_count(file); i++) {
      lurn_tensor *a = NULL, *b = NULL;
      CHECK_STR(lurn_archive_name(memory, i), lurn_archive_name(file, i));
      CHECK_EQ(lurn_archive_tensor(file, i, &a), LURN_OK);
      CHECK_EQ(lurn_archive_tensor(memory, i, &b), LURN_OK);
      CHECK_EQ(lurn_tensor_numel(a), lurn_tensor_numel(b));
      size_t bytes = (size_t)lurn_tensor_numel(a) * lurn__tensor_width(a);
      CHECK(bytes == 0 || memcmp(lurn_tensor_data(a), lurn_tensor_data(b), bytes) == 0);
      lurn_release(a);
      lurn_release(b);
    }
  }
  lurn_archive_close(file);
  lurn_archive_close(memory);
  free(sound);
  free(odd);
  lurn_ctx_free(ctx);
  leave_place();
}

/* The bytes lie in a block of their exact size, so that a sanitizer sees reading past the end. */
static lurn_status open_copy(lurn_ctx *ctx, const unsigned char *p, size_t n) {
  unsigned char *copy = malloc(n > 0 ? n : 1);
  memcpy(copy, p, n);
  lurn_archive *archive = NULL;
  lurn_status status = lurn_archive_open_memory(ctx, "the host's bytes", copy, n, &archive);
  for (int64_t i = 0; status == LURN_OK && i < lurn_archive_count(archive); i++) {
    lurn_tensor *t = NULL;
    status = lurn_archive_tensor(archive, i, &t);
    lurn_release(t);
  }
  lurn_archive_close(archive);
  free(copy);
  return status;
}

TEST(memory_rejects_what_is_not_sound) {
  lurn_ctx *ctx = new_ctx();
  lurn_archive *archive = NULL;
  CHECK_EQ(lurn_archive_open_memory(ctx, "m", NULL, 0, &archive), LURN_EFORMAT);
  CHECK_STR(lurn_error(ctx), "m: 0 bytes are too few for a safetensors file");
  CHECK_EQ(lurn_archive_open_memory(ctx, "m", "\x03\0\0\0\0\0\0\0{}", 10, &archive), LURN_EFORMAT);
  CHECK_HAS(lurn_error(ctx), "m: the header should have 3 bytes, only 2 follow");
  CHECK(archive == NULL);
  lurn_ctx_free(ctx);
}

/* ---- Every truncation, every changed byte ------------------------------------------------------------------ */

static lurn_status save_tensors(lurn_ctx *ctx, lurn_tensor *const *tensors, int64_t n, int64_t n_metadata) {
  static const char *const names[] = {"0.weight", "\xC3\xA9\n", "c", "d", "e", "f"};
  static const char *const metadata[] = {"format", "pt", "\"", "\xF0\x9D\x84\x9E\\"};
  return lurn_save(ctx, place.path, names, tensors, n, metadata, n_metadata);
}

/* Files that differ in what they hold: nothing, metadata alone, one tensor, one of every dtype. */
static unsigned char *some_file(lurn_ctx *ctx, int kind, size_t *bytes) {
  static const int64_t shape[] = {2, 1, 3};
  lurn_tensor *t[LURN_DTYPE_COUNT] = {NULL};
  int64_t n = kind < 2 ? 0 : kind == 2 ? 1 : LURN_DTYPE_COUNT;
  for (int d = 0; d < n; d++) t[d] = make(ctx, (lurn_dtype)d, d % 4, shape);
  CHECK_EQ(save_tensors(ctx, t, n, kind % 3), LURN_OK);
  release_all(t, (int)n);
  return read_bytes(bytes);
}

TEST(every_truncation_of_several_files_is_rejected) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  for (int kind = 0; kind < 4; kind++) {
    size_t n;
    unsigned char *p = some_file(ctx, kind, &n);
    CHECK_EQ(open_copy(ctx, p, n), LURN_OK);
    for (size_t cut = 0; cut < n; cut++) {
      if (!CHECK_EQ(open_copy(ctx, p, cut), LURN_EFORMAT)) printf("     kind %d cut at %zu\n", kind, cut);
      CHECK(strncmp(lurn_error(ctx), "the host's bytes: ", 18) == 0);
    }
    free(p);
  }
  lurn_ctx_free(ctx);
  leave_place();
}

/* Any one byte of length and header set to any other value: refused with a text, or a file whose tensors fill the data. */
TEST(every_changed_byte_of_the_header) {
  enter_place();
  lurn_ctx *ctx = new_ctx();
  for (int kind = 0; kind < 4; kind++) {
    size_t n;
    unsigned char *p = some_file(ctx, kind, &n);
    size_t data_start = 8 + p[0] + ((size_t)p[1] << 8);
    int taken = 0, refused = 0, wrong = 0;
    for (size_t i = 0; i < data_start; i++) {
      unsigned char kept = p[i];
      for (int value = 0; value < 256; value++) {
        lurn_archive *archive = NULL;
        p[i] = (unsigned char)value;
        lurn_status status = lurn_archive_open_memory(ctx, "m", p, n, &archive);
        uint64_t held = 0;
        for (int64_t k = 0; archive != NULL && k < archive->n_entries; k++)
          held += archive->entries[k].end - archive->entries[k].begin;
        if (archive != NULL) held == n - data_start ? taken++ : wrong++;
        else if (status == LURN_EFORMAT && strncmp(lurn_error(ctx), "m: ", 3) == 0) refused++;
        else wrong++;
        lurn_archive_close(archive);
      }
      p[i] = kept;
    }
    CHECK_EQ(wrong, 0);
    CHECK(taken >= (int)data_start && refused > taken);
    CHECK_EQ(lurn_memory_live(ctx), 0);
    free(p);
  }
  lurn_ctx_free(ctx);
  leave_place();
}

TEST(memory_with_every_allocation_failing) {
  enter_place();
  counting c;
  lurn_ctx *ctx = new_ctx();
  size_t n;
  unsigned char *p = sound_file(ctx, &n);
  lurn_ctx_free(ctx);
  lurn_status status = LURN_ENOMEM;
  int tries = 0;
  for (; status != LURN_OK && tries < 100; tries++) {
    ctx = counted_ctx(&c, 1);
    c.fail_at = c.calls + tries + 1;
    status = open_copy(ctx, p, n);
    if (status != LURN_OK) CHECK_EQ(status, LURN_ENOMEM);
    CHECK_EQ(lurn_memory_live(ctx), 0);
    lurn_ctx_free(ctx);
    check_all_freed(&c);
  }
  CHECK(tries > 5 && status == LURN_OK);
  free(p);
  leave_place();
}
