/* Rowwise kernels: every instruction set of this CPU against naive sums in long double, with special values and row
 * strides. */
#include "core/cpu.h"
#include "harness.h"
#include "kernels/rowwise.h"
#include <float.h>
#include <stdlib.h>

static const int64_t sizes[] = {1, 2, 3, 7, 15, 16, 17, 33, 64, 100, 1000, 1024, 1025, 2500};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))
#define MOST 2500
#define ROWS 3
#define STRIDE (MOST + 5)

/* The tables this CPU can run. */
static int tables(const lurn__rowwise *out[3]) {
  int n = 0;
  out[n++] = &lurn__rowwise_scalar;
#if defined(__x86_64__)
  if (lurn__cpu_best_isa() >= LURN_ISA_AVX2) out[n++] = &lurn__rowwise_avx2;
  if (lurn__cpu_best_isa() >= LURN_ISA_AVX512) out[n++] = &lurn__rowwise_avx512;
#endif
  return n;
}

#define EACH_TABLE(k)                                                                                                  \
  const lurn__rowwise *all[3];                                                                                         \
  int n_tables = tables(all);                                                                                          \
  for (const lurn__rowwise **at = all, *k = *at; at < all + n_tables; k = ++at < all + n_tables ? *at : NULL)

/* ---- The same numbers in float32 and float64 ---- */

typedef struct reals {
  float f[ROWS * STRIDE];
  double d[ROWS * STRIDE];
} reals;

static void *as(reals *x, int d) { return d == LURN_FLOAT32 ? (void *)x->f : (void *)x->d; }
static double get(const reals *x, int d, int64_t i) { return d == LURN_FLOAT32 ? (double)x->f[i] : x->d[i]; }

/* Relative rounding of a dtype. */
static double unit(int d) { return d == LURN_FLOAT32 ? 0x1p-24 : 0x1p-53; }

static uint64_t noise;
static double next_unit(void) {
  noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
  return (double)(noise >> 11) * 0x1p-53;
}

/* Numbers of (-size, size) that float32 holds exactly. */
static void fill(reals *x, uint64_t seed, double size) {
  noise = seed;
  for (int i = 0; i < ROWS * STRIDE; i++) x->d[i] = (double)(x->f[i] = (float)((2 * next_unit() - 1) * size));
}

static void put(reals *x, int64_t i, double value) { x->d[i] = value, x->f[i] = (float)value; }

#define EACH_SIZE_AND_DTYPE(n, d)                                                                                      \
  for (int si = 0; si < SIZES; si++)                                                                                   \
    for (int64_t n = sizes[si], d = 0; d < 2; d++)

/* ---- Sums ---- */

TEST(totals_match_naive) {
  static reals x, y;
  fill(&x, 1, 2), fill(&y, 2, 2);
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      long double sum = 0, squares = 0, dot = 0, size = 0, products = 0;
      double largest = 0;
      for (int64_t i = 0; i < n; i++) {
        const long double u = (long double)x.d[i], v = (long double)y.d[i];
        sum += u, squares += u * u, dot += u * v;
        size += fabsl(u), products += fabsl(u * v);
        largest = fmax(largest, fabs(x.d[i]));
      }
      /* A lane adds 1024 / 16 numbers at most before the rest goes on in double; each addition rounds once. */
      const double u = (n > 64 ? 64 : (double)n) * unit((int)d);
      CHECK_NEAR(k->sum[d](n, as(&x, (int)d)), (double)sum, u * (double)size);
      CHECK_NEAR(k->sum_squares[d](n, as(&x, (int)d)), (double)squares, u * (double)squares);
      CHECK_NEAR(k->dot[d](n, as(&x, (int)d), as(&y, (int)d)), (double)dot, u * (double)products);
      CHECK_NEAR(k->abs_max[d](n, as(&x, (int)d)), largest, 0);
    }
  }
}

TEST(totals_of_nothing) {
  EACH_TABLE(k) {
    for (int d = 0; d < 2; d++) {
      CHECK(k->sum[d](0, NULL) == 0 && k->sum_squares[d](0, NULL) == 0 && k->abs_max[d](0, NULL) == 0);
      CHECK(k->dot[d](0, NULL, NULL) == 0);
    }
  }
}

