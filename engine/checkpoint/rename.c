/* Name maps. See rename.h; what a rule is stands in load.h. */
#include "engine/checkpoint/rename.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"

/* What a rule leaves of a name: the text that its `*` stands for, or what follows its prefix. */
struct rest {
  const char *text;
  size_t n, letters; /* letters: of the rule */
};

static bool match(const char *rule, const char *name, struct rest *out) {
  const char *star = strchr(rule, '*');
  size_t n_name = strlen(name), n_rule = strlen(rule);
  size_t head = star ? (size_t)(star - rule) : n_rule, tail = star ? n_rule - head - 1 : 0;
  if (n_name < head + tail || strncmp(rule, name, head) != 0 ||
      (star && strcmp(star + 1, name + n_name - tail) != 0)) {
    return false;
  }
  *out = (struct rest){name + head, n_name - head - tail, head + tail};
  return true;
}

char *stk_ckpt_rename(const char *theirs, const struct stk_ckpt_rename *map, size_t n_map) {
  const char *to = NULL;
  struct rest best = {0}, r;
  for (size_t i = 0; i < n_map; i++) {
    if (match(map[i].theirs, theirs, &r) && (!to || r.letters > best.letters)) {
      to = map[i].ours;
      best = r;
    }
  }
  if (!to) {
    return sp_strdup(theirs);
  }
  size_t room = strlen(to) + best.n + 1;
  char *ours = sp_alloc(room);
  if (ours) {
    const char *star = strchr(to, '*');
    int head = star ? (int)(star - to) : (int)strlen(to);
    snprintf(ours, room, "%.*s%.*s%s", head, to, (int)best.n, best.text, star ? star + 1 : "");
  }
  return ours;
}
