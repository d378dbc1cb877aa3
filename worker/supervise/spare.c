/* Memory beforehand. See spare.h. */
#include "worker/supervise/spare.h"

#include <sys/resource.h>

#include "engine/exec/room.h"
#include "proto/base/fault.h"

enum { LEAST_NICE = 10, ROOM_SHARE = 4 };

static void *warm(void *ctx) {
  struct sw_spare *w = ctx;
  (void)setpriority(PRIO_PROCESS, 0, LEAST_NICE); /* of this thread alone */
  stk_session_warm(w->session, &w->stop);
  (void)SP_FAULT("spare.warm");
  return NULL;
}

void sw_spare_begin(struct sw_spare *w, const stk_session *session) {
  w->session = session;
  w->stop = false;
  w->runs = stk_session_own_bytes(session) <= stk_room_bytes("") / ROOM_SHARE &&
            pthread_create(&w->thread, NULL, warm, w) == 0;
}

void sw_spare_end(struct sw_spare *w) {
  if (w->runs) {
    w->stop = true;
    pthread_join(w->thread, NULL);
    w->runs = false;
  }
}
