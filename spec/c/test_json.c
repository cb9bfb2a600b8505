/* engine/io/json: what it takes, and what it rejects and where. */
#include <stdlib.h>

#include "harness.h"
#include "io/json.h"

/* Walks any value the reader knows; its shape is told by the next character. */
static void walk(lurn__json *json) {
  lurn__json_str str;
  uint64_t number;
  while (json->next < json->end && strchr(" \n\r\t", *json->next) != NULL && *json->next != '\0') json->next++;
  char c = '\0';
  if (json->next < json->end) c = *json->next;
  if (c == '{') {
    if (lurn__json_object(json))
      while (lurn__json_member(json, &str)) walk(json);
  } else if (c == '[') {
    if (lurn__json_array(json))
      while (lurn__json_element(json)) walk(json);
  } else if (c == '"') {
    (void)lurn__json_string(json, &str);
  } else {
    (void)lurn__json_uint(json, &number);
  }
}

/* Reads from a heap copy of exact size, so that a sanitizer sees reading past the end. */
static bool accepts(const char *text, size_t bytes, const char **error, long *at) {
  char *copy = malloc(bytes > 0 ? bytes : 1);
  memcpy(copy, text, bytes);
  lurn__json json = lurn__json_from(copy, bytes);
  walk(&json);
  bool ok = lurn__json_end(&json);
  if (error != NULL) *error = json.error;
  if (at != NULL) *at = (long)(json.next - json.text);
  free(copy);
  return ok;
}

TEST(json_accepts) {
  static const char *const sound[] = {
      "{}",
      "[]",
      "\"\"",
      "0",
      "18446744073709551615",
      " [ 1 , 2 ] ",
      "{\"a\":{\"b\":[[],{}]},\"c\":\"d\"}\n\t\r ",
      "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD834\\uDD1E\"]",
      "[\"\\uE000\",\"\\ufffd\"]",
      "\"\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\x7F\"",
  };
  for (size_t i = 0; i < sizeof sound / sizeof *sound; i++)
    if (!CHECK(accepts(sound[i], strlen(sound[i]), NULL, NULL))) printf("     %s\n", sound[i]);
}

TEST(json_rejects) {
  static const struct {
    const char *text, *error;
    long at;
  } faults[] = {
      {"", "ends too early", 0},
      {"{", "ends too early", 1},
      {"[1", "ends too early", 2},
      {"\"ab", "ends too early", 3},
      {"[1,]", "non-negative integer", 3},
      {"{\"a\":1,}", "expected a string", 7},
      {"[1 2]", "expected ',' or ']'", 3},
      {"{\"a\" 1}", "expected ':'", 5},
      {"{\"a\":1]", "expected ',' or '}'", 6},
      {"[1}", "expected ',' or ']'", 2},
      {"{1:2}", "expected a string", 1},
      {"{a:2}", "expected a string", 1},
      {"[,1]", "non-negative integer", 1},
      {"[] x", "after the end", 3},
      {"[]]", "after the end", 2},
      {"01", "leading zero", 0},
      {"-1", "non-negative integer", 0},
      {"+1", "non-negative integer", 0},
      {"1.0", "expected an integer", 0},
      {"1e3", "expected an integer", 0},
      {"18446744073709551616", "above 64 bits", 0},
      {"99999999999999999999999", "above 64 bits", 0},
      {"true", "non-negative integer", 0},
      {"null", "non-negative integer", 0},
      {"NaN", "non-negative integer", 0},
      {"'a'", "non-negative integer", 0},
      {"\"a\nb\"", "control character", 2},
      {"\"\\x\"", "invalid escape", 1},
      {"\"\\u12g4\"", "invalid escape", 1},
      {"\"\\u12\"", "invalid escape", 1},
      {"\"\\uD800\"", "invalid escape", 1},
      {"\"\\uDC00\"", "invalid escape", 1},
      {"\"\\uD800\\u0041\"", "invalid escape", 1},
      {"\"\\uD800\\uD800\"", "invalid escape", 1},
      {"\"\\uD800x\\uDC00\"", "invalid escape", 1},
      {"\"\\uD800\\nDC00\"", "invalid escape", 1},
      {"\"\\uD800\\uDCxx\"", "invalid escape", 1},
      {"\"\\uD800\\uE000\"", "invalid escape", 1},
      {"\"\\", "invalid escape", 1},
      {"\"\x80\"", "invalid UTF-8", 1},
      {"\"\xC0\x80\"", "invalid UTF-8", 1},
      {"\"\xC3\"", "invalid UTF-8", 1},
      {"\"\xE0\x80\x80\"", "invalid UTF-8", 1},
      {"\"\xED\xA0\x80\"", "invalid UTF-8", 1},
      {"\"\xF0\x80\x80\x80\"", "invalid UTF-8", 1},
      {"\"\xF4\x90\x80\x80\"", "invalid UTF-8", 1},
      {"\"\xF5\x80\x80\x80\"", "invalid UTF-8", 1},
      {"\"\xE2\x82", "invalid UTF-8", 1},
      {"\xEF\xBB\xBF{}", "non-negative integer", 0},
  };
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    const char *error;
    long at;
    bool held = CHECK(!accepts(faults[i].text, strlen(faults[i].text), &error, &at));
    held = CHECK_HAS(error, faults[i].error) && held;
    held = CHECK_EQ(at, faults[i].at) && held;
    if (!held) printf("     %s\n", faults[i].text);
  }
}

