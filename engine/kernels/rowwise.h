/* L1: reductions, and what is computed row by row: softmax, cross-entropy, layer normalisation.
 *
 * A matrix argument is `rows` rows of n contiguous elements; its row stride (in elements, any sign) follows its
 * pointer.  Rows are independent, so that callers may split them among threads freely.  A result per row is
 * contiguous.  rows == 0 is fine; n == 0 is fine where a result is defined (sum 0, product 1, softmax nothing) and
 * forbidden for max, min, argmax, argmin.
 *
 * Additions follow one fixed order that depends on n alone, so results are the same bit for bit whenever the
 * instruction set is.  float32 sums run in lanes over blocks of 1024 whose totals are added in double: the relative
 * error of a sum of equal signs stays below 1e-6 for any n.
 *
 * Tables of size 2 hold LURN_FLOAT32 and LURN_FLOAT64; "real" below is that type. */
#ifndef LURN_KERNELS_ROWWISE_H
#define LURN_KERNELS_ROWWISE_H

#include "lurn.h"

/* ---- Reductions ---- */

/* One number from n contiguous elements, not rounded to the element type.  To combine parts on several threads, cut at
 * fixed places and add the results in order. */
typedef double lurn__total_fn(int64_t n, const void *x);
typedef double lurn__dot_fn(int64_t n, const void *x, const void *y);

/* y[r] = reduction of row r. */
typedef void lurn__reduce_rows_fn(int64_t rows, int64_t n, const void *x, int64_t sx, void *y);
/* y(outer, inner) = reduction of the contiguous x(outer, n, inner) over its middle axis.  y is contiguous. */
typedef void lurn__reduce_axis_fn(int64_t outer, int64_t n, int64_t inner, const void *x, void *y);

/* dtypes of results: sum and prod give floats their own dtype and everything else int64 (wrapping); max and min keep
 * the dtype (of bools they are any and all); argmax and argmin give int64 positions from 0.  A NaN is both the
 * largest and the smallest of its row; among equals (and among NaNs) the first wins. */
typedef enum lurn__reduction {
  LURN__REDUCE_SUM = 0,
  LURN__REDUCE_PROD,
  LURN__REDUCE_MAX,
  LURN__REDUCE_MIN,
  LURN__REDUCE_ARGMAX,
  LURN__REDUCE_ARGMIN,
  LURN__REDUCE_COUNT
} lurn__reduction;

/* ---- Softmax and its kin ---- */

/* softmax:     y = e^(x - m) / sum e^(x - m), m the largest of the row
 * log_softmax: y = x - m - log sum e^(x - m)
 * y may be x with the same stride. A row of nothing but -inf gives NaN. */
typedef void lurn__softmax_fn(int64_t rows, int64_t n, const void *x, int64_t sx, void *y, int64_t sy);
/* From the output y of the forward pass; gx may be gy.
 * softmax:     gx = y (gy - sum(gy y))
 * log_softmax: gx = gy - e^y sum(gy) */
typedef void lurn__softmax_grad_fn(int64_t rows, int64_t n, const void *gy, int64_t sgy, const void *y, int64_t sy,
                                   void *gx, int64_t sgx);
/* y[r] = m + log sum e^(x - m); -inf for n == 0 or a row of nothing but -inf, +inf when the row contains it. */
typedef void lurn__logsumexp_fn(int64_t rows, int64_t n, const void *x, int64_t sx, void *y);
/* gx = gy[r] e^(x - lse[r]); lse is what logsumexp gave. */
typedef void lurn__logsumexp_grad_fn(int64_t rows, int64_t n, const void *gy, const void *x, int64_t sx,
                                     const void *lse, void *gx, int64_t sgx);

/* ---- Cross-entropy of logits with a target class per row ----
 *
 *   p = softmax(x), t the target, w the class weights (1 when weight is NULL), s = smoothing:
 *   loss = (1 - s) w_t (-log p_t) + s/C sum_c w_c (-log p_c)
 *
 * targets count from 0 and lie below C (the row length n); a negative one is ignored: loss 0, gradient 0. */
typedef struct lurn__cross_entropy_rows {
  int64_t rows, classes;
  const void *logits; /* real (rows, classes) */
  int64_t stride;     /* of the rows of logits */
  const int64_t *targets;
  const void *weight; /* real (classes) or NULL */
  double smoothing;   /* 0..1 */
} lurn__cross_entropy_rows;

/* Fills loss[r] and, unless lse is NULL, lse[r] = logsumexp of row r (also for ignored rows). */
typedef void lurn__cross_entropy_fn(const lurn__cross_entropy_rows *in, void *loss, void *lse);
/* grad row = scale[r sscale] d loss / d logits; scale is real, sscale is 0 (one for all) or 1.  grad may be the
 * logits. */
typedef void lurn__cross_entropy_grad_fn(const lurn__cross_entropy_rows *in, const void *lse, const void *scale,
                                         int64_t sscale, void *grad, int64_t sgrad);

/* ---- Layer normalisation over rows ----
 *
 *   mean = sum(x) / n    var = sum((x - mean)^2) / n    rstd = 1 / sqrt(var + eps)    y = (x - mean) rstd weight + bias
 *
 * weight and bias are real (n), or NULL for 1 and 0; mean and rstd are real (rows), needed by the gradient, NULL when
 * there is none.  y may be x. */
typedef void lurn__layer_norm_fn(int64_t rows, int64_t n, const void *x, int64_t sx, const void *weight,
                                 const void *bias, double eps, void *y, int64_t sy, void *mean, void *rstd);

typedef struct lurn__layer_norm_grads {
  void *x;        /* (rows, n): overwritten; NULL when not wanted; may be gy */
  int64_t stride; /* of its rows */
  void *weight;   /* (n): added to, row after row; NULL when not wanted */
  void *bias;     /* (n): likewise */
} lurn__layer_norm_grads;
/* x, mean, rstd and weight as in the forward pass. */
typedef void lurn__layer_norm_grad_fn(int64_t rows, int64_t n, const void *gy, int64_t sgy, const void *x, int64_t sx,
                                      const void *mean, const void *rstd, const void *weight,
                                      const lurn__layer_norm_grads *out);

typedef struct lurn__rowwise {
  lurn__total_fn *sum[2];
  lurn__total_fn *sum_squares[2];
  lurn__total_fn *abs_max[2]; /* 0 for n == 0; NaN when there is one */
  lurn__dot_fn *dot[2];
  lurn__reduce_rows_fn *reduce_rows[LURN__REDUCE_COUNT][LURN_DTYPE_COUNT]; /* never NULL */
  lurn__reduce_axis_fn *reduce_axis[LURN__REDUCE_COUNT][LURN_DTYPE_COUNT]; /* never NULL */
  lurn__softmax_fn *softmax[2];
  lurn__softmax_fn *log_softmax[2];
  lurn__softmax_grad_fn *softmax_grad[2];
  lurn__softmax_grad_fn *log_softmax_grad[2];
  lurn__logsumexp_fn *logsumexp[2];
  lurn__logsumexp_grad_fn *logsumexp_grad[2];
  lurn__cross_entropy_fn *cross_entropy[2];
  lurn__cross_entropy_grad_fn *cross_entropy_grad[2];
  lurn__layer_norm_fn *layer_norm[2];
  lurn__layer_norm_grad_fn *layer_norm_grad[2];
} lurn__rowwise;

extern const lurn__rowwise lurn__rowwise_scalar;
#if defined(__x86_64__)
extern const lurn__rowwise lurn__rowwise_avx2;
extern const lurn__rowwise lurn__rowwise_avx512;
#endif

#endif
