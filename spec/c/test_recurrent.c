/* The ops rnn, lstm and gru: values against a plain walk in double, gradients against differences, cuts, lengths, records,
 * messages, and every allocation failing in turn. */
#include "harness.h"

#include <stdlib.h>

#include "lurn.h"

/* ---- Cases ------------------------------------------------------------------------------------------------- */

/* LSTM_ALL: projected, with peepholes, coupled. */
enum { LSTM, GRU, RNN_TANH, RNN_RELU, RNN_SIGMOID, PROJECTED, PEEPHOLE, COUPLED, LSTM_ALL, CELLS };
enum { X, W_IH, W_HH, B_IH, B_HH, H0, C0, W_HR, W_CI, W_CF, W_CO, LENGTHS, INPUTS }; /* absent ones are NULL */
enum { Y, H_N, C_N, OUTPUTS };

typedef struct sizes {
  int cell;
  int64_t T, N, D, H;
  bool bias, state, lengths, reverse;
} sizes;

typedef struct bench {
  lurn_ctx *ctx;
  sizes z;
  lurn_record *record;
  lurn_tensor *in[INPUTS], *out[OUTPUTS];
} bench;

static bool is_lstm(int cell) { return cell == LSTM || cell >= PROJECTED; }
static bool is_projected(int cell) { return cell == PROJECTED || cell == LSTM_ALL; }
static bool is_coupled(int cell) { return cell == COUPLED || cell == LSTM_ALL; }
static bool has_peepholes(int cell) { return cell == PEEPHOLE || cell == LSTM_ALL; }
static int64_t gates(int cell) { return cell == GRU || is_coupled(cell) ? 3 : is_lstm(cell) ? 4 : 1; }
/* Columns of the hidden state. */
static int64_t width(const sizes *z) { return is_projected(z->cell) ? (z->H + 1) / 2 : z->H; }

static lurn_ctx *context(int threads, lurn_isa isa) {
  lurn_ctx *ctx = NULL;
  lurn_config config = {.num_threads = threads, .max_isa = isa, .isa_set = isa != LURN_ISA_BEST};
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  return ctx;
}

static lurn_tensor *random_tensor(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape) {
  lurn_tensor *t = NULL;
  if (lurn_empty(ctx, dtype, ndim, shape, &t) != LURN_OK || lurn_uniform_(ctx, t, -0.8, 0.8) != LURN_OK) abort();
  return t;
}

static bench new_bench(lurn_ctx *ctx, lurn_dtype dtype, sizes z) {
  bench b = {.ctx = ctx, .z = z};
  int64_t rows = gates(z.cell) * z.H, P = width(&z);
  lurn_manual_seed(ctx, (uint64_t)(z.cell + 10));
  b.in[X] = random_tensor(ctx, dtype, 3, (int64_t[]){z.T, z.N, z.D});
  b.in[W_IH] = random_tensor(ctx, dtype, 2, (int64_t[]){rows, z.D});
  b.in[W_HH] = random_tensor(ctx, dtype, 2, (int64_t[]){rows, P});
  if (z.bias) b.in[B_IH] = random_tensor(ctx, dtype, 1, &rows);
  if (z.bias) b.in[B_HH] = random_tensor(ctx, dtype, 1, &rows);
  if (is_projected(z.cell)) b.in[W_HR] = random_tensor(ctx, dtype, 2, (int64_t[]){P, z.H});
  for (int i = W_CI; i <= W_CO && has_peepholes(z.cell); i++)
    if (i != W_CI || !is_coupled(z.cell)) b.in[i] = random_tensor(ctx, dtype, 1, &z.H);
  if (z.state) b.in[H0] = random_tensor(ctx, dtype, 2, (int64_t[]){z.N, P});
  if (z.state && is_lstm(z.cell)) b.in[C0] = random_tensor(ctx, dtype, 2, (int64_t[]){z.N, z.H});
  if (z.lengths && lurn_randint(ctx, 0, z.T, 1, &z.N, &b.in[LENGTHS]) != LURN_OK) abort();
  return b;
}

static void drop_outputs(bench *b) {
  for (int i = 0; i < OUTPUTS; i++) lurn_release(b->out[i]), b->out[i] = NULL;
}

static void free_bench(bench *b) {
  drop_outputs(b);
  for (int i = 0; i < INPUTS; i++) lurn_release(b->in[i]);
  lurn_record_release(b->record);
}

static lurn_status call(bench *b, lurn_tensor *const *in, lurn_tensor **out) {
  lurn_ctx *ctx = b->ctx;
  if (is_lstm(b->z.cell))
    return lurn_lstm(ctx, in[X], in[W_IH], in[W_HH], in[B_IH], in[B_HH], in[H0], in[C0], in[LENGTHS], in[W_HR],
                     in[W_CI], in[W_CF], in[W_CO], is_coupled(b->z.cell), b->z.reverse, b->record, &out[Y], &out[H_N],
                     &out[C_N]);
  if (b->z.cell == GRU)
    return lurn_gru(ctx, in[X], in[W_IH], in[W_HH], in[B_IH], in[B_HH], in[H0], in[LENGTHS], b->z.reverse, b->record,
                    &out[Y], &out[H_N]);
  return lurn_rnn(ctx, in[X], in[W_IH], in[W_HH], in[B_IH], in[B_HH], in[H0], in[LENGTHS], b->z.cell - RNN_TANH,
                  b->z.reverse, b->record, &out[Y], &out[H_N]);
}

