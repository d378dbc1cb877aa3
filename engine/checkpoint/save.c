/* From a plan to a published directory. A shard is laid out and its header rendered before anything
 * is written, so sizes are known, space is checked and allocated, and only then data flows.
 *
 * Fault points: checkpoint.open, checkpoint.allocate, checkpoint.write, checkpoint.sync,
 * checkpoint.close, checkpoint.manifest, and those of dirs.h.
 */
#include "engine/checkpoint/save.h"

#include "engine/checkpoint/dirs.h"
#include "engine/checkpoint/json_text.h"
#include "engine/checkpoint/names.h"
#include "proto/base/crc32c.h"
#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/fs.h"
#include "proto/base/mem.h"
#include "proto/base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MAX_SHARDS = 99999, N_ROLES = 2, FILE_NAME_BYTES = 64 };

static const uint64_t DEFAULT_SHARD_BYTES = (uint64_t)2 << 30;
static const uint64_t DEFAULT_RESERVE_BYTES = 1 << 20;

static const char *const families[N_ROLES] = {
    [STK_CKPT_MODEL] = "model", [STK_CKPT_OPTIM] = "optim"};

struct shard {
  char name[FILE_NAME_BYTES];
  enum stk_ckpt_role role;
  struct stk_st_entry *entries; /* in file order */
  size_t n_entries;
  uint8_t *head;
  size_t head_bytes;
  uint64_t bytes; /* of the file */
  uint32_t crc32c;
};

struct save {
  const struct stk_ckpt_plan *plan;
  uint32_t *shard_of; /* per tensor of the plan */
  struct shard *shards;
  size_t n_shards;
  size_t n_of_role[N_ROLES];
  uint64_t total_bytes;
  struct stk_ckpt_tmp tmp;
  struct stk_manifest manifest; /* strings borrowed from the plan and the shards */
  struct stk_ckpt_receipt receipt;
};

static char *unconst(const char *s) {
  return (char *)(uintptr_t)(s ? s : "");
}

static sp_status check_plan(const struct stk_ckpt_plan *plan, struct sp_err *err) {
  if (!plan->parent || !plan->job || !plan->job[0] || !plan->module) {
    return sp_fail(err, SP_EINVAL, "checkpoint: parent, job and module are needed");
  }
  if (plan->step < 0 || plan->epoch < 0 || plan->generation < 0 || plan->lanes < 1 ||
      plan->numerics < 0 || plan->state_version < 0 || plan->control_version < 0) {
    return sp_fail(err, SP_EINVAL, "checkpoint: a counter of the plan is negative");
  }
  if (plan->control_bytes > STK_MANIFEST_MAX_CONTROL) {
    return sp_fail(err, SP_ERANGE, "checkpoint: a control page of %zu bytes; at most %d are kept",
                   plan->control_bytes, STK_MANIFEST_MAX_CONTROL);
  }
  if (plan->n_tensors > STK_ST_MAX_TENSORS) {
    return sp_fail(err, SP_ERANGE, "checkpoint: %zu tensors are too many", plan->n_tensors);
  }
  return plan->n_tensors ? stk_names_check(&plan->tensors[0].name, sizeof *plan->tensors,
                                           plan->n_tensors, "checkpoint: tensor", SP_EINVAL, err)
                         : SP_OK;
}

/* Whole tensors into shards, in the plan's order: a shard closes when the next one would not
 * fit. */
