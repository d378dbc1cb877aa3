/* Checkpoint names as links to published directories. See publish.h. */
#include "worker/publish.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fault.h"

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
  (void)!stk_ckpt_sweep(p->dir, INT64_MAX, 0, NULL); /* nobody of this run writes yet */
}

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
static void drop_unnamed(const struct sw_publish *p, const char *target, const char *instead,
                         char note[600]) {
  struct sp_err err = {0};
  if (!*target || strchr(target, '/') || strcmp(target, p->resumed) == 0 || has_name(p, target)) {
    return;
  }
  (void)SP_FAULT("publish.drop");
  if (stk_ckpt_remove(p->dir, target, instead, &err)) {
    snprintf(note, 600, "an old checkpoint stays: %.500s", err.text);
  }
}

static sp_status name_it(const struct sw_publish *p, const char *name, const char *target,
                         char note[600], struct sp_err *err) {
  char before[256];
  read_name(p, name, before);
  (void)SP_FAULT("publish.name");
  sp_status st = strcmp(name, target) == 0 ? SP_OK : stk_ckpt_link(p->dir, name, target, err);
  if (!st && strcmp(before, target) != 0) {
    drop_unnamed(p, before, target, note);
  }
  return st;
}

static void remove_name(const struct sw_publish *p, const char *name, const char *instead,
                        char note[600]) {
  char target[256];
  struct sp_err err = {0};
  read_name(p, name, target);
  if (*target && stk_ckpt_unlink(p->dir, name, &err) == SP_OK) {
    drop_unnamed(p, target, instead, note);
  } else if (err.status) {
    snprintf(note, 600, "an old checkpoint stays: %.500s", err.text);
  }
}

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
  sp_status st = d->save[0] ? name_it(p, d->save, target, note, err) : SP_OK;
  st = st || !d->last[0] ? st : name_it(p, d->last, target, note, err);
  for (size_t k = 0; k < d->n_remove && !st; k++) {
    remove_name(p, d->remove[k], target, note);
  }
  if (!st && it->tell_best) {
    tell_best(p, it, note);
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
    snprintf(p->newest, sizeof p->newest, "%s/%s", p->dir, out->saved.name);
  }
  return st;
}
