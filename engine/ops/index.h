/* Elements picked along a dimension by a tensor of indices. */
#ifndef LURN_OPS_INDEX_H
#define LURN_OPS_INDEX_H

#include "ops/op.h"

/* A contiguous int64 tensor of the indices counted from 0 and checked to lie in 0..size-1.  who starts the message. */
lurn_status lurn__indices(lurn_ctx *ctx, const char *who, lurn_tensor *index, int64_t base, int64_t size,
                          lurn_tensor **out);

/* target[.., index, ..] += source along dim: the inverse of gather.  target is contiguous, of the source's dtype (float); index
 * counts from base and was checked.  Everything in one order, so that equal indices add up the same way every time. */
lurn_status lurn__scatter_add(lurn_ctx *ctx, lurn_tensor *target, int dim, lurn_tensor *index, int64_t base,
                              lurn_tensor *source);

#endif
