/* The rows of control messages. They stand in one struct with their id, so rows count from its
 * start. */
#include "proto/wire/control.h"

#include "proto/wire/reader.h"

#include "control.pb-c.h"

#define ID \
  { .name = "id", .type = SP_FIELD_COUNT, .at = offsetof(struct sp_control, id), .most = INT64_MAX }
#define AT(part, member) .name = #member, .at = offsetof(struct sp_control, u.part.member)
#define COUNT(part, member) \
  { AT(part, member), .type = SP_FIELD_COUNT, .most = INT64_MAX }

static const struct sp_field status_request_rows[] = {ID};

static const struct sp_field scale_rows[] = {
    ID,
    {AT(scale, ranks), .type = SP_FIELD_COUNT, .least = 1, .most = SP_SUPERVISE_MAX_RANKS},
};

static const struct sp_field stop_rows[] = {
    ID,
    {AT(stop, now), .type = SP_FIELD_BOOL},
};

static const struct sp_field done_rows[] = {
    ID,
    {AT(done, text), .type = SP_FIELD_STRING, .most = SP_EVENT_MAX_STRING},
};

static const struct sp_field refused_rows[] = {
    ID,
    {AT(refused, status), .type = SP_FIELD_CHOICE, .least = SP_EINVAL, .most = SP_EINTERNAL},
    {AT(refused, text), .type = SP_FIELD_STRING, .lines = true, .most = SP_EVENT_MAX_STRING},
};

static const struct sp_field status_rows[] = {
    ID,
    {AT(status, state), .type = SP_FIELD_STRING, .most = SP_EVENT_MAX_NAME},
    COUNT(status, pid),
    COUNT(status, step),
    COUNT(status, epoch),
    {AT(status, total_steps), .type = SP_FIELD_COUNT, .least = -1, .most = INT64_MAX},
    COUNT(status, generation),
    COUNT(status, ranks),
    COUNT(status, lanes),
    COUNT(status, deaths),
    COUNT(status, recoveries),
};

/* The rows of a message; NULL for a tag that is none. */
static const struct sp_fields *fields_of(unsigned tag) {
  static const struct sp_fields table[] = {
      SP_FIELDS(sp_control, status_request, status_request_rows),
      SP_FIELDS(sp_control, scale_request, scale_rows),
      SP_FIELDS(sp_control, stop_request, stop_rows),
      SP_FIELDS(sp_control, done, done_rows),
      SP_FIELDS(sp_control, refused, refused_rows),
      SP_FIELDS(sp_control, status, status_rows),
  };
  unsigned i = tag - SP_CONTROL_STATUS_REQUEST;
  return tag >= SP_CONTROL_STATUS_REQUEST && i < sizeof table / sizeof *table ? &table[i] : NULL;
}

bool sp_control_is_request(const struct sp_control *m) {
  return m->kind >= SP_CONTROL_STATUS_REQUEST && m->kind <= SP_CONTROL_STOP;
}

sp_status sp_control_pack(const struct sp_control *m, uint8_t **out_frame, size_t *out_n,
                          struct sp_err *err) {
  const struct sp_fields *fields = fields_of((unsigned)m->kind);
  if (!fields) {
    return sp_fail(err, SP_EINVAL, "control: there is no kind %d", (int)m->kind);
  }
  return sp_fields_pack(fields, (uint16_t)m->kind, m, out_frame, out_n, err);
}

static bool any_tag(unsigned tag) {
  (void)tag;
  return true;
}

sp_status sp_control_next(sp_event_reader *r, const struct sp_control **out_message,
                          struct sp_err *err) {
  struct sp_frame frame;
  bool have;
  *out_message = NULL;
  sp_status status = sp_reader_frame(r, any_tag, &frame, &have, err);
  if (status == SP_OK && !have && sp_event_reader_pending(r) > SP_CONTROL_MAX_FRAME) {
    status =
        sp_fail(err, SP_ECORRUPT, "control: a message of more than %d bytes", SP_CONTROL_MAX_FRAME);
  } else if (status == SP_OK && have) {
    const struct sp_fields *fields = fields_of(frame.tag);
    r->control.kind = (enum sp_control_kind)frame.tag;
    status = fields ? sp_fields_unpack(fields, &r->memory, &frame, &r->control, err)
                    : sp_fail(err, SP_ECORRUPT, "control: there is no kind %d", frame.tag);
    *out_message = status == SP_OK ? &r->control : NULL;
  }
  if (status != SP_OK) {
    r->splitter.failed = true;
  }
  return status;
}
