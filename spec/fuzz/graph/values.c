/* The engine's values against the naive interpreter's, after every step. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "core/tensor.h"

static naive shape_of(const lurn_tensor *t) {
  naive n = {.dtype = lurn_tensor_dtype(t), .ndim = lurn_tensor_ndim(t), .n = lurn_tensor_numel(t), .weak = t->weak};
  memcpy(n.size, lurn_tensor_shape(t), sizeof n.size);
  return n;
}

/* Slots that ran out of the interpreter's memory have no model and are not followed. */
void model_leaf(checker *c, const run *r, int slot) {
  const lurn_tensor *t = r->slot[slot];
  model *m = &c->model[slot];
  *m = (model){.shape = shape_of(t)};
  int64_t n = m->shape.n;
  m->cell = naive_alloc(n, sizeof *m->cell);
  m->at = naive_alloc(n, sizeof *m->at);
  if (m->cell == NULL || m->at == NULL) {
    m->cell = NULL;
    return;
  }
  /* elements that share memory share a cell: the first of them */
  for (int64_t i = 0; i < n; i++) {
    m->at[i] = i;
    int64_t rest = i, first = 0, stride = 1;
    for (int d = m->shape.ndim - 1; d >= 0; d--) {
      int64_t index = rest % m->shape.size[d];
      if (lurn_tensor_strides(t)[d] != 0) first += index * stride;
      stride *= m->shape.size[d];
      rest /= m->shape.size[d];
    }
    m->at[i] = first;
    m->cell[first] = tensor_value(t, i);
  }
}

static const naive *values_of(const model *m, naive *out) {
  *out = m->shape;
  out->value = naive_alloc(out->n, sizeof *out->value);
  if (out->value == NULL || m->cell == NULL) return NULL;
  for (int64_t i = 0; i < out->n; i++) out->value[i] = m->cell[m->at[i]];
  return out;
}

naive_verdict predict(checker *c, const step *s) {
  naive *in = naive_alloc(NAIVE_IN, sizeof *in);
  c->call = (naive_call){.op = s->op, .inplace = s->inplace, .n_in = s->n_in};
  if (in == NULL) return NAIVE_UNKNOWN;
  for (int k = 0; k < s->n_in; k++) {
    if (s->in[k] < 0) continue;
    c->call.in[k] = values_of(&c->model[s->in[k]], &in[k]);
    if (c->call.in[k] == NULL) return NAIVE_UNKNOWN;
  }
  memcpy(c->call.number, s->number, sizeof c->call.number);
  memcpy(c->call.real, s->real, sizeof c->call.real);
  for (int i = 0; i < NAIVE_PARAMS; i++) c->call.ints[i] = (lurn_ints){s->ints[i], s->n_ints[i]};
  return naive_run(&c->call);
}

/* ---- Comparing --------------------------------------------------------------------------------------------- */

/* One value of a result.  Beyond the largest number a rounded value may be infinite. */
static bool agrees(long double have, long double want, long double margin, lurn_dtype dtype, double ulps) {
  if (isinf(margin) || isinf(ulps) || have == want || (isnan(have) && isnan(want))) return true;
  if (!naive_is_float(dtype) || isnan(margin)) return isnan(margin);
  long double eps = dtype == LURN_FLOAT32 ? 0x1p-23L : 0x1p-52L, most = dtype == LURN_FLOAT32 ? 0x1p128L : 0x1p1024L;
  long double least = dtype == LURN_FLOAT32 ? 0x1p-126L : 0x1p-1022L, size = fmaxl(fabsl(want), margin);
  if (isnan(have) || isnan(want)) return false;
  if (isinf(have) || isinf(want))
    return (have > 0) == (want > 0) && (isinf(want) ? fabsl(have) : size) >= most * 0.999L;
  /* vector functions may give 0 for what is below the normal numbers */
  if (ulps > 1 && have == 0 && fabsl(want) < least) return true;
  return fabsl(have - want) <= (long double)ulps * (eps * size + least * eps);
}

static void compare_output(checker *c, const lurn_tensor *t, int k) {
  const naive *want = &c->call.out[k];
  naive have = shape_of(t);
  if (have.dtype != want->dtype)
    wrong("output %d is %s; expected %s", k, lurn_dtype_name(have.dtype), lurn_dtype_name(want->dtype));
  if (!naive_same_shape(&have, want)) wrong("output %d has another shape than expected", k);
  for (int64_t i = 0; i < have.n; i++) {
    long double v = tensor_value(t, i), margin = want->margin[i];
    if (!agrees(v, want->value[i], margin, have.dtype, c->call.ulps))
      wrong("output %d, element %lld is %.17Lg; expected %.17Lg (within %g units of %.3Lg)", k, (long long)i, v,
            want->value[i], c->call.ulps, fmaxl(margin, fabsl(want->value[i])));
  }
  long double *values = c->call.judge != NULL ? naive_alloc(have.n, sizeof *values) : NULL;
  for (int64_t i = 0; values != NULL && i < have.n; i++) values[i] = tensor_value(t, i);
  const char *complaint = values != NULL ? c->call.judge(&c->call, values) : NULL;
  if (complaint != NULL) wrong("%s", complaint);
}

