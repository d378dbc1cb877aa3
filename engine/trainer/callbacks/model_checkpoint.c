/* ModelCheckpoint's decisions; the contract is in the header. decide reads the state, commit writes
 * it, and both derive what changes from the same helpers, so that they cannot disagree. */
#include "engine/trainer/callbacks/model_checkpoint.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct stk_model_checkpoint_options stk_model_checkpoint_defaults(void) {
  return (struct stk_model_checkpoint_options){
      .filename = "{epoch}-{step}",
      .mode = STK_MONITOR_MIN,
      .save_top_k = 1,
      .every_n_epochs = 1,
      .at_epoch_end = true,
      .auto_insert_metric_name = true,
      .version_counter = true,
  };
}

sp_status stk_model_checkpoint_check(const struct stk_model_checkpoint_options *o,
                                     struct sp_err *err) {
  int triggers = (o->every_n_train_steps > 0) + (o->every_n_epochs > 0) + o->by_time;
  if (o->save_top_k < -1 || o->save_top_k > STK_CKPT_TOP_K_MAX) {
    return sp_fail(err, SP_ERANGE, "model_checkpoint.save_top_k %" PRId64 ": -1 to %d",
                   o->save_top_k, STK_CKPT_TOP_K_MAX);
  }
  if (o->save_top_k > 1 && !o->monitor) {
    return sp_fail(err, SP_EINVAL,
                   "model_checkpoint.save_top_k %" PRId64
                   " needs a monitor; without one it is -1, 0 or 1",
                   o->save_top_k);
  }
  if (o->every_n_train_steps < 0 || o->every_n_epochs < 0) {
    return sp_fail(err, SP_ERANGE, "model_checkpoint.every_n_*: must not be negative");
  }
  if (triggers > 1) {
    return sp_fail(err, SP_EINVAL,
                   "model_checkpoint: every_n_train_steps, every_n_epochs and train_time_interval "
                   "exclude each other");
  }
  struct stk_scores none = {0};
  char name[STK_CKPT_NAME];
  return stk_ckpt_name_format(o->filename, o->auto_insert_metric_name, &none, name, err);
}

bool stk_model_checkpoint_at_epoch_end(bool has_validation, int64_t check_val_every_n_epoch,
                                       bool once_per_epoch, bool by_time) {
  if (by_time) {
    return false;
  }
  if (!has_validation) {
    return true;
  }
  return check_val_every_n_epoch == 1 && once_per_epoch;
}

void stk_model_checkpoint_init(struct stk_model_checkpoint *s) {
  memset(s, 0, sizeof *s);
}

void stk_model_checkpoint_forget_names(struct stk_model_checkpoint *s) {
  struct stk_model_checkpoint kept;
  stk_model_checkpoint_init(&kept);
  kept.last_step = s->last_step;
  kept.deferred = s->deferred;
  kept.current_score = s->current_score;
  kept.best.score = s->best.score;
  kept.best.step = s->best.step;
  memcpy(s, &kept, sizeof kept);
}

/* Whether a trigger fires at this moment. */
static bool trigger_fires(const struct stk_model_checkpoint *s,
                          const struct stk_model_checkpoint_options *o,
                          const struct stk_ckpt_situation *now) {
  switch (now->moment) {
    case STK_CKPT_TRAIN_BATCH_END:
      return (o->every_n_train_steps > 0 && now->scores.step % o->every_n_train_steps == 0) ||
             (o->by_time && now->time_due);
    case STK_CKPT_VALIDATION_END:
      if (s->deferred) {
        return true;
      }
      return !o->at_epoch_end && o->every_n_epochs > 0 &&
             (now->scores.epoch + 1) % o->every_n_epochs == 0;
    case STK_CKPT_TRAIN_EPOCH_END:
      return o->at_epoch_end && o->every_n_epochs > 0 &&
             (now->scores.epoch + 1) % o->every_n_epochs == 0;
    case STK_CKPT_TRAIN_END:
      return !o->at_epoch_end && o->every_n_epochs > 0 && !o->monitor &&
             o->save_last == STK_CKPT_LAST_NO;
  }
  return false;
}