/* Ten million equal signs: the error stays what one block makes it, far below sqrt(n) or n roundings. */
TEST(long_float32_sum) {
  const int64_t n = 10000000;
  float *x = malloc((size_t)n * sizeof *x);
  if (!CHECK(x != NULL)) return;
  noise = 3;
  double exact = 0;
  for (int64_t i = 0; i < n; i++) exact += (double)(x[i] = (float)next_unit());
  EACH_TABLE(k) CHECK_NEAR(k->sum[0](n, x), exact, 1e-6 * exact);
  free(x);
}

TEST(abs_max_sees_nan_everywhere) {
  static float x[100];
  EACH_TABLE(k) {
    for (int i = 0; i < 100; i++) {
      for (int j = 0; j < 100; j++) x[j] = j == i ? -INFINITY : (float)-j;
      CHECK(k->abs_max[0](100, x) == INFINITY);
      x[i] = NAN;
      CHECK(isnan(k->abs_max[0](100, x)));
    }
  }
}

/* ---- Reductions ---- */

/* Whether v takes the place of best. */
static bool better(double v, double best, bool largest) {
  if (isnan(best)) return false;
  return isnan(v) || (largest ? v > best : v < best);
}

/* sum, prod, max, min, argmax, argmin of n numbers that lie `step` apart. */
static void naive(const reals *x, int d, int64_t start, int64_t n, int64_t step, double out[LURN__REDUCE_COUNT]) {
  long double sum = 0, product = 1;
  int64_t high = 0, low = 0;
  for (int64_t i = 0; i < n; i++) {
    const double v = get(x, d, start + i * step);
    sum += (long double)v, product *= (long double)v;
    if (better(v, get(x, d, start + high * step), true)) high = i;
    if (better(v, get(x, d, start + low * step), false)) low = i;
  }
  out[0] = (double)sum, out[1] = (double)product;
  out[2] = get(x, d, start + high * step), out[3] = get(x, d, start + low * step);
  out[4] = (double)high, out[5] = (double)low;
}

static double result(int op, int d, const void *y, int64_t i) {
  if (op >= LURN__REDUCE_ARGMAX) return (double)((const int64_t *)y)[i];
  return d == LURN_FLOAT32 ? (double)((const float *)y)[i] : ((const double *)y)[i];
}

/* Sums round 64 times in their own type, see above, and products n times in double, and all of them once at the end. */
static double reduce_tolerance(int op, int d, int64_t n, double size, double expected) {
  if (op == LURN__REDUCE_SUM) return 65 * unit(d) * size;
  if (op == LURN__REDUCE_PROD) return fabs(expected) * (unit(d) + (double)n * 0x1p-53) + (d ? 0 : FLT_MIN);
  return 0;
}

TEST(reduce_rows_matches_naive) {
  static reals x;
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      fill(&x, (uint64_t)n, 1.5);
      put(&x, STRIDE + n / 2, n % 2 ? NAN : INFINITY); /* in the second row */
      put(&x, STRIDE + n - 1, n % 2 ? NAN : INFINITY);
      put(&x, 2 * STRIDE, x.d[2 * STRIDE + n - 1]); /* equals: the first wins */
      for (int op = 0; op < LURN__REDUCE_COUNT; op++) {
        int64_t y[ROWS];
        k->reduce_rows[op][d](ROWS, n, as(&x, (int)d), STRIDE, y);
        for (int r = 0; r < ROWS; r++) {
          double expected[LURN__REDUCE_COUNT];
          naive(&x, (int)d, r * STRIDE, n, 1, expected);
          double tolerance = r == 1 ? 0 : reduce_tolerance(op, (int)d, n, 1.5 * (double)n, expected[op]);
          if (r == 1 && op == LURN__REDUCE_PROD) continue; /* an infinity times what may have become 0 */
          CHECK_NEAR(result(op, (int)d, y, r), expected[op], tolerance);
        }
      }
    }
  }
}

