/* Shapes and strides: checked arithmetic, broadcasting, printing.  Everything is in elements. */
#ifndef LURN_CORE_SHAPE_H
#define LURN_CORE_SHAPE_H

#include "core/context.h"

typedef struct lurn__shape {
  int ndim;
  int64_t size[LURN_MAX_DIMS];
} lurn__shape;

/* Room for any shape in print: "(2, 3)". */
enum { LURN__SHAPE_TEXT = 24 * LURN_MAX_DIMS + 4 };

/* Checks the dimension count, that no size is negative, and that numel * 8 fits an int64.  who starts the message. */
lurn_status lurn__shape_make(lurn_ctx *ctx, const char *who, int64_t ndim, const int64_t *sizes, lurn__shape *out);
/* LURN_ENOMEM unless numel * 8 fits an int64, sizes of 0 counted as 1: for shapes that an op put together. */
lurn_status lurn__shape_check(lurn_ctx *ctx, const char *who, const lurn__shape *shape);
int64_t lurn__shape_numel(const lurn__shape *shape);
bool lurn__shape_equal(const lurn__shape *a, const lurn__shape *b);
/* Writes "(2, 3)" into text and returns it. */
const char *lurn__shape_print(const lurn__shape *shape, char text[LURN__SHAPE_TEXT]);
/* Row-major strides. */
void lurn__shape_strides(const lurn__shape *shape, int64_t strides[LURN_MAX_DIMS]);
/* NumPy's rule: aligned at the last dimension, sizes equal or 1.  False when they do not fit. */
bool lurn__shape_broadcast(const lurn__shape *a, const lurn__shape *b, lurn__shape *out);
/* Turns dim (-ndim..ndim-1; a scalar counts as one dimension) into 0..ndim-1. */
lurn_status lurn__dim(lurn_ctx *ctx, const char *who, int64_t dim, int ndim, int *out);
/* Marks the dimensions in the list, of which none may be named twice; all where the list is empty. */
lurn_status lurn__dims(lurn_ctx *ctx, const char *who, lurn_ints dims, int ndim, bool marked[LURN_MAX_DIMS]);

#endif
