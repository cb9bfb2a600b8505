/* Clipping of gradients, in place.  The norm is that of all gradients as one vector; its sum of squares runs in a fixed order, so it
 * does not depend on the number of threads.  As torch.nn.utils.clip_grad_norm_ and clip_grad_value_ of PyTorch 1.13. */
#include <math.h>

#include "train/pieces.h"

/* ---- Which gradients --------------------------------------------------------------------------------------- */

static lurn_status check_params(lurn_ctx *ctx, const char *who, lurn_tensor *const *params, int64_t n) {
  if (n > 0) LURN__TRY(lurn__need(ctx, who, "parameters", params));
  for (int64_t i = 0; i < n; i++) {
    long long number = (long long)i + ctx->index_base;
    if (params[i] == NULL) return lurn__fail(ctx, LURN_EVALUE, "%s: parameter %lld is missing", who, number);
    if (params[i]->ctx != ctx)
      return lurn__fail(ctx, LURN_ESTATE, "%s: parameter %lld is of another context", who, number);
    if (params[i]->grad != NULL && !lurn_dtype_is_float(params[i]->grad->dtype))
      return lurn__fail(ctx, LURN_EDTYPE, "%s: the gradient of parameter %lld is %s", who, number,
                        lurn_dtype_name(params[i]->grad->dtype));
  }
  return LURN_OK;
}

/* The gradient of params[i], unless the same parameter came before. */
static lurn_tensor *grad_of(lurn_tensor *const *params, int64_t i) {
  for (int64_t j = 0; j < i; j++)
    if (params[j] == params[i]) return NULL;
  return params[i]->grad;
}

static bool may_share(const lurn_tensor *a, const lurn_tensor *b) {
  return a->storage == b->storage && (lurn_tensor_same_view(a, b) || lurn__tensor_overlaps(a, b));
}

static bool is_shared(lurn_tensor *const *params, int64_t i) {
  const lurn_tensor *grad = params[i]->grad;
  if (lurn__self_overlaps(grad)) return true;
  if (grad->refs == 1 && grad->storage->refs == 1) return false;
  for (int64_t j = 0; j < i; j++)
    if (params[j] != params[i] && params[j]->grad != NULL && may_share(params[j]->grad, grad)) return true;
  return false;
}

/* Gives every gradient memory of its own, so that scaling one changes no other; values stay as they are. */
static lurn_status separate(lurn_tensor *const *params, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    lurn_tensor *copy;
    if (grad_of(params, i) == NULL || !is_shared(params, i)) continue;
    LURN__TRY(lurn__contiguous_copy(params[i]->grad, &copy));
    lurn__drop(&params[i]->grad);
    params[i]->grad = copy;
  }
  return LURN_OK;
}

/* ---- Passing over one gradient ----------------------------------------------------------------------------- */

/* What a pass does with contiguous elements: either changes them in place or adds them up. */
typedef struct pass pass;
typedef double visit_fn(const pass *pass, int64_t n, void *x);

enum { BATCH = 128 }; /* chunks whose results are kept at a time */

struct pass {
  visit_fn *visit;
  const lurn__kernels *kernels;
  double number; /* what visit needs: factor, limit, unit */
  bool writes;
  int real;
  lurn_tensor *t;
  int64_t n, first_chunk;
  double result[BATCH]; /* of each chunk */
};

/* The larger of two, and NaN when there is one. */
static double max_or_nan(double a, double b) { return a > b || isnan(a) ? a : b; }

static double join(const pass *p, double a, double b);

static double visit_gathered(const pass *p, int64_t first, int64_t n) {
  lurn__piece piece;
  double result = 0;
  for (int64_t end = first + n; first < end; first += LURN__PIECE) {
    int64_t size = end - first < LURN__PIECE ? end - first : LURN__PIECE;
    lurn__gather_values(p->kernels, p->t, first, size, piece);
    result = join(p, result, p->visit(p, size, piece));
    if (p->writes) lurn__scatter_pieces(p->kernels, p->t, first, size, piece);
  }
  return result;
}

static void visit_chunk(void *arg, int64_t task, int thread) {
  (void)thread;
  pass *p = arg;
  int64_t chunk = p->first_chunk + task, first = chunk * LURN__CHUNK, n = lurn__chunk_size(p->n, chunk);
  char *data = lurn__tensor_ptr(p->t);
  p->result[task] = lurn_tensor_is_contiguous(p->t) ? p->visit(p, n, data + first * (int64_t)lurn__tensor_width(p->t))
                                                    : visit_gathered(p, first, n);
}

