/* Losses that compare two tensors of one shape element by element. */
#include <math.h>

#include "ops/loss.h"

static lurn_status check_pair(lurn__call *call, const lurn_tensor *input, const lurn_tensor *target,
                              int64_t reduction) {
  LURN__TRY(lurn__check_reduction(call, reduction));
  LURN__TRY(lurn__need_float(call, input, "input"));
  if (lurn__shape_equal(&input->shape, &target->shape)) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "input has shape %s and target %s; expected the same", LURN__SHAPE(input),
                       LURN__SHAPE(target));
}

/* The gradient that arrives at each element's loss: gy, over their number for a mean, times factor. */
static lurn_status element_scale(lurn__grad_call *grad, int64_t reduction, double factor, lurn_tensor **out) {
  lurn_tensor **number = lurn__temp(&grad->temps);
  if (reduction == LURN__LOSS_MEAN) factor /= (double)lurn__shape_numel(&grad->in[0].shape);
  LURN__TRY(lurn_scalar(grad->ctx, factor, number));
  return lurn__mul(grad->ctx, grad->grad_out[0], *number, out);
}

/* slope * scale for the input, the negative for the target. */
static lurn_status give_slope(lurn__grad_call *grad, lurn_tensor *slope, lurn_tensor *scale) {
  lurn_tensor **g = lurn__temp(&grad->temps), **negative = lurn__temp(&grad->temps);
  LURN__TRY(lurn__mul(grad->ctx, slope, scale, g));
  if (grad->need[0]) LURN__TRY(lurn__sum_to(grad->ctx, *g, &grad->in[0], &grad->grad_in[0]));
  if (!grad->need[1]) return LURN_OK;
  LURN__TRY(lurn__neg(grad->ctx, *g, negative));
  return lurn__sum_to(grad->ctx, *negative, &grad->in[1], &grad->grad_in[1]);
}

enum { SAVED_DIFFERENCE = 0 };

/* ---- l1_loss ----------------------------------------------------------------------------------------------- */

static lurn_status l1_loss_forward(lurn__call *call) {
  const struct lurn__l1_loss_args *args = call->args;
  lurn_tensor **difference = lurn__temp(&call->temps), **distance = lurn__temp(&call->temps);
  LURN__TRY(check_pair(call, args->input, args->target, args->reduction));
  LURN__TRY(lurn__difference(call->ctx, &call->temps, args->input, args->target, difference));
  LURN__TRY(lurn__abs(call->ctx, *difference, distance));
  LURN__TRY(lurn__save_in(call, SAVED_DIFFERENCE, *difference));
  return lurn__reduce_losses(call, *distance, args->reduction, (double)lurn__numel(*distance));
}

static lurn_status l1_loss_backward(lurn__grad_call *grad) {
  const struct lurn__l1_loss_args *args = grad->args;
  lurn_tensor **slope = lurn__temp(&grad->temps), **scale = lurn__temp(&grad->temps);
  LURN__TRY(element_scale(grad, args->reduction, 1, scale));
  LURN__TRY(lurn__sign(grad->ctx, grad->saved[SAVED_DIFFERENCE], slope));
  return give_slope(grad, *slope, *scale);
}

const lurn__op lurn__op_l1_loss = {
    .forward = l1_loss_forward,
    .backward = l1_loss_backward,
    .doc = "|input - target|.\nEqual shapes, no broadcasting. mean is over all elements. The slope at 0 is 0."};

/* ---- smooth_l1_loss ---------------------------------------------------------------------------------------- */

/* With a = |d| and c = min(a, beta) both pieces are c (a - c / 2) / beta. */
static lurn_status huber(lurn__call *call, lurn_tensor *distance, double beta, lurn_tensor **out) {
  lurn__temps *temps = &call->temps;
  lurn_tensor **near = lurn__temp(temps), **half = lurn__temp(temps), **inner = lurn__temp(temps),
              **slope = lurn__temp(temps), **numbers[] = {lurn__temp(temps), lurn__temp(temps)};
  LURN__TRY(lurn_scalar(call->ctx, 0.5, numbers[0]));
  LURN__TRY(lurn_scalar(call->ctx, beta, numbers[1]));
  LURN__TRY(lurn__clamp(call->ctx, distance, 0, beta, near));
  LURN__TRY(lurn__mul(call->ctx, *near, *numbers[0], half));
  LURN__TRY(lurn__sub(call->ctx, distance, *half, inner));
  LURN__TRY(lurn__div(call->ctx, *near, *numbers[1], slope));
  return lurn__mul(call->ctx, *slope, *inner, out);
}

