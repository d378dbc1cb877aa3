/* Log lines. See log.h.
 *
 * The line is built in the caller's struct; LIMIT leaves room for the mark of a cut line and the
 * newline, so that sp_log_end always succeeds.
 */
#include "proto/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LIMIT = SP_LOG_LINE - 8 };

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

static void fd_write(void *ctx, sp_log_level level, const char *line, size_t n) {
  (void)level;
  int fd = (int)(intptr_t)ctx;
  while (n > 0) {
    ssize_t done = write(fd, line, n);
    if (done < 0 && errno != EINTR) {
      return;
    }
    if (done > 0) {
      line += done;
      n -= (size_t)done;
    }
  }
}

struct sp_log_sink sp_log_fd_sink(int fd) {
  return (struct sp_log_sink){fd_write, (void *)(intptr_t)fd};
}

const char *sp_log_level_name(sp_log_level level) {
  return level <= SP_LOG_OFF ? level_names[level] : "?";
}

sp_status sp_log_level_parse(const char *word, sp_log_level *out_level) {
  for (unsigned i = 0; i <= SP_LOG_OFF; i++) {
    if (strcmp(word, level_names[i]) == 0) {
      *out_level = (sp_log_level)i;
      return SP_OK;
    }
  }
  return SP_EINVAL;
}

static void put(struct sp_log_line *line, const char *s, size_t n) {
  if (line->cut || n > LIMIT - line->n) {
    line->cut = true;
    return;
  }
  memcpy(line->text + line->n, s, n);
  line->n += n;
}

static bool needs_quotes(const char *s) {
  if (!*s) {
    return true;
  }
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c <= ' ' || c == '"' || c == '\\' || c == '=' || c == 0x7f) {
      return true;
    }
  }
  return false;
}

static void put_escaped(struct sp_log_line *line, const char *s) {
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    char escape[8] = {'\\', (char)c, 0};
    if (c == '\n') {
      put(line, "\\n", 2);
    } else if (c < ' ' || c == 0x7f) {
      put(line, escape, (size_t)snprintf(escape, sizeof escape, "\\x%02x", c));
    } else if (c == '"' || c == '\\') {
      put(line, escape, 2);
    } else {
      put(line, s, 1);
    }
  }
}

/* The message stands unquoted; its control bytes are escaped all the same. */
void sp_log_begin(struct sp_log_line *line, const struct sp_log *log, sp_log_level level,
                  const char *message) {
  line->log = log && level >= log->level && level < SP_LOG_OFF ? log : NULL;
  line->level = level;
  line->cut = false;
  line->n = 0;
  if (!line->log) {
    return;
  }
  if (log->clock) {
    char time[SP_WALL_TEXT];
    sp_wall_text(sp_wall_now(log->clock), time);
    put(line, time, strlen(time));
    put(line, " ", 1);
  }
  put(line, level_names[level], strlen(level_names[level]));
  put(line, " ", 1);
  put_escaped(line, message);
}

static void put_key(struct sp_log_line *line, const char *key) {
  put(line, " ", 1);
  put(line, key, strlen(key));
  put(line, "=", 1);
}

void sp_log_str(struct sp_log_line *line, const char *key, const char *value) {
  if (!line->log) {
    return;
  }
  put_key(line, key);
  if (needs_quotes(value)) {
    put(line, "\"", 1);
    put_escaped(line, value);
    put(line, "\"", 1);
  } else {
    put(line, value, strlen(value));
  }
}

void sp_log_i64(struct sp_log_line *line, const char *key, int64_t value) {
  if (line->log) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_key(line, key);
    put(line, text, strlen(text));
  }
}

void sp_log_f64(struct sp_log_line *line, const char *key, double value) {
  if (line->log) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    put_key(line, key);
    put(line, text, strlen(text));
  }
}

void sp_log_end(struct sp_log_line *line) {
  if (!line->log) {
    return;
  }
  if (line->cut) {
    memcpy(line->text + line->n, " ...", 4);
    line->n += 4;
  }
  line->text[line->n++] = '\n';
  line->log->sink.write(line->log->sink.ctx, line->level, line->text, line->n);
  line->log = NULL;
}

void sp_log_printf(const struct sp_log *log, sp_log_level level, const char *fmt, ...) {
  struct sp_log_line line;
  if (log && level >= log->level) {
    char message[SP_LOG_LINE];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    sp_log_begin(&line, log, level, n < 0 ? fmt : message);
    sp_log_end(&line);
  }
}
