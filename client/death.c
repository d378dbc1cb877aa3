/* The worker's end in words. */
#include "client/death.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum sp_exit sc_death_exit(const struct sc_death *d) {
  if (d->killed_here || d->stopped_here) {
    return SP_EXIT_JOB_CANCELED;
  }
  if (WIFSIGNALED(d->wait_status)) {
    int sig = WTERMSIG(d->wait_status);
    bool outside = sig == SIGKILL || sig == SIGTERM || sig == SIGINT || sig == SIGHUP;
    return outside ? SP_EXIT_JOB_LOST : SP_EXIT_JOB_FAILED;
  }
  return d->ran ? SP_EXIT_JOB_FAILED : SP_EXIT_FAILED;
}

static const char *signal_hint(int sig) {
  switch (sig) {
    case SIGKILL:
      return "; nothing here sent it: the kernel does when memory runs out (see dmesg), or a "
             "person";
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

void sc_death_put(const struct sc_death *d, struct sp_buf *b) {
  if (!WIFSIGNALED(d->wait_status)) {
    sp_buf_printf(b, "stoker-worker ended with exit status %d and said no result",
                  WEXITSTATUS(d->wait_status));
    return;
  }
  int sig = WTERMSIG(d->wait_status);
  if (d->killed_here) {
    sp_buf_puts(b, "stopped at once");
    return;
  }
  const char *name = sigabbrev_np(sig);
  const char *text = sigdescr_np(sig);
  sp_buf_printf(b, "stoker-worker was killed by SIG%s (%s)%s", name ? name : "?",
                text ? text : "unknown signal", d->stopped_here ? "" : signal_hint(sig));
}
