/* The kernels of one variant, collected.
 *
 * Compiled per variant like every kernel source; engine/exec/kernels.c picks one of the tables. A
 * family's source defines `const struct stk_kernel KFN(<name>)`; one that is missing does not link.
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

#if defined(STK_ISA_AVX512)
#define ISA_NAME "avx512"
#elif defined(STK_ISA_AVX2)
#define ISA_NAME "avx2"
#else
#define ISA_NAME "ref"
#endif

#define STK_KERNEL_X(name) extern const struct stk_kernel KFN(name);
STK_KERNEL_LIST(STK_KERNEL_X)
#undef STK_KERNEL_X

extern const struct stk_kernels KFN(table);

const struct stk_kernels KFN(table) = {.isa = ISA_NAME,
                                       .real_bits = STK_REAL_BITS,
#define STK_KERNEL_X(name) .name = &KFN(name),
                                       STK_KERNEL_LIST(STK_KERNEL_X)
#undef STK_KERNEL_X
};
