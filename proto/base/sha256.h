/* SHA-256 (FIPS 180-4), streaming: module digests, state hashes, checkpoint weights.
 *
 * Uses the CPU's SHA extensions where it has them; the digest is the same. A struct belongs to one
 * thread; nothing is allocated.
 */
#ifndef SP_BASE_SHA256_H
#define SP_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SP_SHA256_BYTES = 32, SP_SHA256_HEX = 65 };

typedef void sp_sha256_compress(uint32_t h[8], const uint8_t *blocks, size_t n_blocks);

struct sp_sha256 {
  uint32_t h[8];
  uint64_t n_bytes;
  uint8_t block[64];
  sp_sha256_compress *compress;
};

void sp_sha256_init(struct sp_sha256 *s);
void sp_sha256_update(struct sp_sha256 *s, const void *bytes, size_t n);

/* Ends the stream; the struct must be initialised again before further use. */
void sp_sha256_final(struct sp_sha256 *s, uint8_t out_digest[SP_SHA256_BYTES]);

/* The three calls in one. */
void sp_sha256_of(const void *bytes, size_t n, uint8_t out_digest[SP_SHA256_BYTES]);

/* 64 lower-case digits and a zero. */
void sp_sha256_hex(const uint8_t digest[SP_SHA256_BYTES], char out_hex[SP_SHA256_HEX]);

/* sp_sha256_init without the extensions; for the test that compares both. */
void sp_sha256_init_portable(struct sp_sha256 *s);

#endif
