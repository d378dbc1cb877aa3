/* --ckpt_path: a path, or "last" and "best" of the newest run that has one. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/mem.h"
#include "worker/setup.h"

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

sp_status sw_find_ckpt(const struct sp_job *job, const char *which, char out[PATH_MAX],
                       struct sp_err *err) {
  const struct sp_logger_opts *first = job->loggers.n ? &job->loggers.items[0] : NULL;
  const char *root = first && first->save_dir ? first->save_dir : job->trainer.default_root_dir;
  char base[PATH_MAX], parent[PATH_MAX];
  if (strcmp(which, "last") != 0 && strcmp(which, "best") != 0) {
    return stk_ckpt_find(".", which, out, err);
  }
  snprintf(base, sizeof base, "%.2000s/%.1000s", root ? root : ".",
           first && first->name ? first->name : "stoker_logs");
  if (!newest_run(base, parent)) {
    return sp_fail(
        err, SP_ENOENT,
        "--ckpt_path %s: no run below %s has a checkpoint; train one with `stoker fit`, or name a "
        "path",
        which, base);
  }
  return stk_ckpt_find(parent, which, out, err);
}
