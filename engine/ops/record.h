/* Recordings of what happened inside a recurrent op. */
#ifndef LURN_OPS_RECORD_H
#define LURN_OPS_RECORD_H

#include "core/tensor.h"

struct lurn_record {
  int64_t refs;
  lurn_ctx *ctx;
  lurn_tensor *field[LURN_RECORD_FIELDS];
};

/* Puts t (own reference taken over) into a field, replacing what was there. */
void lurn__record_put(lurn_record *record, lurn_record_field field, lurn_tensor *t);

#endif
