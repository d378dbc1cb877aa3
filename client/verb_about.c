/* `stoker version` and `stoker help`. */
#include "client/verb.h"

#include "client/session.h"
#include "client/spawn.h"
#include "client/terminal.h"
#include "proto/base/mem.h"
#include "proto/job/help.h"

#include <unistd.h>

static struct sp_buf text_buffer(void) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 20);
  return b;
}

/* The client's own version first: it is there even where the worker is not. */
int sc_verb_version(const struct sc_verb *verb, char *const *args) {
  struct sp_err err;
  char *worker = NULL;
  if (sc_args_want_json(args)) {
    return sc_verb_relay(verb, args);
  }
  struct sp_buf b = text_buffer();
  sp_buf_printf(&b, "stoker %s (worker protocol %d)\n", STOKER_VERSION, SP_EVENT_PROTOCOL);
  int code = sc_print(&b);
  if (code != SP_EXIT_OK) {
    return code;
  }
  sp_status status = sc_worker_find(&worker, &err);
  if (status != SP_OK) {
    sc_print_error(err.text);
    return (int)sp_exit_of_status(status, false);
  }
  sp_free(worker);
  return sc_verb_relay(verb, args);
}

int sc_verb_help(const struct sc_verb *verb, char *const *args) {
  (void)verb;
  struct sp_buf b = text_buffer();
  if (!args[0]) {
    sc_verb_put_overview(&b);
    return sc_print(&b);
  }
  const struct sc_verb *named = sc_verb_find(args[0]);
  if (named) {
    sc_verb_put_help(&b, named);
    return sc_print(&b);
  }
  int columns = (int)sc_terminal_width(STDOUT_FILENO);
  if (sp_help_section(args[0], columns < 40 ? 40 : columns, &b, NULL) == SP_OK) {
    return sc_print(&b);
  }
  sp_buf_free(&b);
  const char *near = sc_verb_suggest(args[0]);
  return sc_usage_error("there is no verb or section \"%s\"%s%s%s; stoker help lists them", args[0],
                        near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "");
}
