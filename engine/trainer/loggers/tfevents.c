/* The TensorBoard logger: one open file, appended in whole records at a known position. A record
 * that could not be written whole is cut off again. */
#include "engine/trainer/loggers/tfevents.h"

#include "engine/trainer/loggers/tfencode.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char name_prefix[] = "events.out.tfevents.";
static const size_t record_limit = (size_t)1 << 26;

struct tfevents {
  struct stk_logger head;
  int fd;
  int64_t position;
  char *path;
};

static struct tfevents *tfevents_of(struct stk_logger *l) {
  return (struct tfevents *)l;
}

static sp_status tfevents_append(struct tfevents *t, const struct sp_buf *message,
                                 struct sp_err *err) {
  sp_status status = sp_buf_check(message, "event file: record", err);
  if (status != SP_OK) {
    return status;
  }
  struct sp_buf record;
  sp_buf_init(&record, record_limit + 16);
  stk_tf_record(&record, sp_buf_text(message), message->length);
  status = sp_buf_check(&record, "event file: record", err);
  if (status == SP_OK) {
    status = sp_pwrite_all(t->fd, record.data, record.length, (off_t)t->position, t->path, err);
    if (status != SP_OK) {
      (void)!ftruncate(t->fd, (off_t)t->position);
    } else {
      t->position += (int64_t)record.length;
    }
  }
  sp_buf_free(&record);
  return status;
}

static sp_status tfevents_log_metrics(struct stk_logger *l, const struct stk_log_values *v,
                                      struct sp_err *err) {
  struct sp_buf message;
  sp_buf_init(&message, record_limit);
  stk_tf_scalars(&message, v);
  sp_status status = tfevents_append(tfevents_of(l), &message, err);
  sp_buf_free(&message);
  return status;
}

static sp_status tfevents_log_hparams(struct stk_logger *l, const struct stk_hparam_text *hparams,
                                      size_t n, double wall_s, struct sp_err *err) {
  struct sp_buf message;
  sp_buf_init(&message, record_limit);
  stk_tf_hparams_experiment(&message, hparams, n, wall_s);
  sp_status status = tfevents_append(tfevents_of(l), &message, err);
  if (status == SP_OK) {
    sp_buf_clear(&message);
    stk_tf_hparams_session(&message, hparams, n, wall_s);
    status = tfevents_append(tfevents_of(l), &message, err);
  }
  sp_buf_free(&message);
  return status;
}

static int64_t tfevents_position(const struct stk_logger *l) {
  return ((const struct tfevents *)l)->position;
}

static sp_status tfevents_rewind(struct stk_logger *l, int64_t position, struct sp_err *err) {
  struct tfevents *t = tfevents_of(l);
  if (position < 0 || position > t->position) {
    return sp_fail(err, SP_EMISMATCH,
                   "%s: %" PRId64 " bytes were logged, the checkpoint continues after %" PRId64,
                   t->path, t->position, position);
  }
  if (ftruncate(t->fd, (off_t)position) != 0) {
    return sp_fail_errno(err, "%s: truncate", t->path);
  }
  t->position = position;
  return SP_OK;
}

static sp_status tfevents_finalize(struct stk_logger *l, stk_log_end end, struct sp_err *err) {
  (void)end;
  struct tfevents *t = tfevents_of(l);
  return sp_fsync(t->fd, t->path, err);
}

static void tfevents_release(struct stk_logger *l) {
  struct tfevents *t = tfevents_of(l);
  close(t->fd);
  sp_free(t->path);
  sp_free(t);
}

static const struct stk_logger_class tfevents_class = {
    .name = "tensorboard",
    .log_metrics = tfevents_log_metrics,
    .log_hparams = tfevents_log_hparams,
    .position = tfevents_position,
    .rewind = tfevents_rewind,
    .finalize = tfevents_finalize,
    .release = tfevents_release,
};

/* Opens directory/name; takes over nothing on failure. */
static sp_status tfevents_open(const char *directory, const char *name, int flags,
                               struct tfevents **out, struct sp_err *err) {
  struct tfevents *t = sp_alloc(sizeof *t);
  char *path = sp_path_join(directory, name);
  sp_status status = SP_OK;
  if (!t || !path) {
    status = sp_fail(err, SP_ENOMEM, "event file: no memory");
    goto fail;
  }
  int fd = open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    status = sp_fail_errno(err, "event file %s: open", path);
    if (fd >= 0) {
      close(fd);
    }
    goto fail;
  }
  t->head.class = &tfevents_class;
  t->fd = fd;
  t->position = (int64_t)st.st_size;
  t->path = path;
  *out = t;
  return SP_OK;
fail:
  sp_free(path);
  sp_free(t);
  return status;
}

static void put_name(struct sp_buf *b, const struct stk_tfevents_options *o) {
  sp_buf_printf(b, "%s%010" PRId64 ".", name_prefix, (int64_t)o->wall_s);
  for (const char *p = *o->host ? o->host : "localhost"; *p; p++) {
    bool plain = isalnum((unsigned char)*p) || *p == '-' || *p == '_';
    sp_buf_putc(b, plain ? *p : '_');
  }
  sp_buf_printf(b, ".%" PRId64 ".0", o->pid);
}

sp_status stk_tfevents_create(const struct stk_tfevents_options *o, struct stk_logger **out_logger,
                              struct sp_err *err) {
  struct sp_buf b;
  struct tfevents *t = NULL;
  sp_buf_init(&b, 255);
  put_name(&b, o);
  sp_status status = sp_buf_check(&b, "event file: name", err);
  if (status == SP_OK) {
    status = tfevents_open(o->directory, sp_buf_text(&b), O_CREAT | O_EXCL, &t, err);
  }
  if (status == SP_OK) {
    sp_buf_clear(&b);
    stk_tf_file_version(&b, o->wall_s);
    status = tfevents_append(t, &b, err);
  }
  sp_buf_free(&b);
  if (status != SP_OK && t) {
    tfevents_release(&t->head);
  }
  if (status == SP_OK) {
    *out_logger = &t->head;
  }
  return status;
}

/* The greatest name (newest time, zero-padded) of an event file in the directory; "" if none. */
static sp_status newest_name(const char *directory, char out_name[256], struct sp_err *err) {
  DIR *d = opendir(directory);
  if (!d) {
    return sp_fail_errno(err, "log directory %s", directory);
  }
  out_name[0] = '\0';
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    size_t n = strlen(e->d_name);
    if (n < 256 && strncmp(e->d_name, name_prefix, sizeof name_prefix - 1) == 0 &&
        strcmp(e->d_name, out_name) > 0) {
      memcpy(out_name, e->d_name, n + 1);
    }
  }
  closedir(d);
  return SP_OK;
}

sp_status stk_tfevents_resume(const struct stk_tfevents_options *o, struct stk_logger **out_logger,
                              struct sp_err *err) {
  char name[256];
  sp_status status = newest_name(o->directory, name, err);
  if (status != SP_OK) {
    return status;
  }
  if (!*name) {
    return stk_tfevents_create(o, out_logger, err);
  }
  struct tfevents *t;
  status = tfevents_open(o->directory, name, 0, &t, err);
  if (status == SP_OK) {
    *out_logger = &t->head;
  }
  return status;
}
