/* Making leaves and running steps. */
#include "program.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/tensor.h"

/* ---- Elements ---------------------------------------------------------------------------------------------- */

int64_t tensor_place(const lurn_tensor *t, int64_t i) {
  int64_t at = 0;
  for (int d = t->shape.ndim - 1; d >= 0; d--) {
    at += i % t->shape.size[d] * t->stride[d];
    i /= t->shape.size[d];
  }
  return at;
}

long double tensor_value(const lurn_tensor *t, int64_t i) {
  int64_t at = t->offset + tensor_place(t, i); /* read past the public functions: this is most of a run */
  const void *data = t->storage->data;
  switch (t->dtype) {
    case LURN_FLOAT32: return ((const float *)data)[at];
    case LURN_FLOAT64: return ((const double *)data)[at];
    case LURN_INT64: return ((const int64_t *)data)[at];
    case LURN_INT32: return ((const int32_t *)data)[at];
    default: return ((const uint8_t *)data)[at];
  }
}

static void set_value(lurn_tensor *t, int64_t i, double v) {
  int64_t at = tensor_place(t, i);
  void *data = lurn_tensor_data(t);
  long double exact = naive_convert(v, LURN_FLOAT64, lurn_tensor_dtype(t));
  switch (lurn_tensor_dtype(t)) {
    case LURN_FLOAT32: ((float *)data)[at] = (float)exact; break;
    case LURN_FLOAT64: ((double *)data)[at] = (double)exact; break;
    case LURN_INT64: ((int64_t *)data)[at] = (int64_t)exact; break;
    case LURN_INT32: ((int32_t *)data)[at] = (int32_t)exact; break;
    default: ((uint8_t *)data)[at] = (uint8_t)exact;
  }
}

static uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

double leaf_value(const leaf *l, int64_t i) {
  static const double ends[] = {NAN,          INFINITY, -INFINITY, 1e30, -1e30, 0.0,
                                -0.0,         1e-40,    1e300,     100,  -100,  -9223372036854775808.0,
                                2147483647.0, -1e-310,  88.8,      1e-20};
  uint32_t word = mixed(l->seed ^ mixed((uint32_t)i + 1));
  double unit = (word >> 8) * 0x1p-24;
  if (l->palette == RANGE) return (double)(l->low + (int64_t)(word >> 4) % (l->high - l->low + 1));
  if (l->palette == RISING) return (double)(i / 2) / 2 - 2;
  if (!naive_is_float(l->dtype)) {
    if (l->palette == EXTREME) return ends[word % 16];
    return (double)(word >> 9) - floor((word >> 9) / 7.0) * 7 - (l->palette == POSITIVE ? 0 : 3);
  }
  if (l->palette == EXTREME && word % 3 == 0) return ends[(word >> 4) % 16];
  if (l->palette == TIES) return ((double)(word % 9) - 4) / 2;
  return l->palette == POSITIVE ? 0.1 + 1.9 * unit : 4 * unit - 2;
}

/* ---- Leaves ------------------------------------------------------------------------------------------------ */

/* A tensor of the leaf's shape in its layout, of a memory with other things in it. */
static lurn_status lay_out(lurn_ctx *ctx, const leaf *l, lurn_tensor **out) {
  int64_t size[LURN_MAX_DIMS + 1];
  int n = l->ndim, last = n - 1;
  layout how = n == 0 || (how = l->layout, how == TURNED && n < 2) ? PLAIN : l->layout;
  lurn_tensor *base = NULL;
  memcpy(size, l->size, sizeof l->size);
  if (how == TURNED) {
    size[0] = l->size[last];
    size[last] = l->size[0];
  }
  if (how == WINDOW) size[last] += 3;
  if (how == EVERY_SECOND) size[n++] = 2;
  if (how == EXPANDED) size[0] = 1;
  lurn_status status = lurn_full(ctx, l->dtype, n, size, 77, &base);
  if (status != LURN_OK) return status;
  if (how == PLAIN) *out = lurn_retain(base);
  if (how == TURNED) status = lurn_transpose(ctx, base, 0, last, out);
  if (how == WINDOW) status = lurn_narrow(ctx, base, last, 2, l->size[last], out);
  if (how == EVERY_SECOND) status = lurn_select(ctx, base, -1, 1, out);
  if (how == EXPANDED) status = lurn_expand(ctx, base, l->size, n, out);
  lurn_release(base);
  return status;
}