/* A new slot: a view of the first input shares its cells. */
static void model_output(checker *c, const run *r, const step *s, naive_verdict verdict, int k) {
  int slot = s->slot[k], from = s->n_in > 0 ? s->in[0] : -1;
  bool shares = from >= 0 && r->slot[from] != NULL && r->slot[slot]->storage == r->slot[from]->storage;
  model_leaf(c, r, slot);
  if (!shares) return;
  model *m = &c->model[slot];
  const model *of = &c->model[from];
  if (verdict == NAIVE_GIVEN && c->call.source == NULL) wrong("output %d shares the memory of the input", k);
  if (verdict != NAIVE_GIVEN || of->cell == NULL) {
    m->cell = NULL; /* nobody knows how: not followed */
    return;
  }
  m->cell = of->cell;
  for (int64_t i = 0; i < m->shape.n; i++) m->at[i] = of->at[c->call.source[i]];
}

static void take_over(const model *m, const lurn_tensor *t) {
  for (int64_t i = 0; m->cell != NULL && i < m->shape.n; i++) m->cell[m->at[i]] = tensor_value(t, i);
}

static void check_failure(const run *r, const step *s, naive_verdict verdict, lurn_status status) {
  const char *text = lurn_error(r->ctx), *name = s->op->name;
  if (status == LURN_ENOMEM) return;
  if (strncmp(text, name, strlen(name)) != 0 || strstr(text, ": ") == NULL)
    wrong("status %s, but the text does not begin with the op: \"%s\"", lurn_status_name(status), text);
  bool history = status == LURN_ESTATE || status == LURN_EVERSION, of_view = strcmp(name, "view") == 0;
  if (verdict == NAIVE_GIVEN && !history && !of_view) wrong("it fails (%s), but nothing speaks against it", text);
}

/* Without a naive counterpart an in-place op is compared with the other variant, run on copies before. */
static void check_unknown_inplace(const run *r, const step *s, lurn_tensor *const *before) {
  lurn_tensor *out[NAIVE_OUT] = {0};
  for (int k = 0; k < s->n_in; k++)
    if (s->in[k] >= 0 && before[k] == NULL) return; /* no memory for a copy */
  bool grad = lurn_set_grad_enabled(r->ctx, false);
  lurn_status status = call_op(r->ctx, s, false, before, out);
  lurn_set_grad_enabled(r->ctx, grad);
  const lurn_tensor *t = r->slot[s->in[0]];
  if (status == LURN_ENOMEM) return;
  if (status != LURN_OK) wrong("in place it runs, but not otherwise: %s", lurn_error(r->ctx));
  naive a = shape_of(t), b = shape_of(out[0]);
  if (!naive_same_shape(&a, &b)) wrong("in place it runs, but otherwise the result has another shape");
  for (int64_t i = 0; i < a.n; i++) {
    long double x = tensor_value(t, i), y = naive_convert(tensor_value(out[0], i), b.dtype, a.dtype);
    if (x != y && !(isnan(x) && isnan(y))) wrong("in place element %lld is %Lg, otherwise %Lg", (long long)i, x, y);
  }
  for (int k = 0; k < s->op->n_outputs; k++) lurn_release(out[k]);
}

void compare_step(checker *c, run *r, const step *s, naive_verdict verdict, lurn_status status,
                  lurn_tensor *const *before) {
  if (status != LURN_OK) {
    check_failure(r, s, verdict, status);
    check_slots(c, r);
    return;
  }
  if (verdict == NAIVE_REFUSED) wrong("it runs, but an error is due");
  if (s->inplace) {
    if (verdict == NAIVE_GIVEN) compare_output(c, r->slot[s->in[0]], 0);
    else check_unknown_inplace(r, s, before);
    take_over(&c->model[s->in[0]], r->slot[s->in[0]]);
  }
  for (int k = 0; k < s->op->n_outputs && !s->inplace; k++) {
    if (verdict == NAIVE_GIVEN) compare_output(c, r->slot[s->slot[k]], k);
    model_output(c, r, s, verdict, k);
  }
  /* what else was written shows as well a few steps later, for less time */
  if (s->inplace || c->steps++ % 8 == 0) check_slots(c, r);
}

/* Every slot holds what its model says, bit for bit. */
void check_slots(checker *c, const run *r) {
  for (int slot = 0; slot < SLOTS; slot++) {
    const model *m = &c->model[slot];
    if (r->slot[slot] == NULL || m->cell == NULL) continue;
    const lurn_tensor *t = r->slot[slot];
    int64_t n = m->shape.n, stride = n > 2000 ? n / 500 | 1 : 1;
    for (int64_t i = 0; i < n; i += stride) {
      long double have = tensor_value(t, i), want = m->cell[m->at[i]];
      if (have != want && !(isnan(have) && isnan(want)))
        wrong("t%d changed: element %lld is %.17Lg; it was %.17Lg", slot, (long long)i, have, want);
    }
  }
}
