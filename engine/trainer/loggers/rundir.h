/* The directory of one run: save_dir/name/version_N, as Lightning's loggers lay it out, and the
 * small YAML files in it. */
#ifndef STK_TRAINER_LOGGERS_RUNDIR_H
#define STK_TRAINER_LOGGERS_RUNDIR_H

#include <stddef.h>
#include <stdint.h>

#include "engine/trainer/loggers/logger.h"

/* Makes save_dir/name/version_N, where N is one more than the greatest there is (two runs that
 * start at once get two), or save_dir/name/<version> when version is not NULL (which may exist).
 * name "" leaves that level out. *out_path is released with sp_free. */
SP_NODISCARD sp_status stk_rundir_create(const char *save_dir, const char *name,
                                         const char *version, char **out_path, struct sp_err *err);

/* Writes directory/file atomically. */
SP_NODISCARD sp_status stk_rundir_write(const char *directory, const char *file, const char *text,
                                        size_t n, struct sp_err *err);

/* Writes directory/hparams.yaml: one "key: value" line each, quoted where YAML needs it. */
SP_NODISCARD sp_status stk_rundir_write_hparams(const char *directory,
                                                const struct stk_hparam_text *hparams, size_t n,
                                                struct sp_err *err);

#endif
