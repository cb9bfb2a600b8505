/* Sorting of item numbers, for looking up names and finding those that come twice.  libc's qsort may allocate behind the
 * context's back. */
#ifndef LURN_IO_SORT_H
#define LURN_IO_SORT_H

#include <stdint.h>

/* Compares items a and b as strcmp does. */
typedef int lurn__compare_fn(const void *items, int64_t a, int64_t b);

/* Fills order with 0..n-1, sorted: n log n steps at worst, no memory.  Equal items come in any order. */
void lurn__sort_by(int64_t *order, int64_t n, lurn__compare_fn *compare, const void *items);
/* An item of a sorted order that equals its neighbour, or -1. */
int64_t lurn__sort_twin(const int64_t *order, int64_t n, lurn__compare_fn *compare, const void *items);

#endif
