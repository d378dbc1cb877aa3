/* Checkpoint names as links to published directories. See publish.h. */
#include "worker/publish.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fault.h"

bool sw_publish_goes_on(const struct sw_publish *p) {
  return p->resumed[0] != '\0';
}

/* What a name points to; "" when it is no link. */
static void read_name(const struct sw_publish *p, const char *name, char out_target[256]) {
  char path[PATH_MAX + 300];
  snprintf(path, sizeof path, "%s/%s", p->dir, name);
  ssize_t n = readlink(path, out_target, 255);
  out_target[n > 0 ? n : 0] = '\0';
}

/* ---- directories go when their last name goes
 *
 * A link drop-<directory>, made before the name is taken away, says that the directory is to go if
 * nothing else names it. Whoever dies on the way leaves it to the next one. */

static const char drop_prefix[] = "drop-";

static bool is_drop(const char *name) {
  return strncmp(name, drop_prefix, sizeof drop_prefix - 1) == 0;
}

static bool has_name(const struct sw_publish *p, const char *target) {
  DIR *d = opendir(p->dir);
  bool found = false;
  for (struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d)) {
    char to[256];
    read_name(p, e->d_name, to);
    found = strcmp(to, target) == 0 && !is_drop(e->d_name);
  }
  if (d) {
    closedir(d);
  }
  return found;
}

static sp_status mark_drop(const struct sw_publish *p, const char *target, struct sp_err *err) {
  char name[300];
  if (!*target || strchr(target, '/') || strcmp(target, p->resumed) == 0) {
    return SP_OK;
  }
  snprintf(name, sizeof name, "%s%s", drop_prefix, target);
  return stk_ckpt_link(p->dir, name, target, err);
}

/* Removes a directory that was marked, unless it has a name again, and the mark. */
static void settle_drop(const struct sw_publish *p, const char *name, const char *instead,
                        char note[600]) {
  char path[PATH_MAX + 300], target[256];
  struct sp_err err = {0};
  sp_status st = SP_OK;
  read_name(p, name, target);
  if (*target && strcmp(target, p->resumed) != 0 && !has_name(p, target)) {
    (void)SP_FAULT("publish.drop");
    st = stk_ckpt_remove(p->dir, target, instead, &err);
  }
  if (st && st != SP_ENOENT) {
    snprintf(note, 600, "an old checkpoint stays: %.500s", err.text);
  }
  if (!st || st == SP_ENOENT || st == SP_EPERM || st == SP_EINVAL) {
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    (void)unlink(path); /* if that is lost, it is done again */
  }
}

static void settle_drops(const struct sw_publish *p, const char *instead, char note[600]) {
  DIR *d = opendir(p->dir);
  for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    if (is_drop(e->d_name)) {
      settle_drop(p, e->d_name, instead, note);
    }
  }
  if (d) {
    closedir(d);
  }
}

static sp_status name_it(const struct sw_publish *p, const char *name, const char *target,
                         struct sp_err *err) {
  char before[256];
  read_name(p, name, before);
  (void)SP_FAULT("publish.name");
  if (strcmp(name, target) == 0 || strcmp(before, target) == 0) {
    return SP_OK;
  }
  sp_status st = mark_drop(p, before, err);
  return st ? st : stk_ckpt_link(p->dir, name, target, err);
}

static void remove_name(const struct sw_publish *p, const char *name, char note[600]) {
  char target[256];
  struct sp_err err = {0};
  read_name(p, name, target);
  if (*target && (mark_drop(p, target, &err) || stk_ckpt_unlink(p->dir, name, &err))) {
    snprintf(note, 600, "an old checkpoint stays: %.500s", err.text);
  }
}

void sw_publish_init(struct sw_publish *p, const char *dir, const char *resumed, uint64_t run) {
  char real[PATH_MAX], parent[PATH_MAX];
  *p = (struct sw_publish){.run = run};
  snprintf(p->dir, sizeof p->dir, "%s", dir);
  char *slash = *resumed && realpath(resumed, real) ? strrchr(real, '/') : NULL;
  if (slash) {
    *slash = '\0';
    if (realpath(dir, parent) && strcmp(parent, real) == 0) {
      snprintf(p->resumed, sizeof p->resumed, "%.63s", slash + 1);
    }
  }
  char note[600];
  (void)!stk_ckpt_sweep(p->dir, INT64_MAX, 0, NULL); /* nobody of this run writes yet */
  settle_drops(p, NULL, note);                       /* what cannot go now is told when it is due */
}

/* ---- orders */

static void tell_best(struct sw_publish *p, const struct stk_order_item *it, char note[600]) {
  char target[256];
  struct sp_err err = {0};
  read_name(p, it->best_name, target);
  if (!*target || strchr(target, '/')) {
    return;
  }
  if (stk_ckpt_mark_best(p->dir, target, it->best_monitor, it->best_score, &err)) {
    snprintf(note, 600, "--ckpt_path best is out of date: %.500s", err.text);
    return;
  }
  snprintf(p->best, sizeof p->best, "%s/%.64s", p->dir, target);
}

static sp_status do_item(struct sw_publish *p, const struct stk_order_item *it, const char *target,
                         char note[600], struct sp_err *err) {
  const struct stk_ckpt_decision *d = &it->decision;
  sp_status st = d->save[0] ? name_it(p, d->save, target, err) : SP_OK;
  st = st || !d->last[0] ? st : name_it(p, d->last, target, err);
  if (!st && it->tell_best) {
    tell_best(p, it, note); /* before what was the best until now goes */
  }
  for (size_t k = 0; k < d->n_remove && !st; k++) {
    remove_name(p, d->remove[k], note);
  }
  return st;
}

/* What earlier attempts left goes before the receipt's directory is published, and that one when it
 * cannot be: a persister that is tried again has a directory of its own. */
static sp_status publish_receipt(const struct sw_publish *p, const struct stk_ckpt_receipt *r,
                                 struct stk_ckpt_saved *out, struct sp_err *err) {
  (void)!stk_ckpt_sweep(p->dir, r->generation + 1, r->nonce, NULL);
  sp_status st = stk_ckpt_publish(p->dir, r, out, err);
  if (st) {
    (void)!stk_ckpt_discard(p->dir, r, NULL);
  }
  return st;
}

sp_status sw_publish_order(struct sw_publish *p, const struct stk_order *o,
                           const struct stk_ckpt_receipt *receipt, const char *saved,
                           struct sw_published *out, struct sp_err *err) {
  *out = (struct sw_published){.note = ""};
  snprintf(out->saved.name, sizeof out->saved.name, "%.60s", saved);
  sp_status st = SP_OK;
  if (!*saved) {
    st = receipt ? publish_receipt(p, receipt, &out->saved, err)
                 : stk_ckpt_find_order(p->dir, p->run, o->seq, out->saved.name, err);
  }
  (void)SP_FAULT("publish.renamed");
  for (int32_t i = 0; i < o->n_items && !st; i++) {
    st = do_item(p, &o->items[i], out->saved.name, out->note, err);
  }
  if (!st) {
    settle_drops(p, out->saved.name, out->note);
    snprintf(p->newest, sizeof p->newest, "%s/%s", p->dir, out->saved.name);
  }
  return st;
}
