/* Reading headers: entries are pulled out one by one, then sorted by offset and checked to tile the
 * buffer, then sorted by name (in a scratch array) to find duplicates. Strings of one index live in
 * one block each; the index is the only owner.
 */
#include "engine/checkpoint/safetensors.h"

#include "engine/checkpoint/json_text.h"
#include "engine/checkpoint/names.h"
#include "engine/checkpoint/read.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_METADATA = 1 << 16, MAX_METADATA_TEXT = 1 << 24, PREFIX = 8 };

static const uint64_t MAX_HEADER = 100000000;

static const struct {
  const char *name;
  size_t bytes;
} dtypes[] = {
#define STK_ST_DTYPE_X(name, bytes) {#name, bytes},
    STK_ST_DTYPE_LIST(STK_ST_DTYPE_X)
#undef STK_ST_DTYPE_X
};

size_t stk_st_dtype_bytes(stk_st_dtype dtype) {
  return dtypes[dtype].bytes;
}

const char *stk_st_dtype_name(stk_st_dtype dtype) {
  return dtypes[dtype].name;
}

int stk_st_dtype_parse(const char *name, stk_st_dtype *out) {
  for (int i = 0; i < STK_ST_N_DTYPES; i++) {
    if (strcmp(dtypes[i].name, name) == 0) {
      *out = (stk_st_dtype)i;
      return 1;
    }
  }
  return 0;
}

sp_status stk_st_bytes(stk_st_dtype dtype, int32_t rank, const int64_t *dims, uint64_t *out_bytes,
                       struct sp_err *err) {
  uint64_t n = stk_st_dtype_bytes(dtype);
  if (rank < 0 || rank > STK_ST_MAX_RANK) {
    return sp_fail(err, SP_EINVAL, "a tensor of rank %d; at most %d is possible", (int)rank,
                   STK_ST_MAX_RANK);
  }
  for (int32_t i = 0; i < rank; i++) {
    if (dims[i] < 0) {
      return sp_fail(err, SP_EINVAL, "a tensor has a negative dimension");
    }
    if (__builtin_mul_overflow(n, (uint64_t)dims[i], &n) || n > INT64_MAX) {
      return sp_fail(err, SP_ERANGE, "a tensor's size overflows");
    }
  }
  *out_bytes = n;
  return SP_OK;
}

/* A header being parsed. `text` is scratch for one string. */
struct parser {
  struct stk_json json;
  struct stk_st_index *index;
  struct sp_buf text;
  size_t room;
  size_t metadata_room;
  size_t metadata_bytes;
  bool no_memory; /* it stopped for that, and the header is not at fault */
};

static bool fail_parse(struct parser *p, const char *why) {
  if (!p->json.why) {
    p->json.why = why;
  }
  return false;
}

static bool fail_memory(struct parser *p) {
  p->no_memory = true;
  return fail_parse(p, "out of memory");
}

/* A string into p->text. */
static bool take_string(struct parser *p, size_t limit) {
  bool good = stk_json_string(&p->json, limit, &p->text);
  return good || p->text.failure != SP_ENOMEM ? good : fail_memory(p);
}

/* Grows an array by doubling; false when memory is out. */
static bool reserve(void **array, size_t *room, size_t n, size_t bytes) {
  if (n < *room) {
    return true;
  }
  size_t wanted = *room ? 2 * *room : 16;
  void *bigger = sp_resize_array(*array, wanted, bytes);
  if (!bigger) {
    return false;
  }
  *array = bigger;
  *room = wanted;
  return true;
}

static bool parse_shape(struct parser *p, struct stk_st_entry *e) {
  if (!stk_json_need(&p->json, '[')) {
    return false;
  }
  if (stk_json_take(&p->json, ']')) {
    return true;
  }
  do {
    if (e->rank == STK_ST_MAX_RANK) {
      return fail_parse(p, "a tensor has more than 8 dimensions");
    }
    if (!stk_json_integer(&p->json, &e->dims[e->rank])) {
      return false;
    }
    e->rank++;
  } while (stk_json_take(&p->json, ','));
  return stk_json_need(&p->json, ']');
}

