/* The worker that measures what the machine can do: fused multiply-adds in registers, OpenBLAS's sgemm, and reading memory that
 * lies in cache. */

#include <cblas.h>

#include "protocol.h"

/* Declared here, since only OpenBLAS has it. */
char *openblas_get_corename(void);

/* ---- Fused multiply-add ------------------------------------------------------------------------------------ */

/* Chains side by side, more than latency times issue width; each step of each is one fused multiply-add.  Vectors are the
 * compiler's own, so that one text serves every instruction set. */
enum { CHAINS = 12, FMA_STEPS = 4096 };

#define FMA_LOOP(vector, lanes, x)                                                                                     \
  vector a[CHAINS], m = {0}, b = {0};                                                                                  \
  for (int j = 0; j < (lanes); j++) m[j] = 0.999f, b[j] = (x);                                                         \
  for (int k = 0; k < CHAINS; k++) a[k] = b + (float)k;                                                                \
  for (int i = 0; i < FMA_STEPS; i++)                                                                                  \
    for (int k = 0; k < CHAINS; k++) a[k] = a[k] * m + b;                                                              \
  float sum = 0;                                                                                                       \
  for (int k = 0; k < CHAINS; k++)                                                                                     \
    for (int j = 0; j < (lanes); j++) sum += a[k][j];                                                                  \
  return sum;

typedef float vector4 __attribute__((vector_size(16), may_alias));
__attribute__((noinline)) static float fma_plain(float x) { FMA_LOOP(vector4, 4, x) }

#if defined(__x86_64__)
typedef float vector8 __attribute__((vector_size(32), may_alias));
typedef float vector16 __attribute__((vector_size(64), may_alias));
__attribute__((noinline, target("avx2,fma"))) static float fma_avx2(float x) { FMA_LOOP(vector8, 8, x) }
__attribute__((noinline, target("avx512f,fma"))) static float fma_avx512(float x) { FMA_LOOP(vector16, 16, x) }
#endif

typedef struct fma_kernel {
  const char *name;
  int lanes;
  float (*run)(float x);
} fma_kernel;

static fma_kernel best_fma(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return (fma_kernel){"avx512", 16, fma_avx512};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (fma_kernel){"avx2", 8, fma_avx2};
#endif
  return (fma_kernel){"plain", 4, fma_plain};
}

static volatile float sink; /* keeps results from being left out */

static bool fma_step(void *ud) {
  const fma_kernel *kernel = ud;
  sink = kernel->run(1e-3f);
  return true;
}

/* ---- sgemm ------------------------------------------------------------------------------------------------- */

typedef struct product {
  int64_t m;
  float *a, *b, *c; /* (m, m) each, c = a b */
} product;

static bool sgemm_step(void *ud) {
  product *p = ud;
  int m = (int)p->m;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, m, m, 1, p->a, m, p->b, m, 0, p->c, m);
  return true;
}

static void serve_sgemm(const bench_request *r) {
  size_t count = (size_t)(r->M * r->M);
  product p = {r->M, malloc(count * sizeof(float)), malloc(count * sizeof(float)), malloc(count * sizeof(float))};
  if (p.a && p.b && p.c) {
    bench_fill(p.a, r->M * r->M, 1, 1);
    bench_fill(p.b, r->M * r->M, 2, 1);
    memset(p.c, 0, count * sizeof(float));
    bench_measure(r, sgemm_step, &p);
  } else {
    bench_say("error", "out of memory");
  }
  free(p.a);
  free(p.b);
  free(p.c);
}

/* ---- Reading ----------------------------------------------------------------------------------------------- */

typedef struct reading {
  const float *data;
  size_t count; /* a multiple of 128 */
} reading;

/* Eight sums side by side, so that additions do not wait for each other; 128 floats at most at a time. */
#define READ_LOOP(vector, lanes)                                                                                       \
  const vector *data = (const vector *)(const void *)r->data;                                                          \
  vector sums[8] = {{0}};                                                                                              \
  for (size_t i = 0; i < r->count / (lanes); i += 8)                                                                   \
    for (size_t k = 0; k < 8; k++) sums[k] += data[i + k];                                                             \
  float sum = 0;                                                                                                       \
  for (int k = 0; k < 8; k++)                                                                                          \
    for (int j = 0; j < (lanes); j++) sum += sums[k][j];                                                               \
  return sum;

__attribute__((noinline)) static float read_plain(const reading *r) { READ_LOOP(vector4, 4) }

#if defined(__x86_64__)
__attribute__((noinline, target("avx2"))) static float read_avx2(const reading *r) { READ_LOOP(vector8, 8) }
__attribute__((noinline, target("avx512f"))) static float read_avx512(const reading *r) { READ_LOOP(vector16, 16) }
#endif

static bool read_step(void *ud) {
  const reading *r = ud;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    sink = read_avx512(r);
    return true;
  }
  if (__builtin_cpu_supports("avx2")) {
    sink = read_avx2(r);
    return true;
  }
#endif
  sink = read_plain(r);
  return true;
}

static void serve_read(const bench_request *r) {
  size_t count = ((size_t)r->bytes / sizeof(float) + 127) / 128 * 128;
  float *data = aligned_alloc(64, count * sizeof *data);
  if (!data) return bench_say("error", "out of memory");
  bench_fill(data, (int64_t)count, 1, 1);
  reading reads = {data, count};
  bench_measure(r, read_step, &reads);
  free(data);
}

/* ---- Requests ---------------------------------------------------------------------------------------------- */

int main(void) {
  fma_kernel kernel = best_fma();
  bench_request r;
  while (bench_read(&r)) {
    if (bench_is(r.verb, "info"))
      printf("ok\tversion=%s\tcore=%s\tisa=%s\tfma_flops=%d\n", "", openblas_get_corename(), kernel.name,
             2 * kernel.lanes * CHAINS * FMA_STEPS),
          fflush(stdout);
    else if (bench_is(r.kind, "fma")) bench_measure(&r, fma_step, &kernel);
    else if (bench_is(r.kind, "matmul")) serve_sgemm(&r);
    else if (bench_is(r.kind, "read")) serve_read(&r);
    else bench_say("skip", "not a peak");
  }
  return 0;
}
