/* Which checkpoints a directory holds, and what "last" and "best" mean. */
#include "engine/checkpoint/dirs.h"
#include "engine/checkpoint/load.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_BEST_BYTES = 1 << 16, MAX_LISTINGS = 100 };

/* A checkpoint that was copied or renamed to another step's name would be taken for newer or older
 * than it is. */
static sp_status check_step(const struct stk_ckpt *ck, int64_t step, struct sp_err *err) {
  return ck->manifest.step == step
             ? SP_OK
             : sp_fail(err, SP_ECORRUPT, "checkpoint %s: its manifest is of step %" PRId64,
                       ck->path, ck->manifest.step);
}

static void inspect(const char *parent, struct stk_ckpt_info *info) {
  char path[PATH_MAX];
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  struct sp_err why = {0};
  int n = snprintf(path, sizeof path, "%s/%s", parent, info->name);
  if (!ck || n < 0 || (size_t)n >= sizeof path) {
    snprintf(info->why, sizeof info->why, "cannot look at it");
  } else if (stk_ckpt_open(path, ck, &why) != SP_OK) {
    snprintf(info->why, sizeof info->why, "%.255s", why.text);
  } else {
    info->valid = check_step(ck, info->step, &why) == SP_OK;
    snprintf(info->why, sizeof info->why, "%.255s", why.text);
    info->epoch = ck->manifest.epoch;
    for (size_t i = 0; i < ck->manifest.n_files; i++) {
      info->bytes += ck->manifest.files[i].bytes;
    }
    stk_ckpt_close(ck);
  }
  sp_free(ck);
}

static int newest_first(const void *a, const void *b) {
  const struct stk_ckpt_info *x = a;
  const struct stk_ckpt_info *y = b;
  if (x->step != y->step) {
    return x->step > y->step ? -1 : 1;
  }
  return x->version > y->version ? -1 : x->version < y->version;
}

/* The names, newest first, not yet inspected. */
static sp_status list_names(const char *parent, struct stk_ckpt_info **out, size_t *out_n,
                            struct sp_err *err) {
  struct stk_ckpt_info *infos = NULL;
  size_t n = 0;
  size_t room = 0;
  DIR *d = opendir(parent);
  if (!d && errno != ENOENT) {
    return sp_fail_errno(err, "checkpoint: cannot open directory %s", parent);
  }
  for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    struct stk_ckpt_info info = {.name = ""};
    if (strlen(e->d_name) >= sizeof info.name ||
        !stk_ckpt_name_parse(e->d_name, &info.step, &info.version)) {
      continue;
    }
    memcpy(info.name, e->d_name, strlen(e->d_name) + 1);
    if (n == room) {
      room = room ? 2 * room : 16;
      struct stk_ckpt_info *bigger = sp_resize_array(infos, room, sizeof *infos);
      if (!bigger) {
        sp_free(infos);
        closedir(d);
        return sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
      }
      infos = bigger;
    }
    infos[n++] = info;
  }
  if (d) {
    closedir(d);
  }
  if (n > 1) {
    qsort(infos, n, sizeof *infos, newest_first);
  }
  *out = infos;
  *out_n = n;
  return SP_OK;
}

sp_status stk_ckpt_list(const char *parent, struct stk_ckpt_info **out, size_t *out_n,
                        struct sp_err *err) {
  sp_status st = list_names(parent, out, out_n, err);
  for (size_t i = 0; st == SP_OK && i < *out_n; i++) {
    inspect(parent, &(*out)[i]);
  }
  return st;
}

static sp_status put_path(const char *parent, const char *name, char out[PATH_MAX],
                          struct sp_err *err) {
  int n =
      parent ? snprintf(out, PATH_MAX, "%s/%s", parent, name) : snprintf(out, PATH_MAX, "%s", name);
  return n > 0 && n < PATH_MAX ? SP_OK
                               : sp_fail(err, SP_EINVAL, "checkpoint: the path is too long");
}

sp_status stk_ckpt_find_order(const char *parent, uint64_t order_run, uint64_t order_seq,
                              char out_name[64], struct sp_err *err) {
  struct stk_ckpt_info *infos;
  size_t n;
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  sp_status st = ck ? list_names(parent, &infos, &n, err)
                    : sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  if (st != SP_OK) {
    sp_free(ck);
    return st;
  }
  bool found = false;
  for (size_t i = 0; i < n && !found; i++) {
    char path[PATH_MAX];
    if (put_path(parent, infos[i].name, path, NULL) == SP_OK &&
        stk_ckpt_open(path, ck, NULL) == SP_OK) {
      found = ck->manifest.order_run == order_run && ck->manifest.order_seq == order_seq;
      stk_ckpt_close(ck);
    }
    if (found) {
      memcpy(out_name, infos[i].name, sizeof infos[i].name);
    }
  }
  sp_free(infos);
  sp_free(ck);
  return found ? SP_OK
               : sp_fail(err, SP_ENOENT, "checkpoint: no checkpoint of order %" PRIu64 " in %s",
                         order_seq, parent);
}

/* Whether a failure to open or verify says that the checkpoint is damaged. */
static bool is_damage(sp_status st) {
  return st == SP_ECORRUPT || st == SP_ENOENT || st == SP_EINVAL || st == SP_EIO;
}

/* A search through one listing. */
struct search {
  const char *parent;
  bool verify;
  stk_ckpt_rejected *rejected;
  void *ctx;
  struct sp_err newest; /* why the newest one is not taken */
};

