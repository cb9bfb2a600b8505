/* Elementary functions for the inside of loops.
 *
 * The float32 functions have no branches, tables or calls, so that a loop over them becomes vector code under every
 * instruction set, and an element gives the same bits in the vector part and in the tail.  Coefficients are own
 * minimax fits (Remez); the error named at each function is the largest found against double libm
 * (spec/c/test_elementwise.c).  Unless said otherwise NaN gives NaN, and results below the smallest normal number
 * give 0.
 *
 * The float64 functions are libm's: they serve gradient checks, where accuracy counts and speed does not. */
#ifndef LURN_KERNELS_VECMATH_H
#define LURN_KERNELS_VECMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Before a loop whose iterations are independent although its pointers may be equal (in place). */
#if defined(__clang__)
#define LURN__INDEPENDENT _Pragma("clang loop vectorize(assume_safety) interleave(enable)")
/* Clang warns where it then does not vectorise after all, as in loops that call libm. */
#pragma clang diagnostic ignored "-Wpass-failed"
#elif defined(__GNUC__)
#define LURN__INDEPENDENT _Pragma("GCC ivdep")
#else
#define LURN__INDEPENDENT
#endif

/* a b + c, fused where the machine can: written out, so that vector code and tails contract alike. */
#if defined(__FMA__) || defined(__FP_FAST_FMAF) || defined(__aarch64__)
#define LURN__FMA32(a, b, c) __builtin_fmaf((a), (b), (c))
#define LURN__FMA64(a, b, c) __builtin_fma((a), (b), (c))
#else
#define LURN__FMA32(a, b, c) ((a) * (b) + (c))
#define LURN__FMA64(a, b, c) ((a) * (b) + (c))
#endif

static inline uint32_t lurn__f32_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float lurn__f32_from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline uint64_t lurn__f64_bits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* x = n ln 2 + r with |r| <= ln 2 / 2.  Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. */
typedef struct lurn__exp_parts {
  float expm1_r;    /* e^r - 1 */
  uint32_t shifted; /* n << 23: added to the bits of y, it makes y 2^n */
} lurn__exp_parts;

static inline lurn__exp_parts lurn__exp_reduce(float x) {
  const float magic = 0x1.8p23f;
  float t = LURN__FMA32(x, 0x1.715476p0f, magic);
  float n = t - magic;
  float r = LURN__FMA32(n, -0x1.62e4p-1f, x); /* ln 2 in two parts; n times the first is exact */
  r = LURN__FMA32(n, -0x1.7f7d1cp-20f, r);
  float p = 0x1.6bebf6p-10f;
  p = LURN__FMA32(p, r, 0x1.1227aep-7f);
  p = LURN__FMA32(p, r, 0x1.555674p-5f);
  p = LURN__FMA32(p, r, 0x1.5554bp-3f);
  p = LURN__FMA32(p, r, 0x1.fffffep-2f);
  return (lurn__exp_parts){LURN__FMA32(r * r, p, r), lurn__f32_bits(t) << 23};
}

/* e^x; relative error 9e-8. */
static inline float lurn__expf32(float x) {
  lurn__exp_parts e = lurn__exp_reduce(x);
  float y = lurn__f32_from_bits(lurn__f32_bits(1.0f + e.expm1_r) + e.shifted);
  y = x >= -0x1.5d589ep6f ? y : 0.0f;           /* ln of the smallest normal number, -87.3365 */
  return x <= 0x1.62e42ep6f ? y : x * INFINITY; /* ln of the largest, 88.7228; NaN comes here too */
}

/* 2^n (1 + expm1_r) - 1, halved so that n = 128 does not overflow. */
static inline float lurn__half_expm1(lurn__exp_parts e) {
  float half = lurn__f32_from_bits(0x3f000000u + e.shifted);
  return LURN__FMA32(half, e.expm1_r, half - 0.5f);
}

/* e^x - 1; relative error 1.2e-7. */
static inline float lurn__expm1f32(float x) {
  float bounded = x < -20.0f ? -20.0f : x;
  float y = 2.0f * lurn__half_expm1(lurn__exp_reduce(bounded));
  y = x <= 0x1.62e42ep6f ? y : x * INFINITY;
  return __builtin_copysignf(y, x);
}

