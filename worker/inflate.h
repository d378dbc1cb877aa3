/* Data files for the engine: opens a path, inflating gz into an unnamed temporary file first.
 *
 * zlib.h is used here and nowhere else. gz is recognised by its first two bytes, not its name. The
 * temporary file lives in a directory of the caller's choice, has no name (so nothing is left
 * behind, whatever kills the process), and is bounded in size. Members that follow each other in
 * one file are joined, as gzip does.
 */
#ifndef SW_INFLATE_H
#define SW_INFLATE_H

#include "engine/data/dataset.h"
#include "proto/base/status.h"

#include <stdint.h>

struct sw_inflate {
  const char *tmp_dir; /* NULL: /var/tmp */
  uint64_t max_bytes;  /* largest inflated file; 0: 64 GiB */
};

/* Opens path read-only; where it is gz, *out_fd is the inflated copy, at offset 0. The caller
 * closes it. SP_ECORRUPT for a truncated or damaged gz, SP_ERANGE where it inflates to more than
 * max_bytes, SP_ENOSPC where tmp_dir is full. */
SP_NODISCARD sp_status sw_inflate_open(const struct sw_inflate *in, const char *path, int *out_fd,
                                       struct sp_err *err);

/* sw_inflate_open as the engine's opener; ctx is a struct sw_inflate that outlives the opener. */
struct stk_data_opener sw_inflate_opener(struct sw_inflate *in);

#endif
