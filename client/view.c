/* Events to text; the behaviour is in the header. Whatever is printed first takes the bar off the
 * screen; the next tick puts it back. */
#include "client/view.h"

#include "client/bar.h"
#include "client/format.h"
#include "client/table.h"
#include "proto/base/strutil.h"
#include "proto/base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LINE_WIDTH = 400, TEXT_LIMIT = 1 << 20 };

static const int64_t bar_every_ns = SP_NS_PER_S / 10;
static const int64_t line_every_ns = 10 * SP_NS_PER_S;
static const int64_t line_least_ns = SP_NS_PER_S;

void sc_view_init(struct sc_view *v, const struct sc_view_options *o, size_t width) {
  *v = (struct sc_view){.o = *o, .width = width};
}

void sc_view_resize(struct sc_view *v, size_t width) {
  v->width = width;
  v->dirty = v->have_progress;
}

static void put(struct sc_view *v, sc_stream stream, const char *text, size_t n) {
  if (n > 0) {
    v->o.sink(v->o.ctx, stream, text, n);
  }
}

static void puts_out(struct sc_view *v, const char *text) {
  put(v, SC_OUT, text, strlen(text));
}

/* Makes room for a print: no bar, and a fresh line after somebody's unfinished one. */
static void clear_line(struct sc_view *v) {
  if (v->drawn) {
    puts_out(v, "\r\x1b[K");
    v->drawn = false;
    v->dirty = v->have_progress;
  }
  if (v->open_line) {
    put(v, v->open_stream, "\n", 1);
    v->open_line = false;
  }
}

/* Prints a buffer of whole lines and releases it. */
static void print(struct sc_view *v, sc_stream stream, struct sp_buf *b) {
  clear_line(v);
  put(v, stream, sp_buf_text(b), b->length);
  sp_buf_free(b);
}

static struct sp_buf text_buffer(void) {
  struct sp_buf b;
  sp_buf_init(&b, TEXT_LIMIT);
  return b;
}

void sc_view_raw(struct sc_view *v, sc_stream stream, const char *bytes, size_t n) {
  if (n == 0) {
    return;
  }
  bool goes_on = v->open_line && v->open_stream == stream;
  if (!goes_on && v->o.terminal[stream]) {
    clear_line(v);
  }
  put(v, stream, bytes, n);
  if (v->o.bar && v->o.terminal[stream]) {
    v->open_line = bytes[n - 1] != '\n';
    v->open_stream = stream;
  }
}

/* "error: " or "warning: " in front of a text of one or more lines; colour only where asked. */
static void print_labelled(struct sc_view *v, const char *label, const char *colour,
                           const char *text) {
  struct sp_buf b = text_buffer();
  if (v->o.colour && *colour) {
    sp_buf_printf(&b, "\x1b[%sm%s:\x1b[0m %s\n", colour, label, text);
  } else {
    sp_buf_printf(&b, "%s: %s\n", label, text);
  }
  print(v, SC_ERR, &b);
}

void sc_view_notice(struct sc_view *v, const char *text) {
  print_labelled(v, "stoker", "", text);
}

void sc_view_error(struct sc_view *v, const char *text) {
  v->failed_shown = true;
  print_labelled(v, "error", "31", text);
}

static void show_text(struct sc_view *v, const struct sp_event_text *e) {
  char clean[SP_EVENT_MAX_TEXT + 1];
  size_t n = sp_utf8_scrub(clean, SP_EVENT_MAX_TEXT, e->text, e->n_bytes, true);
  while (n > 0 && clean[n - 1] == '\n') {
    clean[--n] = '\0';
  }
  if (e->level == SP_TEXT_WARNING) {
    print_labelled(v, "warning", "33", clean);
  } else {
    struct sp_buf b = text_buffer();
    sp_buf_printf(&b, "%s\n", clean);
    print(v, SC_OUT, &b);
  }
}

static void put_plural(struct sp_buf *b, int64_t n, const char *one, const char *many) {
  char number[SC_NUMBER];
  sc_format_count(n, number);
  sp_buf_printf(b, "%s %s", number, n == 1 ? one : many);
}

static void put_extent(struct sp_buf *b, const struct sp_event_run_started *e) {
  if (e->max_epochs > 0) {
    sp_buf_puts(b, ", ");
    put_plural(b, e->max_epochs, "epoch", "epochs");
    if (e->n_train_batches > 0) {
      sp_buf_puts(b, " of ");
      put_plural(b, e->n_train_batches, "batch", "batches");
    }
  } else if (e->total_steps > 0) {
    sp_buf_puts(b, ", ");
    put_plural(b, e->total_steps, "step", "steps");
  }
}

