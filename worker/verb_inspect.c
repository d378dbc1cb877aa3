/* Verbs that show and do not train: check, order, init-weights, ckpt. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/checkpoint/hash.h"
#include "engine/checkpoint/json_text.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "worker/ckpt.h"
#include "worker/inspect.h"
#include "worker/find.h"
#include "worker/monitors.h"
#include "worker/verbs.h"

/* ---- check */

int sw_verb_check(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sw_setup *s = sp_alloc(sizeof *s);
  if (s && sw_open_job(argc, argv, s, &err) == SP_OK && sw_monitors_check(s, &err) == SP_OK) {
    struct sp_buf b;
    sp_buf_init(&b, SW_OUTPUT_LIMIT);
    sp_job_warnings(s->job, &b);
    sp_buf_printf(&b, "%s: ok\n", argc > 0 ? argv[0] : "job");
    sw_emit_output(e, &b);
    sp_buf_free(&b);
  }
  return sw_finish(e, s, &err);
}

/* ---- order */

static sp_status parse_steps(const char *text, int64_t per_epoch, int64_t *a, int64_t *b,
                             struct sp_err *err) {
  char left[32];
  const char *colon = text ? strchr(text, ':') : NULL;
  *a = 0;
  *b = per_epoch;
  if (!text) {
    return SP_OK;
  }
  if (!colon || colon - text >= (long)sizeof left) {
    return sp_fail(err, SP_EINVAL, "--steps %s: A:B is expected", text);
  }
  memcpy(left, text, (size_t)(colon - text));
  left[colon - text] = '\0';
  if (sp_parse_i64(left, a) || sp_parse_i64(colon + 1, b) || *a < 0 || *b < *a ||
      *b - *a > 1000000) {
    return sp_fail(err, SP_EINVAL, "--steps %s: 0 <= A <= B, at most 1,000,000 steps", text);
  }
  return SP_OK;
}

/* One line per step, lane and micro-batch: "step lane ids...". */
static sp_status order_text(struct sw_setup *s, int64_t a, int64_t b, bool json, struct sp_buf *out,
                            struct sp_err *err) {
  const struct stk_sampler *sm = stk_loader_sampler(s->train_loader);
  int64_t acc = s->job->trainer.accumulate_grad_batches, batches = s->n_train_batches;
  int64_t steps = (batches + acc - 1) / acc;
  int64_t *ids = sp_alloc_array((size_t)sm->batch_size, sizeof *ids);
  if (!ids) {
    return sp_fail(err, SP_ENOMEM, "no memory for a batch of ids");
  }
  for (int64_t step = a; step < b; step++) {
    int64_t epoch = step / steps, first = step % steps * acc;
    for (int64_t lane = 0; lane < sm->n_lanes; lane++) {
      for (int64_t k = first; k < first + acc && k < batches; k++) {
        int64_t n = stk_sampler_batch(sm, epoch, lane, k, ids);
        sp_buf_printf(out,
                      json ? "{\"step\":%" PRId64 ",\"epoch\":%" PRId64 ",\"lane\":%" PRId64
                             ",\"batch\":%" PRId64 ",\"ids\":["
                           : "step %" PRId64 " epoch %" PRId64 " lane %" PRId64 " batch %" PRId64
                             ":",
                      step, epoch, lane, k);
        for (int64_t i = 0; i < n; i++) {
          sp_buf_printf(out, json ? (i ? ",%" PRId64 : "%" PRId64) : " %" PRId64, ids[i]);
        }
        sp_buf_puts(out, json ? "]}\n" : "\n");
      }
    }
  }
  sp_free(ids);
  return SP_OK;
}

int sw_verb_order(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  const char *steps = sw_take_option(&argc, argv, "--steps");
  bool json = false;
  struct sw_setup *s = sp_alloc(sizeof *s);
  int64_t a, b;
  if (s && sw_json_asked(&argc, argv, &json, &err) == SP_OK &&
      sw_open_job(argc, argv, s, &err) == SP_OK &&
      parse_steps(steps, s->n_train_batches, &a, &b, &err) == SP_OK) {
    struct sp_buf out;
    sp_buf_init(&out, SW_OUTPUT_LIMIT);
    if (order_text(s, a, b, json, &out, &err) == SP_OK) {
      sw_emit_output(e, &out);
    }
    sp_buf_free(&out);
  }
  return sw_finish(e, s, &err);
}

