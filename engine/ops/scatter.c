/* Single elements found, picked and written by position. */
#include <string.h>

#include "ops/index.h"
#include "ops/loop.h"

/* ---- nonzero ----------------------------------------------------------------------------------------------- */

static lurn_status nonzero_forward(lurn__call *call) {
  const struct lurn__nonzero_args *args = call->args;
  lurn_tensor **flags = lurn__temp(&call->temps), **places = lurn__temp(&call->temps);
  const lurn__shape *x = &args->x->shape;
  LURN__TRY(lurn__as_contiguous(call->ctx, args->x, LURN_BOOL, flags));
  LURN__TRY(lurn__true_places(call->ctx, *flags, places));
  int64_t count = lurn__numel(*places);
  lurn__shape shape = {.ndim = 2, .size = {count, x->ndim}};
  LURN__TRY(lurn__out(call, 0, LURN_INT64, &shape));
  int64_t *to = lurn__i64(call->out[0]);
  for (int64_t i = 0; i < count; i++) {
    int64_t place = lurn__i64(*places)[i];
    for (int d = x->ndim - 1; d >= 0; d--) {
      to[i * x->ndim + d] = place % x->size[d] + args->base;
      place /= x->size[d];
    }
  }
  return LURN_OK;
}

const lurn__op lurn__op_nonzero = {.forward = nonzero_forward,
                                   .doc = "The positions of all elements that are not 0, one row of int64 (count, "
                                          "dimensions of x) for each, in row-major order."};

/* ---- masked_select ----------------------------------------------------------------------------------------- */

enum { SAVED_SELECTED = 0 };

static lurn_status masked_select_forward(lurn__call *call) {
  const struct lurn__masked_select_args *args = call->args;
  lurn_tensor *x = args->x, *mask = args->mask;
  lurn_tensor **wide = lurn__temp(&call->temps), **flags = lurn__temp(&call->temps),
              **places = lurn__temp(&call->temps), **flat = lurn__temp(&call->temps),
              **wide_x = lurn__temp(&call->temps);
  lurn__shape shape;
  if (mask->dtype != LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "mask is %s; expected bool", lurn_dtype_name(mask->dtype));
  if (!lurn__shape_broadcast(&x->shape, &mask->shape, &shape))
    return lurn__op_fail(call, LURN_ESHAPE, "shapes %s and %s do not broadcast", LURN__SHAPE(x), LURN__SHAPE(mask));
  LURN__TRY(lurn__expand(call->ctx, mask, shape.size, shape.ndim, wide));
  LURN__TRY(lurn__as_contiguous(call->ctx, *wide, LURN_BOOL, flags));
  LURN__TRY(lurn__true_places(call->ctx, *flags, places));
  LURN__TRY(lurn__expand(call->ctx, x, shape.size, shape.ndim, wide_x));
  LURN__TRY(lurn__reshape(call->ctx, *wide_x, (int64_t[]){-1}, 1, flat));
  LURN__TRY(lurn__save_in(call, SAVED_SELECTED, *places));
  return lurn__index_select(call->ctx, *flat, 0, *places, 0, &call->out[0]);
}

/* mask has a shape that broadcasts with x's: the gradient is put into zeros of both together. */
static lurn_status masked_select_backward(lurn__grad_call *grad) {
  lurn_tensor **whole = lurn__temp(&grad->temps), **flat = lurn__temp(&grad->temps);
  lurn__meta wide = {.dtype = grad->in[0].dtype, .present = true};
  if (!lurn__shape_broadcast(&grad->in[0].shape, &grad->in[1].shape, &wide.shape)) return LURN_ESHAPE;
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &wide, whole));
  LURN__TRY(lurn__reshape(grad->ctx, *whole, (int64_t[]){-1}, 1, flat));
  LURN__TRY(lurn__index_copy_(grad->ctx, *flat, 0, grad->saved[SAVED_SELECTED], grad->grad_out[0], 0));
  return lurn__sum_to(grad->ctx, *whole, &grad->in[0], &grad->grad_in[0]);
}

const lurn__op lurn__op_masked_select = {.forward = masked_select_forward,
                                         .backward = masked_select_backward,
                                         .doc = "The elements of x where mask is true, in row-major order as one "
                                                "dimension; a copy.\nx and mask, bools, broadcast together."};

