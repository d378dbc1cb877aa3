/* `stoker init NAME`: writes a first module and its job file. */
#include "client/verb.h"

#include "client/session.h"
#include "client/template.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/wire/event.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Creates a file that must not exist. */
static sp_status write_new(const char *path, const struct sp_buf *text, struct sp_err *err) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) {
    return errno == EEXIST ? sp_fail(err, SP_EEXIST,
                                     "%s exists already; choose another name or remove it", path)
                           : sp_fail_errno(err, "cannot create %s", path);
  }
  sp_status status = sp_write_all(fd, sp_buf_text(text), text->length, path, err);
  if (close(fd) != 0 && status == SP_OK) {
    status = sp_fail_errno(err, "cannot write %s", path);
  }
  if (status != SP_OK) {
    (void)unlink(path);
  }
  return status;
}

static sp_status write_file(const char *name, const char *suffix, sc_template_put *put,
                            struct sp_err *err) {
  char path[SC_TEMPLATE_NAME + 8];
  snprintf(path, sizeof path, "%s%s", name, suffix);
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  put(&b, name);
  sp_status status = sp_buf_check(&b, path, err);
  if (status == SP_OK) {
    status = write_new(path, &b, err);
  }
  sp_buf_free(&b);
  return status;
}

int sc_verb_init(const struct sc_verb *verb, char *const *args) {
  (void)verb;
  const char *name = args[0];
  struct sp_err err;
  if (!name || args[1]) {
    return sc_usage_error("init takes one name: stoker init NAME");
  }
  if (!sc_template_name_ok(name)) {
    return sc_usage_error(
        "\"%s\" is no name for a module: a letter, then letters, digits and '_', "
        "at most %d",
        name, SC_TEMPLATE_NAME - 1);
  }
  sp_status status = write_file(name, ".c", sc_template_put_module, &err);
  if (status == SP_OK) {
    status = write_file(name, ".yaml", sc_template_put_job, &err);
  }
  if (status != SP_OK) {
    sc_print_error(err.text);
    return (int)sp_exit_of_status(status, false);
  }
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sp_buf_printf(&b, "wrote %s.c and %s.yaml\nnext:\n  ", name, name);
  sc_template_put_build_line(&b, name);
  sp_buf_printf(&b, "\n  stoker fit %s.yaml\n", name);
  return sc_print(&b);
}
