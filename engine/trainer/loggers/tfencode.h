/* The bytes of TensorBoard's records and messages, appended to a buffer. Pure.
 *
 * Field numbers and wire types are those of TensorFlow's event.proto, summary.proto and the hparams
 * plugin's api.proto and plugin_data.proto.
 */
#ifndef STK_TRAINER_LOGGERS_TFENCODE_H
#define STK_TRAINER_LOGGERS_TFENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/trainer/loggers/logger.h"
#include "proto/base/buf.h"

/* The CRC as TFRecord stores it. */
uint32_t stk_tf_masked_crc(const void *bytes, size_t n);

/* A record around n bytes. */
void stk_tf_record(struct sp_buf *b, const void *bytes, size_t n);

/* Events without a record around them. */
void stk_tf_file_version(struct sp_buf *b, double wall_s);
void stk_tf_scalars(struct sp_buf *b, const struct stk_log_values *v);

/* Event with the hparams plugin's experiment or session start summary. */
void stk_tf_hparams_experiment(struct sp_buf *b, const struct stk_hparam_text *hparams, size_t n,
                               double wall_s);
void stk_tf_hparams_session(struct sp_buf *b, const struct stk_hparam_text *hparams, size_t n,
                            double wall_s);

#endif
