/* The two 16-bit float formats, by their bits, exactly: subnormals, infinities and NaN payloads included. */
#ifndef LURN_IO_HALF_H
#define LURN_IO_HALF_H

#include <stdint.h>
#include <string.h>

static inline float lurn__float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* bfloat16 is the upper half of a float32. */
static inline float lurn__from_bf16(uint16_t bits) { return lurn__float_of_bits((uint32_t)bits << 16); }

/* IEEE 754 binary16: sign, 5 bits of exponent with bias 15, 10 bits of fraction. */
static inline float lurn__from_f16(uint16_t bits) {
  uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3FFu;
  if (exponent == 31) return lurn__float_of_bits(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return lurn__float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
  float magnitude = (float)fraction * 0x1p-24f; /* exact: at most 10 bits */
  return sign != 0 ? -magnitude : magnitude;
}

#endif
