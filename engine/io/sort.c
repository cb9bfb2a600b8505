#include "io/sort.h"

/* Heap sort. */
static void sift(uint32_t *order, size_t root, size_t n, lurn__compare_fn *compare, const void *items) {
  uint32_t item = order[root];
  for (size_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && compare(items, order[child], order[child + 1]) < 0) child++;
    if (compare(items, item, order[child]) >= 0) break;
    order[root] = order[child];
  }
  order[root] = item;
}

void lurn__sort_order(uint32_t *order, size_t n, lurn__compare_fn *compare, const void *items) {
  for (size_t i = n / 2; i-- > 0;) sift(order, i, n, compare, items);
  for (size_t last = n; last-- > 1;) {
    uint32_t largest = order[0];
    order[0] = order[last];
    order[last] = largest;
    sift(order, 0, last, compare, items);
  }
}

int64_t lurn__sort_twin(const uint32_t *order, size_t n, lurn__compare_fn *compare, const void *items) {
  for (size_t i = 1; i < n; i++)
    if (compare(items, order[i - 1], order[i]) == 0) return (int64_t)i;
  return -1;
}
