/* Gate arithmetic against its formulas in double, its backward against differences, under every instruction set. */
#include "harness.h"

#include <stdlib.h>

#include "core/cpu.h"
#include "kernels/recurrent.h"

static const lurn__recurrent *const tables[] = {
    &lurn__recurrent_scalar,
#if defined(__x86_64__)
    &lurn__recurrent_avx2,
    &lurn__recurrent_avx512,
#endif
};

typedef struct kind {
  const lurn__cells *cells;
  bool is_double;
} kind;

static void for_each_kind(void (*test)(kind t)) {
  for (int i = 0; i < (int)(sizeof tables / sizeof tables[0]) && i <= (int)lurn__cpu_best_isa(); i++) {
    test((kind){&tables[i]->f32, false});
    test((kind){&tables[i]->f64, true});
  }
}

/* float32 functions are good to 2.5e-7 each; sums and products of a few, none larger than 10, lose another digit. */
static double tolerance(kind t) { return t.is_double ? 1e-14 : 2e-6; }

enum { N = 5, H = 37, SIZE = N * 4 * H };

/* An array in both types: kernels work on the one of their kind. */
typedef struct array {
  kind t;
  float f32[SIZE];
  double f64[SIZE];
} array;

static void *data(array *a) { return a->t.is_double ? (void *)a->f64 : (void *)a->f32; }
static void *from_row(array *a, int64_t row, int64_t width) {
  return (char *)data(a) + row * width * (int64_t)(a->t.is_double ? sizeof(double) : sizeof(float));
}
static double get(const array *a, int64_t i) { return a->t.is_double ? a->f64[i] : (double)a->f32[i]; }

