/* Elementwise kernels: every instruction set of this CPU against libm in double, against itself on strided and in-place
 * operands, and on the special values. */
#include "core/cpu.h"
#include "harness.h"
#include "kernels/elementwise.h"
#include <float.h>
#include <stdlib.h>

#define N 1000
static const int64_t sizes[] = {0, 1, 15, 16, 17, 33, N};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))

/* The tables this CPU can run; scalar comes first. */
static int tables(const lurn__elementwise *out[3]) {
  int n = 0;
  out[n++] = &lurn__elementwise_scalar;
#if defined(__x86_64__)
  if (lurn__cpu_best_isa() >= LURN_ISA_AVX2) out[n++] = &lurn__elementwise_avx2;
  if (lurn__cpu_best_isa() >= LURN_ISA_AVX512) out[n++] = &lurn__elementwise_avx512;
#endif
  return n;
}

#define EACH_TABLE(k)                                                                                                  \
  const lurn__elementwise *all[3];                                                                                     \
  int n_tables = tables(all);                                                                                          \
  for (const lurn__elementwise **at = all, *k = *at; at < all + n_tables; k = ++at < all + n_tables ? *at : NULL)

static const size_t element_size[LURN_DTYPE_COUNT] = {4, 8, 8, 4, 1, 1};

/* ---- Inputs ---- */

static uint64_t noise = 1;
static uint64_t next_bits(void) {
  noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
  return noise;
}
static double next_unit(void) { return (double)(next_bits() >> 11) * 0x1p-53; }

static const double specials[] = {0.0,  -0.0,     1,         -1,    0.5,    -0.5,    1.5,     2.5,     -2.5,
                                  NAN,  INFINITY, -INFINITY, 1e-40, -1e-40, 1e-45,   FLT_MIN, FLT_MAX, -FLT_MAX,
                                  88.7, 88.8,     -87.3,     -87.4, 89,     -104,    20,      20.5,    -20,
                                  1e-8, -1e-8,    9,         9.5,   -9.5,   1048575, 1048577, -3e9,    3.4e38};
#define SPECIALS ((int)(sizeof specials / sizeof *specials))

/* Special values first, then values near 0, of middling size, and of every magnitude. */
static double sample(int i) {
  if (i < SPECIALS) return specials[i];
  double u = 2 * next_unit() - 1;
  if (i % 3 == 0) return 4 * u;
  if (i % 3 == 1) return 100 * u;
  return copysign(exp2(265 * next_unit() - 138), u);
}

static void store(lurn_dtype dtype, void *x, int64_t i, double value, uint64_t bits) {
  switch (dtype) {
    case LURN_FLOAT32: ((float *)x)[i] = (float)value; break;
    case LURN_FLOAT64: ((double *)x)[i] = value; break;
    case LURN_INT64: ((int64_t *)x)[i] = (int64_t)bits >> (bits % 64); break;
    case LURN_INT32: ((int32_t *)x)[i] = (int32_t)(bits >> 32) >> (bits % 32); break;
    case LURN_UINT8: ((uint8_t *)x)[i] = (uint8_t)bits; break;
    default: ((uint8_t *)x)[i] = bits % 2; break;
  }
}

static double fetch(lurn_dtype dtype, const void *x, int64_t i) {
  switch (dtype) {
    case LURN_FLOAT32: return (double)((const float *)x)[i];
    case LURN_FLOAT64: return ((const double *)x)[i];
    case LURN_INT64: return (double)((const int64_t *)x)[i];
    case LURN_INT32: return (double)((const int32_t *)x)[i];
    default: return (double)((const uint8_t *)x)[i];
  }
}

/* Room for N elements of any size at strides up to 3 in either direction. */
typedef struct buffer {
  _Alignas(64) unsigned char bytes[3 * N * 8];
} buffer;

static void fill_inputs(lurn_dtype dtype, buffer *x, uint64_t seed) {
  noise = seed;
  for (int i = 0; i < 3 * N; i++) {
    double value = sample(i % N);
    store(dtype, x->bytes, i, value, next_bits());
  }
}

/* ---- Values ---- */

static double reference(lurn__unary op, double x) {
  switch (op) {
    case LURN__UNARY_NEG: return -x;
    case LURN__UNARY_ABS: return fabs(x);
    case LURN__UNARY_SIGN: return (x > 0) - (x < 0);
    case LURN__UNARY_SQUARE: return x * x;
    case LURN__UNARY_SQRT: return sqrt(x);
    case LURN__UNARY_RSQRT: return 1 / sqrt(x);
    case LURN__UNARY_RECIPROCAL: return 1 / x;
    case LURN__UNARY_EXP: return exp(x);
    case LURN__UNARY_EXPM1: return expm1(x);
    case LURN__UNARY_LOG: return log(x);
    case LURN__UNARY_LOG1P: return log1p(x);
    case LURN__UNARY_TANH: return tanh(x);
    case LURN__UNARY_SIGMOID: return 1 / (1 + exp(-x));
    case LURN__UNARY_RELU: return isnan(x) ? x : fmax(x, 0);
    case LURN__UNARY_GELU: return x * 0.5 * erfc(-x * sqrt(0.5));
    case LURN__UNARY_SOFTPLUS: return x > 20 ? x : log1p(exp(x));
    case LURN__UNARY_SILU: return x / (1 + exp(-x));
    case LURN__UNARY_SIN: return sin(x);
    case LURN__UNARY_COS: return cos(x);
    case LURN__UNARY_FLOOR: return floor(x);
    case LURN__UNARY_CEIL: return ceil(x);
    case LURN__UNARY_ROUND: return rint(x);
    case LURN__UNARY_LOGICAL_NOT: return x == 0;
    case LURN__UNARY_ISNAN: return isnan(x);
    default: return isfinite(x) ? 1 : 0;
  }
}

