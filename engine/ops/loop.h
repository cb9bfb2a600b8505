/* Going over the elements of broadcast, strided operands in runs that an elementwise kernel takes. */
#ifndef LURN_OPS_LOOP_H
#define LURN_OPS_LOOP_H

#include "ops/op.h"

enum { LURN__LOOP_OPERANDS = 4 };

/* Operand 0 is the output.  Does not move once operands were added. */
typedef struct lurn__loop {
  lurn_tensor *target; /* operand 0 */
  lurn__shape shape;
  int count;
  char *data[LURN__LOOP_OPERANDS];
  size_t width[LURN__LOOP_OPERANDS];
  int64_t stride[LURN__LOOP_OPERANDS][LURN_MAX_DIMS];
  union {
    double f64;
    float f32;
    int64_t i64;
    uint8_t bytes[8];
  } constant[LURN__LOOP_OPERANDS];
} lurn__loop;

/* Over the elements of target, which is written. */
void lurn__loop_begin(lurn__loop *loop, lurn_tensor *target);
/* Adds t, broadcast to the target's shape (which must fit), read as dtype.  Tensors of one element are converted on the spot, others
 * into a temporary, as is one that shares memory with the target in another order. */
lurn_status lurn__loop_add(lurn__loop *loop, lurn__temps *temps, lurn_tensor *t, lurn_dtype dtype);

/* One run of n elements: the operands' addresses and strides (in elements). */
typedef void lurn__run_fn(const void *arg, int64_t n, char *const *data, const int64_t *stride);
void lurn__loop_run(lurn_ctx *ctx, lurn__loop *loop, lurn__run_fn *fn, const void *arg);

/* Runs of kernels with one, two and three inputs. */
void lurn__loop_unary(lurn_ctx *ctx, lurn__loop *loop, lurn__unary_fn *fn);
void lurn__loop_binary(lurn_ctx *ctx, lurn__loop *loop, lurn__binary_fn *fn);
void lurn__loop_where(lurn_ctx *ctx, lurn__loop *loop, lurn__where_fn *fn);

/* Backward of an elementwise function, from what forward saved first: its input or its output. */
lurn_status lurn__unary_grad_of(lurn__grad_call *grad, lurn__unary kind);

/* Rows 0..rows-1 in tasks of at least `work` elements each, given row_work elements per row; the cut depends on the sizes only. */
typedef void lurn__rows_fn(const void *arg, int64_t first, int64_t last);
void lurn__for_rows(lurn_ctx *ctx, int64_t rows, int64_t row_work, lurn__rows_fn *fn, const void *arg);

#endif
