/* Publishing what orders ask for (engine/state/order.h): names as links to published directories.
 *
 * A published checkpoint is a directory step-N; names are links to it, so that two names of one
 * step cost one copy. A link is replaced by rename. A directory goes when its last name goes (a
 * link drop-<directory> says so while that is under way), but the one that the run resumed from
 * stays. A failed publication is told, and nothing older is touched. Everything may be done twice:
 * an order that was half carried out is carried out again.
 * No state is shared with the engine; one thread at a time.
 */
#ifndef SW_PUBLISH_H
#define SW_PUBLISH_H

#include <limits.h>

#include "engine/checkpoint/save.h"
#include "engine/state/order.h"

struct sw_publish {
  char dir[PATH_MAX];         /* of checkpoints */
  char resumed[64];           /* entry of dir that the run resumed from, "" */
  uint64_t run;               /* nonce of the run */
  char newest[PATH_MAX + 80]; /* path of the last one published, "" */
  char best[PATH_MAX + 80];   /* path of what best.json names, "" */
};

/* What one order became. */
struct sw_published {
  struct stk_ckpt_saved saved;
  char note[600]; /* what went wrong beside it, "" */
};

/* Removes what earlier supervisors' saves left in dir. resumed: a checkpoint's path, or "". */
void sw_publish_init(struct sw_publish *p, const char *dir, const char *resumed, uint64_t run);

/* True when the resumed checkpoint is an entry of the directory: names of that run hold here too.
 */
bool sw_publish_goes_on(const struct sw_publish *p);

/* Carries the order out from a persister's receipt; NULL: it must have been published before
 * (SP_ENOENT: it was not), what follows the publication is done now. `saved`, not "": this entry of
 * the directory holds it already. */
SP_NODISCARD sp_status sw_publish_order(struct sw_publish *p, const struct stk_order *o,
                                        const struct stk_ckpt_receipt *receipt, const char *saved,
                                        struct sw_published *out, struct sp_err *err);

#endif
