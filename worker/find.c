/* Which checkpoint a path means: a checkpoint itself, or the newest of a run's directory, of one
 * with several runs (default_root_dir), or of a directory of checkpoints; and for --ckpt_path also
 * "last" and "best", of the newest run of the job's logger that has one. */
#include "worker/find.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/mem.h"

/* The newest version_N below root/name whose checkpoints directory holds something. */
static bool newest_run(const char *base, char out[PATH_MAX]) {
  DIR *d = opendir(base);
  long best = -1;
  for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    char path[PATH_MAX];
    struct stk_ckpt_info *list = NULL;
    size_t n = 0;
    if (strncmp(e->d_name, "version_", 8) != 0) {
      continue;
    }
    long v = strtol(e->d_name + 8, NULL, 10);
    snprintf(path, sizeof path, "%.2000s/%.200s/checkpoints", base, e->d_name);
    if (v > best && stk_ckpt_list(path, &list, &n, NULL) == SP_OK && n > 0) {
      best = v;
      snprintf(out, PATH_MAX, "%s", path);
    }
    sp_free(list);
  }
  if (d) {
    closedir(d);
  }
  return best >= 0;
}

/* ---- every checkpoint below a directory */

enum { DEPTH_MAX = 4 }; /* root/name/version_N/checkpoints */

/* Entries of a directory by descending version number, else by name: newest runs first. */
static int newer_first(const void *a, const void *b) {
  const char *x = *(char *const *)a, *y = *(char *const *)b;
  const char *dx = strrchr(x, '_'), *dy = strrchr(y, '_');
  long vx = dx ? strtol(dx + 1, NULL, 10) : -1, vy = dy ? strtol(dy + 1, NULL, 10) : -1;
  return vx != vy ? (vx > vy ? -1 : 1) : strcmp(x, y);
}

static void free_names(char **names, size_t n) {
  for (size_t i = 0; i < n; i++) {
    sp_free(names[i]);
  }
  sp_free(names);
}

/* Directories in `path`, links and hidden ones left out. */
static sp_status list_dirs(const char *path, char ***out, size_t *out_n, struct sp_err *err) {
  DIR *d = opendir(path);
  char **names = NULL;
  size_t n = 0, room = 0;
  sp_status st = SP_OK;
  for (struct dirent *e = d ? readdir(d) : NULL; e && !st; e = readdir(d)) {
    struct stat info;
    if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISDIR(info.st_mode)) {
      continue;
    }
    if (n == room) {
      room = room ? 2 * room : 16;
      char **bigger = sp_resize_array(names, room, sizeof *names);
      st = bigger ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory to list %s", path);
      names = bigger ? bigger : names;
    }
    if (!st && (names[n] = sp_strdup(e->d_name)) != NULL) {
      n++;
    }
  }
  if (d) {
    closedir(d);
  }
  if (n > 1) {
    qsort(names, n, sizeof *names, newer_first);
  }
  *out = names;
  *out_n = n;
  return st;
}

static sp_status each_below(const char *path, int depth, sw_ckpt_fn *fn, void *ctx,
                            struct sp_err *err) {
  struct stk_ckpt_info *list = NULL;
  char **names = NULL, inner[PATH_MAX];
  size_t n = 0, n_names = 0;
  sp_status st = stk_ckpt_list(path, &list, &n, err);
  for (size_t i = 0; i < n && !st; i++) {
    st = fn(ctx, path, &list[i], err);
  }
  sp_free(list);
  if (st || n > 0 || depth == DEPTH_MAX) {
    return st;
  }
  st = list_dirs(path, &names, &n_names, err);
  for (size_t i = 0; i < n_names && !st; i++) {
    int length = snprintf(inner, sizeof inner, "%s/%s", path, names[i]);
    if (length > 0 && (size_t)length < sizeof inner) {
      st = each_below(inner, depth + 1, fn, ctx, err);
    }
  }
  free_names(names, n_names);
  return st;
}

sp_status sw_ckpt_each(const char *path, sw_ckpt_fn *fn, void *ctx, struct sp_err *err) {
  struct stat info;
  if (stat(path, &info) != 0) {
    return sp_fail_errno(err, "checkpoints of %s", path);
  }
  return each_below(path, 0, fn, ctx, err);
}

/* ---- the one that is meant */

struct search {
  struct sw_emit *e;  /* told what is passed over, after comparing all checksums; NULL: neither */
  char dir[PATH_MAX]; /* looked through last */
  size_t n_rejected;
  struct sw_rejected *rejected; /* NULL: nobody wants them */
  char found[PATH_MAX];
};

