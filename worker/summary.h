/* The model summary that `fit` begins with. */
#ifndef SW_SUMMARY_H
#define SW_SUMMARY_H

#include "worker/emit.h"
#include "worker/setup.h"

/* Sends it, to the depth that the last model_summary callback asks for (Lightning's default is 1);
 * nothing with trainer.enable_model_summary false. */
void sw_summary_tell(const struct sw_setup *s, struct sw_emit *e);

#endif
