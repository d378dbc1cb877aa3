/* `stoker events` and `stoker show` on run directories made here; what they print goes to files. */
#include "tests/lib/tt.h"

#include "client/verb.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/run/run_file.h"
#include "proto/wire/event.h"
#include "worker/supervise/chronicle.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(void *ctx, const char *text) {
  (void)ctx;
  fail_msg("%s", text);
}

static void open_chronicle(struct sw_chronicle *c, const char *dir) {
  sw_chronicle_open(c, dir, sp_clock_system(), tell, NULL);
}

static void append(struct sw_chronicle *c, sp_chronicle_kind kind, int64_t step) {
  struct sp_chronicle_entry e = sp_chronicle_entry(kind);
  e.step = step;
  e.generation = 1;
  sw_chronicle_append(c, &e);
}

/* A run directory with a run.json, whose supervisor is this process or one that is not there. */
static const char *make_run(const char *name, sp_run_state state, int64_t pid) {
  const char *dir = tt_tmpfile(name);
  char *boot;
  size_t n;
  assert_int_equal(sp_mkdir_p(dir, 0755, NULL), SP_OK);
  assert_int_equal(sp_file_read("/proc/sys/kernel/random/boot_id", 100, &boot, &n, NULL), SP_OK);
  boot[strcspn(boot, "\n")] = '\0';
  struct sp_run_file f = {.state = state,
                          .nonce = "00c0ffee",
                          .boot_id = boot,
                          .slots_dir = "/nowhere/slots",
                          .pid = pid,
                          .started = {1},
                          .model = "mlp",
                          .job_file = "job.yaml",
                          .cwd = "/"};
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  sp_free(boot);
  return dir;
}

/* Runs the verb with standard output, or error, in a file; its contents in *out_text. */
static int run_into(int fd, const char *verb, char *const *args, char **out_text) {
  const char *path = tt_tmpfile("output");
  size_t n;
  int kept = dup(fd);
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(kept >= 0 && file >= 0 && dup2(file, fd) == fd);
  const struct sc_verb *v = sc_verb_find(verb);
  int code = v->run(v, args);
  assert_int_equal(dup2(kept, fd), fd);
  close(kept);
  close(file);
  *out_text = tt_read_file(path, &n);
  return code;
}

static int run(const char *verb, char *const *args, char **out_text) {
  return run_into(STDOUT_FILENO, verb, args, out_text);
}

#define ARGS(...) ((char *const[]){__VA_ARGS__, NULL})

static char *writable(const char *s) {
  return (char *)(uintptr_t)s;
}

static int n_lines(const char *text) {
  int n = 0;
  for (; *text; text++) {
    n += *text == '\n';
  }
  return n;
}

static void test_events_lists_all_entries_of_the_newest_run(void **state) {
  (void)state;
  struct sw_chronicle c;
  char *text;
  open_chronicle(&c, make_run("list/version_0", SP_RUN_FINISHED, 1));
  append(&c, SP_CHRONICLE_START, 0);
  append(&c, SP_CHRONICLE_END, 7);
  sw_chronicle_close(&c);
  assert_int_equal(run("events", ARGS(writable(tt_tmpfile("list"))), &text), SP_EXIT_OK);
  assert_int_equal(n_lines(text), 2);
  assert_non_null(strstr(text, "  end         step 7\n"));
  sp_free(text);
  assert_int_equal(
      run("events", ARGS(writable("-o"), writable("json"), writable(tt_tmpfile("list"))), &text),
      SP_EXIT_OK);
  size_t n;
  char *file = tt_read_file(tt_tmpfile("list/version_0/chronicle.jsonl"), &n);
  assert_string_equal(text, file);
  sp_free(file);
  sp_free(text);
}

static void test_events_goes_on_behind_a_damaged_line(void **state) {
  (void)state;
  struct sw_chronicle c;
  char *text;
  const char *dir = make_run("damaged", SP_RUN_RUNNING, 1);
  open_chronicle(&c, dir);
  append(&c, SP_CHRONICLE_START, 0);
  assert_int_equal(write(c.fd, "junk\n", 5), 5);
  append(&c, SP_CHRONICLE_STOP, 5);
  sw_chronicle_close(&c);
  assert_int_equal(run("events", ARGS(writable(dir)), &text), SP_EXIT_OK);
  assert_int_equal(n_lines(text), 2);
  sp_free(text);
  assert_int_equal(run_into(STDERR_FILENO, "events", ARGS(writable(dir)), &text), SP_EXIT_OK);
  assert_non_null(strstr(text, "chronicle.jsonl:2: "));
  sp_free(text);
}

/* Waits until the file holds a whole line. */
static void await_line(const char *path) {
  for (bool there = false; !there;) {
    char *text = NULL;
    size_t n = 0;
    there = sp_file_read(path, 1 << 20, &text, &n, NULL) == SP_OK && n_lines(text) > 0;
    sp_free(text);
    usleep(1000);
  }
}

