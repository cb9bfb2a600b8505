/* The packed matrix products against a plain triple loop in double, under every instruction set. */
#include "harness.h"

#include <float.h>
#include <stdlib.h>

#include "core/cpu.h"
#include "kernels/gemm.h"

/* ---- Tables and element types ------------------------------------------------------------------------------ */

static const lurn__gemm_kernels *const tables[] = {
    &lurn__gemm_scalar,
#if defined(__x86_64__)
    &lurn__gemm_avx2,
    &lurn__gemm_avx512,
#endif
};

/* One table for one element type. */
typedef struct kind {
  const lurn__gemm *gemm;
  bool is_double;
} kind;

static size_t width(kind t) { return t.is_double ? sizeof(double) : sizeof(float); }
static double get(kind t, const void *a, int64_t i) {
  return t.is_double ? ((const double *)a)[i] : ((const float *)a)[i];
}
static void put(kind t, void *a, int64_t i, double x) {
  if (t.is_double) ((double *)a)[i] = x;
  else ((float *)a)[i] = (float)x;
}
static void *at(kind t, void *a, int64_t i) { return (char *)a + i * (int64_t)width(t); }

static void for_each_kind(void (*test)(kind t)) {
  for (int i = 0; i < (int)(sizeof tables / sizeof tables[0]) && i <= (int)lurn__cpu_best_isa(); i++) {
    test((kind){&tables[i]->f32, false});
    test((kind){&tables[i]->f64, true});
  }
}

/* ---- Data -------------------------------------------------------------------------------------------------- */

static uint64_t seed = 1;
static int64_t below(int64_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (int64_t)((seed >> 33) % (uint64_t)n);
}

static void *fresh(size_t bytes) {
  void *p = aligned_alloc(64, bytes / 64 * 64 + 64);
  if (p == NULL) abort();
  return p;
}

static void *random_array(kind t, int64_t n) {
  void *a = fresh((size_t)n * width(t));
  for (int64_t i = 0; i < n; i++) put(t, a, i, (double)(below(20001) - 10000) / 9973.0);
  return a;
}

/* A view (rows, cols) of a random array: row-major, transposed, spread in both dimensions, backwards, or one row repeated. */
enum { VIEWS = 5 };
static lurn__matrix random_view(kind t, int view, int64_t rows, int64_t cols, void **array) {
  lurn__matrix m = {NULL, cols, 1};
  int64_t origin = 0;
  if (view == 1) m.row = 1, m.col = rows;
  if (view == 2) m.row = 2 * cols + 1, m.col = 2;
  if (view == 3) m.row = -cols, m.col = -1, origin = rows * cols;
  if (view == 4) m.row = 0, m.col = 1;
  *array = random_array(t, (2 * rows + 2) * (2 * cols + 2));
  m.data = at(t, *array, origin);
  return m;
}

static double element(kind t, lurn__matrix a, int64_t i, int64_t j) { return get(t, a.data, i * a.row + j * a.col); }

/* ---- A product in all the ways there are ------------------------------------------------------------------- */

typedef struct product {
  kind t;
  int64_t m, n, k, ldc;
  lurn__matrix a, b;
  void *array_a, *array_b, *packed, *c; /* c: what C holds before */
  bool accumulate;
} product;

enum { GUARD = 77 }; /* in the padding of C */

static product new_product(kind t, int64_t m, int64_t n, int64_t k, int views, bool accumulate) {
  product p = {.t = t, .m = m, .n = n, .k = k, .ldc = n + 3, .accumulate = accumulate};
  p.a = random_view(t, views % VIEWS, m, k, &p.array_a);
  p.b = random_view(t, views / VIEWS, k, n, &p.array_b);
  p.c = random_array(t, (m + 1) * p.ldc);
  for (int64_t i = 0; i <= m; i++)
    for (int64_t j = i < m ? n : 0; j < p.ldc; j++) put(t, p.c, i * p.ldc + j, GUARD);
  p.packed = fresh((size_t)t.gemm->packed_size(k, n) * width(t));
  t.gemm->pack(k, n, p.b, 0, n, p.packed);
  return p;
}

