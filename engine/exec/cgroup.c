/* Groups and their ancestors: see cgroup.h. */
#include "engine/exec/cgroup.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 1024 };

struct visit {
  const char *root, *controller;
  void (*look)(void *ctx, const char *dir, bool v2);
  void *ctx;
};

bool stk_cgroup_line(const char *dir, const char *file, char *line, int bytes) {
  char path[PATH_BYTES + 64];
  snprintf(path, sizeof path, "%s/%s", dir, file);
  FILE *f = fopen(path, "re");
  if (!f) {
    return false;
  }
  const bool ok = fgets(line, bytes, f) != NULL;
  fclose(f);
  return ok;
}

static void visit_group(const struct visit *v, const char *mount, const char *group, bool v2) {
  char dir[PATH_BYTES];
  const int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
  if (n < 0 || (size_t)n >= sizeof dir) {
    v->look(v->ctx, mount, v2);
    return;
  }
  const size_t root = strlen(mount);
  for (;;) {
    v->look(v->ctx, dir, v2);
    char *slash = strrchr(dir + root, '/');
    if (!slash) {
      return;
    }
    *slash = '\0';
  }
}

/* Whether a list of controllers, "cpu,cpuacct", has one. */
static bool lists(const char *list, const char *controller) {
  const size_t n = strlen(controller);
  for (const char *p = list; *p; p += strspn(p, ",")) {
    const size_t length = strcspn(p, ",");
    if (length == n && strncmp(p, controller, n) == 0) {
      return true;
    }
    p += length;
  }
  return false;
}

/* One line of /proc/self/cgroup: "id:controllers:path"; v2 has id 0 and no controllers. */
static void visit_line(const struct visit *v, char *line) {
  static const char *const v2[] = {"", "/unified"};
  char mount[PATH_BYTES];
  line[strcspn(line, "\n")] = '\0';
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) {
    return;
  }
  *group++ = '\0';
  controllers++;
  if (*controllers == '\0') {
    for (size_t i = 0; i < sizeof v2 / sizeof *v2; i++) {
      snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", v->root, v2[i]);
      visit_group(v, mount, group, true);
    }
  } else if (lists(controllers, v->controller)) {
    snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", v->root, controllers);
    visit_group(v, mount, group, false);
  }
}

void stk_cgroup_each(const char *root, const char *controller,
                     void (*look)(void *ctx, const char *dir, bool v2), void *ctx) {
  const struct visit v = {root, controller, look, ctx};
  char path[PATH_BYTES], line[PATH_BYTES];
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *f = fopen(path, "re");
  if (!f) {
    return;
  }
  while (fgets(line, sizeof line, f)) {
    visit_line(&v, line);
  }
  fclose(f);
}
