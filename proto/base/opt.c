/* Option tables: reading, printing and finding values by the rows of proto/base/opt.h.
 *
 * One function per type turns text into a value; all of them leave the field alone when they
 * fail. Error texts say what is wrong and what would be right; the caller, who knows where the
 * value was written, puts name and place in front. Printed values read back to the same bits. */
#include "proto/base/opt.h"

#include <assert.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/strutil.h"

enum {
  QUOTE_BYTES = 96,
  MAX_CANDIDATES = 128,
  MAX_CHOICES = 16,
  WORD_BYTES = 64,
  TYPE_BYTES = 256
};

struct word {
  const char *text;
  size_t n;
};

/* The user's text, safe to print: at most 60 bytes, control bytes shown as ?. */
static const char *quote(const char *text, char buf[QUOTE_BYTES]) {
  size_t n = 0;
  buf[n++] = '"';
  for (const char *p = text; *p; p++) {
    if (n > 60) {
      memcpy(buf + n, "...", 3);
      n += 3;
      break;
    }
    unsigned char c = (unsigned char)*p;
    buf[n++] = c < 0x20 || c == 0x7f ? '?' : *p;
  }
  buf[n++] = '"';
  buf[n] = '\0';
  return buf;
}

/* Takes the next word of a |-separated list; false at its end. */
static bool next_word(const char **list, struct word *out) {
  if (!*list || !**list) {
    return false;
  }
  out->text = *list;
  out->n = strcspn(*list, "|");
  *list += out->n + ((*list)[out->n] == '|');
  return true;
}

static bool word_is(const struct word *w, const char *text) {
  return strlen(text) == w->n && memcmp(w->text, text, w->n) == 0;
}

/* Copies as much of a word as fits. */
static const char *word_copy(const struct word *w, char *buf, size_t buf_bytes) {
  snprintf(buf, buf_bytes, "%.*s", (int)w->n, w->text);
  return buf;
}

static bool is_none_word(const char *text) {
  return strcmp(text, "none") == 0 || strcmp(text, "null") == 0 || strcmp(text, "None") == 0 ||
         strcmp(text, "~") == 0 || *text == '\0';
}

static void *field(const struct sp_opt *opt, void *self) {
  return (char *)self + opt->offset;
}

bool sp_opt_is_list(const struct sp_opt *opt) {
  return opt->type == SP_OPT_LIST || opt->type == SP_OPT_INTS || opt->type == SP_OPT_FLOATS;
}

static bool has_range(const struct sp_opt *opt) {
  return opt->min != 0 || opt->max != 0;
}

static sp_status check_range(const struct sp_opt *opt, double value, const char *text,
                             struct sp_err *err) {
  char q[QUOTE_BYTES];
  if (!has_range(opt)) {
    return SP_OK;
  }
  bool exclusive = opt->flags & SP_OPT_POSITIVE;
  if (value < opt->min || (exclusive && value <= opt->min)) {
    return sp_fail(err, SP_ERANGE, "%s is too small: it must be %s %.15g", quote(text, q),
                   exclusive ? "greater than" : "at least", opt->min);
  }
  if (value > opt->max) {
    return sp_fail(err, SP_ERANGE, "%s is too large: it must be at most %.15g", quote(text, q),
                   opt->max);
  }
  return SP_OK;
}

static bool parse_bool(const char *text, bool *out) {
  static const char *const words[2][6] = {
      {"false", "False", "no", "off", "0", "FALSE"},
      {"true", "True", "yes", "on", "1", "TRUE"},
  };
  for (int value = 0; value < 2; value++) {
    for (size_t i = 0; i < 6; i++) {
      if (strcmp(text, words[value][i]) == 0) {
        *out = value;
        return true;
      }
    }
  }
  return false;
}

static sp_status bad_value(const struct sp_opt *opt, const char *text, sp_status status,
                           struct sp_err *err) {
  char q[QUOTE_BYTES];
  char type[TYPE_BYTES];
  sp_opt_type_text(opt, type, sizeof type);
  if (status == SP_ERANGE) {
    return sp_fail(err, SP_ERANGE, "%s does not fit; expected %s", quote(text, q), type);
  }
  return sp_fail(err, SP_EINVAL, "expected %s, got %s", type, quote(text, q));
}

