#include "core/shape.h"

#include <stdio.h>

lurn_status lurn__shape_make(lurn_ctx *ctx, const char *who, int64_t ndim, const int64_t *sizes, lurn__shape *out) {
  if (ndim < 0 || ndim > LURN_MAX_DIMS)
    return lurn__fail(ctx, LURN_ESHAPE, "%s: %lld dimensions; a tensor has at most %d", who, (long long)ndim,
                      LURN_MAX_DIMS);
  if (ndim > 0) LURN__TRY(lurn__need(ctx, who, "shape", sizes));
  lurn__shape shape = {.ndim = (int)ndim};
  for (int i = 0; i < shape.ndim; i++) {
    if (sizes[i] < 0) return lurn__fail(ctx, LURN_ESHAPE, "%s: negative size %lld", who, (long long)sizes[i]);
    shape.size[i] = sizes[i];
  }
  LURN__TRY(lurn__shape_check(ctx, who, &shape));
  *out = shape;
  return LURN_OK;
}

lurn_status lurn__shape_check(lurn_ctx *ctx, const char *who, const lurn__shape *shape) {
  int64_t nonzero = 1;
  for (int i = 0; i < shape->ndim; i++)
    if (shape->size[i] > 0 && __builtin_mul_overflow(nonzero, shape->size[i], &nonzero)) nonzero = INT64_MAX;
  if (nonzero <= INT64_MAX / 16) return LURN_OK;
  return lurn__fail(ctx, LURN_ENOMEM, "%s: a tensor of shape %s is larger than memory can be", who,
                    lurn__shape_print(shape, (char[LURN__SHAPE_TEXT]){0}));
}

int64_t lurn__shape_numel(const lurn__shape *shape) {
  int64_t n = 1;
  for (int i = 0; i < shape->ndim; i++) n *= shape->size[i];
  return n;
}

bool lurn__shape_equal(const lurn__shape *a, const lurn__shape *b) {
  if (a->ndim != b->ndim) return false;
  for (int i = 0; i < a->ndim; i++)
    if (a->size[i] != b->size[i]) return false;
  return true;
}

const char *lurn__shape_print(const lurn__shape *shape, char text[LURN__SHAPE_TEXT]) {
  size_t used = 1;
  text[0] = '(';
  for (int i = 0; i < shape->ndim; i++)
    used +=
        (size_t)snprintf(text + used, LURN__SHAPE_TEXT - used, i > 0 ? ", %lld" : "%lld", (long long)shape->size[i]);
  text[used] = ')';
  text[used + 1] = '\0';
  return text;
}

void lurn__shape_strides(const lurn__shape *shape, int64_t strides[LURN_MAX_DIMS]) {
  int64_t stride = 1;
  for (int i = shape->ndim - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape->size[i] > 0 ? shape->size[i] : 1;
  }
}

bool lurn__shape_broadcast(const lurn__shape *a, const lurn__shape *b, lurn__shape *out) {
  lurn__shape shape = {.ndim = a->ndim > b->ndim ? a->ndim : b->ndim};
  for (int i = 1; i <= shape.ndim; i++) {
    int64_t x = i <= a->ndim ? a->size[a->ndim - i] : 1, y = i <= b->ndim ? b->size[b->ndim - i] : 1;
    if (x != y && x != 1 && y != 1) return false;
    shape.size[shape.ndim - i] = x == 1 ? y : x;
  }
  *out = shape;
  return true;
}

lurn_status lurn__dim(lurn_ctx *ctx, const char *who, int64_t dim, int ndim, int *out) {
  int64_t n = ndim > 0 ? ndim : 1;
  if (dim < -n || dim >= n) {
    int64_t base = ctx->index_base;
    return lurn__fail(ctx, LURN_EINDEX, "%s: dimension %lld of a tensor with %d; expected %lld..%lld or %lld..-1", who,
                      (long long)(dim >= 0 ? dim + base : dim), ndim, (long long)base, (long long)n - 1 + base,
                      (long long)-n);
  }
  *out = (int)(dim < 0 ? dim + n : dim);
  return LURN_OK;
}

lurn_status lurn__dims(lurn_ctx *ctx, const char *who, lurn_ints dims, int ndim, bool marked[LURN_MAX_DIMS]) {
  for (int i = 0; i < LURN_MAX_DIMS; i++) marked[i] = dims.count == 0 && i < ndim;
  for (int64_t k = 0; k < dims.count; k++) {
    int dim = 0;
    LURN__TRY(lurn__dim(ctx, who, dims.values[k], ndim, &dim));
    if (ndim > 0 && marked[dim])
      return lurn__fail(ctx, LURN_EVALUE, "%s: dimension %d is named twice", who, dim + ctx->index_base);
    marked[dim] = true;
  }
  return LURN_OK;
}
