/* Which kernel table serves an instruction set and an element width.
 *
 * The tables are compiled once per variant (engine/kernel/table.c); this file is the only one that
 * names the variants. All tables of one width give the same bits, so the choice is speed alone.
 */
#include "engine/kernel/kernel.h"

extern const struct stk_kernels stk_k_table_ref_f32;
extern const struct stk_kernels stk_k_table_reffma_f32;
extern const struct stk_kernels stk_k_table_ref_f64;
extern const struct stk_kernels stk_k_table_reffma_f64;
extern const struct stk_kernels stk_k_table_avx2_f32;
extern const struct stk_kernels stk_k_table_avx512_f32;

const struct stk_kernels *stk_kernels_get(stk_isa isa, int real_bits, bool cpu_has_fma) {
  if (real_bits == 64) {
    if (isa != STK_ISA_KIND_REF) {
      return NULL;
    }
    return cpu_has_fma ? &stk_k_table_reffma_f64 : &stk_k_table_ref_f64;
  }
  if (real_bits != 32) {
    return NULL;
  }
  switch (isa) {
    case STK_ISA_KIND_REF:
      return cpu_has_fma ? &stk_k_table_reffma_f32 : &stk_k_table_ref_f32;
    case STK_ISA_KIND_AVX2:
      return &stk_k_table_avx2_f32;
    case STK_ISA_KIND_AVX512:
      return &stk_k_table_avx512_f32;
  }
  return NULL;
}
