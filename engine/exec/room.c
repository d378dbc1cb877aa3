/* Memory that is left, of the machine and of cgroups: see room.h. */
#include "engine/exec/room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/exec/cgroup.h"

/* The number behind `name` in a file of lines "name number"; -1: there is none. */
static int64_t number_of(const char *path, const char *name) {
  char line[256];
  int64_t found = -1;
  FILE *f = fopen(path, "re");
  while (f && found < 0 && fgets(line, sizeof line, f)) {
    const size_t n = strlen(name);
    if (strncmp(line, name, n) == 0 && line[n] == ' ') {
      found = strtoll(line + n, NULL, 10);
    }
  }
  if (f) {
    fclose(f);
  }
  return found;
}

/* -1: no number ("max"). */
static int64_t read_number(const char *dir, const char *file) {
  char line[64];
  char *end;
  if (!stk_cgroup_line(dir, file, line, sizeof line)) {
    return -1;
  }
  const long long v = strtoll(line, &end, 10);
  return end > line && v >= 0 ? v : -1;
}

static void look_at_limit(void *ctx, const char *dir, bool v2) {
  int64_t *least = ctx;
  char path[1100];
  const int64_t limit = read_number(dir, v2 ? "memory.max" : "memory.limit_in_bytes");
  const int64_t used = read_number(dir, v2 ? "memory.current" : "memory.usage_in_bytes");
  if (limit < 0 || used < 0) {
    return;
  }
  snprintf(path, sizeof path, "%s/memory.stat", dir);
  const int64_t files = number_of(path, v2 ? "inactive_file" : "total_inactive_file");
  const int64_t left = limit - used + (files > 0 ? files : 0);
  *least = left < *least ? (left > 0 ? left : 0) : *least;
}

int64_t stk_room_bytes(const char *root) {
  char path[1100];
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  int64_t kib = number_of(path, "MemAvailable:");
  int64_t least = kib > 0 ? 1024 * kib : 0;
  stk_cgroup_each(root, "memory", look_at_limit, &least);
  return least;
}
