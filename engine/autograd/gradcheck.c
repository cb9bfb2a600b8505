/* Gradients against central differences. */
#include <math.h>

#include "autograd/node.h"

typedef struct check {
  lurn_ctx *ctx;
  lurn_scalar_fn fn;
  void *ud;
  lurn_tensor *const *inputs;
  int n;
} check;

static lurn_status value(const check *c, double *out) {
  lurn_tensor *y;
  LURN__TRY(c->fn(c->ctx, c->ud, c->inputs, c->n, &y));
  lurn_status status = LURN_OK;
  if (lurn__numel(y) != 1)
    status = lurn__fail(c->ctx, LURN_ESHAPE, "gradcheck: the function gave shape %s; expected a single number", LURN__SHAPE(y));
  else
    *out = lurn__load(y->dtype, lurn__tensor_ptr(y));
  lurn_release(y);
  return status;
}

/* (f(x + eps) - f(x - eps)) / 2 eps for the element at *x. */
static lurn_status slope(const check *c, double *x, double eps, double *out) {
  double before = *x, above = 0, below = 0;
  *x = before + eps;
  lurn_status status = value(c, &above);
  *x = before - eps;
  if (status == LURN_OK) status = value(c, &below);
  *x = before;
  *out = (above - below) / (2 * eps);
  return status;
}

static lurn_status analytic(const check *c, lurn_tensor **grads) {
  lurn_tensor *y;
  LURN__TRY(c->fn(c->ctx, c->ud, c->inputs, c->n, &y));
  lurn_tensor *wanted[64];
  int n = 0;
  for (int i = 0; i < c->n; i++)
    if (c->inputs[i]->requires_grad) wanted[n++] = c->inputs[i];
  lurn_status status = lurn_grad(c->ctx, &y, 1, NULL, wanted, n, false, grads);
  lurn_release(y);
  return status;
}

static double *element(lurn_tensor *t, int64_t at) {
  int64_t offset = 0;
  for (int d = t->shape.ndim - 1; d >= 0; d--) {
    offset += at % t->shape.size[d] * t->stride[d];
    at /= t->shape.size[d];
  }
  return lurn__f64(t) + offset;
}

/* Compares one input's gradient (NULL: zero) and keeps the worst entry that fails. */
static lurn_status compare(const check *c, int input, lurn_tensor *grad, double eps, double rtol, double atol,
                           double *worst, lurn_gradcheck_result *result) {
  lurn_tensor *x = c->inputs[input];
  int64_t n = lurn__numel(x);
  for (int64_t i = 0; i < n; i++) {
    double numeric, exact = grad != NULL ? *element(grad, i) : 0;
    lurn_status status = slope(c, element(x, i), eps, &numeric);
    lurn__touch(x);
    LURN__TRY(status);
    double excess = fabs(exact - numeric) - atol - rtol * fabs(numeric);
    if (excess <= 0) continue;
    result->ok = false;
    if (!isnan(excess) && excess <= *worst) continue;
    *worst = isnan(excess) ? INFINITY : excess;
    result->input = input;
    result->element = i;
    result->analytic = exact;
    result->numeric = numeric;
  }
  return LURN_OK;
}

static lurn_status check_inputs(const check *c) {
  int wanted = 0;
  for (int i = 0; i < c->n; i++) {
    const lurn_tensor *x = c->inputs[i];
    if (!x->requires_grad) continue;
    wanted++;
    if (x->dtype != LURN_FLOAT64 || x->node != NULL)
      return lurn__fail(c->ctx, LURN_EVALUE, "gradcheck: input %d must be a float64 leaf", i + c->ctx->index_base);
  }
  if (wanted == 0) return lurn__fail(c->ctx, LURN_EVALUE, "gradcheck: no input requires a gradient");
  if (c->n > 64) return lurn__fail(c->ctx, LURN_EVALUE, "gradcheck: %d inputs; at most 64 are possible", c->n);
  return LURN_OK;
}

lurn_status lurn_gradcheck(lurn_ctx *ctx, lurn_scalar_fn fn, void *ud, lurn_tensor *const *inputs, int n, double eps,
                           double rtol, double atol, lurn_gradcheck_result *out) {
  check c = {ctx, fn, ud, inputs, n};
  lurn_tensor *grads[64] = {0};
  lurn_gradcheck_result result = {.ok = true};
  double worst = -1;
  LURN__TRY(check_inputs(&c));
  LURN__TRY(analytic(&c, grads));
  bool before = lurn_set_grad_enabled(ctx, false);
  lurn_status status = LURN_OK;
  for (int i = 0, k = 0; i < n && status == LURN_OK; i++)
    if (inputs[i]->requires_grad) status = compare(&c, i, grads[k++], eps, rtol, atol, &worst, &result);
  lurn_set_grad_enabled(ctx, before);
  for (int i = 0; i < 64; i++) lurn_release(grads[i]);
  if (status == LURN_OK) *out = result;
  return status;
}
