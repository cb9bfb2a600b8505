/* Distances between all pairs of rows.  Everything is computed in float64. */
#include <math.h>

#include "ops/loop.h"

/* a (B, P, D) against b (B, R, D), of which forward has the transpose (B, D, R); distances (B, P, R). */
typedef struct pairs {
  double p;
  const double *a, *b;
  double *y, *squares; /* squares (B, R): |b_r|^2, where y holds the products a . b */
  int64_t P, R, D;
} pairs;

static void add_powers(double p, int64_t n, double a, const double *b, double *sum) {
  if (p == 2)
    for (int64_t r = 0; r < n; r++) sum[r] += (a - b[r]) * (a - b[r]);
  else if (p == 1)
    for (int64_t r = 0; r < n; r++) sum[r] += fabs(a - b[r]);
  else if (p == 0)
    for (int64_t r = 0; r < n; r++) sum[r] += a != b[r];
  else if (isinf(p))
    for (int64_t r = 0; r < n; r++) {
      double d = fabs(a - b[r]);
      if (d > sum[r] || isnan(d)) sum[r] = d;
    }
  else
    for (int64_t r = 0; r < n; r++) sum[r] += pow(fabs(a - b[r]), p);
}

static void take_root(double p, int64_t n, double *sum) {
  if (p == 0 || p == 1 || isinf(p)) return;
  for (int64_t r = 0; r < n; r++) sum[r] = p == 2 ? sqrt(sum[r]) : pow(sum[r], 1 / p);
}

/* The distances of one row of a from all of b (D, R). */
static void measure_row(const pairs *run, const double *a, const double *b, double *y) {
  for (int64_t r = 0; r < run->R; r++) y[r] = 0;
  for (int64_t d = 0; d < run->D; d++) add_powers(run->p, run->R, a[d], b + d * run->R, y);
  take_root(run->p, run->R, y);
}

static void run_pairs(const void *arg, int64_t first, int64_t last) {
  const pairs *run = arg;
  for (int64_t row = first; row < last; row++)
    measure_row(run, run->a + row * run->D, run->b + row / run->P * run->D * run->R, run->y + row * run->R);
}

/* ---- Euclidean distances by products ----------------------------------------------------------------------- */

/* |a|^2 + |b|^2 - 2 a . b is off by about D 2^-53 (|a|^2 + |b|^2) at most.  Above D 2^-25 of that it is right to 2^-28, sixteen
 * times finer than float32.  What lies below, and what is not finite, becomes -1 and is counted. */
static int64_t square_row(const pairs *run, double square, const double *squares, double *y) {
  const double limit = (double)run->D * 0x1p-25;
  int64_t near = 0;
  for (int64_t r = 0; r < run->R; r++) {
    double sum = square + squares[r], apart = sum - 2 * y[r];
    bool far = apart > limit * sum; /* not so for NaN and inf */
    y[r] = far ? apart : -1;
    near += !far;
  }
  return near;
}

static double measure_pair(const pairs *run, const double *a, const double *b) {
  double sum = 0;
  for (int64_t d = 0; d < run->D; d++) sum += (a[d] - b[d * run->R]) * (a[d] - b[d * run->R]);
  return sqrt(sum);
}

/* Near pairs are measured one by one, or with the whole row where they are many. */
static void run_products(const void *arg, int64_t first, int64_t last) {
  const pairs *run = arg;
  for (int64_t row = first; row < last; row++) {
    const double *a = run->a + row * run->D, *b = run->b + row / run->P * run->D * run->R;
    double *y = run->y + row * run->R, square = 0;
    for (int64_t d = 0; d < run->D; d++) square += a[d] * a[d];
    if (square_row(run, square, run->squares + row / run->P * run->R, y) > run->R / 8) measure_row(run, a, b, y);
    else
      for (int64_t r = 0; r < run->R; r++) y[r] = y[r] < 0 ? measure_pair(run, a, b + r) : sqrt(y[r]);
  }
}

/* squares, which are zeros, of the batches first to last. */
static void run_squares(const void *arg, int64_t first, int64_t last) {
  const pairs *run = arg;
  for (int64_t batch = first; batch < last; batch++)
    for (int64_t d = 0; d < run->D; d++)
      add_powers(2, run->R, 0, run->b + (batch * run->D + d) * run->R, run->squares + batch * run->R);
}

/* Worth it for many rows, and exact enough for float32. */
static bool by_products(const lurn_tensor *a, const lurn_tensor *b, const pairs *run) {
  bool large = run->P >= 16 && run->R >= 16 && run->D >= 8;
  return large && run->p == 2 && lurn__common_dtype(a, b) == LURN_FLOAT32;
}

