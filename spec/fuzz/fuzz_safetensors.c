/* engine/io/safetensors: any bytes are read as a file.  What is refused is refused with a text and in little memory; what is taken is
 * consistent, and comes back the same when it is saved and read again. */
#include "core/tensor.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "memory_sys.h"
#include "reference_json.h"

static metered meter;
static lurn_ctx *ctx;

enum { NAME_LIMIT = 512 }; /* tensors looked at in a file */

/* ---- What must hold for a file that was taken -------------------------------------------------------------- */

/* Every byte of the data belongs to one tensor. */
static void check_cover(const lurn_archive *archive) {
  uint8_t *owners = calloc(archive->data_bytes + 1, 1);
  REQUIRE(owners != NULL);
  for (int64_t i = 0; i < archive->n_entries; i++) {
    const lurn__entry *e = &archive->entries[i];
    REQUIRE(e->begin <= e->end && e->end <= archive->data_bytes);
    for (uint64_t k = e->begin; k < e->end; k++) owners[k]++;
  }
  for (uint64_t k = 0; k < archive->data_bytes; k++) REQUIRE(owners[k] == 1);
  free(owners);
}

static void check_entry(const lurn_archive *archive, int64_t i) {
  const lurn__entry *e = &archive->entries[i];
  unsigned __int128 numel = 1;
  REQUIRE(lurn_archive_name(archive, i) == e->name && lurn__utf8_valid(e->name, strlen(e->name)));
  REQUIRE(strcmp(e->name, LURN__METADATA_KEY) != 0);
  REQUIRE(lurn_archive_find(archive, e->name) == i); /* so no two are named alike */
  REQUIRE(e->ndim >= 0 && e->ndim <= LURN_MAX_DIMS && lurn_archive_ndim(archive, i) == e->ndim);
  for (int d = 0; d < e->ndim; d++) {
    REQUIRE(e->shape[d] >= 0);
    if (e->shape[d] == 0) numel = 0;
    else numel *= (unsigned __int128)e->shape[d];
  }
  REQUIRE(numel * e->type->bytes == e->end - e->begin);
}

static void check_metadata(const lurn_archive *archive) {
  int64_t n = lurn_archive_metadata_count(archive);
  for (int64_t i = 0; i < n; i++) {
    const char *key = lurn_archive_metadata_key(archive, i), *value = lurn_archive_metadata_value(archive, i);
    REQUIRE(lurn__utf8_valid(key, strlen(key)) && lurn__utf8_valid(value, strlen(value)));
    for (int64_t k = 0; k < i && k < NAME_LIMIT; k++) REQUIRE(strcmp(key, lurn_archive_metadata_key(archive, k)) != 0);
  }
}

/* Reads one tensor; NULL where the engine has no such dtype or a BOOL is neither 0 nor 1. */
static lurn_tensor *read_tensor(lurn_archive *archive, int64_t i, const uint8_t *data) {
  const lurn__entry *e = &archive->entries[i];
  const uint8_t *stored = data + archive->data_start + e->begin;
  size_t bytes = (size_t)(e->end - e->begin);
  bool bools = true;
  for (size_t k = 0; k < bytes && e->type->dtype == LURN_BOOL; k++) bools = bools && stored[k] <= 1;
  lurn_tensor *t = NULL;
  lurn_status status = lurn_archive_tensor(archive, i, &t);
  REQUIRE(status == (e->type->stored == LURN__AS_NOTHING ? LURN_EDTYPE : bools ? LURN_OK : LURN_EFORMAT));
  if (status != LURN_OK) {
    REQUIRE(t == NULL && strncmp(lurn_error(ctx), "file: ", 6) == 0);
    return NULL;
  }
  REQUIRE(t->dtype == e->type->dtype && t->shape.ndim == e->ndim);
  for (int d = 0; d < e->ndim; d++) REQUIRE(t->shape.size[d] == e->shape[d]);
  if (e->type->stored == LURN__AS_IS && bytes > 0) REQUIRE(memcmp(lurn_tensor_data(t), stored, bytes) == 0);
  return t;
}

