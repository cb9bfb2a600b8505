/* Recurrent layers, one unit of one step of one sequence at a time. */
#include <math.h>
#include <string.h>

#include "naive.h"

static long double sigma(long double x) { return 1 / (1 + expl(-x)); }

/* An LSTM's gates come as i f g o, coupled as f g o; a GRU's as r z n. */
typedef struct cell {
  enum { RNN, GRU, LSTM } kind;
  bool coupled, reverse;
  int gates;
  int64_t T, N, D, H, P; /* P: size of h; H but for a projection */
  const naive *x, *w, *u, *b, *c;
  const naive *h0, *c0, *lengths, *projection, *peep_i, *peep_f, *peep_o;
  int64_t f;
} cell;

/* ---- Arguments --------------------------------------------------------------------------------------------- */

static cell read_cell(const naive_call *call) {
  const naive *const *in = call->in;
  bool lstm = call->op->name[0] == 'l', gru = call->op->name[0] == 'g';
  cell l = {.kind = lstm  ? LSTM
                    : gru ? GRU
                          : RNN,
            .gates = lstm  ? 4
                     : gru ? 3
                           : 1,
            .x = in[0],
            .w = in[1],
            .u = in[2],
            .b = in[3],
            .c = in[4],
            .h0 = in[5],
            .lengths = in[lstm ? 7 : 6]};
  if (l.kind == RNN) l.f = call->number[7];
  l.reverse = call->number[lstm ? 13 : gru ? 7 : 8] != 0;
  if (!lstm) return l;
  l.c0 = in[6];
  l.projection = in[8];
  l.peep_i = in[9];
  l.peep_f = in[10];
  l.peep_o = in[11];
  l.coupled = call->number[12] != 0;
  l.gates -= l.coupled;
  return l;
}

static bool lengths_fit(const cell *l) {
  const naive *len = l->lengths;
  if (len == NULL) return true;
  if (!naive_is_index(len) || !naive_shaped(len, 1, l->N, 0, 0)) return false;
  for (int64_t i = 0; i < len->n; i++)
    if (len->value[i] < 0 || len->value[i] > (long double)l->T) return false;
  return true;
}

static bool dtypes_fit(const naive_call *call, const cell *l) {
  if (!naive_is_float(l->x->dtype)) return false;
  for (int k = 1; k < call->n_in; k++)
    if (call->in[k] != NULL && call->in[k] != l->lengths && call->in[k]->dtype != l->x->dtype) return false;
  return true;
}

static bool sizes_fit(cell *l) {
  if (l->x->ndim != 3 || l->w->ndim != 2 || l->w->size[0] == 0 || l->w->size[0] % l->gates != 0) return false;
  l->T = l->x->size[0];
  l->N = l->x->size[1];
  l->D = l->x->size[2];
  l->P = l->H = l->w->size[0] / l->gates;
  if (l->projection != NULL && l->projection->ndim != 2) return false;
  if (l->projection != NULL) l->P = l->projection->size[0];
  int64_t rows = l->gates * l->H;
  return l->P > 0 && naive_shaped(l->w, 2, rows, l->D, 0) && naive_shaped(l->u, 2, rows, l->P, 0) &&
         naive_shaped(l->b, 1, rows, 0, 0) && naive_shaped(l->c, 1, rows, 0, 0) &&
         naive_shaped(l->h0, 2, l->N, l->P, 0) && naive_shaped(l->c0, 2, l->N, l->H, 0) &&
         naive_shaped(l->projection, 2, l->P, l->H, 0) && naive_shaped(l->peep_i, 1, l->H, 0, 0) &&
         naive_shaped(l->peep_f, 1, l->H, 0, 0) && naive_shaped(l->peep_o, 1, l->H, 0, 0);
}

static bool cell_fits(const naive_call *call, cell *l) {
  return dtypes_fit(call, l) && sizes_fit(l) && lengths_fit(l) && l->f >= 0 && l->f <= 2 &&
         !(l->coupled && l->peep_i != NULL);
}

/* ---- One step ---------------------------------------------------------------------------------------------- */

static long double input_part(const cell *l, int64_t t, int64_t n, int64_t row) {
  long double sum = l->b != NULL ? l->b->value[row] : 0;
  for (int64_t d = 0; d < l->D; d++) sum += l->w->value[row * l->D + d] * l->x->value[(t * l->N + n) * l->D + d];
  return sum;
}

static long double hidden_part(const cell *l, int64_t row, const long double *h) {
  long double sum = l->c != NULL ? l->c->value[row] : 0;
  for (int64_t j = 0; j < l->P; j++) sum += l->u->value[row * l->P + j] * h[j];
  return sum;
}

static long double peep(const naive *weight, int64_t j, long double c) {
  return weight != NULL ? weight->value[j] * c : 0;
}

/* sums: of i f g o.  The new c; returns h before its projection. */
static long double lstm_unit(const cell *l, int64_t j, const long double *sums, long double *c) {
  long double f = sigma(sums[1] + peep(l->peep_f, j, *c));
  long double i = l->coupled ? 1 - f : sigma(sums[0] + peep(l->peep_i, j, *c));
  *c = f * *c + i * tanhl(sums[2]);
  return sigma(sums[3] + peep(l->peep_o, j, *c)) * tanhl(*c);
}

