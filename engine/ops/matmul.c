/* Products of matrices, batches of them, and vectors. */
#include "ops/loop.h"
#include "ops/product.h"

enum { SAVED_A = 0, SAVED_B = 1 };

/* ---- matmul ------------------------------------------------------------------------------------------------ */

/* Both operands as (batch..., rows, columns): a vector on the left is one row, on the right one column. */
typedef struct matmul_plan {
  lurn__shape batch; /* broadcast */
  int64_t m, n, k;
  lurn__shape shape;  /* of the result */
  lurn__shape padded; /* with the rows and columns that vectors do not have */
  bool row_vector, column_vector;
} matmul_plan;

static lurn_status plan_matmul(lurn_ctx *ctx, const lurn__shape *a, const lurn__shape *b, matmul_plan *out) {
  char a_text[LURN__SHAPE_TEXT], b_text[LURN__SHAPE_TEXT];
  if (a->ndim == 0 || b->ndim == 0)
    return lurn__fail(ctx, LURN_ESHAPE, "matmul: %s x %s: a scalar has no rows; use *", lurn__shape_print(a, a_text),
                      lurn__shape_print(b, b_text));
  matmul_plan p = {.row_vector = a->ndim == 1, .column_vector = b->ndim == 1};
  p.m = p.row_vector ? 1 : a->size[a->ndim - 2];
  p.k = a->size[a->ndim - 1];
  p.n = p.column_vector ? 1 : b->size[b->ndim - 1];
  int64_t inner = b->size[p.column_vector ? 0 : b->ndim - 2];
  if (inner != p.k)
    return lurn__fail(ctx, LURN_ESHAPE, "matmul: %s x %s: inner sizes %lld and %lld differ",
                      lurn__shape_print(a, a_text), lurn__shape_print(b, b_text), (long long)p.k, (long long)inner);
  lurn__shape a_batch = *a, b_batch = *b;
  a_batch.ndim = p.row_vector ? 0 : a->ndim - 2;
  b_batch.ndim = p.column_vector ? 0 : b->ndim - 2;
  if (!lurn__shape_broadcast(&a_batch, &b_batch, &p.batch))
    return lurn__fail(ctx, LURN_ESHAPE, "matmul: %s x %s: the batches do not broadcast", lurn__shape_print(a, a_text),
                      lurn__shape_print(b, b_text));
  p.shape = p.padded = p.batch;
  if (!p.row_vector) p.shape.size[p.shape.ndim++] = p.m;
  if (!p.column_vector) p.shape.size[p.shape.ndim++] = p.n;
  p.padded.size[p.padded.ndim++] = p.m;
  p.padded.size[p.padded.ndim++] = p.n;
  *out = p;
  return lurn__shape_make(ctx, "matmul", p.shape.ndim, p.shape.size, &p.shape);
}

static lurn__matrix matrix_of(const lurn_tensor *t, bool as_row, bool as_column) {
  int last = t->shape.ndim - 1;
  lurn__matrix m = {.data = lurn__tensor_ptr(t)};
  m.row = as_row ? 0 : as_column ? t->stride[last] : t->stride[last - 1];
  m.col = as_column ? 0 : t->stride[last];
  return m;
}

/* Offset of batch number `at` in a tensor whose last `used` dimensions are the matrix. */
static int64_t batch_offset(const lurn_tensor *t, const lurn__shape *batch, int64_t at, int used) {
  int64_t offset = 0;
  int have = t->shape.ndim - used;
  for (int i = batch->ndim - 1, d = have - 1; i >= 0; i--, d--) {
    if (d >= 0 && t->shape.size[d] != 1) offset += at % batch->size[i] * t->stride[d];
    at /= batch->size[i];
  }
  return offset;
}

/* True when a's batch and row dimensions pass in one stride, so that one product over all of them does for a B without batch. */
static bool rows_fold(const lurn_tensor *a) {
  for (int i = 0; i + 2 < a->shape.ndim; i++)
    if (a->stride[i] != a->stride[i + 1] * a->shape.size[i + 1]) return false;
  return true;
}

