/* Dropout, embedding, layer normalisation. */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "core/threads.h"
#include "ops/index.h"
#include "ops/loop.h"

/* ---- dropout ----------------------------------------------------------------------------------------------- */

enum { SAVED_MASK = 0 };

typedef struct mask_run {
  uint64_t seed, block;
  uint32_t threshold; /* keep when the word lies below */
  bool keep_all;
  int64_t n;
  uint8_t *mask;
} mask_run;

/* Four elements to a block of random words. */
static void run_mask(const void *arg, int64_t first, int64_t last) {
  const mask_run *run = arg;
  for (int64_t block = first; block < last; block++) {
    uint32_t word[4];
    lurn__philox(run->seed, run->block + (uint64_t)block, word);
    for (int64_t i = block * 4; i < run->n && i < block * 4 + 4; i++)
      run->mask[i] = run->keep_all || word[i % 4] < run->threshold;
  }
}

static void make_mask(lurn_ctx *ctx, double p, lurn_tensor *mask) {
  int64_t n = lurn__numel(mask), blocks = (n + 3) / 4;
  double keep = (1 - p) * 4294967296.0;
  mask_run run = {.seed = ctx->rng_seed,
                  .block = lurn__rng_take(ctx, (uint64_t)blocks),
                  .threshold = keep >= 4294967295.0 ? UINT32_MAX : (uint32_t)keep,
                  .keep_all = p == 0,
                  .n = n,
                  .mask = lurn__tensor_ptr(mask)};
  lurn__for_rows(ctx, blocks, 16, run_mask, &run);
}

typedef struct dropout_run {
  lurn__dropout_fn *fn;
  double scale;
} dropout_run;

static void run_dropout(const void *arg, int64_t n, char *const *data, const int64_t *stride) {
  const dropout_run *run = arg;
  run->fn(n, run->scale, data[1], stride[1], (const uint8_t *)data[2], stride[2], data[0], stride[0]);
}

static lurn_status apply_mask(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, lurn_tensor *mask, double p,
                              lurn_tensor *out) {
  lurn__loop loop;
  dropout_run run = {lurn__kernels_of(ctx)->elementwise->dropout[x->dtype], p < 1 ? 1 / (1 - p) : 0};
  lurn__loop_begin(&loop, out);
  LURN__TRY(lurn__loop_add(&loop, temps, x, x->dtype));
  LURN__TRY(lurn__loop_add(&loop, temps, mask, LURN_UINT8));
  lurn__loop_run(ctx, &loop, run_dropout, &run);
  return LURN_OK;
}

static lurn_status dropout_forward(lurn__call *call) {
  const struct lurn__dropout_args *args = call->args;
  lurn_tensor *x = args->x, **mask = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, x, "x"));
  if (!(args->p >= 0 && args->p <= 1)) return lurn__op_fail(call, LURN_EVALUE, "p is %g; expected 0..1", args->p);
  if (!args->training || args->p == 0) return lurn__tensor_alias(x, &call->out[0]);
  LURN__TRY(lurn__tensor_new(call->ctx, LURN_UINT8, &x->shape, mask));
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  LURN__TRY(lurn__save_in(call, SAVED_MASK, *mask));
  make_mask(call->ctx, args->p, *mask);
  return apply_mask(call->ctx, &call->temps, x, *mask, args->p, call->out[0]);
}

static lurn_status dropout_backward(lurn__grad_call *grad) {
  const struct lurn__dropout_args *args = grad->args;
  lurn_tensor *gy = grad->grad_out[0];
  if (grad->saved[SAVED_MASK] == NULL) {
    grad->grad_in[0] = lurn_retain(gy);
    return LURN_OK;
  }
  LURN__TRY(lurn__tensor_new(grad->ctx, gy->dtype, &gy->shape, &grad->grad_in[0]));
  return apply_mask(grad->ctx, &grad->temps, gy, grad->saved[SAVED_MASK], args->p, grad->grad_in[0]);
}

const lurn__op lurn__op_dropout = {.forward = dropout_forward,
                                   .backward = dropout_backward,
                                   .view = true,
                                   .doc = "0 with probability p, else x / (1 - p), elementwise; x itself when not "
                                          "training.\nFloat tensors only. Uses the "
                                          "context's random numbers. Source: Srivastava et al., JMLR 15 (2014)."};

/* ---- embedding --------------------------------------------------------------------------------------------- */

enum { SAVED_IDS = 0 };

