/* The loop over k of a register tile, in assembly: compilers order the same instructions, and copy
 * and spill registers, in ways that cost a tenth of the speed on some CPUs and a quarter on others.
 *
 * Included by tile.h after an instruction set's tile (tile_avx2.h, tile_avx512.h), which brings the
 * registers: GEMM_V names them, GEMM_STEP_mr gives each row its accumulators, GEMM_ZEROS clears
 * them. The tile's own go to rows `stride` apart afterwards: to C itself, or added to it, where
 * nothing else is left to do, else to the stack.
 */
#ifndef STK_KERNEL_GEMM_TILE_LOOP_H
#define STK_KERNEL_GEMM_TILE_LOOP_H

/* A line of B; a row of A, broadcast into register t, times it; a row of accumulators stored, or
 * added to what is there. */
#define GEMM_B_1(at) "vmovups " at "(%[b]), " GEMM_RIGHT_1 "\n\t"
#define GEMM_B_2(at) GEMM_B_1(at) "vmovups " GEMM_V_BYTES "+" at "(%[b]), " GEMM_RIGHT_2 "\n\t"
#define GEMM_FMA_1(address, t, x, y)    \
  "vbroadcastss " address ", " GEMM_V t \
  "\n\t"                                \
  "vfmadd231ps " GEMM_RIGHT_1 ", " GEMM_V t ", " GEMM_V x "\n\t"
#define GEMM_FMA_2(address, t, x, y) \
  GEMM_FMA_1(address, t, x, y) "vfmadd231ps " GEMM_RIGHT_2 ", " GEMM_V t ", " GEMM_V y "\n\t"
#define GEMM_SAVE_1(at, x, y) "vmovups " GEMM_V x ", " at "\n\t"
#define GEMM_SAVE_2(at, x, y) GEMM_SAVE_1(at, x, y) "vmovups " GEMM_V y ", " GEMM_V_BYTES at "\n\t"
#define GEMM_ADD_1(at, x, y) "vaddps " at ", " GEMM_V x ", " GEMM_V x "\n\t" GEMM_SAVE_1(at, x, y)
#define GEMM_ADD_2(at, x, y)                            \
  "vaddps " GEMM_V_BYTES at ", " GEMM_V y ", " GEMM_V y \
  "\n\t"                                                \
  "vaddps " at ", " GEMM_V x ", " GEMM_V x "\n\t" GEMM_SAVE_2(at, x, y)

/* Element addresses: step u of a packed panel; rows a_row apart, and step u of such lines. */
#define GEMM_PANEL_0(row) "4*" #row "(%[a])"
#define GEMM_PANEL_1(row) GEMM_A_LINE "+4*" #row "(%[a])"
#define GEMM_PANEL_2(row) "2*" GEMM_A_LINE "+4*" #row "(%[a])"
#define GEMM_PANEL_3(row) "3*" GEMM_A_LINE "+4*" #row "(%[a])"
#define GEMM_PLACE(row) GEMM_PLACE_##row
#define GEMM_PLACE_0 "(%[a])"
#define GEMM_PLACE_1 "(%[a],%[row])"
#define GEMM_PLACE_2 "(%[a],%[row],2)"
#define GEMM_PLACE_3 "(%[a3])"
#define GEMM_PLACE_4 "(%[a3],%[row])"
#define GEMM_PLACE_5 "(%[a3],%[row],2)"
#define GEMM_PLACE_6 "(%[a6])"
#define GEMM_PLACE_7 "(%[a6],%[row])"
#define GEMM_PLACE_8 "(%[a6],%[row],2)"
#define GEMM_PLACE_9 "(%[a9])"
#define GEMM_PLACE_10 "(%[a9],%[row])"
#define GEMM_PLACE_11 "(%[a9],%[row],2)"
#define GEMM_LINES_1(row) "4" GEMM_PLACE_##row
#define GEMM_LINES_2(row) "8" GEMM_PLACE_##row
#define GEMM_LINES_3(row) "12" GEMM_PLACE_##row
/* All of A's rows go on by so much. */
#define GEMM_NEXT(by) \
  "add " by ", %[a]\n\tadd " by ", %[a3]\n\tadd " by ", %[a6]\n\tadd " by ", %[a9]\n\t"