/* ---- masked_scatter ---------------------------------------------------------------------------------------- */

/* Places of x where mask, broadcast to it, is true; saved for backward. */
static lurn_status masked_places(lurn__call *call, const lurn_tensor *x, lurn_tensor *mask, lurn_tensor **places) {
  lurn_tensor **wide = lurn__temp(&call->temps);
  lurn__shape shape;
  if (mask->dtype != LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "mask is %s; expected bool", lurn_dtype_name(mask->dtype));
  if (!lurn__shape_broadcast(&x->shape, &mask->shape, &shape) || !lurn__shape_equal(&shape, &x->shape))
    return lurn__op_fail(call, LURN_ESHAPE, "mask of shape %s does not broadcast to %s", LURN__SHAPE(mask),
                         LURN__SHAPE(x));
  LURN__TRY(lurn__expand(call->ctx, mask, shape.size, shape.ndim, wide));
  LURN__TRY(lurn__true_places(call->ctx, *wide, places));
  return lurn__save_in(call, SAVED_SELECTED, *places);
}

/* source's elements in row-major order, of x's dtype, in memory that is not x's. */
static lurn_status flat_source(lurn__call *call, lurn_tensor *source, const lurn_tensor *x, lurn_tensor **out) {
  if (source->storage != x->storage) return lurn__as_contiguous(call->ctx, source, x->dtype, out);
  return lurn__to(call->ctx, source, x->dtype, out);
}

static lurn_status masked_scatter_forward(lurn__call *call) {
  const struct lurn__masked_scatter_args *args = call->args;
  lurn_tensor *x = args->x, **places = lurn__temp(&call->temps), **values = lurn__temp(&call->temps),
              **work = lurn__temp(&call->temps);
  LURN__TRY(masked_places(call, x, args->mask, places));
  int64_t n = lurn__numel(*places);
  if (n > lurn__numel(args->source))
    return lurn__op_fail(call, LURN_ESHAPE, "mask picks %lld elements, but source has %lld", (long long)n,
                         (long long)lurn__numel(args->source));
  LURN__TRY(flat_source(call, args->source, x, values));
  LURN__TRY(lurn__open_target(call, x, work));
  size_t width = lurn__tensor_width(x);
  char *to = lurn__tensor_ptr(*work);
  const char *from = lurn__tensor_ptr(*values);
  for (int64_t i = 0; i < n; i++) memcpy(to + (size_t)lurn__i64(*places)[i] * width, from + (size_t)i * width, width);
  return lurn__close_target(call, *work);
}

/* gy moves from the places to the first elements of source. */
static lurn_status masked_scatter_backward(lurn__grad_call *grad) {
  lurn_tensor *places = grad->saved[SAVED_SELECTED], **gy = lurn__temp(&grad->temps), **g = lurn__temp(&grad->temps);
  int64_t n = lurn__numel(places);
  LURN__TRY(lurn__clone(grad->ctx, grad->grad_out[0], gy));
  size_t width = lurn__tensor_width(*gy);
  char *all = lurn__tensor_ptr(*gy);
  if (grad->need[2]) {
    lurn__meta like = grad->in[2];
    like.dtype = (*gy)->dtype;
    LURN__TRY(lurn__zeros_like_meta(grad->ctx, &like, g));
    char *to = lurn__tensor_ptr(*g);
    for (int64_t i = 0; i < n; i++) memcpy(to + (size_t)i * width, all + (size_t)lurn__i64(places)[i] * width, width);
    LURN__TRY(lurn__sum_to(grad->ctx, *g, &grad->in[2], &grad->grad_in[2]));
  }
  if (!grad->need[0]) return LURN_OK;
  for (int64_t i = 0; i < n; i++) memset(all + (size_t)lurn__i64(places)[i] * width, 0, width);
  grad->grad_in[0] = lurn_retain(*gy);
  return LURN_OK;
}

const lurn__op lurn__op_masked_scatter = {
    .forward = masked_scatter_forward,
    .backward = masked_scatter_backward,
    .doc = "x with the elements where mask is true replaced by the first ones of source, both in row-major order.\n"
           "mask, bools, broadcasts to x; source has at least as many elements as mask picks, and takes x's dtype. The "
           "inverse of masked_select. Errors: a mask that does not fit, a source that is too short."};

