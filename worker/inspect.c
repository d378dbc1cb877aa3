/* Arguments, ends and formats of the verbs that show. See inspect.h. */
#include "worker/inspect.h"

#include <string.h>

#include "proto/base/mem.h"

const char *sw_take_option(int *argc, char **argv, const char *name) {
  for (int i = 0; i + 1 < *argc; i++) {
    if (strcmp(argv[i], name) == 0) {
      const char *value = argv[i + 1];
      memmove(argv + i, argv + i + 2, sizeof *argv * (size_t)(*argc - i - 2));
      *argc -= 2;
      return value;
    }
  }
  return NULL;
}

sp_status sw_open_job(int argc, char **argv, struct sw_setup *s, struct sp_err *err) {
  return sw_setup_open(argc > 0 ? argv[0] : NULL, (const char *const *)(argv + 1),
                       (size_t)(argc > 0 ? argc - 1 : 0), STK_TRAIN, s, err);
}

int sw_finish(struct sw_emit *e, struct sw_setup *s, const struct sp_err *err) {
  struct sp_event_result r = {.message = "", .ckpt_last = "", .ckpt_best = ""};
  int code = sw_emit_result(e, err, false, &r);
  if (s) {
    sw_setup_close(s);
    sp_free(s);
  }
  return code;
}

sp_status sw_json_asked(int *argc, char **argv, bool *out_json, struct sp_err *err) {
  const char *format = sw_take_option(argc, argv, "-o");
  for (int i = 0; !format && i < *argc; i++) {
    if (strcmp(argv[i], "-ojson") == 0 || strcmp(argv[i], "--output=json") == 0) {
      memmove(argv + i, argv + i + 1, sizeof *argv * (size_t)(*argc - i - 1));
      --*argc;
      format = "json";
    }
  }
  *out_json = format && strcmp(format, "json") == 0;
  return format && !*out_json && strcmp(format, "table") != 0
             ? sp_fail(err, SP_EINVAL, "-o %s: there are table and json", format)
             : SP_OK;
}
