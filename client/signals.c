/* The signalfd. */
#include "client/signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

sp_status sc_signals_open(struct sc_signals *out_signals, struct sp_err *err) {
  static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGWINCH, SIGTSTP};
  struct sc_signals s;
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
    sigaddset(&set, caught[i]);
  }
  if (sigprocmask(SIG_BLOCK, &set, &s.before) != 0) {
    return sp_fail_errno(err, "signals");
  }
  s.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (s.fd < 0) {
    sp_status status = sp_fail_errno(err, "signals");
    (void)sigprocmask(SIG_SETMASK, &s.before, NULL);
    return status;
  }
  signal(SIGPIPE, SIG_IGN);
  *out_signals = s;
  return SP_OK;
}

void sc_signals_close(struct sc_signals *s) {
  close(s->fd);
  (void)sigprocmask(SIG_SETMASK, &s->before, NULL);
}

int sc_signals_next(struct sc_signals *s) {
  struct signalfd_siginfo info;
  ssize_t n;
  do {
    n = read(s->fd, &info, sizeof info);
  } while (n < 0 && errno == EINTR);
  return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}