TEST(reduce_axis_matches_naive) {
  static const int64_t shapes[][3] = {{2, 5, 1},   {3, 1, 7},   {1, 100, 17}, {2, 33, 64},
                                      {1, 9, 300}, {2, 3, 513}, {1, 70, 33}};
  static reals x;
  EACH_TABLE(k) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
      const int64_t outer = shapes[s][0], n = shapes[s][1], inner = shapes[s][2];
      fill(&x, 40 + s, 1.5);
      put(&x, (n / 2) * inner, NAN);
      for (int d = 0; d < 2; d++) {
        for (int op = 0; op < LURN__REDUCE_COUNT; op++) {
          static int64_t y[2 * 513];
          k->reduce_axis[op][d](outer, n, inner, as(&x, d), y);
          for (int64_t i = 0; i < outer * inner; i++) {
            double expected[LURN__REDUCE_COUNT];
            naive(&x, d, i / inner * n * inner + i % inner, n, inner, expected);
            CHECK_NEAR(result(op, d, y, i), expected[op], reduce_tolerance(op, d, n, 1.5 * (double)n, expected[op]));
          }
        }
      }
    }
  }
}

TEST(reduce_of_nothing) {
  EACH_TABLE(k) {
    float y[2] = {9, 9};
    int64_t z[2] = {9, 9};
    k->reduce_rows[LURN__REDUCE_SUM][LURN_FLOAT32](2, 0, NULL, 0, y);
    CHECK(y[0] == 0 && y[1] == 0);
    k->reduce_axis[LURN__REDUCE_PROD][LURN_FLOAT32](1, 0, 2, NULL, y);
    CHECK(y[0] == 1 && y[1] == 1);
    k->reduce_rows[LURN__REDUCE_PROD][LURN_UINT8](2, 0, NULL, 0, z);
    CHECK(z[0] == 1 && z[1] == 1);
    k->reduce_axis[LURN__REDUCE_SUM][LURN_INT32](1, 0, 2, NULL, z);
    CHECK(z[0] == 0 && z[1] == 0);
    k->reduce_rows[LURN__REDUCE_MAX][LURN_FLOAT32](0, 5, NULL, 5, y);
    CHECK(y[0] == 1);
  }
}

TEST(argmax_finds_the_first_nan_or_largest) {
  static float x[200];
  EACH_TABLE(k) {
    for (int i = 0; i < 200; i += 3) {
      for (int j = 0; j < 200; j++) x[j] = j == i || j == i + 5 ? 7 : -1;
      int64_t y;
      k->reduce_rows[LURN__REDUCE_ARGMAX][LURN_FLOAT32](1, 200, x, 200, &y);
      CHECK_EQ(y, i);
      for (int j = i; j < 200; j += 2) x[j] = NAN;
      k->reduce_rows[LURN__REDUCE_ARGMIN][LURN_FLOAT32](1, 200, x, 200, &y);
      CHECK_EQ(y, i);
      x[(i + 100) % 200] = INFINITY;
      k->reduce_rows[LURN__REDUCE_ARGMAX][LURN_FLOAT32](1, 200, x, 200, &y);
      int64_t first = 0;
      while (!isnan(x[first])) first++;
      CHECK_EQ(y, first);
    }
    for (int j = 0; j < 200; j++) x[j] = -INFINITY;
    int64_t y = 9;
    k->reduce_rows[LURN__REDUCE_ARGMAX][LURN_FLOAT32](1, 200, x, 200, &y);
    CHECK_EQ(y, 0);
  }
}

