/* Sorting of item numbers or offsets, for looking up names and finding those that come twice.  libc's qsort may allocate behind the
 * context's back. */
#ifndef LURN_IO_SORT_H
#define LURN_IO_SORT_H

#include <stddef.h>
#include <stdint.h>

/* Compares items a and b as strcmp does. */
typedef int lurn__compare_fn(const void *items, uint32_t a, uint32_t b);

/* Sorts what order holds: n log n steps at worst, no memory.  Equal items come in any order. */
void lurn__sort_order(uint32_t *order, size_t n, lurn__compare_fn *compare, const void *items);
/* A place in a sorted order whose item equals the one before it, or -1. */
int64_t lurn__sort_twin(const uint32_t *order, size_t n, lurn__compare_fn *compare, const void *items);

#endif
