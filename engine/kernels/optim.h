/* L1: one step of an optimizer over one parameter, in one pass.
 *
 * p (updated), g (the gradient, only read) and the state arrays are n contiguous elements of the real type; none
 * overlap.  The formulas are those of torch.optim 1.13, in the same order.  Options are double; what depends on them
 * alone is computed in double and rounded once.  Each element depends on its own inputs alone, so callers may cut
 * arrays anywhere.
 *
 * In the formulas g is -g when maximize is set and then g + weight_decay p, but for AdamW.
 * Tables of size 2 hold LURN_FLOAT32 and LURN_FLOAT64. */
#ifndef LURN_KERNELS_OPTIM_H
#define LURN_KERNELS_OPTIM_H

#include "lurn.h"

/* b = first ? g : momentum b + (1 - dampening) g;  d = nesterov ? g + momentum b : b;  p -= lr d.
 * With momentum 0: p -= lr g, and buffer is NULL. */
typedef struct lurn__sgd {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
  bool first; /* the buffer is not yet initialised: it becomes g */
} lurn__sgd;
typedef void lurn__sgd_fn(int64_t n, const lurn__sgd *options, void *p, const void *g, void *buffer);

/* m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  v_max = max(v_max, v)
 * p -= lr / correction1 * m / (sqrt(v or v_max) / sqrt(correction2) + eps)
 * decoupled (AdamW): weight_decay does not touch g; instead first p *= 1 - lr weight_decay. */
typedef struct lurn__adam {
  double lr, beta1, beta2, eps, weight_decay;
  double correction1, correction2; /* 1 - beta^t for this step t = 1, 2, ... */
  bool decoupled, maximize;
} lurn__adam;
/* v_max is NULL without amsgrad; it starts as 0. */
typedef void lurn__adam_fn(int64_t n, const lurn__adam *options, void *p, const void *g, void *m, void *v, void *v_max);

/* v = alpha v + (1 - alpha) g^2
 * centered: a = alpha a + (1 - alpha) g, s = sqrt(v - a^2) + eps;  otherwise s = sqrt(v) + eps
 * momentum > 0: b = momentum b + g / s, p -= lr b;  otherwise p -= lr g / s
 * Where rounding makes v - a^2 negative it counts as 0. */
typedef struct lurn__rmsprop {
  double lr, alpha, eps, momentum, weight_decay;
  bool maximize;
} lurn__rmsprop;
/* average (a) is NULL unless centered; buffer (b) is NULL without momentum. All start as 0. */
typedef void lurn__rmsprop_fn(int64_t n, const lurn__rmsprop *options, void *p, const void *g, void *v, void *average,
                              void *buffer);

/* s += g^2;  p -= rate g / (sqrt(s) + eps) */
typedef struct lurn__adagrad {
  double rate; /* lr / (1 + (t - 1) lr_decay) for this step t = 1, 2, ... */
  double eps, weight_decay;
  bool maximize;
} lurn__adagrad;
typedef void lurn__adagrad_fn(int64_t n, const lurn__adagrad *options, void *p, const void *g, void *s);

/* v = rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) g;  u = rho u + (1 - rho) d^2;  p -= lr d */
typedef struct lurn__adadelta {
  double lr, rho, eps, weight_decay;
  bool maximize;
} lurn__adadelta;
typedef void lurn__adadelta_fn(int64_t n, const lurn__adadelta *options, void *p, const void *g, void *v, void *u);

/* x *= factor: for clipping. */
typedef void lurn__scale_fn(int64_t n, double factor, void *x);

typedef struct lurn__optim_kernels {
  lurn__sgd_fn *sgd[2];
  lurn__adam_fn *adam[2];
  lurn__rmsprop_fn *rmsprop[2];
  lurn__adagrad_fn *adagrad[2];
  lurn__adadelta_fn *adadelta[2];
  lurn__scale_fn *scale[2];
} lurn__optim_kernels;

extern const lurn__optim_kernels lurn__optim_scalar;
#if defined(__x86_64__)
extern const lurn__optim_kernels lurn__optim_avx2;
extern const lurn__optim_kernels lurn__optim_avx512;
#endif

#endif
