/* Weights of anybody's safetensors files into a model: fine-tuning.
 *
 * First everything is matched by name (renamed by the longest rule), shape and type; only then are
 * bytes copied. A checkpoint of ours is read through its manifest and its checksums are checked;
 * other directories through model.safetensors or the index that Hugging Face tools write.
 */
#include "engine/checkpoint/load.h"

#include "engine/checkpoint/names.h"
#include "engine/checkpoint/rename.h"
#include "engine/checkpoint/read.h"
#include "engine/exec/fpenv.h"
#include "proto/base/crc32c.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 4096, MAX_INDEX_BYTES = 64 << 20 };

/* One file with its header. */
struct source_file {
  char *path;
  int fd;
  struct stk_st_index index;
};

/* One tensor on offer, under the name that it has here. */
struct offer {
  char *name;
  const struct stk_st_entry *entry;
  uint32_t file;
  bool used;
};

struct weights {
  struct source_file files[MAX_FILES];
  size_t n_files;
  struct offer *offers;
  size_t n_offers;
  struct stk_ckpt checkpoint; /* path[0] != 0: ours, with checksums */
};

static sp_status add_file(struct weights *w, const char *dir, const char *name,
                          struct sp_err *err) {
  if (w->n_files == MAX_FILES) {
    return sp_fail(err, SP_ERANGE, "weights: more than %d files", MAX_FILES);
  }
  struct source_file *f = &w->files[w->n_files];
  f->path = dir ? sp_path_join(dir, name) : sp_strdup(name);
  if (!f->path) {
    return sp_fail(err, SP_ENOMEM, "weights: out of memory");
  }
  sp_status st = stk_read_open(AT_FDCWD, f->path, &f->fd, err);
  if (st == SP_OK) {
    st = stk_st_read_index(f->fd, f->path, &f->index, err);
    if (st == SP_OK) {
      w->n_files++;
      return SP_OK;
    }
    close(f->fd);
  }
  sp_free(f->path);
  *f = (struct source_file){0};
  return st;
}

static sp_status add_checkpoint(struct weights *w, const char *path, struct sp_err *err) {
  sp_status st = stk_ckpt_open(path, &w->checkpoint, err);
  const struct stk_manifest *m = &w->checkpoint.manifest;
  for (size_t i = 0; st == SP_OK && i < m->n_files; i++) {
    const char *name = m->files[i].name;
    if (strncmp(name, "model", 5) == 0 && !strstr(name, ".index.json")) {
      st = add_file(w, path, name, err);
    }
  }
  return st;
}

/* The files of a weight_map, each once. */
static sp_status add_index(struct weights *w, const char *dir, const char *index_path,
                           struct sp_err *err) {
  char *text;
  size_t n;
  sp_status st = sp_file_read(index_path, MAX_INDEX_BYTES, &text, &n, err);
  if (st != SP_OK) {
    return st;
  }
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
  json_t *map = json_object_get(root, "weight_map");
  json_t *seen = json_object();
  const char *key;
  json_t *value;
  if (!json_is_object(map) || !seen) {
    st = sp_fail(err, SP_ECORRUPT, "weights: %s has no weight_map", index_path);
  } else {
    json_object_foreach(map, key, value) {
      const char *name = json_string_value(value);
      if (!name || !name[0] || strchr(name, '/') || name[0] == '.') {
        st = sp_fail(err, SP_ECORRUPT, "weights: %s names no file for %.200s", index_path, key);
      } else if (!json_object_get(seen, name)) {
        st = json_object_set_new(seen, name, json_true()) == 0
                 ? add_file(w, dir, name, err)
                 : sp_fail(err, SP_ENOMEM, "weights: out of memory");
      }
      if (st != SP_OK) {
        break;
      }
    }
  }
  json_decref(seen);
  json_decref(root);
  sp_free(text);
  return st;
}

static bool has_file(const char *dir, const char *name, char out[PATH_MAX]) {
  int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
  return n > 0 && n < PATH_MAX && access(out, F_OK) == 0;
}

static sp_status add_path(struct weights *w, const char *path, struct sp_err *err) {
  struct stat st;
  char found[PATH_MAX];
  if (stat(path, &st) != 0) {
    return sp_fail_errno(err, "weights: cannot open %s", path);
  }
  if (!S_ISDIR(st.st_mode)) {
    return add_file(w, NULL, path, err);
  }
  if (has_file(path, "MANIFEST", found)) {
    return add_checkpoint(w, path, err);
  }
  if (has_file(path, "model.safetensors.index.json", found)) {
    return add_index(w, path, found, err);
  }
  if (has_file(path, "model.safetensors", found)) {
    return add_file(w, path, "model.safetensors", err);
  }
  return sp_fail(err, SP_ENOENT,
                 "weights: %s holds no MANIFEST, model.safetensors or its index; name a file",
                 path);
}

