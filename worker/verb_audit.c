/* `stoker audit`: steps of a run done again and compared with its audit log; `stoker bisect`: the
 * first step at which two runs differ. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/checkpoint/json_text.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "proto/run/audit_log.h"
#include "proto/run/run_file.h"
#include "worker/inspect.h"
#include "worker/replay.h"
#include "worker/verbs.h"

static const char *const part_names[SP_AUDIT_PARTS] = {
    "parameters", "optimizer state", "running statistics", "counters and metrics"};

/* ---- what both say */

/* Opens the audit log of the run that `path` means; out_dir is absolute. */
static sp_status open_log(const char *path, char out_dir[PATH_MAX], struct sp_audit_reader *out,
                          struct sp_err *err) {
  char *dir = NULL;
  sp_status st = sp_run_find(path, &dir, err);
  if (!st && !realpath(dir, out_dir)) {
    st = sp_fail_errno(err, "%s", dir);
  }
  sp_free(dir);
  st = st ? st : sp_audit_read_open(out_dir, out, err);
  if (st == SP_ENOENT && *out_dir) {
    st = sp_fail(err, SP_ENOENT,
                 "%s has no audit log; a run keeps one with `stoker fit JOB --trainer.audit true`",
                 path);
  }
  return st;
}

static void put_digest(struct sp_buf *b, const uint8_t digest[SP_AUDIT_DIGEST]) {
  char hex[2 * SP_AUDIT_DIGEST + 1];
  for (int i = 0; i < SP_AUDIT_DIGEST; i++) {
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  }
  sp_buf_puts(b, hex);
}

static bool differs(const struct sp_audit_record *a, const struct sp_audit_record *b, int part) {
  return memcmp(a->tag[part], b->tag[part], SP_AUDIT_TAG) != 0;
}

/* "parameters, optimizer state": those that differ, or those that do not. */
static int put_parts(struct sp_buf *b, const struct sp_audit_record *x,
                     const struct sp_audit_record *y, bool which, bool json) {
  int n = 0;
  for (int i = 0; i < SP_AUDIT_PARTS; i++) {
    if (differs(x, y, i) == which) {
      sp_buf_printf(b, json ? "%s\"%s\"" : "%s%s", n++ ? (json ? "," : ", ") : "", part_names[i]);
    }
  }
  return n;
}

/* The step at which x and y differ; their names are as wide as the longer one. */
static void put_difference(struct sp_buf *b, const char *x_name, const struct sp_audit_record *x,
                           const char *y_name, const struct sp_audit_record *y) {
  const int nx = (int)strlen(x_name), ny = (int)strlen(y_name), wide = nx > ny ? nx : ny;
  sp_buf_printf(b, "step %" PRId64 " is the first that differs\n  %-*s  ", x->step, wide, x_name);
  put_digest(b, x->digest);
  sp_buf_printf(b, "\n  %-*s  ", wide, y_name);
  put_digest(b, y->digest);
  sp_buf_puts(b, "\n  differ: ");
  if (put_parts(b, x, y, true, false) == 0) {
    sp_buf_puts(b, "sizes");
  }
  sp_buf_puts(b, "; alike: ");
  if (put_parts(b, x, y, false, false) == 0) {
    sp_buf_puts(b, "nothing");
  }
  sp_buf_puts(b, "\n");
}

static void put_difference_json(struct sp_buf *b, const char *x_name,
                                const struct sp_audit_record *x, const char *y_name,
                                const struct sp_audit_record *y) {
  sp_buf_printf(b, "{\"step\":%" PRId64 ",\"%s\":\"", x->step, x_name);
  put_digest(b, x->digest);
  sp_buf_printf(b, "\",\"%s\":\"", y_name);
  put_digest(b, y->digest);
  sp_buf_puts(b, "\",\"parts\":[");
  put_parts(b, x, y, true, true);
  sp_buf_puts(b, "]}");
}

