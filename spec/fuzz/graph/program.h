/* A program: leaves and ops in order, with every argument told, so that it can be run again under other circumstances. */
#ifndef LURN_FUZZ_PROGRAM_H
#define LURN_FUZZ_PROGRAM_H

#include "lurn.h"
#include "naive.h"

enum { SLOTS = 96, STEPS = 64, INTS = LURN_MAX_DIMS + 1, MOST_ELEMENTS = 400000 };

typedef enum step_kind { STEP_LEAF, STEP_OP, STEP_DROP } step_kind;

/* How a leaf lies in memory. */
typedef enum layout { PLAIN, TURNED, WINDOW, EVERY_SECOND, EXPANDED, LAYOUTS } layout;
/* What its values are like: halves with many ties and zeros, any between -2 and 2, with the ends of the range, above 0,
 * integers of low..high, or in rising order with ties. */
typedef enum palette { TIES, SMOOTH, EXTREME, POSITIVE, RANGE, RISING, PALETTES } palette;

typedef struct leaf {
  lurn_dtype dtype;
  int ndim;
  int64_t size[LURN_MAX_DIMS];
  layout layout;
  palette palette;
  int64_t low, high;
  uint32_t seed;
  bool weak, needs_grad;
} leaf;

typedef struct step {
  step_kind kind;
  leaf leaf;
  const lurn_op_info *op;
  bool inplace, no_grad;
  int slot[NAIVE_OUT];    /* where results go; what is dropped */
  int in[NAIVE_IN], n_in; /* slots of tensors, lists flattened; -1 for none */
  int list_count;
  int64_t number[NAIVE_PARAMS];
  double real[NAIVE_PARAMS];
  int64_t ints[NAIVE_PARAMS][INTS];
  int n_ints[NAIVE_PARAMS];
  bool record;
} step;

typedef struct program {
  step steps[STEPS];
  int n_steps, n_slots;
  bool only_float64; /* of floats, and nothing under no_grad: for differences */
  bool has_no_grad, has_inplace, has_float32;
  int64_t elements; /* of inputs and outputs so far: what a run takes */
} program;

/* One run of it. */
typedef struct run {
  lurn_ctx *ctx;
  lurn_tensor *slot[SLOTS];
} run;

/* Every element of a leaf, from its number. */
double leaf_value(const leaf *l, int64_t i);
lurn_status make_leaf(lurn_ctx *ctx, const leaf *l, lurn_tensor **out);
/* Runs an op on the tensors given instead of the slots', in the order of step->in. */
lurn_status call_op(lurn_ctx *ctx, const step *s, bool inplace, lurn_tensor *const *in, lurn_tensor **out);
/* Leaves the slots alone on failure. */
lurn_status run_step(run *r, const step *s);
void run_clear(run *r);

/* Element number i in row-major order, and writing it. */
long double tensor_value(const lurn_tensor *t, int64_t i);
int64_t tensor_place(const lurn_tensor *t, int64_t i); /* in elements from its first */
void print_program(const program *p);

/* ---- Bytes ------------------------------------------------------------------------------------------------- */

typedef struct bytes {
  const uint8_t *data;
  size_t left;
} bytes;

unsigned take(bytes *b, unsigned below); /* 0 once they are used up */
/* Reads the next step, which suits what the slots hold; needed leaves are put before it and run.  False at the end. */
bool decode_step(bytes *b, program *p, run *r, bool (*run_now)(program *p, run *r, step *s), step **out);

#endif
