/* Slices picked by tensors of positions and by masks, and written there. */
#include "ops/index.h"

#include <math.h>
#include <string.h>

#include "ops/loop.h"

/* ---- Which slices ------------------------------------------------------------------------------------------ */

/* Neighbouring dimensions of x that index tensors stand for, seen as the middle of (outer, size, inner). */
typedef struct picking {
  int dim, covered; /* the first one, and how many */
  int64_t outer, size, inner;
  lurn__shape shape; /* of the result: what was picked stands in their place */
} picking;

static int dims_covered(lurn_dtype dtype, const lurn__shape *shape) { return dtype == LURN_BOOL ? shape->ndim : 1; }

static void split_shape(const lurn__shape *x, picking *p) {
  p->outer = p->size = p->inner = 1;
  for (int i = 0; i < x->ndim; i++) {
    int64_t *part = i < p->dim ? &p->outer : i < p->dim + p->covered ? &p->size : &p->inner;
    *part *= x->size[i];
  }
}

lurn_status lurn__true_places(lurn_ctx *ctx, lurn_tensor *mask, lurn_tensor **out) {
  lurn_tensor *flat;
  lurn__shape shape = {.ndim = 1};
  LURN__TRY(lurn__as_contiguous(ctx, mask, LURN_BOOL, &flat));
  const uint8_t *flags = lurn__tensor_ptr(flat);
  int64_t n = lurn__numel(flat), at = 0;
  for (int64_t i = 0; i < n; i++) shape.size[0] += flags[i] != 0;
  lurn_status status = lurn__tensor_new(ctx, LURN_INT64, &shape, out);
  for (int64_t i = 0; status == LURN_OK && i < n; i++)
    if (flags[i]) lurn__i64(*out)[at++] = i;
  lurn_release(flat);
  return status;
}

static lurn_status check_mask(lurn__call *call, const lurn_tensor *x, const lurn_tensor *mask, int dim) {
  bool fits = dim + mask->shape.ndim <= x->shape.ndim;
  for (int i = 0; fits && i < mask->shape.ndim; i++) fits = mask->shape.size[i] == x->shape.size[dim + i];
  if (fits) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE,
                       "a mask of shape %s does not fit x of shape %s: its sizes must be those of x from dimension %d "
                       "on",
                       LURN__SHAPE(mask), LURN__SHAPE(x), dim + call->ctx->index_base);
}

/* How many dimensions of x all index tensors stand for, and that their shapes go together. */
static lurn_status cover(lurn__call *call, const lurn_tensor *x, lurn_list list, picking *p) {
  lurn__shape picked = {0};
  if (list.count < 1 || list.count > LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_EVALUE, "%lld index tensors; expected 1..%d", (long long)list.count, LURN_MAX_DIMS);
  for (int64_t k = 0; k < list.count; k++) {
    const lurn_tensor *t = list.items[k];
    if (t->dtype == LURN_BOOL) LURN__TRY(check_mask(call, x, t, p->dim + p->covered));
    p->covered += dims_covered(t->dtype, &t->shape);
    if (p->dim + p->covered > x->shape.ndim)
      return lurn__op_fail(call, LURN_ESHAPE, "%lld index tensors from dimension %d on; x has %d dimensions",
                           (long long)list.count, p->dim + call->ctx->index_base, x->shape.ndim);
    lurn__shape former = picked; /* places by a mask have one dimension, of a size not known yet */
    if (t->dtype != LURN_BOOL && !lurn__shape_broadcast(&former, &t->shape, &picked))
      return lurn__op_fail(call, LURN_ESHAPE, "index tensors of shapes %s and %s do not broadcast",
                           lurn__shape_print(&former, (char[LURN__SHAPE_TEXT]){0}), LURN__SHAPE(t));
  }
  return LURN_OK;
}

