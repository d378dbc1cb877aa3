/* Binding a map of the tree against option tables. See bind.h.
 *
 * Values are set in the order of the file; the option table gives the text of an error and the node
 * where it is. A tagged struct is bound twice from the same map: its common rows and its class's
 * own, each skipping the keys of the other. */
#include "proto/job/bind.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ROWS = 64, NAME_BYTES = 320 };

const char *sp_bind_name(const char *section, const char *key, char *buf, size_t buf_bytes) {
  snprintf(buf, buf_bytes, "%s%s%s", section, *section ? "." : "", key);
  return buf;
}

static bool is_in(const char *const *list, const char *key) {
  for (; list && *list; list++) {
    if (strcmp(*list, key) == 0) {
      return true;
    }
  }
  return false;
}

static sp_status fail_value(const char *name, const struct sp_node *node, const struct sp_err *why,
                            struct sp_err *err) {
  return sp_fail_at(err, why->status, &node->where, "%s: %s", name, why->text);
}

sp_status sp_bind_value(const char *section, const struct sp_opt *opt, const struct sp_node *node,
                        void *self, struct sp_arena *arena, struct sp_err *err) {
  char name[NAME_BYTES];
  sp_bind_name(section, opt->key, name, sizeof name);
  if (node->kind == SP_NODE_MAP) {
    char type[256];
    sp_opt_type_text(opt, type, sizeof type);
    return sp_fail_at(err, SP_EINVAL, &node->where, "%s: expected %s, got a map", name, type);
  }
  struct sp_opt_text text = {.n = 1, .is_quoted = node->is_quoted};
  const char *one = node->text;
  text.items = &one;
  if (node->kind == SP_NODE_SEQ) {
    const char **items = sp_arena_array(arena, node->n_children, sizeof *items);
    if (!items) {
      return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    size_t n = 0;
    for (const struct sp_node *c = node->first; c; c = c->next) {
      if (c->kind != SP_NODE_SCALAR) {
        return sp_fail_at(err, SP_EINVAL, &c->where, "%s: expected values in the list, got %s",
                          name, sp_node_kind_text(c));
      }
      items[n++] = c->text;
    }
    text = (struct sp_opt_text){.items = items, .n = n, .is_list = true};
  }
  struct sp_err why;
  sp_status status = sp_opt_set(opt, self, &text, arena, &why);
  return status == SP_OK ? SP_OK : fail_value(name, node, &why, err);
}

static sp_status unknown_key(const char *section, const struct sp_node *node,
                             const struct sp_opt *opts, size_t n_opts, struct sp_err *err) {
  char name[NAME_BYTES];
  sp_bind_name(section, node->key, name, sizeof name);
  const char *near = sp_opt_suggest(opts, n_opts, node->key);
  return sp_fail_at(err, SP_EINVAL, &node->key_where, "%s: unknown key%s%s%s", name,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

sp_status sp_bind_given(const char *section, const struct sp_node *map, const char *const *skip,
                        const struct sp_opt *opts, size_t n_opts, void *self,
                        struct sp_arena *arena, struct sp_err *err) {
  for (const struct sp_node *c = map ? map->first : NULL; c; c = c->next) {
    if (is_in(skip, c->key)) {
      continue;
    }
    const struct sp_opt *opt = sp_opt_find(opts, n_opts, c->key);
    sp_status status = opt ? sp_bind_value(section, opt, c, self, arena, err)
                           : unknown_key(section, c, opts, n_opts, err);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}

static sp_status check_required(const char *section, const struct sp_node *map,
                                struct sp_where where, const struct sp_opt *opts, size_t n_opts,
                                struct sp_err *err) {
  for (size_t i = 0; i < n_opts; i++) {
    if ((opts[i].flags & SP_OPT_REQUIRED) && sp_node_is_null(sp_node_get(map, opts[i].key))) {
      char name[NAME_BYTES];
      sp_bind_name(section, opts[i].key, name, sizeof name);
      return sp_fail_at(err, SP_EINVAL, &where, "%s is missing: %s", name, opts[i].help);
    }
  }
  return SP_OK;
}

sp_status sp_job_bind(const char *section, const struct sp_node *map, const char *const *skip,
                      const struct sp_opt *opts, size_t n_opts, void *self, struct sp_arena *arena,
                      struct sp_err *err) {
  sp_status status = sp_opt_defaults(opts, n_opts, self, arena, err);
  if (status == SP_OK && sp_node_is_null(map)) {
    return check_required(section, NULL, (struct sp_where){0}, opts, n_opts, err);
  }
  if (status != SP_OK) {
    return status;
  }
  if (map->kind != SP_NODE_MAP) {
    return sp_fail_at(err, SP_EINVAL, &map->where, "%s: expected a map, got %s", section,
                      sp_node_kind_text(map));
  }
  status = sp_bind_given(section, map, skip, opts, n_opts, self, arena, err);
  return status == SP_OK ? check_required(section, map, map->where, opts, n_opts, err) : status;
}

/* Splits a node into the class it names and the map of its options (NULL: none are given). */
static sp_status split_class(const struct sp_opt_class_table *table, const struct sp_node *node,
                             const struct sp_node **out_class, const struct sp_node **out_map,
                             struct sp_err *err) {
  if (node->kind == SP_NODE_SCALAR) {
    *out_class = node;
    *out_map = NULL;
    return SP_OK;
  }
  if (node->kind == SP_NODE_SEQ) {
    return sp_fail_at(err, SP_EINVAL, &node->where, "%s: expected one, got a list", table->name);
  }
  const struct sp_node *class = sp_node_get(node, "class");
  if (class && class->kind == SP_NODE_SCALAR) {
    *out_class = class;
    *out_map = node;
    return SP_OK;
  }
  const struct sp_node *only = node->first;
  bool is_known = only && sp_opt_class_find(table->classes, table->n_classes, only->key) >= 0;
  if (!class && node->n_children == 1 &&
      (only->kind == SP_NODE_MAP || (is_known && sp_node_is_null(only)))) {
    *out_class = only;
    *out_map = only->kind == SP_NODE_MAP ? only : NULL;
    return SP_OK;
  }
  char names[256] = "";
  size_t used = 0;
  for (size_t i = 0; i < table->n_classes && used < sizeof names; i++) {
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                             table->classes[i].name);
  }
  return sp_fail_at(err, SP_EINVAL, class ? &class->where : &node->where,
                    "%s: class must name one of %s", table->name, names);
}

static sp_status find_class(const struct sp_opt_class_table *table, const struct sp_node *class,
                            int *out_index, struct sp_err *err) {
  const char *name =
      class->kind == SP_NODE_SCALAR && !sp_node_is_null(class) ? class->text : class->key;
  const struct sp_where *where = name == class->text ? &class->where : &class->key_where;
  if (!name) {
    return sp_fail_at(err, SP_EINVAL, &class->where, "%s: the class is missing", table->name);
  }
  int index = sp_opt_class_find(table->classes, table->n_classes, name);
  if (index >= 0) {
    *out_index = index;
    return SP_OK;
  }
  const char *dot = strrchr(name, '.');
  const char *last = dot ? dot + 1 : name;
  for (const struct sp_refusal *r = table->refused; r && r->values; r++) {
    for (const char *p = r->values; *p; p += strspn(p, "|")) {
      size_t n = strcspn(p, "|");
      if (strlen(last) == n && memcmp(p, last, n) == 0) {
        return sp_fail_at(err, SP_EUNSUPPORTED, where, "%s: %.60s is refused: %s", table->name,
                          last, r->why);
      }
      p += n;
    }
  }
  const char *near = sp_opt_class_suggest(table->classes, table->n_classes, last);
  return sp_fail_at(err, SP_EINVAL, where, "%s: unknown class %.60s%s%s%s", table->name, last,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

sp_status sp_bind_class(const struct sp_opt_class_table *table, const struct sp_node *node,
                        const char *const *skip, void *self, struct sp_arena *arena,
                        struct sp_err *err) {
  static const char *const skip_class[] = {"class", NULL};
  const struct sp_node *class_node = NULL;
  const struct sp_node *map = NULL;
  int index = 0;
  sp_status status = split_class(table, node, &class_node, &map, err);
  status = status == SP_OK ? find_class(table, class_node, &index, err) : status;
  if (status != SP_OK) {
    return status;
  }
  const struct sp_opt_class *class = &table->classes[index];
  struct sp_opt rows[MAX_ROWS];
  size_t n_rows = class->n_opts + table->n_common;
  assert(n_rows <= MAX_ROWS);
  if (class->n_opts > 0) {
    memcpy(rows, class->opts, class->n_opts * sizeof *rows);
  }
  if (table->n_common > 0) {
    memcpy(rows + class->n_opts, table->common, table->n_common * sizeof *rows);
  }
  *(int *)((char *)self + table->kind_offset) = index;
  status = sp_opt_defaults(rows, n_rows, self, arena, err);
  if (status == SP_OK) {
    status =
        sp_bind_given(table->name, map, skip ? skip : skip_class, rows, n_rows, self, arena, err);
  }
  if (status == SP_OK) {
    status = check_required(table->name, map, node->where, rows, n_rows, err);
  }
  return status;
}

sp_status sp_bind_classes(const struct sp_opt_class_table *table, const struct sp_node *node,
                          void **out_items, size_t *out_n, struct sp_arena *arena,
                          struct sp_err *err) {
  bool is_list = node->kind == SP_NODE_SEQ;
  size_t n = is_list ? node->n_children : 1;
  char *items = sp_arena_array(arena, n, table->self_bytes);
  if (!items) {
    return sp_fail(err, SP_ENOMEM, "out of memory");
  }
  const struct sp_node *item = is_list ? node->first : node;
  for (size_t i = 0; i < n; i++, item = item->next) {
    sp_status status = sp_bind_class(table, item, NULL, items + i * table->self_bytes, arena, err);
    if (status != SP_OK) {
      return status;
    }
  }
  *out_items = items;
  *out_n = n;
  return SP_OK;
}
