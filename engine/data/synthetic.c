/* Made-up data: for trying a model without files, for tests and for benchmarks.
 *
 * Every value is a function of (seed, sample id, element) through an integer hash and exact or
 * correctly rounded operations, so it is the same on every machine and needs no memory. It can be
 * learned: images are a template of their class plus noise, text follows a random successor table
 * nine times in ten, regression targets are a linear map of x plus noise.
 */
#include "engine/data/reader.h"

#include "proto/base/mem.h"

#include <inttypes.h>
#include <stdio.h>

/* Streams of the hash: they keep the uses of one seed apart. */
enum { STREAM_LABEL = 1, STREAM_TEMPLATE, STREAM_NOISE, STREAM_TOKEN, STREAM_NEXT, STREAM_MAP };

struct synthetic_reader {
  struct stk_synthetic_spec spec;
  int64_t x_elements;
  int64_t block;
};

/* The finaliser of splitmix64 over the three keys in turn. */
uint64_t stk_data_hash(uint64_t seed, uint64_t a, uint64_t b) {
  const uint64_t keys[] = {seed, a, b};
  uint64_t h = 0;
  for (int i = 0; i < 3; i++) {
    h = h * 0x9e3779b97f4a7c15U + keys[i] + 0x9e3779b97f4a7c15U;
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9U;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebU;
    h ^= h >> 31;
  }
  return h;
}

static uint64_t draw(const struct synthetic_reader *r, int stream, uint64_t a, uint64_t b) {
  return stk_data_hash(r->spec.seed + (uint64_t)stream * 0xd1342543de82ef95U, a, b);
}

/* [0, 1) in steps of 2^-24: exact in float. */
static float unit(uint64_t h) {
  return (float)(h >> 40) * 0x1p-24f;
}

static void make_image(const struct synthetic_reader *r, uint64_t id, float *x, int32_t *y) {
  uint64_t n_classes = (uint64_t)r->spec.n_classes;
  uint64_t label = n_classes ? draw(r, STREAM_LABEL, id, 0) % n_classes : 0;
  for (int64_t e = 0; e < r->x_elements; e++) {
    float t = unit(draw(r, STREAM_TEMPLATE, label, (uint64_t)e));
    float noise = unit(draw(r, STREAM_NOISE, id, (uint64_t)e));
    x[e] = 0.75f * t + 0.25f * noise;
  }
  if (y) {
    *y = (int32_t)label;
  }
}

static void make_text(const struct synthetic_reader *r, uint64_t id, int32_t *x, int32_t *y) {
  uint64_t vocab = (uint64_t)r->spec.n_classes;
  uint64_t token = draw(r, STREAM_TOKEN, id, 0) % vocab;
  for (int64_t t = 0; t < r->block; t++) {
    uint64_t h = draw(r, STREAM_TOKEN, id, (uint64_t)t + 1);
    uint64_t next = h % 10 == 0 ? (h >> 32) % vocab : draw(r, STREAM_NEXT, token, 0) % vocab;
    x[t] = (int32_t)token;
    if (y) {
      y[t] = (int32_t)next;
    }
    token = next;
  }
}

static void make_regression(const struct synthetic_reader *r, uint64_t id, float *x, float *y) {
  for (int64_t e = 0; e < r->x_elements; e++) {
    x[e] = 2.0f * unit(draw(r, STREAM_NOISE, id, (uint64_t)e)) - 1.0f;
  }
  for (int64_t o = 0; y && o < r->spec.n_classes; o++) {
    double sum = 0;
    for (int64_t e = 0; e < r->x_elements; e++) {
      double w = 2.0 * (double)unit(draw(r, STREAM_MAP, (uint64_t)o, (uint64_t)e)) - 1.0;
      sum += w * (double)x[e];
    }
    double noise = (double)unit(draw(r, STREAM_LABEL, id, (uint64_t)o)) - 0.5;
    y[o] = (float)(sum + 0.01 * noise);
  }
}