lurn_status make_leaf(lurn_ctx *ctx, const leaf *l, lurn_tensor **out) {
  if (l->weak && naive_is_float(l->dtype)) return lurn_scalar(ctx, leaf_value(l, 0), out);
  if (l->weak) return lurn_scalar_int(ctx, (int64_t)naive_convert(leaf_value(l, 0), LURN_FLOAT64, LURN_INT64), out);
  lurn_tensor *laid = NULL, *t = NULL;
  bool before = lurn_set_grad_enabled(ctx, false);
  lurn_status status = lay_out(ctx, l, &laid);
  lurn_set_grad_enabled(ctx, before);
  if (status != LURN_OK) return status;
  for (int64_t i = 0; i < lurn_tensor_numel(laid); i++) set_value(laid, i, leaf_value(l, i));
  lurn_tensor_touch(laid);
  status = lurn_detach(ctx, laid, &t);
  lurn_release(laid);
  if (status == LURN_OK && l->needs_grad && naive_is_float(l->dtype)) status = lurn_tensor_set_requires_grad(t, true);
  if (status == LURN_OK) *out = t;
  else lurn_release(t);
  return status;
}

/* ---- Ops --------------------------------------------------------------------------------------------------- */

static lurn_status fill_args(lurn_ctx *ctx, const step *s, lurn_tensor *const *in, char *args, lurn_record **record) {
  int next = 0;
  for (int i = 0; i < s->op->n_params; i++) {
    char *at = args + i * LURN_ARG_STRIDE;
    switch (s->op->params[i].kind) {
      case LURN_PARAM_TENSOR:
      case LURN_PARAM_SCALAR:
      case LURN_PARAM_OPTIONAL: *(lurn_tensor **)(void *)at = in[next++]; break;
      case LURN_PARAM_LIST:
        *(lurn_list *)(void *)at = (lurn_list){in + next, s->list_count};
        next += s->list_count;
        break;
      case LURN_PARAM_REAL: *(double *)(void *)at = s->real[i]; break;
      case LURN_PARAM_FLAG: *(bool *)(void *)at = s->number[i] != 0; break;
      case LURN_PARAM_DIMS:
      case LURN_PARAM_SIZES: *(lurn_ints *)(void *)at = (lurn_ints){s->ints[i], s->n_ints[i]}; break;
      case LURN_PARAM_RECORD:
        if (s->record) {
          lurn_status status = lurn_record_new(ctx, record);
          if (status != LURN_OK) return status;
        }
        *(lurn_record **)(void *)at = *record;
        break;
      case LURN_PARAM_OUTPUT: return LURN_OK;
      default: *(int64_t *)(void *)at = s->number[i];
    }
  }
  return LURN_OK;
}

lurn_status call_op(lurn_ctx *ctx, const step *s, bool inplace, lurn_tensor *const *in, lurn_tensor **out) {
  _Alignas(LURN_ARG_STRIDE) char args[NAIVE_PARAMS * LURN_ARG_STRIDE] = {0};
  lurn_record *record = NULL;
  bool before = lurn_set_grad_enabled(ctx, lurn_grad_enabled(ctx) && !s->no_grad);
  lurn_status status = fill_args(ctx, s, in, args, &record);
  if (status == LURN_OK)
    status = inplace ? lurn_op_call_inplace(ctx, s->op, args) : lurn_op_call(ctx, s->op, args, out);
  lurn_set_grad_enabled(ctx, before);
  lurn_record_release(record);
  return status;
}