/* ---- Walking over index elements --------------------------------------------------------------------------- */

/* An element of a strided shape in row-major order, with its offset in two tensors: x, whose step along dim the index makes, and
 * source. */
typedef struct walk {
  const lurn__shape *shape;
  int64_t x_stride[LURN_MAX_DIMS], source_stride[LURN_MAX_DIMS];
  int64_t at[LURN_MAX_DIMS];
  int64_t x, source;
} walk;

static void begin_walk(walk *w, const lurn__shape *shape, const int64_t *x_stride, int dim, const int64_t *source) {
  *w = (walk){.shape = shape};
  memcpy(w->x_stride, x_stride, sizeof w->x_stride);
  memcpy(w->source_stride, source, sizeof w->source_stride);
  w->x_stride[dim] = 0;
}

static void step_walk(walk *w) {
  for (int d = w->shape->ndim - 1; d >= 0; d--) {
    w->x += w->x_stride[d];
    w->source += w->source_stride[d];
    if (++w->at[d] < w->shape->size[d]) return;
    w->x -= w->at[d] * w->x_stride[d];
    w->source -= w->at[d] * w->source_stride[d];
    w->at[d] = 0;
  }
}

/* ---- scatter ----------------------------------------------------------------------------------------------- */

enum { SAVED_INDEX = 0 };

static lurn_status check_scatter(lurn__call *call, const lurn_tensor *x, const lurn_tensor *index,
                                 const lurn_tensor *source, int dim) {
  bool fits = x->shape.ndim == index->shape.ndim && x->shape.ndim > 0;
  for (int i = 0; fits && i < x->shape.ndim; i++) fits = i == dim || index->shape.size[i] <= x->shape.size[i];
  if (!fits)
    return lurn__op_fail(call, LURN_ESHAPE,
                         "index of shape %s does not fit x of shape %s: outside dimension %d no size may be larger",
                         LURN__SHAPE(index), LURN__SHAPE(x), dim + call->ctx->index_base);
  if (source->shape.ndim == 0) return LURN_OK;
  fits = source->shape.ndim == index->shape.ndim;
  for (int i = 0; fits && i < index->shape.ndim; i++) fits = index->shape.size[i] <= source->shape.size[i];
  if (fits) return LURN_OK;
  return lurn__op_fail(call, LURN_ESHAPE, "index of shape %s does not fit source of shape %s: no size may be larger",
                       LURN__SHAPE(index), LURN__SHAPE(source));
}

/* The part of source that index reaches: sizes of index, or one element for all. */
static lurn_status reached(lurn_tensor *source, const lurn__shape *index, lurn_tensor **out) {
  int64_t stride[LURN_MAX_DIMS] = {0};
  if (source->shape.ndim > 0) memcpy(stride, source->stride, sizeof stride);
  return lurn__tensor_view(source, index, stride, source->offset, out);
}

typedef struct scattering {
  int dim;
  lurn_tensor **index, **values; /* temporaries: contiguous, from 0; contiguous, of x's dtype */
} scattering;

static lurn_status begin_scatter(lurn__call *call, lurn_tensor *x, int64_t dim, lurn_tensor *index, lurn_tensor *source,
                                 int64_t base, scattering *s) {
  lurn_tensor **part = lurn__temp(&call->temps);
  s->index = lurn__temp(&call->temps);
  s->values = lurn__temp(&call->temps);
  LURN__TRY(lurn__dim(call->ctx, lurn__call_name(call), dim, x->shape.ndim, &s->dim));
  LURN__TRY(check_scatter(call, x, index, source, s->dim));
  LURN__TRY(lurn__indices(call->ctx, lurn__call_name(call), index, base, x->shape.size[s->dim], s->index));
  LURN__TRY(reached(source, &index->shape, part));
  LURN__TRY(lurn__as_source(call, *part, x, &index->shape, s->values));
  return lurn__save_in(call, SAVED_INDEX, *s->index);
}

