/* A second opinion on JSON, written from RFC 8259 without a look at engine/io/json.c: recursive descent over the whole grammar, noting
 * where a text goes beyond what lurn's reader promises to take.  What a text says is written down as events. */
#ifndef LURN_SPEC_REFERENCE_JSON_H
#define LURN_SPEC_REFERENCE_JSON_H

#include "fuzz.h"

/* '{' '}' '[' ']'; 's' length text; 'n' value. */
typedef struct events {
  uint8_t *p;
  size_t used, room;
} events;

static inline void note(events *e, const void *p, size_t bytes) {
  if (e->used + bytes > e->room) {
    e->room = 2 * (e->used + bytes) + 64;
    e->p = realloc(e->p, e->room);
    REQUIRE(e->p != NULL);
  }
  if (bytes > 0) memcpy(e->p + e->used, p, bytes);
  e->used += bytes;
}

static inline void note_mark(events *e, char mark) { note(e, &mark, 1); }

static inline void note_number(events *e, uint64_t value) {
  note_mark(e, 'n');
  note(e, &value, sizeof value);
}

static inline void note_string(events *e, const void *p, uint64_t bytes) {
  note_mark(e, 's');
  note(e, &bytes, sizeof bytes);
  note(e, p, bytes);
}

typedef struct reference {
  const uint8_t *p, *end;
  events *events;
  bool beyond; /* JSON, but not lurn's: other numbers, literals, half a surrogate pair, too deep */
} reference;

enum { REFERENCE_DEPTH = 64 };

static inline void reference_space(reference *r) {
  while (r->p < r->end && (*r->p == 0x20 || *r->p == 0x09 || *r->p == 0x0A || *r->p == 0x0D)) r->p++;
}

static inline bool reference_take(reference *r, char c) {
  if (r->p == r->end || *r->p != (uint8_t)c) return false;
  r->p++;
  return true;
}

static inline bool reference_word(reference *r, const char *word) {
  for (; *word != '\0'; word++)
    if (!reference_take(r, *word)) return false;
  r->beyond = true;
  return true;
}

static inline int reference_digits(reference *r) {
  int n = 0;
  for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) n++;
  return n;
}

/* int [frac] [exp] */
static inline bool reference_number(reference *r) {
  bool negative = reference_take(r, '-');
  const uint8_t *digits = r->p;
  int n = reference_digits(r);
  if (n == 0 || (n > 1 && digits[0] == '0')) return false;
  bool whole = !negative;
  if (reference_take(r, '.')) {
    whole = false;
    if (reference_digits(r) == 0) return false;
  }
  if (reference_take(r, 'e') || reference_take(r, 'E')) {
    whole = false;
    if (!reference_take(r, '+')) (void)reference_take(r, '-');
    if (reference_digits(r) == 0) return false;
  }
  unsigned __int128 value = 0;
  for (int i = 0; i < n && value <= UINT64_MAX; i++) value = value * 10 + (unsigned)(digits[i] - '0');
  if (!whole || value > UINT64_MAX) r->beyond = true;
  note_number(r->events, (uint64_t)value);
  return true;
}

