/* safetensors headers: any bytes are refused, or describe a buffer that is tiled exactly. */
#include "engine/checkpoint/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct stk_st_index index;
  if (stk_st_parse(data, size, size, &index, NULL) == SP_OK) {
    uint64_t at = 0;
    for (size_t i = 0; i < index.n_entries; i++) {
      if (index.entries[i].begin != at) {
        abort();
      }
      at = index.entries[i].end;
    }
    if (index.data_offset + at != size) {
      abort();
    }
    stk_st_index_free(&index);
  }
  return 0;
}
