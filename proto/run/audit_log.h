/* RUN/audit.log: a digest of the state after every optimizer step, chained (docs/audit.md).
 *
 * Lines of SP_AUDIT_RECORD bytes: a head, which says with which step the file begins, then one
 * record per step, in order and without gaps. Steps count from 0, as `stoker order` counts them:
 * record s is of the state after s + 1 steps. A record's link covers everything before it. Lines
 * carry a CRC32C; a last line that is torn or does not check was being written when everything
 * stopped.
 *
 * The writer is the run's supervisor. Records are bytes of the job alone, so a step that is done
 * again after a death is the record that stands: it is dropped. One thread.
 */
#ifndef SP_RUN_AUDIT_LOG_H
#define SP_RUN_AUDIT_LOG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/status.h"

#define SP_AUDIT_FILE "audit.log"
#define SP_AUDIT_OLD_FILE "audit.log.old"

enum { SP_AUDIT_RECORD = 192, SP_AUDIT_DIGEST = 32, SP_AUDIT_PARTS = 4, SP_AUDIT_TAG = 4 };

struct sp_audit_record {
  int64_t step;
  uint8_t digest[SP_AUDIT_DIGEST];
  uint8_t tag[SP_AUDIT_PARTS][SP_AUDIT_TAG]; /* of the digest's parts, to place a difference */
  uint8_t link[SP_AUDIT_DIGEST];
};

/* SHA-256 of the previous link (zeros before the first record), the step (64 bits, little-endian)
 * and the digest. */
void sp_audit_link(const uint8_t previous[SP_AUDIT_DIGEST], int64_t step,
                   const uint8_t digest[SP_AUDIT_DIGEST], uint8_t out[SP_AUDIT_DIGEST]);

void sp_audit_format(const struct sp_audit_record *r, char out[SP_AUDIT_RECORD]);

/* SP_ECORRUPT: no record, or one that was changed. */
SP_NODISCARD sp_status sp_audit_parse(const char text[SP_AUDIT_RECORD], struct sp_audit_record *out,
                                      struct sp_err *err);

/* ---- writing */

struct sp_audit_writer {
  char dir[PATH_MAX];
  int fd;        /* -1: there is no file yet */
  int64_t next;  /* step of the next record */
  int64_t bytes; /* of the file, without what is pending */
  uint8_t link[SP_AUDIT_DIGEST];
  struct sp_buf pending;
  bool failed; /* nothing is written any more */
};

/* Opens dir's file to go on behind step `steps` - 1: records from step `steps` on, and what is torn
 * or damaged at the end, are cut off. A file that is no audit log is put aside. */
SP_NODISCARD sp_status sp_audit_open(const char *dir, int64_t steps, struct sp_audit_writer *out,
                                     struct sp_err *err);

/* Appends r, whose link is made here; a step that stands already is dropped. One that leaves a gap
 * (a power failure took records) begins a new file, the old one is put aside. */
SP_NODISCARD sp_status sp_audit_put(struct sp_audit_writer *w, const struct sp_audit_record *r,
                                    struct sp_err *err);

/* What was put is in the file from here on; after a failure the writer writes nothing more. */
SP_NODISCARD sp_status sp_audit_flush(struct sp_audit_writer *w, struct sp_err *err);

/* And on the disk. */
SP_NODISCARD sp_status sp_audit_sync(struct sp_audit_writer *w, struct sp_err *err);

void sp_audit_close(struct sp_audit_writer *w); /* accepts one that was never opened, zeroed */

/* ---- reading */

struct sp_audit_reader {
  char path[PATH_MAX];
  int fd;
  int64_t first, n; /* step of the first record; whole records */
};

/* SP_ENOENT: there is no file. SP_ECORRUPT: it is no audit log. */
SP_NODISCARD sp_status sp_audit_read_open(const char *dir, struct sp_audit_reader *out,
                                          struct sp_err *err);
void sp_audit_read_close(struct sp_audit_reader *r);

/* The record of a step in [first, first + n). SP_ECORRUPT names the step. */
SP_NODISCARD sp_status sp_audit_get(const struct sp_audit_reader *r, int64_t step,
                                    struct sp_audit_record *out, struct sp_err *err);

/* Every record of steps [lo, hi), and that each link follows from the one before. */
SP_NODISCARD sp_status sp_audit_check(const struct sp_audit_reader *r, int64_t lo, int64_t hi,
                                      struct sp_err *err);

#endif
