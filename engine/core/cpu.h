/* What the processor, and the operating system on it, can do. */
#ifndef LURN_CORE_CPU_H
#define LURN_CORE_CPU_H

#include "lurn.h"

/* The best instruction set that both the CPU and the operating system's saved register state support. */
lurn_isa lurn__cpu_best_isa(void);
const char *lurn__isa_name(lurn_isa isa);
/* Tells the CPU that this is a spin loop. */
static inline void lurn__cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* How this thread's floating-point unit rounds, and whether subnormal numbers count as zero. */
static inline uint64_t lurn__float_mode(void) {
#if defined(__x86_64__)
  return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
#else
  return 0;
#endif
}
static inline void lurn__set_float_mode(uint64_t mode) {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr((unsigned)mode);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
  (void)mode;
#endif
}
/* From here on subnormal numbers count as zero in this thread; returns the former mode, for lurn__set_float_mode.  Arithmetic on
 * them is up to a hundred times slower, and gradients that fade through time would be just that. */
static inline uint64_t lurn__flush_subnormals(void) {
  uint64_t before = lurn__float_mode();
#if defined(__x86_64__)
  lurn__set_float_mode(before | 0x8040); /* results, operands */
#elif defined(__aarch64__)
  lurn__set_float_mode(before | (uint64_t)1 << 24);
#endif
  return before;
}

#endif
