/* Status codes and error text: the one way a failure travels.
 *
 * A fallible function returns sp_status (0 is success) and takes `struct sp_err *err` last, which
 * may be NULL. The first function that detects the failure writes the text (what, where, why);
 * callers may put context in front with sp_wrap. Libraries never print. The text is bounded and
 * always terminated.
 */
#ifndef SP_BASE_STATUS_H
#define SP_BASE_STATUS_H

#include <stdarg.h>

#define SP_NODISCARD __attribute__((warn_unused_result))
#define SP_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* X(name, value, text). The numbers are stable: they cross process borders. */
#define SP_STATUS_LIST(X)                    \
  X(OK, 0, "ok")                             \
  X(EINVAL, 1, "invalid input")              \
  X(ENOMEM, 2, "out of memory")              \
  X(EIO, 3, "input/output error")            \
  X(ENOENT, 4, "not found")                  \
  X(EEXIST, 5, "already exists")             \
  X(ENOSPC, 6, "no space left")              \
  X(EPERM, 7, "refused")                     \
  X(ERANGE, 8, "out of range")               \
  X(ECORRUPT, 9, "corrupt data")             \
  X(EMISMATCH, 10, "does not match")         \
  X(EUNSUPPORTED, 11, "not supported")       \
  X(ECANCELED, 12, "canceled")               \
  X(EMODULE, 13, "the user's module failed") \
  X(ENUMERIC, 14, "not finite")              \
  X(EINTERNAL, 15, "internal error")

typedef enum sp_status {
#define SP_STATUS_X(name, value, text) SP_##name = value,
  SP_STATUS_LIST(SP_STATUS_X)
#undef SP_STATUS_X
} sp_status;

enum { SP_ERR_TEXT = 1024 };

struct sp_err {
  sp_status status;
  char text[SP_ERR_TEXT];
};

/* Writes status and text into err (if not NULL) and returns status, for
 * `return sp_fail(err, SP_EINVAL, ...)`. */
sp_status sp_fail(struct sp_err *err, sp_status status, const char *fmt, ...) SP_PRINTF(3, 4);

/* As sp_fail with the text of errno appended and the status derived from it (ENOSPC gives
 * SP_ENOSPC, ...). errno is kept. */
sp_status sp_fail_errno(struct sp_err *err, const char *fmt, ...) SP_PRINTF(2, 3);

/* Puts context in front of the text that is there: "<context>: <text>". Returns err's status
 * (SP_EINTERNAL if NULL). */
sp_status sp_wrap(struct sp_err *err, const char *fmt, ...) SP_PRINTF(2, 3);

/* The fixed text of a status; never NULL. */
const char *sp_status_text(sp_status status);

#endif