static void show_run_started(struct sc_view *v, const struct sp_event_run_started *e) {
  struct sp_buf b = text_buffer();
  v->ran = true;
  v->fitting = strcmp(e->verb, "fit") == 0;
  v->n_ranks = e->ranks;
  sp_buf_printf(&b, "%s %s: ", e->verb, e->model);
  put_plural(&b, e->n_params, "parameter", "parameters");
  if (v->fitting) {
    put_extent(&b, e);
  }
  sp_buf_puts(&b, ", ");
  put_plural(&b, e->lanes, "lane", "lanes");
  sp_buf_puts(&b, ", ");
  if (e->ranks > 1) {
    put_plural(&b, e->ranks, "rank", "ranks");
    sp_buf_puts(&b, ", ");
  }
  put_plural(&b, e->threads, "thread", "threads");
  sp_buf_printf(&b, ", %s, %s", e->kernels, e->precision);
  if (e->plan_peak_bytes >= 0) {
    char bytes[SP_UNIT_TEXT];
    sp_format_bytes((uint64_t)e->plan_peak_bytes, bytes);
    sp_buf_printf(&b, ", %s planned", bytes);
  }
  sp_buf_putc(&b, '\n');
  if (*e->log_dir) {
    sp_buf_printf(&b, "logs in %s\n", e->log_dir);
  }
  if (*e->resumed_from) {
    sp_buf_printf(&b, "resuming from %s at epoch %" PRId64 ", step %" PRId64 "\n", e->resumed_from,
                  e->epoch, e->global_step);
  }
  print(v, SC_OUT, &b);
}

static void copy_name(char out[SC_VIEW_NAME], const char *name) {
  sp_utf8_scrub(out, SC_VIEW_NAME - 1, name, strlen(name), false);
}

static void keep_progress(struct sc_view *v, const struct sp_event_progress *e) {
  struct sc_progress *p = &v->progress;
  p->event = *e;
  p->event.n_metrics = e->n_metrics < SC_VIEW_METRICS ? e->n_metrics : SC_VIEW_METRICS;
  for (size_t i = 0; i < p->event.n_metrics; i++) {
    copy_name(p->names[i], e->metrics[i].name);
    p->metrics[i] = (struct sp_event_metric){p->names[i], e->metrics[i].value};
  }
  copy_name(p->unit, e->unit);
  p->event.metrics = p->metrics;
  p->event.unit = p->unit;
  v->have_progress = true;
  v->dirty = true;
}

static bool at_stage_end(const struct sp_event_progress *p) {
  return p->n_batches >= 0 && p->batch >= p->n_batches;
}

/* Nanoseconds from the last drawing until the kept progress is shown. */
static int64_t draw_gap(const struct sc_view *v) {
  if (!v->printed) {
    return 0;
  }
  if (v->o.bar) {
    return bar_every_ns;
  }
  const struct sp_event_progress *p = &v->progress.event;
  bool last = p->total_steps >= 0 && p->global_step >= p->total_steps;
  return at_stage_end(p) ? (last ? 0 : line_least_ns) : line_every_ns;
}

static void draw(struct sc_view *v, struct sp_mono now) {
  struct sp_buf b = text_buffer();
  if (v->o.bar) {
    if (v->open_line) {
      clear_line(v);
    }
    sp_buf_putc(&b, '\r');
    sc_bar_put(&b, &v->progress.event, v->width > 1 ? v->width - 1 : 1, true);
    sp_buf_puts(&b, "\x1b[K");
    v->drawn = true;
  } else {
    clear_line(v);
    sc_bar_put(&b, &v->progress.event, LINE_WIDTH, false);
    sp_buf_putc(&b, '\n');
  }
  put(v, SC_OUT, sp_buf_text(&b), b.length);
  sp_buf_free(&b);
  v->dirty = false;
  v->printed = true;
  v->last = now;
}

int64_t sc_view_tick(struct sc_view *v, struct sp_mono now) {
  if (!v->dirty) {
    return -1;
  }
  int64_t wait = draw_gap(v) - sp_mono_between(v->last, now);
  if (v->printed && wait > 0) {
    return wait;
  }
  draw(v, now);
  return -1;
}

static void put_metrics(struct sp_buf *b, size_t n, const struct sp_event_metric *metrics) {
  for (size_t i = 0; i < n; i++) {
    char number[SC_NUMBER];
    sc_format_metric(metrics[i].value, number);
    sp_buf_printf(b, "  %s %s", metrics[i].name, number);
  }
}

