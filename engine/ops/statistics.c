/* Reductions made of others: variance, standard deviation, norm. */
#include <math.h>

#include "ops/op.h"

/* ---- Which dimensions -------------------------------------------------------------------------------------- */

/* The dimensions of an op's list, or all of them: in order of place, checked under the op's own name. */
typedef struct chosen {
  int64_t dims[LURN_MAX_DIMS]; /* reduced ones, then the others */
  int count;
  int64_t elements; /* that go into one */
  lurn__shape kept; /* sizes with 1 where reduced */
  lurn__shape shape;
} chosen;

static lurn_status choose(lurn_ctx *ctx, const char *who, const lurn__shape *x, lurn_ints dims, bool keepdim,
                          chosen *out) {
  bool reduced[LURN_MAX_DIMS];
  *out = (chosen){.kept = *x, .elements = 1};
  LURN__TRY(lurn__dims(ctx, who, dims, x->ndim, reduced));
  int others = x->ndim;
  for (int i = x->ndim - 1; i >= 0; i--)
    if (!reduced[i]) out->dims[--others] = i;
  for (int i = 0; i < x->ndim; i++) {
    if (reduced[i]) {
      out->dims[out->count++] = i;
      out->elements *= x->size[i];
      out->kept.size[i] = 1;
    }
    if (!reduced[i] || keepdim) out->shape.size[out->shape.ndim++] = out->kept.size[i];
  }
  return LURN_OK;
}

static lurn_status give_shape(lurn_ctx *ctx, lurn_tensor *kept, const chosen *c, lurn_tensor **out) {
  return lurn__reshape(ctx, kept, c->shape.size, c->shape.ndim, out);
}

static lurn_status keep_shape(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *t, const chosen *c, lurn_tensor **out) {
  lurn_tensor **kept = lurn__temp(temps);
  LURN__TRY(lurn__reshape(ctx, t, c->kept.size, c->kept.ndim, kept));
  *out = *kept;
  return LURN_OK;
}

/* ---- var, std ---------------------------------------------------------------------------------------------- */

/* x less its mean, and once more: the mean was rounded, which counts where it is far larger than what differs from it. */
static lurn_status deviation(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, const chosen *c, lurn_tensor **out) {
  for (int i = 0; i < 2; i++) {
    lurn_tensor **mean = lurn__temp(temps), **d = lurn__temp(temps);
    LURN__TRY(lurn__mean(ctx, x, c->dims, c->count, true, mean));
    LURN__TRY(lurn__sub(ctx, x, *mean, d));
    x = *d;
  }
  *out = x;
  return LURN_OK;
}

/* PyTorch's divisor: not below 0, so that too few elements give NaN or infinity. */
static double freedom(const chosen *c, double correction) { return fmax(0, (double)c->elements - correction); }

static lurn_status variance(lurn__call *call, lurn_tensor *x, const chosen *c, double correction, lurn_tensor **out) {
  lurn_ctx *ctx = call->ctx;
  lurn__temps *temps = &call->temps;
  lurn_tensor *d, **square = lurn__temp(temps), **sum = lurn__temp(temps), **count = lurn__temp(temps),
                  **kept = lurn__temp(temps);
  LURN__TRY(deviation(ctx, temps, x, c, &d));
  LURN__TRY(lurn__square(ctx, d, square));
  LURN__TRY(lurn__sum(ctx, *square, c->dims, c->count, true, sum));
  LURN__TRY(lurn_scalar(ctx, freedom(c, correction), count));
  LURN__TRY(lurn__div(ctx, *sum, *count, kept));
  return give_shape(ctx, *kept, c, out);
}

/* g (x - mean) 2 / (n - correction), g with the reduced dimensions kept. */
static lurn_status variance_grad(lurn__grad_call *grad, const chosen *c, double correction, lurn_tensor *g) {
  lurn__temps *temps = &grad->temps;
  lurn_tensor *d, **factor = lurn__temp(temps), **share = lurn__temp(temps);
  LURN__TRY(deviation(grad->ctx, temps, grad->saved[0], c, &d));
  LURN__TRY(lurn_scalar(grad->ctx, 2 / freedom(c, correction), factor));
  LURN__TRY(lurn__mul(grad->ctx, g, *factor, share));
  return lurn__mul(grad->ctx, d, *share, &grad->grad_in[0]);
}