/* Prints, and ends the verb; a verdict that is not good is a failed job's. */
static int end(struct sw_emit *e, struct sp_buf *b, const struct sp_err *err) {
  struct sp_event_result r = {.message = "", .ckpt_last = "", .ckpt_best = ""};
  if (b->length > 0) {
    sw_emit_output(e, b);
  }
  sp_buf_free(b);
  return sw_emit_result(e, err, err->status == SP_EMISMATCH || err->status == SP_ECORRUPT, &r);
}

/* ---- audit */

struct audit {
  const char *run; /* as given */
  char dir[PATH_MAX];
  char config[PATH_MAX + 16];
  struct sp_audit_reader log;
  int64_t lo, hi;            /* steps asked for */
  int64_t from;              /* steps that the state has to begin with */
  char checkpoint[PATH_MAX]; /* "": the beginning */
  const char **args;         /* of the job */
  size_t n_args;
  struct sp_arena arena; /* run.json's */
  struct sp_run_file file;
  int64_t n_compared;
  bool differ;
  struct sp_audit_record recorded, computed;
  struct sp_err read_err;
};

/* --steps A:B; either may be left out. */
static sp_status take_steps(struct audit *a, const char *text, struct sp_err *err) {
  const int64_t first = a->log.first, end_of = a->log.first + a->log.n;
  char left[32] = "";
  const char *colon = text ? strchr(text, ':') : NULL;
  a->lo = first;
  a->hi = end_of;
  if (text && (!colon || colon - text >= (long)sizeof left)) {
    return sp_fail(err, SP_EINVAL, "--steps %s: A:B is expected, the steps A to B-1", text);
  }
  if (text) {
    memcpy(left, text, (size_t)(colon - text));
    if ((*left && sp_parse_i64(left, &a->lo)) || (colon[1] && sp_parse_i64(colon + 1, &a->hi))) {
      return sp_fail(err, SP_EINVAL, "--steps %s: A:B is expected, the steps A to B-1", text);
    }
  }
  if (a->lo < first || a->hi > end_of || a->lo >= a->hi) {
    return sp_fail(err, SP_EINVAL,
                   "--steps %s: the audit log of %s has the steps %" PRId64 ":%" PRId64,
                   text ? text : ":", a->run, first, end_of);
  }
  return SP_OK;
}

/* The options of the job: ours behind the ones given, so that they win. */
static sp_status take_args(struct audit *a, int argc, char **argv, const char *ranks,
                           struct sp_err *err) {
  a->args = sp_alloc_array((size_t)argc + 6, sizeof *a->args);
  if (!a->args) {
    return sp_fail(err, SP_ENOMEM, "no memory for arguments");
  }
  for (int i = 0; i < argc; i++) {
    a->args[a->n_args++] = argv[i];
  }
  if (ranks) {
    a->args[a->n_args++] = "--trainer.ranks";
    a->args[a->n_args++] = ranks;
  }
  a->args[a->n_args++] = "--trainer.audit";
  a->args[a->n_args++] = "true";
  a->args[a->n_args++] = "--trainer.profiler";
  a->args[a->n_args++] = "none";
  return SP_OK;
}

/* The newest checkpoint of the run from which step lo can be reached. */
static sp_status find_start(struct audit *a, struct sp_err *err) {
  struct stk_ckpt_info *list = NULL;
  size_t n = 0;
  sp_status st = *a->file.ckpt_dir ? stk_ckpt_list(a->file.ckpt_dir, &list, &n, err) : SP_OK;
  for (size_t i = 0; i < n && !*a->checkpoint; i++) {
    if (list[i].valid && list[i].step <= a->lo) {
      snprintf(a->checkpoint, sizeof a->checkpoint, "%.4000s/%s", a->file.ckpt_dir, list[i].name);
      a->from = list[i].step;
    }
  }
  sp_free(list);
  return st;
}

