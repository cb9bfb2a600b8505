/* What a header says, packed where its text stood.  A record is never longer than the text it was read from, so that a header is
 * checked in no more memory than the file has bytes; the index proper is made when all is known to be sound.
 *
 *     a tensor      struct fixed, name, zero, ndim sizes in groups of 7 bits
 *     metadata      key, zero, value, zero
 *
 * After the records follow, in what is left of the text, the offsets of the tensors and those of the keys, 4 bytes each: a tensor's
 * text is at least 49 bytes ("":{"dtype":"U8","shape":[],"data_offsets":[0,0]}), and n digits make at most n groups; around a key
 * and its value stand four quotes, a colon and a comma or brace.  An offset is that of the name or key, so that both are compared
 * alike; what else is sorted by stands before the name, since names may be long. */
#include <assert.h>
#include <string.h>

#include "io/safetensors_parse.h"
#include "io/sort.h"

typedef struct fixed {
  uint64_t begin, end;
  uint32_t number; /* in the order of the file */
  uint8_t type, ndim;
} fixed;

_Static_assert(1 + sizeof(fixed) + sizeof(uint32_t) <= 49, "a record fits into its text");

/* ---- Packing ----------------------------------------------------------------------------------------------- */

static lurn_status pack_text(lurn_archive *archive, const lurn__json_str *str) {
  char *text = archive->header + archive->packed;
  size_t bytes = lurn__json_decode(str, text, str->bytes);
  if (memchr(text, '\0', bytes) != NULL) {
    char shown[LURN__JSON_SHOW];
    return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: %s contains a zero character", archive->path,
                      lurn__json_show(text, bytes, shown));
  }
  text[bytes] = '\0';
  archive->packed += bytes + 1;
  return LURN_OK;
}

static char *put_size(char *p, int64_t size) {
  uint64_t rest = (uint64_t)size;
  for (; rest > 127; rest >>= 7) *p++ = (char)(128 | (rest & 127));
  *p++ = (char)rest;
  return p;
}

lurn_status lurn__pack_tensor(lurn_archive *archive, const lurn__json_str *name, const lurn__entry *e,
                              const lurn__shape *shape) {
  fixed f = {.begin = e->begin, .end = e->end, .number = (uint32_t)archive->n_entries, .ndim = (uint8_t)shape->ndim};
  f.type = (uint8_t)(e->type - lurn__file_types);
  char *start = archive->header + archive->packed;
  LURN__TRY(pack_text(archive, name));
  size_t name_bytes = (size_t)(archive->header + archive->packed - start);
  memmove(start + sizeof f, start, name_bytes); /* over text that was read */
  memcpy(start, &f, sizeof f);
  char *p = start + sizeof f + name_bytes;
  for (int i = 0; i < shape->ndim; i++) p = put_size(p, shape->size[i]);
  archive->packed = (size_t)(p - archive->header);
  archive->n_entries++;
  archive->n_sizes += shape->ndim;
  return LURN_OK;
}

lurn_status lurn__pack_pair(lurn_archive *archive, const lurn__json_str *key, const lurn__json_str *value) {
  if (archive->n_metadata == 0) archive->metadata_begin = archive->packed;
  LURN__TRY(pack_text(archive, key));
  LURN__TRY(pack_text(archive, value));
  archive->metadata_end = archive->packed;
  archive->n_metadata++;
  return LURN_OK;
}

/* ---- Reading the records ----------------------------------------------------------------------------------- */

static fixed fixed_of(const char *header, uint32_t name) {
  fixed f;
  memcpy(&f, header + name - sizeof f, sizeof f);
  return f;
}

static const char *sizes_of(const char *header, uint32_t name) { return header + name + strlen(header + name) + 1; }

static const char *get_size(const char *p, int64_t *out) {
  uint64_t size = 0;
  int shift = 0;
  for (; *p & 128; p++, shift += 7) size |= (uint64_t)(*p & 127) << shift;
  *out = (int64_t)(size | (uint64_t)*p << shift);
  return p + 1;
}

static uint32_t offset_of(const lurn_archive *archive, const char *p) { return (uint32_t)(p - archive->header); }

/* The name in the record at p, or behind the metadata, which may stand between two tensors. */
static uint32_t name_from(const lurn_archive *archive, const char *p) {
  uint32_t offset = offset_of(archive, p);
  return (uint32_t)sizeof(fixed) + (offset == archive->metadata_begin ? (uint32_t)archive->metadata_end : offset);
}

