/* Running an op outside the graph, and the helpers that ops are written with. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ops/op.h"
#include "ops/record.h"

/* ---- Inputs ------------------------------------------------------------------------------------------------ */

int64_t lurn__op_input_count(const lurn_op_info *info, const void *args) {
  int64_t n = 0;
  for (int i = 0; i < info->n_params; i++) {
    if (lurn__is_tensor_param(info->params[i].kind)) n++;
    if (info->params[i].kind == LURN_PARAM_LIST) n += ((const lurn_list *)lurn__argument(args, i))->count;
  }
  return n;
}

void lurn__op_inputs(const lurn_op_info *info, const void *args, lurn_tensor **in) {
  for (int i = 0; i < info->n_params; i++) {
    const void *value = lurn__argument(args, i);
    if (lurn__is_tensor_param(info->params[i].kind)) *in++ = *(lurn_tensor *const *)value;
    if (info->params[i].kind != LURN_PARAM_LIST) continue;
    const lurn_list *list = value;
    for (int64_t k = 0; k < list->count; k++) *in++ = list->items[k];
  }
}

static lurn_status check_input(lurn_ctx *ctx, const lurn_op_info *info, const lurn_param *param, const lurn_tensor *t) {
  if (t == NULL && param->kind == LURN_PARAM_OPTIONAL) return LURN_OK;
  if (t == NULL) return lurn__fail(ctx, LURN_EVALUE, "%s: no tensor given for %s", info->name, param->name);
  if (t->ctx != ctx) return lurn__fail(ctx, LURN_ESTATE, "%s: %s belongs to another context", info->name, param->name);
  return LURN_OK;
}

static lurn_status check_list(lurn_ctx *ctx, const lurn_op_info *info, const lurn_param *param, const void *items,
                              int64_t count) {
  if (count == 0 || (count > 0 && items != NULL)) return LURN_OK;
  return lurn__fail(ctx, LURN_EVALUE, "%s: no list of %lld given for %s", info->name, (long long)count, param->name);
}

static lurn_status check_record(lurn_ctx *ctx, const lurn_op_info *info, const lurn_record *record) {
  if (record == NULL || record->ctx == ctx) return LURN_OK;
  return lurn__fail(ctx, LURN_ESTATE, "%s: the record belongs to another context", info->name);
}

/* Bases are added to positions. */
static lurn_status check_base(lurn_ctx *ctx, const lurn_op_info *info, const lurn_param *param, int64_t base) {
  if (base >= INT64_MIN / 2 && base <= INT64_MAX / 2) return LURN_OK;
  return lurn__fail(ctx, LURN_EVALUE, "%s: %s is %lld; expected a number that indices can count from", info->name,
                    param->name, (long long)base);
}

static lurn_status check_argument(lurn_ctx *ctx, const lurn_op_info *info, const lurn_param *param, const void *value) {
  if (lurn__is_tensor_param(param->kind)) return check_input(ctx, info, param, *(lurn_tensor *const *)value);
  if (param->kind == LURN_PARAM_RECORD) return check_record(ctx, info, *(lurn_record *const *)value);
  if (param->kind == LURN_PARAM_BASE) return check_base(ctx, info, param, *(const int64_t *)value);
  if (param->kind == LURN_PARAM_DIMS || param->kind == LURN_PARAM_SIZES) {
    const lurn_ints *ints = value;
    return check_list(ctx, info, param, ints->values, ints->count);
  }
  if (param->kind != LURN_PARAM_LIST) return LURN_OK;
  const lurn_list *list = value;
  LURN__TRY(check_list(ctx, info, param, list->items, list->count));
  for (int64_t k = 0; k < list->count; k++) LURN__TRY(check_input(ctx, info, param, list->items[k]));
  return LURN_OK;
}

lurn_status lurn__op_check_inputs(lurn_ctx *ctx, const lurn_op_info *info, const void *args) {
  for (int i = 0; i < info->n_params; i++)
    if (info->params[i].kind != LURN_PARAM_OUTPUT)
      LURN__TRY(check_argument(ctx, info, &info->params[i], lurn__argument(args, i)));
  return LURN_OK;
}

/* ---- Running ----------------------------------------------------------------------------------------------- */

void lurn__call_clear(lurn__call *call) {
  for (int i = 0; i < LURN__MAX_OUT; i++) lurn__drop(&call->out[i]);
  for (int i = 0; i < LURN__MAX_SAVED; i++) lurn__drop(&call->saved[i].tensor);
}

void lurn__temps_clear(lurn__temps *temps) {
  while (temps->count > 0) lurn__drop(&temps->tensor[--temps->count]);
}