/* x[.., index, ..] = values, or += with a kernel for it, in row-major order of index. */
static void write_elements(const scattering *s, const lurn_tensor *x, lurn__binary_fn *add) {
  const lurn_tensor *index = *s->index, *values = *s->values;
  int64_t n = lurn__numel(index);
  size_t width = lurn__tensor_width(x);
  walk w;
  begin_walk(&w, &index->shape, x->stride, s->dim, values->stride);
  for (int64_t i = 0; i < n; i++, step_walk(&w)) {
    int64_t at = w.x + lurn__i64(index)[i] * x->stride[s->dim];
    char *to = (char *)lurn__tensor_ptr(x) + at * (int64_t)width;
    const char *from = (const char *)lurn__tensor_ptr(values) + (size_t)i * width;
    if (add != NULL) add(1, to, 1, from, 1, to, 1);
    else memcpy(to, from, width);
  }
}

static lurn_status scatter_forward(lurn__call *call) {
  const struct lurn__scatter_args *args = call->args;
  lurn_tensor **work = lurn__temp(&call->temps);
  scattering s;
  LURN__TRY(begin_scatter(call, args->x, args->dim, args->index, args->source, args->base, &s));
  LURN__TRY(lurn__open_target(call, args->x, work));
  write_elements(&s, *work, NULL);
  return lurn__close_target(call, *work);
}

/* The number of the index element that wrote each element of x, of those that no later one wrote over; own memory. */
static lurn_status last_writers(lurn_ctx *ctx, const lurn__shape *x, int dim, const lurn_tensor *index,
                                const int64_t *stride, int64_t **out) {
  int64_t n = lurn__numel(index), total = lurn__shape_numel(x);
  int64_t *last = lurn__alloc_array(ctx, (size_t)(total > 0 ? total : 1), sizeof *last);
  if (last == NULL) return LURN_ENOMEM;
  walk w;
  begin_walk(&w, &index->shape, stride, dim, stride);
  for (int64_t i = 0; i < n; i++, step_walk(&w)) last[w.x + lurn__i64(index)[i] * stride[dim]] = i;
  *out = last;
  return LURN_OK;
}

/* Zeros in g (of index's shape) where the element was written over, and zeros in rest (of x's) where any was written. */
static lurn_status split_gradient(lurn__grad_call *grad, int dim, lurn_tensor *g, lurn_tensor *rest) {
  const lurn_tensor *index = grad->saved[SAVED_INDEX];
  const lurn__shape *x = &grad->in[0].shape;
  int64_t stride[LURN_MAX_DIMS] = {0}, *last, n = lurn__numel(index), total = lurn__shape_numel(x);
  lurn__shape_strides(x, stride);
  LURN__TRY(last_writers(grad->ctx, x, dim, index, stride, &last));
  size_t width = lurn_dtype_size(grad->in[0].dtype);
  walk w;
  begin_walk(&w, &index->shape, stride, dim, stride);
  for (int64_t i = 0; i < n; i++, step_walk(&w)) {
    int64_t at = w.x + lurn__i64(index)[i] * stride[dim];
    if (g != NULL && last[at] != i) memset((char *)lurn__tensor_ptr(g) + (size_t)i * width, 0, width);
    if (rest != NULL) memset((char *)lurn__tensor_ptr(rest) + (size_t)at * width, 0, width);
  }
  lurn__free(grad->ctx, last, (size_t)(total > 0 ? total : 1) * sizeof *last);
  return LURN_OK;
}

/* g, of index's shape, as the gradient of the source that index reached into. */
static lurn_status give_reached(lurn__grad_call *grad, lurn_tensor *g) {
  const lurn__meta *source = &grad->in[2];
  if (source->shape.ndim == 0) return lurn__sum_to(grad->ctx, g, source, &grad->grad_in[2]);
  lurn_tensor **part = lurn__temp(&grad->temps);
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, source, &grad->grad_in[2]));
  LURN__TRY(reached(grad->grad_in[2], &g->shape, part));
  return lurn__copy_(grad->ctx, *part, g);
}

static lurn_status scatter_backward(lurn__grad_call *grad) {
  const struct lurn__scatter_args *args = grad->args;
  lurn_tensor **g = lurn__temp(&grad->temps);
  int dim;
  LURN__TRY(lurn__dim(grad->ctx, "scatter", args->dim, grad->in[0].shape.ndim, &dim));
  if (grad->need[0]) LURN__TRY(lurn__clone(grad->ctx, grad->grad_out[0], &grad->grad_in[0]));
  if (grad->need[2]) LURN__TRY(lurn__gather(grad->ctx, grad->grad_out[0], dim, grad->saved[SAVED_INDEX], 0, g));
  LURN__TRY(split_gradient(grad, dim, *g, grad->grad_in[0]));
  return grad->need[2] ? give_reached(grad, *g) : LURN_OK;
}

