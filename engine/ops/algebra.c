/* Products of vectors, and a product of matrices added to something. */
#include "ops/op.h"

/* ---- dot --------------------------------------------------------------------------------------------------- */

static lurn_status dot_forward(lurn__call *call) {
  const struct lurn__dot_args *args = call->args;
  lurn_tensor *a = args->a, *b = args->b;
  if (a->shape.ndim != 1 || b->shape.ndim != 1 || a->shape.size[0] != b->shape.size[0])
    return lurn__op_fail(call, LURN_ESHAPE, "shapes are %s and %s; expected two vectors of one length", LURN__SHAPE(a),
                         LURN__SHAPE(b));
  LURN__TRY(lurn__need_float(call, a, "a"));
  LURN__TRY(lurn__need_float(call, b, "b"));
  LURN__TRY(lurn__save_in(call, 0, a));
  LURN__TRY(lurn__save_in(call, 1, b));
  return lurn__matmul(call->ctx, a, b, &call->out[0]);
}

/* Of either vector: gy times the other. */
static lurn_status dot_backward(lurn__grad_call *grad) {
  for (int i = 0; i < 2; i++) {
    lurn_tensor **g = lurn__temp(&grad->temps);
    if (!grad->need[i]) continue;
    LURN__TRY(lurn__mul(grad->ctx, grad->saved[1 - i], grad->grad_out[0], g));
    LURN__TRY(lurn__sum_to(grad->ctx, *g, &grad->in[i], &grad->grad_in[i]));
  }
  return LURN_OK;
}

const lurn__op lurn__op_dot = {.forward = dot_forward,
                               .backward = dot_backward,
                               .doc = "a_1 b_1 + ... + a_n b_n of two vectors.\nFloat tensors only."};

/* ---- outer ------------------------------------------------------------------------------------------------- */

static lurn_status outer_forward(lurn__call *call) {
  const struct lurn__outer_args *args = call->args;
  lurn_tensor *a = args->a, *b = args->b, **column = lurn__temp(&call->temps);
  if (a->shape.ndim != 1 || b->shape.ndim != 1)
    return lurn__op_fail(call, LURN_ESHAPE, "shapes are %s and %s; expected two vectors", LURN__SHAPE(a),
                         LURN__SHAPE(b));
  LURN__TRY(lurn__save_in(call, 0, a));
  LURN__TRY(lurn__save_in(call, 1, b));
  LURN__TRY(lurn__unsqueeze(call->ctx, a, 1, column));
  return lurn__mul(call->ctx, *column, b, &call->out[0]);
}

/* Sums of gy times the other vector, over the other's dimension. */
static lurn_status outer_backward(lurn__grad_call *grad) {
  for (int i = 0; i < 2; i++) {
    lurn_tensor **other = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps), **sum = lurn__temp(&grad->temps);
    int64_t over = 1 - i;
    if (!grad->need[i]) continue;
    LURN__TRY(lurn__unsqueeze(grad->ctx, grad->saved[1 - i], i, other));
    LURN__TRY(lurn__mul(grad->ctx, grad->grad_out[0], *other, g));
    LURN__TRY(lurn__sum(grad->ctx, *g, &over, 1, false, sum));
    LURN__TRY(lurn__sum_to(grad->ctx, *sum, &grad->in[i], &grad->grad_in[i]));
  }
  return LURN_OK;
}

const lurn__op lurn__op_outer = {.forward = outer_forward,
                                 .backward = outer_backward,
                                 .doc = "out[i][j] = a[i] b[j] of two vectors.\nDtypes promote."};

/* ---- addmm ------------------------------------------------------------------------------------------------- */

static lurn_status scaled(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, double factor, lurn_tensor **out) {
  lurn_tensor **scalar = lurn__temp(temps), **product = lurn__temp(temps);
  if (factor == 1) {
    *out = x;
    return LURN_OK;
  }
  LURN__TRY(lurn_scalar(ctx, factor, scalar));
  LURN__TRY(lurn__mul(ctx, x, *scalar, product));
  *out = *product;
  return LURN_OK;
}

