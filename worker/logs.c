/* Log directories and loggers of a run. See logs.h. */
#include "worker/logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/trainer/loggers/csv.h"
#include "engine/trainer/loggers/rundir.h"
#include "engine/trainer/loggers/tfevents.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "engine/checkpoint/load.h"

static double wall_s(void) {
  return (double)sp_wall_now(sp_clock_system()).ns / (double)SP_NS_PER_S;
}

static bool same_text(const char *a, const char *b) {
  return a == b || (a && b && strcmp(a, b) == 0);
}

sp_status sw_logs_check(const struct sp_job *job, struct sp_err *err) {
  static const char *const names[STK_CONTROL_LOGGERS] = {"tensorboard", "csv"};
  bool seen[STK_CONTROL_LOGGERS] = {false};
  const struct sp_logger_opts *first = job->loggers.items;
  for (size_t i = 0; i < job->loggers.n; i++) {
    const struct sp_logger_opts *o = &job->loggers.items[i];
    if (seen[o->kind]) {
      return sp_fail(err, SP_EINVAL, "trainer.logger: two %s loggers would write the same file",
                     names[o->kind]);
    }
    seen[o->kind] = true;
    if (!same_text(o->save_dir, first->save_dir) || !same_text(o->name, first->name) ||
        !same_text(o->version, first->version)) {
      return sp_fail(err, SP_EUNSUPPORTED,
                     "trainer.logger: a run has one log directory: save_dir, name and version of "
                     "the loggers must agree");
    }
  }
  return SP_OK;
}

/* ---- the directory */

static bool is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Cuts the last component off an absolute path; false at the root. */
static bool cut_last(char *path) {
  char *slash = strrchr(path, '/');
  if (!slash || slash == path) {
    return false;
  }
  *slash = '\0';
  return true;
}

bool sw_run_dir_of(const char *ckpt, char out[PATH_MAX]) {
  char real[PATH_MAX];
  if (!realpath(ckpt, real) || !cut_last(real)) {
    return false;
  }
  const char *base = strrchr(real, '/');
  if (base && strcmp(base, "/checkpoints") == 0 && cut_last(real)) {
    memcpy(out, real, strlen(real) + 1);
    return true;
  }
  struct stk_ckpt ck = {0};
  struct sp_err ignored = {0};
  bool found =
      stk_ckpt_open(ckpt, &ck, &ignored) == SP_OK && realpath(ck.manifest.job, out) && is_dir(out);
  stk_ckpt_close(&ck);
  return found;
}

/* "version_N" for a number, else the text itself; NULL for none. */
static const char *version_name(const char *version, char text[64]) {
  if (!version || strspn(version, "0123456789") != strlen(version)) {
    return version;
  }
  snprintf(text, 64, "version_%.40s", version);
  return text;
}

/* Whether `dir`, absolute, is one that the job's logger could have made. */
static bool is_of_job(const char *dir, const char *save_dir, const char *name,
                      const char *version) {
  char parent[PATH_MAX], wanted[PATH_MAX], joined[PATH_MAX];
  snprintf(parent, sizeof parent, "%s", dir);
  snprintf(joined, sizeof joined, "%.2000s/%.2000s", save_dir, name);
  const char *base = strrchr(dir, '/');
  return base && cut_last(parent) && realpath(joined, wanted) && strcmp(parent, wanted) == 0 &&
         (!version || strcmp(base + 1, version) == 0);
}

/* Where the job's loggers write: save_dir/name/version. */
struct place {
  const char *save_dir, *name, *version;
  char text[64];
};

static void find_place(const struct sp_job *job, struct place *p) {
  const struct sp_logger_opts *first = job->loggers.n ? &job->loggers.items[0] : NULL;
  const char *root = job->trainer.default_root_dir ? job->trainer.default_root_dir : ".";
  p->save_dir = first && first->save_dir ? first->save_dir : root;
  p->name = first && first->name ? first->name : "stoker_logs";
  p->version = version_name(first ? first->version : NULL, p->text);
}

void sw_logs_place(const struct sp_job *job, char out[PATH_MAX]) {
  struct place p;
  find_place(job, &p);
  snprintf(out, PATH_MAX, "%.2000s/%.2000s", p.save_dir, p.name);
}

bool sw_logs_goes_on(const struct sp_job *job, const char *resumed, char out_dir[PATH_MAX]) {
  struct place p;
  find_place(job, &p);
  return *resumed && sw_run_dir_of(resumed, out_dir) &&
         is_of_job(out_dir, p.save_dir, p.name, p.version);
}

