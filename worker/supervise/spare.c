/* Memory beforehand. See spare.h. */
#include "worker/supervise/spare.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/exec/room.h"
#include "proto/base/fault.h"

enum { NICE = 10, ROOM_SHARE = 4 };

static const char oom_first[] = "1000";

/* Exchanges oom_score_adj; `old`, of SW_SPARE_SCORE bytes, may be NULL. Where it cannot be had the
 * order is the kernel's. */
static void score(const char *text, char *old) {
  int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  ssize_t n = fd >= 0 && old ? read(fd, old, SW_SPARE_SCORE - 1) : 0;
  if (old) {
    old[n > 0 ? n : 0] = '\0';
  }
  if (fd >= 0 && (!old || n > 0)) {
    (void)!pwrite(fd, text, strlen(text), 0);
  }
  if (fd >= 0) {
    close(fd);
  }
}

static void *warm(void *ctx) {
  struct sw_spare *w = ctx;
  (void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread alone */
  stk_session_warm(w->session, &w->stop);
  (void)SP_FAULT("spare.warm");
  return NULL;
}

void sw_spare_begin(struct sw_spare *w, const stk_session *session) {
  w->session = session;
  w->stop = false;
  score(oom_first, w->score);
  w->runs = stk_session_own_bytes(session) <= stk_room_bytes("") / ROOM_SHARE &&
            pthread_create(&w->thread, NULL, warm, w) == 0;
}

void sw_spare_end(struct sw_spare *w) {
  if (w->runs) {
    w->stop = true;
    pthread_join(w->thread, NULL);
    w->runs = false;
  }
  if (*w->score) {
    score(w->score, NULL);
  }
}
