/* vec.h on AVX2 and FMA: two 256-bit registers a vector. f32 only. Included by vec.h only.
 *
 * Lanes 0..7 are lo, 8..15 are hi. The comments in vec/ref.h are the contract.
 */
#ifndef STK_KERNEL_VEC_AVX2_H
#define STK_KERNEL_VEC_AVX2_H

#include <immintrin.h>
#include <stdbool.h>

#if STK_REAL_BITS != 32
#error "avx2 is f32 only; f64 is ref's"
#endif

typedef struct {
  __m256 lo, hi;
} vreal;
typedef struct {
  __m256i lo, hi;
} vint;
typedef struct {
  __m256 lo, hi;
} vmask;

V_INLINE real r_fma(real a, real b, real c) {
  return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

V_INLINE real r_sqrt(real a) {
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a)));
}

V_INLINE vmask v_mask_n(int64_t n) {
  const __m256i count = _mm256_set1_epi32((int32_t)n);
  const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
  return (vmask){_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, low)),
                 _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, high))};
}

V_INLINE vreal v_load(const real *p) {
  return (vreal){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

V_INLINE void v_store(real *p, vreal a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}

V_INLINE void v_stream(real *p, vreal a) {
  if (((uintptr_t)p & 31) == 0) {
    _mm256_stream_ps(p, a.lo);
    _mm256_stream_ps(p + 8, a.hi);
  } else {
    v_store(p, a);
  }
}

V_INLINE vreal v_load_n(const real *p, int64_t n) {
  const vmask m = v_mask_n(n);
  return (vreal){_mm256_maskload_ps(p, _mm256_castps_si256(m.lo)),
                 _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.hi))};
}

V_INLINE vreal v_load_mask(const real *p, vmask m) {
  return (vreal){_mm256_maskload_ps(p, _mm256_castps_si256(m.lo)),
                 _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.hi))};
}

V_INLINE void v_store_n(real *p, vreal a, int64_t n) {
  const vmask m = v_mask_n(n);
  _mm256_maskstore_ps(p, _mm256_castps_si256(m.lo), a.lo);
  _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.hi), a.hi);
}

V_INLINE vreal v_load_u8(const uint8_t *p) {
  const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
  return (vreal){_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)),
                 _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(b, 8)))};
}

V_INLINE vreal v_set1(real x) {
  const __m256 v = _mm256_set1_ps(x);
  return (vreal){v, v};
}

V_INLINE vreal v_zero(void) {
  return (vreal){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

V_INLINE vreal v_iota(void) {
  return (vreal){_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7),
                 _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15)};
}

V_INLINE real v_get(vreal a, int lane) {
  real l[16];
  v_store(l, a);
  return l[lane];
}

