/* vec.h on AVX-512 (F, BW, DQ, VL): one 512-bit register a vector, predicates in mask registers.
 * f32 only. Included by vec.h only. The comments in vec/ref.h are the contract.
 */
#ifndef STK_KERNEL_VEC_AVX512_H
#define STK_KERNEL_VEC_AVX512_H

#include <immintrin.h>
#include <stdbool.h>

#if STK_REAL_BITS != 32
#error "avx512 is f32 only; f64 is ref's"
#endif

typedef struct {
  __m512 v;
} vreal;
typedef struct {
  __m512i v;
} vint;
typedef struct {
  __mmask16 m;
} vmask;

V_INLINE real r_fma(real a, real b, real c) {
  return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

V_INLINE real r_sqrt(real a) {
  return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a)));
}

V_INLINE vmask v_mask_n(int64_t n) {
  return (vmask){(__mmask16)((1u << (uint32_t)n) - 1u)};
}

V_INLINE vreal v_load(const real *p) {
  return (vreal){_mm512_loadu_ps(p)};
}

V_INLINE void v_store(real *p, vreal a) {
  _mm512_storeu_ps(p, a.v);
}

V_INLINE void v_stream(real *p, vreal a) {
  if (((uintptr_t)p & 63) == 0) {
    _mm512_stream_ps(p, a.v);
  } else {
    v_store(p, a);
  }
}

V_INLINE vreal v_load_n(const real *p, int64_t n) {
  return (vreal){_mm512_maskz_loadu_ps(v_mask_n(n).m, p)};
}

V_INLINE vreal v_load_mask(const real *p, vmask m) {
  return (vreal){_mm512_maskz_loadu_ps(m.m, p)};
}

V_INLINE void v_store_n(real *p, vreal a, int64_t n) {
  _mm512_mask_storeu_ps(p, v_mask_n(n).m, a.v);
}

V_INLINE vreal v_load_u8(const uint8_t *p) {
  const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
  return (vreal){_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(b))};
}

V_INLINE vreal v_set1(real x) {
  return (vreal){_mm512_set1_ps(x)};
}

V_INLINE vreal v_zero(void) {
  return (vreal){_mm512_setzero_ps()};
}

V_INLINE vreal v_iota(void) {
  return (vreal){_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}

V_INLINE real v_get(vreal a, int lane) {
  real l[16];
  v_store(l, a);
  return l[lane];
}

V_INLINE vreal v_add(vreal a, vreal b) {
  return (vreal){_mm512_add_ps(a.v, b.v)};
}

V_INLINE vreal v_sub(vreal a, vreal b) {
  return (vreal){_mm512_sub_ps(a.v, b.v)};
}

V_INLINE vreal v_mul(vreal a, vreal b) {
  return (vreal){_mm512_mul_ps(a.v, b.v)};
}

V_INLINE vreal v_div(vreal a, vreal b) {
  return (vreal){_mm512_div_ps(a.v, b.v)};
}

V_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
  return (vreal){_mm512_fmadd_ps(a.v, b.v, c.v)};
}

V_INLINE vreal v_fms(vreal a, vreal b, vreal c) {
  return (vreal){_mm512_fmsub_ps(a.v, b.v, c.v)};
}

V_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
  return (vreal){_mm512_fnmadd_ps(a.v, b.v, c.v)};
}

V_INLINE vreal v_neg(vreal a) {
  const __m512i sign = _mm512_set1_epi32(INT32_MIN);
  return (vreal){_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a.v), sign))};
}

V_INLINE vreal v_abs(vreal a) {
  const __m512i rest = _mm512_set1_epi32(INT32_MAX);
  return (vreal){_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), rest))};
}

V_INLINE vreal v_copysign(vreal a, vreal sign) {
  const __m512i rest = _mm512_set1_epi32(INT32_MAX);
  const __m512i high = _mm512_andnot_si512(rest, _mm512_castps_si512(sign.v));
  const __m512i low = _mm512_and_si512(rest, _mm512_castps_si512(a.v));
  return (vreal){_mm512_castsi512_ps(_mm512_or_si512(high, low))};
}

V_INLINE vreal v_sqrt(vreal a) {
  return (vreal){_mm512_sqrt_ps(a.v)};
}

V_INLINE vreal v_max(vreal a, vreal b) {
  return (vreal){_mm512_max_ps(a.v, b.v)};
}

V_INLINE vreal v_min(vreal a, vreal b) {
  return (vreal){_mm512_min_ps(a.v, b.v)};
}