static sp_status assign_shards(struct save *s, struct sp_err *err) {
  const struct stk_ckpt_plan *plan = s->plan;
  uint64_t limit = plan->shard_bytes ? plan->shard_bytes : DEFAULT_SHARD_BYTES;
  s->shard_of = sp_alloc_array(plan->n_tensors, sizeof *s->shard_of);
  s->shards = sp_alloc_array(plan->n_tensors, sizeof *s->shards);
  if (!s->shard_of || !s->shards) {
    return sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  }
  for (int role = 0; role < N_ROLES; role++) {
    uint64_t filled = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
      const struct stk_ckpt_tensor *t = &plan->tensors[i];
      uint64_t bytes;
      if ((int)t->role != role) {
        continue;
      }
      sp_status st = stk_st_bytes(t->dtype, t->rank, t->dims, &bytes, err);
      if (st != SP_OK) {
        (void)sp_wrap(err, "checkpoint: %.200s", t->name);
        return st;
      }
      if (s->n_of_role[role] == 0 || (filled > 0 && (bytes > limit || filled > limit - bytes))) {
        s->shards[s->n_shards++] = (struct shard){.role = t->role};
        s->n_of_role[role]++;
        filled = 0;
      }
      filled += bytes;
      s->shard_of[i] = (uint32_t)(s->n_shards - 1);
      s->shards[s->n_shards - 1].n_entries++;
    }
  }
  return s->n_shards <= MAX_SHARDS
             ? SP_OK
             : sp_fail(err, SP_ERANGE, "checkpoint: %zu shards are too many", s->n_shards);
}

static void name_shards(struct save *s) {
  size_t seen[N_ROLES] = {0};
  for (size_t i = 0; i < s->n_shards; i++) {
    struct shard *sh = &s->shards[i];
    size_t n = s->n_of_role[sh->role];
    size_t k = ++seen[sh->role];
    if (n == 1) {
      snprintf(sh->name, sizeof sh->name, "%s.safetensors", families[sh->role]);
    } else {
      snprintf(sh->name, sizeof sh->name, "%s-%05zu-of-%05zu.safetensors", families[sh->role], k,
               n);
    }
  }
}

static sp_status lay_out_shard(struct save *s, size_t index, struct sp_err *err) {
  const struct stk_ckpt_plan *plan = s->plan;
  struct shard *sh = &s->shards[index];
  sh->entries = sp_alloc_array(sh->n_entries, sizeof *sh->entries);
  if (!sh->entries) {
    return sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  }
  size_t n = 0;
  for (size_t i = 0; i < plan->n_tensors; i++) {
    const struct stk_ckpt_tensor *t = &plan->tensors[i];
    if (s->shard_of[i] == index) {
      struct stk_st_entry *e = &sh->entries[n++];
      *e = (struct stk_st_entry){.name = t->name, .dtype = t->dtype, .rank = t->rank};
      memcpy(e->dims, t->dims, sizeof e->dims);
    }
  }
  char step[24];
  char shard[24];
  snprintf(step, sizeof step, "%" PRId64, plan->step);
  snprintf(shard, sizeof shard, "%zu", index);
  /* "format" is what Hugging Face tools look for; the rest tells swapped files apart. */
  const struct stk_st_pair metadata[] = {
      {"format", "pt"}, {"job", plan->job}, {"step", step}, {"shard", shard}};
  uint64_t data_bytes;
  sp_status st = stk_st_layout(sh->entries, n, &data_bytes, err);
  if (st == SP_OK) {
    st = stk_st_render(sh->entries, n, metadata, sizeof metadata / sizeof *metadata, &sh->head,
                       &sh->head_bytes, err);
  }
  if (st == SP_OK) {
    sh->bytes = sh->head_bytes + data_bytes;
    s->total_bytes += sh->bytes;
  }
  return st;
}

static sp_status lay_out(struct save *s, struct sp_err *err) {
  sp_status st = check_plan(s->plan, err);
  if (st == SP_OK) {
    st = assign_shards(s, err);
  }
  if (st == SP_OK) {
    name_shards(s);
  }
  for (size_t i = 0; st == SP_OK && i < s->n_shards; i++) {
    st = lay_out_shard(s, i, err);
  }
  return st;
}

static sp_status check_space(const struct save *s, struct sp_err *err) {
  struct statvfs fs;
  if (fstatvfs(s->tmp.parent_fd, &fs) != 0) {
    return sp_fail_errno(err, "checkpoint: cannot ask for free space of %s", s->plan->parent);
  }
  uint64_t reserve = s->plan->reserve_bytes ? s->plan->reserve_bytes : DEFAULT_RESERVE_BYTES;
  uint64_t want = s->total_bytes + s->total_bytes / 10 + reserve;
  uint64_t have = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
  if (have < want) {
    return sp_fail(err, SP_ENOSPC,
                   "checkpoint: %s has %" PRIu64 " MiB free, %" PRIu64
                   " MiB are needed; older checkpoints are untouched. Free some space or set "
                   "trainer.default_root_dir to another disk",
                   s->plan->parent, have >> 20, (want >> 20) + 1);
  }
  return SP_OK;
}

