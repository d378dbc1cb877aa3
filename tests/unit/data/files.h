/* Data files for the readers' tests, made byte by byte. */
#ifndef TESTS_DATA_FILES_H
#define TESTS_DATA_FILES_H

#include <stddef.h>
#include <stdint.h>

/* Writes an IDX file of u8: dims[0..n_dims-1], then n_bytes of data. Returns its path. */
const char *write_idx(const char *name, int n_dims, const uint32_t *dims, const void *data,
                      size_t n_bytes);

/* Writes a .npy file, version 1, with this dictionary text and data. Returns its path. */
const char *write_npy(const char *name, const char *dictionary, const void *data, size_t n_bytes);

/* Writes a file and returns its path. */
const char *write_raw(const char *name, const void *data, size_t n_bytes);

/* Makes a directory of that name and returns its path. */
const char *make_dir(const char *name);

#endif
