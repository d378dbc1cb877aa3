/* The progress line. It is built from parts with a priority each; the least important parts are
 * dropped until the rest fits, then the bar takes the room that is left. */
#include "client/bar.h"

#include "client/format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PARTS = 16, METRICS = 8, PART_TEXT = 160, BAR_MIN = 12, BAR_MAX = 42, GAP = 2 };

/* Ranks of parts: what goes first when room is short. */
enum { STAYS = 0, RANK_MAIN = 1, RANK_RATE = 2, RANK_STEP = 3, RANK_MORE = 4 };

struct part {
  char text[PART_TEXT];
  int rank;
};

struct line {
  struct part parts[PARTS];
  size_t n;
};

static char *line_add(struct line *l, int rank) {
  assert(l->n < PARTS);
  struct part *p = &l->parts[l->n++];
  p->rank = rank;
  p->text[0] = '\0';
  return p->text;
}

static size_t part_columns(const struct part *p) {
  return sc_columns(p->text, strlen(p->text));
}

static size_t line_columns(const struct line *l) {
  size_t columns = 0;
  for (size_t i = 0; i < l->n; i++) {
    columns += part_columns(&l->parts[i]) + (i > 0 ? GAP : 0);
  }
  return columns;
}

/* Drops the last of the parts with the greatest rank; false when that rank is below `least`. */
static bool line_drop(struct line *l, int least) {
  size_t worst = 0;
  for (size_t i = 1; i < l->n; i++) {
    if (l->parts[i].rank >= l->parts[worst].rank) {
      worst = i;
    }
  }
  if (l->n == 0 || l->parts[worst].rank < least) {
    return false;
  }
  memmove(&l->parts[worst], &l->parts[worst + 1], (l->n - worst - 1) * sizeof *l->parts);
  l->n--;
  return true;
}

double sc_bar_eta(const struct sp_event_progress *p) {
  if (!(p->steps_per_s > 0)) {
    return -1;
  }
  if (p->stage == SP_STAGE_TRAIN && p->total_steps >= p->global_step) {
    return (double)(p->total_steps - p->global_step) / p->steps_per_s;
  }
  return p->n_batches >= p->batch ? (double)(p->n_batches - p->batch) / p->steps_per_s : -1;
}

static const char *unit_short(const char *unit) {
  static const char *const table[][2] = {{"tokens", "tok"}, {"images", "img"}, {"samples", "smp"}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (strcmp(unit, table[i][0]) == 0) {
      return table[i][1];
    }
  }
  return unit;
}

static void add_stage(struct line *l, const struct sp_event_progress *p) {
  char *text = line_add(l, STAYS);
  if (p->stage != SP_STAGE_TRAIN) {
    const char *name = sp_stage_name(p->stage);
    snprintf(text, PART_TEXT, "%c%s", *name >= 'a' ? *name - 'a' + 'A' : *name, name + 1);
  } else if (p->max_epochs > 0) {
    snprintf(text, PART_TEXT, "Epoch %" PRId64 "/%" PRId64, p->epoch, p->max_epochs);
  } else {
    snprintf(text, PART_TEXT, "Epoch %" PRId64, p->epoch);
  }
}

/* "done/all"; padded, so that a bar next to it keeps its place. */
static void put_share(char text[PART_TEXT], const char *label, int64_t done, int64_t all,
                      bool padded) {
  char number[24];
  int width = snprintf(number, sizeof number, "%" PRId64, all);
  snprintf(text, PART_TEXT, "%s%*" PRId64 "/%s", label, padded ? width : 0, done, number);
}

static void add_counts(struct line *l, const struct sp_event_progress *p, bool padded) {
  char *text = line_add(l, STAYS);
  if (p->n_batches >= 0) {
    put_share(text, "", p->batch, p->n_batches, padded);
  } else {
    snprintf(text, PART_TEXT, "batch %" PRId64, p->batch);
  }
  bool same = p->total_steps == p->n_batches && p->global_step == p->batch;
  if (p->stage != SP_STAGE_TRAIN || same) {
    return;
  }
  text = line_add(l, RANK_STEP);
  if (p->total_steps > 0) {
    put_share(text, "step ", p->global_step, p->total_steps, padded);
  } else {
    snprintf(text, PART_TEXT, "step %" PRId64, p->global_step);
  }
}

static void add_metrics(struct line *l, const struct sp_event_progress *p) {
  for (size_t i = 0; i < p->n_metrics && i < METRICS; i++) {
    char number[SC_NUMBER];
    char *text = line_add(l, i == 0 ? RANK_MAIN : RANK_MORE);
    const char *name = p->metrics[i].name;
    sc_format_metric(p->metrics[i].value, number);
    snprintf(text, PART_TEXT, "%.*s %s", (int)sc_prefix(name, strlen(name), 30), name, number);
  }
}

static void add_rates(struct line *l, const struct sp_event_progress *p) {
  char number[SC_NUMBER];
  if (p->items_per_s > 0) {
    char *text = line_add(l, RANK_RATE);
    sc_format_rate(p->items_per_s, number);
    snprintf(text, PART_TEXT, "%s %.20s/s", number, unit_short(p->unit));
  }
  double eta = sc_bar_eta(p);
  if (eta >= 0) {
    char *text = line_add(l, RANK_MAIN);
    sc_format_clock(eta, number);
    snprintf(text, PART_TEXT, "ETA %s", number);
  }
}

/* "[=====>    ]" in `columns` columns, two of them brackets. */
static void put_drawing(struct sp_buf *b, int64_t done, int64_t all, size_t columns) {
  size_t inner = columns - 2;
  double share = all > 0 ? (double)done / (double)all : 0;
  size_t filled = share >= 1 ? inner : (size_t)(share * (double)inner);
  sp_buf_putc(b, '[');
  for (size_t i = 0; i < inner; i++) {
    sp_buf_putc(b, i < filled ? '=' : i == filled ? '>' : ' ');
  }
  sp_buf_putc(b, ']');
}

void sc_bar_put(struct sp_buf *b, const struct sp_event_progress *p, size_t width, bool with_bar) {
  struct line l = {.n = 0};
  add_stage(&l, p);
  add_counts(&l, p, with_bar);
  add_metrics(&l, p);
  add_rates(&l, p);
  bool draws = with_bar && p->n_batches > 0;
  size_t reserved = draws ? BAR_MIN + 1 : 0;
  while (line_columns(&l) + reserved > width && line_drop(&l, RANK_MORE)) {
  }
  while (line_columns(&l) > width && line_drop(&l, RANK_MAIN)) {
  }
  size_t used = line_columns(&l);
  size_t room = width > used + 1 ? width - used - 1 : 0;
  draws = draws && room >= BAR_MIN;
  for (size_t i = 0; i < l.n; i++) {
    if (i == 1 && draws) {
      sp_buf_puts(b, "  ");
      put_drawing(b, p->batch, p->n_batches, room < BAR_MAX ? room : BAR_MAX);
      sp_buf_putc(b, ' ');
    } else if (i > 0) {
      sp_buf_puts(b, "  ");
    }
    sp_buf_puts(b, l.parts[i].text);
  }
}
