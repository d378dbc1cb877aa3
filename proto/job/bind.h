/* Binding: a map of the tree against an option table or a table of classes. Private to proto/job;
 * the public entry is sp_job_bind (job.h). */
#ifndef SP_JOB_BIND_H
#define SP_JOB_BIND_H

#include "proto/job/job.h"

/* The value of one option from its node. `section` "" is the top of the file. */
SP_NODISCARD sp_status sp_bind_value(const char *section, const struct sp_opt *opt,
                                     const struct sp_node *node, void *self, struct sp_arena *arena,
                                     struct sp_err *err);

/* The values of a map without defaults before and without asking for required ones after. */
SP_NODISCARD sp_status sp_bind_given(const char *section, const struct sp_node *map,
                                     const char *const *skip, const struct sp_opt *opts,
                                     size_t n_opts, void *self, struct sp_arena *arena,
                                     struct sp_err *err);

/* A tagged struct from `adam`, {class: adam, ...} or {adam: {...}}. `self` is zeroed memory of
 * table->self_bytes; its class, common and own options are set. `skip`
 * as in sp_job_bind; NULL skips `class`. */
SP_NODISCARD sp_status sp_bind_class(const struct sp_opt_class_table *table,
                                     const struct sp_node *node, const char *const *skip,
                                     void *self, struct sp_arena *arena, struct sp_err *err);

/* A list of tagged structs from one of them or a sequence; *out_items is in the arena. */
SP_NODISCARD sp_status sp_bind_classes(const struct sp_opt_class_table *table,
                                       const struct sp_node *node, void **out_items, size_t *out_n,
                                       struct sp_arena *arena, struct sp_err *err);

/* "trainer.max_epochs", or "seed_everything" in section "". */
const char *sp_bind_name(const char *section, const char *key, char *buf, size_t buf_bytes);

#endif
