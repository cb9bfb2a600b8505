/* L1: kernels that treat every element alike.
 *
 * Operands are n elements at a pointer and a stride in elements (not bytes).  Stride 1 is the fast path for all
 * operands together; stride 0 on an input repeats its one element; any other stride, also negative, is correct but
 * slower.  n == 0 is fine and touches nothing.  Pointers are aligned to their element; NULL only with n == 0.
 *
 * The output may be the same pointer with the same stride as one or both inputs of the same element size (in place).
 * Any other overlap is undefined, and so is an output stride of 0 with n > 1.
 *
 * An element's result depends on its own inputs alone: never on its position, on n, or on the strides.  Between
 * instruction sets the last bits may differ.
 *
 * Tables are indexed by lurn_dtype; an entry is NULL where the combination does not exist.  Tables of size 2 hold
 * LURN_FLOAT32 and LURN_FLOAT64.  Scalars of float kernels come as double and are rounded once to the element type. */
#ifndef LURN_KERNELS_ELEMENTWISE_H
#define LURN_KERNELS_ELEMENTWISE_H

#include "lurn.h"

/* ---- One input: y = f(x) ----
 *
 * float32, float64      all
 * int64, int32, uint8   neg (wraps) abs (wraps) sign square (wraps) relu; floor ceil round copy; logical_not
 * bool                  logical_not
 *
 * y has the dtype of x, but logical_not (x == 0), isnan and isfinite (floats only) make bools.  NaN gives NaN, except
 * that sign(NaN) is 0.
 *
 *   rsqrt 1/sqrt(x)    reciprocal 1/x    sigmoid 1/(1 + e^-x)    relu max(x, 0)
 *   gelu x Phi(x) with the exact erf     softplus log(1 + e^x), x itself above 20
 *   silu x sigmoid(x)                    round: halves to even */
#define LURN__UNARY_LIST(X)                                                                                            \
  X(NEG, neg)                                                                                                          \
  X(ABS, abs)                                                                                                          \
  X(SIGN, sign)                                                                                                        \
  X(SQUARE, square)                                                                                                    \
  X(SQRT, sqrt)                                                                                                        \
  X(RSQRT, rsqrt)                                                                                                      \
  X(RECIPROCAL, reciprocal)                                                                                            \
  X(EXP, exp)                                                                                                          \
  X(EXPM1, expm1)                                                                                                      \
  X(LOG, log)                                                                                                          \
  X(LOG1P, log1p)                                                                                                      \
  X(TANH, tanh)                                                                                                        \
  X(SIGMOID, sigmoid)                                                                                                  \
  X(RELU, relu)                                                                                                        \
  X(GELU, gelu)                                                                                                        \
  X(SOFTPLUS, softplus)                                                                                                \
  X(SILU, silu)                                                                                                        \
  X(SIN, sin)                                                                                                          \
  X(COS, cos)                                                                                                          \
  X(FLOOR, floor)                                                                                                      \
  X(CEIL, ceil)                                                                                                        \
  X(ROUND, round)                                                                                                      \
  X(LOGICAL_NOT, logical_not)                                                                                          \
  X(ISNAN, isnan)                                                                                                      \
  X(ISFINITE, isfinite)

typedef enum lurn__unary {
#define ENUMERATOR(NAME, name) LURN__UNARY_##NAME,
  LURN__UNARY_LIST(ENUMERATOR) LURN__UNARY_COUNT
#undef ENUMERATOR
} lurn__unary;

typedef void lurn__unary_fn(int64_t n, const void *x, int64_t sx, void *y, int64_t sy);

/* Gradients, floats only: gx = gy f'(x), written in terms of a reference that is
 *
 *   the output y   sqrt rsqrt reciprocal exp expm1 tanh sigmoid relu
 *   the input x    abs square log log1p gelu softplus silu sin cos
 *
 * (lurn__unary_grad_takes_output tells which).  NULL for neg sign floor ceil round and what makes bools.
 * abs has slope 0 at 0, relu slope 0 where the output is not above 0. */
typedef void lurn__unary_grad_fn(int64_t n, const void *gy, int64_t sgy, const void *ref, int64_t sref, void *gx,
                                 int64_t sgx);

static inline bool lurn__unary_grad_takes_output(lurn__unary op) {
  return op == LURN__UNARY_SQRT || op == LURN__UNARY_RSQRT || op == LURN__UNARY_RECIPROCAL || op == LURN__UNARY_EXP ||
         op == LURN__UNARY_EXPM1 || op == LURN__UNARY_TANH || op == LURN__UNARY_SIGMOID || op == LURN__UNARY_RELU;
}

/* ---- Two inputs of one dtype: y = f(a, b) ----
 *
 * float32, float64      all
 * int64, int32, uint8   all but div; add sub mul wrap
 * bool                  add maximum (or), mul minimum (and)
 *
 *   pow            integers by squaring, wrapping; a negative exponent gives 0 unless |a| is 1; pow(0, 0) = 1
 *   maximum        NaN when either is NaN; minimum likewise
 *   remainder      a - b floor(a / b): the sign of b, as in Python; integers by 0 give 0
 *   floor_divide   floor(a / b); integers by 0 give 0; the most negative integer by -1 wraps */
