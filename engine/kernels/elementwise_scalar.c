#define ISA scalar
#include "kernels/elementwise.inc"
