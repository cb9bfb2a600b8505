/* gru: one layer and direction of a gated recurrent unit. */
#include "ops/recurrent.h"

static void step_forward(const lurn__cells *cells, const lurn__step *s) {
  cells->gru_forward(s->n, s->h, s->gates, s->recurrent, s->bias, s->hidden_before, s->hidden);
}

static void step_backward(const lurn__cells *cells, const lurn__step *s) {
  cells->gru_backward(s->n, s->h, s->gates, s->recurrent, s->hidden_before, s->dhidden, s->dgates, s->dgates_stride,
                      s->drecurrent, s->drecurrent_stride);
}

static const lurn__cell cell = {
    .gates = 3, .keeps_gates = true, .has_recurrent = true, .forward = step_forward, .backward = step_backward};

static lurn_status gru_forward(lurn__call *call) {
  const struct lurn__gru_args *args = call->args;
  return lurn__layer_forward(call, &(lurn__layer){.cell = &cell,
                                                  .reverse = args->reverse,
                                                  .record = args->record,
                                                  .x = args->x,
                                                  .w_ih = args->w_ih,
                                                  .w_hh = args->w_hh,
                                                  .b_ih = args->b_ih,
                                                  .b_hh = args->b_hh,
                                                  .h0 = args->h0,
                                                  .lengths = args->lengths});
}

static lurn_status gru_backward(lurn__grad_call *grad) {
  const struct lurn__gru_args *args = grad->args;
  return lurn__layer_backward(grad, &(lurn__layer){.cell = &cell, .reverse = args->reverse, .record = args->record});
}

const lurn__op lurn__op_gru = {.forward = gru_forward,
                               .backward = gru_backward,
                               .doc = "r, z = sigmoid(W x_t + b + U h_(t-1) + b'), n = tanh(W x_t + b + r (U h_(t-1) + "
                                      "b')), h_t = (1 - z) n + z h_(t-1).\n"
                                      "x (T, N, D); w_ih (3H, D), w_hh (3H, H), b_ih and b_hh (3H) with rows in the "
                                      "order r z n; h0 (N, H), zero when left "
                                      "out.  y (T, N, H) is every h_t; h_n (N, H) is the last.  float32 or float64.\n"
                                      "lengths (N), integers 0..T: y is zero past a sequence's length, where its state "
                                      "stays as it is.  reverse takes the "
                                      "steps from the last to the first, each sequence from its own last.  record is "
                                      "filled with gates and hidden states, "
                                      "and by backward with the total gradient of h_t.\n"
                                      "Errors: shapes or dtypes that do not fit, lengths out of range.\n"
                                      "Cho et al. 2014, in the form with the reset gate after the product."};
