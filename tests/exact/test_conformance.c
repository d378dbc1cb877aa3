/* The conformance list: every job of tests/exact/jobs has one result, however it is computed.
 *
 * Modes: `ref` on one thread (the definition, compared with tests/golden/hashes.txt), each
 * instruction set on two and three threads, each pass of the planner off by itself and all off,
 * activations made again, cut in the middle and resumed elsewhere. What must agree is the hash of
 * the whole state and every row for the loggers. STOKER_UPDATE=1 writes hashes.txt anew: after a
 * change of docs/numerics.md, never to make this test pass.
 */
#include "tests/exact/job.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

enum { MAX_JOBS = 32, NAME = 64 };

/* What a run ends with. */
struct result {
  char state[XJ_HEX], tensors[XJ_HEX];
  char *rows;
  int n_phases;
};

static char jobs[MAX_JOBS][NAME];
static int n_jobs;
static struct result wanted[MAX_JOBS]; /* of `ref` on one thread */

static const char *file_of(int job) {
  char path[128];
  snprintf(path, sizeof path, "tests/exact/jobs/%s.yaml", jobs[job]);
  return tt_source(path);
}

static struct result result_of(struct xj *j) {
  struct result r = {0};
  do {
    r.n_phases++;
  } while (xj_advance(j));
  xj_hash(j, r.state);
  xj_hash_tensors(j, r.tensors);
  r.rows = xj_rows(j);
  return r;
}

static struct result run(int job, const char *options) {
  struct xj *j = xj_open(file_of(job), options);
  struct result r = result_of(j);
  xj_close(j);
  return r;
}

/* Compares and frees what was got. */
static void check_same(int job, const char *options, struct result *got) {
  const struct result *want = &wanted[job];
  if (strcmp(got->rows, want->rows) != 0) {
    fail_msg("%s %s: other rows:\n%s\nnot\n%s", jobs[job], options, got->rows, want->rows);
  }
  if (strcmp(got->state, want->state) != 0) {
    fail_msg("%s %s: another state (%s, not %s)", jobs[job], options, got->state, want->state);
  }
  sp_free(got->rows);
}

static void check_all(const char *options) {
  for (int job = 0; job < n_jobs; job++) {
    struct result r = run(job, options);
    check_same(job, options, &r);
  }
}

static int by_name(const void *a, const void *b) {
  return strcmp(a, b);
}

static int find_jobs(void **state) {
  (void)state;
  DIR *d = opendir(tt_source("tests/exact/jobs"));
  if (!d) {
    return -1;
  }
  for (struct dirent *e = readdir(d); e; e = readdir(d)) {
    size_t n = strlen(e->d_name);
    if (n > 5 && n < NAME && strcmp(e->d_name + n - 5, ".yaml") == 0 && n_jobs < MAX_JOBS) {
      snprintf(jobs[n_jobs++], NAME, "%.*s", (int)(n - 5), e->d_name);
    }
  }
  closedir(d);
  qsort(jobs, (size_t)n_jobs, sizeof jobs[0], by_name);
  for (int job = 0; job < n_jobs; job++) {
    wanted[job] = run(job, "--trainer.kernels ref --trainer.threads 1");
  }
  return n_jobs > 0 ? 0 : -1;
}

static int free_rows(void **state) {
  (void)state;
  for (int job = 0; job < n_jobs; job++) {
    sp_free(wanted[job].rows);
  }
  return 0;
}

static void test_ref_one_thread_has_the_golden_hashes(void **state) {
  char text[MAX_JOBS * (NAME + XJ_HEX + 2)] = "";
  const char *path = tt_source("tests/golden/hashes.txt");
  size_t at = 0;
  (void)state;
  for (int job = 0; job < n_jobs; job++) {
    at += (size_t)snprintf(text + at, sizeof text - at, "%s %s\n", wanted[job].tensors, jobs[job]);
  }
  if (getenv("STOKER_UPDATE")) {
    tt_write_file(path, text, at);
  }
  char *golden = tt_read_file(path, NULL);
  assert_string_equal(text, golden);
  sp_free(golden);
}

static void test_two_threads_best_kernels_equal_ref(void **state) {
  (void)state;
  check_all("--trainer.threads 2");
}