/* Joins the places along one dimension, or a run of them, with those along the dimensions after it: places * step + *total. */
static lurn_status add_places(lurn__call *call, lurn_tensor *places, int64_t step, lurn_tensor **total) {
  lurn_ctx *ctx = call->ctx;
  lurn_tensor *number = NULL, *sum = NULL;
  lurn__shape shape;
  lurn_status status = LURN_OK;
  if (*total != NULL && !lurn__shape_broadcast(&places->shape, &(*total)->shape, &shape))
    status = lurn__op_fail(call, LURN_ESHAPE, "index tensors that pick %s and %s do not broadcast", LURN__SHAPE(places),
                           LURN__SHAPE(*total));
  if (status == LURN_OK && step != 1) status = lurn_scalar_int(ctx, step, &number);
  if (status == LURN_OK && step != 1) status = lurn__mul_(ctx, places, number);
  if (status == LURN_OK && *total != NULL) status = lurn__add(ctx, places, *total, &sum);
  lurn_release(number);
  if (status != LURN_OK || sum != NULL) lurn_release(places);
  if (status != LURN_OK) return status;
  lurn_release(*total);
  *total = sum != NULL ? sum : places;
  return LURN_OK;
}

/* The positions in the middle of (outer, size, inner), from 0, contiguous.  Every index is checked. */
static lurn_status join_places(lurn__call *call, const lurn_tensor *x, lurn_list list, int64_t base, const picking *p,
                               lurn_tensor **total) {
  int at = p->dim + p->covered;
  int64_t step = 1;
  for (int64_t k = list.count - 1; k >= 0; k--) {
    lurn_tensor *t = list.items[k], *places;
    int width = dims_covered(t->dtype, &t->shape);
    at -= width;
    if (t->dtype == LURN_BOOL) LURN__TRY(lurn__true_places(call->ctx, t, &places));
    else LURN__TRY(lurn__indices(call->ctx, lurn__call_name(call), t, base, x->shape.size[at], &places));
    LURN__TRY(add_places(call, places, step, total));
    for (int i = at; i < at + width; i++) step *= x->shape.size[i];
  }
  return LURN_OK;
}

static lurn_status put_in_place(lurn__call *call, const lurn__shape *x, const lurn__shape *picked, picking *p) {
  lurn__shape *shape = &p->shape;
  int ndim = x->ndim - p->covered + picked->ndim;
  if (ndim > LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "the result would have %d dimensions; a tensor has at most %d", ndim,
                         LURN_MAX_DIMS);
  shape->ndim = ndim;
  memcpy(shape->size, x->size, (size_t)p->dim * sizeof *x->size);
  memcpy(shape->size + p->dim, picked->size, (size_t)picked->ndim * sizeof *x->size);
  memcpy(shape->size + p->dim + picked->ndim, x->size + p->dim + p->covered,
         (size_t)(x->ndim - p->dim - p->covered) * sizeof *x->size);
  return lurn__shape_make(call->ctx, lurn__call_name(call), ndim, shape->size, shape);
}

/* Plans the picking; *places, a temporary, are the positions in its middle. */
static lurn_status plan(lurn__call *call, const lurn_tensor *x, int64_t dim, lurn_list list, int64_t base, picking *p,
                        lurn_tensor **places) {
  *p = (picking){0};
  LURN__TRY(lurn__dim(call->ctx, lurn__call_name(call), dim, x->shape.ndim, &p->dim));
  LURN__TRY(cover(call, x, list, p));
  split_shape(&x->shape, p);
  LURN__TRY(join_places(call, x, list, base, p, places));
  return put_in_place(call, &x->shape, &(*places)->shape, p);
}

/* The same in backward, where the index tensors are inputs 1..n of the call. */
static lurn_status plan_again(lurn__grad_call *grad, int64_t dim, int64_t n, picking *p) {
  *p = (picking){0};
  LURN__TRY(lurn__dim(grad->ctx, grad->info->name, dim, grad->in[0].shape.ndim, &p->dim));
  for (int64_t k = 1; k <= n; k++) p->covered += dims_covered(grad->in[k].dtype, &grad->in[k].shape);
  split_shape(&grad->in[0].shape, p);
  return LURN_OK;
}

/* ---- Moving slices ----------------------------------------------------------------------------------------- */

typedef struct slices {
  const picking *p;
  const int64_t *places;
  int64_t count;
  char *whole;  /* (outer, size, inner) */
  char *picked; /* (outer, count, inner) */
  size_t bytes; /* of one run of inner elements */
  lurn__binary_fn *add;
} slices;

