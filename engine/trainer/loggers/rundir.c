/* Run directories; the layout is in the header. */
#include "engine/trainer/loggers/rundir.h"

#include "proto/base/buf.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char version_prefix[] = "version_";

/* One more than the greatest N of the entries version_N. */
static sp_status next_version(const char *directory, int64_t *out_version, struct sp_err *err) {
  DIR *d = opendir(directory);
  if (!d) {
    return sp_fail_errno(err, "log directory %s", directory);
  }
  int64_t next = 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    const char *digits = e->d_name + sizeof version_prefix - 1;
    int64_t n = 0;
    if (strncmp(e->d_name, version_prefix, sizeof version_prefix - 1) == 0 &&
        strspn(digits, "0123456789") == strlen(digits) && sp_parse_i64(digits, &n) == SP_OK &&
        n >= next && n < INT64_MAX) {
      next = n + 1;
    }
  }
  closedir(d);
  *out_version = next;
  return SP_OK;
}

/* mkdir of the next free version; another process may take one between look and make. */
static sp_status make_version(const char *parent, char **out_path, struct sp_err *err) {
  for (int tries = 0; tries < 1000; tries++) {
    int64_t version = 0;
    sp_status status = next_version(parent, &version, err);
    if (status != SP_OK) {
      return status;
    }
    char name[40];
    snprintf(name, sizeof name, "%s%" PRId64, version_prefix, version);
    char *path = sp_path_join(parent, name);
    if (!path) {
      return sp_fail(err, SP_ENOMEM, "log directory: no memory");
    }
    status = sp_mkdir(path, 0755, err);
    if (status == SP_OK) {
      *out_path = path;
      return SP_OK;
    }
    sp_free(path);
    if (status != SP_EEXIST) {
      return status;
    }
  }
  return sp_fail(err, SP_EEXIST, "log directory %s: no version is free", parent);
}

static sp_status make_named(const char *parent, const char *version, char **out_path,
                            struct sp_err *err) {
  char *path = sp_path_join(parent, version);
  if (!path) {
    return sp_fail(err, SP_ENOMEM, "log directory: no memory");
  }
  sp_status status = sp_mkdir_p(path, 0755, err);
  if (status != SP_OK) {
    sp_free(path);
    return status;
  }
  *out_path = path;
  return SP_OK;
}

sp_status stk_rundir_create(const char *save_dir, const char *name, const char *version,
                            char **out_path, struct sp_err *err) {
  char *parent = *name ? sp_path_join(save_dir, name) : sp_strdup(save_dir);
  if (!parent) {
    return sp_fail(err, SP_ENOMEM, "log directory: no memory");
  }
  sp_status status = sp_mkdir_p(parent, 0755, err);
  if (status == SP_OK) {
    status =
        version ? make_named(parent, version, out_path, err) : make_version(parent, out_path, err);
  }
  sp_free(parent);
  return status;
}

sp_status stk_rundir_write(const char *directory, const char *file, const char *text, size_t n,
                           struct sp_err *err) {
  char *path = sp_path_join(directory, file);
  if (!path) {
    return sp_fail(err, SP_ENOMEM, "%s: no memory", file);
  }
  sp_status status = sp_file_replace(path, text, n, 0644, err);
  sp_free(path);
  return status;
}

/* Plain scalars that YAML reads back as the same text: words, numbers, paths. */
static bool is_plain(const char *s) {
  static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
  bool listed = strspn(s, safe) == strlen(s);
  return *s && listed && !(*s == '-' && (s[1] < '0' || s[1] > '9') && s[1] != '.');
}

static void put_scalar(struct sp_buf *b, const char *s) {
  if (is_plain(s)) {
    sp_buf_puts(b, s);
    return;
  }
  sp_buf_putc(b, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      sp_buf_putc(b, '\\');
      sp_buf_putc(b, *s);
    } else if (c < 0x20 || c == 0x7F) {
      sp_buf_printf(b, "\\x%02x", c);
    } else {
      sp_buf_putc(b, *s);
    }
  }
  sp_buf_putc(b, '"');
}

sp_status stk_rundir_write_hparams(const char *directory, const struct stk_hparam_text *hparams,
                                   size_t n, struct sp_err *err) {
  struct sp_buf b;
  sp_buf_init(&b, (size_t)1 << 24);
  for (size_t i = 0; i < n; i++) {
    put_scalar(&b, hparams[i].key);
    sp_buf_puts(&b, ": ");
    put_scalar(&b, hparams[i].value);
    sp_buf_putc(&b, '\n');
  }
  if (n == 0) {
    sp_buf_puts(&b, "{}\n");
  }
  sp_status status = sp_buf_check(&b, "hparams.yaml", err);
  if (status == SP_OK) {
    status = stk_rundir_write(directory, "hparams.yaml", sp_buf_text(&b), b.length, err);
  }
  sp_buf_free(&b);
  return status;
}
