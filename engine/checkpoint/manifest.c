/* Manifests: rendering and strict parsing. The scalar fields are a table that both directions use,
 * so a field cannot be written and not read.
 */
#include "engine/checkpoint/manifest.h"

#include "engine/checkpoint/base64.h"
#include "engine/checkpoint/json_text.h"
#include "engine/checkpoint/names.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { TRAILER_BYTES = 16, MAX_PAIRS = 1 << 14 }; /* "crc32c " + 8 digits + '\n' */

/* X(kind, field): the scalars in the order in which they are written. */
#define FIELD_LIST(X)                                                                             \
  X(STRING, job)                                                                                  \
  X(INTEGER, step) X(INTEGER, epoch) X(INTEGER, generation) X(STRING, nonce) X(INTEGER, numerics) \
      X(STRING, precision) X(INTEGER, lanes) X(STRING, graph_hash) X(STRING, module)              \
          X(STRING, module_sha256) X(INTEGER, state_version) X(STRING, state_hash)                \
              X(INTEGER, control_version)

enum field_kind { STRING, INTEGER };

static const struct field {
  const char *name;
  enum field_kind kind;
  size_t offset;
} fields[] = {
#define FIELD_X(kind, field) {#field, kind, offsetof(struct stk_manifest, field)},
    FIELD_LIST(FIELD_X)
#undef FIELD_X
};

enum { N_FIELDS = sizeof fields / sizeof *fields, N_OTHERS = 6 };

static const char *const role_names[] = {[STK_CKPT_MODEL] = "model", [STK_CKPT_OPTIM] = "optim"};

static char **string_at(const struct stk_manifest *m, const struct field *f) {
  return (char **)((uintptr_t)m + f->offset);
}

static int64_t *integer_at(const struct stk_manifest *m, const struct field *f) {
  return (int64_t *)((uintptr_t)m + f->offset);
}

static void put_pairs(struct sp_buf *b, const char *name, const struct stk_manifest_pair *pairs,
                      size_t n) {
  sp_buf_printf(b, "\"%s\": {", name);
  for (size_t i = 0; i < n; i++) {
    sp_buf_puts(b, i ? ",\n  " : "\n  ");
    stk_json_put_string(b, pairs[i].key);
    sp_buf_puts(b, ": ");
    stk_json_put_string(b, pairs[i].value);
  }
  sp_buf_puts(b, "},\n");
}

static void put_tensor(struct sp_buf *b, const struct stk_manifest_tensor *t) {
  sp_buf_puts(b, "{\"name\": ");
  stk_json_put_string(b, t->name);
  sp_buf_printf(b, ", \"role\": \"%s\", \"dtype\": \"%s\", \"shape\": [", role_names[t->role],
                stk_st_dtype_name(t->dtype));
  for (int32_t i = 0; i < t->rank; i++) {
    sp_buf_printf(b, "%s%" PRId64, i ? ", " : "", t->dims[i]);
  }
  sp_buf_printf(b,
                "], \"file\": %" PRIu32 ", \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64
                ", \"crc32c\": \"%08" PRIx32 "\"}",
                t->file, t->offset, t->bytes, t->crc32c);
}

static void put_scalars(struct sp_buf *b, const struct stk_manifest *m) {
  for (size_t i = 0; i < N_FIELDS; i++) {
    sp_buf_printf(b, "\"%s\": ", fields[i].name);
    if (fields[i].kind == STRING) {
      stk_json_put_string(b, *string_at(m, &fields[i]));
    } else {
      sp_buf_printf(b, "%" PRId64, *integer_at(m, &fields[i]));
    }
    sp_buf_puts(b, ",\n");
  }
}

static void put_order(struct sp_buf *b, const struct stk_manifest *m) {
  if (m->order_run || m->order_seq) {
    sp_buf_printf(b, "\"order\": \"%016" PRIx64 "-%" PRIu64 "\",\n", m->order_run, m->order_seq);
  }
}

