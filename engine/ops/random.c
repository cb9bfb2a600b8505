/* Random numbers into tensors: Philox blocks, so that results do not depend on threads. */
#include <math.h>

#include "core/rng.h"
#include "ops/op.h"

/* ---- Filling ----------------------------------------------------------------------------------------------- */

/* Turns one block of random words into up to four values. */
typedef void values_fn(const uint32_t word[4], double a, double b, double value[4]);

/* Below high also where rounding to float32 would reach it. */
static void uniform_values32(const uint32_t word[4], double low, double high, double value[4]) {
  for (int i = 0; i < 4; i++) {
    value[i] = low + (double)lurn__unit_float(word[i]) * (high - low);
    if ((double)(float)value[i] >= high && low < high) value[i] = (double)nextafterf((float)high, -INFINITY);
  }
}

static void uniform_values64(const uint32_t word[4], double low, double high, double value[4]) {
  for (int i = 0; i < 2; i++) {
    value[i] = low + lurn__unit_double(word[2 * i], word[2 * i + 1]) * (high - low);
    if (value[i] >= high && low < high) value[i] = nextafter(high, -INFINITY);
  }
}

/* Box and Muller 1958; 1 - u keeps the logarithm finite. */
static void normal_values(const uint32_t word[4], double mean, double std, double value[4]) {
  for (int i = 0; i < 4; i += 2) {
    double radius = sqrt(-2 * log(1 - ((double)word[i] * 0x1p-32)));
    double angle = 6.283185307179586476925 * ((double)word[i + 1] * 0x1p-32);
    value[i] = mean + std * radius * cos(angle);
    value[i + 1] = mean + std * radius * sin(angle);
  }
}

static void bernoulli_values(const uint32_t word[4], double p, double unused, double value[4]) {
  (void)unused;
  for (int i = 0; i < 4; i++) value[i] = (double)word[i] * 0x1p-32 < p;
}

static lurn_status check_target(lurn_ctx *ctx, const char *who, const lurn_tensor *t, bool any_dtype) {
  LURN__TRY(lurn__need(ctx, who, "tensor", t));
  if (t->ctx != ctx) return lurn__fail(ctx, LURN_ESTATE, "%s: the tensor belongs to another context", who);
  if (!any_dtype && !lurn_dtype_is_float(t->dtype))
    return lurn__fail(ctx, LURN_EDTYPE, "%s: the tensor is %s; expected float32 or float64", who,
                      lurn_dtype_name(t->dtype));
  if (ctx->grad_enabled && t->requires_grad)
    return lurn__fail(ctx, LURN_ESTATE, "%s: the tensor requires a gradient; use no_grad", who);
  return lurn__need_own_elements(t, who);
}

/* values makes `each` values of a block. */
static lurn_status fill(lurn_ctx *ctx, lurn_tensor *t, values_fn *values, int each, double a, double b) {
  lurn_tensor *flat;
  LURN__TRY(lurn__tensor_new(ctx, t->dtype, &t->shape, &flat));
  int64_t n = lurn__numel(t), width = (int64_t)lurn__tensor_width(t);
  uint64_t block = lurn__rng_take(ctx, (uint64_t)((n + each - 1) / each));
  char *p = lurn__tensor_ptr(flat);
  for (int64_t i = 0; i < n; i += each, block++) {
    uint32_t word[4];
    double value[4];
    lurn__philox(ctx->rng_seed, block, word);
    values(word, a, b, value);
    for (int64_t k = 0; k < each && i + k < n; k++) lurn__store(t->dtype, p + (i + k) * width, value[k]);
  }
  lurn_status status = lurn__copy_(ctx, t, flat);
  lurn_release(flat);
  return status;
}

lurn_status lurn_uniform_(lurn_ctx *ctx, lurn_tensor *t, double low, double high) {
  LURN__TRY(check_target(ctx, "uniform_", t, false));
  if (!(low <= high) || !isfinite(high - low))
    return lurn__fail(ctx, LURN_EVALUE, "uniform_: from %g to %g; expected a finite, rising range", low, high);
  if (t->dtype == LURN_FLOAT64) return fill(ctx, t, uniform_values64, 2, low, high);
  return fill(ctx, t, uniform_values32, 4, low, high);
}