/* y and squares of run, from a and b as run has them. */
static lurn_status multiply_pairs(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *a, lurn_tensor *b, lurn__shape lead,
                                  pairs *run, lurn_tensor **y) {
  lurn_tensor **squares = lurn__temp(temps);
  int64_t batches = lurn__shape_numel(&lead);
  lead.size[lead.ndim++] = run->R;
  LURN__TRY(lurn_zeros(ctx, LURN_FLOAT64, lead.ndim, lead.size, squares));
  LURN__TRY(lurn__matmul(ctx, a, b, y));
  run->squares = lurn__f64(*squares);
  run->y = lurn__f64(*y);
  if (batches == 0) return LURN_OK;
  lurn__for_rows(ctx, batches, run->R * run->D, run_squares, run);
  lurn__for_rows(ctx, batches * run->P, run->R * 8, run_products, run);
  return LURN_OK;
}

/* ---- Gradients --------------------------------------------------------------------------------------------- */

/* The rows x (B, n, D) of one side against those of the other (B, m, D); weight and distance of row i and row j of the other lie at
 * i step_row + j step_other within those of their batch. */
typedef struct slopes {
  double p;
  const double *x, *other, *gy, *y;
  double *gx;
  int64_t n, m, D, step_row, step_other;
} slopes;

/* gx += gy d|x - other|_p / dx, for a p that is none of those below. */
static void add_power_slopes(const slopes *run, double gy, double distance, const double *x, const double *other,
                             double *gx) {
  for (int64_t d = 0; d < run->D; d++) {
    double apart = x[d] - other[d];
    if (apart != 0) gx[d] += (apart < 0 ? -gy : gy) * pow(fabs(apart) / distance, run->p - 1);
  }
}

/* The same for any p, where the distance is not 0. */
static void add_slopes(const slopes *run, double gy, double distance, const double *x, const double *other,
                       double *gx) {
  double weight = gy / distance;
  if (run->p == 2)
    for (int64_t d = 0; d < run->D; d++) gx[d] += weight * (x[d] - other[d]);
  else if (run->p == 1)
    for (int64_t d = 0; d < run->D; d++) gx[d] += gy * ((x[d] > other[d]) - (x[d] < other[d]));
  else if (isinf(run->p))
    for (int64_t d = 0; d < run->D; d++) gx[d] += fabs(x[d] - other[d]) == distance ? weight * (x[d] - other[d]) : 0;
  else if (run->p != 0) add_power_slopes(run, gy, distance, x, other, gx);
}

static void run_slopes(const void *arg, int64_t first, int64_t last) {
  const slopes *run = arg;
  for (int64_t row = first; row < last; row++) {
    int64_t batch = row / run->n, at = batch * run->n * run->m + row % run->n * run->step_row;
    const double *x = run->x + row * run->D, *other = run->other + batch * run->m * run->D;
    double *gx = run->gx + row * run->D;
    for (int64_t d = 0; d < run->D; d++) gx[d] = 0;
    for (int64_t j = 0; j < run->m; j++) {
      int64_t pair = at + j * run->step_other;
      if (run->y[pair] != 0) add_slopes(run, run->gy[pair], run->y[pair], x, other + j * run->D, gx);
    }
  }
}

/* ---- cdist ------------------------------------------------------------------------------------------------- */

/* A side with the leading dimensions of the result, contiguous float64; `flip` gives it as (..., D, rows). */
static lurn_status spread(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *t, const lurn__shape *lead, bool flip,
                          lurn_tensor **out) {
  lurn_tensor **wide = lurn__temp(temps), **turned = lurn__temp(temps);
  lurn__shape shape = *lead;
  for (int i = 2; i > 0; i--) shape.size[shape.ndim++] = t->shape.size[t->shape.ndim - i];
  LURN__TRY(lurn__expand(ctx, t, shape.size, shape.ndim, wide));
  if (flip) LURN__TRY(lurn__transpose(ctx, *wide, -1, -2, turned));
  return lurn__to(ctx, flip ? *turned : *wide, LURN_FLOAT64, out);
}

/* The distances in float64. */
static lurn_status distances(lurn_ctx *ctx, lurn__temps *temps, lurn_tensor *a, lurn_tensor *b,
                             const lurn__shape *shape, double p, lurn_tensor **y) {
  lurn_tensor **from = lurn__temp(temps), **to = lurn__temp(temps);
  lurn__shape lead = *shape;
  lead.ndim -= 2;
  LURN__TRY(spread(ctx, temps, a, &lead, false, from));
  LURN__TRY(spread(ctx, temps, b, &lead, true, to));
  pairs run = {.p = p,
               .a = lurn__f64(*from),
               .b = lurn__f64(*to),
               .P = shape->size[shape->ndim - 2],
               .R = shape->size[shape->ndim - 1],
               .D = a->shape.size[a->shape.ndim - 1]};
  if (by_products(a, b, &run)) return multiply_pairs(ctx, temps, *from, *to, lead, &run, y);
  LURN__TRY(lurn__tensor_new(ctx, LURN_FLOAT64, shape, y));
  run.y = lurn__f64(*y);
  if (lurn__numel(*y) > 0) lurn__for_rows(ctx, lurn__shape_numel(&lead) * run.P, run.R * (run.D + 1), run_pairs, &run);
  return LURN_OK;
}

