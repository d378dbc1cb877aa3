/* Publishing a run's checkpoints under the names that ModelCheckpoint gives.
 *
 * A published checkpoint is a directory step-N; names are links to it, so that two names of one
 * step cost one copy. A link is replaced by rename, a directory goes when its last name goes; the
 * checkpoint that the run resumed from stays. A failed publication is told, and nothing older is
 * touched. One thread.
 */
#ifndef SW_PUBLISH_H
#define SW_PUBLISH_H

#include "worker/emit.h"
#include "worker/setup.h"

struct sw_publish {
  struct sw_setup *s; /* borrowed, as are e and run */
  struct sw_emit *e;
  const char *run;    /* the run's directory, for the manifest */
  char dir[PATH_MAX]; /* of checkpoints */
  char resumed[64];   /* entry of dir that the run resumed from, "" */
  int64_t saved_step; /* step of saved_name, -1: none */
  char saved_name[64];
  char newest[PATH_MAX + 80]; /* path of the last one published, "" */
  char best[PATH_MAX + 80];   /* path of what best.json names, "" */
  struct sp_err failed;       /* why the newest publication failed; SP_OK: it did not */
};

/* The directory is made when something is first saved. resumed: a checkpoint's path, or "". */
void sw_publish_init(struct sw_publish *p, struct sw_setup *s, struct sw_emit *e, const char *run,
                     const char *dir, const char *resumed);

/* True when the resumed checkpoint is an entry of the directory: names of that run hold here too.
 */
bool sw_publish_goes_on(const struct sw_publish *p);

/* The committed step as `name`: saved now, unless this step was saved before. */
SP_NODISCARD sp_status sw_publish_save(struct sw_publish *p, const char *name, struct sp_err *err);

/* Records which name is best. monitor "": the newest. */
void sw_publish_best(struct sw_publish *p, const char *name, const char *monitor, double score);

void sw_publish_remove(struct sw_publish *p, const char *name);
bool sw_publish_exists(const struct sw_publish *p, const char *name);

#endif