static void put_files(struct sp_buf *b, const struct stk_manifest *m) {
  sp_buf_puts(b, "\"files\": [");
  for (size_t i = 0; i < m->n_files; i++) {
    sp_buf_puts(b, i ? ",\n  {\"name\": " : "\n  {\"name\": ");
    stk_json_put_string(b, m->files[i].name);
    sp_buf_printf(b, ", \"bytes\": %" PRIu64 ", \"crc32c\": \"%08" PRIx32 "\"}", m->files[i].bytes,
                  m->files[i].crc32c);
  }
  sp_buf_puts(b, "],\n\"tensors\": [");
  for (size_t i = 0; i < m->n_tensors; i++) {
    sp_buf_puts(b, i ? ",\n  " : "\n  ");
    put_tensor(b, &m->tensors[i]);
  }
  sp_buf_puts(b, "]}\n");
}

sp_status stk_manifest_render(const struct stk_manifest *m, char **out_text, size_t *out_bytes,
                              struct sp_err *err) {
  struct sp_buf b;
  sp_buf_init(&b, STK_MANIFEST_MAX_BYTES);
  sp_buf_printf(&b, "{\"format\": %d,\n", STK_MANIFEST_FORMAT);
  put_scalars(&b, m);
  put_order(&b, m);
  put_pairs(&b, "hparams", m->hparams, m->n_hparams);
  put_pairs(&b, "summary", m->summary, m->n_summary);
  sp_buf_puts(&b, "\"control\": \"");
  stk_base64_put(&b, m->control, m->control_bytes);
  sp_buf_puts(&b, "\",\n");
  put_files(&b, m);
  sp_buf_printf(&b, "crc32c %08" PRIx32 "\n", sp_crc32c(0, b.data, b.length));
  sp_status st = sp_buf_check(&b, "the manifest", err);
  if (st == SP_OK && !stk_json_is_utf8(b.data, b.length)) {
    st = sp_fail(err, SP_EINVAL, "the manifest would hold a text that is not UTF-8");
  }
  if (st == SP_OK) {
    *out_bytes = b.length;
    *out_text = sp_buf_take(&b);
  }
  sp_buf_free(&b);
  return st;
}

static sp_status bad(struct sp_err *err, const char *what) {
  return sp_fail(err, SP_ECORRUPT, "manifest: %s is missing or wrong", what);
}