lurn_status run_step(run *r, const step *s) {
  lurn_tensor *in[NAIVE_IN], *out[NAIVE_OUT] = {0};
  if (s->kind == STEP_LEAF) return make_leaf(r->ctx, &s->leaf, &r->slot[s->slot[0]]);
  if (s->kind == STEP_DROP) {
    lurn_release(r->slot[s->slot[0]]);
    r->slot[s->slot[0]] = NULL;
    return LURN_OK;
  }
  for (int k = 0; k < s->n_in; k++) in[k] = s->in[k] < 0 ? NULL : r->slot[s->in[k]];
  lurn_status status = call_op(r->ctx, s, s->inplace, in, out);
  for (int k = 0; status == LURN_OK && !s->inplace && k < s->op->n_outputs; k++) r->slot[s->slot[k]] = out[k];
  return status;
}

void run_clear(run *r) {
  for (int i = 0; i < SLOTS; i++) {
    lurn_release(r->slot[i]);
    r->slot[i] = NULL;
  }
}

/* ---- Telling ----------------------------------------------------------------------------------------------- */

static void print_leaf(const leaf *l, int slot) {
  static const char *const layouts[] = {"plain", "turned", "window", "every second", "expanded"};
  static const char *const palettes[] = {"ties", "smooth", "extreme", "positive", "range", "rising"};
  fprintf(stderr, "  t%d = leaf %s (", slot, lurn_dtype_name(l->dtype));
  for (int d = 0; d < l->ndim; d++) fprintf(stderr, "%lld ", (long long)l->size[d]);
  fprintf(stderr, ") %s, %s%s%s:", layouts[l->layout], palettes[l->palette], l->weak ? ", a number" : "",
          l->needs_grad ? ", requires a gradient" : "");
  int64_t n = 1;
  for (int d = 0; d < l->ndim; d++) n *= l->size[d];
  for (int64_t i = 0; i < n && i < 12; i++) fprintf(stderr, " %.9g", leaf_value(l, i));
  fprintf(stderr, "\n");
}

static void print_op(const step *s) {
  fprintf(stderr, "  t%d = %s%s%s(", s->inplace ? s->in[0] : s->slot[0], s->no_grad ? "no_grad " : "", s->op->name,
          s->inplace ? "_" : "");
  for (int k = 0; k < s->n_in; k++) fprintf(stderr, s->in[k] < 0 ? "nil " : "t%d ", s->in[k]);
  for (int i = 0; i < s->op->n_params; i++) {
    const lurn_param *param = &s->op->params[i];
    lurn_param_kind kind = param->kind;
    if (kind <= LURN_PARAM_LIST || kind == LURN_PARAM_OUTPUT || kind == LURN_PARAM_RECORD) continue;
    fprintf(stderr, "%s=", param->name);
    if (kind == LURN_PARAM_REAL) fprintf(stderr, "%.9g ", s->real[i]);
    else if (kind == LURN_PARAM_DIMS || kind == LURN_PARAM_SIZES) {
      fprintf(stderr, "{");
      for (int k = 0; k < s->n_ints[i]; k++) fprintf(stderr, "%lld ", (long long)s->ints[i][k]);
      fprintf(stderr, "} ");
    } else fprintf(stderr, "%lld ", (long long)s->number[i]);
  }
  fprintf(stderr, ")\n");
}

void print_program(const program *p) {
  for (int i = 0; i < p->n_steps; i++) {
    const step *s = &p->steps[i];
    if (s->kind == STEP_LEAF) print_leaf(&s->leaf, s->slot[0]);
    if (s->kind == STEP_OP) print_op(s);
    if (s->kind == STEP_DROP) fprintf(stderr, "  drop t%d\n", s->slot[0]);
  }
}