/* Largest relative error of float32.  One rounding is 2^-24 = 6e-8; the others are the errors that vecmath.h states,
 * with the roundings around them.  gelu has the error of the exponential of -x x / 2, up to 88, in its left tail. */
static double float_tolerance(lurn__unary op) {
  switch (op) {
    case LURN__UNARY_SQUARE:
    case LURN__UNARY_SQRT:
    case LURN__UNARY_RECIPROCAL: return 6.0e-8;
    case LURN__UNARY_RSQRT: return 1.2e-7;
    case LURN__UNARY_EXP: return 9.0e-8;
    case LURN__UNARY_EXPM1: return 1.2e-7;
    case LURN__UNARY_LOG: return 8.1e-8;
    case LURN__UNARY_LOG1P: return 1.9e-7;
    case LURN__UNARY_TANH: return 1.8e-7;
    case LURN__UNARY_SIGMOID: return 1.5e-7;
    case LURN__UNARY_SILU: return 2.1e-7;
    case LURN__UNARY_SOFTPLUS: return 1.7e-7;
    case LURN__UNARY_GELU: return 4.5e-6;
    case LURN__UNARY_SIN:
    case LURN__UNARY_COS: return 1.2e-7; /* libm's sinf is good to one unit in the last place */
    default: return 0;
  }
}

static bool makes_bool(lurn__unary op) {
  return op == LURN__UNARY_LOGICAL_NOT || op == LURN__UNARY_ISNAN || op == LURN__UNARY_ISFINITE;
}

static bool check_float32(lurn__unary op, double x, double y) {
  double exact = reference(op, x), rounded = (double)(float)exact;
  if (!isfinite(rounded)) return CHECK_NEAR(y, rounded, 0);
  /* Below FLT_MIN results, and the factor that gelu and silu put to x, may be flushed. */
  bool factor = op == LURN__UNARY_GELU || op == LURN__UNARY_SILU;
  return CHECK_NEAR(y, exact, float_tolerance(op) * fabs(exact) + FLT_MIN * (factor ? fmax(1, fabs(x)) : 1));
}

TEST(unary_float32_matches_libm) {
  static float x[100000], y[100000];
  noise = 7;
  for (int i = 0; i < 100000; i++) x[i] = (float)sample(i);
  EACH_TABLE(k) {
    for (int op = 0; op < LURN__UNARY_COUNT; op++) {
      if (makes_bool((lurn__unary)op)) continue;
      k->unary[op][LURN_FLOAT32](100000, x, 1, y, 1);
      for (int i = 0; i < 100000; i++) {
        if (check_float32((lurn__unary)op, (double)x[i], (double)y[i])) continue;
        printf("     table %d, op %d of %.9g\n", (int)(at - all), op, (double)x[i]);
        break;
      }
    }
  }
}

/* gelu where the normal distribution function is not tiny: its 4e-7 and the product's rounding. */
TEST(gelu_float32_near_zero) {
  float x[2000], y[2000];
  for (int i = 0; i < 2000; i++) x[i] = (float)(i - 500) / 500;
  EACH_TABLE(k) {
    k->unary[LURN__UNARY_GELU][LURN_FLOAT32](2000, x, 1, y, 1);
    for (int i = 0; i < 2000; i++) {
      double exact = reference(LURN__UNARY_GELU, (double)x[i]);
      CHECK_NEAR((double)y[i], exact, 4.6e-7 * fabs(exact));
    }
  }
}

TEST(unary_float64_matches_libm) {
  static double x[N], y[N];
  noise = 8;
  for (int i = 0; i < N; i++) x[i] = sample(i);
  EACH_TABLE(k) {
    for (int op = 0; op < LURN__UNARY_COUNT; op++) {
      if (makes_bool((lurn__unary)op)) continue;
      k->unary[op][LURN_FLOAT64](N, x, 1, y, 1);
      for (int i = 0; i < N; i++) {
        double exact = reference((lurn__unary)op, x[i]);
        CHECK_NEAR(y[i], exact, 1e-15 * fabs(exact)); /* the same libm; up to four roundings around it */
      }
    }
  }
}

TEST(unary_keeps_the_sign_of_zero) {
  static const lurn__unary odd[] = {LURN__UNARY_EXPM1, LURN__UNARY_LOG1P, LURN__UNARY_TANH,
                                    LURN__UNARY_SQRT,  LURN__UNARY_SIN,   LURN__UNARY_ROUND};
  EACH_TABLE(k) {
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
      float x = -0.0f, y = 1;
      k->unary[odd[i]][LURN_FLOAT32](1, &x, 1, &y, 1);
      CHECK(y == 0 && signbit(y));
    }
  }
}

