#include "char_lm.h"

#include "protocol.h"

/* ---- Making ------------------------------------------------------------------------------------------------ */

static lurn_status make_param(char_lm *m, int i, int64_t rows, int64_t columns, double scale) {
  int64_t shape[2] = {rows, columns};
  lurn_status status = lurn_empty(m->ctx, LURN_FLOAT32, columns ? 2 : 1, shape, &m->params[i]);
  if (status != LURN_OK) return status;
  bench_fill(lurn_tensor_data(m->params[i]), rows * (columns ? columns : 1), (uint32_t)i + 1, scale);
  return lurn_tensor_set_requires_grad(m->params[i], true);
}

static lurn_status make_params(char_lm *m, const char_lm_sizes *s) {
  double scale = 1 / sqrt((double)s->H);
  int64_t rows = 4 * s->H;
  lurn_status status = make_param(m, 0, s->C, s->E, 1);
  for (int layer = 0; layer < CHAR_LM_LAYERS && status == LURN_OK; layer++) {
    int first = 1 + 4 * layer;
    status = make_param(m, first, rows, layer == 0 ? s->E : s->H, scale);
    if (status == LURN_OK) status = make_param(m, first + 1, rows, s->H, scale);
    if (status == LURN_OK) status = make_param(m, first + 2, rows, 0, scale);
    if (status == LURN_OK) status = make_param(m, first + 3, rows, 0, scale);
  }
  if (status == LURN_OK) status = make_param(m, CHAR_LM_PARAMS - 2, s->C, s->H, scale);
  return status == LURN_OK ? make_param(m, CHAR_LM_PARAMS - 1, s->C, 0, scale) : status;
}

static lurn_status make_ids(char_lm *m, const char_lm_sizes *s, int64_t factor, int64_t offset, lurn_tensor **out) {
  lurn_status status = lurn_empty(m->ctx, LURN_INT64, 2, (int64_t[]){s->T, s->N}, out);
  if (status != LURN_OK) return status;
  int64_t *ids = lurn_tensor_data(*out);
  for (int64_t i = 0; i < s->T * s->N; i++) ids[i] = (i * factor + offset) % s->C;
  return LURN_OK;
}

lurn_status char_lm_init(char_lm *m, const char_lm_sizes *sizes) {
  lurn_optim_options options = lurn_optim_defaults(LURN_ADAM);
  options.lr = 2e-3;
  lurn_status status = make_params(m, sizes);
  if (status == LURN_OK) status = make_ids(m, sizes, 7, 3, &m->ids);
  if (status == LURN_OK) status = make_ids(m, sizes, 5, 1, &m->targets);
  if (status == LURN_OK) status = lurn_optim_new(m->ctx, LURN_ADAM, &m->opt);
  if (status != LURN_OK) return status;
  return lurn_optim_add_group(m->opt, m->params, CHAR_LM_PARAMS, &options, NULL);
}

void char_lm_free(char_lm *m) {
  lurn_optim_free(m->opt);
  for (int i = 0; i < CHAR_LM_PARAMS; i++) lurn_release(m->params[i]);
  for (int layer = 0; layer < CHAR_LM_LAYERS; layer++) {
    lurn_release(m->h[layer]);
    lurn_release(m->c[layer]);
  }
  lurn_release(m->ids);
  lurn_release(m->targets);
  *m = (char_lm){.ctx = m->ctx};
}

/* ---- A step ------------------------------------------------------------------------------------------------ */

/* *kept becomes t outside the graph; t is given back. */
static lurn_status keep_state(char_lm *m, lurn_tensor *t, lurn_tensor **kept) {
  lurn_tensor *detached = NULL;
  lurn_status status = lurn_detach(m->ctx, t, &detached);
  lurn_release(t);
  if (status != LURN_OK) return status;
  lurn_release(*kept);
  *kept = detached;
  return LURN_OK;
}

/* One recurrent layer: replaces *x (T, N, D) by its output (T, N, H). */
static lurn_status run_layer(char_lm *m, int layer, lurn_tensor **x) {
  lurn_tensor **w = &m->params[1 + 4 * layer], *y = NULL, *h = NULL, *c = NULL;
  lurn_status status = lurn_lstm(m->ctx, *x, w[0], w[1], w[2], w[3], m->h[layer], m->c[layer], NULL, NULL, NULL, NULL,
                                 NULL, false, false, NULL, &y, &h, &c);
  if (status != LURN_OK) return status;
  lurn_release(*x);
  *x = y;
  status = keep_state(m, h, &m->h[layer]);
  lurn_status second = keep_state(m, c, &m->c[layer]);
  return status == LURN_OK ? second : status;
}

static lurn_status forward(char_lm *m, lurn_tensor **loss) {
  lurn_tensor *x = NULL, *logits = NULL, **head = &m->params[CHAR_LM_PARAMS - 2];
  lurn_status status = lurn_embedding(m->ctx, m->ids, m->params[0], 0, &x);
  for (int layer = 0; layer < CHAR_LM_LAYERS && status == LURN_OK; layer++) status = run_layer(m, layer, &x);
  if (status == LURN_OK) status = lurn_linear(m->ctx, x, head[0], head[1], &logits);
  if (status == LURN_OK) status = lurn_cross_entropy(m->ctx, logits, m->targets, NULL, -100, 0, 1, 0, loss);
  lurn_release(x);
  lurn_release(logits);
  return status;
}

lurn_status char_lm_step(char_lm *m) {
  lurn_tensor *loss = NULL;
  double norm;
  lurn_optim_zero_grad(m->opt);
  lurn_status status = forward(m, &loss);
  if (status == LURN_OK) status = lurn_tensor_get(loss, NULL, &m->loss);
  if (status == LURN_OK) status = lurn_backward(m->ctx, loss, NULL, false);
  if (status == LURN_OK) status = lurn_clip_grad_norm(m->ctx, m->params, CHAR_LM_PARAMS, 5, &norm);
  if (status == LURN_OK) status = lurn_optim_step(m->opt);
  lurn_release(loss);
  return status;
}