static bool run(bench *b) {
  if (CHECK(call(b, b->in, b->out) == LURN_OK)) return true;
  printf("     %s\n", lurn_error(b->ctx));
  return false;
}

/* Element i of a contiguous tensor of either float type; 0 when it is absent. */
static double at(const lurn_tensor *t, int64_t i) {
  if (t == NULL) return 0;
  const void *data = lurn_tensor_data(t);
  return lurn_tensor_dtype(t) == LURN_FLOAT64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static void require_grads(bench *b) {
  for (int i = 0; i < LENGTHS; i++)
    if (b->in[i]) CHECK(lurn_tensor_set_requires_grad(b->in[i], true) == LURN_OK);
}

/* ---- The plain walk ---------------------------------------------------------------------------------------- */

enum { MAX_H = 48 };

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Row `row` of w . v + bias, v given as a function of its index by an array. */
static double affine(const lurn_tensor *w, const lurn_tensor *bias, int64_t row, const double *v, int64_t n) {
  double sum = at(bias, row);
  for (int64_t j = 0; j < n; j++) sum += at(w, row * n + j) * v[j];
  return sum;
}

/* Unit j of an LSTM's new cell from sums of G gates, i f g o or f g o; returns its part of the hidden state. */
static double plain_lstm(const bench *b, int64_t j, const double *sums, double *c) {
  int64_t H = b->z.H;
  bool coupled = is_coupled(b->z.cell);
  const double *of = coupled ? sums : sums + H; /* f, g, o */
  double f = sigmoid(of[j] + at(b->in[W_CF], j) * *c);
  double i = coupled ? 1 - f : sigmoid(sums[j] + at(b->in[W_CI], j) * *c);
  *c = f * *c + i * tanh(of[H + j]);
  return sigmoid(of[2 * H + j] + at(b->in[W_CO], j) * *c) * tanh(*c);
}

/* The hidden state is projected where there is a projection. */
static void project(const bench *b, double *h) {
  int64_t H = b->z.H, P = width(&b->z);
  double projected[MAX_H];
  if (b->in[W_HR] == NULL) return;
  for (int64_t p = 0; p < P; p++) projected[p] = affine(b->in[W_HR], NULL, p, h, H);
  memcpy(h, projected, (size_t)P * sizeof(double));
}

/* One step of one sequence: h and c become the next state. */
static void plain_step(const bench *b, const double *x, double *h, double *c) {
  int64_t H = b->z.H, D = b->z.D;
  double in[4 * MAX_H], rec[4 * MAX_H];
  for (int64_t row = 0; row < gates(b->z.cell) * H; row++) {
    in[row] = affine(b->in[W_IH], b->in[B_IH], row, x, D);
    rec[row] = affine(b->in[W_HH], b->in[B_HH], row, h, width(&b->z));
  }
  for (int64_t row = 0; row < gates(b->z.cell) * H && is_lstm(b->z.cell); row++) in[row] += rec[row];
  for (int64_t j = 0; j < H; j++) {
    if (is_lstm(b->z.cell)) {
      h[j] = plain_lstm(b, j, in, &c[j]);
    } else if (b->z.cell == GRU) {
      double r = sigmoid(in[j] + rec[j]), z = sigmoid(in[H + j] + rec[H + j]);
      h[j] = (1 - z) * tanh(in[2 * H + j] + r * rec[2 * H + j]) + z * h[j];
    } else if (b->z.cell == RNN_RELU) {
      h[j] = fmax(in[j] + rec[j], 0);
    } else {
      h[j] = b->z.cell == RNN_TANH ? tanh(in[j] + rec[j]) : sigmoid(in[j] + rec[j]);
    }
  }
  project(b, h);
}

static bool agree(const lurn_tensor *t, int64_t first, const double *want, int64_t n, double tolerance) {
  for (int64_t j = 0; j < n; j++)
    if (!CHECK_NEAR(at(t, first + j), want[j], tolerance)) return false;
  return true;
}

/* Walks sequence n alone and compares every output. */
static bool check_sequence(const bench *b, int64_t n, double tolerance) {
  sizes z = b->z;
  double h[MAX_H], c[MAX_H], x[MAX_H], zero[MAX_H] = {0};
  int64_t P = width(&z), length = z.lengths ? ((const int64_t *)lurn_tensor_data(b->in[LENGTHS]))[n] : z.T;
  for (int64_t j = 0; j < P; j++) h[j] = at(b->in[H0], n * P + j);
  for (int64_t j = 0; j < z.H; j++) c[j] = at(b->in[C0], n * z.H + j);
  for (int64_t i = 0; i < length; i++) {
    int64_t t = z.reverse ? length - 1 - i : i;
    for (int64_t j = 0; j < z.D; j++) x[j] = at(b->in[X], (t * z.N + n) * z.D + j);
    plain_step(b, x, h, c);
    if (!agree(b->out[Y], (t * z.N + n) * P, h, P, tolerance)) return false;
  }
  for (int64_t t = length; t < z.T; t++)
    if (!agree(b->out[Y], (t * z.N + n) * P, zero, P, 0)) return false;
  return agree(b->out[H_N], n * P, h, P, tolerance) &&
         (!is_lstm(z.cell) || agree(b->out[C_N], n * z.H, c, z.H, tolerance));
}

/* Float32 rounds sums of some 60 terms and the states of up to 20 steps; float64 likewise, 2^29 times finer. */
static double tolerance(lurn_dtype dtype) { return dtype == LURN_FLOAT64 ? 1e-13 : 1e-5; }

static void check_values(bench *b, lurn_dtype dtype, bool recording) {
  if (recording) require_grads(b);
  if (!run(b)) return;
  for (int64_t n = 0; n < b->z.N; n++)
    if (!check_sequence(b, n, tolerance(dtype))) {
      printf("     cell %d, sequence %d, lengths %d, reverse %d, state %d\n", b->z.cell, (int)n, b->z.lengths,
             b->z.reverse, b->z.state);
      return;
    }
}

static void values_under(lurn_isa isa, int64_t T, int64_t N, int64_t D, int64_t H) {
  for (int variant = 0; variant < 32 * CELLS; variant++) {
    sizes z = {variant / 32, T, N, D, H, variant & 1, variant & 2, variant & 4, variant & 8};
    lurn_dtype dtype = variant & 16 ? LURN_FLOAT64 : LURN_FLOAT32;
    lurn_ctx *ctx = context(1, isa);
    for (int recording = 0; recording < 2; recording++) {
      bench b = new_bench(ctx, dtype, z);
      check_values(&b, dtype, recording);
      free_bench(&b);
    }
    CHECK_EQ(lurn_memory_live(ctx), 0);
    lurn_ctx_free(ctx);
  }
}
TEST(values) { values_under(LURN_ISA_BEST, 7, 5, 6, 9); }
TEST(values_scalar) { values_under(LURN_ISA_SCALAR, 5, 3, 2, 33); }
TEST(values_avx2) { values_under(LURN_ISA_AVX2, 5, 3, 2, 33); }
TEST(one_of_each) { values_under(LURN_ISA_BEST, 1, 1, 1, 1); }
TEST(no_input_features) { values_under(LURN_ISA_BEST, 3, 2, 0, 4); }
TEST(no_sequences) { values_under(LURN_ISA_BEST, 3, 0, 2, 4); }
TEST(no_steps) { values_under(LURN_ISA_BEST, 0, 3, 2, 4); }
TEST(several_chunks) { values_under(LURN_ISA_BEST, 20, 70, 3, 5); }

/* ---- Gradients --------------------------------------------------------------------------------------------- */

/* sum of y^2 + 2 h_n^2 + 3 c_n^2 over all elements, or of the last state alone. */
static lurn_status loss(lurn_ctx *ctx, bench *b, lurn_tensor *const *in, bool with_y, lurn_tensor **out) {
  lurn_tensor *results[OUTPUTS] = {NULL}, *total = NULL, *part = NULL, *weight = NULL;
  lurn_status status = call(b, in, results);
  for (int i = with_y ? 0 : 1; i < OUTPUTS && status == LURN_OK; i++) {
    lurn_tensor *square = NULL, *sum = NULL;
    if (results[i] == NULL) continue;
    status = lurn_square(ctx, results[i], &square);
    if (status == LURN_OK) status = lurn_sum(ctx, square, NULL, 0, false, &sum);
    if (status == LURN_OK) status = lurn_full(ctx, LURN_FLOAT64, 0, NULL, i + 1, &weight);
    if (status == LURN_OK) status = lurn_mul(ctx, sum, weight, &part);
    lurn_release(square), lurn_release(sum), lurn_release(weight);
    weight = NULL;
    if (status == LURN_OK && total != NULL) {
      status = lurn_add(ctx, total, part, &sum);
      lurn_release(part), lurn_release(total);
      total = sum;
    } else if (status == LURN_OK) {
      total = part;
    }
    part = NULL;
  }
  for (int i = 0; i < OUTPUTS; i++) lurn_release(results[i]);
  if (status == LURN_OK) *out = total;
  return status;
}

static lurn_status full_loss(lurn_ctx *ctx, void *ud, lurn_tensor *const *given, int n, lurn_tensor **out) {
  bench *b = ud;
  lurn_tensor *in[INPUTS] = {NULL};
  (void)n;
  for (int i = 0, next = 0; i < LENGTHS; i++) in[i] = b->in[i] ? given[next++] : NULL;
  in[LENGTHS] = b->in[LENGTHS];
  return loss(ctx, b, in, true, out);
}

static void check_gradients(bench *b) {
  lurn_tensor *given[INPUTS];
  int n = 0;
  lurn_gradcheck_result result = {.ok = false};
  require_grads(b);
  for (int i = 0; i < LENGTHS; i++)
    if (b->in[i]) given[n++] = b->in[i];
  /* eps^2 of the differences is 1e-10, their rounding 1e-16 / 1e-5 times a loss of some tens. */
  if (!CHECK(lurn_gradcheck(b->ctx, full_loss, b, given, n, 1e-5, 1e-6, 1e-8, &result) == LURN_OK)) return;
  if (!CHECK(result.ok))
    printf("     cell %d input %d element %d: %g and %g (lengths %d reverse %d state %d bias %d)\n", b->z.cell,
           result.input, (int)result.element, result.analytic, result.numeric, b->z.lengths, b->z.reverse, b->z.state,
           b->z.bias);
}

static void gradients_of(int64_t T, int64_t N, int64_t D, int64_t H) {
  for (int variant = 0; variant < 16 * CELLS; variant++) {
    sizes z = {variant / 16, T, N, D, H, variant & 1, variant & 2, variant & 4, variant & 8};
    lurn_ctx *ctx = context(1, LURN_ISA_BEST);
    bench b = new_bench(ctx, LURN_FLOAT64, z);
    check_gradients(&b);
    free_bench(&b);
    CHECK_EQ(lurn_memory_live(ctx), 0);
    lurn_ctx_free(ctx);
  }
}
TEST(gradients) { gradients_of(4, 3, 2, 3); }
TEST(gradients_no_input_features) { gradients_of(2, 2, 0, 2); }
TEST(gradients_one_step) { gradients_of(1, 2, 1, 2); }
TEST(gradients_no_sequences) { gradients_of(2, 0, 1, 2); }
TEST(gradients_no_steps) { gradients_of(0, 2, 1, 2); }

/* Gradients of float32 in several chunks against those of float64 in as many. */
static void check_chunked(int cell, bool lengths, bool reverse) {
  sizes z = {cell, 40, 60, 5, 20, true, true, lengths, reverse};
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT64, z), c = new_bench(ctx, LURN_FLOAT32, z);
  /* small weights, so that 40 steps do not magnify the rounding of the first */
  CHECK(lurn_uniform_(ctx, c.in[W_HH], -0.2, 0.2) == LURN_OK);
  for (int i = 0; i < LENGTHS; i++)
    if (b.in[i]) {
      lurn_release(b.in[i]);
      CHECK(lurn_to(ctx, c.in[i], LURN_FLOAT64, &b.in[i]) == LURN_OK);
    }
  if (lengths) CHECK(lurn_copy_(ctx, b.in[LENGTHS], c.in[LENGTHS]) == LURN_OK);
  require_grads(&b), require_grads(&c);
  lurn_tensor *loss_b = NULL, *loss_c = NULL;
  CHECK(loss(ctx, &b, b.in, true, &loss_b) == LURN_OK && loss(ctx, &c, c.in, true, &loss_c) == LURN_OK);
  CHECK(lurn_backward(ctx, loss_b, NULL, false) == LURN_OK && lurn_backward(ctx, loss_c, NULL, false) == LURN_OK);
  for (int i = 0; i < LENGTHS; i++) {
    if (b.in[i] == NULL) continue;
    const lurn_tensor *exact = lurn_tensor_grad(b.in[i]), *got = lurn_tensor_grad(c.in[i]);
    double largest = 0, off = 0;
    for (int64_t j = 0; j < lurn_tensor_numel(exact); j++) {
      largest = fmax(largest, fabs(at(exact, j)));
      off = fmax(off, fabs(at(exact, j) - at(got, j)));
    }
    CHECK_NEAR(off / largest, 0, 2e-5); /* sums of 2400 rows of states off by 1e-6 */
  }
  lurn_release(loss_b), lurn_release(loss_c);
  free_bench(&b), free_bench(&c);
  lurn_ctx_free(ctx);
}
TEST(gradients_in_chunks) {
  for (int cell = 0; cell < CELLS; cell++)
    for (int variant = 0; variant < 4; variant++) check_chunked(cell, variant & 1, variant & 2);
}