static bool is_text(const json_t *v) {
  return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

static bool get_string(const json_t *object, const char *key, char **out) {
  const json_t *v = json_object_get(object, key);
  if (!is_text(v)) {
    return false;
  }
  *out = sp_strdup(json_string_value(v));
  return *out != NULL;
}

/* As bad, where a string was wanted: without memory for it the manifest is not at fault, and nobody
 * may go back to an older checkpoint for that. */
static sp_status bad_string(struct sp_err *err, const char *what, const json_t *object,
                            const char *key, const char *got) {
  return !got && is_text(json_object_get(object, key))
             ? sp_fail(err, SP_ENOMEM, "manifest: out of memory")
             : bad(err, what);
}

static bool get_integer(const json_t *object, const char *key, int64_t *out) {
  const json_t *v = json_object_get(object, key);
  if (!json_is_integer(v) || json_integer_value(v) < 0) {
    return false;
  }
  *out = json_integer_value(v);
  return true;
}

/* Exactly eight lower-case hexadecimal digits. */
static bool parse_crc(const char *text, size_t n, uint32_t *out) {
  uint32_t v = 0;
  if (n != 8) {
    return false;
  }
  for (size_t i = 0; i < 8; i++) {
    bool decimal = text[i] >= '0' && text[i] <= '9';
    if (!decimal && (text[i] < 'a' || text[i] > 'f')) {
      return false;
    }
    v = v << 4 | (uint32_t)(decimal ? text[i] - '0' : text[i] - 'a' + 10);
  }
  *out = v;
  return true;
}

static bool get_crc(const json_t *object, uint32_t *out) {
  const json_t *v = json_object_get(object, "crc32c");
  return json_is_string(v) && parse_crc(json_string_value(v), json_string_length(v), out);
}

static sp_status parse_scalars(const json_t *root, struct stk_manifest *m, struct sp_err *err) {
  for (size_t i = 0; i < N_FIELDS; i++) {
    bool good = fields[i].kind == STRING
                    ? get_string(root, fields[i].name, string_at(m, &fields[i]))
                    : get_integer(root, fields[i].name, integer_at(m, &fields[i]));
    if (!good) {
      const char *got = fields[i].kind == STRING ? *string_at(m, &fields[i]) : "";
      return bad_string(err, fields[i].name, root, fields[i].name, got);
    }
  }
  return m->job[0] && m->lanes >= 1 ? SP_OK : bad(err, "job or lanes");
}

/* An order that renders to the text that was read; absent in a save that nobody ordered. */
static bool parse_order(const json_t *root, struct stk_manifest *m) {
  const json_t *v = json_object_get(root, "order");
  const char *text = json_string_value(v);
  char again[48];
  if (!v) {
    return true;
  }
  if (!text || strlen(text) != json_string_length(v) ||
      sscanf(text, "%16" SCNx64 "-%" SCNu64, &m->order_run, &m->order_seq) != 2) {
    return false;
  }
  snprintf(again, sizeof again, "%016" PRIx64 "-%" PRIu64, m->order_run, m->order_seq);
  return (m->order_run || m->order_seq) && strcmp(text, again) == 0;
}

static sp_status parse_pairs(json_t *root, const char *name, struct stk_manifest_pair **out,
                             size_t *out_n, struct sp_err *err) {
  json_t *object = json_object_get(root, name);
  if (!json_is_object(object) || json_object_size(object) > MAX_PAIRS) {
    return bad(err, name);
  }
  *out = sp_alloc_array(json_object_size(object), sizeof **out);
  if (!*out) {
    return sp_fail(err, SP_ENOMEM, "manifest: out of memory");
  }
  const char *key;
  json_t *value;
  json_object_foreach(object, key, value) {
    struct stk_manifest_pair *pair = &(*out)[(*out_n)++];
    pair->key = sp_strdup(key);
    if (!pair->key || !get_string(object, key, &pair->value)) {
      return bad_string(err, name, object, key, pair->value);
    }
  }
  return SP_OK;
}

static sp_status parse_control(const json_t *root, struct stk_manifest *m, struct sp_err *err) {
  const json_t *v = json_object_get(root, "control");
  size_t n = json_is_string(v) ? json_string_length(v) : SIZE_MAX;
  if (n > (size_t)STK_MANIFEST_MAX_CONTROL / 3 * 4 + 8) {
    return bad(err, "control");
  }
  m->control = sp_alloc(n / 4 * 3 + 1);
  if (!m->control) {
    return sp_fail(err, SP_ENOMEM, "manifest: out of memory");
  }
  return stk_base64_get(json_string_value(v), n, m->control, &m->control_bytes) &&
                 m->control_bytes <= STK_MANIFEST_MAX_CONTROL
             ? SP_OK
             : bad(err, "control");
}

/* A plain name: nothing that leads out of the directory, or to a hidden file. */
static bool is_file_name(const char *s) {
  size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
  return n > 0 && n < 128 && s[n] == 0 && s[0] != '.' && strcmp(s, "MANIFEST") != 0;
}

static sp_status parse_files(const json_t *root, struct stk_manifest *m, struct sp_err *err) {
  const json_t *array = json_object_get(root, "files");
  size_t n = json_array_size(array);
  if (!json_is_array(array) || n > STK_ST_MAX_TENSORS) {
    return bad(err, "files");
  }
  m->files = sp_alloc_array(n, sizeof *m->files);
  if (!m->files) {
    return sp_fail(err, SP_ENOMEM, "manifest: out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    const json_t *o = json_array_get(array, i);
    struct stk_manifest_file *f = &m->files[m->n_files++];
    int64_t bytes;
    if (json_object_size(o) != 3 || !get_string(o, "name", &f->name) || !is_file_name(f->name) ||
        !get_integer(o, "bytes", &bytes) || !get_crc(o, &f->crc32c)) {
      return bad_string(err, "an entry of files", o, "name", f->name);
    }
    f->bytes = (uint64_t)bytes;
  }
  return n ? stk_names_check(&m->files[0].name, sizeof *m->files, n, "manifest: file", SP_ECORRUPT,
                             err)
           : SP_OK;
}

static bool parse_shape(const json_t *array, struct stk_manifest_tensor *t) {
  if (!json_is_array(array) || json_array_size(array) > STK_ST_MAX_RANK) {
    return false;
  }
  for (size_t i = 0; i < json_array_size(array); i++) {
    const json_t *v = json_array_get(array, i);
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
      return false;
    }
    t->dims[t->rank++] = json_integer_value(v);
  }
  return true;
}

static bool parse_role(const json_t *v, enum stk_ckpt_role *out) {
  for (int i = 0; json_is_string(v) && i < 2; i++) {
    if (strcmp(json_string_value(v), role_names[i]) == 0) {
      *out = (enum stk_ckpt_role)i;
      return true;
    }
  }
  return false;
}

static bool parse_tensor(const json_t *o, const struct stk_manifest *m,
                         struct stk_manifest_tensor *t) {
  int64_t file;
  int64_t offset;
  int64_t bytes;
  uint64_t want;
  const json_t *dtype = json_object_get(o, "dtype");
  if (json_object_size(o) != 8 || !get_string(o, "name", &t->name) ||
      !parse_role(json_object_get(o, "role"), &t->role) || !json_is_string(dtype) ||
      !stk_st_dtype_parse(json_string_value(dtype), &t->dtype) ||
      !parse_shape(json_object_get(o, "shape"), t) || !get_integer(o, "file", &file) ||
      !get_integer(o, "offset", &offset) || !get_integer(o, "bytes", &bytes) ||
      !get_crc(o, &t->crc32c)) {
    return false;
  }
  if (stk_st_bytes(t->dtype, t->rank, t->dims, &want, NULL) != SP_OK || want != (uint64_t)bytes ||
      (uint64_t)file >= m->n_files || (uint64_t)offset > m->files[file].bytes ||
      want > m->files[file].bytes - (uint64_t)offset) {
    return false;
  }
  t->file = (uint32_t)file;
  t->offset = (uint64_t)offset;
  t->bytes = want;
  return true;
}

static sp_status parse_tensors(const json_t *root, struct stk_manifest *m, struct sp_err *err) {
  const json_t *array = json_object_get(root, "tensors");
  size_t n = json_array_size(array);
  if (!json_is_array(array) || n > STK_ST_MAX_TENSORS) {
    return bad(err, "tensors");
  }
  m->tensors = sp_alloc_array(n, sizeof *m->tensors);
  if (!m->tensors) {
    return sp_fail(err, SP_ENOMEM, "manifest: out of memory");
  }
  for (size_t i = 0; i < n; i++) {
    const json_t *o = json_array_get(array, i);
    if (!parse_tensor(o, m, &m->tensors[m->n_tensors++])) {
      char what[300];
      snprintf(what, sizeof what, "tensor %zu (%.200s)", i,
               m->tensors[i].name ? m->tensors[i].name : "unnamed");
      return bad_string(err, what, o, "name", m->tensors[i].name);
    }
  }
  return n ? stk_names_check(&m->tensors[0].name, sizeof *m->tensors, n, "manifest: tensor",
                             SP_ECORRUPT, err)
           : SP_OK;
}

static sp_status parse_root(json_t *root, struct stk_manifest *m, struct sp_err *err) {
  int64_t format;
  if (!get_integer(root, "format", &format)) {
    return bad(err, "format");
  }
  if (format != STK_MANIFEST_FORMAT) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "manifest: format %" PRId64 "; this build reads %d, a newer one wrote it",
                   format, STK_MANIFEST_FORMAT);
  }
  size_t n_optional = json_object_get(root, "order") ? 1 : 0;
  if (json_object_size(root) != N_FIELDS + N_OTHERS + n_optional) {
    return sp_fail(err, SP_ECORRUPT, "manifest: a field is missing or unknown");
  }
  sp_status st = parse_scalars(root, m, err);
  if (st == SP_OK && !parse_order(root, m)) {
    st = bad(err, "order");
  }
  if (st == SP_OK) {
    st = parse_pairs(root, "hparams", &m->hparams, &m->n_hparams, err);
  }
  if (st == SP_OK) {
    st = parse_pairs(root, "summary", &m->summary, &m->n_summary, err);
  }
  if (st == SP_OK) {
    st = parse_control(root, m, err);
  }
  if (st == SP_OK) {
    st = parse_files(root, m, err);
  }
  return st == SP_OK ? parse_tensors(root, m, err) : st;
}