static lurn_status check_addmm(lurn__call *call, const lurn_tensor *input, const lurn_tensor *a, const lurn_tensor *b) {
  if (a->shape.ndim != 2 || b->shape.ndim != 2 || a->shape.size[1] != b->shape.size[0])
    return lurn__op_fail(call, LURN_ESHAPE, "a has shape %s and b %s; expected (n, k) and (k, m)", LURN__SHAPE(a),
                         LURN__SHAPE(b));
  if (input->dtype != a->dtype || a->dtype != b->dtype)
    return lurn__op_fail(call, LURN_EDTYPE, "input is %s, a %s, b %s; expected all the same",
                         lurn_dtype_name(input->dtype), lurn_dtype_name(a->dtype), lurn_dtype_name(b->dtype));
  lurn__shape shape = {.ndim = 2, .size = {a->shape.size[0], b->shape.size[1]}}, both;
  if (lurn__shape_broadcast(&input->shape, &shape, &both) && lurn__shape_equal(&both, &shape)) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "input of shape %s does not broadcast to %s", LURN__SHAPE(input),
                       lurn__shape_print(&shape, (char[LURN__SHAPE_TEXT]){0}));
}

static lurn_status addmm_forward(lurn__call *call) {
  const struct lurn__addmm_args *args = call->args;
  lurn_tensor *addend, *factor, **product = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, args->a, "a"));
  LURN__TRY(check_addmm(call, args->input, args->a, args->b));
  LURN__TRY(lurn__save_in(call, 0, args->a));
  LURN__TRY(lurn__save_in(call, 1, args->b));
  LURN__TRY(lurn__matmul(call->ctx, args->a, args->b, product));
  LURN__TRY(scaled(call->ctx, &call->temps, *product, args->alpha, &factor));
  if (args->beta == 0) return lurn__clone(call->ctx, factor, &call->out[0]);
  LURN__TRY(scaled(call->ctx, &call->temps, args->input, args->beta, &addend));
  return lurn__add(call->ctx, factor, addend, &call->out[0]);
}

/* beta gy, alpha gy b', alpha a' gy */
static lurn_status addmm_backward(lurn__grad_call *grad) {
  const struct lurn__addmm_args *args = grad->args;
  lurn_ctx *ctx = grad->ctx;
  lurn_tensor **at = lurn__temp(&grad->temps), **bt = lurn__temp(&grad->temps), *g;
  if (grad->need[0]) {
    LURN__TRY(scaled(ctx, &grad->temps, grad->grad_out[0], args->beta, &g));
    LURN__TRY(lurn__sum_to(ctx, g, &grad->in[0], &grad->grad_in[0]));
  }
  LURN__TRY(scaled(ctx, &grad->temps, grad->grad_out[0], args->alpha, &g));
  if (grad->need[1]) {
    LURN__TRY(lurn__transpose(ctx, grad->saved[1], 0, 1, bt));
    LURN__TRY(lurn__matmul(ctx, g, *bt, &grad->grad_in[1]));
  }
  if (!grad->need[2]) return LURN_OK;
  LURN__TRY(lurn__transpose(ctx, grad->saved[0], 0, 1, at));
  return lurn__matmul(ctx, *at, g, &grad->grad_in[2]);
}

const lurn__op lurn__op_addmm = {
    .forward = addmm_forward,
    .backward = addmm_backward,
    .doc = "beta input + alpha a b with a (n, k), b (k, m) and input broadcast to (n, m).\nWith beta 0 input does not "
           "count, NaN included. Float tensors of one dtype."};

/* ---- lerp -------------------------------------------------------------------------------------------------- */

enum { SAVED_START = 0, SAVED_END = 1, SAVED_SHARE = 2 };

/* a + weight (b - a), exact at weight 0; out of temps. */
static lurn_status from_start(lurn_ctx *ctx, lurn__temps *temps, const struct lurn__lerp_args *args, lurn_tensor *way,
                              lurn_tensor **out) {
  lurn_tensor **step = lurn__temp(temps);
  LURN__TRY(lurn__mul(ctx, way, args->weight, step));
  return lurn__add(ctx, args->a, *step, out);
}

