/* The built-in modules, by name: what a job file's model.class can say without any C.
 *
 * They are written against the public headers alone, as a user's module is, so each of them is also
 * an example. Tables are constant and live as long as the program; any thread may ask.
 */
#ifndef STK_MODELS_MODELS_H
#define STK_MODELS_MODELS_H

#include <stoker/module.h>

/* The module of that name; NULL when there is none (or name is NULL). */
const stk_module_def *stk_model_find(const char *name);
/* The i-th module, in alphabetical order of names; NULL past the end. */
const stk_module_def *stk_model_at(size_t i);

#endif
