/* Fault points. See fault.h.
 *
 * The list is read from the environment at each passage, so there is nothing to initialise; what
 * stays is one passage counter per entry, by position. Only test builds contain any of it.
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

#else

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/strutil.h"

enum { N_ENTRIES = 16, ENTRY_BYTES = 128 };

struct fault {
  char name[ENTRY_BYTES];
  int64_t hit;
  bool kill9;
  int error;
  int64_t sleep_ns;
};

static atomic_llong passages[N_ENTRIES];

static bool parse_errno(const char *word, int *out_code) {
  static const struct {
    const char *name;
    int code;
  } known[] = {
      {"EIO", EIO},     {"ENOSPC", ENOSPC}, {"ENOMEM", ENOMEM},
      {"EINTR", EINTR}, {"EACCES", EACCES}, {"EPIPE", EPIPE},
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
  if (strcmp(word, "kill9") == 0) {
    out_fault->kill9 = true;
    return true;
  }
  if (strncmp(word, "errno=", 6) == 0) {
    return parse_errno(word + 6, &out_fault->error);
  }
  return strncmp(word, "sleep=", 6) == 0 &&
         sp_parse_duration(word + 6, &out_fault->sleep_ns) == SP_OK;
}

/* Splits name:hit:action in place. */
static bool parse_entry(const char *text, size_t n, struct fault *out_fault) {
  *out_fault = (struct fault){0};
  if (n >= ENTRY_BYTES) {
    return false;
  }
  memcpy(out_fault->name, text, n);
  char *hit = strchr(out_fault->name, ':');
  char *action = hit ? strchr(hit + 1, ':') : NULL;
  if (!action || hit == out_fault->name) {
    return false;
  }
  *hit = '\0';
  *action = '\0';
  return sp_parse_i64(hit + 1, &out_fault->hit) == SP_OK && out_fault->hit >= 0 &&
         parse_action(action + 1, out_fault);
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
      return sp_fail(err, SP_EINVAL,
                     "STOKER_FAULT: entry %d, '%.*s': want name:hit:action with action kill9, "
                     "errno=NAME or sleep=DURATION, and at most %d entries",
                     i + 1, (int)n, text, N_ENTRIES);
    }
  }
  return SP_OK;
}

static void wait_ns(int64_t ns) {
  struct timespec t = {(time_t)(ns / SP_NS_PER_S), (long)(ns % SP_NS_PER_S)};
  while (nanosleep(&t, &t) != 0 && errno == EINTR) {
  }
}

int sp_fault_hit(const char *name) {
  const char *rest = getenv("STOKER_FAULT");
  const char *text;
  size_t n;
  int error = 0;
  for (int i = 0; i < N_ENTRIES && (rest = next_entry(rest, &text, &n)); i++) {
    struct fault fault;
    if (!parse_entry(text, n, &fault) || strcmp(fault.name, name) != 0) {
      continue;
    }
    long long passage = atomic_fetch_add(&passages[i], 1) + 1;
    if (fault.hit != 0 && fault.hit != passage) {
      continue;
    }
    if (fault.kill9) {
      kill(getpid(), SIGKILL);
    }
    if (fault.sleep_ns > 0) {
      wait_ns(fault.sleep_ns);
    }
    error = fault.error ? fault.error : error;
  }
  return error;
}

#endif
