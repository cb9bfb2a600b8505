#define ISA scalar
#include "kernels/optim.inc"
