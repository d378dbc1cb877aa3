/* Writing safetensors: layout, header, and whole files. */
#include "engine/checkpoint/json_text.h"
#include "engine/checkpoint/names.h"
#include "engine/checkpoint/safetensors.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PREFIX = 8, MAX_HEADER = 100000000 };

static bool is_writable_name(const char *name) {
  size_t n = strlen(name);
  return n > 0 && n <= STK_ST_MAX_NAME && strcmp(name, "__metadata__") != 0 &&
         stk_json_is_utf8(name, n);
}

static int by_size_then_name(const void *a, const void *b) {
  const struct stk_st_entry *x = a;
  const struct stk_st_entry *y = b;
  size_t sx = stk_st_dtype_bytes(x->dtype);
  size_t sy = stk_st_dtype_bytes(y->dtype);
  return sx != sy ? (sx > sy ? -1 : 1) : strcmp(x->name, y->name);
}

static sp_status check_names(const struct stk_st_entry *entries, size_t n, struct sp_err *err) {
  for (size_t i = 0; i < n; i++) {
    if (!is_writable_name(entries[i].name)) {
      return sp_fail(err, SP_EINVAL, "safetensors: '%.200s' cannot name a tensor", entries[i].name);
    }
  }
  return n ? stk_names_check(&entries[0].name, sizeof *entries, n, "safetensors: tensor", SP_EINVAL,
                             err)
           : SP_OK;
}

sp_status stk_st_layout(struct stk_st_entry *entries, size_t n_entries, uint64_t *out_data_bytes,
                        struct sp_err *err) {
  uint64_t at = 0;
  if (n_entries > 1) {
    qsort(entries, n_entries, sizeof *entries, by_size_then_name);
  }
  sp_status st = check_names(entries, n_entries, err);
  for (size_t i = 0; st == SP_OK && i < n_entries; i++) {
    uint64_t bytes;
    st = stk_st_bytes(entries[i].dtype, entries[i].rank, entries[i].dims, &bytes, err);
    if (st == SP_OK) {
      entries[i].begin = at;
      if (__builtin_add_overflow(at, bytes, &at) || at > INT64_MAX) {
        return sp_fail(err, SP_ERANGE, "safetensors: the tensors' sizes overflow");
      }
      entries[i].end = at;
    }
  }
  if (st == SP_OK) {
    *out_data_bytes = at;
  }
  return st;
}

static void put_metadata(struct sp_buf *b, const struct stk_st_pair *pairs, size_t n) {
  sp_buf_puts(b, "\"__metadata__\":{");
  for (size_t i = 0; i < n; i++) {
    sp_buf_puts(b, i ? "," : "");
    stk_json_put_string(b, pairs[i].key);
    sp_buf_putc(b, ':');
    stk_json_put_string(b, pairs[i].value);
  }
  sp_buf_putc(b, '}');
}

static void put_entry(struct sp_buf *b, const struct stk_st_entry *e) {
  stk_json_put_string(b, e->name);
  sp_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", stk_st_dtype_name(e->dtype));
  for (int32_t i = 0; i < e->rank; i++) {
    sp_buf_printf(b, "%s%" PRId64, i ? "," : "", e->dims[i]);
  }
  sp_buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", e->begin, e->end);
}

sp_status stk_st_render(const struct stk_st_entry *entries, size_t n_entries,
                        const struct stk_st_pair *metadata, size_t n_metadata, uint8_t **out_head,
                        size_t *out_head_bytes, struct sp_err *err) {
  struct sp_buf b;
  sp_buf_init(&b, MAX_HEADER + PREFIX);
  (void)sp_buf_extend(&b, PREFIX);
  sp_buf_putc(&b, '{');
  if (n_metadata > 0) {
    put_metadata(&b, metadata, n_metadata);
  }
  for (size_t i = 0; i < n_entries; i++) {
    sp_buf_puts(&b, i || n_metadata ? "," : "");
    put_entry(&b, &entries[i]);
  }
  sp_buf_putc(&b, '}');
  size_t padded = (b.length + STK_ST_ALIGN - 1) / STK_ST_ALIGN * STK_ST_ALIGN;
  size_t n_pad = padded - b.length;
  void *pad = sp_buf_extend(&b, n_pad);
  if (pad) {
    memset(pad, ' ', n_pad);
  }
  sp_status st = sp_buf_check(&b, "the safetensors header", err);
  if (st != SP_OK) {
    sp_buf_free(&b);
    return st;
  }
  for (size_t i = 0; i < PREFIX; i++) {
    b.data[i] = (char)((uint64_t)(padded - PREFIX) >> 8 * i);
  }
  *out_head_bytes = b.length;
  *out_head = (uint8_t *)sp_buf_take(&b);
  return *out_head ? SP_OK : sp_fail(err, SP_ENOMEM, "out of memory for a safetensors header");
}