TEST(unary_bool_results) {
  EACH_TABLE(k) {
    const float x[4] = {0, NAN, -INFINITY, 3};
    uint8_t y[4];
    k->unary[LURN__UNARY_LOGICAL_NOT][LURN_FLOAT32](4, x, 1, y, 1);
    CHECK(memcmp(y, "\1\0\0\0", 4) == 0);
    k->unary[LURN__UNARY_ISNAN][LURN_FLOAT32](4, x, 1, y, 1);
    CHECK(memcmp(y, "\0\1\0\0", 4) == 0);
    k->unary[LURN__UNARY_ISFINITE][LURN_FLOAT32](4, x, 1, y, 1);
    CHECK(memcmp(y, "\1\0\0\1", 4) == 0);
    k->unary[LURN__UNARY_LOGICAL_NOT][LURN_BOOL](4, "\0\1\0\1", 1, y, 1);
    CHECK(memcmp(y, "\1\0\1\0", 4) == 0);
  }
}

TEST(unary_integers) {
  EACH_TABLE(k) {
    const int32_t x[4] = {INT32_MIN, -3, 0, 70000};
    const int32_t expected[4][4] = {
        {INT32_MIN, 3, 0, -70000}, {INT32_MIN, 3, 0, 70000}, {-1, -1, 0, 1}, {0, 9, 0, 605032704}};
    int32_t y[4];
    for (int op = LURN__UNARY_NEG; op <= LURN__UNARY_SQUARE; op++) {
      k->unary[op][LURN_INT32](4, x, 1, y, 1);
      CHECK(memcmp(y, expected[op], sizeof y) == 0);
    }
    k->unary[LURN__UNARY_RELU][LURN_INT32](4, x, 1, y, 1);
    CHECK(y[0] == 0 && y[1] == 0 && y[3] == 70000);
    k->unary[LURN__UNARY_ROUND][LURN_INT32](4, x, 1, y, 1);
    CHECK(memcmp(y, x, sizeof y) == 0);
    const int64_t big = INT64_MIN;
    int64_t z;
    k->unary[LURN__UNARY_ABS][LURN_INT64](1, &big, 1, &z, 1);
    CHECK(z == INT64_MIN);
    const uint8_t u[2] = {1, 200};
    uint8_t v[2];
    k->unary[LURN__UNARY_NEG][LURN_UINT8](2, u, 1, v, 1);
    CHECK(v[0] == 255 && v[1] == 56);
    k->unary[LURN__UNARY_SQUARE][LURN_UINT8](2, u, 1, v, 1);
    CHECK(v[0] == 1 && v[1] == 64);
  }
}

/* ---- Strides: the contiguous kernel on packed copies is the reference, bit for bit ---- */

typedef struct operand {
  unsigned char *first; /* of the elements in use */
  int64_t stride;
} operand;

/* The elements of a buffer at a stride, the last one first when it is negative. */
static operand view(buffer *b, int64_t n, int64_t stride, size_t size) {
  int64_t start = stride < 0 && n > 0 ? -stride * (n - 1) : 0;
  return (operand){b->bytes + start * (int64_t)size, stride};
}

static void pack(operand x, int64_t n, size_t size, buffer *out) {
  for (int64_t i = 0; i < n; i++) memcpy(out->bytes + (size_t)i * size, x.first + i * x.stride * (int64_t)size, size);
}

/* NaN equals NaN whatever its bits. */
static bool same(lurn_dtype dtype, const void *a, const void *b, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    size_t at = (size_t)i * element_size[dtype];
    if (memcmp((const char *)a + at, (const char *)b + at, element_size[dtype]) == 0) continue;
    double u = fetch(dtype, a, i), v = fetch(dtype, b, i);
    if (!(isnan(u) && isnan(v))) return false;
  }
  return true;
}

static const int64_t unary_strides[][2] = {{1, 1}, {2, 1}, {1, 3}, {0, 1}, {0, 2}, {-1, 1}, {-2, -3}, {3, 2}};

static void check_unary(lurn__unary_fn *f, lurn_dtype from, lurn_dtype to, int64_t n) {
  static buffer x, y, packed, expected, got;
  fill_inputs(from, &x, 11);
  for (size_t s = 0; s < sizeof unary_strides / sizeof *unary_strides; s++) {
    operand in = view(&x, n, unary_strides[s][0], element_size[from]);
    operand out = view(&y, n, unary_strides[s][1], element_size[to]);
    pack(in, n, element_size[from], &packed);
    f(n, packed.bytes, 1, expected.bytes, 1);
    f(n, in.first, in.stride, out.first, out.stride);
    pack(out, n, element_size[to], &got);
    CHECK(same(to, expected.bytes, got.bytes, n));
  }
  for (int64_t i = 0; i < n; i++) { /* vector part, tail and a lone element agree */
    f(1, packed.bytes + (size_t)i * element_size[from], 1, got.bytes, 1);
    CHECK(same(to, expected.bytes + (size_t)i * element_size[to], got.bytes, 1));
  }
  if (element_size[from] != element_size[to]) return;
  for (int64_t stride = 1; stride <= 2; stride++) {
    fill_inputs(from, &x, 12);
    operand in = view(&x, n, stride, element_size[from]);
    pack(in, n, element_size[from], &packed);
    f(n, packed.bytes, 1, expected.bytes, 1);
    f(n, in.first, stride, in.first, stride);
    pack(in, n, element_size[to], &got);
    CHECK(same(to, expected.bytes, got.bytes, n));
  }
}