static slices slices_of(const picking *p, const lurn_tensor *places, const lurn_tensor *whole,
                        const lurn_tensor *picked) {
  return (slices){.p = p,
                  .places = lurn__i64(places),
                  .count = lurn__numel(places),
                  .whole = lurn__tensor_ptr(whole),
                  .picked = lurn__tensor_ptr(picked),
                  .bytes = (size_t)p->inner * lurn__tensor_width(whole)};
}

/* memcpy of a known size is one move. */
static inline void copy_slice(char *to, const char *from, size_t bytes) {
  if (bytes == 4) memcpy(to, from, 4);
  else if (bytes == 8) memcpy(to, from, 8);
  else memcpy(to, from, bytes);
}

static void read_rows(const void *arg, int64_t first, int64_t last) {
  const slices *s = arg;
  for (int64_t row = first; row < last; row++) {
    int64_t at = row / s->count * s->p->size + s->places[row % s->count];
    copy_slice(s->picked + (size_t)row * s->bytes, s->whole + (size_t)at * s->bytes, s->bytes);
  }
}

/* Of equal places the last one stays. */
static void write_slices(const void *arg, int64_t first, int64_t last) {
  const slices *s = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t i = 0; i < s->count; i++)
      copy_slice(s->whole + (size_t)(o * s->p->size + s->places[i]) * s->bytes,
                 s->picked + (size_t)(o * s->count + i) * s->bytes, s->bytes);
}

/* In the order of the places, so that equal ones add up the same way every time. */
static void add_slices(const void *arg, int64_t first, int64_t last) {
  const slices *s = arg;
  for (int64_t o = first; o < last; o++)
    for (int64_t i = 0; i < s->count; i++) {
      char *to = s->whole + (size_t)(o * s->p->size + s->places[i]) * s->bytes;
      s->add(s->p->inner, to, 1, s->picked + (size_t)(o * s->count + i) * s->bytes, 1, to, 1);
    }
}

static void read_picked(lurn_ctx *ctx, const slices *s) {
  lurn__for_rows(ctx, s->count > 0 ? s->p->outer * s->count : 0, s->p->inner, read_rows, s);
}

static void write_picked(lurn_ctx *ctx, const slices *s) {
  lurn__for_rows(ctx, s->p->outer, s->count * s->p->inner, write_slices, s);
}

static void add_picked(lurn_ctx *ctx, slices *s, lurn_dtype dtype) {
  s->add = lurn__kernels_of(ctx)->elementwise->binary[LURN__BINARY_ADD][dtype];
  lurn__for_rows(ctx, s->p->outer, s->count * s->p->inner, add_slices, s);
}

/* ---- index ------------------------------------------------------------------------------------------------- */

enum { SAVED_PLACES = 0, SAVED_MASK = 1 };

static lurn_status index_forward(lurn__call *call) {
  const struct lurn__index_args *args = call->args;
  lurn_tensor *x = args->x, **places = lurn__temp(&call->temps), **whole = lurn__temp(&call->temps);
  picking p;
  LURN__TRY(plan(call, x, args->dim, args->index, args->base, &p, places));
  LURN__TRY(lurn__as_contiguous(call->ctx, x, x->dtype, whole));
  LURN__TRY(lurn__out(call, 0, x->dtype, &p.shape));
  LURN__TRY(lurn__save_in(call, SAVED_PLACES, *places));
  slices s = slices_of(&p, *places, *whole, call->out[0]);
  read_picked(call->ctx, &s);
  return LURN_OK;
}

static lurn_status index_backward(lurn__grad_call *grad) {
  const struct lurn__index_args *args = grad->args;
  lurn_tensor **gy = lurn__temp(&grad->temps);
  picking p;
  LURN__TRY(plan_again(grad, args->dim, args->index.count, &p));
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->grad_out[0], grad->in[0].dtype, gy));
  LURN__TRY(lurn__grad_buffer(grad, 0));
  slices s = slices_of(&p, grad->saved[SAVED_PLACES], grad->grad_in[0], *gy);
  add_picked(grad->ctx, &s, grad->in[0].dtype);
  return LURN_OK;
}

