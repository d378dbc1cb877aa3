/* Progress pages and the kernel's view of the ranks, for the watch. See driver.h and watch.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/comm/tree.h"
#include "proto/base/clock.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "worker/supervise/driver.h"

_Static_assert((int)SW_WATCH_RANKS == (int)STK_RANKS_MAX, "one page for each rank");

static sw_watch_class class_of(uint32_t phase) {
  switch (phase) {
    case STK_GROUP_IDLE:
    case STK_GROUP_BARRIER:
      return SW_WATCH_WAIT;
    case STK_GROUP_EVALUATE:
      return SW_WATCH_OTHER;
    case STK_GROUP_DATA:
      return SW_WATCH_READ;
    case STK_GROUP_HOOK:
      return SW_WATCH_HOOK;
    case STK_GROUP_SAVE:
      return SW_WATCH_LONG;
    default:
      return SW_WATCH_WORK;
  }
}

/* State letter and CPU time out of a stat file, whose second field may hold anything. */
static void read_stat(const char *path, struct sw_watch_rank *r) {
  char text[1024];
  unsigned long user = 0, system = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  if (fd >= 0) {
    close(fd);
  }
  text[n > 0 ? n : 0] = '\0';
  const char *rest = strrchr(text, ')');
  r->state = 0;
  r->cpu_ns = -1;
  if (rest && sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &r->state,
                     &user, &system) == 3) {
    r->cpu_ns = (int64_t)(user + system) * (INT64_C(1000000000) / sysconf(_SC_CLK_TCK));
  }
}

/* Whether any thread of the process wants a CPU: the main one may wait for one that gets none. */
static bool wants_cpu(int64_t pid) {
  char path[320];
  bool wants = false;
  snprintf(path, sizeof path, "/proc/%lld/task", (long long)pid);
  DIR *d = opendir(path);
  for (struct dirent *e = d ? readdir(d) : NULL; e && !wants; e = readdir(d)) {
    struct sw_watch_rank thread = {0};
    snprintf(path, sizeof path, "/proc/%lld/task/%.255s/stat", (long long)pid, e->d_name);
    if (e->d_name[0] != '.') {
      read_stat(path, &thread);
    }
    wants = thread.state == 'R';
  }
  if (d) {
    closedir(d);
  }
  return wants;
}

/* Threads are looked at only where nothing has changed since the last look. */
static void look_at_process(int64_t pid, bool is_still, struct sw_watch_rank *r) {
  char path[48];
  snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
  read_stat(path, r);
  if (is_still && r->state == 'S' && wants_cpu(pid)) {
    r->state = 'R';
  }
}

static int64_t pid_of(const struct sw_driver *d, int32_t rank) {
  return rank < SW_RANKS_MAX ? d->core.ranks[rank].pid : 0;
}

static void read_page(const struct sw_driver *d, int32_t rank, struct sw_watch_rank *out) {
  const struct stk_group_rank *p = &d->books.group->rank[rank];
  int64_t lo = 0, hi = 0;
  uint32_t phase = atomic_load_explicit(&p->phase, memory_order_relaxed);
  stk_tree_share(d->lanes, rank, d->n_ranks, &lo, &hi);
  *out =
      (struct sw_watch_rank){.is_there = pid_of(d, rank) > 0,
                             .kind = class_of(phase),
                             .phase = phase < SW_WATCH_PHASES ? phase : 0,
                             .phase_text = stk_group_phase_text(phase),
                             .n_lanes = (int32_t)(hi - lo),
                             .step = atomic_load_explicit(&p->step, memory_order_relaxed),
                             .sequence = atomic_load_explicit(&p->sequence, memory_order_relaxed),
                             .beat_ns = atomic_load_explicit(&p->beat_ns, memory_order_relaxed),
                             .busy_ns = atomic_load_explicit(&p->busy_ns, memory_order_relaxed)};
  if (out->is_there) {
    look_at_process(pid_of(d, rank), d->watch.ranks[rank].page.beat_ns == out->beat_ns, out);
  }
}

/* A straggler, or the user's code that is late: nothing is done about either. */
static void tell(struct sw_driver *d, sp_chronicle_kind kind, const struct sw_verdict *v) {
  struct sp_chronicle_entry e = sp_chronicle_entry(kind);
  sw_emit_text(d->client, SP_TEXT_WARNING, "rank %d %s\n", v->rank, v->text);
  e.generation = d->generation;
  e.rank = v->rank;
  e.step = sw_books_committed(&d->books).step;
  e.text = v->text;
  sw_chronicle_append(&d->chronicle, &e);
}

/* ---- processes without a page */

/* The sum of what follows names in a file of lines "NAME: NUMBER". */
static int64_t sum_of(const char *path, const char *const *names, size_t n_names) {
  char *text = NULL;
  size_t n;
  int64_t sum = 0;
  if (sp_file_read(path, 1 << 16, &text, &n, NULL)) {
    return 0;
  }
  for (size_t i = 0; i < n_names; i++) {
    const char *line = strstr(text, names[i]);
    sum += line ? strtoll(line + strlen(names[i]), NULL, 10) : 0;
  }
  sp_free(text);
  return sum;
}

