/* Strict parsing and human units. See strutil.h. */
#include "proto/base/strutil.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_LIMIT = 64 };

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* ASCII lower case, and one spelling for the two word separators. */
static char fold(char c) {
  if (c >= 'A' && c <= 'Z') {
    return (char)(c - 'A' + 'a');
  }
  return c == '-' ? '_' : c;
}

static unsigned min3(unsigned a, unsigned b, unsigned c) {
  unsigned least = a < b ? a : b;
  return least < c ? least : c;
}

/* Optimal string alignment distance; both lengths at most WORD_LIMIT. */
static unsigned distance(const char *a, size_t n_a, const char *b, size_t n_b) {
  unsigned rows[3][WORD_LIMIT + 1];
  unsigned *before = rows[0];
  unsigned *above = rows[1];
  unsigned *row = rows[2];
  for (size_t j = 0; j <= n_b; j++) {
    above[j] = (unsigned)j;
  }
  for (size_t i = 1; i <= n_a; i++) {
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= n_b; j++) {
      char x = fold(a[i - 1]);
      char y = fold(b[j - 1]);
      row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y));
      if (i > 1 && j > 1 && x == fold(b[j - 2]) && fold(a[i - 2]) == y &&
          before[j - 2] + 1 < row[j]) {
        row[j] = before[j - 2] + 1;
      }
    }
    unsigned *spare = before;
    before = above;
    above = row;
    row = spare;
  }
  return above[n_b];
}

const char *sp_suggest(const char *word, const char *const *candidates, size_t n) {
  size_t length = strlen(word);
  if (length == 0 || length > WORD_LIMIT) {
    return NULL;
  }
  /* One slip in a short word, a third of the letters in a long one. */
  unsigned best = (unsigned)(length / 3 > 1 ? length / 3 : 1) + 1;
  const char *found = NULL;
  for (size_t i = 0; i < n; i++) {
    size_t n_candidate = strlen(candidates[i]);
    if (n_candidate > WORD_LIMIT) {
      continue;
    }
    unsigned d = distance(word, length, candidates[i], n_candidate);
    if (d < best && d < n_candidate) {
      best = d;
      found = candidates[i];
    }
  }
  return found;
}

sp_status sp_parse_i64(const char *s, int64_t *out_value) {
  bool negative = *s == '-';
  if (*s == '-' || *s == '+') {
    s++;
  }
  if (!is_digit(*s)) {
    return SP_EINVAL;
  }
  int64_t value = 0;
  bool over = false;
  for (; *s; s++) {
    if (*s == '_' && is_digit(s[1])) {
      continue;
    }
    if (!is_digit(*s)) {
      return SP_EINVAL;
    }
    /* Counting downwards reaches INT64_MIN without a special case. */
    over = over || __builtin_mul_overflow(value, 10, &value) ||
           __builtin_sub_overflow(value, *s - '0', &value);
  }
  if (over || (!negative && value == INT64_MIN)) {
    return SP_ERANGE;
  }
  *out_value = negative ? value : -value;
  return SP_OK;
}

/* Digits with at most one point among them; at least one digit. NULL if s does not start so. */
static const char *skip_decimal(const char *s) {
  size_t whole = strspn(s, "0123456789");
  size_t fraction = 0;
  const char *end = s + whole;
  if (*end == '.') {
    fraction = strspn(end + 1, "0123456789");
    end += 1 + fraction;
  }
  return whole + fraction > 0 ? end : NULL;
}

static bool is_float_syntax(const char *s) {
  s += *s == '-' || *s == '+';
  if (strcmp(s, "inf") == 0 || strcmp(s, "nan") == 0 || strcmp(s, ".inf") == 0 ||
      strcmp(s, ".nan") == 0) {
    return true;
  }
  s = skip_decimal(s);
  if (s && (*s == 'e' || *s == 'E')) {
    s++;
    s += *s == '-' || *s == '+';
    size_t digits = strspn(s, "0123456789");
    return digits > 0 && s[digits] == '\0';
  }
  return s && *s == '\0';
}

