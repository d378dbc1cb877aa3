/* Fault points. See fault.h.
 *
 * The environment is read at each passage, so there is nothing to initialise; what stays is the
 * process's role and one passage counter per entry, by position. Only test builds contain any of
 * it.
 */
#include "proto/base/fault.h"

#include <stdlib.h>

#ifndef STOKER_FAULTS

sp_status sp_fault_check(struct sp_err *err) {
  const char *list = getenv("STOKER_FAULT");
  if (list && *list) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "STOKER_FAULT is set, but this build has no fault points: use the debug or asan "
                   "preset, or unset it");
  }
  return SP_OK;
}

void sp_fault_set_role(int rank, const char *word) {
  (void)rank;
  (void)word;
}

struct sp_fault_names sp_fault_names_base(void) {
  return SP_FAULT_NAMES_HERE();
}

#else

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/strutil.h"

enum { N_ENTRIES = 16, ENTRY_BYTES = 128 };

struct fault {
  char name[ENTRY_BYTES]; /* holds who and the action too: they point into it */
  const char *who;        /* "*": everybody */
  const char *action;
  int64_t hit;
  int signal_number; /* 0: none */
  int error;
  int64_t sleep_ns;
};

static atomic_llong passages[N_ENTRIES];
static char role[SP_FAULT_ROLE] = "-";

void sp_fault_set_role(int rank, const char *word) {
  if (rank >= 0) {
    snprintf(role, sizeof role, "%d", rank);
  } else {
    snprintf(role, sizeof role, "%s", word);
  }
  for (int i = 0; i < N_ENTRIES; i++) {
    atomic_store(&passages[i], 0);
  }
}

struct sp_fault_names sp_fault_names_base(void) {
  return SP_FAULT_NAMES_HERE();
}

/* ---- the list */

static bool parse_errno(const char *word, int *out_code) {
  static const struct {
    const char *name;
    int code;
  } known[] = {
      {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"ENOMEM", ENOMEM}, {"EINTR", EINTR},
      {"EACCES", EACCES}, {"EPIPE", EPIPE},   {"EROFS", EROFS},   {"EDQUOT", EDQUOT},
      {"EMFILE", EMFILE}, {"EAGAIN", EAGAIN}, {"ENOENT", ENOENT},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(word, known[i].name) == 0) {
      *out_code = known[i].code;
      return true;
    }
  }
  return false;
}

static bool parse_action(const char *word, struct fault *out_fault) {
  static const struct {
    const char *name;
    int signal_number;
  } signals[] = {{"kill9", SIGKILL}, {"abort", SIGABRT}, {"stop", SIGSTOP}};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
    if (strcmp(word, signals[i].name) == 0) {
      out_fault->signal_number = signals[i].signal_number;
      return true;
    }
  }
  if (strncmp(word, "errno=", 6) == 0) {
    return parse_errno(word + 6, &out_fault->error);
  }
  return strncmp(word, "sleep=", 6) == 0 &&
         sp_parse_duration(word + 6, &out_fault->sleep_ns) == SP_OK;
}

/* Ends the word at the next colon and gives what follows; NULL: there is none. */
static char *cut(char *word) {
  char *colon = word ? strchr(word, ':') : NULL;
  if (!colon) {
    return NULL;
  }
  *colon = '\0';
  return colon + 1;
}

static bool is_hit(const char *word, int64_t *out_hit) {
  return sp_parse_i64(word, out_hit) == SP_OK && *out_hit >= 0;
}

/* Splits name:who:hit:action or name:hit:action. No action is a number, so that the third word
 * tells which. */
