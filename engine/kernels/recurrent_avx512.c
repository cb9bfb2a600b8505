/* recurrent.h with AVX-512. */
#if defined(__x86_64__)
#define RECURRENT_TABLE lurn__recurrent_avx512
#include "kernels/recurrent.inc"
#else
typedef int lurn__no_avx512; /* C wants a declaration in every file */
#endif
