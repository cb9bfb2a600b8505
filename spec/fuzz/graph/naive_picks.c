/* Elements picked and written by position: index and scatter with their kin, masks. */
#include <math.h>
#include <string.h>

#include "naive.h"

/* ---- Picking ----------------------------------------------------------------------------------------------- */

static bool indices_fit(const naive *index, int64_t base, int64_t size) {
  for (int64_t i = 0; i < index->n; i++)
    if (index->value[i] < base || index->value[i] >= (long double)base + size) return false;
  return true;
}

static naive_verdict run_index_select(naive_call *call) {
  const naive *x = call->in[0], *index = call->in[1];
  int dim = naive_dim(call->number[1], x->ndim);
  int64_t size[LURN_MAX_DIMS];
  if (index->ndim != 1 || x->ndim == 0 || dim < 0 || !naive_is_index(index)) return NAIVE_REFUSED;
  if (!indices_fit(index, call->number[3], x->size[dim])) return NAIVE_REFUSED;
  memcpy(size, x->size, sizeof size);
  size[dim] = index->n;
  if (!naive_begin_moves(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, at);
    at[dim] = (int64_t)index->value[at[dim]] - call->number[3];
    call->source[i] = naive_offset(x, at);
  }
  return naive_end_moves(call);
}

static naive_verdict run_gather(naive_call *call) {
  const naive *x = call->in[0], *index = call->in[1];
  int dim = naive_dim(call->number[1], x->ndim);
  if (dim < 0 || x->ndim == 0 || index->ndim != x->ndim || !naive_is_index(index)) return NAIVE_REFUSED;
  for (int d = 0; d < x->ndim; d++)
    if (d != dim && index->size[d] > x->size[d]) return NAIVE_REFUSED;
  if (!indices_fit(index, call->number[3], x->size[dim])) return NAIVE_REFUSED;
  if (!naive_begin_moves(call, x->ndim, index->size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < index->n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(index, i, at);
    at[dim] = (int64_t)index->value[i] - call->number[3];
    call->source[i] = naive_offset(x, at);
  }
  return naive_end_moves(call);
}

static naive_verdict run_embedding(naive_call *call) {
  const naive *ids = call->in[0], *weight = call->in[1];
  if (weight->ndim != 2 || !naive_is_float(weight->dtype) || ids->ndim == LURN_MAX_DIMS || !naive_is_index(ids))
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

/* ---- Lists of index tensors -------------------------------------------------------------------------------- */

/* What they pick: `picked` stands in place of the `covered` dimensions from dim on; at[i * covered + k] is the place of pick i
 * along the k-th of these. */
typedef struct picks {
  int dim, covered;
  naive picked;
  int64_t *at;
} picks;

static int width_of(const naive *t) { return t->dtype == LURN_BOOL ? t->ndim : 1; }

static int64_t count_true(const naive *mask) {
  int64_t count = 0;
  for (int64_t i = 0; i < mask->n; i++) count += mask->value[i] != 0;
  return count;
}

/* The shape that a tensor picks; false when it does not fit the dimensions of x from `first` on. */
static bool pick_shape(const naive *x, const naive *t, int first, int64_t base, naive *shape) {
  if (first + width_of(t) > x->ndim || naive_is_float(t->dtype)) return false;
  *shape = *t;
  if (t->dtype != LURN_BOOL) return indices_fit(t, base, x->size[first]);
  for (int d = 0; d < t->ndim; d++)
    if (t->size[d] != x->size[first + d]) return false;
  *shape = (naive){.ndim = 1, .size = {count_true(t)}};
  return true;
}

/* The elements of a mask that are true, in order; NULL without memory. */
static int64_t *true_elements(const naive *mask) {
  int64_t *list = naive_alloc(count_true(mask), sizeof *list), count = 0;
  for (int64_t i = 0; list != NULL && i < mask->n; i++)
    if (mask->value[i] != 0) list[count++] = i;
  return list;
}

static bool fill_places(const naive *t, const naive *shape, int64_t base, int first, picks *p) {
  int64_t *elements = t->dtype == LURN_BOOL ? true_elements(t) : NULL;
  if (t->dtype == LURN_BOOL && elements == NULL) return false;
  for (int64_t i = 0; i < p->picked.n; i++) {
    int64_t position[LURN_MAX_DIMS], under, *at = &p->at[i * p->covered + first];
    naive_position(&p->picked, i, position);
    under = naive_under(shape, p->picked.ndim, position);
    if (elements != NULL) naive_position(t, elements[under], at);
    else at[0] = (int64_t)t->value[under] - base;
  }
  return true;
}

static naive_verdict read_picks(const naive_call *call, int count, int64_t base, picks *p) {
  const naive *x = call->in[0];
  naive shape[NAIVE_IN], joined = {0};
  *p = (picks){.dim = naive_dim(call->number[1], x->ndim)};
  if (p->dim < 0) return NAIVE_REFUSED;
  for (int k = 0; k < count; k++) {
    if (!pick_shape(x, call->in[1 + k], p->dim + p->covered, base, &shape[k])) return NAIVE_REFUSED;
    if (!naive_broadcast(&joined, &shape[k], &p->picked)) return NAIVE_REFUSED;
    joined = p->picked;
    p->covered += width_of(call->in[1 + k]);
  }
  p->picked.n = 1;
  for (int d = 0; d < p->picked.ndim; d++) p->picked.n *= p->picked.size[d];
  p->at = naive_alloc(p->picked.n * p->covered, sizeof *p->at);
  if (p->at == NULL) return NAIVE_UNKNOWN;
  for (int k = 0, first = 0; k < count; first += width_of(call->in[1 + k]), k++)
    if (!fill_places(call->in[1 + k], &shape[k], base, first, p)) return NAIVE_UNKNOWN;
  return NAIVE_GIVEN;
}

/* x's shape with what was picked in place of the dimensions covered. */
static bool result_shape(const naive *x, const picks *p, naive *out) {
  *out = (naive){.ndim = x->ndim - p->covered + p->picked.ndim, .n = 1};
  if (out->ndim > LURN_MAX_DIMS) return false;
  for (int d = 0; d < out->ndim; d++) {
    int behind = d - p->picked.ndim + p->covered;
    out->size[d] = d < p->dim ? x->size[d] : d < p->dim + p->picked.ndim ? p->picked.size[d - p->dim] : x->size[behind];
    out->n *= out->size[d];
  }
  return true;
}

/* Which element of x the i-th of the result stands for. */
static int64_t picked_element(const naive *x, const picks *p, const naive *shape, int64_t i) {
  int64_t at[LURN_MAX_DIMS], from[LURN_MAX_DIMS];
  naive_position(shape, i, at);
  int64_t which = naive_offset(&p->picked, at + p->dim);
  for (int d = 0; d < x->ndim; d++)
    from[d] = d < p->dim                ? at[d]
              : d < p->dim + p->covered ? p->at[which * p->covered + d - p->dim]
                                        : at[d - p->covered + p->picked.ndim];
  return naive_offset(x, from);
}

static naive_verdict run_index(naive_call *call) {
  picks p;
  naive shape;
  naive_verdict verdict = read_picks(call, call->n_in - 1, call->number[3], &p);
  if (verdict != NAIVE_GIVEN) return verdict;
  if (!result_shape(call->in[0], &p, &shape)) return NAIVE_REFUSED;
  if (!naive_begin_moves(call, shape.ndim, shape.size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < shape.n; i++) call->source[i] = picked_element(call->in[0], &p, &shape, i);
  return naive_end_moves(call);
}

/* ---- Writing ----------------------------------------------------------------------------------------------- */

static bool copy_of_x(naive_call *call) {
  const naive *x = call->in[0];
  if (!naive_out(call, 0, x->dtype, x->ndim, x->size)) return false;
  memcpy(call->out[0].value, x->value, (size_t)x->n * sizeof *x->value);
  return true;
}

/* x with source, which broadcasts to what is picked, written there; of equal places the last stays. */
static naive_verdict put(naive_call *call, const picks *p, const naive *source) {
  const naive *x = call->in[0];
  naive shape, both;
  if (!result_shape(x, p, &shape)) return NAIVE_UNKNOWN; /* one value for a mask needs no list of places */
  if (!naive_broadcast(source, &shape, &both) || !naive_same_shape(&both, &shape)) return NAIVE_REFUSED;
  if (!copy_of_x(call)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < shape.n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(&shape, i, at);
    call->out[0].value[picked_element(x, p, &shape, i)] =
        naive_convert(source->value[naive_under(source, shape.ndim, at)], source->dtype, x->dtype);
  }
  return NAIVE_GIVEN;
}

static naive_verdict run_index_put(naive_call *call) {
  picks p;
  naive_verdict verdict = read_picks(call, call->n_in - 2, call->number[4], &p);
  return verdict == NAIVE_GIVEN ? put(call, &p, call->in[call->n_in - 1]) : verdict;
}

/* For ops with one index of one dimension. */
static naive_verdict read_one(const naive_call *call, int64_t base, picks *p) {
  if (call->in[1]->ndim != 1 || !naive_is_index(call->in[1]) || call->in[0]->ndim == 0) return NAIVE_REFUSED;
  return read_picks(call, 1, base, p);
}

static naive_verdict run_index_copy(naive_call *call) {
  picks p;
  naive shape;
  bool fill = strcmp(call->op->name, "index_fill") == 0;
  naive_verdict verdict = read_one(call, call->number[4], &p);
  if (verdict != NAIVE_GIVEN) return verdict;
  result_shape(call->in[0], &p, &shape);
  if (fill ? call->in[2]->ndim != 0 : !naive_same_shape(call->in[2], &shape)) return NAIVE_REFUSED;
  return put(call, &p, call->in[2]);
}

/* x + v in x's dtype; the margin gathers what went in. */
static void add_to(naive *out, int64_t at, long double v) {
  if (naive_is_float(out->dtype)) {
    if (out->margin[at] == 0) out->margin[at] = fabsl(out->value[at]);
    out->margin[at] += fabsl(v);
    out->value[at] += v;
  } else if (out->dtype == LURN_BOOL) {
    out->value[at] = out->value[at] != 0 || v != 0;
  } else {
    out->value[at] = naive_wrap(out->dtype, (uint64_t)(int64_t)out->value[at] + (uint64_t)(int64_t)v);
  }
}

/* alpha v, both in the dtype. */
static long double scaled(long double v, double alpha, lurn_dtype dtype) {
  if (naive_is_float(dtype)) return v * naive_convert(alpha, LURN_FLOAT64, dtype);
  if (dtype == LURN_BOOL) return v != 0 && alpha != 0;
  return naive_wrap(dtype, (uint64_t)(int64_t)v * (uint64_t)(int64_t)alpha);
}

static naive_verdict run_index_add(naive_call *call) {
  picks p;
  naive shape;
  const naive *x = call->in[0], *source = call->in[2];
  double alpha = call->real[4];
  naive_verdict verdict = read_one(call, call->number[5], &p);
  if (verdict != NAIVE_GIVEN) return verdict;
  result_shape(x, &p, &shape);
  if (!naive_same_shape(source, &shape)) return NAIVE_REFUSED;
  if (!naive_is_float(x->dtype) && (!(fabs(alpha) < 0x1p63) || alpha != floor(alpha))) return NAIVE_REFUSED;
  if (!copy_of_x(call)) return NAIVE_UNKNOWN;
  call->ulps = naive_is_tame(call) && isfinite(alpha) ? 3 + (double)p.picked.n : INFINITY;
  if (!naive_is_float(x->dtype)) call->ulps = 1;
  for (int64_t i = 0; i < shape.n; i++)
    add_to(&call->out[0], picked_element(x, &p, &shape, i),
           scaled(naive_convert(source->value[i], source->dtype, x->dtype), alpha, x->dtype));
  return NAIVE_GIVEN;
}

/* ---- scatter ----------------------------------------------------------------------------------------------- */

static bool scatter_fits(const naive *x, const naive *index, const naive *source, int dim, int64_t base) {
  if (dim < 0 || x->ndim == 0 || index->ndim != x->ndim || !naive_is_index(index)) return false;
  if (source->ndim != 0 && source->ndim != index->ndim) return false;
  for (int d = 0; d < x->ndim; d++)
    if ((d != dim && index->size[d] > x->size[d]) || (source->ndim > 0 && index->size[d] > source->size[d]))
      return false;
  return indices_fit(index, base, x->size[dim]);
}

static naive_verdict run_scatter(naive_call *call) {
  const naive *x = call->in[0], *index = call->in[1], *source = call->in[2];
  int dim = naive_dim(call->number[1], x->ndim);
  bool add = strcmp(call->op->name, "scatter_add") == 0;
  if (!scatter_fits(x, index, source, dim, call->number[4])) return NAIVE_REFUSED;
  if (!copy_of_x(call)) return NAIVE_UNKNOWN;
  if (add && naive_is_float(x->dtype)) call->ulps = naive_is_tame(call) ? 2 + (double)index->n : INFINITY;
  for (int64_t i = 0; i < index->n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(index, i, at);
    long double v = source->value[source->ndim > 0 ? naive_offset(source, at) : 0];
    v = naive_convert(v, source->dtype, x->dtype);
    at[dim] = (int64_t)index->value[i] - call->number[4];
    if (add) add_to(&call->out[0], naive_offset(x, at), v);
    else call->out[0].value[naive_offset(x, at)] = v;
  }
  return NAIVE_GIVEN;
}

/* ---- Masks ------------------------------------------------------------------------------------------------- */

static naive_verdict run_nonzero(naive_call *call) {
  const naive *x = call->in[0];
  if (!naive_out(call, 0, LURN_INT64, 2, (int64_t[]){count_true(x), x->ndim})) return NAIVE_UNKNOWN;
  for (int64_t i = 0, row = 0; i < x->n; i++) {
    int64_t at[LURN_MAX_DIMS];
    if (x->value[i] == 0) continue;
    naive_position(x, i, at);
    for (int d = 0; d < x->ndim; d++) call->out[0].value[row * x->ndim + d] = (long double)(at[d] + call->number[1]);
    row++;
  }
  return NAIVE_GIVEN;
}

/* Places of a mask that broadcasts to a shape; their number. */
static int64_t true_places(const naive *mask, const naive *shape, int64_t *places) {
  int64_t n = 1, count = 0;
  for (int d = 0; d < shape->ndim; d++) n *= shape->size[d];
  for (int64_t i = 0; i < n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(shape, i, at);
    if (mask->value[naive_under(mask, shape->ndim, at)] == 0) continue;
    if (places != NULL) places[count] = i;
    count++;
  }
  return count;
}

static naive_verdict run_masked_select(naive_call *call) {
  const naive *x = call->in[0], *mask = call->in[1];
  naive shape;
  if (mask->dtype != LURN_BOOL || !naive_broadcast(x, mask, &shape)) return NAIVE_REFUSED;
  int64_t count = true_places(mask, &shape, NULL), *places = naive_alloc(count, sizeof *places);
  if (places == NULL || !naive_begin_moves(call, 1, &count)) return NAIVE_UNKNOWN;
  true_places(mask, &shape, places);
  for (int64_t i = 0; i < count; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(&shape, places[i], at);
    call->source[i] = naive_under(x, shape.ndim, at);
  }
  return naive_end_moves(call);
}

static naive_verdict run_masked_scatter(naive_call *call) {
  const naive *x = call->in[0], *mask = call->in[1], *source = call->in[2];
  naive shape;
  if (mask->dtype != LURN_BOOL || !naive_broadcast(x, mask, &shape) || !naive_same_shape(&shape, x))
    return NAIVE_REFUSED;
  int64_t count = true_places(mask, x, NULL), *places = naive_alloc(count, sizeof *places);
  if (count > source->n) return NAIVE_REFUSED;
  if (places == NULL || !copy_of_x(call)) return NAIVE_UNKNOWN;
  true_places(mask, x, places);
  for (int64_t i = 0; i < count; i++)
    call->out[0].value[places[i]] = naive_convert(source->value[i], source->dtype, x->dtype);
  return NAIVE_GIVEN;
}

/* ---- Copies ------------------------------------------------------------------------------------------------ */

static naive_verdict run_one_hot(naive_call *call) {
  const naive *ids = call->in[0];
  int64_t classes = call->number[1], base = call->number[2], size[LURN_MAX_DIMS];
  if (classes == 0 || classes < -1 || (classes == -1 && ids->n == 0)) return NAIVE_REFUSED;
  if (ids->ndim == LURN_MAX_DIMS || !naive_is_index(ids)) return NAIVE_REFUSED;
  for (int64_t i = 0; i < ids->n && call->number[1] == -1; i++) {
    if (ids->value[i] > 1e5L) return NAIVE_UNKNOWN; /* as large as memory */
    if (classes < (int64_t)ids->value[i] + 1 - base) classes = (int64_t)ids->value[i] + 1 - base;
  }
  if (!indices_fit(ids, base, classes)) return NAIVE_REFUSED;
  memcpy(size, ids->size, sizeof size);
  size[ids->ndim] = classes;
  if (!naive_out(call, 0, LURN_INT64, ids->ndim + 1, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < ids->n; i++) call->out[0].value[i * classes + (int64_t)ids->value[i] - base] = 1;
  return NAIVE_GIVEN;
}

static naive_verdict run_repeat_interleave(naive_call *call) {
  const naive *x = call->in[0], *repeats = call->in[1];
  int dim = naive_dim(call->number[2], x->ndim);
  if (x->ndim == 0 || dim < 0 || !naive_is_index(repeats) || repeats->ndim > 1) return NAIVE_REFUSED;
  int64_t n = x->size[dim], size[LURN_MAX_DIMS], total = 0;
  if (repeats->n != 1 && repeats->n != n) return NAIVE_REFUSED;
  int64_t *from = naive_alloc(20000, sizeof *from);
  if (from == NULL) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < n; i++)
    if (repeats->value[repeats->n == 1 ? 0 : i] < 0) return NAIVE_REFUSED;
  for (int64_t i = 0; i < n; i++) {
    long double times = repeats->value[repeats->n == 1 ? 0 : i];
    if ((long double)total + times > 20000) return NAIVE_UNKNOWN;
    for (int64_t k = 0; k < (int64_t)times; k++) from[total++] = i;
  }
  memcpy(size, x->size, sizeof size);
  size[dim] = total;
  if (!naive_begin_moves(call, x->ndim, size)) return NAIVE_UNKNOWN;
  for (int64_t i = 0; i < call->out[0].n; i++) {
    int64_t at[LURN_MAX_DIMS];
    naive_position(&call->out[0], i, at);
    at[dim] = from[at[dim]];
    call->source[i] = naive_offset(x, at);
  }
  return naive_end_moves(call);
}

const naive_op naive_picks[] = {{"index_select", run_index_select},
                                {"gather", run_gather},
                                {"embedding", run_embedding},
                                {"index", run_index},
                                {"index_put", run_index_put},
                                {"index_copy", run_index_copy},
                                {"index_fill", run_index_copy},
                                {"index_add", run_index_add},
                                {"scatter", run_scatter},
                                {"scatter_add", run_scatter},
                                {"nonzero", run_nonzero},
                                {"masked_select", run_masked_select},
                                {"masked_scatter", run_masked_scatter},
                                {"one_hot", run_one_hot},
                                {"repeat_interleave", run_repeat_interleave},
                                {NULL, NULL}};
