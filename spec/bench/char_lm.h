/* A character language model and its training step in C, against lurn.h alone: the loop of the Lua benchmark without Lua. */
#ifndef LURN_BENCH_CHAR_LM_H
#define LURN_BENCH_CHAR_LM_H

#include "lurn.h"

enum { CHAR_LM_PARAMS = 11, CHAR_LM_LAYERS = 2 };

typedef struct char_lm {
  lurn_ctx *ctx;
  lurn_tensor *params
      [CHAR_LM_PARAMS]; /* embedding (C, E); w_ih w_hh b_ih b_hh of each layer; weight (C, H), bias (C) of the head */
  lurn_tensor *ids, *targets;                         /* (T, N) int64, from 0 */
  lurn_tensor *h[CHAR_LM_LAYERS], *c[CHAR_LM_LAYERS]; /* (N, H) each, outside the graph; NULL before the first step */
  lurn_optim *opt;
  double loss; /* of the last step, before its update */
} char_lm;

typedef struct char_lm_sizes {
  int64_t T, N, C, E, H;
} char_lm_sizes;

/* Fills *m, whose ctx is set.  After a failure char_lm_free is due all the same. */
lurn_status char_lm_init(char_lm *m, const char_lm_sizes *sizes);
/* Forward, backward, clipping of the joint norm to 5, Adam; carries the state over. */
lurn_status char_lm_step(char_lm *m);
void char_lm_free(char_lm *m);

#endif
