/* Tensor: storage + shape, strides, offset, dtype; and its place in the graph. */
#ifndef LURN_CORE_TENSOR_H
#define LURN_CORE_TENSOR_H

#include "core/dtype.h"
#include "core/hook.h"
#include "core/shape.h"
#include "core/storage.h"

/* The part of a graph node that tensors know.  The rest is autograd's (autograd/node.h). */
struct lurn__node {
  int64_t refs;
  uint64_t number;                              /* order of creation */
  const char *name;                             /* the op */
  void (*destroy)(lurn_ctx *ctx, lurn__node *); /* gives back what the node owns, then its memory */
  lurn__node *next_dead;
  lurn__hooks hooks;     /* on its outputs */
  lurn__keeper *keepers; /* of the outputs that keep their gradients */
};

struct lurn_tensor {
  int64_t refs;
  lurn_ctx *ctx;
  lurn__storage *storage;
  int64_t offset; /* elements from the start of the storage */
  lurn__shape shape;
  int64_t stride[LURN_MAX_DIMS];
  lurn_dtype dtype;
  bool weak;          /* a plain number, see lurn_scalar */
  bool requires_grad; /* a leaf's wish, or made by a node */
  int output;         /* which output of its node */
  lurn__node *node;   /* the node that made it, owned; NULL for a leaf */
  uint64_t history;   /* storage version that node's value belongs to */
  lurn_tensor *grad;
  lurn_tensor *base;    /* the tensor this is a differentiable view of, owned, or NULL */
  bool blind;           /* shares memory with a tensor that it does not know as its base */
  uint64_t mark;        /* of the backward sweep that last met this leaf, */
  int64_t slot;         /* and its place there */
  lurn__hooks hooks;    /* of a leaf */
  lurn__keeper *keeper; /* of a result that keeps its gradient, owned, or NULL */
};

/* A contiguous tensor of undefined contents. */
lurn_status lurn__tensor_new(lurn_ctx *ctx, lurn_dtype dtype, const lurn__shape *shape, lurn_tensor **out);
/* A tensor on t's storage with another shape, strides and offset (all checked by the caller); outside the graph. */
lurn_status lurn__tensor_view(const lurn_tensor *t, const lurn__shape *shape, const int64_t *stride, int64_t offset,
                              lurn_tensor **out);
/* The same elements, outside the graph. */
lurn_status lurn__tensor_alias(const lurn_tensor *t, lurn_tensor **out);

static inline size_t lurn__tensor_width(const lurn_tensor *t) { return lurn_dtype_size(t->dtype); }
static inline void *lurn__tensor_ptr(const lurn_tensor *t) {
  return (char *)t->storage->data + t->offset * (int64_t)lurn__tensor_width(t);
}
static inline float *lurn__f32(const lurn_tensor *t) { return lurn__tensor_ptr(t); }
static inline double *lurn__f64(const lurn_tensor *t) { return lurn__tensor_ptr(t); }
static inline int64_t *lurn__i64(const lurn_tensor *t) { return lurn__tensor_ptr(t); }
static inline int64_t lurn__numel(const lurn_tensor *t) { return lurn__shape_numel(&t->shape); }
static inline void lurn__touch(lurn_tensor *t) { lurn__storage_written(t->ctx, t->storage); }

/* True when two tensors may share an element without being the same view. */
bool lurn__tensor_overlaps(const lurn_tensor *a, const lurn_tensor *b);

lurn__node *lurn__node_retain(lurn__node *node);
/* Frees chains of any length without recursion. */
void lurn__node_release(lurn_ctx *ctx, lurn__node *node);

/* Sets *slot to NULL after releasing what it held. */
static inline void lurn__drop(lurn_tensor **slot) {
  lurn_tensor *t = *slot;
  *slot = NULL;
  lurn_release(t);
}

#endif
