/* IDX files: MNIST's format, images and labels.
 *
 * A file is 00 00, a type code, the number of dimensions, that many big-endian u32 sizes, and the
 * elements, big-endian. The first dimension counts samples. u8 images are the model's x / 255 (the
 * conversion is convert.h's); two-dimensional images get a channel: [1, h, w]. Labels are of one
 * dimension, y a scalar. Signed 8 and 16 bit become i32.
 *
 * Beside FILE-images-idx3-ubyte the labels are FILE-labels-idx1-ubyte (also with '.' for '-', also
 * with .gz); without them the data has no y. In a directory the role chooses: train for training,
 * else val, t10k or test; a single file of images serves any role.
 */
#include "engine/data/reader.h"

#include "proto/base/mem.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { IDX_MAX_DIMS = 5, N_PATTERNS = 2 };

struct idx_file {
  struct stk_mapping map;
  const uint8_t *data;
  int64_t n;
  int32_t rank; /* without the first dimension */
  int64_t dims[STK_SAMPLE_MAX_RANK];
  stk_dtype dtype; /* as the reader delivers it */
  uint8_t type;
  uint64_t sample_elements;
  uint32_t element_bytes; /* in the file */
};

struct idx_reader {
  struct idx_file x;
  struct idx_file y; /* not mapped: no labels */
};

static const struct {
  uint8_t code;
  uint8_t bytes;
  stk_dtype dtype;
} types[] = {
    {0x08, 1, STK_U8},  {0x09, 1, STK_I32}, {0x0b, 2, STK_I32},
    {0x0c, 4, STK_I32}, {0x0d, 4, STK_F32}, {0x0e, 8, STK_F64},
};

static uint32_t big_u32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static sp_status parse_type(struct idx_file *f, const char *path, struct sp_err *err) {
  const uint8_t *b = f->map.bytes;
  if (f->map.n_bytes >= 2 && b[0] == 0x1f && b[1] == 0x8b) {
    return sp_fail(err, SP_EUNSUPPORTED, "data: %s is compressed with gzip; gunzip it first", path);
  }
  if (f->map.n_bytes < 8 || b[0] != 0 || b[1] != 0) {
    return sp_fail(err, SP_ECORRUPT, "data: %s is not an IDX file (it must begin with 00 00)",
                   path);
  }
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (types[i].code == b[2]) {
      f->type = b[2];
      f->dtype = types[i].dtype;
      f->element_bytes = types[i].bytes;
      return SP_OK;
    }
  }
  return sp_fail(err, SP_ECORRUPT, "data: %s: IDX type code 0x%02x is not known", path, b[2]);
}

static sp_status parse_header(struct idx_file *f, const char *path, struct sp_err *err) {
  sp_status st = parse_type(f, path, err);
  if (st != SP_OK) {
    return st;
  }
  uint64_t n_dims = f->map.bytes[3];
  uint64_t header_bytes = 4 + 4 * n_dims;
  if (n_dims < 1 || n_dims > IDX_MAX_DIMS || f->map.n_bytes < header_bytes) {
    return sp_fail(err, SP_ECORRUPT,
                   "data: %s: the IDX header has %" PRIu64
                   " dimensions (1 to %d are read) and the "
                   "file %" PRIu64 " bytes",
                   path, n_dims, IDX_MAX_DIMS, f->map.n_bytes);
  }
  f->n = big_u32(f->map.bytes + 4);
  f->sample_elements = 1;
  for (uint64_t d = 1; d < n_dims; d++) {
    uint32_t size = big_u32(f->map.bytes + 4 + 4 * d);
    if (size == 0 || __builtin_mul_overflow(f->sample_elements, size, &f->sample_elements)) {
      return sp_fail(err, SP_ECORRUPT, "data: %s: dimension %" PRIu64 " is %" PRIu32, path, d,
                     size);
    }
    f->dims[f->rank++] = size;
  }
  uint64_t want;
  if (__builtin_mul_overflow(f->sample_elements, (uint64_t)f->n, &want) ||
      __builtin_mul_overflow(want, (uint64_t)f->element_bytes, &want) ||
      __builtin_add_overflow(want, header_bytes, &want) || want != f->map.n_bytes) {
    return sp_fail(err, SP_ECORRUPT,
                   "data: %s: the header promises %" PRId64 " samples of %" PRIu64
                   " elements, but the file has %" PRIu64 " bytes; it is truncated or not IDX",
                   path, f->n, f->sample_elements, f->map.n_bytes);
  }
  f->data = f->map.bytes + header_bytes;
  return SP_OK;
}

