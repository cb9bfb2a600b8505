/* The header of a safetensors file: its text, tensor by tensor. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "io/safetensors_parse.h"

typedef struct parser {
  lurn_archive *archive;
  lurn__json json;
  bool metadata_seen;
} parser;

/* A tensor being read. */
typedef struct draft {
  lurn__json_str name;
  lurn__entry entry;
  lurn__shape shape;
  unsigned seen; /* bit per key */
} draft;

enum { SEEN_DTYPE = 1, SEEN_SHAPE = 2, SEEN_OFFSETS = 4, SEEN_ALL = 7 };

/* ---- What is wrong, and where ------------------------------------------------------------------------------ */

static lurn_status bad_syntax(const parser *p) {
  return lurn__fail(p->archive->ctx, LURN_EFORMAT, "%s: byte %lld of the header: %s", p->archive->path,
                    (long long)(p->json.next - p->json.text), p->json.error);
}

static lurn_status syntax(const parser *p) { return p->json.error == NULL ? LURN_OK : bad_syntax(p); }

static const char *show(const lurn__json_str *str, char text[LURN__JSON_SHOW]) {
  char value[LURN__JSON_SHOW];
  return lurn__json_show(value, lurn__json_decode(str, value, sizeof value), text);
}

LURN_PRINTF(3, 4)
static lurn_status bad_tensor(const parser *p, const draft *d, const char *fmt, ...) {
  char name[LURN__JSON_SHOW], what[256];
  va_list args;
  va_start(args, fmt);
  vsnprintf(what, sizeof what, fmt, args);
  va_end(args);
  return lurn__fail(p->archive->ctx, LURN_EFORMAT, "%s: tensor %s: %s", p->archive->path, show(&d->name, name), what);
}

/* ---- The fields of a tensor -------------------------------------------------------------------------------- */

static lurn_status parse_dtype(parser *p, draft *d) {
  lurn__json_str name;
  if (!lurn__json_string(&p->json, &name)) return bad_syntax(p);
  for (const lurn__file_type *type = lurn__file_types; type->name != NULL; type++)
    if (lurn__json_is(&name, type->name)) {
      d->entry.type = type;
      return LURN_OK;
    }
  char text[LURN__JSON_SHOW];
  return bad_tensor(p, d, "unknown dtype %s", show(&name, text));
}

static lurn_status parse_shape(parser *p, draft *d) {
  if (!lurn__json_array(&p->json)) return bad_syntax(p);
  while (lurn__json_element(&p->json)) {
    uint64_t size;
    if (!lurn__json_uint(&p->json, &size)) return bad_syntax(p);
    if (size > INT64_MAX) return bad_tensor(p, d, "a size of %llu is too large", (unsigned long long)size);
    if (d->shape.ndim == LURN_MAX_DIMS) return bad_tensor(p, d, "more than %d dimensions", LURN_MAX_DIMS);
    d->shape.size[d->shape.ndim++] = (int64_t)size;
  }
  return syntax(p);
}

static lurn_status parse_offsets(parser *p, draft *d) {
  uint64_t offsets[2] = {0, 0};
  int n = 0;
  if (!lurn__json_array(&p->json)) return bad_syntax(p);
  while (lurn__json_element(&p->json)) {
    uint64_t offset;
    if (!lurn__json_uint(&p->json, &offset)) return bad_syntax(p);
    if (n == 2) return bad_tensor(p, d, "data_offsets has more than two numbers");
    offsets[n++] = offset;
  }
  LURN__TRY(syntax(p));
  if (n < 2) return bad_tensor(p, d, "data_offsets needs two numbers");
  d->entry.begin = offsets[0];
  d->entry.end = offsets[1];
  return LURN_OK;
}

static lurn_status parse_field(parser *p, draft *d, const lurn__json_str *key) {
  static const struct {
    const char *name;
    unsigned bit;
    lurn_status (*parse)(parser *p, draft *d);
  } fields[] = {{"dtype", SEEN_DTYPE, parse_dtype},
                {"shape", SEEN_SHAPE, parse_shape},
                {"data_offsets", SEEN_OFFSETS, parse_offsets}};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (!lurn__json_is(key, fields[i].name)) continue;
    if (d->seen & fields[i].bit) return bad_tensor(p, d, "%s comes twice", fields[i].name);
    d->seen |= fields[i].bit;
    return fields[i].parse(p, d);
  }
  char text[LURN__JSON_SHOW];
  return bad_tensor(p, d, "unknown key %s", show(key, text));
}

