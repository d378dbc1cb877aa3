/* `stoker scale` and `stoker stop`: one question to a run's supervisor. */
#include "client/session.h"
#include "client/verb.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "proto/run/run_file.h"
#include "proto/wire/control.h"

#include <string.h>

enum { TIMEOUT_MS = 30 * 1000 };

/* The exit code of a question that was not answered with Done; refusals keep their own. */
static int exit_of(sp_status status, bool asked) {
  if (asked && status == SP_ENOENT) {
    return SP_EXIT_UNREACHABLE;
  }
  if (asked && status == SP_ECANCELED) {
    return SP_EXIT_TIMED_OUT;
  }
  return (int)sp_exit_of_status(status, false);
}

static int print_answer(const struct sp_control *answer) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  if (answer->kind == SP_CONTROL_DONE) {
    sp_buf_printf(&b, "%s\n", answer->u.done.text);
  }
  return sc_print(&b);
}

/* Asks the run that the path means, and prints what it says. */
static int ask(const char *run, const struct sp_control *request) {
  struct sp_err err = {0};
  const struct sp_control *answer;
  char *dir = NULL;
  int code = SP_EXIT_OK;
  sp_event_reader *r = sp_event_reader_new();
  sp_status status = r ? sp_run_find(run, &dir, &err) : sp_fail(&err, SP_ENOMEM, "no memory");
  if (status == SP_OK) {
    status = sp_control_call(dir, request, TIMEOUT_MS, r, &answer, &err);
    if (status == SP_ENOENT) {
      sp_fail(&err, SP_ENOENT,
              "nobody answers for %s: it is not running; `stoker show %s` says how it ended", dir,
              dir);
    }
  }
  if (status == SP_OK) {
    code = print_answer(answer);
  } else {
    sc_print_error(err.text);
    code = exit_of(status, dir != NULL);
  }
  sp_event_reader_free(r);
  sp_free(dir);
  return code;
}

static int bad_argument(const struct sc_verb *verb, const char *arg) {
  return sc_usage_error("stoker %s: \"%s\" is not understood; usage: stoker %s %s", verb->name, arg,
                        verb->name, verb->args);
}

static int missing(const struct sc_verb *verb, const char *what) {
  return sc_usage_error("stoker %s: %s; usage: stoker %s %s", verb->name, what, verb->name,
                        verb->args);
}

/* The text behind --ranks, as the next argument or behind '='; NULL when args is something else. */
static const char *ranks_text(char *const **args) {
  const char *arg = **args;
  if (strcmp(arg, "--ranks") == 0 && (*args)[1]) {
    return *++*args;
  }
  return strncmp(arg, "--ranks=", 8) == 0 ? arg + 8 : NULL;
}

int sc_verb_scale(const struct sc_verb *verb, char *const *args) {
  struct sp_control m = {.kind = SP_CONTROL_SCALE};
  const char *run = NULL;
  for (; *args; args++) {
    const char *text = ranks_text(&args);
    if (text) {
      if (sp_parse_i64(text, &m.u.scale.ranks) != SP_OK || m.u.scale.ranks < 1 ||
          m.u.scale.ranks > SP_SUPERVISE_MAX_RANKS) {
        return sc_usage_error("stoker scale: --ranks %s: a number from 1 to the job's lanes", text);
      }
    } else if (**args == '-' || run) {
      return bad_argument(verb, *args);
    } else {
      run = *args;
    }
  }
  if (!run || m.u.scale.ranks == 0) {
    return missing(verb, run ? "to how many ranks?" : "which run?");
  }
  return ask(run, &m);
}

int sc_verb_stop(const struct sc_verb *verb, char *const *args) {
  struct sp_control m = {.kind = SP_CONTROL_STOP};
  const char *run = NULL;
  for (; *args; args++) {
    if (strcmp(*args, "--now") == 0) {
      m.u.stop.now = true;
    } else if (**args == '-' || run) {
      return bad_argument(verb, *args);
    } else {
      run = *args;
    }
  }
  return run ? ask(run, &m) : missing(verb, "which run?");
}