static sp_status check_trailer(const char *text, size_t n, struct sp_err *err) {
  if (n > STK_MANIFEST_MAX_BYTES) {
    return sp_fail(err, SP_ECORRUPT, "manifest: %zu bytes are too many", n);
  }
  const char *trailer = n >= TRAILER_BYTES ? text + n - TRAILER_BYTES : NULL;
  uint32_t stated;
  if (!trailer || memcmp(trailer, "crc32c ", 7) != 0 || text[n - 1] != '\n' ||
      !parse_crc(trailer + 7, 8, &stated)) {
    return sp_fail(err, SP_ECORRUPT, "manifest: it does not end in its checksum; truncated");
  }
  uint32_t found = sp_crc32c(0, text, n - TRAILER_BYTES);
  return found == stated
             ? SP_OK
             : sp_fail(err, SP_ECORRUPT, "manifest: CRC32C is %08" PRIx32 ", it states %08" PRIx32,
                       found, stated);
}

sp_status stk_manifest_parse(const char *text, size_t n_bytes, struct stk_manifest *out,
                             struct sp_err *err) {
  sp_status st = check_trailer(text, n_bytes, err);
  if (st != SP_OK) {
    return st;
  }
  json_error_t why;
  json_t *root = json_loadb(text, n_bytes - TRAILER_BYTES, JSON_REJECT_DUPLICATES, &why);
  if (!json_is_object(root)) {
    json_decref(root);
    if (!root && json_error_code(&why) == json_error_out_of_memory) {
      return sp_fail(err, SP_ENOMEM, "manifest: out of memory");
    }
    return sp_fail(err, SP_ECORRUPT, "manifest: not a JSON object: line %d: %s", why.line,
                   why.text);
  }
  struct stk_manifest m = {0};
  st = parse_root(root, &m, err);
  json_decref(root);
  if (st != SP_OK) {
    stk_manifest_free(&m);
    return st;
  }
  *out = m;
  return SP_OK;
}

