#include <math.h>

#include "train/optim.h"

lurn_optim_options lurn_optim_defaults(lurn_optim_kind kind) {
  switch (kind) {
    case LURN_SGD: return (lurn_optim_options){.lr = 1e-3};
    case LURN_RMSPROP: return (lurn_optim_options){.lr = 1e-2, .alpha = 0.99, .eps = 1e-8};
    case LURN_ADAM: return (lurn_optim_options){.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    case LURN_ADAMW:
      return (lurn_optim_options){.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 1e-2};
    case LURN_ADAGRAD: return (lurn_optim_options){.lr = 1e-2, .eps = 1e-10};
    case LURN_ADADELTA: return (lurn_optim_options){.lr = 1, .rho = 0.9, .eps = 1e-6};
    default: return (lurn_optim_options){.lr = 0};
  }
}

typedef enum limits { ANY, AT_LEAST_0, FROM_0_TO_1, BELOW_1 } limits;

static const char *const expected[] = {
    [ANY] = "a finite number",
    [AT_LEAST_0] = "at least 0",
    [FROM_0_TO_1] = "0 to 1",
    [BELOW_1] = "at least 0 and below 1",
};

static bool within(limits want, double v) {
  switch (want) {
    case AT_LEAST_0: return v >= 0;
    case FROM_0_TO_1: return v >= 0 && v <= 1;
    case BELOW_1: return v >= 0 && v < 1;
    default: return true;
  }
}

enum {
  SGD = 1 << LURN_SGD,
  RMSPROP = 1 << LURN_RMSPROP,
  ADAMS = 1 << LURN_ADAM | 1 << LURN_ADAMW,
  ADAGRAD = 1 << LURN_ADAGRAD,
  ADADELTA = 1 << LURN_ADADELTA,
  ALL = (1 << LURN_OPTIM_KINDS) - 1
};

/* Which kinds use a number, and what it may be. */
static const struct {
  const char *name;
  size_t offset;
  int kinds;
  limits limits;
} numbers[] = {
    {"lr", offsetof(lurn_optim_options, lr), ALL, AT_LEAST_0},
    {"weight_decay", offsetof(lurn_optim_options, weight_decay), ALL, AT_LEAST_0},
    {"momentum", offsetof(lurn_optim_options, momentum), SGD | RMSPROP, AT_LEAST_0},
    {"dampening", offsetof(lurn_optim_options, dampening), SGD, ANY},
    {"alpha", offsetof(lurn_optim_options, alpha), RMSPROP, FROM_0_TO_1},
    {"eps", offsetof(lurn_optim_options, eps), ALL - SGD, AT_LEAST_0},
    {"beta1", offsetof(lurn_optim_options, beta1), ADAMS, BELOW_1},
    {"beta2", offsetof(lurn_optim_options, beta2), ADAMS, BELOW_1},
    {"rho", offsetof(lurn_optim_options, rho), ADADELTA, FROM_0_TO_1},
    {"lr_decay", offsetof(lurn_optim_options, lr_decay), ADAGRAD, AT_LEAST_0},
    {"initial_accumulator_value", offsetof(lurn_optim_options, initial_accumulator), ADAGRAD, AT_LEAST_0},
};

lurn_status lurn__optim_check(lurn_ctx *ctx, lurn_optim_kind kind, const lurn_optim_options *options) {
  const char *who = lurn__optim_rule_of(kind)->name;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (!(numbers[i].kinds & 1 << kind)) continue;
    double v = *(const double *)((const char *)options + numbers[i].offset);
    limits want = isfinite(v) ? numbers[i].limits : ANY;
    if (!isfinite(v) || !within(want, v))
      return lurn__fail(ctx, LURN_EVALUE, "%s: %s is %g; expected %s", who, numbers[i].name, v, expected[want]);
  }
  if (kind == LURN_SGD && options->nesterov && (options->momentum == 0 || options->dampening != 0))
    return lurn__fail(ctx, LURN_EVALUE, "SGD: nesterov needs a momentum above 0 and dampening 0; they are %g and %g",
                      options->momentum, options->dampening);
  return LURN_OK;
}
