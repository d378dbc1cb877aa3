/* Chronicle entries in words, and the page of a run. */
#include "client/history.h"

#include "client/format.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_ms(struct sp_buf *b, double ms) {
  char text[SP_UNIT_TEXT];
  sp_format_duration((int64_t)(ms < 1e12 ? ms * 1e6 : 1e18), text);
  sp_buf_puts(b, text);
}

static void put_plural(struct sp_buf *b, int64_t n, const char *one, const char *many) {
  char number[SC_NUMBER];
  sc_format_count(n, number);
  sp_buf_printf(b, "%s %s", number, n == 1 ? one : many);
}

/* The text on one line: where it has several, they are joined. */
static void put_text(struct sp_buf *b, const char *before, const char *text) {
  if (!text) {
    return;
  }
  sp_buf_puts(b, before);
  for (; *text; text++) {
    if (*text != '\n' && *text != '\t') {
      sp_buf_putc(b, *text);
    } else if (text[1]) {
      sp_buf_puts(b, *text == '\n' ? "; " : " ");
    }
  }
}

/* "rank 1 at step 57: killed by ..."; a text about another process names it itself. */
static void put_who(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  char who[32] = "";
  if (e->rank >= 0) {
    snprintf(who, sizeof who, "rank %" PRId64, e->rank);
  }
  sp_buf_puts(b, who);
  if (e->step >= 0) {
    sp_buf_printf(b, "%sat step %" PRId64, *who ? " " : "", e->step);
  }
  put_text(b, *who || e->step >= 0 ? ": " : "", e->text ? sc_without_subject(e->text, who) : NULL);
}

static void put_recovery(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  sp_buf_printf(b, "step %" PRId64 " finished", e->next_step);
  if (e->ms >= 0) {
    sp_buf_puts(b, " after ");
    put_ms(b, e->ms);
  }
  put_text(b, ", from the ", e->source);
  if (e->recomputed >= 0) {
    sp_buf_puts(b, ", ");
    put_plural(b, e->recomputed, "step recomputed", "steps recomputed");
  }
  put_text(b, ": ", e->text);
}

static void put_checkpoint(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  if (e->ok == 0) {
    sp_buf_puts(b, "FAILED ");
  }
  sp_buf_puts(b, e->path ? e->path : "");
  if (e->step >= 0) {
    sp_buf_printf(b, " of step %" PRId64, e->step);
  }
  if (e->ms >= 0) {
    sp_buf_puts(b, " in ");
    put_ms(b, e->ms);
  }
  put_text(b, ": ", e->text);
}

/* "2 ranks from step 57: why" */
static void put_ranks(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  const char *between = "";
  if (e->ranks > 0) {
    put_plural(b, e->ranks, "rank", "ranks");
    between = ", ";
  }
  if (e->step >= 0) {
    sp_buf_printf(b, "%sstep %" PRId64, between, e->step);
    between = ", ";
  }
  if (e->source) {
    sp_buf_printf(b, "%sfrom the %s", between, e->source);
    between = ", ";
  }
  put_text(b, *between ? ": " : "", e->text);
}

static void put_body(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  switch (e->kind) {
    case SP_CHRONICLE_START:
    case SP_CHRONICLE_GENERATION:
    case SP_CHRONICLE_SCALE:
      put_ranks(b, e);
      return;
    case SP_CHRONICLE_RECOVERY:
      put_recovery(b, e);
      return;
    case SP_CHRONICLE_CHECKPOINT:
    case SP_CHRONICLE_REJECTED:
      put_checkpoint(b, e);
      return;
    case SP_CHRONICLE_DEATH:
    case SP_CHRONICLE_STALL:
    case SP_CHRONICLE_LATE:
    case SP_CHRONICLE_STRAGGLER:
      put_who(b, e);
      return;
    case SP_CHRONICLE_STOP:
    case SP_CHRONICLE_END:
      sp_buf_puts(b, e->ok == 0 ? "FAILED " : "");
      put_ranks(b, e);
      return;
    case SP_CHRONICLE_N_KINDS:
      return;
  }
}

