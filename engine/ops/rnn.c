/* rnn: one layer and direction of a simple recurrent network. */
#include "ops/recurrent.h"

static void step_forward(const lurn__cells *cells, const lurn__step *s) {
  cells->rnn_forward(s->f, s->n, s->h, s->gates, s->bias, s->hidden);
}

static void step_backward(const lurn__cells *cells, const lurn__step *s) {
  cells->rnn_backward(s->f, s->n, s->h, s->hidden, s->dhidden, s->dgates, s->dgates_stride);
}

static const lurn__cell cell = {.gates = 1, .forward = step_forward, .backward = step_backward};

static lurn_status rnn_forward(lurn__call *call) {
  const struct lurn__rnn_args *args = call->args;
  if (args->nonlinearity < LURN__RNN_TANH || args->nonlinearity > LURN__RNN_SIGMOID)
    return lurn__op_fail(call, LURN_EVALUE, "nonlinearity is %lld; expected 0 (tanh), 1 (relu) or 2 (sigmoid)",
                         (long long)args->nonlinearity);
  return lurn__layer_forward(call, &(lurn__layer){.cell = &cell,
                                                  .f = (lurn__nonlinearity)args->nonlinearity,
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

static lurn_status rnn_backward(lurn__grad_call *grad) {
  const struct lurn__rnn_args *args = grad->args;
  return lurn__layer_backward(grad, &(lurn__layer){.cell = &cell,
                                                   .f = (lurn__nonlinearity)args->nonlinearity,
                                                   .reverse = args->reverse,
                                                   .record = args->record});
}

const lurn__op lurn__op_rnn = {.forward = rnn_forward,
                               .backward = rnn_backward,
                               .doc = "h_t = f(W x_t + b + U h_(t-1) + b'), f tanh, relu or sigmoid.\n"
                                      "x (T, N, D); w_ih (H, D), w_hh (H, H), b_ih and b_hh (H); h0 (N, H), zero when "
                                      "left out.  y (T, N, H) is every h_t; "
                                      "h_n (N, H) is the last.  float32 or float64.\n"
                                      "lengths (N), integers 0..T: y is zero past a sequence's length, where its state "
                                      "stays as it is.  reverse takes the "
                                      "steps from the last to the first, each sequence from its own last.  record is "
                                      "filled with hidden states (twice: they "
                                      "are the gates), and by backward with the total gradient of h_t.\n"
                                      "Errors: shapes or dtypes that do not fit, lengths out of range.\n"
                                      "Elman 1990."};
