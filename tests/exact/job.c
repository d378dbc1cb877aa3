/* Jobs in tests (job.h). */
#include "tests/exact/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/base/sha256.h"

void xj_check(sp_status st, const struct sp_err *err) {
  if (st) {
    print_error("%s\n", err->text);
  }
  assert_int_equal(st, SP_OK);
}

/* ---- the host of the loop */

static stk_ask asked(void *ctx) {
  struct xj *j = ctx;
  return j->stop_after >= 0 && j->stop_after-- == 0 ? STK_ASK_STOP : STK_ASK_NOTHING;
}

static int64_t now_ns(void *ctx) {
  (void)ctx;
  return 0;
}

static void metrics(void *ctx, int64_t step, int32_t n, const char *const *names,
                    const double *values) {
  struct xj *j = ctx;
  sp_buf_printf(&j->rows, "%lld", (long long)step);
  for (int32_t i = 0; i < n; i++) {
    sp_buf_printf(&j->rows, " %s=%a", names[i], values[i]);
  }
  sp_buf_puts(&j->rows, "\n");
}

static void say(void *ctx, const char *text) {
  (void)ctx;
  (void)text;
}

/* ---- opening */

static int64_t or_none(int64_t v, int64_t none) {
  return v == SP_INT_NONE ? none : v;
}

void xj_configure(const struct sw_setup *s, struct stk_fit_config *c) {
  const struct sp_trainer_opts *t = &s->job->trainer;
  const struct sp_count *every = &t->val_check_interval;
  int64_t n = s->n_train_batches;
  bool fraction = every->kind == SP_COUNT_FRACTION;
  *c = (struct stk_fit_config){
      .max_epochs = t->max_epochs,
      .max_steps = t->max_steps,
      .min_epochs = or_none(t->min_epochs, 0),
      .min_steps = or_none(t->min_steps, 0),
      .n_train_batches = n,
      .n_val_batches = s->n_val_batches,
      .val_every = fraction ? (int64_t)((double)n * every->fraction) : every->n,
      .val_epochs = t->check_val_every_n_epoch,
      .sanity_batches = t->num_sanity_val_steps,
      .log_every = 1,
      .train = s->train_loader,
      .val = s->val_loader,
      .host = {.now_ns = now_ns, .say = say},
  };
}

/* Steps of the whole run, -1 without an end. */
static int64_t total_steps(const struct sw_setup *s, const struct stk_fit_config *c) {
  int64_t acc = s->job->trainer.accumulate_grad_batches;
  int64_t n = c->max_epochs < 0 ? -1 : (c->n_train_batches + acc - 1) / acc * c->max_epochs;
  return n < 0 || (c->max_steps >= 0 && c->max_steps < n) ? c->max_steps : n;
}

void xj_begin(struct sw_setup *s, struct stk_fit_config *c) {
  struct sp_err err = {0};
  struct stk_state *state = stk_session_state(s->session);
  stk_state_init(state, s->module, (uint64_t)s->job->root.seed_everything, s->pool);
  xj_check(stk_schedule_init(&s->job->lr, total_steps(s, c), c->max_epochs, &c->schedules,
                             state->now->schedules, &err),
           &err);
}

/* Everything but the loop itself, which looks at whether the state is fresh. */
static struct xj *open_session(const char *job_file, const char *options) {
  struct sp_err err = {0};
  const char *args[XJ_ARGS];
  size_t n_args = 0;
  char words[1024], *rest = NULL;
  struct xj *j = sp_alloc(sizeof *j);
  assert_non_null(j);
  snprintf(words, sizeof words, "%s", options);
  for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) {
    assert_true(n_args < XJ_ARGS);
    args[n_args++] = w;
  }
  sp_buf_init(&j->before, 16 << 20);
  sp_buf_init(&j->rows, 16 << 20);
  j->stop_after = -1;
  xj_check(sw_setup_open(job_file, args, n_args, STK_TRAIN, &j->s, &err), &err);
  xj_configure(&j->s, &j->c);
  j->c.host.ctx = j;
  j->c.host.asked = asked;
  j->c.host.metrics = metrics;
  xj_begin(&j->s, &j->c);
  return j;
}