/* ---- Saving what was read ---------------------------------------------------------------------------------- */

typedef struct contents {
  const char *names[NAME_LIMIT], *metadata[2 * NAME_LIMIT];
  lurn_tensor *tensors[NAME_LIMIT];
  int64_t n, n_metadata;
} contents;

static lurn_archive *open_saved(const contents *c) {
  memory.renamed = memory.synced = 0;
  REQUIRE(lurn__save_with(ctx, &memory_sys, "file", c->names, c->tensors, c->n, c->metadata, c->n_metadata) == LURN_OK);
  REQUIRE(memory.renamed == 1 && memory.synced == 1);
  lurn_archive *archive = NULL;
  REQUIRE(lurn_archive_open_memory(ctx, "file", memory.saved, memory.saved_bytes, &archive) == LURN_OK);
  REQUIRE(lurn_archive_count(archive) == c->n && lurn_archive_metadata_count(archive) == c->n_metadata);
  return archive;
}

static void check_same(const lurn_tensor *a, const lurn_tensor *b) {
  REQUIRE(a->dtype == b->dtype && lurn__shape_equal(&a->shape, &b->shape));
  size_t bytes = (size_t)lurn__numel(a) * lurn__tensor_width(a);
  if (bytes > 0) REQUIRE(memcmp(lurn__tensor_ptr(a), lurn__tensor_ptr(b), bytes) == 0);
}

/* Saved and read again everything is the same, and saving that gives the same bytes. */
static void check_round_trip(const contents *c) {
  static contents again;
  lurn_archive *archive = open_saved(c);
  size_t bytes = memory.saved_bytes;
  uint8_t *saved = malloc(bytes);
  REQUIRE(saved != NULL);
  memcpy(saved, memory.saved, bytes);
  again.n = c->n;
  again.n_metadata = c->n_metadata;
  for (int64_t i = 0; i < c->n; i++) {
    again.names[i] = lurn_archive_name(archive, i);
    REQUIRE(strcmp(again.names[i], c->names[i]) == 0);
    REQUIRE(archive->entries[i].begin % archive->entries[i].type->bytes == 0 && archive->data_start % 8 == 0);
    again.tensors[i] = read_tensor(archive, i, saved);
    check_same(c->tensors[i], again.tensors[i]);
  }
  for (int64_t i = 0; i < c->n_metadata; i++) {
    again.metadata[2 * i] = lurn_archive_metadata_key(archive, i);
    again.metadata[2 * i + 1] = lurn_archive_metadata_value(archive, i);
    for (int64_t k = 2 * i; k < 2 * i + 2; k++) REQUIRE(strcmp(again.metadata[k], c->metadata[k]) == 0);
  }
  lurn_archive_close(open_saved(&again));
  REQUIRE(memory.saved_bytes == bytes && memcmp(memory.saved, saved, bytes) == 0);
  for (int64_t i = 0; i < again.n; i++) lurn_release(again.tensors[i]);
  lurn_archive_close(archive);
  free(saved);
}

/* ---- One file ---------------------------------------------------------------------------------------------- */

static void check_taken(lurn_archive *archive, const uint8_t *data) {
  static contents c;
  events said = {0};
  REQUIRE(reference_accepts(data + 8, (size_t)archive->data_start - 8, &said));
  free(said.p);
  check_cover(archive);
  check_metadata(archive);
  c.n = 0;
  for (int64_t i = 0; i < lurn_archive_count(archive); i++) {
    check_entry(archive, i);
    lurn_tensor *t = read_tensor(archive, i, data);
    /* A tensor without a name can be read, but not saved. */
    if (t == NULL || lurn_archive_name(archive, i)[0] == '\0' || c.n == NAME_LIMIT) {
      lurn_release(t);
      continue;
    }
    c.names[c.n] = lurn_archive_name(archive, i);
    c.tensors[c.n++] = t;
  }
  c.n_metadata = lurn_archive_metadata_count(archive) < NAME_LIMIT ? lurn_archive_metadata_count(archive) : NAME_LIMIT;
  for (int64_t i = 0; i < c.n_metadata; i++) {
    c.metadata[2 * i] = lurn_archive_metadata_key(archive, i);
    c.metadata[2 * i + 1] = lurn_archive_metadata_value(archive, i);
  }
  check_round_trip(&c);
  for (int64_t i = 0; i < c.n; i++) lurn_release(c.tensors[i]);
}

