/* A small language model in C, whole: what a training step does to memory, and that its bits do not depend on circumstances. */
#ifndef LURN_SPEC_TRAINING_H
#define LURN_SPEC_TRAINING_H

#include "harness.h"
#include "lurn.h"

enum { TRAIN_T = 5, TRAIN_N = 4, TRAIN_C = 11, TRAIN_H = 16, TRAIN_PARAMS = 7 };

typedef struct training {
  lurn_ctx *ctx;
  lurn_tensor *p[TRAIN_PARAMS]; /* embedding, w_ih, w_hh, b_ih, b_hh, weight and bias of the head */
  lurn_tensor *ids, *targets;
  lurn_optim *opt;
} training;

static inline lurn_status training_param(training *m, int i, int ndim, int64_t rows, int64_t columns) {
  lurn_status status = lurn_empty(m->ctx, LURN_FLOAT32, ndim, (int64_t[]){rows, columns}, &m->p[i]);
  if (status == LURN_OK) status = lurn_uniform_(m->ctx, m->p[i], -0.4, 0.4);
  return status == LURN_OK ? lurn_tensor_set_requires_grad(m->p[i], true) : status;
}

/* scale widens H, to give threads something to do. */
static inline lurn_status training_build(training *m, int64_t scale) {
  int64_t h = TRAIN_H * scale;
  const int64_t sizes[TRAIN_PARAMS][3] = {{2, TRAIN_C, h}, {2, 4 * h, h},   {2, 4 * h, h},  {1, 4 * h, 0},
                                          {1, 4 * h, 0},   {2, TRAIN_C, h}, {1, TRAIN_C, 0}};
  lurn_manual_seed(m->ctx, 3);
  lurn_status status = LURN_OK;
  for (int i = 0; i < TRAIN_PARAMS && status == LURN_OK; i++)
    status = training_param(m, i, (int)sizes[i][0], sizes[i][1], sizes[i][2]);
  int64_t shape[2] = {TRAIN_T, TRAIN_N * scale};
  if (status == LURN_OK) status = lurn_randint(m->ctx, 0, TRAIN_C - 1, 2, shape, &m->ids);
  if (status == LURN_OK) status = lurn_randint(m->ctx, 0, TRAIN_C - 1, 2, shape, &m->targets);
  if (status == LURN_OK) status = lurn_optim_new(m->ctx, LURN_ADAM, &m->opt);
  lurn_optim_options options = lurn_optim_defaults(LURN_ADAM);
  options.lr = 0.01;
  return status == LURN_OK ? lurn_optim_add_group(m->opt, m->p, TRAIN_PARAMS, &options, NULL) : status;
}

static inline lurn_status training_forward(training *m, lurn_tensor **loss) {
  lurn_ctx *ctx = m->ctx;
  lurn_tensor *x = NULL, *y = NULL, *h = NULL, *c = NULL, *logits = NULL;
  lurn_status status = lurn_embedding(ctx, m->ids, m->p[0], 0, &x);
  if (status == LURN_OK)
    status = lurn_lstm(ctx, x, m->p[1], m->p[2], m->p[3], m->p[4], NULL, NULL, NULL, NULL, NULL, NULL, NULL, false,
                       false, NULL, &y, &h, &c);
  if (status == LURN_OK) status = lurn_linear(ctx, y, m->p[5], m->p[6], &logits);
  if (status == LURN_OK) status = lurn_cross_entropy(ctx, logits, m->targets, NULL, -100, 0, 1, 0, loss);
  lurn_tensor *made[] = {x, y, h, c, logits};
  for (int i = 0; i < 5; i++) lurn_release(made[i]);
  return status;
}

/* Forward, backward, clipping, update. */
static inline lurn_status training_step(training *m, double *value) {
  lurn_tensor *loss = NULL;
  double norm;
  lurn_status status = training_forward(m, &loss);
  if (status == LURN_OK) status = lurn_tensor_get(loss, NULL, value);
  if (status == LURN_OK) status = lurn_backward(m->ctx, loss, NULL, false);
  if (status == LURN_OK) status = lurn_clip_grad_norm(m->ctx, m->p, TRAIN_PARAMS, 1, &norm);
  if (status == LURN_OK) status = lurn_optim_step(m->opt);
  lurn_release(loss);
  return status;
}

static inline void training_free(training *m) {
  lurn_optim_free(m->opt);
  for (int i = 0; i < TRAIN_PARAMS; i++) lurn_release(m->p[i]);
  lurn_release(m->ids);
  lurn_release(m->targets);
  *m = (training){.ctx = m->ctx};
}

/* A number that changes with every bit of the parameters (FNV-1a). */
static inline uint64_t training_bits(const training *m) {
  uint64_t hash = 14695981039346656037u;
  for (int i = 0; i < TRAIN_PARAMS; i++) {
    const unsigned char *p = lurn_tensor_data(m->p[i]);
    for (int64_t k = 0; k < lurn_tensor_numel(m->p[i]) * 4; k++) hash = (hash ^ p[k]) * 1099511628211u;
  }
  return hash;
}

#endif
