/* Loading a job: sources to one tree, the tree to structs, the structs checked. See job.h.
 *
 * One function per section binds it; the table of sections says who binds which key of the file's
 * top, so that an unknown one can be answered with the nearest section or, for a key that belongs
 * inside one, with its full name. */
#include "proto/job/job.h"

#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "proto/job/args.h"
#include "proto/job/bind.h"
#include "proto/job/check.h"
#include "proto/job/layers.h"

#include <stdio.h>
#include <string.h>

enum { ARENA_MAX = 64 << 20 };

static sp_status no_memory(struct sp_err *err) {
  return sp_fail(err, SP_ENOMEM, "out of memory");
}

static sp_status bind_logger(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  static const char *const off[] = {"false", "False", "no", "off", "0"};
  static const char *const on[] = {"true", "True", "yes", "on", "1"};
  for (size_t i = 0; node && node->kind == SP_NODE_SCALAR && i < 5; i++) {
    if (strcmp(node->text, off[i]) == 0) {
      return SP_OK;
    }
    if (strcmp(node->text, on[i]) == 0) {
      node = NULL;
    }
  }
  struct sp_node tensorboard = {.kind = SP_NODE_SCALAR, .text = "tensorboard"};
  void *items;
  sp_status status =
      sp_bind_classes(&sp_logger_classes, sp_node_is_null(node) ? &tensorboard : node, &items,
                      &job->loggers.n, &job->arena, err);
  if (status == SP_OK) {
    job->loggers.items = items;
  }
  return status;
}

static sp_status bind_trainer(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  static const char *const skip[] = {"callbacks", "logger", NULL};
  sp_status status = sp_job_bind("trainer", node, skip, sp_trainer_table.opts,
                                 sp_trainer_table.n_opts, &job->trainer, &job->arena, err);
  if (status != SP_OK) {
    return status;
  }
  const struct sp_node *callbacks = sp_node_get(node, "callbacks");
  if (!sp_node_is_null(callbacks)) {
    void *items;
    status = sp_bind_classes(&sp_callback_classes, callbacks, &items, &job->callbacks.n,
                             &job->arena, err);
    if (status != SP_OK) {
      return status;
    }
    job->callbacks.items = items;
  }
  return bind_logger(job, sp_node_get(node, "logger"), err);
}

/* A map of plain values to two arrays of texts. */
static sp_status read_pairs(struct sp_arena *arena, const char *name, const struct sp_node *map,
                            struct sp_pairs *out, struct sp_err *err) {
  if (sp_node_is_null(map)) {
    return SP_OK;
  }
  if (map->kind != SP_NODE_MAP) {
    return sp_fail_at(err, SP_EINVAL, &map->where, "%s: expected a map, got %s", name,
                      sp_node_kind_text(map));
  }
  struct sp_pairs pairs = {sp_arena_array(arena, map->n_children, sizeof(char *)),
                           sp_arena_array(arena, map->n_children, sizeof(char *)), 0};
  if (!pairs.keys || !pairs.values) {
    return no_memory(err);
  }
  for (const struct sp_node *c = map->first; c; c = c->next) {
    if (c->kind != SP_NODE_SCALAR) {
      return sp_fail_at(err, SP_EINVAL, &c->where, "%s.%s: expected a value, got %s", name, c->key,
                        sp_node_kind_text(c));
    }
    pairs.keys[pairs.n] = c->key;
    pairs.values[pairs.n++] = c->text;
  }
  *out = pairs;
  return SP_OK;
}

static sp_status bind_data(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  static const char *const skip[] = {"options", NULL};
  sp_status status = sp_job_bind("data", node, skip, sp_data_table.opts, sp_data_table.n_opts,
                                 &job->data, &job->arena, err);
  if (status != SP_OK) {
    return status;
  }
  return read_pairs(&job->arena, "data.options", sp_node_get(node, "options"), &job->data.options,
                    err);
}

static sp_status bind_groups(struct sp_job *job, const struct sp_node *list, struct sp_err *err) {
  if (sp_node_is_null(list)) {
    return SP_OK;
  }
  if (list->kind != SP_NODE_SEQ) {
    return sp_fail_at(err, SP_EINVAL, &list->where, "optimizer.groups: expected a list, got %s",
                      sp_node_kind_text(list));
  }
  struct sp_group_opts *groups = sp_arena_array(&job->arena, list->n_children, sizeof *groups);
  if (!groups) {
    return no_memory(err);
  }
  size_t n = 0;
  for (const struct sp_node *c = list->first; c; c = c->next) {
    sp_status status = sp_job_bind("optimizer.groups", c, NULL, sp_group_table.opts,
                                   sp_group_table.n_opts, &groups[n++], &job->arena, err);
    if (status != SP_OK) {
      return status;
    }
  }
  job->optimizer.groups = groups;
  job->optimizer.n_groups = n;
  return SP_OK;
}

