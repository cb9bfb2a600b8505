#include "io/safetensors.h"

const lurn__file_type lurn__file_types[] = {
    {"F64", 8, LURN_FLOAT64, LURN__AS_IS},
    {"F32", 4, LURN_FLOAT32, LURN__AS_IS},
    {"F16", 2, LURN_FLOAT32, LURN__AS_F16},
    {"BF16", 2, LURN_FLOAT32, LURN__AS_BF16},
    {"I64", 8, LURN_INT64, LURN__AS_IS},
    {"I32", 4, LURN_INT32, LURN__AS_IS},
    {"U8", 1, LURN_UINT8, LURN__AS_IS},
    {"BOOL", 1, LURN_BOOL, LURN__AS_IS},
    {"I16", 2, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"I8", 1, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"U64", 8, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"U32", 4, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"U16", 2, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"F8_E5M2", 1, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"F8_E4M3", 1, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"F8_E8M0", 1, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {"C64", 8, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
    {NULL, 0, LURN_DTYPE_COUNT, LURN__AS_NOTHING},
};

void lurn__swap_bytes(void *p, size_t n, size_t width) {
  unsigned char *bytes = p;
  for (size_t i = 0; i < n; i++, bytes += width)
    for (size_t low = 0, high = width - 1; low < high; low++, high--) {
      unsigned char byte = bytes[low];
      bytes[low] = bytes[high];
      bytes[high] = byte;
    }
}