static lurn_status embedding_forward(lurn__call *call) {
  const struct lurn__embedding_args *args = call->args;
  lurn_tensor *weight = args->weight, **ids = lurn__temp(&call->temps), **table = lurn__temp(&call->temps);
  if (weight->shape.ndim != 2)
    return lurn__op_fail(call, LURN_ESHAPE, "weight has shape %s; expected (classes, features)", LURN__SHAPE(weight));
  LURN__TRY(lurn__need_float(call, weight, "weight"));
  if (args->ids->shape.ndim == LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "ids have %d dimensions already", LURN_MAX_DIMS);
  LURN__TRY(lurn__indices(call->ctx, "embedding", args->ids, args->base, weight->shape.size[0], ids));
  LURN__TRY(lurn__as_contiguous(call->ctx, weight, weight->dtype, table));
  lurn__shape shape = args->ids->shape;
  shape.size[shape.ndim++] = weight->shape.size[1];
  LURN__TRY(lurn__shape_make(call->ctx, "embedding", shape.ndim, shape.size, &shape));
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_IDS, *ids));
  LURN__TRY(lurn__out(call, 0, weight->dtype, &shape));
  size_t bytes = (size_t)weight->shape.size[1] * lurn__tensor_width(weight);
  int64_t n = lurn__numel(*ids);
  char *to = lurn__tensor_ptr(call->out[0]);
  const char *from = lurn__tensor_ptr(*table);
  for (int64_t i = 0; i < n; i++) memcpy(to + (size_t)i * bytes, from + (size_t)lurn__i64(*ids)[i] * bytes, bytes);
  return LURN_OK;
}

static lurn_status embedding_backward(lurn__grad_call *grad) {
  lurn_tensor *ids = grad->saved[SAVED_IDS], **gy = lurn__temp(&grad->temps);
  if (!grad->need[1]) return LURN_OK;
  LURN__TRY(lurn__grad_buffer(grad, 1));
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->grad_out[0], grad->in[1].dtype, gy));
  lurn_tensor *table = grad->grad_in[1];
  lurn__add_scaled_fn *add = lurn__kernels_of(grad->ctx)->elementwise->add_scaled[table->dtype];
  int64_t features = table->shape.size[1], n = lurn__numel(ids), width = (int64_t)lurn__tensor_width(table);
  for (int64_t i = 0; i < n; i++)
    add(features, 1, (const char *)lurn__tensor_ptr(*gy) + i * features * width, 1,
        (char *)lurn__tensor_ptr(table) + lurn__i64(ids)[i] * features * width, 1);
  return LURN_OK;
}

const lurn__op lurn__op_embedding = {
    .forward = embedding_forward,
    .backward = embedding_backward,
    .adds_into = true,
    .doc = "The rows of weight that ids name.\nids (...) of integers, weight (classes, features); "
           "result (..., features). An id outside the classes is an error."};

/* ---- layer_norm -------------------------------------------------------------------------------------------- */

enum { SAVED_X = 0, SAVED_WEIGHT, SAVED_MEAN, SAVED_RSTD };

static lurn_status check_affine(lurn__call *call, const lurn_tensor *t, const char *what, const lurn_tensor *x,
                                const lurn__shape *shape) {
  if (t == NULL) return LURN_OK;
  if (t->dtype != x->dtype)
    return lurn__op_fail(call, LURN_EDTYPE, "%s is %s, x is %s", what, lurn_dtype_name(t->dtype),
                         lurn_dtype_name(x->dtype));
  if (lurn__shape_equal(&t->shape, shape)) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "%s has shape %s; expected %s", what, LURN__SHAPE(t),
                       lurn__shape_print(shape, (char[LURN__SHAPE_TEXT]){0}));
}

/* The last dims sizes of x. */
static lurn__shape last_sizes(const lurn__shape *x, int64_t dims) {
  lurn__shape shape = {.ndim = (int)dims};
  memcpy(shape.size, x->size + x->ndim - dims, (size_t)dims * sizeof *x->size);
  return shape;
}

static const void *data_or_null(const lurn_tensor *t) { return t != NULL ? lurn__tensor_ptr(t) : NULL; }

static lurn_status contiguous_or_null(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **out) {
  return t != NULL ? lurn__as_contiguous(ctx, t, t->dtype, out) : LURN_OK;
}

