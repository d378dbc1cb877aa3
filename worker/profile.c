/* The profiler's report. See profile.h. */
#include "worker/profile.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "engine/trainer/loggers/rundir.h"

enum { REPORT_MAX = 1 << 20 };

/* One event a line: a text event is bounded. */
static void tell(struct sw_emit *e, const char *text) {
  while (*text) {
    int n = (int)strcspn(text, "\n");
    sw_emit_text(e, SP_TEXT_INFO, "%.*s\n", n, text);
    text += n + (text[n] == '\n');
  }
}

void sw_profile_report(const struct sw_setup *s, struct sw_emit *e, const char *verb,
                       const char *dir) {
  char file[64], title[32];
  struct sp_buf b;
  struct sp_err err = {0};
  if (!s->profiler.clock) {
    return;
  }
  size_t n = 0;
  for (; verb[n] && n + 1 < sizeof title; n++) {
    title[n] = (char)toupper((unsigned char)verb[n]);
  }
  title[n] = '\0';
  sp_buf_init(&b, REPORT_MAX);
  stk_profiler_report(&s->profiler, title, &b);
  tell(e, sp_buf_text(&b));
  snprintf(file, sizeof file, "%.40s-profile-0.txt", verb);
  sp_status st = sp_buf_check(&b, "the profile", &err);
  st = st || !dir ? st : stk_rundir_write(dir, file, b.data, b.length, &err);
  if (st) {
    sw_emit_text(e, SP_TEXT_WARNING, "%s\n", err.text);
  }
  sp_buf_free(&b);
}
