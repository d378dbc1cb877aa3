/* Where a run begins. See run.h. */
#include "worker/supervise/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/run/run_file.h"
#include "worker/logs.h"
#include "worker/supervise/regions.h"

#define PATIENCE_NS INT64_C(10000000000)

void sw_run_boot_id(char out[SW_BOOT_ID]) {
  char *text = NULL;
  size_t n;
  *out = '\0';
  if (sp_file_read("/proc/sys/kernel/random/boot_id", 4096, &text, &n, NULL) == SP_OK) {
    snprintf(out, SW_BOOT_ID, "%.*s", (int)strcspn(text, "\n"), text);
    sp_free(text);
  }
}

/* The files of the run that somebody died over while he replaced them: run.json, config.yaml, a
 * logger's table. Only the holder of the lock replaces any. */
static void remove_torn(const char *run_dir) {
  DIR *d = opendir(run_dir);
  for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    if (sp_file_is_temporary(e->d_name)) {
      (void)unlinkat(dirfd(d), e->d_name, 0);
    }
  }
  if (d) {
    closedir(d);
  }
}

sp_status sw_run_lock(struct sw_run *run, struct sp_err *err) {
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/lock", run->dir);
  if (run->lock_fd >= 0) {
    return SP_OK;
  }
  int fault = SP_FAULT("run.lock");
  run->lock_fd = fault ? -1 : open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (run->lock_fd < 0) {
    errno = fault ? fault : errno;
    return sp_fail_errno(err, "the lock of the run, %s", path);
  }
  if (flock(run->lock_fd, LOCK_EX | LOCK_NB) != 0) {
    bool taken = errno == EWOULDBLOCK;
    sp_status st = sp_fail_errno(err, "the lock of the run, %s", path);
    close(run->lock_fd);
    run->lock_fd = -1;
    return taken ? sp_fail(err, SP_EEXIST,
                           "the run %s is alive: another supervisor has it (stoker show %s)",
                           run->dir, run->dir)
                 : st;
  }
  remove_torn(run->dir);
  return SP_OK;
}

/* ---- a new run */

/* Whether the run could still go on in this memory. */
static bool is_wanted(const char *run_dir, const char *slots_dir) {
  struct sp_arena arena = {0};
  struct sp_run_file f;
  bool wanted =
      sp_run_file_read(run_dir, &f, &arena, NULL) == SP_OK && strcmp(f.slots_dir, slots_dir) == 0;
  sp_arena_clear(&arena);
  return wanted;
}

static sp_status new_regions(struct sw_run *run, struct sp_err *err) {
  if (getrandom(&run->nonce, sizeof run->nonce, 0) != (ssize_t)sizeof run->nonce) {
    return sp_fail_errno(err, "a name for the run's memory");
  }
  sw_regions_sweep(sw_regions_base(), is_wanted);
  return sw_regions_make(sw_regions_base(), run->nonce, run->slots_dir, err);
}

static sp_status begin_new(struct sw_emit *e, const struct sp_job *job, struct sw_run *run,
                           struct sp_err *err) {
  const char *which = job->root.ckpt_path;
  sp_status st =
      which ? sw_find_whole_ckpt(e, job, which, &run->rejected, run->resumed, err) : SP_OK;
  return st ? st : new_regions(run, err);
}

/* ---- a run that goes on */

/* True where the regions can be taken as they are; says why not. */
static sp_status take_regions(struct sw_emit *e, struct sw_run *run, const struct sp_run_file *f,
                              struct sp_err *err) {
  char boot[SW_BOOT_ID];
  struct stat st;
  sw_run_boot_id(boot);
  if (!*f->slots_dir) {
    return SP_OK; /* it ended in order: a checkpoint has what is to be known */
  }
  if (strcmp(boot, f->boot_id) != 0 || lstat(f->slots_dir, &st) != 0) {
    sw_emit_text(e, SP_TEXT_WARNING, "the memory of the run is gone (%s)\n",
                 strcmp(boot, f->boot_id) != 0 ? "the machine was started again" : f->slots_dir);
    return SP_OK;
  }
  run->nonce = strtoull(f->nonce, NULL, 16);
  snprintf(run->slots_dir, sizeof run->slots_dir, "%s", f->slots_dir);
  run->from_slots = true;
  return sw_regions_fence(f->slots_dir, PATIENCE_NS, err);
}

/* Its newest whole checkpoint, or none. */
static sp_status take_checkpoint(struct sw_emit *e, const struct sp_job *job, struct sw_run *run,
                                 const struct sp_run_file *f, struct sp_err *err) {
  struct sp_err why = {0};
  sp_status st = *f->ckpt_dir
                     ? sw_find_whole_ckpt(e, job, f->ckpt_dir, &run->rejected, run->resumed, &why)
                     : SP_ENOENT;
  if (st) {
    *run->resumed = '\0';
    sw_emit_text(e, SP_TEXT_WARNING, "no checkpoint of %s can be used: from the beginning\n",
                 run->dir);
  }
  return new_regions(run, err);
}

static sp_status go_on(struct sw_emit *e, const struct sp_job *job, struct sw_run *run,
                       struct sp_err *err) {
  struct sp_arena arena = {0};
  struct sp_run_file f;
  sp_status st = sw_run_lock(run, err);
  st = st ? st : sp_run_file_read(run->dir, &f, &arena, err);
  if (!st) {
    run->goes_on = true;
    run->generation = (uint32_t)f.generation;
    run->started = f.started;
    st = take_regions(e, run, &f, err);
  }
  if (!st && !run->from_slots) {
    st = take_checkpoint(e, job, run, &f, err);
  }
  sp_arena_clear(&arena);
  return st;
}

/* The directory that resume means; *out_state: what its run.json says. */
static sp_status find_run(const struct sp_job *job, char out[PATH_MAX], sp_run_state *out_state,
                          struct sp_err *err) {
  const char *which = job->root.resume;
  char place[PATH_MAX], *dir = NULL;
  struct sp_arena arena = {0};
  struct sp_run_file f;
  sw_logs_place(job, place);
  sp_status st = sp_run_find(strcmp(which, "auto") == 0 ? place : which, &dir, err);
  if (!st && !realpath(dir, out)) {
    st = sp_fail_errno(err, "%s", dir);
  }
  st = st ? st : sp_run_file_read(out, &f, &arena, err);
  if (!st) {
    *out_state = f.state;
  }
  sp_arena_clear(&arena);
  sp_free(dir);
  return st;
}

sp_status sw_run_begin(struct sw_emit *e, const struct sp_job *job, struct sw_run *out,
                       struct sp_err *err) {
  sp_run_state state = SP_RUN_RUNNING;
  const char *which = job->root.resume;
  bool is_auto = which && strcmp(which, "auto") == 0;
  *out = (struct sw_run){.lock_fd = -1, .started = sp_wall_now(sp_clock_system())};
  if (!which) {
    return begin_new(e, job, out, err);
  }
  sp_status st = find_run(job, out->dir, &state, err);
  bool over = !st && state == SP_RUN_FINISHED;
  if (is_auto && (st == SP_ENOENT || over)) {
    sw_emit_text(e, SP_TEXT_INFO, "no interrupted run of this job: a new one begins\n");
    *out->dir = '\0';
    *err = (struct sp_err){0};
    return begin_new(e, job, out, err);
  }
  if (over) {
    st = sp_fail(err, SP_EEXIST,
                 "the run %s is finished; to train on, raise the limits and use --ckpt_path %s",
                 out->dir, out->dir);
  }
  return st ? st : go_on(e, job, out, err);
}
