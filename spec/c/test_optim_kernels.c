/* Optimizer kernels: every instruction set of this CPU, three steps in a row, against the formulas of torch.optim
 * 1.13 written out in double, element by element. */
#include "core/cpu.h"
#include "harness.h"
#include "kernels/optim.h"

#define MOST 1000
#define STEPS 3
static const int64_t sizes[] = {0, 1, 15, 16, 17, 33, MOST};
#define SIZES ((int)(sizeof sizes / sizeof *sizes))

/* The tables this CPU can run. */
static int tables(const lurn__optim_kernels *out[3]) {
  int n = 0;
  out[n++] = &lurn__optim_scalar;
#if defined(__x86_64__)
  if (lurn__cpu_best_isa() >= LURN_ISA_AVX2) out[n++] = &lurn__optim_avx2;
  if (lurn__cpu_best_isa() >= LURN_ISA_AVX512) out[n++] = &lurn__optim_avx512;
#endif
  return n;
}

#define EACH_TABLE(k)                                                                                                  \
  const lurn__optim_kernels *all[3];                                                                                   \
  int n_tables = tables(all);                                                                                          \
  for (const lurn__optim_kernels **at = all, *k = *at; at < all + n_tables; k = ++at < all + n_tables ? *at : NULL)

/* ---- One parameter with up to three state arrays, in both dtypes and in naive double ---- */

typedef struct arrays {
  float f[MOST];
  double d[MOST];
  double naive[MOST];
} arrays;

static arrays p, g, s1, s2, s3;

static void *as(arrays *x, int d) { return d == LURN_FLOAT32 ? (void *)x->f : (void *)x->d; }

static double next_unit(uint64_t *noise) {
  *noise ^= *noise << 13, *noise ^= *noise >> 7, *noise ^= *noise << 17;
  return 2 * ((double)(*noise >> 11) * 0x1p-53) - 1;
}

static void fill(arrays *x, uint64_t seed) {
  for (int i = 0; i < MOST; i++) x->naive[i] = x->d[i] = (double)(x->f[i] = (float)next_unit(&seed));
}

static void start(void) {
  fill(&p, 1);
  memset(&s1, 0, sizeof s1), memset(&s2, 0, sizeof s2), memset(&s3, 0, sizeof s3);
}

/* Up to twenty roundings in each of three steps, of numbers up to 1; where a step divides by a small root, it is
 * larger than its parameter was, but then lr keeps it below 1. */
static void check(const arrays *x, int d, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    const double y = d == LURN_FLOAT32 ? (double)x->f[i] : x->d[i];
    const double tolerance = 60 * (d == LURN_FLOAT32 ? 0x1p-24 : 0x1p-53) * fmax(1, fabs(x->naive[i]));
    if (!CHECK_NEAR(y, x->naive[i], tolerance)) return;
  }
}

#define EACH_RUN(k, n, d)                                                                                              \
  EACH_TABLE(k)                                                                                                        \
  for (int size = 0; size < SIZES; size++)                                                                             \
    for (int64_t n = sizes[size], d = 0; d < 2; d++)

/* g as the formulas mean it. */
static double gradient(int64_t i, double weight_decay, bool maximize) {
  return (maximize ? -g.naive[i] : g.naive[i]) + weight_decay * p.naive[i];
}

/* ---- SGD ---- */

static void naive_sgd(const lurn__sgd *o, int64_t i) {
  double d = gradient(i, o->weight_decay, o->maximize);
  if (o->momentum != 0) {
    s1.naive[i] = o->first ? d : o->momentum * s1.naive[i] + (1 - o->dampening) * d;
    d = o->nesterov ? d + o->momentum * s1.naive[i] : s1.naive[i];
  }
  p.naive[i] -= o->lr * d;
}

TEST(sgd) {
  static const lurn__sgd options[] = {
      {.lr = 0.1},
      {.lr = 0.1, .weight_decay = 0.2, .maximize = true},
      {.lr = 0.05, .momentum = 0.9},
      {.lr = 0.05, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.1},
      {.lr = 0.05, .momentum = 0.8, .nesterov = true, .weight_decay = 0.01, .maximize = true},
  };
  for (size_t c = 0; c < sizeof options / sizeof *options; c++) {
    EACH_RUN(k, n, d) {
      start();
      lurn__sgd o = options[c];
      for (int step = 0; step < STEPS; step++) {
        fill(&g, 10 + (uint64_t)step);
        o.first = step == 0;
        k->sgd[d](n, &o, as(&p, (int)d), as(&g, (int)d), o.momentum != 0 ? as(&s1, (int)d) : NULL);
        for (int64_t i = 0; i < n; i++) naive_sgd(&o, i);
      }
      check(&p, (int)d, n), check(&s1, (int)d, n);
    }
  }
}

