/* lstm: one layer and direction of a long short-term memory, with its variants: projection, peepholes, coupled gates. */
#include "ops/recurrent.h"

static void step_forward(const lurn__cells *cells, const lurn__step *s) {
  cells->lstm_forward(s->n, s->h, s->gates, s->bias, s->cell_before, s->cell, s->hidden);
}

static void step_backward(const lurn__cells *cells, const lurn__step *s) {
  cells->lstm_backward(s->n, s->h, s->gates, s->cell_before, s->cell, s->dhidden, s->dcell, s->dcell_total, s->dgates,
                       s->dgates_stride);
}

static void step_variant_forward(const lurn__cells *cells, const lurn__step *s) {
  cells->lstm_variant_forward(false, s->n, s->h, s->gates, s->bias, s->peepholes, s->cell_before, s->cell, s->hidden);
}

static void step_variant_backward(const lurn__cells *cells, const lurn__step *s) {
  cells->lstm_variant_backward(false, s->n, s->h, s->gates, s->peepholes, s->cell_before, s->cell, s->dhidden, s->dcell,
                               s->dcell_total, s->dgates, s->dgates_stride, s->hidden);
}

static void step_coupled_forward(const lurn__cells *cells, const lurn__step *s) {
  cells->lstm_variant_forward(true, s->n, s->h, s->gates, s->bias, s->peepholes, s->cell_before, s->cell, s->hidden);
}

static void step_coupled_backward(const lurn__cells *cells, const lurn__step *s) {
  cells->lstm_variant_backward(true, s->n, s->h, s->gates, s->peepholes, s->cell_before, s->cell, s->dhidden, s->dcell,
                               s->dcell_total, s->dgates, s->dgates_stride, s->hidden);
}

static const lurn__cell plain = {
    .gates = 4, .keeps_gates = true, .has_cell = true, .forward = step_forward, .backward = step_backward};
static const lurn__cell variant = {.gates = 4,
                                   .keeps_gates = true,
                                   .has_cell = true,
                                   .has_variants = true,
                                   .forward = step_variant_forward,
                                   .backward = step_variant_backward};
static const lurn__cell coupled = {.gates = 3,
                                   .keeps_gates = true,
                                   .has_cell = true,
                                   .has_variants = true,
                                   .forward = step_coupled_forward,
                                   .backward = step_coupled_backward};

static const lurn__cell *cell_for(bool is_coupled, bool is_variant) {
  return is_coupled ? &coupled : is_variant ? &variant : &plain;
}

static lurn_status lstm_forward(lurn__call *call) {
  const struct lurn__lstm_args *args = call->args;
  const lurn__cell *cell = cell_for(args->coupled, args->w_hr || args->w_ci || args->w_cf || args->w_co);
  return lurn__layer_forward(call, &(lurn__layer){.cell = cell,
                                                  .reverse = args->reverse,
                                                  .record = args->record,
                                                  .x = args->x,
                                                  .w_ih = args->w_ih,
                                                  .w_hh = args->w_hh,
                                                  .b_ih = args->b_ih,
                                                  .b_hh = args->b_hh,
                                                  .h0 = args->h0,
                                                  .c0 = args->c0,
                                                  .lengths = args->lengths,
                                                  .w_hr = args->w_hr,
                                                  .peephole = {args->w_ci, args->w_cf, args->w_co}});
}

static lurn_status lstm_backward(lurn__grad_call *grad) {
  const struct lurn__lstm_args *args = grad->args;
  bool is_variant = grad->saved[LURN__LAYER_SAVED_W_HR] || grad->saved[LURN__LAYER_SAVED_PEEPHOLES];
  const lurn__cell *cell = cell_for(args->coupled, is_variant);
  return lurn__layer_backward(grad, &(lurn__layer){.cell = cell, .reverse = args->reverse, .record = args->record});
}

const lurn__op lurn__op_lstm = {
    .forward = lstm_forward,
    .backward = lstm_backward,
    .doc =
        "i, f, o = sigmoid(W x_t + b + U h_(t-1) + b'), g = tanh(the same), c_t = f c_(t-1) + i g, h_t = o tanh(c_t).\n"
        "x (T, N, D); w_ih (4H, D), w_hh (4H, H), b_ih and b_hh (4H) with rows in the order i f g o; h0 and c0 (N, H), "
        "zero "
        "when left out.  y (T, N, H) is every h_t; h_n and c_n (N, H) are the last.  float32 or float64.\n"
        "lengths (N), integers 0..T: y is zero past a sequence's length, where its state stays as it is.  reverse "
        "takes the "
        "steps from the last to the first, each sequence from its own last.  record is filled with gates, cell and "
        "hidden "
        "states, and by backward with the total gradients of h_t and c_t.\n"
        "With w_hr (P, H) h_t = w_hr (o tanh(c_t)): h0, h_n (N, P), y (T, N, P) and w_hh (4H, P), while c keeps H.  "
        "With "
        "w_ci, w_cf, w_co (H), each optional, i and f add w c_(t-1) to their sums and o adds w c_t.  coupled: i = 1 - "
        "f, "
        "the weights hold f g o (3H rows), and there is no w_ci.\n"
        "Errors: shapes or dtypes that do not fit, lengths out of range.\n"
        "Hochreiter and Schmidhuber 1997; with forget gate, Gers et al. 2000; peepholes, Gers et al. 2002; projection, "
        "Sak et al. 2014; coupled gates, Greff et al. 2017."};
