/* The list of layers of `model.class: sequential`, checked against sp_layer_classes and written as
 * one line of text, the form in which the module takes it. Private to proto/job. */
#ifndef SP_JOB_LAYERS_H
#define SP_JOB_LAYERS_H

#include "proto/job/job.h"

/* Every layer with all its options: "flatten(), linear(in=auto, out=10, bias=true)"; lists are
 * split by blanks. *out is in the job's arena. Errors say where in the file. */
SP_NODISCARD sp_status sp_layers_text(struct sp_job *job, const struct sp_node *list,
                                      const char **out, struct sp_err *err);

#endif
