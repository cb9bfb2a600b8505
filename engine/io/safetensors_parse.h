/* The two halves of reading a header: its text becomes records, the records become an index. */
#ifndef LURN_IO_SAFETENSORS_PARSE_H
#define LURN_IO_SAFETENSORS_PARSE_H

#include "core/shape.h"
#include "io/json.h"
#include "io/safetensors.h"

/* Add what was read to the records.  The strings lie in the header's text at or behind archive->packed. */
lurn_status lurn__pack_tensor(lurn_archive *archive, const lurn__json_str *name, const lurn__entry *e,
                              const lurn__shape *shape);
lurn_status lurn__pack_pair(lurn_archive *archive, const lurn__json_str *key, const lurn__json_str *value);

/* Checks the records as a whole and makes the index. */
lurn_status lurn__header_index(lurn_archive *archive);

#endif