/* ---- A tensor ---------------------------------------------------------------------------------------------- */

/* The bytes its shape takes; false when that is more than a tensor can have, zero sizes left out as lurn__shape_make does. */
static bool bytes_of(const draft *d, uint64_t *out) {
  int64_t nonzero = 1;
  bool empty = false;
  for (int i = 0; i < d->shape.ndim; i++)
    if (d->shape.size[i] == 0) empty = true;
    else if (__builtin_mul_overflow(nonzero, d->shape.size[i], &nonzero) || nonzero > INT64_MAX / 16) return false;
  *out = empty ? 0 : (uint64_t)nonzero * d->entry.type->bytes;
  return true;
}

static lurn_status check_tensor(const parser *p, const draft *d) {
  const lurn__entry *e = &d->entry;
  const char *missing = !(d->seen & SEEN_DTYPE)     ? "dtype"
                        : !(d->seen & SEEN_SHAPE)   ? "shape"
                        : !(d->seen & SEEN_OFFSETS) ? "data_offsets"
                                                    : NULL;
  if (missing != NULL) return bad_tensor(p, d, "has no %s", missing);
  unsigned long long begin = e->begin, end = e->end, bytes_held = p->archive->data_bytes;
  if (begin > end) return bad_tensor(p, d, "data_offsets [%llu, %llu] run backwards", begin, end);
  uint64_t bytes;
  char text[LURN__SHAPE_TEXT];
  lurn__shape_print(&d->shape, text);
  if (!bytes_of(d, &bytes)) return bad_tensor(p, d, "shape %s is larger than memory can be", text);
  if (bytes != e->end - e->begin)
    return bad_tensor(p, d, "shape %s of %s takes %llu bytes, data_offsets [%llu, %llu] hold %llu", text, e->type->name,
                      (unsigned long long)bytes, begin, end, end - begin);
  if (end > bytes_held)
    return bad_tensor(p, d, "data_offsets [%llu, %llu], but the file holds only %llu bytes of data", begin, end,
                      bytes_held);
  return LURN_OK;
}

static lurn_status parse_tensor(parser *p, const lurn__json_str *name) {
  draft d = {.name = *name};
  lurn__json_str key;
  if (!lurn__json_object(&p->json)) return bad_syntax(p);
  while (lurn__json_member(&p->json, &key)) LURN__TRY(parse_field(p, &d, &key));
  LURN__TRY(syntax(p));
  LURN__TRY(check_tensor(p, &d));
  return lurn__pack_tensor(p->archive, &d.name, &d.entry, &d.shape);
}

/* ---- The whole header -------------------------------------------------------------------------------------- */

static lurn_status parse_metadata(parser *p) {
  lurn__json_str key, value;
  if (p->metadata_seen)
    return lurn__fail(p->archive->ctx, LURN_EFORMAT, "%s: " LURN__METADATA_KEY " comes twice", p->archive->path);
  p->metadata_seen = true;
  if (!lurn__json_object(&p->json)) return bad_syntax(p);
  while (lurn__json_member(&p->json, &key)) {
    if (!lurn__json_string(&p->json, &value)) return bad_syntax(p);
    LURN__TRY(lurn__pack_pair(p->archive, &key, &value));
    assert(p->archive->packed <= (size_t)(p->json.next - p->json.text));
  }
  return syntax(p);
}

static lurn_status parse(parser *p) {
  lurn_archive *archive = p->archive;
  lurn__json_str key;
  p->json = lurn__json_from(archive->header, archive->header_bytes);
  if (archive->header[0] != '{')
    return lurn__fail(archive->ctx, LURN_EFORMAT, "%s: the header does not begin with '{'", archive->path);
  (void)lurn__json_object(&p->json); /* that brace */
  while (lurn__json_member(&p->json, &key)) {
    LURN__TRY(lurn__json_is(&key, LURN__METADATA_KEY) ? parse_metadata(p) : parse_tensor(p, &key));
    assert(archive->packed <= (size_t)(p->json.next - p->json.text));
  }
  return lurn__json_end(&p->json) ? LURN_OK : bad_syntax(p);
}

lurn_status lurn__header_parse(lurn_archive *archive) {
  LURN__TRY(parse(&(parser){.archive = archive}));
  return lurn__header_index(archive);
}
