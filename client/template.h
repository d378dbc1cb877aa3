/* The files that `stoker init` writes. Pure. */
#ifndef SC_TEMPLATE_H
#define SC_TEMPLATE_H

#include <stdbool.h>

#include "proto/base/buf.h"

enum { SC_TEMPLATE_NAME = 64 };

/* A C identifier that is shorter than SC_TEMPLATE_NAME. */
bool sc_template_name_ok(const char *name);

typedef void sc_template_put(struct sp_buf *b, const char *name);

sc_template_put sc_template_put_module;     /* NAME.c */
sc_template_put sc_template_put_job;        /* NAME.yaml */
sc_template_put sc_template_put_build_line; /* without a newline */

#endif