static void free_product(product *p) {
  free(p->array_a);
  free(p->array_b);
  free(p->packed);
  free(p->c);
}

static int mode(const product *p) { return p->accumulate ? LURN__GEMM_ACCUMULATE : 0; }

static size_t c_bytes(const product *p) { return (size_t)((p->m + 1) * p->ldc) * width(p->t); }

static void *copy_of_c(const product *p) {
  void *c = fresh(c_bytes(p));
  memcpy(c, p->c, c_bytes(p));
  return c;
}

/* The product of rows [i, i + m) and columns [first, last). */
static void run_part(const product *p, int64_t i, int64_t m, int64_t first, int64_t last, void *c) {
  const lurn__gemm *g = p->t.gemm;
  lurn__matrix a = p->a;
  a.data = (const char *)a.data + i * a.row * (int64_t)width(p->t);
  char *scratch = fresh(g->packed_scratch(m, p->k));
  g->run_packed(m, p->n, p->k, a, p->packed, first, last, at(p->t, c, i * p->ldc), p->ldc, mode(p), scratch);
  free(scratch);
}

static void *run_plain(const product *p) {
  const lurn__gemm *g = p->t.gemm;
  void *c = copy_of_c(p), *scratch = fresh(g->scratch(p->m, p->n, p->k));
  g->run(p->m, p->n, p->k, p->a, p->b, c, p->ldc, mode(p), scratch);
  free(scratch);
  return c;
}

static void *run_whole(const product *p) {
  void *c = copy_of_c(p);
  run_part(p, 0, p->m, 0, p->n, c);
  return c;
}

/* k + 1 roundings of at most eps / 2 of the sum of magnitudes, doubled for the roundings of partial sums themselves. */
static bool element_is_right(const product *p, const void *c, int64_t i, int64_t j) {
  double before = p->accumulate ? get(p->t, p->c, i * p->ldc + j) : 0, sum = before, magnitude = fabs(before);
  for (int64_t q = 0; q < p->k; q++) {
    double term = element(p->t, p->a, i, q) * element(p->t, p->b, q, j);
    sum += term;
    magnitude += fabs(term);
  }
  double eps = p->t.is_double ? DBL_EPSILON : FLT_EPSILON;
  return CHECK_NEAR(get(p->t, c, i * p->ldc + j), sum, (double)(p->k + 1) * eps * magnitude);
}

static bool is_right(const product *p, const void *c) {
  for (int64_t i = 0; i <= p->m; i++)
    for (int64_t j = 0; j < p->ldc; j++)
      if (i == p->m || j >= p->n ? !CHECK(get(p->t, c, i * p->ldc + j) == GUARD) : !element_is_right(p, c, i, j)) {
        printf("     %d x %d x %d at %d, %d\n", (int)p->m, (int)p->n, (int)p->k, (int)i, (int)j);
        return false;
      }
  return true;
}

/* ---- Tests ------------------------------------------------------------------------------------------------- */