static lurn_status layer_norm_forward(lurn__call *call) {
  const struct lurn__layer_norm_args *args = call->args;
  lurn__temps *temps = &call->temps;
  lurn_tensor **x = lurn__temp(temps), **weight = lurn__temp(temps), **bias = lurn__temp(temps),
              **mean = lurn__temp(temps), **rstd = lurn__temp(temps);
  LURN__TRY(lurn__need_float(call, args->x, "x"));
  if (args->x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar has no features");
  if (!(args->eps >= 0)) return lurn__op_fail(call, LURN_EVALUE, "eps is %g; expected at least 0", args->eps);
  if (args->dims < 1 || args->dims > args->x->shape.ndim)
    return lurn__op_fail(call, LURN_EVALUE, "dims is %lld; expected 1..%d", (long long)args->dims, args->x->shape.ndim);
  lurn__shape last = last_sizes(&args->x->shape, args->dims);
  int64_t n = lurn__shape_numel(&last), rows = n > 0 ? lurn__numel(args->x) / n : 0;
  LURN__TRY(check_affine(call, args->weight, "weight", args->x, &last));
  LURN__TRY(check_affine(call, args->bias, "bias", args->x, &last));
  LURN__TRY(lurn__as_contiguous(call->ctx, args->x, args->x->dtype, x));
  LURN__TRY(contiguous_or_null(call->ctx, args->weight, weight));
  LURN__TRY(contiguous_or_null(call->ctx, args->bias, bias));
  lurn__shape per_row = {.ndim = 1, .size = {rows}};
  LURN__TRY(lurn__tensor_new(call->ctx, args->x->dtype, &per_row, mean));
  LURN__TRY(lurn__tensor_new(call->ctx, args->x->dtype, &per_row, rstd));
  LURN__TRY(lurn__save_in(call, SAVED_X, *x));
  if (args->weight != NULL) LURN__TRY(lurn__save_in(call, SAVED_WEIGHT, args->weight));
  LURN__TRY(lurn__save_in(call, SAVED_MEAN, *mean));
  LURN__TRY(lurn__save_in(call, SAVED_RSTD, *rstd));
  LURN__TRY(lurn__out(call, 0, args->x->dtype, &args->x->shape));
  lurn__kernels_of(call->ctx)->rowwise->layer_norm[args->x->dtype](
      rows, n, lurn__tensor_ptr(*x), n, data_or_null(*weight), data_or_null(*bias), args->eps,
      lurn__tensor_ptr(call->out[0]), n, lurn__tensor_ptr(*mean), lurn__tensor_ptr(*rstd));
  return LURN_OK;
}

static lurn_status layer_norm_backward(lurn__grad_call *grad) {
  const struct lurn__layer_norm_args *args = grad->args;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *x = grad->saved[SAVED_X], **gy = lurn__temp(temps), **weight = lurn__temp(temps);
  lurn__shape last = last_sizes(&x->shape, args->dims);
  int64_t n = lurn__shape_numel(&last), rows = n > 0 ? lurn__numel(x) / n : 0;
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->grad_out[0], x->dtype, gy));
  LURN__TRY(contiguous_or_null(grad->ctx, grad->saved[SAVED_WEIGHT], weight));
  lurn__layer_norm_grads out = {.stride = n};
  for (int i = 0; i < 3; i++)
    if (grad->need[i]) LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[i], &grad->grad_in[i]));
  if (grad->need[0]) out.x = lurn__tensor_ptr(grad->grad_in[0]);
  if (grad->need[1]) out.weight = lurn__tensor_ptr(grad->grad_in[1]);
  if (grad->need[2]) out.bias = lurn__tensor_ptr(grad->grad_in[2]);
  lurn__kernels_of(grad->ctx)->rowwise->layer_norm_grad[x->dtype](
      rows, n, lurn__tensor_ptr(*gy), n, lurn__tensor_ptr(x), n, lurn__tensor_ptr(grad->saved[SAVED_MEAN]),
      lurn__tensor_ptr(grad->saved[SAVED_RSTD]), data_or_null(*weight), &out);
  return LURN_OK;
}

const lurn__op lurn__op_layer_norm = {
    .forward = layer_norm_forward,
    .backward = layer_norm_backward,
    .doc = "(x - mean) / sqrt(var + eps) * weight + bias, over the last dims dimensions, of n "
           "elements.\nx (..., n), weight and bias of the last sizes of x or none; var is "
           "the mean of squares about the mean. Source: Ba, Kiros, Hinton 2016."};