TEST(unary_strides_and_in_place) {
  EACH_TABLE(k) {
    for (int op = 0; op < LURN__UNARY_COUNT; op++) {
      for (int d = 0; d < LURN_DTYPE_COUNT; d++) {
        if (!k->unary[op][d]) continue;
        lurn_dtype to = makes_bool((lurn__unary)op) ? LURN_BOOL : (lurn_dtype)d;
        for (int s = 0; s < SIZES; s++) check_unary(k->unary[op][d], (lurn_dtype)d, to, sizes[s]);
      }
    }
  }
}

TEST(cast_strides_and_in_place) {
  EACH_TABLE(k) {
    for (int from = 0; from < LURN_DTYPE_COUNT; from++) {
      for (int to = 0; to < LURN_DTYPE_COUNT; to++) {
        for (int s = 0; s < SIZES; s++) check_unary(k->cast[from][to], (lurn_dtype)from, (lurn_dtype)to, sizes[s]);
      }
    }
  }
}

static const int64_t binary_strides[][3] = {{1, 1, 1}, {1, 0, 1}, {0, 1, 1},   {0, 0, 1}, {2, 1, 1}, {1, 3, 2},
                                            {0, 2, 3}, {3, 0, 1}, {-1, 1, -2}, {1, 1, 2}, {1, 0, 3}, {0, 1, -1}};

static void check_binary(lurn__binary_fn *f, lurn_dtype from, lurn_dtype to, int64_t n) {
  static buffer a, b, y, packed_a, packed_b, expected, got;
  const size_t size = element_size[from];
  fill_inputs(from, &a, 21), fill_inputs(from, &b, 22);
  for (size_t s = 0; s < sizeof binary_strides / sizeof *binary_strides; s++) {
    operand in_a = view(&a, n, binary_strides[s][0], size), in_b = view(&b, n, binary_strides[s][1], size);
    operand out = view(&y, n, binary_strides[s][2], element_size[to]);
    pack(in_a, n, size, &packed_a), pack(in_b, n, size, &packed_b);
    f(n, packed_a.bytes, 1, packed_b.bytes, 1, expected.bytes, 1);
    f(n, in_a.first, in_a.stride, in_b.first, in_b.stride, out.first, out.stride);
    pack(out, n, element_size[to], &got);
    CHECK(same(to, expected.bytes, got.bytes, n));
  }
  for (int64_t i = 0; i < n; i++) {
    f(1, packed_a.bytes + (size_t)i * size, 1, packed_b.bytes + (size_t)i * size, 1, got.bytes, 1);
    CHECK(same(to, expected.bytes + (size_t)i * element_size[to], got.bytes, 1));
  }
  if (size != element_size[to]) return;
  for (int which = 0; which < 4; which++) { /* over a or b, at stride 1 or 2 */
    fill_inputs(from, &a, 23), fill_inputs(from, &b, 24);
    int64_t stride = which < 2 ? 1 : 2;
    operand in_a = view(&a, n, stride, size), in_b = view(&b, n, stride, size), out = which % 2 ? in_a : in_b;
    pack(in_a, n, size, &packed_a), pack(in_b, n, size, &packed_b);
    f(n, packed_a.bytes, 1, packed_b.bytes, 1, expected.bytes, 1);
    f(n, in_a.first, stride, in_b.first, stride, out.first, stride);
    pack(out, n, size, &got);
    CHECK(same(to, expected.bytes, got.bytes, n));
  }
}

TEST(binary_strides_and_in_place) {
  EACH_TABLE(k) {
    for (int s = 0; s < SIZES; s++) {
      for (int d = 0; d < LURN_DTYPE_COUNT; d++) {
        for (int op = 0; op < LURN__BINARY_COUNT; op++) {
          if (k->binary[op][d]) check_binary(k->binary[op][d], (lurn_dtype)d, (lurn_dtype)d, sizes[s]);
        }
        for (int op = 0; op < LURN__COMPARE_COUNT; op++) {
          check_binary(k->compare[op][d], (lurn_dtype)d, LURN_BOOL, sizes[s]);
        }
      }
      for (int op = 0; op < LURN__LOGICAL_COUNT; op++) check_binary(k->logical[op], LURN_BOOL, LURN_BOOL, sizes[s]);
      for (int d = 0; d < 2; d++) {
        for (int op = 0; op < LURN__UNARY_COUNT; op++) {
          if (k->unary_grad[op][d]) check_binary(k->unary_grad[op][d], (lurn_dtype)d, (lurn_dtype)d, sizes[s]);
        }
      }
    }
  }
}

/* ---- Gradients ---- */