/* Each gradient wanted alone has the bits that it has among all. */
TEST(gradients_alone) {
  for (int cell = 0; cell < CELLS; cell++) {
    lurn_ctx *ctx = context(1, LURN_ISA_BEST);
    bench b = new_bench(ctx, LURN_FLOAT64, (sizes){cell, 20, 40, 3, 5, true, true, cell & 1, false});
    lurn_tensor *total = NULL, *all[INPUTS] = {NULL};
    require_grads(&b);
    CHECK(loss(ctx, &b, b.in, true, &total) == LURN_OK && lurn_backward(ctx, total, NULL, false) == LURN_OK);
    lurn_release(total);
    for (int i = 0; i < LENGTHS; i++) {
      if (b.in[i] == NULL) continue;
      all[i] = lurn_retain(lurn_tensor_grad(b.in[i]));
      CHECK(lurn_tensor_set_grad(b.in[i], NULL) == LURN_OK);
      CHECK(lurn_tensor_set_requires_grad(b.in[i], false) == LURN_OK);
    }
    for (int i = 0; i < LENGTHS; i++) {
      if (b.in[i] == NULL) continue;
      CHECK(lurn_tensor_set_requires_grad(b.in[i], true) == LURN_OK && loss(ctx, &b, b.in, true, &total) == LURN_OK);
      CHECK(lurn_backward(ctx, total, NULL, false) == LURN_OK);
      CHECK(memcmp(lurn_tensor_data(lurn_tensor_grad(b.in[i])), lurn_tensor_data(all[i]),
                   (size_t)lurn_tensor_numel(all[i]) * sizeof(double)) == 0);
      CHECK(lurn_tensor_set_requires_grad(b.in[i], false) == LURN_OK);
      lurn_release(total), lurn_release(all[i]);
    }
    free_bench(&b);
    lurn_ctx_free(ctx);
  }
}

