/* Ops that only move elements: views, other arrangements, joining and picking, sorting. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "naive.h"

/* Fills out[0] with in[0]'s elements as told by source, which the caller fills in between: begin, fill, end. */
static bool begin(naive_call *call, int ndim, const int64_t *size) {
  if (!naive_out(call, 0, call->in[0]->dtype, ndim, size)) return false;
  call->source = naive_alloc(call->out[0].n, sizeof *call->source);
  return call->source != NULL;
}

static naive_verdict end(naive_call *call) {
  naive *out = &call->out[0];
  for (int64_t i = 0; i < out->n; i++) out->value[i] = call->source[i] < 0 ? 0 : call->in[0]->value[call->source[i]];
  return NAIVE_GIVEN;
}

static naive_verdict in_order(naive_call *call, int ndim, const int64_t *size) {
  if (!begin(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) call->source[i] = i;
  return end(call);
}

/* ---- Views ------------------------------------------------------------------------------------------------- */

/* view, which may be impossible for a memory layout, is not judged when it fails. */
static naive_verdict run_reshape(naive_call *call) {
  const naive *x = call->in[0];
  lurn_ints sizes = call->ints[1];
  int64_t size[LURN_MAX_DIMS], known = 1, open = -1;
  if (sizes.count > LURN_MAX_DIMS) return NAIVE_REFUSED;
  for (int d = 0; d < (int)sizes.count; d++) {
    size[d] = sizes.values[d];
    if (size[d] < -1 || (size[d] == -1 && open >= 0)) return NAIVE_REFUSED;
    if (size[d] == -1) open = d;
    else if (size[d] > 1 << 20) return NAIVE_REFUSED;
    else known *= size[d];
  }
  if (open >= 0) {
    if (known == 0 ? x->n != 0 : x->n % known != 0) return NAIVE_REFUSED;
    size[open] = known == 0 ? 0 : x->n / known;
    known *= size[open];
  }
  if (known != x->n) return NAIVE_REFUSED;
  return in_order(call, (int)sizes.count, size);
}

static naive_verdict run_same(naive_call *call) { return in_order(call, call->in[0]->ndim, call->in[0]->size); }

static naive_verdict reordered(naive_call *call, const int *order) {
  const naive *x = call->in[0];
  int64_t size[LURN_MAX_DIMS];
  for (int d = 0; d < x->ndim; d++) size[d] = x->size[order[d]];
  if (!begin(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t to[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, to);
    for (int d = 0; d < x->ndim; d++) from[order[d]] = to[d];
    call->source[i] = naive_offset(x, from);
  }
  return end(call);
}

static naive_verdict run_transpose(naive_call *call) {
  int order[LURN_MAX_DIMS] = {0}, ndim = call->in[0]->ndim;
  int a = naive_dim(call->number[1], ndim), b = naive_dim(call->number[2], ndim);
  if (a < 0 || b < 0) return NAIVE_REFUSED;
  for (int d = 0; d < ndim; d++) order[d] = d == a ? b : d == b ? a : d;
  return reordered(call, order);
}

static naive_verdict run_permute(naive_call *call) {
  int order[LURN_MAX_DIMS], ndim = call->in[0]->ndim;
  lurn_ints dims = call->ints[1];
  bool seen[LURN_MAX_DIMS] = {0};
  if (dims.count != ndim) return NAIVE_REFUSED;
  for (int d = 0; d < ndim; d++) {
    order[d] = naive_dim(dims.values[d], ndim);
    if (order[d] < 0 || seen[order[d]]) return NAIVE_REFUSED;
    seen[order[d]] = true;
  }
  return reordered(call, order);
}

/* `count` places along dim from start, without dim when it goes. */
static naive_verdict window(naive_call *call, int dim, int64_t start, int64_t count, bool drop) {
  const naive *x = call->in[0];
  int64_t size[LURN_MAX_DIMS];
  int ndim = 0;
  for (int d = 0; d < x->ndim; d++)
    if (d != dim || !drop) size[ndim++] = d == dim ? count : x->size[d];
  if (!begin(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t to[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, to);
    for (int d = 0, k = 0; d < x->ndim; d++) from[d] = d == dim && drop ? start : to[k++] + (d == dim ? start : 0);
    call->source[i] = naive_offset(x, from);
  }
  return end(call);
}

static naive_verdict run_narrow(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (x->ndim == 0 || dim < 0) return NAIVE_REFUSED;
  int64_t start = call->number[2] + (call->number[2] < 0 ? x->size[dim] : 0), length = call->number[3];
  if (start < 0 || length < 0 || start + length > x->size[dim]) return NAIVE_REFUSED;
  return window(call, dim, start, length, false);
}

static naive_verdict run_select(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (x->ndim == 0 || dim < 0) return NAIVE_REFUSED;
  int64_t at = call->number[2] + (call->number[2] < 0 ? x->size[dim] : 0);
  if (at < 0 || at >= x->size[dim]) return NAIVE_REFUSED;
  return window(call, dim, at, 1, true);
}

static naive_verdict run_expand(naive_call *call) {
  const naive *x = call->in[0];
  lurn_ints sizes = call->ints[1];
  int64_t size[LURN_MAX_DIMS];
  if (sizes.count < x->ndim || sizes.count > LURN_MAX_DIMS) return NAIVE_REFUSED;
  for (int d = 0; d < (int)sizes.count; d++) {
    int from = d - (int)(sizes.count - x->ndim);
    int64_t have = from < 0 ? 1 : x->size[from];
    size[d] = sizes.values[d] == -1 && from >= 0 ? have : sizes.values[d];
    if (size[d] < 0 || (have != 1 && size[d] != have)) return NAIVE_REFUSED;
  }
  if (!begin(call, (int)sizes.count, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    call->source[i] = naive_under(x, call->out[0].ndim, index);
  }
  return end(call);
}

static naive_verdict run_squeeze(naive_call *call) {
  const naive *x = call->in[0];
  int64_t size[LURN_MAX_DIMS];
  int dim = naive_dim(call->number[1], x->ndim), ndim = 0;
  if (dim < 0) return NAIVE_REFUSED;
  for (int d = 0; d < x->ndim; d++)
    if (d != dim || x->size[d] != 1) size[ndim++] = x->size[d];
  return in_order(call, ndim, size);
}

static naive_verdict run_unsqueeze(naive_call *call) {
  const naive *x = call->in[0];
  int64_t size[LURN_MAX_DIMS];
  int dim = naive_dim(call->number[1], x->ndim + 1);
  if (dim < 0 || x->ndim == LURN_MAX_DIMS) return NAIVE_REFUSED;
  for (int d = 0; d <= x->ndim; d++) size[d] = d == dim ? 1 : x->size[d < dim ? d : d - 1];
  return in_order(call, x->ndim + 1, size);
}

/* ---- Other arrangements ------------------------------------------------------------------------------------ */

static naive_verdict run_flip(naive_call *call) {
  const naive *x = call->in[0];
  lurn_ints dims = call->ints[1];
  bool flipped[LURN_MAX_DIMS] = {0};
  for (int64_t k = 0; k < dims.count; k++) {
    int dim = naive_dim(dims.values[k], x->ndim);
    if (dim < 0 || flipped[dim]) return NAIVE_REFUSED;
    flipped[dim] = true;
  }
  if (!begin(call, x->ndim, x->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(x, i, index);
    for (int d = 0; d < x->ndim; d++)
      if (flipped[d] || dims.count == 0) index[d] = x->size[d] - 1 - index[d];
    call->source[i] = naive_offset(x, index);
  }
  return end(call);
}

static naive_verdict run_roll(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[2], x->ndim);
  if (dim < 0) return NAIVE_REFUSED;
  if (!begin(call, x->ndim, x->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(x, i, index);
    if (x->ndim > 0) {
      int64_t n = x->size[dim];
      index[dim] = ((index[dim] - call->number[1] % n) % n + n) % n;
    }
    call->source[i] = naive_offset(x, index);
  }
  return end(call);
}

static naive_verdict run_tile(naive_call *call) {
  const naive *x = call->in[0];
  lurn_ints times = call->ints[1];
  int ndim = times.count > x->ndim ? (int)times.count : x->ndim;
  int64_t size[LURN_MAX_DIMS];
  if (times.count > LURN_MAX_DIMS) return NAIVE_REFUSED;
  for (int d = 0; d < ndim; d++) {
    int of_x = d - (ndim - x->ndim), of_times = d - (ndim - (int)times.count);
    int64_t copies = of_times < 0 ? 1 : times.values[of_times];
    if (copies < 0) return NAIVE_REFUSED;
    size[d] = copies * (of_x < 0 ? 1 : x->size[of_x]);
  }
  if (!begin(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    for (int d = 0; d < x->ndim; d++) from[d] = index[ndim - x->ndim + d] % x->size[d];
    call->source[i] = naive_offset(x, from);
  }
  return end(call);
}

static naive_verdict run_pad(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  int64_t before = call->number[2], after = call->number[3], size[LURN_MAX_DIMS];
  if (x->ndim == 0 || dim < 0 || before < 0 || after < 0) return NAIVE_REFUSED;
  memcpy(size, x->size, sizeof size);
  size[dim] += before + after;
  if (!begin(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    index[dim] -= before;
    bool inside = index[dim] >= 0 && index[dim] < x->size[dim];
    call->source[i] = inside ? naive_offset(x, index) : -1;
  }
  end(call);
  for (int64_t i = 0; i < call->out[0].n; i++)
    if (call->source[i] < 0) call->out[0].value[i] = naive_convert(call->real[4], LURN_FLOAT64, x->dtype);
  return NAIVE_GIVEN;
}

/* ---- Joining ----------------------------------------------------------------------------------------------- */

static lurn_dtype joined_dtype(const naive_call *call) {
  lurn_dtype dtype = call->in[0]->dtype;
  for (int k = 1; k < call->n_in; k++) dtype = naive_promote_plain(dtype, call->in[k]->dtype);
  return dtype;
}

static naive_verdict run_cat(naive_call *call) {
  if (call->n_in == 0 || call->in[0]->ndim == 0) return NAIVE_REFUSED;
  const naive *first = call->in[0];
  int dim = naive_dim(call->number[1], first->ndim);
  int64_t size[LURN_MAX_DIMS];
  if (dim < 0) return NAIVE_REFUSED;
  memcpy(size, first->size, sizeof size);
  for (int k = 1; k < call->n_in; k++) {
    if (call->in[k]->ndim != first->ndim) return NAIVE_REFUSED;
    for (int d = 0; d < first->ndim; d++)
      if (d != dim && call->in[k]->size[d] != size[d]) return NAIVE_REFUSED;
    size[dim] += call->in[k]->size[dim];
  }
  if (!naive_out(call, 0, joined_dtype(call), first->ndim, size)) return NAIVE_UNKNOWN;
  naive *out = &call->out[0];
  for (int64_t i = 0; i < out->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    int k = 0;
    naive_position(out, i, index);
    for (; index[dim] >= call->in[k]->size[dim]; k++) index[dim] -= call->in[k]->size[dim];
    out->value[i] = naive_convert(call->in[k]->value[naive_offset(call->in[k], index)], call->in[k]->dtype, out->dtype);
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_stack(naive_call *call) {
  if (call->n_in == 0) return NAIVE_REFUSED;
  const naive *first = call->in[0];
  int dim = naive_dim(call->number[1], first->ndim + 1);
  int64_t size[LURN_MAX_DIMS];
  if (dim < 0 || first->ndim == LURN_MAX_DIMS) return NAIVE_REFUSED;
  for (int k = 1; k < call->n_in; k++)
    if (!naive_same_shape(call->in[k], first)) return NAIVE_REFUSED;
  for (int d = 0; d <= first->ndim; d++) size[d] = d == dim ? call->n_in : first->size[d < dim ? d : d - 1];
  if (!naive_out(call, 0, joined_dtype(call), first->ndim + 1, size)) return NAIVE_UNKNOWN;
  naive *out = &call->out[0];
  for (int64_t i = 0; i < out->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(out, i, index);
    int64_t k = index[dim];
    memmove(index + dim, index + dim + 1, (size_t)(first->ndim - dim) * sizeof *index);
    out->value[i] = naive_convert(call->in[k]->value[naive_offset(first, index)], call->in[k]->dtype, out->dtype);
  }
  return NAIVE_GIVEN;
}

/* ---- Picking ----------------------------------------------------------------------------------------------- */

static bool indices_fit(const naive *index, int64_t base, int64_t size) {
  for (int64_t i = 0; i < index->n; i++)
    if (index->value[i] < base || index->value[i] >= (long double)base + size) return false;
  return true;
}

static bool is_index(const naive *t) { return !naive_is_float(t->dtype) && t->dtype != LURN_BOOL; }

static naive_verdict run_index_select(naive_call *call) {
  const naive *x = call->in[0], *index = call->in[1];
  int dim = naive_dim(call->number[1], x->ndim);
  int64_t size[LURN_MAX_DIMS];
  if (index->ndim != 1 || x->ndim == 0 || dim < 0 || !is_index(index)) return NAIVE_REFUSED;
  if (!indices_fit(index, call->number[3], x->size[dim])) return NAIVE_REFUSED;
  memcpy(size, x->size, sizeof size);
  size[dim] = index->n;
  if (!begin(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, at);
    at[dim] = (int64_t)index->value[at[dim]] - call->number[3];
    call->source[i] = naive_offset(x, at);
  }
  return end(call);
}

static naive_verdict run_gather(naive_call *call) {
  const naive *x = call->in[0], *index = call->in[1];
  int dim = naive_dim(call->number[1], x->ndim);
  if (dim < 0 || x->ndim == 0 || index->ndim != x->ndim || !is_index(index)) return NAIVE_REFUSED;
  for (int d = 0; d < x->ndim; d++)
    if (d != dim && index->size[d] > x->size[d]) return NAIVE_REFUSED;
  if (!indices_fit(index, call->number[3], x->size[dim])) return NAIVE_REFUSED;
  if (!begin(call, x->ndim, index->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < index->n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(index, i, at);
    at[dim] = (int64_t)index->value[i] - call->number[3];
    call->source[i] = naive_offset(x, at);
  }
  return end(call);
}

static naive_verdict run_embedding(naive_call *call) {
  const naive *ids = call->in[0], *weight = call->in[1];
  if (weight->ndim != 2 || !naive_is_float(weight->dtype) || ids->ndim == LURN_MAX_DIMS || !is_index(ids))
    return NAIVE_REFUSED;
  if (!indices_fit(ids, call->number[2], weight->size[0])) return NAIVE_REFUSED;
  int64_t size[LURN_MAX_DIMS + 1], features = weight->size[1];
  memcpy(size, ids->size, sizeof ids->size);
  size[ids->ndim] = features;
  if (!naive_out(call, 0, weight->dtype, ids->ndim + 1, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++)
    call->out[0].value[i] =
        weight->value[((int64_t)ids->value[i / features] - call->number[2]) * features + i % features];
  return NAIVE_GIVEN;
}

/* ---- Sorting ----------------------------------------------------------------------------------------------- */

/* Whether a comes before b; NaN counts as largest. */
static bool before(long double a, long double b, bool falling) {
  if (isnan(a) || isnan(b)) return falling ? isnan(a) && !isnan(b) : !isnan(a) && isnan(b);
  return falling ? a > b : a < b;
}

static naive_verdict sorted(naive_call *call, int64_t which, int64_t k, bool falling, int64_t base) {
  const naive *x = call->in[0];
  int dim = naive_dim(which, x->ndim);
  if (dim < 0) return NAIVE_REFUSED;
  int64_t n = x->ndim > 0 ? x->size[dim] : 1, size[LURN_MAX_DIMS];
  if (k > n) return NAIVE_REFUSED;
  if (x->ndim == 0 && k != 1) return NAIVE_UNKNOWN;
  memcpy(size, x->size, sizeof size);
  if (x->ndim > 0) size[dim] = k;
  if (!naive_out(call, 0, x->dtype, x->ndim, size) || !naive_out(call, 1, LURN_INT64, x->ndim, size))
    return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t at[LURN_MAX_DIMS], own, rank = 0;
    naive_position(x, i, at);
    own = x->ndim > 0 ? at[dim] : 0;
    for (int64_t j = 0; j < n && x->ndim > 0; j++) {
      at[dim] = j;
      long double other = x->value[naive_offset(x, at)];
      rank += before(other, x->value[i], falling) || (j < own && !before(x->value[i], other, falling));
    }
    if (rank >= k) continue;
    if (x->ndim > 0) at[dim] = rank;
    int64_t to = naive_offset(&call->out[0], at);
    call->out[0].value[to] = x->value[i];
    call->out[1].value[to] = own + base;
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_sort(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (x->n > 2000) return NAIVE_UNKNOWN; /* counting takes the square of the length */
  return sorted(call, call->number[1], dim >= 0 && x->ndim > 0 ? x->size[dim] : 1, call->number[2], call->number[3]);
}

static naive_verdict run_topk(naive_call *call) {
  if (call->number[1] < 0) return NAIVE_REFUSED;
  if (call->in[0]->n > 2000) return NAIVE_UNKNOWN;
  if (!call->number[4]) return NAIVE_UNKNOWN; /* in the order of places */
  return sorted(call, call->number[2], call->number[1], call->number[3], call->number[5]);
}

const naive_op naive_moves[] = {{"view", run_reshape},
                                {"reshape", run_reshape},
                                {"clone", run_same},
                                {"contiguous", run_same},
                                {"transpose", run_transpose},
                                {"permute", run_permute},
                                {"narrow", run_narrow},
                                {"select", run_select},
                                {"expand", run_expand},
                                {"squeeze", run_squeeze},
                                {"unsqueeze", run_unsqueeze},
                                {"flip", run_flip},
                                {"roll", run_roll},
                                {"tile", run_tile},
                                {"pad", run_pad},
                                {"cat", run_cat},
                                {"stack", run_stack},
                                {"index_select", run_index_select},
                                {"gather", run_gather},
                                {"embedding", run_embedding},
                                {"sort", run_sort},
                                {"topk", run_topk},
                                {NULL, NULL}};
