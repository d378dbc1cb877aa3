/* Module instances: hyper-parameters, parameters, setup. Layers are in layer.c, tracing in trace.c.
 */
#include "engine/nn/module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/nn/layer.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"

static sp_status check_def(const stk_module_def *def, struct sp_err *err) {
  if (!def || def->abi != STK_ABI) {
    return sp_fail(err, SP_EMODULE,
                   "the module was built for ABI %u, this engine has %d; rebuild it",
                   def ? (unsigned)def->abi : 0u, STK_ABI);
  }
  if (def->size < offsetof(stk_module_def, reader) || def->size > sizeof *def) {
    return sp_fail(err, SP_EMODULE,
                   "the module's table has %u bytes, this engine's has %zu; rebuild it",
                   (unsigned)def->size, sizeof *def);
  }
  if (!def->name || !def->setup || !def->training_step) {
    return sp_fail(err, SP_EMODULE, "the module's table lacks name, setup or training_step");
  }
  if (def->state_size > STK_MODULE_MAX_STATE || def->self_size > ((size_t)1 << 30)) {
    return sp_fail(err, SP_EMODULE,
                   "module %s: state_size %zu is over %d bytes, or self_size over 1 GiB", def->name,
                   def->state_size, STK_MODULE_MAX_STATE);
  }
  for (const stk_hparam *h = def->hparams; h && h->name; h++) {
    size_t bytes = h->type == STK_HP_BOOL ? sizeof(bool) : 8;
    if (h->offset > def->self_size || bytes > def->self_size - h->offset) {
      return sp_fail(err, SP_EMODULE, "module %s: hyper-parameter %s lies outside self", def->name,
                     h->name);
    }
  }
  return SP_OK;
}

sp_status stk_module_new(const stk_module_def *def, struct stk_module **out_m, struct sp_err *err) {
  sp_status st = check_def(def, err);
  if (st) {
    return st;
  }
  struct stk_module *m = sp_alloc(sizeof *m);
  if (m) {
    m->def = def;
    m->x.rank = -1;
    m->self = sp_alloc(def->self_size);
  }
  if (!m || !m->self) {
    stk_module_free(m);
    return sp_fail(err, SP_ENOMEM, "no memory for module %s", def->name);
  }
  for (const stk_hparam *h = def->hparams; h && h->name && !st; h++) {
    st = h->default_value ? stk_module_set_hparam(m, h->name, h->default_value, err) : SP_OK;
  }
  if (st) {
    stk_module_free(m);
    return st;
  }
  *out_m = m;
  return SP_OK;
}

void stk_module_free(struct stk_module *m) {
  if (!m) {
    return;
  }
  for (int32_t i = 0; i < m->n_params; i++) {
    sp_free(m->params[i]);
  }
  for (int32_t i = 0; i < m->n_strings; i++) {
    sp_free(m->strings[i]);
  }
  stk_layers_free(m->layers);
  sp_free(m->params);
  sp_free(m->running);
  sp_free(m->strings);
  sp_free(m->param_leaves);
  sp_free(m->running_leaves);
  sp_free(m->self);
  sp_free(m);
}

static const stk_hparam *find_hparam(const struct stk_module *m, const char *name) {
  for (const stk_hparam *h = m->def->hparams; h && h->name; h++) {
    if (strcmp(h->name, name) == 0) {
      return h;
    }
  }
  return NULL;
}

static bool in_choices(const char *choices, const char *text) {
  size_t len = strlen(text);
  for (const char *c = choices; c && *c; c += strcspn(c, "|") + (c[strcspn(c, "|")] == '|')) {
    if (strcspn(c, "|") == len && strncmp(c, text, len) == 0) {
      return true;
    }
  }
  return false;
}

static sp_status keep_string(struct stk_module *m, const char *text, const char **out,
                             struct sp_err *err) {
  char **list = sp_resize_array(m->strings, (size_t)m->n_strings + 1, sizeof *list);
  if (list) {
    m->strings = list;
    list[m->n_strings] = sp_strdup(text);
  }
  if (!list || !list[m->n_strings]) {
    return sp_fail(err, SP_ENOMEM, "no memory for a hyper-parameter");
  }
  *out = list[m->n_strings++];
  return SP_OK;
}

static sp_status out_of_range(const stk_hparam *h, const char *text, struct sp_err *err) {
  return sp_fail(err, SP_EINVAL, "model.%s: %s is not in %g .. %g", h->name, text, h->min, h->max);
}