/* A run that began with a checkpoint of another one has no beginning of its own. */
static sp_status check_start(struct audit *a, const struct sp_job *job, struct sp_err *err) {
  const char *given = job->root.ckpt_path;
  struct stk_ckpt ck = {0};
  if (*a->checkpoint || a->log.first == 0) {
    return SP_OK;
  }
  if (given && stk_ckpt_open(given, &ck, NULL) == SP_OK && ck.manifest.step <= a->lo) {
    snprintf(a->checkpoint, sizeof a->checkpoint, "%s", given);
    a->from = ck.manifest.step;
  }
  stk_ckpt_close(&ck);
  return *a->checkpoint ? SP_OK
                        : sp_fail(err, SP_ENOENT,
                                  "%s began at step %" PRId64
                                  " and has no checkpoint at or before step %" PRId64
                                  "; name a later interval (`stoker ckpt ls %s`)",
                                  a->run, a->log.first, a->lo, a->run);
}

static bool compare(void *ctx, int64_t step, const struct stk_audit *computed) {
  struct audit *a = ctx;
  if (step >= a->log.first) {
    if (sp_audit_get(&a->log, step, &a->recorded, &a->read_err)) {
      return false;
    }
    a->computed = (struct sp_audit_record){.step = step};
    memcpy(a->computed.digest, computed->digest, sizeof a->computed.digest);
    memcpy(a->computed.tag, computed->tag, sizeof a->computed.tag);
    a->differ = memcmp(a->recorded.digest, a->computed.digest, sizeof a->computed.digest) != 0;
    a->n_compared += step >= a->lo;
  }
  return !a->differ && step + 1 < a->hi;
}

static void put_verdict(const struct audit *a, const struct sw_setup *s, bool json,
                        struct sp_buf *b) {
  const char *from = *a->checkpoint ? a->checkpoint : "the beginning";
  if (json) {
    sp_buf_puts(b, "{\"run\":");
    stk_json_put_string(b, a->dir);
    sp_buf_puts(b, ",\"checkpoint\":");
    stk_json_put_string(b, a->checkpoint);
    sp_buf_printf(b,
                  ",\"steps\":[%" PRId64 ",%" PRId64 "],\"compared\":%" PRId64 ",\"ranks\":%" PRId64
                  ",\"kernels\":\"%s\",\"equal\":%s,\"first\":",
                  a->lo, a->hi, a->n_compared, s->job->trainer.ranks, s->kernels->isa,
                  a->differ ? "false" : "true");
    if (a->differ) {
      put_difference_json(b, "recorded", &a->recorded, "computed", &a->computed);
    }
    sp_buf_puts(b, a->differ ? "}\n" : "null}\n");
    return;
  }
  if (a->differ) {
    put_difference(b, "recorded", &a->recorded, "computed", &a->computed);
  } else {
    sp_buf_printf(b, "ok: %" PRId64 " steps, %" PRId64 ":%" PRId64 ", are what the run recorded\n",
                  a->n_compared, a->lo, a->hi);
  }
  sp_buf_printf(b, "  done again from %s by %" PRId64 " rank%s with %s kernels\n", from,
                s->job->trainer.ranks, s->job->trainer.ranks == 1 ? "" : "s", s->kernels->isa);
}

static sp_status judge(const struct audit *a, struct sp_err *err) {
  if (a->read_err.status) {
    *err = a->read_err;
    return err->status;
  }
  if (a->differ) {
    return sp_fail(err, SP_EMISMATCH,
                   "step %" PRId64
                   " of %s does not come out as it was recorded; `stoker order %s "
                   "--steps %" PRId64 ":%" PRId64 "` lists its samples",
                   a->recorded.step, a->run, a->config, a->recorded.step, a->recorded.step + 1);
  }
  if (sw_stop_asked()) {
    return sp_fail(err, SP_ECANCELED, "stopped after %" PRId64 " steps", a->n_compared);
  }
  if (a->n_compared < a->hi - a->lo) {
    return sp_fail(err, SP_EMISMATCH,
                   "the job ends after step %" PRId64 ", but the audit log of %s goes on",
                   a->lo + a->n_compared - 1, a->run);
  }
  return SP_OK;
}