TEST(json_rejects_zero_bytes) {
  CHECK(!accepts("\"a\0b\"", 5, NULL, NULL));
  CHECK(!accepts("\"\\\0\"", 4, NULL, NULL));
  CHECK(!accepts("{}\0", 3, NULL, NULL));
}

TEST(json_rejects_every_truncation) {
  static const char text[] = "{\"a\\u00e9\":[1,23],\"\xE2\x82\xAC\":{\"\\uD834\\uDD1E\":\"x\"}}";
  size_t bytes = sizeof text - 1;
  CHECK(accepts(text, bytes, NULL, NULL));
  for (size_t n = 0; n < bytes; n++)
    if (!CHECK(!accepts(text, n, NULL, NULL))) printf("     cut to %zu bytes\n", n);
}

TEST(json_limits_depth) {
  char text[2 * LURN__JSON_DEPTH + 2];
  memset(text, '[', LURN__JSON_DEPTH + 1);
  memset(text + LURN__JSON_DEPTH + 1, ']', LURN__JSON_DEPTH + 1);
  const char *error;
  long at;
  CHECK(accepts(text + 1, 2 * LURN__JSON_DEPTH, NULL, NULL));
  CHECK(!accepts(text, sizeof text, &error, &at));
  CHECK_STR(error, "nested too deeply");
  CHECK_EQ(at, LURN__JSON_DEPTH);
}

TEST(json_numbers_are_exact) {
  static const char text[] = "[0,1,9007199254740993,9223372036854775807,18446744073709551615]";
  static const uint64_t expected[] = {0, 1, 9007199254740993u, INT64_MAX, UINT64_MAX};
  lurn__json json = lurn__json_from(text, strlen(text));
  size_t n = 0;
  CHECK(lurn__json_array(&json));
  while (lurn__json_element(&json)) {
    uint64_t value;
    if (!CHECK(lurn__json_uint(&json, &value) && n < 5)) return;
    CHECK(value == expected[n++]);
  }
  CHECK(lurn__json_end(&json) && n == 5);
}

TEST(json_decodes_strings_in_place) {
  char text[] = "\"a\\n\\u00e9\\u20ac\\ud834\\udd1e\\\"\\/\xC3\xA9\\u0000z\"";
  static const char expected[] = "a\n\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E\"/\xC3\xA9\0z";
  lurn__json json = lurn__json_from(text, strlen(text));
  lurn__json_str str;
  if (!CHECK(lurn__json_string(&json, &str))) return;
  CHECK_EQ(str.bytes, sizeof expected - 1);
  CHECK(str.bytes <= str.raw_bytes);
  char piece[5];
  CHECK_EQ(lurn__json_decode(&str, piece, sizeof piece), 4); /* the euro sign does not fit */
  CHECK(memcmp(piece, expected, 4) == 0);
  CHECK_EQ(lurn__json_decode(&str, text + 1, str.bytes), sizeof expected - 1);
  CHECK(memcmp(text + 1, expected, sizeof expected - 1) == 0);
}

