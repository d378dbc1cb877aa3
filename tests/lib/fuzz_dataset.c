/* Any bytes as a data file (fuzz_dataset.h). */
#include "tests/lib/fuzz_dataset.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/mem.h"

enum { MAX_ELEMENTS = 1 << 16 };

struct input {
  const uint8_t *data;
  size_t n;
};

static sp_status open_input(void *ctx, const char *path, int *out_fd, struct sp_err *err) {
  (void)path;
  const struct input *in = ctx;
  int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, in->data, in->n) != (ssize_t)in->n) {
    return sp_fail(err, SP_EIO, "memfd");
  }
  *out_fd = fd;
  return SP_OK;
}

static void read_sample(struct stk_dataset *ds, int64_t id) {
  const stk_reader_info *info = stk_dataset_info(ds);
  if (stk_sample_elements(&info->x) <= MAX_ELEMENTS) {
    void *x = sp_alloc(8 * (size_t)stk_sample_elements(&info->x));
    stk_reader_request request = {.ids = &id, .n = 1};
    if (!x || stk_dataset_read(ds, &request, true, x, NULL, NULL) == SP_EINTERNAL) {
      abort();
    }
    sp_free(x);
  }
}

void tt_fuzz_dataset(sp_data_kind kind, const uint8_t *data, size_t size) {
  struct input in = {data, size};
  struct stk_data_opener opener = {open_input, &in};
  struct stk_data_spec spec = {.kind = kind, .path = "fuzz", .opener = &opener};
  struct stk_dataset *ds;
  if (stk_dataset_open(&spec, &ds, NULL) == SP_OK) {
    read_sample(ds, 0);
    read_sample(ds, stk_dataset_info(ds)->n_samples - 1);
    stk_dataset_close(ds);
  }
}