static bool parse_offsets(struct parser *p, struct stk_st_entry *e) {
  int64_t begin;
  int64_t end;
  if (!stk_json_need(&p->json, '[') || !stk_json_integer(&p->json, &begin) ||
      !stk_json_need(&p->json, ',') || !stk_json_integer(&p->json, &end) ||
      !stk_json_need(&p->json, ']')) {
    return false;
  }
  e->begin = (uint64_t)begin;
  e->end = (uint64_t)end;
  return begin <= end || fail_parse(p, "data_offsets run backwards");
}

enum { SEEN_DTYPE = 1, SEEN_SHAPE = 2, SEEN_OFFSETS = 4, SEEN_ALL = 7 };

static bool parse_field(struct parser *p, struct stk_st_entry *e, int *seen) {
  if (!take_string(p, 16) || !stk_json_need(&p->json, ':')) {
    return false;
  }
  const char *key = sp_buf_text(&p->text);
  int bit = strcmp(key, "dtype") == 0          ? SEEN_DTYPE
            : strcmp(key, "shape") == 0        ? SEEN_SHAPE
            : strcmp(key, "data_offsets") == 0 ? SEEN_OFFSETS
                                               : 0;
  if (bit == 0 || (*seen & bit) != 0) {
    return fail_parse(p, "a tensor has an unknown field, or one twice");
  }
  *seen |= bit;
  if (bit == SEEN_SHAPE) {
    return parse_shape(p, e);
  }
  if (bit == SEEN_OFFSETS) {
    return parse_offsets(p, e);
  }
  return take_string(p, 16) && (stk_st_dtype_parse(sp_buf_text(&p->text), &e->dtype) ||
                                fail_parse(p, "a tensor has an unknown dtype"));
}

static bool parse_entry(struct parser *p, struct stk_st_entry *e) {
  int seen = 0;
  uint64_t bytes;
  if (!stk_json_need(&p->json, '{')) {
    return false;
  }
  do {
    if (!parse_field(p, e, &seen)) {
      return false;
    }
  } while (stk_json_take(&p->json, ','));
  if (!stk_json_need(&p->json, '}')) {
    return false;
  }
  if (seen != SEEN_ALL) {
    return fail_parse(p, "a tensor lacks dtype, shape or data_offsets");
  }
  if (stk_st_bytes(e->dtype, e->rank, e->dims, &bytes, NULL) != SP_OK ||
      bytes != e->end - e->begin) {
    return fail_parse(p, "a tensor's shape and data_offsets disagree");
  }
  return true;
}

static bool parse_metadata(struct parser *p) {
  struct stk_st_index *index = p->index;
  if (p->metadata_room > 0) {
    return fail_parse(p, "__metadata__ stands twice");
  }
  if (!reserve((void **)&index->metadata, &p->metadata_room, 0, sizeof *index->metadata)) {
    return fail_memory(p);
  }
  if (!stk_json_need(&p->json, '{')) {
    return false;
  }
  if (stk_json_take(&p->json, '}')) {
    return true;
  }
  do {
    if (index->n_metadata == MAX_METADATA) {
      return fail_parse(p, "__metadata__ has too many entries");
    }
    if (!reserve((void **)&index->metadata, &p->metadata_room, index->n_metadata,
                 sizeof *index->metadata)) {
      return fail_memory(p);
    }
    struct stk_st_pair *pair = &index->metadata[index->n_metadata];
    *pair = (struct stk_st_pair){0};
    if (!take_string(p, STK_ST_MAX_NAME)) {
      return false;
    }
    pair->key = sp_buf_take(&p->text);
    index->n_metadata++;
    if (!stk_json_need(&p->json, ':') || !take_string(p, MAX_METADATA_TEXT)) {
      return false;
    }
    p->metadata_bytes += p->text.length;
    pair->value = sp_buf_take(&p->text);
    if (!pair->key || !pair->value) {
      return fail_memory(p);
    }
    if (p->metadata_bytes > MAX_METADATA_TEXT) {
      return fail_parse(p, "__metadata__ is too large");
    }
  } while (stk_json_take(&p->json, ','));
  return stk_json_need(&p->json, '}');
}

