/* The template language of checkpoint names; the rules are in the header. */
#include "engine/trainer/callbacks/ckpt_name.h"

#include "proto/base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FIELD_NAME = 128, FIELD_WIDTH_MAX = 40, FIELD_PRECISION_MAX = 17 };

/* One {name:format}. kind 0: no format was given. */
struct field {
  char name[FIELD_NAME];
  bool zero;
  int width;
  int precision; /* -1: none */
  char kind;     /* d f e g, or 0 */
};

bool stk_scores_find(const struct stk_scores *s, const char *name, double *out_value) {
  if (strcmp(name, "epoch") == 0) {
    *out_value = (double)s->epoch;
    return true;
  }
  if (strcmp(name, "step") == 0) {
    *out_value = (double)s->step;
    return true;
  }
  for (size_t i = 0; i < s->n; i++) {
    if (strcmp(name, s->names[i]) == 0) {
      *out_value = s->values[i];
      return true;
    }
  }
  return false;
}

/* Digits at *p as a number of at most `most`; false when it is larger. */
static bool parse_digits(const char **p, int most, int *out_value) {
  int value = 0;
  for (; **p >= '0' && **p <= '9'; (*p)++) {
    value = value * 10 + (**p - '0');
    if (value > most) {
      return false;
    }
  }
  *out_value = value;
  return true;
}

/* [0][width][.precision][dfeg] up to the closing brace. */
static bool parse_format(const char *p, const char *end, struct field *f) {
  if (p < end && *p == '0') {
    f->zero = true;
    p++;
  }
  if (!parse_digits(&p, FIELD_WIDTH_MAX, &f->width)) {
    return false;
  }
  if (p < end && *p == '.') {
    p++;
    if (*p < '0' || *p > '9' || !parse_digits(&p, FIELD_PRECISION_MAX, &f->precision)) {
      return false;
    }
  }
  f->kind = 'g';
  if (p < end && strchr("dfeg", *p)) {
    f->kind = *p++;
  }
  return p == end && !(f->kind == 'd' && f->precision >= 0);
}

/* Parses the field between open (after the brace) and close. */
static bool parse_field(const char *open, const char *close, struct field *out) {
  *out = (struct field){.precision = -1};
  const char *colon = memchr(open, ':', (size_t)(close - open));
  const char *name_end = colon ? colon : close;
  size_t n = (size_t)(name_end - open);
  if (n == 0 || n >= sizeof out->name || memchr(open, '{', (size_t)(close - open))) {
    return false;
  }
  memcpy(out->name, open, n);
  return !colon || parse_format(colon + 1, close, out);
}

static void put_value(struct sp_buf *b, const struct field *f, double value) {
  bool whole = value > -9.0e15 && value < 9.0e15 && value == (double)(int64_t)value;
  if ((f->kind == 'd' || f->kind == 0) && whole) {
    int64_t i = (int64_t)value;
    if (f->zero) {
      sp_buf_printf(b, "%0*" PRId64, f->width, i);
    } else {
      sp_buf_printf(b, "%*" PRId64, f->width, i);
    }
    return;
  }
  int precision = f->precision >= 0 ? f->precision : 6;
  const char *fmt = f->kind == 'f'   ? (f->zero ? "%0*.*f" : "%*.*f")
                    : f->kind == 'e' ? (f->zero ? "%0*.*e" : "%*.*e")
                                     : (f->zero ? "%0*.*g" : "%*.*g");
  char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(text, sizeof text, fmt, f->width, precision, value);
#pragma GCC diagnostic pop
  sp_buf_puts(b, text);
}

static sp_status put_template(struct sp_buf *b, const char *t, bool auto_insert,
                              const struct stk_scores *scores, struct sp_err *err) {
  while (*t) {
    size_t plain = strcspn(t, "{}");
    sp_buf_append(b, t, plain);
    t += plain;
    if (!*t) {
      break;
    }
    const char *close = strchr(t, '}');
    struct field f;
    if (*t == '}' || !close || !parse_field(t + 1, close, &f)) {
      return sp_fail(err, SP_EINVAL,
                     "filename template: bad field at \"%.20s\"; write {name} or {name:.2f}", t);
    }
    double value = 0;
    (void)stk_scores_find(scores, f.name, &value);
    if (auto_insert) {
      sp_buf_printf(b, "%s=", f.name);
    }
    put_value(b, &f, value);
    t = close + 1;
  }
  return SP_OK;
}

sp_status stk_ckpt_name_format(const char *filename, bool auto_insert,
                               const struct stk_scores *scores, char out_name[STK_CKPT_NAME],
                               struct sp_err *err) {
  struct sp_buf b;
  sp_buf_init(&b, STK_CKPT_NAME - 1);
  sp_status status = put_template(&b, filename, auto_insert, scores, err);
  if (status == SP_OK) {
    status = sp_buf_check(&b, "filename template", err);
  }
  if (status == SP_OK && (b.length == 0 || b.data[0] == '.')) {
    status = sp_fail(err, SP_EINVAL, "filename template: \"%s\" gives \"%s\", which names no file",
                     filename, sp_buf_text(&b));
  }
  if (status == SP_OK) {
    memset(out_name, 0, STK_CKPT_NAME);
    for (size_t i = 0; i < b.length; i++) {
      out_name[i] = b.data[i] == '/' ? '_' : b.data[i];
    }
  }
  sp_buf_free(&b);
  return status;
}

sp_status stk_ckpt_name_version(const char *base, int64_t version, char out_name[STK_CKPT_NAME],
                                struct sp_err *err) {
  char name[STK_CKPT_NAME] = {0};
  char suffix[24] = "";
  if (version > 0) {
    snprintf(suffix, sizeof suffix, "-v%" PRId64, version);
  }
  int n = snprintf(name, sizeof name, "%s%s", base, suffix);
  if (n < 0 || (size_t)n >= sizeof name) {
    return sp_fail(err, SP_ERANGE, "checkpoint name %.40s... is too long", base);
  }
  memcpy(out_name, name, sizeof name);
  return SP_OK;
}
