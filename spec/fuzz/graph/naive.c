/* The interpreter's memory, shapes, dtypes and dispatch. */
#include "naive.h"

#include <math.h>
#include <string.h>

enum { ARENA = 48 << 20 };
static _Alignas(16) char arena[ARENA];
static size_t used;

void naive_reset(void) { used = 0; }

void *naive_alloc(int64_t count, size_t size) {
  size_t bytes = ((size_t)count * size + 31) & ~(size_t)15;
  if (count < 0 || bytes > ARENA - used) return NULL;
  void *p = arena + used;
  used += bytes;
  memset(p, 0, bytes);
  return p;
}

/* ---- Dtypes ------------------------------------------------------------------------------------------------ */

bool naive_is_float(lurn_dtype dtype) { return dtype == LURN_FLOAT32 || dtype == LURN_FLOAT64; }

static long double to_int(long double v, lurn_dtype from, lurn_dtype to) {
  long double low = to == LURN_INT64 ? (long double)INT64_MIN : to == LURN_INT32 ? (long double)INT32_MIN : 0;
  long double high = to == LURN_INT64 ? (long double)INT64_MAX : to == LURN_INT32 ? (long double)INT32_MAX : UINT8_MAX;
  if (!naive_is_float(from)) { /* between integers: the low bits */
    uint64_t bits = (uint64_t)(int64_t)v;
    return to == LURN_INT64   ? (long double)(int64_t)bits
           : to == LURN_INT32 ? (long double)(int32_t)(uint32_t)bits
                              : (long double)(uint8_t)bits;
  }
  if (isnan(v)) return 0;
  return v <= low ? low : v >= high ? high : truncl(v);
}

long double naive_convert(long double v, lurn_dtype from, lurn_dtype to) {
  if (to == LURN_FLOAT32) return (float)v;
  if (to == LURN_FLOAT64) return (double)v;
  if (to == LURN_BOOL) return v != 0;
  return to_int(v, from, to);
}

lurn_dtype naive_promote_plain(lurn_dtype a, lurn_dtype b) {
  static const int rank[] = {
      [LURN_BOOL] = 0, [LURN_UINT8] = 1, [LURN_INT32] = 2, [LURN_INT64] = 3, [LURN_FLOAT32] = 4, [LURN_FLOAT64] = 5};
  return rank[a] > rank[b] ? a : b;
}

static int kind(lurn_dtype dtype) { return dtype == LURN_BOOL ? 0 : naive_is_float(dtype) ? 2 : 1; }

/* What counts less: plain numbers below scalars below tensors with dimensions; of these it changes only the kind. */
lurn_dtype naive_promote(const naive *a, const naive *b) {
  int strength_a = a->weak ? 0 : a->ndim == 0 ? 1 : 2, strength_b = b->weak ? 0 : b->ndim == 0 ? 1 : 2;
  lurn_dtype plain = naive_promote_plain(a->dtype, b->dtype);
  if (strength_a == strength_b) return plain;
  const naive *strong = strength_a > strength_b ? a : b, *light = strength_a > strength_b ? b : a;
  if (kind(light->dtype) <= kind(strong->dtype)) return strong->dtype;
  return light->weak && naive_is_float(light->dtype) ? LURN_FLOAT32 : light->dtype;
}

/* ---- Shapes ------------------------------------------------------------------------------------------------ */

bool naive_out(naive_call *call, int i, lurn_dtype dtype, int ndim, const int64_t *size) {
  naive *t = &call->out[i];
  *t = (naive){.dtype = dtype, .ndim = ndim, .n = 1};
  for (int d = 0; d < ndim; d++) {
    t->size[d] = size[d];
    t->n *= size[d];
  }
  t->value = naive_alloc(t->n, sizeof *t->value);
  t->margin = naive_alloc(t->n, sizeof *t->margin);
  return t->value != NULL && t->margin != NULL;
}

int naive_dim(int64_t dim, int ndim) {
  int have = ndim > 0 ? ndim : 1;
  if (dim < -have || dim >= have) return -1;
  return (int)(dim < 0 ? dim + have : dim);
}

void naive_position(const naive *t, int64_t at, int64_t *index) {
  for (int d = t->ndim - 1; d >= 0; d--) {
    index[d] = at % t->size[d];
    at /= t->size[d];
  }
}

int64_t naive_offset(const naive *t, const int64_t *index) {
  int64_t at = 0;
  for (int d = 0; d < t->ndim; d++) at = at * t->size[d] + index[d];
  return at;
}

bool naive_same_shape(const naive *a, const naive *b) {
  return a->ndim == b->ndim && memcmp(a->size, b->size, (size_t)a->ndim * sizeof a->size[0]) == 0;
}

