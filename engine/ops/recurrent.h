/* What the ops rnn, lstm and gru share: one layer in one direction over a whole sequence.
 *
 * An op fills a lurn__layer and calls lurn__layer_forward or _backward; a lurn__cell tells how its gates work.  Inputs of the op
 * come in the order of lurn__layer_input, outputs as y, h_n and, where there is a cell state, c_n.
 *
 * Rows (the sequences of the batch) do not depend on each other, so threads take rows and walk through all steps of a chunk
 * on their own.  A batch too small for that is cut by columns of the recurrent product, step by step, where its weights are
 * large.  No bit depends on the cut. */
#ifndef LURN_OPS_RECURRENT_H
#define LURN_OPS_RECURRENT_H

#include "ops/op.h"

/* ---- Cells ------------------------------------------------------------------------------------------------- */

/* One time step of n rows of h units, for a cell's functions.  What each array holds is told in kernels/recurrent.h. */
typedef struct lurn__step {
  lurn__nonlinearity f; /* RNN */
  int64_t n, h;
  const void *bias;
  void *gates;           /* the sums, then the activated gates */
  void *recurrent;       /* GRU: the hidden part of n */
  const void *peepholes; /* LSTM variants, or NULL */
  const void *hidden_before, *cell_before;
  void *hidden,
      *cell; /* hidden, and dhidden, before a projection; the former hidden state, after it, is not for the cell */
  void *dhidden, *dcell, *dcell_total, *dgates, *drecurrent; /* backward only */
  int64_t dgates_stride, drecurrent_stride;                  /* elements from row to row */
} lurn__step;

typedef void lurn__step_fn(const lurn__cells *cells, const lurn__step *step);

typedef struct lurn__cell {
  int64_t gates;      /* weights have gates * H rows */
  bool keeps_gates;   /* backward needs the activated gates */
  bool has_cell;      /* there is a cell state c: LSTM */
  bool has_recurrent; /* the last gate's recurrent part is kept apart from its input part: GRU */
  bool
      has_variants; /* there may be a projection and peepholes: its backward computes step.hidden where that is not NULL */
  lurn__step_fn *forward;
  /* Leaves in dhidden what reaches the former hidden state directly, where has_recurrent; else it may leave anything. */
  lurn__step_fn *backward;
} lurn__cell;

/* ---- Layers ------------------------------------------------------------------------------------------------ */

/* Positions of the inputs; those from c0 on are there where the cell has_cell. */
enum {
  LURN__LAYER_X,
  LURN__LAYER_W_IH,
  LURN__LAYER_W_HH,
  LURN__LAYER_B_IH,
  LURN__LAYER_B_HH,
  LURN__LAYER_H0,
  LURN__LAYER_C0,
  LURN__LAYER_LENGTHS,
  LURN__LAYER_W_HR,
  LURN__LAYER_W_CI, /* the peepholes: gate k that sees the cell has its own from here */
  LURN__LAYER_W_CF,
  LURN__LAYER_W_CO
};
enum { LURN__PEEPHOLES = LURN__LAYER_W_CO - LURN__LAYER_W_CI + 1 };

/* The arguments of an op.  Tensors are NULL when absent, and all of them in backward. */
typedef struct lurn__layer {
  const lurn__cell *cell;
  lurn__nonlinearity f;
  bool reverse;
  lurn_record *record;
  lurn_tensor *x, *w_ih, *w_hh, *b_ih, *b_hh, *h0, *c0, *lengths;
  lurn_tensor *w_hr, *peephole[LURN__PEEPHOLES]; /* of i, f and o */
} lurn__layer;

lurn_status lurn__layer_forward(lurn__call *call, const lurn__layer *layer);
lurn_status lurn__layer_backward(lurn__grad_call *grad, const lurn__layer *layer);

/* ---- Shared by both directions of differentiation ---------------------------------------------------------- */

/* What forward saves. */
enum {
  LURN__LAYER_SAVED_X,
  LURN__LAYER_SAVED_W_IH,
  LURN__LAYER_SAVED_W_HH,
  LURN__LAYER_SAVED_H0, /* NULL: zeros */
  LURN__LAYER_SAVED_C0,
  LURN__LAYER_SAVED_LENGTHS,
  LURN__LAYER_SAVED_HIDDEN, /* (T, N, P): y, or with lengths the states that y hides */
  LURN__LAYER_SAVED_CELL,   /* (T, N, H) */
  LURN__LAYER_SAVED_GATES,  /* (T, N, gates H) */
  LURN__LAYER_SAVED_RECURRENT,
  LURN__LAYER_SAVED_W_HR,
  LURN__LAYER_SAVED_PEEPHOLES /* as the cell takes them */
};

/* Sizes and kernels of a layer at work. */
typedef struct lurn__sequence {
  lurn_ctx *ctx;
  const lurn__cell *cell;
  const lurn__gemm *gemm;
  const lurn__cells *cells;
  lurn__nonlinearity f;
  lurn_dtype dtype;
  int64_t width;      /* bytes of an element */
  int64_t T, N, D, H; /* time, batch, input, hidden */
  int64_t P;          /* columns of the hidden state: fewer than H where it is projected, or as many */
  bool projected;
  int64_t rows;  /* of the weights: gates * H */
  int64_t split; /* rows of w_hh whose product adds to the input's; H less than rows where has_recurrent */
  int64_t chunk; /* steps taken together */
  int64_t dgates_stride, drecurrent_stride; /* elements between rows of the gradients of the sums, good for products */
  bool reverse;
  const int64_t *lengths; /* (N) or NULL */
} lurn__sequence;