#define LURN__BINARY_LIST(X)                                                                                           \
  X(ADD, add)                                                                                                          \
  X(SUB, sub)                                                                                                          \
  X(MUL, mul)                                                                                                          \
  X(DIV, div)                                                                                                          \
  X(POW, pow)                                                                                                          \
  X(MAXIMUM, maximum)                                                                                                  \
  X(MINIMUM, minimum)                                                                                                  \
  X(REMAINDER, remainder)                                                                                              \
  X(FLOOR_DIVIDE, floor_divide)

typedef enum lurn__binary {
#define ENUMERATOR(NAME, name) LURN__BINARY_##NAME,
  LURN__BINARY_LIST(ENUMERATOR) LURN__BINARY_COUNT
#undef ENUMERATOR
} lurn__binary;

/* Comparisons a ? b of every dtype into bool (bytes 0 and 1).  NaN is unequal to everything. */
#define LURN__COMPARE_LIST(X)                                                                                          \
  X(EQ, eq)                                                                                                            \
  X(NE, ne)                                                                                                            \
  X(LT, lt)                                                                                                            \
  X(LE, le)                                                                                                            \
  X(GT, gt)                                                                                                            \
  X(GE, ge)

typedef enum lurn__compare {
#define ENUMERATOR(NAME, name) LURN__COMPARE_##NAME,
  LURN__COMPARE_LIST(ENUMERATOR) LURN__COMPARE_COUNT
#undef ENUMERATOR
} lurn__compare;

/* Two bools into a bool. */
typedef enum lurn__logical {
  LURN__LOGICAL_AND = 0,
  LURN__LOGICAL_OR,
  LURN__LOGICAL_XOR,
  LURN__LOGICAL_COUNT
} lurn__logical;

typedef void lurn__binary_fn(int64_t n, const void *a, int64_t sa, const void *b, int64_t sb, void *y, int64_t sy);

/* ---- The rest ---- */

/* y = cond ? a : b; cond is bool (any byte but 0 is true). */
typedef void lurn__where_fn(int64_t n, const void *cond, int64_t scond, const void *a, int64_t sa, const void *b,
                            int64_t sb, void *y, int64_t sy);
/* y += alpha x */
typedef void lurn__add_scaled_fn(int64_t n, double alpha, const void *x, int64_t sx, void *y, int64_t sy);
/* y = min(max(x, *lo), *hi).  lo and hi point to one element of the dtype; NaN in x stays; with lo > hi all
 * become *hi. */
typedef void lurn__clamp_fn(int64_t n, const void *x, int64_t sx, const void *lo, const void *hi, void *y, int64_t sy);
/* gx = lo <= x <= hi ? gy : 0 */
typedef void lurn__clamp_grad_fn(int64_t n, const void *gy, int64_t sgy, const void *x, int64_t sx, const void *lo,
                                 const void *hi, void *gx, int64_t sgx);
/* y = x > 0 ? x : alpha (e^x - 1) */
typedef void lurn__elu_fn(int64_t n, double alpha, const void *x, int64_t sx, void *y, int64_t sy);
/* gx = gy (x > 0 ? 1 : alpha e^x); x is the input of elu. */
typedef void lurn__elu_grad_fn(int64_t n, double alpha, const void *gy, int64_t sgy, const void *x, int64_t sx,
                               void *gx, int64_t sgx);
/* y = mask ? x scale : 0; mask bytes are 0 or not.  Its gradient is the same function of gy. */
typedef void lurn__dropout_fn(int64_t n, double scale, const void *x, int64_t sx, const uint8_t *mask, int64_t smask,
                              void *y, int64_t sy);

typedef struct lurn__elementwise {
  lurn__unary_fn *unary[LURN__UNARY_COUNT][LURN_DTYPE_COUNT];
  lurn__unary_grad_fn *unary_grad[LURN__UNARY_COUNT][2];
  lurn__binary_fn *binary[LURN__BINARY_COUNT][LURN_DTYPE_COUNT];
  lurn__binary_fn *compare[LURN__COMPARE_COUNT][LURN_DTYPE_COUNT];
  lurn__binary_fn *logical[LURN__LOGICAL_COUNT];
  /* cast[from][to]; never NULL; cast[d][d] is the strided copy.  Float to integer truncates towards zero, gives 0 for
   * NaN and the nearest limit when out of range; integer to a narrower integer wraps; to bool is x != 0. */
  lurn__unary_fn *cast[LURN_DTYPE_COUNT][LURN_DTYPE_COUNT];
  lurn__where_fn *where[LURN_DTYPE_COUNT];
  lurn__add_scaled_fn *add_scaled[2];
  lurn__clamp_fn *clamp[LURN_DTYPE_COUNT]; /* all but bool */
  lurn__clamp_grad_fn *clamp_grad[2];
  lurn__elu_fn *elu[2];
  lurn__elu_grad_fn *elu_grad[2];
  lurn__dropout_fn *dropout[2];
} lurn__elementwise;

extern const lurn__elementwise lurn__elementwise_scalar;
#if defined(__x86_64__)
extern const lurn__elementwise lurn__elementwise_avx2;
extern const lurn__elementwise lurn__elementwise_avx512;
#endif

#endif
