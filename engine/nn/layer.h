/* Layers, as the module owns them. */
#ifndef STK_NN_LAYER_H
#define STK_NN_LAYER_H

#include <stoker/nn.h>

/* For the summary: a module's layers, newest first; the name that a layer was added under ("" while
 * it was not), its class in torch.nn, and when it was declared. */
const struct stk_layer *stk_layer_next(const struct stk_layer *l);
const char *stk_layer_name(const struct stk_layer *l);
const char *stk_layer_type(const struct stk_layer *l);
int32_t stk_layer_order(const struct stk_layer *l);

/* Frees the linked list of a module's layers; accepts NULL. */
void stk_layers_free(struct stk_layer *first);

#endif