static lurn_status multiply(lurn_ctx *ctx, const matmul_plan *p, const lurn_tensor *a, const lurn_tensor *b,
                            lurn_tensor *c) {
  lurn__matrix ma = matrix_of(a, p->row_vector, false), mb = matrix_of(b, false, p->column_vector);
  size_t width = lurn__tensor_width(c);
  char *out = lurn__tensor_ptr(c);
  bool b_has_batch = b->shape.ndim > 2;
  if (!b_has_batch && !p->row_vector && rows_fold(a))
    return lurn__product(ctx, c->dtype, lurn__shape_numel(&p->batch) * p->m, p->n, p->k, ma, mb, out, p->n, false);
  int64_t count = lurn__shape_numel(&p->batch);
  for (int64_t i = 0; i < count; i++) {
    lurn__matrix at = ma, bt = mb;
    at.data = (const char *)ma.data + batch_offset(a, &p->batch, i, p->row_vector ? 1 : 2) * (int64_t)width;
    bt.data = (const char *)mb.data + batch_offset(b, &p->batch, i, p->column_vector ? 1 : 2) * (int64_t)width;
    LURN__TRY(
        lurn__product(ctx, c->dtype, p->m, p->n, p->k, at, bt, out + (size_t)(i * p->m * p->n) * width, p->n, false));
  }
  return LURN_OK;
}

static lurn_status matmul_forward(lurn__call *call) {
  const struct lurn__matmul_args *args = call->args;
  matmul_plan p;
  LURN__TRY(lurn__need_float(call, args->a, "a"));
  LURN__TRY(lurn__need_float(call, args->b, "b"));
  LURN__TRY(plan_matmul(call->ctx, &args->a->shape, &args->b->shape, &p));
  lurn_dtype dtype = lurn__promote(args->a->dtype, false, args->b->dtype, false);
  lurn_tensor **a = lurn__temp(&call->temps), **b = lurn__temp(&call->temps);
  *a = lurn_retain(args->a);
  *b = lurn_retain(args->b);
  if (args->a->dtype != dtype) {
    lurn__drop(a);
    LURN__TRY(lurn__to(call->ctx, args->a, dtype, a));
  }
  if (args->b->dtype != dtype) {
    lurn__drop(b);
    LURN__TRY(lurn__to(call->ctx, args->b, dtype, b));
  }
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_A, args->a));
  if (call->need[0]) LURN__TRY(lurn__save_in(call, SAVED_B, args->b));
  LURN__TRY(lurn__out(call, 0, dtype, &p.shape));
  return multiply(call->ctx, &p, *a, *b, call->out[0]);
}

/* An operand as a matrix: a vector gets the dimension it does not have. */
static lurn_status as_matrix(lurn_ctx *ctx, lurn_tensor *t, bool vector, int64_t missing_dim, lurn_tensor **out) {
  return vector ? lurn__unsqueeze(ctx, t, missing_dim, out) : lurn__tensor_alias(t, out);
}

/* Gives a gradient in matrix form to input i: without the dimension its vector does not have, and summed over broadcasting. */
static lurn_status give_matrix(lurn__grad_call *grad, int i, lurn_tensor *g, bool vector, int64_t missing_dim) {
  if (!vector) return lurn__sum_to(grad->ctx, g, &grad->in[i], &grad->grad_in[i]);
  lurn_tensor **flat = lurn__temp(&grad->temps);
  LURN__TRY(lurn__squeeze(grad->ctx, g, missing_dim, flat));
  return lurn__sum_to(grad->ctx, *flat, &grad->in[i], &grad->grad_in[i]);
}

/* dA = dC B^T */
static lurn_status matmul_grad_a(lurn__grad_call *grad, const matmul_plan *p, lurn_tensor *gc) {
  lurn__temps *temps = &grad->temps;
  lurn_tensor **b = lurn__temp(temps), **turned = lurn__temp(temps), **product = lurn__temp(temps);
  LURN__TRY(as_matrix(grad->ctx, grad->saved[SAVED_B], p->column_vector, -1, b));
  LURN__TRY(lurn__transpose(grad->ctx, *b, -1, -2, turned));
  LURN__TRY(lurn__matmul(grad->ctx, gc, *turned, product));
  return give_matrix(grad, 0, *product, p->row_vector, -2);
}