static sp_status set_int(const struct sp_opt *opt, int64_t *out, const char *text,
                         struct sp_err *err) {
  bool b;
  if ((opt->flags & SP_OPT_BOOLISH) && strcmp(text, "0") && strcmp(text, "1") &&
      parse_bool(text, &b)) {
    *out = b;
    return SP_OK;
  }
  int64_t value = 0;
  sp_status status;
  double seconds_or_value;
  if (opt->type == SP_OPT_DURATION) {
    status = sp_parse_duration(text, &value);
    seconds_or_value = (double)value / 1e9;
  } else if (opt->type == SP_OPT_SIZE) {
    uint64_t bytes = 0;
    status = sp_parse_bytes(text, &bytes);
    if (status == SP_OK && bytes > INT64_MAX) {
      status = SP_ERANGE;
    }
    value = status == SP_OK ? (int64_t)bytes : 0;
    seconds_or_value = (double)value;
  } else {
    status = sp_parse_i64(text, &value);
    seconds_or_value = (double)value;
  }
  if (status == SP_OK && (value == SP_INT_NONE || value == SP_INT_AUTO)) {
    status = SP_ERANGE;
  }
  if (status != SP_OK) {
    return bad_value(opt, text, status, err);
  }
  status = check_range(opt, seconds_or_value, text, err);
  if (status == SP_OK) {
    *out = value;
  }
  return status;
}

static sp_status set_float(const struct sp_opt *opt, double *out, const char *text,
                           struct sp_err *err) {
  double value = 0;
  sp_status status = sp_parse_f64(text, &value);
  if (status == SP_OK && !isfinite(value)) {
    status = SP_EINVAL;
  }
  if (status != SP_OK) {
    return bad_value(opt, text, status, err);
  }
  status = check_range(opt, value, text, err);
  if (status == SP_OK) {
    *out = value;
  }
  return status;
}

static sp_status set_count(const struct sp_opt *opt, struct sp_count *out, const char *text,
                           struct sp_err *err) {
  struct sp_count c = {SP_COUNT_N, 0, 0};
  double value = 0;
  sp_status status;
  if (strpbrk(text, ".eE")) {
    c.kind = SP_COUNT_FRACTION;
    status = sp_parse_f64(text, &c.fraction);
    value = c.fraction;
    if (status == SP_OK && !(value >= 0 && value <= 1)) {
      char q[QUOTE_BYTES];
      return sp_fail(err, SP_ERANGE,
                     "%s is a fraction and must lie in 0.0..1.0; a count has no point",
                     quote(text, q));
    }
  } else {
    status = sp_parse_i64(text, &c.n);
    value = (double)c.n;
  }
  if (status != SP_OK) {
    return bad_value(opt, text, status, err);
  }
  status = check_range(opt, value, text, err);
  if (status == SP_OK) {
    *out = c;
  }
  return status;
}

/* The index of `text` in the choices, through the aliases, or -1. */
static int find_choice(const struct sp_opt *opt, const char *text) {
  struct word w;
  char target[WORD_BYTES];
  for (const char *list = opt->aliases; next_word(&list, &w);) {
    size_t n = strcspn(w.text, "=");
    assert(n < w.n);
    const struct word from = {w.text, n};
    if (word_is(&from, text)) {
      const struct word to = {w.text + n + 1, w.n - n - 1};
      text = word_copy(&to, target, sizeof target);
      break;
    }
  }
  int index = 0;
  for (const char *list = opt->choices; next_word(&list, &w); index++) {
    if (word_is(&w, text)) {
      return index;
    }
  }
  return -1;
}

