/* Checkpoint names as links to published directories. See publish.h. */
#include "worker/publish.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "worker/ckpt.h"

void sw_publish_init(struct sw_publish *p, struct sw_setup *s, struct sw_emit *e, const char *run,
                     const char *dir, const char *resumed) {
  char real[PATH_MAX], parent[PATH_MAX];
  *p = (struct sw_publish){.s = s, .e = e, .run = run, .saved_step = -1};
  snprintf(p->dir, sizeof p->dir, "%s", dir);
  char *slash = *resumed && realpath(resumed, real) ? strrchr(real, '/') : NULL;
  if (slash) {
    *slash = '\0';
    if (realpath(dir, parent) && strcmp(parent, real) == 0) {
      snprintf(p->resumed, sizeof p->resumed, "%.63s", slash + 1);
    }
  }
}

bool sw_publish_goes_on(const struct sw_publish *p) {
  return p->resumed[0] != '\0';
}

static void tell(struct sw_publish *p, const char *name, const struct stk_ckpt_saved *saved,
                 double seconds, const struct sp_err *err) {
  const struct stk_control *now = stk_session_state(p->s->session)->now;
  char path[PATH_MAX + 200];
  snprintf(path, sizeof path, "%s/%s", p->dir, name);
  struct sp_event ev = {.kind = SP_EVENT_CHECKPOINT,
                        .u.checkpoint = {.ok = err->status == SP_OK,
                                         .path = path,
                                         .error = err->text,
                                         .epoch = now->epoch,
                                         .step = now->global_step,
                                         .n_bytes = (int64_t)saved->bytes,
                                         .seconds = seconds}};
  sw_emit_event(p->e, &ev);
}

/* What a name points to; "" when it is no link. */
static void read_name(const struct sw_publish *p, const char *name, char out_target[256]) {
  char path[PATH_MAX + 300];
  snprintf(path, sizeof path, "%s/%s", p->dir, name);
  ssize_t n = readlink(path, out_target, 255);
  out_target[n > 0 ? n : 0] = '\0';
}

static bool has_name(const struct sw_publish *p, const char *target) {
  DIR *d = opendir(p->dir);
  bool found = false;
  for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d)) {
    char to[256];
    read_name(p, e->d_name, to);
    found = strcmp(to, target) == 0;
  }
  if (d) {
    closedir(d);
  }
  return found;
}

/* Removes a published directory that has lost its last name. */
static void drop_unnamed(struct sw_publish *p, const char *target) {
  struct sp_err err = {0};
  if (!*target || strchr(target, '/') || strcmp(target, p->resumed) == 0 || has_name(p, target)) {
    return;
  }
  if (stk_ckpt_remove(p->dir, target, p->saved_name[0] ? p->saved_name : NULL, &err)) {
    sw_emit_text(p->e, SP_TEXT_WARNING, "an old checkpoint stays: %s\n", err.text);
  }
}

void sw_publish_remove(struct sw_publish *p, const char *name) {
  char target[256];
  struct sp_err err = {0};
  read_name(p, name, target);
  if (*target && stk_ckpt_unlink(p->dir, name, &err) == SP_OK) {
    drop_unnamed(p, target);
  } else if (err.status) {
    sw_emit_text(p->e, SP_TEXT_WARNING, "an old checkpoint stays: %s\n", err.text);
  }
}

static sp_status save_step(struct sw_publish *p, struct sp_err *err) {
  int64_t step = stk_session_state(p->s->session)->now->global_step;
  const struct sp_clock *clock = sp_clock_system();
  struct sp_mono since = sp_mono_now(clock);
  struct stk_ckpt_saved saved = {0};
  if (p->saved_step == step) {
    return SP_OK;
  }
  sp_status st = sw_ckpt_save(p->s, p->dir, p->run, &saved, err);
  struct sp_err told = {.status = st};
  if (st) {
    told = *err;
  }
  int64_t took_ns = sp_mono_between(since, sp_mono_now(clock));
  tell(p, st ? "step" : saved.name, &saved, (double)took_ns / (double)SP_NS_PER_S, &told);
  if (!st) {
    p->saved_step = step;
    snprintf(p->saved_name, sizeof p->saved_name, "%s", saved.name);
    snprintf(p->newest, sizeof p->newest, "%s/%s", p->dir, saved.name);
  }
  return st;
}

static sp_status save_as(struct sw_publish *p, const char *name, struct sp_err *err) {
  char before[256];
  sp_status st = save_step(p, err);
  if (st) {
    return st;
  }
  read_name(p, name, before);
  st = strcmp(name, p->saved_name) == 0 ? SP_OK : stk_ckpt_link(p->dir, name, p->saved_name, err);
  if (!st && strcmp(before, p->saved_name) != 0) {
    drop_unnamed(p, before);
  }
  return st;
}

sp_status sw_publish_save(struct sw_publish *p, const char *name, struct sp_err *err) {
  sp_status st = save_as(p, name, err);
  p->failed = st ? *err : (struct sp_err){0};
  return st;
}

void sw_publish_best(struct sw_publish *p, const char *name, const char *monitor, double score) {
  char target[256];
  struct sp_err err = {0};
  read_name(p, name, target);
  if (!*target || strchr(target, '/')) {
    return;
  }
  if (stk_ckpt_mark_best(p->dir, target, monitor, score, &err)) {
    sw_emit_text(p->e, SP_TEXT_WARNING, "--ckpt_path best is out of date: %s\n", err.text);
    return;
  }
  snprintf(p->best, sizeof p->best, "%s/%.64s", p->dir, target);
}

bool sw_publish_exists(const struct sw_publish *p, const char *name) {
  char path[PATH_MAX + 200];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", p->dir, name);
  return lstat(path, &st) == 0;
}