/* (..., P, R) from (..., P, D) and (..., R, D). */
static lurn_status result_shape(lurn__call *call, const lurn_tensor *a, const lurn_tensor *b, lurn__shape *out) {
  lurn__shape lead_a = a->shape, lead_b = b->shape;
  int last_a = lead_a.ndim - 1, last_b = lead_b.ndim - 1;
  bool fits = last_a >= 1 && last_b >= 1 && lead_a.size[last_a] == lead_b.size[last_b];
  lead_a.ndim -= 2;
  lead_b.ndim -= 2;
  if (!fits || !lurn__shape_broadcast(&lead_a, &lead_b, out))
    return lurn__op_fail(call, LURN_ESHAPE, "shapes are %s and %s; expected (..., P, D) and (..., R, D)",
                         LURN__SHAPE(a), LURN__SHAPE(b));
  out->size[out->ndim++] = a->shape.size[last_a - 1];
  out->size[out->ndim++] = b->shape.size[last_b - 1];
  return lurn__shape_check(call->ctx, "cdist", out);
}

enum { SAVED_A = 0, SAVED_B };

static lurn_status cdist_forward(lurn__call *call) {
  const struct lurn__cdist_args *args = call->args;
  lurn__shape shape;
  lurn_tensor **y = lurn__temp(&call->temps);
  LURN__TRY(lurn__need_float(call, args->a, "a"));
  LURN__TRY(lurn__need_float(call, args->b, "b"));
  if (!(args->p >= 0)) return lurn__op_fail(call, LURN_EVALUE, "p is %g; expected at least 0", args->p);
  LURN__TRY(result_shape(call, args->a, args->b, &shape));
  LURN__TRY(lurn__save_in(call, SAVED_A, args->a));
  LURN__TRY(lurn__save_in(call, SAVED_B, args->b));
  LURN__TRY(distances(call->ctx, &call->temps, args->a, args->b, &shape, args->p, y));
  return lurn__to(call->ctx, *y, lurn__common_dtype(args->a, args->b), &call->out[0]);
}

/* The gradient of side i, which has n rows, m the other. */
static lurn_status give_side(lurn__grad_call *grad, int i, lurn_tensor *const sides[2], const slopes *shared) {
  lurn_tensor *gx;
  if (!grad->need[i]) return LURN_OK;
  LURN__TRY(lurn__tensor_new(grad->ctx, LURN_FLOAT64, &sides[i]->shape, &gx));
  slopes run = *shared;
  run.x = lurn__f64(sides[i]);
  run.other = lurn__f64(sides[1 - i]);
  run.gx = lurn__f64(gx);
  run.n = sides[i]->shape.size[sides[i]->shape.ndim - 2];
  run.m = sides[1 - i]->shape.size[sides[i]->shape.ndim - 2];
  run.step_row = i == 0 ? run.m : 1;
  run.step_other = i == 0 ? 1 : run.n;
  if (lurn__numel(gx) > 0) lurn__for_rows(grad->ctx, lurn__numel(gx) / run.D, run.m * run.D, run_slopes, &run);
  return lurn__give_sum_to(grad->ctx, gx, &grad->in[i], &grad->grad_in[i]);
}

/* Distances are computed anew, as float32 would not tell which element an infinite norm is that of. */
static lurn_status cdist_backward(lurn__grad_call *grad) {
  const struct lurn__cdist_args *args = grad->args;
  lurn__temps *temps = &grad->temps;
  lurn_tensor *a = grad->saved[SAVED_A], *b = grad->saved[SAVED_B], **y = lurn__temp(temps), **gy = lurn__temp(temps),
              **sides[] = {lurn__temp(temps), lurn__temp(temps)};
  lurn__shape lead = grad->grad_out[0]->shape;
  LURN__TRY(distances(grad->ctx, temps, a, b, &grad->grad_out[0]->shape, args->p, y));
  LURN__TRY(lurn__to(grad->ctx, grad->grad_out[0], LURN_FLOAT64, gy));
  lead.ndim -= 2;
  LURN__TRY(spread(grad->ctx, temps, a, &lead, false, sides[0]));
  LURN__TRY(spread(grad->ctx, temps, b, &lead, false, sides[1]));
  slopes shared = {.p = args->p, .gy = lurn__f64(*gy), .y = lurn__f64(*y), .D = a->shape.size[a->shape.ndim - 1]};
  for (int i = 0; i < 2; i++) LURN__TRY(give_side(grad, i, (lurn_tensor *const[]){*sides[0], *sides[1]}, &shared));
  return LURN_OK;
}

const lurn__op lurn__op_cdist = {
    .forward = cdist_forward,
    .backward = cdist_backward,
    .doc = "The distances |a_i - b_j|_p between all rows of a (..., P, D) and of b (..., R, D): (..., P, R).\nFloats; "
           "what stands in front broadcasts. p is at least 0; 0 counts the elements that differ, inf takes the largest "
           "difference. The gradient is 0 where two rows are equal."};
