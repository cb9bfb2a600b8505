#include <limits.h>
#include <string.h>

#include "core/tensor.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sort.h"

/* What lurn_save was given. */
typedef struct contents {
  lurn_ctx *ctx;
  const char *const *names;
  lurn_tensor *const *tensors;
  const char *const *metadata; /* pairs */
  int64_t n, n_metadata;
} contents;

/* ---- Checking the arguments -------------------------------------------------------------------------------- */

static const char *show(const char *name, char text[LURN__JSON_SHOW]) {
  return lurn__json_show(name, strlen(name), text);
}

static lurn_status check_text(lurn_ctx *ctx, const char *what, const char *text) {
  char shown[LURN__JSON_SHOW];
  if (text == NULL) return lurn__fail(ctx, LURN_EVALUE, "save: a %s is missing", what);
  if (lurn__utf8_valid(text, strlen(text))) return LURN_OK;
  return lurn__fail(ctx, LURN_EVALUE, "save: %s %s is not valid UTF-8", what, show(text, shown));
}

static lurn_status check_tensor(const contents *c, int64_t i) {
  char text[LURN__JSON_SHOW];
  LURN__TRY(check_text(c->ctx, "name", c->names[i]));
  if (c->names[i][0] == '\0') return lurn__fail(c->ctx, LURN_EVALUE, "save: a tensor's name is empty");
  if (strcmp(c->names[i], LURN__METADATA_KEY) == 0)
    return lurn__fail(c->ctx, LURN_EVALUE, "save: " LURN__METADATA_KEY " cannot be a tensor's name");
  if (c->tensors[i] == NULL)
    return lurn__fail(c->ctx, LURN_EVALUE, "save: tensor %s is missing", show(c->names[i], text));
  if (lurn_tensor_ctx(c->tensors[i]) != c->ctx)
    return lurn__fail(c->ctx, LURN_ESTATE, "save: tensor %s belongs to another context", show(c->names[i], text));
  return LURN_OK;
}

static int compare_names(const void *items, uint32_t a, uint32_t b) {
  const char *const *names = items;
  return strcmp(names[a], names[b]);
}

/* The names are n of an array, step apart. */
static lurn_status check_twins(lurn_ctx *ctx, const char *what, const char *const *names, int64_t n, int64_t step) {
  size_t count = (size_t)n;
  uint32_t *order = lurn__alloc_array(ctx, count, sizeof *order);
  if (order == NULL) return LURN_ENOMEM;
  for (size_t i = 0; i < count; i++) order[i] = (uint32_t)(i * (size_t)step);
  lurn__sort_order(order, count, compare_names, names);
  int64_t place = lurn__sort_twin(order, count, compare_names, names);
  const char *twin = place >= 0 ? names[order[place]] : NULL;
  lurn__free(ctx, order, count * sizeof *order);
  if (twin == NULL) return LURN_OK;
  char text[LURN__JSON_SHOW];
  return lurn__fail(ctx, LURN_EVALUE, "save: two %s %s", what, show(twin, text));
}

/* Every entry takes several bytes of the header, whose limit lies far below 32 bits. */
static lurn_status check_count(lurn_ctx *ctx, const char *what, int64_t n) {
  if (n >= 0 && n <= LURN__HEADER_LIMIT) return LURN_OK;
  return lurn__fail(ctx, LURN_EVALUE, "save: %lld %s; the format allows 0 to %u", (long long)n, what,
                    LURN__HEADER_LIMIT);
}

static lurn_status check_given(lurn_ctx *ctx, const char *what, const void *list, int64_t n) {
  return n == 0 ? LURN_OK : lurn__need(ctx, "save", what, list);
}

static lurn_status check(const contents *c) {
  LURN__TRY(check_count(c->ctx, "tensors", c->n));
  LURN__TRY(check_count(c->ctx, "metadata entries", c->n_metadata));
  LURN__TRY(check_given(c->ctx, "tensors", c->tensors, c->n));
  LURN__TRY(check_given(c->ctx, "names", c->names, c->n));
  LURN__TRY(check_given(c->ctx, "metadata", c->metadata, c->n_metadata));
  for (int64_t i = 0; i < c->n; i++) LURN__TRY(check_tensor(c, i));
  for (int64_t i = 0; i < 2 * c->n_metadata; i++)
    LURN__TRY(check_text(c->ctx, i % 2 == 0 ? "metadata key" : "metadata value", c->metadata[i]));
  LURN__TRY(check_twins(c->ctx, "tensors are named", c->names, c->n, 1));
  return check_twins(c->ctx, "metadata values have the key", c->metadata, c->n_metadata, 2);
}