/* One name and value a line, values aligned, as the verbs that only evaluate end. */
static void put_metric_list(struct sp_buf *b, size_t n, const struct sp_event_metric *metrics) {
  size_t width = 0;
  for (size_t i = 0; i < n; i++) {
    size_t columns = sc_columns(metrics[i].name, strlen(metrics[i].name));
    width = columns > width ? columns : width;
  }
  for (size_t i = 0; i < n; i++) {
    size_t columns = sc_columns(metrics[i].name, strlen(metrics[i].name));
    sp_buf_printf(b, "  %s%*s  %.9g\n", metrics[i].name, (int)(width - columns), "",
                  metrics[i].value);
  }
}

static void show_validation(struct sc_view *v, const struct sp_event_validation *e) {
  struct sp_buf b = text_buffer();
  char seconds[SC_NUMBER];
  sc_format_clock(e->seconds, seconds);
  if (v->fitting && e->stage == SP_STAGE_VALIDATE) {
    sp_buf_printf(&b, "Epoch %" PRId64 "  step %" PRId64, e->epoch, e->step);
  } else {
    sp_buf_puts(&b, sp_stage_name(e->stage));
  }
  if (v->fitting) {
    put_metrics(&b, e->n_metrics, e->metrics);
  }
  sp_buf_puts(&b, "  (");
  put_plural(&b, e->n_batches, "batch", "batches");
  sp_buf_printf(&b, ", %s)\n", seconds);
  if (!v->fitting) {
    put_metric_list(&b, e->n_metrics, e->metrics);
  }
  v->have_progress = v->have_progress && v->progress.event.stage == SP_STAGE_TRAIN;
  v->dirty = v->dirty && v->have_progress;
  print(v, SC_OUT, &b);
}

static void show_checkpoint(struct sc_view *v, const struct sp_event_checkpoint *e) {
  if (e->ok) {
    snprintf(v->checkpoint, sizeof v->checkpoint, "%s", e->path);
    return;
  }
  struct sp_buf b = text_buffer();
  sp_buf_printf(&b, "checkpoint %s at step %" PRId64 " failed: %s; training goes on", e->path,
                e->step, e->error);
  if (*v->checkpoint) {
    sp_buf_printf(&b, ", %s stays", v->checkpoint);
  }
  print_labelled(v, "warning", "33", sp_buf_text(&b));
  sp_buf_free(&b);
}

/* "from the slots, 1 step recomputed" */
static void put_source(struct sp_buf *b, const struct sp_event_recovery *e) {
  static const char *const words[] = {[SP_SOURCE_SLOTS] = "from the slots",
                                      [SP_SOURCE_CHECKPOINT] = "from a checkpoint",
                                      [SP_SOURCE_START] = "from the start"};
  sp_buf_printf(b, "%s, ", words[e->source]);
  put_plural(b, e->n_recomputed, "step", "steps");
  sp_buf_puts(b, " recomputed");
}

static void show_recovery(struct sc_view *v, const struct sp_event_recovery *e) {
  struct sp_buf b = text_buffer();
  char took[SP_UNIT_TEXT];
  if (e->ms < 999.5) {
    snprintf(took, sizeof took, "%.0f ms", e->ms);
  } else {
    sp_format_duration((int64_t)(e->ms < 1e12 ? e->ms * 1e6 : 1e18), took);
  }
  sp_buf_printf(&b,
                "%s died at step %" PRId64 " (%s); step %" PRId64
                " was finished %s later "
                "(generation %" PRId64 ", ",
                e->who, e->step, sc_without_subject(e->cause, e->who), e->next_step, took,
                e->generation);
  put_source(&b, e);
  sp_buf_puts(&b, ")\n");
  print(v, SC_OUT, &b);
}

/* A change of width is news; a recovery has a line of its own. */
static void show_generation(struct sc_view *v, const struct sp_event_generation *e) {
  if (e->n_ranks == v->n_ranks) {
    return;
  }
  struct sp_buf b = text_buffer();
  put_plural(&b, e->n_ranks, "rank computes", "ranks compute");
  sp_buf_printf(&b, " from here on (generation %" PRId64 ")\n", e->generation);
  v->n_ranks = e->n_ranks;
  print(v, SC_OUT, &b);
}