static uint64_t seed = 1;
/* In [-3, 3], so that gates are neither all open nor all shut. */
static array random_array(kind t) {
  array a = {.t = t};
  for (int i = 0; i < SIZE; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    a.f32[i] = (float)((double)(seed >> 33) * 6.0 / 2147483648.0 - 3.0);
    a.f64[i] = (double)a.f32[i];
  }
  return a;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static bool same(const array *a, const array *b) {
  return memcmp(a->f32, b->f32, sizeof a->f32) == 0 && memcmp(a->f64, b->f64, sizeof a->f64) == 0;
}

/* ---- RNN --------------------------------------------------------------------------------------------------- */

static double rnn_value(int f, double x) {
  if (f == LURN__RNN_TANH) return tanh(x);
  return f == LURN__RNN_RELU ? fmax(x, 0) : sigmoid(x);
}

static double rnn_slope(int f, double x) {
  double y = rnn_value(f, x);
  if (f == LURN__RNN_TANH) return 1 - y * y;
  return f == LURN__RNN_RELU ? (double)(x > 0) : y * (1 - y);
}

static void check_rnn(kind t) {
  for (int f = LURN__RNN_TANH; f <= LURN__RNN_SIGMOID; f++) {
    array sums = random_array(t), bias = random_array(t), hidden = random_array(t), dhidden = random_array(t),
          dsums = sums;
    t.cells->rnn_forward((lurn__nonlinearity)f, N, H, data(&sums), data(&bias), data(&hidden));
    t.cells->rnn_backward((lurn__nonlinearity)f, N, H, data(&hidden), data(&dhidden), data(&dsums), H);
    for (int i = 0; i < N * H; i++) {
      double x = get(&sums, i) + get(&bias, i % H);
      CHECK_NEAR(get(&hidden, i), rnn_value(f, x), tolerance(t));
      CHECK_NEAR(get(&dsums, i), get(&dhidden, i) * rnn_slope(f, x), 4 * tolerance(t));
    }
    t.cells->rnn_forward((lurn__nonlinearity)f, N, H, data(&sums), data(&bias), data(&sums));
    for (int i = 0; i < N * H; i++) CHECK(get(&sums, i) == get(&hidden, i));
  }
}
TEST(rnn) { for_each_kind(check_rnn); }

static void check_relu_nan(kind t) {
  array sums = random_array(t), bias = {.t = t};
  sums.f32[3] = NAN;
  sums.f64[3] = (double)NAN;
  t.cells->rnn_forward(LURN__RNN_RELU, N, H, data(&sums), data(&bias), data(&sums));
  CHECK(isnan(get(&sums, 3)));
}
TEST(relu_keeps_nan) { for_each_kind(check_relu_nan); }

/* ---- LSTM -------------------------------------------------------------------------------------------------- */

/* weight_h hidden + weight_c cell for one unit: a scalar whose gradients are the weights. */
typedef struct lstm_unit {
  double in[5]; /* sums with bias of i f g o; cell before */
  double gate[4], cell, hidden;
} lstm_unit;

static double lstm_loss(lstm_unit *u, double weight_h, double weight_c) {
  for (int q = 0; q < 4; q++) u->gate[q] = q == 2 ? tanh(u->in[q]) : sigmoid(u->in[q]);
  u->cell = u->gate[1] * u->in[4] + u->gate[0] * u->gate[2];
  u->hidden = u->gate[3] * tanh(u->cell);
  return weight_h * u->hidden + weight_c * u->cell;
}

static double lstm_difference(lstm_unit u, int which, double weight_h, double weight_c) {
  const double eps = 1e-5;
  u.in[which] += eps;
  double above = lstm_loss(&u, weight_h, weight_c);
  u.in[which] -= 2 * eps;
  return (above - lstm_loss(&u, weight_h, weight_c)) / (2 * eps);
}

static void check_lstm(kind t) {
  array sums = random_array(t), bias = random_array(t), before = random_array(t), gates = sums, cell = before,
        hidden = sums;
  array dhidden = random_array(t), dcell = random_array(t), dbefore = dcell, total = sums, dgates = sums;
  t.cells->lstm_forward(N, H, data(&gates), data(&bias), data(&before), data(&cell), data(&hidden));
  t.cells->lstm_backward(N, H, data(&gates), data(&before), data(&cell), data(&dhidden), data(&dbefore), data(&total),
                         data(&dgates), 4 * H);
  for (int i = 0; i < N * H; i++) {
    lstm_unit u = {.in[4] = get(&before, i)};
    int64_t first = i / H * 4 * H + i % H; /* of this unit's gates */
    for (int q = 0; q < 4; q++) u.in[q] = get(&sums, first + q * H) + get(&bias, i % H + q * H);
    double weight_h = get(&dhidden, i), weight_c = get(&dcell, i);
    lstm_loss(&u, weight_h, weight_c);
    for (int q = 0; q < 4; q++) {
      CHECK_NEAR(get(&gates, first + q * H), u.gate[q], tolerance(t));
      CHECK_NEAR(get(&dgates, first + q * H), lstm_difference(u, q, weight_h, weight_c), 4 * tolerance(t) + 1e-9);
    }
    CHECK_NEAR(get(&cell, i), u.cell, 4 * tolerance(t));
    CHECK_NEAR(get(&hidden, i), u.hidden, tolerance(t));
    CHECK_NEAR(get(&dbefore, i), lstm_difference(u, 4, weight_h, weight_c), 4 * tolerance(t) + 1e-9);
    CHECK_NEAR(get(&total, i) * u.gate[1], get(&dbefore, i), 4 * tolerance(t));
  }
}
TEST(lstm) { for_each_kind(check_lstm); }

/* ---- LSTM with peepholes or coupled gates ------------------------------------------------------------------ */

/* As lstm_unit; peepholes of i f o are further inputs of the scalar. */
typedef struct variant_unit {
  bool coupled;
  double in[8]; /* sums with bias of i f g o; cell before; peepholes */
  double gate[4], cell, hidden;
} variant_unit;

static double variant_loss(variant_unit *u, double weight_h, double weight_c) {
  u->gate[1] = sigmoid(u->in[1] + u->in[6] * u->in[4]);
  u->gate[0] = u->coupled ? 1 - u->gate[1] : sigmoid(u->in[0] + u->in[5] * u->in[4]);
  u->gate[2] = tanh(u->in[2]);
  u->cell = u->gate[1] * u->in[4] + u->gate[0] * u->gate[2];
  u->gate[3] = sigmoid(u->in[3] + u->in[7] * u->cell);
  u->hidden = u->gate[3] * tanh(u->cell);
  return weight_h * u->hidden + weight_c * u->cell;
}

static double variant_difference(variant_unit u, int which, double weight_h, double weight_c) {
  const double eps = 1e-5;
  u.in[which] += eps;
  double above = variant_loss(&u, weight_h, weight_c);
  u.in[which] -= 2 * eps;
  return (above - variant_loss(&u, weight_h, weight_c)) / (2 * eps);
}

/* Unit i's sums and peepholes; without an array of peepholes they are 0. */
static variant_unit unit_of(bool coupled, int i, const array *sums, const array *bias, const array *before,
                            const array *peepholes) {
  int first = coupled, G = 4 - first, j = i % H;
  variant_unit u = {.coupled = coupled, .in[4] = get(before, i)};
  for (int q = first; q < 4; q++) u.in[q] = get(sums, (i / H * G + q - first) * H + j) + get(bias, (q - first) * H + j);
  for (int k = first; k < 3 && peepholes; k++) u.in[5 + k] = get(peepholes, (k - first) * H + j);
  return u;
}

static void check_variant_of(kind t, bool coupled, bool peeping) {
  array sums = random_array(t), bias = random_array(t), before = random_array(t), peep = random_array(t), gates = sums;
  array cell = before, hidden = sums, dhidden = random_array(t), dcell = random_array(t), dbefore = dcell, total = sums;
  array dgates = sums, again = sums;
  const void *w = peeping ? data(&peep) : NULL;
  double slack = 8 * tolerance(t) + 1e-8; /* slopes of up to 9 on products of up to four gates */
  t.cells->lstm_variant_forward(coupled, N, H, data(&gates), data(&bias), w, data(&before), data(&cell), data(&hidden));
  t.cells->lstm_variant_backward(coupled, N, H, data(&gates), w, data(&before), data(&cell), data(&dhidden),
                                 data(&dbefore), data(&total), data(&dgates), (4 - coupled) * H, data(&again));
  for (int i = 0; i < N * H; i++) {
    int first = coupled, place = (i / H * (4 - first) - first) * H + i % H; /* of gate 0, were there one */
    variant_unit u = unit_of(coupled, i, &sums, &bias, &before, peeping ? &peep : NULL);
    double weight_h = get(&dhidden, i), weight_c = get(&dcell, i);
    variant_loss(&u, weight_h, weight_c);
    for (int q = first; q < 4; q++) {
      CHECK_NEAR(get(&gates, place + q * H), u.gate[q], 8 * tolerance(t));
      CHECK_NEAR(get(&dgates, place + q * H), variant_difference(u, q, weight_h, weight_c), slack);
    }
    CHECK_NEAR(get(&cell, i), u.cell, 8 * tolerance(t));
    CHECK_NEAR(get(&hidden, i), u.hidden, 8 * tolerance(t));
    CHECK_NEAR(get(&dbefore, i), variant_difference(u, 4, weight_h, weight_c), slack);
    CHECK(get(&again, i) == get(&hidden, i));
    /* the peepholes' own gradients, as the layer makes them of dgates */
    for (int k = first; k < 3 && peeping; k++) {
      double seen = k == 2 ? get(&cell, i) : get(&before, i), d = get(&dgates, place + (k == 2 ? 3 : k) * H);
      CHECK_NEAR(d * seen, variant_difference(u, 5 + k, weight_h, weight_c), 4 * slack);
    }
  }
}

static void check_variants(kind t) {
  for (int variant = 0; variant < 4; variant++) check_variant_of(t, variant & 1, variant & 2);
}
TEST(lstm_variants) { for_each_kind(check_variants); }

/* Without peepholes and coupling, the formulas are lstm_forward's and lstm_backward's; NULL where nothing is wanted. */
static void check_plain_variant(kind t) {
  array gates = random_array(t), bias = random_array(t), before = random_array(t), cell = before, hidden = gates;
  array dhidden = random_array(t), dcell = random_array(t), dgates = gates;
  array gates2 = gates, cell2 = cell, hidden2 = gates, dcell2 = dcell, dgates2 = gates;
  t.cells->lstm_forward(N, H, data(&gates), data(&bias), data(&before), data(&cell), data(&hidden));
  t.cells->lstm_variant_forward(false, N, H, data(&gates2), data(&bias), NULL, data(&before), data(&cell2),
                                data(&hidden2));
  t.cells->lstm_backward(N, H, data(&gates), data(&before), data(&cell), data(&dhidden), data(&dcell), NULL,
                         data(&dgates), 4 * H);
  t.cells->lstm_variant_backward(false, N, H, data(&gates2), NULL, data(&before), data(&cell2), data(&dhidden),
                                 data(&dcell2), NULL, data(&dgates2), 4 * H, NULL);
  for (int i = 0; i < N * H; i++) {
    CHECK_NEAR(get(&hidden, i), get(&hidden2, i), tolerance(t));
    CHECK_NEAR(get(&dcell, i), get(&dcell2, i), 4 * tolerance(t));
  }
  for (int i = 0; i < N * 4 * H; i++) CHECK_NEAR(get(&dgates, i), get(&dgates2, i), 4 * tolerance(t));
}
TEST(lstm_variant_without_any) { for_each_kind(check_plain_variant); }

/* ---- GRU --------------------------------------------------------------------------------------------------- */

/* weight hidden for one unit, whose former hidden state does not reach the sums. */
typedef struct gru_unit {
  double in[5]; /* r, z, n's input part, n's recurrent part, all with bias; hidden before */
  double gate[3], hidden;
} gru_unit;

static double gru_loss(gru_unit *u, double weight) {
  u->gate[0] = sigmoid(u->in[0]);
  u->gate[1] = sigmoid(u->in[1]);
  u->gate[2] = tanh(u->in[2] + u->gate[0] * u->in[3]);
  u->hidden = (1 - u->gate[1]) * u->gate[2] + u->gate[1] * u->in[4];
  return weight * u->hidden;
}

static double gru_difference(gru_unit u, int which, double weight) {
  const double eps = 1e-5;
  u.in[which] += eps;
  double above = gru_loss(&u, weight);
  u.in[which] -= 2 * eps;
  return (above - gru_loss(&u, weight)) / (2 * eps);
}

static void check_gru(kind t) {
  array sums = random_array(t), bias = random_array(t), before = random_array(t), gates = sums, hidden = sums;
  array recurrent = random_array(t), recurrent_sums = recurrent, dhidden = random_array(t), dbefore = dhidden;
  array dgates = sums, drecurrent = sums;
  t.cells->gru_forward(N, H, data(&gates), data(&recurrent), data(&bias), data(&before), data(&hidden));
  t.cells->gru_backward(N, H, data(&gates), data(&recurrent), data(&before), data(&dbefore), data(&dgates), 3 * H,
                        data(&drecurrent), H);
  for (int i = 0; i < N * H; i++) {
    gru_unit u = {.in[4] = get(&before, i)};
    int64_t first = i / H * 3 * H + i % H;
    for (int q = 0; q < 3; q++) u.in[q] = get(&sums, first + q * H) + get(&bias, i % H + q * H);
    u.in[3] = get(&recurrent_sums, i) + get(&bias, i % H + 3 * H);
    double weight = get(&dhidden, i);
    gru_loss(&u, weight);
    for (int q = 0; q < 3; q++) {
      CHECK_NEAR(get(&gates, first + q * H), u.gate[q], 2 * tolerance(t));
      CHECK_NEAR(get(&dgates, first + q * H), gru_difference(u, q, weight), 8 * tolerance(t) + 1e-9);
    }
    CHECK_NEAR(get(&recurrent, i), u.in[3], tolerance(t));
    CHECK_NEAR(get(&hidden, i), u.hidden, 4 * tolerance(t));
    CHECK_NEAR(get(&drecurrent, i), gru_difference(u, 3, weight), 8 * tolerance(t) + 1e-9);
    CHECK_NEAR(get(&dbefore, i), gru_difference(u, 4, weight), 4 * tolerance(t) + 1e-9);
  }
}
TEST(gru) { for_each_kind(check_gru); }

/* ---- Rows -------------------------------------------------------------------------------------------------- */

static void forward_rows(kind t, int64_t first, int64_t last, array *gates, array *state, array *hidden, array *bias,
                         bool lstm) {
  void *g = from_row(gates, first, lstm ? 4 * H : 3 * H), *s = from_row(state, first, H),
       *y = from_row(hidden, first, H);
  if (lstm) t.cells->lstm_forward(last - first, H, g, data(bias), s, s, y);
  else t.cells->gru_forward(last - first, H, g, s, data(bias), y, y);
}

/* Rows one at a time give the bits of all at once, also in place. */
static void check_rows(kind t) {
  for (int lstm = 0; lstm < 2; lstm++) {
    array gates = random_array(t), state = random_array(t), hidden = random_array(t), bias = random_array(t);
    array gates2 = gates, state2 = state, hidden2 = hidden;
    forward_rows(t, 0, N, &gates, &state, &hidden, &bias, lstm);
    for (int64_t row = 0; row < N; row++) forward_rows(t, row, row + 1, &gates2, &state2, &hidden2, &bias, lstm);
    CHECK(same(&gates, &gates2) && same(&state, &state2) && same(&hidden, &hidden2));
  }
}
TEST(rows_are_independent) { for_each_kind(check_rows); }

static void check_add_rows(kind t) {
  array rows = random_array(t), total = random_array(t), sum = total;
  t.cells->add_rows(N, H, data(&rows), 2 * H, data(&sum));
  for (int j = 0; j < 4 * H; j++) {
    double want = get(&total, j);
    for (int row = 0; row < N && j < H; row++) want += get(&rows, row * 2 * H + j);
    CHECK_NEAR(get(&sum, j), want, 4 * tolerance(t));
  }
}
TEST(add_rows) { for_each_kind(check_add_rows); }

static void check_variant_rows(kind t) {
  for (int coupled = 0; coupled < 2; coupled++) {
    array gates = random_array(t), state = random_array(t), hidden = random_array(t), bias = random_array(t);
    array gates2 = gates, state2 = state, hidden2 = hidden, peep = random_array(t);
    t.cells->lstm_variant_forward(coupled, N, H, data(&gates), data(&bias), data(&peep), data(&state), data(&state),
                                  data(&hidden));
    for (int64_t row = 0; row < N; row++) {
      void *s = from_row(&state2, row, H);
      t.cells->lstm_variant_forward(coupled, 1, H, from_row(&gates2, row, coupled ? 3 * H : 4 * H), data(&bias),
                                    data(&peep), s, s, from_row(&hidden2, row, H));
    }
    CHECK(same(&gates, &gates2) && same(&state, &state2) && same(&hidden, &hidden2));
  }
}
TEST(variant_rows_are_independent) { for_each_kind(check_variant_rows); }

static void check_add_products(kind t) {
  array a = random_array(t), b = random_array(t), total = random_array(t), sum = total;
  t.cells->add_products(N, H, data(&a), 3 * H, data(&b), H, data(&sum));
  for (int j = 0; j < 4 * H; j++) {
    double want = get(&total, j);
    for (int row = 0; row < N && j < H; row++) want += get(&a, row * 3 * H + j) * get(&b, row * H + j);
    CHECK_NEAR(get(&sum, j), want, 8 * tolerance(t));
  }
}
TEST(add_products) { for_each_kind(check_add_products); }

/* Saturated gates stay finite. */
static void check_extremes(kind t) {
  array sums = random_array(t), bias = {.t = t}, cell = random_array(t), hidden = cell;
  for (int i = 0; i < SIZE; i++) sums.f32[i] *= 1e30f, sums.f64[i] *= 1e30;
  t.cells->lstm_forward(N, H, data(&sums), data(&bias), data(&cell), data(&cell), data(&hidden));
  for (int i = 0; i < N * H; i++) CHECK(fabs(get(&cell, i)) <= 4 && fabs(get(&hidden, i)) <= 1);
  for (int i = 0; i < N * 4 * H; i++) CHECK(fabs(get(&sums, i)) <= 1);
}
TEST(saturation) { for_each_kind(check_extremes); }