/* ---- Header ------------------------------------------------------------------------------------------------ */

/* Where the header's text goes: nowhere but counted, or to a buffer. */
typedef struct sink {
  char *text;
  size_t used;
} sink;

static void put(sink *s, const char *text) {
  size_t bytes = strlen(text);
  if (s->text != NULL) memcpy(s->text + s->used, text, bytes);
  s->used += bytes;
}

static void put_string(sink *s, const char *text) {
  s->used += lurn__json_quote(text, strlen(text), s->text != NULL ? s->text + s->used : NULL);
}

static void put_number(sink *s, uint64_t value) {
  char digits[24], *p = digits + sizeof digits;
  *--p = '\0';
  do *--p = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  put(s, p);
}

static const char *type_name(lurn_dtype dtype) {
  const lurn__file_type *type = lurn__file_types;
  while (type->dtype != dtype) type++;
  return type->name;
}

static uint64_t bytes_of(const lurn_tensor *t) { return (uint64_t)lurn__numel(t) * lurn__tensor_width(t); }

static void put_tensor(sink *s, const char *name, const lurn_tensor *t, uint64_t begin) {
  put_string(s, name);
  put(s, ":{\"dtype\":\"");
  put(s, type_name(t->dtype));
  put(s, "\",\"shape\":[");
  for (int i = 0; i < t->shape.ndim; i++) {
    if (i > 0) put(s, ",");
    put_number(s, (uint64_t)t->shape.size[i]);
  }
  put(s, "],\"data_offsets\":[");
  put_number(s, begin);
  put(s, ",");
  put_number(s, begin + bytes_of(t));
  put(s, "]}");
}

static void put_metadata(sink *s, const contents *c) {
  put(s, "\"" LURN__METADATA_KEY "\":{");
  for (int64_t i = 0; i < c->n_metadata; i++) {
    if (i > 0) put(s, ",");
    put_string(s, c->metadata[2 * i]);
    put(s, ":");
    put_string(s, c->metadata[2 * i + 1]);
  }
  put(s, "}");
}

/* The data is laid out by falling width, so that every tensor lies aligned in the file: some readers map it. */
static const size_t widths[] = {8, 4, 1};
enum { WIDTHS = sizeof widths / sizeof *widths };

/* Where the data of each width begins.  False when the sum overflows, as views that repeat their elements may make it. */
static bool find_places(const contents *c, uint64_t place[WIDTHS]) {
  uint64_t total = 0;
  for (int w = 0; w < WIDTHS; w++) {
    place[w] = total;
    for (int64_t i = 0; i < c->n; i++)
      if (lurn__tensor_width(c->tensors[i]) == widths[w] &&
          __builtin_add_overflow(total, bytes_of(c->tensors[i]), &total))
        return false;
  }
  return total <= INT64_MAX - 2 * (uint64_t)LURN__HEADER_LIMIT;
}

static void put_header(sink *s, const contents *c, const uint64_t places[WIDTHS]) {
  uint64_t place[WIDTHS];
  memcpy(place, places, sizeof place);
  put(s, "{");
  if (c->n_metadata > 0) put_metadata(s, c);
  for (int64_t i = 0; i < c->n; i++) {
    int w = 0;
    while (widths[w] != lurn__tensor_width(c->tensors[i])) w++;
    if (i > 0 || c->n_metadata > 0) put(s, ",");
    put_tensor(s, c->names[i], c->tensors[i], place[w]);
    place[w] += bytes_of(c->tensors[i]);
  }
  put(s, "}");
  while (s->used % 8 != 0) put(s, " ");
}

static lurn_status write_header(lurn__file *file, const contents *c, const uint64_t places[WIDTHS]) {
  sink counted = {NULL, 0};
  put_header(&counted, c, places);
  if (counted.used > LURN__HEADER_LIMIT)
    return lurn__fail(c->ctx, LURN_EVALUE, "save: names and metadata make a header of %zu bytes; the format allows %u",
                      counted.used, LURN__HEADER_LIMIT);
  size_t bytes = 8 + counted.used;
  unsigned char *text = lurn__alloc(c->ctx, bytes);
  if (text == NULL) return LURN_ENOMEM;
  for (int i = 0; i < 8; i++) text[i] = (unsigned char)((uint64_t)counted.used >> 8 * i);
  put_header(&(sink){(char *)text + 8, 0}, c, places);
  lurn_status status = lurn__file_write(file, text, bytes);
  lurn__free(c->ctx, text, bytes);
  return status;
}

/* ---- Data -------------------------------------------------------------------------------------------------- */

