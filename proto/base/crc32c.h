/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), as in iSCSI, ext4 and TensorBoard's records.
 *
 * Uses the SSE4.2 instruction where the CPU has it, else a table; the value is the same. Pure; any
 * thread.
 */
#ifndef SP_BASE_CRC32C_H
#define SP_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of earlier bytes (0 at the start) followed by these n. */
uint32_t sp_crc32c(uint32_t crc, const void *bytes, size_t n);

/* The same without the instruction; for the test that compares both. */
uint32_t sp_crc32c_portable(uint32_t crc, const void *bytes, size_t n);

#endif