/* A character of UTF-8 by its value: how many bytes the first announces, and whether the value needs that many. */
static inline bool reference_utf8(reference *r, uint32_t *out) {
  uint32_t code = *r->p++;
  int more = code < 0x80 ? 0 : code >> 5 == 6 ? 1 : code >> 4 == 14 ? 2 : code >> 3 == 30 ? 3 : -1;
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (more < 0) return false;
  if (more > 0) code &= 0x3Fu >> more;
  for (int i = 0; i < more; i++) {
    if (r->p == r->end || *r->p >> 6 != 2) return false;
    code = code << 6 | (*r->p++ & 0x3F);
  }
  *out = code;
  return code >= least[more] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

static inline bool reference_hex(reference *r, uint32_t *out) {
  char text[5] = {0};
  if (r->end - r->p < 4) return false;
  memcpy(text, r->p, 4);
  if (strspn(text, "0123456789abcdefABCDEF") != 4) return false;
  *out = (uint32_t)strtoul(text, NULL, 16);
  r->p += 4;
  return true;
}

static inline bool reference_escape(reference *r, uint32_t *out) {
  if (r->p == r->end) return false;
  switch (*r->p++) {
    case '"': *out = '"'; return true;
    case '\\': *out = '\\'; return true;
    case '/': *out = '/'; return true;
    case 'b': *out = 8; return true;
    case 'f': *out = 12; return true;
    case 'n': *out = 10; return true;
    case 'r': *out = 13; return true;
    case 't': *out = 9; return true;
    case 'u': break;
    default: return false;
  }
  uint32_t low;
  if (!reference_hex(r, out)) return false;
  if (*out < 0xD800 || *out > 0xDFFF) return true;
  const uint8_t *after = r->p;
  if (*out < 0xDC00 && reference_take(r, '\\') && reference_take(r, 'u') && reference_hex(r, &low) && low >= 0xDC00 &&
      low <= 0xDFFF) {
    *out = (*out - 0xD800) * 0x400 + (low - 0xDC00) + 0x10000;
    return true;
  }
  r->p = after;
  r->beyond = true;
  return true;
}

static inline size_t reference_encode(uint32_t code, uint8_t out[4]) {
  if (code < 0x80) return out[0] = (uint8_t)code, 1;
  if (code < 0x800) return out[0] = (uint8_t)(0xC0 + code / 64), out[1] = (uint8_t)(0x80 + code % 64), 2;
  size_t n = code < 0x10000 ? 3 : 4;
  out[0] = (uint8_t)(n == 3 ? 0xE0 + code / 4096 : 0xF0 + code / 262144);
  if (n == 4) out[1] = (uint8_t)(0x80 + code / 4096 % 64);
  out[n - 2] = (uint8_t)(0x80 + code / 64 % 64);
  out[n - 1] = (uint8_t)(0x80 + code % 64);
  return n;
}

static inline bool reference_string(reference *r) {
  events text = {0};
  bool sound = reference_take(r, '"'), closed = false;
  while (sound && !closed && r->p < r->end) {
    uint32_t code = 0;
    uint8_t bytes[4];
    if (reference_take(r, '"')) closed = true;
    else if (reference_take(r, '\\')) sound = reference_escape(r, &code);
    else sound = *r->p >= 0x20 && reference_utf8(r, &code);
    if (sound && !closed) note(&text, bytes, reference_encode(code, bytes));
  }
  if (sound && closed) note_string(r->events, text.p, text.used);
  free(text.p);
  return sound && closed;
}

static inline bool reference_value(reference *r, int depth);

static inline bool reference_members(reference *r, int depth, bool object) {
  char close = object ? '}' : ']';
  note_mark(r->events, object ? '{' : '[');
  reference_space(r);
  for (bool first = true; !reference_take(r, close); first = false) {
    if (!first && !reference_take(r, ',')) return false;
    if (object) {
      reference_space(r);
      if (!reference_string(r)) return false;
      reference_space(r);
      if (!reference_take(r, ':')) return false;
    }
    if (!reference_value(r, depth)) return false;
  }
  note_mark(r->events, close);
  return true;
}

/* Value with the white space around it. */
static inline bool reference_value(reference *r, int depth) {
  reference_space(r);
  if (r->p == r->end) return false;
  bool sound;
  if (*r->p == '{' || *r->p == '[') {
    if (depth == REFERENCE_DEPTH) r->beyond = true;
    if (depth > 4 * REFERENCE_DEPTH) return false; /* our own stack is finite, and the answer is known */
    bool object = *r->p++ == '{';
    sound = reference_members(r, depth + 1, object);
  } else if (*r->p == '"') sound = reference_string(r);
  else if (*r->p == 't') sound = reference_word(r, "true");
  else if (*r->p == 'f') sound = reference_word(r, "false");
  else if (*r->p == 'n') sound = reference_word(r, "null");
  else sound = reference_number(r);
  if (sound) reference_space(r);
  return sound;
}

/* Whether lurn's reader should take the text; what it says then stands in *out. */
static inline bool reference_accepts(const void *text, size_t bytes, events *out) {
  reference r = {.p = text, .end = (const uint8_t *)text + bytes, .events = out};
  return reference_value(&r, 0) && r.p == r.end && !r.beyond;
}

#endif
