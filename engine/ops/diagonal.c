/* Diagonals and triangles of matrices. */
#include <string.h>

#include "ops/op.h"

/* ---- diagonal ---------------------------------------------------------------------------------------------- */

/* Elements of a diagonal of rows x columns that lies `offset` above (or -offset below) the main one. */
static int64_t diagonal_length(int64_t rows, int64_t columns, int64_t offset) {
  if (offset >= 0) columns = offset < columns ? columns - offset : 0;
  else rows = offset > -rows ? rows + offset : 0;
  return rows < columns ? rows : columns;
}

static lurn_status diagonal_view(lurn_ctx *ctx, const char *who, lurn_tensor *x, int64_t offset, int64_t first,
                                 int64_t second, lurn_tensor **out) {
  int a, b;
  if (x->shape.ndim < 2)
    return lurn__fail(ctx, LURN_ESHAPE, "%s: a tensor of shape %s has no diagonal; expected at least 2 dimensions", who,
                      LURN__SHAPE(x));
  LURN__TRY(lurn__dim(ctx, who, first, x->shape.ndim, &a));
  LURN__TRY(lurn__dim(ctx, who, second, x->shape.ndim, &b));
  if (a == b) return lurn__fail(ctx, LURN_EVALUE, "%s: dimension %d is named twice", who, a + ctx->index_base);
  lurn__shape shape = {0};
  int64_t stride[LURN_MAX_DIMS] = {0}, start = x->offset;
  int64_t length = diagonal_length(x->shape.size[a], x->shape.size[b], offset);
  for (int i = 0; i < x->shape.ndim; i++) {
    if (i == a || i == b) continue;
    shape.size[shape.ndim] = x->shape.size[i];
    stride[shape.ndim++] = x->stride[i];
  }
  if (length > 0) start += offset >= 0 ? offset * x->stride[b] : -offset * x->stride[a];
  shape.size[shape.ndim] = length;
  stride[shape.ndim++] = x->stride[a] + x->stride[b];
  return lurn__tensor_view(x, &shape, stride, start, out);
}

static lurn_status diagonal_forward(lurn__call *call) {
  const struct lurn__diagonal_args *args = call->args;
  return diagonal_view(call->ctx, "diagonal", args->x, args->offset, args->dim1, args->dim2, &call->out[0]);
}

static lurn_status diagonal_backward(lurn__grad_call *grad) {
  const struct lurn__diagonal_args *args = grad->args;
  lurn_tensor **line = lurn__temp(&grad->temps);
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  LURN__TRY(diagonal_view(grad->ctx, "diagonal", grad->grad_in[0], args->offset, args->dim1, args->dim2, line));
  return lurn__copy_(grad->ctx, *line, grad->grad_out[0]);
}

const lurn__op lurn__op_diagonal = {
    .forward = diagonal_forward,
    .backward = diagonal_backward,
    .view = true,
    .doc = "The elements x[i][i + offset] of dimensions dim1 and dim2, as a last dimension in their place; shares "
           "memory.\nA positive offset lies above the main diagonal, a negative one below."};

/* ---- diag -------------------------------------------------------------------------------------------------- */

/* A matrix of zeros with x, one dimension, on a diagonal. */
static lurn_status on_diagonal(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *x, int64_t offset, lurn_tensor **out) {
  lurn_tensor **line = lurn__temp(temps);
  int64_t n = x->shape.size[0];
  if (offset == INT64_MIN || __builtin_add_overflow(n, offset < 0 ? -offset : offset, &n))
    return lurn__fail(ctx, LURN_ENOMEM, "diag: the result is larger than memory can be");
  lurn__meta meta = {.shape = {.ndim = 2, .size = {n, n}}, .dtype = x->dtype, .present = true};
  LURN__TRY(lurn__shape_make(ctx, "diag", 2, meta.shape.size, &meta.shape));
  LURN__TRY(lurn__zeros_like_meta(ctx, &meta, out));
  LURN__TRY(diagonal_view(ctx, "diag", *out, offset, 0, 1, line));
  return lurn__copy_(ctx, *line, x);
}

static lurn_status diag_forward(lurn__call *call) {
  const struct lurn__diag_args *args = call->args;
  lurn_tensor **line = lurn__temp(&call->temps);
  if (args->x->shape.ndim == 1) return on_diagonal(call->ctx, &call->temps, args->x, args->offset, &call->out[0]);
  if (args->x->shape.ndim != 2)
    return lurn__op_fail(call, LURN_ESHAPE, "x has shape %s; expected a vector or a matrix", LURN__SHAPE(args->x));
  LURN__TRY(diagonal_view(call->ctx, "diag", args->x, args->offset, 0, 1, line));
  return lurn__clone(call->ctx, *line, &call->out[0]);
}

