/* recurrent.h with what every machine of its kind has. */
#define RECURRENT_TABLE lurn__recurrent_scalar
#include "kernels/recurrent.inc"