static struct xj *start(struct xj *j) {
  struct sp_err err = {0};
  xj_check(stk_fit_new(&j->c, j->s.session, &j->fit, &err), &err);
  return j;
}

struct xj *xj_open(const char *job_file, const char *options) {
  return start(open_session(job_file, options));
}

struct xj *xj_resume(const char *job_file, const char *options, const char *checkpoint) {
  struct sp_err err = {0};
  struct xj *j = open_session(job_file, options);
  xj_check(sw_ckpt_resume(&j->s, checkpoint, &err), &err);
  return start(j);
}

void xj_close(struct xj *j) {
  stk_fit_free(j->fit);
  sw_setup_close(&j->s);
  sp_buf_free(&j->before);
  sp_buf_free(&j->rows);
  sp_free(j);
}

/* ---- running */

bool xj_advance(struct xj *j) {
  struct sp_err err = {0};
  if (!j->done) {
    xj_check(stk_fit_advance(j->fit, &j->done, &err), &err);
  }
  return !j->done;
}

void xj_run(struct xj *j) {
  while (xj_advance(j)) {
  }
}

static void to_hex(struct sp_sha256 *h, char hex[XJ_HEX]) {
  uint8_t digest[32];
  sp_sha256_final(h, digest);
  for (int i = 0; i < 32; i++) {
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  }
}

void xj_hash(const struct xj *j, char hex[XJ_HEX]) {
  const struct stk_state *state = stk_session_state(j->s.session);
  uint8_t digest[32];
  struct sp_sha256 h;
  stk_state_hash(state, digest);
  sp_sha256_init(&h);
  sp_sha256_update(&h, digest, sizeof digest);
  for (int32_t i = 0; i < state->now->n_metrics; i++) {
    char line[128];
    int n = snprintf(line, sizeof line, "%s=%a\n", state->now->metrics[i].name,
                     state->now->metrics[i].value);
    sp_sha256_update(&h, line, (size_t)n);
  }
  to_hex(&h, hex);
}

void xj_hash_tensors(const struct xj *j, char hex[XJ_HEX]) {
  const struct stk_state *state = stk_session_state(j->s.session);
  const struct stk_layout *l = &state->layout;
  const struct stk_module *m = j->s.module;
  struct sp_sha256 h;
  sp_sha256_init(&h);
  for (int32_t k = 0; k < l->n_sections; k++) {
    for (int32_t i = 0; i < m->n_params; i++) {
      sp_sha256_update(&h, stk_state_read_slot(state) + k * l->section_bytes + l->param_offset[i],
                       (size_t)(stk_shape_numel(&m->params[i]->shape) * l->real_bytes));
    }
  }
  for (int32_t i = 0; i < m->n_running; i++) {
    sp_sha256_update(&h, state->running[state->now->running] + l->running_offset[i],
                     (size_t)(stk_shape_numel(&m->running[i].shape) * l->real_bytes));
  }
  to_hex(&h, hex);
}

bool xj_next(const struct xj *j, const char *name, const char **at, double *out_value) {
  char key[96];
  int n = snprintf(key, sizeof key, " %s=", name);
  const char *found = strstr(*at ? *at : (const char *)j->rows.data, key);
  if (found) {
    *out_value = strtod(found + n, NULL);
    *at = found + n;
  }
  return found != NULL;
}

char *xj_rows(const struct xj *j) {
  char *text = sp_alloc(j->before.length + j->rows.length + 1);
  assert_non_null(text);
  memcpy(text, j->before.data ? j->before.data : "", j->before.length);
  memcpy(text + j->before.length, j->rows.data ? j->rows.data : "", j->rows.length);
  return text;
}

void xj_save(struct xj *j, char path[PATH_MAX]) {
  struct sp_err err = {0};
  struct stk_ckpt_saved saved;
  const char *parent = tt_tmpfile("checkpoints");
  xj_check(sw_ckpt_save(&j->s, parent, "test", &saved, &err), &err);
  snprintf(path, PATH_MAX, "%s/%s", parent, saved.name);
}