static sp_status run_again(struct audit *a, bool json, struct sp_buf *b, struct sp_err *err) {
  const struct sw_replay_spec spec = {a->config, a->args, a->n_args};
  struct sw_replay *r = NULL;
  sp_status st = sw_replay_new(&spec, &r, err);
  st = st ? st : check_start(a, sw_replay_setup(r)->job, err);
  st = st ? st : sw_replay_run(r, a->checkpoint, compare, a, err);
  if (!st) {
    st = judge(a, err);
    if (st == SP_OK || a->differ) {
      put_verdict(a, sw_replay_setup(r), json, b);
    }
  }
  sw_replay_free(r);
  return st;
}

static sp_status audit(struct audit *a, int argc, char **argv, struct sp_buf *b,
                       struct sp_err *err) {
  bool json = false;
  const char *steps = sw_take_option(&argc, argv, "--steps");
  const char *ranks = sw_take_option(&argc, argv, "--ranks");
  sp_status st = sw_json_asked(&argc, argv, &json, err);
  if (!st && (argc < 1 || argv[0][0] == '-')) {
    st = sp_fail(err, SP_EINVAL,
                 "usage: stoker audit RUN [--steps A:B] [--ranks M] [-o json] [--key value]...");
  }
  if (st) {
    return st;
  }
  a->run = argv[0];
  st = open_log(a->run, a->dir, &a->log, err);
  st = st ? st : take_steps(a, steps, err);
  st = st ? st : take_args(a, argc - 1, argv + 1, ranks, err);
  st = st ? st : sp_audit_check(&a->log, a->lo, a->hi, err);
  st = st ? st : sp_run_file_read(a->dir, &a->file, &a->arena, err);
  st = st ? st : find_start(a, err);
  if (!st && chdir(a->file.cwd) != 0) {
    st = sp_fail_errno(err, "the directory in which the run was started, %s", a->file.cwd);
  }
  snprintf(a->config, sizeof a->config, "%s/config.yaml", a->dir);
  return st ? st : run_again(a, json, b, err);
}

int sw_verb_audit(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sp_buf b;
  struct audit *a = sp_alloc(sizeof *a);
  sp_buf_init(&b, SW_OUTPUT_LIMIT);
  if (!a) {
    sp_fail(&err, SP_ENOMEM, "no memory");
    return end(e, &b, &err);
  }
  a->log.fd = -1;
  (void)audit(a, argc, argv, &b, &err);
  sp_audit_read_close(&a->log);
  sp_arena_clear(&a->arena);
  sp_free(a->args);
  sp_free(a);
  return end(e, &b, &err);
}

/* ---- bisect */

struct bisect {
  const char *run[2];
  struct sp_audit_reader log[2];
  int64_t lo, hi; /* steps that both have */
  bool differ;
  struct sp_audit_record at[2]; /* of the first step that differs */
};

static sp_status get_both(struct bisect *v, int64_t step, struct sp_err *err) {
  sp_status st = sp_audit_get(&v->log[0], step, &v->at[0], err);
  return st ? st : sp_audit_get(&v->log[1], step, &v->at[1], err);
}

/* A link covers all steps before it, so the first link that differs is found by halving. */
static sp_status search_links(struct bisect *v, struct sp_err *err) {
  int64_t lo = v->lo, hi = v->hi;
  while (lo < hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    sp_status st = get_both(v, middle, err);
    if (st) {
      return st;
    }
    if (memcmp(v->at[0].link, v->at[1].link, SP_AUDIT_DIGEST) != 0) {
      hi = middle;
    } else {
      lo = middle + 1;
    }
  }
  v->differ = lo < v->hi;
  return v->differ ? get_both(v, lo, err) : SP_OK;
}

/* Logs that begin at different steps have different links. */
static sp_status search_digests(struct bisect *v, struct sp_err *err) {
  sp_status st = SP_OK;
  for (int64_t step = v->lo; step < v->hi && !st && !v->differ; step++) {
    st = get_both(v, step, err);
    v->differ = !st && memcmp(v->at[0].digest, v->at[1].digest, SP_AUDIT_DIGEST) != 0;
  }
  return st;
}

