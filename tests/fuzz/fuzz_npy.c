/* .npy files: any bytes are refused or can be read whole. */
#include "tests/lib/fuzz_dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tt_fuzz_dataset(SP_DATA_NPY, data, size);
  return 0;
}
