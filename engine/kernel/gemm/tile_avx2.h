/* Register tile for AVX2 + FMA, f32: 6 rows x 2 vectors of 8: 12 accumulators, 2 for B, 2 for A.
 *
 * The loop over k is written in assembly: compilers order the same instructions in ways that cost a
 * quarter of the speed on some CPUs. Accumulator (row r, vector v) is ymm(2 r + v), B's line ymm12
 * and ymm13, and A's elements are broadcast into ymm14 and ymm15 in turn. The tile's own go to rows
 * `stride` apart afterwards: to C itself where nothing is left to do, else to the stack.
 */
#ifndef STK_KERNEL_GEMM_TILE_AVX2_H
#define STK_KERNEL_GEMM_TILE_AVX2_H

#include <immintrin.h>

#define GEMM_OWN_LOOP

enum { GEMM_MR = 6, GEMM_VL = 8, GEMM_NV = 2 };

#define GEMM_ROWS(X, p) X(1, p) X(2, p) X(3, p) X(4, p) X(5, p) X(6, p)

typedef __m256 tv;
typedef __m256i tv_mask;

V_INLINE tv tv_zero(void) {
  return _mm256_setzero_ps();
}

V_INLINE tv tv_load(const real *p) {
  return _mm256_loadu_ps(p);
}

V_INLINE void tv_store(real *p, tv x) {
  _mm256_storeu_ps(p, x);
}

V_INLINE tv tv_all(const real *p) {
  return _mm256_broadcast_ss(p);
}

V_INLINE tv tv_add(tv x, tv y) {
  return _mm256_add_ps(x, y);
}

V_INLINE tv tv_fma(tv x, tv y, tv z) {
  return _mm256_fmadd_ps(x, y, z);
}

/* x < 0 ? 0 : x */
V_INLINE tv tv_relu(tv x) {
  return _mm256_max_ps(_mm256_setzero_ps(), x);
}