static void tell_rejected(void *ctx, const char *name, const char *why) {
  struct search *s = ctx;
  struct sw_rejected *r = s->rejected;
  s->n_rejected++;
  if (r && r->n < SW_REJECTED_MAX) {
    snprintf(r->at[r->n].path, sizeof r->at[r->n].path, "%.3800s/%.250s", s->dir, name);
    snprintf(r->at[r->n].why, sizeof r->at[r->n].why, "%s", why);
    r->n++;
  }
  if (s->e) {
    sw_emit_text(s->e, SP_TEXT_WARNING, "checkpoint %s/%s is damaged and passed over: %s\n", s->dir,
                 name, why);
  }
}

static sp_status newest_of(struct search *s, const char *dir, struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  snprintf(s->dir, sizeof s->dir, "%s", dir);
  s->n_rejected = 0;
  sp_status st = ck ? stk_ckpt_open_newest_valid(dir, s->e != NULL, tell_rejected, s, ck, err)
                    : sp_fail(err, SP_ENOMEM, "no memory to look for checkpoints");
  if (!st) {
    memcpy(s->found, ck->path, sizeof s->found);
    if (s->e && s->n_rejected) {
      sw_emit_text(s->e, SP_TEXT_WARNING,
                   "going on from the older checkpoint %s (step %lld): the steps after it are done "
                   "again\n",
                   ck->path, (long long)ck->manifest.step);
    }
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  return st;
}

/* Takes the newest one of the first directory that holds a whole one. */
static sp_status take_first(void *ctx, const char *dir, const struct stk_ckpt_info *info,
                            struct sp_err *err) {
  struct search *s = ctx;
  struct sp_err none = {0};
  (void)info;
  if (s->found[0] || strcmp(s->dir, dir) == 0) {
    return SP_OK;
  }
  sp_status st = newest_of(s, dir, &none);
  return !st || st == SP_ENOENT ? SP_OK : sp_fail(err, st, "%s", none.text);
}

static sp_status resolve(struct search *s, const char *path, struct sp_err *err) {
  char manifest[PATH_MAX];
  struct stat info;
  if (stat(path, &info) != 0) {
    return sp_fail_errno(err, "checkpoint %s", path);
  }
  int n = snprintf(manifest, sizeof manifest, "%s/MANIFEST", path);
  if (n < 0 || (size_t)n >= sizeof manifest) {
    return sp_fail(err, SP_EINVAL, "checkpoint: the path is too long");
  }
  if (!S_ISDIR(info.st_mode) || access(manifest, F_OK) == 0) {
    snprintf(s->found, sizeof s->found, "%s", path);
    return SP_OK;
  }
  sp_status st = sw_ckpt_each(path, take_first, s, err);
  if (!st && !s->found[0]) {
    st = sp_fail(err, SP_ENOENT,
                 "%s is no checkpoint and no directory of a run that has a whole one (`stoker ckpt "
                 "ls %s`)",
                 path, path);
  }
  return st;
}

static sp_status search_run(struct search *s, const struct sp_job *job, const char *which,
                            struct sp_err *err) {
  const struct sp_logger_opts *first = job->loggers.n ? &job->loggers.items[0] : NULL;
  const char *root = first && first->save_dir ? first->save_dir : job->trainer.default_root_dir;
  char base[PATH_MAX], parent[PATH_MAX];
  snprintf(base, sizeof base, "%.2000s/%.1000s", root ? root : ".",
           first && first->name ? first->name : "stoker_logs");
  if (!newest_run(base, parent)) {
    return sp_fail(
        err, SP_ENOENT,
        "--ckpt_path %s: no run below %s has a checkpoint; train one with `stoker fit`, or name a "
        "path",
        which, base);
  }
  return strcmp(which, "last") == 0 ? newest_of(s, parent, err)
                                    : stk_ckpt_find(parent, which, s->found, err);
}

sp_status sw_find_whole_ckpt(struct sw_emit *e, const struct sp_job *job, const char *which,
                             struct sw_rejected *rejected, char out[PATH_MAX], struct sp_err *err) {
  struct search s = {.e = e, .rejected = rejected};
  bool by_name = !job || (strcmp(which, "last") != 0 && strcmp(which, "best") != 0);
  sp_status st = by_name ? resolve(&s, which, err) : search_run(&s, job, which, err);
  if (!st) {
    memcpy(out, s.found, sizeof s.found);
  }
  return st;
}

sp_status sw_ckpt_resolve(const char *path, char out[PATH_MAX], struct sp_err *err) {
  return sw_find_whole_ckpt(NULL, NULL, path, NULL, out, err);
}
