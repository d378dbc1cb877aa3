/* `stoker doctor`: the client's findings, then the worker's. With -o json one object:
 * {"client": [...], "worker": what the worker printed, or null}. */
#include "client/doctor.h"
#include "client/session.h"
#include "client/verb.h"

#include <unistd.h>

static bool any_broken(const struct sc_finding *findings, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (findings[i].level == SC_BROKEN) {
      return true;
    }
  }
  return false;
}

static struct sp_buf text_buffer(void) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  return b;
}

static int end_json(size_t n_worker_bytes) {
  struct sp_buf b = text_buffer();
  sp_buf_printf(&b, "%s}\n", n_worker_bytes > 0 ? "" : "null");
  return sc_print(&b);
}

int sc_verb_doctor(const struct sc_verb *verb, char *const *args) {
  struct sc_finding findings[SC_FINDINGS];
  size_t n = sc_doctor_look(findings);
  bool json = sc_args_want_json(args);
  bool broken = any_broken(findings, n);
  struct sp_buf b = text_buffer();
  if (json) {
    sp_buf_puts(&b, "{\"client\": ");
    sc_doctor_put_json(&b, findings, n);
    sp_buf_puts(&b, ", \"worker\": ");
  } else {
    sc_doctor_put(&b, findings, n);
  }
  int code = sc_print(&b);
  struct sc_session_result result = {.exit = SP_EXIT_FAILED};
  if (code == SP_EXIT_OK && !broken) {
    struct sc_session_options o = {
        .verb = verb->name, .args = args, .text_on_stderr = json, .data_fd = STDOUT_FILENO};
    result = sc_session_run(&o);
  }
  if (code == SP_EXIT_OK && json) {
    code = end_json(result.n_data_bytes);
  }
  return code != SP_EXIT_OK ? code : (int)result.exit;
}