static lurn_status diag_backward(lurn__grad_call *grad) {
  const struct lurn__diag_args *args = grad->args;
  lurn_tensor **line = lurn__temp(&grad->temps);
  if (grad->in[0].shape.ndim == 1) {
    LURN__TRY(diagonal_view(grad->ctx, "diag", grad->grad_out[0], args->offset, 0, 1, line));
    return lurn__clone(grad->ctx, *line, &grad->grad_in[0]);
  }
  LURN__TRY(lurn__zeros_like_meta(grad->ctx, &grad->in[0], &grad->grad_in[0]));
  LURN__TRY(diagonal_view(grad->ctx, "diag", grad->grad_in[0], args->offset, 0, 1, line));
  return lurn__copy_(grad->ctx, *line, grad->grad_out[0]);
}

const lurn__op lurn__op_diag = {.forward = diag_forward,
                                .backward = diag_backward,
                                .doc = "A matrix of zeros with the vector x on its diagonal, or of a matrix x the "
                                       "diagonal, as a copy.\noffset as for diagonal."};

/* ---- tril, triu -------------------------------------------------------------------------------------------- */

/* Zeros from column `first` on to `last` of row r, where the part of one side of the diagonal r + offset goes. */
static void clear_row(char *row, int64_t columns, int64_t diagonal, bool above, size_t width) {
  int64_t first = above ? diagonal + 1 : 0, last = above ? columns : diagonal;
  if (first < 0) first = 0;
  if (last > columns) last = columns;
  if (first < last) memset(row + (size_t)first * width, 0, (size_t)(last - first) * width);
}

/* Clears one side of the diagonal of each matrix in x, contiguous. */
static void clear_side(lurn_tensor *x, int64_t offset, bool above) {
  int64_t rows = x->shape.size[x->shape.ndim - 2], columns = x->shape.size[x->shape.ndim - 1];
  int64_t lines = columns > 0 ? lurn__numel(x) / columns : 0;
  size_t width = lurn__tensor_width(x);
  char *data = lurn__tensor_ptr(x);
  int64_t far = offset > columns ? columns : offset < -rows - 1 ? -rows - 1 : offset;
  for (int64_t i = 0; i < lines; i++)
    clear_row(data + (size_t)(i * columns) * width, columns, i % rows + far, above, width);
}

static lurn_status triangle(lurn__call *call, lurn_tensor *x, int64_t offset, bool above) {
  lurn_tensor **copy = lurn__temp(&call->temps);
  if (x->shape.ndim < 2)
    return lurn__op_fail(call, LURN_ESHAPE, "x has shape %s; expected at least 2 dimensions", LURN__SHAPE(x));
  LURN__TRY(lurn__clone(call->ctx, x, copy));
  clear_side(*copy, offset, above);
  return lurn__give(call, *copy);
}

static lurn_status triangle_backward(lurn__grad_call *grad, int64_t offset, bool above) {
  LURN__TRY(lurn__clone(grad->ctx, grad->grad_out[0], &grad->grad_in[0]));
  clear_side(grad->grad_in[0], offset, above);
  return LURN_OK;
}

static lurn_status tril_forward(lurn__call *call) {
  const struct lurn__tril_args *args = call->args;
  return triangle(call, args->x, args->diagonal, true);
}

static lurn_status tril_backward(lurn__grad_call *grad) {
  return triangle_backward(grad, ((const struct lurn__tril_args *)grad->args)->diagonal, true);
}

const lurn__op lurn__op_tril = {
    .forward = tril_forward,
    .backward = tril_backward,
    .doc = "x with zeros above the diagonal of the last two dimensions.\ndiagonal moves it up, or down when negative."};

static lurn_status triu_forward(lurn__call *call) {
  const struct lurn__triu_args *args = call->args;
  return triangle(call, args->x, args->diagonal, false);
}

static lurn_status triu_backward(lurn__grad_call *grad) {
  return triangle_backward(grad, ((const struct lurn__triu_args *)grad->args)->diagonal, false);
}

const lurn__op lurn__op_triu = {
    .forward = triu_forward,
    .backward = triu_backward,
    .doc = "x with zeros below the diagonal of the last two dimensions.\ndiagonal moves it up, or down when negative."};