static const int64_t shapes[][3] = {{1, 1, 1},   {1, 7, 3},     {2, 33, 5},    {3, 16, 4},    {4, 31, 9},  {5, 32, 8},
                                    {6, 65, 13}, {7, 100, 2},   {8, 17, 257},  {13, 129, 12}, {14, 8, 31}, {15, 47, 16},
                                    {16, 96, 7}, {29, 12, 300}, {50, 130, 33}, {1, 300, 65},  {2, 200, 66}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void check_values(kind t) {
  for (int s = 0; s < SHAPES; s++)
    for (int views = 0; views < VIEWS * VIEWS; views++) {
      product p = new_product(t, shapes[s][0], shapes[s][1], shapes[s][2], views, (s + views) % 2);
      void *packed = run_whole(&p), *plain = run_plain(&p);
      if (is_right(&p, packed)) CHECK(memcmp(packed, plain, c_bytes(&p)) == 0);
      free(packed);
      free(plain);
      free_product(&p);
    }
}
TEST(values) { for_each_kind(check_values); }

/* Larger than every block: several blocks of rows, columns and k. */
static void check_blocks(kind t) {
  product p = new_product(t, 431, 70, 530, 1, true), q = new_product(t, 3, 1100, 259, 5, false);
  void *c = run_plain(&p), *d = run_plain(&q);
  is_right(&p, c);
  is_right(&q, d);
  free(c);
  free(d);
  free_product(&p);
  free_product(&q);
}
TEST(blocks) { for_each_kind(check_blocks); }

/* Columns beyond every block, of more rows than are taken to be few, as one call and as many. */
static void check_wide(kind t) {
  product p = new_product(t, 67, 2100, 259, 1, true);
  void *whole = run_whole(&p), *plain = run_plain(&p);
  if (is_right(&p, whole)) CHECK(memcmp(whole, plain, c_bytes(&p)) == 0);
  free(whole);
  free(plain);
  free_product(&p);
}
TEST(wide) { for_each_kind(check_wide); }

/* Few rows and weights beyond the cache, in both directions: the bits of any other way. */
static void check_far(kind t) {
  for (int rows = 1; rows <= 17; rows += 4) {
    product p = new_product(t, rows, 1111, 263, rows / 4 % VIEWS, rows % 8 == 1);
    const lurn__gemm *g = t.gemm;
    void *plain = run_plain(&p), *scratch = fresh(g->packed_scratch(p.m, p.k));
    is_right(&p, plain);
    for (int backwards = 0; backwards <= LURN__GEMM_BACKWARDS; backwards += LURN__GEMM_BACKWARDS) {
      void *c = copy_of_c(&p);
      g->run_packed(p.m, p.n, p.k, p.a, p.packed, 0, p.n, c, p.ldc, mode(&p) | backwards, scratch);
      CHECK(memcmp(c, plain, c_bytes(&p)) == 0);
      free(c);
    }
    free(scratch);
    free(plain);
    free_product(&p);
  }
}
TEST(far_weights) { for_each_kind(check_far); }

/* A's lines at a distance that is read as it lies, and at one that is copied. */
static void check_distances(kind t) {
  const int64_t far = LURN__GEMM_FAR / (int64_t)width(t), near = lurn__gemm_stride(far, width(t));
  CHECK(near > far && lurn__gemm_stride(near, width(t)) == near);
  product p = new_product(t, 33, 70, 40, 0, true);
  void *plain = run_plain(&p), *spread = fresh((size_t)(41 * near) * width(t));
  for (int way = 0; way < 4; way++) {
    int64_t distance = way % 2 ? far : near;
    lurn__matrix a = way / 2 ? (lurn__matrix){spread, distance, 1} : (lurn__matrix){spread, 1, distance};
    for (int64_t i = 0; i < p.m; i++)
      for (int64_t j = 0; j < p.k; j++) put(t, spread, i * a.row + j * a.col, element(t, p.a, i, j));
    product q = p;
    q.a = a;
    void *c = run_whole(&q);
    CHECK(memcmp(c, plain, c_bytes(&p)) == 0);
    free(c);
  }
  free(spread);
  free(plain);
  free_product(&p);
}
TEST(distances) { for_each_kind(check_distances); }

/* A's lines along m, pages apart: tiles of it are copied, the last one from fewer elements than a vector has. */
static void check_scattered(kind t) {
  int64_t distance = 8192 / (int64_t)width(t) + 24;
  for (int64_t m = 1; m <= 31; m += 3) {
    product p = new_product(t, m, 9 * t.gemm->panel - 1, 40, 0, m % 2);
    void *plain = run_plain(&p), *spread = fresh((size_t)(p.k * distance) * width(t));
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < p.k; j++) put(t, spread, i + j * distance, element(t, p.a, i, j));
    p.a = (lurn__matrix){spread, 1, distance};
    void *c = run_whole(&p);
    CHECK(memcmp(c, plain, c_bytes(&p)) == 0);
    free(c);
    free(spread);
    free(plain);
    free_product(&p);
  }
}
TEST(scattered) { for_each_kind(check_scattered); }