/* Collects n elements that lie `stride` elements apart. */
static void gather(unsigned char *out, const unsigned char *p, size_t n, int64_t stride, size_t width) {
  int64_t step = stride * (int64_t)width;
  if (width == 8)
    for (size_t i = 0; i < n; i++) memcpy(out + 8 * i, p + (int64_t)i * step, 8);
  else if (width == 4)
    for (size_t i = 0; i < n; i++) memcpy(out + 4 * i, p + (int64_t)i * step, 4);
  else
    for (size_t i = 0; i < n; i++) out[i] = p[(int64_t)i * step];
}

/* Elements as the file wants them: little endian, and a bool, which may be any byte in a host's buffer, 0 or 1. */
static void convert(unsigned char *p, size_t n, lurn_dtype dtype, size_t width) {
  if (dtype == LURN_BOOL)
    for (size_t i = 0; i < n; i++) p[i] = p[i] != 0;
  else if (!LURN__LITTLE_ENDIAN) lurn__swap_bytes(p, n, width);
}

static lurn_status write_row(lurn__file *file, lurn_dtype dtype, const unsigned char *p, size_t n, int64_t stride) {
  size_t width = lurn_dtype_size(dtype);
  while (n > 0) {
    LURN__TRY(lurn__file_reserve(file, width));
    size_t room = (LURN__FILE_BUFFER - file->used) / width, count = n < room ? n : room;
    unsigned char *out = file->buffer + file->used;
    gather(out, p, count, stride, width);
    convert(out, count, dtype, width);
    file->used += count * width;
    p += (int64_t)count * stride * (int64_t)width;
    n -= count;
  }
  return LURN_OK;
}

/* Row after row of the last dimension, in row-major order. */
static lurn_status write_rows(lurn__file *file, const lurn_tensor *t) {
  int last = t->shape.ndim - 1;
  int64_t index[LURN_MAX_DIMS] = {0}, offset = 0, width = (int64_t)lurn__tensor_width(t);
  size_t n = last >= 0 ? (size_t)t->shape.size[last] : 1;
  int64_t stride = last >= 0 ? t->stride[last] : 1;
  for (;;) {
    LURN__TRY(write_row(file, t->dtype, (const unsigned char *)lurn__tensor_ptr(t) + offset * width, n, stride));
    int d = last - 1;
    for (; d >= 0; d--) {
      offset += t->stride[d];
      if (++index[d] < t->shape.size[d]) break;
      offset -= t->stride[d] * t->shape.size[d];
      index[d] = 0;
    }
    if (d < 0) return LURN_OK;
  }
}

static lurn_status write_tensor(lurn__file *file, const lurn_tensor *t) {
  if (lurn__numel(t) == 0) return LURN_OK;
  if (t->dtype != LURN_BOOL && LURN__LITTLE_ENDIAN && lurn_tensor_is_contiguous(t))
    return lurn__file_write(file, lurn__tensor_ptr(t), (size_t)bytes_of(t));
  return write_rows(file, t);
}

static lurn_status write_contents(lurn__file *file, const contents *c, const uint64_t places[WIDTHS]) {
  LURN__TRY(write_header(file, c, places));
  for (int w = 0; w < WIDTHS; w++)
    for (int64_t i = 0; i < c->n; i++)
      if (lurn__tensor_width(c->tensors[i]) == widths[w]) LURN__TRY(write_tensor(file, c->tensors[i]));
  return lurn__file_commit(file);
}

lurn_status lurn__save_with(lurn_ctx *ctx, const lurn__sys *sys, const char *path, const char *const *names,
                            lurn_tensor *const *tensors, int64_t n, const char *const *metadata, int64_t n_metadata) {
  contents c = {ctx, names, tensors, metadata, n, n_metadata};
  uint64_t places[WIDTHS];
  LURN__TRY(lurn__need(ctx, "save", "path", path));
  LURN__TRY(check(&c));
  if (!find_places(&c, places)) return lurn__fail(ctx, LURN_EVALUE, "save: the tensors are larger than a file can be");
  lurn__file file;
  lurn_status status = lurn__file_begin(ctx, sys, path, &file);
  if (status == LURN_OK) status = write_contents(&file, &c, places);
  lurn__file_end(&file);
  return status;
}

lurn_status lurn_save(lurn_ctx *ctx, const char *path, const char *const *names, lurn_tensor *const *tensors, int64_t n,
                      const char *const *metadata, int64_t n_metadata) {
  return lurn__save_with(ctx, &lurn__sys_real, path, names, tensors, n, metadata, n_metadata);
}