static lurn_status smooth_l1_loss_forward(lurn__call *call) {
  const struct lurn__smooth_l1_loss_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor **difference = lurn__temp(temps), **distance = lurn__temp(temps), **losses = lurn__temp(temps);
  LURN__TRY(check_pair(call, args->input, args->target, args->reduction));
  if (!(args->beta >= 0 && args->beta < INFINITY))
    return lurn__op_fail(call, LURN_EVALUE, "beta is %g; expected a finite number of at least 0", args->beta);
  LURN__TRY(lurn__difference(call->ctx, &call->temps, args->input, args->target, difference));
  LURN__TRY(lurn__abs(call->ctx, *difference, distance));
  LURN__TRY(lurn__save_in(call, SAVED_DIFFERENCE, *difference));
  if (args->beta == 0) *losses = lurn_retain(*distance);
  else LURN__TRY(huber(call, *distance, args->beta, losses));
  return lurn__reduce_losses(call, *losses, args->reduction, (double)lurn__numel(*losses));
}

/* The slope is the difference, kept within -beta..beta, over beta. */
static lurn_status smooth_l1_loss_backward(lurn__grad_call *grad) {
  const struct lurn__smooth_l1_loss_args *args = grad->args;
  lurn_tensor *difference = grad->saved[SAVED_DIFFERENCE];
  lurn_tensor **slope = lurn__temp(&grad->temps), **scale = lurn__temp(&grad->temps);
  double beta = args->beta;
  LURN__TRY(element_scale(grad, args->reduction, beta > 0 ? 1 / beta : 1, scale));
  if (beta == 0) LURN__TRY(lurn__sign(grad->ctx, difference, slope));
  else LURN__TRY(lurn__clamp(grad->ctx, difference, -beta, beta, slope));
  return give_slope(grad, *slope, *scale);
}

const lurn__op lurn__op_smooth_l1_loss = {
    .forward = smooth_l1_loss_forward,
    .backward = smooth_l1_loss_backward,
    .doc = "d^2 / (2 beta) where d = |input - target| is below beta, else d - beta / 2.\n"
           "Equal shapes, no broadcasting; beta at least 0, where 0 gives l1_loss. mean is over all elements. "
           "Source: Girshick, Fast R-CNN, ICCV 2015."};

/* ---- binary_cross_entropy_with_logits ---------------------------------------------------------------------- */

enum { SAVED_INPUT = 0, SAVED_TARGET, SAVED_WEIGHT, SAVED_POS_WEIGHT };

static lurn_status check_broadcast(lurn__call *call, const lurn_tensor *t, const char *what, const lurn_tensor *input) {
  int added = t != NULL ? input->shape.ndim - t->shape.ndim : 0;
  bool fits = added >= 0;
  for (int i = 0; fits && t != NULL && i < t->shape.ndim; i++)
    fits = t->shape.size[i] == 1 || t->shape.size[i] == input->shape.size[i + added];
  if (fits) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "%s of shape %s does not broadcast to %s of input", what, LURN__SHAPE(t),
                       LURN__SHAPE(input));
}

/* The parts of -(pos_weight t log p + (1 - t) log(1 - p)) = (1 - t) x + k softplus(-x), where p = sigmoid(x) and
 * k = 1 + (pos_weight - 1) t; k is NULL for 1. */
static lurn_status make_factors(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *t, lurn_tensor *pos_weight,
                                lurn_tensor **negative, lurn_tensor **k) {
  lurn_tensor **one = lurn__temp(temps), **excess = lurn__temp(temps), **product = lurn__temp(temps);
  LURN__TRY(lurn_scalar(ctx, 1, one));
  LURN__TRY(lurn__difference(ctx, temps, *one, t, negative));
  if (pos_weight == NULL) return LURN_OK;
  LURN__TRY(lurn__difference(ctx, temps, pos_weight, *one, excess));
  LURN__TRY(lurn__mul(ctx, *excess, t, product));
  return lurn__add(ctx, *one, *product, k);
}

