/* What the losses share: none, mean or sum of the elements' losses. */
#ifndef LURN_OPS_LOSS_H
#define LURN_OPS_LOSS_H

#include "ops/op.h"

enum { LURN__LOSS_NONE = 0, LURN__LOSS_MEAN, LURN__LOSS_SUM };

lurn_status lurn__check_reduction(lurn__call *call, int64_t reduction);
/* Reduces the losses of all rows (a temporary) into out[0].  total is the divisor of the mean. */
lurn_status lurn__reduce_losses(lurn__call *call, lurn_tensor *losses, int64_t reduction, double total);
/* a - b, where bool counts as 0 and 1: a target may be a mask, which sub refuses. */
lurn_status lurn__difference(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *a, lurn_tensor *b, lurn_tensor **out);

#endif
