/* A hand encoder for the handful of protobuf fields that TensorBoard reads. Submessages are encoded
 * into buffers of their own and copied behind their length. */
#include "engine/trainer/loggers/tfencode.h"

#include "proto/base/crc32c.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_F64 = 1, WIRE_BYTES = 2, WIRE_F32 = 5 };

static const size_t submessage_limit = (size_t)1 << 24;

static void put_varint(struct sp_buf *b, uint64_t value) {
  while (value >= 0x80) {
    sp_buf_putc(b, (char)(unsigned char)(value | 0x80));
    value >>= 7;
  }
  sp_buf_putc(b, (char)value);
}

static void put_key(struct sp_buf *b, unsigned field, unsigned wire) {
  put_varint(b, (uint64_t)field << 3 | wire);
}

static void put_little(struct sp_buf *b, uint64_t value, size_t n) {
  for (size_t i = 0; i < n; i++) {
    sp_buf_putc(b, (char)(unsigned char)(value >> (8 * i)));
  }
}

static void put_double(struct sp_buf *b, unsigned field, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_key(b, field, WIRE_F64);
  put_little(b, bits, 8);
}

static void put_float(struct sp_buf *b, unsigned field, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_key(b, field, WIRE_F32);
  put_little(b, bits, 4);
}

static void put_int(struct sp_buf *b, unsigned field, int64_t value) {
  put_key(b, field, WIRE_VARINT);
  put_varint(b, (uint64_t)value);
}

static void put_bytes(struct sp_buf *b, unsigned field, const void *bytes, size_t n) {
  put_key(b, field, WIRE_BYTES);
  put_varint(b, n);
  sp_buf_append(b, bytes, n);
}

static void put_string(struct sp_buf *b, unsigned field, const char *s) {
  put_bytes(b, field, s, strlen(s));
}

/* Appends sub as a submessage and releases it; its failure becomes b's. */
static void put_message(struct sp_buf *b, unsigned field, struct sp_buf *sub) {
  if (sub->failure != SP_OK && b->failure == SP_OK) {
    b->failure = sub->failure;
  }
  put_bytes(b, field, sp_buf_text(sub), sub->length);
  sp_buf_free(sub);
}

uint32_t stk_tf_masked_crc(const void *bytes, size_t n) {
  uint32_t crc = sp_crc32c(0, bytes, n);
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

void stk_tf_record(struct sp_buf *b, const void *bytes, size_t n) {
  uint8_t length[8];
  for (size_t i = 0; i < sizeof length; i++) {
    length[i] = (uint8_t)((uint64_t)n >> (8 * i));
  }
  sp_buf_append(b, length, sizeof length);
  put_little(b, stk_tf_masked_crc(length, sizeof length), 4);
  sp_buf_append(b, bytes, n);
  put_little(b, stk_tf_masked_crc(bytes, n), 4);
}

void stk_tf_file_version(struct sp_buf *b, double wall_s) {
  put_double(b, 1, wall_s);
  put_string(b, 3, "brain.Event:2");
}

void stk_tf_scalars(struct sp_buf *b, const struct stk_log_values *v) {
  struct sp_buf summary;
  sp_buf_init(&summary, submessage_limit);
  for (size_t i = 0; i < v->n; i++) {
    struct sp_buf value;
    sp_buf_init(&value, submessage_limit);
    put_string(&value, 1, v->names[i]);
    put_float(&value, 2, (float)v->values[i]);
    put_message(&summary, 1, &value);
  }
  put_double(b, 1, v->wall_s);
  put_int(b, 2, v->step);
  put_message(b, 5, &summary);
}

/* Event.summary with one Value that carries hparams plugin data:
 * Value{tag, metadata{plugin_data{"hparams", HParamsPluginData{version 0, field: inner}}}}. */
static void put_plugin_event(struct sp_buf *b, double wall_s, const char *tag, unsigned field,
                             struct sp_buf *inner) {
  struct sp_buf data, plugin, metadata, value, summary;
  sp_buf_init(&data, submessage_limit);
  sp_buf_init(&plugin, submessage_limit);
  sp_buf_init(&metadata, submessage_limit);
  sp_buf_init(&value, submessage_limit);
  sp_buf_init(&summary, submessage_limit);
  put_message(&data, field, inner);
  put_string(&plugin, 1, "hparams");
  put_message(&plugin, 2, &data);
  put_message(&metadata, 1, &plugin);
  put_string(&value, 1, tag);
  put_message(&value, 9, &metadata);
  put_message(&summary, 1, &value);
  put_double(b, 1, wall_s);
  put_message(b, 5, &summary);
}

/* google.protobuf.Value{string_value}. */
static void put_text_value(struct sp_buf *b, unsigned field, const char *text) {
  struct sp_buf value;
  sp_buf_init(&value, submessage_limit);
  put_string(&value, 3, text);
  put_message(b, field, &value);
}

void stk_tf_hparams_experiment(struct sp_buf *b, const struct stk_hparam_text *hparams, size_t n,
                               double wall_s) {
  struct sp_buf experiment;
  sp_buf_init(&experiment, submessage_limit);
  for (size_t i = 0; i < n; i++) {
    struct sp_buf info;
    sp_buf_init(&info, submessage_limit);
    put_string(&info, 1, hparams[i].key);
    put_int(&info, 4, 1); /* DATA_TYPE_STRING */
    put_message(&experiment, 4, &info);
  }
  put_plugin_event(b, wall_s, "_hparams_/experiment", 2, &experiment);
}

void stk_tf_hparams_session(struct sp_buf *b, const struct stk_hparam_text *hparams, size_t n,
                            double wall_s) {
  struct sp_buf session;
  sp_buf_init(&session, submessage_limit);
  for (size_t i = 0; i < n; i++) {
    struct sp_buf entry;
    sp_buf_init(&entry, submessage_limit);
    put_string(&entry, 1, hparams[i].key);
    put_text_value(&entry, 2, hparams[i].value);
    put_message(&session, 1, &entry);
  }
  put_double(&session, 5, wall_s);
  put_plugin_event(b, wall_s, "_hparams_/session_start_info", 3, &session);
}