TEST(reduce_integers) {
  static int32_t x[2 * 300];
  static uint8_t u[2 * 300];
  for (int i = 0; i < 600; i++) x[i] = (i * 37) % 101 - 50, u[i] = (uint8_t)(i * 7);
  EACH_TABLE(k) {
    for (int64_t n = 1; n <= 300; n = n * 3 + 1) {
      int64_t sum[2] = {0, 0}, high[2] = {0, 0}, low[2] = {0, 0}, usum[2] = {0, 0}, y[2];
      int32_t extreme[2];
      for (int64_t r = 0; r < 2; r++) {
        for (int64_t i = 0; i < n; i++) {
          sum[r] += x[r * n + i], usum[r] += u[r * 300 + i];
          if (x[r * n + i] > x[r * n + high[r]]) high[r] = i;
          if (x[r * n + i] < x[r * n + low[r]]) low[r] = i;
        }
      }
      k->reduce_axis[LURN__REDUCE_SUM][LURN_INT32](2, n, 1, x, y);
      CHECK(y[0] == sum[0] && y[1] == sum[1]);
      k->reduce_rows[LURN__REDUCE_SUM][LURN_UINT8](2, n, u, 300, y);
      CHECK(y[0] == usum[0] && y[1] == usum[1]);
      k->reduce_rows[LURN__REDUCE_ARGMAX][LURN_INT32](2, n, x, n, y);
      CHECK(y[0] == high[0] && y[1] == high[1]);
      k->reduce_rows[LURN__REDUCE_ARGMIN][LURN_INT32](2, n, x, n, y);
      CHECK(y[0] == low[0] && y[1] == low[1]);
      k->reduce_rows[LURN__REDUCE_MIN][LURN_INT32](2, n, x, n, extreme);
      CHECK(extreme[0] == x[low[0]] && extreme[1] == x[n + low[1]]);
    }
    const int64_t big[2] = {INT64_MAX, 2};
    int64_t y;
    k->reduce_rows[LURN__REDUCE_SUM][LURN_INT64](1, 2, big, 2, &y);
    CHECK(y == INT64_MIN + 1);
    k->reduce_rows[LURN__REDUCE_PROD][LURN_INT64](1, 2, big, 2, &y);
    CHECK(y == -2);
    const uint8_t flags[6] = {0, 1, 1, 0, 0, 1};
    uint8_t any[3];
    k->reduce_axis[LURN__REDUCE_MAX][LURN_BOOL](1, 2, 3, flags, any);
    CHECK(memcmp(any, "\0\1\1", 3) == 0);
    k->reduce_axis[LURN__REDUCE_MIN][LURN_BOOL](1, 2, 3, flags, any);
    CHECK(memcmp(any, "\0\0\1", 3) == 0);
    k->reduce_rows[LURN__REDUCE_SUM][LURN_BOOL](1, 6, flags, 6, &y);
    CHECK_EQ(y, 3);
  }
}

/* ---- Softmax ---- */

/* log sum e^x of a row in long double. */
static long double naive_lse(const reals *x, int d, int64_t start, int64_t n) {
  double m = -INFINITY;
  long double sum = 0;
  for (int64_t i = 0; i < n; i++) m = fmax(m, get(x, d, start + i));
  for (int64_t i = 0; i < n; i++) sum += expl((long double)get(x, d, start + i) - (long double)m);
  return (long double)m + logl(sum);
}

/* x of size 5 is exact; x - m rounds relative to 10, e^ adds 1e-7 in float32, then come the sum and the product. */
static double softmax_tolerance(int d) { return (10 + 4 + 4) * unit(d); }

TEST(softmax_matches_naive) {
  static reals x, y, z;
  fill(&x, 5, 5);
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      k->softmax[d](ROWS, n, as(&x, (int)d), STRIDE, as(&y, (int)d), STRIDE);
      k->log_softmax[d](ROWS, n, as(&x, (int)d), STRIDE, as(&z, (int)d), n);
      for (int64_t r = 0; r < ROWS; r++) {
        long double lse = naive_lse(&x, (int)d, r * STRIDE, n);
        for (int64_t i = 0; i < n; i++) {
          double exact = (double)((long double)x.d[r * STRIDE + i] - lse);
          CHECK_NEAR(get(&y, (int)d, r * STRIDE + i), exp(exact), softmax_tolerance((int)d) * exp(exact));
          CHECK_NEAR(get(&z, (int)d, r * n + i), exact, 36 * unit((int)d)); /* roundings of up to 10, 8 and 18 */
        }
      }
    }
  }
}