static bool parse_member(struct parser *p) {
  struct stk_st_index *index = p->index;
  if (!take_string(p, STK_ST_MAX_NAME) || !stk_json_need(&p->json, ':')) {
    return false;
  }
  if (strcmp(sp_buf_text(&p->text), "__metadata__") == 0) {
    return parse_metadata(p);
  }
  if (index->n_entries == STK_ST_MAX_TENSORS) {
    return fail_parse(p, "too many tensors");
  }
  if (!reserve((void **)&index->entries, &p->room, index->n_entries, sizeof *index->entries)) {
    return fail_memory(p);
  }
  struct stk_st_entry *e = &index->entries[index->n_entries];
  *e = (struct stk_st_entry){.name = sp_buf_take(&p->text)};
  index->n_entries++;
  if (!e->name) {
    return fail_memory(p);
  }
  return parse_entry(p, e);
}

static bool parse_header(struct parser *p) {
  if (p->json.p >= p->json.end || *p->json.p != '{') {
    return fail_parse(p, "it does not begin with '{'");
  }
  p->json.p++;
  if (!stk_json_take(&p->json, '}')) {
    do {
      if (!parse_member(p)) {
        return false;
      }
    } while (stk_json_take(&p->json, ','));
    if (!stk_json_need(&p->json, '}')) {
      return false;
    }
  }
  return stk_json_end(&p->json);
}

static int by_offset(const void *a, const void *b) {
  const struct stk_st_entry *x = a;
  const struct stk_st_entry *y = b;
  if (x->begin != y->begin) {
    return x->begin < y->begin ? -1 : 1;
  }
  return x->end < y->end ? -1 : x->end > y->end;
}

static sp_status check_tiling(const struct stk_st_index *index, struct sp_err *err) {
  uint64_t at = 0;
  for (size_t i = 0; i < index->n_entries; i++) {
    const struct stk_st_entry *e = &index->entries[i];
    if (e->begin != at) {
      return sp_fail(err, SP_ECORRUPT,
                     "safetensors: tensor '%.200s' begins at %" PRIu64
                     ", but the one before it ends at %" PRIu64,
                     e->name, e->begin, at);
    }
    at = e->end;
  }
  if (at != index->data_bytes) {
    return sp_fail(err, SP_ECORRUPT,
                   "safetensors: the tensors end at %" PRIu64 ", but the file has %" PRIu64
                   " bytes of data; it is truncated or has something appended",
                   at, index->data_bytes);
  }
  return SP_OK;
}

static uint64_t little_u64(const uint8_t *p) {
  uint64_t v = 0;
  for (int i = 7; i >= 0; i--) {
    v = v << 8 | p[i];
  }
  return v;
}

/* N, checked against the file's size. */
static sp_status header_bytes(const uint8_t *prefix, uint64_t file_bytes, uint64_t *out,
                              struct sp_err *err) {
  uint64_t n = little_u64(prefix);
  if (n > MAX_HEADER || n > file_bytes - PREFIX) {
    return sp_fail(err, SP_ECORRUPT,
                   "safetensors: a header of %" PRIu64 " bytes in a file of %" PRIu64
                   " (at most %" PRIu64 " are read); not a safetensors file, or truncated",
                   n, file_bytes, MAX_HEADER);
  }
  *out = n;
  return SP_OK;
}

static sp_status check_index(const struct stk_st_index *index, struct sp_err *err) {
  if (index->n_entries > 1) {
    qsort(index->entries, index->n_entries, sizeof *index->entries, by_offset);
  }
  sp_status st = check_tiling(index, err);
  if (st == SP_OK && index->n_entries > 1) {
    st = stk_names_check(&index->entries[0].name, sizeof *index->entries, index->n_entries,
                         "safetensors: tensor", SP_ECORRUPT, err);
  }
  if (st == SP_OK && index->n_metadata > 1) {
    st = stk_names_check(&index->metadata[0].key, sizeof *index->metadata, index->n_metadata,
                         "safetensors: metadata key", SP_ECORRUPT, err);
  }
  return st;
}

