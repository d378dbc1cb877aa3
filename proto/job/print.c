/* The resolved job as a job file. See sp_job_print in job.h.
 *
 * Every option is written with its value by the rows of the tables, in their order; the model's
 * part is the tree as it was given. Texts are quoted where YAML would read something else. */
#include "proto/job/job.h"
#include "proto/job/yaml.h"

#include <string.h>

static void indent_by(int indent, struct sp_buf *out) {
  sp_buf_printf(out, "%*s", indent, "");
}

static bool is_text(const struct sp_opt *opt) {
  return opt->type == SP_OPT_STRING || opt->type == SP_OPT_LIST;
}

static void print_item(const struct sp_opt *opt, const char *text, struct sp_buf *out) {
  if (is_text(opt)) {
    sp_yaml_print_text(text, false, out);
  } else {
    sp_buf_puts(out, text);
  }
}

static void print_row(const struct sp_opt *opt, const void *self, int indent, struct sp_buf *out) {
  char buf[SP_OPT_PRINT];
  if (opt->flags & SP_OPT_REFUSED) {
    return;
  }
  indent_by(indent, out);
  sp_buf_printf(out, "%s: ", opt->key);
  if (sp_opt_is_list(opt)) {
    const char *item;
    sp_buf_putc(out, '[');
    for (size_t i = 0; (item = sp_opt_print(opt, self, i, buf)) != NULL; i++) {
      sp_buf_puts(out, i ? ", " : "");
      print_item(opt, item, out);
    }
    sp_buf_puts(out, "]\n");
    return;
  }
  const char *text = sp_opt_print(opt, self, 0, buf);
  if (sp_opt_is_none(opt, self)) {
    sp_buf_puts(out, text);
  } else {
    print_item(opt, text, out);
  }
  sp_buf_putc(out, '\n');
}

static void print_rows(const struct sp_opt *opts, size_t n_opts, const void *self, int indent,
                       struct sp_buf *out) {
  for (size_t i = 0; i < n_opts; i++) {
    print_row(&opts[i], self, indent, out);
  }
}

/* A tagged struct: `class: name` and its options. */
static void print_class(const struct sp_opt_class_table *table, const void *self, int indent,
                        struct sp_buf *out) {
  const struct sp_opt_class *class =
      &table->classes[*(const int *)((const char *)self + table->kind_offset)];
  sp_buf_printf(out, "class: %s\n", class->name);
  print_rows(class->opts, class->n_opts, self, indent, out);
  print_rows(table->common, table->n_common, self, indent, out);
}

static void print_classes(const struct sp_opt_class_table *table, const void *items, size_t n,
                          int indent, struct sp_buf *out) {
  for (size_t i = 0; i < n; i++) {
    indent_by(indent, out);
    sp_buf_puts(out, "- ");
    print_class(table, (const char *)items + i * table->self_bytes, indent + 2, out);
  }
}

static void print_trainer(const struct sp_job *job, struct sp_buf *out) {
  sp_buf_puts(out, "trainer:\n");
  print_rows(sp_trainer_table.opts, sp_trainer_table.n_opts, &job->trainer, 2, out);
  sp_buf_puts(out, job->callbacks.n ? "  callbacks:\n" : "  callbacks: []\n");
  print_classes(&sp_callback_classes, job->callbacks.items, job->callbacks.n, 2, out);
  sp_buf_puts(out, job->loggers.n ? "  logger:\n" : "  logger: false\n");
  print_classes(&sp_logger_classes, job->loggers.items, job->loggers.n, 2, out);
}

static void print_pair(const char *key, const char *value, struct sp_buf *out) {
  sp_buf_puts(out, "    ");
  sp_yaml_print_text(key, false, out);
  sp_buf_puts(out, ": ");
  sp_yaml_print_text(value, true, out);
  sp_buf_putc(out, '\n');
}

static void print_data(const struct sp_job *job, struct sp_buf *out) {
  sp_buf_puts(out, "data:\n");
  print_rows(sp_data_table.opts, sp_data_table.n_opts, &job->data, 2, out);
  sp_buf_puts(out, job->data.options.n ? "  options:\n" : "");
  for (size_t i = 0; i < job->data.options.n; i++) {
    print_pair(job->data.options.keys[i], job->data.options.values[i], out);
  }
}

static void print_optimizer(const struct sp_job *job, struct sp_buf *out) {
  const struct sp_optimizer_opts *o = &job->optimizer;
  const struct sp_opt_class_table *t = &sp_optimizer_classes;
  if (!o->given) {
    sp_buf_puts(out, o->freeze.n ? "optimizer:\n" : "");
    if (o->freeze.n) {
      print_rows(t->common, t->n_common, o, 2, out);
    }
    return;
  }
  sp_buf_puts(out, "optimizer:\n  ");
  print_class(t, o, 2, out);
  sp_buf_puts(out, o->n_groups ? "  groups:\n" : "");
  for (size_t i = 0; i < o->n_groups; i++) {
    sp_buf_puts(out, "  -\n");
    print_rows(sp_group_table.opts, sp_group_table.n_opts, &o->groups[i], 4, out);
  }
}

void sp_job_print(const struct sp_job *job, struct sp_buf *out) {
  print_rows(sp_root_table.opts, sp_root_table.n_opts, &job->root, 0, out);
  print_trainer(job, out);
  sp_buf_puts(out, "model:\n");
  sp_yaml_print(job->model, 2, out);
  print_data(job, out);
  print_optimizer(job, out);
  sp_buf_puts(out, job->lr.n ? "lr_scheduler:\n" : "");
  print_classes(&sp_lr_classes, job->lr.items, job->lr.n, 0, out);
  sp_buf_puts(out, "weights:\n");
  print_rows(sp_weights_table.opts, sp_weights_table.n_opts, &job->weights, 2, out);
  sp_buf_puts(out, job->weights.n_map ? "  map:\n" : "");
  for (size_t i = 0; i < job->weights.n_map; i++) {
    print_pair(job->weights.map[i].theirs, job->weights.map[i].ours, out);
  }
  /* The sampling options mean nothing, and are refused, without generate. */
  const char *const key = "output";
  if (job->predict.generate > 0) {
    sp_buf_puts(out, "predict:\n");
    print_rows(sp_predict_table.opts, sp_predict_table.n_opts, &job->predict, 2, out);
  } else if (job->predict.output) {
    sp_buf_puts(out, "predict:\n");
    print_row(sp_opt_find(sp_predict_table.opts, sp_predict_table.n_opts, key), &job->predict, 2,
              out);
  }
}
