#include "io/sort.h"

/* Heap sort. */
static void sift(int64_t *order, int64_t root, int64_t n, lurn__compare_fn *compare, const void *items) {
  int64_t item = order[root];
  for (int64_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && compare(items, order[child], order[child + 1]) < 0) child++;
    if (compare(items, item, order[child]) >= 0) break;
    order[root] = order[child];
  }
  order[root] = item;
}

void lurn__sort_by(int64_t *order, int64_t n, lurn__compare_fn *compare, const void *items) {
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n / 2 - 1; i >= 0; i--) sift(order, i, n, compare, items);
  for (int64_t last = n - 1; last > 0; last--) {
    int64_t largest = order[0];
    order[0] = order[last];
    order[last] = largest;
    sift(order, 0, last, compare, items);
  }
}

int64_t lurn__sort_twin(const int64_t *order, int64_t n, lurn__compare_fn *compare, const void *items) {
  for (int64_t i = 1; i < n; i++)
    if (compare(items, order[i - 1], order[i]) == 0) return order[i];
  return -1;
}
