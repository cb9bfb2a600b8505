#include "core/tensor.h"

#include <string.h>

/* ---- Making and releasing ---------------------------------------------------------------------------------- */

static lurn_status new_header(lurn_ctx *ctx, lurn_dtype dtype, const lurn__shape *shape, lurn_tensor **out) {
  lurn_tensor *t = lurn__alloc(ctx, sizeof *t);
  if (t == NULL) return LURN_ENOMEM;
  *t = (lurn_tensor){.refs = 1, .ctx = ctx, .shape = *shape, .dtype = dtype};
  *out = t;
  return LURN_OK;
}

static void attach(lurn_tensor *t, lurn__storage *storage) {
  t->storage = storage;
  lurn__ctx_retain(t->ctx);
}

lurn_status lurn__tensor_new(lurn_ctx *ctx, lurn_dtype dtype, const lurn__shape *shape, lurn_tensor **out) {
  lurn_tensor *t;
  /* Operands may be expanded, so the shape that an op makes of theirs may be anything. */
  LURN__TRY(lurn__shape_check(ctx, "out of memory", shape));
  LURN__TRY(new_header(ctx, dtype, shape, &t));
  lurn__storage *storage;
  lurn_status status = lurn__storage_new(ctx, (size_t)lurn__shape_numel(shape) * lurn_dtype_size(dtype), &storage);
  if (status != LURN_OK) {
    lurn__free(ctx, t, sizeof *t);
    return status;
  }
  attach(t, storage);
  lurn__shape_strides(shape, t->stride);
  *out = t;
  return LURN_OK;
}

lurn_status lurn__tensor_view(const lurn_tensor *t, const lurn__shape *shape, const int64_t *stride, int64_t offset,
                              lurn_tensor **out) {
  lurn_tensor *view;
  LURN__TRY(new_header(t->ctx, t->dtype, shape, &view));
  t->storage->refs++;
  attach(view, t->storage);
  memcpy(view->stride, stride, sizeof view->stride);
  view->offset = offset;
  view->history = t->storage->version;
  *out = view;
  return LURN_OK;
}

lurn_status lurn__tensor_alias(const lurn_tensor *t, lurn_tensor **out) {
  LURN__TRY(lurn__tensor_view(t, &t->shape, t->stride, t->offset, out));
  (*out)->weak = t->weak;
  return LURN_OK;
}

lurn_tensor *lurn_retain(lurn_tensor *t) {
  if (t == NULL) return NULL;
  t->refs++;
  return t;
}

/* No deeper than to a base, which has no base; gradients of gradients are a chain of any length. */
void lurn_release(lurn_tensor *t) {
  while (t != NULL && --t->refs == 0) {
    lurn_ctx *ctx = t->ctx;
    lurn_tensor *grad = t->grad;
    lurn__node *node = t->node;
    if (t->keeper != NULL) lurn__keeper_free(t);
    if (t->hooks.first != NULL) lurn__hooks_clear(&t->hooks);
    lurn_release(t->base);
    lurn__storage_release(ctx, t->storage);
    lurn__free(ctx, t, sizeof *t);
    if (node != NULL) lurn__node_release(ctx, node);
    lurn__ctx_release(ctx);
    t = grad;
  }
}

lurn__node *lurn__node_retain(lurn__node *node) {
  node->refs++;
  return node;
}

void lurn__node_release(lurn_ctx *ctx, lurn__node *node) {
  if (--node->refs > 0) return;
  node->next_dead = ctx->dead;
  ctx->dead = node;
  if (ctx->burying) return; /* the loop below is at work further down the stack */
  ctx->burying = true;
  lurn__ctx_retain(ctx);
  while (ctx->dead != NULL) {
    lurn__node *next = ctx->dead;
    ctx->dead = next->next_dead;
    next->destroy(ctx, next);
  }
  ctx->burying = false;
  lurn__ctx_release(ctx);
}

/* ---- Public constructors ----------------------------------------------------------------------------------- */

static lurn_status check_dtype(lurn_ctx *ctx, const char *who, lurn_dtype dtype) {
  if ((unsigned)dtype < LURN_DTYPE_COUNT) return LURN_OK;
  return lurn__fail(ctx, LURN_EDTYPE, "%s: there is no dtype number %d", who, (int)dtype);
}

