/* SHA-256, portable and with the SHA extensions. See sha256.h; names follow FIPS 180-4.
 *
 * The extended form keeps the state as the instructions want it, (a,b,e,f) and (c,d,g,h), and does
 * four rounds per instruction pair; its message schedule is expanded beforehand into 16 vectors.
 */
#include "proto/base/sha256.h"

#include <string.h>

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n) {
  return (x >> n) | (x << (32 - n));
}

static uint32_t load_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static void store_be32(uint8_t *p, uint32_t x) {
  p[0] = (uint8_t)(x >> 24);
  p[1] = (uint8_t)(x >> 16);
  p[2] = (uint8_t)(x >> 8);
  p[3] = (uint8_t)x;
}

static void expand(uint32_t w[64], const uint8_t *block) {
  for (int t = 0; t < 16; t++) {
    w[t] = load_be32(block + 4 * t);
  }
  for (int t = 16; t < 64; t++) {
    uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ (w[t - 15] >> 3);
    uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ (w[t - 2] >> 10);
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }
}

/* Variable v (a is 0) of round t: the eight names move on by one each round, the words stay. */
static uint32_t *word(uint32_t s[8], int v, int t) {
  return &s[(v - t) & 7];
}

static void round_of(uint32_t s[8], int t, uint32_t kw) {
  uint32_t a = *word(s, 0, t);
  uint32_t b = *word(s, 1, t);
  uint32_t c = *word(s, 2, t);
  uint32_t e = *word(s, 4, t);
  uint32_t sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
  uint32_t choose = (e & *word(s, 5, t)) ^ (~e & *word(s, 6, t));
  uint32_t t1 = *word(s, 7, t) + sum1 + choose + kw;
  uint32_t sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
  uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
  *word(s, 3, t) += t1;
  *word(s, 7, t) = t1 + sum0 + majority;
}

static void compress_portable(uint32_t h[8], const uint8_t *blocks, size_t n_blocks) {
  for (; n_blocks > 0; n_blocks--, blocks += 64) {
    uint32_t w[64];
    uint32_t s[8];
    expand(w, blocks);
    memcpy(s, h, sizeof s);
    for (int t = 0; t < 64; t += 8) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; i++) {
        round_of(s, i, round_constants[t + i] + w[t + i]);
      }
    }
    for (int i = 0; i < 8; i++) {
      h[i] += s[i];
    }
  }
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

SHA_TARGET static void compress_extended(uint32_t h[8], const uint8_t *blocks, size_t n_blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  const __m128i *k = (const __m128i *)(const void *)round_constants;
  __m128i abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
  __m128i cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
  for (; n_blocks > 0; n_blocks--, blocks += 64) {
    __m128i w[16];
    __m128i abef_in = abef;
    __m128i cdgh_in = cdgh;
    const __m128i *in = (const __m128i *)(const void *)blocks;
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      if (i < 4) {
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128(in + i), swap);
      } else {
        __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[i - 4], w[i - 3]),
                                    _mm_alignr_epi8(w[i - 1], w[i - 2], 4));
        w[i] = _mm_sha256msg2_epu32(sum, w[i - 1]);
      }
      __m128i wk = _mm_add_epi32(w[i], _mm_loadu_si128(k + i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_in);
    cdgh = _mm_add_epi32(cdgh, cdgh_in);
  }
  uint32_t out[8];
  _mm_storeu_si128((__m128i *)(void *)out, abef);
  _mm_storeu_si128((__m128i *)(void *)(out + 4), cdgh);
  const int order[8] = {3, 2, 7, 6, 1, 0, 5, 4};
  for (int i = 0; i < 8; i++) {
    h[i] = out[order[i]];
  }
}

static int has_sha_extensions(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) &&
         __builtin_cpu_supports("sse4.1");
}

static sp_sha256_compress *best_compress(void) {
  return has_sha_extensions() ? compress_extended : compress_portable;
}

#else

static sp_sha256_compress *best_compress(void) {
  return compress_portable;
}

#endif

void sp_sha256_init_portable(struct sp_sha256 *s) {
  static const uint32_t initial[8] = {
      0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  };
  *s = (struct sp_sha256){.compress = compress_portable};
  memcpy(s->h, initial, sizeof initial);
}

void sp_sha256_init(struct sp_sha256 *s) {
  sp_sha256_init_portable(s);
  s->compress = best_compress();
}

void sp_sha256_update(struct sp_sha256 *s, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  size_t held = (size_t)(s->n_bytes % 64);
  if (n == 0) {
    return; /* bytes may be NULL then */
  }
  s->n_bytes += n;
  if (held) {
    size_t take = n < 64 - held ? n : 64 - held;
    memcpy(s->block + held, p, take);
    p += take;
    n -= take;
    if (held + take < 64) {
      return;
    }
    s->compress(s->h, s->block, 1);
  }
  s->compress(s->h, p, n / 64);
  if (n % 64) {
    memcpy(s->block, p + n / 64 * 64, n % 64);
  }
}

void sp_sha256_final(struct sp_sha256 *s, uint8_t out_digest[SP_SHA256_BYTES]) {
  uint64_t bits = s->n_bytes * 8;
  uint8_t tail[72] = {0x80};
  size_t held = (size_t)(s->n_bytes % 64);
  size_t pad = held < 56 ? 56 - held : 120 - held;
  store_be32(tail + pad, (uint32_t)(bits >> 32));
  store_be32(tail + pad + 4, (uint32_t)bits);
  sp_sha256_update(s, tail, pad + 8);
  for (int i = 0; i < 8; i++) {
    store_be32(out_digest + 4 * i, s->h[i]);
  }
}

void sp_sha256_of(const void *bytes, size_t n, uint8_t out_digest[SP_SHA256_BYTES]) {
  struct sp_sha256 s;
  sp_sha256_init(&s);
  sp_sha256_update(&s, bytes, n);
  sp_sha256_final(&s, out_digest);
}

void sp_sha256_hex(const uint8_t digest[SP_SHA256_BYTES], char out_hex[SP_SHA256_HEX]) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < SP_SHA256_BYTES; i++) {
    out_hex[2 * i] = digits[digest[i] >> 4];
    out_hex[2 * i + 1] = digits[digest[i] & 15];
  }
  out_hex[SP_SHA256_HEX - 1] = '\0';
}