lurn_status lurn_normal_(lurn_ctx *ctx, lurn_tensor *t, double mean, double std) {
  LURN__TRY(check_target(ctx, "normal_", t, false));
  if (!(std >= 0)) return lurn__fail(ctx, LURN_EVALUE, "normal_: std is %g; expected at least 0", std);
  return fill(ctx, t, normal_values, 4, mean, std);
}

lurn_status lurn_bernoulli_(lurn_ctx *ctx, lurn_tensor *t, double p) {
  LURN__TRY(check_target(ctx, "bernoulli_", t, true));
  if (!(p >= 0 && p <= 1)) return lurn__fail(ctx, LURN_EVALUE, "bernoulli_: p is %g; expected 0..1", p);
  return fill(ctx, t, bernoulli_values, 4, p, 0);
}

/* ---- Integers ---------------------------------------------------------------------------------------------- */

/* A whole number of 0..range-1 from 64 random bits, without a bias that could be seen (Lemire 2019, without his rejection: the error
 * is below range / 2^64). */
static uint64_t below(uint64_t range, uint32_t high, uint32_t low) {
  return (uint64_t)(((unsigned __int128)(((uint64_t)high << 32) | low) * range) >> 64);
}

static lurn_status new_integers(lurn_ctx *ctx, const char *who, int ndim, const int64_t *sizes, lurn_tensor **out) {
  lurn__shape shape;
  LURN__TRY(lurn__need_place(ctx, who, out));
  LURN__TRY(lurn__shape_make(ctx, who, ndim, sizes, &shape));
  return lurn__tensor_new(ctx, LURN_INT64, &shape, out);
}

lurn_status lurn_randint(lurn_ctx *ctx, int64_t low, int64_t high, int ndim, const int64_t *shape, lurn_tensor **out) {
  if (low > high)
    return lurn__fail(ctx, LURN_EVALUE, "randint: no whole number between %lld and %lld", (long long)low,
                      (long long)high);
  uint64_t range = (uint64_t)high - (uint64_t)low + 1;
  LURN__TRY(new_integers(ctx, "randint", ndim, shape, out));
  int64_t n = lurn__numel(*out), *value = lurn__i64(*out);
  uint64_t block = lurn__rng_take(ctx, (uint64_t)((n + 1) / 2));
  for (int64_t i = 0; i < n; i++) {
    uint32_t word[4];
    lurn__philox(ctx->rng_seed, block + (uint64_t)(i / 2), word);
    uint32_t a = word[i % 2 * 2], b = word[i % 2 * 2 + 1];
    uint64_t step = range == 0 ? ((uint64_t)a << 32 | b) : below(range, a, b); /* 0: all 2^64 */
    value[i] = (int64_t)((uint64_t)low + step);
  }
  return LURN_OK;
}

/* Fisher and Yates, in Durstenfeld's order. */
lurn_status lurn_randperm(lurn_ctx *ctx, int64_t n, int64_t first, lurn_tensor **out) {
  if (n > 0 && first > INT64_MAX - (n - 1))
    return lurn__fail(ctx, LURN_EVALUE, "randperm: %lld numbers from %lld on", (long long)n, (long long)first);
  LURN__TRY(new_integers(ctx, "randperm", 1, &n, out));
  int64_t *value = lurn__i64(*out);
  uint64_t block = lurn__rng_take(ctx, (uint64_t)n);
  for (int64_t i = 0; i < n; i++) value[i] = i + first;
  for (int64_t i = n - 1; i > 0; i--) {
    uint32_t word[4];
    lurn__philox(ctx->rng_seed, block + (uint64_t)i, word);
    int64_t k = (int64_t)below((uint64_t)i + 1, word[0], word[1]), other = value[k];
    value[k] = value[i];
    value[i] = other;
  }
  return LURN_OK;
}
