/* Loops of the elementwise kernels: each macro defines one static function from an expression of its elements.
 *
 * The kernels proper are contiguous, which the compiler turns into vector code; an input of stride 0 is read once.
 * Operands of other strides go through small buffers, block by block, and so through the same code.  Only
 * elementwise.inc and what it includes use this file. */
#ifndef LURN_KERNELS_ELEMENTWISE_LOOPS_H
#define LURN_KERNELS_ELEMENTWISE_LOOPS_H

#include "kernels/elementwise.h"
#include "kernels/vecmath.h"

#define BLOCK 256 /* elements */
typedef struct block {
  _Alignas(64) unsigned char bytes[BLOCK * 8];
} block;

/* ---- Strided operands ---- */

static inline void move_elements(int64_t n, const unsigned char *x, int64_t sx, unsigned char *y, int64_t sy,
                                 size_t size) {
  int64_t step_x = sx * (int64_t)size, step_y = sy * (int64_t)size;
  for (int64_t i = 0; i < n; i++) memcpy(y + i * step_y, x + i * step_x, size);
}

/* Elements of a known size: 1, 4 or 8 bytes. */
static void copy_strided(int64_t n, const void *x, int64_t sx, void *y, int64_t sy, size_t size) {
  if (size == 4) move_elements(n, x, sx, y, sy, 4);
  else if (size == 8) move_elements(n, x, sx, y, sy, 8);
  else move_elements(n, x, sx, y, sy, 1);
}

static inline const void *offset(const void *x, int64_t elements, size_t size) {
  return (const unsigned char *)x + elements * (int64_t)size;
}

/* The next n elements of an operand: in place when the stride suits (1, or 0 where allowed), otherwise copied into
 * the buffer. */
static const void *load(int64_t n, const void *x, int64_t start, int64_t *stride, bool keep_zero, size_t size,
                        block *buffer) {
  const void *first = offset(x, start * *stride, size);
  if (*stride == 1 || (*stride == 0 && keep_zero)) return first;
  copy_strided(n, first, *stride, buffer->bytes, 1, size);
  *stride = 1;
  return buffer->bytes;
}

static void unary_strided(lurn__unary_fn *kernel, int64_t n, const void *x, int64_t sx, size_t size_x, void *y,
                          int64_t sy, size_t size_y) {
  block in, out;
  for (int64_t start = 0; start < n; start += BLOCK) {
    int64_t count = n - start < BLOCK ? n - start : BLOCK, stride = sx;
    const void *part = load(count, x, start, &stride, false, size_x, &in);
    kernel(count, part, 1, out.bytes, 1);
    copy_strided(count, out.bytes, 1, (void *)offset(y, start * sy, size_y), sy, size_y);
  }
}

static void binary_strided(lurn__binary_fn *kernel, int64_t n, const void *a, int64_t sa, const void *b, int64_t sb,
                           size_t size, void *y, int64_t sy, size_t size_y) {
  block in_a, in_b, out;
  for (int64_t start = 0; start < n; start += BLOCK) {
    int64_t count = n - start < BLOCK ? n - start : BLOCK, step_a = sa, step_b = sb;
    const void *part_a = load(count, a, start, &step_a, false, size, &in_a);
    const void *part_b = load(count, b, start, &step_b, true, size, &in_b);
    kernel(count, part_a, step_a, part_b, step_b, out.bytes, 1);
    copy_strided(count, out.bytes, 1, (void *)offset(y, start * sy, size_y), sy, size_y);
  }
}

static void where_strided(lurn__where_fn *kernel, int64_t n, const void *c, int64_t sc, const void *a, int64_t sa,
                          const void *b, int64_t sb, void *y, int64_t sy, size_t size) {
  block in_c, in_a, in_b, out;
  for (int64_t start = 0; start < n; start += BLOCK) {
    int64_t count = n - start < BLOCK ? n - start : BLOCK, step_c = sc, step_a = sa, step_b = sb;
    const void *part_c = load(count, c, start, &step_c, false, 1, &in_c);
    const void *part_a = load(count, a, start, &step_a, false, size, &in_a);
    const void *part_b = load(count, b, start, &step_b, true, size, &in_b);
    kernel(count, part_c, 1, part_a, step_a, part_b, step_b, out.bytes, 1);
    copy_strided(count, out.bytes, 1, (void *)offset(y, start * sy, size), sy, size);
  }
}

/* ---- Kernels ---- */

#define LOOP(body)                                                                                                     \
  LURN__INDEPENDENT                                                                                                    \
  for (int64_t i = 0; i < n; i++) { body; }