static sp_status bind_optimizer(struct sp_job *job, const struct sp_node *node,
                                struct sp_err *err) {
  static const char *const skip[] = {"class", "groups", NULL};
  const struct sp_opt_class_table *t = &sp_optimizer_classes;
  if (sp_node_is_null(node)) {
    return SP_OK;
  }
  const struct sp_node *only = node->first;
  if (node->kind == SP_NODE_MAP && node->n_children == 1 && strcmp(only->key, "freeze") == 0) {
    return sp_job_bind("optimizer", node, NULL, t->common, t->n_common, &job->optimizer,
                       &job->arena, err);
  }
  sp_status status = sp_bind_class(t, node, skip, &job->optimizer, &job->arena, err);
  if (status != SP_OK) {
    return status;
  }
  job->optimizer.given = true;
  return bind_groups(job, sp_node_get(node, "groups"), err);
}

static sp_status bind_lr(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  if (sp_node_is_null(node)) {
    return SP_OK;
  }
  void *items;
  sp_status status = sp_bind_classes(&sp_lr_classes, node, &items, &job->lr.n, &job->arena, err);
  if (status == SP_OK) {
    job->lr.items = items;
  }
  return status;
}

static sp_status bind_weights(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  static const char *const skip[] = {"map", NULL};
  sp_status status = sp_job_bind("weights", node, skip, sp_weights_table.opts,
                                 sp_weights_table.n_opts, &job->weights, &job->arena, err);
  struct sp_pairs pairs = {NULL, NULL, 0};
  if (status == SP_OK) {
    status = read_pairs(&job->arena, "weights.map", sp_node_get(node, "map"), &pairs, err);
  }
  if (status != SP_OK || pairs.n == 0) {
    return status;
  }
  job->weights.map = sp_arena_array(&job->arena, pairs.n, sizeof *job->weights.map);
  if (!job->weights.map) {
    return no_memory(err);
  }
  for (size_t i = 0; i < pairs.n; i++) {
    job->weights.map[i] = (struct sp_weight_map){pairs.keys[i], pairs.values[i]};
  }
  job->weights.n_map = pairs.n;
  return SP_OK;
}

static sp_status bind_predict(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  return sp_job_bind("predict", node, NULL, sp_predict_table.opts, sp_predict_table.n_opts,
                     &job->predict, &job->arena, err);
}

static sp_status bind_model(struct sp_job *job, const struct sp_node *node, struct sp_err *err) {
  if (sp_node_is_null(node)) {
    struct sp_where where = {job->tree->where.source, job->tree->where.line, 1};
    return sp_fail_at(
        err, SP_EINVAL, &where,
        "model is missing: give model.class (mlp, autoencoder, cnn, gpt, sequential) "
        "or model.module, the path of a shared object; `stoker init NAME` writes both "
        "a module and its job file");
  }
  if (node->kind != SP_NODE_MAP) {
    return sp_fail_at(err, SP_EINVAL, &node->where, "model: expected a map, got %s",
                      sp_node_kind_text(node));
  }
  static const char *const keys[] = {"class", "module"};
  const struct sp_node *found = NULL;
  for (size_t i = 0; i < 2; i++) {
    const struct sp_node *c = sp_node_get(node, keys[i]);
    if (!c) {
      continue;
    }
    if (c->kind != SP_NODE_SCALAR || sp_node_is_null(c) || !*c->text) {
      return sp_fail_at(err, SP_EINVAL, &c->where, "model.%s: expected a name", keys[i]);
    }
    if (found) {
      return sp_fail_at(err, SP_EINVAL, &c->key_where,
                        "model.class and model.module exclude each other");
    }
    found = c;
  }
  if (!found) {
    return sp_fail_at(
        err, SP_EINVAL, &node->where,
        "model: class (mlp, autoencoder, cnn, gpt, sequential) or module (the path of "
        "a shared object) is missing");
  }
  job->model = sp_node_get(job->tree, "model");
  const struct sp_node *layers = sp_node_get(node, "layers");
  if (!sp_job_model_class(job) || strcmp(found->text, "sequential") != 0) {
    return SP_OK;
  }
  if (sp_node_is_null(layers)) {
    return sp_fail_at(err, SP_EINVAL, &found->where,
                      "model.layers is missing: a list such as [flatten, {linear: {out: 10}}]");
  }
  return sp_layers_text(job, layers, &job->layers, err);
}

static const struct section {
  const char *name;
  sp_status (*bind)(struct sp_job *job, const struct sp_node *node, struct sp_err *err);
} sections[] = {
    {"trainer", bind_trainer},     {"model", bind_model},     {"data", bind_data},
    {"optimizer", bind_optimizer}, {"lr_scheduler", bind_lr}, {"weights", bind_weights},
    {"predict", bind_predict},
};

enum { N_SECTIONS = sizeof sections / sizeof sections[0] };