/* Entries with their data, so that both are sorted together. */
struct item {
  struct stk_st_entry entry; /* first: by_size_then_name reads it */
  const void *data;
};

static sp_status sort_together(struct stk_st_entry *entries, const void **data, size_t n,
                               struct sp_err *err) {
  struct item *items = sp_alloc_array(n, sizeof *items);
  if (!items) {
    return sp_fail(err, SP_ENOMEM, "out of memory for a safetensors header");
  }
  for (size_t i = 0; i < n; i++) {
    items[i] = (struct item){entries[i], data[i]};
  }
  if (n > 1) {
    qsort(items, n, sizeof *items, by_size_then_name);
  }
  for (size_t i = 0; i < n; i++) {
    entries[i] = items[i].entry;
    data[i] = items[i].data;
  }
  sp_free(items);
  return SP_OK;
}

static sp_status write_parts(int fd, const char *path, const struct stk_st_entry *entries,
                             const void **data, size_t n, const uint8_t *head, size_t head_bytes,
                             struct sp_err *err) {
  sp_status st = sp_pwrite_all(fd, head, head_bytes, 0, path, err);
  for (size_t i = 0; st == SP_OK && i < n; i++) {
    st = sp_pwrite_all(fd, data[i], (size_t)(entries[i].end - entries[i].begin),
                       (off_t)(head_bytes + entries[i].begin), path, err);
  }
  return st == SP_OK ? sp_fsync(fd, path, err) : st;
}

static sp_status write_renamed(const char *path, const struct stk_st_entry *entries,
                               const void **data, size_t n, const uint8_t *head, size_t head_bytes,
                               struct sp_err *err) {
  char *dir = sp_path_dirname(path);
  size_t room = strlen(path) + 16;
  char *tmp = sp_alloc(room);
  sp_status st = dir && tmp ? SP_OK : sp_fail(err, SP_ENOMEM, "out of memory");
  int fd = -1;
  if (st == SP_OK) {
    snprintf(tmp, room, "%s.tmp-XXXXXX", path);
    fd = mkostemp(tmp, O_CLOEXEC);
    st = fd >= 0 ? SP_OK : sp_fail_errno(err, "cannot create %s", tmp);
  }
  if (fd >= 0) {
    st = write_parts(fd, path, entries, data, n, head, head_bytes, err);
    if (st == SP_OK && fchmod(fd, 0644) != 0) {
      st = sp_fail_errno(err, "cannot write %s", path);
    }
    if (close(fd) != 0 && st == SP_OK) {
      st = sp_fail_errno(err, "cannot write %s", path);
    }
    if (st == SP_OK && rename(tmp, path) != 0) {
      st = sp_fail_errno(err, "cannot rename to %s", path);
    }
    if (st != SP_OK) {
      unlink(tmp);
    } else {
      st = sp_dir_fsync(dir, err);
    }
  }
  sp_free(tmp);
  sp_free(dir);
  return st;
}

sp_status stk_st_write_file(const char *path, struct stk_st_entry *entries, const void **data,
                            size_t n_entries, const struct stk_st_pair *metadata, size_t n_metadata,
                            struct sp_err *err) {
  uint64_t data_bytes;
  uint8_t *head;
  size_t head_bytes;
  sp_status st = sort_together(entries, data, n_entries, err);
  if (st == SP_OK) {
    st = stk_st_layout(entries, n_entries, &data_bytes, err);
  }
  if (st == SP_OK) {
    st = stk_st_render(entries, n_entries, metadata, n_metadata, &head, &head_bytes, err);
  }
  if (st == SP_OK) {
    st = write_renamed(path, entries, data, n_entries, head, head_bytes, err);
    sp_free(head);
  }
  return st;
}
