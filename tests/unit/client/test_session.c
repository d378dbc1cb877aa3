/* A whole session. The worker is this program itself (STOKER_WORKER), which plays the part that its
 * arguments name; `stoker` is a child in which sc_session_run runs with its output in files. The
 * fake worker sends the signals too, so that nothing depends on time. */
#include "tests/lib/tt.h"

#include "client/session.h"
#include "client/spawn.h"
#include "proto/base/mem.h"
#include "proto/wire/event_io.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct outcome {
  int code;
  char *out;
  char *err;
};

static struct outcome run_session(const char *part, bool graceful) {
  const char *out_path = tt_tmpfile("out");
  const char *err_path = tt_tmpfile("err");
  char *const args[] = {(char *)(uintptr_t)part, NULL};
  struct sc_session_options o = {
      .verb = "fit", .args = args, .graceful = graceful, .data_fd = STDOUT_FILENO};
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    int out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    _exit((int)sc_session_run(&o).exit);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  size_t n;
  struct outcome r = {.code = WEXITSTATUS(status)};
  r.out = tt_read_file(out_path, &n);
  r.err = tt_read_file(err_path, &n);
  return r;
}

static void outcome_free(struct outcome *r) {
  sp_free(r->out);
  sp_free(r->err);
}

static void contains(const char *text, const char *part) {
  if (!strstr(text, part)) {
    assert_string_equal(text, part);
  }
}

static void test_session_result_gives_its_exit_code(void **state) {
  (void)state;
  struct outcome r = run_session("good", true);
  assert_int_equal(r.code, SP_EXIT_OK);
  assert_string_equal(r.out,
                      "data\nfit fake: 1 parameter, 1 lane, 1 thread, ref, 32-true\n"
                      "done: 10 steps in 0:02\ncheckpoint: /ckpt\n");
  assert_string_equal(r.err, "");
  outcome_free(&r);
}

static void test_session_crash_reports_signal_place_and_last_words(void **state) {
  (void)state;
  struct outcome r = run_session("crash", true);
  assert_int_equal(r.code, SP_EXIT_JOB_FAILED);
  contains(r.err, "error: stoker-worker was killed by SIGSEGV (Segmentation fault)");
  contains(r.err, "newest checkpoint: /ckpt\n");
  contains(r.err, "go on at the newest committed step with: stoker fit crash --resume\n");
  contains(r.err, "its last words:\n  something is wrong\n");
  outcome_free(&r);
}

static void test_session_without_a_result_is_a_failure(void **state) {
  (void)state;
  struct outcome r = run_session("silent", true);
  assert_int_equal(r.code, SP_EXIT_FAILED);
  contains(r.err, "exit status 3 and said no result");
  outcome_free(&r);
}

static void test_session_interrupt_asks_the_worker_to_stop(void **state) {
  (void)state;
  struct outcome r = run_session("interrupt", true);
  assert_int_equal(r.code, SP_EXIT_JOB_CANCELED);
  contains(r.err, "stopping at the next step with a checkpoint");
  contains(r.out, "stopped: ");
  outcome_free(&r);
}

static void test_session_third_interrupt_kills_at_once(void **state) {
  (void)state;
  struct outcome r = run_session("stubborn", true);
  assert_int_equal(r.code, SP_EXIT_JOB_CANCELED);
  contains(r.err, "stopped at once");
  contains(r.err, "newest checkpoint: /ckpt");
  outcome_free(&r);
}

static void test_session_interrupt_of_a_listing_ends_it(void **state) {
  (void)state;
  struct outcome r = run_session("stubborn", false);
  assert_int_equal(r.code, SP_EXIT_JOB_CANCELED);
  outcome_free(&r);
}

static void test_session_nonsense_on_the_wire_is_refused(void **state) {
  (void)state;
  struct outcome r = run_session("nonsense", true);
  assert_int_equal(r.code, SP_EXIT_FAILED);
  contains(r.err, "error: frame:");
  outcome_free(&r);
}

static void test_session_of_another_protocol_is_refused(void **state) {
  (void)state;
  struct outcome r = run_session("old", true);
  assert_int_equal(r.code, SP_EXIT_FAILED);
  contains(r.err, "protocol 7");
  outcome_free(&r);
}

