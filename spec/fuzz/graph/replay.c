/* The same program under other circumstances, and gradients against differences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/tensor.h"

/* ---- The twin ---------------------------------------------------------------------------------------------- */

/* A contiguous copy in another context, a leaf for floats. */
static lurn_tensor *copy_into(lurn_ctx *ctx, const lurn_tensor *t) {
  lurn_tensor *out = NULL;
  lurn_dtype dtype = lurn_tensor_dtype(t);
  if (lurn_empty(ctx, dtype, lurn_tensor_ndim(t), lurn_tensor_shape(t), &out) != LURN_OK) return NULL;
  size_t width = lurn_dtype_size(dtype);
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++)
    memcpy((char *)lurn_tensor_data(out) + (size_t)i * width,
           (const char *)lurn_tensor_data(t) + tensor_place(t, i) * (int64_t)width, width);
  out->weak = t->weak;
  if (naive_is_float(dtype) && lurn_tensor_set_requires_grad(out, true) != LURN_OK) abort();
  return out;
}

static bool tame(const lurn_tensor *t) {
  for (int64_t i = 0; i < lurn_tensor_numel(t); i++)
    if (!(fabsl(tensor_value(t, i)) <= 1e3L)) return false;
  return true;
}

typedef struct side {
  lurn_ctx *ctx;
  lurn_tensor *in[NAIVE_IN], *out[NAIVE_OUT], *grad[NAIVE_IN];
  lurn_status status;
} side;

/* Gradients of all float inputs, with weights of some sizes for the outputs. */
static void take_gradients(side *s, int n_in, int n_out) {
  lurn_tensor *outputs[NAIVE_OUT], *weights[NAIVE_OUT], *inputs[NAIVE_IN], *found[NAIVE_IN] = {0};
  int outs = 0, ins = 0, place[NAIVE_IN];
  for (int k = 0; k < n_out; k++) {
    if (!lurn_tensor_requires_grad(s->out[k])) continue;
    lurn_dtype dtype = lurn_tensor_dtype(s->out[k]);
    int ndim = lurn_tensor_ndim(s->out[k]);
    s->status = lurn_empty(s->ctx, dtype, ndim, lurn_tensor_shape(s->out[k]), &weights[outs]);
    if (s->status != LURN_OK) break;
    for (int64_t i = 0; i < lurn_tensor_numel(s->out[k]); i++) {
      double w = 0.5 + (double)((i + k) % 7) * 0.25;
      if (dtype == LURN_FLOAT32) ((float *)lurn_tensor_data(weights[outs]))[i] = (float)w;
      else ((double *)lurn_tensor_data(weights[outs]))[i] = w;
    }
    outputs[outs++] = s->out[k];
  }
  for (int k = 0; k < n_in; k++) {
    if (s->in[k] == NULL || !lurn_tensor_requires_grad(s->in[k])) continue;
    place[ins] = k;
    inputs[ins++] = s->in[k];
  }
  if (s->status == LURN_OK && outs > 0 && ins > 0)
    s->status = lurn_grad(s->ctx, outputs, outs, weights, inputs, ins, false, found);
  for (int k = 0; k < ins; k++) s->grad[place[k]] = found[k];
  for (int k = 0; k < outs; k++) lurn_release(weights[k]);
}

static void clear_side(side *s) {
  for (int k = 0; k < NAIVE_IN; k++) {
    lurn_release(s->in[k]);
    lurn_release(s->grad[k]);
  }
  for (int k = 0; k < NAIVE_OUT; k++) lurn_release(s->out[k]);
}

/* A float64 gradient has passed through float32 where an output is that. */
static bool has_float32(const side *s, int n_out) {
  for (int k = 0; k < n_out; k++)
    if (lurn_tensor_dtype(s->out[k]) == LURN_FLOAT32) return true;
  return false;
}