V_INLINE vreal v_add(vreal a, vreal b) {
  return (vreal){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

V_INLINE vreal v_sub(vreal a, vreal b) {
  return (vreal){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

V_INLINE vreal v_mul(vreal a, vreal b) {
  return (vreal){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

V_INLINE vreal v_div(vreal a, vreal b) {
  return (vreal){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

V_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
  return (vreal){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

V_INLINE vreal v_fms(vreal a, vreal b, vreal c) {
  return (vreal){_mm256_fmsub_ps(a.lo, b.lo, c.lo), _mm256_fmsub_ps(a.hi, b.hi, c.hi)};
}

V_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
  return (vreal){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}

V_INLINE vreal v_neg(vreal a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return (vreal){_mm256_xor_ps(a.lo, sign), _mm256_xor_ps(a.hi, sign)};
}

V_INLINE vreal v_abs(vreal a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return (vreal){_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

V_INLINE vreal v_copysign(vreal a, vreal sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return (vreal){_mm256_or_ps(_mm256_andnot_ps(bit, a.lo), _mm256_and_ps(bit, sign.lo)),
                 _mm256_or_ps(_mm256_andnot_ps(bit, a.hi), _mm256_and_ps(bit, sign.hi))};
}

V_INLINE vreal v_sqrt(vreal a) {
  return (vreal){_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)};
}

V_INLINE vreal v_max(vreal a, vreal b) {
  return (vreal){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

V_INLINE vreal v_min(vreal a, vreal b) {
  return (vreal){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

#define V_COMPARE(NAME, PREDICATE)                                                              \
  V_INLINE vmask NAME(vreal a, vreal b) {                                                       \
    return (vmask){_mm256_cmp_ps(a.lo, b.lo, PREDICATE), _mm256_cmp_ps(a.hi, b.hi, PREDICATE)}; \
  }
V_COMPARE(v_lt, _CMP_LT_OQ)
V_COMPARE(v_le, _CMP_LE_OQ)
V_COMPARE(v_gt, _CMP_GT_OQ)
V_COMPARE(v_ge, _CMP_GE_OQ)
V_COMPARE(v_eq, _CMP_EQ_OQ)
V_COMPARE(v_ne, _CMP_NEQ_UQ)
#undef V_COMPARE

V_INLINE vmask v_isnan(vreal a) {
  return v_ne(a, a);
}

V_INLINE vreal v_select(vmask m, vreal a, vreal b) {
  return (vreal){_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}

V_INLINE vmask v_mask_and(vmask a, vmask b) {
  return (vmask){_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)};
}

V_INLINE vmask v_mask_or(vmask a, vmask b) {
  return (vmask){_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)};
}

V_INLINE vmask v_mask_not(vmask a) {
  const __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
  return (vmask){_mm256_xor_ps(a.lo, ones), _mm256_xor_ps(a.hi, ones)};
}

V_INLINE uint32_t v_mask_bits(vmask m) {
  return (uint32_t)_mm256_movemask_ps(m.lo) | (uint32_t)_mm256_movemask_ps(m.hi) << 8;
}

V_INLINE vmask v_mask_from_bits(uint32_t bits) {
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i low = _mm256_and_si256(_mm256_set1_epi32((int32_t)(bits & 0xff)), lane);
  const __m256i high = _mm256_and_si256(_mm256_set1_epi32((int32_t)(bits >> 8 & 0xff)), lane);
  return (vmask){_mm256_castsi256_ps(_mm256_cmpeq_epi32(low, lane)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(high, lane))};
}

V_INLINE vint vi_load(const int32_t *p) {
  return (vint){_mm256_loadu_si256((const __m256i *)(const void *)p),
                _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

V_INLINE void vi_store(int32_t *p, vint a) {
  _mm256_storeu_si256((__m256i *)(void *)p, a.lo);
  _mm256_storeu_si256((__m256i *)(void *)(p + 8), a.hi);
}

V_INLINE vint vi_load_n(const int32_t *p, int64_t n) {
  const vmask m = v_mask_n(n);
  return (vint){_mm256_maskload_epi32((const int *)p, _mm256_castps_si256(m.lo)),
                _mm256_maskload_epi32((const int *)(p + 8), _mm256_castps_si256(m.hi))};
}

V_INLINE void vi_store_n(int32_t *p, vint a, int64_t n) {
  const vmask m = v_mask_n(n);
  _mm256_maskstore_epi32((int *)p, _mm256_castps_si256(m.lo), a.lo);
  _mm256_maskstore_epi32((int *)(p + 8), _mm256_castps_si256(m.hi), a.hi);
}

V_INLINE vint vi_set1(int32_t x) {
  const __m256i v = _mm256_set1_epi32(x);
  return (vint){v, v};
}

V_INLINE vint vi_iota(void) {
  return (vint){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

V_INLINE vint vi_add(vint a, vint b) {
  return (vint){_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}

V_INLINE vint vi_sub(vint a, vint b) {
  return (vint){_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}

V_INLINE vint vi_xor(vint a, vint b) {
  return (vint){_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}

V_INLINE vint vi_and(vint a, vint b) {
  return (vint){_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}

V_INLINE vint vi_srl(vint a, int by) {
  return (vint){_mm256_srli_epi32(a.lo, by), _mm256_srli_epi32(a.hi, by)};
}

V_INLINE vmask vi_eq(vint a, vint b) {
  return (vmask){_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.lo, b.lo)),
                 _mm256_castsi256_ps(_mm256_cmpeq_epi32(a.hi, b.hi))};
}

V_INLINE vmask vi_lt(vint a, vint b) {
  return (vmask){_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.lo, a.lo)),
                 _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.hi, a.hi))};
}

V_INLINE vmask vi_ltu(vint a, vint b) {
  const vint flip = vi_set1(INT32_MIN);
  return vi_lt(vi_xor(a, flip), vi_xor(b, flip));
}

V_INLINE vint vi_select(vmask m, vint a, vint b) {
  return (vint){_mm256_blendv_epi8(b.lo, a.lo, _mm256_castps_si256(m.lo)),
                _mm256_blendv_epi8(b.hi, a.hi, _mm256_castps_si256(m.hi))};
}

V_INLINE void v_mulhilo_half(__m256i a, __m256i b, __m256i *out_hi, __m256i *out_lo) {
  const __m256i even = _mm256_mul_epu32(a, b);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
  *out_hi = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  *out_lo = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}

V_INLINE void vi_mulhilo(vint a, vint b, vint *out_hi, vint *out_lo) {
  v_mulhilo_half(a.lo, b.lo, &out_hi->lo, &out_lo->lo);
  v_mulhilo_half(a.hi, b.hi, &out_hi->hi, &out_lo->hi);
}

V_INLINE vreal v_from_int(vint a) {
  return (vreal){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}

V_INLINE vreal v_gather(const real *base, vint idx) {
  return (vreal){_mm256_i32gather_ps(base, idx.lo, 4), _mm256_i32gather_ps(base, idx.hi, 4)};
}

V_INLINE real v_sum(vreal a) {
  const __m256 eight = _mm256_add_ps(a.lo, a.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

V_INLINE real v_hmax(vreal a) {
  const __m256 eight = _mm256_max_ps(a.lo, a.hi);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* The double vectors that the functions of vec/fn.h compute in: four registers, so that their
 * chains of dependent operations overlap. */
typedef struct {
  __m256d a, b, c, d;
} vd;
typedef struct {
  __m256i a, b, c, d;
} vdi;
typedef struct {
  __m256d a, b, c, d;
} vdm;

#define VD_UNARY(TYPE, NAME, FROM, OP)                 \
  V_INLINE TYPE NAME(FROM x) {                         \
    return (TYPE){OP(x.a), OP(x.b), OP(x.c), OP(x.d)}; \
  }
#define VD_BINARY(TYPE, NAME, FROM, OP)                                    \
  V_INLINE TYPE NAME(FROM x, FROM y) {                                     \
    return (TYPE){OP(x.a, y.a), OP(x.b, y.b), OP(x.c, y.c), OP(x.d, y.d)}; \
  }
#define VD_TERNARY(TYPE, NAME, FIRST, REST, OP)                                                \
  V_INLINE TYPE NAME(FIRST x, REST y, REST z) {                                                \
    return (TYPE){OP(x.a, y.a, z.a), OP(x.b, y.b, z.b), OP(x.c, y.c, z.c), OP(x.d, y.d, z.d)}; \
  }

#define V_AND_SIGN(x) _mm256_and_pd(x, _mm256_set1_pd(-0.0))
#define V_CLEAR_SIGN(x) _mm256_andnot_pd(_mm256_set1_pd(-0.0), x)
#define V_COPYSIGN(x, y) _mm256_or_pd(V_CLEAR_SIGN(x), V_AND_SIGN(y))
#define V_LT(x, y) _mm256_cmp_pd(x, y, _CMP_LT_OQ)
#define V_EQ(x, y) _mm256_cmp_pd(x, y, _CMP_EQ_OQ)
#define V_BLEND(m, x, y) _mm256_blendv_pd(y, x, m)
#define V_MASK_AND(x, y) _mm256_and_pd(x, y)
#define V_MASK_ANDNOT(x, y) _mm256_andnot_pd(y, x)
#define V_INT_EQ(x, y) _mm256_castsi256_pd(_mm256_cmpeq_epi64(x, y))
#define V_SHL52(x) _mm256_slli_epi64(x, 52)
#define V_SHR52(x) _mm256_srli_epi64(x, 52)

VD_BINARY(vd, vd_add, vd, _mm256_add_pd)
VD_BINARY(vd, vd_sub, vd, _mm256_sub_pd)
VD_BINARY(vd, vd_mul, vd, _mm256_mul_pd)
VD_BINARY(vd, vd_div, vd, _mm256_div_pd)
VD_BINARY(vd, vd_max, vd, _mm256_max_pd)
VD_BINARY(vd, vd_min, vd, _mm256_min_pd)
VD_TERNARY(vd, vd_fma, vd, vd, _mm256_fmadd_pd)
VD_TERNARY(vd, vd_fnma, vd, vd, _mm256_fnmadd_pd)
VD_UNARY(vd, vd_abs, vd, V_CLEAR_SIGN)
VD_BINARY(vd, vd_copysign, vd, V_COPYSIGN)
VD_BINARY(vdm, vd_lt, vd, V_LT)
VD_BINARY(vdm, vd_eq, vd, V_EQ)
VD_TERNARY(vd, vd_select, vdm, vd, V_BLEND)
VD_BINARY(vdm, vdm_and, vdm, V_MASK_AND)
VD_BINARY(vdm, vdm_andnot, vdm, V_MASK_ANDNOT)
VD_UNARY(vdi, vd_bits, vd, _mm256_castpd_si256)
VD_UNARY(vd, vdi_double, vdi, _mm256_castsi256_pd)
VD_BINARY(vdi, vdi_add, vdi, _mm256_add_epi64)
VD_BINARY(vdi, vdi_sub, vdi, _mm256_sub_epi64)
VD_BINARY(vdi, vdi_or, vdi, _mm256_or_si256)
VD_BINARY(vdi, vdi_and, vdi, _mm256_and_si256)
VD_BINARY(vdm, vdi_eq, vdi, V_INT_EQ)
VD_UNARY(vdi, vdi_shl52, vdi, V_SHL52)
VD_UNARY(vdi, vdi_shr52, vdi, V_SHR52)

#undef VD_UNARY
#undef VD_BINARY
#undef VD_TERNARY
#undef V_AND_SIGN
#undef V_CLEAR_SIGN
#undef V_COPYSIGN
#undef V_LT
#undef V_EQ
#undef V_BLEND
#undef V_MASK_AND
#undef V_MASK_ANDNOT
#undef V_INT_EQ
#undef V_SHL52
#undef V_SHR52

V_INLINE vd vd_set1(double x) {
  const __m256d v = _mm256_set1_pd(x);
  return (vd){v, v, v, v};
}

V_INLINE vdi vdi_set1(uint64_t x) {
  const __m256i v = _mm256_set1_epi64x((long long)x);
  return (vdi){v, v, v, v};
}

V_INLINE bool vd_any(vdm m) {
  const __m256d low = _mm256_or_pd(m.a, m.b);
  const __m256d high = _mm256_or_pd(m.c, m.d);
  return _mm256_movemask_pd(_mm256_or_pd(low, high)) != 0;
}

V_INLINE bool vd_all(vdm m) {
  const __m256d low = _mm256_and_pd(m.a, m.b);
  const __m256d high = _mm256_and_pd(m.c, m.d);
  return _mm256_movemask_pd(_mm256_and_pd(low, high)) == 0xf;
}

V_INLINE vd vd_widen(vreal a) {
  return (vd){_mm256_cvtps_pd(_mm256_castps256_ps128(a.lo)),
              _mm256_cvtps_pd(_mm256_extractf128_ps(a.lo, 1)),
              _mm256_cvtps_pd(_mm256_castps256_ps128(a.hi)),
              _mm256_cvtps_pd(_mm256_extractf128_ps(a.hi, 1))};
}

V_INLINE vreal vd_round(vd x) {
  return (vreal){_mm256_set_m128(_mm256_cvtpd_ps(x.b), _mm256_cvtpd_ps(x.a)),
                 _mm256_set_m128(_mm256_cvtpd_ps(x.d), _mm256_cvtpd_ps(x.c))};
}

/* The function F of vd over the 16 lanes, in double, rounded back to real once. */
#define V_DEFINE_MAP(NAME, F)                               \
  V_INLINE real r_##NAME(real a) {                          \
    return (real)_mm256_cvtsd_f64(F(vd_set1((double)a)).a); \
  }                                                         \
  V_INLINE vreal v_##NAME(vreal a) {                        \
    return vd_round(F(vd_widen(a)));                        \
  }

#endif