static const char *stop_words(enum sp_stop_reason reason) {
  switch (reason) {
    case SP_STOP_SIGNAL:
      return "stopped";
    case SP_STOP_EARLY:
      return "early stopping";
    case SP_STOP_MAX_TIME:
      return "time is up (trainer.max_time)";
    case SP_STOP_MODULE:
      return "stopped by the module";
    case SP_STOP_CLIENT_GONE:
      return "stopped, the command that watched is gone";
  }
  return "stopped";
}

static void show_stopped(struct sc_view *v, const struct sp_event_stopped *e) {
  struct sp_buf b = text_buffer();
  sp_buf_printf(&b, "%s at epoch %" PRId64 ", step %" PRId64 "%s%s\n", stop_words(e->reason),
                e->epoch, e->step, *e->text ? ": " : "", e->text);
  print(v, SC_OUT, &b);
}

static void put_result_head(const struct sc_view *v, struct sp_buf *b,
                            const struct sp_event_result *e) {
  char seconds[SC_NUMBER];
  const char *word = e->status == SP_OK ? "done" : "stopped";
  if (*e->message) {
    sp_buf_printf(b, "%s: %s\n", word, e->message);
  } else if (v->ran) {
    sc_format_clock(e->seconds, seconds);
    sp_buf_printf(b, "%s: ", word);
    if (v->fitting) {
      put_plural(b, e->step, "step", "steps");
      sp_buf_puts(b, " in ");
    }
    sp_buf_printf(b, "%s\n", seconds);
  }
}

static void show_result(struct sc_view *v, const struct sp_event_result *e) {
  v->have_result = true;
  v->exit = e->exit;
  bool failed = e->status != SP_OK && e->status != SP_ECANCELED;
  if (failed && !v->failed_shown) {
    sc_view_error(v, *e->message ? e->message : sp_status_text(e->status));
  }
  struct sp_buf b = text_buffer();
  if (!failed) {
    put_result_head(v, &b, e);
  }
  if (*e->ckpt_last) {
    sp_buf_printf(&b, "checkpoint: %s\n", e->ckpt_last);
  }
  if (*e->ckpt_best && strcmp(e->ckpt_best, e->ckpt_last) != 0) {
    sp_buf_printf(&b, "best: %s\n", e->ckpt_best);
  }
  for (size_t i = 0; i < e->n_next; i++) {
    sp_buf_printf(&b, "%s  %s\n", i == 0 ? "next:\n" : "", e->next[i]);
  }
  if (b.length > 0) {
    sc_view_end(v);
  }
  print(v, SC_OUT, &b);
}

void sc_view_event(struct sc_view *v, const struct sp_event *e) {
  struct sp_buf b;
  switch (e->kind) {
    case SP_EVENT_TEXT:
      show_text(v, &e->u.text);
      return;
    case SP_EVENT_RUN_STARTED:
      show_run_started(v, &e->u.run_started);
      return;
    case SP_EVENT_SUMMARY:
      b = text_buffer();
      sc_table_put(&b, &e->u.summary);
      print(v, SC_OUT, &b);
      return;
    case SP_EVENT_PROGRESS:
      keep_progress(v, &e->u.progress);
      return;
    case SP_EVENT_VALIDATION:
      show_validation(v, &e->u.validation);
      return;
    case SP_EVENT_CHECKPOINT:
      show_checkpoint(v, &e->u.checkpoint);
      return;
    case SP_EVENT_STOPPED:
      show_stopped(v, &e->u.stopped);
      return;
    case SP_EVENT_OUTPUT:
      v->n_data_bytes += e->u.output.n_bytes;
      sc_view_raw(v, SC_DATA, e->u.output.bytes, e->u.output.n_bytes);
      return;
    case SP_EVENT_ERROR:
      sc_view_error(v, e->u.error.text);
      return;
    case SP_EVENT_RESULT:
      show_result(v, &e->u.result);
      return;
    case SP_EVENT_RECOVERY:
      show_recovery(v, &e->u.recovery);
      return;
    case SP_EVENT_GENERATION:
      show_generation(v, &e->u.generation);
      return;
    case SP_EVENT_HELLO:
    case SP_EVENT_METRICS:
      return;
  }
}

void sc_view_end(struct sc_view *v) {
  if (v->have_progress && v->progress.event.stage == SP_STAGE_TRAIN && v->dirty && v->printed) {
    draw(v, v->last);
  }
  if (v->drawn) {
    puts_out(v, "\n");
    v->drawn = false;
  }
  if (v->open_line) {
    clear_line(v);
  }
  v->have_progress = false;
  v->dirty = false;
}