/* dB = A^T dC; when B has no batch, one product over the rows of all batches. */
static lurn_status matmul_grad_b(lurn__grad_call *grad, const matmul_plan *p, lurn_tensor *gc) {
  lurn__temps *temps = &grad->temps;
  lurn_tensor **a = lurn__temp(temps), **turned = lurn__temp(temps), **product = lurn__temp(temps);
  LURN__TRY(as_matrix(grad->ctx, grad->saved[SAVED_A], p->row_vector, 0, a));
  if (grad->in[1].shape.ndim <= 2 && p->batch.ndim > 0 && (*a)->shape.ndim > 2) {
    lurn_tensor **rows = lurn__temp(temps), **gc_rows = lurn__temp(temps);
    int64_t count = lurn__shape_numel(&p->batch) * p->m;
    LURN__TRY(lurn__reshape(grad->ctx, *a, (int64_t[]){count, p->k}, 2, rows));
    LURN__TRY(lurn__reshape(grad->ctx, gc, (int64_t[]){count, p->n}, 2, gc_rows));
    LURN__TRY(lurn__transpose(grad->ctx, *rows, 0, 1, turned));
    LURN__TRY(lurn__matmul(grad->ctx, *turned, *gc_rows, product));
  } else {
    LURN__TRY(lurn__transpose(grad->ctx, *a, -1, -2, turned));
    LURN__TRY(lurn__matmul(grad->ctx, *turned, gc, product));
  }
  return give_matrix(grad, 1, *product, p->column_vector, -1);
}

static lurn_status matmul_backward(lurn__grad_call *grad) {
  matmul_plan p;
  lurn_tensor **gc = lurn__temp(&grad->temps);
  LURN__TRY(plan_matmul(grad->ctx, &grad->in[0].shape, &grad->in[1].shape, &p));
  LURN__TRY(lurn__reshape(grad->ctx, grad->grad_out[0], p.padded.size, p.padded.ndim, gc));
  if (grad->need[0]) LURN__TRY(matmul_grad_a(grad, &p, *gc));
  if (grad->need[1]) LURN__TRY(matmul_grad_b(grad, &p, *gc));
  return LURN_OK;
}

const lurn__op lurn__op_matmul = {
    .forward = matmul_forward,
    .backward = matmul_backward,
    .doc = "The matrix product a b.\n(..., m, k) x (..., k, n) gives (..., m, n): leading "
           "dimensions broadcast. A vector (k) on the left counts as one row, on the right as one "
           "column, and does not show in the result. Float tensors only."};

/* ---- linear ------------------------------------------------------------------------------------------------ */

enum { SAVED_X = 0, SAVED_WEIGHT = 1 };

static lurn_status check_linear(lurn__call *call, const lurn_tensor *x, const lurn_tensor *weight,
                                const lurn_tensor *bias) {
  LURN__TRY(lurn__need_float(call, x, "x"));
  if (weight->shape.ndim != 2)
    return lurn__op_fail(call, LURN_ESHAPE, "weight has shape %s; expected (out, in)", LURN__SHAPE(weight));
  if (x->shape.ndim == 0 || x->shape.size[x->shape.ndim - 1] != weight->shape.size[1])
    return lurn__op_fail(call, LURN_ESHAPE, "x has shape %s; expected (..., %lld) for a weight of shape %s",
                         LURN__SHAPE(x), (long long)weight->shape.size[1], LURN__SHAPE(weight));
  if (weight->dtype != x->dtype || (bias != NULL && bias->dtype != x->dtype))
    return lurn__op_fail(call, LURN_EDTYPE, "x is %s, weight %s, bias %s; expected all the same",
                         lurn_dtype_name(x->dtype), lurn_dtype_name(weight->dtype),
                         bias != NULL ? lurn_dtype_name(bias->dtype) : "absent");
  if (bias != NULL && (bias->shape.ndim != 1 || bias->shape.size[0] != weight->shape.size[0]))
    return lurn__op_fail(call, LURN_ESHAPE, "bias has shape %s; expected (%lld)", LURN__SHAPE(bias),
                         (long long)weight->shape.size[0]);
  return LURN_OK;
}