static void test_spawn_what_cannot_run_is_an_error(void **state) {
  (void)state;
  char name[] = "x";
  char *const argv[] = {name, NULL};
  struct sc_child child;
  const char *path = tt_tmpfile("not-a-program");
  tt_write_file(path, "no", 2);
  assert_int_equal(chmod(path, 0755), 0);
  struct sp_err err;
  assert_int_not_equal(sc_spawn(path, argv, &child, &err), SP_OK);
  contains(err.text, "cannot start");
}

static void test_worker_find_named_but_missing_is_not_found(void **state) {
  (void)state;
  char *path = NULL;
  struct sp_err err;
  char before[4096];
  snprintf(before, sizeof before, "%s", getenv("STOKER_WORKER"));
  setenv("STOKER_WORKER", "/nowhere/stoker-worker", 1);
  sp_status status = sc_worker_find(&path, &err);
  setenv("STOKER_WORKER", before, 1);
  assert_int_equal(status, SP_ENOENT);
  contains(err.text, "/nowhere/stoker-worker");
}

static void say(const struct sp_event *e) {
  if (sp_event_send(SC_EVENTS_FD, e, NULL) != SP_OK) {
    _exit(99);
  }
}

static void say_started(void) {
  say(&(struct sp_event){.kind = SP_EVENT_RUN_STARTED,
                         .u.run_started = {.verb = "fit",
                                           .model = "fake",
                                           .kernels = "ref",
                                           .precision = "32-true",
                                           .n_params = 1,
                                           .max_epochs = -1,
                                           .total_steps = -1,
                                           .lanes = 1,
                                           .threads = 1,
                                           .plan_peak_bytes = -1}});
  say(&(struct sp_event){.kind = SP_EVENT_CHECKPOINT,
                         .u.checkpoint = {.ok = true, .path = "/ckpt"}});
}

static void say_result(sp_status status, enum sp_exit code) {
  say(&(struct sp_event){
      .kind = SP_EVENT_RESULT,
      .u.result = {
          .status = status, .exit = code, .ckpt_last = "/ckpt", .step = 10, .seconds = 2}});
}

/* Blocks until signal_number comes; it was blocked before anything could send it. */
static void wait_for(int signal_number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number);
  int got;
  sigwait(&set, &got);
}

static int fake_worker(const char *part) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, NULL);
  uint32_t protocol = strcmp(part, "old") == 0 ? 7 : SP_EVENT_PROTOCOL;
  say(&(struct sp_event){.kind = SP_EVENT_HELLO, .u.hello = {.protocol = protocol}});
  if (strcmp(part, "silent") == 0) {
    return 3;
  }
  if (strcmp(part, "nonsense") == 0) {
    (void)!write(SC_EVENTS_FD, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    wait_for(SIGTERM);
  }
  if (strcmp(part, "good") == 0 && sp_event_send_output(SC_EVENTS_FD, "data\n", 5, NULL)) {
    return 99;
  }
  say_started();
  if (strcmp(part, "crash") == 0) {
    (void)!write(STDERR_FILENO, "something is wrong\n", 19);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  if (strcmp(part, "interrupt") == 0 || strcmp(part, "stubborn") == 0) {
    kill(getppid(), SIGINT);
    wait_for(SIGTERM);
    if (strcmp(part, "stubborn") == 0) {
      kill(getppid(), SIGINT);
      wait_for(SIGINT);
      kill(getppid(), SIGINT);
      wait_for(SIGTERM);
    }
    say_result(SP_ECANCELED, SP_EXIT_JOB_CANCELED);
    return 0;
  }
  say_result(SP_OK, SP_EXIT_OK);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "run") == 0) {
    return fake_worker(argv[3]);
  }
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  self[n > 0 ? n : 0] = '\0';
  setenv("STOKER_WORKER", self, 1);
  const struct CMUnitTest tests[] = {
      tt_test(test_session_result_gives_its_exit_code),
      tt_test(test_session_crash_reports_signal_place_and_last_words),
      tt_test(test_session_without_a_result_is_a_failure),
      tt_test(test_session_interrupt_asks_the_worker_to_stop),
      tt_test(test_session_third_interrupt_kills_at_once),
      tt_test(test_session_interrupt_of_a_listing_ends_it),
      tt_test(test_session_nonsense_on_the_wire_is_refused),
      tt_test(test_session_of_another_protocol_is_refused),
      tt_test(test_spawn_what_cannot_run_is_an_error),
      tt_test(test_worker_find_named_but_missing_is_not_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