lurn_status lurn__op_forward(lurn__call *call) {
  memset(call->out, 0, sizeof call->out);
  memset(call->saved, 0, sizeof call->saved);
  call->temps.count = 0;
  lurn_status status = lurn__op_of(call->info)->forward(call);
  lurn__temps_clear(&call->temps);
  if (status != LURN_OK) {
    lurn__call_clear(call);
    return status;
  }
  if (call->inplace) {
    lurn__touch(call->out[0]);
    call->out[0]->history = call->out[0]->storage->version;
  }
  return LURN_OK;
}

enum { FEW_INPUTS = 12 };

static lurn_status run(lurn__call *call, lurn_tensor **out) {
  lurn_tensor *few[FEW_INPUTS];
  static const bool no_need[FEW_INPUTS];
  lurn_ctx *ctx = call->ctx;
  call->n_in = lurn__op_input_count(call->info, call->args);
  if (call->n_in <= FEW_INPUTS) {
    call->in = few;
    call->need = no_need;
    lurn__op_inputs(call->info, call->args, call->in);
    LURN__TRY(lurn__op_forward(call));
  } else {
    size_t n = (size_t)call->n_in, bytes = n * (sizeof(lurn_tensor *) + sizeof(bool));
    call->in = lurn__alloc_zeroed(ctx, bytes);
    if (call->in == NULL) return LURN_ENOMEM;
    call->need = (const bool *)(call->in + n);
    lurn__op_inputs(call->info, call->args, call->in);
    lurn_status status = lurn__op_forward(call);
    lurn__free(ctx, call->in, bytes);
    LURN__TRY(status);
  }
  for (int i = 0; i < call->info->n_outputs && !call->inplace; i++) out[i] = call->out[i];
  if (call->inplace) lurn__call_clear(call);
  return LURN_OK;
}

lurn_status lurn__op_run(lurn_ctx *ctx, const lurn_op_info *info, const void *args, lurn_tensor **out) {
  lurn__call call = {.ctx = ctx, .info = info, .args = args};
  return run(&call, out);
}

lurn_status lurn__op_run_inplace(lurn_ctx *ctx, const lurn_op_info *info, const void *args) {
  lurn__call call = {.ctx = ctx, .info = info, .args = args, .inplace = true};
  return run(&call, NULL);
}

static lurn_status run_into(lurn_ctx *ctx, const lurn_op_info *info, const void *args, lurn_tensor **const *places) {
  lurn_tensor *out[LURN__MAX_OUT];
  LURN__TRY(lurn__op_run(ctx, info, args, out));
  for (int i = 0; i < info->n_outputs; i++) *places[i] = out[i];
  return LURN_OK;
}

#define OP(name, inplace, ...) LURN__DEFINE_OP(lurn__, run_into, lurn__op_run_inplace, name, inplace, __VA_ARGS__)
#include "ops/ops.def"
#undef OP

/* ---- Helpers for forward ----------------------------------------------------------------------------------- */

lurn_status lurn__op_fail(lurn__call *call, lurn_status status, const char *fmt, ...) {
  char text[900];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  return lurn__fail(call->ctx, status, "%s: %s", lurn__call_name(call), text);
}

lurn_status lurn__need_own_elements(const lurn_tensor *t, const char *who) {
  for (int d = 0; d < t->shape.ndim; d++)
    if (t->stride[d] == 0 && t->shape.size[d] > 1)
      return lurn__fail(t->ctx, LURN_ESTATE,
                        "%s: the tensor was expanded: several of its elements share memory; clone it first", who);
  return LURN_OK;
}

lurn_status lurn__out(lurn__call *call, int i, lurn_dtype dtype, const lurn__shape *shape) {
  if (!call->inplace) return lurn__tensor_new(call->ctx, dtype, shape, &call->out[i]);
  lurn_tensor *target = call->in[0];
  if (!lurn__shape_equal(shape, &target->shape))
    return lurn__op_fail(call, LURN_ESHAPE, "the result of shape %s does not fit in place into %s",
                         lurn__shape_print(shape, (char[LURN__SHAPE_TEXT]){0}), LURN__SHAPE(target));
  if (dtype != target->dtype)
    return lurn__op_fail(call, LURN_EDTYPE, "the result is %s and does not fit in place into %s",
                         lurn_dtype_name(dtype), lurn_dtype_name(target->dtype));
  LURN__TRY(lurn__need_own_elements(target, lurn__call_name(call)));
  call->out[i] = lurn_retain(target);
  return LURN_OK;
}

