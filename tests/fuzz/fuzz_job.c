/* Any bytes as a job file: they load or are refused with a text that names the file, and what loads
 * prints to a file that loads to the same job. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/job/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what, const char *text) {
  fprintf(stderr, "%s:\n%s\n", what, text);
  abort();
}

static struct sp_job *load(const char *text, size_t n, struct sp_err *err) {
  struct sp_job *job = NULL;
  return sp_job_parse("fuzz.yaml", text, n, NULL, 0, &job, err) == SP_OK ? job : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct sp_err err = {0};
  struct sp_job *job = load((const char *)data, size, &err);
  if (!job) {
    if (strncmp(err.text, "fuzz.yaml", strlen("fuzz.yaml")) != 0) {
      die("an error without its place", err.text);
    }
    return 0;
  }
  struct sp_buf first, second;
  sp_buf_init(&first, 1 << 24);
  sp_buf_init(&second, 1 << 24);
  sp_job_print(job, &first);
  sp_job_free(job);
  /* A job that was near the limits may be over them when every option is written out. */
  if (sp_buf_check(&first, "print", NULL) == SP_OK && first.length < 1 << 19) {
    job = load(sp_buf_text(&first), first.length, &err);
    if (!job) {
      fprintf(stderr, "%s\n", err.text);
      die("a printed job does not load", sp_buf_text(&first));
    }
    sp_job_print(job, &second);
    sp_job_free(job);
    if (strcmp(sp_buf_text(&first), sp_buf_text(&second)) != 0) {
      die("a printed job loads to another", sp_buf_text(&first));
    }
  }
  sp_buf_free(&first);
  sp_buf_free(&second);
  return 0;
}