/* Different orders of sums, and functions that differ in the last places, on numbers of at most a thousand. */
static void compare_sides(const lurn_tensor *a, const lurn_tensor *b, bool coarse, const char *what, int k) {
  if (a == NULL && b == NULL) return;
  if (a == NULL || b == NULL) wrong("%s %d: only one instruction set has it", what, k);
  lurn_dtype dtype = lurn_tensor_dtype(a);
  if (dtype != lurn_tensor_dtype(b) || lurn_tensor_numel(a) != lurn_tensor_numel(b))
    wrong("%s %d: dtype or shape", what, k);
  long double most = 1, tolerance = !naive_is_float(dtype) ? 0 : coarse ? 2e-4L : 1e-10L;
  for (int64_t i = 0; i < lurn_tensor_numel(a); i++) most = fmaxl(most, fabsl(tensor_value(a, i)));
  for (int64_t i = 0; i < lurn_tensor_numel(a); i++) {
    long double x = tensor_value(a, i), y = tensor_value(b, i);
    bool strange = !isfinite(x) || !isfinite(y) || most > 1e6L;
    if (!strange && fabsl(x - y) > tolerance * most)
      wrong("%s %d, element %lld: %.9Lg, and %.9Lg on another instruction set", what, k, (long long)i, x, y);
  }
}

/* Differences of rounding are all that is left of a spread that should be 0, and are then divided by; or they make a jump. */
static bool is_rough(const char *op) {
  static const char *const list[] = {"std", "norm", "layer_norm", "multinomial", "pow", "remainder", "floor_divide"};
  for (int i = 0; i < 7; i++)
    if (strcmp(list[i], op) == 0) return true;
  return false;
}

/* Whether a weight, the third input, may not require a gradient. */
static bool refuses_weight(const char *op) { return strcmp(op, "cross_entropy") == 0 || strcmp(op, "nll_loss") == 0; }

void check_twin(const run *r, const step *s, lurn_ctx *other, bool amplifies) {
  side a = {.ctx = r->ctx}, b = {.ctx = other};
  bool fits = !amplifies && !is_rough(s->op->name), grad = lurn_set_grad_enabled(r->ctx, true);
  uint64_t state[2];
  lurn_rng_state(r->ctx, state);
  for (int k = 0; k < s->n_in; k++) {
    const lurn_tensor *t = s->in[k] < 0 ? NULL : r->slot[s->in[k]];
    if (t == NULL) continue;
    fits = fits && tame(t);
    if (lurn_detach(a.ctx, r->slot[s->in[k]], &a.in[k]) != LURN_OK) abort();
    if (naive_is_float(lurn_tensor_dtype(t)) && lurn_tensor_set_requires_grad(a.in[k], true) != LURN_OK) abort();
    b.in[k] = copy_into(other, t);
    if (k == 2 && refuses_weight(s->op->name) &&
        (lurn_tensor_set_requires_grad(a.in[k], false) != LURN_OK ||
         lurn_tensor_set_requires_grad(b.in[k], false) != LURN_OK))
      abort();
  }
  step plain = *s;
  plain.no_grad = false;
  a.status = fits ? call_op(a.ctx, &plain, false, a.in, a.out) : LURN_ESTATE;
  lurn_set_rng_state(r->ctx, state);
  lurn_set_rng_state(other, state);
  b.status = fits ? call_op(b.ctx, &plain, false, b.in, b.out) : LURN_ESTATE;
  bool full = a.status == LURN_ENOMEM || b.status == LURN_ENOMEM;
  if ((a.status == LURN_OK) != (b.status == LURN_OK) && !full && strcmp(s->op->name, "view") != 0)
    wrong("it runs on one instruction set only: %s%s", lurn_error(a.ctx), lurn_error(b.ctx));
  if (a.status == LURN_OK && b.status == LURN_OK) {
    bool coarse = has_float32(&a, s->op->n_outputs);
    for (int k = 0; k < s->op->n_outputs; k++) compare_sides(a.out[k], b.out[k], coarse, "output", k);
    take_gradients(&a, s->n_in, s->op->n_outputs);
    take_gradients(&b, s->n_in, s->op->n_outputs);
    full = a.status == LURN_ENOMEM || b.status == LURN_ENOMEM;
    if (a.status != b.status && !full)
      wrong("backward runs on one instruction set only: %s%s", lurn_error(a.ctx), lurn_error(b.ctx));
    if (a.status != LURN_OK && a.status != LURN_ENOMEM) wrong("backward fails: %s", lurn_error(a.ctx));
    for (int k = 0; k < s->n_in && !full; k++) compare_sides(a.grad[k], b.grad[k], coarse, "gradient", k);
  }
  lurn_set_grad_enabled(r->ctx, grad);
  clear_side(&a);
  clear_side(&b);
  if (lurn_memory_live(other) != 0) wrong("%zu bytes of the twin are still live", lurn_memory_live(other));
}

