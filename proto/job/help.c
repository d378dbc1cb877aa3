/* Help and the reference page from the option tables. See help.h.
 *
 * Both walk one list of sections in the order of a job file. Terminal help leaves out the rows that
 * fill no field; the reference page lists them apart, with the reason. */
#include "proto/job/help.h"

#include "proto/base/strutil.h"

#include <stdio.h>
#include <string.h>

struct section {
  const struct sp_opt_table *table; /* one of the two */
  const struct sp_opt_class_table *classes;
};

static const struct section sections[] = {
    {&sp_root_table, NULL},        {NULL, &sp_layer_classes},  {&sp_trainer_table, NULL},
    {NULL, &sp_callback_classes},  {NULL, &sp_logger_classes}, {&sp_data_table, NULL},
    {NULL, &sp_optimizer_classes}, {&sp_group_table, NULL},    {NULL, &sp_lr_classes},
    {&sp_weights_table, NULL},     {&sp_predict_table, NULL},
};

enum { N_SECTIONS = sizeof sections / sizeof sections[0], KEY_COLUMNS = 28, TYPE_BYTES = 256 };

static const char *section_name(const struct section *s) {
  return s->table ? s->table->name : s->classes->name;
}

static const char *section_help(const struct section *s) {
  return s->table ? s->table->help : s->classes->help;
}

void sp_help_sections(struct sp_buf *out) {
  for (size_t i = 1; i < N_SECTIONS; i++) {
    sp_buf_printf(out, "  %-20s %s\n", section_name(&sections[i]), section_help(&sections[i]));
  }
}

/* Fills `text` to the columns, each line after `indent` spaces; the first has them already. */
static void fill(const char *text, int indent, int columns, struct sp_buf *out) {
  int at = indent;
  bool is_first = true;
  while (*text) {
    int n = (int)strcspn(text, " ");
    if (!is_first && at + 1 + n > columns) {
      sp_buf_printf(out, "\n%*s", indent, "");
      at = indent;
      is_first = true;
    }
    sp_buf_puts(out, is_first ? "" : " ");
    sp_buf_append(out, text, (size_t)n);
    at += n + !is_first;
    is_first = false;
    text += n;
    text += strspn(text, " ");
  }
  sp_buf_putc(out, '\n');
}

static const char *default_text(const struct sp_opt *o) {
  if (o->flags & SP_OPT_REQUIRED) {
    return "required";
  }
  return o->def && *o->def ? o->def : sp_opt_is_list(o) ? "[]" : "\"\"";
}

static void print_opt(const char *prefix, const struct sp_opt *o, int columns, struct sp_buf *out) {
  if (o->flags & SP_OPT_REFUSED) {
    return;
  }
  char type[TYPE_BYTES];
  char line[TYPE_BYTES + 128];
  char key[128];
  sp_opt_type_text(o, type, sizeof type);
  snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", o->key);
  snprintf(line, sizeof line, "%s; %s%s", type, o->flags & SP_OPT_REQUIRED ? "" : "default ",
           default_text(o));
  sp_buf_printf(out, "  --%-*s ", KEY_COLUMNS, key);
  if (strlen(key) > KEY_COLUMNS) {
    sp_buf_printf(out, "\n%*s", KEY_COLUMNS + 5, "");
  }
  fill(line, KEY_COLUMNS + 5, columns, out);
  sp_buf_printf(out, "%*s", KEY_COLUMNS + 5, "");
  fill(o->help, KEY_COLUMNS + 5, columns, out);
}

static void print_opts(const char *prefix, const struct sp_opt *opts, size_t n, int columns,
                       struct sp_buf *out) {
  for (size_t i = 0; i < n; i++) {
    print_opt(prefix, &opts[i], columns, out);
  }
}

void sp_help_table(const struct sp_opt_table *table, int columns, struct sp_buf *out) {
  columns = columns < 40 ? 40 : columns;
  sp_buf_printf(out, "%s%s%s\n", table->name, *table->name ? ": " : "", table->help);
  print_opts(table->name, table->opts, table->n_opts, columns, out);
}

static void print_classes(const struct sp_opt_class_table *t, int columns, struct sp_buf *out) {
  sp_buf_printf(out, "%s: %s\n", t->name, t->help);
  for (size_t i = 0; i < t->n_classes; i++) {
    sp_buf_printf(out, "\n class: %s   %s\n", t->classes[i].name, t->classes[i].help);
    print_opts(t->name, t->classes[i].opts, t->classes[i].n_opts, columns, out);
  }
  if (t->n_common) {
    sp_buf_puts(out, "\n any class\n");
    print_opts(t->name, t->common, t->n_common, columns, out);
  }
}