void sc_history_put_entry(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  char time[SP_WALL_TEXT];
  sp_wall_text(e->time, time);
  sp_buf_printf(b, "%s  %3" PRId64 "  %-10s  ", time, e->generation,
                sp_chronicle_kind_name(e->kind));
  put_body(b, e);
  sp_buf_putc(b, '\n');
}

/* ---- what they come to */

/* Keeps what fits, cut in front of a character. */
static void keep_text(char *out, size_t size, const char *text) {
  size_t length = text ? strlen(text) : 0;
  size_t n = length < size ? length : size - 1;
  while (n < length && n > 0 && (text[n] & 0xC0) == 0x80) {
    n--;
  }
  memcpy(out, text ? text : "", n);
  out[n] = '\0';
}

static void keep_death(struct sc_history *h, const struct sp_chronicle_entry *e) {
  struct sp_buf b;
  sp_buf_init(&b, 16 * 1024);
  put_body(&b, e);
  keep_text(h->last_death, sizeof h->last_death, sp_buf_text(&b));
  sp_buf_free(&b);
  h->n_deaths++;
}

static bool keep_recovery(struct sc_history *h, const struct sp_chronicle_entry *e) {
  if (h->n_recoveries == h->room) {
    size_t room = h->room ? 2 * h->room : 64;
    double *bigger = sp_resize_array(h->recovery_ms, room, sizeof *bigger);
    if (!bigger) {
      return false;
    }
    h->recovery_ms = bigger;
    h->room = room;
  }
  h->recovery_ms[h->n_recoveries++] = e->ms >= 0 ? e->ms : 0;
  h->recomputed += e->recomputed > 0 ? e->recomputed : 0;
  return true;
}

static void keep_checkpoint(struct sc_history *h, const struct sp_chronicle_entry *e) {
  if (e->ok == 0) {
    keep_text(h->ckpt_failure, sizeof h->ckpt_failure, e->text ? e->text : "failed");
    h->n_ckpt_failures++;
    return;
  }
  keep_text(h->checkpoint, sizeof h->checkpoint, e->path);
  h->checkpoint_step = e->step;
  h->ckpt_failure[0] = '\0';
  h->n_checkpoints++;
}

bool sc_history_add(struct sc_history *h, const struct sp_chronicle_entry *e) {
  if (e->seq > h->seq + 1) {
    h->n_lost += (size_t)(e->seq - h->seq - 1);
  }
  int64_t step = e->next_step > e->step ? e->next_step : e->step;
  h->seq = e->seq;
  h->n_entries++;
  h->last_time = e->time;
  h->step = step >= 0 ? step : h->step;
  h->generation = e->generation;
  switch (e->kind) {
    case SP_CHRONICLE_START:
      h->n_starts++;
      h->end[0] = '\0';
      h->ranks = e->ranks >= 0 ? e->ranks : h->ranks;
      return true;
    case SP_CHRONICLE_GENERATION:
      h->ranks = e->ranks >= 0 ? e->ranks : h->ranks;
      return true;
    case SP_CHRONICLE_DEATH:
      keep_death(h, e);
      return true;
    case SP_CHRONICLE_RECOVERY:
      return keep_recovery(h, e);
    case SP_CHRONICLE_CHECKPOINT:
      keep_checkpoint(h, e);
      return true;
    case SP_CHRONICLE_STALL:
      h->n_stalls++;
      return true;
    case SP_CHRONICLE_STRAGGLER:
      h->n_stragglers++;
      return true;
    case SP_CHRONICLE_END:
      keep_text(h->end, sizeof h->end, e->text);
      return true;
    case SP_CHRONICLE_REJECTED:
    case SP_CHRONICLE_LATE:
    case SP_CHRONICLE_SCALE:
    case SP_CHRONICLE_STOP:
    case SP_CHRONICLE_N_KINDS:
      return true;
  }
  return true;
}