/* A state over time: (T, N, columns), or with one_step only the current step, whose former content is overwritten. */
typedef struct lurn__track {
  char *data;
  int64_t columns;
  bool one_step;
  const char *initial; /* (N, columns): before the first step, unless one_step */
} lurn__track;

/* projection: P, or 0 without one. */
void lurn__sequence_init(lurn__sequence *s, lurn_ctx *ctx, const lurn__layer *layer, lurn_dtype dtype,
                         const int64_t x_size[3], int64_t hidden, int64_t projection);
/* Which gate, counted from 0, sees the cell through the peephole of i, f or o; -1: none. */
static inline int64_t lurn__peephole_gate(const lurn__cell *cell, int which) {
  bool is_output = which == LURN__PEEPHOLES - 1;
  return is_output ? cell->gates - 1 : cell->gates == 4 ? which : which - 1;
}
/* The i-th step taken is time t; the one before it, where i > 0, is time before. */
static inline int64_t lurn__step_time(const lurn__sequence *s, int64_t i) { return s->reverse ? s->T - 1 - i : i; }
static inline int64_t lurn__step_before(const lurn__sequence *s, int64_t i) { return lurn__step_time(s, i - 1); }
/* Lowest time among the steps i .. i + count - 1: they are contiguous from there, whatever the direction. */
static inline int64_t lurn__chunk_time(const lurn__sequence *s, int64_t i, int64_t count) {
  return s->reverse ? s->T - i - count : i;
}

/* The rows from `row` on of a track at time t, and of what it held before the i-th step. */
static inline char *lurn__track_at(const lurn__sequence *s, const lurn__track *track, int64_t t, int64_t row) {
  return track->data + ((track->one_step ? 0 : t * s->N) + row) * track->columns * s->width;
}
static inline const char *lurn__track_before(const lurn__sequence *s, const lurn__track *track, int64_t i,
                                             int64_t row) {
  if (i == 0 && !track->one_step) return track->initial + row * track->columns * s->width;
  return lurn__track_at(s, track, i == 0 ? 0 : lurn__step_before(s, i), row);
}

static inline bool lurn__row_active(const lurn__sequence *s, int64_t t, int64_t row) {
  return s->lengths == NULL || t < s->lengths[row];
}
/* Finds the next run [*from, *to) of active rows at or after *to and before last; false when there is none. */
bool lurn__next_run(const lurn__sequence *s, int64_t t, int64_t last, int64_t *from, int64_t *to);

/* A matrix B (k, n) of weights.  Used once, it is not packed beforehand, but read as it lies, unless it was kept packed. */
typedef struct lurn__weight {
  int64_t k, n;
  lurn__matrix b;
  bool once;
  const char *kept; /* from lurn__product_kept, or NULL: then packed is read */
  char *packed;     /* set by the caller, who has the memory */
} lurn__weight;

/* The team that walks: rows are cut into so many tasks, each of all steps; or there is one, and each step is cut. */
typedef struct lurn__team {
  const lurn__sequence *s;
  int64_t threads; /* worth using at all */
  int64_t tasks;
  bool by_step;
  char *scratch;
  size_t scratch_bytes; /* per thread */
} lurn__team;
void lurn__team_init(lurn__team *team, const lurn__sequence *s);
/* Rows of a task. */
static inline int64_t lurn__team_row(const lurn__team *team, int64_t task) { return task * team->s->N / team->tasks; }

/* First column of a part, of so many that share n columns: parts meet at panels. */
int64_t lurn__part_column(const lurn__sequence *s, int64_t n, int64_t part, int64_t parts);

/* Sets the matrix; returns the bytes that packing it takes, which may be none. */
int64_t lurn__weight_init(const lurn__sequence *s, lurn__weight *w, int64_t k, int64_t n, lurn__matrix b, bool once);
/* Packs, over the team's threads, where that is wanted. */
void lurn__weight_pack(const lurn__team *team, const lurn__weight *w);
/* Uses what is kept with the storage that the matrix lies in, if it is there; returns the bytes that packing takes. */
int64_t lurn__weight_keep(const lurn__sequence *s, lurn__weight *w, lurn__storage *storage);
/* Bytes of scratch per thread for products of m rows with w. */
size_t lurn__weight_scratch(const lurn__sequence *s, const lurn__weight *w, int64_t m);
/* C (m, n) = or += A (m, k; row-major, row stride lda) . w, its columns first..last; mode as in kernels/gemm.h. */
void lurn__weight_multiply(const lurn__sequence *s, const lurn__weight *w, int64_t m, const void *a, int64_t lda,
                           int64_t first, int64_t last, void *c, int64_t ldc, int mode, void *scratch);
/* The mode of the products of the i-th step: each goes through the weights the other way round. */
static inline int lurn__step_mode(int64_t i, bool accumulate) {
  return (accumulate ? LURN__GEMM_ACCUMULATE : 0) | (i % 2 ? LURN__GEMM_BACKWARDS : 0);
}
/* The same for all columns, by this thread, or by all when by_step. */
void lurn__weight_product(const lurn__team *team, int thread, const lurn__weight *w, int64_t m, const void *a,
                          int64_t lda, void *c, int64_t ldc, int mode);

/* The cell's arithmetic for a step, by this thread, or by all when by_step. */
void lurn__run_step(const lurn__team *team, lurn__step_fn *fn, const lurn__step *step);

/* Memory for several arrays in one: fills *slot of each, aligned to cache lines.  Belongs to temps. */
typedef struct lurn__want {
  char **slot;
  int64_t bytes;
} lurn__want;
lurn_status lurn__workspace(lurn_ctx *ctx, lurn__temps *temps, const lurn__want *wants, int count);

#endif
