/* Backward of recurrent layers, in two files: the recurrence, which goes through a chunk's steps from the last to the first and
 * leaves the gradients of the gates' sums, and the products over all rows of the chunk that make gradients of input, weights
 * and biases of them while they are in the cache. */
#ifndef LURN_OPS_RECURRENT_BACKWARD_H
#define LURN_OPS_RECURRENT_BACKWARD_H

#include "ops/recurrent.h"

/* Gradients of the op's inputs; NULL where not wanted. */
typedef struct lurn__layer_gradients {
  char *x, *w_ih, *w_hh, *b_ih, *b_hh, *h0, *c0, *w_hr, *peephole[LURN__PEEPHOLES];
} lurn__layer_gradients;

/* dw (rows, columns) += d^T . b over the n rows of a chunk from time t on, d (n, rows) being the gradients of the sums. */
typedef struct lurn__outer_product {
  int64_t t, n, columns;
  const char *b;  /* (n, columns) */
  char *packed;   /* room for b of any chunk */
  char *dw;       /* NULL: not wanted */
  int mode;       /* of the chunk at hand: the first sets dw */
  bool begun;     /* dw holds something */
  bool recurrent; /* the gradients of w_hh, which differ from those of w_ih where has_recurrent */
} lurn__outer_product;

enum { LURN__OUTER_INPUT, LURN__OUTER_HIDDEN, LURN__OUTER_FIRST, LURN__OUTERS };

typedef struct lurn__backward {
  lurn__sequence s;
  lurn__team team;
  lurn__weight w_ih, w_hh, w_recurrent;       /* (rows, D), (split, P), (rows - split, P) */
  lurn__weight w_hr;                          /* (P, H), where projected */
  lurn__track hidden, cell, gates, recurrent; /* as saved */
  bool has_h0, has_c0;
  const char *peepholes;
  const char *x, *dy;                /* (T, N, D), (T, N, P) or NULL */
  char *dhidden, *dcell;             /* (N, P), (N, H): of the state after the step at hand, then of the one before */
  char *dunprojected;                /* (N, H): of the hidden state before its projection */
  char *projected, *unprojected;     /* (chunk, N, P), (chunk, N, H): gradients after, states before the projection */
  char *dgates, *drecurrent;         /* (chunk, N, rows), (chunk, N, H), strided: of the sums */
  char *dhidden_total, *dcell_total; /* (T, N, P), (T, N, H): for a recording, or NULL */
  int64_t start, count;              /* steps of the chunk at hand */
  lurn__outer_product outer[LURN__OUTERS]; /* with x, with the former hidden states, with the initial one */
  lurn__outer_product projection;          /* of w_hr: with unprojected, which the recurrence makes */
  lurn__layer_gradients out;
} lurn__backward;

/* Rows from `row` on, at time t of the chunk, of an array (chunk, N, columns). */
static inline char *lurn__chunk_at(const lurn__backward *r, char *data, int64_t columns, int64_t t, int64_t row) {
  int64_t low = lurn__chunk_time(&r->s, r->start, r->count);
  return data + ((t - low) * r->s.N + row) * columns * r->s.width;
}
/* The gradients of the gates' sums. */
static inline char *lurn__dgates_at(const lurn__backward *r, int64_t t, int64_t row) {
  return lurn__chunk_at(r, r->dgates, r->s.dgates_stride, t, row);
}
static inline char *lurn__drecurrent_at(const lurn__backward *r, int64_t t, int64_t row) {
  return lurn__chunk_at(r, r->drecurrent, r->s.drecurrent_stride, t, row);
}

/* Memory for lurn__chunk_prepare and _products, from temps. */
lurn_status lurn__chunk_allocate(lurn__backward *r, lurn__temps *temps);
/* Work on the chunk at hand that does not wait for the recurrence, in lurn__chunk_tasks tasks. */
void lurn__chunk_begin(lurn__backward *r);
int64_t lurn__chunk_tasks(const lurn__backward *r);
void lurn__chunk_prepare(const lurn__backward *r, int64_t task);
/* Sets the gradients to what the chunk gives, or adds it if it is not the first, over all threads. */
void lurn__chunk_products(lurn__backward *r);
/* After the last chunk: gradients of weights to which none gave anything are zero, and what both biases share is copied. */
void lurn__chunks_end(lurn__backward *r);

#endif
