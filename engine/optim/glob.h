/* Patterns over parameter names: `*` is any run of characters (dots too, maybe empty), `?` is one;
 * everything else is itself, and the whole name must match. No escapes and no classes: names of
 * parameters hold neither. Time is at most the product of the lengths, without recursion. */
#ifndef STK_OPTIM_GLOB_H
#define STK_OPTIM_GLOB_H

#include <stdbool.h>

bool stk_glob_match(const char *pattern, const char *name);

#endif
