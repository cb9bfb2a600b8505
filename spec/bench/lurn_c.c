/* The worker that runs lurn from C: the recurrent ops, a streaming step, and the character language model. */

#include "char_lm.h"
#include "protocol.h"

/* ---- Layers ------------------------------------------------------------------------------------------------ */

enum { X = 0, W_IH, W_HH, B_IH, B_HH, INPUTS };

typedef struct layer {
  lurn_ctx *ctx;
  char kind[16];
  lurn_tensor *in[INPUTS]; /* x (T, N, D), weights (G H, D) and (G H, H), biases (G H) */
  lurn_tensor *gy;         /* (T, N, H) */
  lurn_tensor *h, *c;      /* (N, H): the state a stream carries; NULL means zero */
  bool train, stream;
} layer;

static int64_t gates_of(const char *kind) { return bench_is(kind, "lstm") ? 4 : bench_is(kind, "gru") ? 3 : 1; }

static lurn_status make_tensor(lurn_ctx *ctx, int ndim, const int64_t *shape, uint32_t seed, double scale,
                               lurn_tensor **out) {
  lurn_status status = lurn_empty(ctx, LURN_FLOAT32, ndim, shape, out);
  if (status == LURN_OK) bench_fill(lurn_tensor_data(*out), lurn_tensor_numel(*out), seed, scale);
  return status;
}

static lurn_status layer_init(layer *l, const bench_request *r) {
  int64_t rows = gates_of(r->kind) * r->H;
  double scale = 1 / sqrt((double)r->H);
  const int64_t shapes[INPUTS][3] = {{r->T, r->N, r->D}, {rows, r->D}, {rows, r->H}, {rows}, {rows}};
  const int ndim[INPUTS] = {3, 2, 2, 1, 1};
  bench_text(l->kind, r->kind);
  l->train = bench_is(r->mode, "train");
  l->stream = bench_is(r->mode, "stream");
  lurn_set_grad_enabled(l->ctx, l->train);
  lurn_status status = LURN_OK;
  for (int i = 0; i < INPUTS && status == LURN_OK; i++) {
    status = make_tensor(l->ctx, ndim[i], shapes[i], (uint32_t)i + 1, i == X ? 1 : scale, &l->in[i]);
    if (status == LURN_OK && l->train) status = lurn_tensor_set_requires_grad(l->in[i], true);
  }
  return status == LURN_OK ? make_tensor(l->ctx, 3, (int64_t[]){r->T, r->N, r->H}, 6, 1, &l->gy) : status;
}

static void layer_free(layer *l) {
  for (int i = 0; i < INPUTS; i++) lurn_release(l->in[i]);
  lurn_release(l->gy);
  lurn_release(l->h);
  lurn_release(l->c);
  lurn_set_grad_enabled(l->ctx, true);
  *l = (layer){.ctx = l->ctx};
}

static lurn_status layer_forward(layer *l, lurn_tensor *x, lurn_tensor **y, lurn_tensor **h, lurn_tensor **c) {
  lurn_tensor **w = l->in;
  if (bench_is(l->kind, "lstm"))
    return lurn_lstm(l->ctx, x, w[W_IH], w[W_HH], w[B_IH], w[B_HH], l->h, l->c, NULL, NULL, NULL, NULL, NULL, false,
                     false, NULL, y, h, c);
  if (bench_is(l->kind, "gru"))
    return lurn_gru(l->ctx, x, w[W_IH], w[W_HH], w[B_IH], w[B_HH], l->h, NULL, false, NULL, y, h);
  return lurn_rnn(l->ctx, x, w[W_IH], w[W_HH], w[B_IH], w[B_HH], l->h, NULL, 0, false, NULL, y, h);
}

static void replace(lurn_tensor **kept, lurn_tensor *t) {
  lurn_release(*kept);
  *kept = t;
}