static lurn_status make(lurn_ctx *ctx, const char *who, lurn_dtype dtype, int ndim, const int64_t *sizes,
                        lurn_tensor **out) {
  lurn__shape shape;
  LURN__TRY(lurn__need_place(ctx, who, out));
  LURN__TRY(check_dtype(ctx, who, dtype));
  LURN__TRY(lurn__shape_make(ctx, who, ndim, sizes, &shape));
  return lurn__tensor_new(ctx, dtype, &shape, out);
}

lurn_status lurn_empty(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *sizes, lurn_tensor **out) {
  return make(ctx, "empty", dtype, ndim, sizes, out);
}

lurn_status lurn_zeros(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *sizes, lurn_tensor **out) {
  lurn_tensor *t;
  LURN__TRY(lurn__need_place(ctx, "zeros", out));
  LURN__TRY(make(ctx, "zeros", dtype, ndim, sizes, &t));
  memset(t->storage->data, 0, t->storage->bytes);
  *out = t;
  return LURN_OK;
}

lurn_status lurn_full(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *sizes, double value,
                      lurn_tensor **out) {
  lurn_tensor *t;
  LURN__TRY(lurn__need_place(ctx, "full", out));
  LURN__TRY(make(ctx, "full", dtype, ndim, sizes, &t));
  size_t width = lurn_dtype_size(dtype), bytes = t->storage->bytes;
  char *data = t->storage->data;
  if (bytes > 0) lurn__store(dtype, data, value);
  for (size_t filled = width; filled < bytes; filled *= 2)
    memcpy(data + filled, data, filled < bytes - filled ? filled : bytes - filled);
  *out = t;
  return LURN_OK;
}

lurn_status lurn_from_data(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *sizes, const void *data,
                           lurn_tensor **out) {
  lurn_tensor *t;
  LURN__TRY(lurn__need_place(ctx, "from_data", out));
  LURN__TRY(make(ctx, "from_data", dtype, ndim, sizes, &t));
  if (t->storage->bytes > 0 && data == NULL) {
    lurn_release(t);
    return lurn__need(ctx, "from_data", "data", data);
  }
  if (t->storage->bytes > 0) memcpy(t->storage->data, data, t->storage->bytes);
  *out = t;
  return LURN_OK;
}

lurn_status lurn_from_buffer(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *sizes, void *data,
                             void (*free_fn)(void *ud, void *data), void *ud, lurn_tensor **out) {
  lurn__shape shape;
  LURN__TRY(lurn__need_place(ctx, "from_buffer", out));
  LURN__TRY(check_dtype(ctx, "from_buffer", dtype));
  LURN__TRY(lurn__shape_make(ctx, "from_buffer", ndim, sizes, &shape));
  size_t width = lurn_dtype_size(dtype);
  if (data == NULL && lurn__shape_numel(&shape) > 0) return lurn__fail(ctx, LURN_EVALUE, "from_buffer: no buffer");
  if ((uintptr_t)data % width != 0)
    return lurn__fail(ctx, LURN_EVALUE, "from_buffer: the buffer is not aligned to %zu bytes", width);
  lurn_tensor *t;
  LURN__TRY(new_header(ctx, dtype, &shape, &t));
  lurn__storage *storage;
  lurn_status status = lurn__storage_wrap(ctx, data, (size_t)lurn__shape_numel(&shape) * width, free_fn, ud, &storage);
  if (status != LURN_OK) {
    lurn__free(ctx, t, sizeof *t);
    return status;
  }
  attach(t, storage);
  lurn__shape_strides(&shape, t->stride);
  *out = t;
  return LURN_OK;
}

lurn_status lurn_scalar(lurn_ctx *ctx, double value, lurn_tensor **out) {
  LURN__TRY(lurn__need_place(ctx, "scalar", out));
  LURN__TRY(lurn_full(ctx, LURN_FLOAT64, 0, NULL, value, out));
  (*out)->weak = true;
  return LURN_OK;
}

lurn_status lurn_scalar_int(lurn_ctx *ctx, int64_t value, lurn_tensor **out) {
  LURN__TRY(lurn__need_place(ctx, "scalar_int", out));
  LURN__TRY(lurn_empty(ctx, LURN_INT64, 0, NULL, out));
  *lurn__i64(*out) = value;
  (*out)->weak = true;
  return LURN_OK;
}

