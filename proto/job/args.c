/* Options of the command line become a tree that lies over the files'. See args.h.
 *
 * An option's dotted key is walked down from the root; maps that are missing on the way are made,
 * so that a misspelt section is refused by the same code, and with the same words, as one in a
 * file. */
#include "proto/job/args.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/options.h"
#include "proto/job/yaml.h"

#include <stdio.h>
#include <string.h>

/* Keys that may be given without their section. */
static const struct {
  const char *from, *to;
} short_names[] = {
    {"ranks", "trainer.ranks"},   {"generate", "predict.generate"},
    {"prompt", "predict.prompt"}, {"temperature", "predict.temperature"},
    {"top_k", "predict.top_k"},   {"seed", "predict.seed"},
};

/* Sections whose value may be a class name alone. */
static const char *const class_sections[] = {"model", "optimizer", "lr_scheduler", NULL};

static sp_status no_memory(struct sp_err *err) {
  return sp_fail(err, SP_ENOMEM, "out of memory");
}

static bool is_class_section(const char *key) {
  for (const char *const *s = class_sections; *s; s++) {
    if (strcmp(*s, key) == 0) {
      return true;
    }
  }
  return false;
}

/* `optimizer: adam` becomes {class: adam}, so that later keys can lie over it. */
static sp_status expand_class_names(struct sp_node *root, struct sp_arena *arena,
                                    struct sp_err *err) {
  for (struct sp_node *c = root->first; c; c = c->next) {
    if (c->kind == SP_NODE_SCALAR && !sp_node_is_null(c) && is_class_section(c->key)) {
      struct sp_node *name = sp_node_scalar(arena, c->text, c->where);
      if (!name) {
        return no_memory(err);
      }
      name->key = "class";
      name->key_where = c->where;
      c->kind = SP_NODE_MAP;
      c->text = NULL;
      sp_node_append(c, name);
    }
  }
  return SP_OK;
}

static sp_status overlay(struct sp_node *tree, struct sp_node *over, struct sp_arena *arena,
                         struct sp_err *err) {
  sp_status status = sp_node_normalise(over, err);
  if (status == SP_OK) {
    status = expand_class_names(over, arena, err);
  }
  if (status == SP_OK) {
    sp_node_merge(tree, over);
  }
  return status;
}

sp_status sp_args_overlay_text(struct sp_node *tree, const char *source, const char *text, size_t n,
                               struct sp_arena *arena, struct sp_err *err) {
  struct sp_node *root;
  sp_status status = sp_yaml_parse(source, text, n, arena, &root, err);
  if (status != SP_OK) {
    return status;
  }
  if (sp_node_is_null(root)) {
    return SP_OK;
  }
  if (root->kind != SP_NODE_MAP) {
    return sp_fail_at(err, SP_EINVAL, &root->where, "a job file is a map of sections, not %s",
                      sp_node_kind_text(root));
  }
  return overlay(tree, root, arena, err);
}

sp_status sp_args_overlay_file(struct sp_node *tree, const char *path, struct sp_arena *arena,
                               struct sp_err *err) {
  char *text;
  size_t n;
  sp_status status = sp_file_read(path, SP_YAML_MAX, &text, &n, err);
  if (status != SP_OK) {
    return status;
  }
  status = sp_args_overlay_text(tree, path, text, n, arena, err);
  sp_free(text);
  return status;
}

static sp_status make_value(const char *option, const char *text, struct sp_arena *arena,
                            struct sp_node **out, struct sp_err *err) {
  if (!sp_yaml_is_text(text)) {
    return sp_fail(err, SP_EINVAL, "%s: the value is not UTF-8", option);
  }
  if (!*text) {
    return sp_fail(err, SP_EINVAL, "%s: the value is empty; null means the default", option);
  }
  if (*text == '[' || *text == '{') {
    return sp_yaml_parse_value(option, text, arena, out, err);
  }
  struct sp_node *node = sp_node_scalar(arena, text, (struct sp_where){option, 0, 0});
  if (!node) {
    return no_memory(err);
  }
  *out = node;
  return SP_OK;
}

/* Wraps `value` into maps for all but the first part of a dotted key. */
static sp_status wrap(char *path, struct sp_node *value, struct sp_arena *arena,
                      struct sp_where where, struct sp_node **out, struct sp_err *err) {
  struct sp_node *node = value;
  size_t depth = 0;
  for (char *dot; (dot = strrchr(path, '.')); *dot = '\0') {
    if (!dot[1] || ++depth > SP_NODE_DEPTH / 2) {
      return sp_fail_at(err, SP_EINVAL, &where, "this is not a dotted key");
    }
    node->key = dot + 1;
    node->key_where = where;
    struct sp_node *map = sp_node_new(arena, SP_NODE_MAP, where);
    if (!map) {
      return no_memory(err);
    }
    sp_node_append(map, node);
    node = map;
  }
  node->key = path;
  node->key_where = where;
  *out = node;
  return SP_OK;
}

/* A key that leads through a list (trainer.callbacks.0.patience): sets the value in the list.
 * Returns the item and what is left of the key, or NULL when no list is on the way. */