/* y = expr(x) */
#define UNARY(function, TX, TY, expr)                                                                                  \
  static void function(int64_t n, const void *xs, int64_t sx, void *ys, int64_t sy) {                                  \
    const TX *px = xs;                                                                                                 \
    TY *py = ys;                                                                                                       \
    if (sx == 1 && sy == 1) {                                                                                          \
      LOOP(TX x = px[i]; py[i] = (TY)(expr))                                                                           \
    } else {                                                                                                           \
      unary_strided(function, n, xs, sx, sizeof(TX), ys, sy, sizeof(TY));                                              \
    }                                                                                                                  \
  }

/* y = expr(a, b) */
#define BINARY(function, T, TY, expr)                                                                                  \
  static void function(int64_t n, const void *as, int64_t sa, const void *bs, int64_t sb, void *ys, int64_t sy) {      \
    const T *pa = as, *pb = bs;                                                                                        \
    TY *py = ys;                                                                                                       \
    if (n == 0) return;                                                                                                \
    if (sa == 1 && sb == 1 && sy == 1) {                                                                               \
      LOOP(T a = pa[i]; T b = pb[i]; py[i] = (TY)(expr))                                                               \
    } else if (sa == 1 && sb == 0 && sy == 1) {                                                                        \
      const T b = pb[0];                                                                                               \
      LOOP(T a = pa[i]; py[i] = (TY)(expr))                                                                            \
    } else if (sa == 0 && sb == 1 && sy == 1) {                                                                        \
      const T a = pa[0];                                                                                               \
      LOOP(T b = pb[i]; py[i] = (TY)(expr))                                                                            \
    } else {                                                                                                           \
      binary_strided(function, n, as, sa, bs, sb, sizeof(T), ys, sy, sizeof(TY));                                      \
    }                                                                                                                  \
  }

/* y = other(b, a) */
#define SWAPPED(function, other)                                                                                       \
  static void function(int64_t n, const void *a, int64_t sa, const void *b, int64_t sb, void *y, int64_t sy) {         \
    other(n, b, sb, a, sa, y, sy);                                                                                     \
  }

/* y = c ? a : b */
#define WHERE(function, T)                                                                                             \
  static void function(int64_t n, const void *cs, int64_t sc, const void *as, int64_t sa, const void *bs, int64_t sb,  \
                       void *ys, int64_t sy) {                                                                         \
    const uint8_t *pc = cs;                                                                                            \
    const T *pa = as, *pb = bs;                                                                                        \
    T *py = ys;                                                                                                        \
    if (n == 0) return;                                                                                                \
    bool plain = sc == 1 && sy == 1;                                                                                   \
    if (plain && sa == 1 && sb == 1) {                                                                                 \
      LOOP(T a = pa[i]; T b = pb[i]; py[i] = pc[i] ? a : b)                                                            \
    } else if (plain && sa == 1 && sb == 0) {                                                                          \
      const T b = pb[0];                                                                                               \
      LOOP(T a = pa[i]; py[i] = pc[i] ? a : b)                                                                         \
    } else if (plain && sa == 0 && sb == 1) {                                                                          \
      const T a = pa[0];                                                                                               \
      LOOP(T b = pb[i]; py[i] = pc[i] ? a : b)                                                                         \
    } else {                                                                                                           \
      where_strided(function, n, cs, sc, as, sa, bs, sb, ys, sy, sizeof(T));                                           \
    }                                                                                                                  \
  }

/* y = x; also spreads one element (stride 0). */
#define COPY(function, T)                                                                                              \
  static void function(int64_t n, const void *x, int64_t sx, void *y, int64_t sy) {                                    \
    if (sx != 1 || sy != 1) copy_strided(n, x, sx, y, sy, sizeof(T));                                                  \
    else if (n > 0) memmove(y, x, (size_t)n * sizeof(T));                                                              \
  }

/* y = x held between *lo and *hi. */
#define CLAMP(function, T)                                                                                             \
  static void function(int64_t n, const void *xs, int64_t sx, const void *los, const void *his, void *ys,              \
                       int64_t sy) {                                                                                   \
    const T *px = xs;                                                                                                  \
    T *py = ys;                                                                                                        \
    const T lo = *(const T *)los, hi = *(const T *)his;                                                                \
    if (sx == 1 && sy == 1) {                                                                                          \
      LOOP(T x = px[i]; x = x < lo ? lo : x; py[i] = x > hi ? hi : x)                                                  \
    } else {                                                                                                           \
      LOOP(T x = px[i * sx]; x = x < lo ? lo : x; py[i * sy] = x > hi ? hi : x)                                        \
    }                                                                                                                  \
  }

#endif