static sp_status bad_choice(const struct sp_opt *opt, const char *text, struct sp_err *err) {
  char words[MAX_CHOICES][WORD_BYTES];
  const char *candidates[MAX_CHOICES];
  struct word w;
  size_t n = 0;
  for (const char *list = opt->choices; n < MAX_CHOICES && next_word(&list, &w); n++) {
    candidates[n] = word_copy(&w, words[n], WORD_BYTES);
  }
  sp_status status = bad_value(opt, text, SP_EINVAL, err);
  const char *near = sp_suggest(text, candidates, n);
  if (near && err) {
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "; did you mean %s?", near);
  }
  return status;
}

static sp_status set_enum(const struct sp_opt *opt, int *out, const char *text,
                          struct sp_err *err) {
  int index = find_choice(opt, text);
  if (index < 0) {
    return bad_choice(opt, text, err);
  }
  *out = index;
  return SP_OK;
}

static sp_status copy_string(const char **out, const char *text, struct sp_arena *arena,
                             struct sp_err *err) {
  char *copy = sp_arena_strdup(arena, text);
  if (!copy) {
    return sp_fail(err, SP_ENOMEM, "out of memory");
  }
  *out = copy;
  return SP_OK;
}

static sp_status set_string(const struct sp_opt *opt, const char **out, const char *text,
                            struct sp_arena *arena, struct sp_err *err) {
  if (opt->choices && find_choice(opt, text) < 0) {
    return bad_choice(opt, text, err);
  }
  return copy_string(out, text, arena, err);
}

static size_t item_count(const struct sp_opt *opt, const struct sp_opt_text *text) {
  size_t n = text->n;
  if (opt->type != SP_OPT_LIST && !text->is_list) {
    for (size_t i = 0; i < text->n; i++) {
      for (const char *p = text->items[i]; *p; p++) {
        n += *p == ',';
      }
    }
  }
  return n;
}

static sp_status set_strings(const struct sp_opt *opt, struct sp_strings *out,
                             const struct sp_opt_text *text, struct sp_arena *arena,
                             struct sp_err *err) {
  struct sp_strings list = {sp_arena_array(arena, text->n, sizeof(char *)), text->n};
  if (!list.items) {
    return sp_fail(err, SP_ENOMEM, "out of memory");
  }
  for (size_t i = 0; i < text->n; i++) {
    if (!*text->items[i]) {
      return bad_value(opt, "", SP_EINVAL, err);
    }
    sp_status status = copy_string(&list.items[i], text->items[i], arena, err);
    if (status != SP_OK) {
      return status;
    }
  }
  *out = list;
  return SP_OK;
}

/* INTS and FLOATS: items one by one, or one text with commas. */
static sp_status set_numbers(const struct sp_opt *opt, void *out, const struct sp_opt_text *text,
                             struct sp_arena *arena, struct sp_err *err) {
  size_t n = item_count(opt, text);
  bool ints = opt->type == SP_OPT_INTS;
  void *items = sp_arena_array(arena, n, ints ? sizeof(int64_t) : sizeof(double));
  if (!items) {
    return sp_fail(err, SP_ENOMEM, "out of memory");
  }
  struct sp_opt one = *opt;
  one.type = ints ? SP_OPT_INT : SP_OPT_FLOAT;
  size_t done = 0;
  for (size_t i = 0; i < text->n; i++) {
    const char *p = text->items[i];
    for (bool more = true; more;) {
      p += strspn(p, " ");
      size_t length = text->is_list ? strlen(p) : strcspn(p, ",");
      char number[WORD_BYTES];
      if (length >= sizeof number) {
        return bad_value(opt, p, SP_EINVAL, err);
      }
      memcpy(number, p, length);
      number[length] = '\0';
      more = !text->is_list && p[length] == ',';
      p += length + more;
      assert(done < n);
      sp_status status = ints ? set_int(&one, (int64_t *)items + done, number, err)
                              : set_float(&one, (double *)items + done, number, err);
      if (status != SP_OK) {
        return status;
      }
      done++;
    }
  }
  if (ints) {
    *(struct sp_ints *)out = (struct sp_ints){items, done};
  } else {
    *(struct sp_floats *)out = (struct sp_floats){items, done};
  }
  return SP_OK;
}

