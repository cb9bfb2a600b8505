#define ISA scalar
#include "kernels/rowwise.inc"