static int by_offer_name(const void *a, const void *b) {
  return strcmp(((const struct offer *)a)->name, ((const struct offer *)b)->name);
}

static sp_status make_offers(struct weights *w, const struct stk_ckpt_rename *map, size_t n_map,
                             struct sp_err *err) {
  size_t n = 0;
  for (size_t i = 0; i < w->n_files; i++) {
    n += w->files[i].index.n_entries;
  }
  w->offers = sp_alloc_array(n, sizeof *w->offers);
  if (!w->offers) {
    return sp_fail(err, SP_ENOMEM, "weights: out of memory");
  }
  for (size_t i = 0; i < w->n_files; i++) {
    for (size_t k = 0; k < w->files[i].index.n_entries; k++) {
      const struct stk_st_entry *e = &w->files[i].index.entries[k];
      struct offer *o = &w->offers[w->n_offers];
      *o = (struct offer){
          .name = stk_ckpt_rename(e->name, map, n_map), .entry = e, .file = (uint32_t)i};
      if (!o->name) {
        return sp_fail(err, SP_ENOMEM, "weights: out of memory");
      }
      w->n_offers++;
    }
  }
  if (n > 1) {
    qsort(w->offers, n, sizeof *w->offers, by_offer_name);
  }
  return n ? stk_names_check(&w->offers[0].name, sizeof *w->offers, n,
                             "weights: the tensor (after renaming)", SP_EMISMATCH, err)
           : SP_OK;
}

static struct offer *find_offer(const struct weights *w, const char *name) {
  struct offer key = {.name = (char *)(uintptr_t)name};
  return w->n_offers ? bsearch(&key, w->offers, w->n_offers, sizeof key, by_offer_name) : NULL;
}

static bool converts(stk_st_dtype from, stk_st_dtype to) {
  bool real = from == STK_ST_F64 || from == STK_ST_F32 || from == STK_ST_F16 || from == STK_ST_BF16;
  return from == to || (real && (to == STK_ST_F32 || to == STK_ST_F64));
}

static sp_status check_offer(const struct offer *o, const struct stk_ckpt_target *t,
                             struct sp_err *err) {
  const struct stk_st_entry *e = o->entry;
  bool same =
      e->rank == t->rank && memcmp(e->dims, t->dims, (size_t)t->rank * sizeof *t->dims) == 0;
  if (!same) {
    int32_t d = 0;
    while (d < e->rank && d < t->rank && e->dims[d] == t->dims[d]) {
      d++;
    }
    return sp_fail(err, SP_EMISMATCH,
                   "weights: %.200s (here %.200s) has rank %d, the model's %d; they differ at "
                   "dimension %d: %" PRId64 " and %" PRId64,
                   e->name, t->name, (int)e->rank, (int)t->rank, (int)d,
                   d < e->rank ? e->dims[d] : 0, d < t->rank ? t->dims[d] : 0);
  }
  if (!converts(e->dtype, t->dtype)) {
    return sp_fail(err, SP_EMISMATCH, "weights: %.200s is %s, which does not convert to %s",
                   e->name, stk_st_dtype_name(e->dtype), stk_st_dtype_name(t->dtype));
  }
  return SP_OK;
}

static void note(char out[128], const char *name) {
  if (!out[0]) {
    snprintf(out, 128, "%.127s", name);
  }
}

static sp_status match(struct weights *w, const struct stk_ckpt_target *targets, size_t n,
                       bool strict, struct stk_weights_report *report, struct sp_err *err) {
  for (size_t i = 0; i < n; i++) {
    struct offer *o = find_offer(w, targets[i].name);
    if (!o) {
      if (!targets[i].optional) {
        report->n_missing++;
        note(report->first_missing, targets[i].name);
      }
      continue;
    }
    sp_status st = check_offer(o, &targets[i], err);
    if (st != SP_OK) {
      return st;
    }
    o->used = true;
    report->n_loaded++;
  }
  for (size_t i = 0; i < w->n_offers; i++) {
    if (!w->offers[i].used) {
      report->n_unexpected++;
      note(report->first_unexpected, w->offers[i].entry->name);
    }
  }
  if (strict && (report->n_missing || report->n_unexpected)) {
    return sp_fail(err, SP_EMISMATCH,
                   "weights: %zu tensors of the model are not in the file (first: %s), %zu of the "
                   "file are not in the model (first: %s); map their names, or load with strict "
                   "false",
                   report->n_missing, report->n_missing ? report->first_missing : "-",
                   report->n_unexpected, report->n_unexpected ? report->first_unexpected : "-");
  }
  return SP_OK;
}