#define V_COMPARE(NAME, PREDICATE)                           \
  V_INLINE vmask NAME(vreal a, vreal b) {                    \
    return (vmask){_mm512_cmp_ps_mask(a.v, b.v, PREDICATE)}; \
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
  return (vreal){_mm512_mask_blend_ps(m.m, b.v, a.v)};
}

V_INLINE vmask v_mask_and(vmask a, vmask b) {
  return (vmask){(__mmask16)(a.m & b.m)};
}

V_INLINE vmask v_mask_or(vmask a, vmask b) {
  return (vmask){(__mmask16)(a.m | b.m)};
}

V_INLINE vmask v_mask_not(vmask a) {
  return (vmask){(__mmask16)(~a.m & 0xffff)};
}

V_INLINE uint32_t v_mask_bits(vmask m) {
  return (uint32_t)m.m;
}

V_INLINE vmask v_mask_from_bits(uint32_t bits) {
  return (vmask){(__mmask16)(bits & 0xffff)};
}

V_INLINE vint vi_load(const int32_t *p) {
  return (vint){_mm512_loadu_si512((const void *)p)};
}

V_INLINE void vi_store(int32_t *p, vint a) {
  _mm512_storeu_si512((void *)p, a.v);
}

V_INLINE vint vi_load_n(const int32_t *p, int64_t n) {
  return (vint){_mm512_maskz_loadu_epi32(v_mask_n(n).m, p)};
}

V_INLINE void vi_store_n(int32_t *p, vint a, int64_t n) {
  _mm512_mask_storeu_epi32(p, v_mask_n(n).m, a.v);
}

V_INLINE vint vi_set1(int32_t x) {
  return (vint){_mm512_set1_epi32(x)};
}

V_INLINE vint vi_iota(void) {
  return (vint){_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}

V_INLINE vint vi_add(vint a, vint b) {
  return (vint){_mm512_add_epi32(a.v, b.v)};
}

V_INLINE vint vi_sub(vint a, vint b) {
  return (vint){_mm512_sub_epi32(a.v, b.v)};
}

V_INLINE vint vi_xor(vint a, vint b) {
  return (vint){_mm512_xor_si512(a.v, b.v)};
}

V_INLINE vint vi_and(vint a, vint b) {
  return (vint){_mm512_and_si512(a.v, b.v)};
}

V_INLINE vint vi_srl(vint a, int by) {
  return (vint){_mm512_srli_epi32(a.v, (unsigned)by)};
}

V_INLINE vmask vi_eq(vint a, vint b) {
  return (vmask){_mm512_cmpeq_epi32_mask(a.v, b.v)};
}

V_INLINE vmask vi_lt(vint a, vint b) {
  return (vmask){_mm512_cmplt_epi32_mask(a.v, b.v)};
}

V_INLINE vmask vi_ltu(vint a, vint b) {
  return (vmask){_mm512_cmplt_epu32_mask(a.v, b.v)};
}

V_INLINE vint vi_select(vmask m, vint a, vint b) {
  return (vint){_mm512_mask_blend_epi32(m.m, b.v, a.v)};
}

V_INLINE void vi_mulhilo(vint a, vint b, vint *out_hi, vint *out_lo) {
  const __m512i even = _mm512_mul_epu32(a.v, b.v);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32));
  out_hi->v = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  out_lo->v = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}

V_INLINE vreal v_from_int(vint a) {
  return (vreal){_mm512_cvtepi32_ps(a.v)};
}

V_INLINE vreal v_gather(const real *base, vint idx) {
  return (vreal){_mm512_i32gather_ps(idx.v, base, 4)};
}

V_INLINE __m256 v_upper_half(__m512 a) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}

V_INLINE real v_sum(vreal a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), v_upper_half(a.v));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

V_INLINE real v_hmax(vreal a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), v_upper_half(a.v));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* The double vectors that the functions of vec/fn.h compute in: two registers, so that their
 * chains of dependent operations overlap. */
typedef struct {
  __m512d a, b;
} vd;
typedef struct {
  __m512i a, b;
} vdi;
typedef struct {
  __mmask8 a, b;
} vdm;

#define VD_UNARY(TYPE, NAME, FROM, OP) \
  V_INLINE TYPE NAME(FROM x) {         \
    return (TYPE){OP(x.a), OP(x.b)};   \
  }
#define VD_BINARY(TYPE, NAME, FROM, OP)        \
  V_INLINE TYPE NAME(FROM x, FROM y) {         \
    return (TYPE){OP(x.a, y.a), OP(x.b, y.b)}; \
  }
