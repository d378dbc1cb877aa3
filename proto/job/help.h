/* Help and the reference page, written from the option tables, so that neither can differ from what
 * the parser does. Everything appends to a buffer; nothing prints. */
#ifndef SP_JOB_HELP_H
#define SP_JOB_HELP_H

#include "proto/base/buf.h"
#include "proto/base/options.h"

/* One line per section of a job file, for the end of a verb's --help. */
void sp_help_sections(struct sp_buf *out);

/* All options of a section ("trainer", "optimizer", "trainer.callbacks", "" for the top) with type,
 * default and help, filled to `columns` (at least 40). SP_ENOENT with a suggestion when there is no
 * such section. */
SP_NODISCARD sp_status sp_help_section(const char *name, int columns, struct sp_buf *out,
                                       struct sp_err *err);

/* The options of a module ("model"), whose table the module gives. */
void sp_help_table(const struct sp_opt_table *table, int columns, struct sp_buf *out);

/* docs/job-file.md. */
void sp_help_markdown(struct sp_buf *out);

#endif