/* The first n lanes; n may be negative or beyond 8. */
V_INLINE tv_mask tv_first(int64_t n) {
  const int32_t lanes = n < 0 ? 0 : n > GEMM_VL ? GEMM_VL : (int32_t)n;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

V_INLINE tv tv_load_some(const real *p, tv_mask m) {
  return _mm256_maskload_ps(p, m);
}

V_INLINE void tv_store_some(real *p, tv_mask m, tv x) {
  _mm256_maskstore_ps(p, m, x);
}

#define GEMM_B_1(at) "vmovups " at "(%[b]), %%ymm12\n\t"
#define GEMM_B_2(at) GEMM_B_1(at) "vmovups 32+" at "(%[b]), %%ymm13\n\t"

#define GEMM_FMA_1(address, t, x, y) \
  "vbroadcastss " address ", %%ymm" t "\n\tvfmadd231ps %%ymm12, %%ymm" t ", %%ymm" x "\n\t"
#define GEMM_FMA_2(address, t, x, y) \
  GEMM_FMA_1(address, t, x, y) "vfmadd231ps %%ymm13, %%ymm" t ", %%ymm" y "\n\t"

/* Rows 0 .. mr-1 of one step in k; A(row) is the address of the row's element. */
#define GEMM_STEP_1(FMA, A) FMA(A(0), "14", "0", "1")
#define GEMM_STEP_2(FMA, A) GEMM_STEP_1(FMA, A) FMA(A(1), "15", "2", "3")
#define GEMM_STEP_3(FMA, A) GEMM_STEP_2(FMA, A) FMA(A(2), "14", "4", "5")
#define GEMM_STEP_4(FMA, A) GEMM_STEP_3(FMA, A) FMA(A(3), "15", "6", "7")
#define GEMM_STEP_5(FMA, A) GEMM_STEP_4(FMA, A) FMA(A(4), "14", "8", "9")
#define GEMM_STEP_6(FMA, A) GEMM_STEP_5(FMA, A) FMA(A(5), "15", "10", "11")

/* Element addresses: step u of a packed panel; rows a_row apart, and step u of such lines. */
#define GEMM_PANEL_0(row) "4*" #row "(%[a])"
#define GEMM_PANEL_1(row) "24+4*" #row "(%[a])"
#define GEMM_PANEL_2(row) "48+4*" #row "(%[a])"
#define GEMM_PANEL_3(row) "72+4*" #row "(%[a])"
#define GEMM_PLACE(row) GEMM_PLACE_##row
#define GEMM_PLACE_0 "(%[a])"
#define GEMM_PLACE_1 "(%[a],%[row])"
#define GEMM_PLACE_2 "(%[a],%[row],2)"
#define GEMM_PLACE_3 "(%[a3])"
#define GEMM_PLACE_4 "(%[a3],%[row])"
#define GEMM_PLACE_5 "(%[a3],%[row],2)"
#define GEMM_LINES_1(row) "4" GEMM_PLACE_##row
#define GEMM_LINES_2(row) "8" GEMM_PLACE_##row
#define GEMM_LINES_3(row) "12" GEMM_PLACE_##row

#define GEMM_ZERO(i) "vxorps %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n\t"
#define GEMM_ZEROS \
  GEMM_ZERO(0)     \
  GEMM_ZERO(1)     \
  GEMM_ZERO(2)     \
  GEMM_ZERO(3)     \
  GEMM_ZERO(4)     \
  GEMM_ZERO(5) GEMM_ZERO(6) GEMM_ZERO(7) GEMM_ZERO(8) GEMM_ZERO(9) GEMM_ZERO(10) GEMM_ZERO(11)
/* Row r of the accumulators to its place; A's registers are free by then. */
#define GEMM_SAVE_1(at, x, y) "vmovups %%ymm" x ", " at "\n\t"
#define GEMM_SAVE_2(at, x, y) GEMM_SAVE_1(at, x, y) "vmovups %%ymm" y ", 32" at "\n\t"
#define GEMM_SAVES_1(SAVE) SAVE("(%[to])", "0", "1")
#define GEMM_SAVES_2(SAVE) GEMM_SAVES_1(SAVE) SAVE("(%[to],%[stride])", "2", "3")
#define GEMM_SAVES_3(SAVE) GEMM_SAVES_2(SAVE) SAVE("(%[to],%[stride],2)", "4", "5")
#define GEMM_SAVES_4(SAVE) \
  GEMM_SAVES_3(SAVE)       \
  "lea (%[to],%[stride],2), %[a]\n\tadd %[stride], %[a]\n\t" SAVE("(%[a])", "6", "7")
#define GEMM_SAVES_5(SAVE) GEMM_SAVES_4(SAVE) SAVE("(%[a],%[stride])", "8", "9")
#define GEMM_SAVES_6(SAVE) GEMM_SAVES_5(SAVE) SAVE("(%[a],%[stride],2)", "10", "11")
#define GEMM_CLOBBERS                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory"

/* Assembly by lines. clang-format has no way with it. */
/* clang-format off */
#define GEMM_LOOPS(mr, nv)                                                                         \
  V_INLINE void gemm_loop_panel_##mr##_##nv(int64_t kc, const real *a, const real *b, real *to,    \
                                            int64_t stride) {                                      \
    int64_t four = kc / 4, one = kc % 4;                                                           \
    __asm__ volatile(GEMM_ZEROS                                                                    \
      "test %[four], %[four]\n\tje 2f\n\t"                                                         \
      ".p2align 5\n1:\n\t"                                                                         \
      GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PANEL_0)                                 \
      GEMM_B_##nv("64") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PANEL_1)                                \
      GEMM_B_##nv("128") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PANEL_2)                               \
      GEMM_B_##nv("192") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PANEL_3)                               \
      "add $96, %[a]\n\tadd $256, %[b]\n\tdec %[four]\n\tjne 1b\n2:\n\t"                           \
      "test %[one], %[one]\n\tje 4f\n3:\n\t"                                                       \
      GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PANEL_0)                                 \
      "add $24, %[a]\n\tadd $64, %[b]\n\tdec %[one]\n\tjne 3b\n4:\n\t"                             \
      GEMM_SAVES_##mr(GEMM_SAVE_##nv)                                                              \
      : [a] "+r"(a), [b] "+r"(b), [four] "+r"(four), [one] "+r"(one)                               \
      : [to] "r"(to), [stride] "r"(stride * 4)                                                     \
      : GEMM_CLOBBERS);                                                                            \
  }                                                                                                \
  V_INLINE void gemm_loop_lines_##mr##_##nv(int64_t kc, const real *a, int64_t a_row,              \
                                            const real *b, real *to, int64_t stride) {             \
    const real *a3 = a + (mr > 3 ? 3 * a_row : 0);                                                 \
    int64_t four = kc / 4, one = kc % 4;                                                           \
    __asm__ volatile(GEMM_ZEROS                                                                    \
      "test %[four], %[four]\n\tje 2f\n\t"                                                         \
      ".p2align 5\n1:\n\t"                                                                         \
      GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PLACE)                                   \
      GEMM_B_##nv("64") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_LINES_1)                                \
      GEMM_B_##nv("128") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_LINES_2)                               \
      GEMM_B_##nv("192") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_LINES_3)                               \
      "add $16, %[a]\n\tadd $16, %[a3]\n\tadd $256, %[b]\n\t"                                      \
      "dec %[four]\n\tjne 1b\n2:\n\ttest %[one], %[one]\n\tje 4f\n3:\n\t"                          \
      GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PLACE)                                   \
      "add $4, %[a]\n\tadd $4, %[a3]\n\tadd $64, %[b]\n\t"                                         \
      "dec %[one]\n\tjne 3b\n4:\n\t" GEMM_SAVES_##mr(GEMM_SAVE_##nv)                               \
      : [a] "+r"(a), [a3] "+r"(a3), [b] "+r"(b), [four] "+r"(four), [one] "+r"(one)                \
      : [to] "r"(to), [stride] "r"(stride * 4), [row] "r"(a_row * 4)                               \
      : GEMM_CLOBBERS);                                                                            \
  }                                                                                                \
  V_INLINE void gemm_loop_place_##mr##_##nv(int64_t kc, const real *a, int64_t a_row, int64_t a_k, \
                                            const real *b, int64_t b_k, real *to,                  \
                                            int64_t stride) {                                      \
    const real *a3 = a + (mr > 3 ? 3 * a_row : 0);                                                 \
    __asm__ volatile(GEMM_ZEROS "test %[kc], %[kc]\n\tje 2f\n\t.p2align 5\n1:\n\t"                 \
      GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PLACE)                                   \
      "add %[a_k], %[a]\n\tadd %[a_k], %[a3]\n\tadd %[b_k], %[b]\n\t"                              \
      "dec %[kc]\n\tjne 1b\n2:\n\t" GEMM_SAVES_##mr(GEMM_SAVE_##nv)                                \
      : [a] "+r"(a), [a3] "+r"(a3), [b] "+r"(b), [kc] "+r"(kc)                                     \
      : [to] "r"(to), [stride] "r"(stride * 4), [row] "r"(a_row * 4),                              \
        [a_k] "r"(a_k * 4), [b_k] "r"(b_k * 4)                                                     \
      : GEMM_CLOBBERS);                                                                            \
  }
/* clang-format on */
#define GEMM_LOOPS_ROW(mr, p) GEMM_LOOPS(mr, 1) GEMM_LOOPS(mr, 2)
GEMM_ROWS(GEMM_LOOPS_ROW, )

#define GEMM_CHUNK_PANEL(mr, nv) gemm_loop_panel_##mr##_##nv(kc, a, b, to, stride)
#define GEMM_CHUNK_LINES(mr, nv) gemm_loop_lines_##mr##_##nv(kc, a, a_row, b, to, stride)
#define GEMM_CHUNK_PLACE(mr, nv) gemm_loop_place_##mr##_##nv(kc, a, a_row, a_k, b, b_k, to, stride)

#endif