TEST(unary_grad_matches_differences) {
  static const double points[] = {-3.1, -1.7, -0.93, -0.4, -0.01, 0.02, 0.3, 0.77, 1.6, 2.9, 7.3, 19.5, 21};
  const double eps = 1e-6;
  EACH_TABLE(k) {
    for (int op = 0; op < LURN__UNARY_COUNT; op++) {
      if (!k->unary_grad[op][LURN_FLOAT64]) continue;
      for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        double x = points[i], y = reference((lurn__unary)op, x), gy = 1.75, gx;
        double slope = (reference((lurn__unary)op, x + eps) - reference((lurn__unary)op, x - eps)) / (2 * eps);
        if (isnan(slope)) continue;
        double ref = lurn__unary_grad_takes_output((lurn__unary)op) ? y : x;
        k->unary_grad[op][LURN_FLOAT64](1, &gy, 1, &ref, 1, &gx, 1);
        /* Rounding gives |y| 1e-16 / eps, the third derivative eps^2 of its size: for rsqrt much near 0.02. */
        double tolerance = 1e-9 * (1 + fabs(y)) + 1e-7 * fabs(gx);
        if (!CHECK_NEAR(gx, gy * slope, tolerance)) printf("     op %d at %g\n", op, x);
        float gy32 = (float)gy, ref32 = (float)ref, gx32;
        k->unary_grad[op][LURN_FLOAT32](1, &gy32, 1, &ref32, 1, &gx32, 1);
        double rounded = (double)ref32, exact; /* float64's own value at the rounded reference: */
        k->unary_grad[op][LURN_FLOAT64](1, &gy, 1, &rounded, 1, &exact, 1);
        /* a few roundings, absolute where 1 - y y or 1 + x cancels */
        if (!CHECK_NEAR((double)gx32, exact, 5e-7 * fmax(fabs(exact), 0.3))) printf("     op %d at %g\n", op, x);
      }
    }
  }
}

TEST(unary_grad_at_the_kinks) {
  EACH_TABLE(k) {
    const double gy[3] = {2, 2, 2}, zero[3] = {0, -0.0, NAN};
    double gx[3];
    k->unary_grad[LURN__UNARY_ABS][LURN_FLOAT64](3, gy, 1, zero, 1, gx, 1);
    CHECK(gx[0] == 0 && gx[1] == 0);
    k->unary_grad[LURN__UNARY_RELU][LURN_FLOAT64](3, gy, 1, zero, 1, gx, 1);
    CHECK(gx[0] == 0 && gx[1] == 0);
  }
}

/* ---- Binary values ---- */

static double floor_mod(double a, double b) {
  double r = fmod(a, b);
  return r != 0 && signbit(r) != signbit(b) ? r + b : r;
}

TEST(binary_float_values) {
  static const double a[] = {7, -7, 7, -7, 5.5, -0.75, 1e6, NAN, 1, INFINITY, 2, 0};
  static const double b[] = {3, 3, -3, -3, 0.25, 2, 7, 1, NAN, 2, INFINITY, 5};
  enum { COUNT = sizeof a / sizeof *a };
  EACH_TABLE(k) {
    for (int i = 0; i < COUNT; i++) {
      const double expected[LURN__BINARY_COUNT] = {
          a[i] + b[i],
          a[i] - b[i],
          a[i] * b[i],
          a[i] / b[i],
          pow(a[i], b[i]),
          isnan(a[i] + b[i]) ? NAN : fmax(a[i], b[i]),
          isnan(a[i] + b[i]) ? NAN : fmin(a[i], b[i]),
          floor_mod(a[i], b[i]),
          isinf(a[i]) ? NAN : floor(a[i] / b[i]),
      };
      float a32 = (float)a[i], b32 = (float)b[i], y32;
      for (int op = 0; op < LURN__BINARY_COUNT; op++) {
        double y;
        k->binary[op][LURN_FLOAT64](1, &a[i], 1, &b[i], 1, &y, 1);
        CHECK_NEAR(y, expected[op], 0);
        k->binary[op][LURN_FLOAT32](1, &a32, 1, &b32, 1, &y32, 1);
        CHECK_NEAR((double)y32, (double)(float)expected[op], 1e-7 * fabs(expected[op])); /* powf rounds by itself */
      }
    }
    const double one = 1, zero = 0;
    double y;
    k->binary[LURN__BINARY_FLOOR_DIVIDE][LURN_FLOAT64](1, &one, 1, &zero, 1, &y, 1);
    CHECK(y == INFINITY);
    k->binary[LURN__BINARY_REMAINDER][LURN_FLOAT64](1, &one, 1, &zero, 1, &y, 1);
    CHECK(isnan(y));
  }
}

static int64_t binary_int(const lurn__elementwise *k, lurn__binary op, lurn_dtype dtype, int64_t a, int64_t b) {
  buffer x, y, z;
  k->cast[LURN_INT64][dtype](1, &a, 1, x.bytes, 1);
  k->cast[LURN_INT64][dtype](1, &b, 1, y.bytes, 1);
  k->binary[op][dtype](1, x.bytes, 1, y.bytes, 1, z.bytes, 1);
  int64_t result;
  k->cast[dtype][LURN_INT64](1, z.bytes, 1, &result, 1);
  return result;
}