static sp_status search(struct bisect *v, struct sp_err *err) {
  const struct sp_audit_reader *a = &v->log[0], *b = &v->log[1];
  v->lo = a->first > b->first ? a->first : b->first;
  v->hi = a->first + a->n < b->first + b->n ? a->first + a->n : b->first + b->n;
  if (v->lo >= v->hi) {
    return sp_fail(err, SP_EINVAL,
                   "%s has the steps %" PRId64 ":%" PRId64 " and %s the steps %" PRId64 ":%" PRId64
                   ": none in common",
                   v->run[0], a->first, a->first + a->n, v->run[1], b->first, b->first + b->n);
  }
  sp_status st = sp_audit_check(a, a->first, a->first + a->n, err);
  st = st ? st : sp_audit_check(b, b->first, b->first + b->n, err);
  if (st) {
    return st;
  }
  return a->first == b->first ? search_links(v, err) : search_digests(v, err);
}

static void put_bisect_json(const struct bisect *v, struct sp_buf *b) {
  sp_buf_puts(b, "{\"runs\":[");
  stk_json_put_string(b, v->run[0]);
  sp_buf_puts(b, ",");
  stk_json_put_string(b, v->run[1]);
  sp_buf_printf(b,
                "],\"steps\":[%" PRId64 ",%" PRId64 "],\"ends\":[%" PRId64 ",%" PRId64
                "],\"equal\":%s,\"first\":",
                v->lo, v->hi, v->log[0].first + v->log[0].n, v->log[1].first + v->log[1].n,
                v->differ ? "false" : "true");
  if (v->differ) {
    put_difference_json(b, "a", &v->at[0], "b", &v->at[1]);
  }
  sp_buf_puts(b, v->differ ? "}\n" : "null}\n");
}

static void put_bisect(const struct bisect *v, struct sp_buf *b) {
  const int64_t ends[2] = {v->log[0].first + v->log[0].n, v->log[1].first + v->log[1].n};
  if (v->differ) {
    put_difference(b, v->run[0], &v->at[0], v->run[1], &v->at[1]);
    return;
  }
  sp_buf_printf(b, "all %" PRId64 " steps that both have, %" PRId64 ":%" PRId64 ", are alike\n",
                v->hi - v->lo, v->lo, v->hi);
  if (ends[0] != ends[1]) {
    const int longer = ends[1] > ends[0];
    sp_buf_printf(b, "  %s ends there, %s has %" PRId64 " more\n", v->run[!longer], v->run[longer],
                  ends[longer] - ends[!longer]);
  }
}

static sp_status bisect(struct bisect *v, int argc, char **argv, struct sp_buf *b,
                        struct sp_err *err) {
  bool json = false;
  char dir[PATH_MAX];
  sp_status st = sw_json_asked(&argc, argv, &json, err);
  if (!st && argc != 2) {
    st = sp_fail(err, SP_EINVAL, "usage: stoker bisect RUN1 RUN2 [-o json]");
  }
  for (int i = 0; i < 2 && !st; i++) {
    *dir = '\0';
    v->run[i] = argv[i];
    st = open_log(argv[i], dir, &v->log[i], err);
  }
  st = st ? st : search(v, err);
  if (st) {
    return st;
  }
  if (json) {
    put_bisect_json(v, b);
  } else {
    put_bisect(v, b);
  }
  return v->differ ? sp_fail(err, SP_EMISMATCH, "%s and %s differ from step %" PRId64 " on",
                             v->run[0], v->run[1], v->at[0].step)
                   : SP_OK;
}

int sw_verb_bisect(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sp_buf b;
  struct bisect v = {.log = {{.fd = -1}, {.fd = -1}}};
  sp_buf_init(&b, SW_OUTPUT_LIMIT);
  (void)bisect(&v, argc, argv, &b, &err);
  sp_audit_read_close(&v.log[0]);
  sp_audit_read_close(&v.log[1]);
  return end(e, &b, &err);
}