/* A key at the top that is no section: is it an option of one, or a misspelt name? */
static sp_status unknown_top(const struct sp_node *c, struct sp_err *err) {
  static const struct sp_opt_table *const tables[] = {&sp_trainer_table, &sp_data_table,
                                                      &sp_predict_table};
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    if (sp_opt_find(tables[i]->opts, tables[i]->n_opts, c->key)) {
      return sp_fail_at(err, SP_EINVAL, &c->key_where, "%s: unknown key; did you mean %s.%s?",
                        c->key, tables[i]->name, c->key);
    }
  }
  const char *names[N_SECTIONS + 4];
  size_t n = 0;
  for (size_t i = 0; i < N_SECTIONS; i++) {
    names[n++] = sections[i].name;
  }
  for (size_t i = 0; i < sp_root_table.n_opts && n < N_SECTIONS + 4; i++) {
    names[n++] = sp_root_table.opts[i].key;
  }
  const char *near = strcmp(c->key, "callbacks") == 0 ? "trainer.callbacks"
                     : strcmp(c->key, "logger") == 0 || strcmp(c->key, "loggers") == 0
                         ? "trainer.logger"
                         : sp_suggest(c->key, names, n);
  return sp_fail_at(err, SP_EINVAL, &c->key_where, "%s: unknown key%s%s%s", c->key,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static sp_status check_top(const struct sp_job *job, struct sp_err *err) {
  for (const struct sp_node *c = job->tree->first; c; c = c->next) {
    bool known = sp_opt_find(sp_root_table.opts, sp_root_table.n_opts, c->key);
    for (size_t i = 0; i < N_SECTIONS && !known; i++) {
      known = strcmp(sections[i].name, c->key) == 0;
    }
    if (!known) {
      return unknown_top(c, err);
    }
  }
  return SP_OK;
}

static sp_status bind_all(struct sp_job *job, struct sp_err *err) {
  const char *skip[N_SECTIONS + 1] = {NULL};
  for (size_t i = 0; i < N_SECTIONS; i++) {
    skip[i] = sections[i].name;
  }
  sp_status status = check_top(job, err);
  if (status == SP_OK) {
    status = sp_job_bind("", job->tree, skip, sp_root_table.opts, sp_root_table.n_opts, &job->root,
                         &job->arena, err);
  }
  for (size_t i = 0; i < N_SECTIONS && status == SP_OK; i++) {
    status = sections[i].bind(job, sp_node_get(job->tree, sections[i].name), err);
  }
  if (status != SP_OK) {
    return status;
  }
  sp_check_resolve(job);
  return sp_check_job(job, err);
}

static sp_status load(const char *file, const char *text, size_t n, const char *const *args,
                      size_t n_args, struct sp_job **out, struct sp_err *err) {
  struct sp_job *job = sp_alloc(sizeof *job);
  if (!job) {
    return no_memory(err);
  }
  job->arena.cap_bytes = ARENA_MAX;
  const char *source = file ? sp_arena_strdup(&job->arena, file) : NULL;
  struct sp_where top = {source, file ? 1 : 0, 1};
  job->tree = sp_node_new(&job->arena, SP_NODE_MAP, top);
  sp_status status = job->tree && (source || !file) ? SP_OK : no_memory(err);
  if (status == SP_OK && text) {
    status = sp_args_overlay_text(job->tree, file, text, n, &job->arena, err);
  } else if (status == SP_OK && file) {
    status = sp_args_overlay_file(job->tree, file, &job->arena, err);
  }
  if (status == SP_OK) {
    status = sp_args_overlay(job->tree, args, n_args, &job->arena, err);
  }
  if (status == SP_OK) {
    status = bind_all(job, err);
  }
  if (status != SP_OK) {
    sp_job_free(job);
    return status;
  }
  *out = job;
  return SP_OK;
}

sp_status sp_job_load(const char *file, const char *const *args, size_t n_args, struct sp_job **out,
                      struct sp_err *err) {
  return load(file, NULL, 0, args, n_args, out, err);
}

sp_status sp_job_parse(const char *source, const char *text, size_t n, const char *const *args,
                       size_t n_args, struct sp_job **out, struct sp_err *err) {
  return load(source, text, n, args, n_args, out, err);
}

void sp_job_free(struct sp_job *job) {
  if (job) {
    sp_arena_clear(&job->arena);
    sp_free(job);
  }
}

struct sp_where sp_job_where(const struct sp_job *job, const char *key) {
  const struct sp_node *node = sp_node_at(job->tree, key);
  return node ? node->where : (struct sp_where){NULL, 0, 0};
}

static const char *model_text(const struct sp_job *job, const char *key) {
  const struct sp_node *node = sp_node_get(job->model, key);
  return node ? node->text : NULL;
}

const char *sp_job_model_class(const struct sp_job *job) {
  return model_text(job, "class");
}

const char *sp_job_model_module(const struct sp_job *job) {
  return model_text(job, "module");
}

sp_status sp_job_bind_model(const struct sp_job *job, const struct sp_opt *opts, size_t n_opts,
                            void *self, struct sp_arena *arena, struct sp_err *err) {
  static const char *const skip[] = {"class", "module", NULL};
  return sp_job_bind("model", job->model, skip, opts, n_opts, self, arena, err);
}