/* The archive itself, the path and the pool's rounding of both: little beside the megabyte that is promised. */
enum { SLACK = 1024 };

/* Opens; a refusal has a text that names the file, leaves nothing, and took no more memory than the file has bytes. */
static lurn_archive *open_bytes(const uint8_t *data, size_t size, bool as_file) {
  lurn_archive *archive = NULL;
  size_t before = meter.now;
  memory.data = data;
  memory.size = size;
  meter.most = meter.now;
  lurn_status status = as_file ? lurn__archive_open_with(ctx, &memory_sys, "file", &archive)
                               : lurn_archive_open_memory(ctx, "file", data, size, &archive);
  if (status == LURN_OK) return archive;
  REQUIRE(status == LURN_EFORMAT && archive == NULL && strncmp(lurn_error(ctx), "file: ", 6) == 0);
  REQUIRE(meter.now == before && meter.most <= before + size + SLACK);
  return NULL;
}

/* From the file and from memory: the same answer in the same words. */
static void check_twin(const lurn_archive *archive, const uint8_t *data, size_t size) {
  char refusal[1024];
  snprintf(refusal, sizeof refusal, "%s", archive == NULL ? lurn_error(ctx) : "");
  lurn_archive *twin = open_bytes(data, size, false);
  REQUIRE((archive == NULL) == (twin == NULL));
  if (archive == NULL) REQUIRE(strcmp(refusal, lurn_error(ctx)) == 0);
  lurn_archive_close(twin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (ctx == NULL) ctx = metered_ctx(&meter);
  size_t live = meter.now;
  uint32_t state = (uint32_t)size;
  for (size_t i = 0; i < size; i++) state = state * 31 + data[i];
  lurn_archive *archive = open_bytes(data, size, true);
  if (draw(&state, 8) == 0) check_twin(archive, data, size);
  if (archive != NULL) {
    check_taken(archive, data);
    /* A sound file cut anywhere is not one. */
    REQUIRE(open_bytes(data, draw(&state, (uint32_t)size), false) == NULL);
  }
  lurn_archive_close(archive);
  REQUIRE(meter.now == live && memory.open == 0);
  return 0;
}

/* ---- Inputs ------------------------------------------------------------------------------------------------ */

/* Mutation knows the file's parts: it changes header or data and keeps the length before the header in step. */
enum { PART = 1 << 16 };

typedef struct parts {
  uint8_t header[PART + 1], data[PART];
  size_t header_bytes, data_bytes;
} parts;

static void take_apart(const uint8_t *data, size_t size, parts *out) {
  uint64_t length = 0;
  for (int i = 7; i >= 0; i--) length = length << 8 | data[i];
  size_t rest = size - 8;
  out->header_bytes = length < rest ? (size_t)length : rest;
  out->data_bytes = rest - out->header_bytes;
  memcpy(out->header, data + 8, out->header_bytes);
  memcpy(out->data, data + 8 + out->header_bytes, out->data_bytes);
}

static size_t put_together(const parts *p, uint8_t *out, size_t max_size) {
  if (8 + p->header_bytes > max_size) return 0;
  size_t room = max_size - 8 - p->header_bytes, data_bytes = p->data_bytes < room ? p->data_bytes : room;
  for (int i = 0; i < 8; i++) out[i] = (uint8_t)((uint64_t)p->header_bytes >> 8 * i);
  memcpy(out + 8, p->header, p->header_bytes);
  memcpy(out + 8 + p->header_bytes, p->data, data_bytes);
  return 8 + p->header_bytes + data_bytes;
}

/* The largest end of all data_offsets. */
static size_t data_end(parts *p) {
  static const char key[] = "\"data_offsets\":[";
  size_t end = 0;
  p->header[p->header_bytes] = '\0';
  for (const char *at = (const char *)p->header; (at = strstr(at, key)) != NULL;) {
    unsigned long long begin, value;
    at += sizeof key - 1;
    if (sscanf(at, "%15llu,%15llu", &begin, &value) == 2 && value < PART && value > end) end = (size_t)value;
  }
  return end;
}

/* As many bytes of data as the tensors need; new ones are 0 and 1, which every dtype bears. */
static void fit_data(parts *p) {
  size_t end = data_end(p);
  for (size_t i = p->data_bytes; i < end; i++) p->data[i] = i % 2;
  p->data_bytes = end;
}

static void set_text(parts *p, size_t at, size_t cut, const char *text, size_t max_size) {
  p->header_bytes = replace(p->header, p->header_bytes, max_size, at, cut, text, strlen(text));
}

static void add_tensor(parts *p, uint32_t *state, size_t max_size) {
  static const char *const types[] = {"F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "I16"};
  static const int widths[] = {8, 4, 2, 2, 8, 4, 1, 1, 2};
  char text[160];
  size_t begin = data_end(p);
  uint32_t type = draw(state, 9), rows = draw(state, 4), columns = draw(state, 4);
  snprintf(text, sizeof text, "\"t%u\":{\"dtype\":\"%s\",\"shape\":[%u,%u],\"data_offsets\":[%zu,%zu]},",
           draw(state, 30), types[type], rows, columns, begin, begin + (size_t)widths[type] * rows * columns);
  if (p->header_bytes > 2) set_text(p, 1, 0, text, max_size);
}

static void change_number(parts *p, uint32_t *state, size_t max_size) {
  size_t from = draw(state, (uint32_t)p->header_bytes + 1), n = 0;
  while (from < p->header_bytes && (p->header[from] < '0' || p->header[from] > '9')) from++;
  unsigned long long value = 0;
  for (; from + n < p->header_bytes && p->header[from + n] >= '0' && p->header[from + n] <= '9'; n++)
    value = value * 10 + (p->header[from + n] - '0');
  static const unsigned long long others[] = {0, 1, 8, 1ull << 31, 1ull << 61, INT64_MAX, 1ull << 63, UINT64_MAX};
  uint32_t how = draw(state, 12);
  value = how < 8 ? others[how] : how < 10 ? value + 1 : value - 1;
  char text[24];
  snprintf(text, sizeof text, "%llu", value);
  if (n > 0) set_text(p, from, n, text, max_size);
}

static const char *const tokens[] = {"\"__metadata__\":{\"k\":\"v\"},",
                                     "\"__metadata__\":{},",
                                     "\"dtype\":\"F16\",",
                                     "\"shape\":[]",
                                     "\"shape\":[0]",
                                     "\"shape\":[1,1,1,1,1,1,1,1]",
                                     "\"data_offsets\":[0,0]",
                                     "F64",
                                     "F32",
                                     "F16",
                                     "BF16",
                                     "I64",
                                     "I32",
                                     "U8",
                                     "BOOL",
                                     "I16",
                                     "C64",
                                     "F8_E4M3",
                                     "\"a\":",
                                     "\"b\":\"c\",",
                                     "{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "\"",
                                     " ",
                                     "0",
                                     "1",
                                     "\\u0000",
                                     "\\u0061",
                                     "\\ud834\\udd1e",
                                     "\xC3\xA9"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  static parts p;
  uint32_t state = seed;
  if (size < 10 || max_size > PART || draw(&state, 8) == 0) return LLVMFuzzerMutate(data, size, max_size);
  size_t room = max_size - 8;
  take_apart(data, size, &p);
  for (uint32_t n = 1 + draw(&state, 3); n > 0; n--) switch (draw(&state, 6)) {
      case 0: p.header_bytes = LLVMFuzzerMutate(p.header, p.header_bytes, room); break;
      case 1: p.data_bytes = LLVMFuzzerMutate(p.data, p.data_bytes, room); break;
      case 2: add_tensor(&p, &state, room); break;
      case 3: change_number(&p, &state, room); break;
      default:
        p.header_bytes = mutate_text(p.header, p.header_bytes, room, &state, tokens, sizeof tokens / sizeof *tokens);
    }
  if (draw(&state, 4) > 0) fit_data(&p);
  size_t made = put_together(&p, data, max_size);
  return made > 0 ? made : size;
}

/* Files as lurn_save makes them: every dtype in several shapes, with and without metadata. */
static void write_saved(const char *directory, int number, lurn_dtype dtype, int64_t n) {
  static const char *const names[] = {"0.weight", "b\n\"", "\xC3\xA9\xF0\x9D\x84\x9E", "scalar"};
  static const char *const metadata[] = {"format", "pt", "note", "two\nlines"};
  static const int ndims[] = {2, 1, 8, 0};
  static const int64_t shapes[][LURN_MAX_DIMS] = {{2, 3}, {0}, {1, 2, 1, 1, 1, 3, 1, 1}, {0}};
  lurn_tensor *tensors[4] = {NULL};
  for (int64_t i = 0; i < n; i++) {
    REQUIRE(lurn_empty(ctx, dtype, ndims[i], shapes[i], &tensors[i]) == LURN_OK);
    memset(lurn_tensor_data(tensors[i]), 1, (size_t)lurn_tensor_numel(tensors[i]) * lurn_dtype_size(dtype));
  }
  REQUIRE(lurn__save_with(ctx, &memory_sys, "file", names, tensors, n, metadata, n % 3) == LURN_OK);
  write_seed(directory, lurn_dtype_name(dtype), number, memory.saved, memory.saved_bytes);
  for (int64_t i = 0; i < n; i++) lurn_release(tensors[i]);
}

/* Files as others make them. */
static void write_foreign(const char *directory) {
  static const char *const headers[] = {
      "{}",
      "{ } ",
      "{\"__metadata__\":{\"k\":\"v\",\"\":\"\",\"\\u00e9\\ud834\\udd1e\":\"\\u000a\"}}",
      "{\"a\":{\"shape\":[2],\"data_offsets\":[2,6],\"d\\u0074ype\":\"I16\"},\n\t\"\":{\"dtype\":\"U8\", "
      "\"shape\":[0,3],\"data_offsets\":[2,2]},\"z\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[0,2]}}",
      "{\"h\":{\"dtype\":\"F16\",\"shape\":[3,1],\"data_offsets\":[0,6]},\"__metadata__\":{\"a\":\"\"},"
      "\"c\":{\"dtype\":\"C64\",\"shape\":[],\"data_offsets\":[6,14]}}",
      "{\"e\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,2],\"data_offsets\":[0,2]}}",
  };
  static parts p;
  uint8_t file[1024];
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    p.header_bytes = strlen(headers[i]);
    p.data_bytes = 0;
    memcpy(p.header, headers[i], p.header_bytes);
    fit_data(&p);
    size_t bytes = put_together(&p, file, sizeof file);
    REQUIRE(LLVMFuzzerTestOneInput(file, bytes) == 0);
    write_seed(directory, "foreign", (int)i, file, bytes);
  }
}

static void write_seeds(const char *directory) {
  ctx = metered_ctx(&meter);
  for (int dtype = 0; dtype < LURN_DTYPE_COUNT; dtype++)
    for (int64_t n = 0; n <= 4; n++) write_saved(directory, (int)n, (lurn_dtype)dtype, n);
  write_foreign(directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  seeds_asked(*argc, *argv, write_seeds);
  return 0;
}