sp_status stk_st_parse(const uint8_t *head, size_t n_head, uint64_t file_bytes,
                       struct stk_st_index *out, struct sp_err *err) {
  uint64_t n;
  if (n_head < PREFIX || file_bytes < n_head) {
    return sp_fail(err, SP_ECORRUPT, "safetensors: a file of %" PRIu64 " bytes is too short",
                   file_bytes);
  }
  sp_status st = header_bytes(head, file_bytes, &n, err);
  if (st != SP_OK) {
    return st;
  }
  if (n > n_head - PREFIX) {
    return sp_fail(err, SP_ECORRUPT, "safetensors: the header is cut");
  }
  struct stk_st_index index = {.data_offset = PREFIX + n, .data_bytes = file_bytes - PREFIX - n};
  struct parser p = {.index = &index};
  p.json.p = (const char *)head + PREFIX;
  p.json.end = p.json.p + n;
  sp_buf_init(&p.text, MAX_METADATA_TEXT + 8);
  if (parse_header(&p)) {
    st = check_index(&index, err);
  } else {
    st = sp_fail(err, p.no_memory ? SP_ENOMEM : SP_ECORRUPT,
                 "safetensors: bad header at byte %td: %s",
                 p.json.p - ((const char *)head + PREFIX), p.json.why);
  }
  sp_buf_free(&p.text);
  if (st != SP_OK) {
    stk_st_index_free(&index);
    return st;
  }
  *out = index;
  return SP_OK;
}

sp_status stk_st_read_index(int fd, const char *name_for_errors, struct stk_st_index *out,
                            struct sp_err *err) {
  struct stat stat;
  uint8_t prefix[PREFIX];
  uint64_t n;
  if (fstat(fd, &stat) != 0) {
    return sp_fail_errno(err, "cannot stat %s", name_for_errors);
  }
  if (!S_ISREG(stat.st_mode) || stat.st_size < PREFIX) {
    return sp_fail(err, SP_ECORRUPT, "%s is not a safetensors file", name_for_errors);
  }
  sp_status st = stk_read_at(fd, prefix, PREFIX, 0, name_for_errors, err);
  if (st == SP_OK) {
    st = header_bytes(prefix, (uint64_t)stat.st_size, &n, err);
  }
  if (st != SP_OK) {
    (void)sp_wrap(err, "%s", name_for_errors);
    return st;
  }
  uint8_t *head = sp_alloc(PREFIX + (size_t)n);
  if (!head) {
    return sp_fail(err, SP_ENOMEM, "out of memory for the header of %s", name_for_errors);
  }
  st = stk_read_at(fd, head, PREFIX + (size_t)n, 0, name_for_errors, err);
  if (st == SP_OK) {
    st = stk_st_parse(head, PREFIX + (size_t)n, (uint64_t)stat.st_size, out, err);
    if (st != SP_OK) {
      (void)sp_wrap(err, "%s", name_for_errors);
    }
  }
  sp_free(head);
  return st;
}

void stk_st_index_free(struct stk_st_index *index) {
  for (size_t i = 0; i < index->n_entries; i++) {
    sp_free((char *)(uintptr_t)index->entries[i].name);
  }
  for (size_t i = 0; i < index->n_metadata; i++) {
    sp_free((char *)(uintptr_t)index->metadata[i].key);
    sp_free((char *)(uintptr_t)index->metadata[i].value);
  }
  sp_free(index->entries);
  sp_free(index->metadata);
  *index = (struct stk_st_index){0};
}

const struct stk_st_entry *stk_st_find(const struct stk_st_index *index, const char *name) {
  for (size_t i = 0; i < index->n_entries; i++) {
    if (strcmp(index->entries[i].name, name) == 0) {
      return &index->entries[i];
    }
  }
  return NULL;
}