void sc_history_fini(struct sc_history *h) {
  sp_free(h->recovery_ms);
  *h = (struct sc_history){0};
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

double sc_history_quantile(const struct sc_history *h, double q) {
  size_t n = h->n_recoveries;
  double *sorted = n > 0 ? sp_alloc_array(n, sizeof *sorted) : NULL;
  if (!sorted) {
    return -1;
  }
  memcpy(sorted, h->recovery_ms, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, by_size);
  double exact = q * (double)n;
  size_t rank = (size_t)exact + ((double)(size_t)exact < exact); /* rounded up */
  double value = sorted[rank > 0 ? rank - 1 : 0];
  sp_free(sorted);
  return value;
}

/* ---- the page */

const char *sc_run_state_word(const struct sc_run *r) {
  switch (r->life) {
    case SC_LIFE_RUNNING:
      return "running";
    case SC_LIFE_BROKEN:
      return "interrupted";
    case SC_LIFE_OVER:
      break;
  }
  return sp_run_state_name(r->file.state);
}

static bool is_live(const struct sc_run *r) {
  return r->live.state && *r->live.state;
}

static void put_step(struct sp_buf *b, const struct sc_run *r) {
  const struct sc_history *h = &r->history;
  char time[SP_WALL_TEXT];
  if (is_live(r)) {
    sp_buf_printf(b, "step        %" PRId64, r->live.step);
    if (r->live.total_steps >= 0) {
      sp_buf_printf(b, " of %" PRId64, r->live.total_steps);
    }
    sp_buf_printf(b, ", epoch %" PRId64 "\n", r->live.epoch);
    return;
  }
  sp_buf_printf(b, "step        %" PRId64, h->step);
  if (h->n_entries > 0) {
    sp_wall_text(h->last_time, time);
    sp_buf_printf(b, " (the chronicle's newest, of %s)", time);
  }
  sp_buf_putc(b, '\n');
}

static void put_state(struct sp_buf *b, const struct sc_run *r) {
  sp_buf_printf(b, "state       %s", sc_run_state_word(r));
  if (is_live(r)) {
    sp_buf_printf(b, "%s%s, supervisor %" PRId64, strcmp(r->live.state, "running") ? ", " : "",
                  strcmp(r->live.state, "running") ? r->live.state : "", r->live.pid);
  } else if (r->life == SC_LIFE_RUNNING) {
    sp_buf_printf(b, ", supervisor %" PRId64 " (does not answer)", r->file.pid);
  } else if (r->life == SC_LIFE_BROKEN) {
    sp_buf_printf(b, ": its supervisor %" PRId64 " is gone; `stoker fit %s --resume %s` goes on",
                  r->file.pid, r->file.job_file, r->dir);
  } else if (*r->history.end) {
    put_text(b, ": ", r->history.end);
  }
  sp_buf_putc(b, '\n');
}

static void put_job(struct sp_buf *b, const struct sp_run_file *f) {
  sp_buf_printf(b, "job         %s", f->job_file);
  for (size_t i = 0; i < f->n_args; i++) {
    put_text(b, " ", f->args[i]);
  }
  sp_buf_printf(b, ", in %s\n", f->cwd);
}

static void put_recoveries(struct sp_buf *b, const struct sc_history *h) {
  if (h->n_deaths > 0) {
    sp_buf_printf(b, "deaths      %zu, the last: %s\n", h->n_deaths, h->last_death);
  }
  if (h->n_recoveries > 0) {
    sp_buf_printf(b, "recovered   %zu %s, p50 ", h->n_recoveries,
                  h->n_recoveries == 1 ? "time" : "times");
    put_ms(b, sc_history_quantile(h, 0.5));
    sp_buf_puts(b, ", at most ");
    put_ms(b, sc_history_quantile(h, 1));
    sp_buf_puts(b, ", ");
    put_plural(b, h->recomputed, "step recomputed", "steps recomputed");
    sp_buf_putc(b, '\n');
  }
  if (h->n_stalls + h->n_stragglers > 0) {
    sp_buf_printf(b, "stalls      %zu, stragglers %zu\n", h->n_stalls, h->n_stragglers);
  }
}

static void put_checkpoints(struct sp_buf *b, const struct sc_history *h) {
  if (*h->checkpoint) {
    sp_buf_printf(b, "checkpoint  %s", h->checkpoint);
    if (h->checkpoint_step >= 0) {
      sp_buf_printf(b, " of step %" PRId64, h->checkpoint_step);
    }
    sp_buf_putc(b, '\n');
  }
  if (*h->ckpt_failure) {
    put_text(b, "            the newest one FAILED: ", h->ckpt_failure);
    sp_buf_putc(b, '\n');
  }
}

void sc_run_put(struct sp_buf *b, const struct sc_run *r) {
  const struct sp_run_file *f = &r->file;
  const struct sc_history *h = &r->history;
  char time[SP_WALL_TEXT];
  sp_wall_text(f->started, time);
  sp_buf_printf(b, "run         %s\n", r->dir);
  put_state(b, r);
  put_job(b, f);
  sp_buf_printf(b, "started     %s", time);
  if (h->n_starts > 1) {
    sp_buf_printf(b, ", %zu times in all", h->n_starts);
  }
  sp_buf_printf(b, "\nmodel       %s, ", f->model);
  put_plural(b, f->lanes, "lane", "lanes");
  sp_buf_puts(b, ", ");
  put_plural(b, is_live(r) ? r->live.ranks : f->ranks, "rank", "ranks");
  sp_buf_printf(b, ", generation %" PRId64 "\n", is_live(r) ? r->live.generation : f->generation);
  put_step(b, r);
  put_recoveries(b, h);
  put_checkpoints(b, h);
  if (*f->slots_dir) {
    sp_buf_printf(b, "slots       %s%s\n", f->slots_dir, r->slots_there ? "" : " (gone)");
  }
  if (h->n_lost > 0) {
    sp_buf_printf(b, "chronicle   %zu of its entries could not be written\n", h->n_lost);
  }
}

/* A number, or null where none is known. */
static json_t *json_ms(double ms) {
  return ms >= 0 ? json_real(ms) : json_null();
}

static json_t *json_time(struct sp_wall t) {
  char text[SP_WALL_TEXT];
  sp_wall_text_ns(t, text);
  return json_string(text);
}

static json_t *json_args(const struct sp_run_file *f) {
  json_t *list = json_array();
  for (size_t i = 0; list && i < f->n_args; i++) {
    json_array_append_new(list, json_string(f->args[i]));
  }
  return list;
}

static int append_json(const char *bytes, size_t n, void *b) {
  sp_buf_append(b, bytes, n);
  return 0;
}

void sc_run_put_json(struct sp_buf *b, const struct sc_run *r) {
  const struct sp_run_file *f = &r->file;
  const struct sc_history *h = &r->history;
  json_t *o = json_pack(
      "{s:s, s:s, s:I, s:o, s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:s, s:I}",
      "run", r->dir, "state", sc_run_state_word(r), "pid", (json_int_t)f->pid, "started",
      json_time(f->started), "job_file", f->job_file, "cwd", f->cwd, "args", json_args(f), "model",
      f->model, "lanes", (json_int_t)f->lanes, "ranks",
      (json_int_t)(is_live(r) ? r->live.ranks : f->ranks), "generation",
      (json_int_t)(is_live(r) ? r->live.generation : f->generation), "step",
      (json_int_t)(is_live(r) ? r->live.step : h->step), "starts", (json_int_t)h->n_starts,
      "slots_dir", f->slots_dir, "slots_there", (int)r->slots_there, "checkpoint", h->checkpoint,
      "checkpoint_step", (json_int_t)(*h->checkpoint ? h->checkpoint_step : -1));
  json_t *more = json_pack(
      "{s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:I}", "deaths",
      (json_int_t)h->n_deaths, "recoveries", (json_int_t)h->n_recoveries, "recovery_p50_ms",
      json_ms(sc_history_quantile(h, 0.5)), "recovery_max_ms", json_ms(sc_history_quantile(h, 1)),
      "steps_recomputed", (json_int_t)h->recomputed, "stalls", (json_int_t)h->n_stalls,
      "stragglers", (json_int_t)h->n_stragglers, "checkpoint_failures",
      (json_int_t)h->n_ckpt_failures, "checkpoint_failure", h->ckpt_failure, "last_death",
      h->last_death, "end", h->end, "entries_lost", (json_int_t)h->n_lost);
  if (o && more && json_object_update(o, more) == 0 &&
      json_dump_callback(o, append_json, b, JSON_COMPACT | JSON_REAL_PRECISION(15)) == 0) {
    sp_buf_putc(b, '\n');
  } else {
    b->failure = SP_ENOMEM;
  }
  json_decref(o);
  json_decref(more);
}