sp_status stk_module_set_hparam(struct stk_module *m, const char *name, const char *text,
                                struct sp_err *err) {
  const stk_hparam *h = find_hparam(m, name);
  if (!h) {
    return sp_fail(err, SP_ENOENT, "model.%s: module %s has no such hyper-parameter", name,
                   m->def->name);
  }
  uint8_t *at = (uint8_t *)m->self + h->offset;
  bool limited = h->min != 0.0 || h->max != 0.0;
  switch (h->type) {
    case STK_HP_BOOL: {
      bool v = strcmp(text, "true") == 0;
      if (!v && strcmp(text, "false") != 0) {
        return sp_fail(err, SP_EINVAL, "model.%s: '%s' is neither true nor false", name, text);
      }
      memcpy(at, &v, sizeof v);
      return SP_OK;
    }
    case STK_HP_INT: {
      int64_t v;
      if (sp_parse_i64(text, &v)) {
        return sp_fail(err, SP_EINVAL, "model.%s: '%s' is not an integer", name, text);
      }
      if (limited && ((double)v < h->min || (double)v > h->max)) {
        return out_of_range(h, text, err);
      }
      memcpy(at, &v, sizeof v);
      return SP_OK;
    }
    case STK_HP_FLOAT: {
      double v;
      if (sp_parse_f64(text, &v)) {
        return sp_fail(err, SP_EINVAL, "model.%s: '%s' is not a number", name, text);
      }
      if (limited && !(v >= h->min && v <= h->max)) {
        return out_of_range(h, text, err);
      }
      memcpy(at, &v, sizeof v);
      return SP_OK;
    }
    case STK_HP_ENUM:
      if (!in_choices(h->choices, text)) {
        return sp_fail(err, SP_EINVAL, "model.%s: '%s' is not one of %s", name, text,
                       h->choices ? h->choices : "");
      }
      break;
    case STK_HP_STRING:
      break;
  }
  const char *kept = NULL;
  sp_status st = keep_string(m, text, &kept, err);
  if (!st) {
    memcpy(at, &kept, sizeof kept);
  }
  return st;
}

const char *stk_module_hparam_text(const struct stk_module *m, const stk_hparam *hp, char *buf,
                                   size_t cap) {
  const uint8_t *at = (const uint8_t *)m->self + hp->offset;
  bool b;
  int64_t i;
  double d;
  const char *s = NULL;
  switch (hp->type) {
    case STK_HP_BOOL:
      memcpy(&b, at, sizeof b);
      snprintf(buf, cap, "%s", b ? "true" : "false");
      break;
    case STK_HP_INT:
      memcpy(&i, at, sizeof i);
      snprintf(buf, cap, "%lld", (long long)i);
      break;
    case STK_HP_FLOAT:
      memcpy(&d, at, sizeof d);
      snprintf(buf, cap, "%.17g", d);
      break;
    case STK_HP_STRING:
    case STK_HP_ENUM:
      memcpy(&s, at, sizeof s);
      return s ? s : "";
  }
  return buf;
}

stk_status stk_setup_fail(stk_module *m, const char *fmt, ...) {
  if (!m->err.status) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sp_fail(&m->err, SP_EMODULE, "%s", text);
  }
  return SP_EMODULE;
}

int32_t stk_setup_x_rank(const stk_module *m) {
  return m->x.rank < 0 ? 0 : m->x.rank;
}

int64_t stk_setup_x_dim(const stk_module *m, int32_t axis) {
  return axis >= 0 && axis < m->x.rank ? m->x.dims[axis] : 0;
}

sp_status stk_module_setup(struct stk_module *m, const stk_sample *x, struct sp_err *err) {
  for (const stk_hparam *h = m->def->hparams; h && h->name; h++) {
    const char *s;
    memcpy(&s, (uint8_t *)m->self + h->offset, h->type >= STK_HP_STRING ? sizeof s : 0);
    if (!h->default_value && h->type >= STK_HP_STRING && !s) {
      return sp_fail(err, SP_EINVAL, "model.%s must be given: %s", h->name, h->help ? h->help : "");
    }
  }
  if (x) {
    m->x = *x;
  }
  stk_status st = m->def->setup(m, m->self);
  if (m->err.status) {
    return sp_fail(err, m->err.status, "module %s, setup: %s", m->def->name, m->err.text);
  }
  if (st) {
    return sp_fail(err, SP_EMODULE, "module %s: setup returned %d", m->def->name, st);
  }
  if (m->n_params == 0) {
    return sp_fail(err, SP_EMODULE, "module %s declares no parameters in setup", m->def->name);
  }
  m->ready = true;
  return SP_OK;
}