static void free_pairs(struct stk_manifest_pair *pairs, size_t n) {
  for (size_t i = 0; i < n; i++) {
    sp_free(pairs[i].key);
    sp_free(pairs[i].value);
  }
  sp_free(pairs);
}

void stk_manifest_free(struct stk_manifest *m) {
  for (size_t i = 0; i < N_FIELDS; i++) {
    if (fields[i].kind == STRING) {
      sp_free(*string_at(m, &fields[i]));
    }
  }
  free_pairs(m->hparams, m->n_hparams);
  free_pairs(m->summary, m->n_summary);
  for (size_t i = 0; i < m->n_files; i++) {
    sp_free(m->files[i].name);
  }
  for (size_t i = 0; i < m->n_tensors; i++) {
    sp_free(m->tensors[i].name);
  }
  sp_free(m->control);
  sp_free(m->files);
  sp_free(m->tensors);
  *m = (struct stk_manifest){0};
}

static const char *find_pair(const struct stk_manifest_pair *pairs, size_t n, const char *key) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(pairs[i].key, key) == 0) {
      return pairs[i].value;
    }
  }
  return NULL;
}

const char *stk_manifest_hparam(const struct stk_manifest *m, const char *key) {
  return find_pair(m->hparams, m->n_hparams, key);
}

const char *stk_manifest_summary(const struct stk_manifest *m, const char *key) {
  return find_pair(m->summary, m->n_summary, key);
}