static stk_status synthetic_read(void *self, const stk_reader_request *request, void *x, void *y,
                                 stk_reader_why *why) {
  (void)why;
  const struct synthetic_reader *r = self;
  for (int32_t k = 0; k < request->n; k++) {
    uint64_t id = (uint64_t)(request->ids[k] + r->spec.first);
    int32_t *y_ids = y;
    float *y_reals = y;
    switch (r->spec.what) {
      case STK_SYNTHETIC_IMAGES:
        make_image(r, id, (float *)x + k * r->x_elements, y ? y_ids + k : NULL);
        break;
      case STK_SYNTHETIC_TOKENS:
        make_text(r, id, (int32_t *)x + k * r->block, y ? y_ids + k * r->block : NULL);
        break;
      case STK_SYNTHETIC_REGRESSION:
        make_regression(r, id, (float *)x + k * r->x_elements,
                        y ? y_reals + k * r->spec.n_classes : NULL);
        break;
    }
  }
  return 0;
}

static void synthetic_close(void *self) {
  sp_free(self);
}

static const stk_reader_ops synthetic_ops = {
    .abi = STK_READER_ABI,
    .size = sizeof(stk_reader_ops),
    .name = "synthetic",
    .read = synthetic_read,
    .close = synthetic_close,
};

static sp_status check_spec(const struct stk_data_spec *spec, struct sp_err *err) {
  const struct stk_synthetic_spec *s = &spec->synthetic;
  bool text = s->what == STK_SYNTHETIC_TOKENS;
  if (s->n_samples < 1 || s->first < 0 || s->first > INT64_MAX - s->n_samples) {
    return sp_fail(err, SP_EINVAL, "data: %" PRId64 " synthetic samples are impossible",
                   s->n_samples);
  }
  if (text ? spec->block < 1 : s->rank < 1 || s->rank > STK_SAMPLE_MAX_RANK) {
    return sp_fail(err, SP_EINVAL, "data: synthetic %s of no valid shape",
                   text ? "text" : "samples");
  }
  int64_t fewest = s->what == STK_SYNTHETIC_IMAGES ? 0 : 1;
  if (s->n_classes < fewest || s->n_classes > INT32_MAX) {
    return sp_fail(err, SP_EINVAL, "data: %" PRId64 " synthetic classes are impossible",
                   s->n_classes);
  }
  return SP_OK;
}

sp_status stk_synthetic_open(const struct stk_data_spec *spec, struct stk_dataset *ds,
                             struct sp_err *err) {
  sp_status st = check_spec(spec, err);
  if (st != SP_OK) {
    return st;
  }
  struct synthetic_reader *r = sp_alloc(sizeof *r);
  if (!r) {
    return sp_fail(err, SP_ENOMEM, "data: out of memory");
  }
  const struct stk_synthetic_spec *s = &spec->synthetic;
  r->spec = *s;
  r->block = spec->block;
  stk_sample shape = {.dtype = STK_F32, .rank = s->rank};
  for (int32_t i = 0; i < s->rank && i < STK_SAMPLE_MAX_RANK; i++) {
    shape.dims[i] = s->dims[i];
  }
  ds->info.n_samples = s->n_samples;
  ds->info.has_y = 1;
  ds->info.x = shape;
  if (s->what == STK_SYNTHETIC_TOKENS) {
    ds->info.x = (stk_sample){.dtype = STK_I32, .rank = 1, .dims = {spec->block}};
    ds->info.y = ds->info.x;
  } else if (s->what == STK_SYNTHETIC_IMAGES) {
    ds->info.has_y = s->n_classes > 0;
    ds->info.y = (stk_sample){.dtype = STK_I32};
  } else {
    ds->info.y = (stk_sample){.dtype = STK_F32, .rank = 1, .dims = {s->n_classes}};
  }
  r->x_elements = stk_sample_elements(&shape);
  ds->ops = &synthetic_ops;
  ds->self = r;
  stk_dataset_set_name(ds, "synthetic data");
  return SP_OK;
}
