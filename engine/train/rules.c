/* One section per kind: which state it keeps, what its kernel needs to know.  The formulas stand in kernels/optim.h. */
#include <math.h>

#include "train/optim.h"

static double zero(const lurn_optim_options *options) {
  (void)options;
  return 0;
}

static unsigned all_of_two(const lurn_optim_options *options) {
  (void)options;
  return 3;
}

/* ---- SGD: momentum_buffer ---- */

static unsigned sgd_slots_used(const lurn_optim_options *options) { return options->momentum != 0; }

static lurn__optim_numbers sgd_numbers(const lurn_optim_options *o, int64_t step, unsigned fresh) {
  (void)step;
  return (lurn__optim_numbers){.sgd = {.lr = o->lr,
                                       .momentum = o->momentum,
                                       .dampening = o->dampening,
                                       .weight_decay = o->weight_decay,
                                       .nesterov = o->nesterov,
                                       .maximize = o->maximize,
                                       .first = (fresh & 1) != 0}};
}

static void sgd_run(const lurn__optim_kernels *kernels, int real, int64_t n, const lurn__optim_numbers *numbers,
                    void *p, const void *g, void *const *slot) {
  kernels->sgd[real](n, &numbers->sgd, p, g, slot[0]);
}

/* ---- RMSprop: square_avg, grad_avg, momentum_buffer ---- */

static unsigned rmsprop_slots_used(const lurn_optim_options *options) {
  return 1u | (options->centered ? 2u : 0u) | (options->momentum > 0 ? 4u : 0u);
}

static lurn__optim_numbers rmsprop_numbers(const lurn_optim_options *o, int64_t step, unsigned fresh) {
  (void)step;
  (void)fresh;
  return (lurn__optim_numbers){.rmsprop = {.lr = o->lr,
                                           .alpha = o->alpha,
                                           .eps = o->eps,
                                           .momentum = o->momentum,
                                           .weight_decay = o->weight_decay,
                                           .maximize = o->maximize}};
}

static void rmsprop_run(const lurn__optim_kernels *kernels, int real, int64_t n, const lurn__optim_numbers *numbers,
                        void *p, const void *g, void *const *slot) {
  kernels->rmsprop[real](n, &numbers->rmsprop, p, g, slot[0], slot[1], slot[2]);
}

/* ---- Adam and AdamW: exp_avg, exp_avg_sq, max_exp_avg_sq ---- */

static unsigned adam_slots_used(const lurn_optim_options *options) { return options->amsgrad ? 7 : 3; }

static lurn__optim_numbers adam_numbers(const lurn_optim_options *o, int64_t step, unsigned fresh) {
  (void)fresh;
  return (lurn__optim_numbers){.adam = {.lr = o->lr,
                                        .beta1 = o->beta1,
                                        .beta2 = o->beta2,
                                        .eps = o->eps,
                                        .weight_decay = o->weight_decay,
                                        .correction1 = 1 - pow(o->beta1, (double)step),
                                        .correction2 = 1 - pow(o->beta2, (double)step),
                                        .maximize = o->maximize}};
}

static lurn__optim_numbers adamw_numbers(const lurn_optim_options *o, int64_t step, unsigned fresh) {
  lurn__optim_numbers numbers = adam_numbers(o, step, fresh);
  numbers.adam.decoupled = true;
  return numbers;
}

static void adam_run(const lurn__optim_kernels *kernels, int real, int64_t n, const lurn__optim_numbers *numbers,
                     void *p, const void *g, void *const *slot) {
  kernels->adam[real](n, &numbers->adam, p, g, slot[0], slot[1], slot[2]);
}

/* ---- Adagrad: sum ---- */

static unsigned adagrad_slots_used(const lurn_optim_options *options) {
  (void)options;
  return 1;
}

static double adagrad_initial(const lurn_optim_options *options) { return options->initial_accumulator; }

static lurn__optim_numbers adagrad_numbers(const lurn_optim_options *o, int64_t step, unsigned fresh) {
  (void)fresh;
  return (lurn__optim_numbers){.adagrad = {.rate = o->lr / (1 + (double)(step - 1) * o->lr_decay),
                                           .eps = o->eps,
                                           .weight_decay = o->weight_decay,
                                           .maximize = o->maximize}};
}

static void adagrad_run(const lurn__optim_kernels *kernels, int real, int64_t n, const lurn__optim_numbers *numbers,
                        void *p, const void *g, void *const *slot) {
  kernels->adagrad[real](n, &numbers->adagrad, p, g, slot[0]);
}

/* ---- Adadelta: square_avg, acc_delta ---- */

static lurn__optim_numbers adadelta_numbers(const lurn_optim_options *o, int64_t step, unsigned fresh) {
  (void)step;
  (void)fresh;
  return (lurn__optim_numbers){
      .adadelta = {
          .lr = o->lr, .rho = o->rho, .eps = o->eps, .weight_decay = o->weight_decay, .maximize = o->maximize}};
}

static void adadelta_run(const lurn__optim_kernels *kernels, int real, int64_t n, const lurn__optim_numbers *numbers,
                         void *p, const void *g, void *const *slot) {
  kernels->adadelta[real](n, &numbers->adadelta, p, g, slot[0], slot[1]);
}

/* ---- The table ---- */

static const lurn__optim_rule rules[LURN_OPTIM_KINDS] = {
    [LURN_SGD] = {"SGD", {"momentum_buffer"}, sgd_slots_used, zero, sgd_numbers, sgd_run},
    [LURN_RMSPROP] = {"RMSprop",
                      {"square_avg", "grad_avg", "momentum_buffer"},
                      rmsprop_slots_used,
                      zero,
                      rmsprop_numbers,
                      rmsprop_run},
    [LURN_ADAM] = {"Adam", {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, adam_slots_used, zero, adam_numbers, adam_run},
    [LURN_ADAMW] =
        {"AdamW", {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, adam_slots_used, zero, adamw_numbers, adam_run},
    [LURN_ADAGRAD] = {"Adagrad", {"sum"}, adagrad_slots_used, adagrad_initial, adagrad_numbers, adagrad_run},
    [LURN_ADADELTA] = {"Adadelta", {"square_avg", "acc_delta"}, all_of_two, zero, adadelta_numbers, adadelta_run},
};

const lurn__optim_rule *lurn__optim_rule_of(lurn_optim_kind kind) {
  return (unsigned)kind < LURN_OPTIM_KINDS ? &rules[kind] : NULL;
}
