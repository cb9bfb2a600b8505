#include "ops/record.h"

lurn_status lurn_record_new(lurn_ctx *ctx, lurn_record **out) {
  LURN__TRY(lurn__need_place(ctx, "record_new", out));
  lurn_record *record = lurn__alloc_zeroed(ctx, sizeof *record);
  if (record == NULL) return LURN_ENOMEM;
  record->refs = 1;
  record->ctx = ctx;
  lurn__ctx_retain(ctx);
  *out = record;
  return LURN_OK;
}

lurn_record *lurn_record_retain(lurn_record *record) {
  if (record != NULL) record->refs++;
  return record;
}

void lurn_record_release(lurn_record *record) {
  if (record == NULL || --record->refs > 0) return;
  lurn_ctx *ctx = record->ctx;
  for (int i = 0; i < LURN_RECORD_FIELDS; i++) lurn_release(record->field[i]);
  lurn__free(ctx, record, sizeof *record);
  lurn__ctx_release(ctx);
}

lurn_tensor *lurn_record_get(const lurn_record *record, lurn_record_field field) {
  return record != NULL && (unsigned)field < LURN_RECORD_FIELDS ? record->field[field] : NULL;
}

void lurn__record_put(lurn_record *record, lurn_record_field field, lurn_tensor *t) {
  lurn_release(record->field[field]);
  record->field[field] = t;
}
