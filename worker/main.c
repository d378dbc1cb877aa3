/* stoker-worker: runs every verb that needs the engine, in a process of its own.
 *
 *   stoker-worker run VERB ARGS...    events go to descriptor 3 (proto/wire)
 *   stoker-worker faults              the fault points of a test build, one a line
 *   stoker-worker zygote ...          of a supervised run (worker/supervise/zygote.h)
 *
 * Started by the `stoker` command. SIGTERM asks for a stop at the next step edge.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "worker/faults.h"
#include "worker/supervise/zygote.h"
#include "worker/verbs.h"

enum { EVENTS_FD = 3, FAULTS_MAX = 1 << 16 };

static void on_alarm(int n) {
  static const char text[] =
      "the module's setup did not return in time; STOKER_SETUP_SECONDS=600 gives it longer "
      "(60 by default)\n";
  (void)n;
  if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
    _exit(1);
  }
  signal(SIGALRM, SIG_DFL);
  raise(SIGALRM);
}

/* SIGTERM and SIGINT are blocked in every thread: one that came stays pending. */
bool sw_stop_asked(void) {
  sigset_t pending;
  return sigpending(&pending) == 0 &&
         (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

static int print_faults(void) {
  struct sp_err err = {0};
  struct sp_buf b;
  sp_buf_init(&b, FAULTS_MAX);
  sp_status st = sw_faults_list(&b, &err);
  fputs(st ? err.text : sp_buf_text(&b), st ? stderr : stdout);
  fputs(st ? "\n" : "", stderr);
  sp_buf_free(&b);
  return st ? SP_EXIT_USAGE : SP_EXIT_OK;
}

static int dispatch(struct sw_emit *e, const char *verb, int argc, char **argv) {
  if (strcmp(verb, "fit") == 0) {
    return sw_verb_fit(e, argc, argv);
  }
  if (strcmp(verb, "validate") == 0 || strcmp(verb, "test") == 0) {
    return sw_verb_evaluate(e, verb, argc, argv);
  }
  static const struct {
    const char *name;
    int (*run)(struct sw_emit *, int, char **);
  } others[] = {{"check", sw_verb_check},   {"plan", sw_verb_plan},
                {"order", sw_verb_order},   {"init-weights", sw_verb_init_weights},
                {"ckpt", sw_verb_ckpt},     {"predict", sw_verb_predict},
                {"audit", sw_verb_audit},   {"bisect", sw_verb_bisect},
                {"doctor", sw_verb_doctor}, {"version", sw_verb_version}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (strcmp(verb, others[i].name) == 0) {
      return others[i].run(e, argc, argv);
    }
  }
  struct sp_err err = {0};
  struct sp_event_result r = {.exit = SP_EXIT_USAGE};
  sp_fail(&err, SP_EINVAL, "stoker-worker knows no verb '%s'", verb);
  return sw_emit_result(e, &err, false, &r);
}

int main(int argc, char **argv) {
  bool is_zygote = argc > 2 && strcmp(argv[1], "zygote") == 0;
  if (argc == 2 && strcmp(argv[1], "faults") == 0) {
    return print_faults();
  }
  if (argc < 3 || (!is_zygote && strcmp(argv[1], "run") != 0) || fcntl(EVENTS_FD, F_GETFD) < 0) {
    fprintf(stderr, "stoker-worker is started by the stoker command; try `stoker help`\n");
    return SP_EXIT_USAGE;
  }
  struct sigaction alarmed = {.sa_handler = on_alarm};
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  sigprocmask(SIG_BLOCK, &stop, NULL);
  sigaction(SIGALRM, &alarmed, NULL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  fcntl(EVENTS_FD, F_SETFD, FD_CLOEXEC);
  setvbuf(stdout, NULL, _IOLBF, 0); /* what a module prints is seen line by line */
  if (is_zygote) {
    return sw_zygote_main(argc - 2, argv + 2);
  }
  struct sw_emit e = {.fd = EVENTS_FD};
  struct sp_event hello = {.kind = SP_EVENT_HELLO,
                           .u.hello = {SP_EVENT_PROTOCOL, STOKER_VERSION, (int64_t)getpid()}};
  sw_emit_event(&e, &hello);
  struct sp_err err = {0};
  if (sp_fault_check(&err)) {
    struct sp_event_result refused = {.exit = SP_EXIT_USAGE};
    return sw_emit_result(&e, &err, false, &refused);
  }
  return dispatch(&e, argv[2], argc - 3, argv + 3);
}
