/* Numbers and text for people; examples are in the header. */
#include "client/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void sc_format_count(int64_t value, char out_text[SC_NUMBER]) {
  char digits[SC_NUMBER];
  int n = snprintf(digits, sizeof digits, "%" PRIu64,
                   value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
  char *out = out_text;
  if (value < 0) {
    *out++ = '-';
  }
  for (int i = 0; i < n; i++) {
    if (i > 0 && (n - i) % 3 == 0) {
      *out++ = ',';
    }
    *out++ = digits[i];
  }
  *out = '\0';
}

void sc_format_rate(double value, char out_text[SC_NUMBER]) {
  static const char units[] = {'\0', 'k', 'M', 'G', 'T', 'P'};
  size_t unit = 0;
  if (!(value > 0) || isinf(value)) {
    snprintf(out_text, SC_NUMBER, "-");
    return;
  }
  while (value >= 999.5 && unit + 1 < sizeof units) {
    value /= 1000;
    unit++;
  }
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  snprintf(out_text, SC_NUMBER, "%.*f%.1s", decimals, value, (char[]){units[unit], '\0'});
}

void sc_format_clock(double seconds, char out_text[SC_NUMBER]) {
  if (!(seconds >= 0) || seconds > 1e12) {
    snprintf(out_text, SC_NUMBER, "-");
    return;
  }
  int64_t s = (int64_t)(seconds + 0.5);
  int64_t days = s / 86400;
  int64_t hours = s / 3600 % 24;
  int64_t minutes = s / 60 % 60;
  s %= 60;
  if (days > 0) {
    snprintf(out_text, SC_NUMBER, "%" PRId64 "d %02" PRId64 ":%02" PRId64 ":%02" PRId64, days,
             hours, minutes, s);
  } else if (hours > 0) {
    snprintf(out_text, SC_NUMBER, "%" PRId64 ":%02" PRId64 ":%02" PRId64, hours, minutes, s);
  } else {
    snprintf(out_text, SC_NUMBER, "%" PRId64 ":%02" PRId64, minutes, s);
  }
}

void sc_format_metric(double value, char out_text[SC_NUMBER]) {
  if (isnan(value)) {
    snprintf(out_text, SC_NUMBER, "nan");
  } else {
    snprintf(out_text, SC_NUMBER, "%.4g", value);
  }
}

static int starts_character(char c) {
  return ((unsigned char)c & 0xC0) != 0x80;
}

size_t sc_columns(const char *text, size_t n) {
  size_t columns = 0;
  for (size_t i = 0; i < n; i++) {
    columns += (size_t)starts_character(text[i]);
  }
  return columns;
}

size_t sc_prefix(const char *text, size_t n, size_t columns) {
  size_t seen = 0;
  for (size_t i = 0; i < n; i++) {
    if (starts_character(text[i]) && seen++ == columns) {
      return i;
    }
  }
  return n;
}

const char *sc_without_subject(const char *text, const char *who) {
  static const char was[] = "was ";
  size_t n = strlen(who);
  if (n == 0 || strncmp(text, who, n) != 0 || text[n] != ' ') {
    return text;
  }
  text += n + 1;
  return strncmp(text, was, sizeof was - 1) == 0 ? text + sizeof was - 1 : text;
}