/* Rows cut anywhere and columns at panels give the bits of the whole. */
static void check_split(kind t) {
  for (int trial = 0; trial < 30; trial++) {
    product p = new_product(t, 1 + below(60), 1 + below(200), 1 + below(400), (int)below(VIEWS * VIEWS), below(2));
    void *whole = run_whole(&p), *parts = copy_of_c(&p);
    for (int64_t i = 0, rows; i < p.m; i += rows) {
      rows = 1 + below(p.m - i);
      for (int64_t first = 0, last; first < p.n; first = last) {
        last = first + t.gemm->panel * (1 + below(3));
        if (last > p.n) last = p.n;
        run_part(&p, i, rows, first, last, parts);
      }
    }
    CHECK(memcmp(whole, parts, c_bytes(&p)) == 0);
    free(whole);
    free(parts);
    free_product(&p);
  }
}
TEST(split_gives_same_bits) { for_each_kind(check_split); }

static void check_pack_parts(kind t) {
  product p = new_product(t, 1, 200, 300, 0, false);
  size_t bytes = (size_t)t.gemm->packed_size(p.k, p.n) * width(t);
  void *parts = fresh(bytes);
  int64_t middle = 2 * t.gemm->panel;
  t.gemm->pack(p.k, p.n, p.b, middle, p.n, parts);
  t.gemm->pack(p.k, p.n, p.b, 0, middle, parts);
  CHECK(memcmp(parts, p.packed, bytes) == 0);
  free(parts);
  free_product(&p);
}
TEST(pack_in_parts) { for_each_kind(check_pack_parts); }

static void check_empty(kind t) {
  char c[64 * sizeof(double)], scratch[4096];
  lurn__matrix none = {NULL, 1, 1};
  memset(c, 1, sizeof c);
  t.gemm->run(0, 4, 3, none, none, c, 4, 0, scratch);
  t.gemm->run(4, 0, 3, none, none, c, 4, 0, scratch);
  t.gemm->run(2, 3, 0, none, none, c, 4, LURN__GEMM_ACCUMULATE, scratch);
  CHECK_EQ(c[0], 1);
  t.gemm->pack(0, 3, none, 0, 3, NULL);
  CHECK_EQ(t.gemm->packed_size(0, 3), 0);
  t.gemm->run_packed(2, 3, 0, none, NULL, 0, 3, c, 4, 0, scratch);
  for (int i = 0; i < 8; i++) CHECK(i % 4 == 3 ? c[i * (int)width(t)] == 1 : get(t, c, i) == 0);
}
TEST(empty) { for_each_kind(check_empty); }

static void check_not_finite(kind t) {
  product p = new_product(t, 5, 40, 9, 0, false);
  put(t, p.array_a, 2 * 9 + 4, (double)NAN);
  put(t, p.array_a, 3 * 9 + 4, (double)INFINITY);
  void *c = run_whole(&p);
  for (int64_t i = 0; i < 5; i++)
    for (int64_t j = 0; j < 40; j++) {
      double x = get(t, c, i * p.ldc + j);
      CHECK(i == 2 ? isnan(x) : i == 3 ? !isfinite(x) : isfinite(x));
    }
  free(c);
  free_product(&p);
}
TEST(not_finite) { for_each_kind(check_not_finite); }

static void check_scratch(kind t) {
  size_t before = 0;
  for (int64_t size = 1; size <= 1 << 20; size *= 2) {
    size_t bytes = t.gemm->packed_scratch(size, size + 1);
    CHECK(bytes >= before);
    before = bytes;
    CHECK(bytes <= 1 << 20);
    CHECK(t.gemm->scratch(size, size + 1, size + 2) <= 2 << 20);
  }
  CHECK(t.gemm->panel > 0 && t.gemm->tile > 0);
}
TEST(scratch_is_bounded) { for_each_kind(check_scratch); }
