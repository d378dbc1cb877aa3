/* Duplicate names among many: sorted once, instead of compared pairwise. */
#ifndef STK_CHECKPOINT_NAMES_H
#define STK_CHECKPOINT_NAMES_H

#include "proto/base/status.h"

#include <stddef.h>

/* first points at the `const char *` of the first of n structs that are stride bytes apart.
 * Fails with status, saying "<what> '<name>' stands twice", where two are equal. */
SP_NODISCARD sp_status stk_names_check(const void *first, size_t stride, size_t n, const char *what,
                                       sp_status status, struct sp_err *err);

#endif
