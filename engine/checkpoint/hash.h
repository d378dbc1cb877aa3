/* The hash of weights: SHA-256 over their raw little-endian bytes in sorted order of their names.
 *
 * Sorted means strcmp on the bytes of the names. Names, shapes and types are not hashed, so
 * `sha256` of the concatenated arrays in any language gives the same 64 digits. Every NaN counts as
 * 0x7fc00000 (0x7ff8000000000000 in F64, 0x7e00 in F16, 0x7fc0 in BF16): which NaN a processor
 * makes is not part of a result.
 */
#ifndef STK_CHECKPOINT_HASH_H
#define STK_CHECKPOINT_HASH_H

#include "engine/checkpoint/load.h"

enum { STK_HASH_BYTES = 32 };

/* Hash of tensors in memory. Only those of role model count. */
SP_NODISCARD sp_status stk_ckpt_hash_tensors(const struct stk_ckpt_tensor *tensors,
                                             size_t n_tensors, uint8_t out[STK_HASH_BYTES],
                                             struct sp_err *err);

/* Hash of a path: a checkpoint directory (its model tensors; CRC32C is checked on the way) or a
 * safetensors file. */
SP_NODISCARD sp_status stk_ckpt_hash(const char *path, uint8_t out[STK_HASH_BYTES],
                                     struct sp_err *err);

/* As 64 lower-case hexadecimal digits. */
void stk_hash_hex(const uint8_t hash[STK_HASH_BYTES], char out[2 * STK_HASH_BYTES + 1]);

#endif