/* save_last follows every moment that may save, whether or not its trigger fires. */
static bool last_fires(const struct stk_model_checkpoint_options *o,
                       const struct stk_ckpt_situation *now, bool fires) {
  if (o->save_last == STK_CKPT_LAST_NO) {
    return false;
  }
  return fires || now->moment == STK_CKPT_TRAIN_END ||
         (now->moment == STK_CKPT_VALIDATION_END && !o->at_epoch_end) ||
         (now->moment == STK_CKPT_TRAIN_EPOCH_END && o->at_epoch_end);
}

static double known_score(const struct stk_model_checkpoint_options *o, double value) {
  return isnan(value) ? stk_monitor_worst(o->mode) : value;
}

/* The entry to give up for a new one: the worst, the oldest of equals; -1 while there is room. */
static int64_t entry_to_drop(const struct stk_model_checkpoint *s,
                             const struct stk_model_checkpoint_options *o) {
  if (o->save_top_k < 1 || s->n_entries < o->save_top_k) {
    return -1;
  }
  int64_t worst = 0;
  for (int64_t i = 1; i < s->n_entries; i++) {
    if (stk_monitor_better(o->mode, s->entries[worst].score, s->entries[i].score)) {
      worst = i;
    }
  }
  return worst;
}

/* The first name of base, base-v1, ... that is free or equal to `reusable`. */
static sp_status free_name(const struct stk_model_checkpoint_options *o,
                           const struct stk_ckpt_situation *now, const char *base,
                           const char *reusable, char out_name[STK_CKPT_NAME], struct sp_err *err) {
  for (int64_t version = 0;; version++) {
    sp_status status = stk_ckpt_name_version(base, version, out_name, err);
    if (status != SP_OK) {
      return status;
    }
    bool taken = o->version_counter && now->exists && strcmp(out_name, reusable) != 0 &&
                 now->exists(now->ctx, out_name);
    if (!taken) {
      return SP_OK;
    }
  }
}

static void remove_later(struct stk_ckpt_decision *d, const struct stk_ckpt_situation *now,
                         const char *name) {
  bool kept = !*name || strcmp(name, d->save) == 0 || strcmp(name, d->last) == 0 ||
              (now->resumed_from && strcmp(name, now->resumed_from) == 0);
  if (!kept) {
    assert(d->n_remove < STK_CKPT_REMOVE_MAX);
    memcpy(d->remove[d->n_remove++], name, STK_CKPT_NAME);
  }
}

static sp_status no_monitor(const struct stk_model_checkpoint_options *o,
                            const struct stk_scores *scores, struct sp_err *err) {
  char list[256] = "";
  size_t used = 0;
  for (size_t i = 0; i < scores->n && used < sizeof list; i++) {
    int n = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", scores->names[i]);
    used += n > 0 ? (size_t)n : 0;
  }
  return sp_fail(err, SP_ENOENT,
                 "model_checkpoint.monitor: \"%s\" was not logged; logged so far: %s", o->monitor,
                 *list ? list : "nothing");
}

/* Fills save, score and what it drives out; leaves save "" when the score is not among the best. */
static sp_status decide_save(const struct stk_model_checkpoint *s,
                             const struct stk_model_checkpoint_options *o,
                             const struct stk_ckpt_situation *now, struct stk_ckpt_decision *d,
                             struct sp_err *err) {
  double value = 0;
  if (o->monitor && !stk_scores_find(&now->scores, o->monitor, &value)) {
    return no_monitor(o, &now->scores, err);
  }
  int64_t drop = entry_to_drop(s, o);
  if (o->monitor && drop >= 0 && !stk_monitor_better(o->mode, value, s->entries[drop].score)) {
    return SP_OK;
  }
  d->score = known_score(o, value);
  const char *reusable = drop >= 0 ? s->entries[drop].name : "";
  char base[STK_CKPT_NAME];
  sp_status status =
      stk_ckpt_name_format(o->filename, o->auto_insert_metric_name, &now->scores, base, err);
  if (status == SP_OK) {
    status = free_name(o, now, base, reusable, d->save, err);
  }
  return status;
}