/* Fills in where names and keys lie, in the order of the file. */
static void find_records(lurn_archive *archive) {
  size_t place = (archive->packed + 3) / 4 * 4, n = (size_t)archive->n_entries, pairs = (size_t)archive->n_metadata;
  assert(place + 4 * (n + pairs) <= archive->header_bytes || n + pairs == 0);
  archive->by_name = (uint32_t *)(void *)(archive->header + place);
  archive->metadata = archive->by_name + n;
  const char *p = archive->header;
  for (size_t i = 0; i < n; i++) {
    uint32_t name = archive->by_name[i] = name_from(archive, p);
    int ndim = fixed_of(archive->header, name).ndim;
    p = sizes_of(archive->header, name);
    for (int64_t d = 0, size; d < ndim; d++) p = get_size(p, &size);
  }
  p = archive->header + archive->metadata_begin;
  for (size_t i = 0; i < pairs; i++) {
    archive->metadata[i] = offset_of(archive, p);
    for (int text = 0; text < 2; text++) p += strlen(p) + 1;
  }
}

/* ---- What only the whole tells ----------------------------------------------------------------------------- */

static int compare_places(const void *items, uint32_t a, uint32_t b) {
  fixed x = fixed_of(items, a), y = fixed_of(items, b);
  if (x.begin != y.begin) return x.begin < y.begin ? -1 : 1;
  return x.end < y.end ? -1 : x.end > y.end;
}

static int compare_texts(const void *items, uint32_t a, uint32_t b) {
  const char *header = items;
  return strcmp(header + a, header + b);
}

static int compare_offsets(const void *items, uint32_t a, uint32_t b) {
  (void)items;
  return a < b ? -1 : a > b;
}

/* One tensor after the other, from the first byte of the data to the last. */
static lurn_status check_layout(const lurn_archive *archive) {
  lurn__sort_order(archive->by_name, (size_t)archive->n_entries, compare_places, archive->header);
  unsigned long long expected = 0, held = archive->data_bytes;
  for (int64_t i = 0; i < archive->n_entries; i++) {
    fixed f = fixed_of(archive->header, archive->by_name[i]);
    const char *name = archive->header + archive->by_name[i];
    unsigned long long begin = f.begin;
    char shown[LURN__JSON_SHOW];
    if (begin != expected)
      return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: tensor %s begins at byte %llu of the data, expected %llu (%s)",
                        archive->path, lurn__json_show(name, strlen(name), shown), begin, expected,
                        begin < expected ? "it overlaps another" : "the bytes between belong to none");
    expected = f.end;
  }
  if (expected == held) return LURN_OK;
  return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: the tensors end at byte %llu of the data, the file at byte %llu",
                    archive->path, expected, held);
}

/* Sorts by text; no two may be the same. */
static lurn_status check_texts(const lurn_archive *archive, uint32_t *offsets, int64_t n, const char *what) {
  lurn__sort_order(offsets, (size_t)n, compare_texts, archive->header);
  int64_t twin = lurn__sort_twin(offsets, (size_t)n, compare_texts, archive->header);
  if (twin < 0) return LURN_OK;
  char shown[LURN__JSON_SHOW];
  const char *text = archive->header + offsets[twin];
  return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: %s %s comes twice", archive->path, what,
                    lurn__json_show(text, strlen(text), shown));
}

/* ---- The index --------------------------------------------------------------------------------------------- */

static lurn_status make_index(lurn_archive *archive) {
  archive->entries = lurn__alloc_array(archive->ctx, (size_t)archive->n_entries, sizeof *archive->entries);
  if (archive->entries == NULL) return LURN_ENOMEM;
  archive->sizes = lurn__alloc_array(archive->ctx, (size_t)archive->n_sizes, sizeof *archive->sizes);
  if (archive->sizes == NULL) return LURN_ENOMEM;
  int64_t *shape = archive->sizes;
  const char *p = archive->header;
  for (int64_t i = 0; i < archive->n_entries; i++) {
    uint32_t name = name_from(archive, p);
    fixed f = fixed_of(archive->header, name);
    archive->entries[i] =
        (lurn__entry){archive->header + name, shape, f.begin, f.end, &lurn__file_types[f.type], f.ndim};
    p = sizes_of(archive->header, name);
    for (int d = 0; d < f.ndim; d++) p = get_size(p, shape++);
  }
  return LURN_OK;
}

lurn_status lurn__header_index(lurn_archive *archive) {
  find_records(archive);
  LURN__TRY(check_layout(archive));
  LURN__TRY(check_texts(archive, archive->by_name, archive->n_entries, "tensor"));
  LURN__TRY(check_texts(archive, archive->metadata, archive->n_metadata, "metadata key"));
  /* Back to the order of the file. */
  lurn__sort_order(archive->metadata, (size_t)archive->n_metadata, compare_offsets, archive->header);
  return make_index(archive);
}

int64_t lurn__header_number(const lurn_archive *archive, uint32_t offset) {
  return fixed_of(archive->header, offset).number;
}