/* y += or = x W^T for rows of x, from W as it was kept where that pays. */
static lurn_status multiply_linear(const lurn__call *call, const lurn_tensor *x, const lurn_tensor *weight,
                                   int64_t rows, bool accumulate) {
  lurn_ctx *ctx = call->ctx;
  int64_t out = weight->shape.size[0], in = weight->shape.size[1];
  lurn__matrix a = {lurn__tensor_ptr(x), in, 1};
  lurn__matrix w = {lurn__tensor_ptr(weight), weight->stride[1], weight->stride[0]};
  void *y = lurn__tensor_ptr(call->out[0]);
  const void *kept = NULL;
  if (rows <= LURN__FEW_ROWS && !call->recording && !ctx->use_blas)
    kept = lurn__product_kept(ctx, x->dtype, out, in, weight->storage, w);
  if (kept != NULL) return lurn__product_packed(ctx, x->dtype, rows, out, in, a, kept, y, out, accumulate);
  return lurn__product(ctx, x->dtype, rows, out, in, a, w, y, out, accumulate);
}

static lurn_status linear_forward(lurn__call *call) {
  const struct lurn__linear_args *args = call->args;
  LURN__TRY(check_linear(call, args->x, args->weight, args->bias));
  lurn_tensor **x = lurn__temp(&call->temps);
  LURN__TRY(lurn__as_contiguous(call->ctx, args->x, args->x->dtype, x));
  lurn__shape shape = args->x->shape;
  int64_t out = args->weight->shape.size[0], rows = 1;
  for (int i = 0; i + 1 < shape.ndim; i++) rows *= shape.size[i];
  shape.size[shape.ndim - 1] = out;
  LURN__TRY(lurn__shape_make(call->ctx, "linear", shape.ndim, shape.size, &shape));
  if (call->need[1]) LURN__TRY(lurn__save_in(call, SAVED_X, *x));
  if (call->need[0]) LURN__TRY(lurn__save_in(call, SAVED_WEIGHT, args->weight));
  LURN__TRY(lurn__out(call, 0, args->x->dtype, &shape));
  if (args->bias != NULL) LURN__TRY(lurn__copy_(call->ctx, call->out[0], args->bias));
  return multiply_linear(call, *x, args->weight, rows, args->bias != NULL);
}

static lurn_status linear_backward(lurn__grad_call *grad) {
  lurn_ctx *ctx = grad->ctx;
  lurn__temps *temps = &grad->temps;
  int64_t out = grad->in[1].shape.size[0], in = grad->in[1].shape.size[1];
  int64_t rows = 1; /* not by division: out may be 0 */
  for (int i = 0; i + 1 < grad->in[0].shape.ndim; i++) rows *= grad->in[0].shape.size[i];
  lurn_tensor **gy = lurn__temp(temps);
  LURN__TRY(lurn__as_contiguous(ctx, grad->grad_out[0], grad->grad_out[0]->dtype, gy));
  lurn_dtype dtype = (*gy)->dtype;
  if (grad->need[0]) { /* dx = gy W */
    const lurn_tensor *weight = grad->saved[SAVED_WEIGHT];
    LURN__TRY(lurn__tensor_new(ctx, dtype, &grad->in[0].shape, &grad->grad_in[0]));
    LURN__TRY(lurn__product(ctx, dtype, rows, in, out, (lurn__matrix){lurn__tensor_ptr(*gy), out, 1},
                            (lurn__matrix){lurn__tensor_ptr(weight), weight->stride[0], weight->stride[1]},
                            lurn__tensor_ptr(grad->grad_in[0]), in, false));
  }
  if (grad->need[1]) { /* dW = gy^T x */
    LURN__TRY(lurn__tensor_new(ctx, dtype, &grad->in[1].shape, &grad->grad_in[1]));
    LURN__TRY(lurn__product(ctx, dtype, out, in, rows, (lurn__matrix){lurn__tensor_ptr(*gy), 1, out},
                            (lurn__matrix){lurn__tensor_ptr(grad->saved[SAVED_X]), in, 1},
                            lurn__tensor_ptr(grad->grad_in[1]), in, false));
  }
  if (grad->n_in > 2 && grad->need[2]) {
    lurn_tensor **flat = lurn__temp(temps);
    LURN__TRY(lurn__reshape(ctx, *gy, (int64_t[]){rows, out}, 2, flat));
    LURN__TRY(lurn__sum(ctx, *flat, (int64_t[]){0}, 1, false, &grad->grad_in[2]));
  }
  return LURN_OK;
}

const lurn__op lurn__op_linear = {
    .forward = linear_forward,
    .backward = linear_backward,
    .doc = "y = x W^T + b.\nx (..., in), weight (out, in), bias (out) or none; y (..., out). Float "
           "tensors of one dtype."};
