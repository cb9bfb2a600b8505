/* Elements picked along a dimension by a tensor of indices. */
#ifndef LURN_OPS_INDEX_H
#define LURN_OPS_INDEX_H

#include "ops/op.h"

/* A contiguous int64 tensor of the indices counted from 0 and checked to lie in 0..size-1.  who starts the message. */
lurn_status lurn__indices(lurn_ctx *ctx, const char *who, lurn_tensor *index, int64_t base, int64_t size,
                          lurn_tensor **out);

/* target[.., index, ..] += source along dim: the inverse of gather.  target is contiguous, of the source's dtype (float); index
 * counts from base and was checked.  Everything in one order, so that equal indices add up the same way every time. */
lurn_status lurn__add_at(lurn_ctx *ctx, lurn_tensor *target, int dim, lurn_tensor *index, int64_t base,
                         lurn_tensor *source);

/* The places of a bool tensor's true elements, counted in row-major order: one dimension of int64. */
lurn_status lurn__true_places(lurn_ctx *ctx, lurn_tensor *mask, lurn_tensor **out);

/* For ops that write into parts of x.  Opening gives x's elements, contiguous: out[0] itself, or in place on a strided x a copy
 * that closing brings home.  All that can fail comes before the first write to *work. */
lurn_status lurn__open_target(lurn__call *call, lurn_tensor *x, lurn_tensor **work);
lurn_status lurn__close_target(lurn__call *call, lurn_tensor *work);
/* source broadcast to the shape, contiguous, of x's dtype, sharing no memory with x. */
lurn_status lurn__as_source(lurn__call *call, lurn_tensor *source, const lurn_tensor *x, const lurn__shape *shape,
                            lurn_tensor **out);

#endif
