#if defined(__x86_64__)
#define ISA avx512
#include "kernels/optim.inc"
#else
typedef int lurn__no_avx512; /* C wants a declaration in every file */
#endif