TEST(softmax_in_place_and_special) {
  static reals x, y;
  fill(&x, 6, 5);
  EACH_TABLE(k) {
    for (int d = 0; d < 2; d++) {
      static reals copy;
      copy = x;
      k->softmax[d](ROWS, 1500, as(&x, d), STRIDE, as(&y, d), STRIDE);
      k->softmax[d](ROWS, 1500, as(&copy, d), STRIDE, as(&copy, d), STRIDE);
      for (int i = 0; i < 1500; i++) CHECK_NEAR(get(&copy, d, i), get(&y, d, i), 0);
      copy = x;
      k->log_softmax[d](ROWS, 1500, as(&x, d), STRIDE, as(&y, d), STRIDE);
      k->log_softmax[d](ROWS, 1500, as(&copy, d), STRIDE, as(&copy, d), STRIDE);
      for (int i = 0; i < 1500; i++) CHECK_NEAR(get(&copy, d, i), get(&y, d, i), 0);
    }
    const float masked[3] = {-INFINITY, 1e30f, -INFINITY}, nothing[2] = {-INFINITY, -INFINITY};
    float p[3], lse;
    k->softmax[0](1, 3, masked, 3, p, 3);
    CHECK(p[0] == 0 && p[1] == 1 && p[2] == 0);
    k->log_softmax[0](1, 3, masked, 3, p, 3);
    CHECK(p[0] == -INFINITY && p[1] == 0);
    k->softmax[0](1, 2, nothing, 2, p, 2);
    CHECK(isnan(p[0]) && isnan(p[1]));
    k->logsumexp[0](1, 2, nothing, 2, &lse);
    CHECK(lse == -INFINITY);
    k->logsumexp[0](1, 0, nothing, 0, &lse);
    CHECK(lse == -INFINITY);
    const float full[2] = {INFINITY, 0};
    k->logsumexp[0](1, 2, full, 2, &lse);
    CHECK(lse == INFINITY);
  }
}

TEST(softmax_grad_matches_naive) {
  static reals x, y, gy, gx;
  fill(&x, 7, 3), fill(&gy, 8, 1);
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      for (int log_form = 0; log_form < 2; log_form++) {
        lurn__softmax_fn *forward = log_form ? k->log_softmax[d] : k->softmax[d];
        lurn__softmax_grad_fn *backward = log_form ? k->log_softmax_grad[d] : k->softmax_grad[d];
        forward(ROWS, n, as(&x, (int)d), STRIDE, as(&y, (int)d), STRIDE);
        backward(ROWS, n, as(&gy, (int)d), STRIDE, as(&y, (int)d), STRIDE, as(&gx, (int)d), STRIDE);
        for (int64_t r = 0; r < ROWS; r++) {
          long double sum = 0, size = 1;
          for (int64_t i = r * STRIDE; i < r * STRIDE + n; i++) {
            long double weight = log_form ? 1 : (long double)get(&y, (int)d, i);
            sum += (long double)gy.d[i] * weight, size += weight;
          }
          for (int64_t i = r * STRIDE; i < r * STRIDE + n; i++) {
            double p = get(&y, (int)d, i), g = gy.d[i];
            double exact = log_form ? g - exp(p) * (double)sum : p * (g - (double)sum);
            /* the sum, 65 roundings of what it adds up, times p; then four more */
            double scale = log_form ? exp(p) : p;
            CHECK_NEAR(get(&gx, (int)d, i), exact, unit((int)d) * (69 * scale * (double)size + 4 * fabs(exact)));
          }
        }
      }
    }
  }
}

TEST(logsumexp_of_minus_infinity_has_no_gradient) {
  const double x[3] = {-INFINITY, -INFINITY, -INFINITY}, lse = -INFINITY, gy = 2;
  const float x32[3] = {-INFINITY, -INFINITY, -INFINITY}, lse32 = -INFINITY, gy32 = 2;
  EACH_TABLE(k) {
    double gx[3] = {1, 1, 1};
    float gx32[3] = {1, 1, 1};
    k->logsumexp_grad[LURN_FLOAT64](1, 3, &gy, x, 3, &lse, gx, 3);
    k->logsumexp_grad[LURN_FLOAT32](1, 3, &gy32, x32, 3, &lse32, gx32, 3);
    for (int i = 0; i < 3; i++) CHECK(gx[i] == 0 && gx32[i] == 0);
  }
}

