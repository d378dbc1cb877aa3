/* Why a process ended, as a class, a number and a sentence for people. Pure.
 *
 * The kernel's wait status says how it ended; the driver adds what only the system knows (the
 * cgroup counted an OOM kill), and the process its last words (the tail of its log, or the text of
 * the error that it reported).
 */
#ifndef SW_SUPERVISE_CAUSE_H
#define SW_SUPERVISE_CAUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

typedef enum sw_cause_kind {
  SW_CAUSE_NONE,
  SW_CAUSE_SIGNAL,  /* number: the signal */
  SW_CAUSE_EXIT,    /* number: the exit status; 0 too, which is an end before its time */
  SW_CAUSE_OOM,     /* number: SIGKILL, and the kernel says that memory had run out */
  SW_CAUSE_STOPPED, /* number: SIGSTOP; it stood still, and was killed for it */
  SW_CAUSE_HANG,    /* number: 0; it made no progress, or did not answer, and was killed for it */
  SW_CAUSE_ERROR,   /* number: an sp_status that it reported itself */
} sw_cause_kind;

enum { SW_CAUSE_TEXT = 640, SW_CAUSE_WORDS = 320 };

struct sw_cause {
  sw_cause_kind kind;
  int32_t number;
  char
      text[SW_CAUSE_TEXT]; /* one sentence, no newline: "rank 1 was killed by signal 9 (SIGKILL)" */
};

/* "signal", "exit", "oom", "stopped", "hang", "error"; "none". For the chronicle. */
const char *sw_cause_name(sw_cause_kind kind);

/* The cause of a wait status. who: "rank 1", "the zygote". words: last words or NULL; they are
 * attached, on one line, cut at SW_CAUSE_WORDS bytes (their end is kept). */
void sw_cause_of_exit(struct sw_cause *c, const char *who, int wait_status, bool oom,
                      const char *words);

/* The cause of a process that reported an error of its own. */
void sw_cause_of_error(struct sw_cause *c, const char *who, sp_status status, const char *text);

/* The cause of a process that was killed here: kind STOPPED or HANG, and why in a half sentence
 * ("did not leave its generation within 2 s"). */
void sw_cause_of_kill(struct sw_cause *c, const char *who, sw_cause_kind kind, const char *why);

#endif
