/* Layers, as the module owns them. */
#ifndef STK_NN_LAYER_H
#define STK_NN_LAYER_H

#include <stoker/nn.h>

/* Frees the linked list of a module's layers; accepts NULL. */
void stk_layers_free(struct stk_layer *first);

#endif