static struct sp_node *find_item(struct sp_node *tree, const char *key, const char **out_rest) {
  struct sp_node *node = tree;
  while (node && node->kind == SP_NODE_MAP) {
    size_t n = strcspn(key, ".");
    struct sp_node *c = node->first;
    while (c && (strncmp(c->key, key, n) != 0 || c->key[n])) {
      c = c->next;
    }
    if (!c || !key[n]) {
      return NULL;
    }
    node = c;
    key += n + 1;
  }
  if (!node || node->kind != SP_NODE_SEQ) {
    return NULL;
  }
  size_t n = strcspn(key, ".");
  char index[16];
  if (n == 0 || n >= sizeof index || !key[n]) {
    return NULL;
  }
  memcpy(index, key, n);
  index[n] = '\0';
  struct sp_node *item = sp_node_at(node, index);
  *out_rest = key + n + 1;
  return item;
}

/* An item {early_stopping: {...}} stands for its inner map. */
static struct sp_node *item_options(struct sp_node *item) {
  bool is_wrapped =
      item->kind == SP_NODE_MAP && item->n_children == 1 && item->first->kind == SP_NODE_MAP;
  return is_wrapped ? item->first : item;
}

static sp_status set_key(struct sp_node *tree, const char *option, const char *key, size_t n_key,
                         const char *text, struct sp_arena *arena, struct sp_err *err) {
  const struct sp_where where = {option, 0, 0};
  char *path = sp_arena_strndup(arena, key, n_key);
  if (!path) {
    return no_memory(err);
  }
  if (!*path || *path == '.' || n_key > SP_YAML_KEY_MAX || !sp_yaml_is_text(path)) {
    return sp_fail_at(err, SP_EINVAL, &where, "this is not a dotted key");
  }
  struct sp_node *value;
  sp_status status = make_value(option, text, arena, &value, err);
  if (status != SP_OK) {
    return status;
  }
  const char *rest;
  struct sp_node *item = find_item(tree, path, &rest);
  struct sp_node *top = NULL;
  status = wrap(item ? path + (rest - path) : path, value, arena, where, &top, err);
  if (status != SP_OK) {
    return status;
  }
  struct sp_node *root = sp_node_new(arena, SP_NODE_MAP, where);
  if (!root) {
    return no_memory(err);
  }
  sp_node_append(root, top);
  if (item && item->kind == SP_NODE_MAP) {
    sp_node_merge(item_options(item), root);
    return SP_OK;
  }
  return overlay(tree, root, arena, err);
}

static const char *long_name(const char *key, size_t *n_key) {
  for (size_t i = 0; i < sizeof short_names / sizeof short_names[0]; i++) {
    if (strlen(short_names[i].from) == *n_key && memcmp(key, short_names[i].from, *n_key) == 0) {
      *n_key = strlen(short_names[i].to);
      return short_names[i].to;
    }
  }
  return key;
}

/* Whether --key may stand without a value: it is a bool, or an int that takes true. */
static bool is_flag(const char *key, size_t n_key) {
  static const char trainer[] = "trainer.";
  size_t n = sizeof trainer - 1;
  char name[64];
  bool is_trainer = n_key > n && strncmp(key, trainer, n) == 0 && n_key - n < sizeof name;
  bool is_data =
      !is_trainer && n_key > 5 && strncmp(key, "data.", 5) == 0 && n_key - 5 < sizeof name;
  if (!is_trainer && !is_data) {
    return false;
  }
  size_t skip = is_trainer ? n : 5;
  memcpy(name, key + skip, n_key - skip);
  name[n_key - skip] = '\0';
  const struct sp_opt_table *table = is_trainer ? &sp_trainer_table : &sp_data_table;
  const struct sp_opt *opt = sp_opt_find(table->opts, table->n_opts, name);
  return opt && (opt->type == SP_OPT_BOOL || (opt->flags & SP_OPT_BOOLISH));
}

/* What --key means without a value, or NULL. */
static const char *lone_value(const char *key, size_t n_key) {
  static const char resume[] = "resume";
  if (n_key == sizeof resume - 1 && memcmp(key, resume, n_key) == 0) {
    return "auto";
  }
  return is_flag(key, n_key) ? "true" : NULL;
}

static sp_status overlay_option(struct sp_node *tree, const char *const *args, size_t n_args,
                                size_t *i, struct sp_arena *arena, struct sp_err *err) {
  const char *arg = args[*i];
  const char *key = arg + 2;
  size_t n_key = strcspn(key, "=");
  const char *value = key[n_key] ? key + n_key + 1 : NULL;
  key = long_name(key, &n_key);
  char *option = sp_arena_strndup(arena, arg, strcspn(arg, "="));
  if (!option) {
    return no_memory(err);
  }
  if (!value) {
    bool has_next = *i + 1 < n_args && strncmp(args[*i + 1], "--", 2) != 0;
    value = has_next ? args[++*i] : lone_value(key, n_key);
    if (!value) {
      return sp_fail(err, SP_EINVAL, "%s: needs a value", option);
    }
  }
  if (n_key == strlen("config") && strncmp(key, "config", n_key) == 0) {
    return sp_args_overlay_file(tree, value, arena, err);
  }
  return set_key(tree, option, key, n_key, value, arena, err);
}

sp_status sp_args_overlay(struct sp_node *tree, const char *const *args, size_t n_args,
                          struct sp_arena *arena, struct sp_err *err) {
  for (size_t i = 0; i < n_args; i++) {
    if (strncmp(args[i], "--", 2) != 0 || !args[i][2]) {
      return sp_fail(err, SP_EINVAL, "\"%.60s\": expected an option like --trainer.max_epochs 3",
                     args[i]);
    }
    sp_status status = overlay_option(tree, args, n_args, &i, arena, err);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}
