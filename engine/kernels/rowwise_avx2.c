#if defined(__x86_64__)
#define ISA avx2
#include "kernels/rowwise.inc"
#else
typedef int lurn__no_avx2; /* C wants a declaration in every file */
#endif
