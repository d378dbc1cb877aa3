/* Everything a module needs. */
#ifndef STOKER_STOKER_H
#define STOKER_STOKER_H

#include <stoker/custom.h>
#include <stoker/data.h>
#include <stoker/graph.h>
#include <stoker/module.h>
#include <stoker/nn.h>
#include <stoker/optim.h>
#include <stoker/types.h>

#endif