/* ---- parameters and running statistics */

static bool good_name(struct stk_module *m, const char *name) {
  if (!name || !*name || strlen(name) >= sizeof m->params[0]->name || strpbrk(name, "/\\\"\n\t ")) {
    stk_setup_fail(m, "a parameter's name has 1 to 127 bytes without spaces, quotes or slashes");
    return false;
  }
  for (int32_t i = 0; i < m->n_params; i++) {
    if (strcmp(m->params[i]->name, name) == 0) {
      stk_setup_fail(m, "two parameters are called %s", name);
      return false;
    }
  }
  return true;
}

stk_param *stk_param_add(stk_module *m, const char *name, int32_t rank, const int64_t *dims,
                         stk_init init) {
  struct stk_shape s = {.rank = rank};
  if (m->err.status || m->ready || !good_name(m, name)) {
    return NULL;
  }
  if (rank < 0 || rank > STK_MAX_RANK || m->n_params >= STK_MODULE_MAX_PARAMS) {
    stk_setup_fail(m, "%s: at most %d dims, and %d parameters", name, STK_MAX_RANK,
                   STK_MODULE_MAX_PARAMS);
    return NULL;
  }
  s = stk_shape_make(rank, dims);
  if (stk_shape_numel(&s) <= 0) {
    stk_setup_fail(m, "%s: dims must be positive and their product below 2^48", name);
    return NULL;
  }
  if (m->n_params == m->cap_params) {
    int32_t cap = m->cap_params ? m->cap_params * 2 : 32;
    struct stk_param **p = sp_resize_array(m->params, (size_t)cap, sizeof *p);
    if (!p) {
      stk_setup_fail(m, "out of memory");
      return NULL;
    }
    m->params = p;
    m->cap_params = cap;
  }
  struct stk_param *p = sp_alloc(sizeof *p);
  if (!p) {
    stk_setup_fail(m, "out of memory");
    return NULL;
  }
  *p = (struct stk_param){
      .module = m, .index = m->n_params, .order = m->n_declared++, .shape = s, .init = init};
  memcpy(p->name, name, strlen(name) + 1);
  m->params[m->n_params++] = p;
  return p;
}

int32_t stk_module_add_running(struct stk_module *m, const char *name,
                               const struct stk_shape *shape, double initial) {
  struct stk_running *r = sp_resize_array(m->running, (size_t)m->n_running + 1, sizeof *r);
  if (!r || strlen(name) >= sizeof r->name) {
    stk_setup_fail(m, r ? "%s: name too long" : "out of memory for %s", name);
    m->running = r ? r : m->running;
    return -1;
  }
  m->running = r;
  r[m->n_running] = (struct stk_running){.shape = *shape, .initial = initial};
  memcpy(r[m->n_running].name, name, strlen(name) + 1);
  return m->n_running++;
}

stk_t stk_param_value(const stk_param *p, stk_graph *g) {
  if (!p || !g || g->failed) {
    return stk_symbol(g, -1);
  }
  return stk_symbol(g, stk_graph_param(g, p->index));
}

sp_status stk_module_leaves(struct stk_module *m, const uint8_t *frozen, struct sp_err *err) {
  sp_free(m->param_leaves);
  sp_free(m->running_leaves);
  m->param_leaves = sp_alloc_array((size_t)m->n_params + 1, sizeof *m->param_leaves);
  m->running_leaves = sp_alloc_array((size_t)m->n_running + 1, sizeof *m->running_leaves);
  if (!m->param_leaves || !m->running_leaves) {
    return sp_fail(err, SP_ENOMEM, "no memory for parameter shapes");
  }
  for (int32_t i = 0; i < m->n_params; i++) {
    m->param_leaves[i] = (struct stk_leaf){m->params[i]->shape, !frozen || !frozen[i]};
  }
  for (int32_t i = 0; i < m->n_running; i++) {
    m->running_leaves[i] = (struct stk_leaf){m->running[i].shape, false};
  }
  return SP_OK;
}
