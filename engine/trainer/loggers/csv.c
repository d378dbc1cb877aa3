/* The CSV logger. Rows are appended at the known end of the file; a new column rewrites the file
 * through a temporary one, so that a reader and a kill see the old table or the new. */
#include "engine/trainer/loggers/csv.h"

#include "engine/trainer/loggers/csvtable.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const size_t file_limit = (size_t)1 << 30;

struct csv {
  struct stk_logger head;
  int fd;     /* -1 until the first row makes the file */
  size_t end; /* bytes of whole lines */
  int64_t n_rows;
  char *path;
  struct stk_csv_columns columns;
};

static struct csv *csv_of(struct stk_logger *l) {
  return (struct csv *)l;
}

static sp_status csv_reopen(struct csv *c, struct sp_err *err) {
  int fd = open(c->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    return sp_fail_errno(err, "%s: open", c->path);
  }
  if (c->fd >= 0) {
    close(c->fd);
  }
  c->fd = fd;
  return SP_OK;
}

/* Whole lines of the file as text; out_data is released with sp_free, NULL when there is no file.
 * */
static sp_status csv_read(const struct csv *c, char **out_data, size_t *out_n, struct sp_err *err) {
  *out_data = NULL;
  *out_n = 0;
  if (access(c->path, F_OK) != 0) {
    return SP_OK;
  }
  sp_status status = sp_file_read(c->path, file_limit, out_data, out_n, err);
  if (status == SP_OK) {
    while (*out_n > 0 && (*out_data)[*out_n - 1] != '\n') {
      (*out_n)--;
    }
  }
  return status;
}

/* Bytes of the line at p with its newline; the text ends with one. */
static size_t line_bytes(const char *p, const char *end) {
  const char *newline = memchr(p, '\n', (size_t)(end - p));
  return newline ? (size_t)(newline - p) + 1 : (size_t)(end - p);
}

/* All lines of data for the wider columns `to`. */
static sp_status csv_widen(const struct csv *c, const struct stk_csv_columns *to, const char *data,
                           size_t n, struct sp_buf *out, struct sp_err *err) {
  const char *end = data + n;
  stk_csv_put_header(out, to);
  const char *p = n > 0 ? data + line_bytes(data, end) : end;
  while (p < end) {
    size_t length = line_bytes(p, end);
    sp_status status = stk_csv_put_moved_row(out, p, length - 1, &c->columns, to, err);
    if (status != SP_OK) {
      (void)sp_wrap(err, "%s", c->path);
      return status;
    }
    p += length;
  }
  return sp_buf_check(out, c->path, err);
}