bool naive_broadcast(const naive *a, const naive *b, naive *out) {
  out->ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
  for (int d = 0; d < out->ndim; d++) {
    int da = d - (out->ndim - a->ndim), db = d - (out->ndim - b->ndim);
    int64_t sa = da < 0 ? 1 : a->size[da], sb = db < 0 ? 1 : b->size[db];
    if (sa != sb && sa != 1 && sb != 1) return false;
    out->size[d] = sa == 1 ? sb : sa;
  }
  return true;
}

int64_t naive_under(const naive *t, int ndim, const int64_t *index) {
  int64_t at = 0;
  for (int d = 0; d < t->ndim; d++) at = at * t->size[d] + (t->size[d] == 1 ? 0 : index[ndim - t->ndim + d]);
  return at;
}

bool naive_meet(const naive *a, const naive *b, naive *out) {
  naive met = {.dtype = naive_promote(a, b)};
  if (!naive_broadcast(a, b, &met)) return false;
  *out = met; /* which may be a */
  return true;
}

long double naive_wrap(lurn_dtype dtype, uint64_t bits) {
  return naive_convert((long double)(int64_t)bits, LURN_INT64, dtype);
}

bool naive_is_index(const naive *t) { return !naive_is_float(t->dtype) && t->dtype != LURN_BOOL; }

bool naive_shaped(const naive *t, int ndim, int64_t a, int64_t b, int64_t c) {
  const int64_t want[] = {a, b, c};
  return t == NULL || (t->ndim == ndim && memcmp(t->size, want, (size_t)ndim * sizeof *want) == 0);
}

bool naive_all_float(const naive_call *call) {
  for (int k = 0; k < call->n_in; k++)
    if (call->in[k] != NULL && !naive_is_float(call->in[k]->dtype)) return false;
  return true;
}

bool naive_begin_moves(naive_call *call, int ndim, const int64_t *size) {
  if (!naive_out(call, 0, call->in[0]->dtype, ndim, size)) return false;
  call->source = naive_alloc(call->out[0].n, sizeof *call->source);
  return call->source != NULL;
}

naive_verdict naive_end_moves(naive_call *call) {
  naive *out = &call->out[0];
  for (int64_t i = 0; i < out->n; i++) out->value[i] = call->source[i] < 0 ? 0 : call->in[0]->value[call->source[i]];
  return NAIVE_GIVEN;
}

bool naive_is_tame(const naive_call *call) {
  for (int k = 0; k < call->n_in; k++) {
    const naive *t = call->in[k];
    for (int64_t i = 0; t != NULL && i < t->n; i++)
      if (!(fabsl(t->value[i]) <= 1e6L) || (t->value[i] != 0 && fabsl(t->value[i]) < 1e-6L)) return false;
  }
  return true;
}

/* ---- Dispatch ---------------------------------------------------------------------------------------------- */

static naive_fn *find(const naive_op *list, const char *name) {
  for (; list->name != NULL; list++)
    if (strcmp(list->name, name) == 0) return list->fn;
  return NULL;
}

/* In place these bring results of another dtype to the target's; the others refuse. */
static bool converts(const char *op) {
  static const char *const list[] = {"eq",      "ne",          "lt",          "le",         "gt",
                                     "ge",      "logical_and", "logical_xor", "logical_or", "cumsum",
                                     "cumprod", "logical_not", "lerp"};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (strcmp(list[i], op) == 0) return true;
  return false;
}

/* A result that goes into in[0]: of its shape and dtype. */
static naive_verdict in_place(naive_call *call) {
  naive *out = &call->out[0];
  const naive *target = call->in[0];
  if (!naive_same_shape(out, target)) return NAIVE_REFUSED;
  if (out->dtype == target->dtype) return NAIVE_GIVEN;
  if (!converts(call->op->name)) return NAIVE_REFUSED;
  for (int64_t i = 0; i < out->n; i++) out->value[i] = naive_convert(out->value[i], out->dtype, target->dtype);
  if (target->dtype == LURN_FLOAT32) call->ulps += 1; /* the second rounding */
  out->dtype = target->dtype;
  return NAIVE_GIVEN;
}

static naive_fn *counterpart(const char *name) {
  const naive_op *lists[] = {naive_elementwise, naive_moves,  naive_picks,  naive_reductions,
                             naive_sorts,       naive_layers, naive_losses, naive_recurrent};
  naive_fn *fn = NULL;
  for (size_t i = 0; fn == NULL && i < sizeof lists / sizeof *lists; i++) fn = find(lists[i], name);
  return fn;
}

bool naive_knows(const char *name) { return counterpart(name) != NULL; }

naive_verdict naive_run(naive_call *call) {
  naive_fn *fn = counterpart(call->op->name);
  call->ulps = 1;
  if (fn == NULL) return NAIVE_UNKNOWN;
  naive_verdict verdict = fn(call);
  return verdict == NAIVE_GIVEN && call->inplace ? in_place(call) : verdict;
}