/* ---- Threads ----------------------------------------------------------------------------------------------- */

/* Runs forward and backward with one thread and with several: the same bits. */
static void check_threads(sizes z, int threads) {
  bench b[2];
  lurn_ctx *ctx[2] = {context(1, LURN_ISA_BEST), context(threads, LURN_ISA_BEST)};
  for (int k = 0; k < 2; k++) {
    lurn_tensor *total = NULL;
    b[k] = new_bench(ctx[k], LURN_FLOAT64, z);
    require_grads(&b[k]);
    CHECK(run(&b[k]) && loss(ctx[k], &b[k], b[k].in, true, &total) == LURN_OK);
    CHECK(lurn_backward(ctx[k], total, NULL, false) == LURN_OK);
    lurn_release(total);
  }
  for (int i = 0; i < OUTPUTS; i++)
    if (b[0].out[i])
      CHECK(memcmp(lurn_tensor_data(b[0].out[i]), lurn_tensor_data(b[1].out[i]),
                   (size_t)lurn_tensor_numel(b[0].out[i]) * sizeof(double)) == 0);
  for (int i = 0; i < LENGTHS; i++)
    if (b[0].in[i]) {
      const lurn_tensor *one = lurn_tensor_grad(b[0].in[i]), *many = lurn_tensor_grad(b[1].in[i]);
      CHECK(memcmp(lurn_tensor_data(one), lurn_tensor_data(many), (size_t)lurn_tensor_numel(one) * sizeof(double)) ==
            0);
    }
  for (int k = 0; k < 2; k++) free_bench(&b[k]), lurn_ctx_free(ctx[k]);
}
TEST(threads_give_same_bits) {
  for (int cell = 0; cell < RNN_RELU; cell++)
    for (int variant = 0; variant < 4; variant++) {
      bool lengths = variant & 1, reverse = variant & 2;
      check_threads((sizes){cell, 40, 50, 24, 48, true, true, lengths, reverse}, 3); /* by rows, two chunks */
      check_threads((sizes){cell, 12, 3, 5, 200, true, false, lengths, reverse}, 2); /* by step: few rows */
      check_threads((sizes){cell, 4, 30, 5, 200, false, true, lengths, reverse}, 3); /* by step: large weights */
      check_threads((sizes){cell, 1, 60, 300, 70, true, true, lengths, reverse}, 2); /* weights used once */
    }
}