/* b - (1 - weight) (b - a), exact at weight 1; out of temps. */
static lurn_status from_end(lurn_ctx *ctx, lurn__temps *temps, const struct lurn__lerp_args *args, lurn_tensor *way,
                            lurn_tensor **out) {
  lurn_tensor **one = lurn__temp(temps), **rest = lurn__temp(temps), **step = lurn__temp(temps);
  LURN__TRY(lurn_scalar_int(ctx, 1, one));
  LURN__TRY(lurn__sub(ctx, *one, args->weight, rest));
  (*rest)->weak = args->weight->weak;
  LURN__TRY(lurn__mul(ctx, way, *rest, step));
  return lurn__sub(ctx, args->b, *step, out);
}

/* From the nearer end, as PyTorch. */
static lurn_status lerp(lurn_ctx *ctx, lurn__temps *temps, const struct lurn__lerp_args *args, lurn_tensor **out) {
  lurn_tensor *weight = args->weight, **way = lurn__temp(temps), **near_start = lurn__temp(temps),
              **near_end = lurn__temp(temps), **half = lurn__temp(temps), **past_half = lurn__temp(temps);
  LURN__TRY(lurn__sub(ctx, args->b, args->a, way));
  if (lurn__numel(weight) == 1) {
    bool past = lurn__load(weight->dtype, lurn__tensor_ptr(weight)) >= 0.5;
    return past ? from_end(ctx, temps, args, *way, out) : from_start(ctx, temps, args, *way, out);
  }
  LURN__TRY(from_start(ctx, temps, args, *way, near_start));
  LURN__TRY(from_end(ctx, temps, args, *way, near_end));
  LURN__TRY(lurn_scalar(ctx, 0.5, half));
  LURN__TRY(lurn__ge(ctx, weight, *half, past_half));
  return lurn__where(ctx, *past_half, *near_end, *near_start, out);
}

static lurn_status lerp_forward(lurn__call *call) {
  const struct lurn__lerp_args *args = call->args;
  lurn_tensor **y = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, args->a, "a"));
  if (args->b->dtype == LURN_BOOL) return lurn__op_fail(call, LURN_EDTYPE, "b is bool; expected numbers");
  if (args->weight->dtype == LURN_BOOL) return lurn__op_fail(call, LURN_EDTYPE, "weight is bool; expected numbers");
  LURN__TRY(lurn__save_in(call, SAVED_START, args->a));
  LURN__TRY(lurn__save_in(call, SAVED_END, args->b));
  LURN__TRY(lurn__save_in(call, SAVED_SHARE, args->weight));
  lurn__shape both, shape;
  if (!lurn__shape_broadcast(&args->a->shape, &args->b->shape, &both) ||
      !lurn__shape_broadcast(&both, &args->weight->shape, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "shapes %s, %s and %s do not broadcast", LURN__SHAPE(args->a),
                         LURN__SHAPE(args->b), LURN__SHAPE(args->weight));
  LURN__TRY(lerp(call->ctx, &call->temps, args, y));
  return lurn__give(call, *y);
}

static lurn_status lerp_backward(lurn__grad_call *grad) {
  lurn_ctx *ctx = grad->ctx;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *gy = grad->grad_out[0], **gb = lurn__temp(temps), **ga = lurn__temp(temps), **way = lurn__temp(temps),
              **gw = lurn__temp(temps);
  LURN__TRY(lurn__mul(ctx, gy, grad->saved[SAVED_SHARE], gb));
  if (grad->need[0]) {
    LURN__TRY(lurn__sub(ctx, gy, *gb, ga));
    LURN__TRY(lurn__sum_to(ctx, *ga, &grad->in[0], &grad->grad_in[0]));
  }
  if (grad->need[1]) LURN__TRY(lurn__sum_to(ctx, *gb, &grad->in[1], &grad->grad_in[1]));
  if (!grad->need[2]) return LURN_OK;
  LURN__TRY(lurn__sub(ctx, grad->saved[SAVED_END], grad->saved[SAVED_START], way));
  LURN__TRY(lurn__mul(ctx, gy, *way, gw));
  return lurn__sum_to(ctx, *gw, &grad->in[2], &grad->grad_in[2]);
}

const lurn__op lurn__op_lerp = {.forward = lerp_forward,
                                .backward = lerp_backward,
                                .doc = "a + weight (b - a), elementwise; just b at weight 1.\nAll three broadcast. a "
                                       "is a float tensor, none is bool."};