/* Bytes that the process holds, has read and written. */
static int64_t bytes_of(int64_t pid) {
  static const char *const held[] = {"VmRSS:", "VmSwap:"}, *const moved[] = {"rchar:", "wchar:"};
  char path[64];
  snprintf(path, sizeof path, "/proc/%lld/status", (long long)pid);
  int64_t kib = sum_of(path, held, 2);
  snprintf(path, sizeof path, "/proc/%lld/io", (long long)pid);
  return 1024 * kib + sum_of(path, moved, 2);
}

static bool is_stopped(int64_t pid) {
  struct sw_watch_rank r = {0};
  look_at_process(pid, false, &r);
  return r.state == 'T';
}

/* The zygote's children while it is not up: who makes the first state. */
static void look_at_children(int64_t pid, int64_t *bytes, bool *stopped) {
  char path[64], *text = NULL, *rest = NULL;
  size_t n;
  snprintf(path, sizeof path, "/proc/%lld/task/%lld/children", (long long)pid, (long long)pid);
  if (sp_file_read(path, 1 << 12, &text, &n, NULL)) {
    return;
  }
  for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    int64_t child = strtoll(word, NULL, 10);
    *bytes += child > 1 ? bytes_of(child) : 0;
    *stopped = *stopped || (child > 1 && is_stopped(child));
  }
  sp_free(text);
}

static void tell_zygote_late(struct sw_driver *d) {
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_LATE);
  e.generation = d->generation;
  e.text =
      "the zygote has loaded nothing for a minute: the module's setup, an initialiser, or the "
      "reader may loop; it is given 10 min before it is taken for hanging";
  sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", e.text);
  sw_chronicle_append(&d->chronicle, &e);
}

static void look_at_other(struct sw_driver *d, const struct sw_proc *p, struct sw_life *life) {
  bool starts = p == &d->core.zygote && p->state == SW_PROC_STARTING;
  if (p->pid == 0 || (p->state != SW_PROC_STARTING && p->state != SW_PROC_UP)) {
    return;
  }
  bool stopped = is_stopped(p->pid);
  int64_t bytes = starts ? bytes_of(p->pid) : 0;
  if (starts) {
    look_at_children(p->pid, &bytes, &stopped);
  }
  sw_life_verdict v = sw_watch_life(life, p->id, sp_mono_now(sp_clock_system()).ns, bytes, stopped);
  if (v == SW_LIFE_STOPPED) {
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_HANG,
                                         .rank = -1,
                                         .proc = p->id,
                                         .cause_kind = SW_CAUSE_STOPPED,
                                         .text = "was stopped by a signal for more than a second"});
  } else if (v == SW_LIFE_GROWS) {
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_ALIVE, .proc = p->id});
  } else if (v == SW_LIFE_LATE && starts) {
    tell_zygote_late(d);
  }
}

void sw_driver_watch_others(struct sw_driver *d) {
  look_at_other(d, &d->core.zygote, &d->zygote_life);
  look_at_other(d, &d->core.persister, &d->persister_life);
  look_at_other(d, &d->core.spare, &d->spare_life);
}

void sw_driver_watch(struct sw_driver *d) {
  struct sw_watch_rank pages[SW_WATCH_RANKS];
  struct sw_verdict v;
  if (!d->has_books || d->core.phase == SW_PHASE_OVER) {
    return;
  }
  int32_t n = d->n_ranks < SW_WATCH_RANKS ? d->n_ranks : SW_WATCH_RANKS;
  for (int32_t r = 0; r < n; r++) {
    read_page(d, r, &pages[r]);
  }
  sw_watch_look(&d->watch, sp_mono_now(sp_clock_system()).ns, pages, n, &v);
  if (v.kind == SW_VERDICT_STRAGGLER) {
    tell(d, SP_CHRONICLE_STRAGGLER, &v);
  } else if (v.kind == SW_VERDICT_LATE) {
    tell(d, SP_CHRONICLE_LATE, &v);
  } else if (v.kind != SW_VERDICT_NONE) {
    struct sw_incident *i = &d->incident; /* what is told if it leaves instead of dying */
    if (i->n == 0) {
      snprintf(i->who, sizeof i->who, "rank %d", v.rank);
      snprintf(i->cause, sizeof i->cause, "%s", v.text);
      i->rank = v.rank;
      i->step = sw_books_committed(&d->books).step;
    }
    sw_driver_event(
        d, (struct sw_event){
               .kind = SW_EV_HANG,
               .rank = v.rank,
               .cause_kind = v.kind == SW_VERDICT_STOPPED ? SW_CAUSE_STOPPED : SW_CAUSE_HANG,
               .text = v.text});
  }
}