sp_status sp_parse_f64(const char *s, double *out_value) {
  if (!is_float_syntax(s)) {
    return SP_EINVAL;
  }
  bool negative = *s == '-';
  const char *body = s + (*s == '-' || *s == '+');
  double value;
  if (strstr(body, "inf")) {
    value = HUGE_VAL;
  } else if (strstr(body, "nan")) {
    value = (double)NAN;
  } else {
    /* newlocale returns the built-in "C" locale without allocating. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) {
      return SP_ENOMEM;
    }
    value = strtod_l(body, NULL, c_locale);
    freelocale(c_locale);
    if (isinf(value)) {
      return SP_ERANGE;
    }
  }
  *out_value = negative ? -value : value;
  return SP_OK;
}

/* whole[.fraction] * unit, rounded down; at most nine digits of fraction count. *s moves on. */
static sp_status parse_scaled(const char **s, uint64_t unit, const char *end, uint64_t *out_value) {
  uint64_t value = 0;
  const char *p = *s;
  for (; p < end && *p != '.'; p++) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) {
      return SP_ERANGE;
    }
  }
  if (__builtin_mul_overflow(value, unit, &value)) {
    return SP_ERANGE;
  }
  uint64_t fraction = 0;
  uint64_t scale = 1;
  for (p += p < end; p < end && scale < 1000000000; p++) {
    fraction = fraction * 10 + (uint64_t)(*p - '0');
    scale *= 10;
  }
  /* unit / scale * fraction without overflow: unit < 2^61, so split it. */
  uint64_t part = unit / scale * fraction + unit % scale * fraction / scale;
  if (__builtin_add_overflow(value, part, &value)) {
    return SP_ERANGE;
  }
  *s = end;
  *out_value = value;
  return SP_OK;
}

sp_status sp_parse_bytes(const char *s, uint64_t *out_bytes) {
  static const struct {
    const char *name;
    uint64_t bytes;
  } units[] = {
      {"", 1},
      {"B", 1},
      {"K", UINT64_C(1) << 10},
      {"KiB", UINT64_C(1) << 10},
      {"kB", 1000},
      {"KB", 1000},
      {"M", UINT64_C(1) << 20},
      {"MiB", UINT64_C(1) << 20},
      {"MB", 1000000},
      {"G", UINT64_C(1) << 30},
      {"GiB", UINT64_C(1) << 30},
      {"GB", 1000000000},
      {"T", UINT64_C(1) << 40},
      {"TiB", UINT64_C(1) << 40},
      {"TB", UINT64_C(1000000000000)},
  };
  const char *end = skip_decimal(s);
  if (!end || *s == '.') {
    return SP_EINVAL;
  }
  const char *unit = end + (end[0] == ' ' && end[1]);
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
    if (strcmp(unit, units[i].name) == 0) {
      if (units[i].bytes == 1 && memchr(s, '.', (size_t)(end - s))) {
        return SP_EINVAL;
      }
      return parse_scaled(&s, units[i].bytes, end, out_bytes);
    }
  }
  return SP_EINVAL;
}

/* Exactly two digits below limit, then the character `after`. */
static bool two_digits(const char *s, int64_t limit, char after, int64_t *out_value) {
  if (!is_digit(s[0]) || !is_digit(s[1]) || s[2] != after) {
    return false;
  }
  *out_value = (s[0] - '0') * 10 + (s[1] - '0');
  return *out_value < limit;
}

/* HH:MM:SS with the days that stood in front. */
static sp_status parse_clock(const char *s, int64_t days, int64_t *out_ns) {
  int64_t h, m, sec;
  if (!two_digits(s, 100, ':', &h) || !two_digits(s + 3, 60, ':', &m) ||
      !two_digits(s + 6, 60, '\0', &sec)) {
    return SP_EINVAL;
  }
  int64_t ns;
  if (__builtin_mul_overflow(days, INT64_C(86400), &ns) ||
      __builtin_add_overflow(ns, h * 3600 + m * 60 + sec, &ns) ||
      __builtin_mul_overflow(ns, INT64_C(1000000000), &ns)) {
    return SP_ERANGE;
  }
  *out_ns = ns;
  return SP_OK;
}