TEST(binary_integer_values) {
  EACH_TABLE(k) {
    for (int d = LURN_INT64; d <= LURN_INT32; d++) {
      const lurn_dtype t = (lurn_dtype)d;
      const int64_t lowest = d == LURN_INT64 ? INT64_MIN : INT32_MIN;
      for (int64_t a = -7; a <= 7; a++) {
        for (int64_t b = -3; b <= 3; b++) {
          int64_t q = b ? (int64_t)floor((double)a / (double)b) : 0, r = b ? a - b * q : 0;
          CHECK_EQ(binary_int(k, LURN__BINARY_FLOOR_DIVIDE, t, a, b), q);
          CHECK_EQ(binary_int(k, LURN__BINARY_REMAINDER, t, a, b), r);
          int64_t p = b >= 0 || llabs(a) == 1 ? (int64_t)pow((double)a, (double)b) : 0;
          CHECK_EQ(binary_int(k, LURN__BINARY_POW, t, a, b), p);
        }
      }
      CHECK_EQ(binary_int(k, LURN__BINARY_FLOOR_DIVIDE, t, lowest, -1), lowest);
      CHECK_EQ(binary_int(k, LURN__BINARY_REMAINDER, t, lowest, -1), 0);
      CHECK_EQ(binary_int(k, LURN__BINARY_ADD, t, lowest, -1), -(lowest + 1));
      CHECK_EQ(binary_int(k, LURN__BINARY_MUL, t, lowest, -1), lowest);
      CHECK_EQ(binary_int(k, LURN__BINARY_POW, t, 3, 0), 1);
      CHECK_EQ(binary_int(k, LURN__BINARY_MAXIMUM, t, -3, 2), 2);
      CHECK_EQ(binary_int(k, LURN__BINARY_MINIMUM, t, -3, 2), -3);
    }
    uint64_t power = 1; /* of 3: wraps at the 41st */
    for (int i = 0; i < 41; i++) power *= 3;
    CHECK_EQ(binary_int(k, LURN__BINARY_POW, LURN_INT64, 3, 41), (int64_t)power);
    CHECK_EQ(binary_int(k, LURN__BINARY_SUB, LURN_UINT8, 3, 5), 254);
    CHECK_EQ(binary_int(k, LURN__BINARY_REMAINDER, LURN_UINT8, 200, 7), 4);
    CHECK_EQ(binary_int(k, LURN__BINARY_FLOOR_DIVIDE, LURN_UINT8, 200, 0), 0);
    CHECK_EQ(binary_int(k, LURN__BINARY_FLOOR_DIVIDE, LURN_UINT8, 200, 255), 0);
    CHECK_EQ(binary_int(k, LURN__BINARY_ADD, LURN_BOOL, 1, 1), 1);
    CHECK_EQ(binary_int(k, LURN__BINARY_MUL, LURN_BOOL, 1, 0), 0);
    CHECK_EQ(binary_int(k, LURN__BINARY_MAXIMUM, LURN_BOOL, 0, 1), 1);
    CHECK(k->binary[LURN__BINARY_SUB][LURN_BOOL] == NULL && k->binary[LURN__BINARY_DIV][LURN_INT64] == NULL);
  }
}

static void check_against_scalar(lurn__binary_fn *f, lurn__binary_fn *scalar, lurn_dtype from, lurn_dtype to) {
  static buffer a, b, expected, got;
  fill_inputs(from, &a, 25), fill_inputs(from, &b, 26);
  scalar(N, a.bytes, 1, b.bytes, 1, expected.bytes, 1);
  f(N, a.bytes, 1, b.bytes, 1, got.bytes, 1);
  CHECK(same(to, expected.bytes, got.bytes, N));
}

TEST(exact_kernels_agree_between_instruction_sets) {
  const lurn__elementwise *scalar = &lurn__elementwise_scalar;
  EACH_TABLE(k) {
    for (int d = 0; d < LURN_DTYPE_COUNT; d++) {
      for (int op = 0; op < LURN__BINARY_COUNT; op++) {
        if (op == LURN__BINARY_POW && d <= LURN_FLOAT64) continue;
        if (k->binary[op][d])
          check_against_scalar(k->binary[op][d], scalar->binary[op][d], (lurn_dtype)d, (lurn_dtype)d);
      }
      for (int op = 0; op < LURN__COMPARE_COUNT; op++) {
        check_against_scalar(k->compare[op][d], scalar->compare[op][d], (lurn_dtype)d, LURN_BOOL);
      }
      for (int to = 0; to < LURN_DTYPE_COUNT; to++) {
        static buffer x, expected, got;
        fill_inputs((lurn_dtype)d, &x, 27);
        scalar->cast[d][to](N, x.bytes, 1, expected.bytes, 1);
        k->cast[d][to](N, x.bytes, 1, got.bytes, 1);
        CHECK(same((lurn_dtype)to, expected.bytes, got.bytes, N));
      }
    }
  }
}

TEST(compare_and_logical_values) {
  const float a[4] = {1, 2, NAN, 0}, b[4] = {1, 3, NAN, -1};
  static const char expected[LURN__COMPARE_COUNT][4] = {"\1\0\0\0", "\0\1\1\1", "\0\1\0\0",
                                                        "\1\1\0\0", "\0\0\0\1", "\1\0\0\1"};
  EACH_TABLE(k) {
    uint8_t y[4];
    for (int op = 0; op < LURN__COMPARE_COUNT; op++) {
      k->compare[op][LURN_FLOAT32](4, a, 1, b, 1, y, 1);
      CHECK(memcmp(y, expected[op], 4) == 0);
    }
    static const char logical[LURN__LOGICAL_COUNT][4] = {"\0\0\0\1", "\0\1\1\1", "\0\1\1\0"};
    for (int op = 0; op < LURN__LOGICAL_COUNT; op++) {
      k->logical[op](4, "\0\0\1\1", 1, "\0\1\0\1", 1, y, 1);
      CHECK(memcmp(y, logical[op], 4) == 0);
    }
  }
}

/* ---- Casts ---- */