static sp_status columns_copy(const struct stk_csv_columns *from, struct stk_csv_columns *to,
                              struct sp_err *err) {
  bool added;
  for (size_t i = 0; i < from->n; i++) {
    sp_status status = stk_csv_column_add(to, from->names[i], &added, err);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}

/* Columns with those of v added, into `to`; *out_wider says whether one was new. */
static sp_status columns_with(const struct csv *c, const struct stk_log_values *v,
                              struct stk_csv_columns *to, bool *out_wider, struct sp_err *err) {
  bool added = false;
  bool wider = c->fd < 0;
  sp_status status = columns_copy(&c->columns, to, err);
  if (status == SP_OK) {
    status = stk_csv_column_add(to, "step", &added, err);
    wider |= added;
  }
  for (size_t i = 0; status == SP_OK && i < v->n; i++) {
    status = stk_csv_column_add(to, v->names[i], &added, err);
    wider |= added;
  }
  *out_wider = wider;
  return status;
}

static sp_status csv_rewrite(struct csv *c, struct stk_csv_columns *to, struct sp_err *err) {
  char *data;
  size_t n;
  struct sp_buf out;
  sp_buf_init(&out, file_limit);
  sp_status status = csv_read(c, &data, &n, err);
  if (status == SP_OK) {
    status = csv_widen(c, to, data, n < c->end ? n : c->end, &out, err);
  }
  sp_free(data);
  if (status == SP_OK) {
    status = sp_file_replace(c->path, out.data, out.length, 0644, err);
  }
  if (status == SP_OK) {
    status = csv_reopen(c, err);
  }
  if (status == SP_OK) {
    struct stk_csv_columns old = c->columns;
    c->columns = *to;
    *to = old;
    c->end = out.length;
  }
  sp_buf_free(&out);
  return status;
}

static sp_status csv_make_room(struct csv *c, const struct stk_log_values *v, struct sp_err *err) {
  struct stk_csv_columns *to = sp_alloc(sizeof *to);
  if (!to) {
    return sp_fail(err, SP_ENOMEM, "%s: no memory", c->path);
  }
  bool wider = false;
  sp_status status = columns_with(c, v, to, &wider, err);
  if (status == SP_OK && wider) {
    status = csv_rewrite(c, to, err);
  }
  stk_csv_columns_fini(to);
  sp_free(to);
  return status;
}

static bool has_all(const struct csv *c, const struct stk_log_values *v) {
  for (size_t i = 0; i < v->n; i++) {
    if (stk_csv_column_find(&c->columns, v->names[i]) < 0) {
      return false;
    }
  }
  return c->fd >= 0;
}

static sp_status csv_log_metrics(struct stk_logger *l, const struct stk_log_values *v,
                                 struct sp_err *err) {
  struct csv *c = csv_of(l);
  sp_status status = has_all(c, v) ? SP_OK : csv_make_room(c, v, err);
  if (status != SP_OK) {
    return status;
  }
  struct sp_buf row;
  sp_buf_init(&row, 1 << 20);
  stk_csv_put_row(&row, &c->columns, v);
  status = sp_buf_check(&row, c->path, err);
  if (status == SP_OK) {
    status = sp_pwrite_all(c->fd, row.data, row.length, (off_t)c->end, c->path, err);
    if (status != SP_OK) {
      (void)!ftruncate(c->fd, (off_t)c->end);
    } else {
      c->end += row.length;
      c->n_rows++;
    }
  }
  sp_buf_free(&row);
  return status;
}

/* Hyper-parameters are in hparams.yaml (rundir.h), as in Lightning. */
static sp_status csv_log_hparams(struct stk_logger *l, const struct stk_hparam_text *hparams,
                                 size_t n, double wall_s, struct sp_err *err) {
  (void)l;
  (void)hparams;
  (void)n;
  (void)wall_s;
  (void)err;
  return SP_OK;
}

static int64_t csv_position(const struct stk_logger *l) {
  return ((const struct csv *)l)->n_rows;
}

static sp_status csv_rewind(struct stk_logger *l, int64_t position, struct sp_err *err) {
  struct csv *c = csv_of(l);
  if (position < 0 || position > c->n_rows) {
    return sp_fail(err, SP_EMISMATCH,
                   "%s: %" PRId64 " rows were logged, the checkpoint continues after %" PRId64,
                   c->path, c->n_rows, position);
  }
  if (position == c->n_rows) {
    return SP_OK;
  }
  char *data;
  size_t n;
  sp_status status = csv_read(c, &data, &n, err);
  if (status != SP_OK) {
    return status;
  }
  const char *end = data + n;
  const char *p = data;
  for (int64_t i = 0; i <= position && p < end; i++) {
    p += line_bytes(p, end);
  }
  size_t kept = (size_t)(p - data);
  sp_free(data);
  if (ftruncate(c->fd, (off_t)kept) != 0) {
    return sp_fail_errno(err, "%s: truncate", c->path);
  }
  c->end = kept;
  c->n_rows = position;
  return SP_OK;
}

static sp_status csv_finalize(struct stk_logger *l, stk_log_end end, struct sp_err *err) {
  (void)end;
  struct csv *c = csv_of(l);
  return c->fd >= 0 ? sp_fsync(c->fd, c->path, err) : SP_OK;
}

static void csv_release(struct stk_logger *l) {
  struct csv *c = csv_of(l);
  if (c->fd >= 0) {
    close(c->fd);
  }
  stk_csv_columns_fini(&c->columns);
  sp_free(c->path);
  sp_free(c);
}

static const struct stk_logger_class csv_class = {
    .name = "csv",
    .log_metrics = csv_log_metrics,
    .log_hparams = csv_log_hparams,
    .position = csv_position,
    .rewind = csv_rewind,
    .finalize = csv_finalize,
    .release = csv_release,
};

/* Takes over the table that is there, if any; a torn last line is cut off. */
static sp_status csv_adopt(struct csv *c, struct sp_err *err) {
  char *data;
  size_t n;
  sp_status status = csv_read(c, &data, &n, err);
  if (status != SP_OK || n == 0) {
    sp_free(data);
    return status;
  }
  size_t header = line_bytes(data, data + n);
  status = stk_csv_header_parse(data, header - 1, &c->columns, err);
  if (status != SP_OK) {
    (void)sp_wrap(err, "%s", c->path);
  }
  for (size_t i = header; i < n; i++) {
    c->n_rows += data[i] == '\n';
  }
  sp_free(data);
  if (status == SP_OK) {
    status = csv_reopen(c, err);
  }
  if (status == SP_OK && ftruncate(c->fd, (off_t)n) != 0) {
    status = sp_fail_errno(err, "%s: truncate", c->path);
  }
  c->end = n;
  return status;
}

sp_status stk_csv_open(const char *directory, struct stk_logger **out_logger, struct sp_err *err) {
  struct csv *c = sp_alloc(sizeof *c);
  if (!c) {
    return sp_fail(err, SP_ENOMEM, "metrics table: no memory");
  }
  c->head.class = &csv_class;
  c->fd = -1;
  c->path = sp_path_join(directory, "metrics.csv");
  sp_status status =
      c->path ? csv_adopt(c, err) : sp_fail(err, SP_ENOMEM, "metrics table: no memory");
  if (status != SP_OK) {
    csv_release(&c->head);
    return status;
  }
  *out_logger = &c->head;
  return SP_OK;
}