const lurn__op lurn__op_scatter = {
    .forward = scatter_forward,
    .backward = scatter_backward,
    .doc =
        "x with out[index[i][j][k]][j][k] = source[i][j][k] for dim = 1, and likewise along other dimensions.\nindex "
        "has as many dimensions as x, no size but that of dim larger than x's, and none larger than source's; source "
        "may be a number; it takes x's dtype. Of equal positions the last in row-major order stays, and alone gets the "
        "gradient. The inverse of gather."};

/* ---- scatter_add ------------------------------------------------------------------------------------------- */

static lurn_status scatter_add_forward(lurn__call *call) {
  const struct lurn__scatter_add_args *args = call->args;
  lurn_tensor **work = lurn__temp(&call->temps);
  lurn__binary_fn *add = lurn__kernels_of(call->ctx)->elementwise->binary[LURN__BINARY_ADD][args->x->dtype];
  scattering s;
  LURN__TRY(begin_scatter(call, args->x, args->dim, args->index, args->source, args->base, &s));
  LURN__TRY(lurn__open_target(call, args->x, work));
  write_elements(&s, *work, add);
  return lurn__close_target(call, *work);
}

static lurn_status scatter_add_backward(lurn__grad_call *grad) {
  const struct lurn__scatter_add_args *args = grad->args;
  lurn_tensor **g = lurn__temp(&grad->temps);
  int dim;
  LURN__TRY(lurn__dim(grad->ctx, "scatter_add", args->dim, grad->in[0].shape.ndim, &dim));
  if (grad->need[0]) grad->grad_in[0] = lurn_retain(grad->grad_out[0]);
  if (!grad->need[2]) return LURN_OK;
  LURN__TRY(lurn__gather(grad->ctx, grad->grad_out[0], dim, grad->saved[SAVED_INDEX], 0, g));
  return give_reached(grad, *g);
}

const lurn__op lurn__op_scatter_add = {
    .forward = scatter_add_forward,
    .backward = scatter_add_backward,
    .doc = "x with out[index[i][j][k]][j][k] += source[i][j][k] for dim = 1, and likewise along other dimensions.\n"
           "Shapes as for scatter. Equal positions add up in row-major order of index."};

/* ---- one_hot ----------------------------------------------------------------------------------------------- */

static lurn_status largest(lurn_ctx *ctx, lurn_tensor *ids, int64_t *out) {
  lurn_tensor *most;
  LURN__TRY(lurn__amax(ctx, ids, NULL, 0, false, &most));
  *out = lurn__load_int(most->dtype, lurn__tensor_ptr(most));
  lurn_release(most);
  return LURN_OK;
}

static lurn_status one_hot_forward(lurn__call *call) {
  const struct lurn__one_hot_args *args = call->args;
  lurn_tensor *ids = args->ids, **places = lurn__temp(&call->temps);
  int64_t classes = args->classes, n = lurn__numel(ids);
  if (classes == 0 || classes < -1)
    return lurn__op_fail(call, LURN_EVALUE, "classes is %lld; expected at least 1", (long long)classes);
  if (classes == -1 && n == 0)
    return lurn__op_fail(call, LURN_EVALUE, "no ids to tell the number of classes from; give classes");
  if (ids->shape.ndim == LURN_MAX_DIMS)
    return lurn__op_fail(call, LURN_ESHAPE, "ids have %d dimensions already", LURN_MAX_DIMS);
  if (classes == -1 && !lurn_dtype_is_float(ids->dtype)) {
    LURN__TRY(largest(call->ctx, ids, &classes));
    if (classes < INT64_MAX) classes += 1 - args->base;
    if (classes < 1) classes = 1; /* no id fits, which is told below */
  }
  LURN__TRY(lurn__indices(call->ctx, "one_hot", ids, args->base, classes, places));
  lurn__shape shape = ids->shape;
  shape.size[shape.ndim++] = classes;
  LURN__TRY(lurn__shape_make(call->ctx, "one_hot", shape.ndim, shape.size, &shape));
  LURN__TRY(lurn__out(call, 0, LURN_INT64, &shape));
  int64_t *to = lurn__i64(call->out[0]);
  if (n > 0) memset(to, 0, (size_t)(n * classes) * sizeof *to);
  for (int64_t i = 0; i < n; i++) to[i * classes + lurn__i64(*places)[i]] = 1;
  return LURN_OK;
}

