/* See prio.h. The C library has no wrapper for ioprio_set, nor the kernel's numbers. */
#include "proto/base/prio.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WHO_PROCESS = 1, CLASS_BEST_EFFORT = 2, CLASS_SHIFT = 13, LOWEST = 7, NICE = 10 };

sp_status sp_io_low_priority(struct sp_err *err) {
  long value = (long)CLASS_BEST_EFFORT << CLASS_SHIFT | LOWEST;
  if (syscall(SYS_ioprio_set, WHO_PROCESS, 0, value) != 0) {
    return sp_fail_errno(err, "lowering the I/O priority");
  }
  errno = 0; /* -1 is a nice value, too */
  int now = nice(0);
  if (now < NICE && nice(NICE - now) == -1 && errno != 0) {
    return sp_fail_errno(err, "lowering the priority");
  }
  return SP_OK;
}
