/* Name patterns: see glob.h. The usual two-pointer match: after a mismatch only the last `*` seen
 * needs to take one character more, since an earlier one could not do better. */
#include "engine/optim/glob.h"

#include <stddef.h>

bool stk_glob_match(const char *pattern, const char *name) {
  const char *star = NULL, *resume = name;
  while (*name) {
    if (*pattern == '*') {
      star = pattern++;
      resume = name;
    } else if (*pattern == '?' || *pattern == *name) {
      pattern++;
      name++;
    } else if (star) {
      pattern = star + 1;
      name = ++resume;
    } else {
      return false;
    }
  }
  while (*pattern == '*') {
    pattern++;
  }
  return *pattern == '\0';
}
