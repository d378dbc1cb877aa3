/* Option tables: one row per option says its name, type, place in a struct, default, range and
 * help.
 *
 * The same table parses the job file and the command line, prints the resolved job, writes
 * `--help` and the reference page. Types and the fields they fill:
 *
 *   BOOL      bool             true|false (yes, on, 1 and their opposites)
 *   INT       int64_t          decimal; `1_000` allowed
 *   FLOAT     double           decimal, finite
 *   STRING    const char *     NULL is none
 *   ENUM      int              index into `choices`
 *   DURATION  int64_t ns       90s, 1h30m, 00:12:00:00 (Lightning's DD:HH:MM:SS)
 *   SIZE      int64_t bytes    4096, 64KiB, 2GiB, 1.5MB
 *   COUNT     struct sp_count  as Lightning overloads int and float: 10 is a count, 1.0 a
 * fraction LIST      struct sp_strings INTS      struct sp_ints   a list of integers FLOATS
 * struct sp_floats a list of numbers
 *
 * The words none and null give the default, as Lightning's None does. With SP_OPT_NONE they give
 * SP_INT_NONE (integers), NaN (floats), kind NONE (counts) or NULL (strings, empty lists). With
 * SP_OPT_AUTO the word auto gives SP_INT_AUTO. Values are texts here; lists come as several
 * texts, so that no YAML type is needed; one text of an INTS or FLOATS option may hold several
 * numbers split by commas. Strings are copied into the caller's arena. Everything here is pure
 * but for that arena.
 */
#ifndef SP_BASE_OPT_H
#define SP_BASE_OPT_H

#include "proto/base/arena.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_INT_NONE INT64_MIN
#define SP_INT_AUTO (INT64_MIN + 1)

typedef enum sp_count_kind { SP_COUNT_NONE, SP_COUNT_N, SP_COUNT_FRACTION } sp_count_kind;

struct sp_count {
  sp_count_kind kind;
  int64_t n;       /* kind N */
  double fraction; /* kind FRACTION, 0..1 */
};

struct sp_strings {
  const char **items;
  size_t n;
};

struct sp_ints {
  int64_t *items;
  size_t n;
};

struct sp_floats {
  double *items;
  size_t n;
};

typedef enum sp_opt_type {
  SP_OPT_BOOL,
  SP_OPT_INT,
  SP_OPT_FLOAT,
  SP_OPT_STRING,
  SP_OPT_ENUM,
  SP_OPT_DURATION,
  SP_OPT_SIZE,
  SP_OPT_COUNT,
  SP_OPT_LIST,
  SP_OPT_INTS,
  SP_OPT_FLOATS,
} sp_opt_type;

enum {
  SP_OPT_NONE = 1 << 0,     /* accepts none and null */
  SP_OPT_AUTO = 1 << 1,     /* accepts auto */
  SP_OPT_BOOLISH = 1 << 2,  /* an INT that also accepts false (0) and true (1) */
  SP_OPT_REQUIRED = 1 << 3, /* has no default: the job must give it */
  SP_OPT_REFUSED = 1 << 4,  /* fills no field; only `choices` pass (they change nothing) */
  SP_OPT_POSITIVE = 1 << 5, /* the value must be greater than `min`, not equal to it */
};

/* Values that are known and refused. An array of these ends with values NULL. */
struct sp_refusal {
  const char *values; /* alternatives split by |, each a glob: "16-*|bf16*" */
  const char *why;
};

struct sp_opt {
  const char *key;
  sp_opt_type type;
  unsigned flags;
  size_t offset;
  const char *def;     /* default as text, "" for an empty list; NULL: REQUIRED or REFUSED */
  double min, max;     /* of numbers (DURATION: seconds); both 0: only the type's limits */
  const char *choices; /* split by |. ENUM: in the order of its values; STRING: if not any */
  const char *aliases; /* ENUM: "32=32-true|64=64-true" */
  const struct sp_refusal *refusals;
  const char *lightning; /* what Lightning calls it ("Trainer.max_epochs"); NULL: Stoker's own */
  const char *help;      /* a sentence or two, plain text; with REFUSED the reason */
};

struct sp_opt_table {
  const char *name; /* the section as users write it: "trainer" */
  const char *help;
  const struct sp_opt *opts;
  size_t n_opts;
};

/* One alternative of a tagged choice (`class: adam`): its names and its own options. */
struct sp_opt_class {
  const char *name;      /* adam */
  const char *lightning; /* the class name there, without its path: Adam; NULL: none */
  const char *help;
  const struct sp_opt *opts; /* offsets count from the start of the tagged struct */
  size_t n_opts;
};

/* One value of an option as text; a list has several. `n` 0 is an empty list, or none for other
 * types. */
struct sp_opt_text {
  const char *const *items;
  size_t n;
  bool is_list;   /* written as a list, even if it has one item */
  bool is_quoted; /* one item, quoted: a text, never none or auto */
};

/* Sets every field of `self` to its default (REFUSED ones have no field, REQUIRED ones become
 * zero or none). Fails with SP_ENOMEM, or when a default of the table is itself invalid. */
SP_NODISCARD sp_status sp_opt_defaults(const struct sp_opt *opts, size_t n_opts, void *self,
                                       struct sp_arena *arena, struct sp_err *err);

/* Parses `text` into `self`. On failure the text of err says what is wrong with the value and
 * what would be right, without the option's name and place; `self` is unchanged. */
SP_NODISCARD sp_status sp_opt_set(const struct sp_opt *opt, void *self,
                                  const struct sp_opt_text *text, struct sp_arena *arena,
                                  struct sp_err *err);

/* As sp_opt_set for one text. */
SP_NODISCARD sp_status sp_opt_set_one(const struct sp_opt *opt, void *self, const char *text,
                                      struct sp_arena *arena, struct sp_err *err);

/* The value as text that sp_opt_set reads back to the same value; items of a list one by one
 * (`index`), NULL past the end. `buf` holds at least SP_OPT_PRINT bytes; a string value is
 * returned itself, not copied. */
enum { SP_OPT_PRINT = 64 };
const char *sp_opt_print(const struct sp_opt *opt, const void *self, size_t index, char *buf);
bool sp_opt_is_list(const struct sp_opt *opt); /* LIST, INTS or FLOATS */
bool sp_opt_is_none(const struct sp_opt *opt, const void *self);

/* The row named `key`, or NULL. */
const struct sp_opt *sp_opt_find(const struct sp_opt *opts, size_t n_opts, const char *key);

/* The class whose name or lightning name is `name` (a path such as torch.optim.Adam counts by its
 * last part), or -1. */
int sp_opt_class_find(const struct sp_opt_class *classes, size_t n_classes, const char *name);

/* "max_epochs" for "max_epoch", or NULL when nothing is near. The result is a key of the table.
 */
const char *sp_opt_suggest(const struct sp_opt *opts, size_t n_opts, const char *key);
const char *sp_opt_class_suggest(const struct sp_opt_class *classes, size_t n_classes,
                                 const char *name);

/* "int", "float or none", "a|b|c", "count or fraction", ...: for help and the reference page. */
/* "a, b, c" for "a|b|c". */
void sp_opt_choices_text(const char *choices, char *buf, size_t buf_bytes);
void sp_opt_type_text(const struct sp_opt *opt, char *buf, size_t buf_bytes);

#endif
