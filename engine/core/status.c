#include "lurn.h"

const char *lurn_status_name(lurn_status status) {
  static const char *const names[] = {
#define X(id, name) [id] = name,
#include "core/status.def"
#undef X
  };
  return (unsigned)status < LURN_STATUS_COUNT ? names[status] : "unknown";
}

const char *lurn_version(void) { return LURN_VERSION; }