TEST(cast_float_to_integer_saturates) {
  const double x[] = {NAN, INFINITY, -INFINITY, 1e30, -1e30, 2.9, -2.9, 255.9, 256, -0.5};
  static const int64_t to64[] = {0, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, 2, -2, 255, 256, 0};
  static const int32_t to32[] = {0, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 2, -2, 255, 256, 0};
  static const uint8_t to8[] = {0, 255, 0, 255, 0, 2, 0, 255, 255, 0};
  EACH_TABLE(k) {
    float x32[10];
    k->cast[LURN_FLOAT64][LURN_FLOAT32](10, x, 1, x32, 1);
    for (int d = 0; d < 2; d++) {
      const void *from = d == LURN_FLOAT32 ? (const void *)x32 : x;
      int64_t y64[10];
      int32_t y32[10];
      uint8_t y8[10];
      k->cast[d][LURN_INT64](10, from, 1, y64, 1);
      CHECK(memcmp(y64, to64, sizeof y64) == 0);
      k->cast[d][LURN_INT32](10, from, 1, y32, 1);
      CHECK(memcmp(y32, to32, sizeof y32) == 0);
      k->cast[d][LURN_UINT8](10, from, 1, y8, 1);
      CHECK(memcmp(y8, to8, sizeof y8) == 0);
      k->cast[d][LURN_BOOL](10, from, 1, y8, 1);
      CHECK(memcmp(y8, "\1\1\1\1\1\1\1\1\1\1", 10) == 0);
    }
  }
}

TEST(cast_values) {
  EACH_TABLE(k) {
    const int64_t x[3] = {-1, (INT64_C(1) << 40) + 7, 0};
    int32_t y32[3];
    uint8_t y8[3];
    double y64[3];
    k->cast[LURN_INT64][LURN_INT32](3, x, 1, y32, 1);
    CHECK(y32[0] == -1 && y32[1] == 7 && y32[2] == 0);
    k->cast[LURN_INT64][LURN_UINT8](3, x, 1, y8, 1);
    CHECK(y8[0] == 255 && y8[1] == 7 && y8[2] == 0);
    k->cast[LURN_INT64][LURN_BOOL](3, x, 1, y8, 1);
    CHECK(y8[0] == 1 && y8[1] == 1 && y8[2] == 0);
    k->cast[LURN_BOOL][LURN_FLOAT64](3, y8, 1, y64, 1);
    CHECK(y64[0] == 1 && y64[2] == 0);
    k->cast[LURN_INT64][LURN_FLOAT64](3, x, 1, y64, 1);
    CHECK(y64[0] == -1 && y64[1] == 0x1p40 + 7);
  }
}

/* ---- The rest ---- */

TEST(where_chooses) {
  static const int64_t strides[][4] = {{1, 1, 1, 1}, {1, 0, 1, 1},  {1, 1, 0, 1}, {1, 0, 0, 1},
                                       {0, 1, 1, 1}, {2, 3, -1, 2}, {-3, 0, 2, 1}};
  static buffer c, a, b, y;
  fill_inputs(LURN_BOOL, &c, 31);
  EACH_TABLE(k) {
    for (int d = 0; d < LURN_DTYPE_COUNT; d++) {
      const size_t size = element_size[d];
      fill_inputs((lurn_dtype)d, &a, 32), fill_inputs((lurn_dtype)d, &b, 33);
      for (size_t s = 0; s < sizeof strides / sizeof *strides * SIZES; s++) {
        const int64_t n = sizes[s % SIZES], *t = strides[s / SIZES];
        operand vc = view(&c, n, t[0], 1), va = view(&a, n, t[1], size), vb = view(&b, n, t[2], size);
        operand vy = view(&y, n, t[3], size);
        k->where[d](n, vc.first, t[0], va.first, t[1], vb.first, t[2], vy.first, t[3]);
        for (int64_t i = 0; i < n; i++) {
          const operand v = vc.first[i * t[0]] ? va : vb;
          CHECK(memcmp(vy.first + i * t[3] * (int64_t)size, v.first + i * v.stride * (int64_t)size, size) == 0);
        }
      }
    }
  }
}

TEST(scaled_sums) {
  EACH_TABLE(k) {
    for (int s = 0; s < SIZES; s++) {
      const int64_t n = sizes[s];
      for (int64_t stride = 1; stride <= 2; stride++) {
        float x[2 * N], y[2 * N];
        double u[2 * N], v[2 * N];
        for (int i = 0; i < 2 * N; i++) {
          u[i] = (double)(x[i] = (float)i / 8), v[i] = (double)(y[i] = (float)(i % 7)); /* exact in float32 */
        }
        k->add_scaled[0](n, 0.5, x, stride, y, stride);
        k->add_scaled[1](n, 0.5, u, stride, v, stride);
        for (int64_t i = 0; i < n; i++) {
          int64_t j = i * stride;
          CHECK_NEAR((double)y[j], (double)j / 16 + (double)(j % 7), 0);
          CHECK_NEAR(v[j], (double)y[j], 0);
        }
      }
    }
  }
}

TEST(clamp_and_its_gradient) {
  EACH_TABLE(k) {
    const double x[5] = {-3, -1, 0.5, 4, NAN}, lo = -1, hi = 2, gy[5] = {1, 2, 3, 4, 5};
    double y[5], gx[5];
    k->clamp[LURN_FLOAT64](5, x, 1, &lo, &hi, y, 1);
    CHECK(y[0] == -1 && y[1] == -1 && y[2] == 0.5 && y[3] == 2 && isnan(y[4]));
    k->clamp_grad[1](5, gy, 1, x, 1, &lo, &hi, gx, 1);
    CHECK(gx[0] == 0 && gx[1] == 2 && gx[2] == 3 && gx[3] == 0 && gx[4] == 0);
    k->clamp[LURN_FLOAT64](5, x, 1, &hi, &lo, y, 1); /* limits crossed */
    CHECK(y[0] == -1 && y[3] == -1);
    const int64_t big[4] = {INT64_MIN, -5, 5, INT64_MAX}, lo64 = -5, hi64 = INT64_MAX - 1;
    int64_t z[2];
    k->clamp[LURN_INT64](2, big, 3, &lo64, &hi64, z, 1);
    CHECK(z[0] == -5 && z[1] == INT64_MAX - 1);
  }
}

