/* engine/io/json against a second reader: both take the same texts and find the same in them. */
#include "io/json.h"

#include "reference_json.h"

/* ---- Properties of strings --------------------------------------------------------------------------------- */

/* Every shortening of the room gives whole characters of the same text. */
static void check_rooms(const lurn__json_str *str, const char *value) {
  char text[24];
  for (size_t room = 0; room <= sizeof text; room++) {
    size_t n = lurn__json_decode(str, text, room);
    REQUIRE(n <= room && n <= str->bytes && memcmp(text, value, n) == 0 && lurn__utf8_valid(text, n));
    REQUIRE(n + 4 > room || n == str->bytes);
  }
}

/* Quoting gives a JSON string without control characters that means the same. */
static void check_quoting(const char *value, size_t bytes) {
  size_t n = lurn__json_quote(value, bytes, NULL);
  char *quoted = malloc(n), *back = malloc(bytes + 1);
  REQUIRE(quoted != NULL && back != NULL && lurn__json_quote(value, bytes, quoted) == n);
  for (size_t i = 0; i < n; i++) REQUIRE((unsigned char)quoted[i] >= 0x20 && quoted[i] != 0x7F);
  lurn__json json = lurn__json_from(quoted, n);
  lurn__json_str str;
  REQUIRE(lurn__json_string(&json, &str) && lurn__json_end(&json) && str.bytes == bytes);
  REQUIRE(lurn__json_decode(&str, back, bytes) == bytes && memcmp(back, value, bytes) == 0);
  if (bytes <= 32 && memchr(value, '\0', bytes) == NULL) {
    back[bytes] = '\0';
    REQUIRE(lurn__json_is(&str, back));
  }
  free(quoted);
  free(back);
}

/* Any bytes at all can be shown. */
static void check_showing(const void *p, size_t bytes) {
  char text[LURN__JSON_SHOW];
  REQUIRE(lurn__json_show(p, bytes, text) == text);
  size_t n = strlen(text);
  REQUIRE(n >= 2 && n < sizeof text && text[0] == '"' && lurn__utf8_valid(text, n));
  for (size_t i = 0; i < n; i++) REQUIRE((unsigned char)text[i] >= 0x20);
}

static void take_string(const lurn__json_str *str, events *out) {
  REQUIRE(str->bytes <= str->raw_bytes);
  char *value = malloc(str->bytes + 1);
  REQUIRE(value != NULL && lurn__json_decode(str, value, str->bytes + 1) == str->bytes);
  REQUIRE(lurn__utf8_valid(value, str->bytes));
  note_string(out, value, str->bytes);
  check_rooms(str, value);
  check_quoting(value, str->bytes);
  check_showing(value, str->bytes);
  free(value);
}

/* ---- The reader -------------------------------------------------------------------------------------------- */

static void walk(lurn__json *json, events *out);

static void walk_object(lurn__json *json, events *out) {
  lurn__json_str key;
  if (!lurn__json_object(json)) return;
  note_mark(out, '{');
  while (lurn__json_member(json, &key)) {
    take_string(&key, out);
    walk(json, out);
  }
  note_mark(out, '}');
}

static void walk_array(lurn__json *json, events *out) {
  if (!lurn__json_array(json)) return;
  note_mark(out, '[');
  while (lurn__json_element(json)) walk(json, out);
  note_mark(out, ']');
}

/* Reads any value; which it should be is told by the next character. */
static void walk(lurn__json *json, events *out) {
  lurn__json_str str;
  uint64_t number;
  while (json->next < json->end && memchr(" \n\r\t", *json->next, 4) != NULL) json->next++;
  char c = '\0';
  if (json->next < json->end) c = *json->next;
  if (c == '{') walk_object(json, out);
  else if (c == '[') walk_array(json, out);
  else if (c == '"') {
    if (lurn__json_string(json, &str)) take_string(&str, out);
  } else if (lurn__json_uint(json, &number)) note_number(out, number);
}

static void check_error(lurn__json *json) {
  const char *error = json->error, *next = json->next;
  lurn__json_str str;
  uint64_t number;
  REQUIRE(error != NULL && error[0] != '\0' && next >= json->text && next <= json->end);
  REQUIRE(!lurn__json_object(json) && !lurn__json_array(json) && !lurn__json_member(json, &str));
  REQUIRE(!lurn__json_element(json) && !lurn__json_string(json, &str) && !lurn__json_uint(json, &number));
  REQUIRE(!lurn__json_end(json) && json->error == error && json->next == next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  events found = {0}, expected = {0};
  lurn__json json = lurn__json_from((const char *)data, size);
  walk(&json, &found);
  bool accepted = lurn__json_end(&json);
  REQUIRE(accepted == reference_accepts(data, size, &expected));
  if (accepted) REQUIRE(found.used == expected.used && memcmp(found.p, expected.p, found.used) == 0);
  else check_error(&json);
  check_showing(data, size);
  free(found.p);
  free(expected.p);
  return 0;
}

/* ---- Inputs ------------------------------------------------------------------------------------------------ */

static const char *const tokens[] = {"{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "\"",
                                     "{}",
                                     "[]",
                                     "\"\"",
                                     "\"a\":",
                                     "\\u0000",
                                     "\\ud834",
                                     "\\udd1e",
                                     "\\ud834\\udd1e",
                                     "\\n",
                                     "\\\"",
                                     "\\\\",
                                     "\\/",
                                     "\\u00E9",
                                     "\xC3\xA9",
                                     "\xE2\x82\xAC",
                                     "\xF0\x9D\x84\x9E",
                                     "\xED\xA0\x80",
                                     "\xC0\x80",
                                     "\xF4\x90\x80\x80",
                                     "18446744073709551615",
                                     "18446744073709551616",
                                     "0",
                                     "-1",
                                     "1.5",
                                     "1e3",
                                     "true",
                                     "null",
                                     " ",
                                     "\n"};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  uint32_t state = seed;
  if (draw(&state, 3) > 0) return LLVMFuzzerMutate(data, size, max_size);
  return mutate_text(data, size, max_size, &state, tokens, sizeof tokens / sizeof *tokens);
}

static void write_seeds(const char *directory) {
  static const char *const texts[] = {
      "{}",
      "[]",
      "\"\"",
      "0",
      " [ 1 , 22 , 18446744073709551615 ] ",
      "{\"a\":{\"b\":[[],{}]},\"c\":\"d\"}\n\t\r ",
      "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD834\\uDD1E\\u20ac\"]",
      "\"\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\x7F\xC2\x9B\"",
      "[true,false,null,-1,1.5,1e3,\"\\ud800\"]",
      "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\"__metadata__\":{\"k\":\"v\"}}",
  };
  char nested[2 * LURN__JSON_DEPTH];
  memset(nested, '[', LURN__JSON_DEPTH);
  memset(nested + LURN__JSON_DEPTH, ']', LURN__JSON_DEPTH);
  write_seed(directory, "nested", 0, nested, sizeof nested);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    write_seed(directory, "text", (int)i, texts[i], strlen(texts[i]));
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
    char text[64];
    int n = snprintf(text, sizeof text, "[\"%s\",%s]", tokens[i], tokens[i]);
    write_seed(directory, "token", (int)i, text, (size_t)n);
  }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  seeds_asked(*argc, *argv, write_seeds);
  return 0;
}
