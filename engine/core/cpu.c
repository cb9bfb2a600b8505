#include "core/cpu.h"

#include <sched.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* XCR0: which register sets the operating system saves on a task switch. */
static uint64_t xcr0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

lurn_isa lurn__cpu_best_isa(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return LURN_ISA_SCALAR;
  const unsigned osxsave = 1u << 27, fma = 1u << 12, f16c = 1u << 29;
  if (!(c & osxsave) || !(c & fma) || !(c & f16c)) return LURN_ISA_SCALAR;
  uint64_t saved = xcr0();
  if ((saved & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 5))) return LURN_ISA_SCALAR;
  const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  bool avx512 = (b & f) && (b & dq) && (b & bw) && (b & vl) && (saved & 0xe6) == 0xe6;
  return avx512 ? LURN_ISA_AVX512 : LURN_ISA_AVX2;
}
#else
lurn_isa lurn__cpu_best_isa(void) { return LURN_ISA_SCALAR; }
#endif

const char *lurn__isa_name(lurn_isa isa) {
  return isa >= LURN_ISA_AVX512 ? "avx512" : isa >= LURN_ISA_AVX2 ? "avx2" : "scalar";
}

const char *lurn_cpu_isa_name(void) { return lurn__isa_name(lurn__cpu_best_isa()); }

int lurn_cpu_cores(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? (int)(n < 256 ? n : 256) : 1;
}
