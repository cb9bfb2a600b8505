#include "kernels/kernels.h"

#define TABLE(suffix, isa_id)                                                                                          \
  static const lurn__kernels table_##suffix = {isa_id,                                                                 \
                                               #suffix,                                                                \
                                               &lurn__elementwise_##suffix,                                            \
                                               &lurn__rowwise_##suffix,                                                \
                                               &lurn__optim_##suffix,                                                  \
                                               &lurn__gemm_##suffix,                                                   \
                                               &lurn__recurrent_##suffix};

TABLE(scalar, LURN_ISA_SCALAR)
#if defined(__x86_64__)
TABLE(avx2, LURN_ISA_AVX2)
TABLE(avx512, LURN_ISA_AVX512)
#endif

const lurn__kernels *lurn__kernels_for(lurn_isa isa) {
#if defined(__x86_64__)
  if (isa >= LURN_ISA_AVX512) return &table_avx512;
  if (isa >= LURN_ISA_AVX2) return &table_avx2;
#else
  (void)isa;
#endif
  return &table_scalar;
}