static sp_status open_one(const struct search *s, const struct stk_ckpt_info *info,
                          struct stk_ckpt *out, struct sp_err *why) {
  char path[PATH_MAX];
  sp_status st = put_path(s->parent, info->name, path, why);
  st = st ? st : stk_ckpt_open(path, out, why);
  if (st != SP_OK) {
    return st;
  }
  st = check_step(out, info->step, why);
  st = st || !s->verify ? st : stk_ckpt_verify(out, why);
  if (st != SP_OK) {
    stk_ckpt_close(out);
  }
  return st;
}

/* Whether a checkpoint went since it was listed: its run removed it, so a newer one stands. */
static bool has_gone(const char *parent, const char *name) {
  char path[PATH_MAX];
  struct stat st;
  return put_path(parent, name, path, NULL) == SP_OK && lstat(path, &st) != 0 && errno == ENOENT;
}

/* *out_again: the listing is out of date. */
static sp_status open_first(struct search *s, const struct stk_ckpt_info *infos, size_t n,
                            struct stk_ckpt *out, bool *out_again, struct sp_err *err) {
  for (size_t i = 0; i < n; i++) {
    struct sp_err why = {0};
    sp_status st = open_one(s, &infos[i], out, &why);
    if (!is_damage(st)) {
      return st == SP_OK ? SP_OK : sp_fail(err, st, "%s", why.text);
    }
    if (has_gone(s->parent, infos[i].name)) {
      *out_again = true;
      return sp_fail(err, SP_ENOENT, "checkpoint: %s changes all the time", s->parent);
    }
    if (s->rejected) {
      s->rejected(s->ctx, infos[i].name, why.text);
    }
    if (i == 0) {
      s->newest = why;
    }
  }
  return n == 0
             ? sp_fail(err, SP_ENOENT, "checkpoint: %s holds none", s->parent)
             : sp_fail(err, SP_ENOENT, "checkpoint: none of the %zu in %s is whole; the newest: %s",
                       n, s->parent, s->newest.text);
}

sp_status stk_ckpt_open_newest_valid(const char *parent, bool verify, stk_ckpt_rejected *rejected,
                                     void *ctx, struct stk_ckpt *out, struct sp_err *err) {
  struct search s = {.parent = parent, .verify = verify, .rejected = rejected, .ctx = ctx};
  sp_status st = SP_OK;
  bool again = true;
  for (int tries = 0; again && tries < MAX_LISTINGS; tries++) {
    struct stk_ckpt_info *infos;
    size_t n;
    again = false;
    st = list_names(parent, &infos, &n, err);
    if (st == SP_OK) {
      st = open_first(&s, infos, n, out, &again, err);
      sp_free(infos);
    }
  }
  return st;
}

static sp_status find_last(const char *parent, char out[PATH_MAX], struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  sp_status st = ck ? stk_ckpt_open_newest_valid(parent, false, NULL, NULL, ck, err)
                    : sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  if (st == SP_OK) {
    memcpy(out, ck->path, sizeof ck->path);
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  return st;
}

/* The name in a best.json: three fields, and a checksum over them since there is one; "" where it
 * is damaged. */
static void parse_best(const char *text, size_t n, char out_name[STK_CKPT_NAME_BYTES]) {
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
  const char *name = json_string_value(json_object_get(root, "name"));
  const char *monitor = json_string_value(json_object_get(root, "monitor"));
  const char *value = json_string_value(json_object_get(root, "value"));
  const char *crc = json_string_value(json_object_get(root, "crc32c"));
  char want[16] = "";
  int64_t step;
  int64_t version;
  out_name[0] = 0;
  if (name && monitor && value) {
    stk_ckpt_best_crc(name, monitor, value, want);
    if (json_object_size(root) == (crc ? 4 : 3) && (!crc || strcmp(crc, want) == 0) &&
        strlen(name) < STK_CKPT_NAME_BYTES && stk_ckpt_name_parse(name, &step, &version)) {
      snprintf(out_name, STK_CKPT_NAME_BYTES, "%s", name);
    }
  }
  json_decref(root);
}

static sp_status find_best(const char *parent, char out[PATH_MAX], struct sp_err *err) {
  char file[PATH_MAX];
  char *text;
  size_t n;
  char name[STK_CKPT_NAME_BYTES];
  sp_status st = put_path(parent, "best.json", file, err);
  if (st != SP_OK) {
    return st;
  }
  st = sp_file_read(file, MAX_BEST_BYTES, &text, &n, err);
  if (st != SP_OK) {
    (void)sp_wrap(err, "checkpoint: no best one is recorded (ModelCheckpoint with a monitor does)");
    return st;
  }
  parse_best(text, n, name);
  st = name[0] ? put_path(parent, name, out, err)
               : sp_fail(err, SP_ECORRUPT,
                         "checkpoint: %s is damaged; name a checkpoint instead (stoker ckpt ls %s)",
                         file, parent);
  sp_free(text);
  return st;
}

sp_status stk_ckpt_find(const char *parent, const char *which, char out[PATH_MAX],
                        struct sp_err *err) {
  if (strcmp(which, "last") == 0) {
    return find_last(parent, out, err);
  }
  if (strcmp(which, "best") == 0) {
    return find_best(parent, out, err);
  }
  return put_path(NULL, which, out, err);
}
