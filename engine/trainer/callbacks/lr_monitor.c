/* Names of learning-rate series; the rules are in the header. */
#include "engine/trainer/callbacks/lr_monitor.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

sp_status stk_lr_monitor_name(const struct stk_lr_series *series, char *out_name, size_t name_bytes,
                              struct sp_err *err) {
  static const char *const suffixes[] = {
      [STK_LR_RATE] = "", [STK_LR_MOMENTUM] = "-momentum", [STK_LR_WEIGHT_DECAY] = "-weight_decay"};
  assert(series->group >= 0 && series->group < series->n_groups);
  char ordinal[24] = "";
  char group[24] = "";
  if (series->ordinal > 0) {
    snprintf(ordinal, sizeof ordinal, "-%" PRId64, series->ordinal);
  }
  if (series->n_groups > 1 && !series->group_name) {
    snprintf(group, sizeof group, "/pg%" PRId64, series->group + 1);
  }
  const char *slash = series->n_groups > 1 && series->group_name ? "/" : "";
  int n = snprintf(out_name, name_bytes, "lr-%s%s%s%s%s%s", series->optimizer, ordinal, group,
                   slash, *slash ? series->group_name : "", suffixes[series->quantity]);
  if (n < 0 || (size_t)n >= name_bytes) {
    return sp_fail(err, SP_ERANGE, "learning-rate monitor: the name %.40s... is too long",
                   out_name);
  }
  return SP_OK;
}
