/* The header of a .npy file (numpy.lib.format, versions 1 to 3), read strictly.
 *
 * The header is a Python dictionary with exactly the keys descr, fortran_order and shape. Read are
 * C order and the types f4, f8, u1, u2, i4, i8, little-endian. Everything is bounded by the number
 * of bytes given; a header of more than 64 KiB is refused.
 */
#ifndef STK_DATA_NPY_HEADER_H
#define STK_DATA_NPY_HEADER_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { STK_NPY_MAX_RANK = 5, STK_NPY_MAX_HEADER = 1 << 16 };

enum stk_npy_type { STK_NPY_F4, STK_NPY_F8, STK_NPY_U1, STK_NPY_U2, STK_NPY_I4, STK_NPY_I8 };

struct stk_npy_header {
  enum stk_npy_type type;
  size_t element_bytes;
  int32_t rank;
  int64_t dims[STK_NPY_MAX_RANK];
  uint64_t data_offset;
  uint64_t n_elements;
};

/* Parses the start of a file of file_bytes bytes, of which bytes holds n. The file must end exactly
 * behind its elements. */
SP_NODISCARD sp_status stk_npy_parse(const uint8_t *bytes, size_t n, uint64_t file_bytes,
                                     struct stk_npy_header *out, struct sp_err *err);

#endif