lurn_status lurn_detach(lurn_ctx *ctx, lurn_tensor *t, lurn_tensor **out) {
  LURN__TRY(lurn__need(ctx, "detach", "tensor", t));
  LURN__TRY(lurn__need_place(ctx, "detach", out));
  return lurn__tensor_alias(t, out);
}

/* ---- Reading ----------------------------------------------------------------------------------------------- */

lurn_ctx *lurn_tensor_ctx(const lurn_tensor *t) { return t->ctx; }
lurn_dtype lurn_tensor_dtype(const lurn_tensor *t) { return t->dtype; }
int lurn_tensor_ndim(const lurn_tensor *t) { return t->shape.ndim; }
const int64_t *lurn_tensor_shape(const lurn_tensor *t) { return t->shape.size; }
const int64_t *lurn_tensor_strides(const lurn_tensor *t) { return t->stride; }
int64_t lurn_tensor_numel(const lurn_tensor *t) { return lurn__numel(t); }
void *lurn_tensor_data(const lurn_tensor *t) { return lurn__tensor_ptr(t); }
void lurn_tensor_touch(lurn_tensor *t) { lurn__touch(t); }
uint64_t lurn_tensor_version(const lurn_tensor *t) { return t->storage->version; }
bool lurn_tensor_requires_grad(const lurn_tensor *t) { return t->requires_grad; }
bool lurn_tensor_is_leaf(const lurn_tensor *t) { return t->node == NULL; }
const char *lurn_tensor_maker(const lurn_tensor *t) { return t->node != NULL ? t->node->name : NULL; }
lurn_tensor *lurn_tensor_grad(const lurn_tensor *t) { return t->grad; }

bool lurn_tensor_is_contiguous(const lurn_tensor *t) {
  int64_t expected = 1;
  for (int i = t->shape.ndim - 1; i >= 0; i--) {
    if (t->shape.size[i] == 0) return true;
    if (t->shape.size[i] != 1 && t->stride[i] != expected) return false;
    expected *= t->shape.size[i];
  }
  return true;
}

bool lurn_tensor_same_view(const lurn_tensor *a, const lurn_tensor *b) {
  if (a->storage != b->storage || a->offset != b->offset || a->dtype != b->dtype) return false;
  if (!lurn__shape_equal(&a->shape, &b->shape)) return false;
  for (int i = 0; i < a->shape.ndim; i++)
    if (a->shape.size[i] > 1 && a->stride[i] != b->stride[i]) return false;
  return true;
}

/* The range of elements a tensor touches: [*first, *last] in elements of its storage; false when it is empty. */
static bool extent(const lurn_tensor *t, int64_t *first, int64_t *last) {
  *first = *last = t->offset;
  for (int i = 0; i < t->shape.ndim; i++) {
    if (t->shape.size[i] == 0) return false;
    int64_t reach = (t->shape.size[i] - 1) * t->stride[i];
    *(reach < 0 ? first : last) += reach;
  }
  return true;
}

bool lurn__tensor_overlaps(const lurn_tensor *a, const lurn_tensor *b) {
  int64_t a_first, a_last, b_first, b_last;
  if (a->storage != b->storage || lurn_tensor_same_view(a, b)) return false;
  if (!extent(a, &a_first, &a_last) || !extent(b, &b_first, &b_last)) return false;
  return a_first <= b_last && b_first <= a_last;
}

static lurn_status element(const lurn_tensor *t, const char *who, const int64_t *index, void **out) {
  int64_t at = 0;
  if (t->shape.ndim > 0) LURN__TRY(lurn__need(t->ctx, who, "index", index));
  for (int i = 0; i < t->shape.ndim; i++) {
    int64_t size = t->shape.size[i], where = index[i] < 0 ? index[i] + size : index[i];
    if (where < 0 || where >= size) {
      int64_t base = t->ctx->index_base, given = index[i] < 0 ? index[i] : index[i] + base;
      return lurn__fail(t->ctx, LURN_EINDEX, "%s: index %lld in dimension %lld of size %lld", who, (long long)given,
                        (long long)base + i, (long long)size);
    }
    at += where * t->stride[i];
  }
  *out = (char *)lurn__tensor_ptr(t) + at * (int64_t)lurn__tensor_width(t);
  return LURN_OK;
}