const lurn__op lurn__op_index = {
    .forward = index_forward,
    .backward = index_backward,
    .adds_into = true,
    .doc =
        "The slices of x at the positions index along dimension dim, which gives way to the shape of index; a copy.\n"
        "A tensor of integers stands for one dimension. A tensor of bools is a mask: it stands for as many dimensions "
        "as it has, their sizes equal x's, and picks where it is true, in row-major order, as one dimension. Several "
        "tensors stand for neighbouring dimensions from dim on and broadcast together. Gradients at equal positions "
        "add up. Errors: an index out of range, shapes that do not fit."};

/* ---- Writing ----------------------------------------------------------------------------------------------- */

/* x's elements, contiguous, to be written: out[0] itself, or in place on a strided x a copy that lurn__close_target brings home. */
lurn_status lurn__open_target(lurn__call *call, lurn_tensor *x, lurn_tensor **work) {
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  if (!call->inplace) LURN__TRY(lurn__copy_(call->ctx, call->out[0], x));
  if (call->inplace && !lurn_tensor_is_contiguous(x)) return lurn__clone(call->ctx, x, work);
  *work = lurn_retain(call->out[0]);
  return LURN_OK;
}

lurn_status lurn__close_target(lurn__call *call, lurn_tensor *work) {
  return work == call->out[0] ? LURN_OK : lurn__copy_(call->ctx, call->out[0], work);
}

lurn_status lurn__as_source(lurn__call *call, lurn_tensor *source, const lurn_tensor *x, const lurn__shape *shape,
                            lurn_tensor **out) {
  lurn__shape both;
  if (!lurn__shape_broadcast(&source->shape, shape, &both) || !lurn__shape_equal(&both, shape))
    return lurn__op_fail(call, LURN_ESHAPE, "source of shape %s does not broadcast to %s", LURN__SHAPE(source),
                         lurn__shape_print(shape, (char[LURN__SHAPE_TEXT]){0}));
  lurn_tensor **wide = lurn__temp(&call->temps);
  LURN__TRY(lurn__expand(call->ctx, source, shape->size, shape->ndim, wide));
  if (source->storage == x->storage) {
    lurn_tensor **apart = lurn__temp(&call->temps);
    LURN__TRY(lurn__clone(call->ctx, *wide, apart));
    wide = apart;
  }
  return lurn__as_contiguous(call->ctx, *wide, x->dtype, out);
}

/* x with source, which broadcasts to what the places pick, written there. */
static lurn_status put(lurn__call *call, lurn_tensor *x, const picking *p, lurn_tensor *places, lurn_tensor *source) {
  lurn_tensor **values = lurn__temp(&call->temps), **work = lurn__temp(&call->temps);
  LURN__TRY(lurn__as_source(call, source, x, &p->shape, values));
  LURN__TRY(lurn__save_in(call, SAVED_PLACES, places));
  LURN__TRY(lurn__open_target(call, x, work));
  slices s = slices_of(p, places, *work, *values);
  write_picked(call->ctx, &s);
  return lurn__close_target(call, *work);
}

/* gy with zeros at the places: what is left of x. */
static lurn_status give_rest(lurn__grad_call *grad, const picking *p, const lurn_tensor *places) {
  LURN__TRY(lurn__clone(grad->ctx, grad->grad_out[0], &grad->grad_in[0]));
  slices s = slices_of(p, places, grad->grad_in[0], grad->grad_in[0]);
  for (int64_t o = 0; o < p->outer; o++)
    for (int64_t i = 0; i < s.count; i++) memset(s.whole + (size_t)(o * p->size + s.places[i]) * s.bytes, 0, s.bytes);
  return LURN_OK;
}

/* Zeros in picked rows that a later one of the same place had written over. */
static lurn_status clear_overwritten(lurn_ctx *ctx, const slices *s) {
  int64_t *last = lurn__alloc_array(ctx, (size_t)(s->p->size > 0 ? s->p->size : 1), sizeof *last);
  if (last == NULL) return LURN_ENOMEM;
  for (int64_t i = 0; i < s->count; i++) last[s->places[i]] = i;
  for (int64_t o = 0; o < s->p->outer; o++)
    for (int64_t i = 0; i < s->count; i++)
      if (last[s->places[i]] != i) memset(s->picked + (size_t)(o * s->count + i) * s->bytes, 0, s->bytes);
  lurn__free(ctx, last, (size_t)(s->p->size > 0 ? s->p->size : 1) * sizeof *last);
  return LURN_OK;
}