/* Forward and, in training, backward into .grad; *y is the caller's. */
static lurn_status layer_run(layer *l, lurn_tensor *x, lurn_tensor **y) {
  lurn_tensor *h = NULL, *c = NULL;
  lurn_status status = LURN_OK;
  for (int i = 0; i < INPUTS && l->train && status == LURN_OK; i++) status = lurn_tensor_set_grad(l->in[i], NULL);
  if (status == LURN_OK) status = layer_forward(l, x, y, &h, &c);
  if (status != LURN_OK) return status;
  if (l->train) status = lurn_backward(l->ctx, *y, l->gy, false);
  if (l->stream) {
    replace(&l->h, h);
    replace(&l->c, c);
  } else {
    lurn_release(h);
    lurn_release(c);
  }
  return status;
}

static bool layer_step(void *ud) {
  layer *l = ud;
  lurn_tensor *y = NULL;
  lurn_status status = layer_run(l, l->in[X], &y);
  lurn_release(y);
  return status == LURN_OK;
}

static void put_values(const lurn_tensor *t) { bench_values(lurn_tensor_data(t), lurn_tensor_numel(t)); }

/* y, then in training the gradients of x, the weights and a bias; a stream takes its T steps one by one. */
static lurn_status layer_check(layer *l, const bench_request *r) {
  lurn_status status = LURN_OK;
  int64_t steps = l->stream ? r->T : 1;
  bench_values_begin();
  for (int64_t t = 0; t < steps && status == LURN_OK; t++) {
    lurn_tensor *x = NULL, *y = NULL;
    if (l->stream) status = lurn_narrow(l->ctx, l->in[X], 0, t, 1, &x);
    else x = lurn_retain(l->in[X]);
    if (status == LURN_OK) status = layer_run(l, x, &y);
    if (status == LURN_OK) put_values(y);
    lurn_release(x);
    lurn_release(y);
  }
  for (int i = X; i <= B_IH && l->train && status == LURN_OK; i++) put_values(lurn_tensor_grad(l->in[i]));
  bench_values_end();
  return status;
}

static void serve_layer(lurn_ctx *ctx, const bench_request *r) {
  layer l = {.ctx = ctx};
  long before = bench_resident("VmRSS");
  lurn_status status = layer_init(&l, r);
  if (status != LURN_OK) bench_say("error", lurn_error(ctx));
  else if (bench_is(r->verb, "check")) layer_check(&l, r);
  else if (bench_is(r->verb, "memory")) bench_memory(before, layer_step, &l);
  else bench_measure(r, layer_step, &l);
  layer_free(&l);
}

/* ---- The language model ------------------------------------------------------------------------------------ */

static bool model_step(void *ud) { return char_lm_step(ud) == LURN_OK; }

static void model_check(char_lm *m) {
  bench_values_begin();
  for (int i = 0; i < 4; i++) {
    float loss = char_lm_step(m) == LURN_OK ? (float)m->loss : NAN;
    bench_values(&loss, 1);
  }
  bench_values_end();
}

static void serve_model(lurn_ctx *ctx, const bench_request *r) {
  char_lm m = {.ctx = ctx};
  char_lm_sizes sizes = {r->T, r->N, r->C, r->E, r->H};
  lurn_status status = char_lm_init(&m, &sizes);
  if (status != LURN_OK) bench_say("error", lurn_error(ctx));
  else if (bench_is(r->verb, "check")) model_check(&m);
  else bench_measure(r, model_step, &m);
  char_lm_free(&m);
}

/* ---- Requests ---------------------------------------------------------------------------------------------- */

static void serve(lurn_ctx *ctx, const bench_request *r) {
  bool layers = bench_is(r->kind, "lstm") || bench_is(r->kind, "gru") || bench_is(r->kind, "rnn");
  if (bench_is(r->verb, "info"))
    printf("ok\tversion=%s\tdetail=%s kernels\n", lurn_version(), lurn_isa_name(ctx)), fflush(stdout);
  else if (layers) serve_layer(ctx, r);
  else if (bench_is(r->kind, "charlm") && !bench_is(r->verb, "memory")) serve_model(ctx, r);
  else bench_say("skip", "not measured from C");
}

int main(void) {
  lurn_ctx *ctx = NULL;
  if (lurn_ctx_new(NULL, &ctx) != LURN_OK) return 1;
  bench_request r;
  while (bench_read(&r)) serve(ctx, &r);
  lurn_ctx_free(ctx);
  return 0;
}
