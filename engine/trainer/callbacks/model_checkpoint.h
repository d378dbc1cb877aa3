/* ModelCheckpoint: which steps become checkpoints, under which names, and which old ones go
 * (Lightning's callback of that name).
 *
 * Pure decisions over a POD that lives in the control page. At every moment the loop asks
 * stk_model_checkpoint_decide, which changes nothing; the loop publishes what the decision names,
 * then calls stk_model_checkpoint_commit with the same decision, which changes the state, then
 * removes what the decision says. A publication that failed is not committed: the older
 * checkpoints stay and the next moment decides again.
 *
 * Lightning's rules kept: best k by the monitor (ties go to the older), NaN counts as the worst
 * score, without a monitor the newest is kept, never twice at one global step, a save due where the
 * metric does not exist yet (or at the last batch before validation) waits for validation, a name
 * that is taken by a foreign file gets -v1, -v2, ..., the checkpoint that the run resumed from is
 * never removed. Not called in sanity check, fast_dev_run and outside fit.
 *
 * Names are entries of the checkpoint directory, never paths. save_top_k -1 keeps all and stores
 * only the best.
 */
#ifndef STK_TRAINER_CALLBACKS_MODEL_CHECKPOINT_H
#define STK_TRAINER_CALLBACKS_MODEL_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/trainer/callbacks/ckpt_name.h"
#include "engine/trainer/callbacks/monitor.h"
#include "proto/base/status.h"

enum { STK_CKPT_TOP_K_MAX = 64, STK_CKPT_REMOVE_MAX = 2 };

#define STK_CKPT_LAST "last"

enum stk_ckpt_last { STK_CKPT_LAST_NO = 0, STK_CKPT_LAST_YES = 1, STK_CKPT_LAST_LINK = 2 };

struct stk_model_checkpoint_options {
  const char *filename; /* template */
  const char *monitor;  /* NULL: the newest */
  enum stk_monitor_mode mode;
  int64_t save_top_k; /* 0 none, -1 all; > 1 needs a monitor */
  enum stk_ckpt_last save_last;
  int64_t every_n_train_steps; /* 0: not by steps */
  int64_t every_n_epochs;      /* 0: not by epochs */
  bool by_time;                /* train_time_interval is set */
  bool at_epoch_end;           /* else after validation: stk_model_checkpoint_at_epoch_end */
  bool auto_insert_metric_name;
  bool version_counter;
};

struct stk_ckpt_entry {
  double score;
  int64_t step;
  char name[STK_CKPT_NAME]; /* zero-filled; "" is no entry */
};

struct stk_model_checkpoint {
  int64_t n_entries; /* at most save_top_k, in the order they came */
  int64_t last_step; /* of the newest save; 0 before the first */
  int64_t deferred;  /* 1: a save waits for validation */
  double current_score;
  struct stk_ckpt_entry best;
  char newest[STK_CKPT_NAME]; /* of the table's kind, "" before the first */
  char last[STK_CKPT_NAME];   /* "last" or "last-vN", "" before the first */
  struct stk_ckpt_entry entries[STK_CKPT_TOP_K_MAX];
};

enum stk_ckpt_moment {
  STK_CKPT_TRAIN_BATCH_END, /* after the batch stepped and its logged values exist */
  STK_CKPT_VALIDATION_END,
  STK_CKPT_TRAIN_EPOCH_END,
  STK_CKPT_TRAIN_END, /* limits may end a run where nothing else is due: its last step is saved */
};

struct stk_ckpt_situation {
  enum stk_ckpt_moment moment;
  struct stk_scores scores; /* epoch, global step, monitored values */
  bool time_due;            /* train_time_interval is over (journalled by the loop) */
  bool validation_next;     /* at a batch end: validation follows at this very step */
  const char *resumed_from; /* name never to remove, or NULL */
  bool (*exists)(void *ctx, const char *name); /* in the checkpoint directory; NULL: nothing does */
  void *ctx;
};

struct stk_ckpt_decision {
  bool defer;               /* nothing now, at validation end instead */
  bool due;                 /* a deferred save is served */
  char save[STK_CKPT_NAME]; /* publish under this name; "" none */
  double score;             /* its score, NaN already made the worst */
  char last[STK_CKPT_NAME]; /* publish under this name too; "" none */
  bool last_is_link;        /* ... as a link to `save` (or to the newest, when save is "") */
  size_t n_remove;
  char remove[STK_CKPT_REMOVE_MAX][STK_CKPT_NAME]; /* after both are published */
};

/* Lightning's defaults: {epoch}-{step}, no monitor, top 1, every epoch. */
struct stk_model_checkpoint_options stk_model_checkpoint_defaults(void);

/* Refuses what cannot be: top-k beyond the table or without a monitor, two triggers, a bad
 * template. */
SP_NODISCARD sp_status stk_model_checkpoint_check(const struct stk_model_checkpoint_options *o,
                                                  struct sp_err *err);

/* Lightning's rule for save_on_train_epoch_end unset: at the end of the epoch if there is no
 * validation or it runs exactly once per epoch. */
bool stk_model_checkpoint_at_epoch_end(bool has_validation, int64_t check_val_every_n_epoch,
                                       bool once_per_epoch, bool by_time);

void stk_model_checkpoint_init(struct stk_model_checkpoint *s);

/* SP_ENOENT: the monitor does not exist where it is needed; the text lists what does. */
SP_NODISCARD sp_status stk_model_checkpoint_decide(const struct stk_model_checkpoint *s,
                                                   const struct stk_model_checkpoint_options *o,
                                                   const struct stk_ckpt_situation *now,
                                                   struct stk_ckpt_decision *out_decision,
                                                   struct sp_err *err);

void stk_model_checkpoint_commit(struct stk_model_checkpoint *s,
                                 const struct stk_model_checkpoint_options *o,
                                 const struct stk_ckpt_situation *now,
                                 const struct stk_ckpt_decision *decision);

/* After a resume into another checkpoint directory: forgets the names, keeps best score and step.
 * */
void stk_model_checkpoint_forget_names(struct stk_model_checkpoint *s);

#endif
