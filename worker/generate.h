/* `stoker predict --generate N`: text sampled from the trained model, to standard output. */
#ifndef SW_GENERATE_H
#define SW_GENERATE_H

#include "worker/emit.h"
#include "worker/setup.h"

/* Prints the prompt and what follows it as it is sampled, then a line's end; the rate as a text.
 * Tokens are bytes where the model knows at most 256, else numbers split by blanks. The session
 * holds the weights already. */
SP_NODISCARD sp_status sw_generate(struct sw_emit *e, struct sw_setup *s, struct sp_err *err);

#endif
