/* Options of the command line become a tree that lies over the files'. Private to proto/job. */
#ifndef SP_JOB_ARGS_H
#define SP_JOB_ARGS_H

#include "proto/job/node.h"

/* Overlays `--config FILE`, `--key value` and `--key=value` on `tree` in their order. Files are
 * read here. Nodes go into `arena`. */
SP_NODISCARD sp_status sp_args_overlay(struct sp_node *tree, const char *const *args, size_t n_args,
                                       struct sp_arena *arena, struct sp_err *err);

/* Reads a file and overlays it. */
SP_NODISCARD sp_status sp_args_overlay_file(struct sp_node *tree, const char *path,
                                            struct sp_arena *arena, struct sp_err *err);

/* Overlays a text that `source` names. */
SP_NODISCARD sp_status sp_args_overlay_text(struct sp_node *tree, const char *source,
                                            const char *text, size_t n, struct sp_arena *arena,
                                            struct sp_err *err);

#endif
