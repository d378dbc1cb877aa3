/* Causes in words. */
#include "worker/supervise/cause.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

const char *sw_cause_name(sw_cause_kind kind) {
  static const char *const names[] = {"none", "signal", "exit", "oom", "stopped", "hang", "error"};
  return names[kind];
}

/* Appends text on one line, cut at its head. */
static void add_words(struct sw_cause *c, const char *label, const char *words) {
  size_t n = words ? strlen(words) : 0;
  while (n > 0 && (unsigned char)words[n - 1] <= ' ') {
    n--;
  }
  while (n > 0 && (unsigned char)*words <= ' ') {
    words++;
    n--;
  }
  if (n == 0) {
    return;
  }
  bool is_cut = n > SW_CAUSE_WORDS;
  words += is_cut ? n - SW_CAUSE_WORDS : 0;
  n = is_cut ? SW_CAUSE_WORDS : n;
  while (is_cut && n > 0 && ((unsigned char)*words & 0xC0) == 0x80) { /* not inside a character */
    words++;
    n--;
  }
  size_t at = strlen(c->text);
  snprintf(c->text + at, sizeof c->text - at, "%s%s%.*s", label, is_cut ? "..." : "", (int)n,
           words);
  for (char *p = c->text + at; *p; p++) {
    *p = (unsigned char)*p < ' ' || *p == 0x7F ? ' ' : *p;
  }
}

static const char *hint_of(int sig) {
  switch (sig) {
    case SIGKILL:
      return "; nothing here sent it";
    case SIGBUS:
      return "; a mapped file was cut short, or /dev/shm is full (stoker doctor)";
    case SIGILL:
      return "; try --trainer.kernels ref, and report it";
    case SIGSEGV:
    case SIGFPE:
    case SIGABRT:
      return "; if the model is a module of your own, look there first";
    default:
      return "";
  }
}

void sw_cause_of_exit(struct sw_cause *c, const char *who, int wait_status, bool oom,
                      const char *words) {
  if (WIFSIGNALED(wait_status)) {
    int sig = WTERMSIG(wait_status);
    const char *name = sigabbrev_np(sig);
    c->kind = oom && sig == SIGKILL ? SW_CAUSE_OOM : SW_CAUSE_SIGNAL;
    c->number = sig;
    snprintf(c->text, sizeof c->text, "%s was killed by signal %d (SIG%s)%s", who, sig,
             name ? name : "?",
             c->kind == SW_CAUSE_OOM ? " by the kernel, because memory had run out" : hint_of(sig));
  } else {
    c->kind = SW_CAUSE_EXIT;
    c->number = WEXITSTATUS(wait_status);
    snprintf(c->text, sizeof c->text, "%s ended by itself with exit status %d%s", who,
             (int)c->number, c->number == 0 ? " before its work was done" : "");
  }
  add_words(c, "; its last words: ", words);
}

void sw_cause_of_error(struct sw_cause *c, const char *who, sp_status status, const char *text) {
  c->kind = SW_CAUSE_ERROR;
  c->number = (int32_t)status;
  snprintf(c->text, sizeof c->text, "%s failed", who);
  add_words(c, ": ", text && *text ? text : sp_status_text(status));
}

void sw_cause_of_kill(struct sw_cause *c, const char *who, sw_cause_kind kind, const char *why) {
  c->kind = kind;
  c->number = kind == SW_CAUSE_STOPPED ? SIGSTOP : 0;
  snprintf(c->text, sizeof c->text, "%s", who);
  add_words(c, " ", why);
  size_t at = strlen(c->text);
  snprintf(c->text + at, sizeof c->text - at, ", and was killed for it");
}