const lurn__op lurn__op_one_hot = {
    .forward = one_hot_forward,
    .doc = "1 at the position that ids name, else 0, along a new last dimension of size classes; int64.\n"
           "ids (...) of integers; without classes, or with -1, as many as the largest id needs."};

/* ---- repeat_interleave ------------------------------------------------------------------------------------- */

/* How often slice i comes: repeats has one number for all or one for each. */
static int64_t times(const lurn_tensor *repeats, int64_t i) {
  return lurn__i64(repeats)[lurn__numel(repeats) == 1 ? 0 : i];
}

static lurn_status repeated_places(lurn__call *call, const lurn_tensor *repeats, int64_t size, lurn_tensor **out) {
  int64_t total = 0, at = 0;
  for (int64_t i = 0; i < size; i++) {
    if (times(repeats, i) < 0)
      return lurn__op_fail(call, LURN_EVALUE, "%lld copies; expected at least 0", (long long)times(repeats, i));
    if (__builtin_add_overflow(total, times(repeats, i), &total) || total > INT64_MAX / 8)
      return lurn__op_fail(call, LURN_ENOMEM, "%lld copies are larger than memory can be",
                           (long long)times(repeats, i));
  }
  lurn__shape shape = {.ndim = 1, .size = {total}};
  LURN__TRY(lurn__tensor_new(call->ctx, LURN_INT64, &shape, out));
  for (int64_t i = 0; i < size; i++)
    for (int64_t k = times(repeats, i); k > 0; k--) lurn__i64(*out)[at++] = i;
  return LURN_OK;
}

static lurn_status repeat_interleave_forward(lurn__call *call) {
  const struct lurn__repeat_interleave_args *args = call->args;
  lurn_tensor *x = args->x, **repeats = lurn__temp(&call->temps), **places = lurn__temp(&call->temps);
  int dim;
  if (x->shape.ndim == 0) return lurn__op_fail(call, LURN_ESHAPE, "a scalar has no slices");
  LURN__TRY(lurn__dim(call->ctx, "repeat_interleave", args->dim, x->shape.ndim, &dim));
  if (lurn_dtype_is_float(args->repeats->dtype) || args->repeats->dtype == LURN_BOOL)
    return lurn__op_fail(call, LURN_EDTYPE, "repeats is %s; expected whole numbers",
                         args->repeats->weak ? "a number with a fraction" : lurn_dtype_name(args->repeats->dtype));
  LURN__TRY(lurn__as_contiguous(call->ctx, args->repeats, LURN_INT64, repeats));
  int64_t n = lurn__numel(*repeats), size = x->shape.size[dim];
  if ((*repeats)->shape.ndim > 1 || (n != 1 && n != size))
    return lurn__op_fail(call, LURN_ESHAPE, "repeats has shape %s; expected a number or (%lld)", LURN__SHAPE(*repeats),
                         (long long)size);
  LURN__TRY(repeated_places(call, *repeats, size, places));
  LURN__TRY(lurn__save_in(call, SAVED_INDEX, *places));
  return lurn__index_select(call->ctx, x, dim, *places, 0, &call->out[0]);
}

static lurn_status repeat_interleave_backward(lurn__grad_call *grad) {
  const struct lurn__repeat_interleave_args *args = grad->args;
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  return lurn__index_add_(grad->ctx, grad->grad_in[0], args->dim, grad->saved[SAVED_INDEX], grad->grad_out[0], 1, 0);
}

const lurn__op lurn__op_repeat_interleave = {
    .forward = repeat_interleave_forward,
    .backward = repeat_interleave_backward,
    .doc = "Each slice of x along dim, `repeats` times in a row.\nrepeats is a number, or a tensor of one number for "
           "each slice. Gradients of the copies add up."};
