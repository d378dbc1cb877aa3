/* What the fuzz targets of data files share. */
#ifndef FUZZ_DATASET_H
#define FUZZ_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "engine/data/dataset.h"

/* Opens the bytes as a file of this kind, through a memory file descriptor as a stranger's file
 * would come through the opener; what opens is read at both ends. Aborts on an internal error. */
void tt_fuzz_dataset(sp_data_kind kind, const uint8_t *data, size_t size);

#endif
