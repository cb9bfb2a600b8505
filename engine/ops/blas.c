/* What the BLAS library says of itself. */
#include <cblas.h>

#include "lurn.h"

const char *lurn_blas_config(void) { return openblas_get_config(); }
const char *lurn_blas_kernel(void) { return openblas_get_corename(); }
void lurn_blas_set_threads(int n) { openblas_set_num_threads(n); }
int lurn_blas_threads(void) { return openblas_get_num_threads(); }
