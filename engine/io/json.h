/* A strict JSON reader that pulls one value after another out of a range of memory, and a writer of strings.  It knows objects,
 * arrays, strings and non-negative integers; anything else is an error.  No tree, no allocation, no context.
 *
 *     lurn__json json = lurn__json_from(text, bytes);
 *     lurn__json_str key;
 *     if (lurn__json_object(&json))
 *       while (lurn__json_member(&json, &key)) ... read one value ...
 *     if (!lurn__json_end(&json)) complain(json.error, json.next - json.text);
 *
 * The first error stays: every later call returns false at once.  Keys that come twice are the caller's to find. */
#ifndef LURN_IO_JSON_H
#define LURN_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LURN__JSON_DEPTH = 64 }; /* containers open at once */

typedef struct lurn__json {
  const char *text, *next, *end;
  const char *error; /* what is wrong at next; NULL while all is well */
  int depth;
  bool fresh; /* a container was opened and nothing in it read yet */
} lurn__json;

/* A string of the text, checked but not decoded. */
typedef struct lurn__json_str {
  const char *raw; /* what stands between the quotes */
  size_t raw_bytes;
  size_t bytes; /* of its value in UTF-8; at most raw_bytes */
} lurn__json_str;

lurn__json lurn__json_from(const char *text, size_t bytes);

bool lurn__json_object(lurn__json *json); /* enters an object */
bool lurn__json_array(lurn__json *json);  /* enters an array */
/* Goes to the next member, whose value comes next, or leaves the object and returns false. */
bool lurn__json_member(lurn__json *json, lurn__json_str *key);
/* Goes to the next element, or leaves the array and returns false. */
bool lurn__json_element(lurn__json *json);
bool lurn__json_string(lurn__json *json, lurn__json_str *out);
bool lurn__json_uint(lurn__json *json, uint64_t *out);
/* True when nothing but white space is left and there was no error. */
bool lurn__json_end(lurn__json *json);

/* Writes the value, as many whole characters as fit into room, and returns their bytes.  out may be str->raw itself. */
size_t lurn__json_decode(const lurn__json_str *str, char *out, size_t room);
bool lurn__json_is(const lurn__json_str *str, const char *value);

/* Length of the UTF-8 character at p < end (1..4), or 0 when it is none: overlong forms, surrogates, above U+10FFFF, cut off. */
int lurn__utf8_step(const char *p, const char *end);
bool lurn__utf8_valid(const char *s, size_t bytes);

/* Writes s (valid UTF-8) as a JSON string, quotes included, without a final zero, and returns its length.  Control characters are
 * escaped, so that the text is safe on a terminal.  With out NULL it only counts. */
size_t lurn__json_quote(const char *s, size_t bytes, char *out);
/* The same, ending with zero and shortened ("..." after the quote), for messages.  Returns text. */
enum { LURN__JSON_SHOW = 80 };
const char *lurn__json_show(const char *s, size_t bytes, char text[LURN__JSON_SHOW]);

#endif