/* tanh x = (e^2a - 1) / (e^2a + 1) with the sign of x, a = |x|; relative error 1.8e-7. */
static inline float lurn__tanhf32(float x) {
  float a = __builtin_fabsf(x);
  a = a > 9.1f ? 9.1f : a; /* there it is 1 */
  float h = lurn__half_expm1(lurn__exp_reduce(a + a));
  return __builtin_copysignf(h / (h + 1.0f), x);
}

/* 1 / (1 + e^-x); relative error 1.5e-7. */
static inline float lurn__sigmoidf32(float x) { return 1.0f / (1.0f + lurn__expf32(-x)); }

/* log(1 + f) + e ln 2 for sqrt(1/2) <= 1 + f <= sqrt(2), e an integer. */
static inline float lurn__log_reduced(float f, float e) {
  float p = -0x1.38b51cp-4f;
  p = LURN__FMA32(p, f, 0x1.055b48p-3f);
  p = LURN__FMA32(p, f, -0x1.0d8548p-3f);
  p = LURN__FMA32(p, f, 0x1.22da26p-3f);
  p = LURN__FMA32(p, f, -0x1.547246p-3f);
  p = LURN__FMA32(p, f, 0x1.99a008p-3f);
  p = LURN__FMA32(p, f, -0x1.000226p-2f);
  p = LURN__FMA32(p, f, 0x1.555554p-2f);
  float square = f * f;
  float low = LURN__FMA32(e, 0x1.7f7d1cp-20f, square * f * p);
  low = LURN__FMA32(-0.5f, square, low);
  return LURN__FMA32(e, 0x1.62e4p-1f, f + low);
}

/* Splits a positive normal x = 2^e (1 + f). */
static inline float lurn__log_split(float x, float *f) {
  const uint32_t sqrt_half = 0x3f3504f3u;
  uint32_t offset = lurn__f32_bits(x) - sqrt_half;
  *f = lurn__f32_from_bits((offset & 0x7fffffu) + sqrt_half) - 1.0f;
  return (float)((int32_t)offset >> 23);
}

/* What a logarithm of x is where x is not positive and finite. */
static inline float lurn__log_edges(float x, float y) {
  float edge = x == 0.0f ? -INFINITY : NAN;
  y = x > 0.0f ? y : edge;
  return x < INFINITY ? y : x;
}

/* log x, also of denormal x; relative error 8.1e-8. */
static inline float lurn__logf32(float x) {
  float normal = x < 0x1p-126f ? x * 0x1p23f : x;
  float f;
  float e = lurn__log_split(normal, &f);
  e = x < 0x1p-126f ? e - 23.0f : e;
  return lurn__log_edges(x, lurn__log_reduced(f, e));
}

/* log(1 + x); relative error 1.9e-7. */
static inline float lurn__log1pf32(float x) {
  float u = 1.0f + x, split;
  float e = lurn__log_split(u, &split);
  float small = x > -0.29f ? x : 1.0f; /* where 1 + x would lose digits of x */
  float f = small < 0.41f ? x : split;
  e = small < 0.41f ? 0.0f : e;
  return __builtin_copysignf(lurn__log_edges(u, lurn__log_reduced(f, e)), x);
}

/* (1 + erf(x / sqrt 2)) / 2, the normal distribution function; relative error 4e-7 for x > -1, growing to
 * 4.2e-6 where it is 1e-37.
 * With a = |x| / sqrt 2 the smaller tail is e^(-a a) t (1/2 - (1 - t) P(t)), t = 1 / (1 + 0.48 a). */
static inline float lurn__normal_cdff32(float x) {
  float t = 1.0f / LURN__FMA32(__builtin_fabsf(x), 0.33941125f, 1.0f);
  float p = -0x1.a762e2p-6f;
  p = LURN__FMA32(p, t, 0x1.ce4316p-4f);
  p = LURN__FMA32(p, t, -0x1.48160ap-3f);
  p = LURN__FMA32(p, t, 0x1.63a8b4p-5f);
  p = LURN__FMA32(p, t, -0x1.faeb5cp-10f);
  p = LURN__FMA32(p, t, 0x1.d1ed68p-4f);
  p = LURN__FMA32(p, t, 0x1.d47096p-3f);
  p = LURN__FMA32(p, t, 0x1.755d8cp-2f);
  p = LURN__FMA32(t - 1.0f, p, 0.5f);
  float tail = lurn__expf32(-0.5f * x * x) * t * p;
  return x < 0.0f ? tail : 1.0f - tail;
}

