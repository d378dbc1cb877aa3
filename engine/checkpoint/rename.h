/* Name maps: what a tensor of another program's file is called here. */
#ifndef STK_CHECKPOINT_RENAME_H
#define STK_CHECKPOINT_RENAME_H

#include "engine/checkpoint/load.h"

/* The name of a tensor of theirs in our model, to be released with sp_free; NULL when memory is
 * out. Of the rules that match, the one with the most letters counts, of equal ones the first;
 * without one the name stays. */
char *stk_ckpt_rename(const char *theirs, const struct stk_ckpt_rename *map, size_t n_map);

#endif