/* Runs a pass over t and joins the results of its chunks in order. */
static double run(pass *p, lurn_tensor *t) {
  p->t = t;
  p->n = lurn__numel(t);
  p->real = t->dtype == LURN_FLOAT64;
  double result = 0;
  int64_t chunks = lurn__chunks(p->n);
  for (p->first_chunk = 0; p->first_chunk < chunks; p->first_chunk += BATCH) {
    int64_t batch = chunks - p->first_chunk < BATCH ? chunks - p->first_chunk : BATCH;
    lurn__for_chunks(t->ctx, batch, visit_chunk, p);
    for (int64_t i = 0; i < batch; i++) result = join(p, result, p->result[i]);
  }
  if (p->writes) lurn__touch(t);
  return result;
}

static double run_all(lurn_ctx *ctx, visit_fn *visit, double number, bool writes, lurn_tensor *const *params,
                      int64_t n) {
  pass p = {.visit = visit, .kernels = lurn__kernels_for(ctx->isa), .number = number, .writes = writes};
  double result = 0;
  for (int64_t i = 0; i < n; i++) {
    lurn_tensor *grad = grad_of(params, i);
    if (grad != NULL) result = join(&p, result, run(&p, grad));
  }
  return result;
}

/* ---- What passes do ---------------------------------------------------------------------------------------- */

static double sum_squares(const pass *p, int64_t n, void *x) { return p->kernels->rowwise->sum_squares[p->real](n, x); }

static double largest(const pass *p, int64_t n, void *x) { return p->kernels->rowwise->abs_max[p->real](n, x); }

/* In double and in units of `number`: no square overflows or vanishes. */
static double sum_squares_scaled(const pass *p, int64_t n, void *x) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double v = (p->real ? ((const double *)x)[i] : (double)((const float *)x)[i]) / p->number;
    sum += v * v;
  }
  return sum;
}

static double scale(const pass *p, int64_t n, void *x) {
  p->kernels->optim->scale[p->real](n, p->number, x);
  return 0;
}

static double clamp(const pass *p, int64_t n, void *x) {
  double high = p->number, low = -high;
  float high32 = (float)high, low32 = -high32;
  if (p->real) p->kernels->elementwise->clamp[LURN_FLOAT64](n, x, 1, &low, &high, x, 1);
  else p->kernels->elementwise->clamp[LURN_FLOAT32](n, x, 1, &low32, &high32, x, 1);
  return 0;
}

static double join(const pass *p, double a, double b) { return p->visit == largest ? max_or_nan(a, b) : a + b; }

/* ---- Clipping ---------------------------------------------------------------------------------------------- */

/* Squares of float32 overflow above 2e19 and vanish below 1e-19.  Where that could have mattered, the largest element becomes the
 * unit: gradients that explode or vanish have their true norm as long as all elements are finite. */
static double total_norm(lurn_ctx *ctx, lurn_tensor *const *params, int64_t n) {
  double sum = run_all(ctx, sum_squares, 0, false, params, n);
  if (sum >= 1e-20 && isfinite(sum)) return sqrt(sum);
  double unit = run_all(ctx, largest, 0, false, params, n);
  if (unit == 0 || !isfinite(unit)) return unit;
  return unit * sqrt(run_all(ctx, sum_squares_scaled, unit, false, params, n));
}

lurn_status lurn_clip_grad_norm(lurn_ctx *ctx, lurn_tensor *const *params, int64_t n, double max_norm, double *total) {
  if (!(max_norm >= 0))
    return lurn__fail(ctx, LURN_EVALUE, "clip_grad_norm: max_norm is %g; expected at least 0", max_norm);
  LURN__TRY(check_params(ctx, "clip_grad_norm", params, n));
  double norm = total_norm(ctx, params, n);
  double factor = max_norm / (norm + 1e-6);
  if (isfinite(norm) && factor < 1) {
    LURN__TRY(separate(params, n));
    (void)run_all(ctx, scale, factor, true, params, n);
  }
  if (total != NULL) *total = norm;
  return LURN_OK;
}

lurn_status lurn_clip_grad_value(lurn_ctx *ctx, lurn_tensor *const *params, int64_t n, double max_value) {
  if (!(max_value >= 0))
    return lurn__fail(ctx, LURN_EVALUE, "clip_grad_value: max_value is %g; expected at least 0", max_value);
  LURN__TRY(check_params(ctx, "clip_grad_value", params, n));
  LURN__TRY(separate(params, n));
  (void)run_all(ctx, clamp, max_value, true, params, n);
  return LURN_OK;
}