/* ---- init-weights */

int sw_verb_init_weights(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  const char *path = sw_take_option(&argc, argv, "-o");
  struct sw_setup *s = sp_alloc(sizeof *s);
  if (!path) {
    sp_fail(&err, SP_EINVAL, "init-weights needs -o FILE.safetensors");
  } else if (s && sw_open_job(argc, argv, s, &err) == SP_OK) {
    stk_state_init(stk_session_state(s->session), s->module, (uint64_t)s->job->root.seed_everything,
                   s->pool);
    if (sw_ckpt_export(s, path, &err) == SP_OK) {
      sw_emit_text(e, SP_TEXT_INFO, "initial weights: %s\n", path);
    }
  }
  return sw_finish(e, s, &err);
}

/* ---- ckpt */

struct listing {
  struct sp_buf *b;
  const char *root; /* what was asked for: left out of the names */
  bool json;
};

static sp_status ckpt_line(void *ctx, const char *dir, const struct stk_ckpt_info *c,
                           struct sp_err *err) {
  const struct listing *l = ctx;
  char path[PATH_MAX];
  (void)err;
  const char *inner = dir + strlen(l->root);
  inner += *inner == '/' ? 1 : 0;
  if (l->json) {
    snprintf(path, sizeof path, "%.3900s/%.64s", dir, c->name);
    sp_buf_printf(l->b, "{\"name\":\"%s\",\"path\":", c->name);
    stk_json_put_string(l->b, path);
    sp_buf_printf(
        l->b, ",\"step\":%" PRId64 ",\"epoch\":%" PRId64 ",\"bytes\":%" PRIu64 ",\"valid\":%s}\n",
        c->step, c->epoch, c->bytes, c->valid ? "true" : "false");
  } else {
    snprintf(path, sizeof path, "%.3900s%s%.64s", inner, *inner ? "/" : "", c->name);
    sp_buf_printf(l->b, "%-24s step %-8" PRId64 " epoch %-6" PRId64 " %12" PRIu64 " bytes  %s\n",
                  path, c->step, c->epoch, c->bytes, c->valid ? "valid" : c->why);
  }
  return SP_OK;
}

/* The root without the slashes at its end, by which the listing cuts its names. */
static sp_status ckpt_ls(const char *given, bool json, struct sp_buf *b, struct sp_err *err) {
  char root[PATH_MAX];
  struct listing l = {b, root, json};
  snprintf(root, sizeof root, "%s", given);
  for (size_t n = strlen(root); n > 1 && root[n - 1] == '/'; n--) {
    root[n - 1] = '\0';
  }
  return sw_ckpt_each(root, ckpt_line, &l, err);
}

static void show_json(const struct stk_manifest *m, const char *path, struct sp_buf *b) {
  const struct {
    const char *key, *value;
  } texts[] = {{"{\"path\":", path},
               {",\"job\":", m->job},
               {",\"model\":", m->module},
               {",\"module_sha256\":", m->module_sha256},
               {",\"precision\":", m->precision},
               {",\"graph\":", m->graph_hash},
               {",\"state\":", m->state_hash}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    sp_buf_puts(b, texts[i].key);
    stk_json_put_string(b, texts[i].value);
  }
  sp_buf_printf(b,
                ",\"step\":%" PRId64 ",\"epoch\":%" PRId64 ",\"lanes\":%" PRId64
                ",\"numerics\":%" PRId64 ",\"hparams\":{",
                m->step, m->epoch, m->lanes, m->numerics);
  for (size_t i = 0; i < m->n_hparams; i++) {
    sp_buf_puts(b, i ? "," : "");
    stk_json_put_string(b, m->hparams[i].key);
    sp_buf_putc(b, ':');
    stk_json_put_string(b, m->hparams[i].value);
  }
  sp_buf_puts(b, "},\"files\":[");
  for (size_t i = 0; i < m->n_files; i++) {
    sp_buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
    stk_json_put_string(b, m->files[i].name);
    sp_buf_printf(b, ",\"bytes\":%" PRIu64 ",\"crc32c\":\"%08x\"}", m->files[i].bytes,
                  m->files[i].crc32c);
  }
  sp_buf_puts(b, "],\"tensors\":[");
  for (size_t i = 0; i < m->n_tensors; i++) {
    const struct stk_manifest_tensor *t = &m->tensors[i];
    sp_buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
    stk_json_put_string(b, t->name);
    sp_buf_printf(b, ",\"dtype\":\"%s\",\"shape\":[", stk_st_dtype_name(t->dtype));
    for (int32_t d = 0; d < t->rank; d++) {
      sp_buf_printf(b, d ? ",%" PRId64 : "%" PRId64, t->dims[d]);
    }
    sp_buf_printf(b, "],\"bytes\":%" PRIu64 "}", t->bytes);
  }
  sp_buf_puts(b, "]}\n");
}

