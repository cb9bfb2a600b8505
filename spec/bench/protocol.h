/* The line protocol between the benchmark and its workers in C, and how they measure: see spec/bench/README.md. */
#ifndef LURN_BENCH_PROTOCOL_H
#define LURN_BENCH_PROTOCOL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BENCH_LINE = 4096 };

/* One line of the benchmark: a verb, then name=value separated by tabs. */
typedef struct bench_request {
  char verb[16], kind[16], mode[16];
  int64_t T, N, D, H, C, E, M, bytes;
  double budget; /* seconds to measure for */
} bench_request;

static inline void bench_text(char out[16], const char *value) { snprintf(out, 16, "%s", value); }

/* Takes a field; names nobody knows are left for later versions. */
static inline void bench_field(bench_request *r, const char *name, const char *value) {
  struct {
    const char *name;
    int64_t *into;
  } numbers[] = {{"T", &r->T}, {"N", &r->N}, {"D", &r->D}, {"H", &r->H},
                 {"C", &r->C}, {"E", &r->E}, {"M", &r->M}, {"bytes", &r->bytes}};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    if (strcmp(name, numbers[i].name) == 0) *numbers[i].into = strtoll(value, NULL, 10);
  if (strcmp(name, "budget") == 0) r->budget = strtod(value, NULL);
  if (strcmp(name, "kind") == 0) bench_text(r->kind, value);
  if (strcmp(name, "mode") == 0) bench_text(r->mode, value);
}

/* Reads the next request; false at the end of input. */
static inline bool bench_read(bench_request *r) {
  char line[BENCH_LINE];
  if (!fgets(line, sizeof line, stdin)) return false;
  *r = (bench_request){.budget = 0.1};
  line[strcspn(line, "\n")] = 0;
  char *rest = line, *word;
  bench_text(r->verb, (word = strsep(&rest, "\t")) ? word : "");
  while ((word = strsep(&rest, "\t")) != NULL) {
    char *value = strchr(word, '=');
    if (value) *value++ = 0;
    if (value) bench_field(r, word, value);
  }
  return true;
}

static inline void bench_say(const char *status, const char *text) {
  printf("%s\t%s\n", status, text);
  fflush(stdout);
}

static inline bool bench_is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* Seconds on a clock that only moves forward. */
static inline double bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline int bench_compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Measures step(ud) and answers with the median of seconds per call: a quarter of the budget warms up, then samples of at
 * least a millisecond fill the budget.  A step that returns false ends it with an error. */
static inline void bench_measure(const bench_request *r, bool (*step)(void *ud), void *ud) {
  enum { MOST = 4096 };
  static double samples[MOST];
  int warm = 0, n = 0, calls = 0;
  double start = bench_now(), elapsed;
  do {
    if (!step(ud)) return bench_say("error", "a step failed");
    warm++;
    elapsed = bench_now() - start;
  } while (elapsed < r->budget / 4);
  int batch = (int)(1e-3 * warm / elapsed);
  if (batch < 1) batch = 1;
  start = bench_now();
  do {
    double before = bench_now();
    for (int i = 0; i < batch; i++, calls++)
      if (!step(ud)) return bench_say("error", "a step failed");
    samples[n++] = (bench_now() - before) / batch;
  } while (n < MOST && bench_now() - start < r->budget);
  qsort(samples, (size_t)n, sizeof samples[0], bench_compare);
  printf("ok\tseconds=%.9g\tcalls=%d\n", (samples[(n - 1) / 2] + samples[n / 2]) / 2, calls);
  fflush(stdout);
}

/* Numbers that every worker makes alike: on +-scale, different for every seed. */
static inline void bench_fill(float *out, int64_t n, uint32_t seed, double scale) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = (uint32_t)(i + 1) * 2654435761u + seed * 40503u;
    out[i] = (float)((u / 4294967296.0 * 2 - 1) * scale);
  }
}

/* The answer to `check`: bench_values_begin, numbers, bench_values_end. */
static inline void bench_values_begin(void) { printf("ok\tvalues="); }
static inline void bench_values(const float *v, int64_t n) {
  for (int64_t i = 0; i < n; i++) printf("%.9g ", (double)v[i]);
}
static inline void bench_values_end(void) {
  printf("\n");
  fflush(stdout);
}

/* A field of /proc/self/status in KiB, 0 where there is none. */
static inline long bench_resident(const char *field) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  long found = 0;
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, field, strlen(field)) == 0) found = strtol(line + strlen(field) + 1, NULL, 10);
  if (file) fclose(file);
  return found;
}

/* The answer to `memory`: three calls of step, and what resident memory they reached from where. */
static inline void bench_memory(long before, bool (*step)(void *ud), void *ud) {
  for (int i = 0; i < 3; i++)
    if (!step(ud)) return bench_say("error", "a step failed");
  printf("ok\tbase_kib=%ld\tpeak_kib=%ld\n", before, bench_resident("VmHWM"));
  fflush(stdout);
}

#endif