static sp_status open_file(const struct stk_data_spec *spec, const char *path, struct idx_file *f,
                           struct sp_err *err) {
  sp_status st = stk_mapping_open(spec->opener, path, &f->map, err);
  return st == SP_OK ? parse_header(f, path, err) : st;
}

/* Big-endian elements of one sample into the delivered type. */
static void copy_elements(const struct idx_file *f, const uint8_t *from, uint8_t *to) {
  for (uint64_t i = 0; i < f->sample_elements; i++, from += f->element_bytes) {
    int32_t v;
    uint64_t bits = big_u32(f->element_bytes >= 4 ? from : (const uint8_t[4]){0});
    switch (f->type) {
      case 0x09:
        v = (int8_t)from[0];
        memcpy(to + 4 * i, &v, 4);
        break;
      case 0x0b:
        v = (int16_t)(uint16_t)(from[0] << 8 | from[1]);
        memcpy(to + 4 * i, &v, 4);
        break;
      case 0x0e:
        bits = bits << 32 | big_u32(from + 4);
        memcpy(to + 8 * i, &bits, 8);
        break;
      default: {
        uint32_t word = (uint32_t)bits;
        memcpy(to + 4 * i, &word, 4);
      }
    }
  }
}

static void read_file(const struct idx_file *f, const stk_reader_request *request, void *out) {
  uint64_t sample_bytes = f->sample_elements * f->element_bytes;
  if (f->type == 0x08) {
    stk_data_gather(f->data, sample_bytes, request, out);
    return;
  }
  uint8_t *to = out;
  for (int32_t k = 0; k < request->n; k++) {
    copy_elements(f, f->data + (uint64_t)request->ids[k] * sample_bytes, to);
    to += f->sample_elements * stk_sample_dtype_bytes(f->dtype);
  }
}

static stk_status idx_read(void *self, const stk_reader_request *request, void *x, void *y,
                           stk_reader_why *why) {
  (void)why;
  const struct idx_reader *r = self;
  read_file(&r->x, request, x);
  if (y) {
    read_file(&r->y, request, y);
  }
  return 0;
}

static void idx_close(void *self) {
  struct idx_reader *r = self;
  stk_mapping_close(&r->x.map);
  stk_mapping_close(&r->y.map);
  sp_free(r);
}

static const stk_reader_ops idx_ops = {
    .abi = STK_READER_ABI,
    .size = sizeof(stk_reader_ops),
    .name = "idx",
    .read = idx_read,
    .close = idx_close,
};

/* The position of "images-idx" or "images.idx" in name if the rest is "<digit>-ubyte[.gz]". */
static const char *find_images(const char *name) {
  static const char *const patterns[N_PATTERNS] = {"images-idx", "images.idx"};
  for (size_t i = 0; i < N_PATTERNS; i++) {
    const char *at = strstr(name, patterns[i]);
    if (at) {
      const char *rest = at + strlen(patterns[i]);
      bool digit = rest[0] >= '1' && rest[0] <= '5';
      if (digit && (strcmp(rest + 1, "-ubyte") == 0 || strcmp(rest + 1, "-ubyte.gz") == 0)) {
        return at;
      }
    }
  }
  return NULL;
}

/* How well a name suits a role: 0 not at all (another role's), 1 any, 2 its own; +1 without .gz is
 * the caller's tie-break. */
static int suits(const char *name, enum stk_data_role role) {
  bool is_train = strstr(name, "train") != NULL;
  bool is_val = strstr(name, "val") != NULL;
  bool is_test = strstr(name, "t10k") != NULL || strstr(name, "test") != NULL;
  switch (role) {
    case STK_DATA_TRAIN:
      return is_train ? 3 : !is_val && !is_test ? 2 : 1;
    case STK_DATA_VAL:
      return is_val ? 4 : is_test ? 3 : !is_train ? 2 : 1;
    default:
      return is_test ? 4 : is_val ? 3 : !is_train ? 2 : 1;
  }
}

static bool is_gz(const char *name) {
  size_t n = strlen(name);
  return n > 3 && strcmp(name + n - 3, ".gz") == 0;
}