/* ---- The whole once more ----------------------------------------------------------------------------------- */

lurn_status sum_of_all(const run *r, lurn_tensor **out) {
  lurn_tensor *total = NULL;
  lurn_status status = LURN_OK;
  for (int slot = 0; slot < SLOTS && status == LURN_OK; slot++) {
    lurn_tensor *t = r->slot[slot], *weight = NULL, *product = NULL, *sum = NULL, *more = NULL;
    if (t == NULL || !lurn_tensor_requires_grad(t)) continue;
    status = lurn_scalar(r->ctx, 1 + slot % 5 * 0.25, &weight);
    if (status == LURN_OK) status = lurn_mul(r->ctx, t, weight, &product);
    if (status == LURN_OK) status = lurn_sum(r->ctx, product, NULL, 0, false, &sum);
    if (status == LURN_OK && total != NULL) status = lurn_add(r->ctx, total, sum, &more);
    if (status == LURN_OK && total == NULL) more = lurn_retain(sum);
    lurn_release(weight);
    lurn_release(product);
    lurn_release(sum);
    if (status != LURN_OK) break;
    lurn_release(total);
    total = more;
  }
  if (status == LURN_OK) *out = total;
  else lurn_release(total);
  return status;
}

static lurn_status replay_to_end(run *r, const program *p) {
  for (int i = 0; i < p->n_steps; i++) {
    lurn_status status = run_step(r, &p->steps[i]);
    if (status != LURN_OK) return status;
  }
  return LURN_OK;
}

static bool same_bits(const lurn_tensor *a, const lurn_tensor *b) {
  if ((a == NULL) != (b == NULL)) return false;
  if (a == NULL) return true;
  size_t width = lurn_dtype_size(lurn_tensor_dtype(a));
  if (lurn_tensor_dtype(a) != lurn_tensor_dtype(b) || lurn_tensor_numel(a) != lurn_tensor_numel(b)) return false;
  for (int64_t i = 0; i < lurn_tensor_numel(a); i++) {
    const char *x = (const char *)lurn_tensor_data(a) + tensor_place(a, i) * (int64_t)width;
    const char *y = (const char *)lurn_tensor_data(b) + tensor_place(b, i) * (int64_t)width;
    if (memcmp(x, y, width) != 0) return false;
  }
  return true;
}

static void check_same(const run *a, const run *b, bool gradients, const char *how) {
  for (int slot = 0; slot < SLOTS; slot++) {
    if (!same_bits(a->slot[slot], b->slot[slot])) wrong("%s: t%d has other bits", how, slot);
    if (!gradients || a->slot[slot] == NULL) continue;
    if (!same_bits(lurn_tensor_grad(a->slot[slot]), lurn_tensor_grad(b->slot[slot])))
      wrong("%s: the gradient of t%d has other bits", how, slot);
  }
}

static void replay(const program *p, const run *first, lurn_isa isa, int threads, bool grad, bool went_back) {
  heap h;
  run r = {.ctx = heap_ctx(&h, isa, threads)};
  lurn_tensor *total = NULL;
  lurn_set_grad_enabled(r.ctx, grad);
  lurn_status status = replay_to_end(&r, p);
  const char *how = grad ? "on three threads" : "under no_grad";
  if (status != LURN_OK && status != LURN_ENOMEM) wrong("%s: %s", how, lurn_error(r.ctx));
  if (status == LURN_OK && grad && went_back) {
    status = sum_of_all(&r, &total);
    if (status == LURN_OK) status = lurn_backward(r.ctx, total, NULL, false);
    if (status != LURN_OK && status != LURN_ENOMEM) wrong("%s, backward: %s", how, lurn_error(r.ctx));
    lurn_release(total);
  }
  if (status == LURN_OK) check_same(first, &r, grad && went_back, how);
  run_clear(&r);
  heap_end(&h, r.ctx);
}