static long double unit(const cell *l, int64_t t, int64_t n, int64_t j, const long double *h, long double *c) {
  long double in[4] = {0}, hid[4] = {0}, sums[4] = {0};
  for (int g = 0; g < l->gates; g++) {
    int at = g + l->coupled;
    in[at] = input_part(l, t, n, g * l->H + j);
    hid[at] = hidden_part(l, g * l->H + j, h);
    sums[at] = in[at] + hid[at];
  }
  if (l->kind == LSTM) return lstm_unit(l, j, sums, c);
  if (l->kind == RNN) return l->f == 0 ? tanhl(sums[0]) : l->f == 1 ? fmaxl(sums[0], 0) : sigma(sums[0]);
  long double r = sigma(sums[0]), z = sigma(sums[1]);
  return (1 - z) * tanhl(in[2] + r * hid[2]) + z * h[j];
}

/* h and c of one sequence after step t. */
static void advance(const cell *l, int64_t t, int64_t n, long double *h, long double *c, long double *next) {
  for (int64_t j = 0; j < l->H; j++) next[j] = unit(l, t, n, j, h, &c[j]);
  for (int64_t p = 0; p < l->P; p++) {
    h[p] = l->projection != NULL ? 0 : next[p];
    for (int64_t j = 0; j < l->H && l->projection != NULL; j++) h[p] += l->projection->value[p * l->H + j] * next[j];
  }
}

/* ---- Sequences --------------------------------------------------------------------------------------------- */

static void sequence(naive_call *call, const cell *l, int64_t n, long double *h, long double *c, long double *next) {
  int64_t length = l->lengths != NULL ? (int64_t)l->lengths->value[n] : l->T;
  for (int64_t p = 0; p < l->P; p++) h[p] = l->h0 != NULL ? l->h0->value[n * l->P + p] : 0;
  for (int64_t j = 0; j < l->H; j++) c[j] = l->c0 != NULL ? l->c0->value[n * l->H + j] : 0;
  for (int64_t step = 0; step < length; step++) {
    int64_t t = l->reverse ? length - 1 - step : step;
    advance(l, t, n, h, c, next);
    for (int64_t p = 0; p < l->P; p++) call->out[0].value[(t * l->N + n) * l->P + p] = h[p];
  }
  for (int64_t p = 0; p < l->P; p++) call->out[1].value[n * l->P + p] = h[p];
  for (int64_t j = 0; j < l->H && l->kind == LSTM; j++) call->out[2].value[n * l->H + j] = c[j];
}

static long double largest(const naive *t) {
  long double most = 0;
  for (int64_t i = 0; t != NULL && i < t->n; i++) most = fmaxl(most, fabsl(t->value[i]));
  return most;
}

/* The largest sum of sizes in a row of a matrix. */
static long double row_size(const naive *t, int64_t columns) {
  long double most = 0;
  for (int64_t first = 0; t != NULL && first < t->n; first += columns) {
    long double sum = 0;
    for (int64_t j = 0; j < columns; j++) sum += fabsl(t->value[first + j]);
    most = fmaxl(most, sum);
  }
  return most;
}

/* A step's error grows through the next ones by at most the size of its recurrent weights, of the projection, and of the peepholes
 * times the cell. */
static double growth(const cell *l) {
  long double peepholes = largest(l->peep_i) + largest(l->peep_f) + largest(l->peep_o), factor;
  factor = 1 + row_size(l->u, l->P) * fmaxl(1, row_size(l->projection, l->H)) + peepholes;
  return pow((double)factor, (double)l->T);
}

static void margins(naive_call *call, const cell *l) {
  long double inner = 1;
  for (int k = 0; k < call->n_in; k++)
    if (call->in[k] != NULL && call->in[k] != l->lengths) inner = fmaxl(inner, largest(call->in[k]));
  for (int k = 0; k < call->op->n_outputs; k++)
    for (int64_t i = 0; i < call->out[k].n; i++)
      call->out[k].margin[i] = inner * inner * (long double)(1 + l->D) + fabsl(call->out[k].value[i]);
}

/* What rounding may come to over all steps. */
static double rounding(const naive_call *call, const cell *l) {
  double wide = growth(l) * fmax(1, (double)row_size(l->projection, l->H));
  return naive_is_tame(call) && wide < 1e4 ? 16 * wide * (double)(l->D + l->H + l->P + 1) : INFINITY;
}

static naive_verdict run_recurrent(naive_call *call) {
  cell l = read_cell(call);
  if (!cell_fits(call, &l)) return NAIVE_REFUSED;
  call->ulps = rounding(call, &l); /* also where the numbers are not computed here */
  const int64_t y[] = {l.T, l.N, l.P}, last_c[] = {l.N, l.H};
  if (!naive_out(call, 0, l.x->dtype, 3, y) || !naive_out(call, 1, l.x->dtype, 2, y + 1) ||
      (l.kind == LSTM && !naive_out(call, 2, l.x->dtype, 2, last_c)))
    return NAIVE_UNKNOWN;
  if ((double)(l.T * l.N * l.gates) * (double)(l.H * (l.D + l.P)) > 1e6) return NAIVE_UNKNOWN; /* takes too long */
  long double *h = naive_alloc(l.P + 2 * l.H, sizeof *h), *c = h + l.P, *next = c + l.H;
  if (h == NULL) return NAIVE_UNKNOWN;
  for (int64_t n = 0; n < l.N; n++) sequence(call, &l, n, h, c, next);
  margins(call, &l);
  return NAIVE_GIVEN;
}

const naive_op naive_recurrent[] = {
    {"rnn", run_recurrent}, {"lstm", run_recurrent}, {"gru", run_recurrent}, {NULL, NULL}};
