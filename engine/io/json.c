#include "io/json.h"

#include <assert.h>
#include <string.h>

/* ---- UTF-8 ------------------------------------------------------------------------------------------------- */

static bool between(const char *p, unsigned low, unsigned high) {
  return (unsigned char)*p >= low && (unsigned char)*p <= high;
}

/* Table 3-7 of the Unicode Standard: what the first byte allows for the second. */
int lurn__utf8_step(const char *p, const char *end) {
  assert(p < end);
  unsigned char first = (unsigned char)*p;
  if (first < 0x80) return 1;
  int n = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (n == 0 || end - p < n) return 0;
  unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (!between(p + 1, low, high)) return 0;
  for (int i = 2; i < n; i++)
    if (!between(p + i, 0x80, 0xBF)) return 0;
  return n;
}

bool lurn__utf8_valid(const char *s, size_t bytes) {
  const char *end = s + bytes;
  while (s < end) {
    int n = lurn__utf8_step(s, end);
    if (n == 0) return false;
    s += n;
  }
  return true;
}

static int utf8_put(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  int n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (int i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
  out[0] = (char)((0xF00u >> n) | code);
  return n;
}

/* ---- Characters of a string -------------------------------------------------------------------------------- */

static bool hex4(const char *p, const char *end, uint32_t *out) {
  if (end - p < 4) return false;
  uint32_t code = 0;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return false;
    code = code << 4 | (uint32_t)digit;
  }
  *out = code;
  return true;
}

/* What follows \u, with the second half of a surrogate pair.  Returns the bytes taken, 0 on error. */
static int unicode_escape(const char *p, const char *end, uint32_t *out) {
  uint32_t code, low;
  if (!hex4(p, end, &code)) return 0;
  *out = code;
  if (code < 0xD800 || code > 0xDFFF) return 4;
  if (code > 0xDBFF || end - p < 10 || p[4] != '\\' || p[5] != 'u' || !hex4(p + 6, end, &low)) return 0;
  if (low < 0xDC00 || low > 0xDFFF) return 0;
  *out = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  return 10;
}

/* Decodes the character at *p, which is not a quote, and goes past it.  Returns its bytes, or 0 with the reason in *why. */
static int next_char(const char **p, const char *end, char out[4], const char **why) {
  const char *at = *p;
  if (*at != '\\') {
    int n = lurn__utf8_step(at, end);
    *why = n == 0 ? "invalid UTF-8" : "control character in a string";
    if (n == 0 || (unsigned char)*at < 0x20) return 0;
    memcpy(out, at, (size_t)n);
    *p = at + n;
    return n;
  }
  static const char escapes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  *why = "invalid escape in a string";
  if (end - at < 2) return 0;
  const char *simple = at[1] != '\0' ? strchr(escapes, at[1]) : NULL;
  if (simple != NULL) {
    out[0] = values[simple - escapes];
    *p = at + 2;
    return 1;
  }
  uint32_t code;
  int taken = at[1] == 'u' ? unicode_escape(at + 2, end, &code) : 0;
  if (taken == 0) return 0;
  *p = at + 2 + taken;
  return utf8_put(code, out);
}

/* ---- Reader ------------------------------------------------------------------------------------------------ */

lurn__json lurn__json_from(const char *text, size_t bytes) {
  return (lurn__json){.text = text, .next = text, .end = text + bytes};
}

static bool fail(lurn__json *json, const char *at, const char *why) {
  json->error = at == json->end ? "the text ends too early" : why;
  json->next = at;
  return false;
}