static lurn_status var_forward(lurn__call *call) {
  const struct lurn__var_args *args = call->args;
  chosen c;
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  LURN__TRY(choose(call->ctx, "var", &args->x->shape, args->dim, args->keepdim, &c));
  LURN__TRY(lurn__save_in(call, 0, args->x));
  return variance(call, args->x, &c, args->correction, &call->out[0]);
}

static lurn_status var_backward(lurn__grad_call *grad) {
  const struct lurn__var_args *args = grad->args;
  lurn_tensor *g;
  chosen c;
  LURN__TRY(choose(grad->ctx, "var", &grad->in[0].shape, args->dim, args->keepdim, &c));
  LURN__TRY(keep_shape(grad->ctx, &grad->temps, grad->grad_out[0], &c, &g));
  return variance_grad(grad, &c, args->correction, g);
}

const lurn__op lurn__op_var = {
    .forward = var_forward,
    .backward = var_backward,
    .doc = "sum (x - mean)^2 / (n - correction) over the dimensions dim, or over all.\nn is the number of elements; "
           "keepdim keeps the dimensions with size 1. Float tensors only."};

static lurn_status std_forward(lurn__call *call) {
  const struct lurn__std_args *args = call->args;
  lurn_tensor **var = lurn__temp(&call->temps);
  chosen c;
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  LURN__TRY(choose(call->ctx, "std", &args->x->shape, args->dim, args->keepdim, &c));
  LURN__TRY(lurn__save_in(call, 0, args->x));
  LURN__TRY(variance(call, args->x, &c, args->correction, var));
  LURN__TRY(lurn__sqrt(call->ctx, *var, &call->out[0]));
  return lurn__save_out(call, 1, call->out[0]);
}

/* gy / 2 std, and 0 where std is 0. */
static lurn_status std_backward(lurn__grad_call *grad) {
  const struct lurn__std_args *args = grad->args;
  lurn_ctx *ctx = grad->ctx;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *g, **zero = lurn__temp(temps), **none = lurn__temp(temps), **two = lurn__temp(temps),
                  **twice = lurn__temp(temps), **share = lurn__temp(temps), **safe = lurn__temp(temps);
  chosen c;
  LURN__TRY(choose(ctx, "std", &grad->in[0].shape, args->dim, args->keepdim, &c));
  LURN__TRY(lurn_scalar(ctx, 0, zero));
  LURN__TRY(lurn_scalar(ctx, 2, two));
  LURN__TRY(lurn__eq(ctx, grad->saved[1], *zero, none));
  LURN__TRY(lurn__mul(ctx, grad->saved[1], *two, twice));
  LURN__TRY(lurn__div(ctx, grad->grad_out[0], *twice, share));
  LURN__TRY(lurn__where(ctx, *none, *zero, *share, safe));
  LURN__TRY(keep_shape(ctx, temps, *safe, &c, &g));
  return variance_grad(grad, &c, args->correction, g);
}

const lurn__op lurn__op_std = {
    .forward = std_forward,
    .backward = std_backward,
    .doc =
        "The square root of sum (x - mean)^2 / (n - correction) over the dimensions dim, or over all.\nn is the number "
        "of elements; keepdim keeps the dimensions with size 1. Gradient 0 where the result is 0. Float tensors only."};

/* ---- norm -------------------------------------------------------------------------------------------------- */

/* sum |x|^p, its root still to be taken. */
static lurn_status sum_of_powers(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, double p, const chosen *c,
                                 lurn_tensor **out) {
  lurn_tensor **size = lurn__temp(temps), **exponent = lurn__temp(temps), **power = lurn__temp(temps),
              **sum = lurn__temp(temps);
  LURN__TRY(lurn__abs(ctx, x, size));
  LURN__TRY(lurn_scalar(ctx, p, exponent));
  if (p == 2) LURN__TRY(lurn__square(ctx, x, power));
  else LURN__TRY(lurn__pow(ctx, *size, *exponent, power));
  LURN__TRY(lurn__sum(ctx, *power, c->dims, c->count, true, sum));
  *out = *sum;
  return LURN_OK;
}

static lurn_status root(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *sum, double p, lurn_tensor **out) {
  lurn_tensor **exponent = lurn__temp(temps);
  if (p == 2) return lurn__sqrt(ctx, sum, out);
  LURN__TRY(lurn_scalar(ctx, 1 / p, exponent));
  return lurn__pow(ctx, sum, *exponent, out);
}