static bool parse_entry(const char *text, size_t n, struct fault *out_fault) {
  *out_fault = (struct fault){.who = "*"};
  if (n >= ENTRY_BYTES) {
    return false;
  }
  memcpy(out_fault->name, text, n);
  char *second = cut(out_fault->name);
  char *rest = cut(second);
  int64_t number;
  size_t third = rest ? strcspn(rest, ":") : 0;
  char word[ENTRY_BYTES] = "";
  memcpy(word, rest ? rest : "", third);
  if (rest && rest[third] == ':' && is_hit(word, &number)) {
    out_fault->who = second;
    second = rest;
    rest = cut(second);
  }
  out_fault->action = rest;
  return rest && out_fault->name[0] && out_fault->who[0] && is_hit(second, &out_fault->hit) &&
         parse_action(rest, out_fault);
}

/* The next entry of the list, whose rest is returned; NULL at the end. */
static const char *next_entry(const char *list, const char **out_text, size_t *out_n) {
  if (!list || !*list) {
    return NULL;
  }
  *out_text = list;
  *out_n = strcspn(list, ",");
  return list[*out_n] ? list + *out_n + 1 : list + *out_n;
}

sp_status sp_fault_check(struct sp_err *err) {
  const char *rest = getenv("STOKER_FAULT");
  const char *text;
  size_t n;
  for (int i = 0; (rest = next_entry(rest, &text, &n)); i++) {
    struct fault fault;
    if (i == N_ENTRIES || !parse_entry(text, n, &fault)) {
      return sp_fail(
          err, SP_EINVAL,
          "STOKER_FAULT: entry %d, '%.*s': want name:who:hit:action or name:hit:action, "
          "who a rank's number, supervisor, zygote, persister or *, action kill9, abort, "
          "stop, errno=NAME or sleep=DURATION, and at most %d entries",
          i + 1, (int)n, text, N_ENTRIES);
    }
  }
  return SP_OK;
}

/* ---- passages */

static void trace(const char *name, const char *action) {
  const char *path = getenv("STOKER_FAULT_TRACE");
  int fd = path && *path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (fd < 0) {
    return;
  }
  char line[2 * ENTRY_BYTES + SP_FAULT_ROLE];
  int n = snprintf(line, sizeof line, "%s %s%s%s\n", name, role, *action ? " " : "", action);
  while (n > 0 && write(fd, line, (size_t)n) < 0 && errno == EINTR) {
  }
  close(fd);
}

/* Whether entry i may end or stop this process: not when it has done so to another one already. */
static bool is_first(int i) {
  const char *path = getenv("STOKER_FAULT_TRACE");
  char mark[PATH_MAX];
  if (!path || !*path) {
    return true;
  }
  snprintf(mark, sizeof mark, "%s.%d", path, i);
  int fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    close(fd);
  }
  return fd >= 0;
}

static void wait_ns(int64_t ns) {
  struct timespec t = {(time_t)(ns / SP_NS_PER_S), (long)(ns % SP_NS_PER_S)};
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {
  }
}

static void send_signal(int number) {
  if (number == SIGABRT) {
    signal(SIGABRT, SIG_DFL);
  }
  raise(number); /* to this thread: nothing after the place happens */
}

/* Entry i is due here: the error that the place fails with, or 0. */
static int act(const struct fault *f, int i) {
  if (f->signal_number && !is_first(i)) {
    return 0;
  }
  trace(f->name, f->action);
  if (f->signal_number) {
    send_signal(f->signal_number);
  }
  if (f->sleep_ns > 0) {
    wait_ns(f->sleep_ns);
  }
  return f->error;
}

int sp_fault_hit(const char *name) {
  const int kept = errno;
  const char *rest = getenv("STOKER_FAULT");
  const char *text;
  size_t n;
  int error = 0;
  trace(name, "");
  for (int i = 0; i < N_ENTRIES && (rest = next_entry(rest, &text, &n)); i++) {
    struct fault f;
    if (!parse_entry(text, n, &f) || strcmp(f.name, name) != 0 ||
        (strcmp(f.who, "*") != 0 && strcmp(f.who, role) != 0)) {
      continue;
    }
    long long passage = atomic_fetch_add(&passages[i], 1) + 1;
    if (f.hit == 0 || f.hit == passage) {
      int e = act(&f, i);
      error = e ? e : error;
    }
  }
  errno = kept;
  return error;
}

#endif
