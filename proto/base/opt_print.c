/* Option tables: values and types as text. See proto/base/opt.h.
 *
 * Printed values read back to the same bits: integers in decimal, floats in the shortest form that
 * does, durations in whole units. */
#include "proto/base/opt.h"

#include "proto/base/strutil.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHOICES_BYTES = 160 };

static const void *field_const(const struct sp_opt *opt, const void *self) {
  return (const char *)self + opt->offset;
}

static const char *choice_name(const struct sp_opt *opt, int value, char *buf) {
  const char *word = opt->choices;
  for (int i = 0; i < value; i++) {
    word += strcspn(word, "|");
    word += *word == '|';
  }
  snprintf(buf, SP_OPT_PRINT, "%.*s", (int)strcspn(word, "|"), word);
  return buf;
}

bool sp_opt_is_none(const struct sp_opt *opt, const void *self) {
  const void *f = field_const(opt, self);
  switch (opt->type) {
    case SP_OPT_INT:
    case SP_OPT_DURATION:
    case SP_OPT_SIZE:
      return *(const int64_t *)f == SP_INT_NONE;
    case SP_OPT_FLOAT:
      return isnan(*(const double *)f);
    case SP_OPT_STRING:
      return *(const char *const *)f == NULL;
    case SP_OPT_COUNT:
      return ((const struct sp_count *)f)->kind == SP_COUNT_NONE;
    default:
      return false;
  }
}

/* The shortest decimal that reads back to the same double, always with a point: YAML readers that
 * follow version 1.1 take 1e-08 for a text. */
static const char *print_float(double value, char *buf) {
  char digits[40];
  for (int precision = 15; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, value);
    double back;
    if (sp_parse_f64(digits, &back) == SP_OK && back == value) {
      break;
    }
  }
  size_t n = strspn(digits, "-0123456789.");
  const char *point = strchr(digits, '.') ? "" : ".0";
  snprintf(buf, SP_OPT_PRINT, "%.*s%s%s", (int)n, digits, point, digits + n);
  return buf;
}

static const char *print_int(int64_t value, const char *unit, char *buf) {
  if (value == SP_INT_AUTO) {
    return "auto";
  }
  snprintf(buf, SP_OPT_PRINT, "%" PRId64 "%s", value, unit);
  return buf;
}

static const char *print_duration(int64_t ns, char *buf) {
  static const struct {
    int64_t ns;
    const char *name;
  } units[] = {{3600 * INT64_C(1000000000), "h"},
               {60 * INT64_C(1000000000), "m"},
               {INT64_C(1000000000), "s"},
               {1000000, "ms"},
               {1000, "us"},
               {1, "ns"}};
  if (ns == SP_INT_AUTO || ns <= 0) {
    return ns == SP_INT_AUTO ? "auto" : "0s";
  }
  int used = 0;
  for (size_t i = 0; i < sizeof units / sizeof units[0] && ns > 0; i++) {
    if (ns >= units[i].ns) {
      used += snprintf(buf + used, (size_t)(SP_OPT_PRINT - used), "%" PRId64 "%s", ns / units[i].ns,
                       units[i].name);
      ns %= units[i].ns;
    }
  }
  return buf;
}

static const char *print_count(const struct sp_count *c, char *buf) {
  return c->kind == SP_COUNT_N ? print_int(c->n, "", buf) : print_float(c->fraction, buf);
}

const char *sp_opt_print(const struct sp_opt *opt, const void *self, size_t index, char *buf) {
  const void *f = field_const(opt, self);
  if (index > 0 && !sp_opt_is_list(opt)) {
    return NULL;
  }
  if (sp_opt_is_none(opt, self)) {
    return "null";
  }
  switch (opt->type) {
    case SP_OPT_BOOL:
      return *(const bool *)f ? "true" : "false";
    case SP_OPT_INT:
    case SP_OPT_SIZE:
      return print_int(*(const int64_t *)f, "", buf);
    case SP_OPT_DURATION:
      return print_duration(*(const int64_t *)f, buf);
    case SP_OPT_FLOAT:
      return print_float(*(const double *)f, buf);
    case SP_OPT_STRING:
      return *(const char *const *)f;
    case SP_OPT_ENUM:
      return choice_name(opt, *(const int *)f, buf);
    case SP_OPT_COUNT:
      return print_count(f, buf);
    case SP_OPT_LIST: {
      const struct sp_strings *list = f;
      return index < list->n ? list->items[index] : NULL;
    }
    case SP_OPT_INTS: {
      const struct sp_ints *list = f;
      return index < list->n ? print_int(list->items[index], "", buf) : NULL;
    }
    case SP_OPT_FLOATS: {
      const struct sp_floats *list = f;
      return index < list->n ? print_float(list->items[index], buf) : NULL;
    }
  }
  return NULL;
}

void sp_opt_choices_text(const char *choices, char *buf, size_t buf_bytes) {
  size_t used = 0;
  for (; *choices && used + 3 < buf_bytes; choices++) {
    if (*choices == '|') {
      buf[used++] = ',';
      buf[used++] = ' ';
    } else {
      buf[used++] = *choices;
    }
  }
  buf[used] = '\0';
}

void sp_opt_type_text(const struct sp_opt *opt, char *buf, size_t buf_bytes) {
  static const char *const names[] = {
      [SP_OPT_BOOL] = "true or false",
      [SP_OPT_INT] = "an integer",
      [SP_OPT_FLOAT] = "a number",
      [SP_OPT_STRING] = "a text",
      [SP_OPT_ENUM] = "",
      [SP_OPT_DURATION] = "a duration (90s, 1h30m, DD:HH:MM:SS)",
      [SP_OPT_SIZE] = "a size (4096, 64MiB, 2GB)",
      [SP_OPT_COUNT] = "a count (10) or a fraction (0.5)",
      [SP_OPT_LIST] = "a list of texts",
      [SP_OPT_INTS] = "a list of integers",
      [SP_OPT_FLOATS] = "a list of numbers",
  };
  char words[CHOICES_BYTES] = "";
  if (opt->choices) {
    sp_opt_choices_text(opt->choices, words, sizeof words);
  }
  snprintf(buf, buf_bytes, "%s%s%s%s%s", opt->choices ? "one of " : "",
           opt->choices ? words : names[opt->type],
           opt->flags & SP_OPT_BOOLISH ? ", true, false" : "",
           opt->flags & SP_OPT_AUTO ? ", auto" : "", opt->flags & SP_OPT_NONE ? " or none" : "");
}