static sp_status ckpt_show(const char *path, bool json, struct sp_buf *b, struct sp_err *err) {
  struct stk_ckpt ck = {0};
  sp_status st = stk_ckpt_open(path, &ck, err);
  if (st) {
    return st;
  }
  const struct stk_manifest *m = &ck.manifest;
  if (json) {
    show_json(m, path, b);
    stk_ckpt_close(&ck);
    return SP_OK;
  }
  sp_buf_printf(b,
                "step %" PRId64 ", epoch %" PRId64 ", model %s, %s, %" PRId64
                " lanes, graph %s\n"
                "state %s\n",
                m->step, m->epoch, m->module, m->precision, m->lanes, m->graph_hash, m->state_hash);
  for (size_t i = 0; i < m->n_hparams; i++) {
    sp_buf_printf(b, "  %s: %s\n", m->hparams[i].key, m->hparams[i].value);
  }
  for (size_t i = 0; i < m->n_files; i++) {
    sp_buf_printf(b, "  file %s %" PRIu64 " bytes crc32c %08x\n", m->files[i].name,
                  m->files[i].bytes, m->files[i].crc32c);
  }
  for (size_t i = 0; i < m->n_tensors; i++) {
    sp_buf_printf(b, "  %s %" PRIu64 " bytes\n", m->tensors[i].name, m->tensors[i].bytes);
  }
  stk_ckpt_close(&ck);
  return SP_OK;
}

static sp_status ckpt_verb(const char *what, const char *given, bool json, struct sp_buf *b,
                           struct sp_err *err) {
  char path[PATH_MAX];
  uint8_t hash[STK_HASH_BYTES];
  char hex[2 * STK_HASH_BYTES + 1];
  if (strcmp(what, "ls") == 0) {
    return ckpt_ls(given, json, b, err);
  }
  sp_status st = sw_ckpt_resolve(given, path, err);
  if (st) {
    return st;
  }
  if (strcmp(what, "hash") == 0) {
    st = stk_ckpt_hash(path, hash, err);
    if (!st) {
      stk_hash_hex(hash, hex);
      sp_buf_printf(b, json ? "{\"sha256\":\"%s\"}\n" : "%s\n", hex);
    }
    return st;
  }
  if (strcmp(what, "show") == 0) {
    return ckpt_show(path, json, b, err);
  }
  if (strcmp(what, "verify") == 0) {
    struct stk_ckpt ck = {0};
    st = stk_ckpt_open(path, &ck, err);
    st = st ? st : stk_ckpt_verify(&ck, err);
    stk_ckpt_close(&ck);
    if (!st) {
      sp_buf_printf(b, json ? "{\"valid\":true}\n" : "%s: every checksum agrees\n", path);
    }
    return st;
  }
  return sp_fail(err, SP_EINVAL, "ckpt %s: there are ls, show, verify, hash", what);
}

int sw_verb_ckpt(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sp_buf b;
  bool json = false;
  sp_buf_init(&b, SW_OUTPUT_LIMIT);
  sp_status st = sw_json_asked(&argc, argv, &json, &err);
  if (!st && argc != 2) {
    st = sp_fail(&err, SP_EINVAL, "usage: stoker ckpt ls|show|verify|hash PATH");
  }
  st = st ? st : ckpt_verb(argv[0], argv[1], json, &b, &err);
  if (!st) {
    sw_emit_output(e, &b);
  }
  sp_buf_free(&b);
  return sw_finish(e, NULL, &err);
}
