/* TensorBoard event files, written natively (TensorFlow's TFRecord and Event formats).
 *
 * A file is a sequence of records: u64 length, masked CRC-32C of those 8 bytes, the message, masked
 * CRC-32C of the message, all little-endian. The first message is Event{file_version
 * "brain.Event:2"}; each logged step is one Event with one scalar Value per metric. The file is
 * events.out.tfevents.<seconds>.<host>.<pid>.0 in the run directory, as TensorBoard expects. Only
 * the few protobuf fields that this needs are encoded, by hand: the engine knows no protobuf.
 *
 * Hyper-parameters become the two summaries of TensorBoard's hparams plugin. Position is bytes.
 */
#ifndef STK_TRAINER_LOGGERS_TFEVENTS_H
#define STK_TRAINER_LOGGERS_TFEVENTS_H

#include <stdint.h>

#include "engine/trainer/loggers/logger.h"

struct stk_tfevents_options {
  const char *directory; /* exists */
  double wall_s;         /* in the name of a new file and in its first record */
  const char *host;      /* characters other than letters, digits, '-', '_' become '_' */
  int64_t pid;
};

/* Starts a new file; SP_EEXIST if it is there. */
SP_NODISCARD sp_status stk_tfevents_create(const struct stk_tfevents_options *o,
                                           struct stk_logger **out_logger, struct sp_err *err);

/* Opens the newest event file of the directory to go on after `position`, or starts one if there is
 * none. The caller still calls stk_logger_rewind. */
SP_NODISCARD sp_status stk_tfevents_resume(const struct stk_tfevents_options *o,
                                           struct stk_logger **out_logger, struct sp_err *err);

#endif