TEST(json_compares_decoded_strings) {
  static const char text[] = "\"d\\u0074ype\"";
  lurn__json json = lurn__json_from(text, strlen(text));
  lurn__json_str str;
  if (!CHECK(lurn__json_string(&json, &str))) return;
  CHECK(lurn__json_is(&str, "dtype"));
  CHECK(!lurn__json_is(&str, "dtypes"));
  CHECK(!lurn__json_is(&str, "dtyp"));
  CHECK(!lurn__json_is(&str, "d\\u0074ype"));
}

TEST(json_error_stays) {
  lurn__json json = lurn__json_from("[x, 1]", 6);
  lurn__json_str str;
  uint64_t number = 7;
  CHECK(lurn__json_array(&json) && lurn__json_element(&json));
  CHECK(!lurn__json_uint(&json, &number));
  CHECK(!lurn__json_element(&json) && !lurn__json_member(&json, &str) && !lurn__json_string(&json, &str));
  CHECK(!lurn__json_uint(&json, &number) && !lurn__json_array(&json) && !lurn__json_object(&json) &&
        !lurn__json_end(&json));
  CHECK_EQ(number, 7);
  CHECK_EQ(json.next - json.text, 1);
}

TEST(json_quotes) {
  static const char value[] = "q\" b\\ n\n \x01\x1F\x7F\xC2\x9B \xC2\xA0\xC3\xA9\xE2\x82\xAC /";
  static const char expected[] = "\"q\\\" b\\\\ n\\n \\u0001\\u001f\\u007f\\u009b \xC2\xA0\xC3\xA9\xE2\x82\xAC /\"";
  char out[128];
  size_t bytes = lurn__json_quote(value, strlen(value), NULL);
  CHECK_EQ(bytes, strlen(expected));
  CHECK_EQ(lurn__json_quote(value, strlen(value), out), bytes);
  CHECK(memcmp(out, expected, bytes) == 0);
}

/* Every character of every length comes back as it was. */
TEST(json_quoting_round_trip) {
  char s[4], quoted[16], back[4];
  int wrong = 0;
  for (uint32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 61) {
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    uint32_t rest = code;
    for (int i = n - 1; i > 0; i--, rest >>= 6) s[i] = (char)(unsigned char)(0x80 | (rest & 0x3F));
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    s[0] = (char)(unsigned char)(lead[n] | rest);
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (lurn__utf8_valid(s, (size_t)n) == surrogate) wrong++;
    if (surrogate) continue;
    size_t bytes = lurn__json_quote(s, (size_t)n, quoted);
    lurn__json json = lurn__json_from(quoted, bytes);
    lurn__json_str str;
    if (!lurn__json_string(&json, &str) || str.bytes != (size_t)n || !lurn__json_end(&json)) wrong++;
    else if (lurn__json_decode(&str, back, sizeof back) != (size_t)n || memcmp(back, s, (size_t)n) != 0) wrong++;
  }
  CHECK_EQ(wrong, 0);
}

TEST(json_shows_names_shortened) {
  char text[LURN__JSON_SHOW], name[200];
  CHECK_STR(lurn__json_show("a\nb", 3, text), "\"a\\nb\"");
  CHECK_STR(lurn__json_show("\xFF z", 3, text), "\"? z\"");
  memset(name, 'x', sizeof name);
  lurn__json_show(name, sizeof name, text);
  CHECK_EQ(strlen(text), LURN__JSON_SHOW - 1);
  CHECK_HAS(text, "xxx\"...");
  memset(name, '\n', sizeof name);
  CHECK_HAS(lurn__json_show(name, sizeof name, text), "\\n\"...");
}