/* gy at the places, brought to the shape of input `at`, the source. */
static lurn_status give_source(lurn__grad_call *grad, const picking *p, lurn_tensor *places, int64_t at,
                               bool overwritten) {
  lurn_tensor **gy = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  lurn__shape shape = {.ndim = 3, .size = {p->outer, lurn__numel(places), p->inner}}, full = grad->in[0].shape;
  int n = places->shape.ndim;
  LURN__TRY(lurn__as_contiguous(grad->ctx, grad->grad_out[0], grad->grad_out[0]->dtype, gy));
  LURN__TRY(lurn__tensor_new(grad->ctx, (*gy)->dtype, &shape, g));
  slices s = slices_of(p, places, *gy, *g);
  read_picked(grad->ctx, &s);
  if (overwritten) LURN__TRY(clear_overwritten(grad->ctx, &s));
  lurn__shape picked = {.ndim = full.ndim - p->covered + n};
  memcpy(picked.size, full.size, (size_t)p->dim * sizeof *full.size);
  memcpy(picked.size + p->dim, places->shape.size, (size_t)n * sizeof *full.size);
  memcpy(picked.size + p->dim + n, full.size + p->dim + p->covered,
         (size_t)(full.ndim - p->dim - p->covered) * sizeof *full.size);
  lurn_tensor **shaped = lurn__temp(&grad->temps);
  LURN__TRY(lurn__reshape(grad->ctx, *g, picked.size, picked.ndim, shaped));
  return lurn__sum_to(grad->ctx, *shaped, &grad->in[at], &grad->grad_in[at]);
}

static lurn_status put_backward(lurn__grad_call *grad, int64_t dim, int64_t n_index) {
  lurn_tensor *places = grad->saved[SAVED_PLACES];
  picking p;
  LURN__TRY(plan_again(grad, dim, n_index, &p));
  if (grad->need[0]) LURN__TRY(give_rest(grad, &p, places));
  if (grad->need[n_index + 1]) LURN__TRY(give_source(grad, &p, places, n_index + 1, true));
  return LURN_OK;
}

/* ---- index_put --------------------------------------------------------------------------------------------- */

/* One element wherever a mask is true needs no list of places. */
static bool is_masked_fill(lurn_list index, const lurn__shape *source) {
  return index.count == 1 && index.items[0]->dtype == LURN_BOOL && lurn__shape_numel(source) == 1;
}

/* The mask with sizes of 1 behind, so that it broadcasts to x from dimension dim on. */
static lurn_status aligned_mask(lurn__call *call, lurn_tensor *mask, int dim, int ndim, lurn_tensor **out) {
  int64_t sizes[LURN_MAX_DIMS];
  int n = ndim - dim;
  for (int i = 0; i < n; i++) sizes[i] = i < mask->shape.ndim ? mask->shape.size[i] : 1;
  return lurn__reshape(call->ctx, mask, sizes, n, out);
}

static lurn_status fill_masked(lurn__call *call, lurn_tensor *x, int64_t which, lurn_tensor *mask,
                               lurn_tensor *source) {
  lurn_tensor **aligned = lurn__temp(&call->temps), **value = lurn__temp(&call->temps);
  int dim;
  LURN__TRY(lurn__dim(call->ctx, lurn__call_name(call), which, x->shape.ndim, &dim));
  LURN__TRY(check_mask(call, x, mask, dim));
  if (source->shape.ndim > x->shape.ndim - mask->shape.ndim + 1)
    return lurn__op_fail(call, LURN_ESHAPE, "source of shape %s has more dimensions than what the mask picks",
                         LURN__SHAPE(source));
  LURN__TRY(aligned_mask(call, mask, dim, x->shape.ndim, aligned));
  LURN__TRY(lurn__save_in(call, SAVED_MASK, *aligned));
  LURN__TRY(lurn__reshape(call->ctx, source, NULL, 0, value));
  if (!call->inplace) return lurn__masked_fill(call->ctx, x, *aligned, *value, &call->out[0]);
  LURN__TRY(lurn__out(call, 0, x->dtype, &x->shape));
  return lurn__masked_fill_(call->ctx, x, *aligned, *value);
}