/* Row r of the accumulators to its place, or added to what is there; A's registers are free by
 * then. */
#define GEMM_SAVES_THIRD(from) "lea (" from ",%[stride],2), %[a]\n\tadd %[stride], %[a]\n\t"
#define GEMM_SAVES_1(SAVE) SAVE("(%[to])", "0", "1")
#define GEMM_SAVES_2(SAVE) GEMM_SAVES_1(SAVE) SAVE("(%[to],%[stride])", "2", "3")
#define GEMM_SAVES_3(SAVE) GEMM_SAVES_2(SAVE) SAVE("(%[to],%[stride],2)", "4", "5")
#define GEMM_SAVES_4(SAVE) GEMM_SAVES_3(SAVE) GEMM_SAVES_THIRD("%[to]") SAVE("(%[a])", "6", "7")
#define GEMM_SAVES_5(SAVE) GEMM_SAVES_4(SAVE) SAVE("(%[a],%[stride])", "8", "9")
#define GEMM_SAVES_6(SAVE) GEMM_SAVES_5(SAVE) SAVE("(%[a],%[stride],2)", "10", "11")
#define GEMM_SAVES_7(SAVE) GEMM_SAVES_6(SAVE) GEMM_SAVES_THIRD("%[a]") SAVE("(%[a])", "12", "13")
#define GEMM_SAVES_8(SAVE) GEMM_SAVES_7(SAVE) SAVE("(%[a],%[stride])", "14", "15")
#define GEMM_SAVES_9(SAVE) GEMM_SAVES_8(SAVE) SAVE("(%[a],%[stride],2)", "16", "17")
#define GEMM_SAVES_10(SAVE) GEMM_SAVES_9(SAVE) GEMM_SAVES_THIRD("%[a]") SAVE("(%[a])", "18", "19")
#define GEMM_SAVES_11(SAVE) GEMM_SAVES_10(SAVE) SAVE("(%[a],%[stride])", "20", "21")
#define GEMM_SAVES_12(SAVE) GEMM_SAVES_11(SAVE) SAVE("(%[a],%[stride],2)", "22", "23")

#define GEMM_END(mr, nv)                                \
  "testl %[add], %[add]\n\tjne 5f\n\t" GEMM_SAVES_##mr( \
      GEMM_SAVE_##nv) "jmp 6f\n5:\n\t" GEMM_SAVES_##mr(GEMM_ADD_##nv) "6:\n\t"

/* Where each third row of a tile begins, as far as it has so many. */
#define GEMM_THIRDS(mr)                          \
  const real *a3 = a + (mr > 3 ? 3 * a_row : 0); \
  const real *a6 = a + (mr > 6 ? 6 * a_row : 0); \
  const real *a9 = a + (mr > 9 ? 9 * a_row : 0)

/* Assembly by lines. clang-format has no way with it. */
/* clang-format off */
/* k by four and by one; A0 .. A3 are the addresses of the four. */
#define GEMM_BY_FOUR(mr, nv, A0, A1, A2, A3, NEXT_FOUR, NEXT_ONE)                                  \
  GEMM_ZEROS "test %[four], %[four]\n\tje 2f\n\t.p2align 5\n1:\n\t"                                \
  GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, A0)                                               \
  GEMM_B_##nv(GEMM_B_LINE) GEMM_STEP_##mr(GEMM_FMA_##nv, A1)                                       \
  GEMM_B_##nv("2*" GEMM_B_LINE) GEMM_STEP_##mr(GEMM_FMA_##nv, A2)                                  \
  GEMM_B_##nv("3*" GEMM_B_LINE) GEMM_STEP_##mr(GEMM_FMA_##nv, A3)                                  \
  NEXT_FOUR "add $4*" GEMM_B_LINE ", %[b]\n\t"                                                     \
  "dec %[four]\n\tjne 1b\n2:\n\ttest %[one], %[one]\n\tje 4f\n3:\n\t"                              \
  GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, A0)                                               \
  NEXT_ONE "add $" GEMM_B_LINE ", %[b]\n\tdec %[one]\n\tjne 3b\n4:\n\t" GEMM_END(mr, nv)
