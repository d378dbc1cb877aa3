/* What the standard descriptors are connected to. */
#ifndef SC_TERMINAL_H
#define SC_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* fd is a terminal on which a line can be redrawn (TERM is set and not "dumb"). */
bool sc_terminal_can_redraw(int fd);

/* Columns of the terminal; $COLUMNS, else 80, when it does not say. */
size_t sc_terminal_width(int fd);

/* Colour is wanted on fd: a terminal, and NO_COLOR is unset or empty. */
bool sc_terminal_colour(int fd);

/* Both are the same file. */
bool sc_terminal_same(int a, int b);

#endif
