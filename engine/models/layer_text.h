/* Reading the text of `model.layers`: "conv2d(in=auto, out=8, kernel=3), relu(), ...".
 *
 * The job file's list arrives checked and in this one form, every option written out
 * (proto/job/layers.c); this reader takes it apart and trusts nothing. No allocation; pointers go
 * into the text.
 */
#ifndef STK_MODELS_LAYER_TEXT_H
#define STK_MODELS_LAYER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One layer: its name and the text between its brackets. */
struct stk_layer_text {
  char name[24];
  const char *options;
  size_t n_options; /* bytes */
};

/* The next layer of *text, which moves behind it. False at the end, or with *out_bad set where the
 * text is no layer. */
bool stk_layer_text_next(const char **text, struct stk_layer_text *out, bool *out_bad);

/* The value of an option, copied; false when it is not there or longer than the buffer. */
bool stk_layer_text_find(const struct stk_layer_text *l, const char *key, char *out, size_t cap);

#endif
