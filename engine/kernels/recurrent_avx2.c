/* recurrent.h with AVX2. */
#if defined(__x86_64__)
#define RECURRENT_TABLE lurn__recurrent_avx2
#include "kernels/recurrent.inc"
#else
typedef int lurn__no_avx2; /* C wants a declaration in every file */
#endif