#define GEMM_LOOPS(mr, nv)                                                                         \
  V_INLINE void gemm_loop_panel_##mr##_##nv(int64_t kc, const real *a, const real *b, real *to,    \
                                            int64_t stride, int add) {                             \
    int64_t four = kc / 4, one = kc % 4;                                                           \
    __asm__ volatile(                                                                              \
      GEMM_BY_FOUR(mr, nv, GEMM_PANEL_0, GEMM_PANEL_1, GEMM_PANEL_2, GEMM_PANEL_3,                 \
                   "add $4*" GEMM_A_LINE ", %[a]\n\t", "add $" GEMM_A_LINE ", %[a]\n\t")           \
      : [a] "+r"(a), [b] "+r"(b), [four] "+r"(four), [one] "+r"(one)                               \
      : [to] "r"(to), [stride] "r"(stride * 4), [add] "r"(add)                                     \
      : GEMM_CLOBBERS);                                                                            \
  }                                                                                                \
  V_INLINE void gemm_loop_lines_##mr##_##nv(int64_t kc, const real *a, int64_t a_row,              \
                                            const real *b, real *to, int64_t stride, int add) {    \
    GEMM_THIRDS(mr);                                                                               \
    int64_t four = kc / 4, one = kc % 4;                                                           \
    __asm__ volatile(                                                                              \
      GEMM_BY_FOUR(mr, nv, GEMM_PLACE, GEMM_LINES_1, GEMM_LINES_2, GEMM_LINES_3,                   \
                   GEMM_NEXT("$16"), GEMM_NEXT("$4"))                                              \
      : [a] "+r"(a), [a3] "+r"(a3), [a6] "+r"(a6), [a9] "+r"(a9), [b] "+r"(b),                     \
        [four] "+r"(four), [one] "+r"(one)                                                         \
      : [to] "r"(to), [stride] "r"(stride * 4), [add] "r"(add), [row] "r"(a_row * 4)               \
      : GEMM_CLOBBERS);                                                                            \
  }                                                                                                \
  V_INLINE void gemm_loop_place_##mr##_##nv(int64_t kc, const real *a, int64_t a_row, int64_t a_k, \
                                            const real *b, int64_t b_k, real *to,                  \
                                            int64_t stride, int add) {                             \
    GEMM_THIRDS(mr);                                                                               \
    __asm__ volatile(GEMM_ZEROS "test %[kc], %[kc]\n\tje 2f\n\t.p2align 5\n1:\n\t"                 \
      GEMM_B_##nv("0") GEMM_STEP_##mr(GEMM_FMA_##nv, GEMM_PLACE)                                   \
      GEMM_NEXT("%[a_k]") "add %[b_k], %[b]\n\t"                                                   \
      "dec %[kc]\n\tjne 1b\n2:\n\t" GEMM_END(mr, nv)                                               \
      : [a] "+r"(a), [a3] "+r"(a3), [a6] "+r"(a6), [a9] "+r"(a9), [b] "+r"(b), [kc] "+r"(kc)       \
      : [to] "r"(to), [stride] "r"(stride * 4), [add] "r"(add), [row] "r"(a_row * 4),              \
        [a_k] "r"(a_k * 4), [b_k] "r"(b_k * 4)                                                     \
      : GEMM_CLOBBERS);                                                                            \
  }
/* clang-format on */
#define GEMM_LOOPS_ROW(mr, p) GEMM_LOOPS(mr, 1) GEMM_LOOPS(mr, 2)
GEMM_ROWS(GEMM_LOOPS_ROW, )

#define GEMM_CHUNK_PANEL(mr, nv) gemm_loop_panel_##mr##_##nv(kc, a, b, to, stride, add)
#define GEMM_CHUNK_LINES(mr, nv) gemm_loop_lines_##mr##_##nv(kc, a, a_row, b, to, stride, add)
#define GEMM_CHUNK_PLACE(mr, nv) \
  gemm_loop_place_##mr##_##nv(kc, a, a_row, a_k, b, b_k, to, stride, add)

#endif
