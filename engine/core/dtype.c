#include "core/dtype.h"

#include <string.h>

static const struct {
  const char *name;
  size_t size;
} dtypes[LURN_DTYPE_COUNT] = {
    [LURN_FLOAT32] = {"float32", 4}, [LURN_FLOAT64] = {"float64", 8}, [LURN_INT64] = {"int64", 8},
    [LURN_INT32] = {"int32", 4},     [LURN_UINT8] = {"uint8", 1},     [LURN_BOOL] = {"bool", 1},
};

const char *lurn_dtype_name(lurn_dtype dtype) {
  return (unsigned)dtype < LURN_DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

size_t lurn_dtype_size(lurn_dtype dtype) { return (unsigned)dtype < LURN_DTYPE_COUNT ? dtypes[dtype].size : 0; }

bool lurn_dtype_is_float(lurn_dtype dtype) { return dtype == LURN_FLOAT32 || dtype == LURN_FLOAT64; }

bool lurn_dtype_parse(const char *name, lurn_dtype *out) {
  for (int i = 0; i < LURN_DTYPE_COUNT && name != NULL; i++)
    if (strcmp(name, dtypes[i].name) == 0) {
      if (out != NULL) *out = (lurn_dtype)i;
      return true;
    }
  return false;
}

lurn_dtype lurn__promote(lurn_dtype a, bool weak_a, lurn_dtype b, bool weak_b) {
  if (weak_a != weak_b) {
    lurn_dtype weak = weak_a ? a : b, firm = weak_a ? b : a;
    if (lurn_dtype_is_float(weak) && !lurn_dtype_is_float(firm)) return LURN_FLOAT32;
    if (firm == LURN_BOOL && weak != LURN_BOOL) return LURN_INT64;
    return firm;
  }
  if (a == b) return a;
  if (a == LURN_FLOAT64 || b == LURN_FLOAT64) return LURN_FLOAT64;
  if (a == LURN_FLOAT32 || b == LURN_FLOAT32) return LURN_FLOAT32;
  if (a == LURN_INT64 || b == LURN_INT64) return LURN_INT64;
  if (a == LURN_INT32 || b == LURN_INT32) return LURN_INT32;
  return LURN_UINT8;
}

double lurn__load(lurn_dtype dtype, const void *p) {
  switch (dtype) {
    case LURN_FLOAT32: return (double)*(const float *)p;
    case LURN_FLOAT64: return *(const double *)p;
    case LURN_INT64: return (double)*(const int64_t *)p;
    case LURN_INT32: return (double)*(const int32_t *)p;
    default: return (double)*(const uint8_t *)p;
  }
}

int64_t lurn__load_int(lurn_dtype dtype, const void *p) {
  switch (dtype) {
    case LURN_FLOAT32: return lurn__double_to_int((double)*(const float *)p);
    case LURN_FLOAT64: return lurn__double_to_int(*(const double *)p);
    case LURN_INT64: return *(const int64_t *)p;
    case LURN_INT32: return *(const int32_t *)p;
    default: return *(const uint8_t *)p;
  }
}

int64_t lurn__double_to_int(double v) {
  if (v >= 9223372036854775808.0) return INT64_MAX;
  if (v <= -9223372036854775808.0) return INT64_MIN;
  return v == v ? (int64_t)v : 0;
}

static int64_t clamp_int(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

void lurn__store(lurn_dtype dtype, void *p, double v) {
  switch (dtype) {
    case LURN_FLOAT32: *(float *)p = (float)v; break;
    case LURN_FLOAT64: *(double *)p = v; break;
    case LURN_BOOL: *(uint8_t *)p = v != 0; break;
    default: lurn__store_int(dtype, p, lurn__double_to_int(v));
  }
}

void lurn__store_int(lurn_dtype dtype, void *p, int64_t v) {
  switch (dtype) {
    case LURN_FLOAT32: *(float *)p = (float)v; break;
    case LURN_FLOAT64: *(double *)p = (double)v; break;
    case LURN_INT64: *(int64_t *)p = v; break;
    case LURN_INT32: *(int32_t *)p = (int32_t)clamp_int(v, INT32_MIN, INT32_MAX); break;
    case LURN_UINT8: *(uint8_t *)p = (uint8_t)clamp_int(v, 0, UINT8_MAX); break;
    default: *(uint8_t *)p = v != 0;
  }
}
