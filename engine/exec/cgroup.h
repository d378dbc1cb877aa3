/* The cgroups of this process, v1 and v2, as files to look at.
 *
 * `root` goes before /proc and /sys: "" for this machine, a directory in tests. Only reads; nothing
 * is cached.
 */
#ifndef STK_EXEC_CGROUP_H
#define STK_EXEC_CGROUP_H

#include <stdbool.h>

/* Gives `look` the directory of this process's group and of every ancestor, innermost first, in
 * each hierarchy that may have the controller ("cpu", "memory"). A container may see its own group
 * as the root of the mount while /proc names it from outside: look finds no file there, and the
 * mount comes last. */
void stk_cgroup_each(const char *root, const char *controller,
                     void (*look)(void *ctx, const char *dir, bool v2), void *ctx);

/* The first line of a file in dir; false when there is none. */
bool stk_cgroup_line(const char *dir, const char *file, char *line, int bytes);

#endif