TEST(any_number_of_threads_gives_the_same_bits) {
  for (int cell = PROJECTED; cell <= LSTM_ALL; cell++)
    for (int threads = 2; threads <= 8; threads *= 2) {
      check_threads((sizes){cell, 30, 40, 24, 48, true, true, true, false}, threads); /* by rows */
      check_threads((sizes){cell, 24, 3, 5, 200, true, true, false, true}, threads);  /* by step: few rows */
      check_threads((sizes){cell, 5, 40, 5, 300, false, false, true, true}, threads); /* by step: large weights */
    }
}

/* ---- Records ----------------------------------------------------------------------------------------------- */

/* Gradients too small for normal numbers count as zero within the op, and only there. */
static void check_subnormals(int cell, int threads) {
  lurn_ctx *ctx = context(threads, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT32, (sizes){cell, 20, 24, 3, 40, true, true, false, false});
  lurn_tensor *grad = NULL;
  require_grads(&b);
  if (!run(&b)) return;
  CHECK(lurn_full(ctx, LURN_FLOAT32, 3, lurn_tensor_shape(b.out[Y]), 1e-40, &grad) == LURN_OK);
  CHECK(lurn_backward(ctx, b.out[Y], grad, false) == LURN_OK);
  for (int i = 0; i < LENGTHS; i++) {
    const lurn_tensor *g = b.in[i] ? lurn_tensor_grad(b.in[i]) : NULL;
    for (int64_t k = 0; g && k < lurn_tensor_numel(g); k++) CHECK(at(g, k) == 0);
  }
  volatile float small = 1e-38f, half = 0.5f;
  CHECK(small * half > 0);
  lurn_release(grad);
  free_bench(&b);
  lurn_ctx_free(ctx);
}
TEST(subnormals) {
  for (int cell = 0; cell < CELLS; cell++)
    if (cell != RNN_RELU) check_subnormals(cell, 1 + cell % 3);
}

