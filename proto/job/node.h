/* The tree of a job file: scalars, maps and sequences, each knowing where it was written.
 *
 * Nodes live in an arena and are linked by `first` and `next`; nothing is freed alone. A node that
 * came from the command line has the option ("--trainer.max_epochs") as its source and line 0. Keys
 * of a map are unique. Trees are at most SP_NODE_DEPTH deep, so recursion over them is bounded.
 */
#ifndef SP_JOB_NODE_H
#define SP_JOB_NODE_H

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SP_NODE_DEPTH = 32, SP_NODE_MAX = 65536, SP_NODE_MAX_CHILDREN = 4096 };

struct sp_where {
  const char *source; /* file name, or the option of the command line; NULL: a default */
  uint32_t line, col; /* from 1; line 0: the command line */
};

typedef enum sp_node_kind { SP_NODE_SCALAR, SP_NODE_MAP, SP_NODE_SEQ } sp_node_kind;

struct sp_node {
  sp_node_kind kind;
  bool is_quoted; /* a scalar in quotes or a block: always a text, never null */
  struct sp_where where;
  const char *key; /* in a map; else NULL */
  struct sp_where key_where;
  const char *text; /* of a scalar; else NULL */
  struct sp_node *first, *last, *next;
  size_t n_children;
};

/* New nodes; NULL when memory is out. Texts are copied. */
struct sp_node *sp_node_new(struct sp_arena *arena, sp_node_kind kind, struct sp_where where);
struct sp_node *sp_node_scalar(struct sp_arena *arena, const char *text, struct sp_where where);

/* Appends a child; in a map with its key, which must not be there yet. */
void sp_node_append(struct sp_node *parent, struct sp_node *child);

/* Takes a child out of its parent. */
void sp_node_remove(struct sp_node *parent, struct sp_node *child);

/* The value of a key, or NULL; NULL too when `map` is NULL or no map. */
struct sp_node *sp_node_get(const struct sp_node *map, const char *key);

/* The value at a dotted path (numbers are indices of sequences), or NULL. */
struct sp_node *sp_node_at(const struct sp_node *root, const char *path);

/* A plain scalar that means nothing: null, none, ~ or empty. True for NULL. */
bool sp_node_is_null(const struct sp_node *node);

/* "a map", "a list", "a value". */
const char *sp_node_kind_text(const struct sp_node *node);

/* Overlays `over` on `base`, which is changed: maps merge, everything else is replaced. A map whose
 * class (or module) changes is replaced too, since the old one's options mean nothing to the new.
 * Takes over's nodes. */
void sp_node_merge(struct sp_node *base, struct sp_node *over);

/* LightningCLI's spelling becomes ours, in the whole tree: {class_path: C, init_args: {...}}
 * becomes {class: C, ...}. Fails when both spellings give the same key. */
SP_NODISCARD sp_status sp_node_normalise(struct sp_node *root, struct sp_err *err);

/* sp_fail with "file:line:col: " or "--option: " in front. */
sp_status sp_fail_at(struct sp_err *err, sp_status status, const struct sp_where *where,
                     const char *fmt, ...) SP_PRINTF(4, 5);

/* Appends "file:line:col", "--option" or "default". */
void sp_where_print(const struct sp_where *where, struct sp_buf *out);

#endif