static sp_status parse_clock_form(const char *s, int64_t *out_ns) {
  size_t digits = strspn(s, "0123456789");
  size_t length = strlen(s);
  bool with_days = digits > 0 && digits <= 9 && (s[digits] == '-' || length - digits == 9);
  if (!with_days) {
    return parse_clock(s, 0, out_ns);
  }
  int64_t days = 0;
  for (size_t i = 0; i < digits; i++) {
    days = days * 10 + (s[i] - '0');
  }
  return parse_clock(s + digits + 1, days, out_ns);
}

struct duration_unit {
  const char *name;
  int64_t ns;
};

static const struct duration_unit duration_units[] = {
    {"w", INT64_C(604800000000000)},
    {"d", INT64_C(86400000000000)},
    {"h", INT64_C(3600000000000)},
    {"m", INT64_C(60000000000)},
    {"s", INT64_C(1000000000)},
    {"ms", 1000000},
    {"us", 1000},
    {"ns", 1},
};

static const struct duration_unit *find_duration_unit(const char *s, size_t n) {
  for (size_t i = 0; i < sizeof duration_units / sizeof duration_units[0]; i++) {
    const struct duration_unit *unit = &duration_units[i];
    if (strlen(unit->name) == n && strncmp(unit->name, s, n) == 0) {
      return unit;
    }
  }
  return NULL;
}

sp_status sp_parse_duration(const char *s, int64_t *out_ns) {
  if (strchr(s, ':')) {
    return parse_clock_form(s, out_ns);
  }
  int64_t total = 0;
  int64_t last = INT64_MAX;
  if (!*s) {
    return SP_EINVAL;
  }
  while (*s) {
    const char *end = skip_decimal(s);
    size_t n_unit = end ? strspn(end, "wdhmsun") : 0;
    const struct duration_unit *unit = end ? find_duration_unit(end, n_unit) : NULL;
    /* Units descend, so that "30m1h" and "1h1h" are the typos they look like. */
    if (!unit || *s == '.' || unit->ns >= last) {
      return SP_EINVAL;
    }
    uint64_t part;
    sp_status status = parse_scaled(&s, (uint64_t)unit->ns, end, &part);
    if (status != SP_OK) {
      return status;
    }
    if (part > INT64_MAX || __builtin_add_overflow(total, (int64_t)part, &total)) {
      return SP_ERANGE;
    }
    last = unit->ns;
    s = end + n_unit;
  }
  *out_ns = total;
  return SP_OK;
}

static void format_three_digits(double value, const char *unit, char out_text[SP_UNIT_TEXT]) {
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  snprintf(out_text, SP_UNIT_TEXT, "%.*f %s", decimals, value, unit);
}

void sp_format_bytes(uint64_t bytes, char out_text[SP_UNIT_TEXT]) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) {
    snprintf(out_text, SP_UNIT_TEXT, "%" PRIu64 " B", bytes);
    return;
  }
  double value = (double)bytes;
  size_t unit = 0;
  while (value >= 1023.5 && unit < 6) {
    value /= 1024;
    unit++;
  }
  format_three_digits(value, units[unit], out_text);
}

void sp_format_duration(int64_t ns, char out_text[SP_UNIT_TEXT]) {
  if (ns < 0) {
    ns = 0;
  }
  double seconds = (double)ns / 1e9;
  if (ns < 1000) {
    snprintf(out_text, SP_UNIT_TEXT, "%d ns", (int)ns);
  } else if (seconds < 999.5e-6) {
    format_three_digits(seconds * 1e6, "us", out_text);
  } else if (seconds < 999.5e-3) {
    format_three_digits(seconds * 1e3, "ms", out_text);
  } else if (seconds < 59.95) {
    format_three_digits(seconds, "s", out_text);
  } else {
    int64_t whole = ns / 1000000000 + (ns % 1000000000 >= 500000000);
    int64_t m = whole / 60;
    if (m < 60) {
      snprintf(out_text, SP_UNIT_TEXT, "%" PRId64 "m%02" PRId64 "s", m, whole % 60);
    } else if (m < 24 * 60) {
      snprintf(out_text, SP_UNIT_TEXT, "%" PRId64 "h%02" PRId64 "m", m / 60, m % 60);
    } else {
      snprintf(out_text, SP_UNIT_TEXT, "%" PRId64 "d%02" PRId64 "h", m / 1440, m / 60 % 24);
    }
  }
}