TEST(elu_and_its_gradient) {
  EACH_TABLE(k) {
    for (int i = -40; i <= 40; i++) {
      double x = i / 10.0, gy = 2, y, gx, alpha = 0.7;
      float x32 = (float)x, gy32 = 2, y32, gx32;
      k->elu[1](1, alpha, &x, 1, &y, 1);
      CHECK_NEAR(y, x > 0 ? x : alpha * expm1(x), 1e-15);
      k->elu_grad[1](1, alpha, &gy, 1, &x, 1, &gx, 1);
      CHECK_NEAR(gx, x > 0 ? 2 : 2 * alpha * exp(x), 1e-15);
      k->elu[0](1, alpha, &x32, 1, &y32, 1);
      k->elu_grad[0](1, alpha, &gy32, 1, &x32, 1, &gx32, 1);
      CHECK_NEAR((double)y32, y, 5e-7); /* rounding of x, alpha and expm1 */
      CHECK_NEAR((double)gx32, gx, 5e-7);
    }
  }
}

TEST(dropout_scales_what_it_keeps) {
  EACH_TABLE(k) {
    float x[33], y[33];
    uint8_t mask[33];
    for (int i = 0; i < 33; i++) x[i] = i == 4 ? INFINITY : (float)i, mask[i] = i % 3 == 0;
    k->dropout[0](33, 1.5, x, 1, mask, 1, y, 1);
    for (int i = 0; i < 33; i++) CHECK_NEAR((double)y[i], i % 3 == 0 ? 1.5 * i : 0, 0);
    k->dropout[0](16, 2, x, 2, mask, 2, y, 2);
    for (int i = 0; i < 32; i += 2) CHECK_NEAR((double)y[i], i % 3 == 0 ? 2.0 * i : 0, 0);
  }
}

/* What the rest gives for operands of strides 1 and 2, in every combination, is what it gives for packed ones. */
typedef struct rest {
  lurn_dtype dtype;
  int kernel;
} rest;

enum { CLAMP = 0, CLAMP_GRAD, ELU, ELU_GRAD, DROPOUT, REST };

static void run_rest(const lurn__elementwise *k, rest r, int64_t n, operand a, operand b, operand y) {
  static const int64_t ints[2] = {-1, 2};
  static const int32_t shorts[2] = {-1, 2};
  static const uint8_t bytes[2] = {1, 2};
  static const double reals[2] = {-1, 2};
  static const float floats[2] = {-1, 2};
  static const void *const limits[] = {floats, reals, ints, shorts, bytes};
  const unsigned char *lo = limits[r.dtype], *hi = lo + element_size[r.dtype];
  if (r.kernel == CLAMP) k->clamp[r.dtype](n, a.first, a.stride, lo, hi, y.first, y.stride);
  if (r.kernel == CLAMP_GRAD)
    k->clamp_grad[r.dtype](n, b.first, b.stride, a.first, a.stride, lo, hi, y.first, y.stride);
  if (r.kernel == ELU) k->elu[r.dtype](n, 0.7, a.first, a.stride, y.first, y.stride);
  if (r.kernel == ELU_GRAD) k->elu_grad[r.dtype](n, 0.7, b.first, b.stride, a.first, a.stride, y.first, y.stride);
  if (r.kernel == DROPOUT) k->dropout[r.dtype](n, 1.5, a.first, a.stride, b.first, b.stride, y.first, y.stride);
}

static void check_rest(const lurn__elementwise *k, rest r) {
  static buffer a, b, y, packed_a, packed_b, expected, got;
  const size_t size = element_size[r.dtype], size_b = r.kernel == DROPOUT ? 1 : size;
  fill_inputs(r.dtype, &a, 41), fill_inputs(r.kernel == DROPOUT ? LURN_BOOL : r.dtype, &b, 42);
  for (int strides = 0; strides < 8; strides++) {
    operand in_a = view(&a, N, 1 + (strides & 1), size), in_b = view(&b, N, 1 + (strides >> 1 & 1), size_b);
    operand out = view(&y, N, 1 + (strides >> 2), size);
    pack(in_a, N, size, &packed_a), pack(in_b, N, size_b, &packed_b);
    run_rest(k, r, N, view(&packed_a, N, 1, size), view(&packed_b, N, 1, size_b), view(&expected, N, 1, size));
    run_rest(k, r, N, in_a, in_b, out);
    pack(out, N, size, &got);
    CHECK(same(r.dtype, expected.bytes, got.bytes, N));
  }
}

TEST(the_rest_bears_any_strides) {
  EACH_TABLE(k) {
    for (int kernel = CLAMP; kernel < REST; kernel++)
      for (int d = 0; d < (kernel == CLAMP ? LURN_BOOL : 2); d++) check_rest(k, (rest){(lurn_dtype)d, kernel});
  }
}
