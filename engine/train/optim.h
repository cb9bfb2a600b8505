/* Optimizers: groups of parameters, the state each parameter has gathered, and one update rule per kind.
 *
 * A group never moves once it was added, so that pointers to its options stay good.  State is made at a parameter's first step, in
 * the slots that the group's options ask for at that time; each slot is a contiguous tensor of the parameter's dtype and shape. */
#ifndef LURN_TRAIN_OPTIM_H
#define LURN_TRAIN_OPTIM_H

#include "core/tensor.h"
#include "kernels/kernels.h"

enum { LURN__OPTIM_SLOTS = 3 };

typedef struct lurn__optim_param {
  lurn_tensor *tensor;                  /* own reference */
  int64_t step;                         /* updates so far */
  lurn_tensor *slot[LURN__OPTIM_SLOTS]; /* NULL until needed */
  unsigned fresh;                       /* during a step: bit k says that slot k was made for it */
} lurn__optim_param;

typedef struct lurn__optim_group {
  struct lurn__optim_group *next;
  lurn_optim_options options;
  int64_t n;
  lurn__optim_param params[];
} lurn__optim_group;

struct lurn_optim {
  lurn_ctx *ctx;
  lurn_optim_kind kind;
  int n_groups;
  lurn__optim_group *first, *last;
};

/* ---- Rules (rules.c) ---- */

/* A kernel's options. */
typedef union lurn__optim_numbers {
  lurn__sgd sgd;
  lurn__adam adam;
  lurn__rmsprop rmsprop;
  lurn__adagrad adagrad;
  lurn__adadelta adadelta;
} lurn__optim_numbers;

typedef struct lurn__optim_rule {
  const char *name;                     /* "Adam" */
  const char *slots[LURN__OPTIM_SLOTS]; /* PyTorch's names of the state; NULL where there is none */
  /* Bit k says that slot k takes part under these options. */
  unsigned (*slots_used)(const lurn_optim_options *options);
  /* What a new slot is filled with. */
  double (*initial)(const lurn_optim_options *options);
  /* The kernel's options for update number step = 1, 2, ...; fresh as in the parameter. */
  lurn__optim_numbers (*numbers)(const lurn_optim_options *options, int64_t step, unsigned fresh);
  /* Updates n contiguous elements; real is 0 for float32 and 1 for float64; slots out of use are NULL. */
  void (*run)(const lurn__optim_kernels *kernels, int real, int64_t n, const lurn__optim_numbers *numbers, void *p,
              const void *g, void *const *slot);
} lurn__optim_rule;

/* NULL when there is no such kind. */
const lurn__optim_rule *lurn__optim_rule_of(lurn_optim_kind kind);

/* ---- Options (options.c) ---- */

/* Says what is wrong with options, for example "Adam: lr is -1; expected at least 0". */
lurn_status lurn__optim_check(lurn_ctx *ctx, lurn_optim_kind kind, const lurn_optim_options *options);

/* ---- Update (update.c) ---- */

/* One update of a parameter that has a gradient and all slots it needs. */
void lurn__optim_update(const lurn_optim *opt, const lurn_optim_options *options, lurn__optim_param *param);

#endif