/* log(1 + e^-x) = max(-x, 0) + log1p(e^-|x|): without overflow, and to the last bits everywhere. */
static lurn_status softplus_of_minus(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, lurn_tensor **out) {
  lurn_tensor **minus = lurn__temp(temps), **top = lurn__temp(temps), **size = lurn__temp(temps),
              **exponent = lurn__temp(temps), **small = lurn__temp(temps), **rest = lurn__temp(temps);
  LURN__TRY(lurn__neg(ctx, x, minus));
  LURN__TRY(lurn__relu(ctx, *minus, top));
  LURN__TRY(lurn__abs(ctx, x, size));
  LURN__TRY(lurn__neg(ctx, *size, exponent));
  LURN__TRY(lurn__exp(ctx, *exponent, small));
  LURN__TRY(lurn__log1p(ctx, *small, rest));
  return lurn__add(ctx, *top, *rest, out);
}

/* a * b, or a alone where b is NULL. */
static lurn_status times(lurn_ctx *ctx, lurn_tensor *a, lurn_tensor *b, lurn_tensor **out) {
  if (b != NULL) return lurn__mul(ctx, a, b, out);
  *out = lurn_retain(a);
  return LURN_OK;
}

/* Losses before weight is applied. */
static lurn_status unweighted(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, lurn_tensor *t,
                              lurn_tensor *pos_weight, lurn_tensor **out) {
  lurn_tensor **negative = lurn__temp(temps), **k = lurn__temp(temps), **wrong = lurn__temp(temps),
              **linear = lurn__temp(temps), **bent = lurn__temp(temps);
  LURN__TRY(make_factors(ctx, temps, t, pos_weight, negative, k));
  LURN__TRY(softplus_of_minus(ctx, temps, x, wrong));
  LURN__TRY(lurn__mul(ctx, *negative, x, linear));
  LURN__TRY(times(ctx, *wrong, *k, bent));
  return lurn__add(ctx, *linear, *bent, out);
}

static lurn_status binary_cross_entropy_with_logits_forward(lurn__call *call) {
  const struct lurn__binary_cross_entropy_with_logits_args *args = call->args;
  lurn_tensor **plain = lurn__temp(&call->temps), **losses = lurn__temp(&call->temps);
  LURN__TRY(check_pair(call, args->input, args->target, args->reduction));
  LURN__TRY(check_broadcast(call, args->weight, "weight", args->input));
  LURN__TRY(check_broadcast(call, args->pos_weight, "pos_weight", args->input));
  LURN__TRY(lurn__save_in(call, SAVED_INPUT, args->input));
  LURN__TRY(lurn__save_in(call, SAVED_TARGET, args->target));
  if (args->weight != NULL) LURN__TRY(lurn__save_in(call, SAVED_WEIGHT, args->weight));
  if (args->pos_weight != NULL) LURN__TRY(lurn__save_in(call, SAVED_POS_WEIGHT, args->pos_weight));
  LURN__TRY(unweighted(call->ctx, &call->temps, args->input, args->target, args->pos_weight, plain));
  LURN__TRY(times(call->ctx, *plain, args->weight, losses));
  return lurn__reduce_losses(call, *losses, args->reduction, (double)lurn__numel(*losses));
}

/* (1 - t) - k sigmoid(-x) */
static lurn_status input_slope(lurn__grad_call *grad, lurn_tensor **out) {
  lurn__temps *temps = &grad->temps;
  lurn_tensor **negative = lurn__temp(temps), **k = lurn__temp(temps), **minus = lurn__temp(temps),
              **wrong = lurn__temp(temps), **bent = lurn__temp(temps);
  LURN__TRY(make_factors(grad->ctx, temps, grad->saved[SAVED_TARGET], grad->saved[SAVED_POS_WEIGHT], negative, k));
  LURN__TRY(lurn__neg(grad->ctx, grad->saved[SAVED_INPUT], minus));
  LURN__TRY(lurn__sigmoid(grad->ctx, *minus, wrong));
  LURN__TRY(times(grad->ctx, *wrong, *k, bent));
  return lurn__sub(grad->ctx, *negative, *bent, out);
}