static void check_record(int cell, bool lengths) {
  sizes z = {cell, 6, 4, 3, 5, true, true, lengths, false};
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT64, z);
  CHECK(lurn_record_new(ctx, &b.record) == LURN_OK);
  if (!run(&b)) return;
  lurn_tensor *hidden = lurn_record_get(b.record, LURN_RECORD_HIDDEN),
              *gate = lurn_record_get(b.record, LURN_RECORD_GATES);
  lurn_tensor *c = lurn_record_get(b.record, LURN_RECORD_CELL);
  CHECK_EQ(lurn_tensor_shape(gate)[2], gates(cell) * z.H);
  CHECK((c != NULL) == is_lstm(cell));
  CHECK(lurn_record_get(b.record, LURN_RECORD_GRAD_HIDDEN) == NULL);
  CHECK_EQ(lurn_tensor_shape(hidden)[2], width(&z));
  for (int64_t i = 0; i < z.T * z.N * width(&z); i++) CHECK(at(hidden, i) == at(b.out[Y], i));
  for (int64_t i = 0; i < z.T * z.N * z.H && is_lstm(cell) && !is_projected(cell); i++) {
    int64_t row = i / z.H, j = i % z.H, G = gates(cell);
    CHECK_NEAR(at(hidden, i), at(gate, (row * G + G - 1) * z.H + j) * tanh(at(c, i)), 1e-15);
  }
  drop_outputs(&b);
  free_bench(&b);
  lurn_ctx_free(ctx);
}
TEST(record_forward) {
  for (int cell = 0; cell < CELLS; cell++) check_record(cell, false);
  check_record(GRU, true);
  check_record(LSTM_ALL, true);
}

/* What reaches unit j of the cell of row n, at time t, through the hidden state, given grad_h's row. */
static double through_hidden(const bench *b, int64_t row, int64_t j, const lurn_tensor *grad_h) {
  int64_t H = b->z.H, P = width(&b->z), G = gates(b->z.cell);
  double d = at(grad_h, row * P + j), o = at(lurn_record_get(b->record, LURN_RECORD_GATES), (row * G + G - 1) * H + j);
  double y = tanh(at(lurn_record_get(b->record, LURN_RECORD_CELL), row * H + j));
  if (b->in[W_HR]) {
    d = 0;
    for (int64_t p = 0; p < P; p++) d += at(grad_h, row * P + p) * at(b->in[W_HR], p * H + j);
  }
  return d * o * (1 - y * y) + d * y * o * (1 - o) * at(b->in[W_CO], j);
}

/* The total gradient of h_t and c_t: differences of the loss of the rest of the walk, started from that state. */
static void check_total_gradient(int cell, int64_t t) {
  sizes z = {cell, 4, 2, 3, 3, true, true, false, false}, rest = z;
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT64, z);
  lurn_tensor *total = NULL, *y_t = NULL, *square = NULL, *sum = NULL, *rest_loss = NULL, *whole = NULL;
  require_grads(&b);
  CHECK(lurn_record_new(ctx, &b.record) == LURN_OK);
  CHECK(loss(ctx, &b, b.in, true, &total) == LURN_OK && lurn_backward(ctx, total, NULL, false) == LURN_OK);
  rest.T = z.T - t - 1;
  bench r = {.ctx = ctx, .z = rest};
  for (int i = W_IH; i <= W_CO; i++)
    if (b.in[i] && i != H0 && i != C0) r.in[i] = lurn_retain(b.in[i]);
  CHECK(lurn_narrow(ctx, b.in[X], 0, t + 1, rest.T, &r.in[X]) == LURN_OK);
  lurn_tensor *hidden = lurn_record_get(b.record, LURN_RECORD_HIDDEN), *c = lurn_record_get(b.record, LURN_RECORD_CELL);
  lurn_set_grad_enabled(ctx, false);
  CHECK(lurn_select(ctx, hidden, 0, t, &y_t) == LURN_OK && lurn_clone(ctx, y_t, &r.in[H0]) == LURN_OK);
  lurn_release(y_t), y_t = NULL;
  if (is_lstm(cell)) {
    CHECK(lurn_select(ctx, c, 0, t, &y_t) == LURN_OK && lurn_clone(ctx, y_t, &r.in[C0]) == LURN_OK);
    lurn_release(y_t);
  }
  lurn_set_grad_enabled(ctx, true);
  for (int i = H0; i <= C0; i++)
    if (r.in[i]) CHECK(lurn_tensor_set_requires_grad(r.in[i], true) == LURN_OK);
  /* the loss of the rest, and y_t's own part */
  CHECK(loss(ctx, &r, r.in, true, &rest_loss) == LURN_OK);
  CHECK(lurn_square(ctx, r.in[H0], &square) == LURN_OK && lurn_sum(ctx, square, NULL, 0, false, &sum) == LURN_OK);
  CHECK(lurn_add(ctx, rest_loss, sum, &whole) == LURN_OK && lurn_backward(ctx, whole, NULL, false) == LURN_OK);
  lurn_tensor *grad_h = lurn_record_get(b.record, LURN_RECORD_GRAD_HIDDEN);
  lurn_tensor *grad_c = lurn_record_get(b.record, LURN_RECORD_GRAD_CELL);
  int64_t state = z.N * z.H, hidden_state = z.N * width(&z);
  for (int64_t i = 0; i < hidden_state; i++)
    CHECK_NEAR(at(grad_h, t * hidden_state + i), at(lurn_tensor_grad(r.in[H0]), i), 1e-13);
  /* c_t's total includes what comes through h_t */
  for (int64_t i = 0; i < state && is_lstm(cell); i++) {
    double through = through_hidden(&b, t * z.N + i / z.H, i % z.H, grad_h);
    CHECK_NEAR(at(grad_c, t * state + i), at(lurn_tensor_grad(r.in[C0]), i) + through, 1e-13);
  }
  lurn_release(total), lurn_release(square), lurn_release(sum), lurn_release(rest_loss), lurn_release(whole);
  free_bench(&r), free_bench(&b);
  CHECK_EQ(lurn_memory_live(ctx), 0);
  lurn_ctx_free(ctx);
}
TEST(record_total_gradients) {
  for (int cell = 0; cell < CELLS; cell++)
    for (int64_t t = 0; t < 3; t++) check_total_gradient(cell, t);
}

