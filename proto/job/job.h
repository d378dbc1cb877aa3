/* A job: what the job file and the command line say, checked, as plain structs.
 *
 * Sources come in order: files, then options of the command line; later ones win key by key. A file
 * is YAML with the names of LightningCLI (docs/job-file.md is generated from the tables). Relative
 * paths count from the working directory, as with Lightning, not from the place of the file; the
 * job keeps them as written.
 *
 * What a loaded job guarantees: every option is in range, every combination possible, unknown keys
 * were refused; trainer.max_epochs, devices, lanes and ranks are numbers; trainer.barebones has
 * switched off what it excludes. The model's own options are a tree, bound later against the
 * module's table (sp_job_bind).
 *
 * Errors say where: "file:line:col: key: what is wrong; what would be right", with "--key" in the
 * place of file:line:col for the command line. Everything is owned by the job and freed with it.
 * Read only after loading; several threads may read.
 */
#ifndef SP_JOB_JOB_H
#define SP_JOB_JOB_H

#include "proto/base/options.h"
#include "proto/job/node.h"

struct sp_job {
  struct sp_arena arena;
  struct sp_node *tree;  /* all sources merged: what was given, not the defaults */
  struct sp_node *model; /* a map with `class` or `module`, and the model's own options */
  const char *layers;    /* model.layers of class sequential, checked, as text; else NULL */
  struct sp_root_opts root;
  struct sp_trainer_opts trainer;
  struct sp_callback_list callbacks;
  struct sp_logger_list loggers; /* TensorBoard unless the job says otherwise */
  struct sp_data_opts data;
  struct sp_optimizer_opts optimizer;
  struct sp_lr_chain lr;
  struct sp_weights_opts weights;
  struct sp_predict_opts predict;
};

/* Loads `file` (NULL: none) overlaid with `args`: --config FILE, --key value, --key=value, each any
 * number of times; keys are dotted (trainer.max_epochs, trainer.callbacks.0.patience,
 * model.hidden), values are texts, or YAML where they begin with [ or {. A bool may stand alone.
 * --generate is predict.generate. *out is freed with sp_job_free. */
SP_NODISCARD sp_status sp_job_load(const char *file, const char *const *args, size_t n_args,
                                   struct sp_job **out, struct sp_err *err);

/* As sp_job_load with the text of the file in memory; `source` names it in errors. */
SP_NODISCARD sp_status sp_job_parse(const char *source, const char *text, size_t n,
                                    const char *const *args, size_t n_args, struct sp_job **out,
                                    struct sp_err *err);

void sp_job_free(struct sp_job *job); /* accepts NULL */

/* Where a key (dotted) was given; source NULL when it was not. For errors found later, by the
 * engine: sp_fail_at(err, status, &where, ...). */
struct sp_where sp_job_where(const struct sp_job *job, const char *key);

/* Appends the resolved job as a job file that loads to an equal job: every option with its value.
 */
void sp_job_print(const struct sp_job *job, struct sp_buf *out);

/* Appends sentences, one a line, about what is allowed but deserves a thought. */
void sp_job_warnings(const struct sp_job *job, struct sp_buf *out);

/* Compiles a module; "-o NAME.so NAME.c" follows. */
#define SP_MODULE_COMPILE \
  "cc -std=c17 -O2 -ffp-contract=off -fPIC -shared $(pkg-config --cflags stoker)"

/* The class name or NULL, and the path of the module or NULL: exactly one is not NULL. */
const char *sp_job_model_class(const struct sp_job *job);
const char *sp_job_model_module(const struct sp_job *job);

/* Fills `self` with the defaults of a table and the values of a map, whose keys `skip` (ends with
 * NULL; may be NULL) are somebody else's. Unknown keys, bad values and missing required ones fail;
 * `section`
 * ("model") is named in the errors. Texts go into `arena`. */
SP_NODISCARD sp_status sp_job_bind(const char *section, const struct sp_node *map,
                                   const char *const *skip, const struct sp_opt *opts,
                                   size_t n_opts, void *self, struct sp_arena *arena,
                                   struct sp_err *err);

/* A module's options of the job: the model map against the module's table. */
SP_NODISCARD sp_status sp_job_bind_model(const struct sp_job *job, const struct sp_opt *opts,
                                         size_t n_opts, void *self, struct sp_arena *arena,
                                         struct sp_err *err);

#endif