/* An allocation fails somewhere: that step says so and the end is clean. */
static void replay_failing(const program *p, lurn_isa isa, unsigned fail_at) {
  heap h;
  run r = {.ctx = heap_ctx(&h, isa, 1)};
  lurn_tensor *total = NULL;
  h.fail_at = h.calls + 1 + (int64_t)fail_at;
  lurn_status status = replay_to_end(&r, p);
  if (status == LURN_OK) status = sum_of_all(&r, &total);
  if (status == LURN_OK && total != NULL) status = lurn_backward(r.ctx, total, NULL, false);
  if (status != LURN_OK && status != LURN_ENOMEM && status != LURN_EVERSION && status != LURN_ESTATE)
    wrong("without memory: %s, %s", lurn_status_name(status), lurn_error(r.ctx));
  lurn_release(total);
  run_clear(&r);
  heap_end(&h, r.ctx);
}

void check_replays(const program *p, const run *first, lurn_isa isa, bool went_back, unsigned fail_at) {
  if (fail_at % 4 == 0) replay(p, first, isa, 3, true, went_back); /* threads take their time to start */
  replay(p, first, isa, 1, false, false);
  replay_failing(p, isa, fail_at);
}

/* ---- Differences ------------------------------------------------------------------------------------------- */

/* The sum of all with one element of a leaf moved; NAN when something fails.  no_grad, but for which tensors count. */
static double moved_sum(const program *p, lurn_isa isa, int slot, int64_t element, double by) {
  heap h;
  run r = {.ctx = heap_ctx(&h, isa, 1)};
  lurn_tensor *total = NULL;
  double value = NAN;
  lurn_status status = LURN_OK;
  for (int i = 0; i < p->n_steps && status == LURN_OK; i++) {
    status = run_step(&r, &p->steps[i]);
    if (status != LURN_OK || p->steps[i].kind != STEP_LEAF || p->steps[i].slot[0] != slot) continue;
    double *data = lurn_tensor_data(r.slot[slot]);
    data[tensor_place(r.slot[slot], element)] += by;
  }
  if (status == LURN_OK) status = sum_of_all(&r, &total);
  if (status == LURN_OK && total != NULL && lurn_tensor_get(total, NULL, &value) != LURN_OK) value = NAN;
  lurn_release(total);
  run_clear(&r);
  heap_end(&h, r.ctx);
  return value;
}

/* Where differences of two widths and both sides agree, the function is smooth there and the gradient has to be theirs. */
static void check_element(const program *p, const run *r, lurn_isa isa, int slot, int64_t element) {
  enum { POINTS = 5 };
  static const double by[POINTS] = {-2e-5, -1e-5, 0, 1e-5, 2e-5};
  double f[POINTS];
  for (int i = 0; i < POINTS; i++) f[i] = moved_sum(p, isa, slot, element, by[i]);
  double wide = (f[4] - f[0]) / 4e-5, narrow = (f[3] - f[1]) / 2e-5;
  double left = (f[2] - f[1]) / 1e-5, right = (f[3] - f[2]) / 1e-5;
  double size = fmax(1, fabs(f[2])), slope = fmax(1, fabs(narrow));
  if (!isfinite(wide + narrow + left + right) || size > 1e6 || slope > 1e4) return;
  if (fabs(wide - narrow) > 1e-6 * slope || fabs(left - right) > 1e-3 * slope) return;
  const lurn_tensor *grad = lurn_tensor_grad(r->slot[slot]);
  double have = grad != NULL ? (double)tensor_value(grad, element) : 0;
  /* the sum's rounding over the width, and what is left of the third derivative */
  if (fabs(have - narrow) > 1e-5 * slope + 1e-15 * size / 1e-5 * 100)
    wrong("the gradient of t%d, element %lld, is %.12g; differences say %.12g (and %.12g)", slot, (long long)element,
          have, narrow, wide);
}

/* Elements that share memory move together, which the gradient of a leaf does not tell. */
static bool can_differ(const step *s) {
  return s->kind == STEP_LEAF && s->leaf.needs_grad && !s->leaf.weak && s->leaf.dtype == LURN_FLOAT64 &&
         s->leaf.layout != EXPANDED;
}

void check_differences(const program *p, const run *r, lurn_isa isa, uint32_t seed) {
  int tries = 0;
  for (int i = 0; i < p->n_steps && tries < 3; i++) {
    const step *s = &p->steps[(seed + (uint32_t)i) % (uint32_t)p->n_steps];
    if (!can_differ(s)) continue;
    const lurn_tensor *t = r->slot[s->slot[0]];
    if (t == NULL || lurn_tensor_numel(t) == 0) continue;
    check_element(p, r, isa, s->slot[0], seed % lurn_tensor_numel(t));
    tries++;
  }
}
