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

#endif