/* binary16 to float, exact. */
static float half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16;
  uint32_t exponent = h >> 10 & 31;
  uint32_t fraction = h & 0x3ff;
  uint32_t bits;
  float f;
  if (exponent == 0) {
    f = (float)fraction * 0x1p-24f;
    memcpy(&bits, &f, 4);
  } else if (exponent == 31) {
    bits = 0x7f800000 | fraction << 13;
  } else {
    bits = (exponent + 112) << 23 | fraction << 13;
  }
  bits |= sign;
  memcpy(&f, &bits, 4);
  return f;
}

static double element(stk_st_dtype from, const uint8_t *p) {
  uint16_t half;
  uint32_t bits;
  float f;
  double d;
  switch (from) {
    case STK_ST_F16:
      memcpy(&half, p, 2);
      return (double)half_to_float(half);
    case STK_ST_BF16:
      memcpy(&half, p, 2);
      bits = (uint32_t)half << 16;
      memcpy(&f, &bits, 4);
      return (double)f;
    case STK_ST_F32:
      memcpy(&f, p, 4);
      return (double)f;
    default:
      memcpy(&d, p, 8);
      return d;
  }
}

struct copy {
  stk_st_dtype from;
  stk_st_dtype to;
  uint8_t *out;
  uint32_t crc32c;
};

/* double holds every value of the narrower types, so one rounding happens at most. */
static sp_status copy_piece(void *ctx, const uint8_t *bytes, size_t n, struct sp_err *err) {
  (void)err;
  struct copy *c = ctx;
  size_t step = stk_st_dtype_bytes(c->from);
  c->crc32c = sp_crc32c(c->crc32c, bytes, n);
  if (c->from == c->to) {
    memcpy(c->out, bytes, n);
    c->out += n;
    return SP_OK;
  }
  for (size_t i = 0; i < n; i += step) {
    double d = element(c->from, bytes + i);
    if (c->to == STK_ST_F64) {
      memcpy(c->out, &d, 8);
      c->out += 8;
    } else {
      float f = (float)d;
      memcpy(c->out, &f, 4);
      c->out += 4;
    }
  }
  return SP_OK;
}

static sp_status check_crc(const struct weights *w, const struct offer *o, uint32_t crc32c,
                           struct sp_err *err) {
  const struct stk_manifest *m = &w->checkpoint.manifest;
  for (size_t i = 0; i < m->n_tensors; i++) {
    if (strcmp(m->tensors[i].name, o->entry->name) == 0) {
      return m->tensors[i].crc32c == crc32c
                 ? SP_OK
                 : sp_fail(err, SP_ECORRUPT, "weights: %.200s in %s is damaged (CRC32C)",
                           o->entry->name, w->files[o->file].path);
    }
  }
  return sp_fail(err, SP_ECORRUPT, "weights: %.200s in %s is not in its manifest", o->entry->name,
                 w->files[o->file].path);
}

static sp_status copy_tensor(const struct weights *w, const struct offer *o,
                             const struct stk_ckpt_target *t, struct sp_err *err) {
  const struct source_file *f = &w->files[o->file];
  struct copy c = {.from = o->entry->dtype, .to = t->dtype, .out = t->data};
  sp_status st = stk_read_walk(f->fd, f->index.data_offset + o->entry->begin,
                               o->entry->end - o->entry->begin, f->path, copy_piece, &c, err);
  return st == SP_OK && w->checkpoint.path[0] ? check_crc(w, o, c.crc32c, err) : st;
}

static void release(struct weights *w) {
  for (size_t i = 0; i < w->n_offers; i++) {
    sp_free(w->offers[i].name);
  }
  sp_free(w->offers);
  for (size_t i = 0; i < w->n_files; i++) {
    close(w->files[i].fd);
    stk_st_index_free(&w->files[i].index);
    sp_free(w->files[i].path);
  }
  stk_ckpt_close(&w->checkpoint);
  sp_free(w);
}

sp_status stk_weights_load(const char *path, const struct stk_ckpt_rename *map, size_t n_map,
                           bool strict, const struct stk_ckpt_target *targets, size_t n_targets,
                           struct stk_weights_report *out, struct sp_err *err) {
  struct stk_weights_report report = {0};
  struct weights *w = sp_alloc(sizeof *w);
  if (!w) {
    return sp_fail(err, SP_ENOMEM, "weights: out of memory");
  }
  sp_status st = add_path(w, path, err);
  if (st == SP_OK) {
    st = make_offers(w, map, n_map, err);
  }
  if (st == SP_OK) {
    st = match(w, targets, n_targets, strict, &report, err);
  }
  uint32_t fp = stk_fp_enter();
  for (size_t i = 0; st == SP_OK && i < n_targets; i++) {
    const struct offer *o = find_offer(w, targets[i].name);
    if (o) {
      st = copy_tensor(w, o, &targets[i], err);
    }
  }
  stk_fp_leave(fp);
  release(w);
  if (st == SP_OK) {
    *out = report;
  }
  return st;
}