static void set_none(const struct sp_opt *opt, void *f) {
  switch (opt->type) {
    case SP_OPT_INT:
    case SP_OPT_DURATION:
    case SP_OPT_SIZE:
      *(int64_t *)f = SP_INT_NONE;
      return;
    case SP_OPT_FLOAT:
      *(double *)f = (double)NAN;
      return;
    case SP_OPT_STRING:
      *(const char **)f = NULL;
      return;
    case SP_OPT_COUNT:
      *(struct sp_count *)f = (struct sp_count){SP_COUNT_NONE, 0, 0};
      return;
    case SP_OPT_LIST:
      *(struct sp_strings *)f = (struct sp_strings){NULL, 0};
      return;
    case SP_OPT_INTS:
      *(struct sp_ints *)f = (struct sp_ints){NULL, 0};
      return;
    case SP_OPT_FLOATS:
      *(struct sp_floats *)f = (struct sp_floats){NULL, 0};
      return;
    case SP_OPT_BOOL:
    case SP_OPT_ENUM:
      break;
  }
  assert(opt->type != SP_OPT_BOOL && opt->type != SP_OPT_ENUM);
}

static sp_status check_refusals(const struct sp_opt *opt, const char *text, struct sp_err *err) {
  struct word w;
  for (const struct sp_refusal *r = opt->refusals; r && r->values; r++) {
    for (const char *list = r->values; next_word(&list, &w);) {
      char pattern[WORD_BYTES];
      if (fnmatch(word_copy(&w, pattern, sizeof pattern), text, 0) == 0) {
        char q[QUOTE_BYTES];
        return sp_fail(err, SP_EUNSUPPORTED, "%s is refused: %s", quote(text, q), r->why);
      }
    }
  }
  return SP_OK;
}

static sp_status set_scalar(const struct sp_opt *opt, void *f, const char *text, bool quoted,
                            struct sp_arena *arena, struct sp_err *err) {
  if (!quoted && (opt->flags & SP_OPT_NONE) && is_none_word(text)) {
    set_none(opt, f);
    return SP_OK;
  }
  bool is_null = !quoted && is_none_word(text) && opt->type != SP_OPT_STRING;
  if (is_null && opt->def && !is_none_word(opt->def) && find_choice(opt, text) < 0) {
    return set_scalar(opt, f, opt->def, false, arena, err);
  }
  if (!quoted && (opt->flags & SP_OPT_AUTO) && strcmp(text, "auto") == 0) {
    *(int64_t *)f = SP_INT_AUTO;
    return SP_OK;
  }
  switch (opt->type) {
    case SP_OPT_BOOL:
      return parse_bool(text, f) ? SP_OK : bad_value(opt, text, SP_EINVAL, err);
    case SP_OPT_INT:
    case SP_OPT_DURATION:
    case SP_OPT_SIZE:
      return set_int(opt, f, text, err);
    case SP_OPT_FLOAT:
      return set_float(opt, f, text, err);
    case SP_OPT_COUNT:
      return set_count(opt, f, text, err);
    case SP_OPT_ENUM:
      return set_enum(opt, f, text, err);
    default:
      return set_string(opt, f, text, arena, err);
  }
}

/* Whether a value is one that a REFUSED row lets pass, in any spelling of true, false and null. */
static bool is_harmless(const struct sp_opt *opt, const struct sp_opt_text *text) {
  struct word w;
  const char *item = text->n == 1 ? text->items[0] : "";
  for (const char *list = opt->choices; text->n == 1 && next_word(&list, &w);) {
    bool value;
    if (word_is(&w, item) || (word_is(&w, "null") && is_none_word(item)) ||
        (parse_bool(item, &value) && word_is(&w, value ? "true" : "false"))) {
      return true;
    }
  }
  return false;
}

static sp_status refuse(const struct sp_opt *opt, struct sp_err *err) {
  if (!opt->choices) {
    return sp_fail(err, SP_EUNSUPPORTED, "refused: %s", opt->help);
  }
  char words[TYPE_BYTES];
  sp_opt_choices_text(opt->choices, words, sizeof words);
  return sp_fail(err, SP_EUNSUPPORTED, "only %s can be given: %s", words, opt->help);
}