static sp_status allocate_shard(struct save *s, struct shard *sh, struct sp_err *err) {
  int e = SP_FAULT("checkpoint.open");
  int fd =
      e ? -1 : sp_fs_open(s->tmp.dir_fd, sh->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  errno = e ? e : errno;
  if (fd < 0) {
    return sp_fail_errno(err, "checkpoint: cannot create %s", sh->name);
  }
  e = SP_FAULT("checkpoint.allocate");
  while (e == 0 && sp_fs_allocate(fd, (off_t)sh->bytes) != 0) {
    e = errno == EINTR ? 0 : errno;
  }
  sp_fs_close(fd); /* nothing was written; the errors of writing are told to who writes */
  return stk_ckpt_fault(e, "cannot allocate the files; older checkpoints are untouched", err);
}

/* Room for all before the first byte of any. They are opened again one by one: descriptors are few,
 * shards may be many. */
static sp_status allocate_shards(struct save *s, struct sp_err *err) {
  sp_status st = SP_OK;
  for (size_t i = 0; st == SP_OK && i < s->n_shards; i++) {
    st = allocate_shard(s, &s->shards[i], err);
  }
  return st;
}

static sp_status write_at(int fd, const void *data, uint64_t n, uint64_t offset, const char *name,
                          struct sp_err *err) {
  sp_status st = stk_ckpt_fault(SP_FAULT("checkpoint.write"), name, err);
  return st == SP_OK ? sp_pwrite_all(fd, data, (size_t)n, (off_t)offset, name, err) : st;
}

/* Closes a file that st speaks of; what close says counts, too. */
static sp_status close_file(int fd, const char *name, sp_status st, struct sp_err *err) {
  int e = SP_FAULT("checkpoint.close");
  if (sp_fs_close(fd) != 0) {
    e = errno;
  }
  if (e && st == SP_OK) {
    errno = e;
    st = sp_fail_errno(err, "checkpoint: cannot close %s", name);
  }
  return st;
}

static int compare_names(const void *key, const void *item) {
  return strcmp(key, (*(const struct stk_ckpt_tensor *const *)item)->name);
}

/* The plan's tensors in order of their names. */
static int by_name(const void *a, const void *b) {
  return strcmp((*(const struct stk_ckpt_tensor *const *)a)->name,
                (*(const struct stk_ckpt_tensor *const *)b)->name);
}

static const struct stk_ckpt_tensor **sort_tensors(const struct stk_ckpt_plan *plan) {
  const struct stk_ckpt_tensor **sorted = sp_alloc_array(plan->n_tensors, sizeof *sorted);
  for (size_t i = 0; sorted && i < plan->n_tensors; i++) {
    sorted[i] = &plan->tensors[i];
  }
  if (sorted && plan->n_tensors > 0) {
    qsort(sorted, plan->n_tensors, sizeof *sorted, by_name);
  }
  return sorted;
}

/* Writes one shard; its tensors' checksums come from the source memory, not from the file. */
static sp_status write_shard(struct save *s, size_t index, const struct stk_ckpt_tensor **sorted,
                             struct sp_err *err) {
  struct shard *sh = &s->shards[index];
  struct stk_manifest *m = &s->manifest;
  int fd = sp_fs_open(s->tmp.dir_fd, sh->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd < 0) {
    return sp_fail_errno(err, "checkpoint: cannot open %s", sh->name);
  }
  sp_status st = write_at(fd, sh->head, sh->head_bytes, 0, sh->name, err);
  sh->crc32c = sp_crc32c(0, sh->head, sh->head_bytes);
  for (size_t i = 0; st == SP_OK && i < sh->n_entries; i++) {
    const struct stk_st_entry *e = &sh->entries[i];
    const struct stk_ckpt_tensor *const *found =
        bsearch(e->name, sorted, s->plan->n_tensors, sizeof *sorted, compare_names);
    struct stk_manifest_tensor *t = &m->tensors[m->n_tensors++];
    *t = (struct stk_manifest_tensor){
        .name = unconst(e->name),
        .role = sh->role,
        .dtype = e->dtype,
        .rank = e->rank,
        .file = (uint32_t)index,
        .offset = sh->head_bytes + e->begin,
        .bytes = e->end - e->begin,
    };
    memcpy(t->dims, e->dims, sizeof t->dims);
    t->crc32c = sp_crc32c(0, (*found)->data, (size_t)t->bytes);
    sh->crc32c = sp_crc32c(sh->crc32c, (*found)->data, (size_t)t->bytes);
    st = write_at(fd, (*found)->data, t->bytes, t->offset, sh->name, err);
  }
  if (st == SP_OK) {
    st = stk_ckpt_fault(SP_FAULT("checkpoint.sync"), sh->name, err);
  }
  if (st == SP_OK && sp_fs_fdatasync(fd) != 0) {
    st = sp_fail_errno(err, "checkpoint: cannot sync %s", sh->name);
  }
  return close_file(fd, sh->name, st, err);
}

/* A small file of the directory, durable. */
static sp_status write_small(struct save *s, const char *name, const void *data, size_t n,
                             struct sp_err *err) {
  int fd = sp_fs_open(s->tmp.dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) {
    return sp_fail_errno(err, "checkpoint: cannot create %s", name);
  }
  sp_status st = write_at(fd, data, n, 0, name, err);
  if (st == SP_OK) {
    st = sp_fsync(fd, name, err);
  }
  return close_file(fd, name, st, err);
}

static void add_file(struct save *s, const char *name, uint64_t bytes, uint32_t crc32c) {
  s->manifest.files[s->manifest.n_files++] =
      (struct stk_manifest_file){.name = unconst(name), .bytes = bytes, .crc32c = crc32c};
}

/* model.safetensors.index.json, by which Hugging Face tools open several shards as one model. */
static sp_status write_index(struct save *s, struct sp_err *err) {
  static const char name[] = "model.safetensors.index.json";
  struct sp_buf b;
  uint64_t total = 0;
  const char *comma = "";
  if (s->n_of_role[STK_CKPT_MODEL] < 2) {
    return SP_OK;
  }
  sp_buf_init(&b, STK_MANIFEST_MAX_BYTES);
  sp_buf_puts(&b, "{\"weight_map\": {");
  for (size_t i = 0; i < s->n_shards; i++) {
    const struct shard *sh = &s->shards[i];
    for (size_t k = 0; sh->role == STK_CKPT_MODEL && k < sh->n_entries; k++) {
      sp_buf_puts(&b, comma);
      stk_json_put_string(&b, sh->entries[k].name);
      sp_buf_printf(&b, ": \"%s\"", sh->name);
      total += sh->entries[k].end - sh->entries[k].begin;
      comma = ",\n  ";
    }
  }
  sp_buf_printf(&b, "}, \"metadata\": {\"total_size\": %" PRIu64 "}}\n", total);
  sp_status st = sp_buf_check(&b, name, err);
  if (st == SP_OK) {
    st = write_small(s, name, b.data, b.length, err);
    add_file(s, name, b.length, sp_crc32c(0, b.data, b.length));
  }
  sp_buf_free(&b);
  return st;
}

static int by_tensor_name(const void *a, const void *b) {
  return strcmp(((const struct stk_manifest_tensor *)a)->name,
                ((const struct stk_manifest_tensor *)b)->name);
}

static void hash_state(struct save *s, char out[SP_SHA256_HEX]) {
  const struct stk_ckpt_plan *plan = s->plan;
  struct stk_manifest *m = &s->manifest;
  struct sp_sha256 sha;
  uint8_t digest[SP_SHA256_BYTES];
  sp_sha256_init(&sha);
  if (m->n_tensors > 0) {
    qsort(m->tensors, m->n_tensors, sizeof *m->tensors, by_tensor_name);
  }
  for (size_t i = 0; i < m->n_tensors; i++) {
    const struct stk_manifest_tensor *t = &m->tensors[i];
    char text[32];
    sp_sha256_update(&sha, t->name, strlen(t->name));
    snprintf(text, sizeof text, " %s ", stk_st_dtype_name(t->dtype));
    sp_sha256_update(&sha, text, strlen(text));
    for (int32_t d = 0; d < t->rank; d++) {
      snprintf(text, sizeof text, "%s%" PRId64, d ? "x" : "", t->dims[d]);
      sp_sha256_update(&sha, text, strlen(text));
    }
    snprintf(text, sizeof text, " %08" PRIx32 "\n", t->crc32c);
    sp_sha256_update(&sha, text, strlen(text));
  }
  bool own = plan->identity != NULL;
  sp_sha256_update(&sha, own ? plan->identity : plan->control,
                   own ? plan->identity_bytes : plan->control_bytes);
  sp_sha256_final(&sha, digest);
  sp_sha256_hex(digest, out);
}

static sp_status write_manifest(struct save *s, struct sp_err *err) {
  const struct stk_ckpt_plan *plan = s->plan;
  char hash[SP_SHA256_HEX];
  char nonce[24];
  char *text;
  size_t n;
  hash_state(s, hash);
  struct stk_manifest m = s->manifest;
  m.job = unconst(plan->job);
  m.step = plan->step;
  m.epoch = plan->epoch;
  m.generation = plan->generation;
  snprintf(nonce, sizeof nonce, "%016" PRIx64, s->tmp.nonce);
  m.nonce = nonce;
  m.order_run = plan->order_run;
  m.order_seq = plan->order_seq;
  m.numerics = plan->numerics;
  m.precision = unconst(plan->precision);
  m.lanes = plan->lanes;
  m.graph_hash = unconst(plan->graph_hash);
  m.module = unconst(plan->module);
  m.module_sha256 = unconst(plan->module_sha256);
  m.state_version = plan->state_version;
  m.state_hash = hash;
  m.hparams = (struct stk_manifest_pair *)(uintptr_t)plan->hparams;
  m.n_hparams = plan->n_hparams;
  m.summary = (struct stk_manifest_pair *)(uintptr_t)plan->summary;
  m.n_summary = plan->n_summary;
  m.control_version = plan->control_version;
  m.control = (uint8_t *)(uintptr_t)plan->control;
  m.control_bytes = plan->control_bytes;
  sp_status st = stk_manifest_render(&m, &text, &n, err);
  if (st != SP_OK) {
    return st;
  }
  st = stk_ckpt_fault(SP_FAULT("checkpoint.manifest"), "MANIFEST", err);
  if (st == SP_OK) {
    st = write_small(s, "MANIFEST.tmp", text, n, err);
  }
  s->receipt.manifest_bytes = n;
  s->receipt.manifest_crc32c = sp_crc32c(0, text, n);
  sp_free(text);
  if (st == SP_OK &&
      sp_fs_rename(s->tmp.dir_fd, "MANIFEST.tmp", s->tmp.dir_fd, "MANIFEST", 0) != 0) {
    st = sp_fail_errno(err, "checkpoint: cannot rename MANIFEST");
  }
  return st == SP_OK ? sp_fsync(s->tmp.dir_fd, "the checkpoint's directory", err) : st;
}

static sp_status write_all(struct save *s, struct sp_err *err) {
  const struct stk_ckpt_plan *plan = s->plan;
  const struct stk_ckpt_tensor **sorted = sort_tensors(plan);
  s->manifest.tensors = sp_alloc_array(plan->n_tensors, sizeof *s->manifest.tensors);
  s->manifest.files = sp_alloc_array(s->n_shards + 1, sizeof *s->manifest.files);
  sp_status st = sorted && s->manifest.tensors && s->manifest.files
                     ? check_space(s, err)
                     : sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  if (st == SP_OK) {
    st = allocate_shards(s, err);
  }
  for (size_t i = 0; st == SP_OK && i < s->n_shards; i++) {
    st = write_shard(s, i, sorted, err);
    add_file(s, s->shards[i].name, s->shards[i].bytes, s->shards[i].crc32c);
  }
  if (st == SP_OK) {
    st = write_index(s, err);
  }
  if (st == SP_OK) {
    st = write_manifest(s, err);
  }
  sp_free(sorted);
  return st;
}

static void release(struct save *s) {
  for (size_t i = 0; i < s->n_shards; i++) {
    struct shard *sh = &s->shards[i];
    sp_free(sh->entries);
    sp_free(sh->head);
  }
  sp_free(s->shards);
  sp_free(s->shard_of);
  sp_free(s->manifest.tensors);
  sp_free(s->manifest.files);
}

/* The receipt of what was written; its padding is zero, since it may leave the process. */
static void write_receipt(const struct save *s, struct stk_ckpt_receipt *out) {
  *out = s->receipt;
  out->magic = STK_CKPT_RECEIPT_MAGIC;
  out->step = s->plan->step;
  out->generation = s->plan->generation;
  out->nonce = s->tmp.nonce;
  out->order_run = s->plan->order_run;
  out->order_seq = s->plan->order_seq;
  out->n_files = s->manifest.n_files;
  for (size_t i = 0; i < s->manifest.n_files; i++) {
    out->total_bytes += s->manifest.files[i].bytes;
  }
  memcpy(out->tmp, s->tmp.name, sizeof out->tmp);
}

sp_status stk_ckpt_write(const struct stk_ckpt_plan *plan, struct stk_ckpt_receipt *out,
                         struct sp_err *err) {
  struct save s = {.plan = plan};
  sp_status st = lay_out(&s, err);
  if (st == SP_OK) {
    st = stk_ckpt_tmp_open(plan->parent, plan->step, plan->generation, plan->nonce, &s.tmp, err);
    if (st == SP_OK) {
      st = write_all(&s, err);
      stk_ckpt_tmp_close(&s.tmp, st == SP_OK);
    }
  }
  if (st == SP_OK) {
    write_receipt(&s, out);
  }
  release(&s);
  return st;
}

sp_status stk_ckpt_save(const struct stk_ckpt_plan *plan, struct stk_ckpt_saved *out,
                        struct sp_err *err) {
  struct stk_ckpt_receipt receipt;
  sp_status st = stk_ckpt_write(plan, &receipt, err);
  if (st != SP_OK) {
    return st;
  }
  st = stk_ckpt_publish(plan->parent, &receipt, out, err);
  if (st != SP_OK) {
    sp_status ignored = stk_ckpt_discard(plan->parent, &receipt, NULL);
    (void)ignored;
  }
  return st;
}

sp_status stk_ckpt_plan_bytes(const struct stk_ckpt_plan *plan, uint64_t *out_bytes,
                              struct sp_err *err) {
  struct save s = {.plan = plan};
  sp_status st = lay_out(&s, err);
  if (st == SP_OK) {
    *out_bytes = s.total_bytes;
  }
  release(&s);
  return st;
}

void stk_ckpt_best_crc(const char *name, const char *monitor, const char *value, char out[16]) {
  const char *const parts[] = {name, monitor, value};
  uint32_t crc = 0;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    crc = sp_crc32c(crc, parts[i], strlen(parts[i]));
    crc = sp_crc32c(crc, "\n", 1);
  }
  snprintf(out, 16, "%08" PRIx32, crc);
}

sp_status stk_ckpt_mark_best(const char *parent, const char *name, const char *monitor,
                             double value, struct sp_err *err) {
  int64_t step;
  int64_t version;
  char number[32];
  char crc[16];
  struct sp_buf b;
  if (!stk_ckpt_name_parse(name, &step, &version)) {
    return sp_fail(err, SP_EINVAL, "checkpoint: '%.100s' is not the name of a checkpoint", name);
  }
  snprintf(number, sizeof number, "%.17g", value);
  stk_ckpt_best_crc(name, monitor, number, crc);
  sp_buf_init(&b, 1 << 16);
  sp_buf_printf(&b, "{\"name\": \"%s\", \"monitor\": ", name);
  stk_json_put_string(&b, monitor);
  sp_buf_printf(&b, ", \"value\": \"%s\", \"crc32c\": \"%s\"}\n", number, crc);
  char *path = sp_path_join(parent, "best.json");
  sp_status st = path ? sp_buf_check(&b, "best.json", err)
                      : sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  if (st == SP_OK) {
    st = sp_file_replace(path, b.data, b.length, 0644, err);
  }
  sp_free(path);
  sp_buf_free(&b);
  return st;
}