TEST(logsumexp_and_its_gradient) {
  static reals x, lse, gx;
  fill(&x, 9, 5);
  const double gd[ROWS] = {1, -2, 0.5};
  const float gf[ROWS] = {1, -2, 0.5f};
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      const void *gy = d == LURN_FLOAT32 ? (const void *)gf : gd;
      k->logsumexp[d](ROWS, n, as(&x, (int)d), STRIDE, as(&lse, (int)d));
      k->logsumexp_grad[d](ROWS, n, gy, as(&x, (int)d), STRIDE, as(&lse, (int)d), as(&gx, (int)d), STRIDE);
      for (int64_t r = 0; r < ROWS; r++) {
        long double exact = naive_lse(&x, (int)d, r * STRIDE, n);
        CHECK_NEAR(get(&lse, (int)d, r), (double)exact,
                   16 * unit((int)d)); /* one rounding of up to 13, and the sum's */
        for (int64_t i = 0; i < n; i++) {
          double g = gd[r] * exp((double)((long double)x.d[r * STRIDE + i] - exact));
          CHECK_NEAR(get(&gx, (int)d, r * STRIDE + i), g,
                     40 * unit((int)d) * fabs(g)); /* errors of lse and x - lse, to 18 */
        }
      }
    }
  }
}

/* ---- Cross-entropy ---- */

static double naive_loss(const reals *x, int d, int64_t start, int64_t n, int64_t target, const double *w, double s) {
  long double lse = naive_lse(x, d, start, n), smooth = 0;
  if (target < 0) return 0;
  for (int64_t i = 0; i < n; i++) smooth += (long double)(w ? w[i] : 1) * (lse - (long double)get(x, d, start + i));
  double hard = (w ? w[target] : 1) * (double)(lse - (long double)get(x, d, start + target));
  return (1 - s) * hard + s / (double)n * (double)smooth;
}

typedef struct entropy_case {
  int d;
  int64_t n;
  bool weighted;
  double smoothing;
} entropy_case;

static void check_cross_entropy(const lurn__rowwise *k, entropy_case c) {
  static reals x, weight, loss, lse, grad, scale;
  fill(&x, 10, 5), fill(&weight, 11, 0.4);
  for (int i = 0; i < MOST; i++) put(&weight, i, weight.f[i] + 0.5f);
  const int64_t targets[ROWS] = {c.n - 1, -7, c.n / 2};
  for (int r = 0; r < ROWS; r++) put(&scale, r, 0.5 + r);
  const lurn__cross_entropy_rows in = {
      ROWS, c.n, as(&x, c.d), STRIDE, targets, c.weighted ? as(&weight, c.d) : NULL, c.smoothing};
  k->cross_entropy[c.d](&in, as(&loss, c.d), as(&lse, c.d));
  k->cross_entropy_grad[c.d](&in, as(&lse, c.d), as(&scale, c.d), 1, as(&grad, c.d), STRIDE);
  const double *w = c.weighted ? weight.d : NULL;
  double total = 0;
  for (int64_t i = 0; i < c.n; i++) total += w ? w[i] : 1;
  for (int64_t r = 0; r < ROWS; r++) {
    double exact = naive_loss(&x, c.d, r * STRIDE, c.n, targets[r], w, c.smoothing);
    CHECK_NEAR(get(&loss, c.d, r), exact, 40 * unit(c.d) * (1 + exact)); /* the two sums and one rounding */
    long double row_lse = naive_lse(&x, c.d, r * STRIDE, c.n);
    CHECK_NEAR(get(&lse, c.d, r), (double)row_lse, 16 * unit(c.d));
    for (int64_t i = 0; i < c.n; i++) {
      double hard = targets[r] < 0 ? 0 : (1 - c.smoothing) * (w ? w[targets[r]] : 1);
      double soft = targets[r] < 0 ? 0 : c.smoothing / (double)c.n;
      double p = exp((double)((long double)x.d[r * STRIDE + i] - row_lse)) * (hard + soft * total);
      double q = soft * (w ? w[i] : 1) + (i == targets[r] ? hard : 0);
      /* errors of lse and x - lse, up to 18, in p; one rounding of each term */
      double tolerance = scale.d[r] * unit(c.d) * (44 * p + 4 * q);
      CHECK_NEAR(get(&grad, c.d, r * STRIDE + i), scale.d[r] * (p - q), tolerance);
    }
  }
}

TEST(cross_entropy_matches_naive) {
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      for (int form = 0; form < 4; form++) {
        check_cross_entropy(k, (entropy_case){(int)d, n, form % 2 == 1, form < 2 ? 0 : 0.1});
      }
    }
  }
}

