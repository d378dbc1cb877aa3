/* `stoker scale`, `stoker stop` and the live part of `stoker show`, asking a supervisor that is a
 * child of this program with the real server. */
#include "tests/lib/tt.h"

#include "client/verb.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/net/control_server.h"
#include "proto/run/run_file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a supervisor that answers by rule */

struct supervisor {
  uv_loop_t loop;
  sp_control_server *server;
};

static void on_request(void *ctx, uint64_t ticket, const struct sp_control *m) {
  struct supervisor *s = ctx;
  char text[100];
  struct sp_control a = {.kind = SP_CONTROL_DONE, .u.done = {text}};
  if (m->kind == SP_CONTROL_STOP) {
    snprintf(text, sizeof text, m->u.stop.now ? "stopping at once" : "stopping at the next step");
  } else if (m->kind == SP_CONTROL_STATUS_REQUEST) {
    a = (struct sp_control){.kind = SP_CONTROL_STATUS,
                            .u.status = {"running", getpid(), 58, 1, 300, 2, 2, 4, 1, 1}};
  } else if (m->u.scale.ranks > 4) {
    a = (struct sp_control){.kind = SP_CONTROL_REFUSED, .u.refused = {SP_ERANGE, "4 lanes"}};
  } else {
    snprintf(text, sizeof text, "%d ranks from the next step", (int)m->u.scale.ranks);
  }
  sp_control_server_answer(s->server, ticket, &a);
}

/* Runs until it is killed, or the test dies; says over `ready` that it listens. */
static void supervise(const char *dir, int ready) {
  struct supervisor s;
  struct sp_control_server_options o = {.ctx = &s, .on_request = on_request};
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && uv_loop_init(&s.loop) == 0 &&
      sp_control_server_open(&s.loop, dir, &o, &s.server, NULL) == SP_OK &&
      write(ready, "x", 1) == 1) {
    uv_run(&s.loop, UV_RUN_DEFAULT);
  }
  _exit(1);
}

static pid_t start_supervisor(const char *dir) {
  int fds[2];
  char byte;
  assert_int_equal(pipe(fds), 0);
  pid_t child = fork();
  if (child == 0) {
    supervise(dir, fds[1]);
  }
  close(fds[1]);
  assert_int_equal(read(fds[0], &byte, 1), 1);
  close(fds[0]);
  return child;
}

static void kill_supervisor(pid_t child) {
  int status;
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &status, 0), child);
}

static const char *make_run(const char *name) {
  const char *dir = tt_tmpfile(name);
  struct sp_run_file f = {.state = SP_RUN_RUNNING,
                          .nonce = "00c0ffee",
                          .pid = INT32_MAX,
                          .model = "mlp",
                          .job_file = "job.yaml",
                          .cwd = "/"};
  assert_int_equal(sp_mkdir_p(dir, 0755, NULL), SP_OK);
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  return dir;
}

/* ---- running a verb */

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Runs the verb; what it prints on standard output and error is in out_text. */
static int run(const char *verb, const char *const *args, char **out_text) {
  const char *path = tt_tmpfile("output");
  size_t n;
  int kept[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  const struct sc_verb *v = sc_verb_find(verb);
  assert_true(file >= 0 && dup2(file, STDOUT_FILENO) >= 0 && dup2(file, STDERR_FILENO) >= 0);
  int code = v->run(v, (char *const *)(uintptr_t)args);
  assert_true(dup2(kept[0], STDOUT_FILENO) >= 0 && dup2(kept[1], STDERR_FILENO) >= 0);
  close(kept[0]);
  close(kept[1]);
  close(file);
  *out_text = tt_read_file(path, &n);
  return code;
}

static void expect(const char *verb, const char *const *args, int want_code, const char *want) {
  char *text;
  int code = run(verb, args, &text);
  if (!strstr(text, want)) {
    fail_msg("stoker %s said \"%s\", not \"%s\"", verb, text, want);
  }
  assert_int_equal(code, want_code);
  sp_free(text);
}

static void test_scale_and_stop_print_the_answer(void **state) {
  (void)state;
  const char *dir = make_run("answers/version_0");
  pid_t child = start_supervisor(dir);
  const char *above = tt_tmpfile("answers");
  expect("scale", ARGS(dir, "--ranks", "3"), SP_EXIT_OK, "3 ranks from the next step\n");
  expect("scale", ARGS("--ranks=2", above), SP_EXIT_OK, "2 ranks from the next step\n");
  expect("scale", ARGS(dir, "--ranks", "5"), SP_EXIT_USAGE, "error: 4 lanes\n");
  expect("stop", ARGS(dir), SP_EXIT_OK, "stopping at the next step\n");
  expect("stop", ARGS("--now", dir), SP_EXIT_OK, "stopping at once\n");
  kill_supervisor(child);
}

static void test_show_asks_the_supervisor(void **state) {
  (void)state;
  const char *dir = make_run("live");
  pid_t child = start_supervisor(dir);
  char want[64];
  snprintf(want, sizeof want, "state       running, supervisor %d\n", (int)child);
  expect("show", ARGS(dir), SP_EXIT_OK, want);
  expect("show", ARGS(dir), SP_EXIT_OK, "step        58 of 300, epoch 1\n");
  kill_supervisor(child);
  expect("show", ARGS(dir), SP_EXIT_OK, "state       interrupted: ");
}

static void test_a_run_that_nobody_supervises_is_unreachable(void **state) {
  (void)state;
  const char *dir = make_run("dead");
  expect("stop", ARGS(dir), SP_EXIT_UNREACHABLE, "it is not running");
  kill_supervisor(start_supervisor(dir)); /* leaves its socket */
  expect("scale", ARGS(dir, "--ranks", "1"), SP_EXIT_UNREACHABLE, "it is not running");
  expect("stop", ARGS(tt_tmpfile("nowhere")), SP_EXIT_NOT_FOUND, "nowhere");
}

static void test_wrong_arguments_are_usage_errors(void **state) {
  (void)state;
  const char *dir = make_run("usage");
  expect("scale", ARGS(dir), SP_EXIT_USAGE, "to how many ranks?");
  expect("scale", ARGS("--ranks", "2"), SP_EXIT_USAGE, "which run?");
  expect("scale", ARGS(dir, "--ranks"), SP_EXIT_USAGE, "\"--ranks\"");
  expect("scale", ARGS(dir, "--ranks", "0"), SP_EXIT_USAGE, "--ranks 0");
  expect("scale", ARGS(dir, "--ranks", "two"), SP_EXIT_USAGE, "--ranks two");
  expect("scale", ARGS(dir, dir, "--ranks", "2"), SP_EXIT_USAGE, "is not understood");
  expect("stop", ARGS(NULL), SP_EXIT_USAGE, "which run?");
  expect("stop", ARGS(dir, "--later"), SP_EXIT_USAGE, "\"--later\"");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_scale_and_stop_print_the_answer),
      tt_test(test_show_asks_the_supervisor),
      tt_test(test_a_run_that_nobody_supervises_is_unreachable),
      tt_test(test_wrong_arguments_are_usage_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