sp_status sp_opt_set(const struct sp_opt *opt, void *self, const struct sp_opt_text *text,
                     struct sp_arena *arena, struct sp_err *err) {
  for (size_t i = 0; i < text->n; i++) {
    sp_status status = check_refusals(opt, text->items[i], err);
    if (status != SP_OK) {
      return status;
    }
  }
  if (opt->flags & SP_OPT_REFUSED) {
    return is_harmless(opt, text) ? SP_OK : refuse(opt, err);
  }
  void *f = field(opt, self);
  if (!sp_opt_is_list(opt)) {
    if (text->is_list || text->n > 1) {
      char type[TYPE_BYTES];
      sp_opt_type_text(opt, type, sizeof type);
      return sp_fail(err, SP_EINVAL, "expected %s, got a list", type);
    }
    return set_scalar(opt, f, text->n ? text->items[0] : "null", text->is_quoted, arena, err);
  }
  bool none = !text->is_list && !text->is_quoted && text->n == 1 && is_none_word(text->items[0]);
  if (text->n == 0 || none) {
    set_none(opt, f);
    return SP_OK;
  }
  return opt->type == SP_OPT_LIST ? set_strings(opt, f, text, arena, err)
                                  : set_numbers(opt, f, text, arena, err);
}

sp_status sp_opt_set_one(const struct sp_opt *opt, void *self, const char *text,
                         struct sp_arena *arena, struct sp_err *err) {
  const struct sp_opt_text one = {.items = &text, .n = 1};
  return sp_opt_set(opt, self, &one, arena, err);
}

sp_status sp_opt_defaults(const struct sp_opt *opts, size_t n_opts, void *self,
                          struct sp_arena *arena, struct sp_err *err) {
  for (size_t i = 0; i < n_opts; i++) {
    const struct sp_opt *o = &opts[i];
    if (o->flags & SP_OPT_REFUSED) {
      continue;
    }
    if (!o->def) {
      assert(o->flags & SP_OPT_REQUIRED);
      if (o->type != SP_OPT_BOOL && o->type != SP_OPT_ENUM) {
        set_none(o, field(o, self));
      }
      continue;
    }
    sp_status status = sp_opt_set_one(o, self, o->def, arena, err);
    if (status != SP_OK) {
      return sp_wrap(err, "the default of %s", o->key);
    }
  }
  return SP_OK;
}

const struct sp_opt *sp_opt_find(const struct sp_opt *opts, size_t n_opts, const char *key) {
  for (size_t i = 0; i < n_opts; i++) {
    if (strcmp(opts[i].key, key) == 0) {
      return &opts[i];
    }
  }
  return NULL;
}

int sp_opt_class_find(const struct sp_opt_class *classes, size_t n_classes, const char *name) {
  const char *dot = strrchr(name, '.');
  name = dot ? dot + 1 : name;
  for (size_t i = 0; i < n_classes; i++) {
    if (strcmp(classes[i].name, name) == 0 ||
        (classes[i].lightning && strcmp(classes[i].lightning, name) == 0)) {
      return (int)i;
    }
  }
  return -1;
}

const char *sp_opt_suggest(const struct sp_opt *opts, size_t n_opts, const char *key) {
  const char *candidates[MAX_CANDIDATES];
  size_t n = 0;
  for (size_t i = 0; i < n_opts && n < MAX_CANDIDATES; i++) {
    if (!(opts[i].flags & SP_OPT_REFUSED)) {
      candidates[n++] = opts[i].key;
    }
  }
  return sp_suggest(key, candidates, n);
}

const char *sp_opt_class_suggest(const struct sp_opt_class *classes, size_t n_classes,
                                 const char *name) {
  const char *candidates[MAX_CANDIDATES];
  size_t n = 0;
  for (size_t i = 0; i < n_classes && n < MAX_CANDIDATES; i++) {
    candidates[n++] = classes[i].name;
  }
  return sp_suggest(name, candidates, n);
}