TEST(cross_entropy_grad_in_place_and_large_logits) {
  EACH_TABLE(k) {
    float x[4] = {1000, 1001, 990, -3e38f}, loss, lse;
    const float scale = 1;
    const int64_t target = 0;
    const lurn__cross_entropy_rows in = {1, 4, x, 4, &target, NULL, 0};
    k->cross_entropy[0](&in, &loss, &lse);
    /* log(1 + e + e^-10): the subtraction is done in double, so logits of 1000 cost nothing */
    CHECK_NEAR((double)loss, log(1 + exp(1) + exp(-10)), 3e-7);
    k->cross_entropy_grad[0](&in, &lse, &scale, 0, x, 4);
    const double total = 1 + exp(1) + exp(-10);
    const double expected[4] = {1 / total - 1, exp(1) / total, exp(-10) / total, 0};
    for (int i = 0; i < 4; i++) CHECK_NEAR((double)x[i], expected[i], 7e-5); /* lse is rounded at 1000 */
    k->cross_entropy[0](&in, &loss, NULL);
  }
}

/* ---- Layer normalisation ---- */

typedef struct norm_case {
  int d;
  int64_t n;
  bool weight, bias;
} norm_case;

/* Mean and 1 / sqrt(variance + eps) of a row. */
static void naive_moments(const reals *x, int64_t start, int64_t n, double eps, double out[2]) {
  long double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; i++) sum += (long double)x->d[start + i];
  const long double mean = sum / n;
  for (int64_t i = 0; i < n; i++) {
    const long double centered = (long double)x->d[start + i] - mean;
    squares += centered * centered;
  }
  out[0] = (double)mean, out[1] = (double)(1 / sqrtl(squares / n + (long double)eps));
}

static reals norm_x, norm_gy, norm_w, norm_b, norm_y, norm_gx, norm_gw, norm_gb, norm_mean, norm_rstd;

/* gx of one row and what it adds to the gradients of weight and bias, from the formula. */
static void check_norm_row(norm_case c, int64_t start, const double moments[2], double *gw, double *gb) {
  long double sum = 0, dot = 0;
  const double mean = moments[0], rstd = moments[1];
  for (int64_t i = 0; i < c.n; i++) {
    const double gy = norm_gy.d[start + i], unit_x = (norm_x.d[start + i] - mean) * rstd;
    const double g = gy * (c.weight ? norm_w.d[i] : 1);
    sum += (long double)g, dot += (long double)(g * unit_x);
    gw[i] += gy * unit_x, gb[i] += gy;
  }
  for (int64_t i = 0; i < c.n; i++) {
    const double unit_x = (norm_x.d[start + i] - mean) * rstd;
    const double g = norm_gy.d[start + i] * (c.weight ? norm_w.d[i] : 1);
    const double y = unit_x * (c.weight ? norm_w.d[i] : 1) + (c.bias ? norm_b.d[i] : 0);
    const double gx = rstd * (g - (double)sum / (double)c.n - unit_x * (double)dot / (double)c.n);
    /* mean and rstd carry a rounding each, which rstd magnifies; the sums some more.  |unit_x| stays below sqrt(n) */
    const double tolerance = 64 * unit(c.d) * (1 + fabs(unit_x)) * (1 + rstd);
    CHECK_NEAR(get(&norm_y, c.d, start + i), y, tolerance);
    CHECK_NEAR(get(&norm_gx, c.d, start + i), gx, tolerance * (1 + rstd));
  }
}