static bool at(const lurn__json *json, char c) { return json->next < json->end && *json->next == c; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_space(lurn__json *json) {
  while (at(json, ' ') || at(json, '\n') || at(json, '\r') || at(json, '\t')) json->next++;
}

static bool enter(lurn__json *json, char bracket, const char *why) {
  if (json->error != NULL) return false;
  skip_space(json);
  if (!at(json, bracket)) return fail(json, json->next, why);
  if (json->depth == LURN__JSON_DEPTH) return fail(json, json->next, "nested too deeply");
  json->next++;
  json->depth++;
  json->fresh = true;
  return true;
}

bool lurn__json_object(lurn__json *json) { return enter(json, '{', "expected '{'"); }
bool lurn__json_array(lurn__json *json) { return enter(json, '[', "expected '['"); }

/* A comma before the bracket is found by the reader of the value that should follow it. */
static bool next_item(lurn__json *json, char bracket, const char *why) {
  if (json->error != NULL) return false;
  assert(json->depth > 0);
  skip_space(json);
  bool first = json->fresh;
  json->fresh = false;
  if (at(json, bracket)) {
    json->next++;
    json->depth--;
    return false;
  }
  if (first) return true;
  if (!at(json, ',')) return fail(json, json->next, why);
  json->next++;
  return true;
}

bool lurn__json_member(lurn__json *json, lurn__json_str *key) {
  if (!next_item(json, '}', "expected ',' or '}'") || !lurn__json_string(json, key)) return false;
  skip_space(json);
  if (!at(json, ':')) return fail(json, json->next, "expected ':'");
  json->next++;
  return true;
}

bool lurn__json_element(lurn__json *json) { return next_item(json, ']', "expected ',' or ']'"); }

bool lurn__json_string(lurn__json *json, lurn__json_str *out) {
  if (json->error != NULL) return false;
  skip_space(json);
  if (!at(json, '"')) return fail(json, json->next, "expected a string");
  const char *p = json->next + 1;
  lurn__json_str str = {.raw = p};
  while (p < json->end && *p != '"') {
    char bytes[4];
    const char *why;
    int n = next_char(&p, json->end, bytes, &why);
    if (n == 0) return fail(json, p, why);
    str.bytes += (size_t)n;
  }
  if (p == json->end) return fail(json, p, NULL);
  str.raw_bytes = (size_t)(p - str.raw);
  json->next = p + 1;
  *out = str;
  return true;
}

bool lurn__json_uint(lurn__json *json, uint64_t *out) {
  if (json->error != NULL) return false;
  skip_space(json);
  const char *p = json->next;
  if (p == json->end || !is_digit(*p)) return fail(json, p, "expected a non-negative integer");
  if (*p == '0' && p + 1 < json->end && is_digit(p[1])) return fail(json, p, "a number with a leading zero");
  uint64_t value = 0;
  for (; p < json->end && is_digit(*p); p++)
    if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
      return fail(json, json->next, "an integer above 64 bits");
  if (p < json->end && (*p == '.' || *p == 'e' || *p == 'E')) return fail(json, json->next, "expected an integer");
  json->next = p;
  *out = value;
  return true;
}

bool lurn__json_end(lurn__json *json) {
  if (json->error != NULL) return false;
  assert(json->depth == 0);
  skip_space(json);
  if (json->next == json->end) return true;
  return fail(json, json->next, "something after the end of the value");
}

/* ---- Values of strings ------------------------------------------------------------------------------------- */

/* Decoding never makes a character longer, so writing over the raw text stays behind reading it. */
size_t lurn__json_decode(const lurn__json_str *str, char *out, size_t room) {
  const char *p = str->raw, *end = p + str->raw_bytes;
  size_t used = 0;
  while (p < end) {
    char bytes[4];
    const char *why;
    size_t n = (size_t)next_char(&p, end, bytes, &why);
    if (used + n > room) break;
    memcpy(out + used, bytes, n);
    used += n;
  }
  return used;
}

bool lurn__json_is(const lurn__json_str *str, const char *value) {
  char text[32];
  size_t bytes = strlen(value);
  assert(bytes <= sizeof text);
  if (str->bytes != bytes) return false;
  lurn__json_decode(str, text, sizeof text);
  return memcmp(text, value, bytes) == 0;
}

/* ---- Writer ------------------------------------------------------------------------------------------------ */

/* One character of n bytes at s: itself or its escape, at most 6 bytes. */
static size_t quote_char(const char *s, int n, char out[6]) {
  static const char hex[] = "0123456789abcdef", escapes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  unsigned code = n == 1 ? (unsigned char)s[0] : n == 2 && s[0] == '\xC2' ? (unsigned char)s[1] : 0x100;
  const char *simple = n == 1 && s[0] != '\0' ? strchr(escapes, s[0]) : NULL;
  if (simple != NULL) {
    out[0] = '\\';
    out[1] = letters[simple - escapes];
    return 2;
  }
  if (code < 0x20 || (code >= 0x7F && code < 0xA0)) {
    static const char prefix[4] = {'\\', 'u', '0', '0'};
    memcpy(out, prefix, sizeof prefix);
    out[4] = hex[code >> 4];
    out[5] = hex[code & 15];
    return 6;
  }
  memcpy(out, s, (size_t)n);
  return (size_t)n;
}

size_t lurn__json_quote(const char *s, size_t bytes, char *out) {
  const char *end = s + bytes;
  size_t used = 1;
  while (s < end) {
    char text[6];
    int step = lurn__utf8_step(s, end);
    assert(step > 0);
    size_t n = quote_char(s, step, text);
    if (out != NULL) memcpy(out + used, text, n);
    used += n;
    s += step;
  }
  if (out != NULL) out[0] = out[used] = '"';
  return used + 1;
}

/* Invalid UTF-8, which messages may be about, shows as '?'. */
const char *lurn__json_show(const char *s, size_t bytes, char text[LURN__JSON_SHOW]) {
  const char *end = s + bytes;
  size_t used = 1, limit = LURN__JSON_SHOW - sizeof "\"...";
  text[0] = '"';
  while (s < end) {
    char piece[6] = "?";
    int step = lurn__utf8_step(s, end);
    size_t n = step > 0 ? quote_char(s, step, piece) : 1;
    if (used + n > limit) break;
    memcpy(text + used, piece, n);
    used += n;
    s += step > 0 ? step : 1;
  }
  if (s < end) memcpy(text + used, "\"...", sizeof "\"...");
  else memcpy(text + used, "\"", sizeof "\"");
  return text;
}