sp_status stk_idx_find(const char *dir, enum stk_data_role role, char out[STK_DATA_PATH_BYTES],
                       struct sp_err *err) {
  DIR *d = opendir(dir);
  if (!d) {
    return sp_fail_errno(err, "data: cannot open directory %s", dir);
  }
  char best[NAME_MAX + 1] = "";
  char rival[NAME_MAX + 1] = "";
  int best_score = 0;
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    if (!find_images(e->d_name)) {
      continue;
    }
    int score = 2 * suits(e->d_name, role) + !is_gz(e->d_name);
    if (score == best_score) {
      snprintf(rival, sizeof rival, "%s", e->d_name);
    } else if (score > best_score) {
      best_score = score;
      rival[0] = 0;
      snprintf(best, sizeof best, "%s", e->d_name);
    }
  }
  closedir(d);
  if (!best[0]) {
    return sp_fail(err, SP_ENOENT, "data: %s holds no IDX images (*images-idx3-ubyte[.gz])", dir);
  }
  if (rival[0]) {
    return sp_fail(err, SP_EINVAL, "data: %s holds both %s and %s; name the file in data.path", dir,
                   best, rival);
  }
  int n = snprintf(out, STK_DATA_PATH_BYTES, "%s/%s", dir, best);
  return n < STK_DATA_PATH_BYTES
             ? SP_OK
             : sp_fail(err, SP_EINVAL, "data: the path of %s is too long", best);
}

/* The labels that belong to a file of images; false where there are none. */
static bool find_labels(const char *images, char out[STK_DATA_PATH_BYTES]) {
  const char *slash = strrchr(images, '/');
  const char *at = find_images(slash ? slash + 1 : images);
  if (!at) {
    return false;
  }
  char name[STK_DATA_PATH_BYTES];
  int n = snprintf(name, sizeof name, "%.*slabels%cidx1-ubyte", (int)(at - images), images,
                   at[strlen("images")]);
  return n > 0 && n < STK_DATA_PATH_BYTES && stk_data_find(NULL, &(const char *){name}, 1, out);
}

static sp_status open_labels(const struct stk_data_spec *spec, const char *images,
                             struct idx_reader *r, struct sp_err *err) {
  char found[STK_DATA_PATH_BYTES];
  const char *path = spec->labels;
  if (!path) {
    if (!find_labels(images, found)) {
      return SP_OK;
    }
    path = found;
  }
  sp_status st = open_file(spec, path, &r->y, err);
  if (st != SP_OK) {
    return st;
  }
  if (r->y.n != r->x.n) {
    return sp_fail(err, SP_EMISMATCH,
                   "data: %s has %" PRId64 " labels for the %" PRId64 " images of %s", path, r->y.n,
                   r->x.n, images);
  }
  return SP_OK;
}

static void describe(const struct idx_file *f, bool is_x, stk_sample *out) {
  out->dtype = f->dtype;
  out->rank = f->rank;
  memcpy(out->dims, f->dims, sizeof out->dims);
  if (is_x && f->rank == 2) {
    out->rank = 3;
    out->dims[0] = 1;
    out->dims[1] = f->dims[0];
    out->dims[2] = f->dims[1];
  }
}

sp_status stk_idx_open(const struct stk_data_spec *spec, struct stk_dataset *ds,
                       struct sp_err *err) {
  char found[STK_DATA_PATH_BYTES];
  const char *path = spec->path;
  if (stk_data_is_directory(path)) {
    sp_status found_status = stk_idx_find(path, spec->role, found, err);
    if (found_status != SP_OK) {
      return found_status;
    }
    path = found;
  }
  struct idx_reader *r = sp_alloc(sizeof *r);
  if (!r) {
    return sp_fail(err, SP_ENOMEM, "data: out of memory");
  }
  sp_status st = open_file(spec, path, &r->x, err);
  if (st == SP_OK) {
    st = open_labels(spec, path, r, err);
  }
  if (st != SP_OK) {
    idx_close(r);
    return st;
  }
  ds->ops = &idx_ops;
  ds->self = r;
  ds->info.n_samples = r->x.n;
  ds->info.has_y = r->y.map.bytes != NULL;
  describe(&r->x, true, &ds->info.x);
  describe(&r->y, false, &ds->info.y);
  stk_dataset_set_name(ds, path);
  return SP_OK;
}
