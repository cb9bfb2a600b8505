#include "train/pieces.h"

/* A position in a tensor, moved along its last dimension, with its distance in elements from the tensor's first. */
typedef struct walk {
  const lurn__shape *shape;
  const int64_t *stride;
  int64_t index[LURN_MAX_DIMS];
  int64_t at;
} walk;

static walk walk_from(const lurn_tensor *t, int64_t first) {
  walk w = {.shape = &t->shape, .stride = t->stride};
  for (int d = t->shape.ndim - 1; d >= 0; d--) {
    w.index[d] = first % t->shape.size[d];
    first /= t->shape.size[d];
    w.at += w.index[d] * t->stride[d];
  }
  return w;
}

/* Moves on by n elements, at most to the end of the row, where the next row begins. */
static void walk_on(walk *w, int64_t n) {
  int d = w->shape->ndim - 1;
  w->index[d] += n;
  w->at += n * w->stride[d];
  for (; d > 0 && w->index[d] == w->shape->size[d]; d--) {
    w->at += w->stride[d - 1] - w->index[d] * w->stride[d];
    w->index[d] = 0;
    w->index[d - 1]++;
  }
}

static void copy(const lurn__kernels *kernels, const lurn_tensor *t, int64_t first, int64_t n, char *dense,
                 bool store) {
  lurn__unary_fn *strided_copy = kernels->elementwise->cast[t->dtype][t->dtype];
  int64_t width = (int64_t)lurn__tensor_width(t);
  char *data = lurn__tensor_ptr(t);
  int last = t->shape.ndim - 1;
  if (last < 0) { /* a scalar */
    if (n > 0) strided_copy(1, store ? dense : data, 1, store ? data : dense, 1);
    return;
  }
  if (n == 0) return;
  walk w = walk_from(t, first);
  while (n > 0) {
    int64_t run = t->shape.size[last] - w.index[last];
    if (run > n) run = n;
    char *here = data + w.at * width;
    if (store) strided_copy(run, dense, 1, here, t->stride[last]);
    else strided_copy(run, here, t->stride[last], dense, 1);
    dense += run * width;
    n -= run;
    walk_on(&w, run);
  }
}

void lurn__gather_values(const lurn__kernels *kernels, const lurn_tensor *t, int64_t first, int64_t n, void *to) {
  copy(kernels, t, first, n, to, false);
}

void lurn__scatter_pieces(const lurn__kernels *kernels, lurn_tensor *t, int64_t first, int64_t n, const void *from) {
  copy(kernels, t, first, n, (char *)from, true);
}

lurn_status lurn__contiguous_copy(const lurn_tensor *t, lurn_tensor **out) {
  lurn_tensor *dense;
  LURN__TRY(lurn__tensor_new(t->ctx, t->dtype, &t->shape, &dense));
  lurn__gather_values(lurn__kernels_for(t->ctx->isa), t, 0, lurn__numel(t), lurn__tensor_ptr(dense));
  *out = dense;
  return LURN_OK;
}

bool lurn__self_overlaps(const lurn_tensor *t) {
  if (lurn__numel(t) < 2) return false;
  for (int d = 0; d < t->shape.ndim; d++)
    if (t->shape.size[d] > 1 && t->stride[d] == 0) return true;
  return false;
}
