/* L1: gate arithmetic of recurrent cells, one time step at a time.
 *
 * n rows (sequences of the batch) of h units; all rows are contiguous, (n, h) unless told otherwise, and may start at any row
 * of a larger array, so that callers can split rows over threads.  Rows of gradients of sums lie `stride` elements apart.  A row's bits do not depend on n or on its neighbours.
 * void * stands for the table's element type.  Arrays must not overlap unless told otherwise; sizes may be 0.
 *
 * s is the logistic sigmoid, . the elementwise product.  Pre-activations come as sums without bias: the matrix products of
 * the input and of the former hidden state; the bias (one row) is added here.  "d" before a name is a gradient. */
#ifndef LURN_KERNELS_RECURRENT_H
#define LURN_KERNELS_RECURRENT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum lurn__nonlinearity { LURN__RNN_TANH = 0, LURN__RNN_RELU, LURN__RNN_SIGMOID } lurn__nonlinearity;

typedef struct lurn__cells {
  /* RNN:  hidden = f(sums + bias).  hidden may be sums.  bias (h). */
  void (*rnn_forward)(lurn__nonlinearity f, int64_t n, int64_t h, const void *sums, const void *bias, void *hidden);
  /*       dsums = dhidden . f'(sums), written with hidden: 1 - hidden^2, hidden > 0, or hidden (1 - hidden). */
  void (*rnn_backward)(lurn__nonlinearity f, int64_t n, int64_t h, const void *hidden, const void *dhidden, void *dsums,
                       int64_t stride);

  /* LSTM (PyTorch's formulas and order of gates):
   *   i, f, o = s(...)   g = tanh(...)   cell = f . cell_before + i . g   hidden = o . tanh(cell)
   * gates (n, 4h), rows i f g o: sums on entry, activated on return.  bias (4h).  cell may be cell_before. */
  void (*lstm_forward)(int64_t n, int64_t h, void *gates, const void *bias, const void *cell_before, void *cell,
                       void *hidden);
  /*   D = dcell + dhidden . o . (1 - tanh(cell)^2)    total gradient of the cell, to dcell_total unless that is NULL
   *   di = D . g . i (1 - i)   df = D . cell_before . f (1 - f)   dg = D . i . (1 - g^2)   do = dhidden . tanh(cell) . o (1 - o)
   * gates activated, dgates (n, 4h).  dcell: from the later step on entry; D . f, for the earlier step, on return. */
  void (*lstm_backward)(int64_t n, int64_t h, const void *gates, const void *cell_before, const void *cell,
                        const void *dhidden, void *dcell, void *dcell_total, void *dgates, int64_t stride);

  /* LSTM with peepholes (Gers et al. 2002), with coupled input and forget gates (Greff et al. 2017), or with both:
   *   i, f = s(... + w . cell_before)   g = tanh(...)   cell = f . cell_before + i . g
   *   o = s(... + w . cell)   hidden = o . tanh(cell)
   * each gate with a w of its own, peepholes (3h) in the order i f o; NULL means none.  Coupled, i is 1 - f: gates are (n, 3h),
   * rows f g o, bias (3h) and peepholes (2h), f o.  Otherwise as lstm_forward. */
  void (*lstm_variant_forward)(bool coupled, int64_t n, int64_t h, void *gates, const void *bias, const void *peepholes,
                               const void *cell_before, void *cell, void *hidden);
  /*   do = dhidden . tanh(cell) . o (1 - o)   D = dcell + dhidden . o . (1 - tanh(cell)^2) + do . w_o
   *   di, dg as for lstm_backward; coupled, df = D . (cell_before - g) . f (1 - f) and i is 1 - f
   * dcell: on return D . f + di . w_i + df . w_f.  hidden, unless that is NULL, is given hidden as forward gave it, to the bit.
   * Otherwise as lstm_backward. */
  void (*lstm_variant_backward)(bool coupled, int64_t n, int64_t h, const void *gates, const void *peepholes,
                                const void *cell_before, const void *cell, const void *dhidden, void *dcell,
                                void *dcell_total, void *dgates, int64_t stride, void *hidden);

  /* GRU (PyTorch's: the reset gate applies after the product):
   *   r, z = s(...)   new = tanh(gates_n + r . recurrent)   hidden = (1 - z) . new + z . hidden_before
   * gates (n, 3h), rows r z n: on entry the sums of r and z, and for n the input's part alone; activated on return.
   * recurrent: the hidden part of n; on return with its bias, as backward needs it.  bias (4h): r, z, n of the input, n of the
   * recurrent part.  hidden may be hidden_before. */
  void (*gru_forward)(int64_t n, int64_t h, void *gates, void *recurrent, const void *bias, const void *hidden_before,
                      void *hidden);
  /*   dn = dhidden . (1 - z) . (1 - new^2)   dr = dn . recurrent . r (1 - r)   dz = dhidden . (hidden_before - new) . z (1 - z)
   * gates activated, dgates (n, 3h) of r z n; drecurrent = dn . r.  dhidden: the total gradient on entry; dhidden . z, the
   * direct part of the former hidden state's gradient, on return. */
  void (*gru_backward)(int64_t n, int64_t h, const void *gates, const void *recurrent, const void *hidden_before,
                       void *dhidden, void *dgates, int64_t stride, void *drecurrent, int64_t recurrent_stride);

  /* total (h) += the sum of n rows that lie stride elements apart, added in ascending order. */
  void (*add_rows)(int64_t n, int64_t h, const void *rows, int64_t stride, void *total);
  /* total (h) += the sum of a . b over n rows, which lie so many elements apart, added in ascending order. */
  void (*add_products)(int64_t n, int64_t h, const void *a, int64_t a_stride, const void *b, int64_t b_stride,
                       void *total);
} lurn__cells;

typedef struct lurn__recurrent {
  lurn__cells f32, f64;
} lurn__recurrent;

extern const lurn__recurrent lurn__recurrent_scalar;
#if defined(__x86_64__)
extern const lurn__recurrent lurn__recurrent_avx2;
extern const lurn__recurrent lurn__recurrent_avx512;
#endif

#endif