sp_status sp_help_section(const char *name, int columns, struct sp_buf *out, struct sp_err *err) {
  const char *names[N_SECTIONS];
  columns = columns < 40 ? 40 : columns;
  for (size_t i = 0; i < N_SECTIONS; i++) {
    names[i] = section_name(&sections[i]);
    if (strcmp(names[i], name) != 0) {
      continue;
    }
    if (sections[i].table) {
      sp_help_table(sections[i].table, columns, out);
    } else {
      print_classes(sections[i].classes, columns, out);
    }
    return SP_OK;
  }
  const char *near = sp_suggest(name, names, N_SECTIONS);
  return sp_fail(err, SP_ENOENT, "\"%.60s\": a job file has no such section%s%s%s", name,
                 near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* A cell of a Markdown table: | would end it. */
static void cell(const char *text, struct sp_buf *out) {
  for (; *text; text++) {
    sp_buf_puts(out, *text == '|' ? "\\" : "");
    sp_buf_putc(out, *text);
  }
}

static void md_rows(const struct sp_opt *opts, size_t n, struct sp_buf *out) {
  bool has_rows = false;
  for (size_t i = 0; i < n; i++) {
    has_rows |= !(opts[i].flags & SP_OPT_REFUSED);
  }
  if (!has_rows) {
    sp_buf_puts(out, "No options of its own.\n");
    return;
  }
  sp_buf_puts(out, "| key | value | default | |\n|---|---|---|---|\n");
  for (size_t i = 0; i < n; i++) {
    const struct sp_opt *o = &opts[i];
    if (o->flags & SP_OPT_REFUSED) {
      continue;
    }
    char type[TYPE_BYTES];
    sp_opt_type_text(o, type, sizeof type);
    sp_buf_printf(out, "| `%s` | ", o->key);
    cell(type, out);
    bool is_required = o->flags & SP_OPT_REQUIRED;
    sp_buf_printf(out, is_required ? " | %s | " : " | `%s` | ", default_text(o));
    cell(o->help, out);
    sp_buf_puts(out, " |\n");
  }
}

static void md_refused(const struct sp_opt *opts, size_t n, struct sp_buf *out) {
  bool is_first = true;
  for (size_t i = 0; i < n; i++) {
    if (!(opts[i].flags & SP_OPT_REFUSED)) {
      continue;
    }
    if (is_first) {
      sp_buf_puts(out,
                  "\nKnown and refused, but for the values that change nothing:\n\n"
                  "| key | passes | why |\n|---|---|---|\n");
      is_first = false;
    }
    sp_buf_printf(out, "| `%s` | ", opts[i].key);
    char words[TYPE_BYTES];
    sp_opt_choices_text(opts[i].choices ? opts[i].choices : "nothing", words, sizeof words);
    sp_buf_puts(out, words);
    sp_buf_puts(out, " | ");
    cell(opts[i].help, out);
    sp_buf_puts(out, " |\n");
  }
}

static void md_classes(const struct sp_opt_class_table *t, struct sp_buf *out) {
  for (size_t i = 0; i < t->n_classes; i++) {
    const struct sp_opt_class *c = &t->classes[i];
    sp_buf_printf(out, "\n### `class: %s`\n\n%s", c->name, c->help);
    if (c->lightning) {
      sp_buf_printf(out, " Also `class_path: %s`.", c->lightning);
    }
    sp_buf_puts(out, "\n\n");
    md_rows(c->opts, c->n_opts, out);
    md_refused(c->opts, c->n_opts, out);
  }
  if (t->n_common) {
    sp_buf_puts(out, "\n### Any class\n\n");
    md_rows(t->common, t->n_common, out);
  }
}

/* What the tables cannot say. */
static const char intro[] =
    "# The job file\n"
    "\n"
    "A job file is YAML with the names of LightningCLI. This page is written by the program from "
    "the\n"
    "tables that read the file (`STOKER_UPDATE=1 build/release/tests/unit_job_test_help` renews "
    "it).\n"
    "\n"
    "    stoker check JOB                                  # errors as file:line:col\n"
    "    stoker fit JOB --trainer.max_epochs 3             # any key can be given again\n"
    "    stoker fit JOB --config other.yaml --optimizer.lr=1e-4\n"
    "\n"
    "- **Order.** The job file, then `--config FILE` and `--key value` (or `--key=value`) from "
    "left to\n"
    "  right; the later one wins, key by key. Another `class` discards the options of the old one. "
    "Items\n"
    "  of lists have numbers: `--trainer.callbacks.0.patience 5`. A value that begins with `[` or "
    "`{` is\n"
    "  YAML. A switch may stand alone: `--trainer.fast_dev_run`.\n"
    "- **Paths** count from the working directory, not from the place of the file.\n"
    "- **null** (or none) gives an option its default, as None does in Lightning.\n"
    "- **Counts and fractions.** Where both are possible, `10` is a count and `1.0` a fraction.\n"
    "- **Classes** can be written `{class: adam, lr: 0.1}`, `{adam: {lr: 0.1}}`, `adam`, or as\n"
    "  LightningCLI does: `{class_path: torch.optim.Adam, init_args: {lr: 0.1}}`.\n"
    "- **Limits.** 1 MiB, 32 levels, 65536 values; no anchors, aliases and tags; no key twice.\n"
    "- An unknown key, and an option that is not built yet, is an error: nothing is ignored.\n"
    "\n"
    "## `model`\n"
    "\n"
    "Exactly one of `class`, a built-in module (mlp, autoencoder, cnn, gpt, sequential), and "
    "`module`, "
    "the\npath of a shared object. All other keys are the module's own hyper-parameters; `stoker "
    "plan JOB`\n"
    "lists them. A list of values is the same as one text with commas. `class: sequential` needs "
    "no C:\n"
    "\n"
    "    model:\n"
    "      class: sequential\n"
    "      layers: [flatten, {linear: {in: 784, out: 500}}, relu, {linear: {out: 10}}]\n"
    "      loss: cross_entropy\n"
    "\n"
    "`layers` are listed below. `loss` is `cross_entropy` (default; integer labels), `mse`, `l1` "
    "or\n"
    "`bce_with_logits`. `target` is what the last layer is compared with: `y` (default), the "
    "data's\n"
    "labels, or `x`, the sample itself (an autoencoder). `metrics` is a list of `accuracy`, or "
    "empty;\n"
    "unless given, cross_entropy logs the accuracy. Names are train_loss, val_loss, val_acc, ...\n";

static const char data_notes[] =
    "\n"
    "`options` is a map that a module's own reader gets (`kind: module`).\n"
    "\n"
    "A directory of IDX files holds `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` for "
    "training\n"
    "and `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte` for validation and test, each plain "
    "or\n"
    "`.gz`. uint8 images become x/255. A text sample is `seq_len` tokens; its target is the same "
    "text one\n"
    "token on. Files are mapped, never loaded whole.\n";

static const char weights_notes[] =
    "\n"
    "`map` is a map from names in the file to names of parameters. One `*` on both sides stands "
    "for "
    "the\n"
    "same text: `{\"transformer.h.*.w\": \"blocks.*.weight\"}`. A rule without `*` is for names "
    "that "
    "begin with\n"
    "it: `{\"module.\": \"\"}` takes a prefix off. The rule with the most letters counts. The "
    "model is "
    "the job's\n"
    "own, so its hyper-parameters may differ from those the weights were trained with, as long as "
    "the shapes\n"
    "of what is loaded agree; to leave a tensor out, map it to a name that no parameter has, with "
    "`strict:\n"
    "false`. `optimizer.freeze` keeps parameters as loaded.\n";

void sp_help_markdown(struct sp_buf *out) {
  sp_buf_puts(out, intro);
  for (size_t i = 0; i < N_SECTIONS; i++) {
    const struct section *s = &sections[i];
    const char *name = section_name(s);
    const char *title = *name ? name : "The top";
    const char *tick = *name ? "`" : "";
    sp_buf_printf(out, "\n## %s%s%s\n\n%s\n", tick, title, tick, section_help(s));
    if (s->table) {
      sp_buf_putc(out, '\n');
      md_rows(s->table->opts, s->table->n_opts, out);
      md_refused(s->table->opts, s->table->n_opts, out);
    } else {
      md_classes(s->classes, out);
    }
    sp_buf_puts(out, s->table == &sp_data_table ? data_notes : "");
    sp_buf_puts(out, s->table == &sp_weights_table ? weights_notes : "");
  }
}