#define VD_TERNARY(TYPE, NAME, FIRST, REST, OP)          \
  V_INLINE TYPE NAME(FIRST x, REST y, REST z) {          \
    return (TYPE){OP(x.a, y.a, z.a), OP(x.b, y.b, z.b)}; \
  }

#define V_AND_SIGN(x) _mm512_and_pd(x, _mm512_set1_pd(-0.0))
#define V_CLEAR_SIGN(x) _mm512_andnot_pd(_mm512_set1_pd(-0.0), x)
#define V_COPYSIGN(x, y) _mm512_or_pd(V_CLEAR_SIGN(x), V_AND_SIGN(y))
#define V_LT(x, y) _mm512_cmp_pd_mask(x, y, _CMP_LT_OQ)
#define V_EQ(x, y) _mm512_cmp_pd_mask(x, y, _CMP_EQ_OQ)
#define V_BLEND(m, x, y) _mm512_mask_blend_pd(m, y, x)
#define V_MASK_AND(x, y) (__mmask8)((x) & (y))
#define V_MASK_ANDNOT(x, y) (__mmask8)((x) & ~(y))
#define V_SHL52(x) _mm512_slli_epi64(x, 52)
#define V_SHR52(x) _mm512_srli_epi64(x, 52)

VD_BINARY(vd, vd_add, vd, _mm512_add_pd)
VD_BINARY(vd, vd_sub, vd, _mm512_sub_pd)
VD_BINARY(vd, vd_mul, vd, _mm512_mul_pd)
VD_BINARY(vd, vd_div, vd, _mm512_div_pd)
VD_BINARY(vd, vd_max, vd, _mm512_max_pd)
VD_BINARY(vd, vd_min, vd, _mm512_min_pd)
VD_TERNARY(vd, vd_fma, vd, vd, _mm512_fmadd_pd)
VD_TERNARY(vd, vd_fnma, vd, vd, _mm512_fnmadd_pd)
VD_UNARY(vd, vd_abs, vd, V_CLEAR_SIGN)
VD_BINARY(vd, vd_copysign, vd, V_COPYSIGN)
VD_BINARY(vdm, vd_lt, vd, V_LT)
VD_BINARY(vdm, vd_eq, vd, V_EQ)
VD_TERNARY(vd, vd_select, vdm, vd, V_BLEND)
VD_BINARY(vdm, vdm_and, vdm, V_MASK_AND)
VD_BINARY(vdm, vdm_andnot, vdm, V_MASK_ANDNOT)
VD_UNARY(vdi, vd_bits, vd, _mm512_castpd_si512)
VD_UNARY(vd, vdi_double, vdi, _mm512_castsi512_pd)
VD_BINARY(vdi, vdi_add, vdi, _mm512_add_epi64)
VD_BINARY(vdi, vdi_sub, vdi, _mm512_sub_epi64)
VD_BINARY(vdi, vdi_or, vdi, _mm512_or_si512)
VD_BINARY(vdi, vdi_and, vdi, _mm512_and_si512)
VD_BINARY(vdm, vdi_eq, vdi, _mm512_cmpeq_epi64_mask)
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
#undef V_SHL52
#undef V_SHR52

V_INLINE vd vd_set1(double x) {
  const __m512d v = _mm512_set1_pd(x);
  return (vd){v, v};
}

V_INLINE vdi vdi_set1(uint64_t x) {
  const __m512i v = _mm512_set1_epi64((long long)x);
  return (vdi){v, v};
}

V_INLINE bool vd_any(vdm m) {
  return (m.a | m.b) != 0;
}

V_INLINE bool vd_all(vdm m) {
  return (m.a & m.b) == 0xff;
}

V_INLINE vd vd_widen(vreal a) {
  return (vd){_mm512_cvtps_pd(_mm512_castps512_ps256(a.v)), _mm512_cvtps_pd(v_upper_half(a.v))};
}

V_INLINE vreal vd_round(vd x) {
  const __m512d low = _mm512_castpd256_pd512(_mm256_castps_pd(_mm512_cvtpd_ps(x.a)));
  const __m256d high = _mm256_castps_pd(_mm512_cvtpd_ps(x.b));
  return (vreal){_mm512_castpd_ps(_mm512_insertf64x4(low, high, 1))};
}

/* The function F of vd over the 16 lanes, in double, rounded back to real once. */
#define V_DEFINE_MAP(NAME, F)                               \
  V_INLINE real r_##NAME(real a) {                          \
    return (real)_mm512_cvtsd_f64(F(vd_set1((double)a)).a); \
  }                                                         \
  V_INLINE vreal v_##NAME(vreal a) {                        \
    return vd_round(F(vd_widen(a)));                        \
  }

#endif