static sp_status open_dir(const struct sw_logs_spec *spec, struct sw_logs *l, struct sp_err *err) {
  struct place p;
  char old[PATH_MAX];
  find_place(spec->job, &p);
  if (*spec->run_dir) {
    l->goes_on = true;
    l->dir = sp_strdup(spec->run_dir);
    return l->dir ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory for a path");
  }
  if (sw_logs_goes_on(spec->job, spec->resumed, old)) {
    p.version = strrchr(old, '/') + 1;
    l->goes_on = true;
  }
  return stk_rundir_create(p.save_dir, p.name, p.version, &l->dir, err);
}

/* ---- the loggers */

/* The file goes on where the resumed step left it. Rows that are missing (a power failure took
 * them) are told; the file then goes on at its end. */
static void rewind_to(struct sw_logs *l, struct stk_logger *logger, int64_t position) {
  struct sp_err err = {0};
  if (stk_logger_rewind(logger, position, &err)) {
    sw_emit_text(l->e, SP_TEXT_WARNING, "the log goes on at its end: %s\n", err.text);
  }
}

static sp_status open_csv(struct sw_logs *l, int64_t position, struct sp_err *err) {
  sp_status st = stk_csv_open(l->dir, &l->of[SP_LOGGER_CSV], err);
  if (!st && l->goes_on) {
    rewind_to(l, l->of[SP_LOGGER_CSV], position);
  }
  return st;
}

/* *out_new: the file is a new one, without hyper-parameters. */
static sp_status open_events(struct sw_logs *l, int64_t position, bool *out_new,
                             struct sp_err *err) {
  char host[128] = "localhost";
  (void)gethostname(host, sizeof host - 1);
  struct stk_tfevents_options o = {l->dir, wall_s(), host, (int64_t)getpid()};
  struct stk_logger **logger = &l->of[SP_LOGGER_TENSORBOARD];
  *out_new = !l->goes_on || position == 0;
  if (*out_new) {
    return stk_tfevents_create(&o, logger, err);
  }
  sp_status st = stk_tfevents_resume(&o, logger, err);
  if (!st) {
    rewind_to(l, *logger, position);
  }
  return st;
}

static sp_status write_configs(const struct sw_logs_spec *spec, struct sw_logs *l, bool new_events,
                               struct sp_err *err) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 20);
  sp_job_print(spec->job, &b);
  sp_status st = stk_rundir_write(l->dir, "config.yaml", b.data ? b.data : "", b.length, err);
  sp_buf_free(&b);
  st = st ? st : stk_rundir_write_hparams(l->dir, spec->hparams, spec->n_hparams, err);
  if (!st && new_events) {
    st = stk_logger_log_hparams(l->of[SP_LOGGER_TENSORBOARD], spec->hparams, spec->n_hparams,
                                wall_s(), err);
  }
  return st;
}

sp_status sw_logs_open(const struct sw_logs_spec *spec, struct sw_emit *e, struct sw_logs *out,
                       struct sp_err *err) {
  bool new_events = false;
  const struct sp_job *job = spec->job;
  *out = (struct sw_logs){.e = e};
  sp_status st = open_dir(spec, out, err);
  if (st || job->trainer.fast_dev_run > 0) {
    return st;
  }
  for (size_t i = 0; i < job->loggers.n && !st; i++) {
    int kind = job->loggers.items[i].kind;
    st = kind == SP_LOGGER_CSV ? open_csv(out, spec->position[kind], err)
                               : open_events(out, spec->position[kind], &new_events, err);
  }
  return st ? st : write_configs(spec, out, new_events, err);
}

void sw_logs_put(struct sw_logs *l, int64_t step, int32_t n, const char *const *names,
                 const double *values) {
  struct stk_log_values v = {
      .step = step, .wall_s = wall_s(), .n = (size_t)n, .names = names, .values = values};
  for (int i = 0; i < STK_CONTROL_LOGGERS; i++) {
    struct sp_err err = {0};
    if (l->of[i] && stk_logger_log(l->of[i], &v, &err) && !l->warned) {
      l->warned = true; /* a full disk does not end a training; once is enough to say so */
      sw_emit_text(l->e, SP_TEXT_WARNING, "logging failed, training goes on: %s\n", err.text);
    }
  }
}

void sw_logs_positions(const struct sw_logs *l, int64_t out[STK_CONTROL_LOGGERS]) {
  for (int i = 0; i < STK_CONTROL_LOGGERS; i++) {
    out[i] = l->of[i] ? stk_logger_position(l->of[i]) : 0;
  }
}

void sw_logs_close(struct sw_logs *l, stk_log_end end) {
  for (int i = 0; i < STK_CONTROL_LOGGERS; i++) {
    struct sp_err err = {0};
    if (l->of[i] && stk_logger_finalize(l->of[i], end, &err)) {
      sw_emit_text(l->e, SP_TEXT_WARNING, "%s\n", err.text);
    }
    stk_logger_free(l->of[i]);
    l->of[i] = NULL;
  }
  sp_free(l->dir);
  l->dir = NULL;
}
