/* A naive interpreter of ops: plain loops over logical elements, in long double, whose 64 bits of mantissa hold every int64 and
 * every double.  It knows nothing of strides, threads or instruction sets. */
#ifndef LURN_FUZZ_NAIVE_H
#define LURN_FUZZ_NAIVE_H

#include "lurn.h"

enum { NAIVE_IN = 16, NAIVE_OUT = 4, NAIVE_PARAMS = 20 };

/* A tensor in row-major order.  For results, margin[i] is the size of what went into element i (0: its own size), and an error of
 * `ulps` units in the last place of that size is allowed; an infinite margin says that the element cannot be told. */
typedef struct naive {
  lurn_dtype dtype;
  int ndim;
  int64_t size[LURN_MAX_DIMS], n;
  bool weak;
  long double *value, *margin;
} naive;

typedef enum naive_verdict {
  NAIVE_UNKNOWN, /* no naive counterpart, or not for these arguments */
  NAIVE_REFUSED, /* an error is due */
  NAIVE_GIVEN    /* the outputs are due */
} naive_verdict;

/* Arguments as the op's parameters name them: tensors in order (absent ones NULL), numbers by parameter. */
typedef struct naive_call naive_call;
struct naive_call {
  const lurn_op_info *op;
  bool inplace;
  const naive *in[NAIVE_IN];
  int n_in;
  int64_t number[NAIVE_PARAMS]; /* INT, FLAG, DIM, POSITION, BASE, CHOICE, DTYPE */
  double real[NAIVE_PARAMS];
  lurn_ints ints[NAIVE_PARAMS]; /* DIMS, SIZES */
  naive out[NAIVE_OUT];
  int64_t
      *source; /* where the op only moves elements: of which element of in[0] each result is, -1 for none; else NULL */
  double ulps;
  /* where chance decides: what is wrong with the elements of output 0, or NULL; their margins are infinite */
  const char *(*judge)(const naive_call *call, const long double *have);
};

naive_verdict naive_run(naive_call *call);
/* Whether an op has a naive counterpart. */
bool naive_knows(const char *name);

/* Memory that lives until naive_reset; NULL when it is used up. */
void *naive_alloc(int64_t count, size_t size);
void naive_reset(void);

/* ---- Helpers ----------------------------------------------------------------------------------------------- */

/* v as a tensor of the dtype holds it. */
long double naive_convert(long double v, lurn_dtype from, lurn_dtype to);
bool naive_is_float(lurn_dtype dtype);
/* Sets shape and memory of an output; false when there is none. */
bool naive_out(naive_call *call, int i, lurn_dtype dtype, int ndim, const int64_t *size);
/* The dimension that `dim` names, or -1. */
int naive_dim(int64_t dim, int ndim);
void naive_position(const naive *t, int64_t at, int64_t *index);
int64_t naive_offset(const naive *t, const int64_t *index);
bool naive_broadcast(const naive *a, const naive *b, naive *out);
/* Of the element of t that lies under element `index` of a tensor with ndim dimensions that t broadcasts to. */
int64_t naive_under(const naive *t, int ndim, const int64_t *index);
/* The shape and dtype that an op of two operands gives, from which a further op may go on; false when they do not broadcast. */
bool naive_meet(const naive *a, const naive *b, naive *out);
lurn_dtype naive_promote(const naive *a, const naive *b);
lurn_dtype naive_promote_plain(lurn_dtype a, lurn_dtype b);
bool naive_same_shape(const naive *a, const naive *b);
/* The number made of 64 bits, wrapped into an integer dtype. */
long double naive_wrap(lurn_dtype dtype, uint64_t bits);
/* Integers that may be positions. */
bool naive_is_index(const naive *t);
/* t is absent, or of the sizes a, b, c as far as ndim goes. */
bool naive_shaped(const naive *t, int ndim, int64_t a, int64_t b, int64_t c);
bool naive_all_float(const naive_call *call);
/* Fills out[0] with in[0]'s elements as told by source, which the caller fills in between: begin, fill, end. */
bool naive_begin_moves(naive_call *call, int ndim, const int64_t *size);
naive_verdict naive_end_moves(naive_call *call);
/* Only finite numbers of ordinary size, on which the error of a sum can be judged. */
bool naive_is_tame(const naive_call *call);

typedef naive_verdict naive_fn(naive_call *call);
typedef struct naive_op {
  const char *name;
  naive_fn *fn;
} naive_op;

extern const naive_op naive_elementwise[], naive_moves[], naive_picks[], naive_reductions[], naive_sorts[],
    naive_layers[], naive_losses[], naive_recurrent[];

#endif
