/* The list of fault points, from the binaries themselves. */
#include "worker/faults.h"

#include <string.h>

#include "proto/base/fault.h"

/* The least name that is greater than `after`, which may be NULL; NULL: none. */
static const char *next_name(struct sp_fault_names names, const char *after, const char *best) {
  for (const char *p = names.first; p < names.end; p += strlen(p) + 1) {
    if (*p && (!after || strcmp(p, after) > 0) && (!best || strcmp(p, best) < 0)) {
      best = p;
    }
  }
  return best;
}

sp_status sw_faults_list(struct sp_buf *b, struct sp_err *err) {
  struct sp_fault_names here = SP_FAULT_NAMES_HERE(), base = sp_fault_names_base();
  const char *name = next_name(base, NULL, next_name(here, NULL, NULL));
  if (!name) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "faults: this build has no fault points; build the debug or asan preset");
  }
  for (; name; name = next_name(base, name, next_name(here, name, NULL))) {
    sp_buf_printf(b, "%s\n", name);
  }
  return SP_OK;
}