lurn_status lurn__give(lurn__call *call, lurn_tensor *t) {
  if (!call->inplace) {
    call->out[0] = lurn_retain(t);
    return LURN_OK;
  }
  LURN__TRY(lurn__out(call, 0, call->in[0]->dtype, &t->shape));
  return lurn__copy_(call->ctx, call->out[0], t);
}

static lurn_status save(lurn__call *call, int slot, lurn_tensor *t, bool is_output) {
  if (!call->recording) return LURN_OK;
  lurn__saved *saved = &call->saved[slot];
  bool overwritten = call->inplace && !is_output && t->storage == call->in[0]->storage;
  LURN__TRY(overwritten ? lurn__clone(call->ctx, t, &saved->tensor) : lurn__tensor_alias(t, &saved->tensor));
  saved->version = saved->tensor->storage->version;
  saved->is_output = is_output;
  return LURN_OK;
}

lurn_status lurn__save_in(lurn__call *call, int slot, lurn_tensor *t) { return save(call, slot, t, false); }
lurn_status lurn__save_out(lurn__call *call, int slot, lurn_tensor *t) { return save(call, slot, t, true); }

lurn_status lurn__need_float(lurn__call *call, const lurn_tensor *t, const char *what) {
  if (lurn_dtype_is_float(t->dtype)) return LURN_OK;
  return lurn__op_fail(call, LURN_EDTYPE, "%s is %s; expected float32 or float64", what, lurn_dtype_name(t->dtype));
}

static int kind_of(lurn_dtype dtype) { return dtype == LURN_BOOL ? 0 : lurn_dtype_is_float(dtype) ? 2 : 1; }

lurn_dtype lurn__common_dtype(const lurn_tensor *a, const lurn_tensor *b) {
  lurn_dtype dtype = lurn__promote(a->dtype, a->weak, b->dtype, b->weak);
  if (a->weak || b->weak || (a->shape.ndim == 0) == (b->shape.ndim == 0)) return dtype;
  lurn_dtype firm = a->shape.ndim == 0 ? b->dtype : a->dtype;
  return kind_of(dtype) > kind_of(firm) ? dtype : firm;
}

lurn_status lurn__as_contiguous(lurn_ctx *ctx, lurn_tensor *t, lurn_dtype dtype, lurn_tensor **out) {
  if (t->dtype == dtype && lurn_tensor_is_contiguous(t)) {
    *out = lurn_retain(t);
    return LURN_OK;
  }
  if (t->dtype == dtype) return lurn__clone(ctx, t, out);
  return lurn__to(ctx, t, dtype, out);
}

/* ---- Helpers for backward ---------------------------------------------------------------------------------- */

lurn_status lurn__sum_to(lurn_ctx *ctx, lurn_tensor *g, const lurn__meta *meta, lurn_tensor **out) {
  lurn_tensor *summed = lurn_retain(g);
  if (!lurn__shape_equal(&g->shape, &meta->shape)) {
    int64_t dims[LURN_MAX_DIMS];
    int n = 0, added = g->shape.ndim - meta->shape.ndim;
    for (int i = 0; i < g->shape.ndim; i++)
      if (i < added || (meta->shape.size[i - added] == 1 && g->shape.size[i] != 1)) dims[n++] = i;
    lurn__drop(&summed);
    if (n > 0) {
      lurn_tensor *sum;
      LURN__TRY(lurn__sum(ctx, g, dims, n, true, &sum));
      lurn_status status = lurn__reshape(ctx, sum, meta->shape.size, meta->shape.ndim, &summed);
      lurn_release(sum);
      LURN__TRY(status);
    } else {
      LURN__TRY(lurn__reshape(ctx, g, meta->shape.size, meta->shape.ndim, &summed));
    }
  }
  if (summed->dtype == meta->dtype) {
    *out = summed;
    return LURN_OK;
  }
  lurn_status status = lurn__to(ctx, summed, meta->dtype, out);
  lurn_release(summed);
  return status;
}

lurn_status lurn__give_sum_to(lurn_ctx *ctx, lurn_tensor *g, const lurn__meta *meta, lurn_tensor **out) {
  lurn_status status = lurn__sum_to(ctx, g, meta, out);
  lurn_release(g);
  return status;
}

lurn_status lurn__zeros_like_meta(lurn_ctx *ctx, const lurn__meta *meta, lurn_tensor **out) {
  return lurn_zeros(ctx, meta->dtype, meta->shape.ndim, meta->shape.size, out);
}

lurn_status lurn__grad_buffer(lurn__grad_call *grad, int i) {
  assert(lurn__op_of(grad->info)->adds_into);
  return grad->grad_in[i] != NULL ? LURN_OK : lurn__zeros_like_meta(grad->ctx, &grad->in[i], &grad->grad_in[i]);
}
