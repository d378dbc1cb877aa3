/* Rows of the model summary. See summary.h. */
#include "engine/nn/summary.h"

#include <stdlib.h>
#include <string.h>

#include "engine/nn/layer.h"
#include "proto/base/mem.h"

/* Something that was declared under a name. */
struct entry {
  const char *name, *type;
  int32_t order;
};

struct rows {
  struct stk_summary_row *row;
  size_t n, cap;
  int64_t max_depth;
};

static int by_order(const void *a, const void *b) {
  return ((const struct entry *)a)->order - ((const struct entry *)b)->order;
}

static struct entry *entries_of(const struct stk_module *m, size_t *out_n) {
  size_t n = (size_t)m->n_params;
  for (const struct stk_layer *l = m->layers; l; l = stk_layer_next(l)) {
    n++;
  }
  struct entry *e = sp_alloc_array(n + 1, sizeof *e);
  n = 0;
  for (const struct stk_layer *l = m->layers; e && l; l = stk_layer_next(l)) {
    if (*stk_layer_name(l)) {
      e[n++] = (struct entry){stk_layer_name(l), stk_layer_type(l), stk_layer_order(l)};
    }
  }
  for (int32_t i = 0; e && i < m->n_params; i++) {
    if (!m->params[i]->in_layer) {
      e[n++] = (struct entry){m->params[i]->name, "Parameter", m->params[i]->order};
    }
  }
  if (n > 1) {
    qsort(e, n, sizeof *e, by_order);
  }
  *out_n = n;
  return e;
}

/* The first `length` bytes of a name as a row, unless it is there; false: out of memory. */
static bool put(struct rows *r, const char *name, size_t length, const char *type) {
  for (size_t i = r->n; i-- > 0;) {
    if (strncmp(r->row[i].name, name, length) == 0 && r->row[i].name[length] == '\0') {
      return true;
    }
  }
  if (r->n == r->cap) {
    size_t cap = r->cap ? r->cap * 2 : 32;
    struct stk_summary_row *p = sp_resize_array(r->row, cap, sizeof *p);
    if (!p) {
      return false;
    }
    r->row = p;
    r->cap = cap;
  }
  struct stk_summary_row *row = &r->row[r->n++];
  *row = (struct stk_summary_row){.type = type};
  memcpy(row->name, name, length < sizeof row->name ? length : sizeof row->name - 1);
  return true;
}

/* A name and those that contain it, from the outermost. */
static bool put_path(struct rows *r, const struct entry *e) {
  int64_t depth = 1;
  for (const char *dot = strchr(e->name, '.'); dot; dot = strchr(dot + 1, '.')) {
    if ((r->max_depth < 0 || depth <= r->max_depth) &&
        !put(r, e->name, (size_t)(dot - e->name), "Module")) {
      return false;
    }
    depth++;
  }
  return (r->max_depth >= 0 && depth > r->max_depth) || put(r, e->name, strlen(e->name), e->type);
}

static void count(const struct stk_module *m, struct stk_summary_row *row) {
  size_t n = strlen(row->name);
  bool trained = false;
  for (int32_t i = 0; i < m->n_params; i++) {
    const char *name = m->params[i]->name;
    if (strncmp(name, row->name, n) == 0 && (name[n] == '.' || name[n] == '\0')) {
      row->n_params += stk_shape_numel(&m->params[i]->shape);
      trained = trained || m->param_leaves[i].trainable;
    }
  }
  row->frozen = row->n_params > 0 && !trained;
}

sp_status stk_module_summary(const struct stk_module *m, int64_t max_depth,
                             struct stk_summary_row **out_rows, size_t *out_n, struct sp_err *err) {
  size_t n = 0;
  struct rows r = {.max_depth = max_depth};
  struct entry *e = entries_of(m, &n);
  bool fine = e != NULL;
  for (size_t i = 0; fine && i < n; i++) {
    fine = put_path(&r, &e[i]);
  }
  sp_free(e);
  if (!fine) {
    sp_free(r.row);
    return sp_fail(err, SP_ENOMEM, "no memory for the model summary");
  }
  for (size_t i = 0; i < r.n; i++) {
    count(m, &r.row[i]);
  }
  *out_rows = r.row;
  *out_n = r.n;
  return SP_OK;
}