/* e^(-x x / 2) / sqrt(2 pi), its derivative; relative error 1.3e-7 + 6e-8 x x. */
static inline float lurn__normal_pdff32(float x) { return 0x1.988454p-2f * lurn__expf32(-0.5f * x * x); }

/* log(1 + e^x) = max(x, 0) + log(1 + u), u = e^-|x|; relative error 1.7e-7. */
static inline float lurn__softplusf32(float x) {
  float u = lurn__expf32(-__builtin_fabsf(x));
  float f = u < 0.41f ? u : 0.5f * (u - 1.0f); /* 1 + u = 2 (1 + f) */
  float e = u < 0.41f ? 0.0f : 1.0f;
  float y = lurn__log_reduced(f, e);
  return x > 0.0f ? x + y : y;
}

/* Above this lurn__sinf32 and lurn__cosf32 are wrong. */
#define LURN__SIN_LIMIT 0x1p20f

/* sin(x + quarter pi / 2) in double: pi / 2 in two parts, so that the reduction of a float is exact but for its last
 * bits. */
static inline double lurn__sin_quarter(double x, uint64_t quarter) {
  const double magic = 0x1.8p52;
  double t = LURN__FMA64(x, 0x1.45f306dc9c883p-1, magic);
  double k = t - magic;
  double r = LURN__FMA64(k, -0x1.921fb544p0, x); /* k below 2^20: the product is exact */
  r = LURN__FMA64(k, -0x1.0b4611a626331p-34, r);
  double z = r * r;
  double s = LURN__FMA64(z, 0x1.6cb61b6614a65p-19, -0x1.a00f33f59144bp-13);
  s = LURN__FMA64(s, z, 0x1.1111087121b52p-7);
  s = LURN__FMA64(s, z, -0x1.5555554d9707bp-3);
  s = LURN__FMA64(s, z, 1.0) * r; /* -0 stays */
  double c = LURN__FMA64(z, -0x1.247415276c20ap-22, 0x1.a012cb95f27e3p-16);
  c = LURN__FMA64(c, z, -0x1.6c16bbaa23b29p-10);
  c = LURN__FMA64(c, z, 0x1.55555552bfa57p-5);
  c = LURN__FMA64(LURN__FMA64(c, z, -0.5), z, 1.0);
  uint64_t quadrant = lurn__f64_bits(t) + quarter;
  double y = (quadrant & 1) ? c : s;
  return (quadrant & 2) ? -y : y;
}

/* For |x| <= LURN__SIN_LIMIT; relative error 6.0e-8, that is, nearly always rounded correctly. */
static inline float lurn__sinf32(float x) { return (float)lurn__sin_quarter((double)x, 0); }
static inline float lurn__cosf32(float x) { return (float)lurn__sin_quarter((double)x, 1); }

/* ---- float64 ---- */

static inline double lurn__expf64(double x) { return exp(x); }
static inline double lurn__expm1f64(double x) { return expm1(x); }
static inline double lurn__tanhf64(double x) { return tanh(x); }
static inline double lurn__sigmoidf64(double x) { return 1.0 / (1.0 + exp(-x)); }
static inline double lurn__logf64(double x) { return log(x); }
static inline double lurn__log1pf64(double x) { return log1p(x); }
static inline double lurn__normal_cdff64(double x) { return 0.5 * erfc(-x * 0x1.6a09e667f3bcdp-1); }
static inline double lurn__normal_pdff64(double x) { return 0x1.9884533d43651p-2 * exp(-0.5 * x * x); }
static inline double lurn__softplusf64(double x) { return x > 20.0 ? x : log1p(exp(x)); }
static inline double lurn__sinf64(double x) { return sin(x); }
static inline double lurn__cosf64(double x) { return cos(x); }

#endif