static lurn_status fill_masked_backward(lurn__grad_call *grad, int64_t source) {
  lurn_tensor *mask = grad->saved[SAVED_MASK], *gy = grad->grad_out[0], **zero = lurn__temp(&grad->temps),
              **g = lurn__temp(&grad->temps), **sum = lurn__temp(&grad->temps);
  LURN__TRY(lurn_scalar(grad->ctx, 0, zero));
  if (grad->need[0]) LURN__TRY(lurn__where(grad->ctx, mask, *zero, gy, &grad->grad_in[0]));
  if (!grad->need[source]) return LURN_OK;
  LURN__TRY(lurn__where(grad->ctx, mask, gy, *zero, g));
  LURN__TRY(lurn__sum(grad->ctx, *g, NULL, 0, false, sum));
  return lurn__sum_to(grad->ctx, *sum, &grad->in[source], &grad->grad_in[source]);
}

static lurn_status index_put_forward(lurn__call *call) {
  const struct lurn__index_put_args *args = call->args;
  lurn_tensor *x = args->x, **places = lurn__temp(&call->temps);
  picking p;
  if (is_masked_fill(args->index, &args->source->shape))
    return fill_masked(call, x, args->dim, args->index.items[0], args->source);
  LURN__TRY(plan(call, x, args->dim, args->index, args->base, &p, places));
  return put(call, x, &p, *places, args->source);
}

static lurn_status index_put_backward(lurn__grad_call *grad) {
  const struct lurn__index_put_args *args = grad->args;
  if (grad->saved[SAVED_MASK] != NULL) return fill_masked_backward(grad, 2);
  return put_backward(grad, args->dim, args->index.count);
}

const lurn__op lurn__op_index_put = {
    .forward = index_put_forward,
    .backward = index_put_backward,
    .doc = "x with source in place of the slices that index(x, dim, index) picks.\n"
           "source broadcasts to their shape and takes x's dtype. Of equal positions the last in row-major order "
           "stays, and alone gets the gradient. Errors: as for index; nothing is written then."};

/* ---- index_copy, index_fill, index_add --------------------------------------------------------------------- */

static lurn_status plan_one(lurn__call *call, lurn_tensor *x, int64_t dim, lurn_tensor *const *index, int64_t base,
                            picking *p, lurn_tensor **places) {
  if ((*index)->shape.ndim != 1)
    return lurn__op_fail(call, LURN_ESHAPE, "index has shape %s; expected one dimension", LURN__SHAPE(*index));
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar cannot be indexed");
  if ((*index)->dtype == LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "indices are bool; expected int64 or another integer type");
  return plan(call, x, dim, (lurn_list){index, 1}, base, p, places);
}

static lurn_status check_source(lurn__call *call, const lurn_tensor *source, const picking *p) {
  if (lurn__shape_equal(&source->shape, &p->shape)) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "source has shape %s; expected %s", LURN__SHAPE(source),
                       lurn__shape_print(&p->shape, (char[LURN__SHAPE_TEXT]){0}));
}

static lurn_status index_copy_forward(lurn__call *call) {
  const struct lurn__index_copy_args *args = call->args;
  lurn_tensor **places = lurn__temp(&call->temps);
  picking p;
  LURN__TRY(plan_one(call, args->x, args->dim, &args->index, args->base, &p, places));
  LURN__TRY(check_source(call, args->source, &p));
  return put(call, args->x, &p, *places, args->source);
}

static lurn_status index_copy_backward(lurn__grad_call *grad) {
  return put_backward(grad, ((const struct lurn__index_copy_args *)grad->args)->dim, 1);
}

const lurn__op lurn__op_index_copy = {
    .forward = index_copy_forward,
    .backward = index_copy_backward,
    .doc = "x with the slices of source put at the positions index (one dimension) along dim.\n"
           "source has the shape of x but for dim. Of equal positions the last stays, and alone gets the gradient."};

