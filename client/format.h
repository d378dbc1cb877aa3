/* Numbers and text as people read them on a terminal. Pure; results are terminated and fit.
 */
#ifndef SC_FORMAT_H
#define SC_FORMAT_H

#include <stddef.h>
#include <stdint.h>

enum { SC_NUMBER = 40 };

/* "50,240" */
void sc_format_count(int64_t value, char out_text[SC_NUMBER]);

/* Three digits and a unit: "0.52", "7.31", "982", "18.2k", "1.76M"; "-" for what is not a rate. */
void sc_format_rate(double value, char out_text[SC_NUMBER]);

/* "0:42", "12:05", "1:02:03", "3d 01:02:03"; "-" when negative or not finite. */
void sc_format_clock(double seconds, char out_text[SC_NUMBER]);

/* Four significant digits: "2.312", "0.00123", "1.5e-07", "nan". */
void sc_format_metric(double value, char out_text[SC_NUMBER]);

/* A sentence about `who` ("rank 1 was killed by ...") as what is said of it ("killed by ..."), for
 * a line that names it already; any other text as it is. */
const char *sc_without_subject(const char *text, const char *who);

/* Columns of n bytes of clean UTF-8, one per character. */
size_t sc_columns(const char *text, size_t n);

/* The longest prefix, in bytes, of at most `columns` characters. */
size_t sc_prefix(const char *text, size_t n, size_t columns);

#endif
