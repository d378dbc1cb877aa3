/* Log lines: `time level message key=value ...`, one bounded line per event, to a sink.
 *
 *   struct sp_log_line line;
 *   sp_log_begin(&line, log, SP_LOG_INFO, "checkpoint published");
 *   sp_log_i64(&line, "step", step);
 *   sp_log_str(&line, "path", path);
 *   sp_log_end(&line);
 *
 * A value with a space, quote, equals sign or control byte is quoted and escaped, so a line is
 * always one line and can be parsed back, whatever the bytes. What does not fit is cut and the
 * line ends in " ...". Below the level nothing is formatted. A log is constant after its set-up and
 * may be used by any thread if its sink may.
 */
#ifndef SP_BASE_LOG_H
#define SP_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/base/status.h"

typedef enum sp_log_level {
  SP_LOG_DEBUG,
  SP_LOG_INFO,
  SP_LOG_WARN,
  SP_LOG_ERROR,
  SP_LOG_OFF, /* as a threshold only */
} sp_log_level;

/* write gets one whole line with its newline; it must not fail loudly. */
struct sp_log_sink {
  void (*write)(void *ctx, sp_log_level level, const char *line, size_t n);
  void *ctx;
};

struct sp_log {
  sp_log_level level;           /* the lowest that is written */
  const struct sp_clock *clock; /* NULL: lines without time */
  struct sp_log_sink sink;
};

enum { SP_LOG_LINE = 2048 };

struct sp_log_line {
  const struct sp_log *log; /* NULL: nothing is written */
  sp_log_level level;
  bool cut;
  size_t n;
  char text[SP_LOG_LINE];
};

/* A sink that writes each line with one write(2) to a descriptor, which stays the caller's. */
struct sp_log_sink sp_log_fd_sink(int fd);

/* "debug", "info", "warn", "error", "off"; and back (SP_EINVAL for another word). */
const char *sp_log_level_name(sp_log_level level);
SP_NODISCARD sp_status sp_log_level_parse(const char *word, sp_log_level *out_level);

/* log may be NULL. */
void sp_log_begin(struct sp_log_line *line, const struct sp_log *log, sp_log_level level,
                  const char *message);
void sp_log_str(struct sp_log_line *line, const char *key, const char *value);
void sp_log_i64(struct sp_log_line *line, const char *key, int64_t value);
void sp_log_f64(struct sp_log_line *line, const char *key, double value);
void sp_log_end(struct sp_log_line *line);

/* A line that is a formatted message and nothing else. */
void sp_log_printf(const struct sp_log *log, sp_log_level level, const char *fmt, ...)
    SP_PRINTF(3, 4);

#endif