/* (pos_weight - 1) softplus(-x) - x */
static lurn_status target_slope(lurn__grad_call *grad, lurn_tensor **out) {
  lurn__temps *temps = &grad->temps;
  lurn_tensor *x = grad->saved[SAVED_INPUT], *pos_weight = grad->saved[SAVED_POS_WEIGHT];
  lurn_tensor **one = lurn__temp(temps), **excess = lurn__temp(temps), **wrong = lurn__temp(temps),
              **bent = lurn__temp(temps);
  if (pos_weight == NULL) return lurn__neg(grad->ctx, x, out);
  LURN__TRY(lurn_scalar(grad->ctx, 1, one));
  LURN__TRY(lurn__difference(grad->ctx, temps, pos_weight, *one, excess));
  LURN__TRY(softplus_of_minus(grad->ctx, temps, x, wrong));
  LURN__TRY(lurn__mul(grad->ctx, *excess, *wrong, bent));
  return lurn__sub(grad->ctx, *bent, x, out);
}

/* t softplus(-x) */
static lurn_status pos_weight_slope(lurn__grad_call *grad, lurn_tensor **out) {
  lurn_tensor **wrong = lurn__temp(&grad->temps);
  LURN__TRY(softplus_of_minus(grad->ctx, &grad->temps, grad->saved[SAVED_INPUT], wrong));
  return lurn__mul(grad->ctx, *wrong, grad->saved[SAVED_TARGET], out);
}

static lurn_status weight_slope(lurn__grad_call *grad, lurn_tensor **out) {
  return unweighted(grad->ctx, &grad->temps, grad->saved[SAVED_INPUT], grad->saved[SAVED_TARGET],
                    grad->saved[SAVED_POS_WEIGHT], out);
}

/* The slope that make finds for input i, times the scale. */
static lurn_status give(lurn__grad_call *grad, int i, lurn_status (*make)(lurn__grad_call *, lurn_tensor **),
                        lurn_tensor *scale) {
  lurn_tensor *slope, *g;
  if (!grad->need[i]) return LURN_OK;
  lurn_status status = make(grad, &slope);
  lurn__temps_clear(&grad->temps);
  LURN__TRY(status);
  status = lurn__mul(grad->ctx, slope, scale, &g);
  lurn_release(slope);
  LURN__TRY(status);
  return lurn__give_sum_to(grad->ctx, g, &grad->in[i], &grad->grad_in[i]);
}

static lurn_status give_all(lurn__grad_call *grad, lurn_tensor *scale, lurn_tensor *weighted) {
  LURN__TRY(give(grad, 0, input_slope, weighted));
  LURN__TRY(give(grad, 1, target_slope, weighted));
  LURN__TRY(give(grad, 2, weight_slope, scale));
  return give(grad, 3, pos_weight_slope, weighted);
}

static lurn_status binary_cross_entropy_with_logits_backward(lurn__grad_call *grad) {
  const struct lurn__binary_cross_entropy_with_logits_args *args = grad->args;
  lurn_tensor *scale, *weighted;
  LURN__TRY(element_scale(grad, args->reduction, 1, &scale));
  lurn_status status = times(grad->ctx, scale, grad->saved[SAVED_WEIGHT], &weighted);
  if (status == LURN_OK) {
    status = give_all(grad, scale, weighted);
    lurn_release(weighted);
  }
  lurn_release(scale);
  return status;
}

const lurn__op lurn__op_binary_cross_entropy_with_logits = {
    .forward = binary_cross_entropy_with_logits_forward,
    .backward = binary_cross_entropy_with_logits_backward,
    .doc = "-weight (pos_weight target log p + (1 - target) log(1 - p)) with p = sigmoid(input), in nats.\n"
           "Equal shapes; target 0..1; weight and pos_weight, 1 where not given, broadcast to them. Computed as "
           "(1 - target) x + (1 + (pos_weight - 1) target) softplus(-x), finite for large inputs too. "
           "mean is over all elements, whatever their weight. Gradients for all four."};