/* `stoker events -f` in a process of its own, what it prints in a file. */
static pid_t follow(const char *dir, const char *path) {
  pid_t child = fork();
  if (child == 0) {
    const struct sc_verb *v = sc_verb_find("events");
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    bool ok = file >= 0 && dup2(file, STDOUT_FILENO) == STDOUT_FILENO &&
              dup2(null, STDERR_FILENO) == STDERR_FILENO;
    _exit(ok ? v->run(v, ARGS(writable(dir), writable("-f"))) : 99);
  }
  assert_true(child > 0);
  return child;
}

/* A supervisor dies and leaves these bytes behind its first entry; the next one cuts them off and
 * goes on, while somebody follows. */
static void follow_over(const char *name, const char *left_behind) {
  struct sw_chronicle c;
  int status = -1;
  size_t n;
  const char *dir = make_run(name, SP_RUN_RUNNING, getpid());
  const char *path = tt_tmpfile("followed");
  open_chronicle(&c, dir);
  append(&c, SP_CHRONICLE_START, 0);
  assert_int_equal(write(c.fd, left_behind, strlen(left_behind)), strlen(left_behind));
  sw_chronicle_close(&c);
  pid_t child = follow(dir, path);
  await_line(path);
  open_chronicle(&c, dir);
  append(&c, SP_CHRONICLE_START, 3);
  append(&c, SP_CHRONICLE_END, 9);
  sw_chronicle_close(&c);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == SP_EXIT_OK);
  char *text = tt_read_file(path, &n);
  assert_int_equal(n_lines(text), 3);
  assert_non_null(strstr(text, "step 0\n"));
  assert_non_null(strstr(text, "step 3\n"));
  assert_non_null(strstr(text, "step 9\n"));
  sp_free(text);
}

static void test_events_follow_ends_with_the_run(void **state) {
  (void)state;
  follow_over("follow", "");
}

static void test_events_follow_survives_a_torn_line(void **state) {
  (void)state;
  follow_over("follow_torn", "zzzzzzzzz");
}

static void test_events_follow_survives_lines_that_are_cut_off(void **state) {
  (void)state;
  char junk[2048];
  memset(junk, 'z', sizeof junk);
  junk[sizeof junk - 2] = '\n';
  junk[sizeof junk - 1] = '\0';
  follow_over("follow_cut", junk);
}

static void test_show_tells_the_living_from_the_dead(void **state) {
  (void)state;
  char *text;
  const char *alive = make_run("alive", SP_RUN_RUNNING, getpid());
  const char *dead = make_run("dead", SP_RUN_RUNNING, INT32_MAX);
  const char *over = make_run("over", SP_RUN_STOPPED, getpid());
  assert_int_equal(run("show", ARGS(writable(alive)), &text), SP_EXIT_OK);
  assert_non_null(strstr(text, "state       running, supervisor "));
  sp_free(text);
  assert_int_equal(run("show", ARGS(writable(dead)), &text), SP_EXIT_OK);
  assert_non_null(strstr(text, "state       interrupted: "));
  assert_non_null(strstr(text, "/nowhere/slots (gone)"));
  sp_free(text);
  assert_int_equal(run("show", ARGS(writable(over), writable("-ojson")), &text), SP_EXIT_OK);
  assert_non_null(strstr(text, "\"state\":\"stopped\""));
  sp_free(text);
}

static void test_wrong_arguments_and_missing_runs_have_their_exit_codes(void **state) {
  (void)state;
  char *text;
  const char *dir = make_run("codes", SP_RUN_FINISHED, 1);
  int err = STDERR_FILENO;
  assert_int_equal(run_into(err, "show", ARGS(NULL), &text), SP_EXIT_USAGE);
  assert_non_null(strstr(text, "which run?"));
  sp_free(text);
  assert_int_equal(run_into(err, "show", ARGS(writable(dir), writable("-f")), &text),
                   SP_EXIT_USAGE);
  assert_non_null(strstr(text, "\"-f\""));
  sp_free(text);
  assert_int_equal(run_into(err, "events", ARGS(writable(dir), writable(dir)), &text),
                   SP_EXIT_USAGE);
  sp_free(text);
  assert_int_equal(run_into(err, "show", ARGS(writable(tt_tmpfile("nowhere"))), &text),
                   SP_EXIT_NOT_FOUND);
  sp_free(text);
  /* A run without a chronicle has no events to list, and a page all the same. */
  assert_int_equal(run_into(err, "events", ARGS(writable(dir)), &text), SP_EXIT_NOT_FOUND);
  sp_free(text);
  assert_int_equal(run("show", ARGS(writable(dir)), &text), SP_EXIT_OK);
  sp_free(text);
  tt_write_file(tt_tmpfile("codes/run.json"), "{}\n", 3);
  assert_int_equal(run_into(err, "show", ARGS(writable(dir)), &text), SP_EXIT_FAILED);
  assert_non_null(strstr(text, "run.json"));
  sp_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_events_lists_all_entries_of_the_newest_run),
      tt_test(test_events_goes_on_behind_a_damaged_line),
      tt_test(test_events_follow_ends_with_the_run),
      tt_test(test_events_follow_survives_a_torn_line),
      tt_test(test_events_follow_survives_lines_that_are_cut_off),
      tt_test(test_show_tells_the_living_from_the_dead),
      tt_test(test_wrong_arguments_and_missing_runs_have_their_exit_codes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
