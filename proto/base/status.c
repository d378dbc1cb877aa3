/* Status texts and error formatting. The text is built in place, bounded, and always terminated;
 * sp_wrap moves what is there behind the new context, losing the tail of what does not fit.
 */
#include "proto/base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void set_text(struct sp_err *err, const char *fmt, va_list args) {
  if (vsnprintf(err->text, sizeof err->text, fmt, args) < 0) {
    err->text[0] = '\0';
  }
}

sp_status sp_fail(struct sp_err *err, sp_status status, const char *fmt, ...) {
  if (err) {
    va_list args;
    va_start(args, fmt);
    set_text(err, fmt, args);
    va_end(args);
    err->status = status;
  }
  return status;
}

static sp_status status_of_errno(int code) {
  switch (code) {
    case ENOMEM:
      return SP_ENOMEM;
    case ENOENT:
    case ENOTDIR:
      return SP_ENOENT;
    case EEXIST:
    case ENOTEMPTY:
      return SP_EEXIST;
    case ENOSPC:
    case EDQUOT:
      return SP_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
      return SP_EPERM;
    case EINVAL:
    case ENAMETOOLONG:
      return SP_EINVAL;
    case ERANGE:
    case EOVERFLOW:
    case EFBIG:
      return SP_ERANGE;
    case ECANCELED:
      return SP_ECANCELED;
    default:
      return SP_EIO;
  }
}

sp_status sp_fail_errno(struct sp_err *err, const char *fmt, ...) {
  int code = errno;
  sp_status status = status_of_errno(code);
  if (err) {
    va_list args;
    va_start(args, fmt);
    set_text(err, fmt, args);
    va_end(args);
    size_t used = strlen(err->text);
    char reason[128];
    snprintf(err->text + used, sizeof err->text - used, ": %s",
             strerror_r(code, reason, sizeof reason));
    err->status = status;
  }
  errno = code;
  return status;
}

sp_status sp_wrap(struct sp_err *err, const char *fmt, ...) {
  if (!err) {
    return SP_EINTERNAL;
  }
  char old[SP_ERR_TEXT];
  memcpy(old, err->text, sizeof old);
  old[sizeof old - 1] = '\0';
  va_list args;
  va_start(args, fmt);
  set_text(err, fmt, args);
  va_end(args);
  size_t used = strlen(err->text);
  size_t room = sizeof err->text - used;
  if (room > 2) {
    memcpy(err->text + used, ": ", 3);
    size_t n = strnlen(old, room - 3);
    memcpy(err->text + used + 2, old, n);
    err->text[used + 2 + n] = '\0';
  }
  return err->status;
}

const char *sp_status_text(sp_status status) {
  switch (status) {
#define SP_STATUS_X(name, value, text) \
  case SP_##name:                      \
    return text;
    SP_STATUS_LIST(SP_STATUS_X)
#undef SP_STATUS_X
  }
  return "unknown status";
}
