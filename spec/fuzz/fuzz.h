/* What the fuzz targets share: requirements, an allocator that knows the most memory ever out, seeds, mutation of text.
 *
 * A target is run by libFuzzer (`make fuzz`); `TARGET --seeds=DIRECTORY` writes the inputs it starts from. */
#ifndef LURN_SPEC_FUZZ_H
#define LURN_SPEC_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lurn.h"

/* What libFuzzer calls, and what it gives. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* A property that does not hold ends the program, as a crash does: libFuzzer keeps the input. */
#define REQUIRE(condition)                                                                                             \
  do {                                                                                                                 \
    if (!(condition)) fuzz_failed(#condition, __FILE__, __LINE__);                                                     \
  } while (0)

static inline void fuzz_failed(const char *text, const char *file, int line) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, text);
  abort();
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

typedef struct metered {
  size_t now, most; /* bytes out */
} metered;

static inline void *metered_alloc(void *ud, void *p, size_t old_size, size_t new_size) {
  metered *m = ud;
  if (new_size == 0) {
    m->now -= p != NULL ? old_size : 0;
    free(p);
    return NULL;
  }
  void *q = malloc(new_size); /* the engine never resizes */
  if (q == NULL) return NULL;
  m->now += new_size;
  if (m->now > m->most) m->most = m->now;
  return q;
}

/* A context whose pool keeps nothing, so that what is out is what the engine holds. */
static inline lurn_ctx *metered_ctx(metered *m) {
  lurn_config config = {.alloc = metered_alloc, .alloc_ud = m, .num_threads = 1, .seed = 1, .cache_limit = 1};
  lurn_ctx *ctx = NULL;
  REQUIRE(lurn_ctx_new(&config, &ctx) == LURN_OK);
  return ctx;
}

/* ---- Seeds ------------------------------------------------------------------------------------------------- */

static inline void write_seed(const char *directory, const char *name, int number, const void *p, size_t bytes) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s-%03d", directory, name, number);
  FILE *file = fopen(path, "wb");
  REQUIRE(file != NULL && fwrite(p, 1, bytes, file) == bytes && fclose(file) == 0);
}

/* Writes the seeds and ends the program when it was called for that. */
static inline void seeds_asked(int argc, char **argv, void (*write)(const char *directory)) {
  static const char option[] = "--seeds=";
  if (argc < 2 || strncmp(argv[1], option, sizeof option - 1) != 0) return;
  write(argv[1] + sizeof option - 1);
  exit(0);
}

/* ---- Mutation ---------------------------------------------------------------------------------------------- */

/* xorshift; a seed of 0 would stay 0. */
static inline uint32_t draw(uint32_t *state, uint32_t below) {
  uint32_t x = *state | 1;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  *state = x;
  return x % below;
}

/* Replaces `cut` bytes at `at` by n bytes of p, as far as there is room; the new size. */
static inline size_t replace(uint8_t *data, size_t size, size_t max_size, size_t at, size_t cut, const void *p,
                             size_t n) {
  if (size - cut + n > max_size) return size;
  memmove(data + at + n, data + at + cut, size - at - cut);
  memcpy(data + at, p, n);
  return size - cut + n;
}

/* Puts one of the tokens somewhere, or copies a piece of the text elsewhere. */
static inline size_t mutate_text(uint8_t *data, size_t size, size_t max_size, uint32_t *state,
                                 const char *const *tokens, uint32_t n_tokens) {
  uint8_t piece[64];
  size_t at = draw(state, (uint32_t)size + 1);
  if (size < 2 || draw(state, 2) == 0) {
    const char *token = tokens[draw(state, n_tokens)];
    size_t cut = draw(state, 2) == 0 ? 0 : draw(state, (uint32_t)(size - at < 20 ? size - at : 20) + 1);
    return replace(data, size, max_size, at, cut, token, strlen(token));
  }
  size_t from = draw(state, (uint32_t)size), n = 1 + draw(state, sizeof piece);
  if (n > size - from) n = size - from;
  memcpy(piece, data + from, n);
  return replace(data, size, max_size, at, 0, piece, n);
}

#endif
