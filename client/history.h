/* The chronicle of a run for people: one line an entry, and what all of them come to. Pure. */
#ifndef SC_HISTORY_H
#define SC_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/run/chronicle.h"
#include "proto/run/run_file.h"
#include "proto/wire/control.h"

/* "2026-11-30T01:46:45.123Z  2  death  rank 1 at step 57: ..." and a newline. */
void sc_history_put_entry(struct sp_buf *b, const struct sp_chronicle_entry *e);

enum { SC_HISTORY_TEXT = 512 };

/* What is known of a run from its chronicle. Zeroed is empty; fini releases it. */
struct sc_history {
  size_t n_entries;
  size_t n_lost; /* gaps in seq */
  int64_t seq, step, generation, ranks;
  size_t n_starts, n_deaths, n_recoveries, n_stalls, n_stragglers, n_checkpoints, n_ckpt_failures;
  double *recovery_ms; /* n_recoveries, in order */
  size_t room;
  int64_t recomputed;
  struct sp_wall last_time;
  char last_death[SC_HISTORY_TEXT];           /* in words, "" none */
  char checkpoint[SP_CHRONICLE_MAX_PATH + 1]; /* path of the newest that was published, "" none */
  int64_t checkpoint_step;                    /* -1: not known */
  char ckpt_failure[SC_HISTORY_TEXT];         /* of the newest, if it came after that; "" none */
  char end[SC_HISTORY_TEXT];                  /* text of the newest end, "" none */
};

/* False when memory is out. */
bool sc_history_add(struct sc_history *h, const struct sp_chronicle_entry *e);
void sc_history_fini(struct sc_history *h);

/* The q-th quantile (0 to 1, nearest rank) of the recoveries; -1 when there were none. */
double sc_history_quantile(const struct sc_history *h, double q);

typedef enum sc_life {
  SC_LIFE_OVER,    /* its state says so */
  SC_LIFE_RUNNING, /* its supervisor lives */
  SC_LIFE_BROKEN,  /* it was running, and nobody is there any more */
} sc_life;

struct sc_run {
  const char *dir;
  struct sp_run_file file;
  struct sc_history history;
  sc_life life;
  struct sp_control_status live; /* what its supervisor says now; state "" when it was not asked */
  bool slots_there;              /* slots_dir exists, of this boot */
};

/* "running", "interrupted", or the state's own name. */
const char *sc_run_state_word(const struct sc_run *r);

/* The page of `stoker show`, and the same as one JSON object. */
void sc_run_put(struct sp_buf *b, const struct sc_run *r);
void sc_run_put_json(struct sp_buf *b, const struct sc_run *r);

#endif