/* ---- Adam and AdamW ---- */

static void naive_adam(const lurn__adam *o, bool amsgrad, int64_t i) {
  if (o->decoupled) p.naive[i] *= 1 - o->lr * o->weight_decay;
  const double d = gradient(i, o->decoupled ? 0 : o->weight_decay, o->maximize);
  s1.naive[i] = o->beta1 * s1.naive[i] + (1 - o->beta1) * d;
  s2.naive[i] = o->beta2 * s2.naive[i] + (1 - o->beta2) * d * d;
  if (amsgrad) s3.naive[i] = fmax(s3.naive[i], s2.naive[i]);
  const double root = sqrt(amsgrad ? s3.naive[i] : s2.naive[i]) / sqrt(o->correction2) + o->eps;
  p.naive[i] -= o->lr / o->correction1 * s1.naive[i] / root;
}

TEST(adam) {
  static const struct {
    lurn__adam options;
    bool amsgrad;
  } cases[] = {
      {{.lr = 0.02, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, false},
      {{.lr = 0.02, .beta1 = 0.8, .beta2 = 0.95, .eps = 0.5, .weight_decay = 0.1}, false},
      {{.lr = 0.02, .beta1 = 0.9, .beta2 = 0.5, .eps = 1e-8, .maximize = true}, true},
      {{.lr = 0.02, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.3, .decoupled = true}, false},
      {{.lr = 0.02, .beta1 = 0.9, .beta2 = 0.5, .eps = 1e-8, .weight_decay = 0.3, .decoupled = true}, true},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    EACH_RUN(k, n, d) {
      start();
      lurn__adam o = cases[c].options;
      for (int step = 1; step <= STEPS; step++) {
        fill(&g, 20 + (uint64_t)step);
        o.correction1 = 1 - pow(o.beta1, step), o.correction2 = 1 - pow(o.beta2, step);
        k->adam[d](n, &o, as(&p, (int)d), as(&g, (int)d), as(&s1, (int)d), as(&s2, (int)d),
                   cases[c].amsgrad ? as(&s3, (int)d) : NULL);
        for (int64_t i = 0; i < n; i++) naive_adam(&o, cases[c].amsgrad, i);
      }
      check(&p, (int)d, n), check(&s1, (int)d, n), check(&s2, (int)d, n), check(&s3, (int)d, n);
    }
  }
}

/* ---- RMSprop ---- */

static void naive_rmsprop(const lurn__rmsprop *o, bool centered, int64_t i) {
  const double d = gradient(i, o->weight_decay, o->maximize);
  s1.naive[i] = o->alpha * s1.naive[i] + (1 - o->alpha) * d * d;
  double variance = s1.naive[i];
  if (centered) {
    s2.naive[i] = o->alpha * s2.naive[i] + (1 - o->alpha) * d;
    variance -= s2.naive[i] * s2.naive[i];
  }
  double step = d / (sqrt(variance) + o->eps);
  if (o->momentum > 0) step = s3.naive[i] = o->momentum * s3.naive[i] + step;
  p.naive[i] -= o->lr * step;
}

TEST(rmsprop) {
  static const struct {
    lurn__rmsprop options;
    bool centered;
  } cases[] = {
      {{.lr = 0.01, .alpha = 0.99, .eps = 1e-8}, false},
      {{.lr = 0.01, .alpha = 0.9, .eps = 1e-2, .weight_decay = 0.1, .maximize = true}, true},
      {{.lr = 0.01, .alpha = 0.99, .eps = 1e-4, .momentum = 0.9, .weight_decay = 0.05}, false},
      {{.lr = 0.01, .alpha = 0.95, .eps = 1e-2, .momentum = 0.5}, true},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    EACH_RUN(k, n, d) {
      start();
      const lurn__rmsprop o = cases[c].options;
      for (int step = 0; step < STEPS; step++) {
        fill(&g, 30 + (uint64_t)step);
        k->rmsprop[d](n, &o, as(&p, (int)d), as(&g, (int)d), as(&s1, (int)d),
                      cases[c].centered ? as(&s2, (int)d) : NULL, o.momentum > 0 ? as(&s3, (int)d) : NULL);
        for (int64_t i = 0; i < n; i++) naive_rmsprop(&o, cases[c].centered, i);
      }
      check(&p, (int)d, n), check(&s1, (int)d, n), check(&s2, (int)d, n), check(&s3, (int)d, n);
    }
  }
}

/* A gradient that never changes has no variance: what rounding leaves of it must not become NaN. */
TEST(rmsprop_centered_without_variance) {
  EACH_TABLE(k) {
    float x = 1, gradient = 0.3f, v = 0, average = 0;
    const lurn__rmsprop o = {.lr = 1e-9, .alpha = 0.5, .eps = 1e-8};
    for (int step = 0; step < 200; step++) k->rmsprop[0](1, &o, &x, &gradient, &v, &average, NULL);
    CHECK(isfinite(x));
  }
}

/* ---- Adagrad and Adadelta ---- */

TEST(adagrad) {
  static const double decays[] = {0, 0.1};
  for (int c = 0; c < 2; c++) {
    EACH_RUN(k, n, d) {
      start();
      for (int step = 1; step <= STEPS; step++) {
        fill(&g, 40 + (uint64_t)step);
        const lurn__adagrad o = {
            .rate = 0.1 / (1 + (step - 1) * 0.05), .eps = 1e-10, .weight_decay = decays[c], .maximize = c == 1};
        k->adagrad[d](n, &o, as(&p, (int)d), as(&g, (int)d), as(&s1, (int)d));
        for (int64_t i = 0; i < n; i++) {
          const double x = gradient(i, o.weight_decay, o.maximize);
          s1.naive[i] += x * x;
          p.naive[i] -= o.rate * x / (sqrt(s1.naive[i]) + o.eps);
        }
      }
      check(&p, (int)d, n), check(&s1, (int)d, n);
    }
  }
}

TEST(adadelta) {
  static const lurn__adadelta options[] = {{.lr = 1, .rho = 0.9, .eps = 1e-6},
                                           {.lr = 0.5, .rho = 0.8, .eps = 1e-4, .weight_decay = 0.1, .maximize = true}};
  for (int c = 0; c < 2; c++) {
    const lurn__adadelta o = options[c];
    EACH_RUN(k, n, d) {
      start();
      for (int step = 0; step < STEPS; step++) {
        fill(&g, 50 + (uint64_t)step);
        k->adadelta[d](n, &o, as(&p, (int)d), as(&g, (int)d), as(&s1, (int)d), as(&s2, (int)d));
        for (int64_t i = 0; i < n; i++) {
          const double x = gradient(i, o.weight_decay, o.maximize);
          s1.naive[i] = o.rho * s1.naive[i] + (1 - o.rho) * x * x;
          const double step_size = sqrt(s2.naive[i] + o.eps) / sqrt(s1.naive[i] + o.eps) * x;
          s2.naive[i] = o.rho * s2.naive[i] + (1 - o.rho) * step_size * step_size;
          p.naive[i] -= o.lr * step_size;
        }
      }
      check(&p, (int)d, n), check(&s1, (int)d, n), check(&s2, (int)d, n);
    }
  }
}

/* ---- What callers rely on ---- */

TEST(scale) {
  EACH_RUN(k, n, d) {
    start();
    k->scale[d](n, 0.25, as(&p, (int)d));
    for (int64_t i = 0; i < n; i++) p.naive[i] *= 0.25;
    check(&p, (int)d, n);
  }
}

TEST(elements_are_independent) {
  EACH_TABLE(k) {
    const lurn__adam o = {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .correction1 = 0.1, .correction2 = 0.01};
    static float whole[MOST];
    start(), fill(&g, 60);
    k->adam[0](MOST, &o, p.f, g.f, s1.f, s2.f, NULL);
    memcpy(whole, p.f, sizeof whole);
    start();
    k->adam[0](337, &o, p.f, g.f, s1.f, s2.f, NULL);
    k->adam[0](MOST - 337, &o, p.f + 337, g.f + 337, s1.f + 337, s2.f + 337, NULL);
    CHECK(memcmp(whole, p.f, sizeof whole) == 0);
  }
}

TEST(broken_gradients_spread_to_their_element_only) {
  EACH_TABLE(k) {
    const lurn__sgd o = {.lr = 0.1};
    float x[3] = {1, 1, 1};
    const float gradient[3] = {0, NAN, INFINITY};
    k->sgd[0](3, &o, x, gradient, NULL);
    CHECK(x[0] == 1 && isnan(x[1]) && x[2] == -INFINITY);
  }
}
