/* Element types: promotion and access to single elements. */
#ifndef LURN_CORE_DTYPE_H
#define LURN_CORE_DTYPE_H

#include "lurn.h"

/* Common dtype of two operands, as PyTorch promotes.  A weak operand is a plain number: it never changes the other's dtype,
 * except that a float with an integer gives float32 and an integer with a bool gives int64. */
lurn_dtype lurn__promote(lurn_dtype a, bool weak_a, lurn_dtype b, bool weak_b);

double lurn__load(lurn_dtype dtype, const void *p);
int64_t lurn__load_int(lurn_dtype dtype, const void *p);
/* Conversions saturate; NaN becomes 0 in integers. */
void lurn__store(lurn_dtype dtype, void *p, double v);
void lurn__store_int(lurn_dtype dtype, void *p, int64_t v);
int64_t lurn__double_to_int(double v);

#endif