static void check_kernels(const char *isa, bool can) {
  char options[64];
  if (!can) {
    print_message("skip: this CPU has no %s\n", isa);
    skip();
  }
  snprintf(options, sizeof options, "--trainer.kernels %s --trainer.threads 3", isa);
  check_all(options);
}

static void test_ref_three_threads_equal_one(void **state) {
  (void)state;
  check_kernels("ref", true);
}

static void test_avx2_three_threads_equal_ref(void **state) {
  struct stk_cpu cpu;
  (void)state;
  stk_cpu_detect(&cpu);
  check_kernels("avx2", cpu.avx2);
}

static void test_avx512_three_threads_equal_ref(void **state) {
  struct stk_cpu cpu;
  (void)state;
  stk_cpu_detect(&cpu);
  check_kernels("avx512", cpu.avx512);
}

static void test_each_pass_off_equals_all_on(void **state) {
  (void)state;
  check_all("--trainer.threads 2 --trainer.passes [-fuse]");
  check_all("--trainer.threads 1 --trainer.passes [-in_place]");
}

static void test_all_passes_off_equal_all_on(void **state) {
  (void)state;
  check_all("--trainer.threads 3 --trainer.passes [-fuse,-in_place]");
}

static void test_recompute_equals_keeping_everything(void **state) {
  (void)state;
  check_all("--trainer.threads 2 --trainer.recompute auto");
  check_all("--trainer.threads 1 --trainer.recompute 1");
  check_all("--trainer.threads 3 --trainer.recompute 1 --trainer.passes [-fuse,-in_place]");
}

static void test_cut_and_resumed_elsewhere_equals_whole(void **state) {
  (void)state;
  for (int job = 0; job < n_jobs; job++) {
    char checkpoint[PATH_MAX];
    struct xj *first = xj_open(file_of(job), "--trainer.threads 2");
    for (int i = 0; i < wanted[job].n_phases / 2; i++) {
      assert_true(xj_advance(first));
    }
    xj_save(first, checkpoint);
    struct xj *rest =
        xj_resume(file_of(job), "--trainer.threads 1 --trainer.passes [-fuse]", checkpoint);
    sp_buf_puts(&rest->before, first->rows.data ? first->rows.data : "");
    struct result r = result_of(rest);
    check_same(job, "cut", &r);
    xj_close(rest);
    xj_close(first);
  }
}

/* In 64-true, which `ref` alone does: threads and passes, for two of the jobs. */
static void test_double_precision_has_one_result_too(void **state) {
  (void)state;
  for (int job = 0; job < n_jobs; job++) {
    if (strcmp(jobs[job], "mlp") == 0 || strcmp(jobs[job], "cnn") == 0) {
      struct result a = run(job, "--trainer.precision 64-true --trainer.threads 1");
      struct result b =
          run(job, "--trainer.precision 64-true --trainer.threads 3 --trainer.passes [-fuse]");
      assert_string_equal(a.rows, b.rows);
      assert_string_equal(a.state, b.state);
      assert_string_not_equal(a.state, wanted[job].state);
      sp_free(a.rows);
      sp_free(b.rows);
    }
  }
}

/* Seed, lanes and windows are the job's own: another number is another result. */
static void test_another_job_has_another_result(void **state) {
  static const char *const other[] = {"--seed_everything 20", "--trainer.lanes 2",
                                      "--trainer.accumulate_grad_batches 4"};
  (void)state;
  for (int job = 0; job < n_jobs; job++) {
    struct result r = run(job, other[job % 3]);
    assert_string_not_equal(r.tensors, wanted[job].tensors);
    sp_free(r.rows);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_ref_one_thread_has_the_golden_hashes),
      tt_test(test_two_threads_best_kernels_equal_ref),
      tt_test(test_ref_three_threads_equal_one),
      tt_test(test_avx2_three_threads_equal_ref),
      tt_test(test_avx512_three_threads_equal_ref),
      tt_test(test_each_pass_off_equals_all_on),
      tt_test(test_all_passes_off_equal_all_on),
      tt_test(test_recompute_equals_keeping_everything),
      tt_test(test_cut_and_resumed_elsewhere_equals_whole),
      tt_test(test_double_precision_has_one_result_too),
      tt_test(test_another_job_has_another_result),
  };
  return cmocka_run_group_tests_name("conformance", tests, find_jobs, free_rows);
}
