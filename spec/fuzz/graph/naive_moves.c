/* Ops that only move elements: views, diagonals, other arrangements, joining. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "naive.h"

static naive_verdict in_order(naive_call *call, int ndim, const int64_t *size) {
  if (!naive_begin_moves(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) call->source[i] = i;
  return naive_end_moves(call);
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
  if (!naive_begin_moves(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t to[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, to);
    for (int d = 0; d < x->ndim; d++) from[order[d]] = to[d];
    call->source[i] = naive_offset(x, from);
  }
  return naive_end_moves(call);
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

/* Every step-th of the places along dim from start, `count` of them, without dim when it goes. */
static naive_verdict window(naive_call *call, int dim, int64_t start, int64_t step, int64_t count, bool drop) {
  const naive *x = call->in[0];
  int64_t size[LURN_MAX_DIMS];
  int ndim = 0;
  for (int d = 0; d < x->ndim; d++)
    if (d != dim || !drop) size[ndim++] = d == dim ? count : x->size[d];
  if (!naive_begin_moves(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t to[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, to);
    for (int d = 0, k = 0; d < x->ndim; d++) from[d] = d != dim ? to[k++] : drop ? start : start + step * to[k++];
    call->source[i] = naive_offset(x, from);
  }
  return naive_end_moves(call);
}

static naive_verdict run_narrow(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (x->ndim == 0 || dim < 0) return NAIVE_REFUSED;
  int64_t start = call->number[2] + (call->number[2] < 0 ? x->size[dim] : 0), length = call->number[3];
  if (start < 0 || length < 0 || start + length > x->size[dim]) return NAIVE_REFUSED;
  return window(call, dim, start, 1, length, false);
}

static naive_verdict run_slice(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (x->ndim == 0 || dim < 0 || call->number[4] < 1) return NAIVE_REFUSED;
  int64_t size = x->size[dim], count = 0, first = call->number[2] + (call->number[2] < 0 ? size : 0),
          last = call->number[3] + (call->number[3] < 0 ? size : 0);
  if (first < 0 || last >= size || last < first - 1) return NAIVE_REFUSED;
  for (int64_t at = first; at <= last; at += call->number[4]) count++;
  return window(call, dim, first, call->number[4], count, false);
}

static naive_verdict run_select(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  if (x->ndim == 0 || dim < 0) return NAIVE_REFUSED;
  int64_t at = call->number[2] + (call->number[2] < 0 ? x->size[dim] : 0);
  if (at < 0 || at >= x->size[dim]) return NAIVE_REFUSED;
  return window(call, dim, at, 1, 1, true);
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
  if (!naive_begin_moves(call, (int)sizes.count, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    call->source[i] = naive_under(x, call->out[0].ndim, index);
  }
  return naive_end_moves(call);
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
  if (!naive_begin_moves(call, x->ndim, x->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(x, i, index);
    for (int d = 0; d < x->ndim; d++)
      if (flipped[d] || dims.count == 0) index[d] = x->size[d] - 1 - index[d];
    call->source[i] = naive_offset(x, index);
  }
  return naive_end_moves(call);
}

static naive_verdict run_roll(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[2], x->ndim);
  if (dim < 0) return NAIVE_REFUSED;
  if (!naive_begin_moves(call, x->ndim, x->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(x, i, index);
    if (x->ndim > 0) {
      int64_t n = x->size[dim];
      index[dim] = ((index[dim] - call->number[1] % n) % n + n) % n;
    }
    call->source[i] = naive_offset(x, index);
  }
  return naive_end_moves(call);
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
  if (!naive_begin_moves(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    for (int d = 0; d < x->ndim; d++) from[d] = index[ndim - x->ndim + d] % x->size[d];
    call->source[i] = naive_offset(x, from);
  }
  return naive_end_moves(call);
}

static naive_verdict run_pad(naive_call *call) {
  const naive *x = call->in[0];
  int dim = naive_dim(call->number[1], x->ndim);
  int64_t before = call->number[2], after = call->number[3], size[LURN_MAX_DIMS];
  if (x->ndim == 0 || dim < 0 || before < 0 || after < 0) return NAIVE_REFUSED;
  memcpy(size, x->size, sizeof size);
  size[dim] += before + after;
  if (!naive_begin_moves(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t index[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, index);
    index[dim] -= before;
    bool inside = index[dim] >= 0 && index[dim] < x->size[dim];
    call->source[i] = inside ? naive_offset(x, index) : -1;
  }
  naive_end_moves(call);
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

/* ---- Diagonals --------------------------------------------------------------------------------------------- */

static int64_t on_diagonal(int64_t rows, int64_t columns, int64_t offset) {
  int64_t count = 0;
  for (int64_t i = 0; i < rows; i++) count += i + offset >= 0 && i + offset < columns;
  return count;
}

static naive_verdict take_diagonal(naive_call *call, int64_t offset, int a, int b) {
  const naive *x = call->in[0];
  int64_t size[LURN_MAX_DIMS];
  int ndim = 0;
  for (int d = 0; d < x->ndim; d++)
    if (d != a && d != b) size[ndim++] = x->size[d];
  size[ndim++] = on_diagonal(x->size[a], x->size[b], offset);
  if (!naive_begin_moves(call, ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t at[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
    int next = 0;
    naive_position(&call->out[0], i, at);
    for (int d = 0; d < x->ndim; d++)
      if (d != a && d != b) from[d] = at[next++];
    from[a] = at[next] + (offset < 0 ? -offset : 0);
    from[b] = at[next] + (offset > 0 ? offset : 0);
    call->source[i] = naive_offset(x, from);
  }
  return naive_end_moves(call);
}

static naive_verdict run_diagonal(naive_call *call) {
  const naive *x = call->in[0];
  int a = naive_dim(call->number[2], x->ndim), b = naive_dim(call->number[3], x->ndim);
  if (x->ndim < 2 || a < 0 || b < 0 || a == b) return NAIVE_REFUSED;
  return take_diagonal(call, call->number[1], a, b);
}

static naive_verdict run_diag(naive_call *call) {
  const naive *x = call->in[0];
  int64_t offset = call->number[1], n = x->n + (offset < 0 ? -offset : offset);
  if (x->ndim == 2) return take_diagonal(call, offset, 0, 1);
  if (x->ndim != 1) return NAIVE_REFUSED;
  if (!naive_begin_moves(call, 2, (int64_t[]){n, n})) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < n * n; i++) {
    int64_t row = i / n, column = i % n;
    call->source[i] = column - row != offset ? -1 : offset < 0 ? column : row;
  }
  return naive_end_moves(call);
}

static naive_verdict run_triangle(naive_call *call) {
  const naive *x = call->in[0];
  bool lower = call->op->name[3] == 'l';
  if (x->ndim < 2) return NAIVE_REFUSED;
  if (!naive_begin_moves(call, x->ndim, x->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < x->n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(x, i, at);
    int64_t above = at[x->ndim - 1] - at[x->ndim - 2] - call->number[1];
    call->source[i] = (lower ? above > 0 : above < 0) ? -1 : i;
  }
  return naive_end_moves(call);
}

const naive_op naive_moves[] = {{"view", run_reshape},
                                {"reshape", run_reshape},
                                {"clone", run_same},
                                {"contiguous", run_same},
                                {"transpose", run_transpose},
                                {"permute", run_permute},
                                {"narrow", run_narrow},
                                {"slice", run_slice},
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
                                {"diagonal", run_diagonal},
                                {"diag", run_diag},
                                {"tril", run_triangle},
                                {"triu", run_triangle},
                                {NULL, NULL}};
