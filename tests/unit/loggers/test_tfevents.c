/* Event files: naming, resume, and what TensorBoard itself reads from them. */
#include "tests/lib/tt.h"

#include "engine/trainer/loggers/tfevents.h"
#include "proto/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *make_directory(const char *name) {
  const char *path = tt_tmpfile(name);
  assert_int_equal(mkdir(path, 0755), 0);
  return path;
}

static struct stk_tfevents_options options(const char *directory) {
  return (struct stk_tfevents_options){
      .directory = directory, .wall_s = 1700000000.25, .host = "node.1", .pid = 42};
}

static void log_one(struct stk_logger *l, int64_t step, double loss) {
  static const char *const names[] = {"train_loss", "epoch"};
  const double values[] = {loss, 0};
  struct stk_log_values v = {
      .step = step, .wall_s = 1700000001.5, .n = 2, .names = names, .values = values};
  assert_int_equal(stk_logger_log(l, &v, NULL), SP_OK);
}

static char *events_path(const char *directory) {
  static char path[512];
  snprintf(path, sizeof path, "%s/events.out.tfevents.1700000000.node_1.42.0", directory);
  return path;
}

/* Runs read_events.py on the directory; skips the test when Python or tensorboard is not there. */
static void read_events(const char *directory, char *out_text, size_t text_bytes) {
  const char *python = getenv("STOKER_PYTHON");
  const char *script = tt_source("tests/unit/loggers/read_events.py");
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    dup2(fds[1], STDOUT_FILENO);
    close(STDERR_FILENO);
    execlp(python ? python : "python3", "python3", script, directory, (char *)NULL);
    _exit(77);
  }
  close(fds[1]);
  size_t n = 0;
  for (ssize_t part; n < text_bytes - 1; n += (size_t)part) {
    part = read(fds[0], out_text + n, text_bytes - 1 - n);
    if (part <= 0) {
      break;
    }
  }
  out_text[n] = '\0';
  close(fds[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    print_message("skipped: tensorboard is not installed (STOKER_PYTHON)\n");
    skip();
  }
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_create_names_the_file_as_tensorboard_expects(void **state) {
  (void)state;
  const char *directory = make_directory("create");
  struct stk_tfevents_options o = options(directory);
  struct stk_logger *l = NULL;
  assert_int_equal(stk_tfevents_create(&o, &l, NULL), SP_OK);
  assert_int_equal(access(events_path(directory), F_OK), 0);
  stk_logger_free(l);
  assert_int_equal(stk_tfevents_create(&o, &l, NULL), SP_EEXIST);
}

static void test_resume_after_rewind_gives_the_bytes_of_an_unbroken_run(void **state) {
  (void)state;
  size_t n_whole = 0;
  size_t n_cut = 0;
  const char *whole = make_directory("whole");
  const char *cut = make_directory("cut");
  struct stk_tfevents_options o = options(whole);
  struct stk_logger *l = NULL;
  assert_int_equal(stk_tfevents_create(&o, &l, NULL), SP_OK);
  log_one(l, 1, 3);
  log_one(l, 2, 2);
  stk_logger_free(l);

  o = options(cut);
  assert_int_equal(stk_tfevents_create(&o, &l, NULL), SP_OK);
  log_one(l, 1, 3);
  int64_t committed = stk_logger_position(l);
  log_one(l, 2, 99);
  stk_logger_free(l);
  o.wall_s += 100;
  assert_int_equal(stk_tfevents_resume(&o, &l, NULL), SP_OK);
  assert_int_equal(stk_logger_rewind(l, committed, NULL), SP_OK);
  log_one(l, 2, 2);
  assert_int_equal(stk_logger_finalize(l, STK_LOG_SUCCESS, NULL), SP_OK);
  stk_logger_free(l);

  char *a = tt_read_file(events_path(whole), &n_whole);
  char *b = tt_read_file(events_path(cut), &n_cut);
  assert_int_equal(n_whole, n_cut);
  assert_memory_equal(a, b, n_whole);
  sp_free(a);
  sp_free(b);
}

static void test_resume_nothing_there_starts_a_file(void **state) {
  (void)state;
  const char *directory = make_directory("none");
  struct stk_tfevents_options o = options(directory);
  struct stk_logger *l = NULL;
  assert_int_equal(stk_tfevents_resume(&o, &l, NULL), SP_OK);
  assert_true(stk_logger_position(l) > 0);
  stk_logger_free(l);
}

static void test_rewind_beyond_the_file_is_a_mismatch(void **state) {
  (void)state;
  const char *directory = make_directory("beyond");
  struct stk_tfevents_options o = options(directory);
  struct stk_logger *l = NULL;
  assert_int_equal(stk_tfevents_create(&o, &l, NULL), SP_OK);
  assert_int_equal(stk_logger_rewind(l, 1 << 20, NULL), SP_EMISMATCH);
  stk_logger_free(l);
}

static void test_tensorboard_reads_the_scalars(void **state) {
  (void)state;
  const char *directory = make_directory("tensorboard");
  struct stk_tfevents_options o = options(directory);
  struct stk_logger *l = NULL;
  assert_int_equal(stk_tfevents_create(&o, &l, NULL), SP_OK);
  const struct stk_hparam_text hparams[] = {{"lr", "0.001"}, {"hidden", "64"}};
  assert_int_equal(stk_logger_log_hparams(l, hparams, 2, 1700000000.5, NULL), SP_OK);
  log_one(l, 49, 0.5);
  log_one(l, 99, 0.25);
  stk_logger_free(l);
  char text[1024];
  read_events(directory, text, sizeof text);
  assert_string_equal(text,
                      "epoch 49 0 1700000001.500\n"
                      "epoch 99 0 1700000001.500\n"
                      "train_loss 49 0.5 1700000001.500\n"
                      "train_loss 99 0.25 1700000001.500\n"
                      "hparams _hparams_/experiment\n"
                      "hparams _hparams_/session_start_info\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_create_names_the_file_as_tensorboard_expects),
      tt_test(test_resume_after_rewind_gives_the_bytes_of_an_unbroken_run),
      tt_test(test_resume_nothing_there_starts_a_file),
      tt_test(test_rewind_beyond_the_file_is_a_mismatch),
      cmocka_unit_test(test_tensorboard_reads_the_scalars),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