/* ---- Operands of other strides, wrong operands ------------------------------------------------------------- */

static void check_strided(int cell) {
  sizes z = {cell, 5, 4, 3, 6, true, true, false, false};
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT64, z);
  for (int i = X; i <= W_HR; i++) {
    lurn_tensor *flipped = NULL, *copy = NULL;
    if (b.in[i] == NULL || i == B_IH || i == B_HH) continue;
    CHECK(lurn_transpose(ctx, b.in[i], 0, 1, &flipped) == LURN_OK && lurn_clone(ctx, flipped, &copy) == LURN_OK);
    lurn_release(flipped), flipped = NULL;
    CHECK(lurn_transpose(ctx, copy, 0, 1, &flipped) == LURN_OK);
    lurn_release(copy);
    bench other = {.ctx = ctx, .z = z};
    for (int k = 0; k < INPUTS; k++) other.in[k] = k == i ? flipped : b.in[k] ? lurn_retain(b.in[k]) : NULL;
    if (run(&other) && (b.out[Y] || run(&b)))
      CHECK(memcmp(lurn_tensor_data(b.out[Y]), lurn_tensor_data(other.out[Y]),
                   (size_t)lurn_tensor_numel(b.out[Y]) * sizeof(double)) == 0);
    free_bench(&other);
  }
  free_bench(&b);
  lurn_ctx_free(ctx);
}
TEST(strides) {
  for (int cell = 0; cell < CELLS; cell++) check_strided(cell);
}

static void check_message(bench *b, int input, lurn_tensor *wrong, lurn_status status, const char *text) {
  lurn_tensor *in[INPUTS], *out[OUTPUTS] = {NULL};
  memcpy(in, b->in, sizeof in);
  in[input] = wrong;
  CHECK(call(b, in, out) == status);
  CHECK_STR(lurn_error(b->ctx), text);
  lurn_release(wrong);
}

static lurn_tensor *filled(lurn_ctx *ctx, lurn_dtype dtype, int ndim, const int64_t *shape, double value) {
  lurn_tensor *t = NULL;
  CHECK(lurn_full(ctx, dtype, ndim, shape, value, &t) == LURN_OK);
  return t;
}

TEST(messages) {
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT32, (sizes){LSTM, 5, 3, 7, 128, true, true, true, false});
  check_message(&b, W_HH, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){512, 64}, 0), LURN_ESHAPE,
                "lstm: w_hh has shape (512, 64), expected (512, 128)");
  check_message(&b, X, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){5, 3}, 0), LURN_ESHAPE,
                "lstm: x has shape (5, 3), expected 3 dimensions: time, batch, input");
  check_message(&b, W_IH, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){510, 7}, 0), LURN_ESHAPE,
                "lstm: w_ih has shape (510, 7), expected (4 * hidden, 7)");
  check_message(&b, B_IH, filled(ctx, LURN_FLOAT32, 1, (int64_t[]){128}, 0), LURN_ESHAPE,
                "lstm: b_ih has shape (128), expected (512)");
  check_message(&b, H0, filled(ctx, LURN_FLOAT64, 2, (int64_t[]){3, 128}, 0), LURN_EDTYPE,
                "lstm: h0 is float64, expected float32 like x");
  check_message(&b, X, filled(ctx, LURN_INT64, 3, (int64_t[]){5, 3, 7}, 0), LURN_EDTYPE,
                "lstm: x is int64; expected float32 or float64");
  check_message(&b, LENGTHS, filled(ctx, LURN_INT64, 1, (int64_t[]){2}, 1), LURN_ESHAPE,
                "lstm: lengths has shape (2), expected (3)");
  check_message(&b, LENGTHS, filled(ctx, LURN_INT64, 1, (int64_t[]){3}, 6), LURN_EVALUE,
                "lstm: lengths[0] is 6, expected 0..5");
  check_message(&b, LENGTHS, filled(ctx, LURN_FLOAT32, 1, (int64_t[]){3}, 1), LURN_EDTYPE,
                "lstm: lengths is float32, expected int64");
  free_bench(&b);
  lurn_ctx_free(ctx);
}

/* Peepholes and gradients of any strides; a peephole left out is zero. */
TEST(peepholes_one_by_one) {
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT64, (sizes){PEEPHOLE, 5, 4, 3, 6, true, true, true, false});
  for (int left_out = W_CI; left_out <= W_CO; left_out++) {
    lurn_tensor *in[INPUTS], *out[OUTPUTS] = {NULL}, *same[OUTPUTS] = {NULL}, *wide = NULL, *strided = NULL;
    memcpy(in, b.in, sizeof in);
    CHECK(lurn_zeros(ctx, LURN_FLOAT64, 2, (int64_t[]){6, 2}, &wide) == LURN_OK);
    CHECK(lurn_select(ctx, wide, 1, 1, &strided) == LURN_OK);
    in[left_out] = strided;
    CHECK(call(&b, in, out) == LURN_OK);
    in[left_out] = NULL;
    CHECK(call(&b, in, same) == LURN_OK);
    for (int i = 0; i < OUTPUTS; i++) {
      CHECK(memcmp(lurn_tensor_data(out[i]), lurn_tensor_data(same[i]),
                   (size_t)lurn_tensor_numel(out[i]) * sizeof(double)) == 0);
      lurn_release(out[i]), lurn_release(same[i]);
    }
    lurn_release(wide), lurn_release(strided);
  }
  free_bench(&b);
  lurn_ctx_free(ctx);
}

