/* The tree of a job file: building, finding, merging. See node.h. */
#include "proto/job/node.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sp_node *sp_node_new(struct sp_arena *arena, sp_node_kind kind, struct sp_where where) {
  struct sp_node *node = sp_arena_alloc(arena, sizeof *node);
  if (node) {
    node->kind = kind;
    node->where = where;
  }
  return node;
}

struct sp_node *sp_node_scalar(struct sp_arena *arena, const char *text, struct sp_where where) {
  struct sp_node *node = sp_node_new(arena, SP_NODE_SCALAR, where);
  if (node) {
    node->text = sp_arena_strdup(arena, text);
  }
  return node && node->text ? node : NULL;
}

void sp_node_append(struct sp_node *parent, struct sp_node *child) {
  assert(parent->kind != SP_NODE_SCALAR && (parent->kind == SP_NODE_MAP) == (child->key != NULL));
  child->next = NULL;
  if (parent->last) {
    parent->last->next = child;
  } else {
    parent->first = child;
  }
  parent->last = child;
  parent->n_children++;
}

void sp_node_remove(struct sp_node *parent, struct sp_node *child) {
  struct sp_node *before = NULL;
  for (struct sp_node *c = parent->first; c && c != child; c = c->next) {
    before = c;
  }
  if (before) {
    before->next = child->next;
  } else {
    parent->first = child->next;
  }
  if (parent->last == child) {
    parent->last = before;
  }
  child->next = NULL;
  parent->n_children--;
}

/* Puts `with`, under old's key, where `old` is. */
static void replace(struct sp_node *parent, struct sp_node *old, struct sp_node *with) {
  struct sp_node **link = &parent->first;
  while (*link != old) {
    link = &(*link)->next;
  }
  *link = with;
  with->next = old->next;
  if (parent->last == old) {
    parent->last = with;
  }
}

struct sp_node *sp_node_get(const struct sp_node *map, const char *key) {
  if (!map || map->kind != SP_NODE_MAP) {
    return NULL;
  }
  struct sp_node *c = map->first;
  while (c && strcmp(c->key, key) != 0) {
    c = c->next;
  }
  return c;
}

/* The child that the first n bytes of `path` name. */
static struct sp_node *child_at(const struct sp_node *node, const char *path, size_t n) {
  if (node->kind == SP_NODE_SEQ) {
    char *end;
    unsigned long index = strtoul(path, &end, 10);
    if (end != path + n || n == 0 || *path < '0' || *path > '9') {
      return NULL;
    }
    struct sp_node *c = node->first;
    for (; c && index > 0; index--) {
      c = c->next;
    }
    return c;
  }
  struct sp_node *c = node->first;
  while (c && (strncmp(c->key, path, n) != 0 || c->key[n])) {
    c = c->next;
  }
  return c;
}

struct sp_node *sp_node_at(const struct sp_node *root, const char *path) {
  struct sp_node *node = NULL;
  while (root && root->kind != SP_NODE_SCALAR) {
    size_t n = strcspn(path, ".");
    node = child_at(root, path, n);
    if (!path[n]) {
      return node;
    }
    root = node;
    path += n + 1;
  }
  return NULL;
}

bool sp_node_is_null(const struct sp_node *node) {
  if (!node) {
    return true;
  }
  if (node->kind != SP_NODE_SCALAR || node->is_quoted) {
    return false;
  }
  static const char *const words[] = {"", "~", "null", "Null", "NULL", "none", "None"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (strcmp(node->text, words[i]) == 0) {
      return true;
    }
  }
  return false;
}

const char *sp_node_kind_text(const struct sp_node *node) {
  static const char *const texts[] = {"a value", "a map", "a list"};
  return texts[node->kind];
}

/* Whether the overlay names another class or module than the map it lies on. */
static bool changes_class(const struct sp_node *base, const struct sp_node *over) {
  static const char *const keys[] = {"class", "module"};
  for (size_t i = 0; i < 2; i++) {
    const struct sp_node *ours = sp_node_get(over, keys[i]);
    const struct sp_node *theirs = sp_node_get(base, keys[i]);
    if (ours && ours->kind == SP_NODE_SCALAR) {
      return !theirs || theirs->kind != SP_NODE_SCALAR || strcmp(ours->text, theirs->text) != 0;
    }
  }
  return false;
}

void sp_node_merge(struct sp_node *base, struct sp_node *over) {
  assert(base->kind == SP_NODE_MAP && over->kind == SP_NODE_MAP);
  struct sp_node *next;
  for (struct sp_node *c = over->first; c; c = next) {
    next = c->next;
    struct sp_node *old = sp_node_get(base, c->key);
    if (!old) {
      sp_node_append(base, c);
    } else if (old->kind == SP_NODE_MAP && c->kind == SP_NODE_MAP && !changes_class(old, c)) {
      sp_node_merge(old, c);
    } else {
      replace(base, old, c);
    }
  }
}

static sp_status hoist_init_args(struct sp_node *map, struct sp_err *err) {
  struct sp_node *class_path = sp_node_get(map, "class_path");
  if (!class_path) {
    return SP_OK;
  }
  if (sp_node_get(map, "class")) {
    return sp_fail_at(err, SP_EINVAL, &class_path->key_where,
                      "class and class_path are the same; give one of them");
  }
  class_path->key = "class";
  struct sp_node *args = sp_node_get(map, "init_args");
  if (!args) {
    return SP_OK;
  }
  sp_node_remove(map, args);
  if (sp_node_is_null(args)) {
    return SP_OK;
  }
  if (args->kind != SP_NODE_MAP) {
    return sp_fail_at(err, SP_EINVAL, &args->where, "init_args: expected a map, got %s",
                      sp_node_kind_text(args));
  }
  struct sp_node *next;
  for (struct sp_node *c = args->first; c; c = next) {
    next = c->next;
    if (sp_node_get(map, c->key)) {
      return sp_fail_at(err, SP_EINVAL, &c->key_where, "%s is given twice", c->key);
    }
    sp_node_append(map, c);
  }
  return SP_OK;
}

sp_status sp_node_normalise(struct sp_node *root, struct sp_err *err) {
  if (root->kind == SP_NODE_MAP) {
    sp_status status = hoist_init_args(root, err);
    if (status != SP_OK) {
      return status;
    }
  }
  for (struct sp_node *c = root->first; c; c = c->next) {
    sp_status status = sp_node_normalise(c, err);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}

/* "max_epochs: too small" said of --max_epochs need not name it twice. */
static const char *without_name(const char *text, const char *option) {
  size_t n = strlen(option);
  bool is_named = n > 2 && strncmp(text, option + 2, n - 2) == 0 && text[n - 2] == ':';
  return is_named ? text + n - 1 + strspn(text + n - 1, " ") : text;
}

sp_status sp_fail_at(struct sp_err *err, sp_status status, const struct sp_where *where,
                     const char *fmt, ...) {
  char text[SP_ERR_TEXT];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (!where->source) {
    return sp_fail(err, status, "%s", text);
  }
  if (where->line == 0) {
    return sp_fail(err, status, "%s: %s", where->source, without_name(text, where->source));
  }
  return sp_fail(err, status, "%s:%u:%u: %s", where->source, where->line, where->col, text);
}

void sp_where_print(const struct sp_where *where, struct sp_buf *out) {
  if (!where->source) {
    sp_buf_puts(out, "default");
  } else if (where->line == 0) {
    sp_buf_puts(out, where->source);
  } else {
    sp_buf_printf(out, "%s:%u:%u", where->source, where->line, where->col);
  }
}