static void check_layer_norm(const lurn__rowwise *k, norm_case c) {
  const int d = c.d;
  const double eps = 1e-5;
  static double gw[MOST], gb[MOST];
  void *w = c.weight ? as(&norm_w, d) : NULL, *b = c.bias ? as(&norm_b, d) : NULL;
  const lurn__layer_norm_grads out = {as(&norm_gx, d), STRIDE, as(&norm_gw, d), as(&norm_gb, d)};
  for (int64_t i = 0; i < c.n; i++) put(&norm_gw, i, 1), put(&norm_gb, i, 2), gw[i] = 1, gb[i] = 2; /* added to */
  k->layer_norm[d](ROWS, c.n, as(&norm_x, d), STRIDE, w, b, eps, as(&norm_y, d), STRIDE, as(&norm_mean, d),
                   as(&norm_rstd, d));
  k->layer_norm_grad[d](ROWS, c.n, as(&norm_gy, d), STRIDE, as(&norm_x, d), STRIDE, as(&norm_mean, d),
                        as(&norm_rstd, d), w, &out);
  double largest = 1;
  for (int64_t r = 0; r < ROWS; r++) {
    double moments[2];
    naive_moments(&norm_x, r * STRIDE, c.n, eps, moments);
    CHECK_NEAR(get(&norm_mean, d, r), moments[0], 8 * unit(d));
    /* the variance of two close numbers loses what their difference lost */
    CHECK_NEAR(get(&norm_rstd, d, r), moments[1], 32 * unit(d) * moments[1] * (1 + moments[1]));
    largest = fmax(largest, moments[1]);
    check_norm_row(c, r * STRIDE, moments, gw, gb);
  }
  for (int64_t i = 0; i < c.n; i++) {
    CHECK_NEAR(get(&norm_gw, d, i), gw[i], 200 * unit(d) * largest * (1 + fabs(gw[i])));
    CHECK_NEAR(get(&norm_gb, d, i), gb[i], 8 * unit(d) * (1 + fabs(gb[i])));
  }
}

TEST(layer_norm_matches_naive) {
  fill(&norm_x, 12, 2), fill(&norm_gy, 13, 1), fill(&norm_w, 14, 1.5), fill(&norm_b, 15, 1);
  EACH_TABLE(k) {
    EACH_SIZE_AND_DTYPE(n, d) {
      for (int form = 0; form < 4; form++) check_layer_norm(k, (norm_case){(int)d, n, form & 1, (form & 2) != 0});
    }
  }
}

TEST(layer_norm_in_place_and_partial_gradients) {
  fill(&norm_x, 16, 2), fill(&norm_gy, 17, 1), fill(&norm_w, 18, 1.5);
  EACH_TABLE(k) {
    const int64_t n = 1500;
    static double x[1500], gy[1500], gw[1500];
    memcpy(x, norm_x.d, sizeof x), memcpy(gy, norm_gy.d, sizeof gy), memset(gw, 0, sizeof gw);
    double mean, rstd;
    k->layer_norm[1](1, n, x, n, norm_w.d, NULL, 1e-5, norm_y.d, n, &mean, &rstd);
    const lurn__layer_norm_grads into = {norm_gx.d, n, NULL, NULL}, over = {gy, n, gw, NULL},
                                 none = {NULL, 0, gw, NULL};
    k->layer_norm_grad[1](1, n, gy, n, x, n, &mean, &rstd, norm_w.d, &into);
    k->layer_norm_grad[1](1, n, gy, n, x, n, &mean, &rstd, norm_w.d, &over);
    CHECK(memcmp(gy, norm_gx.d, sizeof gy) == 0);
    static double once[1500];
    memcpy(once, gw, sizeof gw), memset(gw, 0, sizeof gw);
    k->layer_norm_grad[1](1, n, norm_gy.d, n, x, n, &mean, &rstd, norm_w.d, &none);
    CHECK(memcmp(once, gw, sizeof gw) == 0);
    k->layer_norm[1](1, n, x, n, norm_w.d, NULL, 1e-5, x, n, NULL, NULL);
    CHECK(memcmp(x, norm_y.d, sizeof x) == 0);
  }
}

/* Splitting rows among threads must not change a bit. */
TEST(rows_are_independent) {
  static reals x, y, z;
  fill(&x, 19, 3);
  EACH_TABLE(k) {
    for (int d = 0; d < 2; d++) {
      const size_t size = d == LURN_FLOAT32 ? 4 : 8;
      k->softmax[d](ROWS, 333, as(&x, d), STRIDE, as(&y, d), 333);
      for (int r = 0; r < ROWS; r++) {
        const char *row = (const char *)as(&x, d) + (size_t)r * STRIDE * size;
        k->softmax[d](1, 333, row, STRIDE, (char *)as(&z, d) + (size_t)r * 333 * size, 333);
      }
      CHECK(memcmp(as(&y, d), as(&z, d), ROWS * 333 * size) == 0);
    }
  }
}
