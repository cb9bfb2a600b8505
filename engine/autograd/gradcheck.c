/* Gradients against central differences. */
#include <math.h>

#include "autograd/node.h"

typedef struct check {
  lurn_ctx *ctx;
  lurn_scalar_fn fn;
  void *ud;
  lurn_tensor *const *inputs;
  int n;
  bool *checked;        /* those that required a gradient at the start, whatever the function does to them */
  lurn_tensor **wanted; /* the same as a list; n places */
  lurn_tensor **grads;  /* theirs, own references; n places */
} check;

static lurn_status value(const check *c, double *out) {
  lurn_tensor *y;
  LURN__TRY(c->fn(c->ctx, c->ud, c->inputs, c->n, &y));
  lurn_status status = LURN_OK;
  if (lurn__numel(y) != 1)
    status = lurn__fail(c->ctx, LURN_ESHAPE, "gradcheck: the function gave shape %s; expected a single number",
                        LURN__SHAPE(y));
  else *out = lurn__load(y->dtype, lurn__tensor_ptr(y));
  lurn_release(y);
  return status;
}

/* Says so at every write: what is cached by version must not outlive it. */
static void put(lurn_tensor *t, double *x, double v) {
  *x = v;
  lurn__touch(t);
}

/* (f(x + eps) - f(x - eps)) / 2 eps for the element at *x of t. */
static lurn_status slope(const check *c, lurn_tensor *t, double *x, double eps, double *out) {
  double before = *x, above = 0, below = 0;
  put(t, x, before + eps);
  lurn_status status = value(c, &above);
  put(t, x, before - eps);
  if (status == LURN_OK) status = value(c, &below);
  put(t, x, before);
  *out = (above - below) / (2 * eps);
  return status;
}

static lurn_status analytic(const check *c) {
  lurn_tensor *y;
  LURN__TRY(c->fn(c->ctx, c->ud, c->inputs, c->n, &y));
  int n = 0;
  for (int i = 0; i < c->n; i++)
    if (c->checked[i]) c->wanted[n++] = c->inputs[i];
  lurn_status status = lurn_grad(c->ctx, &y, 1, NULL, c->wanted, n, false, c->grads);
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
    LURN__TRY(slope(c, x, element(x, i), eps, &numeric));
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
  LURN__TRY(lurn__check_tensors(c->ctx, "gradcheck", c->inputs, c->n));
  int wanted = 0;
  for (int i = 0; i < c->n; i++) {
    const lurn_tensor *x = c->inputs[i];
    if (!x->requires_grad) continue;
    c->checked[i] = true;
    wanted++;
    if (x->dtype != LURN_FLOAT64 || x->node != NULL)
      return lurn__fail(c->ctx, LURN_EVALUE, "gradcheck: input %d must be a float64 leaf", i + c->ctx->index_base);
  }
  if (wanted == 0) return lurn__fail(c->ctx, LURN_EVALUE, "gradcheck: no input requires a gradient");
  return LURN_OK;
}

static lurn_status run(const check *c, double eps, double rtol, double atol, lurn_gradcheck_result *result) {
  double worst = -1;
  LURN__TRY(check_inputs(c));
  for (int i = 0; i < c->n; i++) lurn_retain(c->inputs[i]); /* the function may give back what the caller holds */
  bool before = lurn_set_grad_enabled(c->ctx, true);
  lurn_status status = analytic(c);
  lurn_set_grad_enabled(c->ctx, false);
  for (int i = 0, k = 0; i < c->n && status == LURN_OK; i++)
    if (c->checked[i]) status = compare(c, i, c->grads[k++], eps, rtol, atol, &worst, result);
  lurn_set_grad_enabled(c->ctx, before);
  for (int i = 0; i < c->n; i++) {
    lurn_release(c->grads[i]);
    lurn_release(c->inputs[i]);
  }
  return status;
}

lurn_status lurn_gradcheck(lurn_ctx *ctx, lurn_scalar_fn fn, void *ud, lurn_tensor *const *inputs, int n, double eps,
                           double rtol, double atol, lurn_gradcheck_result *out) {
  if (fn == NULL) return lurn__fail(ctx, LURN_EVALUE, "gradcheck: no function given");
  if (n > 0) LURN__TRY(lurn__need(ctx, "gradcheck", "inputs", inputs));
  LURN__TRY(lurn__need_place(ctx, "gradcheck", out));
  size_t count = n > 0 ? (size_t)n : 1, bytes = count * (2 * sizeof(lurn_tensor *) + sizeof(bool));
  lurn_tensor **lists = lurn__alloc_zeroed(ctx, bytes);
  if (lists == NULL) return LURN_ENOMEM;
  check c = {ctx, fn, ud, inputs, n, (bool *)(lists + 2 * count), lists, lists + count};
  lurn_gradcheck_result result = {.ok = true};
  lurn_status status = run(&c, eps, rtol, atol, &result);
  lurn__free(ctx, lists, bytes);
  if (status == LURN_OK) *out = result;
  return status;
}