/* A metric that will only exist after validation, or that validation is about to renew. */
static bool must_wait(const struct stk_model_checkpoint_options *o,
                      const struct stk_ckpt_situation *now) {
  double value;
  return now->moment == STK_CKPT_TRAIN_BATCH_END && o->monitor && o->save_top_k != 0 &&
         (now->validation_next || !stk_scores_find(&now->scores, o->monitor, &value));
}

sp_status stk_model_checkpoint_decide(const struct stk_model_checkpoint *s,
                                      const struct stk_model_checkpoint_options *o,
                                      const struct stk_ckpt_situation *now,
                                      struct stk_ckpt_decision *out_decision, struct sp_err *err) {
  struct stk_ckpt_decision d;
  memset(&d, 0, sizeof d);
  bool fires = trigger_fires(s, o, now);
  bool last = last_fires(o, now, fires);
  d.due = fires && now->moment == STK_CKPT_VALIDATION_END && s->deferred;
  if (now->scores.step == s->last_step || (!fires && !last)) {
    *out_decision = d;
    return SP_OK;
  }
  if (fires && must_wait(o, now)) {
    d.defer = true;
    *out_decision = d;
    return SP_OK;
  }
  sp_status status = SP_OK;
  if (fires && o->save_top_k != 0) {
    status = decide_save(s, o, now, &d, err);
  }
  if (status == SP_OK && last) {
    d.last_is_link = o->save_last == STK_CKPT_LAST_LINK && (*d.save || *s->newest);
    status = free_name(o, now, STK_CKPT_LAST, s->last, d.last, err);
  }
  if (status != SP_OK) {
    return status;
  }
  int64_t drop = *d.save ? entry_to_drop(s, o) : -1;
  if (drop >= 0) {
    remove_later(&d, now, s->entries[drop].name);
  }
  if (*d.last) {
    remove_later(&d, now, s->last);
  }
  *out_decision = d;
  return SP_OK;
}

/* Puts the entry behind the others; the table has room after `drop` is taken out. */
static void entries_put(struct stk_model_checkpoint *s, int64_t drop,
                        const struct stk_ckpt_entry *entry) {
  if (drop >= 0) {
    s->n_entries--;
    memmove(&s->entries[drop], &s->entries[drop + 1],
            (size_t)(s->n_entries - drop) * sizeof *s->entries);
    memset(&s->entries[s->n_entries], 0, sizeof *s->entries);
  }
  assert(s->n_entries < STK_CKPT_TOP_K_MAX);
  s->entries[s->n_entries++] = *entry;
}

/* The best of the table; with all kept, the better of the best so far and the new one. Without a
 * monitor the newest is the best. */
static void best_renew(struct stk_model_checkpoint *s, const struct stk_model_checkpoint_options *o,
                       const struct stk_ckpt_entry *entry) {
  if (!o->monitor) {
    s->best = *entry;
    return;
  }
  if (o->save_top_k == -1) {
    if (!*s->best.name || stk_monitor_better(o->mode, entry->score, s->best.score)) {
      s->best = *entry;
    }
    return;
  }
  int64_t best = 0;
  for (int64_t i = 1; i < s->n_entries; i++) {
    if (stk_monitor_better(o->mode, s->entries[i].score, s->entries[best].score)) {
      best = i;
    }
  }
  s->best = s->entries[best];
}

void stk_model_checkpoint_commit(struct stk_model_checkpoint *s,
                                 const struct stk_model_checkpoint_options *o,
                                 const struct stk_ckpt_situation *now,
                                 const struct stk_ckpt_decision *decision) {
  if (decision->due) {
    s->deferred = 0;
  }
  if (decision->defer) {
    s->deferred = 1;
  }
  if (*decision->save) {
    struct stk_ckpt_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.score = decision->score;
    entry.step = now->scores.step;
    memcpy(entry.name, decision->save, sizeof entry.name);
    if (o->save_top_k > 0) {
      entries_put(s, entry_to_drop(s, o), &entry);
    }
    best_renew(s, o, &entry);
    s->current_score = entry.score;
    memcpy(s->newest, decision->save, sizeof s->newest);
  }
  if (*decision->last) {
    memcpy(s->last, decision->last, sizeof s->last);
  }
  if (*decision->save || *decision->last) {
    s->last_step = now->scores.step;
  }
}