lurn_status lurn_tensor_get(lurn_tensor *t, const int64_t *index, double *out) {
  void *p;
  if (t == NULL) return LURN_EVALUE;
  LURN__TRY(lurn__need_place(t->ctx, "get", out));
  LURN__TRY(element(t, "get", index, &p));
  *out = lurn__load(t->dtype, p);
  return LURN_OK;
}

lurn_status lurn_tensor_get_int(lurn_tensor *t, const int64_t *index, int64_t *out) {
  void *p;
  if (t == NULL) return LURN_EVALUE;
  LURN__TRY(lurn__need_place(t->ctx, "get", out));
  LURN__TRY(element(t, "get", index, &p));
  *out = lurn__load_int(t->dtype, p);
  return LURN_OK;
}

/* Written through t itself: what its place in the graph says of others stays as it was. */
static void touch_through(lurn_tensor *t) {
  bool current = t->history == t->storage->version;
  lurn__touch(t);
  if (current) t->history = t->storage->version;
}

static lurn_status check_writable(lurn_tensor *t) {
  if (t == NULL) return LURN_EVALUE;
  if (t->ctx->grad_enabled && t->requires_grad)
    return lurn__fail(t->ctx, LURN_ESTATE,
                      "set: a single element of a tensor that requires a gradient; "
                      "use no_grad, or assign a tensor to a slice");
  return LURN_OK;
}

lurn_status lurn_tensor_set(lurn_tensor *t, const int64_t *index, double value) {
  void *p;
  LURN__TRY(check_writable(t));
  LURN__TRY(element(t, "set", index, &p));
  lurn__store(t->dtype, p, value);
  touch_through(t);
  return LURN_OK;
}

lurn_status lurn_tensor_set_int(lurn_tensor *t, const int64_t *index, int64_t value) {
  void *p;
  LURN__TRY(check_writable(t));
  LURN__TRY(element(t, "set", index, &p));
  lurn__store_int(t->dtype, p, value);
  touch_through(t);
  return LURN_OK;
}

/* ---- Gradient fields --------------------------------------------------------------------------------------- */

lurn_status lurn_tensor_set_requires_grad(lurn_tensor *t, bool on) {
  if (t == NULL) return LURN_EVALUE;
  if (t->node != NULL)
    return on ? LURN_OK
              : lurn__fail(t->ctx, LURN_ESTATE,
                           "requires_grad: only of a leaf can it be changed; this tensor was made "
                           "by %s; use detach()",
                           t->node->name);
  if (on && !lurn_dtype_is_float(t->dtype))
    return lurn__fail(t->ctx, LURN_EDTYPE, "requires_grad: only float tensors have gradients, this is %s",
                      lurn_dtype_name(t->dtype));
  t->requires_grad = on;
  if (on) lurn__drop(&t->base); /* a leaf has no history, and nodes own leaves: no way back from here */
  return LURN_OK;
}

lurn_status lurn_tensor_set_grad(lurn_tensor *t, lurn_tensor *grad) {
  if (t == NULL) return LURN_EVALUE;
  if (grad != NULL && (grad->dtype != t->dtype || !lurn__shape_equal(&grad->shape, &t->shape))) {
    char expected[LURN__SHAPE_TEXT], given[LURN__SHAPE_TEXT];
    return lurn__fail(t->ctx, LURN_ESHAPE, "grad: expected %s %s like the tensor, got %s %s", lurn_dtype_name(t->dtype),
                      lurn__shape_print(&t->shape, expected), lurn_dtype_name(grad->dtype),
                      lurn__shape_print(&grad->shape, given));
  }
  if (grad != NULL && grad->ctx != t->ctx)
    return lurn__fail(t->ctx, LURN_ESTATE, "grad: the gradient belongs to another context");
  lurn_tensor *plain = NULL; /* without a history or a gradient of its own, which could lead back to t */
  if (grad != NULL) LURN__TRY(lurn__tensor_alias(grad, &plain));
  lurn_tensor *former = t->grad;
  t->grad = plain;
  lurn_release(former);
  return LURN_OK;
}
