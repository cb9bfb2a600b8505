/* A small harness for tests in C.  One program per file spec/c/test_*.c:
 *
 *     #include "harness.h"
 *     TEST(shape_overflow) {
 *       CHECK(lurn__mul(SIZE_MAX, 2, &n) == false);
 *       if (!CHECK(p != NULL)) return;       a check is an expression: its value says whether it held
 *       CHECK_EQ(shape.ndim, 3);
 *     }
 *
 * A failed check is printed and the test goes on.  `build/test/test_x` runs all tests in the order of the file,
 * `build/test/test_x name...` those named, `-l` lists them.  The last line is "N passed, N failed". */
#ifndef LURN_SPEC_HARNESS_H
#define LURN_SPEC_HARNESS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct harness_test {
  const char *name;
  void (*run)(void);
  struct harness_test *next;
} harness_test;

static struct {
  harness_test *first, *last;
  const char *running;
  int failed_checks; /* of the running test */
} harness;

static inline void harness_add(harness_test *test) {
  if (harness.last) harness.last->next = test;
  else harness.first = test;
  harness.last = test;
}

/* Defines a test, which registers itself before main. */
#define TEST(name)                                                                                                     \
  static void test_##name(void);                                                                                       \
  __attribute__((constructor)) static void register_##name(void) {                                                     \
    static harness_test test = {#name, test_##name, NULL};                                                             \
    harness_add(&test);                                                                                                \
  }                                                                                                                    \
  static void test_##name(void)

static inline bool harness_check(bool holds, const char *file, int line, const char *text) {
  if (holds) return true;
  harness.failed_checks++;
  printf("FAIL %s %s:%d %s\n", harness.running, file, line, text);
  return false;
}

static inline bool harness_eq(int64_t a, int64_t b, const char *file, int line, const char *text) {
  if (harness_check(a == b, file, line, text)) return true;
  printf("     %lld and %lld\n", (long long)a, (long long)b);
  return false;
}

/* NaN is near NaN, and an infinity near itself. */
static inline bool harness_near(double a, double b, double tolerance, const char *file, int line, const char *text) {
  bool holds = a == b || fabs(a - b) <= tolerance || (isnan(a) && isnan(b));
  if (harness_check(holds, file, line, text)) return true;
  printf("     %.17g and %.17g differ by %.3g, allowed is %.3g\n", a, b, fabs(a - b), tolerance);
  return false;
}

static inline bool harness_str(const char *a, const char *b, const char *file, int line, const char *text) {
  bool holds = a == b || (a && b && strcmp(a, b) == 0);
  if (harness_check(holds, file, line, text)) return true;
  printf("     \"%s\" and \"%s\"\n", a ? a : "(null)", b ? b : "(null)");
  return false;
}

static inline bool harness_has(const char *a, const char *part, const char *file, int line, const char *text) {
  if (harness_check(a && strstr(a, part), file, line, text)) return true;
  printf("     \"%s\" does not contain \"%s\"\n", a ? a : "(null)", part);
  return false;
}

#define CHECK(condition) harness_check((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(a, b) harness_eq((int64_t)(a), (int64_t)(b), __FILE__, __LINE__, #a " == " #b) /* integers */
#define CHECK_NEAR(a, b, tol) harness_near((a), (b), (tol), __FILE__, __LINE__, #a " ~ " #b)
#define CHECK_STR(a, b) harness_str((a), (b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_HAS(string, part) harness_has((string), (part), __FILE__, __LINE__, #string " has " #part)

/* The length of a chain that is to be long: at most $LURN_LONGEST, under tools that make every step slow. */
static inline int harness_length(int wanted) {
  const char *text = getenv("LURN_LONGEST");
  long longest = text != NULL ? strtol(text, NULL, 10) : wanted;
  return longest < wanted ? (int)longest : wanted;
}

/* Whether the command line asks for this test; with no names it asks for all. */
static inline bool harness_wanted(const char *name, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], name) == 0) return true;
  }
  return argc < 2;
}

static inline bool harness_run(const harness_test *test) {
  harness.running = test->name;
  harness.failed_checks = 0;
  test->run();
  if (harness.failed_checks == 0) printf("ok %s\n", test->name);
  fflush(stdout); /* should the next test crash, this one is on record */
  return harness.failed_checks == 0;
}

int main(int argc, char **argv) {
  bool list = argc == 2 && strcmp(argv[1], "-l") == 0;
  int passed = 0, failed = 0;
  for (const harness_test *test = harness.first; test; test = test->next) {
    if (list) puts(test->name);
    else if (harness_wanted(test->name, argc, argv)) harness_run(test) ? passed++ : failed++;
  }
  if (list) return 0;
  if (passed + failed == 0) {
    printf("FAIL there is no such test\n");
    failed = 1;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}

#endif