static lurn_status index_fill_forward(lurn__call *call) {
  const struct lurn__index_fill_args *args = call->args;
  lurn_tensor **places = lurn__temp(&call->temps);
  picking p;
  LURN__TRY(plan_one(call, args->x, args->dim, &args->index, args->base, &p, places));
  if (args->value->shape.ndim > 0)
    return lurn__op_fail(call, LURN_ESHAPE, "value has shape %s; expected a number", LURN__SHAPE(args->value));
  return put(call, args->x, &p, *places, args->value);
}

static lurn_status index_fill_backward(lurn__grad_call *grad) {
  return put_backward(grad, ((const struct lurn__index_fill_args *)grad->args)->dim, 1);
}

const lurn__op lurn__op_index_fill = {
    .forward = index_fill_forward,
    .backward = index_fill_backward,
    .doc = "x with value in the slices at the positions index (one dimension) along dim.\nvalue is a number or a "
           "tensor without dimensions; it takes x's dtype."};

/* source times alpha in x's dtype: an integer stays exact. */
static lurn_status times_alpha(lurn__call *call, const lurn_tensor *x, double alpha, lurn_tensor **source) {
  lurn_tensor **converted = lurn__temp(&call->temps), **factor = lurn__temp(&call->temps);
  lurn_tensor **scaled = lurn__temp(&call->temps);
  if (lurn_dtype_is_float(x->dtype)) {
    LURN__TRY(lurn_scalar(call->ctx, alpha, factor));
  } else {
    if (!(fabs(alpha) < 0x1p63) || alpha != floor(alpha))
      return lurn__op_fail(call, LURN_EVALUE, "alpha is %g, expected a whole number for %s", alpha,
                           lurn_dtype_name(x->dtype));
    LURN__TRY(lurn_scalar_int(call->ctx, (int64_t)alpha, factor));
  }
  LURN__TRY(lurn__to(call->ctx, *source, x->dtype, converted));
  LURN__TRY(lurn__mul(call->ctx, *converted, *factor, scaled));
  *source = *scaled;
  return LURN_OK;
}

static lurn_status index_add_forward(lurn__call *call) {
  const struct lurn__index_add_args *args = call->args;
  lurn_tensor *x = args->x, **places = lurn__temp(&call->temps), **values = lurn__temp(&call->temps),
              **work = lurn__temp(&call->temps);
  lurn_tensor *source = args->source;
  picking p;
  LURN__TRY(plan_one(call, x, args->dim, &args->index, args->base, &p, places));
  LURN__TRY(check_source(call, source, &p));
  if (args->alpha != 1) LURN__TRY(times_alpha(call, x, args->alpha, &source));
  LURN__TRY(lurn__as_source(call, source, x, &p.shape, values));
  LURN__TRY(lurn__save_in(call, SAVED_PLACES, *places));
  LURN__TRY(lurn__open_target(call, x, work));
  slices s = slices_of(&p, *places, *work, *values);
  add_picked(call->ctx, &s, x->dtype);
  return lurn__close_target(call, *work);
}

static lurn_status index_add_backward(lurn__grad_call *grad) {
  const struct lurn__index_add_args *args = grad->args;
  picking p;
  LURN__TRY(plan_again(grad, args->dim, 1, &p));
  if (grad->need[0]) grad->grad_in[0] = lurn_retain(grad->grad_out[0]);
  if (!grad->need[2]) return LURN_OK;
  LURN__TRY(give_source(grad, &p, grad->saved[SAVED_PLACES], 2, false));
  if (args->alpha == 1) return LURN_OK;
  lurn_tensor **factor = lurn__temp(&grad->temps);
  LURN__TRY(lurn_scalar(grad->ctx, args->alpha, factor));
  return lurn__mul_(grad->ctx, grad->grad_in[2], *factor);
}

const lurn__op lurn__op_index_add = {
    .forward = index_add_forward,
    .backward = index_add_backward,
    .doc = "x plus alpha times the slices of source at the positions index (one dimension) along dim.\n"
           "source has the shape of x but for dim and takes x's dtype. Equal positions add up, in their order."};