static lurn_status largest(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, double p, const chosen *c,
                           lurn_tensor **out) {
  lurn_tensor **size = lurn__temp(temps);
  LURN__TRY(lurn__abs(ctx, x, size));
  return p > 0 ? lurn__amax(ctx, *size, c->dims, c->count, true, out)
               : lurn__amin(ctx, *size, c->dims, c->count, true, out);
}

static lurn_status norm_forward(lurn__call *call) {
  const struct lurn__norm_args *args = call->args;
  lurn_tensor *x = args->x, *sum, **kept = lurn__temp(&call->temps);
  chosen c;
  LURN__TRY(lurn__need_float(call, x, "x"));
  if (isnan(args->p) || args->p == 0)
    return lurn__op_fail(call, LURN_EVALUE, "p is %g; expected a number but 0", args->p);
  LURN__TRY(choose(call->ctx, "norm", &x->shape, args->dim, args->keepdim, &c));
  if (isinf(args->p) && c.elements == 0)
    return lurn__op_fail(call, LURN_ESHAPE, "no elements to choose from in shape %s", LURN__SHAPE(x));
  LURN__TRY(lurn__save_in(call, 0, x));
  if (isinf(args->p)) LURN__TRY(largest(call->ctx, &call->temps, x, args->p, &c, kept));
  else {
    LURN__TRY(sum_of_powers(call->ctx, &call->temps, x, args->p, &c, &sum));
    LURN__TRY(root(call->ctx, &call->temps, sum, args->p, kept));
  }
  LURN__TRY(give_shape(call->ctx, *kept, &c, &call->out[0]));
  return lurn__save_out(call, 1, call->out[0]);
}

/* d|x|: (|x| / y)^(p - 1) */
static lurn_status slope(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *size, lurn_tensor *y, double p,
                         lurn_tensor **out) {
  lurn_tensor **ratio = lurn__temp(temps), **exponent = lurn__temp(temps);
  LURN__TRY(lurn__div(ctx, size, y, ratio));
  LURN__TRY(lurn_scalar(ctx, p - 1, exponent));
  return lurn__pow(ctx, *ratio, *exponent, out);
}

/* For infinite p: elements of the size y share evenly. */
static lurn_status share(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *size, lurn_tensor *y, const chosen *c,
                         lurn_tensor **out) {
  lurn_tensor **equal = lurn__temp(temps), **mask = lurn__temp(temps), **ties = lurn__temp(temps);
  LURN__TRY(lurn__eq(ctx, size, y, equal));
  LURN__TRY(lurn__to(ctx, *equal, size->dtype, mask));
  LURN__TRY(lurn__sum(ctx, *mask, c->dims, c->count, true, ties));
  return lurn__div(ctx, *mask, *ties, out);
}

static lurn_status norm_backward(lurn__grad_call *grad) {
  const struct lurn__norm_args *args = grad->args;
  lurn_ctx *ctx = grad->ctx;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *x = grad->saved[0], *y, *g, **size = lurn__temp(temps), **part = lurn__temp(temps),
              **sign = lurn__temp(temps), **signed_part = lurn__temp(temps), **product = lurn__temp(temps),
              **zero = lurn__temp(temps), **none = lurn__temp(temps);
  chosen c;
  LURN__TRY(choose(ctx, "norm", &grad->in[0].shape, args->dim, args->keepdim, &c));
  LURN__TRY(keep_shape(ctx, temps, grad->saved[1], &c, &y));
  LURN__TRY(keep_shape(ctx, temps, grad->grad_out[0], &c, &g));
  LURN__TRY(lurn__abs(ctx, x, size));
  LURN__TRY(isinf(args->p) ? share(ctx, temps, *size, y, &c, part) : slope(ctx, temps, *size, y, args->p, part));
  LURN__TRY(lurn__sign(ctx, x, sign));
  LURN__TRY(lurn__mul(ctx, *part, *sign, signed_part));
  LURN__TRY(lurn__mul(ctx, *signed_part, g, product));
  LURN__TRY(lurn_scalar(ctx, 0, zero));
  LURN__TRY(lurn__eq(ctx, x, *zero, none));
  return lurn__where(ctx, *none, *zero, *product, &grad->grad_in[0]);
}

const lurn__op lurn__op_norm = {
    .forward = norm_forward,
    .backward = norm_backward,
    .doc = "(sum |x|^p)^(1/p) over the dimensions dim, or over all; infinite p: the largest |x|, -inf the smallest.\n"
           "keepdim keeps the dimensions with size 1. Gradient 0 where x is 0. Float tensors only."};