TEST(messages_of_variants) {
  lurn_ctx *ctx = context(1, LURN_ISA_BEST);
  bench b = new_bench(ctx, LURN_FLOAT32, (sizes){LSTM_ALL, 5, 3, 7, 16, true, true, true, false});
  check_message(&b, W_HR, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){3, 8}, 0), LURN_ESHAPE,
                "lstm: w_hr has shape (3, 8), expected (P, 16): the projection's size, hidden");
  check_message(&b, W_HR, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){0, 16}, 0), LURN_ESHAPE,
                "lstm: w_hr has shape (0, 16), expected (P, 16): the projection's size, hidden");
  check_message(&b, W_HR, filled(ctx, LURN_FLOAT64, 2, (int64_t[]){3, 16}, 0), LURN_EDTYPE,
                "lstm: w_hr is float64, expected float32 like x");
  check_message(&b, W_HH, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){48, 16}, 0), LURN_ESHAPE,
                "lstm: w_hh has shape (48, 16), expected (48, 8)");
  check_message(&b, H0, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){3, 16}, 0), LURN_ESHAPE,
                "lstm: h0 has shape (3, 16), expected (3, 8)");
  check_message(&b, C0, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){3, 8}, 0), LURN_ESHAPE,
                "lstm: c0 has shape (3, 8), expected (3, 16)");
  check_message(&b, W_CF, filled(ctx, LURN_FLOAT32, 1, (int64_t[]){8}, 0), LURN_ESHAPE,
                "lstm: w_cf has shape (8), expected (16)");
  check_message(&b, W_CI, filled(ctx, LURN_FLOAT32, 1, (int64_t[]){16}, 0), LURN_EVALUE,
                "lstm: w_ci is given, but there is no input gate when gates are coupled");
  check_message(&b, W_IH, filled(ctx, LURN_FLOAT32, 2, (int64_t[]){64, 7}, 0), LURN_ESHAPE,
                "lstm: w_ih has shape (64, 7), expected (3 * hidden, 7)");
  free_bench(&b);
  lurn_ctx_free(ctx);
}

/* ---- Memory ------------------------------------------------------------------------------------------------ */

typedef struct limited {
  int64_t left; /* allocations until one fails; negative: never */
} limited;

static void *limited_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  limited *l = ud;
  (void)old_size;
  if (new_size == 0) {
    free(ptr);
    return NULL;
  }
  if (l->left == 0) return NULL;
  if (l->left > 0) l->left--;
  return realloc(ptr, new_size);
}

/* Forward and backward with the allocation number `fails` failing; true when it was not reached. */
static bool survives(int cell, int64_t fails) {
  limited l = {-1};
  lurn_config config = {.alloc = limited_alloc, .alloc_ud = &l, .num_threads = 1, .cache_limit = 1};
  lurn_ctx *ctx = NULL;
  if (lurn_ctx_new(&config, &ctx) != LURN_OK) abort();
  bench b = new_bench(ctx, LURN_FLOAT32, (sizes){cell, 5, 3, 4, 6, true, true, true, false});
  lurn_tensor *root = NULL;
  require_grads(&b);
  CHECK(lurn_record_new(ctx, &b.record) == LURN_OK);
  size_t live = lurn_memory_live(ctx);
  l.left = fails;
  lurn_status status = call(&b, b.in, b.out);
  if (status == LURN_OK) status = lurn_sum(ctx, b.out[Y], NULL, 0, false, &root);
  if (status == LURN_OK) status = lurn_backward(ctx, root, NULL, false);
  bool done = status == LURN_OK;
  l.left = -1;
  CHECK(done || status == LURN_ENOMEM);
  lurn_release(root);
  drop_outputs(&b);
  if (!done) CHECK(lurn_tensor_grad(b.in[W_HH]) == NULL);
  for (int i = 0; i < LENGTHS; i++)
    if (b.in[i]) CHECK(lurn_tensor_set_grad(b.in[i], NULL) == LURN_OK);
  lurn_record *fresh = NULL;
  CHECK(lurn_record_new(ctx, &fresh) == LURN_OK);
  lurn_record_release(b.record);
  b.record = fresh;
  CHECK_EQ(lurn_memory_live(ctx), live);
  free_bench(&b);
  lurn_ctx_free(ctx);
  return done;
}
TEST(every_allocation_fails_once) {
  for (int cell = 0; cell < CELLS; cell++) {
    int64_t fails = 0;
    while (!survives(cell, fails) && fails < 500) fails++;
    CHECK(fails > 10 && fails < 500);
  }
}
